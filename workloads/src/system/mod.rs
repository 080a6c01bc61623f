//! How a store is started, asked and understood: one TOML file per store.
//!
//! A [`System`] is data: it names the command that starts a node, the request
//! that tells when it is ready, and for each operation the requests that speak
//! it and the rules that classify the answers. Everything is checked when the
//! file is read, so that a typo stops the run before a node starts, with the
//! line it stands on and what was probably meant. `systems/template.toml`
//! explains every field.
//!
//! Classification decides verdicts. Rules are tried in order and the first that
//! matches wins; a write or cas that no rule matches is `info`, since it may
//! have happened, and a read that no rule matches is `fail`, since a read that
//! told nothing constrains nothing.

mod check;
#[cfg(test)]
mod documented;
mod node;
mod operation;
mod pointer;
mod problem;
mod rules;
mod shipped;
mod stream;
mod template;

pub use node::{Node, Ready, StateProbe};
pub use operation::{Body, BodyTemplate, Call, CallTemplate, LeaderProbe, Method, Operation, Step};
pub use pointer::{Filter, Pointer};
pub use problem::SystemError;
pub(crate) use problem::nearest;
pub use rules::{Answer, Outcome, OutcomeKind, Rule, StatusPattern};
pub(crate) use rules::{Ruling, classify};
pub(crate) use stream::Change;
pub use stream::{Stream, StreamForm};
pub use template::{Bindings, JsonTemplate, Template, TemplateError};

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use checker::history::Value;
use serde::Deserialize;

/// A store under test, as its system file describes it.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct System {
    /// The name used in histories, reports and folders.
    pub name: String,
    /// One line for `workloads list`.
    #[serde(default)]
    pub about: String,
    /// What the clients speak.
    #[serde(default)]
    pub driver: DriverKind,
    /// The Debian packages that bring the store.
    #[serde(default)]
    pub packages: Vec<String>,
    /// What a run in the lab that names no faults injects besides the usual ones.
    #[serde(default)]
    pub faults: Vec<String>,
    /// Settings of the file's own, as placeholders everywhere; variants may change them.
    #[serde(default)]
    pub params: BTreeMap<String, String>,
    /// Which nodes clients speak to.
    #[serde(default)]
    pub clients: Clients,
    /// How a node is started.
    pub node: Node,
    /// When a node can serve.
    #[serde(default)]
    pub ready: Option<Ready>,
    /// Sent once, through the first node, when all are ready: makes tables, buckets and the like.
    pub setup: Option<Operation>,
    /// How to find out who leads and to change the membership over HTTP, where the store can.
    #[serde(default)]
    pub requests: nemesis::requests::Requests,
    /// How to find out who leads where `requests.leader` cannot say it.
    pub leader: Option<LeaderProbe>,
    /// How to compare replicas, where the store tells.
    pub state: Option<StateProbe>,
    /// How values look on the wire.
    #[serde(default)]
    pub values: Values,
    /// The operations the store can do, by their name in histories. Maelstrom's are known.
    #[serde(default)]
    pub operation: BTreeMap<String, Operation>,
    /// Other ways to use the same store, by their names: `--system NAME:VARIANT`.
    #[serde(default)]
    pub variant: BTreeMap<String, Variant>,
    /// The folder of the file, for programs that lie beside it; none for a shipped one.
    #[serde(skip)]
    pub here: Option<PathBuf>,
}

/// What the clients of a store speak.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DriverKind {
    /// HTTP/1.1.
    #[default]
    Http,
    /// The protocol of Redis (RESP).
    Redis,
    /// The protocol of PostgreSQL.
    Postgres,
    /// The protocol of ZooKeeper.
    Zookeeper,
    /// The protocol of NATS, with JetStream's key-value buckets.
    Nats,
    /// Maelstrom's: JSON lines on standard input and output, nodes and network inside the runner.
    StdinJson,
}

/// Which nodes clients speak to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Clients {
    /// Every node.
    #[default]
    All,
    /// The first only, where the others merely follow it.
    First,
}

/// A change to a system: operations spoken otherwise, params set otherwise.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Variant {
    /// One line for `workloads list`.
    #[serde(default)]
    pub about: String,
    /// Which nodes clients speak to, if others than the file says.
    pub clients: Option<Clients>,
    /// Params that are other than the file's.
    #[serde(default)]
    pub params: BTreeMap<String, String>,
    /// Operations that replace the file's.
    #[serde(default)]
    pub operation: BTreeMap<String, Operation>,
}

/// How the integers of a history look on the wire.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Values {
    /// As JSON strings or as JSON integers.
    #[serde(default)]
    pub encode: Encoding,
}

/// The wire form of a value.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Encoding {
    /// `"17"`.
    #[default]
    String,
    /// `17`.
    Int,
}

impl Encoding {
    /// The value as it travels.
    #[must_use]
    pub fn encode(self, value: &Value) -> serde_json::Value {
        match (self, value) {
            (Self::String, Value::Int(n)) => serde_json::Value::String(n.to_string()),
            (_, other) => other.to_json(),
        }
    }

    /// The value that was meant; what was never written by us comes back as it is, for the checker to judge.
    #[must_use]
    pub fn decode(self, json: &serde_json::Value) -> Value {
        match (self, json) {
            (Self::String, serde_json::Value::String(text)) => match text.parse::<i64>() {
                Ok(n) if n.to_string() == *text => Value::Int(n),
                _ => Value::from(json.clone()),
            },
            _ => Value::from(json.clone()),
        }
    }
}

/// How long a node on standard input may take to answer its init, as Maelstrom has it.
const MAELSTROM_READY: Duration = Duration::from_secs(10);

/// Whether the operation called `f` only reads: losing its answer loses nothing.
pub(crate) fn is_read(f: &str) -> bool {
    matches!(f, "get" | "read" | "scan" | "watch")
}

impl System {
    /// Reads and checks the system file at `path`.
    ///
    /// # Errors
    /// When the file cannot be read, is not TOML, has an unknown or missing field, or names a placeholder
    /// that does not exist; the message names file, line and what was probably meant.
    pub fn open(path: &Path) -> Result<Self, SystemError> {
        let text = std::fs::read_to_string(path).map_err(|source| SystemError::Read {
            path: path.to_owned(),
            source,
        })?;
        let mut system = Self::parse(&text, path)?;
        let folder = path.parent().filter(|folder| *folder != Path::new(""));
        system.here = folder.unwrap_or(Path::new(".")).canonicalize().ok();
        Ok(system)
    }

    /// Finds a system by what a user typed: the name of a shipped one (`etcd`), or a path; behind a colon may
    /// stand the name of a variant (`etcd:serializable`).
    ///
    /// # Errors
    /// As [`System::open`], and where there is no such variant.
    pub fn find(name_or_path: &str) -> Result<Self, SystemError> {
        let (base, variant) = match name_or_path.rsplit_once(':') {
            Some((base, variant)) if !variant.contains('/') => (base, Some(variant)),
            _ => (name_or_path, None),
        };
        let system = match shipped::text(base) {
            Some(text) => Self::parse(text, &shipped::path(base))?,
            None if !base.contains(['/', '.']) => {
                return Err(SystemError::Variant {
                    message: shipped::unknown(base),
                });
            }
            None => Self::open(Path::new(base))?,
        };
        match variant {
            Some(variant) => system.varied(variant),
            None => Ok(system),
        }
    }

    /// The systems that are always there.
    #[must_use]
    pub fn shipped() -> Vec<Self> {
        let systems = shipped::NAMES
            .iter()
            .map(|name| Self::find(name).expect("the shipped system files are checked by a test"));
        systems.collect()
    }

    /// The variant called `name`, as a system of its own.
    fn varied(mut self, name: &str) -> Result<Self, SystemError> {
        let Some(variant) = self.variant.remove(name) else {
            let names: Vec<&str> = self.variant.keys().map(String::as_str).collect();
            let message = if names.is_empty() {
                format!("system {} has no variants: leave `:{name}` away", self.name)
            } else {
                format!(
                    "system {} has no variant `{name}`; it has: {}",
                    self.name,
                    names.join(", ")
                )
            };
            return Err(SystemError::Variant { message });
        };
        self.name = format!("{}-{name}", self.name);
        if !variant.about.is_empty() {
            self.about = variant.about;
        }
        self.clients = variant.clients.unwrap_or(self.clients);
        self.params.extend(variant.params);
        self.operation.extend(variant.operation);
        self.variant.clear();
        Ok(self)
    }

    fn parse(text: &str, path: &Path) -> Result<Self, SystemError> {
        let mut system: Self = toml::from_str(text).map_err(|error| problem::syntax(path, text, &error))?;
        if system.driver == DriverKind::StdinJson {
            for (name, operation) in shipped::maelstrom() {
                system.operation.entry(name).or_insert(operation);
            }
        }
        check::check(&system).map_err(|problem| problem.locate(path, text))?;
        Ok(system)
    }

    /// The operation that speaks `f` with this value: `create` where a cas expects that nothing is there and
    /// the store says that otherwise than a cas.
    #[must_use]
    pub fn speaks(&self, f: &str, value: &Value) -> Option<&Operation> {
        let expects_nothing =
            f == "cas" && matches!(value, Value::List(pair) if pair.first() == Some(&Value::Nil));
        let create = self.operation.get("create").filter(|_| expects_nothing);
        create.or_else(|| self.operation.get(f))
    }

    /// How long a node may take to be ready.
    #[must_use]
    pub fn ready_within(&self) -> Duration {
        let within_s = self.ready.as_ref().map(|ready| ready.within_s);
        within_s.map_or(MAELSTROM_READY, Duration::from_secs)
    }

    /// How a node is asked who leads: by `[leader]`, else by `requests.leader` where that is a plain GET.
    #[must_use]
    pub fn leader_probe(&self) -> Option<LeaderProbe> {
        let query = self.requests.leader.as_ref();
        self.leader
            .clone()
            .or_else(|| query.and_then(LeaderProbe::from_query))
    }

    /// Classifies an answer to the only request of the operation named `f`.
    #[must_use]
    pub fn classify(&self, f: &str, answer: &Answer) -> Outcome {
        let steps = self.operation.get(f).map_or(&[][..], |op| &op.steps[..]);
        let ruled = steps
            .last()
            .and_then(|step| classify(&step.rules, answer, self.values.encode, &Bindings::new()));
        match ruled {
            Some(Ruling::Done(outcome)) => outcome,
            _ => unmatched(is_read(f), answer),
        }
    }
}

/// What an answer means that no rule matches.
pub(crate) fn unmatched(reads_only: bool, answer: &Answer) -> Outcome {
    let error = format!("no rule matches: {answer}");
    if reads_only {
        Outcome::Fail { error }
    } else {
        Outcome::Info { error }
    }
}

impl fmt::Display for System {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.name, self.about)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KVNODE: &str = include_str!("../../../systems/kvnode.toml");

    fn problem(from: &str, to: &str) -> String {
        assert!(KVNODE.contains(from), "the test must change something");
        System::parse(&KVNODE.replacen(from, to, 1), Path::new("s.toml"))
            .expect_err("refused")
            .to_string()
    }

    #[test]
    fn the_shipped_files_and_their_variants_are_valid() {
        for system in System::shipped() {
            assert!(shipped::NAMES.contains(&system.name.as_str()));
            for variant in system.variant.keys() {
                let typed = format!("{}:{variant}", system.name);
                let varied = System::find(&typed).expect("valid");
                assert_eq!(varied.name, format!("{}-{variant}", system.name));
            }
        }
    }

    #[test]
    fn a_later_step_cannot_mismatch() {
        let etcd = shipped::text("etcd").expect("shipped");
        let moved = "{ outcome = \"fail\", status = \"200\", present";
        assert!(etcd.contains(moved));
        let text = etcd.replacen(moved, "{ outcome = \"mismatch\", status = \"200\", present", 1);
        let error = System::parse(&text, Path::new("s.toml")).expect_err("refused");
        assert!(error.to_string().contains("say `fail`"), "{error}");
    }

    #[test]
    fn maelstrom_s_operations_need_not_be_written() {
        let text = "name = \"m\"\ndriver = \"stdin-json\"\n[node]\ncommand = [\"./node\"]\n";
        let system = System::parse(text, Path::new("s.toml")).expect("valid");
        let refused = |code: u64| Answer::refused(serde_json::json!({"type": "error", "code": code}));
        assert!(matches!(
            system.classify("set", &refused(11)),
            Outcome::Fail { .. }
        ));
        for open in [0, 13, 1000] {
            assert!(matches!(
                system.classify("set", &refused(open)),
                Outcome::Info { .. }
            ));
            assert!(matches!(
                system.classify("cas", &refused(open)),
                Outcome::Info { .. }
            ));
        }
        assert!(matches!(
            system.classify("cas", &refused(22)),
            Outcome::Mismatch { .. }
        ));
        assert_eq!(system.classify("get", &refused(20)), Outcome::told(Value::Nil));
    }

    #[test]
    fn mistakes_are_named_with_their_line() {
        let line = |needle: &str| KVNODE.lines().position(|l| l.contains(needle)).expect("there") + 1;
        let cases = [
            (
                "within_s = 20",
                "within = 20",
                line("within_s"),
                "[ready]: unknown field `within`",
            ),
            (
                "within_s = 20",
                "within = 20",
                line("within_s"),
                "did you mean `within_s`?",
            ),
            ("port = 8000", "port = 80000", line("port = 8000"), "80000"),
            ("{data}", "{datta}", line("--data-dir"), "did you mean {data}?"),
            ("{data}", "{datta}", line("--data-dir"), "{datta}"),
            ("\"{old}\"", "\"{olds}\"", line("{old}"), "{olds}"),
            ("status = \"4xx\"", "status = \"4x\"", line("\"4xx\""), "4x"),
            (
                "outcome = \"mismatch\"",
                "outcome = \"missmatch\"",
                line("\"mismatch\""),
                "did you mean `mismatch`?",
            ),
        ];
        for (from, to, line, expect) in cases {
            let message = problem(from, to);
            assert!(
                message.starts_with(&format!("s.toml:{line}: ")),
                "{from} -> {to}: {message}"
            );
            assert!(message.contains(expect) && !message.contains('\n'), "{message}");
        }
    }

    #[test]
    fn answers_of_kvnode_are_classified() {
        let system = System::find("kvnode").expect("valid");
        let answer = |status, body: &str| Answer::new(status, body.as_bytes());
        let cases = [
            (
                "get",
                answer(200, r#"{"key":"a","value":"7","version":3}"#),
                Outcome::told(Value::Int(7)),
            ),
            (
                "get",
                answer(200, r#"{"key":"a","value":"07"}"#),
                Outcome::told(Value::from("07")),
            ),
            (
                "get",
                answer(404, r#"{"error":"not_found","message":""}"#),
                Outcome::told(Value::Nil),
            ),
            ("set", answer(200, r#"{"ok":true}"#), Outcome::DONE),
            (
                "cas",
                answer(409, r#"{"error":"mismatch","current":"4"}"#),
                Outcome::Mismatch {
                    current: Some(Value::Int(4)),
                },
            ),
            (
                "cas",
                answer(409, r#"{"error":"mismatch","current":null}"#),
                Outcome::Mismatch {
                    current: Some(Value::Nil),
                },
            ),
        ];
        for (f, answer, expected) in cases {
            assert_eq!(system.classify(f, &answer), expected, "{f} {answer}");
        }
        let unsure = [
            ("set", 503, r#"{"outcome":"unknown"}"#),
            ("set", 504, "{}"),
            ("cas", 500, "<html>"),
            ("set", 302, ""),
        ];
        for (f, status, body) in unsure {
            assert!(
                matches!(system.classify(f, &answer(status, body)), Outcome::Info { .. }),
                "{f} {status}"
            );
        }
        let nothing = [
            ("set", 503, r#"{"outcome":"not_applied"}"#),
            ("set", 413, "{}"),
            ("get", 503, "{}"),
            ("get", 404, "gone"),
        ];
        for (f, status, body) in nothing {
            assert!(
                matches!(system.classify(f, &answer(status, body)), Outcome::Fail { .. }),
                "{f} {status}"
            );
        }
    }
}

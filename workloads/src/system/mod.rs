//! How a store is started, asked and understood: one TOML file per store.
//!
//! A [`System`] is data: it names the command that starts a node, the request
//! that tells when it is ready, and for each operation the request that speaks
//! it and the rules that classify the answer. Everything is checked when the
//! file is read, so that a typo stops the run before a node starts, with the
//! line it stands on.
//!
//! Classification decides verdicts. Rules are tried in order and the first that
//! matches wins; a write or cas that no rule matches is `info`, since it may
//! have happened, and a read that no rule matches is `fail`, since a read that
//! told nothing constrains nothing.

mod rules;
mod template;

pub use rules::{Answer, Outcome, OutcomeKind, Rule, StatusPattern};
pub use template::{Bindings, Template, TemplateError};

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

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
    /// How a node is started.
    pub node: Node,
    /// When a node can serve.
    pub ready: Ready,
    /// How to find out who leads and to change the membership, where the store can.
    #[serde(default)]
    pub requests: nemesis::requests::Requests,
    /// How to compare replicas, where the store tells.
    pub state: Option<StateProbe>,
    /// How values look on the wire.
    #[serde(default)]
    pub values: Values,
    /// The operations the store can do, by their name in histories.
    pub operation: BTreeMap<String, Operation>,
}

/// How one node is started.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Node {
    /// A cargo package of this workspace that provides `{program}`.
    pub cargo: Option<String>,
    /// A program on `PATH` that provides `{program}`.
    pub program: Option<PathBuf>,
    /// Program and arguments; placeholders: `{program}`, `{node}`, `{address}`, `{data}`, `{members}`, `{index}`.
    pub command: Vec<Template>,
    /// How one member is written in `{members}`; placeholders: `{node}`, `{address}`, `{index}`.
    pub member: Option<Template>,
    /// The TCP port on which a node serves clients.
    pub port: u16,
    /// Environment of the node.
    #[serde(default)]
    pub env: BTreeMap<String, Template>,
}

/// The request that tells that a node can serve.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ready {
    /// Path of the GET request.
    pub path: String,
    /// The status that means ready.
    #[serde(default = "ok_status")]
    pub status: u16,
    /// How long a node may take, in seconds.
    #[serde(default = "default_within_s")]
    pub within_s: u64,
}

fn ok_status() -> u16 {
    200
}

fn default_within_s() -> u64 {
    30
}

/// Where a node shows a digest of its replicated state.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StateProbe {
    /// Path of the GET request.
    pub path: String,
    /// JSON pointer to the index up to which the log was applied.
    pub applied: String,
    /// JSON pointer to the digest of the state at that index.
    pub hash: String,
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

/// HTTP methods that operations use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
#[allow(missing_docs)]
pub enum Method {
    Get,
    Put,
    Post,
    Delete,
}

/// How one operation is spoken and understood.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Operation {
    /// The HTTP method.
    pub method: Method,
    /// The path; placeholders: `{key}`, `{value}`, `{old}`, `{new}`, `{request}`.
    pub path: Template,
    /// The query, percent-encoded when sent; same placeholders.
    #[serde(default)]
    pub query: BTreeMap<String, Template>,
    /// Headers; one that holds `{request}` is sent only with operations that may be sent again.
    #[serde(default)]
    pub headers: BTreeMap<String, Template>,
    /// The JSON body; a string that is one placeholder and nothing else becomes the typed value.
    pub json: Option<serde_json::Value>,
    /// The rules that classify the answer, first match wins.
    pub rules: Vec<Rule>,
}

impl Operation {
    /// Whether the store can be told that two requests are one, so that it may be sent again.
    #[must_use]
    pub fn can_repeat(&self) -> bool {
        self.headers.values().any(|template| template.names(REQUEST))
    }

    /// The headers of a request; `named` says whether the operation may be sent again.
    pub fn headers<'a>(
        &'a self,
        bindings: &'a Bindings<'_>,
        named: bool,
    ) -> impl Iterator<Item = (&'a str, String)> {
        let wanted = move |(_, template): &(&String, &Template)| named || !template.names(REQUEST);
        self.headers
            .iter()
            .filter(wanted)
            .map(|(name, template)| (name.as_str(), template.fill(bindings)))
    }

    /// The JSON body with its placeholders filled in.
    #[must_use]
    pub fn body(&self, bindings: &Bindings<'_>) -> Option<serde_json::Value> {
        self.json.as_ref().map(|json| fill(json, bindings))
    }
}

fn fill(json: &serde_json::Value, bindings: &Bindings<'_>) -> serde_json::Value {
    match json {
        serde_json::Value::String(text) => match Template::parse(text) {
            Ok(template) => template.fill_json(bindings),
            Err(_) => json.clone(),
        },
        serde_json::Value::Array(items) => items.iter().map(|item| fill(item, bindings)).collect(),
        serde_json::Value::Object(map) => map
            .iter()
            .map(|(name, value)| (name.clone(), fill(value, bindings)))
            .collect(),
        other => other.clone(),
    }
}

/// Why a system file cannot be used; one line for a person.
#[derive(Debug, thiserror::Error)]
pub enum SystemError {
    /// The file could not be read.
    #[error("{}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file is not what a system file should be.
    #[error("{}:{line}: {message}", path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1; 0 where the whole file is meant.
        line: usize,
        /// What is wrong and what was expected.
        message: String,
    },
}

/// Names of the placeholders that operations may use.
const OPERATION_PLACEHOLDERS: &[&str] = &["key", "value", "old", "new", REQUEST];
/// The placeholder for the name that all attempts of one operation share.
const REQUEST: &str = "request";
/// Names of the placeholders that a node's command and environment may use.
const NODE_PLACEHOLDERS: &[&str] = &["program", "node", "address", "data", "members", "index"];
/// Names of the placeholders in a member's spelling.
const MEMBER_PLACEHOLDERS: &[&str] = &["node", "address", "index"];

/// The file of kvnode, which an installed `workloads` carries along.
const KVNODE: &str = include_str!("../../../systems/kvnode.toml");

impl System {
    /// Reads and checks the system file at `path`.
    ///
    /// # Errors
    /// When the file cannot be read, is not TOML, has an unknown or missing field, or names a placeholder
    /// that does not exist; the message names file and line.
    pub fn open(path: &Path) -> Result<Self, SystemError> {
        let text = std::fs::read_to_string(path).map_err(|source| SystemError::Read {
            path: path.to_owned(),
            source,
        })?;
        Self::parse(&text, path)
    }

    /// Finds a system by what a user typed: the name of a shipped one (`kvnode`), or a path.
    ///
    /// # Errors
    /// As [`System::open`].
    pub fn find(name_or_path: &str) -> Result<Self, SystemError> {
        match name_or_path {
            "kvnode" => Self::parse(KVNODE, Path::new("systems/kvnode.toml")),
            path => Self::open(Path::new(path)),
        }
    }

    /// Names and texts of the systems that are always there.
    #[must_use]
    pub fn shipped() -> Vec<Self> {
        vec![Self::find("kvnode").expect("the shipped system file is checked by a test")]
    }

    fn parse(text: &str, path: &Path) -> Result<Self, SystemError> {
        let error = |line, message| SystemError::Parse {
            path: path.to_owned(),
            line,
            message,
        };
        let system: Self = toml::from_str(text).map_err(|e| {
            let line = e
                .span()
                .map_or(0, |span| text[..span.start].matches('\n').count() + 1);
            error(line, e.message().replace('\n', " "))
        })?;
        system.validate().map_err(|(needle, message)| {
            let line = text
                .lines()
                .position(|l| l.contains(&needle))
                .map_or(0, |i| i + 1);
            error(line, message)
        })?;
        Ok(system)
    }

    /// Checks what the types cannot; an error is (text to find the line by, message).
    fn validate(&self) -> Result<(), (String, String)> {
        let allow = |template: &Template, names: &[&str]| {
            template.unknown_placeholder(names).map_or(Ok(()), |name| {
                let needle = format!("{{{name}}}");
                let known = names
                    .iter()
                    .map(|n| format!("{{{n}}}"))
                    .collect::<Vec<_>>()
                    .join(", ");
                Err((
                    needle.clone(),
                    format!("unknown placeholder {needle}; known here: {known}"),
                ))
            })
        };
        if self.name.is_empty()
            || !self
                .name
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_')
        {
            return Err(("name".into(), "`name` must be letters, digits, - and _".into()));
        }
        if self.node.command.is_empty() {
            return Err(("command".into(), "`command` must name a program".into()));
        }
        for template in self.node.command.iter().chain(self.node.env.values()) {
            allow(template, NODE_PLACEHOLDERS)?;
        }
        if let Some(member) = &self.node.member {
            allow(member, MEMBER_PLACEHOLDERS)?;
        }
        let names_members = self.node.command.iter().any(|t| t.names("members"));
        if names_members && self.node.member.is_none() {
            return Err((
                "{members}".into(),
                "{members} is used, so `member` must say how one is written".into(),
            ));
        }
        for (name, operation) in &self.operation {
            allow(&operation.path, OPERATION_PLACEHOLDERS)?;
            for template in operation.query.values().chain(operation.headers.values()) {
                allow(template, OPERATION_PLACEHOLDERS)?;
            }
            if let Some(json) = &operation.json {
                for template in template::strings_in(json) {
                    let template =
                        Template::parse(template).map_err(|e| (template.to_owned(), e.to_string()))?;
                    allow(&template, OPERATION_PLACEHOLDERS)?;
                }
            }
            for rule in &operation.rules {
                rule.validate(name)
                    .map_err(|message| (format!("operation.{name}"), message))?;
            }
        }
        Ok(())
    }

    /// Classifies an answer to the operation named `f`.
    #[must_use]
    pub fn classify(&self, f: &str, answer: &Answer) -> Outcome {
        let rules = self
            .operation
            .get(f)
            .map_or(&[][..], |operation| &operation.rules);
        rules::classify(rules, answer, self.values.encode).unwrap_or_else(|| {
            let error = format!("no rule matches: {answer}");
            if f == "get" {
                Outcome::Fail { error }
            } else {
                Outcome::Info { error }
            }
        })
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

    fn problem(from: &str, to: &str) -> String {
        assert!(KVNODE.contains(from), "the test must change something");
        System::parse(&KVNODE.replacen(from, to, 1), Path::new("s.toml"))
            .expect_err("refused")
            .to_string()
    }

    #[test]
    fn the_shipped_file_is_valid() {
        assert_eq!(System::find("kvnode").expect("valid").name, "kvnode");
    }

    #[test]
    fn mistakes_are_named_with_their_line() {
        let line = |needle: &str| KVNODE.lines().position(|l| l.contains(needle)).expect("there") + 1;
        let cases = [
            (
                "within_s = 20",
                "within = 20",
                line("within_s"),
                "unknown field `within`",
            ),
            ("port = 8000", "port = 80000", line("port = 8000"), "80000"),
            ("{data}", "{datta}", line("--data-dir"), "{datta}"),
            ("\"{old}\"", "\"{olds}\"", line("{old}"), "{olds}"),
            ("status = \"4xx\"", "status = \"4x\"", line("\"4xx\""), "4x"),
            (
                "outcome = \"mismatch\"",
                "outcome = \"missmatch\"",
                line("\"mismatch\""),
                "missmatch",
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
                Outcome::Ok {
                    value: Some(Value::Int(7)),
                },
            ),
            (
                "get",
                answer(200, r#"{"key":"a","value":"07"}"#),
                Outcome::Ok {
                    value: Some(Value::from("07")),
                },
            ),
            (
                "get",
                answer(404, r#"{"error":"not_found","message":""}"#),
                Outcome::Ok {
                    value: Some(Value::Nil),
                },
            ),
            ("set", answer(200, r#"{"ok":true}"#), Outcome::Ok { value: None }),
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

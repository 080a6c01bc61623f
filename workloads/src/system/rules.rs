//! From an answer to an outcome: the rules of a system file.

use std::collections::BTreeMap;
use std::fmt;

use checker::history::Value;
use serde::Deserialize;
use serde_json::Value as Json;

use super::pointer::Pointer;
use super::template::{Bindings, JsonTemplate};
use super::{Encoding, is_read};

/// What an operation came to, as far as its client can know.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// It happened; `value` is what a read returned.
    Ok {
        /// The value read; `None` where the operation returns none.
        value: Option<Value>,
        /// The revision at which a write was made, where the store tells it and its file says where.
        rev: Option<i64>,
    },
    /// A cas compared, found something else and changed nothing: an observation.
    Mismatch {
        /// What it found, where the store told.
        current: Option<Value>,
    },
    /// It certainly did nothing.
    Fail {
        /// Why, for a person.
        error: String,
    },
    /// It may have happened, or may happen later.
    Info {
        /// Why nobody knows, for a person.
        error: String,
    },
}

impl Outcome {
    /// It happened, and returned nothing.
    pub const DONE: Self = Self::Ok {
        value: None,
        rev: None,
    };

    /// It happened and returned `value`.
    #[must_use]
    pub const fn told(value: Value) -> Self {
        Self::Ok {
            value: Some(value),
            rev: None,
        }
    }
}

/// What a rule makes of an answer.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Ruling<'a> {
    /// The operation is over.
    Done(Outcome),
    /// The next request follows, with what this answer told.
    Next(Vec<(&'a str, Json)>),
}

/// The outcome that a rule claims.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs)]
pub enum OutcomeKind {
    Ok,
    Mismatch,
    Fail,
    Info,
    /// The operation goes on with its next step.
    Next,
}

/// One rule: all conditions that it names must hold.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// What it means when this rule matches.
    pub outcome: OutcomeKind,
    /// Condition: the HTTP status, as `"200"`, `"4xx"` or `"*"`. Native clients say 200, or 500 for an error
    /// that the store told.
    pub status: Option<StatusPattern>,
    /// Condition: JSON pointers and the values that must stand there.
    #[serde(default)]
    pub json: BTreeMap<Pointer, JsonTemplate>,
    /// Condition: JSON pointers at which the same value must stand.
    #[serde(default)]
    pub same: Vec<Pointer>,
    /// Condition: JSON pointers that must lead somewhere.
    #[serde(default)]
    pub present: Vec<Pointer>,
    /// Condition: JSON pointers that must lead nowhere.
    #[serde(default)]
    pub absent: Vec<Pointer>,
    /// Condition: a text that the body contains.
    pub contains: Option<String>,
    /// Condition: a text that the body does not contain.
    pub lacks: Option<String>,
    /// JSON pointer to the value that was read; the rule does not match where it leads nowhere.
    pub value: Option<Pointer>,
    /// The key does not exist: the read returned nothing.
    #[serde(default)]
    pub missing: bool,
    /// JSON pointer to what a cas found instead.
    pub current: Option<Pointer>,
    /// JSON pointer to the revision at which a write was made: a whole number that grows with every write of the
    /// store.
    pub rev: Option<Pointer>,
    /// For `next`: names for later steps, and where in the answer their values stand. The rule does not match
    /// where one leads nowhere.
    #[serde(default)]
    pub capture: BTreeMap<String, Pointer>,
}

/// A pattern over HTTP status codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "toml::Value")]
pub enum StatusPattern {
    /// Any.
    Any,
    /// The hundred, as in `4xx`.
    Class(u16),
    /// This one.
    Exactly(u16),
}

impl TryFrom<toml::Value> for StatusPattern {
    type Error = String;

    fn try_from(written: toml::Value) -> Result<Self, String> {
        // 200 and "200" mean the same.
        let text = match written {
            toml::Value::String(text) => text,
            other => other.to_string(),
        };
        let class = || {
            text.strip_suffix("xx")
                .and_then(|c| c.parse().ok())
                .filter(|c| (1..=5).contains(c))
        };
        let exact = || text.parse().ok().filter(|c| (100..=599).contains(c));
        match text.as_str() {
            "*" => Ok(Self::Any),
            _ => class()
                .map(Self::Class)
                .or_else(|| exact().map(Self::Exactly))
                .ok_or_else(|| {
                    format!("`{text}` is no status: write a number as \"200\", a class as \"4xx\", or \"*\"")
                }),
        }
    }
}

impl Default for StatusPattern {
    fn default() -> Self {
        Self::Exactly(200)
    }
}

impl StatusPattern {
    pub(crate) fn matches(self, status: u16) -> bool {
        match self {
            Self::Any => true,
            Self::Class(hundred) => status / 100 == hundred,
            Self::Exactly(exactly) => status == exactly,
        }
    }
}

impl Rule {
    /// One without conditions.
    pub(super) fn plain(outcome: OutcomeKind) -> Self {
        Self {
            outcome,
            status: None,
            json: BTreeMap::new(),
            same: Vec::new(),
            present: Vec::new(),
            absent: Vec::new(),
            contains: None,
            lacks: None,
            value: None,
            missing: false,
            current: None,
            rev: None,
            capture: BTreeMap::new(),
        }
    }

    /// Whether it matches every answer, so that no rule behind it is ever asked.
    fn matches_all(&self) -> bool {
        let any_status = self.status.is_none_or(|status| status == StatusPattern::Any);
        let unconditional =
            self.json.is_empty() && self.same.is_empty() && self.present.is_empty() && self.absent.is_empty();
        any_status
            && unconditional
            && self.contains.is_none()
            && self.lacks.is_none()
            && self.value.is_none()
            && self.capture.is_empty()
    }

    fn validate(&self, operation: &str, place: Place) -> Result<(), String> {
        let reads = self.value.is_some() || self.missing;
        match self.outcome {
            OutcomeKind::Ok if is_read(operation) && !reads => {
                return Err("an ok rule must say what was read: `value` or `missing`".to_owned());
            }
            OutcomeKind::Mismatch if !matches!(operation, "cas" | "create" | "txn") => {
                return Err("only a cas or a txn can mismatch".to_owned());
            }
            OutcomeKind::Mismatch if place.step > 0 => {
                return Err(
                    "a later step cannot tell a mismatch from a version that has moved, \
                            which did nothing and showed nothing: say `fail`"
                        .to_owned(),
                );
            }
            OutcomeKind::Next if place.last => {
                return Err("`next` in the last step: there is nothing to go on to".to_owned());
            }
            _ => {}
        }
        if self.current.is_some() && self.outcome != OutcomeKind::Mismatch {
            return Err("`current` belongs to a mismatch".to_owned());
        }
        if self.rev.is_some() && (self.outcome != OutcomeKind::Ok || is_read(operation)) {
            return Err("`rev` belongs to an ok write".to_owned());
        }
        if !self.capture.is_empty() && self.outcome != OutcomeKind::Next {
            return Err("`capture` belongs to `next`".to_owned());
        }
        if self.same.len() == 1 {
            return Err("`same` compares two pointers or more".to_owned());
        }
        Ok(())
    }

    fn apply<'a>(
        &'a self,
        answer: &Answer,
        encoding: Encoding,
        bindings: &Bindings<'_>,
    ) -> Option<Ruling<'a>> {
        let at = |pointer: &Pointer| pointer.find(&answer.json);
        let holds = self.status.is_none_or(|pattern| pattern.matches(answer.status))
            && self
                .json
                .iter()
                .all(|(pointer, expected)| at(pointer).is_some_and(|found| found == expected.fill(bindings)))
            && self.same.windows(2).all(|pair| {
                let first = at(&pair[0]);
                first.is_some() && first == at(&pair[1])
            })
            && self.present.iter().all(|pointer| at(pointer).is_some())
            && self.absent.iter().all(|pointer| at(pointer).is_none())
            && self
                .contains
                .as_ref()
                .is_none_or(|text| answer.text.contains(text.as_str()))
            && self
                .lacks
                .as_ref()
                .is_none_or(|text| !answer.text.contains(text.as_str()));
        if !holds {
            return None;
        }
        let outcome = match self.outcome {
            OutcomeKind::Ok => Outcome::Ok {
                value: match &self.value {
                    Some(pointer) => Some(encoding.decode(&at(pointer)?)),
                    None => self.missing.then_some(Value::Nil),
                },
                rev: self.rev.as_ref().and_then(at).as_ref().and_then(whole),
            },
            OutcomeKind::Mismatch => {
                let current = self.current.as_ref().and_then(at);
                Outcome::Mismatch {
                    current: current.map(|json| encoding.decode(&json)),
                }
            }
            OutcomeKind::Fail => Outcome::Fail {
                error: answer.to_string(),
            },
            OutcomeKind::Info => Outcome::Info {
                error: answer.to_string(),
            },
            OutcomeKind::Next => {
                let found = self
                    .capture
                    .iter()
                    .map(|(name, pointer)| Some((name.as_str(), at(pointer)?)));
                return Some(Ruling::Next(found.collect::<Option<_>>()?));
            }
        };
        Some(Ruling::Done(outcome))
    }
}

/// A whole number, also one in a string.
pub(super) fn whole(json: &Json) -> Option<i64> {
    json.as_i64().or_else(|| json.as_str()?.parse().ok())
}

/// Where in its operation a list of rules stands.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    /// Which step, counted from 0.
    pub(super) step: usize,
    /// Whether none follows.
    pub(super) last: bool,
}

/// Checks the rules of one step of the operation named `operation`.
pub(super) fn validate(rules: &[Rule], operation: &str, place: Place) -> Result<(), String> {
    for (number, rule) in rules.iter().enumerate() {
        rule.validate(operation, place)?;
        if rule.matches_all() && number + 1 < rules.len() {
            return Err(format!(
                "rule {} matches everything, so the rules after it are never asked",
                number + 1
            ));
        }
    }
    if !place.last && !rules.iter().any(|rule| rule.outcome == OutcomeKind::Next) {
        return Err(format!(
            "step {} has no rule with outcome \"next\", so the one after it is never sent",
            place.step + 1
        ));
    }
    Ok(())
}

/// The first rule that matches decides; none where none does.
pub(crate) fn classify<'a>(
    rules: &'a [Rule],
    answer: &Answer,
    encoding: Encoding,
    bindings: &Bindings<'_>,
) -> Option<Ruling<'a>> {
    rules
        .iter()
        .find_map(|rule| rule.apply(answer, encoding, bindings))
}

/// A whole answer of a store.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The HTTP status; a native client says 200, or 500 for an error that the store told.
    pub(crate) status: u16,
    pub(crate) text: String,
    /// The body, or, where it is no JSON, its text as a string.
    pub(crate) json: Json,
}

/// How much of an answer's body goes into a history's `error`, in characters.
const SHOWN: usize = 160;

impl Answer {
    /// An answer whose body was read to its end.
    #[must_use]
    pub fn new(status: u16, body: &[u8]) -> Self {
        let text = String::from_utf8_lossy(body).into_owned();
        let json = serde_json::from_slice(body).unwrap_or_else(|_| Json::String(text.clone()));
        Self { status, text, json }
    }

    /// What a native client was told.
    #[must_use]
    pub fn told(json: Json) -> Self {
        Self {
            status: 200,
            text: super::pointer::plain(&json),
            json,
        }
    }

    /// The whole number that `pointer` leads to.
    pub(crate) fn number_at(&self, pointer: &Pointer) -> Option<u64> {
        let found = pointer.find(&self.json)?;
        found.as_u64().or_else(|| found.as_str()?.parse().ok())
    }

    /// An error that the store told a native client.
    #[must_use]
    pub fn refused(json: Json) -> Self {
        Self {
            status: 500,
            ..Self::told(json)
        }
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown: String = self.text.chars().take(SHOWN).collect();
        let more = if shown.len() < self.text.len() { "…" } else { "" };
        write!(f, "{} {}{more}", self.status, shown.trim_end())
    }
}

//! From an answer to an outcome: the rules of a system file.

use std::collections::BTreeMap;
use std::fmt;

use checker::history::Value;
use serde::Deserialize;

use super::Encoding;

/// What an operation came to, as far as its client can know.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// It happened; `value` is what a read returned.
    Ok {
        /// The value read; `None` where the operation returns none.
        value: Option<Value>,
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

/// The outcome that a rule claims.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs)]
pub enum OutcomeKind {
    Ok,
    Mismatch,
    Fail,
    Info,
}

/// One rule: all conditions that it names must hold.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// What it means when this rule matches.
    pub outcome: OutcomeKind,
    /// Condition: the HTTP status, as `"200"`, `"4xx"` or `"*"`.
    pub status: Option<StatusPattern>,
    /// Condition: JSON pointers and the values that must stand there.
    #[serde(default)]
    pub json: BTreeMap<String, serde_json::Value>,
    /// Condition: a text that the body contains.
    pub contains: Option<String>,
    /// JSON pointer to the value that was read; the rule does not match where it leads nowhere.
    pub value: Option<String>,
    /// The key does not exist: the read returned nothing.
    #[serde(default)]
    pub missing: bool,
    /// JSON pointer to what a cas found instead.
    pub current: Option<String>,
}

/// A pattern over HTTP status codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum StatusPattern {
    /// Any.
    Any,
    /// The hundred, as in `4xx`.
    Class(u16),
    /// This one.
    Exactly(u16),
}

impl TryFrom<String> for StatusPattern {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
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

impl StatusPattern {
    fn matches(self, status: u16) -> bool {
        match self {
            Self::Any => true,
            Self::Class(hundred) => status / 100 == hundred,
            Self::Exactly(exactly) => status == exactly,
        }
    }
}

impl Rule {
    pub(super) fn validate(&self, operation: &str) -> Result<(), String> {
        let reads = self.value.is_some() || self.missing;
        if self.outcome == OutcomeKind::Ok && operation == "get" && !reads {
            return Err(format!(
                "operation.{operation}: an ok rule must say what was read: `value` or `missing`"
            ));
        }
        if self.outcome == OutcomeKind::Mismatch && !matches!(operation, "cas" | "txn") {
            return Err(format!("operation.{operation}: only a cas or a txn can mismatch"));
        }
        if self.current.is_some() && self.outcome != OutcomeKind::Mismatch {
            return Err(format!("operation.{operation}: `current` belongs to a mismatch"));
        }
        for pointer in self.json.keys().chain(&self.value).chain(&self.current) {
            if !pointer.is_empty() && !pointer.starts_with('/') {
                return Err(format!(
                    "operation.{operation}: `{pointer}` is no JSON pointer, it must begin with /"
                ));
            }
        }
        Ok(())
    }

    fn apply(&self, answer: &Answer, encoding: Encoding) -> Option<Outcome> {
        let at = |pointer: &String| answer.json.as_ref().and_then(|json| json.pointer(pointer));
        let holds = self.status.is_none_or(|pattern| pattern.matches(answer.status))
            && self
                .json
                .iter()
                .all(|(pointer, expected)| at(pointer) == Some(expected))
            && self
                .contains
                .as_ref()
                .is_none_or(|text| answer.text.contains(text.as_str()));
        if !holds {
            return None;
        }
        match self.outcome {
            OutcomeKind::Ok => match &self.value {
                Some(pointer) => Some(Outcome::Ok {
                    value: Some(encoding.decode(at(pointer)?)),
                }),
                None => Some(Outcome::Ok {
                    value: self.missing.then_some(Value::Nil),
                }),
            },
            OutcomeKind::Mismatch => {
                let current = self
                    .current
                    .as_ref()
                    .and_then(at)
                    .map(|json| encoding.decode(json));
                Some(Outcome::Mismatch { current })
            }
            OutcomeKind::Fail => Some(Outcome::Fail {
                error: answer.to_string(),
            }),
            OutcomeKind::Info => Some(Outcome::Info {
                error: answer.to_string(),
            }),
        }
    }
}

/// The first rule that matches decides; none where none does.
pub(super) fn classify(rules: &[Rule], answer: &Answer, encoding: Encoding) -> Option<Outcome> {
    rules.iter().find_map(|rule| rule.apply(answer, encoding))
}

/// A whole HTTP answer.
#[derive(Debug, Clone)]
pub struct Answer {
    status: u16,
    text: String,
    json: Option<serde_json::Value>,
}

/// How much of an answer's body goes into a history's `error`, in characters.
const SHOWN: usize = 160;

impl Answer {
    /// An answer whose body was read to its end.
    #[must_use]
    pub fn new(status: u16, body: &[u8]) -> Self {
        Self {
            status,
            text: String::from_utf8_lossy(body).into_owned(),
            json: serde_json::from_slice(body).ok(),
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

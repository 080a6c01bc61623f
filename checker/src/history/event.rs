//! One line of a history: something was asked, or something came back.

use std::borrow::Cow;
use std::fmt;
use std::ops::Deref;

use serde::{Deserialize, Serialize};

use super::Value;

/// Nanoseconds on the run's monotonic clock, counted from the start of the run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Nanos(pub u64);

/// A client process: one thing at a time, and never again after an unknown outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ProcessId(pub u64);

/// Who caused an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Process {
    /// A client of the store.
    Client(ProcessId),
    /// The fault injector; its events are context and decide no verdict.
    Nemesis,
}

/// What an event says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EventKind {
    /// The operation was begun: recorded before its request is written.
    Invoke,
    /// It happened: recorded after the whole reply was read.
    Ok,
    /// It certainly did not take effect (or, a cas with error `mismatch`, observed another value).
    Fail,
    /// It may have taken effect, at any time from its invocation on, even after the run.
    Info,
}

/// A short text that is mostly one of a few constants, such as the name of a function.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Name(Cow<'static, str>);

/// One event, in Jepsen's shape.
///
/// `key`, `error` and the fields below it are absent where they do not apply. Fields that the reader does not
/// know are kept in `other` and written back.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// The number of the event in its history; grows by at least one from event to event.
    pub index: u64,
    /// When, on the run's monotonic clock; never goes backwards in our own form.
    pub time: Nanos,
    /// Who.
    pub process: Process,
    /// Asked, or one of the three ways to come back.
    pub kind: EventKind,
    /// The function: `get`, `set`, `cas`, `enqueue`, `txn`, ... or a fault for the nemesis.
    pub f: Name,
    /// The key, in models that have keys.
    pub key: Option<Value>,
    /// The argument in an invocation, argument or result in a completion.
    pub value: Value,
    /// Why it failed or is unknown; `mismatch` for a cas that compared and found another value.
    pub error: Option<String>,
    /// What a failed cas found instead, where the store told. `Some(Value::Nil)` says: no value.
    pub current: Option<Value>,
    /// The revision of the key: asked for in the invocation of a cas, told in a completion.
    pub rev: Option<i64>,
    /// The node that was asked or that answered.
    pub node: Option<String>,
    /// When an open-loop schedule meant the operation to start; for latencies only, never for verdicts.
    pub intended: Option<Nanos>,
    /// Everything else that the line said.
    pub other: serde_json::Map<String, serde_json::Value>,
}

impl Event {
    /// An event of a client with everything optional left out.
    pub fn new(
        index: u64,
        time: Nanos,
        process: ProcessId,
        kind: EventKind,
        f: impl Into<Name>,
        value: Value,
    ) -> Event {
        Event {
            index,
            time,
            process: Process::Client(process),
            kind,
            f: f.into(),
            key: None,
            value,
            error: None,
            current: None,
            rev: None,
            node: None,
            intended: None,
            other: serde_json::Map::new(),
        }
    }
}

impl EventKind {
    /// The word that stands for it in a history.
    pub fn as_str(self) -> &'static str {
        match self {
            EventKind::Invoke => "invoke",
            EventKind::Ok => "ok",
            EventKind::Fail => "fail",
            EventKind::Info => "info",
        }
    }

    /// The kind that a word in a history stands for.
    pub fn from_word(word: &str) -> Option<EventKind> {
        match word {
            "invoke" => Some(EventKind::Invoke),
            "ok" => Some(EventKind::Ok),
            "fail" => Some(EventKind::Fail),
            "info" => Some(EventKind::Info),
            _ => None,
        }
    }
}

impl Nanos {
    /// The time in seconds, for people.
    pub fn as_seconds(self) -> f64 {
        self.0 as f64 / 1e9
    }
}

/// Seconds with milliseconds, or more digits where milliseconds would say nothing: `12.310 s`.
impl fmt::Display for Nanos {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_multiple_of(1_000_000) || self.0 >= 1_000_000_000 {
            write!(
                out,
                "{}.{:03} s",
                self.0 / 1_000_000_000,
                self.0 / 1_000_000 % 1000
            )
        } else {
            write!(out, "{}.{:09} s", self.0 / 1_000_000_000, self.0 % 1_000_000_000)
        }
    }
}

impl fmt::Display for ProcessId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(out)
    }
}

impl fmt::Display for Process {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Process::Client(id) => id.fmt(out),
            Process::Nemesis => out.write_str("nemesis"),
        }
    }
}

impl Deref for Name {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl From<&'static str> for Name {
    fn from(text: &'static str) -> Self {
        Name(Cow::Borrowed(text))
    }
}

impl From<String> for Name {
    fn from(text: String) -> Self {
        Name(Cow::Owned(text))
    }
}

impl PartialEq<str> for Name {
    fn eq(&self, other: &str) -> bool {
        *self.0 == *other
    }
}

impl PartialEq<&str> for Name {
    fn eq(&self, other: &&str) -> bool {
        *self.0 == **other
    }
}

impl fmt::Display for Name {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

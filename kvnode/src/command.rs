//! What the log holds and what applying it answers.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// Longest key, in bytes of UTF-8.
pub const MAX_KEY_BYTES: usize = 4 << 10;
/// Longest value, in bytes of UTF-8.
pub const MAX_VALUE_BYTES: usize = 1 << 20;
/// Most comparisons and steps in one transaction, and bytes of all its keys and
/// values: what one log entry may weigh.
pub const MAX_TXN_STEPS: usize = 256;
/// See [`MAX_TXN_STEPS`].
pub const MAX_TXN_BYTES: usize = 4 << 20;

/// One entry of the replicated log: an operation on the keys.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Command {
    /// What to do.
    pub operation: Operation,
    /// Which request this is, so that a repetition is not executed again.
    pub request: Option<RequestId>,
    /// The leader's wall clock when it was proposed, ms since the epoch. The
    /// replicated clock is the largest of all of these; nobody's own clock counts.
    pub stamp_ms: u64,
}

/// A client's name for one of its requests: `Idempotency-Key: client:number`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct RequestId {
    /// The client.
    pub client: Arc<str>,
    /// Its number for the request. Requests of one client may arrive in any order.
    pub number: u64,
}

/// What a command does when it is applied. Applying is a pure function of the
/// state and the command, so every replica comes to the same result.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Operation {
    /// Gives the key this value, whatever it had.
    Set {
        /// The key.
        key: Arc<str>,
        /// Its new value.
        value: Arc<str>,
        /// How long the key lives by the replicated clock, ms; for ever if none.
        ttl_ms: Option<u64>,
    },
    /// Gives the key this value if it is as expected.
    Cas {
        /// The key.
        key: Arc<str>,
        /// What the key must be for the write to happen.
        expected: Expected,
        /// Its new value.
        value: Arc<str>,
    },
    /// Adds to the end of the key's value; a missing key counts as empty.
    Append {
        /// The key.
        key: Arc<str>,
        /// What to add.
        value: Arc<str>,
    },
    /// Removes the key.
    Delete {
        /// The key.
        key: Arc<str>,
    },
    /// Reads the key at this place in the log.
    Get {
        /// The key.
        key: Arc<str>,
    },
    /// Compares several keys and does one list of steps or the other, at once.
    Txn(Arc<Txn>),
    /// Nothing but the stamp: lets keys expire while nobody writes.
    Tick,
}

/// A transaction.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Txn {
    /// What must hold, all of it, for `then` to be done.
    pub compare: Vec<(Arc<str>, Expected)>,
    /// Done in order when everything compared holds.
    pub then: Vec<Operation>,
    /// Done in order when something does not.
    pub otherwise: Vec<Operation>,
}

/// What a compare-and-set compares with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Expected {
    /// The key must not exist.
    Absent,
    /// The key must have this value.
    Value(Arc<str>),
    /// The key must have been written last at this log index.
    Version(u64),
}

/// A value and the log index of the write that put it there. Versions never
/// repeat, not even after a delete.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Versioned {
    /// The value.
    pub value: Arc<str>,
    /// Log index of the key's last write.
    pub version: u64,
    /// When the key ends by the replicated clock, ms since the epoch.
    pub expires_ms: Option<u64>,
}

/// What applying a log entry answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// There was nothing to answer: a new leader's first entry, a membership, a tick.
    Nothing,
    /// The key was written; its version is the entry's log index.
    Written,
    /// The key is gone, and whether it was there before.
    Deleted(bool),
    /// The key as it was.
    Read(Option<Versioned>),
    /// The comparison failed; nothing was written.
    Mismatch {
        /// What the key was instead.
        current: Option<Versioned>,
    },
    /// The value would have become longer than [`MAX_VALUE_BYTES`]; nothing was
    /// written.
    TooLong,
    /// A transaction: whether its comparisons held, and what its steps answered.
    Txn {
        /// Whether `then` was done.
        succeeded: bool,
        /// One answer per step.
        steps: Vec<Outcome>,
    },
    /// The request was applied before; this is what it answered then.
    Repeated {
        /// Term of the entry that applied it.
        term: u64,
        /// Its log index.
        index: u64,
        /// What it answered.
        outcome: Box<Outcome>,
    },
    /// The request's name was used for another request; nothing was done.
    Reused,
    /// The request's name is older than what is remembered: whether it was applied is
    /// not known, so it is not applied now.
    Forgotten,
    /// More clients are remembered than may be; nothing was done.
    TooManyClients,
}

/// An outcome and where in the log it came to be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Applied {
    /// Term of the entry.
    pub term: u64,
    /// Log index of the entry.
    pub index: u64,
    /// What applying it answered.
    pub outcome: Outcome,
    /// Whether that was an earlier time, and this request a repetition.
    pub repeated: bool,
}

impl Command {
    /// A command that is not protected against repetition, not yet stamped.
    pub fn new(operation: Operation) -> Command {
        Command {
            operation,
            request: None,
            stamp_ms: 0,
        }
    }

    /// What the command weighs in memory and on disk, in bytes, roughly.
    pub fn weight(&self) -> usize {
        64 + self.operation.weight() + self.request.as_ref().map_or(0, |request| request.client.len())
    }
}

impl Operation {
    /// Bytes of its keys and values.
    pub fn weight(&self) -> usize {
        match self {
            Operation::Set { key, value, .. }
            | Operation::Cas { key, value, .. }
            | Operation::Append { key, value } => key.len() + value.len(),
            Operation::Delete { key } | Operation::Get { key } => key.len(),
            Operation::Tick => 0,
            Operation::Txn(txn) => {
                let compared = txn
                    .compare
                    .iter()
                    .map(|(key, expected)| key.len() + expected.weight());
                let steps = txn.then.iter().chain(&txn.otherwise).map(Operation::weight);
                compared.chain(steps).map(|bytes| bytes + 16).sum()
            }
        }
    }
}

impl Expected {
    fn weight(&self) -> usize {
        match self {
            Expected::Value(value) => value.len(),
            Expected::Absent | Expected::Version(_) => 8,
        }
    }

    /// Whether the key as it is now satisfies the comparison.
    pub fn holds(&self, current: Option<&Versioned>) -> bool {
        match (self, current) {
            (Expected::Absent, current) => current.is_none(),
            (Expected::Value(value), Some(current)) => *value == current.value,
            (Expected::Version(version), Some(current)) => *version == current.version,
            (_, None) => false,
        }
    }
}

impl fmt::Display for Command {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.operation {
            Operation::Set { key, .. } => write!(out, "set {key}"),
            Operation::Cas { key, .. } => write!(out, "cas {key}"),
            Operation::Append { key, .. } => write!(out, "append {key}"),
            Operation::Delete { key } => write!(out, "delete {key}"),
            Operation::Get { key } => write!(out, "get {key}"),
            Operation::Txn(txn) => write!(out, "txn of {} comparisons", txn.compare.len()),
            Operation::Tick => out.write_str("tick"),
        }
    }
}

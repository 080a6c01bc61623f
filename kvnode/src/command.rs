//! What the log holds and what applying it answers.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// Longest key, in bytes of UTF-8.
pub const MAX_KEY_BYTES: usize = 4 << 10;
/// Longest value, in bytes of UTF-8.
pub const MAX_VALUE_BYTES: usize = 1 << 20;

/// One entry of the replicated log: an operation on the keys.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Command {
    /// What to do.
    pub operation: Operation,
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
}

/// What applying a log entry answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// The entry carried no command (a new leader's first entry, or a membership).
    Nothing,
    /// The key was written; its version is the entry's log index.
    Written,
    /// The comparison failed; nothing was written.
    Mismatch {
        /// What the key was instead.
        current: Option<Versioned>,
    },
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
}

impl fmt::Display for Command {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.operation {
            Operation::Set { key, .. } => write!(out, "set {key}"),
            Operation::Cas { key, .. } => write!(out, "cas {key}"),
        }
    }
}

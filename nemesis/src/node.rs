//! A member of the cluster under test, and what its process is doing.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Name of a node, as the cluster's owner chose it: `n1`, `n2`, ...
///
/// Letters, digits, `-`, `_` and `.` only, so that a name can stand in a
/// partition (`n1,n2/n3`), in a file name and in a command line unquoted.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct NodeId(String);

impl NodeId {
    /// The `number`th node of a cluster with the usual names, counted from 1.
    pub fn numbered(number: usize) -> NodeId {
        NodeId(format!("n{number}"))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A node's name holds a character that it must not, or none at all.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a node name: use letters, digits, '-', '_' and '.'")]
pub struct BadNodeName(String);

impl FromStr for NodeId {
    type Err = BadNodeName;

    fn from_str(name: &str) -> Result<NodeId, BadNodeName> {
        let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if name.is_empty() || !name.chars().all(fits) {
            return Err(BadNodeName(name.to_owned()));
        }
        Ok(NodeId(name.to_owned()))
    }
}

impl TryFrom<String> for NodeId {
    type Error = BadNodeName;

    fn try_from(name: String) -> Result<NodeId, BadNodeName> {
        name.parse()
    }
}

impl From<NodeId> for String {
    fn from(node: NodeId) -> String {
        node.0
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// What a node's process is doing, read back from the system and not from what
/// was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "lowercase")]
pub enum NodeState {
    /// It runs.
    Running,
    /// It is stopped by SIGSTOP and holds its memory, files and sockets.
    Paused,
    /// It has ended, or was never started.
    Dead {
        /// True if its end was asked of us; false is a crash, and evidence.
        asked: bool,
        /// How it ended, where that is known.
        status: Option<EndStatus>,
    },
}

impl NodeState {
    /// True for a process that exists, running or paused.
    pub fn is_alive(self) -> bool {
        matches!(self, NodeState::Running | NodeState::Paused)
    }

    /// True for a process that ended without being told to.
    pub fn has_crashed(self) -> bool {
        matches!(self, NodeState::Dead { asked: false, .. })
    }
}

impl fmt::Display for NodeState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NodeState::Running => f.write_str("running"),
            NodeState::Paused => f.write_str("paused"),
            NodeState::Dead { asked: true, .. } => f.write_str("dead"),
            NodeState::Dead {
                asked: false,
                status: Some(status),
            } => {
                write!(f, "dead without being told to ({status})")
            }
            NodeState::Dead {
                asked: false,
                status: None,
            } => f.write_str("dead without being told to"),
        }
    }
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EndStatus {
    /// It exited with this code.
    Exited(i32),
    /// This signal ended it.
    Signaled(i32),
}

impl fmt::Display for EndStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            EndStatus::Exited(code) => write!(f, "exit code {code}"),
            EndStatus::Signaled(number) => match nix::sys::signal::Signal::try_from(*number) {
                Ok(signal) => write!(f, "{signal}"),
                Err(_) => write!(f, "signal {number}"),
            },
        }
    }
}

/// Names joined as people write them: `n1, n2, n3`.
pub(crate) fn join<'a>(nodes: impl IntoIterator<Item = &'a NodeId>) -> String {
    nodes
        .into_iter()
        .map(NodeId::as_str)
        .collect::<Vec<_>>()
        .join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_would_break_a_partition_are_refused() {
        for bad in ["", "n1,n2", "n1/n2", "a b", "ü"] {
            assert!(bad.parse::<NodeId>().is_err(), "{bad:?}");
        }
        for good in ["n1", "node-1", "db_2.local"] {
            assert_eq!(good.parse::<NodeId>().map(String::from).as_deref(), Ok(good));
        }
    }

    #[test]
    fn states_read_as_sentences_and_survive_json() {
        let dead = NodeState::Dead {
            asked: false,
            status: Some(EndStatus::Signaled(11)),
        };
        assert_eq!(dead.to_string(), "dead without being told to (SIGSEGV)");
        let json = serde_json::to_string(&dead).expect("plain data");
        assert_eq!(json, r#"{"state":"dead","asked":false,"status":{"signaled":11}}"#);
        assert_eq!(
            serde_json::from_str::<NodeState>(&json).expect("what we wrote"),
            dead
        );
    }
}

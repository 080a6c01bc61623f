//! Bugs on purpose, to test the tester. Only in builds with feature `planted-bugs`.
//!
//! Each is a wrapper at the [`Service`] seam: the node underneath is the one that
//! ships.

use std::sync::Arc;

use anyhow::bail;

use crate::command::{Applied, Command, Expected, Operation, Outcome};
use crate::env::clock::Instant;
use crate::node::Node;
use crate::peer::message::{Proof, Refusal};
use crate::service::{ReadError, Service};

/// A way to misbehave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bug {
    /// Reads answer from the local state, unconfirmed.
    FollowerRead,
    /// A cas reads first, compares, and then proposes a plain set.
    CasNotAtomic,
    /// A set is acknowledged when it is handed to the log, before a majority has it.
    AckBeforeCommit,
}

const BUGS: &[(&str, Bug)] = &[
    ("ack-before-commit", Bug::AckBeforeCommit),
    ("cas-not-atomic", Bug::CasNotAtomic),
    ("follower-read", Bug::FollowerRead),
];

/// The names of all bugs, in order.
pub fn names() -> impl Iterator<Item = &'static str> {
    BUGS.iter().map(|(name, _)| *name)
}

/// The names, if all of them are known.
///
/// # Errors
/// When one is not.
pub fn checked_names(names: Vec<String>) -> anyhow::Result<Vec<String>> {
    for name in &names {
        if !BUGS.iter().any(|(known, _)| known == name) {
            bail!("there is no bug '{name}': see `kvnode bugs`");
        }
    }
    Ok(names)
}

/// A node that misbehaves.
pub struct Planted {
    node: Arc<Node>,
    bugs: Vec<Bug>,
}

impl Planted {
    /// The node, with the bugs of its configuration.
    pub fn wrap(node: Arc<Node>) -> Arc<Planted> {
        let named = |name: &&(&str, Bug)| node.config().bugs.iter().any(|bug| bug == name.0);
        let bugs = BUGS.iter().filter(named).map(|(_, bug)| *bug).collect();
        Arc::new(Planted { node, bugs })
    }

    fn has(&self, bug: Bug) -> bool {
        self.bugs.contains(&bug)
    }

    /// Reads, compares, and only then proposes: another write may come between.
    async fn cas_in_two_steps(
        &self,
        key: &Arc<str>,
        expected: &Expected,
        value: &Arc<str>,
    ) -> Result<Applied, Refusal> {
        let index = self.node.confirm(Proof::Quorum).await?;
        self.node.machine().wait_applied(index).await;
        let current = self.node.machine().look(|state| state.get(key).cloned());
        if !expected.holds(current.as_ref()) {
            let term = self.node.metrics().current_term;
            return Ok(Applied {
                term,
                index,
                outcome: Outcome::Mismatch { current },
                repeated: false,
            });
        }
        let set = Operation::Set {
            key: key.clone(),
            value: value.clone(),
            ttl_ms: None,
        };
        self.node.propose(Command::new(set)).await
    }
}

impl Service for Planted {
    fn node(self: &Arc<Self>) -> &Arc<Node> {
        &self.node
    }

    async fn propose(&self, command: Command) -> Result<Applied, Refusal> {
        match &command.operation {
            Operation::Cas { key, expected, value } if self.has(Bug::CasNotAtomic) => {
                self.cas_in_two_steps(key, expected, value).await
            }
            Operation::Set { .. } if self.has(Bug::AckBeforeCommit) && self.node.is_leader() => {
                let index = self.node.log().last_index().unwrap_or(0) + 1;
                let term = self.node.metrics().current_term;
                let node = self.node.clone();
                tokio::spawn(async move { node.propose(command).await });
                Ok(Applied {
                    term,
                    index,
                    outcome: Outcome::Written,
                    repeated: false,
                })
            }
            _ => self.node.propose(command).await,
        }
    }

    async fn confirm(&self, proof: Proof) -> Result<u64, Refusal> {
        self.node.confirm(proof).await
    }

    async fn barrier(self: &Arc<Self>, deadline: Instant) -> Result<(), ReadError> {
        if self.has(Bug::FollowerRead) {
            return Ok(());
        }
        self.node.barrier(deadline).await
    }
}

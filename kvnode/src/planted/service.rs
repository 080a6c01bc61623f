//! Bugs in the paths of requests, and in what other nodes are answered.

use std::sync::Arc;
use std::time::Duration;

use openraft::async_runtime::WatchReceiver;
use openraft::raft::{AppendEntriesRequest, AppendEntriesResponse, VoteRequest, VoteResponse};
use parking_lot::Mutex;

use super::{Bug, Bugs};
use crate::cluster::NodeId;
use crate::command::{Applied, Command, Expected, Operation, Outcome, Txn};
use crate::env::clock::{self, Instant};
use crate::node::Node;
use crate::peer::message::{Proof, Refusal};
use crate::raft::TypeConfig;
use crate::service::{Ballot, ReadError, Service, WriteError};

/// How long a lease that is too long lasts.
const LEASE: Duration = Duration::from_secs(10);

/// A node that misbehaves.
pub struct Planted {
    node: Arc<Node>,
    bugs: Bugs,
    confirmed: Mutex<Option<Instant>>,
}

impl Planted {
    /// The node, with these bugs.
    pub fn new(node: Arc<Node>, bugs: Bugs) -> Planted {
        Planted {
            node,
            bugs,
            confirmed: Mutex::default(),
        }
    }

    fn has(&self, bug: Bug) -> bool {
        self.bugs.has(bug)
    }

    /// What this node knows to be committed, confirmed or not.
    fn committed(&self) -> u64 {
        self.node
            .raft()
            .data_metrics()
            .borrow_watched()
            .local_committed
            .map_or(0, |log_id| log_id.index)
    }

    /// Reads, compares, and only then proposes: another write may come between.
    async fn cas_in_two_steps(
        &self,
        key: &Arc<str>,
        expected: &Expected,
        value: &Arc<str>,
    ) -> Result<Applied, Refusal> {
        let index = self.read_index().await?;
        let current = self.node.machine().look(|state| state.get(key).cloned());
        if !expected.holds(current.as_ref()) {
            let outcome = Outcome::Mismatch { current };
            return Ok(Applied {
                term: self.node.term(),
                index,
                outcome,
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

    /// The same for a transaction that compares.
    async fn txn_in_two_steps(&self, txn: &Txn) -> Result<Applied, Refusal> {
        self.read_index().await?;
        let holds = self.node.machine().look(|state| {
            let mut compared = txn.compare.iter();
            compared.all(|(key, expected)| expected.holds(state.get(key)))
        });
        let steps = if holds { &txn.then } else { &txn.otherwise };
        let unconditional = Txn {
            compare: Vec::new(),
            then: steps.clone(),
            otherwise: Vec::new(),
        };
        let operation = Operation::Txn(Arc::new(unconditional));
        let mut applied = self.node.propose(Command::new(operation)).await?;
        if let Outcome::Txn { succeeded, .. } = &mut applied.outcome {
            *succeeded = holds;
        }
        Ok(applied)
    }

    /// Waits until this node knows all that was acknowledged by now.
    async fn read_index(&self) -> Result<u64, Refusal> {
        let index = self.node.confirm(Proof::Quorum).await?;
        self.node.machine().wait_applied(index).await;
        Ok(index)
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
            Operation::Txn(txn) if self.has(Bug::CasNotAtomic) && !txn.compare.is_empty() => {
                self.txn_in_two_steps(txn).await
            }
            Operation::Set { .. } if self.has(Bug::AckBeforeCommit) && self.node.is_leader() => {
                let index = self.node.log().last_index().unwrap_or(0) + 1;
                let node = self.node.clone();
                tokio::spawn(async move { node.propose(command).await });
                Ok(Applied {
                    term: self.node.term(),
                    index,
                    outcome: Outcome::Written,
                    repeated: false,
                })
            }
            _ => self.node.propose(command).await,
        }
    }

    async fn confirm(&self, proof: Proof) -> Result<u64, Refusal> {
        let leads = self.node.is_leader();
        if self.has(Bug::LeaderLocalRead) && leads {
            return Ok(self.committed());
        }
        if self.has(Bug::LeaseTooLong) && leads {
            let trusted = self.confirmed.lock().is_some_and(|at| at.elapsed() < LEASE);
            if trusted {
                return Ok(self.committed());
            }
        }
        let known = self.committed();
        let index = self.node.confirm(proof).await?;
        *self.confirmed.lock() = Some(clock::now());
        Ok(if self.has(Bug::ReadIndexBeforeFirstCommit) {
            known
        } else {
            index
        })
    }

    async fn barrier(self: &Arc<Self>, deadline: Instant) -> Result<(), ReadError> {
        if self.has(Bug::FollowerRead) {
            return Ok(());
        }
        let index = crate::read_gate::ReadGate::index(self, deadline).await?;
        let applied = self.node.machine().wait_applied(index);
        clock::until(deadline, applied)
            .await
            .map_err(|_| ReadError::Timeout)
    }

    fn as_told(&self, error: WriteError) -> WriteError {
        match error {
            WriteError::Timeout | WriteError::Unknown(_) if self.has(Bug::TimeoutAsFail) => {
                WriteError::NoLeader
            }
            error => error,
        }
    }

    async fn append_entries(
        self: &Arc<Self>,
        mut request: AppendEntriesRequest<TypeConfig>,
    ) -> Result<AppendEntriesResponse<TypeConfig>, String> {
        let prev = request.prev_log_id.map(|log_id| log_id.index);
        let lacks = prev > self.node.log().last_index();
        if self.has(Bug::AppendEntriesIgnoresPrev) && lacks && !request.entries.is_empty() {
            // The heartbeat in it is real; the entries are dropped, and acknowledged.
            request.entries.clear();
            request.prev_log_id = None;
            request.leader_commit = None;
        }
        self.node
            .raft()
            .append_entries(request)
            .await
            .map_err(|error| error.to_string())
    }

    async fn vote(
        self: &Arc<Self>,
        from: &NodeId,
        request: VoteRequest<TypeConfig>,
        ballot: Ballot,
    ) -> Result<VoteResponse<TypeConfig>, String> {
        if self.has(Bug::MemberRemovedStillVotes) && self.node.peer(from).is_none() {
            let last = self.node.raft().data_metrics().borrow_watched().last_log;
            return Ok(VoteResponse::new(request.vote, last, true));
        }
        let raft = self.node.raft();
        let answer = match ballot {
            Ballot::Vote => raft.vote(request).await,
            Ballot::PreVote => raft.pre_vote(request).await,
        };
        answer.map_err(|error| error.to_string())
    }
}

//! What a node does for clients, as a trait: the seam between the protocols and
//! consensus.
//!
//! HTTP and the peers' server know only this trait. [`Node`] implements it; a build
//! with planted bugs wraps it and misbehaves here, so that the code under test is
//! the code that ships.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use openraft::raft::{AppendEntriesRequest, AppendEntriesResponse, VoteRequest, VoteResponse};

use crate::cluster::NodeId;
use crate::command::{Applied, Command};
use crate::env::clock::{self, Instant};
use crate::node::Node;
use crate::peer::message::{Proof, Refusal};
use crate::raft::TypeConfig;
use crate::read_gate::{self, ReadGate};

/// Pause before asking again when no leader is known or it did not answer.
const RETRY: Duration = Duration::from_millis(10);

/// What clients are served with.
pub trait Service: Sized + Send + Sync + 'static {
    /// The node underneath.
    fn node(self: &Arc<Self>) -> &Arc<Node>;

    /// Proposes a command here, if this node leads, and waits until it is applied.
    ///
    /// # Errors
    /// [`Refusal::NotLeader`] means that nothing was proposed.
    fn propose(&self, command: Command) -> impl Future<Output = Result<Applied, Refusal>> + Send;

    /// If this node leads: an index such that a state that has applied it reflects
    /// every write acknowledged before the call (ReadIndex, Ongaro 2014, §6.4).
    ///
    /// # Errors
    /// When it does not lead, or no quorum confirms it.
    fn confirm(&self, proof: Proof) -> impl Future<Output = Result<u64, Refusal>> + Send;

    /// Takes entries, or a heartbeat, from a leader.
    fn append_entries(
        self: &Arc<Self>,
        request: AppendEntriesRequest<TypeConfig>,
    ) -> impl Future<Output = Result<AppendEntriesResponse<TypeConfig>, String>> + Send {
        async move {
            self.node()
                .raft()
                .append_entries(request)
                .await
                .map_err(|error| error.to_string())
        }
    }

    /// Answers a candidate, or one that asks whether it would be elected.
    fn vote(
        self: &Arc<Self>,
        _from: &NodeId,
        request: VoteRequest<TypeConfig>,
        ballot: Ballot,
    ) -> impl Future<Output = Result<VoteResponse<TypeConfig>, String>> + Send {
        async move {
            let raft = self.node().raft();
            let answer = match ballot {
                Ballot::Vote => raft.vote(request).await,
                Ballot::PreVote => raft.pre_vote(request).await,
            };
            answer.map_err(|error| error.to_string())
        }
    }

    /// Waits until the local state reflects every write acknowledged before the call,
    /// whichever node leads.
    ///
    /// # Errors
    /// When that cannot be had by the deadline.
    fn barrier(self: &Arc<Self>, deadline: Instant) -> impl Future<Output = Result<(), ReadError>> + Send {
        async move {
            let index = ReadGate::index(self, deadline).await?;
            let applied = self.node().machine().wait_applied(index);
            clock::until(deadline, applied)
                .await
                .map_err(|_| ReadError::Timeout)
        }
    }

    /// What a client is told of a write without an outcome.
    fn as_told(&self, error: WriteError) -> WriteError {
        error
    }

    /// Has a command applied, here or by forwarding it one hop to the leader.
    ///
    /// # Errors
    /// [`WriteError`] says whether the command may have taken effect.
    fn write(
        self: &Arc<Self>,
        command: Command,
        deadline: Instant,
    ) -> impl Future<Output = Result<Applied, WriteError>> + Send {
        async move {
            let node = self.node();
            let mut leader = node.leader();
            loop {
                let refusal = match leader.take() {
                    Some(leader) if leader == *node.id() => {
                        clock::until(deadline, self.propose(command.clone()))
                            .await
                            .map_err(|_| WriteError::Timeout)?
                    }
                    Some(leader) => {
                        match clock::until(deadline, node.forward(&leader, command.clone())).await {
                            Ok(Ok(answer)) => answer,
                            Ok(Err(Forward::NotSent(_))) => Err(Refusal::NotLeader(None)),
                            Ok(Err(Forward::Broken(why))) => return Err(WriteError::Unknown(why)),
                            Err(_) => return Err(WriteError::Timeout),
                        }
                    }
                    None => Err(Refusal::NotLeader(None)),
                };
                match refusal {
                    Ok(applied) => return Ok(applied),
                    Err(Refusal::NotLeader(hint)) => {
                        // Nothing was proposed, so asking again is no repetition.
                        if clock::now() + RETRY >= deadline {
                            return Err(WriteError::NoLeader);
                        }
                        clock::sleep(RETRY).await;
                        leader = hint.or_else(|| node.leader());
                    }
                    Err(Refusal::DiskFull) => return Err(WriteError::DiskFull),
                    Err(Refusal::Busy) => return Err(WriteError::Busy),
                    Err(Refusal::NoQuorum) => {
                        return Err(WriteError::Unknown("no quorum answered".to_owned()));
                    }
                    Err(Refusal::Unknown(why)) => return Err(WriteError::Unknown(why)),
                }
            }
        }
    }

    /// Waits until the local state is as fresh as the level promises.
    ///
    /// # Errors
    /// When that cannot be had by the deadline.
    fn freshen(
        self: &Arc<Self>,
        level: Level,
        deadline: Instant,
    ) -> impl Future<Output = Result<(), ReadError>> + Send {
        async move {
            match level {
                Level::Linearizable => self.barrier(deadline).await,
                Level::Stale => Ok(()),
                Level::Lease => loop {
                    let asked = clock::until(deadline, read_gate::confirm(self, Proof::Lease)).await;
                    match asked.map_err(|_| ReadError::Timeout)? {
                        Ok(index) => {
                            let applied = self.node().machine().wait_applied(index);
                            return clock::until(deadline, applied)
                                .await
                                .map_err(|_| ReadError::Timeout);
                        }
                        Err(error) if clock::now() + RETRY >= deadline => return Err(error),
                        Err(_) => clock::sleep(RETRY).await,
                    }
                },
            }
        }
    }
}

/// What a candidate asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ballot {
    /// The vote.
    Vote,
    /// Whether the vote would be given.
    PreVote,
}

/// How fresh a read must be. (Reading through the log is a write of nothing: an
/// `Operation::Get`.)
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// Every write acknowledged before the read began, proved by a quorum.
    Linearizable,
    /// The same, proved by the leader's lease: sound only while clocks run alike.
    /// openraft's was seen to return stale values after a voter's restart.
    Lease,
    /// Whatever this node has.
    Stale,
}

/// Why a forwarded command has no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Forward {
    /// Nothing left this node.
    NotSent(String),
    /// It may have been proposed.
    Broken(String),
}

/// Why a command has no outcome.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WriteError {
    /// No leader took it by the deadline. Nothing was proposed.
    #[error("no leader took the command before the deadline")]
    NoLeader,
    /// The leader's disk is full. Nothing was proposed.
    #[error("the disk is full: writes are refused until there is room")]
    DiskFull,
    /// The leader has too much under way. Nothing was proposed.
    #[error("too much is under way: try again")]
    Busy,
    /// It was proposed and the deadline came first. It may yet take effect.
    #[error("the deadline passed before the command was known to be committed")]
    Timeout,
    /// It may or may not take effect.
    #[error("{0}")]
    Unknown(String),
}

/// Why a read has no answer. A read changes nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// No leader was known by the deadline.
    #[error("no leader is known")]
    NoLeader,
    /// No quorum confirmed the leader by the deadline.
    #[error("the deadline passed before a quorum confirmed that the answer is current")]
    Timeout,
}

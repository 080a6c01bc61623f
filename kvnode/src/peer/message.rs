//! What nodes say to each other.

use std::sync::Arc;

use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, VoteRequest, VoteResponse,
};
use openraft::raft::{TransferLeaderRequest, TransferLeaderResponse};
use serde::{Deserialize, Serialize};

use crate::cluster::NodeId;
use crate::command::{Applied, Command};
use crate::membership::{Admin, AdminError};
use crate::raft::{LogId, SnapshotMeta, TypeConfig, Vote};

/// Version of this protocol; nodes of different versions refuse each other.
pub const PROTOCOL: u32 = 3;

/// The first frame on a connection, from the side that connected.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Hello {
    /// [`PROTOCOL`].
    pub protocol: u32,
    /// The cluster's name.
    pub cluster: String,
    /// Who connects.
    pub from: NodeId,
    /// Whom it means to reach.
    pub to: NodeId,
    /// Which data directory it means to reach, if it knows.
    pub to_incarnation: Option<u64>,
}

/// The answer to a [`Hello`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Welcome {
    /// Go on.
    Ready {
        /// The random number in the receiver's data directory.
        incarnation: u64,
    },
    /// The receiver will not talk, and says why.
    Refused(String),
}

/// What a node asks another.
#[derive(Debug, Serialize, Deserialize)]
pub enum Request {
    /// Raft: entries, or a heartbeat.
    Append(AppendEntriesRequest<TypeConfig>),
    /// Raft: a vote.
    Vote(VoteRequest<TypeConfig>),
    /// Raft: whether a vote would be given.
    PreVote(VoteRequest<TypeConfig>),
    /// Raft: become leader.
    TransferLeader(TransferLeaderRequest<TypeConfig>),
    /// Raft: a snapshot begins; its bytes follow.
    SnapshotBegin {
        /// The leader's vote.
        vote: Vote,
        /// What the snapshot stands for.
        meta: SnapshotMeta,
    },
    /// The next bytes of the snapshot's file.
    SnapshotBytes(Vec<u8>),
    /// The snapshot is complete: install it.
    SnapshotEnd,
    /// A client's command, forwarded, and the name of its request. Never forwarded on.
    Propose(Command, Option<Arc<str>>),
    /// An index such that whoever has applied it may answer a read that began before
    /// this request was sent.
    ReadIndex(Proof),
    /// An operator's request, forwarded, and its name. Never forwarded on.
    Admin(Admin, Option<Arc<str>>),
    /// Who are you, and have you been part of a cluster?
    Probe,
}

/// What it answers.
#[derive(Debug, Serialize, Deserialize)]
pub enum Reply {
    /// To [`Request::Append`].
    Append(AppendEntriesResponse<TypeConfig>),
    /// To [`Request::Vote`] and [`Request::PreVote`].
    Vote(VoteResponse<TypeConfig>),
    /// To [`Request::TransferLeader`].
    TransferLeader(TransferLeaderResponse<TypeConfig>),
    /// To [`Request::SnapshotBegin`] and [`Request::SnapshotBytes`].
    More,
    /// To [`Request::SnapshotEnd`].
    Snapshot(SnapshotResponse<TypeConfig>),
    /// To [`Request::Propose`].
    Propose(Result<Applied, Refusal>),
    /// To [`Request::ReadIndex`].
    ReadIndex(Result<u64, Refusal>),
    /// To [`Request::Admin`].
    Admin(Result<(), AdminError>),
    /// To [`Request::Probe`].
    Probe(Standing),
    /// The node cannot answer: its Raft core has stopped.
    Failed(String),
}

/// How a leader proves that it leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Proof {
    /// A quorum answers after the question: sound whatever clocks do.
    Quorum,
    /// A quorum answered not longer ago than its lease: sound while no clock runs away
    /// from another by more than the lease within the lease.
    Lease,
}

/// Why a request was not carried out where it was put.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Refusal {
    /// Nothing was proposed: this node does not lead. The name is who may.
    #[error("this node does not lead")]
    NotLeader(Option<NodeId>),
    /// Leadership could not be confirmed by a quorum in time. Reads only.
    #[error("no quorum answered")]
    NoQuorum,
    /// Nothing was proposed: the leader's disk is full.
    #[error("the leader's disk is full")]
    DiskFull,
    /// Nothing was proposed: more is under way than the leader takes.
    #[error("the leader has too much under way")]
    Busy,
    /// The command may or may not take effect.
    #[error("{0}")]
    Unknown(String),
}

/// What a node knows of the cluster it is in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// The random number in its data directory.
    pub incarnation: u64,
    /// Whether it has no log and no snapshot.
    pub pristine: bool,
    /// Which data directory it expects the asker to have, if the membership it knows
    /// says so.
    pub expects: Option<u64>,
    /// Where in the log that membership stands, if it knows one: of two members, the one
    /// with the later membership is right.
    pub members_since: Option<LogId>,
}

impl Standing {
    /// Whether it remembers the asker, whose directory bears this number, with another one.
    pub fn is_against(&self, own: u64) -> bool {
        self.expects.is_some_and(|expected| expected != own)
    }
}

//! Consensus: the one place that knows openraft.
//!
//! The version is pinned exactly, since the 0.10 alphas move; everything else in
//! this crate speaks the types named here. Why 0.10: reads are confirmed together
//! (0.9 spends a round of messages on each), and it has pre-vote and leader transfer.
//!
//! - [`log`] keeps entries and votes, with one fsync for all that queued meanwhile;
//! - [`queue`] is the way to the thread that does so;
//! - [`wal`] is where it keeps them;
//! - [`machine`] applies committed entries to the [`State`](crate::state::State);
//! - [`snapshot`] writes that state to files and reads it back.

pub mod log;
pub mod machine;
#[cfg(test)]
mod mem_disk;
pub mod queue;
pub mod snapshot;
pub mod wal;

use openraft::alias as of;

use crate::cluster::{NodeId, Peer};
use crate::command::{Command, Outcome};
use crate::config::Config;

openraft::declare_raft_types!(
    /// openraft's parameters for this store.
    pub TypeConfig:
        D = Command,
        R = Outcome,
        NodeId = NodeId,
        Node = Peer,
        LeaderId = openraft::impls::leader_id_std::LeaderId<u64, NodeId>,
);

/// The consensus engine of this store.
pub type Raft = openraft::Raft<TypeConfig, machine::Machine>;
/// An entry of the log.
pub type Entry = of::EntryOf<TypeConfig>;
/// Term and index of an entry.
pub type LogId = of::LogIdOf<TypeConfig>;
/// Whom a node votes for, or follows, in which term.
pub type Vote = of::VoteOf<TypeConfig>;
/// The membership as of some log entry.
pub type StoredMembership = of::StoredMembershipOf<TypeConfig>;
/// What a snapshot stands for.
pub type SnapshotMeta = of::SnapshotMetaOf<TypeConfig>;
/// A snapshot: what it stands for, and its file.
pub type Snapshot = of::SnapshotOf<TypeConfig, snapshot::SnapshotFile>;

/// openraft's settings for this node.
///
/// # Errors
/// When the timings contradict each other, in openraft's words.
pub fn settings(config: &Config) -> Result<openraft::Config, openraft::ConfigError> {
    openraft::Config {
        cluster_name: config.cluster_id.clone(),
        heartbeat_interval: config.heartbeat_ms,
        election_timeout_min: config.election_min_ms,
        election_timeout_max: config.election_max_ms,
        enable_pre_vote: Some(true),
        // A restarted leader stands for election like everyone else: restored
        // leadership could serve a state machine that lags what was acknowledged.
        enable_leader_restore: Some(false),
        // The node asks for snapshots itself: by entries or by bytes of log.
        snapshot_policy: openraft::SnapshotPolicy::Never,
        max_in_snapshot_log_to_keep: config.log_keep,
        purge_batch_size: 1,
        replication_lag_threshold: u64::MAX,
        max_payload_entries: 1024,
        install_snapshot_timeout: 60_000,
        backoff: "50ms 50ms 50ms ..100ms".to_owned(),
        ..openraft::Config::default()
    }
    .validate()
}

//! Bugs on purpose, to test the tester. Only in builds with feature `planted-bugs`.
//!
//! Each is a wrapper at a seam, so that the code around it is the code that ships:
//! - [`service`]: the paths of requests, and what other nodes are answered;
//! - [`machine`]: how commands become state, and state becomes snapshots;
//! - [`storage`]: what goes to the disk, and what is believed of it.

pub mod machine;
pub mod service;
pub mod storage;

use std::sync::Arc;

use anyhow::bail;

use crate::config::Config;
use crate::run::{Ready, Running};
use crate::seams::Seams;

/// A way to misbehave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bug {
    /// Reads answer from the local state, unconfirmed, on every node.
    FollowerRead,
    /// Whoever believes that it leads answers reads without asking a quorum.
    LeaderLocalRead,
    /// A leader trusts a confirmation for ten seconds.
    LeaseTooLong,
    /// A new leader answers reads before it has committed an entry of its own term, so
    /// it does not know yet what its predecessor acknowledged.
    ReadIndexBeforeFirstCommit,
    /// A set is acknowledged when it is handed to the log, before a majority has it.
    AckBeforeCommit,
    /// A cas reads first, compares, and then proposes a plain set; a transaction that compares does likewise.
    CasNotAtomic,
    /// A write that timed out is said not to have been applied.
    TimeoutAsFail,
    /// Repetitions of a named request are applied again.
    DupApply,
    /// Only a client's highest request number is looked at: late ones are dropped, with
    /// an answer as if they had been applied.
    SessionSeqGreater,
    /// A vote is not written to disk.
    VoteNotPersisted,
    /// Nothing is ever fsynced.
    NoFsync,
    /// A batch that a crash tore is patched up and believed.
    TornTailAccepted,
    /// The last entries of the log are dropped at every start.
    LogTruncatedOnRestart,
    /// Snapshots do not hold what named requests answered.
    SnapshotWithoutSessions,
    /// A snapshot lacks the last entry that it claims to hold.
    SnapshotOffByOne,
    /// A snapshot holds the membership from when the node that writes it was alone.
    SnapshotStaleMembership,
    /// Whoever receives a snapshot keeps its old data, and believes it to be new.
    StaleSnapshotInstall,
    /// Deletes are applied only where they were proposed.
    DeleteIgnoredOnReplica,
    /// Followers pass over one entry in 64.
    ApplySkipsOne,
    /// A follower accepts entries although it lacks those before them.
    AppendEntriesIgnoresPrev,
    /// A node that was removed is given every vote it asks for.
    MemberRemovedStillVotes,
    /// A set with an older wall clock than the key's last is dropped.
    ClockOrderedWrites,
}

const BUGS: &[(&str, Bug)] = &[
    ("ack-before-commit", Bug::AckBeforeCommit),
    ("append-entries-ignores-prev", Bug::AppendEntriesIgnoresPrev),
    ("apply-skips-one", Bug::ApplySkipsOne),
    ("cas-not-atomic", Bug::CasNotAtomic),
    ("clock-ordered-writes", Bug::ClockOrderedWrites),
    ("delete-ignored-on-replica", Bug::DeleteIgnoredOnReplica),
    ("dup-apply", Bug::DupApply),
    ("follower-read", Bug::FollowerRead),
    ("leader-local-read", Bug::LeaderLocalRead),
    ("lease-too-long", Bug::LeaseTooLong),
    ("log-truncated-on-restart", Bug::LogTruncatedOnRestart),
    ("member-removed-still-votes", Bug::MemberRemovedStillVotes),
    ("no-fsync", Bug::NoFsync),
    ("readindex-before-first-commit", Bug::ReadIndexBeforeFirstCommit),
    ("session-seq-greater", Bug::SessionSeqGreater),
    ("snapshot-off-by-one", Bug::SnapshotOffByOne),
    ("snapshot-stale-membership", Bug::SnapshotStaleMembership),
    ("snapshot-without-sessions", Bug::SnapshotWithoutSessions),
    ("stale-snapshot-install", Bug::StaleSnapshotInstall),
    ("timeout-as-fail", Bug::TimeoutAsFail),
    ("torn-tail-accepted", Bug::TornTailAccepted),
    ("vote-not-persisted", Bug::VoteNotPersisted),
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

/// The bugs of one run.
#[derive(Debug, Clone)]
pub struct Bugs(Arc<[Bug]>);

impl Bugs {
    /// Those that the configuration names.
    pub fn of(config: &Config) -> Bugs {
        let named = |(name, _): &&(&str, Bug)| config.bugs.iter().any(|bug| bug == name);
        Bugs(BUGS.iter().filter(named).map(|(_, bug)| *bug).collect())
    }

    fn has(&self, bug: Bug) -> bool {
        self.0.contains(&bug)
    }
}

/// Runs a node that misbehaves as its configuration says.
///
/// # Errors
/// As [`crate::run::run`].
pub fn run(config: Config, ready: Ready) -> Running {
    let bugs = Bugs::of(&config);
    let seams = Seams {
        rules: Arc::new(machine::PlantedRules::new(config.id.clone(), bugs.clone())),
        keeping: Arc::new(storage::PlantedKeeping::new(bugs.clone())),
    };
    let disk = storage::PlantedDisk::new(bugs.clone());
    let wrap = |node| Arc::new(service::Planted::new(node, bugs));
    Box::pin(crate::run::run(config, disk, seams, wrap, ready))
}

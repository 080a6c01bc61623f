//! Where a build with planted bugs takes hold: storage and state machine.
//!
//! (The paths of requests have a seam of their own, the
//! [`Service`](crate::service::Service) trait.) What ships is the defaults of the
//! traits here; they do nothing but the right thing.

use std::sync::Arc;

use crate::command::{Command, Outcome};
use crate::raft::SnapshotMeta;
use crate::raft::wal::{Kept, Record};
use crate::state::{Changes, State};

/// Whether an entry is applied for a client that waits here, or to follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// The node that proposed it.
    Proposer,
    /// Any other.
    Follower,
}

/// How committed commands become state, and state becomes snapshots.
pub trait Rules: Send + Sync + 'static {
    /// Applies the command of the entry with this term and index.
    fn apply(
        &self,
        state: &mut State,
        at: (u64, u64, Place),
        command: &Command,
        changes: &mut Changes,
    ) -> Outcome {
        let (term, index, _) = at;
        state.apply(term, index, command, changes)
    }

    /// What a snapshot of this state holds, and what it says it stands for.
    fn frozen(&self, meta: SnapshotMeta, state: State) -> (SnapshotMeta, State) {
        (meta, state)
    }

    /// What the state is after a snapshot was received.
    fn installed(&self, _before: &State, received: State) -> State {
        received
    }
}

/// What goes through to the log on disk, and back.
pub trait Keeping: Send + Sync + 'static {
    /// Whether the record is written.
    fn keeps(&self, _record: &Record) -> bool {
        true
    }

    /// What was found at start, as the node is told.
    fn found(&self, kept: Kept) -> Kept {
        kept
    }
}

/// The rules that ship.
#[derive(Debug, Clone, Copy, Default)]
pub struct Honest;

impl Rules for Honest {}
impl Keeping for Honest {}

/// All of them.
#[derive(Clone)]
pub struct Seams {
    /// See [`Rules`].
    pub rules: Arc<dyn Rules>,
    /// See [`Keeping`].
    pub keeping: Arc<dyn Keeping>,
}

impl Default for Seams {
    fn default() -> Seams {
        Seams {
            rules: Arc::new(Honest),
            keeping: Arc::new(Honest),
        }
    }
}

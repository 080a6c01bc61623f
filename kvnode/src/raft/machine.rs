//! Applies committed entries to the state, in memory.
//!
//! The state is rebuilt at start from the newest snapshot and the log behind it, so
//! applying touches no disk. Readers take the lock for one lookup; whoever waits
//! for an index watches `applied`.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{Stream, TryStreamExt};
use openraft::storage::{EntryResponder, RaftSnapshotBuilder, RaftStateMachine};
use openraft::{EntryPayload, OptionalSend};
use parking_lot::RwLock;
use tokio::sync::watch;
use tracing::warn;

use super::snapshot::{SnapshotDir, SnapshotFile};
use super::{LogId, Snapshot, SnapshotMeta, StoredMembership, TypeConfig};
use crate::command::Outcome;
use crate::env::clock;
use crate::feed::Feed;
use crate::seams::{Place, Rules};
use crate::state::{Changes, State};

/// Pause before a snapshot is tried again on a full disk.
const FULL_RETRY: Duration = Duration::from_secs(1);

/// The state machine; clones share one state.
#[derive(Clone)]
pub struct Machine {
    inner: Arc<RwLock<Inner>>,
    applied: watch::Sender<u64>,
    snapshots: SnapshotDir,
    rules: Arc<dyn Rules>,
}

#[derive(Default)]
struct Inner {
    state: State,
    feed: Feed,
    last: Option<LogId>,
    membership: StoredMembership,
}

impl Machine {
    /// A machine without any state, keeping its snapshots in `snapshots`.
    pub fn new(snapshots: SnapshotDir, rules: Arc<dyn Rules>) -> Machine {
        Machine {
            inner: Arc::default(),
            applied: watch::Sender::new(0),
            snapshots,
            rules,
        }
    }

    /// Looks at the state. Keep it short: applying waits meanwhile.
    pub fn look<T>(&self, look: impl FnOnce(&State) -> T) -> T {
        look(&self.inner.read().state)
    }

    /// Looks at the recent changes, and at the index up to which they are known.
    pub fn look_at_feed<T>(&self, look: impl FnOnce(&Feed, u64) -> T) -> T {
        let inner = self.inner.read();
        look(&inner.feed, inner.state.applied())
    }

    /// Where snapshots are kept.
    pub fn snapshots(&self) -> &SnapshotDir {
        &self.snapshots
    }

    /// Waits until the entry at `index` is applied.
    pub async fn wait_applied(&self, index: u64) {
        if *self.applied.borrow() >= index {
            return;
        }
        let mut applied = self.applied.subscribe();
        // The sender lives as long as `self`, so this cannot fail.
        let _ = applied.wait_for(|applied| *applied >= index).await;
    }

    /// The state now and what it stands for. Cheap: the original goes on and shares what
    /// it does not change.
    pub fn frozen(&self) -> (SnapshotMeta, State) {
        let inner = self.inner.read();
        let meta = SnapshotMeta {
            last_log_id: inner.last,
            last_membership: inner.membership.clone(),
        };
        self.rules.frozen(meta, inner.state.clone())
    }
}

impl RaftStateMachine<TypeConfig> for Machine {
    type SnapshotData = SnapshotFile;
    type SnapshotBuilder = Machine;

    async fn applied_state(&mut self) -> io::Result<(Option<LogId>, StoredMembership)> {
        let inner = self.inner.read();
        Ok((inner.last, inner.membership.clone()))
    }

    async fn apply<S>(&mut self, mut entries: S) -> io::Result<()>
    where
        S: Stream<Item = io::Result<EntryResponder<TypeConfig>>> + Unpin + OptionalSend,
    {
        let mut changes = Changes::new();
        while let Some((entry, responder)) = entries.try_next().await? {
            let index = entry.log_id.index;
            let place = if responder.is_some() {
                Place::Proposer
            } else {
                Place::Follower
            };
            let outcome = {
                let mut guard = self.inner.write();
                let inner = &mut *guard;
                inner.last = Some(entry.log_id);
                match entry.payload {
                    EntryPayload::Normal(command) => {
                        let term = entry.log_id.leader_id.term;
                        let at = (term, index, place);
                        let outcome = self.rules.apply(&mut inner.state, at, &command, &mut changes);
                        inner.feed.push(index, &mut changes);
                        outcome
                    }
                    EntryPayload::Blank => {
                        inner.state.skip(index);
                        Outcome::Nothing
                    }
                    EntryPayload::Membership(membership) => {
                        inner.state.skip(index);
                        inner.membership = StoredMembership::new(Some(entry.log_id), membership);
                        Outcome::Nothing
                    }
                }
            };
            self.applied.send_replace(index);
            if let Some(responder) = responder {
                responder.send(outcome);
            }
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> Machine {
        self.clone()
    }

    async fn install_snapshot(&mut self, meta: &SnapshotMeta, snapshot: SnapshotFile) -> io::Result<()> {
        // Decoding a large state takes long enough to miss heartbeats.
        let (found, state) = tokio::task::spawn_blocking({
            let snapshot = snapshot.clone();
            move || snapshot.read()
        })
        .await
        .map_err(io::Error::other)??;
        if found != *meta {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!(
                    "{}: stands for {found}, but {meta} was announced",
                    snapshot.path.display()
                ),
            ));
        }
        self.snapshots.adopt(&snapshot.path, state.applied())?;
        let applied = state.applied();
        let state = self.look(|before| self.rules.installed(before, state));
        *self.inner.write() = Inner {
            feed: Feed::starting_after(applied),
            state,
            last: meta.last_log_id,
            membership: meta.last_membership.clone(),
        };
        self.applied.send_replace(applied);
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> io::Result<Option<Snapshot>> {
        Ok(self
            .snapshots
            .newest()?
            .map(|(meta, snapshot)| Snapshot { meta, snapshot }))
    }
}

impl RaftSnapshotBuilder<TypeConfig> for Machine {
    type SnapshotData = SnapshotFile;

    async fn build_snapshot(&mut self) -> io::Result<Snapshot> {
        loop {
            let (meta, state) = self.frozen();
            let snapshots = self.snapshots.clone();
            let build = move || {
                let snapshot = snapshots.save(&meta, &state)?;
                io::Result::Ok(Snapshot { meta, snapshot })
            };
            match tokio::task::spawn_blocking(build)
                .await
                .map_err(io::Error::other)?
            {
                // To openraft any failure is the end of the node, but a full disk passes.
                Err(error) if error.kind() == io::ErrorKind::StorageFull => {
                    warn!(%error, "no room for a snapshot: trying again");
                    clock::sleep(FULL_RETRY).await;
                }
                built => return built,
            }
        }
    }
}

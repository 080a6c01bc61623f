//! Backups that a cluster makes of itself: by its leader, or by one chosen node.
//!
//! When the next is due is read from the store, not remembered: a new leader goes on
//! where the old one was. A failure is told in the log, in `/metrics` and in `/status`,
//! and tried again with growing pauses; it touches nothing that serves clients.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tracing::{info, warn};

use super::store::{Store, StoreOptions};
use super::{Manifest, take, utc};
use crate::cluster::NodeId;
use crate::env::clock;
use crate::node::Node;
use crate::service::Service;

/// How often it is looked whether a backup is due.
const LOOK: Duration = Duration::from_millis(500);
/// Pause after the first failure; it doubles with each further one.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// Longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(300);
/// How long the state may take to be as fresh as a linearizable read.
const BARRIER: Duration = Duration::from_secs(10);
/// How many states may be sent or stored at once: each holds what it froze.
const AT_ONCE: usize = 2;

/// When the node makes backups, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schedule {
    /// Where.
    pub store: StoreOptions,
    /// How old the newest may become.
    pub every: Duration,
    /// How many of this cluster's are kept.
    pub keep: usize,
    /// Who makes them; whoever leads if nobody is named.
    pub node: Option<NodeId>,
}

/// What came of backups on this node.
#[derive(Debug)]
pub struct Backups {
    made: AtomicU64,
    failed: AtomicU64,
    last: Mutex<Last>,
    room: Arc<Semaphore>,
}

#[derive(Debug, Default, Clone)]
struct Last {
    manifest: Option<Manifest>,
    took: Duration,
    /// Why the newest try failed, and when the next is, if the newest failed.
    error: Option<(String, u64)>,
}

impl Default for Backups {
    fn default() -> Backups {
        Backups {
            made: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            last: Mutex::default(),
            room: Arc::new(Semaphore::new(AT_ONCE)),
        }
    }
}

impl Backups {
    /// Room for one that is sent or stored now.
    pub fn room(&self) -> &Arc<Semaphore> {
        &self.room
    }

    /// What `/status` says of them.
    pub fn status(&self, schedule: &Schedule) -> Value {
        let last = self.last.lock().clone();
        json!({
            "to": schedule.store.url,
            "every_s": schedule.every.as_secs(),
            "made": self.made.load(Ordering::Relaxed),
            "failed": self.failed.load(Ordering::Relaxed),
            "last": last.manifest.map(|made| json!({ "id": made.id, "index": made.index, "taken": made.taken })),
            "error": last.error.as_ref().map(|(why, _)| why.clone()),
            "next_try": last.error.map(|(_, at)| utc(at)),
        })
    }

    /// What `/metrics` says of them: name, help, type, value.
    pub fn metrics(&self) -> [(&'static str, &'static str, &'static str, f64); 6] {
        let last = self.last.lock();
        let made = last.manifest.as_ref();
        let of = |value: fn(&Manifest) -> u64| made.map_or(0, value) as f64;
        [
            (
                "backups_total",
                "Backups that this node made since it started.",
                "counter",
                self.made.load(Ordering::Relaxed) as f64,
            ),
            (
                "backup_failures_total",
                "Backups that this node failed to make.",
                "counter",
                self.failed.load(Ordering::Relaxed) as f64,
            ),
            (
                "backup_failing",
                "1 when the newest try to make one failed.",
                "gauge",
                f64::from(u8::from(last.error.is_some())),
            ),
            (
                "backup_last_success_seconds",
                "When this node last made one, seconds since the Unix epoch; 0 if never.",
                "gauge",
                of(|made| made.taken_ms) / 1e3,
            ),
            (
                "backup_last_bytes",
                "Length of the last.",
                "gauge",
                of(|made| made.bytes),
            ),
            (
                "backup_last_duration_seconds",
                "How long the last took.",
                "gauge",
                last.took.as_secs_f64(),
            ),
        ]
    }

    fn succeeded(&self, manifest: Manifest, took: Duration) {
        self.made.fetch_add(1, Ordering::Relaxed);
        *self.last.lock() = Last {
            manifest: Some(manifest),
            took,
            error: None,
        };
    }

    fn failed(&self, why: String, next_ms: u64) {
        self.failed.fetch_add(1, Ordering::Relaxed);
        self.last.lock().error = Some((why, next_ms));
    }

    /// Another node makes them now: what failed here is not failing any more.
    fn not_mine(&self) {
        self.last.lock().error = None;
    }
}

/// Makes backups for as long as the node runs, whenever one is due and it is this node's
/// to make.
pub async fn make_backups<S: Service>(service: Arc<S>, schedule: Schedule, store: Store) {
    let node = service.node().clone();
    let mut pause = FIRST_PAUSE;
    // When the newest was taken, once the store was asked, while this is our task.
    let mut newest: Option<Option<u64>> = None;
    loop {
        clock::sleep(LOOK).await;
        let ours = match &schedule.node {
            Some(chosen) => chosen == node.id(),
            None => node.is_leader(),
        };
        if !ours {
            newest = None;
            pause = FIRST_PAUSE;
            node.backups().not_mine();
            continue;
        }
        if let Some(Some(taken)) = newest
            && clock::wall_ms() < taken.saturating_add(schedule.every.as_millis() as u64)
        {
            continue;
        }
        let begun = clock::now();
        let made = match newest {
            None => take::newest(&store, &node.config().cluster_id)
                .await
                .map(Made::Asked)
                .map_err(anyhow::Error::from),
            Some(_) => make(&service, &node, &store).await.map(Made::New),
        };
        match made {
            Ok(Made::Asked(taken)) => newest = Some(taken),
            Ok(Made::New(manifest)) => {
                newest = Some(Some(manifest.taken_ms));
                pause = FIRST_PAUSE;
                info!(backup = store.shown(&manifest.id), index = manifest.index, bytes = manifest.bytes, took = ?begun.elapsed(), "made a backup");
                node.backups().succeeded(manifest, begun.elapsed());
                match take::prune(&store, &node.config().cluster_id, schedule.keep).await {
                    Ok(0) => {}
                    Ok(count) => info!(count, kept = schedule.keep, "removed old backups"),
                    Err(error) => warn!(%error, "cannot remove old backups; the next one tries again"),
                }
            }
            Err(error) => {
                let why = format!("{error:#}");
                warn!(error = why, ?pause, "cannot make a backup; trying again");
                node.backups()
                    .failed(why, clock::wall_ms() + pause.as_millis() as u64);
                clock::sleep(pause).await;
                pause = (pause * 2)
                    .min(LONGEST_PAUSE)
                    .min(schedule.every.max(FIRST_PAUSE));
            }
        }
    }
}

enum Made {
    /// The store was asked when the newest was taken.
    Asked(Option<u64>),
    /// A new one.
    New(Manifest),
}

async fn make<S: Service>(service: &Arc<S>, node: &Arc<Node>, store: &Store) -> anyhow::Result<Manifest> {
    let _room = node.backups().room.acquire().await?;
    service.barrier(clock::now() + BARRIER).await?;
    let (node, store) = (node.clone(), store.clone());
    tokio::task::spawn_blocking(move || take::of_this_node(&node, store)).await?
}

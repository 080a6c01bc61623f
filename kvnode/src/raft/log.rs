//! The log store: entries readable at once, durable together.
//!
//! The whole retained log is mirrored in memory, where replication and applying
//! read it. Every write goes through one queue to one thread, which takes all that
//! has queued, makes it one batch and one fsync, and then calls back
//! everyone whose records it held. While that fsync runs the next batch gathers.
//!
//! Invariants:
//! - an entry is in the mirror when `append` returns and on disk when its callback is
//!   called; a vote is on disk when `save_vote` returns;
//! - records reach the disk in the order in which they were queued;
//! - after a failed write nothing is written any more: the page cache may claim to
//!   hold what the disk lost, so a second fsync that succeeds proves nothing.

use std::collections::VecDeque;
use std::fmt::Debug;
use std::io;
use std::ops::{Bound, RangeBounds};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use openraft::storage::{IOFlushed, LogState, RaftLogReader, RaftLogStorage};
use openraft::{EntryPayload, OptionalSend};
use parking_lot::RwLock;
use tokio::sync::oneshot;
use tracing::warn;

use super::queue::{Ended, Haste, Nothing, Receiver, Sender, queue};
use super::wal::{Kept, Record, Wal, WalError};
use super::{Entry, LogId, TypeConfig, Vote};
use crate::env::clock;
use crate::env::fs::Disk;
use crate::histogram::Histogram;
use crate::seams::Keeping;

/// Most bytes of keys and values read for one message to a follower: one more
/// entry than fits is never added, and one entry always is.
const READ_BYTES: usize = 2 << 20;
/// Bytes after which a batch takes no further jobs. One job is at most what openraft
/// appends at once; far below what a reader accepts.
const BATCH_BYTES: u64 = 8 << 20;
/// Quiet after which the end of the file is sealed.
const IDLE: Duration = Duration::from_millis(20);
/// Pause between tries on a full disk.
const FULL_RETRY: Duration = Duration::from_millis(200);

/// The log of this node.
#[derive(Clone)]
pub struct LogStore {
    mirror: Arc<RwLock<Mirror>>,
    queue: Sender<Job>,
    full: Arc<AtomicBool>,
    low: Arc<AtomicBool>,
    /// Why nothing is written any more, once that is so.
    failure: Arc<OnceLock<String>>,
    commits: Arc<Histogram>,
}

#[derive(Default)]
struct Mirror {
    entries: VecDeque<Entry>,
    first: u64,
    bytes: u64,
    /// Bytes ever pushed, including those found at start. Never decreases.
    written: u64,
    vote: Option<Vote>,
    purged: Option<LogId>,
    committed: Option<LogId>,
}

struct Job {
    records: Records,
    done: Done,
}

enum Records {
    One(Record),
    Entries(Vec<Entry>),
}

enum Done {
    Nobody,
    Raft(IOFlushed<TypeConfig>),
    Waiter(oneshot::Sender<io::Result<()>>),
}

impl LogStore {
    /// Opens the log kept in `directory` and starts its writer thread.
    ///
    /// # Errors
    /// When a file is damaged, or the file system refuses.
    pub fn open<D: Disk>(disk: D, directory: &Path, keeping: Arc<dyn Keeping>) -> Result<LogStore, WalError> {
        let (wal, kept) = Wal::open(disk, directory)?;
        let kept = keeping.found(kept);
        let (queue, jobs) = queue();
        let full = Arc::new(AtomicBool::new(false));
        let failure = Arc::new(OnceLock::new());
        let commits = Arc::new(Histogram::default());
        let writer = Writer {
            wal,
            jobs,
            keeping,
            commits: commits.clone(),
            full: full.clone(),
            failure: failure.clone(),
            records: Vec::new(),
            waiting: Vec::new(),
        };
        std::thread::Builder::new()
            .name("log-writer".to_owned())
            .spawn(move || writer.run())
            .expect("the system can start one thread");
        Ok(LogStore {
            mirror: Arc::new(RwLock::new(Mirror::new(kept))),
            queue,
            full,
            low: Arc::default(),
            failure,
            commits,
        })
    }

    /// Whether the disk is full, or nearly so: nothing new should be begun.
    pub fn is_full(&self) -> bool {
        self.full.load(Ordering::Relaxed) || self.low.load(Ordering::Relaxed)
    }

    /// How long batches took to be on disk.
    pub fn commits(&self) -> &Histogram {
        &self.commits
    }

    /// Notes whether there is little room on the disk; tells whether that is news.
    pub fn note_low(&self, low: bool) -> bool {
        self.low.swap(low, Ordering::Relaxed) != low
    }

    /// Whether this node has ever been part of a cluster: it has an entry, or a
    /// snapshot stood for some.
    pub fn is_pristine(&self) -> bool {
        let mirror = self.mirror.read();
        mirror.entries.is_empty() && mirror.purged.is_none()
    }

    /// Bytes of the commands that the log retains.
    pub fn bytes(&self) -> u64 {
        self.mirror.read().bytes
    }

    /// Bytes of commands ever appended, including those found at start.
    pub fn written(&self) -> u64 {
        self.mirror.read().written
    }

    /// The index up to which entries may go so that those left weigh at most `bytes`;
    /// none if nothing need go.
    pub fn index_leaving(&self, bytes: u64) -> Option<u64> {
        let mirror = self.mirror.read();
        let mut left = 0;
        let first_too_many = mirror.entries.iter().rev().find(|entry| {
            left += weight(entry);
            left > bytes
        });
        first_too_many.map(|entry| entry.log_id.index)
    }

    /// Index of the last entry, if there is one.
    pub fn last_index(&self) -> Option<u64> {
        let mirror = self.mirror.read();
        mirror
            .entries
            .back()
            .map(|entry| entry.log_id.index)
            .or(mirror.purged.as_ref().map(|id| id.index))
    }

    fn stopped(&self) -> io::Error {
        let why = self.failure.get().map_or("it panicked", String::as_str);
        io::Error::other(format!("the log writer has stopped: {why}"))
    }

    fn enqueue(&self, records: Records, done: Done) -> io::Result<()> {
        // A commit mark alone is worth no fsync, so nobody is woken for it.
        let haste = match &records {
            Records::One(Record::Committed(_)) => Haste::Waits,
            Records::One(_) | Records::Entries(_) => Haste::Presses,
        };
        let sent = self.queue.send(Job { records, done }, haste);
        sent.map_err(|Ended| self.stopped())
    }
}

impl Mirror {
    fn new(kept: Kept) -> Mirror {
        let first = kept
            .entries
            .first()
            .map(|entry| entry.log_id.index)
            .or(kept.purged.as_ref().map(|log_id| log_id.index + 1))
            .unwrap_or(0);
        let bytes = kept.entries.iter().map(weight).sum();
        let written = bytes;
        let entries = kept.entries.into();
        Mirror {
            entries,
            first,
            bytes,
            written,
            vote: kept.vote,
            purged: kept.purged,
            committed: kept.committed,
        }
    }

    fn push(&mut self, entry: Entry) {
        let index = entry.log_id.index;
        assert_eq!(
            index,
            self.first + self.entries.len() as u64,
            "the log must not have a hole"
        );
        self.bytes += weight(&entry);
        self.written += weight(&entry);
        self.entries.push_back(entry);
    }

    fn truncate_from(&mut self, index: u64) {
        while self
            .entries
            .back()
            .is_some_and(|entry| entry.log_id.index >= index)
        {
            self.bytes -= self.entries.pop_back().as_ref().map_or(0, weight);
        }
    }

    fn purge(&mut self, log_id: LogId) {
        while self
            .entries
            .front()
            .is_some_and(|entry| entry.log_id.index <= log_id.index)
        {
            self.bytes -= self.entries.pop_front().as_ref().map_or(0, weight);
        }
        self.first = log_id.index + 1;
        self.purged = Some(log_id);
    }

    fn range(&self, start: u64, end: u64) -> impl Iterator<Item = &Entry> {
        let last = self.first + self.entries.len() as u64;
        let (start, end) = (start.clamp(self.first, last), end.clamp(self.first, last));
        let start = (start - self.first) as usize;
        self.entries.range(start..start.max((end - self.first) as usize))
    }
}

/// What an entry weighs in memory and on disk, roughly.
fn weight(entry: &Entry) -> u64 {
    match &entry.payload {
        EntryPayload::Normal(command) => command.weight() as u64,
        EntryPayload::Blank | EntryPayload::Membership(_) => 64,
    }
}

/// The thread that writes.
struct Writer<D: Disk> {
    wal: Wal<D>,
    jobs: Receiver<Job>,
    keeping: Arc<dyn Keeping>,
    commits: Arc<Histogram>,
    full: Arc<AtomicBool>,
    failure: Arc<OnceLock<String>>,
    records: Vec<Record>,
    waiting: Vec<Done>,
}

impl<D: Disk> Writer<D> {
    fn run(mut self) {
        // A commit mark rides along with the next batch.
        let mut committed: Option<Record> = None;
        while let Some(job) = self.next_job() {
            let mut weight = 0;
            let mut next = Some(job);
            while let Some(Job { records, done }) = next {
                match records {
                    Records::One(record @ Record::Committed(_)) => committed = Some(record),
                    Records::One(record) => self.records.push(record),
                    Records::Entries(entries) => {
                        weight += entries.iter().map(self::weight).sum::<u64>();
                        self.records.extend(entries.into_iter().map(Record::Append));
                    }
                }
                self.waiting.push(done);
                next = if weight < BATCH_BYTES {
                    self.jobs.waiting()
                } else {
                    None
                };
            }
            self.records.retain(|record| self.keeping.keeps(record));
            let written = if self.records.is_empty() {
                Ok(())
            } else {
                self.records.extend(committed.take());
                self.commit()
            };
            self.records.clear();
            let failed = written.is_err();
            if let Err(error) = &written {
                let _ = self.failure.set(error.to_string());
            }
            for done in self.waiting.drain(..) {
                let result = match &written {
                    Ok(()) => Ok(()),
                    Err(error) => Err(io::Error::new(error.kind(), error.to_string())),
                };
                match done {
                    Done::Nobody => {}
                    Done::Raft(callback) => callback.io_completed(result),
                    Done::Waiter(waiter) => drop(waiter.send(result)),
                }
            }
            if failed {
                // Dropping `jobs` refuses all further writes.
                return;
            }
        }
    }

    /// The next job; before waiting for it, the end of the file is sealed.
    fn next_job(&mut self) -> Option<Job> {
        let job = self.jobs.next(Some(IDLE)).or_else(|nothing| match nothing {
            Nothing::More => Err(nothing),
            Nothing::Yet => {
                // Only a hint for readers, so a full disk does not matter here; any
                // other failure will meet the next batch too.
                let _ = self.wal.seal();
                self.jobs.next(None)
            }
        });
        job.ok()
    }

    /// Writes the batch; on a full disk waits for room rather than giving up, since
    /// nothing was half written and nothing was promised.
    fn commit(&mut self) -> io::Result<()> {
        loop {
            let begun = clock::now();
            let written = self.wal.commit(&self.records);
            self.commits.observe(begun.elapsed());
            let full = matches!(&written, Err(error) if error.kind() == io::ErrorKind::StorageFull);
            if full != self.full.swap(full, Ordering::Relaxed) {
                match full {
                    true => warn!("the disk is full: writes are refused until there is room"),
                    false => warn!("there is room on the disk again"),
                }
            }
            if !full {
                return written;
            }
            clock::block(FULL_RETRY);
        }
    }
}

impl RaftLogReader<TypeConfig> for LogStore {
    async fn try_get_log_entries<RB>(&mut self, range: RB) -> io::Result<Vec<Entry>>
    where
        RB: RangeBounds<u64> + Clone + Debug + OptionalSend,
    {
        let start = match range.start_bound() {
            Bound::Included(index) => *index,
            Bound::Excluded(index) => index + 1,
            Bound::Unbounded => 0,
        };
        let end = match range.end_bound() {
            Bound::Included(index) => index + 1,
            Bound::Excluded(index) => *index,
            Bound::Unbounded => u64::MAX,
        };
        Ok(self.mirror.read().range(start, end).cloned().collect())
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> io::Result<Vec<Entry>> {
        let mirror = self.mirror.read();
        let mut room = READ_BYTES as u64;
        let mut entries = Vec::new();
        for entry in mirror.range(start, end) {
            let weight = weight(entry);
            if !entries.is_empty() && weight > room {
                break;
            }
            room = room.saturating_sub(weight);
            entries.push(entry.clone());
        }
        Ok(entries)
    }

    async fn read_vote(&mut self) -> io::Result<Option<Vote>> {
        Ok(self.mirror.read().vote.clone())
    }
}

impl RaftLogStorage<TypeConfig> for LogStore {
    type LogReader = LogStore;

    async fn get_log_state(&mut self) -> io::Result<LogState<TypeConfig>> {
        let mirror = self.mirror.read();
        let last = mirror.entries.back().map(|entry| entry.log_id);
        Ok(LogState {
            last_purged_log_id: mirror.purged,
            last_log_id: last.or_else(|| mirror.purged),
        })
    }

    async fn get_log_reader(&mut self) -> LogStore {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> io::Result<()> {
        let (waiter, done) = oneshot::channel();
        self.enqueue(Records::One(Record::Vote(vote.clone())), Done::Waiter(waiter))?;
        done.await.map_err(|_| self.stopped())??;
        self.mirror.write().vote = Some(vote.clone());
        Ok(())
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> io::Result<()> {
        self.mirror.write().committed.clone_from(&committed);
        self.enqueue(Records::One(Record::Committed(committed)), Done::Nobody)
    }

    async fn read_committed(&mut self) -> io::Result<Option<LogId>> {
        Ok(self.mirror.read().committed)
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<TypeConfig>) -> io::Result<()>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let entries: Vec<Entry> = entries.into_iter().collect();
        {
            let mut mirror = self.mirror.write();
            for entry in &entries {
                mirror.push(entry.clone());
            }
        }
        self.enqueue(Records::Entries(entries), Done::Raft(callback))
    }

    async fn truncate_after(&mut self, last: Option<LogId>) -> io::Result<()> {
        let from = last.map_or(0, |log_id| log_id.index + 1);
        self.mirror.write().truncate_from(from);
        self.enqueue(Records::One(Record::TruncateFrom(from)), Done::Nobody)
    }

    async fn purge(&mut self, log_id: LogId) -> io::Result<()> {
        self.mirror.write().purge(log_id);
        self.enqueue(Records::One(Record::Purge(log_id)), Done::Nobody)
    }
}

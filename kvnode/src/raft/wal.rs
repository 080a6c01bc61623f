//! The log on disk: segments of checksummed batches, one fsync a batch.
//!
//! Why not a database: a batch here costs one write and one fdatasync, what is no
//! longer needed is deleted by the file, a full disk is survived by waiting, and damage
//! has an offset. We began with redb, which has none of these. It was not chosen for
//! speed: three nodes on one busy two-core machine answered 1.1k / 9.0k / 11.0k sets a
//! second at 1 / 16 / 64 connections with redb and 1.6k / 5.3k / 13.0k with this, one
//! run each, which settles nothing.
//!
//! Layout: `wal-NUMBER.log`, each beginning with the magic bytes and a batch that
//! repeats the vote and the marks, so that older files can go. A batch is
//! `length u32 | crc32 u32 | number u64 | records`; the checksum covers number and
//! records, and batches are numbered without a gap across files.
//!
//! A batch is written only after the one before it was synced. So when one does not
//! read:
//! - a later one does: it was synced once and is damaged now; the node must not go on,
//!   for it may have acknowledged what it cannot read;
//! - none does: it is the tail that a crash tore; nobody was told of it, and it is cut.
//!   To tell damage of the *last* batch from a torn one, an empty batch follows it as
//!   soon as the writer is idle.

use std::io;
use std::path::{Path, PathBuf};

use openraft::entry::RaftEntry;
use serde::{Deserialize, Serialize};
use tracing::warn;

use super::{Entry, LogId, Vote};
use crate::env::fs::{Disk, DiskFile};

const MAGIC: &[u8; 8] = b"KVWAL1\n\0";
/// Length, checksum and number of a batch.
const HEAD: usize = 16;
/// Bytes after which a new file is begun.
const SEGMENT_BYTES: u64 = 16 << 20;
/// How much room is taken at a time, ahead of the batches.
const RESERVE_BYTES: u64 = 1 << 20;
/// Bytes of a batch for which none is taken.
const LARGE_BYTES: u64 = 128 << 10;
/// No batch is longer: the writer takes no more into one.
pub const MAX_BATCH_BYTES: usize = 64 << 20;

/// One change of what is kept.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Record {
    /// The vote is now this.
    Vote(Vote),
    /// This entry follows the last.
    Append(Entry),
    /// Entries from this index on never were.
    TruncateFrom(u64),
    /// Entries up to and with this one are in a snapshot.
    Purge(LogId),
    /// Entries up to and with this one are known to be committed. A hint: losing it
    /// costs a restarted node a later start of its state machine, nothing else.
    Committed(Option<LogId>),
}

/// What a node finds when it starts.
#[derive(Debug, Default, Clone, PartialEq)]
pub struct Kept {
    /// The last vote.
    pub vote: Option<Vote>,
    /// The last purged entry's id.
    pub purged: Option<LogId>,
    /// The last entry known to be committed.
    pub committed: Option<LogId>,
    /// All entries after the purged ones, without a hole.
    pub entries: Vec<Entry>,
}

/// Why the log cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum WalError {
    /// The file system refused.
    #[error("{path}: {error}", path = path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// The system's words.
        error: io::Error,
    },
    /// Bytes that were once synced do not read any more.
    #[error(
        "{path} is damaged at byte {offset}: {what}; restore the directory, or remove this node from the cluster and add it again with an empty one",
        path = path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where in it.
        offset: u64,
        /// What is wrong there.
        what: String,
    },
}

/// The open log.
pub struct Wal<D: Disk> {
    disk: D,
    directory: PathBuf,
    file: D::File,
    /// Bytes of the current file that are whole batches.
    length: u64,
    /// Bytes that the current file has room for; none if the file system cannot say.
    reserved: Option<u64>,
    /// Number of the next batch.
    next: u64,
    /// Whether an empty batch ends the file.
    sealed: bool,
    segments: Vec<Segment>,
    segment_bytes: u64,
    marks: Marks,
}

/// A file of the log.
#[derive(Debug, Clone)]
struct Segment {
    number: u64,
    path: PathBuf,
    /// The highest index of any entry in it.
    last: Option<u64>,
}

/// What every file begins with.
#[derive(Debug, Default, Clone)]
struct Marks {
    vote: Option<Vote>,
    purged: Option<LogId>,
    committed: Option<LogId>,
}

impl<D: Disk> Wal<D> {
    /// Opens or creates the log in `directory` and reads all of it.
    ///
    /// # Errors
    /// [`WalError`] names file and offset.
    pub fn open(disk: D, directory: &Path) -> Result<(Wal<D>, Kept), WalError> {
        let failed = |error| WalError::Io {
            path: directory.to_owned(),
            error,
        };
        disk.create_dir(directory).map_err(failed)?;
        let mut replay = Replay::default();
        let mut segments = segments(&disk, directory).map_err(failed)?;
        let count = segments.len();
        let mut length = 0;
        for (position, segment) in segments.iter_mut().enumerate() {
            let place = if position + 1 == count {
                Place::Last
            } else {
                Place::Inner
            };
            length = read_segment(&disk, segment, place, &mut replay)?.whole;
        }
        // A file begun by a crash in the middle of beginning it holds nothing.
        if length == 0
            && let Some(empty) = segments.pop_if(|_| count > 0)
        {
            disk.remove(&empty.path).map_err(failed)?;
        }
        let (next, marks) = (replay.next, replay.marks.clone());
        let (directory, number) = (
            directory.to_owned(),
            segments.last().map_or(0, |last| last.number),
        );
        let (segment, file, length, next) =
            begin_segment(&disk, &directory, number + 1, next, &marks).map_err(failed)?;
        segments.push(segment);
        let kept = replay.finish(segments.first().map(|first| first.path.as_path()))?;
        Ok((
            Wal {
                disk,
                directory,
                file,
                length,
                reserved: Some(length),
                next,
                sealed: true,
                segments,
                segment_bytes: SEGMENT_BYTES,
                marks,
            },
            kept,
        ))
    }

    /// Writes a batch and makes it durable.
    ///
    /// # Errors
    /// `StorageFull`: nothing of the batch remains, and it may be tried again. Anything
    /// else: what the disk holds is unknown, and nothing may be written any more.
    pub fn commit(&mut self, records: &[Record]) -> io::Result<()> {
        self.write(records)?;
        // Whatever kind the system gives it, a failed sync is never tried again: the
        // page cache may have dropped what the disk did not take.
        self.file
            .sync()
            .map_err(|error| io::Error::other(format!("fsync failed: {error}")))?;
        self.sealed = false;
        self.note(records);
        if self.length < self.segment_bytes {
            return Ok(());
        }
        // The batch is durable, whatever becomes of the files: no room for another
        // means going on in this one, and must not look like a batch to try again.
        match self.rotate() {
            Err(error) if error.kind() == io::ErrorKind::StorageFull => Ok(()),
            rotated => rotated,
        }
    }

    /// Ends the file with an empty batch, not synced: it tells a reader that the batch
    /// before it was.
    ///
    /// # Errors
    /// As [`Wal::commit`].
    pub fn seal(&mut self) -> io::Result<()> {
        if !self.sealed {
            self.write(&[])?;
            self.sealed = true;
        }
        Ok(())
    }

    fn write(&mut self, records: &[Record]) -> io::Result<()> {
        let bytes = batch(self.next, records);
        self.reserve(self.length + bytes.len() as u64);
        if let Err(error) = self.file.write_at(&bytes, self.length) {
            // A full disk may have taken a part; without it the file is as before.
            if error.kind() == io::ErrorKind::StorageFull {
                self.file.set_len(self.length)?;
                self.reserved = self.reserved.and(Some(self.length));
            }
            return Err(error);
        }
        self.length += bytes.len() as u64;
        self.next += 1;
        Ok(())
    }

    /// Takes room up to `end` and some more, unless the batch is large: its own bytes then
    /// outweigh what the file system notes of them, and room would be written twice. Without
    /// room the file grows batch by batch, which is only slower; a disk that is full says so
    /// to the write.
    fn reserve(&mut self, end: u64) {
        let large = end - self.length >= LARGE_BYTES;
        if !large && self.reserved.is_some_and(|reserved| reserved < end) {
            let room = end + RESERVE_BYTES.min(self.segment_bytes);
            match self.file.reserve(room) {
                Ok(()) => self.reserved = Some(room),
                Err(error) if error.kind() == io::ErrorKind::StorageFull => {}
                Err(_) => self.reserved = None,
            }
        }
    }

    fn note(&mut self, records: &[Record]) {
        let last = self.segments.last_mut().expect("there is a current file");
        for record in records {
            match record {
                Record::Vote(vote) => self.marks.vote = Some(vote.clone()),
                Record::Append(entry) => last.last = last.last.max(Some(entry.index())),
                Record::TruncateFrom(_) => {}
                Record::Purge(log_id) => self.marks.purged = Some(*log_id),
                Record::Committed(log_id) => self.marks.committed = *log_id,
            }
        }
    }

    /// Begins a new file and removes those that hold only what was purged.
    fn rotate(&mut self) -> io::Result<()> {
        if self.reserved.is_some_and(|reserved| reserved > self.length) {
            self.file.set_len(self.length)?;
            self.reserved = Some(self.length);
        }
        let number = self.segments.last().map_or(0, |last| last.number) + 1;
        let begun = begin_segment(&self.disk, &self.directory, number, self.next, &self.marks)?;
        let (segment, file, length, next) = begun;
        (self.file, self.length, self.next, self.sealed) = (file, length, next, true);
        self.reserved = self.reserved.and(Some(length));
        self.segments.push(segment);
        self.remove_purged()
    }

    fn remove_purged(&mut self) -> io::Result<()> {
        let Some(purged) = self.marks.purged.map(|log_id| log_id.index) else {
            return Ok(());
        };
        while self.segments.len() > 1 && self.segments[0].last.is_none_or(|last| last <= purged) {
            self.disk.remove(&self.segments[0].path)?;
            self.segments.remove(0);
        }
        Ok(())
    }
}

/// A batch as it stands in the file.
fn batch(number: u64, records: &[Record]) -> Vec<u8> {
    let mut bytes = vec![0; HEAD];
    bytes[8..].copy_from_slice(&number.to_le_bytes());
    for record in records {
        postcard::to_io(record, &mut bytes).expect("our types encode");
    }
    let (length, sum) = ((bytes.len() - HEAD) as u32, crc32fast::hash(&bytes[8..]));
    bytes[..4].copy_from_slice(&length.to_le_bytes());
    bytes[4..8].copy_from_slice(&sum.to_le_bytes());
    bytes
}

type Begun<D> = (Segment, <D as Disk>::File, u64, u64);

/// Makes a new file that begins with the marks, durable with its name.
fn begin_segment<D: Disk>(
    disk: &D,
    directory: &Path,
    number: u64,
    next: u64,
    marks: &Marks,
) -> io::Result<Begun<D>> {
    let path = directory.join(format!("wal-{number:012}.log"));
    let mut records = vec![Record::Committed(marks.committed)];
    records.extend(marks.vote.clone().map(Record::Vote));
    records.extend(marks.purged.map(Record::Purge));
    let mut bytes = MAGIC.to_vec();
    bytes.extend(batch(next, &records));
    let file = disk.create(&path)?;
    let made = file
        .write_at(&bytes, 0)
        .and_then(|()| file.sync())
        .and_then(|()| disk.sync_dir(directory));
    if let Err(error) = made {
        // Left behind, it would stand for batches that go into the old file.
        disk.remove(&path).map_err(io::Error::other)?;
        return Err(error);
    }
    Ok((
        Segment {
            number,
            path,
            last: None,
        },
        file,
        bytes.len() as u64,
        next + 1,
    ))
}

fn segments<D: Disk>(disk: &D, directory: &Path) -> io::Result<Vec<Segment>> {
    let mut segments: Vec<Segment> = disk
        .list(directory)?
        .into_iter()
        .filter_map(|path| {
            let name = path.file_name()?.to_str()?;
            let number = name.strip_prefix("wal-")?.strip_suffix(".log")?.parse().ok()?;
            Some(Segment {
                number,
                path,
                last: None,
            })
        })
        .collect();
    segments.sort_by_key(|segment| segment.number);
    Ok(segments)
}

/// Reads a file into `replay`, cuts a torn tail or unused room off the last one, and tells how many
/// bytes of it are whole batches (0: not even its beginning).
fn read_segment<D: Disk>(
    disk: &D,
    segment: &mut Segment,
    place: Place,
    replay: &mut Replay,
) -> Result<Found, WalError> {
    let path = segment.path.clone();
    let failed = |error| WalError::Io {
        path: path.clone(),
        error,
    };
    let bytes = disk.read(&path).map_err(failed)?;
    let damaged = |offset: usize, what: &str| WalError::Damaged {
        path: path.clone(),
        offset: offset as u64,
        what: what.to_owned(),
    };
    let cut = |offset: usize| {
        let file = disk.open(&path)?;
        file.set_len(offset as u64).and_then(|()| file.sync())
    };
    let (mut offset, mut found) = (MAGIC.len(), Found::default());
    if bytes.get(..offset) != Some(MAGIC) {
        if place != Place::Inner && find_batch(&bytes, 0, replay.next).is_none() {
            return Ok(Found {
                torn: bytes.len() as u64,
                ..Found::default()
            });
        }
        return Err(damaged(0, "this is no log file of kvnode"));
    }
    // Room that was taken and not used. What follows an inner file proves by its number
    // that no batch stood there.
    let used = bytes
        .iter()
        .rposition(|byte| *byte != 0)
        .map_or(0, |last| last + 1);
    while offset < bytes.len() {
        // A crash may take the end's seal and leave the batch behind it, for one sync
        // covers both. A seal holds nothing, so nothing is missing.
        let behind_seal = |(number, _): &(u64, _)| *number == replay.next + 1;
        if read_batch(&bytes, offset).is_none()
            && read_batch(&bytes, offset + HEAD).filter(behind_seal).is_some()
        {
            offset += HEAD;
            replay.next += 1;
        }
        let Some((number, body)) = read_batch(&bytes, offset) else {
            if offset >= used {
                if place == Place::Last {
                    cut(offset).map_err(failed)?;
                }
                return Ok(found);
            }
            if place == Place::Inner || find_batch(&bytes, offset + 1, replay.next).is_some() {
                return Err(damaged(
                    offset,
                    "a batch that was once whole does not match its checksum",
                ));
            }
            let torn = (used - offset) as u64;
            if place == Place::Last {
                warn!(file = %path.display(), offset, bytes = torn, "cut the tail that a crash had torn");
                cut(offset).map_err(failed)?;
            }
            return Ok(Found { torn, ..found });
        };
        if replay.next != 0 && number != replay.next {
            return Err(damaged(
                offset,
                &format!("batch {number} stands where {} belongs", replay.next),
            ));
        }
        replay.next = number + 1;
        let mut rest = body;
        while !rest.is_empty() {
            let (record, after) = postcard::take_from_bytes::<Record>(rest)
                .map_err(|_| damaged(offset, "a batch does not decode"))?;
            if let Record::Append(entry) = &record {
                segment.last = segment.last.max(Some(entry.index()));
            }
            replay.take(record).map_err(|what| damaged(offset, &what))?;
            rest = after;
        }
        offset += HEAD + body.len();
        found.whole = offset as u64;
        found.batches += 1;
    }
    Ok(found)
}

/// Where a file stands, and whether it may be touched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Others follow it: it must be whole.
    Inner,
    /// The last: a torn tail is cut.
    Last,
    /// The last, only looked at.
    LastUntouched,
}

/// What was found in a file.
#[derive(Debug, Default, Clone, Copy)]
struct Found {
    /// Bytes that are whole batches; 0 when not even the file's beginning is.
    whole: u64,
    /// How many batches.
    batches: u64,
    /// Bytes of a torn tail.
    torn: u64,
}

/// What a look at a log tells.
#[derive(Debug, Default)]
pub struct Report {
    /// One line a file.
    pub files: Vec<String>,
    /// What a node would find.
    pub kept: Kept,
}

/// Looks at a log without touching it.
///
/// # Errors
/// [`WalError`] names file and offset.
pub fn inspect<D: Disk>(disk: &D, directory: &Path) -> Result<Report, WalError> {
    let failed = |error| WalError::Io {
        path: directory.to_owned(),
        error,
    };
    let mut replay = Replay::default();
    let mut segments = segments(disk, directory).map_err(failed)?;
    let count = segments.len();
    let mut files = Vec::new();
    for (position, segment) in segments.iter_mut().enumerate() {
        let place = if position + 1 == count {
            Place::LastUntouched
        } else {
            Place::Inner
        };
        let found = read_segment(disk, segment, place, &mut replay)?;
        let highest = segment
            .last
            .map_or("no entries".to_owned(), |last| format!("entries up to {last}"));
        let torn = if found.torn > 0 {
            format!(", a torn tail of {} bytes", found.torn)
        } else {
            String::new()
        };
        files.push(format!(
            "{}: {} batches, {} bytes, {highest}{torn}",
            segment.path.display(),
            found.batches,
            found.whole
        ));
    }
    let kept = replay.finish(segments.first().map(|first| first.path.as_path()))?;
    Ok(Report { files, kept })
}

/// The batch at `offset`, if a whole one is there.
fn read_batch(bytes: &[u8], offset: usize) -> Option<(u64, &[u8])> {
    let head = bytes.get(offset..offset + HEAD)?;
    let length = u32::from_le_bytes(head[..4].try_into().ok()?) as usize;
    let sum = u32::from_le_bytes(head[4..8].try_into().ok()?);
    let number = u64::from_le_bytes(head[8..].try_into().ok()?);
    let end = offset.checked_add(HEAD)?.checked_add(length)?;
    let body = bytes.get(offset + 8..end)?;
    (crc32fast::hash(body) == sum).then_some((number, &body[8..]))
}

/// Where, from `offset` on, a whole batch with a number beyond `torn` stands: the
/// proof that what came before it had been synced.
fn find_batch(bytes: &[u8], offset: usize, torn: u64) -> Option<usize> {
    // Numbers grow by one, so only a few can follow; anything else is no batch, and
    // needs no checksum.
    let plausible = |at: &usize| {
        let number = bytes
            .get(at + 8..at + 16)
            .and_then(|bytes| bytes.try_into().ok())
            .map(u64::from_le_bytes);
        number.is_some_and(|number| number > torn && number - torn < 1 << 32)
    };
    (offset..bytes.len().saturating_sub(HEAD - 1))
        .filter(plausible)
        .find(|at| read_batch(bytes, *at).is_some())
}

/// What the records read so far make.
#[derive(Default)]
struct Replay {
    /// Number of the next batch; 0 before the first.
    next: u64,
    marks: Marks,
    entries: std::collections::VecDeque<Entry>,
}

impl Replay {
    fn take(&mut self, record: Record) -> Result<(), String> {
        match record {
            Record::Vote(vote) => self.marks.vote = Some(vote),
            Record::Committed(log_id) => self.marks.committed = log_id,
            Record::TruncateFrom(index) => {
                while self.entries.back().is_some_and(|entry| entry.index() >= index) {
                    self.entries.pop_back();
                }
            }
            Record::Purge(log_id) => {
                self.marks.purged = Some(log_id);
                while self
                    .entries
                    .front()
                    .is_some_and(|entry| entry.index() <= log_id.index)
                {
                    self.entries.pop_front();
                }
            }
            Record::Append(entry) => {
                let purged = self.marks.purged.map(|log_id| log_id.index);
                if let Some(last) = self.entries.back()
                    && entry.index() != last.index() + 1
                {
                    return Err(format!("entry {} follows entry {}", entry.index(), last.index()));
                }
                if purged.is_none_or(|purged| entry.index() > purged) {
                    self.entries.push_back(entry);
                }
            }
        }
        Ok(())
    }

    fn finish(self, first: Option<&Path>) -> Result<Kept, WalError> {
        let begins = self.marks.purged.map_or(0, |log_id| log_id.index + 1);
        if let Some(entry) = self.entries.front()
            && entry.index() != begins
        {
            return Err(WalError::Damaged {
                path: first.map(Path::to_owned).unwrap_or_default(),
                offset: 0,
                what: format!("entries {begins} to {} are missing", entry.index() - 1),
            });
        }
        let Marks {
            vote,
            purged,
            committed,
        } = self.marks;
        Ok(Kept {
            vote,
            purged,
            committed,
            entries: self.entries.into(),
        })
    }
}

#[cfg(test)]
mod tests;

//! Bugs in what goes to the disk, and in what is believed of it.

use std::io;
use std::path::{Path, PathBuf};

use super::{Bug, Bugs};
use crate::env::fs::{Disk, DiskFile, File, RealDisk};
use crate::raft::wal::{Kept, Record};
use crate::seams::Keeping;

/// How many entries are dropped at a start.
const DROPPED: usize = 8;
/// Length, checksum and number of a batch.
const HEAD: usize = 16;
/// The first bytes of a file of the log.
const MAGIC: &[u8] = b"KVWAL1\n\0";
/// Longer batches are none: what stands where the length should be is something else.
const LONGEST: usize = 1 << 24;

/// A log that forgets.
pub struct PlantedKeeping {
    bugs: Bugs,
}

impl PlantedKeeping {
    /// With these bugs.
    pub fn new(bugs: Bugs) -> PlantedKeeping {
        PlantedKeeping { bugs }
    }
}

impl Keeping for PlantedKeeping {
    fn keeps(&self, record: &Record) -> bool {
        !(self.bugs.has(Bug::VoteNotPersisted) && matches!(record, Record::Vote(_)))
    }

    fn found(&self, mut kept: Kept) -> Kept {
        if self.bugs.has(Bug::LogTruncatedOnRestart) {
            let left = kept.entries.len().saturating_sub(DROPPED);
            // The first entry is the membership; a node without it would not start.
            kept.entries.truncate(left.max(1));
            let last = kept.entries.last().map(|entry| entry.log_id);
            kept.committed = kept.committed.min(last.or(kept.purged));
        }
        kept
    }
}

/// A disk that is not synced, or whose torn batches are patched up.
#[derive(Clone)]
pub struct PlantedDisk {
    bugs: Bugs,
}

impl PlantedDisk {
    /// With these bugs.
    pub fn new(bugs: Bugs) -> PlantedDisk {
        PlantedDisk { bugs }
    }

    fn file(&self, file: File) -> PlantedFile {
        PlantedFile {
            file,
            syncs: !self.bugs.has(Bug::NoFsync),
        }
    }
}

/// An open file of it.
pub struct PlantedFile {
    file: File,
    syncs: bool,
}

impl Disk for PlantedDisk {
    type File = PlantedFile;

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        RealDisk.create_dir(path)
    }

    fn create(&self, path: &Path) -> io::Result<PlantedFile> {
        RealDisk.create(path).map(|file| self.file(file))
    }

    fn open(&self, path: &Path) -> io::Result<PlantedFile> {
        RealDisk.open(path).map(|file| self.file(file))
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let mut bytes = RealDisk.read(path)?;
        if self.bugs.has(Bug::TornTailAccepted) {
            patch(&mut bytes);
        }
        Ok(bytes)
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<PathBuf>> {
        RealDisk.list(directory)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        RealDisk.remove(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        RealDisk.rename(from, to)
    }

    fn sync_dir(&self, directory: &Path) -> io::Result<()> {
        if self.bugs.has(Bug::NoFsync) {
            Ok(())
        } else {
            RealDisk.sync_dir(directory)
        }
    }
}

impl DiskFile for PlantedFile {
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        DiskFile::write_at(&self.file, bytes, offset)
    }

    fn sync(&self) -> io::Result<()> {
        if self.syncs {
            DiskFile::sync(&self.file)
        } else {
            Ok(())
        }
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        DiskFile::set_len(&self.file, length)
    }

    fn reserve(&self, length: u64) -> io::Result<()> {
        DiskFile::reserve(&self.file, length)
    }
}

/// Gives the batch that a crash tore, the last, the checksum that fits what is there: what is missing of it counts
/// as zeros. Whole batches and the room that is taken behind the last one stay as they are.
fn patch(bytes: &mut Vec<u8>) {
    if !bytes.starts_with(MAGIC) {
        return;
    }
    let mut at = MAGIC.len();
    let mut next = None;
    while let Some(batch) = Batch::at(bytes, at) {
        if batch.whole {
            (at, next) = (batch.end, Some(batch.number + 1));
        } else if Batch::at(bytes, at + HEAD).is_some_and(|behind| behind.whole) {
            // A seal that the crash took; the log knows how to do without.
            at += HEAD;
        } else {
            // A number that does not follow was never written here: this is room, or the head itself is torn.
            if batch.number > 0 && next.is_none_or(|next| next == batch.number) && batch.end - at <= LONGEST {
                bytes.resize(bytes.len().max(batch.end), 0);
                let sum = crc32fast::hash(&bytes[at + 8..batch.end]);
                bytes[at + 4..at + 8].copy_from_slice(&sum.to_le_bytes());
            }
            return;
        }
    }
}

/// What the head of a batch says of it.
struct Batch {
    number: u64,
    end: usize,
    whole: bool,
}

impl Batch {
    /// The batch whose head stands at `at`, torn or not.
    fn at(bytes: &[u8], at: usize) -> Option<Batch> {
        let head = bytes.get(at..at + HEAD)?;
        let length = u32::from_le_bytes(head[..4].try_into().expect("four bytes")) as usize;
        let sum = u32::from_le_bytes(head[4..8].try_into().expect("four bytes"));
        let end = at + HEAD + length;
        Some(Batch {
            number: u64::from_le_bytes(head[8..].try_into().expect("eight bytes")),
            end,
            whole: bytes
                .get(at + 8..end)
                .is_some_and(|body| crc32fast::hash(body) == sum),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(number: u64, body: &[u8]) -> Vec<u8> {
        let mut tail = number.to_le_bytes().to_vec();
        tail.extend(body);
        let mut bytes = (body.len() as u32).to_le_bytes().to_vec();
        bytes.extend(crc32fast::hash(&tail).to_le_bytes());
        bytes.extend(tail);
        bytes
    }

    /// A file of whole batches with room behind them, and where the room begins.
    fn file(bodies: &[&[u8]]) -> (Vec<u8>, usize) {
        let mut bytes = MAGIC.to_vec();
        for (number, body) in (7..).zip(bodies) {
            bytes.extend(batch(number, body));
        }
        let used = bytes.len();
        bytes.resize(used + 4096, 0);
        (bytes, used)
    }

    #[test]
    fn whole_batches_and_the_room_behind_them_stay_as_they_are() {
        let (mut bytes, _) = file(&[b"first", b"", b"second"]);
        let before = bytes.clone();
        patch(&mut bytes);
        assert_eq!(bytes, before);
        let mut snapshot = batch(1, b"of another kind");
        snapshot[20] ^= 1;
        let before = snapshot.clone();
        patch(&mut snapshot);
        assert_eq!(snapshot, before, "only the log is patched");
    }

    #[test]
    fn the_batch_that_a_crash_tore_is_believed_with_zeros_for_what_is_missing() {
        let (mut bytes, used) = file(&[b"first", b"the second one"]);
        let torn = used - b"the second one".len();
        bytes[torn + 3..used].fill(0);
        let before = bytes.clone();
        assert!(!Batch::at(&bytes, torn - HEAD).is_some_and(|batch| batch.whole));
        patch(&mut bytes);
        assert!(Batch::at(&bytes, torn - HEAD).is_some_and(|batch| batch.whole && batch.number == 8));
        assert_eq!(&bytes[torn..], &before[torn..], "only its checksum is new");
        // The same where the file ends in the middle of it.
        let mut short = before[..torn + 3].to_vec();
        patch(&mut short);
        assert_eq!(short, bytes[..used]);
    }

    #[test]
    fn a_lost_seal_hides_no_torn_batch_behind_it() {
        let (mut bytes, used) = file(&[b"first", b"", b"second", b"third"]);
        let seal = MAGIC.len() + HEAD + 5;
        bytes[seal..seal + HEAD].fill(0);
        bytes[used - 1] = 0;
        patch(&mut bytes);
        let third = used - HEAD - 5;
        assert!(Batch::at(&bytes, third).is_some_and(|batch| batch.whole && batch.number == 10));
        assert!(bytes[seal..seal + HEAD].iter().all(|byte| *byte == 0));
    }
}

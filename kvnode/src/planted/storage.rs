//! Bugs in what goes to the disk, and in what is believed of it.

use std::io;
use std::path::{Path, PathBuf};

use super::{Bug, Bugs};
use crate::env::fs::{Disk, DiskFile, File, RealDisk};
use crate::raft::wal::{Kept, Record};
use crate::seams::Keeping;

/// How many entries are dropped at a start.
const DROPPED: usize = 8;
/// Length, checksum and number of a batch; the magic bytes before the first.
const HEAD: usize = 16;
const MAGIC: usize = 8;

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

/// Gives every batch the checksum that fits what is there, and fills up a cut one.
fn patch(bytes: &mut Vec<u8>) {
    let mut at = MAGIC;
    while let Some(head) = bytes.get(at..at + HEAD) {
        let length = u32::from_le_bytes(head[..4].try_into().expect("four bytes")) as usize;
        let end = at + HEAD + length;
        if length > 1 << 24 {
            return;
        }
        bytes.resize(bytes.len().max(end), 0);
        let sum = crc32fast::hash(&bytes[at + 8..end]);
        bytes[at + 4..at + 8].copy_from_slice(&sum.to_le_bytes());
        at = end;
    }
    bytes.truncate(at);
}

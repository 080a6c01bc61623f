//! A file of the log: whatever is on the disk is read, or refused with file and offset.
#![no_main]

use std::io;
use std::path::{Path, PathBuf};

use kvnode::env::fs::{Disk, DiskFile};
use kvnode::raft::wal::{self, MAX_BATCH_BYTES};
use libfuzzer_sys::fuzz_target;

const MAGIC: &[u8] = b"KVWAL1\n\0";

/// A disk of one file that cannot be changed.
#[derive(Clone)]
struct OneFile(Vec<u8>);

struct Nothing;

fn read_only<T>() -> io::Result<T> {
    Err(io::ErrorKind::ReadOnlyFilesystem.into())
}

impl Disk for OneFile {
    type File = Nothing;
    fn create_dir(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }
    fn create(&self, _: &Path) -> io::Result<Nothing> {
        read_only()
    }
    fn open(&self, _: &Path) -> io::Result<Nothing> {
        read_only()
    }
    fn read(&self, _: &Path) -> io::Result<Vec<u8>> {
        Ok(self.0.clone())
    }
    fn list(&self, directory: &Path) -> io::Result<Vec<PathBuf>> {
        Ok(vec![directory.join("wal-000000000001.log")])
    }
    fn remove(&self, _: &Path) -> io::Result<()> {
        read_only()
    }
    fn rename(&self, _: &Path, _: &Path) -> io::Result<()> {
        read_only()
    }
    fn sync_dir(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }
}

impl DiskFile for Nothing {
    fn write_at(&self, _: &[u8], _: u64) -> io::Result<()> {
        read_only()
    }
    fn sync(&self) -> io::Result<()> {
        read_only()
    }
    fn set_len(&self, _: u64) -> io::Result<()> {
        read_only()
    }
    fn reserve(&self, _: u64) -> io::Result<()> {
        read_only()
    }
}

fn look(bytes: Vec<u8>) {
    if let Ok(report) = wal::inspect(&OneFile(bytes), Path::new("log")) {
        let indexes = report.kept.entries.iter().map(|entry| entry.log_id.index);
        let first = report.kept.entries.first().map_or(0, |entry| entry.log_id.index);
        assert!(indexes.zip(first..).all(|(found, wanted)| found == wanted), "a hole in the log");
    }
}

fuzz_target!(|bytes: &[u8]| {
    look(bytes.to_vec());
    // The same as the records of one whole batch, or the decoder would hardly ever be
    // reached.
    let records = &bytes[..bytes.len().min(MAX_BATCH_BYTES - 8)];
    let body = [&1_u64.to_le_bytes()[..], records].concat();
    let length = (records.len() as u32).to_le_bytes();
    let sum = crc32fast::hash(&body).to_le_bytes();
    look([MAGIC, &length, &sum, &body].concat());
});

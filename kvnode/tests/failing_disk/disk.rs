//! The disk of this machine, but it fails.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use kvnode::env::fs::{Disk, DiskFile, File, RealDisk};

/// How a disk fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Failure {
    /// The Nth fsync fails, and those after it succeed, as the page cache's do.
    Fsync,
    /// There is no room for the first N new files.
    Full,
}

/// Counts what it is asked.
#[derive(Clone)]
pub(crate) struct FailingDisk {
    failure: Failure,
    left: Arc<AtomicU64>,
}

impl FailingDisk {
    /// It fails so, at this number or so often, counted from 1.
    pub(crate) fn new(failure: Failure, number: u64) -> FailingDisk {
        FailingDisk {
            failure,
            left: Arc::new(AtomicU64::new(number)),
        }
    }

    fn sync(&self, sync: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        if self.failure == Failure::Fsync && self.left.fetch_sub(1, Ordering::Relaxed) == 1 {
            return Err(io::Error::other("the disk gave up"));
        }
        sync()
    }

    fn room(&self) -> io::Result<()> {
        let less = |left: u64| left.checked_sub(1);
        let full = self.failure == Failure::Full
            && self
                .left
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, less)
                .is_ok();
        match full {
            true => Err(io::ErrorKind::StorageFull.into()),
            false => Ok(()),
        }
    }
}

/// An open file on it.
pub(crate) struct FailingFile {
    disk: FailingDisk,
    file: File,
}

impl Disk for FailingDisk {
    type File = FailingFile;

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        RealDisk.create_dir(path)
    }

    fn create(&self, path: &Path) -> io::Result<FailingFile> {
        self.room()?;
        let file = RealDisk.create(path)?;
        Ok(FailingFile {
            disk: self.clone(),
            file,
        })
    }

    fn open(&self, path: &Path) -> io::Result<FailingFile> {
        let file = RealDisk.open(path)?;
        Ok(FailingFile {
            disk: self.clone(),
            file,
        })
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        RealDisk.read(path)
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
        self.sync(|| RealDisk.sync_dir(directory))
    }
}

impl DiskFile for FailingFile {
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.file.write_at(bytes, offset)
    }

    fn sync(&self) -> io::Result<()> {
        self.disk.sync(|| self.file.sync())
    }

    fn reserve(&self, length: u64) -> io::Result<()> {
        self.file.reserve(length)
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        DiskFile::set_len(&self.file, length)
    }
}

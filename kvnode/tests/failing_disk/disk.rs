//! The disk of this machine, until one of its fsyncs fails.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use kvnode::env::fs::{Disk, DiskFile, File, RealDisk};

/// Counts fsyncs; the Nth fails, and those after it succeed, as the page cache's do.
#[derive(Clone)]
pub(crate) struct FailingDisk {
    left: Arc<AtomicU64>,
}

impl FailingDisk {
    /// The fsync with this number fails, counted from 1.
    pub(crate) fn new(fails_at: u64) -> FailingDisk {
        FailingDisk {
            left: Arc::new(AtomicU64::new(fails_at)),
        }
    }

    fn sync(&self, sync: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        match self.left.fetch_sub(1, Ordering::Relaxed) {
            1 => Err(io::Error::other("the disk gave up")),
            _ => sync(),
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

//! Files and directories.
#![allow(clippy::disallowed_types, clippy::disallowed_methods)]

use std::io::{self, Write};
use std::path::{Path, PathBuf};

pub use std::fs::File;

/// What the log and snapshots need of a disk, so that a failing one can stand in.
pub trait Disk: Clone + Send + 'static {
    /// An open file.
    type File: DiskFile;
    /// Creates a directory and its parents.
    ///
    /// # Errors
    /// As the file system says.
    fn create_dir(&self, path: &Path) -> io::Result<()>;
    /// Creates a file, or empties it.
    ///
    /// # Errors
    /// As the file system says.
    fn create(&self, path: &Path) -> io::Result<Self::File>;
    /// Opens a file that exists.
    ///
    /// # Errors
    /// As the file system says.
    fn open(&self, path: &Path) -> io::Result<Self::File>;
    /// Reads a whole file.
    ///
    /// # Errors
    /// As the file system says.
    fn read(&self, path: &Path) -> io::Result<Vec<u8>>;
    /// The files of a directory.
    ///
    /// # Errors
    /// As the file system says.
    fn list(&self, directory: &Path) -> io::Result<Vec<PathBuf>>;
    /// Removes a file.
    ///
    /// # Errors
    /// As the file system says.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Gives a file another name in its directory, durable with the next
    /// [`Disk::sync_dir`].
    ///
    /// # Errors
    /// As the file system says.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Makes the names in a directory durable.
    ///
    /// # Errors
    /// As the file system says.
    fn sync_dir(&self, directory: &Path) -> io::Result<()>;
}

/// An open file of a [`Disk`].
pub trait DiskFile: Send + 'static {
    /// Writes all bytes at an offset.
    ///
    /// # Errors
    /// As the file system says; a part may have been written.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;
    /// Makes what was written durable.
    ///
    /// # Errors
    /// As the file system says; what is durable is then unknown.
    fn sync(&self) -> io::Result<()>;
    /// Cuts or grows the file.
    ///
    /// # Errors
    /// As the file system says.
    fn set_len(&self, length: u64) -> io::Result<()>;
    /// Grows the file to `length` bytes, zeros to read, with room for them on the disk, such
    /// that a write into them changes no metadata: its sync then waits for no journal. They
    /// become durable with the next sync.
    ///
    /// # Errors
    /// As the file system says; many cannot. The file is then as it was.
    fn reserve(&self, length: u64) -> io::Result<()>;
}

/// The disk of this machine.
#[derive(Debug, Clone, Copy, Default)]
pub struct RealDisk;

impl Disk for RealDisk {
    type File = File;

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        create_dir_all(path)
    }

    fn create(&self, path: &Path) -> io::Result<File> {
        create(path)
    }

    fn open(&self, path: &Path) -> io::Result<File> {
        File::options().read(true).write(true).open(path)
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        std::fs::read(path)
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<PathBuf>> {
        list(directory)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        remove(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::rename(from, to)
    }

    fn sync_dir(&self, directory: &Path) -> io::Result<()> {
        sync_dir(directory)
    }
}

/// What room ahead is filled with, piece by piece.
static ZEROS: [u8; 64 << 10] = [0; 64 << 10];

impl DiskFile for File {
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        std::os::unix::fs::FileExt::write_all_at(self, bytes, offset)
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        File::set_len(self, length)
    }

    fn reserve(&self, length: u64) -> io::Result<()> {
        use nix::fcntl::{FallocateFlags, fallocate};
        let offset = |bytes: u64| bytes.try_into().map_err(io::Error::other);
        let from = self.metadata()?.len();
        let room = length.saturating_sub(from);
        if room == 0 {
            return Ok(());
        }
        fallocate(self, FallocateFlags::empty(), offset(from)?, offset(room)?)?;
        // Blocks that were only taken are marked as unwritten; without zeros in them the first
        // write into each would have to change its mark, through the file system's journal.
        let mut at = from;
        while at < length {
            let zeros = &ZEROS[..ZEROS.len().min((length - at) as usize)];
            std::os::unix::fs::FileExt::write_all_at(self, zeros, at)?;
            at += zeros.len() as u64;
        }
        Ok(())
    }
}

/// Takes the directory for this process until the file is dropped.
///
/// # Errors
/// When another process has it, or the file system refuses.
pub fn lock(path: &Path) -> io::Result<File> {
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(std::fs::TryLockError::WouldBlock) => Err(io::Error::new(
            io::ErrorKind::ResourceBusy,
            "another kvnode uses this directory: stop it first",
        )),
        Err(std::fs::TryLockError::Error(error)) => Err(error),
    }
}

/// Whether the disk that holds `path` is nearly full: less than `reserve` bytes, or a
/// tenth of the disk if that is less. A file system that does not say counts as having
/// room.
///
/// # Errors
/// As `statvfs`.
pub fn is_nearly_full(path: &Path, reserve: u64) -> io::Result<bool> {
    let stat = nix::sys::statvfs::statvfs(path).map_err(io::Error::from)?;
    let unit = stat.fragment_size();
    let (free, all) = (
        stat.blocks_available().saturating_mul(unit),
        stat.blocks().saturating_mul(unit),
    );
    Ok(all > 0 && free < reserve.min(all / 10))
}

/// Creates `path` and its parents.
///
/// # Errors
/// As `std::fs::create_dir_all`.
pub fn create_dir_all(path: &Path) -> io::Result<()> {
    std::fs::create_dir_all(path)
}

/// The whole file, or `None` when there is none.
///
/// # Errors
/// Anything but the file's absence.
pub fn read_if_there(path: &Path) -> io::Result<Option<Vec<u8>>> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// When a file was last changed, and how long it is: differs after it was replaced.
pub type Mark = (std::time::SystemTime, u64);

/// The mark of the file at `path`, following links; none when there is none.
pub fn mark(path: &Path) -> Option<Mark> {
    let about = std::fs::metadata(path).ok()?;
    Some((about.modified().ok()?, about.len()))
}

/// Opens `path` for reading.
///
/// # Errors
/// As `File::open`.
pub fn open(path: &Path) -> io::Result<File> {
    File::open(path)
}

/// Creates `path`, or empties it, for reading and writing.
///
/// # Errors
/// As `OpenOptions::open`.
pub fn create(path: &Path) -> io::Result<File> {
    File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(true)
        .open(path)
}

/// Makes the names in `directory` durable: without it a rename may be undone by a
/// power failure although the file's bytes are safe.
///
/// # Errors
/// Whatever the open or the fsync says.
pub fn sync_dir(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

/// Renames within one directory and makes the new name durable.
///
/// # Errors
/// Whatever the rename or the fsync of the directory says.
pub fn rename_durably(from: &Path, to: &Path) -> io::Result<()> {
    std::fs::rename(from, to)?;
    to.parent().map_or(Ok(()), sync_dir)
}

/// Writes a small file so that a crash leaves the old one or the new one, whole.
///
/// # Errors
/// Whatever the write, the fsyncs or the rename say.
pub fn write_durably(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let aside = path.with_extension("tmp");
    let mut file = create(&aside)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    rename_durably(&aside, path)
}

/// Removes a file; its absence is no error.
///
/// # Errors
/// Anything but the file's absence.
pub fn remove(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// The files of `directory`, sorted by name.
///
/// # Errors
/// As `std::fs::read_dir`.
pub fn list(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut paths = std::fs::read_dir(directory)?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<io::Result<Vec<_>>>()?;
    paths.sort();
    Ok(paths)
}

/// Bytes that the files below `directory` take on the disk.
///
/// # Errors
/// As `std::fs::read_dir`; what goes while it is looked at counts as nothing.
pub fn bytes_below(directory: &Path) -> io::Result<u64> {
    use std::os::unix::fs::MetadataExt;
    let mut bytes = 0;
    for path in list(directory)? {
        match std::fs::symlink_metadata(&path) {
            Ok(about) if about.is_dir() => bytes += bytes_below(&path)?,
            Ok(about) => bytes += about.blocks() * 512,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(bytes)
}

//! Files and directories.
#![allow(clippy::disallowed_types, clippy::disallowed_methods)]

use std::io::{self, Write};
use std::path::{Path, PathBuf};

pub use std::fs::File;

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

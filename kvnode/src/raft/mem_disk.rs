//! A disk in memory, which fails at any call and forgets what was not synced when power goes.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use rand::RngExt;
use rand::rngs::ChaCha8Rng;

use crate::env::fs::{Disk, DiskFile};

/// A disk in memory that knows what was synced, and can fail.
#[derive(Clone, Default)]
pub(super) struct MemDisk(Arc<Mutex<Mem>>);

#[derive(Default)]
struct Mem {
    files: BTreeMap<PathBuf, MemFileData>,
    /// From, to, and what had that name before: not durable yet.
    renamed: Vec<(PathBuf, PathBuf, Option<MemFileData>)>,
    calls: usize,
    fail: Option<(usize, Failure)>,
}

#[derive(Default, Clone)]
struct MemFileData {
    cached: Vec<u8>,
    synced: Vec<u8>,
    named: bool,
}

/// How a call fails.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) enum Failure {
    /// The call fails, and all later ones (the machine is going down).
    Error,
    /// The call fails after half its bytes were written, and all later ones.
    Torn,
    /// This one call finds the disk full after half its bytes.
    Full,
}

impl Mem {
    /// Counts a call; tells how it fails, if it does.
    fn call(&mut self) -> Option<Failure> {
        self.calls += 1;
        match self.fail {
            Some((at, failure)) if self.calls == at => Some(failure),
            Some((at, failure)) if self.calls > at && failure != Failure::Full => Some(Failure::Error),
            _ => None,
        }
    }
}

fn failed(failure: Failure) -> io::Error {
    match failure {
        Failure::Full => io::ErrorKind::StorageFull.into(),
        Failure::Error | Failure::Torn => io::Error::other("the disk fails"),
    }
}

impl MemDisk {
    /// One whose call with this number fails so, counted from 1.
    pub(super) fn failing(at: usize, failure: Failure) -> MemDisk {
        let disk = MemDisk::default();
        disk.0.lock().fail = Some((at, failure));
        disk
    }

    /// How many calls there were.
    pub(super) fn calls(&self) -> usize {
        self.0.lock().calls
    }

    /// Power goes: what was not synced is gone, kept, or kept in part, page by page.
    pub(super) fn crash(&self, rng: &mut ChaCha8Rng) {
        let mut mem = self.0.lock();
        let mem = &mut *mem;
        // The last renames never were, as many as it may be.
        while rng.random_bool(0.5)
            && let Some((from, to, over)) = mem.renamed.pop()
        {
            if let Some(file) = mem.files.remove(&to) {
                mem.files.insert(from, file);
            }
            mem.files.extend(over.map(|file| (to, file)));
        }
        mem.renamed.clear();
        mem.files.retain(|_, file| file.named || rng.random_bool(0.5));
        for file in mem.files.values_mut() {
            let length = rng.random_range(file.synced.len().min(file.cached.len())..=file.cached.len());
            let mut left = file.cached[..length].to_vec();
            for (page, bytes) in left.chunks_mut(64).enumerate() {
                if rng.random_bool(0.5) {
                    // This page never reached the disk: it holds what was synced, or nothing.
                    for (n, byte) in bytes.iter_mut().enumerate() {
                        *byte = file.synced.get(page * 64 + n).copied().unwrap_or(0);
                    }
                }
            }
            for (left, synced) in left.iter().zip(&file.synced) {
                // Only room that was taken ahead is ever written again.
                assert!(
                    left == synced || *synced == 0,
                    "the test's disk must keep what was synced"
                );
            }
            *file = MemFileData {
                cached: left.clone(),
                synced: left,
                named: true,
            };
        }
        mem.fail = None;
    }

    /// The files on it.
    pub(super) fn paths(&self) -> Vec<PathBuf> {
        self.0.lock().files.keys().cloned().collect()
    }

    /// Changes a file behind everybody's back.
    pub(super) fn edit(&self, path: &Path, edit: impl FnOnce(&mut Vec<u8>)) {
        let mut mem = self.0.lock();
        edit(&mut mem.files.get_mut(path).expect("the file").cached);
    }

    /// A copy that shares nothing.
    pub(super) fn copy(&self) -> MemDisk {
        MemDisk(Arc::new(Mutex::new(Mem {
            files: self.0.lock().files.clone(),
            ..Mem::default()
        })))
    }
}

/// An open file of it.
pub(super) struct MemFile {
    disk: MemDisk,
    path: PathBuf,
}

impl Disk for MemDisk {
    type File = MemFile;

    fn create_dir(&self, _path: &Path) -> io::Result<()> {
        Ok(())
    }

    fn create(&self, path: &Path) -> io::Result<MemFile> {
        let mut mem = self.0.lock();
        if let Some(failure) = mem.call() {
            return Err(failed(failure));
        }
        mem.files.insert(path.to_owned(), MemFileData::default());
        Ok(MemFile {
            disk: self.clone(),
            path: path.to_owned(),
        })
    }

    fn open(&self, path: &Path) -> io::Result<MemFile> {
        Ok(MemFile {
            disk: self.clone(),
            path: path.to_owned(),
        })
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        Ok(self.0.lock().files[path].cached.clone())
    }

    fn list(&self, _directory: &Path) -> io::Result<Vec<PathBuf>> {
        Ok(self.paths())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut mem = self.0.lock();
        if let Some(failure) = mem.call() {
            return Err(failed(failure));
        }
        mem.files.remove(path);
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut mem = self.0.lock();
        if let Some(failure) = mem.call() {
            return Err(failed(failure));
        }
        let file = mem.files.remove(from).expect("the file");
        let over = mem.files.insert(to.to_owned(), file);
        mem.renamed.push((from.to_owned(), to.to_owned(), over));
        Ok(())
    }

    fn sync_dir(&self, _directory: &Path) -> io::Result<()> {
        let mut mem = self.0.lock();
        if let Some(failure) = mem.call() {
            return Err(failed(failure));
        }
        mem.files.values_mut().for_each(|file| file.named = true);
        mem.renamed.clear();
        Ok(())
    }
}

impl DiskFile for MemFile {
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut mem = self.disk.0.lock();
        let failure = mem.call();
        let wrote = match failure {
            None => bytes.len(),
            Some(Failure::Error) => 0,
            Some(Failure::Torn | Failure::Full) => bytes.len() / 2,
        };
        let file = mem.files.get_mut(&self.path).expect("the file");
        let start = offset as usize;
        file.cached.resize(file.cached.len().max(start + wrote), 0);
        file.cached[start..start + wrote].copy_from_slice(&bytes[..wrote]);
        failure.map_or(Ok(()), |failure| Err(failed(failure)))
    }

    fn sync(&self) -> io::Result<()> {
        let mut mem = self.disk.0.lock();
        if let Some(failure) = mem.call() {
            return Err(failed(failure));
        }
        let file = mem.files.get_mut(&self.path).expect("the file");
        file.synced = file.cached.clone();
        Ok(())
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        let mut mem = self.disk.0.lock();
        let file = mem.files.get_mut(&self.path).expect("the file");
        file.cached.resize(length as usize, 0);
        Ok(())
    }

    fn reserve(&self, length: u64) -> io::Result<()> {
        let mut mem = self.disk.0.lock();
        if let Some(failure) = mem.call() {
            return Err(failed(failure));
        }
        let file = mem.files.get_mut(&self.path).expect("the file");
        let length = file.cached.len().max(length as usize);
        file.cached.resize(length, 0);
        Ok(())
    }
}

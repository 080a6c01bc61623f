//! Snapshots: the whole state in one checksummed file.
//!
//! A file is written aside, fsynced, renamed to `snapshot-INDEX.kv`, and its
//! directory fsynced, so what bears that name is whole. Layout: the magic bytes,
//! then blocks of `length u32 | crc32 u32 | postcard`, the first a header, the
//! rest runs of entries and of remembered requests, the last block empty. A file that
//! lacks its last block, or whose entries do not add up to the header's digest, is
//! refused.

use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::SnapshotMeta;
use crate::command::{RequestId, Versioned};
use crate::env::fs::{self, Disk, DiskFile, RealDisk};
use crate::state::State;
use crate::state::departed::Departed;
use crate::state::sessions::{Answer, Client, Sessions};

mod check;
#[cfg(test)]
mod tests;

pub use check::{About, Check};

const MAGIC: &[u8; 8] = b"KVSNAP1\n";
/// Bytes of entries after which a block is closed.
const BLOCK_BYTES: u64 = 64 << 10;
/// No block is longer: one answer of the longest transaction, reading the longest
/// values, with its encoding.
const MAX_BLOCK_BYTES: u32 = 512 << 20;

/// A complete snapshot file.
#[derive(Debug, Clone)]
pub struct SnapshotFile {
    /// Where it is.
    pub path: PathBuf,
}

#[derive(Serialize, Deserialize)]
struct Header {
    meta: SnapshotMeta,
    applied: u64,
    clock_ms: u64,
    digest: u128,
    keys: u64,
}

/// A run of one kind of things.
#[derive(Serialize, Deserialize)]
enum Block {
    Entries(Vec<(Arc<str>, Versioned)>),
    Answers(Vec<(RequestId, Answer)>),
    Clients(Vec<(Arc<str>, Client)>),
    /// Words of the filter that are not zero, by position.
    Departed(Vec<(u32, u64)>),
}

/// The directory that holds the snapshots of this node.
#[derive(Debug, Clone)]
pub struct SnapshotDir<D = RealDisk> {
    disk: D,
    path: PathBuf,
}

impl SnapshotDir {
    /// Opens or creates the directory and removes what a crash left half-written.
    ///
    /// # Errors
    /// Whatever the file system says.
    pub fn open(path: &Path) -> io::Result<SnapshotDir> {
        SnapshotDir::on(RealDisk, path)
    }

    /// The directory as it is, touching nothing.
    pub fn look(path: &Path) -> SnapshotDir {
        SnapshotDir {
            disk: RealDisk,
            path: path.to_owned(),
        }
    }

    /// The newest snapshot and what it stands for.
    ///
    /// # Errors
    /// When its header cannot be read.
    pub fn newest(&self) -> io::Result<Option<(SnapshotMeta, SnapshotFile)>> {
        let Some(file) = self.snapshots()?.pop() else {
            return Ok(None);
        };
        let header = Reader::open(&file.path)?.header;
        Ok(Some((header.meta, file)))
    }
}

impl<D: Disk> SnapshotDir<D> {
    /// [`SnapshotDir::open`] on another disk.
    ///
    /// # Errors
    /// Whatever it says.
    pub fn on(disk: D, path: &Path) -> io::Result<SnapshotDir<D>> {
        disk.create_dir(path)?;
        for file in disk.list(path)? {
            if file.extension().is_some_and(|extension| extension == "tmp") {
                disk.remove(&file)?;
            }
        }
        let path = path.to_owned();
        Ok(SnapshotDir { disk, path })
    }

    /// A fresh name for a snapshot being received.
    pub fn incoming(&self, sender: &str) -> PathBuf {
        self.path.join(format!(
            "incoming-{sender}-{:016x}.tmp",
            crate::env::rng::random_u64()
        ))
    }

    /// Writes the state as the newest snapshot and removes the older ones.
    ///
    /// # Errors
    /// Whatever the file system says; the older snapshots are then still there.
    pub fn save(&self, meta: &SnapshotMeta, state: &State) -> io::Result<SnapshotFile> {
        let aside = self.path.join("building.tmp");
        self.write(&aside, meta, state)
            .inspect_err(|_| drop(self.disk.remove(&aside)))?;
        self.adopt(&aside, state.applied())
    }

    fn write(&self, path: &Path, meta: &SnapshotMeta, state: &State) -> io::Result<()> {
        let file = self.disk.create(path)?;
        let mut out = BufWriter::with_capacity(256 << 10, Appending { file, length: 0 });
        write_to(&mut out, meta, state)?;
        let out = out.into_inner().map_err(io::IntoInnerError::into_error)?;
        out.file.sync()
    }

    /// Gives a complete file its name and removes the older ones.
    ///
    /// # Errors
    /// Whatever the file system says.
    pub fn adopt(&self, file: &Path, applied: u64) -> io::Result<SnapshotFile> {
        let path = self.path.join(format!("snapshot-{applied:020}.kv"));
        if file != path {
            self.disk.rename(file, &path)?;
            self.disk.sync_dir(&self.path)?;
        }
        for other in self.snapshots()? {
            if other.path != path {
                self.disk.remove(&other.path)?;
            }
        }
        Ok(SnapshotFile { path })
    }

    /// All snapshot files, oldest first.
    ///
    /// # Errors
    /// Whatever the file system says.
    pub fn snapshots(&self) -> io::Result<Vec<SnapshotFile>> {
        let mut files = self.disk.list(&self.path)?;
        files.retain(|path| path.extension().is_some_and(|extension| extension == "kv"));
        Ok(files.into_iter().map(|path| SnapshotFile { path }).collect())
    }
}

/// Writes a file from its beginning to its end.
struct Appending<F> {
    file: F,
    length: u64,
}

impl<F: DiskFile> Write for Appending<F> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write_at(bytes, self.length)?;
        self.length += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl SnapshotFile {
    /// Reads the state back and checks that it is what was written.
    ///
    /// # Errors
    /// `InvalidData`, naming the file and the offset, when a checksum, the digest or
    /// the end is wrong.
    pub fn read(&self) -> io::Result<(SnapshotMeta, State)> {
        Reader::open(&self.path)?.whole()
    }
}

impl<R: Read> Reader<R> {
    fn whole(mut self) -> io::Result<(SnapshotMeta, State)> {
        let reader = &mut self;
        let (mut entries, mut answers, mut clients) = (Vec::new(), Vec::new(), Vec::new());
        let mut departed = Vec::new();
        while let Some(block) = reader.block::<Block>()? {
            match block {
                Block::Entries(run) => entries.extend(run),
                Block::Answers(run) => answers.extend(run),
                Block::Clients(run) => clients.extend(run),
                Block::Departed(run) => departed.extend(run),
            }
        }
        let header = &reader.header;
        let departed = Departed::from_words(departed)
            .map_err(|position| reader.damaged(&format!("there is no word {position} of departed names")))?;
        let sessions = Sessions::from_parts(answers, clients, departed);
        let state = State::from_parts(header.applied, header.clock_ms, entries, sessions);
        if state.digest() != header.digest || state.len() as u64 != header.keys {
            return Err(reader.damaged("the entries do not add up to the digest in the header"));
        }
        Ok((self.header.meta, state))
    }
}

/// Writes the state as a snapshot's bytes, wherever they go.
///
/// # Errors
/// Whatever `out` says.
pub fn write_to(out: &mut impl Write, meta: &SnapshotMeta, state: &State) -> io::Result<()> {
    out.write_all(MAGIC)?;
    let header = Header {
        meta: meta.clone(),
        applied: state.applied(),
        clock_ms: state.clock_ms(),
        digest: state.digest(),
        keys: state.len() as u64,
    };
    write_block(out, &header)?;
    let entries = state.entries().map(|(key, entry)| (key.clone(), entry.clone()));
    write_runs(out, entries, Block::Entries, |(key, entry)| {
        key.len() + entry.value.len()
    })?;
    let clients = state
        .sessions()
        .clients()
        .map(|(name, client)| (name.clone(), client.clone()));
    write_runs(out, clients, Block::Clients, |(name, _)| name.len())?;
    let answers = state
        .sessions()
        .answers()
        .map(|(request, answer)| (request.clone(), answer.clone()));
    write_runs(out, answers, Block::Answers, |(_, answer)| {
        answer.weight() as usize
    })?;
    let departed = state.sessions().departed().words();
    write_runs(out, departed, Block::Departed, |_| 0)?;
    out.write_all(&[0; 8])
}

/// Writes things in blocks of about [`BLOCK_BYTES`].
fn write_runs<T>(
    out: &mut impl Write,
    things: impl Iterator<Item = T>,
    block: impl Fn(Vec<T>) -> Block,
    weight: impl Fn(&T) -> usize,
) -> io::Result<()> {
    let (mut run, mut bytes) = (Vec::new(), 0);
    for thing in things {
        bytes += weight(&thing) as u64 + 16;
        run.push(thing);
        if bytes >= BLOCK_BYTES {
            write_block(out, &block(std::mem::take(&mut run)))?;
            bytes = 0;
        }
    }
    if run.is_empty() {
        Ok(())
    } else {
        write_block(out, &block(run))
    }
}

fn write_block<T: Serialize>(out: &mut impl Write, value: &T) -> io::Result<()> {
    let bytes = postcard::to_stdvec(value).map_err(io::Error::other)?;
    out.write_all(&(bytes.len() as u32).to_le_bytes())?;
    out.write_all(&crc32fast::hash(&bytes).to_le_bytes())?;
    out.write_all(&bytes)
}

struct Reader<R> {
    path: PathBuf,
    file: R,
    offset: u64,
    header: Header,
}

impl Reader<BufReader<fs::File>> {
    fn open(path: &Path) -> io::Result<Self> {
        Reader::of(path, BufReader::with_capacity(256 << 10, fs::open(path)?))
    }
}

impl<R: Read> Reader<R> {
    /// Reads the beginning of `file`, which is at `path`.
    fn of(path: &Path, mut file: R) -> io::Result<Reader<R>> {
        let mut magic = [0; 8];
        if file.read_exact(&mut magic).is_err() || magic != *MAGIC {
            return Err(damaged(path, 0, "this is no snapshot of kvnode"));
        }
        let mut offset = 8;
        let header = read_block(path, &mut file, &mut offset)?;
        let header = header.ok_or_else(|| damaged(path, offset, "the header is missing"))?;
        Ok(Reader {
            path: path.to_owned(),
            file,
            offset,
            header,
        })
    }

    fn block<T: for<'de> Deserialize<'de>>(&mut self) -> io::Result<Option<T>> {
        read_block(&self.path, &mut self.file, &mut self.offset)
    }

    fn damaged(&self, what: &str) -> io::Error {
        damaged(&self.path, self.offset, what)
    }
}

fn read_block<T: for<'de> Deserialize<'de>>(
    path: &Path,
    file: &mut impl Read,
    offset: &mut u64,
) -> io::Result<Option<T>> {
    let mut head = [0; 8];
    file.read_exact(&mut head)
        .map_err(|_| damaged(path, *offset, "the file ends in the middle"))?;
    let length = u32::from_le_bytes([head[0], head[1], head[2], head[3]]);
    let sum = u32::from_le_bytes([head[4], head[5], head[6], head[7]]);
    if length == 0 {
        return if sum == 0 {
            Ok(None)
        } else {
            Err(damaged(path, *offset, "the last block is wrong"))
        };
    }
    if length > MAX_BLOCK_BYTES {
        return Err(damaged(
            path,
            *offset,
            "a block is longer than any that is written",
        ));
    }
    let mut bytes = vec![0; length as usize];
    file.read_exact(&mut bytes)
        .map_err(|_| damaged(path, *offset, "the file ends in the middle"))?;
    if crc32fast::hash(&bytes) != sum {
        return Err(damaged(path, *offset, "a block does not match its checksum"));
    }
    let value =
        postcard::from_bytes(&bytes).map_err(|_| damaged(path, *offset, "a block does not decode"))?;
    *offset += 8 + u64::from(length);
    Ok(Some(value))
}

fn damaged(path: &Path, offset: u64, what: &str) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        format!("{} at byte {offset}: {what}", path.display()),
    )
}

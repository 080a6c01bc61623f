//! A disk in memory that knows what was synced, mounted where a node keeps its
//! data. It can lose power, tear writes, fail, fill up, slow down and rot.

mod fs;
mod image;
mod pages;

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use fuser::{BackgroundSession, Config, INodeNo, Session, SessionACL};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use parking_lot::{Condvar, Mutex};
use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};

use crate::fault::DiskFault;
use crate::link::Probability;
use image::{Image, Inode, Kind, Node, ROOT};
use pages::Pages;

/// Threads that serve one disk: enough for a slow fsync not to hold up the rest.
const THREADS: usize = 4;
/// How long a busy disk lets what is to be written gather, where less than [`ENOUGH`] comes: a log that waits for its
/// sync gathers in memory, where nobody sees it.
const GATHERING: Duration = Duration::from_millis(50);
/// So much is enough to be torn: of sixteen sectors hardly ever all or none survive.
const ENOUGH: u64 = 16 * 512;
/// How often it does, until there is more than a sector.
const GATHERINGS: usize = 4;
/// The device of the FUSE driver.
pub(crate) const DEVICE: &str = "/dev/fuse";

/// How the disk misbehaves now.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Faults {
    full: bool,
    read: Probability,
    write: Probability,
    fsync: Probability,
    slow: Duration,
}

/// What the file system works on.
#[derive(Debug)]
struct State {
    image: Image,
    faults: Faults,
    rng: ChaCha8Rng,
    syncs: u64,
    /// Calls that were made to fail.
    refused: u64,
    /// Syncs that were asked for.
    asked: u64,
    /// Bytes that were written.
    written: u64,
    /// Syncs that are asked for from now on wait until this is another, as in the queue of
    /// a disk that is busy.
    held: Option<u64>,
    /// Without power: nothing is written or synced any more.
    off: bool,
}

/// The state of a disk, and news of what is waited for in it.
#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    /// A sync was asked for, or needs to wait no longer; or something was written while one is held.
    changed: Condvar,
}

/// A mounted disk. It is unmounted when dropped.
pub(crate) struct Disk {
    path: PathBuf,
    shared: Arc<Shared>,
    session: Option<BackgroundSession>,
}

impl std::fmt::Debug for Disk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Disk")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

impl Disk {
    /// Mounts a disk at `path`, a folder that is made if missing. What is in it
    /// already is on the disk, and safe.
    pub(crate) fn mount(path: &Path, seed: u64) -> std::io::Result<Disk> {
        std::fs::create_dir_all(path)?;
        let owner = std::fs::metadata(path)?;
        let (uid, gid) = (owner.uid(), owner.gid());
        let mut image = Image::new(uid, gid);
        load(&mut image, path, ROOT)?;
        let device = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(nix::libc::O_CLOEXEC)
            .open(DEVICE)?;
        let options = format!(
            "fd={},rootmode=40000,user_id={uid},group_id={gid},default_permissions,allow_other",
            device.as_raw_fd()
        );
        let flags = MsFlags::MS_NODEV | MsFlags::MS_NOSUID;
        mount(
            Some("ordeal-disk"),
            path,
            Some("fuse"),
            flags,
            Some(options.as_str()),
        )?;
        let rng = ChaCha8Rng::seed_from_u64(seed);
        let state = State {
            image,
            faults: Faults::default(),
            rng,
            syncs: 0,
            refused: 0,
            asked: 0,
            written: 0,
            held: None,
            off: false,
        };
        let shared = Arc::new(Shared {
            state: Mutex::new(state),
            changed: Condvar::new(),
        });
        let mut config = Config::default();
        config.n_threads = Some(THREADS);
        let session = Session::from_fd(
            fs::Fs(Arc::clone(&shared)),
            OwnedFd::from(device),
            SessionACL::All,
            config,
        )
        .and_then(Session::spawn);
        match session {
            Ok(session) => Ok(Disk {
                path: path.to_owned(),
                shared,
                session: Some(session),
            }),
            Err(error) => {
                let _ = umount2(path, MntFlags::MNT_DETACH);
                Err(error)
            }
        }
    }

    /// The node's power fails. From now on nothing gets to the disk, nor is anything
    /// synced for whose sync somebody waits already.
    pub(crate) fn power_off(&self) {
        let mut state = self.shared.state.lock();
        state.off = true;
        state.held = None;
        self.shared.changed.notify_all();
    }

    /// Is as busy as a disk can be when the power fails: lets a sync wait while more is
    /// written, or gathers where a log waits for it, then the next, with all that has
    /// gathered, for ever. Where that is still no more than a sector, which survives or
    /// does not but is never torn, it waits for the one after it, a few times. Each is
    /// waited for at most so long.
    pub(crate) fn be_busy(&self, at_most: Duration) {
        let mut state = self.shared.state.lock();
        for gathered in 0..GATHERINGS {
            let (asked, enough) = (state.asked, state.written + ENOUGH);
            state.held = Some(asked);
            self.shared.changed.notify_all();
            let idle = |state: &mut State| state.asked == asked;
            let waited = self.shared.changed.wait_while_for(&mut state, idle, at_most);
            if waited.timed_out() || gathered > 0 && state.image.can_tear() {
                return;
            }
            let little = |state: &mut State| state.written < enough;
            self.shared.changed.wait_while_for(&mut state, little, GATHERING);
        }
    }

    /// The power is back, and the processes from before are gone: what was not synced
    /// is lost. Says what that was.
    pub(crate) fn power_on(&self, torn: bool) -> String {
        let mut state = self.shared.state.lock();
        (state.off, state.held) = (false, None);
        let State { image, rng, .. } = &mut *state;
        let lost = image.lose(torn.then_some(rng));
        let mut text = format!(
            "lost {} names, unsynced writes of {} files ({} pages)",
            lost.names, lost.files, lost.pages
        );
        if torn {
            let (survived, of) = (lost.torn_sectors, lost.unsynced_sectors);
            text += &format!("; {survived} of {of} unsynced sectors survived");
        }
        text
    }

    /// Misbehaves in exactly these ways from now on. Bits are flipped at once,
    /// change nothing else, and are told where they are.
    pub(crate) fn set_faults(&self, faults: &[DiskFault]) -> Result<Option<String>, String> {
        let mut state = self.shared.state.lock();
        let mut sum = Faults::default();
        let mut flipped = None;
        for fault in faults {
            match fault {
                DiskFault::Full => sum.full = true,
                DiskFault::Errors { read, write, fsync } => {
                    sum.read = sum.read.or(*read);
                    sum.write = sum.write.or(*write);
                    sum.fsync = sum.fsync.or(*fsync);
                }
                DiskFault::Slow { fsync } => sum.slow += fsync.0,
                DiskFault::BitFlip { bits } => {
                    let State { image, rng, .. } = &mut *state;
                    flipped = Some(image.flip(*bits, rng));
                }
            }
        }
        if let Some(flipped) = flipped {
            drop(state);
            if flipped.is_empty() {
                return Err("there was not a bit on the disk to flip".to_owned());
            }
            self.drop_cached(&flipped);
            let places: Vec<String> = flipped
                .iter()
                .map(|(inode, byte)| format!("byte {byte} of inode {inode}"))
                .collect();
            return Ok(Some(format!("flipped a bit in {}", places.join(", "))));
        }
        state.faults = sum;
        Ok(None)
    }

    /// Has the kernel read these files anew.
    fn drop_cached(&self, changed: &[(Inode, u64)]) {
        let Some(session) = &self.session else { return };
        for (inode, _) in changed {
            // It may not have the file cached at all.
            let _ = session.notifier().inval_inode(INodeNo(*inode), 0, 0);
        }
    }

    /// Tries the disk out with a file that has no name, through the code that
    /// answers the node, and says what came of it. (Not through the kernel: a
    /// process that is killed with a file open on a disk that it serves itself
    /// would wait for itself for ever.)
    pub(crate) fn trial(&self) -> (bool, String) {
        let mut state = self.shared.state.lock();
        let faults = state.faults;
        let inode = state.image.anonymous();
        drop(state);
        let chance = faults.read.or(faults.write).or(faults.fsync).get();
        // Where failures are a matter of chance, enough tries to see one.
        let tries = if chance > 0.0 {
            ((14.0 / chance) as usize).clamp(1, 100_000)
        } else {
            1
        };
        let mut slowest = Duration::ZERO;
        let failed = (0..tries).find_map(|_| self.try_once(inode, &mut slowest).err());
        self.shared.state.lock().image.closed(inode);
        match failed {
            Some(errno) => {
                let meant = match errno {
                    nix::errno::Errno::ENOSPC => faults.full,
                    nix::errno::Errno::EIO => chance > 0.0,
                    _ => false,
                };
                (meant, format!("a synced write and a read: {}", errno.desc()))
            }
            None => {
                let meant = !faults.full && chance == 0.0 && slowest >= faults.slow;
                (
                    meant,
                    format!("a synced write and a read worked in {} us", slowest.as_micros()),
                )
            }
        }
    }

    fn try_once(&self, inode: Inode, slowest: &mut Duration) -> Result<(), nix::errno::Errno> {
        let started = std::time::Instant::now();
        let length = self.shared.state.lock().image.file(inode)?.length();
        self.shared.state.lock().write(inode, length, &[0; 128])?;
        fs::sync(&self.shared, inode)?;
        self.shared.state.lock().read(inode, length, 128)?;
        *slowest = (*slowest).max(started.elapsed());
        Ok(())
    }

    /// Unmounts, and leaves on the ordinary disk below what was on this one.
    pub(crate) fn unmount(&mut self) -> std::io::Result<()> {
        let Some(session) = self.session.take() else {
            return Ok(());
        };
        umount2(&self.path, MntFlags::MNT_DETACH)?;
        session.join()?;
        save_all(&self.path, &self.shared.state.lock().image)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        if let Err(error) = self.unmount() {
            tracing::warn!(%error, path = %self.path.display(), "unmounting a simulated disk");
        }
    }
}

/// Reads what is in a folder of the ordinary disk.
fn load(image: &mut Image, path: &Path, folder: Inode) -> std::io::Result<()> {
    for entry in std::fs::read_dir(path)? {
        let entry = entry?;
        let meta = entry.metadata()?;
        let mode = (meta.permissions().mode() & 0o7777) as u16;
        let (uid, gid) = (meta.uid(), meta.gid());
        let node = if meta.is_dir() {
            Node::folder(mode, uid, gid)
        } else if meta.is_symlink() {
            Node::new(Kind::Link(std::fs::read_link(entry.path())?), mode, uid, gid)
        } else if meta.is_file() {
            Node::file(mode, uid, gid)
        } else {
            continue;
        };
        let inode = image.make(folder, &entry.file_name(), node)?;
        if meta.is_dir() {
            load(image, &entry.path(), inode)?;
        } else if meta.is_file() {
            let bytes = std::fs::read(entry.path())?;
            image.change(inode, Pages::touched(0, bytes.len()), |pages| {
                pages.write(0, &bytes);
            })?;
        }
        image.sync(inode);
    }
    image.sync_folder(folder);
    Ok(())
}

/// Leaves in a folder of the ordinary disk what is on this one, and nothing else that could be.
fn save_all(path: &Path, image: &Image) -> std::io::Result<()> {
    let all: BTreeMap<PathBuf, &Node> = image.walk().into_iter().collect();
    clear(path, Path::new(""), &all)?;
    // Folders come before what is in them.
    all.iter()
        .try_for_each(|(below, node)| save(&path.join(below), node))
}

/// Removes from the ordinary disk what was removed from this one since it was loaded, or has become something else.
/// What no simulated disk holds, such as a socket, stays.
fn clear(path: &Path, below: &Path, kept: &BTreeMap<PathBuf, &Node>) -> std::io::Result<()> {
    for entry in std::fs::read_dir(path.join(below))? {
        let entry = entry?;
        let (found, below) = (entry.file_type()?, below.join(entry.file_name()));
        let same = match kept.get(&below).map(|node| &node.kind) {
            Some(Kind::Folder { .. }) => found.is_dir(),
            Some(Kind::File { .. }) => found.is_file(),
            Some(Kind::Link(target)) => found.is_symlink() && std::fs::read_link(entry.path())? == *target,
            None => !(found.is_dir() || found.is_file() || found.is_symlink()),
        };
        match (same, found.is_dir()) {
            (true, true) => clear(path, &below, kept)?,
            (true, false) => {}
            (false, true) => std::fs::remove_dir_all(entry.path())?,
            (false, false) => std::fs::remove_file(entry.path())?,
        }
    }
    Ok(())
}

/// Writes one node to the ordinary disk.
fn save(path: &Path, node: &Node) -> std::io::Result<()> {
    match &node.kind {
        Kind::Folder { .. } => std::fs::create_dir_all(path),
        Kind::Link(target) => match std::os::unix::fs::symlink(target, path) {
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
            other => other,
        },
        Kind::File { live, .. } => {
            // Sparse as it was: a preallocated log of 64 MB holds little.
            let file = OpenOptions::new()
                .create(true)
                .write(true)
                .truncate(true)
                .open(path)?;
            file.set_len(live.length())?;
            for number in live.page_numbers(0) {
                let offset = number * pages::PAGE as u64;
                std::os::unix::fs::FileExt::write_all_at(&file, &live.read(offset, pages::PAGE), offset)?;
            }
            Ok(())
        }
    }
}

/// A seed of its own for each node's disk.
pub(crate) fn seed_of(seed: u64, place: usize) -> u64 {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(place as u64 + 1);
    rng.random()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::OsStr;

    #[test]
    fn what_was_removed_meanwhile_is_not_left_below() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path();
        for (name, text) in [
            ("kept", "old"),
            ("removed", "old"),
            ("sub/removed", "old"),
            ("now-a-folder", "old"),
        ] {
            std::fs::create_dir_all(path.join(name).parent().expect("a folder")).expect("writable");
            std::fs::write(path.join(name), text).expect("writable");
        }
        std::fs::create_dir_all(path.join("gone/deep")).expect("writable");
        std::os::unix::fs::symlink("old", path.join("link")).expect("writable");
        let _socket = std::os::unix::net::UnixListener::bind(path.join("socket")).expect("a socket");
        let mut image = Image::new(0, 0);
        load(&mut image, path, ROOT).expect("loads");

        let of = |image: &Image, folder, name: &str| image.lookup(folder, OsStr::new(name)).expect("there");
        let kept = of(&image, ROOT, "kept");
        image
            .change(kept, Pages::touched(0, 3), |pages| pages.write(0, b"new"))
            .expect("written");
        for name in ["removed", "now-a-folder", "link"] {
            image.unlink(ROOT, OsStr::new(name)).expect("removed");
        }
        let sub = of(&image, ROOT, "sub");
        image.unlink(sub, OsStr::new("removed")).expect("removed");
        let gone = of(&image, ROOT, "gone");
        image.rmdir(gone, OsStr::new("deep")).expect("removed");
        image.rmdir(ROOT, OsStr::new("gone")).expect("removed");
        image
            .make(ROOT, OsStr::new("now-a-folder"), Node::folder(0o755, 0, 0))
            .expect("made");
        let link = Node::new(Kind::Link("new".into()), 0o777, 0, 0);
        image.make(ROOT, OsStr::new("link"), link).expect("made");
        save_all(path, &image).expect("saves");

        let mut left: Vec<String> = std::fs::read_dir(path)
            .expect("readable")
            .map(|entry| {
                entry
                    .expect("an entry")
                    .file_name()
                    .to_string_lossy()
                    .into_owned()
            })
            .collect();
        left.sort();
        assert_eq!(left, ["kept", "link", "now-a-folder", "socket", "sub"]);
        assert_eq!(std::fs::read(path.join("kept")).expect("readable"), b"new");
        assert_eq!(
            std::fs::read_link(path.join("link")).expect("a link"),
            Path::new("new")
        );
        assert_eq!(std::fs::read_dir(path.join("sub")).expect("readable").count(), 0);
        assert_eq!(
            std::fs::read_dir(path.join("now-a-folder"))
                .expect("readable")
                .count(),
            0
        );
    }
}

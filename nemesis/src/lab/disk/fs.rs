//! The image as a FUSE file system, with the faults of the disk in between.
//!
//! Attributes and names are never cached by the kernel (time to live zero), and
//! pages not beyond a file's being closed: after a power failure the kernel must
//! not remember what the disk has forgotten.

use std::ffi::OsStr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use fuser::{
    BsdFileFlags, Errno as FuseErrno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation,
    INodeNo, KernelConfig, LockOwner, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData,
    ReplyDirectory, ReplyEmpty, ReplyEntry, ReplyOpen, ReplyStatfs, ReplyWrite, Request, TimeOrNow,
    WriteFlags,
};
use nix::libc;
use rand::RngExt;

use super::image::{Errno, Inode, Kind, Node};
use super::pages::{PAGE, Pages};
use super::{Shared, State};
use crate::link::Probability;

const NEVER_CACHED: Duration = Duration::ZERO;
/// Size that the disk claims to have: 64 GiB.
const BLOCKS: u64 = 16 << 20;

/// The file system that the kernel talks to.
#[derive(Debug)]
pub(super) struct Fs(pub(super) Arc<Shared>);

fn now_ns() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
}

fn errno(error: Errno) -> FuseErrno {
    FuseErrno::from_i32(error as i32)
}

impl State {
    fn attr(&self, inode: Inode) -> Result<FileAttr, Errno> {
        let node = self.image.node(inode)?;
        let (kind, size, allocated) = match &node.kind {
            Kind::File { live, .. } => (FileType::RegularFile, live.length(), live.allocated()),
            Kind::Folder { .. } => (FileType::Directory, PAGE as u64, PAGE as u64),
            Kind::Link(target) => (FileType::Symlink, target.as_os_str().len() as u64, 0),
        };
        let time = UNIX_EPOCH + Duration::from_nanos(node.modified_ns);
        Ok(FileAttr {
            ino: INodeNo(inode),
            size,
            blocks: allocated / 512,
            atime: time,
            mtime: time,
            ctime: time,
            crtime: time,
            kind,
            perm: node.mode,
            nlink: self.image.links(inode),
            uid: node.uid,
            gid: node.gid,
            rdev: 0,
            blksize: PAGE as u32,
            flags: 0,
        })
    }

    /// EIO by this chance, and for certain without power.
    fn may_fail(&mut self, chance: Probability) -> Result<(), Errno> {
        if self.off {
            return Err(Errno::EIO);
        }
        if chance > Probability::NEVER && self.rng.random_bool(chance.get()) {
            self.refused += 1;
            return Err(Errno::EIO);
        }
        Ok(())
    }

    /// ENOSPC if this takes room and there is none.
    fn may_grow(&mut self, pages: u64) -> Result<(), Errno> {
        if self.faults.full && pages > 0 {
            self.refused += 1;
            return Err(Errno::ENOSPC);
        }
        Ok(())
    }

    /// What precedes every change of a name.
    fn may_change_names(&mut self) -> Result<(), Errno> {
        let chance = self.faults.write;
        self.may_fail(chance)
    }

    fn make(&mut self, parent: INodeNo, name: &OsStr, mut node: Node) -> Result<FileAttr, Errno> {
        self.may_change_names()?;
        self.may_grow(1)?;
        node.modified_ns = now_ns();
        let inode = self.image.make(parent.0, name, node)?;
        self.attr(inode)
    }

    pub(super) fn read(&mut self, inode: Inode, offset: u64, length: usize) -> Result<Vec<u8>, Errno> {
        let chance = self.faults.read;
        self.may_fail(chance)?;
        Ok(self.image.file(inode)?.read(offset, length))
    }

    pub(super) fn write(&mut self, inode: Inode, offset: u64, data: &[u8]) -> Result<u32, Errno> {
        let chance = self.faults.write;
        self.may_fail(chance)?;
        let missing = self.image.file(inode)?.missing(offset, data.len());
        self.may_grow(missing)?;
        self.image
            .change(inode, Pages::touched(offset, data.len()), |pages| {
                pages.write(offset, data);
            })?;
        self.image.node_mut(inode)?.modified_ns = now_ns();
        self.written += data.len() as u64;
        Ok(data.len() as u32)
    }

    fn set(&mut self, inode: Inode, change: &Change) -> Result<FileAttr, Errno> {
        if let Some(size) = change.size {
            self.may_change_names()?;
            self.image.resize(inode, size)?;
        }
        let node = self.image.node_mut(inode)?;
        if let Some(mode) = change.mode {
            node.mode = (mode & 0o7777) as u16;
        }
        node.uid = change.uid.unwrap_or(node.uid);
        node.gid = change.gid.unwrap_or(node.gid);
        match change.modified {
            Some(TimeOrNow::SpecificTime(time)) => {
                let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
                node.modified_ns = u64::try_from(since.as_nanos()).unwrap_or(u64::MAX);
            }
            Some(TimeOrNow::Now) => node.modified_ns = now_ns(),
            None if change.size.is_some() => node.modified_ns = now_ns(),
            None => {}
        }
        self.attr(inode)
    }

    fn fallocate(&mut self, inode: Inode, offset: u64, length: u64, mode: i32) -> Result<(), Errno> {
        let chance = self.faults.write;
        self.may_fail(chance)?;
        let old = self.image.file(inode)?.length();
        let zeroes = mode & (libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_ZERO_RANGE) != 0;
        let known = libc::FALLOC_FL_KEEP_SIZE | libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_ZERO_RANGE;
        if mode & !known != 0 {
            return Err(Errno::EOPNOTSUPP);
        }
        let end = offset.checked_add(length).ok_or(Errno::EFBIG)?;
        if zeroes {
            let touched = Pages::touched(offset, end.min(old).saturating_sub(offset) as usize);
            self.image
                .change(inode, touched, |pages| pages.punch(offset, length))?;
        } else {
            self.may_grow(self.image.file(inode)?.missing(offset, length as usize))?;
        }
        if mode & libc::FALLOC_FL_KEEP_SIZE == 0 && end > old {
            self.image.resize(inode, end)?;
        }
        Ok(())
    }
}

/// `fsync` of a file. Others go on while it is slow, and what they write
/// meanwhile is synced with it, as on a real disk with a queue.
pub(super) fn sync(shared: &Shared, inode: Inode) -> Result<(), Errno> {
    let mut state = shared.state.lock();
    state.asked += 1;
    let held = state.held;
    shared.changed.notify_all();
    let done = Instant::now() + state.faults.slow;
    let slow = |state: &mut State| !state.off;
    if done > Instant::now() {
        shared.changed.wait_while_until(&mut state, slow, done);
    }
    let waits = |state: &mut State| held.is_some() && state.held == held;
    shared.changed.wait_while(&mut state, waits);
    state.syncs += 1;
    let chance = state.faults.fsync;
    let synced = state.may_fail(chance);
    match synced {
        Ok(()) => state.image.sync(inode),
        // Of what a power failure caught on its way, some sectors may yet turn out to have arrived.
        Err(_) if state.off => {}
        Err(_) => state.image.forget_dirty(inode),
    }
    synced
}

/// What `setattr` may change.
struct Change {
    mode: Option<u32>,
    uid: Option<u32>,
    gid: Option<u32>,
    size: Option<u64>,
    modified: Option<TimeOrNow>,
}

fn entry(made: Result<FileAttr, Errno>, reply: ReplyEntry) {
    match made {
        Ok(attr) => reply.entry(&NEVER_CACHED, &attr, Generation(0)),
        Err(error) => reply.error(errno(error)),
    }
}

fn empty(done: Result<(), Errno>, reply: ReplyEmpty) {
    match done {
        Ok(()) => reply.ok(),
        Err(error) => reply.error(errno(error)),
    }
}

fn permissions(mode: u32, umask: u32) -> u16 {
    (mode & 0o7777 & !umask) as u16
}

impl Filesystem for Fs {
    fn init(&mut self, _request: &Request, config: &mut KernelConfig) -> std::io::Result<()> {
        // As much in one write as the kernel lets us.
        if let Err(most) = config.set_max_write(1 << 20) {
            let _ = config.set_max_write(most);
        }
        Ok(())
    }

    fn lookup(&self, _request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let state = self.0.state.lock();
        entry(
            state
                .image
                .lookup(parent.0, name)
                .and_then(|inode| state.attr(inode)),
            reply,
        );
    }

    fn getattr(&self, _request: &Request, inode: INodeNo, _handle: Option<FileHandle>, reply: ReplyAttr) {
        match self.0.state.lock().attr(inode.0) {
            Ok(attr) => reply.attr(&NEVER_CACHED, &attr),
            Err(error) => reply.error(errno(error)),
        }
    }

    fn setattr(
        &self,
        _request: &Request,
        inode: INodeNo,
        mode: Option<u32>,
        uid: Option<u32>,
        gid: Option<u32>,
        size: Option<u64>,
        _accessed: Option<TimeOrNow>,
        modified: Option<TimeOrNow>,
        _changed: Option<SystemTime>,
        _handle: Option<FileHandle>,
        _created: Option<SystemTime>,
        _chgtime: Option<SystemTime>,
        _bkuptime: Option<SystemTime>,
        _flags: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        match self.0.state.lock().set(
            inode.0,
            &Change {
                mode,
                uid,
                gid,
                size,
                modified,
            },
        ) {
            Ok(attr) => reply.attr(&NEVER_CACHED, &attr),
            Err(error) => reply.error(errno(error)),
        }
    }

    fn readlink(&self, _request: &Request, inode: INodeNo, reply: ReplyData) {
        let state = self.0.state.lock();
        match state.image.node(inode.0).map(|node| &node.kind) {
            Ok(Kind::Link(target)) => reply.data(target.as_os_str().as_encoded_bytes()),
            Ok(_) => reply.error(FuseErrno::EINVAL),
            Err(error) => reply.error(errno(error)),
        }
    }

    fn mknod(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        _device: u32,
        reply: ReplyEntry,
    ) {
        if mode & libc::S_IFMT != libc::S_IFREG {
            return reply.error(FuseErrno::EPERM);
        }
        let node = Node::file(permissions(mode, umask), request.uid(), request.gid());
        entry(self.0.state.lock().make(parent, name, node), reply);
    }

    fn mkdir(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        reply: ReplyEntry,
    ) {
        let node = Node::folder(permissions(mode, umask), request.uid(), request.gid());
        entry(self.0.state.lock().make(parent, name, node), reply);
    }

    fn unlink(&self, _request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let mut state = self.0.state.lock();
        empty(
            state
                .may_change_names()
                .and_then(|()| state.image.unlink(parent.0, name)),
            reply,
        );
    }

    fn rmdir(&self, _request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let mut state = self.0.state.lock();
        empty(
            state
                .may_change_names()
                .and_then(|()| state.image.rmdir(parent.0, name)),
            reply,
        );
    }

    fn symlink(&self, request: &Request, parent: INodeNo, name: &OsStr, target: &Path, reply: ReplyEntry) {
        let node = Node::new(Kind::Link(target.to_owned()), 0o777, request.uid(), request.gid());
        entry(self.0.state.lock().make(parent, name, node), reply);
    }

    fn rename(
        &self,
        _request: &Request,
        parent: INodeNo,
        name: &OsStr,
        to_parent: INodeNo,
        to_name: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        if flags.contains(RenameFlags::RENAME_EXCHANGE) {
            return reply.error(FuseErrno::EINVAL);
        }
        let replace = !flags.contains(RenameFlags::RENAME_NOREPLACE);
        let mut state = self.0.state.lock();
        let renamed = state.may_change_names().and_then(|()| {
            state
                .image
                .rename((parent.0, name), (to_parent.0, to_name), replace)
        });
        empty(renamed, reply);
    }

    fn link(&self, _request: &Request, inode: INodeNo, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let mut state = self.0.state.lock();
        let linked = state
            .may_change_names()
            .and_then(|()| state.image.link(inode.0, parent.0, name));
        entry(linked.and_then(|()| state.attr(inode.0)), reply);
    }

    fn open(&self, _request: &Request, inode: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        match self.0.state.lock().image.opened(inode.0) {
            Ok(()) => reply.opened(FileHandle(0), FopenFlags::empty()),
            Err(error) => reply.error(errno(error)),
        }
    }

    fn create(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        _flags: i32,
        reply: ReplyCreate,
    ) {
        let mut state = self.0.state.lock();
        let node = Node::file(permissions(mode, umask), request.uid(), request.gid());
        let made = state
            .make(parent, name, node)
            .and_then(|attr| state.image.opened(attr.ino.0).map(|()| attr));
        match made {
            Ok(attr) => {
                reply.created(
                    &NEVER_CACHED,
                    &attr,
                    Generation(0),
                    FileHandle(0),
                    FopenFlags::empty(),
                );
            }
            Err(error) => reply.error(errno(error)),
        }
    }

    fn read(
        &self,
        _request: &Request,
        inode: INodeNo,
        _handle: FileHandle,
        offset: u64,
        size: u32,
        _flags: OpenFlags,
        _owner: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let read = self.0.state.lock().read(inode.0, offset, size as usize);
        match read {
            Ok(bytes) => reply.data(&bytes),
            Err(error) => reply.error(errno(error)),
        }
    }

    fn write(
        &self,
        _request: &Request,
        inode: INodeNo,
        _handle: FileHandle,
        offset: u64,
        data: &[u8],
        _write_flags: WriteFlags,
        _flags: OpenFlags,
        _owner: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let mut state = self.0.state.lock();
        let written = state.write(inode.0, offset, data);
        if state.held.is_some() {
            self.0.changed.notify_all();
        }
        drop(state);
        match written {
            Ok(written) => reply.written(written),
            Err(error) => reply.error(errno(error)),
        }
    }

    fn flush(
        &self,
        _request: &Request,
        _inode: INodeNo,
        _handle: FileHandle,
        _owner: LockOwner,
        reply: ReplyEmpty,
    ) {
        reply.ok();
    }

    fn release(
        &self,
        _request: &Request,
        inode: INodeNo,
        _handle: FileHandle,
        _flags: OpenFlags,
        _owner: Option<LockOwner>,
        _flush: bool,
        reply: ReplyEmpty,
    ) {
        self.0.state.lock().image.closed(inode.0);
        reply.ok();
    }

    fn fsync(&self, _request: &Request, inode: INodeNo, _handle: FileHandle, _data: bool, reply: ReplyEmpty) {
        empty(sync(&self.0, inode.0), reply);
    }

    fn fsyncdir(
        &self,
        _request: &Request,
        inode: INodeNo,
        _handle: FileHandle,
        _data: bool,
        reply: ReplyEmpty,
    ) {
        let mut state = self.0.state.lock();
        state.syncs += 1;
        let chance = state.faults.fsync;
        let synced = state.may_fail(chance).map(|()| state.image.sync_folder(inode.0));
        empty(synced, reply);
    }

    fn readdir(
        &self,
        _request: &Request,
        inode: INodeNo,
        _handle: FileHandle,
        offset: u64,
        mut reply: ReplyDirectory,
    ) {
        let state = self.0.state.lock();
        let names = match state.image.names(inode.0) {
            Ok(names) => names,
            Err(error) => return reply.error(errno(error)),
        };
        let here = [(OsStr::new("."), inode.0), (OsStr::new(".."), inode.0)];
        let all = here
            .into_iter()
            .chain(names.iter().map(|(name, inode)| (name.as_os_str(), *inode)));
        for (place, (name, inode)) in (1..).zip(all).skip(offset as usize) {
            let kind = match state.image.node(inode).map(|node| &node.kind) {
                Ok(Kind::Folder { .. }) => FileType::Directory,
                Ok(Kind::Link(_)) => FileType::Symlink,
                _ => FileType::RegularFile,
            };
            if reply.add(INodeNo(inode), place, kind, name) {
                break;
            }
        }
        reply.ok();
    }

    fn statfs(&self, _request: &Request, _inode: INodeNo, reply: ReplyStatfs) {
        let state = self.0.state.lock();
        let used = state.image.allocated() / PAGE as u64;
        let free = if state.faults.full {
            0
        } else {
            BLOCKS.saturating_sub(used)
        };
        reply.statfs(
            BLOCKS,
            free,
            free,
            1 << 20,
            1 << 19,
            PAGE as u32,
            255,
            PAGE as u32,
        );
    }

    fn fallocate(
        &self,
        _request: &Request,
        inode: INodeNo,
        _handle: FileHandle,
        offset: u64,
        length: u64,
        mode: i32,
        reply: ReplyEmpty,
    ) {
        empty(
            self.0.state.lock().fallocate(inode.0, offset, length, mode),
            reply,
        );
    }
}

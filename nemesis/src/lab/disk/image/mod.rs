//! A disk's content twice: as programs see it, and as it would be found after
//! the power failed. Pure: no FUSE, no clock, no thread.
//!
//! What is durable follows POSIX, not a kind file system: a file's bytes are
//! safe after `fsync` of the file; a name is safe after `fsync` of its folder.
//! One kindness that every common Linux file system shows and programs rely on:
//! `fsync` of a file also makes its present names safe.

mod durable;

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use super::pages::{PAGE, Pages};

/// Number of a file or folder.
pub(crate) type Inode = u64;
/// The folder that everything is in.
pub(crate) const ROOT: Inode = 1;

/// What the calls return that fail.
pub(crate) type Errno = nix::errno::Errno;

/// A file, folder or link.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) kind: Kind,
    pub(crate) mode: u16,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// Nanoseconds since 1970.
    pub(crate) modified_ns: u64,
    /// How often it is open now: what is open outlives its names.
    opens: u32,
}

/// What a node is.
#[derive(Clone, Debug)]
pub(crate) enum Kind {
    /// A file, as seen, as safe, and the numbers of the pages that differ.
    File {
        live: Pages,
        safe: Pages,
        dirty: BTreeSet<u64>,
    },
    /// A folder, as seen and as safe.
    Folder {
        live: BTreeMap<OsString, Inode>,
        safe: BTreeMap<OsString, Inode>,
    },
    /// A symbolic link.
    Link(PathBuf),
}

/// The whole disk.
#[derive(Debug)]
pub(crate) struct Image {
    nodes: BTreeMap<Inode, Node>,
    next: Inode,
}

impl Image {
    pub(crate) fn new(uid: u32, gid: u32) -> Image {
        let kind = Kind::Folder {
            live: BTreeMap::new(),
            safe: BTreeMap::new(),
        };
        let root = Node {
            kind,
            mode: 0o755,
            uid,
            gid,
            modified_ns: 0,
            opens: 1,
        };
        Image {
            nodes: BTreeMap::from([(ROOT, root)]),
            next: ROOT + 1,
        }
    }

    pub(crate) fn node(&self, inode: Inode) -> Result<&Node, Errno> {
        self.nodes.get(&inode).ok_or(Errno::ENOENT)
    }

    pub(crate) fn node_mut(&mut self, inode: Inode) -> Result<&mut Node, Errno> {
        self.nodes.get_mut(&inode).ok_or(Errno::ENOENT)
    }

    /// Names of a folder, as seen.
    pub(crate) fn names(&self, folder: Inode) -> Result<&BTreeMap<OsString, Inode>, Errno> {
        match &self.node(folder)?.kind {
            Kind::Folder { live, .. } => Ok(live),
            _ => Err(Errno::ENOTDIR),
        }
    }

    fn names_mut(&mut self, folder: Inode) -> Result<&mut BTreeMap<OsString, Inode>, Errno> {
        match &mut self.node_mut(folder)?.kind {
            Kind::Folder { live, .. } => Ok(live),
            _ => Err(Errno::ENOTDIR),
        }
    }

    pub(crate) fn lookup(&self, folder: Inode, name: &OsStr) -> Result<Inode, Errno> {
        self.names(folder)?.get(name).copied().ok_or(Errno::ENOENT)
    }

    /// How many names it has, as seen.
    pub(crate) fn links(&self, inode: Inode) -> u32 {
        let all = self.nodes.values().filter_map(|node| match &node.kind {
            Kind::Folder { live, .. } => Some(live.values().filter(|found| **found == inode).count() as u32),
            _ => None,
        });
        all.sum::<u32>().max(u32::from(inode == ROOT))
    }

    /// Bytes in use.
    pub(crate) fn allocated(&self) -> u64 {
        let all = self.nodes.values().map(|node| match &node.kind {
            Kind::File { live, .. } => live.allocated(),
            _ => PAGE as u64,
        });
        all.sum()
    }

    /// Makes a new node under a name.
    pub(crate) fn make(&mut self, folder: Inode, name: &OsStr, node: Node) -> Result<Inode, Errno> {
        if self.names(folder)?.contains_key(name) {
            return Err(Errno::EEXIST);
        }
        let inode = self.next;
        self.next += 1;
        self.nodes.insert(inode, node);
        self.names_mut(folder)?.insert(name.to_owned(), inode);
        Ok(inode)
    }

    /// Makes an open file without a name; closing it removes it.
    pub(crate) fn anonymous(&mut self) -> Inode {
        let inode = self.next;
        self.next += 1;
        self.nodes.insert(
            inode,
            Node {
                opens: 1,
                ..Node::file(0o600, 0, 0)
            },
        );
        inode
    }

    /// Gives a file one more name.
    pub(crate) fn link(&mut self, inode: Inode, folder: Inode, name: &OsStr) -> Result<(), Errno> {
        self.node(inode)?;
        let names = self.names_mut(folder)?;
        if names.contains_key(name) {
            return Err(Errno::EEXIST);
        }
        names.insert(name.to_owned(), inode);
        Ok(())
    }

    pub(crate) fn unlink(&mut self, folder: Inode, name: &OsStr) -> Result<(), Errno> {
        let inode = self.lookup(folder, name)?;
        if matches!(self.node(inode)?.kind, Kind::Folder { .. }) {
            return Err(Errno::EISDIR);
        }
        self.names_mut(folder)?.remove(name);
        self.collect();
        Ok(())
    }

    pub(crate) fn rmdir(&mut self, folder: Inode, name: &OsStr) -> Result<(), Errno> {
        let inode = self.lookup(folder, name)?;
        if !self.names(inode)?.is_empty() {
            return Err(Errno::ENOTEMPTY);
        }
        self.names_mut(folder)?.remove(name);
        self.collect();
        Ok(())
    }

    /// Moves a name, over another if `replace`.
    pub(crate) fn rename(
        &mut self,
        (folder, name): (Inode, &OsStr),
        (to_folder, to_name): (Inode, &OsStr),
        replace: bool,
    ) -> Result<(), Errno> {
        let inode = self.lookup(folder, name)?;
        if let Ok(there) = self.lookup(to_folder, to_name) {
            if !replace {
                return Err(Errno::EEXIST);
            }
            if there == inode {
                return Ok(());
            }
            let is_folder = |kind: &Kind| matches!(kind, Kind::Folder { .. });
            match (
                is_folder(&self.node(inode)?.kind),
                is_folder(&self.node(there)?.kind),
            ) {
                (true, false) => return Err(Errno::ENOTDIR),
                (false, true) => return Err(Errno::EISDIR),
                (true, true) if !self.names(there)?.is_empty() => return Err(Errno::ENOTEMPTY),
                _ => {}
            }
        }
        self.names(to_folder)?;
        self.names_mut(folder)?.remove(name);
        self.names_mut(to_folder)?.insert(to_name.to_owned(), inode);
        self.collect();
        Ok(())
    }

    pub(crate) fn opened(&mut self, inode: Inode) -> Result<(), Errno> {
        self.node_mut(inode)?.opens += 1;
        Ok(())
    }

    pub(crate) fn closed(&mut self, inode: Inode) {
        if let Ok(node) = self.node_mut(inode) {
            node.opens = node.opens.saturating_sub(1);
        }
        self.collect();
    }

    /// A file's bytes, as seen.
    pub(crate) fn file(&self, inode: Inode) -> Result<&Pages, Errno> {
        match &self.node(inode)?.kind {
            Kind::File { live, .. } => Ok(live),
            Kind::Folder { .. } => Err(Errno::EISDIR),
            Kind::Link(_) => Err(Errno::EINVAL),
        }
    }

    /// Changes a file's bytes; `touched` are the pages that it may change.
    pub(crate) fn change(
        &mut self,
        inode: Inode,
        touched: std::ops::Range<u64>,
        change: impl FnOnce(&mut Pages),
    ) -> Result<(), Errno> {
        let Kind::File { live, dirty, .. } = &mut self.node_mut(inode)?.kind else {
            return Err(Errno::EISDIR);
        };
        change(live);
        dirty.extend(touched);
        Ok(())
    }

    pub(crate) fn resize(&mut self, inode: Inode, length: u64) -> Result<(), Errno> {
        let old = self.file(inode)?.length();
        let (from, to) = (old.min(length), old.max(length));
        // Every page from the shorter end on may have changed; those that never
        // existed cost nothing to sync.
        let page = PAGE as u64;
        let present = from / page..to.div_ceil(page).min(from / page + 1);
        let Kind::File { live, safe, dirty } = &mut self.node_mut(inode)?.kind else {
            return Err(Errno::EISDIR);
        };
        live.resize(length);
        dirty.extend(present);
        if length < old {
            dirty.extend(safe.page_numbers(from / page));
        }
        Ok(())
    }

    /// Removes what has no name, seen or safe, and is not open.
    fn collect(&mut self) {
        loop {
            let mut named = BTreeSet::from([ROOT]);
            for node in self.nodes.values() {
                if let Kind::Folder { live, safe } = &node.kind {
                    named.extend(live.values().chain(safe.values()).copied());
                }
            }
            let before = self.nodes.len();
            self.nodes
                .retain(|inode, node| named.contains(inode) || node.opens > 0);
            if self.nodes.len() == before {
                return;
            }
        }
    }

    /// Everything that is there, as seen: folders before what is in them.
    pub(crate) fn walk(&self) -> Vec<(PathBuf, &Node)> {
        let mut found = Vec::new();
        let mut open = vec![(PathBuf::new(), ROOT)];
        while let Some((path, inode)) = open.pop() {
            let Ok(node) = self.node(inode) else { continue };
            if let Kind::Folder { live, .. } = &node.kind {
                open.extend(live.iter().map(|(name, inode)| (path.join(name), *inode)));
            }
            if inode != ROOT {
                found.push((path, node));
            }
        }
        found.sort_by(|a, b| a.0.cmp(&b.0));
        found
    }
}

impl Node {
    pub(crate) fn new(kind: Kind, mode: u16, uid: u32, gid: u32) -> Node {
        Node {
            kind,
            mode,
            uid,
            gid,
            modified_ns: 0,
            opens: 0,
        }
    }

    pub(crate) fn file(mode: u16, uid: u32, gid: u32) -> Node {
        let kind = Kind::File {
            live: Pages::default(),
            safe: Pages::default(),
            dirty: BTreeSet::new(),
        };
        Node::new(kind, mode, uid, gid)
    }

    pub(crate) fn folder(mode: u16, uid: u32, gid: u32) -> Node {
        Node::new(
            Kind::Folder {
                live: BTreeMap::new(),
                safe: BTreeMap::new(),
            },
            mode,
            uid,
            gid,
        )
    }
}

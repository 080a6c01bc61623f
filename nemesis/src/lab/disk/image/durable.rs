//! What survives: what syncing makes safe, and what a power failure and rot leave.

use std::collections::BTreeSet;

use rand::RngExt;

use super::{Image, Inode, Kind, Node, ROOT};
use crate::lab::disk::pages::{PAGE, Pages, SECTOR};

/// What a power failure took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Lost {
    pub(crate) files: usize,
    pub(crate) pages: usize,
    pub(crate) names: usize,
    /// Sectors that were written and not synced, of files that lost some.
    pub(crate) unsynced_sectors: usize,
    /// How many of them survived nevertheless.
    pub(crate) torn_sectors: usize,
}

impl Image {
    /// Makes a file's bytes and its present names safe.
    pub(crate) fn sync(&mut self, inode: Inode) {
        if let Some(Node {
            kind: Kind::File { live, safe, dirty },
            ..
        }) = self.nodes.get_mut(&inode)
        {
            safe.adopt_length(live);
            for number in std::mem::take(dirty) {
                safe.adopt(number, live);
            }
        }
        self.sync_names_of(inode);
    }

    /// What a failed fsync leaves behind on Linux: the pages count as clean, so
    /// that the next fsync succeeds without them (Rebello et al. 2020).
    pub(crate) fn forget_dirty(&mut self, inode: Inode) {
        if let Some(Node {
            kind: Kind::File { dirty, .. },
            ..
        }) = self.nodes.get_mut(&inode)
        {
            dirty.clear();
        }
    }

    /// The names of a node, and of the folders above it, where they are new.
    fn sync_names_of(&mut self, inode: Inode) {
        let mut above = BTreeSet::new();
        for (folder, node) in &mut self.nodes {
            if let Kind::Folder { live, safe } = &mut node.kind {
                for (name, _) in live.iter().filter(|(_, found)| **found == inode) {
                    if safe.insert(name.clone(), inode) != Some(inode) && *folder != ROOT {
                        above.insert(*folder);
                    }
                }
            }
        }
        above.into_iter().for_each(|folder| self.sync_names_of(folder));
    }

    /// Makes the names in a folder safe, gone ones gone.
    pub(crate) fn sync_folder(&mut self, folder: Inode) {
        if let Some(Node {
            kind: Kind::Folder { live, safe },
            ..
        }) = self.nodes.get_mut(&folder)
        {
            safe.clone_from(live);
        }
        self.sync_names_of(folder);
        self.collect();
    }

    /// Whether a write of more than a sector waits to be synced, so that the power can take a part of it.
    pub(crate) fn can_tear(&self) -> bool {
        self.nodes.values().any(|node| match &node.kind {
            Kind::File { live, safe, dirty } => unsynced(live, safe, dirty).len() > 1,
            Kind::Folder { .. } | Kind::Link(_) => false,
        })
    }

    /// The power fails: what is not safe is gone. With `torn`, some of the sectors
    /// that were not synced survive, and by an even chance a file's new length does too.
    pub(crate) fn lose(&mut self, torn: Option<&mut impl RngExt>) -> Lost {
        let mut lost = Lost::default();
        let mut torn = torn;
        for node in self.nodes.values_mut() {
            node.opens = 0;
            match &mut node.kind {
                Kind::File { live, safe, dirty } => {
                    if let Some(rng) = torn.as_deref_mut()
                        && !dirty.is_empty()
                    {
                        let unsynced = unsynced(live, safe, dirty);
                        lost.unsynced_sectors += unsynced.len();
                        lost.torn_sectors += tear(live, safe, &unsynced, rng);
                    }
                    lost.files += usize::from(*live != *safe);
                    lost.pages += dirty.len();
                    live.clone_from(safe);
                    dirty.clear();
                }
                Kind::Folder { live, safe } => {
                    lost.names += live
                        .iter()
                        .filter(|(name, inode)| safe.get(*name) != Some(inode))
                        .count();
                    live.clone_from(safe);
                }
                Kind::Link(_) => {}
            }
        }
        self.node_mut(ROOT).expect("the root is never lost").opens = 1;
        self.collect();
        lost
    }

    /// Flips random bits of random files, on disk and as seen. Returns where.
    pub(crate) fn flip(&mut self, bits: u32, rng: &mut impl RngExt) -> Vec<(Inode, u64)> {
        let files: Vec<(Inode, u64)> = self
            .nodes
            .iter()
            .filter_map(|(inode, node)| match &node.kind {
                Kind::File { live, safe, .. } => Some((*inode, live.length().min(safe.length()))),
                _ => None,
            })
            .filter(|(_, length)| *length > 0)
            .collect();
        let total: u64 = files.iter().map(|(_, length)| length).sum();
        let mut flipped = Vec::new();
        for _ in 0..if total == 0 { 0 } else { bits } {
            // Every byte of the disk has the same chance.
            let mut byte = rng.random_range(0..total);
            let (inode, _) = *files
                .iter()
                .find(|(_, length)| match byte.checked_sub(*length) {
                    Some(rest) => {
                        byte = rest;
                        false
                    }
                    None => true,
                })
                .expect("the byte is within the total");
            let bit = byte * 8 + rng.random_range(0..8);
            if let Ok(Node {
                kind: Kind::File { live, safe, .. },
                ..
            }) = self.node_mut(inode)
                && live.flip(bit)
                && safe.flip(bit)
            {
                flipped.push((inode, byte));
            }
        }
        flipped
    }
}

/// The sectors, by page and place in it, that a sync would change, in order.
fn unsynced(live: &Pages, safe: &Pages, dirty: &BTreeSet<u64>) -> Vec<(u64, usize)> {
    let sectors = dirty
        .iter()
        .flat_map(|number| (0..PAGE / SECTOR).map(move |sector| (*number, sector)));
    sectors
        .filter(|(number, sector)| live.sector(*number, *sector) != safe.sector(*number, *sector))
        .collect()
}

/// Lets some of the unsynced sectors survive. A disk writes what it has in any order, mostly in that of the file: by
/// an even chance those before some place survive, where there are several never all of them nor none; or else
/// each for itself.
fn tear(live: &Pages, safe: &mut Pages, unsynced: &[(u64, usize)], rng: &mut impl RngExt) -> usize {
    let length_survives = rng.random_bool(0.5);
    let (old, new) = (safe.length(), live.length());
    let end = if length_survives { new } else { old };
    let start = |(number, sector): (u64, usize)| number * PAGE as u64 + (sector * SECTOR) as u64;
    let within: Vec<(u64, usize)> = unsynced.iter().copied().filter(|at| start(*at) < end).collect();
    let beginning = (within.len() > 1 && rng.random_bool(0.5)).then(|| rng.random_range(1..within.len()));
    let mut survived = 0;
    for (place, (number, sector)) in within.into_iter().enumerate() {
        if beginning.map_or_else(|| rng.random_bool(0.5), |count| place < count) {
            safe.adopt_sector(number, sector, live);
            survived += 1;
        }
    }
    if length_survives {
        safe.adopt_length(live);
    } else {
        // Nothing may show beyond the end that it had.
        safe.resize(old);
    }
    survived
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::ChaCha8Rng;

    use super::*;

    fn image() -> Image {
        Image::new(0, 0)
    }

    fn create(image: &mut Image, folder: Inode, name: &str) -> Inode {
        image
            .make(folder, name.as_ref(), Node::file(0o644, 0, 0))
            .expect("a new name")
    }

    fn write(image: &mut Image, inode: Inode, offset: u64, text: &str) {
        let touched = Pages::touched(offset, text.len());
        image
            .change(inode, touched, |pages| pages.write(offset, text.as_bytes()))
            .expect("a file");
    }

    fn text(image: &Image, name: &str) -> Option<String> {
        let inode = image.lookup(ROOT, name.as_ref()).ok()?;
        Some(String::from_utf8_lossy(&image.file(inode).ok()?.read(0, 1 << 20)).into_owned())
    }

    const NEVER: Option<&mut ChaCha8Rng> = None;

    #[test]
    fn what_was_not_synced_is_lost_and_what_was_is_not() {
        let mut image = image();
        let log = create(&mut image, ROOT, "log");
        write(&mut image, log, 0, "synced ");
        image.sync(log);
        write(&mut image, log, 7, "unsynced");
        create(&mut image, ROOT, "never");
        assert_eq!(text(&image, "log").as_deref(), Some("synced unsynced"));
        let lost = image.lose(NEVER);
        assert_eq!(text(&image, "log").as_deref(), Some("synced "));
        assert_eq!(text(&image, "never"), None);
        assert_eq!((lost.files, lost.names), (1, 1));
    }

    #[test]
    fn a_rename_is_safe_only_after_its_folder_is_synced() {
        let mut image = image();
        let old = create(&mut image, ROOT, "snap");
        write(&mut image, old, 0, "old");
        image.sync(old);
        let new = create(&mut image, ROOT, "snap.tmp");
        write(&mut image, new, 0, "new");
        image.sync(new);
        image
            .rename((ROOT, "snap.tmp".as_ref()), (ROOT, "snap".as_ref()), true)
            .expect("renames");
        assert_eq!(text(&image, "snap").as_deref(), Some("new"));
        image.lose(NEVER);
        assert_eq!(
            text(&image, "snap").as_deref(),
            Some("old"),
            "the rename is undone"
        );
        assert_eq!(text(&image, "snap.tmp").as_deref(), Some("new"));
        image
            .rename((ROOT, "snap.tmp".as_ref()), (ROOT, "snap".as_ref()), true)
            .expect("renames");
        image.sync_folder(ROOT);
        image.lose(NEVER);
        assert_eq!(
            (text(&image, "snap").as_deref(), text(&image, "snap.tmp")),
            (Some("new"), None)
        );
    }

    #[test]
    fn a_synced_file_in_new_folders_is_found_again() {
        let mut image = image();
        let a = image
            .make(ROOT, "a".as_ref(), Node::folder(0o755, 0, 0))
            .expect("new");
        let b = image
            .make(a, "b".as_ref(), Node::folder(0o755, 0, 0))
            .expect("new");
        let file = create(&mut image, b, "file");
        image.sync(file);
        image.lose(NEVER);
        let b = image.lookup(a, "b".as_ref()).expect("kept");
        assert_eq!(image.lookup(b, "file".as_ref()), Ok(file));
    }

    #[test]
    fn an_unlink_is_undone_unless_synced_and_truncation_too() {
        let mut image = image();
        let file = create(&mut image, ROOT, "file");
        write(&mut image, file, 0, &"x".repeat(10_000));
        image.sync(file);
        image.resize(file, 10).expect("a file");
        image.unlink(ROOT, "file".as_ref()).expect("there");
        image.lose(NEVER);
        assert_eq!(text(&image, "file").map(|text| text.len()), Some(10_000));
        image.resize(file, 10).expect("a file");
        image.sync(file);
        image.resize(file, 5_000).expect("a file");
        image.sync(file);
        image.lose(NEVER);
        let text = text(&image, "file").expect("there");
        assert_eq!(
            (text.len(), text.trim_end_matches('\0').len()),
            (5_000, 10),
            "zeroes, not old bytes"
        );
    }

    #[test]
    fn a_failed_fsync_is_not_made_good_by_the_next_one() {
        let mut image = image();
        let file = create(&mut image, ROOT, "file");
        image.sync(file);
        write(&mut image, file, 0, "lost");
        image.forget_dirty(file);
        image.sync(file);
        image.lose(NEVER);
        assert_ne!(text(&image, "file").as_deref(), Some("lost"));
    }

    #[test]
    fn torn_writes_leave_whole_sectors_of_old_or_new() {
        let mut partly = 0;
        for seed in 0..50 {
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            let mut image = image();
            let file = create(&mut image, ROOT, "file");
            write(&mut image, file, 0, &"o".repeat(8192));
            image.sync(file);
            write(&mut image, file, 0, &"n".repeat(12_288));
            let lost = image.lose(Some(&mut rng));
            let bytes = image.file(file).expect("a file").read(0, 1 << 20);
            assert!(
                bytes.len() == 8192 || bytes.len() == 12_288,
                "seed {seed}: {}",
                bytes.len()
            );
            let mut new = 0;
            for sector in bytes.chunks(SECTOR) {
                assert!(
                    sector.iter().all(|byte| *byte == sector[0]),
                    "seed {seed}: a sector is torn"
                );
                new += usize::from(sector[0] == b'n');
            }
            assert_eq!(new, lost.torn_sectors, "seed {seed}");
            partly += usize::from(new > 0 && new < bytes.len() / SECTOR);
        }
        assert!(partly > 40, "torn only {partly} times of 50");
    }

    #[test]
    fn a_sector_alone_is_never_torn_and_of_several_mostly_the_first_survives_without_the_last() {
        // A log that took room ahead of what it writes, and has written this much behind what is synced.
        let log = |unsynced: usize| {
            let mut image = image();
            let log = create(&mut image, ROOT, "log");
            image.resize(log, 65_536).expect("a file");
            write(&mut image, log, 0, &"o".repeat(300));
            image.sync(log);
            assert!(!image.can_tear(), "everything is synced");
            // The same bytes again change nothing, so there is nothing to lose of them.
            write(&mut image, log, 0, &"o".repeat(300));
            write(&mut image, log, 300, &"n".repeat(unsynced));
            image
        };
        let mut torn = 0;
        for seed in 0..50 {
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            let mut short = log(200);
            assert!(!short.can_tear(), "seed {seed}: one sector");
            assert_eq!(short.lose(Some(&mut rng)).unsynced_sectors, 1, "seed {seed}");
            let new = text(&short, "log").expect("there").matches('n').count();
            assert!(new == 0 || new == 200, "seed {seed}: {new} bytes of a sector");
            let mut long = log(1_300);
            assert!(long.can_tear(), "seed {seed}: four sectors");
            assert_eq!(long.lose(Some(&mut rng)).unsynced_sectors, 4, "seed {seed}");
            let left = text(&long, "log").expect("there");
            torn += usize::from(left[300..].starts_with('n') && left.matches('n').count() < 1_300);
        }
        assert!(torn > 25, "torn only {torn} times of 50");
    }

    #[test]
    fn flipped_bits_are_on_disk_and_seen() {
        let mut rng = ChaCha8Rng::seed_from_u64(9);
        let mut image = image();
        let file = create(&mut image, ROOT, "file");
        write(&mut image, file, 0, &"a".repeat(100));
        image.sync(file);
        assert_eq!(image.flip(3, &mut rng).len(), 3);
        let seen = image.file(file).expect("a file").read(0, 100);
        assert_ne!(seen, vec![b'a'; 100]);
        image.lose(NEVER);
        assert_eq!(image.file(file).expect("a file").read(0, 100), seen);
    }

    #[test]
    fn an_open_file_outlives_its_name() {
        let mut image = image();
        let file = create(&mut image, ROOT, "file");
        image.opened(file).expect("there");
        image.unlink(ROOT, "file".as_ref()).expect("there");
        write(&mut image, file, 0, "still here");
        image.closed(file);
        assert!(image.node(file).is_err(), "gone with its last handle");
    }
}

//! Configurations that are known to lead nowhere.

use std::hash::{Hash, Hasher};

use hashbrown::HashTable;
use rustc_hash::FxHasher;

use super::machine::StateId;
use super::mask::Mask;
use super::usage::{UsageId, Usages};

/// Where a search can stand: what is explained so far, and what that leaves.
///
/// A configuration stands for several plain ones: any of the `spare` calls may count as linearized already.
#[derive(Clone, Debug)]
pub(crate) struct Configuration<B> {
    /// The completion that must be explained next.
    pub(crate) at: u32,
    pub(crate) state: StateId,
    /// Open calls that are linearized.
    pub(crate) done: B,
    /// Open calls that are not, but could have been without a trace: hidden by an overwrite, or without effect
    /// in a state that was passed.
    pub(crate) spare: B,
    /// What was used of the operations of unknown outcome.
    pub(crate) used: UsageId,
}

/// A set of failed configurations in which subsumed ones are found, too.
#[derive(Debug)]
pub(crate) struct Memo<B> {
    table: HashTable<u32>,
    entries: Vec<Entry<B>>,
}

#[derive(Debug)]
struct Entry<B> {
    configuration: Configuration<B>,
    /// The calls of `done` that can never be spare; equal in all that share a chain.
    fixed: B,
    next: u32,
}

const LAST: u32 = u32::MAX;
/// Longer chains are searched only this far: missing a known failure costs time, never the verdict.
const LONGEST_CHAIN: usize = 64;

impl<B: Mask> Configuration<B> {
    /// Whether everything that is possible from the other configuration is possible from this one.
    ///
    /// So it is where place and state are equal, whatever is linearized here is linearized there, whatever more
    /// is linearized there is spare here, what is spare there is spare here, and no more was used here of the
    /// operations of unknown outcome.
    pub(crate) fn covers(&self, other: &Self, usages: &Usages) -> bool {
        self.at == other.at
            && self.state == other.state
            && self.done.within(&other.done)
            && other.done.without(&self.done).within(&self.spare)
            && other.spare.within(&self.spare)
            && usages.within(self.used, other.used)
    }
}

impl<B: Mask> Memo<B> {
    pub(crate) fn new() -> Self {
        Memo {
            table: HashTable::new(),
            entries: Vec::new(),
        }
    }

    /// Whether a failed configuration covers this one.
    pub(crate) fn covers(&self, asked: &Configuration<B>, traceless: &B, usages: &Usages) -> bool {
        if self.entries.is_empty() {
            return false;
        }
        let fixed = asked.done.without(traceless);
        let found = self.table.find(hash(asked, &fixed), |&entry| {
            self.entries[entry as usize].is(asked, &fixed)
        });
        let mut next = found.copied().unwrap_or(LAST);
        for _ in 0..LONGEST_CHAIN {
            let Some(entry) = self.entries.get(next as usize) else {
                return false;
            };
            if entry.configuration.covers(asked, usages) {
                return true;
            }
            next = entry.next;
        }
        false
    }

    pub(crate) fn insert(&mut self, failed: Configuration<B>, traceless: &B) {
        let fixed = failed.done.without(traceless);
        let hash = hash(&failed, &fixed);
        let number = self.entries.len() as u32;
        let entries = &mut self.entries;
        match self
            .table
            .find_mut(hash, |&entry| entries[entry as usize].is(&failed, &fixed))
        {
            Some(head) => {
                entries.push(Entry {
                    configuration: failed,
                    fixed,
                    next: *head,
                });
                *head = number;
            }
            None => {
                entries.push(Entry {
                    configuration: failed,
                    fixed,
                    next: LAST,
                });
                self.table.insert_unique(hash, number, |&entry| {
                    let entry = &entries[entry as usize];
                    self::hash(&entry.configuration, &entry.fixed)
                });
            }
        }
    }

    /// About how many bytes are held.
    pub(crate) fn bytes(&self) -> u64 {
        let masks = self
            .entries
            .first()
            .map_or(0, |entry| entry.fixed.words().len() * 8 * 3);
        (self.entries.capacity() * (size_of::<Entry<B>>() + masks) + self.table.capacity() * 5) as u64
    }
}

impl<B: Mask> Entry<B> {
    fn is(&self, other: &Configuration<B>, fixed: &B) -> bool {
        self.configuration.at == other.at && self.configuration.state == other.state && self.fixed == *fixed
    }
}

fn hash<B: Mask>(configuration: &Configuration<B>, fixed: &B) -> u64 {
    let mut hasher = FxHasher::default();
    (configuration.at, configuration.state).hash(&mut hasher);
    fixed.hash(&mut hasher);
    hasher.finish()
}

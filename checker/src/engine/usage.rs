//! Which operations of unknown outcome an explanation has used.

use rustc_hash::FxHashMap;

use super::machine::ClassId;

/// How many operations of each class were used, numbered: operations of one class are interchangeable, and of
/// several the one that was invoked first is the one to use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct UsageId(pub(crate) u32);

impl UsageId {
    /// None was used.
    pub(crate) const NOTHING: UsageId = UsageId(0);
}

/// Every usage that was met.
#[derive(Debug)]
pub(crate) struct Usages {
    counts: Vec<Counts>,
    numbers: FxHashMap<Counts, UsageId>,
    more: FxHashMap<(UsageId, ClassId), UsageId>,
}

/// Classes in order, each with how many were used; classes of which none was used are left out.
type Counts = Box<[(ClassId, u32)]>;

impl Default for Usages {
    fn default() -> Self {
        let nothing = Counts::default();
        Usages {
            counts: vec![nothing.clone()],
            numbers: FxHashMap::from_iter([(nothing, UsageId::NOTHING)]),
            more: FxHashMap::default(),
        }
    }
}

impl Usages {
    /// How many of a class were used.
    #[inline]
    pub(crate) fn count(&self, usage: UsageId, class: ClassId) -> u32 {
        if usage == UsageId::NOTHING {
            return 0;
        }
        let counts = &self.counts[usage.0 as usize];
        counts
            .iter()
            .find(|(used, _)| *used == class)
            .map_or(0, |&(_, count)| count)
    }

    /// The usage with one more of a class.
    pub(crate) fn with(&mut self, usage: UsageId, class: ClassId) -> UsageId {
        if let Some(&found) = self.more.get(&(usage, class)) {
            return found;
        }
        let mut counts = self.counts[usage.0 as usize].to_vec();
        match counts.binary_search_by_key(&class, |&(used, _)| used) {
            Ok(at) => counts[at].1 += 1,
            Err(at) => counts.insert(at, (class, 1)),
        }
        let counts: Counts = counts.into();
        let next = UsageId(self.counts.len() as u32);
        let number = *self.numbers.entry(counts.clone()).or_insert(next);
        if number == next {
            self.counts.push(counts);
        }
        self.more.insert((usage, class), number);
        number
    }

    /// How many operations were used.
    pub(crate) fn size(&self, usage: UsageId) -> i64 {
        self.counts[usage.0 as usize]
            .iter()
            .map(|&(_, count)| i64::from(count))
            .sum()
    }

    /// Whether one usage has no more of any class than another.
    pub(crate) fn within(&self, usage: UsageId, other: UsageId) -> bool {
        if usage == UsageId::NOTHING || usage == other {
            return true;
        }
        let wide = &self.counts[other.0 as usize];
        self.counts[usage.0 as usize]
            .iter()
            .all(|(class, count)| wide.iter().any(|(other, most)| other == class && most >= count))
    }

    /// About how many bytes are held.
    pub(crate) fn bytes(&self) -> u64 {
        self.counts.len() as u64 * 160 + self.more.len() as u64 * 24
    }
}

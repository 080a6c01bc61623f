//! The moments of a history, apart for each key.

use rustc_hash::{FxHashMap, FxHashSet};

use crate::engine::CallId;
use crate::history::{History, NEVER, OpId, Operation, Word};

/// Every subhistory of a history: one per key, or one if there are no keys.
#[derive(Debug)]
pub(crate) struct Subhistories {
    keys: Vec<Word>,
    /// The moments of all, one subhistory after another; bit 0 says whether it is a completion.
    moments: Vec<u32>,
    starts: Vec<usize>,
}

impl Subhistories {
    /// Splits a history by key, unless operations touch several keys at once.
    pub(crate) fn of(history: &History, whole: bool) -> Subhistories {
        match whole {
            true => Subhistories::whole(history),
            false => Subhistories::by_key(history),
        }
    }

    /// Splits a history by key.
    pub(crate) fn by_key(history: &History) -> Subhistories {
        if let Some(&key) = history.keys.first()
            && history.keys.iter().all(|other| *other == key)
        {
            let moments = in_order(history);
            let starts = vec![0, moments.len()];
            return Subhistories {
                keys: vec![key],
                moments,
                starts,
            };
        }
        let mut numbers = Numbers::default();
        let mut sizes: Vec<usize> = Vec::new();
        let mut key_of = Vec::with_capacity(history.records.len());
        for (record, &key) in history.records.iter().zip(&history.keys) {
            let number = numbers.of(key);
            if number as usize == sizes.len() {
                sizes.push(0);
            }
            sizes[number as usize] += 1 + usize::from(record.completed != NEVER);
            key_of.push(number);
        }
        let keys = numbers.keys;
        let mut starts = vec![0; keys.len() + 1];
        for (at, size) in sizes.iter().enumerate() {
            starts[at + 1] = starts[at] + size;
        }
        let mut next = starts.clone();
        let mut moments = vec![0; starts[keys.len()]];
        for packed in in_order(history) {
            let key = key_of[(packed >> 1) as usize] as usize;
            moments[next[key]] = packed;
            next[key] += 1;
        }
        Subhistories {
            keys,
            moments,
            starts,
        }
    }

    /// The whole history as one, for models in which operations touch several keys.
    pub(crate) fn whole(history: &History) -> Subhistories {
        let moments = in_order(history);
        let starts = vec![0, moments.len()];
        Subhistories {
            keys: vec![Word::ABSENT],
            moments,
            starts,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.keys.len()
    }

    pub(crate) fn key(&self, at: usize) -> Word {
        self.keys[at]
    }

    pub(crate) fn moments<'a>(&'a self, history: &'a History, at: usize) -> Moments<'a> {
        Moments {
            history,
            packed: &self.moments[self.starts[at]..self.starts[at + 1]],
            complete: None,
        }
    }

    /// Subhistories by size, the largest first.
    pub(crate) fn largest_first(&self) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.len()).collect();
        order.sort_by_key(|&at| std::cmp::Reverse(self.starts[at + 1] - self.starts[at]));
        order
    }
}

/// Invocations and completions in the order that decides verdicts.
fn in_order(history: &History) -> Vec<u32> {
    assert!(
        history.records.len() < 1 << 31,
        "a history has fewer than 2^31 operations"
    );
    let mut moments = vec![0; 2 * history.records.len()];
    let mut places = 0;
    for (id, record) in history.records.iter().enumerate() {
        moments[record.invoked as usize] = (id as u32) << 1;
        places += 1;
        if record.completed != NEVER {
            moments[record.completed as usize] = (id as u32) << 1 | 1;
            places += 1;
        }
    }
    moments.truncate(places);
    moments
}

/// Keys by their numbers, in the order in which they are met.
#[derive(Debug, Default)]
pub(crate) struct Numbers {
    keys: Vec<Word>,
    /// The numbers of small whole numbers, where they have one.
    small: Vec<u32>,
    /// Those of all else.
    others: FxHashMap<Word, u32>,
}

/// Greater numbers are looked up.
const SMALL: usize = 1 << 16;

impl Numbers {
    #[inline]
    pub(crate) fn of(&mut self, key: Word) -> u32 {
        let next = self.keys.len() as u32;
        let number = match key.as_small().filter(|small| *small < SMALL) {
            Some(small) => {
                if small >= self.small.len() {
                    self.small.resize(small + 1, NEVER);
                }
                let number = &mut self.small[small];
                if *number == NEVER {
                    *number = next;
                }
                *number
            }
            None => *self.others.entry(key).or_insert(next),
        };
        if number == next {
            self.keys.push(key);
        }
        number
    }
}

/// More moments than this do not stay near: what was fetched first is gone when it is needed.
const WORTH_FETCHING: usize = 16 * 1024;

/// Some moments of a history, in order. An operation whose completion is not among them has an unknown outcome.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moments<'a> {
    history: &'a History,
    packed: &'a [u32],
    /// Which operations complete; without it, those that complete in the history.
    complete: Option<&'a FxHashSet<OpId>>,
}

impl<'a> Moments<'a> {
    /// Moments that leave some of the history's out.
    pub(crate) fn some(
        history: &'a History,
        packed: &'a [u32],
        complete: &'a FxHashSet<OpId>,
    ) -> Moments<'a> {
        Moments {
            history,
            packed,
            complete: Some(complete),
        }
    }

    /// Moments that leave nothing out of what is among them.
    pub(crate) fn all(history: &'a History, packed: &'a [u32]) -> Moments<'a> {
        Moments {
            history,
            packed,
            complete: None,
        }
    }

    /// Operations whose completions are among these moments.
    pub(crate) fn completed(&self) -> impl Iterator<Item = OpId> + use<'a> {
        self.iter().filter(|&(_, completes)| completes).map(|(op, _)| op)
    }

    /// Brings what the history holds of these operations near.
    ///
    /// The operations of one key lie far apart, and whoever goes through them waits for memory at every one.
    /// Reads that do not hang on each other wait together.
    pub(crate) fn fetch(&self) {
        if self.packed.len() > WORTH_FETCHING {
            return;
        }
        let mut seen = 0;
        for op in self.invoked() {
            seen ^= self.history.records[op.0 as usize].completed;
        }
        std::hint::black_box(seen);
    }

    pub(crate) fn history(&self) -> &'a History {
        self.history
    }

    pub(crate) fn packed(&self) -> &'a [u32] {
        self.packed
    }

    pub(crate) fn len(&self) -> usize {
        self.packed.len()
    }

    /// How many operations are invoked, about.
    pub(crate) fn operations(&self) -> usize {
        self.packed.len() / 2 + 1
    }

    /// Each moment: which operation, and whether it is its completion.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (OpId, bool)> + use<'a> {
        self.packed
            .iter()
            .map(|&packed| (OpId(packed >> 1), packed & 1 == 1))
    }

    pub(crate) fn invoked(&self) -> impl Iterator<Item = OpId> + use<'a> {
        self.iter().filter(|&(_, completes)| !completes).map(|(op, _)| op)
    }

    pub(crate) fn operation(&self, op: OpId) -> Operation<'a> {
        self.history.operation(op)
    }

    pub(crate) fn is_complete(&self, op: OpId) -> bool {
        match self.complete {
            Some(complete) => complete.contains(&op),
            None => self.history.records[op.0 as usize].completed != NEVER,
        }
    }

    pub(crate) fn has_ties(&self) -> bool {
        !self.history.same_instant.is_empty()
    }

    /// The latest operation of the same process that completed in the instant in which this one was invoked and
    /// that counts here, where the order of moments does not say so already.
    pub(crate) fn after<T>(&self, op: OpId, call: impl Fn(OpId) -> Option<T>) -> Option<T> {
        let ties = &self.history.same_instant;
        let mut op = op;
        while let Ok(at) = ties.binary_search_by_key(&op, |&(later, _)| later) {
            op = ties[at].1;
            if let Some(call) = call(op) {
                return Some(call);
            }
            // Whatever came before an operation that took time is of an earlier instant.
            let margin = self.operation(op).margin();
            if margin.invoked_at < margin.completed_at {
                break;
            }
        }
        None
    }

    /// Room for the calls of these moments by their operations.
    pub(crate) fn numbering(&self) -> Numbering {
        Numbering::default()
    }
}

/// Which call an operation that has not completed became.
///
/// What is open at once was nearly always invoked close together: those find room by their number, the few that
/// do not are looked up.
#[derive(Debug)]
pub(crate) struct Numbering {
    recent: Box<[(OpId, CallId); RECENT]>,
    others: FxHashMap<OpId, CallId>,
}

const RECENT: usize = 256;
const NOBODY: OpId = OpId(u32::MAX);

impl Default for Numbering {
    fn default() -> Self {
        Numbering {
            recent: Box::new([(NOBODY, CallId(0)); RECENT]),
            others: FxHashMap::default(),
        }
    }
}

impl Numbering {
    /// Forgets whatever has not completed.
    pub(crate) fn clear(&mut self) {
        self.recent.fill((NOBODY, CallId(0)));
        self.others.clear();
    }

    #[inline]
    pub(crate) fn put(&mut self, op: OpId, call: CallId) {
        let room = &mut self.recent[op.0 as usize % RECENT];
        if room.0 == NOBODY {
            *room = (op, call);
        } else {
            self.others.insert(op, call);
        }
    }

    #[inline]
    pub(crate) fn get(&mut self, op: OpId) -> Option<CallId> {
        let room = &mut self.recent[op.0 as usize % RECENT];
        if room.0 == op {
            room.0 = NOBODY;
            return Some(room.1);
        }
        self.others.remove(&op)
    }
}

/// Every operation that is invoked among some moments, by its number.
///
/// Invariant: sorted, and none twice.
#[derive(Debug)]
pub(crate) struct Places {
    ops: Vec<OpId>,
}

impl Places {
    pub(crate) fn of(moments: &Moments<'_>) -> Places {
        let mut ops = Vec::with_capacity(moments.operations());
        ops.extend(moments.invoked());
        // Operations are numbered as they are invoked, but for those of one instant.
        if !ops.is_sorted() {
            ops.sort_unstable();
        }
        Places { ops }
    }

    pub(crate) fn len(&self) -> usize {
        self.ops.len()
    }

    /// The operations with their places.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (usize, OpId)> {
        self.ops.iter().copied().enumerate()
    }

    /// The place of an operation, which is quick to find close to another one.
    pub(crate) fn find(&self, op: OpId, near: usize) -> Option<usize> {
        let (first, last) = (self.ops.first()?, self.ops.last()?);
        if op < *first || op > *last {
            return None;
        }
        // Where nothing is left out, as in a history without keys, numbers are places.
        if (last.0 - first.0) as usize + 1 == self.ops.len() {
            return Some((op.0 - first.0) as usize);
        }
        let near = near.min(self.ops.len() - 1);
        let mut step = 1;
        let (from, to) = if self.ops[near] <= op {
            while near + step < self.ops.len() && self.ops[near + step] <= op {
                step *= 2;
            }
            (near + step / 2, (near + step).min(self.ops.len()))
        } else {
            while step <= near && self.ops[near - step] > op {
                step *= 2;
            }
            (near.saturating_sub(step), near - step / 2)
        };
        let found = self.ops[from..to].binary_search(&op);
        found.ok().map(|at| from + at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_found_from_anywhere() {
        let sparse: Vec<u32> = (0..200).map(|at| at * at / 7 + at).collect();
        let dense: Vec<u32> = (5..90).collect();
        for numbers in [sparse, dense, vec![3], vec![3, 4, 9], Vec::new()] {
            let ops: Vec<OpId> = numbers.iter().copied().map(OpId).collect();
            let places = Places { ops: ops.clone() };
            let last = numbers.last().copied().unwrap_or(0);
            for near in 0..numbers.len() + 2 {
                for op in (0..last + 3).map(OpId) {
                    let expected = ops.binary_search(&op).ok();
                    assert_eq!(
                        places.find(op, near),
                        expected,
                        "{op:?} near {near} of {numbers:?}"
                    );
                }
            }
        }
    }

    #[test]
    fn whatever_is_open_is_found_once() {
        let mut numbering = Numbering::default();
        // Far more than have room by their number, and some of them of one remainder.
        let open: Vec<u32> = (0..700).chain([RECENT as u32 * 9, RECENT as u32 * 10]).collect();
        for &op in &open {
            numbering.put(OpId(op), CallId(op + 1));
        }
        for &op in open.iter().rev() {
            assert_eq!(numbering.get(OpId(op)), Some(CallId(op + 1)), "operation {op}");
            assert_eq!(numbering.get(OpId(op)), None, "operation {op}, again");
        }
    }
}

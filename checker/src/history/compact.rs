//! Forgets operations of a history that is still being built, so that memory follows what is held on to.

use rustc_hash::FxHashMap;

use super::operation::NEVER;
use super::pool::{Pool, Word};
use super::{Builder, OpId};

/// How the numbers of operations and the words of values have changed.
#[derive(Debug)]
pub(crate) struct Renumbering {
    ids: Vec<u32>,
    /// The pool of before, if values were forgotten too.
    before: Option<Pool>,
}

/// What the nemesis did is context; so much of it is kept.
const NEMESIS_KEPT: usize = 256;
/// Values are forgotten when there are so many times more than there were after the last time.
const GROWTH: usize = 2;
/// And not before there are so many.
const VALUES: usize = 1 << 16;

impl Renumbering {
    /// The new number of an operation that was kept.
    pub(crate) fn op(&self, op: OpId) -> OpId {
        OpId(self.ids[op.0 as usize])
    }

    /// Whether an operation was kept.
    pub(crate) fn keeps(&self, op: usize) -> bool {
        self.ids[op] != NEVER
    }

    /// The word that stands for the same value now.
    pub(crate) fn word(&self, pool: &mut Pool, word: Word) -> Word {
        match &self.before {
            Some(before) => pool.carry(before, word),
            None => word,
        }
    }
}

/// Leaves what has a number.
fn retain<T>(all: &mut Vec<T>, ids: &[u32]) {
    let mut at = 0;
    all.retain(|_| {
        at += 1;
        ids[at - 1] != NEVER
    });
}

impl Builder {
    /// Forgets every operation but these, the open ones, and those of the present instant. Values go with them now
    /// and then.
    pub(crate) fn keep_only(&mut self, mut keep: Vec<bool>, values_before: &mut usize) -> Renumbering {
        for op in self.in_work() {
            keep[op.0 as usize] = true;
        }
        let mut ids = vec![NEVER; keep.len()];
        let mut kept = 0u32;
        for (at, id) in ids.iter_mut().enumerate() {
            if keep[at] {
                *id = kept;
                kept += 1;
            }
        }
        let history = &mut self.history;
        retain(&mut history.records, &ids);
        retain(&mut history.keys, &ids);
        retain(&mut history.margins, &ids);
        let details = std::mem::take(&mut history.details);
        let errors = std::mem::take(&mut history.errors);
        let mut error_places: FxHashMap<u32, u32> = FxHashMap::default();
        for record in &mut history.records {
            if record.details != NEVER {
                history.details.push(details[record.details as usize].clone());
                record.details = history.details.len() as u32 - 1;
            }
        }
        for margin in history.margins.iter_mut().filter(|margin| margin.error != NEVER) {
            margin.error = *error_places.entry(margin.error).or_insert_with(|| {
                history.errors.push(errors[margin.error as usize].clone());
                history.errors.len() as u32 - 1
            });
        }
        let surplus = history.nemesis.len().saturating_sub(NEMESIS_KEPT);
        history.nemesis.drain(..surplus);
        let first = history.margins.iter().map(|margin| margin.invoked_index).min();
        history.other = history.other.split_off(&first.unwrap_or(u64::MAX));
        let mut before = None;
        if history.pool.len() > VALUES.max(GROWTH * *values_before) {
            let old = std::mem::take(&mut history.pool);
            for record in &mut history.records {
                for word in [&mut record.input, &mut record.output] {
                    *word = history.pool.carry(&old, *word);
                }
            }
            for key in &mut history.keys {
                *key = history.pool.carry(&old, *key);
            }
            for details in &mut history.details {
                details.current = history.pool.carry(&old, details.current);
            }
            *values_before = history.pool.len();
            before = Some(old);
        }
        self.renumber(&ids);
        Renumbering { ids, before }
    }
}

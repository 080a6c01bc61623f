//! Tells a [`Glance`] what happened to a register.

use rustc_hash::FxHashMap;

use super::register::{Function, RegisterRules, given, is_mismatch};
use crate::engine::{Deed, Glance, VALUES};
use crate::history::{History, OpId, Outcome, Word};
use crate::subhistory::Moments;

/// An order that explains a subhistory, where a [`Glance`] finds one.
pub(crate) fn glance_at_register(
    history: &History,
    rules: &RegisterRules,
    moments: &Moments<'_>,
    glance: &mut Glance,
) -> Option<Vec<OpId>> {
    if history.knows("append") {
        return None;
    }
    let functions: Vec<Option<Function>> = history.functions.iter().map(|f| Function::named(f)).collect();
    let mut values = Values::default();
    let init = match history.pool_word(&rules.init) {
        Some(init) => values.number(init)?,
        // Then no operation names it.
        None => values.new_number()?,
    };
    glance.begin(moments.len());
    for (op, completes) in moments.iter() {
        if completes {
            glance.completed(op);
            continue;
        }
        let operation = history.operation(op);
        let record = operation.record();
        let known = moments.is_complete(op) && record.outcome != Outcome::Info;
        let failed = record.outcome == Outcome::Fail;
        let deed = match functions[usize::from(record.f)]? {
            Function::Cas => {
                let details = operation.details();
                if details.is_some_and(|details| details.asked_rev.is_some()) {
                    return None;
                }
                let (from, to) = history.pool.pair(record.input)?;
                if !failed && from == to && !known || failed && !(known && is_mismatch(operation, rules)) {
                    continue;
                }
                let current = details.and_then(|details| details.current.present());
                match current.filter(|_| failed) {
                    // It cannot have been.
                    Some(current) if current == from => return None,
                    Some(current) => Deed::reads(values.number(current)?),
                    None if failed => Deed::differs(values.number(from)?),
                    None if from == to => Deed::reads(values.number(from)?),
                    None => Deed::exchanges(values.number(from)?, values.number(to)?),
                }
            }
            _ if failed => continue,
            Function::Get if !known => continue,
            Function::Get => Deed::reads(values.number(record.output)?),
            Function::Set => Deed::writes(values.number(given(record))?),
            Function::Delete => Deed::writes(values.number(Word::NIL)?),
            Function::Append => return None,
        };
        if moments.has_ties() && moments.after(op, Some).is_some() {
            return None;
        }
        if !known {
            glance.offered(op, deed);
        } else if !glance.invoked(op, deed) {
            return None;
        }
    }
    glance.look(init)
}

/// Numbers for values, in the order in which they are met.
#[derive(Default)]
struct Values {
    count: u8,
    /// The numbers of small whole numbers, where they have one.
    small: Vec<u8>,
    /// Those of all else.
    others: FxHashMap<Word, u8>,
}

const NONE: u8 = u8::MAX;
/// Greater numbers are looked up.
const SMALL: usize = 1 << 12;

impl Values {
    /// Nothing if there are too many, or if equal ones may have different words.
    #[inline]
    fn number(&mut self, word: Word) -> Option<u8> {
        let small = word.as_small();
        if let Some(&known) = small.and_then(|small| self.small.get(small))
            && known != NONE
        {
            return Some(known);
        }
        self.look_up(word, small)
    }

    fn look_up(&mut self, word: Word, small: Option<usize>) -> Option<u8> {
        if let Some(&known) = self.others.get(&word) {
            return Some(known);
        }
        if word.is_pair() {
            return None;
        }
        let number = self.new_number()?;
        match small.filter(|small| *small < SMALL) {
            Some(small) => {
                if small >= self.small.len() {
                    self.small.resize(small + 1, NONE);
                }
                self.small[small] = number;
            }
            None => drop(self.others.insert(word, number)),
        }
        Some(number)
    }

    fn new_number(&mut self) -> Option<u8> {
        let number = self.count;
        self.count += 1;
        (u32::from(number) < VALUES).then_some(number)
    }
}

//! Which cause a violation points at: what became of the value that was not seen, and whether comparing alone went
//! wrong.
//!
//! A core says that something is impossible, not what broke. A read that shows an old value is a stale read where
//! the new value turns up later, and a lost write where it never does. So whatever was seen *after* the core is
//! asked, to the end of the history; where nothing was, the name is the mildest that fits.

use std::collections::BTreeMap;

use rustc_hash::FxHashSet;

use super::facts::{Fact, Facts};
use crate::history::{NEVER, Value};

/// What became of a value that an observation should have seen.
pub(super) enum Fate<'f, 'a> {
    /// It was there all the time: this later observation saw it.
    Shown(&'f Fact<'a>),
    /// This later observation saw what was written after the old value.
    Outrun(&'f Fact<'a>),
    /// It is gone: so many later observations do not show it either, this one as the last.
    Gone { looked: usize, last: &'f Fact<'a> },
    /// Two nodes answer differently, although nobody writes any more.
    Apart(&'f Fact<'a>, &'f Fact<'a>),
    /// Nobody looked.
    Untold,
}

/// What an observation says about a value.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Sight {
    /// It is there.
    There,
    /// What was written after the old value is there.
    Replaced,
    /// What was there before it is there.
    Missing,
}

impl<'a> Facts<'a> {
    /// What became of what `blocker` showed to be there and `victim` did not see, as far as `sight` can tell it from
    /// what was seen after the blocker. Whatever was invoked after `until` does not count.
    pub(super) fn fate(
        &self,
        blocker: &Fact<'_>,
        victim: &Fact<'_>,
        until: u32,
        sight: impl Fn(&Value) -> Option<Sight>,
    ) -> Fate<'_, 'a> {
        if let Some((one, other)) = self.apart(&sight) {
            return Fate::Apart(one, other);
        }
        let looked = self.iter().filter(|fact| {
            blocker.before(fact)
                && fact.operation.record().invoked < until
                && fact.operation.id() != victim.operation.id()
        });
        let looked: Vec<(&Fact<'a>, Sight)> = looked
            .filter_map(|fact| Some((fact, sight(fact.saw.as_ref()?)?)))
            .collect();
        let find = |wanted: Sight| looked.iter().filter(move |(_, sight)| *sight == wanted);
        let after = |wanted: Sight| find(wanted).filter(|(fact, _)| victim.before(fact));
        if let Some((shown, _)) = after(Sight::There).next() {
            return Fate::Shown(shown);
        }
        let replaced = after(Sight::Replaced).next();
        let elsewhere = |fact: &Fact<'a>| fact.operation.node() != victim.operation.node();
        // Others see the old value too; or nobody else looked.
        let shared = find(Sight::Missing).any(|(fact, _)| elsewhere(fact))
            || !looked.iter().any(|(fact, _)| elsewhere(fact));
        // Seen again after what was written over the value, the old value was only old.
        let outlived =
            replaced.is_some_and(|(replaced, _)| find(Sight::Missing).any(|(fact, _)| replaced.before(fact)));
        // Before the violation, it counts only that nobody sees the value any more who asks after those who saw it.
        let gone = |fact: &Fact<'a>| find(Sight::There).all(|(there, _)| there.before(fact));
        let missed = after(Sight::Missing)
            .next_back()
            .or_else(|| find(Sight::Missing).rfind(|(fact, _)| gone(fact)));
        match (missed, replaced) {
            (Some((last, _)), _) if shared && !outlived => Fate::Gone {
                looked: find(Sight::Missing).count(),
                last,
            },
            (_, Some((later, _))) => Fate::Outrun(later),
            _ => Fate::Untold,
        }
    }

    /// Two nodes whose last answers differ when nobody writes any more, the one that lacks something asked after the
    /// other had shown it: more than a moment's lag.
    fn apart(&self, sight: impl Fn(&Value) -> Option<Sight>) -> Option<(&Fact<'a>, &Fact<'a>)> {
        let changes = || self.iter().filter(|fact| fact.changes());
        let quiet = changes().map(|fact| {
            let record = fact.operation.record();
            match record.completed {
                NEVER => record.invoked,
                completed => completed,
            }
        });
        let quiet = quiet.max()?;
        let answers = self
            .iter()
            .filter(|fact| !fact.changes() && fact.operation.record().invoked > quiet);
        let answers: Vec<(&Fact<'a>, Sight)> = answers
            .filter_map(|fact| Some((fact, sight(fact.saw.as_ref()?)?)))
            .collect();
        let mut last: BTreeMap<Option<&str>, (&Fact<'a>, Sight)> = BTreeMap::new();
        for (fact, sight) in &answers {
            last.insert(fact.operation.node(), (*fact, *sight));
        }
        // What never came back may still take effect, and explain the difference.
        let may_explain = |one: &Value, other: &Value| {
            changes()
                .filter(|fact| fact.operation.record().completed == NEVER)
                .any(|fact| match (&fact.made, &fact.added) {
                    (Some(made), _) => made == one || made == other,
                    (None, Some(added)) => holds(one, added) != holds(other, added),
                    (None, None) => false,
                })
        };
        let lacking = last.values().filter(|(_, sight)| *sight == Sight::Missing);
        lacking.map(|(lacks, _)| *lacks).find_map(|lacks| {
            let (has, _) = answers.iter().find(|(has, sight)| {
                *sight != Sight::Missing
                    && has.before(lacks)
                    && last[&has.operation.node()].1 != Sight::Missing
                    && !may_explain(
                        has.saw.as_ref().unwrap_or(&Value::Nil),
                        lacks.saw.as_ref().unwrap_or(&Value::Nil),
                    )
            })?;
            Some((*has, lacks))
        })
    }

    /// Whether these operations can be explained if `blind`, between its invocation and its completion, wrote without
    /// comparing.
    ///
    /// The operations of a core are few, and so are those that may have written what they saw; nothing is said
    /// about more than [`MOST`].
    pub(super) fn legal_without_comparing(&self, core: &[Fact<'a>], blind: &Fact<'a>, init: &Value) -> bool {
        let end = core.iter().map(|fact| fact.operation.record().completed).max();
        let tested = |fact: &Fact<'_>| fact.operation.id() == blind.operation.id();
        let in_core = |fact: &Fact<'_>| core.iter().any(|one| one.operation.id() == fact.operation.id());
        let wanted = |value: &Value| core.iter().any(|one| one.saw.as_ref() == Some(value));
        let helpers = self.iter().filter(|fact| {
            !in_core(fact)
                && !tested(fact)
                && fact.made.as_ref().is_some_and(wanted)
                && Some(fact.operation.record().invoked) < end
        });
        let others = core.iter().filter(|fact| !tested(fact));
        let must = others.chain([blind]).map(|fact| Step {
            from: fact.operation.record().invoked,
            to: fact.operation.record().completed,
            saw: fact
                .saw
                .as_ref()
                .filter(|_| fact.operation.id() != blind.operation.id()),
            missed: fact.missed.as_ref(),
            made: fact.made.as_ref(),
        });
        // Weakened in the core, they may have happened at any time, or never.
        let may = helpers.map(|fact| Step {
            from: fact.operation.record().invoked,
            to: NEVER,
            saw: fact.saw.as_ref(),
            missed: None,
            made: fact.made.as_ref(),
        });
        let steps: Vec<Step<'_>> = must.chain(may).collect();
        steps.len() <= MOST && explained(&steps, 0, init, &mut FxHashSet::default())
    }
}

/// More operations than this are not searched.
const MOST: usize = 16;

/// An operation on a register; one without end may be left out.
struct Step<'v> {
    from: u32,
    to: u32,
    saw: Option<&'v Value>,
    missed: Option<&'v Value>,
    made: Option<&'v Value>,
}

/// Whether what is not `done` yet can be put in order from `value` on. What is known to have failed is not tried
/// again: sixteen operations have far more orders than sets.
fn explained<'v>(
    steps: &[Step<'v>],
    done: u32,
    value: &'v Value,
    failed: &mut FxHashSet<(u32, &'v Value)>,
) -> bool {
    let open = |at: &usize| done & (1 << at) == 0;
    let next_end = (0..steps.len()).filter(open).map(|at| steps[at].to).min();
    let Some(next_end) = next_end.filter(|&end| end != NEVER) else {
        return true;
    };
    if failed.contains(&(done, value)) {
        return false;
    }
    let found = (0..steps.len()).filter(open).any(|at| {
        let step = &steps[at];
        step.from < next_end
            && step.saw.is_none_or(|saw| saw == value)
            && step.missed.is_none_or(|missed| missed != value)
            && explained(steps, done | (1 << at), step.made.unwrap_or(value), failed)
    });
    if !found {
        failed.insert((done, value));
    }
    found
}

/// Whether a text holds a piece.
fn holds(text: &Value, piece: &Value) -> bool {
    match (text.as_str(), piece.as_str()) {
        (Some(text), Some(piece)) => text.contains(piece),
        _ => false,
    }
}

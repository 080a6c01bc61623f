//! Finds a minimal core of a violation.
//!
//! Illegality does not survive removal: without the write, a read of its value alone is illegal, too. So an
//! operation that is not in the core is *weakened*: its completion is forgotten, which leaves it free to take
//! effect at any time after its invocation, or never; observations then say nothing. Weakening only ever adds
//! possibilities, so that a core that is illegal proves the history illegal.

use rustc_hash::FxHashSet;

use crate::check::is_illegal;
use crate::engine::Budget;
use crate::history::{History, OpId};
use crate::model::Domain;
use crate::subhistory::Moments;

/// The operations whose completions a violation needs.
#[derive(Clone, Debug)]
pub(crate) struct Core {
    pub(crate) operations: Vec<OpId>,
    /// Whether weakening any one of them was shown to make the rest legal.
    pub(crate) minimal: bool,
}

/// Reduces by QuickXplain (Junker 2004): about k log n checks for a core of k among n.
pub(crate) fn reduce<D: Domain>(
    history: &History,
    domain: &D,
    prefix: &[u32],
    candidates: &[OpId],
    budget: &Budget,
) -> Core {
    let mut reducer = Reducer {
        history,
        domain,
        prefix,
        budget,
        gave_up: false,
    };
    // Whatever completed last is told about first: a violation close to where it was noticed reads best.
    let mut order: Vec<OpId> = candidates.to_vec();
    order.sort_by_key(|op| std::cmp::Reverse(history.operation(*op).record().completed));
    if !reducer.illegal(&order) {
        // Only if the budget ran out: the engine has found these very moments illegal.
        return Core {
            operations: candidates.to_vec(),
            minimal: false,
        };
    }
    let mut chosen = Vec::new();
    let mut core = reducer.among(&mut chosen, false, &order);
    // Each of them is needed unless the budget ran out somewhere; then some may still go.
    if reducer.gave_up {
        let mut at = 0;
        while at < core.len() {
            let one = core.remove(at);
            if !reducer.illegal(&core) {
                core.insert(at, one);
                at += 1;
            }
        }
    }
    Core {
        operations: core,
        minimal: !reducer.gave_up,
    }
}

struct Reducer<'a, D> {
    history: &'a History,
    domain: &'a D,
    prefix: &'a [u32],
    budget: &'a Budget,
    gave_up: bool,
}

impl<D: Domain> Reducer<'_, D> {
    /// Whether the prefix is illegal with only these completions known.
    fn illegal(&mut self, known: &[OpId]) -> bool {
        let complete: FxHashSet<OpId> = known.iter().copied().collect();
        let moments = Moments::some(self.history, self.prefix, &complete);
        match is_illegal(
            self.history,
            self.domain,
            &moments,
            &mut self.budget.meter().patient(PATIENCE),
        ) {
            Some(illegal) => illegal,
            None => {
                self.gave_up = true;
                false
            }
        }
    }

    /// The operations of `among` that a violation needs besides the chosen ones. `grew` says whether the chosen
    /// ones have grown since the last check, so that they may suffice.
    fn among(&mut self, chosen: &mut Vec<OpId>, grew: bool, among: &[OpId]) -> Vec<OpId> {
        if grew && self.illegal(chosen) {
            return Vec::new();
        }
        if among.len() == 1 {
            return among.to_vec();
        }
        let (first, second) = among.split_at(among.len() / 2);
        let before = chosen.len();
        chosen.extend(first);
        let mut needed = self.among(chosen, true, second);
        chosen.truncate(before);
        chosen.extend(&needed);
        let more = self.among(chosen, !needed.is_empty(), first);
        chosen.truncate(before);
        needed.extend(more);
        needed
    }
}

/// Moves that one check of a reduction may take; a check that takes more counts as legal, and the core as not
/// minimal.
const PATIENCE: u64 = 400_000;

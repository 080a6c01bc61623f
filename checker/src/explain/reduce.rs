//! Finds a minimal core of a violation.
//!
//! Illegality does not survive removal: without the write, a read of its value alone is illegal, too. So an
//! operation that is not in the core is *weakened*: its completion is forgotten, which leaves it free to take
//! effect at any time after its invocation, or never; observations then say nothing. Weakening only ever adds
//! possibilities, so that a core that is illegal proves the history illegal.

use rustc_hash::FxHashSet;

use super::window::Window;
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
        nearby: None,
        gave_up: false,
    };
    // Whatever completed last is told about first: a violation close to where it was noticed reads best.
    let mut order: Vec<OpId> = candidates.to_vec();
    order.sort_by_key(|op| std::cmp::Reverse(history.operation(*op).record().completed));
    if order.len() >= WORTH_A_WINDOW
        && let Some(core) = reducer.within_window(&order)
    {
        // Nobody goes through so many one by one, and to show of each that it is needed takes far longer.
        if core.len() > MOST_SHOWN {
            return Core {
                operations: core,
                minimal: false,
            };
        }
        return reducer.one_by_one(core);
    }
    if !reducer.illegal(&order) {
        // Only if the budget ran out: the engine has found these very moments illegal.
        return Core {
            operations: candidates.to_vec(),
            minimal: false,
        };
    }
    let groups: Vec<Vec<OpId>> = order.into_iter().map(|op| vec![op]).collect();
    let core = quickxplain(
        &mut |known| reducer.illegal(known),
        &mut Vec::new(),
        false,
        &groups,
    );
    // Each of them is needed unless the budget ran out somewhere; then some may still go.
    if reducer.gave_up {
        let core = reducer.one_by_one(core);
        return Core {
            minimal: false,
            ..core
        };
    }
    Core {
        operations: core,
        minimal: true,
    }
}

/// With fewer operations than this every question is about all of them.
const WORTH_A_WINDOW: usize = 64;

/// A core of more operations than this is not made minimal: it is about a value that was written very often.
const MOST_SHOWN: usize = 64;

struct Reducer<'a, D> {
    history: &'a History,
    domain: &'a D,
    prefix: &'a [u32],
    budget: &'a Budget,
    /// Moments that nearly always suffice to explain what is legal.
    nearby: Option<Vec<u32>>,
    gave_up: bool,
}

impl<D: Domain> Reducer<'_, D> {
    /// Whether the prefix is illegal with only these completions known.
    fn illegal(&mut self, known: &[OpId]) -> bool {
        // What is left out nearby is of unknown outcome: it could only help to explain more.
        let nearby = self.nearby.as_ref().map(|nearby| self.ask(nearby, known));
        if nearby == Some(Some(false)) {
            return false;
        }
        let illegal = self.ask(self.prefix, known);
        self.gave_up |= illegal.is_none();
        illegal.unwrap_or(false)
    }

    /// Whether some moments are illegal with only these completions known; nothing if that takes too long.
    fn ask(&self, moments: &[u32], known: &[OpId]) -> Option<bool> {
        let complete: FxHashSet<OpId> = known.iter().copied().collect();
        let moments = Moments::some(self.history, moments, &complete);
        let mut meter = self.budget.meter().patient(PATIENCE);
        is_illegal(self.history, self.domain, &moments, &mut meter)
    }

    /// A core found by looking only at where the violation is: illegal, but perhaps not minimal. Nothing if it does
    /// not show there.
    fn within_window(&mut self, order: &[OpId]) -> Option<Vec<OpId>> {
        let (history, domain, prefix, budget) = (self.history, self.domain, self.prefix, self.budget);
        let all: FxHashSet<OpId> = order.iter().copied().collect();
        let moments = Moments::some(history, prefix, &all);
        let meter = || budget.meter().patient(PATIENCE);
        let window = Window::find(history, domain, &moments, &mut meter())?;
        let shows = |moments: &[u32], known: &[OpId]| {
            let complete: FxHashSet<OpId> = known.iter().copied().collect();
            let moments = Moments::some(history, moments, &complete);
            window.shows(history, domain, &moments, &mut meter())
        };
        let ground = window.ground(history, domain, &moments);
        let groups: Vec<Vec<OpId>> = ground.groups.iter().map(|group| group.some.clone()).collect();
        let everything: Vec<OpId> = groups.iter().flatten().copied().collect();
        if !shows(&ground.moments, &everything) {
            return None;
        }
        let mut nearby = |known: &[OpId]| shows(&ground.moments, known);
        let needed = quickxplain(&mut nearby, &mut Vec::new(), false, &groups);
        let needed: FxHashSet<OpId> = needed.into_iter().collect();
        let groups = ground.groups.iter().rev();
        let groups = groups.filter(|group| group.some.iter().any(|op| needed.contains(op)));
        let core: Vec<OpId> = groups.flat_map(|group| &group.all).copied().collect();
        // Asked of everything once more: what was left out makes no difference.
        if !shows(prefix, &core) {
            return None;
        }
        let mut near: FxHashSet<u32> = ground.moments.iter().map(|moment| moment >> 1).collect();
        near.extend(core.iter().map(|op| op.0));
        let near = prefix.iter().filter(|&moment| near.contains(&(moment >> 1)));
        self.nearby = Some(near.copied().collect());
        Some(core)
    }

    /// Leaves out every operation without which the rest is illegal still. Minimal, if of every other one it was
    /// shown that it is needed.
    fn one_by_one(&mut self, mut core: Vec<OpId>) -> Core {
        self.gave_up = false;
        let mut at = 0;
        while at < core.len() {
            if self.budget.is_over() {
                self.gave_up = true;
                break;
            }
            let one = core.remove(at);
            if !self.illegal(&core) {
                core.insert(at, one);
                at += 1;
            }
        }
        Core {
            operations: core,
            minimal: !self.gave_up,
        }
    }
}

/// The operations of some groups that a violation needs besides the chosen ones, whole groups of them. `grew` says
/// whether the chosen ones have grown since the last check, so that they may suffice.
fn quickxplain(
    illegal: &mut impl FnMut(&[OpId]) -> bool,
    chosen: &mut Vec<OpId>,
    grew: bool,
    among: &[Vec<OpId>],
) -> Vec<OpId> {
    if grew && illegal(chosen) {
        return Vec::new();
    }
    match among {
        [] => return Vec::new(),
        [one] => return one.clone(),
        _ => {}
    }
    let (first, second) = among.split_at(among.len() / 2);
    let before = chosen.len();
    chosen.extend(first.iter().flatten());
    let mut needed = quickxplain(illegal, chosen, true, second);
    chosen.truncate(before);
    chosen.extend(&needed);
    let more = quickxplain(illegal, chosen, !needed.is_empty(), first);
    chosen.truncate(before);
    needed.extend(more);
    needed
}

/// Moves that one check of a reduction may take; a check that takes more counts as legal, and the core as not
/// minimal.
const PATIENCE: u64 = 400_000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generate::{Bug, Simulation};
    use crate::model::{Guarded, RegisterRules, Registers};
    use crate::options::{CasFail, CheckOptions};
    use crate::subhistory::Subhistories;
    use crate::verdict::Verdict;
    use crate::{check, history::Value};

    /// What is found from few moments close to a violation holds in all of the history: the core is illegal there, and
    /// what is called minimal is.
    #[test]
    fn cores_found_close_to_a_violation_hold_in_the_whole_history() {
        let domain = Registers {
            name: "cas-register",
            rules: Guarded::new(RegisterRules {
                init: Value::Nil,
                cas_fail: CasFail::Mismatch,
            }),
        };
        let budget = Budget::new(None, None);
        let (mut large, mut minimal) = (0, 0);
        for seed in 0..20 {
            let simulation = Simulation {
                seed,
                operations: 400,
                unknown: 0.02,
                bug: [Bug::StaleReads(0.08), Bug::LostUpdates(0.03)][seed as usize % 2],
                ..Simulation::default()
            };
            let history = simulation.history().expect("simulations are valid");
            let analysis = check(&history, &CheckOptions::default()).expect("it is judged");
            let Verdict::Illegal(found) = analysis.verdict else {
                continue;
            };
            let known = |op: &OpId| history.operation(*op).outcome() != crate::history::Outcome::Info;
            let core = found.operations.iter().filter(|one| !one.weakened);
            let core: FxHashSet<OpId> = core.map(|one| one.id).filter(known).collect();
            let all = Subhistories::whole(&history);
            let all = all.moments(&history, 0);
            let is_illegal = |complete: &FxHashSet<OpId>| {
                let moments = Moments::some(&history, all.packed(), complete);
                is_illegal(&history, &domain, &moments, &mut budget.meter())
            };
            assert_eq!(is_illegal(&core), Some(true), "seed {seed}: {}", found.sentence);
            large += usize::from(found.weakened + found.dropped + core.len() >= WORTH_A_WINDOW);
            if found.minimal {
                minimal += 1;
                for op in &core {
                    let mut rest = core.clone();
                    rest.remove(op);
                    assert_eq!(
                        is_illegal(&rest),
                        Some(false),
                        "seed {seed}: {op:?} is not needed"
                    );
                }
            }
        }
        assert!(
            large >= 4 && minimal >= 4,
            "{large} were among many, {minimal} minimal"
        );
    }
}

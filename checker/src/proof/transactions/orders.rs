//! Tries every order of a few transactions, where the claim is that none explains what they read.

use rustc_hash::{FxHashMap, FxHashSet};

use crate::history::{OpId, Outcome, Value};
use crate::proof::Fault;
use crate::transactions::Evidence;

use super::cases::Told;
use super::facts::Facts;

/// States that one question may visit.
const MOST: usize = 1_000_000;

/// Checks that no order of the named transactions explains what they read. Whoever is not named may have done
/// anything, so every value that is read must be the initial one, or written by one that is named.
pub(super) fn check(told: &Told<'_>, facts: &Facts<'_>, respects: Evidence) -> Result<(), Fault> {
    let mut named = told.named.clone();
    named.sort_unstable();
    named.dedup();
    for &id in &named {
        let fault = |problem: String| Fault::at(facts.history, id, told.place.clone(), problem);
        if !facts.happened(id) {
            return Err(fault(format!("T{} may not have happened", id.0)));
        }
        for step in facts.of_id(id).steps.iter().filter(|step| !step.writes) {
            let known = match facts.writer(&step.key, &step.value) {
                Some((by, _)) => named.contains(&by),
                None => step.value == facts.init,
            };
            if !known && facts.of_id(id).outcome == Outcome::Ok {
                return Err(fault(format!(
                    "what T{} read is written by none that is named",
                    id.0
                )));
            }
        }
    }
    let mut orders = Orders {
        facts,
        named,
        respects,
        dead: FxHashSet::default(),
    };
    let mut done = vec![false; orders.named.len()];
    match orders.any(&mut done, &FxHashMap::default()) {
        Some(false) => Ok(()),
        Some(true) => Err(Fault::new(
            told.place.clone(),
            "an order explains what these transactions read",
        )),
        None => Err(Fault::new(
            told.place.clone(),
            "these transactions are too many to try every order of them",
        )),
    }
}

/// Which of them were done, and what is there, sorted.
type Stand = (Vec<bool>, Vec<(Value, Value)>);

struct Orders<'f, 'a> {
    facts: &'f Facts<'a>,
    named: Vec<OpId>,
    respects: Evidence,
    /// From where nothing leads on: what was done, and what is there.
    dead: FxHashSet<Stand>,
}

impl Orders<'_, '_> {
    /// Whether some order of what is left explains it; nothing if that takes too long.
    fn any(&mut self, done: &mut Vec<bool>, state: &FxHashMap<Value, Value>) -> Option<bool> {
        if done.iter().all(|&done| done) {
            return Some(true);
        }
        let mut sorted: Vec<(Value, Value)> = state.clone().into_iter().collect();
        sorted.sort_unstable();
        let here = (done.clone(), sorted);
        if self.dead.contains(&here) {
            return Some(false);
        }
        if self.dead.len() >= MOST {
            return None;
        }
        for at in 0..self.named.len() {
            let id = self.named[at];
            let waits = self.named.iter().zip(&*done).any(|(&other, &done)| {
                let process = self.facts.of_id(other).process == self.facts.of_id(id).process;
                let counts = match self.respects {
                    Evidence::Data => false,
                    Evidence::Process => process,
                    Evidence::Realtime => true,
                };
                !done && counts && self.facts.in_time(other, id)
            });
            if done[at] || waits {
                continue;
            }
            if let Some(next) = self.run(id, state) {
                done[at] = true;
                let found = self.any(done, &next);
                done[at] = false;
                if found != Some(false) {
                    return found;
                }
            }
        }
        self.dead.insert(here);
        Some(false)
    }

    fn run(&self, id: OpId, state: &FxHashMap<Value, Value>) -> Option<FxHashMap<Value, Value>> {
        let mut state = state.clone();
        let transaction = self.facts.of_id(id);
        for step in &transaction.steps {
            if step.writes {
                state.insert(step.key.clone(), step.value.clone());
            } else if transaction.outcome == Outcome::Ok
                && *state.get(&step.key).unwrap_or(&self.facts.init) != step.value
            {
                return None;
            }
        }
        Some(state)
    }
}

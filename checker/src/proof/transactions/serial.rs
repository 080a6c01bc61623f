//! Runs transactions one after the other, as an order says.

use rustc_hash::FxHashMap;

use crate::history::{NEVER, OpId, Outcome, Value};
use crate::transactions::Evidence;

use super::facts::Facts;

/// Why an order explains nothing: the transaction that shows it, and how.
pub(super) struct Broken {
    pub(super) by: OpId,
    pub(super) problem: String,
}

/// Runs every transaction in this order and compares what it read with what is there.
///
/// Each that happened must be there once, none that failed, those of unknown outcome at most once; and where the
/// order is to respect that of processes or of time, none may come before one that had ended when it began.
pub(super) fn run(facts: &Facts<'_>, order: &[OpId], respects: Evidence) -> Result<(), Broken> {
    let broken = |by: OpId, problem: String| Err(Broken { by, problem });
    let mut there = vec![false; facts.all.len()];
    for &id in order {
        if std::mem::replace(&mut there[id.0 as usize], true) {
            return broken(id, format!("T{} is in it twice", id.0));
        }
        if facts.of_id(id).outcome == Outcome::Fail {
            return broken(id, format!("T{} failed", id.0));
        }
    }
    for id in (0..facts.all.len() as u32).map(OpId) {
        if facts.of_id(id).outcome == Outcome::Ok && !there[id.0 as usize] {
            return broken(id, format!("T{} is missing", id.0));
        }
    }
    in_order(facts, order, respects)?;
    let mut registers: FxHashMap<&Value, &Value> = FxHashMap::default();
    let mut lists: FxHashMap<&Value, Vec<Value>> = FxHashMap::default();
    for &id in order {
        let transaction = facts.of_id(id);
        for step in &transaction.steps {
            match (facts.lists, step.writes) {
                (true, true) => lists.entry(&step.key).or_default().push(step.value.clone()),
                (false, true) => {
                    registers.insert(&step.key, &step.value);
                }
                (_, false) if transaction.outcome != Outcome::Ok => {}
                (true, false) => {
                    let there = lists.entry(&step.key).or_default();
                    if facts.shown(&step.value) != there.as_slice() {
                        return broken(id, reads(id, step, &Value::List(there.clone())));
                    }
                }
                (false, false) => {
                    let there = registers.get(&step.key).copied().unwrap_or(&facts.init);
                    if step.value != *there {
                        return broken(id, reads(id, step, there));
                    }
                }
            }
        }
    }
    Ok(())
}

fn reads(id: OpId, step: &super::facts::Step, there: &Value) -> String {
    format!(
        "T{} read key {} = {}, but by this order {there} is there",
        id.0, step.key, step.value
    )
}

/// Nothing that had ended before another began may come after it, of all or of one process.
fn in_order(facts: &Facts<'_>, order: &[OpId], respects: Evidence) -> Result<(), Broken> {
    // Of those that came already, the one that began last, in all or by process.
    let mut latest: FxHashMap<Option<u64>, OpId> = FxHashMap::default();
    for &id in order {
        let transaction = facts.of_id(id);
        let of = match respects {
            Evidence::Data => return Ok(()),
            Evidence::Process => Some(transaction.process),
            Evidence::Realtime => None,
        };
        let last = latest.entry(of).or_insert(id);
        let ended = transaction.outcome == Outcome::Ok && transaction.completed != NEVER;
        if ended && transaction.completed < facts.of_id(*last).invoked {
            let problem = format!("T{} had ended before T{} began, but comes after it", id.0, last.0);
            return Err(Broken { by: id, problem });
        }
        if facts.of_id(*last).invoked < transaction.invoked {
            *last = id;
        }
    }
    Ok(())
}

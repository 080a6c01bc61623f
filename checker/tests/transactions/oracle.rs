//! Decides by trying everything. Slow, and too simple to be wrong.

use std::collections::BTreeMap;

use checker::history::{History, OpId, Outcome, Value};

/// A transaction of which every read is known.
#[derive(Clone, Debug)]
pub(crate) struct Txn {
    pub(crate) id: OpId,
    pub(crate) process: u64,
    pub(crate) begin: u64,
    /// `None` if it may take effect at any time from its beginning on, or never.
    pub(crate) end: Option<u64>,
    /// The function, the key, the value.
    pub(crate) steps: Vec<(String, Value, Value)>,
}

/// Which orders count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Respect {
    Nothing,
    Processes,
    Time,
}

pub(crate) fn transactions(history: &History) -> Vec<Txn> {
    let happened = history
        .operations()
        .filter(|operation| operation.outcome() != Outcome::Fail);
    happened
        .map(|operation| {
            let ok = operation.outcome() == Outcome::Ok;
            let value = if ok { operation.output() } else { operation.input() };
            let steps = value.as_list().unwrap().iter().map(|step| {
                let parts = step.as_list().unwrap();
                (
                    parts[0].as_str().unwrap().to_owned(),
                    parts[1].clone(),
                    parts[2].clone(),
                )
            });
            Txn {
                id: operation.id(),
                process: operation.process().0,
                begin: operation.invoked_at().0,
                end: operation.completed_at().filter(|_| ok).map(|time| time.0),
                steps: steps.filter(|(f, ..)| ok || f != "r").collect(),
            }
        })
        .collect()
}

impl Txn {
    fn precedes(&self, other: &Txn, respect: Respect) -> bool {
        let ended = self.end.is_some_and(|end| end < other.begin);
        match respect {
            Respect::Nothing => false,
            Respect::Processes => ended && self.process == other.process,
            Respect::Time => ended,
        }
    }

    /// Runs against a state; what its writes make of it, if its reads are right.
    fn run(&self, state: &BTreeMap<Value, Value>) -> Option<BTreeMap<Value, Value>> {
        let mut state = state.clone();
        for (f, key, value) in &self.steps {
            match f.as_str() {
                "append" => match state
                    .entry(key.clone())
                    .or_insert_with(|| Value::List(Vec::new()))
                {
                    Value::List(list) => list.push(value.clone()),
                    other => panic!("{other} is no list"),
                },
                "w" => {
                    state.insert(key.clone(), value.clone());
                }
                _ => {
                    let empty = Value::List(Vec::new());
                    let now = state.get(key).cloned().unwrap_or_default();
                    if now != *value && !(now.is_nil() && *value == empty) {
                        return None;
                    }
                }
            }
        }
        Some(state)
    }

    fn writes(&self, key: &Value) -> bool {
        self.steps.iter().any(|(f, other, _)| f != "r" && other == key)
    }
}

/// Whether some order of the transactions, one after the other, explains every read.
pub(crate) fn serializable(transactions: &[Txn], respect: Respect) -> bool {
    let mut left: Vec<&Txn> = transactions.iter().collect();
    any_order(&BTreeMap::new(), &mut left, respect)
}

fn any_order(state: &BTreeMap<Value, Value>, left: &mut Vec<&Txn>, respect: Respect) -> bool {
    // Those of unknown outcome may be left out.
    if left.iter().all(|txn| txn.end.is_none()) {
        return true;
    }
    for at in 0..left.len() {
        let next = left.remove(at);
        if !left.iter().any(|other| other.precedes(next, respect))
            && let Some(after) = next.run(state)
            && any_order(&after, left, respect)
        {
            left.insert(at, next);
            return true;
        }
        left.insert(at, next);
    }
    false
}

/// Whether some order of commits, with a snapshot for each transaction taken at some commit before its own, and
/// no two transactions writing one key at a time, explains every read (generalized snapshot isolation, Elnikety,
/// Pedone & Zwaenepoel 2005).
pub(crate) fn snapshots(transactions: &[Txn], respect: Respect) -> bool {
    let mut left: Vec<&Txn> = transactions.iter().collect();
    any_commits(&mut vec![BTreeMap::new()], &mut Vec::new(), &mut left, respect)
}

fn any_commits<'a>(
    states: &mut Vec<BTreeMap<Value, Value>>,
    committed: &mut Vec<&'a Txn>,
    left: &mut Vec<&'a Txn>,
    respect: Respect,
) -> bool {
    if left.iter().all(|txn| txn.end.is_none()) {
        return true;
    }
    for at in 0..left.len() {
        let next = left.remove(at);
        if !left.iter().any(|other| other.precedes(next, respect)) {
            for snapshot in 0..states.len() {
                let missed = &committed[snapshot..];
                let conflict = missed.iter().any(|other| {
                    other.precedes(next, respect)
                        || other.steps.iter().any(|(f, key, _)| f != "r" && next.writes(key))
                });
                if conflict || next.run(&states[snapshot]).is_none() {
                    continue;
                }
                let mut state = states.last().unwrap().clone();
                for (key, value) in next.run(&states[snapshot]).unwrap() {
                    if next.writes(&key) {
                        state.insert(key, value);
                    }
                }
                states.push(state);
                committed.push(next);
                let fits = any_commits(states, committed, left, respect);
                states.pop();
                committed.pop();
                if fits {
                    left.insert(at, next);
                    return true;
                }
            }
        }
        left.insert(at, next);
    }
    false
}

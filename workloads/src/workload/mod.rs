//! What clients do to a store, and how it is judged.
//!
//! A [`Workload`] is a value: it names the model that judges its histories, the operations that it needs of the
//! store, a [`Load`] that says what the clients do next, and a conversation that says how one of its operations
//! is spoken in the operations that a store's file describes. A set, for one, is grown by `append` and read by
//! `get`: any store that can do these two can be put to the test with it.

mod append;
mod bank;
mod counter;
mod list_append;
mod lock;
mod long_fork;
mod mix;
mod monotonic;
mod queue;
mod registers;
mod reserve;
mod set;
mod texts;
pub(crate) mod transactions;
mod watch;

use std::fmt;

use checker::history::Value;

pub use reserve::{Reserved, reserve};

use crate::generator::{Generator, Invocation, KeyChoice};
use crate::system::{Outcome, System};

/// All workloads, the default first.
pub static WORKLOADS: [&Workload; 16] = [
    &mix::MIX,
    &registers::REGISTER,
    &registers::CAS_REGISTER,
    &mix::KV,
    &append::APPEND,
    &mix::RETRIES,
    &mix::CHURN,
    &set::SET,
    &counter::COUNTER,
    &queue::QUEUE,
    &lock::LOCK,
    &bank::BANK,
    &list_append::LIST_APPEND,
    &long_fork::LONG_FORK,
    &watch::WATCH,
    &monotonic::MONOTONIC,
];

/// What clients do, and how it is judged.
pub struct Workload {
    /// Its name on the command line, in folders and reports.
    pub name: &'static str,
    /// What it does, in a line.
    pub about: &'static str,
    /// What it can find.
    pub finds: &'static str,
    /// How often it needs to run for that.
    pub often: &'static str,
    /// The model that judges its histories.
    pub model: &'static str,
    /// What the header of its histories says besides.
    pub header: &'static [(&'static str, i64)],
    /// The operations that a store's file must describe.
    pub needs: &'static [&'static str],
    /// The faults that it runs under where nobody names any; none for the usual ones.
    pub faults: Option<&'static str>,
    /// What the clients do.
    pub load: fn(&LoadOptions) -> Box<dyn Load>,
    /// How an operation is spoken: what comes next, after these answers.
    pub speak: fn(&Invocation, &[Outcome]) -> Say,
}

/// What decides a load.
#[derive(Debug, Clone)]
pub struct LoadOptions {
    /// Decides every choice.
    pub seed: u64,
    /// How many keys are in use at any time; at least 1.
    pub keys: usize,
    /// How unequal they are.
    pub choice: KeyChoice,
    /// After how many operations a key is left alone; at least 1.
    pub operations_per_key: u32,
    /// Whether the store can append.
    pub appends: bool,
    /// Whether the store can delete.
    pub deletes: bool,
    /// Whether the store can be told that two appends are one.
    pub repeats: bool,
    /// Whether the store has transactions over several keys.
    pub transactions: bool,
}

impl LoadOptions {
    /// Options for a store, with keys that are all alike.
    #[must_use]
    pub fn for_system(system: &System, seed: u64, keys: usize, operations_per_key: u32) -> Self {
        Self {
            seed,
            keys,
            choice: KeyChoice::Uniform,
            operations_per_key,
            appends: system.operation.contains_key("append"),
            deletes: system.operation.contains_key("delete"),
            repeats: system
                .operation
                .get("append")
                .is_some_and(crate::system::Operation::can_repeat),
            transactions: system.operation.contains_key("txn"),
        }
    }
}

/// What the clients of one run do.
pub trait Load: Generator {
    /// What is read through a node (by its place) at the end, once everything is healed.
    fn final_reads(&self, node: usize) -> Vec<Invocation>;

    /// The operations and the share of each, 0 to 1, that ought to succeed; of those that may fail for a good
    /// reason less than the share that is asked for, or nothing.
    fn shares(&self) -> Vec<(&'static str, f64)>;
}

/// What comes next in the conversation about one operation.
#[derive(Debug, Clone, PartialEq)]
pub enum Say {
    /// This is asked of the store.
    Ask(Invocation),
    /// This is what the operation came to.
    Over(Outcome),
}

impl Workload {
    /// The workload of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<&'static Workload> {
        WORKLOADS.iter().find(|workload| workload.name == name).copied()
    }
}

impl fmt::Debug for Workload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Workload").field(&self.name).finish()
    }
}

impl PartialEq for Workload {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for Workload {}

/// The conversation of workloads whose operations are the store's own.
fn plainly(invocation: &Invocation, answers: &[Outcome]) -> Say {
    match answers.last() {
        None => Say::Ask(invocation.clone()),
        Some(outcome) => Say::Over(outcome.clone()),
    }
}

/// A read of a key.
fn get(key: impl Into<String>) -> Invocation {
    Invocation::new("get", key, Value::Nil)
}

/// What an operation comes to that looks before it writes, and whose look was not answered: whatever became of
/// the look, nothing was written.
fn nothing_done(outcome: &Outcome) -> Outcome {
    match outcome {
        Outcome::Info { error } => Outcome::Fail { error: error.clone() },
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generator::{Context, Next};
    use checker::history::Nanos;
    use std::collections::BTreeSet;

    fn options(seed: u64) -> LoadOptions {
        LoadOptions {
            seed,
            keys: 3,
            choice: KeyChoice::Uniform,
            operations_per_key: 40,
            appends: true,
            deletes: true,
            repeats: true,
            transactions: true,
        }
    }

    /// What a load does when every question is answered with `answer`.
    fn trace(workload: &Workload, seed: u64, answer: impl Fn(&Invocation) -> Outcome) -> Vec<Invocation> {
        let mut load = (workload.load)(&options(seed));
        let mut asked = Vec::new();
        for turn in 0..3000 {
            let context = Context {
                now: Nanos(turn),
                worker: turn as usize % 7,
                node: turn as usize % 3,
            };
            match load.next(context) {
                Next::Invoke { invocation, .. } => {
                    load.update(context, &invocation, &answer(&invocation));
                    asked.push(invocation);
                }
                Next::Wait { .. } => {}
                Next::Done => break,
            }
        }
        asked
    }

    fn succeed(_: &Invocation) -> Outcome {
        Outcome::DONE
    }

    #[test]
    fn one_seed_gives_one_load_and_each_does_what_it_says() {
        for workload in WORKLOADS {
            let asked = trace(workload, 4, succeed);
            assert_eq!(asked, trace(workload, 4, succeed), "{}", workload.name);
            assert_ne!(asked, trace(workload, 5, succeed), "{}", workload.name);
            assert!(
                asked.len() > 1000,
                "{}: {} operations",
                workload.name,
                asked.len()
            );
            let load = (workload.load)(&options(4));
            let done: BTreeSet<&str> = asked.iter().map(|invocation| invocation.f).collect();
            let sum: f64 = load.shares().iter().map(|(_, share)| share).sum();
            assert!(sum > 0.3 && sum < 1.001, "{}: {sum}", workload.name);
            for (f, share) in load.shares() {
                assert!(done.contains(f), "{}: no {f} in {done:?}", workload.name);
                let found = asked.iter().filter(|invocation| invocation.f == f).count() as f64;
                let found = found / asked.len() as f64;
                // Less than what is done where much of it may fail for a good reason, never much more.
                assert!(
                    share < found + 0.12 && share > found / 6.0,
                    "{}: {f} is {found}, not {share}",
                    workload.name
                );
            }
            assert!(!load.final_reads(0).is_empty(), "{}", workload.name);
        }
    }

    #[test]
    fn who_only_looked_has_done_nothing() {
        let unknown = Outcome::Info {
            error: "timeout".into(),
        };
        let mut looked = BTreeSet::new();
        for workload in WORKLOADS {
            for invocation in trace(workload, 1, succeed).into_iter().take(300) {
                let Say::Ask(asked) = (workload.speak)(&invocation, &[]) else {
                    continue;
                };
                let reads = asked.f == "get" || asked.f == "txn" && !asked.value.to_string().contains("set");
                if !reads || matches!(invocation.f, "get" | "read" | "txn") {
                    continue;
                }
                looked.insert((workload.name, invocation.f));
                let said = (workload.speak)(&invocation, std::slice::from_ref(&unknown));
                assert!(
                    matches!(said, Say::Over(Outcome::Fail { .. })),
                    "{}: {invocation:?}: {said:?}",
                    workload.name
                );
            }
        }
        let wanted = [
            ("bank", "transfer"),
            ("lock", "acquire"),
            ("monotonic", "inc"),
            ("queue", "dequeue"),
        ];
        assert_eq!(looked, BTreeSet::from(wanted));
    }

    #[test]
    fn names_are_unique_and_the_models_exist() {
        let names: BTreeSet<&str> = WORKLOADS.iter().map(|workload| workload.name).collect();
        assert_eq!(names.len(), WORKLOADS.len());
        for workload in WORKLOADS {
            assert!(
                workload.model.parse::<checker::ModelName>().is_ok(),
                "{}",
                workload.model
            );
            assert_eq!(Workload::named(workload.name), Some(workload));
            assert!(!workload.finds.is_empty() && !workload.often.is_empty());
        }
        assert_eq!(Workload::named("nonsense"), None);
    }

    #[test]
    fn every_conversation_asks_only_for_what_the_workload_says_it_needs() {
        for workload in WORKLOADS {
            for invocation in trace(workload, 1, succeed).into_iter().take(300) {
                // Whatever the store answers, the conversation comes to an end.
                let endings = [
                    Outcome::told(Value::Nil),
                    Outcome::Mismatch { current: None },
                    Outcome::Fail { error: "no".into() },
                    Outcome::Info { error: "?".into() },
                ];
                for ending in endings {
                    let mut answers = Vec::new();
                    loop {
                        match (workload.speak)(&invocation, &answers) {
                            Say::Ask(asked) => {
                                let known = workload.needs.contains(&asked.f)
                                    || matches!(asked.f, "append" | "delete") && workload.model == "kv"
                                    || asked.f == "txn" && workload.model == "monotonic";
                                assert!(known, "{}: {}", workload.name, asked.f);
                                answers.push(ending.clone());
                                assert!(answers.len() < 10, "{}: {invocation:?}", workload.name);
                            }
                            Say::Over(outcome) => {
                                // Nobody may claim to know what nobody knows, unless nothing was written.
                                if matches!(ending, Outcome::Fail { .. } | Outcome::Info { .. }) {
                                    assert!(
                                        !matches!(outcome, Outcome::Ok { .. }),
                                        "{}: {invocation:?} {ending:?}",
                                        workload.name
                                    );
                                }
                                break;
                            }
                        }
                    }
                }
            }
        }
    }
}

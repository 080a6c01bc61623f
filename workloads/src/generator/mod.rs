//! What clients do next, as pure values.
//!
//! A [`Generator`] is asked for the next operation of a free worker and told of
//! every completion; it reads no clock and holds its own seeded randomness, so
//! one seed and one sequence of questions give one sequence of answers. When an
//! operation is due is part of the answer: the runner waits, the generator
//! never does.
//!
//! Every written value is unique for its key. That is what makes verdicts sharp
//! (a value says which write it came from) and checking fast.

mod choice;
mod compose;
mod final_reads;
#[cfg(test)]
mod golden;
mod mixed;
mod pace;
mod window;
mod zipf;

pub use choice::{KeyChoice, Places};
pub use compose::{AnyGenerator, Limit, Mix, OnKeys, Only, Phases, Reserve, Shared, Then, UntilOk};
pub use final_reads::FinalReads;
pub use mixed::{Kind, Mixed, MixedOptions};
pub use pace::{Arrivals, Pace, Paced, TimeLimit};
pub use window::Window;
pub use zipf::Zipf;

use std::time::Duration;

use checker::history::{Nanos, Value};

use crate::system::Outcome;

/// An operation to be invoked.
#[derive(Debug, Clone, PartialEq)]
pub struct Invocation {
    /// The operation's name in histories: `get`, `set`, `cas`.
    pub f: &'static str,
    /// The key it is about; empty for operations over several keys, which name them in their value.
    pub key: String,
    /// The invoked value, as the model of the history wants it.
    pub value: Value,
    /// Whether it may be sent more than once.
    pub repeat: Option<Repeat>,
}

impl Invocation {
    /// An operation that is sent once.
    #[must_use]
    pub fn new(f: &'static str, key: impl Into<String>, value: Value) -> Self {
        Self {
            f,
            key: key.into(),
            value,
            repeat: None,
        }
    }
}

/// Permission to send an operation again, under one name, until there is an answer: the store must do it once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repeat {
    /// The name that all attempts share: `client:number`.
    pub name: String,
    /// Where the first answer counts as lost on its way: how long it takes the client to ask again.
    pub lost: Option<Duration>,
}

/// Who asks, and when.
#[derive(Debug, Clone, Copy)]
pub struct Context {
    /// Now, on the run's clock.
    pub now: Nanos,
    /// The worker, from 0.
    pub worker: usize,
    /// The index of the node that the worker speaks to.
    pub node: usize,
}

/// A generator's answer.
#[derive(Debug, Clone, PartialEq)]
pub enum Next {
    /// Invoke this, no earlier than `at`.
    Invoke {
        /// When, on the run's clock; in the past means now.
        at: Nanos,
        /// Since when it was due, where the load is open: latency counts from here.
        intended: Option<Nanos>,
        /// What.
        invocation: Invocation,
    },
    /// Nothing for this worker now; ask again at `until` or later.
    Wait {
        /// When to ask again, on the run's clock.
        until: Nanos,
    },
    /// Nothing for this worker ever again.
    Done,
}

/// A source of operations.
pub trait Generator: Send {
    /// The next operation for the worker that asks.
    fn next(&mut self, context: Context) -> Next;

    /// Told of each completion, so that later operations can build on what was seen.
    fn update(&mut self, _context: Context, _invocation: &Invocation, _outcome: &Outcome) {}
}

impl<G: Generator + ?Sized> Generator for Box<G> {
    fn next(&mut self, context: Context) -> Next {
        (**self).next(context)
    }

    fn update(&mut self, context: Context, invocation: &Invocation, outcome: &Outcome) {
        (**self).update(context, invocation, outcome);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(seed: u64) -> MixedOptions {
        MixedOptions {
            seed,
            keys: 4,
            operations_per_key: 50,
            kinds: vec![
                (Kind::Register, 2),
                (Kind::Mortal, 1),
                (Kind::Text, 1),
                (Kind::Repeated, 1),
            ],
            ..MixedOptions::default()
        }
    }

    /// The first `n` invocations when every operation succeeds.
    fn trace(seed: u64, n: usize) -> Vec<Invocation> {
        let mut generator = Mixed::new(options(seed));
        (0..n)
            .map(|i| {
                let context = Context {
                    now: Nanos(i as u64),
                    worker: i % 3,
                    node: 0,
                };
                let Next::Invoke { invocation, .. } = generator.next(context) else {
                    panic!("endless")
                };
                let outcome = Outcome::Ok {
                    value: (invocation.f == "get").then_some(Value::Nil),
                    rev: None,
                };
                generator.update(context, &invocation, &outcome);
                invocation
            })
            .collect()
    }

    #[test]
    fn one_seed_gives_one_sequence() {
        assert_eq!(trace(7, 2000), trace(7, 2000));
        assert_ne!(trace(7, 2000), trace(8, 2000));
    }

    #[test]
    fn written_values_are_unique_per_key_and_keys_retire() {
        let mut written = std::collections::BTreeSet::new();
        let mut per_key = std::collections::BTreeMap::<String, usize>::new();
        let mut seen = std::collections::BTreeSet::new();
        for invocation in trace(7, 5000) {
            *per_key.entry(invocation.key.clone()).or_default() += 1;
            seen.insert(invocation.f);
            let new = match (&invocation.f, &invocation.value) {
                (&("set" | "append"), value) => value.clone(),
                (&"cas", Value::List(pair)) => pair[1].clone(),
                (&("get" | "delete"), Value::Nil) => continue,
                other => panic!("{other:?}"),
            };
            assert!(written.insert((invocation.key, new)), "written twice");
        }
        assert_eq!(
            seen.into_iter().collect::<Vec<_>>(),
            ["append", "cas", "delete", "get", "set"]
        );
        assert!(per_key.len() >= 5000 / 50, "{} keys", per_key.len());
        assert!(per_key.values().all(|n| *n <= 50));
    }

    #[test]
    fn a_closed_load_never_catches_up_and_an_open_one_remembers_what_was_due() {
        let at = |pace, asked: &[u64]| {
            let mut generator = Paced::new(Mixed::new(options(1)), pace, 1_000_000_000.0 / 100.0);
            asked
                .iter()
                .map(|now| {
                    match generator.next(Context {
                        now: Nanos(*now),
                        worker: 0,
                        node: 0,
                    }) {
                        Next::Invoke { at, intended, .. } => (at.0, intended.map(|n| n.0)),
                        other => panic!("{other:?}"),
                    }
                })
                .collect::<Vec<_>>()
        };
        let asked = [0, 0, 1000, 1000];
        assert_eq!(
            at(Pace::Closed, &asked),
            [(0, None), (100, None), (1000, None), (1100, None)]
        );
        assert_eq!(
            at(Pace::Open, &asked),
            [(0, Some(0)), (100, Some(100)), (200, Some(200)), (300, Some(300))]
        );
    }

    #[test]
    fn the_time_limit_cuts_what_is_due_later() {
        let paced = Paced::new(Mixed::new(options(1)), Pace::Closed, 1e7);
        let mut generator = TimeLimit::new(paced, Nanos(250));
        let mut count = 0;
        while let Next::Invoke { .. } = generator.next(Context {
            now: Nanos(0),
            worker: 0,
            node: 0,
        }) {
            count += 1;
        }
        assert_eq!(count, 3);
    }

    #[test]
    fn final_reads_read_every_key_through_every_node_until_one_succeeds() {
        let reads = ["a", "b"].map(|key| Invocation::new("get", key, Value::Nil));
        let mut generator = FinalReads::new(|_| reads.to_vec(), 2, Nanos(10_000_000_000));
        let context = |now, worker| Context {
            now: Nanos(now),
            worker,
            node: worker % 2,
        };
        let mut read = Vec::new();
        let mut first = true;
        for now in (0..).step_by(10_000_000) {
            let mut done = 0;
            for worker in 0..4 {
                match generator.next(context(now, worker)) {
                    Next::Invoke { invocation, .. } => {
                        let failed = std::mem::take(&mut first);
                        let outcome = if failed {
                            Outcome::Fail {
                                error: "no leader".into(),
                            }
                        } else {
                            read.push((worker % 2, invocation.key.clone()));
                            Outcome::told(Value::Nil)
                        };
                        generator.update(context(now, worker), &invocation, &outcome);
                    }
                    Next::Wait { .. } => {}
                    Next::Done => done += 1,
                }
            }
            if done == 4 {
                break;
            }
        }
        read.sort();
        assert_eq!(
            read,
            [(0, "a".into()), (0, "b".into()), (1, "a".into()), (1, "b".into())]
        );
    }

    #[test]
    fn final_reads_leave_a_node_alone_that_does_not_answer() {
        let reads = ["a", "b"].map(|key| Invocation::new("get", key, Value::Nil));
        let mut generator = FinalReads::new(|_| reads.to_vec(), 2, Nanos(10_000_000_000));
        let context = |now, node| Context {
            now: Nanos(now),
            worker: node,
            node,
        };
        let Next::Invoke { invocation, .. } = generator.next(context(0, 0)) else {
            panic!("a read")
        };
        let error = "connection refused".into();
        generator.update(context(5, 0), &invocation, &Outcome::Fail { error });
        let Next::Wait { until } = generator.next(context(6, 0)) else {
            panic!("left alone, though another read is due")
        };
        assert!(
            matches!(generator.next(context(6, 1)), Next::Invoke { .. }),
            "the other node"
        );
        assert!(matches!(
            generator.next(Context {
                now: until,
                ..context(0, 0)
            }),
            Next::Invoke { .. }
        ));
    }

    #[test]
    fn final_reads_give_up_at_their_deadline() {
        let mut generator = FinalReads::new(|_| vec![Invocation::new("get", "a", Value::Nil)], 1, Nanos(10));
        let context = |now| Context {
            now: Nanos(now),
            worker: 0,
            node: 0,
        };
        let Next::Invoke { invocation, .. } = generator.next(context(0)) else {
            panic!("a read")
        };
        generator.update(
            context(0),
            &invocation,
            &Outcome::Fail {
                error: "no leader".into(),
            },
        );
        assert_eq!(generator.next(context(11)), Next::Done);
    }
}

//! Queues: what comes out went in, once, in order.

use checker::history::Value;
use rand::rngs::ChaCha12Rng;
use rand::{RngExt, SeedableRng};

use super::texts::{elements, piece};
use super::{Load, LoadOptions, Say, Workload, get, nothing_done};
use crate::generator::{Context, Generator, Invocation, Next, Window};
use crate::system::Outcome;

/// `enqueue`, spoken as `append`; `dequeue`, spoken as `get` and a `cas` that takes the first element off.
pub(super) static QUEUE: Workload = Workload {
    name: "queue",
    about: "elements are put into queues and taken out again, first in, first out",
    finds: "elements that are lost, delivered twice or out of order: appends and cas that do not see each other",
    often: "nightly",
    model: "queue",
    header: &[],
    needs: &["get", "cas", "append"],
    faults: None,
    load: |options| Box::new(InAndOut::new(options)),
    speak,
};

/// Share of operations that put something in, 0 to 1.
const IN: f64 = 0.4;
/// After so many operations a queue retires: the more elements went in at the same time, the more orders there are.
const LIVES: u32 = 20;
/// How many elements are taken out through every node at the end; more go in than come out while the load is on only
/// where something is wrong.
const LAST: usize = 2;

fn speak(invocation: &Invocation, answers: &[Outcome]) -> Say {
    let key = || invocation.key.clone();
    match (invocation.f, answers) {
        ("enqueue", []) => {
            let number = invocation.value.as_int().unwrap_or_default();
            Say::Ask(Invocation::new("append", key(), piece(number)))
        }
        ("dequeue", []) => Say::Ask(get(key())),
        ("dequeue", [Outcome::Ok { value, .. }, rest @ ..]) => {
            let there = value.clone().unwrap_or_default();
            let waiting = elements(&there);
            let Some((first, left)) = waiting.split_first() else {
                return Say::Over(Outcome::told(Value::Nil));
            };
            match rest {
                [] => {
                    let left: String = left.iter().map(|element| format!("{element},")).collect();
                    let value = Value::List(vec![there, Value::from(left)]);
                    Say::Ask(Invocation::new("cas", key(), value))
                }
                [Outcome::Ok { .. }, ..] => Say::Over(Outcome::told(first.clone())),
                [Outcome::Mismatch { .. }, ..] => Say::Over(Outcome::Fail {
                    error: "another client was faster".to_owned(),
                }),
                [other, ..] => Say::Over(other.clone()),
            }
        }
        ("dequeue", [outcome, ..]) => Say::Over(nothing_done(outcome)),
        (_, [outcome, ..]) => Say::Over(outcome.clone()),
        (_, []) => Say::Ask(invocation.clone()),
    }
}

struct InAndOut {
    rng: ChaCha12Rng,
    window: Window<i64>,
}

impl InAndOut {
    fn new(options: &LoadOptions) -> Self {
        Self {
            rng: ChaCha12Rng::seed_from_u64(options.seed),
            window: Window::new(options.keys, options.choice, || (0, LIVES)),
        }
    }
}

impl Generator for InAndOut {
    fn next(&mut self, context: Context) -> Next {
        let place = self.window.draw(&mut self.rng);
        let puts = self.rng.random_bool(IN);
        let (name, last) = self.window.take(place, || (0, LIVES));
        let invocation = if puts {
            *last += 1;
            Invocation::new("enqueue", name, Value::Int(*last))
        } else {
            Invocation::new("dequeue", name, Value::Nil)
        };
        Next::Invoke {
            at: context.now,
            intended: None,
            invocation,
        }
    }
}

impl Load for InAndOut {
    fn final_reads(&self, _node: usize) -> Vec<Invocation> {
        let keys = self.window.used().into_iter();
        keys.flat_map(|key| vec![Invocation::new("dequeue", key, Value::Nil); LAST])
            .collect()
    }

    fn shares(&self) -> Vec<(&'static str, f64)> {
        vec![("enqueue", IN)]
    }
}

//! Locks: one owner at a time.

use std::collections::BTreeMap;

use checker::history::Value;
use rand::SeedableRng;
use rand::rngs::ChaCha12Rng;

use super::{Load, LoadOptions, Say, Workload, get, nothing_done};
use crate::generator::{Context, Generator, Invocation, Next, Window};
use crate::system::Outcome;

/// `acquire` and `release`, spoken as `get` and `cas`.
pub(super) static LOCK: Workload = Workload {
    name: "lock",
    about: "clients take locks and give them back; the owner is in the value",
    finds: "two owners at once: cas that are not atomic, stale reads that cas believes, writes that come back",
    often: "nightly",
    model: "lock",
    header: &[],
    needs: &["get", "cas"],
    faults: None,
    load: |options| Box::new(Hold::new(options)),
    speak,
};

/// What a lock holds that nobody has.
const FREE: &str = "free";
/// After so many operations a lock is left alone; one whose owner got no answer would be stuck.
const LIVES: u32 = 40;

fn speak(invocation: &Invocation, answers: &[Outcome]) -> Say {
    let key = || invocation.key.clone();
    let cas = |from: Value, to: Value| Say::Ask(Invocation::new("cas", key(), Value::List(vec![from, to])));
    let owner = || invocation.value.clone();
    let refused = |why: &str| {
        Say::Over(Outcome::Fail {
            error: why.to_owned(),
        })
    };
    match (invocation.f, answers) {
        ("acquire", []) => Say::Ask(get(key())),
        ("acquire", [Outcome::Ok { value, .. }]) => match value.clone().unwrap_or_default() {
            Value::Nil => cas(Value::Nil, owner()),
            free if free.as_str() == Some(FREE) => cas(free, owner()),
            _ => refused("somebody has it"),
        },
        ("acquire", [outcome]) => Say::Over(nothing_done(outcome)),
        ("release", []) => cas(owner(), Value::from(FREE)),
        (_, [.., Outcome::Mismatch { .. }]) => refused("it is not as it was"),
        (_, [.., Outcome::Ok { .. }]) => Say::Over(Outcome::DONE),
        (_, [.., outcome]) => Say::Over(outcome.clone()),
        (_, []) => Say::Ask(invocation.clone()),
    }
}

/// Each worker takes a lock and gives it back before it takes another.
struct Hold {
    rng: ChaCha12Rng,
    window: Window<()>,
    /// Per worker, the lock that it has and under which name.
    held: BTreeMap<usize, (String, Value)>,
    turns: u64,
}

impl Hold {
    fn new(options: &LoadOptions) -> Self {
        Self {
            rng: ChaCha12Rng::seed_from_u64(options.seed),
            window: Window::new(options.keys, options.choice, || ((), LIVES)),
            held: BTreeMap::new(),
            turns: 0,
        }
    }
}

impl Generator for Hold {
    fn next(&mut self, context: Context) -> Next {
        let invocation = match self.held.remove(&context.worker) {
            Some((key, owner)) => Invocation::new("release", key, owner),
            None => {
                let place = self.window.draw(&mut self.rng);
                let (name, ()) = self.window.take(place, || ((), LIVES));
                self.turns += 1;
                let owner = Value::from(format!("w{}.{}", context.worker, self.turns));
                Invocation::new("acquire", name, owner)
            }
        };
        Next::Invoke {
            at: context.now,
            intended: None,
            invocation,
        }
    }

    fn update(&mut self, context: Context, invocation: &Invocation, outcome: &Outcome) {
        if invocation.f == "acquire" && matches!(outcome, Outcome::Ok { .. }) {
            self.held
                .insert(context.worker, (invocation.key.clone(), invocation.value.clone()));
        }
    }
}

impl Load for Hold {
    fn final_reads(&self, node: usize) -> Vec<Invocation> {
        // A lock that somebody has cannot be had: each node gets one of its own.
        let owner = Value::from(format!("last.{node}"));
        vec![Invocation::new("acquire", format!("last{node}"), owner)]
    }

    fn shares(&self) -> Vec<(&'static str, f64)> {
        // Most attempts find the lock taken.
        vec![("acquire", 0.2), ("release", 0.2)]
    }
}

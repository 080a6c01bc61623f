//! Sets that only grow: nothing that was added may be missing later.

use checker::history::Value;
use rand::rngs::ChaCha12Rng;
use rand::{RngExt, SeedableRng};

use super::texts::{elements, piece};
use super::{Load, LoadOptions, Say, Workload, get};
use crate::generator::{Context, Generator, Invocation, Next, Window};
use crate::system::Outcome;

/// `add` and `read`, spoken as `append` and `get`.
pub(super) static SET: Workload = Workload {
    name: "set",
    about: "elements are added to sets, which are read now and then and at the end",
    finds: "any acknowledged write that is lost for good, above all after crashes and power failures",
    often: "every change to storage or snapshots, 60 s with power failures; nightly",
    model: "set",
    header: &[],
    needs: &["get", "append"],
    faults: None,
    load: |options| Box::new(Grow::new(options, &["add", "read"])),
    speak,
};

fn speak(invocation: &Invocation, answers: &[Outcome]) -> Say {
    match (invocation.f, answers) {
        ("add", []) => {
            let number = invocation.value.as_int().unwrap_or_default();
            Say::Ask(Invocation::new("append", invocation.key.clone(), piece(number)))
        }
        (_, []) => Say::Ask(get(invocation.key.clone())),
        ("read", [Outcome::Ok { value, .. }, ..]) => Say::Over(Outcome::told(Value::List(elements(
            value.as_ref().unwrap_or(&Value::Nil),
        )))),
        (_, [outcome, ..]) => Say::Over(outcome.clone()),
    }
}

/// Adds numbers that are unique for their key, and reads.
pub(super) struct Grow {
    rng: ChaCha12Rng,
    window: Window<i64>,
    lives: u32,
    /// The names of adding and of reading.
    words: &'static [&'static str; 2],
}

/// Share of reads, 0 to 1.
const READS: f64 = 0.3;

impl Grow {
    pub(super) fn new(options: &LoadOptions, words: &'static [&'static str; 2]) -> Self {
        // What is there is copied at every step of the model, so that keys had better be short-lived.
        let lives = options.operations_per_key.div_ceil(2);
        Self {
            rng: ChaCha12Rng::seed_from_u64(options.seed),
            window: Window::new(options.keys, options.choice, || (0, lives)),
            lives,
            words,
        }
    }
}

impl Generator for Grow {
    fn next(&mut self, context: Context) -> Next {
        let place = self.window.draw(&mut self.rng);
        let reads = self.rng.random_bool(READS);
        let (name, last) = self.window.take(place, || (0, self.lives));
        let invocation = if reads {
            Invocation::new(self.words[1], name, Value::Nil)
        } else {
            *last += 1;
            Invocation::new(self.words[0], name, Value::Int(*last))
        };
        Next::Invoke {
            at: context.now,
            intended: None,
            invocation,
        }
    }
}

impl Load for Grow {
    fn final_reads(&self, _node: usize) -> Vec<Invocation> {
        let keys = self.window.used().into_iter();
        keys.map(|key| Invocation::new(self.words[1], key, Value::Nil))
            .collect()
    }

    fn shares(&self) -> Vec<(&'static str, f64)> {
        vec![(self.words[0], 1.0 - READS), (self.words[1], READS)]
    }
}

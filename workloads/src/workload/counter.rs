//! Counters: every increment counts once.

use checker::history::Value;
use rand::rngs::ChaCha12Rng;
use rand::{RngExt, SeedableRng};

use super::{Load, LoadOptions, Say, Workload, get};
use crate::generator::{Context, Generator, Invocation, Next, Window};
use crate::system::Outcome;

/// `add` and `read`, spoken as `append` of so many strokes and `get`.
pub(super) static COUNTER: Workload = Workload {
    name: "counter",
    about: "numbers are added to counters, which are read now and then and at the end",
    finds: "increments that are lost or count twice; says less than append, which tells the increments apart",
    often: "nightly",
    model: "counter",
    header: &[],
    needs: &["get", "append"],
    faults: None,
    load: |options| Box::new(Count::new(options)),
    speak,
};

/// What one is counted with.
const STROKE: &str = "|";
/// Share of reads, 0 to 1.
const READS: f64 = 0.4;
/// Most that is added at once.
const MOST: i64 = 3;
/// After so many operations a counter retires: which additions of unknown outcome a number stands for is a
/// question that takes long to answer where there are many.
const LIVES: u32 = 60;

fn speak(invocation: &Invocation, answers: &[Outcome]) -> Say {
    match (invocation.f, answers) {
        ("add", []) => {
            let strokes = usize::try_from(invocation.value.as_int().unwrap_or_default()).unwrap_or(0);
            let strokes = Value::from(STROKE.repeat(strokes));
            Say::Ask(Invocation::new("append", invocation.key.clone(), strokes))
        }
        (_, []) => Say::Ask(get(invocation.key.clone())),
        ("read", [Outcome::Ok { value, .. }, ..]) => {
            let strokes = value.as_ref().and_then(Value::as_str).map_or(0, str::len);
            Say::Over(Outcome::told(Value::Int(strokes as i64)))
        }
        (_, [outcome, ..]) => Say::Over(outcome.clone()),
    }
}

struct Count {
    rng: ChaCha12Rng,
    window: Window<()>,
}

impl Count {
    fn new(options: &LoadOptions) -> Self {
        Self {
            rng: ChaCha12Rng::seed_from_u64(options.seed),
            window: Window::new(options.keys, options.choice, || ((), LIVES)),
        }
    }
}

impl Generator for Count {
    fn next(&mut self, context: Context) -> Next {
        let place = self.window.draw(&mut self.rng);
        let reads = self.rng.random_bool(READS);
        let more = self.rng.random_range(1..=MOST);
        let (name, ()) = self.window.take(place, || ((), LIVES));
        let invocation = if reads {
            Invocation::new("read", name, Value::Nil)
        } else {
            Invocation::new("add", name, Value::Int(more))
        };
        Next::Invoke {
            at: context.now,
            intended: None,
            invocation,
        }
    }
}

impl Load for Count {
    fn final_reads(&self, _node: usize) -> Vec<Invocation> {
        let keys = self.window.used().into_iter();
        keys.map(|key| Invocation::new("read", key, Value::Nil)).collect()
    }

    fn shares(&self) -> Vec<(&'static str, f64)> {
        vec![("add", 1.0 - READS), ("read", READS)]
    }
}

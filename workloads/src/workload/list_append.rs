//! Transactions that append to lists and read them: the order of all of them shows.

use checker::history::Value;
use rand::rngs::ChaCha12Rng;
use rand::{RngExt, SeedableRng};

use super::texts::{elements, piece};
use super::transactions::{Step, results, transaction};
use super::{Load, LoadOptions, Say, Workload};
use crate::generator::{Context, Generator, Invocation, Next, Window};
use crate::system::Outcome;

/// `txn` of `append` and `r`, spoken as the store's `txn` (Kingsbury & Alvaro, "Elle", VLDB 2020).
pub(super) static LIST_APPEND: Workload = Workload {
    name: "list-append",
    about: "transactions append to several lists and read them",
    finds: "every way in which transactions fail to be strictly serializable, by Elle's names",
    often: "every change to transactions; nightly",
    model: "list-append",
    header: &[],
    needs: &["txn"],
    faults: None,
    load: |options| Box::new(Transactions::new(options)),
    speak,
};

/// Most steps of one transaction.
const STEPS: usize = 4;
/// After so many steps a list is left alone.
const LIVES: u32 = 100;

fn speak(invocation: &Invocation, answers: &[Outcome]) -> Say {
    let asked = invocation.value.as_list().unwrap_or_default();
    match answers {
        [] => {
            let steps: Vec<Step> = asked.iter().filter_map(step).collect();
            Say::Ask(transaction(&[], &steps))
        }
        [Outcome::Ok { value, .. }, ..] => {
            let told = results(value.as_ref().unwrap_or(&Value::Nil));
            let filled = asked.iter().zip(told).map(|(step, told)| match step.as_list() {
                Some([f, key, _]) if f.as_str() == Some("r") => {
                    Value::List(vec![f.clone(), key.clone(), Value::List(elements(&told))])
                }
                _ => step.clone(),
            });
            Say::Over(Outcome::told(Value::List(filled.collect())))
        }
        [Outcome::Mismatch { .. }, ..] => Say::Over(Outcome::Info {
            error: "a mismatch although nothing was compared".to_owned(),
        }),
        [outcome, ..] => Say::Over(outcome.clone()),
    }
}

fn step(asked: &Value) -> Option<Step> {
    let [f, key, value] = asked.as_list()? else {
        return None;
    };
    let key = key.as_str()?.to_owned();
    Some(match f.as_str()? {
        "r" => Step::Get(key),
        _ => Step::Append(key, piece(value.as_int()?)),
    })
}

struct Transactions {
    rng: ChaCha12Rng,
    window: Window<i64>,
}

impl Transactions {
    fn new(options: &LoadOptions) -> Self {
        Self {
            rng: ChaCha12Rng::seed_from_u64(options.seed),
            window: Window::new(options.keys, options.choice, || (0, LIVES)),
        }
    }
}

impl Generator for Transactions {
    fn next(&mut self, context: Context) -> Next {
        let count = self.rng.random_range(1..=STEPS);
        let mut steps = Vec::with_capacity(count);
        for _ in 0..count {
            let place = self.window.draw(&mut self.rng);
            let reads = self.rng.random_bool(0.5);
            let (name, last) = self.window.take(place, || (0, LIVES));
            let key = Value::from(name);
            steps.push(Value::List(if reads {
                vec![Value::from("r"), key, Value::Nil]
            } else {
                *last += 1;
                vec![Value::from("append"), key, Value::Int(*last)]
            }));
        }
        Next::Invoke {
            at: context.now,
            intended: None,
            invocation: Invocation::new("txn", "", Value::List(steps)),
        }
    }
}

impl Load for Transactions {
    fn final_reads(&self, _node: usize) -> Vec<Invocation> {
        let read = |key: String| {
            let step = Value::List(vec![Value::from("r"), Value::from(key), Value::Nil]);
            Invocation::new("txn", "", Value::List(vec![step]))
        };
        self.window.used().into_iter().map(read).collect()
    }

    fn shares(&self) -> Vec<(&'static str, f64)> {
        vec![("txn", 1.0)]
    }
}

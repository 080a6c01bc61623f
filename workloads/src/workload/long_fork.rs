//! Long forks: two readers must not see two writes in opposite orders.

use checker::history::Value;
use rand::rngs::ChaCha12Rng;
use rand::{RngExt, SeedableRng};

use super::transactions::{reads, results};
use super::{Load, LoadOptions, Say, Workload};
use crate::generator::{Context, Generator, Invocation, Next, Places};
use crate::system::Outcome;

/// Writes of single keys, spoken as `set`, and reads of groups of keys, spoken as `txn`.
pub(super) static LONG_FORK: Workload = Workload {
    name: "long-fork",
    about: "the keys of small groups are written once each and read together",
    finds: "reads of several keys that disagree about the order of writes: snapshots of different replicas",
    often: "every change to transactions or reads; nightly",
    model: "long-fork",
    header: &[],
    needs: &["set", "txn"],
    faults: None,
    load: |options| Box::new(Groups::new(options)),
    speak,
};

/// Keys of one group.
const GROUP: u64 = 3;
/// Reads of a group while its keys are written one after the other.
const READS: u64 = 9;

fn speak(invocation: &Invocation, answers: &[Outcome]) -> Say {
    let asked = invocation.value.as_list().unwrap_or_default();
    let parts = |step: &Value| match step.as_list() {
        Some([f, key, value]) => Some((f.as_str() == Some("w"), key.as_str()?.to_owned(), value.clone())),
        _ => None,
    };
    let steps: Vec<(bool, String, Value)> = asked.iter().filter_map(parts).collect();
    match (&steps[..], answers) {
        ([(true, key, value)], []) => Say::Ask(Invocation::new("set", key.clone(), value.clone())),
        (_, []) => Say::Ask(reads(steps.into_iter().map(|(_, key, _)| key))),
        ([(true, ..)], [Outcome::Ok { .. }, ..]) => Say::Over(Outcome::DONE),
        (_, [Outcome::Ok { value, .. }, ..]) => {
            let told = results(value.as_ref().unwrap_or(&Value::Nil));
            let filled = steps
                .into_iter()
                .zip(told)
                .map(|((_, key, _), told)| Value::List(vec![Value::from("r"), Value::from(key), told]));
            Say::Over(Outcome::told(Value::List(filled.collect())))
        }
        (_, [outcome, ..]) => Say::Over(outcome.clone()),
    }
}

/// One group after the other; a few are in use at any time.
struct Groups {
    rng: ChaCha12Rng,
    places: Places,
    /// Per group in use: its number, the keys still to be written, the reads still to be done.
    active: Vec<(u64, Vec<u64>, u64)>,
    next: u64,
}

impl Groups {
    fn new(options: &LoadOptions) -> Self {
        let count = options.keys.div_ceil(GROUP as usize);
        let mut groups = Self {
            rng: ChaCha12Rng::seed_from_u64(options.seed),
            places: options.choice.among(count),
            active: Vec::new(),
            next: 0,
        };
        groups.active = (0..count).map(|_| groups.fresh()).collect();
        groups
    }

    fn fresh(&mut self) -> (u64, Vec<u64>, u64) {
        let group = self.next;
        self.next += 1;
        (group, (0..GROUP).collect(), READS)
    }
}

fn key(group: u64, place: u64) -> String {
    format!("g{group}.{place}")
}

fn read(group: u64) -> Invocation {
    let steps = (0..GROUP)
        .map(|place| Value::List(vec![Value::from("r"), Value::from(key(group, place)), Value::Nil]));
    Invocation::new("txn", "", Value::List(steps.collect()))
}

impl Generator for Groups {
    fn next(&mut self, context: Context) -> Next {
        let at = self.places.draw(&mut self.rng);
        if self.active[at].1.is_empty() && self.active[at].2 == 0 {
            self.active[at] = self.fresh();
        }
        let (group, left, reads_left) = &mut self.active[at];
        let all = left.len() as u64 + *reads_left;
        let dice = self.rng.random_range(0..all);
        let invocation = if dice < left.len() as u64 {
            let place = left.swap_remove(dice as usize);
            let step = vec![Value::from("w"), Value::from(key(*group, place)), Value::Int(1)];
            Invocation::new("txn", "", Value::List(vec![Value::List(step)]))
        } else {
            *reads_left -= 1;
            read(*group)
        };
        Next::Invoke {
            at: context.now,
            intended: None,
            invocation,
        }
    }
}

impl Load for Groups {
    fn final_reads(&self, _node: usize) -> Vec<Invocation> {
        (0..self.next).map(read).collect()
    }

    fn shares(&self) -> Vec<(&'static str, f64)> {
        vec![("txn", 1.0)]
    }
}

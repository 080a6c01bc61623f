//! Numbers that only grow: what was seen of them is never unseen, by anybody.

use checker::history::Value;
use rand::rngs::ChaCha12Rng;
use rand::{RngExt, SeedableRng};

use super::transactions::{reads, results};
use super::{Load, LoadOptions, Say, Workload, get, nothing_done};
use crate::generator::{Context, Generator, Invocation, Next, Places};
use crate::system::Outcome;

/// `inc`, spoken as `get` and `cas`, and `read` of one key; of a group of keys together as well, where the store has
/// transactions.
pub(super) static MONOTONIC: Workload = Workload {
    name: "monotonic",
    about: "numbers are incremented one by one and read, alone and together",
    finds: "reads that go backwards, increments that are lost, reads of several keys that are no state of the store, \
            revisions that do not grow with what they number",
    often: "every change to reads, leases or transactions, 30 s; nightly with clock faults",
    model: "monotonic",
    header: &[],
    needs: &["get", "cas"],
    faults: None,
    load: |options| Box::new(Growing::new(options)),
    speak,
};

/// Keys of one group.
const GROUP: usize = 3;
/// Share of reads, 0 to 1.
const READS: f64 = 0.5;
/// Share of the reads that are transactions, where the store has any, 0 to 1. The others are plain: a store may serve
/// those from elsewhere.
const TOGETHER: f64 = 0.5;
/// After so many operations a group is left alone.
const LIVES: u32 = 300;

fn speak(invocation: &Invocation, answers: &[Outcome]) -> Say {
    let key = || invocation.key.clone();
    match (invocation.f, answers) {
        ("inc", []) => Say::Ask(get(key())),
        ("inc", [Outcome::Ok { value, .. }, rest @ ..]) => {
            let there = value.clone().unwrap_or_default();
            let number = match &there {
                Value::Nil => Some(0),
                value => value.as_int(),
            };
            let Some(number) = number else {
                return Say::Over(Outcome::Fail {
                    error: format!("{there} is no number"),
                });
            };
            let more = Value::Int(number + 1);
            match rest {
                [] => Say::Ask(Invocation::new("cas", key(), Value::List(vec![there, more]))),
                [Outcome::Ok { rev, .. }, ..] => Say::Over(Outcome::Ok {
                    value: Some(more),
                    rev: *rev,
                }),
                [Outcome::Mismatch { .. }, ..] => Say::Over(Outcome::Fail {
                    error: "another client was faster".to_owned(),
                }),
                [other, ..] => Say::Over(other.clone()),
            }
        }
        ("inc", [outcome, ..]) => Say::Over(nothing_done(outcome)),
        ("read", []) if !invocation.key.is_empty() => Say::Ask(get(key())),
        ("read", []) => Say::Ask(reads(group(invocation))),
        ("read", [Outcome::Ok { value, .. }, ..]) if invocation.key.is_empty() => {
            let told = results(value.as_ref().unwrap_or(&Value::Nil));
            let keys = group(invocation);
            if told.len() != keys.len() {
                return Say::Over(Outcome::Fail {
                    error: "the numbers were not told".to_owned(),
                });
            }
            let numbers = keys.into_iter().map(Value::from).zip(told);
            Say::Over(Outcome::told(Value::map(numbers)))
        }
        (_, [outcome, ..]) => Say::Over(outcome.clone()),
        (_, []) => Say::Ask(invocation.clone()),
    }
}

/// The keys that a read is about.
fn group(read: &Invocation) -> Vec<String> {
    let keys = read.value.as_list().unwrap_or_default().iter();
    keys.filter_map(|key| key.as_str().map(str::to_owned)).collect()
}

/// A few groups at a time, one after the other.
struct Growing {
    rng: ChaCha12Rng,
    places: Places,
    together: bool,
    /// Per group in use: its number, and how many operations it has left.
    active: Vec<(u64, u32)>,
    next: u64,
}

impl Growing {
    fn new(options: &LoadOptions) -> Self {
        let groups = options.keys.div_ceil(GROUP) as u64;
        // They retire one after another instead of all at once.
        let lives = |place: u64| LIVES * (place as u32 + 1) / groups as u32;
        Self {
            rng: ChaCha12Rng::seed_from_u64(options.seed),
            places: options.choice.among(options.keys.div_ceil(GROUP)),
            together: options.transactions,
            active: (0..groups).map(|place| (place, lives(place))).collect(),
            next: groups,
        }
    }
}

/// Reads a key, as any client would.
fn read(group: u64, place: usize) -> Invocation {
    Invocation::new("read", key(group, place), Value::Nil)
}

/// Reads all keys of a group at once.
fn read_together(group: u64) -> Invocation {
    let keys = (0..GROUP).map(|place| Value::from(key(group, place)));
    Invocation::new("read", "", Value::List(keys.collect()))
}

fn key(group: u64, place: usize) -> String {
    format!("m{group}.{place}")
}

impl Generator for Growing {
    fn next(&mut self, context: Context) -> Next {
        let at = self.places.draw(&mut self.rng);
        let reads = self.rng.random_bool(READS);
        let together = self.rng.random_bool(TOGETHER) && self.together;
        let place = self.rng.random_range(0..GROUP);
        if self.active[at].1 == 0 {
            self.active[at] = (self.next, LIVES);
            self.next += 1;
        }
        let (group, left) = &mut self.active[at];
        *left -= 1;
        let group = *group;
        let invocation = match (reads, together) {
            (true, true) => read_together(group),
            (true, false) => read(group, place),
            (false, _) => Invocation::new("inc", key(group, place), Value::Nil),
        };
        Next::Invoke {
            at: context.now,
            intended: None,
            invocation,
        }
    }
}

impl Load for Growing {
    fn final_reads(&self, _node: usize) -> Vec<Invocation> {
        // Each key by itself as well: those reads may come from elsewhere.
        let alone = |group| (0..GROUP).map(move |place| read(group, place));
        let together = |group| self.together.then(|| read_together(group));
        (0..self.next)
            .flat_map(|group| together(group).into_iter().chain(alone(group)))
            .collect()
    }

    fn shares(&self) -> Vec<(&'static str, f64)> {
        // Of those that increment one number at the same time all but one come too late.
        vec![("read", READS), ("inc", (1.0 - READS) / 5.0)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_increment_returns_what_it_made_and_the_revision_that_the_store_told() {
        let inc = Invocation::new("inc", "m0.1", Value::Nil);
        let four = Outcome::told(Value::Int(4));
        let Say::Ask(asked) = speak(&inc, std::slice::from_ref(&four)) else {
            panic!("a cas follows")
        };
        assert_eq!(asked.value.to_json(), json!([4, 5]));
        let done = Outcome::Ok {
            value: None,
            rev: Some(70),
        };
        let made = Outcome::Ok {
            value: Some(Value::Int(5)),
            rev: Some(70),
        };
        assert_eq!(speak(&inc, &[four.clone(), done]), Say::Over(made));
        let late = speak(&inc, &[four.clone(), Outcome::Mismatch { current: None }]);
        assert!(matches!(late, Say::Over(Outcome::Fail { .. })));
        let error = "timeout".to_owned();
        let unknown = speak(&inc, &[four, Outcome::Info { error }]);
        assert!(matches!(unknown, Say::Over(Outcome::Info { .. })));
    }

    #[test]
    fn a_read_of_a_group_names_what_each_key_holds() {
        let keys = ["m0.0", "m0.1"].map(Value::from);
        let read = Invocation::new("read", "", Value::List(keys.to_vec()));
        let answer = Value::from(json!([{ "value": "3" }, { "value": null }]));
        let Say::Over(Outcome::Ok {
            value: Some(told), ..
        }) = speak(&read, &[Outcome::told(answer)])
        else {
            panic!("over")
        };
        assert_eq!(told.to_json(), json!({ "m0.0": 3, "m0.1": null }));
        let short = Value::from(json!([{ "value": "3" }]));
        assert!(matches!(
            speak(&read, &[Outcome::told(short)]),
            Say::Over(Outcome::Fail { .. })
        ));
    }
}

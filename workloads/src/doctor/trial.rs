//! What is asked of a fresh node, one after another, and what must come back.

use checker::history::Value;

use crate::generator::Invocation;
use crate::system::{Outcome, System};
use crate::workload::transactions::{Step, transaction};

/// One question and what its answer must be.
#[derive(Debug, Clone)]
pub struct Trial {
    /// What is tried, for people.
    pub what: String,
    /// What is asked.
    pub invocation: Invocation,
    expected: Expected,
}

/// What an answer must be.
#[derive(Debug, Clone, PartialEq)]
enum Expected {
    /// It read this.
    Read(Value),
    /// It was done.
    Done,
    /// It was compared and not done; a plain fail will do, too.
    Missed { holds: Value },
    /// It was compared and not done, whatever it shows; a plain fail will do, too.
    Refused,
    /// It told something.
    Told,
    /// Whatever some rule makes of it.
    Anything,
}

/// The operations whose meaning is known here.
const KNOWN: [&str; 8] = ["get", "set", "cas", "create", "delete", "append", "txn", "watch"];

/// The trials of a system, in their order.
#[must_use]
pub fn trials(system: &System) -> Vec<Trial> {
    let has = |f: &str| system.operation.contains_key(f);
    let mut trials = Vec::new();
    let mut trial = |f: &'static str, what: &str, value: Value, expected: Expected| {
        if has(f) {
            trials.push(Trial {
                what: what.to_owned(),
                invocation: Invocation::new(f, "doctor", value),
                expected,
            });
        }
    };
    let pair = |old: Value, new: i64| Value::List(vec![old, Value::Int(new)]);
    let read = |n: i64| Expected::Read(Value::Int(n));
    trial(
        "get",
        "get of a key that was never written",
        Value::Nil,
        Expected::Read(Value::Nil),
    );
    trial("set", "set to 1", Value::Int(1), Expected::Done);
    trial("get", "get after it", Value::Nil, read(1));
    trial("set", "set to 2", Value::Int(2), Expected::Done);
    trial("get", "get after it", Value::Nil, read(2));
    trial(
        "cas",
        "cas from 2 to 3, which must hit",
        pair(Value::Int(2), 3),
        Expected::Done,
    );
    trial(
        "get",
        "get after it",
        Value::Nil,
        read(if has("cas") { 3 } else { 2 }),
    );
    let missed = Expected::Missed { holds: Value::Int(3) };
    trial(
        "cas",
        "cas from 2 to 4, which must miss",
        pair(Value::Int(2), 4),
        missed.clone(),
    );
    trial(
        "get",
        "get after it",
        Value::Nil,
        read(if has("cas") { 3 } else { 2 }),
    );
    trial(
        "cas",
        "cas from nothing to 5, which must miss",
        pair(Value::Nil, 5),
        missed,
    );
    trial("delete", "delete", Value::Nil, Expected::Done);
    if has("delete") {
        let gone = Expected::Read(Value::Nil);
        trials.push(Trial {
            what: "get after it".to_owned(),
            invocation: Invocation::new("get", "doctor", Value::Nil),
            expected: gone,
        });
    }
    trials.extend(others(system));
    trials
}

/// What is known of the other operations that workloads use, and what is not known at all.
fn others(system: &System) -> Vec<Trial> {
    let mut trials = Vec::new();
    let mut trial = |what: &str, invocation: Invocation, expected: Expected| {
        if system.operation.contains_key(invocation.f) {
            trials.push(Trial {
                what: what.to_owned(),
                invocation,
                expected,
            });
        }
    };
    let append = Invocation::new("append", "doctor-append", Value::from("1,"));
    trial("append", append, Expected::Done);
    let key = || "doctor-txn".to_owned();
    let steps = [Step::Set(key(), Value::Int(1)), Step::Get(key())];
    let one = (key(), Value::Int(1));
    trial(
        "txn that sets and reads",
        transaction(&[], &steps),
        Expected::Told,
    );
    trial(
        "txn that compares, which must hit",
        transaction(&[one], &steps),
        Expected::Told,
    );
    let two = (key(), Value::Int(2));
    trial(
        "txn that compares, which must miss",
        transaction(&[two], &steps),
        Expected::Refused,
    );
    let all = [
        (Value::from("prefix"), Value::from("doctor")),
        (Value::from("from"), Value::Int(0)),
    ];
    let watch = Invocation::new("watch", "", Value::map(all));
    trial("watch of all of this, from the beginning", watch, Expected::Told);
    let unknown = system
        .operation
        .keys()
        .filter(|name| !KNOWN.contains(&name.as_str()));
    trials.extend(unknown.map(|name| Trial {
        what: format!("{name} with the value 1"),
        invocation: Invocation::new(
            // Names live as long as the program; a doctor's visit leaks a handful of them.
            Box::leak(name.clone().into_boxed_str()),
            format!("doctor-{name}"),
            Value::Int(1),
        ),
        expected: Expected::Anything,
    }));
    trials
}

impl Trial {
    /// Whether nobody knows what the outcome should be, and it is none that says anything.
    #[must_use]
    pub fn is_open(&self, outcome: &Outcome) -> bool {
        self.expected == Expected::Anything && matches!(outcome, Outcome::Fail { .. } | Outcome::Info { .. })
    }

    /// What is wrong with `outcome`, and what would mend it; none where it is right.
    #[must_use]
    pub fn complaint(&self, outcome: &Outcome) -> Option<String> {
        let what = &self.what;
        let told = match outcome {
            Outcome::Fail { error } | Outcome::Info { error } => error.as_str(),
            _ => "",
        };
        if let Some(answer) = told.strip_prefix("no rule matches: ") {
            let mend = match &self.expected {
                Expected::Read(Value::Nil) => {
                    "add a rule with outcome \"ok\" and `missing = true` that matches it"
                }
                Expected::Read(_) => "add a rule with outcome \"ok\" whose `value` points at the value",
                Expected::Missed { .. } => {
                    "add a rule with outcome \"mismatch\" (or \"fail\", where it shows nothing) that matches it"
                }
                Expected::Refused => "add a rule with outcome \"mismatch\" that matches it",
                Expected::Told => "add a rule with outcome \"ok\" whose `value` points at what it tells",
                Expected::Done | Expected::Anything => "add a rule that matches it",
            };
            return Some(format!("no rule for {what}: the store answered {answer}; {mend}"));
        }
        match (&self.expected, outcome) {
            (Expected::Anything, _) => None,
            (
                Expected::Read(wanted),
                Outcome::Ok {
                    value: Some(read), ..
                },
            ) if read == wanted => None,
            (Expected::Read(Value::Nil), Outcome::Ok { value, .. }) => Some(format!(
                "{what} read {}: nothing was there; a rule with `missing = true` must come before the one that matched",
                value
                    .as_ref()
                    .map_or_else(|| "no value".to_owned(), ToString::to_string),
            )),
            (
                Expected::Read(wanted),
                Outcome::Ok {
                    value: Some(Value::Nil),
                    ..
                },
            ) => Some(format!(
                "{what} read nothing, but {wanted} was written: a rule with `missing = true` matches too much"
            )),
            (Expected::Read(wanted), Outcome::Ok { value, .. }) => Some(format!(
                "{what} read {}, but {wanted} was written: look at `value` of the rule and at [values] encode",
                value
                    .as_ref()
                    .map_or_else(|| "no value".to_owned(), ToString::to_string),
            )),
            (Expected::Done, Outcome::Ok { .. }) => None,
            (
                Expected::Told,
                Outcome::Ok {
                    value: Some(told), ..
                },
            ) if told.as_list().is_some_and(|told| !told.is_empty()) => None,
            (Expected::Told, Outcome::Ok { .. }) => Some(format!(
                "{what} told nothing, though there is something to tell: look at `value` of the rule, or at `stream`"
            )),
            (Expected::Refused, Outcome::Mismatch { .. } | Outcome::Fail { .. }) => None,
            (Expected::Refused, Outcome::Ok { .. }) => Some(format!(
                "{what}, was called ok: the rule must look for what tells a hit from a miss"
            )),
            (Expected::Refused, Outcome::Info { error }) => Some(format!(
                "{what}, is unknown ({error}): add a rule with outcome \"mismatch\" for it"
            )),
            (
                Expected::Missed { holds },
                Outcome::Mismatch {
                    current: Some(current),
                },
            ) if current != holds => Some(format!(
                "{what} says that {current} was there, but it was {holds}: look at `current` of the rule"
            )),
            (Expected::Missed { .. }, Outcome::Mismatch { .. } | Outcome::Fail { .. }) => None,
            (Expected::Missed { .. }, Outcome::Ok { .. }) => Some(format!(
                "{what}, was called ok: the rule must look for what tells a hit from a miss, or the request compares nothing"
            )),
            (Expected::Missed { .. }, Outcome::Info { error }) => Some(format!(
                "{what}, is unknown ({error}): add a rule with outcome \"mismatch\" (or \"fail\") for it"
            )),
            (Expected::Done | Expected::Told, Outcome::Mismatch { .. }) => Some(format!(
                "{what}, was called a mismatch, but what it expected was there"
            )),
            (
                Expected::Done | Expected::Told | Expected::Read(_),
                Outcome::Fail { error } | Outcome::Info { error },
            ) => Some(format!("{what} was not ok: the store said {error}")),
            (Expected::Read(_), Outcome::Mismatch { .. }) => Some(format!("{what} cannot mismatch")),
        }
    }
}

//! A bank: money moves between accounts, and none is made or lost.

use checker::history::Value;
use rand::rngs::ChaCha12Rng;
use rand::{RngExt, SeedableRng};
use serde_json::json;

use super::transactions::{Step, reads, results, transaction};
use super::{Load, LoadOptions, Say, Workload, nothing_done};
use crate::generator::{Context, Generator, Invocation, Next, Places};
use crate::system::Outcome;

/// `read` of all accounts and `transfer`, spoken as `txn`.
pub(super) static BANK: Workload = Workload {
    name: "bank",
    about: "money is transferred between accounts, all of which are read together",
    finds: "reads of several keys that are no snapshot, transfers that are half done or done twice",
    often: "every change to transactions; nightly",
    model: "bank",
    header: &[("total-amount", ACCOUNTS as i64 * BALANCE)],
    needs: &["txn"],
    faults: None,
    load: |options| Box::new(Transfers::new(options)),
    speak,
};

/// How many accounts there are.
const ACCOUNTS: usize = 8;
/// What is in an account that nobody has touched.
const BALANCE: i64 = 20;
/// Most that is transferred at once.
const MOST: i64 = 5;
/// Share of reads, 0 to 1.
const READS: f64 = 0.5;

fn account(number: i64) -> String {
    format!("account{number}")
}

fn balance(read: &Value) -> i64 {
    read.as_int().unwrap_or(BALANCE)
}

fn speak(invocation: &Invocation, answers: &[Outcome]) -> Say {
    match (invocation.f, answers) {
        ("read", []) => Say::Ask(reads((0..ACCOUNTS as i64).map(account))),
        ("read", [Outcome::Ok { value, .. }, ..]) => {
            let read = results(value.as_ref().unwrap_or(&Value::Nil));
            let balances = (0..)
                .zip(&read)
                .map(|(number, read)| (Value::from(account(number)), Value::Int(balance(read))));
            Say::Over(Outcome::told(Value::map(balances)))
        }
        ("transfer", answers) => transfer(&invocation.value.to_json(), answers),
        (_, [outcome, ..]) => Say::Over(outcome.clone()),
        (_, []) => Say::Ask(invocation.clone()),
    }
}

/// Looks at both accounts, then changes both if they are still what they were.
fn transfer(asked: &serde_json::Value, answers: &[Outcome]) -> Say {
    let number = |field: &str| asked.get(field).and_then(serde_json::Value::as_i64).unwrap_or(0);
    let [from, to] = ["from", "to"].map(|field| account(number(field)));
    match answers {
        [] => Say::Ask(reads([from, to])),
        [Outcome::Ok { value, .. }, rest @ ..] => {
            let read = results(value.as_ref().unwrap_or(&Value::Nil));
            let [there, here] = &read[..] else {
                return Say::Over(Outcome::Fail {
                    error: "the accounts were not told".to_owned(),
                });
            };
            let amount = number("amount");
            match rest {
                [] if balance(there) < amount => Say::Over(Outcome::Fail {
                    error: "not enough money".to_owned(),
                }),
                [] => {
                    let steps = [
                        Step::Set(from.clone(), Value::Int(balance(there) - amount)),
                        Step::Set(to.clone(), Value::Int(balance(here) + amount)),
                    ];
                    Say::Ask(transaction(&[(from, there.clone()), (to, here.clone())], &steps))
                }
                [Outcome::Ok { .. }, ..] => Say::Over(Outcome::DONE),
                [Outcome::Mismatch { .. }, ..] => Say::Over(Outcome::Fail {
                    error: "another transfer was faster".to_owned(),
                }),
                [other, ..] => Say::Over(other.clone()),
            }
        }
        [other, ..] => Say::Over(nothing_done(other)),
    }
}

struct Transfers {
    rng: ChaCha12Rng,
    places: Places,
}

impl Transfers {
    fn new(options: &LoadOptions) -> Self {
        Self {
            rng: ChaCha12Rng::seed_from_u64(options.seed),
            places: options.choice.among(ACCOUNTS),
        }
    }
}

impl Generator for Transfers {
    fn next(&mut self, context: Context) -> Next {
        let invocation = if self.rng.random_bool(READS) {
            Invocation::new("read", "", Value::Nil)
        } else {
            let from = self.places.draw(&mut self.rng) as i64;
            let step = self.rng.random_range(1..ACCOUNTS as i64);
            let amount = self.rng.random_range(1..=MOST);
            let to = (from + step) % ACCOUNTS as i64;
            let asked = json!({ "from": from, "to": to, "amount": amount });
            Invocation::new("transfer", "", Value::from(asked))
        };
        Next::Invoke {
            at: context.now,
            intended: None,
            invocation,
        }
    }
}

impl Load for Transfers {
    fn final_reads(&self, _node: usize) -> Vec<Invocation> {
        vec![Invocation::new("read", "", Value::Nil)]
    }

    fn shares(&self) -> Vec<(&'static str, f64)> {
        // Many transfers lose the race for an account, or find too little in it.
        vec![("read", READS), ("transfer", (1.0 - READS) / 5.0)]
    }
}

//! Banks and long forks, judged a second time: both are what reads say of each other.

use std::collections::BTreeMap;

use crate::history::{History, OpId, Outcome, Value};
use crate::proof::Fault;
use crate::transactions::{AnomalyKind, TransactionOptions};

use super::cases::Told;

/// What one read showed of each key.
type Read = BTreeMap<Value, Value>;

/// What a completed read showed; nothing of what is none.
fn read(history: &History, id: OpId) -> Option<Read> {
    let operation = history.operation(id);
    let output = operation.output();
    if operation.outcome() != Outcome::Ok || !matches!(operation.f(), "read" | "txn") {
        return None;
    }
    if let Some(entries) = output.as_map() {
        return Some(entries.iter().cloned().collect());
    }
    let told = match output.is_nil() {
        true => operation.input(),
        false => output,
    };
    let step = |step: &Value| match step.as_list()? {
        [f, key] if f.as_str() == Some("r") => Some((key.clone(), Value::Nil)),
        [f, key, value] if f.as_str() == Some("r") => Some((key.clone(), value.clone())),
        _ => None,
    };
    told.as_list()?.iter().map(step).collect()
}

fn reads(history: &History) -> impl Iterator<Item = (OpId, Read)> {
    let ids = (0..history.len() as u32).map(OpId);
    ids.filter_map(|id| Some((id, read(history, id)?)))
}

fn sum(read: &Read) -> Option<i128> {
    read.values()
        .map(|balance| balance.as_int().map(i128::from))
        .sum()
}

/// What the accounts must add up to, where that was told and need not be taken from the first read.
fn total(history: &History, options: &TransactionOptions) -> Option<i128> {
    let header = history.header().other.get("total-amount");
    let told = options.bank.total.or(header.and_then(serde_json::Value::as_i64));
    told.map(i128::from)
}

/// Judges every read of a bank; the first that is wrong, and how.
pub(super) fn bank(history: &History, options: &TransactionOptions) -> Result<usize, (OpId, String)> {
    let mut total = total(history, options);
    let mut accounts: Option<Vec<Value>> = None;
    let mut count = 0;
    for (id, read) in reads(history) {
        count += 1;
        let names: Vec<Value> = read.keys().cloned().collect();
        if accounts.get_or_insert_with(|| names.clone()) != &names {
            return Err((id, format!("T{} read other accounts", id.0)));
        }
        let Some(found) = sum(&read) else {
            return Err((id, format!("T{} read an account without a balance", id.0)));
        };
        let expected = *total.get_or_insert(found);
        if found != expected {
            return Err((id, format!("T{} read {found} in all, not {expected}", id.0)));
        }
        let below = read.values().filter_map(Value::as_int).any(|balance| balance < 0);
        if below && !options.bank.allow_negative_balances {
            return Err((id, format!("T{} read a balance below zero", id.0)));
        }
    }
    Ok(count)
}

/// Compares the reads of every group with each other, sorted by how much they saw: what is seen stays seen.
pub(super) fn long_fork(history: &History) -> Result<usize, (OpId, String)> {
    let mut groups: BTreeMap<Vec<Value>, Vec<(OpId, Vec<bool>)>> = BTreeMap::new();
    let mut count = 0;
    for (id, read) in reads(history).filter(|(_, read)| !read.is_empty()) {
        count += 1;
        let written = read.values().map(|value| !value.is_nil()).collect();
        groups
            .entry(read.into_keys().collect())
            .or_default()
            .push((id, written));
    }
    for reads in groups.values_mut() {
        reads.sort_by_key(|(_, written)| written.iter().filter(|&&written| written).count());
        for pair in reads.windows(2) {
            if pair[0]
                .1
                .iter()
                .zip(&pair[1].1)
                .any(|(&before, &now)| before && !now)
            {
                let problem = format!(
                    "T{} and T{} each saw what the other missed",
                    pair[0].0.0, pair[1].0.0
                );
                return Err((pair[1].0, problem));
            }
        }
    }
    Ok(count)
}

/// Checks a case by the reads that it names.
pub(super) fn check(told: &Told<'_>, history: &History, options: &TransactionOptions) -> Result<(), Fault> {
    let named: Vec<Read> = told.named.iter().filter_map(|&id| read(history, id)).collect();
    let of_key = |holds: &dyn Fn(&Value) -> bool| {
        let key = told.key.as_ref();
        named
            .iter()
            .any(|read| key.and_then(|key| read.get(key)).is_some_and(holds))
    };
    let differ = |one: &Read, two: &Read| one.keys().ne(two.keys());
    let holds = match told.kind {
        AnomalyKind::LongFork => pairs(&named, |one, two| {
            let only = |one: &Read, two: &Read| {
                one.iter()
                    .any(|(key, value)| !value.is_nil() && two.get(key) == Some(&Value::Nil))
            };
            !differ(one, two) && only(one, two) && only(two, one)
        }),
        AnomalyKind::UnexpectedKey => pairs(&named, differ),
        AnomalyKind::WrongTotal => match total(history, options) {
            Some(total) => named.iter().any(|read| sum(read).is_some_and(|sum| sum != total)),
            None => pairs(&named, |one, two| {
                sum(one).zip(sum(two)).is_some_and(|(one, two)| one != two)
            }),
        },
        AnomalyKind::NegativeValue => {
            !options.bank.allow_negative_balances
                && of_key(&|balance| balance.as_int().is_some_and(|balance| balance < 0))
        }
        AnomalyKind::NilBalance => of_key(&Value::is_nil),
        _ => false,
    };
    match holds {
        true => Ok(()),
        false => {
            let problem = format!("what these transactions read is no {}", told.kind);
            Err(Fault::new(told.place.clone(), problem))
        }
    }
}

fn pairs(reads: &[Read], holds: impl Fn(&Read, &Read) -> bool) -> bool {
    reads.iter().any(|one| reads.iter().any(|two| holds(one, two)))
}

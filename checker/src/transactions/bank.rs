//! Accounts between which money moves: every read of all of them must add up to the same.
//!
//! Operations are Jepsen's: `transfer` of `{"from", "to", "amount"}`, and `read` of all accounts, a map from
//! account to balance. A read may also be a `txn` of `[["r", account, balance], ...]`.

use std::time::Instant;

use crate::history::{Flaw, History, HistoryError, OpId, Operation, Outcome, Value};

use super::TransactionOptions;
use super::analysis::{Frame, TransactionAnalysis};
use super::anomaly::AnomalyKind;
use super::finding::{Finding, Findings};
use super::pace::Pace;

/// What is known of a bank.
#[derive(Clone, Debug, Default)]
pub struct BankOptions {
    /// The sum of all balances; otherwise the header's `total-amount`, otherwise that of the first read.
    pub total: Option<i64>,
    /// Whether an account may fall below zero.
    pub allow_negative_balances: bool,
}

/// Checks the reads of a bank.
///
/// # Errors
/// [`HistoryError::Malformed`] if an operation is no read and no transfer.
pub fn bank(history: &History, options: &TransactionOptions) -> Result<TransactionAnalysis, HistoryError> {
    let begun = Instant::now();
    paced(history, options, begun, &mut options.pace(begun))
}

pub(super) fn paced(
    history: &History,
    options: &TransactionOptions,
    begun: Instant,
    pace: &mut Pace,
) -> Result<TransactionAnalysis, HistoryError> {
    let bank = &options.bank;
    let mut findings = Findings::default();
    let told = history
        .header()
        .other
        .get("total-amount")
        .and_then(serde_json::Value::as_i64);
    let mut total = bank.total.or(told).map(|total| (i128::from(total), None));
    let mut accounts: Option<(Vec<Value>, OpId)> = None;
    for operation in history.operations() {
        let read = match operation.f() {
            "read" => true,
            "transfer" => false,
            "txn" => is_read(operation),
            other => {
                return Err(HistoryError::Malformed {
                    place: history.place(operation),
                    flaw: Flaw::UnknownFunction {
                        f: other.to_owned(),
                        model: "bank".to_owned(),
                        known: "read, transfer, txn".to_owned(),
                    },
                });
            }
        };
        if !read || operation.outcome() != Outcome::Ok {
            continue;
        }
        let balances = balances(history, operation)?;
        if !pace.goes_on(1 + balances.len()) {
            break;
        }
        let id = operation.id();
        let names: Vec<Value> = balances.iter().map(|(account, _)| account.clone()).collect();
        let (known, first) = accounts.get_or_insert_with(|| (names.clone(), id));
        if *known != names {
            findings.add(AnomalyKind::UnexpectedKey, || {
                let sentence = format!(
                    "T{} read the accounts {}, T{} read {}",
                    first.0,
                    Value::List(known.clone()),
                    id.0,
                    Value::List(names.clone()),
                );
                Finding::new(None, sentence, vec![*first, id])
            });
        }
        if let Some((account, _)) = balances.iter().find(|(_, balance)| balance.is_none()) {
            findings.add(AnomalyKind::NilBalance, || {
                let sentence = format!("T{} read no balance of account {account}", id.0);
                Finding::new(Some(account.clone()), sentence, vec![id])
            });
            continue;
        }
        let sum: i128 = balances
            .iter()
            .filter_map(|(_, balance)| *balance)
            .map(i128::from)
            .sum();
        let (expected, from) = *total.get_or_insert((sum, Some(id)));
        if sum != expected {
            findings.add(AnomalyKind::WrongTotal, || {
                let (says, named) = match from {
                    Some(first) => (format!("T{} read {expected}", first.0), vec![first, id]),
                    None => (format!("there are {expected}"), vec![id]),
                };
                let sentence = format!("T{} read accounts that add up to {sum}, but {says}", id.0);
                Finding::new(None, sentence, named)
            });
        }
        let negative = balances
            .iter()
            .find(|(_, balance)| balance.is_some_and(|balance| balance < 0));
        if let Some((account, Some(balance))) = negative
            && !bank.allow_negative_balances
        {
            findings.add(AnomalyKind::NegativeValue, || {
                let sentence = format!("T{} read a balance of {balance} in account {account}", id.0);
                Finding::new(Some(account.clone()), sentence, vec![id])
            });
        }
    }
    let frame = Frame {
        history,
        model: "bank",
        expected: options.consistency_models.clone(),
        given_up: Vec::new(),
        doubt: None,
        exhausted: options.ran_out(history, pace),
        witness: None,
        notes: Vec::new(),
    };
    let said = |id: OpId| format!("read {}", history.operation(id).output());
    Ok(TransactionAnalysis::new(frame, findings, said, begun.elapsed()))
}

/// Whether a transaction only reads.
fn is_read(operation: Operation<'_>) -> bool {
    let input = operation.input();
    let steps = input.as_list().unwrap_or_default();
    steps.iter().all(|step| {
        let f = step.as_list().and_then(<[Value]>::first);
        f.and_then(Value::as_str) == Some("r")
    })
}

/// What a read saw, sorted by account.
fn balances(history: &History, operation: Operation<'_>) -> Result<Vec<(Value, Option<i64>)>, HistoryError> {
    let output = operation.output();
    let wrong = || HistoryError::Malformed {
        place: history.place(operation),
        flaw: Flaw::WrongValue {
            f: operation.f().to_owned(),
            wanted: "whole balances by account, such as {\"0\": 10, \"1\": 0}",
            found: output.to_string(),
        },
    };
    let balance = |value: &Value| match value {
        Value::Nil => Ok(None),
        other => other.as_int().map(Some).ok_or_else(wrong),
    };
    let mut balances = Vec::new();
    if let Some(entries) = output.as_map() {
        for (account, value) in entries {
            balances.push((account.clone(), balance(value)?));
        }
    } else {
        for step in output.as_list().ok_or_else(wrong)? {
            match step.as_list() {
                Some([_, account, value]) => balances.push((account.clone(), balance(value)?)),
                _ => return Err(wrong()),
            }
        }
        balances.sort();
    }
    Ok(balances)
}

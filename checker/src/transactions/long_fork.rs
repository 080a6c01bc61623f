//! Long fork: two reads that saw two writes in opposite orders.
//!
//! Every key is written once, by a transaction of its own, and groups of keys are read together. The keys that
//! a read saw written must be among those of every other read of the group, or the other way round: writes come
//! one after the other. Parallel snapshot isolation lets each read have an order of its own (Sovran et al.,
//! "Transactional storage for geo-replicated systems", SOSP 2011); snapshot isolation and everything stronger
//! does not.

use std::collections::BTreeMap;
use std::time::Instant;

use crate::history::{Flaw, History, HistoryError, OpId, Outcome, Value};

use super::TransactionOptions;
use super::analysis::{Frame, TransactionAnalysis};
use super::anomaly::AnomalyKind;
use super::finding::{Finding, Findings};
use super::pace::Pace;

/// One read of a group: which of its keys were written.
struct Read {
    by: OpId,
    written: Vec<bool>,
}

/// Checks reads of groups of keys, `[["r", key, null], ...]`, among writes of single keys, `[["w", key, value]]`.
///
/// Groups are told by their reads: reads of the same keys are of one group, however large. The writes need not
/// be in the history.
///
/// # Errors
/// [`HistoryError::Malformed`] if an operation holds nothing of the kind, a key is written twice, or two reads
/// saw different values of one key.
pub fn long_fork(
    history: &History,
    options: &TransactionOptions,
) -> Result<TransactionAnalysis, HistoryError> {
    let begun = Instant::now();
    paced(history, options, begun, &mut options.pace(begun))
}

pub(super) fn paced(
    history: &History,
    options: &TransactionOptions,
    begun: Instant,
    pace: &mut Pace,
) -> Result<TransactionAnalysis, HistoryError> {
    let mut values: BTreeMap<Value, (Value, OpId)> = BTreeMap::new();
    let mut groups: BTreeMap<Vec<Value>, Vec<Read>> = BTreeMap::new();
    for operation in history.operations() {
        let happened = operation.outcome() == Outcome::Ok;
        let said = match happened && !operation.output().is_nil() {
            true => operation.output(),
            false => operation.input(),
        };
        let malformed = |flaw: Flaw| HistoryError::Malformed {
            place: history.place(operation),
            flaw,
        };
        let wrong = || {
            malformed(Flaw::WrongValue {
                f: operation.f().to_owned(),
                wanted: "either reads such as [[\"r\", 1, null], [\"r\", 2, null]] or one write, [[\"w\", 1, 1]]",
                found: said.to_string(),
            })
        };
        let mut reads: Vec<(Value, Value)> = Vec::new();
        let steps = said.as_list().ok_or_else(wrong)?;
        if !pace.goes_on(1 + steps.len()) {
            break;
        }
        for step in steps {
            let (f, key, value) = match step.as_list() {
                Some([f, key]) => (f, key, &Value::Nil),
                Some([f, key, value]) => (f, key, value),
                _ => return Err(wrong()),
            };
            match f.as_str() {
                Some("r") => reads.push((key.clone(), value.clone())),
                Some("w") if steps.len() == 1 && !value.is_nil() => {}
                _ => return Err(wrong()),
            }
            let known = (happened || f.as_str() == Some("w")) && !value.is_nil();
            if let Some((before, by)) = values.get(key).filter(|(before, _)| known && before != value) {
                return Err(malformed(Flaw::Field(format!(
                    "key {key} is {value} here but {before} in {}: every key is written once in such histories",
                    history.place(history.operation(*by)),
                ))));
            }
            if known {
                values
                    .entry(key.clone())
                    .or_insert((value.clone(), operation.id()));
            }
        }
        if happened && !reads.is_empty() {
            reads.sort();
            if reads.windows(2).any(|pair| pair[0].0 == pair[1].0) {
                return Err(wrong());
            }
            let written = reads.iter().map(|(_, value)| !value.is_nil()).collect();
            let keys = reads.into_iter().map(|(key, _)| key).collect();
            groups.entry(keys).or_default().push(Read {
                by: operation.id(),
                written,
            });
        }
    }
    let mut findings = Findings::default();
    for (keys, reads) in &mut groups {
        // They are sorted by how much they saw, and each is compared with the one before it.
        if !pace.goes_on(reads.len().saturating_mul(2 * keys.len())) {
            break;
        }
        check_group(keys, reads, &mut findings);
    }
    let frame = Frame {
        history,
        model: "long-fork",
        expected: options.consistency_models.clone(),
        given_up: Vec::new(),
        doubt: None,
        exhausted: options.ran_out(history, pace),
        witness: None,
        notes: Vec::new(),
    };
    let said = |id: OpId| {
        let operation = history.operation(id);
        format!("read {}", operation.output())
    };
    Ok(TransactionAnalysis::new(frame, findings, said, begun.elapsed()))
}

/// Sorted by how much they saw, every read must have seen all that the one before it saw.
fn check_group(keys: &[Value], reads: &mut [Read], findings: &mut Findings) {
    reads.sort_by_key(|read| (read.written.iter().filter(|&&written| written).count(), read.by));
    let mut most: Option<&Read> = None;
    for read in reads.iter() {
        if let Some(less) = most {
            let only = |one: &Read, other: &Read| {
                let mut pairs = one.written.iter().zip(&other.written);
                pairs.position(|(&one, &other)| one && !other)
            };
            if let Some(missed) = only(less, read) {
                let seen = only(read, less).expect("it saw as much, and missed something");
                findings.add(AnomalyKind::LongFork, || {
                    let (first, second) = (&keys[missed], &keys[seen]);
                    let sentence = format!(
                        "T{one} saw key {first} written and key {second} not yet, T{two} saw key {second} written and key {first} not yet",
                        one = less.by.0,
                        two = read.by.0,
                    );
                    Finding::new(Some(first.clone()), sentence, vec![less.by, read.by])
                });
                continue;
            }
        }
        most = Some(read);
    }
}

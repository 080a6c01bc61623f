//! Numbers that only grow: what was seen of them is never unseen.
//!
//! Operations are `inc` of a key, which adds one and returns what it made, and `read` of a key, or of all of them
//! together where no key is named: a map from key to number. A key that nobody has incremented reads 0 or nil. An
//! ok `inc` may say in `rev` at which revision of the store it was made.
//!
//! What must hold:
//! - every number is made once, and no read shows more than increments had been asked for;
//! - whoever begins after another has completed sees at least as much of every key: a process never sees a number
//!   go backwards, nor does anybody after it;
//! - of two reads of several keys one saw as much as the other of every key: both are states of one store;
//! - revisions grow with the numbers of a key, and a read that shows what was made at a revision shows whatever
//!   was made before it.
//!
//! The last two are those of Jepsen's tests `monotonic`, where timestamps stand for revisions.

use std::collections::BTreeMap;
use std::time::Instant;

use crate::history::{Flaw, History, HistoryError, OpId, Operation, Outcome, Value};

use super::TransactionOptions;
use super::analysis::{Frame, TransactionAnalysis};
use super::anomaly::AnomalyKind;
use super::finding::{Finding, Findings};
use super::pace::Pace;
use super::passed::{Passed, Seen};

/// Checks numbers that only grow.
///
/// # Errors
/// [`HistoryError::Malformed`] if an operation is neither `inc` nor `read`, or returned what is no number.
pub fn monotonic(
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
    let mut findings = Findings::default();
    let numbers = Numbers::of(history, pace)?;
    let passes: [&dyn Fn(&mut Findings); 5] = [
        &|findings| numbers.made_once(findings),
        &|findings| numbers.asked_for(findings),
        &|findings| numbers.time(findings),
        &|findings| numbers.comparable(findings),
        &|findings| numbers.revisions(findings),
    ];
    // Who does not know all increments can tell nothing from numbers. A pass goes through everything that was seen,
    // and has it sorted.
    let all = passes.into_iter().all(|pass| {
        let goes_on = pace.goes_on(2 * numbers.seen);
        if goes_on {
            pass(&mut findings);
        }
        goes_on
    });
    let frame = Frame {
        history,
        model: "monotonic",
        expected: options.consistency_models.clone(),
        given_up: Vec::new(),
        exhausted: options.ran_out(history, pace),
        witness: None,
        doubt: all.then(|| numbers.doubt()).flatten(),
        notes: Vec::new(),
    };
    let said = |id: OpId| {
        let operation = history.operation(id);
        format!("{} {}", operation.f(), operation.output())
    };
    Ok(TransactionAnalysis::new(frame, findings, said, begun.elapsed()))
}

/// An increment that may have happened.
struct Increment {
    by: OpId,
    /// Its place in the order of the history.
    invoked: u32,
    /// What it made and at which revision, where that is known.
    made: Option<(i64, Option<i64>)>,
}

/// A read that was answered.
struct Read {
    by: OpId,
    /// By key, in their order.
    saw: Vec<(Value, i64)>,
}

struct Numbers<'a> {
    history: &'a History,
    increments: BTreeMap<Value, Vec<Increment>>,
    reads: Vec<Read>,
    /// How many numbers were seen.
    seen: usize,
}

impl<'a> Numbers<'a> {
    fn of(history: &'a History, pace: &mut Pace) -> Result<Self, HistoryError> {
        let mut numbers = Numbers {
            history,
            increments: BTreeMap::new(),
            reads: Vec::new(),
            seen: 0,
        };
        for operation in history.operations() {
            let seen = numbers.reads.last().map_or(1, |read| read.saw.len());
            numbers.seen += seen;
            if !pace.goes_on(1 + seen) {
                break;
            }
            let happened = operation.outcome() == Outcome::Ok;
            match operation.f() {
                "inc" if operation.outcome() != Outcome::Fail => {
                    let made = match happened {
                        true => Some((
                            number(history, operation, &operation.output())?,
                            operation.told_rev(),
                        )),
                        false => None,
                    };
                    let of_key = numbers.increments.entry(operation.key().unwrap_or_default());
                    of_key.or_default().push(Increment {
                        by: operation.id(),
                        invoked: operation.record().invoked,
                        made,
                    });
                }
                "inc" => {}
                "read" if happened => {
                    let output = operation.output();
                    let saw = match (operation.key(), output.as_map()) {
                        (Some(key), _) => vec![(key, number(history, operation, &output)?)],
                        (None, Some(entries)) => entries
                            .iter()
                            .map(|(key, value)| Ok((key.clone(), number(history, operation, value)?)))
                            .collect::<Result<_, HistoryError>>()?,
                        (None, None) => return Err(wrong(history, operation, &output)),
                    };
                    numbers.reads.push(Read {
                        by: operation.id(),
                        saw,
                    });
                }
                "read" => {}
                other => {
                    let flaw = Flaw::UnknownFunction {
                        f: other.to_owned(),
                        model: "monotonic".to_owned(),
                        known: "inc, read".to_owned(),
                    };
                    return Err(history.malformed(operation.id(), flaw));
                }
            }
        }
        Ok(numbers)
    }

    /// The increments whose result is known: key, number, revision, and who.
    fn made(&self) -> impl Iterator<Item = (&Value, i64, Option<i64>, OpId)> {
        self.increments.iter().flat_map(|(key, increments)| {
            increments
                .iter()
                .filter_map(move |one| one.made.map(|(number, rev)| (key, number, rev, one.by)))
        })
    }

    fn made_once(&self, findings: &mut Findings) {
        let mut first: BTreeMap<(&Value, i64), OpId> = BTreeMap::new();
        for (key, number, _, by) in self.made() {
            let other = *first.entry((key, number)).or_insert(by);
            if other != by {
                findings.add(AnomalyKind::LostUpdate, || {
                    let sentence = format!("T{} and T{} both made key {key} {number}", other.0, by.0);
                    Finding::new(Some(key.clone()), sentence, vec![other, by])
                });
            }
        }
    }

    fn asked_for(&self, findings: &mut Findings) {
        let mut asked: BTreeMap<&Value, Vec<u32>> = BTreeMap::new();
        for (key, increments) in &self.increments {
            let mut times: Vec<u32> = increments.iter().map(|one| one.invoked).collect();
            times.sort_unstable();
            asked.insert(key, times);
        }
        let made = self.made().map(|(key, number, _, by)| (key, number, by));
        let read = self
            .reads
            .iter()
            .flat_map(|read| read.saw.iter().map(|(key, number)| (key, *number, read.by)));
        for (key, number, by) in made.chain(read) {
            let end = self.history.operation(by).record().completed;
            let begun = asked
                .get(key)
                .map_or(0, |times| times.partition_point(|at| *at < end));
            if number < 0 || number as usize > begun {
                findings.add(AnomalyKind::GarbageRead, || {
                    let sentence = format!(
                        "T{} saw key {key} at {number}, but only {begun} increments had been asked for by then",
                        by.0
                    );
                    Finding::new(Some(key.clone()), sentence, vec![by])
                });
            }
        }
    }

    fn time(&self, findings: &mut Findings) {
        let seen = |by: OpId, key: &Value, number, writes| {
            Seen::new(self.history.operation(by), key.clone(), number, writes)
        };
        let mut all: Vec<Seen> = self
            .made()
            .map(|(key, number, _, by)| seen(by, key, number, true))
            .collect();
        for read in &self.reads {
            all.extend(
                read.saw
                    .iter()
                    .map(|(key, number)| seen(read.by, key, *number, false)),
            );
        }
        let mut tell = |kind, who: &str, earlier: &Seen, later: &Seen, key: &Value| {
            findings.add(kind, || {
                let sentence = format!(
                    "T{} {who} key {key} at {}, but T{}, which had completed before it was invoked, had it at {}",
                    later.by.0, later.at, earlier.by.0, earlier.at,
                );
                Finding::new(Some(key.clone()), sentence, vec![earlier.by, later.by])
            });
        };
        Passed::check(&all, |earlier, later| match later.writes {
            true => tell(AnomalyKind::LostUpdate, "made", earlier, later, &later.key),
            false => tell(AnomalyKind::StaleRead, "saw", earlier, later, &later.key),
        });
        // What a process has seen itself, whatever others know.
        let own: Vec<Seen> = all.iter().map(Seen::of_process).collect();
        Passed::check(&own, |earlier, later| {
            let key = later.key.as_list().map_or(&Value::Nil, |both| &both[1]);
            if !later.writes {
                tell(
                    AnomalyKind::NonMonotonic,
                    "of the same process saw",
                    earlier,
                    later,
                    key,
                );
            }
        });
    }

    /// Reads of the same keys are states of one store: in the order of their sums each is as far as the last.
    fn comparable(&self, findings: &mut Findings) {
        let mut groups: BTreeMap<Vec<&Value>, Vec<&Read>> = BTreeMap::new();
        for read in &self.reads {
            let keys = read.saw.iter().map(|(key, _)| key).collect();
            groups.entry(keys).or_default().push(read);
        }
        for reads in groups.values_mut() {
            let sum = |read: &Read| {
                read.saw
                    .iter()
                    .map(|(_, number)| i128::from(*number))
                    .sum::<i128>()
            };
            reads.sort_by_key(|read| (sum(read), read.by));
            for pair in reads.windows(2) {
                let [one, two] = pair else { continue };
                let back = (one.saw.iter().zip(&two.saw)).find(|((_, less), (_, more))| less > more);
                let on = (one.saw.iter().zip(&two.saw)).find(|((_, less), (_, more))| less < more);
                if let (Some(((back, high), (_, low))), Some(((on, few), (_, many)))) = (back, on) {
                    findings.add(AnomalyKind::LongFork, || {
                        let sentence = format!(
                            "T{} saw key {back} at {high} and key {on} at {few}, T{} saw key {back} at {low} and key {on} at {many}",
                            one.by.0, two.by.0
                        );
                        Finding::new(Some(back.clone()), sentence, vec![one.by, two.by])
                    });
                }
            }
        }
    }

    fn revisions(&self, findings: &mut Findings) {
        let mut by_key: BTreeMap<&Value, Vec<(i64, i64, OpId)>> = BTreeMap::new();
        for (key, number, rev, by) in self.made() {
            if let Some(rev) = rev {
                by_key.entry(key).or_default().push((number, rev, by));
            }
        }
        for (key, made) in &mut by_key {
            made.sort_unstable();
            for pair in made.windows(2) {
                let [(less, early, one), (more, late, two)] = pair else {
                    continue;
                };
                if early >= late {
                    findings.add(AnomalyKind::RevisionOrder, || {
                        let sentence = format!(
                            "T{} made key {key} {less} at revision {early}, T{} made it {more} at revision {late}",
                            one.0, two.0
                        );
                        Finding::new(Some((*key).clone()), sentence, vec![*one, *two])
                    });
                    // Nothing can be looked up in what is out of order.
                    return;
                }
            }
        }
        for read in self.reads.iter().filter(|read| read.saw.len() > 1) {
            let made = |(key, number): &(Value, i64)| {
                let of_key = by_key.get(key)?;
                let at = of_key.binary_search_by_key(number, |(number, ..)| *number).ok()?;
                Some((of_key[at].1, of_key[at].2))
            };
            let Some((newest, newest_by)) = read.saw.iter().filter_map(made).max() else {
                continue;
            };
            for (key, number) in &read.saw {
                let of_key = by_key.get(key).map_or(&[][..], Vec::as_slice);
                let before = of_key.partition_point(|(_, rev, _)| *rev <= newest);
                let Some((owed, rev, by)) = of_key[..before].last().filter(|(owed, ..)| owed > number) else {
                    continue;
                };
                findings.add(AnomalyKind::RevisionOrder, || {
                    let sentence = format!(
                        "T{} saw what T{} made at revision {newest}, but key {key} at {number}, although T{} had made it \
                         {owed} at revision {rev}",
                        read.by.0, newest_by.0, by.0
                    );
                    Finding::new(Some(key.clone()), sentence, vec![newest_by, *by, read.by])
                });
            }
        }
    }

    /// Why the history is no evidence; none where it is.
    fn doubt(&self) -> Option<String> {
        if self.made().next().is_none() {
            return Some("no increment was acknowledged".to_owned());
        }
        let saw_some = |read: &Read| read.saw.iter().any(|(_, number)| *number > 0);
        (!self.reads.iter().any(saw_some)).then(|| "no read saw an increment".to_owned())
    }
}

fn number(history: &History, operation: Operation<'_>, value: &Value) -> Result<i64, HistoryError> {
    match value {
        Value::Nil => Ok(0),
        value => value.as_int().ok_or_else(|| wrong(history, operation, value)),
    }
}

fn wrong(history: &History, operation: Operation<'_>, found: &Value) -> HistoryError {
    let flaw = Flaw::WrongValue {
        f: operation.f().to_owned(),
        wanted: "a whole number, or of a read without a key a map of them, such as {\"k0\": 3}",
        found: found.to_string(),
    };
    history.malformed(operation.id(), flaw)
}

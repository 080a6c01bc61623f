//! Watches: streams of changes, each told with the revision at which it was made.
//!
//! Operations are `set`, `cas` and `get` of single keys, and `watch` of `{"from": revision}`, which returns
//! `[[revision, key, value], ...]`: every change after `from`, up to the revision of the last one told. Every
//! written value is unique for its key, so that a change says which write it tells. An ok write says in `rev` at
//! which revision it was made.
//!
//! What must hold, the order of revisions being the order of all writes:
//! - **order**: the revisions of a watch grow, and all lie above the one that it went on from;
//! - **no duplicate**: a write is told at one revision, and once to whoever watches;
//! - **no gap**: a watch tells every change between where it went on and where it ended that any other watch, or
//!   the answer to the write itself, puts there. A watch that was cut off and goes on from its last revision,
//!   through whichever node, is just the next watch;
//! - **agreement**: everybody tells one value for a key at a revision; no change is told that nobody asked for,
//!   or that failed; a cas follows the change whose value it expected;
//! - **time**: what completed before a write was invoked has a lower revision, and a read sees nothing older than
//!   any write, read or watch that completed before it began. With the order of writes known, this is
//!   linearizability (Gibbons & Korach, "Testing Shared Memories", 1997, section 4), in n log n.
//!
//! How soon a change is told is no question of safety: a watch that lags is cut off by its client, and tells less.
//! But a history in which nobody watched most of what was acknowledged is no evidence, and unknown.

use std::collections::BTreeMap;
use std::time::Instant;

use rustc_hash::FxHashMap;

use crate::history::{Flaw, History, HistoryError, OpId, Operation, Outcome, Value};
use crate::model::Function;

use super::TransactionOptions;
use super::analysis::{Frame, TransactionAnalysis};
use super::anomaly::AnomalyKind;
use super::finding::{Finding, Findings};
use super::pace::Pace;
use super::passed::{Passed, Seen};

/// What a read saw that nobody has written yet: older than every revision.
const NOTHING: i64 = i64::MIN;

/// Checks watches among writes and reads of single keys.
///
/// # Errors
/// [`HistoryError::Malformed`] if an operation is none of these, or a value is written to a key twice.
pub fn watch(history: &History, options: &TransactionOptions) -> Result<TransactionAnalysis, HistoryError> {
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
    let mut case = Case {
        history,
        writes: writes(history, pace)?,
        watches: watches(history, pace)?,
        changes: BTreeMap::new(),
        revisions: FxHashMap::default(),
    };
    // Who does not know all writes can tell nothing from watches.
    let all = pace.stopped().is_none()
        && case.gather(&mut findings, pace)
        && case.streams(&mut findings, pace)
        && case.time(&mut findings, pace);
    let frame = Frame {
        history,
        model: "watch",
        expected: options.consistency_models.clone(),
        given_up: Vec::new(),
        exhausted: options.ran_out(history, pace),
        witness: None,
        doubt: all.then(|| case.doubt()).flatten(),
        notes: Vec::new(),
    };
    let said = |id: OpId| say(history.operation(id));
    Ok(TransactionAnalysis::new(frame, findings, said, begun.elapsed()))
}

/// An operation for people; what a watch told may be long.
fn say(operation: Operation<'_>) -> String {
    match (operation.f(), operation.output().as_list()) {
        ("watch", Some(told)) => format!("watch {}: {} changes", operation.input(), told.len()),
        (f, _) => format!("{f} {}", operation.output()),
    }
}

/// One change as somebody tells it.
type Change = (i64, Value, Value);

/// A watch that was answered.
struct Watch {
    by: OpId,
    from: i64,
    told: Vec<Change>,
}

impl Watch {
    /// The revision up to which it told everything.
    fn until(&self) -> i64 {
        self.told
            .iter()
            .map(|(rev, ..)| *rev)
            .max()
            .unwrap_or(self.from)
            .max(self.from)
    }
}

/// A change by its key and value.
type Written = (Value, Value);

struct Case<'a> {
    history: &'a History,
    /// Who wrote which value to which key.
    writes: FxHashMap<Written, OpId>,
    watches: Vec<Watch>,
    /// What is known to have been written at which revision of which key, and who says so.
    changes: BTreeMap<(i64, Value), (Value, OpId)>,
    /// At which revision a value was written to its key, and who says so.
    revisions: FxHashMap<Written, (i64, OpId)>,
}

fn function(history: &History, operation: Operation<'_>) -> Result<Option<Function>, HistoryError> {
    match (operation.f(), Function::named(operation.f())) {
        ("watch", _) => Ok(None),
        (_, Some(function @ (Function::Get | Function::Set | Function::Cas))) => Ok(Some(function)),
        (other, _) => {
            let flaw = Flaw::UnknownFunction {
                f: other.to_owned(),
                model: "watch".to_owned(),
                known: "watch, get, set, cas".to_owned(),
            };
            Err(history.malformed(operation.id(), flaw))
        }
    }
}

fn wrong(history: &History, operation: Operation<'_>, wanted: &'static str, found: &Value) -> HistoryError {
    let flaw = Flaw::WrongValue {
        f: operation.f().to_owned(),
        wanted,
        found: found.to_string(),
    };
    history.malformed(operation.id(), flaw)
}

/// Who wrote what.
fn writes(history: &History, pace: &mut Pace) -> Result<FxHashMap<Written, OpId>, HistoryError> {
    let mut writes = FxHashMap::default();
    for operation in history.operations() {
        if !pace.goes_on(1) {
            break;
        }
        let input = operation.input();
        let value = match function(history, operation)? {
            Some(Function::Set) => input,
            Some(Function::Cas) => match input.as_list() {
                Some([_, new]) => new.clone(),
                _ => {
                    let wanted = "a list of two, the expected value and the new one";
                    return Err(wrong(history, operation, wanted, &input));
                }
            },
            _ => continue,
        };
        let key = operation.key().unwrap_or_default();
        let id = operation.id();
        if let Some(first) = writes.insert((key.clone(), value.clone()), id) {
            let first = history.place(history.operation(first));
            let flaw = Flaw::Field(format!(
                "{value} is written to key {key} a second time (first in {first}): a change must say which write it tells"
            ));
            return Err(history.malformed(id, flaw));
        }
    }
    Ok(writes)
}

/// The watches that were answered.
fn watches(history: &History, pace: &mut Pace) -> Result<Vec<Watch>, HistoryError> {
    let mut watches = Vec::new();
    let answered = |operation: &Operation<'_>| operation.f() == "watch" && operation.outcome() == Outcome::Ok;
    for operation in history.operations().filter(answered) {
        let (input, output) = (operation.input(), operation.output());
        let from = || {
            let fields = input.as_map()?;
            let (_, from) = fields.iter().find(|(name, _)| name.as_str() == Some("from"))?;
            from.as_int()
        };
        let change = |told: &Value| match told.as_list() {
            Some([rev, key, value]) => Some((rev.as_int()?, key.clone(), value.clone())),
            _ => None,
        };
        let Some(from) = from() else {
            return Err(wrong(
                history,
                operation,
                "the revision to go on from, such as {\"from\": 7}",
                &input,
            ));
        };
        let told: Option<Vec<Change>> = output
            .as_list()
            .and_then(|told| told.iter().map(change).collect());
        let Some(told) = told else {
            let wanted = "changes, such as [[8, \"k1\", 3]]: revision, key and value of each";
            return Err(wrong(history, operation, wanted, &output));
        };
        if !pace.goes_on(1 + told.len()) {
            break;
        }
        watches.push(Watch {
            by: operation.id(),
            from,
            told,
        });
    }
    Ok(watches)
}

impl Case<'_> {
    /// Everything that anybody says about what was written when, and where two contradict each other. As every pass,
    /// says whether there was time for all of it.
    fn gather(&mut self, findings: &mut Findings, pace: &mut Pace) -> bool {
        let mut told: Vec<(Change, OpId)> = Vec::new();
        for (written, &by) in &self.writes {
            let operation = self.history.operation(by);
            if let (Outcome::Ok, Some(rev)) = (operation.outcome(), operation.told_rev()) {
                told.push(((rev, written.0.clone(), written.1.clone()), by));
            }
        }
        // The order of a map of hashes is nobody's business.
        told.sort();
        for watch in &self.watches {
            if !pace.goes_on(watch.told.len()) {
                return false;
            }
            told.extend(watch.told.iter().map(|change| (change.clone(), watch.by)));
        }
        for ((rev, key, value), by) in told {
            if !pace.goes_on(1) {
                return false;
            }
            let first = self
                .changes
                .entry((rev, key.clone()))
                .or_insert_with(|| (value.clone(), by));
            if first.0 != value {
                let (other, teller) = first.clone();
                findings.add(AnomalyKind::WatchDisagreement, || {
                    let sentence = format!(
                        "T{} tells that key {key} became {value} at revision {rev}, T{} that it became {other}",
                        by.0, teller.0
                    );
                    Finding::new(Some(key.clone()), sentence, vec![teller, by])
                });
                continue;
            }
            let known = self.revisions.entry((key.clone(), value.clone()));
            let (other, teller) = *known.or_insert((rev, by));
            if other != rev {
                findings.add(AnomalyKind::WatchDuplicate, || {
                    let sentence = format!(
                        "T{} tells that key {key} became {value} at revision {rev}, T{} that it did so at revision {other}; \
                         it was written once",
                        by.0, teller.0
                    );
                    Finding::new(Some(key.clone()), sentence, vec![teller, by])
                });
            }
        }
        true
    }

    /// Each watch by itself, and against all that is known to have been written.
    fn streams(&self, findings: &mut Findings, pace: &mut Pace) -> bool {
        for watch in &self.watches {
            if !pace.goes_on(1 + 2 * watch.told.len()) || !self.sequence(watch, findings, pace) {
                return false;
            }
            self.causes(watch, findings);
            let mut told: Vec<(i64, &Value)> = watch.told.iter().map(|(rev, key, _)| (*rev, key)).collect();
            told.sort_unstable();
            let range = (watch.from.saturating_add(1), Value::Nil)..;
            let until = watch.until();
            let owed = self
                .changes
                .range(range)
                .take_while(|((rev, _), _)| *rev <= until);
            for ((rev, key), (value, teller)) in owed {
                if !pace.goes_on(1) {
                    return false;
                }
                if told.binary_search(&(*rev, key)).is_err() {
                    findings.add(AnomalyKind::WatchGap, || {
                        let sentence = format!(
                            "T{} went on from revision {} and told changes up to {until}, but not that key {key} became \
                             {value} at revision {rev}, as T{} tells",
                            watch.by.0, watch.from, teller.0
                        );
                        Finding::new(Some(key.clone()), sentence, vec![*teller, watch.by])
                    });
                }
            }
        }
        true
    }

    /// The revisions of a watch grow.
    fn sequence(&self, watch: &Watch, findings: &mut Findings, pace: &mut Pace) -> bool {
        let by = watch.by;
        let mut last = watch.from;
        for (place, (rev, key, value)) in watch.told.iter().enumerate() {
            let earlier = watch.told[..place].iter().rev();
            let mut looked_at = 1;
            let again = earlier
                .take_while(|(earlier, ..)| earlier >= rev)
                .inspect(|_| looked_at += 1)
                .any(|(earlier, other, _)| earlier == rev && other == key);
            if !pace.goes_on(looked_at) {
                return false;
            }
            let what = |why: String| {
                let sentence = format!(
                    "T{} told that key {key} became {value} at revision {rev} {why}",
                    by.0
                );
                Finding::new(Some(key.clone()), sentence, vec![by])
            };
            if again {
                findings.add(AnomalyKind::WatchDuplicate, || what("twice".to_owned()));
            } else if *rev <= watch.from {
                findings.add(AnomalyKind::WatchDuplicate, || {
                    what(format!("although it went on from revision {}", watch.from))
                });
            } else if *rev < last {
                findings.add(AnomalyKind::WatchOrder, || {
                    what(format!("after one at revision {last}"))
                });
            }
            last = last.max(*rev);
        }
        true
    }

    /// Every change was asked for, and a cas found what it expected.
    fn causes(&self, watch: &Watch, findings: &mut Findings) {
        let told = self.history.operation(watch.by);
        let mut before: FxHashMap<&Value, &Value> = FxHashMap::default();
        for (rev, key, value) in &watch.told {
            let cause = self.writes.get(&(key.clone(), value.clone()));
            let write = cause.map(|by| self.history.operation(*by));
            let garbage = match write {
                None => Some("which nobody wrote".to_owned()),
                Some(write) if write.outcome() == Outcome::Fail => {
                    Some(format!("but T{}, which writes it, failed", write.id().0))
                }
                Some(write) if told.record().completed < write.record().invoked => {
                    Some(format!("before T{}, which writes it, was invoked", write.id().0))
                }
                Some(_) => None,
            };
            let involved = || cause.into_iter().copied().chain([watch.by]).collect();
            if let Some(why) = garbage {
                findings.add(AnomalyKind::GarbageRead, || {
                    let sentence = format!(
                        "T{} told that key {key} became {value} at revision {rev}, {why}",
                        watch.by.0
                    );
                    Finding::new(Some(key.clone()), sentence, involved())
                });
            }
            let expected = write.and_then(|write| Some(write.input().as_list()?.first()?.clone()));
            if let (Some(expected), Some(found)) = (expected, before.insert(key, value))
                && expected != *found
            {
                findings.add(AnomalyKind::WatchDisagreement, || {
                    let sentence = format!(
                        "T{} told that a cas of key {key} from {expected} to {value} came right after {found} at revision {rev}",
                        watch.by.0
                    );
                    Finding::new(Some(key.clone()), sentence, involved())
                });
            }
        }
    }

    /// Time and revisions agree.
    fn time(&self, findings: &mut Findings, pace: &mut Pace) -> bool {
        let mut seen = Vec::new();
        let revision = |key: &Value, value: &Value| match value {
            Value::Nil => Some(NOTHING),
            value => self
                .revisions
                .get(&(key.clone(), value.clone()))
                .map(|(rev, _)| *rev),
        };
        for operation in self.history.operations() {
            // What is gathered here is gone through, and sorted, twice.
            if !pace.goes_on(4) {
                return false;
            }
            let key = operation.key().unwrap_or_default();
            let input = operation.input();
            let (saw, written) = match (Function::named(operation.f()), operation.outcome()) {
                (Some(Function::Get), Outcome::Ok) => (Some(operation.output()), None),
                (Some(Function::Cas), Outcome::Fail) if operation.error() == Some("mismatch") => {
                    (operation.current(), None)
                }
                (Some(Function::Set), Outcome::Ok | Outcome::Info) => (None, Some(input)),
                (Some(Function::Cas), Outcome::Ok | Outcome::Info) => {
                    (None, input.as_list().and_then(<[Value]>::last).cloned())
                }
                _ => (None, None),
            };
            if let Some(saw) = &saw {
                self.read(operation, &key, saw, findings);
            }
            let writes = written.is_some();
            if let Some(at) = saw.or(written).and_then(|value| revision(&key, &value)) {
                seen.push(Seen::new(operation, key, at, writes));
            }
        }
        for watch in &self.watches {
            if !pace.goes_on(1 + watch.told.len()) {
                return false;
            }
            let mut last: BTreeMap<&Value, i64> = BTreeMap::new();
            for (rev, key, _) in &watch.told {
                let at = last.entry(key).or_insert(*rev);
                *at = (*at).max(*rev);
            }
            // That a change is told late is no fault, but what was told has happened.
            let told = last.into_iter().map(|(key, rev)| {
                Seen::new(self.history.operation(watch.by), key.clone(), rev, false).telling()
            });
            seen.extend(told);
        }
        Passed::check(&seen, |earlier, later| {
            let (kind, what) = match later.writes {
                true => (AnomalyKind::RevisionOrder, "was made"),
                false => (AnomalyKind::StaleRead, "saw what was made"),
            };
            findings.add(kind, || {
                let told = |at: i64| match at {
                    NOTHING => "before anything was written".to_owned(),
                    rev => format!("at revision {rev}"),
                };
                let sentence = format!(
                    "T{} of key {} {what} {}, but T{}, which had completed before it was invoked, has revision {}",
                    later.by.0,
                    later.key,
                    told(later.at),
                    earlier.by.0,
                    earlier.at,
                );
                Finding::new(Some(later.key.clone()), sentence, vec![earlier.by, later.by])
            });
        });
        // Revisions are of the whole store: writes of different keys are in one order too.
        let mut all: Vec<Seen> = seen.into_iter().filter(|seen| seen.writes).collect();
        all.iter_mut().for_each(|seen| seen.key = Value::Nil);
        Passed::check(&all, |earlier, later| {
            findings.add(AnomalyKind::RevisionOrder, || {
                let sentence = format!(
                    "T{} was made at revision {}, but T{}, which had completed before it was invoked, at revision {}",
                    later.by.0, later.at, earlier.by.0, earlier.at,
                );
                Finding::new(None, sentence, vec![earlier.by, later.by])
            });
        });
        true
    }

    /// What was read was written, by somebody who had begun and did not fail.
    fn read(&self, operation: Operation<'_>, key: &Value, saw: &Value, findings: &mut Findings) {
        if saw.is_nil() {
            return;
        }
        let cause = self.writes.get(&(key.clone(), saw.clone()));
        let write = cause.map(|by| self.history.operation(*by));
        let why = match write {
            None => "which nobody wrote".to_owned(),
            Some(write) if write.outcome() == Outcome::Fail => {
                format!("but T{}, which writes it, failed", write.id().0)
            }
            Some(write) if operation.record().completed < write.record().invoked => {
                format!("before T{}, which writes it, was invoked", write.id().0)
            }
            Some(_) => return,
        };
        findings.add(AnomalyKind::GarbageRead, || {
            let involved = cause.into_iter().copied().chain([operation.id()]).collect();
            let sentence = format!("T{} read {saw} of key {key}, {why}", operation.id().0);
            Finding::new(Some(key.clone()), sentence, involved)
        });
    }

    /// Why the history is no evidence that watches work; none where it is.
    fn doubt(&self) -> Option<String> {
        let told: usize = self.watches.iter().map(|watch| watch.told.len()).sum();
        if told == 0 {
            return Some("no watch told a single change".to_owned());
        }
        let mut spans: Vec<(i64, i64)> = self.watches.iter().map(|w| (w.from, w.until())).collect();
        spans.sort_unstable();
        let acknowledged: Vec<Operation<'_>> = self
            .writes
            .values()
            .map(|by| self.history.operation(*by))
            .filter(|write| write.outcome() == Outcome::Ok)
            .collect();
        let mut revisions: Vec<i64> = acknowledged.iter().filter_map(|write| write.told_rev()).collect();
        if revisions.is_empty() {
            return Some("no write said at which revision it was made".to_owned());
        }
        revisions.sort_unstable();
        // Up to where everything is covered, by the spans that begin below a revision.
        let (mut covered, mut spans, mut until) = (0, spans.into_iter().peekable(), i64::MIN);
        for rev in &revisions {
            while let Some((_, end)) = spans.next_if(|(from, _)| from < rev) {
                until = until.max(end);
            }
            covered += usize::from(*rev <= until);
        }
        (covered * 2 < acknowledged.len()).then(|| {
            format!(
                "of {} acknowledged writes only {covered} were made while somebody watched",
                acknowledged.len()
            )
        })
    }
}

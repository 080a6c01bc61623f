//! Watches, judged a second time: everything that anybody tells is listed, and held against everything else.
//!
//! A case is checked by the operations that it names, and by who wrote what, of which every written value says; a yes
//! by going through the history from its first moment to its last, keeping what whoever begins next must see.

use std::collections::{BTreeMap, BTreeSet};

use rustc_hash::FxHashMap;

use crate::history::{History, NEVER, OpId, Operation, Outcome, Value};
use crate::model::Function;
use crate::proof::Fault;
use crate::transactions::AnomalyKind;

use super::cases::Told;

/// Somebody tells that a key got a value at a revision.
struct Change {
    by: OpId,
    rev: i64,
    key: Value,
    value: Value,
}

/// A watch that was answered.
struct Watch {
    by: OpId,
    from: i64,
    told: Vec<(i64, Value, Value)>,
}

/// What an operation shows of one key.
struct Sight {
    by: OpId,
    key: Value,
    /// The revision of what it saw or wrote; below all of them if it saw nothing.
    rev: i64,
    writes: bool,
    /// Whether it may be late: then it shows only what had happened.
    late: bool,
}

/// The revision of a key that nobody has written.
const UNWRITTEN: i64 = i64::MIN;

/// All that a history of watches says.
pub(super) struct Streams<'a> {
    history: &'a History,
    writers: FxHashMap<(Value, Value), OpId>,
    watches: BTreeMap<OpId, Watch>,
    /// By watch and by acknowledged write.
    changes: Vec<Change>,
    /// At which revisions a value is told to have been written to its key.
    revisions: FxHashMap<(Value, Value), BTreeSet<i64>>,
}

/// What a single operation wrote, or asked to be written.
fn written(operation: Operation<'_>) -> Option<Value> {
    match Function::named(operation.f())? {
        Function::Set => Some(operation.input()),
        Function::Cas => Some(operation.input().as_list()?.last()?.clone()),
        _ => None,
    }
}

/// What a single operation saw.
fn saw(operation: Operation<'_>) -> Option<Value> {
    match (Function::named(operation.f())?, operation.outcome()) {
        (Function::Get, Outcome::Ok) => Some(operation.output()),
        (Function::Cas, Outcome::Fail) if operation.error() == Some("mismatch") => operation.current(),
        _ => None,
    }
}

fn expected(operation: Operation<'_>) -> Option<Value> {
    match Function::named(operation.f())? {
        Function::Cas => Some(operation.input().as_list()?.first()?.clone()),
        _ => None,
    }
}

fn watch(operation: Operation<'_>) -> Option<Watch> {
    if operation.f() != "watch" || operation.outcome() != Outcome::Ok {
        return None;
    }
    let input = operation.input();
    let named = |(name, _): &&(Value, Value)| name.as_str() == Some("from");
    let from = input.as_map()?.iter().find(named)?.1.as_int()?;
    let change = |told: &Value| match told.as_list()? {
        [rev, key, value] => Some((rev.as_int()?, key.clone(), value.clone())),
        _ => None,
    };
    Some(Watch {
        by: operation.id(),
        from,
        told: operation
            .output()
            .as_list()?
            .iter()
            .map(change)
            .collect::<Option<_>>()?,
    })
}

impl Watch {
    fn until(&self) -> i64 {
        self.told
            .iter()
            .fold(self.from, |until, (rev, ..)| until.max(*rev))
    }

    fn tells(&self, rev: i64, key: &Value) -> usize {
        let same = |told: &&(i64, Value, Value)| told.0 == rev && told.1 == *key;
        self.told.iter().filter(same).count()
    }
}

impl<'a> Streams<'a> {
    pub(super) fn of(history: &'a History) -> Streams<'a> {
        let mut streams = Streams {
            history,
            writers: FxHashMap::default(),
            watches: BTreeMap::new(),
            changes: Vec::new(),
            revisions: FxHashMap::default(),
        };
        for operation in history.operations() {
            let by = operation.id();
            let key = operation.key().unwrap_or_default();
            if let Some(value) = written(operation) {
                streams.writers.insert((key.clone(), value.clone()), by);
                if let (Outcome::Ok, Some(rev)) = (operation.outcome(), operation.told_rev()) {
                    streams.changes.push(Change { by, rev, key, value });
                }
            }
            if let Some(watch) = watch(operation) {
                let told = watch.told.iter().cloned();
                let told = told.map(|(rev, key, value)| Change { by, rev, key, value });
                streams.changes.extend(told);
                streams.watches.insert(by, watch);
            }
        }
        for change in &streams.changes {
            let written = (change.key.clone(), change.value.clone());
            streams.revisions.entry(written).or_default().insert(change.rev);
        }
        streams
    }

    fn before(&self, one: OpId, other: OpId) -> bool {
        let completed = self.history.operation(one).record().completed;
        completed != NEVER && completed < self.history.operation(other).record().invoked
    }

    /// What an operation shows, with every revision that is told of what it saw or wrote.
    fn sights(&self, by: OpId) -> Vec<Sight> {
        let operation = self.history.operation(by);
        if let Some(watch) = self.watches.get(&by) {
            let told = watch.told.iter().map(|(rev, key, _)| Sight {
                by,
                key: key.clone(),
                rev: *rev,
                writes: false,
                late: true,
            });
            return told.collect();
        }
        let key = operation.key().unwrap_or_default();
        let wrote = written(operation).filter(|_| operation.outcome() != Outcome::Fail);
        let writes = wrote.is_some();
        let revisions: Vec<i64> = match wrote.or_else(|| saw(operation)) {
            None => Vec::new(),
            Some(Value::Nil) => vec![UNWRITTEN],
            Some(value) => {
                let told = self.revisions.get(&(key.clone(), value));
                told.into_iter().flatten().copied().collect()
            }
        };
        let sight = |rev| Sight {
            by,
            key: key.clone(),
            rev,
            writes,
            late: false,
        };
        revisions.into_iter().map(sight).collect()
    }

    /// Why a value cannot have been there when an operation came back: nobody wrote it, or not by then.
    fn is_garbage(&self, key: &Value, value: &Value, by: OpId) -> bool {
        match self.writers.get(&(key.clone(), value.clone())) {
            None => true,
            Some(&writer) => {
                self.history.operation(writer).outcome() == Outcome::Fail || self.before(by, writer)
            }
        }
    }

    /// The changes of a watch that say of a cas something else than what it expected.
    fn is_mistaken(&self, watch: &Watch, key: &Value) -> bool {
        let mut of_key = watch.told.iter().filter(|(_, told, _)| told == key);
        let Some((_, _, mut last)) = of_key.next().cloned() else {
            return false;
        };
        of_key.any(|(_, _, value)| {
            let found = std::mem::replace(&mut last, value.clone());
            let writer = self.writers.get(&(key.clone(), value.clone()));
            let expected = writer.and_then(|by| expected(self.history.operation(*by)));
            expected.is_some_and(|expected| expected != found)
        })
    }

    /// Whether one operation should have shown as much as another which had completed before it began.
    fn is_behind(&self, earlier: &Sight, later: &Sight, across: bool) -> bool {
        let same = match across {
            true => earlier.writes && later.writes,
            false => earlier.key == later.key,
        };
        let less = later.rev < earlier.rev || later.writes && later.rev == earlier.rev;
        same && less && !later.late && self.before(earlier.by, later.by)
    }

    /// Checks a case by the operations that it names.
    pub(super) fn check(&self, told: &Told<'_>) -> Result<(), Fault> {
        let named = &told.named;
        let watches = || named.iter().filter_map(|by| self.watches.get(by));
        let changes = || self.changes.iter().filter(|change| named.contains(&change.by));
        let pair = |holds: &dyn Fn(&Change, &Change) -> bool| {
            changes().any(|one| changes().any(|other| holds(one, other)))
        };
        let about = |key: &Value| told.key.as_ref() == Some(key);
        let behind = |writes: bool, across: bool| {
            let sights: Vec<Sight> = named.iter().flat_map(|&by| self.sights(by)).collect();
            let later = sights
                .iter()
                .filter(|later| later.writes == writes && (across || about(&later.key)));
            later
                .into_iter()
                .any(|later| sights.iter().any(|one| self.is_behind(one, later, across)))
        };
        let holds = match told.kind {
            AnomalyKind::WatchDisagreement => {
                pair(&|one, other| {
                    about(&one.key)
                        && (one.rev, &one.key) == (other.rev, &other.key)
                        && one.value != other.value
                }) || watches().any(|watch| told.key.as_ref().is_some_and(|key| self.is_mistaken(watch, key)))
            }
            AnomalyKind::WatchDuplicate => {
                let again = |watch: &Watch| {
                    let of_key = watch.told.iter().filter(|(_, key, _)| about(key));
                    let mut of_key = of_key;
                    of_key.any(|(rev, key, _)| *rev <= watch.from || watch.tells(*rev, key) > 1)
                };
                watches().any(again)
                    || pair(&|one, other| {
                        about(&one.key)
                            && (&one.key, &one.value) == (&other.key, &other.value)
                            && one.rev != other.rev
                    })
            }
            AnomalyKind::WatchGap => watches().any(|watch| {
                changes().any(|change| {
                    about(&change.key)
                        && change.rev > watch.from
                        && change.rev <= watch.until()
                        && watch.tells(change.rev, &change.key) == 0
                })
            }),
            AnomalyKind::WatchOrder => watches().any(|watch| {
                let mut last = watch.from;
                watch.told.iter().any(|(rev, key, _)| {
                    let back = *rev < last && about(key);
                    last = last.max(*rev);
                    back
                })
            }),
            AnomalyKind::GarbageRead => {
                let told_so = changes()
                    .filter(|change| self.watches.contains_key(&change.by))
                    .any(|change| {
                        about(&change.key) && self.is_garbage(&change.key, &change.value, change.by)
                    });
                told_so
                    || named.iter().any(|&by| {
                        let operation = self.history.operation(by);
                        let key = operation.key().unwrap_or_default();
                        let value = saw(operation).filter(|value| !value.is_nil());
                        about(&key) && value.is_some_and(|value| self.is_garbage(&key, &value, by))
                    })
            }
            AnomalyKind::StaleRead => behind(false, false),
            AnomalyKind::RevisionOrder => behind(true, told.key.is_none()),
            _ => false,
        };
        match holds {
            true => Ok(()),
            false => {
                let problem = format!("what these operations tell is no {}", told.kind);
                Err(Fault::new(told.place.clone(), problem))
            }
        }
    }

    /// Judges all of it; the first operation that is wrong, and how, or how many changes were told.
    pub(super) fn judge(&self) -> Result<usize, (OpId, String)> {
        let mut known: BTreeMap<(i64, &Value), &Value> = BTreeMap::new();
        for Change { by, rev, key, value } in &self.changes {
            if *known.entry((*rev, key)).or_insert(value) != value {
                return Err((*by, format!("key {key} has two values at revision {rev}")));
            }
            if self.revisions[&(key.clone(), value.clone())].len() > 1 {
                return Err((*by, format!("{value} of key {key} is told at two revisions")));
            }
        }
        for watch in self.watches.values() {
            self.judge_watch(watch, &known)
                .map_err(|problem| (watch.by, problem))?;
        }
        self.judge_time()?;
        Ok(self.watches.values().map(|watch| watch.told.len()).sum())
    }

    fn judge_watch(&self, watch: &Watch, known: &BTreeMap<(i64, &Value), &Value>) -> Result<(), String> {
        let told: BTreeSet<(i64, &Value)> = watch.told.iter().map(|(rev, key, _)| (*rev, key)).collect();
        if told.len() < watch.told.len() || told.first().is_some_and(|(rev, _)| *rev <= watch.from) {
            return Err("it tells a change a second time".to_owned());
        }
        if !watch.told.is_sorted_by_key(|(rev, ..)| *rev) {
            return Err("what it tells is out of order".to_owned());
        }
        let owed = known.range((watch.from.saturating_add(1), &Value::Nil)..);
        let missing = owed
            .map(|(place, _)| place)
            .take_while(|(rev, _)| *rev <= watch.until())
            .find(|place| !told.contains(*place));
        if let Some((rev, key)) = missing {
            return Err(format!("it leaves out revision {rev} of key {key}"));
        }
        for (_, key, value) in &watch.told {
            if self.is_garbage(key, value, watch.by) {
                return Err(format!("nobody had written {value} to key {key}"));
            }
        }
        let keys: BTreeSet<&Value> = watch.told.iter().map(|(_, key, _)| key).collect();
        match keys.into_iter().find(|key| self.is_mistaken(watch, key)) {
            Some(key) => Err(format!("a cas of key {key} follows what it did not expect")),
            None => Ok(()),
        }
    }

    /// From moment to moment: what has completed must be seen, and written over, by whoever begins after it.
    fn judge_time(&self) -> Result<(), (OpId, String)> {
        let mut moments: Vec<(u32, bool, OpId)> = Vec::new();
        for operation in self.history.operations() {
            let record = operation.record();
            moments.push((record.invoked, false, operation.id()));
            if record.completed != NEVER {
                moments.push((record.completed, true, operation.id()));
            }
            let value = saw(operation).filter(|value| !value.is_nil());
            let key = operation.key().unwrap_or_default();
            if let Some(value) = value.filter(|value| self.is_garbage(&key, value, operation.id())) {
                return Err((operation.id(), format!("nobody had written {value} to key {key}")));
            }
        }
        moments.sort_unstable();
        let mut seen: FxHashMap<Value, i64> = FxHashMap::default();
        let mut newest = UNWRITTEN;
        for (_, completes, by) in moments {
            for sight in self.sights(by) {
                if completes {
                    let most = seen.entry(sight.key).or_insert(sight.rev);
                    *most = sight.rev.max(*most);
                    newest = newest.max(if sight.writes { sight.rev } else { UNWRITTEN });
                    continue;
                }
                let least = seen.get(&sight.key).copied();
                let behind = |least: i64| sight.rev < least || sight.writes && sight.rev == least;
                if !sight.late && least.is_some_and(behind) {
                    return Err((
                        by,
                        format!("it is behind what had completed of key {}", sight.key),
                    ));
                }
                if sight.writes && newest != UNWRITTEN && sight.rev <= newest {
                    return Err((
                        by,
                        "its revision is no higher than one that had completed".to_owned(),
                    ));
                }
            }
        }
        Ok(())
    }
}

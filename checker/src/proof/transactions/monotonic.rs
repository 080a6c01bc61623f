//! Numbers that only grow, judged a second time.
//!
//! A case is checked by the operations that it names; a yes by going through the history from its first moment to its
//! last, and by comparing every state that a read shows with the others.

use std::collections::BTreeMap;

use rustc_hash::FxHashMap;

use crate::history::{History, NEVER, OpId, Outcome, ProcessId, Value};
use crate::proof::Fault;
use crate::transactions::AnomalyKind;

use super::cases::Told;

/// What an operation showed: a number of each key.
struct Shown {
    by: OpId,
    process: ProcessId,
    invoked: u32,
    completed: u32,
    /// Whether it made the number, and at which revision, where that was told.
    made: Option<Option<i64>>,
    numbers: BTreeMap<Value, i64>,
}

/// All that a history of increments and reads says.
pub(super) struct Numbers {
    shown: Vec<Shown>,
    /// By key, when increments were invoked that may have happened; sorted.
    asked: FxHashMap<Value, Vec<u32>>,
}

impl Numbers {
    pub(super) fn of(history: &History) -> Numbers {
        let mut numbers = Numbers {
            shown: Vec::new(),
            asked: FxHashMap::default(),
        };
        for operation in history.operations() {
            let (key, output) = (operation.key(), operation.output());
            let increments = operation.f() == "inc";
            if increments && operation.outcome() != Outcome::Fail {
                let asked = numbers.asked.entry(key.clone().unwrap_or_default());
                asked.or_default().push(operation.record().invoked);
            }
            if operation.outcome() != Outcome::Ok {
                continue;
            }
            let number = |value: &Value| value.as_int().unwrap_or(0);
            let shown = match (output.as_map(), increments || key.is_some()) {
                (Some(entries), false) => entries
                    .iter()
                    .map(|(key, at)| (key.clone(), number(at)))
                    .collect(),
                _ => BTreeMap::from([(key.unwrap_or_default(), number(&output))]),
            };
            numbers.shown.push(Shown {
                by: operation.id(),
                process: operation.process(),
                invoked: operation.record().invoked,
                completed: operation.record().completed,
                made: increments.then(|| operation.told_rev()),
                numbers: shown,
            });
        }
        for asked in numbers.asked.values_mut() {
            asked.sort_unstable();
        }
        numbers
    }

    /// Whether no more increments than these can have been made when it came back.
    fn is_garbage(&self, key: &Value, number: i64, shown: &Shown) -> bool {
        let asked = self.asked.get(key).map_or(&[][..], Vec::as_slice);
        let by_then = asked.partition_point(|&invoked| invoked < shown.completed);
        usize::try_from(number).map_or(true, |number| number > by_then)
    }

    /// Checks a case by the operations that it names.
    pub(super) fn check(&self, told: &Told<'_>) -> Result<(), Fault> {
        let named: Vec<&Shown> = self
            .shown
            .iter()
            .filter(|shown| told.named.contains(&shown.by))
            .collect();
        let pair = |holds: &dyn Fn(&Shown, &Shown) -> bool| {
            named
                .iter()
                .any(|one| named.iter().any(|other| one.by != other.by && holds(one, other)))
        };
        let key = told
            .key
            .as_ref()
            .ok_or_else(|| Fault::new(told.place.clone(), "names no key"))?;
        let at = |shown: &Shown| shown.numbers.get(key).copied();
        let before = |one: &Shown, other: &Shown| one.completed != NEVER && one.completed < other.invoked;
        let holds = match told.kind {
            AnomalyKind::GarbageRead => named
                .iter()
                .any(|shown| at(shown).is_some_and(|number| self.is_garbage(key, number, shown))),
            AnomalyKind::LostUpdate => pair(&|one, other| {
                let (Some(earlier), Some(later)) = (at(one), at(other)) else {
                    return false;
                };
                let both = one.made.is_some() && other.made.is_some() && earlier == later;
                both || other.made.is_some() && before(one, other) && later <= earlier
            }),
            AnomalyKind::StaleRead | AnomalyKind::NonMonotonic => pair(&|one, other| {
                let own = told.kind == AnomalyKind::StaleRead || one.process == other.process;
                own && other.made.is_none()
                    && before(one, other)
                    && at(other) < at(one)
                    && at(other).is_some()
            }),
            AnomalyKind::LongFork => pair(&|one, other| {
                let ahead = |one: &Shown, other: &Shown| {
                    one.numbers
                        .values()
                        .zip(other.numbers.values())
                        .any(|(a, b)| a > b)
                };
                one.made.is_none()
                    && other.made.is_none()
                    && one.numbers.keys().eq(other.numbers.keys())
                    && at(one) > at(other)
                    && ahead(other, one)
            }),
            AnomalyKind::RevisionOrder => {
                pair(&|one, other| match (one.made.flatten(), other.made.flatten()) {
                    (Some(early), Some(late)) => at(one).is_some() && at(one) < at(other) && early >= late,
                    _ => false,
                }) || named.iter().any(|read| behind(read, &named, key))
            }
            _ => false,
        };
        match holds {
            true => Ok(()),
            false => {
                let problem = format!("what these operations showed is no {}", told.kind);
                Err(Fault::new(told.place.clone(), problem))
            }
        }
    }

    /// Judges all of it; the first operation that is wrong, and how, or how many there are.
    pub(super) fn judge(&self) -> Result<usize, (OpId, String)> {
        for shown in &self.shown {
            let garbage = shown
                .numbers
                .iter()
                .find(|(key, number)| self.is_garbage(key, **number, shown));
            if let Some((key, number)) = garbage {
                let problem = format!("key {key} cannot have been at {number} by then");
                return Err((shown.by, problem));
            }
        }
        self.judge_time()?;
        self.judge_states()?;
        self.judge_revisions()?;
        Ok(self.shown.len())
    }

    /// From moment to moment: nobody who begins sees less than what had completed by then, and nobody makes it again.
    fn judge_time(&self) -> Result<(), (OpId, String)> {
        let mut moments: Vec<(u32, bool, &Shown)> = Vec::new();
        for shown in &self.shown {
            moments.push((shown.invoked, false, shown));
            moments.push((shown.completed, true, shown));
        }
        moments.sort_unstable_by_key(|&(at, completes, _)| (at, completes));
        let mut seen: FxHashMap<&Value, i64> = FxHashMap::default();
        let mut made: FxHashMap<(&Value, i64), OpId> = FxHashMap::default();
        for (_, completes, shown) in moments {
            for (key, &number) in &shown.numbers {
                if completes {
                    let most = seen.entry(key).or_insert(number);
                    *most = number.max(*most);
                    continue;
                }
                let least = seen.get(key).copied().unwrap_or(i64::MIN);
                if number < least || shown.made.is_some() && number == least {
                    return Err((
                        shown.by,
                        format!("key {key} had been at {least} before, but it has {number}"),
                    ));
                }
                if shown.made.is_some()
                    && let Some(other) = made.insert((key, number), shown.by)
                {
                    return Err((
                        shown.by,
                        format!("T{} has made key {key} {number} as well", other.0),
                    ));
                }
            }
        }
        Ok(())
    }

    /// Of two reads of the same keys one shows as much as the other of each.
    fn judge_states(&self) -> Result<(), (OpId, String)> {
        let mut groups: BTreeMap<Vec<&Value>, Vec<&Shown>> = BTreeMap::new();
        for shown in self.shown.iter().filter(|shown| shown.made.is_none()) {
            groups
                .entry(shown.numbers.keys().collect())
                .or_default()
                .push(shown);
        }
        for reads in groups.values_mut() {
            // Where one is behind another in every key, it comes before it here.
            reads.sort_by(|one, other| one.numbers.values().cmp(other.numbers.values()));
            for pair in reads.windows(2) {
                let later = pair[0].numbers.values().zip(pair[1].numbers.values());
                if later.into_iter().any(|(one, other)| one > other) {
                    let problem = format!(
                        "T{} and T{} each saw what the other missed",
                        pair[0].by.0, pair[1].by.0
                    );
                    return Err((pair[1].by, problem));
                }
            }
        }
        Ok(())
    }

    /// Revisions grow with the numbers of a key, and a read shows all that was made up to the last that it shows.
    fn judge_revisions(&self) -> Result<(), (OpId, String)> {
        let mut by_key: BTreeMap<&Value, BTreeMap<i64, (i64, OpId)>> = BTreeMap::new();
        for shown in &self.shown {
            if let (Some(Some(rev)), Some((key, &number))) = (shown.made, shown.numbers.iter().next()) {
                by_key.entry(key).or_default().insert(number, (rev, shown.by));
            }
        }
        for (key, made) in &by_key {
            let mut last = None;
            for &(rev, by) in made.values() {
                if last.is_some_and(|last| last >= rev) {
                    return Err((by, format!("revisions of key {key} do not grow with it")));
                }
                last = Some(rev);
            }
        }
        for read in self
            .shown
            .iter()
            .filter(|shown| shown.made.is_none() && shown.numbers.len() > 1)
        {
            let at = |(key, number): (&Value, &i64)| Some(by_key.get(key)?.get(number)?.0);
            let Some(newest) = read.numbers.iter().filter_map(at).max() else {
                continue;
            };
            for (key, number) in &read.numbers {
                let later = by_key.get(key).and_then(|made| made.range(number + 1..).next());
                if let Some((owed, (rev, _))) = later
                    && *rev <= newest
                {
                    return Err((
                        read.by,
                        format!(
                            "it shows revision {newest}, but not that key {key} was {owed} at revision {rev}"
                        ),
                    ));
                }
            }
        }
        Ok(())
    }
}

/// Whether a read shows what one of the named ones made, but not what another had made of a key before that.
fn behind(read: &Shown, named: &[&Shown], key: &Value) -> bool {
    let made = |shown: &Shown| Some((shown.made.flatten()?, shown.numbers.iter().next()?.0.clone()));
    let shows = |shown: &Shown| {
        let (rev, of) = made(shown)?;
        (read.numbers.get(&of) == shown.numbers.get(&of)).then_some(rev)
    };
    let newest = named.iter().filter_map(|shown| shows(shown)).max();
    let owed = |shown: &&Shown| {
        let (rev, of) = made(shown)?;
        (of == *key && shown.numbers.get(key) > read.numbers.get(key)).then_some(rev)
    };
    read.made.is_none()
        && read.numbers.contains_key(key)
        && named.iter().filter_map(owed).any(|rev| Some(rev) <= newest)
}

//! What became of every element of a set: there for good, lost, late, doubled, or never looked for.
//!
//! Linearizability says yes or no; this says how bad. The names and the rules are those of Jepsen's
//! `checker/set-full`. An element is *known* from the completion of its add, or of the first read that saw it,
//! whichever is earlier. Of all reads that completed after it was asked for, by their invocations:
//! - **stable** (`ok`): the last read that saw it was invoked after the last that did not;
//! - **lost**: the last that did not see it was invoked after it was known, and after the last that saw it;
//! - **never-read**: neither; nobody looked after it was known.
//!
//! A stable element is **stale** if a read missed it that was invoked after it was known; how long it took is the
//! time from then to the invocation of the last read that missed it. Beside Jepsen's there are **recovered**
//! elements, whose add had an unknown outcome and which were seen all the same, with the time from the invocation
//! of the add until the first read that saw them had completed; and **unexpected** ones, which nobody had asked to
//! add by then, or whose add had failed.

use rustc_hash::FxHashMap;
use serde::Serialize;

use crate::history::{Flaw, History, HistoryError, Nanos, OpId, Operation, Outcome, Value, Word};
use crate::quantiles::Quantiles;
use crate::verdict::Validity;

/// What a stale element means for the verdict.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Stale {
    /// It is only told: sets that catch up are legal.
    #[default]
    Told,
    /// It makes the history illegal, as for a set that is to be linearizable.
    Illegal,
}

/// What became of all elements.
#[derive(Clone, Debug, Serialize)]
pub struct SetFull {
    /// False if an element was lost, doubled or unexpected (or stale, if that is asked for); unknown if none was
    /// stable.
    pub valid: Validity,
    /// How many elements were to be added.
    pub attempt_count: usize,
    /// How many adds were acknowledged.
    pub acknowledged_count: usize,
    /// How many elements are there for good.
    pub stable_count: usize,
    /// How many are lost.
    pub lost_count: usize,
    /// The lost ones, with the time from when they were known until the last read that saw them was invoked.
    pub lost: Vec<Element>,
    /// How many were never looked for after they were known.
    pub never_read_count: usize,
    /// Some of those.
    pub never_read: Vec<Element>,
    /// How many stable elements were missed by a read after they were known.
    pub stale_count: usize,
    /// The worst of them, with the time until they were there.
    pub worst_stale: Vec<Element>,
    /// How many were seen more than once in one read.
    pub duplicated_count: usize,
    /// Those, with how often.
    pub duplicated: Vec<Duplicate>,
    /// How many of unknown outcome were seen.
    pub recovered_count: usize,
    /// Those that took longest, with the time until they had been seen.
    pub recovered: Vec<Element>,
    /// How many were seen that nobody had asked for by then, or whose add had failed.
    pub unexpected_count: usize,
    /// Some of those.
    pub unexpected: Vec<Element>,
    /// How long stable elements took to be there, in milliseconds from when they were known.
    pub stable_latencies: Option<Quantiles<f64>>,
    /// How long lost elements stayed, in milliseconds from when they were known.
    pub lost_latencies: Option<Quantiles<f64>>,
    /// How long recovered elements took, in milliseconds from the invocation of their add.
    pub recovered_latencies: Option<Quantiles<f64>>,
}

/// An element with how long something took.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Element {
    /// The key of the set, where there are several.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<Value>,
    /// The element.
    pub element: Value,
    /// The operation that was to add it, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub add: Option<OpId>,
    /// The time it took, in milliseconds.
    pub latency_ms: f64,
}

/// An element that one read returned more than once.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Duplicate {
    /// The key of the set, where there are several.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<Value>,
    /// The element.
    pub element: Value,
    /// How often at most.
    pub times: usize,
    /// The read in which.
    pub read: OpId,
}

/// Elements that are listed one by one; the counts are always of all.
const LISTED: usize = 32;

/// Follows every element of the sets of a history.
///
/// # Errors
/// [`HistoryError::Malformed`] if there is an operation other than `add` and `read`, or a read returned no list.
pub fn set_full(history: &History, stale: Stale) -> Result<SetFull, HistoryError> {
    let mut sets: FxHashMap<Word, Set> = FxHashMap::default();
    for operation in history.operations() {
        let set = sets.entry(operation.key_word()).or_default();
        match operation.f() {
            "add" => set.add(operation),
            "read" => set.read(operation)?,
            other => {
                let flaw = Flaw::UnknownFunction {
                    f: other.to_owned(),
                    model: "set-full".to_owned(),
                    known: "add, read".to_owned(),
                };
                return Err(malformed(operation, flaw));
            }
        }
    }
    let mut sets: Vec<(Word, Set)> = sets.into_iter().collect();
    sets.sort_unstable_by_key(|(key, _)| *key);
    let mut told = Told::default();
    for (key, set) in sets {
        let key = key.present().map(|key| history.pool.value(key));
        set.judge(history, key, &mut told);
    }
    Ok(told.conclude(stale))
}

fn malformed(operation: Operation<'_>, flaw: Flaw) -> HistoryError {
    HistoryError::Malformed {
        place: operation.history.place(operation),
        flaw,
    }
}

/// The adds and reads of one set.
#[derive(Debug, Default)]
struct Set {
    numbers: FxHashMap<Value, usize>,
    elements: Vec<Followed>,
    /// Reads that came back, by their invocations.
    reads: Vec<OpId>,
    /// The latest completion of the reads up to each place.
    reach: Vec<u32>,
}

/// What is known of one element.
#[derive(Debug)]
struct Followed {
    value: Value,
    adds: Vec<OpId>,
    /// Places among the reads that saw it, growing.
    seen: Vec<u32>,
    most: usize,
    most_in: OpId,
}

impl Set {
    fn element(&mut self, value: &Value) -> &mut Followed {
        let number = match self.numbers.get(value) {
            Some(&number) => number,
            None => {
                self.numbers.insert(value.clone(), self.elements.len());
                self.elements.push(Followed {
                    value: value.clone(),
                    adds: Vec::new(),
                    seen: Vec::new(),
                    most: 0,
                    most_in: OpId(0),
                });
                self.elements.len() - 1
            }
        };
        &mut self.elements[number]
    }

    fn add(&mut self, operation: Operation<'_>) {
        self.element(&operation.input()).adds.push(operation.id());
    }

    fn read(&mut self, operation: Operation<'_>) -> Result<(), HistoryError> {
        if operation.outcome() != Outcome::Ok {
            return Ok(());
        }
        let output = operation.output();
        let elements = match &output {
            Value::Nil => &[][..],
            Value::List(elements) => elements,
            other => {
                let flaw = Flaw::WrongValue {
                    f: "read".to_owned(),
                    wanted: "nothing and returns a list",
                    found: other.to_string(),
                };
                return Err(malformed(operation, flaw));
            }
        };
        let place = self.reads.len() as u32;
        self.reads.push(operation.id());
        let before = self.reach.last().copied().unwrap_or(0);
        self.reach.push(operation.record().completed.max(before));
        let mut times: FxHashMap<&Value, usize> = FxHashMap::default();
        for element in elements {
            *times.entry(element).or_default() += 1;
        }
        for (element, times) in times {
            let followed = self.element(element);
            followed.seen.push(place);
            if times > followed.most {
                (followed.most, followed.most_in) = (times, operation.id());
            }
        }
        Ok(())
    }

    fn judge(&self, history: &History, key: Option<Value>, told: &mut Told) {
        for followed in &self.elements {
            let subject = Subject {
                history,
                set: self,
                followed,
            };
            subject.judge(key.clone(), told);
        }
    }
}

/// One element among the reads of its set.
struct Subject<'a> {
    history: &'a History,
    set: &'a Set,
    followed: &'a Followed,
}

impl<'a> Subject<'a> {
    fn operation(&self, op: OpId) -> Operation<'a> {
        self.history.operation(op)
    }

    /// Reads that saw it.
    fn seen(&self) -> impl DoubleEndedIterator<Item = Operation<'a>> + '_ {
        let seen = self.followed.seen.iter();
        seen.map(|&place| self.operation(self.set.reads[place as usize]))
    }

    fn judge(&self, key: Option<Value>, told: &mut Told) {
        let followed = self.followed;
        let named = |add: Option<OpId>, latency_ms: f64| Element {
            key: key.clone(),
            element: followed.value.clone(),
            add,
            latency_ms,
        };
        if followed.most > 1 {
            told.duplicated.push(Duplicate {
                key: key.clone(),
                element: followed.value.clone(),
                times: followed.most,
                read: followed.most_in,
            });
        }
        let adds = || followed.adds.iter().map(|&op| self.operation(op));
        let asked = adds()
            .filter(|add| add.outcome() != Outcome::Fail)
            .min_by_key(|add| add.record().invoked);
        let first_seen = self.seen().min_by_key(|read| read.record().completed);
        told.attempts += usize::from(!followed.adds.is_empty());
        let Some(asked) = asked else {
            if first_seen.is_some() {
                told.unexpected.push(named(followed.adds.first().copied(), 0.0));
            }
            return;
        };
        if first_seen.is_some_and(|read| read.record().completed < asked.record().invoked) {
            told.unexpected.push(named(Some(asked.id()), 0.0));
        }
        let acknowledged = adds()
            .filter(|add| add.outcome() == Outcome::Ok)
            .min_by_key(|add| add.record().completed);
        told.acknowledged += usize::from(acknowledged.is_some());
        if let (None, Some(seen)) = (acknowledged, first_seen) {
            let took = milliseconds(asked.invoked_at(), completed(seen));
            told.recovered.push(named(Some(asked.id()), took));
        }
        let known = [acknowledged, first_seen].into_iter().flatten();
        let known = known.min_by_key(|event| event.record().completed);
        let present = self.seen().next_back();
        let absent = self.last_absent(asked);
        let invoked = |read: Option<Operation<'_>>| read.map(|read| read.record().invoked);
        let is_known_by = |absent: Operation<'_>| {
            known.is_some_and(|known| known.record().completed < absent.record().invoked)
        };
        match (present, absent) {
            (Some(_), absent) if invoked(absent) < invoked(present) => {
                let missed = absent.filter(|&absent| is_known_by(absent)).zip(known);
                let took = missed.map_or(0.0, |(absent, known)| {
                    milliseconds(completed(known), absent.invoked_at())
                });
                told.stable.push(took);
                if missed.is_some() {
                    told.stale.push(named(Some(asked.id()), took));
                }
            }
            (present, Some(absent)) if is_known_by(absent) => {
                let known = completed(known.expect("known by then"));
                let took = present.map_or(0.0, |present| milliseconds(known, present.invoked_at()));
                told.lost.push(named(Some(asked.id()), took));
            }
            _ => told.never_read.push(named(Some(asked.id()), 0.0)),
        }
    }

    /// The read invoked last of those that completed after the element was asked for and did not see it.
    fn last_absent(&self, asked: Operation<'_>) -> Option<Operation<'a>> {
        let mut seen = self.followed.seen.iter().rev().peekable();
        for place in (0..self.set.reads.len() as u32).rev() {
            // Everything up to here had completed by then.
            if self.set.reach[place as usize] < asked.record().invoked {
                return None;
            }
            if seen.next_if(|&&next| next == place).is_some() {
                continue;
            }
            let read = self.operation(self.set.reads[place as usize]);
            if read.record().completed > asked.record().invoked {
                return Some(read);
            }
        }
        None
    }
}

fn completed(operation: Operation<'_>) -> Nanos {
    operation
        .completed_at()
        .expect("what counts as an answer came back")
}

/// From one moment to another, in milliseconds; moments of imported histories may go backwards.
fn milliseconds(from: Nanos, to: Nanos) -> f64 {
    to.0.saturating_sub(from.0) as f64 / 1e6
}

/// What was found so far.
#[derive(Debug, Default)]
struct Told {
    attempts: usize,
    acknowledged: usize,
    stable: Vec<f64>,
    lost: Vec<Element>,
    never_read: Vec<Element>,
    stale: Vec<Element>,
    duplicated: Vec<Duplicate>,
    recovered: Vec<Element>,
    unexpected: Vec<Element>,
}

impl Told {
    fn conclude(mut self, stale: Stale) -> SetFull {
        let bad = !self.lost.is_empty()
            || !self.duplicated.is_empty()
            || !self.unexpected.is_empty()
            || (stale == Stale::Illegal && !self.stale.is_empty());
        let valid = match (bad, self.stable.is_empty()) {
            (true, _) => Validity::False,
            (false, true) => Validity::Unknown,
            (false, false) => Validity::True,
        };
        let latencies =
            |elements: &[Element]| Quantiles::of(elements.iter().map(|element| element.latency_ms).collect());
        for listed in [&mut self.stale, &mut self.recovered] {
            listed.sort_by(|one, other| other.latency_ms.total_cmp(&one.latency_ms));
        }
        let some = |elements: &[Element]| elements.iter().take(LISTED).cloned().collect();
        SetFull {
            valid,
            attempt_count: self.attempts,
            acknowledged_count: self.acknowledged,
            stable_count: self.stable.len(),
            lost_count: self.lost.len(),
            never_read_count: self.never_read.len(),
            never_read: some(&self.never_read),
            stale_count: self.stale.len(),
            worst_stale: some(&self.stale),
            duplicated_count: self.duplicated.len(),
            duplicated: self.duplicated.iter().take(LISTED).cloned().collect(),
            recovered_count: self.recovered.len(),
            recovered: some(&self.recovered),
            unexpected_count: self.unexpected.len(),
            unexpected: some(&self.unexpected),
            stable_latencies: Quantiles::of(self.stable),
            lost_latencies: latencies(&self.lost),
            recovered_latencies: latencies(&self.recovered),
            lost: some(&self.lost),
        }
    }
}

//! What is in a history, counted.

use std::collections::BTreeMap;

use rustc_hash::FxHashSet;
use serde::Serialize;

use crate::history::{EventKind, Form, History, Nanos, Operation, Outcome};

/// Counts and times of a history.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Stats {
    /// The form it was read from.
    pub form: Form,
    /// The model that its header names.
    pub model: Option<String>,
    /// How many client operations were invoked.
    pub operations: usize,
    /// How many of them have an unknown outcome; those that never came back are among them.
    pub unknown: usize,
    /// How many never came back at all.
    pub unanswered: usize,
    /// How many keys there are; none in histories without keys.
    pub keys: usize,
    /// How many process ids; one that got no answer retires, so there are more than ran at once.
    pub processes: usize,
    /// Operations by function.
    pub functions: BTreeMap<String, FunctionStats>,
    /// Operations that were open at once.
    pub concurrency: Concurrency,
    /// From the first event to the last, in seconds.
    pub seconds: f64,
    /// Operations invoked per second; nothing where there was no time.
    pub rate: Option<f64>,
    /// Whether the times are measured; in imported forms they are for display only.
    pub times_are_exact: bool,
    /// What the nemesis did, by name: how many events.
    pub faults: BTreeMap<String, u64>,
}

/// The operations of one function.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct FunctionStats {
    /// That happened.
    pub ok: u64,
    /// That compared and found another value.
    pub mismatch: u64,
    /// That certainly did nothing.
    pub fail: u64,
    /// Of unknown outcome.
    pub info: u64,
    /// How long those took that were answered, in nanoseconds.
    pub latency: Option<Latency>,
}

/// Latencies in nanoseconds, each one that was measured: nothing is estimated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Latency {
    /// The shortest.
    pub min: u64,
    /// Half took no longer.
    pub p50: u64,
    /// Nine of ten took no longer.
    pub p90: u64,
    /// 99 of 100 took no longer.
    pub p99: u64,
    /// 999 of 1000 took no longer.
    pub p999: u64,
    /// The longest.
    pub max: u64,
}

/// How many operations were open at once; unknown ones count until something came back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Concurrency {
    /// The most.
    pub max: u64,
    /// On average over time; nothing where there was no time.
    pub mean: Option<f64>,
}

impl Stats {
    /// Counts a history.
    pub fn of(history: &History) -> Stats {
        let mut functions: BTreeMap<String, (FunctionStats, Vec<u64>)> = BTreeMap::new();
        let (mut keys, mut processes) = (FxHashSet::default(), FxHashSet::default());
        let (mut unknown, mut unanswered) = (0, 0);
        for operation in history.operations() {
            keys.extend(operation.key_word().present());
            processes.insert(operation.process());
            unknown += usize::from(operation.outcome() == Outcome::Info);
            unanswered += usize::from(operation.completed_index().is_none());
            if !functions.contains_key(operation.f()) {
                functions.insert(operation.f().to_owned(), Default::default());
            }
            let (counts, latencies) = functions.get_mut(operation.f()).expect("just put there");
            counts.count(operation);
            latencies.extend(latency(operation));
        }
        let span = Span::of(history);
        let seconds = span.map_or(0.0, |span| Nanos(span.to.0 - span.from.0).as_seconds());
        let mut faults = BTreeMap::new();
        for event in history.nemesis_events() {
            *faults.entry(event.f.to_string()).or_default() += 1;
        }
        Stats {
            form: history.form(),
            model: history.header().model.clone(),
            operations: history.len(),
            unknown,
            unanswered,
            keys: keys.len(),
            processes: processes.len(),
            functions: functions
                .into_iter()
                .map(|(f, (counts, latencies))| (f, counts.with(latencies)))
                .collect(),
            concurrency: concurrency(history, span),
            seconds,
            rate: (seconds > 0.0).then(|| history.len() as f64 / seconds),
            times_are_exact: history.form() == Form::Ordeal,
            faults,
        }
    }
}

impl FunctionStats {
    fn count(&mut self, operation: Operation<'_>) {
        let mismatch = operation.error() == Some("mismatch");
        match operation.outcome() {
            Outcome::Ok => self.ok += 1,
            Outcome::Fail if mismatch => self.mismatch += 1,
            Outcome::Fail => self.fail += 1,
            Outcome::Info => self.info += 1,
        }
    }

    fn with(mut self, mut latencies: Vec<u64>) -> FunctionStats {
        latencies.sort_unstable();
        let last = latencies.len().saturating_sub(1);
        // The nearest rank: the least latency that so large a part did not exceed.
        let rank = |part: f64| latencies[((part * latencies.len() as f64).ceil() as usize).max(1) - 1];
        self.latency = (!latencies.is_empty()).then(|| Latency {
            min: latencies[0],
            p50: rank(0.5),
            p90: rank(0.9),
            p99: rank(0.99),
            p999: rank(0.999),
            max: latencies[last],
        });
        self
    }
}

fn latency(operation: Operation<'_>) -> Option<u64> {
    let answered = operation.outcome() != Outcome::Info;
    let completed = operation.completed_at().filter(|_| answered)?;
    completed.0.checked_sub(operation.invoked_at().0)
}

/// The first and the last time of a history.
#[derive(Clone, Copy)]
struct Span {
    from: Nanos,
    to: Nanos,
}

impl Span {
    fn of(history: &History) -> Option<Span> {
        let of_operations = history
            .operations()
            .flat_map(|operation| [Some(operation.invoked_at()), operation.completed_at()])
            .flatten();
        let times = of_operations.chain(history.nemesis_events().iter().map(|event| event.time));
        let (mut from, mut to) = (None, None);
        for time in times {
            from = Some(from.map_or(time, |from: Nanos| from.min(time)));
            to = Some(to.map_or(time, |to: Nanos| to.max(time)));
        }
        Some(Span { from: from?, to: to? })
    }
}

fn concurrency(history: &History, span: Option<Span>) -> Concurrency {
    let mut changes: Vec<(u64, EventKind)> = Vec::with_capacity(history.len() * 2);
    let mut open_ns = 0u128;
    let end = span.map_or(Nanos(0), |span| span.to);
    for operation in history.operations() {
        changes.push((operation.invoked_index(), EventKind::Invoke));
        changes.extend(operation.completed_index().map(|index| (index, EventKind::Ok)));
        let until = operation.completed_at().unwrap_or(end);
        open_ns += u128::from(until.0.saturating_sub(operation.invoked_at().0));
    }
    changes.sort_unstable_by_key(|&(index, _)| index);
    let (mut open, mut max) = (0u64, 0);
    for (_, change) in changes {
        match change {
            EventKind::Invoke => open += 1,
            EventKind::Ok | EventKind::Fail | EventKind::Info => open -= 1,
        }
        max = max.max(open);
    }
    let lasted = span.map_or(0, |span| span.to.0 - span.from.0);
    let mean = (lasted > 0).then(|| open_ns as f64 / lasted as f64);
    Concurrency { max, mean }
}

//! How stale reads were: in time, and in versions.
//!
//! A read is judged by the write whose value it returned. That value was certainly replaced when a write that was
//! invoked after it had taken effect had itself taken effect; from then until the read was invoked it is stale.
//! A write has taken effect by its completion, or by that of the first read that returned its value, whichever
//! is earlier. Both measures are lower bounds, the tightest that real time alone gives for a read:
//! - **time**: from the earliest moment at which the value had certainly been replaced to the read's invocation;
//! - **versions**: how many writes had certainly come after it and had taken effect before the read was invoked.
//!
//! Reads of a linearizable store have zero of both; k versions mean that it is not (k)-atomic and t milliseconds
//! that it is not t-atomic (Golab, Li & Shah, "Analyzing consistency properties for fun and profit", PODC 2011).
//! A cas that succeeded is a read of what it expected and a write; one that found another value and told it, a
//! read. Of a value that was written more than once the writer that makes the read least stale counts.

use rustc_hash::FxHashMap;
use serde::Serialize;

use crate::check::{CheckError, registers};
use crate::explain;
use crate::history::{History, HistoryError, NEVER, Nanos, OpId, Operation, Value, Word};
use crate::model::{Domain, Observed, Registers};
use crate::options::{CheckOptions, ModelName};
use crate::quantiles::Quantiles;
use crate::verdict::Validity;

/// How stale reads may be. Without bounds staleness is only told.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct StaleLimits {
    /// At most so many milliseconds.
    pub ms: Option<f64>,
    /// At most so many versions behind.
    pub versions: Option<u64>,
}

/// How stale the reads of a history were.
#[derive(Clone, Debug, Serialize)]
pub struct StaleBound {
    /// False if a read was staler than allowed, or returned what nobody had asked to write by then; unknown if
    /// there was no read to judge.
    pub valid: Validity,
    /// How many reads were judged, with cas that succeeded or told what they found.
    pub reads: usize,
    /// How many of them were stale.
    pub stale: usize,
    /// How many returned a value that nobody ever asked to write.
    pub phantoms: usize,
    /// How many returned a value before anybody asked to write it.
    pub early: usize,
    /// How many returned a value that was written more than once.
    pub ambiguous: usize,
    /// The staleness of all reads in milliseconds.
    pub ms: Option<Quantiles<f64>>,
    /// The staleness of all reads in versions.
    pub versions: Option<Quantiles<u64>>,
    /// The stale ones alone, in milliseconds.
    pub stale_ms: Option<Quantiles<f64>>,
    /// The stale ones alone, in versions.
    pub stale_versions: Option<Quantiles<u64>>,
    /// The stalest reads, those most versions behind first.
    pub worst: Vec<StaleRead>,
    /// Some of the reads of values that nobody had asked to write by then.
    pub impossible: Vec<StaleRead>,
}

/// One read with its staleness.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StaleRead {
    /// The read.
    pub id: OpId,
    /// The index of its invocation.
    pub index: u64,
    /// What it did, for people.
    pub said: String,
    /// How stale, in milliseconds.
    pub ms: f64,
    /// How stale, in versions.
    pub versions: u64,
    /// The write that had replaced its value first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replaced_by: Option<OpId>,
}

/// Reads that are listed one by one.
const LISTED: usize = 16;

/// Measures the staleness of the reads of a history of registers.
///
/// # Errors
/// [`CheckError`] if it is a history of something else, or has operations that registers do not know. Appends
/// and cas by revision are refused: what they leave behind is not in the history.
pub fn stale_bound(
    history: &History,
    options: &CheckOptions,
    limits: StaleLimits,
) -> Result<StaleBound, CheckError> {
    let domain = registers(history, options, options.model.unwrap_or(ModelName::Kv));
    domain
        .validate(history)
        .map_err(|(op, flaw)| HistoryError::Malformed {
            place: history.place(history.operation(op)),
            flaw,
        })?;
    let mut keys: FxHashMap<Word, Key> = FxHashMap::default();
    for operation in history.operations() {
        let key = keys.entry(operation.key_word()).or_default();
        key.take(&domain, operation).map_err(CheckError::NoMeasure)?;
    }
    let mut keys: Vec<(Word, Key)> = keys.into_iter().collect();
    keys.sort_unstable_by_key(|(key, _)| *key);
    let mut told = Told::default();
    for (_, key) in keys {
        key.judge(history, &domain, &mut told);
    }
    Ok(told.conclude(history, &domain, limits))
}

/// When something had certainly happened: in the order that decides, and in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct By {
    place: u32,
    at: Nanos,
}

/// One write of a key.
#[derive(Clone, Copy, Debug)]
struct Write {
    op: OpId,
    invoked: u32,
    /// By when it had taken effect, if that is known.
    effect: Option<By>,
}

/// What was done to one key.
#[derive(Debug, Default)]
struct Key {
    /// By their invocations.
    writes: Vec<Write>,
    writers: FxHashMap<Value, Vec<usize>>,
    reads: Vec<(OpId, Value)>,
}

impl Key {
    fn take(&mut self, domain: &Registers, operation: Operation<'_>) -> Result<(), String> {
        let record = operation.record();
        let Ok(Some(call)) = domain.call(operation, record.completed != NEVER) else {
            return Ok(());
        };
        let op = operation.id();
        let pair = || match &call.input {
            Value::List(pair) if pair.len() == 2 => Some((pair[0].clone(), pair[1].clone())),
            _ => None,
        };
        let refuse = |what: &str| {
            let place = operation.history.place(operation);
            Err(format!("{place}: stale-bound cannot measure {what}"))
        };
        let known = call.result != Observed::Unknown;
        match (&*call.f, &call.result) {
            ("append", _) => return refuse("appends: a read shows several at once"),
            ("cas", _) if call.asked_rev.is_some() => return refuse("cas by revision"),
            ("get", Observed::Ok(seen, _)) => self.reads.push((op, seen.clone())),
            ("set", _) => self.write(operation, call.input.clone(), known),
            ("delete", _) => self.write(operation, Value::Nil, known),
            ("cas", Observed::Mismatch(current)) => {
                self.reads.extend(current.clone().map(|current| (op, current)));
            }
            ("cas", result) => {
                if let Some((expected, new)) = pair() {
                    if matches!(result, Observed::Ok(..)) {
                        self.reads.push((op, expected));
                    }
                    self.write(operation, new, known);
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn write(&mut self, operation: Operation<'_>, value: Value, known: bool) {
        let record = operation.record();
        let at = operation.completed_at();
        let effect = at.filter(|_| known).map(|at| By {
            place: record.completed,
            at,
        });
        self.writers.entry(value).or_default().push(self.writes.len());
        self.writes.push(Write {
            op: operation.id(),
            invoked: record.invoked,
            effect,
        });
    }

    /// What a read returned had taken effect by the time the read completed, if only one write can have done it.
    fn effects_by_reads(&mut self, history: &History, init: &Value) {
        for (read, value) in self.reads.iter().filter(|(_, value)| value != init) {
            let Some([writer]) = self.writers.get(value).map(Vec::as_slice) else {
                continue;
            };
            let read = history.operation(*read);
            let write = &mut self.writes[*writer];
            // The read that comes with a cas is of what the cas replaced, so never of its own write.
            if read.id() == write.op || read.record().completed < write.invoked {
                continue;
            }
            let by = By {
                place: read.record().completed,
                at: read.completed_at().unwrap_or_default(),
            };
            write.effect = Some(write.effect.map_or(by, |known| known.min(by)));
        }
    }

    fn judge(mut self, history: &History, domain: &Registers, told: &mut Told) {
        self.effects_by_reads(history, &domain.rules.init);
        let replaced = Replaced::of(&self.writes);
        let mut questions: Vec<(u32, u32, usize)> = Vec::new();
        for (op, value) in &self.reads {
            told.reads += 1;
            let read = history.operation(*op);
            let invoked = read.record().invoked;
            let mut candidates: Vec<Option<usize>> = Vec::new();
            if *value == domain.rules.init {
                candidates.push(None);
            }
            let writers = self.writers.get(value).map_or(&[][..], Vec::as_slice);
            candidates.extend(writers.iter().map(|&writer| Some(writer)));
            told.ambiguous += usize::from(candidates.len() > 1);
            if candidates.is_empty() {
                told.phantoms += 1;
                told.impossible.push(*op);
                continue;
            }
            candidates.retain(|writer| {
                writer.is_none_or(|writer| self.writes[writer].invoked < read.record().completed)
            });
            if candidates.is_empty() {
                told.early += 1;
                told.impossible.push(*op);
                continue;
            }
            // The writer that was replaced last, or never, makes the read least stale.
            let after = |writer: Option<usize>| match writer {
                // The initial value is there before every write.
                None => Some(0),
                Some(writer) => {
                    let write = &self.writes[writer];
                    let effect = write.effect?.place;
                    Some(self.writes.partition_point(|other| other.invoked <= effect) as u32)
                }
            };
            let first_after = candidates
                .into_iter()
                .map(after)
                .max_by_key(|place| place.map_or(u32::MAX, |place| place))
                .expect("there is one");
            let first = first_after.and_then(|place| replaced.earliest_from(place as usize));
            let stale = first.filter(|(by, _)| by.place < invoked);
            let number = told.measured.len();
            told.measured.push(Measured {
                read: *op,
                ms: stale.map_or(0.0, |(by, _)| {
                    read.invoked_at().0.saturating_sub(by.at.0) as f64 / 1e6
                }),
                versions: 0,
                replaced_by: stale.map(|(_, write)| self.writes[write].op),
            });
            if let (Some(_), Some(place)) = (stale, first_after) {
                questions.push((invoked, place, number));
            }
        }
        self.count_versions(questions, told);
    }

    /// For each question (a place in the order, a place among the writes, a read): how many writes from that place
    /// on had taken effect before.
    fn count_versions(&self, mut questions: Vec<(u32, u32, usize)>, told: &mut Told) {
        questions.sort_unstable();
        let mut effects: Vec<(u32, usize)> = self
            .writes
            .iter()
            .enumerate()
            .filter_map(|(at, write)| Some((write.effect?.place, at)))
            .collect();
        effects.sort_unstable();
        let mut effects = effects.into_iter().peekable();
        let mut counts = Counts::new(self.writes.len());
        let mut all = 0;
        for (before, from, number) in questions {
            while let Some((_, at)) = effects.next_if(|&(effect, _)| effect < before) {
                counts.add(at);
                all += 1;
            }
            told.measured[number].versions = all - counts.below(from as usize);
        }
    }
}

/// By when the writes from each place on had replaced what was there, at the earliest.
struct Replaced {
    earliest: Vec<Option<(By, usize)>>,
}

impl Replaced {
    fn of(writes: &[Write]) -> Replaced {
        let mut earliest = vec![None; writes.len() + 1];
        for (at, write) in writes.iter().enumerate().rev() {
            let own = write.effect.map(|by| (by, at));
            earliest[at] = [own, earliest[at + 1]].into_iter().flatten().min();
        }
        Replaced { earliest }
    }

    fn earliest_from(&self, place: usize) -> Option<(By, usize)> {
        self.earliest[place]
    }
}

/// How many of some places were added below a place (Fenwick 1994).
struct Counts {
    sums: Vec<u64>,
}

impl Counts {
    fn new(places: usize) -> Counts {
        Counts {
            sums: vec![0; places + 1],
        }
    }

    fn add(&mut self, place: usize) {
        let mut at = place + 1;
        while at < self.sums.len() {
            self.sums[at] += 1;
            at += at & at.wrapping_neg();
        }
    }

    fn below(&self, place: usize) -> u64 {
        let (mut at, mut sum) = (place, 0);
        while at > 0 {
            sum += self.sums[at];
            at -= at & at.wrapping_neg();
        }
        sum
    }
}

#[derive(Debug)]
struct Measured {
    read: OpId,
    ms: f64,
    versions: u64,
    replaced_by: Option<OpId>,
}

#[derive(Debug, Default)]
struct Told {
    reads: usize,
    phantoms: usize,
    early: usize,
    ambiguous: usize,
    measured: Vec<Measured>,
    impossible: Vec<OpId>,
}

impl Told {
    fn conclude(mut self, history: &History, domain: &Registers, limits: StaleLimits) -> StaleBound {
        let stale = || self.measured.iter().filter(|read| read.versions > 0);
        let too_stale = |read: &Measured| {
            limits.ms.is_some_and(|most| read.ms > most)
                || limits.versions.is_some_and(|most| read.versions > most)
        };
        let valid = if !self.impossible.is_empty() || self.measured.iter().any(too_stale) {
            Validity::False
        } else if self.reads == 0 {
            Validity::Unknown
        } else {
            Validity::True
        };
        let show = |op: OpId, ms: f64, versions: u64, replaced_by: Option<OpId>| StaleRead {
            id: op,
            index: history.operation(op).invoked_index(),
            said: explain::said(domain, history.operation(op)),
            ms,
            versions,
            replaced_by,
        };
        let ms = Quantiles::of(self.measured.iter().map(|read| read.ms).collect());
        let versions = Quantiles::of(self.measured.iter().map(|read| read.versions).collect());
        let stale_ms = Quantiles::of(stale().map(|read| read.ms).collect());
        let stale_versions = Quantiles::of(stale().map(|read| read.versions).collect());
        let stale = stale().count();
        self.measured.retain(|read| read.versions > 0);
        self.measured.sort_by(|one, other| {
            (other.versions, other.ms)
                .partial_cmp(&(one.versions, one.ms))
                .expect("numbers")
        });
        let worst = self.measured.iter().take(LISTED);
        StaleBound {
            valid,
            reads: self.reads,
            stale,
            phantoms: self.phantoms,
            early: self.early,
            ambiguous: self.ambiguous,
            ms,
            versions,
            stale_ms,
            stale_versions,
            worst: worst
                .map(|read| show(read.read, read.ms, read.versions, read.replaced_by))
                .collect(),
            impossible: self
                .impossible
                .iter()
                .take(LISTED)
                .map(|&op| show(op, 0.0, 0, None))
                .collect(),
        }
    }
}

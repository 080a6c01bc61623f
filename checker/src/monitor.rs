//! Judges a history while it is being made.

use rustc_hash::FxHashMap;

use crate::check::{CheckError, check, is_illegal, model_of, registers};
use crate::engine::Budget;
use crate::history::{
    Builder, Event, EventKind, Form, Header, HistoryError, NEVER, Nanos, OpId, Process, Value, Word,
};
use crate::model::{Domain, Registers};
use crate::options::{CheckOptions, ModelName};
use crate::subhistory::Moments;
use crate::verdict::Analysis;

/// Takes events as they happen, and notices a violation soon after.
///
/// A key is judged anew whenever an eighth more was done to it, so that all judging together costs little more
/// than judging once. The whole history is held, for the analysis at the end. Only registers (`register`,
/// `cas-register`, `kv`) are judged on the way; other models at the end.
///
/// ```
/// use checker::history::{Event, EventKind, Header, Nanos, ProcessId, Value};
/// use checker::{CheckOptions, Monitor, Status, Verdict};
///
/// let mut monitor = Monitor::new(&Header::for_model("register"), &CheckOptions::default())?;
/// let event = |index, kind, value: Value| Event::new(index, Nanos(index), ProcessId(0), kind, "get", value);
/// monitor.push(&event(0, EventKind::Invoke, Value::Nil))?;
/// monitor.push(&event(1, EventKind::Ok, Value::Int(7)))?;
/// assert!(matches!(monitor.look(), Status::Violated { .. }));
/// assert!(matches!(monitor.finish()?.verdict, Verdict::Illegal(_)));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Monitor {
    builder: Builder,
    options: CheckOptions,
    domain: Option<Registers>,
    keys: FxHashMap<Word, Progress>,
    /// Keys to which enough was done to judge them again.
    due: Vec<Word>,
    last_time: Nanos,
    line: u64,
    status: Status,
}

/// What a monitor has noticed so far.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Status {
    /// Nothing is wrong as far as it was judged.
    Fine,
    /// The history is illegal already, whatever comes; [`Monitor::finish`] explains it.
    Violated {
        /// The key, in histories with keys.
        key: Option<Value>,
    },
}

/// What was done to one key.
#[derive(Debug, Default)]
struct Progress {
    operations: Vec<OpId>,
    /// Completions since it was last judged.
    fresh: usize,
}

/// A key is not judged before so many completions have come.
const LEAST: usize = 16;
/// A key is judged when this part of what was done to it is new.
const PART: usize = 8;
/// Moves that one judgement on the way may take; what takes more is left to the end.
const PATIENCE: u64 = 200_000;

impl Monitor {
    /// A monitor for a history with this header.
    ///
    /// # Errors
    /// [`CheckError::UnknownModel`] if the header names a model that does not exist.
    pub fn new(header: &Header, options: &CheckOptions) -> Result<Monitor, CheckError> {
        let builder = Builder::new(header.clone(), Form::Ordeal, None);
        let named = options.model.is_some() || header.model.is_some();
        let model = if named {
            Some(model_of(&builder.history, options)?)
        } else {
            None
        };
        let online = matches!(
            model,
            Some(ModelName::Register | ModelName::CasRegister | ModelName::Kv)
        );
        let domain = model
            .filter(|_| online)
            .map(|model| registers(&builder.history, options, model));
        Ok(Monitor {
            builder,
            options: options.clone(),
            domain,
            keys: FxHashMap::default(),
            due: Vec::new(),
            last_time: Nanos(0),
            line: 0,
            status: Status::Fine,
        })
    }

    /// Takes the next event and says what is known.
    ///
    /// # Errors
    /// [`HistoryError::Malformed`] if the event cannot follow the ones before it.
    pub fn push(&mut self, event: &Event) -> Result<Status, HistoryError> {
        // Only a finished instant has its order: its invocations count as before its completions.
        if event.time > self.last_time {
            self.last_time = event.time;
            self.judge();
        }
        self.line += 1;
        let before = self.builder.history.records.len();
        self.builder.push_event(event.clone(), self.line)?;
        if matches!(event.process, Process::Client(_)) {
            match event.kind {
                EventKind::Invoke => {
                    let key = self.builder.history.records[before].key;
                    self.keys
                        .entry(key)
                        .or_default()
                        .operations
                        .push(OpId(before as u32));
                }
                EventKind::Info => {}
                EventKind::Ok | EventKind::Fail => {
                    let key = event
                        .key
                        .as_ref()
                        .map_or(Word::ABSENT, |key| self.builder.history.pool.add(key.clone()));
                    let key = if key == Word::ABSENT {
                        key
                    } else {
                        self.builder.history.pool.settled(key)
                    };
                    if let Some(progress) = self.keys.get_mut(&key) {
                        progress.fresh += 1;
                        if progress.fresh == LEAST.max(progress.operations.len() / PART) {
                            self.due.push(key);
                        }
                    }
                }
            }
        }
        Ok(self.status.clone())
    }

    /// Judges everything that is new, now.
    pub fn look(&mut self) -> Status {
        self.builder.end_instant();
        let fresh = self.keys.iter().filter(|(_, progress)| progress.fresh > 0);
        self.due = fresh.map(|(key, _)| *key).collect();
        self.judge();
        self.status.clone()
    }

    /// Judges the whole history, and explains a violation.
    ///
    /// # Errors
    /// Those of [`check`].
    pub fn finish(self) -> Result<Analysis, CheckError> {
        let history = self.builder.finish()?;
        check(&history, &self.options)
    }

    /// Judges every key that is due.
    fn judge(&mut self) {
        let Some(domain) = &self.domain else { return };
        if self.status != Status::Fine {
            return;
        }
        let history = &self.builder.history;
        for key in self.due.drain(..) {
            let Some(progress) = self.keys.get_mut(&key) else {
                continue;
            };
            progress.fresh = 0;
            let records = progress
                .operations
                .iter()
                .map(|&op| (op, &history.records[op.0 as usize]));
            let mut placed: Vec<(u32, u32)> = Vec::with_capacity(progress.operations.len() * 2);
            let mut known = true;
            for (op, record) in records {
                placed.push((record.invoked, op.0 << 1));
                if record.completed != NEVER {
                    placed.push((record.completed, op.0 << 1 | 1));
                }
                known &= domain.call(history.operation(op), true).is_ok();
            }
            // What the model does not know is an error, which the end reports.
            if !known {
                continue;
            }
            placed.sort_unstable();
            let packed: Vec<u32> = placed.into_iter().map(|(_, packed)| packed).collect();
            let moments = Moments::all(history, &packed);
            let budget = Budget::new(None, self.options.memory_limit);
            if is_illegal(history, domain, &moments, &mut budget.meter().patient(PATIENCE)) == Some(true) {
                let key = key.present().map(|key| history.pool.value(key));
                self.status = Status::Violated { key };
                return;
            }
        }
    }
}

//! Parts of a history that are histories themselves, and never accuse the innocent.
//!
//! A part of a legal history is legal only if what was cut away is still allowed to have had its effects. So
//! nothing that may have changed the state is removed but *weakened*: its outcome becomes unknown (`info`), so
//! that it may have happened at any time after its invocation, or never. A violation that needs what was cut away
//! or weakened is not found in the part; every violation that is found in it is one of the whole.
//!
//! - **The end.** What was invoked later is removed. That is sound: no order has it before what had completed by
//!   then. What was open becomes unknown.
//! - **The beginning.** Observations that had completed before are removed, writes are weakened. A write is
//!   removed only if another one that replaces the whole value was invoked after it had completed, and had
//!   completed before anything that is kept was invoked.
//! - **Keys.** Every key is judged by itself, so the others are removed; not where one operation touches several.
//! - **Processes.** Observations of the others are removed, their writes weakened.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;

use rustc_hash::FxHashMap;
use thiserror::Error;

use crate::check::{CheckError, model_of};
use crate::convert::Explicit;
use crate::history::{
    Event, EventKind, History, HistoryError, NEVER, Nanos, OpId, Operation, Outcome, Process, Value,
};
use crate::model::Function;
use crate::options::{CheckOptions, ModelName};

/// What to keep; what is not said is kept whole.
#[derive(Clone, Debug, Default)]
pub struct Cut {
    /// From this time on.
    pub from: Option<Nanos>,
    /// Up to this time.
    pub to: Option<Nanos>,
    /// Events with these indexes.
    pub indexes: Option<RangeInclusive<u64>>,
    /// Only these keys.
    pub keys: Option<Vec<Value>>,
    /// Only these processes.
    pub processes: Option<BTreeSet<u64>>,
}

/// What became of a history that was cut.
#[derive(Clone, Debug)]
pub struct Part {
    /// The history that is left, in our own form.
    pub history: Explicit,
    /// How many operations are kept as they were.
    pub kept: usize,
    /// How many are kept as operations of unknown outcome.
    pub weakened: usize,
    /// How many are gone.
    pub removed: usize,
}

/// Why a history could not be cut.
#[derive(Debug, Error)]
pub enum CutError {
    /// The history cannot be judged to begin with.
    #[error(transparent)]
    Check(#[from] CheckError),
    /// The part is no history; that would be a mistake of the cutting.
    #[error(transparent)]
    History(#[from] HistoryError),
    /// Such a part could not be judged.
    #[error("{0}")]
    Unsound(String),
}

/// What becomes of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Kept,
    /// It begins as it did and ends unknown.
    Weakened,
    /// It is open where the part ends, and so unknown.
    Open,
    Removed,
}

/// The error that weakened operations tell.
const CUT: &str = "cut";

impl Cut {
    /// Cuts a part out of a history.
    ///
    /// # Errors
    /// [`CutError::Unsound`] where the model does not allow such a cut.
    pub fn apply(&self, history: &History, options: &CheckOptions) -> Result<Part, CutError> {
        let model = model_of(history, options)?;
        self.allowed(model)?;
        let Explicit { header, events } = Explicit::of(history, options)?;
        let times: FxHashMap<u64, Nanos> = events.iter().map(|event| (event.index, event.time)).collect();
        let up_to = self.indexes.as_ref().map(|range| *range.end());
        let kept = events
            .iter()
            .filter(|event| up_to.is_some_and(|end| event.index <= end));
        let last_instant = kept.map(|event| event.time).max();
        let span = Span {
            cut: self,
            times: &times,
            last_instant,
        };
        let mut fates: Vec<Fate> = history.operations().map(|op| self.fate(op, &span)).collect();
        remove_replaced(history, model, &mut fates);
        let events = kept_events(history, events, &span, &fates);
        History::from_events(header.clone(), events.clone())?;
        let count = |wanted: &[Fate]| fates.iter().filter(|fate| wanted.contains(fate)).count();
        Ok(Part {
            history: Explicit { header, events },
            kept: count(&[Fate::Kept]),
            weakened: count(&[Fate::Weakened, Fate::Open]),
            removed: count(&[Fate::Removed]),
        })
    }

    fn allowed(&self, model: ModelName) -> Result<(), CutError> {
        let together = model.is_transactional() || model == ModelName::MultiRegister;
        let refuse = |what: &str| {
            Err(CutError::Unsound(format!(
                "operations of model {model} touch several keys at once: {what}"
            )))
        };
        if together && self.keys.is_some() {
            return refuse("it cannot be cut by key");
        }
        let begins = self.from.is_some() || self.indexes.as_ref().is_some_and(|range| *range.start() > 0);
        if model.is_transactional() && (begins || self.processes.is_some()) {
            return refuse("it can be cut only at its end (--to)");
        }
        Ok(())
    }

    fn fate(&self, operation: Operation<'_>, span: &Span<'_>) -> Fate {
        let invoked = operation.invoked_index();
        let key = operation.key().unwrap_or_default();
        if self.keys.as_ref().is_some_and(|keys| !keys.contains(&key)) || span.is_after(invoked) {
            return Fate::Removed;
        }
        let ends = operation.completed_index();
        let open_at_end = ends.is_none_or(|index| span.is_after(index));
        let others = self.processes.as_ref();
        let ours = others.is_none_or(|processes| processes.contains(&operation.process().0));
        let past = ends.is_some_and(|index| span.is_before(index));
        let open_before = ends.is_none() && span.is_before(invoked);
        if ours && !past && !open_before {
            return if open_at_end && ends.is_some() {
                Fate::Open
            } else {
                Fate::Kept
            };
        }
        if !may_change(operation) {
            Fate::Removed
        } else if open_at_end {
            Fate::Open
        } else {
            Fate::Weakened
        }
    }
}

/// What lies before and after the part.
struct Span<'c> {
    cut: &'c Cut,
    times: &'c FxHashMap<u64, Nanos>,
    /// The time of the last event in the range of indexes. What is invoked in the same instant as something
    /// completes may have come before it, so that an instant is never cut in two.
    last_instant: Option<Nanos>,
}

impl Span<'_> {
    fn is_before(&self, index: u64) -> bool {
        let early = self.cut.from.is_some_and(|from| self.times[&index] < from);
        early
            || self
                .cut
                .indexes
                .as_ref()
                .is_some_and(|range| index < *range.start())
    }

    fn is_after(&self, index: u64) -> bool {
        let late = self.cut.to.is_some_and(|to| self.times[&index] > to);
        let beyond = self
            .cut
            .indexes
            .as_ref()
            .is_some_and(|range| index > *range.end());
        late || beyond && self.last_instant.is_none_or(|last| self.times[&index] > last)
    }
}

/// Whether an operation may have changed the state: in doubt it may.
fn may_change(operation: Operation<'_>) -> bool {
    if operation.outcome() == Outcome::Fail {
        return false;
    }
    !matches!(operation.f(), "get" | "read" | "r")
}

/// Whether an operation certainly replaced the whole value.
fn replaces(operation: Operation<'_>, model: ModelName) -> bool {
    let register = matches!(
        model,
        ModelName::Register | ModelName::CasRegister | ModelName::Kv
    );
    let whole = matches!(
        Function::named(operation.f()),
        Some(Function::Set | Function::Delete)
    );
    register && whole && operation.outcome() == Outcome::Ok
}

/// Removes what was weakened but cannot have been seen by anything that is kept.
///
/// Let W replace the whole value, and have completed before everything was invoked that is kept as it was. In
/// every order all of that comes after W, so what had completed before W was invoked has left nothing behind.
fn remove_replaced(history: &History, model: ModelName, fates: &mut [Fate]) {
    let place = |op: Operation<'_>| op.record().invoked;
    let mut horizons: FxHashMap<Option<Value>, u32> = FxHashMap::default();
    for operation in history.operations() {
        if fates[operation.id().0 as usize] == Fate::Kept && operation.record().completed != NEVER {
            let horizon = horizons.entry(operation.key()).or_insert(u32::MAX);
            *horizon = (*horizon).min(place(operation));
        }
    }
    let horizon = |key: &Option<Value>| horizons.get(key).copied().unwrap_or(u32::MAX);
    let mut replaced: FxHashMap<Option<Value>, u32> = FxHashMap::default();
    for operation in history.operations().filter(|op| replaces(*op, model)) {
        let key = operation.key();
        let weakened = fates[operation.id().0 as usize] == Fate::Weakened;
        if weakened && operation.record().completed < horizon(&key) {
            let latest = replaced.entry(key).or_insert(0);
            *latest = (*latest).max(place(operation));
        }
    }
    for operation in history.operations() {
        let fate = &mut fates[operation.id().0 as usize];
        let by = replaced.get(&operation.key());
        if *fate == Fate::Weakened && by.is_some_and(|&by| operation.record().completed < by) {
            *fate = Fate::Removed;
        }
    }
}

/// The argument: some logs say only in the completion what was written.
fn asked(operation: Operation<'_>) -> Value {
    let writes = matches!(
        Function::named(operation.f()),
        Some(Function::Set | Function::Append)
    );
    if writes && operation.input().is_nil() && operation.outcome() == Outcome::Ok {
        operation.output()
    } else {
        operation.input()
    }
}

/// The events of what is kept, with ends for what is not known any more.
fn kept_events(history: &History, events: Vec<Event>, span: &Span<'_>, fates: &[Fate]) -> Vec<Event> {
    let mut of: FxHashMap<u64, OpId> = FxHashMap::default();
    for operation in history.operations() {
        of.insert(operation.invoked_index(), operation.id());
        of.extend(operation.completed_index().map(|index| (index, operation.id())));
    }
    let mut kept: Vec<Event> = Vec::new();
    let mut ends: Vec<Event> = Vec::new();
    for mut event in events {
        if event.process == Process::Nemesis {
            if !span.is_after(event.index) && !span.is_before(event.index) {
                kept.push(event);
            }
            continue;
        }
        let op = of[&event.index];
        let fate = fates[op.0 as usize];
        let begins = event.kind == EventKind::Invoke;
        if fate == Fate::Removed {
            continue;
        }
        if fate != Fate::Kept && !begins {
            event.kind = EventKind::Info;
            event.error = Some(CUT.to_owned());
            event.value = asked(history.operation(op));
            (event.current, event.rev) = (None, None);
        }
        if fate != Fate::Kept && begins {
            event.value = asked(history.operation(op));
        }
        if fate == Fate::Open && !begins {
            ends.push(event);
            continue;
        }
        kept.push(event);
    }
    // Ends that lie behind the part come at its last moment; no event of the part comes after them.
    let last = kept
        .last()
        .map_or((0, Nanos(0)), |event| (event.index, event.time));
    for (at, mut event) in ends.into_iter().enumerate() {
        (event.index, event.time) = (last.0 + 1 + at as u64, last.1);
        kept.push(event);
    }
    kept
}

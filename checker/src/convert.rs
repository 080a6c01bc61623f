//! Histories in another form, with the same verdict.
//!
//! What one form says by being that form (the initial value, what a failed cas means, the order of events whose
//! times are only for display) another form must be told. So everything goes through our own form, in which all
//! of it is explicit.

use std::io::{self, Write};

use rustc_hash::FxHashSet;
use thiserror::Error;

use crate::check::{CheckError, choose_init, model_of};
use crate::history::{
    Event, EventKind, Form, Header, History, HistoryError, Nanos, Operation, Outcome, Process, Writer,
};
use crate::model::{Function, RegisterRules, is_mismatch};
use crate::options::{CasFail, CheckOptions, ModelName};
use crate::transactions::Unwritten;

/// The forms that histories are written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// Our own: JSON Lines.
    JsonLines,
    /// EDN, a vector of maps.
    EdnVector,
    /// EDN, one map a line.
    EdnLines,
    /// EDN, one map a line, with just the fields and functions of Porcupine's key-value logs.
    KeyValueLog,
}

/// Why a history could not be written in another form.
#[derive(Debug, Error)]
pub enum ConvertError {
    /// Nothing says by which rules it is to be judged.
    #[error(transparent)]
    Check(Box<CheckError>),
    /// The history cannot be said in the other form.
    #[error(transparent)]
    History(#[from] HistoryError),
    /// The other form has no word for it.
    #[error("{0}")]
    Unsayable(String),
    /// Writing failed.
    #[error("{0}")]
    Io(#[from] io::Error),
}

impl From<CheckError> for ConvertError {
    fn from(error: CheckError) -> ConvertError {
        ConvertError::Check(Box::new(error))
    }
}

/// A history in our own form, with everything explicit that its form left unsaid.
#[derive(Clone, Debug)]
pub struct Explicit {
    /// The header, with model and initial value.
    pub header: Header,
    /// The events, in order.
    pub events: Vec<Event>,
}

impl Explicit {
    /// Says explicitly what the history's form, and the options, say implicitly. Times of imported histories,
    /// which are for display only, are moved up where they do not grow from event to event.
    ///
    /// # Errors
    /// [`CheckError`] if no model is named, and none suggested.
    pub fn of(history: &History, options: &CheckOptions) -> Result<Explicit, CheckError> {
        let model = model_of(history, options)?;
        let mut header = history.header().clone();
        header.model = Some(model.as_str().to_owned());
        header.init = Some(choose_init(history, options, model).value);
        if model == ModelName::RwRegister && history.form() != Form::Ordeal {
            let outside = options.transactions.registers.unwritten != Some(Unwritten::Garbage);
            let said = if outside { "outside" } else { "garbage" };
            header.other.insert("unwritten".to_owned(), said.into());
        }
        let mut events = history.events();
        if history.form() != Form::Ordeal {
            grow(&mut events);
        }
        let rules = RegisterRules {
            init: header.init.clone().unwrap_or_default(),
            cas_fail: options.cas_fail.unwrap_or(CasFail::of_form(history.form())),
        };
        let failed = history
            .operations()
            .filter(|operation| operation.outcome() == Outcome::Fail)
            .filter(|operation| Function::named(operation.f()) == Some(Function::Cas))
            .filter(|operation| is_mismatch(*operation, &rules));
        let mut mismatches: Vec<u64> = failed.filter_map(Operation::completed_index).collect();
        mismatches.sort_unstable();
        for event in &mut events {
            if mismatches.binary_search(&event.index).is_ok() {
                event.error = Some("mismatch".to_owned());
            }
        }
        Ok(Explicit { header, events })
    }

    /// Writes the history.
    ///
    /// # Errors
    /// [`ConvertError::Unsayable`] if the form has no word for something; [`ConvertError::Io`].
    pub fn write(self, target: Target, out: impl Write) -> Result<(), ConvertError> {
        match target {
            Target::JsonLines => {
                let mut writer = Writer::new(out, &self.header)?;
                for event in &self.events {
                    writer.write(event)?;
                }
                writer.flush()?;
                Ok(())
            }
            Target::EdnVector | Target::EdnLines | Target::KeyValueLog => {
                crate::edn_writer::write(self, target, out)
            }
        }
    }
}

/// Makes times grow with the order of the events, which is what decides verdicts in imported forms.
fn grow(events: &mut [Event]) {
    let mut last: Option<Nanos> = None;
    for event in events {
        if let Some(last) = last
            && event.time <= last
        {
            event.time = Nanos(last.0 + 1);
        }
        last = Some(event.time);
    }
}

impl CasFail {
    /// What a failed cas says in a form, if nobody says otherwise.
    pub(crate) fn of_form(form: Form) -> CasFail {
        match form {
            Form::JepsenLog => CasFail::Mismatch,
            Form::Ordeal | Form::Edn | Form::KeyValueLog => CasFail::Noop,
        }
    }
}

/// Puts invocations before completions within every instant, as forms without instants must have it; indexes
/// stay in order.
///
/// A process that completes one operation and invokes the next in one instant does one after the other: the
/// other invocations, its completion, its invocation, the other completions.
///
/// # Errors
/// If two processes do so in one instant: then no order says the same.
pub(crate) fn without_instants(events: &mut [Event]) -> Result<(), ConvertError> {
    let mut from = 0;
    while from < events.len() {
        let time = events[from].time;
        let count = events[from..]
            .iter()
            .take_while(|event| event.time == time)
            .count();
        let instant = &mut events[from..from + count];
        from += count;
        if count == 1 {
            continue;
        }
        let mut completed: FxHashSet<Process> = FxHashSet::default();
        let mut goes_on: FxHashSet<Process> = FxHashSet::default();
        for event in instant.iter().filter(|event| event.process != Process::Nemesis) {
            if event.kind != EventKind::Invoke {
                completed.insert(event.process);
            } else if completed.contains(&event.process) {
                goes_on.insert(event.process);
            }
        }
        if goes_on.len() > 1 {
            return Err(ConvertError::Unsayable(format!(
                "{} processes complete one operation and invoke the next at the same time ({} ns), which only JSON \
                 Lines can say",
                goes_on.len(),
                time.0
            )));
        }
        let indexes: Vec<u64> = instant.iter().map(|event| event.index).collect();
        let mut before: FxHashSet<Process> = FxHashSet::default();
        let mut turns: Vec<u8> = Vec::with_capacity(count);
        for event in instant.iter() {
            let own = goes_on.contains(&event.process);
            turns.push(match event.kind {
                _ if event.process == Process::Nemesis => 0,
                EventKind::Invoke if own && before.contains(&event.process) => 2,
                EventKind::Invoke => 0,
                _ if own && before.insert(event.process) => 1,
                _ => 3,
            });
        }
        let mut turns = turns.into_iter();
        instant.sort_by_cached_key(|_| turns.next().expect("one for each"));
        for (event, index) in instant.iter_mut().zip(indexes) {
            event.index = index;
        }
    }
    Ok(())
}

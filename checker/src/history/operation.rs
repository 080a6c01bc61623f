//! An invocation and what became of it, as one.

use serde::Serialize;

use super::event::{Nanos, ProcessId};
use super::pool::Word;
use super::{History, Value};

/// The number of an operation in its history: operations are numbered by their invocations, from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct OpId(pub u32);

/// How an operation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// It happened between its invocation and its completion.
    Ok,
    /// It did not take effect.
    Fail,
    /// Nobody knows; so also when nothing ever came back.
    Info,
}

/// What verdicts hang on, of one operation. All else is in its [`Margin`].
///
/// Those of one key lie far apart, and whoever goes through them waits for memory at every one: two of them are a
/// line of it.
#[derive(Clone, Copy, Debug)]
#[repr(align(32))]
pub(crate) struct Record {
    pub(crate) input: Word,
    pub(crate) output: Word,
    /// Places of the two events in the order that decides verdicts: within one instant, invocations first.
    pub(crate) invoked: u32,
    /// [`NEVER`] for operations that may take effect until the end of time.
    pub(crate) completed: u32,
    /// A place among the details, or [`NEVER`].
    pub(crate) details: u32,
    pub(crate) f: u8,
    pub(crate) outcome: Outcome,
    /// Whether anything came back.
    pub(crate) answered: bool,
    /// Whether it failed with the error `mismatch`.
    pub(crate) mismatched: bool,
}

const _: () = assert!(size_of::<Record>() == 32);

/// What a history keeps of one operation for people.
#[derive(Clone, Debug)]
pub(crate) struct Margin {
    pub(crate) process: ProcessId,
    pub(crate) invoked_at: Nanos,
    pub(crate) completed_at: Nanos,
    pub(crate) invoked_index: u64,
    /// [`NO_INDEX`] if nothing came back.
    pub(crate) completed_index: u64,
    pub(crate) line: u32,
    pub(crate) error: u32,
    pub(crate) node: u16,
}

/// The place of a completion that never comes, and of details that are not there.
pub(crate) const NEVER: u32 = u32::MAX;
/// The index of a completion that never came.
pub(crate) const NO_INDEX: u64 = u64::MAX;

/// What only some operations say.
#[derive(Clone, Debug)]
pub(crate) struct Details {
    pub(crate) current: Word,
    pub(crate) asked_rev: Option<i64>,
    pub(crate) told_rev: Option<i64>,
    pub(crate) intended: Option<Nanos>,
}

/// One operation of a [`History`], to be looked at.
#[derive(Clone, Copy, Debug)]
pub struct Operation<'a> {
    pub(crate) history: &'a History,
    pub(crate) id: OpId,
}

impl<'a> Operation<'a> {
    /// Its number in the history.
    pub fn id(self) -> OpId {
        self.id
    }

    /// Who asked.
    pub fn process(self) -> ProcessId {
        self.margin().process
    }

    /// The function, as the history names it.
    pub fn f(self) -> &'a str {
        &self.history.functions[usize::from(self.record().f)]
    }

    /// The key it is about, in models that have keys.
    pub fn key(self) -> Option<Value> {
        self.key_word()
            .present()
            .map(|word| self.history.pool.value(word))
    }

    pub(crate) fn key_word(self) -> Word {
        self.history.keys[self.id.0 as usize]
    }

    /// The argument.
    pub fn input(self) -> Value {
        self.history.pool.value(self.record().input)
    }

    /// What the completion carried; nil if there was none.
    pub fn output(self) -> Value {
        self.history.pool.value(self.record().output)
    }

    /// How it ended.
    pub fn outcome(self) -> Outcome {
        self.record().outcome
    }

    /// When it was invoked.
    pub fn invoked_at(self) -> Nanos {
        self.margin().invoked_at
    }

    /// When something came back, if anything did. An operation of outcome [`Outcome::Info`] may still take
    /// effect later.
    pub fn completed_at(self) -> Option<Nanos> {
        (self.margin().completed_index != NO_INDEX).then_some(self.margin().completed_at)
    }

    /// The index of the invocation in the history.
    pub fn invoked_index(self) -> u64 {
        self.margin().invoked_index
    }

    /// The index of the completion in the history, if there is one.
    pub fn completed_index(self) -> Option<u64> {
        (self.margin().completed_index != NO_INDEX).then_some(self.margin().completed_index)
    }

    /// The line of the invocation in its file (the number of the event, from 1, if there is no file).
    pub fn line(self) -> u64 {
        u64::from(self.margin().line)
    }

    /// The node that was asked or that answered.
    pub fn node(self) -> Option<&'a str> {
        self.history
            .nodes
            .get(usize::from(self.margin().node))
            .map(String::as_str)
    }

    /// Why it failed or is unknown.
    pub fn error(self) -> Option<&'a str> {
        self.history
            .errors
            .get(self.margin().error as usize)
            .map(String::as_str)
    }

    /// What a failed cas found instead, where the store told; `Some(Value::Nil)` says: no value.
    pub fn current(self) -> Option<Value> {
        self.details()?
            .current
            .present()
            .map(|word| self.history.pool.value(word))
    }

    /// The revision that the invocation asked for.
    pub fn asked_rev(self) -> Option<i64> {
        self.details()?.asked_rev
    }

    /// The revision that the completion told.
    pub fn told_rev(self) -> Option<i64> {
        self.details()?.told_rev
    }

    /// When an open-loop schedule meant it to start.
    pub fn intended(self) -> Option<Nanos> {
        self.details()?.intended
    }

    pub(crate) fn record(self) -> &'a Record {
        &self.history.records[self.id.0 as usize]
    }

    pub(crate) fn margin(self) -> &'a Margin {
        &self.history.margins[self.id.0 as usize]
    }

    pub(crate) fn details(self) -> Option<&'a Details> {
        self.history.details.get(self.record().details as usize)
    }
}

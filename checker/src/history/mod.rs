//! Histories: what was asked of a store, what came back, and when.
//!
//! [`Event`]s are what a recorder writes (with a [`Writer`]) and what a file holds. They become a [`History`]
//! only through constructors that pair and validate them; whoever holds a `History` need not check again.
//!
//! Invariants of a [`History`]:
//! - every completion follows its invocation, of the same process, function and key;
//! - a process has at most one operation open at a time;
//! - the order of invocations and completions that decides verdicts is total, and in our own form, where times
//!   are exact, a completion comes after every invocation of the same instant (closed intervals).

mod builder;
mod compact;
mod error;
mod event;
mod events;
mod header;
mod operation;
mod pool;
mod value;
mod writer;

use std::collections::BTreeMap;

pub use error::{Flaw, HistoryError, Place};
pub use event::{Event, EventKind, Name, Nanos, Process, ProcessId};
pub use header::{FORM_VERSION, Header};
pub use operation::{OpId, Operation, Outcome};
use serde::Serialize;
pub use value::{Real, Value};
pub use writer::Writer;

pub(crate) use builder::{Builder, RawEvent};
pub(crate) use compact::Renumbering;
pub(crate) use operation::{Details, Margin, NEVER, Record};
pub(crate) use pool::{Parts, Pool, Word, hash_text};

/// The form a history was read from. It decides what the form leaves unsaid: the initial value, and what a
/// failed cas means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Form {
    /// Our own, JSON Lines.
    Ordeal,
    /// EDN as Jepsen and Knossos write it.
    Edn,
    /// EDN maps with a `:key`, one a line, as key-value logs are written.
    KeyValueLog,
    /// The log lines of `jepsen.util`.
    JepsenLog,
}

/// A paired and validated history.
#[derive(Clone, Debug)]
pub struct History {
    pub(crate) header: Header,
    pub(crate) form: Form,
    pub(crate) file: Option<String>,
    pub(crate) records: Vec<Record>,
    /// The key of each operation.
    pub(crate) keys: Vec<Word>,
    pub(crate) margins: Vec<Margin>,
    pub(crate) details: Vec<Details>,
    pub(crate) pool: Pool,
    pub(crate) functions: Vec<Name>,
    pub(crate) nodes: Vec<String>,
    pub(crate) errors: Vec<String>,
    /// Pairs (operation, operation of the same process that completed before it in the same instant).
    pub(crate) same_instant: Vec<(OpId, OpId)>,
    pub(crate) nemesis: Vec<Event>,
    /// Unknown fields of invocations and completions, by the index of their event.
    pub(crate) other: BTreeMap<u64, serde_json::Map<String, serde_json::Value>>,
}

impl History {
    /// Pairs and validates the events of our own form.
    ///
    /// # Errors
    /// [`HistoryError::Malformed`] names the first event that cannot be: a completion without an invocation,
    /// a second open invocation of one process, a time or index that goes backwards.
    pub fn from_events(header: Header, events: Vec<Event>) -> Result<History, HistoryError> {
        let mut builder = Builder::new(header, Form::Ordeal, None);
        for (at, event) in events.into_iter().enumerate() {
            builder.push_event(event, at as u64 + 1)?;
        }
        builder.finish()
    }

    /// What was run.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The form it was read from; [`Form::Ordeal`] if it was made from events.
    pub fn form(&self) -> Form {
        self.form
    }

    /// The file it was read from.
    pub fn file(&self) -> Option<&str> {
        self.file.as_deref()
    }

    /// The number of client operations.
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Whether no client did anything; such a history is legal.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Every client operation in the order of their invocations.
    pub fn operations(&self) -> impl ExactSizeIterator<Item = Operation<'_>> {
        (0..self.records.len() as u32).map(|id| Operation {
            history: self,
            id: OpId(id),
        })
    }

    /// One operation.
    ///
    /// # Panics
    /// If the history has no such operation.
    pub fn operation(&self, id: OpId) -> Operation<'_> {
        assert!(
            (id.0 as usize) < self.records.len(),
            "the history has no operation {}",
            id.0
        );
        Operation { history: self, id }
    }

    /// What the fault injector did, in order.
    pub fn nemesis_events(&self) -> &[Event] {
        &self.nemesis
    }

    /// Operations of which the process completed another one in the instant in which it invoked them, each with
    /// that one, where the order does not say so already.
    pub(crate) fn turns_within_instants(&self) -> &[(OpId, OpId)] {
        &self.same_instant
    }

    /// Whether some operation is of this function.
    pub(crate) fn knows(&self, f: &str) -> bool {
        self.functions.iter().any(|known| *known == *f)
    }

    /// The word of a value, if that can be known without the pool: nil and small numbers.
    pub(crate) fn pool_word(&self, value: &Value) -> Option<Word> {
        self.pool.find(value)
    }

    /// The place of an operation's invocation, for error messages.
    pub(crate) fn place(&self, operation: Operation<'_>) -> Place {
        Place {
            file: self.file.clone(),
            line: operation.line(),
            column: None,
        }
    }

    /// Refuses the history for what is wrong with one operation.
    pub(crate) fn malformed(&self, op: OpId, flaw: Flaw) -> HistoryError {
        HistoryError::Malformed {
            place: self.place(self.operation(op)),
            flaw,
        }
    }
}

//! A history taken apart again: the events that it was made of.

use super::operation::NO_INDEX;
use super::{Event, EventKind, History, Name, Operation, Outcome, Process};

impl History {
    /// The events that the history was made of, in the order of their indexes; those of an operation say nothing
    /// that [`Operation`] does not. The node of an operation is told by its completion, if there is one.
    pub fn events(&self) -> Vec<Event> {
        let mut events = Vec::with_capacity(self.len() * 2 + self.nemesis.len());
        for operation in self.operations() {
            events.push(self.invocation(operation));
            events.extend(self.completion(operation));
        }
        events.extend(self.nemesis.iter().cloned());
        events.sort_by_key(|event| event.index);
        events
    }

    fn invocation(&self, operation: Operation<'_>) -> Event {
        let answered = operation.completed_index().is_some();
        Event {
            index: operation.invoked_index(),
            time: operation.invoked_at(),
            process: Process::Client(operation.process()),
            kind: EventKind::Invoke,
            f: Name::from(operation.f().to_owned()),
            key: operation.key(),
            value: operation.input(),
            error: None,
            current: None,
            rev: operation.asked_rev(),
            node: operation.node().filter(|_| !answered).map(str::to_owned),
            intended: operation.intended(),
            other: self.other_of(operation.invoked_index()),
        }
    }

    fn completion(&self, operation: Operation<'_>) -> Option<Event> {
        let index = operation.completed_index()?;
        let kind = match operation.outcome() {
            Outcome::Ok => EventKind::Ok,
            Outcome::Fail => EventKind::Fail,
            Outcome::Info => EventKind::Info,
        };
        Some(Event {
            index,
            time: operation.completed_at()?,
            kind,
            value: operation.output(),
            error: operation.error().map(str::to_owned),
            current: operation.current(),
            rev: operation.told_rev(),
            node: operation.node().map(str::to_owned),
            intended: None,
            other: self.other_of(index),
            ..self.invocation(operation)
        })
    }

    fn other_of(&self, index: u64) -> serde_json::Map<String, serde_json::Value> {
        debug_assert!(index != NO_INDEX);
        self.other.get(&index).cloned().unwrap_or_default()
    }
}

//! What the operations of a subhistory saw and left behind.

use crate::history::{History, NEVER, OpId, Operation, Outcome, Value};
use crate::model::{Domain, Effect, Invocation, Observed};
use crate::subhistory::Moments;

/// One operation with what it saw and what it made.
#[derive(Clone)]
pub(super) struct Fact<'a> {
    pub(super) operation: Operation<'a>,
    pub(super) call: Invocation,
    /// The value that it saw.
    pub(super) saw: Option<Value>,
    /// A value that it was told not to be there.
    pub(super) missed: Option<Value>,
    /// The value that it left behind.
    pub(super) made: Option<Value>,
    /// What it added to whatever was there.
    pub(super) added: Option<Value>,
}

/// Everything that was done to one key, by invocation: also what came long after a violation, for that tells
/// what became of a value.
pub(super) struct Facts<'a> {
    all: Vec<Fact<'a>>,
    /// What certainly did not happen.
    failed: Vec<Operation<'a>>,
}

impl<'a> Fact<'a> {
    /// What an operation says; none if it says nothing.
    pub(super) fn of<D: Domain>(history: &'a History, domain: &D, op: OpId) -> Option<Fact<'a>> {
        let operation = history.operation(op);
        let complete = operation.record().completed != NEVER;
        let call = domain.call(operation, complete).ok().flatten()?;
        let effect = Effect::of(domain.name(), &call);
        Some(Fact {
            operation,
            call,
            saw: effect.saw,
            missed: effect.missed,
            made: effect.made,
            added: effect.added,
        })
    }

    /// What is there after it: what it made, or else what it saw.
    pub(super) fn left(&self) -> Option<&Value> {
        self.made.as_ref().or(self.saw.as_ref())
    }

    /// Whether it came back before another was invoked.
    pub(super) fn before(&self, other: &Fact<'_>) -> bool {
        self.operation.record().completed < other.operation.record().invoked
    }

    /// Whether it is a cas that took one value away for another, or may have.
    pub(super) fn exchanged(&self) -> bool {
        self.saw.is_some() && self.made.is_some() && self.saw != self.made
    }

    /// Whether it may have changed anything.
    pub(super) fn changes(&self) -> bool {
        self.made.is_some() || self.added.is_some()
    }
}

impl<'a> Facts<'a> {
    /// All of a subhistory.
    pub(super) fn of<D: Domain>(history: &'a History, domain: &D, moments: &Moments<'_>) -> Facts<'a> {
        let mut facts = Facts {
            all: Vec::new(),
            failed: Vec::new(),
        };
        for op in moments.invoked() {
            match Fact::of(history, domain, op) {
                Some(fact) => facts.all.push(fact),
                None if history.operation(op).outcome() == Outcome::Fail => {
                    facts.failed.push(history.operation(op));
                }
                None => {}
            }
        }
        facts
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Fact<'a>> {
        self.all.iter()
    }

    /// Who left this value behind, or may have.
    pub(super) fn makers(&self, value: &Value) -> impl Iterator<Item = &Fact<'a>> {
        self.all
            .iter()
            .filter(move |fact| fact.made.as_ref() == Some(value))
    }

    /// Who asked for this value to be written and was told that it was not: by a failure, or by a mismatch.
    pub(super) fn refused(&self, value: &Value) -> Option<Refusal<'a>> {
        let wanted = |input: &Value| match input.as_list() {
            Some([_, new]) => new == value,
            _ => input == value,
        };
        let mismatched = self.all.iter().filter(|fact| {
            fact.call.f == "cas"
                && matches!(fact.call.result, Observed::Mismatch(_))
                && wanted(&fact.call.input)
        });
        let failed = self.failed.iter().copied();
        let mut failed = failed.filter(|operation| wanted(&operation.input()));
        let by = |operation, found| Refusal { operation, found };
        failed.next().map(|operation| by(operation, None)).or_else(|| {
            let found = |fact: &Fact<'a>| match &fact.call.result {
                Observed::Mismatch(found) => found.clone(),
                Observed::Ok(..) | Observed::Unknown => None,
            };
            mismatched.map(|fact| by(fact.operation, found(fact))).next()
        })
    }
}

/// Somebody was told that he did not write what he asked for.
pub(super) struct Refusal<'a> {
    pub(super) operation: Operation<'a>,
    /// The value that his cas met instead of the expected one, if it was refused for that and the store told.
    pub(super) found: Option<Value>,
}

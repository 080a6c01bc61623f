//! A lock that one owner holds at a time.

use super::{General, Guarded, Invocation, Model, Observed};
use crate::history::Value;

/// `acquire` and `release`; the value is the owner, since a process may retire while it holds the lock. Nil is
/// an owner that nobody asks about, as in Knossos' mutex.
#[derive(Clone, Debug)]
pub(crate) struct Lock;

impl Lock {
    /// The domain of locks; they begin free.
    pub(crate) fn domain() -> General<Lock> {
        General {
            name: "lock",
            model: Guarded::new(Lock),
            functions: &["acquire", "release"],
            flaw: |_| None,
            init: Value::Nil,
        }
    }
}

impl Model for Lock {
    /// Who holds it, if anybody does.
    type State = Option<Value>;

    fn init(&self) -> Option<Value> {
        None
    }

    fn step(&self, holder: &Option<Value>, operation: &Invocation) -> Option<Option<Value>> {
        // Some stores tell the owner only when they have granted the lock.
        let owner = match &operation.result {
            Observed::Ok(told, _) if operation.input.is_nil() => told,
            _ => &operation.input,
        };
        match (&*operation.f, holder) {
            ("acquire", None) => Some(Some(owner.clone())),
            ("release", Some(holder)) if owner.is_nil() || holder.is_nil() || holder == owner => Some(None),
            _ => None,
        }
    }

    fn describe(&self, holder: &Option<Value>) -> String {
        match holder {
            None => "the lock is free".to_owned(),
            Some(Value::Nil) => "the lock is held".to_owned(),
            Some(holder) => format!("the lock is held by {holder}"),
        }
    }
}

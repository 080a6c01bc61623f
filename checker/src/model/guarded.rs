//! Models with a net below: what a model panics about is the model's failure, and no failure of the checker.
//!
//! The two must be told apart. A model that fails makes the verdict unknown, and says why; a broken invariant of an
//! engine must never look like that. So a panic is marked where a model is asked, goes up past engines that know
//! nothing of it, and is caught by whoever has something to say about the whole.

use std::any::Any;
use std::ops::Deref;
use std::panic::{self, AssertUnwindSafe};

use super::{Invocation, Model};

/// A model of which every answer is asked for with a net below.
#[derive(Clone, Debug)]
pub(crate) struct Guarded<M>(M);

/// What a model said when it panicked, and at what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ModelFailure {
    pub(crate) message: String,
}

/// Does something in which models are asked. Any other panic than a model's goes on.
///
/// # Errors
/// The failure of the model, if it failed.
pub(crate) fn caught<T>(work: impl FnOnce() -> T) -> Result<T, ModelFailure> {
    // What was half done is not looked at any more.
    panic::catch_unwind(AssertUnwindSafe(work)).or_else(|panicked| {
        match panicked.downcast::<ModelFailure>() {
            Ok(failure) => Err(*failure),
            Err(other) => panic::resume_unwind(other),
        }
    })
}

/// What somebody said who panicked.
pub(crate) fn words_of(panicked: &(dyn Any + Send)) -> String {
    if let Some(failure) = panicked.downcast_ref::<ModelFailure>() {
        return failure.message.clone();
    }
    let said = panicked.downcast_ref::<String>().cloned();
    let said = said.or_else(|| panicked.downcast_ref::<&str>().map(|said| (*said).to_owned()));
    said.unwrap_or_else(|| "it said nothing".to_owned())
}

/// Marks what is panicked with as the model's.
fn ask<T>(model: impl FnOnce() -> T, about: impl FnOnce() -> String) -> T {
    panic::catch_unwind(AssertUnwindSafe(model)).unwrap_or_else(|panicked| {
        let message = format!("{} ({})", words_of(&*panicked), about());
        panic::resume_unwind(Box::new(ModelFailure { message }))
    })
}

fn at(operation: &Invocation) -> String {
    format!("at {} {}", operation.f, operation.input)
}

impl<M> Guarded<M> {
    pub(crate) fn new(model: M) -> Guarded<M> {
        Guarded(model)
    }
}

impl<M> Deref for Guarded<M> {
    type Target = M;

    fn deref(&self) -> &M {
        &self.0
    }
}

impl<M: Model> Model for Guarded<M> {
    type State = M::State;

    fn init(&self) -> M::State {
        ask(|| self.0.init(), || "at the beginning".to_owned())
    }

    fn step(&self, state: &M::State, operation: &Invocation) -> Option<M::State> {
        ask(|| self.0.step(state, operation), || at(operation))
    }

    fn always_possible(&self, operation: &Invocation) -> bool {
        ask(|| self.0.always_possible(operation), || at(operation))
    }

    fn only_observes(&self, operation: &Invocation) -> bool {
        ask(|| self.0.only_observes(operation), || at(operation))
    }

    fn only_grows(&self, operation: &Invocation) -> bool {
        ask(|| self.0.only_grows(operation), || at(operation))
    }

    fn outgrown(&self, state: &M::State, operation: &Invocation) -> bool {
        ask(|| self.0.outgrown(state, operation), || at(operation))
    }

    fn size(&self, state: &M::State) -> usize {
        ask(
            || self.0.size(state),
            || "asked for the size of a state".to_owned(),
        )
    }

    fn describe(&self, state: &M::State) -> String {
        ask(
            || self.0.describe(state),
            || "asked to describe a state".to_owned(),
        )
    }
}

/// A model that fails where tests want it to.
#[cfg(test)]
pub(crate) mod fragile {
    use super::{Guarded, Invocation, Model};
    use crate::history::{Event, EventKind, Header, History, Nanos, ProcessId, Value};
    use crate::model::{General, Observed};

    /// A counter, until somebody adds 13 or wants a state described.
    #[derive(Clone, Debug)]
    pub(crate) struct Fragile;

    pub(crate) fn domain() -> General<Fragile> {
        General {
            name: "counter",
            model: Guarded::new(Fragile),
            functions: &["add", "read"],
            flaw: |_| None,
            init: Value::Int(0),
        }
    }

    impl Model for Fragile {
        type State = i64;

        fn init(&self) -> i64 {
            0
        }

        fn step(&self, count: &i64, operation: &Invocation) -> Option<i64> {
            assert!(operation.input != Value::Int(13), "thirteen is too much");
            match &operation.result {
                Observed::Ok(seen, _) if operation.f == "read" => {
                    (seen.as_int() == Some(*count)).then_some(*count)
                }
                _ => Some(count + operation.input.as_int().unwrap_or(0)),
            }
        }

        fn describe(&self, _count: &i64) -> String {
            panic!("words fail me")
        }
    }

    /// Operations one after the other, each on a key: what was asked, and what came back.
    pub(crate) fn history(operations: &[(&str, &'static str, i64, i64)]) -> History {
        let mut events = Vec::new();
        for &(key, f, asked, answered) in operations {
            let asked = if f == "read" {
                Value::Nil
            } else {
                Value::Int(asked)
            };
            for (kind, value) in [(EventKind::Invoke, asked), (EventKind::Ok, Value::Int(answered))] {
                let index = events.len() as u64;
                let mut event = Event::new(index, Nanos(index), ProcessId(0), kind, f, value);
                event.key = Some(Value::from(key));
                events.push(event);
            }
        }
        History::from_events(Header::for_model("counter"), events).expect("the events pair")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Domain;

    #[test]
    fn only_what_a_model_says_is_caught() {
        let domain = fragile::domain();
        let failed = caught(|| domain.rules().describe(&3));
        let failure = ModelFailure {
            message: "words fail me (asked to describe a state)".to_owned(),
        };
        assert_eq!(failed, Err(failure));
        assert_eq!(caught(|| 3), Ok(3));
        let other = panic::catch_unwind(|| caught(|| -> i64 { panic!("an invariant is broken") }));
        let said = words_of(&*other.expect_err("goes on"));
        assert_eq!(said, "an invariant is broken");
    }
}

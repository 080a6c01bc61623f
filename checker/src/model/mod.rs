//! Models: what a store would do if it did one thing at a time.

mod counter;
mod dispatch;
mod domain;
mod effect;
mod general;
mod growing;
mod guarded;
mod lock;
mod multi_register;
mod power_set;
mod queue;
mod register;
mod register_compiler;
mod register_glance;
mod register_machine;
mod set;
mod text;
mod words;

use std::fmt;
use std::hash::Hash;

pub(crate) use counter::Counter;
pub(crate) use dispatch::{Judged, WithDomain, is_bag, with_domain};
pub(crate) use domain::{Domain, Registers};
pub(crate) use effect::Effect;
pub(crate) use general::General;
#[cfg(test)]
pub(crate) use guarded::fragile;
pub(crate) use guarded::{Guarded, ModelFailure, caught, words_of};
pub(crate) use lock::Lock;
pub(crate) use multi_register::MultiRegister;
pub use power_set::{Nondeterministic, PowerSet};
pub(crate) use queue::{Bag, Fifo};
pub(crate) use register::{FUNCTIONS, Function, RegisterRules, appended, given, is_mismatch};
use serde::Serialize;
pub(crate) use set::Set;
pub(crate) use words::{Stepped, WordRegister};

use crate::history::{Name, Value};

/// An operation as a model sees it: what was asked and what came back.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct Invocation {
    /// The function.
    pub f: Name,
    /// The argument.
    pub input: Value,
    /// The revision that was asked for, in models that know revisions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub asked_rev: Option<i64>,
    /// What came back.
    pub result: Observed,
}

/// What came back from an operation that counts. What certainly did nothing does not.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Observed {
    /// It happened, and this was the result; with the revision that the store gave it, if it told.
    Ok(Value, Option<i64>),
    /// It compared and found another value: this one, if the store told.
    Mismatch(Option<Value>),
    /// Nobody knows; if it took effect, its result is not known.
    Unknown,
}

/// A store that does one thing at a time.
///
/// The checker decides whether an order of the operations exists that the model allows and that keeps
/// operations apart that did not overlap.
pub trait Model: Sync {
    /// What the store holds.
    type State: Clone + Eq + Hash + fmt::Debug + Send;

    /// What it holds before the first operation.
    fn init(&self) -> Self::State;

    /// What it holds after the operation, or `None` if the operation cannot end so in this state.
    ///
    /// An operation whose result is [`Observed::Unknown`] may end in any way: the state after it must be the
    /// same whichever.
    fn step(&self, state: &Self::State, operation: &Invocation) -> Option<Self::State>;

    /// Whether the operation is possible in every state. Saying so of one that is not makes verdicts wrong.
    fn always_possible(&self, _operation: &Invocation) -> bool {
        false
    }

    /// Whether the operation changes nothing *in any state*. Saying so of one that may change something makes
    /// verdicts wrong; saying nothing makes them slow.
    fn only_observes(&self, _operation: &Invocation) -> bool {
        false
    }

    /// Whether the operation, whatever comes of it, only ever adds to the state. See [`Model::outgrown`].
    fn only_grows(&self, _operation: &Invocation) -> bool {
        false
    }

    /// Whether no growing of this state leads to one in which the operation can end as it did. Asked only where
    /// every operation of the history [only adds](Model::only_grows) to the state.
    fn outgrown(&self, _state: &Self::State, _operation: &Invocation) -> bool {
        false
    }

    /// About how many bytes a state takes, with what it points to. Limits of time and memory count by it: say so of
    /// states that grow.
    fn size(&self, _state: &Self::State) -> usize {
        size_of::<Self::State>()
    }

    /// The state for a person: `the value is 5`.
    fn describe(&self, state: &Self::State) -> String {
        format!("the state is {state:?}")
    }
}

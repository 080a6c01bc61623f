//! Models that may do one of several things.

use std::collections::BTreeSet;
use std::fmt;
use std::hash::Hash;

use super::{Invocation, Model};

/// A store that may do one of several things, nobody knows which.
pub trait Nondeterministic: Sync {
    /// What the store holds.
    type State: Clone + Ord + Hash + fmt::Debug + Send;

    /// What it holds before the first operation.
    fn init(&self) -> Self::State;

    /// Everything that it may hold after the operation; nothing if the operation cannot end so in this state.
    fn steps(&self, state: &Self::State, operation: &Invocation) -> Vec<Self::State>;

    /// See [`Model::only_observes`]: whether it changes nothing in any state. Then `steps` gives the state itself
    /// or nothing.
    fn only_observes(&self, _operation: &Invocation) -> bool {
        false
    }
}

/// Such a store as a [`Model`]: its state is the set of everything it may hold.
///
/// An observation that rules some of it out changes that set, and so is no mere observation here.
#[derive(Clone, Debug)]
pub struct PowerSet<N>(pub N);

impl<N: Nondeterministic> Model for PowerSet<N> {
    type State = BTreeSet<N::State>;

    fn init(&self) -> Self::State {
        BTreeSet::from([self.0.init()])
    }

    fn step(&self, states: &Self::State, operation: &Invocation) -> Option<Self::State> {
        let next: BTreeSet<N::State> = states
            .iter()
            .flat_map(|state| self.0.steps(state, operation))
            .collect();
        (!next.is_empty()).then_some(next)
    }
}

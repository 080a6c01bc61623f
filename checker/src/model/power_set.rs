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

    /// See [`Model::size`].
    fn size(&self, _state: &Self::State) -> usize {
        size_of::<Self::State>()
    }

    /// See [`Model::describe`].
    fn describe(&self, state: &Self::State) -> String {
        format!("the state is {state:?}")
    }
}

/// Such a store as a [`Model`]: its state is the set of everything it may hold.
///
/// An observation that rules some of it out changes that set, and so is no mere observation here.
///
/// Such sets may grow without bounds, within one step. More than 64 MiB of possibilities are not followed: the step
/// panics, which makes the verdict of a check unknown.
#[derive(Clone, Debug)]
pub struct PowerSet<N>(pub N);

impl<N: Nondeterministic> Model for PowerSet<N> {
    type State = BTreeSet<N::State>;

    fn init(&self) -> Self::State {
        BTreeSet::from([self.0.init()])
    }

    fn step(&self, states: &Self::State, operation: &Invocation) -> Option<Self::State> {
        let (mut next, mut bytes) = (BTreeSet::new(), 0);
        for after in states.iter().flat_map(|state| self.0.steps(state, operation)) {
            let size = self.0.size(&after);
            bytes += if next.insert(after) { size } else { 0 };
            assert!(
                bytes <= MOST_BYTES,
                "everything that the store may hold by then takes more than {} MiB",
                MOST_BYTES >> 20
            );
        }
        (!next.is_empty()).then_some(next)
    }

    fn size(&self, states: &Self::State) -> usize {
        states.iter().map(|state| self.0.size(state)).sum()
    }

    fn describe(&self, states: &Self::State) -> String {
        let mut shown: Vec<String> = states
            .iter()
            .take(SHOWN)
            .map(|state| self.0.describe(state))
            .collect();
        if states.len() > SHOWN {
            shown.push(format!("{} other possibilities", states.len() - SHOWN));
        }
        shown.join(", or ")
    }
}

/// How much everything that a store may hold may take, by [`Nondeterministic::size`].
const MOST_BYTES: usize = 64 << 20;
/// How many of the states that a store may hold are told.
const SHOWN: usize = 3;

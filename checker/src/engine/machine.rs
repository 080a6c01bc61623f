//! A model compiled for one subhistory: states and operations are small numbers.

use std::fmt::Debug;

use super::blocks::{Blocks, Observes};
use super::problem::Problem;

/// A state of the model, numbered within one subhistory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct StateId(pub(crate) u32);

/// Operations that do the same: the same function, argument and result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct ClassId(pub(crate) u32);

/// What the engines may assume about the operations of a class. Wrong assumptions give wrong verdicts; when in
/// doubt, [`Shape::General`] assumes nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Shape {
    /// Changes no state whatever, in whatever state it is possible.
    Observation,
    /// Possible in every state, and leads to this one from all.
    Overwrite(StateId),
    /// Possible only in the first state, and leads from it to the second, another one.
    Exchange(StateId, StateId),
    /// Possible in every state.
    Total,
    /// Anything.
    General,
}

/// A compiled model. Takes `&mut self` where states are numbered as they are met.
pub(crate) trait Machine: Debug {
    /// Whether searches are worth a version for every width of concurrency.
    const COMMON: bool = false;

    fn init(&self) -> StateId;

    /// The state after an operation of the class, or none if it is not possible.
    fn step(&mut self, state: StateId, class: ClassId) -> Option<StateId>;

    fn shape(&self, class: ClassId) -> Shape;

    /// What an observation says, where that is simple.
    fn observes(&self, _observation: ClassId) -> Option<Observes> {
        None
    }

    /// Decides a problem in which a state only grows, where that is simple.
    fn decide_growing(_problem: &Problem<Self>) -> Blocks
    where
        Self: Sized,
    {
        Blocks::NotApplicable
    }

    /// Whether this state can only be left by an overwrite: observations that need a state are impossible in it,
    /// exchanges too, and operations possible in every state stay in it.
    fn is_lost(&self, _state: StateId) -> bool {
        false
    }

    /// Whether a configuration that is in this state with everything before this event explained can certainly
    /// not explain the rest. `false` is always right, and slower.
    fn hopeless(&self, _state: StateId, _event: usize) -> bool {
        false
    }

    /// Whether an observation that is open will never be possible again once this state was reached.
    fn missed(&self, _state: StateId, _observation: ClassId) -> bool {
        false
    }

    /// About how many bytes the states take that were met.
    fn bytes(&self) -> u64 {
        0
    }

    /// What the steps have taken so far, in words of memory gone through; nothing where a step is a look-up.
    fn effort(&self) -> u64 {
        0
    }
}

/// A machine behind a pointer, which has no constants of its own.
pub(crate) trait DynMachine: Debug {
    /// See [`Machine::init`].
    fn dyn_init(&self) -> StateId;
    /// See [`Machine::step`].
    fn dyn_step(&mut self, state: StateId, class: ClassId) -> Option<StateId>;
    /// See [`Machine::shape`].
    fn dyn_shape(&self, class: ClassId) -> Shape;
    /// See [`Machine::bytes`].
    fn dyn_bytes(&self) -> u64;
    /// See [`Machine::effort`].
    fn dyn_effort(&self) -> u64;
}

/// Models other than the register share one engine: there are many of them.
impl Machine for Box<dyn DynMachine + '_> {
    fn init(&self) -> StateId {
        self.as_ref().dyn_init()
    }

    fn step(&mut self, state: StateId, class: ClassId) -> Option<StateId> {
        self.as_mut().dyn_step(state, class)
    }

    fn shape(&self, class: ClassId) -> Shape {
        self.as_ref().dyn_shape(class)
    }

    fn bytes(&self) -> u64 {
        self.as_ref().dyn_bytes()
    }

    fn effort(&self) -> u64 {
        self.as_ref().dyn_effort()
    }
}

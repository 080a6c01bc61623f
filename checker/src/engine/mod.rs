//! Engines that decide one subhistory, whatever the model.

mod beam;
mod blocks;
mod budget;
mod machine;
mod mask;
mod memo;
mod order;
mod problem;
mod search;
mod usage;
mod window;

pub(crate) use blocks::{Blocks, Observes, decide};
pub(crate) use budget::{Budget, Exhausted, Meter};
pub(crate) use machine::{ClassId, DynMachine, Machine, Shape, StateId};
pub(crate) use order::order;
pub(crate) use problem::{Call, CallId, Moment, Need, Packed, Problem};
#[cfg(test)]
pub(crate) use search::search_in_breadth;
pub(crate) use search::{Answer, search};

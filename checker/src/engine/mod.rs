//! Engines that decide one subhistory, whatever the model.

mod blocks;
mod budget;
mod frontier;
mod lessons;
mod machine;
mod mask;
mod memo;
mod order;
mod problem;
mod prospects;
mod search;
mod supply;
mod usage;
mod window;

pub(crate) use blocks::{Blocks, Observes, decide};
pub(crate) use budget::{Budget, Exhausted, Meter};
pub(crate) use machine::{ClassId, DynMachine, Machine, Shape, StateId};
pub(crate) use order::order;
pub(crate) use problem::{Call, CallId, Moment, Need, Packed, Problem};
pub(crate) use search::{Answer, search};
#[cfg(test)]
pub(crate) use search::{refute_from, search_in_breadth, search_in_depth};

//! Engines that decide one subhistory, whatever the model.

mod blocks;
mod budget;
mod effort;
mod frontier;
mod glance;
mod lessons;
mod machine;
mod mask;
mod memo;
mod order;
mod problem;
mod prospects;
mod refute;
mod search;
mod supply;
mod usage;
mod window;

pub(crate) use blocks::{Blocks, Observes, decide};
pub(crate) use budget::{Budget, Exhausted, Meter, available};
pub(crate) use glance::{Deed, Glance, VALUES};
pub(crate) use machine::{ClassId, DynMachine, Machine, Shape, StateId};
pub(crate) use order::order;
pub(crate) use problem::{Call, CallId, Moment, NEVER, Need, Packed, Problem, Span};
pub(crate) use prospects::PLENTY;
pub(crate) use refute::refute;
pub(crate) use search::{Answer, Step, search, search_briefly};
#[cfg(test)]
pub(crate) use search::{search_in_breadth, search_in_depth};

//! Turns the steps of a search into an order of operations.

use std::collections::VecDeque;

use rustc_hash::FxHashMap;

use super::machine::{ClassId, Machine, Shape};
use super::problem::{CallId, Moment, Need, Problem};
use super::search::{Step, Taken};
use crate::history::OpId;

/// The operations in the order in which they take effect.
///
/// Steps say where most operations go. An operation that left no trace goes to the first place after its
/// invocation where it has none: right before an overwrite if it is possible in every state, or anywhere where the
/// state stays as it is.
pub(crate) fn order<M: Machine>(problem: &mut Problem<M>, steps: &[Step]) -> Vec<OpId> {
    let mut places = Places::new(problem, steps);
    let mut order = Vec::with_capacity(problem.calls.len());
    let mut state = problem.machine.init();
    for (at, step) in steps.iter().enumerate() {
        places.begin(step.at);
        let class = match step.what {
            Taken::Call(call) | Taken::Traceless(call) => problem.call(call).class,
            Taken::Optional(class) => class,
        };
        let overwrites = matches!(step.what, Taken::Call(_) | Taken::Optional(_))
            && matches!(problem.machine.shape(class), Shape::Overwrite(_));
        places.waiting.retain(|&call| {
            let own = problem.calls[call.0 as usize].class;
            let hidden =
                overwrites && matches!(problem.machine.shape(own), Shape::Overwrite(_) | Shape::Total);
            let placed = hidden || problem.machine.step(state, own) == Some(state);
            if placed {
                order.push(problem.calls[call.0 as usize].op);
            }
            !placed
        });
        match step.what {
            Taken::Traceless(call) => {
                assert!(
                    !places.waiting.contains(&call),
                    "what left no trace has a place before step {at}"
                );
            }
            Taken::Call(call) => {
                order.push(problem.call(call).op);
                state = problem
                    .machine
                    .step(state, class)
                    .expect("the search took this step");
            }
            Taken::Optional(class) => {
                order.push(problem.call(places.first_of(class)).op);
                state = problem
                    .machine
                    .step(state, class)
                    .expect("the search took this step");
            }
        }
    }
    order
}

/// What waits to be placed.
struct Places {
    /// Calls that left no trace, by invocation, with the moment of it.
    traceless: VecDeque<(u32, CallId)>,
    waiting: Vec<CallId>,
    optional: FxHashMap<ClassId, VecDeque<CallId>>,
}

impl Places {
    fn new<M: Machine>(problem: &Problem<M>, steps: &[Step]) -> Places {
        let mut traceless = vec![false; problem.calls.len()];
        for step in steps {
            if let Taken::Traceless(call) = step.what {
                traceless[call.0 as usize] = true;
            }
        }
        let mut places = Places {
            traceless: VecDeque::new(),
            waiting: Vec::new(),
            optional: FxHashMap::default(),
        };
        for (at, moment) in problem.moments.iter().enumerate() {
            let Moment::Invoked(call) = moment.moment() else {
                continue;
            };
            if traceless[call.0 as usize] {
                places.traceless.push_back((at as u32, call));
            }
            if problem.call(call).need == Need::Optional {
                places
                    .optional
                    .entry(problem.call(call).class)
                    .or_default()
                    .push_back(call);
            }
        }
        places
    }

    /// Calls invoked before this moment may be placed from now on.
    fn begin(&mut self, at: u32) {
        while let Some(&(invoked, call)) = self.traceless.front()
            && invoked < at
        {
            self.traceless.pop_front();
            self.waiting.push(call);
        }
    }

    fn first_of(&mut self, class: ClassId) -> CallId {
        let calls = self.optional.get_mut(&class).expect("the search used this class");
        calls.pop_front().expect("no more were used than were invoked")
    }
}

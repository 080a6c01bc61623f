//! Any [`Model`] as a machine: states and operations are numbered as they are met.

use std::fmt;

use hashbrown::HashMap;
use rustc_hash::{FxBuildHasher, FxHashMap};

use super::{Invocation, Model, Observed};
use crate::engine::{Call, CallId, ClassId, Machine, Need, Packed, Problem, Shape, StateId};
use crate::history::OpId;

/// A model, with the states that were met and the steps that were taken.
pub(crate) struct Interned<'m, M: Model> {
    model: &'m M,
    states: Vec<M::State>,
    numbers: HashMap<M::State, StateId, FxBuildHasher>,
    operations: Vec<Invocation>,
    steps: FxHashMap<(StateId, ClassId), Option<StateId>>,
}

impl<M: Model> Machine for Interned<'_, M> {
    fn init(&self) -> StateId {
        StateId(0)
    }

    fn step(&mut self, state: StateId, class: ClassId) -> Option<StateId> {
        if let Some(&known) = self.steps.get(&(state, class)) {
            return known;
        }
        let operation = &self.operations[class.0 as usize];
        let next = self.model.step(&self.states[state.0 as usize], operation);
        let next = next.map(|next| {
            if let Some(&known) = self.numbers.get(&next) {
                return known;
            }
            let number = StateId(self.states.len() as u32);
            self.states.push(next.clone());
            self.numbers.insert(next, number);
            number
        });
        self.steps.insert((state, class), next);
        next
    }

    fn shape(&self, class: ClassId) -> Shape {
        if self.model.only_observes(&self.operations[class.0 as usize]) {
            Shape::Observation
        } else {
            Shape::General
        }
    }
}

impl<M: Model> fmt::Debug for Interned<'_, M> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Interned")
            .field("states", &self.states)
            .finish_non_exhaustive()
    }
}

/// One thing that happens to an operation, for [`compile`].
#[derive(Clone, Debug)]
pub(crate) enum Happening {
    /// It is invoked; what it will have been is known.
    Invoked(OpId, Invocation),
    /// It completes.
    Completed(OpId),
}

/// A subhistory as a problem for a model.
pub(crate) fn compile<M: Model>(model: &M, happenings: Vec<Happening>) -> Problem<Interned<'_, M>> {
    let init = model.init();
    let mut numbers = HashMap::with_hasher(FxBuildHasher);
    numbers.insert(init.clone(), StateId(0));
    let mut machine = Interned {
        model,
        states: vec![init],
        numbers,
        operations: Vec::new(),
        steps: FxHashMap::default(),
    };
    let mut classes: HashMap<Invocation, ClassId, FxBuildHasher> = HashMap::with_hasher(FxBuildHasher);
    let mut open: FxHashMap<OpId, CallId> = FxHashMap::default();
    let (mut calls, mut moments) = (Vec::new(), Vec::new());
    for happening in happenings {
        match happening {
            Happening::Invoked(op, invocation) => {
                let optional = invocation.result == Observed::Unknown;
                if optional && model.only_observes(&invocation) {
                    continue;
                }
                let next = ClassId(machine.operations.len() as u32);
                let class = *classes.entry(invocation.clone()).or_insert(next);
                if class == next {
                    machine.operations.push(invocation);
                }
                let call = CallId(calls.len() as u32);
                let need = if optional { Need::Optional } else { Need::Required };
                calls.push(Call {
                    op,
                    class,
                    need,
                    after: None,
                });
                moments.push(Packed::invoked(call));
                if !optional {
                    open.insert(op, call);
                }
            }
            Happening::Completed(op) => {
                if let Some(call) = open.remove(&op) {
                    moments.push(Packed::completed(call));
                }
            }
        }
    }
    Problem {
        machine,
        calls,
        moments,
    }
}

//! Any [`Model`] as a machine: states and operations are numbered as they are met.

use std::fmt;

use hashbrown::HashMap;
use rustc_hash::{FxBuildHasher, FxHashMap};

use super::{Domain, Guarded, Invocation, Model, Observed};
use crate::engine::{Call, CallId, ClassId, DynMachine, Need, Packed, Problem, Shape, StateId};
use crate::history::{Flaw, History, OpId, Operation, Outcome, Value};
use crate::subhistory::Moments;

/// A model, with the states that were met and the steps that were taken.
pub(crate) struct Interned<'m, M: Model> {
    model: &'m M,
    states: Vec<M::State>,
    numbers: HashMap<M::State, StateId, FxBuildHasher>,
    operations: Vec<Invocation>,
    steps: FxHashMap<(StateId, ClassId), Option<StateId>>,
    /// About how many bytes the states take.
    bytes: u64,
    /// How many words were gone through by steps.
    effort: u64,
}

/// How many bytes a word takes.
const WORD: u64 = size_of::<usize>() as u64;
/// How many bytes a step takes that is remembered.
const STEP: u64 = 2 * size_of::<((StateId, ClassId), Option<StateId>)>() as u64;

impl<M: Model> DynMachine for Interned<'_, M> {
    fn dyn_init(&self) -> StateId {
        StateId(0)
    }

    fn dyn_step(&mut self, state: StateId, class: ClassId) -> Option<StateId> {
        if let Some(&known) = self.steps.get(&(state, class)) {
            return known;
        }
        let operation = &self.operations[class.0 as usize];
        let before = &self.states[state.0 as usize];
        let next = self.model.step(before, operation);
        self.effort += 1 + self.model.size(next.as_ref().unwrap_or(before)) as u64 / WORD;
        let next = next.map(|next| {
            if let Some(&known) = self.numbers.get(&next) {
                return known;
            }
            // Kept twice.
            self.bytes += 2 * self.model.size(&next) as u64;
            let number = StateId(self.states.len() as u32);
            self.states.push(next.clone());
            self.numbers.insert(next, number);
            number
        });
        self.steps.insert((state, class), next);
        next
    }

    fn dyn_shape(&self, class: ClassId) -> Shape {
        let operation = &self.operations[class.0 as usize];
        match self.model.only_observes(operation) {
            true => Shape::Observation,
            false if self.model.always_possible(operation) => Shape::Total,
            false => Shape::General,
        }
    }

    fn dyn_bytes(&self) -> u64 {
        self.bytes + self.steps.capacity() as u64 * STEP
    }

    fn dyn_effort(&self) -> u64 {
        self.effort
    }
}

impl<M: Model> fmt::Debug for Interned<'_, M> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Interned")
            .field("states", &self.states)
            .finish_non_exhaustive()
    }
}

/// Any model of which every operation is judged as it is recorded: what failed did nothing.
#[derive(Clone, Debug)]
pub(crate) struct General<M> {
    pub(crate) name: &'static str,
    pub(crate) model: Guarded<M>,
    /// The functions that the model knows; none if it takes whatever comes.
    pub(crate) functions: &'static [&'static str],
    /// What is wrong with an invocation, if anything.
    pub(crate) flaw: fn(&Invocation) -> Option<&'static str>,
    pub(crate) init: Value,
}

impl<M: Model> Domain for General<M> {
    type Rules = Guarded<M>;
    type Compiled<'a>
        = Box<dyn DynMachine + 'a>
    where
        M: 'a;

    fn rules(&self) -> &Guarded<M> {
        &self.model
    }

    fn name(&self) -> &'static str {
        self.name
    }

    fn init_value(&self) -> Value {
        self.init.clone()
    }

    fn call(&self, operation: Operation<'_>, complete: bool) -> Result<Option<Invocation>, Flaw> {
        let result = match operation.outcome() {
            Outcome::Fail => return Ok(None),
            Outcome::Ok if complete => Observed::Ok(operation.output(), operation.told_rev()),
            Outcome::Ok | Outcome::Info => Observed::Unknown,
        };
        let (f, input) = (operation.f().to_owned(), operation.input());
        Ok(Some(Invocation {
            f: f.into(),
            input,
            asked_rev: None,
            result,
        }))
    }

    fn compile<'a>(
        &'a self,
        history: &'a History,
        moments: &Moments<'a>,
    ) -> Problem<Box<dyn DynMachine + 'a>> {
        let mut machine = Interned::new(&self.model);
        let mut classes: HashMap<Invocation, ClassId, FxBuildHasher> = HashMap::with_hasher(FxBuildHasher);
        let mut numbers: FxHashMap<OpId, CallId> = FxHashMap::default();
        let (mut calls, mut packed) = (Vec::new(), Vec::new());
        for (op, completes) in moments.iter() {
            if completes {
                packed.extend(numbers.get(&op).copied().map(Packed::completed));
                continue;
            }
            let call = self.call(history.operation(op), moments.is_complete(op));
            let Some(invocation) = call.expect("histories are validated first") else {
                continue;
            };
            let optional = invocation.result == Observed::Unknown;
            if optional && self.model.only_observes(&invocation) {
                continue;
            }
            let after = moments.after(op, |before| numbers.get(&before).copied());
            let class = if after.is_some() {
                machine.class(invocation)
            } else {
                *classes
                    .entry(invocation.clone())
                    .or_insert_with(|| machine.class(invocation))
            };
            let call = CallId(calls.len() as u32);
            let need = if optional { Need::Optional } else { Need::Required };
            calls.push(Call {
                op,
                class,
                need,
                after,
            });
            packed.push(Packed::invoked(call));
            if !optional {
                numbers.insert(op, call);
            }
        }
        Problem {
            machine: Box::new(machine),
            calls,
            moments: packed,
        }
    }

    fn validate(&self, history: &History) -> Result<(), (OpId, Flaw)> {
        for operation in history.operations() {
            if !self.functions.is_empty() && !self.functions.contains(&operation.f()) {
                let flaw = Flaw::UnknownFunction {
                    f: operation.f().to_owned(),
                    model: self.name.to_owned(),
                    known: self.functions.join(", "),
                };
                return Err((operation.id(), flaw));
            }
            if let Ok(Some(call)) = self.call(operation, true)
                && let Some(wanted) = (self.flaw)(&call)
            {
                let found = match &call.result {
                    Observed::Ok(result, _) => format!("{} -> {result}", call.input),
                    Observed::Mismatch(_) | Observed::Unknown => call.input.to_string(),
                };
                return Err((
                    operation.id(),
                    Flaw::WrongValue {
                        f: call.f.to_string(),
                        wanted,
                        found,
                    },
                ));
            }
        }
        Ok(())
    }
}

impl<'m, M: Model> Interned<'m, M> {
    fn new(model: &'m M) -> Self {
        let init = model.init();
        let mut numbers = HashMap::with_hasher(FxBuildHasher);
        numbers.insert(init.clone(), StateId(0));
        Interned {
            model,
            states: vec![init],
            numbers,
            operations: Vec::new(),
            steps: FxHashMap::default(),
            bytes: 0,
            effort: 0,
        }
    }

    fn class(&mut self, operation: Invocation) -> ClassId {
        self.operations.push(operation);
        ClassId(self.operations.len() as u32 - 1)
    }
}

//! What ties a model to histories: how their operations are read, and how they are compiled.

use rustc_hash::FxHashSet;

use super::register::{FUNCTIONS, Function, RegisterRules, Versioned, appended, register_call};
use super::register_compiler::compile_register;
use super::register_glance::glance_at_register;
use super::register_machine::RegisterMachine;
use super::{Guarded, Invocation, Model, WordRegister};
use crate::engine::{Glance, Machine, Problem};
use crate::history::{Flaw, History, OpId, Operation, Value};
use crate::subhistory::Moments;

/// A model and the functions of histories that it judges.
pub(crate) trait Domain: Sync {
    /// The model in plain words, for replaying and for the oracle.
    type Rules: Model;
    /// The model compiled.
    type Compiled<'a>: Machine
    where
        Self: 'a;

    fn rules(&self) -> &Self::Rules;

    /// What the model is called.
    fn name(&self) -> &'static str;

    /// The initial value, for people.
    fn init_value(&self) -> Value;

    /// What an operation asked and saw, or `None` if it certainly did nothing and saw nothing. `complete` says
    /// whether its completion counts.
    fn call(&self, operation: Operation<'_>, complete: bool) -> Result<Option<Invocation>, Flaw>;

    /// Some moments as a problem for an engine.
    fn compile<'a>(&'a self, history: &'a History, moments: &Moments<'a>) -> Problem<Self::Compiled<'a>>;

    /// An order that explains some moments, where one is found at the first glance. Nothing says nothing.
    fn glance(&self, _history: &History, _moments: &Moments<'_>, _room: &mut Glance) -> Option<Vec<OpId>> {
        None
    }

    /// The rules on words, where they can be had so.
    fn words<'a>(&'a self, _history: &'a History) -> Option<WordRegister<'a>> {
        None
    }

    /// Whether states are values that operations only compare with those that they name.
    fn compares_values(&self) -> bool {
        false
    }

    /// A state of which nothing matters but that it is none of the values that are seen, and cannot become one
    /// except by being replaced, as another one of which the same is true.
    fn forget(
        &self,
        state: <Self::Rules as Model>::State,
        _seen: &FxHashSet<Value>,
        _instead: &str,
    ) -> <Self::Rules as Model>::State {
        state
    }

    /// Refuses histories with operations that the model cannot judge; afterwards every other method may rely
    /// on having seen none.
    fn validate(&self, history: &History) -> Result<(), (OpId, Flaw)>;
}

/// Registers: `register`, `cas-register`, `kv`.
#[derive(Clone, Debug)]
pub(crate) struct Registers {
    pub(crate) name: &'static str,
    pub(crate) rules: Guarded<RegisterRules>,
}

impl Domain for Registers {
    type Rules = Guarded<RegisterRules>;
    type Compiled<'a> = RegisterMachine;

    fn rules(&self) -> &Guarded<RegisterRules> {
        &self.rules
    }

    fn name(&self) -> &'static str {
        self.name
    }

    fn init_value(&self) -> Value {
        self.rules.init.clone()
    }

    fn call(&self, operation: Operation<'_>, complete: bool) -> Result<Option<Invocation>, Flaw> {
        register_call(operation, &self.rules, complete)
    }

    fn compares_values(&self) -> bool {
        true
    }

    fn forget(&self, (value, rev): Versioned, seen: &FxHashSet<Value>, instead: &str) -> Versioned {
        if seen.contains(&value) {
            return (value, rev);
        }
        let text = appended(&value, &Value::Nil);
        let begins = |seen: &Value| {
            seen.as_str()
                .is_some_and(|seen| text.as_str().is_some_and(|text| seen.starts_with(text)))
        };
        match seen.iter().any(begins) {
            true => (value, rev),
            false => (Value::from(instead), rev),
        }
    }

    fn compile<'a>(&'a self, history: &'a History, moments: &Moments<'a>) -> Problem<RegisterMachine> {
        compile_register(history, &self.rules, moments)
    }

    fn glance(&self, history: &History, moments: &Moments<'_>, room: &mut Glance) -> Option<Vec<OpId>> {
        glance_at_register(history, &self.rules, moments, room)
    }

    fn words<'a>(&'a self, history: &'a History) -> Option<WordRegister<'a>> {
        Some(WordRegister::new(history, &self.rules))
    }

    fn validate(&self, history: &History) -> Result<(), (OpId, Flaw)> {
        let functions: Vec<Option<Function>> = history.functions.iter().map(|f| Function::named(f)).collect();
        for operation in history.operations() {
            match functions[usize::from(operation.record().f)] {
                None => {
                    let flaw = Flaw::UnknownFunction {
                        f: operation.f().to_owned(),
                        model: self.name.to_owned(),
                        known: FUNCTIONS.to_owned(),
                    };
                    return Err((operation.id(), flaw));
                }
                Some(Function::Cas) if !operation.record().input.is_pair() => {
                    register_call(operation, &self.rules, true).map_err(|flaw| (operation.id(), flaw))?;
                }
                Some(_) => {}
            }
        }
        Ok(())
    }
}

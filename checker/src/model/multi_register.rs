//! Several registers that one operation reads and writes at once, so that the history cannot be split by key.

use std::collections::BTreeMap;

use super::{General, Guarded, Invocation, Model, Observed};
use crate::history::Value;

/// `txn` [["read", k, nil], ["write", k, v]...] -> the same with what was read filled in.
#[derive(Clone, Debug)]
pub(crate) struct MultiRegister {
    init: Value,
}

impl MultiRegister {
    /// The domain of registers that all begin with one value.
    pub(crate) fn domain(init: &Value) -> General<MultiRegister> {
        General {
            name: "multi-register",
            model: Guarded::new(MultiRegister { init: init.clone() }),
            functions: &["txn", "read", "write"],
            flaw,
            init: init.clone(),
        }
    }
}

fn flaw(operation: &Invocation) -> Option<&'static str> {
    let steps = steps(operation)?;
    let known = |step: &Value| {
        let parts = step.as_list().filter(|parts| parts.len() == 3);
        let f = parts.and_then(|parts| parts[0].as_str());
        matches!(f, Some("r" | "read" | "get" | "w" | "write" | "set"))
    };
    (!steps.iter().all(known)).then_some("a list of [\"read\" or \"write\", key, value]")
}

/// What it did, as far as it is known.
fn steps(operation: &Invocation) -> Option<&[Value]> {
    match &operation.result {
        Observed::Ok(done, _) if done.as_list().is_some() => done.as_list(),
        _ => operation.input.as_list(),
    }
}

impl Model for MultiRegister {
    /// What was written, by key.
    type State = BTreeMap<Value, Value>;

    fn init(&self) -> BTreeMap<Value, Value> {
        BTreeMap::new()
    }

    fn step(
        &self,
        registers: &BTreeMap<Value, Value>,
        operation: &Invocation,
    ) -> Option<BTreeMap<Value, Value>> {
        let known = matches!(operation.result, Observed::Ok(..));
        let mut registers = registers.clone();
        for step in steps(operation)? {
            let [f, key, value] = step.as_list()? else {
                return None;
            };
            match f.as_str()? {
                "w" | "write" | "set" => drop(registers.insert(key.clone(), value.clone())),
                _ if known && registers.get(key).unwrap_or(&self.init) != value => return None,
                _ => {}
            }
        }
        Some(registers)
    }

    fn size(&self, registers: &BTreeMap<Value, Value>) -> usize {
        size_of_val(registers) + registers.len() * size_of::<(Value, Value)>()
    }

    fn only_observes(&self, operation: &Invocation) -> bool {
        let writes = |step: &Value| {
            let f = step
                .as_list()
                .and_then(|parts| parts.first())
                .and_then(Value::as_str);
            matches!(f, Some("w" | "write" | "set"))
        };
        steps(operation).is_some_and(|steps| !steps.iter().any(writes))
    }

    fn describe(&self, registers: &BTreeMap<Value, Value>) -> String {
        match registers.is_empty() {
            true => format!("every value is {}", self.init),
            false => {
                let values = registers.iter().map(|(key, value)| format!("{key}={value}"));
                format!("the values are {}", values.collect::<Vec<_>>().join(" "))
            }
        }
    }
}

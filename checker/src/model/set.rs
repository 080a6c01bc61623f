//! A set that is added to and read.

use std::collections::BTreeSet;

use super::{General, Guarded, Invocation, Model, Observed};
use crate::history::Value;

/// `add` x, `read` -> [x...] in any order.
#[derive(Clone, Debug)]
pub(crate) struct Set {
    init: BTreeSet<Value>,
}

impl Set {
    /// The domain of sets that begin with some elements; nothing counts as the empty set.
    pub(crate) fn domain(init: &Value) -> Result<General<Set>, String> {
        let elements = match init {
            Value::Nil => &[][..],
            other => other
                .as_list()
                .ok_or_else(|| format!("a set begins with a list, not with {other}"))?,
        };
        let model = Set {
            init: elements.iter().cloned().collect(),
        };
        let init = Value::List(model.init.iter().cloned().collect());
        Ok(General {
            name: "set",
            model: Guarded::new(model),
            functions: &["add", "read"],
            flaw,
            init,
        })
    }
}

fn flaw(operation: &Invocation) -> Option<&'static str> {
    match (&*operation.f, &operation.result) {
        ("read", Observed::Ok(Value::List(_) | Value::Nil, _) | Observed::Unknown) | ("add", _) => None,
        _ => Some("nothing and returns a list"),
    }
}

impl Model for Set {
    type State = BTreeSet<Value>;

    fn init(&self) -> BTreeSet<Value> {
        self.init.clone()
    }

    fn step(&self, elements: &BTreeSet<Value>, operation: &Invocation) -> Option<BTreeSet<Value>> {
        match (&*operation.f, &operation.result) {
            ("add", _) => {
                let mut grown = elements.clone();
                grown.insert(operation.input.clone());
                Some(grown)
            }
            (_, Observed::Ok(seen, _)) => {
                let seen: BTreeSet<&Value> = seen.as_list().unwrap_or_default().iter().collect();
                (seen.len() == elements.len() && elements.iter().eq(seen)).then(|| elements.clone())
            }
            _ => Some(elements.clone()),
        }
    }

    fn size(&self, elements: &BTreeSet<Value>) -> usize {
        size_of_val(elements) + elements.len() * size_of::<Value>()
    }

    fn only_observes(&self, operation: &Invocation) -> bool {
        operation.f == "read"
    }

    fn always_possible(&self, operation: &Invocation) -> bool {
        operation.f == "add"
    }

    fn only_grows(&self, _operation: &Invocation) -> bool {
        true
    }

    fn outgrown(&self, elements: &BTreeSet<Value>, operation: &Invocation) -> bool {
        match &operation.result {
            Observed::Ok(seen, _) if operation.f == "read" => {
                let seen: BTreeSet<&Value> = seen.as_list().unwrap_or_default().iter().collect();
                elements.iter().any(|element| !seen.contains(element))
            }
            _ => false,
        }
    }

    fn describe(&self, elements: &BTreeSet<Value>) -> String {
        let elements = elements.iter().cloned().collect();
        format!("the set is {}", Value::List(elements))
    }
}

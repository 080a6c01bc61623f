//! A number that is added to and read.

use super::{General, Guarded, Invocation, Model, Observed};
use crate::history::Value;

/// `add` n, `read` -> n.
#[derive(Clone, Debug)]
pub(crate) struct Counter {
    init: i64,
}

impl Counter {
    /// The domain of counters that begin with a value; nothing counts as 0.
    pub(crate) fn domain(init: &Value) -> Result<General<Counter>, String> {
        let init = match init {
            Value::Nil => 0,
            Value::Int(number) => *number,
            other => return Err(format!("a counter begins with a whole number, not {other}")),
        };
        let functions = &["add", "read"];
        Ok(General {
            name: "counter",
            model: Guarded::new(Counter { init }),
            functions,
            flaw,
            init: Value::Int(init),
        })
    }
}

fn flaw(operation: &Invocation) -> Option<&'static str> {
    match (&*operation.f, &operation.input, &operation.result) {
        ("add", Value::Int(_), _) | ("read", _, Observed::Unknown | Observed::Ok(Value::Int(_), _)) => None,
        ("read", ..) => Some("nothing and returns a whole number"),
        _ => Some("a whole number"),
    }
}

impl Model for Counter {
    type State = i64;

    fn init(&self) -> i64 {
        self.init
    }

    fn step(&self, count: &i64, operation: &Invocation) -> Option<i64> {
        match (&*operation.f, &operation.result) {
            ("add", _) => Some(count.wrapping_add(operation.input.as_int()?)),
            (_, Observed::Ok(seen, _)) => (seen.as_int() == Some(*count)).then_some(*count),
            _ => Some(*count),
        }
    }

    fn only_observes(&self, operation: &Invocation) -> bool {
        operation.f == "read" || operation.input == Value::Int(0)
    }

    fn always_possible(&self, operation: &Invocation) -> bool {
        operation.f == "add"
    }

    fn only_grows(&self, operation: &Invocation) -> bool {
        operation.f == "read" || operation.input.as_int().is_some_and(|more| more >= 0)
    }

    fn outgrown(&self, count: &i64, operation: &Invocation) -> bool {
        match &operation.result {
            Observed::Ok(seen, _) if operation.f == "read" => seen.as_int().is_some_and(|seen| seen < *count),
            _ => false,
        }
    }

    fn describe(&self, count: &i64) -> String {
        format!("the count is {count}")
    }
}

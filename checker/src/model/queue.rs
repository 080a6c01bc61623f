//! Queues: first in, first out, or in any order.

use std::collections::VecDeque;

use super::{General, Invocation, Model, Nondeterministic, Observed, PowerSet};
use crate::history::Value;

/// `enqueue` x, `dequeue` -> x or nil if it was empty; in the order of the enqueues.
#[derive(Clone, Debug)]
pub(crate) struct Fifo;

/// `enqueue` x, `dequeue` -> any of what is there, or nil if it was empty.
#[derive(Clone, Debug)]
pub(crate) struct Bag;

const FUNCTIONS: &[&str] = &["enqueue", "dequeue"];

impl Fifo {
    pub(crate) fn domain() -> General<Fifo> {
        General {
            name: "queue",
            model: Fifo,
            functions: FUNCTIONS,
            flaw: |_| None,
            init: Value::List(Vec::new()),
        }
    }
}

impl Bag {
    pub(crate) fn domain() -> General<PowerSet<Bag>> {
        let init = Value::List(Vec::new());
        General {
            name: "queue",
            model: PowerSet(Bag),
            functions: FUNCTIONS,
            flaw: |_| None,
            init,
        }
    }
}

impl Model for Fifo {
    type State = VecDeque<Value>;

    fn init(&self) -> VecDeque<Value> {
        VecDeque::new()
    }

    fn step(&self, waiting: &VecDeque<Value>, operation: &Invocation) -> Option<VecDeque<Value>> {
        let mut waiting = waiting.clone();
        if operation.f == "enqueue" {
            waiting.push_back(operation.input.clone());
            return Some(waiting);
        }
        let first = waiting.pop_front();
        match &operation.result {
            Observed::Ok(Value::Nil, _) => first.is_none().then_some(waiting),
            Observed::Ok(taken, _) => (first.as_ref() == Some(taken)).then_some(waiting),
            Observed::Mismatch(_) | Observed::Unknown => Some(waiting),
        }
    }

    fn only_observes(&self, operation: &Invocation) -> bool {
        found_nothing(operation)
    }

    fn always_possible(&self, operation: &Invocation) -> bool {
        operation.f == "enqueue"
    }

    fn size(&self, waiting: &VecDeque<Value>) -> usize {
        size_of_val(waiting) + waiting.len() * size_of::<Value>()
    }

    fn describe(&self, waiting: &VecDeque<Value>) -> String {
        match waiting.is_empty() {
            true => "the queue is empty".to_owned(),
            false => format!("the queue is {}", Value::List(waiting.iter().cloned().collect())),
        }
    }
}

impl Nondeterministic for Bag {
    /// What is there, sorted.
    type State = Vec<Value>;

    fn init(&self) -> Vec<Value> {
        Vec::new()
    }

    fn steps(&self, there: &Vec<Value>, operation: &Invocation) -> Vec<Vec<Value>> {
        let without = |at: usize| {
            let mut rest = there.clone();
            rest.remove(at);
            rest
        };
        if operation.f == "enqueue" {
            let mut more = there.clone();
            let at = more.binary_search(&operation.input).unwrap_or_else(|at| at);
            more.insert(at, operation.input.clone());
            return vec![more];
        }
        match &operation.result {
            Observed::Ok(Value::Nil, _) if there.is_empty() => vec![Vec::new()],
            Observed::Ok(Value::Nil, _) => Vec::new(),
            Observed::Ok(taken, _) => there.binary_search(taken).map(without).into_iter().collect(),
            Observed::Mismatch(_) | Observed::Unknown if there.is_empty() => vec![Vec::new()],
            Observed::Mismatch(_) | Observed::Unknown => (0..there.len()).map(without).collect(),
        }
    }

    fn size(&self, there: &Vec<Value>) -> usize {
        size_of_val(there) + there.len() * size_of::<Value>()
    }

    fn describe(&self, there: &Vec<Value>) -> String {
        match there.is_empty() {
            true => "the queue is empty".to_owned(),
            false => format!("the queue holds {}", Value::List(there.clone())),
        }
    }
}

fn found_nothing(operation: &Invocation) -> bool {
    operation.f == "dequeue" && matches!(operation.result, Observed::Ok(Value::Nil, _))
}

//! Queues: first in, first out, or in any order.

use std::collections::VecDeque;

use super::{General, Guarded, Invocation, Model, Observed};
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
            model: Guarded::new(Fifo),
            functions: FUNCTIONS,
            flaw: |_| None,
            init: Value::List(Vec::new()),
        }
    }
}

impl Bag {
    pub(crate) fn domain() -> General<Bag> {
        let init = Value::List(Vec::new());
        General {
            name: "queue",
            model: Guarded::new(Bag),
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

/// What a bag holds, as far as anybody can know.
///
/// A dequeue of which nobody knows what it returned took one of those that were there, whichever. To follow every
/// possibility would take as many as there are ways to choose. But what matters is only how many such dequeues came
/// after which elements: some choice of theirs explains the rest exactly if the elements that are left of each
/// beginning suffice for those that came by then (Hall 1935; the sets that they choose from contain each other).
///
/// Invariants: every era but the last has something taken, none holds nothing, and of every beginning of the eras
/// fewer were taken than there are; what is as good as gone is gone. So nothing is held exactly if the bag is empty.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Held {
    eras: Vec<Era>,
}

/// Elements that were enqueued one after another, and how many unknown ones, of these or earlier eras, were taken
/// before anything else was enqueued.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Era {
    /// Sorted.
    there: Vec<Value>,
    taken: usize,
}

impl Held {
    fn is_empty(&self) -> bool {
        self.eras.is_empty()
    }

    fn put(&mut self, value: Value) {
        match self.eras.last_mut() {
            Some(Era { there, taken: 0 }) => {
                let at = there.binary_search(&value).unwrap_or_else(|at| at);
                there.insert(at, value);
            }
            _ => self.eras.push(Era {
                there: vec![value],
                taken: 0,
            }),
        }
    }

    /// Takes a value, if it can be there. Of several that are equal the latest: whatever may have been taken instead of
    /// it may have been taken instead of an earlier one, but not the other way round.
    fn take(&mut self, value: &Value) -> bool {
        let place = |era: &Era| era.there.binary_search(value).ok();
        let mut eras = self.eras.iter().enumerate().rev();
        let Some((at, place)) = eras.find_map(|(at, era)| Some((at, place(era)?))) else {
            return false;
        };
        self.eras[at].there.remove(place);
        if at > 0 && self.eras[at].there.is_empty() {
            let taken = self.eras.remove(at).taken;
            self.eras[at - 1].taken += taken;
        }
        self.settle()
    }

    /// Takes one that nobody knows, if there is one.
    fn take_any(&mut self) {
        if let Some(last) = self.eras.last_mut() {
            last.taken += 1;
            assert!(self.settle(), "one at least was left");
        }
    }

    /// Forgets what is certainly gone. Says whether no more was taken than there was.
    fn settle(&mut self) -> bool {
        let (mut there, mut taken, mut gone) = (0, 0, 0);
        for (at, era) in self.eras.iter().enumerate() {
            there += era.there.len();
            taken += era.taken;
            if taken > there {
                return false;
            }
            if taken == there {
                gone = at + 1;
            }
        }
        self.eras.drain(..gone);
        true
    }
}

impl Model for Bag {
    type State = Held;

    fn init(&self) -> Held {
        Held::default()
    }

    fn step(&self, held: &Held, operation: &Invocation) -> Option<Held> {
        let mut held = held.clone();
        if operation.f == "enqueue" {
            held.put(operation.input.clone());
            return Some(held);
        }
        match &operation.result {
            Observed::Ok(Value::Nil, _) => held.is_empty().then_some(held),
            Observed::Ok(taken, _) => held.take(taken).then_some(held),
            Observed::Mismatch(_) | Observed::Unknown => {
                held.take_any();
                Some(held)
            }
        }
    }

    fn only_observes(&self, operation: &Invocation) -> bool {
        found_nothing(operation)
    }

    fn always_possible(&self, operation: &Invocation) -> bool {
        operation.f == "enqueue"
    }

    fn size(&self, held: &Held) -> usize {
        let elements: usize = held.eras.iter().map(|era| era.there.len()).sum();
        size_of_val(held) + held.eras.len() * size_of::<Era>() + elements * size_of::<Value>()
    }

    fn describe(&self, held: &Held) -> String {
        let mut there: Vec<Value> = held.eras.iter().flat_map(|era| era.there.clone()).collect();
        there.sort();
        let taken: usize = held.eras.iter().map(|era| era.taken).sum();
        let left = there.len() - taken;
        let there = Value::List(there);
        match (left, taken) {
            (0, _) => "the queue is empty".to_owned(),
            (_, 0) => format!("the queue holds {there}"),
            _ => format!("the queue holds {left} of {there}"),
        }
    }
}

fn found_nothing(operation: &Invocation) -> bool {
    operation.f == "dequeue" && matches!(operation.result, Observed::Ok(Value::Nil, _))
}

#[cfg(test)]
mod tests {
    use rand::rngs::ChaCha8Rng;
    use rand::{RngExt, SeedableRng};

    use super::*;
    use crate::model::{Nondeterministic, PowerSet};

    /// The bag as anybody would write it: every possibility is followed.
    struct Plain;

    impl Nondeterministic for Plain {
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
                more.push(operation.input.clone());
                more.sort();
                return vec![more];
            }
            match &operation.result {
                Observed::Ok(Value::Nil, _) if there.is_empty() => vec![Vec::new()],
                Observed::Ok(Value::Nil, _) => Vec::new(),
                Observed::Ok(taken, _) => there.binary_search(taken).map(without).into_iter().collect(),
                _ if there.is_empty() => vec![Vec::new()],
                _ => (0..there.len()).map(without).collect(),
            }
        }
    }

    #[test]
    fn what_a_bag_holds_stands_for_every_possibility() {
        let (plain, mut refused, mut unknown) = (PowerSet(Plain), 0, 0);
        for seed in 0..4000 {
            let mut random = ChaCha8Rng::seed_from_u64(seed);
            let (mut held, mut all) = (Bag.init(), plain.init());
            for _ in 0..14 {
                let mut value = || Value::Int(random.random_range(0..4));
                let (f, input, result) = match value().as_int() {
                    Some(0 | 1) => ("enqueue", value(), Observed::Unknown),
                    Some(2) => ("dequeue", Value::Nil, Observed::Unknown),
                    _ => {
                        let taken = match value() {
                            Value::Int(3) => Value::Nil,
                            other => other,
                        };
                        ("dequeue", Value::Nil, Observed::Ok(taken, None))
                    }
                };
                let operation = Invocation {
                    f: f.into(),
                    input,
                    asked_rev: None,
                    result,
                };
                let (next, expected) = (Bag.step(&held, &operation), plain.step(&all, &operation));
                assert_eq!(
                    next.is_some(),
                    expected.is_some(),
                    "seed {seed}: {operation:?} of {held:?}, {all:?}"
                );
                let (Some(next), Some(expected)) = (next, expected) else {
                    refused += 1;
                    continue;
                };
                unknown += u32::from(f == "dequeue" && operation.result == Observed::Unknown && next != held);
                assert_eq!(
                    next.is_empty(),
                    expected.contains(&Vec::new()),
                    "seed {seed}: {next:?}"
                );
                (held, all) = (next, expected);
            }
        }
        assert!(
            refused > 1000 && unknown > 1000,
            "{refused} refused, {unknown} unknown"
        );
    }

    /// Every possibility would be one of 10^29.
    #[test]
    fn many_unknown_dequeues_are_counted() {
        let operation = |f: &str, input, result| Invocation {
            f: f.to_owned().into(),
            input,
            asked_rev: None,
            result,
        };
        let mut held = Bag.init();
        for value in 0..100 {
            let enqueue = operation("enqueue", Value::Int(value), Observed::Unknown);
            held = Bag.step(&held, &enqueue).expect("always possible");
        }
        let unknown = operation("dequeue", Value::Nil, Observed::Unknown);
        for _ in 0..50 {
            held = Bag.step(&held, &unknown).expect("always possible");
        }
        let dequeue = |value| operation("dequeue", Value::Nil, Observed::Ok(Value::Int(value), None));
        for value in 0..50 {
            assert_eq!(Bag.step(&held, &dequeue(100)), None, "nobody enqueued it");
            held = Bag.step(&held, &dequeue(value)).expect("it may be there");
        }
        assert!(held.is_empty(), "the other half was taken: {held:?}");
    }
}

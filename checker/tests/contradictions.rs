//! Sets, queues and counters: what shows without a search is what the search finds, and is told by its elements.

use std::collections::{BTreeSet, VecDeque};

use checker::history::{Event, EventKind, Header, History, Nanos, ProcessId, Value};
use checker::model::{Invocation, Model, Observed};
use checker::{CheckOptions, Proof, Verdict, check, check_model, verify};
use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};

/// The models again, as a user would write them: the rules for contradictions know nothing of these.
struct Queue;
struct Set;
struct Counter;

impl Model for Queue {
    type State = VecDeque<Value>;

    fn init(&self) -> Self::State {
        VecDeque::new()
    }

    fn step(&self, state: &Self::State, call: &Invocation) -> Option<Self::State> {
        let mut state = state.clone();
        if call.f == "enqueue" {
            state.push_back(call.input.clone());
            return Some(state);
        }
        let first = state.pop_front();
        match &call.result {
            Observed::Ok(told, _) => (first.unwrap_or_default() == *told).then_some(state),
            _ => Some(state),
        }
    }
}

impl Model for Set {
    type State = BTreeSet<Value>;

    fn init(&self) -> Self::State {
        BTreeSet::new()
    }

    fn step(&self, state: &Self::State, call: &Invocation) -> Option<Self::State> {
        let mut state = state.clone();
        match &call.result {
            _ if call.f == "add" => {
                state.insert(call.input.clone());
                Some(state)
            }
            Observed::Ok(told, _) => {
                let told: BTreeSet<Value> = told.as_list().unwrap_or_default().iter().cloned().collect();
                (told == state).then_some(state)
            }
            _ => Some(state),
        }
    }
}

impl Model for Counter {
    type State = i64;

    fn init(&self) -> i64 {
        0
    }

    fn step(&self, state: &i64, call: &Invocation) -> Option<i64> {
        match &call.result {
            _ if call.f == "add" => Some(state + call.input.as_int()?),
            Observed::Ok(told, _) => (told.as_int() == Some(*state)).then_some(*state),
            _ => Some(*state),
        }
    }
}

fn list(numbers: &[i64]) -> Value {
    Value::List(numbers.iter().map(|&number| Value::Int(number)).collect())
}

/// A store that mostly does what it should, and now and then answers anything.
#[derive(Default)]
struct Simulated {
    queue: VecDeque<i64>,
    set: BTreeSet<i64>,
    count: i64,
}

impl Simulated {
    fn apply(&mut self, model: &str, f: &str, input: &Value, rng: &mut ChaCha8Rng) -> Value {
        let odd = rng.random_bool(0.15);
        let number = input.as_int().unwrap_or(0);
        match (model, f) {
            ("queue", "enqueue") => {
                if !odd {
                    self.queue.push_back(number);
                }
                input.clone()
            }
            ("queue", _) if odd => {
                [Value::Nil, Value::Int(rng.random_range(0..4))][rng.random_range(0..2)].clone()
            }
            ("queue", _) => self.queue.pop_front().map_or(Value::Nil, Value::Int),
            ("set", "add") => {
                if !odd {
                    self.set.insert(number);
                }
                input.clone()
            }
            ("set", _) => {
                let mut seen = self.set.clone();
                if odd {
                    let other = rng.random_range(0..4);
                    if !seen.remove(&other) {
                        seen.insert(other);
                    }
                }
                list(&seen.into_iter().collect::<Vec<_>>())
            }
            (_, "add") => {
                if !odd {
                    self.count += number;
                }
                input.clone()
            }
            _ => Value::Int(self.count + if odd { rng.random_range(-3..4) } else { 0 }),
        }
    }
}

fn random_history(model: &'static str, seed: u64) -> History {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut store = Simulated::default();
    let mut events: Vec<Event> = Vec::new();
    // Who runs what, and what came of it.
    let mut running: Vec<(u64, &'static str, Value, Option<Value>)> = Vec::new();
    let (mut left, mut next, mut time) = (rng.random_range(2..10), 0, 0);
    while left > 0 || !running.is_empty() {
        time += rng.random_range(0..2);
        let mut put = |process, kind, f, value| {
            let index = events.len() as u64;
            events.push(Event::new(index, Nanos(time), ProcessId(process), kind, f, value));
        };
        if left > 0 && running.len() < 3 && rng.random_bool(0.6) {
            left -= 1;
            next += 1;
            let writes = rng.random_bool(0.55);
            let (f, input) = match (model, writes) {
                ("queue", true) => ("enqueue", Value::Int(rng.random_range(0..4))),
                ("queue", false) => ("dequeue", Value::Nil),
                ("set", true) => ("add", Value::Int(rng.random_range(0..4))),
                (_, true) => ("add", Value::Int(rng.random_range(-2..4))),
                _ => ("read", Value::Nil),
            };
            put(next, EventKind::Invoke, f, input.clone());
            running.push((next, f, input, None));
            continue;
        }
        if running.is_empty() {
            continue;
        }
        let at = rng.random_range(0..running.len());
        let (process, f, input, result) = running[at].clone();
        match result {
            None if rng.random_bool(0.9) => {
                running[at].3 = Some(store.apply(model, f, &input, &mut rng));
            }
            Some(result) if rng.random_bool(0.8) => {
                put(process, EventKind::Ok, f, result);
                running.swap_remove(at);
            }
            _ => {
                put(process, EventKind::Info, f, input);
                running.swap_remove(at);
            }
        }
    }
    History::from_events(Header::for_model(model), events).expect("the events pair")
}

fn searched(model: &str, history: &History) -> Verdict {
    let options = CheckOptions::default();
    let analysis = match model {
        "queue" => check_model(history, Queue, &options),
        "set" => check_model(history, Set, &options),
        _ => check_model(history, Counter, &options),
    };
    analysis.expect("a model of any function").verdict
}

#[test]
fn what_shows_without_a_search_is_what_the_search_finds() {
    let cases: u64 = std::env::var("CHECKER_CASES").map_or(2000, |cases| cases.parse().expect("a number"));
    for model in ["queue", "set", "counter"] {
        let (mut legal, mut told) = (0, 0);
        for seed in 1..=cases {
            let history = random_history(model, seed);
            let options = CheckOptions::default();
            let analysis = check(&history, &options).expect("a history of the model");
            let expected = searched(model, &history);
            match (&analysis.verdict, &expected) {
                (Verdict::Linearizable(_), Verdict::Linearizable(_)) => legal += 1,
                (Verdict::Illegal(found), Verdict::Illegal(_)) => {
                    told += usize::from(!found.sentence.contains("explain"));
                }
                other => panic!("{model}, seed {seed}: {other:?}"),
            }
            if seed % 4 == 0 {
                let results = serde_json::to_string(&analysis).expect("JSON");
                let proof = verify(&results, &history, &options).expect("results");
                assert!(
                    matches!(proof, Proof::Holds { .. }),
                    "{model}, seed {seed}: {proof:?}\n{results}"
                );
            }
        }
        println!("{model}: {legal} legal, {told} told by their elements");
        // Of few, as they are tried to repeat one, chance decides.
        assert!(
            cases < 200 || legal > cases / 10 && told as u64 > cases / 10,
            "{model}: {legal} legal, {told} told"
        );
    }
}

fn sentence(model: &'static str, lines: &[(u64, EventKind, &'static str, Value)]) -> String {
    let events = lines.iter().zip(0..).map(|((process, kind, f, value), at)| {
        Event::new(
            at,
            Nanos(at * 1_000_000_000),
            ProcessId(*process),
            *kind,
            *f,
            value.clone(),
        )
    });
    let history = History::from_events(Header::for_model(model), events.collect()).expect("the events pair");
    match check(&history, &CheckOptions::default())
        .expect("a history of the model")
        .verdict
    {
        Verdict::Illegal(found) => found.sentence,
        other => panic!("{other:?}"),
    }
}

#[test]
fn sentences_name_the_operations_and_the_element() {
    use EventKind::{Invoke, Ok};
    let one = Value::Int(1);
    let enqueued = [
        (1, Invoke, "enqueue", one.clone()),
        (1, Ok, "enqueue", one.clone()),
    ];
    let dequeued = |value: &Value| {
        [
            (2, Invoke, "dequeue", Value::Nil),
            (2, Ok, "dequeue", value.clone()),
        ]
    };
    assert_eq!(
        sentence(
            "queue",
            &[&enqueued[..], &dequeued(&one), &dequeued(&one)].concat()
        ),
        "process 2 dequeued 1 from 2.000 s to 3.000 s, and process 2 dequeued 1 from 4.000 s to 5.000 s, but 1 had \
         been enqueued only once by then"
    );
    assert_eq!(
        sentence("queue", &[&dequeued(&one)[..], &enqueued].concat()),
        "process 2 dequeued 1 from 0.000 s to 1.000 s, but the first to ask for it was process 1, not before 2.000 s"
    );
    assert_eq!(
        sentence("queue", &[&enqueued[..], &dequeued(&Value::Int(2))].concat()),
        "process 2 dequeued 2 from 2.000 s to 3.000 s, but nobody ever enqueued 2"
    );
    assert_eq!(
        sentence("queue", &[&enqueued[..], &dequeued(&Value::Nil)].concat()),
        "process 2 found the queue empty from 2.000 s to 3.000 s, but process 1 enqueued 1 from 0.000 s to 1.000 s, \
         before that began, and nobody can have taken 1 by then"
    );
    let added = [(1, Invoke, "add", one.clone()), (1, Ok, "add", one.clone())];
    let read = |value: Value| [(2, Invoke, "read", Value::Nil), (2, Ok, "read", value)];
    assert_eq!(
        sentence("set", &[&added[..], &read(list(&[1, 2]))].concat()),
        "process 2 read [1 2] from 2.000 s to 3.000 s, with 2, but nobody ever added 2"
    );
    assert_eq!(
        sentence("set", &[&added[..], &read(list(&[]))].concat()),
        "process 2 read [] from 2.000 s to 3.000 s, without 1, but process 1 added 1 from 0.000 s to 1.000 s, before \
         that began"
    );
    assert_eq!(
        sentence("counter", &[&added[..], &read(Value::Int(2))].concat()),
        "process 2 read 2 from 2.000 s to 3.000 s, but by then it can have been at most 1"
    );
    assert_eq!(
        sentence("counter", &[&added[..], &read(Value::Int(0))].concat()),
        "process 2 read 0 from 2.000 s to 3.000 s, but by then it can have been at least 1, given that process 1 \
         added 1 from 0.000 s to 1.000 s"
    );
}

/// A search would try every subset of what is open.
#[test]
fn many_open_operations_hide_no_contradiction() {
    let mut events = Vec::new();
    let mut put = |process, kind, f: &'static str, value| {
        let index = events.len() as u64;
        events.push(Event::new(
            index,
            Nanos(index),
            ProcessId(process),
            kind,
            f,
            value,
        ));
    };
    for process in 0..2000 {
        put(process, EventKind::Invoke, "enqueue", Value::Int(process as i64));
    }
    for process in 3000..3002 {
        put(process, EventKind::Invoke, "dequeue", Value::Nil);
        put(process, EventKind::Ok, "dequeue", Value::Int(7));
    }
    let history = History::from_events(Header::for_model("queue"), events).expect("the events pair");
    let verdict = check(&history, &CheckOptions::default())
        .expect("a queue")
        .verdict;
    let Verdict::Illegal(found) = verdict else {
        panic!("{verdict:?}");
    };
    assert!(
        found.sentence.contains("7 had been enqueued only once by then"),
        "{}",
        found.sentence
    );
}

//! Sequential consistency against trying every order, and by scenarios.

use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};

use super::*;
use crate::history::{Event, EventKind, Header, NEVER, Nanos, Value};
use crate::model::{Observed, Registers, fragile};

/// Operations as (process, f, key, value): one after another in time.
fn one_by_one(steps: &[(u64, &'static str, &str, i64)]) -> History {
    let mut events = Vec::new();
    for &(process, f, key, value) in steps {
        for kind in [EventKind::Invoke, EventKind::Ok] {
            let index = events.len() as u64;
            let said = match (f, kind, value) {
                ("get", EventKind::Invoke, _) | ("get", _, -1) => Value::Nil,
                _ => Value::Int(value),
            };
            let mut event = Event::new(index, Nanos(index), ProcessId(process), kind, f, said);
            event.key = Some(Value::from(key));
            events.push(event);
        }
    }
    History::from_events(Header::for_model("kv"), events).expect("valid")
}

fn verdict(history: &History) -> Verdict {
    sequential(history, &CheckOptions::default())
        .expect("judged")
        .verdict
}

#[test]
fn a_stale_read_is_sequentially_consistent_and_not_linearizable() {
    let history = one_by_one(&[(0, "set", "x", 1), (1, "get", "x", -1), (1, "get", "x", 1)]);
    assert!(matches!(
        check(&history, &CheckOptions::default()).expect("judged").verdict,
        Verdict::Illegal(_)
    ));
    let Verdict::Linearizable(witness) = verdict(&history) else {
        panic!("a stale read breaks no process's order")
    };
    assert_eq!(witness.orders[0].order, [OpId(1), OpId(0), OpId(2)]);
}

#[test]
fn a_process_does_not_go_back() {
    let history = one_by_one(&[
        (0, "set", "x", 1),
        (0, "set", "x", 2),
        (1, "get", "x", 2),
        (1, "get", "x", 1),
    ]);
    let Verdict::Illegal(found) = verdict(&history) else {
        panic!("process 1 went back")
    };
    assert!(found.minimal);
    assert_eq!(
        found.sentence,
        "no order that keeps each process's own explains these: process 1 read x=2, then read x=1 (beside: process 0 \
         wrote x=1, then wrote x=2)"
    );
}

/// Each key is sequentially consistent by itself, both together are not: Dekker's algorithm gone wrong.
#[test]
fn keys_are_judged_together() {
    let history = one_by_one(&[
        (0, "set", "x", 1),
        (1, "set", "y", 1),
        (0, "get", "y", -1),
        (1, "get", "x", -1),
    ]);
    assert!(matches!(verdict(&history), Verdict::Illegal(_)));
}

#[test]
fn budgets_end_a_search_as_unknown() {
    // Twelve processes that write two values over and over, and one that saw them change more often than that.
    let mut steps: Vec<(u64, &str, &str, i64)> = Vec::new();
    for round in 0..12 {
        steps.extend((0..12).map(|process| (process, "set", "x", ((round + process) % 2) as i64)));
    }
    steps.extend((0..200).map(|turn| (20, "get", "x", turn % 2)));
    let history = one_by_one(&steps);
    let options = CheckOptions {
        memory_limit: Some(4_000_000),
        ..CheckOptions::default()
    };
    let found = sequential(&history, &options).expect("judged").verdict;
    assert!(
        matches!(found, Verdict::Unknown(Limit::Memory { .. })),
        "{found:?}"
    );
}

/// What two readers saw in two orders among writers whose values nobody saw: there are more orders than could be tried.
#[test]
fn what_every_order_must_keep_to_is_found_without_trying_them() {
    let mut steps: Vec<(u64, &str, &str, i64)> = Vec::new();
    for round in 0..30 {
        steps.extend((0..20).map(|process| (process, "set", "z", (round * 20 + process) as i64)));
    }
    steps.extend([
        (0, "set", "x", 1),
        (1, "set", "y", 1),
        (30, "get", "x", 1),
        (30, "get", "y", -1),
        (31, "get", "y", 1),
        (31, "get", "x", -1),
    ]);
    let patient = |history: &History, order: &[OpId]| {
        let options = CheckOptions::default();
        let domain = registers(history, &options, ModelName::Kv);
        let mut program = Program::new(history, &domain, order, None);
        search(&mut program, &mut Budget::new(None, None).meter().patient(20_000))
    };
    let history = one_by_one(&steps);
    let all: Vec<OpId> = history.operations().map(crate::history::Operation::id).collect();
    assert!(matches!(patient(&history, &all), Answer::Illegal));
    // Told the other way round by one of them it is a yes, and the search is led to it.
    steps[605] = (31, "get", "x", 1);
    let history = one_by_one(&steps);
    assert!(matches!(patient(&history, &all), Answer::Legal(_)));
    let Verdict::Illegal(found) = verdict(&one_by_one(&{
        steps[605] = (31, "get", "x", -1);
        steps
    })) else {
        panic!("both saw the other's write missing")
    };
    assert!(found.minimal, "{}", found.sentence);
    assert_eq!(
        found.operations.iter().filter(|op| !op.weakened).count(),
        4,
        "{}",
        found.sentence
    );
}

/// A few processes with arbitrary results on two keys; of every other seed each value is written once.
fn arbitrary(seed: u64) -> History {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut events: Vec<Event> = Vec::new();
    let mut retired = [false; 3];
    let mut open: Vec<(u64, &'static str, Value, Value)> = Vec::new();
    let mut left = random.random_range(2..=7);
    let distinct = seed.is_multiple_of(2);
    let mut written = 1;
    while left > 0 || !open.is_empty() {
        let index = events.len() as u64;
        let free: Vec<u64> = (0..3)
            .filter(|&p| !retired[p as usize] && open.iter().all(|(busy, ..)| *busy != p))
            .collect();
        if left > 0 && !free.is_empty() && (open.is_empty() || random.random()) {
            left -= 1;
            let process = free[random.random_range(0..free.len())];
            let f = ["get", "get", "set", "cas"][random.random_range(0..4)];
            let mut value = || match distinct {
                true => Value::Int(random.random_range(1..=written)),
                false => Value::Int(random.random_range(0..2)),
            };
            let input = match f {
                "get" => Value::Nil,
                _ if distinct => {
                    let expected = value();
                    written += 1;
                    match f {
                        "set" => Value::Int(written - 1),
                        _ => Value::List(vec![expected, Value::Int(written - 1)]),
                    }
                }
                "set" => value(),
                _ => Value::List(vec![value(), value()]),
            };
            let key = Value::from(["x", "y"][random.random_range(0..2)]);
            let mut event = Event::new(
                index,
                Nanos(index),
                ProcessId(process),
                EventKind::Invoke,
                f,
                input.clone(),
            );
            event.key = Some(key.clone());
            events.push(event);
            open.push((process, f, input, key));
        } else if open.is_empty() {
            // All have retired.
            break;
        } else {
            let (process, f, mut value, key) = open.remove(random.random_range(0..open.len()));
            let kind = [
                EventKind::Ok,
                EventKind::Ok,
                EventKind::Ok,
                EventKind::Fail,
                EventKind::Info,
            ][random.random_range(0..5)];
            retired[process as usize] = kind == EventKind::Info;
            if f == "get" {
                value = match random.random_range(0..3) {
                    0 => Value::Nil,
                    _ if distinct => Value::Int(random.random_range(1..=written)),
                    _ => Value::Int(random.random_range(0..2)),
                };
            }
            let mut event = Event::new(index, Nanos(index), ProcessId(process), kind, f, value);
            event.key = Some(key);
            if kind == EventKind::Fail {
                event.error = Some("mismatch".to_owned());
            }
            events.push(event);
        }
    }
    History::from_events(Header::for_model("kv"), events).expect("the events pair")
}

/// Tries every interleaving of the processes, with and without what is unknown.
fn any_order(history: &History, domain: &Registers, order: &mut Vec<OpId>, left: &[Vec<OpId>]) -> bool {
    if left.iter().all(Vec::is_empty) && program::replays(history, domain, order) {
        return true;
    }
    for process in 0..left.len() {
        let Some(&op) = left[process].first() else {
            continue;
        };
        let mut rest = left.to_vec();
        rest[process].remove(0);
        let operation = history.operation(op);
        let call = domain.call(operation, operation.record().completed != NEVER);
        let Some(call) = call.expect("valid") else {
            // What did nothing has no place in an order.
            return any_order(history, domain, order, &rest);
        };
        order.push(op);
        if any_order(history, domain, order, &rest) {
            return true;
        }
        order.pop();
        if call.result == Observed::Unknown && any_order(history, domain, order, &rest) {
            return true;
        }
    }
    false
}

#[test]
fn the_search_agrees_with_every_order() {
    let mut verdicts = [0, 0];
    for seed in crate::generate::seeds(
        crate::properties::first_seed() ^ 0x5e9,
        crate::properties::cases() / 4,
    ) {
        let history = arbitrary(seed);
        let options = CheckOptions::default();
        let domain = registers(&history, &options, ModelName::Kv);
        let mut processes: Vec<Vec<OpId>> = vec![Vec::new(); 3];
        for operation in history.operations() {
            processes[operation.process().0 as usize].push(operation.id());
        }
        let expected = any_order(&history, &domain, &mut Vec::new(), &processes);
        match verdict(&history) {
            Verdict::Linearizable(witness) => {
                assert!(expected, "seed {seed}: there is no order");
                let order = &witness.orders[0].order;
                assert!(
                    program::replays(&history, &domain, order),
                    "seed {seed}: {order:?}"
                );
            }
            Verdict::Illegal(found) => {
                assert!(!expected, "seed {seed}: there is an order");
                assert!(found.minimal, "seed {seed}");
                let core = found.operations.iter().filter(|op| !op.weakened);
                let core: Vec<OpId> = core.map(|op| op.id).collect();
                let all: Vec<OpId> = history.operations().map(crate::history::Operation::id).collect();
                let illegal = |known: &[OpId]| {
                    let known = known.iter().copied().collect();
                    let mut program = Program::new(&history, &domain, &all, Some(&known));
                    matches!(
                        search(&mut program, &mut Budget::new(None, None).meter()),
                        Answer::Illegal
                    )
                };
                assert!(illegal(&core), "seed {seed}: the core {core:?} is legal");
                for at in 0..core.len() {
                    let mut less = core.clone();
                    less.remove(at);
                    assert!(!illegal(&less), "seed {seed}: the core {core:?} is not minimal");
                }
            }
            Verdict::Unknown(limit) => panic!("seed {seed}: {limit}"),
        }
        verdicts[usize::from(expected)] += 1;
    }
    println!("{} illegal, {} legal", verdicts[0], verdicts[1]);
    crate::properties::each_is_common(&verdicts, crate::properties::cases() / 4, 10);
}

#[test]
fn a_model_that_fails_leaves_the_verdict_unknown() {
    let history = fragile::history(&[("a", "add", 13, 13), ("a", "read", 0, 13)]);
    let question = Question {
        history: &history,
        options: &CheckOptions::default(),
        budget: &Budget::new(None, None),
    };
    let verdict = question.judge(&fragile::domain()).expect("judged");
    let Verdict::Unknown(Limit::ModelPanicked { message, .. }) = verdict else {
        panic!("{verdict:?}");
    };
    assert_eq!(message, "thirteen is too much (at add 13)");
}

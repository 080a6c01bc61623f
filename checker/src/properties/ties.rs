//! Clocks that repeat: many events in one instant, in whatever order they stand in the file.

use rand::rngs::ChaCha8Rng;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};

use super::{arbitrary, cases, each_is_common, first_seed, registers};
use crate::history::{Event, Header, History, NEVER, Nanos, Operation, Process, Value};
use crate::model::{Domain, Invocation, Model, Observed, RegisterRules};
use crate::{CheckOptions, Monitor, check};

/// The events of a history whose clock ticks so rarely that most of them share an instant.
fn coarse(history: &History, tick: u64) -> Vec<Event> {
    let mut events = history.events();
    for event in &mut events {
        event.time = Nanos(event.time.0 / tick * tick);
    }
    events
}

/// The same events; those of one instant in another order, but each process's in its own.
fn shuffled(events: &[Event], random: &mut ChaCha8Rng) -> Vec<Event> {
    let mut all: Vec<Event> = Vec::new();
    for instant in events.chunk_by(|one, other| one.time == other.time) {
        // Who comes next; each then does what it did next.
        let mut who: Vec<Process> = instant.iter().map(|event| event.process).collect();
        who.shuffle(random);
        let mut left: Vec<&Event> = instant.iter().collect();
        for process in who {
            let at = left
                .iter()
                .position(|event| event.process == process)
                .expect("as many");
            all.push(left.remove(at).clone());
        }
    }
    for (index, event) in all.iter_mut().enumerate() {
        event.index = index as u64;
    }
    all
}

/// One operation as its times alone tell it.
struct Timed {
    call: Invocation,
    process: u64,
    /// Its number among those of its process.
    turn: usize,
    invoked: Nanos,
    completed: Option<Nanos>,
}

/// Whether one must come before another: it was over before that began, or its process did it first.
fn before(one: &Timed, other: &Timed) -> bool {
    let own = one.process == other.process && one.turn < other.turn;
    one.completed.is_some_and(|end| end < other.invoked || own)
}

/// Tries every order that times and processes allow, knowing nothing of places.
fn explained(rules: &RegisterRules, state: &<RegisterRules as Model>::State, left: &[&Timed]) -> bool {
    if left.iter().all(|one| one.call.result == Observed::Unknown) {
        return true;
    }
    (0..left.len()).any(|at| {
        let first = !left.iter().any(|other| before(other, left[at]));
        let next = if first {
            rules.step(state, &left[at].call)
        } else {
            None
        };
        next.is_some_and(|next| {
            let mut rest = left.to_vec();
            rest.remove(at);
            explained(rules, &next, &rest)
        })
    })
}

fn timed(history: &History) -> Vec<Timed> {
    let domain = registers(Value::Int(0));
    let mut all: Vec<Timed> = Vec::new();
    for operation in history.operations() {
        let known = operation.record().completed != NEVER;
        let process = operation.process().0;
        let turn = all.iter().filter(|one| one.process == process).count();
        if let Ok(Some(call)) = domain.call(operation, known) {
            let completed = operation
                .completed_at()
                .filter(|_| known && call.result != Observed::Unknown);
            all.push(Timed {
                call,
                process,
                turn,
                invoked: Operation::invoked_at(operation),
                completed,
            });
        }
    }
    all
}

#[test]
fn verdicts_depend_on_times_and_not_on_the_order_within_an_instant() {
    let (mut verdicts, mut tied) = ([0u64; 2], 0u64);
    let options = CheckOptions {
        init: Some(Value::Int(0)),
        ..CheckOptions::default()
    };
    for seed in crate::generate::seeds(first_seed() ^ 0x71e5, cases() / 2) {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let tick = [2, 4, 1000][random.random_range(0..3)];
        let events = coarse(&arbitrary(seed), tick);
        let read = |events: Vec<Event>| {
            History::from_events(Header::for_model("cas-register"), events).expect("the events pair")
        };
        let history = read(events.clone());
        let all = timed(&history);
        let rules = &registers(Value::Int(0)).rules;
        let legal = explained(rules, &rules.init(), &all.iter().collect::<Vec<_>>());
        for turn in 0..3 {
            let events = match turn {
                0 => events.clone(),
                _ => shuffled(&events, &mut random),
            };
            let mut monitor =
                Monitor::new(&Header::for_model("cas-register"), &options).expect("a known model");
            for event in &events {
                monitor.push(event).expect("the events pair");
            }
            let followed = monitor.finish().expect("valid").verdict.exit_code();
            let code = check(&read(events), &options).expect("valid").verdict.exit_code();
            assert_eq!(code, u8::from(!legal), "seed {seed}, tick {tick}, turn {turn}");
            assert_eq!(
                followed,
                u8::from(!legal),
                "seed {seed}, tick {tick}, turn {turn}: followed"
            );
        }
        verdicts[usize::from(legal)] += 1;
        tied += u64::from(
            events
                .chunk_by(|one, other| one.time == other.time)
                .any(|same| same.len() > 3),
        );
    }
    println!(
        "{} illegal, {} legal, {tied} with more than three events in one instant",
        verdicts[0], verdicts[1]
    );
    each_is_common(&verdicts, cases() / 2, 20);
    each_is_common(&[tied], cases() / 2, 3);
}

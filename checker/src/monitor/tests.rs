//! The monitor against the checker, which sees everything at once.

use super::online::Online;
use super::*;
use crate::generate::{Bug, Mix, Simulation, Values, seeds};
use crate::history::Nanos;
use crate::options::Explain;
use crate::properties::{cases, each_is_common, first_seed};
use crate::verdict::{Limit, Verdict};

fn word(verdict: &Verdict) -> &'static str {
    match verdict {
        Verdict::Linearizable(_) => "legal",
        Verdict::Illegal(_) => "illegal",
        Verdict::Unknown(_) => "unknown",
    }
}

fn simulation(at: usize, seed: u64, operations: u64) -> Simulation {
    let bugs = [
        Bug::None,
        Bug::StaleReads(0.05),
        Bug::StaleReads(0.01),
        Bug::LostUpdates(0.05),
        Bug::SplitCas(0.1),
        Bug::Noise(0.02),
    ];
    Simulation {
        seed,
        operations,
        processes: 1 + seed % 6,
        keys: [1, 3, 8][at % 3],
        values: if at.is_multiple_of(4) {
            Values::Distinct
        } else {
            Values::Few(1 + at as u64 % 5)
        },
        mix: Mix {
            get: 3,
            set: 2,
            cas: 2,
            append: u32::from(at.is_multiple_of(5)),
            delete: u32::from(at.is_multiple_of(3)),
        },
        unknown: [0.0, 0.02, 0.1][at / 2 % 3],
        clock: [1, 1, 300_000, 1_000_000][at % 4],
        tells_current: at.is_multiple_of(2),
        bug: bugs[at % bugs.len()],
        ..Simulation::default()
    }
}

/// A monitor that holds so few operations that it forgets all the time.
fn forgetful(window: u64) -> CheckOptions {
    CheckOptions {
        memory_limit: Some(window * 256),
        explain: Explain::Prefix,
        ..CheckOptions::default()
    }
}

#[test]
fn the_monitor_says_what_the_checker_says() {
    let (mut judged, mut illegal, mut unknown) = (0u64, 0u64, 0u64);
    for (at, seed) in seeds(first_seed() + 41, cases() / 5).enumerate() {
        let simulation = simulation(at, seed, 40 + at as u64 % 300);
        let events: Vec<Event> = simulation.events().collect();
        let plain = CheckOptions {
            explain: Explain::Prefix,
            ..CheckOptions::default()
        };
        let history = crate::history::History::from_events(simulation.header(), events.clone());
        let expected = check(&history.expect("a history"), &plain)
            .expect("judged")
            .verdict;
        let options = forgetful([64, 200, 600][at % 3]);
        let mut monitor = Monitor::new(&simulation.header(), &options).expect("a model");
        let mut violated = false;
        for event in &events {
            violated = matches!(monitor.push(event).expect("an event"), Status::Violated { .. });
            if violated {
                break;
            }
        }
        let found = monitor.finish().expect("judged").verdict;
        assert!(
            !violated || word(&found) == "illegal",
            "seed {seed}: noticed, and then not"
        );
        judged += 1;
        illegal += u64::from(word(&found) == "illegal");
        if word(&found) == "unknown" {
            // Where outcomes are unknown, or a clock is so coarse that processes go on in the instant in which they
            // completed, so small a window need not suffice. Elsewhere it must.
            assert!(
                simulation.unknown > 0.0 || simulation.clock > 1,
                "seed {seed}: {simulation:?}"
            );
            let Verdict::Unknown(Limit::Memory { stand, .. }) = found else {
                panic!("seed {seed}: {found:?}");
            };
            assert!(
                stand.explained < stand.of && stand.of > 0,
                "seed {seed}: {stand:?}"
            );
            unknown += 1;
            continue;
        }
        assert_eq!(word(&found), word(&expected), "seed {seed}, {simulation:?}");
    }
    println!("{judged} judged, {illegal} illegal, {unknown} unknown");
    each_is_common(&[illegal, judged - illegal], judged, 6);
    each_is_common(&[judged - unknown], judged, 2);
}

#[test]
fn what_has_passed_is_forgotten() {
    let simulation = Simulation {
        operations: 60_000,
        processes: 10,
        keys: 20,
        values: Values::Distinct,
        ..Simulation::default()
    };
    let options = forgetful(8000);
    let builder = Builder::new(simulation.header(), Form::Ordeal, None);
    let mut online = Online::new(builder, &options, ModelName::Kv);
    let mut most = 0;
    for (line, event) in simulation.events().enumerate() {
        online.push_event(event, line as u64 + 1).expect("an event");
        most = most.max(online.holds());
    }
    assert!(most <= 12_000, "{most} operations were held");
    assert_eq!(word(&online.finish().expect("judged").verdict), "legal");
}

#[test]
fn a_late_violation_is_explained_from_the_window() {
    let simulation = Simulation {
        operations: 5000,
        processes: 3,
        keys: 4,
        values: Values::Distinct,
        ..Simulation::default()
    };
    let mut events: Vec<Event> = simulation.events().collect();
    let end = events.last().expect("events").clone();
    let mut read = |at: u64, kind, value| {
        let mut event = Event::new(
            end.index + at,
            Nanos(end.time.0 + at),
            crate::history::ProcessId(1_000_000),
            kind,
            "get",
            value,
        );
        event.key = Some(Value::Int(2));
        events.push(event);
    };
    read(1, crate::history::EventKind::Invoke, Value::Nil);
    read(2, crate::history::EventKind::Ok, Value::Int(-7));
    let options = CheckOptions {
        memory_limit: Some(256 * 1000),
        ..CheckOptions::default()
    };
    let mut monitor = Monitor::new(&simulation.header(), &options).expect("a model");
    for event in &events {
        monitor.push(event).expect("an event");
    }
    let Status::Violated { key } = monitor.look() else {
        panic!("the value was never written");
    };
    assert_eq!(key, Some(Value::Int(2)));
    let Verdict::Illegal(found) = monitor.finish().expect("judged").verdict else {
        panic!("noticed, and then not");
    };
    assert!(found.sentence.contains("read 2=-7"), "{}", found.sentence);
    assert!(
        found.sentence.contains("called the initial value here"),
        "{}",
        found.sentence
    );
    assert!(
        found.operations.iter().any(|op| op.id.0 == 5000),
        "{:?}",
        found.operations
    );
}

#[test]
fn hundreds_of_open_operations_on_one_key_are_left_to_the_engines() {
    for bug in [Bug::None, Bug::StaleReads(0.01)] {
        let simulation = Simulation {
            operations: 4000,
            processes: 100,
            values: Values::Distinct,
            bug,
            ..Simulation::default()
        };
        let mut monitor = Monitor::new(&simulation.header(), &forgetful(10_000)).expect("a model");
        for event in simulation.events() {
            if monitor.push(&event).expect("an event") != Status::Fine {
                break;
            }
        }
        let found = word(&monitor.finish().expect("judged").verdict);
        assert_eq!(found, if bug == Bug::None { "legal" } else { "illegal" });
    }
}

/// A legal history in which a write fails across a moment from which the register is followed, a write of unknown
/// outcome is open from then on, and two ties in one instant have the engines asked: whoever loses sight of the unknown
/// write accuses the read of it.
#[test]
fn a_write_that_failed_hides_none_of_unknown_outcome() {
    use crate::history::EventKind::{Fail, Info, Invoke, Ok};
    use crate::history::ProcessId;
    let (mut events, mut now): (Vec<Event>, u64) = (Vec::new(), 0);
    let put = |events: &mut Vec<Event>, at: u64, process: u64, kind, f: &'static str, value| {
        let index = events.len() as u64;
        events.push(Event::new(index, Nanos(at), ProcessId(process), kind, f, value));
    };
    let set = |events: &mut Vec<Event>, now: &mut u64, value: i64| {
        *now += 10;
        put(events, *now, 0, Invoke, "set", Value::Int(value));
        put(events, *now + 5, 0, Ok, "set", Value::Int(value));
    };
    (1..64).for_each(|value| set(&mut events, &mut now, value));
    put(&mut events, now + 7, 9, Invoke, "set", Value::Int(900));
    set(&mut events, &mut now, 64);
    put(&mut events, now + 7, 9, Fail, "set", Value::Int(900));
    put(&mut events, now + 8, 8, Invoke, "set", Value::Int(99));
    put(&mut events, now + 9, 8, Info, "set", Value::Int(99));
    for (process, at) in [(1, 11), (2, 12)] {
        put(&mut events, now + at, process, Invoke, "set", Value::Int(65));
    }
    for process in [1, 2] {
        put(&mut events, now + 20, process, Ok, "set", Value::Int(65));
        put(&mut events, now + 20, process, Invoke, "set", Value::Int(66));
    }
    for process in [1, 2] {
        put(
            &mut events,
            now + 20 + process,
            process,
            Ok,
            "set",
            Value::Int(66),
        );
    }
    now += 30;
    (67..100)
        .filter(|&value| value != 99)
        .for_each(|value| set(&mut events, &mut now, value));
    put(&mut events, now + 10, 0, Invoke, "get", Value::Nil);
    put(&mut events, now + 11, 0, Ok, "get", Value::Int(99));
    let mut monitor =
        Monitor::new(&Header::for_model("register"), &CheckOptions::default()).expect("a model");
    for event in &events {
        assert_eq!(monitor.push(event).expect("an event"), Status::Fine, "{event:?}");
    }
    assert_eq!(monitor.look(), Status::Fine);
    assert_eq!(word(&monitor.finish().expect("judged").verdict), "legal");
}

/// Whether the monitor accuses somebody of these events, and what the checker says of them.
fn accused(header: &Header, events: &[Event], options: &CheckOptions) -> (bool, bool) {
    let history = crate::history::History::from_events(header.clone(), events.to_vec()).expect("a history");
    let illegal = word(&check(&history, &CheckOptions::default()).expect("judged").verdict) == "illegal";
    let mut monitor = Monitor::new(header, options).expect("a model");
    let seen = events
        .iter()
        .any(|event| monitor.push(event).expect("an event") != Status::Fine);
    let verdict = monitor.finish().expect("judged").verdict;
    (seen || word(&verdict) == "illegal", illegal)
}

/// Writes that fail have no part in what happened, wherever they lie.
#[test]
fn writes_that_fail_change_nothing_for_the_monitor() {
    let (mut legal, mut illegal) = (0, 0);
    for (at, seed) in seeds(first_seed() ^ 0xfa11, 60).enumerate() {
        let mut simulation = simulation(at, seed, 500);
        simulation.keys = 1;
        let mut events = Vec::new();
        for (number, event) in simulation.events().enumerate() {
            let failing = crate::history::ProcessId(5_000 + number as u64 / 7);
            let time = event.time;
            let of = |kind| Event::new(0, time, failing, kind, "set", Value::Int(-1));
            match number % 7 {
                1 => events.push(of(crate::history::EventKind::Invoke)),
                5 => events.push(of(crate::history::EventKind::Fail)),
                _ => {}
            }
            events.push(event);
        }
        for (index, event) in events.iter_mut().enumerate() {
            event.index = index as u64;
        }
        let (accused, expected) = accused(&simulation.header(), &events, &CheckOptions::default());
        assert_eq!(accused, expected, "seed {seed}");
        *(if expected { &mut illegal } else { &mut legal }) += 1;
    }
    each_is_common(&[legal, illegal], 60, 10);
}

//! What became of the elements of sets, how stale reads were, and whether processes kept their order: by
//! scenarios, against plainer definitions, and as the command prints it.

use std::process::{Command, Output};

use checker::generate::{Bug, Mix, Simulation, Values, seeds};
use checker::history::{
    Event, EventKind, Header, History, Nanos, OpId, Operation, Outcome, ProcessId, Value,
};
use checker::{
    CheckOptions, Stale, StaleBound, StaleLimits, Validity, Verdict, check, set_full, stale_bound,
};

/// Events as (time in ms, process, kind, function, value as JSON).
type Step = (u64, u64, EventKind, &'static str, &'static str);

use EventKind::{Fail, Info, Invoke, Ok as Came};

fn history(model: &str, steps: &[Step]) -> History {
    let events = steps
        .iter()
        .enumerate()
        .map(|(index, &(ms, process, kind, f, value))| {
            let json: serde_json::Value = serde_json::from_str(value).expect("JSON");
            let at = Nanos(ms * 1_000_000);
            Event::new(index as u64, at, ProcessId(process), kind, f, Value::from(json))
        });
    History::from_events(Header::for_model(model), events.collect()).expect("valid")
}

#[test]
fn every_fate_of_an_element() {
    let history = history(
        "set",
        &[
            (0, 0, Invoke, "add", "1"),
            (1, 0, Came, "add", "1"),
            (2, 0, Invoke, "add", "2"),
            (3, 0, Came, "add", "2"),
            (4, 0, Invoke, "add", "3"),
            (5, 0, Came, "add", "3"),
            // Nobody learns what became of 4, and 5 certainly failed.
            (6, 1, Invoke, "add", "4"),
            (7, 1, Info, "add", "4"),
            (8, 0, Invoke, "add", "5"),
            (9, 0, Fail, "add", "5"),
            (10, 2, Invoke, "read", "null"),
            (11, 2, Came, "read", "[1, 3, 3]"),
            (20, 2, Invoke, "read", "null"),
            (21, 2, Came, "read", "[1, 2, 5, 9]"),
            (30, 2, Invoke, "read", "null"),
            (31, 2, Came, "read", "[1, 2, 4]"),
            (40, 0, Invoke, "add", "6"),
            (41, 0, Came, "add", "6"),
        ],
    );
    let found = set_full(&history, Stale::Told).expect("sets");
    let names = |elements: &[checker::Element]| -> Vec<(String, f64)> {
        elements
            .iter()
            .map(|it| (it.element.to_string(), it.latency_ms))
            .collect()
    };
    assert_eq!(found.valid, Validity::False);
    assert_eq!((found.attempt_count, found.acknowledged_count), (6, 4));
    assert_eq!(found.stable_count, 3, "1, 2 and 4");
    // 3 was known at 5 ms, and last seen by the read of 10 ms.
    assert_eq!(names(&found.lost), [("3".to_owned(), 5.0)]);
    // 2 was known at 3 ms and missed by the read of 10 ms.
    assert_eq!(names(&found.worst_stale), [("2".to_owned(), 7.0)]);
    // 4 was asked for at 6 ms and seen by 31 ms; reads before that missed what nobody knew.
    assert_eq!(names(&found.recovered), [("4".to_owned(), 25.0)]);
    assert_eq!(names(&found.never_read), [("6".to_owned(), 0.0)]);
    assert_eq!(
        names(&found.unexpected),
        [("5".to_owned(), 0.0), ("9".to_owned(), 0.0)]
    );
    assert_eq!(
        (found.duplicated[0].times, found.duplicated[0].read),
        (2, OpId(5))
    );
    assert_eq!(found.lost_latencies.expect("one is lost").max, 5.0);
}

#[test]
fn sets_that_catch_up_are_legal_unless_asked() {
    let steps = [
        (0, 0, Invoke, "add", "1"),
        (1, 0, Came, "add", "1"),
        (2, 1, Invoke, "read", "null"),
        (3, 1, Came, "read", "[]"),
        (4, 1, Invoke, "read", "null"),
        (5, 1, Came, "read", "[1]"),
    ];
    let late = history("set", &steps);
    assert_eq!(set_full(&late, Stale::Told).expect("a set").valid, Validity::True);
    assert_eq!(
        set_full(&late, Stale::Illegal).expect("a set").valid,
        Validity::False
    );
    let unread = history("set", &steps[..2]);
    assert_eq!(
        set_full(&unread, Stale::Told).expect("a set").valid,
        Validity::Unknown
    );
    let concurrent = history(
        "set",
        &[
            (0, 0, Invoke, "add", "1"),
            (0, 1, Invoke, "read", "null"),
            (1, 1, Came, "read", "[]"),
            (2, 0, Came, "add", "1"),
        ],
    );
    let found = set_full(&concurrent, Stale::Told).expect("a set");
    assert_eq!(
        (found.lost_count, found.never_read_count),
        (0, 1),
        "the read may have come first"
    );
}

fn measure(history: &History) -> StaleBound {
    stale_bound(history, &CheckOptions::default(), StaleLimits::default()).expect("registers")
}

#[test]
fn staleness_in_time_and_versions() {
    let history = history(
        "register",
        &[
            (0, 0, Invoke, "set", "1"),
            (10, 0, Came, "set", "1"),
            (20, 0, Invoke, "set", "2"),
            (30, 0, Came, "set", "2"),
            (40, 0, Invoke, "set", "3"),
            (50, 0, Came, "set", "3"),
            (55, 1, Invoke, "get", "null"),
            (60, 1, Came, "get", "1"),
            (70, 1, Invoke, "get", "null"),
            (75, 1, Came, "get", "3"),
            (80, 1, Invoke, "get", "null"),
            (85, 1, Came, "get", "null"),
            (90, 1, Invoke, "get", "null"),
            (95, 1, Came, "get", "8"),
        ],
    );
    let found = measure(&history);
    assert_eq!((found.reads, found.stale, found.phantoms), (4, 2, 1));
    let worst: Vec<_> = found
        .worst
        .iter()
        .map(|read| (read.index, read.versions, read.ms))
        .collect();
    // Nil was replaced by 10 ms, and three writes have come since; 1 by 30 ms, and two have.
    assert_eq!(worst, [(10, 3, 70.0), (6, 2, 25.0)]);
    assert_eq!(found.valid, Validity::False, "nobody wrote 8");
}

#[test]
fn a_read_shows_that_a_write_of_unknown_outcome_took_effect() {
    let steps = [
        (0, 0, Invoke, "set", "1"),
        (10, 0, Came, "set", "1"),
        (20, 1, Invoke, "set", "2"),
        (25, 1, Info, "set", "2"),
        (30, 2, Invoke, "get", "null"),
        (35, 2, Came, "get", "1"),
        (40, 2, Invoke, "get", "null"),
        (45, 2, Came, "get", "2"),
        (50, 2, Invoke, "get", "null"),
        (55, 2, Came, "get", "1"),
    ];
    let found = measure(&history("register", &steps));
    let worst: Vec<_> = found
        .worst
        .iter()
        .map(|read| (read.index, read.versions, read.ms))
        .collect();
    assert_eq!(worst, [(8, 1, 5.0)]);
    assert_eq!(found.valid, Validity::True, "no bound was asked for");
    let history = history("register", &steps);
    for (limits, expected) in [
        (
            StaleLimits {
                ms: Some(4.0),
                versions: None,
            },
            Validity::False,
        ),
        (
            StaleLimits {
                ms: Some(5.0),
                versions: Some(1),
            },
            Validity::True,
        ),
        (
            StaleLimits {
                ms: None,
                versions: Some(0),
            },
            Validity::False,
        ),
    ] {
        let found = stale_bound(&history, &CheckOptions::default(), limits).expect("registers");
        assert_eq!(found.valid, expected, "{limits:?}");
    }
}

/// The definition as it reads, one pair after another.
fn plain_versions(history: &History, read: OpId) -> u64 {
    let read = history.operation(read);
    let value = read.output();
    let writes: Vec<_> = history.operations().filter(|op| op.f() == "set").collect();
    let effect = |write: &Operation<'_>| {
        let own = write.completed_index().filter(|_| write.outcome() == Outcome::Ok);
        let reads = history
            .operations()
            .filter(|op| op.f() == "get" && op.outcome() == Outcome::Ok);
        let seen = reads
            .filter(|op| op.output() == write.input())
            .filter_map(Operation::completed_index);
        own.into_iter().chain(seen).min()
    };
    let mine = writes.iter().find(|write| write.input() == value);
    let after = mine.map_or(Some(0), effect);
    let newer = writes.iter().filter(|write| {
        let Some(after) = after else { return false };
        let replaced = mine.is_none() || write.invoked_index() > after;
        replaced && effect(write).is_some_and(|effect| effect < read.invoked_index())
    });
    newer.count() as u64
}

#[test]
fn staleness_is_as_defined_and_none_where_the_store_is_healthy() {
    let mut stale = 0;
    for seed in seeds(20_261_121, 200) {
        let mut simulation = Simulation {
            seed,
            operations: 60,
            processes: 4,
            values: Values::Distinct,
            mix: Mix {
                get: 2,
                set: 1,
                ..Mix::default()
            },
            unknown: 0.1,
            bug: Bug::StaleReads(0.3),
            ..Simulation::default()
        };
        let history = simulation.history().expect("valid");
        let found = measure(&history);
        assert_eq!(found.phantoms + found.early, 0, "seed {seed}");
        for read in &found.worst {
            assert_eq!(
                read.versions,
                plain_versions(&history, read.id),
                "seed {seed}: {read:?}"
            );
        }
        let reads = history
            .operations()
            .filter(|op| op.f() == "get" && op.outcome() == Outcome::Ok);
        let plain = reads
            .filter(|read| plain_versions(&history, read.id()) > 0)
            .count();
        assert_eq!(found.stale, plain, "seed {seed}");
        if found.stale > 0 {
            let verdict = check(&history, &CheckOptions::default()).expect("judged").verdict;
            assert!(
                matches!(verdict, Verdict::Illegal(_)),
                "seed {seed}: a stale read is a violation"
            );
        }
        stale += found.stale;
        simulation.bug = Bug::None;
        let found = measure(&simulation.history().expect("valid"));
        assert_eq!((found.stale, found.valid), (0, Validity::True), "seed {seed}");
    }
    assert!(stale > 500, "{stale} stale reads of 200 broken stores");
}

fn command(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_checker"))
        .args(arguments)
        .output()
        .expect("the command runs")
}

#[test]
fn the_command_prints_tables_and_json() {
    let corpus = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/corpus/stale-read.jsonl");
    let output = command(&["check", "--checker", "stale-bound", corpus]);
    assert_eq!(output.status.code(), Some(0));
    let text = String::from_utf8(output.stdout).expect("text");
    assert!(text.starts_with(&format!("legal\t{corpus}\n")), "{text}");
    assert!(
        text.contains("versions, stale reads") && text.contains("p99.9"),
        "{text}"
    );
    let output = command(&[
        "check",
        "--checker",
        "stale-bound",
        "--stale-versions",
        "0",
        "--json",
        corpus,
    ]);
    assert_eq!(output.status.code(), Some(1));
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!((&json["valid"], &json["stale"]), (&false.into(), &1.into()));
    // What is stale may still be in each process's order.
    for question in ["--checker", "--consistency"] {
        let output = command(&["check", question, "sequential", corpus]);
        assert_eq!(output.status.code(), Some(0), "{output:?}");
    }
    assert_eq!(
        command(&["check", "--checker", "set-full", corpus]).status.code(),
        Some(254)
    );
    let folder = tempfile::tempdir().expect("a folder");
    let set = folder.path().join("set.jsonl");
    let line = |index, kind, f, value| {
        format!(
            "{{\"index\":{index},\"time\":{index},\"process\":0,\"type\":\"{kind}\",\"f\":\"{f}\",\"value\":{value}}}\n"
        )
    };
    let lines = [
        "{\"ordeal\":1,\"model\":\"set\"}\n".to_owned(),
        line(0, "invoke", "add", "7"),
        line(1, "ok", "add", "7"),
        line(2, "invoke", "read", "null"),
        line(3, "ok", "read", "[]"),
    ];
    std::fs::write(&set, lines.concat()).expect("written");
    let output = command(&["check", "--checker", "set-full", &set.display().to_string()]);
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8(output.stdout).expect("text");
    assert!(
        text.contains("  lost                           1\n") && text.contains("  lost: 7\n"),
        "{text}"
    );
}

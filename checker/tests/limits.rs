//! Budgets end whatever takes too long: the verdict is unknown then, and says what ran out, where, and how to go on.
//!
//! What is judged here is far too much for any search, and for a step of one: if a loop did not look at its budget,
//! the test would not come to an end.

use std::process::Command;
use std::time::{Duration, Instant};

use checker::history::{Event, EventKind, Header, History, Nanos, ProcessId, Value};
use checker::{CheckOptions, Limit, Verdict, check, sequential};

/// Events in the order of time: process, kind, function, value.
type Told = (u64, EventKind, &'static str, Value);

fn history(header: Header, told: Vec<Told>) -> History {
    let events = told
        .into_iter()
        .zip(0..)
        .map(|((process, kind, f, value), at)| Event::new(at, Nanos(at), ProcessId(process), kind, f, value));
    History::from_events(header, events.collect()).expect("the events pair")
}

/// So many of a function open all the while, and others by further processes meanwhile; what is open ends at last.
fn among_open(count: u64, f: &'static str, input: impl Fn(u64) -> Value, meanwhile: Vec<Told>) -> Vec<Told> {
    let all = |kind| {
        let told = (0..count).map(|process| (process, kind, f, input(process)));
        told.collect::<Vec<_>>()
    };
    [all(EventKind::Invoke), meanwhile, all(EventKind::Ok)].concat()
}

/// Some that are invoked together and return these.
fn together(first: u64, f: &'static str, answers: Vec<Value>) -> Vec<Told> {
    let asked = (first..)
        .zip(&answers)
        .map(|(process, _)| (process, EventKind::Invoke, f, Value::Nil));
    let told = (first..)
        .zip(answers.clone())
        .map(|(process, answer)| (process, EventKind::Ok, f, answer));
    asked.chain(told).collect()
}

fn numbers(which: impl Iterator<Item = u64>) -> Value {
    Value::List(which.map(|number| Value::Int(number as i64)).collect())
}

/// So many are open at once.
const OPEN: u64 = 10_000;

fn number(number: u64) -> Value {
    Value::Int(number as i64)
}

/// The last of those that are being enqueued are dequeued first, one after another.
fn queue() -> History {
    let dequeues = (0..20).flat_map(|turn| together(OPEN, "dequeue", vec![number(OPEN - 1 - turn)]));
    let told = among_open(OPEN, "enqueue", number, dequeues.collect());
    history(Header::for_model("queue"), told)
}

/// Two reads at once, of which neither saw anything that the other did.
fn set() -> History {
    let half = |odd: u64| numbers((0..OPEN / 2).map(move |at| 2 * at + odd));
    let reads = together(OPEN, "read", vec![half(0), half(1)]);
    history(Header::for_model("set"), among_open(OPEN, "add", number, reads))
}

/// An odd sum of some of very many even numbers.
fn counter() -> History {
    let sum = together(OPEN, "read", vec![Value::Int(123_456_789)]);
    let told = among_open(OPEN, "add", |at| number(at * at % 99_991 * 2 + 2), sum);
    history(Header::for_model("counter"), told)
}

/// What no rule sees at once: a search would have to put thousands of open operations in order.
fn hard() -> [(&'static str, History); 3] {
    [("queue", queue()), ("set", set()), ("counter", counter())]
}

#[test]
fn a_time_limit_ends_every_search_however_much_is_open() {
    for (model, history) in hard() {
        let options = CheckOptions {
            time_limit: Some(Duration::from_millis(50)),
            ..CheckOptions::default()
        };
        let begun = Instant::now();
        let verdict = check(&history, &options).expect("judged").verdict;
        println!("{model}: {} after {:?}", word(&verdict), begun.elapsed());
        let Verdict::Unknown(limit @ Limit::Time { .. }) = verdict else {
            panic!("{model}: {verdict:?}");
        };
        let said = limit.to_string();
        assert!(said.starts_with("no answer within 0.05 s: "), "{said}");
        assert!(
            said.ends_with(" completed operations explained; a larger --time-limit goes on"),
            "{said}"
        );
    }
}

fn word(verdict: &Verdict) -> &'static str {
    match verdict {
        Verdict::Linearizable(_) => "legal",
        Verdict::Illegal(_) => "illegal",
        Verdict::Unknown(_) => "unknown",
    }
}

#[test]
fn a_time_limit_ends_the_question_of_processes_too() {
    for (model, history) in hard() {
        let options = CheckOptions {
            time_limit: Some(Duration::from_millis(50)),
            ..CheckOptions::default()
        };
        let begun = Instant::now();
        let verdict = sequential(&history, &options).expect("judged").verdict;
        println!("{model}: {} after {:?}", word(&verdict), begun.elapsed());
        assert!(
            matches!(verdict, Verdict::Unknown(Limit::Time { .. })),
            "{model}: {verdict:?}"
        );
    }
}

#[test]
fn a_memory_limit_ends_every_search_and_names_the_key() {
    let history = queue();
    let events = history.events().into_iter().map(|mut event| {
        event.key = Some(Value::from("jobs"));
        event
    });
    let history = History::from_events(history.header().clone(), events.collect()).expect("the events pair");
    let options = CheckOptions {
        memory_limit: Some(8 << 20),
        ..CheckOptions::default()
    };
    let verdict = check(&history, &options).expect("judged").verdict;
    let Verdict::Unknown(limit @ Limit::Memory { .. }) = verdict else {
        panic!("{verdict:?}");
    };
    let said = limit.to_string();
    assert!(
        said.starts_with("no answer within 8388608 bytes, key jobs: "),
        "{said}"
    );
    assert!(
        said.ends_with(" of 10020 completed operations explained; a larger --memory-limit goes on"),
        "{said}"
    );
}

#[test]
fn the_command_says_unknown_and_exits_2() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("queue.jsonl");
    let history = queue();
    let mut writer = checker::history::Writer::new(Vec::new(), history.header()).expect("memory");
    for event in history.events() {
        writer.write(&event).expect("memory");
    }
    std::fs::write(&file, writer.into_inner().expect("memory")).expect("a file");
    for limit in [["--time-limit", "0.05"], ["--memory-limit", "8M"]] {
        let output = Command::new(env!("CARGO_BIN_EXE_checker"))
            .arg("check")
            .args(limit)
            .arg(&file)
            .output()
            .expect("the command runs");
        assert_eq!(output.status.code(), Some(2), "{limit:?}");
        let (told, said) = (
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr),
        );
        assert!(told.starts_with("unknown\t"), "{told}");
        assert_eq!(said.lines().count(), 1, "{said}");
        assert!(said.contains(&format!("a larger {} goes on", limit[0])), "{said}");
    }
}

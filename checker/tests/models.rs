//! The models one by one, on histories small enough to be judged by reading them.

use checker::history::{Event, EventKind, Header, History, Nanos, ProcessId, Value};
use checker::model::{Invocation, Model, Nondeterministic, Observed, PowerSet};
use checker::{CheckOptions, Limit, Verdict, check, check_model};

/// A history from lines of process, type, function and value; every line is a moment of its own.
fn history(header: &str, lines: &str) -> History {
    let header = Header::from_line(header.as_bytes())
        .expect("a header")
        .expect("a header");
    let events = lines
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .enumerate();
    let events = events.map(|(at, line)| {
        let mut parts = line.splitn(4, ' ');
        let mut next = || parts.next().expect("process, type, function and value");
        let process = ProcessId(next().parse().expect("a process"));
        let kind = EventKind::from_word(next()).expect("a type");
        let f = next().to_owned();
        let value: serde_json::Value = serde_json::from_str(next()).expect("JSON");
        Event::new(
            at as u64,
            Nanos(at as u64 * 10),
            process,
            kind,
            f,
            Value::from(value),
        )
    });
    History::from_events(header, events.collect()).expect("events that pair")
}

fn judge(header: &str, lines: &str, legal: bool) {
    let found = check(&history(header, lines), &CheckOptions::default()).expect("a known model");
    assert_eq!(
        matches!(found.verdict, Verdict::Linearizable(_)),
        legal,
        "{header}\n{lines}\n{:?}",
        found.verdict
    );
}

#[test]
fn a_fifo_queue_gives_in_the_order_it_was_given() {
    let fifo = r#"{"ordeal":1,"model":"queue"}"#;
    let two = "0 invoke enqueue 1\n0 ok enqueue 1\n0 invoke enqueue 2\n0 ok enqueue 2\n";
    judge(
        fifo,
        &format!("{two}1 invoke dequeue null\n1 ok dequeue 1\n"),
        true,
    );
    judge(
        fifo,
        &format!("{two}1 invoke dequeue null\n1 ok dequeue 2\n"),
        false,
    );
    judge(
        fifo,
        &format!("{two}1 invoke dequeue null\n1 ok dequeue null\n"),
        false,
    );
    // What overlapped came in either order.
    let both = "0 invoke enqueue 1\n1 invoke enqueue 2\n0 ok enqueue 1\n1 ok enqueue 2\n";
    judge(
        fifo,
        &format!("{both}2 invoke dequeue null\n2 ok dequeue 2\n"),
        true,
    );
    // A dequeue of unknown outcome may have taken the first, once.
    let lost = format!("{two}1 invoke dequeue null\n1 info dequeue null\n");
    judge(
        fifo,
        &format!("{lost}2 invoke dequeue null\n2 ok dequeue 2\n"),
        true,
    );
    judge(
        fifo,
        &format!("{lost}2 invoke dequeue null\n2 ok dequeue null\n"),
        false,
    );
    // Nothing is given twice.
    let twice = "1 invoke dequeue null\n1 ok dequeue 1\n1 invoke dequeue null\n1 ok dequeue 1\n";
    judge(fifo, &format!("{two}{twice}"), false);
}

#[test]
fn a_bag_gives_in_any_order() {
    let bag = r#"{"ordeal":1,"model":"queue","queue":"bag"}"#;
    let two = "0 invoke enqueue 1\n0 ok enqueue 1\n0 invoke enqueue 2\n0 ok enqueue 2\n";
    judge(
        bag,
        &format!("{two}1 invoke dequeue null\n1 ok dequeue 2\n"),
        true,
    );
    judge(
        bag,
        &format!("{two}1 invoke dequeue null\n1 ok dequeue 3\n"),
        false,
    );
    judge(
        bag,
        &format!("{two}1 invoke dequeue null\n1 ok dequeue null\n"),
        false,
    );
    // Nobody knows which one the lost dequeue took, but it took one.
    let lost = format!("{two}1 invoke dequeue null\n1 info dequeue null\n2 invoke dequeue null\n");
    judge(
        bag,
        &format!("{lost}2 ok dequeue 1\n2 invoke dequeue null\n2 ok dequeue null\n"),
        true,
    );
    judge(
        bag,
        &format!("{lost}2 ok dequeue 1\n2 invoke dequeue null\n2 ok dequeue 2\n"),
        true,
    );
    judge(
        bag,
        &format!("{lost}2 ok dequeue 1\n2 invoke dequeue null\n2 ok dequeue 1\n"),
        false,
    );
}

#[test]
fn a_lock_has_one_owner() {
    let lock = r#"{"ordeal":1,"model":"lock"}"#;
    let held = "0 invoke acquire \"a\"\n0 ok acquire \"a\"\n";
    judge(
        lock,
        &format!("{held}1 invoke acquire \"b\"\n1 ok acquire \"b\"\n"),
        false,
    );
    judge(
        lock,
        &format!("{held}1 invoke release \"b\"\n1 ok release \"b\"\n"),
        false,
    );
    let freed = format!("{held}0 invoke release \"a\"\n0 ok release \"a\"\n");
    judge(
        lock,
        &format!("{freed}1 invoke acquire \"b\"\n1 ok acquire \"b\"\n"),
        true,
    );
    // A release of unknown outcome may have happened; one that failed did not.
    let perhaps = format!("{held}0 invoke release \"a\"\n0 info release \"a\"\n");
    judge(
        lock,
        &format!("{perhaps}1 invoke acquire \"b\"\n1 ok acquire \"b\"\n"),
        true,
    );
    let failed = format!("{held}0 invoke release \"a\"\n0 fail release \"a\"\n");
    judge(
        lock,
        &format!("{failed}1 invoke acquire \"b\"\n1 ok acquire \"b\"\n"),
        false,
    );
    judge(lock, "0 invoke release \"a\"\n0 ok release \"a\"\n", false);
}

#[test]
fn a_counter_adds_up() {
    let counter = r#"{"ordeal":1,"model":"counter","init":10}"#;
    let added = "0 invoke add 2\n0 ok add 2\n1 invoke add -1\n1 info add -1\n";
    judge(
        counter,
        &format!("{added}2 invoke read null\n2 ok read 12\n"),
        true,
    );
    judge(
        counter,
        &format!("{added}2 invoke read null\n2 ok read 11\n"),
        true,
    );
    judge(
        counter,
        &format!("{added}2 invoke read null\n2 ok read 10\n"),
        false,
    );
    // What was seen of an unknown outcome stays.
    let seen = format!("{added}2 invoke read null\n2 ok read 11\n2 invoke read null\n");
    judge(counter, &format!("{seen}2 ok read 12\n"), false);
}

#[test]
fn a_set_keeps_what_was_added() {
    let set = r#"{"ordeal":1,"model":"set"}"#;
    let added = "0 invoke add 1\n0 ok add 1\n1 invoke add 2\n1 info add 2\n";
    judge(set, &format!("{added}2 invoke read null\n2 ok read [1]\n"), true);
    judge(
        set,
        &format!("{added}2 invoke read null\n2 ok read [2,1]\n"),
        true,
    );
    judge(set, &format!("{added}2 invoke read null\n2 ok read []\n"), false);
    judge(
        set,
        &format!("{added}2 invoke read null\n2 ok read [1,3]\n"),
        false,
    );
    let seen = format!("{added}2 invoke read null\n2 ok read [1,2]\n3 invoke read null\n");
    judge(set, &format!("{seen}3 ok read [1]\n"), false);
}

#[test]
fn registers_that_change_together_are_read_together() {
    let many = r#"{"ordeal":1,"model":"multi-register","init":0}"#;
    let write = r#"[["write","x",1],["write","y",1]]"#;
    let wrote = format!(
        "0 invoke txn {write}\n0 ok txn {write}\n1 invoke txn [[\"read\",\"x\",null],[\"read\",\"y\",null]]\n"
    );
    judge(
        many,
        &format!("{wrote}1 ok txn [[\"read\",\"x\",1],[\"read\",\"y\",1]]\n"),
        true,
    );
    judge(
        many,
        &format!("{wrote}1 ok txn [[\"read\",\"x\",1],[\"read\",\"y\",0]]\n"),
        false,
    );
    judge(
        many,
        &format!("{wrote}1 ok txn [[\"read\",\"x\",0],[\"read\",\"y\",0]]\n"),
        false,
    );
    // Half of a write of unknown outcome is no outcome.
    let perhaps = wrote.replacen("0 ok", "0 info", 1);
    judge(
        many,
        &format!("{perhaps}1 ok txn [[\"read\",\"x\",0],[\"read\",\"y\",0]]\n"),
        true,
    );
    judge(
        many,
        &format!("{perhaps}1 ok txn [[\"read\",\"x\",0],[\"read\",\"y\",1]]\n"),
        false,
    );
}

#[test]
fn a_bank_keeps_its_total() {
    let bank = r#"{"ordeal":1,"model":"bank","total-amount":10}"#;
    let moved = "0 invoke transfer {\"from\":0,\"to\":1,\"amount\":5}\n0 ok transfer {\"from\":0,\"to\":1,\"amount\":5}\n";
    judge(
        bank,
        &format!("{moved}1 invoke read null\n1 ok read {{\"0\":5,\"1\":5}}\n"),
        true,
    );
    judge(
        bank,
        &format!("{moved}1 invoke read null\n1 ok read {{\"0\":5,\"1\":6}}\n"),
        false,
    );
    judge(
        bank,
        &format!("{moved}1 invoke read null\n1 ok read {{\"0\":-1,\"1\":11}}\n"),
        false,
    );
}

/// A coin that shows one side and keeps it.
struct Coin;

impl Nondeterministic for Coin {
    type State = Option<bool>;

    fn init(&self) -> Option<bool> {
        None
    }

    fn steps(&self, side: &Option<bool>, operation: &Invocation) -> Vec<Option<bool>> {
        match (&*operation.f, &operation.result) {
            ("toss", _) => vec![Some(true), Some(false)],
            (_, Observed::Ok(Value::Bool(seen), _)) if *side == Some(*seen) => vec![*side],
            (_, Observed::Ok(..)) => Vec::new(),
            _ => vec![*side],
        }
    }
}

#[test]
fn a_power_set_holds_all_that_may_be() {
    let looks = |first: bool, second: bool| {
        let lines = format!(
            "0 invoke toss null\n0 ok toss null\n1 invoke look null\n1 ok look {first}\n\
             1 invoke look null\n1 ok look {second}\n"
        );
        let history = history(r#"{"ordeal":1}"#, &lines);
        let found = check_model(&history, PowerSet(Coin), &CheckOptions::default()).expect("threads");
        matches!(found.verdict, Verdict::Linearizable(_))
    };
    assert!(looks(true, true) && looks(false, false));
    assert!(
        !looks(true, false) && !looks(false, true),
        "what was seen rules the other side out"
    );
}

/// Fails when it meets what it does not like.
struct Touchy;

impl Model for Touchy {
    type State = ();

    fn init(&self) {}

    fn step(&self, (): &(), operation: &Invocation) -> Option<()> {
        assert!(operation.f != "touch", "do not touch");
        Some(())
    }
}

#[test]
fn a_model_that_panics_is_named_and_the_verdict_unknown() {
    let history = history(r#"{"ordeal":1}"#, "0 invoke touch 1\n0 ok touch 1\n");
    let found = check_model(&history, Touchy, &CheckOptions::default()).expect("threads");
    let Verdict::Unknown(limit @ Limit::ModelPanicked { .. }) = found.verdict else {
        panic!("{:?}", found.verdict);
    };
    assert!(
        limit.to_string().starts_with("the model failed: do not touch"),
        "{limit}"
    );
}

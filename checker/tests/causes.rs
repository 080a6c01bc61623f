//! Every class of cause by a history made by hand, and histories that nearly are of that class.

use checker::history::{Event, EventKind, Header, History, Nanos, ProcessId, Value};
use checker::{CheckOptions, Counterexample, Proof, Verdict, check, verify};
use serde_json::{Value as Json, json};

/// An operation on the key: when, through which node, what, with what result.
struct Did(u64, u64, &'static str, &'static str, Json, Json);

/// Nothing ever came back.
fn info() -> Json {
    json!("INFO")
}

/// It certainly did nothing.
fn fail() -> Json {
    json!("FAIL")
}

/// A cas found this instead.
fn found(current: Json) -> Json {
    json!({ "mismatch": current })
}

fn history(operations: &[Did]) -> History {
    let mut events: Vec<(u64, bool, Event)> = Vec::new();
    for (process, Did(from, to, node, f, input, result)) in operations.iter().enumerate() {
        let value = Value::from(input.clone());
        let mut event = Event::new(
            0,
            Nanos(from * 1_000_000),
            ProcessId(process as u64),
            EventKind::Invoke,
            *f,
            value,
        );
        event.key = Some(Value::from("k"));
        let mut ended = event.clone();
        events.push((*from, false, event));
        ended.time = Nanos(to * 1_000_000);
        ended.node = Some((*node).to_owned());
        if *result == info() {
            ended.kind = EventKind::Info;
        } else if *result == fail() {
            ended.kind = EventKind::Fail;
            ended.error = Some("no leader".to_owned());
        } else if let Some(current) = result.get("mismatch") {
            ended.kind = EventKind::Fail;
            ended.error = Some("mismatch".to_owned());
            ended.current = Some(Value::from(current.clone()));
        } else {
            ended.kind = EventKind::Ok;
            if *f == "get" {
                ended.value = Value::from(result.clone());
            }
        }
        events.push((*to, true, ended));
    }
    events.sort_by_key(|(at, ends, _)| (*at, *ends));
    let events = events.into_iter().enumerate().map(|(index, (.., mut event))| {
        event.index = index as u64;
        event
    });
    History::from_events(Header::for_model("kv"), events.collect()).expect("a history")
}

fn told(operations: &[Did]) -> Counterexample {
    let history = history(operations);
    let analysis = check(&history, &CheckOptions::default()).expect("checked");
    // Whoever checks the proof comes to the same words.
    let json = serde_json::to_value(&analysis).expect("plain data");
    let proof = verify(&json.to_string(), &history, &CheckOptions::default()).expect("a proof");
    assert!(matches!(proof, Proof::Holds { .. }), "{proof:?}");
    match analysis.verdict {
        Verdict::Illegal(found) => *found,
        other => panic!("illegal, not {other:?}"),
    }
}

/// The anomaly's name, and that the sentence says this of it.
fn is(operations: &[Did], anomaly: &str, says: &str) {
    let found = told(operations);
    let name = serde_json::to_value(found.anomaly).expect("a name");
    assert_eq!(name, anomaly, "{}", found.sentence);
    assert!(found.sentence.contains(says), "{says}: {}", found.sentence);
}

fn set(from: u64, to: u64, value: i64) -> Did {
    Did(from, to, "n1", "set", json!(value), json!("ok"))
}

fn get(from: u64, to: u64, node: &'static str, value: Json) -> Did {
    Did(from, to, node, "get", Json::Null, value)
}

fn append(from: u64, to: u64, piece: &str) -> Did {
    Did(from, to, "n1", "append", json!(piece), json!("ok"))
}

fn cas(from: u64, to: u64, old: Json, new: i64) -> Did {
    Did(from, to, "n1", "cas", json!([old, new]), json!("ok"))
}

#[test]
fn an_old_answer_is_a_stale_read_when_the_new_value_turns_up_later() {
    let stale = [
        set(0, 1, 4),
        set(2, 3, 5),
        get(4, 5, "n2", json!(4)),
        get(6, 7, "n3", json!(5)),
    ];
    is(&stale, "stale-read", "5 was not lost");
    // What was written over it shows as much.
    let replaced = [
        set(0, 1, 4),
        set(2, 3, 5),
        get(4, 5, "n2", json!(4)),
        set(6, 7, 6),
        get(8, 9, "n3", json!(6)),
    ];
    is(&replaced, "stale-read", "the answer was old");
    // A node that goes on giving old answers has lost nothing, as others know.
    let slow = [
        set(0, 1, 4),
        set(2, 3, 5),
        get(4, 5, "n2", json!(4)),
        get(6, 7, "n3", json!(5)),
        get(8, 9, "n2", json!(4)),
        get(10, 11, "n2", json!(5)),
    ];
    is(&slow, "stale-read", "was not lost");
}

#[test]
fn an_old_answer_is_a_lost_write_when_everybody_agrees_on_it_from_then_on() {
    let lost = [
        set(0, 1, 4),
        set(2, 3, 5),
        get(4, 5, "n2", json!(4)),
        get(6, 7, "n3", json!(4)),
        get(8, 9, "n1", json!(4)),
    ];
    is(&lost, "lost-write", "5 is lost: 2 other answers say the same");
    // Seen before, and gone all the same.
    let seen = [
        set(0, 1, 4),
        set(2, 3, 5),
        get(4, 5, "n1", json!(5)),
        get(6, 7, "n2", json!(4)),
        get(8, 9, "n1", json!(4)),
    ];
    is(&seen, "lost-write", "5 is lost");
}

#[test]
fn nodes_that_still_disagree_when_nobody_writes_have_diverged() {
    let apart = [
        set(0, 1, 4),
        set(2, 3, 5),
        get(4, 5, "n2", json!(4)),
        get(6, 7, "n1", json!(5)),
        get(8, 9, "n2", json!(4)),
    ];
    is(&apart, "divergence", "the nodes hold different values");
    // The same, but somebody writes: n2 may only be late.
    let late = [
        set(0, 1, 4),
        set(2, 3, 5),
        get(4, 5, "n2", json!(4)),
        get(6, 7, "n1", json!(5)),
        get(8, 9, "n2", json!(4)),
        set(10, 11, 6),
    ];
    is(&late, "stale-read", "was not lost");
}

#[test]
fn a_deleted_value_that_stays_is_resurrected() {
    let delete = || Did(2, 3, "n1", "delete", Json::Null, json!("ok"));
    let back = [
        set(0, 1, 4),
        delete(),
        get(4, 5, "n2", json!(4)),
        get(6, 7, "n3", json!(4)),
    ];
    is(&back, "resurrected-value", "4 is back");
    let stale = [
        set(0, 1, 4),
        delete(),
        get(4, 5, "n2", json!(4)),
        get(6, 7, "n3", Json::Null),
    ];
    is(&stale, "stale-read", "was not lost");
}

#[test]
fn two_cas_at_once_on_one_value_are_not_atomic_but_one_after_the_other_the_first_is_lost() {
    let both = [set(0, 1, 1), cas(2, 5, json!(1), 2), cas(3, 6, json!(1), 3)];
    is(&both, "non-atomic-cas", "both succeeded on one value");
    let lost = [
        set(0, 1, 1),
        cas(2, 3, json!(1), 2),
        cas(4, 5, json!(1), 3),
        get(6, 7, "n2", json!(3)),
    ];
    is(&lost, "lost-write", "2 is lost");
}

#[test]
fn a_cas_that_wrote_over_what_came_between_is_not_atomic() {
    // 5 was there while the cas was under way, and 2 stands on 1.
    let torn = [
        set(0, 1, 1),
        cas(2, 9, json!(1), 2),
        set(3, 4, 5),
        get(5, 6, "n1", json!(5)),
        get(10, 11, "n1", json!(2)),
    ];
    is(&torn, "non-atomic-cas", "");
    // The cas is fine; somebody read an old value.
    let stale = [
        set(0, 1, 1),
        cas(2, 3, json!(1), 2),
        get(4, 5, "n2", json!(1)),
        get(6, 7, "n1", json!(2)),
    ];
    is(&stale, "stale-read", "2 was not lost");
}

#[test]
fn a_value_of_a_write_that_failed_is_told_from_one_that_nobody_asked_for() {
    let failed = [
        Did(0, 1, "n1", "set", json!(4), fail()),
        get(2, 3, "n2", json!(4)),
    ];
    is(
        &failed,
        "failed-write-visible",
        "was told from 0.000 s to 0.001 s that it was not done",
    );
    let refused = [
        set(0, 1, 1),
        Did(2, 3, "n1", "cas", json!([7, 4]), found(json!(1))),
        get(4, 5, "n2", json!(4)),
    ];
    is(
        &refused,
        "divergence",
        "was told from 0.002 s to 0.003 s that 1 was there instead of what it expected",
    );
    let twice = [
        set(0, 1, 7),
        Did(2, 3, "n1", "cas", json!([7, 4]), found(json!(4))),
        get(4, 5, "n2", json!(4)),
    ];
    is(&twice, "failed-write-visible", "nobody wrote 4");
    let nobody = [set(0, 1, 1), get(2, 3, "n2", json!(4))];
    is(&nobody, "phantom-value", "nobody ever wrote 4");
    let text = [
        append(0, 1, "1,"),
        Did(2, 3, "n1", "append", json!("2,"), fail()),
        get(4, 5, "n2", json!("1,2,")),
    ];
    is(&text, "failed-write-visible", "had not been appended");
}

#[test]
fn a_piece_that_stands_twice_was_applied_twice() {
    let twice = [
        append(0, 1, "1,"),
        append(2, 3, "2,"),
        get(4, 5, "n1", json!("1,2,1,")),
    ];
    is(&twice, "duplicate", "1, stands twice, but it was appended once");
    // Of unknown outcome it may take effect whenever it likes, but once.
    let unknown = [
        Did(0, 1, "n1", "append", json!("1,"), info()),
        append(2, 3, "2,"),
        get(4, 5, "n1", json!("1,2,1,")),
    ];
    is(&unknown, "duplicate", "appended once");
    // A piece within a longer one is none.
    let phantom = [append(0, 1, "1,"), get(2, 3, "n1", json!("1,11,"))];
    is(&phantom, "phantom-value", "nobody had appended 11,");
}

#[test]
fn a_text_that_lacks_a_piece_is_stale_lost_or_of_a_node_that_went_another_way() {
    let begun = || vec![append(0, 1, "1,"), append(2, 3, "2,")];
    let with = |reads: Vec<Did>| [begun(), reads].into_iter().flatten().collect::<Vec<_>>();
    let stale = with(vec![get(4, 5, "n2", json!("1,")), get(6, 7, "n2", json!("1,2,"))]);
    is(&stale, "stale-read", "; 2 was not lost");
    let lost = with(vec![get(4, 5, "n2", json!("1,")), get(6, 7, "n3", json!("1,"))]);
    is(&lost, "lost-write", "; 2 is lost");
    // It lacks the first and has the second: no moment of the past looks so.
    let gap = with(vec![get(4, 5, "n2", json!("2,")), get(6, 7, "n3", json!("1,2,"))]);
    is(&gap, "divergence", "");
    let order = with(vec![
        get(4, 5, "n2", json!("2,1,")),
        get(6, 7, "n3", json!("1,2,")),
    ]);
    assert_eq!(
        serde_json::to_value(told(&order).anomaly).expect("a name"),
        "divergence"
    );
}

#[test]
fn a_read_text_that_shrinks_is_told_by_what_becomes_of_it() {
    let unknown = || Did(0, 1, "n1", "append", json!("1,"), info());
    let back = [
        unknown(),
        get(2, 3, "n1", json!("1,")),
        get(4, 5, "n2", Json::Null),
    ];
    is(&back, "reads-go-backwards", "lacks 1, but");
    let stale = [
        unknown(),
        get(2, 3, "n1", json!("1,")),
        get(4, 5, "n2", Json::Null),
        get(6, 7, "n2", json!("1,")),
    ];
    is(&stale, "stale-read", "; 1 was not lost");
}

//! What a run leaves for programs is as `docs/schema` and the pages beside it say.

mod schema;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use schema::Validator;
use serde_json::{Value, json};

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

/// A run whose history is made of these lines, judged by the program; its exit code and its folder.
fn judged(dir: &Path, name: &str, lines: &str, more: &[&str]) -> (Option<i32>, PathBuf) {
    let run = dir.join(name);
    fs::create_dir_all(&run).expect("a folder");
    fs::write(run.join("history.jsonl"), lines).expect("written");
    let output = Command::new(env!("CARGO_BIN_EXE_workloads"))
        .arg("analyze")
        .arg(&run)
        .args(more)
        .stdin(Stdio::null())
        .output()
        .expect("starts");
    (output.status.code(), run)
}

/// Events in their places, one instant after the other.
fn lines(header: Value, events: &[Value]) -> String {
    let mut text = format!("{header}\n");
    for (event, index) in events.iter().zip(0..) {
        let mut event = event.clone();
        event["index"] = json!(index);
        event["time"] = json!(index * 1_000_000);
        text.push_str(&format!("{event}\n"));
    }
    text
}

fn client(kind: &str, f: &str, value: Value) -> Value {
    json!({"process": 0, "type": kind, "f": f, "key": "k", "value": value, "node": "n1"})
}

fn nemesis(f: &str, value: Value) -> Value {
    json!({"process": "nemesis", "type": "info", "f": f, "value": value})
}

/// A run that did what it had to, with whatever else is put in before its end.
fn whole(more: &[Value], replicas: Value) -> String {
    let header = json!({"ordeal": 1, "model": "kv", "seed": 7, "nodes": ["n1", "n2"], "started": "2026-11-21T00:00:00Z"});
    let mut events = vec![
        client("invoke", "set", json!(1)),
        client("ok", "set", json!(1)),
        nemesis(
            "standing",
            json!({"event": "standing", "node": "n1", "role": "leader", "term": 3}),
        ),
        client("invoke", "get", json!(null)),
        json!({"process": 0, "type": "fail", "f": "get", "key": "k", "value": null, "error": "503", "node": "n1"}),
    ];
    events.extend_from_slice(more);
    events.extend([
        nemesis("load-over", json!({"event": "load-over", "cut_short": null})),
        nemesis("healed", json!({"event": "healed", "not_ready": []})),
        client("invoke", "get", json!(null)),
        client("ok", "get", json!(1)),
        nemesis(
            "over",
            json!({"event": "over", "unread": 0, "replicas": replicas}),
        ),
    ]);
    lines(header, &events)
}

/// Sixteen elements put into a queue at once come out backwards: whoever looks for an order
/// tries many.
fn too_hard() -> String {
    let event = |process: u64, kind: &str, f: &str, value: Value| json!({"process": process, "type": kind, "f": f, "value": value});
    let mut events: Vec<Value> = (0..16).map(|n| event(n, "invoke", "enqueue", json!(n))).collect();
    events.extend((0..16).map(|n| event(n, "ok", "enqueue", json!(n))));
    for n in (0..16).rev() {
        events.push(event(99, "invoke", "dequeue", json!(null)));
        events.push(event(99, "ok", "dequeue", json!(n)));
    }
    lines(json!({"ordeal": 1, "model": "queue"}), &events)
}

fn corpus(name: &str) -> String {
    fs::read_to_string(Path::new(ROOT).join("checker/tests/corpus").join(name)).expect("read")
}

#[test]
fn results_of_every_verdict_are_as_their_schema_says() {
    let dir = tempfile::tempdir().expect("a folder");
    let txn = |process: u64, kind: &str, value: Value| json!({"process": process, "type": kind, "f": "txn", "value": value});
    let skew = lines(
        json!({"ordeal": 1, "model": "list-append"}),
        &[
            txn(0, "invoke", json!([["r", "x", null], ["append", "y", 1]])),
            txn(1, "invoke", json!([["r", "y", null], ["append", "x", 2]])),
            txn(0, "ok", json!([["r", "x", []], ["append", "y", 1]])),
            txn(1, "ok", json!([["r", "y", []], ["append", "x", 2]])),
        ],
    );
    let died = nemesis(
        "crash",
        json!({"event": "crashed", "node": "n2", "status": {"signaled": 9}}),
    );
    let same = json!([{"node": "n1", "applied": 4, "hash": "a"}, {"node": "n2", "applied": 4, "hash": "a"}]);
    let other = json!([{"node": "n1", "applied": 4, "hash": "a"}, {"node": "n2", "applied": 4, "hash": "b"}]);
    let cases: [(&str, String, &[&str], i32, Value); 9] = [
        ("valid", whole(&[], same.clone()), &[], 0, json!(true)),
        ("crash", whole(&[died], same), &[], 1, json!(false)),
        ("divergence", whole(&[], other), &[], 1, json!(false)),
        ("stale", corpus("stale-read.jsonl"), &[], 1, json!(false)),
        (
            "recorded",
            corpus("recorded-follower-read.jsonl"),
            &[],
            1,
            json!(false),
        ),
        (
            "recorded-legal",
            corpus("recorded-legal-with-unknowns.jsonl"),
            &[],
            0,
            json!(true),
        ),
        ("skew", skew, &[], 1, json!(false)),
        ("too-little", corpus("cut-off.jsonl"), &[], 2, json!("unknown")),
        (
            "out-of-time",
            too_hard(),
            &["--check-limit", "0.000001s"],
            2,
            json!("unknown"),
        ),
    ];
    for (name, text, more, code, valid) in cases {
        let (exit, run) = judged(dir.path(), name, &text, more);
        assert_eq!(exit, Some(code), "{name}");
        schema::results(&run.join("results.json")).unwrap_or_else(|error| panic!("{name}: {error}"));
        let results: Value =
            serde_json::from_slice(&fs::read(run.join("results.json")).expect("read")).expect("JSON");
        assert_eq!(results["valid"], valid, "{name}");
        assert_eq!(
            results["violation"].is_null(),
            results["analysis"]["valid"] != json!(false),
            "{name}"
        );
    }
}

#[test]
fn recorded_histories_are_as_their_schema_says() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("history.jsonl");
    fs::write(&path, whole(&[], json!([]))).expect("written");
    schema::history(&path).expect("as the schema says");
    for name in [
        "recorded-follower-read.jsonl",
        "recorded-ack-before-commit.jsonl",
        "recorded-cas-not-atomic.jsonl",
        "recorded-legal-with-unknowns.jsonl",
    ] {
        schema::history(&Path::new(ROOT).join("checker/tests/corpus").join(name))
            .expect("as the schema says");
    }
}

#[test]
fn the_schemas_refuse_what_is_wrong() {
    let dir = tempfile::tempdir().expect("a folder");
    let (_, run) = judged(dir.path(), "valid", &whole(&[], json!([])), &[]);
    let good: Value =
        serde_json::from_slice(&fs::read(run.join("results.json")).expect("read")).expect("JSON");
    let validator = Validator::closed("results");
    assert_eq!(validator.check(&good, "good"), Ok(()));
    type Spoil = fn(&mut Value);
    let spoils: [Spoil; 5] = [
        |results| results["valid"] = json!("maybe"),
        |results| results["invented"] = json!(1),
        |results| results["conduct"]["done"]["load"]["get"] = json!("many"),
        |results| {
            results["analysis"]
                .as_object_mut()
                .expect("an object")
                .remove("model");
        },
        |results| results["conduct"]["crashes"] = json!([["n1"]]),
    ];
    for (spoil, number) in spoils.iter().zip(1..) {
        let mut bad = good.clone();
        spoil(&mut bad);
        assert!(
            validator.check(&bad, "bad").is_err(),
            "spoil {number} went unnoticed"
        );
    }
    let validator = Validator::closed("history-line");
    for bad in [
        json!({"ordeal": 2}),
        json!({"index": 0, "time": 0, "process": "somebody", "type": "ok", "f": "get"}),
        json!({"index": 0, "time": 0, "process": 1, "type": "done", "f": "get"}),
        json!({"index": 0, "time": 0, "process": "nemesis", "type": "info", "f": "kill", "value": {"event": "bite"}}),
    ] {
        assert!(validator.check(&bad, "bad").is_err(), "{bad}");
    }
}

/// The names of all fields that a schema knows.
fn fields(schema: &Value, into: &mut BTreeSet<String>) {
    if let Some(properties) = schema["properties"].as_object() {
        into.extend(properties.keys().cloned());
    }
    match schema {
        Value::Object(map) => map.values().for_each(|value| fields(value, into)),
        Value::Array(list) => list.iter().for_each(|value| fields(value, into)),
        _ => {}
    }
}

#[test]
fn every_field_has_its_line_in_the_docs() {
    for (name, page) in [("results", "results.md"), ("history-line", "history-format.md")] {
        let text = fs::read_to_string(Path::new(ROOT).join("docs").join(page)).expect("read");
        let mut names = BTreeSet::new();
        fields(&schema::published(name), &mut names);
        assert!(names.len() > 30, "{name}: {names:?}");
        let missing: Vec<_> = names
            .iter()
            .filter(|field| !text.contains(&format!("`{field}`")))
            .collect();
        assert!(missing.is_empty(), "docs/{page} does not name {missing:?}");
    }
}

//! Workloads that need more of a store than a register does, on a live cluster: each is valid, and is evidence.

mod program;

use std::path::Path;

use program::{said, workloads};

/// A short run that must exit with this code; its `results.json`.
fn run(dir: &Path, workload: &str, more: &[&str], code: i32) -> serde_json::Value {
    let output = workloads(dir)
        .args(["run", "--workload", workload])
        .args(more)
        .args(["--nodes", "3", "--concurrency", "9", "--seed", "5"])
        .output()
        .expect("starts");
    let (exit, out, errors) = said(&output);
    assert_eq!(exit, Some(code), "{workload} {more:?}, seed 5: {out}{errors}");
    let results = std::fs::read(dir.join("store/latest/results.json")).expect("read");
    serde_json::from_slice(&results).expect("JSON")
}

/// How many operations succeeded while the load was on.
fn done(results: &serde_json::Value, f: &str) -> u64 {
    results["conduct"]["done"]["load"][f].as_u64().unwrap_or(0)
}

#[test]
fn what_is_watched_counted_and_moved_at_once_is_valid_and_evidence() {
    let dir = program::folder();
    let cases = [
        ("watch", "5s", &["watch", "set", "get"][..]),
        ("monotonic", "2s", &["inc", "read"]),
        ("list-append", "2s", &["txn"]),
        ("queue", "2s", &["enqueue"]),
        ("lock", "2s", &["acquire", "release"]),
        ("bank", "2s", &["transfer", "read"]),
    ];
    for (workload, seconds, expected) in cases {
        let quiet = [
            "--nemesis",
            "none",
            "--rate",
            "200",
            "--keys",
            "6",
            "--time-limit",
            seconds,
        ];
        let results = run(dir.path(), workload, &quiet, 0);
        for f in expected {
            assert!(done(&results, f) >= 10, "{workload}: {f}: {results}");
        }
    }
    // The watches told something, and told it to each other's successors.
    let watched = std::fs::read_dir(dir.path().join("store/kvnode-watch")).expect("a run");
    let folder = watched
        .map(|entry| entry.expect("an entry").path())
        .next()
        .expect("one run");
    let history = std::fs::read_to_string(folder.join("history.jsonl")).expect("read");
    let events = history
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"));
    let told: Vec<serde_json::Value> = events
        .filter(|event: &serde_json::Value| event["f"] == "watch" && event["type"] == "ok")
        .collect();
    let changes: usize = told
        .iter()
        .filter_map(|event| event["value"].as_array())
        .map(Vec::len)
        .sum();
    let nodes: std::collections::BTreeSet<&str> =
        told.iter().filter_map(|event| event["node"].as_str()).collect();
    assert!(
        changes > 50 && nodes.len() == 3,
        "{changes} changes told by {nodes:?}"
    );
}

#[test]
fn what_is_not_atomic_and_what_is_stale_is_found_by_whoever_looks_for_it() {
    let dir = program::folder();
    let cases = [
        // A node that stood still for a while answers from what it had.
        ("monotonic", "follower-read", "pause"),
        ("watch", "follower-read", "pause"),
        ("queue", "cas-not-atomic", "none"),
        ("lock", "cas-not-atomic", "none"),
        ("bank", "cas-not-atomic", "none"),
    ];
    for (workload, bug, nemesis) in cases {
        let more = [
            "--bug",
            bug,
            "--nemesis",
            nemesis,
            "--time-limit",
            "10s",
            "--keys",
            "2",
            "--rate",
            "1000",
        ];
        let results = run(dir.path(), workload, &more, 1);
        assert_eq!(results["valid"], false, "{workload} {bug}");
    }
}

#[test]
fn etcd_tells_its_changes_through_its_gateway() {
    let paths = std::env::var_os("PATH").unwrap_or_default();
    if !std::env::split_paths(&paths).any(|path| path.join("etcd").is_file()) {
        eprintln!("SKIPPED: etcd is not installed");
        return;
    }
    let dir = tempfile::tempdir().expect("a folder");
    let more = [
        "--system",
        "etcd",
        "--nemesis",
        "none",
        "--rate",
        "200",
        "--time-limit",
        "8s",
    ];
    let results = run(dir.path(), "watch", &more, 0);
    assert!(done(&results, "watch") >= 5, "{results}");
    let history = std::fs::read_to_string(dir.path().join("store/latest/history.jsonl")).expect("read");
    let told = history.lines().any(|line| {
        let event: serde_json::Value = serde_json::from_str(line).expect("JSON");
        event["f"] == "watch"
            && event["type"] == "ok"
            && event["value"].as_array().is_some_and(|told| told.len() > 1)
    });
    assert!(told, "nothing was told");
}

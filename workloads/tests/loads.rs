//! Workloads that need more of a store than a register does, on a live cluster: each is valid, and is evidence.

mod program;

use std::collections::{BTreeMap, BTreeSet};
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
    let nodes: BTreeSet<&str> = told.iter().filter_map(|event| event["node"].as_str()).collect();
    assert!(
        changes > 50 && nodes.len() == 3,
        "{changes} changes told by {nodes:?}"
    );
}

/// What shapes the load is in the history, told in the results, and comes again with the command that repeats it.
#[test]
fn bursts_reserved_clients_and_unequal_keys_are_as_they_were_asked_for() {
    const BURST: usize = 30;
    let dir = program::folder();
    let shaped = [
        "--nemesis",
        "none",
        "--rate",
        "300",
        "--time-limit",
        "2s",
        "--open-loop",
        "--arrivals",
        "burst:30",
        "--reserve",
        "2:get,1:set",
        "--key-distribution",
        "zipf:1.5",
        "--ops-per-key",
        "100000",
    ];
    let results = run(dir.path(), "register", &shaped, 0);
    let setting = |name: &str| {
        let settings = results["settings"].as_object().expect("by name");
        settings[name].as_str().expect("text").to_owned()
    };
    assert_eq!(
        setting("rate"),
        "300 operations a second, open loop, in bursts of 30"
    );
    assert_eq!(setting("clients"), "9, of them 2:get,1:set only");
    assert!(setting("keys").ends_with(", zipf:1.5"), "{}", setting("keys"));
    let again = results["again"].as_str().expect("a command");
    for flags in [
        "--arrivals burst:30",
        "--reserve 2:get,1:set",
        "--key-distribution zipf:1.5",
    ] {
        assert!(again.contains(flags), "{again}");
    }

    let history = std::fs::read_to_string(dir.path().join("store/latest/history.jsonl")).expect("read");
    let events = history.lines().skip(1);
    let events = events.map(|line| serde_json::from_str::<serde_json::Value>(line).expect("JSON"));
    // What the nemesis or the runner notes ends the load at the latest.
    let load: Vec<serde_json::Value> = events
        .take_while(|event| event["f"] != "load-over")
        .filter(|event| event["type"] == "invoke")
        .collect();
    let (mut bursts, mut keys) = (BTreeMap::<u64, usize>::new(), BTreeMap::<&str, usize>::new());
    let mut by_client = BTreeMap::<u64, BTreeSet<&str>>::new();
    for event in &load {
        *bursts
            .entry(event["intended"].as_u64().expect("due"))
            .or_default() += 1;
        *keys.entry(event["key"].as_str().expect("a key")).or_default() += 1;
        let client = event["process"].as_u64().expect("a client") % 9;
        by_client
            .entry(client)
            .or_default()
            .insert(event["f"].as_str().expect("a name"));
    }
    let whole = bursts.values().filter(|count| **count == BURST).count();
    assert!(bursts.len() >= 10 && whole >= bursts.len() - 1, "{bursts:?}");
    let does = |fs: &[&'static str]| BTreeSet::from_iter(fs.iter().copied());
    for (client, fs) in &by_client {
        let expected = match client {
            0 | 1 => does(&["get"]),
            2 => does(&["set"]),
            _ => does(&["get", "set"]),
        };
        assert!(fs.is_subset(&expected), "client {client} did {fs:?}");
    }
    assert_eq!(by_client[&0], does(&["get"]));
    assert_eq!(by_client[&2], does(&["set"]));
    // Of ten keys at 1/n^1.5 the first has half of all; alike, each would have a tenth.
    let most = keys.values().max().expect("some");
    assert!(most * 3 > load.len(), "{keys:?}");
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

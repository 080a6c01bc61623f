//! Many runs out of one: soak, matrix and reduction on real clusters, interrupted and gone on with.

mod leftovers;
mod patience;
mod program;

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::Instant;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use leftovers::all_gone;
use patience::wait_until;
use program::{folder, workloads};

/// A small quiet load; how long it lasts comes behind it.
const QUIET: [&str; 7] = [
    "--nodes",
    "3",
    "--nemesis",
    "none",
    "--rate",
    "200",
    "--time-limit",
];

/// Exit code, and all that was said.
fn ran(dir: &Path, args: &[&str]) -> (Option<i32>, String) {
    let (code, out, errors) = program::said(&workloads(dir).args(args).output().expect("starts"));
    (code, out + &errors)
}

fn json(path: &Path) -> Value {
    let bytes = fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_slice(&bytes).expect("JSON")
}

/// Folders of runs in a folder of many.
fn runs(out: &Path) -> Vec<PathBuf> {
    let below = |path: PathBuf| {
        let entries = fs::read_dir(path).expect("there").flatten();
        let folders = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
        folders.map(|entry| entry.path()).collect::<Vec<_>>()
    };
    let mut runs: Vec<PathBuf> = below(out.join("runs")).into_iter().flat_map(below).collect();
    runs.sort();
    runs
}

/// Starts it, and waits until the first of its runs records its history.
fn under_way(dir: &Path, out: &Path, args: &[&str]) -> Child {
    let link = out.join("runs/current");
    let before = fs::read_link(&link).ok();
    let child = workloads(dir)
        .args(args)
        .stdout(Stdio::piped())
        .spawn()
        .expect("starts");
    // A killed run's link may still be there.
    wait_until(
        || fs::read_link(&link).ok() != before && link.join("history.jsonl").is_file(),
        || "no run began".to_owned(),
    );
    child
}

fn signal(child: &Child, signal: Signal) {
    kill(Pid::from_raw(i32::try_from(child.id()).expect("a pid")), signal).expect("signalled");
}

fn said(child: &mut Child) -> String {
    let lines = BufReader::new(child.stdout.take().expect("piped")).lines();
    lines.map_while(Result::ok).collect::<Vec<_>>().join("\n")
}

#[test]
fn a_soak_goes_on_where_it_was_ended_and_counts_every_seed_once() {
    let dir = folder();
    let out = dir.path().join("soak");
    let shown = out.to_str().expect("text");
    let soak = |runs: &'static str, limit: &'static str| {
        let mut args = vec!["soak", "--out", shown, "--runs", runs, "--seed", "5"];
        args.extend(["--workload", "register"]);
        args.extend(QUIET);
        args.push(limit);
        args
    };
    // Killed in the middle of the first run: nothing is left running, and nothing counts.
    let mut child = under_way(dir.path(), &out, &soak("2", "3s"));
    signal(&child, Signal::SIGKILL);
    child.wait().expect("waits");
    all_gone(dir.path());
    assert_eq!(runs(&out).len(), 1);
    // Ctrl-C in the middle of it: the state stays, the run does not.
    let mut child = under_way(dir.path(), &out, &soak("2", "3s"));
    signal(&child, Signal::SIGINT);
    let text = said(&mut child);
    let status = child.wait().expect("waits");
    assert!(text.contains("the same command goes on"), "{text}");
    assert_eq!(status.code(), Some(2), "nothing was tested: {text}");
    all_gone(dir.path());
    assert_eq!(runs(&out), Vec::<PathBuf>::new(), "{text}");
    // Now to its end.
    let (code, text) = ran(dir.path(), &soak("2", "3s"));
    assert_eq!(code, Some(0), "{text}");
    assert!(
        text.contains("1/2  seed 5  valid") && text.contains("2/2  seed 6  valid"),
        "{text}"
    );
    let summary = json(&out.join("soak.json"));
    assert_eq!(
        (&summary["tally"]["valid"], &summary["left_out"]),
        (&2.into(), &0.into())
    );
    for run in runs(&out) {
        assert!(
            run.join("report.html").is_file() && !run.join("history.jsonl").exists(),
            "valid ones stay small"
        );
    }
    // Again: nothing is left to do, and the verdict is the same.
    let before = Instant::now();
    let (code, text) = ran(dir.path(), &soak("2", "3s"));
    assert_eq!(code, Some(0), "{text}");
    assert!(
        text.contains("2 of 2 runs were made before") && text.contains("2 valid"),
        "{text}"
    );
    assert!(!text.contains("1/2"), "took {:?}: {text}", before.elapsed());
    // Other settings are another soak.
    let (code, text) = ran(dir.path(), &soak("2", "4s"));
    assert_eq!(code, Some(255), "{text}");
    assert!(text.contains("--fresh"), "{text}");
}

/// Waits until some run below `dir` has a cluster and records a history.
fn records(dir: &Path, child: &mut Child) {
    fn recorded(dir: &Path) -> bool {
        if ["cluster.json", "history.jsonl"]
            .iter()
            .all(|name| dir.join(name).is_file())
        {
            return true;
        }
        let entries = fs::read_dir(dir).into_iter().flatten().flatten();
        let mut folders = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
        folders.any(|entry| recorded(&entry.path()))
    }
    let begun = || {
        assert!(child.try_wait().expect("waits").is_none(), "it ended early");
        recorded(dir)
    };
    wait_until(begun, || "no run began".to_owned());
}

#[test]
fn ctrl_c_ends_whatever_makes_runs_and_leaves_nothing_of_it() {
    let caught = [
        "run",
        "--bug",
        "follower-read",
        "--workload",
        "register",
        "--nodes",
        "3",
    ];
    let seeds = ["--nemesis", "pause", "--time-limit", "30s", "--seed", "3"];
    let cases: [(&str, &[&str], &str); 6] = [
        ("run", &["run", "--workload", "register"], "cut short: Ctrl-C"),
        (
            "soak",
            &["soak", "--workload", "register", "--runs", "2"],
            "the same command goes on",
        ),
        (
            "matrix",
            &["matrix", "--workloads", "register"],
            "the same command goes on",
        ),
        (
            "scorecard",
            &["scorecard", "--bugs", "no-fsync", "--against", "clean"],
            "the same command goes on",
        ),
        ("reduce", &["reduce", "store/latest"], "stopped"),
        (
            "controls",
            &["controls", "--only", "etcd"],
            "the same command goes on",
        ),
    ];
    for (name, args, expected) in cases {
        let paths = std::env::var_os("PATH").unwrap_or_default();
        if name == "controls" && !std::env::split_paths(&paths).any(|path| path.join("etcd").is_file()) {
            eprintln!("SKIPPED: controls, since etcd is not installed");
            continue;
        }
        let dir = folder();
        if name == "reduce" {
            let (code, text) = ran(dir.path(), &[&caught[..], &seeds].concat());
            assert_eq!(code, Some(1), "there must be something to reduce: {text}");
        }
        let long = [&QUIET[..], &["10m"]].concat();
        let more: &[&str] = if matches!(name, "scorecard" | "reduce" | "controls") {
            &[]
        } else {
            &long
        };
        let mut child = workloads(dir.path())
            .args(args)
            .args(more)
            .current_dir(dir.path())
            .stdout(Stdio::piped())
            .spawn()
            .expect("starts");
        records(dir.path(), &mut child);
        signal(&child, Signal::SIGINT);
        let text = said(&mut child);
        let code = child.wait().expect("waits").code();
        assert_eq!(code, Some(2), "{name}: {text}");
        assert!(text.contains(expected), "{name}: {text}");
        all_gone(dir.path());
    }
}

#[test]
fn a_clean_run_beside_those_with_bugs_starts_and_keeps_clean_nodes() {
    let dir = folder();
    let run = |name: &str, more: &[&str]| {
        let folder = dir.path().join(name);
        let args = [
            &[
                "run",
                "--workload",
                "register",
                "--nodes",
                "3",
                "--rate",
                "200",
                "--seed",
                "3",
            ][..],
            &["--keep-going", "--store", folder.to_str().expect("text")],
            more,
        ];
        let (code, text) = ran(dir.path(), &args.concat());
        let version = |code: Option<i32>| {
            assert!(matches!(code, Some(0..=2)), "{text}");
            let results = json(&folder.join("latest/results.json"));
            (
                results["versions"]["node program"]
                    .as_str()
                    .expect("said")
                    .to_owned(),
                results["versions"]["its SHA-256"]
                    .as_str()
                    .expect("said")
                    .to_owned(),
            )
        };
        (code, version(code), text)
    };
    std::thread::scope(|scope| {
        // Its nodes die and are started again all the time, while others are built, put in place and put back.
        let clean = scope.spawn(|| run("clean", &["--nemesis", "kill", "--time-limit", "10s"]));
        let mut planted = String::new();
        let mut times = 0;
        while times < 2 || !clean.is_finished() {
            let bug = [
                "--bug",
                "follower-read",
                "--nemesis",
                "none",
                "--time-limit",
                "1s",
            ];
            let (_, (version, sha256), text) = run(&format!("planted-{times}"), &bug);
            assert!(version.contains("planted-bugs"), "{version}: {text}");
            planted = sha256;
            times += 1;
        }
        let (code, (version, sha256), text) = clean.join().expect("it ran");
        assert_ne!(code, Some(1), "a clean store is accused: {text}");
        assert!(!version.contains("planted-bugs"), "{version}: {text}");
        assert_ne!(sha256, planted);
    });
    all_gone(dir.path());
}

#[test]
fn a_planted_bug_is_found_kept_and_reduced_to_a_run_that_fails_again() {
    let dir = folder();
    let out = dir.path().join("soak");
    let (code, text) = ran(
        dir.path(),
        &[
            "soak",
            "--runs",
            "3",
            "--stop-on-first",
            "--out",
            out.to_str().expect("text"),
            "--bug",
            "follower-read",
            "--workload",
            "register",
            "--nemesis",
            "pause",
            "--time-limit",
            "10s",
            "--nodes",
            "3",
            "--tries",
            "2",
            "--reduce-budget",
            "3m",
        ],
    );
    assert_eq!(code, Some(1), "{text}");
    assert!(
        text.contains("ILLEGAL (") && text.contains("again: cargo run"),
        "{text}"
    );
    let summary = json(&out.join("soak.json"));
    let failures = summary["failures"].as_array().expect("a list");
    let failure = failures
        .iter()
        .find(|failure| failure["verdict"] == "illegal")
        .expect("one");
    let reduced = &failure["reduced"];
    assert!(reduced["failed"].as_u64() >= Some(1), "{text}\n{reduced:#}");
    assert_eq!(
        reduced["to"]["faults"], 0,
        "stale reads need no fault: {reduced:#}"
    );
    assert!(
        reduced["to"]["keys"].as_u64() < reduced["from"]["keys"].as_u64(),
        "{reduced:#}"
    );
    assert!(
        reduced["to"]["time_limit_s"].as_f64() < reduced["from"]["time_limit_s"].as_f64(),
        "{reduced:#}"
    );
    let run = Path::new(failure["folder"].as_str().expect("a folder"));
    assert!(
        run.join("history.jsonl").is_file(),
        "what failed keeps everything"
    );
    // The command that comes with it is one, and so is the plan.
    let again = reduced["again"].as_str().expect("a command");
    let words: Vec<&str> = again
        .split_once(" -- ")
        .expect("arguments")
        .1
        .split(' ')
        .collect();
    assert!(words.contains(&"--plan"), "{again}");
    let (code, replay) = ran(
        dir.path(),
        &[
            &words[..],
            &["--store", dir.path().join("again").to_str().expect("text")],
        ]
        .concat(),
    );
    assert!(matches!(code, Some(0..=2)), "{replay}");
    // Reducing it again has nothing left to run.
    let (code, text) = ran(
        dir.path(),
        &["reduce", run.to_str().expect("text"), "--tries", "2"],
    );
    assert_eq!(code, Some(1), "{text}");
    assert!(!text.contains("still fails"), "{text}");
    all_gone(dir.path());
}

#[test]
fn a_matrix_lists_what_makes_no_sense_and_never_passes_it() {
    let dir = folder();
    let out = dir.path().join("matrix");
    // A store that knows single values only.
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../systems/kvnode.toml"))
        .expect("read");
    let (before, rest) = text.split_once("[operation.append]").expect("it can append");
    let after = rest.find("\n[").map_or("", |at| &rest[at..]);
    let plain = dir.path().join("plain.toml");
    fs::write(
        &plain,
        format!("{before}{after}").replace("name = \"kvnode\"", "name = \"plain\""),
    )
    .expect("written");
    let args = [
        &[
            "matrix",
            "--out",
            out.to_str().expect("text"),
            "--systems",
            plain.to_str().expect("text"),
            "--workloads",
            "register,append",
        ][..],
        &QUIET,
        &["3s"],
    ]
    .concat();
    let (code, text) = ran(dir.path(), &args);
    assert_eq!(code, Some(0), "{text}");
    assert!(
        text.contains("| plain | register | valid |") && text.contains("| plain | append | skipped |"),
        "{text}"
    );
    assert!(
        text.contains("skipped, not passed: the append workload needs"),
        "{text}"
    );
    let table = json(&out.join("matrix.json"));
    let skipped = table["cells"]
        .as_array()
        .expect("cells")
        .iter()
        .find(|cell| cell["workload"] == "append");
    assert_eq!(skipped.expect("listed")["tally"]["valid"], 0);
    // All of it makes no sense: that is an error, not a green nothing.
    let args = [
        "matrix",
        "--systems",
        plain.to_str().expect("text"),
        "--workloads",
        "append",
    ];
    let (code, text) = ran(dir.path(), &args);
    assert_eq!(code, Some(254), "{text}");
    assert!(text.contains("no combination makes sense"), "{text}");
}

#[test]
fn what_cannot_be_reduced_or_replayed_says_why() {
    let dir = folder();
    let plan = dir.path().join("plan.json");
    fs::write(&plan, r#"{"seed":1,"length":"9s","steps":[{"at":"5s","fault":{"fault":"kill","target":"one"},"lasting":"2s","recovery":"0s"}]}"#).expect("written");
    let plan = plan.to_str().expect("text");
    let cases: [(&[&str], &str); 6] = [
        (&["reduce", "nowhere"], "no run is at nowhere"),
        (&["run", "--plan", "nowhere"], "nowhere"),
        (
            &["run", "--plan", plan, "--time-limit", "3s"],
            "longer than the load",
        ),
        (&["run", "--plan", plan, "--nemesis", "kill"], "--nemesis"),
        (&["matrix", "--plan", plan], "--plan is for one run"),
        (&["soak", "--runs", "0"], "0 is not in"),
    ];
    for (args, expected) in cases {
        let (code, text) = ran(dir.path(), args);
        assert_eq!(code, Some(254), "{args:?}: {text}");
        assert!(
            text.contains(expected) && text.lines().count() == 1,
            "{args:?}: {text}"
        );
    }
}

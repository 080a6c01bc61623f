//! The program as a user meets it: wrong flags, nodes that do not start, interruptions, and what stays behind.

mod leftovers;
mod patience;
mod program;
mod schema;

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use leftovers::all_gone;
use program::{folder, said, workloads};

/// What went wrong is said in one line that contains `expected`, with exit code `code`.
fn refused(dir: &Path, args: &[&str], code: i32, expected: &str) {
    let output = workloads(dir).args(args).output().expect("starts");
    let (status, _, errors) = said(&output);
    assert_eq!(status, Some(code), "{args:?}: {errors}");
    assert!(
        errors.contains(expected),
        "{args:?} should say {expected:?}: {errors}"
    );
    assert!(!errors.contains("panicked"), "{errors}");
}

#[test]
fn bad_arguments_are_254_and_name_what_was_wrong() {
    let dir = folder();
    let cases: [(&[&str], &str); 12] = [
        (&["--nonsense"], "--nonsense"),
        (&["run", "--rate", "0"], "above 0"),
        (&["run", "--rate", "many"], "above 0"),
        (&["run", "--time-limit", "30 parsecs"], "parsecs"),
        (&["run", "--nodes", "0"], "0 is not in"),
        (&["run", "--nemesis", "earthquake"], "unknown fault `earthquake`"),
        (&["run", "--nemesis", "kill,kill"], "named twice"),
        (&["run", "--system", "no-such.toml"], "no-such.toml"),
        (&["run", "--cluster", "docker", "--nodes", "3"], "has 5 nodes"),
        (
            &["run", "--cluster", "docker", "--bug", "follower-read"],
            "no planted bugs",
        ),
        (&["analyze", "nowhere"], "no run is there"),
        (&["frobnicate"], "frobnicate"),
    ];
    for (args, expected) in cases {
        refused(dir.path(), args, 254, expected);
    }
    assert!(!dir.path().join("store").exists(), "nothing was begun");
}

#[test]
fn what_the_system_said_is_said_once() {
    let dir = folder();
    let output = workloads(dir.path())
        .args(["run", "--system", "no-such.toml"])
        .output()
        .expect("starts");
    let (_, _, errors) = said(&output);
    assert_eq!(errors.matches("No such file").count(), 1, "{errors}");
    assert_eq!(errors.lines().count(), 1, "{errors}");
}

#[test]
fn a_reader_that_has_gone_is_no_failure() {
    let dir = folder();
    for (args, code) in [(&["list"][..], 0), (&["run", "--nonsense"], 254)] {
        let gone = || {
            let (reader, writer) = std::io::pipe().expect("a pipe");
            drop(reader);
            writer
        };
        let status = workloads(dir.path())
            .args(args)
            .stdout(gone())
            .stderr(gone())
            .status()
            .expect("starts");
        assert_eq!(status.code(), Some(code), "{args:?}");
    }
}

#[test]
fn help_and_list_succeed() {
    let dir = folder();
    for args in [&["--help"][..], &["run", "--help"], &["list"], &["--version"]] {
        let output = workloads(dir.path()).args(args).output().expect("starts");
        assert_eq!(output.status.code(), Some(0), "{args:?}");
        assert!(!output.stdout.is_empty(), "{args:?}");
    }
}

/// A system whose nodes are the shell command given.
fn system(dir: &Path, script: &str) -> PathBuf {
    let text = format!(
        r#"
name = "odd"
[node]
program = "sh"
command = ["{{program}}", "-c", {script:?}]
port = 8000
[ready]
path = "/"
within_s = 1
[operation.get]
method = "GET"
path = "/"
rules = [{{ outcome = "ok", missing = true }}]
[operation.set]
method = "GET"
path = "/"
rules = []
[operation.cas]
method = "GET"
path = "/"
rules = []
"#
    );
    let path = dir.join("odd.toml");
    fs::write(&path, text).expect("written");
    path
}

#[test]
fn a_node_that_does_not_start_shows_its_last_words() {
    let dir = folder();
    let path = system(dir.path(), "echo the disk is on fire >&2; exit 3");
    let path = path.to_str().expect("text");
    refused(
        dir.path(),
        &["run", "--system", path, "--nodes", "1", "--time-limit", "5"],
        255,
        "the disk is on fire",
    );
}

#[test]
fn a_node_that_never_serves_is_given_up() {
    let dir = folder();
    let path = system(dir.path(), "exec sleep 1000");
    let path = path.to_str().expect("text");
    refused(
        dir.path(),
        &["run", "--system", path, "--nodes", "2", "--time-limit", "5"],
        255,
        "not ready within 1s",
    );
}

/// A run under way, its output read line by line.
struct Run {
    child: Child,
    lines: std::io::Lines<BufReader<std::process::ChildStdout>>,
    seen: Vec<String>,
}

impl Run {
    fn start(dir: &Path, args: &[&str]) -> Run {
        let mut command = workloads(dir);
        let mut child = command.args(args).stdout(Stdio::piped()).spawn().expect("starts");
        let lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        Run {
            child,
            lines,
            seen: Vec::new(),
        }
    }

    fn until(&mut self, needle: &str) {
        for line in self.lines.by_ref().map_while(Result::ok) {
            let found = line.contains(needle);
            self.seen.push(line);
            if found {
                return;
            }
        }
        panic!("never said {needle:?}:\n{}", self.seen.join("\n"));
    }

    fn end(mut self) -> (Option<i32>, String) {
        self.seen.extend(self.lines.by_ref().map_while(Result::ok));
        let status = self.child.wait().expect("waits");
        (status.code(), self.seen.join("\n"))
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.child.id()).expect("a pid"))
    }
}

const QUIET: [&str; 9] = [
    "run",
    "--nodes",
    "3",
    "--nemesis",
    "none",
    "--rate",
    "200",
    "--seed",
    "1",
];

#[test]
fn a_quiet_run_is_linearizable_and_can_be_judged_again() {
    let dir = folder();
    let run = Run::start(dir.path(), &[&QUIET[..], &["--time-limit", "4s"]].concat());
    let (code, seen) = run.end();
    assert_eq!(code, Some(0), "{seen}");
    assert!(seen.ends_with("Everything looks good! ヽ(‘ー`)ノ"), "{seen}");
    all_gone(dir.path());
    let latest = dir.path().join("store/latest");
    for file in [
        "history.jsonl",
        "results.json",
        "report.html",
        "over-time.svg",
        "junit.xml",
        "test.toml",
        "plan.json",
        "n1/node.log",
    ] {
        assert!(latest.join(file).is_file(), "{file}");
    }
    assert!(!dir.path().join("store/current").exists());
    let results: serde_json::Value =
        serde_json::from_slice(&fs::read(latest.join("results.json")).expect("read")).expect("JSON");
    assert_eq!(results["valid"], serde_json::json!(true));
    schema::results(&latest.join("results.json")).expect("as its schema says");
    schema::history(&latest.join("history.jsonl")).expect("as its schema says");

    fs::remove_file(latest.join("results.json")).expect("removed");
    let again = workloads(dir.path())
        .arg("analyze")
        .arg(&latest)
        .output()
        .expect("starts");
    assert_eq!(again.status.code(), Some(0), "{}", said(&again).1);
    assert!(latest.join("results.json").is_file());

    // The same history with one lie in it is illegal, and says so.
    let history = fs::read_to_string(latest.join("history.jsonl")).expect("read");
    let lie = history.lines().map(|line| {
        let mut event: serde_json::Value = serde_json::from_str(line).expect("JSON");
        if event["type"] == "ok" && event["f"] == "get" && event["value"] == 5 {
            event["value"] = 999_999.into();
        }
        event.to_string() + "\n"
    });
    fs::write(latest.join("history.jsonl"), lie.collect::<String>()).expect("written");
    let (code, out, _) = said(
        &workloads(dir.path())
            .arg("analyze")
            .arg(&latest)
            .output()
            .expect("starts"),
    );
    assert_eq!(code, Some(1), "{out}");
    assert!(
        out.contains("999999") && out.trim_end().ends_with("Analysis invalid! (ﾉಥ益ಥ）ﾉ ┻━┻"),
        "{out}"
    );

    // And one that is no history names the line.
    let broken: String = history
        .lines()
        .take(5)
        .map(|line| format!("{line}\n"))
        .collect::<String>()
        + "{\"index\":4,\n";
    fs::write(latest.join("history.jsonl"), broken + &history).expect("written");
    let (code, _, errors) = said(
        &workloads(dir.path())
            .arg("analyze")
            .arg(&latest)
            .output()
            .expect("starts"),
    );
    assert_eq!(code, Some(254), "{errors}");
    assert!(
        errors.contains("history.jsonl") && errors.contains('6') && errors.lines().count() == 1,
        "{errors}"
    );
}

#[test]
fn ctrl_c_checks_what_there_is() {
    let dir = folder();
    let mut run = Run::start(dir.path(), &[&QUIET[..], &["--time-limit", "10m"]].concat());
    run.until("op/s");
    kill(run.pid(), Signal::SIGINT).expect("signalled");
    let (code, seen) = run.end();
    assert_eq!(code, Some(2), "cut short is no evidence: {seen}");
    assert!(
        seen.contains("cut short: Ctrl-C") && seen.contains("are linearizable"),
        "{seen}"
    );
    assert!(dir.path().join("store/latest/report.html").is_file());
    all_gone(dir.path());
}

#[test]
fn ctrl_c_after_the_load_is_no_evidence_and_a_second_one_ends_at_once() {
    let dir = folder();
    let mut run = Run::start(dir.path(), &[&QUIET[..], &["--time-limit", "3s"]].concat());
    run.until("load over; healing");
    kill(run.pid(), Signal::SIGINT).expect("signalled");
    let (code, seen) = run.end();
    // What nobody read at the end may be lost.
    assert_eq!(code, Some(2), "{seen}");
    assert!(seen.contains("cut short: Ctrl-C"), "{seen}");
    assert!(dir.path().join("store/latest/results.json").is_file());
    all_gone(dir.path());

    let mut run = Run::start(dir.path(), &[&QUIET[..], &["--time-limit", "10m"]].concat());
    run.until("op/s");
    kill(run.pid(), Signal::SIGINT).expect("signalled");
    run.until("again ends at once");
    kill(run.pid(), Signal::SIGINT).expect("signalled");
    let (code, seen) = run.end();
    // Whoever is very slow to ask again finds it judged.
    assert!(matches!(code, Some(255 | 2)), "{code:?}: {seen}");
    all_gone(dir.path());
}

#[test]
fn sigkill_leaves_nothing_running_and_a_history_that_can_be_judged() {
    let dir = folder();
    let mut run = Run::start(dir.path(), &[&QUIET[..], &["--time-limit", "10m"]].concat());
    run.until("op/s");
    kill(run.pid(), Signal::SIGKILL).expect("signalled");
    run.end();
    all_gone(dir.path());
    let current = dir.path().join("store/current");
    let (code, out, errors) = said(
        &workloads(dir.path())
            .arg("analyze")
            .arg(&current)
            .output()
            .expect("starts"),
    );
    assert_eq!(code, Some(2), "{out}{errors}");
    assert!(out.contains("was the runner killed?"), "{out}");
    // The next one finds that nobody owns what was left.
    refused(dir.path(), &["status"], 255, "its owner was killed");
    refused(dir.path(), &["status"], 255, "no cluster is running");
}

#[test]
fn a_cluster_goes_up_serves_and_goes_down() {
    let dir = folder();
    let output = workloads(dir.path())
        .args(["up", "--nodes", "3"])
        .output()
        .expect("starts");
    let (code, out, errors) = said(&output);
    assert_eq!(code, Some(0), "{out}{errors}");
    let urls: Vec<&str> = out
        .lines()
        .filter_map(|line| line.split_once(" http://"))
        .map(|(_, host)| host)
        .collect();
    assert_eq!(urls.len(), 3, "{out}");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let client = workloads::client::Client::new(Duration::from_secs(10)).expect("a client");
        let address = |i: usize| urls[i].parse().expect("an address");
        let (status, _) = client
            .get(address(0), "/set?key=a&value=1")
            .await
            .expect("answers");
        assert_eq!(status, 200);
        let (status, body) = client.get(address(2), "/get?key=a").await.expect("answers");
        assert_eq!((status, body["value"].as_str()), (200, Some("1")));
    });
    refused(dir.path(), &["up"], 255, "running already");
    let (code, out, _) = said(&workloads(dir.path()).arg("status").output().expect("starts"));
    assert_eq!(code, Some(0));
    assert!(out.contains("leader") && out.contains(urls[0]), "{out}");
    let (code, out, errors) = said(&workloads(dir.path()).arg("down").output().expect("starts"));
    assert_eq!(code, Some(0), "{out}{errors}");
    all_gone(dir.path());
    refused(dir.path(), &["down"], 255, "no cluster is running");
}

#[test]
fn a_port_in_use_is_named() {
    let dir = folder();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port().to_string();
    refused(
        dir.path(),
        &["up", "--nodes", "1", "--port", &port],
        255,
        &format!("port {port}"),
    );
}

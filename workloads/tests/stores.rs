//! Stores of every kind, good and odd: what the program makes of them, and what it says.

mod patience;
mod program;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use patience::wait_until;
use program::{folder, said, workloads};

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

/// A system over HTTP whose nodes are a Python program that serves as the function `answer` says: it gets the
/// path, and returns status and body, or raises. `limit` is a shell command that bounds what it may take.
fn python(dir: &Path, limit: &str, answer: &str) -> PathBuf {
    let script = format!(
        r#"
import http.server, socketserver, threading, time
# Its memory is limited, and every thread wants a stack.
threading.stack_size(256 * 1024)
state = {{}}
{answer}
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def log_message(self, *args): pass
    def do_GET(self):
        if self.path == "/ready":
            status, body = 200, b"yes"
        else:
            status, body = answer(self, self.path)
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
class Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
    daemon_threads = True
Server(("0.0.0.0", 8000), Handler).serve_forever()
"#
    );
    fs::write(dir.join("odd.py"), script).expect("written");
    let file = format!(
        r#"
name = "odd"
[node]
program = "sh"
command = ["{{program}}", "-c", "{limit}; python3 {script} || kill -9 $$"]
port = 8000
[ready]
path = "/ready"
within_s = 20
[operation.get]
path = "/get/{{key}}"
rules = [
  {{ outcome = "ok", status = "200", value = "/value" }},
  {{ outcome = "ok", status = "404", contains = "no such key", missing = true }},
]
[operation.set]
path = "/set/{{key}}/{{value}}"
rules = [{{ outcome = "ok", status = "200", contains = "done" }}]
"#,
        script = dir.join("odd.py").display()
    );
    let path = dir.join("odd.toml");
    fs::write(&path, file).expect("written");
    path
}

/// A short run of one node without faults.
fn short_run(dir: &Path, system: &Path) -> (Option<i32>, String, String) {
    let output = workloads(dir)
        .args([
            "run",
            "--nodes",
            "1",
            "--nemesis",
            "none",
            "--workload",
            "register",
            "--time-limit",
            "2s",
        ])
        .args(["--rate", "100", "--timeout", "500ms", "--seed", "1", "--system"])
        .arg(system)
        .output()
        .expect("starts");
    said(&output)
}

#[test]
fn a_store_that_answers_garbage_is_no_evidence() {
    let dir = folder();
    let system = python(
        dir.path(),
        "true",
        "def answer(handler, path):\n    return 200, b'\\x00\\xff<html>%s' % path.encode()",
    );
    let (code, out, errors) = short_run(dir.path(), &system);
    assert_eq!(code, Some(2), "{out}{errors}");
    let doubt = out
        .lines()
        .find(|line| line.contains("too few get"))
        .expect("said");
    assert!(
        doubt.contains("no rule matches: 200") && doubt.contains("workloads doctor"),
        "{doubt}"
    );
}

#[test]
fn a_store_that_never_answers_is_no_evidence() {
    let dir = folder();
    let system = python(
        dir.path(),
        "true",
        "def answer(handler, path):\n    time.sleep(10000)",
    );
    let (code, out, errors) = short_run(dir.path(), &system);
    assert_eq!(code, Some(2), "{out}{errors}");
    let doubt = out
        .lines()
        .find(|line| line.contains("too few set"))
        .expect("said");
    assert!(doubt.contains("timeout"), "{doubt}");
}

#[test]
fn a_store_that_grows_until_it_is_killed_is_a_crash() {
    let dir = folder();
    let grows = "def answer(handler, path):
    try:
        state[len(state)] = bytearray(50_000_000)
    except MemoryError:
        import os; os._exit(1)
    return 200, b'done'";
    let (code, out, errors) = short_run(dir.path(), &python(dir.path(), "ulimit -v 400000", grows));
    assert_eq!(code, Some(1), "{out}{errors}");
    assert!(
        out.contains("Invalid: n1 died without being told to: SIGKILL (was it out of memory?"),
        "{out}"
    );
}

#[test]
fn a_full_disk_stops_the_run_and_leaves_a_history_that_can_be_judged() {
    let dir = folder();
    let mount = dir.path().join("small");
    fs::create_dir(&mount).expect("a folder");
    let kept = dir.path().join("kept");
    fs::create_dir(&kept).expect("a folder");
    // The disk is there for this command only; what is on it is copied away before it goes.
    let script = format!(
        "mount -t tmpfs -o size=300k none {mount} && {program} run --store {mount} --nodes 3 --nemesis none \
         --time-limit 60s --rate 2000 --seed 1 --system workloads/examples/maelstrom/maelstrom.toml; code=$?; \
         cp {mount}/*/*/history.jsonl {kept}/; exit $code",
        program = env!("CARGO_BIN_EXE_workloads"),
        mount = mount.display(),
        kept = kept.display()
    );
    let output = Command::new("unshare")
        .args(["--user", "--map-root-user", "--mount", "sh", "-c", &script])
        .current_dir(ROOT)
        .output()
        .expect("unshare starts");
    let (code, out, errors) = said(&output);
    assert_eq!(code, Some(255), "{out}{errors}");
    let last = errors.lines().last().expect("said");
    assert!(
        last.contains("No space left on device") && last.contains("make room"),
        "{errors}"
    );
    let judged = workloads(dir.path())
        .arg("analyze")
        .arg(&kept)
        .output()
        .expect("starts");
    let (code, out, errors) = said(&judged);
    assert_eq!(code, Some(2), "{out}{errors}");
    assert!(
        out.contains("are linearizable") && out.contains("has no end"),
        "{out}"
    );
}

#[test]
fn ctrl_c_while_the_cluster_starts_ends_it() {
    let dir = folder();
    let path = dir.path().join("slow.toml");
    let text = "name = \"slow\"\n[node]\nprogram = \"sh\"\ncommand = [\"sh\", \"-c\", \"exec sleep 1000\"]\nport = 8000\n\
                [ready]\npath = \"/\"\nwithin_s = 1000\n[operation.get]\npath = \"/\"\nrules = []\n\
                [operation.set]\npath = \"/\"\nrules = []\n";
    fs::write(&path, text).expect("written");
    let mut child = workloads(dir.path())
        .args([
            "run",
            "--nodes",
            "1",
            "--nemesis",
            "none",
            "--workload",
            "register",
            "--system",
        ])
        .arg(&path)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("starts");
    // The node's log is made when its process is.
    let current = dir.path().join("store/current");
    let begun = || {
        assert!(child.try_wait().expect("waits").is_none(), "it ended early");
        current.join("n1/node.log").exists()
    };
    wait_until(begun, || "no node was started".to_owned());
    // Signals are heard once the cluster runs, which is a moment after its first process does.
    let pid = Pid::from_raw(i32::try_from(child.id()).expect("a pid"));
    wait_until(
        || current.join("cluster.json").exists(),
        || "no cluster was written down".to_owned(),
    );
    kill(pid, Signal::SIGINT).expect("signalled");
    let output = child.wait_with_output().expect("ends");
    let (code, out, errors) = said(&output);
    assert!(
        code != Some(0) && !out.contains("Everything looks good"),
        "{out}{errors}"
    );
}

/// The example node under partitions; returns the exit code and what was printed.
fn maelstrom(dir: &Path, system: &str, seed: &str) -> (Option<i32>, String) {
    let output = workloads(dir)
        .args([
            "run",
            "--nodes",
            "3",
            "--nemesis",
            "partition-halves,delay,pause-one",
        ])
        .args([
            "--time-limit",
            "8s",
            "--rate",
            "400",
            "--keys",
            "4",
            "--timeout",
            "500ms",
        ])
        .args(["--seed", seed, "--system", system])
        .output()
        .expect("starts");
    let (code, out, errors) = said(&output);
    (code, format!("{out}{errors}"))
}

#[test]
fn a_maelstrom_node_is_linearizable_under_partitions_delays_and_pauses() {
    let dir = folder();
    let (code, out) = maelstrom(dir.path(), "workloads/examples/maelstrom/maelstrom.toml", "7");
    assert_eq!(code, Some(0), "seed 7: {out}");
}

#[test]
fn a_maelstrom_node_that_reads_its_own_copy_is_not() {
    let dir = folder();
    let system = "workloads/examples/maelstrom/maelstrom.toml:local-read";
    let (code, out) = maelstrom(dir.path(), system, "7");
    assert_eq!(code, Some(1), "seed 7: {out}");
    assert!(out.contains("Illegal:"), "{out}");
}

/// kvnode's file with something changed, and what the doctor says of it.
fn doctor(dir: &Path, from: &str, to: &str) -> (Option<i32>, String) {
    let text = include_str!("../../systems/kvnode.toml");
    assert!(text.contains(from), "the test must change something");
    let path = dir.join("changed.toml");
    fs::write(&path, text.replace(from, to)).expect("written");
    let output = workloads(dir)
        .args(["doctor", "--timeout", "1s", "--system"])
        .arg(&path)
        .output()
        .expect("starts");
    let (code, out, errors) = said(&output);
    (code, format!("{out}{errors}"))
}

#[test]
fn the_doctor_finds_nothing_in_a_file_that_is_right() {
    let dir = folder();
    let (code, out) = doctor(dir.path(), "# Ordeal's own store", "# Ordeal's own store");
    assert_eq!(code, Some(0), "{out}");
    assert!(out.contains("nothing to mend"), "{out}");
}

#[test]
fn the_doctor_says_what_is_missing_or_too_trusting() {
    let cases = [
        (
            "{ outcome = \"ok\", status = \"404\", json = { \"/error\" = \"not_found\" }, missing = true },",
            "",
            "[operation.get] get of a key that was never written",
        ),
        (
            "{ outcome = \"mismatch\", status = \"409\", current = \"/current\" },\n  { outcome = \"fail\", status = \"4xx\" },",
            "",
            "[operation.cas] no rule for cas from 2 to 4, which must miss",
        ),
        (
            "{ outcome = \"fail\", status = \"503\", json = { \"/outcome\" = \"not_applied\" } },",
            "{ outcome = \"fail\", status = \"5xx\" },",
            "[operation.set] too trusting: a 500 with an empty body is called fail",
        ),
        (
            "value = \"/value\" }",
            "value = \"/version\" }",
            "[operation.get] get after it read",
        ),
        (
            "expected = \"{old}\", value",
            "expected = \"{new}\", value",
            "[operation.cas] cas from 2 to 3, which must hit, was called a mismatch",
        ),
    ];
    for (from, to, expected) in cases {
        let dir = folder();
        let (code, out) = doctor(dir.path(), from, to);
        assert_eq!(code, Some(1), "{from}: {out}");
        assert!(out.contains(expected), "{from} should say {expected:?}: {out}");
    }
}

#[test]
fn a_store_that_is_not_installed_is_named_with_its_package() {
    let dir = folder();
    let path = dir.path().join("none.toml");
    let text = fs::read_to_string(Path::new(ROOT).join("systems/etcd.toml")).expect("there");
    fs::write(
        &path,
        text.replace("program = \"etcd\"", "program = \"no-such-etcd\""),
    )
    .expect("written");
    let output = workloads(dir.path())
        .args(["run", "--system"])
        .arg(&path)
        .output()
        .expect("starts");
    let (code, _, errors) = said(&output);
    assert_eq!(code, Some(255), "{errors}");
    assert!(
        errors.contains("apt-get install etcd-server") && errors.lines().count() == 1,
        "{errors}"
    );
}

//! The command line on a running lab, as a person uses it: `nemesis lab` in one
//! process, verbs in others.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

const PATIENCE: Duration = Duration::from_secs(30);

struct Playground {
    folder: tempfile::TempDir,
    lab: Child,
}

impl Playground {
    /// Three nodes that only wait; none where this machine has no lab.
    fn new() -> Option<Playground> {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut lab = Command::new(env!("CARGO_BIN_EXE_nemesis"))
            .current_dir(folder.path())
            .args(["lab", "--nodes", "3", "--disks", "--", "sleep", "1000"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("nemesis runs");
        let said = BufReader::new(lab.stdout.take().expect("piped"));
        if said
            .lines()
            .map_while(Result::ok)
            .any(|line| line.starts_with("ready"))
        {
            return Some(Playground { folder, lab });
        }
        assert_eq!(lab.wait().expect("our child").code(), Some(254));
        println!("SKIPPED: no lab on this machine");
        None
    }

    /// Runs a verb somewhere below the project's folder.
    fn run(&self, args: &[&str]) -> Output {
        let below = self.folder.path().join("store/current");
        run_in(&below, args)
    }

    fn says(&self, args: &[&str], what: &str) -> String {
        let output = self.run(args);
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(
            output.status.code(),
            Some(0),
            "{args:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        assert!(said.contains(what), "{args:?} does not say {what:?}: {said}");
        said
    }

    fn refuses(&self, args: &[&str], what: &str) {
        let output = self.run(args);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(254), "{args:?}: {said}");
        assert!(said.contains(what), "{args:?} does not say {what:?}: {said}");
    }
}

impl Drop for Playground {
    fn drop(&mut self) {
        let _ = self.lab.kill();
        let _ = self.lab.wait();
    }
}

fn run_in(folder: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_nemesis"))
        .current_dir(folder)
        .args(args)
        .output()
        .expect("nemesis runs")
}

#[test]
fn faults_by_hand() {
    let Some(mut playground) = Playground::new() else {
        return;
    };
    let at = |args: &[&str], what: &str| playground.says(args, what);
    at(&[], "no fault in force");
    at(&["partition", "n1/n2,n3", "--dry-run"], "would hit: n1 | n2, n3");
    at(&["status"], "no fault in force");
    at(&["partition", "n1/n2,n3"], "seen: n1 -/-> n2: 0 of");
    let matrix = at(&[], "#1 partition n1/n2,n3: n1 | n2, n3");
    assert!(matrix.contains("n1  running   .   x   x\n"), "{matrix}");
    assert!(matrix.contains("n3  running   x  ok   .\n"), "{matrix}");
    at(&["kill", "n3"], "seen: n3 is dead");
    at(&["pause", "n2", "--json"], r#""state":"paused""#);
    at(&["resume", "all"], "seen: n2 is running");
    at(&["restart", "n3"], "seen: n3 is running");
    at(&["undo", "#1"], "undone");
    at(&["links", "n1", "n2", "--delay", "20ms", "--both"], "n1 <-> n2");
    at(&["disk", "n1", "full"], "No space left");
    at(&["power-failure", "n2", "--torn"], "n2: lost 0 names");
    at(&["heal"], "healed: every link carries packets, every node runs");
    at(&["status"], "no fault in force");

    // One that undoes itself, though the tool that asked for it is long gone.
    at(&["kill", "n1", "--for", "200ms"], "undone by itself after 200ms");
    let deadline = Instant::now() + PATIENCE;
    while !String::from_utf8_lossy(&playground.run(&["status"]).stdout).contains("n1  running") {
        assert!(Instant::now() < deadline, "it is still dead");
    }

    without_doing_it(&playground);
    watched(&playground);

    playground.refuses(&["kill", "n9"], "unknown node n9: the nodes are n1, n2, n3");
    playground.refuses(&["partition", "n1,n2/n2"], "n2 is named twice");
    playground.refuses(&["partition", "leader"], "no leader is known");
    playground.refuses(&["clock", "n1", "jump", "--ms", "5"], "nemesis lab --clocks");
    playground.refuses(&["member", "remove", "n1"], "membership");
    playground.refuses(&["undo", "99"], "no fault #99 is in force");
    playground.refuses(&["nonsense"], "unrecognized subcommand");
    playground.refuses(&["plan", "--preset", "nonsense"], "gentle, standard, hostile");

    // Plans: played for real, or refused as a whole before anything is started.
    let plan = |steps: &str| {
        let path = playground.folder.path().join("plan.json");
        let text = format!(r#"{{"seed":1,"length":"2s","steps":[{steps}]}}"#);
        std::fs::write(&path, text).expect("writable");
        path.display().to_string()
    };
    let step = |at: u64, fault: &str| {
        format!(r#"{{"at":"{at}ms","fault":{fault},"lasting":"100ms","recovery":"0s"}}"#)
    };
    let good = [
        step(0, r#"{"fault":"partition","shape":"halves"}"#),
        step(150, r#"{"fault":"kill","target":"one"}"#),
    ];
    let played = at(
        &["play", &plan(&good.join(","))],
        "healed: every link carries packets",
    );
    assert!(played.contains("-/->") && played.contains("is dead"), "{played}");
    let bad = [
        good[0].clone(),
        step(
            10,
            r#"{"fault":"clock","target":"one","clock":{"kind":"rate","rate":2.0}}"#,
        ),
        step(20, r#"{"fault":"membership","target":"n1","change":"add"}"#),
        step(30, r#"{"fault":"kill","target":"n9"}"#),
    ];
    let path = plan(&bad.join(","));
    for what in [
        "nothing was started: 3 of",
        "step 2, clock one: rate x2",
        "step 3, add n1",
        "step 4, kill n9: unknown node n9",
    ] {
        playground.refuses(&["play", &path], what);
    }
    at(&["status"], "no fault in force");

    // A second nemesis on the same cluster, and a cluster that went away.
    let again = run_in(
        playground.folder.path(),
        &["lab", "--nodes", "1", "--", "sleep", "1000"],
    );
    let said = String::from_utf8_lossy(&again.stderr).into_owned();
    assert!(
        again.status.code() == Some(254) && said.contains("another nemesis"),
        "{said}"
    );
    playground.says(&["status"], "3 nodes");
    kill(Pid::from_raw(playground.lab.id() as i32), Signal::SIGKILL).expect("our child");
    playground.lab.wait().expect("our child");
    // The runner inside dies a moment later.
    let deadline = Instant::now() + PATIENCE;
    while playground.run(&["status"]).status.code() != Some(254) {
        assert!(Instant::now() < deadline, "it still answers");
    }
    playground.refuses(&["status"], "is gone");
}

/// Every verb says with `--dry-run` what it would do, and does nothing.
fn without_doing_it(playground: &Playground) {
    let journal = playground.folder.path().join("store/current/nemesis.journal");
    let before = std::fs::read(&journal).expect("a journal");
    for (typed, says) in [
        ("partition n1/n2,n3", "n1 -> n2: cut"),
        ("flap n1/n2,n3", "over and over: 300ms there, 300ms not"),
        ("links n1 n2 --loss 50%", "n1 -> n2: loss 50%"),
        ("kill n1", "n1: kill"),
        ("pause n1", "n1: pause"),
        ("restart n1", "n1: restart"),
        ("restart all --rolling 2s", "n3: restart after 4s"),
        ("crash-loop n2", "n2: kill over and over: 500ms there, 1s not"),
        ("power-failure n1 --torn", "n1: power failure, torn writes"),
        ("disk n1 full", "n1: disk full"),
        ("disk n1 error --read 10%", "n1: disk EIO on read 10%"),
        ("disk n1 slow", "n1: disk fsync 100ms slower"),
        ("disk n1 bit-flip", "n1: disk 1 bits flipped"),
        ("damage n1 truncate", "n1: files: 64 bytes off"),
        ("damage n1 bit-flip", "n1: files: 1 bits flipped"),
        ("resume all", "no node is paused"),
        ("heal", "would undo nothing"),
    ] {
        let args: Vec<&str> = typed.split(' ').chain(["--dry-run"]).collect();
        playground.says(&args, says);
    }
    // What cannot be done cannot be tried either, and says the same.
    playground.refuses(&["kill-election", "--dry-run"], "no leader is known");
    playground.refuses(&["clock", "n1", "rate", "2", "--dry-run"], "nemesis lab --clocks");
    playground.refuses(&["member", "add", "n1", "--dry-run"], "membership");
    playground.refuses(&["undo", "99", "--dry-run"], "no fault #99 is in force");
    playground.refuses(&["lab", "--dry-run", "--", "true"], "a lab breaks nothing");
    assert_eq!(
        std::fs::read(&journal).expect("a journal"),
        before,
        "nothing was done"
    );

    let said = playground.says(&["pause", "n2"], "until `nemesis undo ");
    let number = said.split(['#', ' ']).nth(1).expect("a number").to_owned();
    playground.says(&["heal", "--dry-run"], &format!("#{number} pause n2"));
    playground.says(&["undo", &number, "--dry-run"], &format!("#{number} pause n2"));
    playground.says(&["resume", "all", "--dry-run"], "paused are n2");
    playground.says(&["status"], "n2  paused");
    playground.says(&["undo", &number], "undone");
}

/// `watch` looks again and again, and ends with the cluster's state as it was last seen.
fn watched(playground: &Playground) {
    let mut watch = Command::new(env!("CARGO_BIN_EXE_nemesis"))
        .current_dir(playground.folder.path())
        .args(["watch", "--every", "100ms"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("nemesis runs");
    let mut lines = BufReader::new(watch.stdout.take().expect("piped"))
        .lines()
        .map_while(Result::ok);
    let mut until = |what: &str| {
        let seen = lines.find(|line| line.contains(what));
        assert!(seen.is_some(), "watch ended before it showed {what}");
    };
    until("n1  running");
    until("no fault in force");
    playground.says(&["kill", "n1"], "n1 is dead");
    until("n1  dead");
    until("kill n1");
    playground.says(&["heal"], "healed");
    until("n1  running");
    watch.kill().expect("our child");
    watch.wait().expect("our child");
}

#[test]
fn without_a_cluster_there_is_nothing_to_break() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let plan = run_in(
        folder.path(),
        &["plan", "--preset", "hostile", "--seed", "7", "--save"],
    );
    assert!(plan.status.success());
    std::fs::write(folder.path().join("plan.json"), &plan.stdout).expect("writable");
    let shown = run_in(folder.path(), &["play", "plan.json", "--dry-run"]);
    assert!(String::from_utf8_lossy(&shown.stdout).starts_with("plan of seed 7, 30s long"));
    std::fs::write(folder.path().join("plan.json"), "{\"seed\":1}").expect("writable");
    assert_eq!(
        run_in(folder.path(), &["play", "plan.json"]).status.code(),
        Some(254)
    );
    assert_eq!(
        run_in(folder.path(), &["--cluster", "nowhere", "heal"])
            .status
            .code(),
        Some(254)
    );
    assert_eq!(run_in(folder.path(), &["--help"]).status.code(), Some(0));
    let misspelt = run_in(folder.path(), &["kill", "n1", "--fro", "3s"]);
    let said = String::from_utf8_lossy(&misspelt.stderr).into_owned();
    assert_eq!(misspelt.status.code(), Some(254), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
    assert!(said.contains("nemesis kill --help"), "{said}");
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = run_in(folder.path(), &["completion", shell]);
        let text = String::from_utf8_lossy(&script.stdout).into_owned();
        assert!(script.status.success(), "{shell}");
        for word in ["partition", "crash-loop", "kill-election", "--dry-run"] {
            assert!(
                text.contains(word.trim_start_matches("--")),
                "{shell} knows no {word}"
            );
        }
    }
    assert_eq!(run_in(folder.path(), &["doctor"]).status.code(), Some(0));
}

#[test]
fn somebody_else_may_not_break_the_cluster() {
    if !nix::unistd::geteuid().is_root() {
        println!("SKIPPED: only root can be somebody else");
        return;
    }
    let Some(playground) = Playground::new() else {
        return;
    };
    let folder = playground.folder.path();
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(folder, open).expect("ours");
    // Somebody else's home may keep nobody out.
    let program = folder.join("program");
    // By another process: a child that another test starts meanwhile would inherit our
    // own open file, and what somebody may still write to cannot be executed.
    let mut copying = Command::new("cp");
    let copied = copying.arg(env!("CARGO_BIN_EXE_nemesis")).arg(&program).status();
    assert!(copied.expect("cp runs").success());
    let output = std::os::unix::process::CommandExt::uid(&mut Command::new(&program), 65534)
        .current_dir("/")
        .arg("--cluster")
        .arg(folder.join("store/current"))
        .arg("heal")
        .output()
        .expect("nemesis runs");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(254), "{said}");
    assert!(
        said.contains("permission") || said.contains("Permission"),
        "{said}"
    );
    assert_eq!(said.trim().lines().count(), 1, "{said}");
    playground.says(&["status"], "no fault in force");
}

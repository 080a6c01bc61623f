//! The command: what it prints and how it exits.

use std::path::PathBuf;
use std::process::{Command, Output};

fn checker(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_checker"))
        .args(arguments)
        .output()
        .expect("the command runs")
}

fn own(name: &str) -> String {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/corpus")
        .join(name)
        .display()
        .to_string()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("text")
}

#[test]
fn one_line_a_file_and_the_worst_exit_code() {
    let (legal, illegal) = (own("cut-off.jsonl"), own("stale-read.jsonl"));
    let output = checker(&["check", &legal, &illegal]);
    assert_eq!(
        text(&output.stdout),
        format!("legal\t{legal}\nillegal\t{illegal}\n")
    );
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(checker(&["check", &legal]).status.code(), Some(0));
}

#[test]
fn a_violation_is_explained_in_a_sentence() {
    let illegal = own("stale-read.jsonl");
    let output = checker(&["check", &illegal]);
    let expected = format!(
        "{illegal}: process 3 read k=4 through n2 from 12.310 s to 12.350 s, but process 1 wrote k=5 through n1 \
         from 12.150 s to 12.200 s, before that began, and nothing wrote 4 after it (4 had been written by process 0 \
         from 12.000 s to 12.010 s); 5 was not lost, for process 3 read k=5 through n1 from 12.360 s to 12.380 s: the \
         answer was old\n"
    );
    assert_eq!(text(&output.stderr), expected);
}

#[test]
fn what_cannot_be_judged_exits_254() {
    for arguments in [
        &["check"][..],
        &["check", "--no-such-flag", "x"],
        &["check", "--model", "frob", "x"],
        &["check", "--cas-fail", "perhaps", "x"],
        &["check", "--time-limit", "soon", "x"],
        &["check", "/no/such/file"],
        &["frobnicate"],
    ] {
        let output = checker(arguments);
        assert_eq!(output.status.code(), Some(254), "{arguments:?}");
        assert!(!output.stderr.is_empty(), "{arguments:?} says nothing");
        assert!(output.stdout.is_empty(), "{arguments:?} prints a verdict");
    }
    assert_eq!(checker(&["--help"]).status.code(), Some(0));
    assert_eq!(checker(&["--version"]).status.code(), Some(0));
}

#[test]
fn options_decide_what_a_history_leaves_unsaid() {
    let folder = tempfile::tempdir().expect("a folder for a history");
    let path = folder.path().join("h.edn");
    let history =
        "{:process 0 :type :invoke :f :cas :value [0 1]}\n{:process 0 :type :fail :f :cas :value [0 1]}\n";
    std::fs::write(&path, history).expect("the history can be written");
    let path = path.display().to_string();
    assert_eq!(
        checker(&["check", &path]).status.code(),
        Some(0),
        "in EDN a failed cas says nothing"
    );
    assert_eq!(
        checker(&["check", "--cas-fail", "mismatch", &path]).status.code(),
        Some(1)
    );
    assert_eq!(
        checker(&["check", "--cas-fail", "mismatch", "--init", "5", &path])
            .status
            .code(),
        Some(0)
    );
}

#[test]
fn the_analysis_is_json() {
    let output = checker(&["check", "--json", &own("stale-read.jsonl"), &own("cut-off.jsonl")]);
    let mut lines = text(&output.stdout)
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).expect("JSON"));
    let illegal = lines.next().expect("a line for the first file");
    assert_eq!(illegal["valid"], false);
    assert_eq!(illegal["counterexample"]["anomaly"], "stale-read");
    assert_eq!(
        illegal["counterexample"]["operations"].as_array().map(Vec::len),
        Some(3)
    );
    let legal = lines.next().expect("a line for the second file");
    assert_eq!(legal["valid"], true);
    assert_eq!(legal["witness"]["orders"][0]["order"], serde_json::json!([0]));
}

#[test]
fn follow_stops_at_the_first_violation() {
    let illegal = own("stale-read.jsonl");
    let output = checker(&["follow", "--idle", "0", &illegal]);
    assert_eq!(text(&output.stdout), format!("illegal\t{illegal}\n"));
    assert_eq!(output.status.code(), Some(1));
    let legal = own("touching-intervals.jsonl");
    assert_eq!(checker(&["follow", "--idle", "0", &legal]).status.code(), Some(0));
}

#[test]
fn a_proof_is_checked_again() {
    let folder = tempfile::tempdir().expect("a folder for results");
    let results = folder.path().join("results.json").display().to_string();
    let illegal = own("stale-read.jsonl");
    let told = checker(&["check", "--json", &illegal]);
    std::fs::write(&results, &told.stdout).expect("results can be written");
    let output = checker(&["verify-proof", &results, &illegal]);
    assert_eq!(
        text(&output.stdout),
        format!("holds\t{results}\tillegal: no order explains the 3 operations\n")
    );
    assert_eq!(output.status.code(), Some(0));
    let forged = text(&told.stdout).replace(
        "\"output\":4,\"invoked_at\":12310000000",
        "\"output\":6,\"invoked_at\":12310000000",
    );
    std::fs::write(&results, forged).expect("results can be written");
    let output = checker(&["verify-proof", &results, &illegal]);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stdout));
    std::fs::write(&results, "{}").expect("results can be written");
    assert_eq!(
        checker(&["verify-proof", &results, &illegal]).status.code(),
        Some(254)
    );
    assert_eq!(
        checker(&["verify-proof", "/no/such/file", &illegal])
            .status
            .code(),
        Some(254)
    );
}

#[test]
fn a_minimized_history_is_illegal_by_itself() {
    let folder = tempfile::tempdir().expect("a folder for a history");
    let small = folder.path().join("small.jsonl").display().to_string();
    for name in [
        "stale-read.jsonl",
        "recorded-cas-not-atomic.jsonl",
        "same-process-same-instant.jsonl",
    ] {
        let output = checker(&["minimize", &own(name), "-o", &small]);
        assert_eq!(output.status.code(), Some(0), "{name}: {}", text(&output.stderr));
        assert_eq!(checker(&["check", &small]).status.code(), Some(1), "{name}");
        let written = std::fs::read_to_string(&small).expect("a history");
        assert!(written.lines().count() < 12, "{name} is not small:\n{written}");
        let header = written.lines().next().expect("a header");
        assert!(header.contains("comment") && header.contains(name), "{header}");
    }
    assert_eq!(
        checker(&["minimize", &own("cut-off.jsonl")]).status.code(),
        Some(254)
    );
}

#[test]
fn a_violation_is_drawn_for_a_terminal() {
    let output = checker(&["explain", &own("stale-read.jsonl")]);
    let told = text(&output.stdout);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        told.contains("  process 3    read k=4") && told.contains("|-"),
        "{told}"
    );
    assert!(told.contains("Each of these must come before the next"), "{told}");
    assert!(
        told.contains("read 4 by process 3 cannot go next: the value is 5"),
        "{told}"
    );
    assert!(told.contains("partition"), "the fault is told: {told}");
    let legal = checker(&["explain", &own("cut-off.jsonl")]);
    assert_eq!(legal.status.code(), Some(0));
}

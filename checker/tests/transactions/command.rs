//! The command line: verdicts, exit codes, and what is said.

use std::process::{Command, Output};

const STALE: &str = r#"{:process 0, :type :invoke, :f :txn, :value [[:append :x 1]]}
{:process 0, :type :ok, :f :txn, :value [[:append :x 1]]}
{:process 1, :type :invoke, :f :txn, :value [[:r :x nil]]}
{:process 1, :type :ok, :f :txn, :value [[:r :x []]]}
"#;

fn checker(history: &str, flags: &[&str]) -> (Output, String) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("history.edn");
    std::fs::write(&file, history).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_checker"));
    let output = command.arg("check").args(flags).arg(&file).output().unwrap();
    (output, file.display().to_string())
}

#[test]
fn a_stale_read_is_illegal_where_strictness_was_promised() {
    let (output, file) = checker(STALE, &[]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        format!("illegal\t{file}\n")
    );
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("G-single-realtime: stale read"), "{said}");
    assert!(said.contains("so not strong-snapshot-isolation"), "{said}");
    assert!(said.contains("T1 = [r x []]"), "{said}");
    let (output, file) = checker(STALE, &["--consistency-models", "serializable"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        format!("legal\t{file}\n")
    );
    assert!(String::from_utf8_lossy(&output.stderr).contains("G-single-realtime (1, allowed)"));
}

#[test]
fn everything_is_told_as_json() {
    let (output, _) = checker(STALE, &["--json", "--quiet"]);
    let told: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(told["valid"], false);
    assert_eq!(told["model"], "list-append");
    assert_eq!(told["anomaly_types"], serde_json::json!(["G-single-realtime"]));
    assert_eq!(told["anomalies"][0]["cases"][0]["cycle"][0]["relation"], "rw");
    assert!(output.stderr.is_empty(), "{output:?}");
}

#[test]
fn bad_arguments_and_bad_input_exit_alike() {
    let (output, _) = checker(STALE, &["-c", "serialisable"]);
    assert_eq!(output.status.code(), Some(254), "{output:?}");
    let (output, file) = checker(STALE, &["--model", "rw-register"]);
    assert_eq!(output.status.code(), Some(254), "{output:?}");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains(&format!("{file}:1: unknown function")), "{said}");
    assert!(output.stdout.is_empty(), "{output:?}");
}

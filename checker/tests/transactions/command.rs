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
fn results_go_to_a_file_and_are_proven_from_there() {
    let folder = tempfile::tempdir().unwrap();
    let place = |name: &str| folder.path().join(name).display().to_string();
    let legal = STALE.replace("[[:r :x []]]", "[[:r :x [1]]]");
    for (history, code, word) in [(STALE, 1, "illegal"), (&*legal, 0, "legal")] {
        let results = place("results.json");
        let (output, file) = checker(history, &["--output", &results]);
        assert_eq!(output.status.code(), Some(code), "{output:?}");
        assert_eq!(
            String::from_utf8_lossy(&output.stdout),
            format!("{word}\t{file}\n")
        );
        let told: serde_json::Value =
            serde_json::from_str(&std::fs::read_to_string(&results).unwrap()).unwrap();
        assert_eq!(told["valid"], code == 0);
        let again = place("again.edn");
        std::fs::write(&again, history).unwrap();
        let proof = Command::new(env!("CARGO_BIN_EXE_checker"))
            .args(["verify-proof", &results, &again])
            .output()
            .unwrap();
        assert_eq!(proof.status.code(), Some(0), "{proof:?}");
        let said = String::from_utf8_lossy(&proof.stdout);
        assert!(said.starts_with(&format!("holds\t{results}\t{word}: ")), "{said}");
    }
}

#[test]
fn a_full_disk_is_one_line_and_no_verdict() {
    let (output, _) = checker(STALE, &["--quiet", "-o", "/dev/full"]);
    assert_eq!(output.status.code(), Some(255), "{output:?}");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(said.lines().count(), 1, "{said}");
    assert!(said.starts_with("checker: /dev/full: "), "{said}");
}

#[test]
fn too_little_memory_is_unknown_and_says_how_to_go_on() {
    let (output, _) = checker(STALE, &["--memory-limit", "10"]);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("--memory-limit"), "{said}");
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

//! The script that CI systems call, with the program itself: remarks, summary, bundle and exit code.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

struct Said {
    code: Option<i32>,
    out: String,
    errors: String,
    outputs: String,
    summary: String,
}

/// Has the script judge a run of this history, as GitHub would.
fn judged(dir: &Path, history: &str, flags: &[&str]) -> Said {
    let run = dir.join("store/kvnode-register/1");
    fs::create_dir_all(run.join("n1")).expect("a folder");
    let history = Path::new(ROOT).join("checker/tests/corpus").join(history);
    fs::copy(history, run.join("history.jsonl")).expect("copied");
    fs::write(run.join("n1/node.log"), "listening\n").expect("written");
    let run = run.to_str().expect("text").to_owned();
    call(dir, &[flags, &["--", "analyze", &run]].concat())
}

fn call(dir: &Path, arguments: &[&str]) -> Said {
    let text = |name: &str| fs::read_to_string(dir.join(name)).unwrap_or_default();
    let output = Command::new(Path::new(ROOT).join("ci/action/run"))
        .args(["--program", env!("CARGO_BIN_EXE_workloads"), "--out"])
        .arg(out(dir))
        .args(arguments)
        .env("ORDEAL_STORE", dir.join("store"))
        .env("GITHUB_ACTIONS", "true")
        .env("GITHUB_OUTPUT", dir.join("outputs"))
        .env("GITHUB_STEP_SUMMARY", dir.join("summary"))
        .stdin(Stdio::null())
        .output()
        .expect("the script starts");
    Said {
        code: output.status.code(),
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        errors: String::from_utf8_lossy(&output.stderr).into_owned(),
        outputs: text("outputs"),
        summary: text("summary"),
    }
}

fn out(dir: &Path) -> PathBuf {
    dir.join("artifacts")
}

#[test]
fn an_illegal_run_is_an_error_beside_the_change() {
    let dir = tempfile::tempdir().expect("a folder");
    let said = judged(dir.path(), "recorded-follower-read.jsonl", &[]);
    assert_eq!(said.code, Some(1), "{}{}", said.out, said.errors);
    let remark = said.out.lines().find(|line| line.starts_with("::error "));
    let remark = remark.unwrap_or_else(|| panic!("no remark: {}", said.out));
    assert!(
        remark.contains("in kvnode-register-bug-follower-read::Illegal: ")
            && remark.contains("%0Aagain: cargo run"),
        "{remark}"
    );
    assert!(
        said.outputs.contains("verdict=illegal\nexit-code=1\n"),
        "{}",
        said.outputs
    );
    assert!(said.summary.contains("❌"), "{}", said.summary);
    for file in [
        "results.json",
        "summary.md",
        "junit.xml",
        "report.html",
        "history.jsonl.gz",
        "n1/node.log.gz",
    ] {
        let path = out(dir.path()).join("kvnode-register/1").join(file);
        assert!(path.is_file(), "{file}: {}", said.out);
    }
    assert!(out(dir.path()).join("bundle.txt").is_file());
}

#[test]
fn a_run_that_is_no_evidence_fails_unless_told_otherwise() {
    let warned = tempfile::tempdir().expect("a folder");
    let failed = tempfile::tempdir().expect("a folder");
    // Legal as far as it goes, and without an end.
    let history = "cut-off.jsonl";
    let warned = judged(warned.path(), history, &["--unknown", "warn"]);
    let failed = judged(failed.path(), history, &[]);
    assert_eq!((warned.code, failed.code), (Some(0), Some(2)), "{}", failed.out);
    for said in [&warned, &failed] {
        assert!(
            said.out.contains("::warning title=Ordeal%3A unknown"),
            "{}",
            said.out
        );
        assert!(
            said.outputs.contains("verdict=unknown\nexit-code=2\n"),
            "{}",
            said.outputs
        );
    }
}

#[test]
fn what_cannot_be_done_is_said_before_or_after_the_run() {
    let dir = tempfile::tempdir().expect("a folder");
    let said = call(dir.path(), &["--", "run", "--no-such-flag"]);
    assert_eq!(said.code, Some(254), "{}", said.out);
    assert!(
        said.out.contains("::error title=Ordeal::exit code 254"),
        "{}",
        said.out
    );
    assert!(said.outputs.contains("verdict=bad-input"), "{}", said.outputs);
    let said = call(dir.path(), &["--caps", "1MB"]);
    assert_eq!(said.code, Some(254));
    assert!(said.errors.contains("unknown argument --caps"), "{}", said.errors);
    // A cap that nothing fits into is no news for after the run.
    let said = call(dir.path(), &["--cap", "90kB", "--", "list"]);
    assert_eq!(said.code, Some(254), "{}", said.out);
    assert!(
        said.errors.contains("holds nothing") && said.out.is_empty(),
        "{}{}",
        said.errors,
        said.out
    );
    assert!(
        said.outputs.contains("verdict=bad-input\nexit-code=254\n"),
        "{}",
        said.outputs
    );
    // What cannot be kept hides no verdict.
    let said = judged(dir.path(), "stale-read.jsonl", &["--out", "/proc/no-folder"]);
    assert_eq!(said.code, Some(1), "{}", said.out);
    assert!(
        said.outputs.contains("verdict=illegal\nexit-code=1\n") && said.errors.contains("could not be kept"),
        "{}{}",
        said.outputs,
        said.errors
    );
    fs::create_dir_all(out(dir.path()).join("already")).expect("made");
    let said = call(dir.path(), &["--", "list"]);
    assert_eq!(said.code, Some(254));
    assert!(said.errors.contains("is not empty"), "{}", said.errors);
}

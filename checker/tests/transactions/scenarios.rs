//! Told scenarios: what happened above the line, what must be said of it below.
//!
//! `UPDATE_SCENARIOS=1` writes what is said now below the line, for a person to read before it is committed.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use checker::history::History;
use checker::transactions::{TransactionAnalysis, TransactionOptions, Unwritten, list_append, rw_register};

use crate::script;

const LINE: &str = "---\n";

fn told(analysis: &TransactionAnalysis) -> String {
    let mut out = String::new();
    let valid = serde_json::to_value(analysis.valid).unwrap();
    writeln!(out, "valid: {valid}").unwrap();
    let names: Vec<String> = analysis.not.iter().map(ToString::to_string).collect();
    if !names.is_empty() {
        writeln!(out, "not: {}", names.join(", ")).unwrap();
    }
    for found in &analysis.anomalies {
        let allowed = if found.forbidden { "" } else { " (allowed)" };
        for case in &found.cases {
            writeln!(out, "{}{allowed}: {}", found.kind, case.sentence).unwrap();
        }
    }
    for note in &analysis.notes {
        writeln!(out, "note: {note}").unwrap();
    }
    out
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/transactions/scenarios")
}

/// Every scenario: its name and what is above the line.
pub(crate) fn all() -> Vec<(String, String)> {
    let folder = folder();
    let files = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut all: Vec<(String, String)> = files
        .map(|file| {
            let file = file.unwrap();
            let text = fs::read_to_string(file.path()).unwrap();
            (file.file_name().to_string_lossy().into_owned(), text)
        })
        .collect();
    all.sort();
    all
}

/// What happened, by which model, and what is to be satisfied.
pub(crate) fn scenario(text: &str) -> (History, &str, TransactionOptions) {
    let (above, _) = text.split_once(LINE).unwrap_or((text, ""));
    let mut options = TransactionOptions::default();
    let mut model = "list-append";
    let mut events = String::new();
    for line in above.lines().filter(|line| !line.starts_with('#')) {
        match line.split_once(' ') {
            Some(("model", name)) => model = name.trim(),
            Some(("models", names)) => {
                options.consistency_models = names
                    .split(',')
                    .map(|name| name.trim().parse().unwrap())
                    .collect();
            }
            Some(("assume", "linearizable keys")) => options.registers.linearizable_keys = true,
            Some(("assume", "sequential keys")) => options.registers.sequential_keys = true,
            Some(("assume", "writers outside")) => options.registers.unwritten = Some(Unwritten::Outside),
            Some(("init", value)) => options.registers.init = Some(value.parse::<i64>().unwrap().into()),
            _ => writeln!(events, "{line}").unwrap(),
        }
    }
    (script::history(model, &events), model, options)
}

fn run(text: &str) -> String {
    let (history, model, options) = scenario(text);
    let analysis = match model {
        "list-append" => list_append(&history, &options),
        "rw-register" => rw_register(&history, &options),
        other => panic!("no scenario of {other}"),
    };
    told(&analysis.unwrap())
}

#[test]
fn scenarios_are_told_as_written() {
    let folder = folder();
    let update = std::env::var_os("UPDATE_SCENARIOS").is_some();
    let scenarios = all();
    assert!(scenarios.len() > 20, "scenarios are missing");
    let mut wrong = Vec::new();
    for (name, text) in scenarios {
        let file = folder.join(name);
        let (above, below) = text.split_once(LINE).unwrap_or((&text, ""));
        assert!(
            above.starts_with('#'),
            "{}: begins with why it exists",
            file.display()
        );
        let said = run(&text);
        if update {
            fs::write(&file, format!("{above}{LINE}{said}")).unwrap();
        } else if said != below {
            wrong.push(format!("{}:\n{said}--- expected:\n{below}", file.display()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

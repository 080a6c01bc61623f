//! Told scenarios: what happened above the line, what must be said of it below.
//!
//! `UPDATE_SCENARIOS=1` writes what is said now below the line, for a person to read before it is committed.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

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

fn run(text: &str) -> String {
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
    let history = script::history(model, &events);
    let analysis = match model {
        "list-append" => list_append(&history, &options),
        "rw-register" => rw_register(&history, &options),
        other => panic!("no scenario of {other}"),
    };
    told(&analysis.unwrap())
}

#[test]
fn scenarios_are_told_as_written() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/transactions/scenarios");
    let update = std::env::var_os("UPDATE_SCENARIOS").is_some();
    let mut files: Vec<_> = fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    assert!(files.len() > 20, "scenarios are missing");
    let mut wrong = Vec::new();
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
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

//! `docs/faults.md` is the code's: every fault that can be asked for has its row, every
//! row can be asked for, and every name means what the page says.

use std::collections::BTreeSet;
use std::path::Path;

use clap::{CommandFactory as _, Parser as _};

use super::args::Args;
use crate::fault::Ability;
use crate::plan::{FAULT_NAMES, PRESETS, faults_named};

/// Verbs that are no faults.
const OTHERS: [&str; 11] = [
    "status",
    "watch",
    "resume",
    "undo",
    "heal",
    "plan",
    "play",
    "doctor",
    "lab",
    "completion",
    "bench",
];
/// What says how much, how long or in which of several ways, and not what.
const MEASURES: [&str; 13] = [
    "for",
    "down",
    "up",
    "jitter",
    "distribution",
    "both",
    "read",
    "write",
    "fsync",
    "fsync-time",
    "bytes",
    "bits",
    "period",
];

fn page() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/faults.md");
    std::fs::read_to_string(path).expect("the page")
}

/// The cells of a table's row.
fn cells(line: &str) -> Vec<&str> {
    line.trim_matches('|').split(" | ").map(str::trim).collect()
}

/// The tables whose first heading is this: their rows.
fn rows<'a>(page: &'a str, heading: &str) -> Vec<Vec<&'a str>> {
    let mut rows = Vec::new();
    let mut inside = false;
    for line in page.lines() {
        if !line.starts_with("| ") {
            inside &= line.starts_with('|');
        } else if cells(line)[0] == heading {
            inside = true;
        } else if inside {
            rows.push(cells(line));
        }
    }
    rows
}

/// What stands between backticks.
fn code(cell: &str) -> impl Iterator<Item = &str> {
    cell.split('`').skip(1).step_by(2)
}

/// What can be asked for, as the page writes it: `disk full`, `links --loss`.
fn askable() -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    let command = Args::command();
    let is_fault = |verb: &&clap::Command| !verb.is_hide_set() && !OTHERS.contains(&verb.get_name());
    for verb in command.get_subcommands().filter(is_fault) {
        let name = verb.get_name();
        let ways: Vec<String> = match name {
            "member" => {
                let change = verb.get_arguments().find(|arg| arg.get_id() == "change");
                let values = change.expect("add, remove, ...").get_possible_values();
                values.iter().map(|value| value.get_name().to_owned()).collect()
            }
            _ => verb
                .get_subcommands()
                .map(|way| way.get_name().to_owned())
                .collect(),
        };
        all.extend(ways.iter().map(|way| format!("{name} {way}")));
        let flags = verb.get_arguments().filter_map(clap::Arg::get_long);
        let flags = flags.filter(|flag| !MEASURES.contains(flag));
        let flags: Vec<String> = flags.map(|flag| format!("{name} --{flag}")).collect();
        // links is nothing without one of them.
        if ways.is_empty() && name != "links" {
            all.insert(name.to_owned());
        }
        all.extend(flags);
    }
    all
}

#[test]
fn every_fault_that_can_be_asked_for_has_its_row_and_the_other_way_round() {
    let page = page();
    let rows = rows(&page, "fault");
    let mut told = BTreeSet::new();
    for row in &rows {
        assert!(
            row.len() >= 5 && row.iter().all(|cell| !cell.is_empty()),
            "{row:?}"
        );
        let mut verb = "";
        for named in code(row[0]) {
            // `restart`, `--rolling`; and `links --delay --jitter` is one fault.
            if named.starts_with("--") {
                told.insert(format!("{verb} {named}"));
                continue;
            }
            verb = named.split(" --").next().expect("a word");
            let flag = named.split_whitespace().find(|word| word.starts_with("--"));
            told.insert(flag.map_or_else(|| named.to_owned(), |flag| format!("{verb} {flag}")));
        }
    }
    assert_eq!(told, askable());
}

#[test]
fn every_name_of_a_plan_means_what_the_page_says() {
    let page = page();
    let expected: Vec<Vec<String>> = FAULT_NAMES
        .iter()
        .map(|name| {
            let faults = faults_named(name).expect("a name");
            let faults: Vec<String> = faults.iter().map(|fault| format!("`{fault}`")).collect();
            vec![format!("`{name}`"), faults.join(", ")]
        })
        .collect();
    assert_eq!(rows(&page, "name"), expected);
    let expected: Vec<Vec<String>> = PRESETS
        .iter()
        .map(|preset| {
            let faults: Vec<String> = preset.faults.iter().map(|name| format!("`{name}`")).collect();
            let at_once = preset.at_once.to_string();
            vec![
                format!("`{}`", preset.name),
                faults.join(", "),
                at_once,
                preset.purpose.to_owned(),
            ]
        })
        .collect();
    assert_eq!(rows(&page, "preset"), expected);
}

#[test]
fn every_command_of_the_page_can_be_typed_and_every_fault_has_an_ability() {
    let page = page();
    let mut needed = BTreeSet::new();
    for line in code(&page).filter(|code| code.starts_with("nemesis ")) {
        if let Err(error) = Args::try_parse_from(line.split(' ')) {
            // A verb that is only mentioned goes without its arguments.
            let mentioned = error.kind() == clap::error::ErrorKind::MissingRequiredArgument;
            assert!(mentioned, "{line}: {error}");
        }
    }
    let command = Args::command();
    for verb in command.get_subcommands() {
        let help = verb.get_after_help().map(ToString::to_string).unwrap_or_default();
        let examples = help
            .lines()
            .map(|line| line.trim().trim_start_matches("Example: "));
        for line in examples.filter(|line| line.starts_with("nemesis ")) {
            let Ok(Args { verb: Some(verb), .. }) = Args::try_parse_from(line.split(' ')) else {
                continue;
            };
            if let Ok((fault, _)) = verb.fault() {
                needed.insert(fault.needs());
            }
        }
    }
    let all: BTreeSet<Ability> = Ability::ALL.into_iter().collect();
    assert_eq!(needed, all, "what the examples need");
}

#[test]
fn every_shape_and_every_target_is_named() {
    let page = page();
    let named: BTreeSet<&str> = code(&page).flat_map(str::split_whitespace).collect();
    for shape in [
        "one",
        "minority",
        "halves",
        "majority",
        "majorities-ring",
        "bridge",
        "leader",
        "random",
    ] {
        assert!(
            shape.parse::<crate::Shape>().is_ok() && named.contains(shape),
            "{shape}"
        );
    }
    for target in ["one", "minority", "majority", "all", "leader", "followers"] {
        let parsed: crate::Target = target.parse().expect("a target");
        assert!(
            !matches!(parsed, crate::Target::Named(_)) && named.contains(target),
            "{target}"
        );
    }
}

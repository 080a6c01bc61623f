//! The runs of the build without bugs, added up over many nights: a line a run, never forgotten.
//!
//! That a suite raises no false alarm is a claim about hundreds of runs, more than fit into a night. So every run
//! of the clean build is added to `clean.jsonl`, whatever programs ran it and whatever becomes of the trials of one
//! scorecard; each line says which programs those were.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use super::catalogue::BUGS;
use super::trial::{Against, Plan, Trial};
use crate::campaign::Verdict;

/// A run of the clean build.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Entry {
    /// The day, RFC 3339.
    day: String,
    /// SHA-256 of the node.
    node: String,
    /// SHA-256 of the program that ran it.
    runner: String,
    #[serde(flatten)]
    trial: Trial,
}

/// All of them.
#[derive(Debug)]
pub(super) struct Tally {
    path: PathBuf,
    node: String,
    runner: String,
    entries: Vec<Entry>,
}

impl Tally {
    /// Reads the tally in `folder`; what is added is said to be of this node and this runner.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(super) fn open(folder: &Path, node: &str, runner: &str) -> Result<Self> {
        let path = folder.join("clean.jsonl");
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => String::new(),
            Err(error) => return Err(error).with_context(|| path.display().to_string()),
        };
        // A line that a kill cut short does not count, and must not join the next.
        let whole = text.rfind('\n').map_or(0, |end| end + 1);
        if whole < text.len() {
            let file = OpenOptions::new().write(true).open(&path);
            file.and_then(|file| file.set_len(whole as u64))
                .with_context(|| path.display().to_string())?;
        }
        let lines = text[..whole].lines().zip(1..);
        let entries = lines
            .map(|(line, number)| {
                serde_json::from_str(line).with_context(|| format!("{}:{number}", path.display()))
            })
            .collect::<Result<_>>()?;
        Ok(Self {
            path,
            node: node.to_owned(),
            runner: runner.to_owned(),
            entries,
        })
    }

    /// Whether these programs ran this before.
    pub(super) fn has(&self, plan: &Plan) -> bool {
        self.entries
            .iter()
            .any(|entry| entry.trial.plan == *plan && entry.node == self.node && entry.runner == self.runner)
    }

    /// Adds a run, unless it is of a build with a bug.
    ///
    /// # Errors
    /// When the disk refuses.
    pub(super) fn add(&mut self, trial: &Trial) -> Result<()> {
        if trial.plan.against != Against::Clean {
            return Ok(());
        }
        let entry = Entry {
            day: jiff::Timestamp::now().strftime("%Y-%m-%d").to_string(),
            node: self.node.clone(),
            runner: self.runner.clone(),
            trial: trial.clone(),
        };
        let line = serde_json::to_string(&entry)?;
        OpenOptions::new()
            .create(true)
            .append(true)
            .open(&self.path)
            .and_then(|mut file| writeln!(file, "{line}").and_then(|()| file.sync_data()))
            .with_context(|| self.path.display().to_string())?;
        self.entries.push(entry);
        Ok(())
    }

    /// How many runs there are, how many accused the innocent, and how many could not say.
    pub(super) fn counts(&self) -> (usize, usize, usize) {
        let count = |wanted: fn(&Verdict) -> bool| {
            let verdicts = self.entries.iter().map(|entry| &entry.trial.verdict);
            verdicts.filter(|verdict| wanted(verdict)).count()
        };
        (
            self.entries.len(),
            count(|verdict| *verdict == Verdict::Illegal),
            count(|verdict| matches!(verdict, Verdict::Unknown(_) | Verdict::Broken(_))),
        )
    }

    /// All of it for people: a row a preset, and every run that was not found valid.
    pub(super) fn markdown(&self) -> String {
        let mut rows: BTreeMap<String, [usize; 3]> = BTreeMap::new();
        let mut others = Vec::new();
        for Entry { day, trial, .. } in &self.entries {
            let plan = &trial.plan;
            let name = plan.against_what();
            let row = rows.entry(name.clone()).or_default();
            row[0] += 1;
            let what = match &trial.verdict {
                Verdict::Valid => continue,
                Verdict::Illegal => {
                    row[1] += 1;
                    format!("illegal: {}", trial.sentence)
                }
                Verdict::Unknown(why) => {
                    row[2] += 1;
                    format!("unknown: {}", why.join("; "))
                }
                Verdict::Broken(why) => {
                    row[2] += 1;
                    format!("broke: {why}")
                }
            };
            others.push(format!(
                "- {day}, {name}, seed {}, load average {:.1}: {what}",
                plan.seed, trial.busy
            ));
        }
        let days: BTreeSet<&str> = self.entries.iter().map(|entry| entry.day.as_str()).collect();
        let (runs, alarms, unknown) = self.counts();
        let mut out = String::from(
            "| clean build: workload, faults | runs | false alarms | unknown |\n|---|---|---|---|\n",
        );
        for (name, [runs, alarms, unknown]) in &rows {
            writeln!(out, "| {name} | {runs} | {alarms} | {unknown} |").expect("writing to a string");
        }
        writeln!(
            out,
            "\n{runs} runs on {} days: {alarms} false alarms, {unknown} could not say.",
            days.len()
        )
        .expect("writing to a string");
        for other in others {
            writeln!(out, "{other}").expect("writing to a string");
        }
        out
    }
}

/// The next `count` runs of the clean build: the default run and every preset in turn, then the next seed.
pub(super) fn plans(count: u32, first_seed: u64, seconds: u64) -> Vec<Plan> {
    let mut presets: Vec<_> = BUGS.iter().map(|bug| Some(bug.preset)).collect();
    presets.sort_by_key(|preset| preset.map(|preset| (preset.workload, preset.nemesis)));
    presets.dedup();
    presets.insert(0, None);
    let seeds = first_seed..;
    let all = seeds.flat_map(|seed| presets.iter().map(move |preset| (seed, *preset)));
    all.take(count as usize)
        .map(|(seed, preset)| Plan {
            against: Against::Clean,
            bug: None,
            workload: preset.map(|preset| preset.workload.to_owned()),
            nemesis: preset.map(|preset| preset.nemesis.to_owned()),
            at_once: preset.map(|preset| preset.at_once),
            nodes: preset.and_then(|preset| preset.nodes),
            seed,
            seconds,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::table::tests::trial;
    use super::*;

    #[test]
    fn nights_add_up_whatever_programs_ran_them() {
        let folder = tempfile::tempdir().expect("a folder");
        let valid = trial(Against::Clean, None, 1, Verdict::Valid, "");
        let mut first = Tally::open(folder.path(), "a", "x").expect("begun");
        first.add(&valid).expect("added");
        first
            .add(&trial(
                Against::Preset,
                Some("no-fsync"),
                1,
                Verdict::Illegal,
                "lost-write",
            ))
            .expect("left alone");
        assert!(first.has(&valid.plan));
        // The next night, with other programs; the kill in between cost half a line.
        let path = folder.path().join("clean.jsonl");
        let mut file = OpenOptions::new().append(true).open(&path).expect("there");
        file.write_all(b"{\"day\":").expect("written");
        let mut second = Tally::open(folder.path(), "b", "x").expect("opened");
        assert!(!second.has(&valid.plan), "another build is to be tried anew");
        second.add(&valid).expect("added");
        let unknown = Verdict::Unknown(vec!["too few".into()]);
        second
            .add(&trial(Against::Clean, None, 2, unknown, ""))
            .expect("added");
        second
            .add(&trial(Against::Clean, None, 3, Verdict::Illegal, "stale-read"))
            .expect("added");
        let third = Tally::open(folder.path(), "b", "x").expect("opened");
        assert_eq!(third.counts(), (4, 1, 1));
        let said = third.markdown();
        assert!(said.contains("| default run | 4 | 1 | 1 |"), "{said}");
        assert!(
            said.contains("4 runs on 1 days: 1 false alarms, 1 could not say."),
            "{said}"
        );
        assert!(
            said.contains("seed 2, load average 2.0: unknown: too few"),
            "{said}"
        );
    }

    #[test]
    fn runs_go_through_all_presets_before_any_comes_again() {
        let plans = plans(40, 7, 15);
        let distinct: BTreeSet<&Plan> = plans.iter().collect();
        assert_eq!((plans.len(), distinct.len()), (40, 40));
        let presets = plans.iter().filter(|plan| plan.seed == 7).count();
        for bug in BUGS {
            let tried = plans[..presets]
                .iter()
                .filter(|plan| plan.workload.as_deref() == Some(bug.preset.workload))
                .filter(|plan| plan.nemesis.as_deref() == Some(bug.preset.nemesis));
            assert_eq!(tried.count(), 1, "{}", bug.name);
        }
        assert!(plans[0].workload.is_none(), "the default run is one of them");
    }
}

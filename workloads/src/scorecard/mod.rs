//! Does the suite catch the bugs that kill real stores?
//!
//! kvnode can be built with planted bugs. The scorecard runs each of them several times: against the preset
//! that should catch it, and against the default run, which is what a user gets who has read nothing. The build
//! without bugs runs under every preset as well, and must never be accused. Each run is a program of its own,
//! stops at its first violation, and is noted in a journal as soon as it is over: a scorecard that was killed
//! goes on where it stopped.
//!
//! What it counts, and what it does not: a bug is *caught* when the verdict is Illegal, by a proved violation of
//! the history, by replicas that differ, or by a node that died. A run that is Unknown has caught nothing.

mod catalogue;
mod page;
mod plot;
mod table;
mod tally;
mod trial;

use std::fs;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

pub use catalogue::{BUGS, Bug, Preset, QUICK};
pub use table::{Figures, Row, Table};
pub use trial::{Against, Plan, Trial};

pub use crate::campaign::Verdict;

use crate::binary::{Binary, sha256};
use crate::campaign::{Attempts, Journal};
use crate::cli::ScorecardArgs;
use crate::store::write_whole;
use crate::system::System;
use tally::Tally;

/// How long a run against its preset may last, in seconds.
const PRESET_S: u64 = 60;
/// How long the default run lasts, in seconds.
const DEFAULT_S: u64 = 30;
/// How long a run of the quick form may last, in seconds.
const QUICK_S: u64 = 20;

/// What the trials of one journal have in common; its first line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Edition {
    /// SHA-256 of the node with planted bugs.
    planted: String,
    /// SHA-256 of the node without.
    clean: String,
    /// SHA-256 of the program that ran them.
    runner: String,
}

/// Runs the scorecard; returns the exit code: 0 when the figures are met, 1 when they are missed, 2 when somebody ended it.
///
/// # Errors
/// When nothing can be run, or the folder cannot be written.
pub fn run(args: &ScorecardArgs) -> Result<u8> {
    let begun = Instant::now();
    let plans = plans(args)?;
    let system = System::find("kvnode")?;
    let clean = Binary::provide(&system, None)?;
    let runner = std::env::current_exe().context("where is this program?")?;
    let runner_sha256 = sha256(&runner)?;
    fs::create_dir_all(&args.out).with_context(|| format!("{}", args.out.display()))?;
    let mut tally = Tally::open(&args.out, &clean.sha256, &runner_sha256)?;
    if let Some(count) = args.clean_runs {
        return add_up(args, count, begun, &mut tally);
    }
    let planted = Binary::provide(&system, Some(BUGS[0].name))?;
    let path = args.out.join("trials.jsonl");
    if args.fresh {
        Journal::<Trial>::begin_anew(&path)?;
    }
    let edition = Edition {
        planted: planted.sha256,
        clean: clean.sha256,
        runner: runner_sha256,
    };
    let mut journal = Journal::open(&path, &edition)?;
    let attempts = Attempts::new()?;
    let store = args.out.join("runs");
    let mut left_out = 0;
    for (number, plan) in plans.iter().enumerate() {
        if journal.entries().iter().any(|trial: &Trial| trial.plan == *plan) {
            continue;
        }
        if args
            .budget
            .is_some_and(|budget| begun.elapsed() + plan.at_most() > budget)
        {
            left_out += 1;
            continue;
        }
        let Some(trial) = plan.run(&attempts, &store)? else {
            nemesis::say!("stopped; the same command goes on");
            return Ok(2);
        };
        nemesis::say!("{:>4}/{}  {}", number + 1, plans.len(), trial);
        if trial.as_wanted() {
            tidy(&store);
        }
        tally.add(&trial)?;
        journal.keep(trial)?;
        write(&args.out, &Table::of(journal.entries()))?;
    }
    let table = Table::of(journal.entries());
    write(&args.out, &table)?;
    nemesis::say!("\n{}", table.markdown());
    if left_out > 0 {
        nemesis::say!(
            "{left_out} runs were left for another time: the budget is used up; the same command goes on"
        );
    }
    nemesis::say!("report: {}", args.out.join("scorecard.html").display());
    let complaints = if args.quick {
        table.missed()
    } else {
        table.figures().complaints()
    };
    complaints
        .iter()
        .for_each(|complaint| nemesis::say!("MISSED: {complaint}"));
    Ok(u8::from(!complaints.is_empty()))
}

/// Runs the clean build so many times more; returns 0 when none of all runs so far was accused and none of today's
/// could not say, 2 when somebody ended it.
fn add_up(args: &ScorecardArgs, count: u32, begun: Instant, tally: &mut Tally) -> Result<u8> {
    let store = args.out.join("runs");
    let plans = tally::plans(count, args.first_seed, DEFAULT_S);
    let attempts = Attempts::new()?;
    let mut doubtful = 0;
    for (number, plan) in plans.iter().enumerate() {
        if tally.has(plan) {
            continue;
        }
        if args
            .budget
            .is_some_and(|budget| begun.elapsed() + plan.at_most() > budget)
        {
            nemesis::say!(
                "{} runs were left for another time: the budget is used up; the same command goes on",
                plans.len() - number
            );
            break;
        }
        let Some(trial) = plan.run(&attempts, &store)? else {
            nemesis::say!("stopped; the same command goes on");
            return Ok(2);
        };
        nemesis::say!("{:>4}/{}  {}", number + 1, plans.len(), trial);
        if trial.as_wanted() {
            tidy(&store);
        }
        doubtful += u32::from(!trial.as_wanted());
        tally.add(&trial)?;
    }
    nemesis::say!("\n{}", tally.markdown());
    let (_, alarms, _) = tally.counts();
    Ok(u8::from(alarms > 0 || doubtful > 0))
}

/// Every run, those first that say most: one seed of everything before the next seed of anything.
fn plans(args: &ScorecardArgs) -> Result<Vec<Plan>> {
    let mut bugs: Vec<&Bug> = Vec::new();
    for name in &args.bugs {
        bugs.push(
            Bug::named(name)
                .with_context(|| format!("no planted bug is called `{name}`; see `kvnode bugs`"))?,
        );
    }
    if bugs.is_empty() {
        let wanted = |bug: &&Bug| !args.quick || QUICK.contains(&bug.name);
        bugs = BUGS.iter().filter(wanted).collect();
    }
    let seeds = if args.quick { 1 } else { args.seeds };
    let against = match (&args.against[..], args.quick) {
        ([], true) => vec![Against::Preset],
        ([], false) => vec![Against::Preset, Against::Default, Against::Clean],
        (some, _) => some.to_vec(),
    };
    let mut presets: Vec<Preset> = bugs.iter().map(|bug| bug.preset).collect();
    presets.sort_by_key(|preset| (preset.workload, preset.nemesis));
    presets.dedup();
    let mut plans = Vec::new();
    for seed in (0..u64::from(seeds)).map(|more| args.first_seed + more) {
        for against in &against {
            let plan = |bug: Option<&str>, preset: Option<Preset>, seconds| Plan {
                against: *against,
                bug: bug.map(str::to_owned),
                workload: preset.map(|preset| preset.workload.to_owned()),
                nemesis: preset.map(|preset| preset.nemesis.to_owned()),
                at_once: preset.map(|preset| preset.at_once),
                nodes: preset.and_then(|preset| preset.nodes),
                seed,
                seconds,
            };
            match against {
                Against::Preset => {
                    let seconds = if args.quick { QUICK_S } else { PRESET_S };
                    plans.extend(
                        bugs.iter()
                            .map(|bug| plan(Some(bug.name), Some(bug.preset), seconds)),
                    );
                }
                Against::Default => {
                    plans.extend(bugs.iter().map(|bug| plan(Some(bug.name), None, DEFAULT_S)));
                }
                Against::Clean => {
                    plans.push(plan(None, None, DEFAULT_S));
                    plans.extend(presets.iter().map(|preset| plan(None, Some(*preset), DEFAULT_S)));
                }
            }
        }
    }
    if plans.is_empty() {
        bail!("nothing to run: --seeds must be at least 1");
    }
    Ok(plans)
}

fn write(out: &Path, table: &Table) -> Result<()> {
    write_whole(&out.join("scorecard.md"), table.markdown().as_bytes())?;
    write_whole(&out.join("scorecard.json"), &serde_json::to_vec_pretty(table)?)?;
    write_whole(&out.join("scorecard.svg"), plot::svg(table).as_bytes())?;
    write_whole(&out.join("scorecard.html"), page::html(table).as_bytes())
}

/// Removes the folder of the last run: one that went as it must is not needed, and hundreds fill a disk.
fn tidy(store: &Path) {
    let latest = store.join("latest");
    if let Ok(folder) = fs::canonicalize(&latest) {
        // What cannot be removed stays; the next scorecard is none the worse for it.
        let _ = fs::remove_file(&latest);
        let _ = fs::remove_dir_all(folder);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{Cli, Command};
    use clap::Parser;
    use std::collections::BTreeSet;
    use std::time::Duration;

    fn args(words: &[&str]) -> ScorecardArgs {
        let words = [&["workloads", "scorecard"], words].concat();
        match Cli::try_parse_from(words).expect("understood").command {
            Some(Command::Scorecard(args)) => args,
            _ => panic!("a scorecard"),
        }
    }

    #[test]
    fn every_bug_runs_against_its_preset_and_the_default_and_the_clean_build_under_all() {
        let plans = plans(&args(&["--seeds", "3"])).expect("plans");
        let distinct: BTreeSet<&Plan> = plans.iter().collect();
        assert_eq!(distinct.len(), plans.len());
        for bug in BUGS {
            for against in [Against::Preset, Against::Default] {
                let count = plans
                    .iter()
                    .filter(|plan| plan.against == against && plan.bug.as_deref() == Some(bug.name))
                    .count();
                assert_eq!(count, 3, "{}", bug.name);
            }
            let clean = plans.iter().any(|plan| {
                plan.bug.is_none()
                    && plan.workload.as_deref() == Some(bug.preset.workload)
                    && plan.nemesis.as_deref() == Some(bug.preset.nemesis)
            });
            assert!(clean, "{}: its preset is tried without it", bug.name);
        }
    }

    #[test]
    fn the_quick_form_fits_its_three_minutes() {
        let plans = plans(&args(&["--quick"])).expect("plans");
        assert_eq!(plans.len(), QUICK.len());
        let most: Duration = plans.iter().map(Plan::at_most).sum();
        assert!(most <= Duration::from_secs(180), "{most:?}");
    }

    #[test]
    fn an_unknown_bug_is_named() {
        let refused = plans(&args(&["--bugs", "no-such"]))
            .expect_err("refused")
            .to_string();
        assert!(refused.contains("no-such"), "{refused}");
    }
}

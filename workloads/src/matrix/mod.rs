//! Systems crossed with workloads crossed with faults: which combinations hold?
//!
//! A combination that makes no sense here, since the store's file does not say how to speak the workload or the
//! store is not installed, is listed with the reason. It is skipped, never passed.

mod table;

use anyhow::{Context, Result, bail};

use crate::binary::Binary;
use crate::campaign::{Campaign, Edition, Tally, Task, Trial};
use crate::cli::{ClusterKind, MatrixArgs, RunArgs};
use crate::config::{RunConfig, unspeakable};
use crate::soak::{failures, folder, remainder, seeds, settings};
use crate::store::write_whole;
use crate::system::System;
use crate::workload::{WORKLOADS, Workload};
use table::{Cell, Table};

/// One combination.
struct Combination {
    system: String,
    workload: &'static Workload,
    nemesis: String,
    /// Its run, or why it makes no sense.
    run: Result<RunConfig, String>,
}

/// What is to be run, checked.
pub struct Matrix(Vec<Combination>);

impl Matrix {
    /// Checks everything that was typed before anything is run.
    ///
    /// # Errors
    /// When a system, a workload or a fault is not known, or no combination makes sense.
    pub fn new(args: &MatrixArgs) -> Result<Self> {
        let run = &args.many.run;
        if run.plan.is_some() {
            bail!("--plan is for one run: leave it away, or give it to `soak`");
        }
        let systems = match &args.systems[..] {
            [] => vec![run.system.clone()],
            some => some.to_vec(),
        };
        let workloads = match &args.workloads[..] {
            [] => WORKLOADS.to_vec(),
            some => some.to_vec(),
        };
        let nemeses: Vec<Vec<String>> = match &args.nemeses[..] {
            [] => vec![run.nemesis.clone()],
            some => some
                .iter()
                .map(|faults| faults.split('+').map(str::to_owned).collect())
                .collect(),
        };
        let mut combinations = Vec::new();
        for name in &systems {
            let system = System::find(name)?;
            let missing = (run.cluster == ClusterKind::Lab)
                .then(|| Binary::provide(&system, run.bug.as_deref()).err())
                .flatten()
                .map(|error| format!("{error:#}"));
            for workload in &workloads {
                for nemesis in &nemeses {
                    let args = RunArgs {
                        system: name.clone(),
                        workload,
                        nemesis: nemesis.clone(),
                        ..run.clone()
                    };
                    let config = match unspeakable(workload, &system).or_else(|| missing.clone()) {
                        Some(why) => Err(why),
                        None => Ok(RunConfig::new(&args)?),
                    };
                    combinations.push(Combination {
                        system: system.name.clone(),
                        workload,
                        nemesis: match &nemesis[..] {
                            [] => "usual".to_owned(),
                            some => some.join("+"),
                        },
                        run: config,
                    });
                }
            }
        }
        if let Some(why) = combinations.iter().find_map(|one| one.run.as_ref().err())
            && combinations.iter().all(|one| one.run.is_err())
        {
            bail!("no combination makes sense; the first: {why}");
        }
        Ok(Self(combinations))
    }

    /// Runs it; returns the worst verdict as an exit code (see [`Tally::exit_code`]).
    ///
    /// # Errors
    /// When nothing can be run, or the folder cannot be written.
    pub fn run(&self, args: &MatrixArgs) -> Result<u8> {
        let configs: Vec<RunConfig> = self.0.iter().filter_map(|one| one.run.clone().ok()).collect();
        let common: Vec<String> = configs.iter().flat_map(settings).collect();
        let out = folder(&args.many, "matrix", "matrix", &common);
        let edition = Edition::of(common, &configs)?;
        // One seed of everything before the next seed of anything.
        let seeds = seeds(&args.many, args.runs);
        let tasks: Vec<Task> = seeds.clone().flat_map(|seed| self.tasks(seed)).collect();
        let mut campaign = Campaign::open(&args.many, &out, &edition)?;
        let ending = campaign.carry_out(&tasks)?;
        let cells = self.0.iter().map(|one| {
            let tasks = seeds.clone().filter_map(|seed| one.task(seed));
            let trials: Vec<&Trial> = tasks.filter_map(|task| campaign.trial(&task)).collect();
            Cell {
                system: one.system.clone(),
                workload: one.workload.name,
                nemesis: one.nemesis.clone(),
                skipped: one.run.as_ref().err().cloned(),
                tally: Tally::of(trials.iter().copied()),
                wanted: if one.run.is_ok() { args.runs as usize } else { 0 },
                failures: failures(&campaign, &trials),
            }
        });
        let table = Table {
            cells: cells.collect(),
        };
        let text = table.markdown();
        nemesis::say!("\n{text}");
        nemesis::say!("{}", remainder(&ending, &out));
        write_whole(&out.join("matrix.md"), text.as_bytes())?;
        write_whole(
            &out.join("matrix.json"),
            &serde_json::to_vec_pretty(&table).context("matrix.json")?,
        )?;
        let all: Vec<&Trial> = tasks.iter().filter_map(|task| campaign.trial(task)).collect();
        Ok(Tally::of(all).exit_code(&ending))
    }

    fn tasks(&self, seed: u64) -> impl Iterator<Item = Task> {
        self.0.iter().filter_map(move |one| one.task(seed))
    }
}

impl Combination {
    fn task(&self, seed: u64) -> Option<Task> {
        let config = self.run.as_ref().ok()?;
        Some(Task {
            name: format!(
                "{} {} {} seed {seed}",
                self.system, self.workload.name, self.nemesis
            ),
            config: RunConfig {
                seed,
                ..config.clone()
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{Cli, Command};
    use clap::Parser;

    fn matrix(words: &[&str]) -> Result<Matrix> {
        let words = [&["workloads", "matrix", "--cluster", "docker"], words].concat();
        match Cli::try_parse_from(words).expect("understood").command {
            Some(Command::Matrix(args)) => Matrix::new(&args),
            _ => panic!("a matrix"),
        }
    }

    #[test]
    fn everything_is_crossed_and_what_makes_no_sense_says_why() {
        let matrix =
            matrix(&["--workloads", "register,append", "--nemeses", "none,kill+pause"]).expect("a matrix");
        let names: Vec<String> = matrix.tasks(3).map(|task| task.name).collect();
        assert_eq!(
            names,
            [
                "kvnode register none seed 3",
                "kvnode register kill+pause seed 3",
                "kvnode append none seed 3",
                "kvnode append kill+pause seed 3"
            ]
        );
        let last = matrix.tasks(3).last().expect("four").config;
        assert_eq!(
            (last.seed, last.nemesis),
            (3, vec!["kill".to_owned(), "pause".to_owned()])
        );
    }

    #[test]
    fn what_is_not_known_is_refused_before_anything_is_run() {
        for (words, expected) in [
            (&["--systems", "no-such"][..], "no-such"),
            (&["--nemeses", "kill,earthquake"], "unknown fault `earthquake`"),
        ] {
            let refused = matrix(words).map(|_| ()).expect_err("refused").to_string();
            assert!(refused.contains(expected), "{refused}");
        }
    }
}

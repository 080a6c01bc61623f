//! The same test again and again, seeds counted up: what one run misses, a hundred may find.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::campaign::{Campaign, Edition, Ending, Tally, Task, Trial, Verdict};
use crate::cli::{ManyArgs, SoakArgs};
use crate::config::RunConfig;
use crate::reduce::Reduced;
use crate::store::write_whole;

/// The first seed where none is given: the same command must mean the same runs when it goes on.
pub(crate) const FIRST_SEED: u64 = 1;

/// Runs the seeds; returns the worst verdict as an exit code (see [`Tally::exit_code`]).
///
/// # Errors
/// When nothing can be run, or the folder cannot be written.
pub fn run(config: RunConfig, args: &SoakArgs) -> Result<u8> {
    let settings = settings(&config);
    let out = folder(&args.many, "soak", &config.test_name(), &settings);
    let edition = Edition::of(settings, std::slice::from_ref(&config))?;
    let tasks: Vec<Task> = seeds(&args.many, args.runs)
        .map(|seed| Task {
            name: format!("seed {seed}"),
            config: RunConfig {
                seed,
                ..config.clone()
            },
        })
        .collect();
    let mut campaign = Campaign::open(&args.many, &out, &edition)?;
    let ending = campaign.carry_out(&tasks)?;
    let trials: Vec<&Trial> = tasks.iter().filter_map(|task| campaign.trial(task)).collect();
    let tally = Tally::of(trials.iter().copied());
    nemesis::say!("\n{}", tally.line());
    let failures = failures(&campaign, &trials);
    failures.iter().for_each(|failure| nemesis::say!("{failure}"));
    nemesis::say!("{}", remainder(&ending, &out));
    let summary = Summary {
        test: config.test_name(),
        tally: &tally,
        left_out: tasks.len() - trials.len(),
        failures,
    };
    let json = serde_json::to_vec_pretty(&summary).context("soak.json")?;
    write_whole(&out.join("soak.json"), &json)?;
    write_whole(&out.join("soak.md"), summary.markdown().as_bytes())?;
    Ok(tally.exit_code(&ending))
}

/// The settings of a run, all but the seed.
pub(crate) fn settings(config: &RunConfig) -> Vec<String> {
    let mut words = RunConfig {
        seed: 0,
        ..config.clone()
    }
    .arguments();
    // A plan may change while its name stays.
    words.extend(config.plan.iter().map(|(_, plan)| plan.to_json()));
    words
}

/// Where runs with these settings are kept: named, or in the store under a name of their own.
pub(crate) fn folder(args: &ManyArgs, kind: &str, name: &str, settings: &[String]) -> PathBuf {
    let hash = Sha256::digest(settings.join("\0").as_bytes());
    let mark: String = hash.iter().take(4).map(|byte| format!("{byte:02x}")).collect();
    args.out
        .clone()
        .unwrap_or_else(|| args.run.store.join(kind).join(format!("{name}-{mark}")))
}

pub(crate) fn seeds(args: &ManyArgs, runs: u32) -> impl Iterator<Item = u64> + Clone {
    let first = args.run.seed.unwrap_or(FIRST_SEED);
    (0..u64::from(runs)).map(move |more| first.saturating_add(more))
}

/// What is left to do, and where everything is.
pub(crate) fn remainder(ending: &Ending, out: &Path) -> String {
    let more = match ending {
        Ending {
            interrupted: true, ..
        } => "stopped; the same command goes on. ".to_owned(),
        Ending { left_out: 0, .. } => String::new(),
        Ending { left_out, .. } => format!("left out: {left_out}; the same command goes on. "),
    };
    format!("{more}tally, state and runs: {}", out.display())
}

/// A run that did not pass.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Failure {
    name: String,
    verdict: Verdict,
    anomaly: Option<String>,
    sentence: String,
    folder: Option<PathBuf>,
    again: String,
    reduced: Option<Reduced>,
}

/// Those of the trials that did not pass.
pub(crate) fn failures(campaign: &Campaign<'_>, trials: &[&Trial]) -> Vec<Failure> {
    let failed = trials.iter().filter(|trial| trial.verdict != Verdict::Valid);
    failed
        .map(|trial| Failure {
            name: format!("seed {}", trial.seed),
            verdict: trial.verdict.clone(),
            anomaly: trial.anomaly.clone(),
            sentence: trial.sentence.clone(),
            folder: campaign.folder(trial),
            again: trial.again.clone(),
            reduced: campaign.reduced(trial),
        })
        .collect()
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "  {}: {}\n           again: {}",
            self.name, self.sentence, self.again
        )?;
        if let Some(folder) = &self.folder {
            write!(f, "\n           run:   {}", folder.display())?;
        }
        if let Some(reduced) = &self.reduced {
            write!(f, "\n           {reduced}")?;
        }
        Ok(())
    }
}

/// `soak.json`.
#[derive(Debug, Serialize)]
struct Summary<'a> {
    test: String,
    tally: &'a Tally,
    /// Seeds that were not run, or not yet.
    left_out: usize,
    failures: Vec<Failure>,
}

impl Summary<'_> {
    fn markdown(&self) -> String {
        let mut text = format!("### {}: {}\n", self.test, self.tally.line());
        if self.left_out > 0 {
            let _ = writeln!(text, "\n{} seeds were not run.", self.left_out);
        }
        for failure in &self.failures {
            let _ = write!(
                text,
                "\n- **{}**: {}\n\n  ```sh\n  {}\n  ```\n",
                failure.name,
                crate::report::markdown(&failure.sentence),
                failure.again
            );
            if let Some(reduced) = failure.reduced.as_ref().filter(|reduced| reduced.failed > 0) {
                let _ = write!(
                    text,
                    "\n  Reduced to {}, which failed {} of {} times:\n\n  ```sh\n  {}\n  ```\n",
                    reduced.to, reduced.failed, reduced.tries, reduced.again
                );
            }
        }
        text
    }
}

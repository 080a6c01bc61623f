//! Makes the runs of a list that are not made yet.

use std::collections::BTreeSet;
use std::fs;
use std::io::{IsTerminal, stderr, stdout};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use indicatif::{ProgressBar, ProgressStyle};
use serde::{Deserialize, Serialize};

use super::attempts::bound;
use super::tally::span;
use super::{Attempts, Edition, Journal, Verdict, keep};
use crate::cli::ManyArgs;
use crate::config::RunConfig;
use crate::reduce::{self, Reduced};

/// What a run takes beside its load, by experience; for budgets.
const AROUND: Duration = Duration::from_secs(15);

/// A run to be made.
#[derive(Debug, Clone)]
pub struct Task {
    /// What people call it: `seed 7`.
    pub name: String,
    /// The run.
    pub config: RunConfig,
}

/// A run that was made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Trial {
    /// The arguments of `workloads`; what tells one run from another.
    pub arguments: Vec<String>,
    /// The seed.
    pub seed: u64,
    /// What came of it.
    pub verdict: Verdict,
    /// What the violation was called.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub anomaly: Option<String>,
    /// What was said of it.
    pub sentence: String,
    /// How long the load had lasted when it was found, in seconds; where nothing was found, how long it lasted.
    pub load_s: f64,
    /// How many operations the history has.
    pub operations: u64,
    /// How long the whole run took, start and end of the cluster included, in seconds.
    pub wall_s: f64,
    /// The command that repeats the run.
    pub again: String,
    /// Its folder, from that of all runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub folder: Option<PathBuf>,
}

/// How a list of runs ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Ending {
    /// Runs that did not fit into the budget, or came after the first violation where that was to be the last.
    pub left_out: usize,
    /// Somebody asked us to end.
    pub interrupted: bool,
}

/// A list of runs under way.
#[derive(Debug)]
pub struct Campaign<'a> {
    args: &'a ManyArgs,
    out: &'a Path,
    runs: PathBuf,
    journal: Journal<Trial>,
    attempts: Attempts,
    begun: Instant,
}

impl<'a> Campaign<'a> {
    /// Opens or begins what `out` holds; what a kill cut short there is removed.
    ///
    /// # Errors
    /// When the folder cannot be read or written, is in use, or holds runs of another edition.
    pub fn open(args: &'a ManyArgs, out: &'a Path, edition: &Edition) -> Result<Self> {
        let runs = out.join("runs");
        fs::create_dir_all(&runs)
            .with_context(|| format!("{} (choose another with --out)", out.display()))?;
        let runs = runs.canonicalize().with_context(|| out.display().to_string())?;
        let path = out.join("trials.jsonl");
        if args.fresh {
            Journal::<Trial>::begin_anew(&path)?;
        }
        let journal = Journal::open(&path, edition)?;
        let campaign = Self {
            args,
            out,
            runs,
            journal,
            attempts: Attempts::new()?,
            begun: Instant::now(),
        };
        let known: BTreeSet<PathBuf> = campaign
            .journal
            .entries()
            .iter()
            .filter_map(|trial| campaign.folder(trial))
            .collect();
        keep::sweep(&campaign.runs, &known);
        Ok(campaign)
    }

    /// The trial of this task, where it was made.
    #[must_use]
    pub fn trial(&self, task: &Task) -> Option<&Trial> {
        let arguments = task.config.arguments();
        self.journal
            .entries()
            .iter()
            .find(|trial| trial.arguments == arguments)
    }

    /// The folder of a trial.
    #[must_use]
    pub fn folder(&self, trial: &Trial) -> Option<PathBuf> {
        trial.folder.as_ref().map(|folder| self.runs.join(folder))
    }

    /// What a trial was reduced to.
    #[must_use]
    pub fn reduced(&self, trial: &Trial) -> Option<Reduced> {
        Reduced::read(&self.folder(trial)?)
    }

    /// Makes what is not made, in order; prints a line for each run.
    ///
    /// # Errors
    /// When runs cannot be started or noted. A run without a verdict is none: it is noted as such.
    pub fn carry_out(&mut self, tasks: &[Task]) -> Result<Ending> {
        let mut ending = Ending::default();
        let made = tasks.iter().filter(|task| self.trial(task).is_some()).count();
        if made > 0 {
            nemesis::say!(
                "{made} of {} runs were made before; going on ({})",
                tasks.len(),
                self.out.display()
            );
        }
        let width = tasks.iter().map(|task| task.name.len()).max().unwrap_or(0);
        let mut found = tasks
            .iter()
            .filter_map(|task| self.trial(task))
            .any(|trial| trial.verdict == Verdict::Illegal);
        for (number, task) in (1..).zip(tasks) {
            if ending.interrupted {
                break;
            }
            if let Some(trial) = self.trial(task).cloned() {
                self.reduce(task, &trial, &mut ending)?;
                continue;
            }
            let longest = task.config.time_limit + AROUND;
            let late = self
                .args
                .budget
                .is_some_and(|budget| self.begun.elapsed() + longest > budget);
            if late || self.args.stop_on_first && found {
                ending.left_out += 1;
                continue;
            }
            let head = format!("{number:>5}/{}  {:width$}", tasks.len(), task.name);
            let Some(trial) = self.run(task, &head)? else {
                ending.interrupted = true;
                break;
            };
            nemesis::say!("{head}  {}", trial.line());
            if trial.verdict != Verdict::Valid {
                nemesis::say!("{:11}again: {}", "", trial.again);
            }
            found |= trial.verdict == Verdict::Illegal;
            self.journal.keep(trial.clone())?;
            self.lighten(&trial);
            self.reduce(task, &trial, &mut ending)?;
        }
        Ok(ending)
    }

    /// Makes one run; none where it was interrupted.
    fn run(&self, task: &Task, head: &str) -> Result<Option<Trial>> {
        let arguments = task.config.arguments();
        let progress = progress(head);
        let bound = bound(task.config.time_limit, task.config.check_limit);
        let ran = self.attempts.run(&arguments, &self.runs, bound, |line| {
            progress.set_message(line.trim().to_owned());
        });
        progress.finish_and_clear();
        let ran = ran?;
        if self.attempts.interrupted() {
            if let Some(folder) = &ran.folder {
                keep::forget(&self.runs, folder);
            }
            return Ok(None);
        }
        let verdict = ran.verdict();
        let found = ran.results;
        Ok(Some(Trial {
            arguments,
            seed: task.config.seed,
            anomaly: found
                .as_ref()
                .filter(|_| verdict == Verdict::Illegal)
                .and_then(super::Results::anomaly),
            verdict,
            sentence: found
                .as_ref()
                .map_or(ran.last_words, |found| found.sentence.clone()),
            load_s: found.as_ref().map_or(0.0, super::Results::lasted),
            operations: found.as_ref().map_or(0, super::Results::operations),
            wall_s: ran.took.as_secs_f64(),
            again: task.config.again(),
            folder: ran
                .folder
                .and_then(|folder| folder.strip_prefix(&self.runs).map(Path::to_owned).ok()),
        }))
    }

    /// Of valid runs only what is small stays, and that of the last few.
    fn lighten(&self, trial: &Trial) {
        if self.args.keep_all || trial.verdict != Verdict::Valid {
            return;
        }
        if let Some(folder) = self.folder(trial) {
            keep::lighten(&folder);
        }
        let valid: Vec<PathBuf> = self
            .journal
            .entries()
            .iter()
            .filter(|trial| trial.verdict == Verdict::Valid)
            .filter_map(|trial| self.folder(trial))
            .collect();
        keep::thin_out(&valid);
    }

    /// Reduces a trial that failed, where that is wanted and was not done: each, or the first, as far as the budget of
    /// the whole goes.
    fn reduce(&self, task: &Task, trial: &Trial, ending: &mut Ending) -> Result<()> {
        if self.args.no_reduce || trial.verdict != Verdict::Illegal || ending.interrupted {
            return Ok(());
        }
        let mut reduction = self.args.reduction.clone();
        if !self.args.reduce {
            if !is_first_violation(self.journal.entries(), trial) {
                return Ok(());
            }
            if let Some(budget) = self.args.budget {
                let left = budget.saturating_sub(self.begun.elapsed());
                reduction.reduce_budget = reduction.reduce_budget.min(left);
            }
            if reduction.reduce_budget.is_zero() {
                return Ok(());
            }
        }
        let Some(folder) = self
            .folder(trial)
            .filter(|folder| Reduced::read(folder).is_none())
        else {
            return Ok(());
        };
        match reduce::reduce(&folder, &task.config, &reduction, &self.attempts)? {
            Some(reduced) => nemesis::say!("{:11}{reduced}", ""),
            None => ending.interrupted = true,
        }
        Ok(())
    }
}

impl Trial {
    /// The trial in a line.
    #[must_use]
    pub fn line(&self) -> String {
        let word = match &self.verdict {
            Verdict::Valid => "valid".to_owned(),
            Verdict::Illegal => format!("ILLEGAL ({})", self.anomaly.as_deref().unwrap_or("no name")),
            Verdict::Unknown(doubts) => {
                format!(
                    "unknown: {}",
                    doubts.first().map_or("no reason given", String::as_str)
                )
            }
            Verdict::Broken(why) => return format!("no verdict: {why}"),
        };
        format!("{word}  {} operations, {}", self.operations, span(self.wall_s))
    }
}

/// Whether no trial before this one was illegal.
fn is_first_violation(trials: &[Trial], trial: &Trial) -> bool {
    let first = trials.iter().find(|other| other.verdict == Verdict::Illegal);
    first.is_none_or(|first| first.arguments == trial.arguments)
}

/// What moves on a terminal while a run goes on; nothing in a pipe.
pub(crate) fn progress(head: &str) -> ProgressBar {
    if !(stdout().is_terminal() && stderr().is_terminal()) {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{prefix}  {spinner} {elapsed} {wide_msg:.dim}");
    let bar = ProgressBar::new_spinner()
        .with_style(style.expect("a valid template"))
        .with_prefix(head.to_owned());
    bar.enable_steady_tick(Duration::from_millis(120));
    bar
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A trial that ended so.
    pub(crate) fn trial(seed: u64, verdict: Verdict) -> Trial {
        Trial {
            arguments: vec!["run".into(), "--seed".into(), seed.to_string()],
            seed,
            anomaly: (verdict == Verdict::Illegal).then(|| "stale-read".to_owned()),
            verdict,
            sentence: "said".into(),
            load_s: 1.5,
            operations: 99,
            wall_s: 4.0,
            again: "again".into(),
            folder: Some("t/1".into()),
        }
    }

    #[test]
    fn the_first_violation_is_the_first_that_was_noted() {
        let [valid, one, two] = [
            trial(1, Verdict::Valid),
            trial(2, Verdict::Illegal),
            trial(3, Verdict::Illegal),
        ];
        let noted = [valid.clone(), one.clone(), two.clone()];
        assert!(is_first_violation(&noted, &one) && !is_first_violation(&noted, &two));
        assert!(is_first_violation(&[valid], &two));
    }

    #[test]
    fn a_trial_is_kept_as_it_was() {
        let unknown = Verdict::Unknown(vec!["too few".into()]);
        for verdict in [
            Verdict::Illegal,
            Verdict::Valid,
            unknown,
            Verdict::Broken("no TUN".into()),
        ] {
            let trial = trial(3, verdict);
            let line = serde_json::to_string(&trial).expect("plain data");
            assert_eq!(serde_json::from_str::<Trial>(&line).expect("the same"), trial);
        }
    }
}

//! From a run that failed to a smaller one that still does: fewer faults, keys and clients, and shorter.
//!
//! Everything is found by running it. A run's load and faults follow from its seed, but threads, sockets and
//! disks do not, so something smaller that passes once may fail the next time: it is run several times before it
//! counts as passing ([`ReductionArgs::tries`]). What is left is measured: it failed so often of so many tries.
//!
//! Any violation counts as failing, not only the one that was found first: a planted bug shows now as a stale
//! read, now as a lost write.

mod shrink;

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Parser;
use serde::{Deserialize, Serialize};

pub use shrink::{Answer, Candidate, Shrunk, shrink};

use crate::campaign::{Attempts, Edition, Journal, Results, Verdict, bound, forget, progress};
use crate::cli::{Cli, Command, ReduceArgs, ReductionArgs};
use crate::config::RunConfig;
use crate::store::write_whole;

/// What a run takes beside its load, by experience; for budgets.
const AROUND: Duration = Duration::from_secs(10);
/// The folder in that of the run.
const FOLDER: &str = "reduced";
/// What it came to, there.
const RESULT: &str = "reduced.json";

/// What a failing run was reduced to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Reduced {
    /// How large the run was.
    pub from: Size,
    /// How large it is now.
    pub to: Size,
    /// How often it failed, of `tries`; 0 where the run itself did not fail again.
    pub failed: usize,
    /// How often it was run as it is now.
    pub tries: usize,
    /// What its violations were called.
    pub anomalies: Vec<String>,
    /// How many runs it took to find.
    pub runs: usize,
    /// Whether everything smaller was tried, or the budget was used up before.
    pub complete: bool,
    /// The file with its faults.
    pub plan: PathBuf,
    /// The command that runs it.
    pub again: String,
}

/// How large a run is.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Size {
    /// Faults.
    pub faults: usize,
    /// Keys in use at any time.
    pub keys: usize,
    /// Clients.
    pub clients: usize,
    /// How long the load lasts, in seconds.
    pub time_limit_s: f64,
}

/// One run of a candidate.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Tried {
    candidate: Candidate,
    /// Whether it was run to see how often the result fails.
    measured: bool,
    /// When the violation was found, in seconds of the load; none where none was.
    failed_after_s: Option<f64>,
    anomaly: Option<String>,
}

/// A run that failed.
#[derive(Debug)]
pub struct Failing {
    folder: PathBuf,
    config: RunConfig,
}

impl Failing {
    /// The run that is to be reduced.
    ///
    /// # Errors
    /// When there is none, it did not fail, or its settings cannot be read.
    pub fn open(args: &ReduceArgs) -> Result<Self> {
        let shown = args.run.display();
        let folder = args
            .run
            .canonicalize()
            .with_context(|| format!("no run is at {shown}"))?;
        let config = config_of(&folder)?;
        let valid = valid_of(&folder)?;
        if valid != serde_json::Value::Bool(false) {
            bail!("{shown}: valid is {valid}; only a run that was found illegal can be reduced");
        }
        Ok(Self { folder, config })
    }

    /// Reduces it; returns 1 where it fails again, 2 where it does not or somebody asked us to end.
    ///
    /// # Errors
    /// When nothing can be run, or the folder cannot be written.
    pub fn reduce(&self, args: &ReduceArgs) -> Result<u8> {
        if args.fresh {
            Journal::<Tried>::begin_anew(&make(&self.folder)?.join("trials.jsonl"))?;
            let _ = fs::remove_file(self.folder.join(FOLDER).join(RESULT));
        }
        let attempts = Attempts::new()?;
        let Some(reduced) = reduce(&self.folder, &self.config, &args.reduction, &attempts)? else {
            nemesis::say!("stopped; the same command goes on");
            return Ok(2);
        };
        nemesis::say!("{reduced}");
        Ok(if reduced.failed > 0 { 1 } else { 2 })
    }
}

/// The settings of the run in `folder`.
fn config_of(folder: &Path) -> Result<RunConfig> {
    #[derive(Deserialize)]
    struct TestFile {
        arguments: Vec<String>,
    }
    let path = folder.join("test.toml");
    let shown = path.display();
    let text = fs::read_to_string(&path).with_context(|| format!("no run is there: {shown}"))?;
    let file: TestFile = toml::from_str(&text).with_context(|| format!("{shown} is of another version"))?;
    let words = [vec!["workloads".to_owned()], file.arguments].concat();
    match Cli::try_parse_from(words)
        .with_context(|| format!("{shown}: arguments"))?
        .command
    {
        Some(Command::Run(args)) => RunConfig::new(&args),
        _ => bail!("{shown}: its arguments are no run"),
    }
}

fn valid_of(folder: &Path) -> Result<serde_json::Value> {
    let path = folder.join("results.json");
    let bytes = fs::read(&path).with_context(|| format!("the run has no verdict yet: {}", path.display()))?;
    let results: serde_json::Value =
        serde_json::from_slice(&bytes).with_context(|| path.display().to_string())?;
    Ok(results["valid"].clone())
}

fn make(folder: &Path) -> Result<PathBuf> {
    let reduced = folder.join(FOLDER);
    fs::create_dir_all(&reduced).with_context(|| reduced.display().to_string())?;
    Ok(reduced)
}

/// Reduces the failing run in `folder`; none where somebody asked us to end. Goes on where it was killed.
///
/// # Errors
/// When nothing can be run, or the folder cannot be written.
pub fn reduce(
    folder: &Path,
    config: &RunConfig,
    args: &ReductionArgs,
    attempts: &Attempts,
) -> Result<Option<Reduced>> {
    let out = make(folder)?;
    let path = folder.join("plan.json");
    let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    let start = Candidate {
        plan: nemesis::plan::Plan::from_json(&text).with_context(|| path.display().to_string())?,
        keys: config.keys,
        clients: config.concurrency,
        time_limit: config.time_limit,
    };
    let edition = Edition::of(config.arguments(), std::slice::from_ref(config))?;
    let mut bench = Bench {
        config,
        args,
        attempts,
        journal: Journal::open(&out.join("trials.jsonl"), &edition)?,
        begun: Instant::now(),
        last: None,
        interrupted: false,
        out,
    };
    let first = bench.ask(&start)?;
    let shrunk = match first {
        Answer::Fails(lasted) => shrink(start.clone(), lasted, |candidate| bench.ask(candidate))?,
        Answer::Passes | Answer::Stop => Shrunk {
            best: start.clone(),
            larger: Vec::new(),
            complete: first == Answer::Passes,
        },
    };
    let mut best = &shrunk.best;
    if matches!(first, Answer::Fails(_)) {
        best = bench.settle(&shrunk)?;
    }
    if bench.interrupted {
        return Ok(None);
    }
    let plan = bench.out.join("plan.json");
    write_whole(&plan, best.plan.to_json().as_bytes())?;
    let failures = |tries: &[&Tried]| -> Vec<Tried> {
        let failed = tries.iter().filter(|tried| tried.failed_after_s.is_some());
        failed.map(|tried| Tried::clone(tried)).collect()
    };
    let mut tries = bench.tries(best, true);
    let mut failed = failures(&tries);
    if failed.is_empty() {
        // Nothing failed a second time, or nobody could look: then that it failed at all is what there is to say.
        tries.extend(bench.tries(best, false));
        failed = failures(&tries);
    }
    let mut anomalies: Vec<String> = failed.iter().filter_map(|tried| tried.anomaly.clone()).collect();
    anomalies.sort();
    anomalies.dedup();
    let reduced = Reduced {
        from: Size::of(&start),
        to: Size::of(best),
        failed: failed.len(),
        tries: tries.len(),
        anomalies,
        runs: bench.journal.entries().len(),
        complete: shrunk.complete,
        again: configured(config, best, plan.clone()).again(),
        plan,
    };
    let json = serde_json::to_vec_pretty(&reduced).context(RESULT)?;
    write_whole(&bench.out.join(RESULT), &json)?;
    Ok(Some(reduced))
}

/// Runs candidates and remembers what came of them.
struct Bench<'a> {
    config: &'a RunConfig,
    args: &'a ReductionArgs,
    attempts: &'a Attempts,
    out: PathBuf,
    journal: Journal<Tried>,
    begun: Instant,
    /// The folder of the last run that failed; it stays.
    last: Option<PathBuf>,
    interrupted: bool,
}

impl Bench<'_> {
    /// What is known of a candidate.
    fn tries(&self, candidate: &Candidate, measured: bool) -> Vec<&Tried> {
        let same = |tried: &&Tried| tried.candidate == *candidate && tried.measured == measured;
        self.journal.entries().iter().filter(same).collect()
    }

    /// Whether a candidate fails, if it does within as many tries as are allowed.
    fn ask(&mut self, candidate: &Candidate) -> Result<Answer> {
        loop {
            let known = self.tries(candidate, false);
            if let Some(after) = known.iter().find_map(|tried| tried.failed_after_s) {
                return Ok(Answer::Fails(Duration::from_secs_f64(after)));
            }
            if known.len() >= usize::from(self.args.tries) {
                return Ok(Answer::Passes);
            }
            if !self.may_go_on(candidate) || !self.try_once(candidate, false)? {
                return Ok(Answer::Stop);
            }
        }
    }

    /// The smallest that fails again. What failed once may have done so by luck, and a result that nobody sees
    /// fail is none; where not even the larger ones fail again, the smallest that ever did.
    fn settle<'s>(&mut self, shrunk: &'s Shrunk) -> Result<&'s Candidate> {
        for candidate in std::iter::once(&shrunk.best).chain(shrunk.larger.iter().rev()) {
            self.measure(candidate)?;
            let measured = self.tries(candidate, true);
            if measured.iter().any(|tried| tried.failed_after_s.is_some()) {
                return Ok(candidate);
            }
            if !self.may_go_on(candidate) {
                break;
            }
            nemesis::say!("{:11}did not fail again with {}", "", Size::of(candidate));
        }
        Ok(&shrunk.best)
    }

    /// Runs the result as often as is allowed, to see how often it fails.
    fn measure(&mut self, candidate: &Candidate) -> Result<()> {
        while self.tries(candidate, true).len() < usize::from(self.args.tries) {
            if !self.may_go_on(candidate) || !self.try_once(candidate, true)? {
                break;
            }
        }
        Ok(())
    }

    fn may_go_on(&self, candidate: &Candidate) -> bool {
        !self.interrupted && self.begun.elapsed() + candidate.time_limit + AROUND <= self.args.reduce_budget
    }

    /// Runs a candidate; false where somebody asked us to end.
    fn try_once(&mut self, candidate: &Candidate, measured: bool) -> Result<bool> {
        let plan = self.out.join("candidate.json");
        write_whole(&plan, candidate.plan.to_json().as_bytes())?;
        let config = configured(self.config, candidate, plan);
        let size = Size::of(candidate);
        let head = format!("reducing seed {}: {size}", config.seed);
        let progress = progress(&head);
        let runs = self.out.join("runs");
        fs::create_dir_all(&runs).with_context(|| runs.display().to_string())?;
        let bound = bound(config.time_limit, config.check_limit);
        let ran = self.attempts.run(&config.arguments(), &runs, bound, |line| {
            progress.set_message(line.trim().to_owned());
        });
        progress.finish_and_clear();
        let ran = ran?;
        if self.attempts.interrupted() {
            self.interrupted = true;
            ran.folder.iter().for_each(|folder| forget(&runs, folder));
            return Ok(false);
        }
        let failed = ran.verdict() == Verdict::Illegal;
        let found = ran.results.as_ref().filter(|_| failed);
        let gone = if failed {
            self.last.take()
        } else {
            ran.folder.clone()
        };
        gone.iter().for_each(|folder| forget(&runs, folder));
        if failed {
            self.last = ran.folder;
            if !measured {
                nemesis::say!("{:11}still fails with {size}", "");
            }
        }
        self.journal.keep(Tried {
            candidate: candidate.clone(),
            measured,
            failed_after_s: found.map(Results::lasted),
            anomaly: found.and_then(Results::anomaly),
        })?;
        Ok(true)
    }
}

/// The run of this size, with its faults in `plan`.
fn configured(config: &RunConfig, candidate: &Candidate, plan: PathBuf) -> RunConfig {
    let reserved: usize = config.reserve.iter().map(|reserved| reserved.clients).sum();
    RunConfig {
        // Where there are fewer clients than were reserved, each does everything.
        reserve: if reserved <= candidate.clients {
            config.reserve.clone()
        } else {
            Vec::new()
        },
        nemesis: Vec::new(),
        left_out: Vec::new(),
        families: vec![
            candidate
                .plan
                .steps
                .iter()
                .map(|step| step.fault.clone())
                .collect(),
        ],
        at_once: 1,
        plan: Some((plan, candidate.plan.clone())),
        keys: candidate.keys,
        concurrency: candidate.clients,
        time_limit: candidate.time_limit,
        ..config.clone()
    }
}

impl Size {
    fn of(candidate: &Candidate) -> Self {
        Self {
            faults: candidate.plan.steps.len(),
            keys: candidate.keys,
            clients: candidate.clients,
            time_limit_s: candidate.time_limit.as_secs_f64(),
        }
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let many =
            |number: usize, what: &str| format!("{number} {what}{}", if number == 1 { "" } else { "s" });
        write!(
            f,
            "{}, {}, {}, {} s",
            many(self.faults, "fault"),
            many(self.keys, "key"),
            many(self.clients, "client"),
            self.time_limit_s
        )
    }
}

impl fmt::Display for Reduced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.failed == 0 {
            return write!(
                f,
                "not reduced: it did not fail again in {} tries (--tries and --reduce-budget give it more)",
                self.tries
            );
        }
        write!(
            f,
            "reduced from {} to {}: failed {} of {} times",
            self.from, self.to, self.failed, self.tries
        )?;
        if !self.anomalies.is_empty() {
            write!(f, " ({})", self.anomalies.join(", "))?;
        }
        if !self.complete {
            f.write_str("; the budget was used up before everything was tried")?;
        }
        write!(f, "\n{:11}again: {}", "", self.again)
    }
}

impl Reduced {
    /// What the run in `folder` was reduced to, where it was.
    #[must_use]
    pub fn read(folder: &Path) -> Option<Self> {
        let bytes = fs::read(folder.join(FOLDER).join(RESULT)).ok()?;
        serde_json::from_slice(&bytes).ok()
    }
}

//! One run among many: started as a program of its own, read from what it leaves.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

/// What a run is tried against.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, clap::ValueEnum,
)]
#[serde(rename_all = "kebab-case")]
pub enum Against {
    /// The run that should catch the bug.
    Preset,
    /// The run that a user gets who names nothing.
    Default,
    /// The build without bugs, which must be found to be clean.
    Clean,
}

/// What is to be run.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Plan {
    /// Against what.
    pub against: Against,
    /// The planted bug; none in the clean build.
    pub bug: Option<String>,
    /// The workload; none for the default.
    pub workload: Option<String>,
    /// The faults; none for the default.
    pub nemesis: Option<String>,
    /// Most faults at once; none for the default.
    pub at_once: Option<u8>,
    /// Decides everything else.
    pub seed: u64,
    /// How long the load may last, in seconds.
    pub seconds: u64,
}

/// What came of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// It found a violation.
    Illegal,
    /// It found none.
    Valid,
    /// It cannot say, for these reasons.
    Unknown(Vec<String>),
    /// There is no verdict: the harness failed, with these last words.
    Broken(String),
}

/// A run that was.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Trial {
    /// What was run.
    #[serde(flatten)]
    pub plan: Plan,
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
    /// The machine's load average over a minute when it began: verdicts of a busy machine take longer.
    pub busy: f64,
}

impl Plan {
    /// The arguments of `workloads` that run it.
    #[must_use]
    pub fn arguments(&self) -> Vec<String> {
        let mut arguments = vec!["run".to_owned()];
        let mut option = |name: &str, value: &Option<String>| {
            if let Some(value) = value {
                arguments.extend([name.to_owned(), value.clone()]);
            }
        };
        option("--bug", &self.bug);
        option("--workload", &self.workload);
        option("--nemesis", &self.nemesis);
        option("--at-once", &self.at_once.map(|number| number.to_string()));
        option("--time-limit", &Some(format!("{}s", self.seconds)));
        option("--seed", &Some(self.seed.to_string()));
        arguments
    }

    /// Runs it with `program`, which keeps its runs in `store`, and reads what it found.
    ///
    /// # Errors
    /// When the program cannot be started, or its results cannot be read.
    pub fn run(&self, program: &Path, store: &Path) -> Result<Trial> {
        let busy = busy();
        let begun = Instant::now();
        let output = Command::new(program)
            .args(self.arguments())
            .arg("--store")
            .arg(store)
            // The nodes are built already; a run of its own must not build them again.
            .env_remove("CARGO")
            .stdin(Stdio::null())
            .output()
            .with_context(|| format!("cannot start {}", program.display()))?;
        let wall_s = begun.elapsed().as_secs_f64();
        let code = output.status.code();
        let Some(code @ 0..=2) = code else {
            let said = String::from_utf8_lossy(&output.stderr);
            let last = said.lines().rev().find(|line| !line.trim().is_empty());
            if code == Some(254) {
                bail!("{}: {}", self.arguments().join(" "), last.unwrap_or_default());
            }
            let words = last.unwrap_or("it said nothing").to_owned();
            return Ok(Trial {
                plan: self.clone(),
                verdict: Verdict::Broken(words),
                anomaly: None,
                sentence: String::new(),
                load_s: 0.0,
                operations: 0,
                wall_s,
                busy,
            });
        };
        let results = fs::read(store.join("latest/results.json")).context("the run left no results.json")?;
        let found: Results = serde_json::from_slice(&results).context("results.json")?;
        let verdict = match code {
            0 => Verdict::Valid,
            1 => Verdict::Illegal,
            _ => Verdict::Unknown(found.doubts.clone()),
        };
        Ok(Trial {
            plan: self.clone(),
            anomaly: found.anomaly().filter(|_| verdict == Verdict::Illegal),
            verdict,
            load_s: found.conduct.lasted(),
            operations: found.analysis.operations,
            sentence: found.sentence,
            wall_s,
            busy,
        })
    }

    /// How long it takes at most, by experience: the load, and what comes before and after it.
    #[must_use]
    pub fn at_most(&self) -> Duration {
        Duration::from_secs(self.seconds + 15)
    }
}

/// What of `results.json` counts here.
#[derive(Debug, Deserialize)]
struct Results {
    sentence: String,
    #[serde(default)]
    anomalies: Vec<Finding>,
    #[serde(default)]
    doubts: Vec<String>,
    analysis: Analysis,
    conduct: Conduct,
}

#[derive(Debug, Deserialize)]
struct Finding {
    kind: String,
}

#[derive(Debug, Deserialize)]
struct Analysis {
    operations: u64,
    counterexample: Option<Counterexample>,
}

#[derive(Debug, Deserialize)]
struct Counterexample {
    anomaly: String,
}

#[derive(Debug, Deserialize)]
struct Conduct {
    load_end_ns: u64,
    end_ns: u64,
    cut_short: Option<String>,
}

impl Results {
    /// The violation's name: the checker's, else that of what went wrong with the nodes.
    fn anomaly(&self) -> Option<String> {
        let checked = self.analysis.counterexample.as_ref();
        checked
            .map(|found| found.anomaly.clone())
            .or_else(|| self.anomalies.first().map(|finding| finding.kind.clone()))
    }
}

impl Conduct {
    /// When the violation was found, in seconds: while the load was on, or else at the end.
    fn lasted(&self) -> f64 {
        let nanos = if self.cut_short.is_some() {
            self.load_end_ns
        } else {
            self.end_ns
        };
        nanos as f64 / 1e9
    }
}

/// The load average over the last minute; 0 where the system does not tell.
fn busy() -> f64 {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ')
        .next()
        .and_then(|word| word.parse().ok())
        .unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    fn plan() -> Plan {
        Plan {
            against: Against::Preset,
            bug: Some("no-fsync".into()),
            workload: Some("append".into()),
            nemesis: Some("power-failure,kill".into()),
            at_once: Some(2),
            seed: 7,
            seconds: 60,
        }
    }

    #[test]
    fn a_plan_is_a_command_line_that_is_understood() {
        let plan = plan();
        let words = [vec!["workloads".to_owned()], plan.arguments()].concat();
        let cli = crate::cli::Cli::try_parse_from(words).expect("understood");
        let Some(crate::cli::Command::Run(args)) = cli.command else {
            panic!("a run")
        };
        assert_eq!(args.bug.as_deref(), Some("no-fsync"));
        assert_eq!(args.workload.name, "append");
        assert_eq!(args.nemesis, ["power-failure", "kill"]);
        assert_eq!(args.at_once, Some(2));
        assert_eq!((args.seed, args.time_limit), (Some(7), Duration::from_secs(60)));
    }

    #[test]
    fn a_trial_is_kept_as_it_was() {
        for verdict in [
            Verdict::Illegal,
            Verdict::Valid,
            Verdict::Unknown(vec!["too few".into()]),
            Verdict::Broken("no TUN".into()),
        ] {
            let trial = Trial {
                plan: plan(),
                verdict,
                anomaly: Some("lost-write".into()),
                sentence: "it is gone".into(),
                load_s: 1.5,
                operations: 99,
                wall_s: 4.0,
                busy: 0.5,
            };
            let line = serde_json::to_string(&trial).expect("plain data");
            assert_eq!(serde_json::from_str::<Trial>(&line).expect("the same"), trial);
        }
    }

    #[test]
    fn what_a_run_found_is_read_from_its_results() {
        let text = r#"{"valid": false, "sentence": "Illegal: gone", "test": "t",
            "anomalies": [{"kind": "divergence", "sentence": "n1 differs"}], "doubts": [],
            "analysis": {"valid": false, "operations": 12, "counterexample": {"anomaly": "lost-write", "sentence": "gone"}},
            "conduct": {"load_end_ns": 1500000000, "end_ns": 2500000000, "cut_short": "a violation"}}"#;
        let results: Results = serde_json::from_str(text).expect("read");
        assert_eq!(results.anomaly().as_deref(), Some("lost-write"));
        assert!((results.conduct.lasted() - 1.5).abs() < 1e-9);
    }
}

//! One run among many: started as a program of its own, read from what it leaves.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Result, bail};
use serde::{Deserialize, Serialize};

use super::catalogue::in_words;
use crate::campaign::{Attempts, Results, Verdict};

/// A run that takes so much longer than it should is hung.
const HUNG: Duration = Duration::from_secs(300);

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
    /// How many nodes; none for the default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nodes: Option<u8>,
    /// Decides everything else.
    pub seed: u64,
    /// How long the load may last, in seconds.
    pub seconds: u64,
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
        option("--nodes", &self.nodes.map(|number| number.to_string()));
        option("--time-limit", &Some(format!("{}s", self.seconds)));
        option("--seed", &Some(self.seed.to_string()));
        arguments
    }

    /// What it is run against, in words.
    #[must_use]
    pub fn against_what(&self) -> String {
        match (&self.workload, &self.nemesis) {
            (Some(workload), Some(nemesis)) => in_words((workload, nemesis), self.at_once, self.nodes),
            _ => "default run".to_owned(),
        }
    }

    /// Runs it, keeping the run in `store`, and reads what it found; none where somebody asked us to end.
    ///
    /// # Errors
    /// When the run cannot be started, or its results cannot be read.
    pub fn run(&self, attempts: &Attempts, store: &Path) -> Result<Option<Trial>> {
        let busy = busy();
        let ran = attempts.run(&self.arguments(), store, self.at_most() + HUNG, |_| {})?;
        if attempts.interrupted() {
            return Ok(None);
        }
        if ran.code == Some(254) {
            bail!("{}: {}", self.arguments().join(" "), ran.last_words);
        }
        let wall_s = ran.took.as_secs_f64();
        let verdict = ran.verdict();
        let found = ran.results.as_ref();
        Ok(Some(Trial {
            plan: self.clone(),
            anomaly: found
                .filter(|_| verdict == Verdict::Illegal)
                .and_then(Results::anomaly),
            verdict,
            load_s: found.map_or(0.0, Results::lasted),
            operations: found.map_or(0, Results::operations),
            sentence: found.map_or_else(String::new, |found| found.sentence.clone()),
            wall_s,
            busy,
        }))
    }

    /// How long it takes at most, by experience: the load, and what comes before and after it.
    #[must_use]
    pub fn at_most(&self) -> Duration {
        Duration::from_secs(self.seconds + 15)
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
            nodes: Some(3),
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
        assert_eq!((args.at_once, args.nodes), (Some(2), 3));
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
}

//! A run's settings as they are told: to people, in `test.toml`, and as the command that repeats it.

use std::path::Path;
use std::time::Duration;

use serde::Serialize;

use super::RunConfig;
use crate::cli::ClusterKind;
use crate::generator::{Arrivals, KeyChoice, Pace};
use crate::workload::Reserved;

/// The checker's patience where nobody names one; as the command line has it.
const CHECK_LIMIT: Duration = Duration::from_secs(60);

/// The serialisable shape of a [`RunConfig`]: `test.toml`.
#[derive(Debug, Serialize)]
struct TestFile<'a> {
    system: &'a str,
    workload: &'a str,
    nemesis: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    plan: Option<&'a Path>,
    cluster: &'a str,
    time_limit_s: f64,
    rate: f64,
    open_loop: bool,
    arrivals: String,
    concurrency: usize,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    reserve: Vec<String>,
    nodes: usize,
    seed: u64,
    keys: usize,
    key_distribution: String,
    ops_per_key: u32,
    timeout_s: f64,
    check_limit_s: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    bug: Option<&'a str>,
    again: String,
    arguments: Vec<String>,
}

impl RunConfig {
    /// Every setting by name, in the order in which people read them.
    #[must_use]
    pub fn settings(&self) -> Vec<(String, String)> {
        let faults = match &self.plan {
            Some((path, plan)) => format!("the {} of {}", plan.steps.len(), path.display()),
            None if self.nemesis.is_empty() => "none".to_owned(),
            None => self.nemesis.join(", "),
        };
        let pace = match self.pace {
            Pace::Closed => "closed loop",
            Pace::Open => "open loop",
        };
        let arrivals = match self.arrivals {
            Arrivals::Even => String::new(),
            Arrivals::Stagger => ", at random intervals".to_owned(),
            Arrivals::Burst(size) => format!(", in bursts of {size}"),
        };
        let clients = if self.reserve.is_empty() {
            self.concurrency.to_string()
        } else {
            format!("{}, of them {} only", self.concurrency, self.reserved())
        };
        let unequal = match self.key_choice {
            KeyChoice::Uniform => String::new(),
            choice => format!(", {choice}"),
        };
        let mut settings = vec![
            ("system", self.system.name.clone()),
            ("workload", self.workload.name.to_owned()),
            ("faults", faults),
            (
                "cluster",
                match self.net {
                    nemesis::lab::Net::Auto => format!("{} nodes, {}", self.nodes, self.cluster_name()),
                    net => format!("{} nodes, {}, network {net}", self.nodes, self.cluster_name()),
                },
            ),
            ("time limit", format!("{:?}", self.time_limit)),
            (
                "rate",
                format!("{} operations a second, {pace}{arrivals}", self.rate),
            ),
            ("clients", clients),
            ("client timeout", format!("{:?}", self.timeout)),
            (
                "keys",
                format!(
                    "{} at a time, {} operations each{unequal}",
                    self.keys, self.operations_per_key
                ),
            ),
            ("seed", self.seed.to_string()),
        ];
        if let Some(bug) = &self.bug {
            settings.push(("planted bug", bug.clone()));
        }
        settings
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value))
            .collect()
    }

    fn cluster_name(&self) -> &'static str {
        match self.cluster {
            ClusterKind::Lab => "lab",
            ClusterKind::Docker => "docker",
        }
    }

    /// The command that repeats the run.
    #[must_use]
    pub fn again(&self) -> String {
        let words: Vec<String> = self.arguments().iter().map(|word| quoted(word)).collect();
        format!("cargo run --release -p workloads -- {}", words.join(" "))
    }

    /// The arguments of `workloads` that repeat the run, whatever the defaults are here or there; all but the
    /// store.
    #[must_use]
    pub fn arguments(&self) -> Vec<String> {
        let mut words = vec!["run".to_owned()];
        let mut option = |name: &str, value: String| words.extend([format!("--{name}"), value]);
        option("system", self.system_name.clone());
        option("workload", self.workload.name.to_owned());
        match &self.plan {
            Some((path, _)) => option("plan", path.display().to_string()),
            None if self.nemesis.is_empty() => option("nemesis", "none".to_owned()),
            None => option("nemesis", self.nemesis.join(",")),
        }
        option("cluster", self.cluster_name().to_owned());
        option("time-limit", format!("{}s", self.time_limit.as_secs_f64()));
        option("rate", self.rate.to_string());
        option("concurrency", self.concurrency.to_string());
        option("nodes", self.nodes.to_string());
        option("keys", self.keys.to_string());
        option("ops-per-key", self.operations_per_key.to_string());
        option("timeout", format!("{}s", self.timeout.as_secs_f64()));
        option("seed", self.seed.to_string());
        if self.arrivals != Arrivals::Even {
            option("arrivals", self.arrivals.to_string());
        }
        if !self.reserve.is_empty() {
            option("reserve", self.reserved());
        }
        if self.key_choice != KeyChoice::Uniform {
            option("key-distribution", self.key_choice.to_string());
        }
        if self.at_once > 1 {
            option("at-once", self.at_once.to_string());
        }
        if self.net != nemesis::lab::Net::Auto {
            option("net", self.net.to_string());
        }
        if self.check_limit != CHECK_LIMIT {
            option("check-limit", format!("{}s", self.check_limit.as_secs_f64()));
        }
        if let Some(bug) = &self.bug {
            option("bug", bug.clone());
        }
        if self.pace == Pace::Open {
            words.push("--open-loop".to_owned());
        }
        if self.keep_going {
            words.push("--keep-going".to_owned());
        }
        words
    }

    /// The text of `test.toml`: all settings and the seed.
    #[must_use]
    pub fn to_toml(&self) -> String {
        let file = TestFile {
            system: &self.system_name,
            workload: self.workload.name,
            nemesis: &self.nemesis,
            plan: self.plan.as_ref().map(|(path, _)| path.as_path()),
            cluster: self.cluster_name(),
            time_limit_s: self.time_limit.as_secs_f64(),
            rate: self.rate,
            open_loop: self.pace == Pace::Open,
            arrivals: self.arrivals.to_string(),
            concurrency: self.concurrency,
            reserve: self.reserve.iter().map(Reserved::to_string).collect(),
            nodes: self.nodes,
            seed: self.seed,
            keys: self.keys,
            key_distribution: self.key_choice.to_string(),
            ops_per_key: self.operations_per_key,
            timeout_s: self.timeout.as_secs_f64(),
            check_limit_s: self.check_limit.as_secs_f64(),
            bug: self.bug.as_deref(),
            again: self.again(),
            arguments: self.arguments(),
        };
        toml::to_string(&file).expect("settings are plain data")
    }
}

/// A word as a shell takes it for one.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-./:,=+@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_that_a_shell_would_take_apart_is_quoted() {
        for (word, expected) in [
            ("a/b-c,d", "a/b-c,d"),
            ("a b", "'a b'"),
            ("it's", r"'it'\''s'"),
            ("", "''"),
        ] {
            assert_eq!(quoted(word), expected);
        }
    }
}

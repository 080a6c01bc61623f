//! What a CI system is told of runs: remarks beside the change, a summary, and files small enough to keep.
//!
//! Everything is read from the folders that runs leave; nothing is judged here. `ci/action/run` puts the parts
//! together for GitHub, GitLab and our own gate.

mod annotate;
mod bundle;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use crate::store::runs_below;

pub use annotate::{AnnotateArgs, Form, annotate};
pub use bundle::{BundleArgs, bundle};

/// A folder that a run left.
#[derive(Debug)]
struct Found {
    path: PathBuf,
    /// What it says in `results.json`; none where it came to no verdict.
    results: Option<Results>,
    /// The system file as it was typed, where `test.toml` names one that is there.
    file: Option<String>,
}

/// What of `results.json` is told.
#[derive(Debug, Deserialize)]
struct Results {
    valid: serde_json::Value,
    sentence: String,
    test: String,
    again: String,
    doubts: Vec<String>,
    anomalies: Vec<Anomaly>,
    analysis: Analysis,
}

#[derive(Debug, Deserialize)]
struct Anomaly {
    kind: String,
    sentence: String,
}

#[derive(Debug, Deserialize)]
struct Analysis {
    counterexample: Option<Counterexample>,
}

#[derive(Debug, Deserialize)]
struct Counterexample {
    anomaly: String,
}

#[derive(Deserialize)]
struct Settings {
    system: String,
}

/// What a run amounts to, the worst first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Worth {
    Illegal,
    NoVerdict,
    Unknown,
    Valid,
}

impl Found {
    fn at(path: PathBuf) -> Result<Self> {
        let file = path.join("results.json");
        let results = match fs::read(&file) {
            Ok(bytes) => Some(
                serde_json::from_slice(&bytes)
                    .with_context(|| format!("{}: not the results of a run", file.display()))?,
            ),
            Err(_) => None,
        };
        let settings = fs::read_to_string(path.join("test.toml")).ok();
        let settings = settings.and_then(|text| toml::from_str::<Settings>(&text).ok());
        let file = settings
            .map(|settings| settings.system)
            .filter(|system| Path::new(system).is_file());
        Ok(Self { path, results, file })
    }

    fn worth(&self) -> Worth {
        match self.results.as_ref().map(|results| &results.valid) {
            None => Worth::NoVerdict,
            Some(serde_json::Value::Bool(true)) => Worth::Valid,
            Some(serde_json::Value::Bool(false)) => Worth::Illegal,
            Some(_) => Worth::Unknown,
        }
    }
}

/// The runs at these places, each the folder of a run or a store: the worst first, then by their paths.
fn runs(places: &[PathBuf]) -> Result<Vec<Found>> {
    let nothing =
        |place: String| format!("{place}: no run is there (wanted: the folder of a run, or a store)");
    let mut paths = Vec::new();
    for place in places {
        if !place.is_dir() {
            bail!(nothing(place.display().to_string()));
        }
        for run in runs_below(place) {
            let run = run
                .canonicalize()
                .with_context(|| format!("cannot look at {}", run.display()))?;
            paths.push(run);
        }
    }
    if paths.is_empty() {
        let places: Vec<String> = places.iter().map(|place| place.display().to_string()).collect();
        bail!(nothing(places.join(", ")));
    }
    paths.sort();
    paths.dedup();
    let mut runs = paths.into_iter().map(Found::at).collect::<Result<Vec<_>>>()?;
    runs.sort_by_key(Found::worth);
    Ok(runs)
}

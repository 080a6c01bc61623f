//! What a run left in its `results.json`, as far as anybody counts it.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

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

/// What of `results.json` counts here.
#[derive(Debug, Clone, Deserialize)]
pub struct Results {
    /// The verdict in a sentence.
    pub sentence: String,
    /// Why the run is no evidence.
    #[serde(default)]
    pub doubts: Vec<String>,
    /// The command that repeats the run.
    #[serde(default)]
    pub again: String,
    #[serde(default)]
    anomalies: Vec<Finding>,
    #[serde(default)]
    cause: Option<Cause>,
    analysis: Analysis,
    conduct: Conduct,
}

#[derive(Debug, Clone, Deserialize)]
struct Cause {
    class: String,
}

#[derive(Debug, Clone, Deserialize)]
struct Finding {
    kind: String,
}

#[derive(Debug, Clone, Deserialize)]
struct Analysis {
    operations: u64,
    counterexample: Option<Counterexample>,
}

#[derive(Debug, Clone, Deserialize)]
struct Counterexample {
    anomaly: String,
}

#[derive(Debug, Clone, Deserialize)]
struct Conduct {
    load_end_ns: u64,
    end_ns: u64,
    cut_short: Option<String>,
}

impl Results {
    /// Reads the results of the run in `folder`.
    ///
    /// # Errors
    /// When there are none, or they are not such.
    pub fn read(folder: &Path) -> Result<Self> {
        let path = folder.join("results.json");
        let bytes = fs::read(&path).with_context(|| format!("the run left no {}", path.display()))?;
        serde_json::from_slice(&bytes).with_context(|| path.display().to_string())
    }

    /// The violation's name: the cause that the run named. Runs of before causes were named have the checker's name,
    /// or else that of what went wrong with the nodes.
    #[must_use]
    pub fn anomaly(&self) -> Option<String> {
        let checked = self.analysis.counterexample.as_ref();
        let cause = self.cause.as_ref().map(|cause| cause.class.clone());
        cause
            .or_else(|| checked.map(|found| found.anomaly.clone()))
            .or_else(|| self.anomalies.first().map(|finding| finding.kind.clone()))
    }

    /// When the violation was found, in seconds: while the load was on, or else at the end.
    #[must_use]
    pub fn lasted(&self) -> f64 {
        let nanos = if self.conduct.cut_short.is_some() {
            self.conduct.load_end_ns
        } else {
            self.conduct.end_ns
        };
        nanos as f64 / 1e9
    }

    /// How many operations the history has.
    #[must_use]
    pub fn operations(&self) -> u64 {
        self.analysis.operations
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_run_found_is_read_from_its_results() {
        let text = r#"{"valid": false, "sentence": "Illegal: gone", "test": "t",
            "anomalies": [{"kind": "divergence", "sentence": "n1 differs"}], "doubts": [],
            "analysis": {"valid": false, "operations": 12, "counterexample": {"anomaly": "lost-write", "sentence": "gone"}},
            "conduct": {"load_end_ns": 1500000000, "end_ns": 2500000000, "cut_short": "a violation"}}"#;
        let folder = tempfile::tempdir().expect("a folder");
        assert!(Results::read(folder.path()).is_err(), "there are none");
        fs::write(folder.path().join("results.json"), text).expect("written");
        let results = Results::read(folder.path()).expect("read");
        assert_eq!(results.anomaly().as_deref(), Some("lost-write"));
        assert!((results.lasted() - 1.5).abs() < 1e-9);
        assert_eq!(results.operations(), 12);
        let caused = text.replace("\"doubts\"", "\"cause\": {\"class\": \"divergence\"}, \"doubts\"");
        fs::write(folder.path().join("results.json"), caused).expect("written");
        let results = Results::read(folder.path()).expect("read");
        assert_eq!(results.anomaly().as_deref(), Some("divergence"));
    }
}

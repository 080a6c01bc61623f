//! What a run came to: the checker's verdict, what else went wrong, and whether it was evidence at all.

use std::path::PathBuf;

use checker::Analysis;
use checker::Validity;
use serde::Serialize;

use crate::evidence::Conduct;

/// Something that makes a run invalid whatever the history says.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "anomaly", rename_all = "kebab-case")]
pub enum Anomaly {
    /// A node died without being told to.
    Crash {
        /// Which.
        node: String,
        /// How it ended and its last log lines.
        what: String,
    },
    /// Two replicas show different states at the same applied index.
    Divergence {
        /// The applied index.
        applied: u64,
        /// Node and hash of its state there.
        hashes: Vec<(String, String)>,
    },
}

impl std::fmt::Display for Anomaly {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Crash { node, what } => write!(f, "crash: {node} died without being told to: {what}"),
            Self::Divergence { applied, hashes } => {
                write!(f, "divergence: at applied index {applied} the replicas differ:")?;
                hashes
                    .iter()
                    .try_for_each(|(node, hash)| write!(f, " {node} has {hash}"))
            }
        }
    }
}

/// What a run came to. This is `results.json`.
#[derive(Debug, Clone, Serialize)]
pub struct Results {
    /// True, false or `"unknown"`: the worst of what follows.
    pub valid: Validity,
    /// The verdict in one sentence.
    pub sentence: String,
    /// The test's name.
    pub test: String,
    /// What went wrong besides the history.
    pub anomalies: Vec<Anomaly>,
    /// Why the run is no evidence, where it is none.
    pub doubts: Vec<String>,
    /// What the checker found, with its proof.
    pub analysis: Analysis,
    /// What the run did.
    pub conduct: Conduct,
    /// Share of operations that succeeded among those sent to nodes of a connected majority, 0 to 1.
    pub available: Option<f64>,
    /// The files of the run.
    pub dir: PathBuf,
}

impl Results {
    /// Merges what was found: illegal beats unknown beats valid.
    #[must_use]
    pub fn judge(analysis: &Analysis, anomalies: &[Anomaly], doubts: &[String]) -> Validity {
        match analysis.verdict.valid() {
            Validity::False => Validity::False,
            _ if !anomalies.is_empty() => Validity::False,
            Validity::Unknown => Validity::Unknown,
            Validity::True if !doubts.is_empty() => Validity::Unknown,
            Validity::True => Validity::True,
        }
    }

    /// The exit code: 0 valid, 1 illegal, 2 unknown.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self.valid {
            Validity::True => 0,
            Validity::False => 1,
            Validity::Unknown => 2,
        }
    }

    /// Jepsen's last line, which scripts look for.
    #[must_use]
    pub fn last_line(&self) -> &'static str {
        match self.valid {
            Validity::True => "Everything looks good! ヽ(‘ー`)ノ",
            Validity::False => "Analysis invalid! (ﾉಥ益ಥ）ﾉ ┻━┻",
            Validity::Unknown => "Errors occurred during analysis, but no anomalies found. ಠ~ಠ",
        }
    }
}

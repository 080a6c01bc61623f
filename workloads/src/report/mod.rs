//! What a run leaves for people: one page, one line for machines, one summary for a pull request.
//!
//! [`html`] is made to be read at three in the morning by somebody who did not write the test: the verdict and
//! why, in a sentence; the few operations that prove it, drawn; what was broken at the time; how the store did
//! throughout; what its nodes said; how to see it again. It is one file without references to anything outside,
//! so that it can be mailed, attached to a build, and opened from `file://`.
//!
//! Everything here is a function from one value, [`ReportInput`], to text. Nothing is measured, no file is
//! opened and no clock is read, with one exception: [`LogExcerpt::read`] takes the few lines that matter out of a
//! log that may be large.
//!
//! Invariants:
//! - Whatever a store, a node or a user made up passes `escape` on its way to a page.
//! - The page's size depends on the number of faults, nodes and proving operations, never on the number of
//!   operations: a million of them are counted in buckets of time.
//! - What a page calls valid, its `junit.xml` and its summary call valid: all three ask [`ReportInput::outcome`].

mod charts;
mod escape;
mod figures;
mod html;
mod junit;
mod lanes;
mod logs;
mod proof;
mod scale;
mod sections;
mod series;
mod summary;
mod verdict;

#[cfg(test)]
mod browser;
#[cfg(test)]
mod samples;
#[cfg(test)]
mod tests;

use checker::history::{History, Nanos};
use checker::{Analysis, Verdict};

use crate::evidence::{Availability, Cause};

pub(crate) use escape::{Escaped, markdown};
pub use figures::{Figure, Figures, figures};
pub(crate) use html::{STYLE, hash_source};
pub use html::{html, plot};
pub use junit::junit;
pub use logs::LogExcerpt;
pub(crate) use scale::count;
pub use summary::summary;

/// All that a report needs to know.
#[derive(Debug, Clone, Copy)]
pub struct ReportInput<'a> {
    /// What happened.
    pub history: &'a History,
    /// What the checker made of it; `None` where it could not be asked.
    pub analysis: Option<&'a Analysis>,
    /// Everything around it.
    pub run: &'a RunInfo,
}

/// What a run was, apart from its history.
#[derive(Debug, Clone, Default)]
pub struct RunInfo {
    /// What was tested with what, as in `kvnode register`.
    pub name: String,
    /// When it began, RFC 3339.
    pub started: String,
    /// The seed that decides load and faults.
    pub seed: Option<u64>,
    /// How far the run's clock went, the final reads included.
    pub length: Nanos,
    /// The command that repeats the run.
    pub command: String,
    /// Every setting by its name, in the order in which people should read them.
    pub settings: Vec<(String, String)>,
    /// What took part: programs with their versions and hashes, the kernel, the machine.
    pub versions: Vec<(String, String)>,
    /// The cluster.
    pub nodes: Vec<NodeReport>,
    /// What each node said about itself over time, if the system tells: who led, in which term.
    pub node_states: Vec<NodeState>,
    /// The faults, in the order in which they were applied.
    pub faults: Vec<FaultSpan>,
    /// What makes the run invalid whatever the history says: a node that died unasked, replicas that differ.
    pub anomalies: Vec<Finding>,
    /// How operations fared at nodes of a connected majority: what a store owes, whatever the faults.
    pub available: Availability,
    /// What the violation points at, where there is one.
    pub cause: Option<Cause>,
    /// Why the run is no evidence, a sentence each; empty where it is.
    pub doubts: Vec<String>,
    /// What a reader should know without it deciding anything: a fault that this machine cannot do.
    pub notes: Vec<String>,
    /// Files beside the report, by their names: `history.jsonl`, `results.json`.
    pub files: Vec<String>,
}

/// Something found outside the history.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Finding {
    /// One word: `crash`, `divergence`.
    pub kind: String,
    /// What was found, for a person.
    pub sentence: String,
}

/// One node.
#[derive(Debug, Clone, Default)]
pub struct NodeReport {
    /// Its name.
    pub name: String,
    /// Where it served clients.
    pub address: String,
    /// Where its whole log is, relative to the report.
    pub log_path: String,
    /// What its log says that matters here.
    pub log: LogExcerpt,
}

/// What a node was for a while.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeState {
    /// The node's name.
    pub node: String,
    /// From when.
    pub from: Nanos,
    /// Until when.
    pub to: Nanos,
    /// Whether it led.
    pub role: Role,
    /// What to write beside it: the term.
    pub note: String,
}

/// What a node is in its cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// It leads.
    Leader,
    /// It follows, or seeks a leader.
    Follower,
    /// It did not answer.
    Silent,
}

/// One fault from its application to its undoing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FaultSpan {
    /// The family: `partition`, `kill`, `pause`. Decides the colour.
    pub kind: String,
    /// What was done to whom: `partition n1 | n2, n3`.
    pub description: String,
    /// Since when it was in force.
    pub from: Nanos,
    /// Until when; `None` where the run ended with it.
    pub to: Option<Nanos>,
    /// Whether a probe saw it bite.
    pub bit: bool,
    /// What the probes saw while it was on.
    pub seen: String,
    /// Whether a probe saw everything well again after it was undone.
    pub healed: bool,
    /// What the probes saw then.
    pub seen_healed: String,
}

/// What a run amounts to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum RunOutcome {
    /// Linearizable, and evidence.
    Valid,
    /// Nothing found, and nothing proved.
    Unknown,
    /// Something was found.
    Invalid,
}

/// How an operation ended, as far as counting goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Outcome {
    /// It happened.
    Ok,
    /// A cas that found another value: an answer, too.
    Mismatch,
    /// It certainly did nothing.
    Fail,
    /// Nobody knows.
    Unknown,
}

impl ReportInput<'_> {
    /// The worst of what checker, anomalies and doubts say: invalid beats unknown beats valid.
    #[must_use]
    pub fn outcome(&self) -> RunOutcome {
        let judged = match self.analysis.map(|analysis| &analysis.verdict) {
            Some(Verdict::Linearizable(_)) => RunOutcome::Valid,
            Some(Verdict::Illegal(_)) => RunOutcome::Invalid,
            Some(Verdict::Unknown(_)) | None => RunOutcome::Unknown,
        };
        let conduct = if !self.run.anomalies.is_empty() {
            RunOutcome::Invalid
        } else if !self.run.doubts.is_empty() {
            RunOutcome::Unknown
        } else {
            RunOutcome::Valid
        };
        judged.max(conduct)
    }

    /// The numbers of the run.
    fn series(&self) -> series::Series {
        let last = |op: checker::history::Operation<'_>| op.completed_at().unwrap_or(op.invoked_at()).0;
        let faults = self
            .run
            .faults
            .iter()
            .map(|fault| fault.to.unwrap_or(fault.from).0);
        let end = self
            .history
            .operations()
            .map(last)
            .chain(faults)
            .max()
            .unwrap_or(0)
            .max(self.run.length.0);
        let operations = self.history.operations();
        let number = operations.len();
        series::Series::of(operations.map(sample), number, end)
    }

    /// The numbers of the operations of one name, on the same clock.
    fn series_of(&self, f: &str, whole: &series::Series) -> series::Series {
        let number = whole.by_f.get(f).map_or(0, |group| group.counts.total());
        let operations = self.history.operations().filter(|operation| operation.f() == f);
        series::Series::of(operations.map(sample), number as usize, whole.end)
    }
}

impl Outcome {
    /// The word in tables and legends.
    fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Mismatch => "mismatch",
            Self::Fail => "fail",
            Self::Unknown => "unknown",
        }
    }
}

impl FaultSpan {
    /// The family that decides the colour; one of a fixed few, whatever the kind is called.
    fn family(&self) -> &'static str {
        match self.kind.as_str() {
            "partition" | "flap" => "partition",
            "links" | "delay" | "jitter" | "loss" | "duplicate" | "reorder" | "bandwidth" => "links",
            "kill" | "restart" | "crash-loop" | "power-failure" => "kill",
            "pause" => "pause",
            "disk" | "clock" | "membership" => "inner",
            _ => "other",
        }
    }

    /// Whether it was on at some time of this stretch.
    fn touches(&self, from: Nanos, to: Nanos) -> bool {
        self.from <= to && self.to.is_none_or(|end| end >= from)
    }
}

/// What people are told against the run's being evidence. Nothing where it is invalid: one violation suffices, and a
/// run that ended at it has of course done too little to be called valid.
fn doubts<'a>(input: &ReportInput<'a>) -> &'a [String] {
    match input.outcome() {
        RunOutcome::Invalid => &[],
        RunOutcome::Valid | RunOutcome::Unknown => &input.run.doubts,
    }
}

/// What the numbers need of an operation.
fn sample(operation: checker::history::Operation<'_>) -> series::Sample<'_> {
    series::Sample {
        f: operation.f(),
        node: operation.node(),
        outcome: outcome_of(operation),
        error: operation.error(),
        started: operation
            .intended()
            .unwrap_or(operation.invoked_at())
            .min(operation.invoked_at())
            .0,
        completed: operation.completed_at().map(|at| at.0),
    }
}

fn outcome_of(operation: checker::history::Operation<'_>) -> Outcome {
    match operation.outcome() {
        checker::history::Outcome::Ok => Outcome::Ok,
        checker::history::Outcome::Fail if operation.error() == Some("mismatch") => Outcome::Mismatch,
        checker::history::Outcome::Fail => Outcome::Fail,
        checker::history::Outcome::Info => Outcome::Unknown,
    }
}

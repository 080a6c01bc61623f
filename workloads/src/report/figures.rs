//! The few numbers of a run that others compare: counts, rate and latencies, for `results.json`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::ReportInput;
use super::series::Group;

/// A run in numbers.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Figures {
    /// All operations.
    pub all: Figure,
    /// Those of each kind.
    pub by_f: BTreeMap<String, Figure>,
}

/// Operations that have something in common.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Figure {
    /// It happened.
    pub ok: u64,
    /// A cas that found another value.
    pub mismatch: u64,
    /// It certainly did nothing.
    pub fail: u64,
    /// Nobody knows.
    pub unknown: u64,
    /// Latencies of `ok` and mismatch, in milliseconds; null where there were none.
    pub p50_ms: Option<f64>,
    /// See `p50_ms`.
    pub p95_ms: Option<f64>,
    /// See `p50_ms`.
    pub p99_ms: Option<f64>,
    /// See `p50_ms`.
    pub max_ms: Option<f64>,
}

impl Figure {
    fn of(group: &Group) -> Self {
        let quantile = |share| group.quantile(share).map(|nanos| nanos as f64 / 1e6);
        Self {
            ok: group.counts.ok,
            mismatch: group.counts.mismatch,
            fail: group.counts.fail,
            unknown: group.counts.unknown,
            p50_ms: quantile(0.5),
            p95_ms: quantile(0.95),
            p99_ms: quantile(0.99),
            max_ms: quantile(1.0),
        }
    }

    /// All of them.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.ok + self.mismatch + self.fail + self.unknown
    }
}

/// The numbers of a run.
#[must_use]
pub fn figures(input: &ReportInput<'_>) -> Figures {
    let series = input.series();
    Figures {
        all: Figure::of(&series.all),
        by_f: series
            .by_f
            .iter()
            .map(|(f, group)| (f.clone(), Figure::of(group)))
            .collect(),
    }
}

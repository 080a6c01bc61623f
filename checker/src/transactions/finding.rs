//! What was found, counted in full and told in part.

use std::collections::BTreeMap;

use crate::history::{OpId, Value};

use super::anomaly::{AnomalyKind, Evidence};
use super::graph::Relation;

/// One case of one kind of violation.
#[derive(Clone, Debug)]
pub(super) struct Finding {
    pub(super) key: Option<Value>,
    /// For a person: who did what, and why that cannot be.
    pub(super) sentence: String,
    /// The transactions that are named in it.
    pub(super) transactions: Vec<OpId>,
    /// The cycle, if it is one.
    pub(super) cycle: Vec<Dependency>,
}

/// One edge of a cycle, explained.
#[derive(Clone, Debug)]
pub(super) struct Dependency {
    pub(super) from: OpId,
    pub(super) to: OpId,
    pub(super) relation: Relation,
    pub(super) evidence: Evidence,
    pub(super) because: String,
}

/// All cases by their kind.
#[derive(Debug, Default)]
pub(super) struct Findings {
    kinds: BTreeMap<AnomalyKind, Cases>,
}

#[derive(Debug, Default)]
pub(super) struct Cases {
    pub(super) count: usize,
    pub(super) told: Vec<Finding>,
}

/// How many cases of one kind are told.
const TOLD: usize = 8;
/// How many transactions one sentence names.
pub(super) const MOST_NAMED: usize = 8;

/// `T1, T2 and T5` or, of many, the first and how many more.
pub(super) fn all_of(ids: impl ExactSizeIterator<Item = OpId>) -> String {
    let count = ids.len();
    let mut names: Vec<String> = ids.take(MOST_NAMED).map(|id| format!("T{}", id.0)).collect();
    let last = match count.saturating_sub(MOST_NAMED) {
        0 => names.pop().unwrap_or_default(),
        more => format!("{more} more"),
    };
    match names.is_empty() {
        true => last,
        false => format!("{} and {last}", names.join(", ")),
    }
}

impl Findings {
    /// Counts a case, and has it told if not enough of its kind are told already.
    pub(super) fn add(&mut self, kind: AnomalyKind, tell: impl FnOnce() -> Finding) {
        let cases = self.kinds.entry(kind).or_default();
        cases.count += 1;
        if cases.told.len() < TOLD {
            cases.told.push(tell());
        }
    }

    pub(super) fn kinds(&self) -> Vec<AnomalyKind> {
        self.kinds.keys().copied().collect()
    }

    pub(super) fn into_kinds(self) -> impl Iterator<Item = (AnomalyKind, Cases)> {
        self.kinds.into_iter()
    }
}

impl Finding {
    pub(super) fn new(key: Option<Value>, sentence: String, transactions: Vec<OpId>) -> Finding {
        Finding {
            key,
            sentence,
            transactions,
            cycle: Vec::new(),
        }
    }
}

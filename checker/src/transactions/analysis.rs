//! What a check of transactions found, for people and for `results.json`.

use std::time::Duration;

use serde::{Serialize, Serializer};

use crate::history::{History, OpId, Operation, Value};
use crate::verdict::{CoreOperation, Validity};

use super::anomaly::{AnomalyKind, Evidence};
use super::consistency::{ConsistencyModel, boundary};
use super::finding::{Finding, Findings};
use super::graph::Relation;
use super::serial::SerialOrder;

/// Everything that one check of transactions found out.
#[derive(Clone, Debug, Serialize)]
pub struct TransactionAnalysis {
    /// Whether the history satisfies the consistency models it was to satisfy.
    pub valid: Validity,
    /// For a person: the worst that was found.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sentence: Option<String>,
    /// The kind of history: `list-append`, `rw-register`, `long-fork`, `bank`, `watch` or `monotonic`.
    pub model: &'static str,
    /// The consistency models that it was to satisfy.
    pub consistency_models: Vec<ConsistencyModel>,
    /// How many operations the history has.
    pub operations: usize,
    /// The kinds of anomalies found, forbidden or not.
    pub anomaly_types: Vec<AnomalyKind>,
    /// The same with their cases.
    pub anomalies: Vec<Anomalies>,
    /// The weakest consistency models that the history certainly does not satisfy.
    pub not: Vec<ConsistencyModel>,
    /// Stronger ones, which it therefore does not satisfy either.
    pub also_not: Vec<ConsistencyModel>,
    /// An order of the transactions that proves a yes. Where it is missing, that no anomaly was found is all there is:
    /// the models may allow what no order explains, or the search for one was given up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub witness: Option<SerialOrder>,
    /// Why the verdict is unknown, if it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unknown: Option<String>,
    /// Whether that is because a search was given up.
    #[serde(skip)]
    pub(super) gave_up: bool,
    /// What a person should know about how it was judged.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// How long it took.
    #[serde(rename = "seconds", serialize_with = "seconds")]
    pub elapsed: Duration,
}

/// All cases of one kind.
#[derive(Clone, Debug, Serialize)]
pub struct Anomalies {
    /// The kind, by Elle's name.
    pub kind: AnomalyKind,
    /// What that means, in one line.
    pub meaning: &'static str,
    /// Whether the models that the history was to satisfy forbid it.
    pub forbidden: bool,
    /// How many cases there are; of cycles, in how many strongly connected components one was found.
    pub count: usize,
    /// Some of them, the shortest cycles first.
    pub cases: Vec<Case>,
}

/// One case, with all that it takes to understand it.
#[derive(Clone, Debug, Serialize)]
pub struct Case {
    /// For a person: who did what, and why that cannot be. Transactions are called T and the number of their
    /// operation.
    pub sentence: String,
    /// The key it is about, if it is about one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<Value>,
    /// The cycle, if it is one: every transaction precedes the next, and the last the first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cycle: Vec<CaseEdge>,
    /// The transactions that are named.
    pub transactions: Vec<CoreOperation>,
}

/// Why one transaction precedes another.
#[derive(Clone, Debug, Serialize)]
pub struct CaseEdge {
    /// The earlier one.
    pub from: OpId,
    /// The later one.
    pub to: OpId,
    /// By what.
    pub relation: Relation,
    /// In a sentence.
    pub because: String,
    /// Whether the order of processes or of time was needed to know it.
    #[serde(skip)]
    pub evidence: Evidence,
}

/// What a check needs to say beside what it found.
pub(super) struct Frame<'a> {
    pub(super) history: &'a History,
    pub(super) model: &'static str,
    pub(super) expected: Vec<ConsistencyModel>,
    /// Kinds of which there may be some although none was found.
    pub(super) given_up: Vec<AnomalyKind>,
    /// Why the history is no evidence although nothing was found.
    pub(super) doubt: Option<String>,
    /// What ran out before cycles were looked for.
    pub(super) exhausted: Option<String>,
    pub(super) witness: Option<SerialOrder>,
    pub(super) notes: Vec<String>,
}

impl TransactionAnalysis {
    /// Judges what was found.
    pub(super) fn new(
        frame: Frame<'_>,
        findings: Findings,
        said: impl Fn(OpId) -> String,
        elapsed: Duration,
    ) -> TransactionAnalysis {
        let kinds = findings.kinds();
        let forbidden = |kind: AnomalyKind| frame.expected.iter().any(|model| model.forbids(kind));
        let (not, also_not) = boundary(&kinds);
        let mut anomalies: Vec<Anomalies> = findings
            .into_kinds()
            .map(|(kind, cases)| Anomalies {
                kind,
                meaning: kind.meaning(),
                forbidden: forbidden(kind),
                count: cases.count,
                cases: cases
                    .told
                    .into_iter()
                    .map(|finding| Case::new(frame.history, finding, &said))
                    .collect(),
            })
            .collect();
        anomalies.sort_by_key(|found| !found.forbidden);
        let bad = anomalies.first().filter(|found| found.forbidden);
        let sentence = bad.map(|found| format!("{}: {}", found.kind, found.cases[0].sentence));
        let unknown = frame
            .given_up
            .iter()
            .find(|&&kind| bad.is_none() && forbidden(kind))
            .map(|kind| {
                format!("the search for {kind} was given up: too many ways to go, or too little time (--time-limit)")
            })
            .or(frame.exhausted.filter(|_| bad.is_none()));
        let gave_up = unknown.is_some();
        let unknown = unknown.or(frame.doubt.filter(|_| bad.is_none()));
        let valid = match (bad, &unknown) {
            (Some(_), _) => Validity::False,
            (None, Some(_)) => Validity::Unknown,
            (None, None) => Validity::True,
        };
        TransactionAnalysis {
            valid,
            sentence,
            model: frame.model,
            consistency_models: frame.expected,
            operations: frame.history.len(),
            anomaly_types: kinds,
            anomalies,
            not,
            also_not,
            witness: frame.witness.filter(|_| valid == Validity::True),
            unknown,
            gave_up,
            notes: frame.notes,
            elapsed,
        }
    }

    /// The cases of one kind, if there are any.
    pub fn anomaly(&self, kind: AnomalyKind) -> Option<&Anomalies> {
        self.anomalies.iter().find(|found| found.kind == kind)
    }
}

impl Case {
    fn new(history: &History, finding: Finding, said: &impl Fn(OpId) -> String) -> Case {
        let cycle = finding.cycle.into_iter().map(|edge| CaseEdge {
            from: edge.from,
            to: edge.to,
            relation: edge.relation,
            because: edge.because,
            evidence: edge.evidence,
        });
        let transactions = finding
            .transactions
            .iter()
            .map(|&id| core(history.operation(id), said(id)));
        Case {
            sentence: finding.sentence,
            key: finding.key,
            cycle: cycle.collect(),
            transactions: transactions.collect(),
        }
    }
}

fn core(operation: Operation<'_>, said: String) -> CoreOperation {
    CoreOperation {
        id: operation.id(),
        index: operation.invoked_index(),
        process: operation.process(),
        f: operation.f().to_owned(),
        input: operation.input(),
        output: operation.output(),
        invoked_at: operation.invoked_at(),
        completed_at: operation.completed_at(),
        outcome: operation.outcome(),
        weakened: false,
        node: operation.node().map(str::to_owned),
        said,
    }
}

fn seconds<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(duration.as_secs_f64())
}

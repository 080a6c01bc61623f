//! Says of every edge of a cycle why it is one.

use crate::history::{Form, History, OpId, Operation};

use super::anomaly::{AnomalyKind, Evidence, Shape};
use super::finding::{Dependency, Finding};
use super::graph::{Grounds, Relation};
use super::transaction::{Transactions, WriteId};

/// Knows what was written and read, so that it can say why one transaction depends on another.
pub(super) trait Explain {
    /// Why `to` depends on `from` through this write (the later one of ww and rw, the one that was read of wr),
    /// and the transactions that show it, if they are others.
    fn because(&self, from: OpId, to: OpId, relation: Relation, write: WriteId) -> (String, Vec<OpId>);
}

/// One edge between two transactions, as the search found it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Edge {
    pub(super) from: OpId,
    pub(super) to: OpId,
    pub(super) relation: Relation,
    pub(super) grounds: Grounds,
    pub(super) write: Option<WriteId>,
}

/// A cycle with every edge explained.
pub(super) fn cycle(
    transactions: &Transactions<'_>,
    explain: &impl Explain,
    shape: Shape,
    evidence: Evidence,
    edges: &[Edge],
) -> Finding {
    let mut named: Vec<OpId> = edges.iter().map(|edge| edge.from).collect();
    let mut cycle = Vec::with_capacity(edges.len());
    for edge in edges {
        let because = match (edge.relation, edge.write) {
            (Relation::Ww | Relation::Wr | Relation::Rw, Some(write)) => {
                let (text, witness) = explain.because(edge.from, edge.to, edge.relation, write);
                named.extend(witness);
                text
            }
            (Relation::Process, _) => in_process(transactions.history, edge),
            (_, _) => in_time(transactions.history, edge),
        };
        cycle.push(Dependency {
            from: edge.from,
            to: edge.to,
            relation: edge.relation,
            evidence: edge.grounds.evidence,
            because,
        });
    }
    let order: Vec<String> = cycle
        .iter()
        .map(|edge| format!("T{} before T{}: {}", edge.from.0, edge.to.0, edge.because))
        .collect();
    let kind = AnomalyKind::Cycle(shape, evidence);
    let sentence = format!(
        "{}. {}. So each of them would have to come before itself",
        kind.meaning(),
        order.join("; ")
    );
    let mut seen = rustc_hash::FxHashSet::default();
    named.retain(|&id| seen.insert(id));
    Finding {
        key: None,
        sentence,
        transactions: named,
        cycle,
    }
}

/// That some transactions cannot be put in any order.
pub(super) fn no_order(transactions: &Transactions<'_>, respects: Evidence, core: Vec<OpId>) -> Finding {
    let how = match respects {
        Evidence::Data => "",
        Evidence::Process => ", each process doing its own in turn",
        Evidence::Realtime => ", none after one that began when it had ended",
    };
    let did: Vec<String> = core
        .iter()
        .map(|&id| format!("T{} did {}", id.0, transactions.said(id)))
        .collect();
    let sentence = format!(
        "no order of {} transactions, one after the other{how}, explains what they read, whichever of their writes \
         came first. {}",
        core.len(),
        did.join("; "),
    );
    Finding::new(None, sentence, core)
}

fn in_process(history: &History, edge: &Edge) -> String {
    let process = history.operation(edge.to).process();
    format!("process {process} did T{} and then T{}", edge.from.0, edge.to.0)
}

fn in_time(history: &History, edge: &Edge) -> String {
    let (from, to) = (history.operation(edge.from), history.operation(edge.to));
    format!(
        "T{} had completed ({}) before T{} was invoked ({})",
        edge.from.0,
        completion(from),
        edge.to.0,
        invocation(to),
    )
}

/// When an operation was invoked: the time where it can be relied on, and the event.
fn invocation(operation: Operation<'_>) -> String {
    match operation.history.form() {
        Form::Ordeal => format!("{}, event {}", operation.invoked_at(), operation.invoked_index()),
        _ => format!("event {}", operation.invoked_index()),
    }
}

fn completion(operation: Operation<'_>) -> String {
    let index = operation
        .completed_index()
        .map_or("none".to_owned(), |index| index.to_string());
    match (operation.history.form(), operation.completed_at()) {
        (Form::Ordeal, Some(time)) => format!("{time}, event {index}"),
        _ => format!("event {index}"),
    }
}

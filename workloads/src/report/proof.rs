//! From the checker's counterexample to what is drawn and listed.

use checker::history::{Nanos, OpId, Outcome as Ending, Value};
use checker::{CoreOperation, Counterexample};

/// One operation of the proof.
#[derive(Debug, Clone)]
pub(super) struct ProofOperation {
    pub(super) id: OpId,
    /// The index of its invocation in the history.
    pub(super) index: u64,
    pub(super) process: u64,
    pub(super) node: Option<String>,
    /// `read 4`, `write 5`.
    pub(super) said: String,
    pub(super) invoked: Nanos,
    pub(super) completed: Option<Nanos>,
    pub(super) look: Look,
    /// The violation stands even if it took effect at another time, or never.
    pub(super) weakened: bool,
}

/// How an operation looks on the drawing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Look {
    /// It changed the state, or may have by its answer.
    Effect,
    /// It only told what the state was.
    Observation,
    /// Nobody knows whether and when it took effect.
    Unknown,
}

/// The operations in the order of their invocations.
pub(super) fn operations(found: &Counterexample) -> Vec<ProofOperation> {
    let mut operations: Vec<ProofOperation> = found.operations.iter().map(of).collect();
    operations.sort_by_key(|operation| (operation.invoked, operation.index));
    operations
}

fn of(core: &CoreOperation) -> ProofOperation {
    let look = match core.outcome {
        Ending::Info => Look::Unknown,
        Ending::Fail => Look::Observation,
        Ending::Ok if matches!(core.f.as_str(), "get" | "read") => Look::Observation,
        Ending::Ok => Look::Effect,
    };
    ProofOperation {
        id: core.id,
        index: core.index,
        process: core.process.0,
        node: core.node.clone(),
        said: core.said.clone(),
        invoked: core.invoked_at,
        // What came back with an unknown outcome says nothing about when it took effect.
        completed: core.completed_at.filter(|_| look != Look::Unknown),
        look,
        weakened: core.weakened,
    }
}

impl ProofOperation {
    /// How it ended, in a word.
    pub(super) fn ending(&self) -> &'static str {
        match self.look {
            Look::Unknown => "unknown",
            Look::Observation | Look::Effect => "answered",
        }
    }
}

/// The stretch of the run's clock over which the proof reaches.
pub(super) fn reach(operations: &[ProofOperation]) -> Option<(Nanos, Nanos)> {
    let from = operations.iter().map(|operation| operation.invoked).min()?;
    let to = operations
        .iter()
        .map(|operation| operation.completed.unwrap_or(operation.invoked))
        .max()?;
    Some((from, to))
}

/// When the operations were invoked, and when the proof was complete.
pub(super) fn moments(operations: &[ProofOperation]) -> Vec<Nanos> {
    operations
        .iter()
        .map(|operation| operation.invoked)
        .chain(reach(operations).map(|(_, to)| to))
        .collect()
}

/// A value as a person reads it; JSON for what is more than a word.
pub(super) fn shown(value: &Value) -> String {
    value.to_string()
}

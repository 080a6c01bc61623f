//! What was found of transactions, in the terms of the rest of this crate.

use crate::explain;
use crate::history::{Flaw, History, HistoryError, Operation, Value};
use crate::options::ModelName;
use crate::verdict::{
    Analysis, Anomaly, Counterexample, CycleEdge, Limit, Linearization, Prefix, Validity, Verdict, Witness,
};

use super::analysis::{Anomalies, Case, TransactionAnalysis};
use super::{TransactionOptions, bank, list_append, long_fork, monotonic, rw_register, watch};

/// Checks a history by one of the models of transactions.
///
/// # Errors
/// [`HistoryError::Malformed`] if an operation is none of the model, or the model is none of transactions.
pub fn check(
    history: &History,
    model: ModelName,
    options: &TransactionOptions,
) -> Result<TransactionAnalysis, HistoryError> {
    match model {
        ModelName::ListAppend => list_append(history, options),
        ModelName::RwRegister => rw_register(history, options),
        ModelName::LongFork => long_fork(history, options),
        ModelName::Bank => bank(history, options),
        ModelName::Watch => watch(history, options),
        ModelName::Monotonic => monotonic(history, options),
        other => Err(HistoryError::Malformed {
            place: history
                .operations()
                .next()
                .map_or_else(Default::default, |first| history.place(first)),
            flaw: Flaw::Field(format!("{other} is no model of transactions")),
        }),
    }
}

/// The model that the transactions of a history suggest: by the first write in them, or by being transfers.
pub(crate) fn suggested(history: &History) -> Option<ModelName> {
    let are = |names: &[&str]| !history.is_empty() && history.operations().all(|op| names.contains(&op.f()));
    if are(&["read", "transfer"]) && history.knows("transfer") {
        return Some(ModelName::Bank);
    }
    if are(&["inc", "read"]) && history.knows("inc") {
        return Some(ModelName::Monotonic);
    }
    if history.knows("watch") {
        return Some(ModelName::Watch);
    }
    if !are(&["txn"]) {
        return None;
    }
    let f = |step: &Value| step.as_list()?.first()?.as_str().map(str::to_owned);
    history.operations().find_map(|operation| {
        let input = operation.input();
        let mut names = input.as_list()?.iter().filter_map(f);
        names.find_map(|name| match name.as_str() {
            "append" => Some(ModelName::ListAppend),
            "w" => Some(ModelName::RwRegister),
            _ => None,
        })
    })
}

impl TransactionAnalysis {
    /// The same as every other model tells it: the worst case becomes the counterexample.
    pub fn into_analysis(self, history: &History, init: Value) -> Analysis {
        let worst = self.anomalies.first().filter(|found| found.forbidden);
        let verdict = match (self.valid, worst) {
            (Validity::False, Some(worst)) => {
                let sentence = self.sentence.clone().unwrap_or_default();
                Verdict::Illegal(Box::new(counterexample(history, worst, sentence, init.clone())))
            }
            (Validity::Unknown, _) => {
                let why = self.unknown.unwrap_or_default();
                Verdict::Unknown(match self.gave_up {
                    true => Limit::GivenUp { why },
                    false => Limit::NoEvidence { why },
                })
            }
            _ => Verdict::Linearizable(Witness {
                orders: self
                    .witness
                    .map(|serial| Linearization {
                        key: None,
                        order: serial.order,
                    })
                    .into_iter()
                    .collect(),
            }),
        };
        Analysis {
            verdict,
            model: self.model.to_owned(),
            init,
            init_guessed: false,
            operations: self.operations,
            subhistories: 1,
            illegal_keys: Vec::new(),
            elapsed: self.elapsed,
        }
    }
}

fn counterexample(history: &History, worst: &Anomalies, sentence: String, init: Value) -> Counterexample {
    let case: &Case = &worst.cases[0];
    let last = case
        .transactions
        .iter()
        .map(|operation| history.operation(operation.id))
        .max_by_key(|operation| operation.completed_index());
    let prefix = Prefix {
        last_index: last.and_then(Operation::completed_index).unwrap_or(0),
        last_time: last.and_then(Operation::completed_at).unwrap_or_default(),
    };
    let cycle = case.cycle.iter().map(|edge| CycleEdge {
        from: edge.from,
        to: edge.to,
        because: edge.because.clone(),
        relation: Some(edge.relation),
    });
    Counterexample {
        sentence,
        anomaly: Anomaly::Isolation(worst.kind),
        key: case.key.clone(),
        init,
        faults: last.map_or_else(Vec::new, |last| explain::faults(history, last)),
        operations: case.transactions.clone(),
        prefix,
        weakened: 0,
        dropped: history.len() - case.transactions.len(),
        minimal: false,
        cycle: cycle.collect(),
        stuck: Vec::new(),
    }
}

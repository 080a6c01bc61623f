//! Checks again what a check has found: a yes by its witness, a no by its counterexample.
//!
//! What a report says of a history is a claim. It is taken apart here by code that shares nothing with the engines
//! but the model in plain words: a witness is replayed; a counterexample's operations are compared with the
//! history, field by field, weakened as it says, and judged by the plainest search there is ([`crate::judge`]);
//! every edge of its cycle must follow from the history; its words must be the ones that these operations get.
//! Whoever trusts this module and the models need trust nothing else of this crate.

mod claim;
mod counterexample;
mod cycle;
mod transactions;
mod witness;

use std::fmt;

use crate::check::{CheckError, judged_by, model_of};
use crate::history::{History, OpId};
use crate::model::{Domain, ModelFailure, WithDomain, caught, with_domain};
use crate::options::CheckOptions;
use crate::subhistory::Subhistories;

pub use claim::ClaimError;
use claim::{Claim, Said};

/// What became of a proof.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Proof {
    /// It proves what it claims; with what a person should know about that.
    Holds {
        /// What was shown: that the history is legal, or illegal.
        shown: String,
        /// What could not be decided on the way, and does not matter to what was shown.
        notes: Vec<String>,
    },
    /// It does not, and this is why.
    Wrong(Fault),
    /// It cannot be told.
    Undecided(String),
}

/// What is wrong with a proof.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Where in the results: `counterexample.operations[2].output`.
    pub place: String,
    /// The line of the history that says otherwise, if one does.
    pub line: Option<u64>,
    /// What is wrong.
    pub problem: String,
}

impl Proof {
    /// The exit code: 0 if it holds, 1 if it is wrong, 2 if it cannot be told.
    pub fn exit_code(&self) -> u8 {
        match self {
            Proof::Holds { .. } => 0,
            Proof::Wrong(_) => 1,
            Proof::Undecided(_) => 2,
        }
    }
}

impl Fault {
    fn new(place: impl Into<String>, problem: impl Into<String>) -> Fault {
        Fault {
            place: place.into(),
            line: None,
            problem: problem.into(),
        }
    }

    /// One that a line of the history shows.
    fn at(history: &History, op: OpId, place: impl Into<String>, problem: impl Into<String>) -> Fault {
        Fault {
            line: Some(history.operation(op).line()),
            ..Fault::new(place, problem)
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}: {}", self.place, self.problem)?;
        match self.line {
            Some(line) => write!(out, " (line {line} of the history)"),
            None => Ok(()),
        }
    }
}

impl From<Fault> for Proof {
    fn from(fault: Fault) -> Proof {
        Proof::Wrong(fault)
    }
}

/// Why a proof could not be looked at.
#[derive(Debug, thiserror::Error)]
pub enum ProofError {
    /// The results hold no claim that can be checked.
    #[error(transparent)]
    Claim(#[from] ClaimError),
    /// The history cannot be judged by the model that the options, or the history itself, name.
    #[error(transparent)]
    History(#[from] CheckError),
}

/// Checks what a results file claims of a history.
///
/// `results` is the text of a file as `checker check --json` or a run writes it. The options decide what the
/// history leaves unsaid (model, initial value, failed cas) and must be those of the check; what the results say of
/// themselves is compared with that, never believed.
///
/// # Errors
/// [`ProofError`] if the results are none, or the history cannot be judged so.
pub fn verify(results: &str, history: &History, options: &CheckOptions) -> Result<Proof, ProofError> {
    let claim = Claim::read(results)?;
    let model = model_of(history, options)?;
    if let Some(fault) = claim.contradicts(history, model) {
        return Ok(fault.into());
    }
    if model.is_transactional() {
        let options = options.transactions_of(history);
        return Ok(transactions::verify(&claim, history, model, &options)?);
    }
    let by = judged_by(history, options, model);
    let question = Question {
        claim: &claim,
        history,
    };
    with_domain(history, &by, question).map_err(|problem| CheckError::Init { model, problem })?
}

struct Question<'a> {
    claim: &'a Claim,
    history: &'a History,
}

impl WithDomain for Question<'_> {
    type Output = Result<Proof, ProofError>;

    fn run<D: Domain>(self, domain: &D, whole: bool) -> Self::Output {
        let Question { claim, history } = self;
        domain
            .validate(history)
            .map_err(|(op, flaw)| CheckError::from(history.malformed(op, flaw)))?;
        let subhistories = Subhistories::of(history, whole);
        let judged = claim.judged_as(domain.name(), &domain.init_value(), subhistories.len());
        if let Err(fault) = judged {
            return Ok(fault.into());
        }
        let asked = |verify: &dyn Fn() -> Proof| {
            caught(verify).unwrap_or_else(|ModelFailure { message }| {
                Proof::Undecided(format!("the model failed: {message}; the model must be mended"))
            })
        };
        Ok(match &claim.said {
            Said::Legal(witness) => asked(&|| witness::verify(witness, history, domain, &subhistories)),
            Said::Illegal(found) => asked(&|| counterexample::verify(found, history, domain, &subhistories)),
            Said::Unknown => Proof::Undecided(UNKNOWN.to_owned()),
            Said::Anomalies(_) => Fault::new(
                "anomalies",
                "the history holds no transactions, but the results are of some",
            )
            .into(),
        })
    }
}

const UNKNOWN: &str = "the results say that the verdict is unknown, so there is nothing to check";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::check;
    use crate::model::fragile;
    use crate::options::Explain;

    /// What a check by the plain counter says of a history, looked at by a model that fails.
    fn looked_at(operations: &[(&str, &'static str, i64, i64)], explain: Explain) -> Proof {
        let history = fragile::history(operations);
        let options = CheckOptions {
            explain,
            ..CheckOptions::default()
        };
        let analysis = check(&history, &options).expect("judged");
        let results = serde_json::to_string(&analysis).expect("JSON");
        let claim = Claim::read(&results).expect("a claim");
        let question = Question {
            claim: &claim,
            history: &history,
        };
        question.run(&fragile::domain(), false).expect("it can be read")
    }

    #[test]
    fn a_model_that_fails_leaves_a_proof_undecided() {
        let failed = "the model failed: thirteen is too much (at add 13); the model must be mended";
        let legal = [("a", "add", 13, 13)];
        assert_eq!(
            looked_at(&legal, Explain::Minimal),
            Proof::Undecided(failed.to_owned())
        );
        let illegal = [("a", "add", 13, 13), ("a", "read", 0, 5)];
        assert_eq!(
            looked_at(&illegal, Explain::Minimal),
            Proof::Undecided(failed.to_owned())
        );
    }

    #[test]
    fn a_counterexample_without_operations_is_neither_proved_nor_wrong() {
        let illegal = [("a", "add", 1, 1), ("a", "read", 0, 5)];
        assert_eq!(
            looked_at(&illegal, Explain::Nothing),
            Proof::Undecided(counterexample::UNTOLD.to_owned())
        );
    }
}

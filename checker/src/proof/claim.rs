//! What a results file claims.

use serde::de::IgnoredAny;
use serde_json::Value as Json;

use super::Fault;
use crate::history::{History, Value};
use crate::options::ModelName;

/// Why a file holds no claim.
#[derive(Debug, thiserror::Error)]
pub enum ClaimError {
    /// It is no JSON.
    #[error("no JSON: {0}")]
    NoJson(#[from] serde_json::Error),
    /// It holds several results.
    #[error("results of several histories: cut out the line of this one")]
    Several,
    /// Something that results have is missing.
    #[error("no results of a check: {0}")]
    NoResults(&'static str),
}

/// The claims of one results file.
#[derive(Debug)]
pub(super) struct Claim {
    pub(super) said: Said,
    model: Option<Json>,
    init: Option<Json>,
    operations: Option<Json>,
    subhistories: Option<Json>,
}

/// The verdict with what is to prove it.
#[derive(Debug)]
pub(super) enum Said {
    Legal(Json),
    Illegal(Json),
    Unknown,
    /// What `check --json` says of transactions: all of it.
    Anomalies(Json),
}

impl Claim {
    /// Reads results as `check --json` writes them, or as a run does, which has them under `analysis`.
    pub(super) fn read(text: &str) -> Result<Claim, ClaimError> {
        let mut documents = serde_json::Deserializer::from_str(text).into_iter::<Json>();
        let whole = documents
            .next()
            .ok_or(ClaimError::NoResults("the file is empty"))??;
        if documents.next().is_some_and(|next| next.is_ok()) {
            return Err(ClaimError::Several);
        }
        // What follows a document must be nothing at all.
        serde_json::from_str::<IgnoredAny>(text)?;
        let results = whole.get("analysis").unwrap_or(&whole);
        let field = |name: &str| results.get(name).filter(|value| !value.is_null()).cloned();
        let valid = field("valid").ok_or(ClaimError::NoResults("\"valid\" is missing"))?;
        let witness = || {
            let told = field("witness");
            told.ok_or(ClaimError::NoResults(
                "\"valid\" is true, but there is no \"witness\"",
            ))
        };
        let counterexample = || {
            let told = field("counterexample");
            told.ok_or(ClaimError::NoResults(
                "\"valid\" is false, but there is no \"counterexample\"",
            ))
        };
        let said = match &valid {
            Json::String(unknown) if unknown == "unknown" => Said::Unknown,
            _ if field("anomalies").is_some() => Said::Anomalies(results.clone()),
            Json::Bool(true) => Said::Legal(witness()?),
            Json::Bool(false) => Said::Illegal(counterexample()?),
            _ => {
                return Err(ClaimError::NoResults(
                    "\"valid\" is neither true, false nor \"unknown\"",
                ));
            }
        };
        Ok(Claim {
            said,
            model: field("model"),
            init: results.get("init").cloned(),
            operations: field("operations"),
            subhistories: field("subhistories"),
        })
    }

    /// What it says of the history as a whole that is not so.
    pub(super) fn contradicts(&self, history: &History, model: ModelName) -> Option<Fault> {
        let told = self.model.as_ref().and_then(Json::as_str);
        if told != Some(model.as_str()) {
            let told = told.unwrap_or("none");
            let problem = format!(
                "judged by {told}, but the history is to be judged by {model}; --model {told} says otherwise"
            );
            return Some(Fault::new("model", problem));
        }
        if self.operations.as_ref().and_then(Json::as_u64) != Some(history.len() as u64) {
            let told = self.operations.as_ref().unwrap_or(&Json::Null);
            let problem = format!(
                "{told}, but the history has {}: is it another one?",
                history.len()
            );
            return Some(Fault::new("operations", problem));
        }
        None
    }

    /// What it says of how it was judged, which must be how it is judged now.
    pub(super) fn judged_as(&self, model: &str, init: &Value, subhistories: usize) -> Result<(), Fault> {
        let told = self.model.as_ref().and_then(Json::as_str);
        if told != Some(model) {
            return Err(Fault::new(
                "model",
                format!("judged by another model than {model}"),
            ));
        }
        if self.init.as_ref() != Some(&init.to_json()) {
            let told = self.init.as_ref().unwrap_or(&Json::Null);
            let problem = format!("{told}, but the history begins with {init}; --init {told} says otherwise");
            return Err(Fault::new("init", problem));
        }
        if self.subhistories.as_ref().and_then(Json::as_u64) != Some(subhistories as u64) {
            let told = self.subhistories.as_ref().unwrap_or(&Json::Null);
            return Err(Fault::new(
                "subhistories",
                format!("{told}, but there are {subhistories}"),
            ));
        }
        Ok(())
    }
}

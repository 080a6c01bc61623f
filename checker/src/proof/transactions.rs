//! Checks what is said of transactions.

use super::claim::{Claim, Said};
use super::{Proof, UNKNOWN};
use crate::check::CheckError;
use crate::history::History;
use crate::options::ModelName;
use crate::transactions::TransactionOptions;

pub(super) fn verify(
    claim: &Claim,
    _history: &History,
    _model: ModelName,
    _options: &TransactionOptions,
) -> Result<Proof, CheckError> {
    Ok(match &claim.said {
        Said::Unknown => Proof::Undecided(UNKNOWN.to_owned()),
        _ => Proof::Undecided("what is said of transactions cannot be checked again".to_owned()),
    })
}

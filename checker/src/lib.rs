//! Decides from a recorded history whether a store was linearizable, and proves it.

mod check;
mod engine;
mod explain;
pub mod generate;
pub mod history;
pub mod model;
mod options;
#[cfg(test)]
mod oracle;
#[cfg(test)]
mod properties;
mod read;
mod replay;
mod subhistory;
pub mod transactions;
mod verdict;

pub use check::{CheckError, check, model_of};
pub use options::{CasFail, CheckOptions, Explain, ModelName, Violations};
pub use read::{ReadOptions, Tuples};
pub use verdict::{
    Analysis, Anomaly, CoreOperation, Counterexample, CycleEdge, Limit, Linearization, Prefix, Stand,
    Validity, Verdict, Witness,
};

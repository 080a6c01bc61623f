//! Decides from a recorded history whether a store was linearizable, and proves it.

pub mod history;
mod options;
mod verdict;

pub use options::{CasFail, CheckOptions, Explain, ModelName, Violations};
pub use verdict::{
    Analysis, Anomaly, CoreOperation, Counterexample, CycleEdge, Limit, Linearization, Prefix, Stand,
    Validity, Verdict, Witness,
};

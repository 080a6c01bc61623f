//! Decides from a recorded history whether a store was linearizable, and proves it.
//!
//! A history says what clients asked, when, and what came back when. It is linearizable (Herlihy & Wing 1990) if
//! every operation can be thought to take effect at one moment between its invocation and its completion, so
//! that a simple sequential [`model::Model`] gives all the results. The verdict comes with what proves it: an
//! order of the operations, replayed by code that shares nothing with the search but the model; or a few
//! operations that contradict each other, with a sentence about them.
//!
//! ```
//! use checker::history::{Event, EventKind, Header, History, Nanos, ProcessId, Value};
//! use checker::{CheckOptions, Verdict, check};
//!
//! let event = |index, process, kind, f: &'static str, value: Value| {
//!     Event::new(index, Nanos(index * 1_000_000), ProcessId(process), kind, f, value)
//! };
//! let history = History::from_events(Header::for_model("register"), vec![
//!     event(0, 1, EventKind::Invoke, "set", Value::Int(5)),
//!     event(1, 1, EventKind::Ok, "set", Value::Int(5)),
//!     event(2, 3, EventKind::Invoke, "get", Value::Nil),
//!     event(3, 3, EventKind::Ok, "get", Value::Nil),
//! ])?;
//! let Verdict::Illegal(found) = check(&history, &CheckOptions::default())?.verdict else {
//!     panic!("a write that had completed was not read");
//! };
//! assert_eq!(
//!     found.sentence,
//!     "process 3 read nil from 0.002 s to 0.003 s, but process 1 wrote 5 from 0.000 s to 0.001 s, before that \
//!      began, and nothing wrote nil after it (nil was the initial value); nobody ever saw 5"
//! );
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! A model of one's own is a state and a step:
//!
//! ```
//! use checker::history::{Event, EventKind, Header, History, Nanos, ProcessId, Value};
//! use checker::model::{Invocation, Model, Observed};
//! use checker::{CheckOptions, Verdict, check_model};
//!
//! /// Remembers the largest number that it was ever told.
//! struct Maximum;
//!
//! impl Model for Maximum {
//!     type State = i64;
//!
//!     fn init(&self) -> i64 {
//!         0
//!     }
//!
//!     fn step(&self, largest: &i64, operation: &Invocation) -> Option<i64> {
//!         match (&*operation.f, &operation.result) {
//!             ("tell", _) => Some(*largest.max(&operation.input.as_int()?)),
//!             ("ask", Observed::Ok(answer, _)) => (answer.as_int() == Some(*largest)).then_some(*largest),
//!             _ => Some(*largest),
//!         }
//!     }
//! }
//!
//! let event = |index, kind, f: &'static str, value| {
//!     Event::new(index, Nanos(index), ProcessId(0), kind, f, Value::Int(value))
//! };
//! let history = History::from_events(Header::default(), vec![
//!     event(0, EventKind::Invoke, "tell", 7),
//!     event(1, EventKind::Ok, "tell", 7),
//!     event(2, EventKind::Invoke, "ask", 0),
//!     event(3, EventKind::Ok, "ask", 3),
//! ])?;
//! let verdict = check_model(&history, Maximum, &CheckOptions::default())?.verdict;
//! assert!(matches!(verdict, Verdict::Illegal(_)));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! What holds throughout:
//! - Raw events become a [`history::History`] only by pairing and validation; nobody checks again.
//! - A verdict is never partial: what runs out is [`Verdict::Unknown`], and that is never success.
//! - Every order that is reported was replayed. Every core that is called minimal was shown to be.
//! - Of several violations the same one is reported whatever the threads do.
//!
//! What this crate does not know, on purpose: sockets, clocks, stores, and how a history came about.
//!
//! Sources: Wing & Gong 1993 and Lowe 2017 (searching just in time), Gibbons & Korach 1997 (values written once),
//! Horn & Kroening 2015 (one key at a time), Junker 2004 (small cores).

mod check;
mod contradictions;
pub mod convert;
pub mod cut;
mod edn_writer;
mod engine;
mod explain;
pub mod figures;
pub mod generate;
pub mod history;
mod judge;
pub mod model;
mod monitor;
mod options;
#[cfg(test)]
mod oracle;
mod precheck;
mod proof;
#[cfg(test)]
mod properties;
mod quantiles;
mod read;
pub mod render;
mod replay;
mod sequential;
mod set_full;
mod stale_bound;
pub mod stats;
mod subhistory;
pub mod transactions;
mod verdict;

pub use check::{CheckError, check, check_model, model_of};
pub use explain::{minimize, timeline};
pub use monitor::{Monitor, Status};
pub use options::{CasFail, CheckOptions, Explain, ModelName, Violations};
pub use proof::{ClaimError, Fault, Proof, ProofError, verify};
pub use quantiles::Quantiles;
pub use read::{ReadOptions, Tuples};
pub use sequential::sequential;
pub use set_full::{Duplicate, Element, SetFull, Stale, set_full};
pub use stale_bound::{StaleBound, StaleLimits, StaleRead, stale_bound};
pub use verdict::{
    Analysis, Anomaly, CoreOperation, Counterexample, CycleEdge, Limit, Linearization, Prefix, Stand,
    Validity, Verdict, Witness,
};

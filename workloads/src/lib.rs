//! Drives a cluster under faults, records the history, and reports the verdict.
//!
//! The question that this crate answers: *does this store do what it promises while things break?* It starts a
//! cluster from a [`system`] file, has a [`generator`] say what the clients do, speaks it through a [`client`],
//! writes it down with a [`recorder`], breaks the [`cluster`] by a plan of faults meanwhile, and hands the
//! history to the checker. Then it asks whether the run was [`evidence`] at all, and writes a [`report`].
//!
//! ```
//! use checker::history::Nanos;
//! use workloads::generator::{Context, Generator, Mixed, MixedOptions, Next, Pace, Paced};
//!
//! // A generator is a pure value: the same seed and the same questions give the same answers.
//! let mixed = Mixed::new(MixedOptions { seed: 7, ..MixedOptions::default() });
//! let mut load = Paced::new(mixed, Pace::Closed, 1000.0);
//! let context = Context { now: Nanos(0), worker: 0, node: 0 };
//! let Next::Invoke { invocation, .. } = load.next(context) else { panic!("the mix is endless") };
//! assert!(["get", "set", "cas"].contains(&invocation.f));
//! ```
//!
//! # Invariants
//! - The runner is the only writer of a history, and the history holds everything: faults, what the probes saw,
//!   where the phases end. Whatever is said of a run can be said again from its file.
//! - The client under test never retries. A client that got no answer retires its process id.
//! - Every written value is unique for its key.
//! - A run that did too little, or whose faults did not bite, is Unknown, never valid.
//! - Nothing outlives the runner: not after Ctrl-C, not after SIGKILL.
//!
//! # What it deliberately does not know
//! How to cut a link or search a history: `nemesis` and `checker` do. What kvnode is: it reaches it as it reaches
//! any other store, through a file.
//!
//! Whom it follows: Jepsen (generators, nemesis, store, the last line), Gil Tene on coordinated omission.

pub mod binary;
pub mod campaign;
pub mod ci;
pub mod cli;
pub mod client;
pub mod cluster;
pub mod config;
pub mod controls;
pub mod doctor;
pub mod evidence;
pub mod export;
pub mod generator;
pub mod hand;
pub mod list;
pub mod live;
pub mod matrix;
pub mod recorder;
pub mod reduce;
pub mod report;
pub mod runner;
pub mod scorecard;
pub mod serve;
pub mod soak;
pub mod store;
pub mod system;
pub mod workload;

//! Injects partitions, kills, pauses and other faults into a cluster, and undoes them.
//!
//! The question that this crate answers: *what does a store do when its world
//! breaks, and did the world really break?* A fault is a value with a known undo.
//! It is written to a journal on disk, then applied, then looked at: packets are
//! sent over the links that should be cut, processes are looked at, and what was
//! seen is part of the answer. A fault that did not bite is no evidence of anything.
//!
//! ```
//! use nemesis::{Direction, Shape, grudge};
//! use rand::SeedableRng;
//!
//! let nodes: Vec<nemesis::NodeId> = (1..=5).map(nemesis::NodeId::numbered).collect();
//! let shape: Shape = "n1,n2/n3,n4,n5".parse()?;
//! let mut rng = rand::rngs::ChaCha8Rng::seed_from_u64(7);
//! let cut = grudge::grudge(&shape, Direction::Both, &nodes, None, &mut rng)?;
//! assert_eq!((cut.cuts.len(), cut.sentence.as_str()), (12, "n1, n2 | n3, n4, n5"));
//! # Ok::<(), nemesis::grudge::ShapeError>(())
//! ```
//!
//! # Invariants
//! - What is desired is one full link matrix and a state for each node: the sum
//!   of the faults in force. It is applied idempotently, and again where it is lost.
//! - A fault is on disk before anything of it is done, and is struck out only
//!   after it is undone. So whoever comes after a crash can heal.
//! - Everything random comes from a seed.
//!
//! # What it deliberately does not know
//! Operations, histories, verdicts; what runs on the nodes; when a fault should
//! strike other than by the plan it is given.
//!
//! Whom it follows: Jepsen's nemeses and their grudges, Maelstrom's and
//! TigerBeetle's simulated networks, netem(8) for what can befall a packet.

pub mod backend;
pub mod cli;
pub mod cluster_file;
pub mod control;
pub mod docker;
pub mod doctor;
pub mod duration;
pub mod effect;
pub mod fault;
pub mod grudge;
pub mod journal;
pub mod keeper;
pub mod lab;
pub mod link;
pub mod node;
pub mod out;
pub mod plan;
pub mod probe;
pub mod record;
pub mod requests;
pub mod site;
pub mod ssh;
pub mod target;
pub mod watchdog;

mod damage;
mod kernel;
mod namespace;
mod nemesis;
mod prober;

pub use backend::{Backend, BackendError, Unsupported};
pub use cluster_file::ClusterFile;
pub use duration::Span;
pub use fault::{Ability, Fault};
pub use grudge::{Direction, Shape};
pub use journal::FaultId;
pub use keeper::Keeper;
pub use link::{Link, LinkMatrix};
pub use nemesis::{Nemesis, NemesisError};
pub use node::{NodeId, NodeState};
pub use plan::{Plan, PlanOptions};
pub use record::{Applied, Healed, Record, Status, Undone};
pub use target::Target;

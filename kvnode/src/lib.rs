//! A Raft-replicated HTTP key-value store, the first subject of Ordeal.
//!
//! The question this crate answers: what does a store look like whose answers can be
//! trusted while its machines fail? Consensus is openraft's; ours is what is around
//! it, where stores are usually lost: durability, the paths of reads and writes, and
//! telling a client the truth about what became of its request.
//!
//! ```sh
//! kvnode --dev                                   # one node on 127.0.0.1:8000
//! curl 'localhost:8000/set?key=a&value=1'        # {"ok":true,"version":2,"index":2}
//! curl 'localhost:8000/cas?key=a&expected=1&value=2'
//! curl 'localhost:8000/get?key=a'                # {"key":"a","value":"2","version":3}
//! ```
//!
//! What holds:
//! - a write is acknowledged after a majority has it on disk, and survives SIGKILL of
//!   all nodes at once;
//! - a read reflects every write acknowledged before it began, on every node: a
//!   quorum confirms the leader after the read has begun (ReadIndex, Ongaro 2014,
//!   §6.4), and the node answers once it has applied that far;
//! - `"outcome":"not_applied"` is said only when nothing was proposed; whatever may
//!   yet take effect is `"unknown"`, and is never sent again by us;
//! - every request is answered by its deadline.
//!
//! What it deliberately does not know: who tests it. The test suite reaches it as it
//! reaches any other store, over HTTP.
//!
//! In reading order: [`command`] and [`state`] are the replicated machine, pure;
//! [`raft`] is openraft wrapped, with the log and snapshots; [`peer`] carries it
//! between nodes; [`node`] and [`service`] are the paths of reads and writes;
//! [`http`] is what clients see; [`secure`] is who may; [`bootstrap`] is how a cluster comes to be,
//! [`backup`] how it comes to be again. [`mod@env`] is the only door to the outside world.

pub mod command;
pub mod feed;
pub mod state;

pub mod raft;

pub mod peer;

pub mod membership;
pub mod node;
pub mod proposals;
pub mod read_gate;
pub mod service;
pub mod work;

pub mod secure;

pub mod health;
pub mod histogram;
pub mod http;
pub mod metrics;
pub mod tag;

pub mod backup;

pub mod bench;
pub mod bootstrap;
pub mod cli;
pub mod client;
pub mod cluster;
pub mod config;
pub mod console;
pub mod data_dir;
pub mod env;
pub mod inspect;
pub mod out;
pub mod run;
pub mod seams;
pub mod settings;

#[cfg(feature = "planted-bugs")]
pub mod planted;

/// The version of this build; it says so when bugs are planted in it.
pub const VERSION: &str = if cfg!(feature = "planted-bugs") {
    concat!(env!("CARGO_PKG_VERSION"), "+planted-bugs")
} else {
    env!("CARGO_PKG_VERSION")
};

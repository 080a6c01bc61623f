//! What a node is started with, validated once.

use std::path::PathBuf;
use std::time::Duration;

use crate::cluster::{ClusterSpec, NodeId, Peer};

/// A node's settings. Made by [`Config::validated`]; beyond it nobody checks again.
#[derive(Debug, Clone)]
pub struct Config {
    /// This node.
    pub id: NodeId,
    /// The members the cluster starts with, and where this node looks for them.
    pub cluster: ClusterSpec,
    /// The cluster's name: nodes of different clusters refuse each other.
    pub cluster_id: String,
    /// Where this node keeps what must survive.
    pub data_dir: PathBuf,
    /// Where it listens, if not at its own address in `cluster`.
    pub listen_host: Option<String>,
    /// Whether it may listen beyond the loopback unprotected.
    pub insecure: bool,
    /// Milliseconds between heartbeats.
    pub heartbeat_ms: u64,
    /// Shortest and longest time without a leader after which a node stands for
    /// election. The longest is also the lease that a leader's followers give it.
    pub election_min_ms: u64,
    /// See `election_min_ms`.
    pub election_max_ms: u64,
    /// Applied entries after which a snapshot is written; 0: by bytes of log alone.
    pub snapshot_every: u64,
    /// Bytes of log after which a snapshot is written, or the size of the state if
    /// that is more: what is rewritten stays in proportion to what is written.
    pub snapshot_bytes: u64,
    /// Entries kept in the log although a snapshot has them, for followers a little
    /// behind.
    pub log_keep: u64,
    /// How long a client's request may take.
    pub deadline: Duration,
    /// Names of the bugs planted in this run; empty in a build that has none.
    pub bugs: Vec<String>,
}

/// Why settings cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// The node is not in its own cluster.
    #[error("node {0} is not in --cluster: add {0}=HOST:HTTPPORT:RAFTPORT to it")]
    NotMember(NodeId),
    /// The election timings contradict each other.
    #[error(
        "heartbeat {heartbeat} ms, election {min} to {max} ms: an election must take at least two heartbeats, and its longest time more than its shortest"
    )]
    Timing {
        /// Milliseconds between heartbeats.
        heartbeat: u64,
        /// Shortest election timeout, ms.
        min: u64,
        /// Longest election timeout, ms.
        max: u64,
    },
    /// A deadline of nothing.
    #[error("a deadline of 0 ms answers nothing: give --deadline-ms at least 1")]
    Deadline,
}

impl Config {
    /// Checks what the flags cannot check one by one.
    ///
    /// # Errors
    /// [`ConfigError`] says which settings contradict each other.
    pub fn validated(self) -> Result<Config, ConfigError> {
        if !self.cluster.members().contains_key(&self.id) {
            return Err(ConfigError::NotMember(self.id));
        }
        let (heartbeat, min, max) = (self.heartbeat_ms, self.election_min_ms, self.election_max_ms);
        if heartbeat == 0 || min < 2 * heartbeat || max <= min {
            return Err(ConfigError::Timing { heartbeat, min, max });
        }
        if self.deadline.is_zero() {
            return Err(ConfigError::Deadline);
        }
        Ok(self)
    }

    /// This node's own entry in the cluster.
    pub fn own(&self) -> &Peer {
        &self.cluster.members()[&self.id]
    }

    /// Whether anyone but this machine can reach it.
    pub fn is_exposed(&self) -> bool {
        let (http, raft) = self.listen();
        !(is_loopback(&http) && is_loopback(&raft))
    }

    /// Where to listen for HTTP and for peers.
    pub fn listen(&self) -> (String, String) {
        let at = |address: &str| match (&self.listen_host, address.rsplit_once(':')) {
            (Some(host), Some((_, port))) => format!("{host}:{port}"),
            _ => address.to_owned(),
        };
        (at(&self.own().http), at(&self.own().raft))
    }
}

/// Whether `host:port` names this machine alone. A name other than `localhost` may
/// resolve to anything.
fn is_loopback(address: &str) -> bool {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

//! What a node is started with, validated once.

use std::path::PathBuf;
use std::time::Duration;

use crate::backup::periodic::Schedule;
use crate::cluster::{ClusterSpec, NodeId, Peer};
use crate::secure::keyring::SecureFiles;

/// A node's settings. Checked once by [`Config::check`]; beyond it nobody checks again.
#[derive(Debug, Clone)]
pub struct Config {
    /// This node.
    pub id: NodeId,
    /// The members the cluster starts with, and where this node looks for them.
    pub cluster: ClusterSpec,
    /// The cluster's name: nodes of different clusters refuse each other.
    pub cluster_id: String,
    /// Whether it waits to be added to a cluster that there is, and never makes one.
    pub join: bool,
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
    /// Certificates and tokens.
    pub secure: SecureFiles,
    /// Most connections of clients at once.
    pub max_connections: usize,
    /// How long a client's connection may be idle between requests.
    pub idle: Duration,
    /// How long a client may take to send a head or a body, or to take an answer.
    pub patience: Duration,
    /// When and where this node makes backups, if it does.
    pub backup: Option<Schedule>,
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
    /// A length of time of nothing.
    #[error("0 ms is no time for anything: give --{0} at least 1")]
    NoTime(&'static str),
    /// No connection at all.
    #[error("a node without connections serves nobody: give --max-connections at least 1")]
    NoConnections,
    /// Certificates of clients are asked for where no certificate is shown.
    #[error("--client-ca asks clients for certificates, which needs --tls-cert and --tls-key")]
    ClientCa,
    /// Backups by nobody.
    #[error("--backup-node {0} is not in --cluster: name a member, or nobody for whoever leads")]
    BackupNode(NodeId),
    /// Backups that are all thrown away, or never made.
    #[error("give --{0} at least 1")]
    NoBackups(&'static str),
    /// It would listen beyond the loopback for everyone.
    #[error(
        "this node would listen on {address} and {} there: give {}, or --insecure if whoever reaches it may do everything",
        .open.0, .open.1
    )]
    Exposed {
        /// Where it would listen.
        address: String,
        /// What anyone could do, and what would prevent it.
        open: (&'static str, &'static str),
    },
}

impl Config {
    /// Checks what the flags cannot check one by one.
    ///
    /// # Errors
    /// All that contradicts itself.
    pub fn check(&self) -> Result<(), Vec<ConfigError>> {
        let mut wrong = Vec::new();
        let (heartbeat, min, max) = (self.heartbeat_ms, self.election_min_ms, self.election_max_ms);
        if heartbeat == 0 || min < 2 * heartbeat || max <= min {
            wrong.push(ConfigError::Timing { heartbeat, min, max });
        }
        for (name, time) in [
            ("deadline-ms", self.deadline),
            ("idle-ms", self.idle),
            ("patience-ms", self.patience),
        ] {
            if time.is_zero() {
                wrong.push(ConfigError::NoTime(name));
            }
        }
        if self.max_connections == 0 {
            wrong.push(ConfigError::NoConnections);
        }
        if self.secure.client_ca.is_some() && self.secure.http.is_none() {
            wrong.push(ConfigError::ClientCa);
        }
        if let Some(backup) = &self.backup {
            if let Some(node) = backup
                .node
                .as_ref()
                .filter(|node| !self.cluster.members().contains_key(node))
            {
                wrong.push(ConfigError::BackupNode(node.clone()));
            }
            if backup.keep == 0 {
                wrong.push(ConfigError::NoBackups("backup-keep"));
            }
            if backup.every.is_zero() {
                wrong.push(ConfigError::NoBackups("backup-every-s"));
            }
        }
        if self.cluster.members().contains_key(&self.id) {
            wrong.extend(self.exposed());
        } else {
            wrong.push(ConfigError::NotMember(self.id.clone()));
        }
        match wrong.is_empty() {
            true => Ok(()),
            false => Err(wrong),
        }
    }

    /// What it would offer to everyone.
    fn exposed(&self) -> Vec<ConfigError> {
        if self.insecure {
            return Vec::new();
        }
        let (http, raft) = self.listen();
        let mut exposed = Vec::new();
        let mut open = |address: &str, open| {
            if !is_loopback(address) {
                let address = address.to_owned();
                exposed.push(ConfigError::Exposed { address, open });
            }
        };
        if self.secure.http.is_none() {
            open(&http, ("talk in plain", "--tls-cert and --tls-key"));
        }
        if self.secure.tokens.is_none() {
            open(&http, ("serve everyone", "--tokens"));
        }
        if self.secure.peers.is_none() {
            open(&raft, ("obey any peer", "--peer-ca"));
        }
        exposed
    }

    /// This node's own entry in the cluster.
    pub fn own(&self) -> &Peer {
        &self.cluster.members()[&self.id]
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

#[cfg(test)]
mod tests {
    use super::is_loopback;

    #[test]
    fn only_the_loopback_is_the_loopback() {
        for address in ["127.0.0.1:1", "127.9.9.9:1", "[::1]:1", "localhost:1"] {
            assert!(is_loopback(address), "{address}");
        }
        for address in [
            "0.0.0.0:1",
            "[::]:1",
            "10.0.0.1:1",
            "node1:1",
            "localhost.example:1",
            "[::ffff:127.0.0.1]:1",
        ] {
            assert!(!is_loopback(address), "{address}");
        }
    }
}

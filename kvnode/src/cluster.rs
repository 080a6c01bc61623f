//! Who is in the cluster: node names, their addresses, the `--cluster` flag.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// A node's name, such as `n1`: 1 to 32 of `a-z A-Z 0-9 - _ .`. It names one data
/// directory for the life of the cluster and is never given to another.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct NodeId(Arc<str>);

impl NodeId {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for NodeId {
    fn default() -> NodeId {
        NodeId(Arc::from(""))
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

impl fmt::Debug for NodeId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

impl FromStr for NodeId {
    type Err = ClusterError;

    fn from_str(text: &str) -> Result<NodeId, ClusterError> {
        let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
        if text.is_empty() || text.len() > 32 || !text.bytes().all(legal) {
            return Err(ClusterError::Name(text.to_owned()));
        }
        Ok(NodeId(Arc::from(text)))
    }
}

/// Where a node is reached, and which data directory it had when it joined.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Peer {
    /// `host:port` of its HTTP server.
    pub http: String,
    /// `host:port` of its Raft server.
    pub raft: String,
    /// The random number in its data directory when it was admitted, if it was
    /// reached then. A node that comes back with another number has lost its disk:
    /// it forgot what it voted for and acknowledged, and must not take part.
    pub incarnation: Option<u64>,
}

/// Why the text of a cluster is no cluster.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ClusterError {
    /// A node name outside the legal alphabet or length.
    #[error("'{0}' is no node name: 1 to 32 of a-z A-Z 0-9 - _ .")]
    Name(String),
    /// A member that is not `NAME=HOST:HTTPPORT:RAFTPORT`.
    #[error("'{0}' is no member: write NAME=HOST:HTTPPORT:RAFTPORT")]
    Member(String),
    /// The same name twice.
    #[error("node {0} is named twice")]
    Twice(NodeId),
}

/// The members a cluster starts with, by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterSpec {
    members: BTreeMap<NodeId, Peer>,
}

impl ClusterSpec {
    /// A cluster of these members.
    pub fn new(members: BTreeMap<NodeId, Peer>) -> ClusterSpec {
        ClusterSpec { members }
    }

    /// The members by name.
    pub fn members(&self) -> &BTreeMap<NodeId, Peer> {
        &self.members
    }
}

impl FromStr for ClusterSpec {
    type Err = ClusterError;

    /// Reads `n1=HOST:HTTPPORT:RAFTPORT,n2=...`; an IPv6 host stands in brackets.
    fn from_str(text: &str) -> Result<ClusterSpec, ClusterError> {
        let mut members = BTreeMap::new();
        for member in text.split(',').map(str::trim).filter(|member| !member.is_empty()) {
            let (id, peer) = parse_member(member)?;
            if members.insert(id.clone(), peer).is_some() {
                return Err(ClusterError::Twice(id));
            }
        }
        Ok(ClusterSpec { members })
    }
}

fn parse_member(text: &str) -> Result<(NodeId, Peer), ClusterError> {
    let wrong = || ClusterError::Member(text.to_owned());
    let (name, address) = text.split_once('=').ok_or_else(wrong)?;
    let (rest, raft) = address.rsplit_once(':').ok_or_else(wrong)?;
    let (host, http) = rest.rsplit_once(':').ok_or_else(wrong)?;
    let port = |text: &str| text.parse::<u16>().map_err(|_| wrong());
    let (http, raft) = (port(http)?, port(raft)?);
    if host.is_empty() || (host.contains(':') && !host.starts_with('[')) {
        return Err(wrong());
    }
    let peer = Peer {
        http: format!("{host}:{http}"),
        raft: format!("{host}:{raft}"),
        incarnation: None,
    };
    Ok((name.parse()?, peer))
}

/// Flags that say which node of which cluster is meant, and where its data is. All
/// optional, since a file may give them.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct PlaceArgs {
    /// This node's name in --cluster.
    #[arg(long, env = "KVNODE_NODE")]
    pub node: Option<String>,
    /// All members: NAME=HOST:HTTPPORT:RAFTPORT,...
    #[arg(long, env = "KVNODE_CLUSTER")]
    pub cluster: Option<String>,
    /// Where the node keeps its log and snapshots; made if absent.
    #[arg(long, env = "KVNODE_DATA_DIR", value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
}

impl PlaceArgs {
    /// All three, where nothing else gives them.
    ///
    /// # Errors
    /// Which is missing, or what is wrong with it.
    pub fn all(self) -> Result<(NodeId, ClusterSpec, PathBuf), String> {
        let (Some(node), Some(cluster), Some(data_dir)) = (self.node, self.cluster, self.data_dir) else {
            return Err("give --node, --cluster and --data-dir".to_owned());
        };
        let node = node.parse().map_err(|error| format!("--node: {error}"))?;
        let cluster = cluster.parse().map_err(|error| format!("--cluster: {error}"))?;
        Ok((node, cluster, data_dir))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cluster_reads_as_written() {
        let spec: ClusterSpec = "n1=127.0.0.1:8001:9001, n2=[::1]:8002:9002".parse().unwrap();
        let n2 = &spec.members()[&"n2".parse().unwrap()];
        assert_eq!((n2.http.as_str(), n2.raft.as_str()), ("[::1]:8002", "[::1]:9002"));
        assert_eq!(spec.members().len(), 2);
    }

    #[test]
    fn nonsense_is_refused_and_named() {
        for (text, want) in [
            ("n1", "'n1' is no member"),
            ("n1=host:1", "'n1=host:1' is no member"),
            ("n1=host:1:x", "'n1=host:1:x' is no member"),
            ("n1=::1:1:2", "'n1=::1:1:2' is no member"),
            ("n 1=host:1:2", "'n 1' is no node name"),
            ("n1=a:1:2,n1=b:1:2", "node n1 is named twice"),
            ("n1=a:70000:2", "is no member"),
        ] {
            let error = text.parse::<ClusterSpec>().unwrap_err().to_string();
            assert!(error.contains(want), "{text}: {error}");
        }
    }
}

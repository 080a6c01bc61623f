//! How a cluster comes to be: by itself, once.
//!
//! All nodes start with the same `--cluster`. The one with the lowest name makes the
//! cluster when it has never been part of one, and when enough of the others say the
//! same of themselves: so many that no cluster can exist among the rest. Its first
//! log entry is the membership, which remembers each data directory that answered.
//!
//! A node that starts with an empty directory although the cluster remembers another
//! has lost what it had voted for and acknowledged. If it took part again, an
//! acknowledged write could be forgotten, so it must not: it has to be removed and
//! added as a new one.
//!
//! All this holds for a cluster that began with all of its members. One that was restored
//! from a backup begins with one, and nodes that start before it could make a second, empty
//! cluster of its name. Told to join, a node never makes one.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use openraft::errors::{InitializeError, RaftError};
use tracing::{info, warn};

use crate::cluster::{NodeId, Peer};
use crate::env::clock::{self, Instant};
use crate::node::Node;
use crate::peer::message::{Reply, Request, Standing};
use crate::peer::network::Caller;

/// Pause before asking those again who did not answer.
const RETRY: Duration = Duration::from_millis(50);
/// How long one of them may take to answer.
const ANSWER: Duration = Duration::from_millis(500);

/// How long a member may take to hear that the node which had this name before was removed,
/// and this one added in its place. Until then it turns this one away.
const HEARSAY: Duration = Duration::from_secs(3);

/// Why a node must not take part.
#[derive(Debug, thiserror::Error)]
pub enum BootstrapError {
    /// The cluster remembers another data directory.
    #[error(
        "{peer} remembers {node} with another data directory: this one is empty, so what {node} had promised is lost; restore the directory, or remove {node} from the cluster and add it again"
    )]
    Wiped {
        /// Who remembers.
        peer: NodeId,
        /// This node.
        node: NodeId,
    },
    /// Consensus stopped.
    #[error("consensus has stopped: {0}")]
    Stopped(String),
}

/// Makes the cluster if this node is to; returns when it is part of one.
///
/// # Errors
/// When this node must not take part.
pub async fn bootstrap(node: Arc<Node>) -> Result<(), BootstrapError> {
    let members = node.config().cluster.members().clone();
    let lowest = members.keys().next() == Some(node.id());
    let caller = node.caller();
    let mut standings: BTreeMap<NodeId, Standing> = BTreeMap::new();
    let mut refused: BTreeMap<NodeId, Instant> = BTreeMap::new();
    let mut told = false;
    while node.is_pristine() {
        for (id, peer) in members.iter().filter(|(id, _)| *id != node.id()) {
            if let Some(standing) = probe(caller, id, peer).await {
                if standing
                    .expects
                    .is_some_and(|expected| expected != node.incarnation())
                {
                    let since = *refused.entry(id.clone()).or_insert_with(clock::now);
                    if since.elapsed() >= HEARSAY {
                        return Err(BootstrapError::Wiped {
                            peer: id.clone(),
                            node: node.id().clone(),
                        });
                    }
                } else {
                    refused.remove(id);
                }
                standings.insert(id.clone(), standing);
            }
        }
        if lowest && may_initialize(members.len(), &standings) {
            if !node.config().join {
                return initialize(&node, &members, &standings).await;
            }
            if !std::mem::replace(&mut told, true) {
                info!("no member knows of a cluster: waiting to be added to one, as --join says");
            }
        }
        clock::sleep(RETRY).await;
    }
    Ok(())
}

/// Whether no cluster of these members can exist: one would be known to a majority, of
/// whom all but this node are among the others, and too few of those have not said
/// that they know of none.
fn may_initialize(members: usize, standings: &BTreeMap<NodeId, Standing>) -> bool {
    let majority = members / 2 + 1;
    let pristine = standings.values().filter(|standing| standing.pristine).count();
    let silent = members - 1 - standings.len();
    members == 1 || (standings.len() == pristine && silent + 1 < majority)
}

async fn initialize(
    node: &Node,
    members: &BTreeMap<NodeId, Peer>,
    standings: &BTreeMap<NodeId, Standing>,
) -> Result<(), BootstrapError> {
    let mut remembered = members.clone();
    for (id, peer) in &mut remembered {
        let own = (id == node.id()).then(|| node.incarnation());
        peer.incarnation = own.or_else(|| standings.get(id).map(|standing| standing.incarnation));
    }
    info!(members = remembered.len(), "making the cluster");
    match node.raft().initialize(remembered).await {
        Ok(()) => Ok(()),
        // A leader reached us first: there is a cluster.
        Err(RaftError::APIError(InitializeError::NotAllowed(_))) => Ok(()),
        Err(error) => Err(BootstrapError::Stopped(error.to_string())),
    }
}

async fn probe(caller: &Caller, id: &NodeId, peer: &Peer) -> Option<Standing> {
    let ask = async { caller.connect(id, peer).await?.call(&Request::Probe).await };
    match clock::timeout(ANSWER, ask).await {
        Ok(Ok(Reply::Probe(standing))) => Some(standing),
        Ok(Ok(_)) => None,
        Ok(Err(error)) => {
            if error.kind() == std::io::ErrorKind::Other {
                warn!(peer = %id, %error, "cannot ask a member whether there is a cluster");
            }
            None
        }
        Err(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn standings(pristine: usize, initialized: usize) -> BTreeMap<NodeId, Standing> {
        (0..pristine + initialized)
            .map(|n| {
                let standing = Standing {
                    incarnation: n as u64,
                    pristine: n < pristine,
                    expects: None,
                };
                (format!("n{}", n + 2).parse().unwrap(), standing)
            })
            .collect()
    }

    /// For every cluster size: a cluster that existed is on a majority, perhaps with
    /// this (wiped) node among it. Whoever is silent may be part of it.
    #[test]
    fn no_second_cluster_can_be_made() {
        for members in 1..=7_usize {
            let majority = members / 2 + 1;
            for pristine in 0..members {
                for initialized in 0..members - pristine {
                    let silent = members - 1 - pristine - initialized;
                    let could_exist = initialized > 0 || (members > 1 && silent + 1 >= majority);
                    let may = may_initialize(members, &standings(pristine, initialized));
                    assert_eq!(
                        may, !could_exist,
                        "{members} members, {pristine} pristine, {initialized} not"
                    );
                }
            }
        }
    }
}

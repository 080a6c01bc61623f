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
//! added as a new one. A member that was cut off may not have heard of that yet and still
//! remembers the old directory, so the word of whoever knows the latest membership counts,
//! and it must stand for a while.
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

/// How long this node is turned away before it believes it: only a member that lags may have
/// been reached yet.
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
    let mut hearsay = Hearsay::default();
    let (mut told, mut warned) = (false, false);
    while node.is_pristine() {
        for (id, peer) in members.iter().filter(|(id, _)| *id != node.id()) {
            if let Some(standing) = probe(caller, id, peer).await {
                let against = standing.is_against(node.incarnation());
                if against && !std::mem::replace(&mut warned, true) {
                    warn!(peer = %id, "a member remembers this node with another data directory: waiting for one that knows better");
                }
                standings.insert(id.clone(), standing);
            }
        }
        if let Some(peer) = hearsay.believed(&standings, node.incarnation(), clock::now()) {
            let (peer, node) = (peer.clone(), node.id().clone());
            return Err(BootstrapError::Wiped { peer, node });
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

/// Since when this node is turned away.
#[derive(Debug, Default)]
struct Hearsay {
    since: Option<Instant>,
}

impl Hearsay {
    /// Who remembers another data directory of this node's name, if nobody is known to know
    /// better and that has been so for [`HEARSAY`]. Whoever answered once and is silent now
    /// still counts: what it knew was so.
    fn believed<'s>(
        &mut self,
        standings: &'s BTreeMap<NodeId, Standing>,
        own: u64,
        now: Instant,
    ) -> Option<&'s NodeId> {
        let latest = standings
            .iter()
            .max_by_key(|(_, standing)| standing.members_since);
        let against = latest.filter(|(_, standing)| standing.is_against(own));
        let Some((peer, _)) = against else {
            self.since = None;
            return None;
        };
        let since = *self.since.get_or_insert(now);
        (now.duration_since(since) >= HEARSAY).then_some(peer)
    }
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
    use openraft::vote::leader_id_std::CommittedLeaderId;

    use super::*;
    use crate::raft::LogId;

    fn standings(pristine: usize, initialized: usize) -> BTreeMap<NodeId, Standing> {
        (0..pristine + initialized)
            .map(|n| {
                let standing = Standing {
                    incarnation: n as u64,
                    pristine: n < pristine,
                    expects: None,
                    members_since: None,
                };
                (format!("n{}", n + 2).parse().unwrap(), standing)
            })
            .collect()
    }

    /// What a member says that knows the membership at this index.
    fn member(index: u64, expects: Option<u64>) -> Standing {
        Standing {
            incarnation: 1,
            pristine: false,
            expects,
            members_since: Some(LogId::new(CommittedLeaderId::new(1), index)),
        }
    }

    /// What is believed, at each of these times (ms), if the members then say this.
    fn believed(said: &[(u64, &[Standing])]) -> Vec<bool> {
        const OWN: u64 = 7;
        let (begun, mut hearsay, mut standings) = (clock::now(), Hearsay::default(), BTreeMap::new());
        let look = |(after_ms, said): &(u64, &[Standing])| {
            let names = (2..).map(|n| format!("n{n}").parse().unwrap());
            standings.extend(names.zip(said.iter().cloned()));
            let now = begun + Duration::from_millis(*after_ms);
            hearsay.believed(&standings, OWN, now).is_some()
        };
        said.iter().map(look).collect()
    }

    const WIPED: Option<u64> = Some(9);
    const LATER: u64 = 3_000;

    #[test]
    fn whoever_is_turned_away_for_long_has_lost_its_directory() {
        let away = [member(5, WIPED), member(5, WIPED)];
        assert_eq!(
            believed(&[(0, &away), (2_999, &away), (LATER, &away)]),
            [false, false, true]
        );
        // One of them was reached late, and says the same.
        assert_eq!(believed(&[(0, &away[..1]), (LATER, &away)]), [false, true]);
        // Nobody else answers any more: what was said was so.
        assert_eq!(believed(&[(0, &away), (LATER, &[])]), [false, true]);
    }

    /// A replacement of the same name: one member was cut off when the old one was removed.
    #[test]
    fn a_member_that_lags_turns_nobody_away() {
        let (lags, knows) = (member(5, WIPED), member(8, None));
        let both = [lags.clone(), knows.clone()];
        assert_eq!(
            believed(&[(0, &both), (LATER, &both), (9 * LATER, &both)]),
            [false; 3]
        );
        // Only the one that lags was reached at first: what it says is not believed at once.
        assert_eq!(
            believed(&[(0, &both[..1]), (2_999, &both), (9 * LATER, &both)]),
            [false; 3]
        );
        // It has heard; then this node was taken in, and is remembered as it is.
        let heard = [knows, member(9, Some(7))];
        assert_eq!(believed(&[(0, &both[..1]), (LATER, &heard)]), [false; 2]);
        // Taken in, and wiped once more: the latest word counts both ways.
        let again = [lags, member(9, Some(11))];
        assert_eq!(believed(&[(0, &again), (LATER, &again)]), [false, true]);
        // Being turned away begins anew after a better word.
        let better = [member(8, None)];
        let worse = [member(9, WIPED)];
        assert_eq!(
            believed(&[
                (0, &[member(5, WIPED)]),
                (1_000, &better),
                (LATER, &worse),
                (5_999, &worse),
                (6_000, &worse)
            ]),
            [false, false, false, false, true]
        );
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

//! Who belongs to the cluster: adding, removing, handing over.
//!
//! A node joins as a learner, catches up, and only then votes. One is removed only if
//! a majority of those left is answering, unless the operator insists.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use openraft::ChangeMembers;
use openraft::async_runtime::{Instant as _, WatchReceiver};
use openraft::errors::{ClientWriteError, RaftError};
use serde::{Deserialize, Serialize};

use crate::cluster::{NodeId, Peer};
use crate::env::clock;
use crate::node::Node;
use crate::peer::link::LinkError;
use crate::peer::message::{Reply, Request};
use crate::tag;

/// How long a node may take to say that it is there.
const ANSWER: Duration = Duration::from_secs(1);
/// How long a transfer of leadership may take.
const TRANSFER: Duration = Duration::from_secs(3);
/// How often its end is looked for.
const LOOK: Duration = Duration::from_millis(10);

/// What an operator asks of the leader.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Admin {
    /// Add a node: learner first, then voter.
    Add {
        /// Its name.
        id: NodeId,
        /// `host:port` of its HTTP server.
        http: String,
        /// `host:port` of its Raft server.
        raft: String,
        /// Whether it shall vote once it has caught up.
        voter: bool,
    },
    /// Remove a node.
    Remove {
        /// Its name.
        id: NodeId,
        /// Even if too few of those left answer to make a quorum.
        force: bool,
    },
    /// Let another node lead.
    Transfer {
        /// Which; any that has all entries if none is named.
        to: Option<NodeId>,
    },
}

/// Why it was not done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum AdminError {
    /// This node does not lead; nothing was done.
    #[error("this node does not lead")]
    NotLeader(Option<NodeId>),
    /// It makes no sense, or would cost the quorum; nothing was done.
    #[error("{0}")]
    Refused(String),
    /// It was begun, and whether it was or will be done is not known.
    #[error("{0}")]
    Unknown(String),
}

/// Has the request carried out by whichever node leads.
///
/// # Errors
/// [`AdminError`] says whether anything may have been done.
pub async fn request(node: &Arc<Node>, admin: Admin) -> Result<(), AdminError> {
    let leader = node.leader().ok_or(AdminError::NotLeader(None))?;
    if leader == *node.id() {
        return carry_out(node, admin).await;
    }
    match node.ask(&leader, Request::Admin(admin, tag::current())).await {
        Ok(Reply::Admin(answer)) => answer,
        Ok(other) => Err(AdminError::Unknown(format!("{leader} answered {other:?}"))),
        Err(LinkError::NotSent { .. }) => Err(AdminError::NotLeader(None)),
        Err(error @ LinkError::Broken { .. }) => Err(AdminError::Unknown(error.to_string())),
    }
}

/// Carries the request out here, if this node leads.
///
/// # Errors
/// [`AdminError`] says whether anything may have been done.
pub async fn carry_out(node: &Arc<Node>, admin: Admin) -> Result<(), AdminError> {
    match admin {
        Admin::Add {
            id,
            http,
            raft,
            voter,
        } => {
            add(
                node,
                id,
                Peer {
                    http,
                    raft,
                    incarnation: None,
                },
                voter,
            )
            .await
        }
        Admin::Remove { id, force } => remove(node, id, force).await,
        Admin::Transfer { to } => transfer(node, to).await,
    }
}

async fn add(node: &Arc<Node>, id: NodeId, mut peer: Peer, voter: bool) -> Result<(), AdminError> {
    not_removed_itself(node)?;
    if let Some(known) = node.peer(&id)
        && (known.http != peer.http || known.raft != peer.raft)
    {
        let refusal = format!(
            "{id} is already a member, at {} and {}: remove it first",
            known.http, known.raft
        );
        return Err(AdminError::Refused(refusal));
    }
    let ask = async {
        node.caller()
            .connect(&id, &peer)
            .await?
            .call(&Request::Probe)
            .await
    };
    let standing = match clock::timeout(ANSWER, ask).await {
        Ok(Ok(Reply::Probe(standing))) => standing,
        Ok(Ok(_)) => {
            return Err(AdminError::Refused(format!(
                "{} answers, but not as a kvnode",
                peer.raft
            )));
        }
        Ok(Err(error)) => {
            return Err(AdminError::Refused(format!(
                "cannot reach {id} at {}: {error}",
                peer.raft
            )));
        }
        Err(_) => {
            return Err(AdminError::Refused(format!(
                "{id} does not answer at {}",
                peer.raft
            )));
        }
    };
    match node.peer(&id) {
        Some(known) => peer = known,
        None if !standing.pristine => {
            return Err(AdminError::Refused(format!(
                "{id} has a log of its own: start it with an empty directory to add it"
            )));
        }
        None => peer.incarnation = Some(standing.incarnation),
    }
    if node.peer(&id).is_none() {
        node.raft()
            .add_learner(id.clone(), peer, true)
            .await
            .map_err(refusal)?;
    }
    if voter {
        let change = ChangeMembers::AddVoterIds(BTreeSet::from([id]));
        node.raft()
            .change_membership(change, true)
            .await
            .map_err(refusal)?;
    }
    Ok(())
}

/// A leader that was removed leads until that is committed (Ongaro 2014, section 4.2.2), and openraft takes it amiss
/// if it is asked for another change until then: its successor is to be asked.
fn not_removed_itself(node: &Arc<Node>) -> Result<(), AdminError> {
    if node.is_leader() && !voters(node).contains(node.id()) {
        return Err(AdminError::NotLeader(None));
    }
    Ok(())
}

async fn remove(node: &Arc<Node>, id: NodeId, force: bool) -> Result<(), AdminError> {
    not_removed_itself(node)?;
    if node.peer(&id).is_none() {
        return Err(AdminError::Refused(format!("{id} is no member")));
    }
    let voters = voters(node);
    if !voters.contains(&id) {
        let change = ChangeMembers::RemoveNodes(BTreeSet::from([id]));
        return node
            .raft()
            .change_membership(change, false)
            .await
            .map(drop)
            .map_err(refusal);
    }
    let left: BTreeSet<NodeId> = voters.into_iter().filter(|voter| *voter != id).collect();
    if left.is_empty() {
        return Err(AdminError::Refused(format!(
            "{id} is the last voter: without it there is no cluster"
        )));
    }
    let up = answering(node, &left).await.len();
    if up < left.len() / 2 + 1 && !force {
        return Err(AdminError::Refused(format!(
            "without {id} only {up} of {} voters answer, which is no quorum: mend the others first, or force it",
            left.len()
        )));
    }
    let change = ChangeMembers::RemoveVoters(BTreeSet::from([id]));
    node.raft()
        .change_membership(change, false)
        .await
        .map(drop)
        .map_err(refusal)
}

async fn transfer(node: &Arc<Node>, to: Option<NodeId>) -> Result<(), AdminError> {
    if !node.is_leader() {
        return Err(AdminError::NotLeader(node.leader()));
    }
    let voters = voters(node);
    let to = match to {
        Some(to) if to == *node.id() => return Ok(()),
        Some(to) if !voters.contains(&to) => return Err(AdminError::Refused(format!("{to} does not vote"))),
        Some(to) => to,
        None => successor(node)
            .await
            .ok_or_else(|| AdminError::Refused("no other voter answers".to_owned()))?,
    };
    if answering(node, &BTreeSet::from([to.clone()])).await.is_empty() {
        return Err(AdminError::Refused(format!("{to} does not answer")));
    }
    let failed = |error: &dyn std::fmt::Display| AdminError::Unknown(error.to_string());
    node.raft()
        .trigger()
        .transfer_leader(to.clone())
        .await
        .map_err(|error| failed(&error))?;
    let deadline = clock::now() + TRANSFER;
    while node.leader().as_ref() != Some(&to) {
        if clock::now() > deadline {
            return Err(AdminError::Unknown(format!(
                "{to} has not taken over within {TRANSFER:?}"
            )));
        }
        clock::sleep(LOOK).await;
    }
    Ok(())
}

/// The voter that has most of the log, of those that answer.
pub async fn successor(node: &Arc<Node>) -> Option<NodeId> {
    let answering = answering(node, &voters(node)).await;
    let progress = node.metrics().replication?;
    answering
        .into_iter()
        .filter(|voter| voter != node.id())
        .max_by_key(|voter| {
            progress
                .get(voter)
                .and_then(|matched| matched.as_ref().map(|id| id.index))
        })
}

/// The members that vote.
pub fn voters(node: &Arc<Node>) -> BTreeSet<NodeId> {
    let metrics = node.raft().server_metrics();
    let metrics = metrics.borrow_watched();
    metrics.membership_config.membership().voter_ids().collect()
}

/// Those of the members who answer now. Asked, not remembered: a node that died a
/// moment ago must not count.
async fn answering(node: &Arc<Node>, members: &BTreeSet<NodeId>) -> BTreeSet<NodeId> {
    let caller = node.caller();
    let ask = |id: &NodeId| {
        let (id, peer, caller) = (id.clone(), node.peer(id), caller.clone());
        let own = id == *node.id();
        tokio::spawn(async move {
            let peer = peer?;
            if !own {
                let answer = async { caller.connect(&id, &peer).await?.call(&Request::Probe).await };
                clock::timeout(ANSWER, answer).await.ok()?.ok()?;
            }
            Some(id)
        })
    };
    let asked: Vec<_> = members.iter().map(ask).collect();
    let mut answering = BTreeSet::new();
    for answer in asked {
        answering.extend(answer.await.ok().flatten());
    }
    answering
}

/// How long each member has not answered this leader; empty if it does not lead.
pub fn silence(node: &Arc<Node>) -> BTreeMap<NodeId, Option<Duration>> {
    let metrics = node.metrics();
    let heard = metrics.heartbeat.unwrap_or_default();
    heard
        .into_iter()
        .map(|(id, at)| {
            let silence = if id == *node.id() {
                Some(Duration::ZERO)
            } else {
                at.map(|at| at.elapsed())
            };
            (id, silence)
        })
        .collect()
}

fn refusal(
    error: RaftError<crate::raft::TypeConfig, ClientWriteError<crate::raft::TypeConfig>>,
) -> AdminError {
    match error {
        RaftError::APIError(ClientWriteError::ForwardToLeader(forward)) => {
            AdminError::NotLeader(forward.leader_id)
        }
        RaftError::APIError(ClientWriteError::ChangeMembershipError(error)) => {
            AdminError::Refused(error.to_string())
        }
        error => AdminError::Unknown(error.to_string()),
    }
}

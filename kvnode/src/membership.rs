//! Who belongs to the cluster: adding, removing, handing over.
//!
//! A node joins as a learner, catches up, and only then votes: a voter that has still to copy
//! all data would have every write wait for it where the others are too few without it. One is
//! removed only if a majority of those left is answering, unless the operator insists.
//!
//! Looking takes a while, and others ask for changes meanwhile. So every change names the
//! membership on which it was decided, and consensus makes it only if that is still the last one
//! (`Basis`): what was looked at holds when the change is made, or nothing is changed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use openraft::ChangeMembers;
use openraft::async_runtime::{Instant as _, WatchReceiver};
use openraft::errors::{ClientWriteError, PreconditionFailed, RaftError};
use openraft::raft::Precondition;
use serde::{Deserialize, Serialize};

use crate::cluster::{NodeId, Peer};
use crate::env::clock;
use crate::node::Node;
use crate::peer::link::LinkError;
use crate::peer::message::{Reply, Request};
use crate::raft::{LogId, StoredMembership, TypeConfig};
use crate::tag;

/// How long a node may take to say that it is there.
const ANSWER: Duration = Duration::from_secs(1);
/// How long a transfer of leadership may take.
const TRANSFER: Duration = Duration::from_secs(3);
/// How long a new node may take to copy the data until it is not waited for any more, although
/// it goes on copying. Whoever asked is answered before that.
const CATCH_UP: Duration = Duration::from_secs(600);
/// How often the end of either is looked for.
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

/// Has the request carried out by whichever node leads. Between two leaders it waits for the
/// next, as long as a client's request may take.
///
/// # Errors
/// [`AdminError`] says whether anything may have been done.
pub async fn request(node: &Arc<Node>, admin: Admin) -> Result<(), AdminError> {
    let until = clock::now() + node.config().deadline;
    loop {
        match try_request(node, admin.clone()).await {
            // Nothing was done, so asking again is no repetition.
            Err(AdminError::NotLeader(_)) if clock::now() + LOOK < until => clock::sleep(LOOK).await,
            answer => return answer,
        }
    }
}

async fn try_request(node: &Arc<Node>, admin: Admin) -> Result<(), AdminError> {
    let leader = node.leader().ok_or(AdminError::NotLeader(None))?;
    if leader == *node.id() {
        // Carried through although whoever asked may not wait for it: a new node that has the
        // data and no vote would otherwise stay so.
        let node = node.clone();
        let carried = tokio::spawn(async move { carry_out(&node, admin).await });
        return carried
            .await
            .unwrap_or_else(|error| Err(AdminError::Unknown(error.to_string())));
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

/// The members when a change was decided on.
struct Basis {
    members: Arc<StoredMembership>,
}

impl Basis {
    /// The members now.
    ///
    /// # Errors
    /// When this node leads without being one of them: a leader that was removed leads until that
    /// is committed, and a little longer (Ongaro 2014, section 4.2.2). openraft takes it amiss if
    /// it is asked for another change in that time; its successor is to be asked.
    fn now(node: &Arc<Node>) -> Result<Basis, AdminError> {
        let members = {
            let metrics = node.raft().server_metrics();
            let metrics = metrics.borrow_watched();
            metrics.membership_config.clone()
        };
        let basis = Basis { members };
        if node.is_leader() && !basis.voters().contains(node.id()) {
            return Err(AdminError::NotLeader(None));
        }
        Ok(basis)
    }

    fn voters(&self) -> BTreeSet<NodeId> {
        self.members.membership().voter_ids().collect()
    }

    fn peer(&self, id: &NodeId) -> Option<Peer> {
        self.members.membership().get_node(id).cloned()
    }

    /// Makes the change if these are the members still; tells where in the log it stands.
    async fn change(
        &self,
        node: &Arc<Node>,
        change: ChangeMembers<NodeId, Peer>,
        departing: Departing,
    ) -> Result<LogId, AdminError> {
        let seen = *self.members.log_id();
        let unchanged = Precondition::LastMembershipLogId {
            last_membership_log_id: seen,
        };
        let retain = departing == Departing::Stay;
        let changed = node
            .raft()
            .change_membership_if(change, retain, [unchanged])
            .await;
        let changed = changed.map(|changed| changed.log_id);
        changed.map_err(|error| match error {
            // The second step of a change has a condition of its own, that of the first.
            RaftError::APIError(ClientWriteError::PreconditionFailed(
                PreconditionFailed::LastMembershipLogIdMismatch { expected, .. },
            )) if expected == seen => AdminError::Refused(
                "the members have changed meanwhile, and nothing was done: look at them, and ask again"
                    .to_owned(),
            ),
            error => match refusal(error) {
                // Of the two steps of a change the first is in the log.
                AdminError::NotLeader(_) if last_change(node) != seen => AdminError::Unknown(
                    "leadership was lost in the middle of the change: ask again".to_owned(),
                ),
                refused => refused,
            },
        })
    }
}

/// Where in the log the last change of the members stands.
fn last_change(node: &Arc<Node>) -> Option<LogId> {
    let metrics = node.raft().server_metrics();
    let metrics = metrics.borrow_watched();
    *metrics.membership_config.log_id()
}

/// What becomes of those who no longer vote.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Departing {
    /// They go on as learners.
    Stay,
    /// They are no members any more.
    Go,
}

async fn add(node: &Arc<Node>, id: NodeId, mut peer: Peer, voter: bool) -> Result<(), AdminError> {
    let basis = Basis::now(node)?;
    let known = basis.peer(&id);
    if let Some(known) = &known
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
            .connect(&id, known.as_ref().unwrap_or(&peer))
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
    let mut member_since = *basis.members.log_id();
    if known.is_none() {
        if !standing.pristine {
            return Err(AdminError::Refused(format!(
                "{id} has a log of its own: start it with an empty directory to add it"
            )));
        }
        peer.incarnation = Some(standing.incarnation);
        let change = ChangeMembers::AddNodes(BTreeMap::from([(id.clone(), peer)]));
        member_since = Some(basis.change(node, change, Departing::Stay).await?);
    }
    if !basis.voters().contains(&id) {
        catch_up(node, &id, member_since).await?;
    }
    if !voter {
        return Ok(());
    }
    // Also of one that votes: it may do so in the older half of a change that was left half-way, which this one ends,
    // and that this node leads still is known only when a quorum has agreed.
    let change = ChangeMembers::AddVoterIds(BTreeSet::from([id.clone()]));
    let added = Basis::now(node)?
        .change(node, change, Departing::Stay)
        .await
        .map(drop);
    match added {
        // Asked twice: the other request was first.
        Err(AdminError::Refused(_)) if voters(node).contains(&id) => Ok(()),
        // It was made a learner, whatever became of the rest.
        Err(AdminError::Refused(why)) if known.is_none() => Err(AdminError::Unknown(format!(
            "{id} has the data but no vote: {why}"
        ))),
        added => added,
    }
}

/// Waits until a learner has what this leader has, in rounds (Ongaro 2014, section 4.2.1): each
/// brings it to where the log ended when the round began. When one takes no longer than an
/// election would, the learner keeps up.
async fn catch_up(node: &Arc<Node>, id: &NodeId, member_since: Option<LogId>) -> Result<(), AdminError> {
    let until = clock::now() + CATCH_UP;
    let soon = Duration::from_millis(node.config().election_max_ms);
    loop {
        let (begun, end) = (clock::now(), node.log().last_index());
        while matched(node, id, member_since)? < end {
            if clock::now() > until {
                return Err(AdminError::Unknown(format!(
                    "{id} is a member and copies the data, but has not all of it after {CATCH_UP:?}, and no vote: \
                     ask again"
                )));
            }
            clock::sleep(LOOK).await;
        }
        if begun.elapsed() <= soon {
            return Ok(());
        }
    }
}

/// How much of the log a member is known to have.
fn matched(node: &Arc<Node>, id: &NodeId, member_since: Option<LogId>) -> Result<Option<u64>, AdminError> {
    let lost = |why: &str| AdminError::Unknown(format!("{id} was added as a learner, but {why}: ask again"));
    let metrics = node.raft().metrics();
    let metrics = metrics.borrow_watched();
    let members = &metrics.membership_config;
    // They may not tell of it yet.
    if members.membership().get_node(id).is_none() && *members.log_id() > member_since {
        return Err(lost("removed since"));
    }
    let Some(progress) = &metrics.replication else {
        return Err(lost("this node does not lead any more"));
    };
    let matched = progress.get(id).and_then(Option::as_ref);
    Ok(matched.map(|log_id| log_id.index))
}

async fn remove(node: &Arc<Node>, id: NodeId, force: bool) -> Result<(), AdminError> {
    let basis = Basis::now(node)?;
    if basis.peer(&id).is_none() {
        return Err(AdminError::Refused(format!("{id} is no member")));
    }
    let voters = basis.voters();
    if !voters.contains(&id) {
        let change = ChangeMembers::RemoveNodes(BTreeSet::from([id]));
        return basis.change(node, change, Departing::Go).await.map(drop);
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
    basis.change(node, change, Departing::Go).await.map(drop)
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

fn refusal(error: RaftError<TypeConfig, ClientWriteError<TypeConfig>>) -> AdminError {
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

#[cfg(test)]
mod tests;

//! Bugs in how commands become state, and state becomes snapshots.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use openraft::Membership;
use parking_lot::Mutex;

use super::{Bug, Bugs};
use crate::cluster::{NodeId, Peer};
use crate::command::{Command, Operation, Outcome};
use crate::raft::{SnapshotMeta, StoredMembership};
use crate::seams::{Place, Rules};
use crate::state::sessions::Sessions;
use crate::state::{Changes, State};

/// One entry in so many is passed over.
const SKIP: u64 = 64;

/// Rules that misbehave.
pub struct PlantedRules {
    node: NodeId,
    bugs: Bugs,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    /// The state before the last command.
    before: Option<State>,
    /// The stamp of each key's last set.
    stamps: HashMap<Arc<str>, u64>,
}

impl PlantedRules {
    /// A node's rules with these bugs.
    pub fn new(node: NodeId, bugs: Bugs) -> PlantedRules {
        PlantedRules {
            node,
            bugs,
            inner: Mutex::default(),
        }
    }

    /// Whether the command is passed over as if it had been applied.
    fn drops(&self, state: &State, index: u64, place: Place, command: &Command) -> Option<Outcome> {
        let follower = place == Place::Follower;
        if self.bugs.has(Bug::ApplySkipsOne) && follower && index.is_multiple_of(SKIP) {
            return Some(Outcome::Written);
        }
        if self.bugs.has(Bug::SessionSeqGreater)
            && let Some(request) = &command.request
        {
            let of_client = state
                .sessions()
                .answers()
                .filter(|(other, _)| other.client == request.client);
            let highest = of_client.map(|(other, _)| other.number).max();
            // The highest itself is repeated in earnest; whatever is below is taken for
            // an old one.
            if highest.is_some_and(|highest| request.number < highest) {
                return Some(Outcome::Written);
            }
        }
        match &command.operation {
            Operation::Delete { .. } if self.bugs.has(Bug::DeleteIgnoredOnReplica) && follower => {
                Some(Outcome::Deleted(true))
            }
            Operation::Set { key, .. } if self.bugs.has(Bug::ClockOrderedWrites) => {
                let stamp = self.inner.lock().stamps.insert(key.clone(), command.stamp_ms);
                let newer = stamp.filter(|stamp| *stamp > command.stamp_ms)?;
                self.inner.lock().stamps.insert(key.clone(), newer);
                Some(Outcome::Written)
            }
            _ => None,
        }
    }
}

/// The membership from when this node was alone, and the others were about to join.
///
/// A cluster of ours begins with all of its voters and changes them one at a time, and
/// majorities before and after such a change always meet: a snapshot with the membership
/// before the last change would only make the cluster stand still, when nodes refuse those
/// who were replaced since. In stores that grow from one node this is the stale membership
/// that there is.
fn as_it_began(node: &NodeId, now: &StoredMembership) -> StoredMembership {
    let members: BTreeMap<NodeId, Peer> = now
        .membership()
        .nodes()
        .map(|(id, peer)| (id.clone(), peer.clone()))
        .collect();
    match Membership::new(vec![BTreeSet::from([node.clone()])], members) {
        Ok(began) => StoredMembership::new(*now.log_id(), began),
        // It is no member.
        Err(_) => now.clone(),
    }
}

impl Rules for PlantedRules {
    fn apply(
        &self,
        state: &mut State,
        at: (u64, u64, Place),
        command: &Command,
        changes: &mut Changes,
    ) -> Outcome {
        let (term, index, place) = at;
        if self.bugs.has(Bug::SnapshotOffByOne) {
            self.inner.lock().before = Some(state.clone());
        }
        if let Some(outcome) = self.drops(state, index, place, command) {
            state.skip(index);
            return outcome;
        }
        if self.bugs.has(Bug::DupApply) {
            return state.apply(
                term,
                index,
                &Command {
                    request: None,
                    ..command.clone()
                },
                changes,
            );
        }
        state.apply(term, index, command, changes)
    }

    fn frozen(&self, mut meta: SnapshotMeta, mut state: State) -> (SnapshotMeta, State) {
        let mut inner = self.inner.lock();
        if self.bugs.has(Bug::SnapshotStaleMembership) {
            meta.last_membership = as_it_began(&self.node, &meta.last_membership);
        }
        if self.bugs.has(Bug::SnapshotOffByOne)
            && let Some(mut before) = inner.before.take()
        {
            before.skip(state.applied());
            state = before;
        }
        if self.bugs.has(Bug::SnapshotWithoutSessions) {
            let entries = state.entries().map(|(key, entry)| (key.clone(), entry.clone()));
            state = State::from_parts(state.applied(), state.clock_ms(), entries, Sessions::default());
        }
        (meta, state)
    }

    fn installed(&self, before: &State, received: State) -> State {
        if !self.bugs.has(Bug::StaleSnapshotInstall) || before.applied() >= received.applied() {
            return received;
        }
        let mut kept = before.clone();
        if kept.applied() == 0 {
            // Nothing to keep: the node has just started.
            return received;
        }
        kept.skip(received.applied());
        kept
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_node_is_the_only_voter_and_the_others_learn() {
        let id = |name: &str| name.parse::<NodeId>().unwrap();
        let names = ["n1", "n2", "n3"].map(id);
        let nodes: BTreeMap<_, _> = names.iter().map(|id| (id.clone(), Peer::default())).collect();
        let now = Membership::new(vec![BTreeSet::from(names.clone())], nodes).unwrap();
        let began = as_it_began(&id("n2"), &StoredMembership::new(None, now));
        assert_eq!(began.membership().voter_ids().collect::<Vec<_>>(), [id("n2")]);
        assert_eq!(began.membership().nodes().count(), 3);
    }
}

//! Who leads, asked of every node: for faults that want a leader, and for the picture of each node over time.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use nemesis::NodeId;
use nemesis::requests::AskOtherwise;
use tokio::runtime::Handle;

use super::Member;
use crate::client::{Client, Leader, Standing};
use crate::system::{LeaderProbe, System};

/// Asks the nodes of a cluster who leads.
#[derive(Debug, Clone)]
pub(crate) struct Council {
    system: Arc<System>,
    probe: Arc<LeaderProbe>,
    client: Client,
    members: Arc<[Member]>,
}

impl Council {
    /// Of this cluster, where its system file says how to ask.
    pub(super) fn of(system: &System, client: &Client, members: &[Member]) -> Option<Self> {
        Some(Self {
            probe: Arc::new(system.leader_probe()?),
            system: Arc::new(system.clone()),
            client: client.clone(),
            members: members.into(),
        })
    }

    /// What each node says, in the order of the nodes; none of one that says nothing within `patience`. All
    /// are asked at once.
    pub(crate) async fn standings(&self, patience: Duration) -> Vec<(NodeId, Option<Standing>)> {
        let mut asked = tokio::task::JoinSet::new();
        for place in 0..self.members.len() {
            let this = self.clone();
            asked.spawn(async move {
                let node = this.members[place].client;
                let answer = this.client.standing(&this.system, &this.probe, node);
                (place, tokio::time::timeout(patience, answer).await.ok().flatten())
            });
        }
        let mut answers = asked.join_all().await;
        answers.sort_by_key(|(place, _)| *place);
        answers
            .into_iter()
            .map(|(place, standing)| (self.members[place].id.clone(), standing))
            .collect()
    }
}

/// A council that is called together later than the nemesis is made: what it needs is known only once the run
/// has its client and its runtime.
#[derive(Debug, Clone, Default)]
pub(super) struct Chair(Arc<OnceLock<(Handle, Council)>>);

impl Chair {
    /// Seats the council; to be called inside the runtime that is to ask.
    pub(super) fn seat(&self, council: Council) {
        // One that sits already asks the same nodes the same question.
        let _ = self.0.set((Handle::current(), council));
    }

    /// The question for the nemesis, which asks from threads of its own. Until there is a council, nobody leads.
    pub(super) fn for_nemesis(&self) -> AskOtherwise {
        let seated = self.0.clone();
        Box::new(move |patience| {
            let Some((runtime, council)) = seated.get() else {
                return Vec::new();
            };
            let standings = runtime.block_on(council.standings(patience));
            let leaders = standings.into_iter().filter_map(|(node, standing)| {
                let Standing { leader, term } = standing?;
                let leader = match leader {
                    Leader::Itself => node,
                    Leader::Named(name) => name.parse().ok()?,
                    Leader::Another => return None,
                };
                Some((term.unwrap_or(0), leader))
            });
            leaders.collect()
        })
    }
}

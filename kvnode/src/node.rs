//! One node: consensus, its storage, and the paths of a client's request through it.

use std::sync::Arc;
use std::time::Duration;

use openraft::async_runtime::WatchReceiver;
use openraft::errors::{ClientWriteError, LinearizableReadError, RaftError};
use openraft::raft::linearizable_read::LinearizerOption;
use openraft::{RaftMetrics, ServerState};
use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::cluster::{NodeId, Peer};
use crate::command::{Applied, Command};
use crate::config::Config;
use crate::data_dir::DataDir;
use crate::env::clock::{self, Instant};
use crate::peer::link::{LinkError, Links};
use crate::peer::message::{Refusal, Reply, Request};
use crate::peer::network::{Caller, Network};
use crate::raft::log::LogStore;
use crate::raft::machine::Machine;
use crate::raft::{self, Raft, TypeConfig};
use crate::service::{Forward, ReadError, Service};

/// How long one confirmation of leadership may take before it is tried again.
const CONFIRM: Duration = Duration::from_millis(500);
/// Pause before asking again when no leader is known or it did not answer.
const RETRY: Duration = Duration::from_millis(10);

/// A running node.
pub struct Node {
    id: NodeId,
    config: Config,
    incarnation: u64,
    raft: Raft,
    machine: Machine,
    log: LogStore,
    links: Links,
    gate: Mutex<Gate>,
}

/// Reads that wait for the next confirmation. A confirmation serves every read that
/// began before it did; one that begins while it runs waits for the next.
#[derive(Default)]
struct Gate {
    running: bool,
    waiting: Vec<oneshot::Sender<Result<u64, ReadError>>>,
}

impl Node {
    /// Starts consensus on what is in the data directory.
    ///
    /// # Errors
    /// When the storage is damaged, or the settings contradict each other.
    pub async fn start(config: Config, data: DataDir) -> anyhow::Result<Arc<Node>> {
        let caller = Caller::new(&config);
        let machine = Machine::new(data.snapshots);
        let settings = Arc::new(raft::settings(&config)?);
        let network = Network::new(caller.clone());
        let raft = Raft::new(
            config.id.clone(),
            settings,
            network,
            data.log.clone(),
            machine.clone(),
        )
        .await?;
        Ok(Arc::new(Node {
            id: config.id.clone(),
            incarnation: data.incarnation,
            raft,
            machine,
            log: data.log,
            links: Links::new(caller),
            gate: Mutex::default(),
            config,
        }))
    }

    /// This node's name.
    pub fn id(&self) -> &NodeId {
        &self.id
    }

    /// How it was started.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The random number in its data directory.
    pub fn incarnation(&self) -> u64 {
        self.incarnation
    }

    /// The consensus engine.
    pub fn raft(&self) -> &Raft {
        &self.raft
    }

    /// The replicated state.
    pub fn machine(&self) -> &Machine {
        &self.machine
    }

    /// The log.
    pub fn log(&self) -> &LogStore {
        &self.log
    }

    /// openraft's view of itself, now.
    pub fn metrics(&self) -> RaftMetrics<TypeConfig> {
        self.raft.metrics().borrow_watched().clone()
    }

    /// Who leads, as far as this node knows.
    pub fn leader(&self) -> Option<NodeId> {
        self.raft.server_metrics().borrow_watched().current_leader.clone()
    }

    /// Whether this node leads, as far as it knows.
    pub fn is_leader(&self) -> bool {
        self.raft.server_metrics().borrow_watched().state == ServerState::Leader
    }

    /// Whether this node has never been part of a cluster.
    pub fn is_pristine(&self) -> bool {
        self.log.is_pristine()
    }

    /// Where a member is reached, by the membership this node knows.
    pub fn peer(&self, id: &NodeId) -> Option<Peer> {
        let metrics = self.raft.server_metrics();
        let metrics = metrics.borrow_watched();
        metrics.membership_config.membership().get_node(id).cloned()
    }

    /// The data directory that the membership remembers of a member.
    pub fn expected_incarnation(&self, id: &NodeId) -> Option<u64> {
        self.peer(id).and_then(|peer| peer.incarnation)
    }

    /// Sends a command one hop to the leader.
    ///
    /// # Errors
    /// Whether it may have been proposed there.
    pub async fn forward(
        &self,
        leader: &NodeId,
        command: Command,
    ) -> Result<Result<Applied, Refusal>, Forward> {
        match self.ask(leader, Request::Propose(command)).await {
            Ok(Reply::Propose(answer)) => Ok(answer),
            Ok(other) => Err(Forward::Broken(format!("{leader} answered {other:?}"))),
            Err(error @ LinkError::NotSent { .. }) => Err(Forward::NotSent(error.to_string())),
            Err(error @ LinkError::Broken { .. }) => Err(Forward::Broken(error.to_string())),
        }
    }

    async fn ask(&self, to: &NodeId, request: Request) -> Result<Reply, LinkError> {
        let peer = self.peer(to).ok_or_else(|| LinkError::NotSent {
            to: to.clone(),
            why: "it is no member".to_owned(),
        })?;
        self.links.call(to, &peer, request).await
    }

    /// Waits for a read index confirmed after this call, sharing the confirmation with
    /// whoever else waits.
    ///
    /// # Errors
    /// When none is had by the deadline.
    pub async fn read_index<S: Service>(service: &Arc<S>, deadline: Instant) -> Result<u64, ReadError> {
        loop {
            let (sender, index) = oneshot::channel();
            let start = {
                let mut gate = service.node().gate.lock();
                gate.waiting.push(sender);
                !std::mem::replace(&mut gate.running, true)
            };
            if start {
                tokio::spawn(Node::confirm_rounds(service.clone()));
            }
            match clock::until(deadline, index).await {
                Ok(Ok(Ok(index))) => return Ok(index),
                Ok(Ok(Err(error))) if clock::now() + RETRY >= deadline => return Err(error),
                Ok(_) => clock::sleep(RETRY).await,
                Err(_) => return Err(ReadError::Timeout),
            }
        }
    }

    async fn confirm_rounds<S: Service>(service: Arc<S>) {
        let node = service.node();
        loop {
            let waiting = {
                let mut gate = node.gate.lock();
                if gate.waiting.is_empty() {
                    gate.running = false;
                    return;
                }
                std::mem::take(&mut gate.waiting)
            };
            let round = clock::timeout(CONFIRM, confirm_anywhere(&service)).await;
            let result = round.unwrap_or(Err(ReadError::Timeout));
            for waiter in waiting {
                let _ = waiter.send(result.clone());
            }
        }
    }
}

async fn confirm_anywhere<S: Service>(service: &Arc<S>) -> Result<u64, ReadError> {
    let node = service.node();
    let leader = node.leader().ok_or(ReadError::NoLeader)?;
    let answer = if leader == node.id {
        service.confirm().await
    } else {
        match node.ask(&leader, Request::ReadIndex).await {
            Ok(Reply::ReadIndex(answer)) => answer,
            Ok(_) | Err(_) => return Err(ReadError::Timeout),
        }
    };
    answer.map_err(|refusal| match refusal {
        Refusal::NotLeader(_) => ReadError::NoLeader,
        Refusal::NoQuorum | Refusal::Unknown(_) => ReadError::Timeout,
    })
}

impl Service for Node {
    fn node(self: &Arc<Self>) -> &Arc<Node> {
        self
    }

    async fn propose(&self, command: Command) -> Result<Applied, Refusal> {
        match self.raft.client_write(command).await {
            Ok(response) => Ok(Applied {
                term: response.log_id.leader_id.term,
                index: response.log_id.index,
                outcome: response.data,
            }),
            Err(RaftError::APIError(ClientWriteError::ForwardToLeader(forward))) => {
                Err(Refusal::NotLeader(forward.leader_id))
            }
            Err(error) => Err(Refusal::Unknown(error.to_string())),
        }
    }

    async fn confirm(&self) -> Result<u64, Refusal> {
        let fresh = LinearizerOption::new(Some(Duration::ZERO), true).with_wait_timeout(CONFIRM);
        match self.raft.get_read_linearizer(fresh).await {
            Ok(linearizer) => Ok(linearizer.read_log_id().index()),
            Err(RaftError::APIError(LinearizableReadError::ForwardToLeader(forward))) => {
                Err(Refusal::NotLeader(forward.leader_id))
            }
            Err(RaftError::APIError(LinearizableReadError::QuorumNotEnough(_))) => Err(Refusal::NoQuorum),
            Err(RaftError::Fatal(fatal)) => Err(Refusal::Unknown(fatal.to_string())),
        }
    }
}

//! One node: consensus, its storage, and the paths of a client's request through it.

use std::sync::Arc;
use std::time::Duration;

use openraft::async_runtime::{Instant as _, WatchReceiver};
use openraft::errors::{ClientWriteError, LinearizableReadError, RaftError};
use openraft::raft::linearizable_read::LinearizerOption;
use openraft::{RaftMetrics, ServerState};
use parking_lot::Mutex;
use tokio::sync::Semaphore;

use crate::backup::periodic::Backups;
use crate::cluster::{NodeId, Peer};
use crate::command::{Applied, Command, Operation, Outcome};
use crate::config::Config;
use crate::data_dir::DataDir;
use crate::env::clock::{self, Instant};
use crate::env::fs;
use crate::metrics::Requests;
use crate::peer::link::{LinkError, Links};
use crate::peer::message::{Proof, Refusal, Reply, Request, Standing};
use crate::peer::network::{Caller, Network};
use crate::proposals::{Proposals, Refused};
use crate::raft::log::LogStore;
use crate::raft::machine::Machine;
use crate::raft::{self, Raft, TypeConfig};
use crate::read_gate::{CONFIRM, ReadGate};
use crate::seams::Rules;
use crate::secure::keyring::Keyring;
use crate::service::{Forward, Service};
use crate::state::State;
use crate::tag;
use crate::work::Work;

/// How often keys that are due to end are looked for.
const TICK: Duration = Duration::from_millis(50);

/// What commands under way are counted in, bytes.
const UNIT: usize = 256;
/// How much may be under way at once, in units: 64 MiB.
const UNDER_WAY: usize = (64 << 20) / UNIT;

/// A running node.
pub struct Node {
    id: NodeId,
    config: Config,
    incarnation: u64,
    raft: Raft,
    proposals: Proposals,
    machine: Machine,
    log: LogStore,
    /// Held, so that no other process uses the directory.
    _lock: fs::File,
    caller: Caller,
    links: Links,
    keyring: Arc<Keyring>,
    work: Work,
    gate: ReadGate,
    under_way: Semaphore,
    requests: Requests,
    backups: Backups,
    heard: Mutex<Option<Instant>>,
}

impl Node {
    /// Starts consensus on what is in the data directory.
    ///
    /// # Errors
    /// When the storage is damaged, or the settings contradict each other.
    pub async fn start(
        config: Config,
        keyring: Arc<Keyring>,
        data: DataDir,
        rules: Arc<dyn Rules>,
    ) -> anyhow::Result<Arc<Node>> {
        let caller = Caller::new(&config, keyring.clone());
        let machine = Machine::new(data.snapshots, rules);
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
            proposals: Proposals::new(raft.clone()),
            raft,
            machine,
            log: data.log,
            _lock: data.lock,
            links: Links::new(caller.clone()),
            caller,
            keyring,
            work: Work::default(),
            gate: ReadGate::default(),
            under_way: Semaphore::new(UNDER_WAY),
            requests: Requests::default(),
            backups: Backups::default(),
            heard: Mutex::default(),
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

    /// What calls other nodes.
    pub fn caller(&self) -> &Caller {
        &self.caller
    }

    /// Its certificates, and whom it believes.
    pub fn keyring(&self) -> &Arc<Keyring> {
        &self.keyring
    }

    /// What it has under way for others.
    pub fn work(&self) -> &Work {
        &self.work
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

    /// The current term.
    pub fn term(&self) -> u64 {
        self.raft.server_metrics().borrow_watched().vote.leader_id.term
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

    /// Where a member serves clients. The operator's settings are newer than the membership:
    /// a node may have moved.
    pub fn http_of(&self, id: &NodeId) -> Option<String> {
        let moved = self
            .config
            .cluster
            .members()
            .get(id)
            .map(|peer| peer.http.clone());
        moved.or_else(|| self.peer(id).map(|peer| peer.http))
    }

    /// What it tells another node of itself and of the cluster.
    pub fn standing(&self, asker: &NodeId) -> Standing {
        let metrics = self.raft.server_metrics();
        let metrics = metrics.borrow_watched();
        let members = &metrics.membership_config;
        let known = members.membership().get_node(asker);
        Standing {
            incarnation: self.incarnation,
            pristine: self.is_pristine(),
            expects: known.and_then(|peer| peer.incarnation),
            members_since: *members.log_id(),
        }
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
        match self.ask(leader, Request::Propose(command, tag::current())).await {
            Ok(Reply::Propose(answer)) => Ok(answer),
            Ok(other) => Err(Forward::Broken(format!("{leader} answered {other:?}"))),
            Err(error @ LinkError::NotSent { .. }) => Err(Forward::NotSent(error.to_string())),
            Err(error @ LinkError::Broken { .. }) => Err(Forward::Broken(error.to_string())),
        }
    }

    /// What requests took and came to.
    pub fn requests(&self) -> &Requests {
        &self.requests
    }

    /// What came of its backups.
    pub fn backups(&self) -> &Backups {
        &self.backups
    }

    /// The reads that wait for a confirmation.
    pub fn gate(&self) -> &ReadGate {
        &self.gate
    }

    /// Asks another member.
    ///
    /// # Errors
    /// Whether the request may have been carried out.
    pub async fn ask(&self, to: &NodeId, request: Request) -> Result<Reply, LinkError> {
        let peer = self.peer(to).ok_or_else(|| LinkError::NotSent {
            to: to.clone(),
            why: "it is no member".to_owned(),
        })?;
        self.links.call(to, &peer, request).await
    }

    /// Proposes ticks while this node leads and keys are due to end, so that they end
    /// although nobody writes.
    pub async fn let_keys_end<S: Service>(service: Arc<S>) {
        let node = service.node();
        loop {
            clock::sleep(TICK).await;
            let due = node
                .machine
                .look(State::next_end_ms)
                .is_some_and(|end| end <= clock::wall_ms());
            if due && node.is_leader() {
                let _ = service.propose(Command::new(Operation::Tick)).await;
            }
        }
    }

    /// Notes that a leader was heard.
    pub fn note_heard(&self) {
        *self.heard.lock() = Some(clock::now());
    }

    /// How old this node's knowledge of the log may be: the time since it last heard
    /// from a leader, or, if it leads, since a quorum last answered it. None if it
    /// never did.
    pub fn lag(&self) -> Option<Duration> {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        if metrics.state == ServerState::Leader {
            return match metrics.last_quorum_acked {
                Some(at) => Some(at.elapsed()),
                None => Some(Duration::ZERO),
            };
        }
        self.heard.lock().map(|heard| heard.elapsed())
    }
}

impl Service for Node {
    fn node(self: &Arc<Self>) -> &Arc<Node> {
        self
    }

    async fn propose(&self, command: Command) -> Result<Applied, Refusal> {
        if self.log.is_full() {
            return Err(Refusal::DiskFull);
        }
        // Held until the command is applied: what is under way stays in memory on all
        // nodes, so it must have a bound.
        let weight = command.weight().div_ceil(UNIT) as u32;
        let Ok(_room) = self.under_way.try_acquire_many(weight) else {
            return Err(Refusal::Busy);
        };
        // One clock for all: the leader's, whoever took the request.
        let command = Command {
            stamp_ms: clock::wall_ms(),
            ..command
        };
        match self.proposals.propose(command).await {
            Ok(response) => Ok(match response.response {
                Outcome::Repeated { term, index, outcome } => Applied {
                    term,
                    index,
                    outcome: *outcome,
                    repeated: true,
                },
                outcome => Applied {
                    term: response.log_id.leader_id.term,
                    index: response.log_id.index,
                    outcome,
                    repeated: false,
                },
            }),
            Err(Refused::Write(ClientWriteError::ForwardToLeader(forward))) => {
                Err(Refusal::NotLeader(forward.leader_id))
            }
            Err(Refused::Write(error)) => Err(Refusal::Unknown(error.to_string())),
            Err(Refused::Stopped(fatal)) => Err(Refusal::Unknown(fatal.to_string())),
        }
    }

    async fn confirm(&self, proof: Proof) -> Result<u64, Refusal> {
        let wanted = match proof {
            Proof::Quorum => LinearizerOption::new(Some(Duration::ZERO), true),
            Proof::Lease => LinearizerOption::new(None, true),
        };
        match self
            .raft
            .get_read_linearizer(wanted.with_wait_timeout(CONFIRM))
            .await
        {
            Ok(linearizer) => Ok(linearizer.read_log_id().index()),
            Err(RaftError::APIError(LinearizableReadError::ForwardToLeader(forward))) => {
                Err(Refusal::NotLeader(forward.leader_id))
            }
            Err(RaftError::APIError(LinearizableReadError::QuorumNotEnough(_))) => Err(Refusal::NoQuorum),
            Err(RaftError::Fatal(fatal)) => Err(Refusal::Unknown(fatal.to_string())),
        }
    }
}

//! Nodes that speak Maelstrom's protocol: JSON lines on standard input and output, the network in the runner.
//!
//! A node is a process; each line it writes is a message `{"src", "dest", "body"}`, and each that is meant for it
//! is written to its input. Messages between nodes go through [`network`], where links are cut, delayed and lossy;
//! messages of clients are never touched, as in the lab. The protocol is described in
//! <https://github.com/jepsen-io/maelstrom/blob/main/doc/protocol.md>.

mod backend;
mod network;
mod process;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Result;
use nemesis::NodeId;
use nemesis::lab::Seat;
use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};

pub(crate) use network::Network;

use super::lab::{DATA, LabPlan, bindings};
use super::{Cluster, Kind, Member, Parts};
use backend::StdinJsonBackend;
use process::Process;

/// One message.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Message {
    /// Who sends it.
    pub(crate) src: String,
    /// Whom it is meant for.
    pub(crate) dest: String,
    /// What it says.
    pub(crate) body: Json,
}

/// The nodes and what is between them. It ends with the cluster.
#[derive(Debug)]
pub(super) struct Nodes {
    pub(super) network: Arc<Network>,
    processes: Arc<Vec<Process>>,
    /// The nodes die with the namespaces that it holds.
    _seat: Seat,
}

/// The address by which the runner speaks of a node, which no packet ever goes to.
fn address(place: usize) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::new(127, 0, 0, 1), place as u16 + 1))
}

impl Cluster {
    /// Starts nodes that speak on their standard input and output; returns when they run.
    ///
    /// # Errors
    /// When one does not start.
    pub(super) fn start_stdin_json(
        seat: Seat,
        plan: &LabPlan<'_>,
        runtime: &tokio::runtime::Handle,
    ) -> Result<Self> {
        let ids: Vec<NodeId> = (1..=plan.nodes).map(NodeId::numbered).collect();
        let network = Network::new(&ids, plan.seed, runtime.clone());
        let mut processes = Vec::new();
        let mut members = Vec::new();
        for (place, id) in ids.iter().enumerate() {
            let dir = plan.dir.node(id.as_str())?;
            std::fs::create_dir_all(dir.join(DATA))?;
            let bound = bindings(plan, &ids, place, id, &dir);
            let log = dir.join("node.log");
            let words = plan
                .system
                .node
                .command
                .iter()
                .map(|word| word.fill(&bound))
                .collect();
            let env = plan.system.node.env.iter();
            let env = env
                .map(|(name, value)| (name.clone(), value.fill(&bound)))
                .collect();
            let start = process::Start {
                id: id.clone(),
                words,
                env,
                dir,
                log: log.clone(),
                hello: hello(id, &ids),
            };
            processes.push(Process::new(start, network.clone()));
            members.push(Member {
                id: id.clone(),
                address: address(place).to_string(),
                client: address(place),
                host: None,
                log: Some(log),
            });
        }
        let processes = Arc::new(processes);
        for process in processes.iter() {
            process.start()?;
        }
        let backend = StdinJsonBackend::new(ids, network.clone(), processes.clone());
        let nodes = Nodes {
            network,
            processes,
            _seat: seat,
        };
        let parts = Parts {
            kind: Kind::StdinJson(nodes),
            backend: Box::new(backend),
            backend_kind: nemesis::cluster_file::BackendKind::Lab,
            members,
            stops: Vec::new(),
            seed: plan.seed,
            owner: plan.owner,
        };
        Self::assemble(parts, plan.system, plan.dir)
    }
}

/// The first message to a node: who it is, and who the others are.
fn hello(id: &NodeId, ids: &[NodeId]) -> Message {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    Message {
        src: "c0".to_owned(),
        dest: id.to_string(),
        body: json!({
            "type": "init",
            "msg_id": NEXT.fetch_add(1, Ordering::Relaxed),
            "node_id": id.as_str(),
            "node_ids": ids.iter().map(NodeId::as_str).collect::<Vec<_>>(),
        }),
    }
}

impl Nodes {
    /// The last lines of a node's log.
    pub(super) fn log_tail(&self, node: &NodeId, lines: usize) -> Vec<String> {
        let log = |process: &&Process| process.id() == node;
        let path: Option<PathBuf> = self
            .processes
            .iter()
            .find(log)
            .map(|process| process.log().to_owned());
        let text = path
            .and_then(|path| std::fs::read_to_string(path).ok())
            .unwrap_or_default();
        let all: Vec<&str> = text.lines().collect();
        all[all.len().saturating_sub(lines)..]
            .iter()
            .map(|line| (*line).to_owned())
            .collect()
    }

    /// Whether a node's process has ended.
    pub(super) fn is_dead(&self, node: &NodeId) -> bool {
        let process = self.processes.iter().find(|process| process.id() == node);
        process.is_some_and(|process| !process.state().is_alive())
    }

    /// Ends every node.
    pub(super) fn stop(&self) {
        for process in self.processes.iter() {
            if let Err(error) = process.kill() {
                tracing::warn!(%error, "node {} was not ended", process.id());
            }
        }
    }
}

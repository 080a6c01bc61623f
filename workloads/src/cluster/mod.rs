//! Starts a cluster from its system file, and ends it.
//!
//! However it is run, a cluster is the same to the runner: members with addresses for clients, a
//! [`Nemesis`] that can break it, and `cluster.json` with the control socket beside it, through which the
//! `nemesis` command finds it.

mod compose;
mod lab;
mod standing;
mod stdin_json;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nemesis::cluster_file::{self, BackendKind, ClusterFile, ClusterNode};
use nemesis::{Keeper, Nemesis, NodeId, NodeState, control};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

pub use compose::{NODES as DOCKER_NODES, image};
pub use lab::{LabPlan, enter};
use standing::Chair;
pub(crate) use standing::Council;
pub(crate) use stdin_json::Network;

use crate::client::{Client, ClientError};
use crate::store::RunDir;
use crate::system::{DriverKind, System};

/// How often a node is asked whether it is ready.
const READY_EVERY: Duration = Duration::from_millis(20);
/// How long nodes may take to stop when they are asked to.
const STOPPING: Duration = Duration::from_secs(5);
/// Lines of a node's log that are shown when it fails.
const LOG_LINES: usize = 10;

/// One node of a running cluster.
#[derive(Debug, Clone)]
pub struct Member {
    /// Its name: `n1`.
    pub id: NodeId,
    /// Its address among the nodes.
    pub address: String,
    /// Where the runner reaches it.
    pub client: SocketAddr,
    /// Where everyone else on this machine reaches it.
    pub host: Option<SocketAddr>,
    /// Its log, where it is a file.
    pub log: Option<PathBuf>,
}

/// A running cluster; dropping it ends it.
pub struct Cluster {
    /// Its nodes, in order.
    pub members: Vec<Member>,
    /// Breaks it and mends it.
    pub nemesis: Arc<Mutex<Nemesis>>,
    keeper: Option<Keeper>,
    control: Option<control::Server>,
    kind: Kind,
    stops: Vec<Vec<String>>,
    chair: Chair,
    file: PathBuf,
}

enum Kind {
    Lab(nemesis::lab::Lab),
    Docker(compose::Compose),
    StdinJson(stdin_json::Nodes),
}

/// What a cluster is put together from.
struct Parts {
    kind: Kind,
    backend: Box<dyn nemesis::Backend>,
    backend_kind: BackendKind,
    members: Vec<Member>,
    /// Commands that ask the nodes to stop.
    stops: Vec<Vec<String>>,
    seed: u64,
    owner: u32,
}

/// What a replica says about its state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplicaState {
    /// The node.
    pub node: String,
    /// Up to where it applied the log.
    pub applied: u64,
    /// The digest of its state there.
    pub hash: String,
}

impl Cluster {
    /// Puts the parts together: writes `cluster.json` and keeps the nemesis awake.
    fn assemble(parts: Parts, system: &System, dir: &RunDir) -> Result<Self> {
        let Parts {
            kind,
            backend,
            backend_kind,
            members,
            stops,
            seed,
            owner,
        } = parts;
        let mut nemesis = Nemesis::new(backend, &dir.join(cluster_file::JOURNAL_NAME), seed)?;
        let nodes = members.iter().map(|member| ClusterNode {
            id: member.id.clone(),
            address: member.address.clone(),
            url: format!("http://{}", member.client),
            host_url: member.host.map(|host| format!("http://{host}")),
            log: member.log.clone(),
        });
        let file = ClusterFile {
            ordeal: 1,
            backend: backend_kind,
            system: system.name.clone(),
            owner,
            nodes: nodes.collect(),
            requests: system.requests.clone(),
        };
        let chair = Chair::default();
        let asker = file.asker().context("an HTTP client for the nemesis")?;
        nemesis.set_asker(match &system.leader {
            Some(_) => asker.asking(chair.for_nemesis()),
            None => asker,
        });
        let path = file.write(dir.path())?;
        let nemesis = Arc::new(Mutex::new(nemesis));
        let keeper = Keeper::start(nemesis.clone()).context("a thread for the nemesis")?;
        let control = control::Server::start(dir.path(), nemesis.clone()).context("the control socket")?;
        Ok(Self {
            members,
            nemesis,
            keeper: Some(keeper),
            control: Some(control),
            kind,
            stops,
            chair,
            file: path,
        })
    }

    /// Starts a cluster of plain processes, as its system speaks: in the lab, or on their standard input and
    /// output. Returns when its processes run, not when they are ready.
    ///
    /// # Errors
    /// When the machine lacks something or a node does not start.
    pub fn start(
        seat: nemesis::lab::Seat,
        plan: &LabPlan<'_>,
        runtime: &tokio::runtime::Runtime,
    ) -> Result<Self> {
        match plan.system.driver {
            DriverKind::StdinJson => Self::start_stdin_json(seat, plan, runtime.handle()),
            _ => Self::start_lab(seat, plan),
        }
    }

    /// A client of this cluster that gives up on an operation after `patience`.
    ///
    /// # Errors
    /// When it was left out of this build or cannot be set up.
    pub fn client(&self, system: &System, patience: Duration) -> Result<Client, ClientError> {
        match &self.kind {
            Kind::StdinJson(nodes) => Client::inside(nodes.network.clone(), patience),
            _ => Client::speaking(system.driver, patience),
        }
    }

    /// Whether a node's process has ended.
    fn is_dead(&self, node: &NodeId) -> Result<bool> {
        Ok(match &self.kind {
            Kind::Lab(lab) => matches!(lab.state(node)?, NodeState::Dead { .. }),
            Kind::Docker(compose) => compose.status(node)? == "exited",
            Kind::StdinJson(nodes) => nodes.is_dead(node),
        })
    }

    /// The last lines of a node's log, each on a line of its own.
    #[must_use]
    pub fn log_tail(&self, node: &NodeId) -> String {
        let lines = match &self.kind {
            Kind::Lab(lab) => lab.log_tail(node, LOG_LINES),
            Kind::Docker(compose) => compose.log_tail(node, LOG_LINES),
            Kind::StdinJson(nodes) => nodes.log_tail(node, LOG_LINES),
        };
        lines.iter().map(|line| format!("\n    {line}")).collect()
    }

    /// Those who can be asked who leads, where the system file says how. The nemesis asks them from now on.
    pub(crate) fn council(&self, system: &System, client: &Client) -> Option<Council> {
        let council = Council::of(system, client, &self.members)?;
        self.chair.seat(council.clone());
        Some(council)
    }

    /// Waits until every node is ready.
    ///
    /// # Errors
    /// When a node dies or is not ready in time: names it and shows the end of its log.
    pub async fn wait_ready(&self, system: &System, client: &Client) -> Result<()> {
        let within = system.ready_within();
        let deadline = Instant::now() + within;
        for member in &self.members {
            let mut last = "nobody listens at its port".to_owned();
            loop {
                match client.is_ready(system, member.client).await {
                    Ok(()) => break,
                    Err(Some(said)) => last = said,
                    Err(None) => {}
                }
                if self.is_dead(&member.id)? {
                    let log = self.log_tail(&member.id);
                    bail!(
                        "node {} died before it was ready; the end of its log:{log}",
                        member.id
                    );
                }
                if Instant::now() > deadline {
                    let log = self.log_tail(&member.id);
                    bail!(
                        "node {} was not ready within {within:?} ({last}); the end of its log:{log}",
                        member.id
                    );
                }
                tokio::time::sleep(READY_EVERY).await;
            }
        }
        Ok(())
    }

    /// Has the store set up what the system file says, once, through the first node; tries again until it
    /// agrees or its time to be ready is over.
    ///
    /// # Errors
    /// What the store said last.
    pub async fn set_up(&self, system: &System, client: &Client) -> Result<()> {
        let (Some(setup), Some(first)) = (&system.setup, self.members.first()) else {
            return Ok(());
        };
        let within = system.ready_within();
        let deadline = Instant::now() + within;
        while let Err(said) = client
            .set_up(system, setup, first.client, self.members.len())
            .await
        {
            if Instant::now() > deadline {
                bail!(
                    "[setup] did not succeed within {within:?}; node {} said: {said}",
                    first.id
                );
            }
            tokio::time::sleep(READY_EVERY).await;
        }
        Ok(())
    }

    /// What the replicas say about their state, asked until all that answer stand at the same applied index
    /// or `patience` runs out.
    pub async fn replica_states(
        &self,
        system: &System,
        client: &Client,
        patience: Duration,
    ) -> Vec<ReplicaState> {
        let Some(probe) = &system.state else {
            return Vec::new();
        };
        let deadline = Instant::now() + patience;
        loop {
            let mut states = Vec::new();
            for member in &self.members {
                let Ok((200, body)) = client.get(member.client, &probe.path).await else {
                    continue;
                };
                let applied = body.pointer(&probe.applied).and_then(serde_json::Value::as_u64);
                let hash = body.pointer(&probe.hash).map(|hash| match hash.as_str() {
                    Some(text) => text.to_owned(),
                    None => hash.to_string(),
                });
                if let (Some(applied), Some(hash)) = (applied, hash) {
                    states.push(ReplicaState {
                        node: member.id.to_string(),
                        applied,
                        hash,
                    });
                }
            }
            let level =
                states.len() == self.members.len() && states.windows(2).all(|w| w[0].applied == w[1].applied);
            if level || Instant::now() > deadline {
                return states;
            }
            tokio::time::sleep(READY_EVERY).await;
        }
    }

    /// Ends the cluster: no process, no namespace, no file outside the run's folder stays behind.
    pub fn stop(mut self) {
        self.end();
    }

    /// The folder of the run whose cluster this is.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.file.parent().unwrap_or(Path::new("."))
    }

    fn end(&mut self) {
        drop(self.control.take());
        drop(self.keeper.take());
        ask_to_stop(&self.stops);
        match &mut self.kind {
            Kind::Lab(lab) => lab.stop(),
            Kind::Docker(compose) => compose.down(&self.members),
            Kind::StdinJson(nodes) => nodes.stop(),
        }
        // Nothing answers there any more.
        let _ = std::fs::remove_file(&self.file);
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if self.keeper.is_some() {
            self.end();
        }
    }
}

/// Runs the commands that ask nodes to stop, all at once, for a while. What they leave is killed.
fn ask_to_stop(stops: &[Vec<String>]) {
    let asked = stops.iter().map(|words| {
        let child = std::process::Command::new(&words[0])
            .args(&words[1..])
            .stdin(std::process::Stdio::null())
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .spawn();
        child.inspect_err(|error| tracing::warn!("[node] stop: {}: {error}", words[0]))
    });
    let deadline = Instant::now() + STOPPING;
    let asked: Vec<_> = asked.collect();
    for mut child in asked.into_iter().flatten() {
        while !matches!(child.try_wait(), Ok(Some(_)) | Err(_)) {
            if Instant::now() > deadline {
                let _ = child.kill();
            }
            std::thread::sleep(READY_EVERY);
        }
    }
}

/// Groups of replicas that differ although they stand at the same applied index.
#[must_use]
pub fn divergences(states: &[ReplicaState]) -> Vec<(u64, Vec<(String, String)>)> {
    let mut by_index = std::collections::BTreeMap::<u64, Vec<(String, String)>>::new();
    for state in states {
        by_index
            .entry(state.applied)
            .or_default()
            .push((state.node.clone(), state.hash.clone()));
    }
    by_index.retain(|_, replicas| replicas.windows(2).any(|w| w[0].1 != w[1].1));
    by_index.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replicas_differ_only_where_they_stand_at_the_same_index() {
        let state = |node: &str, applied, hash: &str| ReplicaState {
            node: node.into(),
            applied,
            hash: hash.into(),
        };
        let apart = [state("n1", 5, "a"), state("n2", 6, "b"), state("n3", 6, "b")];
        assert!(divergences(&apart).is_empty());
        let differ = [state("n1", 6, "a"), state("n2", 6, "b"), state("n3", 7, "c")];
        assert_eq!(
            divergences(&differ),
            [(6, vec![("n1".into(), "a".into()), ("n2".into(), "b".into())])]
        );
    }
}

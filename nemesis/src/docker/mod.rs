//! A cluster run by Docker Compose.
//!
//! Links are cut by iptables inside each container's network namespace, signals
//! are sent by the engine. It needs to enter those namespaces, so it needs root.
//! The published ports keep working through every partition: rules name the
//! addresses of nodes, and clients have others.

mod engine;

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rand::SeedableRng;
use rand::rngs::ChaCha8Rng;

use crate::backend::{Backend, BackendError, Unsupported, await_state};
use crate::damage;
use crate::doctor;
use crate::fault::{Ability, Damage};
use crate::kernel::{self, Addresses, Counting, Means};
use crate::link::LinkMatrix;
use crate::namespace::{Namespace, probe_socket};
use crate::node::{EndStatus, NodeId, NodeState};
use crate::probe::{LinkProbe, Probe};
use crate::prober::Prober;
use crate::requests::{Asker, Endpoint, Requests};

use engine::Container;

/// Time between two looks at a process that was sent a signal.
const LOOK: Duration = Duration::from_millis(5);
/// Time between two looks for containers that have come back anew.
const GLANCE: Duration = Duration::from_secs(1);

/// Why a compose cluster cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DockerError {
    /// There is no `docker` command.
    #[error("there is no docker command: install Docker, or run the cluster in the lab")]
    Missing,
    /// The engine does not talk to us.
    #[error("the Docker engine does not answer: {message} (start it, or: sudo usermod -aG docker $USER)")]
    Unreachable {
        /// What it said.
        message: String,
    },
    /// No compose project has containers.
    #[error("no running cluster: no compose project has containers; start one with docker-compose up -d")]
    NoProject,
    /// Not this compose project, or no telling which.
    #[error("{0}")]
    Project(String),
    /// Another nemesis works on the project.
    #[error("another nemesis works on compose project {0}: end it first, or ask it by `nemesis --cluster`")]
    Claimed(String),
    /// A container that was there is no more.
    #[error("{0}")]
    Gone(String),
    /// A command failed.
    #[error("{command}: {message}")]
    Command {
        /// Which.
        command: String,
        /// What it said.
        message: String,
    },
}

/// Faults on a compose cluster.
#[derive(Debug)]
pub struct DockerBackend {
    project: String,
    nodes: Vec<NodeId>,
    ids: BTreeMap<NodeId, String>,
    /// What the engine said of each last.
    known: BTreeMap<NodeId, Container>,
    /// When it did.
    learned: BTreeMap<NodeId, Instant>,
    /// Addresses outlive the containers that have them.
    addresses: BTreeMap<NodeId, Vec<Ipv4Addr>>,
    /// Nodes whose death was asked for.
    asked: BTreeSet<NodeId>,
    /// Process ids when rules were last laid: another one is another namespace.
    laid_for: BTreeMap<NodeId, Option<i32>>,
    glanced: Instant,
    means: Means,
    /// Kept bound while we live: no two nemeses may work on one cluster. An
    /// abstract address leaves no file behind, whatever ends us.
    _claim: UnixListener,
}

impl DockerBackend {
    /// Whether a compose project has containers, running or not.
    ///
    /// # Errors
    /// If the engine does not say.
    pub(crate) fn has_containers(project: &str) -> Result<bool, DockerError> {
        Ok(!engine::containers(project)?.is_empty())
    }

    /// The containers of a compose project; of the only one if none is named.
    /// Each service is a node of its name.
    ///
    /// # Errors
    /// If there is no engine, no such project, or no telling which is meant.
    pub fn find(project: Option<&str>) -> Result<DockerBackend, DockerError> {
        let project = match project {
            Some(project) => project.to_owned(),
            None => only_running_project()?,
        };
        let containers = engine::containers(&project)?;
        if containers.is_empty() {
            let message =
                format!("compose project {project} has no containers: start it with docker-compose up -d");
            return Err(DockerError::Project(message));
        }
        let claim = SocketAddr::from_abstract_name(format!("ordeal-nemesis-{project}"))
            .and_then(|address| UnixListener::bind_addr(&address))
            .map_err(|_| DockerError::Claimed(project.clone()))?;
        let mut backend = DockerBackend {
            project,
            _claim: claim,
            nodes: Vec::new(),
            ids: BTreeMap::new(),
            known: BTreeMap::new(),
            learned: BTreeMap::new(),
            addresses: BTreeMap::new(),
            asked: BTreeSet::new(),
            laid_for: BTreeMap::new(),
            glanced: Instant::now(),
            means: Means::default(),
        };
        for container in containers {
            let node = node_of(&container)?;
            backend.nodes.push(node.clone());
            backend.ids.insert(node.clone(), container.id.clone());
            backend.learn(node, container);
        }
        Ok(backend)
    }

    /// Keeps these nodes only: a project may have services that are none.
    ///
    /// # Errors
    /// If one of them has no container.
    pub fn keep(&mut self, nodes: &[NodeId]) -> Result<(), DockerError> {
        if let Some(node) = nodes.iter().find(|node| !self.nodes.contains(node)) {
            let message = format!("compose project {} has no service {node}", self.project);
            return Err(DockerError::Project(message));
        }
        self.nodes = nodes.to_vec();
        Ok(())
    }

    /// The compose project.
    pub fn project(&self) -> &str {
        &self.project
    }

    /// First address of a node on the compose network.
    pub fn address(&self, node: &NodeId) -> Option<Ipv4Addr> {
        self.addresses.get(node)?.first().copied()
    }

    /// Whom to ask what, for a cluster that nobody has described: each node at
    /// its first published port, in kvnode's words.
    ///
    /// # Errors
    /// If no HTTP client can be made.
    pub fn asker(&self) -> Result<Asker, reqwest::Error> {
        let endpoint = |node: &NodeId| {
            let port = self.known.get(node)?.ports.first()?;
            let address = self.address(node)?.to_string();
            Some((
                node.clone(),
                Endpoint {
                    url: format!("http://{address}:{port}"),
                    address,
                },
            ))
        };
        let endpoints = self.nodes.iter().filter_map(endpoint).collect();
        Asker::new(Requests::of_kvnode(), endpoints)
    }

    fn learn(&mut self, node: NodeId, container: Container) {
        if !container.addresses.is_empty() {
            self.addresses.insert(node.clone(), container.addresses.clone());
        }
        self.learned.insert(node.clone(), Instant::now());
        self.known.insert(node, container);
    }

    /// Asks the engine about all nodes.
    fn refresh(&mut self) -> Result<(), BackendError> {
        let asked: Vec<NodeId> = self.nodes.clone();
        let ids: Vec<&str> = asked.iter().map(|node| self.ids[node].as_str()).collect();
        match engine::inspect(&ids) {
            Ok(containers) => {
                for (node, container) in asked.into_iter().zip(containers) {
                    self.learn(node, container);
                }
            }
            Err(DockerError::Gone(_)) => self.find_again()?,
            Err(error) => return Err(refused("asking the engine")(error)),
        }
        self.glanced = Instant::now();
        Ok(())
    }

    /// Learns which containers are the nodes now: somebody has taken the cluster down,
    /// or made some of them anew.
    fn find_again(&mut self) -> Result<(), BackendError> {
        let containers = engine::containers(&self.project).map_err(refused("asking the engine"))?;
        let mut found = BTreeMap::new();
        for container in containers {
            let node = node_of(&container).map_err(refused("asking the engine"))?;
            found.insert(node, container);
        }
        if let Some(node) = self.nodes.iter().find(|node| !found.contains_key(node)) {
            return Err(BackendError::Refused {
                what: format!("node {node} of compose project {}", self.project),
                message: "its container is gone; start the cluster again (docker-compose up -d), \
                          then run: nemesis heal"
                    .to_owned(),
            });
        }
        for (node, container) in found {
            if let Some(id) = self.ids.get_mut(&node) {
                id.clone_from(&container.id);
                self.learn(node, container);
            }
        }
        Ok(())
    }

    /// Asks the engine about all nodes, unless what it said is no older than a
    /// glance and its processes still live: asking costs more than laying rules.
    fn refresh_if_stale(&mut self) -> Result<(), BackendError> {
        let is_fresh = |node: &NodeId| {
            let lately = self.learned.get(node).is_some_and(|when| when.elapsed() < GLANCE);
            lately && self.pid(node).is_none_or(|pid| seen_by_host(pid).is_some())
        };
        if self.nodes.iter().all(is_fresh) {
            return Ok(());
        }
        self.refresh()
    }

    fn refresh_one(&mut self, node: &NodeId) -> Result<(), BackendError> {
        let id = self
            .ids
            .get(node)
            .ok_or_else(|| BackendError::UnknownNode(node.clone()))?;
        match engine::inspect(&[id]) {
            Ok(containers) => {
                for container in containers {
                    self.learn(node.clone(), container);
                }
                Ok(())
            }
            Err(DockerError::Gone(_)) => self.find_again(),
            Err(error) => Err(refused("asking the engine")(error)),
        }
    }

    fn pid(&self, node: &NodeId) -> Option<i32> {
        self.known.get(node).and_then(|container| container.pid)
    }

    /// Where each node runs, as far as the engine has said.
    fn processes(&self) -> BTreeMap<NodeId, Option<i32>> {
        let nodes = self.nodes.iter();
        nodes.map(|node| (node.clone(), self.pid(node))).collect()
    }

    /// Lays the rules of all nodes in the namespaces that are known.
    fn lay(&self, links: &LinkMatrix) -> Result<(), BackendError> {
        let addresses = self.kept_addresses();
        let lay = |node: &NodeId| {
            // A dead container has no namespace; when it comes back it is new.
            let Some(pid) = self.pid(node) else { return Ok(()) };
            let namespace = Namespace::of_process(pid)?;
            kernel::lay(&namespace, node, links, &addresses, Counting::Stopped)
        };
        let laid = kernel::everywhere(&self.nodes, lay);
        for (node, laid) in self.nodes.iter().zip(laid) {
            laid.map_err(BackendError::system(format!("iptables rules for node {node}")))?;
        }
        Ok(())
    }

    /// Tells the engine to send a signal, and waits for what must come of it.
    fn signal(
        &mut self,
        node: &NodeId,
        signal: &str,
        done: impl Fn(NodeState) -> bool,
    ) -> Result<(), BackendError> {
        let id = self
            .ids
            .get(node)
            .ok_or_else(|| BackendError::UnknownNode(node.clone()))?
            .clone();
        let what = format!("SIG{signal} to node {node}");
        engine::docker(&["kill", "--signal", signal, &id]).map_err(refused(&what))?;
        await_state(self, node, &what, done, LOOK)
    }

    /// The addresses of the nodes.
    fn kept_addresses(&self) -> Addresses {
        let kept = self.nodes.iter();
        kept.filter_map(|node| Some((node.clone(), self.addresses.get(node)?.clone())))
            .collect()
    }

    /// Where on the host a node's data is.
    ///
    /// # Errors
    /// If it has no volume.
    fn volumes(&self, node: &NodeId) -> Result<&[PathBuf], BackendError> {
        let container = self.known.get(node);
        let container = container.ok_or_else(|| BackendError::UnknownNode(node.clone()))?;
        if container.volumes.is_empty() {
            return Err(BackendError::Refused {
                what: format!("the data of node {node}"),
                message: "its container has no volume: give it one in the compose file".into(),
            });
        }
        Ok(&container.volumes)
    }
}

/// The node that a container is: its service, and of several all but the first with a number.
fn node_of(container: &Container) -> Result<NodeId, DockerError> {
    let name = if container.number > 1 {
        format!("{}-{}", container.service, container.number)
    } else {
        container.service.clone()
    };
    name.parse()
        .map_err(|error| DockerError::Project(format!("{error}")))
}

/// The compose project that has containers here, if there is just one.
///
/// # Errors
/// If there is no engine, none, or several.
pub fn only_running_project() -> Result<String, DockerError> {
    only_project(engine::projects()?)
}

fn only_project(projects: Vec<String>) -> Result<String, DockerError> {
    match <[String; 1]>::try_from(projects) {
        Ok([project]) => Ok(project),
        Err(none) if none.is_empty() => Err(DockerError::NoProject),
        Err(several) => Err(DockerError::Project(format!(
            "several compose projects have containers ({}): name one with --project",
            several.join(", ")
        ))),
    }
}

/// Does something to all containers where they are known to run, until that is where
/// they ran; returns where. One that ended meanwhile has no namespace, and its next one
/// has no rules: then `ask` says where they run now. No two rounds fail for one end.
///
/// # Errors
/// What `act` or `ask` said, if no container is anywhere else than was known.
fn done_where_they_are<W, P: PartialEq, E>(
    world: &mut W,
    known: impl Fn(&W) -> P,
    act: impl Fn(&W) -> Result<(), E>,
    ask: impl Fn(&mut W) -> Result<(), E>,
) -> Result<P, E> {
    loop {
        let places = known(world);
        match act(world) {
            Ok(()) => return Ok(places),
            Err(error) => {
                ask(world)?;
                if known(world) == places {
                    return Err(error);
                }
            }
        }
    }
}

fn refused(what: &str) -> impl FnOnce(DockerError) -> BackendError {
    let what = what.to_owned();
    move |error| BackendError::Refused {
        what,
        message: error.to_string(),
    }
}

/// What the host sees a process doing; none if it has ended.
fn seen_by_host(pid: i32) -> Option<NodeState> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // After the name, which is in brackets and may hold anything.
    match stat.rsplit_once(')')?.1.trim_start().chars().next()? {
        'T' | 't' => Some(NodeState::Paused),
        'Z' | 'X' => None,
        _ => Some(NodeState::Running),
    }
}

impl Backend for DockerBackend {
    fn name(&self) -> &'static str {
        "docker"
    }

    fn nodes(&self) -> &[NodeId] {
        &self.nodes
    }

    fn can(&self, ability: Ability) -> Result<(), Unsupported> {
        match ability {
            Ability::Kill | Ability::Pause => Ok(()),
            Ability::Partition => doctor::can_cut_containers(),
            Ability::Links | Ability::Loss | Ability::Bandwidth => {
                doctor::can_cut_containers().and_then(|()| self.means.can(ability))
            }
            Ability::Damage => match self.nodes.iter().find_map(|node| self.volumes(node).err()) {
                Some(error) => Err(Unsupported::new(
                    error.to_string(),
                    "or run the cluster in the lab",
                )),
                None => Ok(()),
            },
            Ability::PowerFailure | Ability::Disk | Ability::Clock => Err(Unsupported::new(
                format!("the docker backend has no {ability} faults"),
                "run the cluster in the lab",
            )),
            Ability::Membership => Ok(()),
        }
    }

    fn set_links(&mut self, links: &LinkMatrix) -> Result<(), BackendError> {
        self.refresh_if_stale()?;
        let lay = |docker: &DockerBackend| docker.lay(links);
        self.laid_for = done_where_they_are(self, DockerBackend::processes, lay, DockerBackend::refresh)?;
        Ok(())
    }

    fn probe_links(
        &mut self,
        wanted: &LinkMatrix,
        links: &[(NodeId, NodeId)],
    ) -> Result<Vec<LinkProbe>, BackendError> {
        self.refresh_if_stale()?;
        let mut sockets = Vec::new();
        let mut namespaces = BTreeMap::new();
        for node in wanted.nodes() {
            let meant = links.iter().any(|(from, to)| from == node || to == node);
            let socket = match (self.pid(node), self.address(node)) {
                (Some(pid), Some(address)) if meant => {
                    let namespace = Namespace::of_process(pid);
                    let socket = namespace.and_then(|namespace| {
                        let socket = namespace.inside(|| probe_socket(address))?;
                        namespaces.insert(node.clone(), namespace);
                        Ok(socket)
                    });
                    Some(socket.map_err(BackendError::system(format!("a probe socket in node {node}")))?)
                }
                // Between dead machines there is nothing to see.
                _ => None,
            };
            sockets.push(socket);
        }
        let probe = || {
            let mut probes = Prober::new(sockets)?.probe(wanted, links, None)?;
            let counts_of = |node: &NodeId| kernel::counts(&namespaces[node]);
            kernel::count_in(&mut probes, &self.kept_addresses(), counts_of)?;
            Ok(probes)
        };
        probe().map_err(BackendError::system("probing links between containers"))
    }

    fn state(&mut self, node: &NodeId) -> Result<NodeState, BackendError> {
        // The host tells what the process that we know is doing, without asking
        // the engine; only its end the engine must know of, or it would not
        // start it again.
        if let Some(seen) = self.pid(node).and_then(seen_by_host) {
            return Ok(seen);
        }
        // One that the engine knows to be dead stays so unless somebody starts it
        // behind our back; that need not be noticed at every look.
        let known_dead = self
            .known
            .get(node)
            .is_some_and(|container| container.pid.is_none());
        let asked_lately = self
            .learned
            .get(node)
            .is_some_and(|when| when.elapsed() < GLANCE / 2);
        if !(known_dead && asked_lately) {
            self.refresh_one(node)?;
        }
        let container = &self.known[node];
        if let Some(pid) = container.pid {
            return Ok(seen_by_host(pid).unwrap_or(NodeState::Running));
        }
        // The engine has seen its end: 128 and a signal, or its exit code.
        let status = match container.exit_code {
            // Signals end at 64: what is above is an exit code of the program's own.
            code @ 129..=192 => EndStatus::Signaled(code - 128),
            code => EndStatus::Exited(code),
        };
        let never = container.status == "created";
        let asked = never || self.asked.contains(node);
        Ok(NodeState::Dead {
            asked,
            status: (!never).then_some(status),
        })
    }

    fn kill(&mut self, node: &NodeId) -> Result<(), BackendError> {
        if !self.state(node)?.is_alive() {
            return Ok(());
        }
        self.asked.insert(node.clone());
        self.signal(node, "KILL", |state| !state.is_alive())
    }

    fn start(&mut self, node: &NodeId) -> Result<(), BackendError> {
        if self.state(node)?.is_alive() {
            return Ok(());
        }
        let id = self.ids[node].clone();
        engine::docker(&["start", &id]).map_err(|error| {
            let tail = engine::docker(&["logs", "--tail", "20", &id]).unwrap_or_default();
            let log = tail.lines().map(|line| format!("\n  {node} | {line}")).collect();
            BackendError::Start {
                node: node.clone(),
                why: error.to_string(),
                log,
            }
        })?;
        self.asked.remove(node);
        self.refresh_one(node)
    }

    fn pause(&mut self, node: &NodeId) -> Result<(), BackendError> {
        self.signal(node, "STOP", |state| state == NodeState::Paused)
    }

    fn resume(&mut self, node: &NodeId) -> Result<(), BackendError> {
        self.signal(node, "CONT", |state| state != NodeState::Paused)
    }

    fn damage(&mut self, node: &NodeId, damage: Damage, seed: u64) -> Result<Probe, BackendError> {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let (as_wanted, seen) = damage::damage_folders(damage, self.volumes(node)?, &mut rng)
            .map_err(BackendError::system(format!("damaging files of node {node}")))?;
        Ok(Probe::Trial {
            node: node.clone(),
            seen,
            as_wanted,
        })
    }

    fn wipe(&mut self, node: &NodeId) -> Result<(), BackendError> {
        damage::empty(self.volumes(node)?).map_err(BackendError::system(format!(
            "emptying the volumes of node {node}"
        )))
    }

    fn forgot_links(&mut self) -> bool {
        if self.glanced.elapsed() < GLANCE && !self.laid_for.iter().any(|(node, pid)| self.pid(node) != *pid)
        {
            return false;
        }
        self.glanced = Instant::now();
        if let Err(error) = self.refresh() {
            tracing::warn!(%error, "looking for containers that came back");
            return false;
        }
        // Only a container that lives can have lost rules.
        self.laid_for
            .iter()
            .any(|(node, pid)| self.pid(node).is_some() && self.pid(node) != *pid)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    /// Containers by process id: where they run, and where they are known to.
    struct World {
        run: [Option<i32>; 2],
        known: [Option<i32>; 2],
        /// What becomes of the first one while rules are laid.
        to_come: Vec<Option<i32>>,
        laid: Cell<usize>,
    }

    fn laid(world: &mut World) -> Result<[Option<i32>; 2], String> {
        let lay = |world: &World| {
            world.laid.set(world.laid.get() + 1);
            let gone = |(known, run): (&Option<i32>, &Option<i32>)| known.is_some() && known != run;
            match world.known.iter().zip(&world.run).any(gone) {
                true => Err("no such process".to_owned()),
                false => Ok(()),
            }
        };
        let ask = |world: &mut World| {
            world.known = world.run;
            if let Some(next) = world.to_come.pop() {
                world.run[0] = next;
            }
            Ok(())
        };
        done_where_they_are(world, |world| world.known, lay, ask)
    }

    #[test]
    fn a_project_is_found_where_there_is_just_one() {
        let found = |names: &[&str]| only_project(names.iter().map(|name| (*name).to_owned()).collect());
        assert_eq!(found(&["kv"]).ok().as_deref(), Some("kv"));
        assert!(matches!(found(&[]), Err(DockerError::NoProject)));
        let several = found(&["kv", "web"]).expect_err("which?").to_string();
        assert!(
            several.contains("kv, web") && several.contains("--project"),
            "{several}"
        );
    }

    #[test]
    fn a_container_that_ends_while_rules_are_laid_is_asked_for_again() {
        let mut world = World {
            run: [Some(1), Some(2)],
            known: [Some(1), Some(2)],
            to_come: Vec::new(),
            laid: Cell::new(0),
        };
        assert_eq!(laid(&mut world), Ok([Some(1), Some(2)]));
        assert_eq!(world.laid.get(), 1);
        // It ends, is back, and while it is asked about ends once more.
        world.run[0] = Some(3);
        world.to_come = vec![None, Some(4)];
        assert_eq!(laid(&mut world), Ok([None, Some(2)]));
        assert_eq!(world.laid.get(), 1 + 4);
        assert!(world.to_come.is_empty());
    }

    #[test]
    fn rules_that_cannot_be_laid_where_nothing_has_changed_are_an_error() {
        let mut world = World {
            run: [Some(1), Some(2)],
            known: [Some(1), Some(2)],
            to_come: Vec::new(),
            laid: Cell::new(0),
        };
        let lay = |world: &World| {
            world.laid.set(world.laid.get() + 1);
            Err("iptables refused")
        };
        let refused = done_where_they_are(&mut world, |world| world.known, lay, |_| Ok(()));
        assert_eq!((refused, world.laid.get()), (Err("iptables refused"), 1));
    }
}

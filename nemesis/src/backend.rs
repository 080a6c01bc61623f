//! What a nemesis needs of a cluster, however that cluster is run.

use std::time::{Duration, Instant};

use crate::fault::{Ability, ClockFault, Damage, DiskFault};
use crate::link::LinkMatrix;
use crate::node::{NodeId, NodeState};
use crate::probe::{LinkProbe, Probe};

/// How long an engine or another machine may take to do as it is told.
const PATIENCE: Duration = Duration::from_secs(15);

/// A cluster that faults can be done to.
///
/// Every method that changes something is idempotent: asking for what is already
/// so is no error and changes nothing. None of them remembers what is desired;
/// that is [`Nemesis`](crate::Nemesis)'s part.
pub trait Backend: Send {
    /// `lab`, `docker`, ...
    fn name(&self) -> &'static str;

    /// The nodes, in the order of the cluster's configuration. It never changes.
    fn nodes(&self) -> &[NodeId];

    /// Whether it can do such faults here.
    ///
    /// # Errors
    /// [`Unsupported`] says why not, and what would mend it.
    fn can(&self, ability: Ability) -> Result<(), Unsupported>;

    /// Makes every link be as the matrix says, at once and as a whole.
    ///
    /// # Errors
    /// If the links could not be changed; they may then be in any state.
    fn set_links(&mut self, links: &LinkMatrix) -> Result<(), BackendError>;

    /// Sends packets from node to node over these links and reports what
    /// arrived. `wanted` says how each is meant to be, and so how long to wait.
    ///
    /// # Errors
    /// If nothing could be sent at all. A packet that does not arrive is a result.
    fn probe_links(
        &mut self,
        wanted: &LinkMatrix,
        links: &[(NodeId, NodeId)],
    ) -> Result<Vec<LinkProbe>, BackendError>;

    /// What the node's process is doing now.
    ///
    /// # Errors
    /// If that cannot be found out.
    fn state(&mut self, node: &NodeId) -> Result<NodeState, BackendError>;

    /// SIGKILL to all of the node's processes; returns when they are gone.
    ///
    /// # Errors
    /// If they could not be killed.
    fn kill(&mut self, node: &NodeId) -> Result<(), BackendError>;

    /// Starts a dead node. Returns when its process runs, not when it is ready.
    ///
    /// # Errors
    /// If it did not start.
    fn start(&mut self, node: &NodeId) -> Result<(), BackendError>;

    /// SIGSTOP to all of the node's processes; returns when they have stopped.
    ///
    /// # Errors
    /// If they could not be stopped.
    fn pause(&mut self, node: &NodeId) -> Result<(), BackendError>;

    /// SIGCONT to all of the node's processes; returns when they run.
    ///
    /// # Errors
    /// If they could not be continued.
    fn resume(&mut self, node: &NodeId) -> Result<(), BackendError>;

    /// Kills a node and takes away what it had not synced to its disk.
    ///
    /// # Errors
    /// If the backend has no such disk.
    fn power_off(&mut self, node: &NodeId, torn: bool) -> Result<Probe, BackendError> {
        let _ = torn;
        Err(BackendError::unsupported(
            self.name(),
            Ability::PowerFailure,
            node,
        ))
    }

    /// Makes the node's disk misbehave in exactly these ways; none mends it.
    ///
    /// # Errors
    /// If the backend has no such disk.
    fn set_disk(&mut self, node: &NodeId, faults: &[DiskFault]) -> Result<Probe, BackendError> {
        let _ = faults;
        Err(BackendError::unsupported(self.name(), Ability::Disk, node))
    }

    /// Makes the node's clock wrong in this way; `None` sets it right.
    ///
    /// # Errors
    /// If the backend has no hold on the node's clock.
    fn set_clock(&mut self, node: &NodeId, clock: Option<ClockFault>) -> Result<Probe, BackendError> {
        let _ = clock;
        Err(BackendError::unsupported(self.name(), Ability::Clock, node))
    }

    /// Damages the files of a dead node. `seed` decides where.
    ///
    /// # Errors
    /// If the backend cannot reach them, or there is nothing to damage.
    fn damage(&mut self, node: &NodeId, damage: Damage, seed: u64) -> Result<Probe, BackendError> {
        let _ = (damage, seed);
        Err(BackendError::unsupported(self.name(), Ability::Damage, node))
    }

    /// Throws a dead node's data away: it will start as a new machine.
    ///
    /// # Errors
    /// If the backend cannot reach it.
    fn wipe(&mut self, node: &NodeId) -> Result<(), BackendError> {
        Err(BackendError::unsupported(self.name(), Ability::Damage, node))
    }

    /// True if links have changed without being told to since this was last
    /// asked, as when a container came back with a new network namespace, so
    /// that they must be laid again. Cheap enough to be asked ten times a second.
    fn forgot_links(&mut self) -> bool {
        false
    }
}

/// Waits until a node's state is `done`; looks again after each `every`.
///
/// # Errors
/// If it cannot be looked at, or patience runs out: with `what` was waited for.
pub(crate) fn await_state(
    backend: &mut impl Backend,
    node: &NodeId,
    what: &str,
    done: impl Fn(NodeState) -> bool,
    every: Duration,
) -> Result<(), BackendError> {
    let deadline = Instant::now() + PATIENCE;
    while !done(backend.state(node)?) {
        if Instant::now() > deadline {
            return Err(BackendError::Late {
                what: what.to_owned(),
                waited: PATIENCE,
            });
        }
        std::thread::sleep(every);
    }
    Ok(())
}

/// Why a backend cannot do a kind of fault here.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, serde::Serialize, serde::Deserialize)]
#[error("{reason}; {mend}")]
pub struct Unsupported {
    /// Why not.
    pub reason: String,
    /// What to do about it, a command where there is one.
    pub mend: String,
}

impl Unsupported {
    /// Both halves of the sentence.
    pub fn new(reason: impl Into<String>, mend: impl Into<String>) -> Unsupported {
        Unsupported {
            reason: reason.into(),
            mend: mend.into(),
        }
    }
}

/// A backend could not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum BackendError {
    /// There is no such node.
    #[error("unknown node {0}")]
    UnknownNode(NodeId),
    /// It cannot do this kind of fault.
    #[error("{ability} is not possible here: {why}")]
    Unsupported {
        /// What was asked.
        ability: Ability,
        /// Why not.
        why: Unsupported,
    },
    /// A node did not start.
    #[error("node {node} did not start: {why}{log}")]
    Start {
        /// Which.
        node: NodeId,
        /// What happened.
        why: String,
        /// The last lines of its log, each on a line of its own, or nothing.
        log: String,
    },
    /// The operating system refused.
    #[error("{what}: {source}")]
    System {
        /// What was tried.
        what: String,
        /// What it said.
        source: std::io::Error,
    },
    /// A command or service that does the work refused.
    #[error("{what}: {message}")]
    Refused {
        /// What was tried.
        what: String,
        /// What it said.
        message: String,
    },
    /// What was asked for did not come about in time.
    #[error("{what} did not come about within {waited:?}")]
    Late {
        /// What was waited for.
        what: String,
        /// How long.
        waited: Duration,
    },
}

impl BackendError {
    /// The answer of a backend that cannot do such faults at all.
    pub fn unsupported(backend: &str, ability: Ability, node: &NodeId) -> BackendError {
        let reason = format!("the {backend} backend has no {ability} for {node}");
        BackendError::Unsupported {
            ability,
            why: Unsupported::new(reason, "run the cluster in the lab"),
        }
    }

    /// Wraps what the operating system said.
    pub fn system(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> BackendError {
        let what = what.into();
        move |source| BackendError::System { what, source }
    }
}

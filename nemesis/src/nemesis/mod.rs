//! The nemesis itself: what is desired, kept on disk, enforced, and looked at.

mod apply;
mod election;
mod enforce;
mod members;
mod undo;
mod upkeep;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::{Duration, Instant};

use rand::SeedableRng;
use rand::rngs::ChaCha8Rng;

use crate::backend::{Backend, BackendError, Unsupported};
use crate::effect::{Effect, ProcessChange};
use crate::fault::{Ability, ClockFault, DiskFault, Fault, MembershipChange};
use crate::grudge::ShapeError;
use crate::journal::{Entry, FaultId, Journal, JournalError};
use crate::link::LinkMatrix;
use crate::node::{NodeId, NodeState};
use crate::plan::Plan;
use crate::probe::Probe;
use crate::record::{Applied, Healed, InForce, Record, Status, Undone};
use crate::requests::{Asker, View};
use crate::target::Target;

/// A process that we ended.
const KILLED: NodeState = NodeState::Dead {
    asked: true,
    status: None,
};
/// How long the cluster is asked who leads before a fault gives up on knowing.
const LEADER_PATIENCE: Duration = Duration::from_secs(1);
/// See [`Nemesis::set_member_patience`].
const MEMBER_PATIENCE: Duration = Duration::from_secs(20);

/// Why a fault could not be applied or undone.
#[derive(Debug, thiserror::Error)]
pub enum NemesisError {
    /// It names unknown nodes, does not fit them, or wants a leader unknown now.
    #[error(transparent)]
    Shape(#[from] ShapeError),
    /// Such faults are not possible here.
    #[error("{ability} is not possible on this cluster: {why}")]
    Unsupported {
        /// What it needs.
        ability: Ability,
        /// Why not, and what would mend it.
        why: Unsupported,
    },
    /// The cluster refused. What had been applied was undone, if it could be.
    #[error(transparent)]
    Backend(#[from] BackendError),
    /// The journal cannot be used; nothing was applied.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The cluster did not change its membership back. The fault stays in force.
    #[error(
        "{node} is not back where it was in the membership: {why}; mend the cluster, then run: nemesis heal"
    )]
    Membership {
        /// Whose membership.
        node: NodeId,
        /// What the cluster said.
        why: String,
    },
    /// A plan wants what cannot be done here: a line for each step.
    #[error("nothing was started: {} of the plan's steps cannot be done here:{}", .0.len(), .0.concat())]
    Plan(Vec<String>),
    /// No such fault is in force.
    #[error("no fault {0} is in force")]
    NotInForce(FaultId),
}

type Observer = Box<dyn FnMut(&Record) + Send>;

/// Applies faults to one cluster and undoes them.
///
/// What is desired is one full link matrix and a state for each node: the sum of
/// the faults in force. Applying a fault adds to the sum, undoing one takes it
/// away, and in both cases the difference between what is and what is desired is
/// enforced. So faults may overlap, and may be undone in any order.
///
/// Invariants:
/// - a fault is in the journal, on disk, before anything of it is done;
/// - it leaves the journal only after it has been undone;
/// - every application and every undoing has been looked at by probe.
pub struct Nemesis {
    backend: Box<dyn Backend>,
    asker: Option<Asker>,
    journal: Journal,
    seed: u64,
    /// Faults that choices have been made for: each has a stream of its own, so
    /// that what one needs does not change what the next one gets.
    choices: u64,
    active: Vec<Active>,
    /// The links as they were last laid; none if nobody knows.
    laid: Option<LinkMatrix>,
    /// Nodes that we hold down or stopped, disks and clocks that we hold wrong.
    held: BTreeMap<NodeId, NodeState>,
    disks: BTreeMap<NodeId, Vec<DiskFault>>,
    clocks: BTreeMap<NodeId, ClockFault>,
    crashed: BTreeMap<NodeId, NodeState>,
    /// Nodes made new that the cluster has not taken in: nobody counts on them. The
    /// fault that did it is in force until it has.
    outside: BTreeSet<NodeId>,
    member_patience: Duration,
    observers: Vec<Observer>,
}

/// A fault in force.
struct Active {
    entry: Entry,
    /// None while it is being struck: a rhythm begins once it has been seen to bite,
    /// however long that takes, or a slow machine would sleep through its first beat.
    since: Option<Instant>,
    until: Option<Instant>,
    /// Restarts still to come, soonest first.
    restarts: Vec<(Instant, NodeId)>,
    /// What was seen of restarts that came after it was applied.
    later: Vec<Probe>,
}

impl Active {
    fn elapsed(&self) -> Duration {
        self.since.map_or(Duration::ZERO, |since| since.elapsed())
    }
}

impl Nemesis {
    /// A nemesis for the cluster behind `backend`, with its journal at
    /// `journal`. Faults found there (of a tool that crashed) are in force
    /// until undone: see [`Nemesis::heal`]. `seed` decides every random choice.
    ///
    /// # Errors
    /// If another nemesis holds the journal, or it is damaged or not writable.
    pub fn new(backend: Box<dyn Backend>, journal: &Path, seed: u64) -> Result<Nemesis, NemesisError> {
        let (journal, found) = Journal::open(journal)?;
        let mut nemesis = Nemesis {
            backend,
            asker: None,
            journal,
            seed,
            choices: 0,
            active: Vec::new(),
            laid: None,
            held: BTreeMap::new(),
            disks: BTreeMap::new(),
            clocks: BTreeMap::new(),
            crashed: BTreeMap::new(),
            outside: BTreeSet::new(),
            member_patience: MEMBER_PATIENCE,
            observers: Vec::new(),
        };
        for entry in found {
            nemesis.adopt(entry);
        }
        Ok(nemesis)
    }

    /// Takes over a fault of an earlier nemesis, so that undoing it finds out
    /// what must be put right. Its appointment is kept.
    fn adopt(&mut self, entry: Entry) {
        for node in entry.effect.processes.keys() {
            // A restart that was cut short left its node dead.
            let state = entry.effect.wants(node, Duration::ZERO);
            self.held.insert(node.clone(), state.unwrap_or(KILLED));
        }
        for (node, disk) in &entry.effect.disks {
            self.disks.entry(node.clone()).or_default().push(*disk);
        }
        self.clocks.extend(
            entry
                .effect
                .clocks
                .iter()
                .map(|(node, clock)| (node.clone(), *clock)),
        );
        let until = entry.until_ms.map(|until_ms| {
            let left = until_ms.saturating_sub(since_1970_ms());
            Instant::now() + Duration::from_millis(left)
        });
        self.active.push(Active {
            entry,
            since: Some(Instant::now()),
            until,
            restarts: Vec::new(),
            later: Vec::new(),
        });
    }

    /// Tells it whom to ask about leaders and membership.
    pub fn set_asker(&mut self, asker: Asker) {
        self.asker = Some(asker);
    }

    /// Gives requests about membership, and the list of members to show them, so much
    /// time each. By default 20 s: a new member first copies all data.
    pub fn set_member_patience(&mut self, patience: Duration) {
        self.member_patience = patience;
    }

    /// Has `observer` told of everything that is done, seen or goes wrong, by
    /// whomever it was asked for (a schedule, a person at the control socket, a
    /// timer). It is called with the nemesis locked and must not call it back.
    pub fn observe(&mut self, observer: impl FnMut(&Record) + Send + 'static) {
        self.observers.push(Box::new(observer));
    }

    /// The nodes of the cluster.
    pub fn nodes(&self) -> &[NodeId] {
        self.backend.nodes()
    }

    /// The backend's name: `lab`, `docker`.
    pub fn backend_name(&self) -> &'static str {
        self.backend.name()
    }

    /// Whether faults that need `ability` can be applied here.
    ///
    /// # Errors
    /// Why not.
    pub fn can(&self, ability: Ability) -> Result<(), Unsupported> {
        if ability != Ability::Membership {
            return self.backend.can(ability);
        }
        let changes = [
            MembershipChange::Add,
            MembershipChange::Remove,
            MembershipChange::Transfer,
        ];
        let mut outcomes = changes.map(|change| self.can_change_member(change));
        outcomes
            .iter()
            .position(Result::is_ok)
            .map_or_else(|| std::mem::replace(&mut outcomes[0], Ok(())), |_| Ok(()))
    }

    /// Whether this very fault can be applied here.
    ///
    /// # Errors
    /// Why not.
    pub fn can_do(&self, fault: &Fault) -> Result<(), Unsupported> {
        match fault {
            Fault::Membership { change, .. } => self.can_change_member(*change),
            fault => self.can(fault.needs()),
        }
    }

    /// Whether everything that a plan wants can be done here, and means something.
    ///
    /// # Errors
    /// All that cannot, at once: nothing has been started then.
    pub fn check(&self, plan: &Plan) -> Result<(), NemesisError> {
        let mut wrong: Vec<String> = Vec::new();
        for (number, step) in (1..).zip(&plan.steps) {
            // Any leader will do to find out whether the rest makes sense.
            let leader = self.backend.nodes().first();
            let why = match self.can_do(&step.fault) {
                Err(why) => why.to_string(),
                Ok(()) => match Effect::of(&step.fault, self.backend.nodes(), leader, &mut self.rng()) {
                    Err(error) => error.to_string(),
                    Ok(_) => continue,
                },
            };
            wrong.push(format!("\n  step {number}, {}: {why}", step.fault));
        }
        if wrong.is_empty() {
            return Ok(());
        }
        Err(NemesisError::Plan(wrong))
    }

    /// Who leads now, where the cluster can be asked and says so.
    pub fn leader(&self) -> Option<NodeId> {
        self.asker.as_ref()?.leader(LEADER_PATIENCE)
    }

    /// What `fault` would do if it were applied now, without doing it: the
    /// same random choices, though another leader may have come by then.
    ///
    /// # Errors
    /// As [`Nemesis::apply`].
    pub fn preview(&self, fault: &Fault) -> Result<(Effect, String), NemesisError> {
        let ability = fault.needs();
        self.can_do(fault)
            .map_err(|why| NemesisError::Unsupported { ability, why })?;
        let leader = if fault.needs_leader() { self.leader() } else { None };
        Ok(Effect::of(
            fault,
            self.backend.nodes(),
            leader.as_ref(),
            &mut self.rng(),
        )?)
    }

    fn rng(&self) -> ChaCha8Rng {
        let mut rng = ChaCha8Rng::seed_from_u64(self.seed);
        rng.set_stream(self.choices);
        rng
    }

    /// The faults in force.
    pub fn in_force(&self) -> Vec<InForce> {
        let now = Instant::now();
        self.active
            .iter()
            .map(|active| InForce {
                id: active.entry.id,
                fault: active.entry.fault.clone(),
                description: active.entry.sentence.clone(),
                since_ms: millis(active.elapsed()),
                left_ms: active
                    .until
                    .map(|until| millis(until.saturating_duration_since(now))),
            })
            .collect()
    }

    /// Looks at the whole cluster: every process, every link, who leads.
    ///
    /// # Errors
    /// If it cannot be looked at.
    pub fn status(&mut self) -> Result<Status, NemesisError> {
        let nodes = self.backend.nodes().to_vec();
        let states = nodes
            .iter()
            .map(|node| Ok((node.clone(), self.backend.state(node)?)))
            .collect::<Result<Vec<_>, NemesisError>>()?;
        let links = self.desired_links();
        let pairs: Vec<_> = links
            .pairs()
            .map(|(from, to, _)| (from.clone(), to.clone()))
            .collect();
        let reach = self.backend.probe_links(&links, &pairs)?;
        Ok(Status {
            backend: self.backend.name().to_owned(),
            leader: self.leader(),
            nodes: states,
            links,
            reach,
            faults: self.in_force(),
        })
    }

    fn trouble(&mut self, message: String) {
        tracing::warn!("{message}");
        self.tell(&Record::Trouble { message });
    }

    fn tell(&mut self, record: &Record) {
        for observer in &mut self.observers {
            observer(record);
        }
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// The wall clock, for appointments that must survive this process.
fn since_1970_ms() -> u64 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, millis)
}

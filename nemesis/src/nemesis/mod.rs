//! The nemesis itself: what is desired, kept on disk, enforced, and looked at.

mod election;
mod enforce;
mod members;
mod upkeep;

use std::collections::BTreeMap;
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

/// How long the cluster is asked who leads before a fault gives up on knowing.
const LEADER_PATIENCE: Duration = Duration::from_secs(1);

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
    observers: Vec<Observer>,
}

/// A fault in force.
struct Active {
    entry: Entry,
    since: Instant,
    until: Option<Instant>,
    /// Restarts still to come, soonest first.
    restarts: Vec<(Instant, NodeId)>,
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
            observers: Vec::new(),
        };
        for entry in found {
            nemesis.adopt(entry);
        }
        Ok(nemesis)
    }

    /// Takes over a fault of an earlier nemesis, so that undoing it finds out
    /// what must be put right.
    fn adopt(&mut self, entry: Entry) {
        for (node, change) in &entry.effect.processes {
            if !matches!(change, ProcessChange::Restart { .. }) {
                let state = entry.effect.wants(node, Duration::ZERO);
                self.held.insert(node.clone(), state.unwrap_or(NodeState::Paused));
            }
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
        self.active.push(Active {
            entry,
            since: Instant::now(),
            until: None,
            restarts: Vec::new(),
        });
    }

    /// Tells it whom to ask about leaders and membership.
    pub fn set_asker(&mut self, asker: Asker) {
        self.asker = Some(asker);
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

    /// Applies `fault` until it is undone, and looks whether it bit.
    ///
    /// # Errors
    /// A [`NemesisError`]; the fault is then not in force.
    pub fn apply(&mut self, fault: &Fault) -> Result<Applied, NemesisError> {
        self.apply_until(fault, None)
    }

    /// Like [`Nemesis::apply`], undone by itself (see [`Nemesis::tick`]) after `lasting`.
    ///
    /// # Errors
    /// As [`Nemesis::apply`].
    pub fn apply_for(&mut self, fault: &Fault, lasting: Duration) -> Result<Applied, NemesisError> {
        self.apply_until(fault, Some(lasting))
    }

    fn apply_until(&mut self, fault: &Fault, lasting: Option<Duration>) -> Result<Applied, NemesisError> {
        let (effect, description) = self.preview(fault)?;
        self.choices += 1;
        let until = lasting.map(|lasting| Instant::now() + lasting);
        let until_ms = lasting.map(|lasting| since_1970_ms().saturating_add(millis(lasting)));
        let entry = self.journal.begin(fault, &effect, &description, until_ms)?;
        let id = entry.id;
        let since = Instant::now();
        self.active.push(Active {
            entry,
            since,
            until,
            restarts: Vec::new(),
        });
        let seen = self.strike(id, fault, &effect).and_then(|mut seen| {
            let effect = self.effect_of(id);
            seen.extend(self.look(&effect)?);
            Ok(seen)
        });
        let seen = match seen {
            Ok(seen) => seen,
            Err(error) => {
                // Half a fault is worse than none. If it cannot be taken back it
                // stays in force and in the journal, for heal to try again.
                if let Err(also) = self.withdraw(id) {
                    tracing::warn!(%id, %also, "a fault that failed half-way could not be taken back");
                }
                return Err(error);
            }
        };
        let bit = !seen.is_empty() && seen.iter().all(Probe::as_wanted);
        let (effect, description) = self
            .active
            .iter()
            .find(|active| active.entry.id == id)
            .map_or((effect, description), |active| {
                (active.entry.effect.clone(), active.entry.sentence.clone())
            });
        let over = fault.is_momentary()
            && self
                .active
                .iter()
                .all(|a| a.entry.id != id || a.restarts.is_empty());
        if over {
            self.forget(id)?;
        }
        let applied = Applied {
            id,
            fault: fault.clone(),
            description,
            effect,
            seen,
            bit,
            over,
        };
        self.tell(&Record::Applied(applied.clone()));
        Ok(applied)
    }

    /// What a fault in force means by now.
    fn effect_of(&self, id: FaultId) -> Effect {
        let active = self.active.iter().find(|active| active.entry.id == id);
        active
            .map(|active| active.entry.effect.clone())
            .unwrap_or_default()
    }

    /// Does what is done once, then enforces what is desired.
    fn strike(&mut self, id: FaultId, fault: &Fault, effect: &Effect) -> Result<Vec<Probe>, NemesisError> {
        let mut seen = Vec::new();
        let now = Instant::now();
        for (node, change) in &effect.processes {
            match change {
                ProcessChange::Restart { after } if after.0 > Duration::ZERO => {
                    let active = self.active.iter_mut().find(|active| active.entry.id == id);
                    active
                        .expect("the fault was just added")
                        .restarts
                        .push((now + after.0, node.clone()));
                }
                ProcessChange::Restart { .. } => seen.extend(self.restart(node)?),
                _ => {}
            }
        }
        if let Some(active) = self.active.iter_mut().find(|active| active.entry.id == id) {
            active.restarts.sort();
        }
        for (node, change) in &effect.members {
            seen.push(self.change_member(node, *change)?);
        }
        for (node, fault) in &effect.disks {
            if let DiskFault::BitFlip { .. } = fault {
                seen.push(self.backend.set_disk(node, &[*fault])?);
            }
        }
        let old_term = (*fault == Fault::KillElection).then(|| self.newest_term());
        seen.extend(self.enforce()?);
        for (node, damage) in &effect.damaged {
            let seed = self.seed ^ id.0.rotate_left(32);
            seen.push(self.backend.damage(node, *damage, seed)?);
        }
        if let Some(term) = old_term {
            seen.push(self.kill_candidate(id, term)?);
        }
        Ok(seen)
    }

    fn restart(&mut self, node: &NodeId) -> Result<Vec<Probe>, NemesisError> {
        self.release(std::slice::from_ref(node), |_| true)?;
        let mut seen = Vec::new();
        if self.backend.state(node)?.is_alive() {
            self.backend.kill(node)?;
            let dead = self.backend.state(node)?;
            let as_wanted = !dead.is_alive();
            seen.push(Probe::Process {
                node: node.clone(),
                seen: dead,
                as_wanted,
            });
        }
        self.backend.start(node)?;
        self.held.remove(node);
        self.crashed.remove(node);
        Ok(seen)
    }

    /// Takes `nodes` out of the process faults in force that `which` picks, and
    /// writes down what is left of them. It enforces nothing.
    fn release(
        &mut self,
        nodes: &[NodeId],
        which: impl Fn(&ProcessChange) -> bool,
    ) -> Result<(), NemesisError> {
        let held = |change: &ProcessChange| !matches!(change, ProcessChange::Restart { .. }) && which(change);
        for active in &mut self.active {
            let before = active.entry.effect.processes.len();
            active
                .entry
                .effect
                .processes
                .retain(|node, change| !(nodes.contains(node) && held(change)));
            if active.entry.effect.processes.len() < before {
                self.journal.amend(active.entry.id, &active.entry.effect)?;
            }
        }
        let spent: Vec<FaultId> = self
            .active
            .iter()
            .filter(|active| active.entry.effect == Effect::default())
            .map(|active| active.entry.id)
            .collect();
        for id in spent {
            self.forget(id)?;
        }
        Ok(())
    }

    /// Continues the paused ones among `target`, whatever paused them, and says
    /// what was seen.
    ///
    /// # Errors
    /// If the target cannot be resolved, or a process not be continued.
    pub fn resume(&mut self, target: &Target) -> Result<Vec<Probe>, NemesisError> {
        let leader = if target.needs_leader() {
            self.leader()
        } else {
            None
        };
        let nodes = target.resolve(self.backend.nodes(), leader.as_ref(), &mut self.rng())?;
        self.choices += 1;
        self.release(&nodes, |change| matches!(change, ProcessChange::Pause))?;
        self.enforce()?;
        for node in &nodes {
            if self.desired_state(node).is_none() && self.backend.state(node)? == NodeState::Paused {
                self.backend.resume(node)?;
            }
        }
        nodes.iter().map(|node| self.look_at_process(node)).collect()
    }

    /// Undoes one fault and looks whether it is gone.
    ///
    /// # Errors
    /// If it is not in force, or cannot be undone; it then stays in force.
    pub fn undo(&mut self, id: FaultId) -> Result<Undone, NemesisError> {
        let active = self.active.iter().find(|active| active.entry.id == id);
        let entry = active.ok_or(NemesisError::NotInForce(id))?.entry.clone();
        let mut seen = self.withdraw(id)?;
        seen.extend(self.look(&entry.effect)?);
        let healed = seen.iter().all(Probe::as_wanted);
        let undone = Undone {
            id,
            fault: entry.fault,
            description: entry.sentence,
            seen,
            healed,
        };
        self.tell(&Record::Undone(undone.clone()));
        Ok(undone)
    }

    /// Takes a fault out of what is desired, enforces the rest, and only then
    /// strikes it from the journal.
    fn withdraw(&mut self, id: FaultId) -> Result<Vec<Probe>, NemesisError> {
        let Some(at) = self.active.iter().position(|active| active.entry.id == id) else {
            return Ok(Vec::new());
        };
        let active = self.active.remove(at);
        // Processes first: who is to be a member again must run. Without knowing
        // what was laid, as after a crash, all links are laid again.
        let undone = self.enforce().and_then(|mut seen| {
            seen.extend(self.change_members_back(&active.entry.effect)?);
            Ok(seen)
        });
        match undone {
            Ok(seen) => {
                self.journal.end(id)?;
                Ok(seen)
            }
            Err(error) => {
                self.active.insert(at, active);
                Err(error)
            }
        }
    }

    fn forget(&mut self, id: FaultId) -> Result<(), NemesisError> {
        self.journal.end(id)?;
        self.active.retain(|active| active.entry.id != id);
        Ok(())
    }

    /// Undoes every fault in force, those found in the journal included, and
    /// looks at the whole cluster.
    ///
    /// # Errors
    /// The first thing that could not be undone, after trying all of them.
    pub fn heal(&mut self) -> Result<Healed, NemesisError> {
        let mut undone = Vec::new();
        let mut failed = None;
        // Newest first, but membership last: to change it the cluster must be well.
        let of_members = |active: &&Active| !active.entry.effect.members.is_empty();
        let newest_first = || self.active.iter().rev();
        let ids: Vec<FaultId> = newest_first()
            .filter(|active| !of_members(active))
            .chain(newest_first().filter(of_members))
            .map(|active| active.entry.id)
            .collect();
        for id in ids {
            match self.undo(id) {
                Ok(one) => undone.push(one),
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        // Lay good links even if nobody thinks that there are others.
        self.laid = None;
        self.enforce()?;
        if let Some(error) = failed {
            return Err(error);
        }
        let mut seen = self.probe_all()?;
        for node in self.backend.nodes().to_vec() {
            seen.push(self.look_at_process(&node)?);
        }
        let healed = seen.iter().all(Probe::as_wanted);
        Ok(Healed { undone, seen, healed })
    }

    fn probe_all(&mut self) -> Result<Vec<Probe>, NemesisError> {
        let wanted = self.desired_links();
        let pairs: Vec<_> = wanted
            .pairs()
            .map(|(from, to, _)| (from.clone(), to.clone()))
            .collect();
        let probes = self.backend.probe_links(&wanted, &pairs)?;
        Ok(probes.into_iter().map(Probe::Link).collect())
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
                since_ms: millis(active.since.elapsed()),
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

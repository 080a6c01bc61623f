//! Applying: chosen, journalled, struck, looked at.

use super::*;

impl Nemesis {
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
        self.active.push(Active {
            entry,
            since: None,
            until,
            restarts: Vec::new(),
            later: Vec::new(),
        });
        let seen = self.strike(id, fault, &effect).and_then(|mut seen| {
            let mut effect = self.effect_of(id);
            effect.processes.retain(|_, change| !is_to_come(change));
            seen.extend(self.look(&effect)?);
            Ok(seen)
        });
        if let Some(active) = self.active.iter_mut().find(|active| active.entry.id == id) {
            active.since = Some(Instant::now());
        }
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
        let is_done = self
            .active
            .iter()
            .all(|a| a.entry.id != id || a.restarts.is_empty());
        let over = fault.is_momentary() && is_done && (bit || !fault.is_replacement());
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
    pub(super) fn effect_of(&self, id: FaultId) -> Effect {
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
                ProcessChange::Restart { after } if is_to_come(change) => {
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

    pub(super) fn restart(&mut self, node: &NodeId) -> Result<Vec<Probe>, NemesisError> {
        self.release(std::slice::from_ref(node), |_| true)?;
        let mut seen = Vec::new();
        if self.backend.state(node)?.is_alive() {
            // Whatever goes wrong from here on, it is ours to start again.
            self.held.insert(node.clone(), KILLED);
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
}

/// A restart that has its turn later.
fn is_to_come(change: &ProcessChange) -> bool {
    matches!(change, ProcessChange::Restart { after } if after.0 > Duration::ZERO)
}

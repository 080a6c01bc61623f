//! From what is desired to what is: the difference is found out and made good,
//! then looked at.

use super::*;

impl Nemesis {
    /// The sum of the faults in force, for the links.
    pub fn desired_links(&self) -> LinkMatrix {
        let mut matrix = LinkMatrix::good(self.backend.nodes());
        for active in &self.active {
            active.entry.effect.worsen(&mut matrix, active.elapsed());
        }
        matrix
    }

    /// The sum of the faults in force for one node's process; none if it may run.
    pub(super) fn desired_state(&self, node: &NodeId) -> Option<NodeState> {
        let wants: Vec<NodeState> = self
            .active
            .iter()
            .filter_map(|active| active.entry.effect.wants(node, active.elapsed()))
            .collect();
        wants
            .iter()
            .find(|state| !state.is_alive())
            .or(wants.first())
            .copied()
    }

    /// Makes what is be what is desired.
    pub(super) fn enforce(&mut self) -> Result<Vec<Probe>, NemesisError> {
        let mut seen = Vec::new();
        let links = self.desired_links();
        if self.laid.as_ref() != Some(&links) {
            self.laid = None;
            self.backend.set_links(&links)?;
            self.laid = Some(links);
        }
        // One moment for all: killing takes time, in which a rhythm may turn, and those
        // who come last would never have their beat.
        let nodes = self.backend.nodes().to_vec();
        let desired: Vec<Option<NodeState>> = nodes.iter().map(|node| self.desired_state(node)).collect();
        for (node, desired) in nodes.iter().zip(desired) {
            seen.extend(self.enforce_process(node, desired)?);
            seen.extend(self.enforce_machine(node)?);
        }
        Ok(seen)
    }

    fn enforce_process(
        &mut self,
        node: &NodeId,
        desired: Option<NodeState>,
    ) -> Result<Option<Probe>, NemesisError> {
        let Some(want) = desired else {
            if self.held.contains_key(node) {
                match self.backend.state(node)? {
                    NodeState::Paused => self.backend.resume(node)?,
                    NodeState::Dead { .. } => self.backend.start(node)?,
                    NodeState::Running => {}
                }
                self.held.remove(node);
                self.crashed.remove(node);
            }
            return Ok(None);
        };
        let held = self.held.insert(node.clone(), want);
        let is = self.backend.state(node)?;
        match (want, is) {
            (NodeState::Dead { .. }, is) => {
                if let Some(torn) = self.power_failure(node)
                    && held.is_none_or(NodeState::is_alive)
                {
                    return Ok(Some(self.backend.power_off(node, torn)?));
                }
                if is.is_alive() {
                    self.backend.kill(node)?;
                }
            }
            (_, NodeState::Running) => self.backend.pause(node)?,
            (_, NodeState::Paused) => {}
            (_, NodeState::Dead { .. }) => {
                // Held down by a fault now undone, and to be paused by another.
                if held.is_some_and(|held| !held.is_alive()) {
                    self.backend.start(node)?;
                    self.backend.pause(node)?;
                }
            }
        }
        Ok(None)
    }

    /// Whether a power failure is what holds this node down, and a torn one.
    fn power_failure(&self, node: &NodeId) -> Option<bool> {
        let changes = self
            .active
            .iter()
            .filter_map(|active| active.entry.effect.processes.get(node));
        changes
            .filter_map(|change| {
                if let ProcessChange::PowerFailure { torn } = change {
                    Some(*torn)
                } else {
                    None
                }
            })
            .max()
    }

    fn enforce_machine(&mut self, node: &NodeId) -> Result<Vec<Probe>, NemesisError> {
        let mut seen = Vec::new();
        let disk: Vec<DiskFault> = self
            .active
            .iter()
            .filter_map(|active| active.entry.effect.disks.get(node).copied())
            .filter(|fault| !matches!(fault, DiskFault::BitFlip { .. }))
            .collect();
        if self.disks.get(node).map_or(&[][..], Vec::as_slice) != disk {
            seen.push(self.backend.set_disk(node, &disk)?);
            self.disks.insert(node.clone(), disk);
        }
        let clock = self
            .active
            .iter()
            .rev()
            .find_map(|active| active.entry.effect.clocks.get(node).copied());
        if self.clocks.get(node).copied() != clock {
            seen.push(self.backend.set_clock(node, clock)?);
            match clock {
                Some(clock) => self.clocks.insert(node.clone(), clock),
                None => self.clocks.remove(node),
            };
        }
        Ok(seen)
    }

    /// Looks at what an effect touches: is it as desired now?
    pub(super) fn look(&mut self, effect: &Effect) -> Result<Vec<Probe>, NemesisError> {
        let mut seen = Vec::new();
        if !effect.links.is_empty() {
            let wanted = self.laid.clone().unwrap_or_else(|| self.desired_links());
            let pairs: Vec<_> = effect
                .links
                .iter()
                .map(|change| (change.from.clone(), change.to.clone()))
                .collect();
            seen.extend(
                self.backend
                    .probe_links(&wanted, &pairs)?
                    .into_iter()
                    .map(Probe::Link),
            );
        }
        for node in effect.processes.keys() {
            seen.push(self.look_at_process(node)?);
        }
        Ok(seen)
    }

    pub(super) fn look_at_process(&mut self, node: &NodeId) -> Result<Probe, NemesisError> {
        let seen = self.backend.state(node)?;
        // As was enforced: what is desired may have turned with a rhythm since.
        let as_wanted = match self.held.get(node) {
            None => seen == NodeState::Running,
            Some(NodeState::Dead { .. }) => !seen.is_alive(),
            Some(wanted) => seen == *wanted,
        };
        Ok(Probe::Process {
            node: node.clone(),
            seen,
            as_wanted,
        })
    }
}

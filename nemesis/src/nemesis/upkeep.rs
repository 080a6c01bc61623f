//! What must be done between faults: expiries, rhythms, rolling restarts, crashes.

use super::*;

/// Time until something that could not be undone is tried again.
const AGAIN: Duration = Duration::from_secs(2);

impl Nemesis {
    /// Does what is due: undoes faults whose time is over, turns flapping links
    /// and crash loops, restarts the next of a rolling restart, lays rules again
    /// where a node came back without them, and notices nodes that died by
    /// themselves. Returns how long nothing more is due, if anything ever is.
    ///
    /// Whoever owns the nemesis calls it often, or has a
    /// [`Keeper`](crate::Keeper) do so.
    pub fn tick(&mut self) -> Option<Duration> {
        let now = Instant::now();
        let over: Vec<FaultId> = self
            .active
            .iter()
            .filter(|active| active.until.is_some_and(|until| until <= now))
            .map(|active| active.entry.id)
            .collect();
        for id in over {
            self.end(id);
        }
        self.restart_due(now);
        if self.backend.forgot_links() {
            self.laid = None;
        }
        if (self.laid.as_ref() != Some(&self.desired_links()) || self.has_rhythm())
            && let Err(error) = self.enforce()
        {
            self.trouble(format!("enforcing what is desired: {error}"));
        }
        self.notice_crashes();
        self.next_due()
    }

    fn restart_due(&mut self, now: Instant) {
        let mut due = Vec::new();
        for active in &mut self.active {
            let id = active.entry.id;
            active.restarts.retain(|(at, node)| {
                let later = *at > now;
                if !later {
                    due.push((id, node.clone()));
                }
                later
            });
        }
        for (id, node) in due {
            match self.restart(&node) {
                Ok(seen) => {
                    let active = self.active.iter_mut().find(|active| active.entry.id == id);
                    active
                        .into_iter()
                        .for_each(|active| active.later.extend(seen.clone()));
                }
                Err(error) => self.trouble(format!("restarting {node}: {error}")),
            }
        }
        let is_finished = |active: &&Active| {
            matches!(active.entry.fault, Fault::Restart { .. })
                && active.restarts.is_empty()
                && active.until.is_none()
        };
        let finished: Vec<FaultId> = self
            .active
            .iter()
            .filter(is_finished)
            .map(|active| active.entry.id)
            .collect();
        for id in finished {
            self.end(id);
        }
    }

    /// Undoes what is over; what cannot be undone now is tried again in a while.
    fn end(&mut self, id: FaultId) {
        if let Err(error) = self.undo(id) {
            self.trouble(format!("undoing {id}: {error}"));
            let again = Instant::now() + AGAIN;
            let stays = self.active.iter_mut().find(|active| active.entry.id == id);
            stays.into_iter().for_each(|active| active.until = Some(again));
        }
    }

    fn has_rhythm(&self) -> bool {
        let loops = |change: &ProcessChange| matches!(change, ProcessChange::CrashLoop { .. });
        self.active
            .iter()
            .any(|active| active.entry.effect.processes.values().any(loops))
    }

    fn notice_crashes(&mut self) {
        for node in self.backend.nodes().to_vec() {
            // A member that lags may turn it away for what it remembers of the one before.
            if self.is_outside(&node) {
                continue;
            }
            match self.backend.state(&node) {
                Ok(state @ NodeState::Dead { asked: false, status })
                    if !self.held.contains_key(&node) && !self.crashed.contains_key(&node) =>
                {
                    self.crashed.insert(node.clone(), state);
                    self.tell(&Record::Crashed { node, status });
                }
                Ok(NodeState::Running) => drop(self.crashed.remove(&node)),
                _ => {}
            }
        }
    }

    fn next_due(&self) -> Option<Duration> {
        let now = Instant::now();
        let mut due = Vec::new();
        for active in &self.active {
            due.extend(active.until.map(|until| until.saturating_duration_since(now)));
            due.extend(
                active
                    .restarts
                    .first()
                    .map(|(at, _)| at.saturating_duration_since(now)),
            );
            let elapsed = active.elapsed();
            due.extend(
                active
                    .entry
                    .effect
                    .rhythm
                    .map(|rhythm| rhythm.until_change(elapsed)),
            );
            for change in active.entry.effect.processes.values() {
                if let ProcessChange::CrashLoop { rhythm } = change {
                    due.push(rhythm.until_change(elapsed));
                }
            }
        }
        due.into_iter().min()
    }
}

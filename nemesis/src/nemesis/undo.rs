//! Undoing: taken out of what is desired, enforced, looked at, struck from the journal.

use super::*;

impl Nemesis {
    /// Undoes one fault and looks whether it is gone.
    ///
    /// # Errors
    /// If it is not in force, or cannot be undone; it then stays in force.
    pub fn undo(&mut self, id: FaultId) -> Result<Undone, NemesisError> {
        let active = self.active.iter().find(|active| active.entry.id == id);
        let active = active.ok_or(NemesisError::NotInForce(id))?;
        let (entry, mut seen) = (active.entry.clone(), active.later.clone());
        seen.extend(self.withdraw(id)?);
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
    pub(super) fn withdraw(&mut self, id: FaultId) -> Result<Vec<Probe>, NemesisError> {
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

    pub(super) fn forget(&mut self, id: FaultId) -> Result<(), NemesisError> {
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
}

//! A second blow while the cluster reels from the first: the leader is dead, and
//! whoever reaches for its place is killed in the act.

use super::*;

/// How long an election may take to begin after its leader is dead. Stores with
/// slow failure detectors take seconds.
const PATIENCE: Duration = Duration::from_secs(15);
/// How long a node may take to say how it stands. It is asked over and over.
const ANSWER: Duration = Duration::from_millis(250);

impl Nemesis {
    /// The newest term that any node knows.
    pub(super) fn newest_term(&self) -> u64 {
        let views = self.asker.as_ref().map(|asker| asker.views(LEADER_PATIENCE));
        views
            .unwrap_or_default()
            .iter()
            .map(|view| view.term)
            .max()
            .unwrap_or(0)
    }

    /// Waits for the election that follows on the leader's death, kills who is
    /// seen to stand for it or to have won it, and says who that was.
    pub(super) fn kill_candidate(&mut self, id: FaultId, old_term: u64) -> Result<Probe, NemesisError> {
        let effect = self.effect_of(id);
        let dead = effect
            .processes
            .keys()
            .next()
            .expect("a leader was killed")
            .clone();
        let started = Instant::now();
        let Some((victim, how)) = self.await_candidate(&dead, old_term) else {
            return Ok(Probe::Trial {
                node: dead,
                seen: format!("no election was seen within {PATIENCE:?} of its death"),
                as_wanted: false,
            });
        };
        let after = started.elapsed();
        let active = self
            .active
            .iter_mut()
            .find(|active| active.entry.id == id)
            .expect("the fault was just added");
        active
            .entry
            .effect
            .processes
            .insert(victim.clone(), ProcessChange::Kill);
        active.entry.sentence = format!("{dead}, then {victim}");
        // On disk before it is done, as everything.
        self.journal.amend(id, &active.entry.effect)?;
        self.enforce()?;
        Ok(Probe::Trial {
            node: victim,
            seen: format!("{how} {} ms after {dead} was killed: killed", after.as_millis()),
            as_wanted: true,
        })
    }

    fn await_candidate(&self, dead: &NodeId, old_term: u64) -> Option<(NodeId, String)> {
        let asker = self.asker.as_ref()?;
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            if let Some(found) = candidate(&asker.views(ANSWER), dead, old_term) {
                return Some(found);
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        None
    }
}

/// Who stands for election, or has just won one, as the nodes say.
fn candidate(views: &[View], dead: &NodeId, old_term: u64) -> Option<(NodeId, String)> {
    let alive = || views.iter().filter(|view| view.node != *dead);
    if let Some(view) = alive().find(|view| view.candidate == Some(true)) {
        let how = format!("stood for election in term {}", view.term);
        return Some((view.node.clone(), how));
    }
    let newer = |view: &&View| view.term > old_term;
    // Where no terms are told, another leader is all that shows.
    let changed = |view: &View| view.term > old_term || old_term == 0;
    let winner = alive()
        .filter(|view| changed(view))
        .filter_map(|view| Some((view.term, view.leader.clone().filter(|leader| leader != dead)?)))
        .max();
    if let Some((term, leader)) = winner {
        return Some((leader, format!("was elected in term {term}")));
    }
    let first = alive()
        .filter(|view| view.candidate.is_none())
        .filter(newer)
        .max_by_key(|view| view.term)?;
    let how = format!("was the first to know term {}", first.term);
    Some((first.node.clone(), how))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(node: usize, term: u64, leader: Option<usize>, candidate: Option<bool>) -> View {
        View {
            node: NodeId::numbered(node),
            term,
            leader: leader.map(NodeId::numbered),
            candidate,
        }
    }

    #[test]
    fn whoever_reaches_for_the_place_of_the_dead_is_the_next() {
        let n1 = NodeId::numbered(1);
        let who = |views: &[View]| candidate(views, &n1, 4).map(|(node, _)| node.to_string());
        // They still believe in the dead leader.
        let before = [view(2, 4, Some(1), Some(false)), view(3, 4, Some(1), None)];
        assert_eq!(who(&before), None);
        let standing = [view(2, 5, None, Some(false)), view(3, 5, None, Some(true))];
        assert_eq!(who(&standing).as_deref(), Some("n3"));
        // A voter knows the term as well: only one that cannot say so is suspect.
        assert_eq!(who(&standing[..1]), None);
        assert_eq!(who(&[view(2, 5, None, None)]).as_deref(), Some("n2"));
        let won = [view(2, 5, Some(3), Some(false))];
        assert_eq!(who(&won).as_deref(), Some("n3"));
        // A leader of the old term is the dead one's shadow.
        assert_eq!(who(&[view(2, 4, Some(3), None)]), None);
        let without_terms = candidate(&[view(2, 0, Some(3), None)], &n1, 0);
        assert_eq!(without_terms.map(|(node, _)| node), Some(NodeId::numbered(3)));
    }
}

//! Members that come and go, by the cluster's own requests.
//!
//! A request that was agreed to proves nothing: whoever can be asked for the list
//! of members is, until it shows the change.

use super::*;

/// Time between two looks at the list of members, or two requests to take a node
/// back that is just starting.
const LOOK: Duration = Duration::from_millis(50);

impl Nemesis {
    /// Whether the cluster can be asked for such a change, and for its undoing.
    pub(super) fn can_change_member(&self, change: MembershipChange) -> Result<(), Unsupported> {
        let needed: &[(MembershipChange, &str)] = match change {
            MembershipChange::Transfer => &[(MembershipChange::Transfer, "transfer")],
            _ => &[
                (MembershipChange::Add, "add"),
                (MembershipChange::Remove, "remove"),
            ],
        };
        let knows = |change| self.asker.as_ref().is_some_and(|asker| asker.knows(change));
        let missing: Vec<String> = needed
            .iter()
            .filter(|(change, _)| !knows(*change))
            .map(|(_, name)| format!("[requests.{name}]"))
            .collect();
        if !missing.is_empty() {
            return Err(Unsupported::new(
                "nobody said by what requests this system changes its membership",
                format!("add {} to its system file", missing.join(" and ")),
            ));
        }
        if change == MembershipChange::Replace {
            return self.backend.can(Ability::Damage);
        }
        Ok(())
    }

    /// Asks for a change and looks whether it came about.
    pub(super) fn change_member(
        &mut self,
        node: &NodeId,
        change: MembershipChange,
    ) -> Result<Probe, NemesisError> {
        let outcome = match change {
            MembershipChange::Replace => self.replace(node)?,
            change => self.ask_and_look(node, change),
        };
        let verb = match change {
            MembershipChange::Add => "added",
            MembershipChange::Remove => "removed",
            MembershipChange::Transfer => "made leader",
            MembershipChange::Replace => "replaced",
        };
        let as_wanted = outcome.is_ok();
        let seen = match outcome {
            Ok(seen) => format!("{verb}: {seen}"),
            Err(why) => format!("not {verb}: {why}"),
        };
        Ok(Probe::Trial {
            node: node.clone(),
            seen,
            as_wanted,
        })
    }

    fn ask_and_look(&self, node: &NodeId, change: MembershipChange) -> Result<String, String> {
        let asker = self.asker.as_ref().ok_or("nobody to ask")?;
        // Between two leaders every cluster refuses.
        let deadline = Instant::now() + LEADER_PATIENCE * 5;
        while asker.knows_leader() && asker.leader(LEADER_PATIENCE).is_none() && Instant::now() < deadline {
            std::thread::sleep(LOOK);
        }
        let answer = asker.change(change, node, self.member_patience)?;
        let answer = answer.chars().take(120).collect::<String>();
        let deadline = Instant::now() + self.member_patience;
        loop {
            let seen = match change {
                MembershipChange::Transfer => asker
                    .leader(LEADER_PATIENCE)
                    .map(|leader| (leader == *node, format!("{leader} leads"))),
                _ if !asker.knows_members() => {
                    return Ok(format!("{answer} (no [requests.members] to see it by)"));
                }
                _ => asker.members(LEADER_PATIENCE).ok().map(|members| {
                    let there = members.contains(node);
                    let names = crate::node::join(&members);
                    (
                        there == (change == MembershipChange::Add),
                        format!("members are {names}"),
                    )
                }),
            };
            match seen {
                Some((true, seen)) => return Ok(seen),
                seen if Instant::now() > deadline => {
                    let seen = seen.map_or_else(|| "nobody says".to_owned(), |(_, seen)| seen);
                    return Err(format!("{answer}; but {seen}"));
                }
                _ => std::thread::sleep(LOOK),
            }
        }
    }

    /// Out with the old machine, in with a new one of the same name.
    fn replace(&mut self, node: &NodeId) -> Result<Result<String, String>, NemesisError> {
        if let Err(why) = self.ask_and_look(node, MembershipChange::Remove) {
            return Ok(Err(why));
        }
        self.make_new(node)
    }

    /// Has a node start again without anything that it knew, and taken in.
    fn make_new(&mut self, node: &NodeId) -> Result<Result<String, String>, NemesisError> {
        self.outside.insert(node.clone());
        self.backend.kill(node)?;
        // A request that nobody answered in time may have come about after all. A
        // member that forgets what it promised is a fault that nobody asked for: it
        // could vote twice.
        if let Some(seen) = self.is_as_before(node, MembershipChange::Replace) {
            self.backend.start(node)?;
            return Ok(Err(format!(
                "it is a member after all, and keeps its data: {seen}"
            )));
        }
        self.backend.wipe(node)?;
        self.crashed.remove(node);
        let taken = self.take_in(node)?;
        if taken.is_ok() {
            self.outside.remove(node);
        }
        Ok(taken)
    }

    /// Asks for a node to be added until that is done: it may be starting, or be turned
    /// away by a member that has not heard yet that the one before it is gone.
    fn take_in(&mut self, node: &NodeId) -> Result<Result<String, String>, NemesisError> {
        let deadline = Instant::now() + self.member_patience;
        loop {
            if !self.backend.state(node)?.is_alive() {
                self.backend.start(node)?;
            }
            match self.ask_and_look(node, MembershipChange::Add) {
                Err(_) if Instant::now() < deadline => std::thread::sleep(LOOK),
                outcome => return Ok(outcome),
            }
        }
    }

    /// True while nobody counts on a node: it was made new, or was about to be, and
    /// the cluster has not been seen to take it in.
    pub(super) fn is_outside(&self, node: &NodeId) -> bool {
        let replaced = |active: &Active| {
            let change = active.entry.effect.members.get(node);
            change == Some(&MembershipChange::Replace)
        };
        self.outside.contains(node) || self.active.iter().any(replaced)
    }

    /// Undoes what an effect did to the membership.
    ///
    /// # Errors
    /// If the cluster does not agree: then nothing is forgotten, and it can be
    /// tried again.
    pub(super) fn change_members_back(&mut self, effect: &Effect) -> Result<Vec<Probe>, NemesisError> {
        let mut seen = Vec::new();
        for (node, change) in &effect.members {
            let outcome = match (change, self.is_as_before(node, *change)) {
                (_, Some(seen)) => Ok(seen),
                (MembershipChange::Transfer, None) => continue,
                (MembershipChange::Add, None) => self.ask_and_look(node, MembershipChange::Remove),
                (MembershipChange::Remove, None) => match self.ask_and_look(node, MembershipChange::Add) {
                    // Many stores never take back who has seen them before.
                    Err(_) if self.backend.can(Ability::Damage).is_ok() => self.make_new(node)?,
                    outcome => outcome,
                },
                (MembershipChange::Replace, None) => self.replace_the_rest(node)?,
            };
            let answer = outcome.map_err(|why| NemesisError::Membership {
                node: node.clone(),
                why,
            })?;
            self.outside.remove(node);
            // Killed to be made new, and then a member after all.
            if *change == MembershipChange::Replace
                && self.desired_state(node).is_none()
                && !self.backend.state(node)?.is_alive()
            {
                self.backend.start(node)?;
            }
            seen.push(Probe::Trial {
                node: node.clone(),
                seen: answer,
                as_wanted: true,
            });
        }
        Ok(seen)
    }

    /// Does what is left of a replacement that was not completed, or that nobody
    /// lived to complete.
    fn replace_the_rest(&mut self, node: &NodeId) -> Result<Result<String, String>, NemesisError> {
        let knows_members = self.asker.as_ref().is_some_and(Asker::knows_members);
        if knows_members || self.outside.contains(node) {
            return self.make_new(node);
        }
        // Nobody can say whether it was removed: then its data are not ours to throw away.
        self.take_in(node)
    }

    /// What the list of members shows, if it shows that there is nothing to change
    /// back: the change never came about, or somebody has undone it. Who leads is
    /// never changed back.
    fn is_as_before(&self, node: &NodeId, change: MembershipChange) -> Option<String> {
        if change == MembershipChange::Transfer {
            return None;
        }
        let asker = self.asker.as_ref().filter(|asker| asker.knows_members())?;
        let members = asker.members(LEADER_PATIENCE).ok()?;
        let there = change != MembershipChange::Add;
        (members.contains(node) == there).then(|| format!("members are {}", crate::node::join(&members)))
    }
}

//! Members that come and go, by the cluster's own requests.
//!
//! A request that was agreed to proves nothing: whoever can be asked for the list
//! of members is, until it shows the change.

use super::*;

/// How long a request about membership may take: a new member first copies all data.
const PATIENCE: Duration = Duration::from_secs(20);
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
        let answer = asker.change(change, node, PATIENCE)?;
        let answer = answer.chars().take(120).collect::<String>();
        let deadline = Instant::now() + PATIENCE;
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
        let deadline = Instant::now() + PATIENCE;
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

    /// Has those taken in that a replacement left outside.
    ///
    /// # Errors
    /// If the cluster does not agree: then nothing is forgotten, and it can be
    /// tried again.
    pub(super) fn take_in_the_rest(&mut self) -> Result<(), NemesisError> {
        for node in self.outside.clone() {
            self.make_new(&node)?.map_err(|why| NemesisError::Membership {
                node: node.clone(),
                why,
            })?;
        }
        Ok(())
    }

    /// Undoes what an effect did to the membership.
    ///
    /// # Errors
    /// If the cluster does not agree: then nothing is forgotten, and it can be
    /// tried again.
    pub(super) fn change_members_back(&mut self, effect: &Effect) -> Result<Vec<Probe>, NemesisError> {
        let mut seen = Vec::new();
        for (node, change) in &effect.members {
            if self.is_as_before(node, *change) {
                continue;
            }
            let outcome = match change {
                MembershipChange::Transfer | MembershipChange::Replace => continue,
                MembershipChange::Add => self.ask_and_look(node, MembershipChange::Remove),
                MembershipChange::Remove => match self.ask_and_look(node, MembershipChange::Add) {
                    // Many stores never take back who has seen them before.
                    Err(_) if self.backend.can(Ability::Damage).is_ok() => self.make_new(node)?,
                    outcome => outcome,
                },
            };
            let answer = outcome.map_err(|why| NemesisError::Membership {
                node: node.clone(),
                why,
            })?;
            seen.push(Probe::Trial {
                node: node.clone(),
                seen: answer,
                as_wanted: true,
            });
        }
        Ok(seen)
    }

    /// True if the list of members shows that there is nothing to change back: the
    /// change never came about, or somebody else has undone it.
    fn is_as_before(&self, node: &NodeId, change: MembershipChange) -> bool {
        let Some(asker) = self.asker.as_ref().filter(|asker| asker.knows_members()) else {
            return false;
        };
        asker
            .members(LEADER_PATIENCE)
            .is_ok_and(|members| members.contains(node) == (change == MembershipChange::Remove))
    }
}

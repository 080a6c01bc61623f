//! What a fault does once it is known who leads and whom chance picked: links,
//! processes, disks, clocks, each by name.

use std::collections::BTreeMap;
use std::time::Duration;

use rand::RngExt;
use serde::{Deserialize, Serialize};

use crate::duration::Span;
use crate::fault::{ClockFault, Damage, DiskFault, Fault, MembershipChange};
use crate::grudge::{Grudge, ShapeError, grudge};
use crate::link::{Link, LinkMatrix};
use crate::node::{NodeId, NodeState, join};
use crate::target::Target;

/// A fault with every choice made. It is journalled before it is applied, so
/// that it can be undone by whoever finds the journal.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Effect {
    /// Links that change.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub links: Vec<LinkChange>,
    /// The links change back and forth with this rhythm.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rhythm: Option<Rhythm>,
    /// Processes that are killed, stopped or restarted.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub processes: BTreeMap<NodeId, ProcessChange>,
    /// Disks that misbehave.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub disks: BTreeMap<NodeId, DiskFault>,
    /// Files that are damaged. Their nodes are killed, and stay dead: see `processes`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub damaged: BTreeMap<NodeId, Damage>,
    /// Clocks that are wrong.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub clocks: BTreeMap<NodeId, ClockFault>,
    /// Members that come or go.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub members: BTreeMap<NodeId, MembershipChange>,
}

/// One link, and what happens to it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LinkChange {
    /// The sender.
    pub from: NodeId,
    /// The receiver.
    pub to: NodeId,
    /// What befalls the packets.
    pub link: Link,
}

/// On and off, over and over, beginning with on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rhythm {
    /// Length of the time in which the fault is there.
    pub on: Span,
    /// Length of the time in which it is not.
    pub off: Span,
}

impl Rhythm {
    /// Whether the fault is there this long after it began.
    pub fn is_on(&self, elapsed: Duration) -> bool {
        let period = (self.on.0 + self.off.0).as_nanos().max(1);
        elapsed.as_nanos() % period < self.on.0.as_nanos()
    }

    /// Time until it next changes, counted from `elapsed`.
    pub fn until_change(&self, elapsed: Duration) -> Duration {
        let period = (self.on.0 + self.off.0).as_nanos().max(1);
        let at = elapsed.as_nanos() % period;
        let next = if at < self.on.0.as_nanos() {
            self.on.0.as_nanos()
        } else {
            period
        };
        Duration::from_nanos(u64::try_from(next - at).unwrap_or(u64::MAX))
    }
}

/// What happens to a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "process", rename_all = "kebab-case")]
pub enum ProcessChange {
    /// Killed; stays dead.
    Kill,
    /// Stopped.
    Pause,
    /// Killed and started, `after` this long.
    Restart {
        /// For rolling restarts.
        after: Span,
    },
    /// Killed and started over and over.
    CrashLoop {
        /// When it is dead and when not.
        rhythm: Rhythm,
    },
    /// Killed, and what was not synced is lost; stays dead.
    PowerFailure {
        /// Some sectors that were not synced got to the disk nevertheless.
        torn: bool,
    },
}

impl Effect {
    /// Makes every choice that `fault` leaves open.
    ///
    /// # Errors
    /// If it names unknown or overlapping nodes, does not fit the number of
    /// nodes, or needs a leader and none is known.
    pub fn of(
        fault: &Fault,
        nodes: &[NodeId],
        leader: Option<&NodeId>,
        rng: &mut impl RngExt,
    ) -> Result<(Effect, String), ShapeError> {
        let mut effect = Effect::default();
        let mut processes = |target: &Target, change: ProcessChange, rng: &mut _| {
            let hit = target.resolve(nodes, leader, rng)?;
            effect.processes = hit.iter().map(|node| (node.clone(), change)).collect();
            Ok(join(&hit))
        };
        let sentence = match fault {
            Fault::Partition { shape, direction } => {
                let grudge = grudge(shape, *direction, nodes, leader, rng)?;
                effect.links = cut_links(&grudge);
                grudge.sentence
            }
            Fault::Flap {
                shape,
                direction,
                down,
                up,
            } => {
                let grudge = grudge(shape, *direction, nodes, leader, rng)?;
                effect.links = cut_links(&grudge);
                effect.rhythm = Some(Rhythm { on: *down, off: *up });
                grudge.sentence
            }
            Fault::Links { from, to, link, both } => {
                let from = from.resolve(nodes, leader, rng)?;
                let to = to.resolve(nodes, leader, rng)?;
                effect.links = worsened_links(&from, &to, link, *both);
                format!(
                    "{} {} {}",
                    join(&from),
                    if *both { "<->" } else { "->" },
                    join(&to)
                )
            }
            Fault::Kill { target } => processes(target, ProcessChange::Kill, rng)?,
            // Who else is hit shows only once the leader is dead.
            Fault::KillElection => processes(&Target::Leader, ProcessChange::Kill, rng)?,
            Fault::Pause { target } => processes(target, ProcessChange::Pause, rng)?,
            Fault::CrashLoop { target, up, down } => {
                let rhythm = Rhythm { on: *down, off: *up };
                processes(target, ProcessChange::CrashLoop { rhythm }, rng)?
            }
            Fault::PowerFailure { target, torn } => {
                processes(target, ProcessChange::PowerFailure { torn: *torn }, rng)?
            }
            Fault::Restart { target, rolling } => {
                let hit = target.resolve(nodes, leader, rng)?;
                let gap = rolling.map_or(Duration::ZERO, |gap| gap.0);
                effect.processes = (0..)
                    .zip(&hit)
                    .map(|(k, node)| (node.clone(), ProcessChange::Restart { after: Span(gap * k) }))
                    .collect();
                join(&hit)
            }
            Fault::Disk { target, disk } => {
                let hit = target.resolve(nodes, leader, rng)?;
                effect.disks = hit.iter().map(|node| (node.clone(), *disk)).collect();
                join(&hit)
            }
            Fault::Damage { target, damage } => {
                let hit = target.resolve(nodes, leader, rng)?;
                effect.processes = hit
                    .iter()
                    .map(|node| (node.clone(), ProcessChange::Kill))
                    .collect();
                effect.damaged = hit.iter().map(|node| (node.clone(), *damage)).collect();
                join(&hit)
            }
            Fault::Clock { target, clock } => {
                let hit = target.resolve(nodes, leader, rng)?;
                effect.clocks = hit.iter().map(|node| (node.clone(), *clock)).collect();
                join(&hit)
            }
            Fault::Membership { target, change } => {
                let hit = target.resolve(nodes, leader, rng)?;
                effect.members = hit.iter().map(|node| (node.clone(), *change)).collect();
                join(&hit)
            }
        };
        Ok((effect, sentence))
    }

    /// Adds this effect to the links that are desired, `elapsed` after it began.
    pub fn worsen(&self, matrix: &mut LinkMatrix, elapsed: Duration) {
        if self.rhythm.is_some_and(|rhythm| !rhythm.is_on(elapsed)) {
            return;
        }
        for change in &self.links {
            matrix.worsen(&change.from, &change.to, &change.link);
        }
    }

    /// The state that it wants `node` to be in, `elapsed` after it began; none
    /// if it does not care.
    pub fn wants(&self, node: &NodeId, elapsed: Duration) -> Option<NodeState> {
        let dead = NodeState::Dead {
            asked: true,
            status: None,
        };
        match self.processes.get(node)? {
            ProcessChange::Kill | ProcessChange::PowerFailure { .. } => Some(dead),
            ProcessChange::Pause => Some(NodeState::Paused),
            ProcessChange::CrashLoop { rhythm } => rhythm.is_on(elapsed).then_some(dead),
            ProcessChange::Restart { .. } => None,
        }
    }
}

fn cut_links(grudge: &Grudge) -> Vec<LinkChange> {
    grudge
        .cuts
        .iter()
        .map(|(from, to)| LinkChange {
            from: from.clone(),
            to: to.clone(),
            link: Link::CUT,
        })
        .collect()
}

fn worsened_links(from: &[NodeId], to: &[NodeId], link: &Link, both: bool) -> Vec<LinkChange> {
    let mut changes: Vec<LinkChange> = Vec::new();
    let mut add = |from: &NodeId, to: &NodeId| {
        let seen = changes
            .iter()
            .any(|change| change.from == *from && change.to == *to);
        if from != to && !seen {
            changes.push(LinkChange {
                from: from.clone(),
                to: to.clone(),
                link: *link,
            });
        }
    };
    for from in from {
        for to in to {
            add(from, to);
            if both {
                add(to, from);
            }
        }
    }
    changes
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::ChaCha8Rng;

    use super::*;

    #[test]
    fn a_rhythm_begins_with_on_and_knows_when_it_changes() {
        let rhythm = Rhythm {
            on: Span::from_millis(30),
            off: Span::from_millis(10),
        };
        for (at, on, left) in [
            (0, true, 30),
            (29, true, 1),
            (30, false, 10),
            (39, false, 1),
            (40, true, 30),
        ] {
            let at = Duration::from_millis(at);
            assert_eq!(rhythm.is_on(at), on, "{at:?}");
            assert_eq!(rhythm.until_change(at), Duration::from_millis(left), "{at:?}");
        }
    }

    #[test]
    fn links_are_worsened_once_each_and_never_to_the_node_itself() {
        let nodes: Vec<NodeId> = (1..=3).map(NodeId::numbered).collect();
        let fault = Fault::Links {
            from: Target::All,
            to: Target::All,
            link: Link::CUT,
            both: true,
        };
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let (effect, _) = Effect::of(&fault, &nodes, None, &mut rng).expect("it fits");
        assert_eq!(effect.links.len(), 6);
        let mut matrix = LinkMatrix::good(&nodes);
        effect.worsen(&mut matrix, Duration::ZERO);
        assert_eq!(matrix.worsened().count(), 6);
    }

    #[test]
    fn a_rolling_restart_takes_one_after_the_other() {
        let nodes: Vec<NodeId> = (1..=3).map(NodeId::numbered).collect();
        let fault = Fault::Restart {
            target: Target::All,
            rolling: Some(Span::from_secs(2)),
        };
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let (effect, sentence) = Effect::of(&fault, &nodes, None, &mut rng).expect("it fits");
        let after: Vec<ProcessChange> = effect.processes.values().copied().collect();
        let expected = [0, 2, 4].map(|secs| ProcessChange::Restart {
            after: Span::from_secs(secs),
        });
        assert_eq!((after, sentence.as_str()), (expected.to_vec(), "n1, n2, n3"));
    }
}

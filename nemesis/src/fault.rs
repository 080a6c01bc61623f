//! The catalogue of faults: what can be done to a cluster, said before it is
//! known to whom.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::duration::Span;
use crate::grudge::{Direction, Shape};
use crate::link::{Link, Probability};
use crate::target::Target;

/// One fault. It is a value: it can be planned, printed, saved and replayed, and
/// what undoes it is known before it is applied.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "fault", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Fault {
    /// Links cut. Undone by opening them.
    Partition {
        /// How the cluster is taken apart.
        shape: Shape,
        /// Both directions of each link, or one.
        #[serde(default)]
        direction: Direction,
    },
    /// A partition that comes and goes. Undone by opening the links for good.
    Flap {
        /// How the cluster is taken apart.
        shape: Shape,
        /// Both directions of each link, or one.
        #[serde(default)]
        direction: Direction,
        /// How long the links stay cut each time.
        down: Span,
        /// How long they stay open in between.
        up: Span,
    },
    /// Links that still work, badly. Undone by making them good again.
    Links {
        /// Senders; each link from one of these ...
        from: Target,
        /// ... to one of these other nodes is worsened.
        to: Target,
        /// What befalls the packets.
        link: Link,
        /// The links the other way as well.
        #[serde(default)]
        both: bool,
    },
    /// SIGKILL, and the node stays dead. Undone by starting it.
    Kill {
        /// Whom.
        target: Target,
    },
    /// SIGKILL to the leader, and then to whoever is first seen to stand for
    /// election or to lead in its place. Both stay dead. Undone by starting them.
    KillElection,
    /// SIGSTOP. Undone by SIGCONT.
    Pause {
        /// Whom.
        target: Target,
    },
    /// SIGKILL and started again at once. Nothing is left to undo.
    Restart {
        /// Whom.
        target: Target,
        /// One after the other, each this long after the last, instead of all at once.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        rolling: Option<Span>,
    },
    /// Killed and started again, over and over. Undone by leaving it running.
    CrashLoop {
        /// Whom.
        target: Target,
        /// How long it may run each time.
        up: Span,
        /// How long it stays dead each time.
        down: Span,
    },
    /// The machine loses power: SIGKILL, and what was not synced to disk is gone.
    /// Undone by starting it.
    PowerFailure {
        /// Whom.
        target: Target,
        /// Of the writes not yet synced, some 512-byte sectors did reach the disk.
        #[serde(default)]
        torn: bool,
    },
    /// The disk misbehaves. Undone by mending it, except for bits already flipped.
    Disk {
        /// Whose.
        target: Target,
        /// How.
        disk: DiskFault,
    },
    /// SIGKILL, and the node's files are damaged while it is dead, by plain file
    /// operations. Undone by starting it; the damage stays, for the node to notice.
    Damage {
        /// Whose.
        target: Target,
        /// How.
        damage: Damage,
    },
    /// The wall clock is wrong. Undone by setting it right.
    Clock {
        /// Whose.
        target: Target,
        /// How.
        clock: ClockFault,
    },
    /// The cluster's membership is changed by its own requests. Undone by the
    /// opposite request.
    Membership {
        /// Whom.
        target: Target,
        /// How.
        change: MembershipChange,
    },
}

/// How a disk misbehaves.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum DiskFault {
    /// Every write that needs room fails with ENOSPC.
    Full,
    /// These calls fail with EIO, with this probability each.
    Errors {
        /// `read`.
        #[serde(default)]
        read: Probability,
        /// `write`, and whatever else changes a file or a name.
        #[serde(default)]
        write: Probability,
        /// `fsync` and `fdatasync`.
        #[serde(default)]
        fsync: Probability,
    },
    /// Each fsync takes this much longer.
    Slow {
        /// How much.
        fsync: Span,
    },
    /// Random bits of the node's files are flipped, on disk and in cache. There
    /// is no undo: the node must notice.
    BitFlip {
        /// How many.
        bits: u32,
    },
}

/// How the files of a dead node are damaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Damage {
    /// One file loses its last bytes (all, if it has no more).
    Truncate {
        /// How many.
        bytes: u64,
    },
    /// Random bits of the files are flipped.
    BitFlip {
        /// How many.
        bits: u32,
    },
}

/// How a wall clock is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum ClockFault {
    /// It is off by this much.
    Jump {
        /// Milliseconds ahead (or behind, if negative) of the true time.
        offset_ms: i64,
    },
    /// It runs at another speed from now on.
    Rate {
        /// Clock seconds per second; 1 is a good clock.
        rate: f64,
    },
    /// It jumps forth and back.
    Strobe {
        /// Milliseconds it is off in every other period.
        offset_ms: i64,
        /// Length of a period.
        period: Span,
    },
}

/// How membership changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MembershipChange {
    /// Make it a member.
    Add,
    /// Make it a member no longer.
    Remove,
    /// Hand leadership to it.
    Transfer,
    /// Remove it, throw its data away, and add it as a new machine.
    Replace,
}

/// What a backend may or may not be able to do, by the name used in plans,
/// options and the doctor's table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ability {
    /// Cutting links.
    Partition,
    /// Worsening links in every way: delay, duplication, reordering, corruption, and
    /// the two below.
    Links,
    /// Losing some packets of a link.
    Loss,
    /// Making a link narrow.
    Bandwidth,
    /// SIGKILL and start.
    Kill,
    /// SIGSTOP and SIGCONT.
    Pause,
    /// Losing what was not synced.
    PowerFailure,
    /// Disks that fail, fill up, slow down or rot.
    Disk,
    /// Damaging the files of a dead node.
    Damage,
    /// Wrong wall clocks.
    Clock,
    /// Membership changes.
    Membership,
}

impl Ability {
    /// Every ability, in the order of tables.
    pub const ALL: [Ability; 11] = [
        Ability::Partition,
        Ability::Links,
        Ability::Loss,
        Ability::Bandwidth,
        Ability::Kill,
        Ability::Pause,
        Ability::PowerFailure,
        Ability::Disk,
        Ability::Damage,
        Ability::Clock,
        Ability::Membership,
    ];
}

impl fmt::Display for Ability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Ability::Partition => "partition",
            Ability::Links => "links",
            Ability::Loss => "loss",
            Ability::Bandwidth => "bandwidth",
            Ability::Kill => "kill",
            Ability::Pause => "pause",
            Ability::PowerFailure => "power-failure",
            Ability::Disk => "disk",
            Ability::Damage => "damage",
            Ability::Clock => "clock",
            Ability::Membership => "membership",
        })
    }
}

impl Fault {
    /// What a backend must be able to do for it.
    pub fn needs(&self) -> Ability {
        match self {
            Fault::Partition { .. } | Fault::Flap { .. } => Ability::Partition,
            Fault::Links { link, .. } if *link == Link::CUT => Ability::Partition,
            Fault::Links { link, .. } => link.needs(),
            Fault::KillElection | Fault::Kill { .. } | Fault::Restart { .. } | Fault::CrashLoop { .. } => {
                Ability::Kill
            }
            Fault::Pause { .. } => Ability::Pause,
            Fault::PowerFailure { .. } => Ability::PowerFailure,
            Fault::Disk { .. } => Ability::Disk,
            Fault::Damage { .. } => Ability::Damage,
            Fault::Clock { .. } => Ability::Clock,
            Fault::Membership { .. } => Ability::Membership,
        }
    }

    /// One word for it, as `f` of its events in a history.
    pub fn name(&self) -> &'static str {
        match self {
            Fault::Partition { .. } => "partition",
            Fault::Flap { .. } => "flap",
            Fault::Links { .. } => "links",
            Fault::Kill { .. } => "kill",
            Fault::KillElection => "kill-election",
            Fault::Pause { .. } => "pause",
            Fault::Restart { .. } => "restart",
            Fault::CrashLoop { .. } => "crash-loop",
            Fault::PowerFailure { .. } => "power-failure",
            Fault::Disk { .. } => "disk",
            Fault::Damage { .. } => "damage",
            Fault::Clock { .. } => "clock",
            Fault::Membership { .. } => "membership",
        }
    }

    /// True if the cluster must be asked who leads before it can be applied.
    pub fn needs_leader(&self) -> bool {
        match self {
            Fault::Partition { shape, .. } | Fault::Flap { shape, .. } => *shape == Shape::Leader,
            Fault::Links { from, to, .. } => from.needs_leader() || to.needs_leader(),
            Fault::KillElection => true,
            Fault::Kill { target }
            | Fault::Pause { target }
            | Fault::Restart { target, .. }
            | Fault::CrashLoop { target, .. }
            | Fault::PowerFailure { target, .. }
            | Fault::Disk { target, .. }
            | Fault::Damage { target, .. }
            | Fault::Clock { target, .. }
            | Fault::Membership { target, .. } => target.needs_leader(),
        }
    }

    /// True if it strikes once and leaves nothing in place to be undone.
    pub fn is_momentary(&self) -> bool {
        matches!(
            self,
            Fault::Restart { .. }
                | Fault::Disk {
                    disk: DiskFault::BitFlip { .. },
                    ..
                }
        ) || matches!(
            self,
            Fault::Membership {
                change: MembershipChange::Transfer | MembershipChange::Replace,
                ..
            }
        )
    }
}

impl Fault {
    /// True if a machine is replaced by a new one: until the cluster has taken the new
    /// one in, that it did is left to be done.
    pub(crate) fn is_replacement(&self) -> bool {
        let change = MembershipChange::Replace;
        matches!(self, Fault::Membership { change: is, .. } if *is == change)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let way = |direction: &Direction| match direction {
            Direction::Both => "",
            Direction::Out => " one-way (out)",
            Direction::In => " one-way (in)",
        };
        match self {
            Fault::Partition { shape, direction } => write!(f, "partition {shape}{}", way(direction)),
            Fault::Flap {
                shape,
                direction,
                down,
                up,
            } => {
                write!(f, "flap {shape}{}, {down} cut and {up} open", way(direction))
            }
            Fault::Links { from, to, link, both } => {
                write!(
                    f,
                    "links {from} {} {to}: {link}",
                    if *both { "<->" } else { "->" }
                )
            }
            Fault::Kill { target } => write!(f, "kill {target}"),
            Fault::KillElection => f.write_str("kill-election"),
            Fault::Pause { target } => write!(f, "pause {target}"),
            Fault::Restart {
                target,
                rolling: None,
            } => write!(f, "restart {target}"),
            Fault::Restart {
                target,
                rolling: Some(gap),
            } => {
                write!(f, "restart {target}, rolling every {gap}")
            }
            Fault::CrashLoop { target, up, down } => {
                write!(f, "crash-loop {target}, {up} up and {down} dead")
            }
            Fault::PowerFailure { target, torn } => {
                write!(
                    f,
                    "power-failure {target}{}",
                    if *torn { ", torn writes" } else { "" }
                )
            }
            Fault::Disk { target, disk } => write!(f, "disk {target}: {disk}"),
            Fault::Damage { target, damage } => write!(f, "damage {target}: {damage}"),
            Fault::Clock { target, clock } => write!(f, "clock {target}: {clock}"),
            Fault::Membership { target, change } => write!(
                f,
                "{} {target}",
                match change {
                    MembershipChange::Add => "add",
                    MembershipChange::Remove => "remove",
                    MembershipChange::Transfer => "transfer leadership to",
                    MembershipChange::Replace => "replace",
                }
            ),
        }
    }
}

impl fmt::Display for DiskFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DiskFault::Full => f.write_str("full"),
            DiskFault::Errors { read, write, fsync } => {
                let calls = [("read", read), ("write", write), ("fsync", fsync)];
                let failing: Vec<String> = calls
                    .into_iter()
                    .filter(|(_, share)| **share != Probability::NEVER)
                    .map(|(call, share)| format!("{call} {share}"))
                    .collect();
                write!(f, "EIO on {}", failing.join(", "))
            }
            DiskFault::Slow { fsync } => write!(f, "fsync {fsync} slower"),
            DiskFault::BitFlip { bits } => write!(f, "{bits} bits flipped"),
        }
    }
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Damage::Truncate { bytes } => write!(f, "{bytes} bytes off a file's end"),
            Damage::BitFlip { bits } => write!(f, "{bits} bits flipped"),
        }
    }
}

impl fmt::Display for ClockFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ClockFault::Jump { offset_ms } => write!(f, "{offset_ms:+} ms"),
            ClockFault::Rate { rate } => write!(f, "rate x{rate}"),
            ClockFault::Strobe { offset_ms, period } => write!(f, "strobe {offset_ms:+} ms every {period}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_are_saved_as_plain_tables_and_read_back() {
        let fault = Fault::Partition {
            shape: Shape::Halves,
            direction: Direction::Both,
        };
        let json = serde_json::to_string(&fault).expect("plain data");
        assert_eq!(
            json,
            r#"{"fault":"partition","shape":"halves","direction":"both"}"#
        );
        for fault in [
            fault,
            Fault::Kill {
                target: Target::Leader,
            },
            Fault::Links {
                from: Target::Leader,
                to: Target::All,
                link: Link {
                    loss: "5%".parse().expect("a share"),
                    ..Link::default()
                },
                both: true,
            },
            Fault::Clock {
                target: Target::One,
                clock: ClockFault::Jump { offset_ms: -500 },
            },
        ] {
            let json = serde_json::to_string(&fault).expect("plain data");
            assert_eq!(
                serde_json::from_str::<Fault>(&json).expect("what we wrote"),
                fault,
                "{json}"
            );
        }
        let unknown = r#"{"fault":"kill","target":"one","hard":true}"#;
        assert!(serde_json::from_str::<Fault>(unknown).is_err());
    }
}

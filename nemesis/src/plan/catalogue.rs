//! Faults and sets of faults by the names that options and plans use.

use crate::duration::Span;
use crate::fault::{ClockFault, Damage, DiskFault, Fault, MembershipChange};
use crate::grudge::{Direction, Shape};
use crate::link::{Delay, Distribution, Link, Probability};
use crate::target::Target;

/// A set of faults with a purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Preset {
    /// Its name.
    pub name: &'static str,
    /// The names of its faults.
    pub faults: &'static [&'static str],
    /// Most faults at once.
    pub at_once: usize,
    /// What it is for.
    pub purpose: &'static str,
}

/// The presets.
pub static PRESETS: [Preset; 6] = [
    Preset {
        name: "gentle",
        faults: &["partition-one", "kill-one", "pause-one"],
        at_once: 1,
        purpose: "one node at a time: a quorum is always left",
    },
    Preset {
        name: "standard",
        faults: &["partition", "kill", "pause"],
        at_once: 1,
        purpose: "every partition, kills and pauses, one at a time",
    },
    Preset {
        name: "hostile",
        faults: &[
            "partition",
            "one-way",
            "flap",
            "kill",
            "pause",
            "crash-loop",
            "delay",
            "loss",
            "duplicate",
            "reorder",
        ],
        at_once: 2,
        purpose: "everything a network and a scheduler can do, two at once",
    },
    Preset {
        name: "power",
        faults: &[
            "power-failure",
            "torn-write",
            "kill-all",
            "disk-full",
            "disk-error",
            "slow-disk",
        ],
        at_once: 1,
        purpose: "power failures and bad disks",
    },
    Preset {
        name: "network",
        faults: &[
            "partition",
            "one-way",
            "flap",
            "delay",
            "loss",
            "duplicate",
            "reorder",
            "corrupt",
            "bandwidth",
        ],
        at_once: 2,
        purpose: "only the network, in every way",
    },
    Preset {
        name: "membership",
        faults: &["membership", "partition-one", "kill-one"],
        at_once: 2,
        purpose: "members come and go while nodes fail",
    },
];

/// The names that [`faults_named`] knows for help and messages.
pub const FAULT_NAMES: [&str; 42] = [
    "partition",
    "partition-one",
    "partition-minority",
    "partition-halves",
    "partition-majority",
    "partition-majorities-ring",
    "partition-bridge",
    "partition-leader",
    "partition-random",
    "one-way",
    "flap",
    "delay",
    "slow-leader",
    "loss",
    "duplicate",
    "reorder",
    "corrupt",
    "bandwidth",
    "kill",
    "kill-one",
    "kill-leader",
    "kill-majority",
    "kill-all",
    "kill-election",
    "pause",
    "pause-one",
    "pause-leader",
    "restart",
    "rolling-restart",
    "crash-loop",
    "power-failure",
    "torn-write",
    "disk-full",
    "disk-error",
    "slow-disk",
    "bit-flip",
    "damage-truncate",
    "damage-bit-flip",
    "clock",
    "clock-leader",
    "membership",
    "remove-minority",
];

impl Preset {
    /// The preset of this name.
    pub fn named(name: &str) -> Option<&'static Preset> {
        PRESETS.iter().find(|preset| preset.name == name)
    }

    /// Its faults, a family a name.
    pub fn families(&self) -> Vec<Vec<Fault>> {
        self.faults.iter().filter_map(|name| faults_named(name)).collect()
    }
}

/// The faults that a name stands for: of a fault, or of a family of faults.
/// None if there is no such name. (Presets have names of their own, of which
/// `membership` is also that of a family: see [`Preset::named`].)
pub fn faults_named(name: &str) -> Option<Vec<Fault>> {
    let shapes = |shapes: &[Shape], direction: Direction| -> Vec<Fault> {
        shapes
            .iter()
            .map(|shape| Fault::Partition {
                shape: shape.clone(),
                direction,
            })
            .collect()
    };
    let all_links = |link: Link| {
        vec![Fault::Links {
            from: Target::All,
            to: Target::All,
            link,
            both: true,
        }]
    };
    let share = |share: f64| Probability::new(share).expect("a constant share");
    let kill = |target: Target| Fault::Kill { target };
    let pause = |target: Target| Fault::Pause { target };
    let disk = |target: Target, disk: DiskFault| Fault::Disk { target, disk };
    let delay = |mean: u64, jitter: u64| {
        let distribution = Distribution::Normal;
        Some(Delay {
            mean: Span::from_millis(mean),
            jitter: Span::from_millis(jitter),
            distribution,
        })
    };
    let both = Direction::Both;
    Some(match name {
        "partition" => shapes(
            &[
                Shape::One(None),
                Shape::Minority,
                Shape::Halves,
                Shape::Majority,
                Shape::MajoritiesRing,
                Shape::Bridge,
                Shape::Leader,
                Shape::Random,
            ],
            both,
        ),
        "partition-one" => shapes(&[Shape::One(None)], both),
        "partition-minority" => shapes(&[Shape::Minority], both),
        "partition-halves" => shapes(&[Shape::Halves], both),
        "partition-majority" => shapes(&[Shape::Majority], both),
        "partition-majorities-ring" => shapes(&[Shape::MajoritiesRing], both),
        "partition-bridge" => shapes(&[Shape::Bridge], both),
        "partition-leader" => shapes(&[Shape::Leader], both),
        "partition-random" => shapes(&[Shape::Random], both),
        "one-way" => {
            let two = [Shape::One(None), Shape::Leader];
            [shapes(&two, Direction::Out), shapes(&two, Direction::In)].concat()
        }
        "flap" => vec![Fault::Flap {
            shape: Shape::Halves,
            direction: both,
            down: Span::from_millis(300),
            up: Span::from_millis(300),
        }],
        "delay" => all_links(Link {
            delay: delay(30, 15),
            ..Link::default()
        }),
        "slow-leader" => vec![Fault::Links {
            from: Target::Leader,
            to: Target::All,
            link: Link {
                delay: delay(100, 30),
                ..Link::default()
            },
            both: true,
        }],
        "loss" => all_links(Link {
            loss: share(0.1),
            ..Link::default()
        }),
        "duplicate" => all_links(Link {
            duplicate: share(0.2),
            ..Link::default()
        }),
        "reorder" => all_links(Link {
            delay: delay(10, 5),
            reorder: share(0.2),
            ..Link::default()
        }),
        "corrupt" => all_links(Link {
            corrupt: share(0.05),
            ..Link::default()
        }),
        "bandwidth" => all_links(Link {
            bandwidth: Some(1_000_000),
            ..Link::default()
        }),
        "kill" => vec![
            kill(Target::One),
            kill(Target::Leader),
            kill(Target::Minority),
            kill(Target::Majority),
            kill(Target::All),
        ],
        "kill-one" => vec![kill(Target::One)],
        "kill-leader" => vec![kill(Target::Leader)],
        "kill-majority" => vec![kill(Target::Majority)],
        "kill-all" => vec![kill(Target::All)],
        "kill-election" => vec![Fault::KillElection],
        "pause" => vec![
            pause(Target::One),
            pause(Target::Leader),
            pause(Target::Minority),
            pause(Target::Majority),
        ],
        "pause-one" => vec![pause(Target::One)],
        "pause-leader" => vec![pause(Target::Leader)],
        "restart" => vec![
            Fault::Restart {
                target: Target::One,
                rolling: None,
            },
            Fault::Restart {
                target: Target::All,
                rolling: None,
            },
        ],
        "rolling-restart" => vec![Fault::Restart {
            target: Target::All,
            rolling: Some(Span::from_secs(2)),
        }],
        "crash-loop" => vec![Fault::CrashLoop {
            target: Target::Minority,
            up: Span::from_millis(700),
            down: Span::from_millis(300),
        }],
        "power-failure" => vec![
            Fault::PowerFailure {
                target: Target::One,
                torn: false,
            },
            Fault::PowerFailure {
                target: Target::Majority,
                torn: false,
            },
            Fault::PowerFailure {
                target: Target::All,
                torn: false,
            },
        ],
        "torn-write" => vec![
            Fault::PowerFailure {
                target: Target::One,
                torn: true,
            },
            Fault::PowerFailure {
                target: Target::All,
                torn: true,
            },
        ],
        "disk-full" => vec![
            disk(Target::One, DiskFault::Full),
            disk(Target::Leader, DiskFault::Full),
        ],
        "disk-error" => vec![disk(
            Target::One,
            DiskFault::Errors {
                read: Probability::NEVER,
                write: share(0.2),
                fsync: share(0.2),
            },
        )],
        "slow-disk" => vec![
            disk(
                Target::One,
                DiskFault::Slow {
                    fsync: Span::from_millis(100),
                },
            ),
            disk(
                Target::Leader,
                DiskFault::Slow {
                    fsync: Span::from_millis(100),
                },
            ),
        ],
        "bit-flip" => vec![disk(Target::One, DiskFault::BitFlip { bits: 1 })],
        "damage-truncate" => vec![Fault::Damage {
            target: Target::One,
            damage: Damage::Truncate { bytes: 64 },
        }],
        "damage-bit-flip" => vec![Fault::Damage {
            target: Target::One,
            damage: Damage::BitFlip { bits: 1 },
        }],
        "clock" => vec![
            Fault::Clock {
                target: Target::Minority,
                clock: ClockFault::Jump { offset_ms: 60_000 },
            },
            Fault::Clock {
                target: Target::Minority,
                clock: ClockFault::Jump { offset_ms: -60_000 },
            },
            Fault::Clock {
                target: Target::One,
                clock: ClockFault::Rate { rate: 1.5 },
            },
            Fault::Clock {
                target: Target::One,
                clock: ClockFault::Strobe {
                    offset_ms: 500,
                    period: Span::from_millis(200),
                },
            },
        ],
        "clock-leader" => [60_000, -60_000]
            .map(|offset_ms| Fault::Clock {
                target: Target::Leader,
                clock: ClockFault::Jump { offset_ms },
            })
            .to_vec(),
        "remove-minority" => vec![Fault::Membership {
            target: Target::Minority,
            change: MembershipChange::Remove,
        }],
        "membership" => vec![
            Fault::Membership {
                target: Target::One,
                change: MembershipChange::Remove,
            },
            Fault::Membership {
                target: Target::One,
                change: MembershipChange::Transfer,
            },
            Fault::Membership {
                target: Target::One,
                change: MembershipChange::Replace,
            },
        ],
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_stands_for_something() {
        for name in FAULT_NAMES {
            assert!(
                faults_named(name).is_some_and(|faults| !faults.is_empty()),
                "{name}"
            );
        }
        for preset in &PRESETS {
            for name in preset.faults {
                assert!(FAULT_NAMES.contains(name), "{} of {}", name, preset.name);
            }
            assert_eq!(Preset::named(preset.name), Some(preset));
            assert_eq!(preset.families().len(), preset.faults.len());
        }
        assert_eq!(faults_named("nonsense"), None);
    }
}

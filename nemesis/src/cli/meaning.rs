//! The faults that the verbs mean.

use super::args::{ClockVerb, DamageVerb, DiskVerb, MemberChange, Verb, Way};
use crate::duration::Span;
use crate::fault::{ClockFault, Damage, DiskFault, Fault, MembershipChange};
use crate::grudge::{Direction, Shape};
use crate::link::{Delay, Link, Probability};
use crate::target::Target;

impl Verb {
    /// The fault that this verb means, and for how long.
    pub(super) fn fault(&self) -> Result<(Fault, Option<Span>), String> {
        let target = |target: &Target| target.clone();
        Ok(match self {
            Verb::Partition {
                spec,
                one_way,
                lasting,
            } => {
                let direction = one_way.map_or(Direction::Both, |way| match way {
                    Way::Out => Direction::Out,
                    Way::In => Direction::In,
                });
                (
                    Fault::Partition {
                        shape: shape(spec)?,
                        direction,
                    },
                    lasting.lasting,
                )
            }
            Verb::Flap {
                spec,
                down,
                up,
                lasting,
            } => {
                let shape = shape(spec)?;
                (
                    Fault::Flap {
                        shape,
                        direction: Direction::Both,
                        down: *down,
                        up: *up,
                    },
                    lasting.lasting,
                )
            }
            Verb::Links { lasting, .. } => (self.links()?, lasting.lasting),
            Verb::Kill { target: t, lasting } => (Fault::Kill { target: target(t) }, lasting.lasting),
            Verb::Pause { target: t, lasting } => (Fault::Pause { target: target(t) }, lasting.lasting),
            Verb::Restart { target: t, rolling } => (
                Fault::Restart {
                    target: target(t),
                    rolling: *rolling,
                },
                None,
            ),
            Verb::CrashLoop {
                target: t,
                up,
                down,
                lasting,
            } => (
                Fault::CrashLoop {
                    target: target(t),
                    up: *up,
                    down: *down,
                },
                lasting.lasting,
            ),
            Verb::PowerFailure {
                target: t,
                torn,
                lasting,
            } => (
                Fault::PowerFailure {
                    target: target(t),
                    torn: *torn,
                },
                lasting.lasting,
            ),
            Verb::Disk { target: t, disk } => {
                let (disk, lasting) = disk.fault();
                (
                    Fault::Disk {
                        target: target(t),
                        disk,
                    },
                    lasting,
                )
            }
            Verb::KillElection { lasting } => (Fault::KillElection, lasting.lasting),
            Verb::Damage { target: t, damage } => {
                let (damage, lasting) = match damage {
                    DamageVerb::Truncate { bytes, lasting } => (Damage::Truncate { bytes: *bytes }, lasting),
                    DamageVerb::BitFlip { bits, lasting } => (Damage::BitFlip { bits: *bits }, lasting),
                };
                (
                    Fault::Damage {
                        target: target(t),
                        damage,
                    },
                    lasting.lasting,
                )
            }
            Verb::Clock { target: t, clock } => {
                let (clock, lasting) = clock.fault()?;
                (
                    Fault::Clock {
                        target: target(t),
                        clock,
                    },
                    lasting,
                )
            }
            Verb::Member {
                change,
                target: t,
                lasting,
            } => {
                let change = match change {
                    MemberChange::Add => MembershipChange::Add,
                    MemberChange::Remove => MembershipChange::Remove,
                    MemberChange::Transfer => MembershipChange::Transfer,
                    MemberChange::Replace => MembershipChange::Replace,
                };
                (
                    Fault::Membership {
                        target: target(t),
                        change,
                    },
                    lasting.lasting,
                )
            }
            _ => return Err("no fault".to_owned()),
        })
    }

    fn links(&self) -> Result<Fault, String> {
        let Verb::Links {
            from,
            to,
            delay,
            jitter,
            distribution,
            loss,
            duplicate,
            reorder,
            corrupt,
            bandwidth,
            both,
            ..
        } = self
        else {
            return Err("no fault".to_owned());
        };
        let share = |share: &Option<Probability>| share.unwrap_or_default();
        let link = Link {
            cut: false,
            delay: delay.map(|mean| Delay {
                mean,
                jitter: jitter.unwrap_or_default(),
                distribution: *distribution,
            }),
            loss: share(loss),
            duplicate: share(duplicate),
            reorder: share(reorder),
            corrupt: share(corrupt),
            bandwidth: bandwidth.map(|bandwidth| bandwidth.0),
        };
        if link.is_good() {
            return Err("say what befalls the packets: --delay, --loss, --duplicate, --reorder, --corrupt or --bandwidth".to_owned());
        }
        Ok(Fault::Links {
            from: from.clone(),
            to: to.clone(),
            link,
            both: *both,
        })
    }
}

fn shape(spec: &[String]) -> Result<Shape, String> {
    spec.join(" ")
        .parse()
        .map_err(|error: crate::grudge::ShapeError| error.to_string())
}

impl DiskVerb {
    fn fault(&self) -> (DiskFault, Option<Span>) {
        match self {
            DiskVerb::Full { lasting } => (DiskFault::Full, lasting.lasting),
            DiskVerb::Error {
                read,
                write,
                fsync,
                lasting,
            } => (
                DiskFault::Errors {
                    read: *read,
                    write: *write,
                    fsync: *fsync,
                },
                lasting.lasting,
            ),
            DiskVerb::Slow { fsync_time, lasting } => {
                (DiskFault::Slow { fsync: *fsync_time }, lasting.lasting)
            }
            DiskVerb::BitFlip { bits } => (DiskFault::BitFlip { bits: *bits }, None),
        }
    }
}

impl ClockVerb {
    fn fault(&self) -> Result<(ClockFault, Option<Span>), String> {
        Ok(match self {
            ClockVerb::Jump { ms, lasting } => (ClockFault::Jump { offset_ms: *ms }, lasting.lasting),
            ClockVerb::Rate { rate, lasting } => {
                if !(0.01..=100.0).contains(rate) {
                    return Err(format!("rate {rate} is not from 0.01 to 100"));
                }
                (ClockFault::Rate { rate: *rate }, lasting.lasting)
            }
            ClockVerb::Strobe { ms, period, lasting } => (
                ClockFault::Strobe {
                    offset_ms: *ms,
                    period: *period,
                },
                lasting.lasting,
            ),
        })
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::super::args::Args;
    use super::*;

    fn fault(line: &str) -> Result<(Fault, Option<Span>), String> {
        let args = Args::try_parse_from(line.split(' ')).map_err(|error| error.to_string())?;
        args.verb.ok_or("no verb")?.fault()
    }

    #[test]
    fn verbs_mean_faults() {
        for (line, expected) in [
            ("nemesis partition halves", "partition halves"),
            (
                "nemesis partition one n2 --one-way",
                "partition one n2 one-way (out)",
            ),
            (
                "nemesis partition one n2 --one-way=in",
                "partition one n2 one-way (in)",
            ),
            (
                "nemesis partition n1,n2/n3,n4,n5 --for 10s",
                "partition n1,n2/n3,n4,n5",
            ),
            ("nemesis kill n3 --for 10s", "kill n3"),
            (
                "nemesis links all leader --delay 50ms --jitter 20ms",
                "links all -> leader: delay 50ms +- 20ms",
            ),
            ("nemesis clock n1 jump --ms -500", "clock n1: -500 ms"),
            ("nemesis disk n1 error --fsync 20%", "disk n1: EIO on fsync 20%"),
            (
                "nemesis restart all --rolling 2s",
                "restart all, rolling every 2s",
            ),
        ] {
            assert_eq!(
                fault(line).map(|(fault, _)| fault.to_string()).as_deref(),
                Ok(expected),
                "{line}"
            );
        }
        assert_eq!(
            fault("nemesis kill n3 --for 10s").map(|(_, lasting)| lasting),
            Ok(Some(Span::from_secs(10)))
        );
    }

    #[test]
    fn nonsense_is_refused() {
        for line in [
            "nemesis partition",
            "nemesis partition n1,n2/n2",
            "nemesis kill",
            "nemesis kill n3 --for 10",
            "nemesis links all all",
            "nemesis links all all --loss 120%",
            "nemesis clock n1 rate 0",
        ] {
            assert!(fault(line).is_err(), "{line}");
        }
    }
}

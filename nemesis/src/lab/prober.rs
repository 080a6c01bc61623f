//! Sends real packets from namespace to namespace to see what arrives.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsFd;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::time::TimeSpec;

use crate::lab::rules::{Board, Count};
use crate::link::{Link, LinkMatrix, Probability};
use crate::node::NodeId;
use crate::probe::LinkProbe;

/// Packets sent over a link that is good or cut: one shows it, more only if the
/// first found a full queue.
const TRIES: u32 = 5;
/// Packets sent over a link that is bad in between.
const SAMPLE: u32 = 20;
/// How long a packet may take over a link without delay, on a busy machine.
const PATIENCE: Duration = Duration::from_millis(200);
/// First byte of a probe.
const MAGIC: u8 = 0xA7;

/// One socket in each node's namespace.
#[derive(Debug)]
pub(crate) struct Prober {
    sockets: Vec<UdpSocket>,
    addresses: Vec<SocketAddr>,
    round: u32,
}

/// One link being probed.
struct Trial {
    from: usize,
    to: usize,
    wanted: Link,
    sent: Vec<Instant>,
    arrived: BTreeMap<u32, Duration>,
    stopped_before: u64,
    /// Packets of this link that were duplicated, and that overtook others.
    marked_before: [u64; 2],
    /// When the next packet may be sent, or the last is given up.
    due: Instant,
    over: bool,
}

impl Prober {
    pub(crate) fn new(sockets: Vec<UdpSocket>) -> std::io::Result<Prober> {
        let addresses = sockets
            .iter()
            .map(UdpSocket::local_addr)
            .collect::<Result<_, _>>()?;
        Ok(Prober {
            sockets,
            addresses,
            round: 0,
        })
    }

    /// Probes these links, all at once.
    pub(crate) fn probe(
        &mut self,
        wanted: &LinkMatrix,
        links: &[(NodeId, NodeId)],
        board: &Board,
    ) -> std::io::Result<Vec<LinkProbe>> {
        self.round = self.round.wrapping_add(1);
        let now = Instant::now();
        let mut trials: Vec<Trial> = links
            .iter()
            .filter_map(|(from, to)| Some((wanted.index_of(from)?, wanted.index_of(to)?)))
            .filter(|(from, to)| from != to)
            .map(|(from, to)| Trial {
                from,
                to,
                wanted: *wanted.at(from, to),
                sent: Vec::new(),
                arrived: BTreeMap::new(),
                stopped_before: board.count(from, to).stopped(),
                marked_before: marked(board.count(from, to)),
                due: now,
                over: false,
            })
            .collect();
        while trials.iter().any(|trial| !trial.over) {
            for (number, trial) in (0u32..).zip(&mut trials) {
                self.advance(number, trial, board)?;
            }
            self.receive(&mut trials)?;
        }
        Ok(trials
            .into_iter()
            .map(|trial| trial.report(wanted, board))
            .collect())
    }

    /// Sends what is to be sent now, and ends the trial when it has its answer.
    fn advance(&self, number: u32, trial: &mut Trial, board: &Board) -> std::io::Result<()> {
        let now = Instant::now();
        let seen = trial.sent.len() as u32;
        if trial.wanted.is_good() && !trial.arrived.is_empty() {
            trial.over = true;
        } else if trial.wanted.cut && seen > 0 && trial.has_been_stopped(board) {
            // The switch takes packets in order: by the time that it counts one
            // as cut, ours before it are cut as well.
            trial.over = true;
        } else if !trial.over && now >= trial.due {
            let most = if trial.wanted.is_good() || trial.wanted.cut {
                TRIES
            } else {
                SAMPLE
            };
            if seen == most {
                trial.over = true;
            } else {
                let mut probe = vec![MAGIC];
                for word in [self.round, number, seen] {
                    probe.extend_from_slice(&word.to_be_bytes());
                }
                trial.sent.push(now);
                match self.sockets[trial.from].send_to(&probe, self.addresses[trial.to]) {
                    // A full queue is a packet lost, not a probe that failed.
                    Err(error) if error.kind() != ErrorKind::WouldBlock => return Err(error),
                    _ => {}
                }
                trial.due = now + trial.patience(seen + 1 == most);
            }
        }
        trial.over |= trial.arrived.len() == SAMPLE as usize;
        Ok(())
    }

    /// Takes in what arrives until something is due.
    fn receive(&self, trials: &mut [Trial]) -> std::io::Result<()> {
        let open: Vec<&Trial> = trials.iter().filter(|trial| !trial.over).collect();
        let Some(due) = open.iter().map(|trial| trial.due).min() else {
            return Ok(());
        };
        // A cut shows in a counter, which nothing signals: look often.
        let longest = if open.iter().any(|trial| trial.wanted.cut) {
            Duration::from_micros(200)
        } else {
            PATIENCE
        };
        let wait = due.saturating_duration_since(Instant::now()).min(longest);
        let mut fds: Vec<PollFd<'_>> = self
            .sockets
            .iter()
            .map(|socket| PollFd::new(socket.as_fd(), PollFlags::POLLIN))
            .collect();
        match ppoll(&mut fds, Some(TimeSpec::from_duration(wait)), None) {
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            Err(errno) => return Err(errno.into()),
        }
        let now = Instant::now();
        let mut buffer = [0u8; 64];
        for (to, socket) in self.sockets.iter().enumerate() {
            while let Ok((length, sender)) = socket.recv_from(&mut buffer) {
                let Some((round, number, seen)) = decode(&buffer[..length]) else {
                    continue;
                };
                let Some(trial) = trials.get_mut(number as usize) else {
                    continue;
                };
                // A packet of an earlier round that was long on its way.
                if round != self.round || trial.to != to || sender != self.addresses[trial.from] {
                    continue;
                }
                if let Some(sent) = trial.sent.get(seen as usize) {
                    trial.arrived.entry(seen).or_insert(now - *sent);
                }
            }
        }
        Ok(())
    }
}

fn decode(packet: &[u8]) -> Option<(u32, u32, u32)> {
    let words = packet.strip_prefix(&[MAGIC])?;
    let word = |at: usize| Some(u32::from_be_bytes(words.get(at..at + 4)?.try_into().ok()?));
    Some((word(0)?, word(4)?, word(8)?))
}

impl Trial {
    /// How long to wait after a packet before the next, or before giving up.
    fn patience(&self, is_last: bool) -> Duration {
        let flight = self.wanted.delay.map_or(Duration::ZERO, |delay| delay.upper());
        match (self.wanted.is_good(), is_last) {
            (true, _) => PATIENCE,
            (false, true) => PATIENCE + flight,
            (false, false) if self.wanted.cut => Duration::from_millis(20),
            (false, false) => Duration::from_millis(1),
        }
    }

    fn has_been_stopped(&self, board: &Board) -> bool {
        board.count(self.from, self.to).stopped() > self.stopped_before
    }

    fn report(self, matrix: &LinkMatrix, board: &Board) -> LinkProbe {
        let (sent, arrived) = (self.sent.len() as u32, self.arrived.len() as u32);
        let total: Duration = self.arrived.values().sum();
        let mean = (arrived > 0).then(|| total / arrived.max(1));
        let stopped = board.count(self.from, self.to).stopped() - self.stopped_before;
        let [duplicated, overtook] = marked(board.count(self.from, self.to));
        let shows = is_shown(self.wanted.duplicate, sent, duplicated - self.marked_before[0])
            && is_shown(self.wanted.reorder, sent, overtook - self.marked_before[1]);
        LinkProbe {
            from: matrix.nodes()[self.from].clone(),
            to: matrix.nodes()[self.to].clone(),
            wanted: self.wanted,
            sent,
            arrived,
            mean_us: mean.map(|mean| u64::try_from(mean.as_micros()).unwrap_or(u64::MAX)),
            stopped: Some(stopped),
            as_wanted: shows && behaves(&self.wanted, sent, arrived, mean, stopped),
        }
    }
}

fn marked(count: &Count) -> [u64; 2] {
    [&count.duplicated, &count.overtook].map(|count| count.load(Ordering::Acquire))
}

/// False if something of this probability happened to none of so many packets,
/// where that is a less than one in a million accident.
fn is_shown(probability: Probability, sent: u32, happened: u64) -> bool {
    happened > 0 || (1.0 - probability.get()).powi(i32::try_from(sent).unwrap_or(i32::MAX)) > 1e-6
}

/// Whether packets fared as the link is meant to let them fare.
fn behaves(wanted: &Link, sent: u32, arrived: u32, mean: Option<Duration>, stopped: u64) -> bool {
    if wanted.cut {
        return arrived == 0 && stopped > 0;
    }
    if wanted.is_good() {
        return arrived > 0;
    }
    let lost_share = 1.0 - (1.0 - wanted.loss.get()) * (1.0 - wanted.corrupt.get());
    let late_enough = match (wanted.delay, mean) {
        // Reordered packets skip the delay, so only the others show it.
        (Some(delay), Some(mean)) if wanted.reorder.get() == 0.0 => {
            mean >= delay.mean.0.saturating_sub(delay.jitter.0) * 9 / 10
        }
        _ => true,
    };
    late_enough && is_plausible(sent - arrived, sent, lost_share) && (arrived > 0 || lost_share > 0.3)
}

/// False if losing `lost` of `sent` is a less than one in a million accident at
/// this probability. A narrow link may lose more; it is never wanted to lose less.
fn is_plausible(lost: u32, sent: u32, probability: f64) -> bool {
    if probability >= 1.0 {
        return lost == sent;
    }
    // P(X <= lost) of the binomial distribution, term by term.
    let mut term = (1.0 - probability).powi(i32::try_from(sent).unwrap_or(i32::MAX));
    let mut at_most = term;
    for k in 0..lost {
        term *= f64::from(sent - k) / f64::from(k + 1) * probability / (1.0 - probability);
        at_most += term;
    }
    at_most > 1e-6
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_that_shows_nothing_did_not_bite() {
        let lossy = Link {
            loss: "80%".parse().expect("a share"),
            ..Link::default()
        };
        assert!(!behaves(&lossy, 20, 20, None, 0), "nothing was lost");
        assert!(behaves(&lossy, 20, 4, None, 16));
        let slow: Link =
            serde_json::from_str(r#"{"delay":{"mean":"50ms","jitter":"20ms"}}"#).expect("a link");
        assert!(
            !behaves(&slow, 20, 20, Some(Duration::from_millis(1)), 0),
            "nothing was late"
        );
        assert!(behaves(&slow, 20, 20, Some(Duration::from_millis(48)), 0));
        assert!(
            !behaves(&Link::CUT, 1, 0, None, 0),
            "silence alone is no proof of a cut"
        );
        assert!(!behaves(&Link::CUT, 2, 1, None, 1), "one got through");
        assert!(!behaves(&Link::default(), 5, 0, None, 0));
        let often = Probability::new(0.6).expect("a share");
        assert!(
            !is_shown(often, 20, 0) && is_shown(often, 20, 9),
            "none of twenty was duplicated"
        );
        assert!(is_shown(Probability::NEVER, 20, 0));
        let slightly = Link {
            loss: "1%".parse().expect("a share"),
            ..Link::default()
        };
        assert!(
            behaves(&slightly, 20, 20, None, 0),
            "one in a hundred need not show in twenty"
        );
    }
}

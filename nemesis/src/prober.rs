//! Sends real packets from namespace to namespace to see what arrives.
//!
//! Used wherever we can have a socket in each node's network: in the lab over
//! either of its networks, and in containers.

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
/// How long a cut is given to let something through where no switch counts. The
/// kernel delivers within its own call or never: by then it lies in our socket.
const SILENCE: Duration = Duration::from_millis(30);
/// How long packets should take through a narrow link for its width to show. The
/// queues before it hold more.
const SQUEEZE: f64 = 0.08;
/// Largest probe: it must fit into one packet of an ordinary Ethernet.
const LARGEST: usize = 1400;
/// Most packets sent through a narrow link.
const BURST: u32 = 60;
/// Bytes of the headers before a probe, IPv4 and UDP.
const HEADERS: usize = 28;
/// First byte of a probe.
const MAGIC: u8 = 0xA7;

/// One socket in each node's namespace, if it has one.
#[derive(Debug)]
pub(crate) struct Prober {
    sockets: Vec<Option<UdpSocket>>,
    addresses: Vec<Option<SocketAddr>>,
    round: u32,
}

/// One link being probed.
struct Trial {
    from: usize,
    to: usize,
    wanted: Link,
    /// Bytes of each packet, and how many are sent at most.
    size: usize,
    most: u32,
    sent: Vec<Instant>,
    arrived: BTreeMap<u32, Duration>,
    /// When the last that was new arrived.
    last: Option<Instant>,
    /// Packets that came a second time, and that came after a later one.
    twice: u64,
    overtaken: u64,
    /// What a switch has counted before, if there is one.
    stopped_before: u64,
    marked_before: [u64; 2],
    /// When the next packet may be sent, or the last is given up.
    due: Instant,
    over: bool,
}

impl Prober {
    /// A prober with a socket for each node, in order; none for nodes that have no
    /// network now. Links to and from those are not probed.
    pub(crate) fn new(sockets: Vec<Option<UdpSocket>>) -> std::io::Result<Prober> {
        let addresses = sockets
            .iter()
            .map(|socket| socket.as_ref().map(UdpSocket::local_addr).transpose())
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
        board: Option<&Board>,
    ) -> std::io::Result<Vec<LinkProbe>> {
        self.round = self.round.wrapping_add(1);
        let now = Instant::now();
        let mut trials: Vec<Trial> = links
            .iter()
            .filter_map(|(from, to)| Some((wanted.index_of(from)?, wanted.index_of(to)?)))
            .filter(|(from, to)| {
                from != to && self.addresses[*from].is_some() && self.addresses[*to].is_some()
            })
            .map(|(from, to)| Trial::new(from, to, *wanted.at(from, to), board, now))
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
    fn advance(&self, number: u32, trial: &mut Trial, board: Option<&Board>) -> std::io::Result<()> {
        let now = Instant::now();
        let seen = trial.sent.len() as u32;
        let most = trial.most;
        if trial.wanted.is_good() && !trial.arrived.is_empty() {
            trial.over = true;
        } else if trial.wanted.cut && seen > 0 && trial.has_been_stopped(board) {
            // The switch takes packets in order: by the time that it counts one
            // as cut, ours before it are cut as well.
            trial.over = true;
        } else if !trial.over && now >= trial.due {
            if seen == most {
                trial.over = true;
            } else {
                let mut probe = vec![MAGIC];
                for word in [self.round, number, seen] {
                    probe.extend_from_slice(&word.to_be_bytes());
                }
                probe.resize(trial.size.max(probe.len()), 0);
                trial.sent.push(now);
                let socket = self.sockets[trial.from].as_ref().expect("only such are probed");
                let address = self.addresses[trial.to].expect("only such are probed");
                match socket.send_to(&probe, address) {
                    // A full queue is a packet lost, not a probe that failed.
                    Err(error) if error.kind() != ErrorKind::WouldBlock => return Err(error),
                    _ => {}
                }
                trial.due = now + trial.patience(seen + 1 == most, board.is_some());
            }
        }
        // Only what comes late or never shows duplicates where nobody counts them.
        let waits = trial.wanted.duplicate != Probability::NEVER && board.is_none();
        trial.over |= trial.arrived.len() == most as usize && !waits;
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
            .flatten()
            .map(|socket| PollFd::new(socket.as_fd(), PollFlags::POLLIN))
            .collect();
        match ppoll(&mut fds, Some(TimeSpec::from_duration(wait)), None) {
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            Err(errno) => return Err(errno.into()),
        }
        let now = Instant::now();
        let mut buffer = [0u8; 64];
        for (to, socket) in self.sockets.iter().enumerate() {
            let Some(socket) = socket else { continue };
            while let Ok((length, sender)) = socket.recv_from(&mut buffer) {
                let Some((round, number, seen)) = decode(&buffer[..length]) else {
                    continue;
                };
                let Some(trial) = trials.get_mut(number as usize) else {
                    continue;
                };
                // A packet of an earlier round that was long on its way.
                if round != self.round || trial.to != to || Some(sender) != self.addresses[trial.from] {
                    continue;
                }
                if let Some(sent) = trial.sent.get(seen as usize) {
                    trial.take(seen, now - *sent, now);
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
    fn new(from: usize, to: usize, wanted: Link, board: Option<&Board>, now: Instant) -> Trial {
        let count = board.map(|board| board.count(from, to));
        let plain = wanted.is_good() || wanted.cut;
        let (size, most) = match wanted.bandwidth {
            Some(bits) if !wanted.cut => sample_of(bits),
            _ if plain && board.is_none() => (0, TRIES - 2),
            _ if plain => (0, TRIES),
            _ => (0, SAMPLE),
        };
        Trial {
            from,
            to,
            wanted,
            size,
            most,
            sent: Vec::new(),
            arrived: BTreeMap::new(),
            last: None,
            twice: 0,
            overtaken: 0,
            stopped_before: count.map_or(0, Count::stopped),
            marked_before: count.map_or([0, 0], marked),
            due: now,
            over: false,
        }
    }

    fn take(&mut self, number: u32, took: Duration, now: Instant) {
        if self.arrived.contains_key(&number) {
            self.twice += 1;
            return;
        }
        let later = self
            .arrived
            .last_key_value()
            .is_some_and(|(last, _)| *last > number);
        self.overtaken += u64::from(later);
        self.arrived.insert(number, took);
        self.last = Some(now);
    }

    /// How long to wait after a packet before the next, or before giving up.
    fn patience(&self, is_last: bool, counted: bool) -> Duration {
        let flight = self.wanted.delay.map_or(Duration::ZERO, |delay| delay.upper());
        match (self.wanted.is_good(), is_last) {
            (true, _) => PATIENCE,
            (false, true) if self.wanted.cut && !counted => SILENCE,
            (false, true) => PATIENCE + flight,
            (false, false) if self.wanted.cut && !counted => Duration::from_millis(5),
            (false, false) if self.wanted.cut => Duration::from_millis(20),
            // All at once, for the narrow link to squeeze.
            (false, false) if self.wanted.bandwidth.is_some() => Duration::ZERO,
            (false, false) => Duration::from_millis(1),
        }
    }

    fn has_been_stopped(&self, board: Option<&Board>) -> bool {
        board.is_some_and(|board| board.count(self.from, self.to).stopped() > self.stopped_before)
    }

    /// Bits a second at which what arrived came through, from the first sent to
    /// the last there.
    fn rate(&self) -> Option<u64> {
        self.wanted.bandwidth?;
        let took = self.last?.duration_since(*self.sent.first()?).as_secs_f64();
        let bits = self.arrived.len() * (self.size + HEADERS) * 8;
        (took > 0.0).then(|| (bits as f64 / took) as u64)
    }

    fn report(self, matrix: &LinkMatrix, board: Option<&Board>) -> LinkProbe {
        let (sent, arrived) = (self.sent.len() as u32, self.arrived.len() as u32);
        let total: Duration = self.arrived.values().sum();
        let mean = (arrived > 0).then(|| total / arrived.max(1));
        let count = board.map(|board| board.count(self.from, self.to));
        let stopped = count.map(|count| count.stopped() - self.stopped_before);
        let [duplicated, overtook] = count.map_or([self.twice, self.overtaken], |count| {
            let [duplicated, overtook] = marked(count);
            [
                duplicated - self.marked_before[0],
                overtook - self.marked_before[1],
            ]
        });
        let rate = self.rate();
        let shows = is_shown(self.wanted.duplicate, sent, duplicated)
            && is_shown(self.wanted.reorder, sent, overtook)
            && is_narrow(&self.wanted, rate);
        LinkProbe {
            from: matrix.nodes()[self.from].clone(),
            to: matrix.nodes()[self.to].clone(),
            wanted: self.wanted,
            sent,
            arrived,
            mean_us: mean.map(|mean| u64::try_from(mean.as_micros()).unwrap_or(u64::MAX)),
            rate,
            stopped,
            as_wanted: shows && behaves(&self.wanted, sent, arrived, mean, stopped),
        }
    }
}

/// Size and number of the packets that show how narrow a link of so many bits a
/// second is: enough to keep it busy for [`SQUEEZE`], if it is that narrow.
fn sample_of(bits: u64) -> (usize, u32) {
    let bytes = bits as f64 * SQUEEZE / 8.0;
    let size = (bytes / f64::from(SAMPLE)) as usize;
    let size = size.clamp(64, LARGEST + HEADERS) - HEADERS;
    let most = (bytes / (size + HEADERS) as f64).ceil() as u32;
    (size, most.clamp(4, BURST))
}

/// Whether packets came through no faster than the link is wide. The buckets of
/// real shapers let a few packets pass at once.
pub(crate) fn is_narrow(wanted: &Link, rate: Option<u64>) -> bool {
    match (wanted.bandwidth, rate) {
        (Some(bits), Some(rate)) => rate as f64 <= bits as f64 * 1.5,
        _ => true,
    }
}

fn marked(count: &Count) -> [u64; 2] {
    [&count.duplicated, &count.overtook].map(|count| count.load(Ordering::Acquire))
}

/// False if something of this probability happened to none of so many packets,
/// where that is a less than one in a million accident.
pub(crate) fn is_shown(probability: Probability, sent: u32, happened: u64) -> bool {
    happened > 0 || (1.0 - probability.get()).powi(i32::try_from(sent).unwrap_or(i32::MAX)) > 1e-6
}

/// Whether packets fared as the link is meant to let them fare.
pub(crate) fn behaves(
    wanted: &Link,
    sent: u32,
    arrived: u32,
    mean: Option<Duration>,
    stopped: Option<u64>,
) -> bool {
    if wanted.cut {
        // Where nobody has counted yet, the backend's own counters come after.
        return arrived == 0 && stopped != Some(0);
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
    fn a_narrow_link_is_kept_busy_for_long_enough_to_show() {
        for (bits, least_ms) in [(56_000, 40), (1_000_000, 75), (8_000_000, 60), (100_000_000, 6)] {
            let (size, most) = sample_of(bits);
            let ms = (size + HEADERS) as u64 * u64::from(most) * 8 * 1000 / bits;
            assert!(
                (least_ms..=200).contains(&ms),
                "{bits}: {most} of {size} take {ms} ms"
            );
            assert!(size <= LARGEST && most <= BURST);
        }
    }

    #[test]
    fn a_fault_that_shows_nothing_did_not_bite() {
        let lossy = Link {
            loss: "80%".parse().expect("a share"),
            ..Link::default()
        };
        assert!(!behaves(&lossy, 20, 20, None, Some(0)), "nothing was lost");
        assert!(behaves(&lossy, 20, 4, None, Some(16)));
        let slow: Link =
            serde_json::from_str(r#"{"delay":{"mean":"50ms","jitter":"20ms"}}"#).expect("a link");
        assert!(
            !behaves(&slow, 20, 20, Some(Duration::from_millis(1)), Some(0)),
            "nothing was late"
        );
        assert!(behaves(&slow, 20, 20, Some(Duration::from_millis(48)), None));
        assert!(
            !behaves(&Link::CUT, 1, 0, None, Some(0)),
            "silence alone is no proof of a cut"
        );
        assert!(!behaves(&Link::CUT, 2, 1, None, Some(1)), "one got through");
        assert!(!behaves(&Link::default(), 5, 0, None, None));
        let often = Probability::new(0.6).expect("a share");
        assert!(
            !is_shown(often, 20, 0) && is_shown(often, 20, 9),
            "none of twenty was duplicated"
        );
        assert!(is_shown(Probability::NEVER, 20, 0));
        let narrow = Link {
            bandwidth: Some(1_000_000),
            ..Link::default()
        };
        assert!(is_narrow(&narrow, Some(990_000)) && !is_narrow(&narrow, Some(50_000_000)));
        let slightly = Link {
            loss: "1%".parse().expect("a share"),
            ..Link::default()
        };
        assert!(
            behaves(&slightly, 20, 20, None, None),
            "one in a hundred need not show in twenty"
        );
    }
}

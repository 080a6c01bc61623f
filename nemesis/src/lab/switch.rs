//! The switch between the nodes: reads every packet that a node sends, lets
//! befall it what the rules say, and writes it to the node that it is meant for.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::thread::JoinHandleExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::time::TimeSpec;
use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};

use crate::lab::rules::{Board, Count, Rules};
use crate::link::{Delay, Distribution, Link};

/// Packets taken from one port before the next one's turn.
const BURST: usize = 64;
/// How long it looks for the next packet before it sleeps: most come as answers, and
/// where a core would fall asleep meanwhile, waking it costs as much again.
const WAKEFUL: Duration = Duration::from_micros(20);
/// How much a narrow link queues before it drops.
const QUEUE: Duration = Duration::from_millis(200);

/// Where packets come from and go to: a device whose every read and write is one
/// IPv4 packet, and the last byte of the address at the other end.
#[derive(Debug)]
pub(crate) struct Port {
    pub(crate) device: File,
    pub(crate) last_byte: u8,
}

/// A running switch. It stops when dropped.
#[derive(Debug)]
pub(crate) struct Switch {
    board: Arc<Board>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Switch {
    /// Starts switching between `ports`, the first `n` of which are nodes.
    pub(crate) fn start(n: usize, ports: Vec<Port>, seed: u64) -> std::io::Result<Switch> {
        let board = Arc::new(Board::new(n, ports.len())?);
        let stop = Arc::new(AtomicBool::new(false));
        let mut works = Works::new(ports, Arc::clone(&board), seed);
        let stopped = Arc::clone(&stop);
        let thread = std::thread::Builder::new()
            .name("lab-switch".into())
            .spawn(move || works.run(&stopped))?;
        Ok(Switch {
            board,
            stop,
            thread: Some(thread),
        })
    }

    /// Processor time that it took so far.
    pub(crate) fn busy(&self) -> Duration {
        let thread = self.thread.as_ref().map(JoinHandleExt::as_pthread_t);
        thread.map_or(Duration::ZERO, processor_time)
    }

    /// Its rules and counters.
    pub(crate) fn board(&self) -> &Board {
        &self.board
    }
}

impl Drop for Switch {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        let _ = self.board.wake.write(1);
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the lab's switch panicked");
        }
    }
}

/// What a thread that has not been joined has used of the processors.
fn processor_time(thread: nix::libc::pthread_t) -> Duration {
    let mut clock = 0;
    let mut time = nix::libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the thread has not been joined, so its handle is valid, and both
    // calls write to memory of ours.
    unsafe {
        if nix::libc::pthread_getcpuclockid(thread, &raw mut clock) != 0
            || nix::libc::clock_gettime(clock, &raw mut time) != 0
        {
            return Duration::ZERO;
        }
    }
    Duration::from(TimeSpec::from(time))
}

/// Has the kernel run this thread as soon as there is something to do.
fn be_punctual() {
    // The default lets the kernel be 50 us late with every wake-up.
    // SAFETY: it only changes how timers of this thread are rounded.
    unsafe { nix::libc::prctl(nix::libc::PR_SET_TIMERSLACK, 1, 0, 0, 0) };
    // Many short turns rather than a few long ones: among busy nodes, who asks for
    // the shortest comes next (EEVDF; older kernels take no notice). It gets no
    // more of the processor by that.
    let attributes = nix::libc::sched_attr {
        size: size_of::<nix::libc::sched_attr>() as u32,
        sched_policy: nix::libc::SCHED_OTHER as u32,
        sched_flags: 0,
        // SAFETY: it reads what this thread has.
        sched_nice: unsafe { nix::libc::getpriority(nix::libc::PRIO_PROCESS, 0) },
        sched_priority: 0,
        sched_runtime: 100_000,
        sched_deadline: 0,
        sched_period: 0,
    };
    // SAFETY: the kernel reads as many bytes as the first member says; a refusal
    // leaves all as it was.
    unsafe { nix::libc::syscall(nix::libc::SYS_sched_setattr, 0, &raw const attributes, 0) };
}

/// A packet on its way.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Late {
    at: Instant,
    number: u64,
    from: usize,
    to: usize,
    packet: Vec<u8>,
}

/// What a link remembers of the packets before.
#[derive(Clone, Copy)]
struct Path {
    /// Until when the narrow link is busy sending what it has queued.
    busy: Instant,
    /// When the last packet arrives that may not be overtaken.
    last: Instant,
}

struct Works {
    ports: Arc<[Port]>,
    to_port: [Option<usize>; 256],
    board: Arc<Board>,
    rules: Arc<Rules>,
    version: u64,
    late: BinaryHeap<Reverse<Late>>,
    paths: Vec<Path>,
    number: u64,
    rng: ChaCha8Rng,
}

impl Works {
    fn new(ports: Vec<Port>, board: Arc<Board>, seed: u64) -> Works {
        let mut to_port = [None; 256];
        for (k, port) in ports.iter().enumerate() {
            to_port[usize::from(port.last_byte)] = Some(k);
        }
        let (version, rules) = board.current();
        let now = Instant::now();
        Works {
            paths: vec![Path { busy: now, last: now }; ports.len() * ports.len()],
            ports: ports.into(),
            to_port,
            board,
            rules,
            version,
            late: BinaryHeap::new(),
            number: 0,
            rng: ChaCha8Rng::seed_from_u64(seed),
        }
    }

    fn run(&mut self, stop: &AtomicBool) {
        be_punctual();
        let (ports, board) = (Arc::clone(&self.ports), Arc::clone(&self.board));
        let devices = ports.iter().map(|port| port.device.as_fd());
        let mut fds: Vec<PollFd<'_>> = devices
            .chain([board.wake.as_fd()])
            .map(|fd| PollFd::new(fd, PollFlags::POLLIN))
            .collect();
        let mut packet = vec![0u8; 65536];
        let mut awake_until = Instant::now();
        while !stop.load(Ordering::Acquire) {
            if board.version() != self.version {
                (self.version, self.rules) = board.current();
                board.obey(self.version);
            }
            let now = Instant::now();
            let due = self.deliver_late(now);
            let timeout = if now < awake_until {
                Some(Duration::ZERO)
            } else {
                due.map(|due| due.saturating_duration_since(now))
            };
            if ppoll(&mut fds, timeout.map(TimeSpec::from_duration), None).unwrap_or(0) == 0 {
                continue;
            }
            for (place, _) in fds.iter().enumerate().filter(|(_, fd)| fd.any() == Some(true)) {
                if place < ports.len() {
                    self.drain(place, &mut packet);
                } else {
                    let _ = board.wake.read();
                }
            }
            awake_until = Instant::now() + WAKEFUL;
        }
    }

    fn drain(&mut self, from: usize, buffer: &mut [u8]) {
        for _ in 0..BURST {
            let Ok(length) = (&self.ports[from].device).read(buffer) else {
                return;
            };
            let packet = &mut buffer[..length];
            // Only IPv4 is spoken here; other packets (IPv6 looking for its
            // routers) and those to nobody vanish as on a real wire.
            if length < 20 || packet[0] >> 4 != 4 {
                continue;
            }
            if let Some(to) = self.to_port[usize::from(packet[19])] {
                self.forward(from, to, packet);
            }
        }
    }

    fn forward(&mut self, from: usize, to: usize, packet: &mut [u8]) {
        let rules = Arc::clone(&self.rules);
        match rules.link(from, to) {
            Some(link) if !link.is_good() => self.forward_badly(from, to, link, packet),
            _ => self.write(from, to, packet),
        }
    }

    fn write(&mut self, from: usize, to: usize, packet: &[u8]) {
        // A device that takes no more drops the packet, as a real one would.
        let written = (&self.ports[to].device).write(packet);
        let count = self.board.count(from, to);
        Count::add(if written.is_ok() {
            &count.passed
        } else {
            &count.overflowed
        });
    }

    fn forward_badly(&mut self, from: usize, to: usize, link: &Link, packet: &mut [u8]) {
        let board = Arc::clone(&self.board);
        let count = board.count(from, to);
        if link.cut {
            return Count::add(&count.cut);
        }
        if self.happens(link.loss.get()) {
            return Count::add(&count.lost);
        }
        if self.happens(link.corrupt.get()) && packet.len() > 20 {
            Count::add(&count.corrupted);
            let bit = self.rng.random_range(20 * 8..packet.len() * 8);
            packet[bit / 8] ^= 1 << (bit % 8);
        }
        let copies = if self.happens(link.duplicate.get()) { 2 } else { 1 };
        if copies == 2 {
            Count::add(&count.duplicated);
        }
        for _ in 0..copies {
            match self.arrival(from, to, link, packet.len()) {
                Arrival::Now => self.write(from, to, packet),
                Arrival::Never => Count::add(&count.overflowed),
                Arrival::At(at) => {
                    self.number += 1;
                    let late = Late {
                        at,
                        number: self.number,
                        from,
                        to,
                        packet: packet.to_vec(),
                    };
                    self.late.push(Reverse(late));
                }
            }
        }
    }

    fn happens(&mut self, probability: f64) -> bool {
        probability > 0.0 && self.rng.random_bool(probability)
    }

    /// When a packet of this many bytes arrives over a bad link.
    fn arrival(&mut self, from: usize, to: usize, link: &Link, bytes: usize) -> Arrival {
        let now = Instant::now();
        let path = from * self.ports.len() + to;
        let mut at = now;
        if let Some(bits) = link.bandwidth {
            let busy = self.paths[path].busy.max(now);
            if busy - now > QUEUE {
                return Arrival::Never;
            }
            at = busy + Duration::from_secs_f64(bytes as f64 * 8.0 / bits as f64);
            self.paths[path].busy = at;
        }
        if self.happens(link.reorder.get()) {
            Count::add(&self.board.count(from, to).overtook);
        } else if let Some(delay) = &link.delay {
            // A path keeps its order: what would overtake waits.
            at = (at + draw(delay, &mut self.rng)).max(self.paths[path].last);
            self.paths[path].last = at;
        }
        if at <= now { Arrival::Now } else { Arrival::At(at) }
    }

    /// Delivers what is due, and says when the next one is.
    fn deliver_late(&mut self, now: Instant) -> Option<Instant> {
        while self.late.peek().is_some_and(|Reverse(late)| late.at <= now) {
            let Reverse(late) = self.late.pop()?;
            // A cut stops what is on its way, too.
            if self.rules.link(late.from, late.to).is_some_and(|link| link.cut) {
                Count::add(&self.board.count(late.from, late.to).cut);
            } else {
                self.write(late.from, late.to, &late.packet);
            }
        }
        self.late.peek().map(|Reverse(late)| late.at)
    }
}

enum Arrival {
    Now,
    At(Instant),
    Never,
}

/// One delay of the distribution.
fn draw(delay: &Delay, rng: &mut ChaCha8Rng) -> Duration {
    let (mean, jitter) = (delay.mean.0.as_secs_f64(), delay.jitter.0.as_secs_f64());
    if jitter == 0.0 {
        return delay.mean.0;
    }
    let deviation = match delay.distribution {
        Distribution::Uniform => rng.random_range(-1.0..=1.0),
        Distribution::Normal => {
            // Box and Muller 1958.
            let (u, v): (f64, f64) = (1.0 - rng.random::<f64>(), rng.random());
            (-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos()
        }
        // Shape 3, moved so that its mean is zero: from -0.5 up, one in a
        // thousand above 8.5.
        Distribution::Pareto => (1.0 - rng.random::<f64>()).powf(-1.0 / 3.0) - 1.5,
    };
    Duration::from_secs_f64((mean + jitter * deviation).max(0.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::duration::Span;

    #[test]
    fn delays_are_distributed_as_they_say() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        for (distribution, low, high) in [
            (Distribution::Uniform, 30.0, 70.0),
            (Distribution::Normal, 0.0, 150.0),
            (Distribution::Pareto, 40.0, f64::INFINITY),
        ] {
            let delay = Delay {
                mean: Span::from_millis(50),
                jitter: Span::from_millis(20),
                distribution,
            };
            let drawn: Vec<f64> = (0..100_000)
                .map(|_| draw(&delay, &mut rng).as_secs_f64() * 1e3)
                .collect();
            let mean = drawn.iter().sum::<f64>() / drawn.len() as f64;
            assert!((mean - 50.0).abs() < 0.5, "{distribution:?}: mean {mean}");
            assert!(
                drawn.iter().all(|ms| (low..=high).contains(ms)),
                "{distribution:?}"
            );
        }
    }
}

//! What the switch does to packets, and what it counted: the one place that the
//! switch shares with everyone else.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use nix::sys::eventfd::{EfdFlags, EventFd};
use parking_lot::{Condvar, Mutex};

use crate::link::{Link, LinkMatrix};
use crate::node::NodeId;

/// The links by place: `links[from * n + to]` of the `n` nodes.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Rules {
    n: usize,
    links: Vec<Link>,
}

impl Rules {
    pub(crate) fn good(n: usize) -> Rules {
        Rules {
            n,
            links: vec![Link::default(); n * n],
        }
    }

    pub(crate) fn from_links(n: usize, links: Vec<Link>) -> Rules {
        assert_eq!(links.len(), n * n, "a rule for every link");
        Rules { n, links }
    }

    /// The link between two ports. Ports from `n` on (the runner's) are never
    /// touched: faults hit links between nodes.
    pub(crate) fn link(&self, from: usize, to: usize) -> Option<&Link> {
        (from < self.n && to < self.n).then(|| &self.links[from * self.n + to])
    }
}

/// What became of the packets of one link. Written by the switch only.
#[derive(Debug, Default)]
pub(crate) struct Count {
    pub(crate) passed: AtomicU64,
    pub(crate) cut: AtomicU64,
    pub(crate) lost: AtomicU64,
    pub(crate) overflowed: AtomicU64,
    pub(crate) duplicated: AtomicU64,
    pub(crate) overtook: AtomicU64,
    pub(crate) corrupted: AtomicU64,
}

impl Count {
    pub(crate) fn add(counter: &AtomicU64) {
        // One writer, and readers that want a figure, not an order.
        counter.store(counter.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    }

    /// Packets that did not arrive.
    pub(crate) fn stopped(&self) -> u64 {
        [&self.cut, &self.lost, &self.overflowed]
            .into_iter()
            .map(|count| count.load(Ordering::Acquire))
            .sum()
    }
}

/// Rules on one side, the switch on the other.
#[derive(Debug)]
pub(crate) struct Board {
    rules: Mutex<Arc<Rules>>,
    wanted: AtomicU64,
    obeyed: Mutex<u64>,
    obeying: Condvar,
    pub(crate) counts: Vec<Count>,
    ports: usize,
    pub(crate) wake: EventFd,
}

/// How long the switch may take to obey before it is taken for dead.
const OBEDIENCE: Duration = Duration::from_secs(5);

impl Board {
    /// A board for a switch of `ports` ports of which the first `n` are nodes.
    pub(crate) fn new(n: usize, ports: usize) -> std::io::Result<Board> {
        Ok(Board {
            rules: Mutex::new(Arc::new(Rules::good(n))),
            wanted: AtomicU64::new(0),
            obeyed: Mutex::new(0),
            obeying: Condvar::new(),
            counts: std::iter::repeat_with(Count::default)
                .take(ports * ports)
                .collect(),
            ports,
            wake: EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?,
        })
    }

    /// What was counted of a link.
    pub(crate) fn count(&self, from: usize, to: usize) -> &Count {
        &self.counts[from * self.ports + to]
    }

    /// Packets passed on over all links.
    pub(crate) fn passed(&self) -> u64 {
        self.counts
            .iter()
            .map(|count| count.passed.load(Ordering::Acquire))
            .sum()
    }

    /// Lays rules, and returns once the switch obeys them: no packet that it
    /// reads from now on fares by the old ones.
    pub(crate) fn lay(&self, rules: Rules) -> std::io::Result<()> {
        let mut current = self.rules.lock();
        *current = Arc::new(rules);
        let version = self.wanted.fetch_add(1, Ordering::AcqRel) + 1;
        drop(current);
        self.wake.write(1)?;
        let mut obeyed = self.obeyed.lock();
        let waited = self
            .obeying
            .wait_while_for(&mut obeyed, |obeyed| *obeyed < version, OBEDIENCE);
        if waited.timed_out() {
            return Err(std::io::Error::new(
                std::io::ErrorKind::TimedOut,
                "the switch does not answer",
            ));
        }
        Ok(())
    }

    /// The rules as links between these nodes.
    pub(crate) fn matrix(&self, nodes: &[NodeId]) -> LinkMatrix {
        let rules = Arc::clone(&self.rules.lock());
        let mut matrix = LinkMatrix::good(nodes);
        for (from, a) in nodes.iter().enumerate() {
            for (to, b) in nodes.iter().enumerate().filter(|(to, _)| *to != from) {
                matrix.worsen(a, b, &rules.links[from * rules.n + to]);
            }
        }
        matrix
    }

    /// Newest version of the rules; cheap, for the switch to ask at every turn.
    pub(crate) fn version(&self) -> u64 {
        self.wanted.load(Ordering::Acquire)
    }

    /// The rules, and the version that they are at least of.
    pub(crate) fn current(&self) -> (u64, Arc<Rules>) {
        let rules = self.rules.lock();
        (self.wanted.load(Ordering::Acquire), Arc::clone(&rules))
    }

    /// The switch says which version it obeys.
    pub(crate) fn obey(&self, version: u64) {
        *self.obeyed.lock() = version;
        self.obeying.notify_all();
    }
}

//! In which order the versions of registers came, as far as that is known.

use std::collections::VecDeque;

use petgraph::Directed;
use petgraph::algo::kosaraju_scc;
use petgraph::graph::Graph;
use petgraph::visit::EdgeRef;
use rustc_hash::FxHashMap;

use crate::history::{NEVER, OpId};

use super::pace::Pace;
use super::rw_register::Version;
use super::transaction::WriteId;

/// Two versions of one key of which one came before the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Order {
    pub(super) before: Version,
    pub(super) after: WriteId,
    pub(super) because: Because,
    /// The two transactions that show it: the first touched the earlier version, the second the later one.
    pub(super) shown_by: (OpId, OpId),
}

/// Why one version came before another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Because {
    /// It was there before any write.
    Initial,
    /// A transaction read it and then wrote the other.
    ReadThenWritten,
    /// One process touched the one and then the other.
    Process,
    /// A transaction that touched it had ended before one began that touched the other.
    Realtime,
}

/// What one transaction touched of one key.
#[derive(Clone, Copy, Debug)]
pub(super) struct Touch {
    pub(super) by: OpId,
    pub(super) process: u64,
    pub(super) invoked: u32,
    pub(super) completed: u32,
    /// What it read first, or else wrote.
    pub(super) first: Version,
    /// What it wrote last, or else read.
    pub(super) last: Version,
}

/// All that is known.
#[derive(Debug, Default)]
pub(super) struct Orders {
    all: Vec<Order>,
    /// Places in `all`, by the later version.
    by_after: Vec<u32>,
}

impl Orders {
    pub(super) fn add(&mut self, order: Order) {
        self.all.push(order);
    }

    pub(super) fn all(&self) -> &[Order] {
        &self.all
    }

    /// Adds what follows if every key is consistent on its own, in the order of processes or of real time.
    /// Where that makes versions come before themselves and the assumption is a given, it is dropped for the
    /// key, and the key and a cycle are returned. Not all is added if there is no time or no room for it.
    pub(super) fn assume(
        &mut self,
        because: Because,
        touches: &[Vec<Touch>],
        given: bool,
        pace: &mut Pace,
    ) -> Vec<(u32, Vec<Order>)> {
        let mut cyclic = Vec::new();
        let mut known: FxHashMap<u32, Vec<Order>> = FxHashMap::default();
        if given {
            let key_of: FxHashMap<WriteId, u32> = touches
                .iter()
                .zip(0u32..)
                .flat_map(|(touches, key)| touches.iter().map(move |touch| (touch.last, key)))
                .filter_map(|(version, key)| written(version).map(|write| (write, key)))
                .collect();
            for order in &self.all {
                if let Some(&key) = key_of.get(&order.after) {
                    known.entry(key).or_default().push(*order);
                }
            }
        }
        for (touches, key) in touches.iter().zip(0u32..) {
            let found = match because {
                Because::Realtime => in_real_time(touches, self.bytes(), pace),
                _ => in_processes(touches),
            };
            if !pace.goes_on(touches.len()) || !pace.holds(self.bytes() + bytes_of(found.len())) {
                break;
            }
            if given {
                let before = known.remove(&key).unwrap_or_default();
                if let Some(cycle) = cycle(before.iter().chain(&found)) {
                    cyclic.push((key, cycle));
                    continue;
                }
            }
            self.all.extend(found);
        }
        cyclic
    }

    /// About how many bytes they take.
    pub(super) fn bytes(&self) -> u64 {
        bytes_of(self.all.len())
    }

    /// Sorts what is known, so that it can be looked up.
    pub(super) fn sort(&mut self) {
        self.all
            .sort_by_key(|order| (order.before, order.because, order.after));
        self.all
            .dedup_by_key(|order| (order.before, order.because, order.after));
        self.by_after = (0..self.all.len() as u32).collect();
        self.by_after.sort_by_key(|&at| self.all[at as usize].after);
    }

    /// What came after one version for one reason.
    pub(super) fn groups(&self) -> impl Iterator<Item = &[Order]> {
        self.all
            .chunk_by(|one, two| (one.before, one.because) == (two.before, two.because))
    }

    /// What came before a write, the most certain first.
    pub(super) fn before(&self, write: WriteId) -> Vec<Order> {
        let from = self
            .by_after
            .partition_point(|&at| self.all[at as usize].after < write);
        let mut found: Vec<Order> = self.by_after[from..]
            .iter()
            .map(|&at| self.all[at as usize])
            .take_while(|order| order.after == write)
            .collect();
        found.sort_by_key(|order| order.because);
        found
    }
}

impl Because {
    /// What is assumed, after "if".
    pub(super) fn assumption(self) -> &'static str {
        match self {
            Because::Initial => "the initial value is the first",
            Because::ReadThenWritten => "writes follow reads",
            Because::Process => "the key is sequentially consistent",
            Because::Realtime => "the key is linearizable",
        }
    }
}

/// An order takes its own bytes and those of its place, and is copied once while all are sorted.
fn bytes_of(orders: usize) -> u64 {
    (orders * (2 * size_of::<Order>() + size_of::<u32>())) as u64
}

fn written(version: Version) -> Option<WriteId> {
    match version {
        Version::Initial(_) => None,
        Version::Written(write) => Some(write),
    }
}

fn order(earlier: &Touch, later: &Touch, because: Because) -> Option<Order> {
    let after = written(later.first)?;
    (earlier.last != later.first && written(earlier.last).is_some()).then_some(Order {
        before: earlier.last,
        after,
        because,
        shown_by: (earlier.by, later.by),
    })
}

fn in_processes(touches: &[Touch]) -> Vec<Order> {
    let mut sorted: Vec<&Touch> = touches.iter().collect();
    sorted.sort_by_key(|touch| (touch.process, touch.invoked));
    let pairs = sorted
        .windows(2)
        .filter(|pair| pair[0].process == pair[1].process && pair[0].completed < pair[1].invoked);
    pairs
        .filter_map(|pair| order(pair[0], pair[1], Because::Process))
        .collect()
}

/// Every pair in real-time order that is not implied by two others: at most as many for each transaction as
/// run at once. With how much is held beside them: where very much runs at once they are very many.
fn in_real_time(touches: &[Touch], beside: u64, pace: &mut Pace) -> Vec<Order> {
    let mut events: Vec<(u32, bool, &Touch)> = Vec::with_capacity(touches.len() * 2);
    for touch in touches {
        events.push((touch.invoked, true, touch));
        if touch.completed != NEVER {
            events.push((touch.completed, false, touch));
        }
    }
    events.sort_by_key(|&(place, ..)| place);
    let mut ended: Vec<&Touch> = Vec::new();
    let mut orders = Vec::new();
    for (_, begins, touch) in events {
        if !pace.goes_on(1 + ended.len()) || !pace.holds(beside + bytes_of(orders.len())) {
            break;
        }
        if begins {
            orders.extend(
                ended
                    .iter()
                    .filter_map(|earlier| order(earlier, touch, Because::Realtime)),
            );
        } else {
            ended.retain(|earlier| earlier.completed > touch.invoked);
            ended.push(touch);
        }
    }
    orders
}

/// A short cycle, if versions come before themselves.
fn cycle<'a>(orders: impl Iterator<Item = &'a Order>) -> Option<Vec<Order>> {
    let mut graph: Graph<(), Order, Directed, u32> = Graph::default();
    let mut number = FxHashMap::default();
    for order in orders {
        let mut vertex = |version| *number.entry(version).or_insert_with(|| graph.add_node(()));
        let (before, after) = (vertex(order.before), vertex(Version::Written(order.after)));
        graph.add_edge(before, after, *order);
    }
    let components = kosaraju_scc(&graph);
    let smallest = components
        .iter()
        .filter(|component| component.len() > 1)
        .min_by_key(|component| component.len())?;
    let start = smallest[0];
    let mut came = FxHashMap::default();
    let mut queue = VecDeque::from([start]);
    while let Some(vertex) = queue.pop_front() {
        for edge in graph.edges(vertex) {
            if smallest.contains(&edge.target()) && !came.contains_key(&edge.target()) {
                came.insert(edge.target(), (vertex, *edge.weight()));
                queue.push_back(edge.target());
            }
        }
    }
    let mut orders = Vec::new();
    let mut at = start;
    loop {
        let (before, order) = came[&at];
        orders.push(order);
        at = before;
        if at == start {
            orders.reverse();
            return Some(orders);
        }
    }
}

//! Who depends on whom, as a petgraph graph.
//!
//! Its first vertices are the transactions. Relations in which everybody of one set precedes everybody of
//! another (everyone who read the last version, everyone who replaced it; everyone who had ended, everyone who
//! had not begun) have quadratically many pairs; they are written with *relays*, further vertices that stand
//! for "from here on" and belong to one relation each. A path from transaction to transaction through relays is
//! one edge, and costs and counts as one.

use petgraph::Directed;
use petgraph::graph::{Graph, NodeIndex};
use serde::{Serialize, Serializer};

use crate::history::{NEVER, OpId, Outcome};

use super::anomaly::{Evidence, Shape};
use super::pace::{Bounds, Stopped};
use super::transaction::{Transactions, WriteId};

/// Why one transaction precedes another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Relation {
    /// It wrote the version that the other one's write replaced, directly or not.
    Ww,
    /// It wrote the version that the other one read.
    Wr,
    /// It read a version that the other one's write replaced, directly or not.
    Rw,
    /// The same process did it before the other one.
    Process,
    /// It had ended before the other one began.
    Realtime,
}

impl Relation {
    /// Its short name.
    pub fn as_str(self) -> &'static str {
        match self {
            Relation::Ww => "ww",
            Relation::Wr => "wr",
            Relation::Rw => "rw",
            Relation::Process => "process",
            Relation::Realtime => "realtime",
        }
    }
}

impl Serialize for Relation {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// What an edge rests on, and so what a cycle with it shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Grounds {
    pub(super) evidence: Evidence,
    /// A cycle with this edge counts as of this shape at least: weaker models do not justify the edge.
    pub(super) least: Shape,
}

impl Grounds {
    /// Reads and writes alone.
    pub(super) const DATA: Grounds = Grounds {
        evidence: Evidence::Data,
        least: Shape::G0,
    };

    /// Reads and writes, of which some may have been aborted although they were read: if so, that alone is
    /// [`G1a`](super::AnomalyKind::G1a), which whoever forbids `G1c` forbids.
    pub(super) const UNLESS_ABORTED: Grounds = Grounds {
        evidence: Evidence::Data,
        least: Shape::G1c,
    };

    pub(super) fn is_certain(self) -> bool {
        self == Grounds::DATA
    }
}

/// An edge, or a part of one that leads through relays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Link {
    pub(super) relation: Relation,
    pub(super) grounds: Grounds,
    /// Whether it goes on an edge that was begun before: it leaves a relay.
    pub(super) continues: bool,
    /// The later write of ww and rw, the write that was read of wr; of no use otherwise, and not known where a
    /// relay is entered.
    pub(super) write: Option<WriteId>,
}

/// The dependencies of a history.
pub(super) struct Dependencies {
    pub(super) graph: Graph<(), Link, Directed, u32>,
    pub(super) transactions: usize,
    bounds: Bounds,
    /// What ran out before all edges were there; then nothing can be told from them.
    pub(super) stopped: Option<Stopped>,
}

/// Bounds are looked at once in so many edges.
const EDGES_PER_LOOK: usize = 1 << 14;

/// Below this many pairs a relation is written pair by pair.
const PAIRS: usize = 64;

impl Dependencies {
    pub(super) fn new(transactions: usize, bounds: Bounds) -> Dependencies {
        let mut dependencies = Dependencies {
            graph: Graph::default(),
            transactions,
            bounds,
            stopped: None,
        };
        // An edge each is the least that there will be.
        let least = Dependencies::bytes_of(transactions, transactions);
        let (vertices, edges) = (transactions * 2, transactions * 6);
        let limit = bounds.memory.unwrap_or(u64::MAX);
        if least > limit {
            dependencies.stopped = Some(Stopped::Memory);
        } else if Dependencies::bytes_of(vertices, edges) <= limit {
            dependencies.graph = Graph::with_capacity(vertices, edges);
        }
        for _ in 0..transactions {
            dependencies.graph.add_node(());
        }
        dependencies.look();
        dependencies
    }

    /// Looks at the bounds.
    fn look(&mut self) {
        let bounds = self.bounds;
        if bounds.memory.is_some_and(|limit| self.bytes() > limit) {
            self.stopped = Some(Stopped::Memory);
        } else if bounds.is_late() {
            self.stopped = Some(Stopped::Time);
        }
    }

    /// Adds an edge, unless something ran out.
    fn edge(&mut self, from: NodeIndex<u32>, to: NodeIndex<u32>, link: Link) {
        if self.stopped.is_none() {
            self.graph.add_edge(from, to, link);
            if self.graph.edge_count().is_multiple_of(EDGES_PER_LOOK) {
                self.look();
            }
        }
    }

    /// About how many bytes it takes.
    pub(super) fn bytes(&self) -> u64 {
        Dependencies::bytes_of(self.graph.node_count(), self.graph.edge_count())
    }

    /// An edge has two ends and two links to others beside its weight, a vertex two links.
    fn bytes_of(vertices: usize, edges: usize) -> u64 {
        let edge = size_of::<Link>() + 4 * size_of::<u32>();
        (edges * edge + vertices * 2 * size_of::<u32>()) as u64
    }

    /// Adds an edge between two transactions, unless they are one.
    pub(super) fn link(
        &mut self,
        from: OpId,
        to: OpId,
        relation: Relation,
        grounds: Grounds,
        write: WriteId,
    ) {
        if from != to {
            let link = Link {
                relation,
                grounds,
                continues: false,
                write: Some(write),
            };
            self.edge(vertex(from), vertex(to), link);
        }
    }

    /// Puts everyone of `readers` before everyone of `writers` but themselves.
    ///
    /// With many of both, the writers get two chains of relays, one in each direction. Who is no writer enters
    /// at the head of the first and reaches all; who is a writer enters both just beyond itself.
    pub(super) fn link_all(
        &mut self,
        readers: &[OpId],
        writers: &[(OpId, WriteId)],
        relation: Relation,
        grounds: Grounds,
    ) {
        if self.stopped.is_some() {
            return;
        }
        if readers.len().saturating_mul(writers.len()) <= PAIRS || readers.len() <= 1 || writers.len() <= 1 {
            for &reader in readers {
                for &(writer, write) in writers {
                    self.link(reader, writer, relation, grounds, write);
                }
            }
            return;
        }
        let entry = Link {
            relation,
            grounds,
            continues: false,
            write: None,
        };
        let mut writers = writers.to_vec();
        writers.sort_unstable();
        let upwards = self.chain(&writers, entry);
        writers.reverse();
        let downwards = self.chain(&writers, entry);
        writers.reverse();
        let count = writers.len();
        for &reader in readers {
            let first = writers.partition_point(|&(writer, _)| writer < reader);
            let beyond = writers.partition_point(|&(writer, _)| writer <= reader);
            if first == beyond {
                self.edge(vertex(reader), upwards[0], entry);
                continue;
            }
            if let Some(&relay) = upwards.get(beyond) {
                self.edge(vertex(reader), relay, entry);
            }
            if first > 0 {
                self.edge(vertex(reader), downwards[count - first], entry);
            }
        }
    }

    /// One relay for each writer; from each the writers from there on are reached.
    fn chain(&mut self, writers: &[(OpId, WriteId)], entry: Link) -> Vec<NodeIndex<u32>> {
        let relays: Vec<NodeIndex<u32>> = writers.iter().map(|_| self.graph.add_node(())).collect();
        for (at, &(writer, write)) in writers.iter().enumerate() {
            let leave = Link {
                continues: true,
                write: Some(write),
                ..entry
            };
            self.edge(relays[at], vertex(writer), leave);
            if let Some(&next) = relays.get(at + 1) {
                let onward = Link {
                    continues: true,
                    ..entry
                };
                self.edge(relays[at], next, onward);
            }
        }
        relays
    }

    /// Puts transactions in the order in which each process did them, and after everything that had ended
    /// before they began.
    ///
    /// Time is a chain of relays: whatever ended since the last relay leads into a new one as soon as something
    /// begins. So the edges are at most three for each transaction, however many run at once; every pair in
    /// real-time order is joined, through the relays between them.
    pub(super) fn link_orders(&mut self, transactions: &Transactions<'_>, counts: impl Fn(OpId) -> bool) {
        let mut events: Vec<(u32, OpId, bool)> = Vec::with_capacity(transactions.list.len() * 2);
        for id in transactions.ids().filter(|&id| counts(id)) {
            let transaction = transactions.get(id);
            events.push((transaction.invoked, id, true));
            if transaction.completed != NEVER {
                events.push((transaction.completed, id, false));
            }
        }
        events.sort_unstable();
        let time = Link {
            relation: Relation::Realtime,
            grounds: Grounds {
                evidence: Evidence::Realtime,
                least: Shape::G0,
            },
            continues: false,
            write: None,
        };
        let onward = Link {
            continues: true,
            ..time
        };
        let process = Link {
            relation: Relation::Process,
            grounds: Grounds {
                evidence: Evidence::Process,
                least: Shape::G0,
            },
            continues: false,
            write: None,
        };
        let mut last_of_process = rustc_hash::FxHashMap::default();
        let mut now: Option<NodeIndex<u32>> = None;
        let mut ended: Vec<OpId> = Vec::new();
        for (_, id, begins) in events {
            if self.stopped.is_some() {
                return;
            }
            if !begins {
                ended.push(id);
                last_of_process.insert(transactions.get(id).process, id);
                continue;
            }
            if !ended.is_empty() {
                let relay = self.graph.add_node(());
                if let Some(before) = now.replace(relay) {
                    self.edge(before, relay, onward);
                }
                for before in ended.drain(..) {
                    self.edge(vertex(before), relay, time);
                }
            }
            if let Some(now) = now {
                self.edge(now, vertex(id), onward);
            }
            if let Some(&before) = last_of_process.get(&transactions.get(id).process) {
                self.edge(vertex(before), vertex(id), process);
            }
        }
    }
}

pub(super) fn vertex(id: OpId) -> NodeIndex<u32> {
    NodeIndex::new(id.0 as usize)
}

/// Which transactions count as having happened: those that did, and those of unknown outcome of which
/// something was seen.
pub(super) fn happened(transactions: &Transactions<'_>, seen: &[bool]) -> Vec<bool> {
    transactions
        .ids()
        .map(|id| match transactions.outcome(id) {
            Outcome::Ok => true,
            Outcome::Info => seen[id.0 as usize],
            Outcome::Fail => false,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use rand::rngs::ChaCha8Rng;
    use rand::{RngExt, SeedableRng};

    use super::super::pace::Pace;
    use super::super::simulate::{TransactionSimulation, Workload};
    use super::super::transaction::Form;
    use super::*;

    /// The edges between transactions, relays passed.
    fn edges(dependencies: &Dependencies, relation: Relation) -> BTreeSet<(usize, usize)> {
        let mut found = BTreeSet::new();
        for from in 0..dependencies.transactions {
            let mut stack = vec![(NodeIndex::new(from), false)];
            let mut met = BTreeSet::new();
            while let Some((vertex, inside)) = stack.pop() {
                for edge in dependencies.graph.edges(vertex) {
                    let link = edge.weight();
                    assert_eq!(link.continues, inside, "only what leaves a relay continues");
                    let to = petgraph::visit::EdgeRef::target(&edge);
                    if link.relation != relation {
                        assert!(!inside, "a relay belongs to one relation");
                    } else if to.index() < dependencies.transactions {
                        found.insert((from, to.index()));
                    } else if met.insert(to) {
                        stack.push((to, true));
                    }
                }
            }
        }
        found
    }

    #[test]
    fn relays_stand_for_every_pair_and_no_other() {
        for seed in 0..300 {
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            let count = rng.random_range(2..40);
            let some = |rng: &mut ChaCha8Rng| -> Vec<OpId> {
                let share = rng.random_range(0.1..1.0);
                (0..count).map(OpId).filter(|_| rng.random_bool(share)).collect()
            };
            let readers = some(&mut rng);
            let mut writers: Vec<(OpId, WriteId)> = Vec::new();
            for id in some(&mut rng) {
                // Some write twice.
                for _ in 0..rng.random_range(1..3) {
                    writers.push((id, WriteId(writers.len() as u32)));
                }
            }
            let mut dependencies = Dependencies::new(count as usize, Bounds::default());
            dependencies.link_all(&readers, &writers, Relation::Rw, Grounds::DATA);
            let pairs = readers
                .iter()
                .flat_map(|reader| writers.iter().map(move |(writer, _)| (reader, writer)));
            let pairs = pairs.filter(|(reader, writer)| reader != writer);
            let expected: BTreeSet<_> = pairs.map(|(a, b)| (a.0 as usize, b.0 as usize)).collect();
            assert_eq!(edges(&dependencies, Relation::Rw), expected, "seed {seed}");
            let most = PAIRS + 4 * (readers.len() + writers.len());
            assert!(dependencies.graph.edge_count() <= most, "seed {seed}: not linear");
        }
    }

    #[test]
    fn time_and_processes_are_told_in_full() {
        for seed in 0..100 {
            let history = TransactionSimulation {
                seed,
                transactions: 60,
                processes: 1 + seed as usize % 8,
                unknown: 0.1,
                workload: Workload::ListAppend,
                ..TransactionSimulation::default()
            }
            .run();
            let mut pace = Pace::new(Bounds::default());
            let transactions = Transactions::of(&history, Form::ListAppend, &mut pace).unwrap();
            let transactions = transactions.expect("there is time");
            let counts = |id: OpId| transactions.outcome(id) != Outcome::Fail;
            let mut dependencies = Dependencies::new(transactions.list.len(), Bounds::default());
            dependencies.link_orders(&transactions, counts);
            let mut expected = BTreeSet::new();
            for one in transactions.ids().filter(|&id| counts(id)) {
                for two in transactions.ids().filter(|&id| counts(id)) {
                    let (a, b) = (history.operation(one), history.operation(two));
                    let ended = a.completed_at().filter(|_| a.outcome() == Outcome::Ok);
                    if ended.is_some_and(|ended| ended < b.invoked_at()) {
                        expected.insert((one.0 as usize, two.0 as usize));
                    }
                }
            }
            assert_eq!(edges(&dependencies, Relation::Realtime), expected, "seed {seed}");
            for (one, two) in edges(&dependencies, Relation::Process) {
                assert!(expected.contains(&(one, two)), "seed {seed}");
                assert_eq!(
                    transactions.list[one].process, transactions.list[two].process,
                    "seed {seed}"
                );
            }
            assert!(
                dependencies.graph.edge_count() <= 4 * transactions.list.len(),
                "seed {seed}: not linear"
            );
        }
    }
}

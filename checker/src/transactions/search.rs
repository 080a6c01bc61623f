//! Finds cycles: the shortest of each kind in every strongly connected component.
//!
//! A kind of cycle is a set of edges that it may use, and how rw edges may occur in it. Whether there is one is
//! decided for all kinds but G-single by strongly connected components alone: of the permitted edges, and for
//! G-nonadjacent of the graph whose vertices also remember whether the last edge was rw. G-single asks for a way
//! back over ww and wr from what replaced a read to its reader; such searches are kept short by the order of
//! the components, and given up at some length.

use std::collections::VecDeque;
use std::time::Instant;

use petgraph::Directed;
use petgraph::algo::kosaraju_scc;
use petgraph::graph::{Graph, NodeIndex};
use petgraph::visit::{EdgeFiltered, EdgeRef};

use crate::history::OpId;

use super::anomaly::{AnomalyKind, Evidence, Shape};
use super::explain::Edge;
use super::graph::{Dependencies, Link, Relation};

/// A cycle and what kind it is.
#[derive(Clone, Debug)]
pub(super) struct Cycle {
    pub(super) shape: Shape,
    pub(super) evidence: Evidence,
    pub(super) edges: Vec<Edge>,
}

/// What a search found.
#[derive(Debug, Default)]
pub(super) struct Cycles {
    pub(super) found: Vec<Cycle>,
    /// Kinds of which there may be more although none was found: the search was given up.
    pub(super) given_up: Vec<AnomalyKind>,
}

/// A strongly connected component on its own. Vertices are numbered anew.
struct Component {
    graph: Graph<NodeIndex<u32>, Link, Directed, u32>,
    transactions: usize,
}

type Vertex = NodeIndex<u32>;

impl Dependencies {
    /// The cycles of the whole graph.
    pub(super) fn cycles(&self, deadline: Option<Instant>) -> Cycles {
        let mut cycles = Cycles::default();
        let mut number = vec![u32::MAX; self.graph.node_count()];
        let mut components: Vec<Vec<Vertex>> = kosaraju_scc(&self.graph);
        components.retain(|component| component.len() > 1);
        components.sort_by_key(Vec::len);
        for component in &components {
            self.component(component, &mut number)
                .cycles(deadline, &mut cycles);
        }
        cycles.found.sort_by_key(|cycle| cycle.edges.len());
        cycles
    }

    fn component(&self, vertices: &[Vertex], number: &mut [u32]) -> Component {
        let mut graph = Graph::with_capacity(vertices.len(), vertices.len() * 4);
        for &vertex in vertices {
            number[vertex.index()] = graph.add_node(vertex).index() as u32;
        }
        for &from in vertices {
            for edge in self.graph.edges(from) {
                let to = number[edge.target().index()];
                if to != u32::MAX {
                    let from = NodeIndex::new(number[from.index()] as usize);
                    graph.add_edge(from, NodeIndex::new(to as usize), *edge.weight());
                }
            }
        }
        for &vertex in vertices {
            number[vertex.index()] = u32::MAX;
        }
        Component {
            graph,
            transactions: self.transactions,
        }
    }
}

/// Which edges a cycle may use.
#[derive(Clone, Copy)]
struct Permitted {
    wr: bool,
    rw: bool,
    /// The shape that is looked for: edges that stand for a later one have no place in it.
    shape: Shape,
    evidence: Evidence,
}

impl Permitted {
    fn allows(self, link: &Link) -> bool {
        link.grounds.evidence <= self.evidence
            && link.grounds.least <= self.shape
            && match link.relation {
                Relation::Ww | Relation::Process | Relation::Realtime => true,
                Relation::Wr => self.wr,
                Relation::Rw => self.rw,
            }
    }
}

/// Where a walk stands: at a vertex, and with the edge before having been rw or not.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Stand {
    vertex: Vertex,
    after_rw: bool,
}

/// How far one search may go: this many edges for each edge of the component, and some.
const EFFORT: usize = 8;
const LEAST_EFFORT: usize = 100_000;
/// No cycle is shorter.
const SHORTEST: usize = 2;

impl Component {
    fn cycles(&self, deadline: Option<Instant>, cycles: &mut Cycles) {
        let mut found: Vec<AnomalyKind> = Vec::new();
        for evidence in Evidence::ALL {
            // Where no edge rests on such evidence, the cycles are those that were found without it.
            if !self
                .graph
                .edge_weights()
                .any(|link| link.grounds.evidence == evidence)
            {
                continue;
            }
            for shape in Shape::ALL {
                let kind = AnomalyKind::Cycle(shape, evidence);
                if found.iter().any(|known| known.implies(kind)) {
                    continue;
                }
                // One search is bounded by its effort, so that to look at the clock between them is enough.
                if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                    cycles.given_up.push(kind);
                    continue;
                }
                let mut effort = self.graph.edge_count() * EFFORT + LEAST_EFFORT;
                let permitted = Permitted {
                    wr: shape != Shape::G0,
                    rw: shape > Shape::GSingle,
                    shape,
                    evidence,
                };
                let cycle = match shape {
                    Shape::G0 => self.any_cycle(permitted, |link| link.relation == Relation::Ww, &mut effort),
                    Shape::G1c => {
                        let wanted =
                            |link: &Link| link.relation == Relation::Wr || link.grounds.least == Shape::G1c;
                        self.any_cycle(permitted, wanted, &mut effort)
                    }
                    Shape::GSingle => self.single(permitted, &mut effort).or_else(|| {
                        let wanted = |link: &Link| link.grounds.least == Shape::GSingle;
                        self.any_cycle(permitted, wanted, &mut effort)
                    }),
                    Shape::GNonadjacent => self.nonadjacent(permitted, &mut effort),
                    Shape::G2Item => {
                        self.any_cycle(permitted, |link| link.relation == Relation::Rw, &mut effort)
                    }
                };
                if let Some(edges) = cycle {
                    let cycle = classified(edges);
                    found.push(AnomalyKind::Cycle(cycle.shape, cycle.evidence));
                    cycles.found.push(cycle);
                } else if effort == 0 {
                    cycles.given_up.push(kind);
                }
            }
        }
    }

    fn is_transaction(&self, vertex: Vertex) -> bool {
        self.graph[vertex].index() < self.transactions
    }

    /// A cycle of permitted edges that begins with a wanted edge: there is one exactly if such an edge joins two
    /// vertices of one strongly connected component.
    fn any_cycle(
        &self,
        permitted: Permitted,
        wanted: impl Fn(&Link) -> bool,
        effort: &mut usize,
    ) -> Option<Vec<Edge>> {
        let wanted = |link: &Link| permitted.allows(link) && wanted(link);
        if !self.graph.edge_weights().any(wanted) {
            return None;
        }
        let rank = self.ranks(permitted);
        let mut best: Option<Vec<Edge>> = None;
        for from in self
            .graph
            .node_indices()
            .filter(|&vertex| self.is_transaction(vertex))
        {
            let starts = self
                .graph
                .edges(from)
                .any(|edge| wanted(edge.weight()) && rank[edge.target().index()] == rank[from.index()]);
            if !starts {
                continue;
            }
            let own = rank[from.index()];
            let walk = self.walk_back(
                from,
                |stand, link, to| {
                    let first = stand.vertex == from;
                    rank[to.index()] == own
                        && if first {
                            wanted(link)
                        } else {
                            permitted.allows(link)
                        }
                },
                effort,
            );
            keep_shorter(&mut best, walk);
            if *effort == 0 || best.as_ref().is_some_and(|best| best.len() <= SHORTEST) {
                break;
            }
        }
        best
    }

    /// A cycle with exactly one rw edge, its first.
    fn single(&self, base: Permitted, effort: &mut usize) -> Option<Vec<Edge>> {
        let first = Permitted { rw: true, ..base };
        let rank = self.ranks(base);
        let mut best: Option<Vec<Edge>> = None;
        for from in self
            .graph
            .node_indices()
            .filter(|&vertex| self.is_transaction(vertex))
        {
            let own = rank[from.index()];
            let walk = self.walk_back(
                from,
                |stand, link, to| {
                    let fits = if stand.vertex == from {
                        link.relation == Relation::Rw && first.allows(link)
                    } else {
                        base.allows(link) || (link.continues && link.relation == Relation::Rw)
                    };
                    // Over ww and wr ranks only grow, so what ranks above the reader does not lead back to it.
                    // Relays of rw edges have no part in that order.
                    let unranked = link.relation == Relation::Rw && !self.is_transaction(to);
                    fits && (unranked || rank[to.index()] <= own)
                },
                effort,
            );
            keep_shorter(&mut best, walk);
            if *effort == 0 || best.as_ref().is_some_and(|best| best.len() <= SHORTEST) {
                break;
            }
        }
        best
    }

    /// A cycle in which no two rw edges are next to each other.
    fn nonadjacent(&self, all: Permitted, effort: &mut usize) -> Option<Vec<Edge>> {
        let mut states: Graph<(), (), Directed, u32> = Graph::with_capacity(self.graph.node_count() * 2, 0);
        for _ in 0..self.graph.node_count() * 2 {
            states.add_node(());
        }
        let state = |stand: Stand| -> Vertex {
            NodeIndex::new(stand.vertex.index() * 2 + usize::from(stand.after_rw))
        };
        for from in self.graph.node_indices() {
            for after_rw in [false, true] {
                let stand = Stand {
                    vertex: from,
                    after_rw,
                };
                for edge in self.graph.edges(from).filter(|edge| all.allows(edge.weight())) {
                    if let Some(next) = step(stand, edge.weight(), edge.target()) {
                        states.add_edge(state(stand), state(next), ());
                    }
                }
            }
        }
        let mut rank = vec![0; states.node_count()];
        for (number, component) in kosaraju_scc(&states).iter().enumerate() {
            for vertex in component {
                rank[vertex.index()] = number;
            }
        }
        let mut best: Option<Vec<Edge>> = None;
        for from in self
            .graph
            .node_indices()
            .filter(|&vertex| self.is_transaction(vertex))
        {
            let start = Stand {
                vertex: from,
                after_rw: false,
            };
            let own = rank[state(start).index()];
            let starts = self.graph.edges(from).any(|edge| {
                edge.weight().relation == Relation::Rw
                    && all.allows(edge.weight())
                    && step(start, edge.weight(), edge.target())
                        .is_some_and(|next| rank[state(next).index()] == own)
            });
            if !starts {
                continue;
            }
            let walk = self.walk_back(
                from,
                |stand, link, to| {
                    let (first, rw) = (stand == start, link.relation == Relation::Rw);
                    let closes = to == from;
                    all.allows(link)
                        && (!first || rw)
                        && !(closes && rw)
                        && step(stand, link, to).is_some_and(|next| rank[state(next).index()] == own)
                },
                effort,
            );
            keep_shorter(&mut best, walk.map(simple));
            if *effort == 0 || best.as_ref().is_some_and(|best| best.len() <= SHORTEST) {
                break;
            }
        }
        best
    }

    /// The places of the vertices in a topological order of the components of the permitted graph.
    fn ranks(&self, permitted: Permitted) -> Vec<u32> {
        let filtered = EdgeFiltered::from_fn(&self.graph, |edge| permitted.allows(edge.weight()));
        let components = kosaraju_scc(&filtered);
        let mut rank = vec![0; self.graph.node_count()];
        for (number, component) in components.iter().rev().enumerate() {
            for vertex in component {
                rank[vertex.index()] = number as u32;
            }
        }
        rank
    }

    /// The shortest walk over usable edges that leads back to where it began. Parts that lead into relays cost
    /// nothing.
    fn walk_back(
        &self,
        from: Vertex,
        usable: impl Fn(Stand, &Link, Vertex) -> bool,
        effort: &mut usize,
    ) -> Option<Vec<Edge>> {
        let start = Stand {
            vertex: from,
            after_rw: false,
        };
        let mut came: rustc_hash::FxHashMap<(Vertex, bool), (Stand, Link)> = rustc_hash::FxHashMap::default();
        let mut queue = VecDeque::from([start]);
        while let Some(stand) = queue.pop_front() {
            for edge in self.graph.edges(stand.vertex) {
                if *effort == 0 {
                    return None;
                }
                *effort -= 1;
                let (link, to) = (edge.weight(), edge.target());
                if !usable(stand, link, to) {
                    continue;
                }
                let next = Stand {
                    vertex: to,
                    after_rw: link.relation == Relation::Rw,
                };
                if to == from {
                    came.insert((to, next.after_rw), (stand, *link));
                    return Some(self.edges_to(next, from, &came));
                }
                if came.contains_key(&(to, next.after_rw)) {
                    continue;
                }
                came.insert((to, next.after_rw), (stand, *link));
                if self.is_transaction(to) {
                    queue.push_back(next);
                } else {
                    queue.push_front(next);
                }
            }
        }
        None
    }

    /// The edges between transactions of a walk, from its end backwards, put in order.
    fn edges_to(
        &self,
        end: Stand,
        from: Vertex,
        came: &rustc_hash::FxHashMap<(Vertex, bool), (Stand, Link)>,
    ) -> Vec<Edge> {
        let mut edges = Vec::new();
        let mut at = end;
        let mut to = from;
        let mut last: Option<Link> = None;
        loop {
            let (before, link) = came[&(at.vertex, at.after_rw)];
            let leaving = *last.get_or_insert(link);
            if self.is_transaction(before.vertex) {
                edges.push(Edge {
                    from: self.id(before.vertex),
                    to: self.id(to),
                    relation: leaving.relation,
                    grounds: leaving.grounds,
                    write: leaving.write,
                });
                to = before.vertex;
                last = None;
            }
            at = before;
            if at.vertex == from {
                break;
            }
        }
        edges.reverse();
        edges
    }

    fn id(&self, vertex: Vertex) -> OpId {
        OpId(self.graph[vertex].index() as u32)
    }
}

/// Where an edge leads a walk that takes no two rw edges in a row; within one edge, past relays, it may go on.
fn step(stand: Stand, link: &Link, to: Vertex) -> Option<Stand> {
    let rw = link.relation == Relation::Rw;
    (!rw || !stand.after_rw || link.continues).then_some(Stand {
        vertex: to,
        after_rw: rw,
    })
}

fn keep_shorter(best: &mut Option<Vec<Edge>>, walk: Option<Vec<Edge>>) {
    if let Some(walk) = walk
        && best.as_ref().is_none_or(|best| walk.len() < best.len())
    {
        *best = Some(walk);
    }
}

/// Of a closed walk without neighbouring rw edges, a part that meets no transaction twice and has none either.
///
/// Where a walk meets a transaction twice it falls into two closed walks; were both to bring two rw edges
/// together there, the whole would do so too.
fn simple(mut edges: Vec<Edge>) -> Vec<Edge> {
    'shorter: loop {
        for first in 0..edges.len() {
            for second in first + 1..edges.len() {
                if edges[first].from == edges[second].from {
                    let inner = edges[first..second].to_vec();
                    let outer = [&edges[..first], &edges[second..]].concat();
                    edges = if rw_neighbours(&inner) { outer } else { inner };
                    continue 'shorter;
                }
            }
        }
        return edges;
    }
}

fn rw_neighbours(edges: &[Edge]) -> bool {
    let next = edges.iter().cycle().skip(1);
    edges
        .iter()
        .zip(next)
        .any(|(one, two)| one.relation == Relation::Rw && two.relation == Relation::Rw)
}

/// A cycle by what it is made of.
fn classified(edges: Vec<Edge>) -> Cycle {
    let count = |relation| edges.iter().filter(|edge| edge.relation == relation).count();
    let shape = match count(Relation::Rw) {
        0 if count(Relation::Wr) == 0 => Shape::G0,
        0 => Shape::G1c,
        1 => Shape::GSingle,
        _ if rw_neighbours(&edges) => Shape::G2Item,
        _ => Shape::GNonadjacent,
    };
    let grounds = edges.iter().map(|edge| edge.grounds);
    let evidence = grounds
        .clone()
        .map(|grounds| grounds.evidence)
        .max()
        .expect("a cycle has edges");
    let shape = grounds.map(|grounds| grounds.least).fold(shape, Shape::max);
    Cycle {
        shape,
        evidence,
        edges,
    }
}

//! Finds a cycle of operations each of which must come before the next: the shortest proof there is that no
//! order explains them.
//!
//! Some orders are plain: one operation was over before another began; a value was read that only one operation
//! wrote. Others follow from those. While a value that is written once is there, everything between its write
//! and the last that saw it forms a block that nothing else can come into: the value would not come back. So
//! whatever comes before one of a block comes before all of it, and whatever comes after one after all
//! (Gibbons & Korach, "Testing shared memories", 1997, where blocks are called clusters). Of what only grows, a
//! read that lacks an element came before the element was added.

use petgraph::algo::astar;
use petgraph::graph::{DiGraph, NodeIndex};
use rustc_hash::FxHashMap;

use super::words::Words;
use crate::history::{History, OpId, Operation, Value};
use crate::model::{Domain, Effect, Model, appended};
use crate::subhistory::Moments;
use crate::verdict::CycleEdge;

/// More operations than this are too many for anybody to follow.
const MOST: usize = 48;

/// Why one operation must come before another.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Why {
    /// One process does one thing after another.
    Process,
    /// It was over before the other began.
    Time,
    /// It alone wrote what the other saw.
    Source(Value),
    /// The value that it saw was there before the other replaced it or saw another, as a member of the value's
    /// block shows that came before that.
    Over(Value, Vec<usize>),
    /// It came before something that saw the value of the other, and so before the value was written.
    Under(Value, Vec<usize>),
    /// It saw the value that the other took away.
    Taken(Value),
    /// It saw what lacks what the other added.
    Lacks(Value),
    /// It saw less than the other, or something that the other's cannot have become.
    Less,
}

/// One operation that certainly took effect.
struct Node<'a> {
    operation: Operation<'a>,
    effect: Effect,
    /// Whether its completion is known to the core.
    core: bool,
}

/// Operations and what is known of their order.
struct Constraints<'a> {
    nodes: Vec<Node<'a>>,
    graph: DiGraph<(), Why>,
    /// Values written once, with who wrote them: `None` for the initial value.
    blocks: FxHashMap<Value, Option<usize>>,
}

/// The shortest cycle among some operations, in an order that begins with the earliest; nothing if there is none
/// that follows from what is known without trying orders.
pub(super) fn cycle<D: Domain>(
    history: &History,
    domain: &D,
    moments: &Moments<'_>,
    core: &[OpId],
    words: &Words,
) -> Vec<CycleEdge> {
    let Some(mut constraints) = Constraints::new(history, domain, moments, core) else {
        return Vec::new();
    };
    loop {
        if let Some(cycle) = constraints.shortest() {
            return constraints.told(domain, &cycle, words);
        }
        if !constraints.derive() {
            return Vec::new();
        }
    }
}

impl<'a> Constraints<'a> {
    fn new<D: Domain>(
        history: &'a History,
        domain: &D,
        moments: &Moments<'_>,
        core: &[OpId],
    ) -> Option<Constraints<'a>> {
        if core.len() > MOST {
            return None;
        }
        let effect = |op: OpId, known: bool| {
            let call = domain.call(history.operation(op), known).ok().flatten()?;
            Some((Effect::of(domain.name(), &call), call))
        };
        // Who may have made each value, and how often.
        let mut makers: FxHashMap<Value, (usize, Option<OpId>)> = FxHashMap::default();
        makers.insert(domain.init_value(), (1, None));
        let (mut grows, mut adds) = (true, false);
        for op in moments.invoked() {
            let Some((effect, call)) = effect(op, moments.is_complete(op)) else {
                continue;
            };
            grows &= domain.rules().only_grows(&call);
            adds |= effect.added.is_some();
            if let Some(made) = effect.made {
                let known = makers.entry(made).or_insert((0, None));
                *known = (known.0 + 1, Some(op));
            }
        }
        let mut constraints = Constraints {
            nodes: Vec::new(),
            graph: DiGraph::new(),
            blocks: FxHashMap::default(),
        };
        for &op in core {
            let (effect, _) = effect(op, true)?;
            constraints.add(history.operation(op), effect, true);
        }
        // Appending may make any text, so that no value is known to be written once.
        if !adds {
            let mut at = 0;
            while at < constraints.nodes.len() && constraints.nodes.len() <= MOST {
                let seen = constraints.nodes[at].effect.saw.clone();
                at += 1;
                let Some(seen) = seen.filter(|seen| !constraints.blocks.contains_key(seen)) else {
                    continue;
                };
                let Some(&(1, maker)) = makers.get(&seen) else {
                    continue;
                };
                let maker = match maker {
                    None => None,
                    Some(maker) => Some(match constraints.place(maker) {
                        Some(known) => known,
                        None => {
                            let (effect, _) = effect(maker, false)?;
                            constraints.add(history.operation(maker), effect, false)
                        }
                    }),
                };
                constraints.blocks.insert(seen, maker);
            }
        }
        constraints.plain();
        if adds && grows {
            constraints.growing();
        }
        Some(constraints)
    }

    fn add(&mut self, operation: Operation<'a>, effect: Effect, core: bool) -> usize {
        self.nodes.push(Node {
            operation,
            effect,
            core,
        });
        self.graph.add_node(());
        self.nodes.len() - 1
    }

    fn place(&self, op: OpId) -> Option<usize> {
        self.nodes.iter().position(|node| node.operation.id() == op)
    }

    fn link(&mut self, from: usize, to: usize, why: Why) -> bool {
        let (from, to) = (NodeIndex::new(from), NodeIndex::new(to));
        let new = from != to && self.graph.find_edge(from, to).is_none();
        if new {
            self.graph.add_edge(from, to, why);
        }
        new
    }

    /// What follows from the history at once.
    fn plain(&mut self) {
        for from in 0..self.nodes.len() {
            for to in 0..self.nodes.len() {
                let (a, b) = (&self.nodes[from], &self.nodes[to]);
                let (one, two) = (a.operation.record(), b.operation.record());
                let source = b.effect.saw.as_ref().filter(|saw| {
                    self.blocks
                        .get(*saw)
                        .is_some_and(|maker| *maker == Some(from) && from != to)
                });
                let taken = a.effect.saw.as_ref().filter(|saw| {
                    self.blocks.contains_key(*saw)
                        && b.effect.exchanged()
                        && b.effect.saw.as_ref() == Some(*saw)
                });
                let why = if a.core && one.completed < two.invoked {
                    Why::Time
                } else if a.core
                    && a.operation.process() == b.operation.process()
                    && one.invoked < two.invoked
                {
                    Why::Process
                } else if let Some(value) = source {
                    Why::Source(value.clone())
                } else if let Some(value) = taken {
                    Why::Taken(value.clone())
                } else {
                    continue;
                };
                self.link(from, to, why);
            }
        }
    }

    /// What follows from what was seen of something that only grows.
    fn growing(&mut self) {
        for from in 0..self.nodes.len() {
            for to in (0..self.nodes.len()).filter(|&to| to != from) {
                let (a, b) = (&self.nodes[from].effect, &self.nodes[to].effect);
                let why = match (&a.saw, &b.saw, &b.added) {
                    (Some(saw), _, Some(added)) if lacks(saw, added) => Why::Lacks(added.clone()),
                    (Some(saw), Some(other), _) if !may_become(other, saw) => Why::Less,
                    _ => continue,
                };
                self.link(from, to, why);
            }
        }
    }

    /// Adds what follows from the blocks; false if nothing new does.
    fn derive(&mut self) -> bool {
        let paths = self.paths();
        let mut new = Vec::new();
        for (value, maker) in &self.blocks {
            let members: Vec<usize> = (0..self.nodes.len())
                .filter(|&at| *maker == Some(at) || self.nodes[at].effect.saw.as_ref() == Some(value))
                .collect();
            let others: Vec<usize> = (0..self.nodes.len())
                .filter(|at| !members.contains(at) && self.contradicts(*at, value))
                .collect();
            for &other in &others {
                let after = match maker {
                    Some(_) => members.iter().find_map(|&member| paths[member][other].clone()),
                    None => Some(Vec::new()),
                };
                if let Some(path) = after {
                    new.extend(
                        members
                            .iter()
                            .map(|&member| (member, other, Why::Over(value.clone(), path.clone()))),
                    );
                }
                let before = members.iter().find_map(|&member| paths[other][member].clone());
                if let (Some(path), Some(maker)) = (before, maker) {
                    new.push((other, *maker, Why::Under(value.clone(), path)));
                }
            }
        }
        // The order of a map is that of its hashes; what is found must not depend on it.
        new.sort_by_key(|&(from, to, _)| (from, to));
        let mut grew = false;
        for (from, to, why) in new {
            grew |= self.link(from, to, why);
        }
        grew
    }

    /// Whether an operation cannot take effect while a value is there and leave it there.
    fn contradicts(&self, at: usize, value: &Value) -> bool {
        let effect = &self.nodes[at].effect;
        let another = |other: &Option<Value>| other.as_ref().is_some_and(|other| other != value);
        another(&effect.made) || another(&effect.saw) || effect.missed.as_ref() == Some(value)
    }

    /// The shortest way between any two, if there is one.
    fn paths(&self) -> Vec<Vec<Option<Vec<usize>>>> {
        let count = self.nodes.len();
        let way = |from: usize, to: usize| self.way(from, to);
        (0..count)
            .map(|from| (0..count).map(|to| way(from, to)).collect())
            .collect()
    }

    fn way(&self, from: usize, to: usize) -> Option<Vec<usize>> {
        let goal = NodeIndex::new(to);
        let (_, path) = astar(
            &self.graph,
            NodeIndex::new(from),
            |at| at == goal,
            |_| 1u32,
            |_| 0,
        )?;
        (from != to).then(|| path.into_iter().map(NodeIndex::index).collect())
    }

    /// The shortest cycle, as the nodes that it passes, from the earliest on. Of several the one that has the last
    /// completion: it is about what nobody could explain.
    fn shortest(&self) -> Option<Vec<usize>> {
        let completes = |at: usize| self.nodes[at].operation.record().completed;
        let known = (0..self.nodes.len()).filter(|&at| self.nodes[at].core);
        let last = known.max_by_key(|&at| completes(at))?;
        let closing = self.graph.edge_indices().filter_map(|edge| {
            let (from, to) = self.graph.edge_endpoints(edge)?;
            self.way(to.index(), from.index())
        });
        let mut cycle = closing.min_by_key(|cycle| (cycle.len(), !cycle.contains(&last)))?;
        let first = cycle
            .iter()
            .enumerate()
            .min_by_key(|(_, at)| self.nodes[**at].operation.record().invoked)
            .map_or(0, |(place, _)| place);
        cycle.rotate_left(first);
        Some(cycle)
    }

    fn told<D: Domain>(&self, domain: &D, cycle: &[usize], words: &Words) -> Vec<CycleEdge> {
        let next = cycle.iter().cycle().skip(1);
        let edges = cycle.iter().zip(next).map(|(&from, &to)| CycleEdge {
            relation: None,
            from: self.nodes[from].operation.id(),
            to: self.nodes[to].operation.id(),
            because: self.because(domain, from, to, words),
        });
        edges.collect()
    }

    fn why(&self, from: usize, to: usize) -> &Why {
        let edge = self.graph.find_edge(NodeIndex::new(from), NodeIndex::new(to));
        &self.graph[edge.expect("a cycle goes along edges")]
    }

    fn because<D: Domain>(&self, domain: &D, from: usize, to: usize, words: &Words) -> String {
        let name = |at: usize| words.name(domain, self.nodes[at].operation);
        let (one, two) = (name(from), name(to));
        let given = |path: &[usize]| self.given(domain, path, words);
        match self.why(from, to) {
            Why::Time => self.in_time(domain, from, to, words),
            Why::Process => format!("{one} came first and then {two}, in the same process"),
            Why::Source(value) => format!("{two} saw {value}, which only {one} wrote"),
            Why::Over(value, path) if path.is_empty() => {
                format!(
                    "{one} saw {value}, which was there from the beginning, was never written again, and was gone with {two}"
                )
            }
            Why::Over(value, path) => format!(
                "{one} saw {value}, which was there before {two} ({}) and never came back after it",
                given(path)
            ),
            Why::Under(value, path) => format!(
                "only {two} wrote {value}, which was still there after {one} ({}), so {one} came before it was written",
                given(path)
            ),
            Why::Taken(value) => format!("{one} saw {value}, which {two} replaced and which never came back"),
            Why::Lacks(added) => format!("{one} lacks {added}, which {two} added and nothing can remove"),
            Why::Less => format!("what {two} saw cannot have grown into what {one} saw"),
        }
    }

    fn in_time<D: Domain>(&self, domain: &D, from: usize, to: usize, words: &Words) -> String {
        let (one, two) = (self.nodes[from].operation, self.nodes[to].operation);
        if one.process() == two.process() {
            let (one, two) = (words.name(domain, one), words.name(domain, two));
            return format!("{one} came first and then {two}, in the same process");
        }
        format!(
            "{} was over{} before {} began{}",
            words.name(domain, one),
            words.end(one),
            words.name(domain, two),
            words.start(two)
        )
    }

    /// What a derived order rests on.
    fn given<D: Domain>(&self, domain: &D, path: &[usize], words: &Words) -> String {
        let steps = path.windows(2).map(|pair| {
            let (from, to) = (pair[0], pair[1]);
            let name = |at: usize| words.name(domain, self.nodes[at].operation);
            match self.why(from, to) {
                Why::Time => self.in_time(domain, from, to, words),
                Why::Source(value) => format!("{} saw {value}, which only {} wrote", name(to), name(from)),
                _ => format!("{} came before {}", name(from), name(to)),
            }
        });
        steps.collect::<Vec<_>>().join(", and ")
    }
}

/// Whether what was seen lacks what was added.
fn lacks(saw: &Value, added: &Value) -> bool {
    match saw {
        Value::List(elements) => !elements.contains(added),
        saw => {
            let (saw, added) = (appended(saw, &Value::Nil), appended(added, &Value::Nil));
            saw.as_str()
                .zip(added.as_str())
                .is_some_and(|(saw, added)| !saw.contains(added))
        }
    }
}

/// Whether growing can lead from one value to the other.
fn may_become(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::List(less), Value::List(more)) => less.iter().all(|element| more.contains(element)),
        (one, other) if one == other => true,
        (one, Value::Str(more)) => {
            let less = appended(one, &Value::Nil);
            less.as_str().is_some_and(|less| more.starts_with(less))
        }
        _ => false,
    }
}

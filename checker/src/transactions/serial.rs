//! An order of the transactions that explains every read: the proof of a yes.
//!
//! Of lists the dependency graph is complete, and any topological order of it will do. Of registers it is not:
//! writes that nobody relates must be put somewhere. They are tried, depth first: a transaction may come next if the
//! graph lets it, it reads what is there, and nobody is still to read what it overwrites; whoever only reads comes as
//! soon as it can. Where nothing is left to try, no order explains the history, whatever its graph says (view
//! serializability, Papadimitriou 1979), and a few transactions of which that is so are the proof. Since the
//! question is NP-complete the search is bounded: given up, it says nothing.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};
use std::time::Instant;

use petgraph::graph::NodeIndex;
use petgraph::visit::EdgeRef;
use rustc_hash::FxHashMap;
use serde::{Serialize, Serializer};

use crate::history::{OpId, Outcome, Value};

use super::anomaly::Evidence;
use super::graph::{Dependencies, Link};
use super::met::Met;
use super::node::{Elements, Node};
use super::transaction::{Form, Step, Transactions, WriteId};

/// Transactions, one after the other.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SerialOrder {
    /// Whether nothing comes after what began when it had ended: of one process, or of all.
    #[serde(serialize_with = "respected")]
    pub respects: Evidence,
    /// All that happened, and of unknown outcome those of which something was seen.
    pub order: Vec<OpId>,
}

fn respected<S: Serializer>(evidence: &Evidence, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(evidence.respected())
}

/// What became of a search for an order.
pub(super) enum Sought {
    /// It explains every read.
    Found(SerialOrder),
    /// There is none; these transactions alone show it.
    Impossible(Vec<OpId>),
    /// There may be one.
    Open,
    /// It cannot be told: some transaction contradicts itself, or read what none of the history wrote.
    Unclear,
}

/// What is looked at.
#[derive(Clone, Copy)]
pub(super) struct Seeker<'s, 'a> {
    pub(super) transactions: &'s Transactions<'a>,
    pub(super) graph: &'s Dependencies,
    pub(super) happened: &'s [bool],
    pub(super) init: &'s Value,
    pub(super) deadline: Option<Instant>,
}

/// How many transactions one search may look at: so many for each, and some.
const EFFORT: usize = 64;
const LEAST_EFFORT: usize = 200_000;
/// Beyond this many transactions an impossible order is not made small enough to be told.
const MOST_TOLD: usize = 64;
/// A version of which nothing was written yet.
const INITIAL: u32 = u32::MAX;

impl Seeker<'_, '_> {
    /// Looks for an order that contradicts none of the dependencies that rest on such evidence.
    ///
    /// Whether there certainly is none is looked into only if that is asked for.
    pub(super) fn seek(self, respects: Evidence, asked: bool) -> Sought {
        let permitted = |link: &Link| link.grounds.evidence <= respects;
        let all: Vec<bool> = self.happened.to_vec();
        let found = match self.transactions.form {
            Form::ListAppend => self.topological(permitted).map_or(Tried::Open, Tried::Found),
            Form::RwRegister if self.topological(permitted).is_none() => Tried::Open,
            Form::RwRegister => self.arrange(&all, permitted),
        };
        match found {
            Tried::Found(order) if self.explains(&order) => Sought::Found(SerialOrder { respects, order }),
            Tried::Nothing if asked => self.impossible(all, respects),
            Tried::Found(_) | Tried::Open | Tried::Nothing => Sought::Open,
            Tried::Unclear => Sought::Unclear,
        }
    }

    /// The transactions so that all edges lead forwards, those invoked first as early as that allows.
    fn topological(self, permitted: impl Fn(&Link) -> bool) -> Option<Vec<OpId>> {
        let graph = &self.graph.graph;
        let mut waits = vec![0u32; graph.node_count()];
        for edge in graph.edge_references().filter(|edge| permitted(edge.weight())) {
            waits[edge.target().index()] += 1;
        }
        let place = |at: usize| match self.transactions.list.get(at) {
            Some(transaction) => (transaction.invoked, at),
            // Relays stand for nothing and come at once.
            None => (0, at),
        };
        let free = (0..waits.len()).filter(|&at| waits[at] == 0);
        let mut next: BinaryHeap<Reverse<(u32, usize)>> = free.map(|at| Reverse(place(at))).collect();
        let (mut order, mut met) = (Vec::with_capacity(self.happened.len()), 0);
        while let Some(Reverse((_, at))) = next.pop() {
            met += 1;
            if self.happened.get(at) == Some(&true) {
                order.push(OpId(at as u32));
            }
            let edges = graph.edges(NodeIndex::new(at));
            for edge in edges.filter(|edge| permitted(edge.weight())) {
                let to = edge.target().index();
                waits[to] -= 1;
                if waits[to] == 0 {
                    next.push(Reverse(place(to)));
                }
            }
        }
        (met == waits.len()).then_some(order)
    }

    /// Tries the orders of some of the transactions, of registers.
    fn arrange(self, among: &[bool], permitted: impl Fn(&Link) -> bool) -> Tried {
        match Arrangement::new(self, among, permitted) {
            Some(arrangement) => arrangement.search(self.deadline),
            None => Tried::Unclear,
        }
    }

    /// A few of the transactions that no order explains, by what they read and the order of processes or of time
    /// alone.
    fn impossible(self, all: Vec<bool>, respects: Evidence) -> Sought {
        let in_order = |link: &Link| {
            link.grounds.evidence <= respects
                && matches!(
                    link.relation,
                    super::Relation::Process | super::Relation::Realtime
                )
        };
        let none = |among: &[bool]| matches!(self.arrange(among, in_order), Tried::Nothing);
        let mut core = all;
        if !none(&core) {
            return Sought::Open;
        }
        let mut size = core.iter().filter(|&&there| there).count();
        let mut step = size.div_ceil(2);
        while step > 0 {
            let there: Vec<usize> = (0..core.len()).filter(|&at| core[at]).collect();
            for part in there.chunks(step) {
                if self.deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                    return Sought::Open;
                }
                let mut less = core.clone();
                for &at in part {
                    less[at] = false;
                }
                self.add_writers(&mut less);
                let now = less.iter().filter(|&&there| there).count();
                if now < size && none(&less) {
                    (core, size) = (less, now);
                }
            }
            step /= 2;
        }
        match size <= MOST_TOLD {
            true => Sought::Impossible(
                (0..core.len())
                    .filter(|&at| core[at])
                    .map(|at| OpId(at as u32))
                    .collect(),
            ),
            false => Sought::Open,
        }
    }

    /// Whoever is there needs those who wrote what it read.
    fn add_writers(self, among: &mut [bool]) {
        let mut stack: Vec<usize> = (0..among.len()).filter(|&at| among[at]).collect();
        while let Some(at) = stack.pop() {
            for step in self.transactions.steps(OpId(at as u32)) {
                let Step::Read { key, seen } = *step else { continue };
                let Some(write) = self.transactions.writer(key, seen) else {
                    continue;
                };
                let by = self.transactions.write(write).by.0 as usize;
                if !std::mem::replace(&mut among[by], true) {
                    stack.push(by);
                }
            }
        }
    }

    /// Runs the transactions in this order.
    fn explains(self, order: &[OpId]) -> bool {
        let keys = self.transactions.keys.len();
        let mut registers: Vec<Option<Node<'_>>> = vec![None; keys];
        let mut lists: Vec<Vec<Node<'_>>> = vec![Vec::new(); keys];
        let lists_form = self.transactions.form == Form::ListAppend;
        for &id in order {
            for step in self.transactions.steps(id) {
                let fits = match *step {
                    Step::Write(write) => {
                        let write = self.transactions.write(write);
                        match lists_form {
                            true => lists[write.key as usize].push(write.value),
                            false => registers[write.key as usize] = Some(write.value),
                        }
                        true
                    }
                    Step::Read { key, seen } if lists_form => {
                        let elements = seen.elements().unwrap_or(Elements::NONE);
                        let there = &lists[key as usize];
                        elements.len() == there.len() && elements.iter().zip(there).all(|(a, b)| a == *b)
                    }
                    Step::Read { key, seen } => {
                        seen == registers[key as usize].unwrap_or(Node::Plain(self.init))
                    }
                };
                if !fits {
                    return false;
                }
            }
        }
        let ok = self
            .transactions
            .ids()
            .filter(|&id| self.transactions.outcome(id) == Outcome::Ok);
        ok.count()
            == order
                .iter()
                .filter(|&&id| self.transactions.outcome(id) == Outcome::Ok)
                .count()
    }
}

enum Tried {
    Found(Vec<OpId>),
    Nothing,
    Open,
    Unclear,
}

/// The search for an order of transactions on registers.
struct Arrangement {
    /// For each vertex where its edges lead, and on how many it waits.
    leads: Vec<Vec<u32>>,
    waits: Vec<u32>,
    transactions: usize,
    /// For each transaction the versions that it must find, and those that it leaves.
    finds: Vec<Vec<(u32, u32)>>,
    leaves: Vec<Vec<(u32, u32)>>,
    /// By key what is there now.
    now: Vec<u32>,
    /// By key and version how many are still to find it.
    wanted: FxHashMap<(u32, u32), u32>,
    /// Whom the graph lets come next.
    free: BTreeSet<(u32, u32)>,
    completed: Vec<u32>,
    order: Vec<u32>,
    /// What was there before each of the order wrote.
    before: Vec<Vec<(u32, u32)>>,
    total: usize,
    effort: usize,
}

impl Arrangement {
    /// Nothing if some transaction contradicts itself or read what nobody wrote.
    fn new(seeker: Seeker<'_, '_>, among: &[bool], permitted: impl Fn(&Link) -> bool) -> Option<Arrangement> {
        let Seeker {
            transactions, graph, ..
        } = seeker;
        let vertices = graph.graph.node_count();
        let there = |at: usize| at >= graph.transactions || among[at];
        let total = among.iter().filter(|&&there| there).count();
        let mut arrangement = Arrangement {
            leads: vec![Vec::new(); vertices],
            waits: vec![0; vertices],
            transactions: graph.transactions,
            finds: vec![Vec::new(); graph.transactions],
            leaves: vec![Vec::new(); graph.transactions],
            now: vec![INITIAL; transactions.keys.len()],
            wanted: FxHashMap::default(),
            free: BTreeSet::new(),
            completed: transactions
                .list
                .iter()
                .map(|transaction| transaction.completed)
                .collect(),
            order: Vec::with_capacity(total),
            before: Vec::with_capacity(total),
            total,
            effort: total * EFFORT + LEAST_EFFORT,
        };
        for edge in graph
            .graph
            .edge_references()
            .filter(|edge| permitted(edge.weight()))
        {
            let (from, to) = (edge.source().index(), edge.target().index());
            if there(from) && there(to) {
                arrangement.leads[from].push(to as u32);
                arrangement.waits[to] += 1;
            }
        }
        let mut met = Met::of_keys(transactions.keys.len());
        for id in transactions.ids().filter(|&id| among[id.0 as usize]) {
            let at = id.0 as usize;
            met.begin();
            let mut versions: Vec<(u32, u32)> = Vec::new();
            for step in transactions.steps(id) {
                let (place, new) = met.meet(transactions.key_of(*step));
                match *step {
                    Step::Write(write) => {
                        let key = transactions.write(write).key;
                        match new {
                            true => versions.push((key, write.0)),
                            false => versions[place].1 = write.0,
                        }
                    }
                    Step::Read { key, seen } => {
                        let version = match transactions.writer(key, seen) {
                            Some(WriteId(write)) => write,
                            None if seen == Node::Plain(seeker.init) => INITIAL,
                            None => return None,
                        };
                        if new {
                            versions.push((key, version));
                            arrangement.finds[at].push((key, version));
                        } else if versions[place].1 != version {
                            return None;
                        }
                    }
                }
            }
            let found = &arrangement.finds[at];
            let left = versions.into_iter().filter(|version| !found.contains(version));
            arrangement.leaves[at] = left.collect();
            for &version in &arrangement.finds[at] {
                *arrangement.wanted.entry(version).or_default() += 1;
            }
        }
        // Relays wait on others or are free at once, and free others.
        let free: Vec<usize> = (0..vertices)
            .filter(|&at| there(at) && arrangement.waits[at] == 0)
            .collect();
        for at in free {
            match at < graph.transactions {
                true => arrangement.let_come(at),
                false => arrangement.pass(at),
            }
        }
        Some(arrangement)
    }

    fn search(mut self, deadline: Option<Instant>) -> Tried {
        // What may still be tried at each choice, with how long the order was then.
        let mut choices: Vec<(usize, Vec<u32>)> = Vec::new();
        loop {
            let mut next = self.possible();
            if self.order.len() == self.total {
                return Tried::Found(self.order.into_iter().map(OpId).collect());
            }
            if self.effort == 0 || deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                return Tried::Open;
            }
            match next.pop() {
                Some(first) if next.is_empty() || self.leaves[first as usize].is_empty() => self.take(first),
                Some(first) => {
                    choices.push((self.order.len(), next));
                    self.take(first);
                }
                None => loop {
                    let Some((len, rest)) = choices.last_mut() else {
                        return Tried::Nothing;
                    };
                    let (len, other) = (*len, rest.pop());
                    if rest.is_empty() {
                        choices.pop();
                    }
                    while self.order.len() > len {
                        self.take_back();
                    }
                    if let Some(other) = other {
                        self.take(other);
                        break;
                    }
                },
            }
        }
    }

    /// Who may come next, the most promising last: one that only reads, alone, since it may come at once whatever
    /// else does; or all, those that completed first last.
    fn possible(&mut self) -> Vec<u32> {
        let mut possible = Vec::new();
        for &(_, at) in self.free.iter().rev() {
            self.effort = self.effort.saturating_sub(1);
            let (finds, leaves) = (&self.finds[at as usize], &self.leaves[at as usize]);
            if finds
                .iter()
                .any(|&(key, version)| self.now[key as usize] != version)
            {
                continue;
            }
            if leaves.is_empty() {
                return vec![at];
            }
            let missed = leaves.iter().any(|&(key, _)| {
                let there = (key, self.now[key as usize]);
                let own = u32::from(finds.contains(&there));
                self.wanted.get(&there).is_some_and(|&wanted| wanted > own)
            });
            if !missed {
                possible.push(at);
            }
        }
        possible
    }

    fn take(&mut self, at: u32) {
        let id = at as usize;
        self.free.remove(&(self.completed[id], at));
        for version in &self.finds[id] {
            *self
                .wanted
                .get_mut(version)
                .expect("whoever finds it was counted") -= 1;
        }
        let mut before = Vec::with_capacity(self.leaves[id].len());
        for &(key, version) in &self.leaves[id] {
            before.push((key, std::mem::replace(&mut self.now[key as usize], version)));
        }
        self.before.push(before);
        self.order.push(at);
        self.pass(id);
    }

    fn take_back(&mut self) {
        let at = self.order.pop().expect("something to take back");
        let id = at as usize;
        self.bar(id);
        for (key, version) in self.before.pop().expect("one for each of the order") {
            self.now[key as usize] = version;
        }
        for version in &self.finds[id] {
            *self
                .wanted
                .get_mut(version)
                .expect("whoever finds it was counted") += 1;
        }
        self.let_come(id);
    }

    fn let_come(&mut self, at: usize) {
        self.free.insert((self.completed[at], at as u32));
    }

    /// Lets those come that waited on this vertex alone, past relays.
    fn pass(&mut self, at: usize) {
        let mut stack = vec![at];
        while let Some(at) = stack.pop() {
            for edge in 0..self.leads[at].len() {
                let to = self.leads[at][edge] as usize;
                self.waits[to] -= 1;
                if self.waits[to] == 0 {
                    match to < self.transactions {
                        true => self.let_come(to),
                        false => stack.push(to),
                    }
                }
            }
        }
    }

    /// Has them wait again.
    fn bar(&mut self, at: usize) {
        let mut stack = vec![at];
        while let Some(at) = stack.pop() {
            for edge in 0..self.leads[at].len() {
                let to = self.leads[at][edge] as usize;
                self.waits[to] += 1;
                if self.waits[to] == 1 {
                    match to < self.transactions {
                        true => {
                            self.free.remove(&(self.completed[to], to as u32));
                        }
                        false => stack.push(to),
                    }
                }
            }
        }
    }
}

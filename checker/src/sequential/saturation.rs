//! What every order must keep to, found in polynomial time.
//!
//! Where a value was written once, a read says which write came before it, and no other write of that key between the
//! two. So whatever is known to come before the read and writes the key comes before that write; and whatever is known
//! to come after the write and writes the key comes after the read. Each such step may tell more, until nothing is new:
//! saturation, as Biswas & Enea use it ("On the Complexity of Checking Transactional Consistency", OOPSLA 2019), begun
//! with each process's own order and who read from whom. If something then comes before itself there is no order. If
//! not there may still be none, for to decide that is NP-complete (Gibbons & Korach 1997); but a search need look at
//! no order that does not keep to it.
//!
//! What precedes an operation is kept as how much of each process does: with everything the whole beginning of its
//! process precedes it, too.

use rustc_hash::{FxHashMap, FxHashSet};

use super::program::{Need, Program};
use crate::engine::Meter;
use crate::history::Value;
use crate::model::{Domain, Effect};

/// What was found.
pub(super) enum Saturated {
    /// Some operation comes before itself, or saw what nobody wrote.
    Contradiction,
    /// How much of every process precedes each operation.
    Order(Before),
}

/// How much of every process precedes each operation.
#[derive(Debug, Default)]
pub(super) struct Before {
    processes: usize,
    /// The number of the first operation of each process.
    first: Vec<usize>,
    /// By operation and process: how many of that process come before it. Nothing if nothing is known.
    counts: Vec<u32>,
}

/// With more operations times processes than this nothing is looked for.
const MOST: usize = 1 << 24;
/// Rounds that may find something new; nearly always it is two or three.
const ROUNDS: usize = 64;
/// So many counts that are gone through take as long as a move of the search.
const COUNTS_PER_MOVE: usize = 256;

impl Before {
    /// Whether everything that must precede an operation is behind these positions.
    pub(super) fn allows(&self, process: usize, position: usize, positions: &[u32]) -> bool {
        if self.counts.is_empty() {
            return true;
        }
        let at = (self.first[process] + position) * self.processes;
        let counts = &self.counts[at..at + self.processes];
        counts
            .iter()
            .zip(positions)
            .all(|(count, passed)| count <= passed)
    }

    pub(super) fn bytes(&self) -> u64 {
        (self.counts.capacity() * size_of::<u32>()) as u64
    }
}

pub(super) fn saturate<D: Domain>(program: &Program<'_, D>, domain: &D, meter: &mut Meter<'_>) -> Saturated {
    let nothing = Saturated::Order(Before::default());
    let register = matches!(domain.name(), "kv" | "register" | "cas-register");
    if !register || program.len().saturating_mul(program.processes.len()) > MOST {
        return nothing;
    }
    let Some(mut graph) = Graph::of(program, domain) else {
        return Saturated::Contradiction;
    };
    for _ in 0..ROUNDS {
        if !graph.count() {
            return Saturated::Contradiction;
        }
        let cost = graph.before.counts.len() / COUNTS_PER_MOVE;
        // What was found so far is true whatever else there is.
        if meter.allow(graph.before.bytes(), cost as u64).is_err() || !graph.grow() {
            break;
        }
    }
    Saturated::Order(graph.before)
}

/// Who wrote what a read saw.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Source {
    /// It was there at first.
    Beginning,
    Write(usize),
    /// Several may have.
    Unclear,
}

struct Graph {
    /// By operation.
    process: Vec<usize>,
    /// Reads, with the key and who wrote what they saw.
    reads: Vec<(usize, u32, Source)>,
    /// By key, the writes of each process that certainly happened, in its order.
    writes: FxHashMap<u32, Vec<(usize, Vec<usize>)>>,
    /// What comes right before each operation, beside its own process's last.
    preceding: Vec<Vec<u32>>,
    before: Before,
}

impl Graph {
    /// Nothing if a read saw what nobody wrote.
    fn of<D: Domain>(program: &Program<'_, D>, domain: &D) -> Option<Graph> {
        let mut first = Vec::with_capacity(program.processes.len());
        let (mut process, mut pieces) = (Vec::new(), Vec::new());
        for (number, own) in program.processes.iter().enumerate() {
            first.push(process.len());
            process.extend(own.iter().map(|_| number));
            pieces.extend(own.iter().copied());
        }
        let effects: Vec<Effect> = program
            .classes()
            .iter()
            .map(|call| Effect::of(domain.name(), call))
            .collect();
        let effect = |at: usize| &effects[pieces[at].class as usize];
        let init = domain.init_value();
        // What is appended to shows no value that was written.
        let mut appended: FxHashSet<u32> = FxHashSet::default();
        let mut writers: FxHashMap<(u32, &Value), Source> = FxHashMap::default();
        for (at, piece) in pieces.iter().enumerate() {
            if effect(at).added.is_some() {
                appended.insert(piece.key);
            }
            if let Some(made) = &effect(at).made {
                let writer = writers.entry((piece.key, made)).or_insert(match *made == init {
                    true => Source::Beginning,
                    false => Source::Write(at),
                });
                if *writer != Source::Write(at) {
                    *writer = Source::Unclear;
                }
            }
        }
        let source = |key: u32, saw: &Value| match writers.get(&(key, saw)) {
            _ if appended.contains(&key) => Some(Source::Unclear),
            Some(source) => Some(*source),
            None if *saw == init => Some(Source::Beginning),
            None => None,
        };
        // What must have happened, or was seen by what did.
        let mut happened: Vec<bool> = pieces.iter().map(|piece| piece.need == Need::Required).collect();
        let mut waiting: Vec<usize> = (0..pieces.len()).filter(|&at| happened[at]).collect();
        let mut graph = Graph {
            reads: Vec::new(),
            writes: FxHashMap::default(),
            preceding: vec![Vec::new(); pieces.len()],
            before: Before {
                processes: program.processes.len(),
                first,
                counts: vec![0; pieces.len() * program.processes.len()],
            },
            process,
        };
        while let Some(at) = waiting.pop() {
            let Some(saw) = &effect(at).saw else { continue };
            let key = pieces[at].key;
            let source = source(key, saw)?;
            if let Source::Write(by) = source {
                graph.preceding[at].push(by as u32);
                if !happened[by] {
                    happened[by] = true;
                    waiting.push(by);
                }
            }
            if source != Source::Unclear {
                graph.reads.push((at, key, source));
            }
        }
        graph.reads.sort_unstable_by_key(|&(at, ..)| at);
        for at in (0..pieces.len()).filter(|&at| happened[at]) {
            if effect(at).made.is_none() && effect(at).added.is_none() {
                continue;
            }
            let writes = graph.writes.entry(pieces[at].key).or_default();
            match writes.last_mut() {
                Some((process, own)) if *process == graph.process[at] => own.push(at),
                _ => writes.push((graph.process[at], vec![at])),
            }
        }
        // What was there at first was there before every write.
        for &(read, key, source) in &graph.reads {
            let writes = graph.writes.get(&key).filter(|_| source == Source::Beginning);
            for (_, own) in writes.into_iter().flatten() {
                if let Some(&write) = own.iter().find(|&&write| write != read) {
                    graph.preceding[write].push(read as u32);
                }
            }
        }
        Some(graph)
    }

    /// Counts anew what precedes everything; false if something precedes itself.
    fn count(&mut self) -> bool {
        let operations = self.process.len();
        let mut following: Vec<Vec<u32>> = vec![Vec::new(); operations];
        let mut waits: Vec<u32> = vec![0; operations];
        for (at, waits) in waits.iter_mut().enumerate() {
            let own = (at > 0 && self.process[at - 1] == self.process[at]).then(|| at as u32 - 1);
            for &before in self.preceding[at].iter().chain(&own) {
                following[before as usize].push(at as u32);
                *waits += 1;
            }
        }
        let mut ready: Vec<usize> = (0..operations).filter(|&at| waits[at] == 0).collect();
        let mut counted = 0;
        let width = self.before.processes;
        self.before.counts.fill(0);
        while let Some(at) = ready.pop() {
            counted += 1;
            let process = self.process[at];
            let position = (at - self.before.first[process]) as u32;
            let from = self.before.counts[at * width..(at + 1) * width].to_vec();
            for &then in &following[at] {
                let then = then as usize;
                let into = &mut self.before.counts[then * width..(then + 1) * width];
                for (into, from) in into.iter_mut().zip(&from) {
                    *into = (*into).max(*from);
                }
                into[process] = into[process].max(position + 1);
                waits[then] -= 1;
                if waits[then] == 0 {
                    ready.push(then);
                }
            }
        }
        counted == operations
    }

    /// Whether one operation is known to come before another.
    fn precedes(&self, one: usize, other: usize) -> bool {
        let process = self.process[one];
        let position = one - self.before.first[process];
        self.before.counts[other * self.before.processes + process] as usize > position
    }

    /// Takes the steps that follow from what is known; false if there are none.
    fn grow(&mut self) -> bool {
        let mut new: Vec<(usize, usize)> = Vec::new();
        for &(read, key, source) in &self.reads {
            let Source::Write(write) = source else { continue };
            for (process, own) in self.writes.get(&key).into_iter().flatten() {
                // The last write of the process before the read comes before what was read, and so do those before it.
                let passed = self.before.counts[read * self.before.processes + process] as usize;
                let passed = own.partition_point(|&other| other - self.before.first[*process] < passed);
                if let Some(&other) = passed.checked_sub(1).map(|last| &own[last])
                    && other != write
                    && !self.precedes(other, write)
                {
                    new.push((other, write));
                }
                // The first write of the process after what was read comes after the read, and so do those after it.
                let later = own.partition_point(|&other| !self.precedes(write, other));
                if let Some(&other) = own.get(later)
                    && other != read
                    && !self.precedes(read, other)
                {
                    new.push((read, other));
                }
            }
        }
        let grown = !new.is_empty();
        for (one, other) in new {
            self.preceding[other].push(one as u32);
        }
        grown
    }
}

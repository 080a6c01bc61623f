//! A history as programs: what each process did, one thing after another.

use std::hash::Hash;

use hashbrown::HashMap;
use rustc_hash::{FxBuildHasher, FxHashMap, FxHashSet};

use crate::history::{History, NEVER, OpId, ProcessId, Word};
use crate::model::{Domain, Invocation, Model, Observed};

/// Whether an operation must take effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Need {
    /// At its place in its process's order.
    Required,
    /// There, or never.
    Optional,
}

/// One operation that counts.
#[derive(Clone, Copy, Debug)]
pub(super) struct Piece {
    pub(super) op: OpId,
    pub(super) key: u32,
    pub(super) class: u32,
    pub(super) need: Need,
    pub(super) observes: bool,
}

/// The processes of one component of a history: those that share keys, with their keys.
///
/// States and operations are numbered as they are met, so that a configuration is a few small numbers.
#[derive(Debug)]
pub(crate) struct Program<'d, D: Domain> {
    pub(super) domain: &'d D,
    /// By process, each in its own order.
    pub(super) processes: Vec<Vec<Piece>>,
    pub(super) keys: usize,
    states: Numbers<<D::Rules as Model>::State>,
    classes: Numbers<Invocation>,
    steps: FxHashMap<(u32, u32), Option<u32>>,
    /// About how many bytes the states and steps take that were met.
    pub(super) bytes: u64,
    /// About how many words the steps have gone through.
    pub(super) effort: u64,
}

/// How many bytes a word takes.
const WORD: u64 = size_of::<usize>() as u64;
/// About how many bytes a step takes that is remembered.
const STEP: u64 = 2 * size_of::<((u32, u32), Option<u32>)>() as u64;

/// Things by number, and numbers by thing.
#[derive(Debug)]
struct Numbers<T> {
    things: Vec<T>,
    numbers: HashMap<T, u32, FxBuildHasher>,
}

impl<T: Clone + Eq + Hash> Numbers<T> {
    fn new() -> Self {
        Numbers {
            things: Vec::new(),
            numbers: HashMap::with_hasher(FxBuildHasher),
        }
    }

    fn of(&mut self, thing: T) -> u32 {
        if let Some(&known) = self.numbers.get(&thing) {
            return known;
        }
        let number = self.things.len() as u32;
        self.things.push(thing.clone());
        self.numbers.insert(thing, number);
        number
    }
}

impl<'d, D: Domain> Program<'d, D> {
    /// Every component of a history.
    pub(super) fn split(history: &History, domain: &'d D) -> Vec<Program<'d, D>> {
        let all: Vec<OpId> = history.operations().map(crate::history::Operation::id).collect();
        let mut parts = Parts::default();
        for operation in history.operations() {
            parts.join(operation.process(), operation.key_word());
        }
        let mut components: FxHashMap<usize, Vec<OpId>> = FxHashMap::default();
        for op in all {
            let process = history.operation(op).process();
            components.entry(parts.of(process)).or_default().push(op);
        }
        let mut components: Vec<Vec<OpId>> = components.into_values().collect();
        components.sort_unstable();
        let programs = components
            .iter()
            .map(|ops| Program::new(history, domain, ops, None));
        programs.collect()
    }

    /// Some operations of a history, by their numbers; those that are not among `required`, where it is given,
    /// are weakened: pure observations are left out, the rest is optional.
    pub(super) fn new(
        history: &History,
        domain: &'d D,
        ops: &[OpId],
        required: Option<&FxHashSet<OpId>>,
    ) -> Program<'d, D> {
        let mut program = Program {
            domain,
            processes: Vec::new(),
            keys: 0,
            states: Numbers::new(),
            classes: Numbers::new(),
            steps: FxHashMap::default(),
            bytes: 0,
            effort: 0,
        };
        let init = program.states.of(domain.rules().init());
        assert_eq!(init, 0, "every key begins in the first state");
        let mut processes: FxHashMap<ProcessId, usize> = FxHashMap::default();
        let mut keys: FxHashMap<Word, u32> = FxHashMap::default();
        for &op in ops {
            let operation = history.operation(op);
            let complete = operation.record().completed != NEVER;
            let Ok(Some(call)) = domain.call(operation, complete) else {
                continue;
            };
            let observes = domain.rules().only_observes(&call);
            let must = call.result != Observed::Unknown;
            let known = must && required.is_none_or(|required| required.contains(&op));
            if observes && !known {
                continue;
            }
            // What is weakened has no result.
            let call = match (known, must) {
                (false, true) => match domain.call(operation, false) {
                    Ok(Some(call)) => call,
                    Ok(None) | Err(_) => continue,
                },
                _ => call,
            };
            let next = keys.len() as u32;
            let piece = Piece {
                op,
                key: *keys.entry(operation.key_word()).or_insert(next),
                class: program.classes.of(call),
                need: if known { Need::Required } else { Need::Optional },
                observes,
            };
            let next = processes.len();
            let process = *processes.entry(operation.process()).or_insert(next);
            if process == program.processes.len() {
                program.processes.push(Vec::new());
            }
            program.processes[process].push(piece);
        }
        program.keys = keys.len();
        program
    }

    /// What is done, by class.
    pub(super) fn classes(&self) -> &[Invocation] {
        &self.classes.things
    }

    /// How many operations count.
    pub(super) fn len(&self) -> usize {
        self.processes.iter().map(Vec::len).sum()
    }

    /// How many of them must take effect.
    pub(super) fn required(&self) -> usize {
        let pieces = self.processes.iter().flatten();
        pieces.filter(|piece| piece.need == Need::Required).count()
    }

    /// The state of a key after an operation, or none if it is not possible.
    pub(super) fn step(&mut self, state: u32, class: u32) -> Option<u32> {
        if let Some(&known) = self.steps.get(&(state, class)) {
            return known;
        }
        let call = &self.classes.things[class as usize];
        let rules = self.domain.rules();
        let before = &self.states.things[state as usize];
        let next = rules.step(before, call);
        let size = rules.size(next.as_ref().unwrap_or(before)) as u64;
        self.effort += 1 + size / WORD;
        let known = self.states.things.len();
        let next = next.map(|next| self.states.of(next));
        // States are kept twice.
        self.bytes += STEP
            + if self.states.things.len() > known {
                2 * size
            } else {
                0
            };
        self.steps.insert((state, class), next);
        next
    }
}

/// Which processes and keys belong together, by union and find.
#[derive(Debug, Default)]
struct Parts {
    parents: Vec<usize>,
    processes: FxHashMap<ProcessId, usize>,
    keys: FxHashMap<Word, usize>,
}

impl Parts {
    fn root(&mut self, mut at: usize) -> usize {
        while self.parents[at] != at {
            self.parents[at] = self.parents[self.parents[at]];
            at = self.parents[at];
        }
        at
    }

    fn join(&mut self, process: ProcessId, key: Word) {
        let parents = &mut self.parents;
        let mut fresh = || {
            parents.push(parents.len());
            parents.len() - 1
        };
        let process = *self.processes.entry(process).or_insert_with(&mut fresh);
        let key = *self.keys.entry(key).or_insert_with(&mut fresh);
        let (process, key) = (self.root(process), self.root(key));
        self.parents[key] = process;
    }

    fn of(&mut self, process: ProcessId) -> usize {
        self.root(self.processes[&process])
    }
}

/// Whether an order of operations keeps to the processes, leaves out none that must be there, and gives the
/// results. Shares nothing with the search but the model.
pub(super) fn replays<D: Domain>(history: &History, domain: &D, order: &[OpId]) -> bool {
    let mut last: FxHashMap<ProcessId, OpId> = FxHashMap::default();
    let mut states: FxHashMap<Word, <D::Rules as Model>::State> = FxHashMap::default();
    let mut seen: FxHashSet<OpId> = FxHashSet::default();
    for &op in order {
        let operation = history.operation(op);
        let before = last.insert(operation.process(), op);
        let complete = operation.record().completed != NEVER;
        let Ok(Some(call)) = domain.call(operation, complete) else {
            return false;
        };
        if before.is_some_and(|before| before >= op) || !seen.insert(op) {
            return false;
        }
        let key = operation.key_word();
        let state = states.entry(key).or_insert_with(|| domain.rules().init());
        match domain.rules().step(state, &call) {
            Some(next) => *state = next,
            None => return false,
        }
    }
    history.operations().all(|operation| {
        let complete = operation.record().completed != NEVER;
        let call = domain.call(operation, complete).ok().flatten();
        let must = call.is_some_and(|call| call.result != Observed::Unknown);
        !must || seen.contains(&operation.id())
    })
}

//! Makes a violation of sequential consistency small, and says it.

use std::fmt::Write;

use rustc_hash::FxHashSet;

use super::Question;
use super::program::{Need, Piece, Program};
use super::search::{Answer, search};
use crate::check::{EXPLAINING, MOMENTS_PER_MOVE};
use crate::explain;
use crate::history::{History, OpId, Operation, ProcessId, Value};
use crate::model::Domain;
use crate::options::Explain;
use crate::verdict::{Anomaly, CoreOperation, Counterexample, Prefix};

/// Searches of one step of the reduction give up after so many moves: weakened operations multiply the ways.
const PATIENCE: u64 = 200_000;
/// More operations than this are not reduced one by one.
const MOST_REDUCED: usize = 2000;

/// A core of an illegal program: operations that no order explains even if all others of its history may have
/// happened at their places or not.
pub(super) fn counterexample<D: Domain>(
    question: &Question<'_>,
    domain: &D,
    program: &Program<'_, D>,
) -> Counterexample {
    let history = question.history;
    let mut ops: Vec<OpId> = program.processes.iter().flatten().map(|piece| piece.op).collect();
    ops.sort_unstable();
    let pieces = program.processes.iter().flatten();
    let mut required: Vec<OpId> = pieces
        .filter(|piece| piece.need == Need::Required)
        .map(|piece| piece.op)
        .collect();
    required.sort_unstable();
    let reduces = question.options.explain == Explain::Minimal && required.len() <= MOST_REDUCED;
    let mut gave_up = !reduces;
    let budget = question.budget.at_most(EXPLAINING);
    let core = if reduces {
        let mut reduction = Reduction {
            illegal: |known: &[OpId]| {
                let known: FxHashSet<OpId> = known.iter().copied().collect();
                let mut meter = budget.meter().patient(PATIENCE);
                if !meter.prepare(ops.len() as u64 / MOMENTS_PER_MOVE) {
                    gave_up = true;
                    return false;
                }
                let mut less = Program::new(history, domain, &ops, Some(&known));
                match search(&mut less, &mut meter) {
                    Answer::Illegal => true,
                    Answer::Legal(_) => false,
                    Answer::Exhausted { .. } => {
                        gave_up = true;
                        false
                    }
                }
            },
        };
        reduction.smallest(&[], &required)
    } else {
        required.clone()
    };
    let mut core = core;
    core.sort_unstable();
    let left: FxHashSet<OpId> = core.iter().copied().collect();
    let pieces = program.processes.iter().flatten().copied();
    let left_out = pieces.filter(|piece| piece.need == Need::Required && !left.contains(&piece.op));
    let (dropped, weakened): (Vec<Piece>, Vec<Piece>) = left_out.partition(|piece| piece.observes);
    let story = Story {
        concerned: concerned(history, &ops, &core),
        core,
        weakened: weakened.len(),
        dropped: dropped.len(),
        minimal: !gave_up,
    };
    tell(history, domain, &story)
}

/// QuickXplain (Junker 2004): few operations that are illegal, by halves.
struct Reduction<F> {
    illegal: F,
}

impl<F: FnMut(&[OpId]) -> bool> Reduction<F> {
    /// The part of `candidates` that is illegal together with `kept`; together they are known to be.
    fn smallest(&mut self, kept: &[OpId], candidates: &[OpId]) -> Vec<OpId> {
        if candidates.len() <= 1 {
            return candidates.to_vec();
        }
        let (left, right) = candidates.split_at(candidates.len() / 2);
        let with = |kept: &[OpId], more: &[OpId]| [kept, more].concat();
        let kept_right = with(kept, right);
        if (self.illegal)(&kept_right) {
            return self.once_more(kept, right);
        }
        let needed_left = self.smallest(&kept_right, left);
        let kept_left = with(kept, &needed_left);
        let needed_right = if (self.illegal)(&kept_left) {
            Vec::new()
        } else {
            self.smallest(&kept_left, right)
        };
        with(&needed_left, &needed_right)
    }

    fn once_more(&mut self, kept: &[OpId], candidates: &[OpId]) -> Vec<OpId> {
        if candidates.len() == 1 && (self.illegal)(kept) {
            return Vec::new();
        }
        self.smallest(kept, candidates)
    }
}

/// What a sentence is about: the core, and what wrote the values that it speaks of.
struct Story {
    core: Vec<OpId>,
    concerned: Vec<OpId>,
    weakened: usize,
    dropped: usize,
    minimal: bool,
}

/// Operations of the core's keys that are not in it but asked for a value that it saw or expected.
fn concerned(history: &History, candidates: &[OpId], core: &[OpId]) -> Vec<OpId> {
    let mut seen: FxHashSet<(Option<Value>, Value)> = FxHashSet::default();
    for &op in core {
        let operation = history.operation(op);
        seen.insert((operation.key(), operation.output()));
        if let Value::List(pair) = operation.input() {
            seen.extend(pair.first().map(|expected| (operation.key(), expected.clone())));
        }
    }
    let asked = |op: &OpId| {
        let operation = history.operation(*op);
        let (key, input) = (operation.key(), operation.input());
        let wrote = match &input {
            Value::List(pair) => pair.last().cloned().unwrap_or_default(),
            _ => input,
        };
        !core.contains(op) && !wrote.is_nil() && seen.contains(&(key, wrote))
    };
    candidates
        .iter()
        .copied()
        .filter(asked)
        .take(MOST_CONCERNED)
        .collect()
}

/// `process 0 wrote x=1, then wrote x=2; process 1 read x=2`.
fn by_process<D: Domain>(history: &History, domain: &D, ops: &[OpId]) -> String {
    let mut processes: Vec<ProcessId> = ops.iter().map(|&op| history.operation(op).process()).collect();
    processes.sort_unstable();
    processes.dedup();
    let mut text = String::new();
    for process in processes {
        let own = ops.iter().map(|&op| history.operation(op));
        let said: Vec<String> = own
            .filter(|operation| operation.process() == process)
            .map(|operation| explain::said(domain, operation))
            .collect();
        let apart = if text.is_empty() { "" } else { "; " };
        // What is long is in the list of operations.
        let shown = said.len().min(MOST_SAID);
        let _ = write!(
            text,
            "{apart}process {} {}",
            process.0,
            said[..shown].join(", then ")
        );
        if said.len() > shown {
            let _ = write!(text, ", and {} more", said.len() - shown);
        }
    }
    text
}

fn tell<D: Domain>(history: &History, domain: &D, story: &Story) -> Counterexample {
    let mut sentence = format!(
        "no order that keeps each process's own explains these: {}",
        by_process(history, domain, &story.core)
    );
    if !story.concerned.is_empty() {
        let _ = write!(
            sentence,
            " (beside: {})",
            by_process(history, domain, &story.concerned)
        );
    }
    let mut listed: Vec<(OpId, bool)> = story.core.iter().map(|&op| (op, false)).collect();
    listed.extend(story.concerned.iter().map(|&op| (op, true)));
    listed.sort_unstable();
    let operations = listed.into_iter().map(|(op, weakened)| {
        let operation = history.operation(op);
        CoreOperation {
            id: op,
            index: operation.invoked_index(),
            process: operation.process(),
            f: operation.f().to_owned(),
            input: operation.input(),
            output: operation.output(),
            invoked_at: operation.invoked_at(),
            completed_at: operation.completed_at(),
            outcome: operation.outcome(),
            weakened,
            node: operation.node().map(str::to_owned),
            said: explain::said(domain, operation),
        }
    });
    let last = story.core.iter().map(|&op| history.operation(op));
    let last = last.max_by_key(|operation| operation.completed_index());
    Counterexample {
        sentence,
        anomaly: Anomaly::NoOrder,
        key: None,
        init: domain.init_value(),
        operations: operations.collect(),
        prefix: Prefix {
            last_index: last.and_then(Operation::completed_index).unwrap_or(0),
            last_time: last.and_then(Operation::completed_at).unwrap_or_default(),
        },
        weakened: story.weakened,
        dropped: story.dropped,
        minimal: story.minimal,
        faults: last.map_or_else(Vec::new, |last| explain::faults(history, last)),
        cycle: Vec::new(),
        stuck: Vec::new(),
    }
}

/// How many operations beside the core are named.
const MOST_CONCERNED: usize = 12;
/// How many operations of one process a sentence names.
const MOST_SAID: usize = 6;

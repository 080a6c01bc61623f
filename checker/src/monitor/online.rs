//! Registers judged while their history is being made, key by key, holding only what can still matter.

use super::action::validate;
use super::lane::Lane;
use crate::check::{CheckError, check, choose_init, is_illegal, search_limit};
use crate::engine::Budget;
use crate::explain;
use crate::history::{Builder, Event, EventKind, HistoryError, OpId, Pool, Process, RawEvent, Value, Word};
use crate::model::Registers;
use crate::options::{CheckOptions, ModelName};
use crate::read::Sink;
use crate::subhistory::Numbers;
use crate::verdict::{Analysis, Anomaly, Counterexample, Limit, Prefix, Verdict, Witness};

/// All keys of a history, and of its events what they still need.
#[derive(Debug)]
pub(super) struct Online {
    builder: Builder,
    options: CheckOptions,
    domain: Registers,
    init: Word,
    keys: Numbers,
    lanes: Vec<Lane>,
    /// The lane of each operation that is held, and which of all operations it is.
    held: Vec<Held>,
    invoked: u64,
    /// Room for what passes.
    passed: Vec<(OpId, bool)>,
    /// Lanes that something has come to.
    touched: Vec<u32>,
    /// So many operations may be held.
    window: usize,
    /// When so many operations are held, those that cannot matter any more are forgotten.
    forget_at: usize,
    /// Whether anything was forgotten.
    forgot: bool,
    values_before: usize,
    violated: Option<u32>,
    budget: Budget,
}

#[derive(Clone, Copy, Debug)]
struct Held {
    lane: u32,
    number: u64,
}

/// How many bytes a held operation takes, about, with its part of what its key holds.
const BYTES_PER_OPERATION: u64 = 256;
/// What is held at most, unless a memory limit says otherwise.
const MEMORY: u64 = 256 << 20;

impl Online {
    pub(super) fn new(mut builder: Builder, options: &CheckOptions, model: ModelName) -> Online {
        builder.note_order();
        let domain = crate::check::registers(&builder.history, options, model);
        let init = builder
            .history
            .pool
            .add(choose_init(&builder.history, options, model).value);
        let init = builder.history.pool.settled(init);
        let memory = options.memory_limit.unwrap_or(MEMORY);
        let window = usize::try_from(memory / BYTES_PER_OPERATION)
            .unwrap_or(usize::MAX)
            .max(64);
        Online {
            builder,
            options: options.clone(),
            domain,
            init,
            keys: Numbers::default(),
            lanes: Vec::new(),
            held: Vec::new(),
            invoked: 0,
            passed: Vec::new(),
            touched: Vec::new(),
            window,
            forget_at: window / 4,
            forgot: false,
            values_before: 0,
            violated: None,
            budget: Budget::new(options.time_limit, options.memory_limit),
        }
    }

    /// The key of the violation, if there is one.
    pub(super) fn violated(&self) -> Option<Option<Value>> {
        let key = self.lanes[self.violated? as usize].key;
        Some(key.present().map(|key| self.builder.history.pool.value(key)))
    }

    /// Something was invoked or completed.
    fn came(&mut self, kind: EventKind) -> Result<(), HistoryError> {
        let op = self.builder.last_operation().expect("just taken");
        if kind == EventKind::Invoke {
            validate(&self.builder.history, op, self.domain.name)?;
            let key = self.builder.history.keys[op.0 as usize];
            let lane = self.keys.of(key);
            if lane as usize == self.lanes.len() {
                self.lanes.push(Lane::new(key, self.init));
            }
            self.held.push(Held {
                lane,
                number: self.invoked,
            });
            self.invoked += 1;
        }
        self.pass();
        if kind != EventKind::Invoke {
            // What waited for this outcome waits no more.
            self.touch(self.held[op.0 as usize].lane);
        }
        self.advance();
        if self.held.len() >= self.forget_at {
            self.forget();
        }
        Ok(())
    }

    /// Hands on what has passed.
    fn pass(&mut self) {
        let mut passed = std::mem::take(&mut self.passed);
        self.builder.passed(&mut passed);
        for &(op, completes) in &passed {
            let lane = self.held[op.0 as usize].lane;
            self.lanes[lane as usize].put(&self.builder, op, completes);
            self.touch(lane);
        }
        self.passed = passed;
    }

    fn touch(&mut self, lane: u32) {
        if self.touched.last() != Some(&lane) {
            self.touched.push(lane);
        }
    }

    fn advance(&mut self) {
        while let Some(at) = self.touched.pop() {
            let lane = &mut self.lanes[at as usize];
            lane.advance(&mut self.builder, &self.domain);
            if lane.stuck.is_some() && self.violated.is_none() {
                self.violated = Some(at);
            }
        }
    }

    /// Judges everything that is new, now.
    pub(super) fn look(&mut self) {
        // What has the same time may still come, and would be at once with what is there. A clock on which nothing
        // has met so far is taken to be fine enough that nothing does.
        if !self.builder.has_met() {
            self.builder.end_instant();
        }
        self.pass();
        self.advance();
        for (at, lane) in self.lanes.iter_mut().enumerate() {
            if self.violated.is_none() {
                lane.look(&mut self.builder, &self.domain);
                self.violated = lane.stuck.map(|_| at as u32);
            }
        }
    }

    /// Which of the operations that are held some lane needs, and how many.
    fn needed(&self) -> (Vec<bool>, usize) {
        let (mut keep, mut count) = (vec![false; self.held.len()], 0);
        for op in self.lanes.iter().flat_map(Lane::held) {
            let keep = &mut keep[op.0 as usize];
            count += usize::from(!std::mem::replace(keep, true));
        }
        (keep, count)
    }

    /// Forgets operations that cannot matter any more.
    fn forget(&mut self) {
        self.forgot = true;
        let (mut keep, count) = self.needed();
        if count > self.window / 2 {
            // What hinders most goes first, and as little of it as will do.
            let mut order: Vec<usize> = (0..self.lanes.len()).collect();
            order.sort_by_key(|&at| std::cmp::Reverse(self.lanes[at].len()));
            let mut surplus = count - self.window / 2;
            for at in order {
                if surplus == 0 {
                    break;
                }
                let before = self.lanes[at].len() / 2;
                self.lanes[at].shed(&self.builder);
                surplus = surplus.saturating_sub(before.saturating_sub(self.lanes[at].len() / 2));
            }
            (keep, _) = self.needed();
        }
        let renumbering = self.builder.keep_only(keep, &mut self.values_before);
        let pool: &mut Pool = &mut self.builder.history.pool;
        let mut moved = false;
        for lane in &mut self.lanes {
            let before = lane.key;
            lane.renew(&renumbering, pool);
            moved |= lane.key != before;
        }
        self.init = renumbering.word(pool, self.init);
        if moved {
            self.keys = Numbers::default();
            for lane in &self.lanes {
                self.keys.of(lane.key);
            }
        }
        let mut at = 0;
        self.held.retain(|_| {
            at += 1;
            renumbering.keeps(at - 1)
        });
        self.forget_at = (self.window / 4).max(2 * self.held.len());
    }

    /// The verdict, now that nothing comes any more.
    pub(super) fn finish(mut self) -> Result<Analysis, CheckError> {
        if !self.forgot {
            return check(&self.builder.finish()?, &self.options);
        }
        self.builder.end_instant();
        self.pass();
        self.advance();
        let mut unknown = None;
        for at in 0..self.lanes.len() {
            if self.violated.is_some() {
                break;
            }
            let lane = &mut self.lanes[at];
            if !lane.finish(&mut self.builder, &self.domain, &mut self.budget.meter()) {
                unknown = unknown.or(Some(at));
            }
            if lane.stuck.is_some() {
                self.violated = Some(at as u32);
            }
        }
        let verdict = match (self.violated, unknown) {
            (Some(at), _) => Verdict::Illegal(Box::new(self.counterexample(at as usize))),
            (None, Some(at)) => Verdict::Unknown(self.limit(at)),
            (None, None) => Verdict::Linearizable(Witness::default()),
        };
        Ok(Analysis {
            verdict,
            model: self.domain.name.to_owned(),
            init: self.domain.rules.init.clone(),
            init_guessed: false,
            operations: usize::try_from(self.invoked).unwrap_or(usize::MAX),
            subhistories: self.lanes.len(),
            illegal_keys: Vec::new(),
            elapsed: self.budget.elapsed(),
        })
    }

    fn key_of(&self, lane: usize) -> Option<Value> {
        let key = self.lanes[lane].key.present();
        key.map(|key| self.builder.history.pool.value(key))
    }

    fn limit(&self, at: usize) -> Limit {
        let stand = self.lanes[at].stand(self.key_of(at));
        search_limit(&self.options, &self.budget, MEMORY, stand)
    }

    /// What is wrong, from what is held of the key: everything since a moment at which its value was certain.
    fn counterexample(&self, at: usize) -> Counterexample {
        let (lane, history) = (&self.lanes[at], &self.builder.history);
        let stuck = lane.stuck.expect("it is illegal");
        lane.since_anchor(&self.builder, &self.domain, |since, moments| {
            let illegal = is_illegal(history, since, moments, &mut self.budget.meter());
            let mut found = if illegal == Some(true) {
                explain::explain(history, since, moments, stuck, self.options.explain, &self.budget)
            } else {
                self.bare(at, stuck)
            };
            for operation in &mut found.operations {
                operation.id = self.number(operation.id);
            }
            for edge in &mut found.cycle {
                (edge.from, edge.to) = (self.number(edge.from), self.number(edge.to));
            }
            if let Some(time) = lane.anchored_at() {
                found.sentence += &format!(
                    " (everything up to {time} was explained, with {} as the only value that could be left; that is \
                     called the initial value here)",
                    since.rules.init
                );
            }
            found
        })
    }

    /// A violation of which nothing more can be shown from what is held.
    fn bare(&self, at: usize, stuck: OpId) -> Counterexample {
        let operation = self.builder.history.operation(stuck);
        let key = self
            .key_of(at)
            .map_or_else(String::new, |key| format!(" on key {key}"));
        let last_time = operation.completed_at().unwrap_or(operation.invoked_at());
        Counterexample {
            sentence: format!(
                "no order of the operations{key} explains {} of process {} from {} to {last_time}",
                operation.f(),
                operation.process(),
                operation.invoked_at()
            ),
            anomaly: Anomaly::NoOrder,
            key: self.key_of(at),
            init: self.domain.rules.init.clone(),
            operations: Vec::new(),
            prefix: Prefix {
                last_index: operation.completed_index().unwrap_or(operation.invoked_index()),
                last_time,
            },
            weakened: 0,
            dropped: 0,
            minimal: false,
            faults: Vec::new(),
            cycle: Vec::new(),
            stuck: Vec::new(),
        }
    }

    /// The number of an operation in the whole history.
    fn number(&self, op: OpId) -> OpId {
        OpId(u32::try_from(self.held[op.0 as usize].number).unwrap_or(u32::MAX))
    }

    /// How many operations are held.
    #[cfg(test)]
    pub(super) fn holds(&self) -> usize {
        self.held.len()
    }
}

impl Sink for Online {
    fn pool(&mut self) -> &mut Pool {
        &mut self.builder.history.pool
    }

    fn next_index(&self) -> u64 {
        self.builder.next_index()
    }

    fn push(&mut self, event: RawEvent<'_>) -> Result<(), HistoryError> {
        let kind = event.kind;
        self.builder.push(event)?;
        self.came(kind)
    }

    fn push_event(&mut self, event: Event, line: u64) -> Result<(), HistoryError> {
        let (process, kind) = (event.process, event.kind);
        self.builder.push_event(event, line)?;
        match process {
            Process::Nemesis => Ok(()),
            Process::Client(_) => self.came(kind),
        }
    }

    fn is_done(&self) -> bool {
        self.violated.is_some()
    }
}

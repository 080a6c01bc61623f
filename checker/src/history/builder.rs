//! Pairs events into operations, and refuses what cannot have happened.

use std::collections::BTreeMap;

use rustc_hash::FxHashMap;

use super::operation::{Details, Margin, NEVER, NO_INDEX, OpId, Outcome, Record};
use super::pool::{Pool, Word};
use super::{
    Event, EventKind, Flaw, Form, Header, History, HistoryError, Name, Nanos, Place, Process, ProcessId,
};

/// An event whose values are already in the builder's pool.
#[derive(Debug)]
pub(crate) struct RawEvent<'a> {
    pub(crate) line: u64,
    pub(crate) index: Option<u64>,
    pub(crate) time: Nanos,
    pub(crate) process: ProcessId,
    pub(crate) kind: EventKind,
    pub(crate) f: &'a str,
    pub(crate) key: Word,
    pub(crate) value: Word,
    pub(crate) error: Option<&'a str>,
    pub(crate) current: Word,
    pub(crate) rev: Option<i64>,
    pub(crate) node: Option<&'a str>,
    pub(crate) intended: Option<Nanos>,
}

/// Takes events one by one, in the order of the history.
#[derive(Debug)]
pub(crate) struct Builder {
    pub(crate) history: History,
    open: OpenOperations,
    /// The operation that each process completed last, only for those that completed in the present instant.
    completed_now: FxHashMap<ProcessId, OpId>,
    last_index: Option<u64>,
    last_time: Nanos,
    /// The events of the present instant, to be put in order when it is over: invocations first.
    instant: Vec<(OpId, Side)>,
    /// Whether an instant that is over had several events.
    met: bool,
    /// How many of `same_instant` are of earlier instants.
    earlier_ties: usize,
    next_place: u32,
    /// The operation that was invoked or completed last.
    last: Option<OpId>,
    /// Where the order of instants that are over is told, if anybody wants to know: each operation, and whether
    /// it is its completion.
    passed: Option<Vec<(OpId, bool)>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Invocation,
    Completion,
}

impl Builder {
    pub(crate) fn new(header: Header, form: Form, file: Option<String>) -> Builder {
        let history = History {
            header,
            form,
            file,
            records: Vec::new(),
            keys: Vec::new(),
            margins: Vec::new(),
            details: Vec::new(),
            pool: Pool::default(),
            functions: Vec::new(),
            nodes: Vec::new(),
            errors: Vec::new(),
            same_instant: Vec::new(),
            nemesis: Vec::new(),
            other: BTreeMap::new(),
        };
        Builder {
            history,
            open: OpenOperations::default(),
            completed_now: FxHashMap::default(),
            last_index: None,
            last_time: Nanos(0),
            instant: Vec::new(),
            met: false,
            earlier_ties: 0,
            next_place: 0,
            last: None,
            passed: None,
        }
    }

    /// Notes from now on in which order events pass; [`Builder::passed`] tells.
    pub(crate) fn note_order(&mut self) {
        self.passed = Some(Vec::new());
    }

    /// What has passed since this was asked last, in its order, into a list that is emptied first. Completions of
    /// unknown outcome do not pass.
    pub(crate) fn passed(&mut self, into: &mut Vec<(OpId, bool)>) {
        into.clear();
        if let Some(passed) = &mut self.passed {
            std::mem::swap(passed, into);
        }
    }

    /// The operation that was invoked or completed last.
    pub(crate) fn last_operation(&self) -> Option<OpId> {
        self.last
    }

    /// The operations that are open, and those that something happened to in the instant that is not over.
    pub(super) fn in_work(&self) -> Vec<OpId> {
        let mut all: Vec<OpId> = self.open.all().collect();
        all.extend(self.instant.iter().map(|&(id, _)| id));
        all.extend(self.completed_now.values());
        all
    }

    /// Operations have other numbers now; those that are gone have none.
    pub(super) fn renumber(&mut self, ids: &[u32]) {
        let renew = |id: &mut OpId| id.0 = ids[id.0 as usize];
        self.open.renumber(ids);
        self.completed_now.values_mut().for_each(renew);
        self.instant.iter_mut().for_each(|(id, _)| renew(id));
        let is_kept = |id: OpId| ids[id.0 as usize] != NEVER;
        let mut at = 0;
        let earlier = self.earlier_ties;
        self.history.same_instant.retain(|&(later, before)| {
            let kept = is_kept(later) && is_kept(before);
            at += 1;
            self.earlier_ties -= usize::from(!kept && at <= earlier);
            kept
        });
        for (later, before) in &mut self.history.same_instant {
            renew(later);
            renew(before);
        }
        self.last = self
            .last
            .filter(|&id| is_kept(id))
            .map(|id| OpId(ids[id.0 as usize]));
    }

    /// Adds an event of any process.
    pub(crate) fn push_event(&mut self, event: Event, line: u64) -> Result<(), HistoryError> {
        match event.process {
            Process::Nemesis => self.push_nemesis(event, line),
            Process::Client(process) => {
                let key = event.key.map_or(Word::ABSENT, |key| self.history.pool.add(key));
                let key = if key == Word::ABSENT {
                    key
                } else {
                    self.history.pool.settled(key)
                };
                let raw = RawEvent {
                    line,
                    index: Some(event.index),
                    time: event.time,
                    process,
                    kind: event.kind,
                    f: &event.f,
                    key,
                    value: self.history.pool.add(event.value),
                    error: event.error.as_deref(),
                    current: event
                        .current
                        .map_or(Word::ABSENT, |current| self.history.pool.add(current)),
                    rev: event.rev,
                    node: event.node.as_deref(),
                    intended: event.intended,
                };
                let index = self.push(raw)?;
                self.keep_other(index, event.other);
                Ok(())
            }
        }
    }

    /// Adds what the nemesis did. An index that is not above the last is replaced where the form has none.
    pub(crate) fn push_nemesis(&mut self, mut event: Event, line: u64) -> Result<(), HistoryError> {
        event.index = self.order(Some(event.index), event.time, line)?;
        self.history.nemesis.push(event);
        Ok(())
    }

    /// Adds an event of a client and returns its index.
    pub(crate) fn push(&mut self, event: RawEvent<'_>) -> Result<u64, HistoryError> {
        let index = self.order(event.index, event.time, event.line)?;
        match event.kind {
            EventKind::Invoke => self.invoke(event, index)?,
            EventKind::Ok => self.complete(event, index, Outcome::Ok)?,
            EventKind::Fail => self.complete(event, index, Outcome::Fail)?,
            EventKind::Info => self.complete(event, index, Outcome::Info)?,
        }
        Ok(index)
    }

    /// Keeps the fields of an event that no verdict needs.
    pub(crate) fn keep_other(&mut self, index: u64, other: serde_json::Map<String, serde_json::Value>) {
        if !other.is_empty() {
            self.history.other.insert(index, other);
        }
    }

    /// Operations that are still open have an unknown outcome.
    pub(crate) fn finish(mut self) -> Result<History, HistoryError> {
        self.end_instant();
        Ok(self.history)
    }

    /// The index of the next event, if the history has none of its own.
    pub(crate) fn next_index(&self) -> u64 {
        self.last_index.map_or(0, |last| last + 1)
    }

    fn order(&mut self, index: Option<u64>, time: Nanos, line: u64) -> Result<u64, HistoryError> {
        let index = index.unwrap_or_else(|| self.next_index());
        if let Some(before) = self.last_index
            && before >= index
        {
            let flaw = if before == index {
                Flaw::IndexTwice(index)
            } else {
                Flaw::IndexBackwards { before, now: index }
            };
            return Err(self.malformed(line, flaw));
        }
        self.last_index = Some(index);
        if self.history.form == Form::Ordeal && time != self.last_time {
            if time < self.last_time {
                let flaw = Flaw::TimeBackwards {
                    before: self.last_time.0,
                    now: time.0,
                };
                return Err(self.malformed(line, flaw));
            }
            self.end_instant();
            self.last_time = time;
        }
        Ok(index)
    }

    fn invoke(&mut self, event: RawEvent<'_>, index: u64) -> Result<(), HistoryError> {
        let id = OpId(u32::try_from(self.history.records.len()).expect("places are counted below"));
        if let Some(open) = self.open.get(event.process) {
            let record = &self.history.records[open.0 as usize];
            let flaw = Flaw::TwoOpenInvocations {
                process: event.process.0,
                f: event.f.to_owned(),
                open_f: self.history.functions[usize::from(record.f)].to_string(),
                open_line: self.history.operation(open).line(),
            };
            return Err(self.malformed(event.line, flaw));
        }
        if let Some(&before) = self.completed_now.get(&event.process) {
            self.history.same_instant.push((id, before));
        }
        let margin = Margin {
            process: event.process,
            invoked_at: event.time,
            completed_at: event.time,
            invoked_index: index,
            completed_index: NO_INDEX,
            line: u32::try_from(event.line).unwrap_or(u32::MAX),
            error: NEVER,
            node: self.node(event.node, event.line)?,
        };
        let record = Record {
            input: event.value,
            output: Word::NIL,
            invoked: NEVER,
            completed: NEVER,
            details: NEVER,
            f: self.function(event.f, event.line)?,
            outcome: Outcome::Info,
            answered: false,
            mismatched: false,
        };
        self.history.records.push(record);
        self.history.keys.push(event.key);
        self.history.margins.push(margin);
        if event.rev.is_some() || event.intended.is_some() {
            let details = self.details(id);
            details.asked_rev = event.rev;
            details.intended = event.intended;
        }
        self.open.put(event.process, id);
        self.last = Some(id);
        self.put(id, Side::Invocation, event.line)
    }

    fn complete(&mut self, event: RawEvent<'_>, index: u64, outcome: Outcome) -> Result<(), HistoryError> {
        let Some(id) = self.open.take(event.process) else {
            let (process, f, kind) = (event.process.0, event.f.to_owned(), event.kind.as_str());
            return Err(self.malformed(event.line, Flaw::CompletionWithoutInvocation { process, f, kind }));
        };
        self.last = Some(id);
        self.same_as_invoked(&event, id)?;
        let node = self.node(event.node, event.line)?;
        let error = self.error(event.error, event.line)?;
        let record = &mut self.history.records[id.0 as usize];
        record.output = event.value;
        record.outcome = outcome;
        record.answered = true;
        record.mismatched = event.error == Some("mismatch");
        let margin = &mut self.history.margins[id.0 as usize];
        margin.completed_at = event.time;
        margin.completed_index = index;
        margin.error = error;
        if node != u16::MAX {
            margin.node = node;
        }
        if event.rev.is_some() || event.current != Word::ABSENT {
            let details = self.details(id);
            details.told_rev = event.rev;
            details.current = event.current;
        }
        if outcome != Outcome::Info {
            if self.history.form == Form::Ordeal {
                self.completed_now.insert(event.process, id);
            }
            self.put(id, Side::Completion, event.line)?;
        }
        Ok(())
    }

    /// A completion may leave out function and key; what it says must be what was asked.
    fn same_as_invoked(&self, event: &RawEvent<'_>, id: OpId) -> Result<(), HistoryError> {
        let record = &self.history.records[id.0 as usize];
        let (key, process) = (self.history.keys[id.0 as usize], event.process.0);
        let open_line = || self.history.operation(id).line();
        let invoked: &str = &self.history.functions[usize::from(record.f)];
        if *invoked != *event.f {
            let (found, invoked) = (event.f.to_owned(), invoked.to_owned());
            let flaw = Flaw::CompletesAnother {
                process,
                what: "function",
                found,
                invoked,
                open_line: open_line(),
            };
            return Err(self.malformed(event.line, flaw));
        }
        if event.key != Word::ABSENT && event.key != key {
            let found = self.history.pool.value(event.key).to_string();
            let invoked = key.present().map_or("(none)".to_owned(), |key| {
                self.history.pool.value(key).to_string()
            });
            let flaw = Flaw::CompletesAnother {
                process,
                what: "key",
                found,
                invoked,
                open_line: open_line(),
            };
            return Err(self.malformed(event.line, flaw));
        }
        Ok(())
    }

    fn put(&mut self, id: OpId, side: Side, line: u64) -> Result<(), HistoryError> {
        if self.next_place >= NEVER - 1 {
            return Err(self.malformed(
                line,
                Flaw::TooMuch("more than four thousand million events; cut the history"),
            ));
        }
        match side {
            Side::Invocation => self.history.records[id.0 as usize].invoked = self.next_place,
            Side::Completion => self.history.records[id.0 as usize].completed = self.next_place,
        }
        self.next_place += 1;
        if self.history.form == Form::Ordeal {
            self.instant.push((id, side));
        }
        Ok(())
    }

    /// Whether several events have had one time.
    pub(crate) fn has_met(&self) -> bool {
        self.met || self.instant.len() > 1
    }

    /// Within one instant every invocation counts as before every completion, except that a process does one
    /// thing after another.
    ///
    /// A process that completed `a` and invoked `b` in one instant is a tie. One tie can be put into the order
    /// exactly: the other invocations, the completion of `a`, the invocation of `b`, the other completions. That
    /// is nearly every tie there is; two of one instant contradict each other and stay in `same_instant`.
    pub(crate) fn end_instant(&mut self) {
        if self.instant.len() > 1 {
            self.met = true;
            let ties = &self.history.same_instant[self.earlier_ties..];
            let tie = if let &[tie] = ties { Some(tie) } else { None };
            if tie.is_some() {
                self.history.same_instant.pop();
            }
            let turn = |&(id, side): &(OpId, Side)| match (side, tie) {
                (Side::Completion, Some((_, before))) if id == before => 1,
                (Side::Invocation, Some((later, _))) if id == later => 2,
                (Side::Invocation, _) => 0,
                (Side::Completion, _) => 3,
            };
            self.instant.sort_by_key(turn);
            let count = u32::try_from(self.instant.len()).expect("places are counted above");
            for (&(id, side), place) in self.instant.iter().zip(self.next_place - count..) {
                let record = &mut self.history.records[id.0 as usize];
                match side {
                    Side::Invocation => record.invoked = place,
                    Side::Completion => record.completed = place,
                }
            }
        }
        if let Some(passed) = &mut self.passed {
            let order = self.instant.iter();
            passed.extend(order.map(|&(id, side)| (id, side == Side::Completion)));
        }
        self.earlier_ties = self.history.same_instant.len();
        self.instant.clear();
        self.completed_now.clear();
    }

    fn details(&mut self, id: OpId) -> &mut Details {
        let record = &mut self.history.records[id.0 as usize];
        if record.details == NEVER {
            record.details = self.history.details.len() as u32;
            let nothing = Details {
                current: Word::ABSENT,
                asked_rev: None,
                told_rev: None,
                intended: None,
            };
            self.history.details.push(nothing);
        }
        &mut self.history.details[record.details as usize]
    }

    fn function(&mut self, f: &str, line: u64) -> Result<u8, HistoryError> {
        let known = self.history.functions.iter().position(|known| *known == *f);
        let at = known.unwrap_or(self.history.functions.len());
        if known.is_none() {
            self.history.functions.push(Name::from(f.to_owned()));
        }
        u8::try_from(at).map_err(|_| self.malformed(line, Flaw::TooMuch("more than 256 different functions")))
    }

    fn node(&mut self, node: Option<&str>, line: u64) -> Result<u16, HistoryError> {
        let Some(node) = node else { return Ok(u16::MAX) };
        let known = self.history.nodes.iter().position(|known| known == node);
        let at = known.unwrap_or(self.history.nodes.len());
        if at >= usize::from(u16::MAX) {
            return Err(self.malformed(line, Flaw::TooMuch("more than 65,534 different nodes")));
        }
        if known.is_none() {
            self.history.nodes.push(node.to_owned());
        }
        Ok(at as u16)
    }

    fn error(&mut self, error: Option<&str>, line: u64) -> Result<u32, HistoryError> {
        let Some(error) = error else { return Ok(NEVER) };
        // Errors are few and come in runs; those that are all different are kept one by one.
        let recent = self.history.errors.len().saturating_sub(RECENT_ERRORS);
        let known = self.history.errors[recent..]
            .iter()
            .position(|known| known == error);
        let at = known.map_or(self.history.errors.len(), |at| recent + at);
        if known.is_none() {
            self.history.errors.push(error.to_owned());
        }
        u32::try_from(at).map_err(|_| self.malformed(line, Flaw::TooMuch("too many different errors")))
    }

    pub(crate) fn malformed(&self, line: u64, flaw: Flaw) -> HistoryError {
        HistoryError::Malformed {
            place: Place {
                file: self.history.file.clone(),
                line,
                column: None,
            },
            flaw,
        }
    }
}

/// How far back the same error text is looked for.
const RECENT_ERRORS: usize = 32;

/// Which operation each process has open.
#[derive(Debug, Default)]
struct OpenOperations {
    small: Vec<u32>,
    large: FxHashMap<u64, u32>,
}

/// Process ids below this are looked up in a table.
const SMALL_PROCESS: u64 = 1 << 16;

impl OpenOperations {
    fn get(&self, process: ProcessId) -> Option<OpId> {
        let found = if process.0 < SMALL_PROCESS {
            self.small
                .get(process.0 as usize)
                .copied()
                .filter(|&id| id != NEVER)
        } else {
            self.large.get(&process.0).copied()
        };
        found.map(OpId)
    }

    fn put(&mut self, process: ProcessId, id: OpId) {
        if process.0 < SMALL_PROCESS {
            let at = process.0 as usize;
            if at >= self.small.len() {
                self.small.resize(at + 1, NEVER);
            }
            self.small[at] = id.0;
        } else {
            self.large.insert(process.0, id.0);
        }
    }

    fn all(&self) -> impl Iterator<Item = OpId> {
        let small = self.small.iter().copied().filter(|&id| id != NEVER);
        small.chain(self.large.values().copied()).map(OpId)
    }

    fn renumber(&mut self, ids: &[u32]) {
        let open = self.small.iter_mut().filter(|id| **id != NEVER);
        for id in open.chain(self.large.values_mut()) {
            *id = ids[*id as usize];
        }
    }

    fn take(&mut self, process: ProcessId) -> Option<OpId> {
        let found = self.get(process)?;
        if process.0 < SMALL_PROCESS {
            self.small[process.0 as usize] = NEVER;
        } else {
            self.large.remove(&process.0);
        }
        Some(found)
    }
}

//! Histories of simulated transactional stores, sound and less so, for tests and benchmarks that anyone can
//! repeat. One seed decides everything.

use std::collections::BTreeMap;

use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};

use crate::history::{Event, EventKind, Header, History, Nanos, ProcessId, Value};

/// What to simulate.
#[derive(Clone, Debug)]
pub struct TransactionSimulation {
    /// Decides everything that is left to chance.
    pub seed: u64,
    /// How many transactions are invoked.
    pub transactions: u64,
    /// How many run at once.
    pub processes: usize,
    /// How many keys are in use at a time.
    pub keys: u64,
    /// After so many writes a key is left alone and a new one takes its place.
    pub writes_per_key: u64,
    /// The most steps of one transaction; the least is one.
    pub steps: usize,
    /// Lists or registers.
    pub workload: Workload,
    /// The store.
    pub store: Store,
    /// The share of transactions whose outcome nobody learns, from 0 to 1; some of them take effect later.
    pub unknown: f64,
    /// The share of transactions that are aborted for no reason, from 0 to 1.
    pub aborted: f64,
}

/// What transactions read and write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Workload {
    /// Lists, appended to.
    ListAppend,
    /// Registers, overwritten.
    RwRegister,
}

/// How well a store isolates transactions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Store {
    /// All at once, between invocation and completion.
    StrictSerializable,
    /// Those that only read may do so in a past that lies up to so many commits back.
    StaleReads(u64),
    /// Snapshots; of two that write one key at a time the first to commit wins.
    SnapshotIsolation,
    /// Two sites, each with its own order of the other one's commits.
    ParallelSnapshotIsolation,
    /// Snapshots, and everybody wins.
    LostUpdates,
    /// Every read sees what is committed at that moment; writers lock.
    ReadCommitted,
    /// Every read sees everything, of running and of aborted transactions too; writers lock.
    ReadUncommitted,
    /// Everybody writes at once.
    DirtyWrites,
}

impl Default for TransactionSimulation {
    fn default() -> Self {
        TransactionSimulation {
            seed: 1,
            transactions: 1000,
            processes: 10,
            keys: 5,
            writes_per_key: 32,
            steps: 4,
            workload: Workload::ListAppend,
            store: Store::StrictSerializable,
            unknown: 0.0,
            aborted: 0.0,
        }
    }
}

impl TransactionSimulation {
    /// Runs it.
    pub fn run(&self) -> History {
        let mut run = Run {
            rng: ChaCha8Rng::seed_from_u64(self.seed),
            plan: self,
            keys: BTreeMap::new(),
            active: (0..self.keys).collect(),
            next_key: self.keys,
            next_value: BTreeMap::new(),
            commits: [0, 0],
            applied: [0, 0],
            running: Vec::new(),
            next_process: self.processes as u64,
            invoked: 0,
            time: 0,
            events: Vec::new(),
        };
        for process in 0..self.processes as u64 {
            run.running.push(Running::idle(process));
        }
        while !run.running.is_empty() {
            let at = run.rng.random_range(0..run.running.len());
            run.advance(at);
        }
        let mut header = Header::for_model(match self.workload {
            Workload::ListAppend => "list-append",
            Workload::RwRegister => "rw-register",
        });
        header.seed = Some(self.seed);
        header.system = Some(format!("{:?}", self.store));
        History::from_events(header, run.events).expect("processes do one thing at a time")
    }
}

/// A write that is in the store: by whom, and at which commit of which site it became visible.
#[derive(Clone, Copy, Debug)]
struct Version {
    value: i64,
    site: usize,
    /// `None` while its transaction runs.
    commit: Option<u64>,
    /// The number of the transaction.
    by: u64,
}

#[derive(Clone, Copy, Debug)]
struct Step {
    key: u64,
    /// `None` reads.
    write: Option<i64>,
}

/// A process, or a transaction that goes on although its process has given it up.
#[derive(Debug)]
struct Running {
    process: u64,
    /// Nobody waits for it any more.
    abandoned: bool,
    transaction: Option<Ongoing>,
}

#[derive(Debug)]
struct Ongoing {
    number: u64,
    steps: Vec<Step>,
    seen: Vec<Value>,
    snapshot: Option<[u64; 2]>,
    done: usize,
}

impl Running {
    fn idle(process: u64) -> Running {
        Running {
            process,
            abandoned: false,
            transaction: None,
        }
    }
}

struct Run<'p> {
    rng: ChaCha8Rng,
    plan: &'p TransactionSimulation,
    keys: BTreeMap<u64, Vec<Version>>,
    active: Vec<u64>,
    next_key: u64,
    next_value: BTreeMap<u64, i64>,
    /// How many transactions each site has committed.
    commits: [u64; 2],
    /// How many of the other site's commits each site has applied.
    applied: [u64; 2],
    running: Vec<Running>,
    next_process: u64,
    invoked: u64,
    time: u64,
    events: Vec<Event>,
}

impl Run<'_> {
    /// Lets one process do the next thing.
    fn advance(&mut self, at: usize) {
        self.time += self.rng.random_range(0..3);
        if self.plan.store == Store::ParallelSnapshotIsolation && self.rng.random_bool(0.1) {
            let site = self.rng.random_range(0..2);
            self.applied[site] = self.rng.random_range(self.applied[site]..=self.commits[1 - site]);
        }
        let Some(mut ongoing) = self.running[at].transaction.take() else {
            return self.invoke(at);
        };
        let site = self.site(&self.running[at]);
        if ongoing.snapshot.is_none() {
            ongoing.snapshot = Some(self.now(site));
        } else if self.at_once() {
            ongoing.done = ongoing.steps.len();
        }
        if ongoing.done < ongoing.steps.len() {
            if !self.step(site, &mut ongoing) {
                return self.finish(at, ongoing, false);
            }
            ongoing.done += 1;
            self.running[at].transaction = Some(ongoing);
            return;
        }
        let gives_up = !self.running[at].abandoned && self.rng.random_bool(self.plan.unknown);
        if gives_up {
            let process = self.running[at].process;
            self.event(
                process,
                EventKind::Info,
                asked(&ongoing.steps, self.plan.workload),
            );
            let fresh = self.next_process;
            self.next_process += 1;
            self.running.push(Running::idle(fresh));
            self.running[at].abandoned = true;
            self.running[at].transaction = Some(ongoing);
            return;
        }
        let lost = self.running[at].abandoned && self.rng.random_bool(0.5);
        let aborted = lost || self.rng.random_bool(self.plan.aborted);
        let committed = !aborted && self.commit(site, &mut ongoing);
        self.finish(at, ongoing, committed);
    }

    /// Whether a whole transaction takes effect in one moment.
    fn at_once(&self) -> bool {
        matches!(self.plan.store, Store::StrictSerializable | Store::StaleReads(_))
    }

    fn site(&self, running: &Running) -> usize {
        match self.plan.store {
            Store::ParallelSnapshotIsolation => (running.process % 2) as usize,
            _ => 0,
        }
    }

    fn now(&self, site: usize) -> [u64; 2] {
        let mut now = self.commits;
        if self.plan.store == Store::ParallelSnapshotIsolation {
            now[1 - site] = self.applied[site];
        }
        now
    }

    fn invoke(&mut self, at: usize) {
        if self.invoked == self.plan.transactions {
            self.running.swap_remove(at);
            return;
        }
        let number = self.invoked;
        self.invoked += 1;
        let count = self.rng.random_range(1..=self.plan.steps);
        let site = self.site(&self.running[at]);
        let steps: Vec<Step> = (0..count).map(|_| self.new_step(site)).collect();
        self.event(
            self.running[at].process,
            EventKind::Invoke,
            asked(&steps, self.plan.workload),
        );
        self.running[at].transaction = Some(Ongoing {
            number,
            seen: vec![Value::Nil; steps.len()],
            steps,
            snapshot: None,
            done: 0,
        });
    }

    fn new_step(&mut self, site: usize) -> Step {
        let place = self.rng.random_range(0..self.active.len());
        let key = self.active[place];
        let mine = self.plan.store != Store::ParallelSnapshotIsolation || key % 2 == site as u64;
        if !mine || self.rng.random_bool(0.5) {
            return Step { key, write: None };
        }
        let next = self.next_value.entry(key).or_insert(1);
        let value = *next;
        *next += 1;
        if *next > self.plan.writes_per_key as i64 {
            self.active[place] = self.next_key;
            self.next_key += 1;
        }
        Step {
            key,
            write: Some(value),
        }
    }

    /// Does one step of a transaction that takes its time; false if it is in somebody's way.
    fn step(&mut self, site: usize, ongoing: &mut Ongoing) -> bool {
        let step = ongoing.steps[ongoing.done];
        let locks = matches!(self.plan.store, Store::ReadCommitted | Store::ReadUncommitted);
        let in_place = locks || self.plan.store == Store::DirtyWrites;
        match step.write {
            None => ongoing.seen[ongoing.done] = self.read(step.key, ongoing),
            Some(value) if in_place => {
                let versions = self.keys.entry(step.key).or_default();
                let locked = versions
                    .iter()
                    .any(|version| version.commit.is_none() && version.by != ongoing.number);
                if locks && locked {
                    return false;
                }
                versions.push(Version {
                    value,
                    site,
                    commit: None,
                    by: ongoing.number,
                });
            }
            Some(_) => {}
        }
        true
    }

    /// What a read sees now, its transaction's own earlier writes included.
    fn read(&self, key: u64, ongoing: &Ongoing) -> Value {
        let snapshot = ongoing.snapshot.expect("taken before the first step");
        let versions = self.keys.get(&key).map(Vec::as_slice).unwrap_or_default();
        let visible = |version: &&Version| match self.plan.store {
            Store::ReadUncommitted | Store::DirtyWrites => true,
            Store::ReadCommitted => version.commit.is_some() || version.by == ongoing.number,
            _ => version
                .commit
                .is_some_and(|commit| commit <= snapshot[version.site]),
        };
        let mut values: Vec<i64> = versions
            .iter()
            .filter(visible)
            .map(|version| version.value)
            .collect();
        let buffered = !matches!(
            self.plan.store,
            Store::ReadUncommitted | Store::DirtyWrites | Store::ReadCommitted
        );
        if buffered {
            let own = ongoing.steps[..ongoing.done]
                .iter()
                .filter(|step| step.key == key);
            values.extend(own.filter_map(|step| step.write));
        }
        match self.plan.workload {
            Workload::ListAppend => Value::List(values.into_iter().map(Value::Int).collect()),
            Workload::RwRegister => values.last().map_or(Value::Nil, |&value| Value::Int(value)),
        }
    }

    /// Makes a transaction's writes visible; false if it lost against another one.
    fn commit(&mut self, site: usize, ongoing: &mut Ongoing) -> bool {
        let mut snapshot = ongoing.snapshot.expect("taken before the first step");
        if self.at_once() {
            snapshot = self.commits;
            if let Store::StaleReads(lag) = self.plan.store
                && ongoing.steps.iter().all(|step| step.write.is_none())
            {
                snapshot[0] -= self.rng.random_range(0..=lag.min(snapshot[0]));
            }
            ongoing.snapshot = Some(snapshot);
            for at in 0..ongoing.steps.len() {
                ongoing.done = at;
                if ongoing.steps[at].write.is_none() {
                    ongoing.seen[at] = self.read(ongoing.steps[at].key, ongoing);
                }
            }
        }
        let first_wins = matches!(
            self.plan.store,
            Store::SnapshotIsolation | Store::ParallelSnapshotIsolation
        );
        let beaten = |step: &Step| {
            let versions = self.keys.get(&step.key).map(Vec::as_slice).unwrap_or_default();
            step.write.is_some()
                && versions
                    .iter()
                    .any(|version| version.commit > Some(snapshot[version.site]))
        };
        if first_wins && ongoing.steps.iter().any(beaten) {
            return false;
        }
        self.commits[site] += 1;
        let commit = Some(self.commits[site]);
        for step in &ongoing.steps {
            let Some(value) = step.write else { continue };
            let versions = self.keys.entry(step.key).or_default();
            match versions.iter_mut().find(|version| version.value == value) {
                Some(version) => version.commit = commit,
                None => versions.push(Version {
                    value,
                    site,
                    commit,
                    by: ongoing.number,
                }),
            }
        }
        true
    }

    /// Ends a transaction and tells its process, if that still waits.
    fn finish(&mut self, at: usize, ongoing: Ongoing, committed: bool) {
        if !committed {
            for step in &ongoing.steps {
                let versions = self.keys.entry(step.key).or_default();
                versions.retain(|version| version.by != ongoing.number);
            }
        }
        if self.running[at].abandoned {
            self.running.swap_remove(at);
            return;
        }
        let process = self.running[at].process;
        if committed {
            let told = self.told(&ongoing);
            self.event(process, EventKind::Ok, told);
        } else {
            self.event(
                process,
                EventKind::Fail,
                asked(&ongoing.steps, self.plan.workload),
            );
        }
    }

    fn told(&self, ongoing: &Ongoing) -> Value {
        let steps = ongoing.steps.iter().zip(&ongoing.seen);
        Value::List(
            steps
                .map(|(step, seen)| written(step, seen, self.plan.workload))
                .collect(),
        )
    }

    fn event(&mut self, process: u64, kind: EventKind, value: Value) {
        let index = self.events.len() as u64;
        self.time += 1;
        let event = Event::new(index, Nanos(self.time), ProcessId(process), kind, "txn", value);
        self.events.push(event);
    }
}

fn asked(steps: &[Step], workload: Workload) -> Value {
    Value::List(
        steps
            .iter()
            .map(|step| written(step, &Value::Nil, workload))
            .collect(),
    )
}

fn written(step: &Step, seen: &Value, workload: Workload) -> Value {
    let key = Value::Int(step.key as i64);
    let (f, value) = match (step.write, workload) {
        (None, _) => ("r", seen.clone()),
        (Some(value), Workload::ListAppend) => ("append", Value::Int(value)),
        (Some(value), Workload::RwRegister) => ("w", Value::Int(value)),
    };
    Value::List(vec![Value::from(f), key, value])
}

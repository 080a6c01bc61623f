//! Histories of simulated stores, healthy and broken, for tests and benchmarks that anyone can repeat.
//!
//! A few processes do one operation after another; each operation takes effect at one moment between its
//! invocation and its completion, except where a [`Bug`] has it otherwise. One seed decides everything.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use rand::rngs::ChaCha8Rng;
use rand::{Rng, RngExt, SeedableRng};
use rustc_hash::FxHashMap;

use crate::history::{Event, EventKind, Header, History, HistoryError, Name, Nanos, ProcessId, Value};

/// What to simulate.
#[derive(Clone, Debug)]
pub struct Simulation {
    /// Decides everything that is left to chance.
    pub seed: u64,
    /// How many operations are invoked.
    pub operations: u64,
    /// How many processes run at once.
    pub processes: u64,
    /// How many keys there are; with one, operations carry no key.
    pub keys: u64,
    /// Which values are written.
    pub values: Values,
    /// How often each function is called.
    pub mix: Mix,
    /// The share of operations whose outcome nobody learns, from 0 to 1.
    pub unknown: f64,
    /// The share of an operation's average time that its process rests before the next: 0 keeps all of them busy.
    pub rest: f64,
    /// Times are cut to multiples of so many nanoseconds.
    pub clock: u64,
    /// Whether a failed cas tells what it found.
    pub tells_current: bool,
    /// What is wrong with the store.
    pub bug: Bug,
}

/// Which values are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Values {
    /// One of so many, at random.
    Few(u64),
    /// Each only once per key.
    Distinct,
}

/// How often each function is called, relative to the others.
#[derive(Clone, Copy, Debug, Default)]
pub struct Mix {
    /// `get`.
    pub get: u32,
    /// `set`.
    pub set: u32,
    /// `cas`; it expects what the process last saw of the key, or a random value.
    pub cas: u32,
    /// `append`.
    pub append: u32,
    /// `delete`.
    pub delete: u32,
}

/// What is wrong with a store.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Bug {
    /// Nothing.
    None,
    /// This share of reads returns an older value.
    StaleReads(f64),
    /// This share of writes is acknowledged and lost.
    LostUpdates(f64),
    /// This share of cas compares first and writes later.
    SplitCas(f64),
    /// This share of results is made up.
    Noise(f64),
}

impl Default for Simulation {
    fn default() -> Self {
        Simulation {
            seed: 0,
            operations: 1000,
            processes: 5,
            keys: 1,
            values: Values::Few(5),
            mix: Mix {
                get: 1,
                set: 1,
                cas: 1,
                ..Mix::default()
            },
            unknown: 0.0,
            rest: 0.0,
            clock: 1,
            tells_current: false,
            bug: Bug::None,
        }
    }
}

impl Simulation {
    /// The header of such a history.
    pub fn header(&self) -> Header {
        let mut header = Header::for_model(if self.keys > 1 { "kv" } else { "cas-register" });
        header.seed = Some(self.seed);
        header.system = Some("simulation".to_owned());
        header
    }

    /// The events one after another; memory does not grow with their number.
    pub fn events(&self) -> Events {
        Events::new(self.clone())
    }

    /// The whole history.
    ///
    /// # Errors
    /// None that a simulation makes; the constructor of histories checks all the same.
    pub fn history(&self) -> Result<History, HistoryError> {
        History::from_events(self.header(), self.events().collect())
    }
}

/// The events of a simulation.
#[derive(Debug)]
pub struct Events {
    what: Simulation,
    random: ChaCha8Rng,
    agenda: BinaryHeap<Reverse<(u64, u64, Due)>>,
    processes: Vec<Running>,
    /// Effects of operations that nobody waits for any more.
    late: FxHashMap<u64, Asked>,
    next_late: u64,
    keys: FxHashMap<u64, Register>,
    invoked: u64,
    next_process: u64,
    next_value: i64,
    next_index: u64,
    /// Events of one moment, to be handed out.
    ready: VecDeque<Event>,
}

/// What is due; of several at one moment the first goes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Due {
    Effect,
    Complete,
    Late,
    Invoke,
}

/// A process with its operation.
#[derive(Clone, Debug)]
struct Running {
    id: u64,
    last_seen: Value,
    asked: Option<Asked>,
    result: Option<Came>,
}

#[derive(Clone, Debug)]
struct Asked {
    f: &'static str,
    key: u64,
    value: Value,
    lost: bool,
}

#[derive(Clone, Debug)]
struct Came {
    kind: EventKind,
    value: Value,
    current: Option<Value>,
}

/// The value of a key and some that it had.
#[derive(Clone, Debug, Default)]
struct Register {
    value: Value,
    older: VecDeque<Value>,
}

const OLDER_KEPT: usize = 8;
/// The average time between invocation and completion.
const TYPICAL: u64 = 1_000_000;

impl Events {
    fn new(what: Simulation) -> Events {
        let mut random = ChaCha8Rng::seed_from_u64(what.seed);
        let mut agenda = BinaryHeap::new();
        let mut processes = Vec::new();
        for slot in 0..what.processes {
            agenda.push(Reverse((random.random_range(0..TYPICAL), slot, Due::Invoke)));
            processes.push(Running {
                id: slot,
                last_seen: Value::Nil,
                asked: None,
                result: None,
            });
        }
        Events {
            next_process: what.processes,
            what,
            random,
            agenda,
            processes,
            late: FxHashMap::default(),
            next_late: 0,
            keys: FxHashMap::default(),
            invoked: 0,
            next_value: 0,
            next_index: 0,
            ready: VecDeque::new(),
        }
    }

    fn chance(&mut self, share: f64) -> bool {
        share > 0.0 && self.random.random::<f64>() < share
    }

    fn fresh_value(&mut self) -> Value {
        match self.what.values {
            Values::Few(count) => Value::Int(self.random.random_range(0..count) as i64),
            Values::Distinct => {
                self.next_value += 1;
                Value::Int(self.next_value)
            }
        }
    }

    fn ask(&mut self, slot: usize) -> Asked {
        let mix = self.what.mix;
        let key = self.random.random_range(0..self.what.keys);
        let all = mix.get + mix.set + mix.cas + mix.append + mix.delete;
        let mut at = self.random.random_range(0..all);
        let mut chosen = "delete";
        for (f, weight) in [
            ("get", mix.get),
            ("set", mix.set),
            ("cas", mix.cas),
            ("append", mix.append),
        ] {
            if at < weight {
                chosen = f;
                break;
            }
            at -= weight;
        }
        let value = match chosen {
            "set" => self.fresh_value(),
            "append" => Value::from(format!("{} ", self.fresh_value())),
            "cas" => {
                let few = matches!(self.what.values, Values::Few(_));
                let expected = if few {
                    self.fresh_value()
                } else {
                    self.processes[slot].last_seen.clone()
                };
                Value::List(vec![expected, self.fresh_value()])
            }
            _ => Value::Nil,
        };
        let lost = match self.what.bug {
            Bug::LostUpdates(share) if chosen != "get" => self.chance(share),
            _ => false,
        };
        Asked {
            f: chosen,
            key,
            value,
            lost,
        }
    }

    /// The operation takes effect.
    fn apply(&mut self, asked: &Asked) -> Came {
        let stale = match self.what.bug {
            Bug::StaleReads(share) if asked.f == "get" => self.chance(share),
            _ => false,
        };
        let noise = match self.what.bug {
            Bug::Noise(share) => self.chance(share),
            _ => false,
        };
        let made_up = if noise { Some(self.fresh_value()) } else { None };
        let back = self.random.random_range(0..OLDER_KEPT);
        let register = self.keys.entry(asked.key).or_default();
        let ok = |value: Value| Came {
            kind: EventKind::Ok,
            value,
            current: None,
        };
        match asked.f {
            "get" if stale && !register.older.is_empty() => {
                ok(register.older[back % register.older.len()].clone())
            }
            "get" => ok(made_up.unwrap_or_else(|| register.value.clone())),
            "cas" => {
                let pair = asked.value.as_list().expect("a cas has two values");
                let matches = (pair[0] == register.value) != (made_up.is_some());
                if matches {
                    register.write(pair[1].clone(), asked.lost);
                    ok(asked.value.clone())
                } else {
                    let current = self.what.tells_current.then(|| register.value.clone());
                    Came {
                        kind: EventKind::Fail,
                        value: asked.value.clone(),
                        current,
                    }
                }
            }
            "append" => {
                let grown = crate::model::appended(&register.value, &asked.value);
                register.write(grown, asked.lost);
                ok(asked.value.clone())
            }
            _ => {
                register.write(asked.value.clone(), asked.lost);
                ok(asked.value.clone())
            }
        }
    }

    fn event(&mut self, at: u64, process: u64, kind: EventKind, asked: &Asked, value: Value) -> Event {
        let time = Nanos(at / self.what.clock * self.what.clock);
        let mut event = Event::new(
            self.next_index,
            time,
            ProcessId(process),
            kind,
            Name::from(asked.f),
            value,
        );
        event.key = (self.what.keys > 1).then_some(Value::Int(asked.key as i64));
        self.next_index += 1;
        event
    }

    fn invoke(&mut self, at: u64, slot: usize) {
        if self.invoked == self.what.operations {
            return;
        }
        self.invoked += 1;
        let asked = self.ask(slot);
        let event = self.event(
            at,
            self.processes[slot].id,
            EventKind::Invoke,
            &asked,
            asked.value.clone(),
        );
        self.ready.push_back(event);
        let takes = self.random.random_range(1..2 * TYPICAL);
        let effect = self.random.random_range(0..=takes);
        let split = match self.what.bug {
            Bug::SplitCas(share) if asked.f == "cas" => self.chance(share),
            _ => false,
        };
        if split {
            self.split(at, slot, &asked, effect, takes);
            return;
        }
        if self.chance(self.what.unknown) {
            // Nobody learns what became of it. It takes effect now, much later, or never.
            let event_at = at + takes;
            match self.random.random_range(0..3) {
                0 => {}
                1 => self.later(at + effect, asked.clone()),
                _ => {
                    let span = self.random.random_range(0..100 * TYPICAL);
                    self.later(at + span, asked.clone());
                }
            }
            self.processes[slot].asked = Some(asked);
            self.agenda.push(Reverse((event_at, slot as u64, Due::Complete)));
            return;
        }
        self.processes[slot].asked = Some(asked);
        self.agenda.push(Reverse((at + effect, slot as u64, Due::Effect)));
        self.agenda
            .push(Reverse((at + takes, slot as u64, Due::Complete)));
    }

    fn later(&mut self, at: u64, asked: Asked) {
        self.late.insert(self.next_late, asked);
        self.agenda.push(Reverse((at, self.next_late, Due::Late)));
        self.next_late += 1;
    }

    /// Compares now, and writes later whatever is there then.
    fn split(&mut self, at: u64, slot: usize, asked: &Asked, effect: u64, takes: u64) {
        let register = self.keys.entry(asked.key).or_default();
        let pair = asked.value.as_list().expect("a cas has two values");
        let matches = pair[0] == register.value;
        let (kind, current) = if matches {
            (EventKind::Ok, None)
        } else {
            (EventKind::Fail, Some(register.value.clone()))
        };
        let current = current.filter(|_| self.what.tells_current);
        if matches {
            let write = Asked {
                f: "set",
                key: asked.key,
                value: pair[1].clone(),
                lost: false,
            };
            self.later(at + effect, write);
        }
        self.processes[slot].result = Some(Came {
            kind,
            value: asked.value.clone(),
            current,
        });
        self.processes[slot].asked = Some(asked.clone());
        self.agenda
            .push(Reverse((at + takes, slot as u64, Due::Complete)));
    }

    fn complete(&mut self, at: u64, slot: usize) {
        let asked = self.processes[slot]
            .asked
            .take()
            .expect("what completes was asked");
        let id = self.processes[slot].id;
        let event = match self.processes[slot].result.take() {
            None => {
                self.processes[slot].id = self.next_process;
                self.next_process += 1;
                self.event(at, id, EventKind::Info, &asked, asked.value.clone())
            }
            Some(result) => {
                if asked.f == "get" {
                    self.processes[slot].last_seen = result.value.clone();
                }
                let mut event = self.event(at, id, result.kind, &asked, result.value);
                if result.kind == EventKind::Fail {
                    event.error = Some("mismatch".to_owned());
                    event.current = result.current;
                }
                event
            }
        };
        self.ready.push_back(event);
        let rest = (self.what.rest * 2.0 * TYPICAL as f64) as u64;
        // A process takes a moment between a completion and its next invocation, however busy it is.
        let rest = self.random.random_range(0..=rest) + 1;
        self.agenda.push(Reverse((at + rest, slot as u64, Due::Invoke)));
    }
}

impl Iterator for Events {
    type Item = Event;

    fn next(&mut self) -> Option<Event> {
        while self.ready.is_empty() {
            let Reverse((at, who, due)) = self.agenda.pop()?;
            match due {
                Due::Invoke => self.invoke(at, who as usize),
                Due::Complete => self.complete(at, who as usize),
                Due::Effect => {
                    let asked = self.processes[who as usize]
                        .asked
                        .clone()
                        .expect("what takes effect was asked");
                    let result = self.apply(&asked);
                    self.processes[who as usize].result = Some(result);
                }
                Due::Late => {
                    let asked = self.late.remove(&who).expect("noted when it was put off");
                    self.apply(&asked);
                }
            }
        }
        self.ready.pop_front()
    }
}

impl Register {
    fn write(&mut self, value: Value, lost: bool) {
        if lost {
            return;
        }
        self.older.push_front(std::mem::replace(&mut self.value, value));
        self.older.truncate(OLDER_KEPT);
    }
}

/// A number for every test or benchmark of a series, so that each can be repeated alone.
pub fn seeds(first: u64, count: u64) -> impl Iterator<Item = u64> {
    let mut random = ChaCha8Rng::seed_from_u64(first);
    (0..count).map(move |_| random.next_u64())
}

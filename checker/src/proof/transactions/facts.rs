//! What the operations of a history say as transactions, read a second time and without thrift.

use rustc_hash::FxHashMap;

use crate::history::{History, NEVER, OpId, Outcome, Value};
use crate::options::ModelName;
use crate::proof::Fault;
use crate::transactions::{AnomalyKind, ConsistencyModel, Evidence, TransactionOptions, Unwritten};

/// Every transaction of a history, and who wrote and read what.
pub(super) struct Facts<'a> {
    pub(super) history: &'a History,
    pub(super) lists: bool,
    /// What every register held at first.
    pub(super) init: Value,
    pub(super) garbage: Unwritten,
    pub(super) options: &'a TransactionOptions,
    pub(super) all: Vec<Transaction>,
    /// By key and value: who wrote it, as which of its steps.
    writers: FxHashMap<(Value, Value), (OpId, usize)>,
    /// By key: the transactions that happened for certain and read it, each with the step.
    readers: FxHashMap<Value, Vec<(OpId, usize)>>,
    /// By key: the first and the last version that a transaction touched, of registers.
    touches: FxHashMap<Value, Vec<Touch>>,
    seen: Vec<bool>,
}

/// One transaction.
pub(super) struct Transaction {
    pub(super) process: u64,
    pub(super) outcome: Outcome,
    pub(super) invoked: u32,
    pub(super) completed: u32,
    pub(super) steps: Vec<Step>,
}

/// One thing that a transaction did.
pub(super) struct Step {
    pub(super) writes: bool,
    pub(super) key: Value,
    pub(super) value: Value,
}

/// What a transaction touched of one register: the version that it read before it wrote, or else wrote last; and
/// what it left.
pub(super) struct Touch {
    pub(super) by: OpId,
    pub(super) first: Value,
    pub(super) last: Value,
}

impl<'a> Facts<'a> {
    /// Reads the transactions of lists or registers.
    pub(super) fn of(
        history: &'a History,
        model: ModelName,
        options: &'a TransactionOptions,
    ) -> Result<Facts<'a>, Fault> {
        let lists = model == ModelName::ListAppend;
        let excerpt = history
            .header()
            .other
            .get("unwritten")
            .is_some_and(|said| said == "outside");
        let own = history.form() == crate::history::Form::Ordeal && !excerpt;
        let told = options.registers.init.clone();
        let mut facts = Facts {
            history,
            lists,
            init: told.or_else(|| history.header().init.clone()).unwrap_or_default(),
            garbage: options.registers.unwritten.unwrap_or(match own {
                true => Unwritten::Garbage,
                false => Unwritten::Outside,
            }),
            options,
            all: Vec::with_capacity(history.len()),
            writers: FxHashMap::default(),
            readers: FxHashMap::default(),
            touches: FxHashMap::default(),
            seen: vec![false; history.len()],
        };
        for operation in history.operations() {
            let id = operation.id();
            let steps = steps(history, id, lists)
                .ok_or_else(|| Fault::at(history, id, "history", "this is no transaction of the model"))?;
            for (at, step) in steps.iter().enumerate() {
                if step.writes {
                    facts
                        .writers
                        .insert((step.key.clone(), step.value.clone()), (id, at));
                } else if operation.outcome() == Outcome::Ok {
                    facts.readers.entry(step.key.clone()).or_default().push((id, at));
                }
            }
            facts.all.push(Transaction {
                process: operation.process().0,
                outcome: operation.outcome(),
                invoked: operation.record().invoked,
                completed: operation.record().completed,
                steps,
            });
        }
        let mut seen = vec![false; history.len()];
        for (key, reads) in &facts.readers {
            for &(reader, at) in reads {
                for value in facts.shown(&facts.of_id(reader).steps[at].value) {
                    if let Some((by, _)) = facts.writer(key, value) {
                        seen[by.0 as usize] = true;
                    }
                }
            }
        }
        facts.seen = seen;
        if !lists {
            facts.touch();
        }
        Ok(facts)
    }

    pub(super) fn of_id(&self, id: OpId) -> &Transaction {
        &self.all[id.0 as usize]
    }

    /// Who wrote this value to this key, and as which of its steps.
    pub(super) fn writer(&self, key: &Value, value: &Value) -> Option<(OpId, usize)> {
        self.writers.get(&(key.clone(), value.clone())).copied()
    }

    pub(super) fn readers(&self, key: &Value) -> &[(OpId, usize)] {
        self.readers.get(key).map_or(&[], Vec::as_slice)
    }

    pub(super) fn touches(&self, key: &Value) -> &[Touch] {
        self.touches.get(key).map_or(&[], Vec::as_slice)
    }

    /// Whether it took effect: it said so, or somebody who certainly did saw one of its writes.
    pub(super) fn happened(&self, id: OpId) -> bool {
        match self.of_id(id).outcome {
            Outcome::Ok => true,
            Outcome::Info => self.seen[id.0 as usize],
            Outcome::Fail => false,
        }
    }

    /// The steps by which it read this key, if what it read is known.
    pub(super) fn reads(&self, id: OpId, key: &Value) -> impl Iterator<Item = (usize, &Value)> {
        let transaction = self.of_id(id);
        let known = transaction.outcome == Outcome::Ok;
        let steps = transaction.steps.iter().enumerate();
        steps
            .filter(move |(_, step)| known && !step.writes && step.key == *key)
            .map(|(at, step)| (at, &step.value))
    }

    /// The steps by which it wrote this key.
    pub(super) fn writes(&self, id: OpId, key: &Value) -> impl Iterator<Item = (usize, &Value)> {
        let steps = self.of_id(id).steps.iter().enumerate();
        steps
            .filter(move |(_, step)| step.writes && step.key == *key)
            .map(|(at, step)| (at, &step.value))
    }

    /// The keys that it read or wrote, each once.
    pub(super) fn keys(&self, id: OpId) -> Vec<&Value> {
        let mut keys: Vec<&Value> = self.of_id(id).steps.iter().map(|step| &step.key).collect();
        keys.sort_unstable();
        keys.dedup();
        keys
    }

    /// The values that a read showed: the elements of a list, or the one value of a register.
    pub(super) fn shown<'v>(&self, read: &'v Value) -> &'v [Value] {
        match self.lists {
            true => read.as_list().unwrap_or_default(),
            false => std::slice::from_ref(read),
        }
    }

    /// Whether one had ended before the other began.
    pub(super) fn in_time(&self, one: OpId, two: OpId) -> bool {
        let ended = self.of_id(one).outcome == Outcome::Ok && self.of_id(one).completed != NEVER;
        ended && self.of_id(one).completed < self.of_id(two).invoked
    }

    /// What it makes of a register that a transaction touched before another in the order of processes or of time:
    /// nothing, or from which model on that counts.
    pub(super) fn assumed(&self, evidence: Evidence) -> Option<bool> {
        let registers = &self.options.registers;
        let (given, from) = match evidence {
            Evidence::Data => return None,
            Evidence::Process => (
                registers.sequential_keys,
                ConsistencyModel::StrongSessionSnapshotIsolation,
            ),
            Evidence::Realtime => (
                registers.linearizable_keys,
                ConsistencyModel::StrongSnapshotIsolation,
            ),
        };
        let models = &self.options.consistency_models;
        match given {
            true => Some(true),
            false => models.iter().any(|model| model.implies(from)).then_some(false),
        }
    }

    /// The version that it read before it wrote the key, if another one wrote that; and what it left there.
    pub(super) fn replaced(&self, id: OpId, key: &Value) -> (Option<&Value>, Option<&Value>) {
        let first = self.of_id(id).steps.iter().find(|step| step.key == *key);
        let read = first
            .filter(|step| !step.writes && self.of_id(id).outcome == Outcome::Ok)
            .map(|step| &step.value)
            .filter(|value| match self.writer(key, value) {
                Some((by, _)) => by != id,
                None => self.lists || **value == self.init,
            });
        (read, self.writes(id, key).last().map(|(_, value)| value))
    }

    fn touch(&mut self) {
        let mut touches: FxHashMap<Value, Vec<Touch>> = FxHashMap::default();
        for id in (0..self.all.len() as u32)
            .map(OpId)
            .filter(|&id| self.happened(id))
        {
            for key in self.keys(id) {
                let (read, left) = self.replaced(id, key);
                if let (Some(first), Some(last)) = (read.or(left), left.or(read)) {
                    touches.entry(key.clone()).or_default().push(Touch {
                        by: id,
                        first: first.clone(),
                        last: last.clone(),
                    });
                }
            }
        }
        self.touches = touches;
    }
}

/// The steps of an operation, the completed ones where they are known.
fn steps(history: &History, id: OpId, lists: bool) -> Option<Vec<Step>> {
    let operation = history.operation(id);
    let told = match operation.outcome() {
        Outcome::Ok if !operation.output().is_nil() => operation.output(),
        _ => operation.input(),
    };
    let step = |step: &Value| {
        let (f, key, value) = match step.as_list()? {
            [f, key] => (f, key, &Value::Nil),
            [f, key, value, ..] => (f, key, value),
            _ => return None,
        };
        let writes = match (f.as_str()?, lists) {
            ("r", _) => false,
            ("append", true) | ("w", false) => true,
            _ => return None,
        };
        let value = match value {
            Value::Nil if lists && !writes => Value::List(Vec::new()),
            value => value.clone(),
        };
        Some(Step {
            writes,
            key: key.clone(),
            value,
        })
    };
    told.as_list()?.iter().map(step).collect()
}

/// The kind of this name.
pub(super) fn kind(name: &str) -> Option<AnomalyKind> {
    AnomalyKind::all().find(|kind| kind.to_string() == name)
}

//! Transactions, taken from the operations of a history.

use crate::history::{Flaw, History, HistoryError, NEVER, OpId, Operation, Outcome, Value, Word};

use super::node::{Node, Numbers};
use super::pace::Pace;

/// How transactions write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// `append` to a list, `r` the whole of it.
    ListAppend,
    /// `w` a register, `r` it.
    RwRegister,
}

/// A place in [`Transactions::writes`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct WriteId(pub(super) u32);

/// Every transaction of a history, as the checks want them.
pub(super) struct Transactions<'a> {
    pub(super) history: &'a History,
    pub(super) form: Form,
    pub(super) list: Vec<Transaction>,
    pub(super) steps: Vec<Step<'a>>,
    pub(super) keys: Vec<Value>,
    pub(super) writes: Vec<Write<'a>>,
    by_value: Numbers,
}

/// One transaction; its number is that of its operation.
#[derive(Clone, Copy, Debug)]
pub(super) struct Transaction {
    pub(super) process: u64,
    pub(super) outcome: Outcome,
    /// The place of its invocation in the order that decides.
    pub(super) invoked: u32,
    /// The place of its completion, or `NEVER`.
    pub(super) completed: u32,
    first_step: u32,
    last_step: u32,
}

/// One thing that a transaction did.
#[derive(Clone, Copy)]
pub(super) enum Step<'a> {
    Write(WriteId),
    /// Only of transactions that are known to have happened; what others read is not known.
    Read {
        key: u32,
        seen: Node<'a>,
    },
}

/// A value written to a key: once in the whole history.
#[derive(Clone, Copy)]
pub(super) struct Write<'a> {
    pub(super) by: OpId,
    pub(super) key: u32,
    pub(super) value: Node<'a>,
    /// Whether its transaction wrote the key again later.
    pub(super) replaced: bool,
}

impl Transaction {
    /// How many steps it has.
    fn len(&self) -> usize {
        (self.last_step - self.first_step) as usize
    }
}

impl<'a> Transactions<'a> {
    /// Takes the transactions out of a history.
    ///
    /// Of a transaction that happened the completion counts, which has the reads filled in; of any other the
    /// invocation, which says what may have been written.
    ///
    /// Nothing if there is no time for that: who does not know all writes can tell nothing from reads.
    pub(super) fn of(
        history: &'a History,
        form: Form,
        pace: &mut Pace,
    ) -> Result<Option<Transactions<'a>>, HistoryError> {
        let mut transactions = Transactions {
            history,
            form,
            list: Vec::with_capacity(history.len()),
            steps: Vec::with_capacity(history.len() * 4),
            keys: Vec::new(),
            writes: Vec::with_capacity(history.len() * 2),
            by_value: Numbers::default(),
        };
        let mut keys = KeyNumbers::default();
        for operation in history.operations() {
            transactions.add(operation, &mut keys)?;
            let steps = transactions.list.last().map_or(0, Transaction::len);
            if !pace.goes_on(1 + steps) || !pace.holds(transactions.bytes()) {
                return Ok(None);
            }
        }
        Ok(Some(transactions))
    }

    pub(super) fn get(&self, id: OpId) -> Transaction {
        self.list[id.0 as usize]
    }

    /// About how many bytes all this takes.
    pub(super) fn bytes(&self) -> u64 {
        let lists = size_of_val(&*self.list) + size_of_val(&*self.steps) + size_of_val(&*self.writes);
        // Each write is looked up by its key and value.
        (lists + self.writes.len() * 2 * size_of::<(u32, i64, u32)>()) as u64
    }

    pub(super) fn ids(&self) -> impl ExactSizeIterator<Item = OpId> + use<> {
        (0..self.list.len() as u32).map(OpId)
    }

    pub(super) fn steps(&self, id: OpId) -> &[Step<'a>] {
        let transaction = self.get(id);
        &self.steps[transaction.first_step as usize..transaction.last_step as usize]
    }

    pub(super) fn outcome(&self, id: OpId) -> Outcome {
        self.get(id).outcome
    }

    pub(super) fn write(&self, id: WriteId) -> Write<'a> {
        self.writes[id.0 as usize]
    }

    pub(super) fn key(&self, key: u32) -> &Value {
        &self.keys[key as usize]
    }

    /// Who wrote this value to this key, if anybody did.
    pub(super) fn writer(&self, key: u32, value: Node<'_>) -> Option<WriteId> {
        self.by_value.get(key, value).map(WriteId)
    }

    pub(super) fn key_of(&self, step: Step<'_>) -> u32 {
        match step {
            Step::Read { key, .. } => key,
            Step::Write(write) => self.write(write).key,
        }
    }

    /// Nobody may write what every key holds before it is written: who read it could not be told.
    pub(super) fn refuse_writes_of(&self, init: &Value) -> Result<(), HistoryError> {
        let Some(write) = self.writes.iter().find(|write| write.value == Node::Plain(init)) else {
            return Ok(());
        };
        Err(HistoryError::Malformed {
            place: self.history.place(self.history.operation(write.by)),
            flaw: Flaw::Field(format!(
                "{init} is written to key {}, but it is the initial value: who read it cannot be told; \
                 let every write to a key have a value of its own",
                self.key(write.key),
            )),
        })
    }

    fn add(&mut self, operation: Operation<'a>, keys: &mut KeyNumbers) -> Result<(), HistoryError> {
        let form = self.form;
        let record = operation.record();
        let happened = record.outcome == Outcome::Ok;
        let said = if happened && !self.node(record.output).is_nil() {
            record.output
        } else {
            record.input
        };
        let wrong = |wanted: &'static str, found: Node<'_>| HistoryError::Malformed {
            place: self.history.place(operation),
            flaw: Flaw::WrongValue {
                f: "txn".to_owned(),
                wanted,
                found: found.to_value().to_string(),
            },
        };
        let list = self.node(said);
        let steps = list
            .elements()
            .ok_or_else(|| wrong("a list of steps such as [[\"r\", 1, null], ...]", list))?;
        let first_step = self.steps.len();
        for step in steps.iter() {
            let parts = step
                .elements()
                .filter(|parts| parts.len() >= 2)
                .ok_or_else(|| wrong("steps of the form [f, key, value]", step))?;
            let (f, key, value) = (parts.get(0), parts.get(1), parts.get(2));
            let (f, key) = f.zip(key).expect("two parts at least");
            let kind = kind_of(f, form).ok_or_else(|| self.unknown(operation, f, form))?;
            let number = keys.numbers.put(0, key, self.keys.len() as u32);
            if number as usize == self.keys.len() {
                self.keys.push(key.to_value());
                keys.last_write.push(None);
            }
            let value = value.unwrap_or(Node::Pooled(&self.history.pool, Word::NIL));
            match kind {
                Kind::Read if !happened => {}
                Kind::Read => {
                    if form == Form::ListAppend && !value.is_nil() && value.elements().is_none() {
                        return Err(wrong("reads of lists", step));
                    }
                    self.steps.push(Step::Read {
                        key: number,
                        seen: value,
                    });
                }
                Kind::Write => {
                    if value.is_nil() {
                        return Err(wrong(
                            "writes of values other than nil, which is what a key has before any write",
                            step,
                        ));
                    }
                    self.add_write(operation, number, value, &mut keys.last_write[number as usize])?;
                }
            }
        }
        self.list.push(Transaction {
            process: operation.process().0,
            outcome: record.outcome,
            invoked: record.invoked,
            completed: if happened { record.completed } else { NEVER },
            first_step: first_step as u32,
            last_step: self.steps.len() as u32,
        });
        Ok(())
    }

    fn add_write(
        &mut self,
        operation: Operation<'a>,
        key: u32,
        value: Node<'a>,
        last_write: &mut Option<WriteId>,
    ) -> Result<(), HistoryError> {
        let new = self.writes.len() as u32;
        let known = self.by_value.put(key, value, new);
        if known != new {
            let before = self.history.operation(self.writes[known as usize].by);
            return Err(HistoryError::Malformed {
                place: self.history.place(operation),
                flaw: Flaw::Field(format!(
                    "{} is written to key {} a second time, after {}: who read it cannot be told; \
                     let every write to a key have a value of its own",
                    value.to_value(),
                    self.key(key),
                    self.history.place(before),
                )),
            });
        }
        if let Some(last) = last_write.replace(WriteId(new)) {
            let last = &mut self.writes[last.0 as usize];
            last.replaced = last.by == operation.id();
        }
        self.writes.push(Write {
            by: operation.id(),
            key,
            value,
            replaced: false,
        });
        self.steps.push(Step::Write(WriteId(new)));
        Ok(())
    }

    fn node(&self, word: Word) -> Node<'a> {
        Node::Pooled(&self.history.pool, word)
    }

    fn unknown(&self, operation: Operation<'_>, f: Node<'_>, form: Form) -> HistoryError {
        HistoryError::Malformed {
            place: self.history.place(operation),
            flaw: Flaw::UnknownFunction {
                f: f.to_value().to_string(),
                model: form.as_str().to_owned(),
                known: format!("r, {}", form.write_name()),
            },
        }
    }

    /// What a transaction did, for people.
    pub(super) fn said(&self, id: OpId) -> String {
        said(self.history.operation(id))
    }
}

/// What a transaction did, for people: `[append 1 4, r 2 [5 6]]`.
pub(super) fn said(operation: Operation<'_>) -> String {
    let value = match operation.outcome() {
        Outcome::Ok if !operation.output().is_nil() => operation.output(),
        _ => operation.input(),
    };
    let steps: Vec<String> = value
        .as_list()
        .unwrap_or_default()
        .iter()
        .map(|step| {
            let parts = step.as_list().unwrap_or_default();
            let words: Vec<String> = parts.iter().map(Value::to_string).collect();
            words.join(" ")
        })
        .collect();
    format!("[{}]", steps.join(", "))
}

/// The keys met so far.
#[derive(Default)]
struct KeyNumbers {
    numbers: Numbers,
    last_write: Vec<Option<WriteId>>,
}

enum Kind {
    Read,
    Write,
}

fn kind_of(f: Node<'_>, form: Form) -> Option<Kind> {
    match f.as_str()? {
        "r" => Some(Kind::Read),
        name if name == form.write_name() => Some(Kind::Write),
        _ => None,
    }
}

impl Form {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Form::ListAppend => "list-append",
            Form::RwRegister => "rw-register",
        }
    }

    fn write_name(self) -> &'static str {
        match self {
            Form::ListAppend => "append",
            Form::RwRegister => "w",
        }
    }
}

//! EDN histories: a vector or list of maps, or one map after another.
//!
//! Events go to the history one by one as they are read, so that a file takes no more memory than the history of it.
//! Only where the indexes say that the file is not in order must events wait for the others.

use std::io::Read;

use rustc_hash::FxHashMap;

use super::edn::{ODD_MAP, Parser, Spot, Stop};
use super::jsonl::header_of;
use super::{ReadOptions, Tuples, unreadable};
use crate::history::{
    Builder, Event, EventKind, Flaw, Form, History, HistoryError, Name, Nanos, Place, Process, ProcessId,
    RawEvent, Value, Word,
};

/// A comment that holds the header of a history that was converted from our own form.
const HEADER_COMMENT: &str = "; ordeal ";

/// Reads a whole stream. The order is that of the indexes where every event has one, else that of the file.
pub(super) fn read(
    from: impl Read,
    name: Option<String>,
    options: &ReadOptions,
) -> Result<History, HistoryError> {
    let mut parser = Parser::new(from);
    let told = |stop| match stop {
        Stop::Flaw(spot, flaw) => malformed(&name, spot, flaw),
        Stop::Unreadable(error) => unreadable(name.as_deref(), error),
    };
    let comment = parser.first_comment().map_err(told)?;
    let header = comment
        .as_deref()
        .and_then(|said| said.strip_prefix(HEADER_COMMENT));
    let header = header.map(|json| header_of(json.as_bytes())).transpose();
    let begin = Spot { line: 1, column: 1 };
    let header = header.map_err(|flaw| malformed(&name, begin, flaw))?.flatten();
    let converted = header.is_some();
    let mut line = Line {
        builder: Builder::new(header.unwrap_or_default(), Form::Edn, name.clone()),
        name: &name,
        read: 0,
        same: 0,
        keyed: false,
        order: Order::Same,
        names: Vec::new(),
    };
    let close = match parser.peek().map_err(told)? {
        Some('[') => Some(']'),
        Some('(') => Some(')'),
        _ => None,
    };
    if close.is_some() {
        parser.skip();
    }
    loop {
        match parser.peek().map_err(told)? {
            Some('{') => {
                let spot = parser.spot();
                let event = event(&mut parser, spot, options).map_err(told)?;
                line.join(event, spot)?;
            }
            None if close.is_none() => break,
            None => {
                return Err(told(
                    parser.wrong("the history is not closed: it seems to be cut off"),
                ));
            }
            found if found == close => {
                parser.skip();
                match parser.peek().map_err(told)? {
                    None => break,
                    Some(more) => {
                        return Err(told(
                            parser.wrong(format!("{more:?} after the end of the history")),
                        ));
                    }
                }
            }
            Some(other) => {
                return Err(told(
                    parser.wrong(format!("{other:?} where a map should be: an event is a map")),
                ));
            }
        }
    }
    let keyed = line.keyed && options.tuples == Tuples::Values && !converted;
    let mut builder = line.end()?;
    if keyed {
        builder.history.form = Form::KeyValueLog;
    }
    builder.finish()
}

fn malformed(name: &Option<String>, spot: Spot, flaw: Flaw) -> HistoryError {
    HistoryError::Malformed {
        place: Place {
            file: name.clone(),
            line: spot.line,
            column: spot.column(),
        },
        flaw,
    }
}

/// Events on their way into a history.
struct Line<'a> {
    builder: Builder,
    name: &'a Option<String>,
    /// How many events were read.
    read: u64,
    /// How many of the first had their number as their index.
    same: u64,
    /// Whether an event names a key.
    keyed: bool,
    order: Order,
    /// The functions and nodes of those that wait.
    names: Vec<String>,
}

/// How the order of the file and that of the indexes fit together.
enum Order {
    /// So far every index is the number of its event: whatever is still to come, these are in order.
    Same,
    /// Some events have no index: the order is that of the file. With the other indexes that were given.
    File(FxHashMap<u64, Spot>),
    /// Every event has an index, but they are not the numbers of the events: these wait for the others.
    Waiting(Vec<Waiting>),
}

/// An event of which the place is not known yet.
struct Waiting {
    spot: Spot,
    index: u64,
    time: Nanos,
    process: Process,
    kind: EventKind,
    f: u32,
    key: Word,
    value: Word,
    /// What few events have.
    more: Option<Box<More>>,
}

struct More {
    error: Option<String>,
    current: Word,
    rev: Option<i64>,
    node: Option<u32>,
    intended: Option<Nanos>,
    other: serde_json::Map<String, serde_json::Value>,
}

impl Line<'_> {
    /// Takes the next event of the file.
    fn join(&mut self, numbered: Numbered, spot: Spot) -> Result<(), HistoryError> {
        let Numbered { mut event, given } = numbered;
        self.keyed |= event.key.is_some();
        let number = self.read;
        self.read += 1;
        match &mut self.order {
            Order::Same if given && event.index == number => self.same += 1,
            Order::Same if given => {
                self.order = Order::Waiting(Vec::new());
                return self.wait(event, spot);
            }
            Order::Same => self.order = Order::File(FxHashMap::default()),
            Order::Waiting(_) if given => return self.wait(event, spot),
            Order::Waiting(waiting) => {
                let waiting = std::mem::take(waiting);
                self.order = Order::File(FxHashMap::default());
                for (number, mut event) in (self.same..).zip(waiting) {
                    self.once(event.index, event.spot)?;
                    event.index = number;
                    self.take(event)?;
                }
            }
            Order::File(_) => {
                if given {
                    self.once(event.index, spot)?;
                }
            }
        }
        event.index = number;
        let pushed = self.builder.push_event(event, spot.line);
        pushed.map_err(|error| at(error, spot))
    }

    /// An index is given once.
    fn once(&mut self, index: u64, spot: Spot) -> Result<(), HistoryError> {
        let Order::File(given) = &mut self.order else {
            return Ok(());
        };
        if index < self.same || given.insert(index, spot).is_some() {
            return Err(malformed(self.name, spot, Flaw::IndexTwice(index)));
        }
        Ok(())
    }

    fn wait(&mut self, event: Event, spot: Spot) -> Result<(), HistoryError> {
        let names = &mut self.names;
        let mut number = |name: &str| {
            let known = names.iter().position(|known| known == name);
            known.unwrap_or_else(|| {
                names.push(name.to_owned());
                names.len() - 1
            }) as u32
        };
        let pool = &mut self.builder.history.pool;
        let key = match event.key {
            None => Word::ABSENT,
            Some(key) => {
                let key = pool.add(key);
                pool.settled(key)
            }
        };
        let plain = event.error.is_none()
            && event.current.is_none()
            && event.rev.is_none()
            && event.node.is_none()
            && event.intended.is_none()
            && event.other.is_empty();
        let waiting = Waiting {
            spot,
            index: event.index,
            time: event.time,
            process: event.process,
            kind: event.kind,
            f: number(&event.f),
            key,
            value: pool.add(event.value),
            more: (!plain).then(|| {
                Box::new(More {
                    error: event.error,
                    current: event.current.map_or(Word::ABSENT, |current| pool.add(current)),
                    rev: event.rev,
                    node: event.node.map(|node| number(&node)),
                    intended: event.intended,
                    other: event.other,
                })
            }),
        };
        if let Order::Waiting(all) = &mut self.order {
            all.push(waiting);
        }
        Ok(())
    }

    /// Takes an event that waited.
    fn take(&mut self, event: Waiting) -> Result<(), HistoryError> {
        let mut more = event.more;
        let name = |at: u32| self.names[at as usize].as_str();
        let pushed = match event.process {
            Process::Nemesis => {
                let pool = &self.builder.history.pool;
                let value = pool.value(event.value);
                let mut nemesis = Event::new(
                    event.index,
                    event.time,
                    ProcessId(0),
                    event.kind,
                    name(event.f).to_owned(),
                    value,
                );
                nemesis.process = Process::Nemesis;
                nemesis.key = event.key.present().map(|key| pool.value(key));
                if let Some(more) = more {
                    nemesis.current = more.current.present().map(|current| pool.value(current));
                    nemesis.node = more.node.map(|node| name(node).to_owned());
                    (nemesis.error, nemesis.rev) = (more.error, more.rev);
                    (nemesis.intended, nemesis.other) = (more.intended, more.other);
                }
                self.builder.push_nemesis(nemesis, event.spot.line)
            }
            Process::Client(process) => {
                let raw = RawEvent {
                    line: event.spot.line,
                    index: Some(event.index),
                    time: event.time,
                    process,
                    kind: event.kind,
                    f: name(event.f),
                    key: event.key,
                    value: event.value,
                    error: more.as_ref().and_then(|more| more.error.as_deref()),
                    current: more.as_ref().map_or(Word::ABSENT, |more| more.current),
                    rev: more.as_ref().and_then(|more| more.rev),
                    node: more.as_ref().and_then(|more| more.node).map(name),
                    intended: more.as_ref().and_then(|more| more.intended),
                };
                self.builder.push(raw).map(|index| {
                    let other = more.as_mut().map(|more| std::mem::take(&mut more.other));
                    self.builder.keep_other(index, other.unwrap_or_default());
                })
            }
        };
        pushed.map_err(|error| at(error, event.spot))
    }

    /// After the last event.
    fn end(mut self) -> Result<Builder, HistoryError> {
        if let Order::Waiting(mut waiting) = std::mem::replace(&mut self.order, Order::Same) {
            waiting.sort_by_key(|event| event.index);
            let twice = waiting.iter().find(|event| event.index < self.same);
            let pairs = waiting.windows(2);
            let twice = twice.or_else(|| {
                pairs
                    .filter(|pair| pair[0].index == pair[1].index)
                    .map(|pair| &pair[1])
                    .next()
            });
            if let Some(event) = twice {
                return Err(malformed(self.name, event.spot, Flaw::IndexTwice(event.index)));
            }
            for event in waiting {
                self.take(event)?;
            }
        }
        Ok(self.builder)
    }
}

/// The same error, which is about the event that begins here.
fn at(error: HistoryError, spot: Spot) -> HistoryError {
    match error {
        HistoryError::Malformed { mut place, flaw } => {
            place.column = spot.column();
            HistoryError::Malformed { place, flaw }
        }
        other => other,
    }
}

/// An event, and whether its index was given.
struct Numbered {
    event: Event,
    given: bool,
}

/// The event that begins here.
fn event<R: Read>(parser: &mut Parser<R>, opened: Spot, options: &ReadOptions) -> Result<Numbered, Stop> {
    let field = |flaw: String| Stop::Flaw(opened, Flaw::Field(flaw));
    let mut process = Process::Client(ProcessId(0));
    let (mut kind, mut f, mut index, mut time) = (None, None, None, None);
    let mut event = Event::new(0, Nanos(0), ProcessId(0), EventKind::Info, "", Value::Nil);
    parser.begin();
    parser.skip();
    while !parser.closes('}', opened)? {
        let spot = parser.spot();
        let Some(name) = parser.name()? else {
            let found = parser.value(1)?;
            return Err(Stop::Flaw(
                spot,
                Flaw::Field(format!("{found} is no name of a field")),
            ));
        };
        let name = Field::named(name);
        if parser.peek()? == Some('}') {
            return Err(Stop::Flaw(opened, Flaw::Syntax(ODD_MAP.to_owned())));
        }
        let value = parser.value(1)?;
        match name {
            Field::Process => process = self::process(value).map_err(field)?,
            Field::Type => kind = Some(self::kind(&value).map_err(field)?),
            Field::F => f = Some(function(value).map_err(field)?),
            Field::Value => event.value = value,
            Field::Key => event.key = Some(value),
            Field::Index => index = Some(natural("an index", &value).map_err(field)?),
            Field::Time => time = natural("a time", &value).ok(),
            Field::Error => {
                event.error = Some(value.as_str().map_or_else(|| value.to_string(), str::to_owned));
            }
            Field::Current => event.current = Some(value),
            Field::Rev => event.rev = value.as_int(),
            Field::Node => event.node = value.as_str().map(str::to_owned),
            Field::Intended => event.intended = natural("a time", &value).ok().map(Nanos),
            Field::Other(name) => {
                event.other.insert(name, value.to_json());
            }
        }
    }
    event.process = process;
    event.kind = kind.ok_or_else(|| field("the event has no :type".to_owned()))?;
    event.time = Nanos(time.unwrap_or(0));
    event.index = index.unwrap_or(0);
    event.f = match f {
        Some(f) => Name::from(f),
        None if event.value.as_list().is_some() => Name::from("txn"),
        None => return Err(field("the event has no :f".to_owned())),
    };
    if options.tuples == Tuples::Independent
        && process != Process::Nemesis
        && let Some([key, value]) = event.value.as_list()
    {
        let (key, value) = (key.clone(), value.clone());
        event.key = Some(key);
        event.value = value;
    }
    Ok(Numbered {
        event,
        given: index.is_some(),
    })
}

/// The fields of an event.
enum Field {
    Process,
    Type,
    F,
    Value,
    Key,
    Index,
    Time,
    Error,
    Current,
    Rev,
    Node,
    Intended,
    Other(String),
}

impl Field {
    fn named(name: &str) -> Field {
        match name {
            "process" => Field::Process,
            "type" => Field::Type,
            "f" => Field::F,
            "value" => Field::Value,
            "key" => Field::Key,
            "index" => Field::Index,
            "time" => Field::Time,
            "error" => Field::Error,
            "current" => Field::Current,
            "rev" => Field::Rev,
            "node" => Field::Node,
            "intended" => Field::Intended,
            other => Field::Other(other.to_owned()),
        }
    }
}

fn process(value: Value) -> Result<Process, String> {
    match value {
        Value::Int(id) if id >= 0 => Ok(Process::Client(ProcessId(id as u64))),
        Value::Str(name) if !name.is_empty() => Ok(Process::Nemesis),
        other => Err(format!(
            "a process is a whole number from 0 on, or :nemesis, not {other}"
        )),
    }
}

fn kind(value: &Value) -> Result<EventKind, String> {
    let kind = value.as_str().and_then(EventKind::from_word);
    kind.ok_or_else(|| format!("type {value} is none of :invoke, :ok, :fail, :info"))
}

fn function(value: Value) -> Result<String, String> {
    match value {
        Value::Str(name) if !name.is_empty() => Ok(name.into()),
        other => Err(format!("a function is a keyword, not {other}")),
    }
}

fn natural(what: &str, value: &Value) -> Result<u64, String> {
    match value {
        Value::Int(number) => {
            u64::try_from(*number).map_err(|_| format!("{what} cannot be negative: {number}"))
        }
        other => Err(format!("{what} must be a whole number, not {other}")),
    }
}

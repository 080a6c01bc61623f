//! EDN histories: a vector or list of maps, or one map after another.

use rustc_hash::FxHashMap;

use super::edn::{Entries, Parser};
use super::jsonl::header_of;
use super::{ReadOptions, Tuples};
use crate::history::{
    Builder, Event, EventKind, Flaw, Form, Header, History, HistoryError, Name, Nanos, Place, Process,
    ProcessId, Value,
};

/// A comment that holds the header of a history that was converted from our own form.
const HEADER_COMMENT: &str = "; ordeal ";

/// Reads a whole text. The order is that of the indexes where every event has one, else that of the file.
pub(super) fn read(text: &str, name: Option<String>, options: &ReadOptions) -> Result<History, HistoryError> {
    let malformed = |line, flaw| HistoryError::Malformed {
        place: Place {
            file: name.clone(),
            line,
        },
        flaw,
    };
    let mut parser = Parser::new(text);
    let maps = maps(&mut parser).map_err(|flaw| malformed(parser.line(), Flaw::Syntax(flaw)))?;
    let mut lines = Vec::with_capacity(maps.len());
    for (line, entries) in maps {
        let event = event(entries, options).map_err(|flaw| malformed(line, Flaw::Field(flaw)))?;
        lines.push((line, event));
    }
    order(&mut lines).map_err(|(line, flaw)| malformed(line, flaw))?;
    let keyed = lines.iter().any(|(_, line)| line.event.key.is_some()) && options.tuples == Tuples::Values;
    let mut header = Header::default();
    let mut form = if keyed { Form::KeyValueLog } else { Form::Edn };
    let first = text
        .lines()
        .next()
        .and_then(|first| first.strip_prefix(HEADER_COMMENT));
    let found = first.map(|json| header_of(json.as_bytes())).transpose();
    if let Some(found) = found.map_err(|flaw| malformed(1, flaw))?.flatten() {
        header = found;
        form = Form::Edn;
    }
    let mut builder = Builder::new(header, form, name.clone());
    for (line, Numbered { event, .. }) in lines {
        builder.push_event(event, line)?;
    }
    builder.finish()
}

/// The maps of the text, each with its line.
fn maps(parser: &mut Parser<'_>) -> Result<Vec<(u64, Entries)>, String> {
    let mut maps = Vec::new();
    let close = match parser.peek()? {
        Some('[') => Some(']'),
        Some('(') => Some(')'),
        _ => None,
    };
    if close.is_some() {
        parser.skip();
    }
    loop {
        match parser.peek()? {
            Some('{') => maps.push((parser.line(), parser.entries(0)?)),
            None if close.is_none() => return Ok(maps),
            None => return Err("the history is not closed: it seems to be cut off".to_owned()),
            found if found == close => {
                parser.skip();
                return match parser.peek()? {
                    None => Ok(maps),
                    Some(more) => Err(format!("{more:?} after the end of the history")),
                };
            }
            Some(other) => return Err(format!("{other:?} where a map should be: an event is a map")),
        }
    }
}

/// An event, and whether its index was given.
struct Numbered {
    event: Event,
    given: bool,
}

fn event(entries: Entries, options: &ReadOptions) -> Result<Numbered, String> {
    let mut process = Process::Client(ProcessId(0));
    let (mut kind, mut f, mut index, mut time) = (None, None, None, None);
    let mut event = Event::new(0, Nanos(0), ProcessId(0), EventKind::Info, "", Value::Nil);
    for (name, value) in entries {
        let Value::Str(name) = name else {
            return Err(format!("{name} is no name of a field"));
        };
        match &*name {
            "process" => process = self::process(value)?,
            "type" => kind = Some(self::kind(&value)?),
            "f" => f = Some(function(value)?),
            "value" => event.value = value,
            "key" => event.key = Some(value),
            "index" => index = Some(natural("an index", &value)?),
            "time" => time = natural("a time", &value).ok(),
            "error" => event.error = Some(value.as_str().map_or_else(|| value.to_string(), str::to_owned)),
            "current" => event.current = Some(value),
            "rev" => event.rev = value.as_int(),
            "node" => event.node = value.as_str().map(str::to_owned),
            "intended" => event.intended = natural("a time", &value).ok().map(Nanos),
            _ => {
                event.other.insert(name.to_string(), value.to_json());
            }
        }
    }
    event.process = process;
    event.kind = kind.ok_or("the event has no :type")?;
    event.time = Nanos(time.unwrap_or(0));
    event.index = index.unwrap_or(0);
    event.f = match f {
        Some(f) => Name::from(f),
        None if event.value.as_list().is_some() => Name::from("txn"),
        None => return Err("the event has no :f".to_owned()),
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

/// By index where every event has one; else by place, which then is the index.
fn order(lines: &mut [(u64, Numbered)]) -> Result<(), (u64, Flaw)> {
    if lines.iter().all(|(_, line)| line.given) {
        lines.sort_by_key(|(_, line)| line.event.index);
        let twice = lines
            .windows(2)
            .find(|pair| pair[0].1.event.index == pair[1].1.event.index);
        if let Some(pair) = twice {
            return Err((pair[1].0, Flaw::IndexTwice(pair[1].1.event.index)));
        }
        return Ok(());
    }
    // Old transactional logs number only some events; their place in the file still says the order.
    let mut given: FxHashMap<u64, u64> = FxHashMap::default();
    for (at, (line, numbered)) in lines.iter_mut().enumerate() {
        if numbered.given && given.insert(numbered.event.index, *line).is_some() {
            return Err((*line, Flaw::IndexTwice(numbered.event.index)));
        }
        numbered.event.index = at as u64;
    }
    Ok(())
}

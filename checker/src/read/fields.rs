//! The long way through a line: all of JSON, and what is wrong with it.

use std::borrow::Cow;

use super::json::Scanner;
use crate::history::{Event, EventKind, Flaw, Name, Nanos, Process, ProcessId, Value};

/// The fields of a line as they are met.
#[derive(Debug, Default)]
pub(super) struct Fields {
    pub(super) index: Option<u64>,
    pub(super) time: Option<u64>,
    pub(super) process: Option<Process>,
    pub(super) kind: Option<EventKind>,
    pub(super) f: Option<String>,
    pub(super) key: Option<Value>,
    pub(super) value: Option<Value>,
    pub(super) error: Option<String>,
    pub(super) current: Option<Value>,
    pub(super) rev: Option<i64>,
    pub(super) node: Option<String>,
    pub(super) intended: Option<u64>,
    pub(super) other: serde_json::Map<String, serde_json::Value>,
}

impl Fields {
    /// Reads a line to its end.
    pub(super) fn read(scanner: &mut Scanner<'_>) -> Result<Fields, String> {
        let mut fields = Fields::default();
        scanner.expect(b'{')?;
        let mut more = !scanner.ends(b'}');
        while more {
            let name = scanner.string()?;
            scanner.expect(b':')?;
            fields
                .field(&name, scanner)
                .map_err(|flaw| format!("{name:?}: {flaw}"))?;
            more = scanner.more(b'}')?;
        }
        scanner.finish()?;
        Ok(fields)
    }

    fn field(&mut self, name: &str, scanner: &mut Scanner<'_>) -> Result<(), String> {
        let null = scanner.peek() == Some(b'n');
        let text = |scanner: &mut Scanner<'_>| scanner.string().map(Cow::into_owned);
        match name {
            "index" => self.index = Some(scanner.unsigned("an index")?),
            "time" => self.time = Some(scanner.unsigned("a time in ns")?),
            "process" => self.process = Some(process(scanner)?),
            "type" => {
                let word = scanner.string()?;
                let kind = EventKind::from_word(&word);
                self.kind = Some(kind.ok_or_else(|| format!("{word:?} is none of invoke, ok, fail, info"))?);
            }
            "f" => self.f = Some(text(scanner)?),
            "key" if null => skip(scanner)?,
            "key" => self.key = Some(scanner.value(0)?),
            "value" => self.value = Some(scanner.value(0)?),
            "error" if null => skip(scanner)?,
            "error" if scanner.peek() == Some(b'"') => self.error = Some(text(scanner)?),
            "error" => self.error = Some(scanner.value(0)?.to_json().to_string()),
            "current" => self.current = Some(scanner.value(0)?),
            "rev" if null => skip(scanner)?,
            "rev" => match scanner.value(0)? {
                Value::Int(rev) => self.rev = Some(rev),
                other => return Err(format!("a revision must be a whole number, not {other}")),
            },
            "node" if null => skip(scanner)?,
            "node" => self.node = Some(text(scanner)?),
            "intended" if null => skip(scanner)?,
            "intended" => self.intended = Some(scanner.unsigned("a time in ns")?),
            _ => {
                let value = scanner.value(0)?;
                self.other.insert(name.to_owned(), value.to_json());
            }
        }
        Ok(())
    }

    /// The event of a line that stands for itself.
    pub(super) fn into_event(self) -> Result<Event, Flaw> {
        let index = self.index.ok_or_else(|| missing("index"))?;
        let time = Nanos(self.time.ok_or_else(|| missing("time"))?);
        self.into_event_at(index, time)
    }

    /// The event, where index and time are known from elsewhere.
    pub(super) fn into_event_at(self, index: u64, time: Nanos) -> Result<Event, Flaw> {
        Ok(Event {
            index,
            time,
            process: self.process.ok_or_else(|| missing("process"))?,
            kind: self.kind.ok_or_else(|| missing("type"))?,
            f: Name::from(self.f.ok_or_else(|| missing("f"))?),
            key: self.key,
            value: self.value.unwrap_or_default(),
            error: self.error,
            current: self.current,
            rev: self.rev,
            node: self.node,
            intended: self.intended.map(Nanos),
            other: self.other,
        })
    }
}

pub(super) fn missing(what: &str) -> Flaw {
    Flaw::Field(format!("the event has no {what:?}"))
}

fn skip(scanner: &mut Scanner<'_>) -> Result<(), String> {
    match scanner.value(0)? {
        Value::Nil => Ok(()),
        other => Err(format!("unexpected {other}")),
    }
}

fn process(scanner: &mut Scanner<'_>) -> Result<Process, String> {
    if scanner.peek() == Some(b'"') {
        let name = scanner.string()?;
        return if name == "nemesis" {
            Ok(Process::Nemesis)
        } else {
            Err(format!("a process is a number or \"nemesis\", not {name:?}"))
        };
    }
    scanner
        .unsigned("a process")
        .map(|id| Process::Client(ProcessId(id)))
}

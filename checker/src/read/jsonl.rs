//! Our own form: a header line, then one event a line.

use std::borrow::Cow;

use super::json::Scanner;
use crate::history::{
    Builder, Event, EventKind, FORM_VERSION, Flaw, Form, Header, History, HistoryError, Name, Nanos, Place,
    Process, ProcessId, RawEvent, Value, Word,
};

/// Reads a whole file. A last line that was cut off in the middle, as a killed run leaves it, is left out.
pub(super) fn read(bytes: &[u8], name: Option<String>) -> Result<History, HistoryError> {
    let mut lines = Lines {
        rest: bytes,
        number: 0,
    };
    let mut header = Header::default();
    let mut first = lines.next();
    if let Some(line) = first
        && let Some(found) = header_of(line.bytes).map_err(|flaw| malformed(&name, line.number, flaw))?
    {
        header = found;
        first = None;
    }
    let mut reader = LineReader::new(Builder::new(header, Form::Ordeal, name));
    for line in first.into_iter().chain(lines) {
        reader.push(line)?;
    }
    reader.builder.finish()
}

/// Turns lines into events and hands them on.
#[derive(Debug)]
pub(super) struct LineReader {
    pub(super) builder: Builder,
    clock: Clock,
}

/// Whether the events of a file carry times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Clock {
    NotSeen,
    Given,
    /// Then each event is an instant of its own.
    Missing,
}

/// One line, without its end.
#[derive(Clone, Copy, Debug)]
pub(super) struct Line<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) number: u64,
    /// Whether the line had its end; only the last may not.
    pub(super) ended: bool,
}

/// The lines that are not blank.
struct Lines<'a> {
    rest: &'a [u8],
    number: u64,
}

impl<'a> Iterator for Lines<'a> {
    type Item = Line<'a>;

    fn next(&mut self) -> Option<Line<'a>> {
        while !self.rest.is_empty() {
            self.number += 1;
            let end = memchr::memchr(b'\n', self.rest);
            let (bytes, rest) = match end {
                Some(end) => (&self.rest[..end], &self.rest[end + 1..]),
                None => (self.rest, &[][..]),
            };
            self.rest = rest;
            if !bytes.iter().all(u8::is_ascii_whitespace) {
                return Some(Line {
                    bytes,
                    number: self.number,
                    ended: end.is_some(),
                });
            }
        }
        None
    }
}

/// The header, if the line is one rather than an event.
pub(super) fn header_of(line: &[u8]) -> Result<Option<Header>, Flaw> {
    let looks = memchr::memmem::find(line, b"\"ordeal\"").is_some()
        && memchr::memmem::find(line, b"\"type\"").is_none();
    if !looks {
        return Ok(None);
    }
    let json: serde_json::Value = serde_json::from_slice(line)
        .map_err(|error| Flaw::Syntax(format!("the header is not JSON: {error}")))?;
    let version = json["ordeal"].as_u64();
    if version != Some(FORM_VERSION) {
        let flaw = format!(
            "form {} of histories; this checker reads form {FORM_VERSION}",
            json["ordeal"]
        );
        return Err(Flaw::Field(flaw));
    }
    let mut header: Header =
        serde_json::from_value(json).map_err(|error| Flaw::Field(format!("the header: {error}")))?;
    header.other.remove("ordeal");
    Ok(Some(header))
}

impl Event {
    /// Reads one line of our own form. Index and time must be given.
    ///
    /// # Errors
    /// What is wrong with the line.
    pub fn from_line(line: &[u8]) -> Result<Event, Flaw> {
        LineReader::new(Builder::new(Header::default(), Form::Ordeal, None)).event(line)
    }
}

impl Header {
    /// Reads the first line of our own form; `None` if the line is no header but, perhaps, an event.
    ///
    /// # Errors
    /// What is wrong with the header.
    pub fn from_line(line: &[u8]) -> Result<Option<Header>, Flaw> {
        header_of(line)
    }
}

/// The fields of a line as they are met.
#[derive(Default)]
struct Fields<'a> {
    index: Option<u64>,
    time: Option<u64>,
    process: Option<Process>,
    kind: Option<EventKind>,
    f: Option<Cow<'a, str>>,
    key: Option<Word>,
    value: Option<Word>,
    error: Option<Cow<'a, str>>,
    current: Option<Word>,
    rev: Option<i64>,
    node: Option<Cow<'a, str>>,
    intended: Option<u64>,
    other: serde_json::Map<String, serde_json::Value>,
}

impl LineReader {
    pub(super) fn new(builder: Builder) -> LineReader {
        LineReader {
            builder,
            clock: Clock::NotSeen,
        }
    }

    pub(super) fn push(&mut self, line: Line<'_>) -> Result<(), HistoryError> {
        let mut scanner = Scanner::new(line.bytes);
        let fields = match self.fields(&mut scanner) {
            Ok(fields) => fields,
            Err(_) if !line.ended && scanner.at_end() => return Ok(()),
            Err(flaw) => return Err(self.builder.malformed(line.number, Flaw::Syntax(flaw))),
        };
        let required = |what: &str| Flaw::Field(format!("the event has no {what:?}"));
        let missing = |reader: &Self, what: &str| reader.builder.malformed(line.number, required(what));
        let time = self.time(fields.time, line.number)?;
        let process = fields.process.ok_or_else(|| missing(self, "process"))?;
        let kind = fields.kind.ok_or_else(|| missing(self, "type"))?;
        let f = fields.f.ok_or_else(|| missing(self, "f"))?;
        let index = match process {
            Process::Client(process) => {
                let raw = RawEvent {
                    line: line.number,
                    index: fields.index,
                    time,
                    process,
                    kind,
                    f: &f,
                    key: fields
                        .key
                        .map_or(Word::ABSENT, |key| self.builder.history.pool.settled(key)),
                    value: fields.value.unwrap_or(Word::NIL),
                    error: fields.error.as_deref(),
                    current: fields.current.unwrap_or(Word::ABSENT),
                    rev: fields.rev,
                    node: fields.node.as_deref(),
                    intended: fields.intended.map(Nanos),
                };
                self.builder.push(raw)?
            }
            Process::Nemesis => {
                let event = Event {
                    index: fields.index.unwrap_or_else(|| self.builder.next_index()),
                    time,
                    process,
                    kind,
                    f: Name::from(f.into_owned()),
                    key: fields.key.map(|key| self.builder.history.pool.value(key)),
                    value: fields
                        .value
                        .map_or(Value::Nil, |value| self.builder.history.pool.value(value)),
                    error: fields.error.map(Cow::into_owned),
                    current: None,
                    rev: fields.rev,
                    node: fields.node.map(Cow::into_owned),
                    intended: fields.intended.map(Nanos),
                    other: fields.other,
                };
                return self.builder.push_nemesis(event, line.number);
            }
        };
        self.builder.keep_other(index, fields.other);
        Ok(())
    }

    /// The event of a line that stands for itself.
    fn event(&mut self, line: &[u8]) -> Result<Event, Flaw> {
        let mut scanner = Scanner::new(line);
        let fields = self.fields(&mut scanner).map_err(Flaw::Syntax)?;
        let missing = |what: &str| Flaw::Field(format!("the event has no {what:?}"));
        let pool = &self.builder.history.pool;
        Ok(Event {
            index: fields.index.ok_or_else(|| missing("index"))?,
            time: Nanos(fields.time.ok_or_else(|| missing("time"))?),
            process: fields.process.ok_or_else(|| missing("process"))?,
            kind: fields.kind.ok_or_else(|| missing("type"))?,
            f: Name::from(fields.f.ok_or_else(|| missing("f"))?.into_owned()),
            key: fields.key.map(|key| pool.value(key)),
            value: fields.value.map_or(Value::Nil, |value| pool.value(value)),
            error: fields.error.map(Cow::into_owned),
            current: fields.current.map(|current| pool.value(current)),
            rev: fields.rev,
            node: fields.node.map(Cow::into_owned),
            intended: fields.intended.map(Nanos),
            other: fields.other,
        })
    }

    fn fields<'a>(&mut self, scanner: &mut Scanner<'a>) -> Result<Fields<'a>, String> {
        let mut fields = Fields::default();
        scanner.expect(b'{')?;
        let mut more = !scanner.ends(b'}');
        while more {
            let name = scanner.string()?;
            scanner.expect(b':')?;
            self.field(&name, &mut fields, scanner)
                .map_err(|flaw| format!("{name:?}: {flaw}"))?;
            more = scanner.more(b'}')?;
        }
        scanner.finish()?;
        Ok(fields)
    }

    fn field<'a>(
        &mut self,
        name: &str,
        fields: &mut Fields<'a>,
        scanner: &mut Scanner<'a>,
    ) -> Result<(), String> {
        let null = scanner.peek() == Some(b'n');
        match name {
            "index" => fields.index = Some(scanner.unsigned("an index")?),
            "time" => fields.time = Some(scanner.unsigned("a time in ns")?),
            "process" => fields.process = Some(process(scanner)?),
            "type" => {
                let word = scanner.string()?;
                let kind = EventKind::from_word(&word);
                fields.kind =
                    Some(kind.ok_or_else(|| format!("{word:?} is none of invoke, ok, fail, info"))?);
            }
            "f" => fields.f = Some(scanner.string()?),
            "key" if null => skip(scanner)?,
            "key" => fields.key = Some(scanner.word(&mut self.builder.history.pool)?),
            "value" => fields.value = Some(scanner.word(&mut self.builder.history.pool)?),
            "error" if null => skip(scanner)?,
            "error" if scanner.peek() == Some(b'"') => fields.error = Some(scanner.string()?),
            "error" => fields.error = Some(Cow::Owned(scanner.value(0)?.to_json().to_string())),
            "current" => fields.current = Some(scanner.word(&mut self.builder.history.pool)?),
            "rev" if null => skip(scanner)?,
            "rev" => match scanner.value(0)? {
                Value::Int(rev) => fields.rev = Some(rev),
                other => return Err(format!("a revision must be a whole number, not {other}")),
            },
            "node" if null => skip(scanner)?,
            "node" => fields.node = Some(scanner.string()?),
            "intended" if null => skip(scanner)?,
            "intended" => fields.intended = Some(scanner.unsigned("a time in ns")?),
            _ => {
                let value = scanner.value(0)?;
                fields.other.insert(name.to_owned(), value.to_json());
            }
        }
        Ok(())
    }

    /// Either every event has a time or none has.
    fn time(&mut self, time: Option<u64>, line: u64) -> Result<Nanos, HistoryError> {
        match (time, self.clock) {
            (Some(time), Clock::NotSeen | Clock::Given) => {
                self.clock = Clock::Given;
                Ok(Nanos(time))
            }
            (None, Clock::NotSeen | Clock::Missing) => {
                self.clock = Clock::Missing;
                Ok(Nanos(line))
            }
            (None, Clock::Given) => Err(self
                .builder
                .malformed(line, Flaw::Field("the event has no \"time\"".to_owned()))),
            (Some(_), Clock::Missing) => {
                let flaw = "the event has a \"time\", but events before it have none".to_owned();
                Err(self.builder.malformed(line, Flaw::Field(flaw)))
            }
        }
    }
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

fn malformed(name: &Option<String>, line: u64, flaw: Flaw) -> HistoryError {
    HistoryError::Malformed {
        place: Place {
            file: name.clone(),
            line,
        },
        flaw,
    }
}

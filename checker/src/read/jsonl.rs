//! Our own form: a header line, then one event a line.
//!
//! Lines are understood in parallel, block by block, and put together in their order by one thread; so whatever
//! is wrong is said of the same line, and in the same words, as if they had been read one by one.

use std::io;

use rayon::prelude::*;

use super::blocks::{Block, Blocks};
use super::fields::Fields;
use super::json::Scanner;
use super::parsed::{Parsed, Said};
use super::plain::{Cell, PlainLine};
use super::source::Source;
use crate::history::{
    Builder, Event, FORM_VERSION, Flaw, Form, Header, History, HistoryError, Nanos, Pool, ProcessId,
    RawEvent, Word,
};

/// Reads a whole text. A last line that was cut off in the middle, as a killed run leaves it, is left out.
pub(super) fn read(source: Source<'_>, name: Option<String>) -> Result<History, HistoryError> {
    let mut lines = JsonLines::new(source, name.clone());
    let header = lines.header()?.unwrap_or_default();
    let mut builder = Builder::new(header, Form::Ordeal, name);
    lines.feed(&mut builder)?;
    builder.finish()
}

/// What takes events in their order.
pub(crate) trait Sink: Send {
    /// Where the values of events are put.
    fn pool(&mut self) -> &mut Pool;

    /// The index of an event that says none.
    fn next_index(&self) -> u64;

    /// Takes an event of a client.
    fn push(&mut self, event: RawEvent<'_>) -> Result<(), HistoryError>;

    /// Takes any event.
    fn push_event(&mut self, event: Event, line: u64) -> Result<(), HistoryError>;

    /// Whether it wants no more.
    fn is_done(&self) -> bool {
        false
    }
}

impl Sink for Builder {
    fn pool(&mut self) -> &mut Pool {
        &mut self.history.pool
    }

    fn next_index(&self) -> u64 {
        Builder::next_index(self)
    }

    fn push(&mut self, event: RawEvent<'_>) -> Result<(), HistoryError> {
        Builder::push(self, event).map(drop)
    }

    fn push_event(&mut self, event: Event, line: u64) -> Result<(), HistoryError> {
        Builder::push_event(self, event, line)
    }
}

/// The lines of a text, on their way to a sink.
#[derive(Debug)]
pub(crate) struct JsonLines<'a> {
    blocks: Blocks<'a>,
    name: Option<String>,
    /// The block that begins the text, and where its first event begins.
    first: Option<(Block, usize)>,
    /// How many lines were handed on.
    line: u64,
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

/// So many blocks are in work for each thread.
const BLOCKS_PER_THREAD: usize = 3;

impl<'a> JsonLines<'a> {
    /// Lines of a text that error messages call `name`.
    pub(crate) fn new(source: Source<'a>, name: Option<String>) -> JsonLines<'a> {
        JsonLines {
            blocks: Blocks::new(source),
            name,
            first: None,
            line: 0,
            clock: Clock::NotSeen,
        }
    }

    /// The header, if the text begins with one. To be asked for once, before anything else.
    pub(crate) fn header(&mut self) -> Result<Option<Header>, HistoryError> {
        while let Some(block) = self.next_block(Vec::new())? {
            let mut from = 0;
            while from < block.bytes.len() {
                let rest = &block.bytes[from..];
                let end = memchr::memchr(b'\n', rest).unwrap_or(rest.len());
                let line = &rest[..end];
                if !line.iter().all(u8::is_ascii_whitespace) {
                    let header =
                        header_of(line).map_err(|flaw| malformed(&self.name, self.line + 1, flaw))?;
                    if header.is_some() {
                        self.line += 1;
                        from = (from + end + 1).min(block.bytes.len());
                    }
                    self.first = Some((block, from));
                    return Ok(header);
                }
                self.line += 1;
                from += end + 1;
            }
            if block.too_long {
                self.first = Some((block, 0));
                return Ok(None);
            }
        }
        Ok(None)
    }

    /// Hands every event to a sink.
    ///
    /// # Errors
    /// The first line that is no event, or that the sink refuses.
    pub(crate) fn feed(mut self, sink: &mut impl Sink) -> Result<(), HistoryError> {
        let Some((block, from)) = self.first.take() else {
            return Ok(());
        };
        let ends = !block.ended || block.too_long;
        let mut batch = vec![Parsed::from(block, from, Parsed::default())];
        if ends {
            return self.put_all(batch, sink).map(drop);
        }
        let mut rooms = Vec::new();
        while !batch.is_empty() {
            let JsonLines {
                blocks,
                name,
                line,
                clock,
                ..
            } = &mut self;
            let mut putting = Putting { name, line, clock };
            let (next, put) = rayon::join(
                || next_batch(blocks, std::mem::take(&mut rooms)),
                || putting.all(batch, sink),
            );
            rooms = put?;
            batch = next.map_err(|error| unreadable(&self.name, error))?;
            if sink.is_done() {
                break;
            }
        }
        Ok(())
    }

    fn put_all(&mut self, batch: Vec<Parsed>, sink: &mut impl Sink) -> Result<Vec<Parsed>, HistoryError> {
        let JsonLines {
            name, line, clock, ..
        } = self;
        Putting { name, line, clock }.all(batch, sink)
    }

    fn next_block(&mut self, room: Vec<u8>) -> Result<Option<Block>, HistoryError> {
        self.blocks
            .next(room)
            .map_err(|error| unreadable(&self.name, error))
    }
}

/// The next blocks, understood.
fn next_batch(blocks: &mut Blocks<'_>, rooms: Vec<Parsed>) -> io::Result<Vec<Parsed>> {
    let count = BLOCKS_PER_THREAD * rayon::current_num_threads();
    let mut rooms = rooms.into_iter();
    let mut batch = Vec::with_capacity(count);
    while batch.len() < count {
        let mut room = rooms.next().unwrap_or_default();
        let Some(block) = blocks.next(std::mem::take(&mut room.bytes))? else {
            break;
        };
        batch.push((block, room));
    }
    let parse = |(block, room)| Parsed::from(block, 0, room);
    Ok(if batch.len() < 2 {
        batch.into_iter().map(parse).collect()
    } else {
        batch.into_par_iter().map(parse).collect()
    })
}

/// Puts lines into a sink, one after another.
struct Putting<'l> {
    name: &'l Option<String>,
    line: &'l mut u64,
    clock: &'l mut Clock,
}

impl Putting<'_> {
    /// Gives back the room of what was put.
    fn all(&mut self, batch: Vec<Parsed>, sink: &mut impl Sink) -> Result<Vec<Parsed>, HistoryError> {
        let mut rooms = Vec::with_capacity(batch.len());
        for mut parsed in batch {
            let mut lines = std::mem::take(&mut parsed.lines);
            for (number, said) in lines.drain(..) {
                let line = *self.line + u64::from(number);
                match said {
                    Said::Plain(plain) => self.plain(&parsed, plain, line, sink)?,
                    Said::Odd(fields) => self.odd(*fields, line, sink)?,
                }
                if sink.is_done() {
                    return Ok(rooms);
                }
            }
            parsed.lines = lines;
            if let Some((number, flaw)) = parsed.flaw.take() {
                return Err(malformed(self.name, *self.line + u64::from(number), flaw));
            }
            *self.line += parsed.count;
            rooms.push(parsed.into_room());
        }
        Ok(rooms)
    }

    fn plain(
        &mut self,
        parsed: &Parsed,
        plain: PlainLine,
        line: u64,
        sink: &mut impl Sink,
    ) -> Result<(), HistoryError> {
        let time = self.time(plain.time, line)?;
        let pool = sink.pool();
        let key = match word(parsed, plain.key, pool) {
            key if plain.key.is_pair() => pool.settled(key),
            key => key,
        };
        let (value, current) = (word(parsed, plain.value, pool), word(parsed, plain.current, pool));
        sink.push(RawEvent {
            line,
            index: plain.index,
            time,
            process: ProcessId(plain.process),
            kind: plain.kind,
            f: parsed.cells.name(plain.f),
            key,
            value,
            error: plain.error.map(|error| parsed.cells.name(error)),
            current,
            rev: plain.rev,
            node: plain.node.map(|node| parsed.cells.name(node)),
            intended: plain.intended.map(Nanos),
        })
    }

    fn odd(&mut self, fields: Fields, line: u64, sink: &mut impl Sink) -> Result<(), HistoryError> {
        let time = self.time(fields.time, line)?;
        let index = fields.index.unwrap_or_else(|| sink.next_index());
        let event = fields.into_event_at(index, time);
        sink.push_event(event.map_err(|flaw| malformed(self.name, line, flaw))?, line)
    }

    /// Either every event has a time or none has.
    fn time(&mut self, time: Option<u64>, line: u64) -> Result<Nanos, HistoryError> {
        let flaw = match (time, *self.clock) {
            (Some(time), Clock::NotSeen | Clock::Given) => {
                *self.clock = Clock::Given;
                return Ok(Nanos(time));
            }
            (None, Clock::NotSeen | Clock::Missing) => {
                *self.clock = Clock::Missing;
                return Ok(Nanos(line));
            }
            (None, Clock::Given) => "the event has no \"time\"",
            (Some(_), Clock::Missing) => "the event has a \"time\", but events before it have none",
        };
        Err(malformed(self.name, line, Flaw::Field(flaw.to_owned())))
    }
}

/// The word of a cell in a pool.
fn word(parsed: &Parsed, cell: Cell, pool: &mut Pool) -> Word {
    match cell {
        Cell::Absent => Word::ABSENT,
        Cell::Word(word) => word,
        Cell::Text(at) => {
            let text = parsed.cells.texts[at as usize];
            let bytes = &parsed.bytes[text.start as usize..text.end as usize];
            let said = std::str::from_utf8(bytes).expect("looked at when it was understood");
            pool.add_hashed_text(said, text.hash)
        }
        Cell::Pair(at) => {
            let (first, second) = parsed.cells.pairs[at as usize];
            let (first, second) = (word(parsed, first, pool), word(parsed, second, pool));
            pool.add_pair(first, second)
        }
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
        Fields::read(&mut Scanner::new(line))
            .map_err(Flaw::Syntax)?
            .into_event()
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

fn malformed(name: &Option<String>, line: u64, flaw: Flaw) -> HistoryError {
    super::malformed(name.as_deref(), line, flaw)
}

fn unreadable(name: &Option<String>, source: io::Error) -> HistoryError {
    super::unreadable(name.as_deref(), source)
}

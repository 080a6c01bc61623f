//! The operations that Jepsen prints in its log: `INFO  jepsen.util - 0 :invoke :read nil`.

use std::io::{BufRead, BufReader, Read};

use memchr::memmem;

use super::edn::{Parser, Stop};
use super::{LOGGER, unreadable};
use crate::history::{
    Builder, Event, EventKind, Flaw, Form, Header, History, HistoryError, Name, Nanos, Process, ProcessId,
    RawEvent, Value, Word,
};

/// So much of a log is read at once.
const PIECE: usize = 128 * 1024;
/// The longest line of an operation, in bytes: what a small packed file unpacks to must not fill memory.
const LONGEST: u64 = 64 << 20;

/// Reads a log line by line; lines of other loggers, whatever they hold, are passed over.
pub(super) fn read(from: impl Read, name: Option<String>) -> Result<History, HistoryError> {
    let mut builder = Builder::new(Header::default(), Form::JepsenLog, name.clone());
    let logger = memmem::Finder::new(LOGGER);
    let mut lines = BufReader::with_capacity(PIECE, from);
    let (mut line, mut number) = (Vec::new(), 0);
    let failed = |error| unreadable(name.as_deref(), error);
    loop {
        line.clear();
        let read = lines.by_ref().take(LONGEST).read_until(b'\n', &mut line);
        if read.map_err(failed)? == 0 {
            return builder.finish();
        }
        number += 1;
        let found = logger.find(&line);
        if line.len() as u64 == LONGEST && !line.ends_with(b"\n") {
            if found.is_some() {
                let flaw = Flaw::TooMuch("the line is longer than 64 MiB: no operation is so long");
                return Err(builder.malformed(number, flaw));
            }
            lines.skip_until(b'\n').map_err(failed)?;
        }
        let Some(found) = found else { continue };
        let said = std::str::from_utf8(&line[found + LOGGER.len()..]);
        let said = said.map_err(|_| builder.malformed(number, Flaw::Syntax("not UTF-8".to_owned())))?;
        let said = said.trim_end_matches(['\r', '\n']);
        push(&mut builder, said.trim_start_matches([' ', '-', '\t']), number)?;
    }
}

/// One operation: process, type, function, value, and whatever follows, as for instance an error.
fn push(builder: &mut Builder, said: &str, line: u64) -> Result<(), HistoryError> {
    let mut words = said.split_ascii_whitespace();
    let (Some(who), Some(kind), Some(f)) = (words.next(), words.next(), words.next()) else {
        return Ok(());
    };
    let process = match who.parse() {
        Ok(id) => Process::Client(ProcessId(id)),
        Err(_) if who == ":nemesis" => Process::Nemesis,
        Err(_) => return Ok(()),
    };
    let (Some(kind), Some(f)) = (kind.strip_prefix(':'), f.strip_prefix(':')) else {
        return Ok(());
    };
    let Some(kind) = EventKind::from_word(kind) else {
        let flaw = Flaw::Field(format!("type :{kind} is none of :invoke, :ok, :fail, :info"));
        return Err(builder.malformed(line, flaw));
    };
    if f.is_empty() {
        let flaw = Flaw::Field("the operation has no function".to_owned());
        return Err(builder.malformed(line, flaw));
    }
    let after = words.next().map_or("", |value| {
        &said[value.as_ptr() as usize - said.as_ptr() as usize..]
    });
    match process {
        Process::Client(process) => {
            let value = word(builder, after).map_err(|flaw| builder.malformed(line, Flaw::Syntax(flaw)))?;
            let raw = RawEvent {
                line,
                index: None,
                time: Nanos(0),
                process,
                kind,
                f,
                key: Word::ABSENT,
                value,
                error: None,
                current: Word::ABSENT,
                rev: None,
                node: None,
                intended: None,
            };
            builder.push(raw).map(drop)
        }
        Process::Nemesis => {
            let index = builder.next_index();
            let said = Value::from(after);
            let mut event = Event::new(
                index,
                Nanos(0),
                ProcessId(0),
                kind,
                Name::from(f.to_owned()),
                said,
            );
            event.process = Process::Nemesis;
            builder.push_nemesis(event, line)
        }
    }
}

fn word(builder: &mut Builder, after: &str) -> Result<Word, String> {
    if after.is_empty() {
        return Ok(Word::NIL);
    }
    if let Some(word) = after.parse().ok().and_then(Word::small) {
        return Ok(word);
    }
    let value = Parser::new(after.as_bytes())
        .value(0)
        .map_err(|stop| match stop {
            Stop::Flaw(_, flaw) => flaw.to_string(),
            Stop::Unreadable(error) => error.to_string(),
        })?;
    Ok(builder.history.pool.add(value))
}

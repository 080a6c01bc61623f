//! The operations that Jepsen prints in its log: `INFO  jepsen.util - 0 :invoke :read nil`.

use super::LOGGER;
use super::edn::{Parser, Stop};
use crate::history::{
    Builder, Event, EventKind, Flaw, Form, Header, History, HistoryError, Name, Nanos, Process, ProcessId,
    RawEvent, Value, Word,
};

/// Reads a whole log; lines of other loggers are passed over.
pub(super) fn read(text: &str, name: Option<String>) -> Result<History, HistoryError> {
    let mut builder = Builder::new(Header::default(), Form::JepsenLog, name);
    for (at, line) in text.lines().enumerate() {
        let Some(found) = line.find(LOGGER) else { continue };
        let said = line[found + LOGGER.len()..].trim_start_matches([' ', '-', '\t']);
        push(&mut builder, said, at as u64 + 1)?;
    }
    builder.finish()
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

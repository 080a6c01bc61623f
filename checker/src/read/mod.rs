//! Reads histories: looks at the content, not at the name, to know which form a file has.

mod edn;
mod edn_history;
mod jepsen_log;
mod json;
mod jsonl;

use std::fs;
use std::path::Path;

use crate::history::{Builder, Flaw, Form, Header, History, HistoryError, Place};

/// What a reader must be told because the file does not say it.
#[derive(Clone, Debug, Default)]
pub struct ReadOptions {
    /// Whether the values of an EDN history are pairs of a key and a value.
    pub tuples: Tuples,
}

/// What a value of two elements in an EDN history is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tuples {
    /// A value like any other.
    #[default]
    Values,
    /// A key and a value, as `jepsen.independent` writes them: the history splits by key.
    Independent,
}

impl History {
    /// Reads a file of any form: JSON Lines, EDN, a key-value log, a `jepsen.log`. An empty file is an empty
    /// history, and legal.
    ///
    /// # Errors
    /// [`HistoryError::Unreadable`] if there is no such file, [`HistoryError::Malformed`] with the line if it is
    /// no history.
    pub fn open(path: impl AsRef<Path>, options: &ReadOptions) -> Result<History, HistoryError> {
        let path = path.as_ref();
        let unreadable = |source| HistoryError::Unreadable {
            path: path.to_owned(),
            source,
        };
        let bytes = fs::read(path).map_err(unreadable)?;
        History::read(&bytes, Some(path.display().to_string()), options)
    }

    /// Reads a history from memory; `name` is what error messages call it.
    ///
    /// # Errors
    /// [`HistoryError::Malformed`] with the line if it is no history.
    pub fn read(bytes: &[u8], name: Option<String>, options: &ReadOptions) -> Result<History, HistoryError> {
        let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
        match Shape::of(bytes) {
            Shape::Empty => Builder::new(Header::default(), Form::JepsenLog, name).finish(),
            Shape::JsonLines => jsonl::read(bytes, name),
            Shape::Edn => edn_history::read(text(bytes, &name)?, name, options),
            Shape::JepsenLog => jepsen_log::read(text(bytes, &name)?, name),
            Shape::Other => Err(HistoryError::Malformed {
                place: Place { file: name, line: 1 },
                flaw: Flaw::Syntax("neither JSON Lines, EDN nor a jepsen.log".to_owned()),
            }),
        }
    }
}

/// What the first bytes look like.
enum Shape {
    Empty,
    JsonLines,
    Edn,
    JepsenLog,
    Other,
}

impl Shape {
    fn of(bytes: &[u8]) -> Shape {
        let start = bytes.iter().position(|byte| !byte.is_ascii_whitespace());
        let Some(start) = start else { return Shape::Empty };
        let rest = &bytes[start..];
        let second = rest[1..].iter().find(|byte| !byte.is_ascii_whitespace());
        match (rest[0], second) {
            (b'{', Some(b'"')) | (b'{', Some(b'}')) if !is_edn_map(rest) => Shape::JsonLines,
            (b'{' | b'[' | b'(' | b';' | b'#', _) => Shape::Edn,
            _ if looks_like_a_log(rest) => Shape::JepsenLog,
            _ => Shape::Other,
        }
    }
}

/// An EDN map could begin with a string as its key; a colon follows a key only in JSON.
fn is_edn_map(bytes: &[u8]) -> bool {
    let first_line = bytes.split(|&byte| byte == b'\n').next().unwrap_or_default();
    !first_line.contains(&b':')
        || first_line
            .windows(9)
            .any(|window| window == b" :process" || window == b":process ")
}

/// A line of a log begins with its level or its date, or names the logger.
fn looks_like_a_log(bytes: &[u8]) -> bool {
    let first_line = bytes.split(|&byte| byte == b'\n').next().unwrap_or_default();
    let levels: [&[u8]; 5] = [b"INFO", b"WARN", b"ERROR", b"DEBUG", b"TRACE"];
    let leveled = levels.iter().any(|level| first_line.starts_with(level));
    let dated =
        first_line.len() > 10 && first_line[..4].iter().all(u8::is_ascii_digit) && first_line[4] == b'-';
    leveled
        || dated
        || bytes
            .windows(LOGGER.len())
            .any(|window| window == LOGGER.as_bytes())
}

/// The logger that prints the operations of a Jepsen run.
const LOGGER: &str = "jepsen.util";

fn text<'a>(bytes: &'a [u8], name: &Option<String>) -> Result<&'a str, HistoryError> {
    std::str::from_utf8(bytes).map_err(|error| HistoryError::Malformed {
        place: Place {
            file: name.clone(),
            line: line_of(bytes, error.valid_up_to()),
        },
        flaw: Flaw::Syntax("not UTF-8".to_owned()),
    })
}

/// The line, counted from 1, on which a byte stands.
fn line_of(bytes: &[u8], at: usize) -> u64 {
    bytes[..at.min(bytes.len())]
        .iter()
        .filter(|&&byte| byte == b'\n')
        .count() as u64
        + 1
}

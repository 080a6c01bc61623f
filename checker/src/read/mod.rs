//! Reads histories: looks at the content, not at the name, to know which form a file has.

mod blocks;
mod edn;
mod edn_history;
mod fields;
mod jepsen_log;
mod json;
mod jsonl;
mod parsed;
mod plain;
mod source;

use std::io::{self, Read};
use std::path::{Path, PathBuf};

pub(crate) use jsonl::{JsonLines, Sink};
use source::STANDARD_INPUT;
pub(crate) use source::Source;

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
    /// Reads a file of any form: JSON Lines, EDN, a key-value log, a `jepsen.log`, as it is or packed by gzip or
    /// zstd; `-` is standard input. An empty file is an empty history, and legal.
    ///
    /// # Errors
    /// [`HistoryError::Unreadable`] if there is no such file, [`HistoryError::Malformed`] with the line if it is
    /// no history.
    pub fn open(path: impl AsRef<Path>, options: &ReadOptions) -> Result<History, HistoryError> {
        let path = path.as_ref();
        let name = name_of(path);
        let source = Source::open(path).map_err(|error| unreadable(Some(&name), error))?;
        from_source(source, Some(name), options)
    }

    /// Reads a history from memory; `name` is what error messages call it.
    ///
    /// # Errors
    /// [`HistoryError::Malformed`] with the line if it is no history.
    pub fn read(bytes: &[u8], name: Option<String>, options: &ReadOptions) -> Result<History, HistoryError> {
        History::read_from(bytes, name, options)
    }

    /// Reads a history from anything that can be read; `name` is what error messages call it.
    ///
    /// # Errors
    /// [`HistoryError::Unreadable`] if reading fails, [`HistoryError::Malformed`] with the line if it is no
    /// history.
    pub fn read_from(
        from: impl Read + Send,
        name: Option<String>,
        options: &ReadOptions,
    ) -> Result<History, HistoryError> {
        let source = Source::new(from).map_err(|error| unreadable(name.as_deref(), error))?;
        from_source(source, name, options)
    }
}

/// What error messages call a file.
pub(crate) fn name_of(path: &Path) -> String {
    if path.as_os_str() == STANDARD_INPUT {
        "standard input".to_owned()
    } else {
        path.display().to_string()
    }
}

fn from_source(
    mut source: Source<'_>,
    name: Option<String>,
    options: &ReadOptions,
) -> Result<History, HistoryError> {
    match Shape::of_source(&mut source, name.as_deref())? {
        Shape::Empty => Builder::new(Header::default(), Form::JepsenLog, name).finish(),
        Shape::JsonLines => jsonl::read(source, name),
        Shape::Edn => edn_history::read(source, name, options),
        Shape::JepsenLog => jepsen_log::read(source, name),
        Shape::Other => Err(malformed(
            name.as_deref(),
            1,
            Flaw::Syntax("neither JSON Lines, EDN nor a jepsen.log".to_owned()),
        )),
    }
}

/// The form of a history is told from so many bytes.
const LOOKED_AT: usize = 256 * 1024;

/// What the first bytes look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    Empty,
    JsonLines,
    Edn,
    JepsenLog,
    Other,
}

impl Shape {
    /// Looks at a source, and passes over a byte order mark.
    pub(crate) fn of_source(source: &mut Source<'_>, name: Option<&str>) -> Result<Shape, HistoryError> {
        let first = source.peek(LOOKED_AT).map_err(|error| unreadable(name, error))?;
        let marked = first.starts_with(b"\xef\xbb\xbf");
        let shape = Shape::of(if marked { &first[3..] } else { first });
        if marked {
            source.pass(3);
        }
        Ok(shape)
    }

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

pub(crate) fn malformed(name: Option<&str>, line: u64, flaw: Flaw) -> HistoryError {
    HistoryError::Malformed {
        place: Place {
            file: name.map(str::to_owned),
            line,
            column: None,
        },
        flaw,
    }
}

pub(crate) fn unreadable(name: Option<&str>, source: io::Error) -> HistoryError {
    HistoryError::Unreadable {
        path: PathBuf::from(name.unwrap_or("history")),
        source,
    }
}

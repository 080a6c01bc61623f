//! What is wrong with a history, and on which line.

use std::fmt;
use std::io;
use std::num::NonZeroU32;
use std::path::PathBuf;

use thiserror::Error;

/// Why a history could not be read. Its text is one line: where, and what is wrong.
#[derive(Debug, Error)]
pub enum HistoryError {
    /// The file could not be read at all.
    #[error("{}: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The content is not a history that can be judged.
    #[error("{place}: {flaw}")]
    Malformed {
        /// The file and line.
        place: Place,
        /// What is wrong there.
        flaw: Flaw,
    },
}

/// Where in a history something was said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// The file, if it came from one.
    pub file: Option<String>,
    /// The line, counted from 1; the number of the event, counted from 1, if there is no file.
    pub line: u64,
    /// The character of that line, counted from 1, where the form says no more by its lines: in EDN.
    pub column: Option<NonZeroU32>,
}

/// What is wrong with a line.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Flaw {
    /// The bytes are not of the form that the file began with.
    #[error("{0}")]
    Syntax(String),
    /// A required field is missing or holds something else.
    #[error("{0}")]
    Field(String),
    /// Something came back that nobody had asked for.
    #[error("process {process} completes {f} ({kind}), but it has no open invocation")]
    CompletionWithoutInvocation {
        /// The process.
        process: u64,
        /// The function that came back.
        f: String,
        /// `ok`, `fail` or `info`.
        kind: &'static str,
    },
    /// A process asked for a second thing before the first came back.
    #[error(
        "process {process} invokes {f}, but its {open_f} from line {open_line} has not completed: a process does one thing at a time"
    )]
    TwoOpenInvocations {
        /// The process.
        process: u64,
        /// The second function.
        f: String,
        /// The function that is still open.
        open_f: String,
        /// Where that was invoked.
        open_line: u64,
    },
    /// What came back is not what was asked.
    #[error("process {process} completes {what} {found}, but invoked {what} {invoked} on line {open_line}")]
    CompletesAnother {
        /// The process.
        process: u64,
        /// `function` or `key`.
        what: &'static str,
        /// In the completion.
        found: String,
        /// In the invocation.
        invoked: String,
        /// Where it was invoked.
        open_line: u64,
    },
    /// The clock of the run went backwards.
    #[error("time goes backwards, from {before} to {now} ns")]
    TimeBackwards {
        /// The time of the event before.
        before: u64,
        /// The time of this event.
        now: u64,
    },
    /// Events are not numbered upwards.
    #[error("index {now} follows index {before}: indexes must grow")]
    IndexBackwards {
        /// The index of the event before.
        before: u64,
        /// The index of this event.
        now: u64,
    },
    /// Two events have one number.
    #[error("index {0} is given to two events")]
    IndexTwice(u64),
    /// The model does not know the function.
    #[error("unknown function {f:?}: model {model} knows {known}")]
    UnknownFunction {
        /// The function.
        f: String,
        /// The model.
        model: String,
        /// The functions it knows.
        known: String,
    },
    /// The model knows the function but not with such a value.
    #[error("{f} takes {wanted}, not {found}")]
    WrongValue {
        /// The function.
        f: String,
        /// What it takes.
        wanted: &'static str,
        /// What it was given.
        found: String,
    },
    /// More than can be counted here.
    #[error("{0}")]
    TooMuch(&'static str),
}

impl fmt::Display for Place {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.file {
            Some(file) => write!(out, "{file}:{}", self.line)?,
            None => write!(out, "event {}", self.line)?,
        }
        match self.column {
            Some(column) => write!(out, ":{column}"),
            None => Ok(()),
        }
    }
}

//! The faults that are in force, on disk before they are applied.
//!
//! JSON lines, only ever appended to: `begin` before a fault is applied, `amend`
//! when part of it is undone, `end` once all of it is. What has begun and not
//! ended must be undone by whoever opens the journal next. A torn last line is a
//! fault that was never applied: it is cut off.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};
use serde::{Deserialize, Serialize};

use crate::effect::Effect;
use crate::fault::Fault;

/// Number of a fault within its journal, counted from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct FaultId(pub u64);

impl std::fmt::Display for FaultId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "#{}", self.0)
    }
}

/// A fault as the journal has it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// Its number.
    pub id: FaultId,
    /// What was asked for.
    pub fault: Fault,
    /// What that means, by name.
    pub effect: Effect,
    /// The same in words.
    pub sentence: String,
    /// When it is to be undone by itself, in milliseconds since 1970, so that
    /// whoever takes the journal over keeps the appointment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until_ms: Option<u64>,
}

#[derive(Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "lowercase")]
enum Line {
    Begin(Entry),
    Amend { id: FaultId, effect: Effect },
    End { id: FaultId },
}

/// Why a journal cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// Another nemesis holds it.
    #[error("another nemesis works on this cluster (it holds {0}): end it, or ask it by `nemesis --cluster`")]
    Held(PathBuf),
    /// It could not be read or written.
    #[error("journal {path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A line before the last makes no sense, so nobody can know what to undo.
    #[error(
        "journal {path}, line {line}: {message}; undo by hand what `nemesis status` shows, then delete the file"
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1.
        line: usize,
        /// What is wrong with it.
        message: String,
    },
}

/// An open journal. While it is open no other process can open it.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    file: Flock<File>,
    next: u64,
}

impl Journal {
    /// Opens or creates the journal at `path`, and returns the faults that it
    /// holds: applied, or about to be, and not undone.
    ///
    /// # Errors
    /// If another process has it open, it cannot be written, or is damaged.
    pub fn open(path: &Path) -> Result<(Journal, Vec<Entry>), JournalError> {
        let io = |source| JournalError::Io {
            path: path.to_owned(),
            source,
        };
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .map_err(io)?;
        let mut file =
            Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|(_, errno)| match errno {
                nix::errno::Errno::EWOULDBLOCK => JournalError::Held(path.to_owned()),
                other => io(other.into()),
            })?;
        let mut text = Vec::new();
        file.read_to_end(&mut text).map_err(io)?;
        let whole = text
            .iter()
            .rposition(|byte| *byte == b'\n')
            .map_or(0, |at| at + 1);
        if whole < text.len() {
            file.set_len(whole as u64).map_err(io)?;
            file.seek(SeekFrom::End(0)).map_err(io)?;
        }
        let (held, last) = replay(&text[..whole]).map_err(|(line, message)| JournalError::Damaged {
            path: path.to_owned(),
            line,
            message,
        })?;
        Ok((
            Journal {
                path: path.to_owned(),
                file,
                next: last + 1,
            },
            held,
        ))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes that a fault is about to be applied; returns once that is on disk.
    ///
    /// # Errors
    /// If it could not be written: then the fault must not be applied.
    pub fn begin(
        &mut self,
        fault: &Fault,
        effect: &Effect,
        sentence: &str,
        until_ms: Option<u64>,
    ) -> Result<Entry, JournalError> {
        let entry = Entry {
            id: FaultId(self.next),
            fault: fault.clone(),
            effect: effect.clone(),
            sentence: sentence.to_owned(),
            until_ms,
        };
        self.write(&Line::Begin(entry.clone()))?;
        self.next += 1;
        Ok(entry)
    }

    /// Writes that this is what is left of a fault.
    ///
    /// # Errors
    /// If it could not be written.
    pub fn amend(&mut self, id: FaultId, effect: &Effect) -> Result<(), JournalError> {
        self.write(&Line::Amend {
            id,
            effect: effect.clone(),
        })
    }

    /// Writes that a fault has been undone.
    ///
    /// # Errors
    /// If it could not be written.
    pub fn end(&mut self, id: FaultId) -> Result<(), JournalError> {
        self.write(&Line::End { id })
    }

    fn write(&mut self, line: &Line) -> Result<(), JournalError> {
        let mut text = serde_json::to_vec(line).expect("journal lines are plain data");
        text.push(b'\n');
        self.file
            .write_all(&text)
            .and_then(|()| self.file.sync_data())
            .map_err(|source| JournalError::Io {
                path: self.path.clone(),
                source,
            })
    }
}

/// The entries that have begun and not ended, and the highest number given.
fn replay(text: &[u8]) -> Result<(Vec<Entry>, u64), (usize, String)> {
    let mut held: Vec<Entry> = Vec::new();
    let mut last = 0;
    let lines = text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    for (number, line) in (1..).zip(lines) {
        let line: Line = serde_json::from_slice(line).map_err(|error| (number, error.to_string()))?;
        match line {
            Line::Begin(entry) => {
                last = last.max(entry.id.0);
                held.push(entry);
            }
            Line::Amend { id, effect } => {
                let entry = held.iter_mut().find(|entry| entry.id == id);
                entry
                    .ok_or_else(|| (number, format!("{id} was not begun")))?
                    .effect = effect;
            }
            Line::End { id } => held.retain(|entry| entry.id != id),
        }
    }
    Ok((held, last))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::Target;

    fn kill() -> Fault {
        Fault::Kill { target: Target::One }
    }

    #[test]
    fn what_was_begun_and_not_ended_is_found_again() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let path = dir.path().join("journal");
        let (mut journal, held) = Journal::open(&path).expect("opens");
        assert_eq!(held, Vec::new());
        let first = journal
            .begin(&kill(), &Effect::default(), "n1", None)
            .expect("writes");
        let second = journal
            .begin(&kill(), &Effect::default(), "n2", None)
            .expect("writes");
        journal.end(first.id).expect("writes");
        assert!(
            matches!(Journal::open(&path), Err(JournalError::Held(_))),
            "two may not hold it"
        );
        drop(journal);
        let (mut journal, held) = Journal::open(&path).expect("opens");
        assert_eq!(held, vec![second.clone()]);
        let third = journal
            .begin(&kill(), &Effect::default(), "n3", None)
            .expect("writes");
        assert!(third.id > second.id, "numbers are never given twice");
    }

    #[test]
    fn a_torn_last_line_was_never_applied_and_damage_before_it_is_said() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let path = dir.path().join("journal");
        let (mut journal, _) = Journal::open(&path).expect("opens");
        journal
            .begin(&kill(), &Effect::default(), "n1", None)
            .expect("writes");
        drop(journal);
        let whole = std::fs::read(&path).expect("readable");
        for cut in 0..whole.len() {
            let mut torn = whole.clone();
            torn.extend_from_slice(&whole[..cut]);
            std::fs::write(&path, &torn).expect("writable");
            let (journal, held) = Journal::open(&path).expect("a torn tail is no damage");
            assert_eq!(held.len(), 1, "cut at {cut}");
            drop(journal);
            assert_eq!(std::fs::read(&path).expect("readable"), whole, "cut at {cut}");
        }
        std::fs::write(&path, [b"garbage\n".as_slice(), &whole].concat()).expect("writable");
        assert!(matches!(
            Journal::open(&path),
            Err(JournalError::Damaged { line: 1, .. })
        ));
    }
}

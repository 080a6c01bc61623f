//! What was run so far, one line each, so that whatever makes many runs goes on where it was killed.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Entries of one kind on disk, after a first line that says what they have in common.
#[derive(Debug)]
pub struct Journal<Entry> {
    path: PathBuf,
    file: File,
    entries: Vec<Entry>,
}

impl<Entry: Serialize + DeserializeOwned> Journal<Entry> {
    /// Opens or begins the journal at `path`, and holds it until dropped. A line that a kill cut short is dropped.
    ///
    /// # Errors
    /// When it cannot be read or written, is in use, or begins with another edition.
    pub fn open<Edition>(path: &Path, edition: &Edition) -> Result<Self>
    where
        Edition: Serialize + DeserializeOwned + PartialEq,
    {
        let shown = path.display();
        let at = || shown.to_string();
        let mut file = hold(path)?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).with_context(at)?;
        let whole = bytes
            .iter()
            .rposition(|byte| *byte == b'\n')
            .map_or(0, |end| end + 1);
        let text = std::str::from_utf8(&bytes[..whole]).with_context(at)?;
        let mut lines = text.lines().zip(1..);
        let mut entries = Vec::new();
        let head = lines.next();
        if let Some((head, _)) = head {
            let known: Edition = serde_json::from_str(head).with_context(|| format!("{shown}:1"))?;
            if known != *edition {
                bail!(
                    "{shown} holds runs of other programs or settings than those here; keep it and give another --out, or begin anew with --fresh"
                );
            }
        }
        for (line, number) in lines {
            entries.push(serde_json::from_str(line).with_context(|| format!("{shown}:{number}"))?);
        }
        file.set_len(whole as u64).with_context(at)?;
        if head.is_none() {
            writeln!(file, "{}", serde_json::to_string(edition)?).with_context(at)?;
        }
        Ok(Self {
            path: path.to_owned(),
            file,
            entries,
        })
    }

    /// Forgets what is there.
    ///
    /// # Errors
    /// When it is in use, or cannot be written.
    pub fn begin_anew(path: &Path) -> Result<()> {
        hold(path)?.set_len(0).with_context(|| path.display().to_string())
    }

    /// What is there.
    #[must_use]
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Keeps an entry; it is on disk when this returns.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn keep(&mut self, entry: Entry) -> Result<()> {
        writeln!(self.file, "{}", serde_json::to_string(&entry)?)
            .and_then(|()| self.file.sync_data())
            .with_context(|| format!("{}", self.path.display()))?;
        self.entries.push(entry);
        Ok(())
    }
}

/// Opens the file for us alone.
fn hold(path: &Path) -> Result<File> {
    let at = || path.display().to_string();
    let mut options = OpenOptions::new();
    let file = options
        .create(true)
        .read(true)
        .append(true)
        .open(path)
        .with_context(at)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            bail!(
                "{} is in use by another process: wait for it, or choose another folder with --out",
                at()
            )
        }
        Err(TryLockError::Error(error)) => Err(error).with_context(at),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(path: &Path, edition: &str) -> Result<Journal<(u64, String)>> {
        Journal::open(path, &edition.to_owned())
    }

    #[test]
    fn a_journal_goes_on_where_it_was_killed() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("trials.jsonl");
        let one = (1, "one\ntwo".to_owned());
        let mut journal = open(&path, "a").expect("begun");
        journal.keep(one.clone()).expect("kept");
        let refused = open(&path, "a").expect_err("in use").to_string();
        assert!(refused.contains("in use"), "{refused}");
        drop(journal);
        let mut file = OpenOptions::new().append(true).open(&path).expect("there");
        file.write_all(b"[2,\"cut sh\xc3").expect("written");
        drop(file);
        let mut journal = open(&path, "a").expect("opened");
        assert_eq!(journal.entries(), std::slice::from_ref(&one));
        let two = (2, "two".to_owned());
        journal.keep(two.clone()).expect("kept");
        drop(journal);
        let journal = open(&path, "a").expect("opened");
        assert_eq!(journal.entries(), [one, two]);
        drop(journal);
        let refused = open(&path, "b").expect_err("another edition").to_string();
        assert!(refused.contains("--fresh"), "{refused}");
        Journal::<(u64, String)>::begin_anew(&path).expect("forgotten");
        assert_eq!(open(&path, "b").expect("begun").entries(), []);
    }
}

//! The trials so far, one a line, so that a scorecard that was killed goes on where it stopped.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use super::trial::{Plan, Trial};

/// What the trials of one journal have in common; its first line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Edition {
    /// SHA-256 of the node with planted bugs.
    pub(super) planted: String,
    /// SHA-256 of the node without.
    pub(super) clean: String,
    /// SHA-256 of the program that ran them.
    pub(super) runner: String,
}

/// Trials on disk.
#[derive(Debug)]
pub(super) struct Journal {
    path: PathBuf,
    file: File,
    trials: Vec<Trial>,
}

impl Journal {
    /// Opens or begins the journal at `path`. A line that a kill cut short is dropped.
    ///
    /// # Errors
    /// When it cannot be read or written, or belongs to another edition.
    pub(super) fn open(path: &Path, edition: &Edition) -> Result<Self> {
        let shown = path.display();
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => String::new(),
            Err(error) => return Err(error).with_context(|| format!("{shown}")),
        };
        let whole = text.rfind('\n').map_or(0, |end| end + 1);
        let mut lines = text[..whole].lines().zip(1..);
        let mut trials = Vec::new();
        let head = lines.next();
        if let Some((head, _)) = head {
            let known: Edition = serde_json::from_str(head).with_context(|| format!("{shown}:1"))?;
            if known != *edition {
                bail!(
                    "{shown} holds trials of other programs than those here; keep it and give another --out, or begin anew with --fresh"
                );
            }
        }
        for (line, number) in lines {
            trials.push(serde_json::from_str(line).with_context(|| format!("{shown}:{number}"))?);
        }
        let mut file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(path)
            .with_context(|| format!("{shown}"))?;
        file.set_len(whole as u64).with_context(|| format!("{shown}"))?;
        if head.is_none() {
            writeln!(file, "{}", serde_json::to_string(edition)?).with_context(|| format!("{shown}"))?;
        }
        Ok(Self {
            path: path.to_owned(),
            file,
            trials,
        })
    }

    /// What is there.
    #[must_use]
    pub(super) fn trials(&self) -> &[Trial] {
        &self.trials
    }

    /// Whether this was run already, and had a verdict.
    #[must_use]
    pub(super) fn has(&self, plan: &Plan) -> bool {
        self.trials.iter().any(|trial| trial.plan == *plan)
    }

    /// Keeps a trial.
    ///
    /// # Errors
    /// When the disk refuses.
    pub(super) fn keep(&mut self, trial: Trial) -> Result<()> {
        writeln!(self.file, "{}", serde_json::to_string(&trial)?)
            .and_then(|()| self.file.sync_data())
            .with_context(|| format!("{}", self.path.display()))?;
        self.trials.push(trial);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::trial::{Against, Verdict};
    use super::*;

    fn trial(seed: u64) -> Trial {
        Trial {
            plan: Plan {
                against: Against::Clean,
                bug: None,
                workload: None,
                nemesis: None,
                at_once: None,
                seed,
                seconds: 30,
            },
            verdict: Verdict::Valid,
            anomaly: None,
            sentence: String::new(),
            load_s: 30.0,
            operations: 1,
            wall_s: 33.0,
            busy: 0.0,
        }
    }

    #[test]
    fn a_journal_goes_on_where_it_was_killed() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("trials.jsonl");
        let edition = Edition {
            planted: "a".into(),
            clean: "b".into(),
            runner: "c".into(),
        };
        let mut journal = Journal::open(&path, &edition).expect("begun");
        journal.keep(trial(1)).expect("kept");
        drop(journal);
        let mut file = OpenOptions::new().append(true).open(&path).expect("there");
        file.write_all(b"{\"against\":\"cle").expect("written");
        let mut journal = Journal::open(&path, &edition).expect("opened");
        assert_eq!(journal.trials(), [trial(1)]);
        assert!(journal.has(&trial(1).plan) && !journal.has(&trial(2).plan));
        journal.keep(trial(2)).expect("kept");
        let journal = Journal::open(&path, &edition).expect("opened");
        assert_eq!(journal.trials(), [trial(1), trial(2)]);
        let other = Edition {
            planted: "x".into(),
            ..edition
        };
        let refused = Journal::open(&path, &other)
            .expect_err("another edition")
            .to_string();
        assert!(refused.contains("--fresh"), "{refused}");
    }
}

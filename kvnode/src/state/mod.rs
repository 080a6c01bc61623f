//! The replicated state: keys, their values and versions, and what requests answered.
//!
//! Invariants:
//! - it is a function of the log up to `applied` and of nothing else: no clock of its
//!   own, no randomness, no configuration;
//! - `digest` is the sum over all parts of their hashes, kept up with every write, so
//!   two replicas at the same `applied` are the same exactly when their digests are
//!   (up to collisions of a 128-bit hash);
//! - every key with an end is in `ends`, and none whose end the replicated clock has
//!   reached is in `entries`.

pub mod departed;
pub mod sessions;

use std::ops::Bound;
use std::sync::Arc;

use imbl::OrdMap;
use xxhash_rust::xxh3::Xxh3;

use crate::command::{Command, MAX_VALUE_BYTES, Operation, Outcome, Txn, Versioned};
use sessions::Sessions;

/// The keys at some log index. Cloning is cheap: the maps share their nodes, so a
/// snapshot is written from a clone while the original goes on.
#[derive(Debug, Clone, Default)]
pub struct State {
    entries: OrdMap<Arc<str>, Versioned>,
    ends: OrdMap<(u64, Arc<str>), ()>,
    sessions: Sessions,
    applied: u64,
    clock_ms: u64,
    digest: u128,
    bytes: u64,
}

/// A key that changed, and what it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The key.
    pub key: Arc<str>,
    /// Its value after the change; none when it was removed or expired.
    pub value: Option<Arc<str>>,
}

/// Collects the changes that applying makes.
pub type Changes = Vec<Change>;

impl State {
    /// The state that these parts make, at log index `applied`.
    pub fn from_parts(
        applied: u64,
        clock_ms: u64,
        entries: impl IntoIterator<Item = (Arc<str>, Versioned)>,
        sessions: Sessions,
    ) -> State {
        let mut state = State {
            applied,
            clock_ms,
            sessions,
            ..State::default()
        };
        for (key, entry) in entries {
            state.put(key, entry);
        }
        state
    }

    /// Index of the last entry applied; 0 when none was.
    pub fn applied(&self) -> u64 {
        self.applied
    }

    /// The replicated clock: the largest stamp in the log, ms since the epoch.
    pub fn clock_ms(&self) -> u64 {
        self.clock_ms
    }

    /// A hash of everything replicated, equal on replicas at the same index.
    pub fn digest(&self) -> u128 {
        self.digest
            .wrapping_add(self.sessions.digest())
            .wrapping_add(u128::from(self.clock_ms))
    }

    /// Bytes of all keys and values.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// How many keys there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are no keys.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// What requests answered.
    pub fn sessions(&self) -> &Sessions {
        &self.sessions
    }

    /// When the next key ends, by the replicated clock.
    pub fn next_end_ms(&self) -> Option<u64> {
        self.ends.get_min().map(|((end, _), ())| *end)
    }

    /// The key's value and version.
    pub fn get(&self, key: &str) -> Option<&Versioned> {
        self.entries.get(key)
    }

    /// All entries in key order.
    pub fn entries(&self) -> impl Iterator<Item = (&Arc<str>, &Versioned)> {
        self.entries.iter()
    }

    /// The entries whose keys begin with `prefix` and lie after `after`, in key order.
    pub fn scan<'a>(
        &'a self,
        prefix: &'a str,
        after: Option<&'a str>,
    ) -> impl Iterator<Item = (&'a Arc<str>, &'a Versioned)> {
        let start = match after {
            Some(after) if after >= prefix => Bound::Excluded(after),
            _ => Bound::Included(prefix),
        };
        self.entries
            .range::<(Bound<&str>, Bound<&str>), str>((start, Bound::Unbounded))
            .take_while(move |(key, _)| key.starts_with(prefix))
    }

    /// Notes an entry without a command (a leader's first, a membership).
    pub fn skip(&mut self, index: u64) {
        self.advance(index);
    }

    /// Applies the command at `index` and answers what came of it.
    ///
    /// # Panics
    /// When `index` is not beyond everything applied: an entry applied twice, or out
    /// of order, is corruption that must not be served.
    pub fn apply(&mut self, term: u64, index: u64, command: &Command, changes: &mut Changes) -> Outcome {
        self.advance(index);
        self.clock_ms = self.clock_ms.max(command.stamp_ms);
        self.expire(changes);
        let Some(request) = &command.request else {
            return self.execute(index, &command.operation, changes);
        };
        if let Some(verdict) = self.sessions.verdict(request, &command.operation, self.clock_ms) {
            return verdict;
        }
        let outcome = self.execute(index, &command.operation, changes);
        self.sessions.keep(
            request,
            &command.operation,
            (term, index, self.clock_ms),
            &outcome,
        );
        outcome
    }

    fn execute(&mut self, index: u64, operation: &Operation, changes: &mut Changes) -> Outcome {
        match operation {
            Operation::Set { key, value, ttl_ms } => {
                let expires_ms = ttl_ms.map(|ttl| self.clock_ms.saturating_add(ttl.max(1)));
                self.write(
                    key,
                    Versioned {
                        value: value.clone(),
                        version: index,
                        expires_ms,
                    },
                    changes,
                )
            }
            Operation::Cas { key, expected, value } => {
                let current = self.entries.get(key);
                if !expected.holds(current) {
                    return Outcome::Mismatch {
                        current: current.cloned(),
                    };
                }
                let expires_ms = current.and_then(|current| current.expires_ms);
                self.write(
                    key,
                    Versioned {
                        value: value.clone(),
                        version: index,
                        expires_ms,
                    },
                    changes,
                )
            }
            Operation::Append { key, value } => {
                let current = self.entries.get(key);
                let before = current.map_or("", |current| &*current.value);
                if before.len() + value.len() > MAX_VALUE_BYTES {
                    return Outcome::TooLong;
                }
                let expires_ms = current.and_then(|current| current.expires_ms);
                let value = Arc::from(format!("{before}{value}"));
                self.write(
                    key,
                    Versioned {
                        value,
                        version: index,
                        expires_ms,
                    },
                    changes,
                )
            }
            Operation::Delete { key } => {
                let existed = self.take(key);
                if existed {
                    changes.push(Change {
                        key: key.clone(),
                        value: None,
                    });
                }
                Outcome::Deleted(existed)
            }
            Operation::Get { key } => Outcome::Read(self.entries.get(key).cloned()),
            Operation::Txn(txn) => self.transact(index, txn, changes),
            Operation::Tick => Outcome::Nothing,
        }
    }

    /// All steps or none: a step that cannot be done undoes those before it.
    fn transact(&mut self, index: u64, txn: &Txn, changes: &mut Changes) -> Outcome {
        let succeeded = txn
            .compare
            .iter()
            .all(|(key, expected)| expected.holds(self.entries.get(key)));
        let steps = if succeeded { &txn.then } else { &txn.otherwise };
        let mut trial = self.clone();
        let (mut answers, mut changed) = (Vec::with_capacity(steps.len()), Changes::new());
        for step in steps {
            match trial.execute(index, step, &mut changed) {
                Outcome::TooLong => return Outcome::TooLong,
                answer => answers.push(answer),
            }
        }
        *self = trial;
        changes.append(&mut changed);
        Outcome::Txn {
            succeeded,
            steps: answers,
        }
    }

    fn advance(&mut self, index: u64) {
        assert!(
            index > self.applied || (index == 0 && self.applied == 0),
            "log entry {index} applied after {}",
            self.applied
        );
        self.applied = index;
    }

    fn expire(&mut self, changes: &mut Changes) {
        while let Some(((end, key), ())) = self.ends.get_min().cloned() {
            if end > self.clock_ms {
                break;
            }
            self.take(&key);
            changes.push(Change { key, value: None });
        }
        self.sessions.expire(self.clock_ms);
    }

    fn write(&mut self, key: &Arc<str>, entry: Versioned, changes: &mut Changes) -> Outcome {
        changes.push(Change {
            key: key.clone(),
            value: Some(entry.value.clone()),
        });
        self.put(key.clone(), entry);
        Outcome::Written
    }

    fn put(&mut self, key: Arc<str>, entry: Versioned) {
        self.bytes += (key.len() + entry.value.len()) as u64;
        self.digest = self.digest.wrapping_add(digest_of(&key, &entry));
        if let Some(end) = entry.expires_ms {
            self.ends.insert((end, key.clone()), ());
        }
        let end = entry.expires_ms;
        if let Some(old) = self.entries.insert(key.clone(), entry) {
            self.forget(key, &old, end);
        }
    }

    fn take(&mut self, key: &Arc<str>) -> bool {
        let Some(old) = self.entries.remove(key) else {
            return false;
        };
        self.forget(key.clone(), &old, None);
        true
    }

    /// Takes an entry that is no longer there out of the sums and the ends, unless the
    /// key's new end is the same.
    fn forget(&mut self, key: Arc<str>, old: &Versioned, new_end: Option<u64>) {
        self.bytes -= (key.len() + old.value.len()) as u64;
        self.digest = self.digest.wrapping_sub(digest_of(&key, old));
        if let Some(end) = old.expires_ms.filter(|_| old.expires_ms != new_end) {
            self.ends.remove(&(end, key));
        }
    }
}

fn digest_of(key: &str, entry: &Versioned) -> u128 {
    let mut hasher = Xxh3::new();
    // Lengths first: ("ab", "c") and ("a", "bc") must differ.
    hasher.update(&(key.len() as u64).to_le_bytes());
    hasher.update(key.as_bytes());
    hasher.update(&entry.version.to_le_bytes());
    hasher.update(&entry.expires_ms.unwrap_or(0).to_le_bytes());
    hasher.update(entry.value.as_bytes());
    hasher.digest128()
}

#[cfg(test)]
mod tests;

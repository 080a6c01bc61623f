//! The replicated state: keys, their values and versions.
//!
//! Invariants:
//! - it is a function of the log up to `applied` and of nothing else: no clock, no
//!   randomness, no configuration;
//! - `digest` is the sum over all entries of their hashes, kept up with every
//!   write, so two replicas at the same `applied` are the same exactly when their
//!   digests are (up to collisions of a 128-bit hash).

use std::sync::Arc;

use imbl::OrdMap;
use xxhash_rust::xxh3::Xxh3;

use crate::command::{Command, Expected, Operation, Outcome, Versioned};

/// The keys at some log index. Cloning is cheap: the map shares its nodes, so a
/// snapshot is written from a clone while the original goes on.
#[derive(Debug, Clone, Default)]
pub struct State {
    entries: OrdMap<Arc<str>, Versioned>,
    applied: u64,
    digest: u128,
    bytes: u64,
}

impl State {
    /// The state that these entries make, at log index `applied`.
    pub fn from_entries(applied: u64, entries: impl IntoIterator<Item = (Arc<str>, Versioned)>) -> State {
        let mut state = State {
            applied,
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

    /// A hash of everything replicated, equal on replicas at the same index.
    pub fn digest(&self) -> u128 {
        self.digest
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

    /// The key's value and version.
    pub fn get(&self, key: &str) -> Option<&Versioned> {
        self.entries.get(key)
    }

    /// All entries in key order.
    pub fn entries(&self) -> impl Iterator<Item = (&Arc<str>, &Versioned)> {
        self.entries.iter()
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
    pub fn apply(&mut self, index: u64, command: &Command) -> Outcome {
        self.advance(index);
        match &command.operation {
            Operation::Set { key, value } => {
                self.put(
                    key.clone(),
                    Versioned {
                        value: value.clone(),
                        version: index,
                    },
                );
                Outcome::Written
            }
            Operation::Cas { key, expected, value } => {
                let current = self.entries.get(key);
                if !expected.holds(current) {
                    return Outcome::Mismatch {
                        current: current.cloned(),
                    };
                }
                self.put(
                    key.clone(),
                    Versioned {
                        value: value.clone(),
                        version: index,
                    },
                );
                Outcome::Written
            }
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

    fn put(&mut self, key: Arc<str>, entry: Versioned) {
        self.bytes += (key.len() + entry.value.len()) as u64;
        self.digest = self.digest.wrapping_add(digest_of(&key, &entry));
        if let Some(old) = self.entries.insert(key.clone(), entry) {
            self.bytes -= (key.len() + old.value.len()) as u64;
            self.digest = self.digest.wrapping_sub(digest_of(&key, &old));
        }
    }
}

impl Expected {
    /// Whether the key as it is now satisfies the comparison.
    pub fn holds(&self, current: Option<&Versioned>) -> bool {
        match (self, current) {
            (Expected::Absent, current) => current.is_none(),
            (Expected::Value(value), Some(current)) => *value == current.value,
            (Expected::Version(version), Some(current)) => *version == current.version,
            (_, None) => false,
        }
    }
}

fn digest_of(key: &str, entry: &Versioned) -> u128 {
    let mut hasher = Xxh3::new();
    // Lengths first: ("ab", "c") and ("a", "bc") must differ.
    hasher.update(&(key.len() as u64).to_le_bytes());
    hasher.update(key.as_bytes());
    hasher.update(&entry.version.to_le_bytes());
    hasher.update(entry.value.as_bytes());
    hasher.digest128()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(key: &str, value: &str) -> Command {
        Command {
            operation: Operation::Set {
                key: key.into(),
                value: value.into(),
            },
        }
    }

    fn cas(key: &str, expected: Expected, value: &str) -> Command {
        Command {
            operation: Operation::Cas {
                key: key.into(),
                expected,
                value: value.into(),
            },
        }
    }

    #[test]
    fn a_cas_writes_only_what_it_expected() {
        let mut state = State::default();
        assert_eq!(
            state.apply(1, &cas("k", Expected::Value("a".into()), "b")),
            Outcome::Mismatch { current: None }
        );
        assert_eq!(state.apply(2, &cas("k", Expected::Absent, "a")), Outcome::Written);
        let current = Some(Versioned {
            value: "a".into(),
            version: 2,
        });
        assert_eq!(
            state.apply(3, &cas("k", Expected::Absent, "x")),
            Outcome::Mismatch {
                current: current.clone()
            }
        );
        assert_eq!(
            state.apply(4, &cas("k", Expected::Version(1), "x")),
            Outcome::Mismatch { current }
        );
        assert_eq!(
            state.apply(5, &cas("k", Expected::Version(2), "b")),
            Outcome::Written
        );
        assert_eq!(
            state.apply(6, &cas("k", Expected::Value("b".into()), "c")),
            Outcome::Written
        );
        assert_eq!(
            state.get("k"),
            Some(&Versioned {
                value: "c".into(),
                version: 6
            })
        );
    }

    #[test]
    fn the_digest_is_that_of_the_entries_however_they_came_about() {
        let mut state = State::default();
        for index in 1..200 {
            state.apply(index, &set(&format!("k{}", index % 7), &index.to_string()));
        }
        let rebuilt = State::from_entries(
            199,
            state.entries().map(|(key, entry)| (key.clone(), entry.clone())),
        );
        assert_eq!(
            (rebuilt.digest(), rebuilt.bytes()),
            (state.digest(), state.bytes())
        );
        let mut other = rebuilt.clone();
        other.apply(200, &set("k0", "other"));
        assert_ne!(other.digest(), state.digest());
    }

    #[test]
    #[should_panic(expected = "log entry 2 applied after 2")]
    fn an_entry_applied_twice_is_no_state() {
        let mut state = State::default();
        state.apply(2, &set("k", "v"));
        state.apply(2, &set("k", "v"));
    }
}

//! Reads, writes and compare-and-sets on a moving window of keys.

use std::collections::VecDeque;

use checker::history::Value;
use rand::rngs::ChaCha12Rng;
use rand::{RngExt, SeedableRng};

use super::{Context, Generator, Invocation, Next};
use crate::system::Outcome;

/// What the mix is made of.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MixedOptions {
    /// Decides every choice.
    pub seed: u64,
    /// How many keys are in use at any time; at least 1.
    pub keys: usize,
    /// After how many operations a key is left alone and a fresh one takes its place; at least 1.
    pub operations_per_key: u32,
    /// Share of reads, 0 to 1.
    pub reads: f64,
    /// Share of plain writes, 0 to 1; what is left are compare-and-sets.
    pub writes: f64,
    /// Share of compare-and-sets that expect a value known to be old, 0 to 1.
    pub hopeless: f64,
}

impl Default for MixedOptions {
    fn default() -> Self {
        Self {
            seed: 0,
            keys: 10,
            operations_per_key: 400,
            reads: 0.5,
            writes: 0.25,
            hopeless: 0.1,
        }
    }
}

/// How many of the last known values of a key are kept: the newest to expect, the others to expect in vain.
const KNOWN: usize = 4;

/// An endless mix of `get`, `set` and `cas`.
///
/// A few keys are hot at any time, so that operations contend, and each key retires after a while, so that
/// its subhistory stays small; retired keys are read again at the end of the run. A `cas` expects the
/// newest value that any client saw, which makes it succeed often and makes concurrent ones race for the
/// same value: at most one of those may succeed.
#[derive(Debug)]
pub struct Mixed {
    options: MixedOptions,
    rng: ChaCha12Rng,
    active: Vec<Key>,
    next_key: u64,
}

#[derive(Debug)]
struct Key {
    name: String,
    operations_left: u32,
    next_value: i64,
    /// Newest last; a fresh key is known to be missing.
    known: VecDeque<Value>,
}

impl Mixed {
    /// A mix that has not begun.
    ///
    /// # Panics
    /// When `keys` or `operations_per_key` is 0.
    #[must_use]
    pub fn new(options: MixedOptions) -> Self {
        assert!(
            options.keys > 0 && options.operations_per_key > 0,
            "a mix needs keys and operations"
        );
        let mut mix = Self {
            options,
            rng: ChaCha12Rng::seed_from_u64(options.seed),
            active: Vec::new(),
            next_key: 0,
        };
        mix.active = (0..options.keys).map(|_| mix.fresh_key()).collect();
        // Keys retire one after another instead of all at once.
        for (i, key) in mix.active.iter_mut().enumerate() {
            let share = (i as u64 + 1) * u64::from(options.operations_per_key) / options.keys as u64;
            key.operations_left = u32::try_from(share).unwrap_or(u32::MAX).max(1);
        }
        mix
    }

    /// The names of all keys used so far, oldest first.
    #[must_use]
    pub fn keys_used(&self) -> Vec<String> {
        (0..self.next_key).map(|n| format!("k{n}")).collect()
    }

    fn fresh_key(&mut self) -> Key {
        let name = format!("k{}", self.next_key);
        self.next_key += 1;
        Key {
            name,
            operations_left: self.options.operations_per_key,
            next_value: 1,
            known: VecDeque::from([Value::Nil]),
        }
    }
}

impl Generator for Mixed {
    fn next(&mut self, context: Context) -> Next {
        let at = self.rng.random_range(0..self.active.len());
        if self.active[at].operations_left == 0 {
            self.active[at] = self.fresh_key();
        }
        let dice: f64 = self.rng.random();
        let hopeless = self.rng.random_bool(self.options.hopeless);
        let stale = self.rng.random_range(0..KNOWN);
        let key = &mut self.active[at];
        key.operations_left -= 1;
        let mut fresh_value = || {
            let value = Value::Int(key.next_value);
            key.next_value += 1;
            value
        };
        let (f, value) = if dice < self.options.reads {
            ("get", Value::Nil)
        } else if dice < self.options.reads + self.options.writes {
            ("set", fresh_value())
        } else {
            let newest = key.known.len() - 1;
            let expected = key.known[if hopeless { stale % key.known.len() } else { newest }].clone();
            ("cas", Value::List(vec![expected, fresh_value()]))
        };
        let invocation = Invocation {
            f,
            key: key.name.clone(),
            value,
        };
        Next::Invoke {
            at: context.now,
            intended: None,
            invocation,
        }
    }

    fn update(&mut self, _context: Context, invocation: &Invocation, outcome: &Outcome) {
        let Some(key) = self.active.iter_mut().find(|key| key.name == invocation.key) else {
            return;
        };
        let seen = match (outcome, &invocation.value) {
            (Outcome::Ok { value: Some(value) }, _) => value.clone(),
            (Outcome::Ok { value: None }, Value::List(pair)) => pair[1].clone(),
            (Outcome::Ok { value: None }, value) => value.clone(),
            (Outcome::Mismatch { current: Some(value) }, _) => value.clone(),
            _ => return,
        };
        if key.known.back() != Some(&seen) {
            if key.known.len() == KNOWN {
                key.known.pop_front();
            }
            key.known.push_back(seen);
        }
    }
}

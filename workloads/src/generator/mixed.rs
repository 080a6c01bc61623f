//! Operations on a moving window of keys of several kinds.

use std::collections::VecDeque;
use std::time::Duration;

use checker::history::Value;
use rand::rngs::ChaCha12Rng;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};

use super::{Context, Generator, Invocation, KeyChoice, Next, Repeat, Window};
use crate::system::Outcome;

/// What is done to a key, as long as it is in use. A key keeps to one kind, so that its subhistory stays as
/// simple to judge as it can be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `get` and `set`.
    Plain,
    /// `get`, `set` and `cas`.
    Register,
    /// The same, and `delete`.
    Mortal,
    /// `get` and `append`.
    Text,
    /// The same, and each `append` may be sent more than once, under one name.
    Repeated,
}

/// What the mix is made of.
#[derive(Debug, Clone, PartialEq)]
pub struct MixedOptions {
    /// Decides every choice.
    pub seed: u64,
    /// How many keys are in use at any time; at least 1.
    pub keys: usize,
    /// How unequal they are.
    pub choice: KeyChoice,
    /// After how many operations a key is left alone and a fresh one takes its place; at least 1. Keys that
    /// grow with every write retire after half as many.
    pub operations_per_key: u32,
    /// The kinds of keys and their weights; at least one weighs something.
    pub kinds: Vec<(Kind, u32)>,
    /// Share of reads, 0 to 1.
    pub reads: f64,
    /// Share of compare-and-sets that expect a value known to be old, 0 to 1.
    pub hopeless: f64,
    /// Share of the operations that may be sent again whose first answer counts as lost, 0 to 1.
    pub lost: f64,
}

impl Default for MixedOptions {
    fn default() -> Self {
        Self {
            seed: 0,
            keys: 10,
            choice: KeyChoice::Uniform,
            operations_per_key: 400,
            kinds: vec![(Kind::Register, 1)],
            reads: 0.5,
            hopeless: 0.1,
            lost: 0.1,
        }
    }
}

/// How many of the last known values of a key are kept: the newest to expect, the others to expect in vain.
const KNOWN: usize = 4;
/// How many clients name requests. Few, so that several requests of one client are under way at once.
const CLIENTS: u64 = 3;
/// Of the answers that count as lost, the share whose client asks again only after a while, when the node that
/// knew the request may have been restarted, or may have had a snapshot.
const LATE: f64 = 0.15;
/// How long such a client waits, in milliseconds.
const LATE_MS: std::ops::Range<u64> = 500..4_000;

/// An endless mix of operations on a few keys.
///
/// A few keys are hot at any time, so that operations contend, and each key retires after a while, so that
/// its subhistory stays small; retired keys are read again at the end of the run. A `cas` expects the
/// newest value that any client saw, which makes it succeed often and makes concurrent ones race for the
/// same value: at most one of those may succeed. What is appended is unique for its key and ends in a comma,
/// so that a text says which appends it has seen, how often, and in which order.
#[derive(Debug)]
pub struct Mixed {
    options: MixedOptions,
    rng: ChaCha12Rng,
    deck: Deck,
    window: Window<Key>,
    next_request: u64,
}

/// The kinds of keys, dealt like cards: as many of each as it weighs before any comes again, and one of each first.
/// So a short run has some of every kind, and none is evidence of less than it says.
#[derive(Debug, Default)]
struct Deck(Vec<Kind>);

impl Deck {
    fn deal(&mut self, kinds: &[(Kind, u32)], rng: &mut ChaCha12Rng) -> Kind {
        if self.0.is_empty() {
            let of = |(kind, count): (Kind, u32)| std::iter::repeat_n(kind, count as usize);
            let weighty = kinds.iter().copied().filter(|(_, weight)| *weight > 0);
            let mut rest: Vec<Kind> = weighty
                .clone()
                .flat_map(|(kind, weight)| of((kind, weight - 1)))
                .collect();
            let mut first: Vec<Kind> = weighty.map(|(kind, _)| kind).collect();
            rest.shuffle(rng);
            first.shuffle(rng);
            // Dealt from the end.
            self.0 = rest.into_iter().chain(first).collect();
        }
        self.0.pop().expect("some kind of key weighs something")
    }
}

#[derive(Debug)]
struct Key {
    kind: Kind,
    next_value: i64,
    /// Newest last; a fresh key is known to be missing.
    known: VecDeque<Value>,
}

impl Mixed {
    /// A mix that has not begun.
    ///
    /// # Panics
    /// When `keys` or `operations_per_key` is 0, or no kind of key weighs anything.
    #[must_use]
    pub fn new(options: MixedOptions) -> Self {
        assert!(
            options.keys > 0 && options.operations_per_key > 0,
            "a mix needs keys and operations"
        );
        assert!(
            options.kinds.iter().any(|(_, weight)| *weight > 0),
            "a mix needs a kind of key"
        );
        let mut rng = ChaCha12Rng::seed_from_u64(options.seed);
        let mut deck = Deck::default();
        let window = Window::new(options.keys, options.choice, || {
            options.fresh_key(&mut deck, &mut rng)
        });
        Self {
            options,
            rng,
            deck,
            window,
            next_request: 0,
        }
    }

    /// The names of all keys used so far, oldest first.
    #[must_use]
    pub fn keys_used(&self) -> Vec<String> {
        self.window.used()
    }

    /// The name of the next request that may be sent again, and what becomes of its first answer.
    fn repeat(&mut self) -> Repeat {
        let number = self.next_request;
        self.next_request += 1;
        let lost = self.rng.random_bool(self.options.lost).then(|| {
            if self.rng.random_bool(LATE) {
                Duration::from_millis(self.rng.random_range(LATE_MS))
            } else {
                Duration::ZERO
            }
        });
        Repeat {
            name: format!("c{}:{}", number % CLIENTS, number / CLIENTS),
            lost,
        }
    }
}

impl MixedOptions {
    /// Share of each operation, 0 to 1.
    #[must_use]
    pub fn shares(&self) -> Vec<(&'static str, f64)> {
        let changes = 1.0 - self.reads;
        // Keys that grow retire sooner.
        let mut sums: std::collections::BTreeMap<&'static str, f64> = [("get", self.reads)].into();
        let lives = |kind: Kind| match kind {
            Kind::Plain | Kind::Register | Kind::Mortal => 1.0,
            Kind::Text | Kind::Repeated => 0.5,
        };
        let all: f64 = self
            .kinds
            .iter()
            .map(|(kind, weight)| lives(*kind) * f64::from(*weight))
            .sum();
        for (kind, weight) in &self.kinds {
            let share = changes * lives(*kind) * f64::from(*weight) / all;
            let parts: &[(&'static str, f64)] = match kind {
                Kind::Plain => &[("set", 1.0)],
                Kind::Register => &[("set", 0.5), ("cas", 0.5)],
                Kind::Mortal => &[("delete", 0.2), ("set", 0.3), ("cas", 0.5)],
                Kind::Text | Kind::Repeated => &[("append", 1.0)],
            };
            for (f, part) in parts {
                *sums.entry(f).or_default() += share * part;
            }
        }
        sums.into_iter().collect()
    }

    /// A key that nobody has used, and after how many operations it retires.
    fn fresh_key(&self, deck: &mut Deck, rng: &mut ChaCha12Rng) -> (Key, u32) {
        let kind = deck.deal(&self.kinds, rng);
        let operations = match kind {
            Kind::Plain | Kind::Register | Kind::Mortal => self.operations_per_key,
            Kind::Text | Kind::Repeated => self.operations_per_key.div_ceil(2),
        };
        let key = Key {
            kind,
            next_value: 1,
            known: VecDeque::from([Value::Nil]),
        };
        (key, operations)
    }
}

impl Key {
    /// What is done to the key, once it is clear that it is no read; `dice` is from 0 to 1.
    fn change(&mut self, dice: f64, hopeless: Option<usize>) -> (&'static str, Value) {
        if self.kind == Kind::Mortal && dice < 0.2 {
            return ("delete", Value::Nil);
        }
        let number = self.next_value;
        self.next_value += 1;
        match self.kind {
            Kind::Text | Kind::Repeated => ("append", Value::from(format!("{number},"))),
            Kind::Plain => ("set", Value::Int(number)),
            Kind::Register | Kind::Mortal if dice < 0.5 => ("set", Value::Int(number)),
            Kind::Register | Kind::Mortal => {
                let at = hopeless.map_or(self.known.len() - 1, |stale| stale % self.known.len());
                (
                    "cas",
                    Value::List(vec![self.known[at].clone(), Value::Int(number)]),
                )
            }
        }
    }
}

impl Generator for Mixed {
    fn next(&mut self, context: Context) -> Next {
        let place = self.window.draw(&mut self.rng);
        let read = self.rng.random_bool(self.options.reads);
        let dice: f64 = self.rng.random();
        let stale = self.rng.random_range(0..KNOWN);
        let hopeless = self.rng.random_bool(self.options.hopeless).then_some(stale);
        let (options, rng, deck) = (&self.options, &mut self.rng, &mut self.deck);
        let (name, key) = self.window.take(place, || options.fresh_key(deck, rng));
        let (f, value) = if read {
            ("get", Value::Nil)
        } else {
            key.change(dice, hopeless)
        };
        let mut invocation = Invocation::new(f, name, value);
        let repeated = f == "append" && key.kind == Kind::Repeated;
        if repeated {
            invocation.repeat = Some(self.repeat());
        }
        Next::Invoke {
            at: context.now,
            intended: None,
            invocation,
        }
    }

    fn update(&mut self, _context: Context, invocation: &Invocation, outcome: &Outcome) {
        if invocation.f == "append" {
            return;
        }
        let Some(key) = self.window.known(&invocation.key) else {
            return;
        };
        let seen = match (outcome, &invocation.value) {
            (
                Outcome::Ok {
                    value: Some(value), ..
                },
                _,
            ) => value.clone(),
            (Outcome::Ok { value: None, .. }, Value::List(pair)) => pair[1].clone(),
            (Outcome::Ok { value: None, .. }, value) => value.clone(),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_dealt_like_cards_and_one_of_each_first() {
        let kinds = [
            (Kind::Register, 4),
            (Kind::Mortal, 2),
            (Kind::Plain, 0),
            (Kind::Text, 2),
            (Kind::Repeated, 3),
        ];
        let count = |dealt: &[Kind], kind| dealt.iter().filter(|other| **other == kind).count();
        for seed in 0..50 {
            let (mut deck, mut rng) = (Deck::default(), ChaCha12Rng::seed_from_u64(seed));
            for round in 0..3 {
                let dealt: Vec<Kind> = (0..11).map(|_| deck.deal(&kinds, &mut rng)).collect();
                for (kind, weight) in kinds {
                    assert_eq!(count(&dealt, kind), weight as usize, "seed {seed}, round {round}");
                    assert_eq!(count(&dealt[..4], kind), usize::from(weight > 0), "seed {seed}");
                }
            }
        }
    }
}

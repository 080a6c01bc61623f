//! Texts that grow by appending, known by their length and a hash that can be continued.

use rustc_hash::{FxHashMap, FxHashSet};

use crate::engine::StateId;

/// A polynomial hash modulo the prime 2^61 - 1, twice, with two bases: texts of one length that differ collide
/// with a chance of about length / 2^122.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct TextHash {
    length: u64,
    hash: [u64; 2],
}

const PRIME: u64 = (1 << 61) - 1;
/// Digits of pi and e, so that nobody need believe they were chosen.
const BASES: [u64; 2] = [314_159_265_358_979_323, 271_828_182_845_904_523];

/// A piece of text to append, with the powers of the bases that its length needs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Piece {
    hash: TextHash,
    powers: [u64; 2],
}

fn multiply(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    let folded = (product as u64 & PRIME) + (product >> 61) as u64;
    if folded >= PRIME { folded - PRIME } else { folded }
}

fn add(a: u64, b: u64) -> u64 {
    let sum = a + b;
    if sum >= PRIME { sum - PRIME } else { sum }
}

impl TextHash {
    pub(crate) const EMPTY: TextHash = TextHash {
        length: 0,
        hash: [0; 2],
    };

    pub(crate) fn of(text: &str) -> TextHash {
        TextHash::EMPTY.then(text.bytes())
    }

    pub(crate) fn length(self) -> u64 {
        self.length
    }

    /// The hash of the text with these bytes behind it.
    pub(crate) fn then(mut self, bytes: impl Iterator<Item = u8>) -> TextHash {
        for byte in bytes {
            for (hash, base) in self.hash.iter_mut().zip(BASES) {
                *hash = add(multiply(*hash, base), u64::from(byte) + 1);
            }
            self.length += 1;
        }
        self
    }

    /// The hash of so many last bytes of this text, given that of the bytes before them.
    pub(crate) fn after(self, before: TextHash, length: usize) -> TextHash {
        let mut hash = self.hash;
        for ((hash, first), base) in hash.iter_mut().zip(before.hash).zip(BASES) {
            let power = (0..length).fold(1, |power, _| multiply(power, base));
            *hash = add(*hash, PRIME - multiply(first, power));
        }
        TextHash {
            length: length as u64,
            hash,
        }
    }

    /// The hash of the text with a piece behind it.
    pub(crate) fn append(self, piece: &Piece) -> TextHash {
        let mut hash = self.hash;
        for ((hash, power), more) in hash.iter_mut().zip(piece.powers).zip(piece.hash.hash) {
            *hash = add(multiply(*hash, power), more);
        }
        TextHash {
            length: self.length + piece.hash.length,
            hash,
        }
    }
}

impl Piece {
    /// The hash of the piece alone.
    pub(crate) fn hash(&self) -> TextHash {
        self.hash
    }

    pub(crate) fn of(text: &str) -> Piece {
        let mut powers = [1; 2];
        for (power, base) in powers.iter_mut().zip(BASES) {
            for _ in 0..text.len() {
                *power = multiply(*power, base);
            }
        }
        Piece {
            hash: TextHash::of(text),
            powers,
        }
    }
}

/// The states of a subhistory that are texts.
#[derive(Debug, Default)]
pub(crate) struct Texts {
    states: FxHashMap<TextHash, StateId>,
    hashes: FxHashMap<StateId, TextHash>,
}

impl Texts {
    pub(crate) fn insert(&mut self, hash: TextHash, state: StateId) {
        self.states.insert(hash, state);
        self.hashes.insert(state, hash);
    }

    /// A state that appending continues as this text, but does not lead to.
    pub(crate) fn name(&mut self, state: StateId, hash: TextHash) {
        self.hashes.insert(state, hash);
    }

    pub(crate) fn state(&self, hash: TextHash) -> Option<StateId> {
        self.states.get(&hash).copied()
    }

    pub(crate) fn hash(&self, state: StateId) -> Option<TextHash> {
        self.hashes.get(&state).copied()
    }
}

/// The longest text that was seen. Of what only grows nearly every other one is a beginning, and need not be gone
/// through byte by byte to be known.
#[derive(Debug)]
pub(crate) struct Spine<'h> {
    text: &'h str,
    /// The hash of its beginning of each length.
    hashes: Vec<TextHash>,
}

impl<'h> Spine<'h> {
    pub(crate) fn of(text: &'h str) -> Spine<'h> {
        let mut hashes = Vec::with_capacity(text.len() + 1);
        let mut hash = TextHash::EMPTY;
        hashes.push(hash);
        for byte in text.bytes() {
            hash = hash.then(std::iter::once(byte));
            hashes.push(hash);
        }
        Spine { text, hashes }
    }

    /// The hash of a text.
    pub(crate) fn hash(&self, text: &str) -> TextHash {
        match self.text.starts_with(text) {
            true => self.hashes[text.len()],
            false => TextHash::of(text),
        }
    }
}

/// The texts that can still become one that somebody saw: every beginning of each of those.
#[derive(Debug, Default)]
pub(crate) struct Beginnings {
    /// Those of the longest, by length.
    longest: Vec<TextHash>,
    hashes: FxHashSet<TextHash>,
}

impl Beginnings {
    /// Every beginning of the longest text.
    pub(crate) fn of(spine: Spine<'_>) -> Beginnings {
        Beginnings {
            longest: spine.hashes,
            hashes: FxHashSet::default(),
        }
    }

    /// Adds every beginning of a text, given its hash. Texts that come in the order of their lengths, longest first,
    /// cost little where one is the beginning of another.
    pub(crate) fn add(&mut self, text: &str, hash: TextHash) {
        if self.contain(hash) {
            return;
        }
        let mut hash = TextHash::EMPTY;
        self.hashes.insert(hash);
        for byte in text.bytes() {
            hash = hash.then(std::iter::once(byte));
            self.hashes.insert(hash);
        }
    }

    pub(crate) fn contain(&self, text: TextHash) -> bool {
        self.longest.get(text.length as usize) == Some(&text) || self.hashes.contains(&text)
    }
}

/// What is known of a key that is only appended to and read: no read that is still to come can be shorter than
/// what is there.
#[derive(Debug)]
pub(crate) struct Growth {
    /// Per moment, the shortest text that is read by an operation invoked from then on.
    pub(crate) shortest: Vec<u64>,
}

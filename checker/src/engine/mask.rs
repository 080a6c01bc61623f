//! Sets of open operations, as wide as the history needs.

use std::fmt::Debug;
use std::hash::Hash;

/// A set of slots.
pub(crate) trait Mask: Clone + Eq + Hash + Debug {
    /// The empty set with room for so many slots.
    fn none(slots: usize) -> Self;
    fn words(&self) -> &[u64];
    fn words_mut(&mut self) -> &mut [u64];

    #[inline]
    fn has(&self, slot: usize) -> bool {
        self.words()[slot / 64] >> (slot % 64) & 1 == 1
    }

    #[inline]
    fn put(&mut self, slot: usize) {
        self.words_mut()[slot / 64] |= 1 << (slot % 64);
    }

    #[inline]
    fn take(&mut self, slot: usize) {
        self.words_mut()[slot / 64] &= !(1 << (slot % 64));
    }

    #[inline]
    fn take_all(&mut self, other: &Self) {
        for (word, less) in self.words_mut().iter_mut().zip(other.words()) {
            *word &= !less;
        }
    }

    #[inline]
    fn keep_all(&mut self, other: &Self) {
        for (word, kept) in self.words_mut().iter_mut().zip(other.words()) {
            *word &= kept;
        }
    }

    #[inline]
    fn without(&self, other: &Self) -> Self {
        let mut left = self.clone();
        left.take_all(other);
        left
    }

    #[inline]
    fn common(&self, other: &Self) -> Self {
        let mut both = self.clone();
        both.keep_all(other);
        both
    }

    /// Whether every slot of this set is in the other.
    #[inline]
    fn within(&self, other: &Self) -> bool {
        self.words()
            .iter()
            .zip(other.words())
            .all(|(word, wide)| word & !wide == 0)
    }

    /// How many slots there are.
    #[inline]
    fn count(&self) -> usize {
        self.words().iter().map(|word| word.count_ones() as usize).sum()
    }

    /// The slots, from the lowest.
    #[inline]
    fn slots(&self) -> Slots<'_> {
        Slots {
            words: self.words(),
            at: 0,
            word: self.words()[0],
        }
    }
}

/// The slots of a set, from the lowest.
#[derive(Debug)]
pub(crate) struct Slots<'a> {
    words: &'a [u64],
    at: usize,
    word: u64,
}

impl Iterator for Slots<'_> {
    type Item = usize;

    #[inline]
    fn next(&mut self) -> Option<usize> {
        while self.word == 0 {
            self.at += 1;
            self.word = *self.words.get(self.at)?;
        }
        let slot = self.at * 64 + self.word.trailing_zeros() as usize;
        self.word &= self.word - 1;
        Some(slot)
    }
}

/// A set of up to `64 * N` slots, copied with the configuration it belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Narrow<const N: usize>([u64; N]);

impl<const N: usize> Mask for Narrow<N> {
    fn none(slots: usize) -> Self {
        assert!(slots <= N * 64);
        Narrow([0; N])
    }

    #[inline]
    fn words(&self) -> &[u64] {
        &self.0
    }

    #[inline]
    fn words_mut(&mut self) -> &mut [u64] {
        &mut self.0
    }
}

/// A set of any number of slots.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Wide(Box<[u64]>);

impl Mask for Wide {
    fn none(slots: usize) -> Self {
        Wide(vec![0; slots.div_ceil(64).max(1)].into())
    }

    fn words(&self) -> &[u64] {
        &self.0
    }

    fn words_mut(&mut self) -> &mut [u64] {
        &mut self.0
    }
}

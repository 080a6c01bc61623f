//! Names of clients that are remembered no longer, in a fixed number of bits.
//!
//! Whoever comes back under such a name may repeat a request that was executed, so it
//! must be refused for ever, and for ever cannot be kept as a list. A Bloom filter
//! (Bloom 1970) errs on the safe side only: it never calls a departed name new. Now and
//! then it calls a new one departed; that client is refused although it need not be,
//! and goes on under another name. Of a million departed names it errs once in 80,000
//! new ones, of four million once in 500, of ten million once in 25.

use imbl::Vector;
use xxhash_rust::xxh3::xxh3_128;

/// Bits of the filter: 8 MiB, taken when the first name departs.
const BITS: u64 = 1 << 26;
const WORDS: usize = (BITS / 64) as usize;
/// Bits that one name sets.
const MARKS: u64 = 4;

/// The names. Cloning is cheap, as for the rest of the state.
#[derive(Debug, Clone, Default)]
pub struct Departed {
    /// Empty, or [`WORDS`] long.
    words: Vector<u64>,
    ones: u64,
    digest: u128,
}

impl Departed {
    /// What these words make, by position; those left out are zero.
    ///
    /// # Errors
    /// The position of a word beyond the last.
    pub fn from_words(words: impl IntoIterator<Item = (u32, u64)>) -> Result<Departed, u32> {
        let mut departed = Departed::default();
        for (position, word) in words {
            if position as usize >= WORDS {
                return Err(position);
            }
            departed.put(position as usize, word);
        }
        Ok(departed)
    }

    /// The words that are not zero, by position.
    pub fn words(&self) -> impl Iterator<Item = (u32, u64)> {
        let numbered = self.words.iter().copied().enumerate();
        numbered
            .filter(|(_, word)| *word != 0)
            .map(|(position, word)| (position as u32, word))
    }

    /// A hash of all of them, kept up with every change.
    pub fn digest(&self) -> u128 {
        self.digest
    }

    /// Adds a name.
    pub fn add(&mut self, name: &str) {
        for bit in marks(name) {
            let position = (bit / 64) as usize;
            let word = self.words.get(position).copied().unwrap_or(0);
            self.put(position, word | 1 << (bit % 64));
        }
    }

    /// Whether the name was added; sometimes true of one that was not.
    pub fn may_hold(&self, name: &str) -> bool {
        !self.words.is_empty()
            && marks(name).all(|bit| self.words[(bit / 64) as usize] >> (bit % 64) & 1 == 1)
    }

    /// About how many names were added.
    pub fn estimate(&self) -> u64 {
        let (bits, share) = (BITS as f64, self.ones as f64 / BITS as f64);
        (-(bits / MARKS as f64) * (1.0 - share).ln()) as u64
    }

    fn put(&mut self, position: usize, word: u64) {
        if self.words.is_empty() {
            self.words = std::iter::repeat_n(0, WORDS).collect();
        }
        let before = self.words[position];
        if before == word {
            return;
        }
        self.words.set(position, word);
        self.ones = self.ones + u64::from(word.count_ones()) - u64::from(before.count_ones());
        self.digest = self
            .digest
            .wrapping_sub(digest_of(position, before))
            .wrapping_add(digest_of(position, word));
    }
}

/// The bits of a name: two halves of one hash make all of them (Kirsch & Mitzenmacher
/// 2006).
fn marks(name: &str) -> impl Iterator<Item = u64> + use<> {
    let hash = xxh3_128(name.as_bytes());
    let (first, step) = (hash as u64, (hash >> 64) as u64 | 1);
    (0..MARKS).map(move |mark| first.wrapping_add(step.wrapping_mul(mark)) % BITS)
}

fn digest_of(position: usize, word: u64) -> u128 {
    if word == 0 {
        return 0;
    }
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&(position as u64).to_le_bytes());
    bytes[8..].copy_from_slice(&word.to_le_bytes());
    xxh3_128(&bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_departed_name_is_never_called_new() {
        let mut departed = Departed::default();
        assert!(!departed.may_hold("c0"));
        let count = 20_000;
        for n in 0..count {
            departed.add(&format!("c{n}"));
        }
        assert!((0..count).all(|n| departed.may_hold(&format!("c{n}"))));
        let mistaken = (0..count)
            .filter(|n| departed.may_hold(&format!("new{n}")))
            .count();
        assert_eq!(mistaken, 0, "so few names leave the filter nearly empty");
        assert!(
            (count - 200..count + 200).contains(&(departed.estimate())),
            "{}",
            departed.estimate()
        );
    }

    #[test]
    fn its_words_make_it_again() {
        let mut departed = Departed::default();
        for name in ["a", "b", "c"] {
            departed.add(name);
        }
        let again = Departed::from_words(departed.words()).unwrap();
        assert_eq!(again.digest(), departed.digest());
        assert_eq!(again.estimate(), 3);
        assert!(["a", "b", "c"].iter().all(|name| again.may_hold(name)));
        assert_eq!(Departed::from_words([]).unwrap().digest(), 0);
        assert_eq!(
            Departed::from_words([(WORDS as u32, 1)]).unwrap_err(),
            WORDS as u32
        );
    }
}

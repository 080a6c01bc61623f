//! Values held once: a million operations must not mean a million allocations.

use std::hash::{Hash, Hasher};

use hashbrown::HashTable;
use rustc_hash::FxHasher;

use super::Value;

/// A value in eight bytes: a small whole number itself, or two smaller ones, anything else a place in a [`Pool`].
///
/// Words of one pool are equal exactly when their values are, except for pairs, which are not shared; compare
/// those by their parts, or after [`Pool::settled`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Word(u64);

/// What a [`Word`] stands for, taken apart.
pub(crate) enum Parts<'a> {
    /// A small whole number.
    Int(i64),
    /// Two values, as in the argument of a cas.
    Pair(Word, Word),
    /// Any other value.
    Shared(&'a Value),
}

impl Word {
    /// `Value::Nil` in every pool.
    pub(crate) const NIL: Word = Word(0);
    /// No value at all: a missing field.
    pub(crate) const ABSENT: Word = Word(u64::MAX << 2 | PAIR);

    /// The word of a whole number, if it is small enough to be its own word.
    pub(crate) fn small(number: i64) -> Option<Word> {
        let shifted = number.wrapping_shl(1);
        (shifted >> 1 == number).then_some(Word(shifted as u64 | 1))
    }

    /// The whole number that this is the word of, if there is one and it is not negative.
    #[inline]
    pub(crate) fn as_small(self) -> Option<usize> {
        let number = self.0 as i64 >> 1;
        (self.0 & 1 == 1 && number >= 0).then_some(number as usize)
    }

    /// Whether it stands for a list of two, of which equal ones have different words, or for no value at all.
    #[inline]
    pub(crate) fn is_pair(self) -> bool {
        self.0 & 0b11 == PAIR
    }

    /// `None` for [`Word::ABSENT`].
    pub(crate) fn present(self) -> Option<Word> {
        (self != Word::ABSENT).then_some(self)
    }
}

/// The low two bits of a pair; zero is a place among the shared values.
const PAIR: u64 = 0b10;
/// The low three bits of a pair of numbers that are small enough to be their own word, as are those of
/// [`Word::ABSENT`], of which all other bits are set. Without the third it is a place among the pairs.
const OWN: u64 = 0b110;
/// How many bits each of those two has; one is left over.
const HALF: u32 = 30;

/// Every value of a history that is no small whole number.
#[derive(Clone, Debug)]
pub(crate) struct Pool {
    values: Vec<Value>,
    places: HashTable<u32>,
    pairs: Vec<(Word, Word)>,
}

impl Default for Pool {
    fn default() -> Self {
        let mut pool = Pool {
            values: Vec::new(),
            places: HashTable::new(),
            pairs: Vec::new(),
        };
        assert_eq!(pool.add(Value::Nil), Word::NIL);
        pool
    }
}

impl Pool {
    /// The word of a value, adding it if it is new.
    pub(crate) fn add(&mut self, value: Value) -> Word {
        match value {
            Value::Int(number) if Word::small(number).is_some() => Word::small(number).expect("just asked"),
            Value::List(elements) if elements.len() == 2 => {
                let [first, second] = <[Value; 2]>::try_from(elements).expect("two elements");
                let (first, second) = (self.add(first), self.add(second));
                self.add_pair(first, second)
            }
            other => self.share(other),
        }
    }

    /// The word of a text, adding it if it is new; allocates only then. The hash is what [`hash_text`] gives.
    pub(crate) fn add_hashed_text(&mut self, text: &str, hash: u64) -> Word {
        match self
            .places
            .find(hash, |&place| self.values[place as usize].as_str() == Some(text))
        {
            Some(&place) => Word(u64::from(place) << 2),
            None => self.insert(hash, Value::Str(text.into())),
        }
    }

    /// The word of a value, if it is in the pool and every equal value has the same word.
    pub(crate) fn find(&self, value: &Value) -> Option<Word> {
        match value {
            Value::Int(number) if Word::small(*number).is_some() => Word::small(*number),
            Value::List(elements) if elements.len() == 2 => None,
            other => {
                let found = self
                    .places
                    .find(hash(other), |&place| self.values[place as usize] == *other);
                found.map(|&place| Word(u64::from(place) << 2))
            }
        }
    }

    /// The word of a list of two.
    pub(crate) fn add_pair(&mut self, first: Word, second: Word) -> Word {
        let half = |word: Word| word.as_small().filter(|number| number >> HALF == 0);
        if let (Some(first), Some(second)) = (half(first), half(second)) {
            return Word((second as u64) << (HALF + 3) | (first as u64) << 3 | OWN);
        }
        self.pairs.push((first, second));
        Word((self.pairs.len() as u64 - 1) << 3 | PAIR)
    }

    /// What a word stands for. Not for [`Word::ABSENT`].
    pub(crate) fn parts(&self, word: Word) -> Parts<'_> {
        match self.pair(word) {
            Some((first, second)) => Parts::Pair(first, second),
            None if word.0 & 1 == 1 => Parts::Int(word.0 as i64 >> 1),
            None => Parts::Shared(&self.values[(word.0 >> 2) as usize]),
        }
    }

    /// The two words of a list of two. Not for [`Word::ABSENT`].
    #[inline]
    pub(crate) fn pair(&self, word: Word) -> Option<(Word, Word)> {
        let own = |number: u64| Word((number & ((1 << HALF) - 1)) << 1 | 1);
        match word.0 & 0b111 {
            OWN => Some((own(word.0 >> 3), own(word.0 >> (HALF + 3)))),
            PAIR => Some(self.pairs[(word.0 >> 3) as usize]),
            _ => None,
        }
    }

    /// The value itself.
    pub(crate) fn value(&self, word: Word) -> Value {
        match self.parts(word) {
            Parts::Int(number) => Value::Int(number),
            Parts::Pair(first, second) => Value::List(vec![self.value(first), self.value(second)]),
            Parts::Shared(value) => value.clone(),
        }
    }

    /// The text, if the word is text.
    pub(crate) fn text(&self, word: Word) -> Option<&str> {
        match self.parts(word) {
            Parts::Shared(value) => value.as_str(),
            Parts::Int(_) | Parts::Pair(..) => None,
        }
    }

    /// A word that is equal to the settled word of every equal value; differs from the argument for pairs.
    pub(crate) fn settled(&mut self, word: Word) -> Word {
        match self.pair(word) {
            Some(_) => {
                let value = self.value(word);
                self.share(value)
            }
            None => word,
        }
    }

    /// How many values are held.
    pub(crate) fn len(&self) -> usize {
        self.values.len() + self.pairs.len()
    }

    /// The word for the value of a word of another pool. Settled words stay settled.
    pub(crate) fn carry(&mut self, from: &Pool, word: Word) -> Word {
        if word == Word::ABSENT || word.0 & 1 == 1 {
            return word;
        }
        match from.parts(word) {
            Parts::Int(_) => word,
            Parts::Pair(first, second) => {
                let (first, second) = (self.carry(from, first), self.carry(from, second));
                self.add_pair(first, second)
            }
            Parts::Shared(value) => self.share(value.clone()),
        }
    }

    fn share(&mut self, value: Value) -> Word {
        let hash = hash(&value);
        match self
            .places
            .find(hash, |&place| self.values[place as usize] == value)
        {
            Some(&place) => Word(u64::from(place) << 2),
            None => self.insert(hash, value),
        }
    }

    fn insert(&mut self, at: u64, value: Value) -> Word {
        let place = u32::try_from(self.values.len()).expect("a history has fewer than 2^32 different values");
        self.values.push(value);
        let values = &self.values;
        self.places
            .insert_unique(at, place, |&place| hash(&values[place as usize]));
        Word(u64::from(place) << 2)
    }
}

fn hash(value: &Value) -> u64 {
    match value {
        Value::Str(text) => hash_text(text),
        other => {
            let mut hasher = FxHasher::default();
            other.hash(&mut hasher);
            hasher.finish()
        }
    }
}

/// The hash by which a pool looks for a text.
pub(crate) fn hash_text(text: &str) -> u64 {
    let mut hasher = FxHasher::default();
    text.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pairs are what they were made of, whether they are their own word or not, and so in another pool.
    #[test]
    fn pairs_are_what_they_were_made_of() {
        let most = (1 << HALF) - 1;
        let numbers = [0, 1, 5, most, most + 1, -1, i64::MIN >> 1, i64::MAX >> 1];
        let mut pool = Pool::default();
        let mut words: Vec<Word> = numbers.into_iter().filter_map(Word::small).collect();
        words.extend([
            Word::NIL,
            pool.add(Value::from("text")),
            pool.add(Value::Int(i64::MAX)),
        ]);
        let mut all = Vec::new();
        for &first in &words {
            for &second in &words {
                let pair = pool.add_pair(first, second);
                assert!(pair.is_pair() && pair != Word::ABSENT, "{first:?} and {second:?}");
                assert_eq!(pool.pair(pair), Some((first, second)));
                assert_eq!(pair.as_small(), None);
                all.push(pair);
            }
        }
        assert!(words.iter().all(|word| pool.pair(*word).is_none()));
        let own = all.iter().filter(|pair| pair.0 & 0b111 == OWN).count();
        assert_eq!(own, 16, "of four numbers that are small enough");
        let mut other = Pool::default();
        for pair in all {
            let carried = other.carry(&pool, pair);
            assert_eq!(other.value(carried), pool.value(pair));
            let (one, two) = (pool.settled(pair), pool.add(pool.value(pair)));
            assert_eq!(pool.settled(two), one, "equal pairs settle alike");
        }
    }
}

//! Looks into values where a history keeps them, without copying them.

use rustc_hash::FxHashMap;

use crate::history::{Parts, Pool, Value, Word};

/// A value inside a history.
#[derive(Clone, Copy)]
pub(super) enum Node<'a> {
    Pooled(&'a Pool, Word),
    Plain(&'a Value),
}

/// The elements of a list.
#[derive(Clone, Copy)]
pub(super) enum Elements<'a> {
    Two([Node<'a>; 2]),
    Many(&'a [Value]),
}

impl<'a> Node<'a> {
    pub(super) fn is_nil(self) -> bool {
        match self {
            Node::Pooled(_, word) => word == Word::NIL || word == Word::ABSENT,
            Node::Plain(value) => value.is_nil(),
        }
    }

    fn as_int(self) -> Option<i64> {
        match self {
            Node::Pooled(pool, word) => match pool.parts(word) {
                Parts::Int(number) => Some(number),
                Parts::Shared(value) => value.as_int(),
                Parts::Pair(..) => None,
            },
            Node::Plain(value) => value.as_int(),
        }
    }

    pub(super) fn as_str(self) -> Option<&'a str> {
        match self {
            Node::Pooled(pool, word) => pool.text(word),
            Node::Plain(value) => value.as_str(),
        }
    }

    pub(super) fn elements(self) -> Option<Elements<'a>> {
        match self {
            Node::Pooled(pool, word) => match pool.parts(word) {
                Parts::Pair(first, second) => Some(Elements::Two([
                    Node::Pooled(pool, first),
                    Node::Pooled(pool, second),
                ])),
                Parts::Shared(value) => value.as_list().map(Elements::Many),
                Parts::Int(_) => None,
            },
            Node::Plain(value) => value.as_list().map(Elements::Many),
        }
    }

    pub(super) fn to_value(self) -> Value {
        match self {
            Node::Pooled(_, Word::ABSENT) => Value::Nil,
            Node::Pooled(pool, word) => pool.value(word),
            Node::Plain(value) => value.clone(),
        }
    }

    /// The value itself where it stands somewhere whole.
    fn whole(self) -> Option<&'a Value> {
        match self {
            Node::Pooled(pool, word) => match pool.parts(word) {
                Parts::Shared(value) => Some(value),
                Parts::Int(_) | Parts::Pair(..) => None,
            },
            Node::Plain(value) => Some(value),
        }
    }
}

impl PartialEq for Node<'_> {
    fn eq(&self, other: &Self) -> bool {
        match (self.as_int(), other.as_int()) {
            (Some(one), Some(two)) => one == two,
            (None, None) => match (self.whole(), other.whole()) {
                (Some(one), Some(two)) => one == two,
                _ => self.to_value() == other.to_value(),
            },
            _ => false,
        }
    }
}

impl<'a> Elements<'a> {
    pub(super) const NONE: Elements<'static> = Elements::Many(&[]);

    pub(super) fn len(self) -> usize {
        match self {
            Elements::Two(_) => 2,
            Elements::Many(values) => values.len(),
        }
    }

    pub(super) fn get(self, at: usize) -> Option<Node<'a>> {
        match self {
            Elements::Two(nodes) => nodes.get(at).copied(),
            Elements::Many(values) => values.get(at).map(Node::Plain),
        }
    }

    pub(super) fn iter(self) -> impl ExactSizeIterator<Item = Node<'a>> {
        (0..self.len()).map(move |at| self.get(at).expect("below the length"))
    }
}

/// Numbers for values, from 0, each value under some number that is already known (its key, say).
#[derive(Default)]
pub(super) struct Numbers {
    ints: FxHashMap<(u32, i64), u32>,
    others: FxHashMap<(u32, Value), u32>,
}

impl Numbers {
    pub(super) fn get(&self, under: u32, value: Node<'_>) -> Option<u32> {
        match value.as_int() {
            Some(number) => self.ints.get(&(under, number)).copied(),
            None => self.others.get(&(under, value.to_value())).copied(),
        }
    }

    /// The number that the value already had, or else `new`, which it has from now on.
    pub(super) fn put(&mut self, under: u32, value: Node<'_>, new: u32) -> u32 {
        match value.as_int() {
            Some(number) => *self.ints.entry((under, number)).or_insert(new),
            None => *self.others.entry((under, value.to_value())).or_insert(new),
        }
    }
}

/// Appends to the vector under a number, growing the table as needed.
pub(super) fn push_under<T: Clone>(table: &mut Vec<Vec<T>>, under: u32, item: T) {
    let at = under as usize;
    if at >= table.len() {
        table.resize(at + 1, Vec::new());
    }
    table[at].push(item);
}

//! The recent changes, for those who watch.
//!
//! Kept in memory, up to a bound. A watcher that asks for changes older than the
//! oldest kept is told so and reads the keys anew: a gap is never passed over in
//! silence.

use std::collections::VecDeque;

use crate::state::{Change, Changes};

/// Most bytes of changes kept.
const MAX_BYTES: usize = 16 << 20;

/// The changes after some log index.
#[derive(Debug, Default)]
pub struct Feed {
    changes: VecDeque<(u64, Change)>,
    bytes: usize,
    /// Changes up to and with this index are not kept.
    before: u64,
}

impl Feed {
    /// A feed that knows nothing of the changes up to `index`.
    pub fn starting_after(index: u64) -> Feed {
        Feed {
            before: index,
            ..Feed::default()
        }
    }

    /// Takes in the changes that the entry at `index` made.
    pub fn push(&mut self, index: u64, changes: &mut Changes) {
        for change in changes.drain(..) {
            self.bytes += weight(&change);
            self.changes.push_back((index, change));
        }
        while self.bytes > MAX_BYTES
            && let Some((index, change)) = self.changes.pop_front()
        {
            self.bytes -= weight(&change);
            // The others of the same entry go with it: half an entry is a gap.
            self.before = index;
            while self.changes.front().is_some_and(|(other, _)| *other == index) {
                self.bytes -= self.changes.pop_front().map_or(0, |(_, change)| weight(&change));
            }
        }
    }

    /// The changes made after `index`, or `None` if some of them are no longer kept.
    pub fn after(&self, index: u64) -> Option<impl Iterator<Item = &(u64, Change)>> {
        if index < self.before {
            return None;
        }
        let start = self.changes.partition_point(|(made, _)| *made <= index);
        Some(self.changes.range(start..))
    }
}

fn weight(change: &Change) -> usize {
    64 + change.key.len() + change.value.as_ref().map_or(0, |value| value.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(key: &str, bytes: usize) -> Change {
        Change {
            key: key.into(),
            value: Some("x".repeat(bytes).into()),
        }
    }

    #[test]
    fn a_gap_is_told() {
        let mut feed = Feed::starting_after(10);
        assert!(feed.after(9).is_none());
        feed.push(11, &mut vec![change("a", 1), change("b", 1)]);
        feed.push(13, &mut vec![change("c", 1)]);
        let after = |feed: &Feed, index| {
            feed.after(index)
                .map(|changes| changes.map(|(made, _)| *made).collect())
        };
        assert_eq!(after(&feed, 10), Some(vec![11, 11, 13]));
        assert_eq!(after(&feed, 12), Some(vec![13]));
        feed.push(14, &mut vec![change("d", MAX_BYTES - 100)]);
        // Both changes of entry 11 are gone, not one.
        assert_eq!(after(&feed, 10), None);
        assert_eq!(after(&feed, 13), Some(vec![14]));
    }
}

//! The keys that one transaction has met so far, numbered in that order.

/// Kept from one transaction to the next, so that each costs only what it has steps.
pub(super) struct Met {
    transaction: u32,
    /// For each key the transaction that met it last, and the number that it had there.
    last: Vec<(u32, u32)>,
    count: u32,
}

impl Met {
    pub(super) fn of_keys(keys: usize) -> Met {
        Met {
            transaction: 0,
            last: vec![(0, 0); keys],
            count: 0,
        }
    }

    /// Begins another transaction, which has met no key.
    pub(super) fn begin(&mut self) {
        self.transaction += 1;
        self.count = 0;
    }

    /// The number of a key, and whether it is met for the first time.
    pub(super) fn meet(&mut self, key: u32) -> (usize, bool) {
        let last = &mut self.last[key as usize];
        let new = last.0 != self.transaction;
        if new {
            *last = (self.transaction, self.count);
            self.count += 1;
        }
        (last.1 as usize, new)
    }
}

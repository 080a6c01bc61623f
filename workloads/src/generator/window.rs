//! A few keys in use at any time, each left alone after a while for a fresh one.

use rand::Rng;

use super::{KeyChoice, Places};

/// The keys in use, with what a generator remembers of each.
///
/// Few keys at a time make operations contend; short lives keep what is done to one key small enough to judge.
#[derive(Debug)]
pub struct Window<K> {
    slots: Vec<Slot<K>>,
    places: Places,
    next: u64,
}

#[derive(Debug)]
struct Slot<K> {
    name: String,
    left: u32,
    key: K,
}

impl<K> Window<K> {
    /// A window of `size` keys, drawn from by `choice`; `fresh` makes one and says after how many operations it
    /// retires.
    ///
    /// # Panics
    /// When `size` is 0.
    pub fn new(size: usize, choice: KeyChoice, mut fresh: impl FnMut() -> (K, u32)) -> Self {
        assert!(size > 0, "a load needs keys");
        let mut window = Self {
            slots: Vec::with_capacity(size),
            places: choice.among(size),
            next: 0,
        };
        for place in 1..=size as u64 {
            let (key, lives) = fresh();
            // Keys retire one after another instead of all at once.
            let left = place * u64::from(lives) / size as u64;
            let left = u32::try_from(left).unwrap_or(u32::MAX).max(1);
            let name = window.name();
            window.slots.push(Slot { name, left, key });
        }
        window
    }

    /// The place of a key in use. A key that is drawn often retires soon, and the fresh one in its place is drawn as
    /// often.
    pub fn draw(&self, rng: &mut impl Rng) -> usize {
        self.places.draw(rng)
    }

    /// The key at a place that was drawn, for one operation more; where it had its last, a `fresh` one.
    pub fn take(&mut self, place: usize, fresh: impl FnOnce() -> (K, u32)) -> (&str, &mut K) {
        if self.slots[place].left == 0 {
            let (key, left) = fresh();
            let name = self.name();
            self.slots[place] = Slot { name, left, key };
        }
        let slot = &mut self.slots[place];
        slot.left = slot.left.saturating_sub(1);
        (&slot.name, &mut slot.key)
    }

    /// What is remembered of a key, while it is in use.
    pub fn known(&mut self, name: &str) -> Option<&mut K> {
        let slot = self.slots.iter_mut().find(|slot| slot.name == name);
        slot.map(|slot| &mut slot.key)
    }

    /// The names of all keys used so far, oldest first.
    #[must_use]
    pub fn used(&self) -> Vec<String> {
        (0..self.next).map(|number| format!("k{number}")).collect()
    }

    fn name(&mut self) -> String {
        let name = format!("k{}", self.next);
        self.next += 1;
        name
    }
}

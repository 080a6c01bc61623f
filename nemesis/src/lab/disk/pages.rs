//! The bytes of a file as sparse pages, shared between what programs see and
//! what is safely on disk until one of the two changes.

use std::collections::BTreeMap;
use std::sync::Arc;

/// Bytes of a page.
pub(crate) const PAGE: usize = 4096;
/// What a disk writes whole or not at all.
pub(crate) const SECTOR: usize = 512;

/// A file's bytes. What no page holds is zero.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Pages {
    length: u64,
    pages: BTreeMap<u64, Arc<[u8; PAGE]>>,
}

impl Pages {
    pub(crate) fn length(&self) -> u64 {
        self.length
    }

    /// Bytes that take up room.
    pub(crate) fn allocated(&self) -> u64 {
        self.pages.len() as u64 * PAGE as u64
    }

    /// Numbers of the pages from `offset` on that a write of `length` touches.
    pub(crate) fn touched(offset: u64, length: usize) -> std::ops::Range<u64> {
        if length == 0 {
            return 0..0;
        }
        let page = PAGE as u64;
        offset / page..(offset + length as u64).div_ceil(page)
    }

    /// Numbers of the pages that hold something, from this one on.
    pub(crate) fn page_numbers(&self, from: u64) -> impl Iterator<Item = u64> {
        self.pages.range(from..).map(|(number, _)| *number)
    }

    /// Pages that a write there would have to allocate.
    pub(crate) fn missing(&self, offset: u64, length: usize) -> u64 {
        Pages::touched(offset, length)
            .filter(|number| !self.pages.contains_key(number))
            .count() as u64
    }

    pub(crate) fn read(&self, offset: u64, length: usize) -> Vec<u8> {
        let end = self.length.min(offset.saturating_add(length as u64));
        let mut bytes = vec![0; end.saturating_sub(offset) as usize];
        for number in Pages::touched(offset, bytes.len()) {
            let Some(page) = self.pages.get(&number) else {
                continue;
            };
            let start = number * PAGE as u64;
            let (from, to) = (start.max(offset), (start + PAGE as u64).min(end));
            bytes[(from - offset) as usize..(to - offset) as usize]
                .copy_from_slice(&page[(from - start) as usize..(to - start) as usize]);
        }
        bytes
    }

    pub(crate) fn write(&mut self, offset: u64, bytes: &[u8]) {
        let end = offset + bytes.len() as u64;
        for number in Pages::touched(offset, bytes.len()) {
            let start = number * PAGE as u64;
            let (from, to) = (start.max(offset), (start + PAGE as u64).min(end));
            let page = Arc::make_mut(self.pages.entry(number).or_insert_with(|| Arc::new([0; PAGE])));
            page[(from - start) as usize..(to - start) as usize]
                .copy_from_slice(&bytes[(from - offset) as usize..(to - offset) as usize]);
        }
        self.length = self.length.max(end);
    }

    /// Cuts off or adds zeroes.
    pub(crate) fn resize(&mut self, length: u64) {
        if length < self.length {
            let keep = length.div_ceil(PAGE as u64);
            self.pages.split_off(&keep);
            let within = (length % PAGE as u64) as usize;
            if within > 0
                && let Some(page) = self.pages.get_mut(&(length / PAGE as u64))
            {
                Arc::make_mut(page)[within..].fill(0);
            }
        }
        self.length = length;
    }

    /// Makes a range zero without changing the length.
    pub(crate) fn punch(&mut self, offset: u64, length: u64) {
        let end = offset.saturating_add(length).min(self.length);
        for number in Pages::touched(offset, end.saturating_sub(offset) as usize) {
            let start = number * PAGE as u64;
            let (from, to) = (start.max(offset), (start + PAGE as u64).min(end));
            if to - from == PAGE as u64 {
                self.pages.remove(&number);
            } else if let Some(page) = self.pages.get_mut(&number) {
                Arc::make_mut(page)[(from - start) as usize..(to - start) as usize].fill(0);
            }
        }
    }

    /// Takes one page over from another version of the file, or its absence.
    pub(crate) fn adopt(&mut self, number: u64, from: &Pages) {
        match from.pages.get(&number) {
            Some(page) => self.pages.insert(number, Arc::clone(page)),
            None => self.pages.remove(&number),
        };
    }

    /// Takes the length over, and zeroes what was beyond a shorter one.
    pub(crate) fn adopt_length(&mut self, from: &Pages) {
        self.resize(from.length);
    }

    /// The bytes of one sector of a page, whatever the length.
    pub(crate) fn sector(&self, number: u64, sector: usize) -> &[u8] {
        match self.pages.get(&number) {
            Some(page) => &page[sector * SECTOR..(sector + 1) * SECTOR],
            None => &[0; SECTOR],
        }
    }

    /// Takes one sector over.
    pub(crate) fn adopt_sector(&mut self, number: u64, sector: usize, from: &Pages) {
        let page = Arc::make_mut(self.pages.entry(number).or_insert_with(|| Arc::new([0; PAGE])));
        page[sector * SECTOR..(sector + 1) * SECTOR].copy_from_slice(from.sector(number, sector));
    }

    /// Flips the bit of this number; false if the file is not that long.
    pub(crate) fn flip(&mut self, bit: u64) -> bool {
        let (byte, mask) = (bit / 8, 1u8 << (bit % 8));
        if byte >= self.length {
            return false;
        }
        let old = self.read(byte, 1)[0];
        self.write(byte, &[old ^ mask]);
        true
    }
}

#[cfg(test)]
mod tests {
    use rand::rngs::ChaCha8Rng;
    use rand::{RngExt, SeedableRng};

    use super::*;

    #[test]
    fn pages_do_what_a_plain_vector_does() {
        for seed in 0..100 {
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            let (mut pages, mut plain) = (Pages::default(), Vec::<u8>::new());
            for _ in 0..200 {
                let offset = rng.random_range(0..20_000usize);
                let length = rng.random_range(0..9_000usize);
                match rng.random_range(0..4) {
                    0 | 1 => {
                        let byte = rng.random();
                        if length > 0 && plain.len() < offset + length {
                            plain.resize(offset + length, 0);
                        }
                        if length > 0 {
                            plain[offset..offset + length].fill(byte);
                            pages.write(offset as u64, &vec![byte; length]);
                        }
                    }
                    2 => {
                        plain.resize(offset, 0);
                        pages.resize(offset as u64);
                    }
                    _ => {
                        let end = (offset + length).min(plain.len());
                        if offset < end {
                            plain[offset..end].fill(0);
                        }
                        pages.punch(offset as u64, length as u64);
                    }
                }
                assert_eq!(pages.length(), plain.len() as u64, "seed {seed}");
                assert_eq!(pages.read(0, plain.len() + 10), plain, "seed {seed}");
            }
        }
    }
}

//! Keys as unequal as they are in life: few are asked for all the time, most hardly ever.

use rand::{Rng, RngExt};

/// The numbers from 0 on, the `n`-th as often as 1 / (n+1)^s.
///
/// Drawn by looking a random share up in the sums of all shares: exact, and fast enough for the few thousand
/// keys that a load has.
#[derive(Debug, Clone)]
pub struct Zipf {
    sums: Vec<f64>,
}

impl Zipf {
    /// So many numbers; `exponent` 0 makes them all alike, 1 is Zipf's law.
    ///
    /// # Panics
    /// When there is no number, or the exponent is none.
    #[must_use]
    pub fn new(numbers: usize, exponent: f64) -> Self {
        assert!(numbers > 0 && exponent.is_finite(), "a choice needs numbers");
        let mut sum = 0.0;
        let sums = (1..=numbers).map(|place| {
            sum += (place as f64).powf(-exponent);
            sum
        });
        Self { sums: sums.collect() }
    }

    /// The next number.
    pub fn draw(&self, rng: &mut impl Rng) -> usize {
        let all = self.sums.last().copied().unwrap_or(1.0);
        let share = rng.random::<f64>() * all;
        self.sums
            .partition_point(|sum| *sum <= share)
            .min(self.sums.len() - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use rand::rngs::ChaCha12Rng;

    #[test]
    fn the_second_is_asked_for_half_as_often_as_the_first() {
        let mut rng = ChaCha12Rng::seed_from_u64(1);
        let zipf = Zipf::new(100, 1.0);
        let mut counts = [0_u32; 100];
        for _ in 0..200_000 {
            counts[zipf.draw(&mut rng)] += 1;
        }
        let ratio = f64::from(counts[0]) / f64::from(counts[1]);
        assert!((ratio - 2.0).abs() < 0.1, "{ratio}");
        assert!(counts.iter().all(|count| *count > 0));
        let even = Zipf::new(4, 0.0);
        let mut counts = [0_u32; 4];
        for _ in 0..40_000 {
            counts[even.draw(&mut rng)] += 1;
        }
        assert!(
            counts.iter().all(|count| count.abs_diff(10_000) < 500),
            "{counts:?}"
        );
    }
}

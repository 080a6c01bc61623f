//! How numbers are spread, by the nearest-rank method: every quantile is a number that occurred.

use serde::Serialize;

/// Some quantiles of numbers, and how many there are.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Quantiles<T> {
    /// How many numbers.
    pub count: usize,
    /// Half of them are at most this.
    pub p50: T,
    /// Of ten, nine are at most this.
    pub p90: T,
    /// Of a hundred, ninety-nine are at most this.
    pub p99: T,
    /// Of a thousand, all but one are at most this.
    #[serde(rename = "p99.9")]
    pub p999: T,
    /// The largest.
    pub max: T,
}

impl<T: Copy + PartialOrd> Quantiles<T> {
    /// The quantiles of some numbers; none of none.
    pub(crate) fn of(mut numbers: Vec<T>) -> Option<Quantiles<T>> {
        numbers.sort_by(|one, other| one.partial_cmp(other).expect("no number is not one"));
        let max = *numbers.last()?;
        let at = |per_mille: usize| numbers[(numbers.len() * per_mille).div_ceil(1000).max(1) - 1];
        Some(Quantiles {
            count: numbers.len(),
            p50: at(500),
            p90: at(900),
            p99: at(990),
            p999: at(999),
            max,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_numbers_that_occurred() {
        assert_eq!(Quantiles::<u32>::of(Vec::new()), None);
        let one = Quantiles::of(vec![7]).expect("of one");
        assert_eq!((one.p50, one.p999, one.max), (7, 7, 7));
        let many = Quantiles::of((1..=1000).rev().collect()).expect("of many");
        let told = (many.count, many.p50, many.p90, many.p99, many.p999, many.max);
        assert_eq!(told, (1000, 500, 900, 990, 999, 1000));
    }
}

//! Latencies, counted in buckets as Prometheus wants them.

use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Upper ends of the buckets, microseconds.
const ENDS_US: [u64; 14] = [
    100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000,
    5_000_000,
];

/// Counts of durations; cheap enough for every request.
#[derive(Debug, Default)]
pub struct Histogram {
    buckets: [AtomicU64; ENDS_US.len()],
    beyond: AtomicU64,
    sum_us: AtomicU64,
}

impl Histogram {
    /// Counts a duration.
    pub fn observe(&self, duration: Duration) {
        let us = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        let bucket = ENDS_US.iter().position(|end| us <= *end);
        bucket
            .map_or(&self.beyond, |bucket| &self.buckets[bucket])
            .fetch_add(1, Ordering::Relaxed);
        self.sum_us.fetch_add(us, Ordering::Relaxed);
    }

    /// Appends the series in Prometheus' text form; `labels` like `route="set"`, or
    /// nothing.
    pub fn write(&self, out: &mut String, name: &str, labels: &str) {
        let comma = if labels.is_empty() { "" } else { "," };
        let mut count = 0;
        for (bucket, end) in self.buckets.iter().zip(ENDS_US) {
            count += bucket.load(Ordering::Relaxed);
            let seconds = end as f64 / 1e6;
            let _ = writeln!(out, "{name}_bucket{{{labels}{comma}le=\"{seconds}\"}} {count}");
        }
        count += self.beyond.load(Ordering::Relaxed);
        let sum = self.sum_us.load(Ordering::Relaxed) as f64 / 1e6;
        let _ = writeln!(out, "{name}_bucket{{{labels}{comma}le=\"+Inf\"}} {count}");
        let _ = writeln!(
            out,
            "{name}_sum{{{labels}}} {sum}\n{name}_count{{{labels}}} {count}"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_add_up() {
        let histogram = Histogram::default();
        for us in [0, 100, 101, 400, 9_000_000] {
            histogram.observe(Duration::from_micros(us));
        }
        let mut out = String::new();
        histogram.write(&mut out, "x", "route=\"set\"");
        for want in [
            "x_bucket{route=\"set\",le=\"0.0001\"} 2",
            "x_bucket{route=\"set\",le=\"0.0005\"} 4",
            "x_bucket{route=\"set\",le=\"5\"} 4",
            "x_bucket{route=\"set\",le=\"+Inf\"} 5",
            "x_count{route=\"set\"} 5",
            "x_sum{route=\"set\"} 9.000601",
        ] {
            assert!(out.lines().any(|line| line == want), "{want} is not in\n{out}");
        }
    }
}

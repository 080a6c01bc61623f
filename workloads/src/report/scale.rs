//! From quantities to places on a page, and the few round numbers written beside them.

/// A stretch of the run's clock laid over a stretch of the page.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct TimeScale {
    /// Nanoseconds at the left edge.
    pub(super) from: u64,
    /// Nanoseconds at the right edge; above `from`.
    pub(super) to: u64,
    /// The page's units at the left edge.
    pub(super) left: f64,
    /// The page's units at the right edge.
    pub(super) right: f64,
}

impl TimeScale {
    /// The place of a time; what lies outside is moved to the nearer edge.
    pub(super) fn x(&self, time: u64) -> f64 {
        let time = time.clamp(self.from, self.to);
        let share = (time - self.from) as f64 / (self.to - self.from) as f64;
        self.left + share * (self.right - self.left)
    }
}

/// A logarithmic scale, for latencies: every decade is as tall as the next.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct LogScale {
    low: f64,
    high: f64,
    bottom: f64,
    top: f64,
}

impl LogScale {
    /// A scale whose ends are whole decades around the values; values of 0 and below count as the lowest.
    pub(super) fn around(lowest: f64, highest: f64, bottom: f64, top: f64) -> Self {
        let low = lowest.max(1e-9).log10().floor();
        let high = highest.max(1e-9).log10().ceil().max(low + 1.0);
        Self {
            low,
            high,
            bottom,
            top,
        }
    }

    /// The place of a value; what lies outside is moved to the nearer edge.
    pub(super) fn y(&self, value: f64) -> f64 {
        let at = value.max(1e-9).log10().clamp(self.low, self.high);
        self.bottom + (at - self.low) / (self.high - self.low) * (self.top - self.bottom)
    }

    /// The decades on the scale.
    pub(super) fn decades(&self) -> impl Iterator<Item = f64> {
        (self.low as i32..=self.high as i32).map(|power| 10f64.powi(power))
    }
}

/// The smallest of 1, 2, 5, 10, 20, 50, ... that is at least `least`.
pub(super) fn round_step(least: f64) -> f64 {
    if least.is_nan() || least <= 0.0 {
        return 1.0;
    }
    let decade = 10f64.powf(least.log10().floor());
    // A hair of tolerance: 10^log10(50) may be 50.000000000000007.
    [1.0, 2.0, 5.0]
        .map(|digit| digit * decade)
        .into_iter()
        .find(|step| *step >= least * (1.0 - 1e-9))
        .unwrap_or(10.0 * decade)
}

/// Round numbers from 0 up to the first one at or above `highest`, about `count` of them.
pub(super) fn ticks(highest: f64, count: usize) -> Vec<f64> {
    let step = round_step(highest / count.max(1) as f64);
    let last = (highest / step).ceil().max(1.0) as usize;
    (0..=last).map(|n| n as f64 * step).collect()
}

/// Round times within a stretch of nanoseconds, at most `most` of them: multiples of 1, 2, 5 ns ... 1 s, then of
/// 10, 30 s, minutes and hours.
pub(super) fn time_ticks(from: u64, to: u64, most: usize) -> Vec<u64> {
    const SECOND: u64 = 1_000_000_000;
    let least = (to.saturating_sub(from) as f64 / most.max(1) as f64).max(1.0);
    let seconds = [
        1, 2, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 7200, 14_400, 43_200, 86_400,
    ];
    let step = if least <= SECOND as f64 {
        round_step(least) as u64
    } else {
        seconds
            .into_iter()
            .map(|s| s * SECOND)
            .find(|s| *s as f64 >= least)
            .unwrap_or_else(|| {
                let days = least / (86_400 * SECOND) as f64;
                days.ceil() as u64 * 86_400 * SECOND
            })
    };
    (from.div_ceil(step)..=to / step).map(|n| n * step).collect()
}

/// A time on the run's clock: `12.3 s`, `4:05` from a minute and a half on.
pub(super) fn clock(nanos: u64) -> String {
    let seconds = nanos / 1_000_000_000;
    let rest = nanos % 1_000_000_000;
    let text = if seconds >= 5400 {
        format!("{}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)
    } else if seconds >= 90 {
        format!("{}:{:02}", seconds / 60, seconds % 60)
    } else {
        return format!("{} s", trimmed(seconds, rest, 9));
    };
    if rest == 0 {
        text
    } else {
        format!("{text}.{}", format!("{rest:09}").trim_end_matches('0'))
    }
}

/// Seconds with exactly so many digits behind the point, cut, not rounded: an order that holds stays visible.
pub(super) fn seconds(nanos: u64, digits: usize) -> String {
    let rest = format!("{:09}", nanos % 1_000_000_000);
    format!("{}.{}", nanos / 1_000_000_000, &rest[..digits.clamp(1, 9)])
}

/// How long something took, in the unit that fits: `213 µs`, `1.24 ms`, `12.3 s`, `3 min 05 s`.
pub(super) fn duration(nanos: u64) -> String {
    let ns = nanos as f64;
    match nanos {
        0 => "0".to_owned(),
        1..1_000 => format!("{nanos} ns"),
        1_000..999_500 => format!("{} µs", three_digits(ns / 1e3)),
        999_500..999_500_000 => format!("{} ms", three_digits(ns / 1e6)),
        999_500_000..90_000_000_000 => format!("{} s", three_digits(ns / 1e9)),
        _ => {
            let seconds = (nanos + 500_000_000) / 1_000_000_000;
            if seconds < 5400 {
                format!("{} min {:02} s", seconds / 60, seconds % 60)
            } else {
                format!("{} h {:02} min", seconds / 3600, seconds / 60 % 60)
            }
        }
    }
}

/// A count with its thousands apart: `12 345`.
pub(crate) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            // A narrow space that no line breaks at.
            text.push('\u{202f}');
        }
        text.push(digit);
    }
    text
}

/// A share in per cent that never rounds up to all or down to none.
pub(super) fn percent(part: u64, whole: u64) -> String {
    match (part, whole) {
        (_, 0) => "–".to_owned(),
        (0, _) => "0%".to_owned(),
        (part, whole) if part == whole => "100%".to_owned(),
        (part, whole) => {
            let share = part as f64 / whole as f64 * 100.0;
            if share > 99.9 {
                ">99.9%".to_owned()
            } else if share < 0.1 {
                "<0.1%".to_owned()
            } else {
                format!("{share:.1}%")
            }
        }
    }
}

fn three_digits(number: f64) -> String {
    let digits = if number < 9.995 {
        2
    } else if number < 99.95 {
        1
    } else {
        0
    };
    format!("{number:.digits$}")
}

fn trimmed(seconds: u64, rest: u64, digits: usize) -> String {
    if rest == 0 {
        return seconds.to_string();
    }
    let rest = format!("{rest:09}");
    format!("{seconds}.{}", rest[..digits].trim_end_matches('0'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_reach_the_top() {
        assert_eq!(ticks(1234.0, 4), [0.0, 500.0, 1000.0, 1500.0]);
        assert_eq!(ticks(0.0, 4), [0.0, 1.0]);
        assert_eq!(ticks(50.0, 5), [0.0, 10.0, 20.0, 30.0, 40.0, 50.0]);
    }

    #[test]
    fn time_ticks_lie_inside() {
        let s = 1_000_000_000;
        assert_eq!(
            time_ticks(0, 30 * s, 10),
            [0, 5 * s, 10 * s, 15 * s, 20 * s, 25 * s, 30 * s]
        );
        assert_eq!(time_ticks(s / 2, s, 5).len(), 6);
        assert!(time_ticks(7, 7, 5).len() <= 1);
        let week = 7 * 86_400 * s;
        let days = time_ticks(0, week, 5);
        assert!(
            days.len() >= 3 && days.len() <= 6 && days.iter().all(|t| *t <= week),
            "{days:?}"
        );
    }

    #[test]
    fn scales_keep_what_is_outside_at_the_edge() {
        let time = TimeScale {
            from: 10,
            to: 20,
            left: 100.0,
            right: 200.0,
        };
        assert_eq!(
            [time.x(0), time.x(10), time.x(15), time.x(99)],
            [100.0, 100.0, 150.0, 200.0]
        );
        let log = LogScale::around(0.3, 250.0, 100.0, 0.0);
        assert_eq!(log.decades().collect::<Vec<_>>(), [0.1, 1.0, 10.0, 100.0, 1000.0]);
        assert_eq!([log.y(0.1), log.y(0.0), log.y(1e9)], [100.0, 100.0, 0.0]);
        assert!((log.y(10.0) - 50.0).abs() < 1e-9);
    }

    #[test]
    fn times_read_as_people_write_them() {
        assert_eq!(duration(213_456), "213 µs");
        assert_eq!(duration(1_239_000), "1.24 ms");
        assert_eq!(duration(999_600), "1.00 ms");
        assert_eq!(duration(12_340_000_000), "12.3 s");
        assert_eq!(duration(185_000_000_000), "3 min 05 s");
        assert_eq!(clock(12_300_000_000), "12.3 s");
        assert_eq!(clock(245_000_000_000), "4:05");
        assert_eq!(
            seconds(12_999_999_999, 3),
            "12.999",
            "cut, so that it stays before 13"
        );
        assert_eq!(count(1_234_567), "1\u{202f}234\u{202f}567");
        assert_eq!(percent(999_999, 1_000_000), ">99.9%");
        assert_eq!(percent(1, 1_000_000), "<0.1%");
        assert_eq!(percent(7, 7), "100%");
    }
}

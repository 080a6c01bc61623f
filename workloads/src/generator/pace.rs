//! When operations are due.

use std::fmt;
use std::str::FromStr;

use checker::history::Nanos;
use rand::rngs::ChaCha12Rng;
use rand::{RngExt, SeedableRng};

use super::{Context, Generator, Invocation, Next};
use crate::system::Outcome;

/// What becomes of the operations that were due while every worker was busy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// They are not sent: a stalled store is asked less.
    Closed,
    /// They are sent late, and their latency counts from when they were due: a stalled store is charged for
    /// the wait ("coordinated omission", Tene 2013).
    Open,
}

/// How the operations of a rate follow each other.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Arrivals {
    /// At equal intervals.
    #[default]
    Even,
    /// At random intervals, between nothing and twice the mean.
    Stagger,
    /// So many at once, then nothing until the next so many are due; at least 1.
    Burst(u32),
}

impl fmt::Display for Arrivals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Even => f.write_str("even"),
            Self::Stagger => f.write_str("stagger"),
            Self::Burst(size) => write!(f, "burst:{size}"),
        }
    }
}

impl FromStr for Arrivals {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let size = |size: &str| size.parse::<u32>().ok().filter(|size| *size > 0);
        match text.split_once(':') {
            None if text == "even" => Some(Self::Even),
            None if text == "stagger" => Some(Self::Stagger),
            Some(("burst", text)) => size(text).map(Self::Burst),
            _ => None,
        }
        .ok_or_else(|| "write it as even, stagger, or burst:100 with how many come at once".to_owned())
    }
}

/// At most `rate` operations a second.
#[derive(Debug)]
pub struct Paced<G> {
    inner: G,
    pace: Pace,
    arrivals: Arrivals,
    rng: ChaCha12Rng,
    interval_ns: f64,
    due_ns: f64,
    /// Of the burst that is under way, how many were due, and since when.
    arrived: u32,
    burst_ns: f64,
}

impl<G> Paced<G> {
    /// Paces `inner` at `rate` operations a second, evenly spaced.
    ///
    /// # Panics
    /// When `rate` is not a positive number.
    #[must_use]
    pub fn new(inner: G, pace: Pace, rate: f64) -> Self {
        assert!(rate.is_finite() && rate > 0.0, "a rate is a positive number");
        Self {
            inner,
            pace,
            arrivals: Arrivals::Even,
            rng: ChaCha12Rng::seed_from_u64(0),
            interval_ns: 1e9 / rate,
            due_ns: 0.0,
            arrived: 0,
            burst_ns: 0.0,
        }
    }

    /// The same rate on average, spaced otherwise; `seed` decides where chance does.
    #[must_use]
    pub fn arriving(self, arrivals: Arrivals, seed: u64) -> Self {
        Self {
            arrivals,
            rng: ChaCha12Rng::seed_from_u64(seed),
            ..self
        }
    }

    /// The generator inside.
    pub fn inner(&self) -> &G {
        &self.inner
    }

    /// When the next operation is due, after one that was due at `due_ns`.
    fn next_ns(&mut self, due_ns: f64) -> f64 {
        match self.arrivals {
            Arrivals::Even => due_ns + self.interval_ns,
            Arrivals::Stagger => due_ns + self.rng.random_range(0.0..2.0) * self.interval_ns,
            Arrivals::Burst(size) => {
                if self.arrived == 0 {
                    self.burst_ns = due_ns;
                }
                self.arrived += 1;
                if self.arrived < size {
                    return due_ns;
                }
                self.arrived = 0;
                // From beginning to beginning, however long the clients took over it.
                self.burst_ns + f64::from(size) * self.interval_ns
            }
        }
    }
}

impl<G: Generator> Generator for Paced<G> {
    fn next(&mut self, context: Context) -> Next {
        match self.inner.next(context) {
            Next::Invoke { invocation, .. } => {
                let due_ns = match self.pace {
                    Pace::Closed => self.due_ns.max(context.now.0 as f64),
                    Pace::Open => self.due_ns,
                };
                self.due_ns = self.next_ns(due_ns);
                let due = Nanos(due_ns as u64);
                Next::Invoke {
                    at: due,
                    intended: (self.pace == Pace::Open).then_some(due),
                    invocation,
                }
            }
            other => other,
        }
    }

    fn update(&mut self, context: Context, invocation: &Invocation, outcome: &Outcome) {
        self.inner.update(context, invocation, outcome);
    }
}

/// Ends when an operation would be due at `end` or later.
#[derive(Debug)]
pub struct TimeLimit<G> {
    inner: G,
    end: Nanos,
}

impl<G> TimeLimit<G> {
    /// Lets `inner` go on until `end` on the run's clock.
    #[must_use]
    pub fn new(inner: G, end: Nanos) -> Self {
        Self { inner, end }
    }

    /// The generator inside.
    pub fn inner(&self) -> &G {
        &self.inner
    }
}

impl<G: Generator> Generator for TimeLimit<G> {
    fn next(&mut self, context: Context) -> Next {
        if context.now.0 >= self.end.0 {
            return Next::Done;
        }
        match self.inner.next(context) {
            Next::Invoke { at, .. } if at.0 >= self.end.0 => Next::Done,
            next => next,
        }
    }

    fn update(&mut self, context: Context, invocation: &Invocation, outcome: &Outcome) {
        self.inner.update(context, invocation, outcome);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use checker::history::Value;

    /// Operations without end.
    struct Endless;

    impl Generator for Endless {
        fn next(&mut self, context: Context) -> Next {
            Next::Invoke {
                at: context.now,
                intended: None,
                invocation: Invocation::new("get", "k", Value::Nil),
            }
        }
    }

    #[test]
    fn arrivals_read_as_they_are_written() {
        for (text, expected) in [
            ("even", Some(Arrivals::Even)),
            ("stagger", Some(Arrivals::Stagger)),
            ("burst:100", Some(Arrivals::Burst(100))),
            ("burst:0", None),
            ("burst", None),
            ("stagger:3", None),
            ("poisson", None),
        ] {
            let read: Option<Arrivals> = text.parse().ok();
            assert_eq!(read, expected, "{text}");
            if let Some(arrivals) = read {
                assert_eq!(arrivals.to_string().parse(), Ok(arrivals));
            }
        }
    }

    /// When the first `count` operations are due at 1000 a second, in an open loop asked at once.
    fn due_ms(arrivals: Arrivals, count: usize) -> Vec<f64> {
        let mut paced = Paced::new(Endless, Pace::Open, 1000.0).arriving(arrivals, 7);
        let context = Context {
            now: Nanos(0),
            worker: 0,
            node: 0,
        };
        let due = (0..count).map(|_| match paced.next(context) {
            Next::Invoke { at, intended, .. } => {
                assert_eq!(intended, Some(at), "charged from when it was due");
                at.0 as f64 / 1e6
            }
            other => panic!("{other:?}"),
        });
        due.collect()
    }

    #[test]
    fn however_operations_arrive_the_rate_is_kept() {
        for arrivals in [Arrivals::Even, Arrivals::Stagger, Arrivals::Burst(50)] {
            let due = due_ms(arrivals, 10_001);
            let last = due.last().copied().expect("some");
            assert!((last - 10_000.0).abs() < 200.0, "{arrivals}: {last} ms");
            assert!(due.is_sorted(), "{arrivals}");
        }
        assert_eq!(due_ms(Arrivals::Burst(3), 7), [0.0, 0.0, 0.0, 3.0, 3.0, 3.0, 6.0]);
        let staggered = due_ms(Arrivals::Stagger, 1000);
        let gaps: Vec<f64> = staggered.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert!(gaps.iter().all(|gap| *gap < 2.0), "{gaps:?}");
        assert!(gaps.iter().any(|gap| *gap < 0.2) && gaps.iter().any(|gap| *gap > 1.8));
    }

    #[test]
    fn a_closed_load_that_was_held_up_does_not_make_up_for_missed_bursts() {
        let mut paced = Paced::new(Endless, Pace::Closed, 1000.0).arriving(Arrivals::Burst(2), 7);
        let mut at = |now_ms: u64| match paced.next(Context {
            now: Nanos(now_ms * 1_000_000),
            worker: 0,
            node: 0,
        }) {
            Next::Invoke { at, .. } => at.0 / 1_000_000,
            other => panic!("{other:?}"),
        };
        let due: Vec<u64> = [0, 1, 1, 100, 101, 101].into_iter().map(&mut at).collect();
        assert_eq!(due, [0, 1, 2, 100, 101, 101]);
    }
}

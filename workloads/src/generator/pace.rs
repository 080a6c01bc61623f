//! When operations are due.

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

/// At most `rate` operations a second, evenly spaced.
#[derive(Debug)]
pub struct Paced<G> {
    inner: G,
    pace: Pace,
    interval_ns: f64,
    due_ns: f64,
}

impl<G> Paced<G> {
    /// Paces `inner` at `rate` operations a second.
    ///
    /// # Panics
    /// When `rate` is not a positive number.
    #[must_use]
    pub fn new(inner: G, pace: Pace, rate: f64) -> Self {
        assert!(rate.is_finite() && rate > 0.0, "a rate is a positive number");
        Self {
            inner,
            pace,
            interval_ns: 1e9 / rate,
            due_ns: 0.0,
        }
    }

    /// The generator inside.
    pub fn inner(&self) -> &G {
        &self.inner
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
                self.due_ns = due_ns + self.interval_ns;
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

/// Operations at random intervals that are a given time on average: between nothing and twice that.
#[derive(Debug)]
pub struct Stagger<G> {
    inner: G,
    rng: ChaCha12Rng,
    mean_ns: u64,
    due_ns: u64,
}

impl<G> Stagger<G> {
    /// Spaces the operations of `inner`, over all workers, by `mean` on average.
    #[must_use]
    pub fn new(seed: u64, mean: Nanos, inner: G) -> Self {
        Self {
            inner,
            rng: ChaCha12Rng::seed_from_u64(seed),
            mean_ns: mean.0,
            due_ns: 0,
        }
    }
}

impl<G: Generator> Generator for Stagger<G> {
    fn next(&mut self, context: Context) -> Next {
        match self.inner.next(context) {
            Next::Invoke {
                intended, invocation, ..
            } => {
                let due_ns = self.due_ns.max(context.now.0);
                self.due_ns = due_ns + self.rng.random_range(0..=self.mean_ns.saturating_mul(2));
                Next::Invoke {
                    at: Nanos(due_ns),
                    intended,
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

/// Nothing for a while, then many at once.
#[derive(Debug)]
pub struct Burst<G> {
    inner: G,
    size: u64,
    every_ns: u64,
    done: u64,
}

impl<G> Burst<G> {
    /// `size` operations of `inner` every `every`.
    ///
    /// # Panics
    /// When `size` is 0.
    #[must_use]
    pub fn new(size: u64, every: Nanos, inner: G) -> Self {
        assert!(size > 0, "a burst of nothing never ends");
        Self {
            inner,
            size,
            every_ns: every.0,
            done: 0,
        }
    }
}

impl<G: Generator> Generator for Burst<G> {
    fn next(&mut self, context: Context) -> Next {
        match self.inner.next(context) {
            Next::Invoke {
                intended, invocation, ..
            } => {
                let due = Nanos(self.done / self.size * self.every_ns);
                self.done += 1;
                Next::Invoke {
                    at: due.max(context.now),
                    intended,
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

//! Generators made of generators: side by side, one after the other, for some workers, for so many operations.
//!
//! Each worker has at most one operation under way, so that a completion belongs to the part that was asked
//! last by its worker.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use rand::rngs::ChaCha12Rng;
use rand::{RngExt, SeedableRng};

use super::{Context, Generator, Invocation, Next};
use crate::system::Outcome;

/// A generator of any kind.
pub type AnyGenerator = Box<dyn Generator>;

/// How long a worker waits for others before it asks again, in nanoseconds.
const AGAIN_NS: u64 = 1_000_000;

/// Who asked which part last.
#[derive(Debug, Default)]
struct Asked(BTreeMap<usize, usize>);

impl Asked {
    fn part(&self, worker: usize) -> usize {
        self.0.get(&worker).copied().unwrap_or(0)
    }
}

/// Several at once, each chosen by its weight; one that has ended is chosen no more.
pub struct Mix {
    rng: ChaCha12Rng,
    parts: Vec<(u32, AnyGenerator)>,
    ended: Vec<Vec<bool>>,
    asked: Asked,
}

impl Mix {
    /// A mix of `parts` by their weights; `seed` decides.
    ///
    /// # Panics
    /// When nothing weighs anything.
    #[must_use]
    pub fn new(seed: u64, parts: Vec<(u32, AnyGenerator)>) -> Self {
        assert!(
            parts.iter().any(|(weight, _)| *weight > 0),
            "a mix needs a weight"
        );
        Self {
            rng: ChaCha12Rng::seed_from_u64(seed),
            ended: vec![Vec::new(); parts.len()],
            parts,
            asked: Asked::default(),
        }
    }

    fn is_over(&self, part: usize, worker: usize) -> bool {
        self.ended[part].get(worker).copied().unwrap_or(false)
    }
}

impl Generator for Mix {
    fn next(&mut self, context: Context) -> Next {
        loop {
            let open = |part: &usize| !self.is_over(*part, context.worker);
            let left: Vec<usize> = (0..self.parts.len()).filter(open).collect();
            let weights: u32 = left.iter().map(|part| self.parts[*part].0).sum();
            if weights == 0 {
                return Next::Done;
            }
            let mut dice = self.rng.random_range(0..weights);
            let chosen = left.into_iter().find(|part| {
                let weight = self.parts[*part].0;
                let here = dice < weight;
                dice = dice.saturating_sub(weight);
                here
            });
            let part = chosen.expect("the dice stay below the sum of the weights");
            match self.parts[part].1.next(context) {
                Next::Done => {
                    let ended = &mut self.ended[part];
                    ended.resize(ended.len().max(context.worker + 1), false);
                    ended[context.worker] = true;
                }
                next => {
                    self.asked.0.insert(context.worker, part);
                    return next;
                }
            }
        }
    }

    fn update(&mut self, context: Context, invocation: &Invocation, outcome: &Outcome) {
        let part = self.asked.part(context.worker);
        self.parts[part].1.update(context, invocation, outcome);
    }
}

/// One after the other. A worker goes on to the next part as soon as the one before has nothing for it.
pub struct Then {
    parts: Vec<AnyGenerator>,
    at: BTreeMap<usize, usize>,
}

impl Then {
    /// These parts in this order.
    #[must_use]
    pub fn new(parts: Vec<AnyGenerator>) -> Self {
        Self {
            parts,
            at: BTreeMap::new(),
        }
    }
}

impl Generator for Then {
    fn next(&mut self, context: Context) -> Next {
        let at = self.at.entry(context.worker).or_insert(0);
        while let Some(part) = self.parts.get_mut(*at) {
            match part.next(context) {
                Next::Done => *at += 1,
                next => return next,
            }
        }
        Next::Done
    }

    fn update(&mut self, context: Context, invocation: &Invocation, outcome: &Outcome) {
        let at = self.at.get(&context.worker).copied().unwrap_or(0);
        if let Some(part) = self.parts.get_mut(at) {
            part.update(context, invocation, outcome);
        }
    }
}

/// One after the other, all workers together: a part begins when the one before has ended for every worker and
/// nothing of it is under way.
pub struct Phases {
    parts: Vec<AnyGenerator>,
    workers: usize,
    at: usize,
    /// Per worker, whether the part has ended for it.
    ended: Vec<bool>,
    /// Per worker, whether an operation is under way.
    open: Vec<bool>,
}

impl Phases {
    /// These parts in this order, for so many workers.
    #[must_use]
    pub fn new(workers: usize, parts: Vec<AnyGenerator>) -> Self {
        Self {
            parts,
            workers,
            at: 0,
            ended: vec![false; workers],
            open: vec![false; workers],
        }
    }
}

impl Generator for Phases {
    fn next(&mut self, context: Context) -> Next {
        loop {
            let Some(part) = self.parts.get_mut(self.at) else {
                return Next::Done;
            };
            if !self.ended[context.worker] {
                match part.next(context) {
                    Next::Done => self.ended[context.worker] = true,
                    next => {
                        self.open[context.worker] = matches!(next, Next::Invoke { .. });
                        return next;
                    }
                }
            }
            let over = self.ended.iter().all(|ended| *ended) && self.open.iter().all(|open| !open);
            if !over {
                return Next::Wait {
                    until: checker::history::Nanos(context.now.0 + AGAIN_NS),
                };
            }
            self.at += 1;
            self.ended = vec![false; self.workers];
        }
    }

    fn update(&mut self, context: Context, invocation: &Invocation, outcome: &Outcome) {
        self.open[context.worker] = false;
        if let Some(part) = self.parts.get_mut(self.at) {
            part.update(context, invocation, outcome);
        }
    }
}

/// Some workers for one generator, the rest for another.
pub struct Reserve {
    workers: usize,
    some: AnyGenerator,
    rest: AnyGenerator,
}

impl Reserve {
    /// The first `workers` workers do `some`, all others `rest`.
    #[must_use]
    pub fn new(workers: usize, some: AnyGenerator, rest: AnyGenerator) -> Self {
        Self { workers, some, rest }
    }

    fn of(&mut self, worker: usize) -> &mut AnyGenerator {
        if worker < self.workers {
            &mut self.some
        } else {
            &mut self.rest
        }
    }
}

impl Generator for Reserve {
    fn next(&mut self, context: Context) -> Next {
        self.of(context.worker).next(context)
    }

    fn update(&mut self, context: Context, invocation: &Invocation, outcome: &Outcome) {
        self.of(context.worker).update(context, invocation, outcome);
    }
}

/// Those operations of another generator that are called `f`; the others are passed over.
pub struct Only<G> {
    inner: G,
    f: &'static str,
}

/// How many operations are passed over at a time.
const PASSED_OVER: usize = 1000;

impl<G> Only<G> {
    /// What `inner` does that is called `f`.
    #[must_use]
    pub fn new(inner: G, f: &'static str) -> Self {
        Self { inner, f }
    }
}

impl<G: Generator> Generator for Only<G> {
    fn next(&mut self, context: Context) -> Next {
        for _ in 0..PASSED_OVER {
            match self.inner.next(context) {
                Next::Invoke { invocation, .. } if invocation.f != self.f => {}
                next => return next,
            }
        }
        // There may be one later: a lock can be given back once it was had.
        Next::Wait {
            until: checker::history::Nanos(context.now.0 + AGAIN_NS),
        }
    }

    fn update(&mut self, context: Context, invocation: &Invocation, outcome: &Outcome) {
        self.inner.update(context, invocation, outcome);
    }
}

/// One generator in several places: clones are the same.
pub struct Shared<G: ?Sized>(Arc<Mutex<G>>);

impl<G> Shared<G> {
    /// Shares `inner`.
    #[must_use]
    pub fn new(inner: G) -> Self {
        Self(Arc::new(Mutex::new(inner)))
    }

    /// What is shared, for a moment.
    pub fn look(&self) -> impl std::ops::Deref<Target = G> {
        self.0.lock()
    }
}

impl<G: ?Sized> Clone for Shared<G> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<G: Generator + ?Sized> Generator for Shared<G> {
    fn next(&mut self, context: Context) -> Next {
        self.0.lock().next(context)
    }

    fn update(&mut self, context: Context, invocation: &Invocation, outcome: &Outcome) {
        self.0.lock().update(context, invocation, outcome);
    }
}

/// Ends after so many operations.
pub struct Limit<G> {
    inner: G,
    left: u64,
}

impl<G> Limit<G> {
    /// At most `operations` operations of `inner`.
    #[must_use]
    pub fn new(inner: G, operations: u64) -> Self {
        Self {
            inner,
            left: operations,
        }
    }
}

impl<G: Generator> Generator for Limit<G> {
    fn next(&mut self, context: Context) -> Next {
        if self.left == 0 {
            return Next::Done;
        }
        let next = self.inner.next(context);
        self.left -= u64::from(matches!(next, Next::Invoke { .. }));
        next
    }

    fn update(&mut self, context: Context, invocation: &Invocation, outcome: &Outcome) {
        self.inner.update(context, invocation, outcome);
    }
}

/// Every operation again and again until it is ok or a mismatch, each worker its own.
pub struct UntilOk<G> {
    inner: G,
    failed: BTreeMap<usize, Invocation>,
}

impl<G> UntilOk<G> {
    /// The operations of `inner`, each until it succeeds.
    #[must_use]
    pub fn new(inner: G) -> Self {
        Self {
            inner,
            failed: BTreeMap::new(),
        }
    }
}

impl<G: Generator> Generator for UntilOk<G> {
    fn next(&mut self, context: Context) -> Next {
        match self.failed.remove(&context.worker) {
            Some(invocation) => Next::Invoke {
                at: context.now,
                intended: None,
                invocation,
            },
            None => self.inner.next(context),
        }
    }

    fn update(&mut self, context: Context, invocation: &Invocation, outcome: &Outcome) {
        if matches!(outcome, Outcome::Fail { .. } | Outcome::Info { .. }) {
            self.failed.insert(context.worker, invocation.clone());
        }
        self.inner.update(context, invocation, outcome);
    }
}

/// Whatever `inner` does, on keys of a choice's own: each operation goes to one of `keys` keys.
pub struct OnKeys<G> {
    inner: G,
    rng: ChaCha12Rng,
    keys: super::Zipf,
}

impl<G> OnKeys<G> {
    /// Sends the operations of `inner` to keys `k0`, `k1`, ... by the popularity that `keys` says.
    #[must_use]
    pub fn new(seed: u64, keys: super::Zipf, inner: G) -> Self {
        Self {
            inner,
            rng: ChaCha12Rng::seed_from_u64(seed),
            keys,
        }
    }
}

impl<G: Generator> Generator for OnKeys<G> {
    fn next(&mut self, context: Context) -> Next {
        let mut next = self.inner.next(context);
        if let Next::Invoke { invocation, .. } = &mut next {
            invocation.key = format!("k{}", self.keys.draw(&mut self.rng));
        }
        next
    }

    fn update(&mut self, context: Context, invocation: &Invocation, outcome: &Outcome) {
        self.inner.update(context, invocation, outcome);
    }
}

//! Time and memory, counted down.

use std::fs;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// What ran out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exhausted {
    Time,
    Memory,
    /// Somebody else has the answer.
    Stopped,
}

/// What all searches of one check share.
#[derive(Debug)]
pub(crate) struct Budget {
    began: Instant,
    time: Option<Duration>,
    memory: u64,
    held: AtomicU64,
}

impl Budget {
    pub(crate) fn new(time: Option<Duration>, memory: Option<u64>) -> Budget {
        Budget {
            began: Instant::now(),
            time,
            memory: memory.or_else(available).unwrap_or(u64::MAX),
            held: AtomicU64::new(0),
        }
    }

    /// How many bytes all searches may hold together.
    pub(crate) fn memory(&self) -> u64 {
        self.memory
    }

    pub(crate) fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    /// Whether the time is up.
    pub(crate) fn is_over(&self) -> bool {
        self.time.is_some_and(|time| self.elapsed() > time)
    }

    /// A budget for something less important: so much time at most, of what is left.
    pub(crate) fn at_most(&self, time: Duration) -> Budget {
        let left = self.time.map(|all| all.saturating_sub(self.began.elapsed()));
        Budget {
            began: Instant::now(),
            time: Some(left.map_or(time, |left| left.min(time))),
            memory: self.memory,
            held: AtomicU64::new(0),
        }
    }

    /// A meter for one search.
    pub(crate) fn meter(&self) -> Meter<'_> {
        Meter {
            budget: self,
            own: 0,
            looks: u64::MAX,
        }
    }
}

/// What one search holds; gives it back when it ends.
#[derive(Debug)]
pub(crate) struct Meter<'a> {
    budget: &'a Budget,
    own: u64,
    /// How often the search may still ask.
    looks: u64,
}

impl Meter<'_> {
    /// A meter that also gives up after so many moves.
    pub(crate) fn patient(mut self, moves: u64) -> Self {
        self.looks = moves / MOVES_PER_LOOK;
        self
    }

    /// Whether the search may go on, holding so many bytes.
    pub(crate) fn allow(&mut self, bytes: u64) -> Result<(), Exhausted> {
        if self.looks == 0 {
            return Err(Exhausted::Time);
        }
        self.looks -= 1;
        let held = &self.budget.held;
        let before = held.fetch_add(bytes.wrapping_sub(self.own), Ordering::Relaxed);
        let all = before.wrapping_add(bytes.wrapping_sub(self.own));
        self.own = bytes;
        if all > self.budget.memory {
            return Err(Exhausted::Memory);
        }
        match self.budget.time {
            Some(time) if self.budget.began.elapsed() > time => Err(Exhausted::Time),
            _ => Ok(()),
        }
    }
}

impl Drop for Meter<'_> {
    fn drop(&mut self) {
        self.budget.held.fetch_sub(self.own, Ordering::Relaxed);
    }
}

/// How many moves a search makes between two questions.
pub(crate) const MOVES_PER_LOOK: u64 = 2048;

/// Three quarters of the memory that is free now, where the system tells: a search must end as unknown rather
/// than be ended by the system, or push everything else out.
fn available() -> Option<u64> {
    static AVAILABLE: OnceLock<Option<u64>> = OnceLock::new();
    *AVAILABLE.get_or_init(|| {
        let told = fs::read_to_string("/proc/meminfo").ok()?;
        let line = told.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
        let kilobytes: u64 = line.trim().strip_suffix(" kB")?.trim().parse().ok()?;
        Some(kilobytes * 1024 / 4 * 3)
    })
}

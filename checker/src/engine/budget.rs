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
    /// Moves that all searches may still make together, where that is limited.
    moves: Option<AtomicU64>,
}

impl Budget {
    pub(crate) fn new(time: Option<Duration>, memory: Option<u64>) -> Budget {
        Budget {
            began: Instant::now(),
            time,
            memory: memory.or_else(available).unwrap_or(u64::MAX),
            held: AtomicU64::new(0),
            moves: None,
        }
    }

    /// How many bytes all searches may hold together.
    pub(crate) fn memory(&self) -> u64 {
        self.memory
    }

    pub(crate) fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    /// Whether the time is up, or the moves are.
    pub(crate) fn is_over(&self) -> bool {
        let made = self.moves.as_ref();
        made.is_some_and(|left| left.load(Ordering::Relaxed) == 0)
            || self.time.is_some_and(|time| self.elapsed() > time)
    }

    /// A budget for something less important: so many moves at most, in the time that is left. Moves and not time,
    /// so that the same question ends alike on every machine, however busy it is.
    pub(crate) fn at_most(&self, moves: u64) -> Budget {
        Budget {
            began: Instant::now(),
            time: self.time.map(|all| all.saturating_sub(self.began.elapsed())),
            memory: self.memory,
            held: AtomicU64::new(0),
            moves: Some(AtomicU64::new(moves)),
        }
    }

    /// Counts moves that no search makes, and says whether there were so many left.
    pub(crate) fn pay(&self, moves: u64) -> bool {
        let Some(left) = &self.moves else { return true };
        let paid = |left: u64| Some(left.saturating_sub(moves));
        let before = left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, paid);
        before.is_ok_and(|before| before >= moves)
    }

    /// A meter for one search.
    pub(crate) fn meter(&self) -> Meter<'_> {
        Meter {
            budget: self,
            own: 0,
            moves: u64::MAX,
        }
    }
}

/// What one search holds; gives it back when it ends.
#[derive(Debug)]
pub(crate) struct Meter<'a> {
    budget: &'a Budget,
    own: u64,
    /// How many moves the search may still make.
    moves: u64,
}

impl Meter<'_> {
    /// A meter that also gives up after so many moves.
    pub(crate) fn patient(mut self, moves: u64) -> Self {
        self.moves = moves;
        self
    }

    /// Counts moves that are made before the search begins; says whether there were so many left. They do not try
    /// its own patience.
    pub(crate) fn prepare(&mut self, moves: u64) -> bool {
        self.budget.pay(moves)
    }

    /// Whether the search may go on, holding so many bytes and having made so many moves since it last asked.
    pub(crate) fn allow(&mut self, bytes: u64, moves: u64) -> Result<(), Exhausted> {
        if self.moves < moves || !self.budget.pay(moves) {
            self.moves = 0;
            return Err(Exhausted::Time);
        }
        self.moves -= moves;
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
pub(crate) fn available() -> Option<u64> {
    static AVAILABLE: OnceLock<Option<u64>> = OnceLock::new();
    *AVAILABLE.get_or_init(|| {
        let told = fs::read_to_string("/proc/meminfo").ok()?;
        let line = told.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
        let kilobytes: u64 = line.trim().strip_suffix(" kB")?.trim().parse().ok()?;
        Some(kilobytes * 1024 / 4 * 3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moves_are_shared_by_all_meters_and_say_when_they_are_used_up() {
        let all = Budget::new(None, None);
        let some = all.at_most(100);
        let (mut one, mut two) = (some.meter(), some.meter().patient(50));
        assert_eq!(one.allow(0, 40), Ok(()));
        assert_eq!(two.allow(0, 40), Ok(()));
        assert!(!some.is_over());
        // The patience of one is over, not the budget of all.
        assert_eq!(two.allow(0, 40), Err(Exhausted::Time));
        assert!(some.pay(20));
        assert!(some.is_over());
        assert_eq!(one.allow(0, 1), Err(Exhausted::Time));
        assert!(!one.prepare(1));
        assert_eq!(all.meter().allow(0, 1 << 40), Ok(()));
    }
}

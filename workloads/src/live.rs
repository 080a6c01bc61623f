//! What a person sees while a run goes on: a moving view on a terminal, plain lines in a pipe.

use std::io::IsTerminal;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use parking_lot::Mutex;

use crate::system::Outcome;

/// How often plain lines are printed.
const PLAIN_EVERY: Duration = Duration::from_secs(5);

/// Counts of a run, fed by every worker.
#[derive(Debug)]
pub struct Tally {
    ok: AtomicU64,
    mismatch: AtomicU64,
    fail: AtomicU64,
    info: AtomicU64,
    /// Latencies of what completed since the view last looked, in microseconds.
    recent: Mutex<Histogram<u64>>,
}

/// A reading of the [`Tally`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// It happened.
    pub ok: u64,
    /// A cas that found another value.
    pub mismatch: u64,
    /// It certainly did nothing.
    pub fail: u64,
    /// Nobody knows.
    pub info: u64,
}

impl Counts {
    /// All that completed.
    #[must_use]
    pub fn total(self) -> u64 {
        self.ok + self.mismatch + self.fail + self.info
    }
}

impl Default for Tally {
    fn default() -> Self {
        let recent = Histogram::new_with_bounds(1, 600_000_000, 2).expect("valid bounds");
        Self {
            ok: AtomicU64::new(0),
            mismatch: AtomicU64::new(0),
            fail: AtomicU64::new(0),
            info: AtomicU64::new(0),
            recent: Mutex::new(recent),
        }
    }
}

impl Tally {
    /// Counts one completion.
    pub fn add(&self, outcome: &Outcome, latency: Duration) {
        match outcome {
            Outcome::Ok { .. } => &self.ok,
            Outcome::Mismatch { .. } => &self.mismatch,
            Outcome::Fail { .. } => &self.fail,
            Outcome::Info { .. } => &self.info,
        }
        .fetch_add(1, Relaxed);
        if matches!(outcome, Outcome::Ok { .. } | Outcome::Mismatch { .. }) {
            self.recent
                .lock()
                .saturating_record(u64::try_from(latency.as_micros()).unwrap_or(u64::MAX));
        }
    }

    /// The counts so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        Counts {
            ok: self.ok.load(Relaxed),
            mismatch: self.mismatch.load(Relaxed),
            fail: self.fail.load(Relaxed),
            info: self.info.load(Relaxed),
        }
    }

    /// p50 and p99 in milliseconds since the last call.
    fn take_latency(&self) -> (f64, f64) {
        let mut recent = self.recent.lock();
        let at = |q| recent.value_at_quantile(q) as f64 / 1e3;
        let latency = (at(0.5), at(0.99));
        recent.reset();
        latency
    }
}

/// The view.
#[derive(Debug)]
pub struct Live {
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    screen: Option<Screen>,
    last: (Instant, Counts),
    next_plain: Instant,
    faults: Vec<String>,
}

#[derive(Debug)]
struct Screen {
    lines: MultiProgress,
    progress: ProgressBar,
    faults: ProgressBar,
}

impl Live {
    /// A view of a load that lasts `limit`; it moves only on a terminal.
    #[must_use]
    pub fn new(limit: Duration) -> Self {
        let terminal = std::io::stdout().is_terminal() && std::io::stderr().is_terminal();
        let screen = terminal.then(|| {
            let lines = MultiProgress::with_draw_target(ProgressDrawTarget::stderr_with_hz(10));
            let style = |text: &str| ProgressStyle::with_template(text).expect("a valid template");
            let progress = lines.add(ProgressBar::new(limit.as_millis() as u64));
            progress.set_style(style("  {bar:24} {msg}"));
            let faults = lines.add(ProgressBar::new_spinner());
            faults.set_style(style("  {msg:.dim}"));
            Screen {
                lines,
                progress,
                faults,
            }
        });
        let now = Instant::now();
        let inner = Inner {
            screen,
            last: (now, Counts::default()),
            next_plain: now + PLAIN_EVERY,
            faults: Vec::new(),
        };
        Self {
            inner: Mutex::new(inner),
        }
    }

    /// Prints a line that stays.
    pub fn say(&self, line: &str) {
        match &self.inner.lock().screen {
            Some(screen) => {
                let _ = screen.lines.println(line);
            }
            None => nemesis::say!("{line}"),
        }
    }

    /// The faults that are on now.
    pub fn faults(&self, faults: Vec<String>) {
        self.inner.lock().faults = faults;
    }

    /// Shows how far the run is; to be called about ten times a second.
    pub fn tick(&self, elapsed: Duration, tally: &Tally) {
        let mut inner = self.inner.lock();
        let now = Instant::now();
        let due = match &inner.screen {
            Some(_) => now.duration_since(inner.last.0) >= Duration::from_millis(500),
            None => now >= inner.next_plain,
        };
        if !due {
            return;
        }
        let counts = tally.counts();
        let (then, before) = inner.last;
        let rate =
            (counts.total() - before.total()) as f64 / now.duration_since(then).as_secs_f64().max(1e-3);
        let (p50, p99) = tally.take_latency();
        let line = format!(
            "{:>6.1} s  {rate:>6.0} op/s  p50 {p50:.1} ms  p99 {p99:.0} ms  ok {}  mismatch {}  fail {}  info {}",
            elapsed.as_secs_f64(),
            counts.ok,
            counts.mismatch,
            counts.fail,
            counts.info
        );
        let faults = if inner.faults.is_empty() {
            "no fault".to_owned()
        } else {
            inner.faults.join(", ")
        };
        match &inner.screen {
            Some(screen) => {
                screen.progress.set_position(elapsed.as_millis() as u64);
                screen.progress.set_message(line);
                screen.faults.set_message(faults);
            }
            None => nemesis::say!("{line}  [{faults}]"),
        }
        inner.last = (now, counts);
        inner.next_plain = now + PLAIN_EVERY;
    }

    /// Takes the moving part away.
    pub fn finish(&self) {
        if let Some(screen) = self.inner.lock().screen.take() {
            screen.progress.finish_and_clear();
            screen.faults.finish_and_clear();
        }
    }
}

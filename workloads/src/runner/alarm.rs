//! Waking up on time.
//!
//! tokio's timers tick once a millisecond and round up, so that an operation would begin a millisecond or two after
//! it was due; in an open loop the store would be charged for that. Here a timer of the kernel's wakes the clients'
//! own threads when the next sleeper is due, as exactly as the kernel can: a thread that slept in their place would
//! have to be woken first, and then wake them.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
use parking_lot::Mutex;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// Wakes whoever asks; it ends with the last clone.
#[derive(Debug, Clone)]
pub(super) struct AlarmClock(Arc<Bed>);

/// What ends the waking when it is dropped.
#[derive(Debug)]
struct Bed {
    shared: Arc<Shared>,
    waking: JoinHandle<()>,
}

#[derive(Debug)]
struct Shared {
    sleepers: Mutex<Sleepers>,
    timer: AsyncFd<Timer>,
}

#[derive(Debug, Default)]
struct Sleepers {
    /// By when they are due, and in the order in which they came.
    due: BTreeMap<(Instant, u64), oneshot::Sender<()>>,
    next: u64,
}

/// The kernel's timer; readable once its time has come.
#[derive(Debug)]
struct Timer(TimerFd);

impl AsRawFd for Timer {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_fd().as_raw_fd()
    }
}

impl Timer {
    /// Has it go off at `at`, whatever was asked before.
    fn set(&self, at: Instant) -> io::Result<()> {
        // Nothing would stop it instead.
        let left = at
            .saturating_duration_since(Instant::now())
            .max(Duration::from_nanos(1));
        let once = Expiration::OneShot(TimeSpec::from_duration(left));
        Ok(self.0.set(once, TimerSetTimeFlags::empty())?)
    }
}

impl AlarmClock {
    /// One with nobody asleep; its sleepers are woken on the runtime that it is started on.
    ///
    /// # Errors
    /// When the kernel has no timer for it.
    pub(super) fn start() -> io::Result<Self> {
        let timer = TimerFd::new(
            ClockId::CLOCK_MONOTONIC,
            TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC,
        )?;
        // SAFETY: the descriptor is the timer's own, open for as long as the timer is, and nobody else has it.
        let timer = unsafe { AsyncFd::register_with_interest(Timer(timer), Interest::READABLE) };
        let shared = Arc::new(Shared {
            sleepers: Mutex::default(),
            timer: timer.map_err(io::Error::from)?,
        });
        let waking = tokio::spawn(wake(shared.clone()));
        Ok(Self(Arc::new(Bed { shared, waking })))
    }

    /// Sleeps until `at`.
    pub(super) async fn until(&self, at: Instant) {
        let awoken = self.0.shared.lie_down(at);
        // It is awoken, or nobody is there to do it any more.
        let _ = awoken.await;
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        self.waking.abort();
    }
}

impl Shared {
    fn lie_down(&self, at: Instant) -> oneshot::Receiver<()> {
        let (wake, awoken) = oneshot::channel();
        let mut sleepers = self.sleepers.lock();
        let place = (at, sleepers.next);
        sleepers.next += 1;
        sleepers.due.insert(place, wake);
        // Whoever is due first decides when the timer goes off.
        if sleepers
            .due
            .first_key_value()
            .is_some_and(|(first, _)| *first == place)
        {
            self.set(at);
        }
        awoken
    }

    fn set(&self, at: Instant) {
        let set = self.timer.get_ref().set(at);
        set.expect("a timer that is open takes any time");
    }

    /// Wakes all whose time has come, and has the timer go off for the next.
    fn ring(&self) {
        let mut sleepers = self.sleepers.lock();
        while let Some(first) = sleepers.due.first_entry() {
            let (at, _) = *first.key();
            if at > Instant::now() {
                self.set(at);
                return;
            }
            // One that no longer sleeps does not mind.
            let _ = first.remove().send(());
        }
    }
}

async fn wake(shared: Arc<Shared>) {
    while let Ok(mut ready) = shared.timer.readable().await {
        // Set anew before it was looked at, it has not gone off.
        let read = ready.try_io(|timer| {
            let mut times = [0; 8];
            Ok(nix::unistd::read(timer.get_ref().0.as_fd(), &mut times)?)
        });
        if read.is_ok() {
            shared.ring();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn sleepers_wake_in_the_order_in_which_they_are_due_and_never_early() {
        let clock = AlarmClock::start().expect("a timer");
        let begun = Instant::now();
        let order = Arc::<Mutex<Vec<u64>>>::default();
        let mut sleepers = tokio::task::JoinSet::new();
        // The last to ask is due first; one gives up before.
        for ms in [40, 20, 5, 30] {
            let (clock, order) = (clock.clone(), order.clone());
            sleepers.spawn(async move {
                let at = begun + Duration::from_millis(ms);
                if ms == 30 {
                    drop(clock.until(at));
                    return;
                }
                clock.until(at).await;
                assert!(Instant::now() >= at, "early");
                order.lock().push(ms);
            });
        }
        while let Some(slept) = sleepers.join_next().await {
            slept.expect("no panic");
        }
        assert_eq!(*order.lock(), [5, 20, 40]);
        clock.until(begun).await;
    }

    #[tokio::test]
    async fn one_who_asks_for_an_earlier_time_does_not_make_others_oversleep() {
        let clock = AlarmClock::start().expect("a timer");
        let begun = Instant::now();
        // The second is first, gives up, and the timer that went off for it must go off again for the first.
        let late = clock.until(begun + Duration::from_millis(30));
        let early = clock.until(begun + Duration::from_millis(5));
        tokio::pin!(late);
        tokio::select! {
            biased;
            () = &mut late => panic!("too early"),
            () = early => {}
        }
        drop(clock.0.shared.lie_down(begun + Duration::from_millis(10)));
        late.await;
        assert!(begun.elapsed() >= Duration::from_millis(30));
    }
}

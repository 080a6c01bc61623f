//! Waking up on time.
//!
//! tokio's timers tick once a millisecond and round up, so that an operation would begin a millisecond or two after
//! it was due; in an open loop the store would be charged for that. Here a thread of its own sleeps until the next
//! sleeper is due, as exactly as the kernel wakes it.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::thread;
use std::time::Instant;

use parking_lot::{Condvar, Mutex};
use tokio::sync::oneshot;

/// Wakes whoever asks; its thread ends with the last clone.
#[derive(Debug, Clone)]
pub(super) struct AlarmClock(Arc<Bed>);

/// What ends the thread when it is dropped.
#[derive(Debug)]
struct Bed(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    sleepers: Mutex<Sleepers>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Sleepers {
    /// By when they are due, and in the order in which they came.
    due: BTreeMap<(Instant, u64), oneshot::Sender<()>>,
    next: u64,
    over: bool,
}

impl AlarmClock {
    /// One with nobody asleep.
    ///
    /// # Errors
    /// When there is no thread for it.
    pub(super) fn start() -> io::Result<Self> {
        let shared = Arc::<Shared>::default();
        let theirs = shared.clone();
        thread::Builder::new()
            .name("alarm".into())
            .stack_size(64 * 1024)
            .spawn(move || theirs.wake())?;
        Ok(Self(Arc::new(Bed(shared))))
    }

    /// Sleeps until `at`.
    pub(super) async fn until(&self, at: Instant) {
        let shared = &self.0.0;
        let awoken = {
            let mut sleepers = shared.sleepers.lock();
            let place = (at, sleepers.next);
            sleepers.next += 1;
            let (wake, awoken) = oneshot::channel();
            sleepers.due.insert(place, wake);
            // Whoever is due first decides how long the thread sleeps.
            if sleepers
                .due
                .first_key_value()
                .is_some_and(|(first, _)| *first == place)
            {
                shared.changed.notify_one();
            }
            awoken
        };
        // It is awoken, or nobody is there to do it any more.
        let _ = awoken.await;
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        self.0.sleepers.lock().over = true;
        self.0.changed.notify_one();
    }
}

impl Shared {
    fn wake(&self) {
        let mut sleepers = self.sleepers.lock();
        while !sleepers.over {
            let Some(first) = sleepers.due.first_entry() else {
                self.changed.wait(&mut sleepers);
                continue;
            };
            let (at, _) = *first.key();
            if at <= Instant::now() {
                // One that no longer sleeps does not mind.
                let _ = first.remove().send(());
            } else {
                self.changed.wait_until(&mut sleepers, at);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[tokio::test]
    async fn sleepers_wake_in_the_order_in_which_they_are_due_and_never_early() {
        let clock = AlarmClock::start().expect("a thread");
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
}

//! What a node has under way for others, so that it can end without breaking it off.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::watch;

use crate::env::clock::{self, Instant};

/// How often it is looked at while ending.
const LOOK: Duration = Duration::from_millis(10);

/// Counts what was begun and has not ended.
pub struct Work {
    inner: Arc<Mutex<Inner>>,
    ending: watch::Sender<bool>,
}

struct Inner {
    under_way: usize,
    last_begun: Option<Instant>,
}

/// Something under way; it ends when this is dropped.
pub struct Working {
    inner: Arc<Mutex<Inner>>,
}

impl Default for Work {
    fn default() -> Work {
        let inner = Inner {
            under_way: 0,
            last_begun: None,
        };
        Work {
            inner: Arc::new(Mutex::new(inner)),
            ending: watch::Sender::new(false),
        }
    }
}

impl Work {
    /// Begins something.
    pub fn begin(&self) -> Working {
        let mut inner = self.inner.lock();
        inner.under_way += 1;
        inner.last_begun = Some(clock::now());
        Working {
            inner: self.inner.clone(),
        }
    }

    /// How much is under way.
    pub fn under_way(&self) -> usize {
        self.inner.lock().under_way
    }

    /// Tells everyone to begin nothing more.
    pub fn end(&self) {
        self.ending.send_replace(true);
    }

    /// Whether the node is ending.
    pub fn is_ending(&self) -> bool {
        *self.ending.borrow()
    }

    /// Waits until the node is ending.
    pub async fn ending(&self) {
        // The sender lives as long as `self`, so this cannot fail.
        let _ = self.ending.subscribe().wait_for(|ending| *ending).await;
    }

    /// Waits until nothing is under way and nothing was begun for so long.
    pub async fn quiet(&self, for_long: Duration) {
        loop {
            {
                let inner = self.inner.lock();
                let lately = inner.last_begun.is_some_and(|at| at.elapsed() < for_long);
                if inner.under_way == 0 && !lately {
                    return;
                }
            }
            clock::sleep(LOOK).await;
        }
    }
}

impl Drop for Working {
    fn drop(&mut self) {
        self.inner.lock().under_way -= 1;
    }
}

//! Time: a monotonic clock for deadlines, a wall clock for what people read.
#![allow(clippy::disallowed_types, clippy::disallowed_methods)]

use std::future::Future;
use std::time::Duration;

pub use tokio::time::Instant;

/// The monotonic clock, now.
pub fn now() -> Instant {
    Instant::now()
}

/// Milliseconds since the Unix epoch on this host's wall clock. It may jump either
/// way; nothing that decides a result may depend on it alone.
pub fn wall_ms() -> u64 {
    std::time::SystemTime::now()
        .duration_since(std::time::SystemTime::UNIX_EPOCH)
        .map_or(0, |since| since.as_millis() as u64)
}

/// Waits for `duration`.
pub async fn sleep(duration: Duration) {
    tokio::time::sleep(duration).await;
}

/// A timer that can be polled and thrown away.
pub type Timer = std::pin::Pin<Box<tokio::time::Sleep>>;

/// A timer that is ready after `duration`.
pub fn timer(duration: Duration) -> Timer {
    Box::pin(tokio::time::sleep(duration))
}

/// Makes a timer ready after `duration` from now instead; whoever waits for it goes on
/// waiting.
pub fn rearm(timer: &mut Timer, duration: Duration) {
    timer.as_mut().reset(now() + duration);
}

/// Blocks this thread for `duration`. Never on the worker: it would stop the node.
pub fn block(duration: Duration) {
    std::thread::sleep(duration);
}

/// The deadline of a timeout passed before its future was ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the deadline passed")]
pub struct Elapsed;

/// Runs `future` until `deadline`.
///
/// # Errors
/// [`Elapsed`] when the deadline comes first; the future is dropped.
pub async fn until<F: Future>(deadline: Instant, future: F) -> Result<F::Output, Elapsed> {
    tokio::time::timeout_at(deadline, future)
        .await
        .map_err(|_| Elapsed)
}

/// Runs `future` for at most `limit`.
///
/// # Errors
/// [`Elapsed`] when the limit comes first; the future is dropped.
pub async fn timeout<F: Future>(limit: Duration, future: F) -> Result<F::Output, Elapsed> {
    tokio::time::timeout(limit, future).await.map_err(|_| Elapsed)
}

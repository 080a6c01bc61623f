//! Waiting for what must come, and giving up on what does not.

use std::time::{Duration, Instant};

/// Longer than anything here takes, even on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// Waits until `holds` does; fails with what `missing` says when it never does.
pub(crate) fn wait_until(mut holds: impl FnMut() -> bool, missing: impl Fn() -> String) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "{}", missing());
        std::thread::sleep(Duration::from_millis(10));
    }
}

//! The thread that does what is due between faults.

use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::Mutex;

use crate::nemesis::Nemesis;

/// Longest time between two looks at the cluster.
const PULSE: Duration = Duration::from_millis(100);

/// Calls [`Nemesis::tick`] whenever something is due, from a thread of its own,
/// until dropped.
#[derive(Debug)]
pub struct Keeper {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Keeper {
    /// Starts keeping `nemesis`.
    ///
    /// # Errors
    /// If no thread can be started.
    pub fn start(nemesis: Arc<Mutex<Nemesis>>) -> std::io::Result<Keeper> {
        let (stop, stopped) = channel();
        let thread = std::thread::Builder::new()
            .name("nemesis-keeper".into())
            .spawn(move || {
                let mut wait = Duration::ZERO;
                while let Err(RecvTimeoutError::Timeout) = stopped.recv_timeout(wait) {
                    let due = nemesis.lock().tick();
                    wait = due.map_or(PULSE, |due| due.clamp(Duration::from_millis(1), PULSE));
                }
            })?;
        Ok(Keeper {
            stop: Some(stop),
            thread: Some(thread),
        })
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the nemesis keeper panicked");
        }
    }
}

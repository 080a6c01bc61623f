//! Judges the history while it is being made, so that a run ends at the first violation.
//!
//! What it says is a sign to stop, never the verdict: that is for the checker, which reads the file.

use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use checker::history::{Event, Header};
use checker::{CheckOptions, Monitor, Status};
use tokio::sync::watch;

use crate::live::Live;

/// How long events gather before the judge looks again: to wake it for each would cost the clients more than the
/// judging does.
const GATHER: Duration = Duration::from_millis(5);
/// How long the load goes on after a violation. What it points at shows in what comes next: whether the value turns
/// up after all, whether others see the same, whether the replicas stay apart.
const LOOK_ON: Duration = Duration::from_secs(1);

/// A judge at work.
pub(super) struct Judge {
    /// Where it hears of every event; it ends with the last sender.
    pub(super) events: Sender<Event>,
    /// What it found, once it found something.
    pub(super) violated: watch::Receiver<Option<String>>,
}

/// Has a thread judge what it is sent; turns `stop` true a moment after the first violation, where there is one to
/// turn.
pub(super) fn judge(header: &Header, stop: Option<watch::Sender<bool>>, live: &Arc<Live>) -> Result<Judge> {
    let mut monitor = Monitor::new(header, &CheckOptions::default())?;
    let (events, heard) = channel::<Event>();
    let (found, violated) = watch::channel(None);
    let live = live.clone();
    let work = move || {
        // One event is waited for, those behind it have a moment to gather.
        while let Ok(first) = heard.recv() {
            for event in std::iter::once(first).chain(heard.try_iter()) {
                match monitor.push(&event) {
                    Ok(Status::Fine) => {}
                    Ok(Status::Violated { key }) => {
                        let key = key.map_or_else(String::new, |key| format!(" on key {key}"));
                        live.say(&format!("{:>6.1} s  VIOLATION{key}", event.time.as_seconds()));
                        found.send_replace(Some(format!("a violation was found{key}")));
                        if let Some(stop) = stop {
                            thread::sleep(LOOK_ON);
                            stop.send_replace(true);
                        }
                        return;
                    }
                    // The recorder wrote what the checker does not accept: the final check says what.
                    Err(error) => {
                        tracing::error!("the history cannot be judged while it is made: {error}");
                        return;
                    }
                }
            }
            thread::sleep(GATHER);
        }
    };
    thread::Builder::new()
        .name("judge".into())
        .spawn(work)
        .context("a thread to judge the history")?;
    Ok(Judge { events, violated })
}

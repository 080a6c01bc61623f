//! Being asked to end: by Ctrl-C, SIGTERM or SIGHUP.

use std::sync::Arc;

use anyhow::{Context, Result};
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::live::Live;

/// The harness failed, or was told to end at once.
const FAILURE: i32 = 255;

/// The signals that come from now on. The first is for the run to heed, the second ends the program.
#[derive(Debug, Clone)]
pub(super) struct Signals {
    first: watch::Receiver<Option<&'static str>>,
}

impl Signals {
    /// Begins to listen.
    ///
    /// # Errors
    /// When signals cannot be caught.
    pub(super) fn heed(runtime: &Runtime, live: &Arc<Live>) -> Result<Self> {
        let _within = runtime.enter();
        let mut interrupt = signal(SignalKind::interrupt()).context("cannot catch Ctrl-C")?;
        let mut terminate = signal(SignalKind::terminate()).context("cannot catch SIGTERM")?;
        let mut hangup = signal(SignalKind::hangup()).context("cannot catch SIGHUP")?;
        let (told, first) = watch::channel(None);
        let live = live.clone();
        runtime.spawn(async move {
            loop {
                let name = tokio::select! {
                    _ = interrupt.recv() => "Ctrl-C",
                    _ = terminate.recv() => "SIGTERM",
                    _ = hangup.recv() => "SIGHUP",
                };
                if told.borrow().is_some() {
                    live.finish();
                    nemesis::complain!("{name} again: ending without a verdict");
                    std::process::exit(FAILURE);
                }
                live.say(&format!(
                    "{name}: ending the run, checking what there is ({name} again ends at once)"
                ));
                told.send_replace(Some(name));
            }
        });
        Ok(Self { first })
    }

    /// As they are after one has come.
    #[cfg(test)]
    pub(super) fn after(name: &'static str) -> Self {
        let (_, first) = watch::channel(Some(name));
        Self { first }
    }

    /// The name of the first signal, if any came yet.
    pub(super) fn came(&self) -> Option<String> {
        self.first.borrow().map(str::to_owned)
    }

    /// Waits for the first signal; returns its name.
    pub(super) async fn first(&self) -> &'static str {
        let came = match self.first.clone().wait_for(Option::is_some).await {
            Ok(name) => *name,
            Err(_) => None,
        };
        match came {
            Some(name) => name,
            // Nobody listens any more: the program is ending.
            None => std::future::pending().await,
        }
    }
}

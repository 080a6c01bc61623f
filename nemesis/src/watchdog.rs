//! Heals a cluster when its nemesis is gone without having done so.
//!
//! The lab needs none: it ends with its owner. Containers and other machines, and
//! the rules in them, do not, so the owner starts a copy of its own program that
//! waits, at the other end of a pipe, for the owner to say goodbye or to be gone.

use std::io::{Read, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::site::{Site, SiteError};

/// Carries the order to be a watchdog.
const ORDER: &str = "NEMESIS_WATCHDOG";
/// What an owner says that has healed by itself.
const GOODBYE: u8 = b'.';
/// How long the dead owner's claims may take to be freed, and what it had begun, such
/// as a signal by way of the engine, to come about: healing meets both.
const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Serialize, Deserialize)]
struct Order {
    site: Site,
    journal: PathBuf,
}

/// A watchdog, as its owner holds it.
#[derive(Debug)]
pub struct Watchdog {
    child: Child,
}

impl Watchdog {
    /// Starts a watchdog for the nemesis of this cluster and journal. The program
    /// that calls this must call [`serve_if_watchdog`] first thing in its `main`.
    ///
    /// # Errors
    /// If this program cannot be started a second time.
    pub fn start(site: &Site, journal: &Path) -> std::io::Result<Watchdog> {
        let order = Order {
            site: site.clone(),
            journal: std::path::absolute(journal)?,
        };
        let order = serde_json::to_string(&order).expect("an order is plain data");
        let mut command = Command::new(std::env::current_exe()?);
        // A group of its own: a Ctrl-C meant for the owner must not end it.
        command.env(ORDER, order).process_group(0);
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        Ok(Watchdog {
            child: command.spawn()?,
        })
    }

    /// Ends it: the owner has healed, or leaves its faults in force on purpose.
    pub fn dismiss(mut self) {
        if let Some(mut line) = self.child.stdin.take() {
            let _ = line.write_all(&[GOODBYE]);
        }
        let _ = self.child.wait();
    }
}

/// If this process was started as a watchdog, is one and returns its exit code;
/// else returns `None` at once.
pub fn serve_if_watchdog() -> Option<ExitCode> {
    let order = std::env::var(ORDER).ok()?;
    let Ok(order) = serde_json::from_str::<Order>(&order) else {
        return Some(ExitCode::from(254));
    };
    let mut said = Vec::new();
    // Ends with the owner, whatever ended it.
    let heard = std::io::stdin().read_to_end(&mut said);
    if heard.is_ok() && said.contains(&GOODBYE) {
        return Some(ExitCode::SUCCESS);
    }
    Some(if heal(&order) {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(255)
    })
}

fn heal(order: &Order) -> bool {
    heal_within(
        PATIENCE,
        || order.site.open(&order.journal, 0),
        SiteError::is_busy,
        |nemesis| nemesis.heal().is_ok(),
    )
}

/// Opens a cluster, as soon as nobody else has it, and heals it, until that is done or
/// patience runs out.
fn heal_within<C, E>(
    patience: Duration,
    mut open: impl FnMut() -> Result<C, E>,
    is_busy: impl Fn(&E) -> bool,
    mut heal: impl FnMut(&mut C) -> bool,
) -> bool {
    let deadline = Instant::now() + patience;
    let mut opened = None;
    loop {
        match &mut opened {
            None => match open() {
                Ok(cluster) => {
                    opened = Some(cluster);
                    continue;
                }
                Err(error) if is_busy(&error) => {}
                Err(_) => return false,
            },
            Some(cluster) => {
                if heal(cluster) {
                    return true;
                }
            }
        }
        if Instant::now() > deadline {
            return false;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Opened after so many times busy and healed after so many failures: whether it
    /// was, and how often each was tried.
    fn tried(patience: Duration, busy: u32, failing: u32) -> (bool, u32, u32) {
        let (mut opens, mut heals) = (0, 0);
        let open = || {
            opens += 1;
            if opens > busy { Ok(()) } else { Err("busy") }
        };
        let heal = |(): &mut ()| {
            heals += 1;
            heals > failing
        };
        let healed = heal_within(patience, open, |error| *error == "busy", heal);
        (healed, opens, heals)
    }

    #[test]
    fn a_heal_that_fails_at_first_is_tried_again() {
        let long = Duration::from_secs(60);
        assert_eq!(tried(long, 0, 0), (true, 1, 1));
        assert_eq!(tried(long, 2, 3), (true, 3, 4));
        assert!(!tried(Duration::ZERO, 0, 1000).0);
        assert!(!tried(Duration::ZERO, 1000, 0).0);
        // What is not busy but gone will not come back.
        assert!(!heal_within(long, || Err::<(), _>("gone"), |_| false, |()| true));
    }
}

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

use crate::site::Site;

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
    let deadline = Instant::now() + PATIENCE;
    let mut opened = None;
    loop {
        match &mut opened {
            None => match order.site.open(&order.journal, 0) {
                Ok(nemesis) => {
                    opened = Some(nemesis);
                    continue;
                }
                Err(error) if error.is_busy() => {}
                Err(_) => return false,
            },
            Some(nemesis) => {
                if nemesis.heal().is_ok() {
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

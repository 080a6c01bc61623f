//! Finding the running cluster, and asking whoever owns its nemesis.
//!
//! A cluster with a `cluster.json` has an owner who serves a control socket. A
//! compose cluster that was started by hand has none, nor have other machines: then
//! a warden is started in the background, which owns the nemesis until the last
//! fault is undone. Should the warden be killed, its watchdog heals.

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use parking_lot::Mutex;

use super::bad;
use crate::cluster_file::{BackendKind, ClusterFile, ClusterFileError, FILE_NAME, JOURNAL_NAME};
use crate::control::{Answer, Client, ClientError, Question, Server};
use crate::docker::DockerError;
use crate::keeper::Keeper;
use crate::site::Site;
use crate::watchdog::Watchdog;

/// How long a warden may take to be there.
const PATIENCE: Duration = Duration::from_secs(15);
/// How long a warden without faults waits for more before it ends.
const IDLE: Duration = Duration::from_secs(3);
/// How often a warden looks whether its cluster is there still.
const LOOK: Duration = Duration::from_secs(5);
/// How long a cluster that was taken away may take to be back, and be as broken as before.
const AWAY: Duration = Duration::from_secs(30);

/// A line to the nemesis of the running cluster.
pub(super) struct Hand {
    client: Client,
}

impl Hand {
    /// Finds the cluster: the one named, else `store/current/cluster.json` from
    /// here upwards, else the only compose project.
    pub(super) fn reach(cluster: Option<&Path>, project: Option<&str>) -> anyhow::Result<Hand> {
        if let Some(project) = project {
            return Hand::of_site(&Site::Project {
                project: project.to_owned(),
                described: None,
            });
        }
        let found = match cluster {
            Some(path) => {
                let path = if path.is_dir() {
                    path.join(FILE_NAME)
                } else {
                    path.to_owned()
                };
                ClusterFile::read(&path).map(|file| (path, file))
            }
            None => ClusterFile::find(&std::env::current_dir()?),
        };
        match found {
            Ok((path, file)) => Hand::of_file(&path, &file),
            Err(none @ ClusterFileError::None(_)) => {
                // No file: perhaps somebody ran docker-compose up.
                let project = match crate::docker::only_running_project() {
                    Ok(project) => project,
                    Err(DockerError::NoProject | DockerError::Missing) => return Err(bad(none)),
                    Err(error) => return Err(bad(format!("{none}; no compose cluster either: {error}"))),
                };
                Hand::of_site(&Site::Project {
                    project,
                    described: None,
                })
            }
            Err(error) => Err(bad(error)),
        }
    }

    fn of_file(path: &Path, file: &ClusterFile) -> anyhow::Result<Hand> {
        let folder = path.parent().unwrap_or(Path::new("."));
        match (Client::connect(folder), &file.backend) {
            (Ok(client), _) => Ok(Hand { client }),
            // Containers and machines outlive who started them.
            (Err(ClientError::Gone { .. }), BackendKind::Docker { project, .. }) => {
                Hand::of_site(&Site::Project {
                    project: project.clone(),
                    described: Some(path.to_owned()),
                })
            }
            (Err(ClientError::Gone { .. }), BackendKind::Ssh(_)) => Hand::of_site(&Site::Machines {
                described: path.to_owned(),
            }),
            (Err(error), _) => Err(bad(error)),
        }
    }

    fn of_site(site: &Site) -> anyhow::Result<Hand> {
        let folder = warden_folder(site);
        std::fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
        if let Ok(client) = Client::connect(&folder) {
            return Ok(Hand { client });
        }
        let log = folder.join("warden.log");
        let output = std::fs::File::create(&log).with_context(|| format!("writing {}", log.display()))?;
        let mut command = Command::new(std::env::current_exe()?);
        let order = serde_json::to_string(site)?;
        command
            .args(["warden", &order])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(output);
        // A session of its own: it stays when this terminal goes.
        // SAFETY: setsid is a system call that touches no memory.
        unsafe { command.pre_exec(|| nix::unistd::setsid().map(drop).map_err(Into::into)) };
        let mut warden = command.spawn().context("starting the warden")?;
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Ok(client) = Client::connect(&folder) {
                return Ok(Hand { client });
            }
            if let Some(status) = warden.try_wait()? {
                let said = std::fs::read_to_string(&log).unwrap_or_default();
                let said = said
                    .lines()
                    .last()
                    .unwrap_or("it said nothing")
                    .trim_start_matches("nemesis: ");
                return Err(if status.code() == Some(254) {
                    bad(said)
                } else {
                    anyhow::anyhow!("{said}")
                });
            }
            if Instant::now() > deadline {
                bail!(
                    "the warden of {site} does not answer; its log is {}",
                    log.display()
                );
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Asks one question.
    pub(super) fn ask(&mut self, question: &Question) -> anyhow::Result<Answer> {
        Ok(self.client.ask(question)?)
    }
}

/// Where a warden keeps its journal and socket: beside the cluster file, or in
/// the user's state folder.
fn warden_folder(site: &Site) -> PathBuf {
    if let Some(folder) = site.described().and_then(Path::parent) {
        // An empty path is the folder that we are in.
        return Path::new(".").join(folder);
    }
    let state = std::env::var_os("XDG_STATE_HOME").map(PathBuf::from);
    let home = || {
        std::env::var_os("HOME")
            .map_or(PathBuf::from("/tmp"), PathBuf::from)
            .join(".local/state")
    };
    let folder = state.unwrap_or_else(home).join("ordeal/nemesis");
    match site {
        Site::Project { project, .. } => folder.join(project),
        Site::Machines { .. } => folder,
    }
}

/// Owns the nemesis of a cluster as long as a fault is in force.
pub(super) fn warden(site: &str) -> anyhow::Result<bool> {
    let site: Site = serde_json::from_str(site).map_err(|error| bad(format!("warden: {error}")))?;
    let folder = warden_folder(&site);
    let journal = folder.join(JOURNAL_NAME);
    let nemesis = site.open(&journal, u64::from(std::process::id())).map_err(bad)?;
    let watchdog = Watchdog::start(&site, &journal).context("starting the watchdog")?;
    let nemesis = Arc::new(Mutex::new(nemesis));
    let keeper = Keeper::start(Arc::clone(&nemesis))?;
    let server = Server::start(&folder, Arc::clone(&nemesis))?;
    let mut vigil = Vigil::begin(Instant::now());
    let why = loop {
        std::thread::sleep(Duration::from_millis(200));
        let wanted = !nemesis.lock().in_force().is_empty() || server.is_busy();
        // What cannot be asked may yet be there.
        let gone = || site.is_gone().unwrap_or(false);
        if let Some(why) = vigil.over(Instant::now(), wanted, gone) {
            break why;
        }
    };
    if why == Over::Gone {
        crate::complain!("{site} was taken away with faults in force; they are gone with it");
    }
    drop(server);
    drop(keeper);
    watchdog.dismiss();
    Ok(true)
}

/// Why a warden ends.
#[derive(Debug, PartialEq, Eq)]
enum Over {
    /// Nobody wants anything of it.
    Idle,
    /// Its cluster is there no more.
    Gone,
}

/// How long a warden has had nothing to do, or no cluster.
#[derive(Debug)]
struct Vigil {
    wanted: Instant,
    looked: Instant,
    seen: Instant,
}

impl Vigil {
    fn begin(now: Instant) -> Vigil {
        Vigil {
            wanted: now,
            looked: now,
            seen: now,
        }
    }

    fn over(&mut self, now: Instant, wanted: bool, gone: impl FnOnce() -> bool) -> Option<Over> {
        if wanted {
            self.wanted = now;
        }
        if now - self.wanted >= IDLE {
            return Some(Over::Idle);
        }
        if now - self.looked >= LOOK {
            self.looked = now;
            if !gone() {
                self.seen = now;
            }
        }
        (now - self.seen >= AWAY + LOOK).then_some(Over::Gone)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// After how many seconds a warden ends, and why, that is wanted and has its cluster as these say; a minute at most.
    fn ends(wanted: impl Fn(u64) -> bool, gone: impl Fn(u64) -> bool) -> Option<(u64, Over)> {
        let begun = Instant::now();
        let mut vigil = Vigil::begin(begun);
        (1..=60).find_map(|second| {
            let now = begun + Duration::from_secs(second);
            vigil
                .over(now, wanted(second), || gone(second))
                .map(|why| (second, why))
        })
    }

    #[test]
    fn a_warden_ends_when_nobody_wants_it_or_its_cluster_was_taken_away() {
        assert_eq!(ends(|_| true, |_| false), None);
        assert_eq!(ends(|_| false, |_| false), Some((3, Over::Idle)));
        assert_eq!(ends(|second| second < 10, |_| false), Some((12, Over::Idle)));
        // Taken down under a fault, and not put up again.
        assert_eq!(ends(|_| true, |second| second > 7), Some((40, Over::Gone)));
        // Made anew soon enough.
        assert_eq!(ends(|_| true, |second| (7..30).contains(&second)), None);
    }
}

//! Finding the running cluster, and asking whoever owns its nemesis.
//!
//! A cluster with a `cluster.json` has an owner who serves a control socket. A
//! compose cluster that was started by hand has none: then a warden is started in
//! the background, which owns its nemesis until the last fault is undone.

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
use crate::docker::DockerBackend;
use crate::keeper::Keeper;
use crate::nemesis::Nemesis;

/// How long a warden may take to be there.
const PATIENCE: Duration = Duration::from_secs(15);
/// How long a warden without faults waits for more before it ends.
const IDLE: Duration = Duration::from_secs(3);

/// A line to the nemesis of the running cluster.
pub(super) struct Hand {
    client: Client,
}

impl Hand {
    /// Finds the cluster: the one named, else `store/current/cluster.json` from
    /// here upwards, else the only compose project.
    pub(super) fn reach(cluster: Option<&Path>, project: Option<&str>) -> anyhow::Result<Hand> {
        if let Some(project) = project {
            return Hand::of_project(project, None);
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
                let project = crate::docker::only_running_project().map_err(|_| bad(none))?;
                Hand::of_project(&project, None)
            }
            Err(error) => Err(bad(error)),
        }
    }

    fn of_file(path: &Path, file: &ClusterFile) -> anyhow::Result<Hand> {
        let folder = path.parent().unwrap_or(Path::new("."));
        match (Client::connect(folder), &file.backend) {
            (Ok(client), _) => Ok(Hand { client }),
            // Containers outlive who started them.
            (Err(ClientError::Gone { .. }), BackendKind::Docker { project, .. }) => {
                Hand::of_project(project, Some(path))
            }
            (Err(error), _) => Err(bad(error)),
        }
    }

    fn of_project(project: &str, described: Option<&Path>) -> anyhow::Result<Hand> {
        let folder = warden_folder(project, described);
        std::fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
        if let Ok(client) = Client::connect(&folder) {
            return Ok(Hand { client });
        }
        let log = folder.join("warden.log");
        let output = std::fs::File::create(&log).with_context(|| format!("writing {}", log.display()))?;
        let mut command = Command::new(std::env::current_exe()?);
        match described {
            Some(path) => command.arg("--cluster").arg(path),
            None => &mut command,
        };
        command
            .args(["warden", project])
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
                    "the warden of compose project {project} does not answer; its log is {}",
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
fn warden_folder(project: &str, described: Option<&Path>) -> PathBuf {
    if let Some(folder) = described.and_then(Path::parent) {
        return folder.to_owned();
    }
    let state = std::env::var_os("XDG_STATE_HOME").map(PathBuf::from);
    let home = || {
        std::env::var_os("HOME")
            .map_or(PathBuf::from("/tmp"), PathBuf::from)
            .join(".local/state")
    };
    state.unwrap_or_else(home).join("ordeal/nemesis").join(project)
}

/// Owns the nemesis of a compose cluster as long as a fault is in force.
pub(super) fn warden(project: &str, described: Option<&Path>) -> anyhow::Result<bool> {
    let mut backend = DockerBackend::find(Some(project)).map_err(bad)?;
    let asker = match described {
        Some(path) => {
            let file = ClusterFile::read(path).map_err(bad)?;
            let nodes: Vec<_> = file.nodes.iter().map(|node| node.id.clone()).collect();
            backend.keep(&nodes).map_err(bad)?;
            file.asker()?
        }
        None => backend.asker()?,
    };
    let folder = warden_folder(project, described);
    let mut nemesis = Nemesis::new(
        Box::new(backend),
        &folder.join(JOURNAL_NAME),
        u64::from(std::process::id()),
    )
    .map_err(|error| bad(&error))?;
    nemesis.set_asker(asker);
    let nemesis = Arc::new(Mutex::new(nemesis));
    let keeper = Keeper::start(Arc::clone(&nemesis))?;
    let server = Server::start(&folder, Arc::clone(&nemesis))?;
    let mut idle_since = Instant::now();
    while idle_since.elapsed() < IDLE {
        std::thread::sleep(Duration::from_millis(200));
        if !nemesis.lock().in_force().is_empty() || server.is_busy() {
            idle_since = Instant::now();
        }
    }
    drop(server);
    drop(keeper);
    Ok(true)
}

//! The cluster as containers of `docker-compose.yml`.
//!
//! Every run has a compose project, a subnet and ports of its own, so that it meets neither another run nor
//! a cluster that somebody plays with. What ends it is a process that waits for the runner to be gone: the
//! containers, their network and their volumes go even after SIGKILL.

use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use anyhow::{Context, Result, bail};
use nemesis::NodeId;
use nemesis::cluster_file::BackendKind;
use nemesis::docker::DockerBackend;

use super::{Cluster, Kind, Member, Parts};
use crate::store::RunDir;
use crate::system::System;

/// The compose file, which an installed `workloads` carries along.
const COMPOSE_FILE: &str = include_str!("../../../docker-compose.yml");
/// Nodes in it.
pub const NODES: usize = 5;
/// The image that it runs where `ORDEAL_IMAGE` names no other.
const IMAGE: &str = "ordeal/kvnode:latest";
/// The port that nodes serve inside.
const PORT: u16 = 8000;

/// A compose project that is up.
#[derive(Debug)]
pub(super) struct Compose {
    compose: Vec<&'static str>,
    project: String,
    dir: PathBuf,
    /// Takes the project down when its standard input closes.
    undertaker: Option<Child>,
}

/// The image that a run uses, and its id.
///
/// # Errors
/// When there is no Docker, or no such image: says how to make it.
pub fn image() -> Result<(String, String)> {
    let image = std::env::var("ORDEAL_IMAGE").unwrap_or_else(|_| IMAGE.to_owned());
    let output = Command::new("docker")
        .args(["image", "inspect", "--format", "{{.Id}}", &image])
        .output()
        .context("there is no `docker` command; install Docker, or run without --cluster docker")?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        if said.contains("No such image") {
            bail!("there is no image {image}; build it with ci/image (or: docker build -t {image} .)");
        }
        bail!("docker does not answer: {}", said.trim());
    }
    Ok((image, String::from_utf8_lossy(&output.stdout).trim().to_owned()))
}

impl Cluster {
    /// Starts the five containers; returns when they run, not when they are ready.
    ///
    /// # Errors
    /// When Docker or Compose is missing or refuses.
    pub fn start_docker(system: &System, dir: &RunDir, seed: u64) -> Result<Self> {
        let compose = Compose::up(dir.path())?;
        let ids: Vec<NodeId> = (1..=NODES).map(NodeId::numbered).collect();
        let mut backend = DockerBackend::find(Some(&compose.project))?;
        backend.keep(&ids)?;
        let mut members = Vec::new();
        for id in &ids {
            let client = compose.published(id)?;
            let address = backend
                .address(id)
                .with_context(|| format!("container {id} has no address"))?;
            let log = dir.node(id.as_str())?.join("node.log");
            members.push(Member {
                id: id.clone(),
                address: address.to_string(),
                client,
                host: Some(client),
                log: Some(log),
            });
        }
        let project = compose.project.clone();
        let parts = Parts {
            kind: Kind::Docker(compose),
            backend: Box::new(backend),
            backend_kind: BackendKind::Docker {
                project,
                file: dir.join("docker-compose.yml"),
            },
            members,
            stops: Vec::new(),
            seed,
            owner: std::process::id(),
        };
        Self::assemble(parts, system, dir)
    }
}

impl Compose {
    fn up(dir: &Path) -> Result<Self> {
        let file = dir.join("docker-compose.yml");
        std::fs::write(&file, COMPOSE_FILE).with_context(|| format!("cannot write {}", file.display()))?;
        let compose = compose_command()?;
        let project = format!("ordeal-{}", std::process::id());
        let mut env = vec![("ORDEAL_SUBNET".to_owned(), subnet())];
        env.extend(
            (1..)
                .zip(free_ports()?)
                .map(|(i, port)| (format!("ORDEAL_PORT_{i}"), port.to_string())),
        );
        let mut up = command(&compose, &project, dir);
        let mut text = String::new();
        for (name, value) in &env {
            up.env(name, value);
            text.push_str(&format!("{name}={value}\n"));
        }
        // Whoever wants to look at the project by hand needs the same settings.
        std::fs::write(dir.join(".env"), text).context("cannot write .env")?;
        let undertaker = undertaker(&compose, &project, dir)?;
        let this = Self {
            compose,
            project,
            dir: dir.to_owned(),
            undertaker: Some(undertaker),
        };
        let output = up
            .args(["up", "--detach", "--no-build"])
            .output()
            .context("docker compose does not start")?;
        succeeded(&output, "docker compose up")?;
        Ok(this)
    }

    /// Where a node's port is published on the host.
    fn published(&self, node: &NodeId) -> Result<SocketAddr> {
        let output = command(&self.compose, &self.project, &self.dir)
            .args(["port", node.as_str(), &PORT.to_string()])
            .output()
            .context("docker compose port")?;
        succeeded(&output, "docker compose port")?;
        let text = String::from_utf8_lossy(&output.stdout);
        text.trim()
            .parse()
            .with_context(|| format!("docker compose port says {text:?} for {node}"))
    }

    fn container(&self, node: &NodeId) -> String {
        let output = command(&self.compose, &self.project, &self.dir)
            .args(["ps", "-q", node.as_str()])
            .output();
        output.map_or_else(
            |_| String::new(),
            |output| String::from_utf8_lossy(&output.stdout).trim().to_owned(),
        )
    }

    /// What the engine says of a node: `running`, `exited`, ...
    pub(super) fn status(&self, node: &NodeId) -> Result<String> {
        let output = Command::new("docker")
            .args(["inspect", "--format", "{{.State.Status}}", &self.container(node)])
            .output()
            .context("docker inspect")?;
        succeeded(&output, "docker inspect")?;
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }

    /// The last lines of a node's log.
    pub(super) fn log_tail(&self, node: &NodeId, lines: usize) -> Vec<String> {
        let output = Command::new("docker")
            .args(["logs", "--tail", &lines.to_string(), &self.container(node)])
            .output();
        let Ok(output) = output else { return Vec::new() };
        let text = [output.stdout, output.stderr].concat();
        String::from_utf8_lossy(&text)
            .lines()
            .map(str::to_owned)
            .collect()
    }

    /// Keeps the nodes' logs, then takes everything down.
    pub(super) fn down(&mut self, members: &[Member]) {
        let Some(mut undertaker) = self.undertaker.take() else {
            return;
        };
        for member in members {
            let Some(path) = &member.log else { continue };
            let output = Command::new("docker")
                .args(["logs", &self.container(&member.id)])
                .output();
            let kept = output.and_then(|output| {
                let mut file = std::fs::File::create(path)?;
                file.write_all(&output.stdout)?;
                file.write_all(&output.stderr)
            });
            if let Err(error) = kept {
                tracing::warn!(%error, "the log of {} was not kept", member.id);
            }
        }
        // Closing its standard input is the sign.
        drop(undertaker.stdin.take());
        match undertaker.wait() {
            Ok(status) if status.success() => {}
            Ok(_) | Err(_) => tracing::warn!(
                "docker compose down failed; see {}",
                self.dir.join("down.log").display()
            ),
        }
    }
}

impl Drop for Compose {
    fn drop(&mut self) {
        self.down(&[]);
    }
}

/// `docker compose`, or `docker-compose` where that is what there is.
fn compose_command() -> Result<Vec<&'static str>> {
    for words in [&["docker", "compose"][..], &["docker-compose"][..]] {
        let asked = Command::new(words[0]).args(&words[1..]).arg("version").output();
        if asked.is_ok_and(|output| output.status.success()) {
            return Ok(words.to_vec());
        }
    }
    bail!("there is no Docker Compose: install docker-compose-plugin (or docker-compose)")
}

fn command(compose: &[&str], project: &str, dir: &Path) -> Command {
    let mut command = Command::new(compose[0]);
    command
        .args(&compose[1..])
        .args(["--project-name", project, "--file"]);
    command
        .arg(dir.join("docker-compose.yml"))
        .current_dir(dir)
        .stdin(Stdio::null());
    command
}

/// A process that takes the project down once we are gone, however we went.
fn undertaker(compose: &[&str], project: &str, dir: &Path) -> Result<Child> {
    use std::os::unix::process::CommandExt;
    let script = format!(
        "cat >/dev/null; exec {} --project-name {project} --file docker-compose.yml down --volumes --timeout 1 \
         --remove-orphans >down.log 2>&1",
        compose.join(" ")
    );
    // A group of its own, so that a Ctrl-C does not end it.
    Command::new("sh")
        .args(["-c", &script])
        .current_dir(dir)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
        .context("cannot start the process that ends the containers")
}

/// Three bytes that no other run on this machine is likely to use.
fn subnet() -> String {
    format!("10.198.{}", 1 + std::process::id() % 250)
}

/// Ports that are free now. All are held until all are found, so that they differ.
fn free_ports() -> Result<Vec<u16>> {
    let listeners = (0..NODES).map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)));
    let listeners = listeners
        .collect::<std::io::Result<Vec<_>>>()
        .context("no free port")?;
    listeners
        .iter()
        .map(|listener| Ok(listener.local_addr().context("no free port")?.port()))
        .collect()
}

fn succeeded(output: &Output, what: &str) -> Result<()> {
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let last: Vec<&str> = said.lines().rev().take(3).collect();
    bail!(
        "{what} failed: {}",
        last.into_iter().rev().collect::<Vec<_>>().join(" / ")
    )
}

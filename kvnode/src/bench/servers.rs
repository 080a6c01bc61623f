//! Three processes of a store on loopback, ended with this value.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, bail};
use hyper::Method;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

use super::load::{Http, Target};
use crate::client::Client;
use crate::env::{clock, fs, net};

/// How long a cluster may take to have a leader.
const READY: Duration = Duration::from_secs(15);
/// How often it is looked for.
const LOOK: Duration = Duration::from_millis(50);
/// How often a node is asked whether it is ready, where the time counts.
const LOOK_CLOSELY: Duration = Duration::from_millis(2);
/// Ticks of a processor's time a second, as Linux reports them.
const TICKS: u64 = 100;

pub(super) struct Servers {
    name: &'static str,
    commands: Vec<Command>,
    children: Vec<Child>,
    target: Target,
    /// Ports of the clients' protocol, node by node.
    ports: Vec<u16>,
    folder: PathBuf,
}

impl Servers {
    /// Three kvnodes of this very binary, with a leader.
    pub(super) async fn kvnode(folder: &Path) -> anyhow::Result<Servers> {
        let mut servers = Servers::kvnodes(folder, 3)?;
        servers.find_leader().await?;
        Ok(servers)
    }

    /// So many kvnodes of this very binary, just started.
    pub(super) fn kvnodes(folder: &Path, count: usize) -> anyhow::Result<Servers> {
        let program = std::env::current_exe().context("this binary")?;
        let (http, raft) = (ports()?, ports()?);
        let members: Vec<String> = (0..count)
            .map(|n| format!("n{}=127.0.0.1:{}:{}", n + 1, http[n], raft[n]))
            .collect();
        let mut servers = Servers {
            name: "kvnode",
            commands: Vec::new(),
            children: Vec::new(),
            target: Target::Kvnode(String::new()),
            ports: http,
            folder: folder.to_owned(),
        };
        for n in 1..=count {
            let mut command = Command::new(&program);
            command
                .args([
                    "--node",
                    &format!("n{n}"),
                    "--cluster",
                    &members.join(","),
                    "--data-dir",
                ])
                .arg(servers.data(n - 1));
            let child = quiet(&mut command).spawn().context("kvnode does not start")?;
            servers.commands.push(command);
            servers.children.push(child);
        }
        Ok(servers)
    }

    /// Waits until one of the kvnodes leads; tells which.
    pub(super) async fn find_leader(&mut self) -> anyhow::Result<usize> {
        let leads = |port| async move {
            let status = ask(port, Method::GET, "/status", None).await?;
            Some(status["role"] == "leader")
        };
        let port = leader(&self.ports, leads).await?;
        self.target = Target::Kvnode(format!("127.0.0.1:{port}"));
        let node = self.ports.iter().position(|each| *each == port);
        node.context("a leader is a node")
    }

    /// Where a kvnode keeps its data.
    pub(super) fn data(&self, node: usize) -> PathBuf {
        self.folder.join(format!("kvnode-{}", node + 1))
    }

    /// Where a node takes clients.
    pub(super) fn address(&self, node: usize) -> String {
        format!("127.0.0.1:{}", self.ports[node])
    }

    /// Ends a node without a word (SIGKILL).
    pub(super) fn kill(&mut self, node: usize) -> anyhow::Result<()> {
        self.children[node]
            .kill()
            .context("the node could not be ended")?;
        self.children[node].wait().context("the node did not end")?;
        Ok(())
    }

    /// Sends a node a signal.
    pub(super) fn signal(&self, node: usize, signal: Signal) -> anyhow::Result<()> {
        let pid = Pid::from_raw(self.children[node].id().try_into()?);
        kill(pid, signal).with_context(|| format!("{signal} to n{}", node + 1))
    }

    /// The kvnodes' term.
    pub(super) async fn term(&self) -> anyhow::Result<u64> {
        let mut terms = Vec::new();
        for &port in &self.ports {
            let status = ask(port, Method::GET, "/status", None).await;
            terms.extend(status.and_then(|status| status["term"].as_u64()));
        }
        terms.into_iter().max().context("no node tells its term")
    }

    /// Starts a node again that was ended, and waits until it is ready.
    pub(super) async fn start(&mut self, node: usize) -> anyhow::Result<()> {
        self.children[node] = quiet(&mut self.commands[node])
            .spawn()
            .context("kvnode does not start")?;
        self.ready(node).await
    }

    /// Waits until a kvnode says that it is ready.
    pub(super) async fn ready(&mut self, node: usize) -> anyhow::Result<()> {
        let deadline = clock::now() + READY;
        while !is_ready(self.ports[node]).await {
            if let Some(status) = self.children[node].try_wait()? {
                bail!("n{} ended before it was ready: {status}", node + 1);
            }
            if clock::now() >= deadline {
                bail!("n{} was not ready within {READY:?}", node + 1);
            }
            clock::sleep(LOOK_CLOSELY).await;
        }
        Ok(())
    }

    /// Three etcds.
    pub(super) async fn etcd(program: &Path, folder: &Path) -> anyhow::Result<Servers> {
        let (client, peer) = (ports()?, ports()?);
        let members: Vec<String> = (0..3)
            .map(|n| format!("n{}=http://127.0.0.1:{}", n + 1, peer[n]))
            .collect();
        let mut servers = Servers {
            name: "etcd",
            commands: Vec::new(),
            children: Vec::new(),
            target: Target::Etcd(String::new()),
            ports: client.clone(),
            folder: folder.to_owned(),
        };
        for n in 0..3 {
            let (client, peer) = (
                format!("http://127.0.0.1:{}", client[n]),
                format!("http://127.0.0.1:{}", peer[n]),
            );
            let mut command = Command::new(program);
            command
                .args(["--name", &format!("n{}", n + 1), "--data-dir"])
                .arg(folder.join(format!("etcd-{n}")));
            command.args([
                "--listen-client-urls",
                &client,
                "--advertise-client-urls",
                &client,
            ]);
            command.args([
                "--listen-peer-urls",
                &peer,
                "--initial-advertise-peer-urls",
                &peer,
            ]);
            command.args(["--initial-cluster", &members.join(",")]);
            let child = quiet(&mut command).spawn();
            servers
                .children
                .push(child.with_context(|| format!("{} does not start", program.display()))?);
        }
        let leader = leader(&client, |port| async move {
            let status = ask(port, Method::POST, "/v3/maintenance/status", Some(json!({}))).await?;
            Some(status["leader"].is_string() && status["leader"] == status["header"]["member_id"])
        });
        servers.target = Target::Etcd(format!("127.0.0.1:{}", leader.await?));
        Ok(servers)
    }

    pub(super) fn name(&self) -> &'static str {
        self.name
    }

    pub(super) fn target(&self) -> &Target {
        &self.target
    }

    /// Time of processors that all three have used.
    pub(super) fn cpu(&self) -> Duration {
        let ticks = self.children.iter().filter_map(|child| {
            let stat = fs::read_if_there(Path::new(&format!("/proc/{}/stat", child.id()))).ok()??;
            let stat = String::from_utf8_lossy(&stat).into_owned();
            // Fields are counted from behind the name, which may hold anything.
            let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
            Some(fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?)
        });
        Duration::from_millis(ticks.sum::<u64>() * 1000 / TICKS)
    }

    /// Memory of the largest of the three.
    pub(super) fn memory_mb(&self) -> u64 {
        let resident = self.children.iter().filter_map(|child| {
            let status = fs::read_if_there(Path::new(&format!("/proc/{}/status", child.id()))).ok()??;
            let status = String::from_utf8_lossy(&status).into_owned();
            let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
            line.split_whitespace().nth(1)?.parse::<u64>().ok()
        });
        resident.max().unwrap_or(0) / 1024
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        for child in &mut self.children {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn quiet(command: &mut Command) -> &mut Command {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
}

fn ports() -> anyhow::Result<Vec<u16>> {
    (0..3)
        .map(|_| net::free_port(0).context("no free port"))
        .collect()
}

async fn leader<F: Future<Output = Option<bool>>>(
    ports: &[u16],
    leads: impl Fn(u16) -> F,
) -> anyhow::Result<u16> {
    let deadline = clock::now() + READY;
    while clock::now() < deadline {
        for &port in ports {
            if leads(port).await == Some(true) {
                return Ok(port);
            }
        }
        clock::sleep(LOOK).await;
    }
    bail!("no leader within {READY:?}")
}

async fn is_ready(port: u16) -> bool {
    let mut node = match Http::open(&format!("127.0.0.1:{port}")).await {
        Ok(node) => node,
        Err(_) => return false,
    };
    let asked = clock::timeout(Duration::from_secs(1), node.get("/ready".to_owned()));
    matches!(asked.await, Ok(Ok(())))
}

async fn ask(port: u16, method: Method, target: &str, body: Option<Value>) -> Option<Value> {
    let mut client = Client::new(vec![format!("http://127.0.0.1:{port}")]);
    let asked = clock::timeout(Duration::from_secs(1), client.ask(method, target, body.as_ref()));
    Some(asked.await.ok()?.ok()?.body)
}

//! Three processes of a store on loopback, ended with this value.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, bail};
use hyper::Method;
use serde_json::{Value, json};

use super::load::Target;
use crate::client::Client;
use crate::env::{clock, fs, net};

/// How long a cluster may take to have a leader.
const READY: Duration = Duration::from_secs(15);
/// How often it is looked for.
const LOOK: Duration = Duration::from_millis(50);
/// Ticks of a processor's time a second, as Linux reports them.
const TICKS: u64 = 100;

pub(super) struct Servers {
    name: &'static str,
    children: Vec<Child>,
    target: Target,
}

impl Servers {
    /// Three kvnodes of this very binary.
    pub(super) async fn kvnode(folder: &Path) -> anyhow::Result<Servers> {
        let program = std::env::current_exe().context("this binary")?;
        let (http, raft) = (ports()?, ports()?);
        let members: Vec<String> = (0..3)
            .map(|n| format!("n{}=127.0.0.1:{}:{}", n + 1, http[n], raft[n]))
            .collect();
        let mut children = Vec::new();
        for n in 1..=3 {
            let data = folder.join(format!("kvnode-{n}"));
            let mut command = Command::new(&program);
            command
                .args([
                    "--node",
                    &format!("n{n}"),
                    "--cluster",
                    &members.join(","),
                    "--data-dir",
                ])
                .arg(data);
            children.push(quiet(&mut command).spawn().context("kvnode does not start")?);
        }
        let target = Target::Kvnode(String::new());
        let mut servers = Servers {
            name: "kvnode",
            children,
            target,
        };
        let leader = leader(&http, |port| async move {
            let status = ask(port, Method::GET, "/status", None).await?;
            Some(status["role"] == "leader")
        });
        servers.target = Target::Kvnode(format!("127.0.0.1:{}", leader.await?));
        Ok(servers)
    }

    /// Three etcds.
    pub(super) async fn etcd(program: &Path, folder: &Path) -> anyhow::Result<Servers> {
        let (client, peer) = (ports()?, ports()?);
        let members: Vec<String> = (0..3)
            .map(|n| format!("n{}=http://127.0.0.1:{}", n + 1, peer[n]))
            .collect();
        let mut servers = Servers {
            name: "etcd",
            children: Vec::new(),
            target: Target::Etcd(String::new()),
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

async fn ask(port: u16, method: Method, target: &str, body: Option<Value>) -> Option<Value> {
    let mut client = Client::new(vec![format!("http://127.0.0.1:{port}")]);
    let asked = clock::timeout(Duration::from_secs(1), client.ask(method, target, body.as_ref()));
    Some(asked.await.ok()?.ok()?.body)
}

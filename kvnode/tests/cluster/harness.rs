//! Clusters of real processes on loopback ports of their own.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::http::{self, Answer};

/// How long anything that must happen may take on a loaded machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// A cluster; dropped, it is killed and its directory removed.
pub(crate) struct Cluster {
    nodes: Vec<Process>,
    directory: tempfile::TempDir,
    spec: String,
    flags: Vec<String>,
    variables: Vec<(String, String)>,
    /// Size of the disk that each node gets for itself, as `mount` takes it.
    disk: Option<String>,
}

struct Process {
    http: SocketAddr,
    child: Option<Child>,
}

/// The time now; tests are the outside world.
#[expect(clippy::disallowed_methods, reason = "the tests are the outside world")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// Waits until `found` finds something.
#[expect(clippy::disallowed_methods, reason = "the tests are the outside world")]
pub(crate) fn eventually<T>(what: &str, mut found: impl FnMut() -> Option<T>) -> T {
    let deadline = now() + PATIENCE;
    loop {
        if let Some(found) = found() {
            return found;
        }
        assert!(now() < deadline, "{what}: not within {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Ports nobody listens on now, from below the range the kernel hands out for
/// outgoing connections.
fn free_ports(count: usize) -> Vec<u16> {
    use std::sync::atomic::{AtomicU32, Ordering};
    static NEXT: AtomicU32 = AtomicU32::new(0);
    // Programs of tests that start together have numbers next to each other.
    let base = std::process::id().wrapping_mul(997) % 20_000;
    let mut ports = Vec::new();
    while ports.len() < count {
        let step = NEXT.fetch_add(1, Ordering::Relaxed);
        let port = 10_000 + ((base + step) % 22_000) as u16;
        if kvnode::env::net::free_port(port).is_ok() {
            ports.push(port);
        }
    }
    ports
}

impl Cluster {
    /// A cluster of `size` nodes, none of them started.
    pub(crate) fn planned(size: usize, flags: &[&str]) -> Cluster {
        let ports = free_ports(2 * size);
        let members: Vec<String> = (0..size)
            .map(|n| format!("n{}=127.0.0.1:{}:{}", n + 1, ports[2 * n], ports[2 * n + 1]))
            .collect();
        let nodes = (0..size)
            .map(|n| Process {
                http: SocketAddr::from(([127, 0, 0, 1], ports[2 * n])),
                child: None,
            })
            .collect();
        Cluster {
            nodes,
            directory: tempfile::tempdir().expect("a temporary folder"),
            spec: members.join(","),
            flags: flags.iter().map(|&flag| flag.to_owned()).collect(),
            variables: Vec::new(),
            disk: None,
        }
    }

    /// The same with variables in the nodes' environment.
    pub(crate) fn started_with(size: usize, flags: &[&str], variables: &[(&str, &str)]) -> Cluster {
        let mut cluster = Cluster::planned(size, flags);
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        cluster.variables = variables.iter().map(owned).collect();
        cluster.start_all();
        cluster.leader();
        cluster
    }

    /// A running cluster whose nodes have a small disk each, in memory, mounted in a
    /// namespace that ends with the node.
    pub(crate) fn started_on_disks(size: usize, disk: &str, flags: &[&str]) -> Cluster {
        let mut cluster = Cluster::planned(size, flags);
        cluster.disk = Some(disk.to_owned());
        cluster.start_all();
        cluster.leader();
        cluster
    }

    /// A cluster of `size` running nodes that has a leader.
    pub(crate) fn started(size: usize, flags: &[&str]) -> Cluster {
        let mut cluster = Cluster::planned(size, flags);
        cluster.start_all();
        cluster.leader();
        cluster
    }

    /// Plans one more node, as if it had been in `--cluster` from the start.
    pub(crate) fn plan_another(&mut self) -> usize {
        let ports = free_ports(2);
        let node = self.nodes.len() + 1;
        self.nodes.push(Process {
            http: SocketAddr::from(([127, 0, 0, 1], ports[0])),
            child: None,
        });
        self.spec += &format!(",n{node}=127.0.0.1:{}:{}", ports[0], ports[1]);
        node
    }

    /// Gives a node another address for its peers, which only those are told who are started
    /// from now on; tells the members as they were told before.
    pub(crate) fn move_raft(&mut self, node: usize) -> String {
        let (old, port) = (self.raft(node).port(), free_ports(1)[0]);
        let moved = self.spec.replace(&format!(":{old}"), &format!(":{port}"));
        std::mem::replace(&mut self.spec, moved)
    }

    /// What those are told who are started from now on.
    pub(crate) fn set_spec(&mut self, spec: String) {
        self.spec = spec;
    }

    /// The addresses of a node, as `POST /cluster/members` takes them.
    pub(crate) fn member(&self, node: usize) -> Value {
        let member = self.spec.split(',').nth(node - 1).expect("a planned node");
        let mut parts = member.split('=').nth(1).expect("an address").rsplitn(3, ':');
        let (raft, http) = (parts.next().expect("a port"), parts.next().expect("a port"));
        serde_json::json!({
            "id": format!("n{node}"), "http": format!("127.0.0.1:{http}"), "raft": format!("127.0.0.1:{raft}"),
        })
    }

    /// The members, as `--cluster` takes them.
    pub(crate) fn spec(&self) -> &str {
        &self.spec
    }

    /// Node numbers, from 1.
    pub(crate) fn numbers(&self) -> impl Iterator<Item = usize> + use<> {
        1..=self.nodes.len()
    }

    /// The directory of a node.
    pub(crate) fn data(&self, node: usize) -> PathBuf {
        self.directory.path().join(format!("n{node}"))
    }

    fn log(&self, node: usize) -> PathBuf {
        self.directory.path().join(format!("n{node}.log"))
    }

    /// What a node has written to stderr.
    pub(crate) fn stderr(&self, node: usize) -> String {
        read(&self.log(node))
    }

    fn command(&self, node: usize) -> Command {
        let program = env!("CARGO_BIN_EXE_kvnode");
        let mut command = match &self.disk {
            None => Command::new(program),
            Some(size) => {
                let mounted =
                    "mkdir -p \"$1\" && mount -t tmpfs -o \"size=$0\" tmpfs \"$1\" && shift && exec \"$@\"";
                let mut command = Command::new("unshare");
                command
                    .args(["--user", "--map-root-user", "--mount", "sh", "-c", mounted, size])
                    .arg(self.data(node))
                    .arg(program);
                command
            }
        };
        command
            .args([
                "--node",
                &format!("n{node}"),
                "--cluster",
                &self.spec,
                "--data-dir",
            ])
            .arg(self.data(node))
            .args(&self.flags)
            .envs(self.variables.iter().cloned())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(append_to(&self.log(node)));
        command
    }

    /// Starts a node.
    pub(crate) fn start(&mut self, node: usize) {
        let child = self.command(node).spawn().expect("kvnode starts");
        self.nodes[node - 1].child = Some(child);
    }

    /// Tries to run a node a second time, to its end.
    pub(crate) fn second_process(&self, node: usize) -> std::process::Output {
        self.command(node)
            .stderr(Stdio::piped())
            .output()
            .expect("kvnode starts")
    }

    /// Starts all nodes that do not run.
    pub(crate) fn start_all(&mut self) {
        for node in self.numbers() {
            if self.nodes[node - 1].child.is_none() {
                self.start(node);
            }
        }
    }

    /// What nodes are started with from now on.
    pub(crate) fn set_flags(&mut self, flags: Vec<String>) {
        self.flags = flags;
    }

    /// Removes a node's directory.
    #[expect(clippy::disallowed_methods, reason = "the tests are the outside world")]
    pub(crate) fn wipe(&self, node: usize) {
        std::fs::remove_dir_all(self.data(node)).expect("the directory can be removed");
    }

    /// A path in a node's directory, as the node sees it.
    pub(crate) fn within(&self, node: usize, name: &str) -> PathBuf {
        let child = self.nodes[node - 1].child.as_ref().expect("the node runs");
        let root = PathBuf::from(format!("/proc/{}/root", child.id()));
        let data = self.data(node);
        root.join(data.strip_prefix("/").expect("an absolute path"))
            .join(name)
    }

    /// A running node's process id.
    pub(crate) fn pid(&self, node: usize) -> u32 {
        self.nodes[node - 1].child.as_ref().expect("the node runs").id()
    }

    /// A node's Raft address.
    pub(crate) fn raft(&self, node: usize) -> SocketAddr {
        let member = self.member(node);
        let address = member["raft"].as_str().expect("an address");
        address.parse().expect("an address of numbers")
    }

    /// SIGTERM.
    pub(crate) fn terminate(&self, node: usize) {
        self.signal(node, nix::sys::signal::Signal::SIGTERM);
    }

    /// Sends a signal to a node that runs.
    pub(crate) fn signal(&self, node: usize, signal: nix::sys::signal::Signal) {
        let child = self.nodes[node - 1].child.as_ref().expect("the node runs");
        let pid = nix::unistd::Pid::from_raw(child.id() as i32);
        nix::sys::signal::kill(pid, signal).expect("it can be signalled");
    }

    /// Whether a node's process has not ended yet.
    pub(crate) fn runs(&mut self, node: usize) -> bool {
        let child = self.nodes[node - 1].child.as_mut().expect("the node was started");
        child.try_wait().expect("its status").is_none()
    }

    /// All nodes' HTTP addresses.
    pub(crate) fn addresses(&self) -> Vec<SocketAddr> {
        self.nodes.iter().map(|node| node.http).collect()
    }

    /// SIGKILL.
    pub(crate) fn kill(&mut self, node: usize) {
        if let Some(mut child) = self.nodes[node - 1].child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// SIGKILL to all.
    pub(crate) fn kill_all(&mut self) {
        for process in &mut self.nodes {
            if let Some(child) = &mut process.child {
                let _ = child.kill();
            }
        }
        for node in self.numbers() {
            self.kill(node);
        }
    }

    /// Waits for a node to end by itself and tells its exit code.
    pub(crate) fn ended(&mut self, node: usize) -> i32 {
        let mut child = self.nodes[node - 1].child.take().expect("the node was started");
        let status = eventually("the node ends by itself", || {
            child.try_wait().expect("its status")
        });
        status.code().expect("it was not killed")
    }

    /// A node's HTTP address.
    pub(crate) fn http(&self, node: usize) -> SocketAddr {
        self.nodes[node - 1].http
    }

    /// Asks a node.
    pub(crate) fn ask(&self, node: usize, method: &str, target: &str, body: &[u8]) -> Answer {
        http::request(self.http(node), method, target, body)
            .unwrap_or_else(|error| panic!("n{node} {method} {target}: {error}\n{}", self.stderr(node)))
    }

    /// GET.
    pub(crate) fn get(&self, node: usize, target: &str) -> Answer {
        self.ask(node, "GET", target, b"")
    }

    /// A POST named by an Idempotency-Key.
    pub(crate) fn post_named(&self, node: usize, target: &str, name: &str, body: &Value) -> Answer {
        let header = format!("idempotency-key: {name}\r\n");
        let body = body.to_string();
        http::request_with(self.http(node), "POST", target, &header, body.as_bytes()).expect("an answer")
    }

    /// GET, if it is answered with 200.
    pub(crate) fn try_get(&self, node: usize, target: &str) -> Option<Answer> {
        http::request(self.http(node), "GET", target, b"")
            .ok()
            .filter(|answer| answer.status == 200)
    }

    /// A node's `/status`, if it answers.
    pub(crate) fn status(&self, node: usize) -> Option<Value> {
        self.try_get(node, "/status").map(|answer| answer.json())
    }

    /// Waits until the running nodes agree on a leader that has a majority, and tells
    /// which.
    pub(crate) fn leader(&self) -> usize {
        eventually("a leader", || {
            self.numbers()
                .filter(|node| self.nodes[node - 1].child.is_some())
                .find(|&node| {
                    self.status(node).is_some_and(|status| status["role"] == "leader")
                        && self.try_get(node, "/ready").is_some()
                })
        })
    }

    /// Waits until all running nodes have applied the same entries and checks that they
    /// came to the same state.
    pub(crate) fn converged(&self) -> Value {
        let running: Vec<usize> = self
            .numbers()
            .filter(|node| self.nodes[node - 1].child.is_some())
            .collect();
        eventually("all nodes apply the same", || {
            let statuses: Vec<Value> = running
                .iter()
                .map(|&node| self.status(node))
                .collect::<Option<_>>()?;
            let same = |field: &str| statuses.iter().all(|status| status[field] == statuses[0][field]);
            if !same("applied") || !same("last") || statuses[0]["applied"] != statuses[0]["last"] {
                return None;
            }
            assert!(same("state_hash"), "replicas diverged: {statuses:#?}");
            Some(statuses[0].clone())
        })
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for node in self.numbers() {
                eprintln!("--- n{node}\n{}", self.stderr(node));
            }
        }
        self.kill_all();
    }
}

#[expect(clippy::disallowed_methods, reason = "the tests are the outside world")]
fn append_to(path: &Path) -> Stdio {
    std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(path)
        .expect("a log file")
        .into()
}

#[expect(clippy::disallowed_methods, reason = "the tests are the outside world")]
pub(crate) fn read(path: &Path) -> String {
    String::from_utf8_lossy(&std::fs::read(path).unwrap_or_default()).into_owned()
}

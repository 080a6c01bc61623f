//! One node's process, its standard input and output.

use std::fs::OpenOptions;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use nemesis::node::EndStatus;
use nemesis::{BackendError, NodeId, NodeState};
use nix::errno::Errno;
use nix::sys::signal::{Signal, killpg};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::unistd::Pid;
use parking_lot::{Condvar, Mutex};

use super::{Message, Network};

/// How long a signal may take to do its work.
const PATIENCE: Duration = Duration::from_secs(10);
/// A line longer than this is no message: the node is broken, and its memory is not ours to fill.
const LONGEST_LINE: u64 = 4 << 20;

/// What a node is started from.
#[derive(Debug)]
pub(super) struct Start {
    pub(super) id: NodeId,
    /// Program and arguments.
    pub(super) words: Vec<String>,
    pub(super) env: Vec<(String, String)>,
    pub(super) dir: PathBuf,
    /// Where its standard error goes.
    pub(super) log: PathBuf,
    /// What it is told first.
    pub(super) hello: Message,
}

/// A node's process.
#[derive(Debug)]
pub(super) struct Process {
    start: Start,
    network: Arc<Network>,
    life: Arc<(Mutex<Life>, Condvar)>,
}

#[derive(Debug)]
enum Life {
    Alive { pid: Pid, asked: bool },
    Dead { asked: bool, status: Option<EndStatus> },
}

impl Process {
    pub(super) fn new(start: Start, network: Arc<Network>) -> Self {
        let dead = Life::Dead {
            asked: true,
            status: None,
        };
        Self {
            start,
            network,
            life: Arc::new((Mutex::new(dead), Condvar::new())),
        }
    }

    pub(super) fn id(&self) -> &NodeId {
        &self.start.id
    }

    pub(super) fn log(&self) -> &Path {
        &self.start.log
    }

    /// Starts it if it is dead, and tells it who it is.
    pub(super) fn start(&self) -> Result<(), BackendError> {
        let mut life = self.life.0.lock();
        if matches!(*life, Life::Alive { .. }) {
            return Ok(());
        }
        let mut child = self.spawn().map_err(|error| BackendError::Start {
            node: self.start.id.clone(),
            why: format!("{}: {error}", self.start.words[0]),
            log: String::new(),
        })?;
        let pid = Pid::from_raw(i32::try_from(child.id()).expect("a pid fits in an i32"));
        *life = Life::Alive { pid, asked: false };
        let (input, lines) = channel();
        let stdin = child.stdin.take().expect("piped");
        let stdout = child.stdout.take().expect("piped");
        let thread = |what: &str| std::thread::Builder::new().name(format!("{}-{what}", self.start.id));
        let failed = || BackendError::system(format!("a thread for node {}", self.start.id));
        thread("in")
            .spawn(move || write_lines(stdin, &lines))
            .map_err(failed())?;
        let (network, id) = (self.network.clone(), self.start.id.clone());
        thread("out")
            .spawn(move || listen(stdout, &network, &id))
            .map_err(failed())?;
        self.network.plug_in(&self.start.id, input);
        drop(life);
        let (network, id, life) = (self.network.clone(), self.start.id.clone(), self.life.clone());
        thread("end")
            .spawn(move || wait_for_end(child, &network, &id, &life))
            .map_err(failed())?;
        self.network.greet(&self.start.hello);
        Ok(())
    }

    fn spawn(&self) -> std::io::Result<Child> {
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&self.start.log)?;
        Command::new(&self.start.words[0])
            .args(&self.start.words[1..])
            .envs(self.start.env.iter().cloned())
            .current_dir(&self.start.dir)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log)
            .process_group(0)
            .spawn()
    }

    /// What it is doing.
    pub(super) fn state(&self) -> NodeState {
        match *self.life.0.lock() {
            Life::Dead { asked, status } => NodeState::Dead { asked, status },
            Life::Alive { pid, .. } if is_stopped(pid) => NodeState::Paused,
            Life::Alive { .. } => NodeState::Running,
        }
    }

    /// SIGKILL to it and all that it started; returns when it is gone.
    pub(super) fn kill(&self) -> Result<(), BackendError> {
        let mut life = self.life.0.lock();
        let Life::Alive { pid, asked } = &mut *life else {
            return Ok(());
        };
        // Set before the signal, so that no end is taken for a crash that we caused.
        *asked = true;
        signal(*pid, Signal::SIGKILL, &self.start.id)?;
        let alive = |life: &mut Life| matches!(life, Life::Alive { .. });
        if self.life.1.wait_while_for(&mut life, alive, PATIENCE).timed_out() {
            return Err(self.late("the end"));
        }
        Ok(())
    }

    /// SIGSTOP or SIGCONT; returns when it has done its work.
    pub(super) fn set_paused(&self, paused: bool) -> Result<(), BackendError> {
        let Life::Alive { pid, .. } = *self.life.0.lock() else {
            return Err(BackendError::Refused {
                what: format!("node {}", self.start.id),
                message: "it is dead; `nemesis restart` starts it".into(),
            });
        };
        let what = if paused { Signal::SIGSTOP } else { Signal::SIGCONT };
        signal(pid, what, &self.start.id)?;
        let deadline = Instant::now() + PATIENCE;
        while (self.state() == NodeState::Paused) != paused {
            if Instant::now() > deadline {
                return Err(self.late(if paused { "the pause" } else { "the resumption" }));
            }
            std::thread::sleep(Duration::from_micros(200));
        }
        Ok(())
    }

    fn late(&self, what: &str) -> BackendError {
        BackendError::Late {
            what: format!("{what} of node {}", self.start.id),
            waited: PATIENCE,
        }
    }
}

fn signal(group: Pid, what: Signal, node: &NodeId) -> Result<(), BackendError> {
    match killpg(group, what) {
        Ok(()) | Err(Errno::ESRCH) => Ok(()),
        Err(errno) => Err(BackendError::system(format!("{what} to node {node}"))(
            errno.into(),
        )),
    }
}

/// Whether a child of ours is stopped; looking leaves the kernel's report in place.
fn is_stopped(pid: Pid) -> bool {
    let flags = WaitPidFlag::WSTOPPED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
    matches!(waitid(Id::Pid(pid), flags), Ok(WaitStatus::Stopped(..)))
}

/// Writes what the network has for the node until either ends.
fn write_lines(mut stdin: impl Write, lines: &Receiver<String>) {
    for line in lines {
        if writeln!(stdin, "{line}").and_then(|()| stdin.flush()).is_err() {
            return;
        }
    }
}

/// Hands on what the node says until it ends. What is no message is said once, and goes no further.
fn listen(stdout: impl std::io::Read, network: &Arc<Network>, id: &NodeId) {
    use std::io::Read;
    let mut reader = BufReader::new(stdout);
    let mut said = false;
    loop {
        let mut line = Vec::new();
        match reader.by_ref().take(LONGEST_LINE).read_until(b'\n', &mut line) {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
        match serde_json::from_slice::<Message>(&line) {
            Ok(message) => network.heard(id, message),
            Err(error) if !std::mem::replace(&mut said, true) => {
                let shown = String::from_utf8_lossy(&line)
                    .chars()
                    .take(120)
                    .collect::<String>();
                tracing::warn!(
                    "node {id} wrote what is no message ({error}): {}; debug output belongs on standard error",
                    shown.trim_end()
                );
            }
            Err(_) => {}
        }
    }
}

fn wait_for_end(mut child: Child, network: &Network, id: &NodeId, life: &(Mutex<Life>, Condvar)) {
    let status = child.wait().ok().and_then(|status| {
        let code = status.code().map(EndStatus::Exited);
        code.or(status.signal().map(EndStatus::Signaled))
    });
    network.unplug(id);
    let mut now = life.0.lock();
    let asked = matches!(*now, Life::Alive { asked: true, .. });
    *now = Life::Dead { asked, status };
    life.1.notify_all();
}

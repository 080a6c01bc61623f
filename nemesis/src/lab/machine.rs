//! One machine of the lab: a network namespace, a log, and the node's process.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sched::{CloneFlags, setns};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::{SigHandler, Signal, kill, killpg, signal};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::unistd::{Pid, getppid};
use parking_lot::{Condvar, Mutex};

use crate::backend::BackendError;
use crate::lab::clock::Clock;
use crate::lab::company;
use crate::lab::disk::Disk;
use crate::namespace::Namespace;
use crate::node::{EndStatus, NodeId, NodeState};

/// How long a signal may take to do its work.
const PATIENCE: Duration = Duration::from_secs(10);
/// Lines of a log shown when a node does not start.
const LOG_LINES: usize = 20;

/// A node to be run in the lab.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeSpec {
    /// Its name.
    pub id: NodeId,
    /// The program.
    pub program: PathBuf,
    /// Its arguments. Addresses are known beforehand: see
    /// [`address_of`](crate::lab::address_of).
    pub args: Vec<OsString>,
    /// Environment variables besides the inherited ones.
    pub env: Vec<(OsString, OsString)>,
    /// Its working directory, made if missing.
    pub dir: PathBuf,
    /// The folder of its data: what is in it may be damaged, or thrown away when the
    /// node is replaced. With a simulated disk, the folder that is mounted.
    pub data: PathBuf,
    /// File that its output and its errors are appended to.
    pub log: PathBuf,
    /// Ports of it to be reached on the host's loopback.
    pub forward: Vec<Forwarding>,
}

/// A port of a node, and where on the host's loopback to reach it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Forwarding {
    /// The node's port.
    pub port: u16,
    /// The host's; 0 takes any free one.
    pub host_port: u16,
}

/// What is known of a node's process.
#[derive(Debug)]
enum Process {
    Alive(Pid),
    Dead { asked: bool, status: Option<EndStatus> },
}

/// One machine.
#[derive(Debug)]
pub(crate) struct Machine {
    pub(crate) spec: NodeSpec,
    namespace: Namespace,
    process: Mutex<Process>,
    ended: Condvar,
    /// Whether the next end is asked for. Set before the signal is sent, so
    /// that no end is ever taken for a crash that we caused.
    asked: Mutex<bool>,
    disk: Mutex<Option<Disk>>,
    clock: Option<Clock>,
    /// The file of its program when it was first started.
    program: OnceLock<FileIdentity>,
}

/// What changes when a file is written or another is put in its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct FileIdentity {
    device: u64,
    inode: u64,
    length: u64,
    /// In seconds and nanoseconds since 1970.
    modified: (i64, i64),
}

impl FileIdentity {
    /// Of the file at a path; none where it is looked for on `PATH`, or not there.
    fn of(path: &Path) -> Option<Self> {
        let meta = std::fs::metadata(path)
            .ok()
            .filter(|_| path.components().count() > 1)?;
        Some(Self {
            device: meta.dev(),
            inode: meta.ino(),
            length: meta.len(),
            modified: (meta.mtime(), meta.mtime_nsec()),
        })
    }
}

impl Machine {
    pub(crate) fn new(
        spec: NodeSpec,
        namespace: Namespace,
        disk: Option<Disk>,
        clock: Option<Clock>,
    ) -> Arc<Machine> {
        Arc::new(Machine {
            spec,
            namespace,
            disk: Mutex::new(disk),
            clock,
            process: Mutex::new(Process::Dead {
                asked: true,
                status: None,
            }),
            ended: Condvar::new(),
            asked: Mutex::new(false),
            program: OnceLock::new(),
        })
    }

    /// Starts the process if it is dead. Refuses to start another program than the first time: what a run finds
    /// out about one must not be said of the other.
    pub(crate) fn start(self: &Arc<Machine>, spawner: &Spawner) -> Result<(), BackendError> {
        let mut process = self.process.lock();
        if matches!(*process, Process::Alive(_)) {
            return Ok(());
        }
        *self.asked.lock() = false;
        let child = self
            .same_program()
            .and_then(|()| self.command())
            .and_then(|command| spawner.spawn(command))
            .map_err(|error| {
                let why = format!("{}: {error}", self.spec.program.display());
                BackendError::Start {
                    node: self.spec.id.clone(),
                    why,
                    log: String::new(),
                }
            })?;
        let pid = Pid::from_raw(i32::try_from(child.id()).expect("a pid fits in an i32"));
        *process = Process::Alive(pid);
        drop(process);
        let machine = Arc::clone(self);
        let waiting = std::thread::Builder::new()
            .name(format!("lab-{}", self.spec.id))
            .stack_size(64 * 1024)
            .spawn(move || machine.wait_for_end(child));
        waiting
            .map(drop)
            .map_err(BackendError::system(format!("watching node {}", self.spec.id)))
    }

    fn same_program(&self) -> std::io::Result<()> {
        let Some(now) = FileIdentity::of(&self.spec.program) else {
            return Ok(());
        };
        if *self.program.get_or_init(|| now) == now {
            return Ok(());
        }
        Err(std::io::Error::other(
            "another program lies there now than when the node was first started; leave it alone while a run lasts",
        ))
    }

    fn command(&self) -> std::io::Result<Command> {
        let spec = &self.spec;
        std::fs::create_dir_all(&spec.dir)?;
        if let Some(folder) = spec.log.parent() {
            std::fs::create_dir_all(folder)?;
        }
        let log = OpenOptions::new().create(true).append(true).open(&spec.log)?;
        let mut command = Command::new(&spec.program);
        command
            .args(&spec.args)
            .envs(spec.env.iter().cloned())
            .current_dir(&spec.dir);
        command
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .process_group(0);
        if let Some(clock) = &self.clock {
            clock.starting()?;
            command.envs(clock.env());
        }
        let namespace = self.namespace.file().try_clone()?;
        let runner = nix::unistd::getpid();
        // SAFETY: between fork and exec only system calls are made, no memory is
        // allocated and no lock is taken.
        unsafe { command.pre_exec(move || prepare(&namespace, runner)) };
        Ok(command)
    }

    fn wait_for_end(&self, mut child: std::process::Child) {
        let status = child.wait().ok().and_then(end_status);
        let mut process = self.process.lock();
        let asked = *self.asked.lock();
        *process = Process::Dead { asked, status };
        self.ended.notify_all();
    }

    /// Its network.
    pub(crate) fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    /// What the process is doing.
    pub(crate) fn state(&self) -> Result<NodeState, BackendError> {
        let process = self.process.lock();
        match *process {
            Process::Dead { asked, status } => Ok(NodeState::Dead { asked, status }),
            // Stopped altogether, or somebody still answers for it.
            Process::Alive(pid) => Ok(
                if is_stopped(pid) && self.company(pid).into_iter().all(company::is_still) {
                    NodeState::Paused
                } else {
                    NodeState::Running
                },
            ),
        }
    }

    /// The processes of this machine besides the node's own.
    fn company(&self, node: Pid) -> Vec<Pid> {
        let mut all = company::within(self.namespace.file(), Some(node));
        all.retain(|pid| *pid != node);
        all
    }

    /// SIGKILL to the process and all that it started.
    pub(crate) fn kill(&self) -> Result<(), BackendError> {
        self.kill_and(|| ())
    }

    /// SIGKILL, and `and` at once: the process runs no more, but what it last asked of the
    /// kernel is not over, and it does not end before that is.
    pub(crate) fn kill_and(&self, and: impl FnOnce()) -> Result<(), BackendError> {
        let mut process = self.process.lock();
        let Process::Alive(pid) = *process else {
            // It ended by itself; what it started may not have.
            self.kill_company(None);
            and();
            return Ok(());
        };
        *self.asked.lock() = !has_ended(pid);
        self.signal(pid, Signal::SIGKILL)?;
        self.kill_company(Some(pid));
        and();
        let alive = |process: &mut Process| matches!(process, Process::Alive(_));
        if self
            .ended
            .wait_while_for(&mut process, alive, PATIENCE)
            .timed_out()
        {
            return Err(self.late("the end"));
        }
        drop(process);
        // The others end without anybody waiting for them here.
        self.until("the end of all it started", || {
            let gone = killpg(pid, None) == Err(Errno::ESRCH);
            Ok(gone && self.kill_company(None))
        })
    }

    /// SIGKILL to what runs on the machine besides the node's own process; whether there was nothing.
    fn kill_company(&self, node: Option<Pid>) -> bool {
        let mut all = company::within(self.namespace.file(), node);
        all.retain(|pid| Some(*pid) != node);
        // One that has ended meanwhile is as good.
        for pid in &all {
            let _ = kill(*pid, Signal::SIGKILL);
        }
        all.is_empty()
    }

    /// SIGSTOP to all of its processes.
    pub(crate) fn pause(&self) -> Result<(), BackendError> {
        let process = self.process.lock();
        let Process::Alive(pid) = *process else {
            return Err(self.dead());
        };
        self.signal(pid, Signal::SIGSTOP)?;
        drop(process);
        self.until("the pause", || {
            // What has left the group; again and again, since one that still ran may have started another.
            for other in self.company(pid) {
                if !company::is_still(other) {
                    let _ = kill(other, Signal::SIGSTOP);
                }
            }
            self.state().map(|state| state == NodeState::Paused)
        })
    }

    /// SIGCONT to all of its processes.
    pub(crate) fn resume(&self) -> Result<(), BackendError> {
        let process = self.process.lock();
        let Process::Alive(pid) = *process else {
            return Err(self.dead());
        };
        // Those first that the others wait for: whoever asks the node must find all of it.
        for other in self.company(pid) {
            let _ = kill(other, Signal::SIGCONT);
        }
        self.signal(pid, Signal::SIGCONT)?;
        drop(process);
        self.until("the resumption", || {
            self.state().map(|state| state != NodeState::Paused)
        })
    }

    /// Does something with the node's simulated disk; `None` if it has none.
    pub(crate) fn with_disk<T>(&self, work: impl FnOnce(&Disk) -> T) -> Option<T> {
        self.disk.lock().as_ref().map(work)
    }

    /// The node's clock, if it can be made wrong.
    pub(crate) fn clock(&self) -> Option<&Clock> {
        self.clock.as_ref()
    }

    /// Unmounts the node's simulated disk, if it has one.
    pub(crate) fn unmount(&self) {
        drop(self.disk.lock().take());
    }

    fn signal(&self, group: Pid, what: Signal) -> Result<(), BackendError> {
        match killpg(group, what) {
            Ok(()) | Err(Errno::ESRCH) => Ok(()),
            Err(errno) => Err(BackendError::system(format!("{what} to node {}", self.spec.id))(
                errno.into(),
            )),
        }
    }

    fn dead(&self) -> BackendError {
        let what = format!("node {}", self.spec.id);
        BackendError::Refused {
            what,
            message: "it is dead; `nemesis restart` starts it".into(),
        }
    }

    fn late(&self, what: &str) -> BackendError {
        BackendError::Late {
            what: format!("{what} of node {}", self.spec.id),
            waited: PATIENCE,
        }
    }

    fn until(
        &self,
        what: &str,
        mut done: impl FnMut() -> Result<bool, BackendError>,
    ) -> Result<(), BackendError> {
        let deadline = Instant::now() + PATIENCE;
        let mut pause = Duration::from_micros(50);
        while !done()? {
            if Instant::now() > deadline {
                return Err(self.late(what));
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(5));
        }
        Ok(())
    }

    /// Waits until `ready` says so.
    pub(crate) fn wait_until(
        &self,
        mut ready: impl FnMut() -> bool,
        patience: Duration,
    ) -> Result<(), BackendError> {
        let deadline = Instant::now() + patience;
        loop {
            if ready() {
                return Ok(());
            }
            let why = match self.state()? {
                NodeState::Dead {
                    status: Some(status), ..
                } => format!("it ended with {status}"),
                NodeState::Dead { status: None, .. } => "it ended".to_owned(),
                _ if Instant::now() > deadline => format!("it was not ready after {patience:?}"),
                _ => {
                    std::thread::sleep(Duration::from_millis(5));
                    continue;
                }
            };
            let log = self.log_tail();
            let log = if log.is_empty() {
                format!("; its log {} is empty", self.spec.log.display())
            } else {
                log
            };
            return Err(BackendError::Start {
                node: self.spec.id.clone(),
                why,
                log,
            });
        }
    }

    fn log_tail(&self) -> String {
        tail(&self.spec.log, LOG_LINES)
            .iter()
            .map(|line| format!("\n  {} | {line}", self.spec.id))
            .collect()
    }
}

/// In the child, between fork and exec.
fn prepare(namespace: &File, runner: Pid) -> std::io::Result<()> {
    setns(namespace.as_fd(), CloneFlags::CLONE_NEWNET)?;
    set_pdeathsig(Signal::SIGKILL)?;
    // The runner may have died before that.
    if getppid() != runner {
        return Err(Errno::ESRCH.into());
    }
    // SAFETY: it restores what the runner ignores for itself only.
    unsafe { signal(Signal::SIGTTOU, SigHandler::SigDfl) }?;
    Ok(())
}

fn end_status(status: ExitStatus) -> Option<EndStatus> {
    status
        .code()
        .map(EndStatus::Exited)
        .or(status.signal().map(EndStatus::Signaled))
}

/// Whether a child of ours is stopped. The kernel reports a stop once all
/// threads have stopped; nobody else here waits for stops, and looking leaves
/// the report in place.
fn is_stopped(pid: Pid) -> bool {
    let flags = WaitPidFlag::WSTOPPED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
    matches!(waitid(Id::Pid(pid), flags), Ok(WaitStatus::Stopped(..)))
}

/// Whether a child of ours has ended that nobody has waited for yet: it died a
/// moment before it would have been killed.
fn has_ended(pid: Pid) -> bool {
    let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
    matches!(
        waitid(Id::Pid(pid), flags),
        Ok(WaitStatus::Exited(..) | WaitStatus::Signaled(..))
    )
}

/// The last lines of a file, without reading all of it.
pub(crate) fn tail(path: &Path, lines: usize) -> Vec<String> {
    let read = || -> std::io::Result<String> {
        let mut file = File::open(path)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(16 * 1024)))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    let text = read().unwrap_or_default();
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..]
        .iter()
        .map(|line| (*line).to_owned())
        .collect()
}

/// The thread that starts processes. A process asks to be killed when its
/// parent dies, and to the kernel the parent is the *thread* that forked it:
/// so all are forked by one that lives as long as the lab.
#[derive(Debug)]
pub(crate) struct Spawner {
    requests: Mutex<Option<Sender<Request>>>,
    thread: Mutex<Option<std::thread::JoinHandle<()>>>,
}

type Request = (Command, Sender<std::io::Result<std::process::Child>>);

impl Spawner {
    pub(crate) fn start() -> std::io::Result<Spawner> {
        let (requests, incoming) = channel::<Request>();
        let thread = std::thread::Builder::new()
            .name("lab-spawner".into())
            .spawn(move || {
                for (mut command, answer) in incoming {
                    let _ = answer.send(command.spawn());
                }
            })?;
        Ok(Spawner {
            requests: Mutex::new(Some(requests)),
            thread: Mutex::new(Some(thread)),
        })
    }

    fn spawn(&self, command: Command) -> std::io::Result<std::process::Child> {
        let gone = || std::io::Error::other("the lab is being taken down");
        let (answer, answered) = channel();
        let requests = self.requests.lock().clone().ok_or_else(gone)?;
        requests.send((command, answer)).map_err(|_| gone())?;
        answered.recv().map_err(|_| gone())?
    }

    /// Ends the thread, and with it every process that still lives.
    pub(crate) fn stop(&self) {
        drop(self.requests.lock().take());
        if let Some(thread) = self.thread.lock().take() {
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tail_is_the_last_lines_even_of_a_long_file() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let path = dir.path().join("log");
        assert!(tail(&path, 3).is_empty());
        let text: String = (0..10_000).map(|k| format!("line {k}\n")).collect();
        std::fs::write(&path, text).expect("writable");
        assert_eq!(tail(&path, 2), ["line 9998", "line 9999"]);
    }
}

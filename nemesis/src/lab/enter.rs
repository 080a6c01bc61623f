//! Going into the lab: three processes, each the death of the next.
//!
//! ```text
//! outer    the user's process, in the host's namespaces: passes signals on,
//!  |       opens host ports when asked, exits with the runner's code
//!  +- init     pid 1 of the lab: reaps whatever is orphaned
//!      +- runner   returns from `enter` with a seat and does the work
//!          +- node, node, node ...
//! ```
//!
//! SIGKILL of any of them takes everything below with it: init and runner ask
//! for SIGKILL when their parent dies (`PR_SET_PDEATHSIG`), and the kernel kills
//! a whole pid namespace when its pid 1 ends. Mounts and network devices go with
//! the namespaces when the last process has gone.
//!
//! init and the runner form a process group of their own, so a Ctrl-C at the
//! terminal reaches outer only, which passes it on once. Nodes have groups of
//! their own and never see it: what happens to them is the runner's decision.

use std::io::{IoSlice, IoSliceMut, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::mount::{MsFlags, mount};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sched::CloneFlags;
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::{SigHandler, SigSet, Signal, killpg, signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::socket::{
    AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType, recvmsg, sendmsg,
    socketpair,
};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, fork, getegid, geteuid, getppid, setpgid};

use crate::backend::Unsupported;
use crate::doctor;
use crate::lab::net;

/// Why the lab could not be entered. The calling process is as it was.
#[derive(Debug, thiserror::Error)]
pub enum EnterError {
    /// Namespaces must be made before any thread is.
    #[error(
        "the lab must be entered before any thread is started, but there are {0}: call enter first thing in main"
    )]
    Threads(usize),
    /// This machine does not let us make namespaces.
    #[error("no lab here: {0}")]
    Refused(#[from] Unsupported),
    /// Something inside the new namespaces did not work.
    #[error("no lab here: {step}: {errno}")]
    Failed {
        /// What was tried.
        step: String,
        /// What the system said.
        errno: Errno,
    },
}

/// A place inside the lab: the proof that this process has entered it, and its
/// line to the outer process.
#[derive(Debug)]
pub struct Seat {
    line: OwnedFd,
    unprivileged: bool,
}

/// Enters the lab. Call it first thing in `main`: there must be no other thread.
///
/// The calling process stays outside for good, as a supervisor, and exits with
/// the exit code of the runner (128 + number if a signal ended that). `enter`
/// returns `Ok` only in the runner, a new process inside.
///
/// # Errors
/// An [`EnterError`], returned in the calling process, that says what would mend it.
pub fn enter() -> Result<Seat, EnterError> {
    let threads = std::fs::read_dir("/proc/self/task").map_or(1, Iterator::count);
    if threads != 1 {
        return Err(EnterError::Threads(threads));
    }
    // What is buffered now would be written by both processes.
    let _ = std::io::stdout().flush();
    let pair = socketpair(
        AddressFamily::Unix,
        SockType::SeqPacket,
        None,
        SockFlag::SOCK_CLOEXEC,
    );
    let (outer_line, inner_line) = pair.map_err(failed("socketpair"))?;
    let plain = CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWPID;
    // Inside a new user namespace nobody knows their own ids until they are mapped.
    let ids = (geteuid().as_raw(), getegid().as_raw());
    let mut unprivileged = !doctor::can_administer();
    let clone = |unprivileged: bool| {
        clone_process(if unprivileged {
            plain | CloneFlags::CLONE_NEWUSER
        } else {
            plain
        })
    };
    let mut cloned = clone(unprivileged);
    if !unprivileged && cloned == Err(Errno::EPERM) {
        // Root in a container that filters these calls may still have user namespaces.
        unprivileged = true;
        cloned = clone(unprivileged);
    }
    match cloned {
        Err(errno) => Err(EnterError::Refused(doctor::why_no_namespaces(errno))),
        Ok(None) => {
            drop(outer_line);
            Ok(init(inner_line, unprivileged.then_some(ids)))
        }
        Ok(Some(init)) => {
            drop(inner_line);
            match hear(outer_line.as_fd()) {
                Some(Word::Ready) => supervise(init, outer_line.as_fd()),
                Some(Word::Failed { step, errno }) => {
                    let _ = waitpid(init, None);
                    let errno = Errno::from_raw(errno);
                    // AppArmor lets a user namespace be made and then takes away
                    // what it is for, so the error comes late.
                    match doctor::known_restriction() {
                        Some(why) if matches!(errno, Errno::EPERM | Errno::EACCES) => Err(why.into()),
                        _ => Err(EnterError::Failed { step, errno }),
                    }
                }
                _ => {
                    let ended = waitpid(init, None);
                    Err(EnterError::Failed {
                        step: format!("the lab's first process ended ({ended:?})"),
                        errno: Errno::ECHILD,
                    })
                }
            }
        }
    }
}

fn failed(step: &str) -> impl FnOnce(Errno) -> EnterError {
    let step = step.to_owned();
    move |errno| EnterError::Failed { step, errno }
}

/// `fork` into new namespaces; `None` in the child.
fn clone_process(flags: CloneFlags) -> Result<Option<Pid>, Errno> {
    let flags = libc_long(flags.bits()) | libc_long(nix::libc::SIGCHLD);
    // SAFETY: without CLONE_VM and with no stack given this is fork: the child
    // goes on here with a copy of everything. There is one thread (checked by
    // the caller), so no lock is held by a thread that the child lacks. glibc's
    // cached thread id is stale in the child, which only init uses: it forks the
    // runner by glibc's own fork, which sets it right there.
    let pid = unsafe { nix::libc::syscall(nix::libc::SYS_clone, flags, 0, 0, 0, 0) };
    match Errno::result(pid)? {
        0 => Ok(None),
        pid => Ok(Some(Pid::from_raw(
            i32::try_from(pid).expect("a pid fits in an i32"),
        ))),
    }
}

fn libc_long(bits: i32) -> nix::libc::c_long {
    nix::libc::c_long::from(bits)
}

/// What is said on the line between outer and the lab.
#[derive(Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
enum Word {
    /// The lab stands; the runner is about to return from `enter`.
    Ready,
    /// It could not be set up.
    Failed { step: String, errno: i32 },
    /// Please listen on this port of the host's loopback (0: any).
    Listen { port: u16 },
    /// Here is the listening socket.
    Listening,
    /// It could not be opened.
    Refused { errno: i32 },
}

fn say(line: BorrowedFd<'_>, word: &Word, fd: Option<RawFd>) -> Result<(), Errno> {
    let text = serde_json::to_vec(word).expect("words are plain data");
    let fds: Vec<RawFd> = fd.into_iter().collect();
    let control = [ControlMessage::ScmRights(&fds)];
    let control = if fds.is_empty() { &[][..] } else { &control[..] };
    sendmsg::<()>(
        line.as_raw_fd(),
        &[IoSlice::new(&text)],
        control,
        MsgFlags::MSG_NOSIGNAL,
        None,
    )
    .map(drop)
}

fn hear(line: BorrowedFd<'_>) -> Option<Word> {
    hear_with_fd(line).map(|(word, _)| word)
}

fn hear_with_fd(line: BorrowedFd<'_>) -> Option<(Word, Option<OwnedFd>)> {
    let mut text = [0u8; 4096];
    let mut control = nix::cmsg_space!([RawFd; 1]);
    let (length, fd) = loop {
        let mut parts = [IoSliceMut::new(&mut text)];
        match recvmsg::<()>(
            line.as_raw_fd(),
            &mut parts,
            Some(&mut control),
            MsgFlags::MSG_CMSG_CLOEXEC,
        ) {
            Ok(message) => {
                let mut fd = None;
                for part in message.cmsgs().ok()? {
                    if let ControlMessageOwned::ScmRights(fds) = part {
                        // SAFETY: the kernel has just made this descriptor for us.
                        fd = fds.first().map(|fd| unsafe { OwnedFd::from_raw_fd(*fd) });
                    }
                }
                break (message.bytes, fd);
            }
            Err(Errno::EINTR) => {}
            Err(_) => return None,
        }
    };
    Some((serde_json::from_slice(&text[..length]).ok()?, fd))
}

// ---- the outer process ----

const PASSED_ON: [Signal; 6] = [
    Signal::SIGINT,
    Signal::SIGTERM,
    Signal::SIGHUP,
    Signal::SIGQUIT,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
];

/// Stays outside until the lab ends, and exits with its code.
fn supervise(init: Pid, line: BorrowedFd<'_>) -> ! {
    let mut set = SigSet::empty();
    set.add(Signal::SIGCHLD);
    PASSED_ON.into_iter().for_each(|signal| set.add(signal));
    set.thread_block().expect("blocking signals needs no permission");
    let signals = SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)
        .expect("a signalfd needs no permission");
    let mut line_open = true;
    loop {
        // Signals first: init may have ended before they were blocked.
        pass_signals_on(&signals, init);
        if let Some(code) = ended(init) {
            std::process::exit(code);
        }
        let mut fds = vec![PollFd::new(signals.as_fd(), PollFlags::POLLIN)];
        if line_open {
            fds.push(PollFd::new(line, PollFlags::POLLIN));
        }
        let _ = poll(&mut fds, PollTimeout::NONE);
        let line_ready = fds
            .get(1)
            .and_then(PollFd::revents)
            .is_some_and(|events| !events.is_empty());
        if line_ready {
            match hear(line) {
                Some(Word::Listen { port }) => listen(line, port),
                _ => line_open = false,
            }
        }
    }
}

/// Passes on what has come, each signal once even if it came to the process and
/// to its group (as `timeout` sends it).
fn pass_signals_on(signals: &SignalFd, init: Pid) {
    let mut seen = SigSet::empty();
    while let Ok(Some(info)) = signals.read_signal() {
        if let Ok(signal) = Signal::try_from(i32::try_from(info.ssi_signo).unwrap_or(0)) {
            seen.add(signal);
        }
    }
    for signal in PASSED_ON {
        if seen.contains(signal) {
            let _ = killpg(init, signal);
        }
    }
}

fn ended(init: Pid) -> Option<i32> {
    match waitpid(init, Some(nix::sys::wait::WaitPidFlag::WNOHANG)) {
        Ok(status) => exit_code(status),
        Err(Errno::EINTR) => None,
        Err(_) => Some(255),
    }
}

fn exit_code(status: WaitStatus) -> Option<i32> {
    match status {
        WaitStatus::Exited(_, code) => Some(code),
        WaitStatus::Signaled(_, signal, _) => Some(128 + signal as i32),
        _ => None,
    }
}

/// Opens a port of the host and passes the listening socket into the lab. What
/// it accepts there still comes from the host: a socket belongs to the network
/// namespace in which it was made.
fn listen(line: BorrowedFd<'_>, port: u16) {
    let answer = match TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
        Ok(listener) => say(line, &Word::Listening, Some(listener.as_raw_fd())),
        Err(error) => say(
            line,
            &Word::Refused {
                errno: error.raw_os_error().unwrap_or(0),
            },
            None,
        ),
    };
    if let Err(errno) = answer {
        tracing::warn!(%errno, "could not answer the lab");
    }
}

// ---- pid 1 of the lab ----

/// Sets the namespaces up, forks the runner, and reaps until it ends. Returns
/// only in the runner.
fn init(line: OwnedFd, map: Option<(u32, u32)>) -> Seat {
    let give_up = |step: &str, errno: Errno| -> ! {
        let _ = say(
            line.as_fd(),
            &Word::Failed {
                step: step.to_owned(),
                errno: errno as i32,
            },
            None,
        );
        quit(255)
    };
    let set_up = || -> Result<(), (&str, Errno)> {
        set_pdeathsig(Signal::SIGKILL).map_err(|errno| ("asking to die with the outer process", errno))?;
        if let Some((uid, gid)) = map {
            map_user(uid, gid).map_err(|errno| ("mapping the user into its namespace", errno))?;
        }
        setpgid(Pid::from_raw(0), Pid::from_raw(0)).map_err(|errno| ("making a process group", errno))?;
        let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
        mount(None::<&str>, "/", None::<&str>, private, None::<&str>)
            .map_err(|errno| ("keeping mounts private", errno))?;
        // Programs that look themselves up by pid want a /proc of this pid
        // namespace. Containers forbid it; the host's does for nearly everything.
        let quiet = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
        let _ = mount(Some("proc"), "/proc", Some("proc"), quiet, None::<&str>);
        // Libraries name what they share by pid, and pids of one lab are those of another: what a
        // killed program left there would be met by the next. It goes with the lab.
        let shared = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
        let _ = mount(Some("tmpfs"), "/dev/shm", Some("tmpfs"), shared, None::<&str>);
        net::loopback_up().map_err(|errno| ("raising the loopback device", errno))
    };
    if let Err((step, errno)) = set_up() {
        give_up(step, errno);
    }
    // The outer process may have died before it could take us with it.
    if has_hung_up(line.as_fd()) {
        quit(255);
    }
    // SAFETY: this process has one thread.
    match unsafe { fork() } {
        Err(errno) => give_up("forking the runner", errno),
        Ok(ForkResult::Parent { child }) => {
            drop(line);
            reap(child)
        }
        Ok(ForkResult::Child) => {
            if let Err(errno) = set_pdeathsig(Signal::SIGKILL) {
                give_up("asking to die with the first process", errno);
            }
            if getppid() != Pid::from_raw(1) {
                quit(255);
            }
            // In the background of its terminal, writing must not stop it.
            // SAFETY: ignoring a signal installs no handler.
            let ignored = unsafe { signal(Signal::SIGTTOU, SigHandler::SigIgn) };
            if let Err(errno) = ignored.and(say(line.as_fd(), &Word::Ready, None)) {
                give_up("reporting to the outer process", errno);
            }
            Seat {
                line,
                unprivileged: map.is_some(),
            }
        }
    }
}

/// Maps the user to itself: files keep their owner, and nodes run as who started
/// them, without the power over the namespaces that the runner keeps.
fn map_user(uid: u32, gid: u32) -> Result<(), Errno> {
    let write = |path: &str, text: String| {
        std::fs::write(path, text).map_err(|error| Errno::from_raw(error.raw_os_error().unwrap_or(0)))
    };
    write("/proc/self/setgroups", "deny".into())?;
    write("/proc/self/uid_map", format!("{uid} {uid} 1"))?;
    write("/proc/self/gid_map", format!("{gid} {gid} 1"))
}

fn has_hung_up(line: BorrowedFd<'_>) -> bool {
    let mut fds = [PollFd::new(line, PollFlags::POLLIN)];
    let _ = poll(&mut fds, PollTimeout::ZERO);
    fds[0]
        .revents()
        .is_some_and(|events| events.contains(PollFlags::POLLHUP))
}

/// pid 1: waits for everything that ends in the lab, and ends with the runner.
fn reap(runner: Pid) -> ! {
    loop {
        match waitpid(None, None) {
            Ok(status) if status.pid() == Some(runner) => {
                if let Some(code) = exit_code(status) {
                    quit(code)
                }
            }
            Ok(_) | Err(Errno::EINTR) => {}
            Err(_) => quit(255),
        }
    }
}

/// Ends this copy of the caller's process without running what the caller
/// registered to be run at its end: that is for the original to do.
fn quit(code: i32) -> ! {
    // SAFETY: _exit only ends the process.
    unsafe { nix::libc::_exit(code) }
}

// ---- the runner ----

impl Seat {
    /// True if the lab stands on a user namespace: nodes then run without any
    /// power over the machine, and only this user's files can be reached.
    pub fn is_unprivileged(&self) -> bool {
        self.unprivileged
    }

    /// Listens on a port of the host's loopback; 0 takes any free one.
    ///
    /// # Errors
    /// If the port is in use or may not be opened, or the outer process is gone.
    pub(crate) fn listen_on_host(&self, port: u16) -> std::io::Result<(TcpListener, SocketAddr)> {
        say(self.line.as_fd(), &Word::Listen { port }, None)?;
        match hear_with_fd(self.line.as_fd()) {
            Some((Word::Listening, Some(fd))) => {
                let listener = TcpListener::from(fd);
                let address = listener.local_addr()?;
                Ok((listener, address))
            }
            Some((Word::Refused { errno }, _)) => Err(std::io::Error::from_raw_os_error(errno)),
            _ => Err(std::io::Error::other("the outer process does not answer")),
        }
    }
}

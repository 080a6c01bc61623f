//! Network namespaces: making one, and working inside one.

use std::fs::File;
use std::net::{Ipv4Addr, UdpSocket};
use std::os::fd::AsFd;

use nix::sched::{CloneFlags, setns, unshare};

/// A network namespace, held open by this file.
#[derive(Debug)]
pub(crate) struct Namespace {
    file: File,
}

impl Namespace {
    /// Makes a namespace and runs `furnish` in it, on a thread that ends there.
    pub(crate) fn new<T: Send>(
        furnish: impl FnOnce() -> std::io::Result<T> + Send,
    ) -> std::io::Result<(Namespace, T)> {
        on_a_thread(|| {
            unshare(CloneFlags::CLONE_NEWNET)?;
            let file = File::open("/proc/thread-self/ns/net")?;
            Ok((Namespace { file }, furnish()?))
        })
    }

    /// That of a running process.
    pub(crate) fn of_process(pid: i32) -> std::io::Result<Namespace> {
        File::open(format!("/proc/{pid}/ns/net")).map(|file| Namespace { file })
    }

    /// Runs `work` inside, on a thread that ends there. Sockets that it makes
    /// belong to this namespace wherever they are used, and so do processes.
    pub(crate) fn inside<T: Send>(
        &self,
        work: impl FnOnce() -> std::io::Result<T> + Send,
    ) -> std::io::Result<T> {
        on_a_thread(|| {
            setns(self.file.as_fd(), CloneFlags::CLONE_NEWNET)?;
            work()
        })
    }

    /// The open namespace, for `setns`.
    pub(crate) fn file(&self) -> &File {
        &self.file
    }
}

fn on_a_thread<T: Send>(work: impl FnOnce() -> std::io::Result<T> + Send) -> std::io::Result<T> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new()
            .name("nemesis-ns".into())
            .spawn_scoped(scope, work)?;
        thread
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// A socket of the current namespace for probing packets.
pub(crate) fn probe_socket(address: Ipv4Addr) -> std::io::Result<UdpSocket> {
    let socket = UdpSocket::bind((address, 0))?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

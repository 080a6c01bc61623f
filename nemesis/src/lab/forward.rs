//! A port of a node on the host's loopback, so that curl works.

use std::io::copy;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// How long a node may take to accept a connection.
const CONNECT: Duration = Duration::from_secs(5);
/// Enough for two sockets and a copy between them.
const STACK: usize = 128 * 1024;

/// A port being forwarded. It ends when dropped; connections end with their ends.
#[derive(Debug)]
pub(crate) struct Forward {
    host: SocketAddr,
    /// Our own handle on the listener, to end the thread that waits on it.
    listener: TcpListener,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Forward {
    /// Passes what `listener` (of the host's namespace) accepts on to `node` (of
    /// ours).
    pub(crate) fn start(
        listener: TcpListener,
        host: SocketAddr,
        node: SocketAddr,
    ) -> std::io::Result<Forward> {
        let stop = Arc::new(AtomicBool::new(false));
        let (accepting, stopped) = (listener.try_clone()?, Arc::clone(&stop));
        let thread = std::thread::Builder::new()
            .name("lab-forward".into())
            .stack_size(STACK)
            .spawn(move || accept(&accepting, node, &stopped))?;
        Ok(Forward {
            host,
            listener,
            stop,
            thread: Some(thread),
        })
    }

    /// Where on the host it listens.
    pub(crate) fn host(&self) -> SocketAddr {
        self.host
    }
}

impl Drop for Forward {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        // Wakes the accept below, which then fails.
        let fd = std::os::fd::AsRawFd::as_raw_fd(&self.listener);
        let _ = nix::sys::socket::shutdown(fd, nix::sys::socket::Shutdown::Both);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn accept(listener: &TcpListener, node: SocketAddr, stop: &AtomicBool) {
    while !stop.load(Ordering::Acquire) {
        match listener.accept() {
            Ok((client, _)) => {
                // One that cannot be served is closed by being dropped.
                let served = std::thread::Builder::new()
                    .name("lab-forward".into())
                    .stack_size(STACK)
                    .spawn(move || serve(&client, node));
                if let Err(error) = served {
                    tracing::warn!(%error, "a forwarded connection was refused");
                }
            }
            Err(_) if stop.load(Ordering::Acquire) => return,
            // Out of descriptors, or a client gone before it was accepted.
            Err(error) => {
                tracing::warn!(%error, "accepting a forwarded connection");
                std::thread::sleep(Duration::from_millis(10));
            }
        }
    }
}

fn serve(client: &TcpStream, node: SocketAddr) {
    let Ok(server) = TcpStream::connect_timeout(&node, CONNECT) else {
        reset(client);
        return;
    };
    let _ = client.set_nodelay(true);
    let _ = server.set_nodelay(true);
    std::thread::scope(|scope| {
        let up = std::thread::Builder::new()
            .name("lab-forward".into())
            .stack_size(STACK)
            .spawn_scoped(scope, || pump(client, &server));
        if up.is_ok() {
            pump(&server, client);
        }
    });
}

/// Copies one way until the end, which it passes on.
fn pump(mut from: &TcpStream, mut to: &TcpStream) {
    match copy(&mut from, &mut to) {
        Ok(_) => drop(to.shutdown(Shutdown::Write)),
        // One end broke: the other must learn of it, both ways.
        Err(_) => {
            let _ = from.shutdown(Shutdown::Both);
            let _ = to.shutdown(Shutdown::Both);
        }
    }
}

/// Refuses as the dead node does, with a reset instead of an orderly end.
fn reset(client: &TcpStream) {
    let now = nix::libc::linger {
        l_onoff: 1,
        l_linger: 0,
    };
    let _ = nix::sys::socket::setsockopt(client, nix::sys::socket::sockopt::Linger, &now);
}

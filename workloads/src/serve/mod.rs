//! The store in a browser: a table of runs, their reports and files, two of them side by side, one under way.
//!
//! It reads and never writes: `GET` and `HEAD` only. Everything works without a script; with one, the page of a
//! run under way moves by itself.
//!
//! Invariants:
//! - It listens on loopback unless told otherwise, and says so where it does not: there are no passwords.
//! - No path leads out of the store: `route` lets only plain names pass, and `files` has the kernel resolve them
//!   beneath the store's folder.
//! - A page from elsewhere cannot read it: a request that names another host is refused (`guard`).
//! - What a store wrote is text to a browser, never a page: only our own report is, and it runs in a sandbox.

mod answer;
mod events;
mod files;
mod frame;
mod guard;
mod live;
mod pages;
mod route;
mod shelf;
mod table;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Semaphore;

use crate::cli::ServeArgs;
use answer::Server;

/// Connections at once.
const CONNECTIONS: usize = 256;
/// How long a request's head may take.
const HEAD: Duration = Duration::from_secs(10);

/// Serves the store until Ctrl-C.
///
/// # Errors
/// When there is no store, or the address cannot be listened on.
pub fn run(args: &ServeArgs) -> Result<u8> {
    let root = args.store.canonicalize().with_context(|| {
        format!(
            "no store is at {} (`workloads run` makes one; choose another with --store)",
            args.store.display()
        )
    })?;
    let server = Server::open(root, args.allow_host.clone())
        .with_context(|| format!("the store at {}", args.store.display()))?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("the tokio runtime")?;
    let outcome = runtime.block_on(serve(Arc::new(server), args.listen));
    // Streams and files under way end with us.
    runtime.shutdown_timeout(Duration::from_secs(1));
    outcome.map(|()| 0)
}

async fn serve(server: Arc<Server>, address: SocketAddr) -> Result<()> {
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot catch Ctrl-C")?;
    let mut terminate = signal(SignalKind::terminate()).context("cannot catch SIGTERM")?;
    let listener = TcpListener::bind(address)
        .await
        .with_context(|| format!("cannot listen on {address} (choose another with --listen)"))?;
    let local = listener.local_addr().context("the address")?;
    if !local.ip().is_loopback() {
        nemesis::complain!(
            "workloads: {local} can be reached from elsewhere: whoever reaches it reads every run, log and setting in the store; there are no passwords"
        );
    }
    nemesis::say!("http://{local}  (Ctrl-C ends it)");
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        // Who comes while there is no room waits in the kernel's queue.
        let place = room.clone().acquire_owned().await.context("never closed")?;
        let stream = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                }
            },
            _ = interrupt.recv() => return Ok(()),
            _ = terminate.recv() => return Ok(()),
        };
        let server = server.clone();
        tokio::spawn(async move {
            let service = service_fn(move |request| {
                let server = server.clone();
                async move { Ok::<_, Infallible>(server.respond(request).await) }
            });
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEAD)
                .serve_connection(TokioIo::new(stream), service);
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection broke");
            }
            drop(place);
        });
    }
}

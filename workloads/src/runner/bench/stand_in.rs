//! Stand-ins for nodes: they answer kvnode's `/set` and `/get` at once, and note when.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Instant;

use anyhow::{Context, Result};
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

/// When a set was served.
#[derive(Debug, Clone, Copy)]
pub(super) struct Seen {
    /// Its request was read to the end.
    pub(super) arrived: Instant,
    /// Its answer is about to be written.
    pub(super) answered: Instant,
}

/// What all of them know: they are one store.
#[derive(Debug, Default)]
struct Shared {
    values: HashMap<String, String>,
    version: u64,
    seen: HashMap<(String, String), Seen>,
}

/// Some nodes, on a thread of their own.
pub(super) struct StandIns {
    addresses: Vec<SocketAddr>,
    shared: Arc<Mutex<Shared>>,
    stop: oneshot::Sender<()>,
    thread: JoinHandle<()>,
}

impl StandIns {
    /// So many of them, on free ports of the loopback.
    ///
    /// # Errors
    /// When there is no port.
    pub(super) fn start(count: usize) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .build()
            .context("the stand-ins' runtime")?;
        let bind = || TcpListener::bind(("127.0.0.1", 0));
        let listeners = (0..count).map(|_| runtime.block_on(bind()));
        let listeners: Vec<TcpListener> = listeners.collect::<Result<_, _>>().context("a free port")?;
        let addresses = listeners.iter().map(TcpListener::local_addr);
        let addresses = addresses
            .collect::<Result<_, _>>()
            .context("the ports of the stand-ins")?;
        let shared = Arc::<Mutex<Shared>>::default();
        let theirs = shared.clone();
        let (stop, stopped) = oneshot::channel();
        let serve = move || {
            runtime.block_on(async {
                for listener in listeners {
                    tokio::spawn(accept(listener, theirs.clone()));
                }
                // Whether told or left.
                let _ = stopped.await;
            });
        };
        let thread = thread::Builder::new()
            .name("stand-ins".into())
            .spawn(serve)
            .context("a thread")?;
        Ok(Self {
            addresses,
            shared,
            stop,
            thread,
        })
    }

    /// Their names and addresses.
    pub(super) fn nodes(&self) -> Vec<(String, SocketAddr)> {
        let named = |(place, address): (usize, &SocketAddr)| (format!("n{}", place + 1), *address);
        self.addresses.iter().enumerate().map(named).collect()
    }

    /// Ends them; returns when each set was served, by its key and its value.
    pub(super) fn end(self) -> HashMap<(String, String), Seen> {
        // One that has ended already has nothing to be told.
        let _ = self.stop.send(());
        let _ = self.thread.join();
        std::mem::take(&mut self.shared.lock().seen)
    }
}

async fn accept(listener: TcpListener, shared: Arc<Mutex<Shared>>) {
    while let Ok((stream, _)) = listener.accept().await {
        tokio::spawn(converse(stream, shared.clone()));
    }
}

/// Serves one connection until it ends or says what no client of ours says.
async fn converse(mut stream: TcpStream, shared: Arc<Mutex<Shared>>) {
    let _ = stream.set_nodelay(true);
    let mut buffer = Vec::with_capacity(4096);
    loop {
        let Some((head, length)) = whole(&buffer) else {
            match stream.read_buf(&mut buffer).await {
                Ok(0) | Err(_) => return,
                Ok(_) => continue,
            }
        };
        let arrived = Instant::now();
        let request = String::from_utf8_lossy(&buffer[..head + length]).into_owned();
        buffer.drain(..head + length);
        let answer = answer(&request, head, arrived, &shared);
        if stream.write_all(answer.as_bytes()).await.is_err() {
            return;
        }
    }
}

/// The lengths of the first request's head and body, once both are there.
fn whole(buffer: &[u8]) -> Option<(usize, usize)> {
    let head = buffer.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
    let text = std::str::from_utf8(&buffer[..head]).ok()?.to_ascii_lowercase();
    let length = text.split("\r\ncontent-length:").nth(1).map_or(Some(0), |rest| {
        rest.split("\r\n").next()?.trim().parse::<usize>().ok()
    })?;
    (buffer.len() >= head + length).then_some((head, length))
}

fn answer(request: &str, head: usize, arrived: Instant, shared: &Mutex<Shared>) -> String {
    let mut shared = shared.lock();
    let (status, body) = if let Some(rest) = request.strip_prefix("GET /get?key=") {
        let key = rest.split(' ').next().unwrap_or_default();
        match shared.values.get(key) {
            Some(value) => (
                "200 OK",
                format!(r#"{{"key":"{key}","value":"{value}","version":1}}"#),
            ),
            None => ("404 Not Found", r#"{"error":"not_found"}"#.to_owned()),
        }
    } else {
        let json: serde_json::Value = serde_json::from_str(&request[head..]).unwrap_or_default();
        let text = |name: &str| json[name].as_str().unwrap_or_default().to_owned();
        let (key, value) = (text("key"), text("value"));
        shared.version += 1;
        let version = shared.version;
        let seen = Seen {
            arrived,
            answered: Instant::now(),
        };
        shared.seen.insert((key.clone(), value.clone()), seen);
        shared.values.insert(key, value);
        (
            "200 OK",
            format!(r#"{{"ok":true,"version":{version},"index":{version}}}"#),
        )
    };
    format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
}

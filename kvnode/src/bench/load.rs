//! The load: closed loops over kept connections.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::Request;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;

use super::grpc::Etcd;
use crate::env::{clock, net};

/// How many keys are used.
const KEYS: usize = 1000;
/// Connections over which a store is filled.
const FILLERS: usize = 128;
/// How long a filler tries one key again: an election, a snapshot.
const FILL_PATIENCE: Duration = Duration::from_secs(10);
const FILL_PAUSE: Duration = Duration::from_millis(20);
/// Bytes of a value.
const VALUE_BYTES: usize = 64;

/// What is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Set,
    Get,
}

/// Where it is asked.
#[derive(Debug, Clone)]
pub(super) enum Target {
    Kvnode(String),
    Etcd(String),
}

/// What came of a turn.
pub(super) struct Turn {
    pub(super) count: usize,
    pub(super) errors: usize,
    pub(super) p50: Duration,
    pub(super) p99: Duration,
    pub(super) took: Duration,
}

pub(super) async fn turn(
    target: &Target,
    kind: Kind,
    connections: usize,
    limit: Duration,
) -> io::Result<Turn> {
    let mut open = Vec::new();
    for _ in 0..connections {
        open.push(Connection::open(target).await?);
    }
    let begun = clock::now();
    let loops: Vec<_> = open
        .into_iter()
        .enumerate()
        .map(|(number, connection)| tokio::spawn(connection.run(kind, number * 37, begun + limit)))
        .collect();
    let (mut latencies, mut errors) = (Vec::new(), 0);
    for ended in loops {
        let (done, failed) = ended.await.map_err(io::Error::other)?;
        latencies.extend(done);
        errors += failed;
    }
    let took = begun.elapsed();
    latencies.sort_unstable();
    let at = |share: f64| {
        latencies
            .get((latencies.len() as f64 * share) as usize)
            .copied()
            .unwrap_or_default()
    };
    Ok(Turn {
        count: latencies.len(),
        errors,
        p50: at(0.5),
        p99: at(0.99),
        took,
    })
}

enum Connection {
    Kvnode(Http),
    Etcd(Etcd),
}

impl Connection {
    async fn open(target: &Target) -> io::Result<Connection> {
        match target {
            Target::Kvnode(address) => Http::open(address).await.map(Connection::Kvnode),
            Target::Etcd(address) => Etcd::connect(address).await.map(Connection::Etcd),
        }
    }

    /// Asks until the end; how long each answer took, and how many failed.
    async fn run(mut self, kind: Kind, mut number: usize, end: clock::Instant) -> (Vec<Duration>, usize) {
        let value = "v".repeat(VALUE_BYTES);
        let (mut latencies, mut errors) = (Vec::new(), 0);
        while clock::now() < end {
            number += 1;
            let key = format!("bench-{}", number % KEYS);
            let begun = clock::now();
            match self.ask(kind, &key, &value).await {
                Ok(()) => latencies.push(begun.elapsed()),
                Err(_) => {
                    errors += 1;
                    clock::sleep(Duration::from_millis(5)).await;
                }
            }
        }
        (latencies, errors)
    }

    async fn ask(&mut self, kind: Kind, key: &str, value: &str) -> io::Result<()> {
        match (self, kind) {
            (Connection::Etcd(etcd), Kind::Set) => etcd.put(key, value).await,
            (Connection::Etcd(etcd), Kind::Get) => etcd.get(key).await,
            (Connection::Kvnode(node), Kind::Set) => node.get(format!("/set?key={key}&value={value}")).await,
            (Connection::Kvnode(node), Kind::Get) => node.get(format!("/get?key={key}")).await,
        }
    }
}

/// A kept connection to a kvnode.
pub(super) struct Http(SendRequest<Empty<Bytes>>);

impl Http {
    pub(super) async fn open(address: &str) -> io::Result<Http> {
        let stream = TokioIo::new(net::connect(address).await?);
        let (sender, connection) = http1::handshake(stream).await.map_err(io::Error::other)?;
        tokio::spawn(connection);
        Ok(Http(sender))
    }

    /// Asks, and waits for the whole answer.
    ///
    /// # Errors
    /// Also when the answer's status is no success.
    pub(super) async fn get(&mut self, target: String) -> io::Result<()> {
        self.ask(target).await.map(drop)
    }

    /// Asks, and tells the whole answer's body.
    ///
    /// # Errors
    /// Also when its status is no success.
    pub(super) async fn ask(&mut self, target: String) -> io::Result<Bytes> {
        self.0.ready().await.map_err(io::Error::other)?;
        let request = Request::get(target)
            .header("host", "bench")
            .body(Empty::new())
            .map_err(io::Error::other)?;
        let response = self.0.send_request(request).await.map_err(io::Error::other)?;
        let status = response.status();
        let body = response.into_body().collect().await.map_err(io::Error::other)?;
        if status.is_success() {
            Ok(body.to_bytes())
        } else {
            Err(io::Error::other(status.to_string()))
        }
    }
}

/// Sets keys at a steady rate, over so many connections: how long each took from when it
/// was due, so that a store that stalls is charged for what waited meanwhile; and how many
/// failed.
///
/// # Errors
/// When a connection cannot be opened.
pub(super) async fn paced(
    address: &str,
    per_second: f64,
    connections: usize,
    limit: Duration,
) -> io::Result<(Vec<Duration>, usize)> {
    let value = "v".repeat(VALUE_BYTES);
    let between = Duration::from_secs_f64(connections as f64 / per_second.max(1.0));
    let mut open = Vec::new();
    for _ in 0..connections {
        open.push(Http::open(address).await?);
    }
    let begun = clock::now();
    let loops: Vec<_> = open
        .into_iter()
        .enumerate()
        .map(|(number, mut node)| {
            let value = value.clone();
            let mut due = begun + between.mul_f64(number as f64 / connections as f64);
            tokio::spawn(async move {
                let (mut took, mut failed, mut key) = (Vec::new(), 0, number * 37);
                while due < begun + limit {
                    clock::sleep(due.saturating_duration_since(clock::now())).await;
                    key += 1;
                    let target = format!("/set?key=bench-{}&value={value}", key % KEYS);
                    match node.get(target).await {
                        Ok(()) => took.push(due.elapsed()),
                        Err(_) => failed += 1,
                    }
                    due += between;
                }
                (took, failed)
            })
        })
        .collect();
    let (mut took, mut failed) = (Vec::new(), 0);
    for ended in loops {
        let (more, lost) = ended.await.map_err(io::Error::other)?;
        took.extend(more);
        failed += lost;
    }
    Ok((took, failed))
}

/// Sets keys `from..to` once each, over so many connections.
pub(super) async fn fill(address: &str, from: usize, to: usize, keys: usize) -> io::Result<()> {
    let value = "v".repeat(VALUE_BYTES);
    let loops: Vec<_> = (0..FILLERS)
        .map(|first| {
            let (address, value) = (address.to_owned(), value.clone());
            tokio::spawn(async move {
                let mut node = Http::open(&address).await?;
                for number in (from + first..to).step_by(FILLERS) {
                    let key = number % keys;
                    let begun = clock::now();
                    while let Err(error) = node.get(format!("/set?key=fill-{key}&value={value}")).await {
                        if begun.elapsed() > FILL_PATIENCE {
                            return Err(io::Error::other(format!(
                                "filling key {key} at {address}: {error}"
                            )));
                        }
                        clock::sleep(FILL_PAUSE).await;
                        node = Http::open(&address).await?;
                    }
                }
                io::Result::Ok(())
            })
        })
        .collect();
    for filled in loops {
        filled.await.map_err(io::Error::other)??;
    }
    Ok(())
}

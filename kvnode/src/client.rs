//! A client for people and scripts: tries all nodes, and sends a write again only
//! under its own name, so that it is executed once.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1;
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::Value;

use crate::env::{clock, rng};
use crate::secure::access::{Access, address};

/// How long one node may take to answer.
const ANSWER: Duration = Duration::from_secs(10);
/// How long all nodes together are tried.
const PATIENCE: Duration = Duration::from_secs(15);
/// Pause after all of them failed.
const PAUSE: Duration = Duration::from_millis(100);

/// A client of one cluster.
pub struct Client {
    nodes: Vec<String>,
    /// The node that answered last.
    favourite: usize,
    name: String,
    number: u64,
    access: Access,
}

/// An answer.
#[derive(Debug, Clone)]
pub struct Answer {
    /// Its status.
    pub status: StatusCode,
    /// Its body, if it is JSON; else null.
    pub body: Value,
}

impl Client {
    /// A client that tries these nodes (`http://host:port`) and shows nothing.
    ///
    /// # Panics
    /// When there are none.
    pub fn new(nodes: Vec<String>) -> Client {
        Client::with(nodes, Access::default())
    }

    /// A client that tries these nodes (`http://host:port`, `https://host:port`) and
    /// shows what it was given.
    ///
    /// # Panics
    /// When there are none.
    pub fn with(nodes: Vec<String>, access: Access) -> Client {
        assert!(!nodes.is_empty(), "a client needs a node to ask");
        let name = format!("cli-{:016x}", rng::random_u64());
        Client {
            nodes,
            favourite: 0,
            name,
            number: 0,
            access,
        }
    }

    /// What it shows.
    pub fn access(&self) -> &Access {
        &self.access
    }

    /// The node that answered last.
    pub fn node(&self) -> &str {
        &self.nodes[self.favourite]
    }

    /// Asks until a node answers for good. Sending again is safe: a write bears one
    /// name for all tries.
    ///
    /// # Errors
    /// When no node answered within 15 s; a write may then have been applied.
    pub async fn ask(&mut self, method: Method, target: &str, body: Option<&Value>) -> io::Result<Answer> {
        self.number += 1;
        let name = format!("{}:{}", self.name, self.number);
        let deadline = clock::now() + PATIENCE;
        loop {
            let mut last = None;
            for step in 0..self.nodes.len() {
                let node = (self.favourite + step) % self.nodes.len();
                let asked = send(&self.access, &self.nodes[node], &method, target, &name, body);
                match clock::timeout(ANSWER, asked)
                    .await
                    .unwrap_or(Err(io::ErrorKind::TimedOut.into()))
                {
                    Ok(answer) if !is_passing(answer.status) => {
                        self.favourite = node;
                        return Ok(answer);
                    }
                    Ok(answer) => last = Some(Ok(answer)),
                    Err(error) => last = last.or(Some(Err(error))),
                }
            }
            let lasts = matches!(&last, Some(Err(error)) if is_lasting(error));
            if lasts || clock::now() + PAUSE >= deadline {
                return last.expect("there is at least one node");
            }
            clock::sleep(PAUSE).await;
        }
    }

    /// Begins a long answer of the first node that gives one.
    ///
    /// # Errors
    /// What the last node said when none did.
    pub async fn download(&mut self, target: &str) -> io::Result<Download> {
        let mut last = None;
        for step in 0..self.nodes.len() {
            let node = (self.favourite + step) % self.nodes.len();
            let asked = begin_download(&self.access, &self.nodes[node], target);
            match clock::timeout(ANSWER, asked)
                .await
                .unwrap_or(Err(io::ErrorKind::TimedOut.into()))
            {
                Ok(download) => {
                    self.favourite = node;
                    return Ok(download);
                }
                Err(error) => {
                    last = Some(io::Error::new(
                        error.kind(),
                        format!("{}: {error}", self.nodes[node]),
                    ));
                }
            }
        }
        Err(last.expect("there is at least one node"))
    }
}

async fn begin_download(access: &Access, node: &str, target: &str) -> io::Result<Download> {
    let response = get(access, node, target).await?;
    let (head, body) = response.into_parts();
    if head.status.is_success() {
        return Ok(Download { head, body });
    }
    let bytes = body.collect().await.map_err(io::Error::other)?.to_bytes();
    let told: Value = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
    let why = told["message"].as_str().unwrap_or("it does not say why");
    Err(io::Error::other(format!("{}: {why}", head.status)))
}

/// One GET on a connection of its own.
async fn get(
    access: &Access,
    node: &str,
    target: &str,
) -> io::Result<hyper::Response<hyper::body::Incoming>> {
    let stream = access.connect(node).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(io::Error::other)?;
    tokio::spawn(connection);
    let request = asking(access, node, target)
        .body(Full::<Bytes>::default())
        .map_err(io::Error::other)?;
    sender.send_request(request).await.map_err(io::Error::other)
}

/// An answer that is read piece by piece.
pub struct Download {
    head: hyper::http::response::Parts,
    body: hyper::body::Incoming,
}

impl Download {
    /// A header of the answer.
    pub fn header(&self, name: &str) -> Option<String> {
        Some(self.head.headers.get(name)?.to_str().ok()?.to_owned())
    }

    /// The next piece; none after the last.
    ///
    /// # Errors
    /// When the connection breaks, or stays silent for ten seconds.
    pub async fn next(&mut self) -> io::Result<Option<Bytes>> {
        loop {
            let frame = clock::timeout(ANSWER, self.body.frame())
                .await
                .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?;
            match frame {
                None => return Ok(None),
                Some(Err(error)) => return Err(io::Error::other(error)),
                Some(Ok(frame)) => {
                    if let Ok(bytes) = frame.into_data() {
                        return Ok(Some(bytes));
                    }
                }
            }
        }
    }
}

/// Whether no other moment will do better: a certificate that is not believed, an
/// address that is none.
fn is_lasting(error: &io::Error) -> bool {
    use io::ErrorKind::{InvalidData, InvalidInput};
    matches!(error.kind(), InvalidData | InvalidInput)
}

/// Whether another node, or another moment, may do better.
fn is_passing(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT
    )
}

async fn send(
    access: &Access,
    node: &str,
    method: &Method,
    target: &str,
    name: &str,
    body: Option<&Value>,
) -> io::Result<Answer> {
    let stream = access.connect(node).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(io::Error::other)?;
    tokio::spawn(connection);
    let body = body.map_or_else(Bytes::new, |body| Bytes::from(body.to_string()));
    let request = asking(access, node, target)
        .method(method)
        .header("idempotency-key", name)
        .body(Full::new(body))
        .map_err(io::Error::other)?;
    let response = sender.send_request(request).await.map_err(io::Error::other)?;
    let status = response.status();
    let bytes = response
        .into_body()
        .collect()
        .await
        .map_err(io::Error::other)?
        .to_bytes();
    Ok(Answer {
        status,
        body: serde_json::from_slice(&bytes).unwrap_or(Value::Null),
    })
}

/// The head of a request, with what it shows.
fn asking(access: &Access, node: &str, target: &str) -> hyper::http::request::Builder {
    let request = Request::builder().uri(target).header("host", address(node));
    match access.authorization() {
        Some(token) => request.header("authorization", token),
        None => request,
    }
}

/// Calls `tell` with each event of a watch, until the stream ends or `tell` fails.
///
/// # Errors
/// When the node cannot be reached, or refuses; what `tell` says.
pub async fn watch(
    access: &Access,
    node: &str,
    target: &str,
    mut tell: impl FnMut(&str) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let response = get(access, node, target).await?;
    if !response.status().is_success() {
        anyhow::bail!("the node answered {}", response.status());
    }
    let (mut body, mut text) = (response.into_body(), String::new());
    while let Some(frame) = body.frame().await {
        let frame = frame?;
        text.push_str(&String::from_utf8_lossy(
            frame.data_ref().map_or(&[][..], |bytes| bytes),
        ));
        while let Some(end) = text.find('\n') {
            if let Some(data) = text[..end].strip_prefix("data: ") {
                tell(data)?;
            }
            text.drain(..=end);
        }
    }
    Ok(())
}

//! A client for people and scripts: tries all nodes, follows the leader, and sends a write
//! again only under its own name, so that it is executed once.

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
/// How long it may take to change the members: a new node copies all data first.
const CHANGE: Duration = Duration::from_secs(65);
/// How long all nodes together are tried.
const PATIENCE: Duration = Duration::from_secs(15);
/// Pause after all of them failed.
const PAUSE: Duration = Duration::from_millis(100);

/// A client of one cluster.
pub struct Client {
    nodes: Vec<String>,
    /// What they say they are called.
    names: Vec<Option<String>>,
    /// The node that is asked first: the one that leads, as far as is known.
    favourite: usize,
    name: String,
    number: u64,
    access: Access,
    /// How long one node may take to answer.
    answer: Duration,
}

/// An answer.
#[derive(Debug, Clone)]
pub struct Answer {
    /// Its status.
    pub status: StatusCode,
    /// Its body, if it is JSON; else null.
    pub body: Value,
    /// The node that gave it.
    pub served_by: Option<String>,
    /// The node that leads, as far as that one knows.
    pub leader: Option<String>,
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
            names: vec![None; nodes.len()],
            nodes,
            favourite: 0,
            name,
            number: 0,
            access,
            answer: ANSWER,
        }
    }

    /// The same client with the patience that changes of the members need.
    #[must_use]
    pub fn patient(self) -> Client {
        Client {
            answer: CHANGE,
            ..self
        }
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
                match clock::timeout(self.answer, asked)
                    .await
                    .unwrap_or(Err(io::ErrorKind::TimedOut.into()))
                {
                    Ok(answer) if !is_passing(answer.status) => {
                        self.follow(node, &answer);
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

    /// Asks the leader first from now on, which spares the hop; while nobody has said yet
    /// that he is the leader, those who have not said who they are. Any of them serves.
    fn follow(&mut self, asked: usize, answer: &Answer) {
        self.names[asked].clone_from(&answer.served_by);
        let known = |name: &Option<String>| self.names.iter().position(|each| each == name);
        self.favourite = match &answer.leader {
            None => asked,
            leader @ Some(_) => known(leader).or_else(|| known(&None)).unwrap_or(asked),
        };
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
    let timed_out = |_| io::Error::from(io::ErrorKind::TimedOut);
    let stream = clock::timeout(ANSWER, access.connect(node))
        .await
        .map_err(timed_out)??;
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
    let (head, body) = response.into_parts();
    let bytes = body.collect().await.map_err(io::Error::other)?.to_bytes();
    let header = |name: &str| Some(head.headers.get(name)?.to_str().ok()?.to_owned());
    Ok(Answer {
        status: head.status,
        body: serde_json::from_slice(&bytes).unwrap_or(Value::Null),
        served_by: header("x-ordeal-served-by"),
        leader: header("x-ordeal-leader"),
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

/// How listening to a watch ended.
enum Ended {
    /// For good.
    Done(anyhow::Error),
    /// Another node, or another moment, may do better.
    Broke(io::Error),
}

impl From<io::Error> for Ended {
    fn from(error: io::Error) -> Ended {
        match is_lasting(&error) {
            true => Ended::Done(error.into()),
            false => Ended::Broke(error),
        }
    }
}

/// Where a watch stands.
struct Heard {
    /// The index up to which everything was told.
    after: Option<u64>,
    /// When a node was last heard.
    at: clock::Instant,
}

impl Client {
    /// Calls `tell` with each event of a watch. When a node ends or breaks off, another goes
    /// on where it was: each event is told once, and none is left out.
    ///
    /// # Errors
    /// It only ends so: with what `tell` says, when nodes refuse, when changes are no longer
    /// kept, or when no node was heard for 15 s.
    pub async fn watch(
        &mut self,
        target: &str,
        tell: &mut (dyn FnMut(&str) -> anyhow::Result<()> + Send),
    ) -> anyhow::Error {
        let mut heard = Heard {
            after: None,
            at: clock::now(),
        };
        loop {
            let node = self.nodes[self.favourite].clone();
            let Err(ended) = self.listen(&node, target, &mut heard, tell).await else {
                continue; // It ended as nodes do that are stopped: the next goes on.
            };
            match ended {
                Ended::Done(error) => return error,
                Ended::Broke(error) if heard.at.elapsed() > PATIENCE => {
                    return anyhow::anyhow!("{node}: {error}");
                }
                Ended::Broke(_) => {
                    self.favourite = (self.favourite + 1) % self.nodes.len();
                    clock::sleep(PAUSE).await;
                }
            }
        }
    }

    /// Listens to one node until it ends the stream.
    async fn listen(
        &mut self,
        node: &str,
        target: &str,
        heard: &mut Heard,
        tell: &mut (dyn FnMut(&str) -> anyhow::Result<()> + Send),
    ) -> Result<(), Ended> {
        let target = match heard.after {
            Some(after) if target.contains('?') => format!("{target}&from={after}"),
            Some(after) => format!("{target}?from={after}"),
            None => target.to_owned(),
        };
        let timed_out = |_| io::Error::from(io::ErrorKind::TimedOut);
        let asked = get(&self.access, node, &target);
        let response = clock::timeout(ANSWER, asked).await.map_err(timed_out)??;
        let status = response.status();
        let mut body = response.into_body();
        if !status.is_success() {
            let bytes = body.collect().await.map_err(io::Error::other)?.to_bytes();
            let told: Value = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
            let why = format!(
                "{status}: {}",
                told["message"].as_str().unwrap_or("it does not say why")
            );
            return Err(match is_passing(status) {
                true => Ended::Broke(io::Error::other(why)),
                false => Ended::Done(anyhow::anyhow!("{node}: {why}")),
            });
        }
        let mut events = Events::default();
        // A node with nothing to tell says so every few seconds.
        while let Some(frame) = clock::timeout(ANSWER, body.frame()).await.map_err(timed_out)? {
            let frame = frame.map_err(io::Error::other)?;
            heard.at = clock::now();
            events.push(frame.data_ref().map_or(&[][..], |bytes| bytes));
            while let Some(event) = events.next() {
                take(&event, heard, tell).map_err(Ended::Done)?;
            }
        }
        self.favourite = (self.favourite + 1) % self.nodes.len();
        Ok(())
    }
}

/// Events as they arrive: in pieces that end anywhere, in the middle of a letter too.
#[derive(Default)]
struct Events {
    bytes: Vec<u8>,
    /// Up to here there is no end of an event.
    looked: usize,
}

impl Events {
    fn push(&mut self, piece: &[u8]) {
        self.bytes.extend_from_slice(piece);
    }

    /// The next event that has arrived whole.
    fn next(&mut self) -> Option<String> {
        let found = self.bytes[self.looked..]
            .windows(2)
            .position(|two| two == b"\n\n");
        let Some(found) = found else {
            self.looked = self.bytes.len().saturating_sub(1);
            return None;
        };
        let event: Vec<u8> = self.bytes.drain(..self.looked + found + 2).collect();
        self.looked = 0;
        Some(String::from_utf8_lossy(&event).into_owned())
    }
}

/// One event, or one comment that tells how far the node is.
fn take(
    event: &str,
    heard: &mut Heard,
    tell: &mut (dyn FnMut(&str) -> anyhow::Result<()> + Send),
) -> anyhow::Result<()> {
    let field = |name: &str| event.lines().find_map(|line| line.strip_prefix(name));
    let after = field("id: ")
        .or_else(|| field(": from "))
        .or_else(|| field(": at "));
    if field("event: ") == Some("gap") {
        anyhow::bail!(
            "changes after index {} are no longer kept: read the keys, and watch from there",
            after.unwrap_or("0")
        );
    }
    if let Some(data) = field("data: ") {
        tell(data)?;
    }
    // Behind `tell`: what was not told is asked for again.
    heard.after = after.and_then(|after| after.parse().ok()).or(heard.after);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_whole_wherever_their_pieces_end() {
        let sent = [
            "id: 1\ndata: {\"value\":\"日本 ✓ é\"}\n\n",
            ": at 2\n\n",
            "id: 3\ndata: ü\n\n",
        ];
        let bytes = sent.concat().into_bytes();
        for size in 1..=bytes.len() {
            let (mut events, mut came) = (Events::default(), Vec::new());
            for piece in bytes.chunks(size) {
                events.push(piece);
                came.extend(std::iter::from_fn(|| events.next()));
            }
            assert_eq!(came, sent, "in pieces of {size}");
        }
    }

    #[test]
    fn what_was_told_is_where_a_watch_goes_on() {
        let mut heard = Heard {
            after: None,
            at: clock::now(),
        };
        let mut told = Vec::new();
        for (event, after, count) in [
            (": from 7\n\n", 7, 0),
            ("id: 9\ndata: {\"index\":9}\n\n", 9, 1),
            (": at 12\n\n", 12, 1),
            ("id: 13\ndata: {\"index\":13}\n\n", 13, 2),
        ] {
            let mut tell = |data: &str| {
                told.push(data.to_owned());
                Ok(())
            };
            take(event, &mut heard, &mut tell).unwrap();
            assert_eq!((heard.after, told.len()), (Some(after), count), "{event}");
        }
        assert_eq!(told, ["{\"index\":9}", "{\"index\":13}"]);
        let mut refuse = |_: &str| anyhow::bail!("nobody reads");
        assert!(take("id: 20\ndata: {}\n\n", &mut heard, &mut refuse).is_err());
        assert_eq!(heard.after, Some(13), "what was not told is not behind us");
        let gap = take("event: gap\nid: 20\ndata: {}\n\n", &mut heard, &mut |_| Ok(()));
        assert!(gap.unwrap_err().to_string().contains("after index 20"));
    }
}

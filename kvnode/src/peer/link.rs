//! One connection per peer for forwarded client requests, many under way at once.
//!
//! What matters here is telling "never sent" from "perhaps sent". A request counts
//! as sent from the moment its bytes are handed to the socket; when the connection
//! breaks after that, its fate is unknown and it is not sent again.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::io::{AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::sync::{mpsc, oneshot};

use super::frame;
use super::message::{Reply, Request};
use super::network::Caller;
use crate::cluster::{NodeId, Peer};
use crate::env::clock;
use crate::secure::stream::Stream;

/// Requests that may wait for the writer.
const QUEUE: usize = 4096;
/// How often a link with unanswered requests is looked at.
const CHECK: Duration = Duration::from_millis(250);
/// Silence after which a link with unanswered requests is given up, although it was
/// probed meanwhile. TCP itself takes minutes to notice a cut, and seconds to notice
/// that it healed.
const SILENCE: Duration = Duration::from_millis(1000);
/// Bytes written at once.
const WRITE_BYTES: usize = 256 << 10;

/// Why there is no answer.
#[derive(Debug, Clone, thiserror::Error)]
pub enum LinkError {
    /// Nothing of the request left this node.
    #[error("cannot reach {to}: {why}")]
    NotSent {
        /// Whom.
        to: NodeId,
        /// The system's words.
        why: String,
    },
    /// The connection broke after the request's first byte.
    #[error("the connection to {to} broke while it worked on the request")]
    Broken {
        /// Whom.
        to: NodeId,
    },
}

/// The links to all peers.
pub struct Links {
    caller: Caller,
    open: Mutex<HashMap<NodeId, Link>>,
}

struct Link {
    peer: Peer,
    requests: mpsc::Sender<Pending>,
}

struct Pending {
    request: Request,
    answer: oneshot::Sender<Result<Reply, LinkError>>,
}

type Waiting = Arc<Mutex<HashMap<u64, oneshot::Sender<Result<Reply, LinkError>>>>>;

impl Links {
    /// Links that call as `caller`.
    pub fn new(caller: Caller) -> Links {
        Links {
            caller,
            open: Mutex::default(),
        }
    }

    /// Sends a request to a peer and waits for its answer.
    ///
    /// # Errors
    /// [`LinkError`] says whether the request may have been carried out. Dropping the
    /// future does not take the request back.
    pub async fn call(&self, to: &NodeId, peer: &Peer, request: Request) -> Result<Reply, LinkError> {
        let (answer, reply) = oneshot::channel();
        let not_sent = |why: &str| LinkError::NotSent {
            to: to.clone(),
            why: why.to_owned(),
        };
        let requests = self.link(to, peer);
        requests
            .send(Pending { request, answer })
            .await
            .map_err(|_| not_sent("the link has closed"))?;
        // The sender is dropped unanswered only with the runtime.
        reply
            .await
            .unwrap_or_else(|_| Err(LinkError::Broken { to: to.clone() }))
    }

    fn link(&self, to: &NodeId, peer: &Peer) -> mpsc::Sender<Pending> {
        let mut open = self.open.lock();
        if let Some(link) = open
            .get(to)
            .filter(|link| link.peer == *peer && !link.requests.is_closed())
        {
            return link.requests.clone();
        }
        let (requests, pending) = mpsc::channel(QUEUE);
        let task = LinkTask {
            caller: self.caller.clone(),
            to: to.clone(),
            peer: peer.clone(),
        };
        tokio::spawn(task.run(pending));
        open.insert(
            to.clone(),
            Link {
                peer: peer.clone(),
                requests: requests.clone(),
            },
        );
        requests
    }
}

struct LinkTask {
    caller: Caller,
    to: NodeId,
    peer: Peer,
}

impl LinkTask {
    /// Connects when there is something to send, and again after a break.
    async fn run(self, mut pending: mpsc::Receiver<Pending>) {
        while let Some(first) = pending.recv().await {
            match self.caller.connect(&self.to, &self.peer).await {
                Ok(connection) => {
                    let (reader, writer) = tokio::io::split(connection.into_stream());
                    self.carry(reader, writer, first, &mut pending).await;
                }
                Err(error) => {
                    let why = error.to_string();
                    let mut next = Some(first);
                    while let Some(Pending { answer, .. }) = next {
                        let _ = answer.send(Err(LinkError::NotSent {
                            to: self.to.clone(),
                            why: why.clone(),
                        }));
                        next = pending.try_recv().ok();
                    }
                }
            }
        }
    }

    async fn carry(
        &self,
        reader: ReadHalf<tokio::io::BufReader<Stream>>,
        mut writer: WriteHalf<tokio::io::BufReader<Stream>>,
        first: Pending,
        pending: &mut mpsc::Receiver<Pending>,
    ) {
        let waiting: Waiting = Arc::default();
        let heard = Arc::new(Mutex::new(clock::now()));
        let mut replies = tokio::spawn(read_replies(reader, waiting.clone(), heard.clone()));
        let (mut number, mut bytes, mut next) = (0, Vec::new(), Some(first));
        loop {
            bytes.clear();
            while let Some(Pending { request, answer }) = next.take() {
                // A caller that has gone away has answered its client already.
                let probe = matches!(request, Request::Probe);
                if probe || !answer.is_closed() {
                    number += 1;
                    frame::encode(&(number, &request), &mut bytes);
                    if !probe {
                        waiting.lock().insert(number, answer);
                    }
                }
                if bytes.len() < WRITE_BYTES {
                    next = pending.try_recv().ok();
                }
            }
            if !bytes.is_empty() && (writer.write_all(&bytes).await.is_err() || writer.flush().await.is_err())
            {
                break;
            }
            tokio::select! {
                _ = &mut replies => break,
                more = pending.recv() => match more {
                    Some(more) => next = Some(more),
                    None => break,
                },
                () = clock::sleep(CHECK) => {
                    let silent = heard.lock().elapsed();
                    if waiting.lock().is_empty() {
                        continue;
                    }
                    if silent > SILENCE {
                        break;
                    }
                    // Any answer will do; nobody waits for this one.
                    next = Some(Pending { request: Request::Probe, answer: oneshot::channel().0 });
                }
            }
        }
        replies.abort();
        for (_, answer) in waiting.lock().drain() {
            let _ = answer.send(Err(LinkError::Broken { to: self.to.clone() }));
        }
    }
}

async fn read_replies(
    mut reader: ReadHalf<tokio::io::BufReader<Stream>>,
    waiting: Waiting,
    heard: Arc<Mutex<clock::Instant>>,
) -> io::Result<()> {
    while let Some((number, reply)) = frame::read::<(u64, Reply)>(&mut reader).await? {
        *heard.lock() = clock::now();
        if let Some(answer) = waiting.lock().remove(&number) {
            let _ = answer.send(Ok(reply));
        }
    }
    Ok(())
}

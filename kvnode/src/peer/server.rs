//! Answers other nodes.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use openraft::raft::AppendEntriesResponse;
use tokio::io::{AsyncWriteExt, BufReader};
use tokio::sync::{Semaphore, mpsc};
use tracing::{debug, error, info, warn};

use super::frame;
use super::message::{Hello, PROTOCOL, Reply, Request, Welcome};
use super::network::off_worker;
use crate::cluster::NodeId;
use crate::env::{clock, fs, net};
use crate::membership;
use crate::node::Node;
use crate::raft::snapshot::SnapshotFile;
use crate::raft::{Snapshot, SnapshotMeta, Vote};
use crate::secure::stream::Stream;
use crate::service::{Ballot, Service};
use crate::work::Working;

/// How long a connection may take to introduce itself.
const HELLO: Duration = Duration::from_secs(2);
/// Replies that may wait for the writer of one connection.
const QUEUE: usize = 4096;
/// Most connections of peers: each has a handful, those that are not peers fill the rest.
const MAX_CONNECTIONS: usize = 1024;
/// Bytes written at once.
const WRITE_BYTES: usize = 256 << 10;

/// Accepts connections until the listener fails.
pub async fn serve<S: Service>(service: Arc<S>, listener: net::TcpListener) {
    let room = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        match listener.accept().await {
            Ok((stream, from)) => {
                let Ok(place) = room.clone().try_acquire_owned() else {
                    debug!(%from, "no room for another connection of peers");
                    continue;
                };
                let service = service.clone();
                tokio::spawn(async move {
                    if let Err(error) = connection(service, stream).await {
                        debug!(%from, %error, "a peer's connection ended");
                    }
                    drop(place);
                });
            }
            Err(error) => {
                warn!(%error, "cannot accept a peer's connection");
                clock::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

async fn connection<S: Service>(service: Arc<S>, stream: net::TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let greeted = async {
        let stream = match service.node().keyring().peer_acceptor() {
            None => Stream::Plain(stream),
            Some(tls) => Stream::Accepted(Box::new(tls.accept(stream).await.inspect_err(
                |error| warn!(%error, "refused a connection that did not prove to be a peer's"),
            )?)),
        };
        let mut stream = BufReader::with_capacity(64 << 10, stream);
        let hello: Option<Hello> = frame::read_within(&mut stream, frame::MAX_GREETING_BYTES).await?;
        io::Result::Ok((stream, hello.ok_or(io::ErrorKind::UnexpectedEof)?))
    };
    let (mut stream, hello) = clock::timeout(HELLO, greeted)
        .await
        .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
    let welcome = welcome(service.node(), &hello);
    let mut bytes = Vec::new();
    frame::encode(&welcome, &mut bytes);
    stream.write_all(&bytes).await?;
    stream.flush().await?;
    if let Welcome::Refused(why) = welcome {
        warn!(from = %hello.from, "refused a connection: {why}");
        return Ok(());
    }
    let (mut reader, writer) = tokio::io::split(stream);
    let (replies, pending) = mpsc::channel(QUEUE);
    let writing = tokio::spawn(write_replies(writer, pending));
    let mut session = Session {
        service,
        from: hello.from,
        replies,
        incoming: None,
    };
    let ended = async {
        let mut last = 0;
        while let Some((number, request)) = frame::read::<(u64, Request)>(&mut reader).await? {
            // A frame that comes again must not be carried out again.
            if number <= last {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidData,
                    format!("frame {number} after frame {last}"),
                ));
            }
            last = number;
            session.answer(number, request).await;
        }
        Ok(())
    }
    .await;
    session.discard_incoming();
    writing.abort();
    ended
}

fn welcome(node: &Node, hello: &Hello) -> Welcome {
    let refuse = |why: String| Welcome::Refused(why);
    // It becomes part of a file's name, so it must be one that a node can have.
    if hello.from.as_str().parse::<NodeId>().is_err() {
        return refuse("it has no node's name".to_owned());
    }
    if hello.protocol != PROTOCOL {
        return refuse(format!(
            "it speaks protocol {}, this node {PROTOCOL}",
            hello.protocol
        ));
    }
    if hello.cluster != node.config().cluster_id {
        return refuse(format!(
            "it is of cluster '{}', this node of '{}'",
            hello.cluster,
            node.config().cluster_id
        ));
    }
    if hello.to != *node.id() {
        return refuse(format!("it wants {}, this is {}", hello.to, node.id()));
    }
    match hello.to_incarnation {
        Some(expected) if expected != node.incarnation() => {
            error!(
                from = %hello.from,
                "the cluster remembers this node with another data directory: it lost what it had promised"
            );
            refuse(format!("{} lost its data directory", node.id()))
        }
        _ => Welcome::Ready {
            incarnation: node.incarnation(),
        },
    }
}

async fn write_replies(
    mut writer: tokio::io::WriteHalf<BufReader<Stream>>,
    mut pending: mpsc::Receiver<Answered>,
) -> io::Result<()> {
    let (mut bytes, mut answered) = (Vec::new(), Vec::new());
    while let Some(first) = pending.recv().await {
        bytes.clear();
        let mut next = Some(first);
        while let Some((number, reply, working)) = next.take() {
            frame::encode(&(number, &reply), &mut bytes);
            answered.extend(working);
            if bytes.len() < WRITE_BYTES {
                next = pending.try_recv().ok();
            }
        }
        writer.write_all(&bytes).await?;
        writer.flush().await?;
        answered.clear();
    }
    Ok(())
}

/// A reply to the request with this number; the work for a client ends when it is
/// written.
type Answered = (u64, Reply, Option<Working>);

/// One connection's requests, in order.
struct Session<S> {
    service: Arc<S>,
    from: NodeId,
    replies: mpsc::Sender<Answered>,
    incoming: Option<Incoming>,
}

/// A snapshot being received.
struct Incoming {
    vote: Vote,
    meta: SnapshotMeta,
    path: PathBuf,
    file: Arc<fs::File>,
}

impl<S: Service> Session<S> {
    /// Raft's own calls are answered in order; clients' requests each in a task of
    /// their own, since they wait for a quorum.
    async fn answer(&mut self, number: u64, request: Request) {
        let (service, replies) = (self.service.clone(), self.replies.clone());
        match request {
            Request::Propose(command, tag) => {
                let (working, from) = (service.node().work().begin(), self.from.clone());
                tokio::spawn(async move {
                    let answer = service.propose(command).await;
                    if let Some(tag) = tag {
                        match &answer {
                            Ok(applied) => {
                                debug!(request_id = %tag, %from, index = applied.index, "applied for a peer");
                            }
                            Err(refusal) => {
                                debug!(request_id = %tag, %from, %refusal, "not applied for a peer");
                            }
                        }
                    }
                    let _ = replies
                        .send((number, Reply::Propose(answer), Some(working)))
                        .await;
                });
            }
            Request::ReadIndex(proof) => {
                tokio::spawn(async move {
                    let reply = Reply::ReadIndex(service.confirm(proof).await);
                    let _ = replies.send((number, reply, None)).await;
                });
            }
            Request::Admin(admin, tag) => {
                let (working, from) = (service.node().work().begin(), self.from.clone());
                tokio::spawn(async move {
                    let request_id = tag.as_deref().unwrap_or_default();
                    info!(request_id, %from, ?admin, "an operator's request");
                    let reply = Reply::Admin(membership::carry_out(service.node(), admin).await);
                    let _ = replies.send((number, reply, Some(working))).await;
                });
            }
            request => {
                let reply = self.raft(request).await.unwrap_or_else(Reply::Failed);
                let _ = replies.send((number, reply, None)).await;
            }
        }
    }

    async fn raft(&mut self, request: Request) -> Result<Reply, String> {
        let raft = self.service.node().raft().clone();
        match request {
            Request::Append(request) => {
                let answer = self.service.append_entries(request).await?;
                if !matches!(answer, AppendEntriesResponse::HigherVote(_)) {
                    self.service.node().note_heard();
                }
                Ok(Reply::Append(answer))
            }
            Request::Vote(request) => self
                .service
                .vote(&self.from, request, Ballot::Vote)
                .await
                .map(Reply::Vote),
            Request::PreVote(request) => self
                .service
                .vote(&self.from, request, Ballot::PreVote)
                .await
                .map(Reply::Vote),
            Request::TransferLeader(request) => raft
                .handle_transfer_leader(request)
                .await
                .map(Reply::TransferLeader)
                .map_err(text),
            Request::SnapshotBegin { vote, meta } => {
                self.discard_incoming();
                let path = self
                    .service
                    .node()
                    .machine()
                    .snapshots()
                    .incoming(self.from.as_str());
                let file = off_worker({
                    let path = path.clone();
                    move || fs::create(&path)
                })
                .await
                .map_err(text)?;
                self.incoming = Some(Incoming {
                    vote,
                    meta,
                    path,
                    file: Arc::new(file),
                });
                Ok(Reply::More)
            }
            Request::SnapshotBytes(bytes) => {
                let incoming = self.incoming.as_ref().ok_or("no snapshot has begun")?;
                let file = incoming.file.clone();
                off_worker(move || io::Write::write_all(&mut &*file, &bytes))
                    .await
                    .map_err(text)?;
                Ok(Reply::More)
            }
            Request::SnapshotEnd => {
                let Incoming {
                    vote,
                    meta,
                    path,
                    file,
                } = self.incoming.take().ok_or("no snapshot has begun")?;
                off_worker(move || file.sync_all()).await.map_err(text)?;
                let snapshot = Snapshot {
                    meta,
                    snapshot: SnapshotFile { path: path.clone() },
                };
                let response = raft.install_full_snapshot(vote, snapshot).await;
                // Adopted snapshots have been renamed; one that was refused is left over.
                let _ = fs::remove(&path);
                response.map(Reply::Snapshot).map_err(text)
            }
            Request::Probe => Ok(Reply::Probe(self.service.node().standing(&self.from))),
            Request::Propose(..) | Request::ReadIndex(_) | Request::Admin(..) => {
                unreachable!("answered in tasks of their own")
            }
        }
    }
}

impl<S> Session<S> {
    fn discard_incoming(&mut self) {
        if let Some(incoming) = self.incoming.take() {
            let _ = fs::remove(&incoming.path);
        }
    }
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

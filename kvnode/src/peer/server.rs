//! Answers other nodes.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use openraft::raft::AppendEntriesResponse;
use tokio::io::{AsyncWriteExt, BufReader};
use tokio::sync::mpsc;
use tracing::{debug, error, warn};

use super::frame;
use super::message::{Hello, PROTOCOL, Reply, Request, Standing, Welcome};
use super::network::off_worker;
use crate::cluster::NodeId;
use crate::env::{clock, fs, net};
use crate::membership;
use crate::node::Node;
use crate::raft::snapshot::SnapshotFile;
use crate::raft::{Snapshot, SnapshotMeta, Vote};
use crate::service::{Ballot, Service};

/// How long a connection may take to introduce itself.
const HELLO: Duration = Duration::from_secs(2);
/// Replies that may wait for the writer of one connection.
const QUEUE: usize = 4096;
/// Bytes written at once.
const WRITE_BYTES: usize = 256 << 10;

/// Accepts connections until the listener fails.
pub async fn serve<S: Service>(service: Arc<S>, listener: net::TcpListener) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let service = service.clone();
                tokio::spawn(async move {
                    if let Err(error) = connection(service, stream).await {
                        debug!(%error, "a peer's connection ended");
                    }
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
    let mut stream = BufReader::with_capacity(64 << 10, stream);
    let hello: Hello = clock::timeout(HELLO, frame::read(&mut stream))
        .await
        .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??
        .ok_or(io::ErrorKind::UnexpectedEof)?;
    let welcome = welcome(service.node(), &hello);
    let mut bytes = Vec::new();
    frame::encode(&welcome, &mut bytes);
    stream.write_all(&bytes).await?;
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
        while let Some((number, request)) = frame::read::<(u64, Request)>(&mut reader).await? {
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
    mut writer: tokio::io::WriteHalf<BufReader<net::TcpStream>>,
    mut pending: mpsc::Receiver<(u64, Reply)>,
) -> io::Result<()> {
    let mut bytes = Vec::new();
    while let Some(first) = pending.recv().await {
        bytes.clear();
        let mut next = Some(first);
        while let Some(reply) = next.take() {
            frame::encode(&reply, &mut bytes);
            if bytes.len() < WRITE_BYTES {
                next = pending.try_recv().ok();
            }
        }
        writer.write_all(&bytes).await?;
    }
    Ok(())
}

/// One connection's requests, in order.
struct Session<S> {
    service: Arc<S>,
    from: NodeId,
    replies: mpsc::Sender<(u64, Reply)>,
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
            Request::Propose(command) => {
                tokio::spawn(async move {
                    let reply = Reply::Propose(service.propose(command).await);
                    let _ = replies.send((number, reply)).await;
                });
            }
            Request::ReadIndex(proof) => {
                tokio::spawn(async move {
                    let reply = Reply::ReadIndex(service.confirm(proof).await);
                    let _ = replies.send((number, reply)).await;
                });
            }
            Request::Admin(admin) => {
                tokio::spawn(async move {
                    let reply = Reply::Admin(membership::carry_out(service.node(), admin).await);
                    let _ = replies.send((number, reply)).await;
                });
            }
            request => {
                let reply = self.raft(request).await.unwrap_or_else(Reply::Failed);
                let _ = replies.send((number, reply)).await;
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
            Request::Probe => {
                let node = self.service.node();
                Ok(Reply::Probe(Standing {
                    incarnation: node.incarnation(),
                    pristine: node.is_pristine(),
                    expects: node.expected_incarnation(&self.from),
                }))
            }
            Request::Propose(_) | Request::ReadIndex(_) | Request::Admin(_) => {
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

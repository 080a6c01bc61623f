//! openraft's side of the wire: calls one at a time, each kind on its own connection.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use openraft::OptionalSend;
use openraft::errors::{NetworkError, RPCError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::v2::RaftNetworkV2;
use openraft::network::{RPCOption, RaftNetworkFactory};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, VoteRequest, VoteResponse,
};
use openraft::raft::{TransferLeaderRequest, TransferLeaderResponse};
use tokio::io::{AsyncWriteExt, BufReader};

use super::frame;
use super::message::{Hello, PROTOCOL, Reply, Request, Welcome};
use crate::cluster::{NodeId, Peer};
use crate::config::Config;
use crate::env::{clock, fs, net};
use crate::raft::snapshot::SnapshotFile;
use crate::raft::{Snapshot, TypeConfig, Vote};
use crate::secure::keyring::Keyring;
use crate::secure::pem;
use crate::secure::stream::Stream;

/// How long a connection may take to open. Short: after a partition heals, a SYN
/// sent into it is only repeated a second later, while a fresh one goes through.
const CONNECT: Duration = Duration::from_millis(250);
/// How long one batch of entries may take. On a silent link this is what notices.
const APPEND: Duration = Duration::from_millis(1000);
/// How long a vote may take: it includes an fsync on the other side.
const VOTE: Duration = Duration::from_millis(500);
/// How long one part of a snapshot may take, and its installation.
const SNAPSHOT_PART: Duration = Duration::from_secs(5);
const SNAPSHOT_INSTALL: Duration = Duration::from_secs(60);
/// Bytes of a snapshot's file in one frame.
const SNAPSHOT_CHUNK: usize = 1 << 20;

/// Who this node is when it calls others, and where its flags say they are.
#[derive(Clone)]
pub struct Caller {
    config: Arc<Config>,
    keyring: Arc<Keyring>,
}

/// An open connection on which the [`Hello`] was welcomed.
pub struct Connection {
    stream: BufReader<Stream>,
    next: u64,
    /// The random number in the other side's data directory.
    pub incarnation: u64,
}

impl Caller {
    /// A caller with this node's name, cluster and address book.
    pub fn new(config: &Config, keyring: Arc<Keyring>) -> Caller {
        Caller {
            keyring,
            config: Arc::new(config.clone()),
        }
    }

    /// Connects to `peer` and introduces itself.
    ///
    /// # Errors
    /// When the peer does not answer in time or refuses; nothing was asked of it yet.
    pub async fn connect(&self, to: &NodeId, peer: &Peer) -> io::Result<Connection> {
        let hello = Hello {
            protocol: PROTOCOL,
            cluster: self.config.cluster_id.clone(),
            from: self.config.id.clone(),
            to: to.clone(),
            to_incarnation: peer.incarnation,
        };
        // The operator's flags are newer than the membership: a node may have moved.
        let address = self
            .config
            .cluster
            .members()
            .get(to)
            .map_or(&peer.raft, |member| &member.raft);
        let open = async {
            let stream = self.secured(address, net::connect(address).await?).await?;
            let mut stream = BufReader::with_capacity(16 << 10, stream);
            let mut bytes = Vec::new();
            frame::encode(&hello, &mut bytes);
            stream.write_all(&bytes).await?;
            stream.flush().await?;
            match frame::read_within(&mut stream, frame::MAX_GREETING_BYTES).await? {
                Some(Welcome::Ready { incarnation }) => Ok(Connection {
                    stream,
                    next: 0,
                    incarnation,
                }),
                Some(Welcome::Refused(why)) => Err(io::Error::other(format!("{to} refused: {why}"))),
                None => Err(io::ErrorKind::UnexpectedEof.into()),
            }
        };
        clock::timeout(CONNECT, open)
            .await
            .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
    }

    /// Encrypts a connection if this node's peers are to be certain of each other.
    async fn secured(&self, address: &str, stream: net::TcpStream) -> io::Result<Stream> {
        match self.keyring.peer_connector() {
            None => Ok(Stream::Plain(stream)),
            Some(tls) => {
                let name = pem::server_name(address)?;
                Ok(Stream::Opened(Box::new(tls.connect(name, stream).await?)))
            }
        }
    }
}

impl Connection {
    /// Asks and waits for the answer.
    ///
    /// # Errors
    /// When the connection breaks; whether the request took effect is then unknown.
    pub async fn call(&mut self, request: &Request) -> io::Result<Reply> {
        self.next += 1;
        let mut bytes = Vec::new();
        frame::encode(&(self.next, request), &mut bytes);
        self.stream.write_all(&bytes).await?;
        self.stream.flush().await?;
        match frame::read::<(u64, Reply)>(&mut self.stream).await? {
            Some((_, Reply::Failed(why))) => Err(io::Error::other(why)),
            Some((number, reply)) if number == self.next => Ok(reply),
            Some(_) => Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "an answer to another question",
            )),
            None => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }

    /// The stream, for a caller that keeps its own order.
    pub fn into_stream(self) -> BufReader<Stream> {
        self.stream
    }
}

/// Makes openraft's clients.
#[derive(Clone)]
pub struct Network {
    caller: Caller,
}

impl Network {
    /// Clients that call as `caller`.
    pub fn new(caller: Caller) -> Network {
        Network { caller }
    }
}

/// One of openraft's clients: to one peer, for one purpose, one call at a time.
pub struct Client {
    caller: Caller,
    to: NodeId,
    peer: Peer,
    connection: Option<Connection>,
}

impl RaftNetworkFactory<TypeConfig> for Network {
    type Network = Client;

    async fn new_client(&mut self, target: NodeId, node: &Peer) -> Client {
        Client {
            caller: self.caller.clone(),
            to: target,
            peer: node.clone(),
            connection: None,
        }
    }
}

impl Client {
    /// Calls within `limit`. The connection is put back only after a whole answer: a
    /// call that was given up leaves it in the middle of a frame.
    async fn call(&mut self, request: &Request, limit: Duration) -> io::Result<Reply> {
        let kept = self.connection.take();
        let call = async {
            let mut connection = match kept {
                Some(connection) => connection,
                None => self.caller.connect(&self.to, &self.peer).await?,
            };
            let reply = connection.call(request).await?;
            Ok::<_, io::Error>((connection, reply))
        };
        let (connection, reply) = clock::timeout(limit, call)
            .await
            .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
        self.connection = Some(connection);
        Ok(reply)
    }

    async fn ask<T>(
        &mut self,
        request: Request,
        limit: Duration,
        answer: impl FnOnce(Reply) -> Option<T>,
    ) -> Result<T, RPCError<TypeConfig>> {
        match self.call(&request, limit).await {
            Ok(reply) => answer(reply).ok_or_else(|| unreachable(&unexpected())),
            Err(error) => Err(unreachable(&error)),
        }
    }

    async fn send_snapshot(
        &mut self,
        vote: Vote,
        snapshot: &Snapshot,
    ) -> io::Result<SnapshotResponse<TypeConfig>> {
        let mut file = SnapshotChunks::open(&snapshot.snapshot).await?;
        let begin = Request::SnapshotBegin {
            vote,
            meta: snapshot.meta.clone(),
        };
        self.call(&begin, SNAPSHOT_PART).await?;
        while let Some(chunk) = file.next().await? {
            self.call(&Request::SnapshotBytes(chunk), SNAPSHOT_PART).await?;
        }
        match self.call(&Request::SnapshotEnd, SNAPSHOT_INSTALL).await? {
            Reply::Snapshot(response) => Ok(response),
            _ => Err(unexpected()),
        }
    }
}

fn unreachable(error: &io::Error) -> RPCError<TypeConfig> {
    RPCError::Unreachable(Unreachable::new(error))
}

fn unexpected() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "an answer of another kind")
}

impl RaftNetworkV2<TypeConfig> for Client {
    type SnapshotData = SnapshotFile;

    async fn append_entries(
        &mut self,
        request: AppendEntriesRequest<TypeConfig>,
        _option: RPCOption,
    ) -> Result<AppendEntriesResponse<TypeConfig>, RPCError<TypeConfig>> {
        self.ask(Request::Append(request), APPEND, |reply| match reply {
            Reply::Append(response) => Some(response),
            _ => None,
        })
        .await
    }

    async fn vote(
        &mut self,
        request: VoteRequest<TypeConfig>,
        _option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RPCError<TypeConfig>> {
        self.ask(Request::Vote(request), VOTE, vote_response).await
    }

    // openraft's default grants every pre-vote unasked, which makes it no protection.
    async fn pre_vote(
        &mut self,
        request: VoteRequest<TypeConfig>,
        _option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RPCError<TypeConfig>> {
        self.ask(Request::PreVote(request), VOTE, vote_response).await
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: Snapshot,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<TypeConfig>, StreamingError<TypeConfig>> {
        tokio::select! {
            closed = cancel => Err(StreamingError::Closed(closed)),
            sent = self.send_snapshot(vote, &snapshot) => {
                sent.map_err(|error| StreamingError::Unreachable(Unreachable::new(&error)))
            }
        }
    }

    async fn transfer_leader(
        &mut self,
        request: TransferLeaderRequest<TypeConfig>,
        _option: RPCOption,
    ) -> Result<TransferLeaderResponse<TypeConfig>, RPCError<TypeConfig>> {
        match self.call(&Request::TransferLeader(request), VOTE).await {
            Ok(Reply::TransferLeader(response)) => Ok(response),
            Ok(_) => Err(RPCError::Network(NetworkError::new(&unexpected()))),
            Err(error) => Err(unreachable(&error)),
        }
    }
}

fn vote_response(reply: Reply) -> Option<VoteResponse<TypeConfig>> {
    match reply {
        Reply::Vote(response) => Some(response),
        _ => None,
    }
}

/// Reads a snapshot's file piece by piece, off the worker thread.
struct SnapshotChunks {
    file: Arc<fs::File>,
}

impl SnapshotChunks {
    async fn open(snapshot: &SnapshotFile) -> io::Result<SnapshotChunks> {
        let path = snapshot.path.clone();
        let file = off_worker(move || fs::open(&path)).await?;
        Ok(SnapshotChunks { file: Arc::new(file) })
    }

    async fn next(&mut self) -> io::Result<Option<Vec<u8>>> {
        let file = self.file.clone();
        let chunk = off_worker(move || {
            let mut chunk = Vec::with_capacity(SNAPSHOT_CHUNK);
            io::Read::read_to_end(&mut io::Read::take(&*file, SNAPSHOT_CHUNK as u64), &mut chunk)?;
            Ok(chunk)
        })
        .await?;
        Ok(if chunk.is_empty() { None } else { Some(chunk) })
    }
}

/// Runs blocking work on a thread that may block.
///
/// # Errors
/// What the work says, or that it panicked.
pub async fn off_worker<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(io::Error::other)?
}

//! openraft's side of the wire: calls one at a time, each kind on its own connection.

use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use openraft::OptionalSend;
use openraft::base::{BoxFuture, BoxStream};
use openraft::errors::{NetworkError, RPCError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::v2::RaftNetworkV2;
use openraft::network::{RPCOption, RaftNetworkFactory, stream_append_sequential};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, StreamAppendResult, VoteRequest,
    VoteResponse,
};
use openraft::raft::{TransferLeaderRequest, TransferLeaderResponse};
use parking_lot::Mutex;
use tokio::io::{AsyncWriteExt, BufReader};

use super::company::in_company;
use super::frame;
use super::line::{Late, Line};
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
/// sent into it is only repeated a second later, while a fresh one goes through. The
/// system alone answers it, however busy the process behind it is.
const CONNECT: Duration = Duration::from_millis(100);
/// How long that process may take to welcome it.
const WELCOME: Duration = Duration::from_millis(400);
/// How long a heartbeat may take, although openraft counts only those that took less than
/// an interval: beyond it the connection is taken for dead.
const HEARTBEAT: Duration = Duration::from_millis(250);
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
        let timed_out = |_| io::Error::from(io::ErrorKind::TimedOut);
        let stream = clock::timeout(CONNECT, net::connect(address))
            .await
            .map_err(timed_out)??;
        let open = async {
            let stream = self.secured(address, stream).await?;
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
        clock::timeout(WELCOME, open).await.map_err(timed_out)?
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
    ballots: Ballots,
}

/// The lines on which votes are asked for. openraft makes a client for each ballot and
/// peer; a line outlives them.
type Ballots = Arc<Mutex<HashMap<NodeId, (Peer, Arc<tokio::sync::Mutex<Line>>)>>>;

impl Network {
    /// Clients that call as `caller`.
    pub fn new(caller: Caller) -> Network {
        Network {
            caller,
            ballots: Ballots::default(),
        }
    }
}

/// One of openraft's clients: to one peer, for one purpose, one call at a time.
pub struct Client {
    line: Line,
    ballots: Arc<tokio::sync::Mutex<Line>>,
}

impl RaftNetworkFactory<TypeConfig> for Network {
    type Network = Client;

    async fn new_client(&mut self, target: NodeId, node: &Peer) -> Client {
        let line = || Line::new(self.caller.clone(), target.clone(), node.clone());
        let mut ballots = self.ballots.lock();
        // A peer that moved has a line of its own; the old one goes with its last client.
        let of_peer = ballots
            .get(&target)
            .filter(|(peer, _)| peer == node)
            .map(|(_, line)| line.clone());
        let of_peer = of_peer.unwrap_or_else(|| {
            let made = Arc::new(tokio::sync::Mutex::new(line()));
            ballots.insert(target.clone(), (node.clone(), made.clone()));
            made
        });
        Client {
            line: line(),
            ballots: of_peer,
        }
    }
}

impl Client {
    async fn ask<T>(
        &mut self,
        request: Request,
        limit: Duration,
        answer: impl FnOnce(Reply) -> Option<T>,
    ) -> Result<T, RPCError<TypeConfig>> {
        // What openraft may give up must go on without it.
        let reply = match request {
            Request::Append(append) if append.entries.is_empty() => {
                self.line
                    .ask(Request::Append(append), HEARTBEAT, Late::Useless)
                    .await
            }
            ballot @ Request::PreVote(_) => self.ballots.lock().await.ask(ballot, limit, Late::Serves).await,
            ballot @ Request::Vote(_) => self.ballots.lock().await.ask(ballot, limit, Late::Useless).await,
            request => self.line.call(&request, limit).await,
        };
        match reply {
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
        self.line.call(&begin, SNAPSHOT_PART).await?;
        while let Some(chunk) = file.next().await? {
            self.line
                .call(&Request::SnapshotBytes(chunk), SNAPSHOT_PART)
                .await?;
        }
        match self.line.call(&Request::SnapshotEnd, SNAPSHOT_INSTALL).await? {
            Reply::Snapshot(response) => Ok(response),
            _ => Err(unexpected()),
        }
    }
}

/// What a follower answers to a stream of entries, in order.
type Answers<'s> = BoxStream<'s, Result<StreamAppendResult<TypeConfig>, RPCError<TypeConfig>>>;

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

    fn stream_append<'s, S>(
        &'s mut self,
        input: S,
        option: RPCOption,
    ) -> BoxFuture<'s, Result<Answers<'s>, RPCError<TypeConfig>>>
    where
        S: futures_util::Stream<Item = AppendEntriesRequest<TypeConfig>> + OptionalSend + Unpin + 'static,
    {
        stream_append_sequential(self, in_company(input), option)
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
        match self.line.call(&Request::TransferLeader(request), VOTE).await {
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

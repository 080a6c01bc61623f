//! The nodes: what they know of each other, and changing who belongs.

use std::io::{self, BufWriter, Write};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Method, Response, StatusCode};
use openraft::ServerState;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::body::Body;
use super::reply::{Failure, Fate, Reply, at, json_reply};
use super::request::Fields;
use super::routes::Ask;
use crate::cluster::NodeId;
use crate::env::clock;
use crate::membership::{self, Admin, AdminError};
use crate::node::Node;
use crate::raft::{LogId, snapshot};
use crate::service::Service;

/// How long an operator's request may take: a new node copies all data first.
const LIMIT: Duration = Duration::from_secs(60);
/// How often a snapshot's end is looked for.
const LOOK: Duration = Duration::from_millis(10);
/// Bytes of a state sent at once, and how many such pieces wait for a slow client.
const PIECE_BYTES: usize = 256 << 10;
const PIECES: usize = 4;

/// `/status`
pub fn status(node: &Arc<Node>) -> Reply {
    let metrics = node.metrics();
    let (applied, digest, keys) = node
        .machine()
        .look(|state| (state.applied(), state.digest(), state.len()));
    let role = match metrics.state {
        ServerState::Leader => "leader",
        ServerState::Follower => "follower",
        ServerState::Candidate => "candidate",
        ServerState::Learner => "learner",
        ServerState::Shutdown => "stopped",
    };
    let index = |id: &Option<LogId>| id.as_ref().map_or(0, |id| id.index);
    json_reply(
        StatusCode::OK,
        &json!({
            "node": node.id().as_str(),
            "cluster": node.config().cluster_id,
            "leader": metrics.current_leader.as_ref().map(NodeId::as_str),
            "role": role,
            "term": metrics.current_term,
            "last": metrics.last_log_index.unwrap_or(0),
            "commit": index(&metrics.local_committed),
            "applied": applied,
            "snapshot": index(&metrics.snapshot),
            "state_hash": format!("{digest:032x}"),
            "keys": keys,
            "nodes": nodes(node),
            "version": crate::VERSION,
            "backup": node.config().backup.as_ref().map(|schedule| node.backups().status(schedule)),
            "bugs": node.config().bugs,
        }),
    )
}

fn nodes(node: &Arc<Node>) -> Vec<Value> {
    let metrics = node.metrics();
    let voters = membership::voters(node);
    let silence = membership::silence(node);
    let members = metrics.membership_config.membership();
    members
        .nodes()
        .map(|(id, peer)| {
            let mut member = json!({
                "id": id.as_str(), "http": peer.http, "raft": peer.raft,
                "role": if voters.contains(id) { "voter" } else { "learner" },
            });
            // Only the leader knows how far the others are.
            if let Some(matched) = metrics.replication.as_ref().and_then(|all| all.get(id)) {
                member["matched"] = json!(matched.as_ref().map_or(0, |id| id.index));
                let silent = silence
                    .get(id)
                    .copied()
                    .flatten()
                    .map(|silent| silent.as_millis() as u64);
                member["silent_ms"] = json!(silent);
            }
            member
        })
        .collect()
}

/// `/cluster/members`
///
/// # Errors
/// Whatever is to be told the client.
pub async fn members<S: Service>(ask: &Ask<'_, S>) -> Result<Reply, Failure> {
    ask.only(&[Method::GET, Method::POST], "GET, POST")?;
    let node = ask.service.node();
    if ask.parts.method != Method::POST {
        let leader = node.leader();
        let body = json!({ "leader": leader.as_ref().map(NodeId::as_str), "members": nodes(node) });
        return Ok(json_reply(StatusCode::OK, &body));
    }
    let mut fields = ask.fields(&["id", "http", "raft", "voter"])?;
    let id = named(&mut fields, "id")?.ok_or_else(|| Failure::bad_request("the field 'id' is missing"))?;
    let (http, raft) = (address(&mut fields, "http")?, address(&mut fields, "raft")?);
    let voter = fields.flag("voter", true)?;
    carried_out(
        ask,
        Admin::Add {
            id,
            http,
            raft,
            voter,
        },
    )
    .await
}

/// `/cluster/members/:id`
///
/// # Errors
/// Whatever is to be told the client.
pub async fn remove<S: Service>(ask: &Ask<'_, S>, id: &str) -> Result<Reply, Failure> {
    ask.only(&[Method::DELETE], "DELETE")?;
    let mut fields = ask.fields(&["force"])?;
    let id = id
        .parse::<NodeId>()
        .map_err(|error| Failure::bad_request(error.to_string()))?;
    carried_out(
        ask,
        Admin::Remove {
            id,
            force: fields.flag("force", false)?,
        },
    )
    .await
}

/// `/cluster/transfer`
///
/// # Errors
/// Whatever is to be told the client.
pub async fn transfer<S: Service>(ask: &Ask<'_, S>) -> Result<Reply, Failure> {
    ask.only(&[Method::POST], "POST")?;
    let mut fields = ask.fields(&["to"])?;
    carried_out(
        ask,
        Admin::Transfer {
            to: named(&mut fields, "to")?,
        },
    )
    .await
}

/// `/cluster/snapshot`: of this node.
///
/// # Errors
/// Whatever is to be told the client.
pub async fn snapshot<S: Service>(ask: &Ask<'_, S>) -> Result<Reply, Failure> {
    ask.only(&[Method::POST], "POST")?;
    let node = ask.service.node();
    let wanted = node.machine().look(crate::state::State::applied);
    let failed = |message: String| Failure::new(StatusCode::SERVICE_UNAVAILABLE, "no_snapshot", message);
    node.raft()
        .trigger()
        .snapshot()
        .await
        .map_err(|error| failed(error.to_string()))?;
    let deadline = clock::now() + LIMIT;
    loop {
        let index = node.metrics().snapshot.map_or(0, |id| id.index);
        if index >= wanted {
            return Ok(json_reply(StatusCode::OK, &json!({ "ok": true, "index": index })));
        }
        if clock::now() > deadline {
            return Err(failed(format!("no snapshot of index {wanted} within {LIMIT:?}")));
        }
        clock::sleep(LOOK).await;
    }
}

/// `/cluster/backup`: this node's state, no older than the request, as a snapshot's
/// bytes. A stream that ends without the last block was broken off.
///
/// # Errors
/// Whatever is to be told the client.
pub async fn backup<S: Service>(ask: &Ask<'_, S>) -> Result<Reply, Failure> {
    ask.only(&[Method::GET], "GET")?;
    let mut fields = ask.fields(&["deadline_ms"])?;
    let (_, deadline) = ask.deadline(&mut fields)?;
    let node = ask.service.node().clone();
    let busy = || {
        let message = "other backups are being sent from here: try again, or ask another node";
        Failure::new(StatusCode::SERVICE_UNAVAILABLE, "busy", message)
    };
    let room = node
        .backups()
        .room()
        .clone()
        .try_acquire_owned()
        .map_err(|_| busy())?;
    ask.service.barrier(deadline).await?;
    let (meta, state) = node.machine().frozen();
    let term = meta.last_log_id.map_or(0, |last| last.leader_id.term);
    let index = state.applied();
    let (pieces, body) = mpsc::channel(PIECES);
    tokio::task::spawn_blocking(move || {
        let _room = room;
        let mut out = BufWriter::with_capacity(PIECE_BYTES, Sender(pieces));
        // A client that went away has no use for the rest.
        let _ = snapshot::write_to(&mut out, &meta, &state).and_then(|()| out.flush());
    });
    let mut reply = at(Response::new(Body::Pieces(body)), term, index);
    let headers = reply.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    if let Ok(cluster) = HeaderValue::from_str(&node.config().cluster_id) {
        headers.insert("x-ordeal-cluster", cluster);
    }
    Ok(reply)
}

/// Sends what is written into it as pieces of an answer.
struct Sender(mpsc::Sender<Bytes>);

impl Write for Sender {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let sent = self.0.blocking_send(Bytes::copy_from_slice(bytes));
        sent.map(|()| bytes.len())
            .map_err(|_| io::ErrorKind::BrokenPipe.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

async fn carried_out<S: Service>(ask: &Ask<'_, S>, admin: Admin) -> Result<Reply, Failure> {
    let asked = clock::timeout(LIMIT, membership::request(ask.service.node(), admin)).await;
    let answer = asked.map_err(|_| Failure::deadline(LIMIT, Fate::Unknown))?;
    let failure = match answer {
        Ok(()) => return Ok(json_reply(StatusCode::OK, &json!({ "ok": true }))),
        Err(AdminError::NotLeader(_)) => Failure::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "no_leader",
            "no leader took the request",
        ),
        Err(AdminError::Refused(why)) => Failure::new(StatusCode::CONFLICT, "refused", why),
        Err(AdminError::Unknown(why)) => Failure {
            fate: Fate::Unknown,
            ..Failure::new(StatusCode::SERVICE_UNAVAILABLE, "unknown", why)
        },
    };
    Err(failure)
}

fn named(fields: &mut Fields, field: &str) -> Result<Option<NodeId>, Failure> {
    let name = fields.text(field)?;
    name.map(|name| name.parse())
        .transpose()
        .map_err(|error: crate::cluster::ClusterError| Failure::bad_request(error.to_string()))
}

fn address(fields: &mut Fields, field: &str) -> Result<String, Failure> {
    let wrong = || Failure::bad_request(format!("the field '{field}' must be HOST:PORT"));
    let address = fields.text(field)?.ok_or_else(wrong)?;
    let (host, port) = address.rsplit_once(':').ok_or_else(wrong)?;
    match port.parse::<u16>() {
        Ok(1..) if !host.is_empty() => Ok(address),
        _ => Err(wrong()),
    }
}

//! What each path does.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hyper::http::request::Parts;
use hyper::{Method, StatusCode};
use openraft::ServerState;
use serde_json::{Value, json};

use super::reply::{Failure, Fate, Reply, json_reply, typed};
use super::request::Fields;
use crate::command::{Applied, Command, Expected, Operation, Outcome, Versioned};
use crate::env::clock::{self, Instant};
use crate::metrics;
use crate::node::Node;
use crate::service::{ReadError, Service};

/// Longest deadline that a client may ask for, ms.
const MAX_DEADLINE_MS: u64 = 60_000;

/// Answers one request.
pub async fn answer<S: Service>(service: &Arc<S>, parts: &Parts, body: &Bytes) -> Reply {
    let route = Route { service, parts, body };
    let path = parts.uri.path();
    let result = match path {
        "/set" => route.write(SET_FIELDS, set).await,
        "/cas" => route.write(CAS_FIELDS, cas).await,
        "/get" => route.get().await,
        "/status" => route.only_get().map(|()| status(service.node())),
        "/metrics" => route.only_get().map(|()| {
            typed(
                StatusCode::OK,
                "text/plain; version=0.0.4",
                metrics::text(service.node()),
            )
        }),
        "/health" => route
            .only_get()
            .map(|()| json_reply(StatusCode::OK, &json!({ "ok": true }))),
        "/ready" => route.ready().await,
        _ => Err(Failure::new(
            StatusCode::NOT_FOUND,
            "no_route",
            format!("there is nothing at {path}"),
        )),
    };
    result.unwrap_or_else(Reply::from)
}

const SET_FIELDS: &[&str] = &["key", "value", "deadline_ms", "forward"];
const CAS_FIELDS: &[&str] = &[
    "key",
    "value",
    "expected",
    "expected_version",
    "deadline_ms",
    "forward",
];
const GET_FIELDS: &[&str] = &["key", "raw", "min_index", "deadline_ms", "forward"];

struct Route<'a, S> {
    service: &'a Arc<S>,
    parts: &'a Parts,
    body: &'a Bytes,
}

impl<S: Service> Route<'_, S> {
    fn only_get(&self) -> Result<(), Failure> {
        match self.parts.method {
            Method::GET | Method::HEAD => Ok(()),
            _ => Err(Failure::method("GET")),
        }
    }

    fn fields(&self, names: &[&str]) -> Result<Fields, Failure> {
        let body = match self.parts.method {
            Method::POST => &self.body[..],
            _ => &[],
        };
        Fields::parse(self.parts.uri.query(), body, names)
    }

    fn deadline(&self, fields: &mut Fields) -> Result<(Duration, Instant), Failure> {
        let limit = match fields.number("deadline_ms")? {
            None => self.service.node().config().deadline,
            Some(0) => return Err(Failure::bad_request("a deadline of 0 ms answers nothing")),
            Some(ms) => Duration::from_millis(ms.min(MAX_DEADLINE_MS)),
        };
        Ok((limit, clock::now() + limit))
    }

    /// 307 to the leader when the client wants to go there itself.
    fn redirect(&self, fields: &mut Fields) -> Result<(), Failure> {
        let node = self.service.node();
        if fields.flag("forward", true)? || node.is_leader() {
            return Ok(());
        }
        let leader = node
            .leader()
            .and_then(|leader| node.peer(&leader).map(|peer| (leader, peer)));
        let Some((leader, peer)) = leader else {
            return Err(Failure::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "no_leader",
                "no leader is known",
            ));
        };
        let target = self.parts.uri.path_and_query().map_or("/", |path| path.as_str());
        let mut failure = Failure::new(
            StatusCode::TEMPORARY_REDIRECT,
            "not_leader",
            format!("{leader} leads: ask it"),
        );
        failure.location = Some(format!("http://{}{target}", peer.http));
        Err(failure)
    }

    async fn write(
        &self,
        names: &[&str],
        operation: fn(&mut Fields) -> Result<Operation, Failure>,
    ) -> Result<Reply, Failure> {
        if !matches!(self.parts.method, Method::GET | Method::POST) {
            return Err(Failure::method("GET, POST"));
        }
        let mut fields = self.fields(names)?;
        let operation = operation(&mut fields)?;
        let (_, deadline) = self.deadline(&mut fields)?;
        self.redirect(&mut fields)?;
        let applied = self.service.write(Command { operation }, deadline).await?;
        written(&applied)
    }

    async fn get(&self) -> Result<Reply, Failure> {
        if !matches!(self.parts.method, Method::GET | Method::POST) {
            return Err(Failure::method("GET, POST"));
        }
        let mut fields = self.fields(GET_FIELDS)?;
        let key = fields.key()?;
        let raw = fields.flag("raw", false)?;
        let min_index = fields.number("min_index")?;
        let (limit, deadline) = self.deadline(&mut fields)?;
        self.redirect(&mut fields)?;
        if let Some(index) = min_index {
            let applied = self.service.node().machine().wait_applied(index);
            clock::until(deadline, applied)
                .await
                .map_err(|_| Failure::deadline(limit, Fate::NotApplied))?;
        }
        let read = self.service.read(&key, deadline).await?;
        let entry = read.entry.ok_or_else(|| Failure::no_key(&key))?;
        if raw {
            return Ok(typed(
                StatusCode::OK,
                "text/plain; charset=utf-8",
                entry.value.as_bytes().to_vec(),
            ));
        }
        let body = json!({ "key": &*key, "value": &*entry.value, "version": entry.version });
        Ok(json_reply(StatusCode::OK, &body))
    }

    /// Ready: a leader is known and confirmed, and this node has applied all that was
    /// acknowledged.
    async fn ready(&self) -> Result<Reply, Failure> {
        self.only_get()?;
        let deadline = clock::now() + Duration::from_millis(500);
        match self.service.barrier(deadline).await {
            Ok(()) => Ok(json_reply(StatusCode::OK, &json!({ "ready": true }))),
            Err(error @ (ReadError::NoLeader | ReadError::Timeout)) => Err(Failure::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "not_ready",
                error.to_string(),
            )),
        }
    }
}

fn set(fields: &mut Fields) -> Result<Operation, Failure> {
    Ok(Operation::Set {
        key: fields.key()?,
        value: fields.value()?,
    })
}

fn cas(fields: &mut Fields) -> Result<Operation, Failure> {
    let both = fields.has("expected") && fields.has("expected_version");
    let expected = if both {
        return Err(Failure::bad_request(
            "give 'expected' or 'expected_version', not both",
        ));
    } else if fields.is_null("expected") {
        Expected::Absent
    } else if let Some(value) = fields.text("expected")? {
        Expected::Value(value.into())
    } else {
        match fields.number("expected_version")? {
            // No write has index 0, so nothing has version 0.
            Some(0) => Expected::Absent,
            Some(version) => Expected::Version(version),
            None => {
                return Err(Failure::bad_request(
                    "the field 'expected' (or 'expected_version') is missing",
                ));
            }
        }
    };
    Ok(Operation::Cas {
        key: fields.key()?,
        expected,
        value: fields.value()?,
    })
}

fn written(applied: &Applied) -> Result<Reply, Failure> {
    match &applied.outcome {
        Outcome::Written => {
            let body = json!({ "ok": true, "version": applied.index, "index": applied.index });
            Ok(json_reply(StatusCode::OK, &body))
        }
        Outcome::Mismatch { current } => Err(Failure::new(
            StatusCode::CONFLICT,
            "mismatch",
            "the key is not as expected; nothing was written",
        )
        .with(
            "current",
            current
                .as_ref()
                .map_or(Value::Null, |current| json!(&*current.value)),
        )
        .with(
            "version",
            current
                .as_ref()
                .map_or(Value::Null, |Versioned { version, .. }| json!(version)),
        )
        .with("index", json!(applied.index))),
        Outcome::Nothing => unreachable!("a command always has an outcome"),
    }
}

fn status(node: &Arc<Node>) -> Reply {
    let metrics = node.metrics();
    let (applied, digest, keys) = node
        .machine()
        .look(|state| (state.applied(), state.digest(), state.len()));
    let membership = metrics.membership_config.membership();
    let voters: Vec<_> = membership.voter_ids().collect();
    let nodes: Vec<Value> = membership
        .nodes()
        .map(|(id, peer)| {
            json!({
                "id": id.as_str(), "http": peer.http, "raft": peer.raft,
                "role": if voters.contains(id) { "voter" } else { "learner" },
            })
        })
        .collect();
    let role = match metrics.state {
        ServerState::Leader => "leader",
        ServerState::Follower => "follower",
        ServerState::Candidate => "candidate",
        ServerState::Learner => "learner",
        ServerState::Shutdown => "stopped",
    };
    let index = |id: &Option<crate::raft::LogId>| id.as_ref().map_or(0, |id| id.index);
    json_reply(
        StatusCode::OK,
        &json!({
            "node": node.id().as_str(),
            "cluster": node.config().cluster_id,
            "leader": metrics.current_leader.as_ref().map(crate::cluster::NodeId::as_str),
            "role": role,
            "term": metrics.current_term,
            "last": metrics.last_log_index.unwrap_or(0),
            "commit": index(&metrics.local_committed),
            "applied": applied,
            "snapshot": index(&metrics.snapshot),
            "state_hash": format!("{digest:032x}"),
            "keys": keys,
            "nodes": nodes,
            "version": crate::VERSION,
            "bugs": node.config().bugs,
        }),
    )
}

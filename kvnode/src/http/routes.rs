//! What is at each path.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hyper::http::request::Parts;
use hyper::{Method, StatusCode};
use serde_json::json;

use super::reply::{Failure, Reply, json_reply, typed};
use super::request::Fields;
use super::{cluster, kv, watch};
use crate::command::RequestId;
use crate::env::clock::{self, Instant};
use crate::metrics;
use crate::service::Service;

/// Longest deadline that a client may ask for, ms.
const MAX_DEADLINE_MS: u64 = 60_000;
/// How long `/ready` looks for a quorum.
const READY: Duration = Duration::from_millis(500);
/// Longest client name in an `Idempotency-Key`, bytes.
const MAX_CLIENT_BYTES: usize = 128;

/// The API, for tools.
const OPENAPI: &str = include_str!("openapi.json");

/// Answers one request.
pub async fn answer<S: Service>(service: &Arc<S>, parts: &Parts, body: &Bytes) -> Reply {
    let ask = Ask { service, parts, body };
    dispatch(&ask).await.unwrap_or_else(Reply::from)
}

async fn dispatch<S: Service>(ask: &Ask<'_, S>) -> Result<Reply, Failure> {
    let path = ask.parts.uri.path();
    match path {
        "/set" => kv::write(ask, kv::SET).await,
        "/cas" => kv::write(ask, kv::CAS).await,
        "/append" => kv::write(ask, kv::APPEND).await,
        "/delete" => kv::write(ask, kv::DELETE).await,
        "/txn" => {
            ask.only(&[Method::POST], "POST")?;
            kv::write(ask, kv::TXN).await
        }
        "/get" => kv::get(ask).await,
        "/scan" => kv::scan(ask).await,
        "/watch" => watch::watch(ask).await,
        "/status" => {
            ask.only(&[Method::GET], "GET")?;
            Ok(cluster::status(ask.service.node()))
        }
        "/metrics" => {
            ask.only(&[Method::GET], "GET")?;
            Ok(typed(
                StatusCode::OK,
                "text/plain; version=0.0.4",
                metrics::text(ask.service.node()),
            ))
        }
        "/health" => {
            ask.only(&[Method::GET], "GET")?;
            Ok(json_reply(StatusCode::OK, &json!({ "ok": true })))
        }
        "/openapi.json" => {
            ask.only(&[Method::GET], "GET")?;
            Ok(typed(StatusCode::OK, "application/json", OPENAPI))
        }
        "/ready" => ready(ask).await,
        "/cluster/members" => cluster::members(ask).await,
        "/cluster/transfer" => cluster::transfer(ask).await,
        "/cluster/backup" => cluster::backup(ask).await,
        "/cluster/snapshot" => cluster::snapshot(ask).await,
        _ => {
            if let Some(key) = path.strip_prefix("/kvraft/") {
                kv::kvraft(ask, key).await
            } else if let Some(id) = path.strip_prefix("/cluster/members/") {
                cluster::remove(ask, id).await
            } else {
                Err(Failure::new(
                    StatusCode::NOT_FOUND,
                    "no_route",
                    format!("there is nothing at {path}"),
                ))
            }
        }
    }
}

/// Ready: a leader is known and confirmed, and this node has applied all that was
/// acknowledged.
async fn ready<S: Service>(ask: &Ask<'_, S>) -> Result<Reply, Failure> {
    ask.only(&[Method::GET], "GET")?;
    match ask.service.barrier(clock::now() + READY).await {
        Ok(()) => Ok(json_reply(StatusCode::OK, &json!({ "ready": true }))),
        Err(error) => Err(Failure::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "not_ready",
            error.to_string(),
        )),
    }
}

/// A request, whole.
pub struct Ask<'a, S> {
    /// Who serves it.
    pub service: &'a Arc<S>,
    /// Its head.
    pub parts: &'a Parts,
    /// Its body.
    pub body: &'a Bytes,
}

impl<S: Service> Ask<'_, S> {
    /// Refuses methods other than these (HEAD counts as GET).
    ///
    /// # Errors
    /// 405 with what is allowed.
    pub fn only(&self, methods: &[Method], allow: &'static str) -> Result<(), Failure> {
        let method = if self.parts.method == Method::HEAD {
            &Method::GET
        } else {
            &self.parts.method
        };
        if methods.contains(method) {
            Ok(())
        } else {
            Err(Failure::method(allow))
        }
    }

    /// The named fields. Only a POST has a body.
    ///
    /// # Errors
    /// 400, saying which part does not read.
    pub fn fields(&self, names: &[&str]) -> Result<Fields, Failure> {
        let body = if self.parts.method == Method::POST {
            &self.body[..]
        } else {
            &[]
        };
        Fields::parse(self.parts.uri.query(), body, names)
    }

    /// How long the request may take, and until when.
    ///
    /// # Errors
    /// 400 for a deadline that is none.
    pub fn deadline(&self, fields: &mut Fields) -> Result<(Duration, Instant), Failure> {
        let limit = match fields.number("deadline_ms")? {
            None => self.service.node().config().deadline,
            Some(0) => return Err(Failure::bad_request("a deadline of 0 ms answers nothing")),
            Some(ms) => Duration::from_millis(ms.min(MAX_DEADLINE_MS)),
        };
        Ok((limit, clock::now() + limit))
    }

    /// 307 to the leader when the client wants to go there itself.
    ///
    /// # Errors
    /// That answer, or that no leader is known.
    pub fn redirect(&self, fields: &mut Fields) -> Result<(), Failure> {
        let node = self.service.node();
        if fields.flag("forward", true)? || node.is_leader() {
            return Ok(());
        }
        let leader = node
            .leader()
            .and_then(|leader| node.http_of(&leader).map(|http| (leader, http)));
        let Some((leader, http)) = leader else {
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
        let scheme = if node.keyring().http().is_some() {
            "https"
        } else {
            "http"
        };
        failure.location = Some(format!("{scheme}://{http}{target}"));
        Err(failure)
    }

    /// The request's name, if the client gave it one: `Idempotency-Key: client:number`.
    ///
    /// # Errors
    /// 400 when it does not read.
    pub fn request_id(&self) -> Result<Option<RequestId>, Failure> {
        let Some(header) = self.parts.headers.get("idempotency-key") else {
            return Ok(None);
        };
        let wrong = || {
            Failure::bad_request(format!(
                "Idempotency-Key must be CLIENT:NUMBER, a name of 1 to {MAX_CLIENT_BYTES} bytes and a whole number"
            ))
        };
        let (client, number) = header
            .to_str()
            .ok()
            .and_then(|text| text.rsplit_once(':'))
            .ok_or_else(wrong)?;
        if client.is_empty() || client.len() > MAX_CLIENT_BYTES {
            return Err(wrong());
        }
        Ok(Some(RequestId {
            client: client.into(),
            number: number.parse().map_err(|_| wrong())?,
        }))
    }
}

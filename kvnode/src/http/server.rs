//! Connections from clients: accepted, kept within bounds, and ended in order.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::Request;
use hyper::body::Incoming;
use hyper::header::{HeaderName, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::AsyncWriteExt;
use tokio::sync::Semaphore;
use tracing::{debug, warn};

use super::pace::{Paced, Patience, Stage};
use super::reply::{Failure, Fate, Reply};
use super::request::MAX_BODY_BYTES;
use super::{role, routes};
use crate::env::{clock, net};
use crate::node::Node;
use crate::secure::stream::Stream;
use crate::service::Service;
use crate::tag;

/// Longest head of a request, bytes: the longest address that hyper takes (64 KiB),
/// and as much again for headers.
const MAX_HEAD_BYTES: usize = 128 << 10;
/// Most headers in it.
const MAX_HEADERS: usize = 64;
/// How long a connection beyond the limit may take to take its refusal.
const REFUSAL: Duration = Duration::from_millis(200);
/// Refusals under way at once; beyond that, connections are closed without a word.
const MAX_REFUSALS: usize = 64;

/// What a connection too many is told, without a look at what it asks.
const TOO_MANY: &str = "HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\nconnection: close\r\n\
content-length: 108\r\n\r\n{\"error\":\"too_many_connections\",\"message\":\"this node has no room for a connection\",\"outcome\":\"not_applied\"}\n";

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Accepts connections until the node ends.
pub async fn serve<S: Service>(service: Arc<S>, listener: net::TcpListener) {
    let node = service.node().clone();
    let room = Arc::new(Semaphore::new(node.config().max_connections));
    let refusals = Arc::new(Semaphore::new(MAX_REFUSALS));
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = node.work().ending() => return,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                warn!(%error, "cannot accept a connection");
                clock::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let _ = stream.set_nodelay(true);
        match room.clone().try_acquire_owned() {
            Ok(place) => {
                let service = service.clone();
                tokio::spawn(async move {
                    connection(service, stream).await;
                    drop(place);
                });
            }
            Err(_) => {
                node.requests().count_refused();
                if let Ok(place) = refusals.clone().try_acquire_owned() {
                    let in_plain = node.keyring().http().is_none();
                    tokio::spawn(async move {
                        if in_plain {
                            refuse(stream).await;
                        }
                        drop(place);
                    });
                }
            }
        }
    }
}

async fn refuse(mut stream: net::TcpStream) {
    let refusal = async {
        let _ = stream.write_all(TOO_MANY.as_bytes()).await;
        let _ = stream.shutdown().await;
        // Closing with the request unread would take the refusal back.
        let _ = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
    };
    let _ = clock::timeout(REFUSAL, refusal).await;
}

async fn connection<S: Service>(service: Arc<S>, stream: net::TcpStream) {
    let node = service.node().clone();
    let patience = Patience {
        idle: node.config().idle,
        busy: node.config().patience,
    };
    let stream = match node.keyring().http() {
        None => Stream::Plain(stream),
        // Boxed, since the connection's task would keep room for it for ever.
        Some(tls) => match Box::pin(clock::timeout(patience.busy, tls.accept(stream))).await {
            Ok(Ok(stream)) => Stream::Accepted(Box::new(stream)),
            Ok(Err(error)) => return debug!(%error, "a client's TLS handshake failed"),
            Err(_) => return debug!("a client's TLS handshake took too long"),
        },
    };
    let working = node.work().begin();
    let stage = Stage::default();
    let handler = service_fn({
        let stage = stage.clone();
        move |request| {
            let (service, stage) = (service.clone(), stage.clone());
            // hyper keeps room for this between requests too; boxed, it is small.
            Box::pin(async move {
                stage.serve();
                let reply = handle(&service, request).await;
                stage.rest();
                Ok::<Reply, Infallible>(reply)
            })
        }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(None)
        .max_buf_size(MAX_HEAD_BYTES)
        .max_headers(MAX_HEADERS)
        .pipeline_flush(true)
        .serve_connection(TokioIo::new(Paced::new(stream, stage, patience)), handler);
    tokio::pin!(served);
    let ended = tokio::select! {
        ended = &mut served => ended,
        () = node.work().ending() => {
            // What is being answered is answered; an idle connection closes at once.
            served.as_mut().graceful_shutdown();
            served.await
        }
    };
    drop(working);
    if let Err(error) = ended {
        debug!(%error, "a client's connection ended");
    }
}

async fn handle<S: Service>(service: &Arc<S>, request: Request<Incoming>) -> Reply {
    let begun = clock::now();
    let node = service.node();
    let (parts, body) = request.into_parts();
    let given = parts.headers.get(REQUEST_ID).map(HeaderValue::as_bytes);
    let tag = node.requests().tags().of(given);
    let answer = async {
        role::admit(node.keyring(), &parts.method, parts.uri.path(), &parts.headers)?;
        let limit = node.config().patience;
        let body = clock::timeout(limit, whole(body))
            .await
            .map_err(|_| Failure::deadline(limit, Fate::NotApplied))??;
        Ok::<Reply, Failure>(routes::answer(service, &parts, &body).await)
    };
    let mut reply = tag::tagged(tag.clone(), answer).await.unwrap_or_else(Reply::from);
    let (status, took) = (reply.status().as_u16(), begun.elapsed());
    node.requests().count(parts.uri.path(), status, took);
    let (method, path) = (&parts.method, parts.uri.path());
    if status >= 500 && node.requests().may_tell() {
        warn!(request_id = %tag, %method, path, status, ?took, "a request was not served");
    } else {
        debug!(request_id = %tag, %method, path, status, ?took, "answered");
    }
    adorn(node, &mut reply, &tag);
    reply
}

/// Adds what every answer bears.
fn adorn(node: &Node, reply: &mut Reply, tag: &str) {
    let headers = reply.headers_mut();
    if let Ok(tag) = HeaderValue::from_str(tag) {
        headers.insert(REQUEST_ID, tag);
    }
    if let Ok(me) = HeaderValue::from_str(node.id().as_str()) {
        headers.insert("x-ordeal-served-by", me);
    }
    if let Some(leader) = node
        .leader()
        .and_then(|leader| HeaderValue::from_str(leader.as_str()).ok())
    {
        headers.insert("x-ordeal-leader", leader);
    }
}

async fn whole(body: Incoming) -> Result<Bytes, Failure> {
    match Limited::new(body, MAX_BODY_BYTES).collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(Failure::too_large(format!(
            "the body has more than {MAX_BODY_BYTES} bytes"
        ))),
        Err(error) => Err(Failure::bad_request(format!(
            "the body did not arrive whole: {error}"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::TOO_MANY;

    #[test]
    fn the_refusal_is_as_long_as_it_says() {
        let (head, body) = TOO_MANY.split_once("\r\n\r\n").unwrap();
        assert!(
            head.ends_with(&format!("content-length: {}", body.len())),
            "{}",
            body.len()
        );
        let told: serde_json::Value = serde_json::from_str(body).unwrap();
        assert_eq!(told["outcome"], "not_applied");
    }
}

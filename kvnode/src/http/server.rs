//! Connections from clients.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::Request;
use hyper::body::Incoming;
use hyper::header::HeaderValue;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tracing::{debug, warn};

use super::reply::{Failure, Fate, Reply};
use super::request::MAX_BODY_BYTES;
use super::routes;
use crate::env::{clock, net};
use crate::service::Service;

/// How long a client may take to send its headers, from the connection's first byte
/// or the end of the last request's body... an idle connection may stay.
const HEADERS: Duration = Duration::from_secs(30);
/// How long it may take to send its body.
const BODY: Duration = Duration::from_secs(10);

/// Accepts connections until the listener fails.
pub async fn serve<S: Service>(service: Arc<S>, listener: net::TcpListener) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let _ = stream.set_nodelay(true);
                tokio::spawn(connection(service.clone(), stream));
            }
            Err(error) => {
                warn!(%error, "cannot accept a connection");
                clock::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

async fn connection<S: Service>(service: Arc<S>, stream: net::TcpStream) {
    let handler = service_fn(move |request| {
        let service = service.clone();
        async move { Ok::<Reply, Infallible>(handle(&service, request).await) }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADERS)
        .pipeline_flush(true)
        .serve_connection(TokioIo::new(stream), handler)
        .await;
    if let Err(error) = served {
        debug!(%error, "a client's connection ended");
    }
}

async fn handle<S: Service>(service: &Arc<S>, request: Request<Incoming>) -> Reply {
    let begun = clock::now();
    let (parts, body) = request.into_parts();
    let mut reply = match clock::timeout(BODY, whole(body)).await {
        Ok(Ok(body)) => routes::answer(service, &parts, &body).await,
        Ok(Err(failure)) => failure.into(),
        Err(_) => Failure::deadline(BODY, Fate::NotApplied).into(),
    };
    let node = service.node();
    node.requests()
        .count(parts.uri.path(), reply.status().as_u16(), begun.elapsed());
    let headers = reply.headers_mut();
    if let Ok(me) = HeaderValue::from_str(node.id().as_str()) {
        headers.insert("x-ordeal-served-by", me);
    }
    if let Some(leader) = node
        .leader()
        .and_then(|leader| HeaderValue::from_str(leader.as_str()).ok())
    {
        headers.insert("x-ordeal-leader", leader);
    }
    reply
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

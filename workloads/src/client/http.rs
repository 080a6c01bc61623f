//! Stores that speak HTTP.

use std::net::SocketAddr;
use std::time::Duration;

use reqwest::Url;
use serde_json::Value as Json;
use tokio::time::Instant;

use super::{Lost, Transport};
use crate::system::{Answer, Body, Call, Change, Encoding, Method, Stream};

/// An answer larger than this is not read to its end: the store is broken, or it is no such store.
const LARGEST_ANSWER: usize = 4 << 20;

/// Carries requests over HTTP.
#[derive(Debug, Clone)]
pub(super) struct Http {
    client: reqwest::Client,
    patience: Duration,
}

impl Http {
    pub(super) fn new(patience: Duration) -> reqwest::Result<Self> {
        // No timeout of reqwest's own: every operation has a deadline already, and a second timer for each costs more
        // than it can ever tell.
        let client = reqwest::Client::builder()
            .connect_timeout(patience)
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .no_proxy()
            .tcp_nodelay(true)
            .pool_idle_timeout(Duration::from_secs(5))
            .build()?;
        Ok(Self { client, patience })
    }

    /// GETs `path` from the node at `address`, within the client's patience.
    pub(super) async fn get(&self, address: SocketAddr, path: &str) -> reqwest::Result<(u16, Json)> {
        let request = self.client.get(format!("http://{address}{path}"));
        let response = request.timeout(self.patience).send().await?;
        let status = response.status().as_u16();
        let body = response.bytes().await?;
        Ok((status, serde_json::from_slice(&body).unwrap_or(Json::Null)))
    }

    fn request(&self, node: SocketAddr, call: Call) -> Result<reqwest::Request, String> {
        let Call::Http {
            method,
            path,
            query,
            headers,
            body,
        } = call
        else {
            return Err("a command cannot be sent over HTTP".to_owned());
        };
        let mut url: Url = format!("http://{node}{path}")
            .parse()
            .map_err(|error| format!("{path}: {error}"))?;
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        let method = match method {
            Method::Get => reqwest::Method::GET,
            Method::Put => reqwest::Method::PUT,
            Method::Post => reqwest::Method::POST,
            Method::Delete => reqwest::Method::DELETE,
        };
        let mut request = self.client.request(method, url);
        for (name, value) in headers {
            request = request.header(name, value);
        }
        request = match body {
            Some(Body::Json(json)) => request.json(&json),
            Some(Body::Text(text)) => request.body(text),
            None => request,
        };
        request.build().map_err(|error| error.to_string())
    }

    async fn answer(&self, request: reqwest::Request) -> reqwest::Result<Answer> {
        let mut response = self.client.execute(request).await?;
        let status = response.status().as_u16();
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await? {
            body.extend_from_slice(&chunk);
            if body.len() > LARGEST_ANSWER {
                break;
            }
        }
        Ok(Answer::new(status, &body))
    }
}

/// What came of listening to a stream.
#[derive(Debug)]
pub(super) enum Heard {
    /// The changes that it told.
    Changes(Vec<Change>),
    /// An answer that is no stream.
    Other(Answer),
}

impl Http {
    /// Listens to a stream of changes until `until`, until it told the revision `wanted`, or until it ends.
    ///
    /// # Errors
    /// When there was no answer at all, or it broke before it told anything, or it told what is no change.
    pub(super) async fn follow(
        &self,
        node: SocketAddr,
        call: Call,
        stream: &Stream,
        encoding: Encoding,
        until: Instant,
        wanted: Option<i64>,
    ) -> Result<Heard, Lost> {
        let request = self.request(node, call).map_err(Lost::unsent)?;
        let sent = tokio::time::timeout_at(until, self.client.execute(request)).await;
        let mut response = match sent {
            Ok(sent) => sent.map_err(|error| lost(&error))?,
            Err(_) => return Err(Lost::underway("timeout")),
        };
        if response.status() != 200 {
            let status = response.status().as_u16();
            let body = tokio::time::timeout_at(until, response.bytes()).await;
            let body = body.map_err(Lost::underway)?.map_err(|error| lost(&error))?;
            return Ok(Heard::Other(Answer::new(status, &body)));
        }
        let (mut arrived, mut told, mut size) = (Vec::new(), Vec::new(), 0);
        while wanted.is_none_or(|wanted| told.iter().all(|(rev, ..): &Change| *rev < wanted)) {
            let Ok(chunk) = tokio::time::timeout_at(until, response.chunk()).await else {
                break;
            };
            match chunk {
                Ok(Some(chunk)) => {
                    size += chunk.len();
                    arrived.extend_from_slice(&chunk);
                }
                // What was told before it broke was told.
                Ok(None) => break,
                Err(_) if !told.is_empty() => break,
                Err(error) => return Err(lost(&error)),
            }
            told.extend(stream.take(&mut arrived, encoding).map_err(Lost::underway)?);
            if size > LARGEST_ANSWER {
                break;
            }
        }
        Ok(Heard::Changes(told))
    }
}

impl Transport for Http {
    async fn exchange(&self, node: SocketAddr, call: Call) -> Result<Answer, Lost> {
        let request = self.request(node, call).map_err(Lost::unsent)?;
        self.answer(request).await.map_err(|error| lost(&error))
    }
}

/// What a broken exchange says, by its innermost cause.
fn lost(e: &reqwest::Error) -> Lost {
    let mut error = e.to_string();
    let mut source = std::error::Error::source(e);
    while let Some(inner) = source {
        error = inner.to_string();
        source = inner.source();
    }
    if e.is_timeout() {
        error = "timeout".to_owned();
    }
    Lost {
        sent: !e.is_connect(),
        error,
    }
}

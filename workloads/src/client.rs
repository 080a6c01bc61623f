//! The client under test: speaks one operation to one node and says what came of it.
//!
//! It never retries and never follows a redirect, since either would hide what the store did. An error
//! before the connection stood is `fail`, since nothing was sent; any later one leaves the outcome open.

use std::net::SocketAddr;
use std::time::Duration;

use checker::history::Value;
use reqwest::Url;

use crate::generator::Invocation;
use crate::system::{Answer, Bindings, Method, Outcome, System};

/// An answer larger than this is not read to its end: the store is broken, or it is no such store.
const LARGEST_ANSWER: usize = 4 << 20;

/// A client of one store.
#[derive(Debug, Clone)]
pub struct Client {
    http: reqwest::Client,
}

impl Client {
    /// A client that gives up on an operation after `timeout`.
    ///
    /// # Errors
    /// When the HTTP client cannot be set up.
    pub fn new(timeout: Duration) -> reqwest::Result<Self> {
        let http = reqwest::Client::builder()
            .timeout(timeout)
            .connect_timeout(timeout)
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .no_proxy()
            .tcp_nodelay(true)
            .pool_idle_timeout(Duration::from_secs(5))
            .build()?;
        Ok(Self { http })
    }

    /// Speaks `invocation` to the node at `address`.
    pub async fn invoke(&self, system: &System, address: SocketAddr, invocation: &Invocation) -> Outcome {
        let request = match self.request(system, address, invocation) {
            Ok(request) => request,
            Err(error) => return Outcome::Fail { error },
        };
        match self.answer(request).await {
            Ok(answer) => system.classify(invocation.f, &answer),
            Err(e) => lost(invocation.f, &e),
        }
    }

    /// GETs `path` from the node at `address`.
    ///
    /// # Errors
    /// When there was no whole answer.
    pub async fn get(&self, address: SocketAddr, path: &str) -> reqwest::Result<(u16, serde_json::Value)> {
        let response = self.http.get(format!("http://{address}{path}")).send().await?;
        let status = response.status().as_u16();
        let body = response.bytes().await?;
        Ok((
            status,
            serde_json::from_slice(&body).unwrap_or(serde_json::Value::Null),
        ))
    }

    fn request(
        &self,
        system: &System,
        address: SocketAddr,
        invocation: &Invocation,
    ) -> Result<reqwest::Request, String> {
        let operation = system
            .operation
            .get(invocation.f)
            .ok_or_else(|| format!("system `{}` has no operation `{}`", system.name, invocation.f))?;
        let bindings = bind(system, invocation);
        let path = operation.path.fill(&bindings);
        let mut url: Url = format!("http://{address}{path}")
            .parse()
            .map_err(|e| format!("{path}: {e}"))?;
        if !operation.query.is_empty() {
            let mut query = url.query_pairs_mut();
            for (name, template) in &operation.query {
                query.append_pair(name, &template.fill(&bindings));
            }
        }
        let method = match operation.method {
            Method::Get => reqwest::Method::GET,
            Method::Put => reqwest::Method::PUT,
            Method::Post => reqwest::Method::POST,
            Method::Delete => reqwest::Method::DELETE,
        };
        let mut request = self.http.request(method, url);
        for (name, value) in operation.headers(&bindings, invocation.repeat.is_some()) {
            request = request.header(name, value);
        }
        if let Some(body) = operation.body(&bindings) {
            request = request.json(&body);
        }
        request.build().map_err(|e| e.to_string())
    }

    async fn answer(&self, request: reqwest::Request) -> reqwest::Result<Answer> {
        let mut response = self.http.execute(request).await?;
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

fn bind<'a>(system: &System, invocation: &'a Invocation) -> Bindings<'a> {
    let encoding = system.values.encode;
    let name = invocation.repeat.as_ref().map(|repeat| repeat.name.as_str());
    let bindings = Bindings::new()
        .text("key", invocation.key.as_str())
        .text("request", name.unwrap_or_default());
    match &invocation.value {
        Value::List(pair) if invocation.f == "cas" && pair.len() == 2 => bindings
            .value("old", &pair[0], encoding)
            .value("new", &pair[1], encoding),
        value => bindings.value("value", value, encoding),
    }
}

/// The outcome of an operation that got no whole answer.
fn lost(f: &str, e: &reqwest::Error) -> Outcome {
    let mut error = e.to_string();
    let mut source = std::error::Error::source(e);
    while let Some(inner) = source {
        error = inner.to_string();
        source = inner.source();
    }
    if e.is_timeout() {
        error = "timeout".to_owned();
    }
    if e.is_connect() || f == "get" {
        Outcome::Fail { error }
    } else {
        Outcome::Info { error }
    }
}

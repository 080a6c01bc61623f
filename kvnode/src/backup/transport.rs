//! Requests of `object_store` over this crate's own sockets and TLS.
//!
//! Its own client would bring a second HTTP client and a second implementation of TLS
//! into the binary, and sockets that [`mod@crate::env`] knows nothing of.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use http_body_util::BodyExt;
use hyper::client::conn::http1;
use hyper::header::{HOST, HeaderValue};
use hyper_util::rt::TokioIo;
use object_store::client::{
    ClientConfigKey, ClientOptions, HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest,
    HttpResponse, HttpResponseBody, HttpService,
};
use rustls::RootCertStore;
use tokio_rustls::TlsConnector;

use crate::env::{clock, net};
use crate::secure::pem;
use crate::secure::stream::Stream;

/// How long a connection may take to open, its handshake included.
const CONNECT: Duration = Duration::from_secs(5);
/// How long one request may take, its body included, until its answer begins: a part of
/// a large snapshot over a slow line.
const ANSWER: Duration = Duration::from_secs(120);

/// Makes clients for `object_store`.
#[derive(Debug, Clone)]
pub struct Connector {
    /// Who is believed besides those whom the system believes; instead of them, if given.
    pub ca: Option<PathBuf>,
}

/// One connection for each request: there are few, and large ones.
struct OneByOne {
    tls: TlsConnector,
    in_plain: bool,
}

impl std::fmt::Debug for OneByOne {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("OneByOne")
            .field("in_plain", &self.in_plain)
            .finish_non_exhaustive()
    }
}

impl HttpConnector for Connector {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        let failed = |source| object_store::Error::Generic { store: "S3", source };
        let roots = match &self.ca {
            Some(path) => pem::authorities(path).map_err(|error| failed(error.into()))?,
            None => {
                let mut roots = RootCertStore::empty();
                roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
                Arc::new(roots)
            }
        };
        let tls = pem::connecting(roots, None).map_err(|error| failed(error.into()))?;
        let in_plain = options.get_config_value(&ClientConfigKey::AllowHttp);
        Ok(HttpClient::new(OneByOne {
            tls: TlsConnector::from(tls),
            in_plain: in_plain.is_some_and(|allowed| allowed == "true"),
        }))
    }
}

#[async_trait]
impl HttpService for OneByOne {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        clock::timeout(ANSWER, self.ask(request))
            .await
            .map_err(|elapsed| HttpError::new(HttpErrorKind::Timeout, elapsed))?
    }
}

impl OneByOne {
    async fn ask(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let broken = |error| HttpError::new(HttpErrorKind::Interrupted, error);
        let (mut parts, body) = request.into_parts();
        let stream = clock::timeout(CONNECT, self.open(&parts.uri))
            .await
            .map_err(|elapsed| HttpError::new(HttpErrorKind::Connect, elapsed))??;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
        tokio::spawn(connection);
        // What was signed is the address as it stands in the whole; a server wants the
        // host in its header and the rest in the first line.
        if let Some(authority) = parts.uri.authority()
            && let Ok(host) = HeaderValue::from_str(authority.as_str())
        {
            parts.headers.entry(HOST).or_insert(host);
        }
        let target = parts.uri.path_and_query().map_or("/", |target| target.as_str());
        parts.uri = target
            .parse()
            .map_err(|error| HttpError::new(HttpErrorKind::Unknown, error))?;
        let answer = sender
            .send_request(HttpRequest::from_parts(parts, body))
            .await
            .map_err(broken)?;
        let (parts, body) = answer.into_parts();
        let body = HttpResponseBody::new(body.map_err(broken));
        Ok(HttpResponse::from_parts(parts, body))
    }

    async fn open(&self, uri: &hyper::Uri) -> Result<Stream, HttpError> {
        let unusable = |what: String| HttpError::new(HttpErrorKind::Unknown, std::io::Error::other(what));
        let unreachable = |error| HttpError::new(HttpErrorKind::Connect, error);
        let host = uri
            .host()
            .ok_or_else(|| unusable(format!("'{uri}' names no host")))?;
        let secure = match uri.scheme_str() {
            Some("https") => true,
            Some("http") if self.in_plain => false,
            _ => {
                let what = "http is refused, since whoever listens could read the backup: \
                            use https, or allow it with --backup-allow-http";
                return Err(unusable(what.to_owned()));
            }
        };
        let port = uri.port_u16().unwrap_or(if secure { 443 } else { 80 });
        let address = format!("{host}:{port}");
        let stream = net::connect(&address).await.map_err(unreachable)?;
        if !secure {
            return Ok(Stream::Plain(stream));
        }
        let name = pem::server_name(&address).map_err(unreachable)?;
        match self.tls.connect(name, stream).await {
            Ok(stream) => Ok(Stream::Opened(Box::new(stream))),
            // A certificate that is not believed will not be believed the next time.
            Err(error) if error.kind() == std::io::ErrorKind::InvalidData => {
                Err(unusable(format!("{address}: {error}")))
            }
            Err(error) => Err(unreachable(error)),
        }
    }
}

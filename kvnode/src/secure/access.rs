//! What those who call a node bring along: authorities, a certificate, a token.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use tokio_rustls::TlsConnector;

use super::pem::{self, Identity, IdentityFiles, SecureError};
use super::stream::Stream;
use crate::client::Client;
use crate::env::net;

/// The files and the token, as flags or variables give them.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct AccessArgs {
    /// Believe nodes whose certificates these authorities vouch for (PEM).
    #[arg(long, env = "KVNODE_CACERT", value_name = "FILE")]
    cacert: Option<PathBuf>,
    /// Show this certificate to nodes that ask for one (PEM).
    #[arg(long, env = "KVNODE_CERT", value_name = "FILE", requires = "key")]
    cert: Option<PathBuf>,
    /// Its private key (PEM).
    #[arg(long, env = "KVNODE_KEY", value_name = "FILE", requires = "cert")]
    key: Option<PathBuf>,
    /// Bearer token.
    #[arg(long, env = "KVNODE_TOKEN", value_name = "TOKEN", hide_env_values = true)]
    token: Option<String>,
}

/// Which nodes are asked, and what they are shown.
#[derive(Debug, Clone, clap::Args)]
pub struct NodesArgs {
    /// Nodes to try, in order.
    #[arg(
        long,
        default_value = "http://127.0.0.1:8000",
        value_delimiter = ',',
        env = "KVNODE_URLS"
    )]
    urls: Vec<String>,
    #[command(flatten)]
    access: AccessArgs,
}

impl NodesArgs {
    /// A client of these nodes.
    ///
    /// # Errors
    /// [`SecureError`] names the file that cannot be used.
    pub fn client(self) -> Result<Client, SecureError> {
        let access = self.access.read()?;
        Ok(Client::with(self.urls, access))
    }
}

/// [`AccessArgs`], read.
#[derive(Clone, Default)]
pub struct Access {
    tls: Option<TlsConnector>,
    token: Option<Arc<str>>,
}

impl AccessArgs {
    /// Reads the files.
    ///
    /// # Errors
    /// [`SecureError`] names the one that cannot be used.
    pub fn read(&self) -> Result<Access, SecureError> {
        let identity = match (&self.cert, &self.key) {
            (Some(cert), Some(key)) => Some(Identity::read(&IdentityFiles {
                cert: cert.clone(),
                key: key.clone(),
            })?),
            _ => None,
        };
        let tls = match &self.cacert {
            Some(path) => {
                let config = pem::connecting(pem::authorities(path)?, identity.as_ref())?;
                Some(TlsConnector::from(config))
            }
            None => None,
        };
        let token = self.token.as_deref().map(Arc::from);
        Ok(Access { tls, token })
    }
}

impl Access {
    /// Connects to `http://HOST:PORT` or `https://HOST:PORT`.
    ///
    /// # Errors
    /// When the node cannot be reached, or shows a certificate that is not believed.
    pub async fn connect(&self, url: &str) -> io::Result<Stream> {
        let address = address(url);
        if !url.starts_with("https://") {
            return Ok(Stream::Plain(net::connect(address).await?));
        }
        let tls = self.tls.as_ref().ok_or_else(|| {
            let what = format!("{url} wants TLS: give --cacert FILE with the authority that vouches for it");
            io::Error::new(io::ErrorKind::InvalidInput, what)
        })?;
        let name = pem::server_name(address)?;
        let stream = tls.connect(name, net::connect(address).await?).await?;
        Ok(Stream::Opened(Box::new(stream)))
    }

    /// The value of the `Authorization` header, if there is a token.
    pub fn authorization(&self) -> Option<String> {
        self.token.as_ref().map(|token| format!("Bearer {token}"))
    }
}

/// `HOST:PORT` of an address with or without its scheme.
pub fn address(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    rest.split('/').next().unwrap_or(rest)
}

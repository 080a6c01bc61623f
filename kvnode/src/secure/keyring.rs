//! What the operator's files say: certificates, authorities, tokens. Read again when
//! they change, all or nothing.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::RwLock;
use rustls::{ClientConfig, ServerConfig};
use tokio::sync::mpsc;
use tokio_rustls::{TlsAcceptor, TlsConnector};
use tracing::{info, warn};

use super::pem::{self, Identity, IdentityFiles, SecureError, accepting, authorities, connecting};
use super::tokens::Tokens;
use crate::env::{clock, fs};

/// How often the files are looked at.
const LOOK: Duration = Duration::from_secs(2);

/// Where the operator keeps them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SecureFiles {
    /// What clients are shown; without it they are served in plain.
    pub http: Option<IdentityFiles>,
    /// Authorities of which clients must show a certificate.
    pub client_ca: Option<PathBuf>,
    /// What other nodes are shown, and the authorities that vouch for them; without it
    /// nodes talk in plain.
    pub peers: Option<(IdentityFiles, PathBuf)>,
    /// Tokens of clients; without it everyone may do everything.
    pub tokens: Option<PathBuf>,
}

impl SecureFiles {
    fn all(&self) -> impl Iterator<Item = &Path> {
        let identities = self
            .http
            .iter()
            .chain(self.peers.iter().map(|(identity, _)| identity));
        identities
            .flat_map(|identity| [&identity.cert, &identity.key])
            .chain(&self.client_ca)
            .chain(self.peers.iter().map(|(_, ca)| ca))
            .chain(&self.tokens)
            .map(PathBuf::as_path)
    }

    /// When each was changed, and how long it is: differs when one was replaced.
    fn marks(&self) -> Vec<Option<fs::Mark>> {
        self.all().map(fs::mark).collect()
    }
}

struct Keys {
    http: Option<Arc<ServerConfig>>,
    peers: Option<(Arc<ServerConfig>, Arc<ClientConfig>)>,
    tokens: Option<Tokens>,
}

/// What they say now.
pub struct Keyring {
    files: SecureFiles,
    keys: RwLock<Arc<Keys>>,
}

impl Keyring {
    /// Reads all files.
    ///
    /// # Errors
    /// [`SecureError`] names the first that cannot be used.
    pub fn read(files: SecureFiles) -> Result<Keyring, SecureError> {
        let keys = RwLock::new(Arc::new(keys(&files)?));
        Ok(Keyring { files, keys })
    }

    /// Reads them again; when one cannot be used, everything stays as it was.
    ///
    /// # Errors
    /// [`SecureError`] names the first that cannot be used.
    pub fn reload(&self) -> Result<(), SecureError> {
        *self.keys.write() = Arc::new(keys(&self.files)?);
        Ok(())
    }

    /// Reads them again whenever `asked` says so or one has changed, for ever.
    /// Connections that are open stay as they are.
    pub async fn follow(self: Arc<Self>, mut asked: mpsc::Receiver<()>) {
        let mut seen = self.files.marks();
        loop {
            let by_signal = clock::timeout(LOOK, asked.recv()).await.is_ok();
            let now = self.files.marks();
            if !by_signal && now == seen {
                continue;
            }
            match self.reload() {
                Ok(()) => info!("certificates and tokens were read again"),
                Err(error) => warn!(%error, "certificates and tokens stay as they were"),
            }
            seen = now;
        }
    }

    /// How clients' connections are accepted; in plain if there is none.
    pub fn http(&self) -> Option<TlsAcceptor> {
        self.now().http.clone().map(TlsAcceptor::from)
    }

    /// How other nodes' connections are accepted; in plain if there is none.
    pub fn peer_acceptor(&self) -> Option<TlsAcceptor> {
        let keys = self.now();
        keys.peers
            .as_ref()
            .map(|(server, _)| TlsAcceptor::from(server.clone()))
    }

    /// How other nodes are called; in plain if there is none.
    pub fn peer_connector(&self) -> Option<TlsConnector> {
        let keys = self.now();
        keys.peers
            .as_ref()
            .map(|(_, client)| TlsConnector::from(client.clone()))
    }

    /// What a token allows; `None` where no tokens are asked for.
    pub fn judge<T>(&self, judge: impl FnOnce(&Tokens) -> T) -> Option<T> {
        self.now().tokens.as_ref().map(judge)
    }

    fn now(&self) -> Arc<Keys> {
        self.keys.read().clone()
    }
}

fn keys(files: &SecureFiles) -> Result<Keys, SecureError> {
    let client_ca = match &files.client_ca {
        Some(path) => Some((path.as_path(), authorities(path)?)),
        None => None,
    };
    let http = match &files.http {
        Some(identity) => Some(accepting(&Identity::read(identity)?, client_ca)?),
        None => None,
    };
    let peers = match &files.peers {
        Some((identity, ca)) => {
            let (identity, roots) = (Identity::read(identity)?, authorities(ca)?);
            let server = accepting(&identity, Some((ca, roots.clone())))?;
            Some((server, connecting(roots, Some(&identity))?))
        }
        None => None,
    };
    let tokens = files.tokens.as_deref().map(Tokens::read).transpose()?;
    Ok(Keys { http, peers, tokens })
}

/// Whether a node's own peer certificate is one that its peers will accept at `address`
/// (`HOST:PORT`): a mistake here would otherwise show only in their logs.
///
/// # Errors
/// What is wrong with it.
pub fn check_peer_identity(files: &SecureFiles, address: &str) -> Result<(), SecureError> {
    let Some((identity, ca)) = &files.peers else {
        return Ok(());
    };
    let wrong = |what: String| SecureError::Content {
        path: identity.cert.clone(),
        what,
    };
    let name = pem::server_name(address).map_err(|error| wrong(error.to_string()))?;
    pem::vouched(&Identity::read(identity)?, authorities(ca)?, &name).map_err(|error| {
        wrong(format!(
            "other nodes will refuse this certificate for {}, by {}: {error}",
            name.to_str(),
            ca.display()
        ))
    })
}

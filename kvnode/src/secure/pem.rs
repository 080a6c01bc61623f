//! Certificates and keys in PEM files, and the settings of TLS that are made of them.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::time_provider::TimeProvider;
use rustls::{ClientConfig, RootCertStore, ServerConfig};

use crate::env::{clock, fs};

/// Why a file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SecureError {
    /// The file system refused, or there is no such file.
    #[error("{path}: {why}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The system's words.
        why: String,
    },
    /// It holds something else.
    #[error("{path}: {what}")]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong, and what belongs there.
        what: String,
    },
    /// A line of it is wrong.
    #[error("{path}:{line}: {what}")]
    Line {
        /// The file.
        path: PathBuf,
        /// Which line, from 1.
        line: usize,
        /// What is wrong, and what belongs there.
        what: String,
    },
}

/// Reads a whole file.
///
/// # Errors
/// When it is not there, or the file system refuses.
pub fn read(path: &Path) -> Result<Vec<u8>, SecureError> {
    let unreadable = |why: String| SecureError::Unreadable {
        path: path.to_owned(),
        why,
    };
    fs::read_if_there(path)
        .map_err(|error| unreadable(error.to_string()))?
        .ok_or_else(|| unreadable("there is no such file".to_owned()))
}

fn content(path: &Path, what: impl Into<String>) -> SecureError {
    SecureError::Content {
        path: path.to_owned(),
        what: what.into(),
    }
}

/// A certificate with what leads to its authority, and its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdentityFiles {
    /// PEM: the certificate first, then those between it and the authority.
    pub cert: PathBuf,
    /// PEM: its private key (PKCS#8, PKCS#1 or SEC1).
    pub key: PathBuf,
}

/// What one side shows to prove who it is.
pub struct Identity {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    files: IdentityFiles,
}

impl Identity {
    /// Reads both files.
    ///
    /// # Errors
    /// When one holds nothing of the kind.
    pub fn read(files: &IdentityFiles) -> Result<Identity, SecureError> {
        let chain = certificates(&files.cert)?;
        let key = PrivateKeyDer::from_pem_slice(&read(&files.key)?).map_err(|error| {
            content(
                &files.key,
                format!("there is no private key in PEM form: {error}"),
            )
        })?;
        Ok(Identity {
            chain,
            key,
            files: files.clone(),
        })
    }

    fn mismatch(&self, error: &rustls::Error) -> SecureError {
        content(
            &self.files.key,
            format!(
                "the key and {} do not go together: {error}",
                self.files.cert.display()
            ),
        )
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, SecureError> {
    let certificates = CertificateDer::pem_slice_iter(&read(path)?)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| content(path, format!("a certificate does not read: {error}")))?;
    match certificates.is_empty() {
        true => Err(content(path, "there is no certificate in PEM form")),
        false => Ok(certificates),
    }
}

/// The authorities in a file.
///
/// # Errors
/// When there is none, or one cannot be used.
pub fn authorities(path: &Path) -> Result<Arc<RootCertStore>, SecureError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path)? {
        roots
            .add(certificate)
            .map_err(|error| content(path, format!("a certificate is no authority: {error}")))?;
    }
    Ok(Arc::new(roots))
}

/// The wall clock, by the one door that there is to it.
#[derive(Debug)]
struct WallClock;

impl TimeProvider for WallClock {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(
            Duration::from_millis(clock::wall_ms()),
        ))
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// Settings for the side that accepts; with authorities, whoever connects must show a
/// certificate of theirs.
///
/// # Errors
/// When key and certificate do not go together.
pub fn accepting(
    identity: &Identity,
    callers: Option<(&Path, Arc<RootCertStore>)>,
) -> Result<Arc<ServerConfig>, SecureError> {
    let builder = ServerConfig::builder_with_details(provider(), Arc::new(WallClock))
        .with_safe_default_protocol_versions()
        .expect("ring speaks TLS 1.3");
    let builder = match callers {
        None => builder.with_no_client_auth(),
        Some((path, roots)) => builder.with_client_cert_verifier(
            WebPkiClientVerifier::builder_with_provider(roots, provider())
                .build()
                .map_err(|error| content(path, error.to_string()))?,
        ),
    };
    builder
        .with_single_cert(identity.chain.clone(), identity.key.clone_key())
        .map(Arc::new)
        .map_err(|error| identity.mismatch(&error))
}

/// Settings for the side that connects, believing these authorities.
///
/// # Errors
/// When key and certificate do not go together.
pub fn connecting(
    roots: Arc<RootCertStore>,
    identity: Option<&Identity>,
) -> Result<Arc<ClientConfig>, SecureError> {
    let builder = ClientConfig::builder_with_details(provider(), Arc::new(WallClock))
        .with_safe_default_protocol_versions()
        .expect("ring speaks TLS 1.3")
        .with_root_certificates(roots);
    let Some(identity) = identity else {
        return Ok(Arc::new(builder.with_no_client_auth()));
    };
    builder
        .with_client_auth_cert(identity.chain.clone(), identity.key.clone_key())
        .map(Arc::new)
        .map_err(|error| identity.mismatch(&error))
}

/// Whether the authorities would vouch for this identity under this name, now. Told at
/// start rather than by every peer in its own log.
///
/// # Errors
/// What is wrong with it, in rustls' words.
pub fn vouched(identity: &Identity, roots: Arc<RootCertStore>, name: &ServerName<'_>) -> Result<(), String> {
    let verifier = WebPkiServerVerifier::builder_with_provider(roots, provider())
        .build()
        .map_err(|error| error.to_string())?;
    let now = UnixTime::since_unix_epoch(Duration::from_millis(clock::wall_ms()));
    verifier
        .verify_server_cert(&identity.chain[0], &identity.chain[1..], name, &[], now)
        .map(drop)
        .map_err(|error| error.to_string())
}

/// The name under which the host of `HOST:PORT` must be certified.
///
/// # Errors
/// When it is neither an address nor a name.
pub fn server_name(address: &str) -> io::Result<ServerName<'static>> {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    let host = host.trim_start_matches('[').trim_end_matches(']');
    ServerName::try_from(host.to_owned()).map_err(|_| {
        let what = format!("'{host}' is no name that a certificate can bear");
        io::Error::new(io::ErrorKind::InvalidInput, what)
    })
}

//! Where backups are: `file:///FOLDER` or `s3://BUCKET/PREFIX`.
//!
//! Credentials come from the environment alone (`AWS_ACCESS_KEY_ID` and what goes with
//! it), are never written anywhere, and what a service says of them is cut down to its
//! code and message before it is shown.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures_util::TryStreamExt;
use object_store::aws::AmazonS3Builder;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{BackoffConfig, ObjectStore, ObjectStoreExt, RetryConfig};

use super::transport::Connector;
use super::{FORMAT, MANIFEST, Manifest, SNAPSHOT};
use crate::env::fs;

/// How often one request is tried again, and how long all tries may take.
const RETRIES: usize = 4;
const RETRIES_TAKE: Duration = Duration::from_secs(30);
/// Variables of which one must be set for a service to know who asks. Without them the
/// library would ask the metadata service of a cloud, which elsewhere is a stranger.
const CREDENTIALS: [&str; 5] = [
    "AWS_ACCESS_KEY_ID",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_METADATA_ENDPOINT",
];

/// Where, and how it is spoken to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreOptions {
    /// `file:///FOLDER` or `s3://BUCKET/PREFIX`.
    pub url: String,
    /// `https://HOST:PORT` of an S3-compatible service; none for Amazon's.
    pub endpoint: Option<String>,
    /// Whether to speak to it in plain.
    pub allow_http: bool,
    /// Whether the bucket stands in the host's name rather than in the path.
    pub virtual_hosted: bool,
    /// Authorities to believe instead of the system's (PEM).
    pub ca: Option<PathBuf>,
}

/// Why backups cannot be written or read there.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The address is none, or what goes with it is missing.
    #[error("{0}")]
    Options(String),
    /// The store refused or could not be reached.
    #[error("{place}: {why}")]
    Refused {
        /// The object or folder.
        place: String,
        /// What it said, and what would mend it.
        why: String,
    },
    /// What is there is not what was written.
    #[error("{place}: {what}")]
    Damaged {
        /// The object.
        place: String,
        /// What is wrong with it, and where.
        what: String,
    },
}

/// What a store has.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Listing {
    /// The backups, oldest first.
    pub backups: Vec<Manifest>,
    /// Folders without a manifest: under way, or broken off.
    pub unfinished: Vec<String>,
    /// What has a manifest that cannot be used, and why.
    pub damaged: Vec<String>,
}

/// An open store.
#[derive(Debug, Clone)]
pub struct Store {
    objects: Arc<dyn ObjectStore>,
    root: Path,
    shown: String,
}

impl Store {
    /// Opens it, without asking it anything. A folder must exist.
    ///
    /// # Errors
    /// [`StoreError::Options`] says what is missing.
    pub fn open(options: &StoreOptions) -> Result<Store, StoreError> {
        let url = options.url.trim_end_matches('/');
        let wrong = |what: &str| StoreError::Options(format!("'{url}' {what}"));
        let (scheme, rest) = url
            .split_once("://")
            .ok_or_else(|| wrong("is no place for backups: write file:///FOLDER or s3://BUCKET/PREFIX"))?;
        if scheme != "file" && rest.contains('@') {
            // Not repeated: it may hold what nobody else should read.
            let what = "a place for backups bears no credentials: write s3://BUCKET/PREFIX, and set \
                        AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY";
            return Err(StoreError::Options(what.to_owned()));
        }
        let shown = url.to_owned();
        match scheme {
            "file" if rest.starts_with('/') => {
                let objects = LocalFileSystem::new_with_prefix(rest)
                    .map_err(|_| wrong("is no folder that can be used: make it first"))?
                    .with_fsync(true);
                Ok(Store {
                    objects: Arc::new(objects),
                    root: Path::default(),
                    shown,
                })
            }
            "file" => Err(wrong("must name a folder from the root on: file:///FOLDER")),
            "s3" => {
                let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
                if bucket.is_empty() || bucket.contains([':', '?', '#']) {
                    return Err(wrong("must be s3://BUCKET/PREFIX"));
                }
                let root =
                    Path::parse(prefix).map_err(|error| wrong(&format!("has no usable prefix: {error}")))?;
                let objects = options.service(bucket)?;
                Ok(Store { objects, root, shown })
            }
            _ => Err(wrong(
                "is no place for backups: write file:///FOLDER or s3://BUCKET/PREFIX",
            )),
        }
    }

    /// The address, with a backup's name if one is given, for people.
    pub fn shown(&self, within: &str) -> String {
        match within {
            "" => self.shown.clone(),
            within => format!("{}/{within}", self.shown),
        }
    }

    /// The store underneath, and where in it an object of a backup is.
    pub(super) fn object(&self, id: &str, name: &str) -> (&Arc<dyn ObjectStore>, Path) {
        (&self.objects, self.root.clone().join(id).join(name))
    }

    /// An error about something within.
    pub(super) fn refused(&self, within: &str, error: &object_store::Error) -> StoreError {
        StoreError::Refused {
            place: self.shown(within),
            why: told(error),
        }
    }

    fn damaged(&self, within: &str, what: impl Into<String>) -> StoreError {
        StoreError::Damaged {
            place: self.shown(within),
            what: what.into(),
        }
    }

    /// Says that there is a backup.
    ///
    /// # Errors
    /// When the store refuses.
    pub async fn write_manifest(&self, manifest: &Manifest) -> Result<(), StoreError> {
        let (objects, path) = self.object(&manifest.id, MANIFEST);
        let text = serde_json::to_vec_pretty(manifest).expect("texts and numbers encode");
        objects
            .put(&path, text.into())
            .await
            .map(drop)
            .map_err(|error| self.refused(&format!("{}/{MANIFEST}", manifest.id), &error))
    }

    /// The backup of this name.
    ///
    /// # Errors
    /// When there is none, or it is of a form that this version does not know.
    pub async fn manifest(&self, id: &str) -> Result<Manifest, StoreError> {
        self.manifest_if_there(id).await?.ok_or_else(|| {
            let what = "there is no backup of this name: `kvnode backup list` tells those that there are";
            self.damaged(id, what)
        })
    }

    /// The backup of this name; none if there is none, or no longer.
    async fn manifest_if_there(&self, id: &str) -> Result<Option<Manifest>, StoreError> {
        let (objects, path) = self.object(id, MANIFEST);
        let within = format!("{id}/{MANIFEST}");
        let got = async { objects.get(&path).await?.bytes().await };
        let bytes = match got.await {
            Ok(bytes) => bytes,
            Err(object_store::Error::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(self.refused(&within, &error)),
        };
        let value: serde_json::Value = serde_json::from_slice(&bytes)
            .map_err(|error| self.damaged(&within, format!("this is no manifest: {error}")))?;
        let format = value["format"].as_u64().unwrap_or(0);
        if format != u64::from(FORMAT) {
            let what = format!(
                "its format is {format}, and this kvnode reads {FORMAT}: use the version that wrote it"
            );
            return Err(self.damaged(&within, what));
        }
        let manifest: Manifest = serde_json::from_value(value)
            .map_err(|error| self.damaged(&within, format!("this is no manifest: {error}")))?;
        match manifest.id == id {
            true => Ok(Some(manifest)),
            false => Err(self.damaged(&within, format!("it is the manifest of {}", manifest.id))),
        }
    }

    /// All that is there.
    ///
    /// # Errors
    /// When the store refuses.
    pub async fn list(&self) -> Result<Listing, StoreError> {
        let prefix = (!self.root.as_ref().is_empty()).then_some(&self.root);
        let found: Vec<_> = self
            .objects
            .list(prefix)
            .try_collect()
            .await
            .map_err(|error| self.refused("", &error))?;
        let mut listing = Listing::default();
        let (mut with_data, mut with_manifest) = (Vec::new(), Vec::new());
        for object in found {
            let parts: Vec<_> = match object.location.prefix_match(&self.root) {
                Some(parts) => parts.collect(),
                None => continue,
            };
            match &parts[..] {
                [id, name] if name.as_ref() == MANIFEST => with_manifest.push(id.as_ref().to_owned()),
                [id, name] if name.as_ref() == SNAPSHOT => with_data.push(id.as_ref().to_owned()),
                _ => {}
            }
        }
        with_manifest.sort();
        for id in &with_manifest {
            match self.manifest_if_there(id).await {
                // Removed since the names were listed, to make room for a newer one.
                Ok(None) => {}
                Ok(Some(_)) if !with_data.contains(id) => {
                    listing
                        .damaged
                        .push(format!("{}: {SNAPSHOT} is missing", self.shown(id)));
                }
                Ok(Some(manifest)) => listing.backups.push(manifest),
                Err(StoreError::Damaged { place, what }) => listing.damaged.push(format!("{place}: {what}")),
                Err(error) => return Err(error),
            }
        }
        with_data.retain(|id| !with_manifest.contains(id));
        with_data.sort();
        listing.unfinished = with_data;
        Ok(listing)
    }

    /// Removes a backup: first what says that there is one.
    ///
    /// # Errors
    /// When the store refuses.
    pub async fn remove(&self, id: &str) -> Result<(), StoreError> {
        for name in [MANIFEST, SNAPSHOT] {
            let (objects, path) = self.object(id, name);
            match objects.delete(&path).await {
                Ok(()) | Err(object_store::Error::NotFound { .. }) => {}
                Err(error) => return Err(self.refused(&format!("{id}/{name}"), &error)),
            }
        }
        Ok(())
    }
}

impl StoreOptions {
    fn service(&self, bucket: &str) -> Result<Arc<dyn ObjectStore>, StoreError> {
        let is_set = |name: &&str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        if !CREDENTIALS.iter().any(is_set) {
            return Err(StoreError::Options(
                "there are no credentials for S3: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY".to_owned(),
            ));
        }
        if is_set(&"AWS_ACCESS_KEY_ID") && !is_set(&"AWS_SECRET_ACCESS_KEY") {
            return Err(StoreError::Options(
                "AWS_ACCESS_KEY_ID is set and AWS_SECRET_ACCESS_KEY is not: set both".to_owned(),
            ));
        }
        let endpoint = self
            .endpoint
            .as_deref()
            .map(|endpoint| endpoint.trim_end_matches('/'));
        if endpoint.is_some_and(|endpoint| endpoint.starts_with("http://")) && !self.allow_http {
            return Err(StoreError::Options(
                "--backup-endpoint is in plain, and whoever listens could read the backup: \
                 use https, or allow it with --backup-allow-http"
                    .to_owned(),
            ));
        }
        let retry = RetryConfig {
            backoff: BackoffConfig {
                init_backoff: Duration::from_millis(100),
                max_backoff: Duration::from_secs(5),
                base: 2.0,
            },
            max_retries: RETRIES,
            retry_timeout: RETRIES_TAKE,
        };
        let mut builder = AmazonS3Builder::from_env()
            .with_bucket_name(bucket)
            .with_allow_http(self.allow_http)
            .with_virtual_hosted_style_request(self.virtual_hosted)
            .with_retry(retry)
            .with_http_connector(Connector { ca: self.ca.clone() });
        if let Some(endpoint) = endpoint {
            builder = builder.with_endpoint(match (self.virtual_hosted, endpoint.split_once("://")) {
                (true, Some((scheme, host))) => format!("{scheme}://{bucket}.{host}"),
                _ => endpoint.to_owned(),
            });
        }
        let service = builder
            .build()
            .map_err(|error| StoreError::Options(format!("s3://{bucket}: {}", told(&error))))?;
        Ok(Arc::new(service))
    }

    /// Makes the folder if there is none and one is meant.
    ///
    /// # Errors
    /// When the file system refuses.
    pub fn make_folder(&self) -> Result<(), StoreError> {
        let Some(folder) = self.url.strip_prefix("file:///") else {
            return Ok(());
        };
        fs::create_dir_all(&PathBuf::from(format!("/{folder}")))
            .map_err(|error| StoreError::Options(format!("{}: {error}", self.url)))
    }
}

/// What the library says, without what nobody wants to read and nobody may: a service
/// repeats in its answers what it was sent.
fn told(error: &object_store::Error) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    let between = |tag: &str| {
        let (_, rest) = text.split_once(&format!("<{tag}>"))?;
        Some(rest.split_once(&format!("</{tag}>"))?.0.to_owned())
    };
    if let Some(code) = between("Code") {
        let mend = match code.as_str() {
            "NoSuchBucket" => ": make the bucket first",
            "InvalidAccessKeyId" | "SignatureDoesNotMatch" | "InvalidToken" | "ExpiredToken" => {
                ": check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
            }
            "AccessDenied" => ": these credentials may not do that here",
            _ => "",
        };
        return format!("{code} ({}){mend}", between("Message").unwrap_or_default());
    }
    let line = text
        .split("<?xml")
        .next()
        .unwrap_or(&text)
        .replace(['\n', '\r'], " ");
    line.trim_end_matches([' ', ':']).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(url: &str) -> StoreOptions {
        StoreOptions {
            url: url.to_owned(),
            endpoint: None,
            allow_http: false,
            virtual_hosted: false,
            ca: None,
        }
    }

    #[test]
    fn what_is_no_place_is_told() {
        for (url, want) in [
            ("backups", "is no place for backups"),
            ("gs://bucket", "is no place for backups"),
            ("file://backups", "must name a folder from the root on"),
            ("file:///no/such/folder", "make it first"),
            ("s3://", "s3://BUCKET/PREFIX"),
            ("s3:///prefix", "must be s3://BUCKET/PREFIX"),
            ("s3://key:secret@bucket/x", "bears no credentials"),
            ("https://key:secret@host/x", "bears no credentials"),
        ] {
            let error = Store::open(&options(url)).unwrap_err().to_string();
            assert!(error.contains(want), "{url}: {error}");
            assert!(!error.contains("secret@"), "{error}");
        }
    }

    #[test]
    fn a_services_answer_is_cut_down() {
        let said = "Server returned 403: <?xml version=\"1.0\"?>\n<Error><Code>SignatureDoesNotMatch</Code>\
            <Message>It does not match</Message><AWSAccessKeyId>AKIA</AWSAccessKeyId></Error>";
        let error = object_store::Error::Generic {
            store: "S3",
            source: said.into(),
        };
        let told = told(&error);
        assert!(
            told.starts_with("SignatureDoesNotMatch (It does not match): check AWS_ACCESS_KEY_ID"),
            "{told}"
        );
        assert!(!told.contains("AKIA"), "{told}");
    }
}

//! Sends a snapshot to a store and checks it on the way, so that a manifest is written
//! only for what a reader will accept.

use object_store::{MultipartUpload, ObjectStoreExt, PutPayload, WriteMultipart};
use ring::digest::{Context, SHA256};

use super::store::{Store, StoreError};
use super::{FORMAT, MANIFEST, Manifest, SNAPSHOT, fresh_id, hex, utc};
use crate::env::clock;
use crate::raft::snapshot::Check;

/// Bytes sent at once. S3 wants at least 5 MiB, and takes 10,000 parts.
const PART_BYTES: usize = 8 << 20;
/// Parts under way at once.
const PARTS: usize = 2;

/// A backup being written.
pub struct Upload {
    store: Store,
    cluster: String,
    id: String,
    taken_ms: u64,
    /// What was not sent yet, while it is less than a part.
    small: Vec<u8>,
    parts: Option<WriteMultipart>,
    check: Check,
    sum: Context,
    bytes: u64,
}

impl Upload {
    /// Begins one; nothing is sent yet.
    pub fn new(store: Store, cluster: String) -> Upload {
        let taken_ms = clock::wall_ms();
        Upload {
            store,
            cluster,
            id: fresh_id(taken_ms),
            taken_ms,
            small: Vec::new(),
            parts: None,
            check: Check::default(),
            sum: Context::new(&SHA256),
            bytes: 0,
        }
    }

    /// The name that it will have.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Sends the next bytes of the snapshot.
    ///
    /// # Errors
    /// When they are damaged, or the store refuses. [`Upload::abort`] then cleans up.
    pub async fn write(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        self.check.push(bytes).map_err(|error| self.damaged(&error))?;
        self.sum.update(bytes);
        self.bytes += bytes.len() as u64;
        if let Some(parts) = &mut self.parts {
            let room = parts.wait_for_capacity(PARTS).await;
            if room.is_ok() {
                parts.write(bytes);
            }
            return room.map_err(|error| self.store.refused(&self.data(), &error));
        }
        self.small.extend_from_slice(bytes);
        if self.small.len() >= PART_BYTES {
            let (objects, path) = self.store.object(&self.id, SNAPSHOT);
            let begun: Box<dyn MultipartUpload> = objects
                .put_multipart(&path)
                .await
                .map_err(|error| self.store.refused(&self.data(), &error))?;
            let mut parts = WriteMultipart::new_with_chunk_size(begun, PART_BYTES);
            parts.write(&std::mem::take(&mut self.small));
            self.parts = Some(parts);
        }
        Ok(())
    }

    /// Ends the upload: the snapshot first, then the manifest that makes it a backup.
    ///
    /// # Errors
    /// When the snapshot is not whole, or the store refuses. Nothing is listed then.
    pub async fn finish(mut self) -> Result<Manifest, StoreError> {
        let about = match std::mem::take(&mut self.check).finish() {
            Ok(about) => about,
            Err(error) => {
                let error = self.damaged(&error);
                self.abort().await;
                return Err(error);
            }
        };
        let sent = match self.parts.take() {
            Some(parts) => parts.finish().await,
            None => {
                let (objects, path) = self.store.object(&self.id, SNAPSHOT);
                objects
                    .put(&path, PutPayload::from(std::mem::take(&mut self.small)))
                    .await
            }
        };
        if let Err(error) = sent {
            let error = self.store.refused(&self.data(), &error);
            self.abort().await;
            return Err(error);
        }
        let manifest = Manifest {
            format: FORMAT,
            id: self.id.clone(),
            cluster: self.cluster.clone(),
            taken_ms: self.taken_ms,
            taken: utc(self.taken_ms),
            version: crate::VERSION.to_owned(),
            term: about.term,
            index: about.index,
            keys: about.keys,
            state_hash: format!("{:032x}", about.digest),
            bytes: self.bytes,
            sha256: hex(self.sum.clone().finish().as_ref()),
        };
        match self.store.write_manifest(&manifest).await {
            Ok(()) => Ok(manifest),
            Err(error) => {
                self.abort().await;
                Err(error)
            }
        }
    }

    /// Takes back what was sent, as far as the store lets it. Without a manifest what is
    /// left is no backup, only a waste of room.
    pub async fn abort(mut self) {
        if let Some(parts) = self.parts.take() {
            let _ = parts.abort().await;
        }
        let _ = self.store.remove(&self.id).await;
    }

    fn data(&self) -> String {
        format!("{}/{SNAPSHOT}", self.id)
    }

    fn damaged(&self, error: &std::io::Error) -> StoreError {
        StoreError::Damaged {
            place: format!("the snapshot for {} (no {MANIFEST} was written)", self.id),
            what: error.to_string(),
        }
    }
}

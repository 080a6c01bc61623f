//! Makes a backup: for an operator, of what a node sends; for the node, of its own state.

use std::io::{self, BufWriter, Write};
use std::sync::Arc;

use anyhow::{Context, bail};

use super::Manifest;
use super::store::{Store, StoreError};
use super::upload::Upload;
use crate::client::Client;
use crate::env::clock;
use crate::node::Node;
use crate::raft::snapshot;

/// Bytes that are checked and passed on at once.
const PIECE_BYTES: usize = 1 << 20;

/// Has a node send its state and stores it. `progress` is told how many bytes have
/// passed.
///
/// # Errors
/// When no node answers, the answer breaks off, or the store refuses.
pub async fn from_node(
    client: &mut Client,
    store: Store,
    progress: &mut dyn FnMut(u64),
) -> anyhow::Result<Manifest> {
    let mut stream = client
        .download("/cluster/backup")
        .await
        .context("no node sends its state")?;
    let cluster = stream
        .header("x-ordeal-cluster")
        .context("the node does not say which cluster it is of")?;
    let mut upload = Upload::new(store, cluster);
    let mut passed = 0;
    let carried = async {
        while let Some(piece) = stream.next().await? {
            upload.write(&piece).await?;
            passed += piece.len() as u64;
            progress(passed);
        }
        anyhow::Ok(())
    };
    if let Err(error) = carried.await {
        upload.abort().await;
        return Err(error);
    }
    Ok(upload.finish().await?)
}

/// Stores this node's state as it is now. Call it after a barrier, off the worker: it
/// encodes, hashes and encrypts on this thread, and nobody waits for it.
///
/// # Errors
/// When the store refuses.
pub fn of_this_node(node: &Arc<Node>, store: Store) -> anyhow::Result<Manifest> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("a runtime for the upload")?;
    let (meta, state) = node.machine().frozen();
    let upload = Upload::new(store, node.config().cluster_id.clone());
    let sink = Sink {
        runtime: &runtime,
        upload,
        failed: None,
    };
    let mut out = BufWriter::with_capacity(PIECE_BYTES, sink);
    let written = snapshot::write_to(&mut out, &meta, &state).and_then(|()| out.flush());
    let (sink, _) = out.into_parts();
    match (written, sink.failed) {
        (Ok(()), None) => Ok(runtime.block_on(sink.upload.finish())?),
        (written, failed) => {
            runtime.block_on(sink.upload.abort());
            match (failed, written) {
                (Some(error), _) => Err(error.into()),
                (None, Err(error)) => Err(error.into()),
                (None, Ok(())) => bail!("the upload ended without a reason"),
            }
        }
    }
}

/// Sends what is written into it.
struct Sink<'a> {
    runtime: &'a tokio::runtime::Runtime,
    upload: Upload,
    failed: Option<StoreError>,
}

impl Write for Sink<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.runtime.block_on(self.upload.write(bytes)) {
            Ok(()) => Ok(bytes.len()),
            Err(error) => {
                self.failed = Some(error);
                Err(io::Error::other("the store refused"))
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The backups beyond the newest `keep` of this cluster; of other clusters nothing is
/// touched, and what cannot be removed is left for the next time.
///
/// # Errors
/// When the store refuses.
pub async fn prune(store: &Store, cluster: &str, keep: usize) -> Result<usize, StoreError> {
    let listing = store.list().await?;
    let own: Vec<_> = listing
        .backups
        .iter()
        .filter(|backup| backup.cluster == cluster)
        .collect();
    let old = &own[..own.len().saturating_sub(keep)];
    for backup in old {
        store.remove(&backup.id).await?;
    }
    Ok(old.len())
}

/// When the newest backup of this cluster was taken, ms since the Unix epoch.
///
/// # Errors
/// When the store refuses.
pub async fn newest(store: &Store, cluster: &str) -> Result<Option<u64>, StoreError> {
    let listing = clock::timeout(std::time::Duration::from_secs(120), store.list())
        .await
        .map_err(|_| StoreError::Refused {
            place: store.shown(""),
            why: "no list of backups within two minutes".to_owned(),
        })??;
    let own = listing.backups.iter().filter(|backup| backup.cluster == cluster);
    Ok(own.map(|backup| backup.taken_ms).max())
}

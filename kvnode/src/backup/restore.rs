//! Makes a data directory of a backup, for a new cluster of one node.
//!
//! Everything is fetched and checked before the directory is touched. While it is filled
//! a file `restoring` stands in it, and a node refuses to start there: half a directory
//! would look like that of a node that has never been in a cluster.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use futures_util::TryStreamExt;
use object_store::ObjectStoreExt;
use openraft::Membership;
use ring::digest;

use super::store::{Listing, Store, StoreError};
use super::{Manifest, SNAPSHOT, hex};
use crate::cluster::{NodeId, Peer};
use crate::data_dir::{self, RESTORING};
use crate::env::fs::{self, RealDisk};
use crate::env::rng;
use crate::raft::snapshot::{SnapshotDir, SnapshotFile};
use crate::raft::wal::{Record, Wal};
use crate::raft::{SnapshotMeta, StoredMembership, Vote};
use crate::state::State;

/// Whom the restored directory is for.
#[derive(Debug, Clone)]
pub struct Owner {
    /// The node.
    pub id: NodeId,
    /// Where it will be reached.
    pub peer: Peer,
    /// The new cluster's name; made of the old one's if none is given.
    pub cluster: Option<String>,
}

/// What was restored.
#[derive(Debug)]
pub struct Restored {
    /// The new cluster's name.
    pub cluster: String,
    /// Of what.
    pub manifest: Manifest,
}

/// The backup of this name, or the newest.
///
/// # Errors
/// When there is none, or the store refuses.
pub async fn find(store: &Store, id: Option<&str>) -> anyhow::Result<Manifest> {
    if let Some(id) = id {
        return Ok(store.manifest(id).await?);
    }
    let Listing {
        mut backups,
        unfinished,
        damaged,
    } = store.list().await?;
    match backups.pop() {
        Some(newest) => Ok(newest),
        None => bail!(
            "{}: there is no backup ({} unfinished, {} damaged)",
            store.shown(""),
            unfinished.len(),
            damaged.len()
        ),
    }
}

/// Fetches a backup and checks all of it: length, SHA-256, every block, the state's hash.
/// `progress` is told how many bytes have come.
///
/// # Errors
/// Names the object, and the offset where its blocks say so.
pub async fn fetch(
    store: &Store,
    manifest: &Manifest,
    progress: &mut dyn FnMut(u64),
) -> anyhow::Result<(SnapshotMeta, State)> {
    let within = format!("{}/{SNAPSHOT}", manifest.id);
    let place = store.shown(&within);
    let scratch = tempfile::Builder::new()
        .prefix("kvnode-restore-")
        .tempdir()
        .context("a temporary folder")?;
    let file = scratch.path().join(SNAPSHOT);
    let (objects, path) = store.object(&manifest.id, SNAPSHOT);
    let got = objects
        .get(&path)
        .await
        .map_err(|error| store.refused(&within, &error))?;
    let (mut stream, mut sum, mut bytes) = (got.into_stream(), digest::Context::new(&digest::SHA256), 0);
    let mut out = BufWriter::with_capacity(1 << 20, fs::create(&file).context("a temporary file")?);
    while let Some(piece) = stream
        .try_next()
        .await
        .map_err(|error| store.refused(&within, &error))?
    {
        sum.update(&piece);
        bytes += piece.len() as u64;
        out.write_all(&piece)
            .with_context(|| file.display().to_string())?;
        progress(bytes);
    }
    out.flush().with_context(|| file.display().to_string())?;
    drop(out);
    let damaged = |what: String| StoreError::Damaged {
        place: place.clone(),
        what,
    };
    // The blocks first: they know where the damage is.
    let shown = SnapshotFile { path: file.clone() };
    let (meta, state) = shown
        .read()
        .map_err(|error| damaged(error.to_string().replace(&format!("{} ", file.display()), "")))?;
    if bytes != manifest.bytes {
        return Err(damaged(format!(
            "it has {bytes} bytes, and its manifest says {}",
            manifest.bytes
        ))
        .into());
    }
    let found = hex(sum.finish().as_ref());
    if found != manifest.sha256 {
        return Err(damaged(format!(
            "its SHA-256 is {found}, and its manifest says {}",
            manifest.sha256
        ))
        .into());
    }
    let hash = format!("{:032x}", state.digest());
    if hash != manifest.state_hash || state.applied() != manifest.index || state.len() as u64 != manifest.keys
    {
        return Err(damaged("it is whole, but not what its manifest describes".to_owned()).into());
    }
    Ok((meta, state))
}

/// Makes the data directory.
///
/// # Errors
/// When it is not empty, the new cluster would bear the old one's name, or the file
/// system refuses.
pub fn make_directory(
    directory: &Path,
    owner: Owner,
    manifest: Manifest,
    meta: &SnapshotMeta,
    state: &State,
) -> anyhow::Result<Restored> {
    let cluster = match owner.cluster {
        Some(name) if name == manifest.cluster => bail!(
            "the backup is of cluster '{name}': give the new one another --cluster-id, so that nodes of the two refuse each other"
        ),
        Some(name) => name,
        None => format!("{}-{:08x}", manifest.cluster, rng::random_u64() >> 32),
    };
    let Some(last) = meta.last_log_id else {
        bail!(
            "{}: the backup holds no log entry, so there is nothing to restore",
            manifest.id
        );
    };
    let shown = directory.display();
    fs::create_dir_all(directory).with_context(|| shown.to_string())?;
    let ours = |path: &PathBuf| path.file_name().is_some_and(|name| name != "lost+found");
    if let Some(file) = fs::list(directory)
        .with_context(|| shown.to_string())?
        .into_iter()
        .find(ours)
    {
        bail!(
            "{shown} is not empty (there is {}): give a directory of its own",
            file.display()
        );
    }
    let marker = directory.join(RESTORING);
    fs::write_durably(&marker, manifest.id.as_bytes()).with_context(|| marker.display().to_string())?;

    let incarnation = data_dir::fresh_incarnation();
    let peer = Peer {
        incarnation: Some(incarnation),
        ..owner.peer
    };
    let voters = BTreeSet::from([owner.id.clone()]);
    let membership = Membership::new(vec![voters], BTreeMap::from([(owner.id.clone(), peer)]))
        .context("a membership of one node")?;
    let meta = SnapshotMeta {
        last_log_id: Some(last),
        last_membership: StoredMembership::new(Some(last), membership),
    };
    let snapshots = directory.join("snapshots");
    SnapshotDir::open(&snapshots)
        .and_then(|snapshots| snapshots.save(&meta, state))
        .with_context(|| snapshots.display().to_string())?;
    let log = directory.join("log");
    let (mut wal, _) = Wal::open(RealDisk, &log)?;
    // Terms go on where they were: an entry of this cluster must never seem older than
    // those in the backup.
    let term = last.leader_id.term;
    let records = [
        Record::Vote(Vote::new(term, owner.id.clone())),
        Record::Purge(last),
        Record::Committed(Some(last)),
    ];
    wal.commit(&records)
        .and_then(|()| wal.seal())
        .with_context(|| log.display().to_string())?;
    drop(wal);
    data_dir::write_owner(directory, owner.id.as_str(), &cluster, incarnation)?;
    fs::sync_dir(directory).with_context(|| shown.to_string())?;
    fs::remove(&marker)
        .and_then(|()| fs::sync_dir(directory))
        .with_context(|| shown.to_string())?;
    Ok(Restored { cluster, manifest })
}

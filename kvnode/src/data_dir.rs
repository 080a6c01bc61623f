//! A node's directory: who it belongs to, the log, the snapshots.

use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::config::Config;
use crate::env::{fs, rng};
use crate::raft::log::LogStore;
use crate::raft::snapshot::SnapshotDir;
use crate::raft::wal::WalError;
use crate::seams::Keeping;

/// A file that stands in a directory while a backup is being restored into it.
pub const RESTORING: &str = "restoring";

/// What is in the directory, opened.
pub struct DataDir {
    /// A random number made when the directory was: a node that comes back with
    /// another number has lost what it had promised.
    pub incarnation: u64,
    /// The log.
    pub log: LogStore,
    /// The snapshots.
    pub snapshots: SnapshotDir,
    /// Held while the directory is used.
    pub lock: fs::File,
}

/// Why a directory cannot be used. All of these are for the operator to mend.
#[derive(Debug, thiserror::Error)]
pub enum DataDirError {
    /// The file system refused.
    #[error("{path}: {error}")]
    Io {
        /// The file or directory.
        path: String,
        /// The system's words.
        error: std::io::Error,
    },
    /// It belongs to another node or cluster.
    #[error("{path} belongs to node {node} of cluster '{cluster}': give this node a directory of its own")]
    Foreign {
        /// The directory.
        path: String,
        /// Whose it is.
        node: String,
        /// Of which cluster.
        cluster: String,
    },
    /// The file that says whose it is does not read.
    #[error(
        "{path} is damaged: restore the directory, or remove this node from the cluster and add it again"
    )]
    Damaged {
        /// The file.
        path: String,
    },
    /// A restore into it did not come to its end.
    #[error("{path} holds half a restored backup: empty it and restore again")]
    Restoring {
        /// The directory.
        path: String,
    },
    /// The log cannot be used.
    #[error(transparent)]
    Log(#[from] WalError),
}

impl DataDirError {
    /// Whether there was no room on the disk, which passes.
    pub fn is_full_disk(&self) -> bool {
        let (DataDirError::Io { error, .. } | DataDirError::Log(WalError::Io { error, .. })) = self else {
            return false;
        };
        error.kind() == std::io::ErrorKind::StorageFull
    }
}

#[derive(Serialize, Deserialize)]
struct Owner {
    node: String,
    cluster: String,
    incarnation: u64,
}

impl DataDir {
    /// Opens or creates the directory of this node.
    ///
    /// # Errors
    /// [`DataDirError`] says what, where, and what would mend it.
    pub fn open<D: fs::Disk>(
        config: &Config,
        disk: D,
        keeping: Arc<dyn Keeping>,
    ) -> Result<DataDir, DataDirError> {
        let path = &config.data_dir;
        let failed = |path: &Path, error| DataDirError::Io {
            path: path.display().to_string(),
            error,
        };
        fs::create_dir_all(path).map_err(|error| failed(path, error))?;
        let lock = fs::lock(&path.join("lock")).map_err(|error| failed(path, error))?;
        let marker = path.join(RESTORING);
        if fs::read_if_there(&marker)
            .map_err(|error| failed(&marker, error))?
            .is_some()
        {
            return Err(DataDirError::Restoring {
                path: path.display().to_string(),
            });
        }
        let incarnation = own(config)?;
        let log = LogStore::open(disk, &path.join("log"), keeping)?;
        let snapshots = path.join("snapshots");
        let snapshots = SnapshotDir::open(&snapshots).map_err(|error| failed(&snapshots, error))?;
        // Reading all of it now, rather than when it is needed, turns damage into one
        // clear line before the node takes part in anything.
        if let Some((_, newest)) = snapshots.newest().map_err(|error| failed(path, error))? {
            newest.read().map_err(|error| failed(&newest.path, error))?;
        }
        fs::sync_dir(path).map_err(|error| failed(path, error))?;
        Ok(DataDir {
            incarnation,
            log,
            snapshots,
            lock,
        })
    }
}

/// A number for a new directory: 53 bits, so that tools that read JSON numbers as floats
/// see it whole.
pub fn fresh_incarnation() -> u64 {
    rng::random_u64() >> 11
}

/// Writes down whose a directory is.
///
/// # Errors
/// [`DataDirError::Io`].
pub fn write_owner(
    directory: &Path,
    node: &str,
    cluster: &str,
    incarnation: u64,
) -> Result<(), DataDirError> {
    let file = directory.join("node.json");
    let owner = Owner {
        node: node.to_owned(),
        cluster: cluster.to_owned(),
        incarnation,
    };
    let text = serde_json::to_vec_pretty(&owner).expect("three fields encode");
    fs::write_durably(&file, &text).map_err(|error| DataDirError::Io {
        path: file.display().to_string(),
        error,
    })
}

fn own(config: &Config) -> Result<u64, DataDirError> {
    let file = config.data_dir.join("node.json");
    let shown = file.display().to_string();
    let failed = |error| DataDirError::Io {
        path: shown.clone(),
        error,
    };
    let Some(bytes) = fs::read_if_there(&file).map_err(failed)? else {
        let incarnation = fresh_incarnation();
        write_owner(
            &config.data_dir,
            config.id.as_str(),
            &config.cluster_id,
            incarnation,
        )?;
        return Ok(incarnation);
    };
    let owner: Owner =
        serde_json::from_slice(&bytes).map_err(|_| DataDirError::Damaged { path: shown.clone() })?;
    if owner.node != config.id.as_str() || owner.cluster != config.cluster_id {
        return Err(DataDirError::Foreign {
            path: config.data_dir.display().to_string(),
            node: owner.node,
            cluster: owner.cluster,
        });
    }
    Ok(owner.incarnation)
}

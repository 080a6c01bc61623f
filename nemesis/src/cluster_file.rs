//! `cluster.json`: how whoever started a cluster tells everyone else about it.
//!
//! It lies in the store folder of the run, with the journal and the control
//! socket of the owner beside it. `nemesis` reads nothing else.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::node::NodeId;
use crate::requests::{Asker, Endpoint, Requests};
use crate::ssh::SshCluster;

/// Name of the file.
pub const FILE_NAME: &str = "cluster.json";
/// Where to look for it from a project's folder.
pub const CURRENT: &str = "store/current/cluster.json";
/// Name of the control socket beside it.
pub const SOCKET_NAME: &str = "control.sock";
/// Name of the journal beside it.
pub const JOURNAL_NAME: &str = "nemesis.journal";

/// A running cluster, as its owner describes it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClusterFile {
    /// Version of this form: 1.
    pub ordeal: u32,
    /// How the cluster is run.
    pub backend: BackendKind,
    /// What runs on the nodes: `kvnode`, `etcd`.
    pub system: String,
    /// Process id of the owner, as the host sees it.
    pub owner: u32,
    /// The nodes, in order.
    pub nodes: Vec<ClusterNode>,
    /// What the system can be asked.
    #[serde(default)]
    pub requests: Requests,
}

/// How a cluster is run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum BackendKind {
    /// In the lab of its owner, who alone can reach it.
    Lab,
    /// By Docker Compose.
    Docker {
        /// The compose project.
        project: String,
        /// The compose file.
        file: PathBuf,
    },
    /// On other machines, reached by ssh.
    Ssh(SshCluster),
}

/// One node of a running cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterNode {
    /// Its name.
    pub id: NodeId,
    /// Its address among the nodes.
    pub address: String,
    /// Its base URL for the owner of the cluster (in the lab, from inside).
    pub url: String,
    /// Its base URL for everyone else on this machine, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_url: Option<String>,
    /// Its log file, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log: Option<PathBuf>,
}

/// Why a cluster file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ClusterFileError {
    /// None was found.
    #[error(
        "no running cluster: found no {CURRENT} from {0} upwards; start one with `workloads up`, or name one with --cluster PATH"
    )]
    None(PathBuf),
    /// It could not be read or written.
    #[error("cluster file {path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// It is not in the form that this version knows.
    #[error("cluster file {path}: {message}")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        message: String,
    },
}

impl ClusterFile {
    /// Writes it to `folder`, whole or not at all, and returns its path.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn write(&self, folder: &Path) -> Result<PathBuf, ClusterFileError> {
        let path = folder.join(FILE_NAME);
        let text = serde_json::to_vec_pretty(self).expect("a cluster file is plain data");
        let aside = folder.join(format!(".{FILE_NAME}.{}", std::process::id()));
        let write = || {
            let mut file = File::create(&aside)?;
            file.write_all(&text)?;
            file.sync_data()?;
            std::fs::rename(&aside, &path)
        };
        write().map_err(|source| ClusterFileError::Io {
            path: path.clone(),
            source,
        })?;
        Ok(path)
    }

    /// Reads the file at `path`, or in the folder `path`.
    ///
    /// # Errors
    /// If it cannot be read, or is not of this form.
    pub fn read(path: &Path) -> Result<ClusterFile, ClusterFileError> {
        let path = if path.is_dir() {
            path.join(FILE_NAME)
        } else {
            path.to_owned()
        };
        let text = std::fs::read(&path).map_err(|source| ClusterFileError::Io {
            path: path.clone(),
            source,
        })?;
        let malformed = |message: String| ClusterFileError::Malformed {
            path: path.clone(),
            message,
        };
        let file: ClusterFile =
            serde_json::from_slice(&text).map_err(|error| malformed(error.to_string()))?;
        if file.ordeal != 1 {
            return Err(malformed(format!(
                "form {} is not known to this version",
                file.ordeal
            )));
        }
        Ok(file)
    }

    /// Looks for `store/current/cluster.json` from `folder` upwards.
    ///
    /// # Errors
    /// If there is none, or the first one found cannot be read.
    pub fn find(folder: &Path) -> Result<(PathBuf, ClusterFile), ClusterFileError> {
        for above in folder.ancestors() {
            let path = above.join(CURRENT);
            if path.exists() {
                let file = ClusterFile::read(&path)?;
                return Ok((path, file));
            }
        }
        Err(ClusterFileError::None(folder.to_owned()))
    }

    /// An asker that reaches the nodes as the owner does.
    ///
    /// # Errors
    /// If no HTTP client can be made.
    pub fn asker(&self) -> Result<Asker, reqwest::Error> {
        let endpoint = |node: &ClusterNode| Endpoint {
            url: node.url.clone(),
            address: node.address.clone(),
        };
        let endpoints: BTreeMap<NodeId, Endpoint> = self
            .nodes
            .iter()
            .map(|node| (node.id.clone(), endpoint(node)))
            .collect();
        Asker::new(self.requests.clone(), endpoints)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file() -> ClusterFile {
        ClusterFile {
            ordeal: 1,
            backend: BackendKind::Lab,
            system: "kvnode".into(),
            owner: 1,
            nodes: Vec::new(),
            requests: Requests::default(),
        }
    }

    #[test]
    fn it_is_found_from_any_folder_below() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let deep = dir.path().join("a/b");
        std::fs::create_dir_all(&deep).expect("folders");
        assert!(matches!(ClusterFile::find(&deep), Err(ClusterFileError::None(_))));
        let current = dir.path().join("store/current");
        std::fs::create_dir_all(&current).expect("folders");
        let path = file().write(&current).expect("writes");
        assert_eq!(ClusterFile::find(&deep).expect("found"), (path, file()));
    }

    #[test]
    fn a_file_of_another_form_is_refused_with_its_path() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let path = ClusterFile { ordeal: 2, ..file() }
            .write(dir.path())
            .expect("writes");
        let error = ClusterFile::read(&path).expect_err("form 2").to_string();
        assert!(error.contains("form 2") && error.contains(FILE_NAME), "{error}");
    }
}

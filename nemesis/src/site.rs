//! A cluster that outlives whoever breaks it: containers, or other machines.
//!
//! The lab ends with its owner. These do not: whoever comes along opens the
//! cluster where it stands, with the journal of who came before.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::backend::Backend;
use crate::cluster_file::{BackendKind, ClusterFile, ClusterFileError};
use crate::docker::{DockerBackend, DockerError};
use crate::journal::JournalError;
use crate::nemesis::{Nemesis, NemesisError};
use crate::ssh::{SshBackend, SshError};

/// Where such a cluster is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Site {
    /// A compose project, and the `cluster.json` that describes it, if one does.
    Project {
        /// Its name.
        project: String,
        /// The file.
        described: Option<PathBuf>,
    },
    /// The machines of a `cluster.json`.
    Machines {
        /// The file.
        described: PathBuf,
    },
}

/// Why a cluster could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum SiteError {
    /// There is no such cluster, or not all of it.
    #[error(transparent)]
    Docker(#[from] DockerError),
    /// Its machines are not reached.
    #[error(transparent)]
    Ssh(#[from] SshError),
    /// Its description cannot be used.
    #[error(transparent)]
    File(#[from] ClusterFileError),
    /// It describes a cluster that nobody but its owner can open.
    #[error("{0} describes a lab, which only its owner can reach")]
    Lab(PathBuf),
    /// No HTTP client can be made.
    #[error("an HTTP client: {0}")]
    Http(#[from] reqwest::Error),
    /// Its journal cannot be used.
    #[error(transparent)]
    Nemesis(#[from] NemesisError),
}

impl SiteError {
    /// True if another nemesis works on the cluster now.
    pub fn is_busy(&self) -> bool {
        matches!(
            self,
            SiteError::Docker(DockerError::Claimed(_))
                | SiteError::Nemesis(NemesisError::Journal(JournalError::Held(_)))
        )
    }
}

impl Site {
    /// Opens the cluster, with the journal that lies there.
    ///
    /// # Errors
    /// If it is gone, not reached, or another nemesis works on it.
    pub fn open(&self, journal: &Path, seed: u64) -> Result<Nemesis, SiteError> {
        let (backend, asker): (Box<dyn Backend>, _) = match self {
            Site::Project { project, described } => {
                let mut backend = DockerBackend::find(Some(project))?;
                let asker = match described {
                    Some(path) => {
                        let file = ClusterFile::read(path)?;
                        let nodes: Vec<_> = file.nodes.iter().map(|node| node.id.clone()).collect();
                        backend.keep(&nodes)?;
                        file.asker()?
                    }
                    None => backend.asker()?,
                };
                (Box::new(backend), asker)
            }
            Site::Machines { described } => {
                let file = ClusterFile::read(described)?;
                let BackendKind::Ssh(cluster) = &file.backend else {
                    return Err(SiteError::Lab(described.clone()));
                };
                let backend = SshBackend::connect(cluster, &file.nodes)?;
                (Box::new(backend), file.asker()?)
            }
        };
        let mut nemesis = Nemesis::new(backend, journal, seed)?;
        nemesis.set_asker(asker);
        Ok(nemesis)
    }

    /// Whether somebody has taken the cluster away: none of its containers is left, running or not. Of machines that
    /// are not reached nobody knows.
    ///
    /// # Errors
    /// If the engine does not say.
    pub fn is_gone(&self) -> Result<bool, SiteError> {
        match self {
            Site::Project { project, .. } => Ok(!DockerBackend::has_containers(project)?),
            Site::Machines { .. } => Ok(false),
        }
    }

    /// The file that describes it.
    pub fn described(&self) -> Option<&Path> {
        match self {
            Site::Project { described, .. } => described.as_deref(),
            Site::Machines { described } => Some(described),
        }
    }
}

impl std::fmt::Display for Site {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Site::Project { project, .. } => write!(f, "compose project {project}"),
            Site::Machines { described } => write!(f, "the machines of {}", described.display()),
        }
    }
}

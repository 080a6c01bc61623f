//! The asking end of the control socket.

use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::cluster_file::SOCKET_NAME;
use crate::control::{Answer, Question, short_path};

/// Longest that an answer may take: killing and probing take seconds at worst.
const PATIENCE: Duration = Duration::from_secs(60);

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody serves there.
    #[error(
        "the cluster of {folder} is gone: nobody answers at its control socket ({source}); start one with `workloads up`"
    )]
    Gone {
        /// Folder of the cluster file.
        folder: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Somebody else's.
    #[error(
        "no permission to ask the owner of the cluster of {folder}: work as the user who started it, or with sudo"
    )]
    Forbidden {
        /// Folder of the cluster file.
        folder: PathBuf,
    },
    /// The owner went away or was silent in the middle.
    #[error("the owner of the cluster did not answer: {0}")]
    Broken(String),
}

/// A line to the owner of a cluster.
#[derive(Debug)]
pub struct Client {
    stream: BufReader<UnixStream>,
}

impl Client {
    /// Calls the owner of the cluster whose `cluster.json` lies in `folder`.
    ///
    /// # Errors
    /// If nobody serves there.
    pub fn connect(folder: &Path) -> Result<Client, ClientError> {
        let gone = |source: std::io::Error| {
            let folder = folder.to_owned();
            match source.kind() {
                ErrorKind::PermissionDenied => ClientError::Forbidden { folder },
                _ => ClientError::Gone { folder, source },
            }
        };
        let (_open, path) = short_path(folder, SOCKET_NAME).map_err(gone)?;
        let stream = UnixStream::connect(path).map_err(gone)?;
        stream.set_read_timeout(Some(PATIENCE)).map_err(gone)?;
        Ok(Client {
            stream: BufReader::new(stream),
        })
    }

    /// Asks one question.
    ///
    /// # Errors
    /// If no answer comes. A refusal is an answer.
    pub fn ask(&mut self, question: &Question) -> Result<Answer, ClientError> {
        let broken = |error: &dyn std::fmt::Display| ClientError::Broken(error.to_string());
        let mut text = serde_json::to_vec(question).expect("questions are plain data");
        text.push(b'\n');
        self.stream
            .get_mut()
            .write_all(&text)
            .map_err(|error| broken(&error))?;
        let mut line = String::new();
        match self.stream.read_line(&mut line) {
            Ok(0) => Err(broken(&"it hung up")),
            Ok(_) => serde_json::from_str(&line).map_err(|error| broken(&error)),
            Err(error) => Err(broken(&error)),
        }
    }
}

//! The owner of a cluster serves a socket; whoever wants a fault asks there.
//!
//! One nemesis per cluster: it belongs to the process that owns the cluster (in
//! the lab nobody else can reach it). A question and its answer are one line of
//! JSON each, over a Unix socket beside `cluster.json` that only its owner may open.

mod client;
mod server;

use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::duration::Span;
use crate::effect::Effect;
use crate::fault::Fault;
use crate::journal::FaultId;
use crate::plan::Plan;
use crate::probe::Probe;
use crate::record::{Applied, Healed, Status, Undone};
use crate::target::Target;

pub use client::{Client, ClientError};
pub use server::Server;

/// What can be asked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "lowercase")]
pub enum Question {
    /// How is the cluster?
    Status,
    /// Apply a fault.
    Apply {
        /// Which.
        fault: Fault,
        /// Undo it by itself after so long.
        #[serde(default, rename = "for", skip_serializing_if = "Option::is_none")]
        lasting: Option<Span>,
    },
    /// What would a fault do?
    Preview {
        /// Which.
        fault: Fault,
    },
    /// Can all of a plan be done here?
    Check {
        /// Which.
        plan: Plan,
    },
    /// Undo one fault.
    Undo {
        /// Which.
        id: FaultId,
    },
    /// Continue paused nodes.
    Resume {
        /// Which.
        target: Target,
    },
    /// Undo everything.
    Heal,
}

/// What is answered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "lowercase")]
pub enum Answer {
    /// To [`Question::Status`].
    Status(Status),
    /// To [`Question::Apply`].
    Applied(Applied),
    /// To [`Question::Preview`].
    Preview {
        /// What it would do.
        effect: Effect,
        /// In words.
        sentence: String,
    },
    /// To [`Question::Check`]: yes. (No is a refusal that names everything.)
    Able,
    /// To [`Question::Undo`].
    Undone(Undone),
    /// To [`Question::Resume`].
    Resumed {
        /// What was seen.
        seen: Vec<Probe>,
    },
    /// To [`Question::Heal`].
    Healed(Healed),
    /// It was not done.
    Refused {
        /// Why.
        message: String,
        /// True if the question made no sense here (an unknown node), false if
        /// the cluster could not do it.
        bad_input: bool,
    },
}

/// A path to `name` in `folder` that is short however deep the folder lies: the
/// address of a Unix socket has 108 bytes at most.
fn short_path(folder: &Path, name: &str) -> std::io::Result<(File, PathBuf)> {
    let folder = File::open(folder)?;
    let path = PathBuf::from(format!("/proc/self/fd/{}/{name}", folder.as_raw_fd()));
    Ok((folder, path))
}

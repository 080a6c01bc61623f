//! `kvnode inspect DIR`: what is on disk, checked, without touching it.

use std::fmt::Write;
use std::path::Path;

use anyhow::{Context, bail};
use openraft::entry::RaftEntry;

use crate::env::fs::{self, RealDisk};
use crate::raft::snapshot::SnapshotDir;
use crate::raft::wal;

/// Reads everything in a node's directory and says what it is.
///
/// # Errors
/// When something is missing or damaged; the message names file and offset.
pub fn inspect(directory: &Path) -> anyhow::Result<String> {
    let owner = fs::read_if_there(&directory.join("node.json")).context("node.json")?;
    let Some(owner) = owner else {
        bail!("{}: this is no directory of a kvnode", directory.display())
    };
    let owner: serde_json::Value = serde_json::from_slice(&owner).context("node.json")?;
    let mut out = String::new();
    writeln!(
        out,
        "node {} of cluster {}, incarnation {}",
        owner["node"], owner["cluster"], owner["incarnation"]
    )?;

    let report = wal::inspect(&RealDisk, &directory.join("log"))?;
    for file in &report.files {
        writeln!(out, "{file}")?;
    }
    let kept = report.kept;
    if let Some(vote) = kept.vote {
        writeln!(out, "vote {vote}")?;
    }
    if let Some(purged) = kept.purged {
        writeln!(out, "purged up to {purged}")?;
    }
    match (kept.entries.first(), kept.entries.last()) {
        (Some(first), Some(last)) => writeln!(out, "entries {} to {}", first.index(), last.index())?,
        _ => writeln!(out, "no entries")?,
    }

    let snapshots = SnapshotDir::look(&directory.join("snapshots"));
    for snapshot in snapshots.snapshots().context("snapshots")? {
        let (meta, state) = snapshot.read()?;
        writeln!(
            out,
            "{}: {} keys, {} bytes, {} answers, state {:032x}, stands for {meta}",
            snapshot.path.display(),
            state.len(),
            state.bytes(),
            state.sessions().len(),
            state.digest()
        )?;
    }
    Ok(out)
}

//! Backups: the state at one index, kept where no node of the cluster is.
//!
//! A backup is a folder of two objects. `snapshot.kv` is a snapshot as nodes write it
//! for themselves, taken on a node that had applied everything acknowledged before
//! (ReadIndex), so it is the store as it was at one moment. `manifest.json` says what
//! the other is, with its length and SHA-256, and is written last: a folder without a
//! manifest is an upload that did not come to its end, and no backup.
//!
//! A restore makes a data directory of a **new** cluster: its own name, so that nodes of
//! the old one and of the new one refuse each other, and a membership of the one node
//! that was restored; others join it empty. Versions go on where they were, since the
//! log goes on behind the backup's index. Idempotency keys are kept: what is in the
//! backup is not executed again. What was acknowledged after the backup is gone.
//!
//! - [`store`] is where backups are: a folder, or an S3-compatible service;
//! - [`transport`] carries `object_store`'s requests over our own sockets and TLS;
//! - [`upload`] sends a snapshot and checks it on the way;
//! - [`take`] makes a backup, for an operator or for the node itself;
//! - [`periodic`] has one node of the cluster make them;
//! - [`restore`] makes a data directory of one.

pub mod args;
pub mod periodic;
pub mod restore;
pub mod store;
pub mod take;
pub mod transport;
pub mod upload;

use serde::{Deserialize, Serialize};

/// Name of the object that holds the state.
pub const SNAPSHOT: &str = "snapshot.kv";
/// Name of the object that says that there is a backup.
pub const MANIFEST: &str = "manifest.json";
/// The form of manifest and snapshot that this version writes and reads.
pub const FORMAT: u32 = 1;

/// What a backup is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// [`FORMAT`] of whoever wrote it.
    pub format: u32,
    /// The backup's name, that of its folder.
    pub id: String,
    /// The cluster that it is of.
    pub cluster: String,
    /// When it was taken, ms since the Unix epoch by the clock of whoever wrote it.
    pub taken_ms: u64,
    /// The same for people, in UTC.
    pub taken: String,
    /// Version of the kvnode that wrote it.
    pub version: String,
    /// Term of the last entry in it.
    pub term: u64,
    /// Index of the last entry in it.
    pub index: u64,
    /// How many keys it has.
    pub keys: u64,
    /// Hash of the state, in hexadecimal: `/status` of a node at that index says the same.
    pub state_hash: String,
    /// Length of the snapshot, bytes.
    pub bytes: u64,
    /// SHA-256 of the snapshot, in hexadecimal.
    pub sha256: String,
}

/// A time in UTC, as RFC 3339 writes it.
pub fn utc(ms: u64) -> String {
    let since = std::time::Duration::from_millis(ms);
    humantime::format_rfc3339_seconds(std::time::SystemTime::UNIX_EPOCH + since).to_string()
}

/// A name for a backup taken now: names sort by time, to the millisecond.
fn fresh_id(taken_ms: u64) -> String {
    let taken = std::time::UNIX_EPOCH + std::time::Duration::from_millis(taken_ms);
    let time: String = humantime::format_rfc3339_millis(taken)
        .to_string()
        .chars()
        .filter(|letter| !"-:.".contains(*letter))
        .collect();
    format!("{time}-{:08x}", crate::env::rng::random_u64() >> 32)
}

/// Bytes in hexadecimal.
fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_sort_by_time() {
        let id = fresh_id(1_795_272_000_123);
        assert!(id.starts_with("20261121T144000123Z-"), "{id}");
        assert_eq!(id.len(), "20261121T144000123Z-".len() + 8);
        assert!(fresh_id(1_795_272_000_122) < id && id < fresh_id(1_795_272_000_124));
    }
}

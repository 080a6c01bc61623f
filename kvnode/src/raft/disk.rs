//! Where the log and the vote are kept: a redb file.
//!
//! Two tables. `log` maps an index to an entry, `notes` holds the vote, the last
//! purged and the last committed log id. Every value is followed by its CRC-32:
//! redb checks its own pages only when it repairs, we check whatever we read. One
//! batch is one transaction, so a crash leaves all of it or nothing.

use std::io;
use std::path::{Path, PathBuf};

use redb::{Database, Durability, ReadableDatabase, ReadableTable, TableDefinition};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Entry, LogId, Vote};

const LOG: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("log");
const NOTES: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("notes");
const VOTE: &str = "vote";
const PURGED: &str = "purged";
const COMMITTED: &str = "committed";

/// One change of what is kept.
#[derive(Debug)]
pub enum Record {
    /// The vote is now this.
    Vote(Vote),
    /// These entries follow the last.
    Append(Vec<Entry>),
    /// Entries from this index on never were.
    TruncateFrom(u64),
    /// Entries up to and with this one are in a snapshot.
    Purge(LogId),
    /// Entries up to and with this one are known to be committed. A hint: losing it
    /// costs a restarted node a later start of its state machine, nothing else.
    Committed(Option<LogId>),
}

/// What a node finds when it starts.
#[derive(Debug, Default)]
pub struct Kept {
    /// The last vote.
    pub vote: Option<Vote>,
    /// The last purged entry's id.
    pub purged: Option<LogId>,
    /// The last entry known to be committed.
    pub committed: Option<LogId>,
    /// All entries after the purged ones, without a hole.
    pub entries: Vec<Entry>,
}

/// Why the file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DiskError {
    /// redb refused: not its file, damaged, or in use by another process.
    #[error(
        "{path}: {error}; if another kvnode uses this directory stop it, else restore the directory or remove this node from the cluster and add it again"
    )]
    Database {
        /// The file.
        path: PathBuf,
        /// redb's words.
        error: redb::Error,
    },
    /// A value does not match its checksum or does not decode.
    #[error(
        "{path}: {what} is damaged; restore the directory, or remove this node from the cluster and add it again"
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Which value.
        what: String,
    },
}

/// The open file.
pub struct Disk {
    path: PathBuf,
    database: Database,
}

impl Disk {
    /// Opens or creates the file and reads all of it.
    ///
    /// # Errors
    /// When the file is in use, damaged, or not ours.
    pub fn open(path: &Path) -> Result<(Disk, Kept), DiskError> {
        let wrong = |error: redb::Error| DiskError::Database {
            path: path.to_owned(),
            error,
        };
        let database = Database::builder()
            .set_cache_size(16 << 20)
            .create(path)
            .map_err(|error| wrong(error.into()))?;
        let disk = Disk {
            path: path.to_owned(),
            database,
        };
        disk.create_tables().map_err(wrong)?;
        let kept = disk.load()?;
        Ok((disk, kept))
    }

    /// Makes a batch of changes durable (`Append`, `Vote`) or at least ordered before
    /// whatever is made durable next (the rest).
    ///
    /// # Errors
    /// Anything redb says. The file's state is then unknown: nothing may be written
    /// to it any more.
    pub fn commit(&mut self, batch: &[Record]) -> io::Result<()> {
        self.write(batch)
            .map_err(|error| io::Error::other(format!("{}: {error}", self.path.display())))
    }

    fn write(&mut self, batch: &[Record]) -> Result<(), redb::Error> {
        let mut transaction = self.database.begin_write()?;
        let durable = batch
            .iter()
            .any(|record| matches!(record, Record::Vote(_) | Record::Append(_)));
        transaction.set_durability(if durable {
            Durability::Immediate
        } else {
            Durability::None
        })?;
        {
            let mut log = transaction.open_table(LOG)?;
            let mut notes = transaction.open_table(NOTES)?;
            for record in batch {
                match record {
                    Record::Vote(vote) => drop(notes.insert(VOTE, sealed(vote).as_slice())?),
                    Record::Append(entries) => {
                        for entry in entries {
                            log.insert(entry.log_id.index, sealed(entry).as_slice())?;
                        }
                    }
                    Record::TruncateFrom(index) => log.retain_in(*index.., |_, _| false)?,
                    Record::Purge(log_id) => {
                        log.retain_in(..=log_id.index, |_, _| false)?;
                        notes.insert(PURGED, sealed(log_id).as_slice())?;
                    }
                    Record::Committed(log_id) => drop(notes.insert(COMMITTED, sealed(log_id).as_slice())?),
                }
            }
        }
        transaction.commit()?;
        Ok(())
    }

    fn create_tables(&self) -> Result<(), redb::Error> {
        let transaction = self.database.begin_write()?;
        transaction.open_table(LOG)?;
        transaction.open_table(NOTES)?;
        transaction.commit()?;
        Ok(())
    }

    fn load(&self) -> Result<Kept, DiskError> {
        let wrong = |error: redb::Error| DiskError::Database {
            path: self.path.clone(),
            error,
        };
        let damaged = |what: String| DiskError::Damaged {
            path: self.path.clone(),
            what,
        };
        let transaction = self.database.begin_read().map_err(|error| wrong(error.into()))?;
        let log = transaction.open_table(LOG).map_err(|error| wrong(error.into()))?;
        let notes = transaction
            .open_table(NOTES)
            .map_err(|error| wrong(error.into()))?;
        let note = |name: &'static str| notes.get(name).map_err(|error| wrong(error.into()));
        let mut kept = Kept::default();
        if let Some(bytes) = note(VOTE)? {
            kept.vote = Some(unsealed(bytes.value()).ok_or_else(|| damaged("the vote".to_owned()))?);
        }
        if let Some(bytes) = note(PURGED)? {
            kept.purged = Some(unsealed(bytes.value()).ok_or_else(|| damaged("the purge mark".to_owned()))?);
        }
        if let Some(bytes) = note(COMMITTED)? {
            kept.committed = unsealed(bytes.value()).ok_or_else(|| damaged("the commit mark".to_owned()))?;
        }
        let mut next = kept.purged.as_ref().map(|log_id| log_id.index + 1);
        for row in log.iter().map_err(|error| wrong(error.into()))? {
            let (index, bytes) = row.map_err(|error| wrong(error.into()))?;
            let index = index.value();
            let entry: Entry =
                unsealed(bytes.value()).ok_or_else(|| damaged(format!("log entry {index}")))?;
            if entry.log_id.index != index || next.is_some_and(|next| next != index) {
                return Err(damaged(format!(
                    "log entry {index} (expected {})",
                    next.unwrap_or(index)
                )));
            }
            next = Some(index + 1);
            kept.entries.push(entry);
        }
        Ok(kept)
    }
}

/// The encoding of a value, followed by its CRC-32.
fn sealed<T: Serialize>(value: &T) -> Vec<u8> {
    let mut bytes = postcard::to_stdvec(value).expect("our types encode");
    let sum = crc32fast::hash(&bytes);
    bytes.extend_from_slice(&sum.to_le_bytes());
    bytes
}

fn unsealed<T: DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    let (bytes, sum) = bytes.split_last_chunk::<4>()?;
    if crc32fast::hash(bytes) != u32::from_le_bytes(*sum) {
        return None;
    }
    postcard::from_bytes(bytes).ok()
}

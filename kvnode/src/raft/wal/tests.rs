use openraft::EntryPayload;
use openraft::vote::leader_id_std::CommittedLeaderId;
use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};

use super::*;
use crate::command::{Command, Operation};
use crate::raft::mem_disk::{Failure, MemDisk};

fn log_id(term: u64, index: u64) -> LogId {
    LogId::new(CommittedLeaderId::new(term), index)
}

fn entry(index: u64, value: &str) -> Entry {
    let operation = Operation::Set {
        key: "k".into(),
        value: value.into(),
        ttl_ms: None,
    };
    Entry::new(log_id(1, index), EntryPayload::Normal(Command::new(operation)))
}

/// What the log must hold, kept in the simplest way.
#[derive(Debug, Default, Clone, PartialEq)]
struct Model {
    vote: Option<Vote>,
    purged: Option<LogId>,
    entries: Vec<Entry>,
}

impl Model {
    fn next(&self) -> u64 {
        let purged = self.purged.map_or(0, |log_id| log_id.index + 1);
        self.entries.last().map_or(purged, |entry| entry.index() + 1)
    }

    fn apply(&mut self, records: &[Record]) {
        for record in records {
            match record.clone() {
                Record::Vote(vote) => self.vote = Some(vote),
                Record::Append(entry) => self.entries.push(entry),
                Record::TruncateFrom(index) => self.entries.retain(|entry| entry.index() < index),
                Record::Purge(log_id) => {
                    self.entries.retain(|entry| entry.index() > log_id.index);
                    self.purged = Some(log_id);
                }
                Record::Committed(_) => {}
            }
        }
    }

    fn of(kept: &Kept) -> Model {
        Model {
            vote: kept.vote.clone(),
            purged: kept.purged,
            entries: kept.entries.clone(),
        }
    }

    /// A batch that makes sense now.
    fn some_batch(&self, rng: &mut ChaCha8Rng) -> Vec<Record> {
        let mut after = self.clone();
        let mut records = Vec::new();
        for _ in 0..rng.random_range(1..4) {
            let first = after.purged.map_or(0, |log_id| log_id.index + 1);
            let record = match rng.random_range(0..10) {
                0 => Record::Vote(Vote::new(rng.random_range(0..9), "n1".parse().expect("a name"))),
                1 if after.next() > first => Record::TruncateFrom(rng.random_range(first..after.next())),
                2 if after.next() > first => Record::Purge(log_id(1, rng.random_range(first..after.next()))),
                3 => Record::Committed(Some(log_id(1, after.next()))),
                _ => Record::Append(entry(after.next(), &"v".repeat(rng.random_range(0..300)))),
            };
            after.apply(std::slice::from_ref(&record));
            records.push(record);
        }
        records
    }
}

fn open(disk: &MemDisk) -> Result<(Wal<MemDisk>, Kept), WalError> {
    let (mut wal, kept) = Wal::open(disk.clone(), Path::new("log"))?;
    wal.segment_bytes = 2000;
    Ok((wal, kept))
}

/// The models before each batch of a run of one seed, ended by the first failure; the
/// last but one is what was acknowledged.
fn run(disk: &MemDisk, seed: u64, batches: usize) -> Vec<Model> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut models = vec![Model::default()];
    let Ok((mut wal, _)) = open(disk) else {
        return models;
    };
    for _ in 0..batches {
        let mut model = models.last().expect("one").clone();
        let records = model.some_batch(&mut rng);
        model.apply(&records);
        let mut written = wal.commit(&records);
        if written
            .as_ref()
            .is_err_and(|error| error.kind() == io::ErrorKind::StorageFull)
        {
            written = wal.commit(&records);
        }
        if written.is_err() {
            models.push(model);
            return models;
        }
        models.push(model);
        if rng.random_bool(0.3) && wal.seal().is_err() {
            break;
        }
    }
    models.push(models.last().expect("one").clone());
    models
}

/// Every call to the disk fails once, in every way, then power goes: what was
/// acknowledged is there, and of the batch under way all or nothing.
#[test]
fn whatever_fails_nothing_acknowledged_is_lost() {
    for seed in 0..12 {
        let quiet = MemDisk::default();
        run(&quiet, seed, 60);
        let calls = quiet.calls();
        assert!(calls > 100, "the run must do something");
        for at in 1..=calls {
            for failure in [Failure::Error, Failure::Torn, Failure::Full] {
                let disk = MemDisk::failing(at, failure);
                let models = run(&disk, seed, 60);
                let mut rng = ChaCha8Rng::seed_from_u64(seed ^ at as u64);
                disk.crash(&mut rng);
                let name = format!("seed {seed}, call {at}, {failure:?}");
                let (_, kept) = open(&disk).unwrap_or_else(|error| panic!("{name}: {error}"));
                let found = Model::of(&kept);
                let [.., acknowledged, last] = &models[..] else {
                    assert_eq!(found, Model::default(), "{name}");
                    continue;
                };
                assert!(
                    found == *acknowledged || found == *last,
                    "{name}: found {found:#?}"
                );
                // And it opens again, to the same.
                assert_eq!(Model::of(&open(&disk).expect("a second time").1), found, "{name}");
            }
        }
    }
}

/// A log of several files, closed in order, its end sealed.
fn closed_log() -> (MemDisk, Model) {
    let disk = MemDisk::default();
    let (mut wal, _) = open(&disk).expect("a fresh log");
    let mut model = Model::default();
    for index in 0..40 {
        let records = [Record::Append(entry(index, &"v".repeat(80)))];
        wal.commit(&records).expect("a batch");
        model.apply(&records);
    }
    wal.seal().expect("a seal");
    assert!(disk.paths().len() > 2);
    (disk, model)
}

/// Any damaged byte of what was synced stops the node and is named; only the seal
/// itself may be cut off.
#[test]
fn damage_is_never_taken_for_a_torn_tail() {
    let (disk, model) = closed_log();
    for path in disk.paths() {
        let bytes = disk.read(&path).expect("the file");
        let length = bytes.iter().rposition(|byte| *byte != 0).expect("a batch") + 1;
        for at in 0..bytes.len() {
            let damaged = disk.copy();
            damaged.edit(&path, |bytes| bytes[at] ^= 1 << (at % 8));
            match open(&damaged) {
                Err(WalError::Damaged {
                    path: named, offset, ..
                }) => {
                    assert_eq!(named, path);
                    assert!(offset as usize <= at, "damage at {at} is said to be at {offset}");
                }
                Err(error) => panic!("byte {at} of {}: {error}", path.display()),
                Ok((_, kept)) => {
                    assert_eq!(
                        Model::of(&kept),
                        model,
                        "byte {at} of {} was lost",
                        path.display()
                    );
                    assert!(
                        at >= length - HEAD,
                        "damage at byte {at} of {} went unnoticed",
                        path.display()
                    );
                }
            }
        }
    }
}

/// A file that ends early ends between two batches afterwards, whatever was cut.
#[test]
fn a_torn_tail_is_cut() {
    let (disk, model) = closed_log();
    let path = disk.paths().pop().expect("a file");
    let length = disk.read(&path).expect("the file").len();
    let mut left = Vec::new();
    for keep in 0..length {
        let cut = disk.copy();
        cut.edit(&path, |bytes| bytes.truncate(keep));
        let (mut wal, kept) = open(&cut).unwrap_or_else(|error| panic!("cut to {keep}: {error}"));
        let found = Model::of(&kept);
        assert_eq!(
            found.entries,
            model.entries[..found.entries.len()],
            "cut to {keep}"
        );
        left.push(found.entries.len());
        // The log goes on from there.
        wal.commit(&[Record::Append(entry(found.next(), "more"))])
            .expect("a batch");
        assert_eq!(
            open(&cut).expect("again").1.entries.len(),
            found.entries.len() + 1
        );
    }
    assert!(
        left.is_sorted() && left.last() == Some(&model.entries.len()),
        "{left:?}"
    );
}

/// Room that was taken and not used is no torn tail, and does not stay.
#[test]
fn unused_room_is_cut_off() {
    let (disk, model) = closed_log();
    let path = disk.paths().pop().expect("a file");
    let before = inspect(&disk, Path::new("log")).expect("a whole log");
    assert!(
        !before.files.iter().any(|file| file.contains("torn")),
        "{before:?}"
    );
    let with_room = disk.read(&path).expect("the file");
    assert!(with_room.ends_with(&[0; 100]), "room is taken ahead");
    let (_, kept) = open(&disk).expect("it opens");
    assert_eq!(Model::of(&kept), model);
    let without = disk.read(&path).expect("the file");
    assert!(without.len() + 100 < with_room.len());
    assert!(with_room.starts_with(&without));
}

/// Room is for small batches; a large one takes what it needs and leaves nothing behind it.
#[test]
fn a_large_batch_takes_no_room_ahead() {
    let disk = MemDisk::default();
    let (mut wal, _) = Wal::open(disk.clone(), Path::new("log")).expect("a fresh log");
    let path = disk.paths().pop().expect("a file");
    let (small, large) = ("v".repeat(80), "v".repeat(LARGE_BYTES as usize));
    let (mut model, mut index) = (Model::default(), 0);
    let mut commit = |value: &str| {
        let records = [Record::Append(entry(index, value))];
        index += 1;
        wal.commit(&records).expect("a batch");
        model.apply(&records);
        let bytes = disk.read(&path).expect("the file");
        let used = bytes.iter().rposition(|byte| *byte != 0).expect("a batch") + 1;
        (bytes.len() - used) as u64
    };
    // A record may end in a few zeros of its own.
    assert!(commit(&large) < 16);
    assert!(commit(&small) > LARGE_BYTES);
    // What there is of room is used, and the rest grows with the batch.
    let left = (0..).map(|_| commit(&large)).find(|left| *left < LARGE_BYTES);
    assert!(left.is_some());
    assert!(commit(&large) < 16);
    assert!(commit(&small) > LARGE_BYTES);
    assert_eq!(
        Model::of(&Wal::open(disk, Path::new("log")).expect("it opens").1),
        model
    );
}

#[test]
fn files_that_hold_only_what_was_purged_go() {
    let disk = MemDisk::default();
    let (mut wal, _) = open(&disk).expect("a fresh log");
    let vote = Vote::new(7, "n2".parse().expect("a name"));
    wal.commit(&[Record::Vote(vote.clone())]).expect("a batch");
    for index in 0..2000 {
        wal.commit(&[Record::Append(entry(index, &"v".repeat(80)))])
            .expect("a batch");
        if index % 50 == 49 {
            wal.commit(&[Record::Purge(log_id(1, index - 10))])
                .expect("a batch");
        }
    }
    assert!(disk.paths().len() < 8, "{} files are left", disk.paths().len());
    let (_, kept) = open(&disk).expect("it opens");
    assert_eq!((kept.vote, kept.purged), (Some(vote), Some(log_id(1, 1989))));
    assert_eq!(kept.entries.len(), 10);
}

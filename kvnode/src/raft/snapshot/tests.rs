use std::io::Cursor;

use openraft::vote::leader_id_std::CommittedLeaderId;
use rand::SeedableRng;
use rand::rngs::ChaCha8Rng;

use super::*;
use crate::command::{Command, Operation};
use crate::raft::LogId;
use crate::raft::mem_disk::{Failure, MemDisk};

/// Snapshots that are taken one after the other in a run.
const SNAPSHOTS: u64 = 4;

/// The state at this index.
fn state(index: u64) -> (SnapshotMeta, State) {
    let mut state = State::default();
    for n in 1..=index {
        let operation = Operation::Set {
            key: format!("k{n}").into(),
            value: "v".repeat(200).into(),
            ttl_ms: None,
        };
        state.apply(1, n, &Command::new(operation), &mut Vec::new());
    }
    let meta = SnapshotMeta {
        last_log_id: Some(LogId::new(CommittedLeaderId::new(1), index)),
        ..SnapshotMeta::default()
    };
    (meta, state)
}

/// Takes snapshots until one fails; tells the last that was taken, and the last begun.
fn run(disk: &MemDisk) -> (u64, u64) {
    let Ok(directory) = SnapshotDir::on(disk.clone(), Path::new("snapshots")) else {
        return (0, 0);
    };
    let mut taken = 0;
    for index in 1..=SNAPSHOTS {
        let (meta, state) = state(index + 4);
        let mut saved = directory.save(&meta, &state);
        if saved
            .as_ref()
            .is_err_and(|error| error.kind() == io::ErrorKind::StorageFull)
        {
            saved = directory.save(&meta, &state);
        }
        if saved.is_err() {
            return (taken, index + 4);
        }
        taken = index + 4;
    }
    (taken, taken)
}

/// Every call to the disk fails once, in every way, then power goes: the newest snapshot is
/// whole, and it is the last that was taken or the one under way.
#[test]
fn whatever_fails_the_last_snapshot_is_whole() {
    let quiet = MemDisk::default();
    assert_eq!(run(&quiet), (SNAPSHOTS + 4, SNAPSHOTS + 4));
    assert!(quiet.calls() > 15, "the run must do something");
    assert_eq!(quiet.paths().len(), 1, "older ones are removed");
    for at in 1..=quiet.calls() + 1 {
        for failure in [Failure::Error, Failure::Torn, Failure::Full] {
            for seed in 0..4 {
                let disk = MemDisk::failing(at, failure);
                let (taken, begun) = run(&disk);
                disk.crash(&mut ChaCha8Rng::seed_from_u64(seed ^ at as u64));
                let name = format!("call {at}, {failure:?}, seed {seed}");
                let directory = SnapshotDir::on(disk.clone(), Path::new("snapshots")).expect("it opens");
                let left = directory.snapshots().expect("a list").pop();
                let Some(SnapshotFile { path }) = left else {
                    assert_eq!(taken, 0, "{name}: it is gone");
                    continue;
                };
                let bytes = disk.read(&path).expect("the file");
                let found = Reader::of(&path, Cursor::new(bytes)).and_then(Reader::whole);
                let (meta, found) = found.unwrap_or_else(|error| panic!("{name}: {error}"));
                assert!(
                    found.applied() == taken || found.applied() == begun,
                    "{name}: {} is there, {taken} was taken",
                    found.applied()
                );
                let (wanted_meta, wanted) = state(found.applied());
                assert_eq!((meta, found.digest()), (wanted_meta, wanted.digest()), "{name}");
                let half = disk
                    .paths()
                    .iter()
                    .any(|path| path.extension().is_some_and(|end| end == "tmp"));
                assert!(!half, "{name}: what was half written stays");
            }
        }
    }
}

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use clap::{CommandFactory, FromArgMatches};

use super::*;
use crate::cli::Cli;
use crate::env::fs::{Disk, RealDisk};
use crate::seams::Honest;

/// A disk that has no room for so many new files.
#[derive(Clone)]
struct Full(Arc<AtomicUsize>);

impl Disk for Full {
    type File = fs::File;

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        RealDisk.create_dir(path)
    }

    fn create(&self, path: &Path) -> io::Result<fs::File> {
        let less = |left: usize| left.checked_sub(1);
        match self.0.fetch_update(Ordering::SeqCst, Ordering::SeqCst, less) {
            Ok(_) => Err(io::ErrorKind::StorageFull.into()),
            Err(_) => RealDisk.create(path),
        }
    }

    fn open(&self, path: &Path) -> io::Result<fs::File> {
        RealDisk.open(path)
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        RealDisk.read(path)
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<PathBuf>> {
        RealDisk.list(directory)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        RealDisk.remove(path)
    }

    fn sync_dir(&self, directory: &Path) -> io::Result<()> {
        RealDisk.sync_dir(directory)
    }
}

/// A node that is restarted while its disk is full comes back when there is room.
#[tokio::test]
async fn a_start_waits_for_room_on_the_disk() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let flags = [
        "kvnode",
        "--node",
        "n1",
        "--cluster",
        "n1=127.0.0.1:1:2",
        "--data-dir",
    ];
    let matches = Cli::command().get_matches_from([&flags[..], &[data.to_str().unwrap()]].concat());
    let config = Cli::from_arg_matches(&matches)
        .unwrap()
        .node
        .plan(&matches)
        .unwrap()
        .config;
    let disk = Full(Arc::new(AtomicUsize::new(2)));
    let opened = opened(&config, disk.clone(), Arc::new(Honest)).await;
    assert!(opened.is_ok(), "{:?}", opened.err());
    assert_eq!(
        disk.0.load(Ordering::SeqCst),
        0,
        "it was tried until there was room"
    );
}

//! What stays of a run's folder.

use std::collections::BTreeSet;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// Valid runs whose small files stay; the oldest go first.
const VALID_RUNS: usize = 50;

/// Takes what is large out of a valid run's folder: its history, and the folders of its nodes. Verdict, report
/// and settings stay.
pub(super) fn lighten(run: &Path) {
    let Ok(entries) = fs::read_dir(run) else { return };
    for entry in entries.flatten() {
        let path = entry.path();
        let directory = entry.file_type().is_ok_and(|kind| kind.is_dir());
        // What cannot be removed stays; the next run is none the worse for it.
        if directory {
            let _ = fs::remove_dir_all(path);
        } else if entry.file_name() == "history.jsonl" {
            let _ = fs::remove_file(path);
        }
    }
}

/// Removes the oldest of these valid runs where they are more than a few.
pub(super) fn thin_out(valid: &[PathBuf]) {
    for old in &valid[..valid.len().saturating_sub(VALID_RUNS)] {
        let _ = fs::remove_dir_all(old);
    }
}

/// Removes the runs in `store` that nobody knows: those that a kill cut short.
pub(super) fn sweep(store: &Path, known: &BTreeSet<PathBuf>) {
    for test in folders(store) {
        for run in folders(&test) {
            if !known.contains(&run) {
                forget(store, &run);
            }
        }
    }
}

/// Removes a run and the links to it.
pub(crate) fn forget(store: &Path, run: &Path) {
    for link in ["latest", "current"].map(|name| store.join(name)) {
        if fs::read_link(&link).is_ok_and(|target| store.join(target) == run) {
            let _ = fs::remove_file(link);
        }
    }
    let _ = fs::remove_dir_all(run);
}

fn folders(path: &Path) -> Vec<PathBuf> {
    match fs::read_dir(path) {
        Ok(entries) => entries
            .flatten()
            .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
            .map(|entry| entry.path())
            .collect(),
        Err(error) => {
            if error.kind() != ErrorKind::NotFound {
                tracing::warn!(%error, "{} cannot be read", path.display());
            }
            Vec::new()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_knows_goes_and_what_is_large() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = folder.path();
        for run in ["t/1", "t/2", "u/3"] {
            fs::create_dir_all(store.join(run).join("n1")).expect("made");
            fs::write(store.join(run).join("history.jsonl"), "{}").expect("written");
            fs::write(store.join(run).join("results.json"), "{}").expect("written");
        }
        std::os::unix::fs::symlink("t/2", store.join("current")).expect("linked");
        sweep(store, &BTreeSet::from([store.join("t/1"), store.join("u/3")]));
        assert!(!store.join("t/2").exists() && fs::read_link(store.join("current")).is_err());
        assert!(store.join("t/1/history.jsonl").exists());
        lighten(&store.join("u/3"));
        assert!(!store.join("u/3/history.jsonl").exists() && !store.join("u/3/n1").exists());
        assert!(store.join("u/3/results.json").exists());
        let many: Vec<PathBuf> = (0..VALID_RUNS + 1)
            .map(|n| store.join("v").join(n.to_string()))
            .collect();
        many.iter().for_each(|run| fs::create_dir_all(run).expect("made"));
        thin_out(&many);
        assert!(!many[0].exists() && many[1].exists());
    }
}

//! What a run could leave running.

use std::fs;
use std::path::Path;

use crate::patience::wait_until;

/// Processes that name `dir` on their command line: the nodes do, by their data directories.
fn processes_of(dir: &Path) -> Vec<String> {
    let needle = dir.to_str().expect("text");
    let entries = fs::read_dir("/proc").expect("/proc").flatten();
    let lines = entries.filter_map(|entry| fs::read(entry.path().join("cmdline")).ok());
    lines
        .map(|line| String::from_utf8_lossy(&line).replace('\0', " "))
        .filter(|line| line.contains(needle))
        .collect()
}

/// Waits until none is left.
pub(crate) fn all_gone(dir: &Path) {
    wait_until(
        || processes_of(dir).is_empty(),
        || format!("still there: {:?}", processes_of(dir)),
    );
}

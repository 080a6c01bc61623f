//! Where runs are kept: `store/<test>/<start time>/`, with links `latest` and `current`.

use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// The folder of one run.
#[derive(Debug, Clone)]
pub struct RunDir {
    root: PathBuf,
    path: PathBuf,
}

impl RunDir {
    /// Makes the folder for a run of `test` that starts at `started`, and points `current` at it.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub fn create(root: &Path, test: &str, started: jiff::Timestamp) -> Result<Self> {
        let what = || format!("the store at {} (choose another with --store)", root.display());
        fs::create_dir_all(root).with_context(what)?;
        let root = root.canonicalize().with_context(what)?;
        let stamp = started.strftime("%Y%m%dT%H%M%S.%3fZ").to_string();
        let parent = root.join(test);
        fs::create_dir_all(&parent).with_context(what)?;
        // Two runs may start in the same millisecond.
        let mut path = parent.join(&stamp);
        let mut again = 1;
        while let Err(e) = fs::create_dir(&path) {
            if e.kind() != io::ErrorKind::AlreadyExists || again > 99 {
                return Err(e).with_context(what);
            }
            path = parent.join(format!("{stamp}-{again}"));
            again += 1;
        }
        let dir = Self { root, path };
        dir.link("current").with_context(what)?;
        Ok(dir)
    }

    /// The folder itself, absolute.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A file or folder of the run.
    #[must_use]
    pub fn join(&self, name: impl AsRef<Path>) -> PathBuf {
        self.path.join(name)
    }

    /// The folder of one node: its log and its data.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn node(&self, name: &str) -> io::Result<PathBuf> {
        let path = self.path.join(name);
        fs::create_dir_all(&path)?;
        Ok(path)
    }

    /// The cluster is gone: `latest` points here, `current` nowhere.
    ///
    /// # Errors
    /// When the links cannot be changed.
    pub fn finish(&self) -> io::Result<PathBuf> {
        self.link("latest")?;
        self.release()?;
        Ok(self.root.join("latest"))
    }

    /// Takes `current` away where it still points here.
    ///
    /// # Errors
    /// When the link cannot be removed.
    pub fn release(&self) -> io::Result<()> {
        let current = self.root.join("current");
        match fs::read_link(&current) {
            Ok(target) if self.root.join(&target) == self.path => fs::remove_file(current),
            _ => Ok(()),
        }
    }

    /// Points a link of the store here; replaced by renaming, so that it is never missing.
    fn link(&self, name: &str) -> io::Result<()> {
        let target = self.path.strip_prefix(&self.root).unwrap_or(&self.path);
        let aside = self.root.join(format!(".{name}.{}", std::process::id()));
        let _ = fs::remove_file(&aside);
        symlink(target, &aside)?;
        fs::rename(&aside, self.root.join(name))
    }
}

/// How deep runs lie at most: `soak/NAME/runs/TEST/TIME`, and one more.
const DEPTH: usize = 6;
/// Runs that are looked at; beyond that, the oldest folders by name are left out.
const MOST: usize = 20_000;

/// Whether a run left this folder.
pub(crate) fn is_run(folder: &Path) -> bool {
    ["test.toml", "history.jsonl", "results.json"]
        .iter()
        .any(|name| folder.join(name).is_file())
}

/// The folders of the runs in a folder, itself included, the last by name first.
pub(crate) fn runs_below(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    walk(folder, DEPTH, &mut found);
    found
}

/// Links are not followed: each run is found once, and none outside.
fn walk(folder: &Path, depth: usize, found: &mut Vec<PathBuf>) {
    if found.len() >= MOST {
        return;
    }
    if is_run(folder) {
        found.push(folder.to_owned());
        return;
    }
    let Ok(entries) = fs::read_dir(folder) else { return };
    let mut below: Vec<PathBuf> = entries
        .flatten()
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|entry| entry.path())
        .collect();
    below.sort();
    if depth > 0 {
        below
            .iter()
            .rev()
            .for_each(|folder| walk(folder, depth - 1, found));
    }
}

/// Writes a file whole or not at all.
///
/// # Errors
/// When the disk refuses.
pub fn write_whole(path: &Path, bytes: &[u8]) -> Result<()> {
    let aside = path.with_extension("part");
    fs::write(&aside, bytes)
        .and_then(|()| fs::rename(&aside, path))
        .with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_follow_the_run() {
        let folder = tempfile::tempdir().expect("a folder");
        let root = folder.path().join("store");
        let now = jiff::Timestamp::now();
        let first = RunDir::create(&root, "t", now).expect("made");
        let second = RunDir::create(&root, "t", now).expect("made in the same millisecond");
        assert_ne!(first.path(), second.path());
        let target = |name: &str| fs::canonicalize(root.join(name)).ok();
        assert_eq!(target("current").as_deref(), Some(second.path()));
        first.finish().expect("finished");
        assert_eq!(target("latest").as_deref(), Some(first.path()));
        assert_eq!(
            target("current").as_deref(),
            Some(second.path()),
            "another run's link is left alone"
        );
        second.finish().expect("finished");
        assert_eq!(target("current"), None);
    }
}

//! Copies of programs, named after their content: `target/nodes/<profile>/kvnode-<beginning of its SHA-256>`.
//!
//! - What has a name never changes its content: a copy comes into its place whole, by renaming.
//! - Who uses a copy holds a shared lock on it, as long as it may be started again.
//! - Copies that nobody uses go after a while. Whoever takes something from the shelf clears it up.
//! - All of this happens under one exclusive lock, which the builder of a program holds as well.

use std::ffi::OsStr;
use std::fs::{self, File, FileTimes, Permissions, TryLockError};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, bail};

use super::sha256;

/// A copy that nobody has used for so long goes. A program that is built many times an hour leaves many.
const UNUSED: Duration = Duration::from_secs(3600);
/// How much of the hash is in the name.
const DIGITS: usize = 16;
/// How often a program is copied that changes while it is.
const TRIES: usize = 5;

/// The folder of the copies.
#[derive(Debug)]
pub(super) struct Shelf(PathBuf);

/// As long as there is one, nobody else has one of the same shelf.
#[derive(Debug)]
pub(super) struct Alone {
    _lock: File,
}

/// A program that can be started again and again, and is the same each time.
#[derive(Debug)]
pub(super) struct OnShelf {
    /// Where it lies.
    pub(super) path: PathBuf,
    /// SHA-256 of its content, in hexadecimal.
    pub(super) sha256: String,
    /// Keeps it on the shelf; none where it lies elsewhere.
    pub(super) in_use: Option<File>,
}

impl Shelf {
    /// The shelf in this folder, which is made where it is not there.
    ///
    /// # Errors
    /// When it cannot be made.
    pub(super) fn open(folder: &Path) -> Result<Self> {
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        Ok(Self(folder.to_owned()))
    }

    /// Waits until nobody else builds or copies; says whom it waits for.
    ///
    /// # Errors
    /// When the lock cannot be had at all.
    pub(super) fn alone(&self, for_whom: &str) -> Result<Alone> {
        let path = self.0.join(".lock");
        let lock = || {
            let file = File::options().create(true).append(true).open(&path)?;
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => {
                    nemesis::complain!("waiting for {for_whom}");
                    file.lock()?;
                }
                Err(TryLockError::Error(error)) => return Err(error),
            }
            Ok(Alone { _lock: file })
        };
        lock().with_context(|| format!("cannot lock {}", path.display()))
    }

    /// Puts a copy of a program here, where there is none yet, and holds on to it.
    ///
    /// # Errors
    /// When it cannot be read or copied, or changes all the time.
    pub(super) fn keep(&self, program: &Path, _alone: &Alone) -> Result<OnShelf> {
        let name = program.file_name().and_then(OsStr::to_str).unwrap_or("node");
        for _ in 0..TRIES {
            let sha256 = sha256(program)?;
            let path = self.0.join(format!("{name}-{}", &sha256[..DIGITS]));
            // One that was damaged since is replaced: whoever runs it keeps the file that it has open.
            if !(path.is_file() && super::sha256(&path)? == sha256) {
                let part = self.0.join(format!("{name}.part"));
                copy(program, &part)
                    .with_context(|| format!("cannot copy {} to {}", program.display(), part.display()))?;
                if super::sha256(&part)? != sha256 {
                    continue;
                }
                fs::rename(&part, &path).with_context(|| format!("cannot write {}", path.display()))?;
            }
            let in_use = hold(&path).with_context(|| format!("cannot lock {}", path.display()))?;
            if let Err(error) = self.clear_up(name, &path) {
                tracing::debug!(%error, "old copies of {name} stay");
            }
            return Ok(OnShelf {
                path,
                sha256,
                in_use: Some(in_use),
            });
        }
        bail!(
            "{} is being written all the time; wait until its build is over",
            program.display()
        )
    }

    /// Takes away what nobody has used for long.
    fn clear_up(&self, name: &str, stays: &Path) -> io::Result<()> {
        for entry in fs::read_dir(&self.0)? {
            let path = entry?.path();
            let ours = path
                .file_name()
                .and_then(OsStr::to_str)
                .and_then(|file| file.strip_prefix(name))
                .is_some_and(|rest| rest.starts_with('-') || rest == ".part");
            if !ours || path == stays {
                continue;
            }
            let file = File::open(&path)?;
            let age = SystemTime::now().duration_since(file.metadata()?.accessed()?);
            if age.is_ok_and(|age| age > UNUSED) && file.try_lock().is_ok() {
                fs::remove_file(&path)?;
            }
        }
        Ok(())
    }
}

/// Copies a program so that whoever may start it may not write it.
fn copy(program: &Path, part: &Path) -> io::Result<()> {
    match fs::remove_file(part) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    fs::copy(program, part)?;
    fs::set_permissions(part, Permissions::from_mode(0o555))
}

/// Locks a copy for use, and notes when that was.
fn hold(path: &Path) -> io::Result<File> {
    let file = File::open(path)?;
    file.lock_shared()?;
    // Not when it was written: whoever starts it again looks at that, to see whether it is still the same.
    file.set_times(FileTimes::new().set_accessed(SystemTime::now()))?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_copies_go_when_nobody_uses_them() {
        let folder = tempfile::tempdir().expect("a folder");
        let shelf = Shelf::open(&folder.path().join("shelf")).expect("made");
        let program = folder.path().join("node");
        let keep = |text: &str| {
            fs::write(&program, text).expect("written");
            shelf
                .keep(&program, &shelf.alone("nobody").expect("free"))
                .expect("kept")
        };
        let [used, unused, young] = ["used", "unused", "young"].map(keep);
        let long_ago = SystemTime::now() - 2 * UNUSED;
        for old in [&used, &unused] {
            File::open(&old.path)
                .and_then(|file| file.set_times(FileTimes::new().set_accessed(long_ago)))
                .expect("aged");
        }
        let let_go = |program: OnShelf| program.path;
        let (unused, young) = (let_go(unused), let_go(young));
        keep("another");
        assert!(used.path.exists() && !unused.exists() && young.exists());
        // What is taken again is young again.
        let path = let_go(used);
        keep("used");
        keep("another");
        assert!(path.exists());
        let left = fs::read_dir(&shelf.0).expect("there").count();
        assert_eq!(left, 4, "three copies and the lock");
    }

    #[test]
    fn a_copy_that_was_damaged_is_replaced() {
        let folder = tempfile::tempdir().expect("a folder");
        let shelf = Shelf::open(folder.path()).expect("there");
        let alone = shelf.alone("nobody").expect("free");
        let program = folder.path().join("node");
        fs::write(&program, "whole").expect("written");
        let kept = shelf.keep(&program, &alone).expect("kept");
        fs::remove_file(&kept.path).expect("removed");
        fs::write(&kept.path, "dam").expect("written");
        let again = shelf.keep(&program, &alone).expect("kept");
        assert_eq!(again.path, kept.path);
        assert_eq!(fs::read_to_string(&again.path).expect("read"), "whole");
    }
}

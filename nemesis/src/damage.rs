//! Damage to the files of a dead node: where it strikes, and striking.
//!
//! For backends without a simulated disk. There is no undo: the node must notice.

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use rand::RngExt;
use rand::rngs::ChaCha8Rng;

use crate::fault::Damage;

/// A file that could be damaged.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Found {
    pub(crate) path: PathBuf,
    /// Its length in bytes.
    pub(crate) length: u64,
}

/// What is done to one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Wound {
    /// It ends here now.
    Cut { path: PathBuf, length: u64, was: u64 },
    /// This bit (0 is the lowest) of the byte at this offset is another.
    Flip { path: PathBuf, offset: u64, bit: u8 },
}

impl std::fmt::Display for Wound {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Wound::Cut { path, length, was } => {
                write!(f, "{} cut from {was} to {length} bytes", path.display())
            }
            Wound::Flip { path, offset, bit } => {
                write!(f, "{}: bit {bit} of byte {offset} flipped", path.display())
            }
        }
    }
}

/// Where damage strikes: a pure choice among the files that hold something. Each
/// byte is as likely as every other to be hit by a flip, each file by a cut.
pub(crate) fn choose(damage: Damage, found: &[Found], rng: &mut ChaCha8Rng) -> Option<Vec<Wound>> {
    let mut files: Vec<&Found> = found.iter().filter(|file| file.length > 0).collect();
    // However the file system lists them.
    files.sort();
    if files.is_empty() {
        return None;
    }
    Some(match damage {
        Damage::Truncate { bytes } => {
            let file = files[rng.random_range(0..files.len())];
            vec![Wound::Cut {
                path: file.path.clone(),
                length: file.length.saturating_sub(bytes),
                was: file.length,
            }]
        }
        Damage::BitFlip { bits } => {
            let total: u64 = files.iter().map(|file| file.length).sum();
            let flip = |_| {
                let mut offset = rng.random_range(0..total);
                let mut hit = files.iter();
                let mut file = hit.next().expect("there is one");
                while offset >= file.length {
                    offset -= file.length;
                    file = hit.next().expect("the lengths add up");
                }
                Wound::Flip {
                    path: file.path.clone(),
                    offset,
                    bit: rng.random_range(0..8),
                }
            };
            (0..bits).map(flip).collect()
        }
    })
}

/// The files below these folders.
pub(crate) fn files_below(folders: &[PathBuf]) -> std::io::Result<Vec<Found>> {
    let mut found = Vec::new();
    let mut folders = folders.to_vec();
    while let Some(folder) = folders.pop() {
        let entries = match std::fs::read_dir(&folder) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            entries => entries?,
        };
        for entry in entries {
            let entry = entry?;
            let kind = entry.file_type()?;
            if kind.is_dir() {
                folders.push(entry.path());
            } else if kind.is_file() {
                let length = entry.metadata()?.len();
                found.push(Found {
                    path: entry.path(),
                    length,
                });
            }
        }
    }
    Ok(found)
}

/// Strikes, and reads back that it did. On disk when it returns.
pub(crate) fn strike(wound: &Wound) -> std::io::Result<bool> {
    let open = |path: &Path| OpenOptions::new().read(true).write(true).open(path);
    match wound {
        Wound::Cut { path, length, .. } => {
            let file = open(path)?;
            file.set_len(*length)?;
            file.sync_all()?;
            Ok(file.metadata()?.len() == *length)
        }
        Wound::Flip { path, offset, bit } => {
            let file = open(path)?;
            let mut byte = [0];
            file.read_exact_at(&mut byte, *offset)?;
            let flipped = [byte[0] ^ (1 << bit)];
            file.write_all_at(&flipped, *offset)?;
            file.sync_all()?;
            file.read_exact_at(&mut byte, *offset)?;
            Ok(byte == flipped)
        }
    }
}

/// Damages files below these folders of this machine, and says what was done and
/// whether it was seen to be.
pub(crate) fn damage_folders(
    damage: Damage,
    folders: &[PathBuf],
    rng: &mut ChaCha8Rng,
) -> std::io::Result<(bool, String)> {
    let Some(wounds) = choose(damage, &files_below(folders)?, rng) else {
        return Ok((false, "there is nothing in its files to damage".to_owned()));
    };
    let mut seen = true;
    for wound in &wounds {
        seen &= strike(wound)?;
    }
    Ok((seen, told(&wounds)))
}

/// The wounds as a sentence.
pub(crate) fn told(wounds: &[Wound]) -> String {
    let all: Vec<String> = wounds.iter().map(Wound::to_string).collect();
    all.join("; ")
}

/// Removes everything in these folders, which stay.
pub(crate) fn empty(folders: &[PathBuf]) -> std::io::Result<()> {
    for folder in folders {
        let entries = match std::fs::read_dir(folder) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            entries => entries?,
        };
        for entry in entries {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                std::fs::remove_dir_all(entry.path())?;
            } else {
                std::fs::remove_file(entry.path())?;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    fn folder() -> tempfile::TempDir {
        let folder = tempfile::tempdir().expect("a temporary folder");
        std::fs::create_dir(folder.path().join("deep")).expect("a folder");
        for (name, bytes) in [("a", 100), ("deep/b", 50), ("empty", 0)] {
            std::fs::write(folder.path().join(name), vec![7u8; bytes]).expect("writable");
        }
        folder
    }

    fn contents(folder: &tempfile::TempDir) -> Vec<u8> {
        ["a", "deep/b", "empty"]
            .iter()
            .flat_map(|name| std::fs::read(folder.path().join(name)).expect("readable"))
            .collect()
    }

    #[test]
    fn bits_are_flipped_and_nothing_else() {
        let folder = folder();
        let mut rng = ChaCha8Rng::seed_from_u64(5);
        let below = [folder.path().to_owned()];
        let (seen, said) =
            damage_folders(Damage::BitFlip { bits: 3 }, &below, &mut rng).expect("files of ours");
        assert!(seen, "{said}");
        let ones = contents(&folder)
            .iter()
            .map(|byte| (byte ^ 7).count_ones())
            .sum::<u32>();
        // Two flips of one bit would undo each other: not with this seed.
        assert_eq!((contents(&folder).len(), ones), (150, 3), "{said}");
    }

    #[test]
    fn a_file_loses_its_end_and_an_empty_one_is_never_chosen() {
        for seed in 0..20 {
            let folder = folder();
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            let below = [folder.path().to_owned()];
            let (seen, said) =
                damage_folders(Damage::Truncate { bytes: 60 }, &below, &mut rng).expect("files of ours");
            assert!(seen, "{said}");
            assert!([90, 100].contains(&contents(&folder).len()), "{said}");
        }
        let nothing = [Found {
            path: "empty".into(),
            length: 0,
        }];
        let mut rng = ChaCha8Rng::seed_from_u64(0);
        assert_eq!(choose(Damage::BitFlip { bits: 1 }, &nothing, &mut rng), None);
    }

    #[test]
    fn a_wiped_folder_is_empty_and_there() {
        let folder = folder();
        empty(&[folder.path().to_owned()]).expect("ours");
        assert_eq!(std::fs::read_dir(folder.path()).expect("there").count(), 0);
    }
}

//! The runs of a store: found by walking it, read from what each run left.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;
use serde::Deserialize;

use crate::store::{is_run, runs_below};

/// A run without results whose files did not change for so long is not under way.
const QUIET: Duration = Duration::from_secs(120);

/// How a run stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum State {
    /// It found a violation.
    Illegal,
    /// It is no evidence.
    Unknown,
    /// It passed.
    Valid,
    /// It is under way.
    Running,
    /// It was killed before its verdict.
    Unfinished,
}

impl State {
    /// The word in tables and filters.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Illegal => "illegal",
            Self::Unknown => "unknown",
            Self::Valid => "valid",
            Self::Running => "running",
            Self::Unfinished => "unfinished",
        }
    }
}

/// One run.
#[derive(Debug, Clone)]
pub(super) struct Run {
    /// Its folder, from the store.
    pub(super) path: String,
    /// When it began, as `2026-11-21 14:40:03`; its folder's name where that is no time.
    pub(super) started: String,
    pub(super) state: State,
    pub(super) settings: Settings,
    pub(super) results: Results,
}

/// What of `test.toml` is shown.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Settings {
    pub(super) system: String,
    pub(super) workload: String,
    pub(super) nemesis: Vec<String>,
    pub(super) seed: Option<u64>,
    pub(super) bug: Option<String>,
    pub(super) again: String,
    /// Everything, for comparisons.
    #[serde(skip)]
    pub(super) all: toml::Table,
}

/// What of `results.json` is shown.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Results {
    pub(super) valid: serde_json::Value,
    pub(super) sentence: String,
    pub(super) doubts: Vec<String>,
    pub(super) analysis: Analysis,
    pub(super) conduct: Conduct,
    pub(super) figures: crate::report::Figures,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Analysis {
    pub(super) operations: u64,
    pub(super) counterexample: Option<Counterexample>,
}

#[derive(Debug, Clone, Deserialize)]
pub(super) struct Counterexample {
    pub(super) anomaly: String,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Conduct {
    pub(super) faults: Vec<Fault>,
    pub(super) available: Availability,
    pub(super) load_end_ns: u64,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Fault {
    pub(super) kind: String,
    pub(super) bit: bool,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Availability {
    pub(super) owed: u64,
    pub(super) kept: u64,
}

/// A store, and what was read of it before.
#[derive(Debug)]
pub(super) struct Shelf {
    root: PathBuf,
    /// Finished runs by folder, with the time of their results.
    known: Mutex<HashMap<PathBuf, (SystemTime, Run)>>,
}

impl Shelf {
    pub(super) fn new(root: PathBuf) -> Self {
        Self {
            root,
            known: Mutex::default(),
        }
    }

    /// Every run, in no order.
    pub(super) fn runs(&self) -> Vec<Run> {
        let folders = runs_below(&self.root);
        let runs: Vec<Run> = folders.iter().filter_map(|folder| self.read(folder)).collect();
        self.known.lock().retain(|folder, _| folders.contains(folder));
        runs
    }

    /// The run in a folder of the store; none where there is none.
    pub(super) fn run(&self, path: &Path) -> Option<Run> {
        let folder = self.root.join(path).canonicalize().ok()?;
        // Links lead to runs of this store only.
        if !folder.starts_with(&self.root) || !is_run(&folder) {
            return None;
        }
        self.read(&folder)
    }

    fn read(&self, folder: &Path) -> Option<Run> {
        let written = fs::metadata(folder.join("results.json"))
            .and_then(|file| file.modified())
            .ok();
        if let Some(written) = written
            && let Some((then, run)) = self.known.lock().get(folder)
            && *then == written
        {
            return Some(run.clone());
        }
        let path = folder.strip_prefix(&self.root).ok()?.to_str()?.to_owned();
        let text = fs::read_to_string(folder.join("test.toml")).unwrap_or_default();
        let mut settings: Settings = toml::from_str(&text).unwrap_or_default();
        settings.all = toml::from_str(&text).unwrap_or_default();
        if let Some(stem) = Path::new(&settings.system)
            .file_stem()
            .and_then(|stem| stem.to_str())
        {
            settings.system = stem.to_owned();
        }
        let results: Option<Results> = fs::read(folder.join("results.json"))
            .ok()
            .and_then(|bytes| serde_json::from_slice(&bytes).ok());
        let state = match results.as_ref().map(|results| &results.valid) {
            Some(serde_json::Value::Bool(true)) => State::Valid,
            Some(serde_json::Value::Bool(false)) => State::Illegal,
            Some(_) => State::Unknown,
            None if under_way(folder) => State::Running,
            None => State::Unfinished,
        };
        let run = Run {
            started: started(folder.file_name()?.to_str()?),
            path,
            state,
            settings,
            results: results.unwrap_or_default(),
        };
        if let Some(written) = written {
            self.known
                .lock()
                .insert(folder.to_owned(), (written, run.clone()));
        }
        Some(run)
    }
}

/// Whether the store's `current` points here and something happened of late.
fn under_way(folder: &Path) -> bool {
    let current = folder.ancestors().nth(2).map(|store| store.join("current"));
    let ours = current
        .and_then(|link| link.canonicalize().ok())
        .is_some_and(|target| target == folder);
    let of_late = |name: &str| {
        let changed = fs::metadata(folder.join(name)).and_then(|file| file.modified());
        changed.is_ok_and(|changed| changed.elapsed().unwrap_or_default() < QUIET)
    };
    ours && (of_late("history.jsonl") || of_late("test.toml"))
}

/// The time that a folder's name says, for people.
fn started(name: &str) -> String {
    let digits = |from: usize, to: usize| {
        name.get(from..to)
            .filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))
    };
    let parts = (|| {
        let date = (digits(0, 4)?, digits(4, 6)?, digits(6, 8)?);
        (name.get(8..9)? == "T").then_some(())?;
        Some((date, digits(9, 11)?, digits(11, 13)?, digits(13, 15)?))
    })();
    match parts {
        Some(((year, month, day), hour, minute, second)) => {
            format!("{year}-{month}-{day} {hour}:{minute}:{second}")
        }
        None => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_found_where_soak_and_matrix_leave_them_and_nowhere_outside() {
        let folder = tempfile::tempdir().expect("a folder");
        let root = folder
            .path()
            .join("store")
            .canonicalize()
            .unwrap_or_else(|_| folder.path().join("store"));
        let make = |path: &str, valid: &str| {
            let run = root.join(path);
            fs::create_dir_all(run.join("n1")).expect("made");
            fs::write(
                run.join("test.toml"),
                "system = \"systems/etcd.toml\"\nworkload = \"set\"\nseed = 4\n",
            )
            .expect("written");
            if !valid.is_empty() {
                fs::write(
                    run.join("results.json"),
                    format!("{{\"valid\": {valid}, \"sentence\": \"s\"}}"),
                )
                .expect("written");
            }
            run
        };
        make("etcd-set/20261121T144003.123Z", "true");
        make("soak/etcd-set-1234/runs/etcd-set/20261121T144103.123Z", "false");
        let running = make("etcd-set/20261121T154003.123Z", "");
        make("etcd-set/20261121T164003.123Z", "");
        std::os::unix::fs::symlink("etcd-set/20261121T154003.123Z", root.join("current")).expect("linked");
        let outside = folder.path().join("outside");
        fs::create_dir_all(&outside).expect("made");
        fs::write(outside.join("test.toml"), "").expect("written");
        std::os::unix::fs::symlink(&outside, root.join("escape")).expect("linked");
        let root = root.canonicalize().expect("there");
        let shelf = Shelf::new(root.clone());
        let mut found: Vec<(String, State)> = shelf
            .runs()
            .into_iter()
            .map(|run| (run.started, run.state))
            .collect();
        found.sort();
        assert_eq!(
            found,
            [
                ("2026-11-21 14:40:03".to_owned(), State::Valid),
                ("2026-11-21 14:41:03".to_owned(), State::Illegal),
                ("2026-11-21 15:40:03".to_owned(), State::Running),
                ("2026-11-21 16:40:03".to_owned(), State::Unfinished),
            ]
        );
        assert!(
            shelf.run(Path::new("escape")).is_none(),
            "a link outside is none of ours"
        );
        assert!(shelf.run(Path::new("etcd-set")).is_none());
        let run = shelf.run(Path::new("current")).expect("a link inside");
        assert_eq!(
            (run.settings.system.as_str(), run.settings.seed),
            ("etcd", Some(4))
        );
        // A verdict that comes later is seen.
        fs::write(running.join("results.json"), "{\"valid\": \"unknown\"}").expect("written");
        assert_eq!(
            shelf.run(Path::new("current")).map(|run| run.state),
            Some(State::Unknown)
        );
    }
}

//! Histories that others recorded, measured one by one and added up.

use std::fs::{self, File};
use std::io::{self, BufWriter};
use std::path::{Path, PathBuf};

use checker::convert::{Explicit, Target};
use checker::history::History;
use checker::{CheckOptions, ReadOptions};

use super::measure::Measured;

/// The histories at a path: itself, or the files of the folder, by name.
pub(super) fn files(path: &Path) -> io::Result<Vec<PathBuf>> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let entries: io::Result<Vec<_>> = fs::read_dir(path)?.collect();
    let mut files: Vec<PathBuf> = entries?.into_iter().map(|entry| entry.path()).collect();
    files.retain(|path| path.is_file());
    files.sort_unstable();
    if files.is_empty() {
        let problem = format!("{}: the folder has no histories", path.display());
        return Err(io::Error::other(problem));
    }
    Ok(files)
}

/// Writes a history of any form in our own, so that every program is given the same.
pub(super) fn convert(from: &Path, to: &Path) -> io::Result<()> {
    let history = History::open(from, &ReadOptions::default()).map_err(io::Error::other)?;
    let explicit = Explicit::of(&history, &CheckOptions::default()).map_err(io::Error::other)?;
    let out = BufWriter::new(File::create(to)?);
    explicit.write(Target::JsonLines, out).map_err(io::Error::other)
}

/// Several measures as one: times added up, and the most memory that any of them took. A legal history is explained
/// by its verdict.
pub(super) fn sum(measures: &[Measured]) -> Measured {
    let legal = measures
        .iter()
        .filter(|measured| measured.verdict == "legal")
        .count();
    let unknown = measures
        .iter()
        .filter(|measured| measured.verdict == "unknown")
        .count();
    let verdict = match (legal, unknown) {
        (_, 1..) => "unknown".to_owned(),
        (legal, 0) if legal == measures.len() => "legal".to_owned(),
        (legal, 0) => format!("{} bad", measures.len() - legal),
    };
    let all = |part: fn(&Measured) -> f64| measures.iter().map(part).sum();
    Measured {
        verdict,
        load: all(|measured| measured.load),
        wall: all(|measured| measured.wall),
        user: all(|measured| measured.user),
        peak: measures.iter().map(|measured| measured.peak).max().unwrap_or(0),
        explained: Some(all(|measured| measured.explained.unwrap_or(measured.wall))),
    }
}

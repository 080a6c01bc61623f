//! Real histories with known verdicts: those beside the repository, where they are, and our own.

use std::fs;
use std::path::{Path, PathBuf};

use checker::history::History;
use checker::{CheckOptions, ModelName, ReadOptions, Verdict, check};

/// Judges every history that `expected.tsv` of a folder lists for a model that exists here.
fn judge(folder: &Path) -> usize {
    let list = fs::read_to_string(folder.join("expected.tsv")).expect("the list of expected verdicts");
    let (mut judged, mut wrong) = (0, Vec::new());
    for line in list.lines().filter(|line| !line.is_empty()) {
        let [path, model, expected] = line.split('\t').collect::<Vec<_>>()[..] else {
            panic!("{line:?} is not a path, a model and a verdict")
        };
        let Ok(model) = model.parse::<ModelName>() else {
            continue;
        };
        let history = History::open(folder.join(path), &ReadOptions::default()).expect("a readable history");
        let options = CheckOptions {
            model: Some(model),
            ..CheckOptions::default()
        };
        let analysis = check(&history, &options).expect("a history that the model knows");
        let found = match &analysis.verdict {
            Verdict::Linearizable(_) => "legal",
            Verdict::Illegal(found) => {
                assert!(
                    found.minimal || model.is_transactional(),
                    "{path}: the core is not minimal"
                );
                assert!(!found.operations.is_empty(), "{path}: the core is empty");
                "illegal"
            }
            Verdict::Unknown(_) => "unknown",
        };
        judged += 1;
        if found != expected {
            wrong.push(format!("{path}: {found} instead of {expected}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    judged
}

#[test]
fn shared_corpus() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/corpus");
    if !folder.is_dir() {
        println!("skipped: {} is not there", folder.display());
        return;
    }
    let judged = judge(&folder);
    assert!(judged > 100, "only {judged} histories were judged");
}

#[test]
fn own_corpus() {
    let judged = judge(&PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/corpus"));
    assert!(judged >= 6, "only {judged} histories were judged");
}

//! Histories that other tools were tried on, where they are at hand.

use std::path::Path;

use checker::history::{History, HistoryError};
use checker::transactions::{self, TransactionAnalysis, TransactionOptions};
use checker::{ReadOptions, Validity};

fn judge(model: &str, history: &History) -> Option<Result<TransactionAnalysis, HistoryError>> {
    let options = TransactionOptions::default();
    match model {
        "list-append" => Some(transactions::list_append(history, &options)),
        "rw-register" => Some(transactions::rw_register(history, &options)),
        "long-fork" => Some(transactions::long_fork(history, &options)),
        "bank" => Some(transactions::bank(history, &options)),
        _ => None,
    }
}

#[test]
fn verdicts_are_those_of_the_corpus() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/corpus");
    let Ok(expected) = std::fs::read_to_string(corpus.join("expected.tsv")) else {
        println!("skipped: no corpus at {}", corpus.display());
        return;
    };
    let mut judged = 0;
    for line in expected.lines() {
        let columns: Vec<&str> = line.split('\t').collect();
        let [path, model, verdict] = columns[..] else {
            continue;
        };
        let file = corpus.join(path);
        if !matches!(model, "list-append" | "rw-register" | "long-fork" | "bank") {
            continue;
        }
        let history = History::open(&file, &ReadOptions::default()).unwrap_or_else(|error| panic!("{error}"));
        let analysis = judge(model, &history)
            .unwrap()
            .unwrap_or_else(|error| panic!("{error}"));
        let expected = match verdict {
            "legal" => Validity::True,
            "illegal" => Validity::False,
            other => panic!("{path}: what is {other}?"),
        };
        assert_eq!(analysis.valid, expected, "{path}: {:?}", analysis.sentence);
        assert_eq!(analysis.sentence.is_some(), expected == Validity::False, "{path}");
        judged += 1;
    }
    assert!(judged >= 4, "only {judged} transactional histories in the corpus");
}

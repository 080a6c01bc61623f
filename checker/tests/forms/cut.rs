//! A part of a legal history is legal, and a violation in a part is one of the whole.

use std::collections::BTreeSet;

use checker::convert::Target;
use checker::cut::{Cut, CutError};
use checker::generate::{Bug, Mix, Simulation, Values, seeds};
use checker::history::{History, Nanos, Value};
use checker::{CheckOptions, Explain};

use super::{read, word};

fn options() -> CheckOptions {
    CheckOptions {
        explain: Explain::Prefix,
        ..CheckOptions::default()
    }
}

fn part(history: &History, cut: &Cut) -> History {
    let part = cut.apply(history, &options()).expect("a cut that is allowed");
    let mut out = Vec::new();
    part.history.write(Target::JsonLines, &mut out).expect("memory");
    read(&out)
}

fn cuts(history: &History) -> Vec<Cut> {
    let end = history
        .operations()
        .map(|op| op.invoked_at().0)
        .max()
        .unwrap_or(0);
    let (third, half) = (Nanos(end / 3), Nanos(end / 2));
    let base = Cut::default;
    vec![
        Cut {
            to: Some(half),
            ..base()
        },
        Cut {
            from: Some(third),
            ..base()
        },
        Cut {
            from: Some(third),
            to: Some(half),
            ..base()
        },
        Cut {
            indexes: Some(17..=55),
            ..base()
        },
        Cut {
            indexes: Some(0..=40),
            ..base()
        },
        Cut {
            processes: Some(BTreeSet::from([0, 2])),
            ..base()
        },
        Cut {
            processes: Some(BTreeSet::from([1])),
            from: Some(third),
            ..base()
        },
    ]
}

fn simulation(at: usize, seed: u64, bug: Bug) -> Simulation {
    Simulation {
        seed,
        operations: 60,
        processes: 4,
        keys: 1 + at as u64 % 2,
        values: if at.is_multiple_of(2) {
            Values::Distinct
        } else {
            Values::Few(3)
        },
        mix: Mix {
            get: 3,
            set: 2,
            cas: 2,
            append: 0,
            delete: 1,
        },
        unknown: 0.05,
        clock: if at.is_multiple_of(3) { 400_000 } else { 1 },
        tells_current: at.is_multiple_of(4),
        bug,
        ..Simulation::default()
    }
}

#[test]
fn parts_of_legal_histories_are_legal() {
    for (at, seed) in seeds(21, 120).enumerate() {
        let history = simulation(at, seed, Bug::None).history().expect("a history");
        for cut in cuts(&history) {
            assert_eq!(
                word(&part(&history, &cut), &options()),
                "legal",
                "seed {seed}, {cut:?}"
            );
        }
    }
}

#[test]
fn violations_of_parts_are_violations_of_the_whole() {
    let mut illegal = 0;
    for (at, seed) in seeds(22, 120).enumerate() {
        let history = simulation(at, seed, Bug::StaleReads(0.2))
            .history()
            .expect("a history");
        for cut in cuts(&history) {
            if word(&part(&history, &cut), &options()) == "illegal" {
                assert_eq!(word(&history, &options()), "illegal", "seed {seed}, {cut:?}");
                illegal += 1;
            }
        }
    }
    assert!(
        illegal > 20,
        "only {illegal} parts show the bug: this tests little"
    );
}

#[test]
fn the_first_part_up_to_a_violation_still_shows_it() {
    for (at, seed) in seeds(23, 30).enumerate() {
        let history = simulation(at, seed, Bug::StaleReads(0.3))
            .history()
            .expect("a history");
        let analysis = checker::check(&history, &options()).expect("judged");
        if let checker::Verdict::Illegal(found) = analysis.verdict {
            let cut = Cut {
                to: Some(found.prefix.last_time),
                ..Cut::default()
            };
            assert_eq!(word(&part(&history, &cut), &options()), "illegal", "seed {seed}");
        }
    }
}

#[test]
fn a_key_is_cut_out_alone() {
    let simulated = Simulation {
        keys: 5,
        operations: 200,
        ..simulation(1, 9, Bug::None)
    };
    let history = simulated.history().expect("a history");
    let cut = Cut {
        keys: Some(vec![Value::Int(3)]),
        ..Cut::default()
    };
    let alone = part(&history, &cut);
    assert!(alone.len() > 10 && alone.len() < 100);
    assert!(alone.operations().all(|op| op.key() == Some(Value::Int(3))));
}

#[test]
fn transactions_are_cut_only_at_the_end() {
    let lines = r#"{"ordeal":1,"model":"list-append"}
{"index":0,"time":1,"process":0,"type":"invoke","f":"txn","value":[["append","x",1]]}
{"index":1,"time":2,"process":0,"type":"ok","f":"txn","value":[["append","x",1]]}
{"index":2,"time":3,"process":0,"type":"invoke","f":"txn","value":[["r","x",null]]}
{"index":3,"time":4,"process":0,"type":"ok","f":"txn","value":[["r","x",[1]]]}
"#;
    let history = read(lines.as_bytes());
    let from = Cut {
        from: Some(Nanos(3)),
        ..Cut::default()
    };
    assert!(matches!(
        from.apply(&history, &options()),
        Err(CutError::Unsound(_))
    ));
    let to = Cut {
        to: Some(Nanos(3)),
        ..Cut::default()
    };
    assert_eq!(word(&part(&history, &to), &options()), "legal");
}

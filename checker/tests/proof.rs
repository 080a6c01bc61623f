//! Proofs hold, and no proof that was tampered with does.

use std::fs;
use std::path::PathBuf;

use checker::history::{History, Value};
use checker::{CheckOptions, ModelName, Proof, ReadOptions, check, verify};
use serde_json::{Value as Json, json};

fn corpus() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/corpus")
}

fn histories() -> Vec<(String, CheckOptions)> {
    let list = fs::read_to_string(corpus().join("expected.tsv")).expect("the list of expected verdicts");
    let entries = list.lines().filter(|line| !line.is_empty()).map(|line| {
        let mut columns = line.split('\t').map(str::to_owned);
        let path = columns.next().expect("a path");
        let model = columns.next().and_then(|model| model.parse::<ModelName>().ok());
        let options = CheckOptions {
            model,
            ..CheckOptions::default()
        };
        (path, options)
    });
    entries.collect()
}

fn results(history: &History, options: &CheckOptions) -> Json {
    serde_json::to_value(check(history, options).expect("a history that the model knows")).expect("JSON")
}

fn open(name: &str) -> History {
    History::open(corpus().join(name), &ReadOptions::default()).expect("a readable history")
}

/// Every document that differs from this one in one place: a leaf changed, a field or an element left out, an
/// element twice.
fn tampered(document: &Json, place: String, rebuild: &dyn Fn(Json) -> Json, found: &mut Vec<(String, Json)>) {
    match document {
        Json::Object(fields) => {
            for name in fields.keys() {
                let here = format!("{place}.{name}");
                let mut without = fields.clone();
                without.remove(name);
                found.push((format!("without {here}"), rebuild(Json::Object(without))));
                let inner = |changed: Json| {
                    let mut fields = fields.clone();
                    fields.insert(name.clone(), changed);
                    rebuild(Json::Object(fields))
                };
                tampered(&fields[name], here, &inner, found);
            }
        }
        Json::Array(elements) => {
            for at in 0..elements.len() {
                let here = format!("{place}[{at}]");
                let mut without = elements.clone();
                without.remove(at);
                found.push((format!("without {here}"), rebuild(Json::Array(without))));
                let mut twice = elements.clone();
                twice.push(elements[at].clone());
                found.push((format!("{here} twice"), rebuild(Json::Array(twice))));
                let inner = |changed: Json| {
                    let mut elements = elements.clone();
                    elements[at] = changed;
                    rebuild(Json::Array(elements))
                };
                tampered(&elements[at], here, &inner, found);
            }
        }
        Json::Number(number) => {
            let more = number.as_i64().expect("whole numbers only") + 1;
            found.push((format!("{place} + 1"), rebuild(json!(more))));
            found.push((format!("{place} - 1"), rebuild(json!(more - 2))));
        }
        Json::String(text) => found.push((format!("{place} changed"), rebuild(json!(format!("{text}x"))))),
        Json::Bool(truth) => found.push((format!("not {place}"), rebuild(json!(!truth)))),
        Json::Null => found.push((format!("{place} something"), rebuild(json!(1)))),
    }
}

#[test]
fn every_verdict_of_the_corpus_holds() {
    for (name, options) in histories() {
        let history = open(&name);
        let results = results(&history, &options);
        let proof = verify(&results.to_string(), &history, &options).expect("results of this history");
        assert!(matches!(proof, Proof::Holds { .. }), "{name}: {proof:?}");
        // A run nests the same under `analysis`, beside a verdict of its own.
        let nested = json!({"valid": false, "test": "t", "analysis": results}).to_string();
        assert_eq!(
            verify(&nested, &history, &options).expect("results"),
            proof,
            "{name}"
        );
    }
}

#[test]
fn no_proof_holds_that_was_tampered_with() {
    let mut tried = 0;
    for (name, options) in histories() {
        let history = open(&name);
        let results = results(&history, &options);
        let mut documents = Vec::new();
        for part in [
            "counterexample",
            "witness",
            "model",
            "init",
            "operations",
            "subhistories",
        ] {
            let rebuild = |changed: Json| {
                let mut results = results.clone();
                results[part] = changed;
                results
            };
            if let Some(document) = results.get(part) {
                // The orders of a long history are alike: the first of them stand for the rest.
                let mut found = Vec::new();
                tampered(document, part.to_owned(), &rebuild, &mut found);
                documents.extend(found.into_iter().take(400));
            }
        }
        for (what, document) in documents {
            // The order of a subhistory that did nothing, and that a core was not shown to be minimal, are claims
            // of nothing.
            let claims_less = what == "not counterexample.minimal"
                || what.starts_with("witness")
                    && document["witness"]["orders"] == results["witness"]["orders"];
            if claims_less {
                continue;
            }
            tried += 1;
            match verify(&document.to_string(), &history, &options) {
                Ok(Proof::Wrong(_)) | Err(_) => {}
                Ok(proof) if reorders_alike(&name, &what) => {
                    assert!(matches!(proof, Proof::Holds { .. }), "{name}, {what}");
                }
                Ok(proof) => panic!("{name}, {what}: {proof:?}"),
            }
        }
    }
    assert!(tried > 1000, "only {tried} proofs were tampered with");
}

/// Leaving an operation of unknown outcome out of an order may leave a proof.
fn reorders_alike(name: &str, what: &str) -> bool {
    name == "recorded-legal-with-unknowns.jsonl" && what.starts_with("without witness.orders")
}

#[test]
fn a_fault_names_the_place_and_the_line() {
    let history = open("stale-read.jsonl");
    let options = CheckOptions::default();
    let mut results = results(&history, &options);
    let read = &mut results["counterexample"]["operations"][2];
    assert_eq!(read["f"], "get");
    read["output"] = json!(5);
    let Proof::Wrong(fault) = verify(&results.to_string(), &history, &options).expect("results") else {
        panic!("the history says 4");
    };
    assert_eq!(
        fault.to_string(),
        "counterexample.operations[2].output: is 5, but the history says 4 (line 7 of the history)"
    );
}

#[test]
fn an_edge_that_does_not_follow_is_named() {
    let history = open("stale-read.jsonl");
    let options = CheckOptions::default();
    let mut results = results(&history, &options);
    // The read comes after the write in time; that it came before the older one nobody said.
    results["counterexample"]["cycle"] = json!([
        {"from": 2, "to": 0, "because": "so"},
        {"from": 0, "to": 2, "because": "so"},
    ]);
    let Proof::Wrong(fault) = verify(&results.to_string(), &history, &options).expect("results") else {
        panic!("nothing says that the read came before the write that it read");
    };
    assert_eq!(fault.place, "counterexample.cycle[0]");
}

#[test]
fn a_proof_of_another_history_is_none() {
    let options = CheckOptions::default();
    let results = results(&open("stale-read.jsonl"), &options).to_string();
    let proof = verify(&results, &open("cas-not-atomic.jsonl"), &options).expect("results");
    assert!(matches!(proof, Proof::Wrong(_)), "{proof:?}");
    let other = CheckOptions {
        init: Some(Value::Int(7)),
        ..CheckOptions::default()
    };
    let proof = verify(&results, &open("stale-read.jsonl"), &other).expect("results");
    let Proof::Wrong(fault) = proof else {
        panic!("the proof begins with nil");
    };
    assert_eq!(fault.place, "init");
}

#[test]
fn what_is_no_proof_is_bad_input() {
    let history = open("stale-read.jsonl");
    let options = CheckOptions::default();
    for text in [
        "",
        "{",
        "[]",
        "{}",
        r#"{"valid":true}"#,
        r#"{"valid":false}"#,
        r#"{"valid":7}"#,
        "{}{}",
    ] {
        assert!(verify(text, &history, &options).is_err(), "{text}");
    }
    let unknown = r#"{"valid":"unknown","model":"kv","init":null,"operations":4,"subhistories":1}"#;
    let proof = verify(unknown, &history, &options).expect("results");
    assert!(matches!(proof, Proof::Undecided(_)), "{proof:?}");
}

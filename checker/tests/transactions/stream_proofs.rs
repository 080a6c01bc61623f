//! What is said of watches and of numbers that only grow is derived a second time, and no forgery holds.

use checker::history::{History, Operation};
use checker::{CheckOptions, Proof, Verdict, check, verify};
use serde_json::{Value as Json, json};

use crate::streams::{
    ILLEGAL_NUMBERS, ILLEGAL_WATCHES, INCREMENTS, LEGAL_NUMBERS, LEGAL_WATCHES, WRITES, history,
};

const KINDS: [&str; 12] = [
    "watch-gap",
    "watch-duplicate",
    "watch-order",
    "watch-disagreement",
    "garbage-read",
    "stale-read",
    "revision-order",
    "non-monotonic",
    "lost-update",
    "long-fork",
    "G1a",
    "internal",
];

fn legal() -> Vec<History> {
    let watches = LEGAL_WATCHES
        .iter()
        .map(|one| history("watch", &format!("{WRITES}{one}")));
    let numbers = LEGAL_NUMBERS.iter();
    let numbers = numbers.map(|one| history("monotonic", &format!("{INCREMENTS}{one}")));
    watches.chain(numbers).collect()
}

fn illegal() -> Vec<History> {
    let watches = ILLEGAL_WATCHES.iter();
    let watches = watches.map(|(_, one)| history("watch", &format!("{WRITES}{one}")));
    let numbers = ILLEGAL_NUMBERS.iter();
    let numbers = numbers.map(|(_, one)| history("monotonic", &format!("{INCREMENTS}{one}")));
    watches.chain(numbers).collect()
}

fn judged(history: &History) -> Json {
    let analysis = check(history, &CheckOptions::default()).expect("judged");
    serde_json::to_value(analysis).expect("JSON")
}

fn proof(results: &Json, history: &History) -> Proof {
    verify(&results.to_string(), history, &CheckOptions::default()).expect("results")
}

/// As results tell an operation.
fn told(operation: Operation<'_>) -> Json {
    json!({
        "id": operation.id().0,
        "index": operation.invoked_index(),
        "process": operation.process().0,
        "f": operation.f(),
        "input": operation.input().to_json(),
        "output": operation.output().to_json(),
        "invoked_at": operation.invoked_at().0,
        "completed_at": operation.completed_at().map(|at| at.0),
        "outcome": operation.outcome(),
    })
}

/// Whether it was refused for what the history says, and not for its words.
fn is_refused_for_what_it_says(proof: &Proof) -> bool {
    match proof {
        Proof::Wrong(fault) => !fault.problem.contains("but these operations give"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_yes_and_a_no_are_proven() {
    for (history, shown) in legal()
        .iter()
        .map(|history| (history, "legal"))
        .chain(illegal().iter().map(|history| (history, "illegal")))
    {
        let results = judged(history);
        match proof(&results, history) {
            Proof::Holds { shown: found, .. } => assert!(found.starts_with(shown), "{found}\n{results}"),
            other => panic!("{other:?}\n{results}"),
        }
        // As `check --json` says it, with all that is wrong and not the worst alone.
        let model = results["model"]
            .as_str()
            .expect("a model")
            .parse()
            .expect("a model");
        let options = checker::transactions::TransactionOptions::default();
        let all = checker::transactions::check(history, model, &options).expect("judged");
        let all = serde_json::to_value(all).expect("JSON");
        let proof = proof(&all, history);
        assert!(matches!(proof, Proof::Holds { .. }), "{proof:?}\n{all}");
    }
}

/// Every operation, and every two, are said to be wrong in every way.
#[test]
fn no_accusation_of_a_legal_history_holds() {
    let mut tried = 0;
    for history in legal() {
        let results = judged(&history);
        let ids: Vec<usize> = (0..history.len()).collect();
        let mut named: Vec<Vec<usize>> = ids.iter().map(|&one| vec![one]).collect();
        named.extend(
            ids.iter()
                .flat_map(|&one| ids.iter().map(move |&other| vec![one, other])),
        );
        named.push(ids);
        let operations: Vec<Operation<'_>> = history.operations().collect();
        for (kind, ids) in KINDS
            .iter()
            .flat_map(|kind| named.iter().map(move |ids| (kind, ids)))
        {
            for key in [json!("a"), json!("b"), Json::Null] {
                let mut forged = results.clone();
                forged["valid"] = json!(false);
                let listed: Vec<Json> = ids.iter().map(|&at| told(operations[at])).collect();
                forged["counterexample"] =
                    json!({ "anomaly": kind, "operations": listed, "sentence": "it is" });
                if !key.is_null() {
                    forged["counterexample"]["key"] = key.clone();
                }
                let proof = proof(&forged, &history);
                assert!(
                    is_refused_for_what_it_says(&proof),
                    "{kind} {ids:?} {key}: {proof:?}"
                );
                tried += 1;
            }
        }
    }
    assert!(tried > 10_000, "{tried}");
}

#[test]
fn no_praise_of_an_illegal_history_holds() {
    for history in illegal() {
        let mut forged = judged(&history);
        let truth = forged["counterexample"].take();
        forged["valid"] = json!(true);
        forged["witness"] = json!({ "orders": [] });
        forged
            .as_object_mut()
            .expect("an object")
            .remove("counterexample");
        let found = proof(&forged, &history);
        assert!(is_refused_for_what_it_says(&found), "{truth}: {found:?}");
    }
}

#[test]
fn no_operation_of_an_accusation_can_be_left_out_or_changed() {
    for history in illegal() {
        let results = judged(&history);
        let operations = results["counterexample"]["operations"]
            .as_array()
            .expect("a list");
        for at in 0..operations.len() {
            let mut forged = results.clone();
            let listed = forged["counterexample"]["operations"]
                .as_array_mut()
                .expect("a list");
            listed.remove(at);
            assert!(matches!(proof(&forged, &history), Proof::Wrong(_)), "{forged}");
            for (field, value) in [
                ("output", json!(77)),
                ("invoked_at", json!(3)),
                ("id", json!(1000)),
            ] {
                let mut forged = results.clone();
                forged["counterexample"]["operations"][at][field] = value;
                let found = proof(&forged, &history);
                assert!(
                    is_refused_for_what_it_says(&found),
                    "{field}: {found:?}\n{forged}"
                );
            }
        }
        for kind in KINDS
            .iter()
            .filter(|kind| results["counterexample"]["anomaly"] != **kind)
        {
            let mut forged = results.clone();
            forged["counterexample"]["anomaly"] = json!(kind);
            assert!(
                matches!(proof(&forged, &history), Proof::Wrong(_)),
                "{kind}: {forged}"
            );
        }
    }
}

/// Imported histories are ordered by their lines: what their clocks say decides nothing.
#[test]
fn clocks_of_imported_histories_decide_nothing() {
    let text = |first: u64, second: u64| {
        format!(
            "{{:process 0, :type :invoke, :f :inc, :key a, :value nil, :time {first}}}\n\
             {{:process 0, :type :ok, :f :inc, :key a, :value 1, :time {first}}}\n\
             {{:process 1, :type :invoke, :f :read, :key a, :value nil, :time {second}}}\n\
             {{:process 1, :type :ok, :f :read, :key a, :value 0, :time {second}}}\n\
             {{:process 1, :type :invoke, :f :read, :key a, :value nil, :time {second}}}\n\
             {{:process 1, :type :ok, :f :read, :key a, :value 1, :time {second}}}\n"
        )
    };
    for (first, second) in [(10, 20), (20, 10), (10, 10)] {
        let read = |text: String| {
            History::read(text.as_bytes(), None, &checker::ReadOptions::default()).expect("a history")
        };
        let history = read(text(first, second));
        let verdict = check(&history, &CheckOptions::default()).expect("judged").verdict;
        assert!(
            matches!(verdict, Verdict::Illegal(_)),
            "{first} {second}: {verdict:?}"
        );
        // The read that saw nothing was asked before the number was made, whatever its clock says.
        let mut lines: Vec<String> = text(first, second).lines().map(str::to_owned).collect();
        let late = lines.remove(2);
        lines.insert(0, late);
        let history = read(lines.join("\n"));
        let verdict = check(&history, &CheckOptions::default()).expect("judged").verdict;
        assert!(
            matches!(verdict, Verdict::Linearizable(_)),
            "{first} {second}: {verdict:?}"
        );
    }
}

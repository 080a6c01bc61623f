//! What is said of transactions is proven by code that knows nothing of the graph; and no forged proof holds.

use checker::history::History;
use checker::transactions::{
    self, Store, TransactionAnalysis, TransactionOptions, TransactionSimulation, Workload,
};
use checker::{CheckOptions, ModelName, Proof, Validity, verify};
use serde_json::{Value as Json, json};

use crate::{scenarios, script};

pub(crate) fn model(workload: Workload) -> &'static str {
    match workload {
        Workload::ListAppend => "list-append",
        Workload::RwRegister => "rw-register",
    }
}

fn proof(results: &Json, history: &History, model: &str, options: &TransactionOptions) -> Proof {
    let options = CheckOptions {
        model: Some(model.parse().unwrap()),
        init: options.registers.init.clone(),
        transactions: options.clone(),
        ..CheckOptions::default()
    };
    verify(&results.to_string(), history, &options).unwrap()
}

/// Every no is proven; a yes is where an order is to be expected.
pub(crate) fn proven(
    history: &History,
    model: &str,
    options: &TransactionOptions,
    analysis: &TransactionAnalysis,
    ordered: bool,
) {
    let results = serde_json::to_value(analysis).unwrap();
    let proof = proof(&results, history, model, options);
    match proof {
        Proof::Holds { .. } => {}
        Proof::Undecided(_) if analysis.valid == Validity::True && !ordered => {}
        _ => panic!("{proof:?}\n{results}"),
    }
}

fn judge(history: &History, model: &str, options: &TransactionOptions) -> Json {
    let analysis = transactions::check(history, model.parse::<ModelName>().unwrap(), options).unwrap();
    serde_json::to_value(analysis).unwrap()
}

#[test]
fn every_scenario_is_proven() {
    for (name, text) in scenarios::all() {
        let (history, model, options) = scenarios::scenario(&text);
        let results = judge(&history, model, &options);
        let proof = proof(&results, &history, model, &options);
        let outside = options.registers.unwritten.is_some();
        let clean = results["anomalies"].as_array().unwrap().is_empty();
        let expected = results["valid"] == false || clean && !outside;
        assert!(
            !expected || matches!(proof, Proof::Holds { .. }),
            "{name}: {proof:?}\n{results}"
        );
        assert!(!matches!(proof, Proof::Wrong(_)), "{name}: {proof:?}\n{results}");
        // What a run keeps is said in the terms of the other models.
        let options = CheckOptions {
            model: Some(model.parse().unwrap()),
            init: options.registers.init.clone(),
            transactions: options,
            ..CheckOptions::default()
        };
        let kept = serde_json::to_string(&checker::check(&history, &options).unwrap()).unwrap();
        let proof = verify(&kept, &history, &options).unwrap();
        assert!(
            !expected || matches!(proof, Proof::Holds { .. }),
            "{name}: {proof:?}\n{kept}"
        );
    }
}

/// The results with another value at a place.
fn with(results: &Json, place: &str, value: Json) -> Json {
    let mut forged = results.clone();
    *forged
        .pointer_mut(place)
        .unwrap_or_else(|| panic!("no {place} in {results}")) = value;
    forged
}

/// Forgeries of what proves the results, each with what was done.
fn forgeries(results: &Json) -> Vec<(String, Json)> {
    let mut forged = Vec::new();
    let mut put = |place: String, value: Json| {
        if results.pointer(&place) != Some(&value) {
            forged.push((format!("{place} = {value}"), with(results, &place, value)));
        }
    };
    put("/valid".to_owned(), json!(results["valid"] != true));
    put("/not".to_owned(), json!(["read-uncommitted"]));
    put("/anomaly_types".to_owned(), json!(["G0"]));
    for (number, found) in results["anomalies"].as_array().unwrap().iter().enumerate() {
        let here = format!("/anomalies/{number}");
        put(format!("{here}/forbidden"), json!(found["forbidden"] != true));
        for kind in [
            "G0",
            "G1a",
            "G1b",
            "G1c",
            "internal",
            "lost-update",
            "garbage-read",
            "no-serial-order",
            "x",
        ] {
            put(format!("{here}/kind"), json!(kind));
        }
        let case = &found["cases"][0];
        let here = format!("{here}/cases/0");
        for (at, edge) in case["cycle"].as_array().into_iter().flatten().enumerate() {
            for relation in ["ww", "wr", "rw", "process", "realtime"] {
                put(format!("{here}/cycle/{at}/relation"), json!(relation));
            }
            put(format!("{here}/cycle/{at}/from"), edge["to"].clone());
            put(format!("{here}/cycle/{at}/to"), edge["from"].clone());
        }
        put(format!("{here}/transactions"), json!([]));
        for (at, transaction) in case["transactions"].as_array().unwrap().iter().enumerate() {
            let id = transaction["id"].as_u64().unwrap();
            put(format!("{here}/transactions/{at}/id"), json!(id + 1));
            put(
                format!("{here}/transactions/{at}/output"),
                json!([["r", "x", 77]]),
            );
        }
    }
    if let Some(order) = results["witness"]["order"]
        .as_array()
        .filter(|order| order.len() > 1)
    {
        put("/witness/order".to_owned(), json!(&order[1..]));
        put(
            "/witness/order".to_owned(),
            json!([order.clone(), order.clone()].concat()),
        );
        put("/witness/order/0".to_owned(), json!(1000));
    }
    forged
}

#[test]
fn no_forged_proof_holds() {
    let (mut tried, mut independently) = (0, 0);
    for (name, text) in scenarios::all() {
        let (history, model, options) = scenarios::scenario(&text);
        let results = judge(&history, model, &options);
        for (what, forged) in forgeries(&results) {
            match proof(&forged, &history, model, &options) {
                Proof::Wrong(fault) => {
                    tried += 1;
                    // Where only the words differ, what they tell of may well be so.
                    independently += usize::from(!fault.problem.contains("but these operations give"));
                }
                // Without a witness a yes is none that can be checked.
                Proof::Undecided(_) if what.starts_with("/valid") => {}
                other => panic!("{name}, {what}: {other:?}\n{forged}"),
            }
        }
    }
    println!("{tried} forged, {independently} found out by what they tell of");
    assert!(
        independently > 300 && independently * 3 > tried * 2,
        "{independently} of {tried}"
    );
}

#[test]
fn an_order_that_explains_nothing_is_found_out() {
    for (workload, seed) in [(Workload::ListAppend, 3), (Workload::RwRegister, 4)] {
        let history = TransactionSimulation {
            seed,
            transactions: 200,
            workload,
            store: Store::StrictSerializable,
            unknown: 0.1,
            aborted: 0.1,
            ..TransactionSimulation::default()
        }
        .run();
        let options = TransactionOptions::default();
        let results = judge(&history, model(workload), &options);
        assert_eq!(results["valid"], true, "{results}");
        let whole = proof(&results, &history, model(workload), &options);
        assert!(matches!(whole, Proof::Holds { .. }), "{whole:?}");
        let order = results["witness"]["order"].as_array().unwrap();
        let mut backwards = order.clone();
        backwards.reverse();
        for wrong in [backwards, order[..order.len() / 2].to_vec()] {
            let forged = with(&results, "/witness/order", json!(wrong));
            let proof = proof(&forged, &history, model(workload), &options);
            assert!(matches!(proof, Proof::Wrong(_)), "{proof:?}");
        }
    }
}

/// Each order of the two blind writes closes a cycle, but not the same one.
#[test]
fn what_no_order_explains_is_told_with_few_transactions() {
    let history = script::history(
        "rw-register",
        "0-9 w x 1; r y nil\n0-9 w x 2; r z nil\n0-9 r x 1; w y 1\n0-9 r x 2; w z 1\n0-9 w u 5\n0-9 r x 1; r z 1; r y nil\n",
    );
    let options = TransactionOptions::default();
    let results = judge(&history, "rw-register", &options);
    let proof = proof(&results, &history, "rw-register", &options);
    assert!(matches!(proof, Proof::Holds { .. }), "{proof:?}\n{results}");
}

#[test]
fn a_yes_of_banks_and_long_forks_is_read_again() {
    let bank = |balances: &str| {
        format!(
            "{{:process 0, :type :invoke, :f :read, :value nil}}\n{{:process 0, :type :ok, :f :read, :value {{0 5, 1 5}}}}\n\
             {{:process 1, :type :invoke, :f :read, :value nil}}\n{{:process 1, :type :ok, :f :read, :value {balances}}}\n"
        )
    };
    let open = |text: &str| {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("history.edn");
        std::fs::write(&file, text).unwrap();
        History::open(&file, &checker::ReadOptions::default()).unwrap()
    };
    let options = TransactionOptions::default();
    let (good, bad) = (open(&bank("{0 4, 1 6}")), open(&bank("{0 4, 1 7}")));
    for (history, valid) in [(&good, true), (&bad, false)] {
        let results = judge(history, "bank", &options);
        assert_eq!(results["valid"], valid);
        let proof = proof(&results, history, "bank", &options);
        assert!(matches!(proof, Proof::Holds { .. }), "{proof:?}");
    }
    let mut forged = judge(&good, "bank", &options);
    let wrong = proof(&forged, &bad, "bank", &options);
    assert!(matches!(wrong, Proof::Wrong(_)), "{wrong:?}");
    forged["valid"] = json!(false);
    let wrong = proof(&forged, &good, "bank", &options);
    assert!(matches!(wrong, Proof::Wrong(_)), "{wrong:?}");
}

//! Input that cannot be judged is refused with the place and what would mend it.

use checker::ReadOptions;
use checker::history::{Event, EventKind, Header, History, HistoryError, Nanos, ProcessId, Value};
use checker::transactions::{
    ConsistencyModel, TransactionOptions, bank, list_append, long_fork, rw_register,
};
use checker::{CheckOptions, ModelName, Verdict, check, model_of};

fn one(f: &'static str, asked: &str, told: &str) -> History {
    let value = |text: &str| Value::from(serde_json::from_str::<serde_json::Value>(text).unwrap());
    let event = |index, kind, text| Event::new(index, Nanos(index), ProcessId(0), kind, f, value(text));
    let events = vec![event(0, EventKind::Invoke, asked), event(1, EventKind::Ok, told)];
    History::from_events(Header::default(), events).unwrap()
}

fn refused<T>(result: Result<T, HistoryError>, words: &[&str]) {
    let Err(error) = result else {
        panic!("not refused; expected {words:?}")
    };
    let text = error.to_string();
    assert_eq!(text.lines().count(), 1, "{text}");
    for word in words {
        assert!(text.contains(word), "{word:?} is not in {text:?}");
    }
}

#[test]
fn what_is_no_transaction_is_refused() {
    let options = TransactionOptions::default();
    let lists = |text: &str| list_append(&one("txn", text, text), &options);
    refused(lists("5"), &["event 1", "list of steps"]);
    refused(lists("[5]"), &["[f, key, value]"]);
    refused(lists("[[]]"), &["[f, key, value]"]);
    refused(
        lists(r#"[["w", 1, 2]]"#),
        &["unknown function", "list-append", "append"],
    );
    refused(lists(r#"[[null, 1, 2]]"#), &["unknown function"]);
    refused(lists(r#"[["r", 1, 7]]"#), &["reads of lists"]);
    refused(lists(r#"[["append", 1, null]]"#), &["other than nil"]);
    refused(
        lists(r#"[["append", 1, 2], ["append", 1, 2]]"#),
        &["second time", "value of its own"],
    );
    let registers = |text: &str| rw_register(&one("txn", text, text), &options);
    refused(
        registers(r#"[["append", 1, 2]]"#),
        &["unknown function", "rw-register"],
    );
    let mut zero = TransactionOptions::default();
    zero.registers.init = Some(Value::Int(0));
    let text = r#"[["w", 1, 0]]"#;
    refused(rw_register(&one("txn", text, text), &zero), &["initial value"]);
    let forks = |text: &str| long_fork(&one("read", text, text), &options);
    refused(forks(r#"[["r", 1, 1], ["w", 2, 2]]"#), &["either reads"]);
    refused(forks(r#"[["r", 1, 1], ["r", 1, 2]]"#), &["written once"]);
    refused(
        bank(&one("withdraw", "1", "1"), &options),
        &["unknown function", "bank"],
    );
    refused(
        bank(&one("read", "null", r#"{"0": "much"}"#), &options),
        &["whole balances"],
    );
}

#[test]
fn every_model_is_known_by_both_names() {
    let names = [
        ("PL-1", "read-uncommitted"),
        ("PL-2", "read-committed"),
        ("PL-CS", "cursor-stability"),
        ("PL-2L", "monotonic-view"),
        ("PL-MSR", "monotonic-snapshot-read"),
        ("PL-2+", "consistent-view"),
        ("PL-FCV", "forward-consistent-view"),
        ("PL-2.99", "repeatable-read"),
        ("PL-3U", "update-serializable"),
        ("PL-SI", "snapshot-isolation"),
        ("PL-3", "serializable"),
        ("conflict-serializable", "serializable"),
        ("PL-SS", "strict-serializable"),
        ("strong-serializable", "strict-serializable"),
        ("strong-session-PL-2", "strong-session-read-committed"),
    ];
    for (canonical, friendly) in names {
        let model: ConsistencyModel = canonical.parse().unwrap();
        assert_eq!(model.as_str(), friendly);
        assert_eq!(friendly.parse(), Ok(model));
    }
    let error = "serialisable".parse::<ConsistencyModel>().unwrap_err();
    assert!(
        error.contains("serialisable") && error.contains("snapshot-isolation"),
        "{error}"
    );
    for model in ConsistencyModel::ALL {
        assert_eq!(model.as_str().parse(), Ok(*model));
        assert!(ConsistencyModel::StrictSerializable.implies(*model), "{model}");
    }
}

#[test]
fn models_are_told_by_what_transactions_do() {
    let model = |history: &History| model_of(history, &CheckOptions::default()).ok();
    let text = r#"[["r", 1, null], ["append", 1, 2]]"#;
    assert_eq!(model(&one("txn", text, text)), Some(ModelName::ListAppend));
    let text = r#"[["r", 1, null], ["w", 1, 2]]"#;
    assert_eq!(model(&one("txn", text, text)), Some(ModelName::RwRegister));
    let text = r#"[["r", 1, null]]"#;
    assert_eq!(model(&one("txn", text, text)), None);
}

#[test]
fn edn_is_read_with_keywords() {
    let text = "[{:type :invoke, :f :txn, :value [[:append :x 1] [:r :y nil]], :process 0}\n\
                {:type :ok, :f :txn, :value [[:append :x 1] [:r :y [9]]], :process 0}]";
    let history = History::read(text.as_bytes(), None, &ReadOptions::default()).unwrap();
    let analysis = list_append(&history, &TransactionOptions::default()).unwrap();
    assert_eq!(
        analysis
            .anomaly_types
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>(),
        ["garbage-read"]
    );
}

#[test]
fn the_worst_case_is_the_counterexample() {
    let history = one(
        "txn",
        r#"[["append", 1, 2], ["r", 1, null]]"#,
        r#"[["append", 1, 2], ["r", 1, []]]"#,
    );
    let analysis = check(&history, &CheckOptions::default()).unwrap();
    assert_eq!(
        (analysis.model.as_str(), analysis.verdict.exit_code()),
        ("list-append", 1)
    );
    let Verdict::Illegal(found) = &analysis.verdict else {
        panic!("{:?}", analysis.verdict)
    };
    assert!(
        found.sentence.starts_with("internal: T0 read"),
        "{}",
        found.sentence
    );
    assert_eq!(found.operations.len(), 1);
    assert_eq!(serde_json::to_value(found.anomaly).unwrap(), "internal");
    let allowed = CheckOptions {
        transactions: TransactionOptions {
            consistency_models: vec![ConsistencyModel::ReadCommitted],
            ..TransactionOptions::default()
        },
        ..CheckOptions::default()
    };
    assert_eq!(check(&history, &allowed).unwrap().verdict.exit_code(), 0);
}

#[test]
fn accounts_must_add_up() {
    let event = |index, kind, f: &'static str, text: &str| {
        let value = Value::from(serde_json::from_str::<serde_json::Value>(text).unwrap());
        Event::new(index, Nanos(index), ProcessId(0), kind, f, value)
    };
    let kinds = |reads: &[&str], options: &TransactionOptions| -> Vec<String> {
        let mut events = vec![
            event(
                0,
                EventKind::Invoke,
                "transfer",
                r#"{"from": 0, "to": 1, "amount": 3}"#,
            ),
            event(
                1,
                EventKind::Ok,
                "transfer",
                r#"{"from": 0, "to": 1, "amount": 3}"#,
            ),
        ];
        for read in reads {
            let next = events.len() as u64;
            events.push(event(next, EventKind::Invoke, "read", "null"));
            events.push(event(next + 1, EventKind::Ok, "read", read));
        }
        let history = History::from_events(Header::default(), events).unwrap();
        assert_eq!(
            model_of(&history, &CheckOptions::default()).ok(),
            Some(ModelName::Bank)
        );
        let analysis = bank(&history, options).unwrap();
        analysis.anomaly_types.iter().map(ToString::to_string).collect()
    };
    let plain = TransactionOptions::default();
    assert!(kinds(&[r#"{"0": 7, "1": 3}"#, r#"{"0": 4, "1": 6}"#], &plain).is_empty());
    assert_eq!(
        kinds(&[r#"{"0": 7, "1": 3}"#, r#"{"0": 4, "1": 5}"#], &plain),
        ["wrong-total"]
    );
    assert_eq!(
        kinds(&[r#"{"0": 7, "1": 3}"#, r#"{"0": 11, "1": -1}"#], &plain),
        ["negative-value"]
    );
    assert_eq!(
        kinds(&[r#"{"0": 7, "1": 3}"#, r#"{"0": 10}"#], &plain),
        ["unexpected-key"]
    );
    assert_eq!(kinds(&[r#"{"0": 7, "1": null}"#], &plain), ["nil-balance"]);
    let mut told = TransactionOptions::default();
    told.bank.total = Some(11);
    told.bank.allow_negative_balances = true;
    assert_eq!(kinds(&[r#"{"0": 7, "1": 3}"#], &told), ["wrong-total"]);
    assert!(kinds(&[r#"{"0": 12, "1": -1}"#], &told).is_empty());
}

#[test]
fn groups_are_compared_within_themselves() {
    let kinds = |reads: &[&str]| -> usize {
        let mut events = Vec::new();
        for (at, read) in reads.iter().enumerate() {
            let value = Value::from(serde_json::from_str::<serde_json::Value>(read).unwrap());
            let (index, process) = (2 * at as u64, ProcessId(at as u64));
            events.push(Event::new(
                index,
                Nanos(index),
                process,
                EventKind::Invoke,
                "read",
                value.clone(),
            ));
            events.push(Event::new(
                index + 1,
                Nanos(index + 1),
                process,
                EventKind::Ok,
                "read",
                value,
            ));
        }
        let history = History::from_events(Header::default(), events).unwrap();
        long_fork(&history, &TransactionOptions::default())
            .unwrap()
            .anomalies
            .len()
    };
    let (first, second) = (
        r#"[["r", 1, 1], ["r", 2, null]]"#,
        r#"[["r", 2, 1], ["r", 1, null]]"#,
    );
    assert_eq!(kinds(&[first, second]), 1);
    assert_eq!(kinds(&[first, r#"[["r", 2, 1], ["r", 1, 1]]"#]), 0);
    // Other keys beside them: another group.
    assert_eq!(
        kinds(&[first, r#"[["r", 2, 1], ["r", 1, null], ["r", 3, null]]"#]),
        0
    );
}

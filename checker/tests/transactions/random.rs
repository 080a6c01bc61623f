//! Small random histories, legal and illegal, judged by the graph and by brute force.

use checker::Validity;
use checker::history::{Event, EventKind, Header, History, Nanos, ProcessId, Value};
use checker::transactions::{
    ConsistencyModel, Store, TransactionAnalysis, TransactionOptions, TransactionSimulation, Workload,
    list_append, rw_register,
};
use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};

use crate::oracle::{self, Respect, Txn};
use crate::{proof, setting};

/// A small history of some store: mostly one that breaks things, sometimes with one read changed by hand.
fn random_history(seed: u64, workload: Workload) -> History {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let stores = [
        Store::StrictSerializable,
        Store::StaleReads(3),
        Store::SnapshotIsolation,
        Store::ParallelSnapshotIsolation,
        Store::LostUpdates,
        Store::ReadCommitted,
        Store::ReadUncommitted,
        Store::DirtyWrites,
    ];
    let simulation = TransactionSimulation {
        seed,
        transactions: rng.random_range(2..=6),
        processes: rng.random_range(1..=4),
        keys: rng.random_range(1..=3),
        writes_per_key: 100,
        steps: rng.random_range(1..=3),
        workload,
        store: stores[rng.random_range(0..stores.len())],
        unknown: [0.0, 0.3][rng.random_range(0..2)],
        aborted: [0.0, 0.2][rng.random_range(0..2)],
    };
    let history = simulation.run();
    if rng.random_bool(0.6) {
        history
    } else {
        disturbed(&history, &mut rng)
    }
}

/// The same with one read of a completion changed: to another version, or to something else entirely.
fn disturbed(history: &History, rng: &mut ChaCha8Rng) -> History {
    let victim = rng.random_range(0..history.len());
    let mut events = Vec::new();
    for (at, operation) in history.operations().enumerate() {
        let process = operation.process();
        events.push(Event::new(
            operation.invoked_index(),
            operation.invoked_at(),
            process,
            EventKind::Invoke,
            "txn",
            operation.input(),
        ));
        let Some(index) = operation.completed_index() else {
            continue;
        };
        let kind = match operation.outcome() {
            checker::history::Outcome::Ok => EventKind::Ok,
            checker::history::Outcome::Fail => EventKind::Fail,
            checker::history::Outcome::Info => EventKind::Info,
        };
        let mut value = operation.output();
        if at == victim && kind == EventKind::Ok {
            value = with_another_read(value, rng);
        }
        let time = operation.completed_at().unwrap();
        events.push(Event::new(index, time, process, kind, "txn", value));
    }
    events.sort_by_key(|event| event.index);
    History::from_events(history.header().clone(), events).unwrap()
}

fn with_another_read(value: Value, rng: &mut ChaCha8Rng) -> Value {
    let steps = value.as_list().unwrap().iter().map(|step| {
        let parts = step.as_list().unwrap();
        if parts[0].as_str() != Some("r") {
            return step.clone();
        }
        let seen = match &parts[2] {
            Value::List(list) => {
                let mut list = list.clone();
                match rng.random_range(0..4) {
                    0 => list.truncate(list.len() / 2),
                    1 => list.push(Value::Int(rng.random_range(1..6))),
                    2 => list.reverse(),
                    _ => {
                        list.pop();
                    }
                }
                Value::List(list)
            }
            _ => match rng.random_range(0..5) {
                0 => Value::Nil,
                number => Value::Int(number),
            },
        };
        Value::List(vec![parts[0].clone(), parts[1].clone(), seen])
    });
    Value::List(steps.collect())
}

fn judged(history: &History, workload: Workload, model: ConsistencyModel) -> TransactionAnalysis {
    match workload {
        Workload::ListAppend => list_append(history, &options(model)),
        Workload::RwRegister => rw_register(history, &options(model)),
    }
    .unwrap()
}

fn options(model: ConsistencyModel) -> TransactionOptions {
    TransactionOptions {
        consistency_models: vec![model],
        ..TransactionOptions::default()
    }
}

fn shown(transactions: &[Txn]) -> String {
    let lines = transactions.iter().map(|txn| {
        let end = txn.end.map_or("?".to_owned(), |end| end.to_string());
        let steps: Vec<String> = txn
            .steps
            .iter()
            .map(|(f, key, value)| format!("{f} {key} {value}"))
            .collect();
        format!(
            "T{} p{} {}-{end} {}",
            txn.id.0,
            txn.process,
            txn.begin,
            steps.join("; ")
        )
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// What was counted over all cases, so that a test that never met an illegal history does not pass.
#[derive(Default, Debug)]
struct Seen {
    legal: u64,
    illegal: u64,
    missed: u64,
}

/// How many histories are many enough that chance does not decide which shares of them are of which kind. Fewer are
/// tried to repeat one, or for a first look.
const MANY: u64 = 500;

impl Seen {
    fn is_much(&self) -> bool {
        self.legal + self.illegal + self.missed >= MANY
    }

    fn are_of_both_kinds(&self) {
        let least = (self.legal + self.illegal + self.missed) / 20;
        assert!(
            !self.is_much() || self.legal > least && self.illegal > least,
            "too few of one kind: {self:?}"
        );
    }

    /// Hardly any illegal one is missed.
    fn misses_little(&self) {
        assert!(!self.is_much() || self.missed * 20 < self.illegal, "{self:?}");
    }
}

/// Compares one model with its oracle on many histories. An illegal verdict must be right; where `exact`, a
/// legal one too.
fn compare(
    workload: Workload,
    model: ConsistencyModel,
    exact: bool,
    oracle: impl Fn(&[Txn]) -> bool,
) -> Seen {
    let mut seen = Seen::default();
    let first = setting("CHECKER_SEED", 1);
    for seed in first..first + setting("CHECKER_CASES", 2000) {
        let history = random_history(seed, workload);
        let transactions = oracle::transactions(&history);
        let legal = oracle(&transactions);
        let analysis = judged(&history, workload, model);
        proof::proven(
            &history,
            proof::model(workload),
            &options(model),
            &analysis,
            exact,
        );
        let failure = || {
            format!(
                "seed {seed}: {model} is {legal} by brute force, the graph says {:?}: {:?}\n{}",
                analysis.valid,
                analysis.sentence,
                shown(&transactions)
            )
        };
        match (legal, analysis.valid) {
            (true, Validity::True) => seen.legal += 1,
            (false, Validity::False) => seen.illegal += 1,
            (false, Validity::True) if !exact => seen.missed += 1,
            _ => panic!("{}", failure()),
        }
        for case in analysis.anomalies.iter().flat_map(|found| &found.cases) {
            for (at, edge) in case.cycle.iter().enumerate() {
                let next = &case.cycle[(at + 1) % case.cycle.len()];
                assert_eq!(edge.to, next.from, "{}: no circle: {}", failure(), case.sentence);
            }
        }
    }
    println!("{workload:?} {model}: {seen:?}");
    seen.are_of_both_kinds();
    seen
}

#[test]
fn lists_are_serializable_exactly_if_some_order_explains_them() {
    compare(
        Workload::ListAppend,
        ConsistencyModel::Serializable,
        true,
        |transactions| oracle::serializable(transactions, Respect::Nothing),
    );
}

#[test]
fn lists_are_session_serializable_exactly_if_some_order_explains_them() {
    compare(
        Workload::ListAppend,
        ConsistencyModel::StrongSessionSerializable,
        true,
        |transactions| oracle::serializable(transactions, Respect::Processes),
    );
}

#[test]
fn lists_are_strict_serializable_exactly_if_some_order_explains_them() {
    compare(
        Workload::ListAppend,
        ConsistencyModel::StrictSerializable,
        true,
        |transactions| oracle::serializable(transactions, Respect::Time),
    );
}

#[test]
fn lists_that_snapshots_explain_are_not_accused() {
    let seen = compare(
        Workload::ListAppend,
        ConsistencyModel::SnapshotIsolation,
        false,
        |transactions| oracle::snapshots(transactions, Respect::Nothing),
    );
    seen.misses_little();
}

#[test]
fn lists_that_strong_snapshots_explain_are_not_accused() {
    let seen = compare(
        Workload::ListAppend,
        ConsistencyModel::StrongSnapshotIsolation,
        false,
        |transactions| oracle::snapshots(transactions, Respect::Time),
    );
    seen.misses_little();
}

#[test]
fn registers_are_serializable_exactly_if_some_order_explains_them() {
    compare(
        Workload::RwRegister,
        ConsistencyModel::Serializable,
        true,
        |transactions| oracle::serializable(transactions, Respect::Nothing),
    );
}

#[test]
fn registers_are_strict_serializable_exactly_if_some_order_explains_them() {
    compare(
        Workload::RwRegister,
        ConsistencyModel::StrictSerializable,
        true,
        |transactions| oracle::serializable(transactions, Respect::Time),
    );
}

#[test]
fn registers_are_session_serializable_exactly_if_some_order_explains_them() {
    compare(
        Workload::RwRegister,
        ConsistencyModel::StrongSessionSerializable,
        true,
        |transactions| oracle::serializable(transactions, Respect::Processes),
    );
}

#[test]
fn registers_that_snapshots_explain_are_not_accused() {
    compare(
        Workload::RwRegister,
        ConsistencyModel::SnapshotIsolation,
        false,
        |transactions| oracle::snapshots(transactions, Respect::Nothing),
    );
}

#[test]
fn registers_that_strong_snapshots_explain_are_not_accused() {
    compare(
        Workload::RwRegister,
        ConsistencyModel::StrongSnapshotIsolation,
        false,
        |transactions| oracle::snapshots(transactions, Respect::Time),
    );
}

/// The oracle itself, on cases that are beyond doubt.
#[test]
fn brute_force_knows_skew_from_order() {
    let event = |index, process, kind, value: &str| {
        let value: serde_json::Value = serde_json::from_str(value).unwrap();
        Event::new(index, Nanos(index), ProcessId(process), kind, "txn", value.into())
    };
    let skew = vec![
        event(0, 0, EventKind::Invoke, r#"[["r","x",null],["append","y",1]]"#),
        event(1, 1, EventKind::Invoke, r#"[["r","y",null],["append","x",2]]"#),
        event(2, 0, EventKind::Ok, r#"[["r","x",[]],["append","y",1]]"#),
        event(3, 1, EventKind::Ok, r#"[["r","y",[]],["append","x",2]]"#),
    ];
    let history = History::from_events(Header::default(), skew).unwrap();
    let transactions = oracle::transactions(&history);
    assert!(!oracle::serializable(&transactions, Respect::Nothing));
    assert!(oracle::snapshots(&transactions, Respect::Time));
    assert!(oracle::serializable(&transactions[..1], Respect::Time));
}

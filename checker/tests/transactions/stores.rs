//! Runs of simulated stores: what a store guarantees is never denied, what it breaks is found by its name.

use checker::Validity;
use checker::transactions::{
    AnomalyKind, ConsistencyModel, Evidence, Shape, Store, TransactionOptions, TransactionSimulation,
    Workload, list_append, rw_register,
};

use crate::setting;

/// What is known of a store.
struct Known {
    store: Store,
    /// Guaranteed.
    keeps: &'static [ConsistencyModel],
    /// Violated so often that every run of some length shows it.
    breaks: &'static [ConsistencyModel],
    /// Among what a run of lists shows.
    shows: &'static [AnomalyKind],
}

const fn cycle(shape: Shape, evidence: Evidence) -> AnomalyKind {
    AnomalyKind::Cycle(shape, evidence)
}

const KNOWN: &[Known] = &[
    Known {
        store: Store::StrictSerializable,
        keeps: &[ConsistencyModel::StrictSerializable],
        breaks: &[],
        shows: &[],
    },
    Known {
        store: Store::StaleReads(30),
        keeps: &[ConsistencyModel::Serializable],
        breaks: &[
            ConsistencyModel::StrictSerializable,
            ConsistencyModel::StrongSnapshotIsolation,
            ConsistencyModel::StrongSessionSerializable,
        ],
        shows: &[
            cycle(Shape::GSingle, Evidence::Realtime),
            cycle(Shape::GSingle, Evidence::Process),
        ],
    },
    Known {
        store: Store::SnapshotIsolation,
        keeps: &[ConsistencyModel::StrongSnapshotIsolation],
        breaks: &[ConsistencyModel::Serializable, ConsistencyModel::RepeatableRead],
        shows: &[cycle(Shape::G2Item, Evidence::Data)],
    },
    Known {
        store: Store::ParallelSnapshotIsolation,
        keeps: &[ConsistencyModel::ParallelSnapshotIsolation],
        breaks: &[
            ConsistencyModel::SnapshotIsolation,
            ConsistencyModel::Serializable,
        ],
        shows: &[cycle(Shape::GNonadjacent, Evidence::Data)],
    },
    Known {
        store: Store::LostUpdates,
        keeps: &[],
        breaks: &[
            ConsistencyModel::CursorStability,
            ConsistencyModel::SnapshotIsolation,
        ],
        shows: &[AnomalyKind::LostUpdate],
    },
    Known {
        store: Store::ReadCommitted,
        keeps: &[ConsistencyModel::ReadCommitted],
        breaks: &[
            ConsistencyModel::ConsistentView,
            ConsistencyModel::SnapshotIsolation,
            ConsistencyModel::RepeatableRead,
        ],
        shows: &[cycle(Shape::GSingle, Evidence::Data), AnomalyKind::Internal],
    },
    Known {
        store: Store::ReadUncommitted,
        keeps: &[ConsistencyModel::ReadUncommitted],
        breaks: &[ConsistencyModel::ReadCommitted],
        shows: &[
            AnomalyKind::G1a,
            AnomalyKind::G1b,
            cycle(Shape::G1c, Evidence::Data),
        ],
    },
    Known {
        store: Store::DirtyWrites,
        keeps: &[],
        breaks: &[ConsistencyModel::ReadUncommitted],
        shows: &[cycle(Shape::G0, Evidence::Data), AnomalyKind::DirtyUpdate],
    },
];

fn run(known: &Known, workload: Workload, seed: u64) {
    let simulation = TransactionSimulation {
        seed,
        transactions: 1500,
        processes: 8,
        keys: 4,
        writes_per_key: 24,
        workload,
        store: known.store,
        unknown: [0.0, 0.03][seed as usize % 2],
        aborted: 0.05,
        ..TransactionSimulation::default()
    };
    let history = simulation.run();
    let name = format!("seed {seed}, {workload:?}, {:?}", known.store);
    let judge = |model: ConsistencyModel| {
        let options = TransactionOptions {
            consistency_models: vec![model],
            ..TransactionOptions::default()
        };
        match workload {
            Workload::ListAppend => list_append(&history, &options),
            Workload::RwRegister => rw_register(&history, &options),
        }
        .unwrap_or_else(|error| panic!("{name}: {error}"))
    };
    let all = judge(ConsistencyModel::StrictSerializable);
    for &model in known.keeps {
        let analysis = judge(model);
        assert_eq!(
            analysis.valid,
            Validity::True,
            "{name}, {model}: {:?}",
            analysis.sentence
        );
        for ruled_out in all.not.iter().chain(&all.also_not) {
            assert!(
                !model.implies(*ruled_out),
                "{name} does keep {ruled_out}: {:?}",
                all.sentence
            );
        }
    }
    // Of registers the order of versions is known in part only: some violations cannot be shown.
    if workload == Workload::RwRegister {
        let seen = all.valid == Validity::False;
        assert_eq!(seen, !known.breaks.is_empty(), "{name}: {:?}", all.sentence);
        return;
    }
    for &model in known.breaks {
        let analysis = judge(model);
        assert_eq!(
            analysis.valid,
            Validity::False,
            "{name}: {model} not found broken"
        );
        assert!(
            all.not.contains(&model) || all.also_not.contains(&model),
            "{name}: {model} not ruled out"
        );
    }
    for kind in known.shows {
        assert!(
            all.anomaly(*kind).is_some(),
            "{name}: no {kind} among {:?}",
            all.anomaly_types
        );
    }
}

#[test]
fn stores_are_known_by_their_anomalies() {
    let first = setting("CHECKER_SEED", 1);
    for seed in first..first + setting("CHECKER_RUNS", 10) {
        for known in KNOWN {
            run(known, Workload::ListAppend, seed);
            run(known, Workload::RwRegister, seed);
        }
    }
}

/// One seed gives one history.
#[test]
fn simulations_repeat() {
    let simulation = TransactionSimulation {
        store: Store::ReadUncommitted,
        unknown: 0.1,
        aborted: 0.1,
        ..TransactionSimulation::default()
    };
    let (one, two) = (simulation.run(), simulation.run());
    assert_eq!(one.len(), two.len());
    for (a, b) in one.operations().zip(two.operations()) {
        assert_eq!(
            (a.input(), a.output(), a.invoked_at()),
            (b.input(), b.output(), b.invoked_at())
        );
    }
}

/// What was not looked for is not there to be called legal.
#[test]
fn without_time_cycles_are_unknown() {
    let simulation = TransactionSimulation {
        seed: 5,
        transactions: 2000,
        store: Store::SnapshotIsolation,
        ..TransactionSimulation::default()
    };
    let history = simulation.run();
    let judge = |time_limit| {
        let options = TransactionOptions {
            consistency_models: vec![ConsistencyModel::Serializable],
            time_limit,
            ..TransactionOptions::default()
        };
        list_append(&history, &options).expect("transactions")
    };
    assert_eq!(judge(None).valid, Validity::False, "snapshots allow write skew");
    let hurried = judge(Some(std::time::Duration::ZERO));
    assert_eq!(hurried.valid, Validity::Unknown);
    assert!(hurried.unknown.is_some_and(|why| why.contains("--time-limit")));
}

//! How long transactions take to judge, from a thousand to a million: `cargo bench -p checker --bench transactions`.
//!
//! Each size is judged once or, while that is short, several times, and the fastest counts; the last columns show
//! whether cost grows with the length. No sampling harness: a run of a million takes seconds, and what matters is
//! its order of magnitude. Numbers behind the command choose other sizes.

use std::hint::black_box;
use std::time::{Duration, Instant};

use checker::history::History;
use checker::transactions::{
    Store, TransactionAnalysis, TransactionOptions, TransactionSimulation, Workload, list_append, rw_register,
};

/// Repetitions end when a size has taken this long.
const ENOUGH: Duration = Duration::from_millis(500);

fn judge(history: &History, workload: Workload) -> TransactionAnalysis {
    let options = TransactionOptions::default();
    match workload {
        Workload::ListAppend => list_append(history, &options),
        Workload::RwRegister => rw_register(history, &options),
    }
    .expect("simulations are transactions")
}

fn fastest(history: &History, workload: Workload) -> (Duration, TransactionAnalysis) {
    let begun = Instant::now();
    let once = || {
        let one = Instant::now();
        let analysis = black_box(judge(black_box(history), workload));
        (one.elapsed(), analysis)
    };
    let mut best = once();
    while begun.elapsed() < ENOUGH {
        let again = once();
        if again.0 < best.0 {
            best = again;
        }
    }
    best
}

fn main() {
    // Cargo hands on `--bench`.
    let told: Vec<u64> = std::env::args()
        .filter_map(|argument| argument.parse().ok())
        .collect();
    let sizes = if told.is_empty() {
        vec![1_000, 10_000, 100_000, 1_000_000]
    } else {
        told
    };
    println!(
        "{:<12} {:<20} {:>12} {:>10} {:>10} {:>8} {:>14}",
        "workload", "store", "transactions", "ms", "us each", "verdict", "anomalies"
    );
    for workload in [Workload::ListAppend, Workload::RwRegister] {
        for store in [
            Store::StrictSerializable,
            Store::SnapshotIsolation,
            Store::ReadCommitted,
        ] {
            for &transactions in &sizes {
                let simulation = TransactionSimulation {
                    seed: transactions,
                    transactions,
                    processes: 20,
                    keys: 10,
                    workload,
                    store,
                    unknown: 0.01,
                    ..TransactionSimulation::default()
                };
                let history = simulation.run();
                let (took, analysis) = fastest(&history, workload);
                let ms = took.as_secs_f64() * 1e3;
                println!(
                    "{:<12} {:<20} {transactions:>12} {ms:>10.1} {:>10.2} {:>8} {:>14}",
                    analysis.model,
                    format!("{store:?}"),
                    ms * 1e3 / transactions as f64,
                    format!("{:?}", analysis.valid),
                    analysis.anomalies.iter().map(|found| found.count).sum::<usize>(),
                );
            }
        }
    }
}

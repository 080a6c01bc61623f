//! The histories of the documentation's table, from a loaded history to a verdict.

use std::time::Duration;

use checker::figures::figures;
use checker::{CheckOptions, Explain, check};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

fn verdicts(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("verdict");
    group.sample_size(10).measurement_time(Duration::from_secs(5));
    let options = CheckOptions {
        explain: Explain::Nothing,
        time_limit: Some(Duration::from_secs(10)),
        ..CheckOptions::default()
    };
    for figure in figures() {
        let history = figure.simulation.history().expect("simulations are valid");
        group.throughput(Throughput::Elements(figure.simulation.operations));
        group.bench_with_input(
            BenchmarkId::from_parameter(figure.name),
            &history,
            |bencher, history| {
                bencher.iter(|| check(history, &options).expect("the model is known"));
            },
        );
    }
    group.finish();
}

criterion_group!(benches, verdicts);
criterion_main!(benches);

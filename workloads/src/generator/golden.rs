//! What every generator does, as text files that people read: `golden/<name>.txt`.
//!
//! After a change that is meant: `UPDATE_GOLDEN=1 cargo test -p workloads golden`, and read what changed.

use std::fmt::Write;
use std::path::Path;

use checker::history::{Nanos, Value};

use super::*;
use crate::workload::{LoadOptions, WORKLOADS};

/// How long every operation takes, in nanoseconds.
const TAKES: u64 = 3_000_000;
/// How many operations a trace shows.
const SHOWN: usize = 40;

/// Asks `generator` for `workers` workers until all have ended or enough was seen. Operations take 3 ms; every
/// fifth fails.
fn trace(mut generator: impl Generator, workers: usize) -> String {
    let mut out = String::new();
    // Per worker: when it is free, and what it has under way.
    let mut free = vec![0_u64; workers];
    let mut under_way: Vec<Option<Invocation>> = vec![None; workers];
    let mut ended = vec![false; workers];
    let mut count = 0;
    while count < SHOWN && ended.iter().any(|ended| !ended) {
        let worker = (0..workers)
            .filter(|worker| !ended[*worker])
            .min_by_key(|worker| (free[*worker], *worker))
            .expect("one has not ended");
        let context = Context {
            now: Nanos(free[worker]),
            worker,
            node: worker % 3,
        };
        if let Some(invocation) = under_way[worker].take() {
            let outcome = if count % 5 == 4 {
                Outcome::Fail { error: "no".into() }
            } else {
                Outcome::DONE
            };
            generator.update(context, &invocation, &outcome);
        }
        match generator.next(context) {
            Next::Invoke { at, invocation, .. } => {
                let at = at.max(context.now);
                let again = invocation.repeat.as_ref().map_or_else(String::new, |repeat| {
                    let lost = repeat
                        .lost
                        .map_or_else(String::new, |wait| format!(", again after {wait:?}"));
                    format!("  as {}{lost}", repeat.name)
                });
                writeln!(
                    out,
                    "{:>8.3} ms  w{worker}  {} {} {}{again}",
                    at.0 as f64 / 1e6,
                    invocation.f,
                    invocation.key,
                    invocation.value,
                )
                .expect("writing to a string");
                under_way[worker] = Some(invocation);
                free[worker] = at.0 + TAKES;
                count += 1;
            }
            Next::Wait { until } => free[worker] = until.0.max(free[worker] + 1),
            Next::Done => {
                writeln!(out, "{:>8.3} ms  w{worker}  ends", context.now.0 as f64 / 1e6)
                    .expect("writing to a string");
                ended[worker] = true;
            }
        }
    }
    out
}

fn check(name: &str, trace: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("src/generator/golden/{name}.txt"));
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, trace).expect("the golden file is written");
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(trace, expected, "{} differs", path.display());
}

/// An endless count on one key.
struct Count(&'static str, i64);

impl Generator for Count {
    fn next(&mut self, context: Context) -> Next {
        self.1 += 1;
        Next::Invoke {
            at: context.now,
            intended: None,
            invocation: Invocation::new(self.0, "k", Value::Int(self.1)),
        }
    }
}

fn count(f: &'static str) -> AnyGenerator {
    Box::new(Count(f, 0))
}

const MS: u64 = 1_000_000;

#[test]
fn generators_do_what_their_golden_files_say() {
    let cases: [(&str, AnyGenerator, usize); 13] = [
        (
            "mix",
            Box::new(Mix::new(1, vec![(3, count("get")), (1, count("set"))])),
            2,
        ),
        (
            "then",
            Box::new(Then::new(vec![
                Box::new(Limit::new(count("a"), 3)),
                Box::new(Limit::new(count("b"), 3)),
            ])),
            2,
        ),
        (
            "phases",
            Box::new(Phases::new(
                3,
                vec![
                    Box::new(Limit::new(count("a"), 4)),
                    Box::new(Limit::new(count("b"), 4)),
                ],
            )),
            3,
        ),
        (
            "reserve",
            Box::new(Reserve::new(1, count("some"), count("rest"))),
            3,
        ),
        ("limit", Box::new(Limit::new(count("a"), 5)), 2),
        ("until-ok", Box::new(UntilOk::new(Limit::new(count("a"), 12))), 2),
        (
            "on-keys",
            Box::new(OnKeys::new(2, Zipf::new(5, 1.0), count("get"))),
            2,
        ),
        (
            "stagger",
            Box::new(Paced::new(count("get"), Pace::Closed, 200.0).arriving(Arrivals::Stagger, 3)),
            2,
        ),
        (
            "burst",
            Box::new(Paced::new(count("get"), Pace::Closed, 200.0).arriving(Arrivals::Burst(4), 3)),
            3,
        ),
        (
            "only",
            Box::new(Only::new(
                Mix::new(1, vec![(3, count("get")), (1, count("set"))]),
                "set",
            )),
            2,
        ),
        (
            "shared",
            Box::new({
                let shared = Shared::new(Limit::new(count("a"), 10));
                Then::new(vec![
                    Box::new(Limit::new(shared.clone(), 4)),
                    Box::new(Only::new(shared, "a")),
                ])
            }),
            2,
        ),
        ("rate", Box::new(Paced::new(count("get"), Pace::Open, 500.0)), 1),
        (
            "time-limit",
            Box::new(TimeLimit::new(
                Paced::new(count("get"), Pace::Closed, 500.0),
                Nanos(20 * MS),
            )),
            2,
        ),
    ];
    for (name, generator, workers) in cases {
        check(name, &trace(generator, workers));
    }
}

#[test]
fn workloads_do_what_their_golden_files_say() {
    for workload in WORKLOADS {
        let options = LoadOptions {
            seed: 1,
            keys: 3,
            choice: KeyChoice::Uniform,
            operations_per_key: 20,
            appends: true,
            deletes: true,
            repeats: true,
            transactions: true,
        };
        check(
            &format!("workload-{}", workload.name),
            &trace((workload.load)(&options), 4),
        );
    }
}

//! How fast operations are generated, recorded and judged, against a client that does nothing.
//!
//! ```text
//! cargo bench -p workloads --bench generator
//! ```
//!
//! One thread does it all, as one core would: the generator says what is next, the recorder writes invocation
//! and completion to a file, and the monitor judges the same events as they come.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::time::Instant;

use checker::history::{Header, Nanos, ProcessId, Value};
use checker::{CheckOptions, Monitor, Status};
use workloads::generator::{Context, Generator, Invocation, KeyChoice, Next};
use workloads::recorder::Recorder;
use workloads::system::Outcome;
use workloads::workload::{LoadOptions, Workload};

/// How many operations are done.
const OPERATIONS: u64 = 200_000;
/// How many processes take turns.
const PROCESSES: u64 = 2_000;

/// A store that is one map: what it answers is right.
#[derive(Default)]
struct Perfect(BTreeMap<String, Value>);

impl Perfect {
    fn answer(&mut self, invocation: &Invocation) -> Outcome {
        let there = self.0.get(&invocation.key).cloned().unwrap_or_default();
        let written = match (invocation.f, &invocation.value) {
            ("get", _) => return Outcome::told(there),
            ("delete", _) => Value::Nil,
            ("append", more) => {
                let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
                Value::from(text(&there) + &text(more))
            }
            ("cas", Value::List(pair)) if pair[0] == there => pair[1].clone(),
            ("cas", _) => return Outcome::Mismatch { current: Some(there) },
            (_, value) => value.clone(),
        };
        self.0.insert(invocation.key.clone(), written);
        Outcome::DONE
    }
}

fn main() {
    for name in ["cas-register", "mix"] {
        let workload = Workload::named(name).expect("a workload");
        let generate = measure(workload, false, false);
        let record = measure(workload, true, false);
        let judge = measure(workload, true, true);
        let each = |seconds: f64| seconds * 1e6 / OPERATIONS as f64;
        println!(
            "{name}: {PROCESSES} processes, {OPERATIONS} operations: generated in {:.2} us each, recording adds {:.2} us, \
             judging {:.2} us: {:.0} operations a second on one core",
            each(generate),
            each(record - generate),
            each(judge - record),
            OPERATIONS as f64 / judge,
        );
    }
}

/// How long it takes, in seconds.
fn measure(workload: &Workload, records: bool, judges: bool) -> f64 {
    let options = LoadOptions {
        seed: 1,
        keys: 50,
        choice: KeyChoice::Uniform,
        operations_per_key: 400,
        appends: true,
        deletes: true,
        repeats: true,
        transactions: true,
    };
    let mut load = (workload.load)(&options);
    let mut store = Perfect::default();
    let header = Header::for_model(workload.model);
    let folder = std::env::temp_dir().join(format!("ordeal-bench-{}", std::process::id()));
    let (events, heard) = std::sync::mpsc::channel();
    let listener = judges.then_some(events);
    let recorder = records.then(|| Recorder::create(&folder, &header, listener).expect("a history"));
    let mut monitor = Monitor::new(&header, &CheckOptions::default()).expect("a model");
    let begun = Instant::now();
    for number in 0..OPERATIONS {
        let process = number % PROCESSES;
        let context = Context {
            now: Nanos(number),
            worker: process as usize,
            node: 0,
        };
        let Next::Invoke { invocation, .. } = load.next(context) else {
            panic!("the load is endless")
        };
        if let Some(recorder) = &recorder {
            recorder.invoke(ProcessId(process), "n1", &invocation, None);
        }
        let outcome = store.answer(&invocation);
        if let Some(recorder) = &recorder {
            recorder.complete(ProcessId(process), "n1", &invocation, &outcome);
        }
        load.update(context, &invocation, &outcome);
        black_box(&invocation);
        while let Ok(event) = heard.try_recv() {
            assert_eq!(monitor.push(&event).expect("in order"), Status::Fine);
        }
    }
    let took = begun.elapsed().as_secs_f64();
    drop(recorder);
    // It may not be there, where nothing was recorded.
    let _ = std::fs::remove_file(&folder);
    took
}

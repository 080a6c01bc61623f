//! What the report of a long run costs: to write, on disk, and to open in a browser.
//!
//! ```text
//! cargo bench -p workloads --bench report
//! ```
//!
//! A store is simulated, once sound and once with a few stale reads; the history is judged, and the files for
//! people are written as a run writes them. With Chromium and its driver at hand (as for the tests) the page is
//! opened from disk: the time until it and its script are done, the driver's own way there and back included.

use std::fs;
use std::time::{Duration, Instant};

use browser::Browser;
use checker::generate::{Bug, Simulation, Values};
use checker::history::Nanos;
use checker::{CheckOptions, Verdict};
use workloads::report::{FaultSpan, NodeReport, ReportInput, RunInfo, html, junit, summary};

/// Operations of the run.
const OPERATIONS: u64 = 1_000_000;
/// Faults of it, one after the other.
const FAULTS: u64 = 200;
/// How often a page is opened; the median is told.
const TIMES: usize = 5;

fn main() {
    let folder = tempfile::tempdir().expect("a folder");
    let browser = Browser::start();
    for (name, bug) in [("valid", Bug::None), ("illegal", Bug::StaleReads(1e-4))] {
        let simulation = Simulation {
            seed: 1,
            operations: OPERATIONS,
            processes: 100,
            keys: 2_000,
            values: Values::Distinct,
            unknown: 0.001,
            bug,
            ..Simulation::default()
        };
        let history = simulation.history().expect("a sound history");
        let analysis = checker::check(&history, &CheckOptions::default()).expect("judged");
        let legal = matches!(analysis.verdict, Verdict::Linearizable(_));
        assert_eq!(legal, name == "valid", "seed 1: {:?}", analysis.verdict);
        let run = around(&history);
        let input = ReportInput {
            history: &history,
            analysis: Some(&analysis),
            run: &run,
        };
        let page = folder.path().join(format!("{name}.html"));
        let begun = Instant::now();
        fs::write(&page, html(&input)).expect("written");
        fs::write(page.with_extension("xml"), junit(&input)).expect("written");
        fs::write(page.with_extension("md"), summary(&input)).expect("written");
        let wrote = begun.elapsed();
        let size = fs::metadata(&page).expect("written").len();
        let opened = browser.as_ref().map(|browser| {
            let mut times: Vec<Duration> = (0..TIMES)
                .map(|_| {
                    let begun = Instant::now();
                    browser.open_file(&page);
                    begun.elapsed()
                })
                .collect();
            assert_eq!(browser.console(), Vec::<String>::new());
            times.sort_unstable();
            times[TIMES / 2]
        });
        println!(
            "{name}: {OPERATIONS} operations, {FAULTS} faults: written in {wrote:.2?}, page of {:.2} MB, opened in {}",
            size as f64 / 1e6,
            opened.map_or_else(|| "-".to_owned(), |took| format!("{took:.2?}")),
        );
    }
}

/// What stands around a history: as many faults and nodes as a long run has.
fn around(history: &checker::history::History) -> RunInfo {
    let ends = history
        .operations()
        .filter_map(checker::history::Operation::completed_at);
    let length = ends.max().unwrap_or_default();
    let each = length.0 / FAULTS;
    let faults = (0..FAULTS).map(|number| FaultSpan {
        kind: ["partition", "kill", "pause"][(number % 3) as usize].into(),
        description: format!("fault {number} of n1, n2 | n3, n4, n5"),
        from: Nanos(number * each),
        to: Some(Nanos(number * each + each / 2)),
        bit: true,
        healed: true,
        ..FaultSpan::default()
    });
    let nodes = (1..=5).map(|number| NodeReport {
        name: format!("n{number}"),
        address: format!("10.99.0.{number}"),
        ..NodeReport::default()
    });
    RunInfo {
        name: "kvnode register".into(),
        length,
        seed: Some(1),
        faults: faults.collect(),
        nodes: nodes.collect(),
        ..RunInfo::default()
    }
}

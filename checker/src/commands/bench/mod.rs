//! `checker bench`: how fast is it here?

use std::fs;
use std::io::{self, BufWriter};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use checker::generate::{Bug, Mix, Simulation, Values};
use checker::history::{History, Writer};
use checker::{CheckOptions, ReadOptions, Verdict, check};
use clap::Args;

use super::{BAD_INPUT, complain, limits};

#[derive(Debug, Args)]
pub(crate) struct Bench {
    /// Only the cases whose name contains this.
    #[arg(value_name = "NAME")]
    only: Option<String>,
    /// Repeat each case so often and tell the fastest.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    repeat: u32,
    /// Give up a case after so many seconds.
    #[arg(long, default_value = "10", value_parser = limits::seconds)]
    time_limit: Duration,
    /// Give up a case that holds so many bytes.
    #[arg(long, default_value = "1G", value_parser = limits::bytes)]
    memory_limit: u64,
    /// Also write each history into this folder, for other checkers.
    #[arg(long, value_name = "FOLDER")]
    write: Option<PathBuf>,
}

struct Case {
    name: &'static str,
    simulation: Simulation,
}

/// The cases that the documentation quotes.
fn cases() -> Vec<Case> {
    let registers = |operations, processes| Simulation {
        operations,
        processes,
        ..Simulation::default()
    };
    let distinct = |operations, processes| Simulation {
        values: Values::Distinct,
        mix: Mix {
            get: 2,
            set: 2,
            cas: 1,
            ..Mix::default()
        },
        ..registers(operations, processes)
    };
    let case = |name, simulation| Case { name, simulation };
    vec![
        case(
            "1 key, 10000 operations, 20 clients, 5 values",
            registers(10_000, 20),
        ),
        case(
            "1 key, 10000 operations, 50 clients, 5 values",
            registers(10_000, 50),
        ),
        case(
            "1 key, 10000 operations, 100 clients, 5 values",
            registers(10_000, 100),
        ),
        case(
            "1 key, 100000 operations, 5 clients, 5 values",
            registers(100_000, 5),
        ),
        case(
            "1000 keys, 1000000 operations, 20 clients, 5 values",
            Simulation {
                keys: 1000,
                ..registers(1_000_000, 20)
            },
        ),
        case(
            "1 key, 1000000 operations, 100 clients, distinct values, 10% unknown",
            Simulation {
                unknown: 0.1,
                ..distinct(1_000_000, 100)
            },
        ),
        case(
            "1000 operations, 10% unknown, legal",
            Simulation {
                unknown: 0.1,
                ..registers(1000, 5)
            },
        ),
        case(
            "1000 operations, 13 unknown, illegal",
            Simulation {
                unknown: 0.013,
                bug: Bug::StaleReads(0.02),
                ..registers(1000, 5)
            },
        ),
        case(
            "300 operations, 20% unknown, 5 values, illegal",
            Simulation {
                unknown: 0.2,
                bug: Bug::StaleReads(0.05),
                ..registers(300, 5)
            },
        ),
        case(
            "2000 appends and reads of 50 clients, illegal",
            Simulation {
                mix: Mix {
                    get: 1,
                    append: 1,
                    ..Mix::default()
                },
                values: Values::Distinct,
                bug: Bug::StaleReads(0.01),
                ..registers(2000, 50)
            },
        ),
    ]
}

impl Bench {
    pub(crate) fn run(&self) -> u8 {
        println!(
            "{:<70} {:>8} {:>10} {:>10} {:>10}",
            "history", "verdict", "load", "check", "peak"
        );
        for case in cases() {
            if self
                .only
                .as_ref()
                .is_some_and(|only| !case.name.contains(only.as_str()))
            {
                continue;
            }
            if let Err(problem) = self.measure(&case) {
                complain(format_args!("{}: {problem}", case.name));
                return BAD_INPUT;
            }
        }
        0
    }

    fn measure(&self, case: &Case) -> io::Result<()> {
        let mut writer = Writer::new(Vec::new(), &case.simulation.header())?;
        for event in case.simulation.events() {
            writer.write(&event)?;
        }
        let bytes = writer.into_inner()?;
        if let Some(folder) = &self.write {
            let name = case.name.replace([' ', ',', '%'], "-");
            let mut file = BufWriter::new(fs::File::create(folder.join(name + ".jsonl"))?);
            io::Write::write_all(&mut file, &bytes)?;
        }
        let options = CheckOptions {
            time_limit: Some(self.time_limit),
            memory_limit: Some(self.memory_limit),
            ..CheckOptions::default()
        };
        let (mut load, mut judge, mut word) = (Duration::MAX, Duration::MAX, "");
        for _ in 0..self.repeat {
            let began = Instant::now();
            let history = History::read(&bytes, None, &ReadOptions::default()).map_err(io::Error::other)?;
            load = load.min(began.elapsed());
            let began = Instant::now();
            let analysis = check(&history, &options).map_err(io::Error::other)?;
            judge = judge.min(began.elapsed());
            word = match analysis.verdict {
                Verdict::Linearizable(_) => "legal",
                Verdict::Illegal(_) => "illegal",
                Verdict::Unknown(_) => "unknown",
            };
        }
        let peak = peak_memory().map_or_else(|| "?".to_owned(), |bytes| format!("{} MB", bytes >> 20));
        println!(
            "{:<70} {word:>8} {:>10} {:>10} {peak:>10}",
            case.name,
            millis(load),
            millis(judge)
        );
        Ok(())
    }
}

fn millis(time: Duration) -> String {
    format!("{:.2} ms", time.as_secs_f64() * 1e3)
}

/// The most memory that this process has held so far, history and all, where the system tells.
fn peak_memory() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kilobytes: u64 = line.trim().strip_suffix(" kB")?.trim().parse().ok()?;
    Some(kilobytes * 1024)
}

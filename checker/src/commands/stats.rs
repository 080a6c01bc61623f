//! `checker stats`: what is in a history?

use std::fmt::Write as _;
use std::path::PathBuf;

use checker::stats::{Latency, Stats as Counted};
use clap::Args;

use super::input::Input;
use super::output::text_to;
use super::{BAD_INPUT, complain};

/// Operations by function and outcome, keys, processes, concurrency, duration, rate, latencies and faults.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  checker stats store/latest/history.jsonl
  checker stats --json history.edn.gz | jq .functions.read.latency.p99
  curl -s https://example.org/history.jsonl.zst | checker stats -")]
pub(crate) struct Stats {
    #[command(flatten)]
    input: Input,
    /// Print one line of JSON instead, latencies in nanoseconds.
    #[arg(long)]
    json: bool,
    /// Where to write; - is standard output. A file is put in place when it is complete.
    #[arg(long, short, value_name = "FILE", default_value = "-")]
    output: PathBuf,
}

impl Stats {
    pub(crate) fn run(&self) -> u8 {
        let history = match self.input.open() {
            Ok(history) => history,
            Err(problem) => {
                complain(problem);
                return BAD_INPUT;
            }
        };
        let stats = Counted::of(&history);
        let text = if self.json {
            serde_json::to_string(&stats).expect("counts are JSON") + "\n"
        } else {
            table(&stats).expect("a text takes everything")
        };
        text_to(&self.output, &text, 0)
    }
}

fn table(stats: &Counted) -> Result<String, std::fmt::Error> {
    let mut out = String::new();
    let model = stats.model.as_deref().unwrap_or("not named");
    writeln!(out, "operations   {} (model {model})", stats.operations)?;
    writeln!(
        out,
        "unknown      {} ({} never came back)",
        stats.unknown, stats.unanswered
    )?;
    writeln!(out, "keys         {}", stats.keys)?;
    writeln!(out, "processes    {}", stats.processes)?;
    let mean = stats.concurrency.mean;
    let mean = mean.map_or_else(String::new, |mean| format!(", {mean:.1} on average"));
    writeln!(out, "concurrency  {} at most{mean}", stats.concurrency.max)?;
    let display = if stats.times_are_exact {
        ""
    } else {
        " (times of this form are for display only)"
    };
    writeln!(out, "duration     {:.3} s{display}", stats.seconds)?;
    if let Some(rate) = stats.rate {
        writeln!(out, "rate         {rate:.1} operations/s")?;
    }
    if !stats.functions.is_empty() {
        writeln!(
            out,
            "\n{:<16} {:>9} {:>9} {:>9} {:>9} {:>10} {:>10} {:>10} {:>10} {:>10}",
            "function", "ok", "mismatch", "fail", "unknown", "p50", "p90", "p99", "p99.9", "max"
        )?;
    }
    for (f, counts) in &stats.functions {
        write!(
            out,
            "{f:<16} {:>9} {:>9} {:>9} {:>9}",
            counts.ok, counts.mismatch, counts.fail, counts.info
        )?;
        if let Some(Latency {
            p50,
            p90,
            p99,
            p999,
            max,
            ..
        }) = counts.latency
        {
            for latency in [p50, p90, p99, p999, max] {
                write!(out, " {:>7.2} ms", latency as f64 / 1e6)?;
            }
        }
        writeln!(out)?;
    }
    if !stats.faults.is_empty() {
        writeln!(out, "\nnemesis")?;
    }
    for (fault, count) in &stats.faults {
        writeln!(out, "{fault:<24} {count:>5} events")?;
    }
    Ok(out)
}

//! What `checker check --checker set-full` and `stale-bound` print.

use std::fmt::{Display, Write as _};
use std::io::{self, Write};
use std::path::Path;

use checker::{Duplicate, Element, Quantiles, SetFull, StaleBound, Validity};
use clap::{Args, ValueEnum};
use serde::Serialize;

/// What a history is asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Question {
    /// Is there an order that keeps to time?
    #[default]
    Linearizable,
    /// Is there one order of all keys that keeps to each process's own?
    Sequential,
    /// What became of every element of a set?
    SetFull,
    /// How stale were the reads?
    StaleBound,
}

/// What makes a measured history illegal.
#[derive(Debug, Args)]
pub(crate) struct Bounds {
    /// With set-full: an element that is missed after it was known makes the history illegal, even if it is there
    /// later.
    #[arg(long)]
    pub(crate) no_stale: bool,
    /// With stale-bound: a read that is staler than so many milliseconds makes the history illegal.
    #[arg(long, value_name = "MS", value_parser = milliseconds)]
    pub(crate) stale_ms: Option<f64>,
    /// With stale-bound: a read that is more than so many versions behind makes the history illegal.
    #[arg(long, value_name = "N")]
    pub(crate) stale_versions: Option<u64>,
}

fn milliseconds(text: &str) -> Result<f64, String> {
    let number = text
        .parse()
        .ok()
        .filter(|number: &f64| number.is_finite() && *number >= 0.0);
    number.ok_or_else(|| "a number of milliseconds, such as 100 or 2.5".to_owned())
}

/// How a measurement is printed.
pub(crate) struct Manner {
    pub(crate) json: bool,
    pub(crate) quiet: bool,
}

/// Prints the verdict and what was measured; says how to exit.
pub(crate) fn tell<M: Measured>(file: &Path, measured: &M, manner: &Manner) -> io::Result<u8> {
    let word = match measured.valid() {
        Validity::True => "legal",
        Validity::False => "illegal",
        Validity::Unknown => "unknown",
    };
    let mut out = io::stdout().lock();
    if manner.json {
        serde_json::to_writer(&mut out, measured)?;
        writeln!(out)?;
    } else {
        writeln!(out, "{word}\t{}", file.display())?;
        if !manner.quiet {
            out.write_all(measured.table().as_bytes())?;
        }
    }
    out.flush()?;
    Ok(exit_code(measured.valid()))
}

/// How to exit after a verdict.
pub(crate) fn exit_code(valid: Validity) -> u8 {
    match valid {
        Validity::True => 0,
        Validity::False => 1,
        Validity::Unknown => 2,
    }
}

/// Something that is measured rather than decided.
pub(crate) trait Measured: Serialize {
    fn valid(&self) -> Validity;
    /// Lines for a person.
    fn table(&self) -> String;
}

impl Measured for SetFull {
    fn valid(&self) -> Validity {
        self.valid
    }

    fn table(&self) -> String {
        let mut text = String::new();
        let rows = [
            ("attempts", self.attempt_count),
            ("acknowledged", self.acknowledged_count),
            ("ok (there for good)", self.stable_count),
            ("lost", self.lost_count),
            ("never read", self.never_read_count),
            ("stale", self.stale_count),
            ("duplicated", self.duplicated_count),
            ("recovered", self.recovered_count),
            ("unexpected", self.unexpected_count),
        ];
        for (name, count) in rows {
            let _ = writeln!(text, "  {name:<22}{count:>10}");
        }
        heads(&mut text);
        row(&mut text, "ms until there", self.stable_latencies.as_ref(), 3);
        row(&mut text, "ms until lost", self.lost_latencies.as_ref(), 3);
        row(
            &mut text,
            "ms until recovered",
            self.recovered_latencies.as_ref(),
            3,
        );
        let named = |element: &Element| match &element.key {
            Some(key) => format!("{} of {key}", element.element),
            None => element.element.to_string(),
        };
        list(&mut text, "lost", self.lost.iter().map(named), self.lost_count);
        let stale = self.worst_stale.iter();
        let stale = stale.map(|element| format!("{} ({:.3} ms)", named(element), element.latency_ms));
        list(&mut text, "stale", stale, self.stale_count);
        let doubled = |it: &Duplicate| match &it.key {
            Some(key) => format!("{} of {key} ({} times)", it.element, it.times),
            None => format!("{} ({} times)", it.element, it.times),
        };
        list(
            &mut text,
            "duplicated",
            self.duplicated.iter().map(doubled),
            self.duplicated_count,
        );
        list(
            &mut text,
            "unexpected",
            self.unexpected.iter().map(named),
            self.unexpected_count,
        );
        text
    }
}

impl Measured for StaleBound {
    fn valid(&self) -> Validity {
        self.valid
    }

    fn table(&self) -> String {
        let mut text = String::new();
        let share = |count: usize| match self.reads {
            0 => String::new(),
            reads => format!("  {:.3} %", count as f64 * 100.0 / reads as f64),
        };
        let rows = [
            ("reads", self.reads, String::new()),
            ("stale", self.stale, share(self.stale)),
            ("of nothing written", self.phantoms, share(self.phantoms)),
            ("of the future", self.early, share(self.early)),
            ("of one of many writes", self.ambiguous, share(self.ambiguous)),
        ];
        for (name, count, share) in rows {
            let _ = writeln!(text, "  {name:<22}{count:>10}{share}");
        }
        heads(&mut text);
        row(&mut text, "ms, all reads", self.ms.as_ref(), 3);
        row(&mut text, "ms, stale reads", self.stale_ms.as_ref(), 3);
        row(&mut text, "versions, all reads", self.versions.as_ref(), 0);
        row(
            &mut text,
            "versions, stale reads",
            self.stale_versions.as_ref(),
            0,
        );
        for read in self.worst.iter().take(MOST_LISTED) {
            let _ = writeln!(
                text,
                "  event {} {}: {} versions and {:.3} ms stale",
                read.index, read.said, read.versions, read.ms
            );
        }
        for read in self.impossible.iter().take(MOST_LISTED) {
            let _ = writeln!(
                text,
                "  event {} {}: nobody had asked to write that by then",
                read.index, read.said
            );
        }
        text
    }
}

/// More are in the JSON.
const MOST_LISTED: usize = 8;

fn heads(text: &mut String) {
    let _ = writeln!(
        text,
        "  {:<22}{:>10}{:>10}{:>10}{:>10}{:>10}",
        "", "p50", "p90", "p99", "p99.9", "max"
    );
}

fn row<T: Display>(text: &mut String, name: &str, quantiles: Option<&Quantiles<T>>, digits: usize) {
    let _ = match quantiles {
        None => writeln!(text, "  {name:<22}{:>10}", "-"),
        Some(Quantiles {
            p50,
            p90,
            p99,
            p999,
            max,
            ..
        }) => writeln!(
            text,
            "  {name:<22}{p50:>10.digits$}{p90:>10.digits$}{p99:>10.digits$}{p999:>10.digits$}{max:>10.digits$}"
        ),
    };
}

fn list(text: &mut String, name: &str, items: impl Iterator<Item = String>, count: usize) {
    let shown: Vec<String> = items.take(MOST_LISTED).collect();
    if shown.is_empty() {
        return;
    }
    let more = match count - shown.len() {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let _ = writeln!(text, "  {name}: {}{more}", shown.join(", "));
}

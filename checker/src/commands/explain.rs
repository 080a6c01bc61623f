//! `checker explain`: tells a person what is wrong.

use std::fmt::Write as _;
use std::path::PathBuf;

use checker::history::{History, Nanos};
use checker::{Analysis, CheckOptions, CoreOperation, Counterexample, Verdict, check, timeline};
use clap::Args;

use super::input::Input;
use super::output::text_to;
use super::{BAD_INPUT, complain, transactions};

/// Exit codes: 0 legal, 1 illegal, 2 unknown (a limit ran out), 254 bad arguments or input.
#[derive(Debug, Args)]
pub(crate) struct Explain {
    #[command(flatten)]
    input: Input,
    #[command(flatten)]
    transactions: transactions::Flags,
    /// Where to write; - is standard output. A file is put in place when it is complete.
    #[arg(long, short, value_name = "FILE", default_value = "-")]
    output: PathBuf,
}

impl Explain {
    pub(crate) fn run(&self) -> u8 {
        let (text, code) = match self.judge() {
            Ok((history, analysis)) => (told(&history, &analysis), analysis.verdict.exit_code()),
            Err(problem) => {
                complain(problem);
                return BAD_INPUT;
            }
        };
        text_to(&self.output, &text, code)
    }

    fn judge(&self) -> Result<(History, Analysis), String> {
        let history = self.input.open()?;
        let options = CheckOptions {
            transactions: self.transactions.options(),
            ..self.input.options()
        };
        let analysis = check(&history, &options).map_err(|error| error.to_string())?;
        Ok((history, analysis))
    }
}

fn told(history: &History, analysis: &Analysis) -> String {
    match &analysis.verdict {
        Verdict::Linearizable(witness) if witness.orders.is_empty() && analysis.operations > 0 => format!(
            "legal: nothing in {} operations contradicts what was asked for (model {})\n",
            analysis.operations, analysis.model
        ),
        Verdict::Linearizable(_) => format!(
            "legal: an order explains {} (model {}, initially {})\n",
            match analysis.operations {
                1 => "the one operation".to_owned(),
                count => format!("all {count} operations"),
            },
            analysis.model,
            analysis.init
        ),
        Verdict::Unknown(limit) => format!("unknown: {limit}\n"),
        Verdict::Illegal(found) => violation(history, analysis, found),
    }
}

fn violation(history: &History, analysis: &Analysis, found: &Counterexample) -> String {
    let mut text = String::new();
    let anomaly = serde_json::to_value(found.anomaly).unwrap_or_default();
    let anomaly = anomaly.as_str().unwrap_or("illegal").to_owned();
    let key = found
        .key
        .as_ref()
        .map(|key| format!(", key {key}"))
        .unwrap_or_default();
    let _ = writeln!(
        text,
        "{anomaly} (model {}{key})\n\n{}.\n",
        analysis.model, found.sentence
    );
    text.push_str(&table(history, found));
    let _ = writeln!(
        text,
        "\nIn the order of the history (|--| from invocation to completion; |--> may happen at any time):\n"
    );
    text.push_str(&timeline(history, found));
    if !found.cycle.is_empty() {
        let _ = writeln!(
            text,
            "\nEach of these must come before the next, and the last before the first:\n"
        );
        for edge in &found.cycle {
            let _ = writeln!(text, "  #{} before #{}: {}", edge.from.0, edge.to.0, edge.because);
        }
    }
    if !found.stuck.is_empty() {
        let _ = writeln!(text, "\nWhere nothing could go on:\n");
        for reason in &found.stuck {
            let _ = writeln!(text, "  {reason}");
        }
    }
    match found.faults.is_empty() {
        true => text.push_str("\nThe history tells of no fault before that.\n"),
        false => {
            let _ = writeln!(text, "\nThe latest faults before that:\n");
            for fault in &found.faults {
                let _ = writeln!(text, "  {fault}");
            }
        }
    }
    let minimal = match found.minimal {
        true => "Without any one of them an order explains the rest.",
        false => "Whether all of them are needed was not decided.",
    };
    let _ = writeln!(text, "\n{minimal}{}", left_out(found));
    text
}

/// What became of the operations that are not needed.
fn left_out(found: &Counterexample) -> String {
    let looked = match found.dropped {
        0 => None,
        1 => Some("one that only looked".to_owned()),
        more => Some(format!("{more} that only looked")),
    };
    let free = match found.weakened {
        0 => None,
        1 => Some("one that may as well have happened at any other time, or never".to_owned()),
        more => Some(format!(
            "{more} that may as well have happened at any other time, or never"
        )),
    };
    match (looked, free) {
        (None, None) => String::new(),
        (looked, free) => {
            let both: Vec<String> = looked.into_iter().chain(free).collect();
            format!(" Not needed: {}.", both.join("; "))
        }
    }
}

/// The operations, one a line.
fn table(history: &History, found: &Counterexample) -> String {
    let mut rows = vec![["#", "line", "process", "node", "did", "from", "to", ""].map(str::to_owned)];
    rows.extend(found.operations.iter().map(|operation| row(history, operation)));
    let width = |column: usize| {
        rows.iter()
            .map(|row| row[column].chars().count())
            .max()
            .unwrap_or(0)
    };
    let widths: Vec<usize> = (0..8).map(width).collect();
    let mut text = String::new();
    for row in &rows {
        let mut line = String::from(" ");
        for (cell, width) in row.iter().zip(&widths) {
            let _ = write!(line, " {cell:<width$}");
        }
        let _ = writeln!(text, "{}", line.trim_end());
    }
    text
}

/// Longer texts are cut; the history has them whole.
const LONGEST: usize = 60;

fn row(history: &History, operation: &CoreOperation) -> [String; 8] {
    let mut did: String = operation.said.chars().take(LONGEST).collect();
    if did.len() < operation.said.len() {
        did.push_str("...");
    }
    let timed = operation.invoked_at > Nanos(0) || operation.completed_at > Some(Nanos(0));
    let time = |at: Option<Nanos>| match at {
        Some(at) if timed => at.to_string(),
        Some(_) => String::new(),
        None => "-".to_owned(),
    };
    let note = match operation.weakened {
        true => "at any time: its outcome plays no part",
        false => "",
    };
    [
        operation.id.0.to_string(),
        history.operation(operation.id).line().to_string(),
        operation.process.to_string(),
        operation.node.clone().unwrap_or_default(),
        did,
        time(Some(operation.invoked_at)),
        time(operation.completed_at),
        note.to_owned(),
    ]
}

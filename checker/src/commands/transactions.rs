//! What `checker check` takes and tells of transactions.

use std::io::{self, Write};
use std::path::Path;

use checker::Validity;
use checker::transactions::{
    BankOptions, ConsistencyModel, RegisterOptions, TransactionAnalysis, TransactionOptions, Unwritten,
};
use clap::Args;

#[derive(Debug, Args)]
#[command(next_help_heading = "Transactions (list-append, rw-register, long-fork, bank, watch, monotonic)")]
pub(crate) struct Flags {
    /// What the transactions are to satisfy, by Elle's names: read-committed, snapshot-isolation, serializable, ...
    #[arg(
        long,
        short = 'c',
        value_name = "MODELS",
        value_delimiter = ',',
        default_value = "strict-serializable"
    )]
    consistency_models: Vec<ConsistencyModel>,
    /// Assume that each register alone is sequentially consistent.
    #[arg(long)]
    sequential_keys: bool,
    /// Assume that each register alone is linearizable.
    #[arg(long)]
    linearizable_keys: bool,
    /// What a register value is that no transaction wrote: garbage, or from a writer outside the history. The
    /// default is garbage for JSON Lines and outside for imported histories, which may be excerpts.
    #[arg(long, value_name = "garbage|outside", value_parser = unwritten)]
    unwritten: Option<Unwritten>,
    /// The sum of all accounts of a bank; otherwise what the first read adds up to.
    #[arg(long, value_name = "AMOUNT")]
    total_amount: Option<i64>,
    /// Accounts of a bank may fall below zero.
    #[arg(long)]
    allow_negative_balances: bool,
}

fn unwritten(word: &str) -> Result<Unwritten, String> {
    match word {
        "garbage" => Ok(Unwritten::Garbage),
        "outside" => Ok(Unwritten::Outside),
        _ => Err("either garbage or outside".to_owned()),
    }
}

impl Flags {
    pub(crate) fn options(&self) -> TransactionOptions {
        TransactionOptions {
            consistency_models: self.consistency_models.clone(),
            registers: RegisterOptions {
                unwritten: self.unwritten,
                sequential_keys: self.sequential_keys,
                linearizable_keys: self.linearizable_keys,
                ..RegisterOptions::default()
            },
            bank: BankOptions {
                total: self.total_amount,
                allow_negative_balances: self.allow_negative_balances,
            },
            time_limit: None,
            memory_limit: None,
        }
    }
}

/// Prints the verdict, or everything as JSON, and for people what was found; says how to exit.
pub(crate) fn tell(file: &Path, analysis: &TransactionAnalysis, json: bool, quiet: bool) -> io::Result<u8> {
    let mut out = io::stdout().lock();
    let code = exit_code(analysis);
    let word = match analysis.valid {
        Validity::True => "legal",
        Validity::False => "illegal",
        Validity::Unknown => "unknown",
    };
    if json {
        serde_json::to_writer(&mut out, analysis)?;
        writeln!(out)?;
    } else {
        writeln!(out, "{word}\t{}", file.display())?;
    }
    out.flush()?;
    if quiet {
        return Ok(code);
    }
    let mut lines: Vec<String> = analysis.notes.clone();
    lines.extend(analysis.sentence.clone().or_else(|| analysis.unknown.clone()));
    if let Some(worst) = analysis.anomalies.first().filter(|found| found.forbidden) {
        let named = worst.cases[0].transactions.iter();
        lines.extend(named.map(|txn| {
            format!(
                "  T{} = {} (process {}, event {})",
                txn.id.0, txn.said, txn.process, txn.index
            )
        }));
    }
    if !analysis.anomalies.is_empty() {
        let counts = analysis.anomalies.iter().map(|found| {
            let allowed = if found.forbidden { "" } else { ", allowed" };
            format!("{} ({}{allowed})", found.kind, found.count)
        });
        lines.push(format!("found {}", counts.collect::<Vec<_>>().join(", ")));
        let names: Vec<String> = analysis.not.iter().map(ToString::to_string).collect();
        lines.push(format!("so not {}", names.join(", not ")));
    }
    for line in lines {
        // Nothing can be done if nobody listens.
        let _ = writeln!(io::stderr(), "{}: {line}", file.display());
    }
    Ok(code)
}

/// How to exit with a verdict.
pub(crate) fn exit_code(analysis: &TransactionAnalysis) -> u8 {
    match analysis.valid {
        Validity::True => 0,
        Validity::False => 1,
        Validity::Unknown => 2,
    }
}

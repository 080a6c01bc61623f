//! Which history a command reads, and what it must be told about it.

use std::path::PathBuf;

use checker::history::{History, Value};
use checker::{CasFail, CheckOptions, ModelName, ReadOptions, Tuples};
use clap::Args;

/// One history.
#[derive(Debug, Args)]
pub(crate) struct Input {
    /// The model to judge by; otherwise the one that the history names or suggests.
    #[arg(long, value_name = "MODEL")]
    pub(crate) model: Option<ModelName>,
    /// What a failed cas of an imported history says: that it found another value, or nothing. The default is
    /// mismatch for jepsen.log and noop for EDN.
    #[arg(long, value_name = "mismatch|noop", value_parser = cas_fail)]
    cas_fail: Option<CasFail>,
    /// The value of every key before the run, as JSON; what is no JSON is text.
    #[arg(long, value_name = "VALUE", value_parser = value, allow_hyphen_values = true)]
    init: Option<Value>,
    /// In EDN histories, values are pairs of a key and a value, as jepsen.independent writes them.
    #[arg(long)]
    independent: bool,
    /// The history, in any form, plain or packed (gzip, zstd); - is standard input.
    #[arg(value_name = "HISTORY")]
    pub(crate) file: PathBuf,
}

impl Input {
    pub(crate) fn open(&self) -> Result<History, String> {
        let tuples = if self.independent {
            Tuples::Independent
        } else {
            Tuples::Values
        };
        History::open(&self.file, &ReadOptions { tuples }).map_err(|error| error.to_string())
    }

    pub(crate) fn options(&self) -> CheckOptions {
        CheckOptions {
            model: self.model,
            init: self.init.clone(),
            cas_fail: self.cas_fail,
            ..CheckOptions::default()
        }
    }
}

/// What a failed cas says.
pub(crate) fn cas_fail(word: &str) -> Result<CasFail, String> {
    match word {
        "mismatch" => Ok(CasFail::Mismatch),
        "noop" => Ok(CasFail::Noop),
        _ => Err("either mismatch or noop".to_owned()),
    }
}

/// A value as people write it.
pub(crate) fn value(text: &str) -> Result<Value, String> {
    if text == "nil" {
        return Ok(Value::Nil);
    }
    Ok(serde_json::from_str::<serde_json::Value>(text).map_or_else(|_| Value::from(text), Value::from))
}

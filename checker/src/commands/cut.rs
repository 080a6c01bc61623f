//! `checker cut`: a part of a history that is a history itself.

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use checker::cut::Cut as Wanted;
use checker::history::{Nanos, Value};
use clap::Args;

use super::convert::{Form, write};
use super::input::{self, Input};
use super::{BAD_INPUT, complain, limits};

/// A part of a legal history is legal: what was cut away and may have had an effect stays as an operation of
/// unknown outcome (info, error "cut"), which may have happened at any time, or never. Every violation in the part
/// is one of the whole; a violation that needs what was cut away is not in the part.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  checker cut --to 30 history.jsonl first.jsonl           the first 30 seconds; what was open becomes info
  checker cut --from 12.1 --to 12.5 history.jsonl -       around a violation; writes from before stay as info
  checker cut --key k17 history.jsonl k17.edn             one key, as EDN
  checker cut --process 3 --process 4 history.jsonl -     what these saw; the writes of others stay as info
  checker cut --index 1000..2000 history.jsonl -          by the index of the events")]
pub(crate) struct Cut {
    #[command(flatten)]
    input: Input,
    /// Where to write; - or nothing is standard output. A file is put in place when it is complete.
    #[arg(value_name = "OUTPUT")]
    output: Option<PathBuf>,
    /// The form to write; otherwise the name of the output says (.jsonl, .edn), otherwise JSON Lines.
    #[arg(long, value_name = "FORM")]
    to_form: Option<Form>,
    /// Keep what happened from this second on.
    #[arg(long, value_name = "SECONDS", value_parser = limits::seconds)]
    from: Option<Duration>,
    /// Keep what happened up to this second.
    #[arg(long, value_name = "SECONDS", value_parser = limits::seconds)]
    to: Option<Duration>,
    /// Keep this key, as JSON; what is no JSON is text. May be given several times.
    #[arg(long, value_name = "KEY", value_parser = input::value, allow_hyphen_values = true)]
    key: Vec<Value>,
    /// Keep this process. May be given several times.
    #[arg(long, value_name = "PROCESS")]
    process: Vec<u64>,
    /// Keep the events with these indexes, both included.
    #[arg(long, value_name = "FIRST..LAST", value_parser = range)]
    index: Option<RangeInclusive<u64>>,
}

fn range(text: &str) -> Result<RangeInclusive<u64>, String> {
    let wanted = || "two indexes with two dots between them, such as 1000..2000".to_owned();
    let (first, last) = text.split_once("..").ok_or_else(wanted)?;
    let number = |digits: &str, otherwise| {
        if digits.is_empty() {
            Ok(otherwise)
        } else {
            digits.parse().map_err(|_| wanted())
        }
    };
    let (first, last) = (number(first, 0)?, number(last.trim_start_matches('='), u64::MAX)?);
    if first > last {
        return Err(wanted());
    }
    Ok(first..=last)
}

impl Cut {
    pub(crate) fn run(&self) -> u8 {
        match self.part() {
            Ok(code) => code,
            Err(problem) => {
                complain(problem);
                BAD_INPUT
            }
        }
    }

    fn part(&self) -> Result<u8, String> {
        let history = self.input.open()?;
        let keyed = history.operations().any(|operation| operation.key().is_some());
        if !self.key.is_empty() && !keyed {
            return Err(format!(
                "{}: its operations have no keys",
                self.input.file.display()
            ));
        }
        // A key is text in one history and a number in the next.
        let known = |key: &Value| history.operations().any(|op| op.key().as_ref() == Some(key));
        let spoken = |key: &Value| {
            let text = Value::from(key.to_json().to_string());
            if known(key) || !known(&text) {
                key.clone()
            } else {
                text
            }
        };
        let nanos = |time: Option<Duration>| {
            let nanos = time.map(|time| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
            nanos.map(Nanos)
        };
        let wanted = Wanted {
            from: nanos(self.from),
            to: nanos(self.to),
            indexes: self.index.clone(),
            keys: (!self.key.is_empty()).then(|| self.key.iter().map(spoken).collect()),
            processes: (!self.process.is_empty()).then(|| self.process.iter().copied().collect()),
        };
        let part = wanted
            .apply(&history, &self.input.options())
            .map_err(|error| format!("{}: {error}", self.input.file.display()))?;
        if part.kept == 0 {
            return Err(format!(
                "{}: nothing would be left of its {} operations",
                self.input.file.display(),
                history.len()
            ));
        }
        let output = self.output.clone().unwrap_or_else(|| "-".into());
        let form = self.to_form.or_else(|| Form::of(&output)).unwrap_or(Form::Jsonl);
        let code = write(part.history, form, &output);
        if code == 0 {
            complain(format_args!(
                "{} of {} operations kept, {} more as of unknown outcome, {} removed",
                part.kept,
                history.len(),
                part.weakened,
                part.removed
            ));
        }
        Ok(code)
    }
}

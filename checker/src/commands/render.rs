//! `checker render`: draws a history and what was found about it as a page.

use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use checker::history::History;
use checker::render::{Found, page};
use checker::{CheckOptions, ModelName, ReadOptions, Tuples, check};
use clap::Args;

use super::convert::failed;
use super::output::Output;
use super::{BAD_INPUT, complain, limits};

#[derive(Debug, Args)]
pub(crate) struct Render {
    /// The history.
    #[arg(value_name = "HISTORY")]
    history: PathBuf,
    /// Where the page goes; `-` is the standard output.
    #[arg(long, short, value_name = "PAGE", default_value = "history.html")]
    output: PathBuf,
    /// What was found: a line of `checker check --json`, or the results.json of a run. Without it the history is
    /// judged first.
    #[arg(long, value_name = "RESULTS")]
    results: Option<PathBuf>,
    /// Draw the history alone, without judging it.
    #[arg(long, conflicts_with = "results")]
    unjudged: bool,
    /// The model to judge by; otherwise the one that the history names or suggests.
    #[arg(long, value_name = "MODEL")]
    model: Option<ModelName>,
    /// Judge for so many seconds at most.
    #[arg(long, value_name = "SECONDS", value_parser = limits::seconds)]
    time_limit: Option<Duration>,
    /// In EDN histories, values are pairs of a key and a value, as jepsen.independent writes them.
    #[arg(long)]
    independent: bool,
}

impl Render {
    /// A page is drawn whatever the verdict: that is told by `check`.
    pub(crate) fn run(&self) -> u8 {
        let drawn = match self.draw() {
            Ok(drawn) => drawn,
            Err(problem) => {
                complain(problem);
                return BAD_INPUT;
            }
        };
        let written = Output::create(&self.output).and_then(|mut out| {
            out.write_all(drawn.as_bytes())?;
            out.finish()
        });
        match written {
            Ok(()) => 0,
            Err(error) => failed(&self.output, &error),
        }
    }

    fn draw(&self) -> Result<String, String> {
        let tuples = if self.independent {
            Tuples::Independent
        } else {
            Tuples::Values
        };
        let told = |error: &dyn std::fmt::Display| error.to_string();
        let history = History::open(&self.history, &ReadOptions { tuples }).map_err(|error| told(&error))?;
        let found = match &self.results {
            Some(path) => {
                let text =
                    fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
                Found::from_json(&text, &history).map_err(|error| format!("{}: {error}", path.display()))?
            }
            None if self.unjudged => Found::nothing(),
            None => {
                let options = CheckOptions {
                    model: self.model,
                    time_limit: self.time_limit,
                    ..CheckOptions::default()
                };
                let analysis = check(&history, &options).map_err(|error| told(&error))?;
                Found::of(&analysis, &history).map_err(|error| told(&error))?
            }
        };
        Ok(page(&history, &found))
    }
}

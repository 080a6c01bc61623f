//! `checker minimize`: the smallest history that shows the same violation.

use std::io;
use std::path::PathBuf;

use checker::history::{Event, Header, History, Writer};
use checker::{CheckOptions, Verdict, check, minimize};
use clap::Args;

use super::input::Input;
use super::output::Output;
use super::{BAD_INPUT, complain, explain, transactions};

/// Exit codes: 0 written, 2 unknown (a limit ran out), 254 bad arguments or input, or nothing is illegal.
#[derive(Debug, Args)]
pub(crate) struct Minimize {
    #[command(flatten)]
    input: Input,
    #[command(flatten)]
    transactions: transactions::Flags,
    /// Where to write, in JSON Lines; - is standard output. A file is put in place when it is complete.
    #[arg(long, short, value_name = "FILE", default_value = "-")]
    output: PathBuf,
}

impl Minimize {
    pub(crate) fn run(&self) -> u8 {
        match self.minimize() {
            Ok(code) => code,
            Err(problem) => {
                complain(problem);
                BAD_INPUT
            }
        }
    }

    fn minimize(&self) -> Result<u8, String> {
        let file = self.input.file.display();
        let history = self.input.open()?;
        let options = CheckOptions {
            transactions: self.transactions.options(),
            ..self.input.options()
        };
        let analysis = check(&history, &options).map_err(|error| error.to_string())?;
        if let Verdict::Unknown(limit) = &analysis.verdict {
            explain(format_args!("{file}: {limit}"));
            return Ok(analysis.verdict.exit_code());
        }
        let (header, events) = minimize(&history, &analysis)
            .ok_or_else(|| format!("{file}: legal, so there is nothing to show"))?;
        // What is written must show a violation by itself, to whoever knows nothing of where it came from.
        let small =
            History::from_events(header.clone(), events.clone()).map_err(|error| error.to_string())?;
        let judged = check(
            &small,
            &CheckOptions {
                transactions: self.transactions.options(),
                ..CheckOptions::default()
            },
        );
        let judged = judged.map_err(|error| error.to_string())?;
        if !matches!(judged.verdict, Verdict::Illegal(_)) {
            return Err(format!(
                "{file}: the violation does not show without the rest of the history"
            ));
        }
        let output = self.output.display();
        self.write(&header, &events)
            .map_err(|error| format!("{output}: {error}"))?;
        explain(format_args!(
            "{file}: {} of {} operations",
            small.len(),
            history.len()
        ));
        Ok(0)
    }

    fn write(&self, header: &Header, events: &[Event]) -> io::Result<()> {
        let mut writer = Writer::new(Output::create(&self.output)?, header)?;
        for event in events {
            writer.write(event)?;
        }
        writer.into_inner()?.finish()
    }
}

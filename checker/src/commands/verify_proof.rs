//! `checker verify-proof`: checks again what a check has found.

use std::fs;
use std::path::PathBuf;

use checker::{CheckOptions, Proof, verify};
use clap::Args;

use super::input::Input;
use super::{BAD_INPUT, complain, explain, transactions};

/// Exit codes: 0 the proof holds, 1 it is wrong, 2 it cannot be told, 254 bad arguments or input.
#[derive(Debug, Args)]
pub(crate) struct VerifyProof {
    /// What a check found: the output of `checker check --json`, or a run's `results.json`.
    #[arg(value_name = "RESULTS")]
    results: PathBuf,
    #[command(flatten)]
    input: Input,
    #[command(flatten)]
    transactions: transactions::Flags,
}

impl VerifyProof {
    pub(crate) fn run(&self) -> u8 {
        match self.verify() {
            Ok(proof) => {
                self.tell(&proof);
                proof.exit_code()
            }
            Err(problem) => {
                complain(problem);
                BAD_INPUT
            }
        }
    }

    fn verify(&self) -> Result<Proof, String> {
        let results = self.results.display();
        let text = fs::read_to_string(&self.results).map_err(|error| format!("{results}: {error}"))?;
        let history = self.input.open()?;
        let options = CheckOptions {
            transactions: self.transactions.options(),
            ..self.input.options()
        };
        verify(&text, &history, &options).map_err(|error| format!("{results}: {error}"))
    }

    fn tell(&self, proof: &Proof) {
        let (word, text, notes) = match proof {
            Proof::Holds { shown, notes } => ("holds", shown.clone(), notes.as_slice()),
            Proof::Wrong(fault) => ("wrong", fault.to_string(), [].as_slice()),
            Proof::Undecided(why) => ("undecided", why.clone(), [].as_slice()),
        };
        println!("{word}\t{}\t{text}", self.results.display());
        for note in notes {
            explain(format_args!("{}: {note}", self.results.display()));
        }
    }
}

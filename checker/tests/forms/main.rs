//! Forms of histories: packed, converted, cut, counted, and all that is wrong with files and pipes.

mod bad;
mod commands;
mod convert;
mod cut;
mod parallel;
mod seeds;

use std::path::PathBuf;
use std::process::{Command, Output};

use checker::history::History;
use checker::{CheckOptions, ReadOptions, Verdict, check};

/// The command with these arguments.
fn checker(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_checker"))
        .args(arguments)
        .output()
        .expect("the command runs")
}

fn own(name: &str) -> String {
    let corpus = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/corpus");
    corpus.join(name).display().to_string()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("text")
}

fn read(bytes: &[u8]) -> History {
    History::read(bytes, Some("h".to_owned()), &ReadOptions::default()).expect("a history")
}

/// `legal`, `illegal` or `unknown`.
fn word(history: &History, options: &CheckOptions) -> &'static str {
    match check(history, options)
        .expect("a history that can be judged")
        .verdict
    {
        Verdict::Linearizable(_) => "legal",
        Verdict::Illegal(_) => "illegal",
        Verdict::Unknown(_) => "unknown",
    }
}

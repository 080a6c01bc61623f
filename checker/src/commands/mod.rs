//! What the command line offers, one file per command.

mod bench;
mod check;
mod convert;
mod cut;
mod explain;
mod follow;
mod generate;
mod input;
mod limits;
mod measures;
mod minimize;
mod output;
mod render;
mod stats;
mod transactions;
mod verify_proof;

use std::io::Write;

use clap::Subcommand;

/// Exit code for arguments or input that cannot be used.
pub(crate) const BAD_INPUT: u8 = 254;
/// Exit code for a failure of the checker itself.
pub(crate) const INTERNAL: u8 = 255;

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Judge histories: one line a file, `legal`, `illegal` or `unknown`, a tab, and the path.
    Check(check::Check),
    /// Judge a history while it is written, and stop at the first violation.
    Follow(follow::Follow),
    /// Draw a history and what was found about it as an HTML page.
    Render(render::Render),
    /// Write a history in another form.
    Convert(convert::Convert),
    /// Count what is in a history.
    Stats(stats::Stats),
    /// Cut a part out of a history that is a history itself.
    Cut(cut::Cut),
    /// Write the history of a simulated store.
    Generate(generate::Generate),
    /// Tell a person what is wrong: the operations, a drawing, the contradiction, the faults.
    Explain(explain::Explain),
    /// Write the smallest history that shows the same violation.
    Minimize(minimize::Minimize),
    /// Check again, without the engines, what a check has found.
    VerifyProof(verify_proof::VerifyProof),
    /// Measure the checker on histories of simulated stores.
    Bench(bench::Bench),
}

/// Runs a command and says how to exit.
pub(crate) fn run(command: Command) -> u8 {
    match command {
        Command::Check(check) => check.run(),
        Command::Follow(follow) => follow.run(),
        Command::Render(render) => render.run(),
        Command::Convert(convert) => convert.run(),
        Command::Stats(stats) => stats.run(),
        Command::Cut(cut) => cut.run(),
        Command::Generate(generate) => generate.run(),
        Command::Explain(explain) => explain.run(),
        Command::Minimize(minimize) => minimize.run(),
        Command::VerifyProof(verify) => verify.run(),
        Command::Bench(bench) => bench.run(),
    }
}

/// One line on stderr about what went wrong.
pub(crate) fn complain(problem: impl std::fmt::Display) {
    explain(format_args!("checker: {problem}"));
}

/// One line on stderr.
pub(crate) fn explain(line: impl std::fmt::Display) {
    // Nothing can be done if nobody listens.
    let _ = writeln!(std::io::stderr(), "{line}");
}

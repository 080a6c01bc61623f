//! What the command line offers, one file per command.

mod bench;
mod check;
mod follow;
mod limits;
mod render;
mod transactions;

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
    /// Measure the checker on histories of simulated stores.
    Bench(bench::Bench),
}

/// Runs a command and says how to exit.
pub(crate) fn run(command: Command) -> u8 {
    match command {
        Command::Check(check) => check.run(),
        Command::Follow(follow) => follow.run(),
        Command::Render(render) => render.run(),
        Command::Bench(bench) => bench.run(),
    }
}

/// One line on stderr.
pub(crate) fn complain(problem: impl std::fmt::Display) {
    eprintln!("checker: {problem}");
}

//! The command `checker`: see `checker --help`.

mod commands;

use std::process::ExitCode;

use clap::Parser;
use clap::error::ErrorKind;

/// Decides from recorded histories whether a store was linearizable, and proves it.
///
/// Exit codes: 0 legal, 1 illegal, 2 unknown (a limit ran out), 254 bad arguments or input, 255 internal failure.
#[derive(Debug, Parser)]
#[command(name = "checker", version)]
struct Arguments {
    #[command(subcommand)]
    command: commands::Command,
}

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            let asked = matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
            // Nothing can be done if even the help cannot be printed.
            let _ = error.print();
            return ExitCode::from(if asked { 0 } else { commands::BAD_INPUT });
        }
    };
    ExitCode::from(commands::run(arguments.command))
}

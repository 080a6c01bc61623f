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
            if error.use_stderr() && error.kind() != ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
                eprintln!("checker: {}; see `checker --help`", one_line(&error));
            } else {
                // Nothing can be done if even the help cannot be printed.
                let _ = error.print();
            }
            return ExitCode::from(if error.use_stderr() {
                commands::BAD_INPUT
            } else {
                0
            });
        }
    };
    ExitCode::from(commands::run(arguments.command))
}

/// What clap says of a wrong command line, in one line and without the usage.
fn one_line(error: &clap::Error) -> String {
    let text = error.to_string();
    let told = text
        .lines()
        .map(str::trim)
        .take_while(|line| !line.starts_with("Usage:") && !line.starts_with("For more information"))
        .filter(|line| !line.is_empty());
    let line = told.collect::<Vec<_>>().join("; ");
    // A list that clap puts on lines of its own begins with a colon.
    line.trim_start_matches("error: ").replace(":; ", ": ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_command_line_is_told_in_one_line() {
        for (typed, expected) in [
            ("checker chek x", "unrecognized subcommand 'chek'"),
            ("checker check", "were not provided: <"),
            ("checker check x --modell kv", "unexpected argument '--modell'"),
        ] {
            let error = Arguments::try_parse_from(typed.split(' ')).expect_err("refused");
            let line = one_line(&error);
            assert!(line.contains(expected), "{line}");
            assert!(!line.contains('\n') && !line.contains("Usage"), "{line}");
        }
    }
}

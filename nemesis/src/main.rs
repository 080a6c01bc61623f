//! Faults by hand: `nemesis partition halves`, `nemesis kill n3 --for 10s`, `nemesis heal`.

use std::process::ExitCode;

fn main() -> ExitCode {
    nemesis::watchdog::serve_if_watchdog().unwrap_or_else(nemesis::cli::main)
}

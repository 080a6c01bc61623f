//! The lab, for real: namespaces, processes, packets. Each scenario enters a lab
//! of its own in a process of its own, started by the main process here, which
//! stays on the host and looks at what is left.

mod company;
mod machines;
mod node;
mod outside;
mod scenarios;

use std::process::ExitCode;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["node", id, port] => node::serve(id, port.parse().expect("a port")),
        ["scenario", name, folder] => scenarios::run(name, folder.as_ref()),
        // What cargo and people pass to a test binary: an optional filter.
        _ => outside::run_all(args.iter().find(|arg| !arg.starts_with('-')).map(String::as_str)),
    }
}

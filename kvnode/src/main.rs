//! `kvnode`: runs a node, or asks one something.

use std::process::ExitCode;
use std::time::Duration;

use clap::error::ErrorKind;
use clap::{CommandFactory, FromArgMatches};
use kvnode::backup::store::StoreError;
use kvnode::bench::{Amounts, Plan, bench};
use kvnode::cli::{Action, Cli, LogFormat, NodeArgs, NodePlan};
use kvnode::client::Client;
use kvnode::console;
use kvnode::out;
use kvnode::run::End;

/// Bad arguments or input.
const INPUT: u8 = 254;
/// The node itself failed.
const BROKEN: u8 = 255;

// Requests and log entries are many small allocations that move between threads; with
// this one a set costs a tenth less than with the system's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let parsed = Cli::command()
        .try_get_matches()
        .and_then(|matches| Ok((Cli::from_arg_matches(&matches)?, matches)));
    let (cli, matches) = match parsed {
        Ok(parsed) => parsed,
        Err(error) => {
            if error.use_stderr() && error.kind() != ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
                let told = one_line(&error);
                return failed(INPUT, &format_args!("{told}; see `kvnode --help`"));
            }
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { INPUT } else { 0 });
        }
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => return failed(BROKEN, &error),
    };
    match cli.action {
        Some(Action::Health { url, access }) => match access.read() {
            Ok(access) => ExitCode::from(u8::from(!runtime.block_on(kvnode::health::alive(&access, &url)))),
            Err(error) => failed(INPUT, &error),
        },
        Some(Action::Client { nodes, words }) => match nodes.client() {
            Ok(client) => talk(&runtime, client, &words),
            Err(error) => failed(INPUT, &error),
        },
        Some(Action::Admin { nodes, command }) => match nodes.client() {
            Ok(client) => {
                let mut client = client.patient();
                told(runtime.block_on(console::carry_out(&mut client, command.line())))
            }
            Err(error) => failed(INPUT, &error),
        },
        Some(Action::Backup(args)) => told(runtime.block_on(kvnode::backup::args::backup(*args))),
        Some(Action::Restore(args)) => told(runtime.block_on(kvnode::backup::args::restore(*args))),
        Some(Action::Token { role }) => {
            let (token, line) = kvnode::secure::tokens::fresh(role);
            let said = out::line(token);
            out::complain(line);
            told(said.map(|()| true))
        }
        Some(Action::Bench {
            seconds,
            connections,
            etcd,
            figure,
            rounds,
            keys,
            overwrites,
            idle,
            load_seconds,
        }) => {
            let plan = Plan {
                turn: Duration::from_secs(seconds.max(1)),
                connections,
                etcd,
                figures: figure,
                amounts: Amounts {
                    rounds: rounds.max(1),
                    keys,
                    overwrites,
                    idle,
                    load: Duration::from_secs(load_seconds),
                },
            };
            let mut tell = |line: &str| out::more(line);
            // Ended from outside it must not leave its servers behind.
            told(runtime.block_on(async {
                tokio::select! {
                    measured = bench(&plan, &mut tell) => measured.map(|_| true),
                    signal = kvnode::run::terminated() => Err(anyhow::anyhow!("ended by {signal}")),
                }
            }))
        }
        Some(Action::Inspect { directory }) => match kvnode::inspect::inspect(&directory) {
            Ok(report) => told(out::line(report.trim_end()).map(|()| true)),
            Err(error) => failed(INPUT, &format_args!("{error:#}")),
        },
        #[cfg(feature = "planted-bugs")]
        Some(Action::Bugs) => told(kvnode::planted::names().try_for_each(out::line).map(|()| true)),
        None if cli.node.check_config => check(cli.node, &matches),
        None => match cli.node.plan(&matches) {
            Ok(plan) => serve(&runtime, plan),
            Err(mistakes) => failed(INPUT, &mistakes),
        },
    }
}

/// Says what the settings are, or all that is wrong with them and the files they name.
fn check(node: NodeArgs, matches: &clap::ArgMatches) -> ExitCode {
    let plan = match node.plan(matches) {
        Ok(plan) => plan,
        Err(mistakes) => {
            let complain = |mistake| out::complain(format_args!("kvnode: {mistake}"));
            mistakes.iter().for_each(complain);
            return ExitCode::from(INPUT);
        }
    };
    let read = kvnode::run::keyring(&plan.config).map_err(|error| error.to_string());
    match read.and_then(|_| kvnode::run::backups(&plan.config).map_err(|error| error.to_string())) {
        Ok(_) => told(out::line(plan.effective.trim_end()).map(|()| true)),
        Err(error) => failed(INPUT, &error),
    }
}

fn talk(runtime: &tokio::runtime::Runtime, mut client: Client, words: &[String]) -> ExitCode {
    if words.is_empty() {
        return told(console::interactive(runtime, &mut client).map(|()| true));
    }
    match console::parse(words) {
        Ok(line) => told(runtime.block_on(console::carry_out(&mut client, line))),
        Err(error) => failed(INPUT, &format_args!("{error:#}")),
    }
}

fn told(answer: anyhow::Result<bool>) -> ExitCode {
    match answer {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) if error.is::<out::Gone>() => ExitCode::SUCCESS,
        Err(error) => {
            let code = if is_input(&error) { INPUT } else { BROKEN };
            failed(code, &format_args!("{error:#}"))
        }
    }
}

/// Whether what was given is to blame, rather than what was met.
fn is_input(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref(), Some(StoreError::Options(_)))
}

fn serve(runtime: &tokio::runtime::Runtime, plan: NodePlan) -> ExitCode {
    let filter = tracing_subscriber::EnvFilter::try_from_env("KVNODE_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info,openraft=warn"));
    let logs = tracing_subscriber::fmt()
        .with_env_filter(filter)
        // Told with `eprintln!`, it would end a node whose log nobody reads any more.
        .log_internal_errors(false)
        .with_writer(std::io::stderr);
    match plan.log_format {
        LogFormat::Text => logs.with_ansi(false).init(),
        LogFormat::Json => logs.json().init(),
    }
    let say_where = plan.scratch.is_some();
    let ready = move |node: &kvnode::node::Node| {
        if say_where {
            let scheme = if node.keyring().http().is_some() {
                "https"
            } else {
                "http"
            };
            // The node serves whether or not anybody wants to know where.
            let _ = out::line(format_args!("{scheme}://{}", node.config().own().http));
        }
    };
    // The main thread only waits: all work is the one worker's.
    #[cfg(feature = "planted-bugs")]
    let node = kvnode::planted::run(plan.config, Box::new(ready));
    #[cfg(not(feature = "planted-bugs"))]
    let node = kvnode::run::run_here(plan.config, Box::new(ready));
    match runtime.block_on(runtime.spawn(node)) {
        Ok(Ok(())) => ExitCode::SUCCESS,
        Ok(Err(end @ End::Input(_))) => failed(INPUT, &end),
        Ok(Err(end @ End::Broken(_))) => failed(BROKEN, &end),
        Err(panic) => failed(BROKEN, &panic),
    }
}

fn failed(code: u8, why: &dyn std::fmt::Display) -> ExitCode {
    out::complain(format_args!("kvnode: {why}"));
    ExitCode::from(code)
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
            ("kvnode --prot 7", "unexpected argument '--prot'"),
            ("kvnode frobnicate", "unrecognized subcommand 'frobnicate'"),
        ] {
            let error = Cli::command()
                .try_get_matches_from(typed.split(' '))
                .expect_err("refused");
            let line = one_line(&error);
            assert!(line.contains(expected), "{line}");
            assert!(!line.contains('\n') && !line.contains("Usage"), "{line}");
        }
    }
}

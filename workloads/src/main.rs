//! The command line of Ordeal's runner.

use std::io::IsTerminal;
use std::process::ExitCode;

use clap::Parser;
use tracing_subscriber::EnvFilter;
use workloads::cli::{Cli, Command, one_line};
use workloads::config::RunConfig;
use workloads::matrix::Matrix;
use workloads::reduce::Failing;
use workloads::system::System;
use workloads::{ci, controls, doctor, export, hand, list, runner, scorecard, serve, soak};

/// Bad arguments or input.
const BAD_INPUT: u8 = 254;
/// What is logged where RUST_LOG says nothing. FUSE calls it an error when a killed node leaves a request behind.
const QUIET: &str = "warn,fuser=off";
/// The harness failed.
const FAILURE: u8 = 255;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            if error.use_stderr() {
                nemesis::complain!("workloads: {}", one_line(&error));
                return ExitCode::from(BAD_INPUT);
            }
            let _ = error.print();
            return ExitCode::SUCCESS;
        }
    };
    tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(QUIET)))
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .init();
    let code = match cli.command {
        None => run(&cli.run),
        Some(Command::Run(args)) => run(&args),
        Some(Command::Up(args)) => done(hand::up(&args)),
        Some(Command::Down(args)) => done(hand::down(&args.store)),
        Some(Command::Status(args)) => done(hand::status(&args.store)),
        Some(Command::Analyze(args)) => {
            runner::analyze(&args.path, args.check_limit).map_err(|e| (BAD_INPUT, e))
        }
        Some(Command::Scorecard(args)) => scorecard::run(&args).map_err(|error| (FAILURE, error)),
        Some(Command::Soak(args)) => RunConfig::new(&args.many.run)
            .map_err(|error| (BAD_INPUT, error))
            .and_then(|config| soak::run(config, &args).map_err(|error| (FAILURE, error))),
        Some(Command::Matrix(args)) => Matrix::new(&args)
            .map_err(|error| (BAD_INPUT, error))
            .and_then(|matrix| matrix.run(&args).map_err(|error| (FAILURE, error))),
        Some(Command::Reduce(args)) => Failing::open(&args)
            .map_err(|error| (BAD_INPUT, error))
            .and_then(|failing| failing.reduce(&args).map_err(|error| (FAILURE, error))),
        Some(Command::Serve(args)) => serve::run(&args).map_err(|error| (BAD_INPUT, error)),
        Some(Command::Export(args)) => export::run(&args).map_err(|error| (BAD_INPUT, error)),
        Some(Command::Doctor(args)) => System::find(args.system())
            .map_err(|error| (BAD_INPUT, error.into()))
            .and_then(|system| doctor::run(&args, &system).map_err(|error| (FAILURE, error))),
        Some(Command::Controls(args)) => controls::run(&args).map_err(|error| (BAD_INPUT, error)),
        Some(Command::Bench(args)) => runner::bench::run(&args).map_err(|error| (FAILURE, error)),
        Some(Command::Annotate(args)) => told(ci::annotate(&args)),
        Some(Command::Bundle(args)) => told(ci::bundle(&args)),
        Some(Command::List) => {
            nemesis::out::text(list::text());
            Ok(0)
        }
    };
    match code {
        Ok(code) => ExitCode::from(code),
        Err((code, error)) => {
            nemesis::complain!("workloads: {}", nemesis::out::chain(&error));
            ExitCode::from(code)
        }
    }
}

fn done(outcome: anyhow::Result<()>) -> Result<u8, (u8, anyhow::Error)> {
    outcome.map(|()| 0).map_err(|error| (FAILURE, error))
}

fn told(outcome: anyhow::Result<()>) -> Result<u8, (u8, anyhow::Error)> {
    outcome.map(|()| 0).map_err(|error| (BAD_INPUT, error))
}

fn run(args: &workloads::cli::RunArgs) -> Result<u8, (u8, anyhow::Error)> {
    let config = RunConfig::new(args).map_err(|error| (BAD_INPUT, error))?;
    runner::run(&config).map_err(|error| (FAILURE, error))
}

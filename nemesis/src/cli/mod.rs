//! The command line: faults by hand on a running cluster.
//!
//! Exit codes: 0 done and seen to be so; 1 done, but what was seen is not what
//! was asked for (a cut that let packets through, a node that did not heal);
//! 254 bad arguments, an unknown node, no such cluster; 255 it could not be done.

mod args;
mod bench;
mod hand;
mod lab;
mod meaning;
#[cfg(test)]
mod page;
mod refusal;
mod show;

use std::io::IsTerminal;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::error::ErrorKind;
use clap::{CommandFactory, Parser};

use crate::control::{Answer, Question};
use crate::doctor;
use crate::duration::Span;
use crate::nemesis::NemesisError;
use crate::plan::{Plan, PlanOptions, Preset, faults_named};

use args::{Args, PlanArgs, Verb};
use hand::Hand;

pub use refusal::one_line;

/// Bad arguments or input.
const BAD_INPUT: u8 = 254;
/// It could not be done.
const INTERNAL: u8 = 255;
/// Done, but not seen to be as asked.
const NOT_AS_WANTED: u8 = 1;

/// An error that the caller can mend by asking something else.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct BadInput(String);

fn bad(message: impl std::fmt::Display) -> anyhow::Error {
    BadInput(message.to_string()).into()
}

/// Parses the arguments, does what they say, and returns the exit code.
pub fn main() -> ExitCode {
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(error) => {
            if error.use_stderr() && error.kind() != ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
                crate::complain!("nemesis: {}", one_line(&error, "nemesis"));
            } else {
                // Nothing can be done if even the help cannot be printed.
                let _ = error.print();
            }
            return ExitCode::from(if error.use_stderr() { BAD_INPUT } else { 0 });
        }
    };
    if args.dry_run && matches!(args.verb, Some(Verb::Lab(_) | Verb::Bench { .. })) {
        return report(Err(bad(
            "--dry-run is for faults and their undoing: a lab breaks nothing",
        )));
    }
    match &args.verb {
        // Before anything that might start a thread.
        Some(Verb::Lab(lab)) => return report(lab::run(lab)),
        Some(Verb::BenchPart { part }) => return report(bench::part(part)),
        Some(Verb::BenchNode) => return report(bench::node()),
        _ => {}
    }
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
        .without_time()
        .init();
    report(run(&args))
}

fn report(outcome: anyhow::Result<bool>) -> ExitCode {
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(NOT_AS_WANTED),
        Err(error) => {
            crate::complain!("nemesis: {}", crate::out::chain(&error));
            ExitCode::from(if error.is::<BadInput>() {
                BAD_INPUT
            } else {
                INTERNAL
            })
        }
    }
}

/// Does it; true if what was seen is what was wanted.
fn run(args: &Args) -> anyhow::Result<bool> {
    let question = match args.verb.as_ref().unwrap_or(&Verb::Status) {
        Verb::Status => Question::Status,
        Verb::Watch { every } => return watch(args, *every),
        Verb::Resume { target } => Question::Resume {
            target: target.clone(),
        },
        Verb::Undo { id } => Question::Undo { id: *id },
        Verb::Heal => Question::Heal,
        Verb::Doctor => {
            let findings = doctor::examine();
            show::findings(&findings, args.json);
            return Ok(true);
        }
        Verb::Plan(plan) => return print_plan(plan),
        Verb::Play { file } => return play(args, file),
        Verb::Completion { shell } => {
            clap_complete::generate(*shell, &mut Args::command(), "nemesis", &mut std::io::stdout());
            return Ok(true);
        }
        Verb::Warden { site } => return hand::warden(site),
        Verb::Bench { parts } => return bench::run(parts, args.project.as_deref()),
        fault => {
            let (fault, lasting) = fault.fault().map_err(bad)?;
            if args.dry_run {
                Question::Preview { fault }
            } else {
                Question::Apply { fault, lasting }
            }
        }
    };
    let mut hand = Hand::reach(args.cluster.as_deref(), args.project.as_deref())?;
    let undoes = matches!(
        question,
        Question::Undo { .. } | Question::Resume { .. } | Question::Heal
    );
    if args.dry_run && undoes {
        return would_undo(&question, hand.ask(&Question::Status)?, args.json);
    }
    let answer = hand.ask(&question)?;
    finish(&question, answer, args.json)
}

/// Says what `question` would undo in a cluster that answers so.
fn would_undo(question: &Question, answer: Answer, json: bool) -> anyhow::Result<bool> {
    let Answer::Status(status) = answer else {
        return finish(question, answer, json);
    };
    let meant: Vec<_> = match question {
        Question::Undo { id } => status.faults.iter().filter(|fault| fault.id == *id).collect(),
        Question::Resume { .. } => Vec::new(),
        _ => status.faults.iter().collect(),
    };
    if let Question::Undo { id } = question
        && meant.is_empty()
    {
        return Err(bad(NemesisError::NotInForce(*id)));
    }
    if json {
        crate::say!("{}", serde_json::to_string(&meant)?);
    } else {
        crate::out::text(show::would_undo(question, &meant, &status));
    }
    Ok(true)
}

fn finish(question: &Question, answer: Answer, json: bool) -> anyhow::Result<bool> {
    if let Answer::Refused { message, bad_input } = answer {
        return Err(if bad_input {
            bad(message)
        } else {
            anyhow::anyhow!(message)
        });
    }
    if json {
        crate::say!("{}", serde_json::to_string(&answer)?);
    } else {
        show::answer(question, &answer);
    }
    Ok(match answer {
        Answer::Applied(applied) => applied.bit,
        Answer::Undone(undone) => undone.healed,
        Answer::Healed(healed) => healed.healed,
        Answer::Resumed { seen } => seen.iter().all(crate::probe::Probe::as_wanted),
        _ => true,
    })
}

fn watch(args: &Args, every: Span) -> anyhow::Result<bool> {
    loop {
        let mut hand = Hand::reach(args.cluster.as_deref(), args.project.as_deref())?;
        let answer = hand.ask(&Question::Status)?;
        if std::io::stdout().is_terminal() && !args.json {
            // Home, and clear to the end of the screen.
            crate::out::text("\x1b[H\x1b[2J");
        }
        finish(&Question::Status, answer, args.json)?;
        drop(hand);
        if !crate::out::is_read() {
            return Ok(true);
        }
        std::thread::sleep(every.0.max(Duration::from_millis(100)));
    }
}

fn print_plan(args: &PlanArgs) -> anyhow::Result<bool> {
    let mut families = Vec::new();
    let mut at_once = args.at_once;
    if let Some(name) = &args.preset {
        let preset = Preset::named(name).ok_or_else(|| {
            let known: Vec<&str> = crate::plan::PRESETS.iter().map(|preset| preset.name).collect();
            bad(format!("unknown preset {name}: use {}", known.join(", ")))
        })?;
        families = preset.families();
        at_once = at_once.or(Some(preset.at_once));
    }
    for name in &args.faults {
        let known = crate::plan::FAULT_NAMES.join(", ");
        families.push(faults_named(name).ok_or_else(|| bad(format!("unknown fault {name}: use {known}")))?);
    }
    if families.is_empty() {
        families = Preset::named("standard").expect("there is a standard").families();
    }
    let options = PlanOptions {
        at_once: at_once.unwrap_or(1),
        ..PlanOptions::for_length(args.length.0, families)
    };
    let plan = Plan::make(args.seed, &options).map_err(bad)?;
    if args.save {
        crate::out::text(plan.to_json());
    } else {
        crate::out::text(&plan);
    }
    Ok(true)
}

/// Plays a plan against the running cluster, in its own time.
fn play(args: &Args, file: &std::path::Path) -> anyhow::Result<bool> {
    let text = std::fs::read_to_string(file).with_context(|| format!("plan {}", file.display()));
    let plan = Plan::from_json(&text.map_err(|error| bad(format!("{error:#}")))?)
        .map_err(|error| bad(format!("{}: {error}", file.display())))?;
    if args.dry_run {
        crate::out::text(&plan);
        return Ok(true);
    }
    let started = std::time::Instant::now();
    let mut hand = Hand::reach(args.cluster.as_deref(), args.project.as_deref())?;
    let check = Question::Check { plan: plan.clone() };
    finish(&check, hand.ask(&check)?, args.json)?;
    let mut as_wanted = true;
    for step in &plan.steps {
        std::thread::sleep(step.at.0.saturating_sub(started.elapsed()));
        let lasting = (step.lasting.0 > Duration::ZERO).then_some(step.lasting);
        let question = Question::Apply {
            fault: step.fault.clone(),
            lasting,
        };
        let answer = hand.ask(&question)?;
        as_wanted &= finish(&question, answer, args.json)?;
    }
    std::thread::sleep(plan.calm_from().0.saturating_sub(started.elapsed()));
    let answer = hand.ask(&Question::Heal)?;
    Ok(finish(&Question::Heal, answer, args.json)? && as_wanted)
}

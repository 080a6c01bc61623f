//! `checker generate`: the history of a simulated store, as long as one likes.

use std::io;
use std::path::PathBuf;

use checker::generate::{Bug, Mix, Simulation, Values};
use checker::history::Writer;
use clap::{Args, ValueEnum};

use super::convert::failed;
use super::output::Output;

/// Events are written as they come about, so that memory does not grow with their number. One seed decides
/// everything.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  checker generate --operations 1000 > history.jsonl
  checker generate --operations 100000000 --keys 1000 --processes 50 | checker check --stream -
  checker generate --bug stale-reads --share 0.001 --seed 7 history.jsonl")]
pub(crate) struct Generate {
    /// How many operations are invoked.
    #[arg(long, default_value_t = 1000)]
    operations: u64,
    /// How many processes run at once.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..))]
    processes: u64,
    /// How many keys there are; with one, operations carry no key.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    keys: u64,
    /// Write one of so many values; without it, every value is written once.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    values: Option<u64>,
    /// How often each function is called, relative to the others.
    #[arg(long, value_name = "F=N,...", default_value = "get=1,set=1,cas=1", value_parser = mix)]
    mix: Mix,
    /// The share of operations whose outcome nobody learns.
    #[arg(long, default_value_t = 0.0, value_parser = share)]
    unknown: f64,
    /// How long processes rest between operations, as a share of what an operation takes.
    #[arg(long, default_value_t = 0.0)]
    rest: f64,
    /// Times are multiples of so many nanoseconds.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    clock: u64,
    /// What is wrong with the store.
    #[arg(long, value_enum, default_value_t = Wrong::None)]
    bug: Wrong,
    /// How often the bug shows.
    #[arg(long, default_value_t = 0.001, value_parser = share)]
    share: f64,
    /// Decides everything that is left to chance.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Where to write; - or nothing is standard output.
    #[arg(value_name = "OUTPUT", default_value = "-")]
    output: PathBuf,
}

/// Bugs as the command line names them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Wrong {
    /// Nothing.
    None,
    /// Reads return an older value.
    StaleReads,
    /// Writes are acknowledged and lost.
    LostUpdates,
    /// A cas compares first and writes later.
    SplitCas,
}

fn share(text: &str) -> Result<f64, String> {
    let share: Option<f64> = text.parse().ok();
    share
        .filter(|share| (0.0..=1.0).contains(share))
        .ok_or_else(|| "a share from 0 to 1".to_owned())
}

fn mix(text: &str) -> Result<Mix, String> {
    let mut mix = Mix::default();
    for part in text.split(',') {
        let (f, weight) = part.split_once('=').unwrap_or((part, "1"));
        let weight = weight
            .parse()
            .map_err(|_| format!("{weight:?} is no whole number"))?;
        match f {
            "get" => mix.get = weight,
            "set" => mix.set = weight,
            "cas" => mix.cas = weight,
            "append" => mix.append = weight,
            "delete" => mix.delete = weight,
            _ => return Err(format!("{f:?} is none of get, set, cas, append, delete")),
        }
    }
    if mix.get + mix.set + mix.cas + mix.append + mix.delete == 0 {
        return Err("nothing is called at all".to_owned());
    }
    Ok(mix)
}

impl Generate {
    pub(crate) fn run(&self) -> u8 {
        match self.write() {
            Ok(()) => 0,
            Err(error) => failed(&self.output, &error),
        }
    }

    fn write(&self) -> io::Result<()> {
        let simulation = Simulation {
            seed: self.seed,
            operations: self.operations,
            processes: self.processes,
            keys: self.keys,
            values: self.values.map_or(Values::Distinct, Values::Few),
            mix: self.mix,
            unknown: self.unknown,
            rest: self.rest,
            clock: self.clock,
            tells_current: false,
            bug: match self.bug {
                Wrong::None => Bug::None,
                Wrong::StaleReads => Bug::StaleReads(self.share),
                Wrong::LostUpdates => Bug::LostUpdates(self.share),
                Wrong::SplitCas => Bug::SplitCas(self.share),
            },
        };
        let mut writer = Writer::new(Output::create(&self.output)?, &simulation.header())?;
        for event in simulation.events() {
            writer.write(&event)?;
        }
        writer.into_inner()?.finish()
    }
}

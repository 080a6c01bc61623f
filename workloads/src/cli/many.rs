//! The commands that make many runs out of one.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::{RunArgs, duration, workload};
use crate::workload::Workload;

/// What `soak` and `matrix` have in common.
#[derive(Debug, Clone, Args)]
pub struct ManyArgs {
    /// Begin no run that may not be over by then; the same command goes on later
    #[arg(long, value_parser = duration, value_name = "TIME")]
    pub budget: Option<Duration>,
    /// Begin no run after the first violation
    #[arg(long)]
    pub stop_on_first: bool,
    /// Keep histories and node logs of valid runs, too: about 20 MB a minute
    #[arg(long)]
    pub keep_all: bool,
    /// Reduce every failing run, as `reduce` does; otherwise only the first
    #[arg(long)]
    pub reduce: bool,
    /// Reduce none
    #[arg(long, conflicts_with = "reduce")]
    pub no_reduce: bool,
    /// How hard to try.
    #[command(flatten)]
    pub reduction: ReductionArgs,
    /// Forget the runs that are there, and their folders
    #[arg(long)]
    pub fresh: bool,
    /// Folder for the state, the tally and the runs; otherwise one in the store, named after the settings
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// The run.
    #[command(flatten)]
    pub run: RunArgs,
}

/// How hard a reduction tries.
#[derive(Debug, Clone, Args)]
pub struct ReductionArgs {
    /// How often something smaller is run before it counts as passing: runs are not deterministic
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=100), value_name = "N")]
    pub tries: u8,
    /// How long one reduction may take in all
    #[arg(long, default_value = "10m", value_parser = duration, value_name = "TIME")]
    pub reduce_budget: Duration,
}

/// Flags of `soak`.
#[derive(Debug, Clone, Args)]
pub struct SoakArgs {
    /// How many seeds to run, from --seed on (from 1 where none is given)
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..), value_name = "N")]
    pub runs: u32,
    /// All the rest.
    #[command(flatten)]
    pub many: ManyArgs,
}

/// Flags of `matrix`.
#[derive(Debug, Clone, Args)]
pub struct MatrixArgs {
    /// Stores under test, joined by commas; otherwise the one of --system
    #[arg(long, value_delimiter = ',', value_name = "NAME|FILE,...")]
    pub systems: Vec<String>,
    /// What the clients do, joined by commas; otherwise all that there is
    #[arg(long, value_delimiter = ',', value_parser = workload, value_name = "NAME,...")]
    pub workloads: Vec<&'static Workload>,
    /// Faults, those of one run joined by +, as none,partition,kill+pause; otherwise those of --nemesis
    #[arg(long, value_delimiter = ',', value_name = "FAULT+...,...")]
    pub nemeses: Vec<String>,
    /// How many seeds to run of each combination, from --seed on (from 1 where none is given)
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..), value_name = "N")]
    pub runs: u32,
    /// All the rest.
    #[command(flatten)]
    pub many: ManyArgs,
}

/// Flags of `reduce`.
#[derive(Debug, Clone, Args)]
pub struct ReduceArgs {
    /// The folder of a run that was found illegal
    #[arg(default_value = "store/latest")]
    pub run: PathBuf,
    /// How hard to try.
    #[command(flatten)]
    pub reduction: ReductionArgs,
    /// Forget what an interrupted reduction found
    #[arg(long)]
    pub fresh: bool,
}

//! What can be typed.

mod look;
mod many;

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::ci::{AnnotateArgs, BundleArgs};
use crate::generator::{Arrivals, KeyChoice};
use crate::scorecard::Against;
use crate::workload::{Reserved, WORKLOADS, Workload};

pub use look::{ExportArgs, ServeArgs};
pub use many::{ManyArgs, MatrixArgs, ReduceArgs, ReductionArgs, SoakArgs};

/// Put a distributed store through an ordeal: a real cluster, real faults, a verdict with its proof.
///
/// Without a command: `run` with its defaults.
#[derive(Debug, Parser)]
#[command(name = "workloads", version, args_conflicts_with_subcommands = true)]
pub struct Cli {
    /// What to do; `run` where nothing is said.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// `run`'s own flags may stand alone.
    #[command(flatten)]
    pub run: RunArgs,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Start a cluster, load it under faults, check the history, write the report
    ///
    /// Examples:
    ///   workloads run --time-limit 60s --nemesis partition,kill --seed 7
    ///   workloads run --bug follower-read          must end Illegal, exit 1
    ///   workloads run --cluster docker             the same on the compose cluster
    #[command(verbatim_doc_comment)]
    Run(RunArgs),
    /// Start a cluster to play with, print its addresses, and leave it running
    Up(UpArgs),
    /// End the cluster that `up` started
    Down(StoreArgs),
    /// Show the cluster that is running
    Status(StoreArgs),
    /// Check a recorded run again and rewrite its report
    Analyze(AnalyzeArgs),
    /// Run every planted bug again and again, and say how many are caught
    ///
    /// Examples:
    ///   workloads scorecard --seeds 10             all of it; goes on where it was killed
    ///   workloads scorecard --quick                the five quickest bugs, once each
    ///   workloads scorecard --bugs no-fsync --against default --seeds 20
    #[command(verbatim_doc_comment)]
    Scorecard(ScorecardArgs),
    /// Run the same test again and again, seeds counted up, and keep what failed
    ///
    /// The same command goes on where it was killed. Any flag of `run` passes through.
    ///
    /// Examples:
    ///   workloads soak --runs 100 --time-limit 60s
    ///   workloads soak --runs 1000 --budget 8h --stop-on-first
    ///   workloads soak --system systems/etcd.toml --workload append --nemesis kill,partition
    #[command(verbatim_doc_comment)]
    Soak(SoakArgs),
    /// Cross systems, workloads and faults, and print a table
    ///
    /// The same command goes on where it was killed. Any flag of `run` passes through.
    ///
    /// Examples:
    ///   workloads matrix --systems kvnode,etcd --workloads register,append,set
    ///   workloads matrix --nemeses none,partition,kill+pause --runs 3
    #[command(verbatim_doc_comment)]
    Matrix(MatrixArgs),
    /// Make a failing run smaller: fewer faults, keys and clients, shorter, and it still fails
    ///
    /// Examples:
    ///   workloads reduce store/latest
    ///   workloads reduce store/latest --tries 5 --reduce-budget 30m
    #[command(verbatim_doc_comment)]
    Reduce(ReduceArgs),
    /// Show the store in a browser: runs, reports, files, comparisons, a run under way
    ///
    /// Examples:
    ///   workloads serve                            then open http://127.0.0.1:8080
    ///   workloads serve --store /var/ordeal --listen 127.0.0.1:9000
    #[command(verbatim_doc_comment)]
    Serve(ServeArgs),
    /// Write a run's history and results as EDN, for Jepsen's tools
    ///
    /// Examples:
    ///   workloads export store/latest              writes history.edn and results.edn there
    ///   checker check store/latest/history.edn     gives the same verdict
    #[command(verbatim_doc_comment)]
    Export(ExportArgs),
    /// Try a system file on one node and say which of its rules are missing or too trusting
    Doctor(DoctorArgs),
    /// Run real stores whose verdicts are known, and see whether we find them
    ///
    /// Rows run one after another; an interrupted round goes on where it stopped.
    Controls(ControlsArgs),
    /// Measure what the runner itself costs: operations a second against kvnode, and what it adds to each
    Bench(BenchArgs),
    /// Say what came of runs as remarks that a CI system shows, and add their summaries to its page
    Annotate(AnnotateArgs),
    /// Copy what runs left to a folder that never grows past a cap, the most telling files first
    ///
    /// Results and settings, then reports, then histories, then logs of nodes; of several runs the worst first.
    /// What did not fit is printed, and listed in bundle.txt.
    Bundle(BundleArgs),
    /// List systems, workloads, faults and planted bugs
    List,
}

/// Where a cluster runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ClusterKind {
    /// Plain processes in namespaces of their own; needs neither root nor anything installed.
    Lab,
    /// The containers of docker-compose.yml; needs Docker, and root for iptables.
    Docker,
}

/// Flags of `run`.
#[derive(Debug, Clone, Args)]
pub struct RunArgs {
    /// The store under test: a shipped name (see `list`) or the path of a system file
    #[arg(long, default_value = "kvnode", value_name = "NAME|FILE")]
    pub system: String,
    /// What the clients do (see `list`)
    #[arg(long, default_value = "mix", value_parser = workload, value_name = "NAME")]
    pub workload: &'static Workload,
    /// Faults to inject, joined by commas; `none` for a quiet run; left away: what finds most (see `list`)
    #[arg(long, value_delimiter = ',', value_name = "FAULT,...")]
    pub nemesis: Vec<String>,
    /// Carry out this plan of faults (a run's plan.json) instead of one drawn from the seed
    #[arg(long, conflicts_with_all = ["nemesis", "at_once"], value_name = "FILE")]
    pub plan: Option<PathBuf>,
    /// Most faults at once; one, or what the presets among the faults say
    #[arg(long, value_parser = clap::value_parser!(u8).range(1..=8), value_name = "N")]
    pub at_once: Option<u8>,
    /// Where the cluster runs
    #[arg(long, value_enum, default_value = "lab")]
    pub cluster: ClusterKind,
    /// What carries packets in the lab: switch (our own), iptables (the kernel's bridge), or auto
    #[arg(long, default_value_t = nemesis::lab::Net::Auto, value_name = "NET")]
    pub net: nemesis::lab::Net,
    /// How long the load lasts, as 30, 30s or 2m
    #[arg(long, default_value = "30s", value_parser = duration, value_name = "TIME")]
    pub time_limit: Duration,
    /// Operations a second, over all clients
    #[arg(long, default_value_t = 1500.0, value_parser = positive, value_name = "N")]
    pub rate: f64,
    /// Charge a stalled store for what was due meanwhile: the load does not wait for answers to be due
    #[arg(long)]
    pub open_loop: bool,
    /// How operations follow each other at that rate: even, stagger (random intervals), burst:N (N at once)
    #[arg(long, default_value_t = Arrivals::Even, value_name = "HOW")]
    pub arrivals: Arrivals,
    /// Clients, spread over the nodes
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u16).range(1..=4096), value_name = "N")]
    pub concurrency: u16,
    /// Of the clients so many do one operation only, as 4:get,2:cas; the others do everything
    #[arg(long, value_delimiter = ',', value_name = "N:OPERATION,...")]
    pub reserve: Vec<Reserved>,
    /// Nodes of the cluster
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u8).range(1..=50), value_name = "N")]
    pub nodes: u8,
    /// Decides every choice of load and faults; a fresh one where none is given
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
    /// Keys in use at any time
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..), value_name = "N")]
    pub keys: u16,
    /// How often each of them is asked for: uniform, zipf, or zipf:1.1 with an exponent
    #[arg(long, default_value_t = KeyChoice::Uniform, value_name = "HOW")]
    pub key_distribution: KeyChoice,
    /// Operations after which a key is left alone for a fresh one
    #[arg(long, default_value_t = 400, value_parser = clap::value_parser!(u32).range(1..), value_name = "N")]
    pub ops_per_key: u32,
    /// How long a client waits for an answer before the outcome counts as unknown
    #[arg(long, default_value = "2s", value_parser = duration, value_name = "TIME")]
    pub timeout: Duration,
    /// Go on to the time limit after the first violation
    #[arg(long)]
    pub keep_going: bool,
    /// Run the node with this planted bug: the verdict must be Illegal
    #[arg(long, value_name = "NAME")]
    pub bug: Option<String>,
    /// How long the checker may search before it says Unknown
    #[arg(long, default_value = "60s", value_parser = duration, value_name = "TIME")]
    pub check_limit: Duration,
    /// Folder that keeps the runs
    #[arg(long, default_value = "store", env = "ORDEAL_STORE", value_name = "DIR")]
    pub store: PathBuf,
}

/// Flags of `up`.
#[derive(Debug, Clone, Args)]
pub struct UpArgs {
    /// The store to start: a shipped name (see `list`) or the path of a system file
    #[arg(long, default_value = "kvnode", value_name = "NAME|FILE")]
    pub system: String,
    /// Nodes of the cluster
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u8).range(1..=50), value_name = "N")]
    pub nodes: u8,
    /// Run the nodes with this planted bug
    #[arg(long, value_name = "NAME")]
    pub bug: Option<String>,
    /// As of `run`
    #[arg(long, default_value_t = nemesis::lab::Net::Auto, value_name = "NET")]
    pub net: nemesis::lab::Net,
    /// Host port of the first node on 127.0.0.1, the others follow; free ones where none is given
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    pub port: Option<u16>,
    /// Stay in the foreground until Ctrl-C
    #[arg(long)]
    pub foreground: bool,
    /// Folder that keeps the runs
    #[arg(long, default_value = "store", env = "ORDEAL_STORE", value_name = "DIR")]
    pub store: PathBuf,
}

/// Flags of `down` and `status`.
#[derive(Debug, Clone, Args)]
pub struct StoreArgs {
    /// Folder that keeps the runs
    #[arg(long, default_value = "store", env = "ORDEAL_STORE", value_name = "DIR")]
    pub store: PathBuf,
}

/// Flags of `analyze`.
#[derive(Debug, Clone, Args)]
pub struct AnalyzeArgs {
    /// The folder of a run, or its history.jsonl
    #[arg(default_value = "store/latest")]
    pub path: PathBuf,
    /// How long the checker may search before it says Unknown
    #[arg(long, default_value = "60s", value_parser = duration, value_name = "TIME")]
    pub check_limit: Duration,
}

/// Flags of `scorecard`.
#[derive(Debug, Clone, Args)]
pub struct ScorecardArgs {
    /// Only these bugs, joined by commas; all where none is named
    #[arg(long, value_delimiter = ',', value_name = "NAME,...")]
    pub bugs: Vec<String>,
    /// How often each is run against each thing
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..), value_name = "N")]
    pub seeds: u16,
    /// The first seed; the others follow
    #[arg(long, default_value_t = 1, value_name = "N")]
    pub first_seed: u64,
    /// Only against these: preset, default, clean
    #[arg(long, value_delimiter = ',', value_name = "WHAT,...")]
    pub against: Vec<Against>,
    /// Begin no run that may not be over by then; the same command goes on later
    #[arg(long, value_parser = duration, value_name = "TIME")]
    pub budget: Option<Duration>,
    /// The five bugs that are caught soonest, once each against their presets: under three minutes
    #[arg(long, conflicts_with_all = ["seeds", "bugs"])]
    pub quick: bool,
    /// Instead of all that: so many runs of the build without bugs, over all presets, added to the tally in
    /// clean.jsonl, which counts over many nights
    #[arg(long, conflicts_with_all = ["seeds", "bugs", "quick", "against", "fresh"], value_name = "N")]
    pub clean_runs: Option<u32>,
    /// Forget the trials that are there; the tally of the build without bugs stays
    #[arg(long)]
    pub fresh: bool,
    /// Folder for trials.jsonl, clean.jsonl, scorecard.html, .md, .json and .svg, and the runs that went wrong
    #[arg(long, default_value = "store/scorecard", value_name = "DIR")]
    pub out: PathBuf,
}

fn workload(name: &str) -> Result<&'static Workload, String> {
    Workload::named(name).ok_or_else(|| {
        let names: Vec<&str> = WORKLOADS.iter().map(|workload| workload.name).collect();
        format!("there are: {}", names.join(", "))
    })
}

/// Flags of `doctor`.
#[derive(Debug, Clone, Args)]
pub struct DoctorArgs {
    /// The store to examine: a shipped name (see `list`) or the path of a system file
    #[arg(
        id = "system",
        long = "system",
        value_name = "NAME|FILE",
        required_unless_present = "named"
    )]
    system: Option<String>,
    /// The same without its flag
    #[arg(id = "named", value_name = "NAME|FILE", conflicts_with = "system")]
    named: Option<String>,
    /// Nodes of the cluster; more than one for stores that serve only so. The first is examined
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=50), value_name = "N")]
    pub nodes: u8,
    /// How long to wait for an answer
    #[arg(long, default_value = "2s", value_parser = duration, value_name = "TIME")]
    pub timeout: Duration,
    /// Folder that keeps the runs
    #[arg(long, default_value = "store", env = "ORDEAL_STORE", value_name = "DIR")]
    pub store: PathBuf,
}

impl DoctorArgs {
    /// The store to examine.
    #[must_use]
    pub fn system(&self) -> &str {
        let named = self.system.as_deref().or(self.named.as_deref());
        named.expect("one of the two is required")
    }
}

/// Flags of `controls`.
#[derive(Debug, Clone, Args)]
pub struct ControlsArgs {
    /// Only rows whose names begin so, joined by commas
    #[arg(long, value_delimiter = ',', value_name = "NAME,...")]
    pub only: Vec<String>,
    /// How often to run each row
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100), value_name = "N")]
    pub times: u32,
    /// Forget what an interrupted round found
    #[arg(long)]
    pub fresh: bool,
    /// Folder that keeps the runs
    #[arg(long, default_value = "store", env = "ORDEAL_STORE", value_name = "DIR")]
    pub store: PathBuf,
}

/// Flags of `bench`.
#[derive(Debug, Clone, Args)]
pub struct BenchArgs {
    /// Nodes of the cluster, and stand-ins for them
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=50), value_name = "N")]
    pub nodes: u8,
    /// Clients, spread over the nodes
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=4096), value_name = "N")]
    pub concurrency: u16,
    /// Threads that the clients share; as many as a run has where none is said
    #[arg(long, value_parser = clap::value_parser!(u8).range(1..=64), value_name = "N")]
    pub client_threads: Option<u8>,
    /// Operations a second that are due at the stand-ins
    #[arg(long, default_value_t = 5000.0, value_parser = positive, value_name = "N")]
    pub rate: f64,
    /// How long each of the two measurements lasts
    #[arg(long, default_value = "10s", value_parser = duration, value_name = "TIME")]
    pub time_limit: Duration,
    /// As of `run`
    #[arg(long, default_value_t = nemesis::lab::Net::Auto, value_name = "NET")]
    pub net: nemesis::lab::Net,
    /// Folder that keeps the histories
    #[arg(long, default_value = "store", env = "ORDEAL_STORE", value_name = "DIR")]
    pub store: PathBuf,
}

/// What is wrong with a command line, in one line: what, and what would mend it.
#[must_use]
pub fn one_line(error: &clap::Error) -> String {
    nemesis::cli::one_line(error, "workloads")
}

/// `30`, `30s`, `500ms`, `2m`, `1h`.
fn duration(text: &str) -> Result<Duration, String> {
    let digits = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let number: f64 = text[..digits]
        .parse()
        .map_err(|_| "write it as 30, 30s, 500ms or 2m".to_owned())?;
    let seconds = match &text[digits..] {
        "" | "s" => number,
        "ms" => number / 1e3,
        "m" => number * 60.0,
        "h" => number * 3600.0,
        unit => return Err(format!("unknown unit `{unit}`: write it as 30, 30s, 500ms or 2m")),
    };
    match Duration::try_from_secs_f64(seconds) {
        Ok(duration) if !duration.is_zero() && seconds <= 7.0 * 86_400.0 => Ok(duration),
        _ => Err("it must be more than nothing and at most a week".to_owned()),
    }
}

fn positive(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(rate) if rate.is_finite() && rate > 0.0 && rate <= 1e6 => Ok(rate),
        _ => Err("it must be a number above 0, at most 1000000".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn durations_read_as_people_write_them() {
        let cases = [
            ("30", 30_000),
            ("30s", 30_000),
            ("1.5s", 1_500),
            ("500ms", 500),
            ("2m", 120_000),
        ];
        for (text, ms) in cases {
            assert_eq!(duration(text), Ok(Duration::from_millis(ms)), "{text}");
        }
        for text in ["", "s", "-1", "0", "3 parsecs", "1e9h", "nan"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_wrong_command_line_is_one_line_that_says_what_mends_it() {
        let cases: [(&[&str], &str); 5] = [
            (&["run", "--sede", "4"], "'--seed'"),
            (&["run", "--cluster", "cloud"], "lab, docker"),
            (&["run", "--rate", "0"], "it must be a number above 0"),
            (&["doctor"], "--system <NAME|FILE>"),
            (&["frobnicate"], "unrecognized subcommand"),
        ];
        for (args, expected) in cases {
            let typed = [&["workloads"], args].concat();
            let line = one_line(&Cli::try_parse_from(typed).expect_err("refused"));
            assert!(line.contains(expected), "{line}");
            assert!(!line.contains('\n') && line.contains("--help"), "{line}");
            assert!(!line.contains("error:") && !line.contains("Usage"), "{line}");
        }
    }

    #[test]
    fn a_doctor_is_told_whom_to_examine_with_or_without_a_flag() {
        for words in [&["doctor", "etcd"][..], &["doctor", "--system", "etcd"]] {
            let typed = [&["workloads"], words].concat();
            match Cli::try_parse_from(typed).expect("understood").command {
                Some(Command::Doctor(args)) => assert_eq!(args.system(), "etcd"),
                other => panic!("{other:?}"),
            }
        }
        let both = ["workloads", "doctor", "etcd", "--system", "nats"];
        assert!(Cli::try_parse_from(both).is_err());
    }

    #[test]
    fn run_is_what_nothing_means() {
        let cli = Cli::try_parse_from(["workloads", "--seed", "4"]).expect("valid");
        assert!(cli.command.is_none());
        assert_eq!(cli.run.seed, Some(4));
    }
}

//! The arguments.

use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};

use crate::duration::Span;
use crate::journal::FaultId;
use crate::lab::Net;
use crate::link::{Bandwidth, Distribution, Probability};
use crate::target::Target;

/// Faults by hand on a running cluster: cut it, kill it, heal it, and see what happened.
#[derive(Debug, Parser)]
#[command(
    name = "nemesis",
    version,
    after_help = "Examples:\n  nemesis                          the cluster as a matrix\n  nemesis partition halves         cut it in two\n  nemesis partition n1,n2/n3,n4,n5 --for 10s\n  nemesis kill leader\n  nemesis heal\n\nExit codes: 0 done and seen; 1 done but not seen to be so; 254 bad input; 255 failed."
)]
pub(super) struct Args {
    /// The cluster: its cluster.json, or the folder of it [default: store/current from here upwards]
    #[arg(long, global = true, value_name = "PATH")]
    pub(super) cluster: Option<PathBuf>,
    /// A compose project, instead of a cluster.json
    #[arg(long, global = true, value_name = "NAME", conflicts_with = "cluster")]
    pub(super) project: Option<String>,
    /// Print answers as JSON
    #[arg(long, global = true)]
    pub(super) json: bool,
    /// Say what would be done, and do nothing
    #[arg(long, global = true)]
    pub(super) dry_run: bool,
    #[command(subcommand)]
    pub(super) verb: Option<Verb>,
}

/// How long a fault lasts.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(super) struct Lasting {
    /// Undo it by itself after so long (10s, 500ms, 2m), even if this tool is gone by then
    #[arg(long = "for", value_name = "TIME")]
    pub(super) lasting: Option<Span>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum Way {
    /// What the first group sends is lost
    Out,
    /// What is sent to the first group is lost
    In,
}

#[derive(Debug, Subcommand)]
pub(super) enum Verb {
    /// Who reaches whom, who is up, who leads, which faults are in force
    #[command(after_help = "Example: nemesis status --json")]
    Status,
    /// Status, over and over
    #[command(after_help = "Example: nemesis watch --every 500ms")]
    Watch {
        /// Time between two looks
        #[arg(long, default_value = "1s")]
        every: Span,
    },
    /// Cut links: one [NODE], minority, halves, majority, majorities-ring, bridge, leader, random, or groups
    #[command(
        after_help = "Examples:\n  nemesis partition one n2 --one-way\n  nemesis partition n1,n2/n3,n4,n5 --for 10s"
    )]
    Partition {
        /// The shape, or groups like n1,n2/n3,n4,n5
        #[arg(required = true, value_name = "SPEC")]
        spec: Vec<String>,
        /// Cut one direction only: what the first group sends (out) or hears (in)
        #[arg(long, value_name = "out|in", num_args = 0..=1, require_equals = true, default_missing_value = "out")]
        one_way: Option<Way>,
        #[command(flatten)]
        lasting: Lasting,
    },
    /// A partition that comes and goes
    #[command(after_help = "Example: nemesis flap halves --down 300ms --up 1s --for 30s")]
    Flap {
        /// The shape, as of partition
        #[arg(required = true, value_name = "SPEC")]
        spec: Vec<String>,
        /// How long the links are cut each time
        #[arg(long, default_value = "300ms")]
        down: Span,
        /// How long they are open in between
        #[arg(long, default_value = "300ms")]
        up: Span,
        #[command(flatten)]
        lasting: Lasting,
    },
    /// Make links slow, lossy, narrow, ...
    #[command(
        after_help = "Examples:\n  nemesis links all all --delay 50ms --jitter 20ms\n  nemesis links leader all --loss 10% --for 20s\n  nemesis links n1 n2 --bandwidth 1mbit"
    )]
    Links {
        /// Senders: nodes, or one, minority, majority, all, leader, followers
        from: Target,
        /// Receivers
        to: Target,
        /// Mean delay
        #[arg(long)]
        delay: Option<Span>,
        /// Spread of the delay
        #[arg(long, requires = "delay")]
        jitter: Option<Span>,
        /// Shape of the spread: uniform, normal, pareto
        #[arg(long, requires = "jitter", default_value = "uniform", value_parser = distribution)]
        distribution: Distribution,
        /// Share of packets that vanish
        #[arg(long)]
        loss: Option<Probability>,
        /// Share of packets that arrive twice
        #[arg(long)]
        duplicate: Option<Probability>,
        /// Share of packets that overtake others
        #[arg(long)]
        reorder: Option<Probability>,
        /// Share of packets with a flipped bit
        #[arg(long)]
        corrupt: Option<Probability>,
        /// What fits through (1mbit, 512kbit)
        #[arg(long)]
        bandwidth: Option<Bandwidth>,
        /// The links back as well
        #[arg(long)]
        both: bool,
        #[command(flatten)]
        lasting: Lasting,
    },
    /// SIGKILL; the node stays dead until healed, restarted, or its time is over
    #[command(after_help = "Example: nemesis kill n3 --for 10s")]
    Kill {
        /// Nodes (n1,n3), or one, minority, majority, all, leader, followers
        target: Target,
        #[command(flatten)]
        lasting: Lasting,
    },
    /// Kill the leader, and then whoever stands for election in its place
    #[command(after_help = "Example: nemesis kill-election --for 10s")]
    KillElection {
        #[command(flatten)]
        lasting: Lasting,
    },
    /// SIGSTOP: the node keeps its memory and sockets and answers nobody
    #[command(after_help = "Example: nemesis pause leader --for 5s")]
    Pause {
        /// As of kill
        target: Target,
        #[command(flatten)]
        lasting: Lasting,
    },
    /// SIGCONT to paused nodes, whoever paused them
    #[command(after_help = "Example: nemesis resume all")]
    Resume {
        /// As of kill
        target: Target,
    },
    /// SIGKILL and start again; starts nodes that are dead
    #[command(after_help = "Examples:\n  nemesis restart n3\n  nemesis restart all --rolling 2s")]
    Restart {
        /// As of kill
        target: Target,
        /// One after the other, each so long after the last
        #[arg(long, value_name = "TIME")]
        rolling: Option<Span>,
    },
    /// Kill and start again, over and over
    #[command(after_help = "Example: nemesis crash-loop n2 --up 1s --down 500ms --for 20s")]
    CrashLoop {
        /// As of kill
        target: Target,
        /// How long it runs each time
        #[arg(long, default_value = "1s")]
        up: Span,
        /// How long it is dead each time
        #[arg(long, default_value = "500ms")]
        down: Span,
        #[command(flatten)]
        lasting: Lasting,
    },
    /// SIGKILL, and writes that were not synced are lost (lab with simulated disks)
    #[command(after_help = "Example: nemesis power-failure all --torn --for 3s")]
    PowerFailure {
        /// As of kill
        target: Target,
        /// Some of the unsynced 512-byte sectors are there nevertheless
        #[arg(long)]
        torn: bool,
        #[command(flatten)]
        lasting: Lasting,
    },
    /// Make a disk misbehave (lab with simulated disks)
    #[command(
        after_help = "Examples:\n  nemesis disk n1 full\n  nemesis disk leader error --fsync 20%\n  nemesis disk n2 slow --fsync-time 100ms\n  nemesis disk n3 bit-flip --bits 3"
    )]
    Disk {
        /// As of kill
        target: Target,
        #[command(subcommand)]
        disk: DiskVerb,
    },
    /// Kill a node and damage its files; the damage stays when the node is started again
    #[command(
        after_help = "Examples:\n  nemesis damage n1 truncate --bytes 100\n  nemesis damage leader bit-flip --bits 3 --for 5s"
    )]
    Damage {
        /// As of kill
        target: Target,
        #[command(subcommand)]
        damage: DamageVerb,
    },
    /// Make a clock wrong (lab with libfaketime)
    #[command(
        after_help = "Examples:\n  nemesis clock n1 jump --ms 60000\n  nemesis clock minority rate 1.5 --for 30s\n  nemesis clock one strobe --ms -500 --period 200ms"
    )]
    Clock {
        /// As of kill
        target: Target,
        #[command(subcommand)]
        clock: ClockVerb,
    },
    /// Change the cluster's membership by its own requests
    #[command(
        after_help = "Examples:\n  nemesis member remove n3\n  nemesis member transfer n2\n  nemesis member replace n4"
    )]
    Member {
        /// add, remove, transfer or replace
        change: MemberChange,
        /// Whom
        target: Target,
        #[command(flatten)]
        lasting: Lasting,
    },
    /// Undo one fault by its number
    #[command(after_help = "Example: nemesis undo 3")]
    Undo {
        /// The number, as status shows it
        #[arg(value_parser = |text: &str| text.trim_start_matches('#').parse().map(FaultId))]
        id: FaultId,
    },
    /// Undo every fault, also those of a tool that crashed, and look at the whole cluster
    #[command(after_help = "Example: nemesis heal")]
    Heal,
    /// Print a plan of faults
    #[command(
        after_help = "Examples:\n  nemesis plan --preset hostile --length 60s --seed 7\n  nemesis plan --faults kill,partition --save > plan.json"
    )]
    Plan(PlanArgs),
    /// Play a plan against the running cluster
    #[command(after_help = "Example: nemesis play plan.json")]
    Play {
        /// A plan as `nemesis plan --save` prints it
        file: PathBuf,
    },
    /// What works on this machine, and how to mend the rest
    #[command(after_help = "Example: nemesis doctor")]
    Doctor,
    /// Run any program on every node of a lab, until Ctrl-C
    Lab(LabArgs),
    /// Print a completion script for a shell
    #[command(
        after_help = "Example: nemesis completion bash > ~/.local/share/bash-completion/completions/nemesis"
    )]
    Completion {
        /// Which shell
        shell: clap_complete::Shell,
    },
    /// Measure what the lab costs on this machine (use a release build)
    #[command(after_help = "Example: nemesis bench switch")]
    Bench {
        /// Only these parts: up-5, up-50, partition, switch, delay, disk, docker (needs a running compose cluster), ... [default: all]
        parts: Vec<String>,
    },
    /// One part of bench
    #[command(hide = true)]
    BenchPart {
        /// Which
        part: String,
    },
    /// A node of bench
    #[command(hide = true)]
    BenchNode,
    /// Keeps rules of containers and machines in place and undoes faults whose time is over
    #[command(hide = true)]
    Warden {
        /// The cluster, as a line of JSON
        site: String,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum DiskVerb {
    /// No room for any write
    Full {
        #[command(flatten)]
        lasting: Lasting,
    },
    /// EIO, with these chances
    Error {
        /// Of reads
        #[arg(long, default_value = "0%")]
        read: Probability,
        /// Of writes
        #[arg(long, default_value = "0%")]
        write: Probability,
        /// Of fsyncs
        #[arg(long, default_value = "0%")]
        fsync: Probability,
        #[command(flatten)]
        lasting: Lasting,
    },
    /// Slow fsync
    Slow {
        /// How much longer each takes
        #[arg(long, default_value = "100ms")]
        fsync_time: Span,
        #[command(flatten)]
        lasting: Lasting,
    },
    /// Flip random bits of the files; there is no undo
    BitFlip {
        /// How many
        #[arg(long, default_value_t = 1)]
        bits: u32,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum DamageVerb {
    /// Take the last bytes off one file
    Truncate {
        /// How many
        #[arg(long, default_value_t = 64)]
        bytes: u64,
        #[command(flatten)]
        lasting: Lasting,
    },
    /// Flip random bits
    BitFlip {
        /// How many
        #[arg(long, default_value_t = 1)]
        bits: u32,
        #[command(flatten)]
        lasting: Lasting,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum ClockVerb {
    /// Off by so much
    Jump {
        /// Milliseconds; negative is behind
        #[arg(long, allow_negative_numbers = true)]
        ms: i64,
        #[command(flatten)]
        lasting: Lasting,
    },
    /// At another speed
    Rate {
        /// Clock seconds per second
        rate: f64,
        #[command(flatten)]
        lasting: Lasting,
    },
    /// Forth and back
    Strobe {
        /// Milliseconds off in every other period
        #[arg(long, allow_negative_numbers = true)]
        ms: i64,
        /// Length of a period
        #[arg(long, default_value = "200ms")]
        period: Span,
        #[command(flatten)]
        lasting: Lasting,
    },
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum MemberChange {
    /// Make it a member
    Add,
    /// Make it a member no longer
    Remove,
    /// Hand leadership to it
    Transfer,
    /// Remove it, throw its data away, and add it as a new machine
    Replace,
}

/// What a printed plan is like.
#[derive(Debug, clap::Args)]
pub(super) struct PlanArgs {
    /// gentle, standard, hostile, power, network or membership
    #[arg(long)]
    pub(super) preset: Option<String>,
    /// Faults by name: partition, kill, pause, delay, ...
    #[arg(long, value_delimiter = ',')]
    pub(super) faults: Vec<String>,
    /// Length of the run
    #[arg(long, default_value = "30s")]
    pub(super) length: Span,
    /// Decides every choice
    #[arg(long, default_value_t = 0)]
    pub(super) seed: u64,
    /// Most faults at once
    #[arg(long)]
    pub(super) at_once: Option<usize>,
    /// Print it in the form that play reads
    #[arg(long)]
    pub(super) save: bool,
}

/// A lab of any program.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "In the arguments {node} {address} {data} {nodes} {addresses} are filled in.\n\nExample:\n  nemesis lab --nodes 3 --port 8000 -- python3 -m http.server 8000"
)]
pub(super) struct LabArgs {
    /// How many nodes
    #[arg(long, default_value_t = 5)]
    pub(super) nodes: usize,
    /// A port of each node to be reached on the host's loopback
    #[arg(long)]
    pub(super) port: Vec<u16>,
    /// First port on the host to use for that; 0 takes free ones
    #[arg(long, default_value_t = 0)]
    pub(super) host_port: u16,
    /// Folder for logs, data, and the control socket
    #[arg(long, default_value = "store/current")]
    pub(super) dir: PathBuf,
    /// Decides every random choice
    #[arg(long, default_value_t = 0)]
    pub(super) seed: u64,
    /// What carries packets: switch (our own), iptables (the kernel's bridge), or auto
    #[arg(long, default_value_t = Net::Auto)]
    pub(super) net: Net,
    /// Simulated disks: each node's working folder can lose power, fail, fill up
    #[arg(long)]
    pub(super) disks: bool,
    /// Clocks that can be made wrong (takes libfaketime)
    #[arg(long)]
    pub(super) clocks: bool,
    /// The program and its arguments
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    pub(super) command: Vec<String>,
}

fn distribution(text: &str) -> Result<Distribution, String> {
    serde_json::from_value(text.into()).map_err(|_| "use uniform, normal or pareto".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_arguments_are_consistent() {
        use clap::CommandFactory as _;
        Args::command().debug_assert();
    }

    #[test]
    fn every_verb_shows_how_it_is_used_and_the_example_is_right() {
        use clap::CommandFactory as _;
        let mut examples = 0;
        for verb in Args::command()
            .get_subcommands()
            .filter(|verb| !verb.is_hide_set())
        {
            let help = verb.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert!(help.contains("Example"), "{} has no example", verb.get_name());
            for line in help.split(['\n', ':']).map(str::trim) {
                let Some(line) = line
                    .split(" > ")
                    .next()
                    .filter(|line| line.starts_with("nemesis "))
                else {
                    continue;
                };
                examples += 1;
                let parsed = Args::try_parse_from(line.split(' '));
                assert!(parsed.is_ok(), "{line}: {}", parsed.expect_err("it is wrong"));
            }
        }
        assert!(examples >= 25, "only {examples} examples");
    }
}

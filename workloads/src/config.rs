//! What was typed, checked once and for all.

mod told;

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nemesis::Fault;
use nemesis::NodeId;
use nemesis::doctor::find_faketime;
use nemesis::grudge::{Direction, Shape};
use nemesis::plan::{FAULT_NAMES, Plan, Preset, faults_named};
use nemesis::target::Target;
use rand::RngExt;

use crate::cli::{ClusterKind, RunArgs};
use crate::cluster::DOCKER_NODES;
use crate::generator::{Arrivals, KeyChoice, Pace};
use crate::system::{System, nearest};
use crate::workload::{Load, LoadOptions, Reserved, Workload, reserve};

/// The faults of a run that names none, as far as the cluster can do them, together with those of the system's file.
/// Measured: these catch most planted bugs in the least time (docs/bugs/README.md). They aim at leaders, and are few
/// enough for each to come in thirty seconds.
pub const DEFAULT_FAULTS: &[&str] = &[
    "partition-leader",
    "partition-halves",
    "partition-one",
    "partition-bridge",
    "kill-leader",
    "kill-one",
    "kill-majority",
    "kill-all",
    "pause-leader",
    "pause-one",
    "power-failure",
    "torn-write",
];

/// The fewest nodes among which every shape of partition can be laid.
const PARTED: usize = 3;
/// Simulated disks, which know what was synced, are served through it.
const FUSE: &str = "/dev/fuse";

/// Everything that decides a run. Written to `test.toml`.
#[derive(Debug, Clone)]
pub struct RunConfig {
    /// What the user called the store: a name or a file.
    pub system_name: String,
    /// The store under test.
    pub system: System,
    /// What the clients do.
    pub workload: &'static Workload,
    /// The names of faults, families of faults or presets that were typed; empty for none.
    pub nemesis: Vec<String>,
    /// Of the usual faults, those that are left out since they cannot be done here, and why.
    pub left_out: Vec<String>,
    /// The faults that they stand for, by family: each has its turn before any comes again.
    pub families: Vec<Vec<Fault>>,
    /// The plan of faults and the file that it came from, where it is not drawn from the seed.
    pub plan: Option<(PathBuf, Plan)>,
    /// Most faults at once.
    pub at_once: usize,
    /// Where the cluster runs.
    pub cluster: ClusterKind,
    /// What carries packets in the lab.
    pub net: nemesis::lab::Net,
    /// How long the load lasts.
    pub time_limit: Duration,
    /// Operations a second.
    pub rate: f64,
    /// Open or closed loop.
    pub pace: Pace,
    /// How operations follow each other.
    pub arrivals: Arrivals,
    /// Clients.
    pub concurrency: usize,
    /// Those of them that do one operation only.
    pub reserve: Vec<Reserved>,
    /// Nodes.
    pub nodes: usize,
    /// Decides every choice.
    pub seed: u64,
    /// Keys in use at any time.
    pub keys: usize,
    /// How unequal they are.
    pub key_choice: KeyChoice,
    /// Operations after which a key retires.
    pub operations_per_key: u32,
    /// A client's patience.
    pub timeout: Duration,
    /// Whether a violation is no reason to stop.
    pub keep_going: bool,
    /// The planted bug.
    pub bug: Option<String>,
    /// The checker's patience.
    pub check_limit: Duration,
    /// The folder that keeps runs.
    pub store: PathBuf,
}

impl RunConfig {
    /// Checks what was typed; draws a seed where none was given.
    ///
    /// # Errors
    /// When the system file is wrong, a fault is unknown, or things do not fit together.
    pub fn new(args: &RunArgs) -> Result<Self> {
        let system = System::find(&args.system)?;
        let plan = args
            .plan
            .as_deref()
            .map(|path| planned(path, args.time_limit))
            .transpose()?;
        let (typed, mut left_out) = match &plan {
            Some(_) => (Vec::new(), Vec::new()),
            None if args.nemesis.is_empty() => usual(args, &system),
            None => (args.nemesis.clone(), Vec::new()),
        };
        let (families, at_once, leaderless) = match &plan {
            Some((_, plan)) => (
                vec![plan.steps.iter().map(|step| step.fault.clone()).collect()],
                1,
                None,
            ),
            None => families(&typed, &system)?,
        };
        left_out.extend(leaderless);
        let at_once = args.at_once.map_or(at_once, usize::from);
        if let Some(why) = unspeakable(args.workload, &system) {
            bail!(why);
        }
        if args.cluster == ClusterKind::Docker {
            if usize::from(args.nodes) != DOCKER_NODES {
                bail!(
                    "docker-compose.yml has {DOCKER_NODES} nodes: leave --nodes {} away",
                    args.nodes
                );
            }
            if args.net != nemesis::lab::Net::Auto {
                bail!(
                    "containers have a network of their own: leave --net {} away",
                    args.net
                );
            }
            if args.bug.is_some() {
                bail!("the image has no planted bugs: leave --bug or --cluster docker away");
            }
            if system.name != "kvnode" {
                bail!(
                    "docker-compose.yml runs kvnode only: leave --system {} away",
                    args.system
                );
            }
        }
        if args.timeout >= Duration::from_secs(60) {
            bail!(
                "--timeout {:?} is too long: a client waits at most a minute",
                args.timeout
            );
        }
        if args.bug.is_some() && system.node.cargo.is_none() {
            bail!("--bug plants bugs in kvnode only, not in {}", system.name);
        }
        let config = Self {
            system_name: args.system.clone(),
            system,
            workload: args.workload,
            nemesis: typed.into_iter().filter(|name| *name != "none").collect(),
            left_out,
            families,
            plan,
            at_once,
            cluster: args.cluster,
            net: args.net,
            time_limit: args.time_limit,
            rate: args.rate,
            pace: if args.open_loop { Pace::Open } else { Pace::Closed },
            arrivals: args.arrivals,
            concurrency: usize::from(args.concurrency),
            reserve: args.reserve.clone(),
            nodes: usize::from(args.nodes),
            // Short enough to be read over a shoulder and typed again.
            seed: args
                .seed
                .unwrap_or_else(|| rand::make_rng::<rand::rngs::ChaCha12Rng>().random_range(0..1_000_000)),
            keys: usize::from(args.keys),
            key_choice: args.key_distribution,
            operations_per_key: args.ops_per_key,
            timeout: args.timeout,
            keep_going: args.keep_going,
            bug: args.bug.clone(),
            check_limit: args.check_limit,
            store: args.store.clone(),
        };
        if let Err(why) = config.clients() {
            bail!("--reserve {}: {why}", config.reserved());
        }
        Ok(config)
    }

    /// What the clients do, at nobody's pace.
    ///
    /// # Errors
    /// When clients are reserved that there are not, or for what the workload does not do.
    pub fn clients(&self) -> Result<Box<dyn Load>, String> {
        let options = LoadOptions {
            choice: self.key_choice,
            ..LoadOptions::for_system(&self.system, self.seed, self.keys, self.operations_per_key)
        };
        reserve((self.workload.load)(&options), &self.reserve, self.concurrency)
    }

    /// The clients that are reserved, as they are typed.
    fn reserved(&self) -> String {
        let words: Vec<String> = self.reserve.iter().map(Reserved::to_string).collect();
        words.join(",")
    }

    /// The name of the test, as its folder in the store: `kvnode-register`.
    #[must_use]
    pub fn test_name(&self) -> String {
        let mut name = format!("{}-{}", self.system.name, self.workload.name);
        if let Some(bug) = &self.bug {
            name.push_str(&format!("-bug-{bug}"));
        }
        name
    }
}

/// Why the clients of `workload` cannot say to `system` what they would; none where they can.
#[must_use]
pub fn unspeakable(workload: &Workload, system: &System) -> Option<String> {
    if let Some(f) = workload
        .needs
        .iter()
        .find(|f| !system.operation.contains_key(**f))
    {
        return Some(format!(
            "the {} workload needs [operation.{f}] in the file of system {}",
            workload.name, system.name
        ));
    }
    (workload.name == "retries" && !system.operation["append"].can_repeat()).then(|| {
        format!(
            "the retries workload needs a header with {{request}} in [operation.append] of the file of system {}",
            system.name
        )
    })
}

/// Reads a plan of faults that must fit into a load of this length.
fn planned(path: &Path, load: Duration) -> Result<(PathBuf, Plan)> {
    let shown = path.display();
    let text = fs::read_to_string(path).with_context(|| format!("the plan of faults {shown}"))?;
    let plan = Plan::from_json(&text).with_context(|| format!("{shown}"))?;
    if plan.calm_from().0 > load {
        bail!(
            "{shown}: its faults last until {}, longer than the load of {load:?}; give --time-limit more",
            plan.calm_from()
        );
    }
    let path = path.canonicalize().with_context(|| format!("{shown}"))?;
    Ok((path, plan))
}

/// The usual faults, and why some of them are left out.
fn usual(args: &RunArgs, system: &System) -> (Vec<String>, Vec<String>) {
    let (cluster, nodes) = (args.cluster, usize::from(args.nodes));
    let leaderless = !says_who_leads(system);
    let at_leaders =
        |name: &str| faults_named(name).is_some_and(|faults| faults.iter().all(Fault::needs_leader));
    let names = match args.workload.faults {
        Some(name) => vec![name],
        None if cluster == ClusterKind::Docker => DEFAULT_FAULTS.to_vec(),
        None => {
            let more = system.faults.iter().map(String::as_str);
            let more = more.filter(|name| !DEFAULT_FAULTS.contains(name));
            DEFAULT_FAULTS.iter().copied().chain(more).collect()
        }
    };
    let why_not = |name: &str| match name {
        name if leaderless && at_leaders(name) => {
            Some(format!("the file of system {} has no [leader]", system.name))
        }
        name if name.starts_with("partition") && nodes < PARTED => {
            Some(format!("it takes {PARTED} nodes, here are {nodes}"))
        }
        "power-failure" | "torn-write" if cluster == ClusterKind::Docker => {
            Some("containers keep what was not synced when they are killed".to_owned())
        }
        "power-failure" | "torn-write" => {
            let fuse = File::options().read(true).write(true).open(FUSE);
            fuse.err().map(|error| format!("{FUSE}: {error}"))
        }
        // A library is put before the nodes' own, which those that are built without any do not look for.
        name if name.starts_with("clock") && cfg!(target_feature = "crt-static") => {
            Some("programs of this build load no library".to_owned())
        }
        name if name.starts_with("clock") => find_faketime().err().map(|why| why.to_string()),
        _ => None,
    };
    let mut usual = Vec::new();
    let mut left_out = Vec::new();
    for name in names {
        match why_not(name) {
            None => usual.push(name.to_owned()),
            Some(why) => left_out.push(format!("skipped, not passed: {name} ({why})")),
        }
    }
    (usual, left_out)
}

/// Whether anybody can be asked who leads.
fn says_who_leads(system: &System) -> bool {
    system.leader.is_some() || system.requests.leader.is_some()
}

/// A fault of one named node: `partition-n1`, `pause-n2`, `kill-n3`.
fn at_a_node(name: &str) -> Option<Fault> {
    let (kind, node) = name.rsplit_once('-')?;
    let node: NodeId = node.strip_prefix('n')?.parse().ok().map(NodeId::numbered)?;
    let target = Target::Named(vec![node.clone()]);
    Some(match kind {
        "partition" => Fault::Partition {
            shape: Shape::One(Some(node)),
            direction: Direction::Both,
        },
        "pause" => Fault::Pause { target },
        "kill" => Fault::Kill { target },
        _ => return None,
    })
}

/// The faults that the typed names stand for, a family a name, how many may be on at once, and a word where some of
/// them are left out since nobody can say who leads; `none` stands alone.
fn families(typed: &[String], system: &System) -> Result<(Vec<Vec<Fault>>, usize, Option<String>)> {
    if typed == ["none"] {
        return Ok((Vec::new(), 1, None));
    }
    let says_who_leads = says_who_leads(system);
    let mut families: Vec<Vec<Fault>> = Vec::new();
    let mut at_once = 1;
    for (i, name) in typed.iter().enumerate() {
        if typed[..i].contains(name) {
            bail!("fault `{name}` is named twice");
        }
        if let Some(found) = faults_named(name) {
            if !says_who_leads && found.iter().all(Fault::needs_leader) {
                bail!(
                    "fault `{name}` strikes at the leader, and the file of system {} does not say who leads: add \
                     [leader] to it, or take a fault that strikes at anybody",
                    system.name
                );
            }
            families.push(found);
        } else if let Some(preset) = Preset::named(name) {
            families.extend(preset.families());
            at_once = at_once.max(preset.at_once);
        } else if let Some(fault) = at_a_node(name) {
            families.push(vec![fault]);
        } else {
            let meant = nearest(name, FAULT_NAMES)
                .map_or(String::new(), |meant| format!(" (did you mean `{meant}`?)"));
            bail!("unknown fault `{name}`{meant}; `workloads list` names all, and `none` means none");
        }
    }
    let planned: usize = families.iter().map(Vec::len).sum();
    if !says_who_leads {
        families
            .iter_mut()
            .for_each(|family| family.retain(|fault| !fault.needs_leader()));
        families.retain(|family| !family.is_empty());
    }
    let left_out = planned - families.iter().map(Vec::len).sum::<usize>();
    let leaderless = (left_out > 0).then(|| {
        format!(
            "skipped, not passed: {left_out} faults that strike at the leader (the file of system {} has no [leader])",
            system.name
        )
    });
    Ok((families, at_once, leaderless))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{Cli, Command};
    use clap::Parser;

    fn config(words: &[String]) -> RunConfig {
        let words = [&["workloads".to_owned()], words].concat();
        match Cli::try_parse_from(words).expect("understood").command {
            Some(Command::Run(args)) => RunConfig::new(&args).expect("fits together"),
            _ => panic!("a run"),
        }
    }

    #[test]
    fn the_arguments_of_a_run_give_the_same_run() {
        let folder = tempfile::tempdir().expect("a folder");
        let plan = folder.path().join("it's a plan.json");
        let text = r#"{"seed":1,"length":"5s","steps":[
            {"at":"1s","fault":{"fault":"kill","target":"one"},"lasting":"2s","recovery":"0s"}]}"#;
        fs::write(&plan, text).expect("written");
        let plan = plan.to_str().expect("text");
        let cases: [&[&str]; 5] = [
            &["--nemesis", "none"],
            &[
                "--arrivals",
                "burst:50",
                "--reserve",
                "4:get,1:set",
                "--key-distribution",
                "zipf:1.1",
            ],
            &[
                "--nemesis",
                "kill,pause",
                "--at-once",
                "2",
                "--keep-going",
                "--net",
                "switch",
            ],
            &["--plan", plan, "--bug", "no-fsync", "--check-limit", "90"],
            &[
                "--workload",
                "append",
                "--open-loop",
                "--rate",
                "0.5",
                "--timeout",
                "1500ms",
                "--nemesis",
                "kill",
            ],
        ];
        for words in cases {
            let words: Vec<String> = ["run", "--seed", "7", "--time-limit", "3.5s"]
                .iter()
                .chain(words)
                .map(|word| (*word).to_owned())
                .collect();
            let first = config(&words);
            let second = config(&first.arguments());
            assert_eq!(first.to_toml(), second.to_toml(), "{words:?}");
            assert_eq!(first.settings(), second.settings(), "{words:?}");
            assert_eq!(first.families, second.families, "{words:?}");
            assert_eq!(
                (first.at_once, first.keep_going, first.net),
                (second.at_once, second.keep_going, second.net)
            );
        }
    }

    #[test]
    fn a_run_that_names_no_faults_has_the_usual_ones_and_those_of_the_systems_file() {
        let given = |words: &[&str]| {
            let config = config(&[&names(&["run"]), &names(words)[..]].concat());
            let skipped = config.left_out.into_iter().filter_map(|note| {
                let (_, name) = note.split_once("skipped, not passed: ")?;
                Some(name.split(' ').next().expect("a name").to_owned())
            });
            let mut names: Vec<String> = skipped.chain(config.nemesis).collect();
            names.sort_unstable();
            names
        };
        let of_kvnode = System::find("kvnode").expect("shipped").faults;
        assert!(!of_kvnode.is_empty());
        let mut all = [names(DEFAULT_FAULTS), of_kvnode].concat();
        all.sort_unstable();
        assert_eq!(given(&[]), all);
        assert!(all.len() <= 15, "each must come in thirty seconds");
        let mut usual = names(DEFAULT_FAULTS);
        usual.sort_unstable();
        assert_eq!(given(&["--cluster", "docker"]), usual);
        assert_eq!(given(&["--system", "etcd"]), usual);
        assert_eq!(given(&["--nemesis", "kill"]), ["kill"]);
        assert_eq!(given(&["--workload", "churn"]), ["membership"]);
    }

    #[test]
    fn what_shapes_the_load_is_told_and_what_cannot_be_is_refused() {
        let typed = |words: &[&str]| names(&[&["run", "--workload", "register"], words].concat());
        let shaped = typed(&[
            "--arrivals",
            "burst:50",
            "--reserve",
            "4:get",
            "--key-distribution",
            "zipf",
            "--rate",
            "10",
        ]);
        let settings: std::collections::BTreeMap<String, String> =
            config(&shaped).settings().into_iter().collect();
        assert_eq!(
            settings["rate"],
            "10 operations a second, closed loop, in bursts of 50"
        );
        assert_eq!(settings["clients"], "30, of them 4:get only");
        assert_eq!(settings["keys"], "10 at a time, 400 operations each, zipf:1");
        let words = [vec!["workloads".to_owned()], typed(&["--reserve", "31:get"])].concat();
        let Some(Command::Run(args)) = Cli::try_parse_from(words).expect("understood").command else {
            panic!("a run")
        };
        let refused = RunConfig::new(&args).expect_err("too many");
        assert!(refused.to_string().starts_with("--reserve 31:get: "), "{refused}");
    }

    fn names(words: &[&str]) -> Vec<String> {
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    #[test]
    fn nobody_strikes_at_a_leader_whom_nobody_can_name() {
        let knows = System::find("kvnode").expect("shipped");
        let mut silent = knows.clone();
        (silent.leader, silent.requests.leader) = (None, None);
        for typed in [names(&["partition", "pause"]), names(&["hostile"])] {
            let (all, _, nothing) = families(&typed, &knows).expect("known");
            assert!(all.iter().flatten().any(Fault::needs_leader), "{typed:?}");
            assert_eq!(nothing, None);
            let (some, _, said) = families(&typed, &silent).expect("known");
            assert!(
                !some.is_empty() && !some.iter().flatten().any(Fault::needs_leader),
                "{some:?}"
            );
            assert!(some.iter().all(|family| !family.is_empty()), "{some:?}");
            let said = said.expect("said");
            assert!(
                said.starts_with("skipped, not passed: ") && said.contains("no [leader]"),
                "{said}"
            );
        }
        assert!(families(&names(&["pause-leader"]), &knows).is_ok());
        let error = families(&names(&["pause", "pause-leader"]), &silent).expect_err("asked for by name");
        assert!(error.to_string().contains("add [leader] to it"), "{error}");
    }
}

//! The cluster as plain processes in the lab.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::{Context, Result};
use nemesis::cluster_file::BackendKind;
use nemesis::lab::{self, Forwarding, Lab, LabOptions, NodeSpec, Seat};
use nemesis::{Ability, Fault, NodeId};

use super::{Cluster, Kind, Member};
use crate::binary::Binary;
use crate::store::RunDir;
use crate::system::{Bindings, System, Template};

/// Enters the lab; see [`lab::enter`]. To be called before any thread is started.
///
/// # Errors
/// When this machine does not allow it; says what would.
pub fn enter() -> Result<Seat> {
    lab::enter().context("the lab cannot be entered (`nemesis doctor` says more)")
}

/// The folder of a node's data, in the node's own folder.
pub(super) const DATA: &str = "data";

/// What a lab cluster is made from.
#[derive(Debug)]
pub struct LabPlan<'a> {
    /// The store.
    pub system: &'a System,
    /// Its program.
    pub binary: &'a Binary,
    /// The planted bug that it is to show.
    pub bug: Option<&'a str>,
    /// How many nodes.
    pub nodes: usize,
    /// The folder of the run.
    pub dir: &'a RunDir,
    /// Decides what the switch and the nemesis choose.
    pub seed: u64,
    /// What carries packets between the nodes.
    pub net: lab::Net,
    /// Port of the first node on the host's loopback, the others follow; any free ones where none is given.
    pub host_port: Option<u16>,
    /// The faults that it may have to bear.
    pub faults: &'a [Fault],
    /// Process id of the outermost process, for `cluster.json`.
    pub owner: u32,
}

impl Cluster {
    /// Starts a cluster in the lab; returns when its processes run, not when they are ready.
    ///
    /// # Errors
    /// When the machine lacks something or a node does not start.
    pub fn start_lab(seat: Seat, plan: &LabPlan<'_>) -> Result<Self> {
        let ids: Vec<NodeId> = (1..=plan.nodes).map(NodeId::numbered).collect();
        let specs = ids
            .iter()
            .enumerate()
            .map(|(place, id)| spec(plan, &ids, place, id));
        let specs = specs.collect::<Result<Vec<NodeSpec>>>()?;
        let logs: Vec<PathBuf> = specs.iter().map(|spec| spec.log.clone()).collect();
        // Both cost something, so only where faults want them.
        let wants =
            |abilities: &[Ability]| plan.faults.iter().any(|fault| abilities.contains(&fault.needs()));
        let options = LabOptions {
            seed: plan.seed,
            net: plan.net,
            simulated_disks: wants(&[Ability::Disk, Ability::PowerFailure]),
            fake_clocks: wants(&[Ability::Clock]),
            ..LabOptions::default()
        };
        let lab = Lab::start(seat, &options, specs)?;
        let members = ids.iter().zip(logs).enumerate().map(|(place, (id, log))| {
            let address = lab::address_of(place);
            Member {
                id: id.clone(),
                address: address.to_string(),
                client: SocketAddr::from((address, plan.system.node.port)),
                host: lab.forwarded(id, plan.system.node.port),
                log: Some(log),
            }
        });
        let members = members.collect();
        let stops = match &plan.system.node.stop {
            Some(words) => stops(plan, &ids, words)?,
            None => Vec::new(),
        };
        let backend = Box::new(lab.backend());
        let parts = super::Parts {
            kind: Kind::Lab(lab),
            backend,
            backend_kind: BackendKind::Lab,
            members,
            stops,
            seed: plan.seed,
            owner: plan.owner,
        };
        Self::assemble(parts, plan.system, plan.dir)
    }
}

fn spec(plan: &LabPlan<'_>, ids: &[NodeId], place: usize, id: &NodeId) -> Result<NodeSpec> {
    let node = &plan.system.node;
    let dir = plan
        .dir
        .node(id.as_str())
        .with_context(|| format!("the folder of node {id}"))?;
    let bound = bindings(plan, ids, place, id, &dir);
    for (name, text) in &node.files {
        let path = dir.join(name);
        std::fs::write(&path, text.fill(&bound))
            .with_context(|| format!("cannot write {} of node {id}", path.display()))?;
    }
    std::fs::create_dir_all(dir.join(DATA)).with_context(|| format!("the data folder of node {id}"))?;
    let mut words = node.command.iter().map(|word| OsString::from(word.fill(&bound)));
    let program = PathBuf::from(words.next().expect("a checked system file names a program"));
    let mut args: Vec<OsString> = words.collect();
    if let Some(bug) = plan.bug {
        args.extend(["--bug".into(), bug.into()]);
    }
    let env = node
        .env
        .iter()
        .map(|(name, value)| (name.into(), value.fill(&bound).into()))
        .collect();
    let host_port = plan.host_port.map_or(0, |first| first + place as u16);
    let forward = vec![Forwarding {
        port: node.port,
        host_port,
    }];
    Ok(NodeSpec {
        id: id.clone(),
        program,
        args,
        env,
        log: dir.join("node.log"),
        data: dir.join(DATA),
        dir,
        forward,
    })
}

/// The command that asks each node to stop.
fn stops(plan: &LabPlan<'_>, ids: &[NodeId], words: &[Template]) -> Result<Vec<Vec<String>>> {
    let each = ids.iter().enumerate().map(|(place, id)| {
        let dir = plan.dir.node(id.as_str())?;
        let bound = bindings(plan, ids, place, id, &dir);
        Ok(words.iter().map(|word| word.fill(&bound)).collect())
    });
    each.collect()
}

/// What the placeholders of a node's texts stand for.
pub(super) fn bindings<'a>(
    plan: &'a LabPlan<'_>,
    ids: &[NodeId],
    place: usize,
    id: &NodeId,
    dir: &std::path::Path,
) -> Bindings<'a> {
    let node = &plan.system.node;
    let params = plan.system.params.iter();
    let common = |place: usize, id: &NodeId| {
        let params = params.clone().fold(Bindings::new(), |bindings, (name, text)| {
            bindings.text(name, text)
        });
        params
            .text("node", id.as_str())
            .text("address", lab::address_of(place).to_string())
            .text("index", (place + 1).to_string())
    };
    let member = |member: &Template| {
        let written = (0..).zip(ids).map(|(place, id)| member.fill(&common(place, id)));
        written.collect::<Vec<_>>().join(&node.separator)
    };
    let members = node.member.as_ref().map_or_else(String::new, member);
    common(place, id)
        .text(
            "here",
            plan.system
                .here
                .as_deref()
                .unwrap_or(std::path::Path::new("."))
                .to_string_lossy(),
        )
        .text("program", plan.binary.path.to_string_lossy())
        .text("data", dir.join(DATA).to_string_lossy())
        .text("first", lab::address_of(0).to_string())
        .text("nodes", ids.len().to_string())
        .text("members", members)
}

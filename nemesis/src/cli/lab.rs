//! `nemesis lab`: any program on every node of a lab, to play with.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::sync::Arc;

use anyhow::Context as _;
use nix::sys::signal::{SigSet, Signal};
use parking_lot::Mutex;

use super::args::LabArgs;
use super::bad;
use crate::cluster_file::{BackendKind, ClusterFile, ClusterNode, JOURNAL_NAME};
use crate::control::Server;
use crate::keeper::Keeper;
use crate::lab::{self, Forwarding, Lab, LabOptions, MAX_NODES, NodeSpec, address_of};
use crate::nemesis::Nemesis;
use crate::node::NodeId;
use crate::record::Record;
use crate::requests::Requests;

/// Enters a lab and stays until a signal ends it.
pub(super) fn run(args: &LabArgs) -> anyhow::Result<bool> {
    if args.nodes == 0 || args.nodes > MAX_NODES {
        return Err(bad(format!(
            "--nodes {} is not from 1 to {MAX_NODES}",
            args.nodes
        )));
    }
    std::fs::create_dir_all(&args.dir).with_context(|| format!("making {}", args.dir.display()))?;
    let owner = std::process::id();
    let seat = lab::enter().map_err(bad)?;
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
        .without_time()
        .init();
    // Before any thread is started, so that no other takes the signal.
    let mut ends = SigSet::empty();
    [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP]
        .into_iter()
        .for_each(|signal| ends.add(signal));
    ends.thread_block()?;

    let options = LabOptions {
        seed: args.seed,
        net: args.net,
        simulated_disks: args.disks,
        fake_clocks: args.clocks,
        ..LabOptions::default()
    };
    let lab = Lab::start(seat, &options, specs(args)?).map_err(|error| match error {
        lab::LabError::Start(_) | lab::LabError::Port { .. } | lab::LabError::Unsupported(_) => bad(error),
        other => other.into(),
    })?;
    let nemesis = Nemesis::new(Box::new(lab.backend()), &args.dir.join(JOURNAL_NAME), args.seed)
        .map_err(|error| bad(&error))?;
    let mut nemesis = nemesis;
    let watched = lab.clone();
    nemesis.observe(move |record| match record {
        Record::Crashed { node, status } => {
            let how = status.map_or_else(String::new, |status| format!(" ({status})"));
            crate::complain!("{node} died without being told to{how}");
            watched
                .log_tail(node, 5)
                .iter()
                .for_each(|line| crate::complain!("  {node} | {line}"));
        }
        Record::Trouble { message } => crate::complain!("{message}"),
        _ => {}
    });
    let nemesis = Arc::new(Mutex::new(nemesis));
    // What an earlier lab left in the journal ended with that lab.
    nemesis.lock().heal()?;
    let keeper = Keeper::start(Arc::clone(&nemesis))?;
    let server = Server::start(&args.dir, Arc::clone(&nemesis))?;
    let file = cluster_file(args, &lab, owner).write(&args.dir)?;
    for node in lab.nodes() {
        let ports: Vec<String> = args
            .port
            .iter()
            .filter_map(|port| Some(format!("{port} at {}", lab.forwarded(node, *port)?)))
            .collect();
        crate::say!(
            "{node} {} {}",
            lab.address(node).expect("a node of this lab"),
            ports.join(", ")
        );
    }
    crate::say!(
        "ready; nemesis --cluster {} finds it; Ctrl-C ends it",
        args.dir.display()
    );
    ends.wait()?;
    let _ = std::fs::remove_file(file);
    drop(server);
    drop(keeper);
    lab.stop();
    Ok(true)
}

fn specs(args: &LabArgs) -> anyhow::Result<Vec<NodeSpec>> {
    let (program, rest) = args.command.split_first().context("no program")?;
    let nodes: Vec<NodeId> = (1..=args.nodes).map(NodeId::numbered).collect();
    let names: Vec<&str> = nodes.iter().map(NodeId::as_str).collect();
    let addresses: Vec<String> = (0..args.nodes)
        .map(|place| address_of(place).to_string())
        .collect();
    let folder = std::path::absolute(&args.dir)?;
    let spec = |(place, id): (usize, &NodeId)| -> std::io::Result<NodeSpec> {
        let data = folder.join(id.as_str()).join("data");
        let fill = |text: &String| -> OsString {
            text.replace("{data}", &data.to_string_lossy())
                .replace("{nodes}", &names.join(","))
                .replace("{addresses}", &addresses.join(","))
                .replace("{node}", id.as_str())
                .replace("{address}", &addresses[place])
                .into()
        };
        let forward = |(k, port): (usize, &u16)| {
            let host_port = match args.host_port {
                0 => 0,
                first => first + (k * args.nodes + place) as u16,
            };
            Forwarding {
                port: *port,
                host_port,
            }
        };
        std::fs::create_dir_all(&data)?;
        Ok(NodeSpec {
            id: id.clone(),
            program: program.into(),
            args: rest.iter().map(fill).collect(),
            env: Vec::new(),
            dir: folder.join(id.as_str()),
            data,
            log: folder.join(id.as_str()).join("node.log"),
            forward: args.port.iter().enumerate().map(forward).collect(),
        })
    };
    Ok(nodes.iter().enumerate().map(spec).collect::<Result<_, _>>()?)
}

fn cluster_file(args: &LabArgs, lab: &Lab, owner: u32) -> ClusterFile {
    let ports: BTreeMap<usize, u16> = args.port.iter().copied().enumerate().collect();
    let node = |id: &NodeId| {
        let address = lab.address(id).expect("a node of this lab").to_string();
        let port = ports.get(&0).copied();
        ClusterNode {
            id: id.clone(),
            url: port.map_or_else(String::new, |port| format!("http://{address}:{port}")),
            host_url: port
                .and_then(|port| lab.forwarded(id, port))
                .map(|host| format!("http://{host}")),
            log: lab.log(id).map(Into::into),
            address,
        }
    };
    ClusterFile {
        ordeal: 1,
        backend: BackendKind::Lab,
        system: args.command.first().cloned().unwrap_or_default(),
        owner,
        nodes: lab.nodes().iter().map(node).collect(),
        requests: Requests::default(),
    }
}

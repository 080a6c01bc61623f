//! Does a system file read its store rightly? One node is started and asked everything the file can say.
//!
//! A rule too few turns good answers into unknown ones, and the run into no evidence; a rule that trusts too
//! much turns a write that happened into one that did not, and accuses the innocent. Both are seen here before
//! a run: what the rules make of real answers, and of answers that a store gives on a bad day.

mod bad_day;
mod trial;

use std::net::SocketAddr;

use anyhow::{Context, Result};
use checker::history::Value;
use nemesis::lab::Net;
use nemesis::target::Target;
use nemesis::{Fault, NodeId};

pub use bad_day::too_trusting;
pub use trial::{Trial, trials};

use crate::binary::Binary;
use crate::cli::DoctorArgs;
use crate::client::Client;
use crate::cluster::{self, Cluster, LabPlan};
use crate::generator::Invocation;
use crate::store::RunDir;
use crate::system::{Outcome, System};

/// Something about a system file that should be mended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The operation that it is about.
    pub operation: String,
    /// What is wrong, and what would mend it, in one line.
    pub message: String,
}

impl Finding {
    fn new(operation: &str, message: impl Into<String>) -> Self {
        Self {
            operation: operation.to_owned(),
            message: message.into(),
        }
    }
}

/// Examines `system` on one node, alone or the first of several; returns 0 where nothing is to be mended, else 1.
///
/// # Errors
/// When the node cannot be started: then the file says wrongly how, and the error says what was seen.
pub fn run(args: &DoctorArgs, system: &System) -> Result<u8> {
    let binary = Binary::provide(system, None)?;
    let owner = std::process::id();
    let seat = cluster::enter()?;
    let name = format!("{}-doctor", system.name);
    let dir = RunDir::create(&args.store, &name, jiff::Timestamp::now())?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .context("the tokio runtime")?;
    let plan = LabPlan {
        system,
        binary: &binary,
        bug: None,
        nodes: usize::from(args.nodes),
        dir: &dir,
        seed: 0,
        net: Net::default(),
        host_port: None,
        faults: &[],
        owner,
    };
    let findings = Cluster::start(seat, &plan, &runtime).and_then(|cluster| {
        let findings = runtime.block_on(examine(system, args, &cluster));
        cluster.stop();
        findings
    });
    dir.finish().context("the links of the store")?;
    let findings = findings?;
    for finding in &findings {
        nemesis::say!("  ! [operation.{}] {}", finding.operation, finding.message);
    }
    match findings.len() {
        0 => nemesis::say!("{}: nothing to mend", args.system()),
        1 => nemesis::say!("{}: one thing to mend", args.system()),
        n => nemesis::say!("{}: {n} things to mend", args.system()),
    }
    Ok(u8::from(!findings.is_empty()))
}

/// Everything that can be seen on a node that runs, one that is paused and one that is dead.
async fn examine(system: &System, args: &DoctorArgs, cluster: &Cluster) -> Result<Vec<Finding>> {
    let client = cluster.client(system, args.timeout)?;
    cluster.wait_ready(system, &client).await?;
    cluster
        .set_up(system, &client)
        .await
        .with_context(|| match args.nodes {
            1 => "some stores serve only as several nodes: try --nodes 3",
            _ => "the store was not set up",
        })?;
    match args.nodes {
        1 => nemesis::say!("{}: one node is up and ready", system.name),
        n => nemesis::say!(
            "{}: {n} nodes are up and ready; the first is examined",
            system.name
        ),
    }
    let node = cluster.members.first().context("a cluster of one")?;
    let mut findings = too_trusting(system);
    findings.extend(on_a_node(system, &client, node.client).await);
    let kill = [
        (
            "paused",
            Fault::Pause {
                target: named(&node.id),
            },
        ),
        (
            "dead",
            Fault::Kill {
                target: named(&node.id),
            },
        ),
    ];
    for (state, fault) in kill {
        let nemesis = cluster.nemesis.clone();
        let applied = tokio::task::spawn_blocking(move || nemesis.lock().apply(&fault)).await;
        let applied = applied.context("the nemesis panicked")??;
        findings.extend(when_stopped(system, &client, node.client, state).await);
        let nemesis = cluster.nemesis.clone();
        if state == "paused" {
            let undone = tokio::task::spawn_blocking(move || nemesis.lock().undo(applied.id)).await;
            undone.context("the nemesis panicked")??;
        }
    }
    Ok(findings)
}

fn named(node: &NodeId) -> Target {
    Target::Named(vec![node.clone()])
}

/// Carries the trials out, one after another, and prints each.
pub async fn on_a_node(system: &System, client: &Client, node: SocketAddr) -> Vec<Finding> {
    let mut findings = Vec::new();
    for trial in trials(system) {
        let outcome = client.invoke(system, node, &trial.invocation).await;
        let complaint = trial.complaint(&outcome);
        let mark = match &complaint {
            Some(_) => "!",
            None if trial.is_open(&outcome) => "?",
            None => "✓",
        };
        nemesis::say!("  {mark} {:<44} {}", trial.what, shown(&outcome));
        findings.extend(complaint.map(|message| Finding::new(trial.invocation.f, message)));
    }
    findings
}

/// A node that does not answer: a write may have happened, unless nobody listened.
async fn when_stopped(system: &System, client: &Client, node: SocketAddr, state: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    let asked = ["get", "set"]
        .into_iter()
        .filter(|f| system.operation.contains_key(*f));
    for f in asked {
        let invocation = Invocation::new(
            f,
            "doctor-stopped",
            if f == "get" { Value::Nil } else { Value::Int(1) },
        );
        let outcome = client.invoke(system, node, &invocation).await;
        let complaint = match (&outcome, f) {
            (Outcome::Ok { .. } | Outcome::Mismatch { .. }, _) => Some(format!(
                "a {state} node answered {}: another process serves its port",
                shown(&outcome)
            )),
            (Outcome::Fail { error }, "set") if state == "paused" => Some(format!(
                "a write that a paused node may still do was called a fail: {error}"
            )),
            _ => None,
        };
        let mark = if complaint.is_some() { "!" } else { "✓" };
        nemesis::say!(
            "  {mark} {:<44} {}",
            format!("{f} at a {state} node"),
            shown(&outcome)
        );
        findings.extend(complaint.map(|message| Finding::new(f, message)));
    }
    findings
}

fn shown(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Ok {
            value: Some(value), ..
        } => format!("ok, {value}"),
        Outcome::Ok { value: None, .. } => "ok".to_owned(),
        Outcome::Mismatch { current: Some(value) } => format!("mismatch, it is {value}"),
        Outcome::Mismatch { current: None } => "mismatch".to_owned(),
        Outcome::Fail { error } => format!("fail: {error}"),
        Outcome::Info { error } => format!("info: {error}"),
    }
}

//! What the runner itself costs: `workloads bench`.
//!
//! Two questions, each answered by the path that a run takes: generator, pacing, client, recorder, and the judge
//! that listens.
//!
//! - **How many operations a second?** Clients ask nodes of kvnode in the lab as fast as they can. Where the
//!   processors went is told by thread and by process.
//! - **How much does it add to an operation?** Against stand-ins for nodes (`stand_in`) that note when a request
//!   had arrived and when its answer was written, at a steady rate. What lies between the moment at which an operation
//!   was due and the arrival of its request, and between the answer and the moment at which it was recorded, is the
//!   runner's and the kernel's; the store has no part in it.

mod processors;
mod stand_in;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use checker::history::{Header, History, Nanos};
use hdrhistogram::Histogram;
use tokio::runtime::Runtime;
use tokio::sync::watch;

use super::alarm::AlarmClock;
use super::online;
use super::signals::Signals;
use super::workers::Crew;
use crate::binary::Binary;
use crate::cli::BenchArgs;
use crate::client::Client;
use crate::cluster::{self, Cluster, LabPlan};
use crate::generator::{Pace, Paced, TimeLimit};
use crate::live::{Live, Tally};
use crate::recorder::Recorder;
use crate::store::RunDir;
use crate::system::System;
use crate::workload::{Load, LoadOptions, Workload};
use processors::Usage;
use stand_in::{Seen, StandIns};

/// What the clients do: sets and gets, half and half.
const WORKLOAD: &str = "register";
/// Keys in use at any time.
const KEYS: usize = 64;
/// Operations after which a key retires.
const OPERATIONS_PER_KEY: u32 = 400;
/// How long a client waits for an answer.
const TIMEOUT: Duration = Duration::from_secs(2);

/// Measures both and prints them; returns 0.
///
/// # Errors
/// When there is no cluster, or the harness broke.
pub fn run(args: &BenchArgs) -> Result<u8> {
    let owner = std::process::id();
    let system = System::find("kvnode")?;
    let binary = Binary::provide(&system, None)?;
    let seat = cluster::enter()?;
    let dir = RunDir::create(&args.store, "bench", jiff::Timestamp::now())?;
    let runtime = super::clients_runtime(args.client_threads)?;
    let bench = Bench {
        args,
        system,
        signals: Signals::heed(&runtime, &Arc::new(Live::new(args.time_limit)))?,
        runtime,
    };
    let plan = LabPlan {
        system: &bench.system,
        binary: &binary,
        bug: None,
        nodes: usize::from(args.nodes),
        dir: &dir,
        seed: 1,
        net: args.net,
        host_port: None,
        faults: &[],
        owner,
    };
    let cluster = Cluster::start(seat, &plan, &bench.runtime)?;
    let fastest = bench.fastest(&cluster, &dir.join("fastest.jsonl"));
    cluster.stop();
    dir.release().context("the links of the store")?;
    nemesis::say!("{}", fastest?);
    nemesis::say!("{}", bench.added(&dir.join("added.jsonl"))?);
    Ok(0)
}

struct Bench<'a> {
    args: &'a BenchArgs,
    system: System,
    signals: Signals,
    runtime: Runtime,
}

impl Bench<'_> {
    /// How many operations a second the clients get done, in a sentence.
    fn fastest(&self, cluster: &Cluster, history: &Path) -> Result<String> {
        let client = cluster.client(&self.system, TIMEOUT)?;
        self.runtime.block_on(cluster.wait_ready(&self.system, &client))?;
        let nodes = cluster
            .members
            .iter()
            .map(|member| (member.id.to_string(), member.client));
        let before = Usage::now()?;
        let done = self.load(nodes.collect(), history, None)?;
        let used = Usage::now()?.since(&before);
        let each = |used: Duration| used.as_secs_f64() * 1e6 / done.count as f64;
        let mut text = format!(
            "{} kvnodes in the lab, {} clients as fast as they can: {} operations in {:.1} s, {:.0} a second\n  \
             processors: the runner {:.2} ({:.1} us an operation), the nodes {:.2} ({:.1} us)",
            self.args.nodes,
            self.args.concurrency,
            done.count,
            done.took.as_secs_f64(),
            done.count as f64 / done.took.as_secs_f64(),
            used.ours.as_secs_f64() / done.took.as_secs_f64(),
            each(used.ours),
            used.others.as_secs_f64() / done.took.as_secs_f64(),
            each(used.others),
        );
        for (thread, used) in &used.threads {
            text.push_str(&format!("\n    {thread}: {:.1} us an operation", each(*used)));
        }
        Ok(text)
    }

    /// How much the runner adds to an operation, in a sentence.
    fn added(&self, history: &Path) -> Result<String> {
        let stand_ins = StandIns::start(usize::from(self.args.nodes))?;
        let done = self.load(stand_ins.nodes(), history, Some(self.args.rate))?;
        let seen = stand_ins.end();
        let (whole, before, after) =
            added(&History::open(history, &Default::default())?, done.started, &seen)?;
        let line = |what: &str, histogram: &Histogram<u64>| {
            let at = |q| histogram.value_at_quantile(q) as f64 / 1e3;
            format!(
                "\n  {what}: p50 {:.0} us, p99 {:.0} us, p99.9 {:.0} us, most {:.0} us",
                at(0.5),
                at(0.99),
                at(0.999),
                histogram.max() as f64 / 1e3
            )
        };
        Ok(format!(
            "stand-ins that answer at once, {} operations a second due, {:.0} a second done{}{}{}",
            self.args.rate,
            done.count as f64 / done.took.as_secs_f64(),
            line("what the runner adds", &whole),
            line(
                "of that, from when it was due until the node had the request",
                &before
            ),
            line("and from the answer until it was recorded", &after),
        ))
    }

    /// Has the clients do their load; at `rate` where one is given, due whether they are free or not.
    fn load(&self, nodes: Vec<(String, SocketAddr)>, history: &Path, rate: Option<f64>) -> Result<Done> {
        let workload = Workload::named(WORKLOAD).context("the workload")?;
        let header = Header {
            nodes: nodes.iter().map(|(name, _)| name.clone()).collect(),
            ..Header::for_model(workload.model)
        };
        let live = Arc::new(Live::new(self.args.time_limit));
        let judge = online::judge(&header, None, &live)?;
        let recorder = Arc::new(Recorder::create(history, &header, Some(judge.events))?);
        let tally = Arc::new(Tally::default());
        let _within = self.runtime.enter();
        let mut crew = Crew {
            system: Arc::new(self.system.clone()),
            nodes: nodes.into(),
            client: Client::new(TIMEOUT)?,
            workload,
            recorder: recorder.clone(),
            tally: tally.clone(),
            concurrency: usize::from(self.args.concurrency),
            first_process: 0,
            signals: self.signals.clone(),
            clock: AlarmClock::start().context("a timer to wake the clients")?,
        };
        let options = LoadOptions::for_system(&self.system, 1, KEYS, OPERATIONS_PER_KEY);
        let load: Box<dyn Load> = (workload.load)(&options);
        let end = Nanos(self.args.time_limit.as_nanos() as u64);
        let (_running, never) = watch::channel(false);
        let begun = Instant::now();
        self.runtime.block_on(async {
            match rate {
                Some(rate) => drop(
                    crew.work(TimeLimit::new(Paced::new(load, Pace::Open, rate), end), never)
                        .await?,
                ),
                None => drop(crew.work(TimeLimit::new(load, end), never).await?),
            }
            anyhow::Ok(())
        })?;
        let took = begun.elapsed();
        recorder.flush().context("the history cannot be written")?;
        if let Some(name) = self.signals.came() {
            bail!("{name}: nothing was measured");
        }
        if let Some(violated) = judge.violated.borrow().as_ref() {
            bail!("{violated}, in {}", history.display());
        }
        let counts = tally.counts();
        if counts.ok < counts.total() * 99 / 100 {
            bail!(
                "of {} operations only {} were ok: nothing was measured",
                counts.total(),
                counts.ok
            );
        }
        Ok(Done {
            count: counts.total(),
            took,
            started: recorder.instant(Nanos(0)),
        })
    }
}

/// A load that is over.
struct Done {
    count: u64,
    took: Duration,
    /// When the history's clock began.
    started: Instant,
}

/// What was added to each set, in nanoseconds: in all, before its request arrived, after its answer was written.
fn added(
    history: &History,
    started: Instant,
    seen: &HashMap<(String, String), Seen>,
) -> Result<(Histogram<u64>, Histogram<u64>, Histogram<u64>)> {
    // Up to a minute, to three digits.
    let histogram = || Histogram::<u64>::new_with_bounds(1, 60_000_000_000, 3).context("a histogram");
    let (mut whole, mut before, mut after) = (histogram()?, histogram()?, histogram()?);
    let since =
        |at: Instant| u64::try_from(at.saturating_duration_since(started).as_nanos()).unwrap_or(u64::MAX);
    for operation in history.operations().filter(|operation| operation.f() == "set") {
        let key = operation.key().and_then(|key| key.as_str().map(str::to_owned));
        let Some((key, completed)) = key.zip(operation.completed_at()) else {
            continue;
        };
        let Some(seen) = seen.get(&(key, operation.input().to_string())) else {
            continue;
        };
        let due = operation.intended().unwrap_or(operation.invoked_at());
        let first = since(seen.arrived).saturating_sub(due.0);
        let second = completed.0.saturating_sub(since(seen.answered));
        whole.saturating_record(first + second);
        before.saturating_record(first);
        after.saturating_record(second);
    }
    if whole.len() < 1000 {
        bail!(
            "only {} operations could be followed: nothing was measured",
            whole.len()
        );
    }
    Ok((whole, before, after))
}

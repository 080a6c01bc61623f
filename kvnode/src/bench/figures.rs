//! What an operator feels: how long a start, a leader's death and a restart take, and
//! what data and idle connections cost.

use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::Signal;

use super::load::{self, Http};
use super::servers::Servers;
use crate::env::{clock, fs, net};

/// What can be measured beside the throughput.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Figure {
    /// Sets and gets a second, beside etcd.
    Throughput,
    /// From a node's start to its being ready, alone, with an empty directory.
    Start,
    /// From the SIGKILL of the leader to the next successful write.
    Failover,
    /// A restart with many keys: how long until ready, and how much memory.
    Restart,
    /// What is on disk after many overwrites, beside what is alive.
    Disk,
    /// What idle connections cost in memory.
    Idle,
    /// Elections while there is load and no fault.
    Steady,
    /// How long writes take at half of the rate that there can be, and how far followers
    /// are behind.
    HalfLoad,
    /// How much of the time a client with retries is served while one follower after
    /// another stands still for half of every ten seconds.
    Availability,
}

/// How much of each.
#[derive(Debug, Clone)]
pub struct Amounts {
    /// How often a leader dies, and how often a node is started.
    pub rounds: usize,
    /// Keys that a restarted node has.
    pub keys: usize,
    /// Writes over `OVERWRITTEN` keys.
    pub overwrites: usize,
    /// Idle connections.
    pub idle: usize,
    /// How long load goes on.
    pub load: Duration,
}

/// Connections of a load that fills two processors.
const LOADED: usize = 64;
/// In each of these windows a client with retries must have been served once.
const WINDOW: Duration = Duration::from_millis(100);
/// How long a follower stands still, and then runs.
const STILL: Duration = Duration::from_secs(5);

/// How long the highest rate is looked for.
const MOST: Duration = Duration::from_secs(5);
/// How often a follower is asked how far it is.
const LOOK_AT_LAG: Duration = Duration::from_millis(5);
/// How often the disk is looked at while it fills.
const SAMPLE: Duration = Duration::from_millis(500);
/// Keys that are overwritten again and again.
const OVERWRITTEN: usize = 1_000_000;
/// Bytes of a key and its value that is filled in, roughly.
const ALIVE_BYTES: usize = 64 + 11;

impl Figure {
    /// How it is measured, and what it does not say.
    pub(super) fn method(self) -> &'static str {
        match self {
            Figure::Throughput => {
                "three nodes of each store on loopback, started fresh, fsync on; 64-byte values over 1,000 keys; closed \
                 loop, one request under way per connection, all to the leader; kvnode over HTTP/1.1, etcd over gRPC; \
                 turns alternate. Client and servers share this machine's processors, and a closed loop does not \
                 charge a stalled server for what it kept from being sent"
            }
            Figure::Start => {
                "from the start of one process with an empty directory to its first 200 at /ready"
            }
            Figure::Failover => {
                "SIGKILL of the leader of three, then one client that asks a survivor again every ms; default timings; \
                 no load beside it"
            }
            Figure::Restart => "three nodes, filled over 128 connections; a follower is killed and started",
            Figure::Disk => {
                "three nodes, written over 128 connections as fast as they answer; allocated blocks of all files of a \
                 node, every 500 ms and at the end; alive is 64 bytes and a key of about 11 for every key written"
            }
            Figure::Idle => {
                "resident memory of the largest node before and after so many connections that ask nothing"
            }
            Figure::Steady => {
                "three nodes, sets over 64 connections without a pause; elections are the growth of the term. What \
                 else runs on the machine counts against it"
            }
            Figure::HalfLoad => {
                "three nodes; the most that 64 connections get in 5 s, then half of it at a steady rate, each set \
                 counted from when it was due; beside it one client sets a key every 5 ms and asks both followers at \
                 once for a state with that index: how long after the acknowledgement the later one answers"
            }
            Figure::Availability => {
                "three nodes; one follower after the other stands still (SIGSTOP) for 5 s of every 10; one client at \
                 the leader, some 20 sets a window of 100 ms. A follower that stands still takes its disk along, \
                 which a network cut would not"
            }
        }
    }
}

/// Measures one figure and says it in a line.
///
/// # Errors
/// When nodes do not start, or do not answer.
pub(super) async fn figure(figure: Figure, amounts: &Amounts, folder: &Path) -> anyhow::Result<String> {
    match figure {
        Figure::Throughput => Ok(String::new()),
        Figure::Start => start(amounts.rounds, folder).await,
        Figure::Failover => failover(amounts.rounds, folder).await,
        Figure::Restart => restart(amounts.keys, folder).await,
        Figure::Disk => disk(amounts.overwrites, folder).await,
        Figure::Idle => idle(amounts.idle, folder).await,
        Figure::Steady => steady(amounts.load, folder).await,
        Figure::HalfLoad => half_load(amounts.load, folder).await,
        Figure::Availability => availability(amounts.load, folder).await,
    }
}

async fn start(rounds: usize, folder: &Path) -> anyhow::Result<String> {
    let mut took = Vec::new();
    for round in 0..rounds {
        let begun = clock::now();
        let mut servers = Servers::kvnodes(&folder.join(format!("start-{round}")), 1)?;
        servers.ready(0).await?;
        took.push(begun.elapsed());
    }
    Ok(format!("start to ready, one node: {}", spread(took)))
}

async fn failover(rounds: usize, folder: &Path) -> anyhow::Result<String> {
    let mut servers = Servers::kvnode(&folder.join("failover")).await?;
    let mut took = Vec::new();
    for round in 0..rounds {
        let leader = servers.find_leader().await?;
        // One of those that are left; it waits for the new leader, if it is not that itself.
        let survivor = servers.address((leader + 1 + round % 2) % 3);
        let mut client = Http::open(&survivor).await?;
        client.get("/set?key=failover&value=before".to_owned()).await?;
        let begun = clock::now();
        servers.kill(leader)?;
        while client
            .get(format!("/set?key=failover&value={round}"))
            .await
            .is_err()
        {
            anyhow::ensure!(
                begun.elapsed() < Duration::from_secs(30),
                "no write within 30 s of the leader's death"
            );
            clock::sleep(Duration::from_millis(1)).await;
        }
        took.push(begun.elapsed());
        servers.start(leader).await?;
    }
    Ok(format!(
        "SIGKILL of the leader to the next write: {}",
        spread(took)
    ))
}

async fn restart(keys: usize, folder: &Path) -> anyhow::Result<String> {
    let mut servers = Servers::kvnode(&folder.join("restart")).await?;
    let leader = servers.find_leader().await?;
    load::fill(&servers.address(leader), 0, keys, keys).await?;
    let full = servers.memory_mb();
    let node = (leader + 1) % 3;
    servers.kill(node)?;
    let begun = clock::now();
    servers.start(node).await?;
    let took = begun.elapsed();
    Ok(format!(
        "{keys} keys of 64 bytes: restart to ready in {:.2} s; memory before {full} MB, after {} MB",
        took.as_secs_f64(),
        servers.memory_mb()
    ))
}

async fn disk(overwrites: usize, folder: &Path) -> anyhow::Result<String> {
    let mut servers = Servers::kvnode(&folder.join("disk")).await?;
    let leader = servers.find_leader().await?;
    let address = servers.address(leader);
    let (begun, mut most, mut memory) = (clock::now(), 0, 0);
    let filling = load::fill(&address, 0, overwrites, OVERWRITTEN);
    tokio::pin!(filling);
    loop {
        tokio::select! {
            filled = &mut filling => break filled?,
            () = clock::sleep(SAMPLE) => {
                for node in 0..3 {
                    most = most.max(fs::bytes_below(&servers.data(node))?);
                }
                memory = memory.max(servers.memory_mb());
            }
        }
    }
    let took = begun.elapsed().as_secs_f64();
    let alive = OVERWRITTEN.min(overwrites) * ALIVE_BYTES;
    let bytes = fs::bytes_below(&servers.data(leader))?;
    let times = |bytes: u64| bytes as f64 / alive.max(1) as f64;
    Ok(format!(
        "{overwrites} writes over {OVERWRITTEN} keys in {took:.0} s: {:.1} MB on disk ({:.1} times), at most {:.1} MB \
         ({:.1} times), {:.1} MB alive; memory {} MB, at most {memory} MB",
        bytes as f64 / 1e6,
        times(bytes),
        most as f64 / 1e6,
        times(most),
        alive as f64 / 1e6,
        servers.memory_mb()
    ))
}

async fn idle(connections: usize, folder: &Path) -> anyhow::Result<String> {
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).context("the limit of open files")?;
    // Inherited by the nodes.
    setrlimit(Resource::RLIMIT_NOFILE, most, most).context("the limit of open files")?;
    let mut servers = Servers::kvnode(&folder.join("idle")).await?;
    let leader = servers.find_leader().await?;
    let (address, before) = (servers.address(leader), servers.memory_mb());
    let mut open = Vec::new();
    for number in 0..connections {
        let connection = net::connect(&address).await;
        open.push(connection.with_context(|| format!("connection {number} of {connections}"))?);
    }
    // All are accepted before this one is answered.
    let mut client = Http::open(&address).await?;
    client.get("/set?key=idle&value=x".to_owned()).await?;
    let after = servers.memory_mb();
    Ok(format!(
        "{} idle connections: {} MB more ({before} MB before, {after} MB with them)",
        open.len(),
        after.saturating_sub(before)
    ))
}

async fn steady(load: Duration, folder: &Path) -> anyhow::Result<String> {
    let servers = Servers::kvnode(&folder.join("steady")).await?;
    let before = servers.term().await?;
    let turn = load::turn(servers.target(), load::Kind::Set, LOADED, load).await?;
    let elections = servers.term().await? - before;
    Ok(format!(
        "{} s of full load ({LOADED} connections, {:.0} sets a second, p99 {:.1} ms, {} errors): {elections} elections",
        load.as_secs(),
        turn.count as f64 / turn.took.as_secs_f64(),
        turn.p99.as_secs_f64() * 1e3,
        turn.errors
    ))
}

async fn half_load(load: Duration, folder: &Path) -> anyhow::Result<String> {
    let mut servers = Servers::kvnode(&folder.join("half-load")).await?;
    let leader = servers.find_leader().await?;
    let most = load::turn(servers.target(), load::Kind::Set, LOADED, MOST).await?;
    let rate = most.count as f64 / most.took.as_secs_f64() / 2.0;
    let address = servers.address(leader);
    let followers = [1, 2].map(|step| servers.address((leader + step) % 3));
    let (paced, lags) = tokio::join!(
        load::paced(&address, rate, LOADED, load),
        lags(&address, &followers, load)
    );
    let ((took, failed), lags) = (paced?, lags?);
    Ok(format!(
        "{rate:.0} sets a second for {} s, half of the most ({failed} failed): acknowledged {}; applied by both \
         followers after {}",
        load.as_secs(),
        tail(took),
        tail(lags)
    ))
}

/// How long after a write was acknowledged both followers had applied it, again and again.
async fn lags(leader: &str, followers: &[String; 2], load: Duration) -> anyhow::Result<Vec<Duration>> {
    let mut writer = Http::open(leader).await?;
    let [one, other] = followers;
    let (mut one, mut other) = (Http::open(one).await?, Http::open(other).await?);
    let (begun, mut lags) = (clock::now(), Vec::new());
    while begun.elapsed() < load {
        let answer = writer.ask("/set?key=lag&value=x".to_owned()).await?;
        let acknowledged = clock::now();
        let answer: serde_json::Value = serde_json::from_slice(&answer).context("an answer")?;
        let target = format!("/get?key=lag&level=stale&min_index={}", answer["index"]);
        let (one, other) = tokio::join!(one.get(target.clone()), other.get(target));
        one.and(other).context("a follower")?;
        lags.push(acknowledged.elapsed());
        clock::sleep(LOOK_AT_LAG).await;
    }
    Ok(lags)
}

async fn availability(load: Duration, folder: &Path) -> anyhow::Result<String> {
    let mut servers = Servers::kvnode(&folder.join("availability")).await?;
    let leader = servers.find_leader().await?;
    let before = servers.term().await?;
    let mut client = Http::open(&servers.address(leader)).await?;
    let begun = clock::now();
    let (mut windows, mut served, mut longest, mut last) = (0_u64, 0_u64, Duration::ZERO, begun);
    let mut still = None;
    while begun.elapsed() < load {
        let phase = begun.elapsed().as_secs() / STILL.as_secs();
        let follower = (leader + 1 + (phase / 2) as usize % 2) % 3;
        match (phase % 2, still) {
            (1, None) => {
                servers.signal(follower, Signal::SIGSTOP)?;
                still = Some(follower);
            }
            (0, Some(stopped)) => {
                servers.signal(stopped, Signal::SIGCONT)?;
                still = None;
            }
            _ => {}
        }
        let window = clock::now() + WINDOW;
        let mut any = false;
        while let Some(left) = window.checked_duration_since(clock::now()) {
            let asked = client.get("/set?key=available&value=x".to_owned());
            match clock::timeout(left, asked).await {
                Ok(Ok(())) => {
                    any = true;
                    longest = longest.max(last.elapsed());
                    last = clock::now();
                    // A steady client, not a load: some twenty requests a window.
                    clock::sleep(WINDOW / 20).await;
                }
                // What was under way is lost with its connection.
                Ok(Err(_)) | Err(_) => client = Http::open(&servers.address(leader)).await?,
            }
        }
        windows += 1;
        served += u64::from(any);
    }
    if let Some(stopped) = still {
        servers.signal(stopped, Signal::SIGCONT)?;
    }
    Ok(format!(
        "a follower still for 5 s of every 10, {} s: served in {:.3}% of {windows} windows of 100 ms, \
         longest gap {:.0} ms, {} elections",
        load.as_secs(),
        served as f64 * 100.0 / windows.max(1) as f64,
        longest.as_secs_f64() * 1e3,
        servers.term().await? - before
    ))
}

/// Median, 99th percentile and worst of many durations.
fn tail(mut took: Vec<Duration>) -> String {
    took.sort_unstable();
    let [p50, p99, worst] = [0.5, 0.99, 1.0].map(|share| at(&took, share));
    format!(
        "p50 {p50:.1} ms, p99 {p99:.1} ms, worst {worst:.1} ms of {}",
        took.len()
    )
}

/// The one of some sorted durations below which this share of them lies, ms; 0 of none.
fn at(sorted: &[Duration], share: f64) -> f64 {
    let place = (sorted.len() as f64 * share) as usize;
    sorted
        .get(place.min(sorted.len().saturating_sub(1)))
        .map_or(0.0, |took| took.as_secs_f64() * 1e3)
}

/// Median, 90th percentile and worst of some durations.
fn spread(mut took: Vec<Duration>) -> String {
    took.sort_unstable();
    let [median, p90, worst] = [0.5, 0.9, 1.0].map(|share| at(&took, share));
    format!(
        "median {median:.0} ms, p90 {p90:.0} ms, worst {worst:.0} ms of {}",
        took.len()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spread_is_of_what_was_measured() {
        let took = (1..=10).rev().map(Duration::from_millis).collect();
        assert_eq!(spread(took), "median 6 ms, p90 10 ms, worst 10 ms of 10");
        let many = (1..=1000).map(Duration::from_micros).collect();
        assert_eq!(tail(many), "p50 0.5 ms, p99 1.0 ms, worst 1.0 ms of 1000");
        assert_eq!(spread(Vec::new()), "median 0 ms, p90 0 ms, worst 0 ms of 0");
    }
}

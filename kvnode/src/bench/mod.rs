//! `kvnode bench`: this store beside etcd, on this machine, in one run.
//!
//! Method: three nodes of each on loopback, fsync on, started fresh; 64-byte values
//! over 1,000 keys; closed loop, one request under way per connection, all connections
//! to the leader; kvnode over HTTP/1.1, etcd over gRPC (its native protocol; its JSON
//! gateway is slower). Stores take turns for each figure, so that other load on the
//! machine hits both. CPU is the servers' alone, memory is what they hold at the end
//! of the turn.
//!
//! Other figures (see [`Figure`]) are kvnode's alone.
//!
//! Caveats: client and servers share the machine's processors; a closed loop does not
//! charge a stalled server for the requests that it kept from being sent.

mod figures;
mod grpc;
mod load;
mod servers;

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use figures::{Amounts, Figure};
use load::{Kind, Turn};
use servers::Servers;

/// What to measure.
#[derive(Debug, Clone)]
pub struct Plan {
    /// How long each turn lasts.
    pub turn: Duration,
    /// Numbers of connections.
    pub connections: Vec<usize>,
    /// etcd's binary; left out if it cannot be started.
    pub etcd: PathBuf,
    /// What to measure, in this order.
    pub figures: Vec<Figure>,
    /// How much of it.
    pub amounts: Amounts,
}

/// What is called with each line as it is known; its failure ends the measuring.
pub type Tell<'a> = &'a mut dyn FnMut(&str) -> anyhow::Result<()>;

/// Measures, telling each line as it is known, and returns the whole table.
///
/// # Errors
/// When kvnode's own cluster cannot be started; what `tell` says.
pub async fn bench(plan: &Plan, tell: Tell<'_>) -> anyhow::Result<String> {
    let folder = tempfile::tempdir()?;
    let mut all = String::new();
    for &figure in &plan.figures {
        tell(&format!("method: {}", figure.method()))?;
        let found = match figure {
            Figure::Throughput => throughput(plan, folder.path(), tell).await?,
            other => {
                let line = figures::figure(other, &plan.amounts, folder.path()).await?;
                tell(&line)?;
                line
            }
        };
        let _ = writeln!(all, "{found}");
    }
    Ok(all)
}

/// The table of sets and gets, beside etcd.
async fn throughput(plan: &Plan, folder: &Path, tell: Tell<'_>) -> anyhow::Result<String> {
    let ours = Servers::kvnode(folder).await?;
    let theirs = match Servers::etcd(&plan.etcd, folder).await {
        Ok(servers) => Some(servers),
        Err(error) => {
            tell(&format!("without etcd: {error:#}"))?;
            None
        }
    };
    let mut table = String::new();
    let mut line = |text: String| {
        let _ = writeln!(table, "{text}");
        tell(&text)
    };
    line("| store | operation | connections | per second | p50 ms | p99 ms | CPU us/op | MB |".to_owned())?;
    line("|---|---|---|---|---|---|---|---|".to_owned())?;
    for kind in [Kind::Set, Kind::Get] {
        for &connections in &plan.connections {
            let mut rates = Vec::new();
            for servers in std::iter::once(&ours).chain(&theirs) {
                let before = servers.cpu();
                let Turn {
                    count,
                    errors,
                    p50,
                    p99,
                    took,
                } = load::turn(servers.target(), kind, connections, plan.turn).await?;
                let rate = count as f64 / took.as_secs_f64();
                let cpu = (servers.cpu() - before).as_micros() as f64 / count.max(1) as f64;
                rates.push(rate);
                let (p50, p99) = (p50.as_secs_f64() * 1e3, p99.as_secs_f64() * 1e3);
                line(format!(
                    "| {} | {kind:?} | {connections} | {rate:.0} | {p50:.2} | {p99:.2} | {cpu:.0} | {} |",
                    servers.name(),
                    servers.memory_mb()
                ))?;
                if errors > 0 {
                    line(format!(
                        "| {} | {kind:?} | {connections} | {errors} errors | | | | |",
                        servers.name()
                    ))?;
                }
            }
            if let [ours, theirs] = rates[..] {
                line(format!(
                    "| ratio | {kind:?} | {connections} | {:.1} x | | | | |",
                    ours / theirs
                ))?;
            }
        }
    }
    Ok(table)
}

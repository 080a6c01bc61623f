//! Flags, environment and file, with one precedence: a flag beats its variable, which
//! beats the file, which beats the default.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::{Args, Parser, Subcommand, ValueEnum};
use hyper::Method;
use serde::Deserialize;
use serde_json::json;

use crate::bench::Figure;
use crate::cluster::ClusterSpec;
use crate::config::Config;
use crate::console::{Line, encoded};
use crate::env::fs;

/// A Raft-replicated HTTP key-value store.
///
/// Start every node with the same --cluster; the cluster makes itself, once, and a
/// restart needs no other flags.
#[derive(Debug, Parser)]
#[command(name = "kvnode", version = crate::VERSION, args_conflicts_with_subcommands = true)]
pub struct Cli {
    /// What to do instead of running a node.
    #[command(subcommand)]
    pub action: Option<Action>,
    /// How to run a node.
    #[command(flatten)]
    pub node: NodeArgs,
}

/// Things other than running a node.
#[derive(Debug, Subcommand)]
pub enum Action {
    /// Ask a node whether it is alive; exit 0 or 1.
    Health {
        /// The node's address.
        #[arg(long, default_value = "http://127.0.0.1:8000")]
        url: String,
    },
    /// Talk to a cluster: one command, or a prompt when none is given.
    Client {
        /// Nodes to try, in order.
        #[arg(
            long,
            default_value = "http://127.0.0.1:8000",
            value_delimiter = ',',
            env = "KVNODE_URLS"
        )]
        urls: Vec<String>,
        /// get K, set K=V, cas K OLD NEW, append K V, delete K, scan, watch, status, members.
        #[arg(trailing_var_arg = true)]
        words: Vec<String>,
    },
    /// Change who belongs to a cluster, and who leads it.
    Admin {
        /// Nodes to try, in order.
        #[arg(
            long,
            default_value = "http://127.0.0.1:8000",
            value_delimiter = ',',
            env = "KVNODE_URLS"
        )]
        urls: Vec<String>,
        /// What to do.
        #[command(subcommand)]
        command: AdminCommand,
    },
    /// Measure this store beside etcd, three nodes of each on this machine.
    Bench {
        /// Seconds that each turn lasts.
        #[arg(long, default_value_t = 5)]
        seconds: u64,
        /// Numbers of connections.
        #[arg(long, default_value = "1,16,64,256", value_delimiter = ',')]
        connections: Vec<usize>,
        /// etcd's binary.
        #[arg(long, default_value = "etcd")]
        etcd: PathBuf,
        /// What to measure.
        #[arg(long, value_enum, default_value = "throughput", value_delimiter = ',')]
        figure: Vec<Figure>,
        /// How often a leader is killed, and how often a node is started.
        #[arg(long, default_value_t = 50)]
        rounds: usize,
        /// Keys of a node that is restarted.
        #[arg(long, default_value_t = 1_000_000)]
        keys: usize,
        /// Writes after which the disk is looked at.
        #[arg(long, default_value_t = 10_000_000)]
        overwrites: usize,
        /// Idle connections.
        #[arg(long, default_value_t = 10_000)]
        idle: usize,
        /// Seconds of load while elections and windows are counted.
        #[arg(long, default_value_t = 600)]
        load_seconds: u64,
    },
    /// Say what is in a node's directory, and check all of it. The node must not run.
    Inspect {
        /// The directory.
        directory: PathBuf,
    },
    /// List the bugs planted in this build, one name a line.
    #[cfg(feature = "planted-bugs")]
    Bugs,
}

/// Changes to a cluster.
#[derive(Debug, Subcommand)]
pub enum AdminCommand {
    /// List the members.
    Members,
    /// Add a node that runs with an empty directory; it votes once it has caught up.
    Add {
        /// Its name.
        id: String,
        /// HOST:PORT of its HTTP server.
        http: String,
        /// HOST:PORT of its Raft server.
        raft: String,
        /// Only copy the data, never vote.
        #[arg(long)]
        learner: bool,
    },
    /// Remove a node.
    Remove {
        /// Its name.
        id: String,
        /// Even if too few of those left answer to make a quorum.
        #[arg(long)]
        force: bool,
    },
    /// Let another node lead.
    Transfer {
        /// Which; the one with most of the log if none is named.
        to: Option<String>,
    },
    /// Have the first node that answers write a snapshot.
    Snapshot,
}

impl AdminCommand {
    /// The request that it stands for.
    pub fn line(self) -> Line {
        let post = |target: String, body| Line::Ask(Method::POST, target, body);
        match self {
            AdminCommand::Members => Line::Ask(Method::GET, "/cluster/members".to_owned(), None),
            AdminCommand::Add {
                id,
                http,
                raft,
                learner,
            } => {
                let body = json!({ "id": id, "http": http, "raft": raft, "voter": !learner });
                post("/cluster/members".to_owned(), Some(body))
            }
            AdminCommand::Remove { id, force } => {
                let target = format!("/cluster/members/{}?force={}", encoded(&id), u8::from(force));
                Line::Ask(Method::DELETE, target, None)
            }
            AdminCommand::Transfer { to: Some(to) } => {
                post(format!("/cluster/transfer?to={}", encoded(&to)), None)
            }
            AdminCommand::Transfer { to: None } => post("/cluster/transfer".to_owned(), None),
            AdminCommand::Snapshot => post("/cluster/snapshot".to_owned(), None),
        }
    }
}

/// How logs are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// A node's flags. All optional, since the file may give them.
#[derive(Debug, Args)]
pub struct NodeArgs {
    /// This node's name in --cluster.
    #[arg(long, env = "KVNODE_NODE")]
    node: Option<String>,
    /// All members: NAME=HOST:HTTPPORT:RAFTPORT,...
    #[arg(long, env = "KVNODE_CLUSTER")]
    cluster: Option<String>,
    /// Where the node keeps its log and snapshots; made if absent.
    #[arg(long, env = "KVNODE_DATA_DIR", value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// One node to play with: 127.0.0.1:8000 or a free port, data in a temporary folder.
    #[arg(long, conflicts_with_all = ["node", "cluster", "data_dir", "config"])]
    dev: bool,
    /// A TOML file with the same names as the flags (`data_dir = "..."`).
    #[arg(long, env = "KVNODE_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// The cluster's name; nodes of other clusters are refused [default: ordeal].
    #[arg(long, env = "KVNODE_CLUSTER_ID", value_name = "NAME")]
    cluster_id: Option<String>,
    /// Listen here rather than at the host given in --cluster.
    #[arg(long, env = "KVNODE_LISTEN_HOST", value_name = "HOST")]
    listen_host: Option<String>,
    /// Listen beyond the loopback without TLS and tokens: whoever reaches this node can
    /// read and change everything.
    #[arg(long, env = "KVNODE_INSECURE", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    insecure: Option<bool>,
    /// Milliseconds between heartbeats [default: 40].
    #[arg(long, env = "KVNODE_HEARTBEAT_MS", value_name = "MS")]
    heartbeat_ms: Option<u64>,
    /// Shortest time without a leader before an election [default: 80].
    #[arg(long, env = "KVNODE_ELECTION_MIN_MS", value_name = "MS")]
    election_min_ms: Option<u64>,
    /// Longest; also how long followers trust a silent leader [default: 120].
    #[arg(long, env = "KVNODE_ELECTION_MAX_MS", value_name = "MS")]
    election_max_ms: Option<u64>,
    /// Write a snapshot every so many entries; 0: only by bytes of log [default: 0].
    #[arg(long, env = "KVNODE_SNAPSHOT_EVERY", value_name = "N")]
    snapshot_every: Option<u64>,
    /// Write a snapshot after so many bytes of log, or the size of the data if that is
    /// more [default: 33554432].
    #[arg(long, env = "KVNODE_SNAPSHOT_BYTES", value_name = "BYTES")]
    snapshot_bytes: Option<u64>,
    /// Entries kept in the log although a snapshot has them [default: 1000].
    #[arg(long, env = "KVNODE_LOG_KEEP", value_name = "N")]
    log_keep: Option<u64>,
    /// Answer every request within this time [default: 5000].
    #[arg(long, env = "KVNODE_DEADLINE_MS", value_name = "MS")]
    deadline_ms: Option<u64>,
    /// How logs are written to stderr [default: text].
    #[arg(long, env = "KVNODE_LOG_FORMAT", value_name = "FORMAT")]
    log_format: Option<LogFormat>,
    /// Misbehave in this way (see `kvnode bugs`); may be repeated.
    #[cfg(feature = "planted-bugs")]
    #[arg(long = "bug", value_name = "NAME")]
    bugs: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct File {
    node: Option<String>,
    cluster: Option<String>,
    data_dir: Option<PathBuf>,
    cluster_id: Option<String>,
    listen_host: Option<String>,
    insecure: Option<bool>,
    heartbeat_ms: Option<u64>,
    election_min_ms: Option<u64>,
    election_max_ms: Option<u64>,
    snapshot_every: Option<u64>,
    snapshot_bytes: Option<u64>,
    log_keep: Option<u64>,
    deadline_ms: Option<u64>,
    log_format: Option<LogFormat>,
}

/// A node to run.
#[derive(Debug)]
pub struct NodePlan {
    /// Its settings.
    pub config: Config,
    /// How to write logs.
    pub log_format: LogFormat,
    /// The temporary folder of `--dev`, removed when the node ends.
    pub scratch: Option<tempfile::TempDir>,
}

impl NodeArgs {
    /// Turns flags, variables and file into settings.
    ///
    /// # Errors
    /// One line that says which setting is wrong and what would mend it.
    pub fn plan(self) -> anyhow::Result<NodePlan> {
        let file = match &self.config {
            None => File::default(),
            Some(path) => read_file(path)?,
        };
        let (node, cluster, data_dir, scratch) = if self.dev {
            let scratch = tempfile::Builder::new()
                .prefix("kvnode-dev-")
                .tempdir()
                .context("no temporary folder")?;
            let (http, raft) = dev_ports()?;
            let cluster = format!("n1=127.0.0.1:{http}:{raft}");
            ("n1".to_owned(), cluster, scratch.path().to_owned(), Some(scratch))
        } else {
            let node = self.node.or(file.node);
            let cluster = self.cluster.or(file.cluster);
            let data_dir = self.data_dir.or(file.data_dir);
            let (Some(node), Some(cluster), Some(data_dir)) = (node, cluster, data_dir) else {
                bail!("give --node, --cluster and --data-dir, or --dev for one node to play with");
            };
            (node, cluster, data_dir, None)
        };
        let config = Config {
            id: node.parse().context("--node")?,
            cluster: cluster.parse::<ClusterSpec>().context("--cluster")?,
            cluster_id: self
                .cluster_id
                .or(file.cluster_id)
                .unwrap_or_else(|| "ordeal".to_owned()),
            data_dir,
            listen_host: self.listen_host.or(file.listen_host),
            insecure: self.insecure.or(file.insecure).unwrap_or(false),
            heartbeat_ms: self.heartbeat_ms.or(file.heartbeat_ms).unwrap_or(40),
            election_min_ms: self.election_min_ms.or(file.election_min_ms).unwrap_or(80),
            election_max_ms: self.election_max_ms.or(file.election_max_ms).unwrap_or(120),
            snapshot_every: self.snapshot_every.or(file.snapshot_every).unwrap_or(0),
            snapshot_bytes: self.snapshot_bytes.or(file.snapshot_bytes).unwrap_or(32 << 20),
            log_keep: self.log_keep.or(file.log_keep).unwrap_or(1000),
            deadline: Duration::from_millis(self.deadline_ms.or(file.deadline_ms).unwrap_or(5000)),
            #[cfg(feature = "planted-bugs")]
            bugs: crate::planted::checked_names(self.bugs)?,
            #[cfg(not(feature = "planted-bugs"))]
            bugs: Vec::new(),
        };
        let log_format = self.log_format.or(file.log_format).unwrap_or(LogFormat::Text);
        Ok(NodePlan {
            config: config.validated()?,
            log_format,
            scratch,
        })
    }
}

fn read_file(path: &std::path::Path) -> anyhow::Result<File> {
    let shown = path.display();
    let bytes = fs::read_if_there(path).with_context(|| format!("{shown}"))?;
    let bytes = bytes.with_context(|| format!("{shown}: there is no such file"))?;
    let text = String::from_utf8(bytes)
        .ok()
        .with_context(|| format!("{shown} is no UTF-8 text"))?;
    toml::from_str(&text).map_err(|error| {
        let line = error
            .span()
            .map_or(1, |span| text[..span.start].matches('\n').count() + 1);
        anyhow::anyhow!("{shown}:{line}: {}", error.message().replace('\n', " "))
    })
}

/// Port 8000 if it is free, any other if not, and one more for peers.
fn dev_ports() -> anyhow::Result<(u16, u16)> {
    use crate::env::net::free_port;
    let http = free_port(8000)
        .or_else(|_| free_port(0))
        .context("no free port")?;
    Ok((http, free_port(0).context("no free port")?))
}

//! Flags, environment and file, with one precedence: a flag beats its variable, which
//! beats the file, which beats the default.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use clap::{ArgMatches, Args, Parser, Subcommand, ValueEnum};
use hyper::Method;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::backup::args::{BackupArgs, RestoreArgs, ScheduleArgs};
use crate::bench::Figure;
use crate::cluster::{ClusterSpec, NodeId, PlaceArgs};
use crate::config::Config;
use crate::console::{Line, encoded};
use crate::secure::access::{AccessArgs, NodesArgs};
use crate::secure::keyring::SecureFiles;
use crate::secure::pem::IdentityFiles;
use crate::secure::tokens::Role;
use crate::settings::Settings;

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
        /// What it shows.
        #[command(flatten)]
        access: AccessArgs,
    },
    /// Talk to a cluster: one command, or a prompt when none is given.
    Client {
        /// Whom it asks.
        #[command(flatten)]
        nodes: NodesArgs,
        /// get K, set K=V, cas K OLD NEW, append K V, delete K, scan, watch, status, members.
        #[arg(trailing_var_arg = true)]
        words: Vec<String>,
    },
    /// Change who belongs to a cluster, and who leads it.
    Admin {
        /// Whom it asks.
        #[command(flatten)]
        nodes: NodesArgs,
        /// What to do.
        #[command(subcommand)]
        command: AdminCommand,
    },
    /// Measure this store beside etcd, three nodes of each on this machine.
    #[command(after_help = "Examples:
  kvnode bench --connections 16 --seconds 10
  kvnode bench --figure disk                          # 10 million writes: half an hour
  kvnode bench --figure disk --overwrites 200000      # the same for a short look
  kvnode bench --figure steady,availability --load-seconds 20
  kvnode bench --figure half-load --load-seconds 20   # latency and followers' lag
  kvnode bench --figure failover,start --rounds 10")]
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
    /// Store the state of a running cluster, or list or check what is stored.
    Backup(Box<BackupArgs>),
    /// Make a data directory of a backup, for a new cluster of one node.
    Restore(Box<RestoreArgs>),
    /// Make a bearer token: itself on stdout, its line for the file of --tokens on stderr.
    Token {
        /// What it shall allow.
        role: Role,
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
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
    /// Who it is.
    #[command(flatten)]
    place: PlaceArgs,
    /// One node to play with: 127.0.0.1:8000 or a free port, data in a temporary folder.
    #[arg(long, conflicts_with_all = ["node", "cluster", "data_dir", "config", "join"])]
    dev: bool,
    /// A TOML file with the same names as the flags (`data_dir = "..."`).
    #[arg(long, env = "KVNODE_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// The cluster's name; nodes of other clusters are refused [default: ordeal].
    #[arg(long, env = "KVNODE_CLUSTER_ID", value_name = "NAME")]
    cluster_id: Option<String>,
    /// Wait to be added to a cluster that there is (`kvnode admin add`) and never make one. A
    /// directory that has been in a cluster needs it no more.
    #[arg(long, env = "KVNODE_JOIN", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    join: Option<bool>,
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
    /// Most connections of clients at once [default: 16384].
    #[arg(long, env = "KVNODE_MAX_CONNECTIONS", value_name = "N")]
    max_connections: Option<usize>,
    /// Close a client's connection after so long without a request [default: 300000].
    #[arg(long, env = "KVNODE_IDLE_MS", value_name = "MS")]
    idle_ms: Option<u64>,
    /// How long a client may take to send a request or to take its answer [default: 10000].
    #[arg(long, env = "KVNODE_PATIENCE_MS", value_name = "MS")]
    patience_ms: Option<u64>,
    /// Certificates and tokens.
    #[command(flatten)]
    secure: SecureArgs,
    /// Backups.
    #[command(flatten)]
    backup: ScheduleArgs,
    /// Check all settings and files, print the settings with where each comes from, and
    /// end.
    #[arg(long)]
    pub check_config: bool,
    /// How logs are written to stderr [default: text].
    #[arg(long, env = "KVNODE_LOG_FORMAT", value_name = "FORMAT")]
    log_format: Option<LogFormat>,
    /// Misbehave in this way (see `kvnode bugs`); may be repeated.
    #[cfg(feature = "planted-bugs")]
    #[arg(long = "bug", value_name = "NAME")]
    bugs: Vec<String>,
}

/// A node's flags about who may talk to it.
#[derive(Debug, Args)]
struct SecureArgs {
    /// Serve clients under TLS with this certificate (PEM, with what leads to its
    /// authority).
    #[arg(long, env = "KVNODE_TLS_CERT", value_name = "FILE")]
    tls_cert: Option<PathBuf>,
    /// Its private key (PEM).
    #[arg(long, env = "KVNODE_TLS_KEY", value_name = "FILE")]
    tls_key: Option<PathBuf>,
    /// Ask clients for a certificate of these authorities (PEM).
    #[arg(long, env = "KVNODE_CLIENT_CA", value_name = "FILE")]
    client_ca: Option<PathBuf>,
    /// Talk to other nodes under TLS, both sides with certificates of these authorities.
    #[arg(long, env = "KVNODE_PEER_CA", value_name = "FILE")]
    peer_ca: Option<PathBuf>,
    /// Show other nodes this certificate [default: --tls-cert].
    #[arg(long, env = "KVNODE_PEER_CERT", value_name = "FILE")]
    peer_cert: Option<PathBuf>,
    /// Its private key [default: --tls-key].
    #[arg(long, env = "KVNODE_PEER_KEY", value_name = "FILE")]
    peer_key: Option<PathBuf>,
    /// Serve only clients with a token of this file; a line is ROLE TOKEN (see `kvnode
    /// token`).
    #[arg(long, env = "KVNODE_TOKENS", value_name = "FILE")]
    tokens: Option<PathBuf>,
}

/// Everything that is wrong with the settings.
#[derive(Debug)]
pub struct Mistakes(Vec<String>);

impl Mistakes {
    fn one(what: impl std::fmt::Display) -> Mistakes {
        Mistakes(vec![what.to_string()])
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }
}

impl std::fmt::Display for Mistakes {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(&self.0[0])?;
        match self.0.len() - 1 {
            0 => Ok(()),
            more => write!(out, " (and {more} more: --check-config tells all)"),
        }
    }
}

/// A node to run.
#[derive(Debug)]
pub struct NodePlan {
    /// Its settings as a file that says the same, with where each comes from.
    pub effective: String,
    /// Its settings.
    pub config: Config,
    /// How to write logs.
    pub log_format: LogFormat,
    /// The temporary folder of `--dev`, removed when the node ends.
    pub scratch: Option<tempfile::TempDir>,
}

impl NodeArgs {
    /// Turns flags, variables and file into settings. `matches` are what `self` was made
    /// of.
    ///
    /// # Errors
    /// All mistakes, a line each: which setting, where it was given, what would mend it.
    pub fn plan(self, matches: &ArgMatches) -> Result<NodePlan, Mistakes> {
        let mut settings = Settings::layered(matches, self.config.as_deref());
        let scratch = self.scratch()?;
        let (id, cluster, data_dir) = self.place(&mut settings, scratch.as_ref())?;
        let ms = |settings: &mut Settings<'_>, name, flag, default| {
            let ms = settings.take(name, flag, Some(default)).unwrap_or(default);
            Duration::from_millis(ms)
        };
        let config = Config {
            cluster_id: settings
                .take("cluster_id", self.cluster_id, Some("ordeal".to_owned()))
                .unwrap_or_default(),
            join: settings.take("join", self.join, Some(false)).unwrap_or(false),
            listen_host: settings.take("listen_host", self.listen_host, None),
            insecure: settings
                .take("insecure", self.insecure, Some(false))
                .unwrap_or(false),
            secure: self.secure.files(&mut settings),
            heartbeat_ms: settings
                .take("heartbeat_ms", self.heartbeat_ms, Some(40))
                .unwrap_or(40),
            election_min_ms: settings
                .take("election_min_ms", self.election_min_ms, Some(80))
                .unwrap_or(80),
            election_max_ms: settings
                .take("election_max_ms", self.election_max_ms, Some(120))
                .unwrap_or(120),
            snapshot_every: settings
                .take("snapshot_every", self.snapshot_every, Some(0))
                .unwrap_or(0),
            snapshot_bytes: settings
                .take("snapshot_bytes", self.snapshot_bytes, Some(32 << 20))
                .unwrap_or(32 << 20),
            log_keep: settings
                .take("log_keep", self.log_keep, Some(1000))
                .unwrap_or(1000),
            deadline: ms(&mut settings, "deadline_ms", self.deadline_ms, 5_000),
            idle: ms(&mut settings, "idle_ms", self.idle_ms, 300_000),
            patience: ms(&mut settings, "patience_ms", self.patience_ms, 10_000),
            max_connections: settings
                .take("max_connections", self.max_connections, Some(16_384))
                .unwrap_or(16_384),
            backup: self.backup.schedule(&mut settings),
            id: id.clone().unwrap_or_default(),
            cluster: cluster
                .clone()
                .unwrap_or_else(|| ClusterSpec::new(BTreeMap::new())),
            data_dir,
            #[cfg(feature = "planted-bugs")]
            bugs: crate::planted::checked_names(self.bugs).map_err(Mistakes::one)?,
            #[cfg(not(feature = "planted-bugs"))]
            bugs: Vec::new(),
        };
        let log_format = settings
            .take("log_format", self.log_format, Some(LogFormat::Text))
            .unwrap_or(LogFormat::Text);
        if let (Some(_), Some(_), Err(wrong)) = (id, cluster, config.check()) {
            wrong.iter().for_each(|wrong| settings.contradiction(wrong));
        }
        match settings.finish() {
            mistakes if mistakes.is_empty() => Ok(NodePlan {
                effective: settings.effective(),
                config,
                log_format,
                scratch,
            }),
            mistakes => Err(Mistakes(mistakes)),
        }
    }

    fn scratch(&self) -> Result<Option<tempfile::TempDir>, Mistakes> {
        let make = || tempfile::Builder::new().prefix("kvnode-dev-").tempdir();
        self.dev
            .then(make)
            .transpose()
            .map_err(|error| Mistakes::one(format!("no temporary folder: {error}")))
    }

    /// Who the node is, among whom, and where it keeps its data.
    fn place(
        &self,
        settings: &mut Settings<'_>,
        scratch: Option<&tempfile::TempDir>,
    ) -> Result<(Option<NodeId>, Option<ClusterSpec>, PathBuf), Mistakes> {
        let (node, cluster, data_dir) = match scratch {
            Some(folder) => {
                let (http, raft) = dev_ports().map_err(|error| Mistakes::one(format!("{error:#}")))?;
                let cluster = format!("n1=127.0.0.1:{http}:{raft}");
                (
                    Some("n1".to_owned()),
                    Some(cluster),
                    Some(folder.path().to_owned()),
                )
            }
            None => (
                self.place.node.clone(),
                self.place.cluster.clone(),
                self.place.data_dir.clone(),
            ),
        };
        let node = settings.take("node", node, None);
        let cluster = settings.take("cluster", cluster, None);
        let data_dir = settings.take("data_dir", data_dir, None);
        if node.is_none() || cluster.is_none() || data_dir.is_none() {
            settings
                .contradiction("give --node, --cluster and --data-dir, or --dev for one node to play with");
        }
        let id = node.map(|text: String| text.parse().map_err(|error| settings.mistake("node", error)));
        let cluster =
            cluster.map(|text: String| text.parse().map_err(|error| settings.mistake("cluster", error)));
        Ok((
            id.and_then(Result::ok),
            cluster.and_then(Result::ok),
            data_dir.unwrap_or_default(),
        ))
    }
}

impl SecureArgs {
    fn files(self, settings: &mut Settings<'_>) -> SecureFiles {
        let tls_cert = settings.take("tls_cert", self.tls_cert, None);
        let tls_key = settings.take("tls_key", self.tls_key, None);
        let client_ca = settings.take("client_ca", self.client_ca, None);
        let peer_cert = settings.take("peer_cert", self.peer_cert, None);
        let peer_key = settings.take("peer_key", self.peer_key, None);
        let peer_ca = settings.take("peer_ca", self.peer_ca, None);
        let tokens = settings.take("tokens", self.tokens, None);
        let mut identity = |cert: Option<PathBuf>, key: Option<PathBuf>, kind: &str| match (cert, key) {
            (Some(cert), Some(key)) => Some(IdentityFiles { cert, key }),
            (None, None) => None,
            _ => {
                settings.contradiction(format_args!(
                    "--{kind}-cert and --{kind}-key go together: give both"
                ));
                None
            }
        };
        let http = identity(tls_cert, tls_key, "tls");
        let own = identity(peer_cert, peer_key, "peer");
        let own_given = own.is_some();
        let peers = match (peer_ca, own.or_else(|| http.clone())) {
            (Some(ca), Some(own)) => Some((own, ca)),
            (Some(_), None) => {
                settings
                    .contradiction("--peer-ca needs --peer-cert and --peer-key, or --tls-cert and --tls-key");
                None
            }
            (None, _) if own_given => {
                settings.contradiction(
                    "--peer-cert needs --peer-ca: the authority that vouches for the other nodes",
                );
                None
            }
            (None, _) => None,
        };
        SecureFiles {
            http,
            client_ca,
            peers,
            tokens,
        }
    }
}

/// Port 8000 if it is free, any other if not, and one more for peers.
fn dev_ports() -> anyhow::Result<(u16, u16)> {
    use crate::env::net::free_port;
    let http = free_port(8000)
        .or_else(|_| free_port(0))
        .context("no free port")?;
    Ok((http, free_port(0).context("no free port")?))
}

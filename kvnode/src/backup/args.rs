//! `kvnode backup` and `kvnode restore`, and the settings of a node that makes backups.

use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, anyhow};
use clap::{Args, Subcommand};

use super::periodic::Schedule;
use super::restore::{self, Owner};
use super::store::{Store, StoreError, StoreOptions};
use super::{Manifest, take};
use crate::cluster::{ClusterSpec, NodeId, PlaceArgs};
use crate::out;
use crate::secure::access::NodesArgs;
use crate::settings::Settings;

/// How a place for backups is spoken to. Credentials are AWS_ACCESS_KEY_ID,
/// AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN and AWS_REGION, from the environment alone.
#[derive(Debug, Clone, Default, Args)]
pub struct StoreArgs {
    /// Keep backups at this S3-compatible service, https://HOST:PORT [default: Amazon's].
    #[arg(long, env = "KVNODE_BACKUP_ENDPOINT", value_name = "URL")]
    backup_endpoint: Option<String>,
    /// Speak to it in plain: whoever listens can read the backups.
    #[arg(long, env = "KVNODE_BACKUP_ALLOW_HTTP", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    backup_allow_http: Option<bool>,
    /// Its buckets are in the host's name (BUCKET.HOST) rather than in the path.
    #[arg(long, env = "KVNODE_BACKUP_VIRTUAL_HOSTED", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    backup_virtual_hosted: Option<bool>,
    /// Believe this service if these authorities vouch for it (PEM) [default: the system's].
    #[arg(long, env = "KVNODE_BACKUP_CA", value_name = "FILE")]
    backup_ca: Option<PathBuf>,
}

impl StoreArgs {
    fn options(self, url: String) -> StoreOptions {
        StoreOptions {
            url,
            endpoint: self.backup_endpoint,
            allow_http: self.backup_allow_http.unwrap_or(false),
            virtual_hosted: self.backup_virtual_hosted.unwrap_or(false),
            ca: self.backup_ca,
        }
    }
}

/// A node's flags about backups that the cluster makes of itself.
#[derive(Debug, Args)]
pub struct ScheduleArgs {
    /// Keep backups here: file:///FOLDER or s3://BUCKET/PREFIX. Give it to all nodes; the
    /// leader makes them.
    #[arg(long, env = "KVNODE_BACKUP_TO", value_name = "URL")]
    backup_to: Option<String>,
    /// Make one whenever the newest is so old [default: 3600].
    #[arg(long, env = "KVNODE_BACKUP_EVERY_S", value_name = "SECONDS")]
    backup_every_s: Option<u64>,
    /// Keep so many of this cluster's [default: 24].
    #[arg(long, env = "KVNODE_BACKUP_KEEP", value_name = "N")]
    backup_keep: Option<usize>,
    /// Have this node make them, rather than whoever leads.
    #[arg(long, env = "KVNODE_BACKUP_NODE", value_name = "NAME")]
    backup_node: Option<String>,
    #[command(flatten)]
    store: StoreArgs,
}

impl ScheduleArgs {
    /// What these flags, or the layers below them, ask for; none without a place.
    pub fn schedule(self, settings: &mut Settings<'_>) -> Option<Schedule> {
        let url = settings.take("backup_to", self.backup_to, None);
        let (every, keep) = (url.as_ref().map(|_| 3600), url.as_ref().map(|_| 24));
        let every = settings.take("backup_every_s", self.backup_every_s, every);
        let keep = settings.take("backup_keep", self.backup_keep, keep);
        let node = settings.take("backup_node", self.backup_node, None);
        let store = StoreArgs {
            backup_endpoint: settings.take("backup_endpoint", self.store.backup_endpoint, None),
            backup_allow_http: settings.take("backup_allow_http", self.store.backup_allow_http, None),
            backup_virtual_hosted: settings.take(
                "backup_virtual_hosted",
                self.store.backup_virtual_hosted,
                None,
            ),
            backup_ca: settings.take("backup_ca", self.store.backup_ca, None),
        };
        let node = node.map(|text: String| {
            text.parse()
                .map_err(|error| settings.mistake("backup_node", error))
        });
        let node: Option<NodeId> = node.and_then(Result::ok);
        let Some(url) = url else {
            if every.is_some() || keep.is_some() || node.is_some() {
                settings.contradiction("--backup-every-s, --backup-keep and --backup-node need --backup-to");
            }
            return None;
        };
        Some(Schedule {
            store: store.options(url),
            every: Duration::from_secs(every.unwrap_or(0)),
            keep: keep.unwrap_or(0),
            node,
        })
    }
}

/// `kvnode backup`.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
#[command(after_help = "Examples:
  kvnode backup --to file:///var/backups/kvnode
  AWS_ACCESS_KEY_ID=... AWS_SECRET_ACCESS_KEY=... AWS_REGION=eu-central-1 \\
    kvnode backup --to s3://bucket/kvnode --urls https://n1:8000,https://n2:8000 --cacert ca.pem --token ...
  kvnode backup --to s3://bucket/kvnode --backup-endpoint https://minio:9000
  kvnode backup list s3://bucket/kvnode
  kvnode backup verify s3://bucket/kvnode")]
pub struct BackupArgs {
    #[command(subcommand)]
    other: Option<BackupCommand>,
    /// Where to: file:///FOLDER or s3://BUCKET/PREFIX.
    #[arg(long, value_name = "URL", required = true)]
    to: Option<String>,
    /// Whom it asks: any node has a state as fresh as a linearizable read.
    #[command(flatten)]
    nodes: NodesArgs,
    #[command(flatten)]
    store: StoreArgs,
}

/// What else can be done with backups.
#[derive(Debug, Subcommand)]
enum BackupCommand {
    /// List the backups, oldest first.
    List {
        /// Where they are.
        url: String,
        #[command(flatten)]
        store: StoreArgs,
    },
    /// Fetch a backup and check all of it, as a restore would.
    Verify {
        /// Where it is: URL/NAME, or URL for the newest.
        url: String,
        #[command(flatten)]
        store: StoreArgs,
    },
}

/// `kvnode restore`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  kvnode restore --from s3://bucket/kvnode --node n1 --data-dir /var/lib/kvnode \\
    --cluster n1=10.0.0.1:8000:9000,n2=10.0.0.2:8000:9000,n3=10.0.0.3:8000:9000
  kvnode restore --from file:///var/backups/kvnode/20261121T144000123Z-0123abcd --node n1 \\
    --data-dir d1 --cluster n1=127.0.0.1:8000:9000 --cluster-id rehearsal

The directory is that of a new cluster with one member. Start it, then the other nodes
with empty directories, and add them one after the other: the commands are printed.")]
pub struct RestoreArgs {
    /// Which backup: URL/NAME, or URL for the newest.
    #[arg(long, value_name = "URL")]
    from: String,
    /// For which node, of which cluster, into which directory: empty, or not there yet.
    #[command(flatten)]
    place: PlaceArgs,
    /// The new cluster's name [default: the old one's with a random number].
    #[arg(long, value_name = "NAME")]
    cluster_id: Option<String>,
    #[command(flatten)]
    store: StoreArgs,
}

/// Carries out `kvnode backup`.
///
/// # Errors
/// For people: what failed, where, and what would mend it.
pub async fn backup(args: BackupArgs) -> anyhow::Result<bool> {
    match args.other {
        Some(BackupCommand::List { url, store }) => list(&Store::open(&store.options(url))?).await,
        Some(BackupCommand::Verify { url, store }) => {
            let (url, id) = split(&url);
            let store = Store::open(&store.options(url.to_owned()))?;
            let manifest = restore::find(&store, id).await?;
            let mut progress = Progress::new("fetched");
            restore::fetch(&store, &manifest, &mut |bytes| progress.tell(bytes)).await?;
            drop(progress);
            let place = store.shown(&manifest.id);
            out::line(format_args!("{place}: whole, {}", about(&manifest)))?;
            Ok(true)
        }
        None => {
            let mut client = args.nodes.client()?;
            let options = args.store.options(args.to.context("give --to")?);
            options.make_folder()?;
            let store = Store::open(&options)?;
            let mut progress = Progress::new("stored");
            let made = take::from_node(&mut client, store.clone(), &mut |bytes| progress.tell(bytes)).await;
            drop(progress);
            let made = made?;
            out::line(format_args!("{}: {}", store.shown(&made.id), about(&made)))?;
            Ok(true)
        }
    }
}

async fn list(store: &Store) -> anyhow::Result<bool> {
    let listing = store.list().await?;
    for backup in &listing.backups {
        out::line(format_args!("{}  {}", backup.id, about(backup)))?;
    }
    for id in &listing.unfinished {
        let place = store.shown(id);
        out::complain(format_args!(
            "{place}: without a manifest, so under way or broken off; no backup"
        ));
    }
    for damaged in &listing.damaged {
        out::complain(damaged);
    }
    Ok(listing.damaged.is_empty())
}

/// Carries out `kvnode restore`.
///
/// # Errors
/// For people: what failed, where, and what would mend it.
pub async fn restore(args: RestoreArgs) -> anyhow::Result<bool> {
    let (node, cluster, data_dir) = args.place.all().map_err(input)?;
    let peer = cluster.members().get(&node).cloned();
    let peer = peer.ok_or_else(|| {
        input(format!(
            "node {node} is not in --cluster: add {node}=HOST:HTTPPORT:RAFTPORT to it"
        ))
    })?;
    let (url, id) = split(&args.from);
    let store = Store::open(&args.store.options(url.to_owned()))?;
    let manifest = restore::find(&store, id).await?;
    let mut progress = Progress::new("fetched");
    let (meta, state) = restore::fetch(&store, &manifest, &mut |bytes| progress.tell(bytes)).await?;
    drop(progress);
    let owner = Owner {
        id: node.clone(),
        peer,
        cluster: args.cluster_id,
    };
    let restored = restore::make_directory(&data_dir, owner, manifest, &meta, &state)?;
    out::line(format_args!(
        "restored {}: {}",
        restored.manifest.id,
        about(&restored.manifest)
    ))?;
    for step in next_steps(&node, &data_dir, &cluster, &restored.cluster) {
        out::line(step)?;
    }
    Ok(true)
}

/// An address and the name of a backup at its end, if there is one.
fn split(url: &str) -> (&str, Option<&str>) {
    let url = url.trim_end_matches('/');
    let is_name = |name: &str| {
        name.len() == 28
            && name.as_bytes()[18..20] == *b"Z-"
            && name
                .bytes()
                .all(|byte| byte.is_ascii_hexdigit() || b"TZ-".contains(&byte))
    };
    match url.rsplit_once('/') {
        Some((place, name)) if is_name(name) => (place, Some(name)),
        _ => (url, None),
    }
}

fn about(manifest: &Manifest) -> String {
    format!(
        "cluster {}, {}, index {}, {} keys, {} bytes, state {}",
        manifest.cluster, manifest.taken, manifest.index, manifest.keys, manifest.bytes, manifest.state_hash
    )
}

/// What is left to do: the directory is that of a cluster of one, and grows by commands.
fn next_steps(node: &NodeId, data_dir: &Path, cluster: &ClusterSpec, name: &str) -> Vec<String> {
    let spec = spec(cluster);
    let mut steps = vec![format!(
        "start it: kvnode --node {node} --cluster-id {name} --data-dir {} --cluster {spec}",
        data_dir.display()
    )];
    let first = cluster
        .members()
        .get(node)
        .map_or("HOST:PORT", |peer| peer.http.as_str());
    let mut voters = 1;
    for (id, peer) in cluster.members().iter().filter(|(id, _)| *id != node) {
        voters += 1;
        steps.push(format!(
            "start {id}, its directory empty: kvnode --join --node {id} --cluster-id {name} --data-dir DIR --cluster {spec}"
        ));
        steps.push(format!(
            "add it: kvnode admin --urls http://{first} add {id} {} {}",
            peer.http, peer.raft
        ));
    }
    steps.push(match voters {
        1 => "it is the only member: its disk is the only copy, until others are added with kvnode admin add".to_owned(),
        _ => format!(
            "until they are added, {node} is the only member and its disk the only copy; where the cluster has TLS and \
             tokens, ask https:// with --cacert and --token"
        ),
    });
    steps
}

fn spec(cluster: &ClusterSpec) -> String {
    let members = cluster.members().iter().map(|(id, peer)| {
        let port = peer.raft.rsplit_once(':').map_or("", |(_, port)| port);
        format!("{id}={}:{port}", peer.http)
    });
    members.collect::<Vec<_>>().join(",")
}

fn input(what: String) -> anyhow::Error {
    anyhow!(StoreError::Options(what))
}

/// Tells a person on a terminal how far it is; a pipe is told nothing.
struct Progress {
    what: &'static str,
    shown_mb: Option<u64>,
}

impl Progress {
    fn new(what: &'static str) -> Progress {
        Progress { what, shown_mb: None }
    }

    fn tell(&mut self, bytes: u64) {
        let megabytes = bytes >> 20;
        if std::io::stderr().is_terminal() && self.shown_mb != Some(megabytes) {
            self.shown_mb = Some(megabytes);
            let mut screen = std::io::stderr().lock();
            let _ = write!(screen, "\r{megabytes} MB {}", self.what).and_then(|()| screen.flush());
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.shown_mb.is_some() {
            out::complain("");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_at_the_end_is_told_from_a_prefix() {
        let name = "20261121T144000123Z-0123abcd";
        let whole = format!("s3://bucket/prefix/{name}/");
        assert_eq!(split(&whole), ("s3://bucket/prefix", Some(name)));
        assert_eq!(split("s3://bucket/prefix/"), ("s3://bucket/prefix", None));
        assert_eq!(
            split("file:///a/20261121T144000123Z"),
            ("file:///a/20261121T144000123Z", None)
        );
    }

    #[test]
    fn what_is_printed_makes_the_cluster_whole_again() {
        let node: NodeId = "n2".parse().unwrap();
        let cluster: ClusterSpec = "n1=10.0.0.1:8000:9000,n2=10.0.0.2:8000:9000,n3=10.0.0.3:8000:9000"
            .parse()
            .unwrap();
        let steps = next_steps(&node, Path::new("/var/lib/kvnode"), &cluster, "new");
        let spec = spec(&cluster);
        for want in [
            format!("kvnode --node n2 --cluster-id new --data-dir /var/lib/kvnode --cluster {spec}"),
            format!("kvnode --join --node n1 --cluster-id new --data-dir DIR --cluster {spec}"),
            "kvnode admin --urls http://10.0.0.2:8000 add n1 10.0.0.1:8000 10.0.0.1:9000".to_owned(),
            "kvnode admin --urls http://10.0.0.2:8000 add n3 10.0.0.3:8000 10.0.0.3:9000".to_owned(),
        ] {
            assert!(
                steps.iter().any(|step| step.ends_with(&want)),
                "{want}: {steps:#?}"
            );
        }
        assert!(steps.iter().all(|step| !step.contains("add n2")), "{steps:#?}");
    }
}

//! Runs a node from start to end.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow};
use openraft::async_runtime::WatchReceiver;
use tokio::sync::mpsc;
use tracing::{info, warn};

use crate::backup::periodic::{Schedule, make_backups};
use crate::backup::store::{Store, StoreError};
use crate::bootstrap::bootstrap;
use crate::config::Config;
use crate::data_dir::{DataDir, DataDirError};
use crate::env::{clock, fs, net};
use crate::membership::{self, Admin};
use crate::node::Node;
use crate::peer::network::off_worker;
use crate::seams::{Keeping, Seams};
use crate::secure::keyring::{Keyring, check_peer_identity};
use crate::secure::pem::SecureError;
use crate::service::Service;
use crate::{http, peer};

/// How often the log is looked at for a snapshot that is due.
const SNAPSHOT_CHECK: Duration = Duration::from_millis(100);
/// Bytes of log, snapshotted or not, beyond which what is in a snapshot goes.
const MAX_LOG_BYTES: u64 = 48 << 20;
/// Bytes of it that then stay.
const KEPT_LOG_BYTES: u64 = 8 << 20;
/// How long a leader that is told to stop tries to hand over.
const HAND_OVER: Duration = Duration::from_secs(2);
/// How long whoever is being answered may take to be, when the node stops.
const FINISH: Duration = Duration::from_secs(2);
/// Open files beside clients' connections: the log, snapshots, other nodes.
const SPARE_FILES: u64 = 1536;
/// How often the room on the disk is looked at.
const DISK_CHECK: Duration = Duration::from_millis(500);
/// Bytes that writes leave free, for what must go on: votes, snapshots.
const RESERVE: u64 = 32 << 20;

/// Why a node ended.
#[derive(Debug, thiserror::Error)]
pub enum End {
    /// Something it was given cannot be used: an address, a directory, a membership.
    #[error("{0:#}")]
    Input(anyhow::Error),
    /// It broke: its disk failed, or consensus stopped.
    #[error("{0:#}")]
    Broken(anyhow::Error),
}

/// A node that runs until it is told to stop.
pub type Running = Pin<Box<dyn Future<Output = Result<(), End>> + Send>>;

/// What is called once a node listens.
pub type Ready = Box<dyn FnOnce(&Node) + Send>;

/// [`run`] on this machine's disk and with nothing at the seams. All of a node is
/// compiled here, once, and not again with each program that starts one.
pub fn run_here(config: Config, ready: Ready) -> Running {
    let wrap = std::convert::identity::<Arc<Node>>;
    Box::pin(run(config, fs::RealDisk, Seams::default(), wrap, ready))
}

/// Opens the data directory, serves until told to stop, and says why it ended.
/// `wrap` puts the service behind the seam; `ready` is called once it listens.
///
/// # Errors
/// [`End`] when the node ended by anything but a signal.
pub async fn run<S: Service, D: fs::Disk>(
    config: Config,
    disk: D,
    seams: Seams,
    wrap: impl FnOnce(Arc<Node>) -> Arc<S>,
    ready: impl FnOnce(&Node),
) -> Result<(), End> {
    let data = opened(&config, disk, seams.keeping)
        .await
        .map_err(|error| End::Input(error.into()))?;
    let keyring = Arc::new(keyring(&config).map_err(|error| End::Input(error.into()))?);
    let backups = backups(&config).map_err(|error| End::Input(error.into()))?;
    raise_limit(config.max_connections);
    let (http_address, raft_address) = config.listen();
    let http_listener = net::listen(&http_address)
        .await
        .map_err(|error| End::Input(error.into()))?;
    let raft_listener = net::listen(&raft_address)
        .await
        .map_err(|error| End::Input(error.into()))?;
    let node = Node::start(config, keyring, data, seams.rules)
        .await
        .map_err(End::Input)?;
    info!(node = %node.id(), http = http_address, raft = raft_address, version = crate::VERSION, "listening");
    ready(&node);

    let service = wrap(node.clone());
    tokio::spawn(peer::server::serve(service.clone(), raft_listener));
    tokio::spawn(http::server::serve(service.clone(), http_listener));
    if let Some((schedule, store)) = backups {
        tokio::spawn(make_backups(service.clone(), schedule, store));
    }
    tokio::spawn(Node::let_keys_end(service));
    tokio::spawn(take_snapshots(node.clone()));
    tokio::spawn(watch_the_disk(node.clone()));
    tokio::spawn(node.keyring().clone().follow(hangups()));
    let bootstrapping = tokio::spawn(bootstrap(node.clone()));

    tokio::select! {
        signal = terminated() => {
            info!(signal, "stopping");
            // Handing over first spares the others the wait for our silence.
            if node.is_leader() {
                let handed = clock::timeout(HAND_OVER, membership::carry_out(&node, Admin::Transfer { to: None }));
                match handed.await {
                    Ok(Ok(())) => info!("handed leadership over"),
                    Ok(Err(error)) => info!(%error, "could not hand leadership over"),
                    Err(error) => info!(%error, "could not hand leadership over"),
                }
            }
            end_work(&node).await;
            let _ = node.raft().shutdown().await;
            Ok(())
        }
        why = consensus_stopped(node.clone()) => Err(End::Broken(why)),
        why = wiped(bootstrapping) => Err(End::Input(why)),
    }
}

/// The data directory, once the disk has room for what a start writes. A node that runs
/// waits for room, so one that is restarted meanwhile must not end for lack of it.
async fn opened<D: fs::Disk>(
    config: &Config,
    disk: D,
    keeping: Arc<dyn Keeping>,
) -> Result<DataDir, DataDirError> {
    let mut told = false;
    loop {
        match DataDir::open(config, disk.clone(), keeping.clone()) {
            Err(error) if error.is_full_disk() => {
                if !std::mem::replace(&mut told, true) {
                    warn!(%error, "the disk is full: waiting for room to start");
                }
                clock::sleep(DISK_CHECK).await;
            }
            opened => return opened,
        }
    }
}

/// Answers what is under way and takes no more. Other nodes may send here until they
/// have heard of the new leader, so it is quiet only when nothing came for a while.
async fn end_work(node: &Arc<Node>) {
    node.work().end();
    let heard_by_all = Duration::from_millis(2 * node.config().election_max_ms);
    if clock::timeout(FINISH, node.work().quiet(heard_by_all))
        .await
        .is_err()
    {
        warn!(
            under_way = node.work().under_way(),
            "stopping although work is under way"
        );
    }
}

/// Reads the certificates and tokens of these settings.
///
/// # Errors
/// When one cannot be used, or other nodes would refuse this one.
pub fn keyring(config: &Config) -> Result<Keyring, SecureError> {
    let keyring = Keyring::read(config.secure.clone())?;
    check_peer_identity(&config.secure, &config.own().raft)?;
    Ok(keyring)
}

/// Opens the store for backups, if there are to be any.
///
/// # Errors
/// When its address or credentials cannot be used.
pub fn backups(config: &Config) -> Result<Option<(Schedule, Store)>, StoreError> {
    let Some(schedule) = &config.backup else {
        return Ok(None);
    };
    let store = Store::open(&schedule.store)?;
    Ok(Some((schedule.clone(), store)))
}

/// Asks for as many open files as connections may need: systems start with a few.
fn raise_limit(connections: usize) {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let wanted = connections as u64 + SPARE_FILES;
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else {
        return;
    };
    if soft < wanted {
        let _ = setrlimit(Resource::RLIMIT_NOFILE, wanted.min(hard), hard);
    }
    if hard < wanted {
        warn!(
            max_connections = connections,
            open_files = hard,
            "the system allows fewer open files than there may be connections: raise it (ulimit -n, LimitNOFILE=)"
        );
    }
}

/// Something for each SIGHUP. Listening also keeps it from ending the node.
fn hangups() -> mpsc::Receiver<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let (sender, hangups) = mpsc::channel(1);
    tokio::spawn(async move {
        let Ok(mut signals) = signal(SignalKind::hangup()) else {
            return std::future::pending().await;
        };
        while signals.recv().await.is_some() {
            // One that waits stands for those after it.
            let _ = sender.try_send(());
        }
    });
    hangups
}

/// Ends only if the node must not take part in its cluster.
async fn wiped(
    bootstrapping: tokio::task::JoinHandle<Result<(), crate::bootstrap::BootstrapError>>,
) -> anyhow::Error {
    match bootstrapping.await {
        Ok(Ok(())) => std::future::pending().await,
        Ok(Err(error)) => error.into(),
        Err(panic) => panic.into(),
    }
}

/// Ends when openraft has stopped: after a failed write nothing may be believed.
async fn consensus_stopped(node: Arc<Node>) -> anyhow::Error {
    let mut metrics = node.raft().metrics();
    loop {
        if let Err(fatal) = &metrics.borrow_watched().running_state {
            return anyhow!("this node stops: {fatal}");
        }
        if metrics.changed().await.is_err() {
            return anyhow!("this node stops: consensus has ended");
        }
    }
}

/// Notes when the disk gets full, before the log meets its end.
async fn watch_the_disk(node: Arc<Node>) {
    loop {
        let path = node.config().data_dir.clone();
        let looked = off_worker(move || fs::is_nearly_full(&path, RESERVE)).await;
        let low = looked.unwrap_or(false);
        if node.log().note_low(low) {
            match low {
                true => warn!("the disk is nearly full: writes are refused"),
                false => info!("there is room on the disk again"),
            }
        }
        clock::sleep(DISK_CHECK).await;
    }
}

/// Writes a snapshot whenever enough was written since the last, and lets go of log
/// that outweighs its use to followers a little behind.
async fn take_snapshots(node: Arc<Node>) {
    let config = node.config();
    let (mut entries_seen, mut bytes_seen) = (node.machine().look(crate::state::State::applied), 0);
    loop {
        clock::sleep(SNAPSHOT_CHECK).await;
        let (applied, live) = node.machine().look(|state| (state.applied(), state.bytes()));
        let entries = applied.saturating_sub(entries_seen);
        let bytes = node.log().written().saturating_sub(bytes_seen);
        let by_entries = config.snapshot_every > 0 && entries >= config.snapshot_every;
        if entries > 0 && (by_entries || bytes >= config.snapshot_bytes.max(live)) {
            (entries_seen, bytes_seen) = (applied, node.log().written());
            if let Err(error) = node.raft().trigger().snapshot().await {
                warn!(%error, "cannot write a snapshot");
            }
        }
        // openraft keeps a number of entries, which may be large.
        let snapshot = node.metrics().snapshot.map(|log_id| log_id.index);
        if node.log().bytes() > MAX_LOG_BYTES.max(config.snapshot_bytes)
            && let Some(index) = node.log().index_leaving(KEPT_LOG_BYTES).min(snapshot)
            && let Err(error) = node.raft().trigger().purge_log(index).await
        {
            warn!(%error, "cannot purge the log");
        }
    }
}

/// Waits for SIGINT or SIGTERM, which then no longer end the process by themselves; tells
/// which.
pub async fn terminated() -> &'static str {
    use tokio::signal::unix::{SignalKind, signal};
    let listen = |kind| signal(kind).context("cannot listen for signals");
    let (Ok(mut interrupt), Ok(mut terminate)) =
        (listen(SignalKind::interrupt()), listen(SignalKind::terminate()))
    else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = interrupt.recv() => "SIGINT",
        _ = terminate.recv() => "SIGTERM",
    }
}

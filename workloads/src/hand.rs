//! A cluster to play with: `up`, `down`, `status`.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nemesis::cluster_file::ClusterFile;
use nemesis::control::{Answer, Client, Question};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::binary::Binary;
use crate::cli::UpArgs;
use crate::cluster::{self, Cluster, LabPlan};
use crate::store::RunDir;
use crate::system::{DriverKind, System};

/// How long a cluster may take to end.
const PATIENCE: Duration = Duration::from_secs(15);
/// How long a node may take to say that it is ready.
const ASKING: Duration = Duration::from_secs(2);
/// What the supervisor says when its cluster is ready.
const READY: &str = "ready";

/// Starts a cluster and leaves a supervisor behind that ends it on `down`; prints a line per node.
///
/// # Errors
/// When a cluster is running already, or this one does not come up.
pub fn up(args: &UpArgs) -> Result<()> {
    let system = System::find(&args.system)?;
    if system.driver == DriverKind::StdinJson {
        bail!("nodes on standard input and output can be reached by nobody else: use `run`, not `up`");
    }
    if let Ok((_, running)) = find(&args.store) {
        bail!(
            "a cluster is running already ({}); end it with `workloads down`",
            running.system
        );
    }
    // Built here, where cargo can show what it does.
    Binary::provide(&system, args.bug.as_deref())?;
    if args.foreground {
        return supervise(args, &system);
    }
    std::fs::create_dir_all(&args.store).with_context(|| format!("the store at {}", args.store.display()))?;
    let log = args.store.join("up.log");
    let errors = File::create(&log).with_context(|| format!("cannot write {}", log.display()))?;
    let mut supervisor = Command::new(std::env::current_exe().context("where is this program?")?)
        .args(std::env::args_os().skip(1))
        .arg("--foreground")
        .env(DETACHED, "1")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(errors)
        .spawn()
        .context("cannot start the supervisor")?;
    let lines = BufReader::new(supervisor.stdout.take().expect("just piped")).lines();
    for line in lines.map_while(Result::ok) {
        if line == READY {
            nemesis::say!(
                "end it with `workloads down`; break it with `nemesis partition halves`, `nemesis kill n1`, ..."
            );
            return Ok(());
        }
        nemesis::say!("{line}");
    }
    let _ = supervisor.wait();
    let said = std::fs::read_to_string(&log).unwrap_or_default();
    bail!("{}", said.trim().trim_start_matches("workloads: "))
}

/// Tells a supervisor that nobody waits at its terminal.
const DETACHED: &str = "ORDEAL_DETACHED";

fn supervise(args: &UpArgs, system: &System) -> Result<()> {
    let detached = std::env::var_os(DETACHED).is_some();
    if detached {
        // A session of its own: the terminal may close.
        nix::unistd::setsid().context("cannot leave the terminal's session")?;
    }
    let owner = std::process::id();
    let binary = Binary::provide(system, args.bug.as_deref())?;
    let seat = cluster::enter()?;
    let dir = RunDir::create(
        &args.store,
        &format!("{}-up", system.name),
        jiff::Timestamp::now(),
    )?;
    let plan = LabPlan {
        system,
        binary: &binary,
        bug: args.bug.as_deref(),
        nodes: usize::from(args.nodes),
        dir: &dir,
        seed: 0,
        net: args.net,
        host_port: args.port,
        // A fresh cluster for playing has real disks and true clocks.
        faults: &[],
        owner,
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("the tokio runtime")?;
    let ended = Cluster::start(seat, &plan, &runtime).and_then(|cluster| {
        let ended = runtime.block_on(serve(&cluster, system));
        cluster.stop();
        ended
    });
    dir.release().context("the links of the store")?;
    ended
}

/// Prints where the nodes are, then waits to be told to end.
async fn serve(cluster: &Cluster, system: &System) -> Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate()).context("cannot catch SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot catch Ctrl-C")?;
    let client = cluster.client(system, ASKING)?;
    cluster.wait_ready(system, &client).await?;
    cluster.set_up(system, &client).await?;
    cluster.council(system, &client);
    let mut out = std::io::stdout();
    for member in &cluster.members {
        let host = member.host.context("the lab forwards every node")?;
        writeln!(out, "{} http://{host}", member.id)?;
    }
    writeln!(out, "{READY}")
        .and_then(|()| out.flush())
        .context("nobody listens")?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}

/// Ends the cluster that is running.
///
/// # Errors
/// When there is none, or it does not end.
pub fn down(store: &Path) -> Result<()> {
    let (folder, file) = find(store)?;
    let owner = Pid::from_raw(i32::try_from(file.owner).context("the owner's process id")?);
    kill(owner, Signal::SIGTERM)
        .with_context(|| format!("cannot end process {owner}, which owns the cluster"))?;
    let deadline = Instant::now() + PATIENCE;
    while folder.join(nemesis::cluster_file::FILE_NAME).exists() || kill(owner, None).is_ok() {
        if Instant::now() > deadline {
            bail!(
                "process {owner} still runs after {PATIENCE:?}; kill -9 {owner} ends it and the cluster with it"
            );
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    nemesis::say!(
        "the {} cluster has ended; its logs and data are in {}",
        file.system,
        folder.display()
    );
    Ok(())
}

/// Shows the cluster that is running.
///
/// # Errors
/// When there is none.
pub fn status(store: &Path) -> Result<()> {
    let (folder, file) = find(store)?;
    let answer = Client::connect(&folder)?.ask(&Question::Status)?;
    let Answer::Status(status) = answer else {
        bail!("the cluster's owner answers something else: {answer:?}")
    };
    nemesis::say!(
        "{} in the {}, owned by process {}",
        file.system,
        status.backend,
        file.owner
    );
    for (node, state) in &status.nodes {
        let place = file.nodes.iter().find(|other| other.id == *node);
        let url = place.and_then(|place| place.host_url.as_deref()).unwrap_or("");
        let leads = if status.leader.as_ref() == Some(node) {
            "  leader"
        } else {
            ""
        };
        nemesis::say!("{node} {url}  {state}{leads}");
    }
    for fault in &status.faults {
        nemesis::say!("fault {} {}: {}", fault.id, fault.fault, fault.description);
    }
    nemesis::say!("logs and data: {}", folder.display());
    Ok(())
}

/// The running cluster of a store: its folder and its description. What a killed owner left is taken away.
fn find(store: &Path) -> Result<(PathBuf, ClusterFile)> {
    let none = || {
        format!(
            "no cluster is running (none in {}); start one with `workloads up`",
            store.display()
        )
    };
    let folder = store.join("current");
    if !folder.join(nemesis::cluster_file::FILE_NAME).exists() {
        bail!("{}", none());
    }
    let folder = folder.canonicalize().with_context(none)?;
    let file = ClusterFile::read(&folder)?;
    if Client::connect(&folder).is_err() {
        let _ = std::fs::remove_file(folder.join(nemesis::cluster_file::FILE_NAME));
        let _ = std::fs::remove_file(store.join("current"));
        bail!(
            "{}: its owner was killed, and what it left has been taken away",
            none()
        );
    }
    Ok((folder, file))
}

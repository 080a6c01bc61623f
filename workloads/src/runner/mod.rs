//! A run from its first process to its last line.
//!
//! The order is fixed: start the cluster, wait until it is ready, load it while the schedule of faults is
//! carried out, heal, wait until it is ready again, read every key through every node, compare the replicas,
//! end the cluster, check the history, write the report. Ctrl-C at any moment ends the cluster as it stands, and
//! what there is gets checked for a moment; a second one ends the program, and the lab with it.

mod alarm;
mod attempts;
pub mod bench;
mod conclude;
mod faults;
mod online;
mod room;
mod schedule;
mod signals;
mod standing;
mod workers;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use checker::history::{Header, Nanos};
use tokio::sync::watch;

pub use conclude::{analyze, last_line};

use crate::binary::Binary;
use crate::cli::ClusterKind;
use crate::client::Client;
use crate::cluster::{self, Cluster, LabPlan};
use crate::config::RunConfig;
use crate::evidence::{FINAL, LOAD, Minimum, Note, Plan};
use crate::generator::{FinalReads, Invocation, Paced, TimeLimit};
use crate::live::{Live, Tally};
use crate::recorder::Recorder;
use crate::store::{RunDir, write_whole};
use crate::system::Clients;
use crate::workload::Load;
use alarm::AlarmClock;
use conclude::{Particulars, conclude};
use faults::{Driver, Watch};
use signals::Signals;
use workers::Crew;

/// When a healed cluster has settled: longer than elections take, and than leases last.
const SETTLED: Duration = Duration::from_secs(1);
/// How long the final reads may take.
const FINAL_READS: Duration = Duration::from_secs(20);
/// How long they may take once more, where the first time some got no answer.
const READ_AGAIN: Duration = Duration::from_secs(5);
/// How long replicas may take to stand at one applied index.
const LEVEL: Duration = Duration::from_secs(5);
/// Of the operations that the rate would allow, the share that must have succeeded.
const LEAST_SHARE: f64 = 0.02;
/// And at least so many of each, however short the run.
const LEAST: u64 = 10;
/// Sets the schedule's random stream apart from the load's.
const SCHEDULE_STREAM: u64 = 0x6e65_6d65_7369_7321;
/// Sets the random intervals between operations apart from both.
const ARRIVALS_STREAM: u64 = 0x6172_7269_7661_6c73;
/// How often the history is handed to the system and the view redrawn.
const PULSE: Duration = Duration::from_millis(100);

/// Runs a test; returns its exit code: 0 valid, 1 illegal, 2 unknown.
///
/// # Errors
/// When the cluster could not be started, or the harness broke: no verdict then.
pub fn run(config: &RunConfig) -> Result<u8> {
    let owner = std::process::id();
    room::make_room(config.concurrency)?;
    let (subject, seat) = match config.cluster {
        ClusterKind::Lab => {
            let binary = Binary::provide(&config.system, config.bug.as_deref())?;
            // From here on in the lab; the caller's process stays outside and exits with our code.
            (Subject::Program(binary), Some(cluster::enter()?))
        }
        ClusterKind::Docker => {
            let (image, id) = cluster::image()?;
            (Subject::Image(image, id), None)
        }
    };
    let dir = RunDir::create(&config.store, &config.test_name(), jiff::Timestamp::now())?;
    write_whole(&dir.join("test.toml"), config.to_toml().as_bytes())?;
    nemesis::say!(
        "{}: seed {}, {}",
        config.test_name(),
        config.seed,
        dir.path().display()
    );
    config.left_out.iter().for_each(|note| nemesis::say!("  {note}"));
    let runtime = clients_runtime(None)?;
    let cluster = match (&subject, seat) {
        (Subject::Program(binary), Some(seat)) => {
            let plan = LabPlan {
                system: &config.system,
                binary,
                bug: config.bug.as_deref(),
                nodes: config.nodes,
                dir: &dir,
                seed: config.seed,
                net: config.net,
                host_port: None,
                faults: &config.families.concat(),
                owner,
            };
            Cluster::start(seat, &plan, &runtime)
        }
        _ => Cluster::start_docker(&config.system, &dir, config.seed),
    };
    let live = Arc::new(Live::new(config.time_limit));
    let signals = Signals::heed(&runtime, &live)?;
    let outcome = cluster.and_then(|cluster| {
        let outcome = plan_faults(config, &cluster, &dir).and_then(|faults| {
            let run = Run {
                config,
                subject: &subject,
                cluster: &cluster,
                dir: &dir,
                faults: &faults,
            };
            runtime.block_on(run.go(&signals, &live))
        });
        cluster.stop();
        outcome
    });
    let latest = dir.finish().context("the links of the store")?;
    outcome.with_context(|| format!("no verdict; what there is lies in {}", dir.path().display()))?;
    let code = conclude(dir.path(), config.check_limit, Some(&signals))?;
    nemesis::say!("report: {}", latest.join("report.html").display());
    nemesis::say!("{}", last_line(code));
    // What was interrupted may still be under way; it ends with us.
    runtime.shutdown_background();
    Ok(code)
}

/// Where the clients run.
///
/// On few threads, one for every four processors and two at least where nobody says how many: a client wakes the task
/// of its connection and is woken by it, which is often a call of the kernel. The other processors are for the nodes,
/// the lab's network, and the judge. One thread alone on two processors was no better: 11.1 thousand operations a second
/// beside 12.0 and 12.5 thousand with two, by turns.
fn clients_runtime(threads: Option<u8>) -> Result<tokio::runtime::Runtime> {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let threads = threads.map_or((processors / 4).max(2), usize::from);
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(threads)
        .thread_name("clients")
        .enable_all()
        .build()
        .context("the tokio runtime")
}

/// What is put to the test.
enum Subject {
    /// A program on this machine.
    Program(Binary),
    /// An image by its name, and its id.
    Image(String, String),
}

impl Subject {
    /// What it is, for the report.
    fn versions(&self) -> Vec<(&'static str, String)> {
        match self {
            Self::Program(binary) => {
                let program = match binary.version.as_str() {
                    "" => binary.path.display().to_string(),
                    version => version.to_owned(),
                };
                vec![("node program", program), ("its SHA-256", binary.sha256.clone())]
            }
            Self::Image(name, id) => vec![("image", name.clone()), ("its id", id.clone())],
        }
    }
}

struct Run<'a> {
    config: &'a RunConfig,
    subject: &'a Subject,
    cluster: &'a Cluster,
    dir: &'a RunDir,
    faults: &'a nemesis::plan::Plan,
}

/// Draws the plan of faults, or takes the one given, checks that the cluster can do all of it, and saves it.
fn plan_faults(config: &RunConfig, cluster: &Cluster, dir: &RunDir) -> Result<nemesis::plan::Plan> {
    let plan = match &config.plan {
        Some((_, plan)) => nemesis::plan::Plan {
            length: nemesis::Span(config.time_limit),
            ..plan.clone()
        },
        // A stream of its own, so that the load's choices do not shift it.
        None => schedule::draw(
            &config.families,
            config.at_once,
            config.time_limit,
            config.seed ^ SCHEDULE_STREAM,
        )?,
    };
    cluster.nemesis.lock().check(&plan)?;
    write_whole(&dir.join("plan.json"), plan.to_json().as_bytes())?;
    Ok(plan)
}

impl Run<'_> {
    /// Everything between a cluster whose processes run and a whole history.
    async fn go(self, signals: &Signals, live: &Arc<Live>) -> Result<()> {
        let config = self.config;
        let client = self.cluster.client(&config.system, config.timeout)?;
        let (stop, stopped) = watch::channel(false);
        tokio::select! {
            begun = self.begin(&client) => begun?,
            name = signals.first() => {
                bail!("{name} while the cluster was starting: nothing was recorded, there is nothing to check")
            }
        }
        for member in &self.cluster.members {
            if let Some(host) = member.host {
                nemesis::say!("  {} http://{host}", member.id);
            }
        }
        let header = self.header();
        let judge = online::judge(&header, (!config.keep_going).then(|| stop.clone()), live)?;
        let recorder = Recorder::create(&self.dir.join("history.jsonl"), &header, Some(judge.events))?;
        let recorder = Arc::new(recorder);
        let watch = Watch::new(
            recorder.clone(),
            live.clone(),
            (!config.keep_going).then(|| stop.clone()),
        );
        watch.over(&mut self.cluster.nemesis.lock());
        let nodes: Vec<(String, SocketAddr)> = self
            .cluster
            .members
            .iter()
            .take(match config.system.clients {
                Clients::All => usize::MAX,
                Clients::First => 1,
            })
            .map(|member| (member.id.to_string(), member.client))
            .collect();
        let node_count = nodes.len();
        let mut crew = Crew {
            system: Arc::new(config.system.clone()),
            nodes: nodes.into(),
            client: client.clone(),
            workload: config.workload,
            recorder: recorder.clone(),
            tally: Arc::new(Tally::default()),
            concurrency: config.concurrency,
            first_process: 0,
            signals: signals.clone(),
            clock: AlarmClock::start().context("a timer to wake the clients")?,
        };
        let council = self.cluster.council(&config.system, &client);
        let standing = council.map(|council| standing::watch(council, recorder.clone()));
        let pulse = Pulse::start(&recorder, live, &crew.tally, stop.clone())?;

        let load = async {
            let load = crew.work(self.load(), stopped.clone()).await;
            // The load has the time limit; faults end with it.
            stop.send_replace(true);
            load
        };
        // A fault that is being applied is not waited for when somebody asks to end.
        let faults = async {
            tokio::select! {
                () = self.break_things(&recorder, live, &client, stopped.clone()) => {}
                _ = signals.first() => { stop.send_replace(true); }
            }
        };
        let (load, ()) = tokio::join!(load, faults);
        let load = load?;
        let last = |node| load.inner().inner().final_reads(node);
        let cut_short = match recorder.flush() {
            Ok(()) => signals
                .came()
                .or_else(|| judge.violated.borrow().clone().filter(|_| !config.keep_going))
                .or_else(|| watch.ended_by()),
            Err(error) => Some(format!("the history cannot be written: {error}")),
        };
        let over = Note::LoadOver { cut_short }.record(&recorder, "load-over");
        if signals.came().is_none() {
            live.say(&format!(
                "{:>6.1} s  load over; healing, then {} reads through every node",
                over.as_seconds(),
                last(0).len()
            ));
        }
        let violated = judge.violated.borrow().is_some();
        let aftermath = self.aftermath(&mut crew, &recorder, last, node_count, violated);
        let ended = tokio::select! {
            ended = aftermath => Some(ended?),
            _ = signals.first() => None,
        };
        if let Some(standing) = standing {
            standing.abort();
        }
        match ended {
            Some(over) => over.record(&recorder, "over"),
            None => Note::CutShort {
                by: signals.came().unwrap_or_default(),
            }
            .record(&recorder, "cut-short"),
        };
        drop(pulse);
        live.finish();
        recorder
            .flush()
            .context(
                "the history cannot be written to its end; make room, then `workloads analyze` judges what there is",
            )
    }

    /// What comes after the load: heals, reads everything through every node, compares the replicas.
    async fn aftermath(
        &self,
        crew: &mut Crew,
        recorder: &Arc<Recorder>,
        last: impl Fn(usize) -> Vec<Invocation>,
        node_count: usize,
        violated: bool,
    ) -> Result<Note> {
        let not_ready = self.heal(&crew.client).await;
        Note::Healed { not_ready }.record(recorder, "healed");
        // The final reads end by themselves.
        let (_running, never) = watch::channel(false);
        let within = |time: Duration| Nanos(recorder.now().0 + time.as_nanos() as u64);
        let mut reads = crew
            .work(
                FinalReads::new(&last, node_count, within(FINAL_READS)),
                never.clone(),
            )
            .await?;
        if violated {
            // A leader that was cut off may not know yet that it leads no more. Once more, when it does: only then
            // is an answer that was old told from a write that is lost.
            tokio::time::sleep(SETTLED).await;
            // Who did not answer in all that time will not now.
            let limit = if reads.unread() > 0 {
                READ_AGAIN
            } else {
                FINAL_READS
            };
            reads = crew
                .work(FinalReads::new(&last, node_count, within(limit)), never)
                .await?;
        }
        let replicas = self
            .cluster
            .replica_states(&self.config.system, &crew.client, LEVEL)
            .await;
        Ok(Note::Over {
            unread: reads.unread() as u64,
            replicas,
        })
    }

    /// Waits until the cluster can be put to the test.
    async fn begin(&self, client: &Client) -> Result<()> {
        self.cluster.wait_ready(&self.config.system, client).await?;
        self.cluster.set_up(&self.config.system, client).await
    }

    fn header(&self) -> Header {
        let config = self.config;
        let mut header = Header {
            seed: Some(config.seed),
            started: Some(jiff::Timestamp::now().to_string()),
            system: Some(config.system.name.clone()),
            nodes: self
                .cluster
                .members
                .iter()
                .map(|member| member.id.to_string())
                .collect(),
            ..Header::for_model(config.workload.model)
        };
        for (name, value) in config.workload.header {
            header.other.insert((*name).to_owned(), (*value).into());
        }
        let mut versions = vec![("ordeal", env!("CARGO_PKG_VERSION").to_owned())];
        versions.extend(self.subject.versions());
        versions.push(("kernel", conclude::kernel()));
        versions.push((
            "processors",
            std::thread::available_parallelism()
                .map_or(0, usize::from)
                .to_string(),
        ));
        let particulars = Particulars {
            test: config.test_name(),
            plan: self.plan(),
            settings: config.settings(),
            versions: versions
                .into_iter()
                .map(|(name, value)| (name.to_owned(), value))
                .collect(),
            again: config.again(),
            addresses: self
                .cluster
                .members
                .iter()
                .map(|member| member.client.to_string())
                .collect(),
            notes: config.left_out.clone(),
        };
        particulars.into_header(&mut header);
        header
    }

    /// What the run must do to count: some of everything while faults are on, and reads after them.
    fn plan(&self) -> Plan {
        let config = self.config;
        let load = self.clients();
        let planned = config.rate * config.time_limit.as_secs_f64();
        let of = |share: f64| ((planned * share * LEAST_SHARE) as u64).max(LEAST);
        let while_loaded = load.shares().into_iter().map(|(f, share)| (LOAD, f, of(share)));
        let after = load
            .final_reads(0)
            .first()
            .map(|read| (FINAL, read.f, config.nodes as u64));
        let minimum = while_loaded.chain(after);
        let minimum = minimum.map(|(phase, f, ok)| Minimum {
            phase: phase.to_owned(),
            f: f.to_owned(),
            ok,
        });
        let mut faults: Vec<String> = self
            .faults
            .steps
            .iter()
            .map(|step| step.fault.name().to_owned())
            .collect();
        faults.sort();
        faults.dedup();
        Plan {
            faults,
            minimum: minimum.collect(),
        }
    }

    fn load(&self) -> TimeLimit<Paced<Box<dyn Load>>> {
        let config = self.config;
        let paced = Paced::new(self.clients(), config.pace, config.rate);
        TimeLimit::new(
            // A stream of its own, so that the load's choices do not shift with the pace.
            paced.arriving(config.arrivals, config.seed ^ ARRIVALS_STREAM),
            Nanos(config.time_limit.as_nanos() as u64),
        )
    }

    /// What the clients do, at nobody's pace.
    fn clients(&self) -> Box<dyn Load> {
        self.config.clients().expect("checked with the settings")
    }

    /// Carries the plan of faults out until it or the load is over.
    async fn break_things(
        &self,
        recorder: &Arc<Recorder>,
        live: &Arc<Live>,
        client: &Client,
        stop: watch::Receiver<bool>,
    ) {
        let driver = Driver {
            nemesis: self.cluster.nemesis.clone(),
            recorder: recorder.clone(),
            live: live.clone(),
            stop,
        };
        let ready = || async { self.cluster.wait_ready(&self.config.system, client).await.is_ok() };
        driver.carry_out(self.faults, ready).await;
    }

    /// Undoes whatever is in force, has the whole cluster looked at, and waits until it serves; returns what
    /// is not well.
    async fn heal(&self, client: &Client) -> Vec<String> {
        let nemesis = self.cluster.nemesis.clone();
        let healed = tokio::task::spawn_blocking(move || nemesis.lock().heal()).await;
        let mut not_well: Vec<String> = match healed.expect("the nemesis does not panic") {
            Ok(healed) => healed
                .seen
                .iter()
                .filter(|probe| !probe.as_wanted())
                .map(ToString::to_string)
                .collect(),
            Err(error) => vec![error.to_string()],
        };
        if let Err(error) = self.cluster.wait_ready(&self.config.system, client).await {
            not_well.push(format!("{error:#}"));
        }
        not_well
    }
}

/// Keeps the file and the view up to date, until dropped; a history that cannot be written ends the load.
///
/// On a thread of its own: a slow disk or terminal must not hold up the clients.
struct Pulse {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Pulse {
    fn start(
        recorder: &Arc<Recorder>,
        live: &Arc<Live>,
        tally: &Arc<Tally>,
        stop_load: watch::Sender<bool>,
    ) -> Result<Self> {
        let (recorder, live, tally) = (recorder.clone(), live.clone(), tally.clone());
        let (stop, stopped) = channel::<()>();
        let beat = move || {
            let mut said = false;
            while let Err(RecvTimeoutError::Timeout) = stopped.recv_timeout(PULSE) {
                if let Err(error) = recorder.flush()
                    && !std::mem::replace(&mut said, true)
                {
                    live.say(&format!(
                        "the history cannot be written: {error}; stopping the load"
                    ));
                    stop_load.send_replace(true);
                }
                live.tick(Duration::from_nanos(recorder.now().0), &tally);
            }
        };
        let thread = std::thread::Builder::new()
            .name("pulse".into())
            .spawn(beat)
            .context("a thread to keep the history up to date")?;
        Ok(Self {
            stop: Some(stop),
            thread: Some(thread),
        })
    }
}

impl Drop for Pulse {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread that keeps the history up to date panicked");
        }
    }
}

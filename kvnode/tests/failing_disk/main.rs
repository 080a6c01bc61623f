//! A node on a disk that fails. When its fsync fails at the Nth call it stops, says why, and
//! whatever it acknowledged is there when it comes back on a disk that works; when the disk is
//! full at its start it waits for room.
//!
//! Called with `node`, this program is such a node: the one that ships, on another
//! [`Disk`](kvnode::env::fs::Disk). Called without, it is the tests.

mod disk;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use clap::{CommandFactory, FromArgMatches, ValueEnum};
use kvnode::cli::Cli;
use kvnode::env::fs;
use kvnode::run::End;
use kvnode::seams::Seams;

use disk::{FailingDisk, Failure};

/// How long anything that must happen may take on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(60);
/// The latest fsync that fails. The first few are those of a start, the others each
/// stand under one write.
const LAST: u64 = 16;
/// Writes before the test gives up waiting for the disk to fail.
const WRITES: u64 = 200;

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1).peekable();
    if arguments.next_if(|first| first == "node").is_some() {
        let failure = arguments
            .next()
            .and_then(|name| Failure::from_str(&name, true).ok())
            .expect("how the disk fails");
        let number = arguments
            .next()
            .and_then(|text| text.parse().ok())
            .expect("when, or how often");
        return node(FailingDisk::new(failure, number), arguments.collect());
    }
    // Filters of `cargo test` name other tests unless they name one of these.
    let filters: Vec<String> = arguments.filter(|argument| !argument.starts_with('-')).collect();
    let wanted =
        |name: &str| filters.is_empty() || filters.iter().any(|filter| name.contains(filter.as_str()));
    let tests: [(&str, fn()); 2] = [
        ("a_failed_fsync_stops_the_node", failed_fsyncs_stop_the_node),
        (
            "a_start_waits_for_room_on_the_disk",
            a_start_waits_for_room_on_the_disk,
        ),
    ];
    for (name, test) in tests.into_iter().filter(|(name, _)| wanted(name)) {
        test();
        println!("{name}: ok");
    }
    ExitCode::SUCCESS
}

fn node(disk: FailingDisk, flags: Vec<String>) -> ExitCode {
    let flags = std::iter::once("kvnode".to_owned()).chain(flags);
    let matches = Cli::command().get_matches_from(flags);
    let cli = Cli::from_arg_matches(&matches).expect("flags of a node");
    let plan = cli.node.plan(&matches).expect("settings of a node");
    tracing_subscriber::fmt()
        .with_max_level(tracing::Level::WARN)
        .with_ansi(false)
        .with_writer(std::io::stderr)
        .init();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("a runtime");
    let node = kvnode::run::run(
        plan.config,
        disk,
        Seams::default(),
        std::convert::identity,
        |_| {},
    );
    match runtime
        .block_on(async { tokio::spawn(node).await })
        .expect("no panic")
    {
        Ok(()) => ExitCode::SUCCESS,
        Err(end) => {
            eprintln!("kvnode: {end}");
            ExitCode::from(if matches!(end, End::Input(_)) { 254 } else { 255 })
        }
    }
}

/// Where a node is, and how it is started.
struct Place {
    folder: tempfile::TempDir,
    http: SocketAddr,
    flags: [String; 6],
}

impl Place {
    fn free() -> Place {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let port = || kvnode::env::net::free_port(0).expect("a free port");
        let http = SocketAddr::from(([127, 0, 0, 1], port()));
        let cluster = format!("n1=127.0.0.1:{}:{}", http.port(), port());
        let data = folder.path().join("data").display().to_string();
        let flags = ["--node", "n1", "--cluster", &cluster, "--data-dir", &data].map(str::to_owned);
        Place { folder, http, flags }
    }

    /// Starts a node here whose disk fails so.
    fn start(&self, failure: Failure, number: u64) -> Running {
        let own = std::env::current_exe().expect("this program");
        let name = failure.to_possible_value().expect("a name").get_name().to_owned();
        let log = fs::create(&self.log()).expect("a log");
        let mut command = Command::new(own);
        command
            .args(["node", &name, &number.to_string()])
            .args(&self.flags);
        Running(command.stderr(log).spawn().expect("the node starts"))
    }

    fn log(&self) -> PathBuf {
        self.folder.path().join("log")
    }

    /// What a node here has said.
    fn told(&self) -> String {
        let log = fs::read_if_there(&self.log()).expect("a log");
        String::from_utf8_lossy(&log.unwrap_or_default()).into_owned()
    }
}

/// A node that is started while its disk is full comes up when there is room, and says what
/// it waits for.
fn a_start_waits_for_room_on_the_disk() {
    let place = Place::free();
    let mut node = place.start(Failure::Full, 2);
    eventually("the node is up", || {
        assert_eq!(node.0.try_wait().expect("its status"), None, "{}", place.told());
        get(place.http, "/set?key=k&value=v").filter(|(status, _)| *status == 200)
    });
    let told = place.told();
    assert_eq!(told.matches("waiting for room to start").count(), 1, "{told}");
}

fn failed_fsyncs_stop_the_node() {
    let stopped = (1..=LAST)
        .filter(|&fails_at| a_failed_fsync_stops_the_node(fails_at) == 255)
        .count();
    assert!(stopped > 5, "only {stopped} nodes ran before their disk failed");
}

/// One node; tells the exit code with which it stopped.
fn a_failed_fsync_stops_the_node(fails_at: u64) -> i32 {
    let place = Place::free();
    let mut failing = place.start(Failure::Fsync, fails_at);
    let mut acknowledged = Vec::new();
    let code = eventually("the node stops", || {
        let number = acknowledged.last().map_or(0, |last| last + 1);
        assert!(
            number < WRITES,
            "fsync {fails_at} failed and {number} writes were acknowledged"
        );
        let set = format!("/set?key=k{number}&value={number}");
        if get(place.http, &set).is_some_and(|(status, _)| status == 200) {
            acknowledged.push(number);
        }
        failing.0.try_wait().expect("its status")
    });
    let told = place.told();
    let mut said = told.lines().filter(|line| line.starts_with("kvnode: "));
    assert!(
        said.any(|line| line.contains("the disk gave up")),
        "fsync {fails_at}: {told}"
    );

    let mut healthy = Command::new(env!("CARGO_BIN_EXE_kvnode"));
    healthy.args(&place.flags).stderr(Stdio::null());
    let _healthy = Running(healthy.spawn().expect("kvnode starts"));
    eventually("the node is back", || {
        get(place.http, "/ready").filter(|(status, _)| *status == 200)
    });
    for number in &acknowledged {
        let (status, body) = get(place.http, &format!("/get?key=k{number}&raw=1")).expect("an answer");
        assert_eq!(
            (status, body),
            (200, number.to_string()),
            "fsync {fails_at}: k{number}"
        );
    }
    code.code().expect("it was not killed")
}

struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[expect(clippy::disallowed_methods, reason = "the tests are the outside world")]
fn eventually<T>(what: &str, mut found: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = found() {
            return found;
        }
        assert!(Instant::now() < deadline, "{what}: not within {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Status and body of an answer, if there is one.
#[expect(clippy::disallowed_methods, reason = "the tests are the outside world")]
fn get(from: SocketAddr, target: &str) -> Option<(u16, String)> {
    let mut stream = TcpStream::connect(from).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    let request = format!("GET {target} HTTP/1.1\r\nhost: {from}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    Some((head.split(' ').nth(1)?.parse().ok()?, body.to_owned()))
}

//! A node on a disk whose fsync fails at the Nth call: it stops, says why, and whatever
//! it acknowledged is there when it comes back on a disk that works.
//!
//! Called with `node`, this program is such a node: the one that ships, on another
//! [`Disk`](kvnode::env::fs::Disk). Called without, it is the test.

mod disk;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use clap::{CommandFactory, FromArgMatches};
use kvnode::cli::Cli;
use kvnode::run::End;
use kvnode::seams::Seams;

/// How long anything that must happen may take on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(60);
/// The latest fsync that fails. The first few are those of a start, the others each
/// stand under one write.
const LAST: u64 = 16;
/// Writes before the test gives up waiting for the disk to fail.
const WRITES: u64 = 200;

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1).peekable();
    if arguments.peek().is_some_and(|first| first == "node") {
        let fails_at = arguments
            .nth(1)
            .and_then(|text| text.parse().ok())
            .expect("which fsync fails");
        return node(fails_at, arguments.collect());
    }
    // Filters of `cargo test` name other tests unless they name this one.
    let name = "a_failed_fsync_stops_the_node";
    let filters: Vec<String> = arguments.filter(|argument| !argument.starts_with('-')).collect();
    if !filters.is_empty() && !filters.iter().any(|filter| name.contains(filter.as_str())) {
        return ExitCode::SUCCESS;
    }
    let stopped = (1..=LAST)
        .filter(|&fails_at| a_failed_fsync_stops_the_node(fails_at) == 255)
        .count();
    assert!(stopped > 5, "only {stopped} nodes ran before their disk failed");
    println!("{name}: {LAST} disks failed, nothing acknowledged was lost");
    ExitCode::SUCCESS
}

fn node(fails_at: u64, flags: Vec<String>) -> ExitCode {
    let flags = std::iter::once("kvnode".to_owned()).chain(flags);
    let matches = Cli::command().get_matches_from(flags);
    let cli = Cli::from_arg_matches(&matches).expect("flags of a node");
    let plan = cli.node.plan(&matches).expect("settings of a node");
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("a runtime");
    let disk = disk::FailingDisk::new(fails_at);
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

/// One node; tells the exit code with which it stopped.
fn a_failed_fsync_stops_the_node(fails_at: u64) -> i32 {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let port = || kvnode::env::net::free_port(0).expect("a free port");
    let http = SocketAddr::from(([127, 0, 0, 1], port()));
    let cluster = format!("n1=127.0.0.1:{}:{}", http.port(), port());
    let flags = |data: &Path| {
        let data = data.display().to_string();
        ["--node", "n1", "--cluster", &cluster, "--data-dir", &data].map(str::to_owned)
    };
    let data = folder.path().join("data");
    let own = std::env::current_exe().expect("this program");
    let mut failing = Command::new(own);
    failing.args(["node", &fails_at.to_string()]).args(flags(&data));
    let mut failing = Running(failing.stderr(Stdio::piped()).spawn().expect("the node starts"));

    let mut acknowledged = Vec::new();
    let code = eventually("the node stops", || {
        let number = acknowledged.last().map_or(0, |last| last + 1);
        assert!(
            number < WRITES,
            "fsync {fails_at} failed and {number} writes were acknowledged"
        );
        if get(http, &format!("/set?key=k{number}&value={number}")).is_some_and(|(status, _)| status == 200) {
            acknowledged.push(number);
        }
        failing.0.try_wait().expect("its status")
    });
    let mut told = String::new();
    let stderr = failing.0.stderr.as_mut().expect("piped");
    stderr.read_to_string(&mut told).expect("what it said");
    assert!(
        told.lines()
            .last()
            .is_some_and(|line| line.contains("the disk gave up")),
        "fsync {fails_at}: {told}"
    );

    let mut healthy = Command::new(env!("CARGO_BIN_EXE_kvnode"));
    healthy.args(flags(&data)).stderr(Stdio::null());
    let _healthy = Running(healthy.spawn().expect("kvnode starts"));
    eventually("the node is back", || {
        get(http, "/ready").filter(|(status, _)| *status == 200)
    });
    for number in &acknowledged {
        let (status, body) = get(http, &format!("/get?key=k{number}&raw=1")).expect("an answer");
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

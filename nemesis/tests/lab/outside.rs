//! The host's side: starts scenarios and looks at what they leave behind.

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, ExitCode, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};

use crate::node::ask;

/// Longer than anything here takes, even on a busy machine.
const PATIENCE: Duration = Duration::from_secs(180);
/// Every process of a scenario carries this variable, so that what is left of
/// it is found whoever its parent is by then.
const MARK: &str = "NEMESIS_TEST_MARK";

type Test = (&'static str, fn(&Scene));

const TESTS: [Test; 23] = [
    ("five nodes are cut, killed, paused, restarted", |scene| {
        scene.exits("cut-kill-pause-restart-forward", 0);
    }),
    (
        "all processes of a node are paused and killed, whatever their group",
        |scene| {
            scene.exits("company", 0);
        },
    ),
    ("links get slow, lossy, narrow, and good again", |scene| {
        scene.exits("links", 0);
    }),
    ("the kernel's own network is cut, nodes killed", |scene| {
        scene.exits("everything-iptables", 0);
    }),
    ("the kernel's own links get lossy and narrow", |scene| {
        scene.exits("links-iptables", 0);
    }),
    ("without a TUN driver the kernel's network serves", |scene| {
        scene.exits("no-tun-switch", 0);
        scene.exits("no-tun", 0);
    }),
    ("a majority is killed, all are restarted in turn", |scene| {
        scene.exits("many", 0);
    }),
    ("files of a dead node are damaged", |scene| {
        scene.exits("damage", 0);
    }),
    ("machines behind sshd are cut, killed, damaged", |scene| {
        scene.exits("ssh", 0);
    }),
    ("disks lose power, fill up, fail, slow down and rot", |scene| {
        scene.exits("disk", 0);
    }),
    ("clocks jump, run and strobe", |scene| {
        scene.exits("clock", 0);
        let left = scene.folder.path().join("n1/clock/faketime");
        assert!(!left.exists(), "the clock file went with the lab");
    }),
    ("a plain user has a lab", plain_user),
    ("SIGKILL at any moment ends all", killed_at_any_moment),
    (
        "a node that does not start is told with its last words",
        |scene| {
            scene.exits("broken", 0);
            scene.exits("missing", 0);
        },
    ),
    ("a node is not started again as another program", |scene| {
        scene.exits("replaced", 0);
    }),
    ("a port in use is a clear error", |scene| {
        let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = taken.local_addr().expect("bound").port();
        std::fs::write(scene.folder.path().join("port"), port.to_string()).expect("writable");
        scene.exits("port-in-use", 0);
    }),
    ("a crash is told once and not healed away", |scene| {
        scene.exits("crash", 0);
    }),
    ("the exit code comes through", |scene| {
        scene.exits("exit-9", 9);
    }),
    ("a panic leaves nothing", |scene| {
        scene.exits("panic", 101);
    }),
    ("nodes are reached from the host", reached_from_the_host),
    ("ctrl-c ends all", |scene| {
        ended_by(scene, Signal::SIGINT);
    }),
    ("SIGKILL of the outer process ends all", |scene| {
        ended_by(scene, Signal::SIGKILL);
    }),
    ("SIGKILL of any process of it ends all", killed_within),
];

pub(crate) fn run_all(filter: Option<&str>) -> ExitCode {
    let mut failed = 0;
    for (name, test) in TESTS {
        if filter.is_some_and(|filter| !name.contains(filter)) {
            continue;
        }
        let scene = Scene::new(name);
        let outcome = std::panic::catch_unwind(|| test(&scene));
        let left = scene.processes();
        let verdict = match (&outcome, left.is_empty()) {
            (Ok(()), true) => "ok",
            (Err(panic), _) if panic.is::<Skipped>() => {
                "SKIPPED: it cannot be played on this machine (said above)"
            }
            (Ok(()), false) => "FAILED: processes were left",
            (Err(_), _) => "FAILED",
        };
        failed += usize::from(verdict.starts_with("FAILED"));
        println!("test {name} ... {verdict}");
        for pid in left {
            println!(
                "  left: {pid:?} {}",
                std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default()
            );
            let _ = kill(pid, Signal::SIGKILL);
        }
    }
    ExitCode::from(u8::from(failed > 0))
}

/// Thrown through a test that cannot be run here.
struct Skipped;

/// A folder and a mark for the processes of one test.
struct Scene {
    folder: tempfile::TempDir,
    mark: String,
}

impl Scene {
    fn new(name: &str) -> Scene {
        let mark = format!("{MARK}={}-{}", std::process::id(), name.replace(' ', "-"));
        Scene {
            folder: tempfile::tempdir().expect("a temporary folder"),
            mark,
        }
    }

    fn start(&self, scenario: &str) -> Child {
        let (key, value) = self.mark.split_once('=').expect("a variable");
        let mut command = Command::new(std::env::current_exe().expect("this program"));
        command
            .args(["scenario", scenario])
            .arg(self.folder.path())
            .env(key, value);
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("starts")
    }

    fn exits(&self, scenario: &str, code: i32) {
        let mut child = self.start(scenario);
        let status = wait(&mut child);
        let mut said = String::new();
        child
            .stdout
            .take()
            .expect("piped")
            .read_to_string(&mut said)
            .expect("text");
        if status.code() == Some(77) {
            std::panic::resume_unwind(Box::new(Skipped));
        }
        assert_eq!(status.code(), Some(code), "{scenario}: {said}");
    }

    /// Starts a lab that holds, and returns where its nodes are reached.
    fn hold(&self) -> (Child, Vec<SocketAddr>) {
        let held = self.ready("hold");
        held.unwrap_or_else(|| std::panic::resume_unwind(Box::new(Skipped)))
    }

    /// Starts a scenario that goes on until it is ended, and waits until it is ready;
    /// none if it cannot be played here.
    fn ready(&self, scenario: &str) -> Option<(Child, Vec<SocketAddr>)> {
        let mut child = self.start(scenario);
        let mut reader = BufReader::new(child.stdout.take().expect("piped"));
        let mut addresses = Vec::new();
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line).expect("text") == 0 {
                let status = wait(&mut child);
                if status.code() == Some(77) {
                    return None;
                }
                panic!("the lab ended too early: {status}");
            }
            match line.trim() {
                "ready" => return Some((child, addresses)),
                address => addresses.push(address.parse().expect("an address")),
            }
        }
    }

    /// The processes that carry the mark, as the host sees them.
    fn processes(&self) -> Vec<Pid> {
        let all = std::fs::read_dir("/proc").expect("a /proc").flatten();
        let pids = all.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
        pids.filter(|pid| carries(*pid, &self.mark))
            .map(Pid::from_raw)
            .collect()
    }

    fn wait_until_gone(&self) {
        let deadline = Instant::now() + PATIENCE;
        while !self.processes().is_empty() {
            assert!(Instant::now() < deadline, "still there: {:?}", self.processes());
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

fn carries(pid: i32, mark: &str) -> bool {
    let environment = std::fs::read(Path::new("/proc").join(pid.to_string()).join("environ"));
    environment.is_ok_and(|text| {
        text.split(|byte| *byte == 0)
            .any(|entry| entry == mark.as_bytes())
    })
}

fn wait(child: &mut Child) -> ExitStatus {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(status) = child.try_wait().expect("a child of ours") {
            return status;
        }
        if Instant::now() > deadline {
            let _ = child.kill();
            panic!("it did not end within {PATIENCE:?}");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn reached_from_the_host(scene: &Scene) {
    let (mut child, addresses) = scene.hold();
    assert_eq!(addresses.len(), 5);
    for (place, address) in addresses.iter().enumerate() {
        assert!(address.ip().is_loopback());
        let answer = ask(*address, "id", PATIENCE).expect("reached");
        assert_eq!(answer, format!("n{}", place + 1));
    }
    let pid = Pid::from_raw(child.id() as i32);
    kill(pid, Signal::SIGTERM).expect("our child");
    assert_eq!(wait(&mut child).code(), Some(128 + 15));
    assert!(ask(addresses[0], "id", PATIENCE).is_err(), "the port is closed");
}

fn ended_by(scene: &Scene, signal: Signal) {
    let (mut child, _) = scene.hold();
    assert!(scene.processes().len() >= 8, "outer, init, runner and five nodes");
    kill(Pid::from_raw(child.id() as i32), signal).expect("our child");
    wait(&mut child);
    scene.wait_until_gone();
}

/// SIGKILL of each process but the nodes in turn: they are the first three.
fn killed_within(scene: &Scene) {
    for victim in 0..3 {
        let (mut child, _) = scene.hold();
        let mut pids = scene.processes();
        pids.sort_unstable();
        kill(pids[victim], Signal::SIGKILL).expect("it lives");
        wait(&mut child);
        scene.wait_until_gone();
    }
}

/// SIGKILL of a process of a lab that is going up, that is just up, or that breaks and
/// mends its cluster, at moments that a seed picks.
fn killed_at_any_moment(scene: &Scene) {
    let seed = u64::from(std::process::id());
    println!("  seed {seed}");
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut scenarios = Vec::new();
    // With everything that could be left behind, as far as there is that here.
    for scenario in ["hold", "break-all", "break-iptables"] {
        let Some((mut child, _)) = scene.ready(scenario) else {
            println!("  not here: {scenario}");
            continue;
        };
        child.kill().expect("our child");
        wait(&mut child);
        scene.wait_until_gone();
        scenarios.push(scenario);
    }
    if scenarios.is_empty() {
        std::panic::resume_unwind(Box::new(Skipped));
    }
    let mut struck = 0;
    // NEMESIS_ROUNDS=1000 for a long night.
    let rounds = std::env::var("NEMESIS_ROUNDS")
        .ok()
        .and_then(|rounds| rounds.parse().ok())
        .unwrap_or(100);
    for round in 0..rounds {
        let journal = scene.folder.path().join("journal");
        let _ = std::fs::remove_file(&journal);
        let mut child = scene.start(scenarios[round % scenarios.len()]);
        std::thread::sleep(Duration::from_micros(rng.random_range(0..500_000)));
        let mut pids = scene.processes();
        pids.sort_unstable();
        let victim = pids.get(rng.random_range(0..3.min(pids.len().max(1)))).copied();
        let victim = victim.unwrap_or(Pid::from_raw(child.id() as i32));
        let _ = kill(victim, Signal::SIGKILL);
        // A node that is killed is no reason for a lab to end.
        let _ = kill(Pid::from_raw(child.id() as i32), Signal::SIGKILL);
        wait(&mut child);
        scene.wait_until_gone();
        assert!(
            mounts(&scene.folder).is_empty(),
            "round {round} of seed {seed}: {:?}",
            mounts(&scene.folder)
        );
        let clocks = (1..=5).map(|node| format!("n{node}/clock/faketime"));
        let left: Vec<String> = clocks
            .filter(|clock| scene.folder.path().join(clock).exists())
            .collect();
        assert!(left.is_empty(), "round {round} of seed {seed}: {left:?}");
        let text = std::fs::read_to_string(&journal).unwrap_or_default();
        let (begun, ended) = (r#""do":"begin""#, r#""do":"end""#);
        struck += usize::from(text.matches(begun).count() > text.matches(ended).count());
    }
    println!("  {struck} of {rounds} were killed with something broken");
    assert!(struck > 0 || scenarios == ["hold"], "none was killed in the act");
}

/// Mounts of ours that the host can see: there must never be any. (A namespace is there
/// by a process that is in it, by an open file or by a mount: by nothing else.)
fn mounts(folder: &tempfile::TempDir) -> Vec<String> {
    let all = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let ours = folder.path().to_string_lossy().into_owned();
    all.lines()
        .filter(|line| line.contains(&ours) || line.contains("ordeal-disk"))
        .map(str::to_owned)
        .collect()
}

/// The same lab, run by somebody without any power.
fn plain_user(scene: &Scene) {
    if !nix::unistd::geteuid().is_root() {
        // Then every test here is that test.
        return;
    }
    let nobody = 65534;
    // Somebody else's home may keep nobody out.
    let program = scene.folder.path().join("program");
    std::fs::copy(std::env::current_exe().expect("this program"), &program).expect("copies");
    let store = scene.folder.path().join("store");
    std::fs::create_dir(&store).expect("a new folder");
    std::os::unix::fs::chown(&store, Some(nobody), Some(nobody)).expect("root may");
    std::fs::set_permissions(
        scene.folder.path(),
        std::os::unix::fs::PermissionsExt::from_mode(0o755),
    )
    .expect("ours");
    let (key, value) = scene.mark.split_once('=').expect("a variable");
    for scenario in ["cut-kill-pause-restart-forward", "disk"] {
        let mut command = Command::new(&program);
        command
            .args(["scenario", scenario])
            .arg(store.join(scenario))
            .env(key, value);
        std::fs::create_dir(store.join(scenario)).expect("a new folder");
        std::os::unix::fs::chown(store.join(scenario), Some(nobody), Some(nobody)).expect("root may");
        std::os::unix::process::CommandExt::uid(&mut command, nobody);
        std::os::unix::process::CommandExt::gid(&mut command, nobody);
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .expect("starts");
        let status = wait(&mut child);
        if status.code() == Some(77) {
            std::panic::resume_unwind(Box::new(Skipped));
        }
        assert_eq!(status.code(), Some(0), "{scenario}");
    }
}

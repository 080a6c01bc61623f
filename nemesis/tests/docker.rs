//! Five real containers, cut by iptables and killed by the engine. Skipped, and
//! said so, where there is no Docker engine or no right to enter containers.

#[path = "lab/node.rs"]
#[allow(
    dead_code,
    reason = "its server runs in the containers, built there from the same file"
)]
mod node;

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use nemesis::docker::{DockerBackend, DockerError};
use nemesis::fault::{Ability, Fault};
use nemesis::node::EndStatus;
use nemesis::site::Site;
use nemesis::{Backend, Direction, Link, LinkMatrix, Nemesis, NodeId, NodeState};

use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};

use node::ask;

const PORT: u16 = 7000;
/// Longer than anything here takes, even on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// Everything that the test makes in the engine, named after this process.
struct Cluster {
    project: String,
    subnet: u32,
}

impl Cluster {
    fn up(folder: &Path) -> Cluster {
        let cluster = Cluster {
            project: format!("nemesistest{}", std::process::id()),
            subnet: std::process::id() % 250,
        };
        let program = concat!(
            include_str!("lab/node.rs"),
            "\nfn main() -> ExitCode {\n",
            "    let id = std::env::args().nth(1).expect(\"a name\");\n    serve(&id, 7000)\n}\n"
        );
        std::fs::write(folder.join("node.rs"), program).expect("writable");
        std::fs::write(
            folder.join("Dockerfile"),
            "FROM scratch\nCOPY node /node\nENTRYPOINT [\"/node\"]\n",
        )
        .expect("writable");
        let built = Command::new("rustc")
            .args([
                "--edition",
                "2024",
                "-O",
                "-C",
                "target-feature=+crt-static",
                "-A",
                "dead_code",
                "-o",
            ])
            .args([folder.join("node"), folder.join("node.rs")])
            .output()
            .expect("rustc runs");
        assert!(
            built.status.success(),
            "{}",
            String::from_utf8_lossy(&built.stderr)
        );
        let name = &cluster.project;
        cluster.docker(&["build", "-q", "-t", name, &folder.display().to_string()]);
        let subnet = format!("172.30.{}.0/24", cluster.subnet);
        cluster.docker(&["network", "create", "--subnet", &subnet, name]);
        (1..=5).for_each(|n| cluster.run(n));
        cluster
    }

    /// Makes a node's container as compose does.
    fn run(&self, n: usize) {
        let name = &self.project;
        let (container, service) = (format!("{name}-n{n}"), format!("com.docker.compose.service=n{n}"));
        let project = format!("com.docker.compose.project={name}");
        let (address, port) = (self.address(n), format!("127.0.0.1::{PORT}"));
        self.docker(&[
            "run",
            "-d",
            "--name",
            &container,
            "--label",
            &project,
            "--label",
            &service,
            "--network",
            name,
            "--ip",
            &address,
            "-p",
            &port,
            name,
            &format!("n{n}"),
        ]);
    }

    fn docker(&self, args: &[&str]) -> String {
        let output = docker(args);
        assert!(
            output.status.success(),
            "docker {args:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    fn address(&self, n: usize) -> String {
        format!("172.30.{}.{}", self.subnet, 10 + n)
    }

    /// Asks a node as a client does: at its published port.
    fn ask(&self, n: usize, what: &str) -> std::io::Result<String> {
        let port = self.docker(&["port", &format!("{}-n{n}", self.project), &PORT.to_string()]);
        let address: SocketAddr = port.lines().next().expect("a port").parse().expect("an address");
        ask(address, what, Duration::from_secs(2))
    }

    fn reach(&self, from: usize, to: usize) -> String {
        self.ask(from, &format!("reach {}:{PORT}", self.address(to)))
            .expect("clients reach every node")
    }

    fn wait_until_ready(&self) {
        let deadline = Instant::now() + PATIENCE;
        for n in 1..=5 {
            while self.ask(n, "id").ok() != Some(format!("n{n}")) {
                assert!(Instant::now() < deadline, "n{n} does not answer");
                std::thread::sleep(Duration::from_millis(10));
            }
        }
    }

    /// Whether there is a rule of ours, a dead or a paused process anywhere.
    fn is_broken(&self) -> bool {
        let format = "{{.State.Pid}}";
        let names: Vec<String> = (1..=5).map(|n| format!("{}-n{n}", self.project)).collect();
        let mut args = vec!["inspect", "--format", format];
        args.extend(names.iter().map(String::as_str));
        let pids = self.docker(&args);
        pids.lines().any(|pid| {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            let state = stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next());
            let table = Command::new("nsenter")
                .args(["-t", pid, "-n", "iptables-save", "-t", "filter"])
                .output();
            let table = table.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
            !matches!(state, Some('S' | 'R')) || !table.is_ok_and(|table| !table.contains("ORDEAL"))
        })
    }

    /// The filter table of a container, as iptables saves it.
    fn table(&self, n: usize) -> String {
        let container = format!("{}-n{n}", self.project);
        let pid = self.docker(&["inspect", "--format", "{{.State.Pid}}", &container]);
        let output = Command::new("nsenter")
            .args(["-t", &pid, "-n", "iptables-save", "-t", "filter"])
            .output();
        String::from_utf8_lossy(&output.expect("nsenter runs").stdout).into_owned()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for n in 1..=5 {
            docker(&["rm", "-f", "-v", &format!("{}-n{n}", self.project)]);
        }
        docker(&["network", "rm", &self.project]);
        docker(&["rmi", "-f", &self.project]);
    }
}

fn docker(args: &[&str]) -> Output {
    Command::new("docker").args(args).output().expect("docker runs")
}

fn fault(json: &str) -> Fault {
    serde_json::from_str(json).expect("a fault")
}

/// Not a test of its own: the tool that the test below kills. It breaks and mends
/// the cluster in every way that leaves something, as fast as it can.
#[test]
fn owner_to_be_killed() {
    let Ok(order) = std::env::var("NEMESIS_TEST_OWNER") else {
        return;
    };
    let (project, journal) = order.split_once(' ').expect("a project and a journal");
    let site = Site::Project {
        project: project.to_owned(),
        described: None,
    };
    let mut nemesis = site.open(Path::new(journal), 7).expect("nobody else has it");
    let faults = [
        r#"{"fault":"partition","shape":"halves"}"#,
        r#"{"fault":"pause","target":"one"}"#,
        r#"{"fault":"partition","shape":"one","direction":"in"}"#,
        r#"{"fault":"kill","target":"n5"}"#,
        r#"{"fault":"restart","target":"n3"}"#,
        r#"{"fault":"links","from":"n1","to":"n2","link":{"loss":0.5}}"#,
    ];
    loop {
        let applied = faults.map(|json| nemesis.apply(&fault(json)));
        for applied in applied.into_iter().flatten().filter(|applied| !applied.over) {
            nemesis.undo(applied.id).expect("undoes");
        }
    }
}

/// Whether a journal holds something that was begun and has not ended.
fn is_in_force(journal: &Path) -> bool {
    let text = std::fs::read_to_string(journal).unwrap_or_default();
    text.matches(r#""do":"begin""#).count() > text.matches(r#""do":"end""#).count()
}

/// SIGKILL of the tool at moments that a seed picks, and a watchdog that mends.
fn killed_at_any_moment(cluster: &Cluster, folder: &Path) {
    let seed = u64::from(std::process::id());
    println!("seed {seed}");
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    // NEMESIS_ROUNDS=1000 for a long night.
    let rounds = std::env::var("NEMESIS_ROUNDS").ok();
    let rounds = rounds.and_then(|rounds| rounds.parse().ok()).unwrap_or(100);
    let journal = folder.join("killed.journal");
    let site = serde_json::json!({"project": {"project": cluster.project, "described": null}});
    let order = serde_json::json!({"site": site, "journal": journal});
    let mut struck = 0;
    for round in 0..rounds {
        let mut watchdog = Command::new(env!("CARGO_BIN_EXE_nemesis"))
            .env("NEMESIS_WATCHDOG", order.to_string())
            .stdin(Stdio::piped())
            .spawn()
            .expect("starts");
        let mut owner = Command::new(std::env::current_exe().expect("this program"))
            .args(["--exact", "owner_to_be_killed"])
            .env(
                "NEMESIS_TEST_OWNER",
                format!("{} {}", cluster.project, journal.display()),
            )
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .expect("starts");
        std::thread::sleep(Duration::from_millis(rng.random_range(0..500)));
        owner.kill().expect("our child");
        owner.wait().expect("our child");
        struck += usize::from(is_in_force(&journal));
        drop(watchdog.stdin.take());
        assert!(
            watchdog.wait().expect("our child").success(),
            "round {round} of seed {seed}: the watchdog could not heal"
        );
        assert!(
            !cluster.is_broken(),
            "round {round} of seed {seed}: something is left"
        );
    }
    println!("{struck} of {rounds} were killed with something broken");
    assert!(
        struck * 10 >= rounds,
        "too few were killed in the act: {struck} of {rounds}"
    );
}

#[test]
fn containers_are_cut_killed_paused_and_healed() {
    if !Command::new("docker")
        .arg("version")
        .output()
        .is_ok_and(|output| output.status.success())
    {
        println!("SKIPPED: no Docker engine here");
        return;
    }
    if let Err(why) = nemesis::doctor::can_cut_containers() {
        println!("SKIPPED: {why}");
        return;
    }
    let folder = tempfile::tempdir().expect("a temporary folder");
    let cluster = Cluster::up(folder.path());
    cluster.wait_until_ready();
    let journal = folder.path().join("journal");

    let backend = DockerBackend::find(Some(&cluster.project)).expect("it is there");
    let n: Vec<NodeId> = (1..=5).map(NodeId::numbered).collect();
    assert_eq!(backend.nodes(), n);
    assert!(
        matches!(
            DockerBackend::find(Some(&cluster.project)),
            Err(DockerError::Claimed(_))
        ),
        "one at a time"
    );
    assert!(backend.can(Ability::Disk).is_err());
    let mut nemesis = Nemesis::new(Box::new(backend), &journal, 1).expect("a nemesis");

    // A partition: seen by probes, by the nodes, and in the tables; clients pass.
    let cut = Fault::Partition {
        shape: "n1,n2/n3,n4,n5".parse().expect("a shape"),
        direction: Direction::Both,
    };
    let started = Instant::now();
    let applied = nemesis.apply(&cut).expect("applies");
    println!("partition applied and probed in {:?}", started.elapsed());
    assert!(applied.bit && applied.seen.len() == 12, "{applied:?}");
    assert_eq!(cluster.reach(1, 2), "n2");
    assert!(cluster.reach(1, 3).starts_with("error"));
    assert!(cluster.reach(4, 2).starts_with("error"));
    assert_eq!(cluster.table(1).matches("-A ORDEAL -s").count(), 3);

    // Applied again to a container that comes back with a new namespace.
    let killed = nemesis
        .apply(&fault(r#"{"fault":"kill","target":"n1"}"#))
        .expect("kills");
    assert!(killed.bit, "{killed:?}");
    let undone = nemesis.undo(killed.id).expect("starts it");
    assert!(undone.healed, "{undone:?}");
    cluster.wait_until_ready();
    let deadline = Instant::now() + PATIENCE;
    while cluster.table(1).matches("-A ORDEAL -s").count() != 3 {
        nemesis.tick();
        assert!(Instant::now() < deadline, "{}", cluster.table(1));
    }
    assert!(cluster.reach(1, 3).starts_with("error"));
    let healed = nemesis.heal().expect("heals");
    assert!(healed.healed, "{healed:?}");
    assert_eq!(cluster.reach(1, 3), "n3");
    assert!(
        (1..=5).all(|n| !cluster.table(n).contains("ORDEAL")),
        "no rule is left"
    );

    // One way.
    let out = Fault::Partition {
        shape: "one n5".parse().expect("a shape"),
        direction: Direction::Out,
    };
    let applied = nemesis.apply(&out).expect("applies");
    assert!(applied.bit && applied.seen.len() == 4, "{applied:?}");
    assert_eq!(
        cluster.table(5).matches("-A ORDEAL -s").count(),
        0,
        "n5 still hears"
    );
    nemesis.undo(applied.id).expect("undoes");

    // What only some kernels can: done and seen, or refused with what would mend it.
    for link in [
        r#"{"loss":0.6}"#,
        r#"{"bandwidth":1000000}"#,
        r#"{"delay":{"mean":"30ms"}}"#,
    ] {
        let bad = fault(&format!(
            r#"{{"fault":"links","from":"n1","to":"n2","link":{link}}}"#
        ));
        match (nemesis.can_do(&bad), nemesis.apply(&bad)) {
            (Ok(()), applied) => {
                let applied = applied.expect("applies");
                assert!(applied.bit, "{link}: {applied:?}");
                assert!(nemesis.undo(applied.id).expect("undoes").healed);
            }
            (Err(why), refused) => {
                println!("not here: {why}");
                assert!(refused.is_err_and(|error| error.to_string().contains("modprobe")));
            }
        }
    }

    let paused = nemesis
        .apply(&fault(r#"{"fault":"pause","target":"n2"}"#))
        .expect("pauses");
    assert!(paused.bit, "{paused:?}");
    assert!(cluster.ask(2, "id").is_err(), "a paused node answers nobody");
    assert!(nemesis.undo(paused.id).expect("resumes").healed);
    assert_eq!(cluster.ask(2, "id").expect("answers"), "n2");

    // Somebody takes a container away, and makes it anew: said, then dealt with.
    nemesis.apply(&cut).expect("applies");
    cluster.docker(&["rm", "-f", &format!("{}-n4", cluster.project)]);
    let gone = nemesis.heal().expect_err("there is no n4").to_string();
    assert!(
        gone.contains("node n4") && gone.contains("docker-compose up -d"),
        "{gone}"
    );
    assert!(gone.ends_with("nemesis heal"), "{gone}");
    cluster.run(4);
    let deadline = Instant::now() + PATIENCE;
    while cluster.table(4).matches("-A ORDEAL -s").count() != 2 {
        nemesis.tick();
        assert!(Instant::now() < deadline, "{}", cluster.table(4));
    }
    let healed = nemesis.heal().expect("heals");
    assert!(healed.healed && healed.undone.len() == 1, "{healed:?}");
    assert!(!cluster.table(4).contains("ORDEAL"));

    // A tool that crashed: the next one finds the journal and heals.
    nemesis.apply(&cut).expect("applies");
    nemesis
        .apply(&fault(r#"{"fault":"kill","target":"n4"}"#))
        .expect("kills");
    drop(nemesis);
    let backend = DockerBackend::find(Some(&cluster.project)).expect("the claim is free again");
    let mut nemesis = Nemesis::new(Box::new(backend), &journal, 1).expect("a nemesis");
    assert_eq!(nemesis.in_force().len(), 2);
    let healed = nemesis.heal().expect("heals");
    assert!(healed.healed && healed.undone.len() == 2, "{healed:?}");
    cluster.wait_until_ready();
    assert!(
        (1..=5).all(|n| !cluster.table(n).contains("ORDEAL")),
        "no rule is left"
    );
    drop(nemesis);

    // A node that dies by itself is no doing of ours.
    let _ = cluster.ask(3, "exit 3");
    let mut backend = DockerBackend::find(Some(&cluster.project)).expect("it is there");
    let crashed = NodeState::Dead {
        asked: false,
        status: Some(EndStatus::Exited(3)),
    };
    let deadline = Instant::now() + PATIENCE;
    while backend.state(&n[2]).expect("a node") != crashed {
        assert!(Instant::now() < deadline, "{:?}", backend.state(&n[2]));
    }
    backend.start(&n[2]).expect("starts");
    cluster.wait_until_ready();
    let mut links = LinkMatrix::good(&n);
    for other in &n[1..] {
        links.worsen(&n[0], other, &Link::CUT);
        links.worsen(other, &n[0], &Link::CUT);
    }
    let started = Instant::now();
    backend.set_links(&links).expect("lays rules");
    println!("rules laid in five containers in {:?}", started.elapsed());
    assert_eq!(cluster.table(1).matches("-A ORDEAL -s").count(), 4);
    backend.set_links(&LinkMatrix::good(&n)).expect("removes rules");
    drop(backend);

    // By hand, with nobody who owns the cluster: a warden does, until healed.
    let by_hand = |args: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_nemesis"))
            .env("XDG_STATE_HOME", folder.path())
            .args(["--project", &cluster.project])
            .args(args)
            .output()
            .expect("nemesis runs");
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(
            output.status.success(),
            "{args:?}: {said}{}",
            String::from_utf8_lossy(&output.stderr)
        );
        said
    };
    let said = by_hand(&["partition", "one", "n5", "--for", "1s"]);
    assert!(
        said.contains("undone by itself after 1s") && said.contains("stopped"),
        "{said}"
    );
    let until_clean = |what: &str| {
        let deadline = Instant::now() + PATIENCE;
        while (1..=5).any(|n| cluster.table(n).contains("ORDEAL")) {
            assert!(Instant::now() < deadline, "{what}");
            std::thread::sleep(Duration::from_millis(50));
        }
    };
    until_clean("the warden keeps the appointment");
    assert!(by_hand(&["status"]).contains("no fault in force"));

    // An owner that is gone without a goodbye: its watchdog heals.
    let deadline = Instant::now() + PATIENCE;
    let backend = loop {
        match DockerBackend::find(Some(&cluster.project)) {
            Ok(backend) => break backend,
            Err(DockerError::Claimed(_)) => assert!(Instant::now() < deadline, "an idle warden ends"),
            Err(error) => panic!("{error}"),
        }
        std::thread::sleep(Duration::from_millis(50));
    };
    let site = serde_json::json!({"project": {"project": cluster.project, "described": null}});
    let order = serde_json::json!({"site": site, "journal": journal});
    let mut watchdog = Command::new(env!("CARGO_BIN_EXE_nemesis"))
        .env("NEMESIS_WATCHDOG", order.to_string())
        .stdin(Stdio::piped())
        .spawn()
        .expect("starts");
    let mut nemesis = Nemesis::new(Box::new(backend), &journal, 1).expect("a nemesis");
    nemesis.apply(&cut).expect("applies");
    drop(nemesis);
    drop(watchdog.stdin.take());
    assert!(watchdog.wait().expect("our child").success());
    assert!(
        (1..=5).all(|n| !cluster.table(n).contains("ORDEAL")),
        "no rule is left"
    );
    killed_at_any_moment(&cluster, folder.path());
}

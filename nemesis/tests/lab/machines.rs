//! The ssh backend against real sshd, one for each node: each in a network namespace
//! that the lab makes, as machines of their own would be.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nemesis::cluster_file::{BackendKind, ClusterFile, ClusterNode, JOURNAL_NAME};
use nemesis::fault::{Ability, Fault};
use nemesis::lab::{Lab, NodeSpec, address_of};
use nemesis::requests::Requests;
use nemesis::site::Site;
use nemesis::ssh::{SshBackend, SshCluster, SshError};
use nemesis::{Backend, Nemesis, NodeId, NodeState};
use nix::mount::{MsFlags, mount};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::node::ask;

const PORT: u16 = 7000;
/// Longer than anything here takes, even on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);
pub(crate) const NODES: usize = 3;
const SSHD: &str = "/usr/sbin/sshd";
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";
/// File in a node's folder by which it refuses to start, once.
const REFUSES: &str = "refuses";
/// File that stands for [`BOOT_ID`] on all machines.
const BOOT: &str = "boot_id";

/// Why the scenario cannot be played here.
pub(crate) fn lacking() -> Option<&'static str> {
    if !nix::unistd::geteuid().is_root() {
        return Some("sshd lets others in only as root");
    }
    let missing = |program: &&str| {
        let folders = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin:/sbin:/bin";
        !std::env::split_paths(&folders).any(|folder| folder.join(program).exists())
    };
    ["sshd", "ssh", "ssh-keygen", "ping", "iptables"]
        .into_iter()
        .find(missing)
        .map(|_| "it takes openssh-server, openssh-client, iputils-ping and iptables")
}

/// An sshd for each node, with keys of this scenario alone.
pub(crate) fn specs(folder: &Path) -> Vec<NodeSpec> {
    // Debian's sshd wants this folder; a /run of our own keeps the host's clean.
    mount(
        Some("tmpfs"),
        "/run",
        Some("tmpfs"),
        MsFlags::empty(),
        None::<&str>,
    )
    .expect("the lab's mounts are its own");
    std::fs::create_dir("/run/sshd").expect("a fresh folder");
    // Machines that can be booted anew: by another name for this boot.
    let boot = folder.join(BOOT);
    std::fs::copy(BOOT_ID, &boot).expect("a name for this boot");
    mount(Some(&boot), BOOT_ID, None::<&str>, MsFlags::MS_BIND, None::<&str>)
        .expect("the lab's mounts are its own");
    for key in ["host", "user"] {
        let made = Command::new("ssh-keygen")
            .args(["-q", "-t", "ed25519", "-N", "", "-f"])
            .arg(folder.join(key))
            .status();
        assert!(made.expect("ssh-keygen runs").success());
    }
    let config = format!(
        "Port 22\nHostKey {0}/host\nAuthorizedKeysFile {0}/user.pub\nStrictModes no\nUsePAM no\n\
         PidFile none\nPasswordAuthentication no\nPermitRootLogin yes\nLogLevel ERROR\n",
        folder.display()
    );
    std::fs::write(folder.join("sshd_config"), config).expect("writable");
    let spec = |place: usize| {
        let id = NodeId::numbered(place + 1);
        let dir = folder.join(id.as_str());
        std::fs::create_dir_all(dir.join("data")).expect("a folder");
        NodeSpec {
            program: SSHD.into(),
            args: vec![
                "-D".into(),
                "-e".into(),
                "-f".into(),
                folder.join("sshd_config").into(),
            ],
            env: Vec::new(),
            data: dir.join("unused"),
            log: dir.join("sshd.log"),
            dir,
            forward: Vec::new(),
            id,
        }
    };
    (0..NODES).map(spec).collect()
}

fn cluster_file(folder: &Path) -> ClusterFile {
    let program = std::env::current_exe().expect("this program");
    let here = folder.display();
    let options = [
        "-F",
        "/dev/null",
        "-i",
        &format!("{here}/user"),
        "-o",
        "StrictHostKeyChecking=no",
        "-o",
        "UserKnownHostsFile=/dev/null",
        "-o",
        "LogLevel=ERROR",
    ];
    let cluster = SshCluster {
        options: options.map(str::to_owned).to_vec(),
        user: Some("root".to_owned()),
        pids: format!("cat {here}/{{node}}/pid 2>/dev/null"),
        start: format!(
            "rm {here}/{{node}}/{REFUSES} 2>/dev/null && exit 1; cd {here}/{{node}} && setsid {} node {{node}} {PORT} >>log 2>&1 </dev/null & echo $! >{here}/{{node}}/pid",
            program.display()
        ),
        data: Some(format!("{here}/{{node}}/data")),
        ..SshCluster::default()
    };
    let node = |place: usize| ClusterNode {
        id: NodeId::numbered(place + 1),
        address: address_of(place).to_string(),
        url: String::new(),
        host_url: None,
        log: None,
    };
    ClusterFile {
        ordeal: 1,
        backend: BackendKind::Ssh(cluster),
        system: "test".to_owned(),
        owner: std::process::id(),
        nodes: (0..NODES).map(node).collect(),
        requests: Requests::default(),
    }
}

fn asked(node: usize, what: &str) -> std::io::Result<String> {
    let address = SocketAddr::from((address_of(node - 1), PORT));
    ask(address, what, Duration::from_secs(2))
}

fn reach(from: usize, to: usize) -> String {
    asked(from, &format!("reach {}:{PORT}", address_of(to - 1))).expect("we are never cut off")
}

fn until(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn fault(json: &str) -> Fault {
    serde_json::from_str(json).expect("a fault")
}

/// What iptables and tc have on a machine, by an ssh of the test's own, which stays
/// connected: it is asked often.
fn tables(file: &ClusterFile, node: usize) -> String {
    tables_by(file, node, "true")
}

/// The same, after a command of the test's own.
fn tables_by(file: &ClusterFile, node: usize, first: &str) -> String {
    let BackendKind::Ssh(cluster) = &file.backend else {
        unreachable!("this is about ssh");
    };
    let output = Command::new("ssh")
        .args(&cluster.options)
        .args(["-o", "ControlMaster=auto", "-o", "ControlPersist=60"])
        .args(["-o", "ControlPath=/run/%C"])
        .args(["-l", "root", &file.nodes[node - 1].address])
        .arg(format!(
            "PATH=$PATH:/usr/sbin; {first}; iptables-save; tc qdisc show"
        ))
        .stdin(Stdio::null())
        .output()
        .expect("ssh runs");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn assert_clean(file: &ClusterFile) {
    for node in 1..=NODES {
        let tables = tables(file, node);
        assert!(
            !tables.contains("ORDEAL") && !tables.contains("d1e:"),
            "n{node}: {tables}"
        );
    }
}

pub(crate) fn play(lab: &Lab, folder: &Path) {
    for node in lab.nodes() {
        let address = SocketAddr::from((lab.address(node).expect("a node"), 22));
        lab.wait_until(node, || std::net::TcpStream::connect(address).is_ok(), PATIENCE)
            .expect("sshd gets ready");
    }
    let file = cluster_file(folder);
    let path = file.write(folder).expect("writable");
    let BackendKind::Ssh(cluster) = &file.backend else {
        unreachable!("this is about ssh");
    };

    let mut nobody = file.nodes.clone();
    nobody[1].address = "10.99.0.77".to_owned();
    let error = SshBackend::connect(cluster, &nobody).expect_err("nobody is there");
    assert!(
        matches!(&error, SshError::Unreachable { node, .. } if node.as_str() == "n2"),
        "{error}"
    );

    let mut backend = SshBackend::connect(cluster, &file.nodes).expect("reached");
    for node in lab.nodes() {
        assert!(!backend.state(node).expect("looked at").is_alive());
        backend.start(node).expect("starts");
        assert_eq!(backend.state(node).expect("looked at"), NodeState::Running);
    }
    until("the nodes serve", || {
        (1..=NODES).all(|node| asked(node, "id").is_ok())
    });
    let journal = folder.join(JOURNAL_NAME);
    let mut nemesis = Nemesis::new(Box::new(backend), &journal, 1).expect("a nemesis");
    links(&mut nemesis, &file);
    booted(&mut nemesis, &file);
    booted_and_restored(&mut nemesis, &file, folder);
    processes(&mut nemesis, folder);

    // A tool that crashed: whoever comes next finds its journal.
    nemesis
        .apply(&fault(r#"{"fault":"partition","shape":"n1/n2,n3"}"#))
        .expect("applies");
    nemesis
        .apply(&fault(r#"{"fault":"kill","target":"n3"}"#))
        .expect("kills");
    drop(nemesis);
    let site = Site::Machines {
        described: path.clone(),
    };
    let mut nemesis = site.open(&journal, 1).expect("opens");
    assert!(
        site.open(&journal, 1).is_err_and(|error| error.is_busy()),
        "two nemeses on one cluster"
    );
    let healed = nemesis.heal().expect("heals");
    assert!(healed.healed && healed.undone.len() == 2, "{healed:?}");
    drop(nemesis);
    assert_clean(&file);

    // By hand: a warden owns the cluster, and when it is killed its watchdog heals, also
    // what cannot be undone at first.
    let said = by_hand(&path, &["partition", "one", "n1"]);
    assert!(said.contains("seen: n1 -/-> n2"), "{said}");
    assert!(tables(&file, 2).contains("-j DROP"));
    let said = by_hand(&path, &["kill", "n3"]);
    assert!(said.contains("seen: n3 is dead"), "{said}");
    let refuses = folder.join("n3").join(REFUSES);
    std::fs::write(&refuses, "").expect("writable");
    let warden = processes_named("warden");
    assert_eq!(warden.len(), 1, "one warden");
    kill(warden[0], Signal::SIGKILL).expect("it lives");
    until("the watchdog heals", || !tables(&file, 2).contains("ORDEAL"));
    until("n3 serves", || asked(3, "id").is_ok());
    assert!(!refuses.exists(), "it refused at first");
    until("the watchdog ends", || {
        processes_named("NEMESIS_WATCHDOG").is_empty()
    });
    assert_clean(&file);
    assert!(by_hand(&path, &["status"]).contains("no fault in force"));
}

/// Cuts, loss and narrow links: seen by probes, by the nodes, and in the tables.
fn links(nemesis: &mut Nemesis, file: &ClusterFile) {
    let applied = nemesis
        .apply(&fault(r#"{"fault":"partition","shape":"n1/n2,n3"}"#))
        .expect("applies");
    assert!(applied.bit && applied.seen.len() == 4, "{applied:?}");
    assert!(reach(1, 2).starts_with("error") && reach(3, 1).starts_with("error"));
    assert_eq!(reach(2, 3), "n3");
    let table = tables(file, 1);
    assert_eq!(table.matches("-j DROP").count(), 2, "{table}");
    assert_eq!(table.matches("-A INPUT -j ORDEAL").count(), 1, "{table}");
    // Another fault on top: the chain is replaced, not added to.
    let more = nemesis
        .apply(&fault(
            r#"{"fault":"partition","shape":"one n2","direction":"out"}"#,
        ))
        .expect("applies");
    assert!(more.bit && more.seen.len() == 2, "{more:?}");
    assert_eq!(tables(file, 1).matches("-A INPUT -j ORDEAL").count(), 1);
    assert!(nemesis.heal().expect("heals").healed);
    assert_eq!((reach(1, 2), reach(3, 1)), ("n2".into(), "n1".into()));
    assert_clean(file);

    for (link, ability) in [
        (r#"{"loss":0.6}"#, Ability::Loss),
        (r#"{"bandwidth":500000}"#, Ability::Bandwidth),
        (r#"{"delay":{"mean":"30ms"}}"#, Ability::Links),
    ] {
        let fault = fault(&format!(
            r#"{{"fault":"links","from":"n1","to":"n2","link":{link}}}"#
        ));
        match (nemesis.can(ability), nemesis.apply(&fault)) {
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
        assert_clean(file);
    }
}

/// A machine that was booted anew has none of our rules and none of our connections:
/// it is reached again, and gets its rules again.
fn booted(nemesis: &mut Nemesis, file: &ClusterFile) {
    let applied = nemesis
        .apply(&fault(r#"{"fault":"partition","shape":"n1/n2,n3"}"#))
        .expect("applies");
    assert!(applied.bit, "{applied:?}");
    let gone = "iptables -D INPUT -j ORDEAL; iptables -F ORDEAL; iptables -X ORDEAL";
    assert!(!tables_by(file, 1, gone).contains("ORDEAL"));
    let lines = processes_of("ssh", "BatchMode=yes");
    assert_eq!(lines.len(), NODES, "a line to each machine");
    for line in lines {
        kill(line, Signal::SIGKILL).expect("it lives");
    }
    until("the rules are there again", || {
        nemesis.tick();
        tables(file, 1).matches("-j DROP").count() == 2
    });
    assert!(reach(1, 2).starts_with("error"));
    assert!(nemesis.heal().expect("heals").healed);
    assert_clean(file);
}

/// One that was booted anew, and has our rules from a saved table: it is known by its
/// boot, and gets them again all the same, with what belongs to them.
fn booted_and_restored(nemesis: &mut Nemesis, file: &ClusterFile, folder: &Path) {
    let applied = nemesis
        .apply(&fault(r#"{"fault":"partition","shape":"n1/n2,n3"}"#))
        .expect("applies");
    assert!(applied.bit, "{applied:?}");
    let untouched = || {
        let counted = tables_by(file, 1, "iptables-save -c");
        let rule = |line: &&str| line.contains("] -A ORDEAL -s ");
        let rules: Vec<&str> = counted.lines().filter(rule).collect();
        assert_eq!(rules.len(), 2, "{counted}");
        rules.iter().all(|rule| rule.starts_with("[0:0]"))
    };
    assert!(!untouched(), "the probes were stopped");
    // The same boot, looked at again and again, is no reason to touch anything.
    let looked = Instant::now();
    while looked.elapsed() < Duration::from_millis(1500) {
        nemesis.tick();
    }
    assert!(!untouched(), "nothing had changed");
    std::fs::write(folder.join(BOOT), "another-boot\n").expect("writable");
    until("the rules are laid again", || {
        nemesis.tick();
        untouched()
    });
    assert!(nemesis.heal().expect("heals").healed);
    assert_clean(file);
}

fn processes(nemesis: &mut Nemesis, folder: &Path) {
    let paused = nemesis
        .apply(&fault(r#"{"fault":"pause","target":"n2"}"#))
        .expect("pauses");
    assert!(paused.bit, "{paused:?}");
    assert!(asked(2, "id").is_err(), "a paused node answers nobody");
    assert!(nemesis.undo(paused.id).expect("resumes").healed);
    let before = asked(2, "pid").expect("answers");
    let restarted = nemesis
        .apply(&fault(r#"{"fault":"restart","target":"n2"}"#))
        .expect("restarts");
    assert!(restarted.bit && restarted.over, "{restarted:?}");
    until("n2 serves", || asked(2, "pid").is_ok_and(|pid| pid != before));

    assert_eq!(asked(3, "append 0123456789").expect("answers"), "ok");
    for (damage, length) in [
        (r#"{"kind":"truncate","bytes":3}"#, 7),
        (r#"{"kind":"bit-flip","bits":1}"#, 7),
    ] {
        let before = std::fs::read(folder.join("n3/data/log")).expect("written");
        let damaged = nemesis
            .apply(&fault(&format!(
                r#"{{"fault":"damage","target":"n3","damage":{damage}}}"#
            )))
            .expect("damages");
        assert!(damaged.bit, "{damaged:?}");
        let after = std::fs::read(folder.join("n3/data/log")).expect("still there");
        assert!(after.len() == length && before != after, "{before:?} {after:?}");
        assert!(nemesis.undo(damaged.id).expect("starts it").healed);
        until("n3 serves", || asked(3, "id").is_ok());
    }
}

fn by_hand(cluster: &Path, args: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_nemesis"))
        .arg("--cluster")
        .arg(cluster)
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
}

/// Processes of `nemesis` whose command line or environment has this word.
fn processes_named(word: &str) -> Vec<Pid> {
    processes_of("nemesis", word)
}

/// Processes in this lab of this program, whose command line or environment has this word.
fn processes_of(name: &str, word: &str) -> Vec<Pid> {
    let all = std::fs::read_dir("/proc").expect("a /proc").flatten();
    let pids = all.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let has = |pid: &i32| {
        let text = |file: &str| std::fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
        let program = std::fs::read_link(format!("/proc/{pid}/exe")).unwrap_or_default();
        let text = [text("cmdline"), text("environ")].concat();
        program.ends_with(name) && String::from_utf8_lossy(&text).contains(word)
    };
    pids.filter(has).map(Pid::from_raw).collect()
}

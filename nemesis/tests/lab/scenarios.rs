//! What happens inside a lab. Each scenario panics if it is not as it should be.

use std::net::SocketAddr;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use nemesis::fault::Fault;
use nemesis::lab::{self, Forwarding, Lab, LabOptions, Net, NodeSpec, address_of};
use nemesis::node::EndStatus;
use nemesis::{Ability, Backend, Direction, Nemesis, NodeId, NodeState, Target};

use crate::node::ask;
use crate::{company, machines};

const PORT: u16 = 7000;
const PATIENCE: Duration = Duration::from_secs(10);

pub(crate) fn run(name: &str, folder: &Path) -> ExitCode {
    let seat = match lab::enter() {
        Ok(seat) => seat,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::from(77);
        }
    };
    let options = LabOptions {
        simulated_disks: matches!(name, "disk" | "break-all"),
        net: if name.ends_with("-iptables") {
            Net::Iptables
        } else {
            Net::Switch
        },
        fake_clocks: name == "clock" || name == "break-all" && nemesis::doctor::find_faketime().is_ok(),
        ..LabOptions::default()
    };
    let options = if name.starts_with("no-tun") {
        without_tun(name, folder)
    } else {
        options
    };
    if name == "ssh"
        && let Some(why) = machines::lacking()
    {
        eprintln!("{why}");
        return ExitCode::from(77);
    }
    let mut specs = if name == "ssh" {
        machines::specs(folder)
    } else {
        specs(folder, 5)
    };
    match name {
        "broken" => specs[2].args[1] = "broken".into(),
        "missing" => specs[2].program = "/nonexistent/program".into(),
        "replaced" => {
            copy_ourselves(&folder.join("program"));
            specs[1].program = folder.join("program");
        }
        "port-in-use" => specs[1].forward[0].host_port = taken_port(folder),
        _ => {}
    }
    let lab = match Lab::start(seat, &options, specs) {
        Ok(lab) => lab,
        Err(lab::LabError::Unsupported(why)) if name != "no-tun-switch" => {
            eprintln!("{why}");
            return ExitCode::from(77);
        }
        Err(error) => return refused(name, &error.to_string(), folder),
    };
    if name == "broken" {
        let n3 = NodeId::numbered(3);
        let error = lab
            .wait_until(&n3, || false, PATIENCE)
            .expect_err("it is broken")
            .to_string();
        assert_eq!(
            error,
            "node n3 did not start: it ended with exit code 7\n  n3 | this node is broken"
        );
        return ExitCode::SUCCESS;
    }
    if name == "ssh" {
        machines::play(&lab, folder);
        return ExitCode::SUCCESS;
    }
    for node in lab.nodes() {
        lab.wait_until(node, || ask_at(&lab, node, "id").is_ok(), PATIENCE)
            .expect("the node gets ready");
    }
    match name {
        "cut-kill-pause-restart-forward" | "everything-iptables" => everything(&lab, folder),
        "no-tun" => {
            assert_eq!(lab.net(), Net::Iptables, "the kernel's network took its place");
            everything(&lab, folder);
        }
        "many" => many(&lab, folder),
        "crash" => crash(&lab, folder),
        "company" => company::play(&lab, folder),
        "replaced" => replaced(&lab, folder),
        "disk" => disk(&lab, folder),
        "clock" => clock(&lab, folder),
        "links" => links(&lab, folder, &LINKS),
        "links-iptables" => {
            let abilities = [Ability::Loss, Ability::Bandwidth, Ability::Links];
            let backend = lab.backend();
            let (able, unable): (Vec<Ability>, Vec<Ability>) = abilities
                .into_iter()
                .partition(|ability| backend.can(*ability).is_ok());
            eprintln!("this kernel can: {able:?}, cannot: {unable:?}");
            let links_able: Vec<&str> = LINKS
                .into_iter()
                .filter(|json| {
                    let link: nemesis::Link = serde_json::from_str(json).expect("a link");
                    able.contains(&link.needs())
                })
                .collect();
            links(&lab, folder, &links_able);
        }
        "damage" => damage(&lab, folder),
        "hold" => hold(&lab),
        "break-all" | "break-iptables" => break_and_mend(&lab, folder),
        "panic" => panic!("as asked"),
        "exit-9" => return ExitCode::from(9),
        _ => panic!("unknown scenario {name}"),
    }
    ExitCode::SUCCESS
}

fn specs(folder: &Path, n: usize) -> Vec<NodeSpec> {
    let spec = |place: usize| {
        let id = NodeId::numbered(place + 1);
        NodeSpec {
            program: std::env::current_exe().expect("this program"),
            args: ["node", id.as_str(), &PORT.to_string()].map(Into::into).to_vec(),
            env: Vec::new(),
            dir: folder.join(id.as_str()),
            data: folder.join(id.as_str()).join("data"),
            log: folder.join(id.as_str()).join("log"),
            forward: vec![Forwarding {
                port: PORT,
                host_port: 0,
            }],
            id,
        }
    };
    (0..n).map(spec).collect()
}

/// A port of the host that the main process holds.
fn taken_port(folder: &Path) -> u16 {
    let port = std::fs::read_to_string(folder.join("port")).expect("written by the main process");
    port.trim().parse().expect("a port")
}

/// What is said when a lab cannot be started, and what would mend it.
fn refused(name: &str, error: &str, folder: &Path) -> ExitCode {
    match name {
        "missing" => assert!(
            error.starts_with("node n3 did not start: /nonexistent/program: No such file"),
            "{error}"
        ),
        "port-in-use" => {
            let port = taken_port(folder);
            assert!(
                error.starts_with(&format!(
                    "port {port} of 127.0.0.1 for node n2: Address already in use"
                )),
                "{error}"
            );
        }
        "no-tun-switch" => assert!(
            error.starts_with("no lab here: ") && error.contains("tun; "),
            "{error}"
        ),
        _ => panic!("{error}"),
    }
    ExitCode::SUCCESS
}

/// As on a machine without the TUN driver.
fn without_tun(name: &str, folder: &Path) -> LabOptions {
    LabOptions {
        net: if name == "no-tun" { Net::Auto } else { Net::Switch },
        tun: folder.join("tun"),
        ..LabOptions::default()
    }
}

fn ask_at(lab: &Lab, node: &NodeId, what: &str) -> std::io::Result<String> {
    let address = lab.address(node).expect("a node of the lab");
    ask(SocketAddr::from((address, PORT)), what, Duration::from_secs(1))
}

/// What `from` gets when it asks the node in place `to` for its name.
fn reach(lab: &Lab, from: usize, to: usize) -> String {
    let what = format!("reach {}:{PORT}", address_of(to));
    ask_at(lab, &NodeId::numbered(from + 1), &what).expect("the runner reaches every node")
}

fn parse_fault(json: &str) -> Fault {
    serde_json::from_str(json).expect("a fault")
}

fn everything(lab: &Lab, folder: &Path) {
    let n = NodeId::numbered;
    let mut nemesis = Nemesis::new(Box::new(lab.backend()), &folder.join("journal"), 1).expect("a nemesis");
    let cut = |shape: &str, direction| Fault::Partition {
        shape: shape.parse().expect("a shape"),
        direction,
    };

    let started = Instant::now();
    let applied = nemesis
        .apply(&cut("n1,n2/n3,n4,n5", Direction::Both))
        .expect("applies");
    eprintln!("partition applied and probed in {:?}", started.elapsed());
    assert!(applied.bit, "{applied:?}");
    assert_eq!(applied.seen.len(), 12);
    assert_eq!(reach(lab, 0, 1), "n2");
    assert!(reach(lab, 0, 2).starts_with("error"), "cut");
    assert!(reach(lab, 3, 1).starts_with("error"), "cut");
    let undone = nemesis.undo(applied.id).expect("undoes");
    assert!(undone.healed, "{undone:?}");
    assert_eq!((reach(lab, 0, 2), reach(lab, 3, 1)), ("n3".into(), "n2".into()));

    let applied = nemesis.apply(&cut("one n1", Direction::Out)).expect("applies");
    assert!(applied.bit && applied.seen.len() == 4, "{applied:?}");
    let healed = nemesis.heal().expect("heals");
    assert!(healed.healed, "{healed:?}");

    let before = ask_at(lab, &n(2), "pid").expect("answers");
    let killed = nemesis
        .apply(&Fault::Kill {
            target: "n2".parse().expect("a target"),
        })
        .expect("kills");
    assert!(killed.bit, "{killed:?}");
    let dead = NodeState::Dead {
        asked: true,
        status: Some(EndStatus::Signaled(9)),
    };
    assert_eq!(lab.state(&n(2)).expect("a node"), dead);
    assert!(ask_at(lab, &n(2), "id").is_err());
    nemesis.undo(killed.id).expect("starts it");
    lab.wait_until(&n(2), || ask_at(lab, &n(2), "id").is_ok(), PATIENCE)
        .expect("is back");
    assert_ne!(
        ask_at(lab, &n(2), "pid").expect("answers"),
        before,
        "another process"
    );

    let paused = nemesis
        .apply(&Fault::Pause { target: Target::All })
        .expect("pauses");
    assert!(paused.bit && paused.seen.len() == 5, "{paused:?}");
    assert!(ask_at(lab, &n(1), "id").is_err(), "a paused node answers nobody");
    assert!(nemesis.undo(paused.id).expect("resumes").healed);
    assert_eq!(ask_at(lab, &n(1), "id").expect("answers"), "n1");

    let before = ask_at(lab, &n(3), "pid").expect("answers");
    let restarted = nemesis
        .apply(&parse_fault(r#"{"fault":"restart","target":"n3"}"#))
        .expect("restarts");
    assert!(restarted.bit && restarted.over, "{restarted:?}");
    lab.wait_until(&n(3), || ask_at(lab, &n(3), "id").is_ok(), PATIENCE)
        .expect("is back");
    assert_ne!(
        ask_at(lab, &n(3), "pid").expect("answers"),
        before,
        "another process"
    );
    assert!(nemesis.in_force().is_empty());

    // Overlapping faults, undone in another order than they were applied.
    let kill = nemesis
        .apply(&Fault::Kill { target: Target::All })
        .expect("kills");
    let pause = nemesis
        .apply(&Fault::Pause {
            target: "n4".parse().expect("a target"),
        })
        .expect("is masked");
    assert!(nemesis.undo(kill.id).expect("starts all").healed);
    assert_eq!(lab.state(&n(4)).expect("a node"), NodeState::Paused);
    assert!(nemesis.undo(pause.id).expect("resumes").healed);
    let healed = nemesis.heal().expect("heals");
    assert!(healed.healed && healed.undone.is_empty(), "{healed:?}");
}

/// More than half of the nodes are killed at once; then all are restarted, one
/// after the other; then one dies over and over.
fn many(lab: &Lab, folder: &Path) {
    let mut nemesis = Nemesis::new(Box::new(lab.backend()), &folder.join("journal"), 1).expect("a nemesis");
    let all: Vec<NodeId> = lab.nodes().to_vec();
    let alive = || {
        let is_alive = |node: &&NodeId| lab.state(node).expect("a node").is_alive();
        all.iter().filter(is_alive).count()
    };
    let pids = || -> Vec<Option<String>> { all.iter().map(|node| ask_at(lab, node, "pid").ok()).collect() };
    let killed = nemesis
        .apply(&parse_fault(r#"{"fault":"kill","target":"majority"}"#))
        .expect("kills");
    assert!(killed.bit && killed.seen.len() == 3, "{killed:?}");
    assert_eq!(alive(), 2, "three of five are dead");
    assert!(nemesis.undo(killed.id).expect("starts them").healed);
    for node in &all {
        lab.wait_until(node, || ask_at(lab, node, "id").is_ok(), PATIENCE)
            .expect("is back");
    }

    let before = pids();
    let rolling = nemesis
        .apply(&parse_fault(
            r#"{"fault":"restart","target":"all","rolling":"300ms"}"#,
        ))
        .expect("begins");
    assert!(rolling.bit && !rolling.over, "{rolling:?}");
    let deadline = Instant::now() + PATIENCE;
    let mut order = Vec::new();
    while !nemesis.in_force().is_empty() {
        nemesis.tick();
        for (place, (now, before)) in pids().into_iter().zip(&before).enumerate() {
            if now.is_some() && now != *before && !order.contains(&place) {
                order.push(place);
            }
        }
        assert!(alive() >= 4, "one at a time");
        assert!(Instant::now() < deadline, "restarted so far: {order:?}");
    }
    for (node, before) in all.iter().zip(&before) {
        let again = || ask_at(lab, node, "pid").is_ok_and(|pid| Some(pid) != *before);
        lab.wait_until(node, again, PATIENCE)
            .expect("every one is another process");
    }
    assert!(order.is_sorted(), "in the order of the nodes: {order:?}");
    assert!(nemesis.heal().expect("heals").healed);
    for node in &all {
        lab.wait_until(node, || ask_at(lab, node, "id").is_ok(), PATIENCE)
            .expect("is back");
    }

    let before = pids();
    let looping = nemesis
        .apply(&parse_fault(
            r#"{"fault":"crash-loop","target":"n2","up":"150ms","down":"50ms"}"#,
        ))
        .expect("begins");
    assert!(looping.bit && !looping.over, "{looping:?}");
    assert!(ask_at(lab, &all[1], "id").is_err(), "it begins dead");
    let mut lives = std::collections::BTreeSet::new();
    let deadline = Instant::now() + PATIENCE;
    while lives.len() < 3 {
        nemesis.tick();
        lives.extend(ask_at(lab, &all[1], "pid"));
        assert!(Instant::now() < deadline, "it lived as {lives:?}");
    }
    assert!(nemesis.heal().expect("heals").healed);
    lab.wait_until(&all[1], || ask_at(lab, &all[1], "id").is_ok(), PATIENCE)
        .expect("it is left running");
    let others = |pids: Vec<Option<String>>| [&pids[..1], &pids[2..]].concat();
    assert_eq!(others(pids()), others(before), "nobody else was touched");
}

fn crash(lab: &Lab, folder: &Path) {
    let n = NodeId::numbered;
    let mut nemesis = Nemesis::new(Box::new(lab.backend()), &folder.join("journal"), 1).expect("a nemesis");
    let (told, records) = std::sync::mpsc::channel();
    nemesis.observe(move |record| drop(told.send(record.clone())));
    let _ = ask_at(lab, &n(1), "exit 3");
    let crashed = NodeState::Dead {
        asked: false,
        status: Some(EndStatus::Exited(3)),
    };
    let deadline = Instant::now() + PATIENCE;
    while lab.state(&n(1)).expect("a node") != crashed {
        assert!(Instant::now() < deadline, "{:?}", lab.state(&n(1)));
        std::thread::yield_now();
    }
    nemesis.tick();
    nemesis.tick();
    let records: Vec<nemesis::Record> = records.try_iter().collect();
    assert!(
        matches!(&records[..], [nemesis::Record::Crashed { node, .. }] if *node == n(1)),
        "told once: {records:?}"
    );
    assert!(
        !nemesis.heal().expect("heals links").healed,
        "heal does not hide a crash"
    );
    assert!(lab.state(&n(1)).expect("a node").has_crashed());
}

fn copy_ourselves(to: &Path) {
    std::fs::copy(std::env::current_exe().expect("this program"), to).expect("copied");
}

/// A build puts another program in the place of the one that runs.
fn replaced(lab: &Lab, folder: &Path) {
    let n = NodeId::numbered;
    let mut nemesis = Nemesis::new(Box::new(lab.backend()), &folder.join("journal"), 1).expect("a nemesis");
    let kill = Fault::Kill {
        target: "n2".parse().expect("a target"),
    };
    let killed = nemesis.apply(&kill).expect("kills");
    assert!(nemesis.undo(killed.id).expect("starts it").healed);
    lab.wait_until(&n(2), || ask_at(lab, &n(2), "id").is_ok(), PATIENCE)
        .expect("the same is started again");
    nemesis.apply(&kill).expect("kills");
    copy_ourselves(&folder.join("another"));
    std::fs::rename(folder.join("another"), folder.join("program")).expect("replaced");
    let refused = nemesis.heal();
    let said = format!("{refused:?}");
    assert!(said.contains("another program lies there now"), "{said}");
    assert!(!refused.is_ok_and(|healed| healed.healed), "{said}");
    assert!(ask_at(lab, &n(2), "id").is_err(), "nobody is started");
}

/// Says where its nodes are reached from the host, and waits to be ended.
fn hold(lab: &Lab) {
    for node in lab.nodes() {
        println!("{}", lab.forwarded(node, PORT).expect("forwarded"));
    }
    println!("ready");
    loop {
        std::thread::park();
    }
}

/// Breaks and mends the cluster in every way that leaves something, as fast as it can,
/// until it is killed.
fn break_and_mend(lab: &Lab, folder: &Path) {
    let mut nemesis = Nemesis::new(Box::new(lab.backend()), &folder.join("journal"), 1).expect("a nemesis");
    let faults: Vec<Fault> = [
        r#"{"fault":"partition","shape":"halves"}"#,
        r#"{"fault":"pause","target":"one"}"#,
        r#"{"fault":"disk","target":"n1","disk":{"kind":"full"}}"#,
        r#"{"fault":"clock","target":"n2","clock":{"kind":"jump","offset_ms":60000}}"#,
        r#"{"fault":"kill","target":"n5"}"#,
        r#"{"fault":"links","from":"n1","to":"n2","link":{"loss":0.5}}"#,
    ]
    .map(parse_fault)
    .into_iter()
    .filter(|fault| nemesis.can_do(fault).is_ok())
    .collect();
    println!("ready");
    loop {
        let ids: Vec<_> = faults
            .iter()
            .map(|fault| nemesis.apply(fault).expect("applies").id)
            .collect();
        for id in ids {
            nemesis.undo(id).expect("undoes");
        }
    }
}

fn disk(lab: &Lab, folder: &Path) {
    let n1 = NodeId::numbered(1);
    let mut nemesis = Nemesis::new(Box::new(lab.backend()), &folder.join("journal"), 1).expect("a nemesis");
    let ask1 = |what: &str| ask_at(lab, &n1, what).expect("answers");
    assert_eq!(ask1("append synced"), "ok");
    assert_eq!(ask1("append-unsynced lost"), "ok");
    assert_eq!(ask1("rename-unsynced"), "ok");
    assert_eq!(ask1("list"), "log renamed");
    let failed = nemesis
        .apply(&parse_fault(r#"{"fault":"power-failure","target":"n1"}"#))
        .expect("fails it");
    assert!(failed.bit, "{failed:?}");
    assert!(nemesis.undo(failed.id).expect("starts it").healed);
    lab.wait_until(&n1, || ask_at(lab, &n1, "id").is_ok(), PATIENCE)
        .expect("is back");
    assert_eq!(ask1("read"), "synced");
    assert_eq!(ask1("list"), "log", "the new name was never synced");

    let full = nemesis.apply(&parse_fault(
        r#"{"fault":"disk","target":"n1","disk":{"kind":"full"}}"#,
    ));
    let full = full.expect("fills it");
    assert!(full.bit, "{full:?}");
    // Room within a page that is there already is still room.
    assert!(ask1(&format!("append {}", "x".repeat(5000))).contains("os error 28"));
    assert!(nemesis.undo(full.id).expect("makes room").healed);
    assert_eq!(ask1("append more"), "ok");

    let broken = parse_fault(r#"{"fault":"disk","target":"n1","disk":{"kind":"errors","fsync":1.0}}"#);
    let broken = nemesis.apply(&broken).expect("breaks it");
    assert!(broken.bit, "{broken:?}");
    assert!(ask1("append gone").contains("os error 5"));
    assert!(nemesis.heal().expect("mends it").healed);

    for (call, tried) in [("write", "append gone"), ("read", "read")] {
        let broken = format!(r#"{{"fault":"disk","target":"n1","disk":{{"kind":"errors","{call}":1.0}}}}"#);
        let broken = nemesis.apply(&parse_fault(&broken)).expect("breaks it");
        assert!(broken.bit, "{broken:?}");
        assert!(ask1(tried).contains("os error 5"), "{call}");
        let mended = nemesis.undo(broken.id).expect("mends it");
        assert!(mended.healed && !mended.seen.is_empty(), "{mended:?}");
        assert!(!ask1(tried).contains("error"), "{call}");
    }

    let slow = parse_fault(r#"{"fault":"disk","target":"n1","disk":{"kind":"slow","fsync":"200ms"}}"#);
    let slow = nemesis.apply(&slow).expect("slows it");
    assert!(slow.bit, "{slow:?}");
    let started = Instant::now();
    assert_eq!(ask1("append late"), "ok");
    assert!(
        started.elapsed() >= Duration::from_millis(200),
        "an fsync cannot be faster than that"
    );

    // The power fails while somebody waits for a sync: it never came about.
    let in_sync = format!("{} ", nix::libc::SYS_fdatasync);
    let call = format!("/proc/{}/syscall", ask1("pid"));
    let asking = lab.clone();
    let waiting = std::thread::spawn(move || ask_at(&asking, &NodeId::numbered(1), "append cut-short"));
    while !waiting.is_finished()
        && !std::fs::read_to_string(&call).is_ok_and(|call| call.starts_with(&in_sync))
    {
        std::thread::yield_now();
    }
    assert!(!waiting.is_finished(), "it waits for its sync");
    let failed = nemesis.apply(&parse_fault(r#"{"fault":"power-failure","target":"n1"}"#));
    assert!(failed.expect("fails it").bit);
    let answer = waiting.join().expect("no panic");
    assert!(
        answer.as_ref().map_or(true, |answer| answer != "ok"),
        "{answer:?}"
    );
    assert!(nemesis.heal().expect("mends it").healed);
    lab.wait_until(&n1, || ask_at(lab, &n1, "id").is_ok(), PATIENCE)
        .expect("is back");
    let kept = ask1("read");
    assert!(
        kept.ends_with("late"),
        "{kept}: nobody was told that more is there"
    );

    let before = ask1("read");
    let flip = parse_fault(r#"{"fault":"disk","target":"n1","disk":{"kind":"bit-flip","bits":1}}"#);
    let flipped = nemesis.apply(&flip).expect("flips");
    assert!(flipped.bit && flipped.over, "{flipped:?}");
    assert_ne!(ask1("read"), before);
    assert!(nemesis.in_force().is_empty());

    let torn = parse_fault(r#"{"fault":"power-failure","target":"all","torn":true}"#);
    let torn = nemesis.apply(&torn).expect("fails all");
    assert!(torn.bit, "{torn:?}");
    nemesis.heal().expect("starts all");
    lab.wait_until(&n1, || ask_at(lab, &n1, "id").is_ok(), PATIENCE)
        .expect("is back");
    drop(nemesis);
    lab.stop();
    let kept = std::fs::read_to_string(folder.join("n1/data/log")).expect("what was on the disk stays");
    assert!(!kept.is_empty());
}

fn clock(lab: &Lab, folder: &Path) {
    let n1 = NodeId::numbered(1);
    let mut nemesis = Nemesis::new(Box::new(lab.backend()), &folder.join("journal"), 1).expect("a nemesis");
    let off = |node: &NodeId| -> f64 {
        let seen: f64 = ask_at(lab, node, "clock")
            .expect("answers")
            .parse()
            .expect("a time");
        let now = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .expect("after 1970");
        seen - now.as_secs_f64()
    };
    assert!(off(&n1).abs() < 1.0, "{}", off(&n1));
    let jump = parse_fault(r#"{"fault":"clock","target":"n1","clock":{"kind":"jump","offset_ms":-60000}}"#);
    let jumped = nemesis.apply(&jump).expect("jumps");
    assert!(jumped.bit, "{jumped:?}");
    assert!((off(&n1) + 60.0).abs() < 1.0, "{}", off(&n1));
    assert!(off(&NodeId::numbered(2)).abs() < 1.0, "only its own");
    nemesis.undo(jumped.id).expect("sets it right");
    assert!(off(&n1).abs() < 1.0, "{}", off(&n1));
    let rate = parse_fault(r#"{"fault":"clock","target":"n1","clock":{"kind":"rate","rate":50.0}}"#);
    let rated = nemesis.apply(&rate).expect("hurries");
    assert!(rated.bit, "{rated:?}");
    let deadline = Instant::now() + PATIENCE;
    while off(&n1) < 5.0 {
        assert!(Instant::now() < deadline, "{}", off(&n1));
    }
    assert!(nemesis.undo(rated.id).expect("sets it right").healed);
    assert!(off(&n1).abs() < 1.0, "{}", off(&n1));
    let strobe = parse_fault(
        r#"{"fault":"clock","target":"n1","clock":{"kind":"strobe","offset_ms":30000,"period":"100ms"}}"#,
    );
    let strobed = nemesis.apply(&strobe).expect("strobes");
    assert!(strobed.bit, "{strobed:?}");
    assert!(nemesis.undo(strobed.id).expect("sets it right").healed);
    assert!(off(&n1).abs() < 1.0, "{}", off(&n1));
    let clock_file = folder.join("n1/clock/faketime");
    assert!(clock_file.exists(), "the lab sees it");
}

/// Everything that can befall a link.
const LINKS: [&str; 7] = [
    r#"{"delay":{"mean":"30ms","jitter":"10ms"}}"#,
    r#"{"loss":0.6}"#,
    r#"{"loss":1.0}"#,
    r#"{"duplicate":0.5}"#,
    r#"{"corrupt":0.6}"#,
    r#"{"delay":{"mean":"5ms"},"reorder":0.5}"#,
    r#"{"bandwidth":1000000}"#,
];

/// Files of a dead node on the ordinary disk are damaged, and it starts with them.
fn damage(lab: &Lab, folder: &Path) {
    let n1 = NodeId::numbered(1);
    let mut nemesis = Nemesis::new(Box::new(lab.backend()), &folder.join("journal"), 1).expect("a nemesis");
    let ask1 = |what: &str| ask_at(lab, &n1, what).expect("answers");
    let nothing = parse_fault(r#"{"fault":"damage","target":"n1","damage":{"kind":"bit-flip","bits":1}}"#);
    let missed = nemesis.apply(&nothing).expect("applies");
    assert!(
        !missed.bit,
        "there was nothing to damage, and that is said: {missed:?}"
    );
    assert!(nemesis.undo(missed.id).expect("starts it").healed);
    let again = || {
        lab.wait_until(&n1, || ask_at(lab, &n1, "id").is_ok(), PATIENCE)
            .expect("is back");
    };
    again();
    std::fs::create_dir_all(folder.join("n1/data")).expect("a folder");
    assert_eq!(ask1("append 0123456789"), "ok");
    for (json, expected_length) in [
        (r#"{"kind":"truncate","bytes":4}"#, 6),
        (r#"{"kind":"bit-flip","bits":1}"#, 6),
    ] {
        let before = std::fs::read(folder.join("n1/data/log")).expect("written");
        let fault = parse_fault(&format!(r#"{{"fault":"damage","target":"n1","damage":{json}}}"#));
        let applied = nemesis.apply(&fault).expect("applies");
        assert!(applied.bit && !applied.over, "{applied:?}");
        assert!(
            !lab.state(&n1).expect("a node").is_alive(),
            "it is dead meanwhile"
        );
        let after = std::fs::read(folder.join("n1/data/log")).expect("still there");
        assert_eq!(after.len(), expected_length);
        assert_ne!(before, after);
        assert!(nemesis.undo(applied.id).expect("starts it").healed);
        again();
        let kept = std::fs::read(folder.join("n1/data/log")).expect("still there");
        assert_eq!(kept, after, "nobody mends it");
    }
    assert_eq!(nemesis.in_force().len(), 0);
}

fn links(lab: &Lab, folder: &Path, all: &[&str]) {
    let (one, two) = (NodeId::numbered(1), NodeId::numbered(2));
    let mut nemesis = Nemesis::new(Box::new(lab.backend()), &folder.join("journal"), 1).expect("a nemesis");
    for link in all {
        let fault = parse_fault(&format!(
            r#"{{"fault":"links","from":"n1","to":"n2","link":{link}}}"#
        ));
        let applied = nemesis.apply(&fault).expect("applies");
        assert!(applied.bit && applied.seen.len() == 1, "{link}: {applied:?}");
        let desired = nemesis.desired_links();
        assert_eq!(desired.worsened().count(), 1, "{link}: one way only");
        let status = nemesis.status().expect("looks at all links");
        let back = status
            .reach
            .iter()
            .find(|probe| probe.from == two && probe.to == one);
        assert!(
            back.is_some_and(|probe| probe.wanted.is_good() && probe.as_wanted),
            "{link}: the way back is good: {back:?}"
        );
        let undone = nemesis.undo(applied.id).expect("undoes");
        assert!(undone.healed, "{link}: {undone:?}");
    }
    // A flapping link turns by the keeper's hand.
    let flap = parse_fault(r#"{"fault":"flap","shape":"n1/n2","down":"50ms","up":"50ms"}"#);
    let flapping = nemesis.apply(&flap).expect("applies");
    assert!(flapping.bit, "{flapping:?}");
    let (mut turns, mut last) = (0, nemesis.desired_links().is_good());
    let deadline = Instant::now() + PATIENCE;
    while turns < 4 {
        nemesis.tick();
        let now = nemesis.desired_links().is_good();
        turns += usize::from(now != last);
        last = now;
        assert!(Instant::now() < deadline, "{turns} turns");
    }
    assert!(nemesis.heal().expect("heals").healed);
}

//! What happens inside a lab. Each scenario panics if it is not as it should be.

use std::net::SocketAddr;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use nemesis::fault::Fault;
use nemesis::lab::{self, Forwarding, Lab, LabOptions, NodeSpec, address_of};
use nemesis::node::EndStatus;
use nemesis::{Direction, Nemesis, NodeId, NodeState, Target};

use crate::node::ask;

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
    let lab = match Lab::start(seat, &LabOptions::default(), specs(folder, 5)) {
        Ok(lab) => lab,
        Err(lab::LabError::Unsupported(why)) => {
            eprintln!("{why}");
            return ExitCode::from(77);
        }
        Err(error) => panic!("{error}"),
    };
    for node in lab.nodes() {
        lab.wait_until(node, || ask_at(&lab, node, "id").is_ok(), PATIENCE)
            .expect("the node gets ready");
    }
    match name {
        "cut-kill-pause-restart-forward" => everything(&lab, folder),
        "crash" => crash(&lab, folder),
        "hold" => hold(&lab),
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

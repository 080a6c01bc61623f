//! What was acknowledged is there, whatever was killed.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use serde_json::json;

use crate::harness::Cluster;
use crate::http;
use crate::restored::done;

/// Clients write while all nodes are killed at once, again and again.
#[test]
fn nothing_acknowledged_is_lost_when_all_nodes_are_killed() {
    let mut cluster = Cluster::started(3, &["--snapshot-every", "200", "--log-keep", "10"]);
    let acknowledged: Arc<Mutex<BTreeMap<String, u64>>> = Arc::default();
    for round in 0..4 {
        let stop = Arc::new(AtomicBool::new(false));
        let writers: Vec<_> = (0..4)
            .map(|writer| {
                let (acknowledged, stop) = (acknowledged.clone(), stop.clone());
                let to = cluster.http(writer % 3 + 1);
                std::thread::spawn(move || {
                    for n in 0.. {
                        if stop.load(Ordering::Relaxed) {
                            return;
                        }
                        let key = format!("{round}-{writer}-{n}");
                        let set = http::request(to, "GET", &format!("/set?key={key}&value={key}"), b"");
                        if let Some(set) = set.ok().filter(|set| set.status == 200) {
                            let version = set.json()["version"].as_u64().unwrap();
                            acknowledged.lock().unwrap().insert(key, version);
                        }
                    }
                })
            })
            .collect();
        let before = acknowledged.lock().unwrap().len();
        crate::harness::eventually("writes are acknowledged", || {
            (acknowledged.lock().unwrap().len() > before + 150).then_some(())
        });
        cluster.kill_all();
        stop.store(true, Ordering::Relaxed);
        writers.into_iter().for_each(|writer| writer.join().unwrap());
        cluster.start_all();
        let leader = cluster.leader();
        let follower = leader % 3 + 1;
        for (key, version) in acknowledged.lock().unwrap().iter() {
            let node = if version % 2 == 0 { leader } else { follower };
            let get = cluster.get(node, &format!("/get?key={key}"));
            assert_eq!(
                get.json(),
                json!({ "key": key, "value": key, "version": version }),
                "round {round}"
            );
        }
    }
    cluster.converged();
}

/// A follower that was away for longer than the log remembers gets a snapshot, and
/// comes to the same state.
#[test]
fn a_follower_far_behind_is_caught_up_by_a_snapshot() {
    let mut cluster = Cluster::started(3, &["--snapshot-every", "50", "--log-keep", "0"]);
    let away = cluster.leader() % 3 + 1;
    cluster.kill(away);
    let leader = cluster.leader();
    for n in 0..300 {
        let set = cluster.get(leader, &format!("/set?key=k{}&value={n}", n % 40));
        assert_eq!(set.status, 200);
    }
    crate::harness::eventually("the log is purged", || {
        cluster
            .status(leader)
            .filter(|status| status["snapshot"].as_u64() > Some(200))
    });
    cluster.start(away);
    let state = cluster.converged();
    assert_eq!(state["keys"], 40);
    assert!(
        cluster.status(away).unwrap()["snapshot"].as_u64() > Some(0),
        "it was given a snapshot"
    );
    // And it starts again from it.
    cluster.kill(away);
    cluster.start(away);
    cluster.converged();
}

/// Damage is one clear line and exit 254, never a node that goes on.
#[test]
fn a_damaged_directory_is_refused() {
    let mut cluster = Cluster::started(1, &["--snapshot-every", "20", "--log-keep", "0"]);
    for n in 0..100 {
        assert_eq!(cluster.get(1, &format!("/set?key=k{n}&value={n}")).status, 200);
    }
    let snapshots = cluster.data(1).join("snapshots");
    let snapshot = crate::harness::eventually("a snapshot", || {
        kvnode::env::fs::list(&snapshots)
            .unwrap()
            .into_iter()
            .find(|path| path.extension().unwrap() == "kv")
    });
    cluster.kill(1);
    let whole = kvnode::env::fs::read_if_there(&snapshot).unwrap().unwrap();
    for (name, damage) in [
        (
            "flipped",
            whole
                .iter()
                .enumerate()
                .map(|(n, byte)| if n == whole.len() / 2 { !byte } else { *byte })
                .collect(),
        ),
        ("cut", whole[..whole.len() - 5].to_vec()),
        ("emptied", Vec::new()),
    ] {
        kvnode::env::fs::write_durably(&snapshot, &damage).unwrap();
        cluster.start(1);
        assert_eq!(cluster.ended(1), 254, "{name}");
        let told = cluster.stderr(1);
        let line = told.lines().last().unwrap();
        assert!(
            line.starts_with("kvnode: ") && line.contains("at byte"),
            "{name}: {line}"
        );
    }
    kvnode::env::fs::write_durably(&snapshot, &whole).unwrap();
    cluster.start(1);
    cluster.leader();
    assert_eq!(cluster.get(1, "/status").json()["keys"], 100);

    cluster.kill(1);
    let log = kvnode::env::fs::list(&cluster.data(1).join("log"))
        .unwrap()
        .remove(0);
    let mut bytes = kvnode::env::fs::read_if_there(&log).unwrap().unwrap();
    let middle = bytes.len() / 2;
    // More than an empty batch, which holds nothing and is not missed.
    bytes[middle..middle + 40].iter_mut().for_each(|byte| *byte ^= 1);
    kvnode::env::fs::write_durably(&log, &bytes).unwrap();
    cluster.start(1);
    assert_eq!(cluster.ended(1), 254);
    let told = cluster.stderr(1);
    let line = told.lines().last().unwrap();
    assert!(
        line.starts_with("kvnode: ") && line.contains("is damaged at byte"),
        "{line}"
    );
}

/// What a crash tore off the end of the log is cut with a warning, and the node goes on.
#[test]
fn a_torn_tail_is_cut_and_the_node_goes_on() {
    let mut cluster = Cluster::started(3, &[]);
    for n in 0..20 {
        assert_eq!(cluster.get(1, &format!("/set?key=k{n}&value={n}")).status, 200);
    }
    let torn = cluster.leader();
    cluster.kill(torn);
    let log = kvnode::env::fs::list(&cluster.data(torn).join("log"))
        .unwrap()
        .pop()
        .unwrap();
    let mut bytes = kvnode::env::fs::read_if_there(&log).unwrap().unwrap();
    bytes.extend([7; 100]);
    kvnode::env::fs::write_durably(&log, &bytes).unwrap();
    cluster.start(torn);
    assert_eq!(cluster.converged()["keys"], 20);
    assert!(
        cluster.stderr(torn).contains("cut the tail"),
        "{}",
        cluster.stderr(torn)
    );
}

#[test]
fn two_processes_do_not_share_a_directory() {
    let mut cluster = Cluster::started(1, &[]);
    let second = cluster.second_process(1);
    assert_eq!(second.status.code(), Some(254));
    let told = String::from_utf8_lossy(&second.stderr).into_owned();
    assert!(told.contains("another kvnode uses this directory"), "{told}");
    assert_eq!(cluster.get(1, "/set?key=k&value=v").status, 200);
    cluster.kill(1);
}

/// Large values neither fill the memory with log nor the disk with files.
#[test]
fn endless_large_writes_stay_within_bounds() {
    let cluster = Cluster::started(3, &[]);
    let value = "v".repeat(1 << 20);
    for n in 0..150 {
        let body = json!({ "key": format!("k{}", n % 3), "value": value }).to_string();
        done(&cluster, n % 3 + 1, "/set", body.as_bytes());
    }
    for node in cluster.numbers() {
        let bounded = || {
            let metrics = String::from_utf8(cluster.get(node, "/metrics").body).unwrap();
            let log = metrics
                .lines()
                .find_map(|line| line.strip_prefix("kvnode_log_bytes ")?.parse::<u64>().ok());
            let files = kvnode::env::fs::list(&cluster.data(node).join("log")).unwrap();
            let disk: u64 = files
                .iter()
                .map(|path| kvnode::env::fs::open(path).unwrap().metadata().unwrap().len())
                .sum();
            (log.unwrap() < 64 << 20 && disk < 160 << 20).then_some(())
        };
        crate::harness::eventually("log and files shrink", bounded);
    }
    cluster.converged();
}

//! A disk without room: a small one for each node, in a mount namespace of its own.

use std::io::Write;

use serde_json::{Value, json};

use crate::harness::{Cluster, eventually};

/// Fills a node's disk to the last byte.
#[expect(clippy::disallowed_methods, reason = "the tests are the outside world")]
fn fill(cluster: &Cluster, node: usize) {
    let mut filler = std::fs::File::create(cluster.within(node, "filler")).expect("a file on its disk");
    for size in [64 << 10, 4 << 10, 1] {
        let block = vec![0; size];
        while filler.write_all(&block).is_ok() {}
    }
}

#[expect(clippy::disallowed_methods, reason = "the tests are the outside world")]
fn free(cluster: &Cluster, node: usize) {
    std::fs::remove_file(cluster.within(node, "filler")).expect("the filler can be removed");
}

/// Writes until the answer is the wanted one; whatever else came must be honest.
fn write_until(cluster: &Cluster, node: usize, wanted: u16, acknowledged: &mut Vec<u64>) -> Value {
    eventually("the answer to a write", || {
        let number = acknowledged.last().map_or(0, |last| last + 1);
        let target = format!("/set?key=k{number}&value={number}&deadline_ms=500");
        let set = cluster.get(node, &target);
        match set.status {
            200 => acknowledged.push(number),
            507 => assert_eq!(
                (&set.json()["error"], &set.json()["outcome"]),
                (&json!("disk_full"), &json!("not_applied"))
            ),
            // It met the end of the disk: in the log of the leader, not yet on its disk.
            _ => assert_eq!((set.status, &set.json()["outcome"]), (504, &json!("unknown"))),
        }
        (set.status == wanted).then(|| set.json())
    })
}

#[test]
fn a_full_disk_refuses_writes_serves_reads_and_recovers_by_itself() {
    let cluster = Cluster::started_on_disks(3, "48m", &[]);
    let mut acknowledged = Vec::new();
    for node in cluster.numbers() {
        write_until(&cluster, node, 200, &mut acknowledged);
    }
    for _ in 0..2 {
        let leader = cluster.leader();
        let term = cluster.status(leader).unwrap()["term"].clone();
        fill(&cluster, leader);
        let follower = leader % 3 + 1;
        write_until(&cluster, leader, 507, &mut acknowledged);
        write_until(&cluster, follower, 507, &mut acknowledged);
        for node in cluster.numbers() {
            let get = cluster.get(node, "/get?key=k0");
            assert_eq!((get.status, &get.json()["value"]), (200, &json!("0")), "n{node}");
        }
        let metrics = String::from_utf8(cluster.get(leader, "/metrics").body).unwrap();
        assert!(metrics.contains("\nkvnode_disk_full 1\n"), "{metrics}");
        free(&cluster, leader);
        write_until(&cluster, follower, 200, &mut acknowledged);
        assert_eq!(cluster.status(leader).unwrap()["term"], term, "the leader stayed");
        cluster.converged();
    }
    for number in acknowledged {
        let get = cluster.get(1, &format!("/get?key=k{number}"));
        assert_eq!(get.json()["value"], number.to_string());
    }
}

/// A follower without room holds nobody up, and catches up when it has some.
#[test]
fn a_follower_with_a_full_disk_holds_nobody_up() {
    let cluster = Cluster::started_on_disks(3, "48m", &[]);
    let follower = cluster.leader() % 3 + 1;
    fill(&cluster, follower);
    let value = "v".repeat(64 << 10);
    for n in 0..50 {
        let body = json!({ "key": format!("k{n}"), "value": value }).to_string();
        let set = cluster.ask(follower, "POST", "/set", body.as_bytes());
        assert_eq!(set.status, 200, "{}", set.json());
    }
    free(&cluster, follower);
    assert_eq!(cluster.converged()["keys"], 50);
}

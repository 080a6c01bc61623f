//! What operators do to a cluster while its clients go on.

use crate::harness::{Cluster, eventually};
use crate::load::Load;
use crate::membership::{added, removed};

/// The leader is told to stop: it hands over first, so nobody waits for its silence and
/// no request is refused or lost, not even one that is never retried.
#[test]
fn a_leader_that_is_told_to_stop_hands_over_first() {
    let mut cluster = Cluster::started(3, &[]);
    for round in 0..3 {
        let leader = cluster.leader();
        let other = leader % 3 + 1;
        cluster.terminate(leader);
        let mut writes = 0;
        while cluster.runs(leader) {
            let set = cluster.get(other, &format!("/set?key=during&value={round}-{writes}"));
            assert_eq!(set.status, 200, "write {writes}: {}", set.json());
            writes += 1;
        }
        let set = cluster.get(other, &format!("/set?key=after&value={round}"));
        assert_eq!(set.status, 200, "after {writes} writes: {}", set.json());
        assert_eq!(cluster.ended(leader), 0);
        let told = cluster.stderr(leader);
        assert!(told.contains("handed leadership over"), "{told}");
        cluster.start(leader);
        cluster.converged();
    }
}

#[test]
fn a_rolling_restart_fails_no_request_that_is_retried() {
    let mut cluster = Cluster::started(3, &["--snapshot-every", "100", "--log-keep", "10"]);
    let load = Load::on(&cluster.addresses());
    for node in cluster.numbers() {
        load.goes_on(50);
        cluster.terminate(node);
        assert_eq!(cluster.ended(node), 0);
        load.goes_on(50);
        cluster.start(node);
        eventually("the node is ready", || cluster.try_get(node, "/ready"));
    }
    load.goes_on(50);
    load.ends_well(&cluster);
    cluster.converged();
}

#[test]
fn a_snapshot_is_installed_while_load_is_on() {
    let mut cluster = Cluster::started(3, &["--snapshot-every", "50", "--log-keep", "0"]);
    let load = Load::on(&cluster.addresses());
    load.goes_on(50);
    let away = cluster.leader() % 3 + 1;
    cluster.kill(away);
    let leader = cluster.leader();
    let missed = cluster.status(leader).unwrap()["applied"].as_u64();
    eventually("what it missed is in a snapshot only", || {
        cluster
            .status(leader)
            .filter(|status| status["snapshot"].as_u64() > missed.map(|index| index + 100))
    });
    cluster.start(away);
    eventually("it has caught up", || cluster.try_get(away, "/ready"));
    let installed = cluster.status(away).unwrap()["snapshot"].as_u64();
    assert!(installed > missed, "{installed:?} is not beyond {missed:?}");
    load.goes_on(50);
    load.ends_well(&cluster);
    cluster.converged();
}

/// A machine is gone for good: another takes its place under a new name.
#[test]
fn a_dead_node_is_replaced_while_load_is_on() {
    let mut cluster = Cluster::started(3, &["--snapshot-every", "100", "--log-keep", "10"]);
    let load = Load::on(&cluster.addresses());
    load.goes_on(50);
    let dead = cluster.leader();
    cluster.kill(dead);
    let alive = dead % 3 + 1;
    load.goes_on(50);
    removed(&cluster, alive, dead);
    let new = cluster.plan_another();
    cluster.start(new);
    eventually("the new node answers", || cluster.status(new));
    added(&cluster, alive, new);
    load.goes_on(50);
    let members = cluster.get(new, "/cluster/members").json();
    assert_eq!(members["members"].as_array().unwrap().len(), 3, "{members}");
    load.ends_well(&cluster);
    cluster.converged();
}

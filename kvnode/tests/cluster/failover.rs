//! Leaders die and come back.

use crate::harness::{Cluster, eventually};

#[test]
fn writes_go_on_when_the_leader_is_killed() {
    let mut cluster = Cluster::started(3, &[]);
    for round in 0..5 {
        let leader = cluster.leader();
        let other = leader % 3 + 1;
        assert_eq!(
            cluster
                .get(other, &format!("/set?key=before&value={round}"))
                .status,
            200
        );
        cluster.kill(leader);
        // Nothing was proposed while there was no leader, so the node itself goes on
        // trying until its deadline; but what was handed to the dead leader's
        // connection is unknown, and the client decides.
        let set = format!("/set?key=after&value={round}");
        let set = eventually("a write by the remaining nodes", || cluster.try_get(other, &set));
        assert!(set.json()["version"].is_u64());
        cluster.start(leader);
        for node in cluster.numbers() {
            let get = eventually("a read", || cluster.try_get(node, "/get?key=after"));
            assert_eq!(get.json()["value"], round.to_string(), "n{node}");
        }
    }
    cluster.converged();
}

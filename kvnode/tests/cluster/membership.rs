//! Nodes join, leave, hand over and are replaced.

use serde_json::json;

use crate::harness::{Cluster, eventually};

fn roles(cluster: &Cluster, node: usize) -> Vec<(String, String)> {
    let members = cluster.get(node, "/cluster/members").json();
    let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
    members["members"]
        .as_array()
        .unwrap()
        .iter()
        .map(|member| (text(&member["id"]), text(&member["role"])))
        .collect()
}

/// Has a node added, whoever leads meanwhile.
pub(crate) fn added(cluster: &Cluster, asked: usize, node: usize) {
    let body = cluster.member(node).to_string();
    eventually("the node is added", || {
        let added = cluster.ask(asked, "POST", "/cluster/members", body.as_bytes());
        (added.status == 200).then_some(())
    });
}

/// Has a node removed, whoever leads meanwhile.
pub(crate) fn removed(cluster: &Cluster, asked: usize, node: usize) {
    let target = format!("/cluster/members/n{node}");
    eventually("the node is removed", || {
        let answer = cluster.ask(asked, "DELETE", &target, b"");
        // A leader that was lost in between may have done it before.
        let gone = |(id, _): &(String, String)| *id != format!("n{node}");
        (answer.status == 200 || roles(cluster, asked).iter().all(gone)).then_some(())
    });
}

#[test]
fn a_node_joins_serves_and_leaves() {
    let mut cluster = Cluster::started(3, &["--snapshot-every", "50", "--log-keep", "0"]);
    for n in 0..120 {
        assert_eq!(cluster.get(1, &format!("/set?key=k{n}&value={n}")).status, 200);
    }
    let absent = cluster.plan_another();
    let body = cluster.member(absent).to_string();
    let refused = cluster.ask(1, "POST", "/cluster/members", body.as_bytes());
    assert_eq!(
        (refused.status, &refused.json()["outcome"]),
        (409, &json!("not_applied")),
        "{}",
        refused.json()
    );

    cluster.start(absent);
    eventually("the new node answers", || cluster.status(absent));
    let follower = cluster.leader() % 3 + 1;
    let added = cluster.ask(follower, "POST", "/cluster/members", body.as_bytes());
    assert_eq!(added.status, 200, "{}", added.json());
    assert_eq!(
        roles(&cluster, 1).last().unwrap(),
        &("n4".to_owned(), "voter".to_owned())
    );
    assert_eq!(cluster.get(absent, "/get?key=k119").json()["value"], "119");
    assert_eq!(cluster.get(absent, "/set?key=by4&value=v").status, 200);
    assert_eq!(cluster.converged()["keys"], 121);
    let again = cluster.ask(2, "POST", "/cluster/members", body.as_bytes());
    assert_eq!(
        again.status,
        200,
        "adding a member again changes nothing: {}",
        again.json()
    );

    let leader = cluster.leader();
    let other = if leader == 1 { 2 } else { 1 };
    let removed = cluster.ask(other, "DELETE", &format!("/cluster/members/n{leader}"), b"");
    assert_eq!(removed.status, 200, "{}", removed.json());
    eventually("another leads", || {
        cluster
            .status(other)
            .filter(|status| status["leader"].is_string() && status["leader"] != format!("n{leader}"))
    });
    cluster.kill(leader);
    assert_eq!(roles(&cluster, other).len(), 3);
    let set = eventually("a write", || cluster.try_get(other, "/set?key=without&value=v"));
    assert!(set.json()["index"].is_u64());
    assert_eq!(
        cluster.ask(other, "DELETE", "/cluster/members/n9", b"").status,
        409
    );
    assert_eq!(cluster.ask(other, "DELETE", "/cluster/members/", b"").status, 400);
    cluster.converged();
}

#[test]
fn what_would_lose_the_quorum_is_refused_unless_forced() {
    let mut cluster = Cluster::started(3, &[]);
    let leader = cluster.leader();
    let (up, down) = (leader % 3 + 1, (leader + 1) % 3 + 1);
    cluster.kill(down);
    let target = format!("/cluster/members/n{up}");
    let refused = eventually("it is known that one is down", || {
        let answer = cluster.ask(leader, "DELETE", &target, b"");
        (answer.status == 409).then_some(answer)
    });
    assert!(
        refused.json()["message"].as_str().unwrap().contains("no quorum"),
        "{}",
        refused.json()
    );
    assert_eq!(roles(&cluster, leader).len(), 3);
    // The dead one may go, and be replaced by one with an empty directory.
    removed(&cluster, up, down);
    cluster.wipe(down);
    cluster.start(down);
    eventually("the new node answers", || cluster.status(down));
    added(&cluster, up, down);
    assert_eq!(cluster.get(down, "/set?key=k&value=v").status, 200);
    cluster.converged();
}

/// A node is replaced under its own name while a member cannot be told that the old one went.
/// That one remembers the old directory for as long as it lags, and turns the new node away;
/// the others know better.
#[test]
fn a_replacement_is_taken_in_although_a_member_lags() {
    let mut cluster = Cluster::started(4, &[]);
    // Whoever is added is remembered with its directory; of those who begin a cluster, one may be late.
    let replaced = cluster.plan_another();
    cluster.start(replaced);
    eventually("the node answers", || cluster.status(replaced));
    added(&cluster, 1, replaced);
    eventually("the first leads", || {
        let moved = cluster.ask(3, "POST", "/cluster/transfer?to=n1", b"");
        (moved.status == 200).then_some(())
    });
    let (leader, lags, asked) = (1, 2, 3);
    assert_eq!(cluster.get(leader, "/set?key=k&value=v").status, 200);
    cluster.converged();
    cluster.kill(lags);
    cluster.kill(replaced);
    cluster.wipe(replaced);
    removed(&cluster, asked, replaced);
    // It listens where only the new node looks for it: nobody brings it up to date.
    let known = cluster.move_raft(lags);
    cluster.start(lags);
    eventually("it answers", || cluster.status(lags));
    cluster.start(replaced);
    eventually("the new node is turned away by it", || {
        let told = cluster.stderr(replaced);
        told.contains("remembers this node with another data directory")
            .then_some(())
    });
    added(&cluster, asked, replaced);
    assert!(cluster.runs(replaced));
    assert_eq!(cluster.get(replaced, "/get?key=k").json()["value"], "v");
    let [last, there] = [lags, asked].map(|node| cluster.status(node).unwrap()["last"].as_u64());
    assert!(last < there, "it was told: {last:?}, {there:?}");

    cluster.kill(lags);
    cluster.set_spec(known);
    cluster.start(lags);
    assert_eq!(cluster.converged()["keys"], 1);
    assert!(cluster.runs(replaced));
}

#[test]
fn leadership_is_handed_over_and_snapshots_are_written_when_asked() {
    let cluster = Cluster::started(3, &[]);
    for _ in 0..4 {
        let leader = cluster.leader();
        let (asked, to) = (leader % 3 + 1, (leader + 1) % 3 + 1);
        let moved = cluster.ask(asked, "POST", &format!("/cluster/transfer?to=n{to}"), b"");
        assert_eq!(moved.status, 200, "{}", moved.json());
        eventually("all know the new leader", || {
            cluster
                .numbers()
                .all(|node| {
                    cluster
                        .status(node)
                        .is_some_and(|status| status["leader"] == format!("n{to}"))
                })
                .then_some(())
        });
        assert_eq!(cluster.get(asked, "/set?key=k&value=v").status, 200);
    }
    assert_eq!(cluster.ask(1, "POST", "/cluster/transfer?to=n9", b"").status, 409);
    assert_eq!(cluster.ask(1, "POST", "/cluster/transfer", b"").status, 200);
    let index = cluster.get(2, "/set?key=k&value=v").json()["index"]
        .as_u64()
        .unwrap();
    eventually("it is applied", || {
        cluster
            .status(3)
            .filter(|status| status["applied"].as_u64() >= Some(index))
    });
    let snapshot = cluster.ask(3, "POST", "/cluster/snapshot", b"");
    assert!(
        snapshot.json()["index"].as_u64() >= Some(index),
        "{}",
        snapshot.json()
    );
}

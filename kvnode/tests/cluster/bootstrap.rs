//! A cluster makes itself, once.

use crate::harness::Cluster;

#[test]
fn a_bootstrap_that_is_interrupted_is_taken_up_again() {
    let mut cluster = Cluster::planned(3, &[]);
    // The lowest cannot know yet that there is no cluster among the others.
    cluster.start(1);
    crate::harness::eventually("the first node answers", || cluster.status(1));
    assert_eq!(cluster.status(1).unwrap()["last"], 0);
    cluster.kill(1);
    cluster.start(2);
    cluster.start(1);
    crate::harness::eventually("the first node answers", || cluster.status(1));
    cluster.kill(1);
    cluster.start_all();
    cluster.leader();
    assert_eq!(cluster.get(3, "/set?key=k&value=v").status, 200);
    cluster.converged();
}

/// Whoever comes back with an empty directory has lost its promises: the lowest node
/// must not make a second cluster, and nobody may vote again.
#[test]
fn a_node_whose_directory_was_wiped_takes_no_part() {
    for wiped in [1, 3] {
        let mut cluster = Cluster::started(3, &[]);
        assert_eq!(cluster.get(2, "/set?key=k&value=v").status, 200);
        let others: Vec<usize> = cluster.numbers().filter(|&node| node != wiped).collect();
        cluster.kill(wiped);
        cluster.wipe(wiped);
        cluster.start(wiped);
        assert_eq!(cluster.ended(wiped), 254);
        let told = cluster.stderr(wiped);
        let line = told.lines().last().unwrap();
        assert!(line.contains("with another data directory"), "{line}");
        cluster.leader();
        for node in others {
            assert_eq!(cluster.get(node, "/get?key=k").json()["value"], "v");
        }
        // Even alone with a node that knows the cluster, it makes no quorum.
        let left = if wiped == 1 { 2 } else { 1 };
        cluster.kill(if left == 2 { 3 } else { 2 });
        cluster.start(wiped);
        let answer = cluster.get(left, "/set?key=k&value=forgotten&deadline_ms=1500");
        assert_ne!(answer.status, 200, "a wiped node gave its vote");
    }
}

/// Beside a restored cluster, which begins with one member, nobody else may begin another.
#[test]
fn nodes_that_are_to_join_make_no_cluster() {
    let mut cluster = Cluster::planned(3, &["--join"]);
    cluster.start_all();
    crate::harness::eventually("the lowest has asked all and makes no cluster", || {
        cluster.stderr(1).contains("as --join says").then_some(())
    });
    for node in cluster.numbers() {
        let status = crate::harness::eventually("it answers", || cluster.status(node));
        assert_eq!(status["last"], 0, "{status}");
        assert_eq!(cluster.get(node, "/ready").status, 503);
    }
    // Without the flag the same directories make one.
    cluster.kill_all();
    cluster.set_flags(Vec::new());
    cluster.start_all();
    cluster.leader();
}

#[test]
fn a_directory_belongs_to_one_node_of_one_cluster() {
    let mut cluster = Cluster::started(1, &[]);
    cluster.kill(1);
    for flags in [["--cluster-id", "other"], ["--node", "n9"]] {
        let data = cluster.data(1);
        let node = if flags[0] == "--node" { "n9" } else { "n1" };
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_kvnode"))
            .args([
                "--node",
                node,
                "--cluster",
                &format!("{node}=127.0.0.1:1:2"),
                "--data-dir",
            ])
            .arg(data)
            .args(if node == "n1" { &flags[..] } else { &[] })
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(254));
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(told.contains("belongs to node n1 of cluster 'ordeal'"), "{told}");
        assert_eq!(told.lines().count(), 1, "{told}");
    }
}

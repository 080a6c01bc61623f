//! Backups in a folder: taken under load, restored, compared; damaged, cut, half written;
//! made by the cluster itself.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use kvnode::env::fs;
use serde_json::{Value, json};

use crate::harness::{Cluster, eventually};
use crate::load::Load;
use crate::restored::{done, everything, failed, fill, kvnode, name_of, restore, restored, succeeded, text};

fn backup(cluster: &Cluster, node: usize, url: &str) -> String {
    let from = format!("http://{}", cluster.http(node));
    succeeded(&kvnode(&["backup", "--to", url, "--urls", &from], &[]))
}

fn listed(url: &str) -> Vec<String> {
    let told = succeeded(&kvnode(&["backup", "list", url], &[]));
    told.lines()
        .map(|line| line.split(' ').next().expect("a name").to_owned())
        .collect()
}

/// Every key with its value and version, every remembered answer, the clock: a new
/// cluster has them all, and goes on from there.
#[test]
fn a_restored_cluster_has_everything_and_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("file://{}/backups", folder.path().display());
    let cluster = Cluster::started(3, &[]);
    let leader = cluster.leader();
    fill(&cluster, leader, 500, 50);
    let load = Load::on(&cluster.addresses());
    load.goes_on(50);
    // Under load, from every node: a follower too has applied what was acknowledged.
    for node in cluster.numbers() {
        let set = json!({ "key": "before", "value": format!("backup from n{node}") });
        done(&cluster, leader, "/set", set.to_string().as_bytes());
        let told = backup(&cluster, node, &url);
        let (other, _) = restored(&format!("{url}/{}", name_of(&told)), 1, &[], &[]);
        assert_eq!(
            other.get(1, "/get?key=before").json()["value"],
            set["value"],
            "n{node}"
        );
        for client in 0..4 {
            // What was appended is there from the first on, without a gap.
            let found = other.get(1, &format!("/get?key=load{client}")).json();
            let found = found["value"].as_str().expect("a value");
            let wanted: String = (0..found.matches(',').count()).map(|n| format!("{n},")).collect();
            assert_eq!(found, wanted, "client {client}");
        }
    }
    load.goes_on(50);
    load.ends_well(&cluster);

    let last = json!({ "key": "last", "value": "once" });
    let first = eventually("a named write", || {
        let answer = cluster.post_named(leader, "/append", "client:1", &last);
        (answer.status == 200).then(|| answer.json())
    });
    let quiet = cluster.converged();
    let told = backup(&cluster, leader, &url);
    assert!(told.contains(quiet["state_hash"].as_str().unwrap()), "{told}");
    assert_eq!(listed(&url).len(), 4);
    assert!(succeeded(&kvnode(&["backup", "verify", &url], &[])).contains("whole"));

    let (mut other, told) = restored(&url, 2, &[], &[]);
    let add = told.lines().find_map(|line| line.strip_prefix("add it: kvnode "));
    let add: Vec<&str> = add.expect("what makes it grow").split(' ').collect();
    assert_eq!(everything(&other, 1), everything(&cluster, leader));
    let status = other.status(1).unwrap();
    assert_eq!(status["state_hash"], quiet["state_hash"]);
    assert_eq!(status["cluster"], "restored");
    assert_eq!(status["nodes"].as_array().unwrap().len(), 1);
    assert!(status["term"].as_u64() > quiet["term"].as_u64(), "{status}");
    // A repetition is answered as the first time and not executed again.
    let again = other.post_named(1, "/append", "client:1", &last).json();
    assert_eq!(again["version"], first["version"]);
    assert_eq!(other.get(1, "/get?key=last").json()["value"], "once");
    // Versions go on.
    let set = other.get(1, "/set?key=new&value=1").json();
    assert!(set["version"].as_u64() > quiet["applied"].as_u64(), "{set}");

    // The cluster grows, and survives the loss of all processes.
    other.start(2);
    eventually("n2 is added by the command that was printed", || {
        kvnode(&add, &[]).status.success().then_some(())
    });
    other.converged();
    let all = everything(&other, 2);
    assert_eq!(all, everything(&other, 1));
    other.kill_all();
    other.start_all();
    other.leader();
    assert_eq!(everything(&other, 1), all);
}

/// Sets up one cluster of one node with one backup: its URL, folder and name.
fn one_backup(folder: &Path) -> (Cluster, String, PathBuf, String) {
    let cluster = Cluster::started(1, &[]);
    fill(&cluster, 1, 2000, 100);
    let url = format!("file://{}", folder.display());
    let name = name_of(&backup(&cluster, 1, &url));
    let of = folder.join(&name);
    (cluster, url, of, name)
}

#[test]
fn what_is_damaged_or_half_written_is_not_restored() {
    let folder = tempfile::tempdir().unwrap();
    let (cluster, url, of, name) = one_backup(folder.path());
    let data = folder.path().join("new");
    let refused = |want: &[&str]| {
        let told = failed(&restore(&url, &data, cluster.spec(), &[], &[]), 255);
        for want in want {
            assert!(told.contains(want), "'{want}' is not in {told}");
        }
        let verified = kvnode(&["backup", "verify", &url], &[]);
        assert_eq!(verified.status.code(), Some(255), "{verified:?}");
        assert!(fs::mark(&data).is_none(), "the directory was touched");
    };
    let snapshot = of.join("snapshot.kv");
    let whole = fs::read_if_there(&snapshot).unwrap().unwrap();
    let write = |bytes: &[u8]| fs::write_durably(&snapshot, bytes).unwrap();

    let mut damaged = whole.clone();
    damaged[whole.len() / 2] ^= 4;
    write(&damaged);
    refused(&[
        &name,
        "snapshot.kv: at byte ",
        "a block does not match its checksum",
    ]);
    write(&whole[..whole.len() - 100]);
    refused(&["the file ends in the middle"]);
    write(&[&whole[..], b"more"].concat());
    refused(&["its manifest says"]);
    write(&whole);

    let manifest = of.join("manifest.json");
    let text_of = fs::read_if_there(&manifest).unwrap().unwrap();
    let told: Value = serde_json::from_slice(&text_of).unwrap();
    for (field, value, want) in [
        ("sha256", json!("00"), "SHA-256"),
        ("keys", json!(1), "not what its manifest describes"),
        ("format", json!(9), "use the version that wrote it"),
    ] {
        let mut changed = told.clone();
        changed[field] = value;
        fs::write_durably(&manifest, changed.to_string().as_bytes()).unwrap();
        let told = failed(
            &restore(&format!("{url}/{name}"), &data, cluster.spec(), &[], &[]),
            255,
        );
        assert!(told.contains(want), "{field}: {told}");
    }
    // Without its manifest it is no backup, and said to be none.
    fs::remove(&manifest).unwrap();
    let output = kvnode(&["backup", "list", &url], &[]);
    assert_eq!(succeeded(&output), "");
    assert!(
        text(&output.stderr).contains(&format!("{name}: without a manifest")),
        "{output:?}"
    );
    refused(&["there is no backup (1 unfinished, 0 damaged)"]);
}

#[test]
fn a_restore_touches_nothing_that_is_there() {
    let folder = tempfile::tempdir().unwrap();
    let (mut cluster, url, _, _) = one_backup(folder.path());
    // A directory in use, the old cluster's name, a node that is nobody.
    let told = failed(&restore(&url, &cluster.data(1), cluster.spec(), &[], &[]), 255);
    assert!(told.contains("is not empty"), "{told}");
    let data = folder.path().join("new");
    let place = data.to_str().unwrap();
    let common = [
        "restore",
        "--from",
        &url,
        "--data-dir",
        place,
        "--cluster",
        cluster.spec(),
    ];
    let told = failed(
        &kvnode(
            &[&common[..], &["--node", "n1", "--cluster-id", "ordeal"]].concat(),
            &[],
        ),
        255,
    );
    assert!(told.contains("another --cluster-id"), "{told}");
    let told = failed(&kvnode(&common, &[]), 254);
    assert!(told.contains("give --node, --cluster and --data-dir"), "{told}");
    let told = failed(&kvnode(&[&common[..], &["--node", "n 7"]].concat(), &[]), 254);
    assert!(told.contains("--node: "), "{told}");
    let told = failed(&kvnode(&[&common[..], &["--node", "n7"]].concat(), &[]), 254);
    assert!(told.contains("node n7 is not in --cluster"), "{told}");
    for wrong in ["nowhere", "file:///no/such/folder", "s3://bucket"] {
        failed(&kvnode(&["backup", "list", wrong], &[]), 254);
    }
    // Without a name given, the new cluster gets one of its own.
    let told = succeeded(&kvnode(&[&common[..], &["--node", "n1"]].concat(), &[]));
    assert!(told.contains("--cluster-id ordeal-"), "{told}");
    // A node that keeps the old name is told whose directory it is.
    cluster.kill(1);
    let output = kvnode(
        &["--node", "n1", "--cluster", cluster.spec(), "--data-dir", place],
        &[],
    );
    assert!(
        failed(&output, 254).contains("belongs to node n1 of cluster 'ordeal-"),
        "{output:?}"
    );
    // A restore that broke off.
    fs::write_durably(&data.join("restoring"), b"x").unwrap();
    let output = kvnode(
        &["--node", "n1", "--cluster", cluster.spec(), "--data-dir", place],
        &[],
    );
    assert!(
        failed(&output, 254).contains("half a restored backup"),
        "{output:?}"
    );
}

/// The leader makes them, the next leader goes on, old ones go, others' stay; a store
/// that fails is told and does no harm.
#[test]
#[expect(clippy::disallowed_methods, reason = "the test breaks a folder")]
fn the_cluster_backs_itself_up() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("backups");
    fs::create_dir_all(&place).unwrap();
    let url = format!("file://{}", place.display());
    // Of another cluster, in the same place.
    let stranger = Cluster::started(1, &["--cluster-id", "stranger"]);
    let foreign = name_of(&backup(&stranger, 1, &url));
    let flags = ["--backup-to", &url, "--backup-every-s", "1", "--backup-keep", "2"];
    // Whoever leads goes on to lead, however busy the machine is.
    let timings = [
        "--heartbeat-ms",
        "200",
        "--election-min-ms",
        "2000",
        "--election-max-ms",
        "3000",
    ];
    let cluster = Cluster::started(3, &[&flags[..], &timings].concat());
    let metric = |node: usize, name: &str| -> u64 {
        let served = cluster
            .try_get(node, "/metrics")
            .map(|answer| text(&answer.body))
            .unwrap_or_default();
        let line = served
            .lines()
            .find(|line| line.starts_with(&format!("kvnode_{name} ")));
        line.and_then(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
            .unwrap_or(0.0) as u64
    };
    let first = cluster.leader();
    eventually("four backups", || {
        (metric(first, "backups_total") >= 4).then_some(())
    });
    eventually("two are kept, and the other cluster's", || {
        let names = listed(&url);
        (names.len() == 3 && names.contains(&foreign)).then_some(())
    });
    let others: u64 = cluster
        .numbers()
        .filter(|node| *node != first)
        .map(|node| metric(node, "backups_total"))
        .sum();
    // A spurious election on a busy machine may have moved the task.
    assert!(others == 0 || cluster.status(first).unwrap()["term"].as_u64() > Some(1));

    let next = first % 3 + 1;
    let moved = cluster.ask(first, "POST", &format!("/cluster/transfer?to=n{next}"), b"");
    assert_eq!(moved.status, 200, "{}", text(&moved.body));
    eventually("the new leader makes them", || {
        (metric(cluster.leader(), "backups_total") >= 1 && cluster.leader() != first).then_some(())
    });

    // The folder is gone, and a file stands in its place.
    let aside = folder.path().join("aside");
    std::fs::rename(&place, &aside).unwrap();
    fs::write_durably(&place, b"").unwrap();
    let leader = eventually("a failure is told", || {
        let leader = cluster.leader();
        (metric(leader, "backup_failing") == 1).then_some(leader)
    });
    let status = cluster.status(leader).unwrap();
    assert!(
        status["backup"]["error"].is_string() && status["backup"]["next_try"].is_string(),
        "{status}"
    );
    let addresses: Vec<SocketAddr> = cluster.addresses();
    let load = Load::on(&addresses);
    load.goes_on(100);
    load.ends_well(&cluster);
    fs::remove(&place).unwrap();
    std::fs::rename(&aside, &place).unwrap();
    let made = metric(cluster.leader(), "backups_total");
    eventually("they go on", || {
        let leader = cluster.leader();
        (metric(leader, "backup_failing") == 0 && (leader != next || metric(leader, "backups_total") > made))
            .then_some(())
    });
    assert!(
        cluster
            .stderr(leader)
            .contains("cannot make a backup; trying again")
    );
}

#[test]
fn settings_of_backups_are_checked() {
    let check = |more: &[&str]| {
        let common = [
            "--check-config",
            "--node",
            "n1",
            "--cluster",
            "n1=127.0.0.1:1:2",
            "--data-dir",
            "x",
        ];
        kvnode(&[&common[..], more].concat(), &[])
    };
    for (flags, want) in [
        (&["--backup-keep", "3"][..], "need --backup-to"),
        (
            &["--backup-to", "file:///tmp", "--backup-keep", "0"],
            "give --backup-keep at least 1",
        ),
        (
            &["--backup-to", "file:///tmp", "--backup-node", "n9"],
            "--backup-node n9 is not in --cluster",
        ),
        (&["--backup-to", "s3://bucket"], "set AWS_ACCESS_KEY_ID"),
        (&["--backup-to", "ftp://bucket"], "is no place for backups"),
    ] {
        let told = failed(&check(flags), 254);
        assert!(told.contains(want), "{flags:?}: {told}");
    }
    let told = succeeded(&check(&["--backup-to", "file:///tmp"]));
    assert!(
        told.contains("backup_every_s = 3600") && told.contains("backup_keep = 24"),
        "{told}"
    );
}

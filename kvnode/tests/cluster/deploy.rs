//! The files for operators speak of settings and metrics that there are.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::harness::{Cluster, read};

fn deploy(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy").join(name)
}

/// The names in a text that begin so.
fn names(text: &str, begin: &str) -> BTreeSet<String> {
    let parts = text.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
    let begun = parts.filter(|part| part.starts_with(begin));
    begun.map(str::to_owned).collect()
}

#[test]
fn the_dashboard_shows_metrics_that_there_are() {
    let dashboard: serde_json::Value = serde_json::from_str(&read(&deploy("grafana.json"))).expect("JSON");
    let panels = dashboard["panels"].as_array().expect("panels");
    assert!(panels.len() > 10);
    let cluster = Cluster::started(1, &[]);
    cluster.get(1, "/get?key=none");
    let served = String::from_utf8(cluster.get(1, "/metrics").body).unwrap();
    for panel in panels {
        let targets = panel["targets"].as_array().expect("targets");
        assert!(!targets.is_empty(), "{}", panel["title"]);
        for target in targets {
            let wanted = names(target["expr"].as_str().expect("an expression"), "kvnode_");
            assert!(!wanted.is_empty(), "{target}");
            for name in wanted {
                let is_there = |line: &str| {
                    line.starts_with(&format!("{name} ")) || line.starts_with(&format!("{name}{{"))
                };
                assert!(served.lines().any(is_there), "{} asks for {name}", panel["title"]);
            }
        }
    }
}

/// Whoever is paged by the page for operators is paged by something.
#[test]
fn the_alerts_ask_for_metrics_that_there_are() {
    let page = read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/operations.md"));
    let wanted = names(&page, "kvnode_");
    assert!(wanted.len() > 5, "{wanted:?}");
    let folder = tempfile::tempdir().unwrap();
    let backups = format!("file://{}", folder.path().display());
    let cluster = Cluster::started(1, &["--backup-to", &backups]);
    let served = String::from_utf8(cluster.get(1, "/metrics").body).unwrap();
    for name in wanted {
        let told = format!("# TYPE {name} ");
        assert!(served.contains(&told), "{name} is not in\n{served}");
    }
}

#[test]
fn the_manifests_set_variables_that_there_are() {
    let help = std::process::Command::new(env!("CARGO_BIN_EXE_kvnode"))
        .arg("--help")
        .output()
        .unwrap();
    let known = names(&String::from_utf8(help.stdout).unwrap(), "KVNODE_");
    let manifest = read(&deploy("kubernetes/kvnode.yaml"));
    let compose = read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../docker-compose.yml"));
    for (file, text) in [("kvnode.yaml", manifest), ("docker-compose.yml", compose)] {
        let used = names(&text, "KVNODE_");
        assert!(used.len() > 2, "{file}");
        for name in used {
            assert!(known.contains(&name), "{file} sets {name}, which nobody reads");
        }
    }
}

/// The example has every name right; that its files are not here is all there is to say.
#[test]
fn the_example_settings_are_settings() {
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_kvnode"))
        .arg("--config")
        .arg(deploy("kvnode.toml"))
        .arg("--check-config")
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(254));
    assert_eq!(told, "kvnode: /etc/kvnode/node.pem: there is no such file\n");
}

//! The walls of the house: which crate may name which.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

/// `workloads` stands on `checker` and `nemesis`; those and `kvnode` stand alone.
#[test]
fn crate_arrows_point_one_way() {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version=1", "--no-deps", "--offline"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo metadata runs");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).expect("cargo metadata is JSON");
    let packages = metadata["packages"].as_array().expect("packages");
    let ours: BTreeSet<&str> = packages.iter().filter_map(|p| p["name"].as_str()).collect();
    let arrows: BTreeMap<&str, BTreeSet<&str>> = packages
        .iter()
        .map(|package| {
            let to = package["dependencies"]
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(|d| d["name"].as_str())
                .filter(|name| ours.contains(name))
                .collect();
            (package["name"].as_str().expect("a package has a name"), to)
        })
        .collect();
    let expected = BTreeMap::from([
        ("checker", BTreeSet::new()),
        ("kvnode", BTreeSet::new()),
        ("nemesis", BTreeSet::new()),
        ("workloads", BTreeSet::from(["checker", "nemesis"])),
    ]);
    assert_eq!(arrows, expected);
}

//! The walls of the house: which crate may name which.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

/// `workloads` stands on `checker` and `nemesis`; those and `kvnode` stand alone. What only tests need is no arrow,
/// but only `browser` may be that.
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
    let arrows = |tests: bool| -> BTreeMap<&str, BTreeSet<&str>> {
        let of = |package: &'_ serde_json::Value| {
            let dependencies = package["dependencies"].as_array().into_iter().flatten();
            let to = dependencies
                .filter(|dependency| (dependency["kind"] == "dev") == tests)
                .filter_map(|dependency| dependency["name"].as_str())
                .filter_map(|name| ours.get(name).copied());
            to.collect()
        };
        let all = packages.iter();
        all.map(|package| {
            (
                package["name"].as_str().expect("a package has a name"),
                of(package),
            )
        })
        .collect()
    };
    let expected = BTreeMap::from([
        ("browser", BTreeSet::new()),
        ("checker", BTreeSet::new()),
        ("kvnode", BTreeSet::new()),
        ("nemesis", BTreeSet::new()),
        ("workloads", BTreeSet::from(["checker", "nemesis"])),
    ]);
    assert_eq!(arrows(false), expected);
    let expected = BTreeMap::from([
        ("browser", BTreeSet::new()),
        ("checker", BTreeSet::from(["browser"])),
        ("kvnode", BTreeSet::new()),
        ("nemesis", BTreeSet::new()),
        ("workloads", BTreeSet::from(["browser"])),
    ]);
    assert_eq!(arrows(true), expected);
}

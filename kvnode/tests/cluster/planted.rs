//! The build that ships holds no planted bug.

/// Where the bugs are listed. A default build cannot ask for them, so they are read.
const LIST: &str = include_str!("../../src/planted/mod.rs");

/// What only a planted build may contain, as text or as a symbol: every bug by its name, and what plants them.
fn marks() -> Vec<&'static str> {
    let named = |line: &'static str| line.trim().strip_prefix("(\"")?.split_once("\", Bug::");
    let bugs: Vec<&str> = LIST.lines().filter_map(named).map(|(name, _)| name).collect();
    assert!(bugs.len() >= 22, "{bugs:?}");
    [&bugs[..], &["planted-bugs", "7planted", "PlantedRules"]].concat()
}

#[test]
#[cfg(not(feature = "planted-bugs"))]
fn the_default_binary_contains_no_planted_bug() {
    let binary = binary();
    for mark in marks() {
        assert!(!binary.contains(mark), "the default build contains '{mark}'");
    }
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_kvnode"))
        .args(["--bug", "follower-read"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(254), "the flag does not exist");
}

/// The other half: the marks are ones that a planted build does show.
#[test]
#[cfg(feature = "planted-bugs")]
fn a_planted_binary_says_so() {
    let binary = binary();
    for mark in marks() {
        assert!(
            binary.contains(mark),
            "the planted build does not contain '{mark}'"
        );
    }
    let version = std::process::Command::new(env!("CARGO_BIN_EXE_kvnode"))
        .arg("--version")
        .output()
        .unwrap();
    assert!(String::from_utf8_lossy(&version.stdout).contains("planted-bugs"));
}

/// Every bug starts, makes a cluster, and serves: what it breaks shows under faults.
#[test]
#[cfg(feature = "planted-bugs")]
fn every_bug_serves() {
    let listed = std::process::Command::new(env!("CARGO_BIN_EXE_kvnode"))
        .arg("bugs")
        .output()
        .unwrap();
    let listed = String::from_utf8(listed.stdout).unwrap();
    assert!(listed.lines().count() >= 22, "{listed}");
    for bug in listed.lines() {
        let cluster = crate::harness::Cluster::started(3, &["--bug", bug]);
        let set = cluster.get(1, "/set?key=k&value=v");
        assert_eq!(set.status, 200, "{bug}: {}", set.json());
        crate::harness::eventually("the value is read", || cluster.try_get(2, "/get?key=k"));
        assert_eq!(cluster.get(3, "/status").json()["bugs"], serde_json::json!([bug]));
    }
    let unknown = std::process::Command::new(env!("CARGO_BIN_EXE_kvnode"))
        .args(["--dev", "--bug", "no-such-bug"])
        .output()
        .unwrap();
    assert_eq!(unknown.status.code(), Some(254));
}

/// The binary as text; what is no text in it does not matter here.
fn binary() -> String {
    let path = std::path::Path::new(env!("CARGO_BIN_EXE_kvnode"));
    let bytes = kvnode::env::fs::read_if_there(path).unwrap().expect("the binary");
    String::from_utf8_lossy(&bytes).into_owned()
}

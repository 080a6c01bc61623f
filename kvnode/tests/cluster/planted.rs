//! The build that ships holds no planted bug.

/// What only a planted build may contain, as text or as a symbol.
const MARKS: &[&str] = &[
    "ack-before-commit",
    "cas-not-atomic",
    "follower-read",
    "planted-bugs",
    "7planted",
    "CasNotAtomic",
];

#[test]
#[cfg(not(feature = "planted-bugs"))]
fn the_default_binary_contains_no_planted_bug() {
    for mark in MARKS {
        assert!(!binary_contains(mark), "the default build contains '{mark}'");
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
    for mark in MARKS {
        assert!(
            binary_contains(mark),
            "the planted build does not contain '{mark}'"
        );
    }
    let version = std::process::Command::new(env!("CARGO_BIN_EXE_kvnode"))
        .arg("--version")
        .output()
        .unwrap();
    assert!(String::from_utf8_lossy(&version.stdout).contains("planted-bugs"));
}

fn binary_contains(mark: &str) -> bool {
    let path = std::path::Path::new(env!("CARGO_BIN_EXE_kvnode"));
    let binary = kvnode::env::fs::read_if_there(path).unwrap().expect("the binary");
    binary.windows(mark.len()).any(|window| window == mark.as_bytes())
}

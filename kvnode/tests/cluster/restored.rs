//! What the tests of backups have in common: running `kvnode`, and comparing stores.

use std::path::Path;
use std::process::{Command, Output};

use serde_json::{Value, json};

use crate::harness::{Cluster, eventually};

/// Runs `kvnode` to its end, with these variables and no others about S3.
pub(crate) fn kvnode(arguments: &[&str], variables: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kvnode"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("AWS_") {
            command.env_remove(name);
        }
    }
    command
        .args(arguments)
        .envs(variables.iter().copied())
        .output()
        .expect("kvnode starts")
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Its stdout; that it succeeded.
pub(crate) fn succeeded(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    text(&output.stdout)
}

/// Its one line on stderr; that it failed so.
pub(crate) fn failed(output: &Output, code: i32) -> String {
    let told = text(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{output:?}");
    assert_eq!(told.lines().count(), 1, "{told}");
    told
}

/// The name in a line that `kvnode backup` printed.
pub(crate) fn name_of(told: &str) -> String {
    let place = told.split(": ").next().expect("a line");
    place.rsplit('/').next().expect("a name").to_owned()
}

/// A write that is repeated until it is acknowledged: a busy machine changes leaders.
pub(crate) fn done(cluster: &Cluster, node: usize, target: &str, body: &[u8]) {
    eventually("a write", || {
        (cluster.ask(node, "POST", target, body).status == 200).then_some(())
    });
}

/// Keys with values, versions and, some of them, ends far away: `bytes` in each value.
pub(crate) fn fill(cluster: &Cluster, node: usize, keys: usize, bytes: usize) {
    let value = "x".repeat(bytes);
    for first in (0..keys).step_by(50) {
        let sets: Vec<Value> = (first..keys.min(first + 50))
            .map(|n| match n % 5 {
                0 => json!({ "op": "set", "key": format!("key{n}"), "value": format!("{n} {value}"), "ttl_ms": 3_600_000 }),
                _ => json!({ "op": "set", "key": format!("key{n}"), "value": format!("{n} {value}") }),
            })
            .collect();
        let body = json!({ "then": sets }).to_string();
        done(cluster, node, "/txn", body.as_bytes());
    }
}

/// All entries of a store, as one of its nodes tells them.
pub(crate) fn everything(cluster: &Cluster, node: usize) -> Vec<Value> {
    let (mut all, mut after) = (Vec::<Value>::new(), String::new());
    loop {
        let page = cluster.get(node, &format!("/scan?limit=500{after}")).json();
        all.extend(page["entries"].as_array().expect("entries").iter().cloned());
        if page["more"] != true {
            return all;
        }
        after = format!(
            "&after={}",
            all.last().expect("an entry")["key"].as_str().expect("a key")
        );
    }
}

/// A cluster whose first node starts with a restored directory, the others empty and not
/// started.
pub(crate) fn restored(
    from: &str,
    size: usize,
    more: &[&str],
    variables: &[(&str, &str)],
) -> (Cluster, String) {
    let mut cluster = Cluster::planned(size, &["--cluster-id", "restored", "--join"]);
    let output = restore(from, &cluster.data(1), cluster.spec(), more, variables);
    let told = succeeded(&output);
    cluster.start(1);
    cluster.leader();
    (cluster, told)
}

/// `kvnode restore` for n1 of a cluster named `restored`.
pub(crate) fn restore(
    from: &str,
    directory: &Path,
    spec: &str,
    more: &[&str],
    variables: &[(&str, &str)],
) -> Output {
    let directory = directory.to_str().expect("a path of UTF-8");
    let arguments = [
        "restore",
        "--from",
        from,
        "--node",
        "n1",
        "--data-dir",
        directory,
        "--cluster",
        spec,
        "--cluster-id",
        "restored",
    ];
    kvnode(&[&arguments[..], more].concat(), variables)
}

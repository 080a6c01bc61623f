//! The system files that come with the program.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::Operation;
use super::problem::nearest;

/// Their names, in the order of `workloads list`.
pub(super) const NAMES: &[&str] = &[
    "kvnode",
    "etcd",
    "redis-sentinel",
    "zookeeper",
    "postgres",
    "dqlite-demo",
    "nats",
];

/// How Maelstrom's `lin-kv` workload is spoken; a file may say it otherwise.
///
/// The codes are the protocol's: 0 (timeout) and 13 (crash) leave the outcome open, as does any that is not
/// listed; 20 is a key that does not exist, 22 a value that is another one.
const MAELSTROM: &str = r#"
[get]
command = ["read", "key", "{key}"]
rules = [
  { outcome = "ok", json = { "/type" = "read_ok" }, value = "/value" },
  { outcome = "ok", json = { "/type" = "error", "/code" = 20 }, missing = true },
  { outcome = "fail", status = "*" },
]
[set]
command = ["write", "key", "{key}", "value", "{value}"]
rules = [
  { outcome = "ok", json = { "/type" = "write_ok" } },
  { outcome = "fail", json = { "/code" = 1 } },
  { outcome = "fail", json = { "/code" = 10 } },
  { outcome = "fail", json = { "/code" = 11 } },
  { outcome = "fail", json = { "/code" = 12 } },
  { outcome = "fail", json = { "/code" = 14 } },
  { outcome = "fail", json = { "/code" = 30 } },
]
[cas]
command = ["cas", "key", "{key}", "from", "{old}", "to", "{new}"]
rules = [
  { outcome = "ok", json = { "/type" = "cas_ok" } },
  { outcome = "mismatch", json = { "/code" = 22 } },
  { outcome = "mismatch", json = { "/code" = 20 } },
  { outcome = "fail", json = { "/code" = 1 } },
  { outcome = "fail", json = { "/code" = 10 } },
  { outcome = "fail", json = { "/code" = 11 } },
  { outcome = "fail", json = { "/code" = 12 } },
  { outcome = "fail", json = { "/code" = 14 } },
  { outcome = "fail", json = { "/code" = 30 } },
]
# The protocol has no cas from nothing: one is refused because the key does not exist, which is what was
# expected and so shows nothing.
[create]
command = ["cas", "key", "{key}", "from", "null", "to", "{new}"]
rules = [
  { outcome = "mismatch", json = { "/code" = 22 } },
  { outcome = "fail", json = { "/code" = 20 } },
  { outcome = "fail", json = { "/code" = 10 } },
  { outcome = "fail", json = { "/code" = 11 } },
  { outcome = "fail", json = { "/code" = 12 } },
  { outcome = "fail", json = { "/code" = 14 } },
]
"#;

/// The operations of Maelstrom's `lin-kv` workload.
pub(super) fn maelstrom() -> BTreeMap<String, Operation> {
    toml::from_str(MAELSTROM).expect("it is checked by a test")
}

/// The text of the file called `name`.
pub(super) fn text(name: &str) -> Option<&'static str> {
    Some(match name {
        "kvnode" => include_str!("../../../systems/kvnode.toml"),
        "etcd" => include_str!("../../../systems/etcd.toml"),
        "redis-sentinel" => include_str!("../../../systems/redis-sentinel.toml"),
        "zookeeper" => include_str!("../../../systems/zookeeper.toml"),
        "postgres" => include_str!("../../../systems/postgres.toml"),
        "dqlite-demo" => include_str!("../../../systems/dqlite-demo.toml"),
        "nats" => include_str!("../../../systems/nats.toml"),
        _ => return None,
    })
}

/// Where it lies in the repository.
pub(super) fn path(name: &str) -> PathBuf {
    PathBuf::from(format!("systems/{name}.toml"))
}

/// What to say of a name that is none.
pub(super) fn unknown(name: &str) -> String {
    let hint = nearest(name, NAMES.iter().copied())
        .map_or(String::new(), |meant| format!(" (did you mean `{meant}`?)"));
    format!(
        "no system is called `{name}`{hint}; there are: {}; a file of your own is named by its path, as ./{name}.toml",
        NAMES.join(", ")
    )
}

//! Numbers for Prometheus.

use std::fmt::Write;

use openraft::ServerState;

use crate::node::Node;

/// The node's metrics in Prometheus' text form.
pub fn text(node: &Node) -> String {
    let metrics = node.metrics();
    let (applied, keys, bytes) = node
        .machine()
        .look(|state| (state.applied(), state.len(), state.bytes()));
    let mut out = String::new();
    let mut gauge = |name: &str, help: &str, value: u64| {
        let _ = writeln!(
            out,
            "# HELP kvnode_{name} {help}\n# TYPE kvnode_{name} gauge\nkvnode_{name} {value}"
        );
    };
    gauge(
        "is_leader",
        "1 when this node leads.",
        u64::from(metrics.state == ServerState::Leader),
    );
    gauge(
        "has_leader",
        "1 when this node knows a leader.",
        u64::from(metrics.current_leader.is_some()),
    );
    gauge("term", "Current Raft term.", metrics.current_term);
    gauge(
        "last_index",
        "Index of the last log entry.",
        metrics.last_log_index.unwrap_or(0),
    );
    gauge(
        "commit_index",
        "Index of the last entry known to be committed.",
        metrics.local_committed.map_or(0, |id| id.index),
    );
    gauge("applied_index", "Index of the last entry applied.", applied);
    gauge(
        "snapshot_index",
        "Index of the last entry in the newest snapshot.",
        metrics.snapshot.map_or(0, |id| id.index),
    );
    gauge(
        "log_bytes",
        "Bytes of commands retained in the log.",
        node.log().bytes(),
    );
    gauge("keys", "Number of keys.", keys as u64);
    gauge("state_bytes", "Bytes of all keys and values.", bytes);
    out
}

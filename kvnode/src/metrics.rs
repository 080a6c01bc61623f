//! Numbers for Prometheus.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use openraft::ServerState;
use parking_lot::Mutex;

use crate::env::clock;
use crate::histogram::Histogram;
use crate::membership;
use crate::node::Node;
use crate::tag::Tags;

/// The routes that are told apart.
const ROUTES: [&str; 10] = [
    "set", "get", "cas", "append", "delete", "txn", "scan", "kvraft", "cluster", "other",
];

/// What requests took and came to.
#[derive(Debug, Default)]
pub struct Requests {
    latencies: [Histogram; ROUTES.len()],
    answers: Mutex<BTreeMap<(usize, u16), u64>>,
    refused: AtomicU64,
    tags: Tags,
    told: Mutex<(u64, u32)>,
}

/// Lines about failed requests in one second's log; beyond that their number is in the
/// metrics.
const TOLD_PER_SECOND: u32 = 10;

impl Requests {
    /// Makes the names of requests.
    pub fn tags(&self) -> &Tags {
        &self.tags
    }

    /// Counts a connection for which there was no room.
    pub fn count_refused(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }

    /// Whether the log has room for another line about a failed request: an outage must
    /// not bury its own cause.
    pub fn may_tell(&self) -> bool {
        let now = clock::wall_ms() / 1000;
        let mut told = self.told.lock();
        if told.0 != now {
            *told = (now, 0);
        }
        told.1 += 1;
        told.1 <= TOLD_PER_SECOND
    }

    /// Counts an answered request.
    pub fn count(&self, path: &str, status: u16, took: Duration) {
        let first = path.trim_start_matches('/').split('/').next().unwrap_or("");
        let route = ROUTES
            .iter()
            .position(|route| *route == first)
            .unwrap_or(ROUTES.len() - 1);
        self.latencies[route].observe(took);
        *self.answers.lock().entry((route, status)).or_default() += 1;
    }
}

/// The node's metrics in Prometheus' text form.
pub fn text(node: &Arc<Node>) -> String {
    let mut out = String::new();
    gauges(node, &mut out);
    let _ = writeln!(
        out,
        "# HELP kvnode_request_seconds How long answers took, by route."
    );
    let _ = writeln!(out, "# TYPE kvnode_request_seconds histogram");
    for (route, latencies) in ROUTES.iter().zip(&node.requests().latencies) {
        latencies.write(&mut out, "kvnode_request_seconds", &format!("route=\"{route}\""));
    }
    let _ = writeln!(out, "# HELP kvnode_requests_total Answers, by route and status.");
    let _ = writeln!(out, "# TYPE kvnode_requests_total counter");
    for ((route, status), count) in node.requests().answers.lock().iter() {
        let route = ROUTES[*route];
        let _ = writeln!(
            out,
            "kvnode_requests_total{{route=\"{route}\",status=\"{status}\"}} {count}"
        );
    }
    let _ = writeln!(
        out,
        "# HELP kvnode_connections_refused_total Connections for which there was no room.\n\
         # TYPE kvnode_connections_refused_total counter\n\
         kvnode_connections_refused_total {}",
        node.requests().refused.load(Ordering::Relaxed)
    );
    let _ = writeln!(
        out,
        "# HELP kvnode_log_commit_seconds How long a batch took to be on disk, fsync included."
    );
    let _ = writeln!(out, "# TYPE kvnode_log_commit_seconds histogram");
    node.log()
        .commits()
        .write(&mut out, "kvnode_log_commit_seconds", "");
    for (name, help, kind, value) in node.backups().metrics() {
        let _ = writeln!(
            out,
            "# HELP kvnode_{name} {help}\n# TYPE kvnode_{name} {kind}\nkvnode_{name} {value}"
        );
    }
    let _ = writeln!(
        out,
        "# HELP kvnode_member_silence_seconds How long a member has not answered this leader."
    );
    let _ = writeln!(out, "# TYPE kvnode_member_silence_seconds gauge");
    for (id, silence) in membership::silence(node) {
        if let Some(silence) = silence {
            let _ = writeln!(
                out,
                "kvnode_member_silence_seconds{{member=\"{id}\"}} {}",
                silence.as_secs_f64()
            );
        }
    }
    out
}

fn gauges(node: &Arc<Node>, out: &mut String) {
    let metrics = node.metrics();
    let (applied, keys, bytes, answers, departed) = node.machine().look(|state| {
        (
            state.applied(),
            state.len(),
            state.bytes(),
            state.sessions().len(),
            state.sessions().departed().estimate(),
        )
    });
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
    gauge(
        "term",
        "Current Raft term; it grows with every election.",
        metrics.current_term,
    );
    gauge(
        "last_index",
        "Index of the last log entry.",
        metrics.last_log_index.unwrap_or(0),
    );
    let committed = metrics.local_committed.map_or(0, |id| id.index);
    gauge(
        "commit_index",
        "Index of the last entry known to be committed.",
        committed,
    );
    gauge("applied_index", "Index of the last entry applied.", applied);
    let snapshot = metrics.snapshot.map_or(0, |id| id.index);
    gauge(
        "snapshot_index",
        "Index of the last entry in the newest snapshot.",
        snapshot,
    );
    gauge(
        "log_bytes",
        "Bytes of commands retained in the log.",
        node.log().bytes(),
    );
    gauge(
        "disk_full",
        "1 while writes are refused for want of room.",
        u64::from(node.log().is_full()),
    );
    gauge(
        "work_under_way",
        "Clients' connections, and requests that other nodes forwarded here.",
        node.work().under_way() as u64,
    );
    gauge("keys", "Number of keys.", keys as u64);
    gauge("state_bytes", "Bytes of all keys and values.", bytes);
    gauge(
        "remembered_answers",
        "Answers kept for repetitions of named requests.",
        answers as u64,
    );
    gauge(
        "departed_clients",
        "About how many clients were forgotten whole; from four million on, new names are mistaken for theirs.",
        departed,
    );
}

//! Clients that retry under one name: each request must succeed, and take effect once.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;

use serde_json::json;

use crate::harness::{Cluster, eventually};
use crate::http;

/// How many clients there are.
const CLIENTS: usize = 4;

/// A load that goes on until it is stopped.
pub(crate) struct Load {
    stop: Arc<AtomicBool>,
    done: Arc<AtomicU64>,
    /// Each tells how many requests it made.
    clients: Vec<JoinHandle<u64>>,
}

impl Load {
    /// Starts clients that append to a key each, by way of these nodes.
    pub(crate) fn on(nodes: &[SocketAddr]) -> Load {
        let (stop, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let clients = (0..CLIENTS)
            .map(|client| {
                let (stop, done, nodes) = (stop.clone(), done.clone(), nodes.to_vec());
                std::thread::spawn(move || {
                    let mut number = 0;
                    while !stop.load(Ordering::Relaxed) {
                        append(&nodes, client, number);
                        number += 1;
                        done.fetch_add(1, Ordering::Relaxed);
                    }
                    number
                })
            })
            .collect();
        Load { stop, done, clients }
    }

    /// Waits until so many more requests have succeeded.
    pub(crate) fn goes_on(&self, requests: u64) {
        let before = self.done.load(Ordering::Relaxed);
        eventually("requests succeed", || {
            (self.done.load(Ordering::Relaxed) >= before + requests).then_some(())
        });
    }

    /// Stops, and checks that each request took effect exactly once and in its order.
    pub(crate) fn ends_well(self, cluster: &Cluster) {
        self.stop.store(true, Ordering::Relaxed);
        let node = cluster.leader();
        for (client, made) in self.clients.into_iter().enumerate() {
            let made = made.join().expect("no request fails for good");
            assert!(made > 0, "client {client} made no request");
            let wanted: String = (0..made).map(|number| format!("{number},")).collect();
            let found = cluster.get(node, &format!("/get?key=load{client}")).json();
            assert_eq!(found["value"], wanted, "client {client}");
        }
    }
}

/// One append, tried at one node after another until it is acknowledged.
fn append(nodes: &[SocketAddr], client: usize, number: u64) {
    let body = json!({ "key": format!("load{client}"), "value": format!("{number},") }).to_string();
    let name = format!("idempotency-key: load{client}:{number}\r\n");
    let mut tries = client;
    eventually("a request that is retried", || {
        tries += 1;
        let node = nodes[tries % nodes.len()];
        let answer =
            http::request_with(node, "POST", "/append?deadline_ms=2000", &name, body.as_bytes()).ok()?;
        // Anything else is no outage but a wrong answer.
        assert!(
            matches!(answer.status, 200 | 503 | 504),
            "{}: {}",
            answer.status,
            String::from_utf8_lossy(&answer.body)
        );
        (answer.status == 200).then_some(())
    });
}

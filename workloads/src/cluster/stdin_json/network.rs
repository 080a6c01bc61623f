//! The network between nodes that have none of their own.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::Sender;
use std::time::Duration;

use nemesis::link::Distribution;
use nemesis::{LinkMatrix, NodeId};
use parking_lot::Mutex;
use rand::rngs::ChaCha12Rng;
use rand::{RngExt, SeedableRng};
use serde_json::Value as Json;
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use super::Message;

/// How long a message waits that others are to overtake.
const HELD_BACK: Duration = Duration::from_millis(20);

/// Carries messages between nodes, and between nodes and clients.
#[derive(Debug)]
pub(crate) struct Network {
    nodes: Vec<NodeId>,
    runtime: Handle,
    /// What is written to each node, while it lives.
    inputs: Mutex<Vec<Option<Sender<String>>>>,
    /// Which nodes have answered their init.
    ready: Mutex<Vec<bool>>,
    links: Mutex<Links>,
    /// Clients that wait for the reply to a message of theirs.
    waiting: Mutex<HashMap<u64, oneshot::Sender<Json>>>,
    next_id: AtomicU64,
}

#[derive(Debug)]
struct Links {
    matrix: LinkMatrix,
    /// Decides what is lost, how long it takes, what comes twice.
    rng: ChaCha12Rng,
    /// Messages that each link has stopped, by (from, to).
    stopped: HashMap<(usize, usize), u64>,
}

/// What becomes of one message on its link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// It is lost.
    Lost,
    /// It arrives after so long, perhaps twice.
    Arrives { after: Duration, twice: bool },
}

impl Network {
    pub(super) fn new(nodes: &[NodeId], seed: u64, runtime: Handle) -> std::sync::Arc<Self> {
        std::sync::Arc::new(Self {
            nodes: nodes.to_vec(),
            runtime,
            inputs: Mutex::new(nodes.iter().map(|_| None).collect()),
            ready: Mutex::new(vec![false; nodes.len()]),
            links: Mutex::new(Links {
                matrix: LinkMatrix::good(nodes),
                rng: ChaCha12Rng::seed_from_u64(seed),
                stopped: HashMap::new(),
            }),
            waiting: Mutex::new(HashMap::new()),
            next_id: AtomicU64::new(1_000_000),
        })
    }

    fn place(&self, name: &str) -> Option<usize> {
        self.nodes.iter().position(|node| node.as_str() == name)
    }

    /// A node was started: what is meant for it goes there.
    pub(super) fn plug_in(&self, node: &NodeId, input: Sender<String>) {
        if let Some(place) = self.place(node.as_str()) {
            self.ready.lock()[place] = false;
            self.inputs.lock()[place] = Some(input);
        }
    }

    /// A node has ended: what is meant for it goes nowhere.
    pub(super) fn unplug(&self, node: &NodeId) {
        if let Some(place) = self.place(node.as_str()) {
            self.inputs.lock()[place] = None;
            self.ready.lock()[place] = false;
        }
    }

    /// Makes the links be so.
    pub(super) fn lay(&self, matrix: &LinkMatrix) {
        self.links.lock().matrix = matrix.clone();
    }

    /// A node wrote this.
    pub(super) fn heard(self: &std::sync::Arc<Self>, from: &NodeId, message: Message) {
        let Some(from) = self.place(from.as_str()) else {
            return;
        };
        if let Some(to) = self.place(&message.dest) {
            self.between(from, to, message);
            return;
        }
        if message.body["type"] == "init_ok" {
            self.ready.lock()[from] = true;
            return;
        }
        let asked = message.body["in_reply_to"].as_u64();
        let waiting = asked.and_then(|asked| self.waiting.lock().remove(&asked));
        if let Some(waiting) = waiting {
            // Who waited may have given up.
            let _ = waiting.send(message.body);
        }
    }

    /// From node to node, over their link.
    fn between(self: &std::sync::Arc<Self>, from: usize, to: usize, message: Message) {
        let Fate::Arrives { after, twice } = self.fate(from, to) else {
            return;
        };
        for _ in 0..=usize::from(twice) {
            let (this, message) = (self.clone(), message.clone());
            if after.is_zero() {
                this.deliver(to, &message);
            } else {
                self.runtime.spawn(async move {
                    tokio::time::sleep(after).await;
                    this.deliver(to, &message);
                });
            }
        }
    }

    /// What becomes of the next message from node to node.
    pub(super) fn fate(&self, from: usize, to: usize) -> Fate {
        let mut links = self.links.lock();
        let links = &mut *links;
        let link = *links.matrix.at(from, to);
        if from == to {
            return Fate::Arrives {
                after: Duration::ZERO,
                twice: false,
            };
        }
        let chance = |rng: &mut ChaCha12Rng, share: f64| share > 0.0 && rng.random_bool(share);
        if link.cut || chance(&mut links.rng, link.loss.get()) || chance(&mut links.rng, link.corrupt.get()) {
            *links.stopped.entry((from, to)).or_default() += 1;
            return Fate::Lost;
        }
        let after = link.delay.map_or(Duration::ZERO, |delay| {
            let jitter = delay.jitter.0.as_secs_f64();
            let off = match delay.distribution {
                // The sum of twelve uniform choices is near enough to a normal one.
                Distribution::Normal => (0..12).map(|_| links.rng.random::<f64>()).sum::<f64>() - 6.0,
                _ => links.rng.random_range(-1.0..1.0),
            };
            Duration::from_secs_f64((delay.mean.0.as_secs_f64() + off * jitter).max(0.0))
        });
        // What waits a little is overtaken by what comes after it.
        let held_back = chance(&mut links.rng, link.reorder.get());
        let after = after + if held_back { HELD_BACK } else { Duration::ZERO };
        Fate::Arrives {
            after,
            twice: chance(&mut links.rng, link.duplicate.get()),
        }
    }

    /// How many messages this link has stopped.
    pub(super) fn stopped(&self, from: usize, to: usize) -> u64 {
        self.links.lock().stopped.get(&(from, to)).copied().unwrap_or(0)
    }

    fn deliver(&self, to: usize, message: &Message) -> bool {
        let input = self.inputs.lock()[to].clone();
        let line = serde_json::to_string(message).expect("a message is plain data");
        input.is_some_and(|input| input.send(line).is_ok())
    }

    /// Sends a node its first message.
    pub(super) fn greet(&self, hello: &Message) {
        if let Some(to) = self.place(&hello.dest) {
            self.deliver(to, hello);
        }
    }

    /// Whether the node at this address has answered its init.
    pub(crate) fn is_ready(&self, node: SocketAddr) -> bool {
        let place = usize::from(node.port()) - 1;
        self.ready.lock()[place]
    }

    /// Sends a client's request to the node at this address and waits for the reply.
    ///
    /// # Errors
    /// True where the node may have got it.
    pub(crate) async fn ask(&self, node: SocketAddr, mut body: Json) -> Result<Json, bool> {
        let to = usize::from(node.port()) - 1;
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        body["msg_id"] = id.into();
        let (reply, replied) = oneshot::channel();
        self.waiting.lock().insert(id, reply);
        let guard = Forget { network: self, id };
        let message = Message {
            src: format!("c{id}"),
            dest: self.nodes[to].to_string(),
            body,
        };
        if !self.deliver(to, &message) {
            return Err(false);
        }
        let reply = replied.await.map_err(|_| true);
        drop(guard);
        reply
    }
}

/// A client that gives up waits no longer.
struct Forget<'a> {
    network: &'a Network,
    id: u64,
}

impl Drop for Forget<'_> {
    fn drop(&mut self) {
        self.network.waiting.lock().remove(&self.id);
    }
}

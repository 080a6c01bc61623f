//! A cluster on paper: a backend that only writes down what is done to it, and can be
//! slow or refuse; and a store that says who belongs to it.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use nemesis::backend::{BackendError, Unsupported};
use nemesis::node::EndStatus;
use nemesis::probe::{LinkProbe, Probe};
use nemesis::requests::{Asker, Endpoint, Requests};
use nemesis::{Ability, Backend, Link, LinkMatrix, NodeId, NodeState};
use parking_lot::Mutex;

/// What has become of the cluster. Tests look at it, and meddle.
#[derive(Debug, Default)]
pub(crate) struct Sheet {
    pub(crate) states: BTreeMap<NodeId, NodeState>,
    pub(crate) links: Option<LinkMatrix>,
    /// Everything that was done, in order: `kill n1`.
    pub(crate) done: Vec<String>,
    /// Of these (`start n1`) so many more fail.
    pub(crate) failing: BTreeMap<String, u32>,
    /// How long a kill takes.
    pub(crate) slow: Duration,
    /// Where the journal is: then what is done must be in it.
    pub(crate) journal: Option<PathBuf>,
}

impl Sheet {
    pub(crate) fn count(&self, what: &str) -> usize {
        self.done.iter().filter(|done| *done == what).count()
    }

    pub(crate) fn is_alive(&self, node: &NodeId) -> bool {
        self.states[node].is_alive()
    }

    /// The node ends by itself.
    pub(crate) fn crash(&mut self, node: &NodeId) {
        let dead = NodeState::Dead {
            asked: false,
            status: Some(EndStatus::Exited(1)),
        };
        self.states.insert(node.clone(), dead);
    }

    fn act(&mut self, what: String) -> Result<(), BackendError> {
        if let Some(journal) = &self.journal {
            let text = std::fs::read_to_string(journal).unwrap_or_default();
            assert!(
                text.contains(r#""do":"begin""#),
                "{what} before it was journalled"
            );
        }
        let failing = self.failing.get_mut(&what).filter(|left| **left > 0);
        let outcome = failing.map_or(Ok(()), |left| {
            *left -= 1;
            Err(BackendError::Refused {
                what: what.clone(),
                message: "not now".to_owned(),
            })
        });
        self.done.push(what);
        outcome
    }
}

/// The backend.
pub(crate) struct Paper {
    nodes: Vec<NodeId>,
    sheet: Arc<Mutex<Sheet>>,
}

impl Paper {
    /// So many nodes that all run.
    pub(crate) fn new(nodes: usize) -> (Paper, Arc<Mutex<Sheet>>) {
        let nodes: Vec<NodeId> = (1..=nodes).map(NodeId::numbered).collect();
        let mut sheet = Sheet::default();
        for node in &nodes {
            sheet.states.insert(node.clone(), NodeState::Running);
        }
        let sheet = Arc::new(Mutex::new(sheet));
        (Paper::over(&nodes, &sheet), sheet)
    }

    /// The same cluster again, for the next nemesis.
    pub(crate) fn over(nodes: &[NodeId], sheet: &Arc<Mutex<Sheet>>) -> Paper {
        Paper {
            nodes: nodes.to_vec(),
            sheet: Arc::clone(sheet),
        }
    }

    fn turn(&self, verb: &str, node: &NodeId, state: NodeState) -> Result<(), BackendError> {
        let mut sheet = self.sheet.lock();
        sheet.act(format!("{verb} {node}"))?;
        sheet.states.insert(node.clone(), state);
        Ok(())
    }
}

impl Backend for Paper {
    fn name(&self) -> &'static str {
        "paper"
    }

    fn nodes(&self) -> &[NodeId] {
        &self.nodes
    }

    fn can(&self, _: Ability) -> Result<(), Unsupported> {
        Ok(())
    }

    fn set_links(&mut self, links: &LinkMatrix) -> Result<(), BackendError> {
        let mut sheet = self.sheet.lock();
        if !links.is_good() {
            sheet.act("cut".to_owned())?;
        }
        sheet.links = Some(links.clone());
        Ok(())
    }

    fn probe_links(
        &mut self,
        wanted: &LinkMatrix,
        links: &[(NodeId, NodeId)],
    ) -> Result<Vec<LinkProbe>, BackendError> {
        let sheet = self.sheet.lock();
        let probe = |(from, to): &(NodeId, NodeId)| {
            let is = sheet
                .links
                .as_ref()
                .and_then(|links| links.get(from, to).copied());
            let is = is.unwrap_or_default();
            let wanted = *wanted.get(from, to).expect("nodes of ours");
            LinkProbe {
                from: from.clone(),
                to: to.clone(),
                wanted,
                sent: 1,
                arrived: u32::from(is != Link::CUT),
                mean_us: None,
                rate: None,
                stopped: None,
                as_wanted: is == wanted,
            }
        };
        Ok(links.iter().map(probe).collect())
    }

    fn state(&mut self, node: &NodeId) -> Result<NodeState, BackendError> {
        Ok(self.sheet.lock().states[node])
    }

    fn kill(&mut self, node: &NodeId) -> Result<(), BackendError> {
        if !self.sheet.lock().is_alive(node) {
            return Ok(());
        }
        let slow = self.sheet.lock().slow;
        std::thread::sleep(slow);
        let dead = NodeState::Dead {
            asked: true,
            status: Some(EndStatus::Signaled(9)),
        };
        self.turn("kill", node, dead)
    }

    fn start(&mut self, node: &NodeId) -> Result<(), BackendError> {
        self.turn("start", node, NodeState::Running)
    }

    fn pause(&mut self, node: &NodeId) -> Result<(), BackendError> {
        self.turn("pause", node, NodeState::Paused)
    }

    fn resume(&mut self, node: &NodeId) -> Result<(), BackendError> {
        self.turn("resume", node, NodeState::Running)
    }

    fn damage(&mut self, node: &NodeId, _: nemesis::fault::Damage, _: u64) -> Result<Probe, BackendError> {
        self.sheet.lock().act(format!("damage {node}"))?;
        Ok(Probe::Trial {
            node: node.clone(),
            seen: "damaged".to_owned(),
            as_wanted: true,
        })
    }

    fn wipe(&mut self, node: &NodeId) -> Result<(), BackendError> {
        let mut sheet = self.sheet.lock();
        assert!(!sheet.is_alive(node), "only a dead node's data are thrown away");
        sheet.act(format!("wipe {node}"))
    }
}

/// What a store thinks of who wants to be its member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Taking {
    /// In at once.
    In,
    /// Never.
    Nobody,
}

/// A store that speaks as kvnode does, at one address for all nodes. n1 leads.
pub(crate) struct Store {
    address: SocketAddr,
    pub(crate) members: Arc<Mutex<BTreeSet<String>>>,
    pub(crate) taking: Arc<Mutex<Taking>>,
    ended: Arc<Mutex<bool>>,
    thread: Option<JoinHandle<()>>,
}

impl Store {
    pub(crate) fn of(nodes: &[NodeId]) -> Store {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("bound");
        let members: BTreeSet<String> = nodes.iter().map(ToString::to_string).collect();
        let members = Arc::new(Mutex::new(members));
        let taking = Arc::new(Mutex::new(Taking::In));
        let ended = Arc::new(Mutex::new(false));
        let (its_members, its_taking, its_end) = (members.clone(), taking.clone(), ended.clone());
        let thread = std::thread::spawn(move || {
            for caller in listener.incoming().flatten() {
                if *its_end.lock() {
                    return;
                }
                serve(&caller, &its_members, *its_taking.lock());
            }
        });
        Store {
            address,
            members,
            taking,
            ended,
            thread: Some(thread),
        }
    }

    pub(crate) fn asker(&self, nodes: &[NodeId], requests: Requests) -> Asker {
        let endpoint = |node: &NodeId| {
            let end = Endpoint {
                url: format!("http://{}", self.address),
                address: "127.0.0.1".to_owned(),
            };
            (node.clone(), end)
        };
        Asker::new(requests, nodes.iter().map(endpoint).collect()).expect("an HTTP client")
    }

    pub(crate) fn has(&self, node: &NodeId) -> bool {
        self.members.lock().contains(node.as_str())
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        *self.ended.lock() = true;
        let _ = TcpStream::connect(self.address);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn serve(caller: &TcpStream, members: &Mutex<BTreeSet<String>>, taking: Taking) {
    let mut reader = BufReader::new(caller);
    let (mut first, mut length) = (String::new(), 0);
    if reader.read_line(&mut first).is_err() {
        return;
    }
    loop {
        let mut line = String::new();
        match reader.read_line(&mut line) {
            Ok(0) | Err(_) => return,
            Ok(_) if line.trim().is_empty() => break,
            Ok(_) => {}
        }
        if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().expect("a length");
        }
    }
    let mut body = vec![0; length];
    if reader.read_exact(&mut body).is_err() {
        return;
    }
    let (status, answer) = match first.split_whitespace().collect::<Vec<_>>()[..] {
        ["GET", "/status", _] => (200, r#"{"leader":"n1","term":1}"#.to_owned()),
        ["GET", "/cluster/members", _] => {
            let members = members.lock();
            let named: Vec<String> = members.iter().map(|id| format!(r#"{{"id":"{id}"}}"#)).collect();
            (200, format!(r#"{{"members":[{}]}}"#, named.join(",")))
        }
        ["POST", "/cluster/members", _] => {
            let body: serde_json::Value = serde_json::from_slice(&body).expect("JSON");
            if taking == Taking::Nobody {
                (409, "nobody is taken in".to_owned())
            } else {
                members
                    .lock()
                    .insert(body["id"].as_str().expect("a name").to_owned());
                (200, "{}".to_owned())
            }
        }
        ["DELETE", path, _] => {
            let id = path.rsplit('/').next().expect("a name");
            members.lock().remove(id);
            (200, "{}".to_owned())
        }
        _ => (404, String::new()),
    };
    let mut writer = caller;
    let _ = write!(
        writer,
        "HTTP/1.1 {status} x\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{answer}",
        answer.len()
    );
}

//! Nodes of one process, on loopback ports of their own.

use std::sync::atomic::{AtomicUsize, Ordering};

use clap::{CommandFactory, FromArgMatches};
use openraft::raft::{AppendEntriesRequest, AppendEntriesResponse};
use tokio::sync::watch;

use super::*;
use crate::cli::Cli;
use crate::command::{Applied, Command, Operation};
use crate::data_dir::DataDir;
use crate::env::fs::RealDisk;
use crate::env::net;
use crate::peer;
use crate::peer::message::{Proof, Refusal};
use crate::seams::Seams;
use crate::secure::keyring::{Keyring, SecureFiles};
use crate::service::Service;

/// Longer than any test takes: what passes it has hung.
const LIMIT: Duration = Duration::from_secs(60);

/// Nodes that run, the first of them members.
struct Company {
    nodes: Vec<Arc<Node>>,
    members: BTreeMap<NodeId, Peer>,
    /// Opened, it lets the nodes that are none take entries.
    gate: watch::Sender<bool>,
    /// How often one of those was sent some, or a heartbeat.
    sent: Arc<AtomicUsize>,
    _folder: tempfile::TempDir,
}

/// A node that takes entries only when it may.
struct Held {
    node: Arc<Node>,
    gate: watch::Receiver<bool>,
    sent: Arc<AtomicUsize>,
}

impl Service for Held {
    fn node(self: &Arc<Self>) -> &Arc<Node> {
        &self.node
    }

    async fn propose(&self, command: Command) -> Result<Applied, Refusal> {
        self.node.propose(command).await
    }

    async fn confirm(&self, proof: Proof) -> Result<u64, Refusal> {
        self.node.confirm(proof).await
    }

    async fn append_entries(
        self: &Arc<Self>,
        request: AppendEntriesRequest<TypeConfig>,
    ) -> Result<AppendEntriesResponse<TypeConfig>, String> {
        self.sent.fetch_add(1, Ordering::SeqCst);
        let mut gate = self.gate.clone();
        gate.wait_for(|open| *open)
            .await
            .map_err(|error| error.to_string())?;
        self.node.append_entries(request).await
    }
}

fn name(number: usize) -> NodeId {
    format!("n{number}").parse().expect("a name")
}

async fn eventually<T>(what: &str, mut found: impl FnMut() -> Option<T>) -> T {
    let look = async {
        loop {
            if let Some(found) = found() {
                return found;
            }
            clock::sleep(LOOK).await;
        }
    };
    let looked = clock::timeout(LIMIT, look).await;
    looked.unwrap_or_else(|_| panic!("{what}: not within {LIMIT:?}"))
}

impl Company {
    /// So many members, and others that are none yet; n1 was told to begin.
    async fn begun(members: usize, others: usize) -> Company {
        let folder = tempfile::tempdir().expect("a folder");
        let (mut listeners, mut spec) = (Vec::new(), Vec::new());
        for number in 1..=members + others {
            let listener = net::listen("127.0.0.1:0").await.expect("a port");
            let port = listener.local_addr().expect("an address").port();
            spec.push(format!("n{number}=127.0.0.1:1:{port}"));
            listeners.push(listener);
        }
        let (gate, opened) = watch::channel(false);
        let sent = Arc::new(AtomicUsize::new(0));
        let mut nodes = Vec::new();
        for (number, listener) in (1..).zip(listeners) {
            let data = folder.path().join(format!("n{number}"));
            let node = started(&name(number), &spec.join(","), &data).await;
            if number <= members {
                tokio::spawn(peer::server::serve(node.clone(), listener));
            } else {
                let held = Held {
                    node: node.clone(),
                    gate: opened.clone(),
                    sent: sent.clone(),
                };
                tokio::spawn(peer::server::serve(Arc::new(held), listener));
            }
            nodes.push(node);
        }
        let all = nodes[0].config().cluster.members().clone();
        let first = all.clone().into_iter().take(members).collect::<BTreeMap<_, _>>();
        nodes[0].raft().initialize(first).await.expect("a cluster");
        Company {
            nodes,
            members: all,
            gate,
            sent,
            _folder: folder,
        }
    }

    /// The member that leads, once it has committed that, and a quorum says so.
    async fn leader(&self) -> Arc<Node> {
        let leads = |node: &&Arc<Node>| {
            let metrics = node.metrics();
            let settled = metrics.committed_membership_config == metrics.membership_config;
            node.is_leader() && settled && voters(node).contains(node.id())
        };
        loop {
            let found = eventually("a leader", || self.nodes.iter().find(leads).cloned()).await;
            if found.confirm(Proof::Quorum).await.is_ok() {
                return found;
            }
        }
    }

    fn add(&self, number: usize) -> Admin {
        let Peer { http, raft, .. } = self.members[&name(number)].clone();
        Admin::Add {
            id: name(number),
            http,
            raft,
            voter: true,
        }
    }
}

async fn started(id: &NodeId, cluster: &str, data: &std::path::Path) -> Arc<Node> {
    let data = data.to_str().expect("a path in UTF-8");
    let flags = [
        "kvnode",
        "--node",
        id.as_str(),
        "--cluster",
        cluster,
        "--data-dir",
        data,
        // So long that no busy machine has another leader elected.
        "--heartbeat-ms",
        "200",
        "--election-min-ms",
        "3000",
        "--election-max-ms",
        "4000",
    ];
    let matches = Cli::command().get_matches_from(flags);
    let cli = Cli::from_arg_matches(&matches).expect("flags");
    let config = cli.node.plan(&matches).expect("settings").config;
    let seams = Seams::default();
    let data = DataDir::open(&config, RealDisk, seams.keeping).expect("a directory");
    let keyring = Keyring::read(SecureFiles::default()).expect("nothing to read");
    Node::start(config, Arc::new(keyring), data, seams.rules)
        .await
        .expect("it starts")
}

fn a_learner(number: usize) -> ChangeMembers<NodeId, Peer> {
    ChangeMembers::AddNodes(BTreeMap::from([(name(number), Peer::default())]))
}

#[tokio::test]
async fn a_change_is_made_only_to_the_members_it_was_decided_on() {
    let company = Company::begun(3, 1).await;
    company.gate.send_replace(true);
    let leader = company.leader().await;
    let before = Basis::now(&leader).unwrap();
    assert_eq!(carry_out(&leader, company.add(4)).await, Ok(()));
    assert!(voters(&leader).contains(&name(4)));

    let late = before.change(&leader, a_learner(5), Departing::Stay).await;
    assert!(
        matches!(&late, Err(AdminError::Refused(why)) if why.contains("changed meanwhile")),
        "{late:?}"
    );
    let now = Basis::now(&leader).unwrap();
    assert_eq!(now.peer(&name(5)), None);
    assert_eq!(now.voters().len(), 4);
    // What is decided on them as they are is done.
    let removed = Admin::Remove {
        id: name(4),
        force: false,
    };
    assert_eq!(carry_out(&leader, removed).await, Ok(()));
    assert_eq!(Basis::now(&leader).unwrap().peer(&name(4)), None);
}

/// openraft asserts that nobody does, where assertions are built in; its core would end.
#[tokio::test]
async fn a_leader_that_has_removed_itself_changes_nothing_more() {
    let company = Company::begun(3, 1).await;
    company.gate.send_replace(true);
    let leader = company.leader().await;
    let before = Basis::now(&leader).unwrap();
    let itself = Admin::Remove {
        id: leader.id().clone(),
        force: false,
    };
    assert_eq!(carry_out(&leader, itself).await, Ok(()));
    // Looked before, asked after.
    let late = before.change(&leader, a_learner(5), Departing::Stay).await;
    assert!(
        matches!(late, Err(AdminError::Refused(_) | AdminError::NotLeader(_))),
        "{late:?}"
    );
    let asked = carry_out(&leader, company.add(4)).await;
    assert!(matches!(asked, Err(AdminError::NotLeader(_))), "{asked:?}");
    assert_eq!(leader.metrics().running_state, Ok(()));

    let successor = company.leader().await;
    assert_ne!(successor.id(), leader.id());
    assert_eq!(carry_out(&successor, company.add(4)).await, Ok(()));
    assert!(voters(&successor).contains(&name(4)));
    assert_eq!(leader.metrics().running_state, Ok(()));
}

/// One voter and a second that has nothing yet: as long as it votes not, writes go on.
#[tokio::test]
async fn a_new_node_votes_when_it_has_caught_up_and_holds_nobody_up_before() {
    let company = Company::begun(1, 1).await;
    let leader = company.leader().await;
    let set = || async {
        let operation = Operation::Set {
            key: "k".into(),
            value: "v".into(),
            ttl_ms: None,
        };
        let applied = clock::timeout(LIMIT, leader.propose(Command::new(operation))).await;
        assert!(
            matches!(applied, Ok(Ok(_))),
            "a write waits for the new node: {applied:?}"
        );
    };
    set().await;
    let adding = tokio::spawn({
        let (leader, add) = (leader.clone(), company.add(2));
        async move { carry_out(&leader, add).await }
    });
    eventually("it is a learner, and is sent entries", || {
        (company.sent.load(Ordering::SeqCst) > 2).then_some(())
    })
    .await;
    set().await;
    assert!(!voters(&leader).contains(&name(2)), "it has nothing yet");
    assert!(!adding.is_finished());

    company.gate.send_replace(true);
    assert_eq!(adding.await.unwrap(), Ok(()));
    assert!(voters(&leader).contains(&name(2)));
    let learner = &company.nodes[1];
    assert!(learner.machine().look(|state| state.get("k").is_some()));
    set().await;
}

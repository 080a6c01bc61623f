//! A peer that answers when it is told to.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use clap::{CommandFactory, FromArgMatches};
use openraft::raft::{AppendEntriesRequest, VoteRequest, VoteResponse};
use tokio::io::{AsyncWriteExt, BufReader};
use tokio::sync::{Mutex, mpsc};

use super::*;
use crate::cli::Cli;
use crate::env::net;
use crate::peer::frame;
use crate::peer::message::{Hello, Welcome};
use crate::raft::Vote;
use crate::secure::keyring::{Keyring, SecureFiles};

/// Longer than any test takes: what passes it has hung.
const LIMIT: Duration = Duration::from_secs(20);

/// A peer that welcomes everyone, keeps what it is asked and answers with what the test
/// says, in order.
struct Slow {
    peer: Peer,
    connections: Arc<AtomicUsize>,
    open: Arc<parking_lot::Mutex<Vec<JoinHandle<()>>>>,
    asked: mpsc::UnboundedReceiver<Request>,
    answers: mpsc::UnboundedSender<Reply>,
}

impl Slow {
    async fn listening() -> Slow {
        let listener = net::listen("127.0.0.1:0").await.expect("a port");
        let raft = listener.local_addr().expect("an address").to_string();
        let (tell, asked) = mpsc::unbounded_channel();
        let (answers, given) = mpsc::unbounded_channel();
        let (connections, given) = (Arc::new(AtomicUsize::new(0)), Arc::new(Mutex::new(given)));
        let open = Arc::new(parking_lot::Mutex::new(Vec::new()));
        let (count, serving) = (connections.clone(), open.clone());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::SeqCst);
                let served = tokio::spawn(serve(stream, tell.clone(), given.clone()));
                serving.lock().push(served);
            }
        });
        Slow {
            peer: Peer {
                raft,
                ..Peer::default()
            },
            connections,
            open,
            asked,
            answers,
        }
    }

    fn line(&self) -> Line {
        let to: NodeId = "n2".parse().expect("a name");
        Line::new(caller(), to, self.peer.clone())
    }

    /// The next question that arrives, in short.
    async fn asked(&mut self) -> String {
        match self.asked.recv().await.expect("it listens") {
            Request::PreVote(ballot) => format!("pre-vote {}", ballot.vote.leader_id.term),
            Request::Append(_) => "heartbeat".to_owned(),
            other => format!("{other:?}"),
        }
    }

    /// Closes all connections, as a process does that is killed; the next comes back.
    async fn restarts(&self) {
        let open = std::mem::take(&mut *self.open.lock());
        for served in open {
            served.abort();
            let _ = served.await;
        }
    }

    fn answers(&self, term: u64) {
        let voted = Vote::new(term, "n2".parse().expect("a name"));
        let reply = Reply::Vote(VoteResponse::new(voted, None, true));
        self.answers.send(reply).expect("it listens");
    }
}

async fn serve(
    stream: net::TcpStream,
    tell: mpsc::UnboundedSender<Request>,
    answers: Arc<Mutex<mpsc::UnboundedReceiver<Reply>>>,
) {
    let (mut stream, mut bytes) = (BufReader::new(stream), Vec::new());
    let _: Option<Hello> = frame::read(&mut stream).await.expect("a greeting");
    frame::encode(&Welcome::Ready { incarnation: 1 }, &mut bytes);
    stream.write_all(&bytes).await.expect("it is there");
    while let Ok(Some((number, request))) = frame::read::<(u64, Request)>(&mut stream).await {
        let _ = tell.send(request);
        let Some(reply) = answers.lock().await.recv().await else {
            return;
        };
        bytes.clear();
        frame::encode(&(number, &reply), &mut bytes);
        if stream.write_all(&bytes).await.is_err() {
            return;
        }
    }
}

fn caller() -> Caller {
    let flags = [
        "kvnode",
        "--node",
        "n1",
        "--cluster",
        "n1=127.0.0.1:1:2",
        "--data-dir",
        "nowhere",
    ];
    let matches = Cli::command().get_matches_from(flags);
    let cli = Cli::from_arg_matches(&matches).expect("flags");
    let config = cli.node.plan(&matches).expect("a plan").config;
    let keyring = Keyring::read(SecureFiles::default()).expect("nothing to read");
    Caller::new(&config, Arc::new(keyring))
}

fn pre_vote(term: u64) -> Request {
    let vote = Vote::new(term, "n1".parse().expect("a name"));
    Request::PreVote(VoteRequest::new(vote, None))
}

fn heartbeat() -> Request {
    Request::Append(AppendEntriesRequest {
        vote: Vote::new_committed(1, "n1".parse().expect("a name")),
        prev_log_id: None,
        entries: Vec::new(),
        leader_commit: None,
    })
}

/// Asks until the peer has the question, and gives up; what the peer was asked.
async fn given_up(line: &mut Line, slow: &mut Slow, request: Request, late: Late) -> String {
    tokio::select! {
        reply = line.ask(request, LIMIT, late) => panic!("nobody answered: {reply:?}"),
        asked = slow.asked() => asked,
    }
}

/// The term in an answer.
fn term(reply: io::Result<Reply>) -> u64 {
    match reply {
        Ok(Reply::Vote(answer)) => answer.vote.leader_id.term,
        other => panic!("no answer: {other:?}"),
    }
}

#[tokio::test]
async fn a_heartbeat_that_is_given_up_leaves_its_connection_and_no_answer() {
    let mut slow = Slow::listening().await;
    let mut line = slow.line();
    let asked = given_up(&mut line, &mut slow, heartbeat(), Late::Useless).await;
    assert_eq!(asked, "heartbeat");
    slow.answers(1);
    slow.answers(2);
    let reply = line.ask(heartbeat(), LIMIT, Late::Useless).await;
    assert_eq!(
        term(reply),
        2,
        "the answer to the first proves nothing of the second"
    );
    assert_eq!(slow.asked().await, "heartbeat");
    // What may not be given up goes on there too.
    slow.answers(3);
    assert_eq!(term(line.call(&heartbeat(), LIMIT).await), 3);
    assert_eq!(slow.connections.load(Ordering::SeqCst), 1);
}

/// However often openraft gives a round up, the question is asked once, and its answer is
/// the round's in which it comes.
#[tokio::test]
async fn a_late_answer_is_the_next_rounds() {
    let mut slow = Slow::listening().await;
    let mut line = slow.line();
    let asked = given_up(&mut line, &mut slow, pre_vote(5), Late::Serves).await;
    assert_eq!(asked, "pre-vote 5");
    for round in 2..5 {
        let asked = line.ask(pre_vote(5), LIMIT, Late::Serves);
        let given_up = clock::timeout(Duration::from_millis(5), asked).await;
        assert!(given_up.is_err(), "round {round}: nobody answered");
    }
    slow.answers(7);
    let reply = line.ask(pre_vote(5), LIMIT, Late::Serves).await;
    assert_eq!(term(reply), 7);
    assert!(slow.asked.try_recv().is_err(), "it was asked again");
    assert_eq!(slow.connections.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_late_answer_is_not_that_of_another_question() {
    let mut slow = Slow::listening().await;
    let mut line = slow.line();
    given_up(&mut line, &mut slow, pre_vote(5), Late::Serves).await;
    slow.answers(7);
    slow.answers(8);
    let reply = line.ask(pre_vote(6), LIMIT, Late::Serves).await;
    assert_eq!(term(reply), 8);
    assert_eq!(slow.asked().await, "pre-vote 6");
    assert_eq!(slow.connections.load(Ordering::SeqCst), 1);
}

/// The limit is where patience ends: beyond it another connection is tried.
#[tokio::test]
async fn a_connection_that_outlives_the_limit_is_not_used_again() {
    let mut slow = Slow::listening().await;
    let mut line = slow.line();
    slow.answers(1);
    assert_eq!(term(line.ask(pre_vote(5), LIMIT, Late::Serves).await), 1);
    let silent = line
        .ask(pre_vote(6), Duration::from_millis(20), Late::Serves)
        .await;
    assert_eq!(
        silent.expect_err("nobody answers").kind(),
        io::ErrorKind::TimedOut
    );
    // The first goes to the connection on which nobody listens.
    slow.answers(2);
    slow.answers(3);
    assert_eq!(term(line.ask(pre_vote(6), LIMIT, Late::Serves).await), 3);
    assert_eq!(slow.connections.load(Ordering::SeqCst), 2);
    let asked = [slow.asked().await, slow.asked().await, slow.asked().await];
    assert_eq!(asked, ["pre-vote 5", "pre-vote 6", "pre-vote 6"]);
}

/// A connection that the peer closed meanwhile costs another one, and no ballot.
#[tokio::test]
async fn a_peer_that_was_restarted_is_asked_on_a_new_connection() {
    let slow = Slow::listening().await;
    let mut line = slow.line();
    slow.answers(1);
    assert_eq!(term(line.ask(pre_vote(5), LIMIT, Late::Serves).await), 1);
    slow.restarts().await;
    slow.answers(2);
    assert_eq!(term(line.ask(pre_vote(6), LIMIT, Late::Serves).await), 2);
    slow.restarts().await;
    slow.answers(3);
    assert_eq!(term(line.ask(heartbeat(), LIMIT, Late::Useless).await), 3);
    assert_eq!(slow.connections.load(Ordering::SeqCst), 3);
}

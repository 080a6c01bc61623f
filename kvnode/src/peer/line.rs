//! A connection to one peer for one purpose, on which calls follow each other.
//!
//! openraft gives a heartbeat one interval (40 ms) and a ballot the shortest election
//! timeout (80 ms), and then drops the call. Were the connection dropped with it, the next
//! call would have to connect and be welcomed within the same time, and on a machine that
//! is busy enough to miss it once, no call would ever be in time again: nodes that could
//! answer in 100 ms would never elect a leader.
//!
//! So a call that is given up goes on without its caller ([`Line::ask`]), and leaves its
//! connection to the next. What it is answered is of no use to a heartbeat: openraft
//! counts an answer from when its question was sent. It is to a pre-vote, which is asked
//! again in the same words until one comes in time: an answer that comes late is the next
//! round's. That is how long a round may take in the end, [`Line::ask`]'s limit and not
//! openraft's, while a round that fails quickly is followed by the next as quickly as
//! before.
//!
//! Invariants:
//! - one call at a time is under way, and its answer is the next that is read;
//! - an answer goes only to the question that was sent, or to one that
//!   [may be late](Late::Serves) and is equal to it;
//! - a connection on which a call failed, or outlived its limit, is not used again;
//! - what goes on without its caller may be asked twice: only what may be done twice
//!   (heartbeats, ballots) is asked so.

use std::io;
use std::time::Duration;

use tokio::task::JoinHandle;

use super::message::{Reply, Request};
use super::network::{Caller, Connection};
use crate::cluster::{NodeId, Peer};
use crate::env::clock;

/// What an answer is good for whose question was given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Late {
    /// Nothing.
    Useless,
    /// It serves whoever asks the same next.
    Serves,
}

/// See the module.
pub struct Line {
    caller: Caller,
    to: NodeId,
    peer: Peer,
    connection: Option<Connection>,
    given_up: Option<Asked>,
}

/// A call that goes on without its caller.
struct Asked {
    /// The question, if its answer may be late.
    question: Option<Vec<u8>>,
    answer: JoinHandle<io::Result<(Connection, Reply)>>,
}

impl Drop for Asked {
    fn drop(&mut self) {
        self.answer.abort();
    }
}

impl Line {
    /// A line that is not open yet.
    pub fn new(caller: Caller, to: NodeId, peer: Peer) -> Line {
        Line {
            caller,
            to,
            peer,
            connection: None,
            given_up: None,
        }
    }

    /// Calls within `limit`. Dropped before its end it takes the connection along, which is
    /// then in the middle of a frame.
    ///
    /// # Errors
    /// When the connection breaks; whether the request took effect is then unknown.
    pub async fn call(&mut self, request: &Request, limit: Duration) -> io::Result<Reply> {
        let kept = match self.given_up.take() {
            None => self.connection.take(),
            Some(mut asked) => finished(&mut asked).await.ok().map(|(connection, _)| connection),
        };
        let call = converse(&self.caller, &self.to, &self.peer, kept, request);
        let (connection, reply) = within(limit, call).await?;
        self.connection = Some(connection);
        Ok(reply)
    }

    /// Calls within `limit`. Dropped before its end, it goes on.
    ///
    /// # Errors
    /// When the connection breaks; whether the request took effect is then unknown.
    pub async fn ask(&mut self, request: Request, limit: Duration, late: Late) -> io::Result<Reply> {
        let question = (late == Late::Serves).then(|| postcard::to_stdvec(&request).expect("it encodes"));
        if let Some(asked) = &mut self.given_up {
            let same = question.is_some() && asked.question == question;
            let finished = finished(asked).await;
            self.given_up = None;
            match finished {
                Ok((connection, reply)) => {
                    self.connection = Some(connection);
                    if same {
                        return Ok(reply);
                    }
                }
                Err(error) if same => return Err(error),
                Err(_) => {}
            }
        }
        let (caller, to, peer) = (self.caller.clone(), self.to.clone(), self.peer.clone());
        let kept = self.connection.take();
        let answer = tokio::spawn(within(limit, async move {
            // A peer that was restarted since has closed the connection, which is only
            // noticed now. To ask it again does no harm, and a ballot lost so costs an
            // election's whole round.
            if let Some(mut connection) = kept
                && let Ok(reply) = connection.call(&request).await
            {
                return Ok((connection, reply));
            }
            converse(&caller, &to, &peer, None, &request).await
        }));
        let asked = self.given_up.insert(Asked { question, answer });
        let finished = finished(asked).await;
        self.given_up = None;
        let (connection, reply) = finished?;
        self.connection = Some(connection);
        Ok(reply)
    }
}

/// Waits for a call that goes on anyhow.
async fn finished(asked: &mut Asked) -> io::Result<(Connection, Reply)> {
    (&mut asked.answer).await.map_err(io::Error::other)?
}

/// One question and its answer, on this connection or on a new one.
async fn converse(
    caller: &Caller,
    to: &NodeId,
    peer: &Peer,
    kept: Option<Connection>,
    request: &Request,
) -> io::Result<(Connection, Reply)> {
    let mut connection = match kept {
        Some(connection) => connection,
        None => caller.connect(to, peer).await?,
    };
    let reply = connection.call(request).await?;
    Ok((connection, reply))
}

async fn within<T>(limit: Duration, call: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    clock::timeout(limit, call)
        .await
        .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
}

#[cfg(test)]
mod tests;

//! Reads that wait for the same confirmation of leadership.
//!
//! A confirmation serves every read that began before it did; a read that begins
//! while one runs waits for the next. So a burst of reads costs two rounds of
//! messages, on the leader and on every other node alike.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::env::clock::{self, Instant};
use crate::peer::message::{Proof, Refusal, Reply, Request};
use crate::service::{ReadError, Service};

/// How long one confirmation may take before it is tried again.
pub const CONFIRM: Duration = Duration::from_millis(500);
/// Pause before asking again when no leader is known or it did not answer.
const RETRY: Duration = Duration::from_millis(10);

/// The reads that wait.
#[derive(Default)]
pub struct ReadGate {
    inner: Mutex<Gate>,
}

#[derive(Default)]
struct Gate {
    running: bool,
    waiting: Vec<oneshot::Sender<Result<u64, ReadError>>>,
}

impl ReadGate {
    /// Waits for an index confirmed by a quorum after this call.
    ///
    /// # Errors
    /// When none is had by the deadline.
    pub async fn index<S: Service>(service: &Arc<S>, deadline: Instant) -> Result<u64, ReadError> {
        loop {
            let (sender, index) = oneshot::channel();
            let start = {
                let mut gate = service.node().gate().inner.lock();
                gate.waiting.push(sender);
                !std::mem::replace(&mut gate.running, true)
            };
            if start {
                tokio::spawn(rounds(service.clone()));
            }
            match clock::until(deadline, index).await {
                Ok(Ok(Ok(index))) => return Ok(index),
                Ok(Ok(Err(error))) if clock::now() + RETRY >= deadline => return Err(error),
                Ok(_) => clock::sleep(RETRY).await,
                Err(_) => return Err(ReadError::Timeout),
            }
        }
    }
}

async fn rounds<S: Service>(service: Arc<S>) {
    loop {
        let waiting = {
            let mut gate = service.node().gate().inner.lock();
            if gate.waiting.is_empty() {
                gate.running = false;
                return;
            }
            std::mem::take(&mut gate.waiting)
        };
        let round = clock::timeout(CONFIRM, confirm(&service, Proof::Quorum)).await;
        let result = round.unwrap_or(Err(ReadError::Timeout));
        for waiter in waiting {
            let _ = waiter.send(result.clone());
        }
    }
}

/// Has the leader confirm that it leads, here or there.
///
/// # Errors
/// When no leader is known, or it cannot confirm it.
pub async fn confirm<S: Service>(service: &Arc<S>, proof: Proof) -> Result<u64, ReadError> {
    let node = service.node();
    let leader = node.leader().ok_or(ReadError::NoLeader)?;
    let answer = if leader == *node.id() {
        service.confirm(proof).await
    } else {
        match node.ask(&leader, Request::ReadIndex(proof)).await {
            Ok(Reply::ReadIndex(answer)) => answer,
            Ok(_) | Err(_) => return Err(ReadError::Timeout),
        }
    };
    answer.map_err(|refusal| match refusal {
        Refusal::NotLeader(_) => ReadError::NoLeader,
        Refusal::NoQuorum | Refusal::DiskFull | Refusal::Busy | Refusal::Unknown(_) => ReadError::Timeout,
    })
}

//! The workers: each speaks to one node and runs one operation at a time.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use checker::history::ProcessId;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::alarm::AlarmClock;
use super::attempts;
use super::signals::Signals;
use crate::client::Client;
use crate::generator::{Context, Generator, Invocation, Next};
use crate::live::Tally;
use crate::recorder::Recorder;
use crate::system::{Outcome, System};
use crate::workload::{Say, Workload};

/// How long a worker leaves a node alone that refused it.
const REFUSED_PAUSE: Duration = Duration::from_millis(20);

/// What all workers of a run share.
#[derive(Debug, Clone)]
pub(super) struct Crew {
    /// The store under test.
    pub(super) system: Arc<System>,
    /// Names and client addresses of its nodes.
    pub(super) nodes: Arc<[(String, SocketAddr)]>,
    /// Speaks to them.
    pub(super) client: Client,
    /// Says how an operation is spoken.
    pub(super) workload: &'static Workload,
    /// Records what they say.
    pub(super) recorder: Arc<Recorder>,
    /// Counts it.
    pub(super) tally: Arc<Tally>,
    /// How many workers there are.
    pub(super) concurrency: usize,
    /// The first process id that no worker used yet, for the next phase.
    pub(super) first_process: u64,
    /// Whether somebody asked to end.
    pub(super) signals: Signals,
    /// Wakes workers when an operation is due.
    pub(super) clock: AlarmClock,
}

impl Crew {
    /// Runs `generator` to its end, or until `stop` turns true, and gives it back.
    ///
    /// Operations under way when it stops are waited for: each ends by the client's timeout; where somebody asks
    /// to end, each ends there and then, and nobody knows what became of it. Process ids
    /// that came back unknown are never used again; the next phase starts above all of them.
    ///
    /// # Errors
    /// When a worker panicked: the harness is broken and the run is no evidence.
    pub(super) async fn work<G: Generator + 'static>(
        &mut self,
        generator: G,
        stop: watch::Receiver<bool>,
    ) -> Result<G> {
        let generator = Arc::new(Mutex::new(generator));
        let mut workers = JoinSet::new();
        for worker in 0..self.concurrency {
            let (crew, generator, stop) = (self.clone(), generator.clone(), stop.clone());
            workers.spawn(async move { crew.worker(worker, &generator, stop).await });
        }
        while let Some(ended) = workers.join_next().await {
            let next_free = ended.context("a worker panicked")?;
            self.first_process = self.first_process.max(next_free);
        }
        let generator = Arc::into_inner(generator).context("a worker kept the generator")?;
        Ok(generator.into_inner())
    }

    /// One worker; returns an id above all that it used.
    async fn worker<G: Generator>(
        &self,
        worker: usize,
        generator: &Mutex<G>,
        mut stop: watch::Receiver<bool>,
    ) -> u64 {
        let node = worker % self.nodes.len();
        let (name, _) = &self.nodes[node];
        let stride = self.concurrency as u64;
        let mut process = self.first_process + worker as u64;
        let interrupted = self.signals.first();
        tokio::pin!(interrupted);
        loop {
            if *stop.borrow() {
                break;
            }
            let context = Context {
                now: self.recorder.now(),
                worker,
                node,
            };
            let next = generator.lock().next(context);
            let (at, intended, invocation) = match next {
                Next::Invoke {
                    at,
                    intended,
                    invocation,
                } => (at, intended, invocation),
                Next::Wait { until } => {
                    if !self.sleep_until(until, &mut stop).await {
                        break;
                    }
                    continue;
                }
                Next::Done => break,
            };
            if at > context.now && !self.sleep_until(at, &mut stop).await {
                break;
            }
            let invoked = self
                .recorder
                .invoke(ProcessId(process), name, &invocation, intended);
            let outcome = tokio::select! {
                biased;
                outcome = self.speak(node, &invocation) => outcome,
                signal = &mut interrupted => {
                    let error = format!("{signal} before there was an answer");
                    let outcome = Outcome::Info { error };
                    self.recorder.complete(ProcessId(process), name, &invocation, &outcome);
                    break;
                }
            };
            let completed = self
                .recorder
                .complete(ProcessId(process), name, &invocation, &outcome);
            let since = intended.unwrap_or(invoked);
            self.tally.add(
                &outcome,
                Duration::from_nanos(completed.0.saturating_sub(since.0)),
            );
            let context = Context {
                now: completed,
                ..context
            };
            generator.lock().update(context, &invocation, &outcome);
            match outcome {
                Outcome::Info { .. } => process += stride,
                Outcome::Fail { .. } => {
                    let until = checker::history::Nanos(completed.0 + REFUSED_PAUSE.as_nanos() as u64);
                    self.sleep_until(until, &mut stop).await;
                }
                Outcome::Ok { .. } | Outcome::Mismatch { .. } => {}
            }
        }
        // Ids of this phase are congruent to the worker; the next multiple is above all of them.
        (process / stride + 1) * stride
    }

    /// Has the conversation about one operation with a node.
    async fn speak(&self, node: usize, invocation: &Invocation) -> Outcome {
        if let Some(repeat) = &invocation.repeat {
            return attempts::until_answered(self, node, invocation, repeat).await;
        }
        let mut answers = Vec::new();
        loop {
            match (self.workload.speak)(invocation, &answers) {
                Say::Ask(asked) => answers.push(self.ask(node, &asked).await),
                Say::Over(outcome) => return outcome,
            }
        }
    }

    /// Asks a node once.
    pub(super) async fn ask(&self, node: usize, invocation: &Invocation) -> Outcome {
        let (_, address) = &self.nodes[node];
        self.client.invoke(&self.system, *address, invocation).await
    }

    /// Sleeps; false where the run was stopped meanwhile.
    async fn sleep_until(&self, at: checker::history::Nanos, stop: &mut watch::Receiver<bool>) -> bool {
        tokio::select! {
            () = self.clock.until(self.recorder.instant(at)) => true,
            _ = stop.wait_for(|stop| *stop) => false,
        }
    }
}

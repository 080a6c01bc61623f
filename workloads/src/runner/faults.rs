//! Carries a schedule of faults out, and records everything that is done to the cluster.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use checker::history::Nanos;
use nemesis::grudge::ShapeError;
use nemesis::plan::{Plan, PlanEvent, Step};
use nemesis::{Applied, Fault, FaultId, Nemesis, NemesisError, Record, Span};
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::evidence::Note;
use crate::live::Live;
use crate::recorder::Recorder;

/// How often a fault is tried again that could not be applied because nobody led.
const AGAIN: Duration = Duration::from_millis(100);
/// How much longer than it was to last a fault that wants a leader waits for one, in nanoseconds; what comes after it
/// is put off as long.
const LEADERLESS_NS: u64 = 3_000_000_000;

/// Writes down what the nemesis does, whoever asked for it: the schedule, or a person at the command line.
#[derive(Clone)]
pub(super) struct Watch {
    recorder: Arc<Recorder>,
    live: Arc<Live>,
    in_force: Arc<Mutex<BTreeMap<FaultId, String>>>,
    /// What to turn true when a node dies that nobody killed.
    stop: Option<watch::Sender<bool>>,
    died: watch::Sender<Option<String>>,
}

impl Watch {
    /// Ends the load through `stop`, where there is one, when a node dies that nobody killed: the run is invalid
    /// whatever comes.
    pub(super) fn new(recorder: Arc<Recorder>, live: Arc<Live>, stop: Option<watch::Sender<bool>>) -> Self {
        Self {
            recorder,
            live,
            in_force: Arc::default(),
            stop,
            died: watch::Sender::new(None),
        }
    }

    /// Which node died that nobody had killed, and that the load was ended for it.
    pub(super) fn ended_by(&self) -> Option<String> {
        self.died.borrow().clone().filter(|_| self.stop.is_some())
    }

    /// Has `nemesis` tell everything.
    pub(super) fn over(&self, nemesis: &mut Nemesis) {
        let watch = self.clone();
        nemesis.observe(move |record| watch.notice(record));
    }

    fn notice(&self, record: &Record) {
        let value = serde_json::to_value(record).expect("a record is plain data");
        let f = match record {
            Record::Applied(applied) => applied.fault.name(),
            Record::Undone(undone) => undone.fault.name(),
            Record::Crashed { .. } => "crash",
            Record::Trouble { .. } => "trouble",
        };
        let now = self.recorder.nemesis(f, value);
        let line = match record {
            Record::Applied(Applied {
                fault,
                description,
                bit,
                ..
            }) => {
                format!(
                    "{fault}: {description}{}",
                    if *bit { "" } else { "  (did NOT bite)" }
                )
            }
            Record::Undone(undone) => {
                let doubt = if undone.healed { "" } else { "  (NOT healed)" };
                format!("healed {}: {}{doubt}", undone.fault, undone.description)
            }
            Record::Crashed { node, status } => {
                let status = status.map_or_else(String::new, |status| format!(": {status}"));
                format!("{node} DIED without being told to{status}")
            }
            Record::Trouble { message } => format!("trouble: {message}"),
        };
        self.live.say(&format!("{:>6.1} s  {line}", now.as_seconds()));
        if let Record::Crashed { node, .. } = record {
            self.died.send_replace(Some(format!("{node} died")));
            if let Some(stop) = &self.stop {
                stop.send_replace(true);
            }
        }
        let mut in_force = self.in_force.lock();
        match record {
            Record::Applied(applied) if !applied.over => {
                in_force.insert(
                    applied.id,
                    format!("{} {}", applied.fault.name(), applied.description),
                );
            }
            Record::Undone(undone) => {
                in_force.remove(&undone.id);
            }
            _ => {}
        }
        self.live.faults(in_force.values().cloned().collect());
    }
}

/// What the driver needs of the runner.
pub(super) struct Driver {
    pub(super) nemesis: Arc<Mutex<Nemesis>>,
    pub(super) recorder: Arc<Recorder>,
    pub(super) live: Arc<Live>,
    /// Turns true when the load ends, in time or early.
    pub(super) stop: watch::Receiver<bool>,
}

impl Driver {
    /// Carries `plan` out on the run's clock until it is over or the run stops. What is in force then is left
    /// to the final heal. `ready` waits until all nodes are ready.
    ///
    /// Where applying or undoing takes long (containers do), everything after it moves by as much, so that
    /// each fault lasts as long as planned.
    pub(super) async fn carry_out<F>(mut self, plan: &Plan, ready: impl Fn() -> F)
    where
        F: Future<Output = bool>,
    {
        let mut applied: BTreeMap<usize, FaultId> = BTreeMap::new();
        let events = plan.events();
        let mut late = Duration::ZERO;
        for (number, (at, event)) in events.iter().enumerate() {
            let due = on_clock(Span(at.0 + late));
            if !self.until(due).await {
                return;
            }
            late += Duration::from_nanos(self.recorder.now().0.saturating_sub(due.0));
            match event {
                PlanEvent::Begin(step) => {
                    let Step {
                        fault, at, lasting, ..
                    } = &plan.steps[*step];
                    let over = on_clock(Span(at.0 + lasting.0 + late));
                    if let Some(done) = self.apply(fault, over).await
                        && !done.over
                    {
                        applied.insert(*step, done.id);
                    }
                }
                PlanEvent::End(step) => {
                    if let Some(id) = applied.remove(step) {
                        self.undo(id).await;
                    }
                }
            }
            if applied.is_empty() {
                let next = events
                    .get(number + 1)
                    .map_or(on_clock(plan.length), |(at, _)| on_clock(*at));
                let next = tokio::time::Instant::from_std(self.recorder.instant(next));
                if let Ok(true) = tokio::time::timeout_at(next, ready()).await {
                    Note::Ready {}.record(&self.recorder, "ready");
                }
            }
        }
    }

    /// Records that a fault is about to be applied, then applies it; while nobody leads, a fault that wants a
    /// leader is tried again until its time is over, and a little longer: it may be the only one of its kind.
    async fn apply(&mut self, fault: &Fault, over: Nanos) -> Option<Applied> {
        loop {
            Note::Begin {}.record(&self.recorder, fault.name());
            let (nemesis, wanted) = (self.nemesis.clone(), fault.clone());
            let applied = tokio::task::spawn_blocking(move || nemesis.lock().apply(&wanted)).await;
            let error = match applied.expect("the nemesis does not panic") {
                Ok(applied) => return Some(applied),
                Err(error) => error,
            };
            let now = self.recorder.now();
            let leaderless = matches!(error, NemesisError::Shape(ShapeError::NoLeader));
            if leaderless
                && now.0 < over.0 + LEADERLESS_NS
                && self.until(Nanos(now.0 + AGAIN.as_nanos() as u64)).await
            {
                continue;
            }
            let note = Note::Refused {
                fault: fault.clone(),
                why: error.to_string(),
            };
            let now = note.record(&self.recorder, fault.name());
            self.live.say(&format!(
                "{:>6.1} s  {fault} could not be applied: {error}",
                now.as_seconds()
            ));
            return None;
        }
    }

    async fn undo(&self, id: FaultId) {
        let nemesis = self.nemesis.clone();
        let undone = tokio::task::spawn_blocking(move || nemesis.lock().undo(id)).await;
        if let Err(error) = undone.expect("the nemesis does not panic") {
            tracing::warn!(%error, "a fault was not undone; the final heal tries again");
        }
    }

    /// Sleeps until `at` on the run's clock; false where the run stops before.
    async fn until(&mut self, at: Nanos) -> bool {
        let at = tokio::time::Instant::from_std(self.recorder.instant(at));
        tokio::select! {
            () = tokio::time::sleep_until(at) => true,
            _ = self.stop.wait_for(|stop| *stop) => false,
        }
    }
}

fn on_clock(at: Span) -> Nanos {
    Nanos(u64::try_from(at.0.as_nanos()).unwrap_or(u64::MAX))
}

//! What a run did, read from its history.

use std::collections::BTreeMap;
use std::time::Duration;

use checker::history::{Event, History, Nanos, Outcome};
use nemesis::effect::Effect;
use nemesis::probe::Probe;
use nemesis::{FaultId, LinkMatrix, NodeId, Record};
use serde::{Deserialize, Serialize};

use super::reach::{Availability, Reach};
use super::{FINAL, LOAD};
use crate::cluster::ReplicaState;
use crate::recorder::Recorder;

/// One fault as it went.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FaultRecord {
    /// What kind it is: `partition`, `kill`, ...
    pub kind: String,
    /// What was done, in words.
    pub description: String,
    /// When it was begun, in nanoseconds on the run's clock.
    pub from_ns: u64,
    /// When it was undone; none where it never was.
    pub to_ns: Option<u64>,
    /// Whether it could be applied at all: while nobody leads there is no leader to kill.
    pub applied: bool,
    /// Whether a probe saw it bite.
    pub bit: bool,
    /// What the probes saw when it was on.
    pub seen: String,
    /// Whether a probe saw everything well again after the undo.
    pub healed: bool,
    /// What the probes saw after the undo.
    pub seen_healed: String,
}

/// What a run did.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Conduct {
    /// `ok` and mismatch counts by phase and operation.
    pub done: BTreeMap<String, BTreeMap<String, u64>>,
    /// The faults as they went.
    pub faults: Vec<FaultRecord>,
    /// Nodes that died without being told to, and how.
    pub crashes: Vec<(String, String)>,
    /// Other things that went wrong with the nemesis.
    pub troubles: Vec<String>,
    /// Why the run ended before its time limit: a person, or an error.
    pub cut_short: Option<String>,
    /// What was not well after the final heal.
    pub not_ready: Vec<String>,
    /// Final reads that never got an answer.
    pub unread: u64,
    /// What the replicas said of their states at the end.
    pub replicas: Vec<ReplicaState>,
    /// By operation, the reason that most of those gave that came to nothing, and how many gave it.
    pub excuses: BTreeMap<String, (String, u64)>,
    /// What each node said about who leads, each time it said something new, by the nanosecond of the run's clock.
    pub standings: Vec<(u64, Standing)>,
    /// How operations fared on nodes of a connected majority while the load was on.
    pub available: Availability,
    /// When the load ended, in nanoseconds on the run's clock.
    pub load_end_ns: u64,
    /// When the run ended.
    pub end_ns: u64,
}

/// What a node says about who leads, from some moment on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// The node.
    pub node: String,
    /// What it is.
    pub role: Role,
    /// The term or epoch that it is in, where it tells.
    pub term: Option<u64>,
}

/// What a node is in its cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// It leads.
    Leader,
    /// It follows, or seeks a leader.
    Follower,
    /// It does not answer.
    Silent,
}

/// What the runner writes down between the events of the nemesis.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub(crate) enum Note {
    /// A fault is about to be applied.
    Begin {},
    /// A fault could not be applied.
    Refused { fault: nemesis::Fault, why: String },
    /// A node says something else about who leads than before.
    Standing(Standing),
    /// Every node is ready again after a fault.
    Ready {},
    /// The load is over, and why if it was cut short.
    LoadOver { cut_short: Option<String> },
    /// Somebody ended the run before it was over.
    CutShort { by: String },
    /// What is not well after the final heal.
    Healed { not_ready: Vec<String> },
    /// The run is over.
    Over {
        unread: u64,
        replicas: Vec<ReplicaState>,
    },
}

impl Note {
    /// Records the note as an event called `f`.
    pub(crate) fn record(&self, recorder: &Recorder, f: &str) -> Nanos {
        recorder.nemesis(f, serde_json::to_value(self).expect("a note is plain data"))
    }
}

impl Conduct {
    /// Reads a run's conduct from its history.
    #[must_use]
    pub fn of(history: &History) -> Self {
        let mut reader = Reader::new(history);
        for event in history.nemesis_events() {
            reader.read(event);
        }
        reader.finish(history)
    }
}

/// Goes through the events of the nemesis.
struct Reader {
    conduct: Conduct,
    nodes: Vec<NodeId>,
    /// Faults in force and where their records are.
    active: BTreeMap<FaultId, (usize, Effect)>,
    /// Effects on processes that are undone, whose nodes are not ready yet.
    recovering: Vec<Effect>,
    reach: Reach,
    begun: Option<Nanos>,
    load_over: bool,
    over: bool,
}

impl Reader {
    fn new(history: &History) -> Self {
        let nodes: Vec<NodeId> = history
            .header()
            .nodes
            .iter()
            .filter_map(|name| name.parse().ok())
            .collect();
        let mut reader = Self {
            conduct: Conduct::default(),
            nodes,
            active: BTreeMap::new(),
            recovering: Vec::new(),
            reach: Reach::default(),
            begun: None,
            load_over: false,
            over: false,
        };
        reader.changed(Nanos(0));
        reader
    }

    fn read(&mut self, event: &Event) {
        let json = event.value.to_json();
        if let Ok(record) = serde_json::from_value::<Record>(json.clone()) {
            self.record(event.time, record);
        } else if let Ok(note) = serde_json::from_value::<Note>(json) {
            self.note(event.time, note);
        }
    }

    fn record(&mut self, at: Nanos, record: Record) {
        match record {
            Record::Applied(applied) => {
                let from = self.begun.take().unwrap_or(at);
                let record = FaultRecord {
                    kind: applied.fault.name().to_owned(),
                    description: format!("{}: {}", applied.fault, applied.description),
                    from_ns: from.0,
                    to_ns: applied.over.then_some(at.0),
                    applied: true,
                    bit: applied.bit,
                    seen: said(&applied.seen),
                    healed: applied.over,
                    seen_healed: String::new(),
                };
                if applied.over {
                    self.recovering.push(applied.effect);
                } else {
                    self.active
                        .insert(applied.id, (self.conduct.faults.len(), applied.effect));
                }
                self.conduct.faults.push(record);
                self.changed(from);
            }
            Record::Undone(undone) => {
                let Some((fault, effect)) = self.active.remove(&undone.id) else {
                    return;
                };
                let fault = &mut self.conduct.faults[fault];
                fault.to_ns = Some(at.0);
                fault.healed = undone.healed;
                fault.seen_healed = said(&undone.seen);
                if !effect.processes.is_empty() {
                    self.recovering.push(effect);
                }
                self.changed(at);
            }
            Record::Crashed { node, status } => {
                let status = status.map_or_else(|| "nobody saw how".to_owned(), |status| status.to_string());
                self.conduct.crashes.push((node.to_string(), status));
            }
            Record::Trouble { message } => self.conduct.troubles.push(message),
        }
    }

    fn note(&mut self, at: Nanos, note: Note) {
        match note {
            Note::Begin {} => self.begun = Some(at),
            Note::Refused { fault, why } => {
                self.begun = None;
                self.conduct.faults.push(FaultRecord {
                    kind: fault.name().to_owned(),
                    description: fault.to_string(),
                    from_ns: at.0,
                    to_ns: Some(at.0),
                    applied: false,
                    bit: false,
                    seen: why,
                    healed: true,
                    seen_healed: String::new(),
                });
            }
            Note::Standing(standing) => self.conduct.standings.push((at.0, standing)),
            Note::Ready {} => {
                self.recovering.clear();
                self.changed(at);
            }
            Note::LoadOver { cut_short } => {
                self.conduct.cut_short = cut_short;
                self.conduct.load_end_ns = at.0;
                self.load_over = true;
            }
            Note::CutShort { by } => self.conduct.cut_short = Some(by),
            Note::Healed { not_ready } => self.conduct.not_ready = not_ready,
            Note::Over { unread, replicas } => {
                self.conduct.unread = unread;
                self.conduct.replicas = replicas;
                self.conduct.end_ns = at.0;
                self.over = true;
            }
        }
    }

    /// What the nodes can reach from `at` on.
    fn changed(&mut self, at: Nanos) {
        let Self {
            nodes,
            active,
            recovering,
            reach,
            ..
        } = self;
        let mut links = LinkMatrix::good(nodes);
        for (_, effect) in active.values() {
            effect.worsen(&mut links, Duration::ZERO);
        }
        let down = |node: &NodeId| {
            let effects = active.values().map(|(_, effect)| effect).chain(recovering.iter());
            effects
                .into_iter()
                .any(|effect| effect.processes.contains_key(node))
        };
        let up = |node: usize| !down(&nodes[node]);
        reach.change(at, nodes.len(), up, |from, to| links.at(from, to).is_good());
    }

    fn finish(mut self, history: &History) -> Conduct {
        let last = history
            .operations()
            .map(|operation| operation.completed_at().unwrap_or(operation.invoked_at()));
        let last = last
            .chain(history.nemesis_events().iter().map(|event| event.time))
            .max()
            .unwrap_or_default();
        if !self.over {
            self.conduct.end_ns = last.0;
            self.conduct
                .cut_short
                .get_or_insert_with(|| "its history has no end: was the runner killed?".to_owned());
        }
        if !self.load_over {
            self.conduct.load_end_ns = last.0;
        }
        let load_end = Nanos(self.conduct.load_end_ns);
        let mut excuses = BTreeMap::<(&str, &str), u64>::new();
        for operation in history.operations() {
            let definite = operation.outcome() == Outcome::Ok || operation.error() == Some("mismatch");
            if definite {
                let phase = if operation.invoked_at() < load_end {
                    LOAD
                } else {
                    FINAL
                };
                let by_f = self.conduct.done.entry(phase.to_owned()).or_default();
                *by_f.entry(operation.f().to_owned()).or_default() += 1;
            } else if let Some(error) = operation.error() {
                *excuses.entry((operation.f(), error)).or_default() += 1;
            }
        }
        for ((f, error), count) in excuses {
            let most = self.conduct.excuses.entry(f.to_owned()).or_default();
            if count > most.1 {
                *most = (error.to_owned(), count);
            }
        }
        let names: Vec<String> = self.nodes.iter().map(ToString::to_string).collect();
        self.conduct.available = self.reach.availability(history, &names, load_end);
        self.conduct
    }
}

/// What probes saw, those first that were not as wanted.
fn said(probes: &[Probe]) -> String {
    let (good, bad): (Vec<&Probe>, Vec<&Probe>) = probes.iter().partition(|probe| probe.as_wanted());
    bad.into_iter()
        .chain(good)
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use checker::history::{EventKind, Header, Process, ProcessId, Value};
    use serde_json::json;

    fn event(index: u64, process: Process, kind: EventKind, f: &'static str, value: Value) -> Event {
        let mut event = Event::new(index, Nanos(index * 10), ProcessId(0), kind, f, value);
        if let Process::Client(_) = process {
            event.key = Some("k0".into());
            event.node = Some("n1".into());
        }
        event.process = process;
        event
    }

    fn history(events: Vec<(Process, EventKind, &'static str, Value)>) -> History {
        let header = Header {
            nodes: vec!["n1".into(), "n2".into(), "n3".into()],
            ..Header::for_model("kv")
        };
        let events = events
            .into_iter()
            .zip(0..)
            .map(|((p, k, f, v), i)| event(i, p, k, f, v))
            .collect();
        History::from_events(header, events).expect("valid")
    }

    #[test]
    fn a_history_without_an_end_was_cut_short() {
        let conduct = Conduct::of(&history(Vec::new()));
        assert!(conduct.cut_short.expect("said").contains("no end"));
    }

    #[test]
    fn faults_phases_and_availability_are_read_from_the_history() {
        let client = Process::Client(ProcessId(0));
        let note = |note: Note| Value::from(serde_json::to_value(note).expect("plain data"));
        let applied = Value::from(json!({
            "event": "applied", "id": 1, "fault": {"fault": "kill", "target": "n1"}, "description": "n1",
            "effect": {"processes": {"n1": {"process": "kill"}}},
            "seen": [{"probe": "process", "node": "n1", "state": "dead", "asked": true, "status": null, "as_wanted": true}],
            "bit": true, "over": false,
        }));
        let undone = Value::from(json!({
            "event": "undone", "id": 1, "fault": {"fault": "kill", "target": "n1"}, "description": "n1",
            "seen": [], "healed": true,
        }));
        let get = || (client, EventKind::Invoke, "get", Value::Nil);
        let conduct = Conduct::of(&history(vec![
            get(),
            (client, EventKind::Ok, "get", Value::Nil),
            (Process::Nemesis, EventKind::Info, "kill", note(Note::Begin {})),
            get(),
            (Process::Nemesis, EventKind::Info, "kill", applied),
            (client, EventKind::Fail, "get", Value::Nil),
            (Process::Nemesis, EventKind::Info, "kill", undone),
            (Process::Nemesis, EventKind::Info, "ready", note(Note::Ready {})),
            get(),
            (client, EventKind::Fail, "get", Value::Nil),
            (
                Process::Nemesis,
                EventKind::Info,
                "load-over",
                note(Note::LoadOver { cut_short: None }),
            ),
            get(),
            (client, EventKind::Ok, "get", Value::Nil),
            (
                Process::Nemesis,
                EventKind::Info,
                "over",
                note(Note::Over {
                    unread: 1,
                    replicas: vec![],
                }),
            ),
        ]));
        let [fault] = &conduct.faults[..] else {
            panic!("{:?}", conduct.faults)
        };
        assert_eq!(
            (fault.from_ns, fault.to_ns, fault.bit, fault.healed),
            (20, Some(60), true, true)
        );
        assert_eq!(fault.seen, "n1 is dead");
        let count = |phase: &str| conduct.done.get(phase).and_then(|by_f| by_f.get("get")).copied();
        assert_eq!((count(LOAD), count(FINAL)), (Some(1), Some(1)));
        assert_eq!((conduct.unread, conduct.cut_short.as_deref()), (1, None));
        // The read during the kill was not owed; the one that failed after it was.
        assert_eq!(conduct.available, Availability { owed: 2, kept: 1 });
    }
}

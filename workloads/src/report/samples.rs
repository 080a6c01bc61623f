//! Runs made up for tests: a simulated store under a simulated load, right or wrong as asked.

use std::collections::BTreeMap;
use std::time::Duration;

use checker::history::{Event, EventKind, Header, History, Nanos, OpId, Outcome as Ending, ProcessId, Value};
use checker::{
    Analysis, Anomaly, CoreOperation, Counterexample, CycleEdge, Limit, Prefix, Stand, Verdict, Witness,
};
use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};

use crate::evidence::Availability;

use super::{FaultSpan, Finding, LogExcerpt, NodeReport, NodeState, ReportInput, Role, RunInfo};

pub(super) const MS: u64 = 1_000_000;
pub(super) const SECOND: u64 = 1000 * MS;

/// A whole run, from which a [`ReportInput`] borrows.
pub(super) struct Sample {
    pub(super) history: History,
    pub(super) analysis: Option<Analysis>,
    pub(super) run: RunInfo,
}

impl Sample {
    pub(super) fn input(&self) -> ReportInput<'_> {
        ReportInput {
            history: &self.history,
            analysis: self.analysis.as_ref(),
            run: &self.run,
        }
    }
}

/// A healthy run of so many operations in thirty seconds, with partitions and kills.
pub(super) fn valid(operations: usize) -> Sample {
    let run = run();
    let history = load(operations, &run.faults, None);
    let analysis = judged(&history, Verdict::Linearizable(Witness::default()));
    Sample {
        history,
        analysis: Some(analysis),
        run,
    }
}

/// The same with one stale read in it.
pub(super) fn invalid(operations: usize) -> Sample {
    let mut run = run();
    run.name = "kvnode (follower-read) register".into();
    let stale = stale_read();
    let history = load(operations, &run.faults, Some(&stale));
    let found = Counterexample {
        sentence: "process 33 read 4187 of key 17 at n3 between 12.310 s and 12.312 s, but process 4 had replaced it by \
                   4203 at 10.902 s, and nothing wrote 4187 again"
            .into(),
        anomaly: Anomaly::StaleRead,
        key: Some(Value::from("17")),
        init: Value::Nil,
        cycle: vec![
            CycleEdge { from: stale[1].id, to: stale[3].id, because: "it completed before the read was invoked".into(), relation: None },
            CycleEdge { from: stale[3].id, to: stale[1].id, because: "it read the value that was replaced".into(), relation: None },
        ],
        operations: stale,
        prefix: Prefix { last_index: 31_022, last_time: Nanos(12_312 * MS) },
        weakened: 91,
        dropped: 274,
        minimal: true,
        faults: vec!["partition n1, n2 | n3, n4, n5".into()],
        stuck: vec!["read 4187 (process 33): the value is 4203".into()],
    };
    let analysis = judged(&history, Verdict::Illegal(Box::new(found)));
    Sample {
        history,
        analysis: Some(analysis),
        run,
    }
}

/// A run that the checker could not finish, and that was no evidence anyway.
pub(super) fn unknown() -> Sample {
    let mut run = run();
    run.doubts = vec![
        "no kill was seen to bite, though the plan has some".into(),
        "3 final reads got no answer".into(),
    ];
    run.faults[1].bit = false;
    run.faults[1].seen = "n2 is still alive".into();
    let history = load(3000, &run.faults, None);
    let stand = Stand {
        key: Some(Value::from("4")),
        explained: 120,
        of: 400,
    };
    let limit = Limit::Time {
        allowed: Duration::from_secs(60),
        stand,
    };
    let analysis = judged(&history, Verdict::Unknown(limit));
    Sample {
        history,
        analysis: Some(analysis),
        run,
    }
}

/// A run in which everything that can be text is an attack.
pub(super) fn hostile() -> Sample {
    let evil = "</script></title><script>alert(1)</script><img src=x onerror=alert(2)>\" onclick=\"alert(3)' \u{0}\u{1b}[31m|`]]>";
    let mut sample = invalid(40);
    let run = &mut sample.run;
    for text in [&mut run.name, &mut run.started, &mut run.command] {
        *text = evil.into();
    }
    run.settings = vec![(evil.into(), evil.into())];
    run.versions = run.settings.clone();
    run.anomalies = vec![Finding {
        kind: evil.into(),
        sentence: evil.into(),
    }];
    for list in [&mut run.doubts, &mut run.notes, &mut run.files] {
        *list = vec![evil.into()];
    }
    for fault in &mut run.faults {
        for text in [
            &mut fault.kind,
            &mut fault.description,
            &mut fault.seen,
            &mut fault.seen_healed,
        ] {
            *text = evil.into();
        }
        (fault.bit, fault.healed) = (false, false);
    }
    for state in &mut run.node_states {
        (state.node, state.note) = (evil.into(), evil.into());
    }
    let log = LogExcerpt {
        around: vec![evil.into()],
        around_left_out: 1,
        tail: vec![evil.into()],
        before_tail: 1,
    };
    run.nodes = vec![NodeReport {
        name: evil.into(),
        address: evil.into(),
        log_path: evil.into(),
        log,
    }];
    let mut event = Event::new(
        0,
        Nanos(1),
        ProcessId(0),
        EventKind::Invoke,
        evil.to_owned(),
        Value::from(evil),
    );
    event.node = Some(evil.into());
    let mut completion = Event {
        index: 1,
        kind: EventKind::Info,
        error: Some(evil.into()),
        ..event.clone()
    };
    completion.time = Nanos(2 * SECOND);
    sample.history =
        History::from_events(Header::for_model("kv"), vec![event, completion]).expect("a history");
    let Some(Analysis {
        verdict: Verdict::Illegal(found),
        model,
        init,
        ..
    }) = &mut sample.analysis
    else {
        unreachable!("made above")
    };
    (*model, *init) = (evil.into(), Value::from(evil));
    found.sentence = evil.into();
    found.key = Some(Value::from(evil));
    found.stuck = vec![evil.into()];
    for operation in &mut found.operations {
        operation.said = evil.into();
        operation.node = Some(evil.into());
    }
    for edge in &mut found.cycle {
        edge.because = evil.into();
    }
    sample
}

fn judged(history: &History, verdict: Verdict) -> Analysis {
    Analysis {
        verdict,
        model: "kv".into(),
        init: Value::Nil,
        init_guessed: false,
        operations: history.len(),
        subhistories: 118,
        illegal_keys: Vec::new(),
        elapsed: Duration::from_millis(214),
    }
}

fn run() -> RunInfo {
    let fault =
        |kind: &str, description: &str, from: u64, to: Option<u64>, seen: &str, healed: &str| FaultSpan {
            kind: kind.into(),
            description: description.into(),
            from: Nanos(from * MS),
            to: to.map(|to| Nanos(to * MS)),
            bit: true,
            seen: seen.into(),
            healed: true,
            seen_healed: healed.into(),
        };
    let all = "all nodes reach each other";
    let state = |node: &str, from: u64, to: u64, role: Role, term: u64| NodeState {
        node: node.into(),
        from: Nanos(from * MS),
        to: Nanos(to * MS),
        role,
        note: format!("term {term}"),
    };
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let nodes = (1..=5).map(|n| NodeReport {
        name: format!("n{n}"),
        address: format!("http://127.0.0.1:{}", 40_000 + n),
        log_path: format!("n{n}/node.log"),
        log: LogExcerpt {
            around: match n {
                3 => vec![
                    "2026-11-20T22:40:12.306512Z  INFO kvnode::raft: election timeout, asking for votes term=9".into(),
                    "2026-11-20T22:40:12.311200Z DEBUG kvnode::http: get key=\"17\" served locally".into(),
                ],
                _ => Vec::new(),
            },
            around_left_out: 0,
            tail: (0..6).map(|line| format!("2026-11-20T22:40:3{line}.000000Z  INFO kvnode: line {line} of n{n}")).collect(),
            before_tail: 412,
        },
    });
    RunInfo {
        name: "kvnode register".into(),
        started: "2026-11-20T22:40:00Z".into(),
        seed: Some(42),
        length: Nanos(31_400 * MS),
        command: "workloads run --system kvnode --workload register --nemesis partition,kill --time-limit 30s --nodes 5 --seed 42".into(),
        settings: vec![
            pair("nemesis", "partition, kill"),
            pair("time limit", "30 s"),
            pair("rate", "1500 operations/s"),
            pair("concurrency", "30"),
            pair("keys", "10 at a time, 400 operations each"),
        ],
        versions: vec![
            pair("workloads", "0.1.0"),
            pair("kvnode", "0.1.0, sha256 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"),
            pair("kernel", "Linux 6.18.44"),
        ],
        available: Availability {
            owed: 36_000,
            kept: 35_820,
        },
        nodes: nodes.collect(),
        node_states: vec![
            state("n1", 0, 10_180, Role::Leader, 7),
            state("n1", 10_180, 12_600, Role::Silent, 7),
            state("n1", 12_600, 31_400, Role::Follower, 8),
            state("n2", 0, 10_200, Role::Follower, 7),
            state("n2", 10_200, 18_000, Role::Leader, 8),
            state("n2", 18_000, 21_000, Role::Silent, 8),
            state("n2", 21_000, 31_400, Role::Follower, 9),
            state("n3", 0, 18_300, Role::Follower, 7),
            state("n3", 18_300, 31_400, Role::Leader, 9),
            state("n4", 0, 31_400, Role::Follower, 7),
            state("n5", 0, 31_400, Role::Follower, 7),
        ],
        faults: vec![
            fault("partition", "partition n1, n3 | n2, n4, n5", 10_000, Some(12_600), "n1 cannot reach n2, n4, n5; n3 cannot reach n2, n4, n5", all),
            fault("kill", "kill n2 (leader)", 18_000, Some(20_500), "n2 is gone", "n2 is ready"),
            fault("partition", "partition n5 | n1, n2, n3, n4, one-way (in)", 19_200, Some(22_000), "n5 hears nobody", all),
            fault("pause", "pause n4", 25_000, Some(27_200), "n4 is stopped", "n4 runs"),
        ],
        files: vec!["history.jsonl".into(), "results.json".into(), "junit.xml".into()],
        ..RunInfo::default()
    }
}

/// The operations of the stale read, as a checker would hand them over.
fn stale_read() -> Vec<CoreOperation> {
    let operation =
        |id: u32, process: u64, node: &str, f: &str, value: u64, from_us: u64, to_us: Option<u64>| {
            CoreOperation {
                id: OpId(id),
                index: u64::from(id) * 2,
                process: ProcessId(process),
                f: f.into(),
                input: if f == "get" {
                    Value::Nil
                } else {
                    Value::from(value)
                },
                output: Value::from(value),
                invoked_at: Nanos(from_us * 1000),
                completed_at: to_us.map(|to| Nanos(to * 1000)),
                outcome: if to_us.is_some() { Ending::Ok } else { Ending::Info },
                weakened: false,
                node: Some(node.into()),
                said: format!("{} {value}", if f == "get" { "read" } else { "write" }),
            }
        };
    let mut unknown = operation(14_200, 19, "n1", "set", 4199, 10_450_000, None);
    unknown.weakened = true;
    vec![
        operation(13_101, 2, "n2", "set", 4187, 9_420_310, Some(9_421_902)),
        operation(14_600, 4, "n2", "set", 4203, 10_899_800, Some(10_902_104)),
        unknown,
        operation(15_511, 33, "n3", "get", 4187, 12_310_044, Some(12_311_950)),
    ]
}

/// What a simulated, right store would have answered.
struct Planned {
    process: u64,
    node: usize,
    f: &'static str,
    key: String,
    value: Value,
    from: u64,
    to: u64,
    kind: EventKind,
    error: Option<String>,
}

/// Operations of thirty clients over thirty seconds; nodes behind a fault are slow, refuse or stay silent.
fn load(operations: usize, faults: &[FaultSpan], extra: Option<&[CoreOperation]>) -> History {
    let mut rng = ChaCha8Rng::seed_from_u64(42);
    let clients = 30;
    let pause = 30 * SECOND * clients as u64 / operations.max(1) as u64;
    let mut plan: Vec<Planned> = Vec::with_capacity(operations);
    let mut next_process = clients as u64 + 10;
    for client in 0..clients {
        let (mut process, mut now) = (client as u64 + 100, rng.random_range(0..pause.max(1)));
        for number in 0..operations / clients {
            let key = format!("{}", number / 40 % 20);
            let hit = faults
                .iter()
                .any(|f| f.touches(Nanos(now), Nanos(now)) && (client + f.from.0 as usize / 7) % 5 < 2);
            let mut taken =
                rng.random_range(300_000..1_500_000) + if rng.random_bool(0.02) { 9 * MS } else { 0 };
            let (f, value) = match number % 3 {
                0 => ("set", Value::from(number as i64)),
                1 => ("get", Value::Nil),
                _ => ("cas", Value::from((number as i64 - 2, number as i64))),
            };
            let (mut kind, mut error) = (EventKind::Ok, None);
            if f == "cas" && rng.random_bool(0.4) {
                (kind, error) = (EventKind::Fail, Some("mismatch".to_owned()));
            }
            if hit {
                match rng.random_range(0..3) {
                    0 => {
                        taken = 2 * SECOND;
                        (kind, error) = (EventKind::Info, Some("no answer within 2 s".to_owned()));
                    }
                    1 => (kind, error) = (EventKind::Fail, Some("503 no_leader: not proposed".to_owned())),
                    _ => taken *= 80,
                }
            }
            plan.push(Planned {
                process,
                node: client % 5,
                f,
                key,
                value,
                from: now,
                to: now + taken,
                kind,
                error,
            });
            now += taken.max(pause) + rng.random_range(1..pause.max(2));
            if kind == EventKind::Info {
                process = next_process + 200;
                next_process += 1;
            }
            if now > 30 * SECOND {
                break;
            }
        }
    }
    for core in extra.unwrap_or_default() {
        let (value, kind) = (
            core.output.clone(),
            if core.completed_at.is_some() {
                EventKind::Ok
            } else {
                EventKind::Info
            },
        );
        plan.push(Planned {
            process: core.process.0,
            node: 0,
            f: if core.f == "get" { "get" } else { "set" },
            key: "17".into(),
            value,
            from: core.invoked_at.0,
            to: core
                .completed_at
                .map_or(core.invoked_at.0 + 2 * SECOND, |at| at.0),
            kind,
            error: None,
        });
    }
    events(plan)
}

fn events(plan: Vec<Planned>) -> History {
    let mut by_time: BTreeMap<(u64, u8, usize), Event> = BTreeMap::new();
    for (at, planned) in plan.into_iter().enumerate() {
        let process = ProcessId(planned.process);
        let asked = if planned.f == "get" {
            Value::Nil
        } else {
            planned.value.clone()
        };
        let mut event = Event::new(
            0,
            Nanos(planned.from),
            process,
            EventKind::Invoke,
            planned.f,
            asked,
        );
        event.key = Some(Value::from(planned.key.as_str()));
        event.node = Some(format!("n{}", planned.node + 1));
        let completion = Event {
            time: Nanos(planned.to),
            kind: planned.kind,
            value: planned.value,
            error: planned.error,
            ..event.clone()
        };
        by_time.insert((planned.from, 0, at), event);
        by_time.insert((planned.to, 1, at), completion);
    }
    let mut header = Header::for_model("kv");
    header.seed = Some(42);
    let events = by_time.into_values().enumerate().map(|(index, event)| Event {
        index: index as u64,
        ..event
    });
    History::from_events(header, events.collect()).expect("a well-formed history")
}

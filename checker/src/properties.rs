//! Random small histories, judged by every engine and by the oracle that tries every order.

mod models;
mod shrink;
mod texts;
mod ties;

use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};
use rustc_hash::FxHashSet;

use crate::contradictions;
use crate::engine::{self, Answer, Blocks, Budget, Glance};
use crate::generate::{Bug, Mix, Simulation, Values};
use crate::history::{Event, EventKind, Header, History, NEVER, Nanos, OpId, ProcessId, Value};
use crate::judge::{Ruling, judge};
use crate::model::{Domain, Guarded, RegisterRules, Registers};
use crate::options::CasFail;
use crate::oracle;
use crate::precheck;
use crate::replay::{replay, replay_on_values};
use crate::subhistory::{Moments, Subhistories};
use crate::{CheckOptions, Monitor, Proof, Status, Verdict, check, verify};

use shrink::hold;

/// How many histories each property is tried on; the nightly sets more.
pub(crate) fn cases() -> u64 {
    std::env::var("CHECKER_CASES")
        .ok()
        .and_then(|cases| cases.parse().ok())
        .unwrap_or(3000)
}

/// The first of a series; printed with every failure.
pub(crate) fn first_seed() -> u64 {
    std::env::var("CHECKER_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok())
        .unwrap_or(20_261_121)
}

/// How many cases are many enough that chance does not decide which shares of them are of which kind. Fewer are tried to
/// repeat one, or for a first look.
pub(crate) const MANY: u64 = 200;

/// Of many cases every kind must be more than such a part: a property that met only one of them shows little.
pub(crate) fn each_is_common(kinds: &[u64], cases: u64, part: u64) {
    assert!(
        cases < MANY || kinds.iter().all(|&count| count > cases / part),
        "each must be more than one in {part} of {cases}: {kinds:?}"
    );
}

fn registers(init: Value) -> Registers {
    Registers {
        name: "cas-register",
        rules: Guarded::new(RegisterRules {
            init,
            cas_fail: CasFail::Mismatch,
        }),
    }
}

/// A simulation small enough for the oracle.
fn small(seed: u64) -> Simulation {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let bug = match random.random_range(0..5) {
        0 => Bug::None,
        1 => Bug::StaleReads(0.4),
        2 => Bug::LostUpdates(0.4),
        3 => Bug::SplitCas(0.7),
        _ => Bug::Noise(0.3),
    };
    let mix = match random.random_range(0..4) {
        0 => Mix {
            get: 2,
            set: 1,
            cas: 1,
            append: 0,
            delete: 0,
        },
        1 => Mix {
            get: 1,
            set: 1,
            cas: 2,
            append: 0,
            delete: 1,
        },
        2 => Mix {
            get: 2,
            set: 0,
            cas: 0,
            append: 2,
            delete: 0,
        },
        _ => Mix {
            get: 2,
            set: 1,
            cas: 1,
            append: 1,
            delete: 1,
        },
    };
    Simulation {
        seed,
        operations: random.random_range(2..=8),
        processes: random.random_range(2..=5),
        values: if random.random() {
            Values::Few(random.random_range(2..=3))
        } else {
            Values::Distinct
        },
        mix,
        unknown: [0.0, 0.2, 0.5][random.random_range(0..3)],
        rest: [0.0, 0.5][random.random_range(0..2)],
        clock: [1, 1, 700_000, 3_000_000][random.random_range(0..4)],
        tells_current: random.random(),
        bug,
        ..Simulation::default()
    }
}

/// An arbitrary sequence of events that pairs, with arbitrary results: reaches corners that no store would.
fn arbitrary(seed: u64) -> History {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut open: Vec<(u64, &'static str, Value, Option<i64>)> = Vec::new();
    let (mut events, mut next_process, mut time) = (Vec::new(), 0, 0);
    let mut left = random.random_range(1..=7);
    let revisions = random.random_range(0..4) == 0;
    while left > 0 || (!open.is_empty() && random.random_range(0..8) > 0) {
        time += random.random_range(0..3);
        let index = events.len() as u64;
        if left > 0 && (open.is_empty() || (open.len() < 5 && random.random())) {
            left -= 1;
            let f = ["get", "set", "cas", "append", "delete", "get"][random.random_range(0..6)];
            let value = |random: &mut ChaCha8Rng| Value::Int(random.random_range(0..2));
            let input = match f {
                "set" | "append" => value(&mut random),
                "cas" => Value::List(vec![value(&mut random), value(&mut random)]),
                _ => Value::Nil,
            };
            let rev = (revisions && f == "cas" && random.random()).then(|| random.random_range(0..2));
            let reused = events.iter().rev().find(|event: &&Event| {
                matches!(event.kind, EventKind::Ok | EventKind::Fail)
                    && !open
                        .iter()
                        .any(|(id, ..)| crate::history::Process::Client(ProcessId(*id)) == event.process)
            });
            let process = match reused.map(|event| event.process) {
                Some(crate::history::Process::Client(ProcessId(id))) if random.random() => id,
                _ => {
                    next_process += 1;
                    next_process
                }
            };
            let mut event = Event::new(
                index,
                Nanos(time),
                ProcessId(process),
                EventKind::Invoke,
                f,
                input.clone(),
            );
            event.rev = rev;
            events.push(event);
            open.push((process, f, input, rev));
        } else {
            let (process, f, input, _) = open.remove(random.random_range(0..open.len()));
            let kind = [
                EventKind::Ok,
                EventKind::Ok,
                EventKind::Ok,
                EventKind::Fail,
                EventKind::Info,
            ][random.random_range(0..5)];
            let mut value = input;
            if f == "get" {
                let text = ["", "0", "1", "01", "00"][random.random_range(0..5)];
                value = match random.random_range(0..4) {
                    0 => Value::Nil,
                    1 => Value::from(text),
                    _ => Value::Int(random.random_range(0..2)),
                };
            }
            let mut event = Event::new(index, Nanos(time), ProcessId(process), kind, f, value);
            if kind == EventKind::Fail && random.random_range(0..4) > 0 {
                event.error = Some("mismatch".to_owned());
                event.current = random
                    .random::<bool>()
                    .then(|| Value::Int(random.random_range(0..2)));
            }
            event.rev = (revisions && kind == EventKind::Ok).then(|| random.random_range(0..3));
            events.push(event);
        }
    }
    History::from_events(Header::default(), events).expect("the events pair")
}

fn whole(history: &History) -> Subhistories {
    Subhistories::whole(history)
}

/// Every engine gives the oracle's verdict; orders replay; cores are illegal and minimal.
fn agree(history: &History, init: Value, context: &str) -> bool {
    let domain = registers(init.clone());
    domain
        .validate(history)
        .unwrap_or_else(|(_, flaw)| panic!("{context}: {flaw}"));
    let subhistories = whole(history);
    let moments = subhistories.moments(history, 0);
    let legal = oracle::explains(&domain, &moments).expect("small enough for the oracle");
    let budget = Budget::new(None, None);
    let mut problem = domain.compile(history, &moments);
    if let Some(witness) = precheck::find(&problem) {
        let witness: FxHashSet<OpId> = witness.into_iter().map(|call| problem.call(call).op).collect();
        let alone = Moments::some(history, moments.packed(), &witness);
        let explained = oracle::explains(&domain, &alone);
        assert_eq!(
            explained,
            Some(false),
            "{context}: {witness:?} is no contradiction"
        );
    }
    if let Some(order) = domain.glance(history, &moments, &mut Glance::default()) {
        assert!(
            legal,
            "{context}: an order is found at a glance that the oracle has not"
        );
        assert_eq!(replay(&domain, &moments, &order), Ok(()), "{context}: {order:?}");
        replays_alike(&domain, &moments, order, context);
    }
    replays_alike(&domain, &moments, moments.invoked().collect(), context);
    if let Some(found) = contradictions::find_any(&domain, &moments) {
        let named: FxHashSet<OpId> = found.operations.iter().copied().collect();
        let explained = oracle::explains(&domain, &Moments::some(history, moments.packed(), &named));
        assert_eq!(explained, Some(false), "{context}: {named:?} is no contradiction");
    }
    match engine::decide(&problem) {
        Blocks::Legal(calls) => {
            assert!(legal, "{context}: blocks have an order that the oracle has not");
            let order: Vec<OpId> = calls.into_iter().map(|call| problem.call(call).op).collect();
            assert_eq!(replay(&domain, &moments, &order), Ok(()), "{context}: {order:?}");
        }
        Blocks::Illegal => assert!(!legal, "{context}: blocks missed an order"),
        Blocks::NotApplicable => {}
    }
    let mut meter = budget.meter();
    let searches = [
        ("all", engine::search(&mut problem, &mut meter)),
        ("depth", engine::search_in_depth(&mut problem, &mut meter)),
        (
            "breadth 1",
            engine::search_in_breadth(&mut problem, 1, &mut meter),
        ),
        (
            "breadth 4",
            engine::search_in_breadth(&mut problem, 4, &mut meter),
        ),
    ];
    for (name, answer) in searches {
        match answer {
            Answer::Legal(steps) => {
                assert!(legal, "{context}: {name} found an order that the oracle did not");
                let order = engine::order(&mut problem, &steps);
                assert_eq!(
                    replay(&domain, &moments, &order),
                    Ok(()),
                    "{context}: {name} {order:?}"
                );
            }
            Answer::Illegal { .. } => assert!(!legal, "{context}: {name} missed an order"),
            Answer::Exhausted { .. } => panic!("{context}: nothing limits {name}"),
        }
    }
    for from in 0..problem.moments.len() {
        match engine::refute(&mut problem, from, usize::MAX, &mut meter).unwrap_or(None) {
            Some(_) => assert!(!legal, "{context}: from moment {from} on an order is refuted"),
            None => assert!(
                legal || from > 0,
                "{context}: nothing is refuted from the beginning"
            ),
        }
    }
    let options = CheckOptions {
        init: Some(init),
        ..CheckOptions::default()
    };
    match judge(&domain, &moments, 1_000_000) {
        Ruling::Legal => assert!(
            legal,
            "{context}: the plain judge found an order that the oracle did not"
        ),
        Ruling::Illegal(_) => assert!(!legal, "{context}: the plain judge missed an order"),
        Ruling::TooLarge => panic!("{context}: too large for the plain judge"),
    }
    let analysis = check(history, &options).expect("the history is valid");
    let results = serde_json::to_string(&analysis).expect("JSON");
    let proof = verify(&results, history, &options).expect("results of this history");
    assert!(
        matches!(proof, Proof::Holds { .. }),
        "{context}: {proof:?}, {results}"
    );
    match analysis.verdict {
        Verdict::Linearizable(_) => assert!(legal, "{context}: check says legal"),
        Verdict::Illegal(found) => {
            assert!(!legal, "{context}: check says illegal");
            let core: Vec<OpId> = found
                .operations
                .iter()
                .filter(|op| !op.weakened)
                .map(|op| op.id)
                .collect();
            core_is_minimal(
                history,
                &domain,
                &moments,
                &core,
                found.prefix.last_index,
                context,
            );
        }
        Verdict::Unknown(limit) => panic!("{context}: {limit}"),
    }
    legal
}

/// Orders close to this one are found as good or bad on words as they are on values.
fn replays_alike(domain: &Registers, moments: &Moments<'_>, mut order: Vec<OpId>, context: &str) {
    for at in 0..order.len() {
        assert_eq!(
            replay(domain, moments, &order),
            replay_on_values(domain, moments, &order),
            "{context}: {order:?}"
        );
        order.swap(at, 0);
    }
}

/// Judges a core by the oracle alone.
fn core_is_minimal(
    history: &History,
    domain: &Registers,
    moments: &Moments<'_>,
    core: &[OpId],
    last_index: u64,
    context: &str,
) {
    let end = moments
        .iter()
        .position(|(op, completes)| completes && history.operation(op).completed_index() == Some(last_index))
        .expect("the prefix ends with a completion");
    let prefix = &moments.packed()[..=end];
    let illegal = |known: &[OpId]| {
        let complete: FxHashSet<OpId> = known.iter().copied().collect();
        oracle::explains(domain, &Moments::some(history, prefix, &complete)) == Some(false)
    };
    let core: Vec<OpId> = core
        .iter()
        .copied()
        .filter(|&op| counts(history, domain, op))
        .collect();
    let told: Vec<_> = core
        .iter()
        .map(|&op| (op, domain.call(history.operation(op), true)))
        .collect();
    assert!(illegal(&core), "{context}: the core {told:?} is legal");
    for at in 0..core.len() {
        let mut less = core.clone();
        let weaker = less.remove(at);
        assert!(
            !illegal(&less),
            "{context}: the core {core:?} does not need {weaker:?}"
        );
    }
}

/// Operations of unknown outcome are listed beside the core, but are not part of it.
fn counts(history: &History, domain: &Registers, op: OpId) -> bool {
    let call = domain.call(history.operation(op), true).expect("validated");
    call.is_some_and(|call| call.result != crate::model::Observed::Unknown)
}

#[test]
fn engines_agree_with_the_oracle_on_simulated_stores() {
    let mut verdicts = [0u64; 2];
    for seed in crate::generate::seeds(first_seed(), cases()) {
        let simulation = small(seed);
        let history = simulation.history().expect("simulations are valid");
        let context = format!("seed {seed}, {simulation:?}");
        let legal = hold(&history, &context, |history| {
            Ok(agree(history, Value::Nil, &context))
        });
        verdicts[usize::from(legal)] += 1;
    }
    println!(
        "seed {}: {} illegal, {} legal",
        first_seed(),
        verdicts[0],
        verdicts[1]
    );
    each_is_common(&verdicts, cases(), 10);
}

#[test]
fn engines_agree_with_the_oracle_on_arbitrary_histories() {
    let mut verdicts = [0u64; 2];
    for seed in crate::generate::seeds(first_seed() ^ 0xa5a5, cases()) {
        let history = arbitrary(seed);
        let context = format!("seed {seed}");
        let legal = hold(&history, &context, |history| {
            Ok(agree(history, Value::Int(0), &context))
        });
        verdicts[usize::from(legal)] += 1;
    }
    println!(
        "seed {}: {} illegal, {} legal",
        first_seed(),
        verdicts[0],
        verdicts[1]
    );
    each_is_common(&verdicts, cases(), 20);
}

#[test]
fn monitors_accuse_nobody_innocent_and_miss_nobody() {
    let (mut early, mut illegal) = (0, 0);
    for seed in crate::generate::seeds(first_seed() ^ 0x5a5a, 300) {
        let mut simulation = small(seed);
        (simulation.operations, simulation.processes, simulation.keys) = (60, 3, 2);
        let history = simulation.history().expect("simulations are valid");
        let options = CheckOptions::default();
        let expected = check(&history, &options)
            .expect("the history is valid")
            .verdict
            .exit_code();
        let mut monitor = Monitor::new(&simulation.header(), &options).expect("a known model");
        let events: Vec<Event> = simulation.events().collect();
        let last = events.len() - 1;
        for (at, event) in events.iter().enumerate() {
            if let Status::Violated { .. } = monitor.push(event).expect("simulations are valid") {
                assert_eq!(expected, 1, "seed {seed}: the monitor accuses a legal history");
                early += u64::from(at < last);
                break;
            }
        }
        let noticed = monitor.look() != Status::Fine;
        let times: Vec<Nanos> = events.iter().map(|event| event.time).collect();
        let meet = times.windows(2).any(|pair| pair[0] == pair[1]);
        // Where times meet, more might come at the last of them.
        assert!(
            noticed == (expected == 1) || meet && !noticed,
            "seed {seed}: what the monitor says at the end"
        );
        assert_eq!(
            monitor.finish().expect("valid").verdict.exit_code(),
            expected,
            "seed {seed}"
        );
        illegal += u64::from(expected == 1);
    }
    println!(
        "seed {}: {early} of {illegal} violations were noticed before the end",
        first_seed()
    );
    assert!(early > 0, "no violation was noticed before the end");
}

/// Moves that one engine may make alone.
const PATIENCE: u64 = 20_000;

/// Histories too long for the oracle: every engine against every other.
#[test]
fn engines_agree_with_each_other_on_longer_histories() {
    let domain = registers(Value::Nil);
    let budget = Budget::new(None, None);
    let (mut verdicts, mut unknown, mut at_a_glance) = ([0u64; 2], 0u64, 0u64);
    let mut glance = Glance::default();
    for seed in crate::generate::seeds(first_seed() ^ 0x1e57, cases() / 10) {
        let mut simulation = small(seed);
        simulation.operations *= 3;
        simulation.bug = match simulation.bug {
            Bug::StaleReads(_) => Bug::StaleReads(0.2),
            Bug::LostUpdates(_) => Bug::LostUpdates(0.2),
            Bug::SplitCas(_) => Bug::SplitCas(0.5),
            Bug::Noise(_) | Bug::None => Bug::None,
        };
        let context = format!("seed {seed}, {simulation:?}");
        let history = simulation.history().expect("simulations are valid");
        let subhistories = whole(&history);
        let moments = subhistories.moments(&history, 0);
        let mut problem = domain.compile(&history, &moments);
        if let Some(order) = domain.glance(&history, &moments, &mut glance) {
            assert_eq!(replay(&domain, &moments, &order), Ok(()), "{context}: {order:?}");
            at_a_glance += 1;
        }
        let patient = || budget.meter().patient(PATIENCE);
        let searches = [
            engine::search(&mut problem, &mut budget.meter()),
            engine::search_in_depth(&mut problem, &mut patient()),
            engine::search_in_breadth(&mut problem, 1, &mut patient()),
            engine::search_in_breadth(&mut problem, 4, &mut patient()),
        ];
        let legal = matches!(searches[0], Answer::Legal(_));
        for answer in searches {
            match answer {
                Answer::Legal(steps) => {
                    assert!(legal, "{context}: not all find an order");
                    let order = engine::order(&mut problem, &steps);
                    assert_eq!(replay(&domain, &moments, &order), Ok(()), "{context}");
                }
                Answer::Illegal { .. } => assert!(!legal, "{context}: not all miss an order"),
                Answer::Exhausted { .. } => unknown += 1,
            }
        }
        match engine::decide(&problem) {
            Blocks::Legal(_) => assert!(legal, "{context}: blocks have an order"),
            Blocks::Illegal => assert!(!legal, "{context}: blocks have none"),
            Blocks::NotApplicable => {}
        }
        for from in (0..problem.moments.len()).step_by(5) {
            let refuted = engine::refute(&mut problem, from, usize::MAX, &mut patient()).unwrap_or(None);
            assert!(
                refuted.is_none() || !legal,
                "{context}: refuted from moment {from} on"
            );
        }
        verdicts[usize::from(legal)] += 1;
    }
    println!(
        "seed {}: {verdicts:?} illegal and legal, {at_a_glance} at a glance; {unknown} searches gave up",
        first_seed()
    );
    let tried = cases() / 10;
    each_is_common(&verdicts, tried, 10);
    assert!(
        tried < MANY || at_a_glance > verdicts[1] / 5,
        "many that are legal must show it at a glance"
    );
    assert!(
        tried < MANY || unknown < tried,
        "nearly every engine must come to an end alone: {unknown} did not"
    );
}

/// Of two processes, one operation is over before another begins exactly if its completion has the smaller time; of
/// one process the order or a tie says so.
#[test]
fn the_order_of_a_history_says_what_its_times_say() {
    let (mut in_order, mut tied) = (0u64, 0u64);
    for seed in crate::generate::seeds(first_seed() ^ 0x1771, cases()) {
        let history = arbitrary(seed);
        for one in history.operations() {
            let Some(completed_at) = one.completed_at().filter(|_| one.record().completed != NEVER) else {
                continue;
            };
            for other in history.operations().filter(|other| other.id() != one.id()) {
                let ordered = one.record().completed < other.record().invoked;
                let (before, after) = (one.id(), other.id());
                if one.process() != other.process() {
                    assert_eq!(
                        ordered,
                        completed_at < other.invoked_at(),
                        "seed {seed}: {before:?} and {after:?}"
                    );
                } else if before < after && completed_at == other.invoked_at() {
                    let tie = history.same_instant.iter().any(|&(later, _)| later == after);
                    assert!(ordered || tie, "seed {seed}: {before:?} and {after:?}");
                    in_order += u64::from(ordered);
                    tied += u64::from(tie);
                } else {
                    assert_eq!(ordered, before < after, "seed {seed}: {before:?} and {after:?}");
                }
            }
        }
    }
    assert!(
        in_order > 0 && tied > 0,
        "both kinds of tie must come up: {in_order}, {tied}"
    );
}

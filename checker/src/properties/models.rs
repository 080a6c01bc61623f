//! Random small histories of every model that is searched, judged by the engines and by trying every order.
//!
//! Stores are simulated by the model itself: what an operation returns is whatever the model allows at the moment
//! at which it takes effect. Broken ones answer from an older state, acknowledge what they forget, or make things
//! up.

use rand::rngs::ChaCha8Rng;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};

use super::shrink::{Held, hold};
use super::{cases, each_is_common, first_seed};
use crate::engine::{self, Answer, Blocks, Budget};
use crate::history::{Event, EventKind, Header, History, Nanos, OpId, ProcessId, Value};
use crate::model::{
    Bag, Counter, Domain, Fifo, Guarded, Invocation, Lock, Model, MultiRegister, Observed, RegisterRules,
    Registers, Set,
};
use crate::options::CasFail;
use crate::oracle;
use crate::replay::replay;
use crate::subhistory::Subhistories;
use crate::{CheckOptions, Verdict, check};

/// What a store does wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    None,
    /// Answers from an older state.
    Stale,
    /// Forgets what it acknowledged.
    Lost,
    /// Makes results up.
    Noise,
}

/// What can be asked, and what could be answered.
struct Vocabulary {
    header: Header,
    keys: Vec<Option<Value>>,
    ask: fn(&mut ChaCha8Rng) -> (&'static str, Value),
    answers: fn(&str, &Value) -> Vec<Value>,
}

/// An operation on its way.
struct Running {
    process: u64,
    key: usize,
    f: &'static str,
    input: Value,
    /// What it will return; none before it took effect.
    result: Option<Value>,
    unknown: bool,
}

/// A history of one simulated store per key.
fn simulated<D: Domain>(domain: &D, words: &Vocabulary, seed: u64) -> History {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let rules = domain.rules();
    let fault =
        [Fault::None, Fault::Stale, Fault::Lost, Fault::Noise, Fault::None][random.random_range(0..5)];
    let unknown = [0.0, 0.2, 0.5][random.random_range(0..3)];
    let workers = random.random_range(2..=4);
    let mut stores: Vec<Vec<<D::Rules as Model>::State>> =
        words.keys.iter().map(|_| vec![rules.init()]).collect();
    let mut running: Vec<Running> = Vec::new();
    let (mut events, mut next_process, mut time) = (Vec::new(), 0, 0);
    let mut idle: Vec<u64> = Vec::new();
    let mut left = random.random_range(2..=8);
    loop {
        time += random.random_range(0..3);
        let mut push = |kind, process, f: &'static str, key: usize, value| {
            let index = events.len() as u64;
            let mut event = Event::new(index, Nanos(time), ProcessId(process), kind, f, value);
            event.key.clone_from(&words.keys[key]);
            events.push(event);
        };
        if left > 0 && running.len() < workers && (running.is_empty() || random.random()) {
            left -= 1;
            let process = idle.pop().unwrap_or_else(|| {
                next_process += 1;
                next_process
            });
            let key = random.random_range(0..words.keys.len());
            let (f, input) = (words.ask)(&mut random);
            push(EventKind::Invoke, process, f, key, input.clone());
            running.push(Running {
                process,
                key,
                f,
                input,
                result: None,
                unknown: random.random_bool(unknown),
            });
            continue;
        }
        if running.is_empty() {
            break;
        }
        let at = random.random_range(0..running.len());
        let operation = &mut running[at];
        let wrong = fault != Fault::None && random.random_bool(0.35);
        if operation.result.is_none() && !(operation.unknown && random.random_bool(0.3)) {
            let store = &mut stores[operation.key];
            let mut answers = (words.answers)(operation.f, &operation.input);
            answers.shuffle(&mut random);
            let from = match fault {
                Fault::Stale if wrong => random.random_range(0..store.len()),
                _ => store.len() - 1,
            };
            let can = |answer: &Value| {
                let call = Invocation {
                    f: operation.f.to_owned().into(),
                    input: operation.input.clone(),
                    asked_rev: None,
                    result: Observed::Ok(answer.clone(), None),
                };
                rules.step(&store[from], &call)
            };
            let possible = answers
                .iter()
                .find_map(|answer| Some((answer.clone(), can(answer)?)));
            match possible {
                Some((answer, _)) if wrong && fault == Fault::Noise => {
                    operation.result = answers.first().cloned().or(Some(answer));
                }
                Some((answer, next)) => {
                    operation.result = Some(answer);
                    if !(wrong && fault == Fault::Lost) && from + 1 == store.len() {
                        store.push(next);
                    }
                }
                // Nothing is possible now, such as a lock that another holds.
                None => {}
            }
            if operation.result.is_some() {
                continue;
            }
        }
        let done = running.swap_remove(at);
        match (done.result, done.unknown) {
            (_, true) => push(EventKind::Info, done.process, done.f, done.key, done.input),
            (Some(result), false) => {
                push(EventKind::Ok, done.process, done.f, done.key, result);
                idle.push(done.process);
            }
            (None, false) => {
                push(EventKind::Fail, done.process, done.f, done.key, done.input);
                idle.push(done.process);
            }
        }
    }
    History::from_events(words.header.clone(), events).expect("the events pair")
}

/// Every engine gives the verdict of trying every order, for each key and for the whole.
fn agree<D: Domain>(domain: &D, history: &History, init: &Value) -> Held<bool> {
    domain
        .validate(history)
        .map_err(|(op, flaw)| format!("operation {}: {flaw}", op.0))?;
    let split = match domain.name() {
        "multi-register" => Subhistories::whole(history),
        _ => Subhistories::by_key(history),
    };
    let mut all_legal = true;
    for at in 0..split.len() {
        let moments = split.moments(history, at);
        let legal = oracle::explains(domain, &moments).ok_or("too many operations for trying every order")?;
        all_legal &= legal;
        let mut problem = domain.compile(history, &moments);
        let replays = |order: &[OpId], who: &str| {
            replay(domain, &moments, order).map_err(|error| format!("{who} has an order in which {error}"))
        };
        match engine::decide(&problem) {
            Blocks::Legal(calls) => {
                let order: Vec<OpId> = calls.into_iter().map(|call| problem.call(call).op).collect();
                replays(&order, "blocks")?;
                same(legal, true, "blocks")?;
            }
            Blocks::Illegal => same(legal, false, "blocks")?,
            Blocks::NotApplicable => {}
        }
        match engine::search(&mut problem, &mut Budget::new(None, None).meter()) {
            Answer::Legal(steps) => {
                replays(&engine::order(&mut problem, &steps), "the search")?;
                same(legal, true, "the search")?;
            }
            Answer::Illegal { .. } => same(legal, false, "the search")?,
            Answer::Exhausted { .. } => return Err("nothing limits the search, and it gave up".to_owned()),
        }
    }
    let options = CheckOptions {
        init: Some(init.clone()),
        ..CheckOptions::default()
    };
    match check(history, &options)
        .map_err(|error| error.to_string())?
        .verdict
    {
        Verdict::Linearizable(_) => same(all_legal, true, "check")?,
        Verdict::Illegal(found) => {
            same(all_legal, false, "check")?;
            if !found.minimal {
                return Err("nothing limits the check, and its core is not minimal".to_owned());
            }
        }
        Verdict::Unknown(limit) => return Err(format!("check: {limit}")),
    }
    Ok(all_legal)
}

fn same(legal: bool, said: bool, who: &str) -> Held<()> {
    let words = |legal| if legal { "legal" } else { "illegal" };
    match legal == said {
        true => Ok(()),
        false => Err(format!(
            "{who}: {}, but every order says: {}",
            words(said),
            words(legal)
        )),
    }
}

/// Tries a model on its share of the cases; both verdicts must be common, or little was tested.
fn try_model<D: Domain>(domain: &D, words: &Vocabulary) {
    let count = cases() / MODELS;
    let mut verdicts = [0u64; 2];
    for seed in crate::generate::seeds(first_seed() ^ 0x30de1, count) {
        let history = simulated(domain, words, seed);
        let context = format!("{}, seed {seed}", domain.name());
        let legal = hold(&history, &context, |history| {
            agree(domain, history, &domain.init_value())
        });
        verdicts[usize::from(legal)] += 1;
    }
    println!(
        "seed {}: {} illegal, {} legal",
        first_seed(),
        verdicts[0],
        verdicts[1]
    );
    each_is_common(&verdicts, count, 20);
}

/// How many models share the cases.
const MODELS: u64 = 7;

fn numbers(range: std::ops::Range<i64>) -> Vec<Value> {
    range.map(Value::Int).collect()
}

fn one_of(random: &mut ChaCha8Rng, texts: &[&str]) -> Value {
    Value::from(texts[random.random_range(0..texts.len())])
}

#[test]
fn sets() {
    let words = Vocabulary {
        header: Header::for_model("set"),
        keys: vec![None],
        ask: |random| match random.random_range(0..5) {
            0..3 => ("read", Value::Nil),
            _ => ("add", Value::Int(random.random_range(0..3))),
        },
        answers: |f, input| match f {
            "add" => vec![input.clone()],
            _ => (0..8)
                .map(|bits| {
                    Value::List(
                        (0..3)
                            .filter(|bit| bits >> bit & 1 == 1)
                            .map(Value::Int)
                            .collect(),
                    )
                })
                .collect(),
        },
    };
    try_model(&Set::domain(&Value::Nil).expect("nothing is a set"), &words);
}

#[test]
fn counters() {
    let words = Vocabulary {
        header: Header::for_model("counter"),
        keys: vec![None],
        ask: |random| match random.random_range(0..2) {
            0 => ("read", Value::Nil),
            _ => ("add", Value::Int(random.random_range(-1..3))),
        },
        answers: |f, input| match f {
            "add" => vec![input.clone()],
            _ => numbers(-4..12),
        },
    };
    try_model(
        &Counter::domain(&Value::Nil).expect("nothing is a counter"),
        &words,
    );
}

fn queue(bag: bool) -> Vocabulary {
    let mut header = Header::for_model("queue");
    if bag {
        header.other.insert("queue".to_owned(), "bag".into());
    }
    Vocabulary {
        header,
        keys: vec![None],
        ask: |random| match random.random_range(0..2) {
            0 => ("dequeue", Value::Nil),
            _ => ("enqueue", Value::Int(random.random_range(0..3))),
        },
        answers: |f, input| match f {
            "enqueue" => vec![input.clone()],
            _ => [vec![Value::Nil], numbers(0..3)].concat(),
        },
    }
}

#[test]
fn queues() {
    try_model(&Fifo::domain(), &queue(false));
}

#[test]
fn bags() {
    try_model(&Bag::domain(), &queue(true));
}

#[test]
fn locks() {
    let words = Vocabulary {
        header: Header::for_model("lock"),
        keys: vec![Some(Value::from("a")), Some(Value::from("b"))],
        ask: |random| {
            let f = ["acquire", "release"][random.random_range(0..2)];
            (f, one_of(random, &["ann", "bob"]))
        },
        answers: |_, input| vec![input.clone()],
    };
    try_model(&Lock::domain(), &words);
}

#[test]
fn multi_registers() {
    let words = Vocabulary {
        header: Header::for_model("multi-register"),
        keys: vec![None],
        ask: |random| {
            let mut steps = Vec::new();
            for key in ["x", "y"] {
                steps.extend(match random.random_range(0..3) {
                    0 => Some(Value::List(vec!["r".into(), key.into(), Value::Nil])),
                    1 => Some(Value::List(vec![
                        "w".into(),
                        key.into(),
                        Value::Int(random.random_range(0..2)),
                    ])),
                    _ => None,
                });
            }
            ("txn", Value::List(steps))
        },
        answers: |_, input| {
            let seen = [Value::Nil, Value::Int(0), Value::Int(1)];
            let mut all = vec![Vec::new()];
            for part in input.as_list().unwrap_or_default() {
                let reads = part.as_list().is_some_and(|parts| parts[0].as_str() == Some("r"));
                let filled = |value: &Value| match part.as_list() {
                    Some(parts) if reads => {
                        Value::List(vec![parts[0].clone(), parts[1].clone(), value.clone()])
                    }
                    _ => part.clone(),
                };
                let choices: Vec<Value> = if reads {
                    seen.iter().map(filled).collect()
                } else {
                    vec![part.clone()]
                };
                all = all
                    .iter()
                    .flat_map(|steps| {
                        choices
                            .iter()
                            .map(|choice| [&steps[..], std::slice::from_ref(choice)].concat())
                    })
                    .collect();
            }
            all.into_iter().map(Value::List).collect()
        },
    };
    try_model(&MultiRegister::domain(&Value::Nil), &words);
}

#[test]
fn maps() {
    let words = Vocabulary {
        header: Header::for_model("kv"),
        keys: vec![Some(Value::from("x")), Some(Value::from("y"))],
        ask: |random| match random.random_range(0..6) {
            0..3 => ("get", Value::Nil),
            3 => ("set", Value::Int(random.random_range(0..3))),
            4 => ("delete", Value::Nil),
            _ => {
                let mut value = || Value::Int(random.random_range(0..3));
                ("cas", Value::List(vec![value(), value()]))
            }
        },
        answers: |f, input| match f {
            "get" => [vec![Value::Nil], numbers(0..3)].concat(),
            _ => vec![input.clone()],
        },
    };
    let domain = Registers {
        name: "kv",
        rules: Guarded::new(RegisterRules {
            init: Value::Nil,
            cas_fail: CasFail::Noop,
        }),
    };
    try_model(&domain, &words);
}

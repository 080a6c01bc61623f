//! Texts that are only appended to: what shows without a search, against every order.

use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};
use rustc_hash::FxHashSet;

use super::{MANY, cases, each_is_common, first_seed, registers};
use crate::contradictions;
use crate::history::{Event, EventKind, Header, History, Nanos, OpId, ProcessId, Value};
use crate::oracle;
use crate::subhistory::{Moments, Subhistories};

/// A store that mostly appends and tells what is there, and now and then something else.
fn history(random: &mut ChaCha8Rng, init: &Value) -> History {
    let pieces: &[&str] = match random.random_range(0..3) {
        0 => &["a,", "b,", "c,", "d,", "e,"],
        1 => &["a", "b"],
        _ => &["a", "ab", "b", "ba"],
    };
    let distinct = random.random_range(0..3) > 0;
    let mut text = init.as_str().map(str::to_owned);
    let mut events: Vec<Event> = Vec::new();
    let mut open: Vec<(u64, &'static str, Value, Option<Value>)> = Vec::new();
    let (mut left, mut process, mut time) = (random.random_range(2..8), 0, 0);
    while left > 0 || !open.is_empty() {
        time += random.random_range(0..2);
        let mut put = |process, kind, f, value| {
            let index = events.len() as u64;
            events.push(Event::new(index, Nanos(time), ProcessId(process), kind, f, value));
        };
        if left > 0 && open.len() < 3 && random.random_bool(0.6) {
            left -= 1;
            process += 1;
            let piece = match distinct {
                true => pieces[process as usize % pieces.len()],
                false => pieces[random.random_range(0..pieces.len())],
            };
            let (f, input) = match random.random_bool(0.5) {
                true => ("append", Value::from(piece)),
                false => ("get", Value::Nil),
            };
            put(process, EventKind::Invoke, f, input.clone());
            open.push((process, f, input, None));
            continue;
        }
        if open.is_empty() {
            continue;
        }
        let at = random.random_range(0..open.len());
        let (process, f, input, result) = open[at].clone();
        match result {
            None if random.random_bool(0.9) => {
                let odd = random.random_bool(0.15);
                let mut seen = text.clone();
                match (f, input.as_str()) {
                    ("append", Some(_)) if odd => {}
                    ("append", Some(piece)) => text.get_or_insert_default().push_str(piece),
                    _ if odd => {
                        let mut other = seen.unwrap_or_default();
                        let cut = other
                            .char_indices()
                            .map(|(at, _)| at)
                            .nth(random.random_range(0..3));
                        other.truncate(cut.unwrap_or(other.len()));
                        other += pieces[random.random_range(0..pieces.len())];
                        seen = Some(other);
                    }
                    _ => {}
                }
                open[at].3 = Some(match f {
                    "get" => seen.map_or(Value::Nil, Value::from),
                    _ => input,
                });
            }
            Some(result) if random.random_bool(0.85) => {
                put(process, EventKind::Ok, f, result);
                open.swap_remove(at);
            }
            _ => {
                put(process, EventKind::Info, f, input);
                open.swap_remove(at);
            }
        }
    }
    History::from_events(Header::for_model("register"), events).expect("the events pair")
}

/// A read that ends within a piece of the longest one, which is no contradiction by itself.
const FOUND_SOMETHING: [u64; 1] = [3_503_005_790_356_951_149];

#[test]
fn contradictions_of_texts_are_what_no_order_explains() {
    let (mut legal, mut illegal, mut found) = (0u64, 0u64, 0u64);
    let seeds = crate::generate::seeds(first_seed() ^ 0x7e47, cases());
    for seed in FOUND_SOMETHING.into_iter().chain(seeds) {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let init = match random.random_range(0..3) {
            0 => Value::from("a"),
            1 => Value::from(""),
            _ => Value::Nil,
        };
        let history = history(&mut random, &init);
        let domain = registers(init);
        let subhistories = Subhistories::whole(&history);
        let moments = subhistories.moments(&history, 0);
        let explained = oracle::explains(&domain, &moments).expect("small enough for the oracle");
        (legal, illegal) = (legal + u64::from(explained), illegal + u64::from(!explained));
        let Some(contradiction) = contradictions::find_any(&domain, &moments) else {
            continue;
        };
        found += 1;
        let named: FxHashSet<OpId> = contradiction.operations.iter().copied().collect();
        let alone = oracle::explains(&domain, &Moments::some(&history, moments.packed(), &named));
        assert_eq!(alone, Some(false), "seed {seed}: {contradiction:?} is none");
    }
    println!("{legal} legal; {found} of {illegal} illegal ones show without a search");
    each_is_common(&[legal, illegal], cases(), 10);
    assert!(cases() < MANY || found * 2 > illegal, "{found} of {illegal}");
}

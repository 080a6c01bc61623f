// Any bytes as a small history of a register, and what must hold of every verdict about it. Shares nothing with the
// checker but its public face: the rules of the register are written once more here.

use checker::history::{Event, EventKind, Header, History, Nanos, Operation, Outcome, ProcessId, Value};
use checker::{CheckOptions, StaleLimits, Verdict, check, sequential, stale_bound};

/// More operations than this are too many orders to try.
const MOST: usize = 8;
/// Processes that run at once.
const WORKERS: u64 = 5;

/// A history of the bytes: two bytes an event, the first says who and what, the second which values.
pub(crate) fn history(bytes: &[u8]) -> History {
    let mut events: Vec<Event> = Vec::new();
    let mut ids: Vec<u64> = (0..WORKERS).collect();
    let mut open: Vec<Option<(&'static str, Value)>> = vec![None; WORKERS as usize];
    let (mut invoked, mut time) = (0, 0);
    for pair in bytes.chunks_exact(2) {
        let (what, values) = (pair[0], pair[1]);
        let worker = usize::from(what) % WORKERS as usize;
        // Some events share an instant.
        time += u64::from(values >> 6 & 1);
        let small = |bits: u8| Value::Int(i64::from(bits & 3));
        let mut event = |kind, f: &'static str, value| {
            let index = events.len() as u64;
            events.push(Event::new(
                index,
                Nanos(time),
                ProcessId(ids[worker]),
                kind,
                f,
                value,
            ));
            events.len() - 1
        };
        match open[worker].take() {
            None if invoked == MOST => {}
            None => {
                invoked += 1;
                let (f, input) = match what >> 5 & 3 {
                    0 | 1 => ("get", Value::Nil),
                    2 => ("set", small(values)),
                    _ => ("cas", Value::List(vec![small(values), small(values >> 2)])),
                };
                event(EventKind::Invoke, f, input.clone());
                open[worker] = Some((f, input));
            }
            Some((f, input)) => match what >> 4 & 7 {
                0 => {
                    event(EventKind::Info, f, input);
                    ids[worker] += WORKERS;
                }
                1 if f == "cas" => {
                    let at = event(EventKind::Fail, f, input);
                    events[at].error = Some("mismatch".to_owned());
                    events[at].current = (values & 4 > 0).then(|| small(values));
                }
                1 => {
                    event(EventKind::Fail, f, input);
                }
                _ => {
                    let nothing = values >> 3 & 7 == 0;
                    let result = match f {
                        "get" if nothing => Value::Nil,
                        "get" => small(values),
                        _ => input,
                    };
                    event(EventKind::Ok, f, result);
                }
            },
        }
    }
    History::from_events(Header::for_model("cas-register"), events).expect("the events pair")
}

/// Judges a history of the bytes in every way there is. Whether it is linearizable.
///
/// # Panics
/// If two ways differ: that is what fuzzing looks for.
pub(crate) fn judged(bytes: &[u8]) -> bool {
    let history = history(bytes);
    let expected = explained(&history);
    let options = CheckOptions::default();
    match check(&history, &options).expect("a register").verdict {
        Verdict::Linearizable(_) => assert!(expected, "legal, but no order explains it"),
        Verdict::Illegal(found) => {
            assert!(
                !expected,
                "illegal, but some order explains it: {}",
                found.sentence
            );
            assert!(
                found.minimal,
                "nothing limits the check, and its core is not minimal"
            );
        }
        Verdict::Unknown(limit) => panic!("nothing limits the check: {limit}"),
    }
    if expected {
        let weaker = sequential(&history, &options).expect("a register").verdict;
        assert!(
            matches!(weaker, Verdict::Linearizable(_)),
            "linearizable, and not sequentially consistent"
        );
        let stale = stale_bound(&history, &options, StaleLimits::default()).expect("a register");
        assert_eq!(
            stale.stale + stale.phantoms + stale.early,
            0,
            "linearizable, and not fresh"
        );
    }
    expected
}

/// What an operation does to a value: what is there after it, if it can have ended so.
fn step(operation: Operation<'_>, value: &Value) -> Option<Value> {
    let input = operation.input();
    let pair = input.as_list().map(|pair| (pair[0].clone(), pair[1].clone()));
    match (operation.f(), operation.outcome(), pair) {
        ("get", Outcome::Ok, _) => (operation.output() == *value).then(|| value.clone()),
        ("set", ..) => Some(input),
        ("cas", Outcome::Fail, Some((expected, _))) => {
            let told = operation.current().is_none_or(|current| current == *value);
            (expected != *value && told).then(|| value.clone())
        }
        ("cas", _, Some((expected, new))) => (expected == *value).then_some(new),
        _ => Some(value.clone()),
    }
}

/// Whether some order of the operations that keeps to time gives all results.
fn explained(history: &History) -> bool {
    let counts = |operation: &Operation<'_>| match operation.outcome() {
        Outcome::Ok => true,
        // A failed cas observes; other failures did nothing.
        Outcome::Fail => operation.f() == "cas",
        Outcome::Info => operation.f() != "get",
    };
    let left: Vec<Operation<'_>> = history.operations().filter(counts).collect();
    any_order(&left, &Value::Nil)
}

fn any_order(left: &[Operation<'_>], value: &Value) -> bool {
    if left.iter().all(|operation| operation.outcome() == Outcome::Info) {
        return true;
    }
    (0..left.len()).any(|at| {
        let operation = left[at];
        let in_turn = left.iter().all(|other| !must_precede(*other, operation));
        let rest = || [&left[..at], &left[at + 1..]].concat();
        in_turn && step(operation, value).is_some_and(|next| any_order(&rest(), &next))
    })
}

/// Whether one operation had ended before the other began. What ends in the instant in which another begins may
/// come after it, but for those of one process, which are in order.
fn must_precede(one: Operation<'_>, other: Operation<'_>) -> bool {
    let Some((completed, index)) = one.completed_at().zip(one.completed_index()) else {
        return false;
    };
    let one_process = one.process() == other.process() && index < other.invoked_index();
    one.outcome() != Outcome::Info && (completed < other.invoked_at() || one_process)
}

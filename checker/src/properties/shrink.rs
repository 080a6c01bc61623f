//! Makes a history that a test fails on as small as it gets, ready to be put into the corpus.

use std::panic::{self, AssertUnwindSafe};

use crate::history::{Event, EventKind, Header, History, Nanos, Operation, Outcome, Writer};

/// What a test asks of a history: what it says of it, or what is wrong.
pub(super) type Held<T> = Result<T, String>;

/// Asks, and if something is wrong panics with the smallest history on which something still is.
pub(super) fn hold<T>(history: &History, context: &str, ask: impl Fn(&History) -> Held<T>) -> T {
    let guarded = |history: &History| {
        let asked = panic::catch_unwind(AssertUnwindSafe(|| ask(history)));
        asked.unwrap_or_else(|panicked| {
            let said = panicked.downcast_ref::<String>().cloned();
            let said = said.or_else(|| panicked.downcast_ref::<&str>().map(|said| (*said).to_owned()));
            Err(said.unwrap_or_else(|| "it panicked".to_owned()))
        })
    };
    match guarded(history) {
        Ok(said) => said,
        Err(problem) => {
            let smallest = smallest(history, |history| guarded(history).is_err());
            let still = guarded(&smallest).err().unwrap_or_default();
            panic!(
                "{context}: {problem}\nthe smallest history like it ({still}), for the corpus:\n{}",
                corpus_file(&smallest)
            );
        }
    }
}

/// The smallest history on which something is still wrong: by leaving out operations, forgetting completions, and
/// parting what happened in one instant, until nothing of that can be done any more.
fn smallest(history: &History, wrong: impl Fn(&History) -> bool) -> History {
    let mut smallest = history.clone();
    loop {
        let pieces = pieces(&smallest);
        let header = smallest.header();
        let mut tries: Vec<Vec<Piece>> = Vec::new();
        for at in 0..pieces.len() {
            let mut less = pieces.clone();
            less.remove(at);
            tries.push(less);
        }
        for (at, piece) in pieces.iter().enumerate() {
            if piece.completion.is_some() {
                let mut less = pieces.clone();
                less[at].completion = None;
                tries.push(less);
            }
        }
        let next = tries
            .iter()
            .filter_map(|pieces| assembled(header, pieces, Clock::Kept))
            .chain(assembled(header, &pieces, Clock::Apart).filter(|apart| times(apart) != times(&smallest)))
            .find(|less| wrong(less));
        match next {
            Some(less) => smallest = less,
            None => return smallest,
        }
    }
}

fn times(history: &History) -> Vec<(Nanos, Option<Nanos>)> {
    let times = history
        .operations()
        .map(|op| (op.invoked_at(), op.completed_at()));
    times.collect()
}

/// An operation as its events.
#[derive(Clone)]
struct Piece {
    invocation: Event,
    completion: Option<Event>,
}

/// What becomes of times.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Clock {
    Kept,
    /// Every event has an instant of its own.
    Apart,
}

fn pieces(history: &History) -> Vec<Piece> {
    history.operations().map(piece).collect()
}

fn piece(operation: Operation<'_>) -> Piece {
    let event = |index, time, kind, value| {
        let f = operation.f().to_owned();
        let mut event = Event::new(index, time, operation.process(), kind, f, value);
        event.key = operation.key();
        event
    };
    let mut invocation = event(
        operation.invoked_index(),
        operation.invoked_at(),
        EventKind::Invoke,
        operation.input(),
    );
    invocation.rev = operation.asked_rev();
    let kind = match operation.outcome() {
        Outcome::Ok => EventKind::Ok,
        Outcome::Fail => EventKind::Fail,
        Outcome::Info => EventKind::Info,
    };
    let came = operation.completed_index().zip(operation.completed_at());
    let completion = came.map(|(index, at)| {
        let mut completion = event(index, at, kind, operation.output());
        completion.rev = operation.told_rev();
        completion.current = operation.current();
        completion.error = operation.error().map(str::to_owned);
        completion
    });
    Piece {
        invocation,
        completion,
    }
}

/// The pieces as a history, if they pair: who forgets a completion may leave its process with two operations open.
fn assembled(header: &Header, pieces: &[Piece], clock: Clock) -> Option<History> {
    let mut events: Vec<Event> = pieces.iter().map(|piece| piece.invocation.clone()).collect();
    events.extend(pieces.iter().filter_map(|piece| piece.completion.clone()));
    events.sort_by_key(|event| event.index);
    for (index, event) in events.iter_mut().enumerate() {
        event.index = index as u64;
        if clock == Clock::Apart {
            event.time = Nanos(index as u64);
        }
    }
    History::from_events(header.clone(), events).ok()
}

fn corpus_file(history: &History) -> String {
    let mut writer = Writer::new(Vec::new(), history.header()).expect("memory takes all");
    let mut events: Vec<Event> = Vec::new();
    for piece in pieces(history) {
        events.push(piece.invocation);
        events.extend(piece.completion);
    }
    events.sort_by_key(|event| event.index);
    for event in &events {
        writer.write(event).expect("memory takes all");
    }
    String::from_utf8(writer.into_inner().expect("memory takes all")).expect("JSON is text")
}

#[test]
fn what_fails_is_made_small() {
    let simulation = crate::generate::Simulation {
        seed: 4,
        operations: 30,
        unknown: 0.1,
        ..crate::generate::Simulation::default()
    };
    let history = simulation.history().expect("valid");
    let sets = |history: &History| history.operations().filter(|op| op.f() == "set").count();
    assert!(sets(&history) > 5);
    // Three sets are wrong, if one of them is still open.
    let wrong = |history: &History| {
        let open = history
            .operations()
            .any(|op| op.completed_index().is_none() && op.f() == "set");
        sets(history) >= 3 && open
    };
    let cut = |history: &History| {
        let mut pieces = pieces(history);
        let set = pieces
            .iter_mut()
            .rev()
            .find(|piece| &*piece.invocation.f == "set");
        set.expect("there are some").completion = None;
        let last = pieces
            .iter()
            .rposition(|piece| piece.completion.is_none())
            .expect("one");
        pieces.truncate(last + 1);
        assembled(history.header(), &pieces, Clock::Kept).expect("it pairs")
    };
    let less = smallest(&cut(&history), wrong);
    assert_eq!((less.len(), sets(&less)), (3, 3));
    let told = corpus_file(&less);
    assert_eq!(told.lines().filter(|line| line.contains("\"invoke\"")).count(), 3);
    let again = History::read(told.as_bytes(), None, &crate::ReadOptions::default()).expect("a corpus file");
    assert_eq!(again.len(), 3);
}

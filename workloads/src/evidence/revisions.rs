//! What revisions tell of a store that gives every write its place in one order: whether there was one order, and
//! whether a node that answered was behind or had left something out.
//!
//! The checker judges one key at a time and knows no revisions. For a name to what it found they are worth more than
//! the values: an old answer is only old where the node was behind with everything.

use std::collections::{BTreeMap, HashMap};

use checker::history::{History, Nanos, Operation, Outcome, Value};

/// Writes that are told one revision so long after each other were not racing for it: a store that answers before it
/// is sure may tell what it expects, and find another write there the next moment.
const RACE_NS: u64 = 100_000_000;

/// Two acknowledged writes that were told one revision at different times, although a revision grows with every write.
pub(super) fn given_twice(history: &History) -> Option<(Operation<'_>, Operation<'_>)> {
    let mut told: BTreeMap<i64, Operation<'_>> = BTreeMap::new();
    written(history).find_map(|(revision, write)| {
        let first = *told.entry(revision).or_insert(write);
        let apart = first.completed_at()?.0 + RACE_NS < write.invoked_at().0;
        apart.then_some((first, write))
    })
}

/// A read that shows a key as it was before a write, through a node that had shown later writes of other keys.
#[derive(Debug)]
pub(super) struct LeftOut<'a> {
    /// The read.
    pub(super) read: Operation<'a>,
    /// What it does not show.
    pub(super) write: Operation<'a>,
    /// What the node had shown, and the revision of that.
    pub(super) shown: (Operation<'a>, i64),
}

/// The first read of which revisions tell that its node has left out a write that it must have come by, as far as it
/// was `quiet` between the two: a node that is started again may be behind what it was.
///
/// A store that tells two writes the same revision tells what it expects, and nothing follows from that.
pub(super) fn left_out(history: &History, quiet: impl Fn(Nanos, Nanos) -> bool) -> Option<LeftOut<'_>> {
    let mut made: HashMap<(String, String), i64> = HashMap::new();
    let mut by_key: HashMap<String, BTreeMap<i64, Operation<'_>>> = HashMap::new();
    let mut told: BTreeMap<i64, Operation<'_>> = BTreeMap::new();
    for (revision, write) in written(history) {
        if told.insert(revision, write).is_some() {
            return None;
        }
        let key = key_of(write);
        if let Some(left) = left_behind(write) {
            made.insert((key.clone(), left.to_string()), revision);
        }
        by_key.entry(key).or_default().insert(revision, write);
    }
    let mut reads: HashMap<&str, Vec<(Operation<'_>, String, i64)>> = HashMap::new();
    let answered = history
        .operations()
        .filter(|read| read.f() == "get" && read.outcome() == Outcome::Ok);
    for read in answered {
        let key = key_of(read);
        let seen = read.output();
        let revision = made.get(&(key.clone(), seen.to_string())).or_else(|| {
            let piece = last_piece(seen.as_str()?)?;
            made.get(&(key.clone(), piece))
        });
        if let (Some(revision), Some(node)) = (revision, read.node()) {
            reads.entry(node).or_default().push((read, key, *revision));
        }
    }
    let found = reads.values().filter_map(|reads| {
        let mut done: Vec<&(Operation<'_>, String, i64)> = reads.iter().collect();
        done.sort_by_key(|(read, ..)| read.completed_at());
        let mut done = done.into_iter().peekable();
        let mut shown: Option<(Operation<'_>, i64)> = None;
        // By invocation, as the history has them.
        reads.iter().find_map(|(read, key, revision)| {
            while let Some((earlier, _, at)) =
                done.next_if(|(one, ..)| one.completed_at() < Some(read.invoked_at()))
            {
                if shown.is_none_or(|(_, most)| most < *at) {
                    shown = Some((*earlier, *at));
                }
            }
            let (earlier, most) = shown?;
            let missed = by_key.get(key)?.range(revision + 1..most.max(revision + 1));
            let (_, write) = missed
                .filter(|(_, write)| write.completed_at() < Some(read.invoked_at()))
                .find(|(_, write)| {
                    quiet(
                        write.invoked_at(),
                        read.completed_at().unwrap_or(read.invoked_at()),
                    )
                })?;
            Some(LeftOut {
                read: *read,
                write: *write,
                shown: (earlier, most),
            })
        })
    });
    found.min_by_key(|found| found.read.invoked_at())
}

/// The acknowledged writes that were told a revision, by invocation.
fn written(history: &History) -> impl Iterator<Item = (i64, Operation<'_>)> {
    let told = history
        .operations()
        .filter(|write| write.outcome() == Outcome::Ok);
    told.filter_map(|write| Some((write.told_rev()?, write)))
}

fn key_of(operation: Operation<'_>) -> String {
    operation.key().map_or_else(String::new, |key| key.to_string())
}

/// What a read shows of a write: the value, or what it appended.
fn left_behind(write: Operation<'_>) -> Option<Value> {
    match (write.f(), write.input()) {
        ("set" | "append", value) => Some(value),
        ("cas", Value::List(pair)) => pair.get(1).cloned(),
        _ => None,
    }
}

/// The piece that was appended to a text last, with its comma.
fn last_piece(text: &str) -> Option<String> {
    let (before, _) = text.rsplit_once(',')?;
    let piece = before.rsplit(',').next()?;
    Some(format!("{piece},"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use checker::history::{Event, EventKind, Header, ProcessId};

    /// When, through which node, what, on which key, with what value, and which revision was told.
    type Did = (
        (u64, u64),
        &'static str,
        &'static str,
        &'static str,
        Value,
        Option<i64>,
    );

    fn history(operations: &[Did]) -> History {
        let mut events = Vec::new();
        for (process, ((from, to), node, f, key, value, rev)) in (0..).zip(operations) {
            for (at, kind) in [(from, EventKind::Invoke), (to, EventKind::Ok)] {
                let invoked = kind == EventKind::Invoke;
                let value = if invoked && *f == "get" {
                    Value::Nil
                } else {
                    value.clone()
                };
                let mut event = Event::new(0, Nanos(at * 1_000_000), ProcessId(process), kind, *f, value);
                event.key = Some(Value::from(*key));
                event.node = Some((*node).to_owned());
                event.rev = rev.filter(|_| !invoked);
                events.push(event);
            }
        }
        events.sort_by_key(|event| event.time);
        for (index, event) in (0..).zip(&mut events) {
            event.index = index;
        }
        History::from_events(Header::for_model("kv"), events).expect("a history")
    }

    fn set(from: u64, key: &'static str, value: i64, rev: i64) -> Did {
        ((from, from + 1), "n1", "set", key, Value::Int(value), Some(rev))
    }

    fn get(from: u64, node: &'static str, key: &'static str, value: Value) -> Did {
        ((from, from + 1), node, "get", key, value, None)
    }

    #[track_caller]
    fn is_left_out(operations: &[Did], wanted: Option<(i64, i64)>) {
        let history = history(operations);
        let found = left_out(&history, |_, _| true);
        let found = found.map(|found| (found.write.told_rev().expect("told"), found.shown.1));
        assert_eq!(found, wanted);
    }

    #[test]
    fn a_node_that_shows_what_came_later_has_left_out_what_came_before() {
        let apart = |node, first: Did| {
            let written = [set(0, "k", 4, 1), set(2, "k", 5, 2), set(4, "other", 1, 3), first];
            [&written[..], &[get(20, node, "k", Value::Int(4))]].concat()
        };
        let later = || get(10, "n2", "other", Value::Int(1));
        is_left_out(&apart("n2", later()), Some((2, 3)));
        // Another node may be behind.
        is_left_out(&apart("n3", later()), None);
        // What it had shown before was no later than what it lacks.
        is_left_out(&apart("n2", get(10, "n2", "k", Value::Int(4))), None);
        // What it showed at the same time says nothing.
        is_left_out(&apart("n2", get(20, "n2", "other", Value::Int(1))), None);
        // It may have been started again in between.
        let history = history(&apart("n2", later()));
        assert!(left_out(&history, |from, to| (from.0, to.0) != (2_000_000, 21_000_000)).is_none());
        // Revisions that are told twice are guesses.
        is_left_out(
            &[apart("n2", later()), vec![set(30, "more", 1, 3)]].concat(),
            None,
        );
    }

    #[test]
    fn texts_are_known_by_their_last_piece() {
        let append = |from: u64, piece: &str, rev: i64| -> Did {
            (
                (from, from + 1),
                "n1",
                "append",
                "t",
                Value::from(piece),
                Some(rev),
            )
        };
        let begun = || vec![append(0, "1,", 1), append(2, "2,", 2), set(4, "k", 9, 3)];
        let read = |text: &str| {
            let reads = [
                get(10, "n2", "k", Value::Int(9)),
                get(12, "n2", "t", Value::from(text)),
            ];
            [begun(), reads.to_vec()].concat()
        };
        is_left_out(&read("1,"), Some((2, 3)));
        is_left_out(&read("1,2,"), None);
        is_left_out(&read("x"), None);
    }

    #[test]
    fn a_revision_that_is_given_again_later_was_given_twice() {
        let twice = |operations: &[Did]| {
            let history = history(operations);
            given_twice(&history).map(|(first, second)| (first.invoked_at().0, second.invoked_at().0))
        };
        assert_eq!(twice(&[set(0, "k", 1, 1), set(500, "k", 2, 2)]), None);
        assert_eq!(
            twice(&[set(0, "k", 1, 1), set(500, "other", 2, 1)]),
            Some((0, 500_000_000))
        );
        // Two that race may be told what was expected of one of them.
        assert_eq!(twice(&[set(0, "k", 1, 1), set(90, "other", 2, 1)]), None);
    }
}

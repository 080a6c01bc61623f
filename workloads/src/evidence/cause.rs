//! Which cause a violation points at: what the checker calls it, seen together with what was done to the cluster at
//! the time, and with what the replicas held at the end.
//!
//! The checker asks what became of one value. That a write was lost *to a power failure*, or that an old answer came
//! from a replica that will never catch up, stands in what the runner saw; that there are two logs, each with an
//! entry of its own at one place, stands in what writes of other keys were told.

use checker::history::{History, Nanos, Operation};
use checker::{Analysis, Anomaly, Verdict};
use serde::Serialize;

use super::revisions::{LeftOut, given_twice, left_out};
use super::{Conduct, FaultRecord};
use crate::report::Finding;

/// What is likely to be wrong with the store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Cause {
    /// In a word: `stale-read`, `lost-after-power-failure`, `divergence`, `crash`, ...
    pub class: String,
    /// What that means here, and what was on at the time, for a person.
    pub sentence: String,
}

/// How long after the end of a fault what shows is still put down to it, in nanoseconds: elections and restarts
/// take their time.
const AFTERMATH_NS: u64 = 3_000_000_000;
/// The cause that a run's violation points at; none where there is no violation.
#[must_use]
pub fn cause(
    history: &History,
    analysis: &Analysis,
    conduct: &Conduct,
    findings: &[Finding],
) -> Option<Cause> {
    let diverged = findings.iter().find(|finding| finding.kind == "divergence");
    let Verdict::Illegal(found) = &analysis.verdict else {
        let first = findings.first()?;
        let at = findings.iter().position(|finding| finding.kind == "crash");
        return Some(Cause {
            class: first.kind.clone(),
            sentence: match at {
                Some(_) => format!(
                    "a node stopped by itself, which a store does when it finds what cannot be{}",
                    during(
                        conduct,
                        conduct.load_end_ns.saturating_sub(AFTERMATH_NS),
                        conduct.load_end_ns
                    )
                ),
                None => first.sentence.clone(),
            },
        });
    };
    // From the first answer that counts to the last: what got lost, got lost in between.
    let ends = found.operations.iter().filter(|operation| !operation.weakened);
    let from = ends.filter_map(|operation| operation.completed_at).min();
    let to = found.prefix.last_time;
    let from = from.unwrap_or(to).min(to);
    let on = during(conduct, from.0, to.0);
    let failure = power_failure(conduct, from, to);
    let (class, meaning) = match (found.anomaly, diverged, failure) {
        // Replicas that hold different things explain every answer that fits no single store. What was done twice,
        // or compared badly, made them differ, and says more.
        (Anomaly::Duplicate | Anomaly::NonAtomicCas | Anomaly::Isolation(_), ..) => (None, None),
        (_, Some(diverged), _) => (
            Some("divergence"),
            Some(format!(
                "the replicas hold different things: {}",
                diverged.sentence
            )),
        ),
        (Anomaly::LostWrite | Anomaly::ResurrectedValue | Anomaly::ReadsGoBackwards, _, Some(failure)) => (
            Some("lost-after-power-failure"),
            Some(format!(
                "what had been acknowledged was not on disk: between the two answers came {}",
                told(failure)
            )),
        ),
        // An answer of the one log is old in the light of the other; what only one of them has will be gone. A node
        // that stops by itself has found what cannot be, and no node that is merely behind would. One that was behind
        // lacks everything from some place on; one that lacks only this has left it out.
        (Anomaly::StaleRead | Anomaly::ReadsGoBackwards, ..) => {
            let two = given_twice(history).map(|(first, second)| ("lost-write", two_logs(first, second)));
            let told = two
                .or_else(|| stopped(conduct).map(|how| ("crash", how)))
                .or_else(|| {
                    one_log_left_out(history, conduct).map(|found| ("divergence", not_behind(&found)))
                });
            told.map_or((None, None), |(class, meaning)| (Some(class), Some(meaning)))
        }
        _ => (None, None),
    };
    let class = class.map_or_else(|| name(found.anomaly), str::to_owned);
    let meaning = meaning.unwrap_or_else(|| meaning_of(found.anomaly).to_owned());
    Some(Cause {
        class,
        sentence: format!("{meaning}{on}"),
    })
}

/// A node that ended by itself, besides an old answer; not one that somebody else has killed.
fn stopped(conduct: &Conduct) -> Option<String> {
    let (node, how) = conduct.crashes.iter().find(|(_, how)| !how.contains("SIGKILL"))?;
    Some(format!(
        "an answer was old, and {node} stopped by itself ({how}), which a store does when it finds what cannot be"
    ))
}

/// A read through a node that has left something out, in a store whose replicas go through one log, while nothing was
/// done to any node.
fn one_log_left_out<'a>(history: &'a History, conduct: &Conduct) -> Option<LeftOut<'a>> {
    if conduct.replicas.is_empty() {
        return None;
    }
    left_out(history, |from, to| {
        let over = |fault: &FaultRecord| fault.to_ns.is_some_and(|end| end + AFTERMATH_NS < from.0);
        conduct
            .faults
            .iter()
            .all(|fault| fault.from_ns > to.0 || over(fault))
    })
}

/// What it means that a revision was given twice.
fn two_logs(first: Operation<'_>, second: Operation<'_>) -> String {
    format!(
        "there were two logs, of which one is gone: revision {} was told to {}, and to {}",
        first.told_rev().unwrap_or_default(),
        what(first),
        what(second)
    )
}

/// What it means that a node had shown what came later.
fn not_behind(found: &LeftOut<'_>) -> String {
    let (shown, revision) = found.shown;
    format!(
        "a node has left out a write that it must have come by: {} does not show {}, revision {}, but {} had shown \
         revision {revision} before",
        what(found.read),
        what(found.write),
        found.write.told_rev().unwrap_or_default(),
        what(shown),
    )
}

/// An operation in a few words.
fn what(operation: Operation<'_>) -> String {
    let key = operation
        .key()
        .map_or_else(String::new, |key| format!(" of key {key}"));
    let node = operation
        .node()
        .map_or_else(String::new, |node| format!(" through {node}"));
    format!("the {}{key}{node} at {}", operation.f(), operation.invoked_at())
}

/// The name that results carry.
fn name(anomaly: Anomaly) -> String {
    let name = serde_json::to_value(anomaly).ok();
    name.as_ref()
        .and_then(|name| name.as_str())
        .unwrap_or("no-order")
        .to_owned()
}

/// What a kind of violation says of a store, in plain words.
fn meaning_of(anomaly: Anomaly) -> &'static str {
    match anomaly {
        Anomaly::StaleRead => {
            "a read was answered from an old state: whoever answered did not make sure of being up to date"
        }
        Anomaly::ReadsGoBackwards => {
            "a later read showed an older state: either it was answered from an old state, or what was seen got lost"
        }
        Anomaly::LostWrite => {
            "a write that was acknowledged, or seen, is gone: it was not safe when it was acknowledged, or was overwritten by what came from elsewhere"
        }
        Anomaly::Duplicate => "one request took effect more than once: a repetition was not recognised",
        Anomaly::ResurrectedValue => {
            "what had been deleted or replaced came back: somebody brought in an old state"
        }
        Anomaly::FailedWriteVisible => {
            "a request that was answered with a certain failure took effect: the failure should have been called unknown"
        }
        Anomaly::Divergence => {
            "nodes went through different changes: one of them left some out, or took them in another order"
        }
        Anomaly::PhantomValue => {
            "a value was read that nobody had asked for: something was corrupted or mixed up"
        }
        Anomaly::ReadFromTheFuture => {
            "a value was read before anybody had asked for it: the answer belongs to another question"
        }
        Anomaly::NonAtomicCas => {
            "a compare-and-set compared and wrote at two moments, and something came between"
        }
        Anomaly::WrongCas => {
            "a compare-and-set succeeded on a value that was not there: it compared with an old state"
        }
        Anomaly::WrongMismatch => {
            "a compare-and-set was refused although the value was the expected one: it compared with an old state"
        }
        _ => "no order of the operations explains the answers",
    }
}

/// The power failure that came between two moments.
fn power_failure(conduct: &Conduct, from: Nanos, to: Nanos) -> Option<&FaultRecord> {
    let mut failures = conduct
        .faults
        .iter()
        .filter(|fault| fault.kind == "power-failure" && fault.bit);
    failures.rfind(|fault| fault.to_ns.is_none_or(|end| end >= from.0) && fault.from_ns <= to.0)
}

/// What was on between two moments, or had just been.
fn during(conduct: &Conduct, from: u64, to: u64) -> String {
    let bit = conduct
        .faults
        .iter()
        .filter(|fault| fault.bit && fault.from_ns <= to);
    let (on, over): (Vec<_>, Vec<_>) = bit.partition(|fault| fault.to_ns.is_none_or(|end| end >= from));
    match (&on[..], over.last()) {
        ([], Some(last)) if last.to_ns.is_some_and(|end| from - end <= AFTERMATH_NS) => {
            format!("; just before, there was {}", told(last))
        }
        ([], _) => "; no fault was on at the time".to_owned(),
        (on, _) => {
            let shown = on.iter().rev().take(MOST).rev().map(|fault| told(fault));
            let more = on.len().saturating_sub(MOST);
            let more = if more > 0 {
                format!(" ({more} before that)")
            } else {
                String::new()
            };
            format!(
                "; at the time there was {}{more}",
                shown.collect::<Vec<_>>().join(", then ")
            )
        }
    }
}

/// How many faults are told.
const MOST: usize = 3;

fn told(fault: &FaultRecord) -> String {
    let from = Nanos(fault.from_ns);
    match fault.to_ns {
        Some(to) if to > fault.from_ns => format!("{} from {from} to {}", fault.description, Nanos(to)),
        Some(_) => format!("{} at {from}", fault.description),
        None => format!("{} from {from} on", fault.description),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::ReplicaState;
    use checker::history::{Event, EventKind, Header, History, ProcessId, Value};
    use checker::{CheckOptions, check};

    /// A write of 4, one of 5 until 20 ms, and a read of `seen` from 100 ms on, which nobody contradicts.
    fn history(seen: i64) -> History {
        let ms = 1_000_000;
        let events = [
            (0, 1, EventKind::Invoke, "set", 4),
            (5, 1, EventKind::Ok, "set", 4),
            (10, 1, EventKind::Invoke, "set", 5),
            (20, 1, EventKind::Ok, "set", 5),
            (100, 2, EventKind::Invoke, "get", 0),
            (110, 2, EventKind::Ok, "get", seen),
        ];
        let events = events.into_iter().enumerate();
        let events = events.map(|(index, (at, process, kind, f, value))| {
            let value = if (kind, f) == (EventKind::Invoke, "get") {
                Value::Nil
            } else {
                Value::Int(value)
            };
            Event::new(index as u64, Nanos(at * ms), ProcessId(process), kind, f, value)
        });
        History::from_events(Header::for_model("register"), events.collect()).expect("a history")
    }

    /// The cause in a run that read this.
    fn caused(seen: i64, conduct: &Conduct, findings: &[Finding]) -> Option<Cause> {
        let history = history(seen);
        let analysis = check(&history, &CheckOptions::default()).expect("checked");
        cause(&history, &analysis, conduct, findings)
    }

    fn fault(kind: &str, from_ms: u64, to_ms: u64) -> Conduct {
        let fault = FaultRecord {
            kind: kind.into(),
            description: format!("{kind} of n1"),
            from_ns: from_ms * 1_000_000,
            to_ns: Some(to_ms * 1_000_000),
            applied: true,
            bit: true,
            seen: String::new(),
            healed: true,
            seen_healed: String::new(),
        };
        Conduct {
            faults: vec![fault],
            ..Conduct::default()
        }
    }

    fn finding(kind: &str) -> Finding {
        Finding {
            kind: kind.into(),
            sentence: format!("a {kind} it was"),
        }
    }

    #[track_caller]
    fn is(found: Option<Cause>, class: &str, says: &str) {
        let found = found.expect("a cause");
        assert_eq!(found.class, class, "{}", found.sentence);
        assert!(found.sentence.contains(says), "{says}: {}", found.sentence);
    }

    #[test]
    fn a_write_that_a_power_failure_came_after_was_lost_to_it() {
        let lost = |conduct| caused(4, &conduct, &[]);
        is(
            lost(fault("power-failure", 30, 50)),
            "lost-after-power-failure",
            "power-failure of n1 from 0.030 s",
        );
        // Before the write, after the read, or of another kind, it is no excuse.
        is(
            lost(fault("power-failure", 0, 2)),
            "lost-write",
            "just before, there was power-failure",
        );
        is(
            lost(fault("power-failure", 120, 130)),
            "lost-write",
            "no fault was on",
        );
        is(
            lost(fault("kill", 30, 50)),
            "lost-write",
            "at the time there was kill of n1",
        );
        let mut unbitten = fault("power-failure", 30, 50);
        unbitten.faults[0].bit = false;
        is(lost(unbitten), "lost-write", "no fault was on");
    }

    #[test]
    fn replicas_that_differ_are_the_cause_of_answers_that_fit_no_store() {
        let apart = [finding("crash"), finding("divergence")];
        is(
            caused(4, &Conduct::default(), &apart),
            "divergence",
            "a divergence it was",
        );
        is(
            caused(9, &Conduct::default(), &[]),
            "phantom-value",
            "nobody had asked for",
        );
    }

    #[test]
    fn a_legal_history_has_a_cause_only_where_something_else_went_wrong() {
        assert_eq!(caused(5, &Conduct::default(), &[]), None);
        is(
            caused(5, &Conduct::default(), &[finding("crash")]),
            "crash",
            "stopped by itself",
        );
        is(
            caused(5, &Conduct::default(), &[finding("divergence")]),
            "divergence",
            "a divergence it was",
        );
    }

    /// An old answer, whose new value turns up after all, while writes of another key are told these revisions: one
    /// that ends at 30 ms, one that begins at `again_ms`, one after that.
    fn stale_while(revisions: [i64; 3], again_ms: u64) -> Option<Cause> {
        stale_in(revisions, again_ms, &Conduct::default())
    }

    fn stale_in(revisions: [i64; 3], again_ms: u64, conduct: &Conduct) -> Option<Cause> {
        let ms = 1_000_000;
        let mut events = Vec::new();
        let mut did =
            |process, from: u64, to: u64, (f, key, value): (&'static str, &str, Value), rev: Option<i64>| {
                for (at, kind) in [(from, EventKind::Invoke), (to, EventKind::Ok)] {
                    let value = match (kind, f) {
                        (EventKind::Invoke, "get") => Value::Nil,
                        _ => value.clone(),
                    };
                    let mut event = Event::new(0, Nanos(at * ms), ProcessId(process), kind, f, value);
                    event.key = Some(Value::from(key));
                    event.node = Some("n1".to_owned());
                    event.rev = rev.filter(|_| kind == EventKind::Ok);
                    events.push(event);
                }
            };
        did(1, 0, 1, ("set", "k", Value::Int(4)), Some(1));
        did(1, 2, 3, ("set", "k", Value::Int(5)), Some(2));
        did(1, 40, 41, ("get", "k", Value::Int(4)), None);
        did(1, 42, 43, ("get", "k", Value::Int(5)), None);
        did(2, 32, 33, ("get", "other", Value::Int(1)), None);
        did(2, 20, 30, ("set", "other", Value::Int(1)), Some(revisions[0]));
        did(
            2,
            again_ms,
            again_ms + 1,
            ("set", "other", Value::Int(2)),
            Some(revisions[1]),
        );
        did(
            2,
            again_ms + 2,
            again_ms + 3,
            ("set", "other", Value::Int(3)),
            Some(revisions[2]),
        );
        events.sort_by_key(|event| event.time);
        for (index, event) in events.iter_mut().enumerate() {
            event.index = index as u64;
        }
        let history = History::from_events(Header::for_model("kv"), events).expect("a history");
        let analysis = check(&history, &CheckOptions::default()).expect("checked");
        cause(&history, &analysis, conduct, &[])
    }

    #[test]
    fn a_node_that_answers_with_what_came_later_has_left_something_out() {
        let one_log = |faults: Vec<FaultRecord>| Conduct {
            faults,
            replicas: vec![ReplicaState {
                node: "n1".into(),
                applied: 9,
                hash: "h".into(),
            }],
            ..Conduct::default()
        };
        // The old answer lacks revision 2; through the same node the other key had been read as of revision 7.
        let calm = one_log(Vec::new());
        is(
            stale_in([7, 8, 9], 500, &calm),
            "divergence",
            "the get of key k through n1 at 0.040 s does not show the set of key k through n1 at 0.002 s, revision 2, \
             but the get of key other through n1 at 0.032 s had shown revision 7 before",
        );
        // In a store of many logs, or of which nobody knows, it says nothing; nor does it where nodes were hit.
        is(stale_while([7, 8, 9], 500), "stale-read", "not make sure");
        let hit = one_log(fault("kill", 35, 38).faults);
        is(stale_in([7, 8, 9], 500, &hit), "stale-read", "not make sure");
        let later = one_log(fault("kill", 600, 700).faults);
        is(stale_in([7, 8, 9], 500, &later), "divergence", "has left out");
    }

    #[test]
    fn a_node_that_stops_by_itself_says_more_than_an_old_answer() {
        let crashed = |how: &str| Conduct {
            crashes: vec![("n3".into(), how.into())],
            ..Conduct::default()
        };
        let stale = |conduct| stale_in([7, 8, 9], 500, &conduct);
        is(
            stale(crashed("exit code 255")),
            "crash",
            "n3 stopped by itself (exit code 255)",
        );
        // Whoever was killed has found nothing.
        is(stale(crashed("signal SIGKILL")), "stale-read", "not make sure");
        // What was lost is lost, whatever came of it.
        is(
            stale_in([7, 7, 8], 500, &crashed("exit code 255")),
            "lost-write",
            "two logs",
        );
        is(caused(4, &crashed("exit code 255"), &[]), "lost-write", "gone");
    }

    #[test]
    fn a_revision_that_is_given_twice_tells_of_two_logs() {
        is(stale_while([7, 8, 9], 500), "stale-read", "not make sure");
        is(
            stale_while([7, 7, 8], 500),
            "lost-write",
            "revision 7 was told to the set of key other through n1 at 0.020 s, and to the set of key other through n1 at 0.500 s",
        );
        is(stale_while([7, 8, 7], 500), "lost-write", "two logs");
        // Two that race may be told what was expected of one of them.
        is(stale_while([7, 7, 8], 120), "stale-read", "not make sure");
    }
}

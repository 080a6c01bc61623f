//! Which cause a violation points at: what the checker calls it, seen together with what was done to the cluster at
//! the time, and with what the replicas held at the end.
//!
//! The checker knows the history alone. That a write was lost *to a power failure*, or that an old answer came from
//! a replica that will never catch up, stands in what the runner saw.

use checker::history::Nanos;
use checker::{Analysis, Anomaly, Verdict};
use serde::Serialize;

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
pub fn cause(analysis: &Analysis, conduct: &Conduct, findings: &[Finding]) -> Option<Cause> {
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
        _ => (None, None),
    };
    let class = class.map_or_else(|| name(found.anomaly), str::to_owned);
    let meaning = meaning.unwrap_or_else(|| meaning_of(found.anomaly).to_owned());
    Some(Cause {
        class,
        sentence: format!("{meaning}{on}"),
    })
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
    use checker::history::{Event, EventKind, Header, History, ProcessId, Value};
    use checker::{CheckOptions, check};

    /// A write of 4, one of 5 until 20 ms, and a read of `seen` from 100 ms on, which nobody contradicts.
    fn analysis(seen: i64) -> Analysis {
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
        let history =
            History::from_events(Header::for_model("register"), events.collect()).expect("a history");
        check(&history, &CheckOptions::default()).expect("checked")
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
        let analysis = analysis(4);
        let lost = |conduct| cause(&analysis, &conduct, &[]);
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
            cause(&analysis(4), &Conduct::default(), &apart),
            "divergence",
            "a divergence it was",
        );
        is(
            cause(&analysis(9), &Conduct::default(), &[]),
            "phantom-value",
            "nobody had asked for",
        );
    }

    #[test]
    fn a_legal_history_has_a_cause_only_where_something_else_went_wrong() {
        let legal = analysis(5);
        assert_eq!(cause(&legal, &Conduct::default(), &[]), None);
        is(
            cause(&legal, &Conduct::default(), &[finding("crash")]),
            "crash",
            "stopped by itself",
        );
        is(
            cause(&legal, &Conduct::default(), &[finding("divergence")]),
            "divergence",
            "a divergence it was",
        );
    }
}

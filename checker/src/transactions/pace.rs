//! How far the passes over transactions may go.
//!
//! Every pass is linear in what it goes through, or nearly so; but histories are as long as anybody likes. So passes
//! count what they go through, and look at the clock now and then. What a pass had found when it was stopped is as
//! certain as ever; that there is nothing else is not.

use std::time::Instant;

/// What limits passes, and a graph while it is made.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Bounds {
    pub(super) deadline: Option<Instant>,
    /// The most bytes that may be held.
    pub(super) memory: Option<u64>,
}

/// Why something was not done to the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stopped {
    Time,
    Memory,
}

/// Counts what was gone through.
#[derive(Debug)]
pub(super) struct Pace {
    bounds: Bounds,
    since: usize,
    /// After so many looks at the clock there is no more time, for tests.
    looks: u64,
    stopped: Option<Stopped>,
}

/// The clock is looked at once in so many things gone through; in tests, whose histories are small, more often.
const PER_LOOK: usize = if cfg!(test) { 64 } else { 1 << 14 };

impl Bounds {
    /// Whether the time is over.
    pub(super) fn is_late(&self) -> bool {
        self.deadline.is_some_and(|deadline| Instant::now() >= deadline)
    }
}

impl Pace {
    pub(super) fn new(bounds: Bounds) -> Pace {
        let mut pace = Pace {
            bounds,
            since: 0,
            looks: u64::MAX,
            stopped: None,
        };
        pace.look();
        pace
    }

    /// Stops after so many looks.
    #[cfg(test)]
    pub(super) fn of_looks(looks: u64) -> Pace {
        Pace {
            looks,
            ..Pace::new(Bounds::default())
        }
    }

    /// So much more was gone through. Says whether to go on.
    pub(super) fn goes_on(&mut self, through: usize) -> bool {
        self.since = self.since.saturating_add(through);
        if self.since >= PER_LOOK {
            self.since = 0;
            self.look();
        }
        self.stopped.is_none()
    }

    /// So many bytes are held. Says whether to go on.
    pub(super) fn holds(&mut self, bytes: u64) -> bool {
        if self.bounds.memory.is_some_and(|most| bytes > most) {
            self.stopped = self.stopped.or(Some(Stopped::Memory));
        }
        self.stopped.is_none()
    }

    /// Why passes were stopped, if they were.
    pub(super) fn stopped(&self) -> Option<Stopped> {
        self.stopped
    }

    pub(super) fn bounds(&self) -> Bounds {
        self.bounds
    }

    fn look(&mut self) {
        self.looks = self.looks.saturating_sub(1);
        if self.looks == 0 || self.bounds.is_late() {
            self.stopped = self.stopped.or(Some(Stopped::Time));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write;
    use std::time::Duration;

    use super::super::simulate::{Store, TransactionSimulation, Workload};
    use super::super::{
        TransactionAnalysis, TransactionOptions, bank, check, lists, long_fork, monotonic, registers, watch,
    };
    use super::*;
    use crate::history::{History, HistoryError};
    use crate::options::ModelName;
    use crate::read::ReadOptions;
    use crate::verdict::Validity;

    type Judge =
        fn(&History, &TransactionOptions, Instant, &mut Pace) -> Result<TransactionAnalysis, HistoryError>;

    fn judge_of(model: ModelName) -> Judge {
        match model {
            ModelName::ListAppend => lists,
            ModelName::RwRegister => registers,
            ModelName::Bank => bank::paced,
            ModelName::LongFork => long_fork::paced,
            ModelName::Watch => watch::paced,
            ModelName::Monotonic => monotonic::paced,
            other => panic!("{other} is none of transactions"),
        }
    }

    /// Operations one after the other: function and key as JSON fields, what was asked, and what came back.
    fn one_by_one(model: ModelName, operations: impl Iterator<Item = (String, String, String)>) -> History {
        let mut text = format!("{{\"ordeal\":1,\"model\":\"{model}\"}}\n");
        for (at, (fields, asked, told)) in operations.enumerate() {
            for (index, kind, value) in [(2 * at, "invoke", asked), (2 * at + 1, "ok", told)] {
                let _ = writeln!(
                    text,
                    r#"{{"index":{index},"time":{index},"process":0,"type":"{kind}",{fields},"value":{value}}}"#
                );
            }
        }
        History::read(text.as_bytes(), None, &ReadOptions::default()).expect("a history")
    }

    /// Legal histories of every model that take many looks, and two that are illegal.
    fn histories() -> Vec<(ModelName, History)> {
        let simulated = |workload, store| {
            TransactionSimulation {
                transactions: 400,
                processes: 40,
                workload,
                store,
                ..TransactionSimulation::default()
            }
            .run()
        };
        let triple = |fields: String, asked: &str, told: String| (fields, asked.to_owned(), told);
        let reads = (0..300).map(|_| triple(r#""f":"read""#.into(), "null", r#"{"0":4,"1":6}"#.into()));
        let groups = (0..300).map(|at| match at % 2 {
            0 => triple(
                r#""f":"txn""#.into(),
                &format!(r#"[["w",{at},1]]"#),
                format!(r#"[["w",{at},1]]"#),
            ),
            _ => {
                let asked = format!(r#"[["r",{},null],["r",{at},null]]"#, at - 1);
                let told = format!(r#"[["r",{},1],["r",{at},null]]"#, at - 1);
                triple(r#""f":"txn""#.into(), &asked, told)
            }
        });
        let changes = (0..100).map(|at| {
            // The revision comes with the answer.
            let told = format!(r#"{at},"rev":{}"#, at + 1);
            triple(r#""f":"set","key":"k""#.into(), &at.to_string(), told)
        });
        let told: Vec<String> = (0..100).map(|at| format!(r#"[{},"k",{at}]"#, at + 1)).collect();
        let watches = (0..3).map(|_| {
            let told = format!("[{}]", told.join(","));
            triple(r#""f":"watch""#.into(), r#"{"from":0}"#, told)
        });
        let numbers = (0..300).map(|at| match at % 2 {
            0 => triple(r#""f":"inc","key":"k""#.into(), "null", (at / 2 + 1).to_string()),
            _ => triple(r#""f":"read","key":"k""#.into(), "null", (at / 2 + 1).to_string()),
        });
        vec![
            (
                ModelName::ListAppend,
                simulated(Workload::ListAppend, Store::StrictSerializable),
            ),
            (
                ModelName::ListAppend,
                simulated(Workload::ListAppend, Store::LostUpdates),
            ),
            (
                ModelName::RwRegister,
                simulated(Workload::RwRegister, Store::StrictSerializable),
            ),
            (
                ModelName::RwRegister,
                simulated(Workload::RwRegister, Store::LostUpdates),
            ),
            (ModelName::Bank, one_by_one(ModelName::Bank, reads)),
            (ModelName::LongFork, one_by_one(ModelName::LongFork, groups)),
            (
                ModelName::Watch,
                one_by_one(ModelName::Watch, changes.chain(watches)),
            ),
            (ModelName::Monotonic, one_by_one(ModelName::Monotonic, numbers)),
        ]
    }

    #[test]
    fn whatever_pass_is_stopped_nobody_says_that_all_is_well() {
        for (model, history) in histories() {
            let options = TransactionOptions::default();
            let judge = |looks| {
                let mut pace = Pace::of_looks(looks);
                let judged = judge_of(model)(&history, &options, Instant::now(), &mut pace);
                (judged.expect("transactions"), pace.stopped())
            };
            let (whole, stopped) = judge(u64::MAX);
            assert_eq!(stopped, None, "{model}");
            assert_ne!(whole.valid, Validity::Unknown, "{model}: {:?}", whole.unknown);
            let mut looks = 1;
            loop {
                let (found, stopped) = judge(looks);
                if stopped.is_none() {
                    assert_eq!(found.valid, whole.valid, "{model} after {looks} looks");
                    break;
                }
                assert_ne!(found.valid, Validity::True, "{model} after {looks} looks");
                assert!(
                    found.valid == Validity::Unknown || whole.valid == Validity::False,
                    "{model} after {looks} looks: {:?}",
                    found.sentence
                );
                if let Some(why) = &found.unknown {
                    assert!(why.contains("gone through: allow more"), "{model}: {why}");
                }
                looks += 1;
            }
            assert!(looks > 4, "{model}: {looks} looks are few for so much");
        }
    }

    #[test]
    fn no_time_and_no_room_are_unknown_and_say_so() {
        for (model, history) in histories() {
            let late = TransactionOptions {
                time_limit: Some(Duration::ZERO),
                ..TransactionOptions::default()
            };
            let found = check(&history, model, &late).expect("transactions");
            assert_eq!(found.valid, Validity::Unknown, "{model}");
            let why = found.unknown.unwrap_or_default();
            assert!(why.starts_with("the 0 s allowed were over"), "{model}: {why}");
        }
    }

    /// Where very many run at once the order of time is of very many pairs: they are bounded while they are made.
    #[test]
    fn pairs_in_the_order_of_time_are_bounded() {
        let mut text = String::from("{\"ordeal\":1,\"model\":\"rw-register\"}\n");
        let mut index = 0;
        // Twice as many at once, of one key: everybody of the first half has ended before the second begins.
        for (half, count) in [(0, 1000), (1, 1000)] {
            for kind in ["invoke", "ok"] {
                for process in 0..count {
                    let value = half * count + process + 1;
                    let _ = writeln!(
                        text,
                        r#"{{"index":{index},"time":{index},"process":{process},"type":"{kind}","f":"txn","value":[["w","x",{value}]]}}"#
                    );
                    index += 1;
                }
            }
        }
        let history = History::read(text.as_bytes(), None, &ReadOptions::default()).expect("a history");
        // The million pairs of the two halves take some 50 MB.
        let little = TransactionOptions {
            memory_limit: Some(4 << 20),
            ..TransactionOptions::default()
        };
        let found = check(&history, ModelName::RwRegister, &little).expect("transactions");
        assert_eq!(found.valid, Validity::Unknown);
        let why = found.unknown.unwrap_or_default();
        assert_eq!(
            why,
            "what 2000 operations say takes more than the 4 MB allowed: allow more (--memory-limit), or judge a part \
             (checker cut)"
        );
    }
}

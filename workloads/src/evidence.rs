//! Was the run evidence at all? A green run that tested nothing is worse than none.
//!
//! A run that did too little is Unknown, never valid: fewer `ok` operations than the plan's minimum for an
//! operation or in a phase, a planned fault that was not seen to bite or was not healed, no `ok` operation
//! after the final heal.

use std::collections::BTreeMap;

use serde::Serialize;

/// The least that a phase must have done to count.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Minimum {
    /// The phase, as it is called in messages.
    pub phase: &'static str,
    /// The operation.
    pub f: &'static str,
    /// How many `ok` (a definite mismatch counts too).
    pub ok: u64,
}

/// One fault as it went.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FaultRecord {
    /// What kind it is: `partition`, `kill`, ...
    pub kind: String,
    /// What was done, in words.
    pub description: String,
    /// When it was applied, in nanoseconds on the run's clock.
    pub from_ns: u64,
    /// When it was undone; none where it never was.
    pub to_ns: Option<u64>,
    /// Whether a probe saw it bite.
    pub bit: bool,
    /// What the probes saw when it was on.
    pub seen: String,
    /// Whether a probe saw everything well again after the undo.
    pub healed: bool,
    /// What the probes saw after the undo.
    pub seen_healed: String,
}

/// What a run did, as far as evidence goes.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Conduct {
    /// `ok` and mismatch counts by phase and operation.
    pub done: BTreeMap<(String, String), u64>,
    /// Kinds of faults that the plan holds.
    pub planned: Vec<String>,
    /// The faults as they went.
    pub faults: Vec<FaultRecord>,
    /// The run was ended before its time limit, by a person or by an error.
    pub cut_short: Option<String>,
    /// Nodes that could not serve after the final heal.
    pub not_ready: Vec<String>,
    /// Final reads that never got an answer.
    pub unread: u64,
}

/// Why the run is no evidence, one line a reason; empty where it is.
#[must_use]
pub fn doubts(conduct: &Conduct, minimums: &[Minimum]) -> Vec<String> {
    let mut doubts = Vec::new();
    if let Some(why) = &conduct.cut_short {
        doubts.push(format!("the run was cut short: {why}"));
    }
    for minimum in minimums {
        let key = (minimum.phase.to_owned(), minimum.f.to_owned());
        let done = conduct.done.get(&key).copied().unwrap_or(0);
        if done < minimum.ok {
            doubts.push(format!(
                "too few {} operations in the {} phase: {done} were ok, the plan wants at least {}",
                minimum.f, minimum.phase, minimum.ok
            ));
        }
    }
    if conduct.cut_short.is_none() {
        for kind in &conduct.planned {
            if !conduct
                .faults
                .iter()
                .any(|fault| fault.kind == *kind && fault.bit)
            {
                doubts.push(format!("no {kind} was seen to bite, though the plan has some"));
            }
        }
    }
    for fault in &conduct.faults {
        if !fault.bit {
            doubts.push(format!("{} did not bite: {}", fault.description, fault.seen));
        }
        if !fault.healed {
            doubts.push(format!(
                "{} was not healed: {}",
                fault.description, fault.seen_healed
            ));
        }
    }
    if !conduct.not_ready.is_empty() {
        doubts.push(format!(
            "not ready again after the final heal: {}",
            conduct.not_ready.join(", ")
        ));
    }
    if conduct.unread > 0 {
        doubts.push(format!("{} final reads got no answer", conduct.unread));
    }
    doubts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good() -> (Conduct, Vec<Minimum>) {
        let fault = FaultRecord {
            kind: "partition".into(),
            description: "partition n1 | n2, n3".into(),
            from_ns: 1,
            to_ns: Some(2),
            bit: true,
            seen: "n1 cannot reach n2".into(),
            healed: true,
            seen_healed: "all reach all".into(),
        };
        let conduct = Conduct {
            done: BTreeMap::from([(("load".into(), "get".into()), 10)]),
            planned: vec!["partition".into()],
            faults: vec![fault],
            ..Conduct::default()
        };
        (
            conduct,
            vec![Minimum {
                phase: "load",
                f: "get",
                ok: 10,
            }],
        )
    }

    #[test]
    fn a_run_that_did_what_it_planned_leaves_no_doubt() {
        let (conduct, minimums) = good();
        assert_eq!(doubts(&conduct, &minimums), Vec::<String>::new());
    }

    #[test]
    fn each_thing_that_did_not_happen_is_a_doubt() {
        type Spoil = fn(&mut Conduct);
        let cases: [(Spoil, &str); 8] = [
            (|c| c.done.clear(), "too few get operations in the load phase: 0"),
            (
                |c| c.done.values_mut().for_each(|n| *n = 9),
                "9 were ok, the plan wants at least 10",
            ),
            (|c| c.planned.push("kill".into()), "no kill was seen to bite"),
            (|c| c.faults[0].bit = false, "did not bite: n1 cannot reach n2"),
            (|c| c.faults[0].healed = false, "was not healed: all reach all"),
            (|c| c.cut_short = Some("Ctrl-C".into()), "cut short: Ctrl-C"),
            (
                |c| c.not_ready.push("n3".into()),
                "not ready again after the final heal: n3",
            ),
            (|c| c.unread = 2, "2 final reads"),
        ];
        for (spoil, expected) in cases {
            let (mut conduct, minimums) = good();
            spoil(&mut conduct);
            let doubts = doubts(&conduct, &minimums);
            assert!(
                doubts.iter().any(|doubt| doubt.contains(expected)),
                "{expected}: {doubts:?}"
            );
        }
    }
}

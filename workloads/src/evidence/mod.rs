//! Was the run evidence at all? A green run that tested nothing is worse than none.
//!
//! Everything here is computed from the history alone, so that a run can be judged again later, and a run
//! that was killed half-way can be judged at all: the runner writes down, as events of the nemesis, what it
//! is about to do to the cluster, what the probes saw, and where its phases begin and end.
//!
//! A run that did too little is Unknown, never valid: fewer `ok` operations than the plan's minimum for an
//! operation or in a phase, a planned fault that was not seen to bite or was not healed, no `ok` operation
//! after the final heal.

mod cause;
mod conduct;
mod reach;
mod revisions;

pub use cause::{Cause, cause};
pub(crate) use conduct::Note;
pub use conduct::{Conduct, FaultRecord, Role, Standing};
pub use reach::{Availability, Reach};

use serde::{Deserialize, Serialize};

/// The phase in which faults strike.
pub const LOAD: &str = "load";
/// The phase after the final heal.
pub const FINAL: &str = "final";

/// What a run has to do to count; in the header of its history as `plan`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// Families of faults, each of which must be seen to bite.
    pub faults: Vec<String>,
    /// The least of each operation in each phase.
    pub minimum: Vec<Minimum>,
}

/// The least that a phase must have done to count.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Minimum {
    /// The phase, as it is called in messages.
    pub phase: String,
    /// The operation.
    pub f: String,
    /// How many `ok` (a definite mismatch counts too).
    pub ok: u64,
}

/// Why the run is no evidence, one line a reason; empty where it is.
#[must_use]
pub fn doubts(conduct: &Conduct, plan: &Plan) -> Vec<String> {
    let mut doubts = Vec::new();
    if let Some(why) = &conduct.cut_short {
        doubts.push(format!("the run was cut short: {why}"));
    }
    for minimum in &plan.minimum {
        let done = conduct
            .done
            .get(&minimum.phase)
            .and_then(|by_f| by_f.get(&minimum.f))
            .copied()
            .unwrap_or(0);
        if done < minimum.ok {
            doubts.push(format!(
                "too few {} operations in the {} phase: {done} were ok, the plan wants at least {}{}",
                minimum.f,
                minimum.phase,
                minimum.ok,
                excuse(conduct, &minimum.f)
            ));
        }
    }
    // A run that was cut short may not have come to all of its faults; that it was cut short is said already.
    if conduct.cut_short.is_none() {
        for kind in &plan.faults {
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
        // One that found nobody to strike is missed only where no other of its family struck.
        let made_up_for = |other: &FaultRecord| other.kind == fault.kind && other.bit;
        if !fault.bit && (fault.applied || !conduct.faults.iter().any(made_up_for)) {
            doubts.push(format!("{} did not bite: {}", fault.description, fault.seen));
        }
        if !fault.healed {
            let seen = if fault.seen_healed.is_empty() {
                "nobody looked"
            } else {
                &fault.seen_healed
            };
            doubts.push(format!("{} was not healed: {seen}", fault.description));
        }
    }
    for what in &conduct.not_ready {
        doubts.push(format!("not well after the final heal: {what}"));
    }
    if conduct.unread > 0 {
        doubts.push(format!("{} final reads got no answer", conduct.unread));
    }
    doubts
}

/// What most of those operations said that came to nothing, and who knows more.
fn excuse(conduct: &Conduct, f: &str) -> String {
    conduct.excuses.get(f).map_or_else(String::new, |(error, count)| {
        format!("; {count} said: {error} (`workloads doctor` tells whether the system file reads its store rightly)")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn good() -> (Conduct, Plan) {
        let fault = FaultRecord {
            kind: "partition".into(),
            description: "partition n1 | n2, n3".into(),
            from_ns: 1,
            to_ns: Some(2),
            applied: true,
            bit: true,
            seen: "n1 cannot reach n2".into(),
            healed: true,
            seen_healed: "all reach all".into(),
        };
        let done = BTreeMap::from([(LOAD.to_owned(), BTreeMap::from([("get".to_owned(), 10)]))]);
        let conduct = Conduct {
            done,
            faults: vec![fault],
            ..Conduct::default()
        };
        let minimum = vec![Minimum {
            phase: LOAD.into(),
            f: "get".into(),
            ok: 10,
        }];
        (
            conduct,
            Plan {
                faults: vec!["partition".into()],
                minimum,
            },
        )
    }

    #[test]
    fn a_run_that_did_what_it_planned_leaves_no_doubt() {
        let (conduct, plan) = good();
        assert_eq!(doubts(&conduct, &plan), Vec::<String>::new());
    }

    #[test]
    fn a_fault_that_found_nobody_to_strike_is_missed_only_where_none_of_its_family_struck() {
        let (mut conduct, plan) = good();
        let mut refused = conduct.faults[0].clone();
        (refused.applied, refused.bit, refused.seen) = (false, false, "nobody leads".into());
        conduct.faults.push(refused);
        assert_eq!(doubts(&conduct, &plan), Vec::<String>::new());
        conduct.faults[1].applied = true;
        let said = doubts(&conduct, &plan);
        assert!(said[0].contains("did not bite: nobody leads"), "{said:?}");
        conduct.faults.remove(0);
        conduct.faults[0].applied = false;
        assert_eq!(doubts(&conduct, &plan).len(), 2, "no partition at all");
    }

    #[test]
    fn each_thing_that_did_not_happen_is_a_doubt() {
        type Spoil = fn(&mut Conduct, &mut Plan);
        let cases: [(Spoil, &str); 8] = [
            (
                |c, _| c.done.clear(),
                "too few get operations in the load phase: 0",
            ),
            (
                |_, p| p.minimum[0].ok = 11,
                "10 were ok, the plan wants at least 11",
            ),
            (|_, p| p.faults.push("kill".into()), "no kill was seen to bite"),
            (|c, _| c.faults[0].bit = false, "did not bite: n1 cannot reach n2"),
            (|c, _| c.faults[0].healed = false, "was not healed: all reach all"),
            (|c, _| c.cut_short = Some("Ctrl-C".into()), "cut short: Ctrl-C"),
            (
                |c, _| c.not_ready.push("n3 is dead".into()),
                "after the final heal: n3 is dead",
            ),
            (|c, _| c.unread = 2, "2 final reads"),
        ];
        for (spoil, expected) in cases {
            let (mut conduct, mut plan) = good();
            spoil(&mut conduct, &mut plan);
            let doubts = doubts(&conduct, &plan);
            assert!(
                doubts.iter().any(|doubt| doubt.contains(expected)),
                "{expected}: {doubts:?}"
            );
        }
    }
}

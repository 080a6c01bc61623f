//! When which fault strikes: a pure function of the settings.

use std::time::Duration;

use anyhow::{Context, Result};
use nemesis::plan::{Plan, PlanOptions};
use nemesis::{Fault, Span};

/// Draws the plan of faults for a load of length `load`.
///
/// Faults last from a few elections to longer than a client waits for an answer, and the cluster is left alone
/// in between for just long enough to serve again: short faults find more in the same time than long ones, since
/// what breaks breaks at their beginning and their end. Long runs have longer ones as well, for stores whose
/// elections take seconds.
///
/// # Errors
/// When the load is too short for any fault.
pub(super) fn draw(families: &[Vec<Fault>], at_once: usize, load: Duration, seed: u64) -> Result<Plan> {
    if families.is_empty() {
        return Ok(Plan::calm(seed, load));
    }
    let part = |share: u32, least_ms: u64, most_ms: u64| {
        Span((load / share).clamp(Duration::from_millis(least_ms), Duration::from_millis(most_ms)))
    };
    let options = PlanOptions {
        families: families.to_vec(),
        length: Span(load),
        first: part(30, 300, 2_000),
        lasting: (part(60, 400, 2_000), part(14, 900, 6_000)),
        recovery: (part(150, 200, 1_000), part(50, 400, 3_000)),
        calm: part(15, 500, 3_000),
        at_once,
    };
    Plan::make(seed, &options)
        .with_context(|| format!("a load of {load:?} is too short for faults; give --time-limit more"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use nemesis::plan::faults_named;

    #[test]
    fn a_default_run_has_several_faults_of_each_kind() {
        let faults = ["partition", "kill"].map(|name| faults_named(name).expect("known"));
        for seed in 0..50 {
            let plan = draw(&faults, 1, Duration::from_secs(30), seed).expect("long enough");
            assert!(plan.steps.len() >= 13, "seed {seed}: {} faults", plan.steps.len());
            assert!(plan.calm_from().0 <= Duration::from_secs(28), "seed {seed}");
        }
        for seconds in [5, 10] {
            let plan = draw(&faults, 1, Duration::from_secs(seconds), 1).expect("long enough");
            assert!(plan.steps.len() >= 2, "{seconds} s: {} faults", plan.steps.len());
        }
        assert!(draw(&faults, 1, Duration::from_millis(500), 1).is_err());
        assert!(
            draw(&[], 1, Duration::from_millis(500), 1)
                .expect("calm")
                .steps
                .is_empty()
        );
    }
}

//! When which fault strikes: a pure function of a seed.
//!
//! A plan is a list of steps: at this time this fault, for so long, and after it
//! so much time to recover. It says *whom* only by target ("the leader", "a
//! minority"); the nemesis resolves that when the step is due, again by seed.
//! Every plan ends with a calm stretch in which nothing is wrong.

mod catalogue;

use std::fmt;
use std::time::Duration;

use rand::rngs::ChaCha8Rng;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use serde::{Deserialize, Serialize};

use crate::backend::Unsupported;
use crate::duration::Span;
use crate::fault::{Ability, Fault};

pub use catalogue::{FAULT_NAMES, PRESETS, Preset, faults_named};

/// One step of a plan.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// When, from the beginning of the run.
    pub at: Span,
    /// What, and whom.
    pub fault: Fault,
    /// How long until it is undone. Zero for faults that strike once.
    pub lasting: Span,
    /// How long after that its place stays empty.
    pub recovery: Span,
}

/// A schedule of faults.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// The seed that it was made from.
    pub seed: u64,
    /// Length of the whole run. Nothing is in force from the end of the last
    /// step until then.
    pub length: Span,
    /// The steps, in the order of their time.
    pub steps: Vec<Step>,
}

/// What a plan is to be like.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlanOptions {
    /// The faults to choose from, by family: `kill` is one, however many ways to kill it has. Each family has its
    /// turn before any comes again, and so has each fault of a family.
    pub families: Vec<Vec<Fault>>,
    /// Length of the whole run.
    pub length: Span,
    /// Quiet time at the beginning.
    pub first: Span,
    /// Shortest and longest time that a fault is in force.
    pub lasting: (Span, Span),
    /// Shortest and longest time to recover after a fault.
    pub recovery: (Span, Span),
    /// Calm at the end.
    pub calm: Span,
    /// Most faults in force at once.
    pub at_once: usize,
}

impl PlanOptions {
    /// Times that fit a run of this length: faults of a sixth to a quarter of it
    /// but not over 15 s, with half of that to recover, and the last sixth calm.
    pub fn for_length(length: Duration, families: Vec<Vec<Fault>>) -> PlanOptions {
        let part = |share: u32, most_ms: u64| Span((length / share).min(Duration::from_millis(most_ms)));
        PlanOptions {
            families,
            length: Span(length),
            first: part(15, 5_000),
            lasting: (part(10, 5_000), part(5, 15_000)),
            recovery: (part(20, 3_000), part(10, 8_000)),
            calm: part(6, 10_000),
            at_once: 1,
        }
    }
}

/// Why there is no such plan.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// Nothing to choose from, or no room for anything.
    #[error("{0}")]
    Empty(String),
    /// A range that ends before it begins.
    #[error("{what} is from {from} to {to}: the second must not be shorter")]
    Range {
        /// Which.
        what: &'static str,
        /// Its beginning.
        from: Span,
        /// Its end.
        to: Span,
    },
    /// A plan from a file contradicts itself.
    #[error("step {step} of the plan: {message}")]
    Step {
        /// Which, counted from 1.
        step: usize,
        /// What is wrong.
        message: String,
    },
    /// The text is no plan.
    #[error("plan, line {line}: {message}")]
    Malformed {
        /// Where.
        line: usize,
        /// What is wrong.
        message: String,
    },
}

impl Plan {
    /// A plan without a fault.
    pub fn calm(seed: u64, length: Duration) -> Plan {
        Plan {
            seed,
            length: Span(length),
            steps: Vec::new(),
        }
    }

    /// Makes the plan of this seed.
    ///
    /// # Errors
    /// If there is no fault to choose from, or no room for one.
    pub fn make(seed: u64, options: &PlanOptions) -> Result<Plan, PlanError> {
        options.check()?;
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let end = options.length.0.saturating_sub(options.calm.0);
        let mut families: Vec<Deck<&Fault>> = options.families.iter().map(Deck::new).collect();
        let mut turns = Deck::new(0..families.len());
        let mut steps: Vec<Step> = Vec::new();
        // When each of the places for a fault is free again.
        let mut free = vec![options.first.0; options.at_once];
        for place in free.iter_mut().skip(1) {
            *place += between(options.recovery, &mut rng);
        }
        loop {
            let place = (0..free.len())
                .min_by_key(|place| free[*place])
                .expect("at least one place");
            let fault = families[turns.deal(&mut rng)].deal(&mut rng).clone();
            let momentary = fault.is_momentary() && rolling_gap(&fault).is_none();
            let lasting = if momentary {
                Duration::ZERO
            } else {
                between(options.lasting, &mut rng)
            };
            let recovery = between(options.recovery, &mut rng);
            let at = free[place];
            if at + lasting > end {
                break;
            }
            free[place] = at + lasting + recovery;
            steps.push(Step {
                at: Span(at),
                fault,
                lasting: Span(lasting),
                recovery: Span(recovery),
            });
        }
        if steps.is_empty() {
            let message = format!(
                "no fault fits into a run of {}: it takes {} of quiet, {} of fault and {} of calm",
                options.length, options.first, options.lasting.0, options.calm
            );
            return Err(PlanError::Empty(message));
        }
        steps.sort_by_key(|step| step.at);
        Ok(Plan {
            seed,
            length: options.length,
            steps,
        })
    }

    /// What is to be done, in order: steps begin and end. At the same instant
    /// ends come first.
    pub fn events(&self) -> Vec<(Span, PlanEvent)> {
        let mut events = Vec::new();
        for (number, step) in self.steps.iter().enumerate() {
            events.push((step.at, PlanEvent::Begin(number)));
            if step.lasting.0 > Duration::ZERO {
                events.push((Span(step.at.0 + step.lasting.0), PlanEvent::End(number)));
            }
        }
        events.sort();
        events
    }

    /// When the last fault ends and the calm begins.
    pub fn calm_from(&self) -> Span {
        Span(
            self.steps
                .iter()
                .map(|step| step.at.0 + step.lasting.0)
                .max()
                .unwrap_or(Duration::ZERO),
        )
    }

    /// What this plan wants that cannot be done, all of it at once.
    pub fn unsupported(
        &self,
        can: impl Fn(Ability) -> Result<(), Unsupported>,
    ) -> Vec<(Ability, Unsupported)> {
        let mut needs: Vec<Ability> = self.steps.iter().map(|step| step.fault.needs()).collect();
        needs.sort();
        needs.dedup();
        needs
            .into_iter()
            .filter_map(|ability| can(ability).err().map(|why| (ability, why)))
            .collect()
    }

    /// The plan as JSON, a step a line, to be replayed by [`Plan::from_json`].
    pub fn to_json(&self) -> String {
        let steps: Vec<String> = self
            .steps
            .iter()
            .map(|step| format!("  {}", serde_json::to_string(step).expect("plain data")))
            .collect();
        let steps = if steps.is_empty() {
            "[]".to_owned()
        } else {
            format!("[\n{}\n]", steps.join(",\n"))
        };
        format!(
            "{{\"seed\":{},\"length\":\"{}\",\"steps\":{steps}}}\n",
            self.seed, self.length
        )
    }

    /// Reads a plan back.
    ///
    /// # Errors
    /// If the text is none, or its steps are not in order or outlast the run.
    pub fn from_json(text: &str) -> Result<Plan, PlanError> {
        let plan: Plan = serde_json::from_str(text).map_err(|error| PlanError::Malformed {
            line: error.line(),
            message: error.to_string(),
        })?;
        for (k, step) in plan.steps.iter().enumerate() {
            let wrong = |message: &str| {
                Err(PlanError::Step {
                    step: k + 1,
                    message: message.to_owned(),
                })
            };
            if k > 0 && step.at < plan.steps[k - 1].at {
                return wrong("it begins before the step before it");
            }
            if step.at.0.saturating_add(step.lasting.0) > plan.length.0 {
                return wrong("it ends after the run");
            }
        }
        Ok(plan)
    }
}

/// Things dealt like cards: in random order, each once before any comes again.
struct Deck<T> {
    all: Vec<T>,
    left: Vec<T>,
}

impl<T: Copy> Deck<T> {
    fn new(all: impl IntoIterator<Item = T>) -> Deck<T> {
        Deck {
            all: all.into_iter().collect(),
            left: Vec::new(),
        }
    }

    fn deal(&mut self, rng: &mut ChaCha8Rng) -> T {
        if self.left.is_empty() {
            self.left.clone_from(&self.all);
            self.left.shuffle(rng);
        }
        self.left.pop().expect("nobody asks an empty deck")
    }
}

/// Something that a plan wants done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PlanEvent {
    /// The fault of this step is to be undone.
    End(usize),
    /// The fault of this step (counted from 0) is to be applied.
    Begin(usize),
}

impl PlanOptions {
    fn check(&self) -> Result<(), PlanError> {
        if self.families.is_empty() || self.families.iter().any(Vec::is_empty) || self.at_once == 0 {
            return Err(PlanError::Empty(
                "a plan needs at least one fault, also of each family, and one at once".to_owned(),
            ));
        }
        for (what, (from, to)) in [
            ("the time of a fault", self.lasting),
            ("the time to recover", self.recovery),
        ] {
            if from > to {
                return Err(PlanError::Range { what, from, to });
            }
        }
        // Else nothing would ever end, and the plan would never be complete.
        if self.lasting.1.0 + self.recovery.1.0 == Duration::ZERO
            || self.recovery.1.0 == Duration::ZERO && self.families.iter().flatten().all(Fault::is_momentary)
        {
            return Err(PlanError::Empty("faults must take some time".to_owned()));
        }
        Ok(())
    }
}

/// A random time of the range, in whole milliseconds.
fn between((from, to): (Span, Span), rng: &mut ChaCha8Rng) -> Duration {
    let millis = |span: Span| u64::try_from(span.0.as_millis()).unwrap_or(u64::MAX);
    Duration::from_millis(rng.random_range(millis(from)..=millis(to)))
}

fn rolling_gap(fault: &Fault) -> Option<Span> {
    if let Fault::Restart { rolling, .. } = fault {
        *rolling
    } else {
        None
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "plan of seed {}, {} long, calm from {}",
            self.seed,
            self.length,
            self.calm_from()
        )?;
        for step in &self.steps {
            if step.lasting.0 > Duration::ZERO {
                writeln!(f, "  at {:<10} for {:<10} {}", step.at, step.lasting, step.fault)?;
            } else {
                writeln!(f, "  at {:<10} once {:>9} {}", step.at, "", step.fault)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(names: &[&str], secs: u64, at_once: usize) -> PlanOptions {
        let families = names.iter().map(|name| faults_named(name).expect("a name"));
        PlanOptions {
            at_once,
            ..PlanOptions::for_length(Duration::from_secs(secs), families.collect())
        }
    }

    #[test]
    fn a_plan_keeps_its_promises_whatever_the_seed() {
        for seed in 0..300 {
            for at_once in 1..=3 {
                let options = options(&["partition", "kill", "pause", "restart"], 60, at_once);
                let plan = Plan::make(seed, &options).expect("a plan");
                assert_eq!(plan, Plan::make(seed, &options).expect("a plan"), "seed {seed}");
                assert!(
                    plan.calm_from().0 + options.calm.0 <= options.length.0,
                    "seed {seed}: {plan}"
                );
                assert!(
                    plan.steps.iter().all(|step| step.at >= options.first),
                    "seed {seed}: {plan}"
                );
                let (mut now, mut most) = (0usize, 0usize);
                for (_, event) in plan.events() {
                    match event {
                        PlanEvent::End(_) => now -= 1,
                        PlanEvent::Begin(k) if plan.steps[k].lasting.0 > Duration::ZERO => now += 1,
                        PlanEvent::Begin(_) => {}
                    }
                    most = most.max(now);
                }
                assert!(now == 0 && most <= at_once, "seed {seed}: {most} at once");
            }
        }
    }

    #[test]
    fn every_family_has_its_turn_before_any_comes_again_and_so_has_each_of_its_faults() {
        let names = ["kill", "pause-one", "power-failure"];
        for seed in 0..50 {
            let options = options(&names, 600, 1);
            let plan = Plan::make(seed, &options).expect("a plan");
            assert!(plan.steps.len() > 30, "seed {seed}: {plan}");
            let of = |step: &Step| {
                let mut families = options.families.iter();
                families
                    .position(|family| family.contains(&step.fault))
                    .expect("asked for")
            };
            for turn in plan.steps.chunks_exact(names.len()) {
                let mut met: Vec<usize> = turn.iter().map(of).collect();
                met.sort_unstable();
                assert_eq!(met, [0, 1, 2], "seed {seed}: {plan}");
            }
            for (number, family) in options.families.iter().enumerate() {
                let steps: Vec<&Step> = plan.steps.iter().filter(|step| of(step) == number).collect();
                for turn in steps.chunks_exact(family.len()) {
                    for fault in family {
                        let met = turn.iter().any(|step| step.fault == *fault);
                        assert!(met, "seed {seed}: {fault} is missing: {plan}");
                    }
                }
            }
        }
    }

    #[test]
    fn a_plan_is_saved_and_replayed() {
        let plan =
            Plan::make(5, &options(&["partition", "kill", "clock", "disk-full"], 60, 2)).expect("a plan");
        assert_eq!(Plan::from_json(&plan.to_json()), Ok(plan));
        assert_eq!(
            Plan::from_json(&Plan::calm(1, Duration::from_secs(5)).to_json())
                .expect("none")
                .steps,
            []
        );
    }

    #[test]
    fn what_is_no_plan_is_refused_with_its_place() {
        assert!(matches!(
            Plan::from_json("{\n\"seed\":1,\n\"x\":2}"),
            Err(PlanError::Malformed { line: 3, .. })
        ));
        let late = r#"{"seed":1,"length":"5s","steps":[
            {"at":"4s","fault":{"fault":"kill","target":"one"},"lasting":"2s","recovery":"0s"}]}"#;
        assert!(matches!(
            Plan::from_json(late),
            Err(PlanError::Step { step: 1, .. })
        ));
        assert!(matches!(
            Plan::make(0, &options(&["kill"], 0, 1)),
            Err(PlanError::Empty(_))
        ));
        let none = PlanOptions::for_length(Duration::from_secs(60), Vec::new());
        assert!(matches!(Plan::make(0, &none), Err(PlanError::Empty(_))));
        let hollow = PlanOptions::for_length(Duration::from_secs(60), vec![Vec::new()]);
        assert!(matches!(Plan::make(0, &hollow), Err(PlanError::Empty(_))));
    }

    #[test]
    fn everything_that_cannot_be_done_is_said_at_once() {
        let plan = Plan::make(5, &options(&["kill", "clock", "disk-full"], 120, 1)).expect("a plan");
        let can = |ability| match ability {
            Ability::Kill => Ok(()),
            _ => Err(Unsupported::new("no", "never")),
        };
        let missing: Vec<Ability> = plan
            .unsupported(can)
            .into_iter()
            .map(|(ability, _)| ability)
            .collect();
        assert_eq!(missing, [Ability::Disk, Ability::Clock]);
    }
}

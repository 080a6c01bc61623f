//! What is tried in which order: a pure search over plans and numbers, by asking whether something still fails.
//!
//! Faults go by delta debugging (Zeller & Hildebrandt, "Simplifying and isolating failure-inducing input", 2002),
//! numbers by trying the least and then halves. Answers may be wrong in one direction only: what fails, fails;
//! what was not seen to fail may yet. So the result fails for certain, and is only as small as luck allowed.

use std::time::Duration;

use anyhow::Result;
use nemesis::Span;
use nemesis::plan::{Plan, Step};
use serde::{Deserialize, Serialize};

/// The shortest load that is tried.
const SHORTEST: Duration = Duration::from_secs(2);
/// How early the first fault may come.
const FIRST: Duration = Duration::from_millis(500);

/// What decides how large a run is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Candidate {
    /// The faults.
    pub plan: Plan,
    /// Keys in use at any time.
    pub keys: usize,
    /// Clients.
    pub clients: usize,
    /// How long the load lasts.
    pub time_limit: Duration,
}

/// Whether a candidate fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// It does, so long after the beginning of the load.
    Fails(Duration),
    /// It was not seen to.
    Passes,
    /// Nobody may ask any more.
    Stop,
}

/// What a search came to.
#[derive(Debug, Clone, PartialEq)]
pub struct Shrunk {
    /// The smallest that failed.
    pub best: Candidate,
    /// Those that failed on the way to it, the largest first; not the run itself.
    pub larger: Vec<Candidate>,
    /// Whether everything was tried.
    pub complete: bool,
}

/// Searches for something smaller than `start`, which failed after `lasted`.
///
/// # Errors
/// The first that `ask` gives.
pub fn shrink(
    start: Candidate,
    lasted: Duration,
    ask: impl FnMut(&Candidate) -> Result<Answer>,
) -> Result<Shrunk> {
    let mut search = Search {
        best: start,
        larger: Vec::new(),
        lasted,
        ask,
        stopped: false,
    };
    // What came after the violation had no part in it, and a shorter run makes all that follows quicker.
    search.cut()?;
    if !search.offer(with(&search.best, Vec::new()))? {
        search.fewer_faults()?;
    }
    search.number(|candidate| &mut candidate.clients)?;
    search.number(|candidate| &mut candidate.keys)?;
    search.earlier()?;
    search.cut()?;
    search.shorter()?;
    // The first of them is the run itself, where anything smaller failed.
    search.larger.drain(..search.larger.len().min(1));
    Ok(Shrunk {
        best: search.best,
        larger: search.larger,
        complete: !search.stopped,
    })
}

struct Search<Ask> {
    best: Candidate,
    /// What was the best before.
    larger: Vec<Candidate>,
    lasted: Duration,
    ask: Ask,
    stopped: bool,
}

impl<Ask: FnMut(&Candidate) -> Result<Answer>> Search<Ask> {
    /// Whether this fails; if so it is the best.
    fn offer(&mut self, candidate: Candidate) -> Result<bool> {
        if self.stopped || candidate == self.best {
            return Ok(false);
        }
        match (self.ask)(&candidate)? {
            Answer::Fails(lasted) => {
                self.larger.push(std::mem::replace(&mut self.best, candidate));
                self.lasted = lasted;
                return Ok(true);
            }
            Answer::Passes => {}
            Answer::Stop => self.stopped = true,
        }
        Ok(false)
    }

    /// Ends the run soon after the violation.
    fn cut(&mut self) -> Result<()> {
        let soon = self.lasted.mul_f64(1.25) + Duration::from_secs(1);
        let limit = Duration::from_secs(soon.as_secs_f64().ceil() as u64).max(SHORTEST);
        if limit < self.best.time_limit {
            self.offer(lasting(&self.best, limit))?;
        }
        Ok(())
    }

    fn fewer_faults(&mut self) -> Result<()> {
        let mut parts = 2;
        while self.best.plan.steps.len() > 1 && !self.stopped {
            let steps = self.best.plan.steps.clone();
            let size = steps.len().div_ceil(parts);
            let mut smaller = false;
            for from in (0..steps.len()).step_by(size) {
                let mut rest = steps.clone();
                rest.drain(from..(from + size).min(steps.len()));
                if !rest.is_empty() && self.offer(with(&self.best, rest))? {
                    smaller = true;
                    break;
                }
            }
            if smaller {
                parts = (parts - 1).max(2);
            } else if size == 1 {
                break;
            } else {
                parts = (parts * 2).min(steps.len());
            }
        }
        Ok(())
    }

    fn number(&mut self, of: impl Fn(&mut Candidate) -> &mut usize) -> Result<()> {
        let smaller = |best: &Candidate, number: usize| {
            let mut candidate = best.clone();
            *of(&mut candidate) = number;
            candidate
        };
        if self.offer(smaller(&self.best, 1))? {
            return Ok(());
        }
        loop {
            let half = *of(&mut self.best) / 2;
            if half < 2 || !self.offer(smaller(&self.best, half))? {
                return Ok(());
            }
        }
    }

    /// Moves all faults to the beginning of the run.
    fn earlier(&mut self) -> Result<()> {
        let Some(first) = self.best.plan.steps.first() else {
            return Ok(());
        };
        let by = first.at.0.saturating_sub(FIRST);
        let limit = self.best.time_limit.saturating_sub(by);
        if by.is_zero() || limit < SHORTEST {
            return Ok(());
        }
        let mut steps = self.best.plan.steps.clone();
        for step in &mut steps {
            step.at = Span(step.at.0 - by);
        }
        self.offer(lasting(&with(&self.best, steps), limit)).map(|_| ())
    }

    fn shorter(&mut self) -> Result<()> {
        loop {
            let half = Duration::from_secs(self.best.time_limit.as_secs() / 2).max(SHORTEST);
            if half >= self.best.time_limit || !self.offer(lasting(&self.best, half))? {
                return Ok(());
            }
        }
    }
}

fn with(candidate: &Candidate, steps: Vec<Step>) -> Candidate {
    let mut smaller = candidate.clone();
    smaller.plan.steps = steps;
    smaller
}

/// The candidate with a load that lasts `limit`; faults end with it.
fn lasting(candidate: &Candidate, limit: Duration) -> Candidate {
    let mut shorter = candidate.clone();
    shorter.time_limit = limit;
    shorter.plan.length = Span(limit);
    shorter.plan.steps.retain(|step| step.at.0 < limit);
    for step in &mut shorter.plan.steps {
        step.lasting = Span(step.lasting.0.min(limit - step.at.0));
    }
    shorter
}

#[cfg(test)]
mod tests {
    use super::*;
    use nemesis::Fault;
    use nemesis::plan::faults_named;

    fn seconds(number: u64) -> Duration {
        Duration::from_secs(number)
    }

    /// Twenty faults in two minutes: every fourth a kill, the others pauses.
    fn start() -> Candidate {
        let fault = |name: &str| faults_named(name).expect("known")[0].clone();
        let steps = (0..20u64).map(|number| Step {
            at: Span(seconds(2 + number * 5)),
            fault: fault(if number % 4 == 3 { "kill" } else { "pause" }),
            lasting: Span(seconds(2)),
            recovery: Span(seconds(1)),
        });
        Candidate {
            plan: Plan {
                seed: 1,
                length: Span(seconds(120)),
                steps: steps.collect(),
            },
            keys: 10,
            clients: 30,
            time_limit: seconds(120),
        }
    }

    fn kills(candidate: &Candidate) -> Vec<Duration> {
        let kill = |step: &&Step| matches!(step.fault, Fault::Kill { .. });
        candidate
            .plan
            .steps
            .iter()
            .filter(kill)
            .map(|step| step.at.0)
            .collect()
    }

    /// What is left of a failure that needs what `fails` says.
    fn check(fails: impl Fn(&Candidate) -> Option<Duration>) -> (Candidate, usize) {
        let mut asked = 0;
        let lasted = fails(&start()).expect("it fails to begin with");
        let shrunk = shrink(start(), lasted, |candidate| {
            asked += 1;
            assert!(asked < 200, "it must come to an end");
            Plan::from_json(&candidate.plan.to_json()).expect("every plan can be carried out");
            Ok(fails(candidate).map_or(Answer::Passes, Answer::Fails))
        })
        .expect("no errors");
        assert!(
            shrunk.complete && fails(&shrunk.best).is_some(),
            "what is kept fails"
        );
        (shrunk.best, asked)
    }

    #[test]
    fn what_needs_no_faults_keeps_none() {
        let (best, asked) = check(|candidate| (candidate.clients > 1).then_some(seconds(1)));
        assert_eq!((best.plan.steps.len(), best.keys, best.clients), (0, 1, 3));
        assert_eq!(best.time_limit, SHORTEST);
        assert!(asked < 15, "{asked}");
    }

    #[test]
    fn two_faults_that_only_fail_together_are_found() {
        // The second kill after any other, and two keys.
        let (best, _) = check(|candidate| {
            let second = *kills(candidate).get(1)?;
            (candidate.keys >= 2 && second + seconds(1) < candidate.time_limit).then_some(second + seconds(1))
        });
        assert_eq!((best.plan.steps.len(), kills(&best).len(), best.keys), (2, 2, 2));
        assert_eq!(best.plan.steps[0].at.0, FIRST, "moved to the beginning");
        assert!(best.time_limit <= seconds(40), "{:?}", best.time_limit);
    }

    #[test]
    fn the_best_so_far_is_kept_when_nobody_may_ask_any_more() {
        let mut left = 2;
        let shrunk = shrink(start(), seconds(40), |candidate| {
            left -= 1;
            Ok(if left < 0 {
                Answer::Stop
            } else if candidate.plan.steps.is_empty() {
                Answer::Passes
            } else {
                Answer::Fails(seconds(40))
            })
        })
        .expect("no errors");
        assert!(!shrunk.complete);
        assert_eq!(shrunk.best.time_limit, seconds(51));
    }
}

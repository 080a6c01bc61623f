//! The breadth-first engine: keeps the best few configurations at every completion.
//!
//! Where the depth-first engine took a wrong turn early it tries everything behind it first. Keeping many
//! configurations side by side gets past that. What survives to the end is an explanation, however many were
//! given up on the way; that none survives says something only if none was given up.

use std::cmp::Reverse;
use std::mem;

use super::budget::Meter;
use super::machine::Machine;
use super::mask::Mask;
use super::memo::Configuration;
use super::problem::{Moment, Need};
use super::search::{Answer, Search, Step};
use super::usage::UsageId;

/// A configuration and how it came about.
#[derive(Clone, Debug)]
struct Kept<B> {
    here: Configuration<B>,
    /// The last link of its trail.
    trail: u32,
}

/// A step and the one before it.
#[derive(Clone, Copy, Debug)]
struct Link {
    step: Step,
    before: u32,
}

const START: u32 = u32::MAX;
/// How many configurations may be tried for each that is kept.
const TRIES: usize = 24;

impl<M: Machine, B: Mask> Search<'_, M, B> {
    /// Looks with so many configurations side by side; nothing if some were given up and none survived.
    pub(super) fn beam(&mut self, width: usize, meter: &mut Meter<'_>) -> Option<Answer> {
        self.window.back_to(self.problem, 0);
        let nothing = B::none(self.deadlines_of_slots());
        let first = Configuration {
            at: 0,
            state: self.problem.machine.init(),
            done: nothing.clone(),
            spare: nothing,
            used: UsageId::NOTHING,
        };
        let mut level = vec![Kept {
            here: first,
            trail: START,
        }];
        let mut links: Vec<Link> = Vec::new();
        let mut exact = true;
        for at in 0..self.problem.moments.len() {
            match self.problem.moments[at].moment() {
                Moment::Invoked(call) => {
                    self.window.forward(self.problem);
                    if self.problem.call(call).need == Need::Required {
                        for kept in &mut level {
                            self.steps.clear();
                            self.meet(&mut kept.here, call);
                            self.link(&mut links, &mut kept.trail);
                        }
                    }
                }
                Moment::Completed(call) => {
                    let slot = self.window.slot(call);
                    let mut next = self.pass(&mut level, at as u32, slot, width, &mut links, &mut exact);
                    exact &= self.choose(&mut next, width);
                    for kept in &mut next {
                        kept.here.done.take(slot);
                    }
                    level = next;
                    self.window.forward(self.problem);
                    self.furthest = self.furthest.max(at);
                    let held =
                        (links.capacity() * size_of::<Link>() + level.len() * size_of::<Kept<B>>()) as u64;
                    if let Err(limit) = if at % 64 == 0 { meter.allow(held) } else { Ok(()) } {
                        return Some(Answer::Exhausted { limit, furthest: at });
                    }
                    if level.is_empty() {
                        return exact.then_some(Answer::Illegal { furthest: at });
                    }
                }
            }
        }
        let mut steps = Vec::new();
        let mut trail = level.first()?.trail;
        while let Some(link) = links.get(trail as usize) {
            steps.push(link.step);
            trail = link.before;
        }
        steps.reverse();
        Some(Answer::Legal(steps))
    }

    /// Every configuration in which the demanded call is linearized, or as many as may be tried.
    fn pass(
        &mut self,
        level: &mut Vec<Kept<B>>,
        at: u32,
        slot: usize,
        width: usize,
        links: &mut Vec<Link>,
        exact: &mut bool,
    ) -> Vec<Kept<B>> {
        let mut passed = Vec::with_capacity(level.len());
        let mut tries = width * TRIES;
        for mut kept in mem::take(level) {
            kept.here.at = at;
            if kept.here.done.has(slot) {
                passed.push(kept);
                continue;
            }
            if self.problem.machine.hopeless(kept.here.state, at as usize) {
                continue;
            }
            let mut waiting = vec![kept];
            let mut tried: Vec<Configuration<B>> = Vec::new();
            let mut left = TRIES.max(tries / 4);
            while let Some(kept) = waiting.pop() {
                if tried
                    .iter()
                    .any(|earlier| earlier.covers(&kept.here, &self.usages))
                {
                    continue;
                }
                if tries == 0 || left == 0 {
                    *exact = false;
                    break;
                }
                (tries, left) = (tries - 1, left - 1);
                let moves = self.moves.len();
                self.find_moves(&kept.here);
                let mut found = self.moves.split_off(moves);
                // The best moves are last; they are to be passed on first, and tried on first.
                for chosen in found.drain(..) {
                    self.steps.clear();
                    let Some(here) = self.take(kept.here.clone(), chosen) else {
                        continue;
                    };
                    let mut next = Kept {
                        here,
                        trail: kept.trail,
                    };
                    self.link(links, &mut next.trail);
                    if next.here.done.has(slot) {
                        passed.push(next);
                    } else {
                        waiting.push(next);
                    }
                }
                tried.push(kept.here);
            }
        }
        passed
    }

    /// Leaves the best, without those that others cover. Says whether none was given up.
    fn choose(&self, level: &mut Vec<Kept<B>>, width: usize) -> bool {
        if level.len() < 2 {
            return true;
        }
        level.sort_by_cached_key(|kept| Reverse(self.promise(&kept.here)));
        let mut chosen: Vec<Kept<B>> = Vec::with_capacity(width.min(level.len()));
        let mut complete = true;
        for kept in mem::take(level) {
            if chosen
                .iter()
                .any(|better| better.here.covers(&kept.here, &self.usages))
            {
                continue;
            }
            if chosen.len() == width {
                complete = false;
                break;
            }
            chosen.push(kept);
        }
        *level = chosen;
        complete
    }

    /// How much is left open to a configuration: what is settled and what is spare counts for it, what was used
    /// of the operations of unknown outcome against it.
    fn promise(&self, here: &Configuration<B>) -> i64 {
        let settled = here.done.without(&self.window.traceless).slots().count() as i64;
        let written = here.done.common(&self.window.traceless).slots().count() as i64;
        let spare = here.spare.slots().count() as i64;
        3 * settled + 2 * spare + written - 4 * self.usages.size(here.used)
    }

    fn link(&mut self, links: &mut Vec<Link>, trail: &mut u32) {
        for &step in &self.steps {
            links.push(Link { step, before: *trail });
            *trail = links.len() as u32 - 1;
        }
        self.steps.clear();
    }
}

//! What a search may still hope for: whether what is open can be met, and how many operations of unknown outcome
//! are left.

use rustc_hash::FxHashMap;

use super::machine::{ClassId, Machine, Shape, StateId};
use super::mask::Mask;
use super::memo::Configuration;
use super::problem::{CallId, Moment, Need};
use super::search::{Search, Step, Taken};
use super::usage::UsageId;

/// So many unused operations of a class and of unknown outcome need not be counted.
pub(crate) const PLENTY: u32 = 4;

impl<M: Machine, B: Mask> Search<'_, M, B> {
    /// Whether there are so many unused operations of a class and of unknown outcome that nobody need count them.
    ///
    /// Not to count is to believe in more of them than there may be. So what cannot be explained then cannot be
    /// explained at all, and an explanation is counted over afterwards (see [`Search::is_affordable`]).
    pub(super) fn is_plenty(&self, class: ClassId, used: UsageId) -> bool {
        let left = self.window.available_of(class) - self.usages.count(used, class);
        self.counts_loosely && left >= PLENTY
    }

    /// Whether an explanation uses no more operations of unknown outcome than there were by then.
    pub(super) fn is_affordable(&self, steps: &[Step]) -> bool {
        let mut invoked: FxHashMap<ClassId, i64> = FxHashMap::default();
        let mut moments = self.problem.moments.iter().enumerate().peekable();
        steps.iter().all(|step| {
            let Taken::Optional(class) = step.what else {
                return true;
            };
            while let Some((_, moment)) = moments.next_if(|(at, _)| *at < step.at as usize) {
                if let Moment::Invoked(call) = moment.moment()
                    && self.problem.call(call).need == Need::Optional
                {
                    *invoked.entry(self.problem.call(call).class).or_default() += 1;
                }
            }
            let left = invoked.entry(class).or_default();
            *left -= 1;
            *left >= 0
        })
    }

    /// Whether everything open that needs some state may still find it.
    ///
    /// Every taker needs it to be made anew, every other needer once. Makers that are open may come at any time;
    /// others only once they are invoked.
    pub(super) fn can_be_met(&mut self, here: &Configuration<B>) -> bool {
        let Some(supply) = &self.window.supply else {
            return true;
        };
        for (place, value) in supply.values().iter().enumerate() {
            if value.needers.within(&here.done) {
                continue;
            }
            let mut makers = value.makers.without(&here.done).count();
            let mut takers = value.takers.without(&here.done);
            takers.take_all(&here.spare);
            if value.state == here.state {
                makers += 1;
            } else if makers == 0 {
                for &class in &value.optional {
                    makers +=
                        (self.window.available_of(class) - self.usages.count(here.used, class)) as usize;
                }
                if makers == 0 {
                    let mut waiting = value.needers.without(&here.done);
                    waiting.take_all(&here.spare);
                    let first = waiting
                        .slots()
                        .map(|slot| self.deadlines[self.window.call(slot).0 as usize])
                        .min();
                    if first.is_some_and(|first| value.made_before(first, 1) == 0) {
                        self.lessons.blame(place);
                        return false;
                    }
                }
            }
            if takers.count() > makers && !value.optional.is_empty() {
                makers = value.makers.without(&here.done).count() + usize::from(value.state == here.state);
                for &class in &value.optional {
                    makers +=
                        (self.window.available_of(class) - self.usages.count(here.used, class)) as usize;
                }
            }
            if takers.count() > makers {
                let calls = takers
                    .slots()
                    .map(|slot| self.deadlines[self.window.call(slot).0 as usize]);
                self.scratch.clear();
                self.scratch.extend(calls);
                self.scratch.sort_unstable();
                for (before, &deadline) in self.scratch.iter().enumerate().skip(makers) {
                    let wanted = before + 1 - makers;
                    if value.made_before(deadline, wanted) < wanted {
                        self.lessons.blame(place);
                        return false;
                    }
                }
            }
        }
        true
    }

    /// Whether an operation that is possible in every state leads from this one to one that is not lost.
    pub(super) fn leads_on(&mut self, state: StateId, class: ClassId) -> bool {
        let next = self.problem.machine.step(state, class);
        next.is_some_and(|next| !self.problem.machine.is_lost(next))
    }

    /// Whether something that needs a state waits for this one, or one like it.
    pub(super) fn lets_observe(&mut self, here: &Configuration<B>, next: StateId) -> bool {
        let mut waiting = self.window.open.without(&here.done);
        waiting.take_all(&self.window.traceless);
        self.effort.add(waiting.count());
        waiting.slots().any(|slot| {
            let class = self.problem.call(self.window.call(slot)).class;
            self.problem.machine.step(next, class).is_some()
        })
    }

    /// Whether an observation waits for a state that is not the present one.
    pub(super) fn wanted_now(&mut self, here: &Configuration<B>, next: StateId) -> bool {
        next != here.state && self.lets_observe(here, next)
    }

    /// Within one instant a process still does one thing after another.
    pub(super) fn is_in_turn(&self, here: &Configuration<B>, before: Option<CallId>) -> bool {
        before.is_none_or(|before| {
            let slot = self.window.slot(before);
            self.window.call(slot) != before
                || !self.window.open.has(slot)
                || here.done.has(slot)
                || here.spare.has(slot)
        })
    }

    /// Whether an overwrite would hide some other one that is not spare yet.
    pub(super) fn could_hide(&self, here: &Configuration<B>, but: usize, left: &B) -> bool {
        let mut others = left.common(&self.window.traceless);
        others.take_all(&here.spare);
        let hidden = |slot| slot != but && matches!(self.shape(slot), Shape::Overwrite(_) | Shape::Total);
        others.slots().any(hidden)
    }
}

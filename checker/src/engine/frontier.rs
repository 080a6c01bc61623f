//! The breadth-first engine: configurations side by side, from completion to completion.
//!
//! Where the depth-first engine took a wrong turn early it tries everything behind it first. Keeping several
//! configurations side by side gets past that. What survives to the end is an explanation, however many were
//! given up on the way; that none survives says something only if none was given up.
//!
//! How many are kept follows the trouble. A few suffice nearly everywhere. Where all of them fail, the engine goes
//! back to a checkpoint and comes again with more, further back and with more every time; past the trouble a few
//! suffice again. So the cost of a long history is that of its hard places, not of the hardest place times the
//! length.

use std::cmp::Reverse;
use std::mem;

use rustc_hash::FxHashMap;

use super::budget::{Exhausted, Meter};
use super::machine::{ClassId, Machine, StateId};
use super::mask::Mask;
use super::memo::Configuration;
use super::problem::{Moment, Need};
use super::search::{Answer, Search, Step, Taken};
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

/// Configurations of one place.
#[derive(Clone, Debug)]
struct Level<B> {
    /// Moments before this one are explained.
    at: usize,
    kept: Vec<Kept<B>>,
    /// Whether none was given up so far.
    exact: bool,
    /// The trail of one of those that were kept last.
    trail: u32,
    /// Calls that are open since before the first level, where that was not the beginning.
    loose: B,
}

/// How many configurations the engine may keep and try.
#[derive(Clone, Copy, Debug)]
struct Breadth {
    /// Kept at every completion.
    kept: usize,
    /// Tried at every completion, for each that is kept.
    tries: usize,
}

impl Breadth {
    /// Gives up no configuration but everything, if more than so many must be tried at one completion.
    fn all(tries: usize) -> Breadth {
        Breadth {
            kept: usize::MAX,
            tries,
        }
    }

    fn of(kept: usize) -> Breadth {
        Breadth {
            kept,
            tries: kept.saturating_mul(TRIES),
        }
    }
}

/// Where every configuration failed, and what is tried against it.
#[derive(Clone, Copy, Debug)]
struct Trouble {
    /// The furthest completion at which all failed.
    at: usize,
    /// How often they did.
    tried: usize,
    /// How many are kept now.
    kept: usize,
}

/// Where the engine stands between two turns.
#[derive(Debug)]
pub(super) struct Standing<B> {
    frontier: Frontier<B>,
    level: Level<B>,
    trouble: Trouble,
    /// How many are kept where there is no trouble.
    calm: usize,
}

/// How a run of the engine ended.
enum Run {
    /// It came to where it was to come.
    There,
    /// None survived this completion.
    Died(usize),
    /// Some were given up where none may be.
    GaveUp,
    Exhausted(Exhausted),
}

/// How many configurations may be tried for each that is kept.
const TRIES: usize = 24;
/// So many configurations are compared one by one.
const FEW: usize = 16;
/// And no more of those that agree in what must be equal: to miss that one covers another costs time, never the
/// verdict.
const LONGEST_GROUP: usize = 64;
/// How many configurations are kept where there is no trouble.
const CALM: usize = 4;
/// By how much more are kept when the engine comes again.
const MORE: usize = 2;
/// How many configurations may be tried at a completion to prove that nothing can explain it, at first.
const PROOF: usize = 256;
/// How many are kept to see whether some get through before that is tried.
const SCOUTS: usize = 8;
/// Nothing is doubled more often than this.
const FURTHEST: usize = 40;
/// From how many failures on a proof is tried that nothing else is possible.
const DOUBTFUL: usize = 2;
/// After how many failures the cause is looked for far back.
const LOCAL: usize = 3;
/// How far back the engine goes at least: in moments, for each turn.
const LEAST_SPAN: usize = 8;
/// Checkpoints are thinned out when there are more than this.
const CHECKPOINTS: usize = 128;
/// A meter is asked once in so many configurations tried.
const TRIED_PER_LOOK: usize = 512;
/// And each counts for so many moves.
const MOVES_PER_TRY: usize = 4;
/// Links are cleared of dead ones when there are more than this.
const LINKS: usize = 1 << 16;

/// A run of the engine over a problem.
#[derive(Debug)]
struct Frontier<B> {
    links: Vec<Link>,
    /// Links are cleared when there are so many.
    full: usize,
    checkpoints: Vec<Level<B>>,
    tried: usize,
    /// Bytes that are held beside this.
    beside: u64,
    bench: Bench<B>,
}

/// Room to work in, empty between two completions, so that it need not be asked for at each.
#[derive(Debug)]
struct Bench<B> {
    passed: Vec<Kept<B>>,
    waiting: Vec<Kept<B>>,
    tried: Vec<Configuration<B>>,
}

impl<B> Default for Bench<B> {
    fn default() -> Self {
        Bench {
            passed: Vec::new(),
            waiting: Vec::new(),
            tried: Vec::new(),
        }
    }
}

impl<M: Machine, B: Mask> Search<'_, M, B> {
    /// Looks for an explanation, with more and more configurations where few do not suffice. Nothing after so many
    /// failures; then it can be called again with what it has stood with.
    pub(super) fn breadth_first(
        &mut self,
        meter: &mut Meter<'_>,
        standing: &mut Option<Standing<B>>,
        mut failures: usize,
    ) -> Option<Answer> {
        let end = self.problem.moments.len();
        let span = self.slot_count.max(LEAST_SPAN);
        let Standing {
            mut frontier,
            mut level,
            mut trouble,
            calm,
        } = standing.take().unwrap_or_else(|| self.stand(CALM));
        self.window.go_to(self.problem, level.at);
        loop {
            let until = if trouble.tried == 0 {
                end
            } else {
                end.min(trouble.at + span)
            };
            let at = match self.run(&mut frontier, &mut level, until, Breadth::of(trouble.kept), meter) {
                Run::There if level.at == end => {
                    return Some(Answer::Legal(frontier.steps(level.kept[0].trail)));
                }
                Run::There => {
                    trouble = Trouble::none(calm);
                    self.lessons.forget_half();
                    continue;
                }
                Run::Exhausted(limit) => return Some(self.exhausted(limit)),
                Run::Died(at) if level.exact => return Some(Answer::Illegal { furthest: at }),
                Run::Died(at) => at,
                Run::GaveUp => unreachable!("only a proof gives up"),
            };
            trouble.again(at);
            self.lessons.learn(&self.window, self.needed_at(at));
            if trouble.tried >= DOUBTFUL {
                let from = at.saturating_sub(span << (trouble.tried / 2).min(FURTHEST));
                let tries = PROOF << trouble.tried.min(FURTHEST);
                match self.refute(from, at + 1, tries, frontier.bytes(0), meter) {
                    Err(limit) => return Some(self.exhausted(limit)),
                    Ok(Some(furthest)) => return Some(Answer::Illegal { furthest }),
                    Ok(None) => {}
                }
            }
            let mut to = at.saturating_sub(span << (1 + trouble.tried / 3).min(FURTHEST));
            if trouble.tried > LOCAL
                && let Some((class, used)) = self.wasted(&frontier, level.trail)
            {
                self.lessons.spare(class);
                to = used.saturating_sub(span);
                trouble.elsewhere(used, calm);
            }
            level = frontier.rewind(to).unwrap_or_else(|| self.first_level());
            failures -= 1;
            if failures == 0 {
                *standing = Some(Standing {
                    frontier,
                    level,
                    trouble,
                    calm,
                });
                return None;
            }
            self.window.go_to(self.problem, level.at);
        }
    }

    /// Where the engine begins, keeping so many configurations where there is no trouble.
    pub(super) fn stand(&self, calm: usize) -> Standing<B> {
        Standing {
            frontier: Frontier::new(),
            level: self.first_level(),
            trouble: Trouble::none(calm),
            calm,
        }
    }

    pub(super) fn exhausted(&self, limit: Exhausted) -> Answer {
        let furthest = self.furthest;
        Answer::Exhausted { limit, furthest }
    }

    /// The place of the state that the call needs which completes here.
    fn needed_at(&self, at: usize) -> Option<usize> {
        let Moment::Completed(call) = self.problem.moments[at].moment() else {
            return None;
        };
        self.window
            .supply
            .as_ref()?
            .needed_by(self.problem.call(call).class)
    }

    /// The last operation of unknown outcome on a trail that led to a state which is missing now, and where it was
    /// used.
    fn wasted(&self, frontier: &Frontier<B>, mut trail: u32) -> Option<(ClassId, usize)> {
        let classes = self.lessons.wanted(self.window.supply.as_ref()?);
        while let Some(link) = frontier.links.get(trail as usize) {
            if let Taken::Optional(class) = link.step.what
                && classes.contains(&class)
            {
                return Some((class, link.step.at as usize));
            }
            trail = link.before;
        }
        None
    }

    /// Whether nothing at all can explain the moments between two places, whatever came before. Says at which
    /// completion that is certain.
    ///
    /// Begins in every state that there can be by then, with everything that is open perhaps linearized already,
    /// perhaps not, and no operation of unknown outcome used: that covers every configuration that any
    /// explanation of what came before can end in. So a violation is proved where it is, and not from the beginning.
    pub(super) fn refute(
        &mut self,
        from: usize,
        to: usize,
        tries: usize,
        beside: u64,
        meter: &mut Meter<'_>,
    ) -> Result<Option<usize>, Exhausted> {
        let Some(mut level) = self.any_level(from) else {
            return Ok(None);
        };
        let furthest = self.furthest;
        let proof = || Frontier {
            beside,
            ..Frontier::new()
        };
        // Where a few get through there is no proof, and no need to follow all of them.
        let mut few = level.clone();
        let mut run = self.run(&mut proof(), &mut few, to, Breadth::of(SCOUTS), meter);
        if matches!(run, Run::Died(_)) && !few.exact {
            self.window.go_to(self.problem, from);
            run = self.run(&mut proof(), &mut level, to, Breadth::all(tries), meter);
        }
        self.furthest = furthest;
        match run {
            Run::Died(at) => Ok(Some(at)),
            Run::There | Run::GaveUp => Ok(None),
            Run::Exhausted(limit) => Err(limit),
        }
    }

    /// Configurations that cover whatever can be at a place; nothing if states are not known beforehand.
    fn any_level(&mut self, at: usize) -> Option<Level<B>> {
        self.window.go_to(self.problem, at);
        if at == 0 {
            return Some(self.first_level());
        }
        let first = self.first_level().kept.pop().expect("there is one");
        let init = first.here.state;
        let values = self.window.supply.as_ref()?.values();
        let made = values
            .iter()
            .filter(|value| value.was_made() && value.state != init);
        let states = std::iter::once(init).chain(made.map(|value| value.state));
        let kept = states.map(|state| {
            let mut kept = first.clone();
            (kept.here.at, kept.here.state, kept.here.spare) = (at as u32, state, self.window.open.clone());
            kept
        });
        Some(Level {
            at,
            kept: kept.collect(),
            exact: true,
            trail: START,
            loose: self.window.open.clone(),
        })
    }

    fn first_level(&self) -> Level<B> {
        let nothing = B::none(self.room());
        let here = Configuration {
            at: 0,
            state: self.problem.machine.init(),
            done: nothing.clone(),
            spare: nothing,
            used: UsageId::NOTHING,
        };
        Level {
            at: 0,
            kept: vec![Kept { here, trail: START }],
            exact: true,
            trail: START,
            loose: B::none(self.room()),
        }
    }

    /// Goes on to a place, or as far as it gets.
    fn run(
        &mut self,
        frontier: &mut Frontier<B>,
        level: &mut Level<B>,
        until: usize,
        breadth: Breadth,
        meter: &mut Meter<'_>,
    ) -> Run {
        let spacing = self.slot_count.max(16);
        let mut next_checkpoint = frontier
            .checkpoints
            .last()
            .map_or(spacing, |last| last.at + spacing);
        while level.at < until {
            if level.at >= next_checkpoint {
                frontier.keep(level);
                next_checkpoint = level.at + spacing;
            }
            match self.problem.moments[level.at].moment() {
                Moment::Invoked(call) => {
                    self.window.forward(self.problem);
                    if self.problem.call(call).need == Need::Required {
                        for kept in &mut level.kept {
                            self.steps.clear();
                            self.meet(&mut kept.here, call);
                            frontier.link(&mut self.steps, &mut kept.trail);
                        }
                    }
                }
                Moment::Completed(call) => {
                    let slot = self.window.slot(call);
                    self.furthest = self.furthest.max(level.at);
                    if level.kept.iter().any(|kept| !kept.here.done.has(slot)) {
                        self.lessons.forget_blame();
                        if let Err(limit) = self.pass(frontier, level, slot, breadth, meter) {
                            return Run::Exhausted(limit);
                        }
                        if breadth.kept == usize::MAX && !level.exact {
                            return Run::GaveUp;
                        }
                        if level.kept.is_empty() {
                            return Run::Died(level.at);
                        }
                        level.exact &= self.choose(level, breadth.kept);
                    }
                    level.loose.take(slot);
                    for kept in &mut level.kept {
                        kept.here.done.take(slot);
                        kept.here.spare.take(slot);
                    }
                    self.window.forward(self.problem);
                }
            }
            level.at += 1;
        }
        Run::There
    }

    /// Leaves every configuration in which the demanded call is linearized, or as many as may be tried.
    fn pass(
        &mut self,
        frontier: &mut Frontier<B>,
        level: &mut Level<B>,
        slot: usize,
        breadth: Breadth,
        meter: &mut Meter<'_>,
    ) -> Result<(), Exhausted> {
        let Bench {
            mut passed,
            mut waiting,
            mut tried,
        } = mem::take(&mut frontier.bench);
        let mut tries = breadth.tries;
        let mut before = mem::take(&mut level.kept);
        let count = before.len();
        level.trail = before[0].trail;
        for (number, mut kept) in before.drain(..).enumerate() {
            kept.here.at = level.at as u32;
            if kept.here.done.has(slot) {
                passed.push(kept);
                continue;
            }
            if self.problem.machine.hopeless(kept.here.state, level.at) {
                continue;
            }
            waiting.clear();
            tried.clear();
            waiting.push(kept);
            let mut left = (tries / (count - number)).max(TRIES);
            while let Some(kept) = waiting.pop() {
                let known = |earlier: &Configuration<B>| earlier.covers(&kept.here, &self.usages);
                self.effort.add(tried.len() * kept.here.done.words().len());
                if tried.iter().any(known) {
                    continue;
                }
                if tries == 0 || left == 0 {
                    level.exact = false;
                    break;
                }
                (tries, left) = (tries - 1, left - 1);
                frontier.tried += 1;
                if frontier.tried >= TRIED_PER_LOOK || self.is_overdue() {
                    let here = passed.len() + waiting.len() + tried.len() + count;
                    self.effort.beside = frontier.bytes(here);
                    let moves = mem::take(&mut frontier.tried) * MOVES_PER_TRY;
                    self.look(moves as u64, meter)?;
                }
                self.moves.clear();
                self.find_moves(&kept.here, meter)?;
                // The best moves are last; they are to be passed on first, and tried on first.
                for at in 0..self.moves.len() {
                    self.steps.clear();
                    let Some(here) = self.take(kept.here.clone(), self.moves[at]) else {
                        continue;
                    };
                    let mut next = Kept {
                        here,
                        trail: kept.trail,
                    };
                    frontier.link(&mut self.steps, &mut next.trail);
                    if next.here.done.has(slot) {
                        passed.push(next);
                    } else {
                        waiting.push(next);
                    }
                }
                tried.push(kept.here);
            }
        }
        level.kept = passed;
        frontier.bench = Bench {
            passed: before,
            waiting,
            tried,
        };
        Ok(())
    }

    /// Leaves the best, without those that others cover. Says whether none was given up.
    fn choose(&self, level: &mut Level<B>, width: usize) -> bool {
        if level.kept.len() < 2 {
            return true;
        }
        level
            .kept
            .sort_by_cached_key(|kept| Reverse(self.promise(&kept.here)));
        let mut chosen: Vec<Kept<B>> = Vec::with_capacity(width.min(level.kept.len()));
        // One that covers another agrees with it in this.
        let fixed = |here: &Configuration<B>| {
            let mut fixed = here.done.without(&self.window.traceless);
            fixed.take_all(&level.loose);
            (here.state, fixed)
        };
        let mut groups: FxHashMap<(StateId, B), Vec<u32>> = FxHashMap::default();
        let grouped = level.kept.len() > FEW;
        let mut complete = true;
        for kept in mem::take(&mut level.kept) {
            let covers = |better: &Kept<B>| better.here.covers(&kept.here, &self.usages);
            let known = if grouped {
                let group = groups.entry(fixed(&kept.here)).or_default();
                let known = group
                    .iter()
                    .take(LONGEST_GROUP)
                    .any(|&at| covers(&chosen[at as usize]));
                if !known {
                    group.push(chosen.len() as u32);
                }
                known
            } else {
                chosen.iter().any(covers)
            };
            if known {
                continue;
            }
            if chosen.len() == width {
                complete = false;
                break;
            }
            chosen.push(kept);
        }
        level.kept = chosen;
        complete
    }

    /// How much is left open to a configuration: what is settled and what is spare counts for it, what was used
    /// of the operations of unknown outcome against it.
    fn promise(&self, here: &Configuration<B>) -> i64 {
        let settled = here.done.without(&self.window.traceless).slots().count() as i64;
        let written = here.done.common(&self.window.traceless).slots().count() as i64;
        let spare = here.spare.slots().count() as i64;
        let flexible = 3 * settled + 2 * spare + written - 4 * self.usages.size(here.used);
        flexible + self.lessons.worth(&self.window, here, &self.usages)
    }
}

impl<B> Level<B> {
    fn trails(&mut self) -> impl Iterator<Item = &mut u32> {
        let kept = self.kept.iter_mut().map(|kept| &mut kept.trail);
        kept.chain([&mut self.trail])
    }
}

impl Trouble {
    fn none(calm: usize) -> Trouble {
        Trouble {
            at: 0,
            tried: 0,
            kept: calm,
        }
    }

    /// Every configuration failed here.
    fn again(&mut self, at: usize) {
        self.at = self.at.max(at);
        self.tried += 1;
        self.kept = self.kept.saturating_mul(MORE);
    }

    /// The cause is far back: what lies between is gone through as if there had been no trouble.
    fn elsewhere(&mut self, at: usize, calm: usize) {
        (self.at, self.tried, self.kept) = (at, 1, calm.saturating_mul(MORE));
    }
}

impl<B: Mask> Frontier<B> {
    fn new() -> Frontier<B> {
        Frontier {
            links: Vec::new(),
            full: LINKS,
            checkpoints: Vec::new(),
            tried: 0,
            beside: 0,
            bench: Bench::default(),
        }
    }

    fn link(&mut self, steps: &mut Vec<Step>, trail: &mut u32) {
        for step in steps.drain(..) {
            self.links.push(Link { step, before: *trail });
            *trail = self.links.len() as u32 - 1;
        }
    }

    /// Remembers a level, to go back to. The further back, the fewer are remembered.
    fn keep(&mut self, level: &mut Level<B>) {
        if self.links.len() >= self.full {
            self.clear(level);
        }
        if self.checkpoints.len() == CHECKPOINTS {
            let mut number = 0;
            self.checkpoints.retain(|_| {
                number += 1;
                number > CHECKPOINTS / 2 || number % 2 == 0
            });
        }
        self.checkpoints.push(level.clone());
    }

    /// The last level that was remembered before a place; forgets those behind it.
    fn rewind(&mut self, to: usize) -> Option<Level<B>> {
        while self.checkpoints.last().is_some_and(|last| last.at > to) {
            self.checkpoints.pop();
        }
        self.checkpoints.last().cloned()
    }

    /// Forgets the links that no configuration came by.
    fn clear(&mut self, level: &mut Level<B>) {
        let mut live = vec![false; self.links.len()];
        let levels = self.checkpoints.iter_mut().chain([&mut *level]);
        let mut trails: Vec<&mut u32> = levels.flat_map(Level::trails).collect();
        for trail in &trails {
            let mut trail = **trail;
            while let Some(mark) = live.get_mut(trail as usize)
                && !*mark
            {
                *mark = true;
                trail = self.links[trail as usize].before;
            }
        }
        // A link comes after the one before it, so that each finds its new number noted.
        let mut numbers = vec![START; self.links.len()];
        let mut next = 0;
        for at in 0..self.links.len() {
            if live[at] {
                let link = self.links[at];
                let before = numbers.get(link.before as usize).copied().unwrap_or(START);
                self.links[next] = Link { before, ..link };
                numbers[at] = next as u32;
                next += 1;
            }
        }
        self.links.truncate(next);
        for trail in &mut trails {
            **trail = numbers.get(**trail as usize).copied().unwrap_or(START);
        }
        self.full = LINKS.max(2 * next);
    }

    /// The steps of a trail, in order.
    fn steps(&self, mut trail: u32) -> Vec<Step> {
        let mut steps = Vec::new();
        while let Some(link) = self.links.get(trail as usize) {
            steps.push(link.step);
            trail = link.before;
        }
        steps.reverse();
        steps
    }

    /// About how many bytes are held, with so many configurations at hand.
    fn bytes(&self, at_hand: usize) -> u64 {
        let kept: usize = self.checkpoints.iter().map(|level| level.kept.capacity()).sum();
        let masks = self
            .checkpoints
            .first()
            .map_or(0, |level| level.loose.words().len() * 16);
        let links = self.links.capacity() * size_of::<Link>();
        self.beside + (links + (kept + at_hand) * (size_of::<Kept<B>>() + masks)) as u64
    }
}

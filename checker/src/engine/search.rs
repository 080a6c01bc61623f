//! The depth-first engine: looks for one order that explains a subhistory.
//!
//! Just in time (Lowe, "Testing for linearizability", 2017): operations are linearized only when the next
//! completion demands it. A configuration holds what is open, not what has passed, so that memory follows the
//! concurrency of a history and not its length. What keeps the search narrow:
//!
//! - Observations are linearized as soon as they are possible. That is sound only because they change no state
//!   whatever the state is.
//! - An overwrite hides: every other open operation that is possible in every state may have come right before
//!   it, and need not be decided upon. Nor need an operation that would have had no effect in a state that was
//!   passed. Both are *spare*.
//! - An overwrite that nobody demands yet is tried only if it makes something possible that was not.
//! - Of operations that do the same, the one that completes first goes first; any order of them can be put so.
//! - Operations of unknown outcome are counted by what they do, and tried only where they make something
//!   possible.
//! - A configuration that a failed one covers is not tried again (see [`Memo::covers`]).

use std::mem;

use super::budget::{Exhausted, MOVES_PER_LOOK, Meter};
use super::effort::Effort;
use super::lessons::Lessons;
use super::machine::{ClassId, Machine, Shape, StateId};
use super::mask::{Mask, Narrow, Wide};
use super::memo::{Configuration, Memo};
use super::problem::{CallId, Moment, Need, Problem};
use super::usage::{UsageId, Usages};
use super::window::{Kind, Window};

/// What a search found.
#[derive(Clone, Debug)]
pub(crate) enum Answer {
    /// The steps of an explanation, in order.
    Legal(Vec<Step>),
    /// There is none; the completion at this place of the moments cannot be explained.
    Illegal { furthest: usize },
    /// Something ran out while the search stood, at best, at this place.
    Exhausted { limit: Exhausted, furthest: usize },
}

/// One step of an explanation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Step {
    /// The place of the moments where it was taken: everything invoked before may be linearized here.
    pub(crate) at: u32,
    pub(crate) what: Taken,
}

/// What was linearized.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Taken {
    /// A required call, here.
    Call(CallId),
    /// A required call, somewhere between its invocation and here, where it left no trace.
    Traceless(CallId),
    /// The operation of unknown outcome of this class that was invoked first and is not used yet.
    Optional(ClassId),
}

/// Searches with masks as wide as the subhistory needs.
///
/// Engines take turns: the depth-first one for a while, which decides nearly everything; then the breadth-first
/// one with more and more configurations; then the depth-first one to the end.
pub(crate) fn search<M: Machine>(problem: &mut Problem<M>, meter: &mut Meter<'_>) -> Answer {
    let answer = search_for(problem, usize::MAX, meter);
    answer.expect("it has all the turns there are")
}

/// An explanation, if the depth-first engine finds one in its first turn.
pub(crate) fn search_briefly<M: Machine>(
    problem: &mut Problem<M>,
    meter: &mut Meter<'_>,
) -> Option<Vec<Step>> {
    match search_for(problem, 0, meter) {
        Some(Answer::Legal(steps)) => Some(steps),
        Some(Answer::Illegal { .. } | Answer::Exhausted { .. }) | None => None,
    }
}

/// Searches until the depth-first engine has had so many turns after its first.
fn search_for<M: Machine>(problem: &mut Problem<M>, turns: usize, meter: &mut Meter<'_>) -> Option<Answer> {
    let (slots, count) = problem.slots();
    match count {
        0..=64 if M::COMMON => Search::<M, Narrow<1>>::new(problem, slots, count).decide(turns, meter),
        65..=128 if M::COMMON => Search::<M, Narrow<2>>::new(problem, slots, count).decide(turns, meter),
        129..=256 if M::COMMON => Search::<M, Narrow<4>>::new(problem, slots, count).decide(turns, meter),
        _ => Search::<M, Wide>::new(problem, slots, count).decide(turns, meter),
    }
}

/// The depth-first engine alone, for tests.
#[cfg(test)]
pub(crate) fn search_in_depth<M: Machine>(problem: &mut Problem<M>, meter: &mut Meter<'_>) -> Answer {
    let (slots, count) = problem.slots();
    let mut search = Search::<M, Wide>::new(problem, slots, count);
    search.counts_loosely = false;
    let answer = search.depth_first(meter, u64::MAX, u64::MAX);
    answer.expect("it has all the moves there are")
}

/// The breadth-first engine alone, keeping so many configurations at first, for tests.
#[cfg(test)]
pub(crate) fn search_in_breadth<M: Machine>(
    problem: &mut Problem<M>,
    calm: usize,
    meter: &mut Meter<'_>,
) -> Answer {
    let (slots, count) = problem.slots();
    let mut search = Search::<M, Narrow<1>>::new(problem, slots, count);
    search.counts_loosely = false;
    let mut standing = Some(search.stand(calm));
    let answer = search.breadth_first(meter, &mut standing, usize::MAX);
    answer.expect("it may fail as often as it must")
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Move {
    /// The demanded call is spare: it was linearized already.
    Spare,
    /// Linearize the call in this slot.
    Slot(u32),
    /// Use an operation of unknown outcome.
    Optional(ClassId),
}

/// A configuration whose moves are being tried.
#[derive(Debug)]
struct Frame<B> {
    configuration: Configuration<B>,
    /// Its untried moves are those from here to the end, last first.
    moves: usize,
    steps: usize,
}

#[derive(Debug)]
pub(super) struct Search<'p, M, B> {
    pub(super) problem: &'p mut Problem<M>,
    pub(super) window: Window<B>,
    /// Where each call completes.
    pub(super) deadlines: Vec<u32>,
    memo: Memo<B>,
    pub(super) usages: Usages,
    frames: Vec<Frame<B>>,
    pub(super) moves: Vec<Move>,
    pub(super) steps: Vec<Step>,
    pub(super) furthest: usize,
    /// How many calls are open at once, at most.
    pub(super) slot_count: usize,
    candidates: Vec<(Rank, u32, Move)>,
    tried: Vec<(ClassId, u32, usize)>,
    pub(super) scratch: Vec<u32>,
    pub(super) lessons: Lessons,
    /// Whether operations of unknown outcome are not counted while there are plenty.
    pub(super) counts_loosely: bool,
    pub(super) effort: Effort,
}

/// Moves per moment that the depth-first engine may take before the other has a turn.
const PATIENCE: u64 = 8;
/// Moves that it may take without getting further.
const STUCK: u64 = 4 * MOVES_PER_LOOK;
/// By how much more that is with each turn.
const MORE_STUCK: u64 = 8;
/// How often all configurations of the breadth-first engine may fail in its first turn.
const FAILURES: usize = 12;
/// By how much more that is with each turn.
const MORE_FAILURES: usize = 3;
/// With more than this, the depth-first engine takes the last turn.
const MOST_FAILURES: usize = 100;
/// About how many masks are gone through or copied with a move.
const MASKS: usize = 8;
/// The order in which moves are tried; the least is tried first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    /// Demanded, and something that is open waits for it.
    Wanted,
    Spare,
    /// Possible only in the present state.
    Exchange,
    Demanded,
    /// Makes the demanded call possible.
    Enables,
    Useful,
    Optional,
    /// Changes nothing but lets others count as hidden.
    Hides,
}

impl<'p, M: Machine, B: Mask> Search<'p, M, B> {
    pub(super) fn new(problem: &'p mut Problem<M>, slots: Vec<u32>, count: usize) -> Self {
        let mut deadlines = vec![u32::MAX; problem.calls.len()];
        for (at, moment) in problem.moments.iter().enumerate() {
            if let Moment::Completed(call) = moment.moment() {
                deadlines[call.0 as usize] = at as u32;
            }
        }
        let window = Window::new(problem, slots, count);
        let lessons = Lessons::new(window.supply.as_ref());
        // Only where states are known beforehand are there finitely many: a queue that unknown operations fill as
        // often as one likes never comes to an end.
        let counts_loosely = window.supply.is_some();
        Search {
            problem,
            window,
            deadlines,
            memo: Memo::new(),
            usages: Usages::default(),
            frames: Vec::new(),
            moves: Vec::new(),
            steps: Vec::new(),
            furthest: 0,
            slot_count: count,
            candidates: Vec::new(),
            tried: Vec::new(),
            scratch: Vec::new(),
            lessons,
            counts_loosely,
            effort: Effort::default(),
        }
    }

    fn decide(mut self, turns: usize, meter: &mut Meter<'_>) -> Option<Answer> {
        let answer = self.take_turns(turns, meter);
        if let Some(Answer::Legal(steps)) = &answer
            && !self.is_affordable(steps)
        {
            self.counts_loosely = false;
            self.forget();
            return self.take_turns(turns, meter);
        }
        answer
    }

    /// Nothing if so many turns do not suffice.
    fn take_turns(&mut self, turns: usize, meter: &mut Meter<'_>) -> Option<Answer> {
        let mut turn = 0;
        let patience = PATIENCE * self.problem.moments.len() as u64 + MOVES_PER_LOOK;
        let (mut stuck, mut failures) = (STUCK, FAILURES);
        let mut standing = None;
        loop {
            // Where states are not known beforehand the breadth-first engine cannot prove a violation where it is.
            let last = self.window.supply.is_none() && failures > MOST_FAILURES;
            let patience = if last { u64::MAX } else { patience.max(stuck) };
            let answer = self.depth_first(meter, patience, if last { u64::MAX } else { stuck });
            if answer.is_some() || turn == turns {
                return answer;
            }
            turn += 1;
            self.forget();
            let answer = self.breadth_first(meter, &mut standing, failures);
            if answer.is_some() {
                return answer;
            }
            self.forget();
            (stuck, failures) = (
                stuck.saturating_mul(MORE_STUCK),
                failures.saturating_mul(MORE_FAILURES),
            );
        }
    }

    /// Begins anew.
    fn forget(&mut self) {
        self.memo = Memo::new();
        self.effort.beside = 0;
        self.frames.clear();
        self.moves.clear();
        self.steps.clear();
        self.window.back_to(self.problem, 0);
    }

    /// Room for every slot.
    pub(super) fn room(&self) -> usize {
        self.window.open.words().len() * 64
    }

    /// Nothing if so many moves do not suffice, or if so many in a row lead no further than any before.
    fn depth_first(&mut self, meter: &mut Meter<'_>, moves: u64, stuck: u64) -> Option<Answer> {
        let begun = self.effort.spent();
        let (mut furthest, mut since, mut counted) = (0, begun, begun);
        let slots = self.window.open.without(&self.window.open);
        let mut here = Configuration {
            at: 0,
            state: self.problem.machine.init(),
            done: slots.clone(),
            spare: slots,
            used: UsageId::NOTHING,
        };
        let mut made = 0;
        loop {
            if self.advance(&mut here) {
                if self.window.at() == self.problem.moments.len() {
                    return Some(Answer::Legal(mem::take(&mut self.steps)));
                }
                if let Err(limit) = self.consider(here, meter) {
                    return Some(self.exhausted(limit));
                }
            }
            made += 1;
            if (made == MOVES_PER_LOOK || self.is_overdue())
                && let Err(limit) = self.look(mem::take(&mut made), meter)
            {
                return Some(self.exhausted(limit));
            }
            // The meter may have been asked while moves were listed, too.
            let spent = self.effort.spent();
            if spent != counted {
                counted = spent;
                if furthest != self.furthest {
                    (furthest, since) = (self.furthest, spent);
                }
                if spent - begun >= moves || spent - since >= stuck {
                    return None;
                }
            }
            match self.next() {
                Some(next) => here = next,
                None => {
                    let furthest = self.furthest;
                    return Some(Answer::Illegal { furthest });
                }
            }
        }
    }

    /// Passes moments until a completion demands a call that is not linearized, or the end. Says whether the
    /// configuration may still lead somewhere.
    fn advance(&mut self, here: &mut Configuration<B>) -> bool {
        loop {
            let at = self.window.at();
            here.at = at as u32;
            let Some(packed) = self.problem.moments.get(at) else {
                return true;
            };
            match packed.moment() {
                Moment::Invoked(call) => {
                    self.window.forward(self.problem);
                    if self.problem.call(call).need == Need::Required {
                        self.meet(here, call);
                    }
                }
                Moment::Completed(call) => {
                    let slot = self.window.slot(call);
                    if !here.done.has(slot) {
                        self.furthest = self.furthest.max(at);
                        return !self.problem.machine.hopeless(here.state, at);
                    }
                    here.done.take(slot);
                    self.window.forward(self.problem);
                }
            }
        }
    }

    /// A call is invoked.
    #[inline]
    pub(super) fn meet(&mut self, here: &mut Configuration<B>, call: CallId) {
        let kind = self.window.kind(call);
        if matches!(kind, Kind::Exchange | Kind::Bound) {
            return;
        }
        let slot = self.window.slot(call);
        let next = self
            .problem
            .machine
            .step(here.state, self.problem.call(call).class);
        match (kind, next) {
            (Kind::Observation, Some(_)) => {
                here.done.put(slot);
                let at = self.window.at() as u32;
                self.steps.push(Step {
                    at,
                    what: Taken::Call(call),
                });
            }
            (Kind::Traceless, Some(next)) if next == here.state => here.spare.put(slot),
            _ => {}
        }
    }

    /// Notes the moves of a configuration, unless it is known to fail.
    fn consider(&mut self, here: Configuration<B>, meter: &mut Meter<'_>) -> Result<(), Exhausted> {
        // What an earlier configuration of the same place covers need not be tried even while that one is being
        // tried: whatever would succeed from here would succeed from there.
        let same_place = self
            .frames
            .iter()
            .rev()
            .take_while(|frame| frame.configuration.at == here.at);
        let mut compared = 0;
        let mut earlier = same_place.map(|frame| &frame.configuration);
        let known = earlier.any(|earlier| {
            compared += 1;
            earlier.covers(&here, &self.usages)
        });
        self.effort.add(compared * here.done.words().len());
        if known || self.memo.covers(&here, &self.window.traceless, &self.usages) {
            return Ok(());
        }
        let moves = self.moves.len();
        self.find_moves(&here, meter)?;
        self.frames.push(Frame {
            configuration: here,
            moves,
            steps: self.steps.len(),
        });
        Ok(())
    }

    /// Takes the next untried move; configurations without one have failed.
    fn next(&mut self) -> Option<Configuration<B>> {
        loop {
            let frame = self.frames.last()?;
            let (at, steps) = (frame.configuration.at as usize, frame.steps);
            self.steps.truncate(steps);
            self.window.back_to(self.problem, at);
            if self.moves.len() == frame.moves {
                let failed = self.frames.pop().expect("just seen").configuration;
                self.memo.insert(failed, &self.window.traceless);
                continue;
            }
            let chosen = self.moves.pop().expect("more than the frame's first");
            let here = frame.configuration.clone();
            if let Some(next) = self.take(here, chosen) {
                return Some(next);
            }
        }
    }

    pub(super) fn take(&mut self, mut here: Configuration<B>, chosen: Move) -> Option<Configuration<B>> {
        let at = here.at;
        let (class, what) = match chosen {
            Move::Spare => {
                let call = self.demanded();
                here.done.put(self.window.slot(call));
                here.spare.take(self.window.slot(call));
                self.steps.push(Step {
                    at,
                    what: Taken::Traceless(call),
                });
                return Some(here);
            }
            Move::Slot(slot) => {
                let call = self.window.call(slot as usize);
                here.done.put(slot as usize);
                here.spare.take(slot as usize);
                (self.problem.call(call).class, Taken::Call(call))
            }
            Move::Optional(class) => {
                if !self.is_plenty(class, here.used) {
                    here.used = self.usages.with(here.used, class);
                }
                (class, Taken::Optional(class))
            }
        };
        here.state = self.problem.machine.step(here.state, class)?;
        self.steps.push(Step { at, what });
        if let Shape::Overwrite(_) = self.problem.machine.shape(class) {
            self.hide(&mut here);
        }
        self.settle(&mut here).then_some(here)
    }

    /// Right before an overwrite anything may have come that is possible in every state.
    fn hide(&mut self, here: &mut Configuration<B>) {
        let left = self.window.traceless.without(&here.done);
        for slot in left.slots() {
            if let Shape::Overwrite(_) | Shape::Total = self.shape(slot) {
                here.spare.put(slot);
            }
        }
    }

    /// Linearizes the observations that the new state makes possible and finds what would have no effect in it.
    /// Says whether none became impossible for good.
    fn settle(&mut self, here: &mut Configuration<B>) -> bool {
        let waiting = self.window.observations.without(&here.done);
        self.gone_through(&waiting);
        for slot in waiting.slots() {
            let call = self.window.call(slot);
            let class = self.problem.call(call).class;
            if self.problem.machine.step(here.state, class).is_some() {
                here.done.put(slot);
                self.steps.push(Step {
                    at: here.at,
                    what: Taken::Call(call),
                });
            } else if self.problem.machine.missed(here.state, class) {
                return false;
            }
        }
        let mut left = self.window.traceless.without(&here.done);
        left.take_all(&here.spare);
        self.gone_through(&left);
        for slot in left.slots() {
            let class = self.problem.call(self.window.call(slot)).class;
            if self.problem.machine.step(here.state, class) == Some(here.state) {
                here.spare.put(slot);
            }
        }
        !self.problem.machine.hopeless(here.state, here.at as usize) && self.can_be_met(here)
    }

    /// Notes what may be linearized next, the best last.
    pub(super) fn find_moves(
        &mut self,
        here: &Configuration<B>,
        meter: &mut Meter<'_>,
    ) -> Result<(), Exhausted> {
        let demanded = self.window.slot(self.demanded());
        self.candidates.clear();
        self.tried.clear();
        if here.spare.has(demanded) {
            self.candidates.push((Rank::Spare, 0, Move::Spare));
        }
        let mut left = self.window.open.without(&here.done);
        left.take_all(&self.window.observations);
        self.effort.add(left.count() + left.words().len() * MASKS);
        for slot in left.slots() {
            let before = self.problem.call(self.window.call(slot)).after;
            if self.is_in_turn(here, before) {
                self.consider_slot(here, slot, demanded, &left);
            }
            // With very much open, the moves of one place take longer than thousands elsewhere.
            if self.is_overdue() {
                self.look(0, meter)?;
            }
        }
        for place in 0..self.window.offers() {
            self.effort.compared(self.tried.len());
            if self.is_overdue() {
                self.look(0, meter)?;
            }
            let (class, count) = self.window.offer(place);
            let twin = self.tried.iter().any(|&(tried, ..)| tried == class);
            let in_turn = self.is_in_turn(here, self.window.before_optional(class));
            if !twin && in_turn && self.usages.count(here.used, class) < count {
                self.consider_optional(here, class, demanded, &left);
            }
        }
        // Moves are taken from the end. Among equals, what completes first goes first.
        self.candidates
            .sort_unstable_by_key(|&(rank, deadline, _)| std::cmp::Reverse((rank, deadline)));
        self.moves
            .extend(self.candidates.iter().map(|&(_, _, chosen)| chosen));
        Ok(())
    }

    fn consider_slot(&mut self, here: &Configuration<B>, slot: usize, demanded: usize, left: &B) {
        let call = self.window.call(slot);
        let class = self.problem.call(call).class;
        let Some(next) = self.problem.machine.step(here.state, class) else {
            return;
        };
        let plain = self.window.kind(call) == Kind::Traceless;
        let rank = match self.problem.machine.shape(class) {
            Shape::Overwrite(_) if slot == demanded && plain && self.wanted_now(here, next) => Rank::Wanted,
            _ if slot == demanded => Rank::Demanded,
            Shape::Exchange(..) => Rank::Exchange,
            Shape::Overwrite(_) if plain && next == here.state => {
                if !self.could_hide(here, slot, left) {
                    return;
                }
                Rank::Hides
            }
            Shape::Overwrite(_) if plain => match self.use_of(here, next, demanded, left) {
                Some(rank) => rank,
                None => return,
            },
            // It would have no effect, now as at any time while the state is this: it is spare.
            Shape::General | Shape::Total if plain && next == here.state => return,
            // In a lost state everything else that is open would be spare. It can wait until somebody demands
            // it, unless an observation waits for just that.
            Shape::Total if plain && self.problem.machine.is_lost(next) => {
                if !self.lets_observe(here, next) {
                    return;
                }
                Rank::Useful
            }
            _ => Rank::Useful,
        };
        // What may be linearized already is kept for later: it never must be.
        let spared = here.spare.has(slot) && !plain;
        let deadline = if spared {
            u32::MAX
        } else {
            self.deadlines[call.0 as usize]
        };
        let chosen = Move::Slot(slot as u32);
        if self.window.kind(call) != Kind::Bound {
            self.effort.compared(self.tried.len());
            match self.tried.iter_mut().find(|(tried, ..)| *tried == class) {
                Some(&mut (_, first, _)) if first <= deadline => return,
                Some(entry) => {
                    let at = entry.2;
                    *entry = (class, deadline, at);
                    self.candidates[at] = (rank.min(self.candidates[at].0), deadline, chosen);
                    return;
                }
                None => self.tried.push((class, deadline, self.candidates.len())),
            }
        }
        self.candidates.push((rank, deadline, chosen));
    }

    fn consider_optional(&mut self, here: &Configuration<B>, class: ClassId, demanded: usize, left: &B) {
        let Some(next) = self.problem.machine.step(here.state, class) else {
            return;
        };
        let rank = match self.problem.machine.shape(class) {
            _ if next == here.state => match self.problem.machine.shape(class) {
                Shape::Overwrite(_) if self.could_hide(here, usize::MAX, left) => Rank::Hides,
                _ => return,
            },
            Shape::Total if self.problem.machine.is_lost(next) && !self.lets_observe(here, next) => return,
            Shape::General | Shape::Total => Rank::Optional,
            _ if self.use_of(here, next, demanded, left).is_none() => return,
            _ => Rank::Optional,
        };
        self.candidates.push((rank, u32::MAX, Move::Optional(class)));
    }

    /// Whether reaching a state makes something possible that is not possible now.
    fn use_of(&mut self, here: &Configuration<B>, next: StateId, demanded: usize, left: &B) -> Option<Rank> {
        let waiting = self.window.observations.without(&here.done);
        self.effort.add(waiting.count() + left.count());
        let mut useful = false;
        for slot in waiting.slots() {
            let class = self.problem.call(self.window.call(slot)).class;
            if self.problem.machine.step(next, class).is_some() {
                if slot == demanded {
                    return Some(Rank::Enables);
                }
                useful = true;
            }
        }
        for slot in left.slots() {
            match self.shape(slot) {
                Shape::Exchange(from, _) if from == next => {
                    if slot == demanded {
                        return Some(Rank::Enables);
                    }
                    useful = true;
                }
                Shape::Exchange(..) => {}
                Shape::Overwrite(_) if self.window.kind(self.window.call(slot)) == Kind::Traceless => {}
                Shape::Total
                    if slot != demanded && self.window.kind(self.window.call(slot)) == Kind::Traceless =>
                {
                    useful |= self.leads_on(next, self.problem.call(self.window.call(slot)).class);
                }
                _ => useful = true,
            }
        }
        if !useful {
            self.effort.add(self.window.offers());
            useful = (0..self.window.offers()).any(|place| {
                let (class, count) = self.window.offer(place);
                let enabled = match self.problem.machine.shape(class) {
                    Shape::Exchange(from, _) => from == next,
                    Shape::Total => self.leads_on(next, class),
                    Shape::General => true,
                    Shape::Overwrite(_) | Shape::Observation => false,
                };
                enabled && self.usages.count(here.used, class) < count
            });
        }
        useful.then_some(Rank::Useful)
    }

    pub(super) fn shape(&self, slot: usize) -> Shape {
        self.problem
            .machine
            .shape(self.problem.call(self.window.call(slot)).class)
    }

    fn demanded(&self) -> CallId {
        match self.problem.moments[self.window.at()].moment() {
            Moment::Completed(call) => call,
            Moment::Invoked(_) => unreachable!("the search stands where a completion is demanded"),
        }
    }

    pub(super) fn bytes(&self) -> u64 {
        let frame = size_of::<Frame<B>>() + self.window.open.words().len() * 16;
        self.memo.bytes()
            + self.usages.bytes()
            + (self.frames.capacity() * frame
                + self.moves.capacity() * size_of::<Move>()
                + self.steps.capacity() * size_of::<Step>()
                + self.problem.moments.len() * 24) as u64
    }
}

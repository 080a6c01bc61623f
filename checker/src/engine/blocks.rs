//! The polynomial path for registers in which no value is written twice.
//!
//! Then every read says which write it saw, and a successful exchange which one it replaced. A write, the reads
//! of its value, the exchange of that value, the reads of the new one, and so on, form a *block* that nothing
//! else can come into: the value would not come back. So an order of the operations is an order of the blocks.
//! With `f` the first completion in a block and `s` the last invocation, block A must come before block B exactly
//! if f(A) < s(B) (zones, after Gibbons & Korach, "Testing shared memories", 1997). Sorted by min(f, s), blocks
//! are in such an order if there is one:
//!
//! - A before B is required, so f(A) < s(B); and B before A is not, so s(A) <= f(B).
//! - If s(A) <= f(A), then s(A) <= f(A) < s(B) and s(A) <= f(B), so min(A) < min(B).
//! - Otherwise f(A) < s(A) <= f(B) and f(A) < s(B), so min(A) < min(B).
//!
//! Operations of unknown outcome count only if their value was seen. A failed cas saw that some value was not
//! there; those are put into the order afterwards. Where one finds no place, blocks close by are moved, as far as
//! they may be, until it does; where that fails the search decides.

use std::ops::Range;

use super::machine::{Machine, Shape, StateId};
use super::problem::{CallId, NEVER, Need, Problem, Span};

/// What the polynomial path found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Blocks {
    /// This order explains everything.
    Legal(Vec<CallId>),
    /// Nothing does.
    Illegal,
    /// Values are not written once each, or failed cas need a search.
    NotApplicable,
}

/// What is known of one value. There are as many as values: it is kept small.
#[derive(Clone, Debug)]
struct Cluster {
    /// Who made it; nobody if it was there from the beginning.
    maker: CallId,
    /// What it was made from, if an exchange made it.
    from: StateId,
    /// What the exchange made of it that took it away.
    next: StateId,
    /// Who saw it first and last: what is between is in [`Clusters::next_reader`].
    first_reader: CallId,
    last_reader: CallId,
    /// Whether anybody made it, or it was there.
    made: bool,
    /// Whether it must have been there.
    seen: bool,
}

const NOBODY: CallId = CallId(u32::MAX);
const NOTHING: StateId = StateId(u32::MAX);

impl Default for Cluster {
    fn default() -> Self {
        Cluster {
            maker: NOBODY,
            from: NOTHING,
            next: NOTHING,
            first_reader: NOBODY,
            last_reader: NOBODY,
            made: false,
            seen: false,
        }
    }
}

impl Cluster {
    fn maker(&self) -> Option<CallId> {
        (self.maker != NOBODY).then_some(self.maker)
    }

    fn from(&self) -> Option<StateId> {
        (self.from != NOTHING).then_some(self.from)
    }

    fn next(&self) -> Option<StateId> {
        (self.next != NOTHING).then_some(self.next)
    }
}

/// Decides a problem whose values are written once each.
pub(crate) fn decide<M: Machine>(problem: &Problem<M>) -> Blocks {
    let Some(clusters) = Clusters::new(problem) else {
        return M::decide_growing(problem);
    };
    let Some(clusters) = clusters.with_seen() else {
        return Blocks::Illegal;
    };
    let Some((mut blocks, mut calls)) = clusters.blocks() else {
        return Blocks::Illegal;
    };
    sort(&mut blocks, clusters.moments);
    let mut used = 0;
    for repair in 0..REPAIRS {
        let mut order: Vec<Placed> = Vec::with_capacity(calls.len());
        for block in &blocks {
            order.extend_from_slice(block.of(&calls));
        }
        let Some(latest) = clusters.in_time(&order) else {
            // Sorted, they are in time if they can be.
            return if repair == 0 {
                Blocks::Illegal
            } else {
                Blocks::NotApplicable
            };
        };
        if clusters.differs.is_empty() {
            return Blocks::Legal(order.into_iter().map(|placed| placed.call).collect());
        }
        let homeless = match clusters.place_differs(&order, &latest) {
            Ok(order) => return Blocks::Legal(order),
            Err(homeless) => homeless,
        };
        let starts: Vec<usize> = blocks
            .iter()
            .scan(0, |calls, block| {
                *calls += block.calls.len();
                Some(*calls - block.calls.len())
            })
            .collect();
        for (differs, value, near) in homeless {
            // Blocks have moved a little since they were counted.
            let near = starts.partition_point(|&start| start < near);
            if clusters.holds_throughout(differs, value) {
                return Blocks::Illegal;
            }
            let room = Room { differs, value, near };
            if !clusters.make_room(problem, &mut blocks, &mut calls, room, &mut used) {
                return Blocks::NotApplicable;
            }
        }
    }
    Blocks::NotApplicable
}

/// How often blocks are moved to make room for all observations that found none.
const REPAIRS: usize = 8;
/// How far a block is moved for that.
const MOVED: usize = 12;

struct Clusters {
    of: Vec<Cluster>,
    spans: Vec<Span>,
    /// Per call that saw a value, who saw the same one next.
    next_reader: Vec<CallId>,
    init: StateId,
    /// Exchanges of unknown outcome: from, and to.
    maybe: Vec<(StateId, StateId)>,
    /// Observations that some value was not there.
    differs: Vec<(CallId, StateId)>,
    /// Writes of unknown outcome that nobody saw, by invocation.
    unseen: Vec<CallId>,
    moments: usize,
}

/// A call in the order, and the value that it leaves behind.
#[derive(Clone, Copy)]
struct Placed {
    call: CallId,
    value: StateId,
}

/// A run of calls that nothing else can come into.
#[derive(Clone)]
struct Block {
    /// Where they are among the calls of all blocks.
    calls: Range<usize>,
    /// min(f, s), shifted to make room for the block that was there from the beginning.
    place: u32,
    /// f
    first_completed: u32,
    /// s
    last_invoked: u32,
}

impl Block {
    fn of<'a>(&self, calls: &'a [Placed]) -> &'a [Placed] {
        &calls[self.calls.clone()]
    }
}

/// What must be made room for: an observation that this value was not there, at a block of this number.
struct Room {
    differs: CallId,
    value: StateId,
    near: usize,
}

impl Clusters {
    fn new<M: Machine>(problem: &Problem<M>) -> Option<Clusters> {
        let init = problem.machine.init();
        let mut clusters = Clusters {
            of: Vec::new(),
            spans: Vec::new(),
            next_reader: Vec::new(),
            init,
            maybe: Vec::new(),
            differs: Vec::new(),
            unseen: Vec::new(),
            moments: problem.moments.len(),
        };
        let first = clusters.cluster(init);
        (first.made, first.seen) = (true, true);
        for (number, call) in problem.calls.iter().enumerate() {
            if call.after.is_some() {
                return None;
            }
            let id = CallId(number as u32);
            match problem.machine.shape(call.class) {
                Shape::Overwrite(to) => clusters.made(to, NOTHING, id, call.need)?,
                Shape::Exchange(from, to) => {
                    clusters.made(to, from, id, call.need)?;
                    if call.need == Need::Optional {
                        clusters.maybe.push((from, to));
                    } else {
                        clusters.cluster(from).seen = true;
                    }
                }
                Shape::Observation => match problem.machine.observes(call.class)? {
                    Observes::Is(value) => {
                        clusters.read(value, id);
                    }
                    Observes::IsNot(value) => clusters.differs.push((id, value)),
                },
                Shape::Total | Shape::General => return None,
            }
        }
        // Most histories write values twice: that shows before this is worth its time.
        clusters.spans = problem.spans();
        Some(clusters)
    }

    /// Notes who saw a value.
    fn read(&mut self, value: StateId, by: CallId) {
        let cluster = self.cluster(value);
        cluster.seen = true;
        let last = std::mem::replace(&mut cluster.last_reader, by);
        if last == NOBODY {
            cluster.first_reader = by;
        } else {
            self.next_reader[last.0 as usize] = by;
        }
        self.next_reader.resize(by.0 as usize + 1, NOBODY);
    }

    /// Who saw a value, by invocation.
    fn readers(&self, cluster: &Cluster) -> impl Iterator<Item = CallId> + Clone {
        let first = Some(cluster.first_reader).filter(|first| *first != NOBODY);
        std::iter::successors(first, |reader| {
            Some(self.next_reader[reader.0 as usize]).filter(|next| *next != NOBODY)
        })
    }

    fn cluster(&mut self, value: StateId) -> &mut Cluster {
        let at = value.0 as usize;
        if at >= self.of.len() {
            self.of.resize_with(at + 1, Cluster::default);
        }
        &mut self.of[at]
    }

    /// Nothing if the value is made twice.
    fn made(&mut self, value: StateId, from: StateId, by: CallId, need: Need) -> Option<()> {
        let cluster = self.cluster(value);
        if cluster.made {
            return None;
        }
        (cluster.made, cluster.maker, cluster.from) = (true, by, from);
        cluster.seen |= need == Need::Required;
        Some(())
    }

    /// Finds which operations of unknown outcome must have happened, and which exchange took each value away.
    /// Nothing if two did, or if a value was seen that nobody made.
    fn with_seen(mut self) -> Option<Clusters> {
        let mut queue: Vec<StateId> = Vec::new();
        for &(from, to) in &self.maybe {
            if self.of[to.0 as usize].seen {
                queue.push(from);
            }
        }
        while let Some(from) = queue.pop() {
            let cluster = self.of.get_mut(from.0 as usize)?;
            if !cluster.seen {
                cluster.seen = true;
                // Whatever made it is of unknown outcome, or it would count as seen.
                queue.extend(cluster.from());
            }
        }
        for at in 0..self.of.len() {
            let cluster = &self.of[at];
            if !cluster.seen {
                self.unseen
                    .extend(cluster.maker().filter(|_| cluster.from == NOTHING));
                continue;
            }
            if !cluster.made {
                return None;
            }
            if let Some(from) = cluster.from() {
                let source = &mut self.of[from.0 as usize];
                if source.next != NOTHING {
                    return None;
                }
                source.next = StateId(at as u32);
            }
        }
        self.unseen.sort_unstable();
        Some(self)
    }

    /// Every block and the calls of all; nothing if one contradicts itself.
    fn blocks(&self) -> Option<(Vec<Block>, Vec<Placed>)> {
        let seen = self.of.iter().filter(|cluster| cluster.seen).count();
        let (mut blocks, mut calls) = (Vec::new(), Vec::with_capacity(self.spans.len()));
        let mut visited = 0;
        for (at, cluster) in self.of.iter().enumerate() {
            if !cluster.seen || cluster.from != NOTHING {
                continue;
            }
            let start = calls.len();
            let (mut first_completed, mut last_invoked) = (NEVER, 0);
            let mut stage = Some(at);
            while let Some(at) = stage {
                visited += 1;
                let cluster = &self.of[at];
                let value = StateId(at as u32);
                let begins = calls.len();
                calls.extend(cluster.maker().map(|call| Placed { call, value }));
                let made = calls.len();
                calls.extend(self.readers(cluster).map(|call| Placed { call, value }));
                for part in [begins..made, made..calls.len()] {
                    // Whatever comes later must not have completed before something earlier was invoked.
                    let spans = || calls[part.clone()].iter().map(|placed| self.span(placed.call));
                    if spans().any(|span| span.completed < last_invoked) {
                        return None;
                    }
                    for span in spans() {
                        first_completed = first_completed.min(span.completed);
                        last_invoked = last_invoked.max(span.invoked);
                    }
                }
                stage = cluster.next().map(|next| next.0 as usize);
            }
            let place = if StateId(at as u32) == self.init {
                0
            } else {
                first_completed.min(last_invoked) + 1
            };
            if calls.len() > start {
                blocks.push(Block {
                    calls: start..calls.len(),
                    place,
                    first_completed,
                    last_invoked,
                });
            }
        }
        // Exchanges that only lead to one another begin nowhere.
        (visited == seen).then_some((blocks, calls))
    }

    fn span(&self, call: CallId) -> Span {
        self.spans[call.0 as usize]
    }

    /// For each gap of an order, gap g being before its g-th call, the latest invocation before it. Nothing if
    /// something had completed before something earlier in the order was invoked.
    fn in_time(&self, order: &[Placed]) -> Option<Vec<u32>> {
        let mut last_invoked = 0;
        let mut latest = Vec::with_capacity(order.len() + 1);
        for placed in order {
            let span = self.span(placed.call);
            if span.completed < last_invoked {
                return None;
            }
            latest.push(last_invoked);
            last_invoked = last_invoked.max(span.invoked);
        }
        latest.push(last_invoked);
        Some(latest)
    }

    /// Puts the observations that a value was not there where it was not. Otherwise says which have no place, with
    /// the value and a place of the order close by. `latest` is the latest invocation before each gap.
    fn place_differs(
        &self,
        order: &[Placed],
        latest: &[u32],
    ) -> Result<Vec<CallId>, Vec<(CallId, StateId, usize)>> {
        let value_in = |gap: usize| gap.checked_sub(1).map_or(self.init, |before| order[before].value);
        // For each gap the earliest completion behind it, and the first gap after which the value is another.
        let mut earliest = vec![NEVER; latest.len()];
        let mut change = vec![latest.len() as u32; latest.len()];
        for gap in (0..order.len()).rev() {
            earliest[gap] = earliest[gap + 1].min(self.span(order[gap].call).completed);
            change[gap] = if order[gap].value == value_in(gap) {
                change[gap + 1]
            } else {
                gap as u32 + 1
            };
        }
        // By invocation; one that completed before another was invoked must not come behind it.
        let mut placed: Vec<(u32, u32, CallId)> = Vec::new();
        let mut homeless = Vec::new();
        let (mut after_done, mut least) = (0, 0);
        let mut waiting = std::collections::BinaryHeap::new();
        for &(call, value) in &self.differs {
            let span = self.span(call);
            while let Some(&std::cmp::Reverse((completed, gap))) = waiting.peek() {
                if completed > span.invoked {
                    break;
                }
                waiting.pop();
                after_done = after_done.max(gap);
            }
            // Behind everything that had completed by then.
            while earliest[least] < span.invoked {
                least += 1;
            }
            let mut gap = least.max(after_done);
            if value_in(gap) == value {
                gap = change[gap] as usize;
            }
            // And before everything that was invoked after it had completed.
            if latest.get(gap).is_none_or(|&latest| latest > span.completed) {
                homeless.push((call, value, least));
                continue;
            }
            waiting.push(std::cmp::Reverse((span.completed, gap)));
            placed.push((gap as u32, span.invoked, call));
        }
        if !homeless.is_empty() {
            return Err(homeless);
        }
        placed.sort_unstable_by_key(|&(gap, invoked, _)| (gap, invoked));
        let mut whole = Vec::with_capacity(order.len() + placed.len());
        let mut from = 0;
        for (gap, _, differs) in placed {
            let to = gap as usize;
            whole.extend(order[from..to].iter().map(|placed| placed.call));
            whole.push(differs);
            from = to;
        }
        whole.extend(order[from..].iter().map(|placed| placed.call));
        Ok(whole)
    }

    /// Whether a value was there all the time while something observed that it was not.
    fn holds_throughout(&self, differs: CallId, value: StateId) -> bool {
        let Some(cluster) = self.of.get(value.0 as usize).filter(|cluster| cluster.seen) else {
            return false;
        };
        let during = self.span(differs);
        let there = cluster.maker().into_iter().chain(self.readers(cluster));
        let began = cluster.maker == NOBODY
            || there
                .clone()
                .any(|call| self.span(call).completed < during.invoked);
        let taken_by = cluster.next().and_then(|next| self.of[next.0 as usize].maker());
        let mut after = there.chain(taken_by);
        began && after.any(|call| self.span(call).invoked > during.completed)
    }

    /// Moves a block so that an observation finds a place where the value is another. Says whether that did it, as
    /// far as can be seen from close by.
    fn make_room<M: Machine>(
        &self,
        problem: &Problem<M>,
        blocks: &mut [Block],
        calls: &mut Vec<Placed>,
        Room { differs, value, near }: Room,
        used: &mut usize,
    ) -> bool {
        let (from, to) = (
            near.saturating_sub(2 * MOVED),
            (near + 2 * MOVED).min(blocks.len()),
        );
        let window = &mut blocks[from..to];
        let makes = |block: &Block| {
            let mut own = block.of(calls).iter();
            own.any(|placed| self.makes(problem, placed.call) == Some(value))
        };
        let Some(at) = window.iter().position(makes) else {
            return false;
        };
        if self.has_place(problem, window, calls, differs, value) {
            return true;
        }
        // A write of unknown outcome that nobody saw may have ended it.
        let block = &mut window[at];
        let mut last_first = block.of(calls).iter().rev();
        let ends_with = last_first.find_map(|placed| self.makes(problem, placed.call));
        if ends_with == Some(value)
            && let Some(&unseen) = self.unseen.get(*used)
            && let Some(left) = self.makes(problem, unseen)
            && self.span(unseen).invoked <= block.last_invoked
        {
            let alone = block.calls.clone();
            let start = calls.len();
            calls.extend_from_within(alone.clone());
            calls.push(Placed {
                call: unseen,
                value: left,
            });
            block.calls = start..calls.len();
            if self.has_place(problem, window, calls, differs, value) {
                *used += 1;
                return true;
            }
            window[at].calls = alone;
        }
        // The block itself, later or earlier; or one that comes after it, to right behind it.
        for distance in 1..=MOVED {
            let later = (at + distance < window.len()).then(|| (at, at + distance));
            let earlier = (distance <= at).then(|| (at, at - distance));
            let closer = (distance > 1 && at + distance < window.len()).then(|| (at + distance, at + 1));
            for (old, new) in [later, earlier, closer].into_iter().flatten() {
                if self.may_move(window, old, new) {
                    turn(window, old, new);
                    if self.has_place(problem, window, calls, differs, value) {
                        return true;
                    }
                    turn(window, new, old);
                }
            }
        }
        false
    }

    fn makes<M: Machine>(&self, problem: &Problem<M>, call: CallId) -> Option<StateId> {
        match problem.machine.shape(problem.call(call).class) {
            Shape::Overwrite(to) | Shape::Exchange(_, to) => Some(to),
            Shape::Observation | Shape::Total | Shape::General => None,
        }
    }

    /// Whether a block may come to another place, past all between.
    fn may_move(&self, blocks: &[Block], old: usize, new: usize) -> bool {
        let must_come_before = |one: &Block, other: &Block| one.first_completed < other.last_invoked;
        let moved = &blocks[old];
        if old < new {
            blocks[old + 1..=new]
                .iter()
                .all(|passed| !must_come_before(moved, passed))
        } else {
            moved.place > 0
                && blocks[new..old]
                    .iter()
                    .all(|passed| passed.place > 0 && !must_come_before(passed, moved))
        }
    }

    /// Whether an observation has a place among these blocks.
    fn has_place<M: Machine>(
        &self,
        problem: &Problem<M>,
        blocks: &[Block],
        calls: &[Placed],
        differs: CallId,
        value: StateId,
    ) -> bool {
        let span = self.span(differs);
        let calls = || {
            let placed = blocks.iter().flat_map(|block| block.of(calls));
            placed.map(|placed| placed.call)
        };
        let least = calls()
            .enumerate()
            .filter(|(_, call)| self.span(*call).completed < span.invoked)
            .last()
            .map_or(0, |(at, _)| at + 1);
        let mut state = None;
        for (at, call) in calls().enumerate() {
            if at >= least && at > 0 && state.is_some_and(|state| state != value) {
                return true;
            }
            if self.span(call).invoked > span.completed {
                return false;
            }
            state = self.makes(problem, call).or(state);
        }
        state.is_some_and(|state| state != value)
    }
}

/// Sorts blocks by their places, of which no two are the same.
fn sort(blocks: &mut Vec<Block>, moments: usize) {
    if blocks.len() < moments / SPARSE {
        blocks.sort_unstable_by_key(|block| block.place);
        return;
    }
    const NONE: u32 = u32::MAX;
    let mut at_place = vec![NONE; moments + 1];
    for (at, block) in blocks.iter().enumerate() {
        at_place[block.place as usize] = at as u32;
    }
    let sorted = at_place.into_iter().filter(|at| *at != NONE);
    *blocks = sorted.map(|at| blocks[at as usize].clone()).collect();
}

/// With fewer blocks for each moment than one in so many, comparing them is quicker than going through all places.
const SPARSE: usize = 32;

/// Takes something out of its place and puts it into another.
fn turn<T>(things: &mut [T], old: usize, new: usize) {
    if old < new {
        things[old..=new].rotate_left(1);
    } else {
        things[new..=old].rotate_right(1);
    }
}

/// What an observation says of the state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Observes {
    /// It is this one.
    Is(StateId),
    /// It is any but this one.
    IsNot(StateId),
}

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

/// What is known of one value.
#[derive(Clone, Debug)]
struct Cluster {
    /// Who made it; nobody if it was there from the beginning.
    maker: Option<CallId>,
    /// Whether anybody made it, or it was there.
    made: bool,
    /// What it was made from, if an exchange made it.
    from: Option<StateId>,
    /// The exchange that took it away.
    taken_by: Option<CallId>,
    /// Who saw it first and last: what is between is in [`Clusters::next_reader`].
    first_reader: CallId,
    last_reader: CallId,
    /// Whether it must have been there.
    seen: bool,
}

const NOBODY: CallId = CallId(u32::MAX);

impl Default for Cluster {
    fn default() -> Self {
        Cluster {
            maker: None,
            made: false,
            from: None,
            taken_by: None,
            first_reader: NOBODY,
            last_reader: NOBODY,
            seen: false,
        }
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
    // No two blocks have one place.
    blocks.sort_unstable_by_key(|block| block.place);
    let mut used = 0;
    for repair in 0..REPAIRS {
        let order: Vec<CallId> = blocks
            .iter()
            .flat_map(|block| block.of(&calls).iter().copied())
            .collect();
        if !clusters.in_time(&order) {
            // Sorted, they are in time if they can be.
            return if repair == 0 {
                Blocks::Illegal
            } else {
                Blocks::NotApplicable
            };
        }
        if clusters.differs.is_empty() {
            return Blocks::Legal(order);
        }
        let homeless = match clusters.place_differs(problem, &order) {
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
    /// Exchanges of unknown outcome: from, to, and the call.
    maybe: Vec<(StateId, StateId, CallId)>,
    /// Observations that some value was not there.
    differs: Vec<(CallId, StateId)>,
    /// Writes of unknown outcome that nobody saw, by invocation.
    unseen: Vec<CallId>,
    moments: usize,
}

/// A run of calls that nothing else can come into.
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
    fn of<'a>(&self, calls: &'a [CallId]) -> &'a [CallId] {
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
                Shape::Overwrite(to) => clusters.made(to, None, id, call.need)?,
                Shape::Exchange(from, to) => {
                    clusters.made(to, Some(from), id, call.need)?;
                    if call.need == Need::Optional {
                        clusters.maybe.push((from, to, id));
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
    fn made(&mut self, value: StateId, from: Option<StateId>, by: CallId, need: Need) -> Option<()> {
        let cluster = self.cluster(value);
        if cluster.made {
            return None;
        }
        (cluster.made, cluster.maker, cluster.from) = (true, Some(by), from);
        cluster.seen |= need == Need::Required;
        Some(())
    }

    /// Finds which operations of unknown outcome must have happened, and which exchange took each value away.
    /// Nothing if two did, or if a value was seen that nobody made.
    fn with_seen(mut self) -> Option<Clusters> {
        let mut queue: Vec<(StateId, StateId, CallId)> = Vec::new();
        let mut from_of: Vec<Option<(StateId, CallId)>> = vec![None; self.of.len()];
        for &(from, to, call) in &self.maybe {
            from_of[to.0 as usize] = Some((from, call));
            if self.of[to.0 as usize].seen {
                queue.push((from, to, call));
            }
        }
        while let Some((from, _, _)) = queue.pop() {
            let at = from.0 as usize;
            if at >= self.of.len() {
                return None;
            }
            if !self.of[at].seen {
                self.of[at].seen = true;
                queue.extend(from_of[at].map(|(before, call)| (before, from, call)));
            }
        }
        for at in 0..self.of.len() {
            let cluster = &self.of[at];
            if !cluster.seen {
                self.unseen
                    .extend(cluster.maker.filter(|_| cluster.from.is_none()));
                continue;
            }
            if !cluster.made {
                return None;
            }
            if let (Some(from), Some(maker)) = (cluster.from, cluster.maker) {
                let source = &mut self.of[from.0 as usize];
                if source.taken_by.replace(maker).is_some() {
                    return None;
                }
            }
        }
        self.unseen.sort_unstable();
        Some(self)
    }

    /// Every block and the calls of all; nothing if one contradicts itself.
    fn blocks(&self) -> Option<(Vec<Block>, Vec<CallId>)> {
        let mut next_of = vec![None; self.of.len()];
        let mut seen = 0;
        for (at, cluster) in self.of.iter().enumerate().filter(|(_, cluster)| cluster.seen) {
            seen += 1;
            if let Some(from) = cluster.from {
                next_of[from.0 as usize] = Some(at);
            }
        }
        let (mut blocks, mut calls) = (Vec::new(), Vec::with_capacity(self.spans.len()));
        let mut visited = 0;
        for (at, cluster) in self.of.iter().enumerate() {
            if !cluster.seen || cluster.from.is_some() {
                continue;
            }
            let start = calls.len();
            let (mut first_completed, mut last_invoked) = (NEVER, 0);
            let mut stage = Some(at);
            while let Some(at) = stage {
                visited += 1;
                let cluster = &self.of[at];
                let begins = calls.len();
                calls.extend(cluster.maker);
                let made = calls.len();
                calls.extend(self.readers(cluster));
                for part in [begins..made, made..calls.len()] {
                    // Whatever comes later must not have completed before something earlier was invoked.
                    let spans = || calls[part.clone()].iter().map(|call| self.spans[call.0 as usize]);
                    if spans().any(|span| span.completed < last_invoked) {
                        return None;
                    }
                    for span in spans() {
                        first_completed = first_completed.min(span.completed);
                        last_invoked = last_invoked.max(span.invoked);
                    }
                }
                stage = next_of[at];
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

    /// Whether nothing in the order had completed before something earlier in it was invoked.
    fn in_time(&self, order: &[CallId]) -> bool {
        let mut last_invoked = 0;
        order.iter().all(|call| {
            let span = self.spans[call.0 as usize];
            let fits = span.completed >= last_invoked;
            last_invoked = last_invoked.max(span.invoked);
            fits
        })
    }

    /// Puts the observations that a value was not there where it was not. Otherwise says which have no place, with
    /// the value and a place of the order close by.
    fn place_differs<M: Machine>(
        &self,
        problem: &Problem<M>,
        order: &[CallId],
    ) -> Result<Vec<CallId>, Vec<(CallId, StateId, usize)>> {
        // The value in each gap, gap g being before the g-th call of the order.
        let mut values = Vec::with_capacity(order.len() + 1);
        values.push(self.init);
        for call in order {
            let before = *values.last().expect("the first gap has one");
            values.push(match problem.machine.shape(problem.call(*call).class) {
                Shape::Overwrite(to) | Shape::Exchange(_, to) => to,
                Shape::Observation | Shape::Total | Shape::General => before,
            });
        }
        // The first gap after which the value is another.
        let mut change = vec![values.len() as u32; values.len()];
        for gap in (0..values.len() - 1).rev() {
            change[gap] = if values[gap + 1] == values[gap] {
                change[gap + 1]
            } else {
                gap as u32 + 1
            };
        }
        // Per moment: the least gap after everything completed by then, and the greatest before everything
        // invoked from then on.
        let mut least = vec![0u32; self.moments + 1];
        let mut most = vec![order.len() as u32; self.moments + 1];
        for (place, call) in order.iter().enumerate() {
            let span = self.spans[call.0 as usize];
            if span.completed != NEVER {
                least[span.completed as usize + 1] = place as u32 + 1;
            }
            most[span.invoked as usize] = place as u32;
        }
        for at in 1..=self.moments {
            least[at] = least[at].max(least[at - 1]);
        }
        for at in (0..self.moments).rev() {
            most[at] = most[at].min(most[at + 1]);
        }
        // By invocation; one that completed before another was invoked must not come behind it.
        let mut placed: Vec<(u32, u32, CallId)> = Vec::new();
        let mut homeless = Vec::new();
        let mut after_done = 0;
        let mut waiting = std::collections::BinaryHeap::new();
        for &(call, value) in &self.differs {
            let span = self.spans[call.0 as usize];
            while let Some(&std::cmp::Reverse((completed, gap))) = waiting.peek() {
                if completed > span.invoked {
                    break;
                }
                waiting.pop();
                after_done = after_done.max(gap);
            }
            let mut gap = least[span.invoked as usize].max(after_done);
            if values[gap as usize] == value {
                gap = change[gap as usize];
            }
            if gap > most[span.completed as usize] || gap as usize >= values.len() {
                homeless.push((call, value, least[span.invoked as usize] as usize));
                continue;
            }
            waiting.push(std::cmp::Reverse((span.completed, gap)));
            placed.push((gap, span.invoked, call));
        }
        if !homeless.is_empty() {
            return Err(homeless);
        }
        placed.sort_unstable_by_key(|&(gap, invoked, _)| (gap, invoked));
        let mut whole = Vec::with_capacity(order.len() + placed.len());
        let mut placed = placed.into_iter().peekable();
        for (gap, call) in order.iter().copied().map(Some).chain([None]).enumerate() {
            while let Some(&(at, _, differs)) = placed.peek()
                && at as usize == gap
            {
                placed.next();
                whole.push(differs);
            }
            whole.extend(call);
        }
        Ok(whole)
    }

    /// Whether a value was there all the time while something observed that it was not.
    fn holds_throughout(&self, differs: CallId, value: StateId) -> bool {
        let Some(cluster) = self.of.get(value.0 as usize).filter(|cluster| cluster.seen) else {
            return false;
        };
        let span = |call: CallId| self.spans[call.0 as usize];
        let during = span(differs);
        let there = cluster.maker.into_iter().chain(self.readers(cluster));
        let began =
            cluster.maker.is_none() || there.clone().any(|call| span(call).completed < during.invoked);
        let mut after = there.chain(cluster.taken_by);
        began && after.any(|call| span(call).invoked > during.completed)
    }

    /// Moves a block so that an observation finds a place where the value is another. Says whether that did it, as
    /// far as can be seen from close by.
    fn make_room<M: Machine>(
        &self,
        problem: &Problem<M>,
        blocks: &mut [Block],
        calls: &mut Vec<CallId>,
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
            own.any(|call| self.makes(problem, *call) == Some(value))
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
        let ends_with = last_first.find_map(|call| self.makes(problem, *call));
        if ends_with == Some(value)
            && let Some(&unseen) = self.unseen.get(*used)
            && self.spans[unseen.0 as usize].invoked <= block.last_invoked
        {
            let alone = block.calls.clone();
            let start = calls.len();
            calls.extend_from_within(alone.clone());
            calls.push(unseen);
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
        calls: &[CallId],
        differs: CallId,
        value: StateId,
    ) -> bool {
        let span = self.spans[differs.0 as usize];
        let calls = || blocks.iter().flat_map(|block| block.of(calls).iter().copied());
        let least = calls()
            .enumerate()
            .filter(|(_, call)| self.spans[call.0 as usize].completed < span.invoked)
            .last()
            .map_or(0, |(at, _)| at + 1);
        let mut state = None;
        for (at, call) in calls().enumerate() {
            if at >= least && at > 0 && state.is_some_and(|state| state != value) {
                return true;
            }
            if self.spans[call.0 as usize].invoked > span.completed {
                return false;
            }
            state = self.makes(problem, call).or(state);
        }
        state.is_some_and(|state| state != value)
    }
}

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

//! A quick look for an order, before anything is compiled: says yes, or nothing.
//!
//! For registers whose operations all read, write or exchange one of a few values, with few open at once. Such
//! histories are by far the most, and nearly all of them are legal. The moves are those of the depth-first engine
//! (see [`super::search`]), tried in the same order; but what is open is known by value, in one word each, what led
//! to dead ends is remembered only roughly, and only the latest turnings are kept. Whatever that misses is left to
//! the engines that come after: an order that was found is an order, and nothing else is ever claimed.
//!
//! Which operation comes next nobody can foresee, a processor neither: the way from one moment to the next is the same
//! whatever they are, but for what must be decided there.

use super::problem::CallId;
use crate::history::OpId;
use crate::subhistory::Numbering;

/// What an operation does to a register of few values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Deed {
    kind: Kind,
    /// The value that it is about.
    value: u8,
    /// What it leaves there, if it exchanges.
    to: u8,
}

/// The order counts: the first two observe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
enum Kind {
    /// The value is this.
    Reads,
    /// The value is another.
    Differs,
    /// The value becomes this.
    Writes,
    /// The value becomes another one.
    Exchanges,
}

const KINDS: usize = 4;
const READS: usize = Kind::Reads as usize;
const DIFFERS: usize = Kind::Differs as usize;
const WRITES: usize = Kind::Writes as usize;
const EXCHANGES: usize = Kind::Exchanges as usize;

impl Deed {
    /// The value is this.
    pub(crate) fn reads(value: u8) -> Deed {
        Deed::of(Kind::Reads, value)
    }

    /// The value is another.
    pub(crate) fn differs(value: u8) -> Deed {
        Deed::of(Kind::Differs, value)
    }

    /// The value becomes this.
    pub(crate) fn writes(value: u8) -> Deed {
        Deed::of(Kind::Writes, value)
    }

    /// The first value becomes the second, another one.
    pub(crate) fn exchanges(value: u8, to: u8) -> Deed {
        Deed {
            kind: Kind::Exchanges,
            value,
            to,
        }
    }

    fn of(kind: Kind, value: u8) -> Deed {
        Deed {
            kind,
            value,
            to: value,
        }
    }
}

/// Values must have smaller numbers.
pub(crate) const VALUES: u32 = 64;
/// So many operations may be open at once.
const SLOTS: u32 = 64;
/// Of operations of unknown outcome the first so many are considered.
const UNKNOWN: usize = 64;
/// So many turnings are kept, the latest ones.
const TURNINGS: usize = 256;
/// So many dead ends are remembered.
const DEAD_ENDS: usize = 512;
/// So many moves may be made without getting further.
const STUCK: u32 = 512;

#[derive(Clone, Copy, Debug)]
struct Call {
    deed: Deed,
    slot: u8,
    /// The moment at which it completes.
    deadline: u32,
    /// Since it is spare: how many steps had been taken by then.
    spared: u32,
}

/// Something that happens: the number of a call twice, and whether it completes; or, marked, that an operation of
/// unknown outcome was invoked.
type Moment = u32;
const OFFERED: u32 = 1 << 31;

/// Where the look stands.
#[derive(Clone, Copy, Debug)]
struct Here {
    at: u32,
    value: u8,
    /// Open calls that have taken effect.
    done: u64,
    /// Open calls that have not, but could have without a trace.
    spare: u64,
    /// Operations of unknown outcome that were not used.
    unused: u64,
}

/// A place where several moves were possible.
#[derive(Clone, Copy, Debug)]
struct Turning {
    here: Here,
    steps: u32,
    traceless: u32,
    moves: Moves,
}

/// Moves that were not tried yet.
#[derive(Clone, Copy, Debug)]
struct Moves {
    calls: u64,
    unknown: u64,
    /// That the demanded call counts as done already.
    spare: bool,
}

#[derive(Clone, Copy, Debug)]
enum Move {
    Spare,
    Slot(u32),
    Unknown(u32),
}

/// The operations of one subhistory, as they are told, and then what is open where the look stands. Can be used for
/// one subhistory after another, so that room need not be asked for at each.
#[derive(Debug)]
pub(crate) struct Glance {
    calls: Vec<Call>,
    /// The operations that the calls are.
    ops: Vec<OpId>,
    /// Operations of unknown outcome.
    unknown: Vec<(Deed, OpId)>,
    moments: Vec<Moment>,
    /// The numbers of calls that have not completed.
    waiting: Numbering,
    free: u64,
    // From here on of the look itself.
    open: u64,
    /// Of those, by what they do.
    kinds: [u64; KINDS],
    /// And by what they have to do with each value.
    about: [[u64; KINDS]; VALUES as usize],
    /// The open call of each slot.
    slots: [u32; SLOTS as usize],
    /// The steps taken: calls, and marked, operations of unknown outcome. Room for all of them, and one more.
    steps: Vec<u32>,
    /// How many there are.
    taken: usize,
    /// Calls that left no trace, with the number of steps before them.
    traceless: Vec<(u32, u32)>,
    turnings: Vec<Turning>,
    dead_ends: Vec<u64>,
    /// Whether any is remembered.
    failed: bool,
}

impl Default for Glance {
    fn default() -> Glance {
        Glance {
            calls: Vec::new(),
            ops: Vec::new(),
            unknown: Vec::new(),
            moments: Vec::new(),
            waiting: Numbering::default(),
            free: u64::MAX,
            open: 0,
            kinds: [0; KINDS],
            about: [[0; KINDS]; VALUES as usize],
            slots: [0; SLOTS as usize],
            steps: Vec::new(),
            taken: 0,
            traceless: Vec::new(),
            turnings: Vec::new(),
            dead_ends: vec![0; DEAD_ENDS],
            failed: false,
        }
    }
}

impl Glance {
    /// Forgets everything, and makes room for so many moments.
    pub(crate) fn begin(&mut self, moments: usize) {
        self.calls.clear();
        self.calls.reserve(moments / 2 + 1);
        self.ops.clear();
        self.ops.reserve(moments / 2 + 1);
        self.unknown.clear();
        self.moments.clear();
        self.moments.reserve(moments);
        self.waiting.clear();
        self.free = u64::MAX;
        self.open = 0;
        self.kinds = [0; KINDS];
        self.about = [[0; KINDS]; VALUES as usize];
        self.taken = 0;
        self.traceless.clear();
        self.turnings.clear();
        if std::mem::take(&mut self.failed) {
            self.dead_ends.fill(0);
        }
    }

    /// An operation that must take effect is invoked. Says whether not too many are open.
    #[inline]
    pub(crate) fn invoked(&mut self, op: OpId, deed: Deed) -> bool {
        let slot = self.free.trailing_zeros();
        if slot == SLOTS {
            return false;
        }
        self.free &= self.free - 1;
        let number = self.calls.len() as u32;
        self.calls.push(Call {
            deed,
            slot: slot as u8,
            deadline: u32::MAX,
            spared: 0,
        });
        self.ops.push(op);
        self.waiting.put(op, CallId(number));
        self.moments.push(number << 1);
        true
    }

    /// An operation completes, if it was invoked.
    #[inline]
    pub(crate) fn completed(&mut self, op: OpId) {
        let Some(CallId(number)) = self.waiting.get(op) else {
            return;
        };
        let call = &mut self.calls[number as usize];
        call.deadline = self.moments.len() as u32;
        self.free |= 1 << call.slot;
        self.moments.push(number << 1 | 1);
    }

    /// An operation of unknown outcome is invoked, which writes or exchanges.
    pub(crate) fn offered(&mut self, op: OpId, deed: Deed) {
        if self.unknown.len() < UNKNOWN {
            self.moments.push(OFFERED | self.unknown.len() as u32);
            self.unknown.push((deed, op));
        }
    }

    /// An order of everything that must take effect, and of what helped with it.
    pub(crate) fn look(&mut self, init: u8) -> Option<Vec<OpId>> {
        self.steps.resize(self.calls.len() + self.unknown.len() + 1, 0);
        let mut here = Here {
            at: 0,
            value: init,
            done: 0,
            spare: 0,
            unused: 0,
        };
        let (mut furthest, mut stuck) = (0, 0);
        while let Some(demanded) = self.advance(&mut here) {
            if here.at > furthest {
                (furthest, stuck) = (here.at, 0);
            }
            stuck += 1;
            if stuck > STUCK {
                return None;
            }
            let tried = match self.is_dead_end(&here) {
                true => None,
                false => self.go(&mut here, demanded),
            };
            if tried.is_none() {
                here = self.turn_back(here.at)?;
            }
        }
        Some(self.order())
    }

    /// Passes moments until a call is demanded that has not taken effect: that one, or nothing at the end.
    #[inline]
    fn advance(&mut self, here: &mut Here) -> Option<u32> {
        let from = here.at as usize;
        for at in from..self.moments.len() {
            let moment = self.moments[at];
            here.at = at as u32;
            if moment & OFFERED != 0 {
                here.unused |= 1 << (moment & !OFFERED);
                continue;
            }
            let (number, completes) = (moment >> 1, u64::from(moment & 1));
            let call = self.calls[number as usize];
            let (value, kind) = (call.deed.value, call.deed.kind);
            if completes & !(here.done >> call.slot) == 1 {
                return Some(number);
            }
            self.turn(number, call);
            // Invoked, what only observes takes effect if it can, and what would have no effect is spare.
            let same = u64::from(value == here.value);
            let invoked = 1 - completes;
            let observed = u64::from(kind <= Kind::Differs) & (same ^ kind as u64) & invoked;
            let spare = u64::from(kind == Kind::Writes) & same & invoked;
            here.done = here.done & !(completes << call.slot) | observed << call.slot;
            here.spare |= spare << call.slot;
            let spared = &mut self.calls[number as usize].spared;
            *spared = if spare == 1 { self.taken as u32 } else { *spared };
            self.steps[self.taken] = number;
            self.taken += observed as usize;
        }
        here.at = self.moments.len() as u32;
        None
    }

    /// A call opens, or one that is open is so no more.
    #[inline]
    fn turn(&mut self, number: u32, call: Call) {
        let Call { deed, slot, .. } = call;
        let (bit, kind) = (1u64 << slot, deed.kind as usize);
        self.slots[usize::from(slot)] = number;
        self.open ^= bit;
        self.kinds[kind] ^= bit;
        self.about[usize::from(deed.value)][kind] ^= bit;
    }

    /// One more step.
    #[inline]
    fn step(&mut self, step: u32) {
        self.steps[self.taken] = step;
        self.taken += 1;
    }

    /// Makes the best move. Nothing if there is none.
    #[inline]
    fn go(&mut self, here: &mut Here, demanded: u32) -> Option<()> {
        let undone = self.open & !here.done;
        let slot = self.calls[demanded as usize].slot;
        let mut moves = Moves {
            calls: undone & (self.kinds[WRITES] | self.about[usize::from(here.value)][EXCHANGES]),
            unknown: here.unused,
            spare: here.spare >> slot & 1 == 1,
        };
        let chosen = self.choose(here, demanded, &mut moves)?;
        if moves.calls != 0 || moves.unknown != 0 || moves.spare {
            if self.turnings.len() >= 2 * TURNINGS {
                self.turnings.drain(..TURNINGS);
            }
            self.turnings.push(Turning {
                here: *here,
                steps: self.taken as u32,
                traceless: self.traceless.len() as u32,
                moves,
            });
        }
        self.take(here, demanded, chosen);
        Some(())
    }

    /// The best move that was not tried yet; afterwards it counts as tried.
    fn choose(&self, here: &Here, demanded: u32, moves: &mut Moves) -> Option<Move> {
        let call = self.calls[demanded as usize];
        let own = 1u64 << call.slot;
        let Deed { kind, value, .. } = call.deed;
        if moves.calls & own != 0 && kind == Kind::Writes && value != here.value && self.lets(here, value) {
            moves.calls &= !self.alike(demanded);
            return Some(Move::Slot(u32::from(call.slot)));
        }
        if moves.spare {
            moves.spare = false;
            return Some(Move::Spare);
        }
        let exchanges = moves.calls & self.kinds[EXCHANGES] & !own;
        if exchanges != 0 {
            let first = self.first(exchanges);
            moves.calls &= !self.alike(self.slots[first as usize]);
            return Some(Move::Slot(first));
        }
        if moves.calls & own != 0 {
            moves.calls &= !self.alike(demanded);
            return Some(Move::Slot(u32::from(call.slot)));
        }
        let mut best: Option<(bool, u32, u32)> = None;
        for slot in bits(moves.calls) {
            let Call { deed, deadline, .. } = self.calls[self.slots[slot as usize] as usize];
            let value = deed.value;
            if value == here.value || !self.lets(here, value) {
                moves.calls &= !(1 << slot);
                continue;
            }
            let rank = (!enables(value, call.deed), deadline, slot);
            best = Some(best.map_or(rank, |best| best.min(rank)));
        }
        if let Some((_, _, slot)) = best {
            moves.calls &= !self.alike(self.slots[slot as usize]);
            return Some(Move::Slot(slot));
        }
        let mut best: Option<(bool, u32)> = None;
        let mut known = 0u64;
        for number in bits(moves.unknown) {
            let Deed { kind, value, to } = self.unknown[number as usize].0;
            let possible = kind == Kind::Writes || kind == Kind::Exchanges && value == here.value;
            let to = possible.then_some(to);
            let useful = to.filter(|&to| to != here.value && known >> to & 1 == 0 && self.lets(here, to));
            let Some(to) = useful else {
                moves.unknown &= !(1 << number);
                continue;
            };
            // Of several that lead to the same value one will do; the one that was invoked first is the least use
            // to anybody else.
            known |= 1 << to;
            let rank = (!enables(to, call.deed), number);
            best = Some(best.map_or(rank, |best| best.min(rank)));
        }
        best.map(|(_, number)| {
            moves.unknown &= !(1 << number);
            Move::Unknown(number)
        })
    }

    /// Whether something that is open waits for a value that is not there now.
    #[inline]
    fn lets(&self, here: &Here, value: u8) -> bool {
        let about = &self.about[usize::from(value)];
        let possible = about[READS] | about[EXCHANGES] | (self.kinds[DIFFERS] & !about[DIFFERS]);
        possible & self.open & !here.done != 0
    }

    /// Open calls that do the same as this one.
    #[inline]
    fn alike(&self, call: u32) -> u64 {
        let Call { deed, slot, .. } = self.calls[call as usize];
        match deed.kind {
            Kind::Writes => self.about[usize::from(deed.value)][WRITES],
            Kind::Reads | Kind::Differs | Kind::Exchanges => 1 << slot,
        }
    }

    /// The one of these that completes first.
    #[inline]
    fn first(&self, slots: u64) -> u32 {
        let deadline = |slot: &u32| self.calls[self.slots[*slot as usize] as usize].deadline;
        bits(slots).min_by_key(deadline).expect("the caller has some")
    }

    #[inline]
    fn take(&mut self, here: &mut Here, demanded: u32, chosen: Move) {
        let deed = match chosen {
            Move::Spare => {
                let Call { slot, spared, .. } = self.calls[demanded as usize];
                here.done |= 1 << slot;
                here.spare &= !(1 << slot);
                self.traceless.push((spared, demanded));
                return;
            }
            Move::Slot(slot) => {
                let call = self.slots[slot as usize];
                here.done |= 1 << slot;
                here.spare &= !(1 << slot);
                self.step(call);
                self.calls[call as usize].deed
            }
            Move::Unknown(number) => {
                here.unused &= !(1 << number);
                self.step(OFFERED | number);
                self.unknown[number as usize].0
            }
        };
        let undone = self.open & !here.done;
        here.value = deed.to;
        // Right before a write anything may have been written; after an exchange, what is there.
        let (spare, steps) = match deed.kind {
            Kind::Writes => (self.kinds[WRITES], self.taken - 1),
            Kind::Exchanges => (self.about[usize::from(deed.to)][WRITES], self.taken),
            Kind::Reads | Kind::Differs => unreachable!("what only observes is no move"),
        };
        self.spare(here, undone & spare, steps as u32);
        self.observe(here, undone);
    }

    /// These could have taken effect without a trace after so many steps.
    #[inline]
    fn spare(&mut self, here: &mut Here, slots: u64, steps: u32) {
        for slot in bits(slots & !here.spare) {
            self.calls[self.slots[slot as usize] as usize].spared = steps;
        }
        here.spare |= slots;
    }

    /// Whatever of these only observes, and can, takes effect.
    #[inline]
    fn observe(&mut self, here: &mut Here, undone: u64) {
        let about = &self.about[usize::from(here.value)];
        let observed = undone & (about[READS] | (self.kinds[DIFFERS] & !about[DIFFERS]));
        here.done |= observed;
        for slot in bits(observed) {
            self.step(self.slots[slot as usize]);
        }
    }

    /// Goes back to the latest turning with a move that was not tried, and makes it.
    fn turn_back(&mut self, at: u32) -> Option<Here> {
        let mut at = at;
        loop {
            let Turning {
                here,
                steps,
                traceless,
                mut moves,
            } = *self.turnings.last()?;
            self.back_to(&mut at, here.at);
            self.taken = steps as usize;
            self.traceless.truncate(traceless as usize);
            let demanded = self.moments[at as usize] >> 1;
            let mut next = here;
            match self.choose(&here, demanded, &mut moves) {
                Some(chosen) => {
                    self.turnings.last_mut().expect("just seen").moves = moves;
                    self.take(&mut next, demanded, chosen);
                    return Some(next);
                }
                None => {
                    self.turnings.pop();
                    let (place, mark) = mark(&here);
                    self.dead_ends[place] = mark;
                    self.failed = true;
                }
            }
        }
    }

    fn back_to(&mut self, at: &mut u32, to: u32) {
        while *at > to {
            *at -= 1;
            let moment = self.moments[*at as usize];
            if moment & OFFERED == 0 {
                self.turn(moment >> 1, self.calls[(moment >> 1) as usize]);
            }
        }
    }

    #[inline]
    fn is_dead_end(&self, here: &Here) -> bool {
        let (place, mark) = mark(here);
        self.dead_ends[place] == mark
    }

    /// Steps and what left no trace, as one.
    fn order(&mut self) -> Vec<OpId> {
        let taken = |step: &u32| match step & OFFERED {
            0 => self.ops[*step as usize],
            _ => self.unknown[(step & !OFFERED) as usize].1,
        };
        let steps = &self.steps[..self.taken];
        let mut order = Vec::with_capacity(steps.len() + self.traceless.len());
        let mut from = 0;
        sort_nearly_sorted(&mut self.traceless);
        for &(before, call) in &self.traceless {
            order.extend(steps[from..before as usize].iter().map(taken));
            order.push(self.ops[call as usize]);
            from = before as usize;
        }
        order.extend(steps[from..].iter().map(taken));
        order
    }
}

/// Whatever left no trace was demanded soon after, so that none is far from its place.
fn sort_nearly_sorted(all: &mut [(u32, u32)]) {
    for at in 1..all.len() {
        let one = all[at];
        let mut to = at;
        while to > 0 && all[to - 1] > one {
            all[to] = all[to - 1];
            to -= 1;
        }
        all[to] = one;
    }
}

/// Where a dead end is remembered, and by which mark. Two that share one cost a yes, never the verdict.
fn mark(here: &Here) -> (usize, u64) {
    let mut mark = u64::from(here.at) << 8 | u64::from(here.value);
    for part in [here.done, here.spare, here.unused] {
        mark = (mark.rotate_left(23) ^ part).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
    ((mark >> 55) as usize % DEAD_ENDS, mark | 1)
}

/// Whether a value is what something waits for.
fn enables(value: u8, deed: Deed) -> bool {
    match deed.kind {
        Kind::Reads | Kind::Exchanges => value == deed.value,
        Kind::Differs => value != deed.value,
        Kind::Writes => false,
    }
}

/// The places of the bits that are set.
fn bits(mut word: u64) -> impl Iterator<Item = u32> {
    std::iter::from_fn(move || {
        let bit = (word != 0).then(|| word.trailing_zeros())?;
        word &= word - 1;
        Some(bit)
    })
}

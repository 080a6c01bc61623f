//! A quick look for an order, before anything is compiled: says yes, or nothing.
//!
//! For registers whose operations all read, write or exchange one of a few values, with few open at once. Such
//! histories are by far the most, and nearly all of them are legal. The moves are those of the depth-first engine
//! (see [`super::search`]), tried in the same order; but what is open is known by value, in one word each, what led
//! to dead ends is remembered only roughly, and only the latest turnings are kept. Whatever that misses is left to
//! the engines that come after: an order that was found is an order, and nothing else is ever claimed.

/// What an operation does to a register of few values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Deed {
    /// The value is this.
    Reads(u8),
    /// The value is another.
    Differs(u8),
    /// The value becomes this.
    Writes(u8),
    /// The first value becomes the second, another one.
    Exchanges(u8, u8),
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

/// Open calls by what they have to do with one value.
#[derive(Clone, Copy, Debug, Default)]
struct About {
    read_by: u64,
    missed_by: u64,
    written_by: u64,
    exchanged_by: u64,
}

/// The operations of one subhistory, as they are told, and then what is open where the look stands.
#[derive(Debug)]
pub(crate) struct Glance {
    calls: Vec<Call>,
    unknown: Vec<Deed>,
    moments: Vec<Moment>,
    free: u64,
    // From here on of the look itself.
    open: u64,
    /// Of those, by what they do; all others exchange.
    reads: u64,
    differs: u64,
    writes: u64,
    about: [About; VALUES as usize],
    /// The open call of each slot.
    slots: [u32; SLOTS as usize],
    /// The steps taken: calls, and marked, operations of unknown outcome.
    steps: Vec<u32>,
    /// Calls that left no trace, with the number of steps before them.
    traceless: Vec<(u32, u32)>,
    turnings: Vec<Turning>,
    dead_ends: Vec<u64>,
}

/// One operation in an order that was found: a call, or the number of one of unknown outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Glimpsed {
    Call(usize),
    Unknown(usize),
}

impl Glance {
    /// With room for so many moments.
    pub(crate) fn new(moments: usize) -> Glance {
        Glance {
            calls: Vec::with_capacity(moments / 2 + 1),
            unknown: Vec::new(),
            moments: Vec::with_capacity(moments),
            free: u64::MAX,
            open: 0,
            reads: 0,
            differs: 0,
            writes: 0,
            about: [About::default(); VALUES as usize],
            slots: [0; SLOTS as usize],
            steps: Vec::new(),
            traceless: Vec::new(),
            turnings: Vec::new(),
            dead_ends: Vec::new(),
        }
    }

    /// An operation that must take effect is invoked: its number, or nothing if too many are open.
    #[inline]
    pub(crate) fn invoked(&mut self, deed: Deed) -> Option<u32> {
        let slot = self.free.trailing_zeros();
        if slot == SLOTS {
            return None;
        }
        self.free &= self.free - 1;
        let number = self.calls.len() as u32;
        self.calls.push(Call {
            deed,
            slot: slot as u8,
            deadline: u32::MAX,
            spared: 0,
        });
        self.moments.push(number << 1);
        Some(number)
    }

    /// The operation of this number completes.
    #[inline]
    pub(crate) fn completed(&mut self, number: u32) {
        let call = &mut self.calls[number as usize];
        call.deadline = self.moments.len() as u32;
        self.free |= 1 << call.slot;
        self.moments.push(number << 1 | 1);
    }

    /// An operation of unknown outcome is invoked, which writes or exchanges. Says whether it is considered.
    pub(crate) fn offered(&mut self, deed: Deed) -> bool {
        if self.unknown.len() == UNKNOWN {
            return false;
        }
        self.moments.push(OFFERED | self.unknown.len() as u32);
        self.unknown.push(deed);
        true
    }

    /// An order of everything that must take effect, and of what helped with it.
    pub(crate) fn look(&mut self, init: u8) -> Option<Vec<Glimpsed>> {
        self.steps.reserve(self.calls.len());
        self.dead_ends.resize(DEAD_ENDS, 0);
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
        while let Some(&moment) = self.moments.get(here.at as usize) {
            if moment & OFFERED != 0 {
                here.unused |= 1 << (moment & !OFFERED);
            } else if moment & 1 == 0 {
                self.enter(moment >> 1);
                self.meet(here, moment >> 1);
            } else {
                let call = moment >> 1;
                let bit = 1u64 << self.calls[call as usize].slot;
                if here.done & bit == 0 {
                    return Some(call);
                }
                here.done &= !bit;
                self.leave(call);
            }
            here.at += 1;
        }
        None
    }

    #[inline]
    fn enter(&mut self, call: u32) {
        let Call { deed, slot, .. } = self.calls[call as usize];
        let bit = 1u64 << slot;
        self.slots[usize::from(slot)] = call;
        self.open |= bit;
        match deed {
            Deed::Reads(value) => {
                self.reads |= bit;
                self.about[usize::from(value)].read_by |= bit;
            }
            Deed::Differs(value) => {
                self.differs |= bit;
                self.about[usize::from(value)].missed_by |= bit;
            }
            Deed::Writes(value) => {
                self.writes |= bit;
                self.about[usize::from(value)].written_by |= bit;
            }
            Deed::Exchanges(from, _) => self.about[usize::from(from)].exchanged_by |= bit,
        }
    }

    #[inline]
    fn leave(&mut self, call: u32) {
        let Call { deed, slot, .. } = self.calls[call as usize];
        let left = !(1u64 << slot);
        self.open &= left;
        match deed {
            Deed::Reads(value) => {
                self.reads &= left;
                self.about[usize::from(value)].read_by &= left;
            }
            Deed::Differs(value) => {
                self.differs &= left;
                self.about[usize::from(value)].missed_by &= left;
            }
            Deed::Writes(value) => {
                self.writes &= left;
                self.about[usize::from(value)].written_by &= left;
            }
            Deed::Exchanges(from, _) => self.about[usize::from(from)].exchanged_by &= left,
        }
    }

    /// A call is invoked: what only observes takes effect if it can, and what would have no effect is spare.
    #[inline]
    fn meet(&mut self, here: &mut Here, call: u32) {
        let Call { deed, slot, .. } = self.calls[call as usize];
        let observed = match deed {
            Deed::Reads(value) => value == here.value,
            Deed::Differs(value) => value != here.value,
            Deed::Writes(value) => {
                if value == here.value {
                    here.spare |= 1 << slot;
                    self.calls[call as usize].spared = self.steps.len() as u32;
                }
                false
            }
            Deed::Exchanges(..) => false,
        };
        if observed {
            here.done |= 1 << slot;
            self.steps.push(call);
        }
    }

    /// Makes the best move. Nothing if there is none.
    #[inline]
    fn go(&mut self, here: &mut Here, demanded: u32) -> Option<()> {
        let undone = self.open & !here.done;
        let slot = self.calls[demanded as usize].slot;
        let mut moves = Moves {
            calls: undone & (self.writes | self.about[usize::from(here.value)].exchanged_by),
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
                steps: self.steps.len() as u32,
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
        if moves.calls & own != 0
            && let Deed::Writes(value) = call.deed
            && value != here.value
            && self.lets(here, value)
        {
            moves.calls &= !self.alike(demanded);
            return Some(Move::Slot(u32::from(call.slot)));
        }
        if moves.spare {
            moves.spare = false;
            return Some(Move::Spare);
        }
        let exchanges = moves.calls & !self.writes & !own;
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
            let Deed::Writes(value) = deed else { continue };
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
            let to = match self.unknown[number as usize] {
                Deed::Writes(to) => Some(to),
                Deed::Exchanges(from, to) => Some(to).filter(|_| from == here.value),
                Deed::Reads(_) | Deed::Differs(_) => None,
            };
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
        let possible = about.read_by | about.exchanged_by | (self.differs & !about.missed_by);
        possible & self.open & !here.done != 0
    }

    /// Open calls that do the same as this one.
    #[inline]
    fn alike(&self, call: u32) -> u64 {
        let Call { deed, slot, .. } = self.calls[call as usize];
        match deed {
            Deed::Writes(value) => self.about[usize::from(value)].written_by,
            Deed::Reads(_) | Deed::Differs(_) | Deed::Exchanges(..) => 1 << slot,
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
                self.steps.push(call);
                self.calls[call as usize].deed
            }
            Move::Unknown(number) => {
                here.unused &= !(1 << number);
                self.steps.push(OFFERED | number);
                self.unknown[number as usize]
            }
        };
        let undone = self.open & !here.done;
        match deed {
            Deed::Writes(value) => {
                here.value = value;
                // Right before it anything may have been written.
                self.spare(here, undone & self.writes, self.steps.len() as u32 - 1);
                self.observe(here, undone);
            }
            Deed::Exchanges(_, value) => {
                here.value = value;
                let without_effect = undone & self.about[usize::from(value)].written_by;
                self.spare(here, without_effect, self.steps.len() as u32);
                self.observe(here, undone);
            }
            Deed::Reads(_) | Deed::Differs(_) => unreachable!("what only observes is no move"),
        }
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
        let observed = undone & (about.read_by | (self.differs & !about.missed_by));
        here.done |= observed;
        self.steps
            .extend(bits(observed).map(|slot| self.slots[slot as usize]));
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
            self.steps.truncate(steps as usize);
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
                }
            }
        }
    }

    fn back_to(&mut self, at: &mut u32, to: u32) {
        while *at > to {
            *at -= 1;
            let moment = self.moments[*at as usize];
            if moment & OFFERED != 0 {
                continue;
            }
            if moment & 1 == 0 {
                self.leave(moment >> 1);
            } else {
                self.enter(moment >> 1);
            }
        }
    }

    #[inline]
    fn is_dead_end(&self, here: &Here) -> bool {
        let (place, mark) = mark(here);
        self.dead_ends[place] == mark
    }

    /// Steps and what left no trace, as one.
    fn order(&mut self) -> Vec<Glimpsed> {
        self.traceless.sort_unstable();
        let taken = |step: u32| match step & OFFERED {
            0 => Glimpsed::Call(step as usize),
            _ => Glimpsed::Unknown((step & !OFFERED) as usize),
        };
        let mut order = Vec::with_capacity(self.steps.len() + self.traceless.len());
        let mut from = 0;
        for &(steps, call) in &self.traceless {
            order.extend(self.steps[from..steps as usize].iter().copied().map(taken));
            order.push(Glimpsed::Call(call as usize));
            from = steps as usize;
        }
        order.extend(self.steps[from..].iter().copied().map(taken));
        order
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
    match deed {
        Deed::Reads(wanted) | Deed::Exchanges(wanted, _) => value == wanted,
        Deed::Differs(other) => value != other,
        Deed::Writes(_) => false,
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

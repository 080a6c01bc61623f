//! The register compiled: values are numbers, and the engines know what overwrites and what exchanges.

use rustc_hash::FxHashMap;

use super::growing;
use super::text::{Beginnings, Growth, Piece, TextHash, Texts};
use crate::engine::{Blocks, ClassId, Machine, Observes, Problem, Shape, StateId};

/// What the operations of a class do. Values are states unless revisions are known; then a state is a value
/// with a revision.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Effect {
    /// The value is this.
    Reads(StateId),
    /// The value is another.
    Differs(StateId),
    /// It cannot have been: a mismatch that found what was expected.
    Impossible,
    /// The value becomes this.
    Writes(StateId),
    /// The first value becomes the second.
    Exchanges(StateId, StateId),
    /// The text grows by this piece.
    Appends(u32),
    /// Revisions are known, and this is what the operation does to them: a place among the versioned.
    Versioned(u32),
}

/// What an operation does where revisions are known. Apart, since few histories know any and effects are many.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Versioned {
    /// The value becomes this; with a revision, if one was told.
    Writes(StateId, Option<i64>),
    /// If the value is the first (where given) and the revision is `asked` (where it was), the second.
    Exchanges {
        from: Option<StateId>,
        asked: Option<i64>,
        to: StateId,
        told: Option<i64>,
    },
    /// The revision is another, or the value is (where given); and the value is `current` where that was told.
    Differs {
        from: Option<StateId>,
        asked: i64,
        current: Option<StateId>,
    },
    /// The text grows by a piece.
    Appends { piece: u32, told: Option<i64> },
}

/// The register of one subhistory.
#[derive(Debug)]
pub(crate) struct RegisterMachine {
    pub(super) effects: Vec<Effect>,
    pub(super) versioned: Vec<Versioned>,
    pub(super) init: StateId,
    pub(super) pieces: Vec<Piece>,
    pub(super) texts: Texts,
    /// The next number for a value that only appending makes.
    pub(super) next_value: u32,
    pub(super) beginnings: Beginnings,
    pub(super) growth: Option<Growth>,
    pub(super) revisions: Option<Revisions>,
    /// The longest text that was read, where the key is only appended to and read.
    pub(super) longest: Option<Box<str>>,
}

/// What an operation does to a text that is only appended to and read.
pub(crate) enum Grown {
    Read(StateId, TextHash),
    Append(TextHash),
    Otherwise,
}

/// Every text that nobody ever saw, nor anything that begins with it.
const LOST: StateId = StateId(u32::MAX);

/// States with revisions, numbered as they are met.
#[derive(Debug, Default)]
pub(super) struct Revisions {
    states: Vec<(StateId, Option<i64>)>,
    numbers: FxHashMap<(StateId, Option<i64>), StateId>,
}

impl Revisions {
    pub(super) fn number(&mut self, value: StateId, rev: Option<i64>) -> StateId {
        let next = StateId(self.states.len() as u32);
        let number = *self.numbers.entry((value, rev)).or_insert(next);
        if number == next {
            self.states.push((value, rev));
        }
        number
    }
}

impl Machine for RegisterMachine {
    const COMMON: bool = true;

    fn init(&self) -> StateId {
        self.init
    }

    #[inline]
    fn step(&mut self, state: StateId, class: ClassId) -> Option<StateId> {
        if self.revisions.is_some() {
            return self.step_with_revision(state, class);
        }
        match self.effects[class.0 as usize] {
            Effect::Reads(value) => (state == value).then_some(state),
            Effect::Differs(value) => (state != value).then_some(state),
            Effect::Writes(value) => Some(value),
            Effect::Exchanges(from, to) => (state == from).then_some(to),
            Effect::Appends(piece) => Some(self.append(state, piece)),
            Effect::Impossible => None,
            Effect::Versioned(_) => unreachable!("revisions are known where one is asked for"),
        }
    }

    #[inline]
    fn shape(&self, class: ClassId) -> Shape {
        match self.effects[class.0 as usize] {
            Effect::Reads(_) | Effect::Differs(_) | Effect::Impossible => Shape::Observation,
            Effect::Exchanges(from, to) => Shape::Exchange(from, to),
            Effect::Writes(to) => Shape::Overwrite(to),
            Effect::Appends(_) => Shape::Total,
            Effect::Versioned(place) => match self.versioned[place as usize] {
                Versioned::Differs { .. } => Shape::Observation,
                Versioned::Appends { .. } => Shape::Total,
                Versioned::Writes(..) | Versioned::Exchanges { .. } => Shape::General,
            },
        }
    }

    fn decide_growing(problem: &Problem<RegisterMachine>) -> Blocks {
        growing::decide(problem)
    }

    fn observes(&self, observation: ClassId) -> Option<Observes> {
        match self.effects[observation.0 as usize] {
            Effect::Reads(value) => Some(Observes::Is(value)),
            Effect::Differs(value) => Some(Observes::IsNot(value)),
            _ => None,
        }
    }

    fn is_lost(&self, state: StateId) -> bool {
        state == LOST && self.revisions.is_none()
    }

    fn hopeless(&self, state: StateId, moment: usize) -> bool {
        let Some(growth) = &self.growth else { return false };
        let shortest = growth.shortest.get(moment).copied().unwrap_or(u64::MAX);
        shortest
            < if state == LOST {
                u64::MAX
            } else {
                self.text(state).length()
            }
    }

    fn missed(&self, state: StateId, observation: ClassId) -> bool {
        match (&self.growth, self.effects[observation.0 as usize]) {
            (Some(_), Effect::Reads(value)) => {
                state == LOST || self.text(value).length() < self.text(state).length()
            }
            _ => false,
        }
    }
}

impl RegisterMachine {
    /// The longest text that was read, where the key is only appended to and read.
    pub(crate) fn longest(&self) -> Option<&str> {
        self.longest.as_deref()
    }

    /// What the text was at first.
    pub(crate) fn begins_with(&self) -> TextHash {
        self.text(self.init)
    }

    pub(crate) fn is_init(&self, state: StateId) -> bool {
        state == self.init
    }

    /// Whether appending can lead to this state.
    pub(crate) fn is_text(&self, state: StateId) -> bool {
        let hash = self.texts.hash(state);
        hash.is_some_and(|hash| self.texts.state(hash) == Some(state))
    }

    pub(crate) fn grown(&self, class: ClassId) -> Grown {
        match self.effects[class.0 as usize] {
            Effect::Reads(state) => Grown::Read(state, self.text(state)),
            Effect::Appends(piece) => Grown::Append(self.pieces[piece as usize].hash()),
            _ => Grown::Otherwise,
        }
    }

    fn text(&self, state: StateId) -> TextHash {
        self.texts.hash(state).unwrap_or(TextHash::EMPTY)
    }

    fn append(&mut self, state: StateId, piece: u32) -> StateId {
        if state == LOST {
            return LOST;
        }
        let hash = self.text(state).append(&self.pieces[piece as usize]);
        if !self.beginnings.contain(hash) {
            return LOST;
        }
        if let Some(known) = self.texts.state(hash) {
            return known;
        }
        let number = StateId(self.next_value);
        self.next_value += 1;
        self.texts.insert(hash, number);
        number
    }

    fn step_with_revision(&mut self, state: StateId, class: ClassId) -> Option<StateId> {
        let (value, rev) = self.revisions.as_ref().expect("asked by the caller").states[state.0 as usize];
        let (value, rev) = match self.effects[class.0 as usize] {
            Effect::Reads(seen) => (value == seen).then_some((value, rev))?,
            Effect::Differs(expected) => (value != expected).then_some((value, rev))?,
            Effect::Impossible => return None,
            effect @ (Effect::Writes(_) | Effect::Exchanges(..) | Effect::Appends(_)) => {
                unreachable!("where revisions are known {effect:?} has one")
            }
            Effect::Versioned(place) => match self.versioned[place as usize] {
                Versioned::Writes(to, told) => (to, told),
                Versioned::Exchanges {
                    from,
                    asked,
                    to,
                    told,
                } => {
                    let other_rev = asked.is_some_and(|asked| rev.is_some_and(|rev| rev != asked));
                    let wrong = from.is_some_and(|from| from != value) || other_rev;
                    (!wrong).then_some((to, told))?
                }
                Versioned::Differs { from, asked, current } => {
                    let right = from.is_none_or(|from| from == value) && rev == Some(asked);
                    let told_so = current.is_none_or(|current| current == value);
                    (!right && told_so).then_some((value, rev))?
                }
                Versioned::Appends { piece, told } => (self.append(value, piece), told),
            },
        };
        Some(
            self.revisions
                .as_mut()
                .expect("asked by the caller")
                .number(value, rev),
        )
    }
}

//! Which states are still to be had: what makes each, and what waits for it.
//!
//! An operation that waits for a state which nothing open can make any more, and nothing that is invoked before it
//! completes, will never be explained. To know that when the last maker is used up, and not when the operation
//! completes, spares a search everything in between.

use super::blocks::Observes;
use super::machine::{ClassId, Machine, Shape, StateId};
use super::mask::Mask;
use super::problem::{Moment, Need, Problem};

/// What makes and what needs each state of a problem that has few.
///
/// Invariant: `makers` and `needers` hold exactly what is open, like the masks of the window they belong to.
#[derive(Debug)]
pub(crate) struct Supply<B> {
    /// The place of each state in `values`.
    places: Vec<u8>,
    values: Vec<Value<B>>,
    /// What each class makes and needs, by place.
    classes: Vec<(Option<u8>, Option<u8>)>,
}

/// One state.
#[derive(Debug)]
pub(crate) struct Value<B> {
    pub(crate) state: StateId,
    /// Open calls that lead to it.
    pub(crate) makers: B,
    /// Open calls that are possible in it only.
    pub(crate) needers: B,
    /// Those of them that lead away from it.
    pub(crate) takers: B,
    /// When something is invoked that leads to it.
    made: Vec<u32>,
    /// How many of those are past.
    past: usize,
    /// Classes that lead to it of which some operation is of unknown outcome.
    pub(crate) optional: Vec<ClassId>,
}

/// With more states than this, nothing is counted.
const MOST: usize = 64;
/// Nor with states of a higher number.
const HIGHEST: usize = 1 << 12;
const NONE: u8 = u8::MAX;

impl<B: Mask> Supply<B> {
    /// Nothing if states are many or can be reached in ways that classes do not tell.
    pub(crate) fn new<M: Machine>(problem: &Problem<M>, slots: usize) -> Option<Supply<B>> {
        let mut supply = Supply {
            places: Vec::new(),
            values: Vec::new(),
            classes: Vec::new(),
        };
        for call in &problem.calls {
            let class = call.class.0 as usize;
            if class < supply.classes.len() {
                continue;
            }
            // Classes are numbered as they are met.
            if class != supply.classes.len() {
                return None;
            }
            let (makes, needs) = match problem.machine.shape(call.class) {
                Shape::Overwrite(to) => (Some(to), None),
                Shape::Exchange(from, to) => (Some(to), Some(from)),
                Shape::Observation => match problem.machine.observes(call.class)? {
                    Observes::Is(value) => (None, Some(value)),
                    Observes::IsNot(_) => (None, None),
                },
                Shape::Total | Shape::General => return None,
            };
            let makes = match makes {
                Some(state) => Some(supply.add(state, slots)?),
                None => None,
            };
            let needs = match needs {
                Some(state) => Some(supply.add(state, slots)?),
                None => None,
            };
            supply.classes.push((makes, needs));
        }
        for (at, moment) in problem.moments.iter().enumerate() {
            let Moment::Invoked(call) = moment.moment() else {
                continue;
            };
            let call = problem.call(call);
            let Some(place) = supply.classes[call.class.0 as usize].0 else {
                continue;
            };
            let value = &mut supply.values[usize::from(place)];
            value.made.push(at as u32);
            if call.need == Need::Optional && !value.optional.contains(&call.class) {
                value.optional.push(call.class);
            }
        }
        Some(supply)
    }

    fn add(&mut self, state: StateId, slots: usize) -> Option<u8> {
        let number = state.0 as usize;
        if number >= HIGHEST {
            return None;
        }
        if number >= self.places.len() {
            self.places.resize(number + 1, NONE);
        }
        if self.places[number] == NONE {
            if self.values.len() == MOST {
                return None;
            }
            self.places[number] = self.values.len() as u8;
            self.values.push(Value {
                state,
                makers: B::none(slots),
                needers: B::none(slots),
                takers: B::none(slots),
                made: Vec::new(),
                past: 0,
                optional: Vec::new(),
            });
        }
        Some(self.places[number])
    }

    pub(crate) fn values(&self) -> &[Value<B>] {
        &self.values
    }

    /// The place of the state that operations of a class need.
    pub(crate) fn needed_by(&self, class: ClassId) -> Option<usize> {
        self.classes[class.0 as usize].1.map(usize::from)
    }

    /// The window passed an invocation.
    pub(crate) fn invoked(&mut self, class: ClassId) {
        if let Some(place) = self.classes[class.0 as usize].0 {
            self.values[usize::from(place)].past += 1;
        }
    }

    /// The window went back behind an invocation.
    pub(crate) fn not_invoked(&mut self, class: ClassId) {
        if let Some(place) = self.classes[class.0 as usize].0 {
            self.values[usize::from(place)].past -= 1;
        }
    }

    pub(crate) fn open(&mut self, class: ClassId, slot: usize) {
        let (makes, needs) = self.classes[class.0 as usize];
        if let Some(place) = makes {
            self.values[usize::from(place)].makers.put(slot);
        }
        if let Some(place) = needs {
            self.values[usize::from(place)].needers.put(slot);
            if makes.is_some() {
                self.values[usize::from(place)].takers.put(slot);
            }
        }
    }

    pub(crate) fn close(&mut self, class: ClassId, slot: usize) {
        let (makes, needs) = self.classes[class.0 as usize];
        if let Some(place) = makes {
            self.values[usize::from(place)].makers.take(slot);
        }
        if let Some(place) = needs {
            self.values[usize::from(place)].needers.take(slot);
            self.values[usize::from(place)].takers.take(slot);
        }
    }
}

impl<B> Value<B> {
    /// Whether something that leads to this state was invoked.
    pub(crate) fn was_made(&self) -> bool {
        self.past > 0
    }

    /// How many operations that lead to this state are invoked from now on and before a moment, counting no
    /// further than asked.
    pub(crate) fn made_before(&self, moment: u32, most: usize) -> usize {
        let coming = self.made[self.past..].iter().take(most);
        coming.take_while(|&&made| made < moment).count()
    }
}

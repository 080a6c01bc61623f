//! What is open where a search stands. Moves forwards and backwards over the moments of a problem.

use super::machine::{ClassId, Machine, Shape};
use super::mask::Mask;
use super::problem::{CallId, Moment, Need, Problem};
use super::supply::Supply;

/// How the engine treats a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Linearized as soon as it is possible.
    Observation,
    /// An overwrite, or an operation that may have no effect: may turn out to have been linearized without a trace.
    Traceless,
    /// An exchange: possible in one state only.
    Exchange,
    /// Of one instant with another call of its process, and so not to be exchanged with its like.
    Bound,
}

/// The calls that are open at one place of the order, by slot and by kind.
///
/// Invariant: exactly what follows from the moments before `at`, whichever way the window came there.
#[derive(Debug)]
pub(crate) struct Window<B> {
    at: usize,
    /// Which call each slot holds now; slots of completed calls keep what going back will need.
    calls: Vec<CallId>,
    pub(crate) open: B,
    pub(crate) observations: B,
    pub(crate) traceless: B,
    /// How many operations of unknown outcome were invoked so far, by place in `optional`.
    available: Vec<u32>,
    /// The place of each class in `optional`.
    place: Vec<u32>,
    optional: Vec<ClassId>,
    /// Classes of one optional call each, with the call of the same instant that must come first.
    optional_after: Vec<(ClassId, CallId)>,
    /// Per call, which call its slot held before.
    before: Vec<CallId>,
    slots: Vec<u32>,
    kinds: Vec<Kind>,
    /// What makes and needs each state, where they are few.
    pub(crate) supply: Option<Supply<B>>,
}

const NO_CALL: CallId = CallId(u32::MAX);

impl<B: Mask> Window<B> {
    pub(crate) fn new<M: Machine>(problem: &Problem<M>, slots: Vec<u32>, count: usize) -> Window<B> {
        let mut kinds = Vec::with_capacity(problem.calls.len());
        let (mut optional, mut place, mut optional_after) = (Vec::new(), Vec::new(), Vec::new());
        for call in &problem.calls {
            kinds.push(match problem.machine.shape(call.class) {
                _ if call.after.is_some() => Kind::Bound,
                Shape::Observation => Kind::Observation,
                Shape::Overwrite(_) | Shape::Total | Shape::General => Kind::Traceless,
                Shape::Exchange(..) => Kind::Exchange,
            });
            let class = call.class.0 as usize;
            if call.need == Need::Optional {
                if place.len() <= class {
                    place.resize(class + 1, u32::MAX);
                }
                if place[class] == u32::MAX {
                    place[class] = optional.len() as u32;
                    optional.push(call.class);
                }
                if let Some(before) = call.after {
                    optional_after.push((call.class, before));
                }
            }
        }
        // What another call of the same instant waits for must be linearized where it can be seen.
        for call in &problem.calls {
            if let Some(before) = call.after {
                kinds[before.0 as usize] = Kind::Bound;
            }
        }
        Window {
            at: 0,
            calls: vec![NO_CALL; count],
            open: B::none(count),
            observations: B::none(count),
            traceless: B::none(count),
            available: vec![0; optional.len()],
            place,
            optional,
            optional_after,
            before: vec![NO_CALL; problem.calls.len()],
            slots,
            kinds,
            supply: Supply::new(problem, count),
        }
    }

    /// The next moment to be passed.
    pub(crate) fn at(&self) -> usize {
        self.at
    }

    #[inline]
    pub(crate) fn call(&self, slot: usize) -> CallId {
        self.calls[slot]
    }

    #[inline]
    pub(crate) fn slot(&self, call: CallId) -> usize {
        self.slots[call.0 as usize] as usize
    }

    #[inline]
    pub(crate) fn kind(&self, call: CallId) -> Kind {
        self.kinds[call.0 as usize]
    }

    /// How many classes have operations of unknown outcome, wherever they are invoked.
    pub(crate) fn offers(&self) -> usize {
        self.optional.len()
    }

    /// One of those classes, and how many such operations of it were invoked so far.
    #[inline]
    pub(crate) fn offer(&self, place: usize) -> (ClassId, u32) {
        (self.optional[place], self.available[place])
    }

    /// How many operations of a class and of unknown outcome were invoked so far.
    pub(crate) fn available_of(&self, class: ClassId) -> u32 {
        match self.place.get(class.0 as usize) {
            Some(&place) if place != u32::MAX => self.available[place as usize],
            _ => 0,
        }
    }

    /// The call that must be linearized before an operation of this class of unknown outcome may be.
    pub(crate) fn before_optional(&self, class: ClassId) -> Option<CallId> {
        self.optional_after
            .iter()
            .find(|(bound, _)| *bound == class)
            .map(|&(_, before)| before)
    }

    /// Passes the next moment.
    #[inline]
    pub(crate) fn forward<M: Machine>(&mut self, problem: &Problem<M>) {
        let moment = problem.moments[self.at].moment();
        self.at += 1;
        if let (Some(supply), Moment::Invoked(call)) = (&mut self.supply, moment) {
            supply.invoked(problem.call(call).class);
        }
        match moment {
            Moment::Invoked(call) if problem.call(call).need == Need::Optional => {
                self.available[self.place[problem.call(call).class.0 as usize] as usize] += 1;
            }
            Moment::Invoked(call) => {
                let slot = self.slot(call);
                self.before[call.0 as usize] = self.calls[slot];
                self.calls[slot] = call;
                self.open_slot(problem, call, slot);
            }
            Moment::Completed(call) => self.close_slot(problem, call, self.slot(call)),
        }
    }

    /// Goes to any place.
    pub(crate) fn go_to<M: Machine>(&mut self, problem: &Problem<M>, at: usize) {
        self.back_to(problem, at);
        while self.at < at {
            self.forward(problem);
        }
    }

    /// Goes back to an earlier place.
    pub(crate) fn back_to<M: Machine>(&mut self, problem: &Problem<M>, at: usize) {
        while self.at > at {
            self.at -= 1;
            let moment = problem.moments[self.at].moment();
            if let (Some(supply), Moment::Invoked(call)) = (&mut self.supply, moment) {
                supply.not_invoked(problem.call(call).class);
            }
            match moment {
                Moment::Invoked(call) if problem.call(call).need == Need::Optional => {
                    self.available[self.place[problem.call(call).class.0 as usize] as usize] -= 1;
                }
                Moment::Invoked(call) => {
                    let slot = self.slot(call);
                    self.close_slot(problem, call, slot);
                    self.calls[slot] = self.before[call.0 as usize];
                }
                Moment::Completed(call) => self.open_slot(problem, call, self.slot(call)),
            }
        }
    }

    #[inline]
    fn open_slot<M: Machine>(&mut self, problem: &Problem<M>, call: CallId, slot: usize) {
        if let Some(supply) = &mut self.supply {
            supply.open(problem.call(call).class, slot);
        }
        self.open.put(slot);
        match self.kind(call) {
            Kind::Observation => self.observations.put(slot),
            Kind::Traceless => self.traceless.put(slot),
            Kind::Exchange | Kind::Bound => {}
        }
    }

    #[inline]
    fn close_slot<M: Machine>(&mut self, problem: &Problem<M>, call: CallId, slot: usize) {
        if let Some(supply) = &mut self.supply {
            supply.close(problem.call(call).class, slot);
        }
        self.open.take(slot);
        self.observations.take(slot);
        self.traceless.take(slot);
    }
}

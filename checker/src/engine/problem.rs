//! One subhistory, ready to be searched.

use super::machine::{ClassId, Machine};
use crate::history::OpId;

/// The number of an operation within its problem, by invocation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct CallId(pub(crate) u32);

/// An operation that counts: it must take effect, or may.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Call {
    pub(crate) op: OpId,
    pub(crate) class: ClassId,
    pub(crate) need: Need,
    /// The operation of the same process that completed in the same instant, before this one was invoked.
    pub(crate) after: Option<CallId>,
}

/// Whether an operation must have taken effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Need {
    /// Between its invocation and its completion.
    Required,
    /// At any time from its invocation on, or never.
    Optional,
}

/// Something that happens in the order that decides verdicts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Moment {
    Invoked(CallId),
    Completed(CallId),
}

/// A moment in four bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Packed(u32);

impl Packed {
    pub(crate) fn invoked(call: CallId) -> Packed {
        Packed(call.0 << 1)
    }

    pub(crate) fn completed(call: CallId) -> Packed {
        Packed(call.0 << 1 | 1)
    }

    #[inline]
    pub(crate) fn moment(self) -> Moment {
        let call = CallId(self.0 >> 1);
        if self.0 & 1 == 0 {
            Moment::Invoked(call)
        } else {
            Moment::Completed(call)
        }
    }
}

/// When a call was invoked and completed: places of the moments.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Span {
    pub(crate) invoked: u32,
    /// [`NEVER`] if its outcome is unknown.
    pub(crate) completed: u32,
}

/// Later than every moment.
pub(crate) const NEVER: u32 = u32::MAX;

/// One subhistory compiled for a model.
///
/// Invariants: every call is invoked once, before it completes; a call completes exactly if it is required;
/// observations are never optional (they would say nothing).
#[derive(Debug)]
pub(crate) struct Problem<M> {
    pub(crate) machine: M,
    pub(crate) calls: Vec<Call>,
    pub(crate) moments: Vec<Packed>,
}

impl<M: Machine> Problem<M> {
    #[inline]
    pub(crate) fn call(&self, call: CallId) -> &Call {
        &self.calls[call.0 as usize]
    }

    /// When each call was invoked and completed.
    pub(crate) fn spans(&self) -> Vec<Span> {
        // Calls are numbered by their invocations.
        let mut spans = Vec::with_capacity(self.calls.len());
        for (at, moment) in self.moments.iter().enumerate() {
            match moment.moment() {
                Moment::Invoked(_) => spans.push(Span {
                    invoked: at as u32,
                    completed: NEVER,
                }),
                Moment::Completed(call) => spans[call.0 as usize].completed = at as u32,
            }
        }
        debug_assert_eq!(spans.len(), self.calls.len(), "every call is invoked once");
        spans
    }

    /// Slots for the required calls, reused as calls complete, and how many there are.
    pub(crate) fn slots(&self) -> (Vec<u32>, usize) {
        let mut slots = vec![u32::MAX; self.calls.len()];
        let (mut free, mut count) = (Vec::new(), 0);
        for moment in &self.moments {
            match moment.moment() {
                Moment::Invoked(call) if self.call(call).need == Need::Required => {
                    slots[call.0 as usize] = free.pop().unwrap_or_else(|| {
                        count += 1;
                        count - 1
                    });
                }
                Moment::Invoked(_) => {}
                Moment::Completed(call) => free.push(slots[call.0 as usize]),
            }
        }
        (slots, count as usize)
    }
}

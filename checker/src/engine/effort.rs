//! What a search has done, in moves, so that limits end it in time whatever a move takes.
//!
//! A move nearly always looks at a few dozen open operations, and steps are look-ups. With thousands open, and states
//! that are as long, one move takes as long as many thousands elsewhere. So what is gone through is counted, and
//! counts for as many moves.

use std::mem;

use super::budget::{Exhausted, MOVES_PER_LOOK, Meter};
use super::machine::Machine;
use super::mask::Mask;
use super::search::Search;

/// What was gone through.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Effort {
    /// Open operations that were looked at since the meter was last asked.
    looked_at: u64,
    /// The machine's own effort that has been counted.
    counted: u64,
    /// All that has been counted, in moves.
    spent: u64,
    /// Bytes that are held beside the search, when the meter was last asked.
    pub(super) beside: u64,
}

/// So many open operations looked at, or words of states gone through, count for a move.
const EFFORT_PER_MOVE: u64 = 1024;
/// And for a reason to ask the meter.
const EFFORT_PER_LOOK: u64 = MOVES_PER_LOOK * EFFORT_PER_MOVE;
/// So many classes are compared in the time in which an open operation is looked at.
const COMPARED: usize = 16;
/// Masks of so many words are gone through with every move, and not counted.
const FEW_WORDS: usize = 4;

impl Effort {
    /// So many more were looked at.
    #[inline]
    pub(super) fn add(&mut self, looked_at: usize) {
        self.looked_at += looked_at as u64;
    }

    /// A class was compared with so many.
    #[inline]
    pub(super) fn compared(&mut self, classes: usize) {
        self.looked_at += (classes / COMPARED) as u64;
    }

    /// How many moves have been counted so far.
    pub(super) fn spent(&self) -> u64 {
        self.spent
    }
}

impl<M: Machine, B: Mask> Search<'_, M, B> {
    /// These open operations were looked at with a move, which counts where they may be very many.
    #[inline]
    pub(super) fn gone_through(&mut self, slots: &B) {
        if slots.words().len() > FEW_WORDS {
            self.effort.add(slots.count());
        }
    }

    /// Whether so much was gone through that the meter must be asked before the next move.
    #[inline]
    pub(super) fn is_overdue(&self) -> bool {
        self.effort.looked_at + self.problem.machine.effort() - self.effort.counted >= EFFORT_PER_LOOK
    }

    /// Asks whether the search may go on after so many moves and what they took.
    pub(super) fn look(&mut self, moves: u64, meter: &mut Meter<'_>) -> Result<(), Exhausted> {
        let machine = self.problem.machine.effort();
        let stepped = machine - mem::replace(&mut self.effort.counted, machine);
        let effort = mem::take(&mut self.effort.looked_at) + stepped;
        let moves = moves.max(effort / EFFORT_PER_MOVE);
        self.effort.spent += moves;
        meter.allow(
            self.bytes() + self.problem.machine.bytes() + self.effort.beside,
            moves,
        )
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::engine::{Answer, Budget, search, search_briefly};
    use crate::history::{Event, EventKind, Header, History, Nanos, ProcessId, Value};
    use crate::model::{Domain, Fifo};
    use crate::subhistory::Subhistories;

    /// So many values asked to be enqueued that nobody ever answered for, and some of them taken, the last first.
    fn open_enqueues(count: u64) -> History {
        let enqueues = |kind| (0..count).map(move |value| (value, kind, "enqueue", Value::Int(value as i64)));
        let dequeues = (0..20).flat_map(|turn| {
            let taken = Value::Int((count - 1 - turn) as i64);
            [
                (count, EventKind::Invoke, "dequeue", Value::Nil),
                (count, EventKind::Ok, "dequeue", taken),
            ]
        });
        let all = enqueues(EventKind::Invoke)
            .chain(dequeues)
            .chain(enqueues(EventKind::Ok));
        let events = all.zip(0..).map(|((process, kind, f, value), at)| {
            Event::new(at, Nanos(at), ProcessId(process), kind, f, value)
        });
        History::from_events(Header::for_model("queue"), events.collect()).expect("the events pair")
    }

    /// A move among thousands of open operations takes as long as many thousands elsewhere: limits count that.
    #[test]
    fn searches_end_in_time_however_long_a_move_is() {
        let history = open_enqueues(400);
        let domain = Fifo::domain();
        let subhistories = Subhistories::whole(&history);
        let moments = subhistories.moments(&history, 0);
        let unbounded = Budget::new(None, None);
        let mut problem = domain.compile(&history, &moments);
        let moves = 8 * problem.moments.len() as u64 + MOVES_PER_LOOK;
        let _ = search_briefly(&mut problem, &mut unbounded.meter());
        let brief = problem.machine.effort();
        let most = (moves + 2 * MOVES_PER_LOOK) * EFFORT_PER_MOVE;
        assert!(
            brief <= most,
            "a short search went through {brief} words, not {most}"
        );
        // No time at all, and hardly any memory.
        let mut problem = domain.compile(&history, &moments);
        let none = Budget::new(Some(Duration::ZERO), None);
        let answer = search(&mut problem, &mut none.meter());
        let time = matches!(
            answer,
            Answer::Exhausted {
                limit: Exhausted::Time,
                ..
            }
        );
        assert!(time || problem.machine.effort() == 0, "{answer:?}");
        // One open operation may look at all others before the meter is asked again.
        assert!(problem.machine.effort() <= 2 * EFFORT_PER_LOOK);
        let mut problem = domain.compile(&history, &moments);
        let little = Budget::new(None, Some(1 << 16));
        match search(&mut problem, &mut little.meter()) {
            Answer::Exhausted {
                limit: Exhausted::Memory,
                ..
            } => {}
            other => panic!("{other:?}"),
        }
        let most = (1 << 16) + 4 * 8 * EFFORT_PER_LOOK;
        assert!(problem.machine.bytes() <= most, "{}", problem.machine.bytes());
    }
}

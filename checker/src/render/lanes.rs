//! Which lane each process is drawn in.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use rustc_hash::FxHashMap;

use crate::history::{History, OpId, Outcome, ProcessId};

/// The processes of a history with their lanes.
#[derive(Debug, Default)]
pub(super) struct Lanes {
    /// Every process, by its first operation.
    pub(super) processes: Vec<ProcessId>,
    /// The lane of each: a process that retired with an unknown outcome hands its lane on to the next fresh one,
    /// as its worker goes on under a fresh id.
    pub(super) lane_of: Vec<u32>,
    /// The process of each operation, as its place in `processes`.
    pub(super) process_of: Vec<u32>,
}

impl Lanes {
    pub(super) fn of(history: &History) -> Lanes {
        let mut last: FxHashMap<ProcessId, OpId> = FxHashMap::default();
        for operation in history.operations() {
            last.insert(operation.process(), operation.id());
        }
        let mut lanes = Lanes::default();
        let mut numbers: FxHashMap<ProcessId, u32> = FxHashMap::default();
        // Lanes that become free, by the event with which they do.
        let mut free: BinaryHeap<Reverse<(u64, u32)>> = BinaryHeap::new();
        let mut count = 0;
        for operation in history.operations() {
            let process = operation.process();
            let number = *numbers.entry(process).or_insert_with(|| {
                let now = operation.invoked_index();
                let lane = match free.peek() {
                    Some(&Reverse((since, lane))) if since < now => {
                        free.pop();
                        lane
                    }
                    _ => {
                        count += 1;
                        count - 1
                    }
                };
                lanes.processes.push(process);
                lanes.lane_of.push(lane);
                lanes.processes.len() as u32 - 1
            });
            lanes.process_of.push(number);
            if operation.outcome() == Outcome::Info
                && last[&process] == operation.id()
                && let Some(retired) = operation.completed_index()
            {
                free.push(Reverse((retired, lanes.lane_of[number as usize])));
            }
        }
        lanes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generate::Simulation;

    #[test]
    fn operations_of_one_lane_do_not_overlap() {
        let history = Simulation {
            operations: 2000,
            processes: 7,
            unknown: 0.2,
            ..Simulation::default()
        };
        let history = history.history().expect("valid");
        let lanes = Lanes::of(&history);
        let count = lanes.lane_of.iter().max().expect("some") + 1;
        assert!(lanes.processes.len() > 100, "many retire");
        assert!(count < 20, "{count} lanes for seven workers");
        let mut ends = vec![None; count as usize];
        for operation in history.operations() {
            let lane = lanes.lane_of[lanes.process_of[operation.id().0 as usize] as usize] as usize;
            let end = operation.completed_index().unwrap_or(u64::MAX);
            let before = ends[lane].replace(end);
            assert!(before.is_none_or(|before| before < operation.invoked_index()));
        }
    }
}

//! What has completed is what later operations must see: the order of time over things that only grow.

use rustc_hash::FxHashMap;

use crate::history::{NEVER, OpId, Operation, ProcessId, Value};

/// An operation that saw or wrote something which only grows: a revision, or a number.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    pub(super) by: OpId,
    process: ProcessId,
    pub(super) key: Value,
    /// What it saw or wrote.
    pub(super) at: i64,
    /// Whether it wrote that, so that nobody can have seen it before.
    pub(super) writes: bool,
    /// Whether it need not have seen what others had done.
    tells_only: bool,
    /// Places in the order of the history: what times say of imported ones is for display only.
    invoked: u32,
    /// From where on it had certainly happened; none of operations of unknown outcome.
    completed: Option<u32>,
}

impl Seen {
    pub(super) fn new(operation: Operation<'_>, key: Value, at: i64, writes: bool) -> Seen {
        Seen {
            by: operation.id(),
            process: operation.process(),
            key,
            at,
            writes,
            tells_only: false,
            invoked: operation.record().invoked,
            completed: Some(operation.record().completed).filter(|&at| at != NEVER),
        }
    }

    /// The same, to be held only against what its own process did: the key becomes process and key.
    pub(super) fn of_process(&self) -> Seen {
        let process = Value::from(self.process.to_string());
        Seen {
            key: Value::List(vec![process, self.key.clone()]),
            ..self.clone()
        }
    }

    /// The same, where what it saw may be old.
    pub(super) fn telling(self) -> Seen {
        Seen {
            tells_only: true,
            ..self
        }
    }
}

/// Holds operations against those that had completed before them.
pub(super) struct Passed;

impl Passed {
    /// Calls `violated` with every operation that saw less than one which had completed before it was invoked had
    /// seen or written of the same key (or wrote no more than that), after the one that had the most.
    pub(super) fn check(seen: &[Seen], mut violated: impl FnMut(&Seen, &Seen)) {
        let mut begins: Vec<&Seen> = seen.iter().filter(|seen| !seen.tells_only).collect();
        begins.sort_by_key(|seen| (seen.invoked, seen.by));
        let mut ends: Vec<(u32, &Seen)> = seen
            .iter()
            .filter_map(|seen| Some((seen.completed?, seen)))
            .collect();
        ends.sort_by_key(|(at, seen)| (*at, seen.by));
        let mut ends = ends.into_iter().peekable();
        let mut most: FxHashMap<&Value, &Seen> = FxHashMap::default();
        for later in begins {
            while let Some((_, ended)) = ends.next_if(|(at, _)| *at < later.invoked) {
                let top = most.entry(&ended.key).or_insert(ended);
                if ended.at > top.at {
                    *top = ended;
                }
            }
            let Some(earlier) = most.get(&later.key) else {
                continue;
            };
            if later.at < earlier.at || later.writes && later.at == earlier.at {
                violated(earlier, later);
            }
        }
    }
}

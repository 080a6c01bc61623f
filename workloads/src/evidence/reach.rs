//! Which nodes stood in a connected majority, and when: availability is owed only there.

use checker::history::{History, Nanos, Outcome};
use serde::Serialize;

/// What nodes could reach over time.
#[derive(Debug, Clone, Default)]
pub struct Reach {
    /// From when on, and for each node whether it stood in a connected majority.
    spans: Vec<(Nanos, Vec<bool>)>,
}

/// How many operations succeeded where success was owed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Availability {
    /// Operations whose node stood in a connected majority from invocation to completion.
    pub owed: u64,
    /// Of those, the ones that were `ok` or a definite mismatch.
    pub kept: u64,
}

impl Availability {
    /// The share that was kept, 0 to 1; none where nothing was owed.
    #[must_use]
    pub fn share(self) -> Option<f64> {
        (self.owed > 0).then(|| self.kept as f64 / self.owed as f64)
    }
}

impl Reach {
    /// From `at` on, `sees(a, b)` tells whether packets pass from node `a` to node `b`, and `up(a)` whether
    /// node `a` runs; times must not go backwards.
    pub fn change(
        &mut self,
        at: Nanos,
        nodes: usize,
        up: impl Fn(usize) -> bool,
        sees: impl Fn(usize, usize) -> bool,
    ) {
        let in_majority = (0..nodes)
            .map(|a| {
                let peers = (0..nodes)
                    .filter(|&b| a == b || (up(b) && sees(a, b) && sees(b, a)))
                    .count();
                up(a) && peers > nodes / 2
            })
            .collect();
        self.spans.push((at, in_majority));
    }

    /// Whether the node stood in a connected majority all the time from `from` to `to`.
    fn throughout(&self, node: usize, from: Nanos, to: Nanos) -> bool {
        let first = self
            .spans
            .partition_point(|(at, _)| *at <= from)
            .saturating_sub(1);
        let mut spans = self.spans[first..].iter().take_while(|(at, _)| *at <= to);
        spans.all(|(_, in_majority)| in_majority[node])
    }

    /// How many operations invoked before `end` were answered by nodes that could.
    #[must_use]
    pub fn availability(&self, history: &History, nodes: &[String], end: Nanos) -> Availability {
        let mut availability = Availability::default();
        for operation in history
            .operations()
            .take_while(|operation| operation.invoked_at() < end)
        {
            let node = operation
                .node()
                .and_then(|name| nodes.iter().position(|n| n == name));
            let Some(node) = node else { continue };
            let to = operation.completed_at().unwrap_or(Nanos(u64::MAX));
            if !self.throughout(node, operation.invoked_at(), to) {
                continue;
            }
            availability.owed += 1;
            let kept = operation.outcome() == Outcome::Ok || operation.error() == Some("mismatch");
            availability.kept += u64::from(kept);
        }
        availability
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_majority_is_owed_service_only_while_it_is_one() {
        let mut reach = Reach::default();
        reach.change(Nanos(0), 3, |_| true, |_, _| true);
        // Node 0 is cut off, one way only: it still counts as cut off.
        reach.change(Nanos(10), 3, |_| true, |a, _| a != 0);
        // Then node 1 dies: nobody has a majority.
        reach.change(Nanos(20), 3, |n| n != 1, |a, _| a != 0);
        reach.change(Nanos(30), 3, |_| true, |_, _| true);
        let cases = [
            (0, 0, 9, true),
            (0, 5, 15, false),
            (0, 30, 40, true),
            (1, 5, 15, true),
            (1, 15, 25, false),
            (2, 15, 19, true),
            (2, 19, 20, false),
            (2, 25, 35, false),
        ];
        for (node, from, to, expected) in cases {
            assert_eq!(
                reach.throughout(node, Nanos(from), Nanos(to)),
                expected,
                "node {node} {from}..{to}"
            );
        }
    }
}

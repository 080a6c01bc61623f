//! The last phase: what does every node say, now that everything is healed?

use std::collections::VecDeque;

use checker::history::Nanos;

use super::{Context, Generator, Invocation, Next};
use crate::system::Outcome;

/// How long a worker waits before it looks again whether a read under way came back, in nanoseconds.
const AGAIN_NS: u64 = 20_000_000;
/// How long a node is left alone that could not answer, in nanoseconds: one that is down for good would be asked a
/// thousand times a second, and the history would be full of it.
const LEFT_ALONE_NS: u64 = 200_000_000;

/// Reads everything through every node, each until it succeeds, until a deadline.
///
/// This is what finds an acknowledged write that was lost while nobody looked.
#[derive(Debug)]
pub struct FinalReads {
    /// Per node, what it was not yet asked.
    left: Vec<VecDeque<Invocation>>,
    /// Per node, how many reads are under way.
    open: Vec<usize>,
    /// Per node, when it may be asked again.
    from: Vec<Nanos>,
    deadline: Nanos,
}

impl FinalReads {
    /// What `reads` says is read through each of `nodes` nodes, given up at `deadline` on the run's clock.
    #[must_use]
    pub fn new(reads: impl Fn(usize) -> Vec<Invocation>, nodes: usize, deadline: Nanos) -> Self {
        // Nodes begin at different places, so that they do not all read the same key at the same time.
        let left = (0..nodes)
            .map(|node| {
                let mut reads = VecDeque::from(reads(node));
                reads.rotate_left(node * reads.len() / nodes.max(1));
                reads
            })
            .collect();
        Self {
            left,
            open: vec![0; nodes],
            from: vec![Nanos(0); nodes],
            deadline,
        }
    }

    /// How many reads never succeeded.
    #[must_use]
    pub fn unread(&self) -> usize {
        self.left.iter().map(VecDeque::len).sum::<usize>() + self.open.iter().sum::<usize>()
    }
}

impl Generator for FinalReads {
    fn next(&mut self, context: Context) -> Next {
        if context.now.0 >= self.deadline.0 {
            return Next::Done;
        }
        let from = self.from[context.node];
        if context.now.0 < from.0 && !self.left[context.node].is_empty() {
            return Next::Wait { until: from };
        }
        match self.left[context.node].pop_front() {
            Some(invocation) => {
                self.open[context.node] += 1;
                Next::Invoke {
                    at: context.now,
                    intended: None,
                    invocation,
                }
            }
            // A read under way may fail and come back.
            None if self.open[context.node] > 0 => Next::Wait {
                until: Nanos(context.now.0 + AGAIN_NS),
            },
            None => Next::Done,
        }
    }

    fn update(&mut self, context: Context, invocation: &Invocation, outcome: &Outcome) {
        self.open[context.node] -= 1;
        if !matches!(outcome, Outcome::Ok { .. }) {
            self.left[context.node].push_back(invocation.clone());
            self.from[context.node] = Nanos(context.now.0 + LEFT_ALONE_NS);
        }
    }
}

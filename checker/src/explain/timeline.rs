//! Draws a few operations for a terminal.

use crate::history::{History, Outcome};
use crate::verdict::{CoreOperation, Counterexample};

/// How wide the bars may get, in characters.
const WIDTH: usize = 64;
/// How much of what an operation did is shown beside its bar.
const SAID: usize = 36;

/// One row an operation, in the order of their invocations: `|-----|` from its invocation to its completion, and
/// `|----->` for what may have taken effect at any time from there on, or never. The order of all ends is exact,
/// distances are not.
pub fn timeline(history: &History, found: &Counterexample) -> String {
    let start = |operation: &CoreOperation| history.operation(operation.id).record().invoked;
    let end = |operation: &CoreOperation| {
        let known = !operation.weakened && operation.outcome != Outcome::Info;
        known.then(|| history.operation(operation.id).record().completed)
    };
    let mut ends: Vec<u32> = Vec::new();
    for operation in &found.operations {
        ends.push(start(operation));
        ends.extend(end(operation));
    }
    ends.sort_unstable();
    ends.dedup();
    let step = (WIDTH / ends.len().max(1)).clamp(1, 8);
    let column = |moment: u32| ends.partition_point(|&end| end < moment) * step;
    let width = ends.len() * step;
    let mut rows = String::new();
    for operation in &found.operations {
        let from = column(start(operation));
        let bar = match end(operation) {
            Some(end) => format!("|{}|", "-".repeat((column(end) - from).saturating_sub(1))),
            None => format!("|{}>", "-".repeat((width - from).saturating_sub(1))),
        };
        let mut said: String = operation.said.chars().take(SAID).collect();
        if said.len() < operation.said.len() {
            said.push_str("...");
        }
        let who = format!("process {}", operation.process);
        let row = format!("  {who:<12} {said:<39} {}{bar}", " ".repeat(from));
        rows.push_str(row.trim_end());
        rows.push('\n');
    }
    rows
}

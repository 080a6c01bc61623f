//! The operations that prove a violation: taken from the checker's counterexample, drawn and listed.

use std::fmt::Write;

use checker::history::{Nanos, OpId, Outcome as Ending, Value};
use checker::{CoreOperation, Counterexample};

use super::escape::{Escaped, shortened};
use super::scale::{count, duration, seconds};
use super::verdict::counterexample;
use super::{FaultSpan, ReportInput, lanes};

/// One operation of the proof.
#[derive(Debug, Clone)]
pub(super) struct ProofOperation {
    pub(super) id: OpId,
    /// The index of its invocation in the history.
    pub(super) index: u64,
    pub(super) process: u64,
    pub(super) node: Option<String>,
    /// `read 4`, `write 5`.
    pub(super) said: String,
    pub(super) invoked: Nanos,
    pub(super) completed: Option<Nanos>,
    pub(super) look: Look,
    /// The violation stands even if it took effect at another time, or never.
    pub(super) weakened: bool,
}

/// How an operation looks on the drawing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Look {
    /// It changed the state, or may have by its answer.
    Effect,
    /// It only told what the state was.
    Observation,
    /// Nobody knows whether and when it took effect.
    Unknown,
}

/// The operations in the order of their invocations.
pub(super) fn operations(found: &Counterexample) -> Vec<ProofOperation> {
    let mut operations: Vec<ProofOperation> = found.operations.iter().map(of).collect();
    operations.sort_by_key(|operation| (operation.invoked, operation.index));
    operations
}

fn of(core: &CoreOperation) -> ProofOperation {
    let look = match core.outcome {
        Ending::Info => Look::Unknown,
        Ending::Fail => Look::Observation,
        Ending::Ok if matches!(core.f.as_str(), "get" | "read") => Look::Observation,
        Ending::Ok => Look::Effect,
    };
    ProofOperation {
        id: core.id,
        index: core.index,
        process: core.process.0,
        node: core.node.clone(),
        said: core.said.clone(),
        invoked: core.invoked_at,
        // What came back with an unknown outcome says nothing about when it took effect.
        completed: core.completed_at.filter(|_| look != Look::Unknown),
        look,
        weakened: core.weakened,
    }
}

impl ProofOperation {
    /// How it ended, in a word.
    pub(super) fn ending(&self) -> &'static str {
        match self.look {
            Look::Unknown => "unknown",
            Look::Observation | Look::Effect => "answered",
        }
    }
}

/// The stretch of the run's clock over which the proof reaches.
pub(super) fn reach(operations: &[ProofOperation]) -> Option<(Nanos, Nanos)> {
    let from = operations.iter().map(|operation| operation.invoked).min()?;
    let to = operations
        .iter()
        .map(|operation| operation.completed.unwrap_or(operation.invoked))
        .max()?;
    Some((from, to))
}

/// When the operations were invoked, and when the proof was complete.
pub(super) fn moments(operations: &[ProofOperation]) -> Vec<Nanos> {
    operations
        .iter()
        .map(|operation| operation.invoked)
        .chain(reach(operations).map(|(_, to)| to))
        .collect()
}

/// A value as a person reads it; JSON for what is more than a word.
pub(super) fn shown(value: &Value) -> String {
    value.to_string()
}

/// The operations that prove the violation, drawn and listed.
pub(super) fn section(input: &ReportInput<'_>, operations: &[ProofOperation]) -> String {
    let (Some(found), Some((from, to))) = (counterexample(input), reach(operations)) else {
        return String::new();
    };
    let mut html = format!(
        "<section id=\"proof\"><h2>{}</h2>\n<p>{}</p>\n",
        match operations.len() {
            1 => "The operation that proves it".to_owned(),
            number => format!("The {number} operations that prove it"),
        },
        Escaped(proof_text(found)),
    );
    let active: Vec<&FaultSpan> = input
        .run
        .faults
        .iter()
        .filter(|fault| fault.touches(from, to))
        .collect();
    let _ = match active.as_slice() {
        [] => writeln!(html, "<p>No fault was on at the time.</p>"),
        some => {
            let list: Vec<String> = some
                .iter()
                .map(|fault| format!("{} ({})", fault.description, stretch(fault)))
                .collect();
            writeln!(html, "<p>On at the time: {}.</p>", Escaped(list.join("; ")))
        }
    };
    html.push_str("<div class=\"drawing scroll\">\n");
    html.push_str(&lanes::draw(operations, &found.cycle, &input.run.faults));
    html.push_str("</div>\n<ul class=\"legend\">");
    let has = |look: Look| operations.iter().any(|operation| operation.look == look);
    let legend = [
        (
            has(Look::Effect),
            "<i class=\"swatch effect\"></i>took effect within its bar",
        ),
        (
            has(Look::Observation),
            "<i class=\"swatch observation\"></i>saw what the value was",
        ),
        (
            has(Look::Unknown),
            "<i class=\"swatch open\"></i>unknown: may take effect from its start on, or never",
        ),
        (
            operations.iter().any(|operation| operation.weakened),
            "<i class=\"swatch weakened\"></i>the contradiction stands even if it happened at another time, or never",
        ),
        (
            true,
            "<span class=\"muted\">order is exact, distances are compressed; the lengths stand below</span>",
        ),
    ];
    for (_, entry) in legend.iter().filter(|entry| entry.0) {
        let _ = write!(html, "<li>{entry}</li>");
    }
    html.push_str("</ul>\n");
    html.push_str(&proof_table(operations));
    html.push_str(&cycle(found, operations));
    html.push_str("</section>\n");
    html
}

fn proof_text(found: &Counterexample) -> String {
    let mut text = String::from(if found.minimal {
        "Nothing can be left out: without any one of them the rest could be explained."
    } else {
        "They contradict each other; the work set aside for an explanation was used up before it was shown that fewer would not do."
    });
    let left_out = found.dropped + found.weakened;
    if left_out > 0 {
        let _ = write!(
            text,
            " {} other operations of {} play no part: {} only looked, {} may have happened at any time or never, and that does not help.",
            count(left_out as u64),
            found
                .key
                .as_ref()
                .map_or("the history".to_owned(), |key| format!("key {}", shown(key))),
            count(found.dropped as u64),
            count(found.weakened as u64),
        );
    }
    let _ = write!(text, " The initial value was {}.", shown(&found.init));
    text
}

fn proof_table(operations: &[ProofOperation]) -> String {
    let mut html = String::from(
        "<div class=\"scroll\"><table><thead><tr><th class=\"n\">#</th><th>process</th><th>node</th><th>did</th>\
         <th class=\"n\">from</th><th class=\"n\">to</th><th class=\"n\">took</th><th>outcome</th><th class=\"n\">event</th></tr></thead><tbody>\n",
    );
    for (at, operation) in operations.iter().enumerate() {
        let to = operation
            .completed
            .map_or("–".to_owned(), |to| format!("{} s", seconds(to.0, 6)));
        let took = operation
            .completed
            .map_or("–".to_owned(), |to| duration(to.0 - operation.invoked.0));
        let _ = writeln!(
            html,
            "<tr data-op=\"{number}\"><td class=\"n\">{number}</td><td>{process}</td><td>{node}</td><td class=\"mono\">{said}</td>\
             <td class=\"n\">{from} s</td><td class=\"n\">{to}</td><td class=\"n\">{took}</td><td>{ending}{weakened}</td><td class=\"n\">{index}</td></tr>",
            number = at + 1,
            process = operation.process,
            node = Escaped(operation.node.as_deref().unwrap_or("–")),
            said = Escaped(shortened(&operation.said, 400)),
            from = seconds(operation.invoked.0, 6),
            ending = operation.ending(),
            weakened = if operation.weakened { ", not needed" } else { "" },
            index = operation.index,
        );
    }
    html.push_str("</tbody></table></div>\n");
    html
}

/// The steps of the cycle, and where the search got stuck, in words.
fn cycle(found: &Counterexample, operations: &[ProofOperation]) -> String {
    let mut html = String::new();
    let number = |id| {
        operations
            .iter()
            .position(|operation| operation.id == id)
            .map(|at| at + 1)
    };
    if !found.cycle.is_empty() {
        html.push_str("<h3>Each must come before the next</h3>\n<ol>");
        for edge in &found.cycle {
            let name = |id| number(id).map_or("an operation outside".to_owned(), |n| format!("{n}"));
            let _ = write!(
                html,
                "<li>{} before {}: {}</li>",
                name(edge.from),
                name(edge.to),
                Escaped(&edge.because)
            );
        }
        html.push_str("</ol>\n");
    }
    if !found.stuck.is_empty() {
        html.push_str("<h3>Where every order ends</h3>\n<ul>");
        for line in &found.stuck {
            let _ = write!(html, "<li>{}</li>", Escaped(line));
        }
        html.push_str("</ul>\n");
    }
    html
}

fn stretch(fault: &FaultSpan) -> String {
    let to = fault
        .to
        .map_or("the end".to_owned(), |to| format!("{} s", seconds(to.0, 2)));
    format!("{} s to {to}", seconds(fault.from.0, 2))
}

//! The operations that prove a violation, drawn: a lane a process, a bar an operation, the faults behind them.
//!
//! The operations of a proof may lie seconds apart and last microseconds. On a straight axis all would be
//! hairlines, so the axis keeps the order and says the distances: each gap between two neighbouring moments is
//! drawn as wide as the logarithm of its length, and wider where a label needs the room. What comes before what,
//! which is all that a proof rests on, is exact.

use std::collections::BTreeMap;
use std::fmt::Write;

use checker::CycleEdge;
use checker::history::{Nanos, OpId};

use super::FaultSpan;
use super::escape::{Escaped, shortened};
use super::proof::{Look, ProofOperation};
use super::scale::{duration, seconds};

/// Advance of a character of the labels: monospace at 12 units.
const CHARACTER: f64 = 7.3;
/// Room for the names of the lanes.
const MARGIN_LEFT: f64 = 112.0;
const MARGIN_RIGHT: f64 = 16.0;
const LANE: f64 = 50.0;
const BAR: f64 = 16.0;
const STRIP: f64 = 20.0;
/// Narrower drawings are stretched to this.
const NARROWEST: f64 = 1040.0;
/// Labels are cut beyond this; the table below the drawing has them whole.
const LONGEST_LABEL: usize = 44;

/// Moments and their places.
struct Axis {
    moments: Vec<u64>,
    places: Vec<f64>,
}

impl Axis {
    /// The place of a moment; one between two known ones lies between their places, one outside at the edge.
    fn x(&self, time: u64) -> f64 {
        match self.moments.binary_search(&time) {
            Ok(at) => self.places[at],
            Err(0) => self.left(),
            Err(at) if at == self.moments.len() => self.right(),
            Err(at) => (self.places[at - 1] + self.places[at]) / 2.0,
        }
    }

    fn left(&self) -> f64 {
        MARGIN_LEFT
    }

    fn right(&self) -> f64 {
        self.places.last().copied().unwrap_or(MARGIN_LEFT) + 24.0
    }
}

/// Draws the proof as an `<svg>` element. `operations` come by invocation; edges name them by id.
pub(super) fn draw(operations: &[ProofOperation], edges: &[CycleEdge], faults: &[FaultSpan]) -> String {
    let Some((from, to)) = super::proof::reach(operations) else {
        return String::new();
    };
    let faults: Vec<&FaultSpan> = faults.iter().filter(|fault| fault.touches(from, to)).collect();
    let lanes = lanes(operations);
    let axis = axis(operations, &faults, &lanes, from, to);
    let strips = strips(&faults, &axis);
    let top = 8.0 + STRIP * strips.iter().map(|row| row + 1).max().unwrap_or(0) as f64;
    let bottom = top + LANE * lanes.len() as f64 + 6.0;
    let (width, height) = (axis.right() + MARGIN_RIGHT, bottom + 44.0);
    let mut svg = format!(
        "<svg class=\"lanes\" viewBox=\"0 0 {width:.0} {height:.0}\" width=\"{width:.0}\" height=\"{height:.0}\" \
         role=\"group\" aria-label=\"The operations of the proof over time, a lane for each process\">\n\
         <defs><marker id=\"tip\" viewBox=\"0 0 8 8\" refX=\"7\" refY=\"4\" markerWidth=\"7\" markerHeight=\"7\" \
         orient=\"auto-start-reverse\"><path class=\"tip\" d=\"M0 0 8 4 0 8z\"/></marker></defs>\n"
    );
    draw_faults(&mut svg, &faults, &strips, &axis, bottom);
    draw_grid(&mut svg, operations, &axis, &lanes, top, bottom);
    let middle = |process: u64| top + LANE * lanes[&process].0 as f64 + 33.0;
    for (at, operation) in operations.iter().enumerate() {
        let label = label(operation, at + 1, &lanes);
        draw_operation(
            &mut svg,
            operation,
            (at + 1, &label),
            &axis,
            middle(operation.process),
        );
    }
    draw_edges(&mut svg, edges, operations, &axis, middle);
    svg.push_str("</svg>\n");
    svg
}

/// Each process' lane: its place from the top, and its node if it only ever asked one.
type Lanes<'a> = BTreeMap<u64, (usize, Option<&'a str>)>;

fn lanes(operations: &[ProofOperation]) -> Lanes<'_> {
    let mut lanes = Lanes::new();
    for operation in operations {
        let (row, node) = (lanes.len(), operation.node.as_deref());
        let lane = lanes.entry(operation.process).or_insert((row, node));
        if lane.1 != node {
            lane.1 = None;
        }
    }
    lanes
}

/// What stands above a bar; the node only where the lane does not name it already.
fn label(operation: &ProofOperation, number: usize, lanes: &Lanes<'_>) -> String {
    let said = shortened(&operation.said, LONGEST_LABEL);
    match (&operation.node, lanes[&operation.process].1) {
        (Some(node), None) => format!("{number} {said} @{node}"),
        _ => format!("{number} {said}"),
    }
}

/// Lays the moments out from left to right so that order is exact and no label runs into the next.
fn axis(
    operations: &[ProofOperation],
    faults: &[&FaultSpan],
    lanes: &Lanes<'_>,
    from: Nanos,
    to: Nanos,
) -> Axis {
    let inside = |time: &Nanos| *time > from && *time < to;
    let mut moments: Vec<u64> = operations
        .iter()
        .flat_map(|operation| [Some(operation.invoked), operation.completed])
        .chain(
            faults
                .iter()
                .flat_map(|fault| [Some(fault.from).filter(inside), fault.to.filter(inside)]),
        )
        .flatten()
        .map(|time| time.0)
        .collect();
    moments.sort_unstable();
    moments.dedup();
    let place_of = |time: u64| {
        moments
            .binary_search(&time)
            .expect("every operation's moments are on the axis")
    };
    // (from this moment, to that one, at least so far apart)
    let mut apart: Vec<(usize, usize, f64)> = Vec::new();
    let mut last_of: BTreeMap<u64, (usize, f64)> = BTreeMap::new();
    let mut tail: f64 = 0.0;
    for (number, operation) in operations.iter().enumerate() {
        let at = place_of(operation.invoked.0);
        let room = label(operation, number + 1, lanes).chars().count() as f64 * CHARACTER + 14.0;
        if let Some((before, room)) = last_of.insert(operation.process, (at, room)) {
            apart.push((before, at, room));
        }
    }
    let mut places = Vec::with_capacity(moments.len());
    for (at, time) in moments.iter().enumerate() {
        let natural = match at {
            0 => MARGIN_LEFT + 14.0,
            _ => places[at - 1] + gap(time - moments[at - 1]),
        };
        let needed = apart
            .iter()
            .filter(|need| need.1 == at)
            .map(|need| places[need.0] + need.2);
        places.push(needed.fold(natural, f64::max));
    }
    for (at, room) in last_of.values() {
        tail = tail.max(places[*at] + room);
    }
    // Everything moves to the right in proportion until the drawing is wide enough; the last labels keep room.
    let last = places.last().copied().unwrap_or(MARGIN_LEFT);
    let spare = (tail - last).max(0.0);
    let wanted = (NARROWEST - MARGIN_RIGHT - 24.0 - spare).max(last);
    let start = MARGIN_LEFT + 14.0;
    let stretch = if last > start {
        (wanted - start) / (last - start)
    } else {
        1.0
    };
    for place in &mut places {
        *place = start + (*place - start) * stretch;
    }
    if spare > 0.0 {
        // A moment after all others, so that the right edge lies behind the last label.
        moments.push(u64::MAX);
        places.push(places.last().copied().unwrap_or(start) + spare);
    }
    Axis { moments, places }
}

/// How wide a gap in time is drawn.
fn gap(nanos: u64) -> f64 {
    12.0 + 13.0 * (1.0 + nanos as f64 / 50_000.0).log10()
}

/// The row of each fault's label above the lanes, so that none lies on another.
fn strips(faults: &[&FaultSpan], axis: &Axis) -> Vec<usize> {
    let mut rows: Vec<f64> = Vec::new();
    faults
        .iter()
        .map(|fault| {
            let left = axis.x(fault.from.0);
            let text = shortened(&fault.description, LONGEST_LABEL).chars().count() as f64 * 6.4 + 14.0;
            let right = (left + text).max(fault.to.map_or(axis.right(), |to| axis.x(to.0)));
            let row = rows.iter().position(|end| *end <= left).unwrap_or(rows.len());
            if row == rows.len() {
                rows.push(right);
            } else {
                rows[row] = right;
            }
            row
        })
        .collect()
}

fn draw_faults(svg: &mut String, faults: &[&FaultSpan], strips: &[usize], axis: &Axis, bottom: f64) {
    for (fault, row) in faults.iter().zip(strips) {
        let left = axis.x(fault.from.0);
        let right = fault.to.map_or(axis.right(), |to| axis.x(to.0)).max(left + 2.0);
        let (y, width) = (4.0 + STRIP * *row as f64, right - left);
        let kind = fault.family();
        let text = shortened(&fault.description, LONGEST_LABEL);
        // A label that would leave the drawing ends where its band ends.
        let runs_out = left + 6.0 + text.chars().count() as f64 * 6.4 > axis.right() + MARGIN_RIGHT;
        let (anchor, x) = if runs_out {
            ("end", right - 6.0)
        } else {
            ("start", left + 6.0)
        };
        let _ = writeln!(
            svg,
            "<g class=\"fault {kind}\"><title>{description}, from {from} to {to}; {seen}</title>\
             <rect class=\"band\" x=\"{left:.1}\" y=\"{y:.0}\" width=\"{width:.1}\" height=\"{height:.0}\"/>\
             <rect class=\"bar\" x=\"{left:.1}\" y=\"{y:.0}\" width=\"{width:.1}\" height=\"16\" rx=\"2\"/>\
             <text x=\"{x:.1}\" y=\"{text_y:.0}\" text-anchor=\"{anchor}\">{text}</text></g>",
            description = Escaped(&fault.description),
            from = fault.from,
            to = fault.to.map_or("the end".to_owned(), |to| to.to_string()),
            seen = Escaped(&fault.seen),
            height = bottom - y,
            text_y = y + 12.0,
            text = Escaped(text),
        );
    }
}

/// The lanes' names and lines, and the axis with its moments and the distances between them.
fn draw_grid(
    svg: &mut String,
    operations: &[ProofOperation],
    axis: &Axis,
    lanes: &Lanes<'_>,
    top: f64,
    bottom: f64,
) {
    for (process, (row, node)) in lanes {
        let y = top + LANE * *row as f64 + 33.0;
        let _ = write!(
            svg,
            "<line class=\"lane\" x1=\"{MARGIN_LEFT}\" x2=\"{right:.1}\" y1=\"{y:.0}\" y2=\"{y:.0}\"/>\
             <text class=\"name\" x=\"4\" y=\"{name_y:.0}\">process {process}</text>",
            right = axis.right(),
            name_y = y + if node.is_some() { -2.0 } else { 4.0 },
        );
        if let Some(node) = node {
            let _ = write!(
                svg,
                "<text class=\"muted\" x=\"4\" y=\"{:.0}\">asks {}</text>",
                y + 13.0,
                Escaped(shortened(node, 12))
            );
        }
        svg.push('\n');
    }
    let mut times: Vec<u64> = operations
        .iter()
        .flat_map(|o| [Some(o.invoked), o.completed])
        .flatten()
        .map(|t| t.0)
        .collect();
    times.sort_unstable();
    times.dedup();
    let closest = times
        .windows(2)
        .map(|pair| pair[1] - pair[0])
        .min()
        .unwrap_or(u64::MAX);
    let digits = if closest >= 1_000_000 { 3 } else { 6 };
    let mut free = f64::MIN;
    for time in &times {
        let x = axis.x(*time);
        let _ = write!(
            svg,
            "<line class=\"moment\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{top:.0}\" y2=\"{bottom:.0}\"/>"
        );
        let text = format!("{} s", seconds(*time, digits));
        let half = text.len() as f64 * 3.2;
        if x - half > free {
            let _ = write!(
                svg,
                "<text class=\"tick\" x=\"{x:.1}\" y=\"{:.0}\">{text}</text>",
                bottom + 16.0
            );
            free = x + half + 10.0;
        }
    }
    svg.push('\n');
    for pair in times.windows(2) {
        let (left, right) = (axis.x(pair[0]), axis.x(pair[1]));
        let text = duration(pair[1] - pair[0]);
        if right - left > text.chars().count() as f64 * 6.2 + 14.0 {
            let y = bottom + 30.0;
            let _ = writeln!(
                svg,
                "<path class=\"distance\" d=\"M{:.1} {y:.0}H{:.1}\"/><text class=\"distance\" x=\"{:.1}\" y=\"{:.0}\">{text}</text>",
                left + 3.0,
                right - 3.0,
                (left + right) / 2.0,
                y + 4.0,
            );
        }
    }
}

fn draw_operation(
    svg: &mut String,
    operation: &ProofOperation,
    (number, label): (usize, &str),
    axis: &Axis,
    middle: f64,
) {
    let left = axis.x(operation.invoked.0);
    let right = operation
        .completed
        .map_or(axis.right(), |at| axis.x(at.0))
        .max(left + 3.0);
    let look = match operation.look {
        Look::Effect => "effect",
        Look::Observation => "observation",
        Look::Unknown => "unknown",
    };
    let weakened = if operation.weakened { " weakened" } else { "" };
    let y = middle - BAR / 2.0;
    let _ = write!(
        svg,
        "<g class=\"op {look}{weakened}\" tabindex=\"0\" data-op=\"{number}\">\
         <title>{number}. process {process}: {said}{node}, from {from}{to}</title>\
         <rect x=\"{left:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{BAR}\" rx=\"3\"/>\
         <text x=\"{left:.1}\" y=\"{label_y:.1}\">{label}</text>",
        process = operation.process,
        said = Escaped(&operation.said),
        node = operation
            .node
            .as_deref()
            .map(|n| format!(" at {}", Escaped(n)))
            .unwrap_or_default(),
        from = operation.invoked,
        to = operation
            .completed
            .map_or(", outcome unknown".to_owned(), |to| format!(" to {to}")),
        width = right - left,
        label_y = y - 5.0,
        label = Escaped(label),
    );
    if operation.look == Look::Unknown {
        let _ = write!(
            svg,
            "<text class=\"open\" x=\"{:.1}\" y=\"{:.1}\">?</text>",
            right - 12.0,
            middle + 4.5
        );
    }
    svg.push_str("</g>\n");
}

/// An arrow for each step of the cycle that no order can honour.
fn draw_edges(
    svg: &mut String,
    edges: &[CycleEdge],
    operations: &[ProofOperation],
    axis: &Axis,
    middle: impl Fn(u64) -> f64,
) {
    let find = |id: OpId| operations.iter().find(|operation| operation.id == id);
    let end = |operation: &ProofOperation| operation.completed.map_or(axis.right(), |at| axis.x(at.0));
    for edge in edges {
        let (Some(from), Some(to)) = (find(edge.from), find(edge.to)) else {
            continue;
        };
        let (y1, y2) = (middle(from.process), middle(to.process));
        let path = if from.completed.is_some_and(|done| done <= to.invoked) {
            // One was over before the other began: from end to beginning.
            let (x1, x2) = (end(from), axis.x(to.invoked.0));
            let reach = ((x2 - x1).abs() / 2.0).clamp(12.0, 60.0);
            let bend = if y1 == y2 { 26.0 } else { 0.0 };
            format!(
                "M{x1:.1} {y1:.1}C{:.1} {:.1} {:.1} {:.1} {x2:.1} {y2:.1}",
                x1 + reach,
                y1 + bend,
                x2 - reach,
                y2 + bend
            )
        } else {
            // Against or across the clock: from the middle of one bar to the middle of the other, edge to edge.
            let inside = |operation: &ProofOperation| (axis.x(operation.invoked.0) + end(operation)) / 2.0;
            let side = if y2 < y1 { -BAR / 2.0 } else { BAR / 2.0 };
            let (x1, x2, y1, y2) = (
                inside(from),
                inside(to),
                y1 + side,
                y2 - if y1 == y2 { -side } else { side },
            );
            let bend = if y1 == y2 { 22.0 } else { (y2 - y1) / 2.0 };
            format!(
                "M{x1:.1} {y1:.1}C{x1:.1} {:.1} {x2:.1} {:.1} {x2:.1} {y2:.1}",
                y1 + bend,
                y2 - if y1 == y2 { -bend } else { bend }
            )
        };
        let _ = writeln!(
            svg,
            "<path class=\"edge\" marker-end=\"url(#tip)\" d=\"{path}\"><title>{}</title></path>",
            Escaped(&edge.because),
        );
    }
}

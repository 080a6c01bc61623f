//! The whole run on one axis: faults, what the nodes were, operations a second by outcome, latencies.
//!
//! Drawn as plain SVG whose colours are the page's, so that one drawing serves light, dark and paper.

use std::fmt::Write;

use checker::history::Nanos;

use super::escape::{Escaped, script_json, shortened};
use super::scale::{LogScale, TimeScale, clock, count, duration, ticks, time_ticks};
use super::series::{Counts, Series};
use super::{FaultSpan, NodeState, Outcome, Role};

const WIDTH: f64 = 1080.0;
const LEFT: f64 = 66.0;
const RIGHT: f64 = WIDTH - 14.0;
const ROW: f64 = 17.0;
const RATE: f64 = 150.0;
const LATENCY: f64 = 170.0;
/// Advance of a character of the small labels.
const CHARACTER: f64 = 6.2;
/// The names of the drawn latencies, in the order of [`super::series::Bucket::latency`].
const LATENCIES: [(&str, &str); 4] = [("p50", "p50"), ("p95", "p95"), ("p99", "p99"), ("max", "highest")];

/// What the overview shows beside the numbers.
pub(super) struct Overview<'a> {
    pub(super) faults: &'a [FaultSpan],
    pub(super) node_states: &'a [NodeState],
    /// When the operations that prove a violation were invoked, and when the last of them completed.
    pub(super) violation: Vec<Nanos>,
    /// What is drawn, in a word: the first is `overview`.
    pub(super) class: &'static str,
}

/// Draws the overview as an `<svg>` element.
pub(super) fn overview(series: &Series, what: &Overview<'_>) -> String {
    drawn(series, what, &[])
}

/// The same with what its colours mean below it, for a file that stands alone.
pub(super) fn explained(series: &Series, what: &Overview<'_>) -> String {
    drawn(series, what, &keys(series, what))
}

fn drawn(series: &Series, what: &Overview<'_>, keys: &[Key]) -> String {
    let time = TimeScale {
        from: 0,
        to: series.end,
        left: LEFT,
        right: RIGHT,
    };
    let rows = pack(what.faults, &time);
    let fault_rows = rows.iter().map(|row| row + 1).max().unwrap_or(0);
    let mut nodes: Vec<&str> = what.node_states.iter().map(|state| state.node.as_str()).collect();
    nodes.sort_unstable();
    nodes.dedup();
    let node_top = 6.0 + ROW * fault_rows as f64 + 6.0;
    let rate_top = node_top + ROW * nodes.len() as f64 + 16.0;
    let latency_top = rate_top + RATE + 34.0;
    let bottom = latency_top + LATENCY;
    let lines = places(keys);
    let rows_of_keys = lines.last().map_or(0, |(row, _)| row + 1);
    let height = bottom + 24.0 + ROW * rows_of_keys as f64;
    let mut svg = format!(
        "<svg class=\"{class}\" viewBox=\"0 0 {WIDTH} {height:.0}\" role=\"img\" \
         aria-label=\"Faults, operations a second and latencies over the run\" data-left=\"{LEFT}\" data-right=\"{RIGHT}\">\n",
        class = what.class,
    );
    draw_time_grid(&mut svg, &time, rate_top, bottom);
    draw_faults(&mut svg, what.faults, &rows, &time, bottom);
    draw_node_states(&mut svg, what.node_states, &nodes, &time, node_top);
    draw_rate(&mut svg, series, &time, rate_top);
    draw_latency(&mut svg, series, &time, latency_top);
    draw_violation(&mut svg, &what.violation, &time, rate_top, bottom);
    draw_keys(&mut svg, keys, &lines, bottom + 24.0);
    let _ = writeln!(
        svg,
        "<line class=\"cursor\" x1=\"0\" x2=\"0\" y1=\"4\" y2=\"{bottom:.0}\" hidden=\"hidden\"/>\n</svg>"
    );
    svg
}

/// The numbers behind the overview, for the page's script to read out under the pointer.
pub(super) fn data(series: &Series, faults: &[FaultSpan]) -> String {
    let buckets: Vec<serde_json::Value> = series
        .buckets
        .iter()
        .map(|bucket| {
            let counts = bucket.counts.each().map(|(_, n)| n);
            serde_json::json!([counts, bucket.latency])
        })
        .collect();
    let faults: Vec<serde_json::Value> = faults
        .iter()
        .map(|f| serde_json::json!([f.from.0, f.to.map_or(series.end, |to| to.0), f.description]))
        .collect();
    script_json(
        &serde_json::json!({ "end": series.end, "width": series.width, "buckets": buckets, "faults": faults }),
    )
}

/// Bars of operations a second, as they stand in the rows of a table: the share of each outcome.
pub(super) fn share_bar(counts: &Counts) -> String {
    let total = counts.total().max(1) as f64;
    let mut svg = String::from(
        "<svg class=\"share\" viewBox=\"0 0 100 8\" preserveAspectRatio=\"none\" aria-hidden=\"true\">",
    );
    let mut x = 0.0;
    for (outcome, number) in counts.each() {
        let width = number as f64 / total * 100.0;
        if number > 0 {
            let _ = write!(
                svg,
                "<rect class=\"{}\" x=\"{x:.2}\" width=\"{:.2}\" height=\"8\"/>",
                outcome.word(),
                width.max(0.6)
            );
        }
        x += width;
    }
    svg.push_str("</svg>");
    svg
}

/// A row for each fault, so that no label lies on another: the first row that is free where it and its label begin.
fn pack(faults: &[FaultSpan], time: &TimeScale) -> Vec<usize> {
    let mut rows: Vec<f64> = Vec::new();
    faults
        .iter()
        .map(|fault| {
            let (left, right) = span(fault, time);
            let label = Label::of(fault, left, right);
            let begin = left.min(label.from);
            let end = right.max(label.to);
            let row = rows
                .iter()
                .position(|taken| *taken <= begin)
                .unwrap_or(rows.len());
            match rows.get_mut(row) {
                Some(taken) => *taken = end,
                None => rows.push(end),
            }
            row
        })
        .collect()
}

/// What is written at a fault, and from where to where that reaches: behind the fault's beginning, or where the
/// drawing would end before the text does, before the fault's end.
struct Label {
    text: String,
    from: f64,
    to: f64,
    anchor: &'static str,
}

impl Label {
    fn of(fault: &FaultSpan, left: f64, right: f64) -> Self {
        let text = shortened(&fault.description, 40);
        let width = text.chars().count() as f64 * CHARACTER + 4.0;
        let (anchor, from) = if left + 4.0 + width > RIGHT {
            ("end", right - 4.0 - width)
        } else {
            ("start", left + 4.0)
        };
        Self {
            text,
            from,
            to: from + width,
            anchor,
        }
    }

    /// Where its anchor is.
    fn x(&self) -> f64 {
        if self.anchor == "end" { self.to } else { self.from }
    }
}

fn span(fault: &FaultSpan, time: &TimeScale) -> (f64, f64) {
    let left = time.x(fault.from.0);
    (
        left,
        fault.to.map_or(time.right, |to| time.x(to.0)).max(left + 2.0),
    )
}

fn draw_faults(svg: &mut String, faults: &[FaultSpan], rows: &[usize], time: &TimeScale, bottom: f64) {
    for (fault, row) in faults.iter().zip(rows) {
        let (left, right) = span(fault, time);
        let y = 4.0 + ROW * *row as f64;
        let label = Label::of(fault, left, right);
        let _ = writeln!(
            svg,
            "<g class=\"fault {family}\"><title>{description}: {from} to {to}</title>\
             <rect class=\"band\" x=\"{left:.1}\" y=\"{y:.0}\" width=\"{width:.1}\" height=\"{height:.0}\"/>\
             <rect class=\"bar\" x=\"{left:.1}\" y=\"{y:.0}\" width=\"{width:.1}\" height=\"14\" rx=\"2\"/>\
             <text x=\"{x:.1}\" y=\"{text_y:.1}\" text-anchor=\"{anchor}\">{text}</text></g>",
            family = fault.family(),
            description = Escaped(&fault.description),
            from = clock(fault.from.0 / 1_000_000 * 1_000_000),
            to = fault
                .to
                .map_or("the end".to_owned(), |to| clock(to.0 / 1_000_000 * 1_000_000)),
            width = right - left,
            height = bottom - y,
            x = label.x(),
            text_y = y + 10.5,
            anchor = label.anchor,
            text = Escaped(&label.text),
        );
    }
}

fn draw_node_states(svg: &mut String, states: &[NodeState], nodes: &[&str], time: &TimeScale, top: f64) {
    for (row, node) in nodes.iter().enumerate() {
        let y = top + ROW * row as f64;
        let _ = write!(
            svg,
            "<text class=\"axis\" x=\"{:.0}\" y=\"{:.1}\">{}</text>",
            LEFT - 8.0,
            y + 10.5,
            Escaped(shortened(node, 9))
        );
        for state in states.iter().filter(|state| state.node == *node) {
            let (left, right) = (time.x(state.from.0), time.x(state.to.0));
            let role = match state.role {
                Role::Leader => "leader",
                Role::Follower => "follower",
                Role::Silent => "silent",
            };
            let width = (right - left).max(1.0);
            let _ = write!(
                svg,
                "<g class=\"state {role}\"><title>{node} {role} {note}</title>\
                 <rect x=\"{left:.1}\" y=\"{y:.0}\" width=\"{width:.1}\" height=\"12\"/>",
                node = Escaped(node),
                note = Escaped(&state.note),
            );
            let room = (width / CHARACTER) as usize;
            if state.role == Role::Leader && state.note.chars().count() < room {
                let _ = write!(
                    svg,
                    "<text x=\"{:.1}\" y=\"{:.1}\">{}</text>",
                    left + 3.0,
                    y + 9.5,
                    Escaped(&state.note)
                );
            }
            svg.push_str("</g>");
        }
        svg.push('\n');
    }
}

/// What something in the drawing means.
#[derive(Debug)]
struct Key {
    /// What it looks like: an SVG element at the origin, 12 by 12.
    mark: String,
    name: &'static str,
}

/// What the drawing holds and does not name where it stands.
fn keys(series: &Series, what: &Overview<'_>) -> Vec<Key> {
    let square = |class: &str| format!("<rect class=\"{class}\" width=\"11\" height=\"11\"/>");
    let outcomes = series
        .all
        .counts
        .each()
        .into_iter()
        .filter(|(_, number)| *number > 0);
    let outcomes = outcomes.map(|(outcome, _)| Key {
        mark: square(&format!("area {}", outcome.word())),
        name: outcome.word(),
    });
    let answered = series.buckets.iter().any(|bucket| bucket.latency.is_some());
    let latencies = LATENCIES
        .into_iter()
        .filter(|_| answered)
        .map(|(class, name)| Key {
            mark: format!("<path class=\"line {class}\" d=\"M0 6h14\"/>"),
            name,
        });
    let roles = [
        (Role::Leader, "leader", "node that leads"),
        (Role::Follower, "follower", "follows"),
        (Role::Silent, "silent", "does not answer"),
    ];
    let roles = roles
        .into_iter()
        .filter(|(role, ..)| what.node_states.iter().any(|state| state.role == *role))
        .map(|(_, class, name)| Key {
            mark: format!("<g class=\"state {class}\">{}</g>", square("")),
            name,
        });
    outcomes.chain(latencies).chain(roles).collect()
}

/// The row and the left edge of each key.
fn places(keys: &[Key]) -> Vec<(usize, f64)> {
    let (mut row, mut x) = (0, LEFT);
    keys.iter()
        .map(|key| {
            let width = 36.0 + key.name.chars().count() as f64 * CHARACTER;
            if x + width > RIGHT {
                (row, x) = (row + 1, LEFT);
            }
            let place = (row, x);
            x += width;
            place
        })
        .collect()
}

fn draw_keys(svg: &mut String, keys: &[Key], places: &[(usize, f64)], top: f64) {
    for (key, (row, x)) in keys.iter().zip(places) {
        let _ = writeln!(
            svg,
            "<g class=\"key\" transform=\"translate({x:.1} {:.1})\">{}<text x=\"18\" y=\"10\">{}</text></g>",
            top + ROW * *row as f64,
            key.mark,
            key.name
        );
    }
}

/// A flag where the violation was complete, and a tick for each operation that it needs.
fn draw_violation(svg: &mut String, moments: &[Nanos], time: &TimeScale, top: f64, bottom: f64) {
    let Some(last) = moments.iter().max() else { return };
    svg.push_str(
        "<g class=\"violation\"><title>The operations of the proof; the flag marks the last one</title>",
    );
    for moment in moments {
        let _ = write!(
            svg,
            "<path class=\"tick\" d=\"M{:.1} {top:.0}v7\"/>",
            time.x(moment.0)
        );
    }
    let x = time.x(last.0);
    let _ = writeln!(
        svg,
        "<path class=\"pole\" d=\"M{x:.1} {top:.0}V{bottom:.0}\"/><path d=\"M{x:.1} {top:.0}l-6 -9h12z\"/></g>"
    );
}

fn draw_time_grid(svg: &mut String, time: &TimeScale, top: f64, bottom: f64) {
    for tick in time_ticks(time.from, time.to, 12) {
        let x = time.x(tick);
        let _ = write!(
            svg,
            "<line class=\"grid\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{top:.0}\" y2=\"{bottom:.0}\"/>\
             <text class=\"axis time\" x=\"{x:.1}\" y=\"{:.0}\">{}</text>",
            bottom + 16.0,
            clock(tick),
        );
    }
    svg.push('\n');
}

/// Stacked areas in steps, the certain answers at the bottom.
fn draw_rate(svg: &mut String, series: &Series, time: &TimeScale, top: f64) {
    let bottom = top + RATE;
    let per_second = |at: usize, number: u64| {
        let from = at as u64 * series.width;
        number as f64 / ((series.end.min(from + series.width) - from).max(1) as f64 / 1e9)
    };
    // The last bucket may be a sliver in which one operation is an enormous rate.
    let full = |at: usize| (at as u64 + 1) * series.width <= series.end;
    let highest = series
        .buckets
        .iter()
        .enumerate()
        .filter(|(at, _)| full(*at) || *at == 0);
    let highest = highest
        .map(|(at, bucket)| per_second(at, bucket.counts.total()))
        .fold(0.0, f64::max);
    let marks = ticks(highest, 4);
    let most = marks.last().copied().unwrap_or(1.0);
    let y = |rate: f64| bottom - (rate / most).min(1.0) * RATE;
    heading(svg, top, "operations a second, by when they ended");
    for mark in &marks {
        value_line(svg, y(*mark), &count(*mark as u64));
    }
    let mut below = vec![0.0; series.buckets.len()];
    for which in 0..4 {
        let outcome = Counts::default().each()[which].0;
        let mut above = below.clone();
        for (at, bucket) in series.buckets.iter().enumerate() {
            above[at] += per_second(at, bucket.counts.each()[which].1);
        }
        if above != below {
            let _ = writeln!(
                svg,
                "<path class=\"area {}\" d=\"{}\"/>",
                outcome.word(),
                steps(series, time, &below, &above, y)
            );
        }
        below = above;
    }
    draw_silence(svg, series, time, bottom);
}

/// The closed outline between two stepped lines.
fn steps(series: &Series, time: &TimeScale, below: &[f64], above: &[f64], y: impl Fn(f64) -> f64) -> String {
    let edge = |at: usize| time.x((at as u64 * series.width).min(series.end));
    let mut path = format!("M{:.1} {:.1}", edge(0), y(below[0]));
    for (at, value) in above.iter().enumerate() {
        let _ = write!(path, "V{:.1}H{:.1}", y(*value), edge(at + 1));
    }
    for (at, value) in below.iter().enumerate().rev() {
        let _ = write!(path, "V{:.1}H{:.1}", y(*value), edge(at));
    }
    path.push('Z');
    path
}

/// A line under the stretches in which nothing came back ok, from the first answer of the run to its last.
fn draw_silence(svg: &mut String, series: &Series, time: &TimeScale, bottom: f64) {
    let answered = |bucket: &super::series::Bucket| bucket.counts.ok > 0;
    let first = series.buckets.iter().position(answered).unwrap_or(0);
    let last = series.buckets.iter().rposition(answered).unwrap_or(0);
    for (at, bucket) in series.buckets.iter().enumerate().take(last).skip(first) {
        if answered(bucket) {
            continue;
        }
        let from = at as u64 * series.width;
        let _ = write!(
            svg,
            "<path class=\"silence\" d=\"M{:.1} {y:.1}H{:.1}\"><title>{} operations ended here, none of them ok</title></path>",
            time.x(from),
            time.x(from + series.width),
            count(bucket.counts.total()),
            y = bottom + 2.0,
        );
    }
    svg.push('\n');
}

/// A line a percentile, broken where nothing was asked.
fn draw_latency(svg: &mut String, series: &Series, time: &TimeScale, top: f64) {
    let bottom = top + LATENCY;
    let all = series.buckets.iter().filter_map(|bucket| bucket.latency);
    let lowest = all.clone().map(|l| l[0]).min();
    let highest = all.map(|l| l[3]).max();
    heading(
        svg,
        top,
        "latency of ok and mismatch, by when they were asked, logarithmic",
    );
    let (Some(lowest), Some(highest)) = (lowest, highest) else {
        let _ = writeln!(
            svg,
            "<text class=\"axis none\" x=\"{:.0}\" y=\"{:.0}\">no operation was answered</text>",
            LEFT + 8.0,
            top + 40.0
        );
        return;
    };
    let scale = LogScale::around(lowest as f64, highest as f64, bottom, top);
    for decade in scale.decades() {
        value_line(svg, scale.y(decade), &decade_label(decade));
    }
    let middle = |at: usize| time.x((at as u64 * series.width + series.width / 2).min(series.end));
    for (which, (class, _)) in LATENCIES.iter().enumerate() {
        let mut path = String::new();
        let mut pen_down = false;
        for (at, bucket) in series.buckets.iter().enumerate() {
            match bucket.latency {
                Some(latency) => {
                    let command = if pen_down { 'L' } else { 'M' };
                    // A point on its own is a line of no length with round ends.
                    let _ = write!(
                        path,
                        "{command}{:.1} {:.1}",
                        middle(at),
                        scale.y(latency[which] as f64)
                    );
                    if !pen_down {
                        path.push_str("h0");
                    }
                    pen_down = true;
                }
                None => pen_down = false,
            }
        }
        let _ = writeln!(svg, "<path class=\"line {class}\" d=\"{path}\"/>");
    }
}

fn heading(svg: &mut String, top: f64, text: &str) {
    let _ = writeln!(
        svg,
        "<text class=\"heading\" x=\"{LEFT}\" y=\"{:.0}\">{text}</text>",
        top - 7.0
    );
}

fn value_line(svg: &mut String, y: f64, text: &str) {
    let _ = writeln!(
        svg,
        "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{RIGHT}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>\
         <text class=\"axis\" x=\"{:.0}\" y=\"{:.1}\">{text}</text>",
        LEFT - 8.0,
        y + 4.0,
    );
}

/// 1 ms, 100 µs: a decade has one digit.
fn decade_label(nanos: f64) -> String {
    let text = duration(nanos.round() as u64);
    text.replace(".00", "").replace(".0", "")
}

/// The entries of the legend under the overview: class and name.
pub(super) fn legend(series: &Series) -> String {
    let mut html = String::from("<ul class=\"legend\">");
    for (outcome, number) in series.all.counts.each() {
        if number > 0 {
            let meaning = match outcome {
                Outcome::Ok => "happened",
                Outcome::Mismatch => "cas that found another value",
                Outcome::Fail => "certainly did nothing",
                Outcome::Unknown => "may or may not have happened",
            };
            let _ = write!(
                html,
                "<li><i class=\"swatch {word}\"></i>{word} <span class=\"muted\">{meaning}</span></li>",
                word = outcome.word()
            );
        }
    }
    for (class, name) in LATENCIES {
        let _ = write!(html, "<li><i class=\"stroke {class}\"></i>{name}</li>");
    }
    html.push_str("</ul>\n");
    html
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_of_faults_never_lie_on_each_other() {
        let second = 1_000_000_000;
        let time = TimeScale {
            from: 0,
            to: 30 * second,
            left: LEFT,
            right: RIGHT,
        };
        // Many short ones up to the very end, where labels stand before what they name.
        let faults: Vec<FaultSpan> = (0..29)
            .map(|at| FaultSpan {
                description: format!("partition halves: n{at}, n2 | n3, n4, n5"),
                from: Nanos(at * second),
                to: Some(Nanos(at * second + second / 2)),
                ..FaultSpan::default()
            })
            .collect();
        let rows = pack(&faults, &time);
        let places: Vec<(usize, f64, f64)> = faults
            .iter()
            .zip(&rows)
            .map(|(fault, row)| {
                let (left, right) = span(fault, &time);
                let label = Label::of(fault, left, right);
                assert!(
                    label.from >= 0.0 && label.to <= WIDTH,
                    "{label_to}",
                    label_to = label.to
                );
                (*row, label.from.min(left), label.to.max(right))
            })
            .collect();
        for (at, one) in places.iter().enumerate() {
            for other in &places[..at] {
                assert!(
                    one.0 != other.0 || one.1 >= other.2 || other.1 >= one.2,
                    "{one:?} lies on {other:?}"
                );
            }
        }
        assert!(rows.iter().any(|row| *row > 0));
    }
}

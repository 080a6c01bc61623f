//! The parts of the page, each a function from what is known to a piece of HTML.

use std::fmt::Write;

use checker::{Counterexample, Limit, Verdict};

use super::charts::share_bar;
use super::escape::{Escaped, shortened};
use super::proof::{Look, ProofOperation, reach, shown};
use super::scale::{clock, count, duration, percent, seconds};
use super::series::{Group, Series};
use super::{FaultSpan, LogExcerpt, NodeReport, ReportInput, RunOutcome, lanes};

/// Reasons listed before the rest is summed up.
const REASONS_SHOWN: usize = 12;

/// The verdict in a word.
pub(super) fn word(outcome: RunOutcome) -> &'static str {
    match outcome {
        RunOutcome::Valid => "Valid",
        RunOutcome::Invalid => "Invalid",
        RunOutcome::Unknown => "Unknown",
    }
}

/// The counterexample, where the verdict has one.
pub(super) fn counterexample<'a>(input: &ReportInput<'a>) -> Option<&'a Counterexample> {
    match input.analysis.map(|analysis| &analysis.verdict) {
        Some(Verdict::Illegal(found)) => Some(found),
        _ => None,
    }
}

/// What everybody wants to know, in one sentence of plain text: it heads the page and the summary alike.
pub(super) fn headline(input: &ReportInput<'_>) -> String {
    if let Some(found) = counterexample(input) {
        return found.sentence.clone();
    }
    if let Some(anomaly) = input.run.anomalies.first() {
        return anomaly.sentence.clone();
    }
    match input.analysis {
        None => "The history could not be checked.".to_owned(),
        Some(analysis) => match &analysis.verdict {
            Verdict::Unknown(limit) => said(limit),
            _ => match input.run.doubts.first() {
                Some(_) => "Nothing wrong was found, but the run is no evidence that nothing is.".to_owned(),
                None => format!(
                    "Linearizable: {} operations{}, and for each one a moment between its invocation and its \
                     answer at which it took effect, such that every answer is right.",
                    count(analysis.operations as u64),
                    match analysis.subhistories {
                        0 | 1 => String::new(),
                        keys => format!(" on {} keys", count(keys as u64)),
                    },
                ),
            },
        },
    }
}

/// What ran out, and how far the checker had come.
fn said(limit: &Limit) -> String {
    let (what, stand) = match limit {
        Limit::Time { allowed, stand } => (
            format!(
                "The checker gave up after the {} that it was allowed",
                duration(allowed.as_nanos() as u64)
            ),
            stand,
        ),
        Limit::Memory { allowed, stand } => (
            format!(
                "The checker gave up at the {} MiB of memory that it was allowed",
                allowed >> 20
            ),
            stand,
        ),
        Limit::ModelPanicked { message, stand } => (format!("The model itself failed ({message})"), stand),
        Limit::Stopped => return "The check was stopped before it had an answer.".to_owned(),
    };
    let key = stand
        .key
        .as_ref()
        .map(|key| format!(" of key {}", shown(key)))
        .unwrap_or_default();
    format!(
        "{what}, with {} of {} operations{key} explained.",
        stand.explained, stand.of
    )
}

/// What runs are usually called by: an anomaly's name, or what is missing.
fn kind(input: &ReportInput<'_>, outcome: RunOutcome) -> String {
    match (outcome, counterexample(input)) {
        (RunOutcome::Valid, _) => "linearizable, and the faults were seen to bite".to_owned(),
        (RunOutcome::Unknown, _) => "neither shown to be right nor wrong".to_owned(),
        (RunOutcome::Invalid, Some(found)) => {
            // The name that machines read, made readable: `stale-read`.
            let name = serde_json::to_value(found.anomaly).ok();
            let name = name
                .as_ref()
                .and_then(|name| name.as_str())
                .unwrap_or("no-order")
                .replace('-', " ");
            let key = found
                .key
                .as_ref()
                .map(|key| format!(", key {}", shown(key)))
                .unwrap_or_default();
            format!("not linearizable: {name}{key}")
        }
        (RunOutcome::Invalid, None) => input
            .run
            .anomalies
            .first()
            .map(|a| a.kind.clone())
            .unwrap_or_default(),
    }
}

pub(super) fn verdict(input: &ReportInput<'_>, outcome: RunOutcome) -> String {
    let class = word(outcome).to_lowercase();
    let mark = match outcome {
        RunOutcome::Valid => "✓",
        RunOutcome::Invalid => "✗",
        RunOutcome::Unknown => "?",
    };
    let mut html = format!(
        "<header class=\"verdict {class}\" role=\"alert\">\n<p class=\"word\">{mark} {word} <small>{kind}</small></p>\n<h1>{headline}</h1>\n",
        word = word(outcome),
        kind = Escaped(kind(input, outcome)),
        headline = Escaped(headline(input)),
    );
    let others = input
        .run
        .anomalies
        .iter()
        .skip(usize::from(counterexample(input).is_none()));
    let others: Vec<String> = others
        .map(|anomaly| format!("{}: {}", anomaly.kind, anomaly.sentence))
        .chain(
            input
                .run
                .doubts
                .iter()
                .map(|doubt| format!("No evidence: {doubt}")),
        )
        .collect();
    if !others.is_empty() {
        html.push_str("<ul>");
        for other in others {
            let _ = write!(html, "<li>{}</li>", Escaped(other));
        }
        html.push_str("</ul>\n");
    }
    let _ = writeln!(
        html,
        "<p class=\"muted\">{}</p>\n</header>",
        Escaped(where_from(input))
    );
    html
}

/// What was tested, when, with which seed: one line of plain text.
pub(super) fn where_from(input: &ReportInput<'_>) -> String {
    let run = input.run;
    let mut parts = vec![run.name.clone()];
    if !run.nodes.is_empty() {
        parts.push(format!(
            "{} node{}",
            run.nodes.len(),
            if run.nodes.len() == 1 { "" } else { "s" }
        ));
    }
    parts.extend(run.seed.map(|seed| format!("seed {seed}")));
    if !run.started.is_empty() {
        parts.push(format!("started {}", run.started));
    }
    parts.retain(|part| !part.is_empty());
    parts.join(" · ")
}

pub(super) fn tiles(input: &ReportInput<'_>, series: &Series) -> String {
    let counts = &series.all.counts;
    let bit = input.run.faults.iter().filter(|fault| fault.bit).count();
    let quantile = |share| series.all.quantile(share).map_or("–".to_owned(), duration);
    let silence = series
        .longest_silence
        .map_or("–".to_owned(), |(from, to)| duration(to - from));
    let tiles = [
        (
            count(counts.total()),
            format!("operations in {}", duration(series.end)),
        ),
        (
            percent(counts.answered(), counts.total()),
            "ok or a definite mismatch".to_owned(),
        ),
        (count(counts.unknown), "of unknown outcome".to_owned()),
        (quantile(0.99), format!("latency p99, p50 {}", quantile(0.5))),
        (silence, "longest without an ok".to_owned()),
        (
            format!("{bit} of {}", input.run.faults.len()),
            "faults seen to bite".to_owned(),
        ),
        (
            input.analysis.map_or("–".to_owned(), |analysis| {
                duration(analysis.elapsed.as_nanos() as u64)
            }),
            "to check".to_owned(),
        ),
    ];
    let mut html = String::from("<ul class=\"tiles\">\n");
    for (value, name) in tiles {
        let _ = writeln!(
            html,
            "<li><b>{}</b><span>{}</span></li>",
            Escaped(value),
            Escaped(name)
        );
    }
    html.push_str("</ul>\n");
    html
}

/// The command that repeats the run.
pub(super) fn again(input: &ReportInput<'_>) -> String {
    if input.run.command.is_empty() {
        return String::new();
    }
    format!(
        "<div class=\"again\"><span>to repeat it</span><code id=\"again\">{}</code><button id=\"copy\" type=\"button\">copy</button></div>\n",
        Escaped(&input.run.command)
    )
}

/// The operations that prove the violation, drawn and listed.
pub(super) fn proof(input: &ReportInput<'_>, operations: &[ProofOperation]) -> String {
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
        "They contradict each other; time ran out before it was shown that fewer would not do."
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

pub(super) fn faults(input: &ReportInput<'_>) -> String {
    let mut html = String::from("<section id=\"faults\"><h2>Faults</h2>\n");
    if input.run.faults.is_empty() {
        html.push_str("<p>None: the cluster was left in peace.</p>\n</section>\n");
        return html;
    }
    html.push_str(
        "<div class=\"scroll\"><table><thead><tr><th class=\"n\">from</th><th class=\"n\">to</th><th>what, whom</th>\
         <th>what was seen while it was on</th><th>after it was undone</th></tr></thead><tbody>\n",
    );
    for fault in &input.run.faults {
        let to = fault
            .to
            .map_or("–".to_owned(), |to| format!("{} s", seconds(to.0, 2)));
        let seen = |good: bool, text: &str, otherwise: &str| match (good, text) {
            (true, text) => Escaped(text).to_string(),
            (false, "") => format!("<span class=\"bad\">{otherwise}</span>"),
            (false, text) => format!("<span class=\"bad\">{otherwise}:</span> {}", Escaped(text)),
        };
        let after = if fault.to.is_none() && fault.healed {
            String::new()
        } else {
            seen(fault.healed, &fault.seen_healed, "not healed")
        };
        let _ = writeln!(
            html,
            "<tr class=\"fault {family}\"><td class=\"n\">{from} s</td><td class=\"n\">{to}</td><td><i class=\"chip\"></i>{what}</td><td>{seen}</td><td>{after}</td></tr>",
            family = fault.family(),
            from = seconds(fault.from.0, 2),
            what = Escaped(&fault.description),
            seen = seen(fault.bit, &fault.seen, "did not bite"),
        );
    }
    html.push_str("</tbody></table></div>\n</section>\n");
    html
}

pub(super) fn numbers(series: &Series) -> String {
    let mut html = String::from("<section id=\"numbers\"><h2>Numbers</h2>\n");
    groups(
        &mut html,
        "operation",
        series
            .by_f
            .iter()
            .map(|(name, group)| (name.as_str(), group))
            .chain([("all", &series.all)]),
    );
    if !series.by_node.is_empty() {
        groups(
            &mut html,
            "node",
            series.by_node.iter().map(|(name, group)| (name.as_str(), group)),
        );
    }
    if let Some((from, to)) = series.longest_silence {
        let _ = writeln!(
            html,
            "<p>Longest stretch without an ok: {}, from {} to {}.</p>",
            duration(to - from),
            clock(from / 1_000_000 * 1_000_000),
            clock(to / 1_000_000 * 1_000_000)
        );
    }
    reasons(&mut html, series);
    html.push_str("</section>\n");
    html
}

fn groups<'a>(html: &mut String, what: &str, groups: impl Iterator<Item = (&'a str, &'a Group)>) {
    let _ = writeln!(
        html,
        "<div class=\"scroll\"><table><thead><tr><th>{what}</th><th></th><th class=\"n\">total</th><th class=\"n\">ok</th><th class=\"n\">mismatch</th>\
         <th class=\"n\">fail</th><th class=\"n\">unknown</th><th class=\"n\">answered</th><th class=\"n\">p50</th><th class=\"n\">p95</th><th class=\"n\">p99</th><th class=\"n\">highest</th></tr></thead><tbody>"
    );
    for (name, group) in groups {
        let _ = write!(
            html,
            "<tr><td class=\"mono\">{}</td><td>{}</td><td class=\"n\">{}</td>",
            Escaped(shortened(name, 60)),
            share_bar(&group.counts),
            count(group.counts.total())
        );
        for (_, number) in group.counts.each() {
            let _ = write!(
                html,
                "<td class=\"n\">{}</td>",
                if number == 0 {
                    "–".to_owned()
                } else {
                    count(number)
                }
            );
        }
        let _ = write!(
            html,
            "<td class=\"n\">{}</td>",
            percent(group.counts.answered(), group.counts.total())
        );
        for share in [0.5, 0.95, 0.99, 1.0] {
            let _ = write!(
                html,
                "<td class=\"n\">{}</td>",
                group.quantile(share).map_or("–".to_owned(), duration)
            );
        }
        html.push_str("</tr>\n");
    }
    html.push_str("</tbody></table></div>\n");
}

fn reasons(html: &mut String, series: &Series) {
    if series.errors.is_empty() {
        return;
    }
    html.push_str(
        "<h3>Why operations were not ok</h3>\n<div class=\"scroll\"><table><thead><tr><th class=\"n\">times</th><th>operation</th><th>outcome</th><th>reason</th></tr></thead><tbody>\n",
    );
    for reason in series.errors.iter().take(REASONS_SHOWN) {
        let _ = writeln!(
            html,
            "<tr><td class=\"n\">{}</td><td class=\"mono\">{}</td><td>{}</td><td class=\"mono\">{}</td></tr>",
            count(reason.times),
            Escaped(&reason.f),
            reason.outcome.word(),
            Escaped(shortened(&reason.error, 300)),
        );
    }
    let rest: u64 = series
        .errors
        .iter()
        .skip(REASONS_SHOWN)
        .map(|reason| reason.times)
        .sum();
    if rest > 0 {
        let _ = writeln!(
            html,
            "<tr><td class=\"n\">{}</td><td></td><td></td><td class=\"muted\">for {} more reasons</td></tr>",
            count(rest),
            series.errors.len() - REASONS_SHOWN
        );
    }
    html.push_str("</tbody></table></div>\n");
}

pub(super) fn logs(input: &ReportInput<'_>, outcome: RunOutcome) -> String {
    if input.run.nodes.is_empty() {
        return String::new();
    }
    let mut html = String::from("<section id=\"logs\"><h2>What the nodes said</h2>\n");
    for node in &input.run.nodes {
        let open = if outcome == RunOutcome::Invalid && !node.log.around.is_empty() {
            " open"
        } else {
            ""
        };
        let _ = writeln!(
            html,
            "<details{open}><summary><b>{}</b> <span class=\"muted\">{}</span></summary>",
            Escaped(&node.name),
            Escaped(&node.address),
        );
        node_log(&mut html, node);
        html.push_str("</details>\n");
    }
    html.push_str("</section>\n");
    html
}

fn node_log(html: &mut String, node: &NodeReport) {
    let LogExcerpt {
        around,
        around_left_out,
        tail,
        before_tail,
    } = &node.log;
    if !around.is_empty() {
        html.push_str("<h3>Around the violation</h3>\n");
        log_lines(html, around);
        if *around_left_out > 0 {
            let _ = writeln!(
                html,
                "<p class=\"muted\">and {} more lines there</p>",
                count(*around_left_out)
            );
        }
    }
    if tail.is_empty() {
        html.push_str("<p class=\"muted\">It wrote nothing.</p>\n");
    } else {
        let _ = match before_tail {
            0 => writeln!(html, "<h3>All of its log</h3>"),
            before => writeln!(
                html,
                "<h3>The end of its log</h3>\n<p class=\"muted\">after {} lines not shown here</p>",
                count(*before)
            ),
        };
        log_lines(html, tail);
    }
    if !node.log_path.is_empty() {
        let _ = writeln!(
            html,
            "<p>The whole log: <a href=\"./{path}\">{path}</a></p>",
            path = Escaped(&node.log_path)
        );
    }
}

/// Tabbable, since it scrolls.
fn log_lines(html: &mut String, lines: &[String]) {
    html.push_str("<pre class=\"log\" tabindex=\"0\">");
    for line in lines {
        let _ = writeln!(html, "{}", Escaped(shortened(line, 1000)));
    }
    html.push_str("</pre>\n");
}

pub(super) fn settings(input: &ReportInput<'_>) -> String {
    let run = input.run;
    let mut html = String::from("<section id=\"run\"><h2>The run</h2>\n");
    for note in &run.notes {
        let _ = writeln!(html, "<p>{}</p>", Escaped(note));
    }
    html.push_str("<div class=\"columns\">\n");
    if let Some(analysis) = input.analysis {
        let mut rows = vec![
            ("model".to_owned(), analysis.model.clone()),
            (
                "initial value".to_owned(),
                format!(
                    "{}{}",
                    shown(&analysis.init),
                    if analysis.init_guessed {
                        " (guessed from the history)"
                    } else {
                        ""
                    }
                ),
            ),
            ("operations".to_owned(), count(analysis.operations as u64)),
            (
                "judged apart".to_owned(),
                format!("{} subhistories", count(analysis.subhistories as u64)),
            ),
            (
                "time taken".to_owned(),
                duration(analysis.elapsed.as_nanos() as u64),
            ),
        ];
        if analysis.illegal_keys.len() > 1 {
            let keys: Vec<String> = analysis.illegal_keys.iter().take(20).map(shown).collect();
            let more = if analysis.illegal_keys.len() > 20 {
                ", …"
            } else {
                ""
            };
            rows.push(("illegal keys".to_owned(), format!("{}{more}", keys.join(", "))));
        }
        pairs(&mut html, "The check", &rows);
    }
    pairs(&mut html, "Settings", &run.settings);
    pairs(&mut html, "Who took part", &run.versions);
    html.push_str("</div>\n");
    if !run.files.is_empty() {
        html.push_str("<h3>Files</h3>\n<p>");
        for (at, file) in run.files.iter().enumerate() {
            let _ = write!(
                html,
                "{}<a href=\"./{name}\">{name}</a>",
                if at == 0 { "" } else { ", " },
                name = Escaped(file)
            );
        }
        html.push_str("</p>\n");
    }
    html.push_str("</section>\n");
    html
}

fn pairs(html: &mut String, title: &str, rows: &[(String, String)]) {
    if rows.is_empty() {
        return;
    }
    let _ = writeln!(html, "<div><h3>{title}</h3><table class=\"plain\"><tbody>");
    for (name, value) in rows {
        let _ = writeln!(
            html,
            "<tr><td>{}</td><td>{}</td></tr>",
            Escaped(name),
            Escaped(shortened(value, 500))
        );
    }
    html.push_str("</tbody></table></div>\n");
}

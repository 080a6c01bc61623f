//! The rest of the page: faults, numbers, node logs, settings.

use std::fmt::Write;

use super::charts::share_bar;
use super::escape::{Escaped, shortened};
use super::proof::shown;
use super::scale::{clock, count, duration, percent, seconds};
use super::series::{Group, Series};
use super::{LogExcerpt, NodeReport, ReportInput, RunOutcome};

/// Longer texts in the table of faults are folded.
const FOLDED_BEYOND: usize = 160;

/// Reasons listed before the rest is summed up.
const REASONS_SHOWN: usize = 12;

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
            (true, text) => folded(text),
            (false, "") => format!("<span class=\"bad\">{otherwise}</span>"),
            (false, text) => format!("<span class=\"bad\">{otherwise}:</span> {}", folded(text)),
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

/// Text in a cell; where a probe tells of every link of a cluster, only its beginning until it is asked for.
fn folded(text: &str) -> String {
    if text.chars().count() <= FOLDED_BEYOND {
        return Escaped(text).to_string();
    }
    let beginning = shortened(text, FOLDED_BEYOND / 2);
    format!(
        "<details class=\"fold\"><summary>{}</summary><p>{}</p></details>",
        Escaped(beginning),
        Escaped(text)
    )
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
                "<p class=\"muted\">after {} lines not shown here</p>",
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

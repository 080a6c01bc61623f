//! The page: one file, nothing outside it, readable without its script.

use std::fmt::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};

use super::charts::{self, Overview};
use super::escape::{Escaped, shortened};
use super::series::Series;
use super::{ReportInput, RunOutcome, proof, sections, verdict};

/// How every page of ours looks.
pub(crate) const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

/// Kinds of operations that are drawn by themselves; the table has them all.
const OPERATIONS_SHOWN: usize = 8;

/// The report of a run as one HTML page.
///
/// Its size grows with the faults, the nodes and the operations of the proof, not with the length of the history.
#[must_use]
pub fn html(input: &ReportInput<'_>) -> String {
    let series = input.series();
    let proof = verdict::counterexample(input)
        .map(proof::operations)
        .unwrap_or_default();
    let overview = overview(input, &proof);
    let outcome = input.outcome();
    let mut page = String::with_capacity(256 * 1024);
    head(&mut page, input, outcome);
    navigation(&mut page, input, outcome, !proof.is_empty());
    page.push_str("<main id=\"top\">\n");
    page.push_str(&verdict::verdict(input, outcome));
    page.push_str(&verdict::tiles(input, &series));
    page.push_str(&verdict::again(input));
    page.push_str(&proof::section(input, &proof));
    page.push_str("<section id=\"time\"><h2>The run over time</h2>\n");
    page.push_str("<div class=\"drawing\" tabindex=\"0\" aria-label=\"The run over time; arrow keys move the reading\">\n");
    page.push_str(&charts::overview(&series, &overview));
    page.push_str("</div>\n<p id=\"readout\" aria-live=\"polite\">Point at the drawing, or focus it and use the arrow keys, to read its numbers.</p>\n");
    page.push_str(&charts::legend(&series));
    by_operation(&mut page, input, &series, &overview);
    page.push_str("</section>\n");
    page.push_str(&sections::faults(input));
    page.push_str(&sections::numbers(&series));
    page.push_str(&sections::logs(input, outcome));
    page.push_str(&sections::settings(input));
    let _ = writeln!(
        page,
        "<footer>Written by Ordeal {version}. This page refers to nothing outside itself; the files named above lie beside it.</footer>\n\
         </main>\n{HELP}<script type=\"application/json\" id=\"data\">{data}</script>\n<script>{SCRIPT}</script>\n</body>\n</html>",
        version = env!("CARGO_PKG_VERSION"),
        data = charts::data(&series, &input.run.faults),
    );
    page
}

/// The run over time as one SVG file, for a wiki or an issue: what the page shows under that heading.
#[must_use]
pub fn plot(input: &ReportInput<'_>) -> String {
    let proof = verdict::counterexample(input)
        .map(proof::operations)
        .unwrap_or_default();
    let drawing = charts::explained(&input.series(), &overview(input, &proof));
    drawing
        .replacen("<svg ", "<svg xmlns=\"http://www.w3.org/2000/svg\" ", 1)
        .replacen(
            ">\n",
            &format!(
                ">\n<style>{}</style>\n",
                Escaped(format!("{STYLE} svg {{ background: var(--paper); }}"))
            ),
            1,
        )
}

fn overview<'a>(input: &ReportInput<'a>, proof: &[proof::ProofOperation]) -> Overview<'a> {
    Overview {
        faults: &input.run.faults,
        node_states: &input.run.node_states,
        violation: proof::moments(proof),
        class: "overview",
    }
}

/// The same for each kind of operation by itself, folded: a mean of reads and writes hides either.
fn by_operation(page: &mut String, input: &ReportInput<'_>, series: &Series, overview: &Overview<'_>) {
    if series.by_f.len() < 2 {
        return;
    }
    let alone = Overview {
        node_states: &[],
        violation: overview.violation.clone(),
        class: "by-operation",
        ..*overview
    };
    page.push_str("<h3>By operation</h3>\n");
    for f in series.by_f.keys().take(OPERATIONS_SHOWN) {
        let _ = writeln!(
            page,
            "<details><summary><span class=\"mono\">{}</span></summary>\n<div class=\"drawing\">\n{}</div></details>",
            Escaped(shortened(f, 60)),
            charts::overview(&input.series_of(f, series), &alone)
        );
    }
}

const HELP: &str = "<dialog id=\"help\"><h3>Keys</h3><table class=\"plain\"><tbody>\
    <tr><td><kbd>n</kbd> <kbd>p</kbd></td><td>next, previous operation of the proof</td></tr>\
    <tr><td><kbd>←</kbd> <kbd>→</kbd></td><td>read the run over time, once it has the focus</td></tr>\
    <tr><td><kbd>c</kbd></td><td>copy the command that repeats the run</td></tr>\
    <tr><td><kbd>t</kbd></td><td>light or dark</td></tr>\
    <tr><td><kbd>?</kbd></td><td>this</td></tr></tbody></table></dialog>\n";

fn head(page: &mut String, input: &ReportInput<'_>, outcome: RunOutcome) {
    let mark = match outcome {
        RunOutcome::Valid => "✓",
        RunOutcome::Invalid => "✗",
        RunOutcome::Unknown => "?",
    };
    let _ = writeln!(
        page,
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src '{style}'; script-src '{script}'; img-src data:\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"generator\" content=\"Ordeal {version}\">\n\
         <title>{mark} {name}{seed}</title>\n<link rel=\"icon\" href=\"data:,\">\n<style>{STYLE}</style>\n</head>\n<body>",
        style = hash_source(STYLE),
        script = hash_source(SCRIPT),
        version = env!("CARGO_PKG_VERSION"),
        name = Escaped(&input.run.name),
        seed = input
            .run
            .seed
            .map(|seed| format!(", seed {seed}"))
            .unwrap_or_default(),
    );
}

fn navigation(page: &mut String, input: &ReportInput<'_>, outcome: RunOutcome, has_proof: bool) {
    let _ = write!(
        page,
        "<a class=\"skip\" href=\"#top\">To the verdict</a>\n<nav aria-label=\"Sections\"><div><span class=\"name\">{}</span>\
         <a href=\"#top\">{}</a>",
        Escaped(&input.run.name),
        verdict::word(outcome),
    );
    let links = [
        ("proof", "proof", has_proof),
        ("time", "over time", true),
        ("faults", "faults", true),
        ("numbers", "numbers", true),
        ("logs", "node logs", !input.run.nodes.is_empty()),
        ("run", "the run", true),
    ];
    for (id, name, _) in links.iter().filter(|link| link.2) {
        let _ = write!(page, "<a href=\"#{id}\">{name}</a>");
    }
    page.push_str("<button id=\"theme\" type=\"button\">light / dark</button><button id=\"keys\" type=\"button\">keys</button></div></nav>\n");
}

/// How a content security policy names a script or style that it lets in: only this very text may run, so that
/// even a hole in the escaping would not let a store's answer act.
pub(crate) fn hash_source(text: &str) -> String {
    format!("sha256-{}", STANDARD.encode(Sha256::digest(text.as_bytes())))
}

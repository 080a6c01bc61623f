//! The top of the page: the verdict, the sentence that gives the reason, and the figures that everybody asks for.

use std::fmt::Write;

use checker::{Counterexample, Limit, Verdict};

use super::escape::Escaped;
use super::proof::shown;
use super::scale::{clock, count, duration, percent};
use super::series::{Counts, Series};
use super::{ReportInput, RunOutcome, doubts};
use crate::evidence::Availability;

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
                clock(allowed.as_nanos() as u64)
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
        Limit::NoEvidence { why } => return format!("The history is no evidence: {why}."),
        Limit::GivenUp { why } => return format!("The check has no answer: {why}."),
        Limit::Stopped => return "The check was stopped before it had an answer.".to_owned(),
    };
    let key = stand
        .key
        .as_ref()
        .map(|key| format!(" of key {}", shown(key)))
        .unwrap_or_default();
    format!(
        "{what}, with {} of {} completed operations{key} explained.",
        stand.explained, stand.of
    )
}

/// What runs are usually called by: an anomaly's name, or what is missing.
fn kind(input: &ReportInput<'_>, outcome: RunOutcome) -> String {
    match (outcome, counterexample(input)) {
        (RunOutcome::Valid, _) if input.run.faults.is_empty() => {
            "linearizable, with no fault made".to_owned()
        }
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
        .chain(doubts(input).iter().map(|doubt| format!("No evidence: {doubt}")))
        .collect();
    if let Some(cause) = &input.run.cause {
        let class = cause.class.replace('-', " ");
        let _ = writeln!(
            html,
            "<p class=\"cause\">Cause: <b>{}</b>: {}</p>",
            Escaped(class),
            Escaped(&cause.sentence)
        );
    }
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
        // Nobody reads the fractions of its seconds; results.json has them.
        let started = match run.started.split_once('.') {
            Some((whole, rest)) if rest.ends_with('Z') => format!("{whole}Z"),
            _ => run.started.clone(),
        };
        parts.push(format!("started {started}"));
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
            format!("operations in {}", duration(series.end).replace(' ', "\u{a0}")),
        ),
        available(input, counts),
        (count(counts.unknown), "of unknown outcome".to_owned()),
        (quantile(0.99), format!("latency p99, p50 {}", quantile(0.5))),
        (silence, "longest without an ok".to_owned()),
        match input.run.faults.len() {
            0 => ("none".to_owned(), "faults".to_owned()),
            all => (format!("{bit} of {all}"), "faults seen to bite".to_owned()),
        },
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

/// What the store did of what it owed; where nothing tells what it owed, of everything.
fn available(input: &ReportInput<'_>, counts: &Counts) -> (String, String) {
    let Availability { owed, kept } = input.run.available;
    match owed {
        0 => (
            percent(counts.answered(), counts.total()),
            "ok or a definite mismatch".to_owned(),
        ),
        _ => (percent(kept, owed), "available at nodes of a majority".to_owned()),
    }
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

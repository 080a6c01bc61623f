//! One run with its files, two runs side by side, a run under way.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::fs;
use std::path::Path;

use super::frame::page;
use super::live::View;
use super::route::link;
use super::shelf::{Run, State};
use super::table::mark;
use crate::report::{Escaped, Figure, count};

/// Files listed of one run; a store's data may have many more.
const FILES: usize = 500;
/// How deep files are looked for.
const DEPTH: usize = 4;

/// A run's page. `folder` is its folder.
pub(super) fn run(run: &Run, folder: &Path) -> String {
    let title = format!("{} {}", run.settings.system, run.settings.workload);
    let class = match run.state {
        State::Valid => "valid",
        State::Illegal => "invalid",
        _ => "unknown",
    };
    let mut content = format!(
        "<section class=\"verdict {class}\"><p class=\"word\">{} <small>{}, began {}</small></p><h1>{}</h1>",
        mark(run.state),
        Escaped(&title),
        Escaped(&run.started),
        Escaped(if run.results.sentence.is_empty() {
            "There is no verdict."
        } else {
            &run.results.sentence
        }),
    );
    // One violation suffices, and a run that ended at it has of course done too little to be called valid.
    if run.state != State::Illegal && !run.results.doubts.is_empty() {
        content.push_str("<ul>");
        for doubt in &run.results.doubts {
            let _ = write!(content, "<li>{}</li>", Escaped(doubt));
        }
        content.push_str("</ul>");
    }
    content.push_str("</section>\n");
    let files = files(folder);
    if files.iter().any(|(name, _)| name == "report.html") {
        let to = link("file", &format!("{}/report.html", run.path));
        let _ = writeln!(
            content,
            "<p><a href=\"{}\"><b>The report</b></a></p>",
            Escaped(to)
        );
    }
    if run.state == State::Running {
        let _ = writeln!(
            content,
            "<p><a href=\"{}\"><b>Live</b></a></p>",
            Escaped(link("live", &run.path))
        );
    } else if !files.iter().any(|(name, _)| name == "history.jsonl") {
        content.push_str("<p class=\"muted\">Its history was not kept: <code>soak</code> and <code>matrix</code> keep those of runs that failed (<code>--keep-all</code> keeps all).</p>\n");
    }
    if !run.settings.again.is_empty() {
        let _ = writeln!(
            content,
            "<div class=\"again\"><code>{}</code></div>",
            Escaped(&run.settings.again)
        );
    }
    content.push_str(
        "<h2>Files</h2><table><thead><tr><th>name</th><th class=\"n\">bytes</th></tr></thead><tbody>\n",
    );
    for (name, size) in &files {
        let to = link("file", &format!("{}/{name}", run.path));
        let _ = writeln!(
            content,
            "<tr><td><a href=\"{}\">{}</a></td><td class=\"n\">{}</td></tr>",
            Escaped(to),
            Escaped(name),
            count(*size)
        );
    }
    content.push_str("</tbody></table>");
    if files.len() >= FILES {
        let _ = write!(
            content,
            "<p class=\"muted\">Only the first {FILES} are listed.</p>"
        );
    }
    page(&title, "", &content)
}

/// Files of a run with their sizes; folders' after those beside them.
fn files(folder: &Path) -> Vec<(String, u64)> {
    let mut found = Vec::new();
    list(folder, "", DEPTH, &mut found);
    found
}

fn list(folder: &Path, before: &str, depth: usize, found: &mut Vec<(String, u64)>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    let mut entries: Vec<_> = entries
        .flatten()
        .filter_map(|entry| Some((entry.file_name().into_string().ok()?, entry)))
        .collect();
    entries.sort_by(|a, b| a.0.cmp(&b.0));
    let kind = |entry: &fs::DirEntry| entry.file_type().ok();
    for (name, entry) in entries
        .iter()
        .filter(|(_, entry)| kind(entry).is_some_and(|kind| kind.is_file()))
    {
        if found.len() < FILES {
            found.push((
                format!("{before}{name}"),
                entry.metadata().map_or(0, |file| file.len()),
            ));
        }
    }
    for (name, entry) in entries
        .iter()
        .filter(|(_, entry)| kind(entry).is_some_and(|kind| kind.is_dir()))
    {
        if depth > 0 && found.len() < FILES {
            list(&entry.path(), &format!("{before}{name}/"), depth - 1, found);
        }
    }
}

/// Two runs side by side; what differs is marked.
pub(super) fn compare(a: &Run, b: &Run) -> String {
    let mut content = String::from(
        "<h1>Two runs side by side</h1>\n<div class=\"scroll\"><table id=\"comparison\"><thead><tr><th></th>",
    );
    for run in [a, b] {
        let to = link("run", &run.path);
        let _ = write!(
            content,
            "<th><a href=\"{}\">{}</a></th>",
            Escaped(to),
            Escaped(&run.path)
        );
    }
    content.push_str("</tr></thead><tbody>\n");
    let mut row = |name: &str, one: String, two: String| {
        let differs = if one == two { "" } else { " class=\"differs\"" };
        let _ = writeln!(
            content,
            "<tr{differs}><td>{}</td><td>{one}</td><td>{two}</td></tr>",
            Escaped(name)
        );
    };
    let mut both = |name: &str, of: &dyn Fn(&Run) -> String| row(name, of(a), of(b));
    both("verdict", &|run| mark(run.state));
    both("found", &|run| Escaped(&run.results.sentence).to_string());
    both("anomaly", &|run| {
        let found = run.results.analysis.counterexample.as_ref();
        found.map_or_else(nothing, |found| Escaped(&found.anomaly).to_string())
    });
    both("operations", &|run| count(run.results.analysis.operations));
    both("operations a second under load", &|run| {
        let seconds = run.results.conduct.load_end_ns as f64 / 1e9;
        let total = run.results.figures.all.total();
        if seconds > 0.0 && total > 0 {
            format!("{:.0}", total as f64 / seconds)
        } else {
            nothing()
        }
    });
    both("succeeded at nodes of a connected majority", &|run| {
        let available = &run.results.conduct.available;
        if available.owed > 0 {
            format!("{:.2} %", available.kept as f64 / available.owed as f64 * 100.0)
        } else {
            nothing()
        }
    });
    both("faults, seen to bite", &|run| {
        let faults = &run.results.conduct.faults;
        let bit = faults.iter().filter(|fault| fault.bit).count();
        let kinds: BTreeSet<&str> = faults.iter().map(|fault| fault.kind.as_str()).collect();
        let kinds: Vec<&str> = kinds.into_iter().collect();
        if kinds.is_empty() {
            return "none".to_owned();
        }
        format!("{}, {bit} ({})", faults.len(), Escaped(kinds.join(", ")))
    });
    let names: BTreeSet<&String> = a
        .results
        .figures
        .by_f
        .keys()
        .chain(b.results.figures.by_f.keys())
        .collect();
    let figure = |run: &Run, f: Option<&String>| match f {
        None => Some(run.results.figures.all.clone()),
        Some(f) => run.results.figures.by_f.get(f).cloned(),
    };
    for f in std::iter::once(None).chain(names.into_iter().map(Some)) {
        let title = f.map_or("all operations", String::as_str);
        both(&format!("{title}: ok / mismatch / fail / unknown"), &|run| {
            figure(run, f).map_or_else(nothing, |figure| {
                [figure.ok, figure.mismatch, figure.fail, figure.unknown]
                    .map(count)
                    .join(" / ")
            })
        });
        both(&format!("{title}: p50 / p95 / p99 / highest, ms"), &|run| {
            figure(run, f).map_or_else(nothing, |figure| latencies(&figure))
        });
    }
    let settings: BTreeSet<&String> = a.settings.all.keys().chain(b.settings.all.keys()).collect();
    // What repeats the run says the same as the settings, in a row.
    for name in settings
        .into_iter()
        .filter(|name| !matches!(name.as_str(), "again" | "arguments"))
    {
        both(name, &|run| {
            let value = run.settings.all.get(name);
            value.map_or_else(nothing, |value| Escaped(value.to_string()).to_string())
        });
    }
    content.push_str("</tbody></table></div>");
    page("two runs", "", &content)
}

fn nothing() -> String {
    "–".to_owned()
}

fn latencies(figure: &Figure) -> String {
    let all = [figure.p50_ms, figure.p95_ms, figure.p99_ms, figure.max_ms];
    all.map(|latency| latency.map_or_else(nothing, |latency| format!("{latency:.1}")))
        .join(" / ")
}

/// A run under way as it is now; a script keeps it up to date, and without one the page is loaded again.
pub(super) fn live(run: &Run, view: &View) -> String {
    let title = format!("{} {}, live", run.settings.system, run.settings.workload);
    let mut content = format!(
        "<div id=\"live\" data-events=\"{}\" data-run=\"{}\">\n\
         <section class=\"verdict {}\"><p class=\"word\">▸ <span data-live=\"phase\">{}</span> <small>{}, began {}</small></p>\
         <h1 data-live=\"verdict\" aria-live=\"polite\">{}</h1></section>\n<ul class=\"tiles\">",
        Escaped(link("events", &run.path)),
        Escaped(link("run", &run.path)),
        if view.violated { "invalid" } else { "unknown" },
        view.phase,
        Escaped(&title),
        Escaped(&run.started),
        Escaped(&view.verdict),
    );
    for (name, value, meaning) in [
        ("at", format!("{:.1} s", view.at_s), "into the run"),
        ("rate", format!("{:.0} /s", view.rate), "of late"),
        ("ok", view.ok.to_string(), "ok"),
        ("mismatch", view.mismatch.to_string(), "mismatch"),
        ("fail", view.fail.to_string(), "fail"),
        ("unknown", view.unknown.to_string(), "unknown"),
        ("p50", format!("{:.1} ms", view.p50_ms), "p50 of late"),
        ("p99", format!("{:.1} ms", view.p99_ms), "p99 of late"),
    ] {
        let _ = write!(
            content,
            "<li><b data-live=\"{name}\">{value}</b><span>{meaning}</span></li>"
        );
    }
    content.push_str("</ul>\n<h2>Faults that are on</h2><ul class=\"live-faults\" data-live=\"faults\">");
    if view.faults.is_empty() {
        content.push_str("<li>no fault</li>");
    }
    for fault in &view.faults {
        let _ = write!(content, "<li>{}</li>", Escaped(fault));
    }
    let _ = write!(
        content,
        "</ul>\n<p class=\"muted\">What is said here while the run goes on is a sign; the verdict is the checker's, at the end.</p>\n\
         <p><a href=\"{}\">Its files</a></p></div>",
        Escaped(link("run", &run.path))
    );
    page(
        &title,
        "<noscript><meta http-equiv=\"refresh\" content=\"5\"></noscript>\n",
        &content,
    )
}

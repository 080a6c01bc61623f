//! The table of runs: filtered and sorted by the query alone, so that it works without a script.

use std::fmt::Write;

use super::frame::page;
use super::route::{Query, link, query_text};
use super::shelf::{Run, State};
use crate::report::{Escaped, count};

/// Rows of one page.
const ROWS: usize = 200;

/// Columns that can be sorted by, with their titles.
const COLUMNS: [(&str, &str); 8] = [
    ("date", "began"),
    ("verdict", "verdict"),
    ("system", "system"),
    ("workload", "workload"),
    ("nemesis", "faults"),
    ("seed", "seed"),
    ("bug", "planted bug"),
    ("operations", "operations"),
];

/// Names in the query that choose runs.
const FILTERS: [&str; 6] = ["system", "workload", "verdict", "bug", "seed", "date"];

/// The page with those of the runs that the query asks for.
pub(super) fn runs(mut runs: Vec<Run>, query: &Query) -> String {
    let total = runs.len();
    let choices = |of: fn(&Run) -> &str| {
        let mut values: Vec<String> = runs.iter().map(|run| of(run).to_owned()).collect();
        values.sort();
        values.dedup();
        values.retain(|value| !value.is_empty());
        values
    };
    let mut content = String::from("<h1>Runs</h1>\n");
    content.push_str("<form class=\"filters\" method=\"get\" action=\"/\">");
    select(
        &mut content,
        query,
        "system",
        &choices(|run| &run.settings.system),
    );
    select(
        &mut content,
        query,
        "workload",
        &choices(|run| &run.settings.workload),
    );
    let verdicts = choices(|run| run.state.word());
    select(&mut content, query, "verdict", &verdicts);
    select(
        &mut content,
        query,
        "bug",
        &choices(|run| run.settings.bug.as_deref().unwrap_or_default()),
    );
    input(&mut content, query, "seed", "7");
    input(&mut content, query, "date", "2026-11-21");
    for name in ["sort", "order"] {
        if let Some(value) = query.get(name) {
            let _ = write!(
                content,
                "<input type=\"hidden\" name=\"{name}\" value=\"{}\">",
                Escaped(value)
            );
        }
    }
    content.push_str("<button type=\"submit\">show</button> <a href=\"/\">all</a></form>\n");

    runs.retain(|run| wanted(run, query));
    sort(&mut runs, query);
    let number: usize = query
        .get("page")
        .and_then(|page| page.parse().ok())
        .unwrap_or(1)
        .max(1);
    let from = ((number - 1).saturating_mul(ROWS)).min(runs.len());
    let shown = &runs[from..(from + ROWS).min(runs.len())];
    let _ = writeln!(
        content,
        "<p class=\"muted\" id=\"shown\">{} of {total} runs</p>",
        runs.len()
    );
    content.push_str("<form method=\"get\" action=\"/compare\"><div class=\"scroll\"><table class=\"runs\"><thead><tr><th><button type=\"submit\">compare</button></th>");
    for (name, title) in COLUMNS {
        head(&mut content, query, name, title);
    }
    content.push_str("<th>what was found</th></tr></thead><tbody>\n");
    for run in shown {
        row(&mut content, run);
    }
    content.push_str("</tbody></table></div></form>\n");
    if shown.is_empty() {
        let _ = writeln!(
            content,
            "<p>{}</p>",
            if total == 0 {
                "No run is here yet; <code>workloads run</code> makes one."
            } else {
                "No run fits these filters."
            }
        );
    }
    content.push_str("<p class=\"pages\">");
    for (there, page, title) in [
        (number > 1, number - 1, "newer"),
        (from + ROWS < runs.len(), number + 1, "older"),
    ] {
        if there {
            let text = page.to_string();
            let _ = write!(
                content,
                "<a href=\"/{}\">{title}</a>",
                Escaped(changed(query, &[("page", &text)]))
            );
        }
    }
    content.push_str("</p>");
    page("runs", "", &content)
}

fn select(content: &mut String, query: &Query, name: &str, values: &[String]) {
    let chosen = query.get(name).map(String::as_str).unwrap_or_default();
    let _ = write!(
        content,
        "<label>{name}<select name=\"{name}\"><option value=\"\">any</option>"
    );
    for value in values {
        let selected = if value == chosen { " selected" } else { "" };
        let _ = write!(content, "<option{selected}>{}</option>", Escaped(value));
    }
    content.push_str("</select></label>");
}

fn input(content: &mut String, query: &Query, name: &str, example: &str) {
    let value = query.get(name).map(String::as_str).unwrap_or_default();
    let _ = write!(
        content,
        "<label>{name}<input name=\"{name}\" value=\"{}\" placeholder=\"{example}\" size=\"10\"></label>",
        Escaped(value)
    );
}

/// A column's title, which sorts by it, or turns the order round.
fn head(content: &mut String, query: &Query, name: &str, title: &str) {
    let (by, down) = order(query);
    let now = by == name;
    let next = if now && down { "up" } else { "down" };
    let sorted = match (now, down) {
        (false, _) => "",
        (true, true) => " aria-sort=\"descending\"",
        (true, false) => " aria-sort=\"ascending\"",
    };
    let arrow = match (now, down) {
        (false, _) => "",
        (true, true) => " ↓",
        (true, false) => " ↑",
    };
    let to = changed(query, &[("sort", name), ("order", next), ("page", "")]);
    let _ = write!(
        content,
        "<th{sorted}><a href=\"/{}\">{title}</a>{arrow}</th>",
        Escaped(to)
    );
}

/// The query with some of its values changed; those that are empty are left away.
fn changed(query: &Query, changes: &[(&str, &str)]) -> String {
    let kept = query
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .filter(|(name, _)| changes.iter().all(|(changed, _)| changed != name));
    query_text(
        kept.chain(changes.iter().copied())
            .filter(|(_, value)| !value.is_empty()),
    )
}

fn order(query: &Query) -> (&str, bool) {
    let by = query.get("sort").map_or("date", String::as_str);
    (by, query.get("order").is_none_or(|order| order != "up"))
}

fn wanted(run: &Run, query: &Query) -> bool {
    FILTERS.iter().all(|name| {
        let Some(wanted) = query.get(*name) else {
            return true;
        };
        let wanted = wanted.as_str();
        match *name {
            "system" => run.settings.system == wanted,
            "workload" => run.settings.workload == wanted,
            "verdict" => run.state.word() == wanted,
            "bug" => run.settings.bug.as_deref() == Some(wanted),
            "seed" => run.settings.seed.is_some_and(|seed| seed.to_string() == wanted),
            _ => run.started.starts_with(wanted),
        }
    })
}

fn sort(runs: &mut [Run], query: &Query) {
    let (by, down) = order(query);
    runs.sort_by(|a, b| {
        let (one, two) = (&a.settings, &b.settings);
        let order = match by {
            // The worst comes first when sorted downwards.
            "verdict" => b.state.cmp(&a.state),
            "system" => one.system.cmp(&two.system),
            "workload" => one.workload.cmp(&two.workload),
            "nemesis" => one.nemesis.cmp(&two.nemesis),
            "seed" => one.seed.cmp(&two.seed),
            "bug" => one.bug.cmp(&two.bug),
            "operations" => a.results.analysis.operations.cmp(&b.results.analysis.operations),
            _ => a.started.cmp(&b.started),
        };
        let order = if down { order.reverse() } else { order };
        order
            .then_with(|| b.started.cmp(&a.started))
            .then_with(|| a.path.cmp(&b.path))
    });
}

fn row(content: &mut String, run: &Run) {
    let settings = &run.settings;
    let to = if run.state == State::Running {
        link("live", &run.path)
    } else {
        link("run", &run.path)
    };
    let _ = write!(
        content,
        "<tr><td><input type=\"checkbox\" name=\"run\" value=\"{path}\" aria-label=\"compare {path}\"></td>\
         <td class=\"nowrap\"><a href=\"{to}\">{}</a></td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td class=\"n\">{}</td><td>{}</td>\
         <td class=\"n\">{}</td>",
        Escaped(&run.started),
        mark(run.state),
        Escaped(&settings.system),
        Escaped(&settings.workload),
        Escaped(settings.nemesis.join(", ")),
        settings.seed.map_or_else(String::new, |seed| seed.to_string()),
        Escaped(settings.bug.as_deref().unwrap_or_default()),
        match run.results.analysis.operations {
            0 => String::new(),
            number => count(number),
        },
        path = Escaped(&run.path),
        to = Escaped(to),
    );
    let anomaly = run.results.analysis.counterexample.as_ref();
    let anomaly = anomaly.map_or_else(String::new, |found| {
        format!("<b>{}</b> ", Escaped(&found.anomaly))
    });
    let said: String = run.results.sentence.chars().take(220).collect();
    let more = if said.len() < run.results.sentence.len() {
        "…"
    } else {
        ""
    };
    let _ = writeln!(
        content,
        "<td class=\"said\">{anomaly}{}{more}</td></tr>",
        Escaped(said)
    );
}

/// The verdict, coloured.
pub(super) fn mark(state: State) -> String {
    let sign = match state {
        State::Valid => "✓",
        State::Illegal => "✗",
        State::Unknown => "?",
        State::Running => "▸",
        State::Unfinished => "–",
    };
    format!(
        "<span class=\"mark {word}\">{sign} {word}</span>",
        word = state.word()
    )
}

#[cfg(test)]
mod tests {
    use super::super::route;
    use super::super::shelf::{Results, Settings};
    use super::*;

    fn run(path: &str, state: State, system: &str, seed: u64) -> Run {
        Run {
            path: path.into(),
            started: format!("2026-11-2{seed} 10:00:00"),
            state,
            settings: Settings {
                system: system.into(),
                workload: "set".into(),
                seed: Some(seed),
                ..Settings::default()
            },
            results: Results {
                sentence: "<script>alert(1)</script>".into(),
                ..Results::default()
            },
        }
    }

    /// The seeds of the rows that this query shows, in order.
    fn shown(query: &str) -> String {
        let all = vec![
            run("a/1", State::Valid, "etcd", 1),
            run("a/2", State::Illegal, "etcd", 2),
            run("b/3", State::Running, "kv\"node", 3),
        ];
        let page = runs(all, &route::query(query));
        assert!(!page.contains("<script>alert"), "{page}");
        let table = page
            .split("<tbody>")
            .nth(1)
            .and_then(|rest| rest.split("</tbody>").next());
        let cells = table
            .expect("a table")
            .split("<td class=\"n\">")
            .skip(1)
            .step_by(2);
        cells
            .filter_map(|cell| cell.split('<').next())
            .collect::<Vec<_>>()
            .join(" ")
    }

    #[test]
    fn the_query_alone_filters_and_sorts() {
        for (query, expected) in [
            ("", "3 2 1"),
            ("order=up", "1 2 3"),
            ("sort=verdict", "2 1 3"),
            ("sort=system&order=up", "2 1 3"),
            ("system=etcd", "2 1"),
            ("system=kv%22node", "3"),
            ("verdict=illegal", "2"),
            ("seed=1", "1"),
            ("seed=1&verdict=illegal", ""),
            ("date=2026-11-22", "2"),
            ("date=2026-11", "3 2 1"),
            ("page=2", ""),
            ("page=99999999999999999999", "3 2 1"),
            (
                "sort=%3Cscript%3Ealert(1)%3C/script%3E&seed=%3Cscript%3Ealert(1)",
                "",
            ),
        ] {
            assert_eq!(shown(query), expected, "{query}");
        }
    }
}

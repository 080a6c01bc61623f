//! The scorecard as one page: what it comes to, the picture, the table, and every run that did not go as it must.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::plot;
use super::table::{Row, Table};
use crate::report::{Escaped, STYLE};

/// The page; it refers to nothing outside itself.
pub(super) fn html(table: &Table) -> String {
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>Scorecard</title>\n\
         <link rel=\"icon\" href=\"data:,\">\n<style>{STYLE}</style>\n</head>\n<body>\n<main>\n<h1>Are planted bugs found?</h1>\n"
    );
    let figures = table.figures();
    let complaints = figures.complaints();
    let (class, word) = match complaints.is_empty() {
        true => ("valid", "THE FIGURES ARE MET"),
        false => ("invalid", "FIGURES ARE MISSED"),
    };
    let _ = writeln!(
        page,
        "<section class=\"verdict {class}\"><p class=\"word\">{word}</p>\n<p>{}</p>",
        Escaped(figures.in_words())
    );
    for complaint in complaints {
        let _ = writeln!(page, "<p>{}</p>", Escaped(complaint));
    }
    page.push_str("</section>\n");
    page.push_str(&plot::svg(table));
    page.push_str(
        "<h2>Every bug</h2>\n<table>\n<tr><th>bug</th><th>its preset</th><th>caught</th><th>median</th><th>operations</th>\
         <th>called</th><th>default run</th><th>median</th><th>called</th><th>called right</th></tr>\n",
    );
    for row in &table.bugs {
        let _ = writeln!(
            page,
            "<tr><td>{}</td><td>{}</td>{}<td>{}</td>{}<td>{} of {}</td></tr>",
            Escaped(row.bug),
            Escaped(&row.preset_in_words),
            cells(&row.preset, Some(row.preset.median_operations)),
            Escaped(called(&row.preset.anomalies)),
            format_args!(
                "{}<td>{}</td>",
                cells(&row.default, None),
                Escaped(called(&row.default.anomalies))
            ),
            row.preset.named_right + row.default.named_right,
            row.preset.caught + row.default.caught,
        );
    }
    page.push_str("</table>\n<h2>The build without bugs</h2>\n<table>\n<tr><th>workload, faults</th><th>runs</th><th>false alarms</th><th>could not say</th></tr>\n");
    for row in &table.clean {
        let _ = writeln!(
            page,
            "<tr><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>",
            Escaped(&row.in_words),
            row.runs,
            row.false_alarms.len(),
            row.unknown.len()
        );
    }
    page.push_str("</table>\n");
    let wrong = table.clean.iter().flat_map(|row| {
        let alarms = row.false_alarms.iter().map(|why| ("false alarm", why));
        let unknown = row.unknown.iter().map(|why| ("could not say", why));
        alarms
            .chain(unknown)
            .map(|(what, why)| (&row.in_words, what, why))
    });
    for (what, kind, why) in wrong {
        let _ = writeln!(page, "<p>{kind}: {}: {}</p>", Escaped(what), Escaped(why));
    }
    page.push_str("</main>\n</body>\n</html>\n");
    page
}

/// How often, how soon, and where it is asked for after how many operations.
fn cells(row: &Row, operations: Option<Option<u64>>) -> String {
    let dash = || "–".to_owned();
    let caught = match row.runs {
        0 => dash(),
        runs => format!("{} of {runs}", row.caught),
    };
    let median = row
        .median_s
        .map_or_else(dash, |seconds| format!("{seconds:.1} s"));
    let operations = operations.map_or_else(String::new, |operations| {
        format!(
            "<td>{}</td>",
            operations.map_or_else(dash, |operations| operations.to_string())
        )
    });
    format!("<td>{caught}</td><td>{median}</td>{operations}")
}

fn called(anomalies: &BTreeMap<String, usize>) -> String {
    let names = anomalies.iter().map(|(name, times)| format!("{name} ({times})"));
    match anomalies.is_empty() {
        true => "–".to_owned(),
        false => names.collect::<Vec<_>>().join(", "),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Verdict;
    use super::super::table::tests::trial;
    use super::super::trial::Against;
    use super::*;

    #[test]
    fn the_page_has_the_figures_the_picture_and_every_row() {
        let alarm = "key <k> was read as 1";
        let mut clean = trial(Against::Clean, None, 1, Verdict::Illegal, "stale-read");
        clean.sentence = alarm.to_owned();
        let trials = [
            trial(
                Against::Preset,
                Some("no-fsync"),
                3,
                Verdict::Illegal,
                "lost-write",
            ),
            trial(Against::Default, Some("no-fsync"), 1, Verdict::Valid, ""),
            clean,
        ];
        let table = Table::of(&trials);
        let page = html(&table);
        for wanted in [
            "FIGURES ARE MISSED",
            "<svg ",
            "<td>no-fsync</td><td>append, power-failure</td><td>1 of 1</td><td>3.0 s</td><td>300</td>\
             <td>lost-write (1)</td><td>0 of 1</td><td>–</td><td>–</td><td>1 of 1</td>",
            "<td>default run</td><td>1</td><td>1</td><td>0</td>",
            "false alarm: default run: key &lt;k&gt; was read as 1",
        ] {
            assert!(page.contains(wanted), "{wanted}:\n{page}");
        }
        assert!(page.contains(&Escaped(table.figures().in_words()).to_string()));
        let met = html(&Table::of(&[
            trial(
                Against::Preset,
                Some("no-fsync"),
                1,
                Verdict::Illegal,
                "lost-write",
            ),
            trial(
                Against::Default,
                Some("no-fsync"),
                1,
                Verdict::Illegal,
                "lost-write",
            ),
        ]));
        assert!(met.contains("THE FIGURES ARE MET"), "{met}");
    }
}

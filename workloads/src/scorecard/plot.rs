//! The scorecard as a picture: a bar a bug, for its preset and for the default run.

use std::fmt::Write;

use super::table::{Row, Table};

/// Height of one bug's place, in pixels.
const LINE: usize = 34;
/// Where the bars begin.
const LEFT: usize = 250;
/// How long a bar is whose every run caught the bug.
const WIDE: usize = 360;
/// Where the times stand.
const TIMES: usize = LEFT + WIDE + 12;
/// Width of the picture.
const WIDTH: usize = TIMES + 150;
/// Above the first bug.
const TOP: usize = 44;

/// The picture, to be looked at alone or in a page; it follows the reader's light or dark.
pub(super) fn svg(table: &Table) -> String {
    let height = TOP + table.bugs.len() * LINE + 10;
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" height=\"{height}\" \
         role=\"img\" aria-label=\"Share of runs in which each planted bug was caught\">\n\
         <style>text{{font:13px system-ui,sans-serif;fill:#222}}.p{{fill:#2b6cb0}}.d{{fill:#dd8a2e}}.b{{fill:#8883}}\
         .s{{font-size:11px}}@media(prefers-color-scheme:dark){{text{{fill:#ddd}}}}</style>\n\
         <rect class=\"p\" x=\"{LEFT}\" y=\"12\" width=\"12\" height=\"12\"/><text x=\"{}\" y=\"22\">its preset, 60 s</text>\n\
         <rect class=\"d\" x=\"{}\" y=\"12\" width=\"12\" height=\"12\"/><text x=\"{}\" y=\"22\">default run, 30 s</text>\n\
         <text class=\"s\" x=\"{TIMES}\" y=\"22\">median time</text>\n",
        LEFT + 18,
        LEFT + 160,
        LEFT + 178,
    );
    for (place, row) in table.bugs.iter().enumerate() {
        let y = TOP + place * LINE;
        let _ = writeln!(
            out,
            "<text x=\"{}\" y=\"{}\" text-anchor=\"end\">{}</text>",
            LEFT - 10,
            y + 17,
            row.bug
        );
        bar(&mut out, "p", y + 1, &row.preset);
        bar(&mut out, "d", y + 14, &row.default);
    }
    out.push_str("</svg>\n");
    out
}

fn bar(out: &mut String, class: &str, y: usize, row: &Row) {
    if row.runs == 0 {
        return;
    }
    let long = WIDE * row.caught / row.runs;
    let time = row
        .median_s
        .map_or_else(String::new, |seconds| format!(", {seconds:.1} s"));
    let _ = writeln!(
        out,
        "<rect class=\"b\" x=\"{LEFT}\" y=\"{y}\" width=\"{WIDE}\" height=\"11\"/>\
         <rect class=\"{class}\" x=\"{LEFT}\" y=\"{y}\" width=\"{long}\" height=\"11\"/>\
         <text class=\"s\" x=\"{TIMES}\" y=\"{}\">{} of {}{time}</text>",
        y + 10,
        row.caught,
        row.runs
    );
}

#[cfg(test)]
mod tests {
    use super::super::Verdict;
    use super::super::table::tests::trial;
    use super::super::trial::Against;
    use super::*;

    #[test]
    fn a_bar_is_as_long_as_the_share_that_was_caught() {
        let trials = [
            trial(
                Against::Preset,
                Some("no-fsync"),
                1,
                Verdict::Illegal,
                "lost-write",
            ),
            trial(Against::Preset, Some("no-fsync"), 2, Verdict::Valid, ""),
        ];
        let picture = svg(&Table::of(&trials));
        assert!(
            picture.contains(&format!(
                "class=\"p\" x=\"{LEFT}\" y=\"45\" width=\"{}\"",
                WIDE / 2
            )),
            "{picture}"
        );
        assert!(picture.contains("1 of 2, 1.0 s"), "{picture}");
        assert_eq!(picture.matches("<svg").count(), picture.matches("</svg>").count());
    }
}

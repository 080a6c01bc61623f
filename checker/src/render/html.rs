//! The page itself: what it says without its script, and what the script needs.

use std::fmt::{self, Display, Write};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::Axis;
use super::faults::{Fault, faults};
use super::found::Found;
use super::lanes::Lanes;
use super::pack::{pack, reach};
use super::points::points;
use crate::history::{History, OpId};
use crate::verdict::Validity;

const STYLE: &str = include_str!("page.css");
/// One script in three chapters: what was packed, how it is drawn, what the reader does.
const SCRIPT: &str = concat!(
    include_str!("data.js"),
    include_str!("draw.js"),
    include_str!("page.js")
);

/// What the script is told beside the rows.
#[derive(Serialize)]
struct Meta<'a> {
    operations: usize,
    axis: &'static str,
    reach: (u64, u64),
    functions: Vec<&'a str>,
    texts: Vec<String>,
    nodes: &'a [String],
    errors: &'a [String],
    /// Ids as text: a script's numbers are not exact beyond 2^53.
    processes: Vec<String>,
    lanes: Vec<u32>,
    faults: Vec<Fault>,
    /// Operation, whether it is weakened, and what it did.
    core: Vec<(u32, bool, &'a str)>,
    cycle: Vec<(u32, u32, &'a str)>,
    key: Option<String>,
    /// Where the history becomes illegal.
    illegal_from: Option<u64>,
}

pub(super) fn page(history: &History, found: &Found) -> String {
    let axis = Axis::of(history);
    let lanes = Lanes::of(history);
    let packed = pack(history, axis, &lanes, &points(history, &found.orders, axis));
    let illegal_from = found.last_index.and_then(|last| {
        let ends = |op: &OpId| history.operation(*op).completed_index() == Some(last);
        let op = (0..history.len() as u32).map(OpId).find(ends)?;
        axis.end(history, op)
    });
    let meta = Meta {
        operations: history.len(),
        axis: axis.name(),
        reach: reach(history, axis),
        functions: history.functions.iter().map(|f| &**f).collect(),
        texts: packed.texts,
        nodes: &history.nodes,
        errors: &history.errors,
        processes: lanes
            .processes
            .iter()
            .map(|process| process.0.to_string())
            .collect(),
        lanes: lanes.lane_of,
        faults: faults(history, axis),
        core: found
            .core
            .iter()
            .map(|core| (core.id, core.weakened, &*core.said))
            .collect(),
        cycle: found
            .cycle
            .iter()
            .map(|edge| (edge.from, edge.to, &*edge.because))
            .collect(),
        key: found.key.as_ref().map(ToString::to_string),
        illegal_from,
    };
    let json = serde_json::to_string(&meta).expect("texts and numbers are JSON");
    let mut page = String::with_capacity(json.len() + packed.bytes.len() * 4 / 3 + 64 * 1024);
    head(&mut page, history, found);
    verdict(&mut page, history, found);
    page.push_str(TOOLS);
    core_table(&mut page, history, found);
    page.push_str(HELP);
    // Within a script element only `<` could end it, or begin what changes how it is read.
    let _ = writeln!(
        page,
        "<script type=\"application/json\" id=\"meta\">{}</script>\n\
         <script type=\"text/plain\" id=\"rows\">{}</script>\n<script>{SCRIPT}</script>\n</body>\n</html>",
        json.replace('<', "\\u003c"),
        STANDARD.encode(&packed.bytes),
    );
    page
}

fn word(valid: Validity) -> &'static str {
    match valid {
        Validity::True => "legal",
        Validity::False => "illegal",
        Validity::Unknown => "unknown",
    }
}

fn head(page: &mut String, history: &History, found: &Found) {
    let mark = match found.valid {
        Some(Validity::True) => "✓ ",
        Some(Validity::False) => "✗ ",
        Some(Validity::Unknown) => "? ",
        None => "",
    };
    let _ = writeln!(
        page,
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src '{style}'; script-src '{script}'; img-src data:\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"generator\" content=\"Ordeal {version}\">\n\
         <title>{mark}{name}</title>\n<link rel=\"icon\" href=\"data:,\">\n<style>{STYLE}</style>\n</head>\n<body>",
        style = hash_source(STYLE),
        script = hash_source(SCRIPT),
        version = env!("CARGO_PKG_VERSION"),
        name = Escaped(history.file().unwrap_or("history")),
    );
}

/// What a policy allows: the hash of exactly this text.
fn hash_source(text: &str) -> String {
    format!("sha256-{}", STANDARD.encode(Sha256::digest(text.as_bytes())))
}

fn verdict(page: &mut String, history: &History, found: &Found) {
    let (class, said) = match found.valid {
        Some(valid) => (word(valid), word(valid)),
        None => ("none", "not judged"),
    };
    let anomaly = found.anomaly.as_deref().map(|anomaly| format!(": {anomaly}"));
    let _ = write!(
        page,
        "<header class=\"{class}\"><p class=\"word\"><b>{said}{}</b> <span>{}{} operations{}</span></p>",
        Escaped(anomaly.as_deref().unwrap_or("")),
        Escaped(
            &history
                .file()
                .map(|file| format!("{file} · "))
                .unwrap_or_default()
        ),
        history.len(),
        Escaped(
            &found
                .model
                .as_deref()
                .map(|model| format!(" · {model}"))
                .unwrap_or_default()
        ),
    );
    if let Some(sentence) = &found.sentence {
        let _ = write!(page, "<p class=\"sentence\">{}</p>", Escaped(sentence));
    }
    page.push_str("</header>\n");
}

const TOOLS: &str = "<div id=\"tools\" hidden>\
    <label>find <input id=\"find\" type=\"search\" placeholder=\"key 4, process 3, event 120, or text\" size=\"30\" spellcheck=\"false\"></label>\
    <span id=\"hits\" aria-live=\"polite\"></span>\
    <label>key <input id=\"key\" type=\"search\" list=\"keys\" placeholder=\"all\" size=\"12\" spellcheck=\"false\"></label><datalist id=\"keys\"></datalist>\
    <span class=\"gap\"></span>\
    <button id=\"out\" title=\"zoom out (-)\">−</button><button id=\"in\" title=\"zoom in (+)\">+</button>\
    <button id=\"all\" title=\"the whole history (0)\">all</button>\
    <button id=\"violation\" title=\"the violation (v)\" hidden>violation</button>\
    <button id=\"apart\" title=\"a lane per process, or per worker (l)\">lanes</button>\
    <button id=\"theme\" title=\"light or dark (t)\">theme</button>\
    <button id=\"keyboard\" title=\"keys (?)\">keys</button></div>\n\
    <main><canvas id=\"map\" height=\"40\" aria-hidden=\"true\"></canvas>\
    <canvas id=\"drawing\" tabindex=\"0\" role=\"img\" aria-label=\"Operations by process over time; arrow keys move, plus and minus zoom, question mark tells all keys\"></canvas>\
    <div id=\"tip\" hidden></div><noscript><p>The drawing needs a script, which this page carries.</p></noscript></main>\n\
    <p id=\"said\" aria-live=\"polite\"></p>\n\
    <ul id=\"legend\" hidden><li><i class=\"ok\"></i>ok<li><i class=\"read\"></i>ok, only read<li><i class=\"mismatch\"></i>compared, found another value\
    <li><i class=\"fail\"></i>failed<li><i class=\"info\"></i>unknown, may happen later<li><i class=\"point\"></i>takes effect here\
    <li><i class=\"core\"></i>of the violation<li><i class=\"weak\"></i>would not have helped</ul>\n";

const HELP: &str = "<dialog id=\"help\"><h2>Keys and pointer</h2><table><tbody>\
    <tr><td>wheel, <kbd>+</kbd> <kbd>-</kbd></td><td>zoom in time</td></tr>\
    <tr><td><kbd>shift</kbd> wheel, <kbd>←</kbd> <kbd>→</kbd>, drag</td><td>move in time</td></tr>\
    <tr><td><kbd>alt</kbd> wheel, <kbd>↑</kbd> <kbd>↓</kbd>, drag</td><td>move over lanes</td></tr>\
    <tr><td><kbd>shift</kbd> drag</td><td>zoom to what is marked</td></tr>\
    <tr><td><kbd>[</kbd> <kbd>]</kbd></td><td>lower, higher lanes</td></tr>\
    <tr><td><kbd>0</kbd>, <kbd>v</kbd></td><td>the whole history, the violation</td></tr>\
    <tr><td><kbd>c</kbd> <kbd>C</kbd></td><td>next, previous operation of the violation</td></tr>\
    <tr><td><kbd>.</kbd> <kbd>,</kbd></td><td>next, previous operation of the lane</td></tr>\
    <tr><td><kbd>/</kbd>, then <kbd>n</kbd> <kbd>N</kbd></td><td>find; next, previous found</td></tr>\
    <tr><td><kbd>k</kbd>, <kbd>K</kbd></td><td>only the key of what is selected, or the key to type</td></tr>\
    <tr><td><kbd>l</kbd></td><td>a lane per process, or per worker</td></tr>\
    <tr><td><kbd>t</kbd></td><td>light or dark</td></tr>\
    <tr><td><kbd>Esc</kbd></td><td>clear selection, then the key</td></tr></tbody></table></dialog>\n";

/// The counterexample in words: readable without the script, and a way to the bars with it.
fn core_table(page: &mut String, history: &History, found: &Found) {
    if found.core.is_empty() && found.stuck.is_empty() {
        return;
    }
    page.push_str("<section id=\"core\"><h2>The violation</h2>\n<table><thead><tr><th>process<th>did<th>from<th>to<th>event</tr></thead><tbody>\n");
    for core in &found.core {
        let operation = history.operation(OpId(core.id));
        let _ = writeln!(
            page,
            "<tr data-op=\"{}\"{}><td>{}<td>{}<td>{}<td>{}<td>{}</tr>",
            core.id,
            if core.weakened { " class=\"weak\"" } else { "" },
            operation.process().0,
            Escaped(&core.said),
            operation.invoked_at(),
            operation
                .completed_at()
                .map_or_else(|| "never".to_owned(), |at| at.to_string()),
            operation.invoked_index(),
        );
    }
    page.push_str("</tbody></table>\n");
    if !found.cycle.is_empty() {
        page.push_str("<ol>");
        for edge in &found.cycle {
            let _ = write!(
                page,
                "<li><a data-op=\"{0}\">operation {0}</a> before <a data-op=\"{1}\">operation {1}</a>: {2}",
                edge.from,
                edge.to,
                Escaped(&edge.because)
            );
        }
        page.push_str("</ol>\n");
    }
    if !found.stuck.is_empty() {
        page.push_str("<h3>Why nothing could come next</h3><ul>");
        for line in &found.stuck {
            let _ = write!(page, "<li>{}", Escaped(line));
        }
        page.push_str("</ul>\n");
    }
    page.push_str("</section>\n");
}

/// Text that stands for itself in HTML, in elements and in attributes.
struct Escaped<'a>(&'a str);

impl Display for Escaped<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.0;
        while let Some(at) = rest.find(['<', '>', '&', '"', '\'']) {
            out.write_str(&rest[..at])?;
            out.write_str(match rest.as_bytes()[at] {
                b'<' => "&lt;",
                b'>' => "&gt;",
                b'&' => "&amp;",
                b'"' => "&quot;",
                _ => "&#39;",
            })?;
            rest = &rest[at + 1..];
        }
        out.write_str(rest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::{Event, EventKind, Header, Nanos, ProcessId, Value};

    #[test]
    fn nothing_in_a_history_becomes_markup() {
        let hostile = "</script><script>alert(1)</script><!--<img src=x onerror=\"'&";
        let event = |index, kind, value| {
            let mut event = Event::new(index, Nanos(index), ProcessId(1), kind, "set", value);
            event.key = Some(Value::from(hostile));
            event.error = Some(hostile.to_owned());
            event.node = Some(hostile.to_owned());
            event
        };
        let events = vec![
            event(0, EventKind::Invoke, Value::from(hostile)),
            event(1, EventKind::Info, Value::from(hostile)),
        ];
        let history = History::from_events(Header::for_model("kv"), events).expect("valid");
        let mut found = Found::nothing();
        found.sentence = Some(hostile.to_owned());
        found.stuck = vec![hostile.to_owned()];
        let page = page(&history, &found);
        assert_eq!(page.matches("<script").count(), 3);
        assert_eq!(page.matches("</script>").count(), 3);
        assert!(!page.contains("<img") && !page.contains("<!--"));
    }
}

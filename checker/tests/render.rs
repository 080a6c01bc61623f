//! The page in a real browser: it must draw what the history holds, without a word on the console.
//!
//! Pages and pictures stay beside the test's binary, in `render-samples/`, to be looked at.

use std::fs;
use std::io::BufWriter;
use std::path::{Path, PathBuf};
use std::process::Command;

use browser::{Browser, Scheme};
use checker::generate::{Bug, Mix, Simulation, Values};
use checker::history::Writer;
use serde_json::Value;

fn checker(arguments: &[&str]) -> i32 {
    let mut command = Command::new(env!("CARGO_BIN_EXE_checker"));
    let status = command.args(arguments).status().expect("the command runs");
    status.code().expect("it ends by itself")
}

/// Writes a simulated history and has it drawn; gives back the page.
fn draw(folder: &Path, name: &str, simulation: &Simulation) -> PathBuf {
    let history = folder.join(format!("{name}.jsonl"));
    let file = BufWriter::new(fs::File::create(&history).expect("created"));
    let mut writer = Writer::new(file, &simulation.header()).expect("written");
    for event in simulation.events() {
        writer.write(&event).expect("written");
    }
    writer.into_inner().expect("written");
    let page = folder.join(format!("{name}.html"));
    let told = [history.display().to_string(), page.display().to_string()];
    assert_eq!(checker(&["render", &told[0], "-o", &told[1]]), 0);
    page
}

fn picture(browser: &Browser, page: &Path, name: &str, scheme: Scheme) {
    browser.look(scheme);
    browser.open_file(page);
    let picture = page.with_file_name(format!("{name}.png"));
    let size = browser.picture(&picture);
    assert!(size > 20_000, "{}: {size} bytes", picture.display());
    browser.look(Scheme::Light);
}

/// Opens a page, runs a script of the test's own in it, and gives back what that puts into `seen`.
fn drive(browser: &Browser, page: &Path, script: &str) -> Value {
    browser.open_file(page);
    assert_eq!(browser.console(), Vec::<String>::new(), "{}", page.display());
    browser.wait_until("document.documentElement.className === 'live'");
    let seen = browser.ask(&format!(
        "const seen = {{}}; const press = (key) => window.dispatchEvent(new KeyboardEvent('keydown', {{ key, cancelable: true }}));\n\
         {script}\nreturn seen;"
    ));
    // The test itself reads pixels back, and the browser has advice about that.
    let mut said = browser.console();
    said.retain(|line| !line.contains("willReadFrequently"));
    assert_eq!(said, Vec::<String>::new(), "{}", page.display());
    seen
}

/// What every page must have drawn by the time its own script has ended.
const DREW: &str =
    "seen.drew = { ...drawing.canvas.dataset }; seen.live = document.documentElement.className;";

fn number(seen: &Value, name: &str) -> f64 {
    let text = seen["drew"][name]
        .as_str()
        .unwrap_or_else(|| panic!("no {name} in {seen}"));
    text.parse().expect("a number")
}

#[test]
fn pages_draw_what_histories_hold() {
    let Some(browser) = Browser::start() else { return };
    browser.room(1400, 900);
    let folder = browser::samples("render-samples");
    illegal(&browser, &folder);
    legal(&browser, &folder);
    large(&browser, &folder);
    recorded(&browser, &folder);
}

/// The violation is what is seen first, and its operations can be walked.
fn illegal(browser: &Browser, folder: &Path) {
    let simulation = Simulation {
        seed: 7,
        operations: 2000,
        processes: 12,
        keys: 5,
        values: Values::Distinct,
        unknown: 0.03,
        bug: Bug::StaleReads(0.01),
        ..Simulation::default()
    };
    let page = draw(folder, "illegal", &simulation);
    let script = format!(
        "{DREW}
        seen.window = [view.from, view.to]; seen.core = core.length; seen.key = drawing.shown.key !== null;
        press('c'); seen.first = drawing.selected; seen.lit = document.querySelectorAll('tr.lit').length;
        seen.said = document.getElementById('said').textContent;
        press('Escape'); press('Escape'); seen.unfiltered = drawing.shown.key === null;
        press('0'); paint(); seen.whole = [view.from, view.to]; seen.bars = drawing.drew.bars + drawing.drew.columns;
        press('v'); paint(); const place = drawing.place(core[0]);
        seen.hit = drawing.hit(place.middle, place.y + place.tall / 2) === core[0];
        press('t'); seen.theme = document.documentElement.dataset.theme;
        document.getElementById('find').value = 'process 3'; find(); press('n'); seen.found = found.length; seen.process = ops.processOf(drawing.selected);"
    );
    let seen = drive(browser, &page, &script);
    assert_eq!(number(&seen, "operations"), 2000.0);
    assert!(number(&seen, "core") >= 2.0, "{seen}");
    assert!(number(&seen, "bars") > 0.0, "{seen}");
    assert_eq!(seen["key"], true, "only the key of the violation: {seen}");
    let span = |name: &str| {
        seen[name][1]
            .as_f64()
            .zip(seen[name][0].as_f64())
            .map(|(to, from)| to - from)
    };
    assert!(
        span("window") < span("whole"),
        "a window around the violation: {seen}"
    );
    assert_eq!(seen["lit"], 1, "{seen}");
    assert!(
        seen["said"].as_str().is_some_and(|said| said.contains("process")),
        "{seen}"
    );
    assert_eq!(seen["unfiltered"], true, "{seen}");
    assert!(seen["bars"].as_u64() > Some(500), "{seen}");
    assert_eq!(
        (&seen["theme"], &seen["process"]),
        (&"dark".into(), &"3".into()),
        "{seen}"
    );
    assert!(seen["found"].as_u64() > Some(5), "{seen}");
    assert_eq!(seen["hit"], true, "{seen}");
    picture(browser, &page, "illegal-light", Scheme::Light);
    picture(browser, &page, "illegal-dark", Scheme::Dark);
}

/// Every operation that takes effect has its moment.
fn legal(browser: &Browser, folder: &Path) {
    let simulation = Simulation {
        seed: 3,
        operations: 60,
        processes: 4,
        unknown: 0.05,
        ..Simulation::default()
    };
    let page = draw(folder, "legal", &simulation);
    let script = format!(
        "{DREW}
        seen.placed = ops.place.filter((place) => place > 0).length;
        seen.outside = 0;
        for (let op = 0; op < ops.count; op++) if (ops.point[op] < ops.start[op] || (ops.outcome[op] !== INFO && ops.point[op] > ops.end[op])) seen.outside++;
        seen.order = drawing.order.length;"
    );
    let seen = drive(browser, &page, &script);
    assert!(seen["placed"].as_u64() > Some(50), "{seen}");
    assert_eq!(seen["outside"], 0, "{seen}");
    assert_eq!(seen["order"], seen["placed"], "{seen}");
    assert!(number(&seen, "points") > 30.0, "{seen}");
    picture(browser, &page, "legal", Scheme::Light);
}

/// A hundred thousand operations, and how long frames take: told, not asserted, for it depends on the machine.
fn large(browser: &Browser, folder: &Path) {
    let simulation = Simulation {
        seed: 11,
        operations: 100_000,
        processes: 50,
        keys: 100,
        values: Values::Distinct,
        unknown: 0.01,
        mix: Mix {
            get: 2,
            set: 2,
            cas: 1,
            ..Mix::default()
        },
        ..Simulation::default()
    };
    let page = draw(folder, "large", &simulation);
    let size = fs::metadata(&page).expect("written").len();
    assert!(size < 8_000_000, "{size} bytes");
    let script = format!(
        "{DREW}
        const frames = [];
        const [first, last] = ops.meta.reach;
        // Reading a pixel back waits until all is painted.
        const frame = () => {{ const began = performance.now(); paint(); drawing.pen.getImageData(0, 0, 1, 1); frames.push(performance.now() - began); }};
        for (let i = 0; i < 40; i++) {{ const span = (last - first) * 0.8 ** i; view.from = first + (last - first - span) * 0.4; view.to = view.from + span; frame(); }}
        for (let i = 0; i < 40; i++) {{ view.from += (view.to - view.from) * 2; view.to = view.from + (last - first) / 50; frame(); }}
        frames.sort((a, b) => a - b);
        seen.frames = frames.length; seen.median = frames[40]; seen.slowest = frames[79];
        const began = performance.now(); drawing.filter({{ key: ops.key[0], apart: false }}); frame(); seen.filtered = performance.now() - began;"
    );
    let seen = drive(browser, &page, &script);
    println!(
        "100,000 operations: page of {size} bytes; frame {:.1} ms median, {:.1} ms slowest of {}; filter {:.1} ms",
        seen["median"].as_f64().expect("measured"),
        seen["slowest"].as_f64().expect("measured"),
        seen["frames"],
        seen["filtered"].as_f64().expect("measured"),
    );
    assert_eq!(number(&seen, "operations"), 100_000.0);
    assert!(number(&seen, "columns") > 10_000.0, "{seen}");
    picture(browser, &page, "large", Scheme::Light);
}

/// A run with a nemesis, drawn from its results.
fn recorded(browser: &Browser, folder: &Path) {
    let history = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/corpus/recorded-follower-read.jsonl");
    let history = history.display().to_string();
    let judged = Command::new(env!("CARGO_BIN_EXE_checker"))
        .args(["check", "--json", &history])
        .output()
        .expect("the command runs");
    let results = folder.join("recorded.json");
    fs::write(&results, judged.stdout).expect("written");
    let page = folder.join("recorded.html");
    let (results, told) = (results.display().to_string(), page.display().to_string());
    assert_eq!(
        checker(&["render", &history, "--results", &results, "-o", &told]),
        0
    );
    let script =
        format!("{DREW} seen.faults = ops.meta.faults.filter((f) => !f.moment && f.to > f.from).length;");
    let seen = drive(browser, &page, &script);
    assert!(seen["faults"].as_u64() >= Some(1), "{seen}");
    assert!(number(&seen, "core") >= 2.0, "{seen}");
    picture(browser, &page, "recorded", Scheme::Light);
    // Results of another history are refused.
    let other = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/corpus/stale-read.jsonl");
    let other = other.display().to_string();
    assert_eq!(
        checker(&["render", &other, "--results", &results, "-o", &told]),
        254
    );
    assert_eq!(
        checker(&["render", &other, "--results", &history, "-o", &told]),
        254
    );
}

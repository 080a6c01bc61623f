//! The page in a real browser: it must run without a word on the console, its keys must work, and it must fit
//! whatever it is read on.
//!
//! Pages and pictures stay beside the test's binary, in `report-samples/`, to be looked at.

use std::fs;
use std::path::{Path, PathBuf};

use ::browser::{Browser, Key, Scheme, samples as kept};

use super::samples::{self, Sample};
use super::{html, junit, plot, summary};

fn write(folder: &Path, name: &str, page: &str) -> PathBuf {
    let path = folder.join(name);
    fs::write(&path, page).expect("written");
    path
}

#[test]
fn the_page_runs_in_a_browser_without_complaint() {
    let Some(browser) = Browser::start() else { return };
    let folder = kept("report-samples");
    let all: [(&str, Sample); 4] = [
        ("valid", samples::valid(40_000)),
        ("invalid", samples::invalid(40_000)),
        ("unknown", samples::unknown()),
        ("hostile", samples::hostile()),
    ];
    for (name, sample) in &all {
        let input = sample.input();
        fs::write(folder.join(format!("{name}.junit.xml")), junit(&input)).expect("written");
        fs::write(folder.join(format!("{name}.md")), summary(&input)).expect("written");
        browser.open_file(&write(&folder, &format!("{name}.html"), &html(&input)));
        assert_eq!(browser.console(), Vec::<String>::new(), "{name}");
        let document = browser.document();
        assert!(
            document.contains("class=\"live\""),
            "{name}: the page's script did not run to its end"
        );
        assert_eq!(document.matches("<script").count(), 2, "{name}");
        assert!(!document.contains("<img"), "{name}");
        fits_everywhere(&browser, &folder, name);
    }
    // The drawing by itself has the page's colours.
    browser.open_file(&write(&folder, "over-time.svg", &plot(&all[1].1.input())));
    assert_eq!(browser.console(), Vec::<String>::new());
    let colour = "return getComputedStyle(document.querySelector('.area.ok')).fill";
    assert_eq!(browser.ask(colour), "rgb(47, 111, 180)");
    browser.picture(&folder.join("over-time.png"));

    let page = html(&all[1].1.input());
    errors_are_seen(&browser, &folder, &page);
    keys_and_pointer_work(&browser, &folder);
}

/// The page on a telephone, on a desk by day and by night, and on paper.
fn fits_everywhere(browser: &Browser, folder: &Path, name: &str) {
    for (width, scheme, picture) in [
        (1280, Scheme::Light, "light"),
        (1280, Scheme::Dark, "dark"),
        (400, Scheme::Light, "narrow"),
        (760, Scheme::Paper, "paper"),
    ] {
        browser.room(width, 900);
        browser.look(scheme);
        let wide = browser.ask("return document.documentElement.scrollWidth");
        assert!(
            wide.as_u64() <= Some(width.into()),
            "{name} {picture}: {wide} pixels wide, where there are {width}"
        );
        let path = folder.join(format!("{name}-{picture}.png"));
        assert!(browser.picture(&path) > 20_000, "{}", path.display());
    }
    // By night it is dark, from the first paint on and without a word from the reader.
    browser.look(Scheme::Dark);
    let ground = "return getComputedStyle(document.body).backgroundColor.match(/[0-9]+/g).map(Number)[0]";
    assert!(browser.ask(ground).as_u64() < Some(80), "{name}");
    browser.look(Scheme::Light);
    assert!(browser.ask(ground).as_u64() > Some(200), "{name}");
    browser.room(1280, 900);
    assert!(browser.print(&folder.join(format!("{name}.pdf"))) >= 1, "{name}");
}

/// The same eyes see an error where there is one, and the page's policy keeps out what is not its own.
fn errors_are_seen(browser: &Browser, folder: &Path, page: &str) {
    let policy = page.find("<meta http-equiv=").expect("a policy");
    let end = policy + page[policy..].find('>').expect("its end") + 1;
    let open = format!("{}{}", &page[..policy], &page[end..]);
    let broken = write(
        folder,
        "broken.html",
        &open.replace("</body>", "<script>nothing.here()</script></body>"),
    );
    browser.open_file(&broken);
    let console = browser.console();
    assert!(
        console.iter().any(|line| line.contains("nothing is not defined")),
        "{console:?}"
    );
    let script = "<script>document.title = 1</script></body>";
    browser.open_file(&write(folder, "broken.html", &page.replace("</body>", script)));
    let console = browser.console();
    assert!(
        console
            .iter()
            .any(|line| line.contains("Content Security Policy")),
        "{console:?}"
    );
    assert_ne!(
        browser.ask("return document.title"),
        "1",
        "a script that is not the page's own ran"
    );
    fs::remove_file(broken).expect("removed");
}

/// Presses keys and moves the pointer as a reader would, and looks at what changed.
fn keys_and_pointer_work(browser: &Browser, folder: &Path) {
    browser.open_file(&folder.join("invalid.html"));
    let focused = || browser.ask("return document.activeElement.dataset.op");
    browser.press("nn");
    assert_eq!(focused(), "2");
    assert_eq!(
        browser.ask(
            "return [...document.querySelectorAll('.lit')].map((e) => e.tagName + e.dataset.op).join(' ')"
        ),
        "g2 TR2",
        "drawing and table light up together"
    );
    browser.press("pp");
    assert_eq!(focused(), "4", "from the first back to the last");

    let theme = || browser.ask("return document.documentElement.dataset.theme");
    browser.press("t");
    assert_eq!(theme(), "dark");
    browser.press("t");
    assert_eq!(theme(), "light");

    browser.press("c");
    browser.wait_until("['copied', 'selected'].includes(document.querySelector('#copy').textContent)");

    let readout = || browser.ask("return document.querySelector('#readout').textContent");
    let place = browser.ask(
        "const chart = document.querySelector('svg.overview');
         chart.parentElement.focus(); chart.scrollIntoView({ block: 'center', behavior: 'instant' });
         const box = chart.getBoundingClientRect();
         return [box.left + box.width * 0.38, box.top + box.height / 2]",
    );
    browser.press_key(Key::Right);
    browser.press_key(Key::Right);
    let arrows = readout();
    assert!(
        arrows
            .as_str()
            .is_some_and(|text| text.starts_with("0.20 to 0.40 s")),
        "{arrows}"
    );
    let at = |axis: usize| place[axis].as_f64().expect("a place");
    browser.point_at(at(0), at(1));
    let pointer = readout().as_str().unwrap_or_default().to_owned();
    assert!(
        pointer.contains("partition n1, n3 | n2, n4, n5") && pointer.contains("p99"),
        "{pointer}"
    );
    browser.press("?");
    assert_eq!(browser.ask("return document.querySelector('#help').open"), true);
    browser.press_key(Key::Escape);
    assert_eq!(browser.ask("return document.querySelector('#help').open"), false);
    assert_eq!(browser.console(), Vec::<String>::new());
}

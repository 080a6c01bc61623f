//! The page in a real browser: it must run without a word on the console, and its keys must work.
//!
//! Pages and pictures stay beside the test's binary, in `report-samples/`, to be looked at. Without Chromium or
//! Chrome the test says that it was skipped; with `CI` set it fails instead.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use super::samples::{self, Sample};
use super::{html, junit, summary};

/// The first browser that answers to its name.
fn browser() -> Option<&'static str> {
    [
        "chromium",
        "chromium-browser",
        "google-chrome",
        "google-chrome-stable",
    ]
    .into_iter()
    .find(|name| {
        let asked = Command::new(name)
            .arg("--version")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        asked.is_ok_and(|status| status.success())
    })
}

/// Kept after the tests: beside the test's own binary.
fn output() -> PathBuf {
    let binary = std::env::current_exe().expect("the test's own path");
    let folder = binary
        .parent()
        .and_then(Path::parent)
        .expect("target/debug")
        .join("report-samples");
    fs::create_dir_all(&folder).expect("a folder for the pages");
    folder
}

/// Opens a page; gives back the document after its scripts ran, and what was said on the console.
fn open(browser: &str, page: &Path, arguments: &[&str]) -> (String, Vec<String>) {
    let profile = tempfile::tempdir().expect("a folder for the browser");
    let child = Command::new(browser)
        .args([
            "--headless",
            "--disable-gpu",
            "--hide-scrollbars",
            "--no-first-run",
            "--disable-dev-shm-usage",
        ])
        // Chromium's own sandbox needs what a container or a root user has not; the page is ours.
        .args([
            "--no-sandbox",
            "--enable-logging=stderr",
            "--virtual-time-budget=2000",
        ])
        .arg(format!("--user-data-dir={}", profile.path().display()))
        .args(arguments)
        .arg(format!("file://{}", page.display()))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the browser starts");
    let id = nix::unistd::Pid::from_raw(child.id().try_into().expect("a process id"));
    let (sender, receiver) = mpsc::channel();
    let waiter = thread::spawn(move || {
        // The receiver is gone only if the test has failed already.
        let _ = sender.send(child.wait_with_output());
    });
    let output = receiver.recv_timeout(Duration::from_secs(120));
    if output.is_err() {
        let _ = nix::sys::signal::kill(id, nix::sys::signal::Signal::SIGKILL);
    }
    waiter.join().expect("the waiter does not panic");
    let output = output
        .expect("the browser ends within two minutes")
        .expect("it ran");
    let console = String::from_utf8_lossy(&output.stderr);
    let console = console
        .lines()
        .filter(|line| line.contains(":CONSOLE"))
        .map(str::to_owned)
        .collect();
    (String::from_utf8_lossy(&output.stdout).into_owned(), console)
}

fn write(folder: &Path, name: &str, page: &str) -> PathBuf {
    let path = folder.join(name);
    fs::write(&path, page).expect("written");
    path
}

/// The page with another script at its end, which its policy would not let in.
fn with_script(page: &str, script: &str) -> String {
    let policy = page.find("<meta http-equiv=").expect("a policy");
    let end = policy + page[policy..].find('>').expect("its end") + 1;
    format!("{}{}", &page[..policy], &page[end..])
        .replace("</body>", &format!("<script>{script}</script></body>"))
}

#[test]
fn the_page_runs_in_a_browser_without_complaint() {
    let Some(browser) = browser() else {
        assert!(
            std::env::var_os("CI").is_none(),
            "CI needs Chromium or Chrome for this test"
        );
        eprintln!("skipped: no Chromium or Chrome to open the report in");
        return;
    };
    let folder = output();
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
        let page = write(&folder, &format!("{name}.html"), &html(&input));
        let (document, console) = open(browser, &page, &["--dump-dom"]);
        assert_eq!(console, Vec::<String>::new(), "{name}");
        assert!(
            document.contains("class=\"live\""),
            "{name}: the page's script did not run to its end"
        );
        assert_eq!(document.matches("<script").count(), 2, "{name}");
        assert!(!document.contains("<img"), "{name}");
    }

    // The same eyes see an error where there is one.
    let page = html(&all[1].1.input());
    let broken = write(&folder, "broken.html", &with_script(&page, "nothing.here()"));
    let (_, console) = open(browser, &broken, &["--dump-dom"]);
    assert!(
        console.iter().any(|line| line.contains("nothing is not defined")),
        "{console:?}"
    );
    let forbidden = write(
        &folder,
        "broken.html",
        &page.replace("</body>", "<script>document.title = 1</script></body>"),
    );
    let (document, console) = open(browser, &forbidden, &["--dump-dom"]);
    assert!(
        console
            .iter()
            .any(|line| line.contains("Content Security Policy")),
        "{console:?}"
    );
    assert!(
        !document.contains("<title>1</title>"),
        "a script that is not the page's own ran"
    );
    fs::remove_file(forbidden).expect("removed");

    keys_and_pointer_work(browser, &folder, &page);
    let page = folder.join("invalid.html");
    for (name, flags) in [
        ("light", &[][..]),
        ("dark", &["--blink-settings=preferredColorScheme=0"][..]),
    ] {
        let picture = folder.join(format!("invalid-{name}.png"));
        let screenshot = format!("--screenshot={}", picture.display());
        let arguments: Vec<&str> = [screenshot.as_str(), "--window-size=1280,2600"]
            .into_iter()
            .chain(flags.iter().copied())
            .collect();
        open(browser, &page, &arguments);
        assert!(
            fs::metadata(&picture).is_ok_and(|file| file.len() > 50_000),
            "{}",
            picture.display()
        );
    }
}

/// Presses keys and moves the pointer as a reader would, and looks at what changed.
fn keys_and_pointer_work(browser: &str, folder: &Path, page: &str) {
    let script = r"
        const press = (key, on = window) => on.dispatchEvent(new KeyboardEvent('keydown', { key, bubbles: true, cancelable: true }));
        const seen = {};
        press('n'); press('n');
        seen.focused = document.activeElement.dataset.op;
        seen.lit = [...document.querySelectorAll('.lit')].map((e) => e.tagName + e.dataset.op).join(' ');
        press('p'); press('p');
        seen.around = document.activeElement.dataset.op;
        press('t'); seen.theme = document.documentElement.dataset.theme;
        press('t'); seen.back = document.documentElement.dataset.theme;
        const chart = document.querySelector('svg.overview');
        press('ArrowRight', chart.parentElement); press('ArrowRight', chart.parentElement);
        seen.arrows = document.querySelector('#readout').textContent;
        const box = chart.getBoundingClientRect();
        chart.dispatchEvent(new PointerEvent('pointermove', { clientX: box.left + box.width * 0.38, clientY: box.top + 100 }));
        seen.pointer = document.querySelector('#readout').textContent;
        press('?'); seen.help = document.querySelector('#help').open;
        document.title = JSON.stringify(seen);
    ";
    let path = write(folder, "driven.html", &with_script(page, script));
    let (document, console) = open(browser, &path, &["--dump-dom"]);
    fs::remove_file(path).expect("removed");
    assert_eq!(console, Vec::<String>::new());
    let title = document
        .split("<title>")
        .nth(1)
        .and_then(|rest| rest.split("</title>").next())
        .expect("a title");
    let seen: serde_json::Value = serde_json::from_str(&title.replace("&lt;", "<").replace("&amp;", "&"))
        .unwrap_or_else(|e| panic!("{e} in {title}"));
    assert_eq!(seen["focused"], "2");
    assert_eq!(seen["lit"], "g2 TR2", "drawing and table light up together");
    assert_eq!(seen["around"], "4", "from the first back to the last");
    assert_eq!((&seen["theme"], &seen["back"]), (&"dark".into(), &"light".into()));
    assert!(
        seen["arrows"]
            .as_str()
            .is_some_and(|text| text.starts_with("0.20 to 0.40 s")),
        "{seen}"
    );
    let pointer = seen["pointer"].as_str().unwrap_or_default();
    assert!(
        pointer.contains("partition n1, n3 | n2, n4, n5") && pointer.contains("p99"),
        "{seen}"
    );
    assert_eq!(seen["help"], true);
}

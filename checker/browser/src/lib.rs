//! Does a page of ours work where people read it?
//!
//! One Chromium, started headless and driven through WebDriver (Debian's `chromium-driver`), with real keys and a
//! real pointer, and with the page's own policy in force: scripts that a test runs stand outside it. For tests
//! alone: no crate links it but as a development dependency, and what goes wrong panics with a word about it.
//!
//! ```no_run
//! let Some(browser) = browser::Browser::start() else { return };
//! browser.open_file(std::path::Path::new("/tmp/report.html"));
//! assert_eq!(browser.console(), Vec::<String>::new());
//! browser.press("t");
//! assert_eq!(browser.ask("return document.documentElement.dataset.theme"), "dark");
//! ```
//!
//! Invariants:
//! - A test is skipped only where there is no Chromium or no driver, it says so, and never with `CI` set.
//! - Driver, browser and profile end with the [`Browser`], also when the test panics.
//! - Nothing waits for a time, only for a condition, and for at most [`PATIENCE`].

mod driver;
mod session;

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tokio::runtime::{Builder, Runtime};

use driver::{Driver, Programs};
use session::Session;

/// Longer than a page takes to do anything, even on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// What a page is shown as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// The system says light.
    Light,
    /// The system says dark.
    Dark,
    /// As on paper, on a screen.
    Paper,
}

/// A key that is no character.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Key {
    /// Esc.
    Escape,
    /// The arrow to the left.
    Left,
    /// The arrow to the right.
    Right,
}

impl Key {
    /// By what WebDriver knows it, from a private corner of Unicode.
    fn code(self) -> char {
        match self {
            Self::Escape => '\u{e00c}',
            Self::Left => '\u{e012}',
            Self::Right => '\u{e014}',
        }
    }
}

/// A browser with one window.
#[derive(Debug)]
pub struct Browser {
    session: Session,
    runtime: Runtime,
    // Dropped in this order, after the session has ended: the driver, then the folder of its browser.
    _driver: Driver,
    _profile: tempfile::TempDir,
}

impl Browser {
    /// Starts one; none, with a word on standard error, where the machine has no Chromium with its driver.
    ///
    /// # Panics
    /// Where there is none and `CI` is set: a gate must not skip. And when it does not start.
    #[must_use]
    pub fn start() -> Option<Self> {
        let programs = match Programs::find() {
            Ok(programs) => programs,
            Err(missing) => {
                assert!(env::var_os("CI").is_none(), "CI needs a browser: {missing}");
                eprintln!("skipped: {missing}");
                return None;
            }
        };
        let driver = Driver::start(&programs);
        let profile = tempfile::tempdir().expect("a folder for the browser");
        let options = json!({
            "binary": programs.browser,
            // Chromium's own sandbox needs what a container or a root user has not; the pages are ours.
            "args": [
                "--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu", "--hide-scrollbars",
                "--no-first-run", "--force-device-scale-factor=1", "--window-size=1280,1000",
                format!("--user-data-dir={}", profile.path().display()),
            ],
        });
        let wanted = json!({ "goog:chromeOptions": options, "goog:loggingPrefs": { "browser": "ALL" } });
        let runtime = Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        let session = runtime
            .block_on(Session::begin(&driver.address, &wanted, PATIENCE))
            .unwrap_or_else(|error| panic!("{} does not start: {error}", programs.browser));
        let browser = Self {
            session,
            runtime,
            _driver: driver,
            _profile: profile,
        };
        browser.look(Scheme::Light);
        Some(browser)
    }

    /// Opens an address, and returns when the page and what it refers to are there and its scripts have run.
    ///
    /// # Panics
    /// When it does not come.
    pub fn open(&self, address: &str) {
        self.tell("url", &json!({ "url": address }));
    }

    /// Opens a file from disk.
    ///
    /// # Panics
    /// When it is not there, or does not open.
    pub fn open_file(&self, page: &Path) {
        let page = page
            .canonicalize()
            .unwrap_or_else(|error| panic!("{}: {error}", page.display()));
        let address = reqwest::Url::from_file_path(&page).expect("an absolute path");
        self.open(address.as_str());
    }

    /// Runs the body of a function in the page, and gives back what it returns. The page's policy does not bind it.
    ///
    /// # Panics
    /// When it throws.
    #[must_use]
    pub fn ask(&self, script: &str) -> Value {
        self.run(script)
            .unwrap_or_else(|error| panic!("{script}: {error}"))
    }

    /// Waits until this expression holds in the page.
    ///
    /// # Panics
    /// When it does not within [`PATIENCE`], with the text that the page has by then.
    pub fn wait_until(&self, expression: &str) {
        let deadline = Instant::now() + PATIENCE;
        // Between two pages there may be none to ask.
        let holds = || {
            let asked = self.run(&format!("return !!({expression})"));
            asked.is_ok_and(|answer| answer == true)
        };
        while !holds() {
            assert!(
                Instant::now() < deadline,
                "never: {expression}; the page says {}",
                self.ask("return document.body.innerText")
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Presses these keys one after the other, wherever the focus is.
    ///
    /// # Panics
    /// When the browser does not take them.
    pub fn press(&self, keys: &str) {
        let strokes = keys.chars().flat_map(|key| {
            let key = key.to_string();
            [
                json!({ "type": "keyDown", "value": key }),
                json!({ "type": "keyUp", "value": key }),
            ]
        });
        let strokes: Vec<Value> = strokes.collect();
        self.act(&json!({ "type": "key", "id": "keys", "actions": strokes }));
    }

    /// Presses a key that is no character.
    ///
    /// # Panics
    /// When the browser does not take it.
    pub fn press_key(&self, key: Key) {
        self.press(&key.code().to_string());
    }

    /// Moves the pointer to a place of the window, in its pixels.
    ///
    /// # Panics
    /// When that is outside of it.
    pub fn point_at(&self, x: f64, y: f64) {
        let there = json!({ "type": "pointerMove", "duration": 0, "x": x.round(), "y": y.round() });
        self.act(&json!({ "type": "pointer", "id": "pointer", "actions": [there] }));
    }

    /// The document as it is now.
    ///
    /// # Panics
    /// When there is none.
    #[must_use]
    pub fn document(&self) -> String {
        let source = self.runtime.block_on(self.session.ask("source"));
        let source = source.unwrap_or_else(|error| panic!("source: {error}"));
        source.as_str().expect("a document").to_owned()
    }

    /// What was said on the console since this was last asked: scripts that failed, what a policy refused.
    ///
    /// # Panics
    /// When the driver does not tell.
    #[must_use]
    pub fn console(&self) -> Vec<String> {
        let entries = self.tell("se/log", &json!({ "type": "browser" }));
        let entries = entries.as_array().expect("a list of entries");
        let said = entries.iter().map(|entry| &entry["message"]);
        said.map(|text| text.as_str().unwrap_or_default().to_owned())
            .collect()
    }

    /// Gives the page this much room, in its own pixels.
    ///
    /// # Panics
    /// When the browser refuses.
    pub fn room(&self, width: u32, height: u32) {
        let metrics = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false });
        self.devtools("Emulation.setDeviceMetricsOverride", &metrics);
    }

    /// Shows it in another way.
    ///
    /// # Panics
    /// When the browser refuses.
    pub fn look(&self, scheme: Scheme) {
        let (medium, colours) = match scheme {
            Scheme::Light => ("", "light"),
            Scheme::Dark => ("", "dark"),
            Scheme::Paper => ("print", "light"),
        };
        let features = json!([{ "name": "prefers-color-scheme", "value": colours }]);
        self.devtools(
            "Emulation.setEmulatedMedia",
            &json!({ "media": medium, "features": features }),
        );
    }

    /// Keeps a picture of the whole page, also of what is below the window's end; gives back its size in bytes.
    ///
    /// # Panics
    /// When it cannot be taken or written.
    pub fn picture(&self, to: &Path) -> usize {
        self.capture(to, &json!({ "format": "png", "captureBeyondViewport": true }))
    }

    /// Keeps a picture of the page's upper left, so many pixels wide and high; gives back its size in bytes.
    ///
    /// # Panics
    /// When it cannot be taken or written.
    pub fn picture_of(&self, to: &Path, width: u32, height: u32) -> usize {
        let clip = json!({ "x": 0, "y": 0, "width": width, "height": height, "scale": 1 });
        self.capture(
            to,
            &json!({ "format": "png", "captureBeyondViewport": true, "clip": clip }),
        )
    }

    /// Prints the page on A4, keeps it as PDF, and gives back how many pages that took.
    ///
    /// # Panics
    /// When it cannot be printed or written.
    pub fn print(&self, to: &Path) -> usize {
        // Centimetres.
        let told = self.tell("print", &json!({ "page": { "width": 21.0, "height": 29.7 } }));
        let bytes = STANDARD.decode(told.as_str().expect("a file")).expect("base64");
        assert!(bytes.starts_with(b"%PDF"), "no PDF");
        fs::write(to, &bytes).unwrap_or_else(|error| panic!("{}: {error}", to.display()));
        // Each page is an object of this type; their parent is one of type /Pages.
        let text = String::from_utf8_lossy(&bytes);
        text.matches("/Type /Page\n").count()
    }

    fn capture(&self, to: &Path, what: &Value) -> usize {
        let told = self.devtools("Page.captureScreenshot", what);
        let bytes = STANDARD
            .decode(told["data"].as_str().expect("a picture"))
            .expect("base64");
        fs::write(to, &bytes).unwrap_or_else(|error| panic!("{}: {error}", to.display()));
        bytes.len()
    }

    fn run(&self, script: &str) -> Result<Value, String> {
        let body = json!({ "script": script, "args": [] });
        self.runtime.block_on(self.session.tell("execute/sync", &body))
    }

    fn act(&self, source: &Value) {
        self.tell("actions", &json!({ "actions": [source] }));
    }

    /// A command of the browser's own protocol, for what WebDriver has no word for.
    fn devtools(&self, method: &str, parameters: &Value) -> Value {
        self.tell(
            "goog/cdp/execute",
            &json!({ "cmd": method, "params": parameters }),
        )
    }

    fn tell(&self, path: &str, body: &Value) -> Value {
        let answer = self.runtime.block_on(self.session.tell(path, body));
        answer.unwrap_or_else(|error| panic!("{path} {body}: {error}"))
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let ended = self.runtime.block_on(self.session.end());
        // A browser that does not listen would outlive its driver.
        let process = self.session.capabilities["goog:processID"].as_i64();
        if let (Err(_), Some(Ok(process))) = (ended, process.map(i32::try_from)) {
            let process = nix::unistd::Pid::from_raw(process);
            let _ = nix::sys::signal::kill(process, nix::sys::signal::Signal::SIGKILL);
        }
    }
}

/// A folder for pages and pictures that stay after the test, to be looked at: beside the test's own binary, in
/// `target/debug`.
///
/// # Panics
/// When it cannot be made.
#[must_use]
pub fn samples(name: &str) -> PathBuf {
    let binary = env::current_exe().expect("the test's own path");
    let target = binary.parent().and_then(Path::parent).expect("target/debug");
    let folder = target.join(name);
    fs::create_dir_all(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    folder
}

//! The process between a test and its browser.

use std::env;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;

/// A browser and its driver, both of which answer to their names.
#[derive(Debug)]
pub(crate) struct Programs {
    pub(crate) browser: String,
    driver: PathBuf,
}

impl Programs {
    /// The first of each; otherwise a line about what is missing.
    pub(crate) fn find() -> Result<Self, String> {
        let names = [
            "chromium",
            "chromium-browser",
            "google-chrome",
            "google-chrome-stable",
        ];
        let browser = names
            .into_iter()
            .find_map(path_of)
            .ok_or("no Chromium or Chrome to open the pages in (on Debian: apt-get install chromium)")?;
        // GitHub's machines name the folder of theirs.
        let told = env::var_os("CHROMEWEBDRIVER").map(|folder| PathBuf::from(folder).join("chromedriver"));
        let driver = told
            .filter(|path| answers(path))
            .or_else(|| path_of("chromedriver").map(PathBuf::from))
            .ok_or("no chromedriver to drive it with (on Debian: apt-get install chromium-driver)")?;
        Ok(Self { browser, driver })
    }
}

/// Where `PATH` has a program that answers to this name. Ubuntu's chromium-browser may be a stub that does not.
fn path_of(name: &str) -> Option<String> {
    let folders = env::var_os("PATH")?;
    let mut paths = env::split_paths(&folders).map(|folder| folder.join(name));
    let path = paths.find(|path| answers(path))?;
    path.to_str().map(str::to_owned)
}

fn answers(program: &std::path::Path) -> bool {
    let asked = Command::new(program)
        .arg("--version")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    asked.is_ok_and(|status| status.success())
}

/// A driver that listens on a port of its choice, ended when dropped.
#[derive(Debug)]
pub(crate) struct Driver {
    child: Child,
    pub(crate) address: String,
}

impl Driver {
    pub(crate) fn start(programs: &Programs) -> Self {
        let mut child = Command::new(&programs.driver)
            .arg("--port=0")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("{}: {error}", programs.driver.display()));
        let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let port = lines.by_ref().map_while(Result::ok).find_map(|line| {
            let (_, rest) = line.split_once("started successfully on port ")?;
            rest.trim_end_matches('.').parse::<u16>().ok()
        });
        let mut driver = Self {
            child,
            address: String::new(),
        };
        let port = port.unwrap_or_else(|| panic!("{} names no port", programs.driver.display()));
        driver.address = format!("http://127.0.0.1:{port}/");
        // Nobody may wait because nobody listens to what else it says.
        thread::spawn(move || lines.map_while(Result::ok).for_each(drop));
        driver
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

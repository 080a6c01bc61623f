//! The store in a browser: routes, what must not escape, a run under way, and the pages in Chromium.
//!
//! Pictures stay beside the test's binary, in `serve-samples/`, to be looked at. Without Chromium or Chrome the
//! test of the pages says that it was skipped; with `CI` set it fails instead.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

const WORKLOADS: &str = env!("CARGO_BIN_EXE_workloads");
/// Longer than anything here takes, even on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

fn workloads() -> Command {
    // Whoever starts the tests in the background may have Ctrl-C ignored, and children inherit that.
    let mut command = Command::new("env");
    command
        .args(["--default-signal=INT,QUIT,HUP", WORKLOADS])
        .env_remove("ORDEAL_STORE")
        .stdin(Stdio::null());
    command
}

/// A server of a store, ended when dropped.
struct Server {
    child: Child,
    address: SocketAddr,
}

impl Server {
    fn of(store: &Path) -> Self {
        let mut child = workloads()
            .args(["serve", "--listen", "127.0.0.1:0", "--store"])
            .arg(store)
            .stdout(Stdio::piped())
            .spawn()
            .expect("starts");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("piped"))
            .read_line(&mut line)
            .expect("it says where it is");
        let address = line
            .strip_prefix("http://")
            .and_then(|rest| rest.split_whitespace().next());
        let address = address.and_then(|text| text.parse().ok()).expect("an address");
        Self { child, address }
    }

    /// Sends a request as it is; gives the status, the head and the body.
    fn ask(&self, request: &str) -> (u16, String, String) {
        let mut stream = TcpStream::connect(self.address).expect("connects");
        stream.set_read_timeout(Some(PATIENCE)).expect("set");
        stream.write_all(request.as_bytes()).expect("sent");
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).expect("answers");
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
        let status = head
            .split(' ')
            .nth(1)
            .and_then(|code| code.parse().ok())
            .unwrap_or(0);
        (status, head.to_lowercase(), body.to_owned())
    }

    fn get(&self, path: &str) -> (u16, String, String) {
        self.ask(&format!(
            "GET {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n",
            self.address
        ))
    }

    /// Ends it as a person would.
    fn end(mut self) -> Option<i32> {
        kill(
            Pid::from_raw(i32::try_from(self.child.id()).expect("a pid")),
            Signal::SIGINT,
        )
        .expect("signalled");
        self.child.wait().expect("waits").code()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A store with two finished runs, one of them hostile, and things outside that must stay there.
fn store(dir: &Path) -> PathBuf {
    let store = dir.join("store");
    let make = |run: &str, settings: &str, results: &str| {
        let run = store.join(run);
        fs::create_dir_all(run.join("n1/data")).expect("made");
        fs::write(run.join("test.toml"), settings).expect("written");
        fs::write(run.join("results.json"), results).expect("written");
        fs::write(
            run.join("history.jsonl"),
            "{\"ordeal\":1,\"model\":\"register\"}\n",
        )
        .expect("written");
        fs::write(run.join("report.html"), "<!doctype html><title>report</title>").expect("written");
        fs::write(run.join("n1/node.log"), "a line\n").expect("written");
        fs::write(run.join("n1/data/evil.html"), "<script>alert(1)</script>").expect("written");
    };
    make(
        "kvnode-mix/20261121T100000.000Z",
        "system = \"kvnode\"\nworkload = \"mix\"\nnemesis = [\"kill\", \"partition\"]\nseed = 7\nkeys = 10\nagain = \"cargo run -- run --seed 7\"\n",
        r#"{"valid": true, "sentence": "Linearizable: 40 operations", "doubts": [],
            "analysis": {"operations": 40, "counterexample": null},
            "conduct": {"faults": [{"kind": "kill", "bit": true}], "available": {"owed": 40, "kept": 39}, "load_end_ns": 4000000000},
            "figures": {"all": {"ok": 40, "p50_ms": 1.5, "p95_ms": 2, "p99_ms": 3, "max_ms": 4}, "by_f": {"get": {"ok": 40, "p50_ms": 1.5}}}}"#,
    );
    make(
        "kvnode-mix-bug-follower-read/20261121T110000.000Z",
        "system = \"kvnode\"\nworkload = \"mix\"\nnemesis = []\nseed = 8\nkeys = 1\nbug = \"follower-read\"\n",
        r#"{"valid": false, "sentence": "Illegal: <img src=x onerror=alert(1)> read 5", "doubts": [],
            "analysis": {"operations": 12, "counterexample": {"anomaly": "stale-read"}},
            "conduct": {"faults": [], "available": {"owed": 12, "kept": 12}, "load_end_ns": 1000000000},
            "figures": {"all": {"ok": 12, "p50_ms": 0.5}, "by_f": {}}}"#,
    );
    fs::write(dir.join("secret"), "do not read this").expect("written");
    symlink(
        "../../../secret",
        store.join("kvnode-mix/20261121T100000.000Z/up"),
    )
    .expect("linked");
    symlink(dir, store.join("outside")).expect("linked");
    symlink("kvnode-mix/20261121T100000.000Z", store.join("latest")).expect("linked");
    store
}

const RUN: &str = "kvnode-mix/20261121T100000.000Z";
const OTHER: &str = "kvnode-mix-bug-follower-read/20261121T110000.000Z";

#[test]
fn runs_files_and_comparisons_are_served_and_nothing_else() {
    let dir = tempfile::tempdir().expect("a folder");
    let server = Server::of(&store(dir.path()));
    let (status, head, body) = server.get("/");
    assert_eq!(status, 200, "{head}");
    for expected in [
        "content-security-policy: default-src 'none'",
        "x-content-type-options: nosniff",
        "text/html",
    ] {
        assert!(head.contains(expected), "{expected}: {head}");
    }
    assert!(
        body.contains("2 of 2 runs") && body.contains("stale-read") && !body.contains("<img src=x"),
        "{body}"
    );
    let (_, _, body) = server.get("/?verdict=illegal&system=kvnode");
    assert!(
        body.contains("1 of 2 runs") && body.contains(OTHER) && !body.contains(RUN),
        "{body}"
    );

    for path in [
        format!("/run/{RUN}"),
        format!("/run/{RUN}/"),
        "/run/latest".to_owned(),
    ] {
        let (status, _, body) = server.get(&path);
        assert_eq!(status, 200, "{path}");
        assert!(
            body.contains("n1/node.log") && body.contains("Linearizable: 40"),
            "{body}"
        );
    }
    for (file, kind, expected) in [
        ("report.html", "text/html", "<title>report"),
        ("history.jsonl", "application/x-ndjson", "\"ordeal\""),
        ("results.json", "application/json", "counterexample"),
        ("test.toml", "text/plain", "seed = 7"),
        ("n1/node.log", "text/plain", "a line"),
        ("n1/data/evil.html", "text/plain", "<script>"),
    ] {
        let (status, head, body) = server.get(&format!("/file/{RUN}/{file}"));
        assert_eq!(status, 200, "{file}: {head}");
        assert!(
            head.contains(&format!("content-type: {kind}")) && head.contains("sandbox"),
            "{file}: {head}"
        );
        assert!(
            head.contains(&format!("content-length: {}", body.len())),
            "{file}: {head}"
        );
        assert!(body.contains(expected), "{file}: {body}");
    }
    let (status, _, body) = server.get(&format!("/compare?run={RUN}&run={OTHER}"));
    assert_eq!(status, 200);
    for expected in [
        "97.50 %",
        "1.5 / 2.0 / 3.0 / 4.0",
        "stale-read",
        "<tr class=\"differs\"><td>keys</td>",
        "10",
    ] {
        assert!(body.contains(expected), "{expected}: {body}");
    }
    assert!(
        body.contains("<tr><td>workload</td>"),
        "what is the same is not marked: {body}"
    );
    assert_eq!(server.get(&format!("/compare?run={RUN}")).0, 400);
    assert_eq!(server.get(&format!("/compare?run={RUN}&run=../secret")).0, 404);

    for path in [
        "/file/../secret",
        "/file/%2e%2e/secret",
        "/file/..%2fsecret",
        "/file/%2e%2e%2fsecret",
        "/file//etc/passwd",
        "/file/%2fetc/passwd",
        "/file/outside/secret",
        "/run/outside",
        &format!("/file/{RUN}/up"),
        &format!("/file/{RUN}/../../../secret"),
        &format!("/file/{RUN}/n1"),
        &format!("/file/{RUN}/a%00b"),
        "/file/outside/store/latest/test.toml",
        "/nothing",
        "/run/nothing",
        "/live/latest/x",
        "/file/latest/none",
    ] {
        let (status, _, body) = server.get(path);
        assert!(status == 404 || status == 400, "{path}: {status}");
        assert!(
            !body.contains("do not read") && !body.contains("root:x:"),
            "{path}: {body}"
        );
    }
    let host = server.address;
    let cases = [
        (
            format!("POST / HTTP/1.1\r\nHost: {host}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"),
            405,
        ),
        (
            "GET / HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n".to_owned(),
            403,
        ),
        (
            format!(
                "GET / HTTP/1.1\r\nHost: localhost:{}\r\nConnection: close\r\n\r\n",
                host.port()
            ),
            200,
        ),
        ("GET / HTTP/1.1\r\nConnection: close\r\n\r\n".to_owned(), 400),
    ];
    for (request, expected) in cases {
        assert_eq!(server.ask(&request).0, expected, "{request}");
    }
    let (status, head, body) = server.ask(&format!(
        "HEAD /file/{RUN}/results.json HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
    ));
    assert_eq!((status, body.as_str()), (200, ""));
    assert!(head.contains("application/json"), "{head}");
    assert_eq!(server.end(), Some(0), "Ctrl-C ends it in order");
}

#[test]
fn where_it_cannot_serve_it_says_why() {
    let dir = tempfile::tempdir().expect("a folder");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let taken = taken.local_addr().expect("an address").to_string();
    let here = dir.path().to_str().expect("text");
    for (args, expected) in [
        (
            &["serve", "--store", "/nowhere/at/all"][..],
            "no store is at /nowhere/at/all",
        ),
        (
            &["serve", "--store", here, "--listen", &taken],
            "cannot listen on",
        ),
        (&["serve", "--listen", "everywhere"], "--listen"),
        (&["export", here], "no history is there"),
    ] {
        let output = workloads().args(args).output().expect("starts");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(254), "{said}");
        assert!(said.contains(expected) && said.lines().count() == 1, "{said}");
    }
}

#[test]
fn a_run_is_seen_while_it_goes_on_and_its_export_has_its_verdict() {
    let dir = tempfile::tempdir().expect("a folder");
    let store = dir.path().join("store");
    let mut run = workloads()
        .args([
            "run",
            "--nodes",
            "3",
            "--nemesis",
            "pause",
            "--rate",
            "200",
            "--seed",
            "1",
            "--time-limit",
            "10s",
            "--store",
        ])
        .arg(&store)
        .stdout(Stdio::null())
        .spawn()
        .expect("starts");
    let deadline = Instant::now() + PATIENCE;
    while !store.join("current/history.jsonl").is_file() {
        assert!(Instant::now() < deadline, "no run began");
        std::thread::sleep(Duration::from_millis(20));
    }
    let server = Server::of(&store);
    let (_, _, body) = server.get("/");
    assert!(
        body.contains("▸ running") && body.contains("href=\"/live/kvnode-mix/"),
        "{body}"
    );
    let (status, _, body) = server.get("/live/current");
    assert_eq!(status, 200);
    assert!(
        body.contains("http-equiv=\"refresh\"") && body.contains("no violation so far"),
        "{body}"
    );
    // The stream ends by itself, with the run.
    let (status, head, body) = server.get("/events/current");
    assert_eq!(status, 200);
    assert!(head.contains("text/event-stream"), "{head}");
    run.wait().expect("waits");
    let views: Vec<serde_json::Value> = body
        .lines()
        .filter_map(|line| line.strip_prefix("data: {"))
        .map(|rest| serde_json::from_str(&format!("{{{rest}")).expect("a view"))
        .collect();
    let last = views.last().expect("views");
    assert!(
        views.len() > 3 && last["ok"].as_u64() > views[0]["ok"].as_u64(),
        "{body}"
    );
    assert!(
        views
            .iter()
            .any(|view| view["faults"].as_array().is_some_and(|on| !on.is_empty())),
        "{body}"
    );
    assert!(views.iter().any(|view| view["phase"] == "load"), "{body}");
    assert_eq!(
        (&last["over"], &last["violated"], &last["phase"]),
        (&true.into(), &false.into(), &"over".into())
    );
    assert!(body.contains("event: over"), "{body}");
    let history = fs::read_to_string(store.join("latest/history.jsonl")).expect("read");
    let completed = history.lines().filter(|line| {
        let event: serde_json::Value = serde_json::from_str(line).expect("JSON");
        event["process"].is_u64() && event["type"] == "ok"
    });
    assert_eq!(
        last["ok"].as_u64(),
        Some(completed.count() as u64),
        "every operation was counted once"
    );
    let latest = store.join("latest");
    let output = workloads().arg("export").arg(&latest).output().expect("starts");
    assert_eq!(
        output.status.code(),
        Some(0),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let results = fs::read_to_string(latest.join("results.edn")).expect("written");
    assert!(
        results.contains(":valid? ") && results.contains(":figures {"),
        "{results}"
    );
    let edn = checker::history::History::open(latest.join("history.edn"), &Default::default()).expect("read");
    let ours =
        checker::history::History::open(latest.join("history.jsonl"), &Default::default()).expect("read");
    let legal = |history| {
        let analysis = checker::check(history, &checker::CheckOptions::default()).expect("judged");
        matches!(analysis.verdict, checker::Verdict::Linearizable(_))
    };
    assert_eq!((edn.len(), legal(&edn)), (ours.len(), legal(&ours)));
}

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

/// Opens an address; gives the document after its scripts ran and what was said on the console.
fn open(browser: &str, address: &str, arguments: &[&str]) -> (String, Vec<String>) {
    let profile = tempfile::tempdir().expect("a folder for the browser");
    let output = Command::new("timeout")
        .args([
            "120",
            browser,
            "--headless",
            "--disable-gpu",
            "--hide-scrollbars",
            "--no-first-run",
        ])
        // Chromium's own sandbox needs what a container or a root user has not; the pages are ours.
        .args([
            "--disable-dev-shm-usage",
            "--no-sandbox",
            "--enable-logging=stderr",
            "--virtual-time-budget=2000",
        ])
        .arg(format!("--user-data-dir={}", profile.path().display()))
        .args(arguments)
        .arg(address)
        .stdin(Stdio::null())
        .output()
        .expect("the browser runs");
    let console = String::from_utf8_lossy(&output.stderr);
    let console = console
        .lines()
        .filter(|line| line.contains(":CONSOLE"))
        .map(str::to_owned)
        .collect();
    (String::from_utf8_lossy(&output.stdout).into_owned(), console)
}

#[test]
fn the_pages_run_in_a_browser_without_complaint() {
    let Some(browser) = browser() else {
        assert!(
            std::env::var_os("CI").is_none(),
            "CI needs Chromium or Chrome for this test"
        );
        eprintln!("skipped: no Chromium or Chrome to open the pages in");
        return;
    };
    let binary = std::env::current_exe().expect("the test's own path");
    let folder = binary
        .parent()
        .and_then(Path::parent)
        .expect("target/debug")
        .join("serve-samples");
    fs::create_dir_all(&folder).expect("a folder for the pictures");
    let dir = tempfile::tempdir().expect("a folder");
    let server = Server::of(&store(dir.path()));
    let pages = [
        ("runs", "/".to_owned()),
        ("run", format!("/run/{OTHER}")),
        ("compare", format!("/compare?run={RUN}&run={OTHER}")),
    ];
    for (name, path) in pages {
        let address = format!("http://{}{path}", server.address);
        let (document, console) = open(browser, &address, &["--dump-dom"]);
        assert_eq!(console, Vec::<String>::new(), "{name}");
        assert!(
            document.contains("class=\"live\""),
            "{name}: the page's script did not run to its end"
        );
        assert!(
            !document.contains("<img"),
            "{name}: what a store says became a part of the page"
        );
        for (theme, flags) in [("light", ""), ("dark", "--blink-settings=preferredColorScheme=0")] {
            let picture = folder.join(format!("{name}-{theme}.png"));
            let _ = fs::remove_file(&picture);
            let screenshot = format!("--screenshot={}", picture.display());
            let mut arguments = vec![screenshot.as_str(), "--window-size=1280,900"];
            arguments.extend((!flags.is_empty()).then_some(flags));
            open(browser, &address, &arguments);
            assert!(
                fs::metadata(&picture).is_ok_and(|file| file.len() > 10_000),
                "{}",
                picture.display()
            );
        }
    }
}

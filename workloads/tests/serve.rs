//! The store in a browser: routes, what must not escape, a run under way, and the pages in Chromium.
//!
//! Pictures stay beside the test's binary, in `serve-samples/`, to be looked at.

mod patience;
mod program;

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

use browser::{Browser, Scheme};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use patience::{PATIENCE, wait_until};
use program::{folder, said, workloads};

/// A server of a store, ended when dropped.
struct Server {
    child: Child,
    address: SocketAddr,
}

impl Server {
    fn of(store: &Path) -> Self {
        let mut child = workloads(store)
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
    let dir = folder();
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
    let dir = folder();
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
        let output = workloads(dir.path()).args(args).output().expect("starts");
        let (code, _, errors) = said(&output);
        assert_eq!(code, Some(254), "{errors}");
        assert!(
            errors.contains(expected) && errors.lines().count() == 1,
            "{errors}"
        );
    }
}

#[test]
fn a_run_is_seen_while_it_goes_on_and_its_export_has_its_verdict() {
    let dir = folder();
    let store = dir.path().join("store");
    let mut run = under_way(&store);
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
    let output = workloads(dir.path())
        .arg("export")
        .arg(&latest)
        .output()
        .expect("starts");
    let (code, _, errors) = said(&output);
    assert_eq!(code, Some(0), "{errors}");
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

/// Starts a short run with a store of its own, and waits until it records its history.
fn under_way(store: &Path) -> Child {
    let mut child = workloads(store)
        .args(["run", "--nodes", "3", "--nemesis", "pause", "--rate", "200"])
        .args(["--seed", "1", "--time-limit", "10s", "--store"])
        .arg(store)
        .stdout(Stdio::null())
        .spawn()
        .expect("starts");
    let begun = || {
        assert!(
            child.try_wait().expect("waits").is_none(),
            "the run ended before it began"
        );
        store.join("current/history.jsonl").is_file()
    };
    wait_until(begun, || "no run began".to_owned());
    child
}

/// Pictures of what is open, by day, by night and on a telephone, where it must fit.
fn pictures(browser: &Browser, name: &str) {
    let kept = browser::samples("serve-samples");
    for (width, scheme, picture) in [
        (1280, Scheme::Light, "light"),
        (1280, Scheme::Dark, "dark"),
        (400, Scheme::Light, "narrow"),
    ] {
        browser.room(width, 900);
        browser.look(scheme);
        let wide = browser.ask("return document.documentElement.scrollWidth");
        assert!(
            wide.as_u64() <= Some(width.into()),
            "{name} {picture}: {wide} pixels wide"
        );
        let path = kept.join(format!("{name}-{picture}.png"));
        assert!(browser.picture(&path) > 10_000, "{}", path.display());
    }
    browser.room(1280, 900);
    browser.look(Scheme::Light);
}

#[test]
fn the_pages_run_in_a_browser_without_complaint() {
    let Some(browser) = Browser::start() else { return };
    let dir = folder();
    let server = Server::of(&store(dir.path()));
    let pages = [
        ("runs", "/".to_owned()),
        ("run", format!("/run/{OTHER}")),
        ("compare", format!("/compare?run={RUN}&run={OTHER}")),
    ];
    for (name, path) in pages {
        browser.open(&format!("http://{}{path}", server.address));
        assert_eq!(browser.console(), Vec::<String>::new(), "{name}");
        let document = browser.document();
        assert!(
            document.contains("class=\"live\""),
            "{name}: the page's script did not run to its end"
        );
        assert!(
            !document.contains("<img"),
            "{name}: what a store says became a part of the page"
        );
        pictures(&browser, name);
    }
    // By keys alone: the newest run and the one before it, marked and compared.
    browser.open(&format!("http://{}/", server.address));
    browser.press("jxjx");
    let marked = "document.querySelectorAll('table.runs input:checked').length";
    assert_eq!(browser.ask(&format!("return {marked}")), 2);
    assert_eq!(browser.console(), Vec::<String>::new());
}

#[test]
fn a_run_is_watched_in_a_browser_until_its_verdict() {
    let Some(browser) = Browser::start() else { return };
    let dir = folder();
    let store = dir.path().join("store");
    let mut run = under_way(&store);
    let server = Server::of(&store);
    // From the table to the run that goes on, as a person gets there.
    browser.open(&format!("http://{}/", server.address));
    let there = browser.ask("return document.querySelector('a[href^=\"/live/\"]').href");
    browser.open(there.as_str().expect("a link to the live view"));

    let shown = |name: &str| format!("document.querySelector('[data-live=\"{name}\"]').textContent");
    browser.wait_until("Number(document.querySelector('#live').dataset.seen) >= 1");
    assert_eq!(browser.ask(&format!("return {}", shown("phase"))), "load");
    assert_eq!(
        browser.ask(&format!("return {}", shown("verdict"))),
        "no violation so far"
    );
    // It moves without being loaded again.
    let before = browser.ask(&format!(
        "window.sameDocument = true; return Number({})",
        shown("ok")
    ));
    let more = format!(
        "Number({}) > {before} && parseInt({}) > 0",
        shown("ok"),
        shown("rate")
    );
    browser.wait_until(&more);
    browser.wait_until(&format!("{}.includes('pause')", shown("faults")));
    assert_eq!(browser.ask("return window.sameDocument"), true);
    assert_eq!(browser.console(), Vec::<String>::new());
    pictures(&browser, "live");

    // It ends where the verdict is, and with the run's own.
    browser.wait_until("location.pathname.startsWith('/run/') && document.readyState === 'complete'");
    run.wait().expect("waits");
    let results = fs::read(store.join("latest/results.json")).expect("written");
    let results: serde_json::Value = serde_json::from_slice(&results).expect("JSON");
    let sentence = results["sentence"].as_str().expect("a sentence");
    let page = browser.ask("return document.querySelector('.verdict').innerText");
    assert!(
        page.as_str().is_some_and(|page| page.contains(sentence)),
        "{sentence} in {page}"
    );
    // On a busy machine the run may have done too little to be evidence; wrong it is not.
    assert_ne!(results["valid"], false, "{sentence}");
    assert_eq!(browser.console(), Vec::<String>::new());
    pictures(&browser, "over");
}

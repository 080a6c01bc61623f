//! `kvnode client` on a terminal: a prompt, completion, history; and the forms that need
//! none.

use std::io::{Read, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use crate::harness::{Cluster, eventually};
use crate::restored::{kvnode, succeeded, text};

/// A client on a pseudo-terminal, which `script` (of bsdutils, part of every Debian) makes.
struct Terminal {
    child: Child,
    keys: Option<ChildStdin>,
    shown: Arc<Mutex<Vec<u8>>>,
    /// Bytes of it that were looked at.
    seen: usize,
}

impl Terminal {
    fn open(url: &str) -> Terminal {
        let mut child = Command::new("script")
            .args(["--quiet", "--flush", "--return", "--command"])
            .arg(format!(
                "exec {} client --urls {url}",
                env!("CARGO_BIN_EXE_kvnode")
            ))
            .arg("/dev/null")
            .env("TERM", "xterm")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("script starts: it is in the package bsdutils");
        let shown = Arc::new(Mutex::new(Vec::new()));
        let (mut screen, into) = (child.stdout.take().expect("its output"), shown.clone());
        std::thread::spawn(move || {
            let mut piece = [0; 1024];
            while let Ok(count @ 1..) = screen.read(&mut piece) {
                into.lock()
                    .expect("the screen")
                    .extend_from_slice(&piece[..count]);
            }
        });
        let keys = child.stdin.take();
        Terminal {
            child,
            keys,
            shown,
            seen: 0,
        }
    }

    fn press(&mut self, keys: &str) {
        let to = self.keys.as_mut().expect("the terminal is open");
        to.write_all(keys.as_bytes())
            .and_then(|()| to.flush())
            .expect("the keys are taken");
    }

    /// Waits for this text in what was not looked at yet; tells what came up to its end.
    fn shows(&mut self, want: &str) -> String {
        let (shown, seen) = (self.shown.clone(), self.seen);
        let told = eventually(want, move || {
            let all = shown.lock().expect("the screen");
            let new = text(&all[seen..]);
            let at = new.find(want)?;
            Some(new[..at + want.len()].to_owned())
        });
        self.seen += told.len();
        told
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!(
                "--- the screen\n{}",
                text(&self.shown.lock().expect("the screen"))
            );
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

const UP: &str = "\x1b[A";

#[test]
fn a_person_has_a_prompt_completion_and_history() {
    let cluster = Cluster::started(1, &[]);
    let mut terminal = Terminal::open(&format!("http://{}", cluster.http(1)));
    terminal.shows("kvnode> ");
    // The first word is completed, and the line is sent as it then stands.
    terminal.press("app\t");
    terminal.shows("append ");
    terminal.press("k \"a b\"\r");
    terminal.shows("\"ok\": true");
    terminal.shows("kvnode> ");
    assert_eq!(cluster.get(1, "/get?key=k").json()["value"], "a b");
    terminal.press("get k\r");
    terminal.shows("\"value\": \"a b\"");
    terminal.shows("kvnode> ");
    // Two lines back is the append, which is done again.
    terminal.press(&format!("{UP}{UP}"));
    terminal.shows("append k \"a b\"");
    terminal.press("\r");
    terminal.shows("\"ok\": true");
    terminal.shows("kvnode> ");
    assert_eq!(cluster.get(1, "/get?key=k").json()["value"], "a ba b");
    // What makes no sense is told, and ends nothing; neither does Ctrl-C.
    terminal.press("fly k\r");
    terminal.shows("'fly' makes no sense so");
    terminal.shows("kvnode> ");
    terminal.press("set k=lost\x03");
    terminal.shows("kvnode> ");
    terminal.press("status\r");
    terminal.shows("\"role\": \"leader\"");
    terminal.shows("kvnode> ");
    assert_eq!(cluster.get(1, "/get?key=k").json()["value"], "a ba b");
    // A watch goes on until Ctrl-C, and then there is the prompt again.
    terminal.press("watch w\r");
    let shown = terminal.shown.clone();
    eventually("a change is shown", || {
        assert_eq!(cluster.get(1, "/set?key=w&value=1").status, 200);
        text(&shown.lock().expect("the screen"))
            .contains("\"key\":\"w\"")
            .then_some(())
    });
    terminal.press("\x03");
    terminal.shows("kvnode> ");
    terminal.press("get w\r");
    terminal.shows("\"value\": \"1\"");
    terminal.shows("kvnode> ");
    terminal.press("\x04");
    let status = eventually("the client ends", || {
        terminal.child.try_wait().expect("its status")
    });
    assert!(status.success(), "{status}");
}

/// The forms that are not tried elsewhere, each one process.
#[test]
fn one_line_needs_no_terminal() {
    let cluster = Cluster::started(1, &[]);
    let url = format!("http://{}", cluster.http(1));
    let ask = |words: &[&str]| -> Value {
        let told = succeeded(&kvnode(&[&["client", "--urls", &url][..], words].concat(), &[]));
        serde_json::from_str(&told).unwrap_or_else(|error| panic!("{words:?}: {error}: {told}"))
    };
    assert_eq!(ask(&["cas", "k", "-", "first"])["ok"], true);
    assert_eq!(ask(&["set", "k=second"])["ok"], true);
    assert_eq!(ask(&["get", "k"])["value"], "second");
    assert_eq!(ask(&["scan", "k"])["entries"][0]["key"], "k");
    assert_eq!(ask(&["status"])["node"], "n1");
    assert_eq!(ask(&["members"])["leader"], "n1");
    assert_eq!(ask(&["delete", "k"])["ok"], true);
    let gone = kvnode(&["client", "--urls", &url, "get", "k"], &[]);
    assert_eq!(gone.status.code(), Some(1), "{gone:?}");
    let help = kvnode(&["client", "--urls", &url, "help"], &[]);
    assert!(text(&help.stdout).contains("cas K OLD NEW"), "{help:?}");

    let mut watch = Command::new(env!("CARGO_BIN_EXE_kvnode"))
        .args(["client", "--urls", &url, "watch", "w"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("kvnode starts");
    let mut events = watch.stdout.take().expect("its output");
    let told = std::thread::spawn(move || {
        let (mut line, mut byte) = (Vec::new(), [0]);
        while !line.ends_with(b"\n") && events.read(&mut byte).is_ok_and(|count| count == 1) {
            line.push(byte[0]);
        }
        text(&line)
    });
    // It watches from when it was heard on, so that an early change may have passed.
    eventually("a change is told", || {
        assert_eq!(cluster.get(1, "/set?key=w&value=1").status, 200);
        told.is_finished().then_some(())
    });
    let _ = watch.kill();
    let _ = watch.wait();
    let event: Value = serde_json::from_str(&told.join().expect("a line")).expect("JSON");
    assert_eq!(event["changes"][0]["key"], "w", "{event}");
}

/// Whoever watches misses nothing and is told nothing twice, although his node is killed.
#[test]
fn a_watch_goes_on_at_another_node() {
    let mut cluster = Cluster::started(3, &[]);
    let urls: Vec<String> = cluster
        .numbers()
        .map(|node| format!("http://{}", cluster.http(node)))
        .collect();
    let mut watch = Command::new(env!("CARGO_BIN_EXE_kvnode"))
        .args(["client", "--urls", &urls.join(","), "watch", "w"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("kvnode starts");
    let mut events = watch.stdout.take().expect("its output");
    let told = Arc::new(Mutex::new(Vec::new()));
    let into = told.clone();
    std::thread::spawn(move || {
        let mut piece = [0; 1024];
        while let Ok(count @ 1..) = events.read(&mut piece) {
            into.lock().expect("events").extend_from_slice(&piece[..count]);
        }
    });
    let heard = |key: &str| {
        text(&told.lock().expect("events"))
            .matches(&format!("\"{key}\""))
            .count()
    };
    let mut number = 0;
    // Under a name of its own each, or one whose answer was lost would be done twice.
    let mut write = |cluster: &Cluster, key: &str| {
        number += 1;
        let (name, set) = (format!("writer:{number}"), json!({ "key": key, "value": "1" }));
        eventually("a write", || {
            (cluster.post_named(2, "/set", &name, &set).status == 200).then_some(())
        });
    };
    // It watches from when it was heard on, so that an early change may have passed.
    eventually("it watches", || {
        write(&cluster, "w-first");
        (heard("w-first") > 0).then_some(())
    });
    write(&cluster, "w-before");
    eventually("a change at the first node", || {
        (heard("w-before") == 1).then_some(())
    });
    cluster.kill(1);
    for n in 0..20 {
        write(&cluster, &format!("w-{n}-after"));
    }
    eventually("the last change", || (heard("w-19-after") > 0).then_some(()));
    for n in 0..20 {
        assert_eq!(heard(&format!("w-{n}-after")), 1, "{n}");
    }
    assert_eq!(heard("w-before"), 1);
    let _ = watch.kill();
    let _ = watch.wait();
}

/// A command whose output nobody reads, as in `kvnode ... | head -1`, and whose complaints
/// nobody hears: it does what it was asked, and ends in silence with the code that it would
/// have ended with.
#[test]
fn nobody_need_read_what_is_said() {
    let mut cluster = Cluster::started(1, &[]);
    let url = format!("http://{}", cluster.http(1));
    let folder = tempfile::tempdir().unwrap();
    let place = format!("file://{}", folder.path().display());
    let unread = |words: &[&str]| -> Child {
        let closed = || {
            let (reader, writer) = std::io::pipe().expect("a pipe");
            drop(reader);
            Stdio::from(writer)
        };
        Command::new(env!("CARGO_BIN_EXE_kvnode"))
            .args(words)
            .stdin(Stdio::null())
            .stdout(closed())
            .stderr(closed())
            .spawn()
            .expect("kvnode starts")
    };
    let ends = |words: &[&str], code: i32| {
        let status = unread(words).wait().expect("its status");
        assert_eq!(status.code(), Some(code), "{words:?}: {status}");
    };
    ends(&["client", "--urls", &url, "set", "k=v"], 0);
    assert_eq!(cluster.get(1, "/get?key=k").json()["value"], "v");
    ends(&["client", "--urls", &url, "get", "nothing"], 1);
    ends(&["client", "help"], 0);
    ends(&["client", "fly"], 254);
    ends(&["admin", "--urls", &url, "members"], 0);
    ends(&["backup", "--to", &place, "--urls", &url], 0);
    ends(&["backup", "list", &place], 0);
    ends(&["backup", "verify", &place], 0);
    ends(&["backup", "list", "nowhere"], 254);
    ends(&["token", "read"], 0);
    ends(&["--dev", "--check-config"], 0);
    ends(&["--help"], 0);
    // What would go on for long does not.
    ends(&["bench", "--figure", "steady"], 0);
    let mut watch = unread(&["client", "--urls", &url, "watch"]);
    let status = eventually("the watch ends with the first change that nobody reads", || {
        assert_eq!(cluster.get(1, "/set?key=w&value=1").status, 200);
        watch.try_wait().expect("its status")
    });
    assert!(status.success(), "{status}");
    // A node serves on, whatever it has to say.
    let port = || kvnode::env::net::free_port(0).expect("a free port");
    let (http, data) = (port(), folder.path().join("data"));
    let data = data.to_str().expect("a path of UTF-8");
    let spec = format!("n1=127.0.0.1:{http}:{}", port());
    let mut node = unread(&["--node", "n1", "--cluster", &spec, "--data-dir", data]);
    let url = format!("http://127.0.0.1:{http}");
    eventually("it serves although nobody reads its log", || {
        let told = kvnode(&["client", "--urls", &url, "set", "k=v"], &[]);
        told.status.success().then_some(())
    });
    cluster.kill(1);
    let data = cluster.data(1);
    ends(&["inspect", data.to_str().expect("a path of UTF-8")], 0);
    ends(&["inspect", "/nowhere"], 254);
    let _ = node.kill();
    let _ = node.wait();
}

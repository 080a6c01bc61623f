//! Clients that dawdle, flood, or never leave.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::harness::{Cluster, PATIENCE, eventually, now, read};
use crate::http::{self, connect};

/// Connections that stay and say nothing.
const IDLE: usize = 10_000;
/// What they may cost together, bytes.
const IDLE_BYTES: u64 = 200 << 20;

/// Waits until the node hangs up; whatever it says before that is returned.
fn hung_up(stream: &mut TcpStream) -> Vec<u8> {
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut told = Vec::new();
    match stream.read_to_end(&mut told) {
        Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => panic!("the node does not hang up"),
        // A reset is a way to hang up.
        _ => told,
    }
}

#[test]
fn whoever_dawdles_is_hung_up_on_and_holds_nobody_up() {
    let cluster = Cluster::started(1, &["--patience-ms", "2000", "--idle-ms", "3000"]);
    let to = cluster.http(1);
    let value = "v".repeat(1 << 20);
    for key in 0..8 {
        let body = serde_json::json!({ "key": format!("big{key}"), "value": value }).to_string();
        assert_eq!(cluster.ask(1, "POST", "/set", body.as_bytes()).status, 200);
    }
    let begun = |bytes: &[u8]| {
        let mut stream = connect(to).unwrap();
        stream.write_all(bytes).unwrap();
        stream
    };
    let mut silent = begun(b"");
    let mut kept = begun(b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n");
    let mut in_head = begun(b"GET /health HT");
    let mut in_body = begun(b"POST /set HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{\"key\"");
    // Answers of 4 MiB each, none of which is ever taken.
    let mut deaf = begun(&b"GET /scan?prefix=big HTTP/1.1\r\nhost: x\r\n\r\n".repeat(20));
    // Slow loris: a byte now and then, so that no single pause is long.
    let loris: Vec<_> = (0..50)
        .map(|_| {
            std::thread::spawn(move || {
                let mut stream = connect(to).unwrap();
                stream.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
                let begun = now();
                let mut byte = [0];
                while stream.write_all(b"x").is_ok() {
                    assert!(begun.elapsed() < PATIENCE, "a slow head is never ended");
                    match stream.read(&mut byte) {
                        Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                        _ => return,
                    }
                }
            })
        })
        .collect();
    for n in 0..50 {
        assert_eq!(cluster.get(1, &format!("/set?key=k&value={n}")).status, 200);
    }
    assert!(hung_up(&mut in_head).is_empty());
    let told = String::from_utf8(hung_up(&mut in_body)).unwrap();
    assert!(
        told.starts_with("HTTP/1.1 504") && told.contains("not_applied"),
        "{told}"
    );
    assert!(hung_up(&mut silent).is_empty());
    assert!(hung_up(&mut kept).starts_with(b"HTTP/1.1 200"));
    loris.into_iter().for_each(|thread| thread.join().unwrap());
    eventually("only this connection is left", || {
        let metrics = String::from_utf8(cluster.get(1, "/metrics").body).unwrap();
        metrics.contains("\nkvnode_work_under_way 1\n").then_some(())
    });
    // The deaf one was hung up on too: what it takes now is not all of it.
    assert!(hung_up(&mut deaf).len() < 20 * (4 << 20));
}

#[test]
fn connections_beyond_the_limit_are_refused_in_words() {
    let cluster = Cluster::started(1, &["--max-connections", "5"]);
    let to = cluster.http(1);
    let refused = || {
        http::request(to, "GET", "/health", b"")
            .ok()
            .filter(|answer| answer.status == 503)
    };
    let crowd: Vec<TcpStream> = (0..5).map(|_| connect(to).unwrap()).collect();
    let answer = eventually("the sixth is refused", refused);
    assert_eq!(answer.json()["error"], "too_many_connections");
    drop(crowd);
    eventually("there is room again", || cluster.try_get(1, "/health"));
    let metrics = String::from_utf8(cluster.get(1, "/metrics").body).unwrap();
    assert!(
        !metrics.contains("kvnode_connections_refused_total 0\n"),
        "{metrics}"
    );
}

#[test]
fn heads_are_bounded() {
    let cluster = Cluster::started(1, &[]);
    for head in [
        format!(
            "GET /health HTTP/1.1\r\nhost: x\r\nx: {}\r\n\r\n",
            "y".repeat(1 << 20)
        ),
        format!(
            "GET /health HTTP/1.1\r\nhost: x\r\n{}\r\n",
            "x: y\r\n".repeat(100)
        ),
        format!("GET /{} HTTP/1.1\r\nhost: x\r\n\r\n", "y".repeat(1 << 20)),
    ] {
        // Refused or hung up on, and never read to its end.
        if let Ok(answer) = http::raw(cluster.http(1), head.as_bytes()) {
            assert!(matches!(answer.status, 400 | 414 | 431), "{}", answer.status);
        }
    }
    assert_eq!(cluster.get(1, "/health").status, 200);
}

fn resident(pid: u32) -> u64 {
    let status = read(std::path::Path::new(&format!("/proc/{pid}/status")));
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kib.expect("the memory of a process") << 10
}

#[test]
fn ten_thousand_idle_connections_cost_little() {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).unwrap();
    let count = IDLE.min(hard.saturating_sub(1000) as usize);
    let cluster = Cluster::started(1, &[]);
    let before = resident(cluster.pid(1));
    let request = b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n";
    let mut answer = [0; 1024];
    let idle: Vec<TcpStream> = (0..count)
        .map(|_| {
            let mut stream = connect(cluster.http(1)).unwrap();
            // One that has been used holds buffers.
            stream.write_all(request).unwrap();
            assert!(stream.read(&mut answer).unwrap() > 0);
            stream
        })
        .collect();
    let after = resident(cluster.pid(1));
    let metrics = String::from_utf8(cluster.get(1, "/metrics").body).unwrap();
    let open = format!("\nkvnode_work_under_way {}\n", count + 1);
    assert!(metrics.contains(&open), "they are open: {metrics}");
    println!(
        "{count} idle connections: {} MiB more",
        (after.saturating_sub(before)) >> 20
    );
    let allowed = IDLE_BYTES * count as u64 / IDLE as u64;
    assert!(
        after.saturating_sub(before) < allowed,
        "{before} bytes, then {after}"
    );
    drop(idle);
}

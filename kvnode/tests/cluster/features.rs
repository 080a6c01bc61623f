//! Everything beyond set, get and cas.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;

use serde_json::{Value, json};

use crate::harness::{Cluster, PATIENCE, eventually};
use crate::http;

#[test]
fn a_repeated_request_is_executed_once_whoever_leads() {
    let mut cluster = Cluster::started(3, &["--snapshot-every", "20", "--log-keep", "0"]);
    let body = |value: &str| json!({ "key": "k", "value": value });
    let first = cluster.post_named(1, "/append", "me:1", &body("a"));
    assert_eq!((first.status, first.header("x-ordeal-repeated")), (200, None));
    for number in [9, 3, 7] {
        assert_eq!(
            cluster
                .post_named(2, "/append", &format!("me:{number}"), &body("b"))
                .status,
            200
        );
    }
    let again = cluster.post_named(3, "/append", "me:1", &body("a"));
    assert_eq!((again.status, again.json()), (200, first.json()));
    assert_eq!(again.header("x-ordeal-repeated"), Some("1"));
    let reused = cluster.post_named(3, "/append", "me:1", &body("other"));
    assert_eq!(
        (reused.status, &reused.json()["error"]),
        (422, &json!("key_reused"))
    );
    for wrong in ["me", "me:", ":1", "me:-1", "me:x"] {
        assert_eq!(
            cluster.post_named(1, "/append", wrong, &body("a")).status,
            400,
            "{wrong}"
        );
    }
    // Through snapshots, restarts of all, and another leader.
    for n in 0..60 {
        assert_eq!(cluster.get(1, &format!("/set?key=x{n}&value=1")).status, 200);
    }
    cluster.converged();
    cluster.kill_all();
    cluster.start_all();
    let leader = cluster.leader();
    cluster.kill(leader);
    cluster.leader();
    let other = leader % 3 + 1;
    for number in [3, 1, 9, 7] {
        let value = if number == 1 { "a" } else { "b" };
        let again = cluster.post_named(other, "/append", &format!("me:{number}"), &body(value));
        assert_eq!(
            (again.status, again.header("x-ordeal-repeated")),
            (200, Some("1")),
            "{number}"
        );
    }
    assert_eq!(cluster.get(other, "/get?key=k").json()["value"], "abbb");
    cluster.start(leader);
    cluster.converged();
}

#[test]
fn append_delete_and_the_kvraft_form() {
    let cluster = Cluster::started(3, &[]);
    assert_eq!(cluster.get(1, "/append?key=k&value=a").status, 200);
    assert_eq!(cluster.get(2, "/append?key=k&value=b").status, 200);
    assert_eq!(cluster.get(3, "/get?key=k&raw=1").body, b"ab");
    assert_eq!(cluster.get(3, "/delete?key=k").json()["deleted"], true);
    assert_eq!(cluster.get(2, "/delete?key=k").json()["deleted"], false);
    assert_eq!(cluster.get(1, "/get?key=k").status, 404);

    let path = "/kvraft/a%2Fb+c";
    assert_eq!(cluster.get(1, path).status, 404);
    let set = cluster.ask(2, "POST", path, b"{\"value\":\"v\"}");
    assert_eq!((set.status, set.json()), (200, json!({ "success": true })));
    assert_eq!(cluster.get(3, path).json(), json!({ "value": "v" }));
    assert_eq!(cluster.get(3, "/get?key=a/b%2Bc").json()["value"], "v");
    for body in [
        &b"{\"value\":"[..],
        b"{}",
        b"",
        b"{\"value\":1}",
        b"{\"value\":\"v\",\"x\":1}",
    ] {
        assert_eq!(cluster.ask(1, "POST", path, body).status, 400);
    }
    assert_eq!(cluster.get(1, path).json(), json!({ "value": "v" }));
    assert_eq!(cluster.ask(1, "PUT", path, b"").status, 405);
    assert_eq!(
        cluster.ask(3, "DELETE", path, b"").json(),
        json!({ "success": true })
    );
    assert_eq!(cluster.ask(2, "DELETE", path, b"").status, 404);
    // Versions go on where they were, also after a delete.
    let version = |answer: http::Answer| answer.json()["version"].as_u64().unwrap();
    let before = version(cluster.get(1, "/set?key=v&value=1"));
    cluster.get(1, "/delete?key=v");
    assert!(version(cluster.get(1, "/set?key=v&value=1")) > before);
}

#[test]
fn reads_are_as_fresh_as_asked() {
    let mut cluster = Cluster::started(3, &["--deadline-ms", "700"]);
    let leader = cluster.leader();
    let follower = leader % 3 + 1;
    let set = cluster.get(leader, "/set?key=k&value=v").json();
    let index = set["index"].as_u64().unwrap();
    for level in ["linearizable", "lease", "log"] {
        for node in cluster.numbers() {
            let get = cluster.get(node, &format!("/get?key=k&level={level}"));
            assert_eq!(
                (get.status, &get.json()["value"]),
                (200, &json!("v")),
                "{level} at n{node}"
            );
            assert!(get.header("x-ordeal-index").unwrap().parse::<u64>().unwrap() >= index);
            assert_eq!(get.header("x-ordeal-served-by"), Some(&*format!("n{node}")));
            assert_eq!(get.header("x-ordeal-leader"), Some(&*format!("n{leader}")));
            assert!(get.header("x-ordeal-term").is_some());
        }
    }
    let stale = cluster.get(follower, &format!("/get?key=k&level=stale&min_index={index}"));
    assert_eq!(stale.json()["value"], "v");
    assert!(stale.header("x-ordeal-lag-ms").unwrap().parse::<u64>().unwrap() < 30_000);
    assert_eq!(cluster.get(1, "/get?key=k&level=fresh").status, 400);
    assert_eq!(cluster.get(1, "/get?key=k&min_index=999999999").status, 504);
    // Alone, a node can only say what it last knew, and how old that may be.
    for node in cluster.numbers().filter(|&node| node != follower) {
        cluster.kill(node);
    }
    let lag = || {
        let stale = cluster.get(follower, "/get?key=k&level=stale");
        assert_eq!(stale.json()["value"], "v");
        stale.header("x-ordeal-lag-ms").unwrap().parse::<u64>().unwrap()
    };
    eventually("the lag grows", || (lag() > 500).then_some(()));
    for level in ["linearizable", "lease", "log"] {
        let get = cluster.get(follower, &format!("/get?key=k&level={level}"));
        assert!(matches!(get.status, 503 | 504), "{level}: {}", get.status);
        assert_eq!(get.json()["outcome"], "not_applied");
    }
}

#[test]
fn transactions_and_scans() {
    let cluster = Cluster::started(3, &[]);
    let txn = |node: usize, body: Value| cluster.ask(node, "POST", "/txn", body.to_string().as_bytes());
    let move_it = json!({
        "compare": [{ "key": "a", "expected": null }, { "key": "b", "expected_version": 0 }],
        "then": [{ "op": "set", "key": "a", "value": "1" }, { "op": "append", "key": "a", "value": "2" }],
        "else": [{ "op": "get", "key": "a" }, { "op": "delete", "key": "a" }],
    });
    let done = txn(1, move_it.clone());
    assert_eq!(
        (done.status, &done.json()["succeeded"]),
        (200, &json!(true)),
        "{}",
        done.json()
    );
    let undone = txn(2, move_it).json();
    assert_eq!(undone["succeeded"], false);
    assert_eq!(undone["results"][0]["value"], "12");
    assert_eq!(undone["results"][1], json!({ "deleted": true }));
    for wrong in [
        json!({}),
        json!({ "then": [{ "op": "cas", "key": "a", "value": "b" }] }),
        json!({ "then": [{ "op": "get", "key": "a", "value": "b" }] }),
        json!({ "then": { "op": "get", "key": "a" } }),
        json!({ "compare": [{ "key": "a" }] }),
        json!({ "then": [{ "op": "set", "key": "z", "value": "1" }, { "op": "set", "key": "" , "value": "1" }] }),
    ] {
        assert_eq!(txn(3, wrong.clone()).status, 400, "{wrong}");
    }
    assert_eq!(
        cluster.get(3, "/get?key=z").status,
        404,
        "half of a wrong transaction was done"
    );

    for key in ["p/3", "p/1", "q", "p/2"] {
        assert_eq!(cluster.get(1, &format!("/set?key={key}&value={key}")).status, 200);
    }
    let scan = cluster.get(2, "/scan?prefix=p/&limit=2").json();
    let keys = |scan: &Value| -> Vec<String> {
        scan["entries"]
            .as_array()
            .unwrap()
            .iter()
            .map(|entry| entry["key"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(
        (keys(&scan), &scan["more"]),
        (vec!["p/1".to_owned(), "p/2".to_owned()], &json!(true))
    );
    let rest = cluster.get(3, "/scan?prefix=p/&limit=2&after=p/2").json();
    assert_eq!(
        (keys(&rest), &rest["more"]),
        (vec!["p/3".to_owned()], &json!(false))
    );
    assert_eq!(cluster.get(1, "/scan?limit=0").status, 400);
}

#[test]
fn a_key_with_a_time_to_live_ends_everywhere() {
    let cluster = Cluster::started(3, &[]);
    assert_eq!(cluster.get(1, "/set?key=brief&value=v&ttl_ms=300").status, 200);
    assert_eq!(cluster.get(2, "/get?key=brief").status, 200);
    // Nobody writes: the leader lets the clock tick.
    eventually("the key ends", || {
        (cluster.get(3, "/get?key=brief").status == 404).then_some(())
    });
    assert_eq!(cluster.converged()["keys"], 0);
    assert_eq!(cluster.get(1, "/set?key=k&value=v&ttl_ms=0").status, 400);
}

/// Reads events until one has this index; returns all of them.
fn events_until(reader: &mut impl BufRead, index: u64) -> Vec<Value> {
    let mut events = Vec::new();
    let mut line = String::new();
    loop {
        line.clear();
        assert!(
            reader.read_line(&mut line).expect("the stream goes on") > 0,
            "the stream ended"
        );
        if let Some(data) = line.strip_prefix("data: ") {
            let event: Value = serde_json::from_str(data).expect("an event");
            let done = event["index"].as_u64() >= Some(index);
            events.push(event);
            if done {
                return events;
            }
        }
    }
}

fn watch(cluster: &Cluster, node: usize, target: &str) -> BufReader<TcpStream> {
    watch_with(cluster, node, target, "")
}

/// The same with header lines, each ended by `\r\n`.
fn watch_with(cluster: &Cluster, node: usize, target: &str, headers: &str) -> BufReader<TcpStream> {
    let mut stream = http::connect(cluster.http(node)).expect("a connection");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    write!(stream, "GET {target} HTTP/1.1\r\nhost: x\r\n{headers}\r\n").expect("a request");
    let mut reader = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        assert!(reader.read_line(&mut head).expect("a head") > 0);
    }
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    let mut line = String::new();
    while !line.starts_with(": from") {
        line.clear();
        assert!(reader.read_line(&mut line).expect("a greeting") > 0);
    }
    reader
}

#[test]
fn a_watcher_sees_every_change_once_and_in_order() {
    let mut cluster = Cluster::started(3, &[]);
    let index = |answer: http::Answer| answer.json()["index"].as_u64().unwrap();
    let leader = cluster.leader();
    let node = leader % 3 + 1;
    let mut watcher = watch(&cluster, node, "/watch?prefix=w/");
    let first = index(cluster.get(1, "/set?key=w/1&value=a"));
    cluster.get(1, "/set?key=other&value=x");
    let txn = json!({ "then": [
        { "op": "set", "key": "w/1", "value": "b" }, { "op": "set", "key": "w/2", "value": "c" }, { "op": "set", "key": "v", "value": "d" },
    ] });
    let second = index(cluster.ask(2, "POST", "/txn", txn.to_string().as_bytes()));
    let third = index(cluster.get(3, "/delete?key=w/1"));
    let want = vec![
        json!({ "index": first, "changes": [{ "key": "w/1", "value": "a" }] }),
        json!({ "index": second, "changes": [{ "key": "w/1", "value": "b" }, { "key": "w/2", "value": "c" }] }),
        json!({ "index": third, "changes": [{ "key": "w/1", "value": null }] }),
    ];
    assert_eq!(events_until(&mut watcher, third), want);
    // Taken up again at another node, after the first event, with a new leader.
    cluster.kill(leader);
    let other = node % 3 + 1;
    let other = if other == leader { other % 3 + 1 } else { other };
    let mut again = watch(&cluster, other, &format!("/watch?prefix=w/&from={first}"));
    assert_eq!(events_until(&mut again, third), want[1..]);
    cluster.leader();
    let fourth = index(cluster.get(other, "/set?key=w/9&value=z"));
    assert_eq!(events_until(&mut again, fourth).len(), 1);
    let gone = cluster.get(node, "/watch?key=w/1&prefix=w");
    assert_eq!(gone.status, 400);
    // As a browser says where it was cut off. Said so that it does not read, it is not taken
    // for a beginning.
    let last = format!("Last-Event-ID: {second}\r\n");
    let mut resumed = watch_with(&cluster, other, "/watch?key=w/1", &last);
    assert_eq!(events_until(&mut resumed, third), want[2..]);
    for wrong in ["yesterday", "-1", "7.5"] {
        let last = format!("Last-Event-ID: {wrong}\r\n");
        let told = http::request_with(cluster.http(other), "GET", "/watch", &last, b"").unwrap();
        assert_eq!(
            (told.status, &told.json()["error"]),
            (400, &json!("bad_request")),
            "{wrong}"
        );
    }
}

//! What clients are told, by every node.

use serde_json::{Value, json};

use crate::harness::{Cluster, now};
use crate::http;

#[test]
fn every_node_serves_every_request() {
    let cluster = Cluster::started(3, &[]);
    for node in cluster.numbers() {
        let set = cluster.get(node, &format!("/set?key=k&value=v{node}"));
        assert_eq!(set.status, 200, "{:?}", set.json());
        let version = set.json()["version"].as_u64().unwrap();
        assert_eq!(
            set.json(),
            json!({ "ok": true, "version": version, "index": version })
        );
        for reader in cluster.numbers() {
            let get = cluster.get(reader, "/get?key=k").json();
            assert_eq!(
                get,
                json!({ "key": "k", "value": format!("v{node}"), "version": version })
            );
        }

        let body = json!({ "key": "k", "expected": format!("v{node}"), "value": "swapped" }).to_string();
        let cas = cluster.ask(node, "POST", "/cas", body.as_bytes());
        assert_eq!(cas.status, 200, "{:?}", cas.json());
        let again = cluster.ask(node, "POST", "/cas", body.as_bytes());
        assert_eq!(again.status, 409);
        let told = again.json();
        assert_eq!(
            (&told["error"], &told["current"]),
            (&json!("mismatch"), &json!("swapped"))
        );
        assert_eq!(
            (&told["version"], &told["outcome"]),
            (&cas.json()["version"], &json!("not_applied"))
        );
    }
    let absent = json!({ "key": "new", "expected": null, "value": "1" }).to_string();
    assert_eq!(cluster.ask(2, "POST", "/cas", absent.as_bytes()).status, 200);
    let told = cluster.ask(3, "POST", "/cas", absent.as_bytes());
    assert_eq!((told.status, &told.json()["current"]), (409, &json!("1")));
    let missing = cluster.get(1, "/cas?key=nothing&expected=1&value=2");
    assert_eq!((missing.status, &missing.json()["current"]), (409, &Value::Null));
    let version = cluster.get(1, "/get?key=new").json()["version"].clone();
    let by_version = cluster.get(2, &format!("/cas?key=new&expected_version={version}&value=2"));
    assert_eq!(by_version.status, 200);
    assert_eq!(cluster.get(1, "/get?key=new&raw=1").body, b"2");
    cluster.converged();
}

/// What a query says, a query of a POST and a JSON body say as well.
#[test]
fn both_forms_say_the_same_on_every_route_that_writes() {
    let cluster = Cluster::started(1, &[]);
    let value = |key: &str| cluster.get(1, &format!("/get?key={key}")).json()["value"].clone();
    let version = cluster.get(1, "/set?key=v&value=1").json()["version"].clone();
    let steps = [
        (
            "/set",
            "key=k&value=a%20b&ttl_ms=3600000",
            json!({ "key": "k", "value": "a b", "ttl_ms": 3_600_000 }),
            json!("a b"),
        ),
        (
            "/cas",
            "key=k&expected=a+b&value=c",
            json!({ "key": "k", "expected": "a b", "value": "c" }),
            json!("c"),
        ),
        (
            "/append",
            "key=k&value=%C3%A9&deadline_ms=4000",
            json!({ "key": "k", "value": "é", "deadline_ms": 4000 }),
            json!("cé"),
        ),
        (
            "/delete",
            "key=k&forward=0",
            json!({ "key": "k", "forward": false }),
            Value::Null,
        ),
    ];
    for form in ["GET", "POST", "JSON"] {
        for (route, query, body, after) in &steps {
            let answer = match form {
                "JSON" => cluster.ask(1, "POST", route, body.to_string().as_bytes()),
                method => cluster.ask(1, method, &format!("{route}?{query}"), b""),
            };
            assert_eq!(
                (answer.status, &answer.json()["ok"]),
                (200, &json!(true)),
                "{form} {route}"
            );
            assert_eq!(value("k"), *after, "{form} {route}");
        }
    }
    // A version is a number in JSON and digits in a query; a body may complete a query.
    let by_version = json!({ "expected_version": version, "value": "2" }).to_string();
    let cas = cluster.ask(1, "POST", "/cas?key=v", by_version.as_bytes());
    assert_eq!(cas.status, 200, "{}", cas.json());
    let again = cluster.get(1, &format!("/cas?key=v&expected_version={version}&value=3"));
    assert_eq!((again.status, &again.json()["current"]), (409, &json!("2")));

    // HEAD asks and never writes.
    let head = cluster.ask(1, "HEAD", "/set?key=v&value=by-head", b"");
    assert_eq!((head.status, head.header("allow")), (405, Some("GET, POST")));
    let head = cluster.ask(1, "HEAD", "/get?key=v", b"");
    assert_eq!((head.status, head.body.len()), (200, 0));
    assert_eq!(value("v"), "2");
}

#[test]
fn a_follower_sends_those_who_ask_for_it_to_the_leader() {
    let cluster = Cluster::started(3, &[]);
    let leader = cluster.leader();
    let follower = leader % 3 + 1;
    let told = cluster.get(follower, "/set?key=k&value=v&forward=false");
    assert_eq!(told.status, 307);
    let here = format!("http://{}/set?key=k&value=v&forward=false", cluster.http(leader));
    assert_eq!(told.header("location"), Some(&*here));
    assert_eq!(told.json()["outcome"], "not_applied");
    assert_eq!(
        cluster.get(leader, "/set?key=k&value=v&forward=false").status,
        200
    );
}

/// Every wrong request gets its status and a body that says nothing was done.
#[test]
fn wrong_requests_change_nothing() {
    let cluster = Cluster::started(1, &[]);
    let set = cluster.get(1, "/set?key=k&value=before");
    assert_eq!(set.status, 200);
    let long_key = "k".repeat(4097);
    let long_value = json!({ "key": "k", "value": "v".repeat((1 << 20) + 1) }).to_string();
    let huge_body = vec![b' '; (8 << 20) + 1];
    let cases: &[(u16, &str, &str, &[u8])] = &[
        (400, "GET", "/set", b""),
        (400, "GET", "/set?key=k", b""),
        (400, "GET", "/set?value=v", b""),
        (400, "GET", "/set?key=&value=v", b""),
        (400, "GET", "/set?key=k&key=j&value=v", b""),
        (400, "GET", "/set?key=k&value=v&colour=red", b""),
        (400, "GET", "/set?key=k&value=%ff%fe", b""),
        (400, "GET", "/set?key=k&value=%2", b""),
        (400, "GET", "/set?key=k&value=v&deadline_ms=0", b""),
        (400, "GET", "/set?key=k&value=v&deadline_ms=soon", b""),
        (400, "POST", "/set", b"{\"key\":\"k\",\"value\":"),
        (400, "POST", "/set", b"{\"key\":\"k\",\"value\":\"\xff\xfe\"}"),
        (400, "POST", "/set", b"{\"key\":\"k\",\"value\":7}"),
        (400, "POST", "/set", b"[\"k\",\"v\"]"),
        (400, "POST", "/set?key=k", b"{\"key\":\"k\",\"value\":\"v\"}"),
        (400, "GET", "/cas?key=k&value=v", b""),
        (
            400,
            "GET",
            "/cas?key=k&value=v&expected=a&expected_version=1",
            b"",
        ),
        (400, "GET", "/get", b""),
        (404, "GET", "/get?key=nothing", b""),
        (404, "GET", "/nowhere", b""),
        (404, "GET", "/", b""),
        (405, "PUT", "/set?key=k&value=v", b""),
        (405, "DELETE", "/get?key=k", b""),
        (405, "POST", "/status", b""),
        (413, "GET", &format!("/set?key={long_key}&value=v"), b""),
        (413, "GET", &format!("/get?key={long_key}"), b""),
        (413, "POST", "/set", long_value.as_bytes()),
        (413, "POST", "/set", &huge_body),
    ];
    for (status, method, target, body) in cases {
        let answer = cluster.ask(1, method, target, body);
        let shown = &target[..target.len().min(60)];
        assert_eq!(
            answer.status,
            *status,
            "{method} {shown}: {}",
            String::from_utf8_lossy(&answer.body)
        );
        let told = answer.json();
        assert!(
            told["error"].is_string() && told["message"].is_string(),
            "{method} {shown}: {told}"
        );
        assert_eq!(told["outcome"], "not_applied", "{method} {shown}");
        if *status == 405 {
            assert!(answer.header("allow").is_some(), "{method} {shown}");
        }
    }
    for nonsense in [
        &b"NONSENSE\r\n\r\n"[..],
        b"GET /get?key=\x00 HTTP/1.1\r\n\r\n",
        b"\x16\x03\x01\x02\x00",
    ] {
        // Not HTTP at all: refused or hung up on, never a crash.
        let _ = http::raw(cluster.http(1), nonsense).map(|answer| assert_eq!(answer.status, 400));
    }
    let get = cluster.get(1, "/get?key=k").json();
    assert_eq!(
        get,
        json!({ "key": "k", "value": "before", "version": set.json()["version"] })
    );
}

#[test]
fn the_longest_legal_key_and_value_are_served_by_followers_too() {
    let cluster = Cluster::started(3, &[]);
    let follower = cluster.leader() % 3 + 1;
    let (key, value) = ("k".repeat(4096), "\u{1}".repeat(1 << 20));
    let body = json!({ "key": key, "value": value }).to_string();
    let set = cluster.ask(follower, "POST", "/set", body.as_bytes());
    assert_eq!(set.status, 200, "{}", String::from_utf8_lossy(&set.body));
    let body = json!({ "key": key, "expected": value, "value": "short" }).to_string();
    let cas = cluster.ask(follower, "POST", "/cas", body.as_bytes());
    assert_eq!(cas.status, 200, "{}", String::from_utf8_lossy(&cas.body));
    assert_eq!(
        cluster.get(follower, &format!("/get?key={key}&raw=1")).body,
        b"short"
    );
    cluster.converged();
}

/// Without a quorum nobody is left waiting, and nobody is told what is not known.
#[test]
fn every_request_is_answered_by_its_deadline() {
    let mut cluster = Cluster::started(3, &["--deadline-ms", "700"]);
    let leader = cluster.leader();
    assert_eq!(cluster.get(leader, "/set?key=k&value=v").status, 200);
    for node in cluster.numbers().filter(|&node| node != leader) {
        cluster.kill(node);
    }
    let asked = now();
    let set = cluster.get(leader, "/set?key=k&value=lost");
    let told = (set.status, set.json()["outcome"].clone());
    // Proposed before the leader noticed that it is alone, or refused after.
    assert!(
        told == (504, json!("unknown")) || told == (503, json!("not_applied")),
        "{told:?}"
    );
    let get = cluster.get(leader, "/get?key=k");
    assert!(matches!(get.status, 503 | 504), "{}", get.status);
    assert_eq!(get.json()["outcome"], "not_applied");
    let quick = cluster.get(leader, "/set?key=k&value=lost&deadline_ms=50");
    assert!(matches!(quick.status, 503 | 504), "{}", quick.status);
    assert!(
        asked.elapsed().as_secs() < 10,
        "three requests of 0.7 s took {:?}",
        asked.elapsed()
    );
    assert_eq!(cluster.get(leader, "/health").status, 200);
    assert_eq!(cluster.get(leader, "/ready").status, 503);
}

/// Every path in the document exists, with the methods it names and no others.
#[test]
fn the_openapi_document_tells_the_truth_about_routes() {
    let cluster = Cluster::started(1, &[]);
    let document = cluster.get(1, "/openapi.json").json();
    let paths = document["paths"].as_object().expect("paths");
    assert!(paths.len() > 15);
    for (path, item) in paths {
        let target = path.replace("{key}", "k").replace("{id}", "n9");
        for method in ["GET", "POST", "DELETE", "PUT"] {
            if path == "/watch" && method == "GET" {
                continue; // It does not end.
            }
            let answer = cluster.ask(1, method, &target, b"");
            if item.get(method.to_lowercase()).is_some() {
                let told = String::from_utf8_lossy(&answer.body).into_owned();
                assert!(
                    answer.status != 405 && !told.contains("no_route"),
                    "{method} {path}: {told}"
                );
                let documented = item[method.to_lowercase()]["responses"]
                    .as_object()
                    .expect("responses");
                assert!(
                    documented.contains_key(&answer.status.to_string()),
                    "{method} {path}: {}",
                    answer.status
                );
            } else {
                assert_eq!(answer.status, 405, "{method} {path} is served but not documented");
            }
        }
    }
}

/// Answers bear the headers that the document says, and those who ask to be sent on are.
#[test]
fn the_openapi_document_tells_the_truth_about_headers() {
    let cluster = Cluster::started(3, &[]);
    let document = cluster.get(1, "/openapi.json").json();
    let asked = [
        ("/set", "GET", "key=k&value=1", ""),
        ("/cas", "GET", "key=k&expected=1&value=2", ""),
        ("/append", "POST", "", "{\"key\":\"k\",\"value\":\"3\"}"),
        ("/get", "GET", "key=k&level=stale", ""),
        ("/scan", "GET", "level=stale", ""),
        ("/kvraft/{key}", "GET", "level=stale", ""),
        ("/kvraft/{key}", "POST", "", "{\"value\":\"4\"}"),
        ("/txn", "POST", "", "{\"then\":[{\"op\":\"get\",\"key\":\"k\"}]}"),
        ("/kvraft/{key}", "DELETE", "", ""),
        ("/delete", "GET", "key=k", ""),
    ];
    for (path, method, query, body) in asked {
        let responses = &document["paths"][path][method.to_lowercase()]["responses"];
        let target = format!("{}?{query}", path.replace("{key}", "k"));
        let follower = cluster.leader() % 3 + 1;
        let answer = cluster.ask(follower, method, &target, body.as_bytes());
        assert_eq!(answer.status, 200, "{method} {target}");
        let headers = responses["200"]["headers"].as_object().expect("headers");
        for name in headers.keys().filter(|name| *name != "X-Ordeal-Repeated") {
            let header = answer.header(name);
            assert!(
                header.is_some(),
                "{method} {target}: no {name} in {}",
                answer.head
            );
        }
        for line in answer.head.lines().filter(|line| line.starts_with("x-ordeal-")) {
            let name = line.split(':').next().expect("a name");
            let told = headers.keys().any(|known| known.eq_ignore_ascii_case(name));
            assert!(told, "{method} {target}: {name} is not in the document");
        }
        // Whatever is read as it is here is sent nowhere.
        if !query.contains("stale") {
            let (query, body) = match body {
                "" => (format!("{query}&forward=false"), String::new()),
                body => (query.to_owned(), body.replacen('{', "{\"forward\":false,", 1)),
            };
            let target = format!("{}?{query}", path.replace("{key}", "k"));
            let sent = cluster.ask(follower, method, &target, body.as_bytes());
            assert_eq!(sent.status, 307, "{method} {target}: {}", sent.json());
            assert!(sent.header("location").is_some(), "{method} {target}");
            assert!(responses["307"].is_object(), "{method} {target}");
        }
    }
}

#[test]
fn metrics_count_what_was_asked() {
    let cluster = Cluster::started(1, &[]);
    for n in 0..3 {
        assert_eq!(cluster.get(1, &format!("/set?key=k{n}&value=v")).status, 200);
    }
    assert_eq!(cluster.get(1, "/get?key=nothing").status, 404);
    let metrics = String::from_utf8(cluster.get(1, "/metrics").body).unwrap();
    for want in [
        "kvnode_keys 3",
        "kvnode_is_leader 1",
        "kvnode_requests_total{route=\"set\",status=\"200\"} 3",
        "kvnode_requests_total{route=\"get\",status=\"404\"} 1",
        "kvnode_request_seconds_count{route=\"set\"} 3",
    ] {
        assert!(
            metrics.lines().any(|line| line == want),
            "'{want}' is not in\n{metrics}"
        );
    }
}

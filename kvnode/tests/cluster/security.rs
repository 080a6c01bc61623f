//! Who is let in, and who is not.

use std::path::Path;
use std::process::Command;

use kvnode::secure::tokens::{Role, fresh};
use serde_json::json;

use crate::certs::{Authority, Files, write};
use crate::harness::{Cluster, eventually};
use crate::http;

fn kvnode(arguments: &[&str]) -> std::process::Output {
    Command::new(env!("CARGO_BIN_EXE_kvnode"))
        .args(arguments)
        .output()
        .expect("kvnode starts")
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a path in UTF-8")
}

/// Whether the node is alive to a client who believes this authority.
fn alive(cluster: &Cluster, ca: &Path, own: Option<&Files>) -> bool {
    let url = format!("https://{}", cluster.http(1));
    let mut arguments = vec!["health", "--url", &url, "--cacert", text(ca)];
    if let Some(own) = own {
        arguments.extend(["--cert", text(&own.cert), "--key", text(&own.key)]);
    }
    kvnode(&arguments).status.success()
}

fn started(flags: &[&str]) -> Cluster {
    let mut cluster = Cluster::planned(1, flags);
    cluster.start_all();
    cluster
}

#[test]
fn clients_are_served_under_tls_and_certificates_are_renewed() {
    let folder = tempfile::tempdir().unwrap();
    let (old, new) = (
        Authority::new(&folder.path().join("old")),
        Authority::new(&folder.path().join("new")),
    );
    let (own, next) = (old.certificate("node"), new.certificate("node"));
    let mut cluster = started(&["--tls-cert", text(&own.cert), "--tls-key", text(&own.key)]);
    eventually("it serves under TLS", || {
        alive(&cluster, &old.ca(), None).then_some(())
    });
    assert!(
        !alive(&cluster, &new.ca(), None),
        "by an authority that does not vouch for it"
    );
    assert!(
        http::request(cluster.http(1), "GET", "/health", b"").is_err(),
        "served in plain"
    );
    let url = format!("https://{}", cluster.http(1));
    let client = |ca: &Path, words: &[&str]| {
        kvnode(&[&["client", "--urls", &url, "--cacert", text(ca)], words].concat())
    };
    assert!(client(&old.ca(), &["set", "k=v"]).status.success());
    let refused = client(&new.ca(), &["get", "k"]);
    let told = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(
        !refused.status.success() && told.contains("certificate"),
        "{told}"
    );

    let read =
        |path: &Path| String::from_utf8(kvnode::env::fs::read_if_there(path).unwrap().unwrap()).unwrap();
    write(&own.cert, &read(&next.cert));
    write(&own.key, &read(&next.key));
    eventually("the new certificate is shown", || {
        alive(&cluster, &new.ca(), None).then_some(())
    });
    assert!(!alive(&cluster, &old.ca(), None));

    // What cannot be used changes nothing, and is told.
    write(&own.key, "no key at all");
    cluster.signal(1, nix::sys::signal::Signal::SIGHUP);
    eventually("the node says so", || {
        cluster.stderr(1).contains("stay as they were").then_some(())
    });
    assert!(alive(&cluster, &new.ca(), None));
    assert!(client(&new.ca(), &["get", "k"]).status.success());
    cluster.kill(1);
    cluster.start(1);
    assert_eq!(cluster.ended(1), 254, "a node does not start with it");
    assert!(cluster.stderr(1).contains("there is no private key in PEM form"));
}

#[test]
fn clients_without_a_certificate_are_refused_where_one_is_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new(&folder.path().join("own"));
    let other = Authority::new(&folder.path().join("other"));
    let own = authority.certificate("node");
    let ca = authority.ca();
    let cluster = started(&[
        "--tls-cert",
        text(&own.cert),
        "--tls-key",
        text(&own.key),
        "--client-ca",
        text(&ca),
    ]);
    let client = authority.certificate("client");
    eventually("it serves who is known", || {
        alive(&cluster, &ca, Some(&client)).then_some(())
    });
    assert!(!alive(&cluster, &ca, None));
    assert!(!alive(&cluster, &ca, Some(&other.certificate("stranger"))));
    assert!(!alive(&cluster, &ca, Some(&authority.expired_certificate("old"))));
}

#[test]
fn a_node_with_a_certificate_that_peers_would_refuse_does_not_start() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new(&folder.path().join("own"));
    let other = Authority::new(&folder.path().join("other"));
    let (expired, foreign) = (authority.expired_certificate("old"), other.certificate("node"));
    let elsewhere = authority.certificate_of_another_host("elsewhere");
    let good = authority.certificate("good");
    let mixed = Files {
        cert: good.cert.clone(),
        key: foreign.key.clone(),
    };
    for (files, want) in [
        (&expired, "expired"),
        (&foreign, "other nodes will refuse this certificate"),
        (&elsewhere, "another.example"),
        (&mixed, "do not go together"),
    ] {
        let ca = authority.ca();
        let mut cluster = started(&[
            "--peer-cert",
            text(&files.cert),
            "--peer-key",
            text(&files.key),
            "--peer-ca",
            text(&ca),
        ]);
        assert_eq!(cluster.ended(1), 254, "{want}");
        let told = cluster.stderr(1);
        assert!(told.lines().last().unwrap().contains(want), "{want}: {told}");
    }
}

#[test]
fn tokens_open_what_their_role_allows() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tokens");
    let [(reader, reads), (writer, writes), (admin, administers)] =
        [Role::Read, Role::Write, Role::Admin].map(fresh);
    write(&file, &format!("# all three\n{reads}\n{writes}\n{administers}\n"));
    let cluster = started(&["--tokens", text(&file)]);
    eventually("it is ready, and says so to everyone", || {
        cluster.try_get(1, "/ready")
    });
    let ask = |token: &str, method: &str, target: &str| {
        let header = format!("Authorization: Bearer {token}\r\n");
        http::request_with(cluster.http(1), method, target, &header, b"").expect("an answer")
    };
    let status = |token: &str, method: &str, target: &str| ask(token, method, target).status;
    let set = "/set?key=k&value=v";
    assert_eq!(status(&writer, "POST", set), 200);
    for (token, method, target, want) in [
        ("nonsense", "GET", "/get?key=k", 401),
        ("", "GET", "/metrics", 401),
        (&*reader, "GET", "/get?key=k", 200),
        (&reader, "GET", "/metrics", 200),
        (&reader, "GET", set, 403),
        (&reader, "DELETE", "/kvraft/k", 403),
        (&writer, "GET", "/get?key=k", 200),
        (&writer, "POST", "/cluster/snapshot", 403),
        (&admin, "POST", set, 200),
        (&admin, "POST", "/cluster/snapshot", 200),
        ("nonsense", "GET", "/health", 200),
    ] {
        let answer = ask(token, method, target);
        assert_eq!(answer.status, want, "{method} {target}");
        if want >= 400 {
            assert_eq!(answer.json()["outcome"], "not_applied");
        }
    }
    let bare = cluster.get(1, "/get?key=k");
    assert_eq!(
        (bare.status, bare.header("www-authenticate")),
        (401, Some("Bearer"))
    );
    let url = format!("http://{}", cluster.http(1));
    let client = |token: &str, words: &[&str]| {
        kvnode(&[&["client", "--urls", &url, "--token", token], words].concat())
            .status
            .code()
    };
    assert_eq!(client(&reader, &["get", "k"]), Some(0));
    assert_eq!(client(&reader, &["set", "k=x"]), Some(1));

    // Another token is given out, and all others are taken back.
    let (other, line) = fresh(Role::Read);
    write(&file, &format!("{line}\n"));
    eventually("the new token is known", || {
        (status(&other, "GET", "/get?key=k") == 200).then_some(())
    });
    assert_eq!(status(&admin, "GET", "/get?key=k"), 401);
}

#[test]
fn the_network_is_not_served_by_oversight() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new(folder.path());
    let own = authority.certificate("node");
    let (ca, tokens) = (authority.ca(), folder.path().join("tokens"));
    write(&tokens, &fresh(Role::Admin).1);
    let tls = ["--tls-cert", text(&own.cert), "--tls-key", text(&own.key)];
    let tokens = ["--tokens", text(&tokens)];
    let peers = ["--peer-ca", text(&ca)];
    let everywhere = ["--listen-host", "0.0.0.0"];
    for (flags, lacks) in [
        (vec![], vec!["--tls-cert", "--tokens", "--peer-ca"]),
        (tls.to_vec(), vec!["--tokens", "--peer-ca"]),
        ([&tls[..], &tokens].concat(), vec!["--peer-ca"]),
        ([&tls[..], &peers].concat(), vec!["--tokens"]),
        ([&tls[..], &tokens, &peers].concat(), vec![]),
        (vec!["--insecure"], vec![]),
    ] {
        let output =
            Cluster::planned(1, &[&everywhere[..], &flags, &["--check-config"]].concat()).second_process(1);
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        let code = if lacks.is_empty() { 0 } else { 254 };
        assert_eq!(output.status.code(), Some(code), "{flags:?}: {told}");
        assert_eq!(told.lines().count(), lacks.len(), "{flags:?}: {told}");
        for lack in lacks {
            assert!(
                told.contains(&format!("give {lack}")) && told.contains("--insecure"),
                "{lack}: {told}"
            );
        }
    }
    let cluster = started(&[&everywhere[..], &["--insecure"]].concat());
    eventually("it serves", || cluster.try_get(1, "/ready"));
}

/// Requests keep their names, across the hop and into the answers.
#[test]
fn a_request_keeps_its_name() {
    let cluster = Cluster::started_with(3, &[], &[("KVNODE_LOG", "info,kvnode=debug,openraft=warn")]);
    let leader = cluster.leader();
    let follower = leader % 3 + 1;
    let name = |header: &str| {
        let set =
            http::request_with(cluster.http(follower), "GET", "/set?key=k&value=v", header, b"").unwrap();
        assert_eq!(set.status, 200);
        set.header("x-request-id").expect("a name").to_owned()
    };
    assert_eq!(name("X-Request-Id: order-4711\r\n"), "order-4711");
    let made = name("");
    assert!(made.len() == 16 && made != name(""), "{made}");
    assert_ne!(name("X-Request-Id: two words\r\n"), "two words");
    for wanted in ["order-4711", &made] {
        for node in [leader, follower] {
            assert!(
                cluster.stderr(node).contains(wanted),
                "{wanted} is not in the log of n{node}"
            );
        }
    }
    let missing =
        http::request_with(cluster.http(1), "GET", "/get?key=no", "X-Request-Id: a\r\n", b"").unwrap();
    assert_eq!((missing.status, missing.header("x-request-id")), (404, Some("a")));
    let wrong = http::request_with(cluster.http(1), "PUT", "/get", "X-Request-Id: b\r\n", b"").unwrap();
    assert_eq!(
        (wrong.header("x-request-id"), &wrong.json()["outcome"]),
        (Some("b"), &json!("not_applied"))
    );
}

/// For machines that read logs: one object a line, with the fields under names.
#[test]
fn logs_are_json_where_that_is_asked_for() {
    let variables = [("KVNODE_LOG", "info,kvnode=debug"), ("KVNODE_LOG_FORMAT", "json")];
    let cluster = Cluster::started_with(1, &[], &variables);
    let header = "X-Request-Id: order-4711\r\n";
    let get = http::request_with(cluster.http(1), "GET", "/get?key=none", header, b"").unwrap();
    assert_eq!(get.status, 404);
    let line = eventually("the request is told", || {
        let told = cluster.stderr(1);
        let whole = told.rfind('\n').map_or("", |end| &told[..end]);
        let mut lines = whole.lines().map(|line| {
            serde_json::from_str::<serde_json::Value>(line).unwrap_or_else(|error| panic!("{error}: {line}"))
        });
        lines.find(|line| line["fields"]["request_id"] == "order-4711")
    });
    let fields = &line["fields"];
    assert_eq!(
        (&line["level"], &fields["status"]),
        (&json!("DEBUG"), &json!(404)),
        "{line}"
    );
    assert_eq!(fields["path"], "/get", "{line}");
    assert!(line["timestamp"].is_string(), "{line}");
}

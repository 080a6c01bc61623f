//! `kvnode client`, `admin`, `inspect`, `health`, and flags that make no sense.

use std::process::{Command, Output};

use hyper::Method;
use kvnode::client::Client;
use serde_json::Value;

use crate::harness::{Cluster, eventually};

fn kvnode(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_kvnode"))
        .args(arguments)
        .output()
        .expect("kvnode starts")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn the_client_goes_on_when_nodes_are_down() {
    let mut cluster = Cluster::started(3, &[]);
    let urls: Vec<String> = cluster
        .numbers()
        .map(|node| format!("http://{}", cluster.http(node)))
        .collect();
    let urls = urls.join(",");
    let client = |words: &[&str]| kvnode(&[&["client", "--urls", &urls][..], words].concat());
    assert!(client(&["set", "k=v w"]).status.success());
    cluster.kill(1);
    let get = client(&["get", "k"]);
    assert!(text(&get.stdout).contains("\"value\": \"v w\""), "{get:?}");
    assert!(client(&["append", "k", "x"]).status.success());
    assert!(client(&["cas", "k", "v wx", "new"]).status.success());
    let mismatch = client(&["cas", "k", "old", "newer"]);
    assert_eq!(mismatch.status.code(), Some(1));
    assert!(
        text(&mismatch.stdout).contains("\"current\": \"new\""),
        "{mismatch:?}"
    );
    assert_eq!(client(&["fly", "k"]).status.code(), Some(254));

    let leader = cluster.leader();
    let to = if leader == 2 { "n3" } else { "n2" };
    let moved = kvnode(&["admin", "--urls", &urls, "transfer", to]);
    assert!(moved.status.success(), "{moved:?}");
    let members = kvnode(&["admin", "--urls", &urls, "members"]);
    assert!(
        text(&members.stdout).contains(&format!("\"leader\": \"{to}\"")),
        "{members:?}"
    );
    assert!(
        kvnode(&["health", "--url", &format!("http://{}", cluster.http(2))])
            .status
            .success()
    );
    assert_eq!(
        kvnode(&["health", "--url", &format!("http://{}", cluster.http(1))])
            .status
            .code(),
        Some(1)
    );
}

/// Any node serves any request, by a hop more if it does not lead: the client learns who does.
#[test]
fn the_client_follows_the_leader() {
    let cluster = Cluster::started(3, &[]);
    let urls = cluster
        .addresses()
        .iter()
        .map(|at| format!("http://{at}"))
        .collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let (runtime, mut client) = (runtime.unwrap(), Client::new(urls));
    let mut follows = |leader: Option<&str>| {
        eventually("the leader itself answers", || {
            let asked = client.ask(Method::GET, "/get?key=none", None);
            let answer = runtime.block_on(asked).unwrap();
            assert_eq!(answer.status, 404);
            let found = answer
                .leader
                .filter(|found| answer.served_by.as_ref() == Some(found))?;
            leader.is_none_or(|leader| leader == found).then_some(found)
        })
    };
    let first = follows(None);
    let next = if first == "n1" { "n2" } else { "n1" };
    eventually("another leads", || {
        let target = format!("/cluster/transfer?to={next}");
        (cluster.ask(3, "POST", &target, b"").status == 200).then_some(())
    });
    follows(Some(next));
}

/// A node is taken in as one that only copies, then votes, leads, and goes: all by commands.
#[test]
fn members_are_changed_by_commands() {
    let mut cluster = Cluster::started(3, &[]);
    let urls: Vec<String> = cluster
        .addresses()
        .iter()
        .map(|at| format!("http://{at}"))
        .collect();
    let urls = urls.join(",");
    let admin = |words: &[&str]| kvnode(&[&["admin", "--urls", &urls][..], words].concat());
    let role = |id: &str| {
        let told = admin(&["members"]);
        let told: Value = serde_json::from_slice(&told.stdout).expect("JSON");
        let members = told["members"].as_array().expect("members").clone();
        let member = members.into_iter().find(|member| member["id"] == id);
        member.map(|member| member["role"].as_str().expect("a role").to_owned())
    };
    let new = cluster.plan_another();
    let member = cluster.member(new);
    let [http, raft] = ["http", "raft"].map(|field| member[field].as_str().expect("an address").to_owned());
    let absent = admin(&["add", "n4", &http, &raft]);
    assert_eq!(absent.status.code(), Some(1), "{absent:?}");
    assert!(text(&absent.stdout).contains("cannot reach n4"), "{absent:?}");

    cluster.start(new);
    eventually("the new node answers", || cluster.status(new));
    let added = admin(&["add", "n4", &http, &raft, "--learner"]);
    assert!(added.status.success(), "{added:?}");
    assert_eq!(role("n4").as_deref(), Some("learner"));
    let set = cluster.get(new, "/set?key=k&value=v");
    assert_eq!(set.status, 200, "a learner forwards: {}", set.json());
    assert_eq!(cluster.get(new, "/get?key=k").json()["value"], "v");
    assert_eq!(cluster.converged()["keys"], 1);
    let lead = admin(&["transfer", "n4"]);
    assert_eq!(lead.status.code(), Some(1));
    assert!(text(&lead.stdout).contains("n4 does not vote"), "{lead:?}");

    // Added again, this time to vote.
    assert!(admin(&["add", "n4", &http, &raft]).status.success());
    assert_eq!(role("n4").as_deref(), Some("voter"));
    eventually("it leads", || {
        admin(&["transfer", "n4"]).status.success().then_some(())
    });
    let told = admin(&["snapshot"]);
    assert!(
        told.status.success() && text(&told.stdout).contains("\"index\""),
        "{told:?}"
    );
    eventually("it is gone", || {
        let removed = admin(&["remove", "n4"]);
        (removed.status.success() || role("n4").is_none()).then_some(())
    });
    assert_eq!(role("n4"), None);
    let again = admin(&["remove", "n4"]);
    assert_eq!(again.status.code(), Some(1));
    assert!(text(&again.stdout).contains("n4 is no member"), "{again:?}");
    cluster.kill(new);

    // A learner goes as it came: without a word of voters.
    let another = cluster.plan_another();
    let member = cluster.member(another);
    let [http, raft] = ["http", "raft"].map(|field| member[field].as_str().expect("an address").to_owned());
    cluster.start(another);
    eventually("the new node answers", || cluster.status(another));
    assert!(admin(&["add", "n5", &http, &raft, "--learner"]).status.success());
    assert!(admin(&["remove", "n5"]).status.success());
    assert_eq!(role("n5"), None);
    cluster.kill(another);

    // What would leave too few is refused, and done when the operator insists.
    let leader = cluster.leader();
    let (down, up) = (leader % 3 + 1, (leader + 1) % 3 + 1);
    cluster.kill(down);
    let refused = admin(&["remove", &format!("n{up}")]);
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");
    assert!(text(&refused.stdout).contains("or force it"), "{refused:?}");
    let gone = format!("n{down}");
    assert!(admin(&["remove", &gone, "--force"]).status.success());
    assert_eq!(role(&gone), None);
}

#[test]
fn inspect_tells_what_is_on_disk() {
    let mut cluster = Cluster::started(1, &["--snapshot-every", "20"]);
    for n in 0..50 {
        assert_eq!(cluster.get(1, &format!("/set?key=k{n}&value={n}")).status, 200);
    }
    assert_eq!(cluster.ask(1, "POST", "/cluster/snapshot", b"").status, 200);
    cluster.kill(1);
    let data = cluster.data(1);
    let directory = data.to_str().unwrap();
    let report = kvnode(&["inspect", directory]);
    assert!(report.status.success(), "{report:?}");
    let told = text(&report.stdout);
    for want in [
        "node \"n1\" of cluster \"ordeal\"",
        "wal-000000000001.log",
        "entries ",
        "50 keys",
    ] {
        assert!(told.contains(want), "'{want}' is not in:\n{told}");
    }
    let log = kvnode::env::fs::list(&data.join("log")).unwrap().pop().unwrap();
    let mut bytes = kvnode::env::fs::read_if_there(&log).unwrap().unwrap();
    bytes[100] ^= 1;
    kvnode::env::fs::write_durably(&log, &bytes).unwrap();
    let report = kvnode(&["inspect", directory]);
    assert_eq!(report.status.code(), Some(254));
    assert!(text(&report.stderr).contains("is damaged at byte"), "{report:?}");
    assert_eq!(kvnode(&["inspect", "/nowhere"]).status.code(), Some(254));
}

#[test]
fn settings_that_make_no_sense_are_one_line_and_254() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("kvnode.toml");
    let path = file.to_str().unwrap();
    let one = "n1=127.0.0.1:1:2";
    kvnode::env::fs::write_durably(&file, b"node = \"n1\"\nheartbeat_ms = \"soon\"\n").unwrap();
    let cases: &[(&[&str], &str)] = &[
        (&[], "give --node, --cluster and --data-dir"),
        (
            &["--node", "n2", "--cluster", one, "--data-dir", "x"],
            "node n2 is not in --cluster",
        ),
        (
            &["--node", "n1", "--cluster", "n1=nowhere", "--data-dir", "x"],
            "is no member",
        ),
        (
            &[
                "--node",
                "n1",
                "--cluster",
                one,
                "--data-dir",
                "x",
                "--heartbeat-ms",
                "500",
            ],
            "an election must take at least",
        ),
        (
            &[
                "--node",
                "n1",
                "--cluster",
                one,
                "--data-dir",
                "x",
                "--deadline-ms",
                "0",
            ],
            "give --deadline-ms at least 1",
        ),
        (&["--config", path], "kvnode.toml:2:"),
        (&["--config", "/nowhere.toml"], "there is no such file"),
        (
            &["--node", "n1", "--cluster", one, "--data-dir", "/proc/nowhere"],
            "/proc/nowhere",
        ),
    ];
    for (arguments, want) in cases {
        let output = kvnode(arguments);
        let told = text(&output.stderr);
        assert_eq!(output.status.code(), Some(254), "{arguments:?}: {told}");
        assert!(
            told.contains(want) && told.lines().count() == 1,
            "{arguments:?}: {told}"
        );
    }
    assert_eq!(kvnode(&["--no-such-flag"]).status.code(), Some(254));
    assert_eq!(kvnode(&["--version"]).status.code(), Some(0));
    assert_eq!(kvnode(&["--help"]).status.code(), Some(0));
    // A port that is taken.
    let cluster = Cluster::started(1, &[]);
    let taken = format!("n1={}:2", cluster.http(1));
    let data = folder.path().join("data");
    let output = kvnode(&[
        "--node",
        "n1",
        "--cluster",
        &taken,
        "--data-dir",
        data.to_str().unwrap(),
    ]);
    assert_eq!(output.status.code(), Some(254));
    assert!(text(&output.stderr).contains("cannot listen on"), "{output:?}");
}

/// A flag beats its variable, which beats the file, which beats the default; what is
/// printed says which it was, and is a file that says the same.
#[test]
fn the_effective_settings_say_where_they_come_from() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("kvnode.toml");
    let text_of_file = "node = \"n1\"\ncluster = \"n1=127.0.0.1:1:2\"\ndata_dir = \"x\"\nheartbeat_ms = 10\n\
        election_min_ms = 50\ndeadline_ms = 700\n";
    kvnode::env::fs::write_durably(&file, text_of_file.as_bytes()).unwrap();
    let check = |file: &std::path::Path| {
        Command::new(env!("CARGO_BIN_EXE_kvnode"))
            .args(["--check-config", "--heartbeat-ms", "20", "--config"])
            .arg(file)
            .env("KVNODE_ELECTION_MIN_MS", "60")
            .env("KVNODE_HEARTBEAT_MS", "30")
            .output()
            .unwrap()
    };
    let output = check(&file);
    let told = text(&output.stdout);
    assert!(output.status.success(), "{output:?}");
    let place = file.display();
    for (setting, source) in [
        ("heartbeat_ms = 20", "flag".to_owned()),
        (
            "election_min_ms = 60",
            "variable KVNODE_ELECTION_MIN_MS".to_owned(),
        ),
        ("deadline_ms = 700", format!("file {place}:6")),
        ("election_max_ms = 120", "default".to_owned()),
        ("node = \"n1\"", format!("file {place}:1")),
    ] {
        let line = told
            .lines()
            .find(|line| line.starts_with(setting))
            .unwrap_or_else(|| panic!("{setting}: {told}"));
        assert!(line.ends_with(&format!("# {source}")), "{line}");
    }
    let again = folder.path().join("again.toml");
    kvnode::env::fs::write_durably(&again, told.as_bytes()).unwrap();
    assert!(check(&again).status.success());

    let wrong = format!("{text_of_file}colour = \"red\"\nsnapshot_every = \"often\"\nelection_max_ms = 55\n");
    kvnode::env::fs::write_durably(&file, wrong.as_bytes()).unwrap();
    let output = check(&file);
    assert_eq!(output.status.code(), Some(254));
    let told = text(&output.stderr);
    for want in [
        format!("{place}:7: there is no setting 'colour'"),
        format!("{place}:8: snapshot_every: invalid type"),
        "an election must take at least".to_owned(),
    ] {
        assert!(told.contains(&want), "{want}: {told}");
    }
    assert_eq!(told.lines().count(), 3, "{told}");
}

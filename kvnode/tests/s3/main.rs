//! Backups at a real S3-compatible server: `moto_server` of moto 5, whose path is in
//! `MOTO_SERVER`. `ci/operations` installs it and runs this; without the variable it
//! fails, rather than to pass without having tested anything.

#[allow(dead_code)]
#[path = "../cluster/certs.rs"]
mod certs;
#[allow(dead_code)]
#[path = "../cluster/harness.rs"]
mod harness;
#[allow(dead_code)]
#[path = "../cluster/http.rs"]
mod http;
#[allow(dead_code)]
#[path = "../cluster/load.rs"]
mod load;
mod proxy;
#[allow(dead_code)]
#[path = "../cluster/restored.rs"]
mod restored;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use certs::{Authority, Files};
use harness::{Cluster, eventually};
use kvnode::secure::pem;
use load::Load;
use object_store::aws::AmazonS3Builder;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use proxy::Proxy;
use restored::{everything, failed, fill, kvnode, name_of, restore, restored, succeeded, text};

/// Actions that the server takes from anyone, before it looks at signatures: a user, its
/// key, what it may do, a bucket.
const OPEN_ACTIONS: usize = 4;

/// A server of one test, with a bucket and someone who may use it.
struct Moto {
    child: Child,
    address: SocketAddr,
    /// Who vouches for it, if it speaks TLS.
    ca: Option<PathBuf>,
    key: String,
    secret: String,
}

impl Drop for Moto {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Moto {
    fn started() -> Moto {
        Moto::started_with(None)
    }

    /// One that speaks TLS alone, with a certificate of this authority.
    fn secured(authority: &Authority, certificate: &Files) -> Moto {
        Moto::started_with(Some((authority.ca(), certificate)))
    }

    fn started_with(tls: Option<(PathBuf, &Files)>) -> Moto {
        let mut moto = Moto::empty(tls);
        moto.iam("Action=CreateUser&UserName=backup");
        let made = moto.iam("Action=CreateAccessKey&UserName=backup");
        let between = |tag: &str| {
            let (_, rest) = made
                .split_once(&format!("<{tag}>"))
                .unwrap_or_else(|| panic!("{tag}: {made}"));
            rest.split_once('<').expect("an end").0.to_owned()
        };
        (moto.key, moto.secret) = (between("AccessKeyId"), between("SecretAccessKey"));
        let policy = "%7B%22Version%22%3A%222012-10-17%22%2C%22Statement%22%3A%5B%7B%22Effect%22%3A%22Allow%22%2C\
            %22Action%22%3A%22s3%3A*%22%2C%22Resource%22%3A%22*%22%7D%5D%7D";
        moto.iam(&format!(
            "Action=PutUserPolicy&UserName=backup&PolicyName=s3&PolicyDocument={policy}"
        ));
        let made = moto.open("PUT", "/bucket", "s3", "");
        assert_eq!(made.0, 200, "{}", made.1);
        moto
    }

    /// One that listens and holds nothing, not even a user.
    fn empty(tls: Option<(PathBuf, &Files)>) -> Moto {
        let program = std::env::var_os("MOTO_SERVER")
            .expect("MOTO_SERVER must name moto_server (pip install 'moto[server]'): see ci/operations");
        let port = kvnode::env::net::free_port(0).expect("a free port");
        let mut command = Command::new(program);
        command.args(["-H", "127.0.0.1", "-p", &port.to_string()]);
        if let Some((_, files)) = &tls {
            command.arg("--ssl-cert").arg(&files.cert);
            command.arg("--ssl-key").arg(&files.key);
        }
        let child = command
            .env("INITIAL_NO_AUTH_ACTION_COUNT", OPEN_ACTIONS.to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("moto_server starts");
        let moto = Moto {
            child,
            address: SocketAddr::from(([127, 0, 0, 1], port)),
            ca: tls.map(|(ca, _)| ca),
            key: String::new(),
            secret: String::new(),
        };
        eventually("moto listens", || http::connect(moto.address).ok());
        moto
    }

    /// A request that is not signed, for one of its services.
    fn open(&self, method: &str, target: &str, service: &str, body: &str) -> (u16, String) {
        let head = format!(
            "authorization: AWS4-HMAC-SHA256 Credential=x/20260101/us-east-1/{service}/aws4_request, \
             SignedHeaders=host, Signature=x\r\ncontent-type: application/x-www-form-urlencoded\r\n"
        );
        let request = format!(
            "{method} {target} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n{head}content-length: {}\r\n\r\n{body}",
            self.address,
            body.len()
        );
        let stream = http::connect(self.address).expect("it listens");
        let answer = match &self.ca {
            None => http::exchange(stream, request.as_bytes()),
            Some(ca) => {
                let config = pem::connecting(pem::authorities(ca).expect("an authority"), None).expect("TLS");
                let name = pem::server_name(&self.address.to_string()).expect("a name");
                let secured = rustls::ClientConnection::new(config, name).expect("TLS");
                http::exchange(rustls::StreamOwned::new(secured, stream), request.as_bytes())
            }
        };
        let answer = answer.expect("an answer");
        (answer.status, text(&answer.body))
    }

    fn url(&self) -> String {
        let scheme = if self.ca.is_some() { "https" } else { "http" };
        format!("{scheme}://{}", self.address)
    }

    fn iam(&self, action: &str) -> String {
        let (status, body) = self.open("POST", "/", "iam", &format!("{action}&Version=2010-05-08"));
        assert_eq!(status, 200, "{action}: {body}");
        body
    }

    fn variables(&self) -> Vec<(&str, &str)> {
        vec![
            ("AWS_ACCESS_KEY_ID", self.key.as_str()),
            ("AWS_SECRET_ACCESS_KEY", self.secret.as_str()),
            ("AWS_REGION", "us-east-1"),
        ]
    }

    /// The bucket, without kvnode in between.
    fn bucket(&self) -> impl ObjectStore {
        AmazonS3Builder::new()
            .with_access_key_id(&self.key)
            .with_secret_access_key(&self.secret)
            .with_region("us-east-1")
            .with_bucket_name("bucket")
            .with_endpoint(self.url())
            .with_allow_http(true)
            .with_http_connector(kvnode::backup::transport::Connector { ca: self.ca.clone() })
            .build()
            .expect("a client of the bucket")
    }
}

/// Flags for a server at this address.
fn at(address: SocketAddr) -> [String; 2] {
    [
        format!("--backup-endpoint=http://{address}"),
        "--backup-allow-http".to_owned(),
    ]
}

/// A node's own metric.
fn metric(cluster: &Cluster, name: &str) -> f64 {
    let served = text(&cluster.get(cluster.leader(), "/metrics").body);
    let line = served
        .lines()
        .find(|line| line.starts_with(&format!("kvnode_{name} ")))
        .map(str::to_owned);
    line.and_then(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
        .expect("a metric")
}

const URL: &str = "s3://bucket/some/prefix";

fn backup(cluster: &Cluster, to: &str, flags: &[String], variables: &[(&str, &str)]) -> std::process::Output {
    let from = format!("http://{}", cluster.http(1));
    let mut arguments = vec!["backup", "--to", to, "--urls", &from];
    arguments.extend(flags.iter().map(String::as_str));
    kvnode(&arguments, variables)
}

fn list(flags: &[String], variables: &[(&str, &str)]) -> std::process::Output {
    let mut arguments = vec!["backup", "list", URL];
    arguments.extend(flags.iter().map(String::as_str));
    kvnode(&arguments, variables)
}

/// Large enough for several parts, and under load.
#[test]
fn a_backup_in_parts_comes_back_whole() {
    let moto = Moto::started();
    let cluster = Cluster::started(3, &[]);
    fill(&cluster, 1, 600, 30_000);
    let flags = at(moto.address);
    let load = Load::on(&cluster.addresses());
    load.goes_on(50);
    let told = succeeded(&backup(&cluster, URL, &flags, &moto.variables()));
    load.goes_on(50);
    load.ends_well(&cluster);
    let under_load = name_of(&told);
    cluster.converged();
    succeeded(&backup(&cluster, URL, &flags, &moto.variables()));
    let told = succeeded(&list(&flags, &moto.variables()));
    assert_eq!(told.lines().count(), 2, "{told}");
    assert!(told.starts_with(&under_load), "{told}");
    let more: Vec<&str> = flags.iter().map(String::as_str).collect();
    let (other, _) = restored(URL, 1, &more, &moto.variables());
    let all = everything(&other, 1);
    assert!(all.len() >= 604, "{}", all.len());
    assert_eq!(all, everything(&cluster, 1));
    let (other, _) = restored(&format!("{URL}/{under_load}"), 1, &more, &moto.variables());
    let filled = |all: &[serde_json::Value]| -> Vec<serde_json::Value> {
        all.iter()
            .filter(|entry| entry["key"].as_str().is_some_and(|key| key.starts_with("key")))
            .cloned()
            .collect()
    };
    assert_eq!(filled(&everything(&other, 1)), filled(&all));
}

#[test]
fn a_service_that_refuses_is_told_in_a_line_without_secrets() {
    let moto = Moto::started();
    let cluster = Cluster::started(1, &[]);
    fill(&cluster, 1, 10, 10);
    let flags = at(moto.address);
    let mut wrong_secret = moto.variables();
    wrong_secret[1].1 = "a-secret-that-nobody-gave";
    let mut wrong_key = moto.variables();
    wrong_key[0].1 = "AKIANOBODYKNOWSTHISKEY";
    for (variables, url, want) in [
        (wrong_secret, URL, "SignatureDoesNotMatch"),
        (wrong_key, URL, "InvalidAccessKeyId"),
        (moto.variables(), "s3://elsewhere", "NoSuchBucket"),
    ] {
        let told = failed(&backup(&cluster, url, &flags, &variables), 255);
        assert!(told.contains(want), "{want}: {told}");
        for (_, value) in &variables[..2] {
            assert!(!told.contains(value), "it tells a credential: {told}");
        }
    }
    let told = failed(&backup(&cluster, URL, &flags[..1], &moto.variables()), 254);
    assert!(told.contains("--backup-allow-http"), "{told}");
    let told = failed(&backup(&cluster, URL, &flags, &[]), 254);
    assert!(told.contains("set AWS_ACCESS_KEY_ID"), "{told}");
    assert_eq!(succeeded(&list(&flags, &moto.variables())), "");
}

/// The way to the server breaks in the middle of an upload, for an operator and for the
/// node itself; nothing half is listed, clients notice nothing, and it goes on by itself.
#[test]
fn a_server_that_dies_in_the_middle_leaves_no_backup() {
    let moto = Moto::started();
    let proxy = Proxy::to(moto.address, 9 << 20);
    let flags = at(proxy.address());
    let mut node_flags = vec!["--backup-to", URL, "--backup-every-s", "3600"];
    node_flags.extend(flags.iter().map(String::as_str));
    // The proxy is cut from the first on, so that nothing is made before there is data.
    proxy.cut();
    let cluster = Cluster::started_with(3, &node_flags, &moto.variables());
    let leader = cluster.leader();
    fill(&cluster, leader, 600, 30_000);
    let load = Load::on(&cluster.addresses());

    proxy.heal();
    let told = failed(&backup(&cluster, URL, &flags, &moto.variables()), 255);
    assert!(!told.contains(&moto.secret), "{told}");
    assert!(proxy.broke(), "the upload was not broken off: {told}");
    let metric = |name: &str| metric(&cluster, name);
    eventually("the node tells that it fails", || {
        (metric("backup_failing") > 0.0).then_some(())
    });
    let direct = at(moto.address);
    let listing = list(&direct, &moto.variables());
    assert_eq!(succeeded(&listing), "", "{listing:?}");
    load.goes_on(50);

    proxy.heal_for_good();
    eventually("the node makes its backup", || {
        (metric("backup_failing") == 0.0 && metric("backups_total") >= 1.0).then_some(())
    });
    load.ends_well(&cluster);
    assert_eq!(succeeded(&list(&direct, &moto.variables())).lines().count(), 1);
    let more: Vec<&str> = direct.iter().map(String::as_str).collect();
    let (other, _) = restored(URL, 1, &more, &moto.variables());
    assert!(everything(&other, 1).len() >= 600);
}

#[test]
fn an_object_that_was_damaged_there_is_refused() {
    let moto = Moto::started();
    let cluster = Cluster::started(1, &[]);
    fill(&cluster, 1, 1000, 100);
    let flags = at(moto.address);
    let name = name_of(&succeeded(&backup(&cluster, URL, &flags, &moto.variables())));
    let (bucket, path) = (
        moto.bucket(),
        Path::from(format!("some/prefix/{name}/snapshot.kv")),
    );
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let mut bytes = bucket.get(&path).await.unwrap().bytes().await.unwrap().to_vec();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        bucket.put(&path, bytes.into()).await.unwrap();
    });
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let more: Vec<&str> = flags.iter().map(String::as_str).collect();
    let told = failed(
        &restore(URL, &data, cluster.spec(), &more, &moto.variables()),
        255,
    );
    assert!(
        told.contains(&format!("{URL}/{name}/snapshot.kv: at byte")),
        "{told}"
    );
    assert!(kvnode::env::fs::mark(&data).is_none());
    runtime.block_on(bucket.delete(&path)).unwrap();
    let output = list(&flags, &moto.variables());
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(
        text(&output.stderr).contains("snapshot.kv is missing"),
        "{output:?}"
    );
}

/// Over TLS with an authority of our own: what an operator asks for and what a node does by
/// itself; and whoever is not vouched for gets nothing.
#[test]
fn under_tls_only_a_server_that_is_vouched_for_gets_backups() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new(&folder.path().join("ours"));
    let moto = Moto::secured(&authority, &authority.certificate("s3"));
    let (endpoint, ca) = (
        format!("--backup-endpoint={}", moto.url()),
        format!("--backup-ca={}", authority.ca().display()),
    );
    let flags = [endpoint.clone(), ca.clone()];
    let of_node = ["--backup-to", URL, "--backup-every-s", "3600", &endpoint, &ca];
    let cluster = Cluster::started_with(3, &of_node, &moto.variables());
    // Large enough for several parts.
    fill(&cluster, cluster.leader(), 600, 30_000);
    let told = succeeded(&backup(&cluster, URL, &flags, &moto.variables()));
    let listed = eventually("the node's own backup beside it", || {
        let told = succeeded(&list(&flags, &moto.variables()));
        (told.lines().count() == 2).then_some(told)
    });
    let ours = name_of(&told);
    assert!(listed.contains(&ours), "{listed}");
    assert_eq!(metric(&cluster, "backup_failing"), 0.0);
    let from = format!("{URL}/{ours}");
    let verified = kvnode(&["backup", "verify", &from, &endpoint, &ca], &moto.variables());
    assert!(succeeded(&verified).contains("whole"), "{verified:?}");
    let (other, _) = restored(&from, 1, &[&endpoint, &ca], &moto.variables());
    assert_eq!(everything(&other, 1), everything(&cluster, 1));

    let stranger = Authority::new(&folder.path().join("another"));
    let theirs = format!("--backup-ca={}", stranger.ca().display());
    let expired = Moto::empty(Some((authority.ca(), &authority.expired_certificate("expired"))));
    let in_plain = format!("--backup-endpoint=http://{}", moto.address);
    let late = format!("--backup-endpoint={}", expired.url());
    for (flags, code, want) in [
        (vec![endpoint.clone()], 255, "UnknownIssuer"),
        (vec![endpoint.clone(), theirs], 255, "invalid peer certificate"),
        (vec![late, ca.clone()], 255, "xpired"),
        (vec![in_plain, ca.clone()], 254, "--backup-allow-http"),
        (
            vec![endpoint, "--backup-ca=/nowhere.pem".to_owned()],
            254,
            "/nowhere.pem",
        ),
    ] {
        let told = failed(&backup(&cluster, URL, &flags, &moto.variables()), code);
        assert!(told.contains(want), "{want}: {told}");
        assert!(!told.contains(&moto.secret), "it tells a credential: {told}");
    }
}

//! What the peers' port lets in: strangers, other clusters, frames that come twice, and
//! noise.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use kvnode::command::{Command, Operation};
use kvnode::env::{clock, net};
use kvnode::peer::frame;
use kvnode::peer::message::{Hello, PROTOCOL, Reply, Request, Welcome};
use kvnode::secure::pem::{self, Identity, IdentityFiles};
use kvnode::secure::stream::Stream;
use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::certs::{Authority, Files};
use crate::harness::{Cluster, eventually};

/// How long the node is waited for on one connection.
const ANSWER: Duration = Duration::from_secs(20);

fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(future)
}

fn hello(cluster: &str, to: &str) -> Hello {
    Hello {
        protocol: PROTOCOL,
        cluster: cluster.to_owned(),
        from: "n2".parse().unwrap(),
        to: to.parse().unwrap(),
        to_incarnation: None,
    }
}

fn framed<T: serde::Serialize>(message: &T) -> Vec<u8> {
    let mut bytes = Vec::new();
    frame::encode(message, &mut bytes);
    bytes
}

async fn send(stream: &mut Stream, bytes: &[u8]) -> io::Result<()> {
    stream.write_all(bytes).await?;
    stream.flush().await
}

/// Introduces itself and tells what the node says to it; nothing if it hangs up.
async fn greet(stream: &mut Stream, hello: &Hello) -> Option<Welcome> {
    send(stream, &framed(hello)).await.ok()?;
    let told = clock::timeout(ANSWER, frame::read(stream)).await;
    told.expect("an answer or an end").ok()?
}

async fn plain(to: SocketAddr) -> Stream {
    Stream::Plain(net::connect(&to.to_string()).await.expect("it listens"))
}

/// A connection under TLS with this certificate, if the node accepts it so far.
async fn encrypted(to: SocketAddr, ca: &Path, own: Option<&Files>) -> io::Result<Stream> {
    let identity = own.map(|files| {
        Identity::read(&IdentityFiles {
            cert: files.cert.clone(),
            key: files.key.clone(),
        })
        .expect("a certificate")
    });
    let config =
        pem::connecting(pem::authorities(ca).expect("an authority"), identity.as_ref()).expect("settings");
    let connector = tokio_rustls::TlsConnector::from(config);
    let stream = net::connect(&to.to_string()).await?;
    let stream = connector
        .connect(pem::server_name("127.0.0.1:1")?, stream)
        .await?;
    Ok(Stream::Opened(Box::new(stream)))
}

/// Whether the node hangs up before it says anything more.
async fn hangs_up(stream: &mut Stream) -> bool {
    let mut byte = [0];
    let read = clock::timeout(ANSWER, stream.read(&mut byte)).await;
    matches!(read.expect("an end"), Ok(0) | Err(_))
}

#[test]
fn nodes_know_each_other_by_their_certificates() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new(&folder.path().join("own"));
    let other = Authority::new(&folder.path().join("other"));
    let own = authority.certificate("nodes");
    let ca = authority.ca();
    let flags = [
        "--peer-cert",
        own.cert.to_str().unwrap(),
        "--peer-key",
        own.key.to_str().unwrap(),
        "--peer-ca",
        ca.to_str().unwrap(),
    ];
    let cluster = Cluster::started(3, &flags);
    for node in cluster.numbers() {
        assert_eq!(
            cluster.get(node, &format!("/set?key=k{node}&value=v")).status,
            200
        );
    }
    assert_eq!(cluster.converged()["keys"], 3);

    let to = cluster.raft(1);
    block_on(async {
        // In plain: what comes back is no frame.
        assert_eq!(greet(&mut plain(to).await, &hello("ordeal", "n1")).await, None);
        let strangers = [
            None,
            Some(other.certificate("stranger")),
            Some(authority.expired_certificate("expired")),
        ];
        for (number, own) in strangers.iter().enumerate() {
            // The side that connects is done first: the refusal comes with the first read.
            if let Ok(mut stream) = encrypted(to, &ca, own.as_ref()).await {
                let told = greet(&mut stream, &hello("ordeal", "n1")).await;
                assert_eq!(told, None, "stranger {number}");
            }
        }
        assert!(
            encrypted(to, &other.ca(), Some(&own)).await.is_err(),
            "the node's certificate is believed by another authority"
        );
        let known = authority.certificate("known");
        let mut stream = encrypted(to, &ca, Some(&known)).await.unwrap();
        let told = greet(&mut stream, &hello("another", "n1")).await;
        assert!(
            matches!(&told, Some(Welcome::Refused(why)) if why.contains("of cluster 'another'")),
            "{told:?}"
        );
        let mut stream = encrypted(to, &ca, Some(&known)).await.unwrap();
        let told = greet(&mut stream, &hello("ordeal", "n1")).await;
        assert!(matches!(told, Some(Welcome::Ready { .. })), "{told:?}");
    });
    let told = cluster.stderr(1);
    assert!(told.contains("did not prove to be a peer's"), "{told}");
    assert_eq!(cluster.get(2, "/set?key=after&value=v").status, 200);
}

/// A node with certificates of another authority is no member, until it has the right
/// ones.
#[test]
fn a_member_without_the_right_certificate_takes_no_part() {
    let folder = tempfile::tempdir().unwrap();
    let (authority, other) = (
        Authority::new(&folder.path().join("own")),
        Authority::new(&folder.path().join("other")),
    );
    let flags = |authority: &Authority, name: &str| -> Vec<String> {
        let own = authority.certificate(name);
        [
            ("--peer-cert", own.cert),
            ("--peer-key", own.key),
            ("--peer-ca", authority.ca()),
        ]
        .into_iter()
        .flat_map(|(flag, path)| [flag.to_owned(), path.display().to_string()])
        .collect()
    };
    let good = flags(&authority, "nodes");
    let mut cluster = Cluster::started(3, &good.iter().map(String::as_str).collect::<Vec<_>>());
    let away = cluster.leader() % 3 + 1;
    cluster.kill(away);
    cluster.set_flags(flags(&other, "nodes"));
    cluster.start(away);
    let leader = cluster.leader();
    eventually("it is refused", || {
        let told = cluster.stderr(leader) + &cluster.stderr(away);
        told.contains("did not prove to be a peer's").then_some(())
    });
    let index = cluster.get(leader, "/set?key=k&value=v").json()["index"].as_u64();
    eventually("it serves what it has", || cluster.status(away));
    assert!(
        cluster.status(away).unwrap()["applied"].as_u64() < index,
        "it was told"
    );
    assert_eq!(cluster.get(away, "/ready").status, 503);
    cluster.kill(away);
    cluster.set_flags(good);
    cluster.start(away);
    cluster.converged();
}

#[test]
fn a_frame_that_comes_twice_is_carried_out_once() {
    let cluster = Cluster::started(1, &[]);
    let append = Request::Propose(
        Command::new(Operation::Append {
            key: "k".into(),
            value: "x".into(),
        }),
        None,
    );
    let bytes = framed(&(1_u64, append));
    block_on(async {
        let mut stream = plain(cluster.raft(1)).await;
        assert!(matches!(
            greet(&mut stream, &hello("ordeal", "n1")).await,
            Some(Welcome::Ready { .. })
        ));
        send(&mut stream, &bytes).await.unwrap();
        let reply = clock::timeout(ANSWER, frame::read::<(u64, Reply)>(&mut stream)).await;
        let reply = reply.unwrap().unwrap();
        assert!(matches!(reply, Some((1, Reply::Propose(Ok(_))))), "{reply:?}");
        let _ = send(&mut stream, &bytes).await;
        assert!(hangs_up(&mut stream).await);
    });
    assert_eq!(cluster.get(1, "/get?key=k").json()["value"], "x");
}

#[test]
fn whoever_is_no_member_of_this_cluster_is_refused_with_a_reason() {
    let cluster = Cluster::started(1, &[]);
    let to = cluster.raft(1);
    let wrong = |change: &dyn Fn(&mut Hello)| {
        let mut hello = hello("ordeal", "n1");
        change(&mut hello);
        block_on(async { greet(&mut plain(to).await, &hello).await })
    };
    // A name that parsing would refuse can still be put into a frame.
    let outside: kvnode::cluster::NodeId = postcard::from_bytes(b"\x07../../x").unwrap();
    type Change<'a> = &'a dyn Fn(&mut Hello);
    let cases: [(Change<'_>, &str); 5] = [
        (&|hello| hello.protocol += 1, "it speaks protocol"),
        (&|hello| hello.cluster = "x".to_owned(), "it is of cluster 'x'"),
        (&|hello| hello.to = "n9".parse().unwrap(), "it wants n9"),
        (&|hello| hello.to_incarnation = Some(1), "lost its data directory"),
        (&|hello| hello.from = outside.clone(), "it has no node's name"),
    ];
    for (change, want) in cases {
        let told = wrong(change);
        assert!(
            matches!(&told, Some(Welcome::Refused(why)) if why.contains(want)),
            "{want}: {told:?}"
        );
    }
    assert_eq!(
        wrong(&|hello| hello.cluster = "x".repeat(10_000)),
        None,
        "a greeting is short"
    );
}

/// Noise of every kind, before and after the greeting: the node hangs up, goes on, and
/// keeps nothing of it.
#[test]
fn noise_is_hung_up_on() {
    let seed = kvnode::env::rng::random_u64();
    println!("seed {seed}");
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let cluster = Cluster::started(1, &[]);
    assert_eq!(cluster.get(1, "/set?key=k&value=v").status, 200);
    let before = cluster.status(1).unwrap();
    let good = framed(&(7_u64, Request::Probe));
    block_on(async {
        for round in 0..200 {
            let mut stream = plain(cluster.raft(1)).await;
            if round % 2 == 0 {
                let told = greet(&mut stream, &hello("ordeal", "n1")).await;
                assert!(matches!(told, Some(Welcome::Ready { .. })), "{told:?}");
            }
            let noise = match round % 8 / 2 {
                // Anything.
                0 => (0..rng.random_range(1..4096)).map(|_| rng.random()).collect(),
                // A frame of anything, its checksum right.
                1 => {
                    let body: Vec<u8> = (0..rng.random_range(0..64)).map(|_| rng.random()).collect();
                    // A number that a request would begin with, and a kind that there is not.
                    frame::around(&[&[9, 250, 250, 250, 250, 7][..], &body].concat())
                }
                // A good frame with a bit flipped.
                2 => {
                    let mut bytes = good.clone();
                    let bit = rng.random_range(0..bytes.len() * 8);
                    bytes[bit / 8] ^= 1 << (bit % 8);
                    bytes
                }
                // A length that nobody sends.
                _ => [u32::MAX.to_le_bytes(), [0; 4]].concat(),
            };
            let _ = send(&mut stream, &noise).await;
            let _ = stream.shutdown().await;
            assert!(hangs_up(&mut stream).await, "round {round} of seed {seed}");
        }
    });
    let after = eventually("it goes on", || cluster.status(1));
    for field in ["term", "applied", "state_hash"] {
        assert_eq!(after[field], before[field], "{field}");
    }
}

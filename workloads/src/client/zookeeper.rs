//! ZooKeeper.
//!
//! Commands: `get PATH`, `sync PATH`, `create PATH DATA`, `set PATH DATA [VERSION]`, `delete PATH [VERSION]`,
//! and `4lw WORD` for the four-letter words of its administration. `get` answers
//! `{"value": ..., "version": n}`, the writes `{"version": n}`, a four-letter word its text; an error is its
//! name: `"NoNode"`, `"BadVersion"`.
//!
//! The protocol is spoken here and not by a library: those reconnect and move sessions between servers by
//! themselves, and which server answered is what is being tested. It is that of `zookeeper.jute` in ZooKeeper's
//! sources: frames with their length before them, big-endian numbers, texts with their length before them.

use std::io;
use std::net::SocketAddr;

use serde_json::{Value as Json, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::pool::Pool;
use super::{Lost, Transport};
use crate::system::{Answer, Call};

/// How long a session outlives its connection, in milliseconds; the server may shorten it.
const SESSION_MS: i32 = 30_000;
/// A frame larger than this is none.
const LARGEST: usize = 4 << 20;

/// Carries commands to ZooKeeper, each over a session of its own with one server.
#[derive(Debug, Default)]
pub(super) struct Zookeeper {
    idle: Pool<Session>,
}

impl Transport for Zookeeper {
    async fn exchange(&self, node: SocketAddr, call: Call) -> Result<Answer, Lost> {
        let Call::Command(words) = call else {
            return Err(Lost::unsent("the zookeeper client speaks commands"));
        };
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        if let ["4lw", word] = words[..] {
            return four_letters(node, word).await;
        }
        let request = Request::of(&words).map_err(Lost::unsent)?;
        let mut session = match self.idle.take(node) {
            Some(session) => session,
            None => Session::open(node).await.map_err(Lost::unsent)?,
        };
        match session.carry(&request).await {
            Ok(reply) => {
                self.idle.give(node, session);
                Ok(match reply {
                    Ok(json) => Answer::told(json),
                    Err(code) => Answer::refused(Json::String(name_of(code))),
                })
            }
            Err(error) => {
                self.idle.forget(node);
                Err(Lost::underway(error))
            }
        }
    }
}

/// What a request does, by the numbers of the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i32)]
enum Kind {
    Create = 1,
    Delete = 2,
    Get = 4,
    Set = 5,
    Sync = 9,
}

/// A request without its number.
#[derive(Debug, PartialEq)]
struct Request {
    kind: Kind,
    body: Vec<u8>,
}

/// Any version will do.
const ANY: i32 = -1;

impl Request {
    fn of(words: &[&str]) -> Result<Self, String> {
        let version = |word: &str| {
            word.parse::<i32>()
                .map_err(|_| format!("`{word}` is no version of zookeeper"))
        };
        let mut body = Vec::new();
        let kind = match words {
            ["get", path] => {
                text(&mut body, path);
                body.push(0); // no watch
                Kind::Get
            }
            ["sync", path] => {
                text(&mut body, path);
                Kind::Sync
            }
            ["create", path, data] => {
                text(&mut body, path);
                text(&mut body, data);
                // One entry: everybody may do everything. No flags: the node persists.
                number(&mut body, 1);
                number(&mut body, 31);
                text(&mut body, "world");
                text(&mut body, "anyone");
                number(&mut body, 0);
                Kind::Create
            }
            ["set", path, data, expected @ ..] if expected.len() < 2 => {
                text(&mut body, path);
                text(&mut body, data);
                number(&mut body, expected.first().map_or(Ok(ANY), |word| version(word))?);
                Kind::Set
            }
            ["delete", path, expected @ ..] if expected.len() < 2 => {
                text(&mut body, path);
                number(&mut body, expected.first().map_or(Ok(ANY), |word| version(word))?);
                Kind::Delete
            }
            other => {
                return Err(format!(
                    "the zookeeper client knows no command `{}`",
                    other.join(" ")
                ));
            }
        };
        Ok(Self { kind, body })
    }

    /// What the body of its reply says.
    fn read(&self, mut reply: &[u8]) -> io::Result<Json> {
        Ok(match self.kind {
            Kind::Get => {
                let value = take_text(&mut reply)?;
                json!({ "value": value, "version": version_in(reply)? })
            }
            Kind::Set => json!({ "version": version_in(reply)? }),
            Kind::Create => json!({ "version": 0 }),
            Kind::Delete | Kind::Sync => Json::Null,
        })
    }
}

/// A session with one server; it carries one request at a time.
#[derive(Debug)]
struct Session {
    stream: TcpStream,
    asked: i32,
}

impl Session {
    async fn open(node: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(node).await?;
        stream.set_nodelay(true)?;
        let mut session = Self { stream, asked: 0 };
        let mut hello = Vec::new();
        number(&mut hello, 0); // the version of the protocol
        hello.extend_from_slice(&0i64.to_be_bytes()); // nothing seen yet
        number(&mut hello, SESSION_MS);
        hello.extend_from_slice(&0i64.to_be_bytes()); // a new session
        number(&mut hello, 16);
        hello.extend_from_slice(&[0; 16]);
        hello.push(0); // not read-only
        session.send(&hello).await?;
        let welcome = session.receive().await?;
        let granted = welcome.get(4..8).map(big_endian);
        // A server that will have no session says so by a timeout of nothing.
        if granted.is_none_or(|granted| granted <= 0) {
            return Err(io::Error::other("the server refuses the session"));
        }
        Ok(session)
    }

    /// Sends a request and reads its reply: what it says, or the number of the error.
    async fn carry(&mut self, request: &Request) -> io::Result<Result<Json, i32>> {
        self.asked += 1;
        let mut frame = Vec::with_capacity(request.body.len() + 8);
        number(&mut frame, self.asked);
        number(&mut frame, request.kind as i32);
        frame.extend_from_slice(&request.body);
        self.send(&frame).await?;
        loop {
            let reply = self.receive().await?;
            let [id, error] = [reply.get(0..4), reply.get(12..16)].map(|word| word.map(big_endian));
            let (Some(id), Some(error)) = (id, error) else {
                return Err(garbage());
            };
            // What has a number below zero is a ping or the word of a watch.
            if id == self.asked {
                return match error {
                    0 => request.read(&reply[16..]).map(Ok),
                    code => Ok(Err(code)),
                };
            }
        }
    }

    async fn send(&mut self, frame: &[u8]) -> io::Result<()> {
        let mut bytes = Vec::with_capacity(frame.len() + 4);
        number(&mut bytes, i32::try_from(frame.len()).map_err(|_| garbage())?);
        bytes.extend_from_slice(frame);
        self.stream.write_all(&bytes).await
    }

    async fn receive(&mut self) -> io::Result<Vec<u8>> {
        let length = usize::try_from(self.stream.read_i32().await?).map_err(|_| garbage())?;
        if length > LARGEST {
            return Err(garbage());
        }
        let mut frame = vec![0; length];
        self.stream.read_exact(&mut frame).await?;
        Ok(frame)
    }
}

fn number(to: &mut Vec<u8>, number: i32) {
    to.extend_from_slice(&number.to_be_bytes());
}

fn text(to: &mut Vec<u8>, text: &str) {
    number(to, i32::try_from(text.len()).unwrap_or(i32::MAX));
    to.extend_from_slice(text.as_bytes());
}

fn big_endian(word: &[u8]) -> i32 {
    i32::from_be_bytes(word.try_into().expect("four bytes"))
}

fn take_text(from: &mut &[u8]) -> io::Result<String> {
    let (length, rest) = from.split_at_checked(4).ok_or_else(garbage)?;
    // A node without data has a length of -1.
    let length = usize::try_from(big_endian(length)).unwrap_or(0);
    let (text, rest) = rest.split_at_checked(length).ok_or_else(garbage)?;
    *from = rest;
    Ok(String::from_utf8_lossy(text).into_owned())
}

/// The version in a stat: behind two transactions and two times of eight bytes each.
fn version_in(stat: &[u8]) -> io::Result<i32> {
    stat.get(32..36).map(big_endian).ok_or_else(garbage)
}

fn garbage() -> io::Error {
    io::Error::other("the server speaks something else than zookeeper's protocol")
}

/// The name that ZooKeeper's own client has for an error.
fn name_of(code: i32) -> String {
    let name = match code {
        -4 => "ConnectionLoss",
        -6 => "Unimplemented",
        -7 => "OperationTimeout",
        -8 => "BadArguments",
        -101 => "NoNode",
        -102 => "NoAuth",
        -103 => "BadVersion",
        -110 => "NodeExists",
        -111 => "NotEmpty",
        -112 => "SessionExpired",
        -118 => "SessionMoved",
        -119 => "NotReadOnly",
        -127 => "Throttled",
        other => return format!("error {other}"),
    };
    name.to_owned()
}

/// One of the four-letter words: `srvr`, `ruok`.
async fn four_letters(node: SocketAddr, word: &str) -> Result<Answer, Lost> {
    let mut stream = TcpStream::connect(node).await.map_err(Lost::unsent)?;
    let mut text = String::new();
    stream.write_all(word.as_bytes()).await.map_err(Lost::underway)?;
    stream.read_to_string(&mut text).await.map_err(Lost::underway)?;
    Ok(Answer::told(Json::String(text)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_as_the_protocol_has_them() {
        let set = Request::of(&["set", "/k", "7", "3"]).expect("a request");
        assert_eq!(set.kind, Kind::Set);
        assert_eq!(set.body, b"\0\0\0\x02/k\0\0\0\x017\0\0\0\x03");
        let any = Request::of(&["set", "/k", "7"]).expect("a request");
        assert!(any.body.ends_with(&[0xff; 4]));
        assert!(
            Request::of(&["set", "/k", "7", "new"])
                .expect_err("refused")
                .contains("no version")
        );
        assert!(Request::of(&["fetch", "/k"]).is_err());
    }

    #[test]
    fn replies_are_read_and_short_ones_refused() {
        let get = Request::of(&["get", "/k"]).expect("a request");
        let mut reply = b"\0\0\0\x017".to_vec();
        reply.extend_from_slice(&[0; 32]);
        reply.extend_from_slice(&5i32.to_be_bytes());
        assert_eq!(
            get.read(&reply).expect("whole"),
            json!({"value": "7", "version": 5})
        );
        for length in 0..reply.len() {
            assert!(get.read(&reply[..length]).is_err(), "{length}");
        }
    }
}

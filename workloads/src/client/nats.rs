//! NATS, and so its JetStream.
//!
//! Commands: `request SUBJECT PAYLOAD [HEADER: VALUE]...` sends a request and waits for its reply. What
//! JetStream understands (streams, buckets, expected sequences) is said in such requests, by the system file.
//! The answer is the payload of the reply; one without a responder has status 503 and was not delivered.
//!
//! The protocol is lines of text; <https://docs.nats.io/reference/reference-protocols/nats-protocol> describes
//! it, ADR-4 of nats-architecture-and-design the headers.

use std::net::SocketAddr;

use serde_json::Value as Json;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufStream};
use tokio::net::TcpStream;

use super::pool::Pool;
use super::{Lost, Transport};
use crate::system::{Answer, Call};

/// What every reply is sent to; a connection carries one request at a time.
const INBOX: &str = "_INBOX.ordeal";
/// A message larger than this is no reply to what we ask.
const LARGEST: usize = 4 << 20;

/// Carries requests over NATS.
#[derive(Debug, Default)]
pub(super) struct Nats {
    idle: Pool<Connection>,
}

impl Transport for Nats {
    async fn exchange(&self, node: SocketAddr, call: Call) -> Result<Answer, Lost> {
        let Call::Command(words) = call else {
            return Err(Lost::unsent("the nats client speaks commands"));
        };
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let ["request", subject, payload, ref headers @ ..] = words[..] else {
            return Err(Lost::unsent(format!(
                "the nats client knows no command `{}`",
                words.join(" ")
            )));
        };
        let mut connection = match self.idle.take(node) {
            Some(connection) => connection,
            None => Connection::open(node).await.map_err(Lost::unsent)?,
        };
        match connection.request(subject, payload, headers).await {
            Ok(answer) => {
                self.idle.give(node, connection);
                Ok(answer)
            }
            Err(error) => {
                self.idle.forget(node);
                Err(Lost::underway(error))
            }
        }
    }
}

struct Connection {
    stream: BufStream<TcpStream>,
    /// How many requests it has carried: the last part of the reply subject.
    asked: u64,
    /// What no other connection's inbox has.
    name: String,
}

impl Connection {
    async fn open(node: SocketAddr) -> std::io::Result<Self> {
        let socket = TcpStream::connect(node).await?;
        socket.set_nodelay(true)?;
        // Replies travel through the whole cluster, so an inbox must be one's own in all of it.
        let name = format!("{INBOX}.{:032x}", rand::random::<u128>());
        let mut connection = Self {
            stream: BufStream::new(socket),
            asked: 0,
            name,
        };
        let info = connection.line().await?;
        if !info.starts_with("INFO ") {
            return Err(garbage(&info));
        }
        let hello = format!(
            "CONNECT {{\"verbose\":false,\"pedantic\":false,\"headers\":true,\"no_responders\":true,\
             \"lang\":\"rust\",\"version\":\"0\",\"protocol\":1}}\r\nSUB {}.* 1\r\nPING\r\n",
            connection.name
        );
        connection.stream.write_all(hello.as_bytes()).await?;
        connection.stream.flush().await?;
        loop {
            match connection.line().await?.as_str() {
                "PONG" => return Ok(connection),
                line if line.starts_with("-ERR") => return Err(garbage(line)),
                _ => {}
            }
        }
    }

    async fn request(&mut self, subject: &str, payload: &str, headers: &[&str]) -> std::io::Result<Answer> {
        self.asked += 1;
        let reply = format!("{}.{}", self.name, self.asked);
        let message = if headers.is_empty() {
            format!("PUB {subject} {reply} {}\r\n{payload}\r\n", payload.len())
        } else {
            let head = format!("NATS/1.0\r\n{}\r\n\r\n", headers.join("\r\n"));
            let whole = head.len() + payload.len();
            format!(
                "HPUB {subject} {reply} {} {whole}\r\n{head}{payload}\r\n",
                head.len()
            )
        };
        self.stream.write_all(message.as_bytes()).await?;
        self.stream.flush().await?;
        loop {
            let line = self.line().await?;
            let words: Vec<&str> = line.split_whitespace().collect();
            match words[..] {
                ["PING"] => {
                    self.stream.write_all(b"PONG\r\n").await?;
                    self.stream.flush().await?;
                }
                ["MSG", to, _, size] => {
                    let body = self.body(size).await?;
                    if to == reply {
                        return Ok(Answer::new(200, &body));
                    }
                }
                ["HMSG", to, _, head, size] => {
                    let body = self.body(size).await?;
                    let head: usize = head.parse().map_err(|_| garbage(&line))?;
                    if to == reply {
                        let (head, rest) = body.split_at_checked(head).ok_or_else(|| garbage(&line))?;
                        return Ok(with_status(head, rest));
                    }
                }
                ["-ERR", ..] => return Err(garbage(&line)),
                _ => {}
            }
        }
    }

    async fn line(&mut self) -> std::io::Result<String> {
        let mut line = String::new();
        let mut limited = (&mut self.stream).take(LARGEST as u64);
        if limited.read_line(&mut line).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        Ok(line.trim_end().to_owned())
    }

    async fn body(&mut self, size: &str) -> std::io::Result<Vec<u8>> {
        let size = size.parse().ok().filter(|size| *size <= LARGEST);
        let size = size.ok_or_else(|| garbage("a message without end"))?;
        // Behind the payload stands the end of the line.
        let mut body = vec![0; size + 2];
        self.stream.read_exact(&mut body).await?;
        body.truncate(size);
        Ok(body)
    }
}

/// An answer whose headers begin with a status, as `NATS/1.0 503`.
fn with_status(head: &[u8], body: &[u8]) -> Answer {
    let head = String::from_utf8_lossy(head);
    let first = head.lines().next().unwrap_or_default();
    let status = first.split_whitespace().nth(1).and_then(|word| word.parse().ok());
    match status {
        Some(status) if body.is_empty() => Answer {
            status,
            ..Answer::told(Json::String(first.to_owned()))
        },
        Some(status) => Answer::new(status, body),
        None => Answer::new(200, body),
    }
}

fn garbage(line: &str) -> std::io::Error {
    std::io::Error::other(format!("the server said {line:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_in_the_headers_is_the_answers() {
        let answer = with_status(b"NATS/1.0 503\r\n\r\n", b"");
        assert_eq!((answer.status, answer.text.as_str()), (503, "NATS/1.0 503"));
        let answer = with_status(b"NATS/1.0\r\nNats-Sequence: 3\r\n\r\n", b"7");
        assert_eq!((answer.status, answer.text.as_str()), (200, "7"));
    }
}

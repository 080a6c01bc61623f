//! The smallest HTTP client that can ask kvnode anything, wrong things included.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;

/// An answer.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    /// The body as JSON.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| {
            panic!(
                "{error} in {} {}",
                self.status,
                String::from_utf8_lossy(&self.body)
            )
        })
    }

    /// A header's value.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (found, value) = line.split_once(':')?;
            found.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }
}

/// Sends one request on a connection of its own and reads the whole answer.
pub(crate) fn request(to: SocketAddr, method: &str, target: &str, body: &[u8]) -> io::Result<Answer> {
    request_with(to, method, target, "", body)
}

/// The same with header lines, each ended by `\r\n`.
pub(crate) fn request_with(
    to: SocketAddr,
    method: &str,
    target: &str,
    headers: &str,
    body: &[u8],
) -> io::Result<Answer> {
    let head = format!(
        "{method} {target} HTTP/1.1\r\nhost: {to}\r\nconnection: close\r\n{headers}content-length: {}\r\n\r\n",
        body.len()
    );
    raw(to, &[head.as_bytes(), body].concat())
}

/// A connection.
#[expect(clippy::disallowed_methods, reason = "the tests are the outside world")]
pub(crate) fn connect(to: SocketAddr) -> io::Result<TcpStream> {
    TcpStream::connect_timeout(&to, Duration::from_secs(2))
}

/// Sends these bytes and reads the whole answer.
pub(crate) fn raw(to: SocketAddr, bytes: &[u8]) -> io::Result<Answer> {
    let stream = connect(to)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    exchange(stream, bytes)
}

/// Sends these bytes over a connection and reads the whole answer, up to its end.
pub(crate) fn exchange(mut stream: impl Read + Write, bytes: &[u8]) -> io::Result<Answer> {
    // A server may answer and close before it has read an oversized body.
    let sent = stream.write_all(bytes);
    let mut answer = Vec::new();
    if let Err(error) = stream.read_to_end(&mut answer)
        && answer.is_empty()
    {
        return Err(error);
    }
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n");
    let Some(end) = end else {
        sent?;
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "no whole answer"));
    };
    let head = String::from_utf8_lossy(&answer[..end]).into_owned();
    let status = head
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok())
        .unwrap_or(0);
    Ok(Answer {
        status,
        head,
        body: answer[end + 4..].to_vec(),
    })
}

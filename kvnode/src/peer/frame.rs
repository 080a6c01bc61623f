//! Frames: `length u32 | crc32 u32 | body`, little endian.

use std::io;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncReadExt};

/// Longest body. A batch of log entries holds 2 MiB, or one entry of at most a key
/// and a value with their encoding; a transaction may hold several values.
pub const MAX_FRAME_BYTES: usize = 16 << 20;

/// Longest body before the other side is known: a [`Hello`](super::message::Hello) or its
/// answer.
pub const MAX_GREETING_BYTES: usize = 4 << 10;

/// Appends a frame holding `message` to `out`.
///
/// # Panics
/// When the message does not encode or is longer than [`MAX_FRAME_BYTES`]: what we
/// send is bounded where it is made.
pub fn encode<T: Serialize>(message: &T, out: &mut Vec<u8>) {
    let start = out.len();
    out.extend_from_slice(&[0; 8]);
    postcard::to_io(message, &mut *out).expect("messages encode into memory");
    close(out, start);
}

/// A frame around these bytes, whatever they are.
///
/// # Panics
/// When they are more than [`MAX_FRAME_BYTES`].
pub fn around(body: &[u8]) -> Vec<u8> {
    let mut out = [&[0; 8], body].concat();
    close(&mut out, 0);
    out
}

/// Fills in the head of the frame that began at `start`.
fn close(out: &mut [u8], start: usize) {
    let body = &out[start + 8..];
    assert!(
        body.len() <= MAX_FRAME_BYTES,
        "a frame of {} bytes is longer than any is made",
        body.len()
    );
    let (length, sum) = (body.len() as u32, crc32fast::hash(body));
    out[start..start + 4].copy_from_slice(&length.to_le_bytes());
    out[start + 4..start + 8].copy_from_slice(&sum.to_le_bytes());
}

/// Reads one frame; `None` when the stream ends between frames.
///
/// # Errors
/// `InvalidData` for a body too long, damaged, or not decoding; otherwise what the
/// stream says.
pub async fn read<T: DeserializeOwned>(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<T>> {
    read_within(stream, MAX_FRAME_BYTES).await
}

/// Reads one frame of at most `limit` bytes; `None` when the stream ends between frames.
///
/// # Errors
/// As [`read`].
pub async fn read_within<T: DeserializeOwned>(
    stream: &mut (impl AsyncRead + Unpin),
    limit: usize,
) -> io::Result<Option<T>> {
    let mut head = [0; 8];
    if stream.read(&mut head[..1]).await? == 0 {
        return Ok(None);
    }
    stream.read_exact(&mut head[1..]).await?;
    let length = u32::from_le_bytes([head[0], head[1], head[2], head[3]]) as usize;
    let sum = u32::from_le_bytes([head[4], head[5], head[6], head[7]]);
    if length > limit {
        return Err(invalid("a frame is longer than any is made"));
    }
    // Grown as bytes arrive: a forged length alone must not reserve memory.
    let mut body = Vec::with_capacity(length.min(64 << 10));
    if (&mut *stream).take(length as u64).read_to_end(&mut body).await? != length {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    if crc32fast::hash(&body) != sum {
        return Err(invalid("a frame does not match its checksum"));
    }
    postcard::from_bytes(&body)
        .map(Some)
        .map_err(|_| invalid("a frame does not decode"))
}

fn invalid(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_all(mut bytes: &[u8]) -> io::Result<Vec<String>> {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let mut messages = Vec::new();
            while let Some(message) = read(&mut bytes).await? {
                messages.push(message);
            }
            Ok(messages)
        })
    }

    /// Whatever bytes stand in a frame, decoding them ends in a message or an error.
    #[test]
    fn any_bytes_are_read_or_refused() {
        use rand::{RngExt, SeedableRng};

        use crate::peer::message::{Hello, Reply, Request};
        let seed = crate::env::rng::random_u64();
        println!("seed {seed}");
        let mut rng = rand::rngs::ChaCha8Rng::seed_from_u64(seed);
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let mut good = Vec::new();
        let command = crate::command::Command::new(crate::command::Operation::Tick);
        for request in [Request::Probe, Request::Propose(command, Some("tag".into()))] {
            encode(&(1_u64, request), &mut good);
        }
        for _ in 0..20_000 {
            let body: Vec<u8> = if rng.random() {
                (0..rng.random_range(0..80)).map(|_| rng.random()).collect()
            } else {
                let mut body = good.clone();
                for _ in 0..rng.random_range(1..4) {
                    let at = rng.random_range(0..body.len());
                    body[at] = rng.random();
                }
                body
            };
            let framed = around(&body);
            runtime.block_on(async {
                let _ = read_within::<Hello>(&mut &framed[..], MAX_GREETING_BYTES).await;
                let _ = read::<(u64, Request)>(&mut &framed[..]).await;
                let _ = read::<(u64, Reply)>(&mut &framed[..]).await;
                let _ = read::<(u64, Request)>(&mut &body[..]).await;
            });
        }
    }

    #[test]
    fn what_was_written_is_read() {
        let mut bytes = Vec::new();
        for message in ["", "one", &"x".repeat(100_000)] {
            encode(&message, &mut bytes);
        }
        assert_eq!(read_all(&bytes).unwrap(), ["", "one", &"x".repeat(100_000)]);
    }

    /// Every single flipped bit and every cut is noticed, or reads as a clean end.
    #[test]
    fn damage_is_noticed() {
        let mut bytes = Vec::new();
        encode(&"a message of some length", &mut bytes);
        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(read_all(&damaged).is_err(), "bit {bit}");
        }
        for cut in 1..bytes.len() {
            assert!(read_all(&bytes[..cut]).is_err(), "cut at {cut}");
        }
        assert!(read_all(&[]).unwrap().is_empty());
    }
}

//! Frames: `length u32 | crc32 u32 | body`, little endian.

use std::io;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncReadExt};

/// Longest body. A batch of log entries holds 2 MiB, or one entry of at most a key
/// and a value with their encoding; a transaction may hold several values.
pub const MAX_FRAME_BYTES: usize = 16 << 20;

/// Appends a frame holding `message` to `out`.
///
/// # Panics
/// When the message does not encode or is longer than [`MAX_FRAME_BYTES`]: what we
/// send is bounded where it is made.
pub fn encode<T: Serialize>(message: &T, out: &mut Vec<u8>) {
    let start = out.len();
    out.extend_from_slice(&[0; 8]);
    postcard::to_io(message, &mut *out).expect("messages encode into memory");
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
    let mut head = [0; 8];
    if stream.read(&mut head[..1]).await? == 0 {
        return Ok(None);
    }
    stream.read_exact(&mut head[1..]).await?;
    let length = u32::from_le_bytes([head[0], head[1], head[2], head[3]]) as usize;
    let sum = u32::from_le_bytes([head[4], head[5], head[6], head[7]]);
    if length > MAX_FRAME_BYTES {
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

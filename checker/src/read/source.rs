//! Where the bytes of a history come from: a file, standard input, memory; plain, or compressed by gzip or zstd,
//! told apart by their content.
//!
//! Nothing is decompressed ahead of its use, so a small file that unpacks to a huge one costs time and not memory.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Cursor, Read};
use std::path::Path;

use flate2::bufread::MultiGzDecoder;
use ruzstd::decoding::errors::{FrameDecoderError, ReadFrameHeaderError};
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};

/// The path that stands for standard input.
pub(crate) const STANDARD_INPUT: &str = "-";

/// The bytes of a history, unpacked.
pub(crate) struct Source<'a> {
    bytes: Box<dyn Read + Send + 'a>,
    /// What was looked at and is still to be read, from `at` on.
    head: Vec<u8>,
    at: usize,
}

/// A file is read in pieces of so many bytes.
const PIECE: usize = 128 * 1024;
/// The first bytes of gzip, and of zstd.
const GZIP: [u8; 2] = [0x1f, 0x8b];
const ZSTD: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
/// Frames of zstd that carry no content begin with a byte from 0x50 to 0x5f and these.
const ZSTD_SKIPPED: [u8; 3] = [0x2a, 0x4d, 0x18];

impl Source<'static> {
    /// A file, or standard input for `-`.
    pub(crate) fn open(path: &Path) -> io::Result<Source<'static>> {
        if path.as_os_str() == STANDARD_INPUT {
            return Source::new(io::stdin());
        }
        let file = File::open(path)?;
        if file.metadata()?.is_dir() {
            return Err(io::Error::from(io::ErrorKind::IsADirectory));
        }
        Source::new(file)
    }
}

impl<'a> Source<'a> {
    /// Whatever can be read, unpacked if it is packed.
    pub(crate) fn new(mut bytes: impl Read + Send + 'a) -> io::Result<Source<'a>> {
        let mut first = Vec::with_capacity(ZSTD.len());
        bytes.by_ref().take(ZSTD.len() as u64).read_to_end(&mut first)?;
        let (gzip, zstd) = (first.starts_with(&GZIP), is_zstd(&first));
        let whole = Cursor::new(first).chain(bytes);
        let packed = |whole| BufReader::with_capacity(PIECE, whole);
        let bytes: Box<dyn Read + Send + 'a> = if gzip {
            Box::new(MultiGzDecoder::new(packed(whole)))
        } else if zstd {
            Box::new(Frames::new(packed(whole)))
        } else {
            Box::new(whole)
        };
        Ok(Source {
            bytes,
            head: Vec::new(),
            at: 0,
        })
    }

    /// Looks at the first bytes, so many if there are.
    pub(crate) fn peek(&mut self, count: usize) -> io::Result<&[u8]> {
        let missing = count.saturating_sub(self.head.len() - self.at) as u64;
        self.bytes.by_ref().take(missing).read_to_end(&mut self.head)?;
        Ok(&self.head[self.at..])
    }

    /// Passes over bytes that were looked at.
    pub(crate) fn pass(&mut self, count: usize) {
        self.at += count.min(self.head.len() - self.at);
    }
}

impl Read for Source<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.at == self.head.len() {
            return self.bytes.read(into);
        }
        let count = into.len().min(self.head.len() - self.at);
        into[..count].copy_from_slice(&self.head[self.at..self.at + count]);
        self.at += count;
        if self.at == self.head.len() {
            (self.head, self.at) = (Vec::new(), 0);
        }
        Ok(count)
    }
}

impl std::fmt::Debug for Source<'_> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("Source")
    }
}

fn is_zstd(first: &[u8]) -> bool {
    let skipped = first.len() == 4 && first[0] & 0xf0 == 0x50 && first[1..] == ZSTD_SKIPPED;
    first == ZSTD || skipped
}

/// One frame of zstd after another, as `cat a.zst b.zst` or a parallel compressor makes them.
struct Frames<R> {
    packed: R,
    decoder: FrameDecoder,
    within: bool,
}

impl<R: BufRead> Frames<R> {
    fn new(packed: R) -> Self {
        Frames {
            packed,
            decoder: FrameDecoder::new(),
            within: false,
        }
    }

    /// Goes to the next frame that has content; says whether there is one.
    fn next_frame(&mut self) -> io::Result<bool> {
        while !self.packed.fill_buf()?.is_empty() {
            match self.decoder.init(&mut self.packed) {
                Ok(()) => return Ok(true),
                Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame {
                    length,
                    ..
                })) => {
                    let passed =
                        io::copy(&mut self.packed.by_ref().take(u64::from(length)), &mut io::sink())?;
                    if passed < u64::from(length) {
                        return Err(io::ErrorKind::UnexpectedEof.into());
                    }
                }
                Err(error) => return Err(damaged(error)),
            }
        }
        Ok(false)
    }
}

impl<R: BufRead> Read for Frames<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        loop {
            if !self.within {
                self.within = self.next_frame()?;
                if !self.within {
                    return Ok(0);
                }
            }
            let count = self.decoder.read(into)?;
            if count > 0 || into.is_empty() {
                return Ok(count);
            }
            if self.decoder.is_finished() {
                let told = self.decoder.get_checksum_from_data();
                if told.is_some() && told != self.decoder.get_calculated_checksum() {
                    return Err(damaged("its checksum differs"));
                }
                self.within = false;
            } else {
                let one = BlockDecodingStrategy::UptoBlocks(1);
                self.decoder
                    .decode_blocks(&mut self.packed, one)
                    .map_err(damaged)?;
            }
        }
    }
}

fn damaged(what: impl std::fmt::Display) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("damaged zstd: {what}"))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;
    use ruzstd::encoding::{CompressionLevel, compress_to_vec};

    use super::*;

    fn unpacked(bytes: &[u8]) -> io::Result<Vec<u8>> {
        let mut all = Vec::new();
        Source::new(bytes)?.read_to_end(&mut all)?;
        Ok(all)
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut packer = GzEncoder::new(Vec::new(), Compression::fast());
        packer.write_all(bytes).expect("memory takes everything");
        packer.finish().expect("memory takes everything")
    }

    #[test]
    fn plain_and_packed_are_told_apart() {
        let text = b"one line\nand another\n".repeat(10_000);
        let zstd = compress_to_vec(&text[..], CompressionLevel::Fastest);
        for packed in [text.clone(), gzip(&text), zstd] {
            assert!(unpacked(&packed).expect("whole") == text);
        }
        for short in [&b""[..], b"x", b"ab", b"abc"] {
            assert_eq!(unpacked(short).expect("plain"), short);
        }
    }

    #[test]
    fn several_packed_parts_are_one_text() {
        let (one, two) = (b"one\n".repeat(1000), b"two\n".repeat(1000));
        let both = [one.clone(), two.clone()].concat();
        let zstd = |bytes: &[u8]| compress_to_vec(bytes, CompressionLevel::Fastest);
        let skipped = [0x50, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 9, 9, 9];
        assert!(unpacked(&[gzip(&one), gzip(&two)].concat()).expect("whole") == both);
        let frames = [&skipped[..], &zstd(&one), &skipped, &zstd(&two)].concat();
        assert!(unpacked(&frames).expect("whole") == both);
    }

    #[test]
    fn damage_is_an_error() {
        let text: Vec<u8> = (0..200_000u32)
            .flat_map(|n| n.wrapping_mul(n).to_le_bytes())
            .collect();
        let packed = [gzip(&text), compress_to_vec(&text[..], CompressionLevel::Fastest)];
        for packed in packed {
            assert!(
                unpacked(&packed[..packed.len() / 2]).is_err(),
                "cut in the middle"
            );
            let mut flipped = packed.clone();
            flipped[packed.len() / 2] ^= 0x10;
            assert!(unpacked(&flipped).map_or(true, |found| found != text));
            assert!(unpacked(&flipped).is_err(), "a bit flipped");
        }
    }
}

//! A text in pieces that end where a line ends, so that each can be understood by itself.

use std::io::{self, Read};

use super::source::Source;

/// Whole lines.
#[derive(Debug, Default)]
pub(super) struct Block {
    pub(super) bytes: Vec<u8>,
    /// Whether the last line has its end; only at the end of the text it may not.
    pub(super) ended: bool,
    /// The line that begins here is longer than [`LONGEST_LINE`]; the block then holds nothing else.
    pub(super) too_long: bool,
}

/// Hands out a text block by block.
#[derive(Debug)]
pub(super) struct Blocks<'a> {
    source: Source<'a>,
    /// The beginning of a line of which the end was not read yet.
    left: Vec<u8>,
    over: bool,
}

/// A block holds about so many bytes; more if a line is longer.
const SIZE: usize = 256 * 1024;
/// Longer lines are refused: memory must not follow what a broken or hostile file says.
const LONGEST_LINE: usize = 64 << 20;

impl<'a> Blocks<'a> {
    pub(super) fn new(source: Source<'a>) -> Blocks<'a> {
        Blocks {
            source,
            left: Vec::new(),
            over: false,
        }
    }

    /// The next block, in the room of one that is not needed any more.
    pub(super) fn next(&mut self, mut room: Vec<u8>) -> io::Result<Option<Block>> {
        room.clear();
        room.append(&mut self.left);
        while !self.over {
            let before = room.len();
            let wanted = SIZE.max(before).min(LONGEST_LINE + 1 - before);
            room.resize(before + wanted, 0);
            let read = fill(&mut self.source, &mut room[before..])?;
            room.truncate(before + read);
            self.over = read < wanted;
            if let Some(end) = memchr::memrchr(b'\n', &room[before..]) {
                self.left.extend_from_slice(&room[before + end + 1..]);
                room.truncate(before + end + 1);
                return Ok(Some(Block {
                    bytes: room,
                    ended: true,
                    too_long: false,
                }));
            }
            if room.len() > LONGEST_LINE {
                self.over = true;
                return Ok(Some(Block {
                    bytes: Vec::new(),
                    ended: true,
                    too_long: true,
                }));
            }
        }
        Ok((!room.is_empty()).then_some(Block {
            bytes: room,
            ended: false,
            too_long: false,
        }))
    }
}

/// Reads until there is no more room or nothing more to read.
fn fill(source: &mut Source<'_>, room: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < room.len() {
        match source.read(&mut room[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_together_are_the_text() {
        let lines: Vec<String> = (0..40_000)
            .map(|n| format!("{n:0>width$}\n", width = n % 97))
            .collect();
        for tail in ["", "no end"] {
            let text = lines.concat() + tail;
            let mut blocks = Blocks::new(Source::new(text.as_bytes()).expect("memory"));
            let mut all = Vec::new();
            while let Some(block) = blocks.next(vec![7; 10]).expect("memory") {
                assert_eq!(block.ended, block.bytes.ends_with(b"\n"));
                all.extend_from_slice(&block.bytes);
            }
            assert!(all == text.as_bytes());
        }
    }

    #[test]
    fn a_line_without_end_is_not_held() {
        let endless = io::repeat(b'x');
        let mut blocks = Blocks::new(Source::new(endless.take(10 << 30)).expect("memory"));
        let block = blocks.next(Vec::new()).expect("memory").expect("a block");
        assert!(block.too_long && block.bytes.is_empty());
        assert!(blocks.next(Vec::new()).expect("memory").is_none());
    }
}

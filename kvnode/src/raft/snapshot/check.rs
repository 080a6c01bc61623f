//! Checks a snapshot's bytes as they pass by, keeping none of them.

use std::io;

use super::{Header, MAGIC, MAX_BLOCK_BYTES};

/// What a snapshot says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct About {
    /// Term of the last entry applied.
    pub term: u64,
    /// Index of the last entry applied.
    pub index: u64,
    /// How many keys there are.
    pub keys: u64,
    /// Hash of the state.
    pub digest: u128,
}

/// Follows the blocks of a snapshot: their lengths and checksums, and the last one.
/// That its entries add up to its digest only a reader of the whole can tell.
#[derive(Debug, Default)]
pub struct Check {
    /// Bytes that were followed.
    offset: u64,
    /// The magic bytes, or a block's head, as far as it has come.
    head: Vec<u8>,
    begun: bool,
    block: Option<Block>,
    about: Option<About>,
    ended: bool,
}

#[derive(Debug)]
struct Block {
    begins: u64,
    left: u32,
    sum: u32,
    hasher: crc32fast::Hasher,
    /// The bytes, of the header alone.
    kept: Option<Vec<u8>>,
}

impl Check {
    /// Takes the next bytes.
    ///
    /// # Errors
    /// `InvalidData` with the offset of what is wrong.
    pub fn push(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            if self.ended {
                return Err(wrong(self.offset, "there is something behind the end"));
            }
            let taken = match &mut self.block {
                Some(block) => {
                    let taken = bytes.len().min(block.left as usize);
                    block.hasher.update(&bytes[..taken]);
                    if let Some(kept) = &mut block.kept {
                        kept.extend_from_slice(&bytes[..taken]);
                    }
                    block.left -= taken as u32;
                    taken
                }
                None => {
                    let taken = bytes.len().min(8 - self.head.len());
                    self.head.extend_from_slice(&bytes[..taken]);
                    taken
                }
            };
            bytes = &bytes[taken..];
            self.offset += taken as u64;
            if self.block.as_ref().is_some_and(|block| block.left == 0) {
                self.close()?;
            } else if self.head.len() == 8 {
                self.open()?;
            }
        }
        Ok(())
    }

    /// Ends: what the snapshot says of itself, if all of it has passed.
    ///
    /// # Errors
    /// `InvalidData` when the end is missing.
    pub fn finish(self) -> io::Result<About> {
        match self.about {
            Some(about) if self.ended => Ok(about),
            _ => Err(wrong(self.offset, "it ends in the middle")),
        }
    }

    /// The eight bytes before a block, or before all of them.
    fn open(&mut self) -> io::Result<()> {
        let begins = self.offset - 8;
        let head = std::mem::take(&mut self.head);
        if !self.begun {
            self.begun = true;
            return match head == MAGIC {
                true => Ok(()),
                false => Err(wrong(begins, "this is no snapshot of kvnode")),
            };
        }
        let number = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        let (left, sum) = (number(0), number(4));
        match left {
            0 if sum != 0 => Err(wrong(begins, "the last block is wrong")),
            0 if self.about.is_none() => Err(wrong(begins, "the header is missing")),
            0 => {
                self.ended = true;
                Ok(())
            }
            _ if left > MAX_BLOCK_BYTES => Err(wrong(begins, "a block is longer than any that is written")),
            _ => {
                self.block = Some(Block {
                    begins,
                    left,
                    sum,
                    hasher: crc32fast::Hasher::new(),
                    kept: self.about.is_none().then(Vec::new),
                });
                Ok(())
            }
        }
    }

    fn close(&mut self) -> io::Result<()> {
        let Some(block) = self.block.take() else {
            return Ok(());
        };
        if block.hasher.finalize() != block.sum {
            return Err(wrong(block.begins, "a block does not match its checksum"));
        }
        if let Some(kept) = block.kept {
            let header: Header =
                postcard::from_bytes(&kept).map_err(|_| wrong(block.begins, "the header does not decode"))?;
            self.about = Some(About {
                term: header.meta.last_log_id.map_or(0, |last| last.leader_id.term),
                index: header.applied,
                keys: header.keys,
                digest: header.digest,
            });
        }
        Ok(())
    }
}

fn wrong(offset: u64, what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("at byte {offset}: {what}"))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::command::{Command, Operation};
    use crate::raft::SnapshotMeta;
    use crate::raft::snapshot::write_to;
    use crate::state::State;

    fn snapshot() -> (Vec<u8>, State) {
        let mut state = State::default();
        for index in 1..=3000 {
            let set = Operation::Set {
                key: Arc::from(format!("key {index}")),
                value: Arc::from("value ".repeat(10)),
                ttl_ms: None,
            };
            state.apply(1, index, &Command::new(set), &mut Vec::new());
        }
        let mut bytes = Vec::new();
        write_to(&mut bytes, &SnapshotMeta::default(), &state).unwrap();
        (bytes, state)
    }

    fn checked(bytes: &[u8], piece: usize) -> io::Result<About> {
        let mut check = Check::default();
        for piece in bytes.chunks(piece) {
            check.push(piece)?;
        }
        check.finish()
    }

    #[test]
    fn a_whole_snapshot_passes_in_pieces_of_any_size() {
        let (bytes, state) = snapshot();
        for piece in [1, 7, 8, 4096, bytes.len()] {
            let about = checked(&bytes, piece).unwrap();
            assert_eq!((about.index, about.keys), (3000, 3000), "{piece}");
            assert_eq!(about.digest, state.digest(), "{piece}");
        }
    }

    /// Every bit is covered by something: the magic bytes, a length, a checksum.
    #[test]
    fn a_bit_that_turned_or_a_byte_that_is_missing_does_not_pass() {
        let (bytes, _) = snapshot();
        for at in (0..bytes.len())
            .step_by(997)
            .chain([0, 8, 12, 16, bytes.len() - 8, bytes.len() - 1])
        {
            let mut damaged = bytes.clone();
            damaged[at] ^= 0x10;
            assert!(checked(&damaged, 512).is_err(), "byte {at} of {}", bytes.len());
            assert!(
                checked(&bytes[..at], 512).is_err(),
                "cut at {at} of {}",
                bytes.len()
            );
        }
        let longer = [&bytes[..], &[0]].concat();
        assert!(checked(&longer, 512).is_err());
    }
}

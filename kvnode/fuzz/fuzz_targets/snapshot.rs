//! A snapshot on its way to or from a backup: it passes or does not, whatever the pieces
//! in which it comes.
#![no_main]

use kvnode::raft::snapshot::{About, Check};
use libfuzzer_sys::fuzz_target;

const MAGIC: &[u8] = b"KVSNAP1\n";

fn followed(bytes: &[u8], piece: usize) -> Result<About, String> {
    let mut check = Check::default();
    for piece in bytes.chunks(piece) {
        check.push(piece).map_err(|error| error.to_string())?;
    }
    check.finish().map_err(|error| error.to_string())
}

fn agree(bytes: &[u8]) {
    let whole = followed(bytes, bytes.len().max(1));
    for piece in [1, 7, 64] {
        assert_eq!(followed(bytes, piece), whole, "in pieces of {piece}");
    }
}

fuzz_target!(|bytes: &[u8]| {
    agree(bytes);
    // The same as a header with the right checksum, and the end behind it.
    let (length, sum) = ((bytes.len() as u32).to_le_bytes(), crc32fast::hash(bytes).to_le_bytes());
    agree(&[MAGIC, &length, &sum, bytes, &[0; 8]].concat());
});

//! Every seed of the fuzz targets, through what the targets assert.

#[allow(unreachable_pub, reason = "public where it is a crate of its own")]
#[path = "../../fuzz/src/lib.rs"]
mod asserted;

use std::fs;
use std::path::PathBuf;

#[test]
fn seeds_hold() {
    let seeds = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds");
    type Asserts = fn(&[u8]);
    let targets: [(&str, Asserts); 5] = [
        ("jsonl", asserted::jsonl),
        ("edn", asserted::whole),
        ("jepsen_log", asserted::whole),
        ("packed", asserted::whole),
        ("line", asserted::line),
    ];
    for (target, asserts) in targets {
        let mut tried = 0;
        for seed in fs::read_dir(seeds.join(target)).expect("seeds of the target") {
            let bytes = fs::read(seed.expect("a seed").path()).expect("a seed");
            asserts(&bytes);
            // Cut off anywhere, it is still no reason to panic.
            for end in 0..bytes.len().min(400) {
                asserts(&bytes[..end]);
            }
            tried += 1;
        }
        assert!(tried >= 2, "{target} has {tried} seeds");
    }
}

//! What the fuzz targets judge, on their seeds and on some random bytes: the gate needs no fuzzer.

#[path = "../fuzz/src/engines.rs"]
mod judged;

use std::fs;
use std::path::PathBuf;

use rand::rngs::ChaCha8Rng;
use rand::{Rng, RngExt, SeedableRng};

/// A number from the environment, for longer runs (`CHECKER_CASES`) and to repeat one (`CHECKER_SEED`).
fn setting(name: &str, default: u64) -> u64 {
    let told = std::env::var(name).ok();
    told.map_or(default, |told| told.parse().expect("a number"))
}

#[test]
fn seeds_hold() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds/engines");
    let mut verdicts = [0, 0];
    for seed in fs::read_dir(folder).expect("the seeds") {
        let path = seed.expect("a seed").path();
        let bytes = fs::read(&path).expect("a readable seed");
        println!("{}", path.display());
        verdicts[usize::from(judged::judged(&bytes))] += 1;
    }
    assert!(
        verdicts.iter().all(|&count| count >= 5),
        "both verdicts: {verdicts:?}"
    );
}

#[test]
fn random_bytes_hold() {
    let first = setting("CHECKER_SEED", 20_261_121);
    let mut verdicts = [0, 0];
    for seed in checker::generate::seeds(first, setting("CHECKER_CASES", 2000)) {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let mut bytes = vec![0; random.random_range(4..40)];
        random.fill_bytes(&mut bytes);
        println!("seed {seed}");
        verdicts[usize::from(judged::judged(&bytes))] += 1;
    }
    println!("seed {first}: {} illegal, {} legal", verdicts[0], verdicts[1]);
}

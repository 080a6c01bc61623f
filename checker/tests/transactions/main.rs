//! Transactions: told scenarios, the corpus, random histories against brute force, simulated stores.

mod command;
mod corpus;
mod input;
mod oracle;
mod proof;
mod random;
mod scenarios;
mod script;
mod stores;
mod stream_proofs;
mod streams;

/// A number from the environment, for longer runs (`CHECKER_CASES`) and to repeat one (`CHECKER_SEED`).
fn setting(name: &str, default: u64) -> u64 {
    let told = std::env::var(name).ok();
    told.map_or(default, |told| {
        told.parse()
            .unwrap_or_else(|_| panic!("{name} is a number, not {told}"))
    })
}

//! Randomness.
#![allow(clippy::disallowed_methods)]

/// A random number that nobody can guess, seeded by the operating system. Used to tell
/// data directories apart and to make tokens, never to decide a result.
pub fn random_u64() -> u64 {
    rand::random()
}

//! Randomness.
#![allow(clippy::disallowed_methods)]

/// A random number from the operating system's generator. Used to tell data
/// directories apart, never to decide a result.
pub fn random_u64() -> u64 {
    rand::random()
}

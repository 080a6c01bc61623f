//! The only door to the outside world: sockets, files, time and randomness.
//!
//! Nothing else in this crate names `tokio::net`, `std::fs`, `Instant::now` or an
//! unseeded generator, and `clippy.toml` says so. A simulated world therefore has
//! one module to replace, and a failing disk one place to stand in.

pub mod clock;
pub mod fs;
pub mod net;
pub mod rng;

//! A run from its first process to its last line.

mod workers;

pub use workers::Crew;

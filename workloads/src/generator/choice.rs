//! Which of the keys in use an operation is about.

use std::fmt;
use std::str::FromStr;

use rand::{Rng, RngExt};

use super::Zipf;

/// The exponent where only `zipf` is said: Zipf's law itself.
const LAW: f64 = 1.0;
/// The most that makes sense: of ten keys the first is then asked for 999 times of 1000.
const STEEPEST: f64 = 10.0;

/// How unequal the keys in use are.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub enum KeyChoice {
    /// All alike.
    #[default]
    Uniform,
    /// The `n`-th as often as 1 / n^s: a few are asked for all the time, most hardly ever.
    Zipf(f64),
}

impl KeyChoice {
    /// A choice among so many places.
    ///
    /// # Panics
    /// When there is none.
    #[must_use]
    pub fn among(self, places: usize) -> Places {
        assert!(places > 0, "a choice needs places");
        Places(match self {
            Self::Uniform => Drawn::Evenly(places),
            Self::Zipf(exponent) => Drawn::Unevenly(Zipf::new(places, exponent)),
        })
    }
}

impl fmt::Display for KeyChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Uniform => f.write_str("uniform"),
            Self::Zipf(exponent) => write!(f, "zipf:{exponent}"),
        }
    }
}

impl FromStr for KeyChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let exponent = match text.split_once(':') {
            None if text == "uniform" => return Ok(Self::Uniform),
            None if text == "zipf" => Some(LAW),
            Some(("zipf", exponent)) => exponent.parse().ok(),
            _ => None,
        };
        exponent
            .filter(|exponent| *exponent > 0.0 && *exponent <= STEEPEST)
            .map(Self::Zipf)
            .ok_or_else(|| {
                format!("write it as uniform, zipf, or zipf:1.1 with a number above 0, at most {STEEPEST}")
            })
    }
}

/// So many places, drawn from as a [`KeyChoice`] says.
#[derive(Debug, Clone)]
pub struct Places(Drawn);

#[derive(Debug, Clone)]
enum Drawn {
    Evenly(usize),
    Unevenly(Zipf),
}

impl Places {
    /// One of them, counted from 0.
    pub fn draw(&self, rng: &mut impl Rng) -> usize {
        match &self.0 {
            Drawn::Evenly(places) => rng.random_range(0..*places),
            Drawn::Unevenly(zipf) => zipf.draw(rng),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_choice_reads_as_it_is_written() {
        for (text, expected) in [
            ("uniform", Some(KeyChoice::Uniform)),
            ("zipf", Some(KeyChoice::Zipf(1.0))),
            ("zipf:1.1", Some(KeyChoice::Zipf(1.1))),
            ("zipf:0", None),
            ("zipf:11", None),
            ("zipf:nan", None),
            ("zipf:", None),
            ("uniform:2", None),
            ("pareto", None),
        ] {
            let read: Option<KeyChoice> = text.parse().ok();
            assert_eq!(read, expected, "{text}");
            if let Some(choice) = read {
                assert_eq!(choice.to_string().parse(), Ok(choice));
            }
        }
    }
}

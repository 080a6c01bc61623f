//! Many runs in a few numbers, and the exit code that they amount to.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{Ending, Trial, Verdict};

/// How many runs ended how.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Tally {
    /// Runs that passed.
    pub valid: usize,
    /// Runs that found a violation.
    pub illegal: usize,
    /// Runs that are no evidence.
    pub unknown: usize,
    /// Runs without a verdict: the harness failed, or the store did not start.
    pub broken: usize,
    /// Violations by name.
    pub anomalies: BTreeMap<String, usize>,
    /// What all took together, in seconds.
    pub took_s: f64,
}

impl Tally {
    /// Counts.
    pub fn of<'a>(trials: impl IntoIterator<Item = &'a Trial>) -> Self {
        let mut tally = Self::default();
        for trial in trials {
            match trial.verdict {
                Verdict::Valid => tally.valid += 1,
                Verdict::Illegal => tally.illegal += 1,
                Verdict::Unknown(_) => tally.unknown += 1,
                Verdict::Broken(_) => tally.broken += 1,
            }
            if let Some(anomaly) = &trial.anomaly {
                *tally.anomalies.entry(anomaly.clone()).or_default() += 1;
            }
            tally.took_s += trial.wall_s;
        }
        tally
    }

    /// How many there were.
    #[must_use]
    pub fn runs(&self) -> usize {
        self.valid + self.illegal + self.unknown + self.broken
    }

    /// The worst verdict of all: 1 where one run is illegal, else 255 where one has no verdict, else 2 where one
    /// is unknown, nothing was run or somebody ended it, else 0. A budget that is used up changes nothing.
    #[must_use]
    pub fn exit_code(&self, ending: &Ending) -> u8 {
        if self.illegal > 0 {
            1
        } else if self.broken > 0 {
            255
        } else if self.unknown > 0 || self.runs() == 0 || ending.interrupted {
            2
        } else {
            0
        }
    }

    /// The tally in a line.
    #[must_use]
    pub fn line(&self) -> String {
        let runs = self.runs();
        let mut line = format!(
            "{runs} run{} in {}: {} valid, {} illegal, {} unknown",
            if runs == 1 { "" } else { "s" },
            span(self.took_s),
            self.valid,
            self.illegal,
            self.unknown
        );
        if self.broken > 0 {
            line.push_str(&format!(", {} without a verdict", self.broken));
        }
        if !self.anomalies.is_empty() {
            let named: Vec<String> = self
                .anomalies
                .iter()
                .map(|(name, count)| format!("{name} {count}"))
                .collect();
            line.push_str(&format!(" ({})", named.join(", ")));
        }
        line
    }
}

/// A length of time as people say it.
pub(super) fn span(seconds: f64) -> String {
    let whole = seconds.round() as u64;
    match (whole / 3600, whole / 60 % 60, whole % 60) {
        (0, 0, _) => format!("{seconds:.1} s"),
        (0, minutes, rest) => format!("{minutes} min {rest:02} s"),
        (hours, minutes, _) => format!("{hours} h {minutes:02} min"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::carry_out::tests::trial;
    use super::*;

    #[test]
    fn the_worst_verdict_decides_and_nothing_is_not_green() {
        let unknown = || Verdict::Unknown(vec!["too few".into()]);
        let broken = || Verdict::Broken("no TUN".into());
        let cases = [
            (vec![], 2),
            (vec![Verdict::Valid], 0),
            (vec![Verdict::Valid, unknown()], 2),
            (vec![Verdict::Valid, unknown(), broken()], 255),
            (vec![Verdict::Valid, unknown(), broken(), Verdict::Illegal], 1),
        ];
        let whole = Ending::default();
        for (verdicts, code) in cases {
            let trials: Vec<Trial> = verdicts.into_iter().map(|verdict| trial(1, verdict)).collect();
            let tally = Tally::of(&trials);
            assert_eq!(tally.exit_code(&whole), code, "{}", tally.line());
        }
        let interrupted = Ending {
            interrupted: true,
            ..whole
        };
        assert_eq!(Tally::of(&[trial(1, Verdict::Valid)]).exit_code(&interrupted), 2);
    }

    #[test]
    fn times_read_as_people_say_them() {
        for (seconds, expected) in [(3.21, "3.2 s"), (61.0, "1 min 01 s"), (7_260.0, "2 h 01 min")] {
            assert_eq!(span(seconds), expected);
        }
    }
}

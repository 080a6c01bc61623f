//! What all trials come to: a table, its figures, and what is to be said against them.

use std::collections::BTreeMap;
use std::fmt::{self, Write};

use serde::Serialize;

use super::Verdict;
use super::catalogue::{BUGS, Bug};
use super::trial::{Against, Plan, Trial};

/// Of the runs of a bug against its preset, the share that must catch it.
const PRESET_SHARE: f64 = 0.9;
/// A bug counts as caught by the default run when this share of its runs catch it.
const DEFAULT_SHARE: f64 = 0.5;
/// The share of all bugs that the default run must catch so.
const DEFAULT_BUGS: f64 = 0.7;
/// Of what is caught, the share that must be called by a right name.
const NAMED_SHARE: f64 = 0.8;

/// The runs of one bug against one thing.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Row {
    /// How many runs there were.
    pub runs: usize,
    /// How many of them caught it.
    pub caught: usize,
    /// How many could not say, or broke.
    pub unknown: usize,
    /// Median time of the load until it was caught, in seconds.
    pub median_s: Option<f64>,
    /// Median number of operations until then.
    pub median_operations: Option<u64>,
    /// How often which anomaly was named.
    pub anomalies: BTreeMap<String, usize>,
    /// How many of those caught were called by a name that follows from the bug.
    pub named_right: usize,
}

/// One bug, against its preset and against the default run.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct BugRow {
    /// The bug.
    pub bug: &'static str,
    /// The preset's workload and faults.
    pub workload: &'static str,
    /// The preset's faults.
    pub nemesis: &'static str,
    /// The preset in words: also how many faults at once, and how many nodes, where that is not as usual.
    pub preset_in_words: String,
    /// Against the preset.
    pub preset: Row,
    /// Against the default run.
    pub default: Row,
}

/// The clean build under one preset.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CleanRow {
    /// The workload; none for the default run.
    pub workload: Option<String>,
    /// Its faults.
    pub nemesis: Option<String>,
    /// All of it in words.
    pub in_words: String,
    /// How many runs there were.
    pub runs: usize,
    /// The sentences of those that were accused.
    pub false_alarms: Vec<String>,
    /// The reasons of those that could not say, or broke.
    pub unknown: Vec<String>,
}

/// The scorecard.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Table {
    /// One row a bug that was run, in the order of names.
    pub bugs: Vec<BugRow>,
    /// The build without bugs.
    pub clean: Vec<CleanRow>,
    /// The machine's load average while it ran, from the least to the most.
    pub busy: (f64, f64),
    figures: Figures,
}

/// What the table comes to.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Figures {
    /// Bugs that their preset caught often enough, of those that ran.
    pub preset_bugs: (usize, usize),
    /// Bugs that the default run caught often enough, of those that ran.
    pub default_bugs: (usize, usize),
    /// Violations that were called by a right name, of all that were caught.
    pub named_right: (usize, usize),
    /// False alarms, of the runs of the clean build.
    pub false_alarms: (usize, usize),
    /// Runs of the clean build that could not say.
    pub unknown: usize,
    /// The bugs that their preset caught too seldom.
    pub missed: Vec<String>,
}

impl Table {
    /// The table of these trials.
    #[must_use]
    pub fn of(trials: &[Trial]) -> Self {
        let of_bug = |bug: &Bug, against: Against| -> Row {
            let trials = trials
                .iter()
                .filter(|trial| trial.plan.against == against && trial.plan.bug.as_deref() == Some(bug.name));
            Row::of(bug, &trials.collect::<Vec<_>>())
        };
        let bugs = BUGS.iter().map(|bug| BugRow {
            bug: bug.name,
            workload: bug.preset.workload,
            nemesis: bug.preset.nemesis,
            preset_in_words: bug.preset.in_words(),
            preset: of_bug(bug, Against::Preset),
            default: of_bug(bug, Against::Default),
        });
        let bugs: Vec<BugRow> = bugs
            .filter(|row| row.preset.runs + row.default.runs > 0)
            .collect();
        let mut clean: BTreeMap<(bool, String), CleanRow> = BTreeMap::new();
        for trial in trials.iter().filter(|trial| trial.plan.against == Against::Clean) {
            let Plan {
                workload, nemesis, ..
            } = trial.plan.clone();
            let in_words = trial.plan.against_what();
            // The default run first.
            let row = clean
                .entry((workload.is_some(), in_words.clone()))
                .or_insert(CleanRow {
                    workload,
                    nemesis,
                    in_words,
                    runs: 0,
                    false_alarms: Vec::new(),
                    unknown: Vec::new(),
                });
            row.runs += 1;
            match &trial.verdict {
                Verdict::Valid => {}
                Verdict::Illegal => row.false_alarms.push(trial.sentence.clone()),
                Verdict::Unknown(why) => {
                    row.unknown
                        .push(format!("seed {}: {}", trial.plan.seed, why.join("; ")));
                }
                Verdict::Broken(why) => row
                    .unknown
                    .push(format!("seed {}: broke: {why}", trial.plan.seed)),
            }
        }
        let loads = trials.iter().map(|trial| trial.busy);
        let busy = (
            loads.clone().fold(f64::INFINITY, f64::min),
            loads.fold(0.0, f64::max),
        );
        let clean: Vec<CleanRow> = clean.into_values().collect();
        Self {
            figures: Figures::of(&bugs, &clean),
            busy: (busy.0.min(busy.1), busy.1),
            bugs,
            clean,
        }
    }

    /// What it comes to.
    #[must_use]
    pub fn figures(&self) -> &Figures {
        &self.figures
    }

    /// The bugs that were run and not caught every time, one line each.
    #[must_use]
    pub fn missed(&self) -> Vec<String> {
        let rows = self.bugs.iter().map(|row| (row.bug, &row.preset));
        rows.filter(|(_, row)| row.caught < row.runs)
            .map(|(bug, row)| format!("{bug}: caught in {} of {} runs", row.caught, row.runs))
            .collect()
    }

    /// The table for people.
    #[must_use]
    pub fn markdown(&self) -> String {
        let mut out = String::new();
        let mut line = |text: String| writeln!(out, "{text}").expect("writing to a string");
        line(
            "| bug | its preset | caught | median | operations | called | default run | median | called right |\n\
             |---|---|---|---|---|---|---|---|---|"
                .into(),
        );
        for row in &self.bugs {
            let Row { caught, runs, .. } = row.preset;
            let right = row.preset.named_right + row.default.named_right;
            line(format!(
                "| [{bug}]({bug}.md) | {} | {caught} of {runs} | {} | {} | {} | {} of {} | {} | {right} of {} |",
                row.preset_in_words,
                seconds(row.preset.median_s),
                row.preset
                    .median_operations
                    .map_or_else(|| "–".to_owned(), |operations| operations.to_string()),
                both(&row.preset.anomalies, &row.default.anomalies),
                row.default.caught,
                row.default.runs,
                seconds(row.default.median_s),
                row.preset.caught + row.default.caught,
                bug = row.bug,
            ));
        }
        if !self.clean.is_empty() {
            line(
                "\n| clean build: workload, faults | runs | false alarms | unknown |\n|---|---|---|---|"
                    .into(),
            );
        }
        for row in &self.clean {
            line(format!(
                "| {} | {} | {} | {} |",
                row.in_words,
                row.runs,
                row.false_alarms.len(),
                row.unknown.len()
            ));
        }
        line(format!("\n{}", self.figures.in_words()));
        line(format!(
            "The machine's load average was {:.1} to {:.1}.",
            self.busy.0, self.busy.1
        ));
        out
    }
}

impl Row {
    fn of(bug: &Bug, trials: &[&Trial]) -> Self {
        let caught: Vec<&Trial> = trials
            .iter()
            .copied()
            .filter(|trial| trial.verdict == Verdict::Illegal)
            .collect();
        let mut anomalies = BTreeMap::new();
        for anomaly in caught.iter().filter_map(|trial| trial.anomaly.clone()) {
            *anomalies.entry(anomaly).or_insert(0) += 1;
        }
        let mut times: Vec<f64> = caught.iter().map(|trial| trial.load_s).collect();
        times.sort_by(f64::total_cmp);
        let mut operations: Vec<u64> = caught.iter().map(|trial| trial.operations).collect();
        operations.sort_unstable();
        let right = |trial: &&&Trial| trial.anomaly.as_deref().is_some_and(|name| bug.explains(name));
        let cannot_say = |trial: &&&Trial| matches!(trial.verdict, Verdict::Unknown(_) | Verdict::Broken(_));
        Self {
            runs: trials.len(),
            caught: caught.len(),
            unknown: trials.iter().filter(cannot_say).count(),
            median_s: times.get(times.len() / 2).copied(),
            median_operations: operations.get(operations.len() / 2).copied(),
            anomalies,
            named_right: caught.iter().filter(right).count(),
        }
    }

    /// Whether at least this share of its runs caught it.
    fn reaches(&self, share: f64) -> bool {
        self.runs > 0 && self.caught as f64 >= share * self.runs as f64
    }
}

impl Figures {
    fn of(bugs: &[BugRow], clean: &[CleanRow]) -> Self {
        let count = |row: fn(&BugRow) -> &Row, share: f64| {
            let ran = bugs.iter().map(row).filter(|row| row.runs > 0);
            (ran.clone().filter(|row| row.reaches(share)).count(), ran.count())
        };
        let preset_bugs = count(|row| &row.preset, PRESET_SHARE);
        let missed = bugs
            .iter()
            .filter(|row| row.preset.runs > 0 && !row.preset.reaches(PRESET_SHARE))
            .map(|row| format!("{} ({} of {})", row.bug, row.preset.caught, row.preset.runs));
        let sum = |of: fn(&Row) -> usize| -> usize {
            bugs.iter().map(|row| of(&row.preset) + of(&row.default)).sum()
        };
        Self {
            preset_bugs,
            default_bugs: count(|row| &row.default, DEFAULT_SHARE),
            named_right: (sum(|row| row.named_right), sum(|row| row.caught)),
            false_alarms: (
                clean.iter().map(|row| row.false_alarms.len()).sum(),
                clean.iter().map(|row| row.runs).sum(),
            ),
            unknown: clean.iter().map(|row| row.unknown.len()).sum(),
            missed: missed.collect(),
        }
    }

    /// All of them in a few sentences.
    #[must_use]
    pub fn in_words(&self) -> String {
        format!(
            "Its preset catches {} of {} bugs in at least {:.0} % of the runs, the default run {} of {} in at least {:.0} %. \
             {} of {} violations were called by a right name. The clean build was accused in {} of {} runs; {} could not say.",
            self.preset_bugs.0,
            self.preset_bugs.1,
            PRESET_SHARE * 100.0,
            self.default_bugs.0,
            self.default_bugs.1,
            DEFAULT_SHARE * 100.0,
            self.named_right.0,
            self.named_right.1,
            self.false_alarms.0,
            self.false_alarms.1,
            self.unknown,
        )
    }

    /// Which figures are missed, one line each.
    #[must_use]
    pub fn complaints(&self) -> Vec<String> {
        let mut complaints = Vec::new();
        if !self.missed.is_empty() {
            complaints.push(format!(
                "their presets catch too seldom: {}",
                self.missed.join(", ")
            ));
        }
        let (caught, of) = self.default_bugs;
        if (caught as f64) < DEFAULT_BUGS * of as f64 {
            complaints.push(format!("the default run catches {caught} of {of} bugs"));
        }
        let (right, of) = self.named_right;
        if (right as f64) < NAMED_SHARE * of as f64 {
            complaints.push(format!("{right} of {of} violations were called by a right name"));
        }
        if self.false_alarms.0 > 0 {
            let (alarms, runs) = self.false_alarms;
            complaints.push(format!("the clean build was accused in {alarms} of {runs} runs"));
        }
        if self.unknown > 0 {
            complaints.push(format!("{} runs of the clean build could not say", self.unknown));
        }
        complaints
    }
}

impl Trial {
    /// Whether it ended as it must: a bug caught, a clean build found clean.
    #[must_use]
    pub fn as_wanted(&self) -> bool {
        match self.plan.against {
            Against::Preset | Against::Default => self.verdict == Verdict::Illegal,
            Against::Clean => self.verdict == Verdict::Valid,
        }
    }
}

/// One line for the terminal.
impl fmt::Display for Trial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plan = &self.plan;
        let what = plan.bug.as_deref().unwrap_or("no bug");
        let against = plan.against_what();
        let verdict = match &self.verdict {
            Verdict::Illegal => format!("illegal: {}", self.anomaly.as_deref().unwrap_or("?")),
            Verdict::Valid => "valid".to_owned(),
            Verdict::Unknown(why) => format!("unknown: {}", why.join("; ")),
            Verdict::Broken(why) => format!("BROKEN: {why}"),
        };
        write!(
            f,
            "{what:28} {against:44} seed {:<6} {:>5.1} s {:>6} ops  {verdict}",
            plan.seed, self.load_s, self.operations
        )
    }
}

fn seconds(median: Option<f64>) -> String {
    median.map_or_else(|| "–".to_owned(), |seconds| format!("{seconds:.1} s"))
}

/// The anomalies of both rows, the most frequent first.
fn both(one: &BTreeMap<String, usize>, two: &BTreeMap<String, usize>) -> String {
    let mut sums = one.clone();
    for (name, times) in two {
        *sums.entry(name.clone()).or_insert(0) += times;
    }
    let mut sums: Vec<(String, usize)> = sums.into_iter().collect();
    sums.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(&b.0)));
    if sums.is_empty() {
        return "–".to_owned();
    }
    let said = sums.iter().map(|(name, times)| format!("{name} ({times})"));
    said.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(crate) fn trial(
        against: Against,
        bug: Option<&str>,
        seed: u64,
        verdict: Verdict,
        anomaly: &str,
    ) -> Trial {
        Trial {
            plan: Plan {
                against,
                bug: bug.map(str::to_owned),
                workload: None,
                nemesis: None,
                at_once: None,
                nodes: None,
                seed,
                seconds: 60,
            },
            anomaly: (verdict == Verdict::Illegal).then(|| anomaly.to_owned()),
            verdict,
            sentence: "a sentence".into(),
            load_s: seed as f64,
            operations: seed * 100,
            wall_s: 1.0,
            busy: 2.0,
        }
    }

    /// Ten runs of a bug, of which `caught` caught it.
    fn ten(against: Against, bug: &str, caught: u64, anomaly: &str) -> Vec<Trial> {
        let verdict = |seed| {
            if seed <= caught {
                Verdict::Illegal
            } else {
                Verdict::Valid
            }
        };
        (1..=10)
            .map(|seed| trial(against, Some(bug), seed, verdict(seed), anomaly))
            .collect()
    }

    #[test]
    fn figures_are_met_exactly_at_their_borders() {
        let mut trials = ten(Against::Preset, "no-fsync", 9, "lost-write");
        trials.extend(ten(Against::Default, "no-fsync", 5, "lost-write"));
        trials.push(trial(Against::Clean, None, 1, Verdict::Valid, ""));
        let table = Table::of(&trials);
        assert_eq!(table.figures().complaints(), Vec::<String>::new());
        assert_eq!(table.figures().named_right, (14, 14));
        let row = &table.bugs[0];
        assert_eq!(
            (row.preset.median_s, row.preset.median_operations),
            (Some(5.0), Some(500))
        );
        assert!(
            table
                .markdown()
                .contains("| 9 of 10 | 5.0 s | 500 | lost-write (14) | 5 of 10 |"),
            "{}",
            table.markdown()
        );
    }

    #[test]
    fn whatever_is_missed_is_said() {
        let mut trials = ten(Against::Preset, "no-fsync", 8, "non-atomic-cas");
        trials.extend(ten(Against::Default, "no-fsync", 4, "lost-write"));
        trials.push(trial(Against::Clean, None, 1, Verdict::Illegal, "stale-read"));
        trials.push(trial(
            Against::Clean,
            None,
            2,
            Verdict::Unknown(vec!["too few".into()]),
            "",
        ));
        let complaints = Table::of(&trials).figures().complaints().join("\n");
        for expected in [
            "no-fsync (8 of 10)",
            "the default run catches 0 of 1",
            "4 of 12 violations",
            "accused in 1 of 2",
            "1 runs of the clean build could not say",
        ] {
            assert!(complaints.contains(expected), "{expected}: {complaints}");
        }
    }

    #[test]
    fn a_run_that_cannot_say_has_caught_nothing() {
        let broken = Verdict::Broken("no TUN".into());
        let trials = [
            trial(Against::Preset, Some("no-fsync"), 1, broken, ""),
            trial(Against::Preset, Some("no-fsync"), 2, Verdict::Unknown(vec![]), ""),
        ];
        let table = Table::of(&trials);
        assert_eq!(
            (table.bugs[0].preset.caught, table.bugs[0].preset.unknown),
            (0, 2)
        );
        assert_eq!(table.missed(), ["no-fsync: caught in 0 of 2 runs"]);
    }
}

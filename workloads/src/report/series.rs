//! A run in numbers: how many, how fast, and when, in one pass over the operations.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;

use super::Outcome;
use super::scale::round_step;

/// What the numbers need to know of one operation.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sample<'a> {
    pub(super) f: &'a str,
    pub(super) node: Option<&'a str>,
    pub(super) outcome: Outcome,
    pub(super) error: Option<&'a str>,
    /// When it was invoked, or meant to be under an open-loop load: what a stalled store is charged from.
    pub(super) started: u64,
    /// When the client knew the outcome or gave up; `None` where the history ended first.
    pub(super) completed: Option<u64>,
}

/// How many operations ended in each way.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) ok: u64,
    pub(super) mismatch: u64,
    pub(super) fail: u64,
    pub(super) unknown: u64,
}

/// Counts and latencies of operations that have something in common.
#[derive(Debug, Clone)]
pub(super) struct Group {
    pub(super) counts: Counts,
    /// Microseconds from start to answer, of `ok` and mismatch.
    pub(super) latency: Histogram<u32>,
}

/// One stretch of the run's clock.
#[derive(Debug, Clone, Default)]
pub(super) struct Bucket {
    /// By when they completed.
    pub(super) counts: Counts,
    /// p50, p95, p99 and the highest latency in nanoseconds, of operations that started here.
    pub(super) latency: Option<[u64; 4]>,
}

/// A run in numbers.
#[derive(Debug)]
pub(super) struct Series {
    /// The run's clock at the right edge, in nanoseconds; above 0.
    pub(super) end: u64,
    /// The width of a bucket in nanoseconds.
    pub(super) width: u64,
    pub(super) buckets: Vec<Bucket>,
    pub(super) all: Group,
    pub(super) by_f: BTreeMap<String, Group>,
    pub(super) by_node: BTreeMap<String, Group>,
    /// What failures and unknown outcomes said, most frequent first.
    pub(super) errors: Vec<ErrorCount>,
    /// Longest stretch in which no operation came back ok, from and to; `None` where none ever did.
    pub(super) longest_silence: Option<(u64, u64)>,
}

/// One reason for not being ok, and how often it was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ErrorCount {
    pub(super) f: String,
    pub(super) outcome: Outcome,
    pub(super) error: String,
    pub(super) times: u64,
}

/// Enough to see a fault of half a second in a minute, few enough to draw and to read.
const MOST_BUCKETS: u64 = 160;

/// Enough to see when a fault struck, however little was asked.
const FEWEST_BUCKETS: u64 = 40;

/// Operations in an average bucket that make a rate rather than a dice roll.
const ENOUGH: u64 = 40;

/// Latencies from a microsecond to an hour, to two digits: 13 kB a histogram.
const LONGEST_US: u64 = 3_600_000_000;

/// Reasons told apart; stores put addresses and numbers into theirs, and a page is not a log.
const MOST_REASONS: usize = 500;

impl Counts {
    fn add(&mut self, outcome: Outcome) {
        match outcome {
            Outcome::Ok => self.ok += 1,
            Outcome::Mismatch => self.mismatch += 1,
            Outcome::Fail => self.fail += 1,
            Outcome::Unknown => self.unknown += 1,
        }
    }

    pub(super) fn total(&self) -> u64 {
        self.ok + self.mismatch + self.fail + self.unknown
    }

    /// Those that the store answered for certain with what was asked of it.
    pub(super) fn answered(&self) -> u64 {
        self.ok + self.mismatch
    }

    /// In the order in which they are drawn and listed.
    pub(super) fn each(&self) -> [(Outcome, u64); 4] {
        [
            (Outcome::Ok, self.ok),
            (Outcome::Mismatch, self.mismatch),
            (Outcome::Fail, self.fail),
            (Outcome::Unknown, self.unknown),
        ]
    }
}

impl Default for Group {
    fn default() -> Self {
        Self {
            counts: Counts::default(),
            latency: histogram(),
        }
    }
}

impl Group {
    fn add(&mut self, sample: &Sample<'_>) {
        self.counts.add(sample.outcome);
        if let Some(latency) = sample.latency_us() {
            self.latency.saturating_record(latency);
        }
    }

    /// The latency in nanoseconds that this share of the operations stayed within.
    pub(super) fn quantile(&self, share: f64) -> Option<u64> {
        (!self.latency.is_empty()).then(|| self.latency.value_at_quantile(share) * 1000)
    }
}

impl Sample<'_> {
    fn latency_us(&self) -> Option<u64> {
        match self.outcome {
            Outcome::Ok | Outcome::Mismatch => {
                let taken = self.completed?.saturating_sub(self.started);
                Some((taken / 1000).clamp(1, LONGEST_US))
            }
            // How long a client waits before it gives up says nothing about the store.
            Outcome::Fail | Outcome::Unknown => None,
        }
    }
}

impl Series {
    /// Counts every operation, about `number` of them. `end` is how far the run's clock went; what is later counts
    /// as at the end.
    pub(super) fn of<'a>(samples: impl Iterator<Item = Sample<'a>>, number: usize, end: u64) -> Self {
        let end = end.max(1);
        let buckets = (number as u64 / ENOUGH).clamp(FEWEST_BUCKETS, MOST_BUCKETS);
        let width = (round_step(end as f64 / buckets as f64) as u64).max(1);
        let mut buckets = vec![Bucket::default(); end.div_ceil(width) as usize];
        let mut latencies: Vec<Option<Histogram<u32>>> = vec![None; buckets.len()];
        let bucket_of = |time: u64| ((time / width) as usize).min((end.div_ceil(width) - 1) as usize);
        let mut series = Self {
            end,
            width,
            buckets: Vec::new(),
            all: Group::default(),
            by_f: BTreeMap::new(),
            by_node: BTreeMap::new(),
            errors: Vec::new(),
            longest_silence: None,
        };
        let mut errors = BTreeMap::new();
        let mut answers = Vec::new();
        for sample in samples {
            series.all.add(&sample);
            group(&mut series.by_f, sample.f).add(&sample);
            if let Some(node) = sample.node {
                group(&mut series.by_node, node).add(&sample);
            }
            buckets[bucket_of(sample.completed.unwrap_or(end))]
                .counts
                .add(sample.outcome);
            if let Some(latency) = sample.latency_us() {
                latencies[bucket_of(sample.started)]
                    .get_or_insert_with(histogram)
                    .saturating_record(latency);
            }
            if let (Outcome::Ok, Some(at)) = (sample.outcome, sample.completed) {
                answers.push(at);
            }
            if matches!(sample.outcome, Outcome::Fail | Outcome::Unknown) {
                count_error(&mut errors, &sample);
            }
        }
        for (bucket, latency) in buckets.iter_mut().zip(latencies) {
            bucket.latency =
                latency.map(|l| [0.5, 0.95, 0.99, 1.0].map(|share| l.value_at_quantile(share) * 1000));
        }
        series.buckets = buckets;
        series.errors = by_frequency(errors);
        series.longest_silence = longest_gap(answers);
        series
    }
}

fn histogram() -> Histogram<u32> {
    Histogram::new_with_bounds(1, LONGEST_US, 2).expect("1 to an hour of microseconds is a valid range")
}

/// The group of this name, made when first met; looked up by reference, since a million operations share a few.
fn group<'a>(groups: &'a mut BTreeMap<String, Group>, name: &str) -> &'a mut Group {
    if !groups.contains_key(name) {
        groups.insert(name.to_owned(), Group::default());
    }
    groups.get_mut(name).expect("made above")
}

type Reasons<'a> = BTreeMap<(&'a str, Outcome, &'a str), u64>;

fn count_error<'a>(errors: &mut Reasons<'a>, sample: &Sample<'a>) {
    let reason = sample.error.unwrap_or(match sample.completed {
        Some(_) => "no reason given",
        None => "still open when the history ended",
    });
    let key = (sample.f, sample.outcome, reason);
    let room = errors.len() < MOST_REASONS;
    match errors.get_mut(&key) {
        Some(times) => *times += 1,
        None if room => {
            errors.insert(key, 1);
        }
        None => {
            let others = errors.entry((sample.f, sample.outcome, "other reasons"));
            *others.or_default() += 1;
        }
    }
}

fn by_frequency(errors: Reasons<'_>) -> Vec<ErrorCount> {
    let mut counted: Vec<ErrorCount> = errors
        .into_iter()
        .map(|((f, outcome, error), times)| ErrorCount {
            f: f.to_owned(),
            outcome,
            error: error.to_owned(),
            times,
        })
        .collect();
    // Stable: equals stay in the order of their names.
    counted.sort_by_key(|e| std::cmp::Reverse(e.times));
    counted
}

/// The longest stretch between two answers. Before the first and after the last one a run may just not have
/// been loading: that silence is no evidence against the store.
fn longest_gap(mut answers: Vec<u64>) -> Option<(u64, u64)> {
    answers.sort_unstable();
    answers
        .windows(2)
        .map(|pair| (pair[0], pair[1]))
        .max_by_key(|(from, to)| to - from)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    fn sample(started: u64, completed: u64, outcome: Outcome) -> Sample<'static> {
        Sample {
            f: "get",
            node: Some("n1"),
            outcome,
            error: None,
            started,
            completed: Some(completed),
        }
    }

    #[test]
    fn every_operation_is_counted_once() {
        let samples = [
            sample(0, 2 * MS, Outcome::Ok),
            sample(10 * MS, 14 * MS, Outcome::Mismatch),
            Sample {
                error: Some("timeout"),
                ..sample(10 * MS, 900 * MS, Outcome::Unknown)
            },
            Sample {
                error: Some("timeout"),
                f: "set",
                ..sample(10 * MS, 900 * MS, Outcome::Unknown)
            },
            Sample {
                error: Some("timeout"),
                f: "set",
                ..sample(20 * MS, 900 * MS, Outcome::Unknown)
            },
            Sample {
                completed: None,
                node: None,
                ..sample(950 * MS, 0, Outcome::Unknown)
            },
            sample(990 * MS, 1000 * MS, Outcome::Ok),
        ];
        let series = Series::of(samples.iter().copied(), samples.len(), 1000 * MS);
        let expected = Counts {
            ok: 2,
            mismatch: 1,
            fail: 0,
            unknown: 4,
        };
        assert_eq!(series.all.counts, expected);
        assert_eq!(
            series.by_f["set"].counts.total() + series.by_f["get"].counts.total(),
            7
        );
        assert_eq!(series.by_node["n1"].counts.total(), 6);
        assert_eq!(series.buckets.iter().map(|b| b.counts.total()).sum::<u64>(), 7);
        assert_eq!(series.longest_silence, Some((2 * MS, 1000 * MS)));
        assert_eq!(series.all.latency.len(), 3, "giving up is no latency");
        assert_eq!(
            series.errors[0],
            ErrorCount {
                f: "set".into(),
                outcome: Outcome::Unknown,
                error: "timeout".into(),
                times: 2
            }
        );
        assert_eq!(series.errors.iter().map(|e| e.times).sum::<u64>(), 4);
    }

    #[test]
    fn latency_stands_where_the_operation_started() {
        let slow = sample(100 * MS, 900 * MS, Outcome::Ok);
        let series = Series::of([slow].into_iter(), 1, 1000 * MS);
        let at = |time: u64| &series.buckets[(time / series.width) as usize];
        let [p50, _, _, highest] = at(100 * MS).latency.expect("one sample");
        for value in [p50, highest] {
            assert!(value.abs_diff(800 * MS) < 8 * MS, "{value}");
        }
        assert_eq!(at(100 * MS).counts.total(), 0);
        assert_eq!(at(900 * MS).counts.ok, 1);
    }

    #[test]
    fn an_empty_history_has_a_scale_and_no_claim() {
        let series = Series::of(std::iter::empty(), 0, 0);
        assert_eq!((series.end, series.buckets.len()), (1, 1));
        assert_eq!(series.all.quantile(0.5), None);
        assert_eq!(series.longest_silence, None);
    }

    #[test]
    fn reasons_are_capped_and_none_is_lost() {
        let texts: Vec<String> = (0..2 * MOST_REASONS).map(|n| format!("reason {n}")).collect();
        let samples = texts.iter().map(|text| Sample {
            error: Some(text),
            ..sample(0, 1, Outcome::Fail)
        });
        let series = Series::of(samples, 3, 0);
        assert!(series.errors.len() <= MOST_REASONS + 1);
        assert_eq!(
            series.errors.iter().map(|e| e.times).sum::<u64>(),
            2 * MOST_REASONS as u64
        );
        assert_eq!(series.errors[0].error, "other reasons");
    }

    #[test]
    fn buckets_cover_the_run_however_long() {
        for end in [1, 999, 30_000 * MS, 86_400_000 * MS] {
            let series = Series::of(std::iter::empty(), 0, end);
            assert!(
                series.buckets.len() as u64 <= MOST_BUCKETS + 1,
                "{end}: {}",
                series.buckets.len()
            );
            assert!(series.width * series.buckets.len() as u64 >= end);
        }
    }
}

//! From a folder with a history to a verdict, the files that carry it, and an exit code.
//!
//! A run that has just ended and one that is judged again years later go the same way: everything comes
//! from `history.jsonl` and the logs beside it.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use checker::history::{Header, History, Nanos};
use checker::{Analysis, CheckOptions, Explain, Limit, Verdict};
use serde::{Deserialize, Serialize};

use super::signals::Signals;
use crate::cluster::divergences;
use crate::evidence::{Cause, Conduct, Plan, Role, cause, doubts};
use crate::report::{
    self, FaultSpan, Finding, LogExcerpt, NodeReport, NodeState, ReportInput, RunInfo, RunOutcome,
};
use crate::store::write_whole;

/// How long a check may go on once somebody has asked to end.
const MOMENT: Duration = Duration::from_millis(700);
/// How long the last look at a history may take whose check was given up.
const GLANCE: Duration = Duration::from_millis(200);
/// How often the check looks up whether somebody has asked to end.
const LOOK_UP: Duration = Duration::from_millis(20);
/// How much of the nodes' logs around a violation a report shows, on either side.
const LOG_WINDOW: jiff::SignedDuration = jiff::SignedDuration::from_millis(500);

/// What the header of a run's history says beyond the checker's needs.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Particulars {
    /// The test's name.
    #[serde(default)]
    pub(crate) test: String,
    /// What the run must have done to count.
    #[serde(default)]
    pub(crate) plan: Plan,
    /// Every setting by name.
    #[serde(default)]
    pub(crate) settings: Vec<(String, String)>,
    /// What took part.
    #[serde(default)]
    pub(crate) versions: Vec<(String, String)>,
    /// The command that repeats the run.
    #[serde(default)]
    pub(crate) again: String,
    /// Where each node served clients.
    #[serde(default)]
    pub(crate) addresses: Vec<String>,
    /// What this machine could not do.
    #[serde(default)]
    pub(crate) notes: Vec<String>,
}

impl Particulars {
    /// Adds them to a header.
    pub(crate) fn into_header(self, header: &mut Header) {
        let json = serde_json::to_value(self).expect("particulars are plain data");
        if let serde_json::Value::Object(map) = json {
            header.other.extend(map);
        }
    }

    fn of(header: &Header) -> Self {
        let json = serde_json::Value::Object(header.other.clone());
        serde_json::from_value(json).unwrap_or_default()
    }
}

/// The version of the form of `results.json`: it grows when a field goes or changes its meaning, not when one comes.
const RESULTS_VERSION: u64 = 1;

/// `results.json`, as `docs/results.md` and `docs/schema/results.schema.json` describe it.
#[derive(Debug, Serialize)]
struct Results<'a> {
    ordeal: u64,
    valid: serde_json::Value,
    sentence: &'a str,
    test: &'a str,
    started: Option<&'a str>,
    seed: Option<u64>,
    settings: BTreeMap<&'a str, &'a str>,
    versions: BTreeMap<&'a str, &'a str>,
    anomalies: &'a [Finding],
    doubts: &'a [String],
    violation: Option<Violation>,
    cause: Option<&'a Cause>,
    analysis: &'a Analysis,
    conduct: &'a Conduct,
    figures: report::Figures,
    again: &'a str,
}

/// When a violation was there to be seen.
#[derive(Debug, Serialize)]
struct Violation {
    /// In seconds on the run's clock.
    at_s: f64,
    /// The fault that was on, or the last that was.
    fault: Option<String>,
    /// In seconds from that fault's beginning.
    since_fault_s: Option<f64>,
}

impl Violation {
    fn of(analysis: &Analysis, conduct: &Conduct) -> Option<Self> {
        let (_, at) = violation(analysis)?;
        let fault = conduct.faults.iter().rfind(|fault| fault.from_ns <= at.0);
        Some(Self {
            at_s: at.as_seconds(),
            fault: fault.map(|fault| fault.description.clone()),
            since_fault_s: fault.map(|fault| Nanos(at.0 - fault.from_ns).as_seconds()),
        })
    }
}

/// Judges the run in `dir` and writes `results.json`, `report.html`, `junit.xml` and `summary.md` there.
/// Prints the verdict and returns the exit code: 0 valid, 1 illegal, 2 unknown.
///
/// # Errors
/// When the history cannot be read or the files cannot be written.
pub(super) fn conclude(dir: &Path, check_limit: Duration, signals: Option<&Signals>) -> Result<u8> {
    let path = dir.join("history.jsonl");
    let history = Arc::new(History::open(&path, &Default::default())?);
    let options = CheckOptions {
        time_limit: Some(check_limit),
        ..CheckOptions::default()
    };
    let (analysis, interrupted) = checked(&history, options, signals)?;
    let history = &*history;
    let particulars = Particulars::of(history.header());
    let conduct = Conduct::of(history);
    let mut doubts = doubts(&conduct, &particulars.plan);
    if let Some(name) = &interrupted {
        doubts.push(format!(
            "the check was cut short: {name}; `workloads analyze {}` does it again",
            dir.display()
        ));
    }
    let anomalies = anomalies(&conduct, dir);
    let cause = cause(history, &analysis, &conduct, &anomalies);
    let run = RunInfo {
        cause: cause.clone(),
        ..run_info(
            dir,
            history,
            &analysis,
            &particulars,
            &conduct,
            &anomalies,
            &doubts,
        )
    };
    let input = ReportInput {
        history,
        analysis: Some(&analysis),
        run: &run,
    };
    let outcome = input.outcome();
    let sentence = match (&interrupted, &analysis.verdict) {
        (Some(name), Verdict::Unknown(_)) if anomalies.is_empty() => {
            format!("Unknown: {name} while the history was checked")
        }
        _ => sentence(history, &analysis, &anomalies, &doubts, outcome),
    };
    let header = history.header();
    let results = Results {
        ordeal: RESULTS_VERSION,
        valid: match outcome {
            RunOutcome::Valid => true.into(),
            RunOutcome::Invalid => false.into(),
            RunOutcome::Unknown => "unknown".into(),
        },
        sentence: &sentence,
        test: &particulars.test,
        started: header.started.as_deref(),
        seed: header.seed,
        settings: by_name(&particulars.settings),
        versions: by_name(&particulars.versions),
        anomalies: &anomalies,
        doubts: &doubts,
        violation: Violation::of(&analysis, &conduct),
        cause: cause.as_ref(),
        analysis: &analysis,
        conduct: &conduct,
        figures: report::figures(&input),
        again: &particulars.again,
    };
    write_whole(
        &dir.join("results.json"),
        &serde_json::to_vec_pretty(&results).context("results.json")?,
    )?;
    write_whole(&dir.join("report.html"), report::html(&input).as_bytes())?;
    write_whole(&dir.join("over-time.svg"), report::plot(&input).as_bytes())?;
    write_whole(&dir.join("junit.xml"), report::junit(&input).as_bytes())?;
    write_whole(&dir.join("summary.md"), report::summary(&input).as_bytes())?;

    nemesis::say!("\n{sentence}");
    if let Some(cause) = &cause {
        nemesis::say!("Cause: {}: {}", cause.class.replace('-', " "), cause.sentence);
    }
    if let Some(share) = conduct.available.share() {
        nemesis::say!(
            "{:.1} % of the operations at nodes of a connected majority succeeded",
            share * 100.0
        );
    }
    if outcome == RunOutcome::Unknown {
        doubts.iter().for_each(|doubt| nemesis::say!("  - {doubt}"));
    }
    if !particulars.again.is_empty() && outcome != RunOutcome::Valid {
        nemesis::say!("again: {}", particulars.again);
    }
    Ok(match outcome {
        RunOutcome::Valid => 0,
        RunOutcome::Invalid => 1,
        RunOutcome::Unknown => 2,
    })
}

/// Checks a history, and says by which signal the check was cut short, if one came: then it goes on for a moment,
/// and what is found by then is what is known.
fn checked(
    history: &Arc<History>,
    options: CheckOptions,
    signals: Option<&Signals>,
) -> Result<(Analysis, Option<String>)> {
    let Some(signals) = signals else {
        return Ok((checker::check(history, &options)?, None));
    };
    let (told, found) = mpsc::channel();
    let (theirs, wanted) = (history.clone(), options.clone());
    let work = move || drop(told.send(checker::check(&theirs, &wanted)));
    thread::Builder::new()
        .name("check".into())
        .spawn(work)
        .context("a thread to check the history")?;
    let mut give_up = None;
    loop {
        match found.recv_timeout(LOOK_UP) {
            Ok(analysis) => return Ok((analysis?, None)),
            Err(RecvTimeoutError::Disconnected) => bail!("the checker panicked: see above"),
            Err(RecvTimeoutError::Timeout) => {}
        }
        if let Some(name) = signals.came()
            && Instant::now() > *give_up.get_or_insert_with(|| Instant::now() + MOMENT)
        {
            // The thread goes on until the program ends. What a glance shows is found beside it.
            let options = CheckOptions {
                time_limit: Some(GLANCE),
                threads: Some(1),
                explain: Explain::Prefix,
                ..options
            };
            return Ok((checker::check(history, &options)?, Some(name)));
        }
    }
}

fn by_name(pairs: &[(String, String)]) -> BTreeMap<&str, &str> {
    pairs
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect()
}

/// Jepsen's last line, which scripts look for.
#[must_use]
pub fn last_line(code: u8) -> &'static str {
    match code {
        0 => "Everything looks good! ヽ(‘ー`)ノ",
        1 => "Analysis invalid! (ﾉಥ益ಥ）ﾉ ┻━┻",
        _ => "Errors occurred during analysis, but no anomalies found. ಠ~ಠ",
    }
}

/// Judges a recorded run again: its folder, or its `history.jsonl`.
///
/// # Errors
/// When there is no history there, it cannot be read, or the files cannot be written.
pub fn analyze(path: &Path, check_limit: Duration) -> Result<u8> {
    let dir = if path.is_dir() {
        path
    } else {
        path.parent().unwrap_or(Path::new("."))
    };
    if !dir.join("history.jsonl").is_file() || (path.is_file() && !path.ends_with("history.jsonl")) {
        bail!(
            "{}: no run is there (wanted: a folder with a history.jsonl)",
            path.display()
        );
    }
    let code = conclude(dir, check_limit, None)?;
    nemesis::say!("report: {}", dir.join("report.html").display());
    nemesis::say!("{}", last_line(code));
    Ok(code)
}

fn anomalies(conduct: &Conduct, dir: &Path) -> Vec<Finding> {
    let crashed = conduct.crashes.iter().map(|(node, how)| {
        let excerpt = excerpt(&dir.join(node).join("node.log"), None);
        let last = excerpt
            .tail
            .last()
            .map_or(String::new(), |line| format!("; its last words: {line}"));
        // Nothing of ours sends it to a node that we do not mean to kill.
        let hint = if how.contains("SIGKILL") {
            " (was it out of memory? `dmesg` tells what the kernel killed)"
        } else {
            ""
        };
        Finding {
            kind: "crash".into(),
            sentence: format!("{node} died without being told to: {how}{hint}{last}"),
        }
    });
    let diverged = divergences(&conduct.replicas)
        .into_iter()
        .map(|(applied, hashes)| {
            let hashes = hashes
                .iter()
                .map(|(node, hash)| format!("{node} has {hash}"))
                .collect::<Vec<_>>()
                .join(", ");
            let sentence =
                format!("after applying the same log up to index {applied} the replicas differ: {hashes}");
            Finding {
                kind: "divergence".into(),
                sentence,
            }
        });
    crashed.chain(diverged).collect()
}

/// The verdict in one sentence.
fn sentence(
    history: &History,
    analysis: &Analysis,
    anomalies: &[Finding],
    doubts: &[String],
    outcome: RunOutcome,
) -> String {
    let counted = format!("{} operations on {} keys", history.len(), analysis.subhistories);
    match (&analysis.verdict, anomalies) {
        (Verdict::Illegal(found), _) => format!("Illegal: {}", found.sentence),
        (_, [first, ..]) => format!("Invalid: {}", first.sentence),
        (Verdict::Unknown(limit), _) => format!("Unknown: {}", ran_out(limit)),
        (Verdict::Linearizable(_), []) if outcome == RunOutcome::Unknown => {
            format!(
                "Unknown: {counted} are linearizable, but the run is no evidence ({} reasons)",
                doubts.len()
            )
        }
        (Verdict::Linearizable(_), []) => {
            format!("Linearizable: {counted}, checked in {:.2?}", analysis.elapsed)
        }
    }
}

fn ran_out(limit: &Limit) -> String {
    match limit {
        Limit::Time { allowed, stand } => format!(
            "the checker ran out of time after {allowed:?}, at {} of {} operations{}; give it more with --check-limit",
            stand.explained,
            stand.of,
            stand
                .key
                .as_ref()
                .map_or(String::new(), |key| format!(" on key {key}"))
        ),
        Limit::NoEvidence { why } => format!("the history is no evidence: {why}"),
        other => format!("the checker gave up: {other}"),
    }
}

fn run_info(
    dir: &Path,
    history: &History,
    analysis: &Analysis,
    particulars: &Particulars,
    conduct: &Conduct,
    anomalies: &[Finding],
    doubts: &[String],
) -> RunInfo {
    let header = history.header();
    let started = header.started.clone().unwrap_or_default();
    let window = violation(analysis).and_then(|(from, to)| {
        let zero: jiff::Timestamp = started.parse().ok()?;
        let at = |nanos: Nanos| {
            zero.checked_add(jiff::SignedDuration::from_nanos(
                nanos.0.min(i64::MAX as u64) as i64
            ))
        };
        Some((
            at(from).ok()?.checked_sub(LOG_WINDOW).ok()?,
            at(to).ok()?.checked_add(LOG_WINDOW).ok()?,
        ))
    });
    let nodes = header.nodes.iter().enumerate().map(|(place, name)| NodeReport {
        name: name.clone(),
        address: particulars.addresses.get(place).cloned().unwrap_or_default(),
        log_path: format!("{name}/node.log"),
        log: excerpt(&dir.join(name).join("node.log"), window),
    });
    let faults = conduct.faults.iter().map(|fault| FaultSpan {
        kind: fault.kind.clone(),
        description: fault.description.clone(),
        from: Nanos(fault.from_ns),
        to: fault.to_ns.map(Nanos),
        bit: fault.bit,
        seen: fault.seen.clone(),
        healed: fault.healed,
        seen_healed: fault.seen_healed.clone(),
    });
    let mut notes = particulars.notes.clone();
    notes.extend(conduct.troubles.iter().cloned());
    let refused = conduct.faults.iter().filter(|fault| !fault.applied);
    notes.extend(refused.map(|fault| {
        let at = Nanos(fault.from_ns);
        format!(
            "{} could not be applied at {at}: {}",
            fault.description, fault.seen
        )
    }));
    let mut files = vec![
        "history.jsonl".to_owned(),
        "results.json".to_owned(),
        "junit.xml".to_owned(),
        "summary.md".to_owned(),
        "over-time.svg".to_owned(),
    ];
    if dir.join("test.toml").is_file() {
        files.push("test.toml".to_owned());
    }
    RunInfo {
        available: conduct.available,
        name: particulars.test.clone(),
        started,
        seed: header.seed,
        length: Nanos(conduct.end_ns),
        command: particulars.again.clone(),
        settings: particulars.settings.clone(),
        versions: particulars.versions.clone(),
        nodes: nodes.collect(),
        node_states: node_states(conduct),
        faults: faults.collect(),
        anomalies: anomalies.to_vec(),
        doubts: doubts.to_vec(),
        notes,
        files,
        ..RunInfo::default()
    }
}

/// What each node was for how long.
fn node_states(conduct: &Conduct) -> Vec<NodeState> {
    let mut states = Vec::new();
    for (place, (from, standing)) in conduct.standings.iter().enumerate() {
        let later = conduct.standings[place + 1..]
            .iter()
            .find(|(_, other)| other.node == standing.node);
        states.push(NodeState {
            node: standing.node.clone(),
            from: Nanos(*from),
            to: Nanos(later.map_or(conduct.end_ns, |(at, _)| *at)),
            role: match standing.role {
                Role::Leader => report::Role::Leader,
                Role::Follower => report::Role::Follower,
                Role::Silent => report::Role::Silent,
            },
            note: standing
                .term
                .map_or_else(String::new, |term| format!("term {term}")),
        });
    }
    states
}

/// From when to when the operations ran that prove a violation.
fn violation(analysis: &Analysis) -> Option<(Nanos, Nanos)> {
    let Verdict::Illegal(found) = &analysis.verdict else {
        return None;
    };
    let from = found
        .operations
        .iter()
        .map(|operation| operation.invoked_at)
        .min()?;
    let ends = found.operations.iter().filter(|operation| !operation.weakened);
    let to = ends
        .filter_map(|operation| operation.completed_at)
        .max()
        .unwrap_or(found.prefix.last_time);
    Some((from, to))
}

/// What matters of a log; a log that is not there has nothing to say.
fn excerpt(path: &Path, window: Option<(jiff::Timestamp, jiff::Timestamp)>) -> LogExcerpt {
    match File::open(path).and_then(|file| LogExcerpt::read(file, window)) {
        Ok(excerpt) => excerpt,
        Err(error) if error.kind() == ErrorKind::NotFound => LogExcerpt::default(),
        Err(error) => LogExcerpt {
            tail: vec![format!("{}: {error}", path.display())],
            ..LogExcerpt::default()
        },
    }
}

/// The kernel, as `/proc` names it.
pub(crate) fn kernel() -> String {
    fs::read_to_string("/proc/sys/kernel/osrelease")
        .map_or_else(|_| "unknown".into(), |text| text.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// Sixteen elements put into a queue at once come out backwards: whoever looks for an order tries many.
    fn too_hard() -> String {
        let event = |index: usize, process: usize, kind: &str, f: &str, value: serde_json::Value| json!({ "index": index, "time": index, "process": process, "type": kind, "f": f, "value": value });
        let mut lines = vec![json!({ "ordeal": 1, "model": "queue" })];
        let mut add = |process, kind, f, value| lines.push(event(lines.len() - 1, process, kind, f, value));
        (0..16).for_each(|n| add(n, "invoke", "enqueue", json!(n)));
        (0..16).for_each(|n| add(n, "ok", "enqueue", json!(n)));
        for n in (0..16).rev() {
            add(99, "invoke", "dequeue", json!(null));
            add(99, "ok", "dequeue", json!(n));
        }
        lines.iter().map(|line| format!("{line}\n")).collect()
    }

    #[test]
    fn a_check_ends_soon_after_somebody_asked_to_end_and_says_so() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("history.jsonl");
        fs::write(&path, too_hard()).expect("written");
        let history = Arc::new(History::open(&path, &Default::default()).expect("a history"));
        let options = CheckOptions {
            time_limit: Some(Duration::from_secs(3600)),
            ..CheckOptions::default()
        };
        let (analysis, name) = checked(&history, options, Some(&Signals::after("Ctrl-C"))).expect("checked");
        assert_eq!(name.as_deref(), Some("Ctrl-C"));
        assert!(
            matches!(analysis.verdict, Verdict::Unknown(_)),
            "{:?}",
            analysis.verdict
        );
        // What is judged before anybody can notice is judged.
        fs::write(&path, "{\"ordeal\":1,\"model\":\"register\"}\n").expect("written");
        let history = Arc::new(History::open(&path, &Default::default()).expect("a history"));
        let (_, name) =
            checked(&history, CheckOptions::default(), Some(&Signals::after("Ctrl-C"))).expect("checked");
        assert_eq!(name, None);
    }
}

//! Do we find what is known to be there? Real stores whose verdicts are known, run one after another.
//!
//! A suite that calls everything legal passes its own tests. So each row of the `table` is a real store under
//! real faults with the verdict that it must get: some must be found illegal, since that is how they are built,
//! others must never be. The rows are ordinary runs of this program, each a process of its own with a bound on
//! its time; what they gave is kept beside the runs, so that an interrupted round goes on where it stopped.
//! Ctrl-C ends the run under way and forgets it.

mod table;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

pub use table::{ROWS, Row, Verdict};

use crate::binary::Binary;
use crate::campaign::{self, Attempts, forget};
use crate::cli::ControlsArgs;
use crate::store::write_whole;
use crate::system::{System, nearest};

/// What a row may take beside its load: a cluster that starts slowly, heals, is read and judged.
const BESIDE_THE_LOAD: Duration = Duration::from_secs(240);

/// What a row gave.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Found {
    /// The row's name.
    pub row: String,
    /// Which of the repetitions it was, from 1.
    pub round: u32,
    /// The seed of the run.
    pub seed: u64,
    /// What was found, as a verdict or why there is none.
    pub verdict: Outcome,
    /// How long it took in all, in seconds.
    pub took_s: f64,
    /// When the violation could be seen, in seconds from the beginning of the load.
    pub violation_s: Option<f64>,
    /// The same from the beginning of the fault that was on, or the last that was.
    pub since_fault_s: Option<f64>,
    /// That fault.
    pub fault: Option<String>,
    /// The store's version.
    pub version: String,
    /// Where the run is kept.
    pub folder: PathBuf,
}

/// What came of a row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// The run was evidence and every operation fits.
    Legal,
    /// A violation.
    Illegal,
    /// The run was no evidence.
    Unknown(String),
    /// The store is not installed: what would install it.
    Missing(String),
    /// The run did not end, or broke.
    Broken(String),
}

impl Outcome {
    fn is(&self, verdict: Verdict) -> bool {
        matches!(
            (self, verdict),
            (Self::Legal, Verdict::Legal) | (Self::Illegal, Verdict::Illegal)
        )
    }

    fn word(&self) -> String {
        match self {
            Self::Legal => "legal".to_owned(),
            Self::Illegal => "ILLEGAL".to_owned(),
            Self::Unknown(why) => format!("unknown ({why})"),
            Self::Missing(mend) => format!("not installed ({mend})"),
            Self::Broken(why) => format!("no verdict ({why})"),
        }
    }
}

/// The file that keeps what was found.
const FILE: &str = "controls.json";

/// Runs the rows; returns 0 where all are as expected, 1 where one is not, 2 where one has no verdict or somebody
/// ended it.
///
/// # Errors
/// When a row is asked for that is none, or the store of runs cannot be written.
pub fn run(args: &ControlsArgs) -> Result<u8> {
    let rows = chosen(&args.only)?;
    let folder = args.store.join("controls");
    std::fs::create_dir_all(&folder).with_context(|| {
        format!(
            "cannot make {}; choose another place with --store",
            folder.display()
        )
    })?;
    let file = folder.join(FILE);
    let mut found = if args.fresh { Vec::new() } else { earlier(&file)? };
    let wanted = |found: &[Found]| {
        let of = |row: &Row, round| {
            found
                .iter()
                .any(|found| found.row == row.name && found.round == round)
        };
        (1..=args.times)
            .flat_map(|round| rows.iter().map(move |row| (round, *row)))
            .find(|(round, row)| !of(row, *round))
    };
    if wanted(&found).is_none() {
        // The last round is whole: a new one begins.
        found.retain(|old| !rows.iter().any(|row| row.name == old.row));
    } else if !found.is_empty() {
        nemesis::say!("going on where {} stopped (--fresh begins anew)", file.display());
    }
    let attempts = Attempts::new()?;
    while let Some((round, row)) = wanted(&found) {
        nemesis::say!(
            "{:<34} round {round}: workloads {}",
            row.name,
            row.arguments().join(" ")
        );
        let Some(one) = carry_out(row, round, &folder, &attempts)? else {
            nemesis::say!("stopped; the same command goes on");
            return Ok(2);
        };
        let as_expected = one.verdict.is(row.expected);
        nemesis::say!(
            "{:<34} {} {} in {:.0} s{}",
            "",
            if as_expected {
                "as expected:"
            } else {
                "NOT as expected:"
            },
            one.verdict.word(),
            one.took_s,
            when(&one),
        );
        found.push(one);
        write_whole(&file, &serde_json::to_vec_pretty(&found).context(FILE)?)?;
    }
    let text = as_table(&rows, &found);
    nemesis::say!("\n{text}");
    write_whole(&folder.join("controls.md"), text.as_bytes())?;
    let of_rows = || {
        found
            .iter()
            .filter_map(|found| Some((rows.iter().find(|row| row.name == found.row)?, found)))
    };
    let wrong = of_rows().any(|(row, found)| {
        matches!(found.verdict, Outcome::Legal | Outcome::Illegal) && !found.verdict.is(row.expected)
    });
    let open = of_rows().any(|(row, found)| !found.verdict.is(row.expected));
    Ok(if wrong {
        1
    } else if open {
        2
    } else {
        0
    })
}

/// The rows whose names begin with one of `only`; all where nothing is named.
fn chosen(only: &[String]) -> Result<Vec<&'static Row>> {
    if only.is_empty() {
        return Ok(ROWS.iter().collect());
    }
    for name in only {
        if !ROWS.iter().any(|row| row.name.starts_with(name.as_str())) {
            let meant = nearest(name, ROWS.iter().map(|row| row.name));
            let hint = meant.map_or(String::new(), |meant| format!(" (did you mean `{meant}`?)"));
            let names: Vec<&str> = ROWS.iter().map(|row| row.name).collect();
            bail!(
                "--only {name}: no row begins so{hint}; there are: {}",
                names.join(", ")
            );
        }
    }
    let begins = |row: &&Row| only.iter().any(|name| row.name.starts_with(name.as_str()));
    Ok(ROWS.iter().filter(begins).collect())
}

fn earlier(file: &Path) -> Result<Vec<Found>> {
    match std::fs::read(file) {
        Ok(bytes) => serde_json::from_slice(&bytes)
            .with_context(|| format!("{} is damaged; --fresh begins anew", file.display())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error).with_context(|| file.display().to_string()),
    }
}

/// Runs one row and says what it gave; none where somebody asked us to end.
fn carry_out(row: &Row, round: u32, folder: &Path, attempts: &Attempts) -> Result<Option<Found>> {
    let system = System::find(row.system)?;
    let mut found = Found {
        row: row.name.to_owned(),
        round,
        seed: row.seed,
        verdict: Outcome::Broken("it was never started".to_owned()),
        took_s: 0.0,
        violation_s: None,
        since_fault_s: None,
        fault: None,
        version: String::new(),
        folder: folder.to_owned(),
    };
    match Binary::provide(&system, None) {
        Ok(binary) => found.version = version(&system, &binary),
        Err(error) => {
            found.verdict = Outcome::Missing(format!("{error}"));
            return Ok(Some(found));
        }
    }
    let log = folder.join(format!("{}.{round}.log", row.name.replace([' ', ',', '='], "-")));
    let mut file = std::fs::File::create(&log).with_context(|| log.display().to_string())?;
    let mut kept = Ok(());
    let bound = row.time_limit + BESIDE_THE_LOAD;
    let ran = attempts.run(&row.arguments(), folder, bound, |line| {
        if kept.is_ok() {
            kept = writeln!(file, "{line}");
        }
    })?;
    if attempts.interrupted() {
        ran.folder.iter().for_each(|run| forget(folder, run));
        return Ok(None);
    }
    kept.with_context(|| log.display().to_string())?;
    found.took_s = ran.took.as_secs_f64();
    found.verdict = match ran.verdict() {
        campaign::Verdict::Valid => Outcome::Legal,
        campaign::Verdict::Illegal => Outcome::Illegal,
        campaign::Verdict::Unknown(why) => Outcome::Unknown(why.into_iter().next().unwrap_or_default()),
        campaign::Verdict::Broken(why) => Outcome::Broken(format!("{why}; see {}", log.display())),
    };
    if let Some(path) = ran.folder {
        found.folder = path;
    }
    if found.verdict == Outcome::Illegal {
        date(&mut found)?;
    }
    Ok(Some(found))
}

/// Reads from the run's results when the violation was there to be seen. A run can be illegal without one: a
/// node that died unasked is named as the fault.
fn date(found: &mut Found) -> Result<()> {
    let path = found.folder.join("results.json");
    let text = std::fs::read(&path).with_context(|| path.display().to_string())?;
    let results: serde_json::Value =
        serde_json::from_slice(&text).with_context(|| path.display().to_string())?;
    let violation = &results["violation"];
    if violation.is_null() {
        let sentence = results["sentence"].as_str().unwrap_or_default().to_owned();
        found.verdict = Outcome::Broken(sentence);
        return Ok(());
    }
    found.violation_s = violation["at_s"].as_f64();
    found.since_fault_s = violation["since_fault_s"].as_f64();
    found.fault = violation["fault"].as_str().map(str::to_owned);
    Ok(())
}

/// What Debian calls the installed version, else what the program says.
fn version(system: &System, binary: &Binary) -> String {
    let asked = system.packages.first().and_then(|package| {
        let output = Command::new("dpkg-query")
            .args(["--show", "--showformat=${Package} ${Version}", package])
            .output()
            .ok()?;
        output.status.success().then_some(output.stdout)
    });
    asked.map_or_else(
        || binary.version.clone(),
        |text| String::from_utf8_lossy(&text).into_owned(),
    )
}

fn when(found: &Found) -> String {
    let Some(at) = found.violation_s else {
        return String::new();
    };
    match (&found.fault, found.since_fault_s) {
        (Some(fault), Some(since)) => format!(", seen {at:.2} s into the load, {since:.2} s after: {fault}"),
        _ => format!(", seen {at:.2} s into the load"),
    }
}

/// The table, in Markdown, which terminals show as well.
fn as_table(rows: &[&Row], found: &[Found]) -> String {
    let mut text = String::from(
        "| subject | fault | expected | found | first violation seen | took | version |\n|---|---|---|---|---|---|---|\n",
    );
    for row in rows {
        for one in found.iter().filter(|found| found.row == row.name) {
            let mark = if one.verdict.is(row.expected) {
                ""
            } else {
                " **(!)**"
            };
            let seen = match (one.violation_s, &one.fault, one.since_fault_s) {
                (Some(at), Some(fault), Some(since)) => {
                    format!("{at:.2} s; {since:.2} s after {}", fault.replace('|', "\\|"))
                }
                (Some(at), ..) => format!("{at:.2} s"),
                (None, ..) => "never".to_owned(),
            };
            text.push_str(&format!(
                "| {} | {} | {} | {}{mark} | {seen} | {:.0} s | {} |\n",
                row.name,
                row.nemesis,
                row.expected.word(),
                one.verdict.word(),
                one.took_s,
                one.version
            ));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_is_a_run_that_can_be_typed() {
        use clap::Parser;
        for row in ROWS {
            let typed = [vec!["workloads".to_owned()], row.arguments()].concat();
            let cli = crate::cli::Cli::try_parse_from(&typed).expect("a command line");
            let Some(crate::cli::Command::Run(args)) = cli.command else {
                panic!("{typed:?}")
            };
            crate::config::RunConfig::new(&args).unwrap_or_else(|error| panic!("{}: {error:#}", row.name));
        }
    }

    #[test]
    fn both_verdicts_are_expected_of_the_same_kind_of_store() {
        for verdict in [Verdict::Legal, Verdict::Illegal] {
            assert!(ROWS.iter().filter(|row| row.expected == verdict).count() >= 4);
        }
        let mut names: Vec<&str> = ROWS.iter().map(|row| row.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), ROWS.len(), "names are unique");
    }

    #[test]
    fn rows_are_chosen_by_the_beginning_of_their_names() {
        let rows = chosen(&["etcd".to_owned()]).expect("there");
        assert!(!rows.is_empty() && rows.iter().all(|row| row.name.starts_with("etcd")));
        let error = chosen(&["etdc".to_owned()]).expect_err("none").to_string();
        assert!(
            error.contains("no row begins so") && !error.contains('\n'),
            "{error}"
        );
    }

    #[test]
    fn a_table_marks_what_is_not_as_expected() {
        let row = &ROWS[0];
        let found = Found {
            row: row.name.to_owned(),
            round: 1,
            seed: 1,
            verdict: Outcome::Unknown("too few".to_owned()),
            took_s: 3.0,
            violation_s: None,
            since_fault_s: None,
            fault: None,
            version: "1.0".to_owned(),
            folder: PathBuf::new(),
        };
        assert!(as_table(&[row], &[found]).contains("unknown (too few) **(!)**"));
    }
}

//! Remarks beside a change: GitHub's workflow commands, or plain lines.

use std::env;
use std::fs::{self, File};
use std::io::Write;
use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::{Args, ValueEnum};

use super::{Found, Worth, runs};

/// Flags of `annotate`.
#[derive(Debug, Clone, Args)]
pub struct AnnotateArgs {
    /// Folders of runs, or stores
    #[arg(default_value = "store/latest", value_name = "PATH")]
    pub paths: Vec<PathBuf>,
    /// How to say it; left away: as the CI system that we are in understands it
    #[arg(long, value_enum)]
    pub form: Option<Form>,
    /// File to which each run's summary.md is added
    #[arg(long, env = "GITHUB_STEP_SUMMARY", value_name = "FILE")]
    pub summary: Option<PathBuf>,
}

/// Who is to understand remarks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Form {
    /// GitHub's workflow commands: `::error title=...::...`.
    Github,
    /// People: a line a remark.
    Plain,
}

/// One remark.
#[derive(Debug, PartialEq, Eq)]
struct Remark {
    /// GitHub's word for how grave it is.
    level: &'static str,
    title: String,
    text: String,
    /// Of the system file, where the repository has it.
    file: Option<String>,
}

/// Says of each run what came of it, the worst first, and adds their summaries to a file.
///
/// # Errors
/// When there is no run, a run's results cannot be read, or the summary cannot be written.
pub fn annotate(args: &AnnotateArgs) -> Result<()> {
    let form = args
        .form
        .unwrap_or_else(|| match env::var("GITHUB_ACTIONS").as_deref() {
            Ok("true") => Form::Github,
            _ => Form::Plain,
        });
    let runs = runs(&args.paths)?;
    for remark in runs.iter().flat_map(remarks) {
        nemesis::say!("{}", remark.said(form));
    }
    let Some(path) = &args.summary else { return Ok(()) };
    let cannot = || format!("cannot add to the summary {}", path.display());
    let mut file = File::options()
        .create(true)
        .append(true)
        .open(path)
        .with_context(cannot)?;
    for run in &runs {
        let text = fs::read_to_string(run.path.join("summary.md")).unwrap_or_else(|_| {
            format!(
                "### No verdict: {}\n\nThe run left no summary.\n",
                run.path.display()
            )
        });
        writeln!(file, "{text}").with_context(cannot)?;
    }
    Ok(())
}

/// What there is to say of a run: the verdict first, then what else is wrong.
fn remarks(run: &Found) -> Vec<Remark> {
    let remark = |level, title: String, text: String| Remark {
        level,
        title: format!("Ordeal: {title}"),
        text,
        file: run.file.clone(),
    };
    let Some(results) = &run.results else {
        let text = format!(
            "the run in {} came to no verdict; the logs of its nodes may say why",
            run.path.display()
        );
        return vec![remark("error", "no verdict".into(), text)];
    };
    let again = |text: &str| {
        if results.again.is_empty() {
            text.to_owned()
        } else {
            format!("{text}\nagain: {}", results.again)
        }
    };
    let (level, what, text) = match run.worth() {
        Worth::Illegal => {
            let found = results.analysis.counterexample.as_ref();
            let what = found.map_or("invalid", |found| &found.anomaly);
            ("error", what, again(&results.sentence))
        }
        Worth::Valid => ("notice", "valid", results.sentence.clone()),
        Worth::Unknown | Worth::NoVerdict => {
            let doubts: String = results
                .doubts
                .iter()
                .map(|doubt| format!("\n- {doubt}"))
                .collect();
            (
                "warning",
                "unknown",
                again(&format!("{}{doubts}", results.sentence)),
            )
        }
    };
    let test = if results.test.is_empty() {
        String::new()
    } else {
        format!(" in {}", results.test)
    };
    let anomalies = results.anomalies.iter().map(|anomaly| {
        remark(
            "error",
            format!("{}{test}", anomaly.kind),
            again(&anomaly.sentence),
        )
    });
    let first = remark(level, format!("{what}{test}"), text);
    std::iter::once(first).chain(anomalies).collect()
}

impl Remark {
    fn said(&self, form: Form) -> String {
        match form {
            Form::Github => {
                let file = self
                    .file
                    .as_ref()
                    .map_or(String::new(), |file| format!("file={},", property(file)));
                format!(
                    "::{} {file}title={}::{}",
                    self.level,
                    property(&self.title),
                    message(&self.text)
                )
            }
            Form::Plain => {
                let text: String = self
                    .text
                    .chars()
                    .map(|c| if c.is_control() { ' ' } else { c })
                    .collect();
                format!("{}: {}: {text}", self.level, self.title)
            }
        }
    }
}

/// Text after the second pair of colons; a line break would end the command, and could begin another one.
fn message(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

/// Text before it, where commas and colons have a meaning.
fn property(text: &str) -> String {
    message(text).replace(':', "%3A").replace(',', "%2C")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn found(results: Option<serde_json::Value>) -> Found {
        Found {
            path: "store/t/1".into(),
            results: results.map(|results| serde_json::from_value(results).expect("results")),
            file: Some("systems/mine.toml".into()),
        }
    }

    #[test]
    fn each_verdict_has_its_level_and_nothing_breaks_out_of_a_command() {
        let evil = "a\n::error::b, 100%: c";
        let results = |valid: serde_json::Value| {
            json!({"valid": valid, "sentence": evil, "test": "t,u", "again": "again!", "doubts": ["d"],
                "anomalies": [], "analysis": {"counterexample": null}})
        };
        let cases = [
            (
                json!(true),
                "::notice file=systems/mine.toml,title=Ordeal%3A valid in t%2Cu::a%0A::error::b, 100%25: c",
            ),
            (
                json!(false),
                "::error file=systems/mine.toml,title=Ordeal%3A invalid in t%2Cu::a%0A::error::b, 100%25: c%0Aagain: again!",
            ),
            (
                json!("unknown"),
                "::warning file=systems/mine.toml,title=Ordeal%3A unknown in t%2Cu::a%0A::error::b, 100%25: c%0A- d%0Aagain: again!",
            ),
        ];
        for (valid, expected) in cases {
            let said: Vec<_> = remarks(&found(Some(results(valid))))
                .iter()
                .map(|remark| remark.said(Form::Github))
                .collect();
            assert_eq!(said, [expected]);
        }
        let said = remarks(&found(None))[0].said(Form::Plain);
        assert!(
            said.starts_with("error: Ordeal: no verdict: the run in store/t/1"),
            "{said}"
        );
    }

    #[test]
    fn what_is_wrong_beside_the_history_is_an_error_of_its_own() {
        let results = json!({"valid": false, "sentence": "Invalid: n2 died", "test": "t", "again": "", "doubts": [],
            "anomalies": [{"kind": "crash", "sentence": "n2 died"}], "analysis": {"counterexample": {"anomaly": "stale-read"}}});
        let said: Vec<_> = remarks(&found(Some(results)))
            .iter()
            .map(|remark| remark.said(Form::Plain))
            .collect();
        assert_eq!(
            said,
            [
                "error: Ordeal: stale-read in t: Invalid: n2 died",
                "error: Ordeal: crash in t: n2 died"
            ]
        );
    }
}

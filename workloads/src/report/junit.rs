//! The report for machines that count tests: `junit.xml`.

use std::fmt::Write;

use checker::Verdict;

use super::escape::Escaped;
use super::verdict::{counterexample, headline};
use super::{ReportInput, RunOutcome, proof};

/// The run as a JUnit test suite: a case for the verdict, one for each kind of anomaly looked for outside the
/// history, one for whether the run was evidence.
///
/// A violation or an anomaly is a `failure`. What is unknown is an `error`, so that no reader of the file takes it
/// for a pass. GitLab and Jenkins list errors with the failures, as tests that failed: so where something was found,
/// what else is unknown (that the run ended at its first violation, mostly) is `skipped`, for nothing second is
/// wrong. GitLab shows the text of an element and no attribute: the message stands in both.
#[must_use]
pub fn junit(input: &ReportInput<'_>) -> String {
    let run = input.run;
    let mut cases = vec![verdict_case(input)];
    cases.extend(run.anomalies.iter().map(|anomaly| Case {
        name: anomaly.kind.clone(),
        seconds: 0.0,
        problem: Some((
            "failure",
            anomaly.kind.clone(),
            anomaly.sentence.clone(),
            anomaly.sentence.clone(),
        )),
    }));
    let doubts = run.doubts.join("\n");
    cases.push(Case {
        name: "evidence".to_owned(),
        seconds: 0.0,
        problem: run
            .doubts
            .first()
            .map(|first| ("error", "no-evidence".to_owned(), first.clone(), doubts)),
    });
    if input.outcome() == RunOutcome::Invalid {
        for problem in cases.iter_mut().filter_map(|case| case.problem.as_mut()) {
            if problem.0 == "error" {
                problem.0 = "skipped";
            }
        }
    }
    let number = |tag: &str| {
        cases
            .iter()
            .filter(|case| case.problem.as_ref().is_some_and(|p| p.0 == tag))
            .count()
    };
    let (failures, errors, skipped) = (number("failure"), number("error"), number("skipped"));
    debug_assert_eq!(failures + errors == 0, input.outcome() == RunOutcome::Valid);
    let length = run.length.as_seconds();
    let name = Escaped(&run.name);
    let mut xml = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites tests=\"{tests}\" failures=\"{failures}\" errors=\"{errors}\" time=\"{length:.3}\">\n\
         <testsuite name=\"{name}\" tests=\"{tests}\" failures=\"{failures}\" errors=\"{errors}\" skipped=\"{skipped}\" time=\"{length:.3}\" timestamp=\"{started}\">\n<properties>\n",
        tests = cases.len(),
        started = Escaped(&run.started),
    );
    let seed = run.seed.map(|seed| ("seed".to_owned(), seed.to_string()));
    let command = Some(("command".to_owned(), run.command.clone()));
    for (key, value) in seed
        .iter()
        .chain(&command)
        .chain(&run.settings)
        .chain(&run.versions)
    {
        let _ = writeln!(
            xml,
            "<property name=\"{}\" value=\"{}\"/>",
            Escaped(key),
            Escaped(value)
        );
    }
    xml.push_str("</properties>\n");
    for case in &cases {
        case.write(&mut xml, &run.name);
    }
    xml.push_str("</testsuite>\n</testsuites>\n");
    xml
}

struct Case {
    name: String,
    seconds: f64,
    /// Tag, type, message, text.
    problem: Option<(&'static str, String, String, String)>,
}

impl Case {
    fn write(&self, xml: &mut String, suite: &str) {
        let _ = write!(
            xml,
            "<testcase classname=\"{}\" name=\"{}\" time=\"{:.3}\"",
            Escaped(suite),
            Escaped(&self.name),
            self.seconds
        );
        let _ = match &self.problem {
            None => writeln!(xml, "/>"),
            Some((tag, kind, message, text)) => writeln!(
                xml,
                ">\n<{tag} type=\"{}\" message=\"{}\">{}</{tag}>\n</testcase>",
                Escaped(kind),
                Escaped(message),
                Escaped(text)
            ),
        };
    }
}

fn verdict_case(input: &ReportInput<'_>) -> Case {
    let seconds = input
        .analysis
        .map_or(0.0, |analysis| analysis.elapsed.as_secs_f64());
    let problem = match input.analysis.map(|analysis| &analysis.verdict) {
        Some(Verdict::Linearizable(_)) => None,
        Some(Verdict::Illegal(found)) => {
            let kind = serde_json::to_value(found.anomaly)
                .ok()
                .and_then(|name| name.as_str().map(str::to_owned));
            let core = counterexample(input).map(proof::operations).unwrap_or_default();
            let lines: Vec<String> = core
                .iter()
                .map(|operation| {
                    format!(
                        "process {}: {} from {} to {}",
                        operation.process,
                        operation.said,
                        operation.invoked,
                        operation
                            .completed
                            .map_or("unknown".to_owned(), |to| to.to_string())
                    )
                })
                .collect();
            Some((
                "failure",
                kind.unwrap_or_default(),
                found.sentence.clone(),
                format!("{}\n\n{}", found.sentence, lines.join("\n")),
            ))
        }
        // The same words as on the page: the headline of an unknown verdict says what ran out.
        Some(Verdict::Unknown(_)) | None => {
            let why = headline(input);
            Some(("error", "unknown".to_owned(), why.clone(), why))
        }
    };
    Case {
        name: "linearizable".to_owned(),
        seconds,
        problem,
    }
}

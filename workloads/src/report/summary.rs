//! The report in a screenful of Markdown, for the summary of a CI job or a comment on a pull request.

use std::fmt::Write;

use super::escape::{markdown, shortened};
use super::proof;
use super::scale::{count, duration, percent, seconds};
use super::verdict::{counterexample, headline, where_from, word};
use super::{ReportInput, RunOutcome, doubts};

/// Operations and faults listed; the page has them all.
const ROWS: usize = 20;

/// The run in Markdown as GitHub and GitLab render it.
#[must_use]
pub fn summary(input: &ReportInput<'_>) -> String {
    let run = input.run;
    let outcome = input.outcome();
    let series = input.series();
    let mark = match outcome {
        RunOutcome::Valid => "✅",
        RunOutcome::Invalid => "❌",
        RunOutcome::Unknown => "⚠️",
    };
    let mut text = format!(
        "### {mark} {}: {}\n\n{}\n\n",
        word(outcome),
        markdown(&run.name),
        markdown(&headline(input))
    );
    if let Some(cause) = &run.cause {
        let _ = writeln!(
            text,
            "Cause: **{}**: {}\n",
            markdown(&cause.class.replace('-', " ")),
            markdown(&cause.sentence)
        );
    }
    for anomaly in &run.anomalies {
        let _ = writeln!(
            text,
            "- **{}**: {}",
            markdown(&anomaly.kind),
            markdown(&anomaly.sentence)
        );
    }
    for doubt in doubts(input) {
        let _ = writeln!(text, "- no evidence: {}", markdown(doubt));
    }
    if !run.anomalies.is_empty() || !doubts(input).is_empty() {
        text.push('\n');
    }
    proof_rows(&mut text, input);
    text.push_str("| operation | total | ok | mismatch | fail | unknown | answered | p50 | p99 |\n|---|--:|--:|--:|--:|--:|--:|--:|--:|\n");
    let all = ("all".to_owned(), series.all.clone());
    for (name, group) in series.by_f.iter().chain([(&all.0, &all.1)]) {
        let counts = &group.counts;
        let quantile = |share| group.quantile(share).map_or("–".to_owned(), duration);
        let _ = write!(
            text,
            "| {} | {} ",
            markdown(&shortened(name, 60)),
            count(counts.total())
        );
        for (_, number) in counts.each() {
            let _ = write!(text, "| {} ", count(number));
        }
        let _ = writeln!(
            text,
            "| {} | {} | {} |",
            percent(counts.answered(), counts.total()),
            quantile(0.5),
            quantile(0.99)
        );
    }
    fault_rows(&mut text, input);
    let _ = write!(
        text,
        "\n{}\n\n{}",
        markdown(&where_from(input)),
        code_block(&run.command)
    );
    text
}

fn proof_rows(text: &mut String, input: &ReportInput<'_>) {
    let Some(found) = counterexample(input) else {
        return;
    };
    let operations = proof::operations(found);
    text.push_str("| # | process | node | did | from | to |\n|--:|--:|---|---|--:|--:|\n");
    for (at, operation) in operations.iter().take(ROWS).enumerate() {
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {} s | {} |",
            at + 1,
            operation.process,
            markdown(operation.node.as_deref().unwrap_or("–")),
            markdown(&shortened(&operation.said, 120)),
            seconds(operation.invoked.0, 6),
            operation
                .completed
                .map_or("unknown".to_owned(), |to| format!("{} s", seconds(to.0, 6))),
        );
    }
    if operations.len() > ROWS {
        let _ = writeln!(text, "\nand {} more operations", operations.len() - ROWS);
    }
    text.push('\n');
}

fn fault_rows(text: &mut String, input: &ReportInput<'_>) {
    let faults = &input.run.faults;
    if faults.is_empty() {
        text.push_str("\nNo faults.\n");
        return;
    }
    let bit = faults.iter().filter(|fault| fault.bit).count();
    let _ = writeln!(
        text,
        "\n<details><summary>{} faults, {bit} seen to bite</summary>\n\n| from | to | what | bit | healed |\n|--:|--:|---|---|---|",
        faults.len()
    );
    for fault in faults.iter().take(ROWS) {
        let to = fault
            .to
            .map_or("–".to_owned(), |to| format!("{} s", seconds(to.0, 1)));
        let yes = |truth| if truth { "yes" } else { "**no**" };
        let _ = writeln!(
            text,
            "| {} s | {to} | {} | {} | {} |",
            seconds(fault.from.0, 1),
            markdown(&shortened(&fault.description, 120)),
            yes(fault.bit),
            yes(fault.healed)
        );
    }
    if faults.len() > ROWS {
        let _ = writeln!(text, "\nand {} more", faults.len() - ROWS);
    }
    text.push_str("\n</details>\n");
}

/// A command as a block of code, fenced by more backticks than it has in a row.
fn code_block(command: &str) -> String {
    if command.is_empty() {
        return String::new();
    }
    let longest = command.split(|c| c != '`').map(str::len).max().unwrap_or(0);
    let fence = "`".repeat(longest.max(2) + 1);
    let command: String = command
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    format!("{fence}sh\n{command}\n{fence}\n")
}

//! A matrix as a table.

use std::fmt::Write;

use serde::Serialize;

use crate::campaign::Tally;
use crate::report::markdown;
use crate::soak::Failure;

/// What came of one combination.
#[derive(Debug, Serialize)]
pub(super) struct Cell {
    pub(super) system: String,
    pub(super) workload: &'static str,
    pub(super) nemesis: String,
    /// Why it makes no sense here.
    pub(super) skipped: Option<String>,
    pub(super) tally: Tally,
    /// How many runs it should have.
    pub(super) wanted: usize,
    pub(super) failures: Vec<Failure>,
}

/// All of them.
#[derive(Debug, Serialize)]
pub(super) struct Table {
    pub(super) cells: Vec<Cell>,
}

impl Cell {
    /// The worst that was found, then how often.
    fn word(&self) -> String {
        let tally = &self.tally;
        let runs = tally.runs();
        if self.skipped.is_some() {
            return "skipped".to_owned();
        }
        if runs == 0 {
            return "not run".to_owned();
        }
        let (word, count) = if tally.illegal > 0 {
            ("**ILLEGAL**", tally.illegal)
        } else if tally.broken > 0 {
            ("no verdict", tally.broken)
        } else if tally.unknown > 0 {
            ("unknown", tally.unknown)
        } else {
            ("valid", tally.valid)
        };
        let open = if runs < self.wanted {
            format!(", {} to go", self.wanted - runs)
        } else {
            String::new()
        };
        if self.wanted == 1 {
            word.to_owned()
        } else {
            format!("{word} {count}/{runs}{open}")
        }
    }
}

impl Table {
    /// A row for each system and workload, a column for each set of faults; below it whatever did not pass.
    pub(super) fn markdown(&self) -> String {
        let mut columns: Vec<&str> = Vec::new();
        let mut rows: Vec<(&str, &str)> = Vec::new();
        for cell in &self.cells {
            if !columns.contains(&cell.nemesis.as_str()) {
                columns.push(&cell.nemesis);
            }
            if !rows.contains(&(&cell.system, cell.workload)) {
                rows.push((&cell.system, cell.workload));
            }
        }
        let mut text = format!("| system | workload | {} |\n", columns.join(" | "));
        let _ = writeln!(text, "|---|---|{}", "---|".repeat(columns.len()));
        for (system, workload) in rows {
            let _ = write!(text, "| {system} | {workload} |");
            for column in &columns {
                let same = |cell: &&Cell| {
                    (cell.system.as_str(), cell.workload, cell.nemesis.as_str()) == (system, workload, column)
                };
                let word = self.cells.iter().find(same).map_or_else(String::new, Cell::word);
                let _ = write!(text, " {word} |");
            }
            text.push('\n');
        }
        let mut skipped: Vec<&str> = self
            .cells
            .iter()
            .filter_map(|cell| cell.skipped.as_deref())
            .collect();
        skipped.dedup();
        for why in skipped {
            let _ = write!(text, "\nskipped, not passed: {}\n", markdown(why));
        }
        for cell in &self.cells {
            for failure in &cell.failures {
                let _ = write!(
                    text,
                    "\n{} {} {}:\n{failure}\n",
                    cell.system, cell.workload, cell.nemesis
                );
            }
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cell(workload: &'static str, nemesis: &str, tally: Tally, skipped: Option<&str>) -> Cell {
        Cell {
            system: "etcd".into(),
            workload,
            nemesis: nemesis.into(),
            skipped: skipped.map(str::to_owned),
            tally,
            wanted: 3,
            failures: Vec::new(),
        }
    }

    #[test]
    fn the_worst_of_a_combination_stands_in_its_place() {
        let of = |valid, illegal, unknown, broken| Tally {
            valid,
            illegal,
            unknown,
            broken,
            ..Tally::default()
        };
        let table = Table {
            cells: vec![
                cell("append", "none", of(3, 0, 0, 0), None),
                cell("append", "kill", of(1, 1, 1, 0), None),
                cell("set", "none", of(1, 0, 1, 0), None),
                cell("set", "kill", of(0, 0, 1, 1), None),
                cell("lock", "none", of(0, 0, 0, 0), Some("it has no <lock>")),
                cell("lock", "kill", of(0, 0, 0, 0), None),
            ],
        };
        let text = table.markdown();
        for line in [
            "| system | workload | none | kill |",
            "| etcd | append | valid 3/3 | **ILLEGAL** 1/3 |",
            "| etcd | set | unknown 1/2, 1 to go | no verdict 1/2, 1 to go |",
            "| etcd | lock | skipped | not run |",
        ] {
            assert!(text.contains(line), "{line}:\n{text}");
        }
        assert!(
            text.contains("skipped, not passed: it has no") && !text.contains("<lock>"),
            "{text}"
        );
    }
}

//! What there is to choose from.

use std::fmt::Write;

use nemesis::plan::{FAULT_NAMES, PRESETS};

use crate::config::DEFAULT_FAULTS;
use crate::system::System;
use crate::workload::WORKLOADS;

/// Width of the column of names.
const NAMES: usize = 14;

/// Systems, workloads, faults and presets, for a terminal.
#[must_use]
pub fn text() -> String {
    let mut out = String::new();
    let mut line = |text: String| writeln!(out, "{text}").expect("writing to a string");
    line("systems (or the path of a file like systems/kvnode.toml):".into());
    for system in System::shipped() {
        line(format!("  {:NAMES$} {}", system.name, system.about));
        for (name, variant) in &system.variant {
            line(format!("  {:NAMES$} {}", format!("  :{name}"), variant.about));
        }
    }
    line("\nworkloads:".into());
    for workload in WORKLOADS {
        line(format!("  {:NAMES$} {}", workload.name, workload.about));
    }
    line(format!(
        "\nfaults of a run that names none, and those that the system's file adds:\n  {}",
        DEFAULT_FAULTS.join(", ")
    ));
    line("\npresets of faults:".into());
    for preset in &PRESETS {
        line(format!("  {:NAMES$} {}", preset.name, preset.purpose));
    }
    line(format!("\nfaults:\n  {}", FAULT_NAMES.join("\n  ")));
    line("\nplanted bugs: `kvnode bugs`, in a build with --features planted-bugs".into());
    out
}

#[cfg(test)]
mod tests {
    #[test]
    fn everything_is_named() {
        let text = super::text();
        for name in ["kvnode", "register", "standard", "partition-leader"] {
            assert!(text.contains(&format!("  {name}")), "{name}:\n{text}");
        }
    }
}

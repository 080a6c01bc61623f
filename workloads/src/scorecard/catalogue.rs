//! Which run should catch which planted bug, and what it should call what it found.

use std::fmt;

/// A planted bug of kvnode, as the scorecard sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bug {
    /// Its name.
    pub name: &'static str,
    /// The run that should catch it.
    pub preset: Preset,
    /// What a violation that it causes may rightly be called: the anomalies that follow from it.
    pub causes: &'static [&'static str],
}

/// A workload with faults that suit it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Preset {
    /// The workload, by name.
    pub workload: &'static str,
    /// The faults, by name, joined by commas; `none` for none.
    pub nemesis: &'static str,
    /// Most faults at once.
    pub at_once: u8,
    /// How many nodes; none for as many as usual.
    pub nodes: Option<u8>,
}

impl Preset {
    /// As tables have it.
    #[must_use]
    pub fn in_words(&self) -> String {
        in_words((self.workload, self.nemesis), Some(self.at_once), self.nodes)
    }
}

impl fmt::Display for Preset {
    /// As options of `workloads run`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "--workload {} --nemesis {}", self.workload, self.nemesis)?;
        if self.at_once > 1 {
            write!(f, " --at-once {}", self.at_once)?;
        }
        if let Some(nodes) = self.nodes {
            write!(f, " --nodes {nodes}")?;
        }
        Ok(())
    }
}

/// A workload with its faults as tables have them; `None` is for what is as usual.
pub(super) fn in_words((workload, nemesis): (&str, &str), at_once: Option<u8>, nodes: Option<u8>) -> String {
    let mut words = format!("{workload}, {}", nemesis.replace(',', ", "));
    if let Some(at_once) = at_once.filter(|at_once| *at_once > 1) {
        words += &format!(", {at_once} at once");
    }
    if let Some(nodes) = nodes {
        words += &format!(", {nodes} nodes");
    }
    words
}

/// One fault at a time, as many nodes as usual.
const fn preset(workload: &'static str, nemesis: &'static str) -> Preset {
    Preset {
        workload,
        nemesis,
        at_once: 1,
        nodes: None,
    }
}

/// What reading without asking a quorum leads to.
const STALE: &[&str] = &["stale-read", "reads-go-backwards"];
/// What losing an acknowledged write leads to. Where some nodes have it and others not, they hold different things.
const LOST: &[&str] = &["lost-write", "lost-after-power-failure", "divergence"];
/// The same, where openraft may notice before any client that a node lacks what it had promised to have: the node
/// stops, and its last words say so.
const LOST_OR_STOPPED: &[&str] = &["lost-write", "lost-after-power-failure", "divergence", "crash"];
/// What doing one request twice leads to.
const DUPLICATE: &[&str] = &["duplicate"];
/// What replicas lead to that do not hold the same: they differ, and what one of them left out is lost when it leads.
const APART: &[&str] = &["divergence", "lost-write"];

/// Every bug, in the order of their names.
pub const BUGS: &[Bug] = &[
    Bug {
        name: "ack-before-commit",
        preset: preset("register", "partition-leader,kill-leader"),
        // What is acknowledged and not committed yet is not seen, and then it is: that is a stale read.
        causes: &[
            "lost-write",
            "lost-after-power-failure",
            "stale-read",
            "reads-go-backwards",
        ],
    },
    Bug {
        name: "append-entries-ignores-prev",
        // A node must fall behind while leaders change, and then count where it should not: of three, it and the
        // leader are a majority.
        preset: Preset {
            workload: "append",
            nemesis: "partition-one,kill-leader",
            at_once: 2,
            nodes: Some(3),
        },
        causes: LOST_OR_STOPPED,
    },
    Bug {
        name: "apply-skips-one",
        preset: preset("kv", "none"),
        causes: APART,
    },
    Bug {
        name: "cas-not-atomic",
        preset: preset("cas-register", "none"),
        causes: &["non-atomic-cas", "wrong-cas"],
    },
    Bug {
        name: "clock-ordered-writes",
        preset: preset("register", "clock-leader,kill-leader"),
        causes: LOST,
    },
    Bug {
        name: "delete-ignored-on-replica",
        preset: preset("kv", "none"),
        causes: APART,
    },
    Bug {
        name: "dup-apply",
        preset: preset("retries", "none"),
        causes: DUPLICATE,
    },
    Bug {
        name: "follower-read",
        preset: preset("register", "none"),
        causes: STALE,
    },
    Bug {
        name: "leader-local-read",
        preset: preset("register", "partition-leader,pause-leader"),
        causes: STALE,
    },
    Bug {
        name: "lease-too-long",
        preset: preset("register", "partition-leader,pause-leader"),
        causes: STALE,
    },
    Bug {
        name: "log-truncated-on-restart",
        // One at a time in between, or the nodes are down most of the time and nothing is written that could be lost.
        preset: preset("append", "kill-all,kill-one"),
        causes: LOST_OR_STOPPED,
    },
    Bug {
        name: "member-removed-still-votes",
        preset: preset("churn", "membership"),
        causes: LOST_OR_STOPPED,
    },
    Bug {
        name: "no-fsync",
        preset: preset("append", "power-failure"),
        causes: LOST_OR_STOPPED,
    },
    Bug {
        name: "readindex-before-first-commit",
        // Slow links make the moments long in which a new leader has not committed anything, and a node that starts
        // knows least of what was. A text shows later that what it lacked was never lost.
        preset: Preset {
            workload: "append",
            nemesis: "restart,delay",
            at_once: 2,
            nodes: None,
        },
        causes: STALE,
    },
    Bug {
        name: "session-seq-greater",
        preset: preset("retries", "none"),
        causes: &["lost-write"],
    },
    Bug {
        name: "snapshot-off-by-one",
        preset: preset("append", "kill-one,partition-one"),
        causes: APART,
    },
    Bug {
        name: "snapshot-stale-membership",
        // No changes of membership: the log behind a snapshot would say who belongs.
        preset: preset("append", "kill-one"),
        causes: LOST_OR_STOPPED,
    },
    Bug {
        name: "snapshot-without-sessions",
        preset: preset("retries", "kill-one,partition-one"),
        causes: &["duplicate", "divergence"],
    },
    Bug {
        name: "stale-snapshot-install",
        preset: preset("append", "partition-one,kill-one"),
        causes: APART,
    },
    Bug {
        name: "timeout-as-fail",
        preset: preset("register", "partition-leader,partition-majority"),
        causes: &["failed-write-visible"],
    },
    Bug {
        name: "torn-tail-accepted",
        preset: preset("append", "torn-write"),
        causes: &[
            "crash",
            "divergence",
            "phantom-value",
            "lost-write",
            "lost-after-power-failure",
        ],
    },
    Bug {
        name: "vote-not-persisted",
        preset: preset("append", "kill-all,crash-loop"),
        causes: LOST_OR_STOPPED,
    },
];

/// The five that are caught soonest: what the gate asks for.
pub const QUICK: &[&str] = &[
    "apply-skips-one",
    "cas-not-atomic",
    "dup-apply",
    "follower-read",
    "delete-ignored-on-replica",
];

impl Bug {
    /// The bug of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<&'static Bug> {
        BUGS.iter().find(|bug| bug.name == name)
    }

    /// Whether a violation called so follows from this bug.
    #[must_use]
    pub fn explains(&self, anomaly: &str) -> bool {
        self.causes.contains(&anomaly)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::DEFAULT_FAULTS;
    use crate::workload::Workload;
    use nemesis::plan::faults_named;
    use std::path::Path;

    #[test]
    fn every_preset_can_be_typed() {
        for bug in BUGS {
            assert!(Workload::named(bug.preset.workload).is_some(), "{}", bug.name);
            for name in bug.preset.nemesis.split(',') {
                assert!(
                    name == "none" || faults_named(name).is_some(),
                    "{}: {name}",
                    bug.name
                );
            }
            assert!(!bug.causes.is_empty());
        }
        for name in DEFAULT_FAULTS {
            assert!(faults_named(name).is_some(), "{name}");
        }
        for name in QUICK {
            assert!(Bug::named(name).is_some(), "{name}");
        }
        assert!(BUGS.windows(2).all(|two| two[0].name < two[1].name), "in order");
    }

    #[test]
    fn the_catalogue_has_every_bug_of_kvnode_and_each_has_its_page() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        // The arrows forbid to ask kvnode itself; its list is text.
        let source = std::fs::read_to_string(root.join("kvnode/src/planted/mod.rs")).expect("kvnode's list");
        let mut planted: Vec<&str> = source
            .lines()
            .filter_map(|line| line.trim().strip_prefix("(\"")?.split_once("\", Bug::"))
            .map(|(name, _)| name)
            .collect();
        planted.sort_unstable();
        let known: Vec<&str> = BUGS.iter().map(|bug| bug.name).collect();
        assert_eq!(known, planted);
        assert!(known.len() >= 22);
        for name in known {
            let page = root.join(format!("docs/bugs/{name}.md"));
            let text = std::fs::read_to_string(&page).unwrap_or_default();
            let preset = Bug::named(name).expect("known").preset;
            for wanted in [
                &format!("# {name}\n"),
                &format!("\n    workloads run --bug {name} {preset} --time-limit 60s\n"),
                "## The interleaving",
                "## How it is planted",
                "## What is right instead",
                "## Who had it in life",
                "## What catches it",
            ] {
                assert!(text.contains(wanted), "{}: no `{wanted}`", page.display());
            }
            let index = std::fs::read_to_string(root.join("docs/bugs/README.md")).unwrap_or_default();
            assert!(
                index.contains(&format!("({name}.md)")),
                "{name} is not in the index"
            );
        }
    }
}

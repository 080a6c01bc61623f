//! Many runs: what `soak`, `matrix`, `reduce` and the scorecard share.
//!
//! Each run is a program of its own ([`Attempts`]), so that nothing of one reaches into the next, and is noted in
//! a [`Journal`] as soon as it is over: whatever makes many runs goes on where it was killed. A run that Ctrl-C
//! cut short is forgotten with its folder; the same command makes it again.
//!
//! Invariants:
//! - What was not run is not counted, and nothing that ended without a verdict counts as passed.
//! - A journal holds runs of the same programs with the same settings only; others are refused, not mixed in.
//! - A run that did not pass keeps all its files.

mod attempts;
mod carry_out;
mod journal;
mod keep;
mod results;
mod tally;

pub use attempts::{Attempts, Ran, bound};
pub(crate) use carry_out::progress;
pub use carry_out::{Campaign, Ending, Task, Trial};
pub use journal::Journal;
pub(crate) use keep::forget;
pub use results::{Results, Verdict};
pub use tally::Tally;

use std::collections::BTreeMap;

use anyhow::Result;
use serde::{Deserialize, Serialize};

use crate::binary::{Binary, sha256};
use crate::cli::ClusterKind;
use crate::cluster;
use crate::config::RunConfig;

/// What the runs of one journal have in common.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Edition {
    /// The settings in words, all but the seed.
    pub settings: Vec<String>,
    /// SHA-256 of every program that takes part, or an image's id, by name.
    pub programs: BTreeMap<String, String>,
}

impl Edition {
    /// What these runs have in common; builds the nodes' program where cargo runs us, so that no run has to.
    ///
    /// # Errors
    /// When a program is missing or cannot be built.
    pub fn of(settings: Vec<String>, configs: &[RunConfig]) -> Result<Self> {
        let mut programs = BTreeMap::new();
        programs.insert("workloads".to_owned(), sha256(&std::env::current_exe()?)?);
        for config in configs {
            let name = config.system.name.clone();
            if programs.contains_key(&name) {
                continue;
            }
            let hash = match config.cluster {
                ClusterKind::Lab => Binary::provide(&config.system, config.bug.as_deref())?.sha256,
                ClusterKind::Docker => cluster::image()?.1,
            };
            programs.insert(name, hash);
        }
        Ok(Self { settings, programs })
    }
}

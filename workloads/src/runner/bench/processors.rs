//! Where the processors' time goes, as `/proc` tells it.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use nix::unistd::{SysconfVar, sysconf};

/// Processor time used so far.
#[derive(Debug, Clone, Default)]
pub(super) struct Usage {
    /// By this process.
    pub(super) ours: Duration,
    /// By all other processes of the lab.
    pub(super) others: Duration,
    /// By the threads of this process that are there, by their names.
    pub(super) threads: BTreeMap<String, Duration>,
}

impl Usage {
    /// Until now.
    ///
    /// # Errors
    /// When `/proc` cannot be read.
    pub(super) fn now() -> Result<Self> {
        let ticks = sysconf(SysconfVar::CLK_TCK)
            .ok()
            .flatten()
            .context("the clock ticks of the kernel")?;
        let ours = std::process::id().to_string();
        let mut usage = Self::default();
        for entry in fs::read_dir("/proc").context("/proc")?.flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if !name.bytes().all(|byte| byte.is_ascii_digit()) {
                continue;
            }
            // It may have ended meanwhile.
            let Some((_, used)) = used(&entry.path(), ticks) else {
                continue;
            };
            match name == ours {
                true => usage.ours += used,
                false => usage.others += used,
            }
        }
        for entry in fs::read_dir("/proc/self/task")
            .context("/proc/self/task")?
            .flatten()
        {
            if let Some((name, used)) = used(&entry.path(), ticks) {
                *usage.threads.entry(name).or_default() += used;
            }
        }
        Ok(usage)
    }

    /// What was used after `before`.
    pub(super) fn since(&self, before: &Self) -> Self {
        let threads = self.threads.iter().map(|(name, used)| {
            let then = before.threads.get(name).copied().unwrap_or_default();
            (name.clone(), used.saturating_sub(then))
        });
        Self {
            ours: self.ours.saturating_sub(before.ours),
            others: self.others.saturating_sub(before.others),
            threads: threads.filter(|(_, used)| !used.is_zero()).collect(),
        }
    }
}

/// The name of a process or thread, and what it has used (proc(5), `stat`: fields 2, 14 and 15).
fn used(folder: &Path, ticks: i64) -> Option<(String, Duration)> {
    let stat = fs::read_to_string(folder.join("stat")).ok()?;
    let (begin, rest) = stat.rsplit_once(')')?;
    let name = begin.split_once('(')?.1.to_owned();
    let fields: Vec<&str> = rest.split_whitespace().collect();
    let number = |at: usize| fields.get(at)?.parse::<u64>().ok();
    let used = number(11)? + number(12)?;
    Some((name, Duration::from_secs_f64(used as f64 / ticks as f64)))
}

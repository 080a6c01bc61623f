//! Which program is put to the test: built by cargo where cargo started us, else found beside ourselves.
//!
//! A node that is killed is started again, minutes later, and must be the same program then. So what cargo may
//! replace is never started: nodes start from a copy that is named after its content (`shelf`).

mod package;
mod shelf;

use std::env;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};

use crate::system::System;
use package::Package;

/// A program and what it is.
#[derive(Debug, Clone)]
pub struct Binary {
    /// Where it lies.
    pub path: PathBuf,
    /// SHA-256 of the file, in hexadecimal.
    pub sha256: String,
    /// What it answers to `--version`, one line; empty where it does not.
    pub version: String,
    /// Open and locked as long as a copy is in use, so that nobody takes it away.
    _in_use: Option<Arc<File>>,
}

/// The mark that a build with planted bugs carries in its version.
const PLANTED: &str = "planted-bugs";

impl Binary {
    /// Finds or builds the program that `system` starts; with planted bugs where `bug` names one.
    ///
    /// # Errors
    /// When it cannot be built or found, when a planted build turns up without `--bug`, or when it does not
    /// know the bug.
    pub fn provide(system: &System, bug: Option<&str>) -> Result<Self> {
        let path = match (&system.node.cargo, &system.node.program) {
            (Some(package), _) => return Self::of_package(&Package::ours(package)?, bug),
            (None, Some(program)) => on_path(program).with_context(|| match &system.packages[..] {
                [] => format!("system {} cannot be started", system.name),
                packages => format!(
                    "system {} is not installed (on Debian: apt-get install {})",
                    system.name,
                    packages.join(" ")
                ),
            })?,
            (None, None) => PathBuf::from(system.node.command[0].fill(&crate::system::Bindings::new())),
        };
        Self {
            sha256: sha256(&path)?,
            version: version(&path),
            path,
            _in_use: None,
        }
        .with(bug)
    }

    /// The same of a package of this project.
    fn of_package(package: &Package, bug: Option<&str>) -> Result<Self> {
        let program = package.provide(bug.is_some())?;
        Self {
            version: version(&program.path),
            sha256: program.sha256,
            path: program.path,
            _in_use: program.in_use.map(Arc::new),
        }
        .with(bug)
    }

    /// Itself, where it is what was asked for.
    fn with(self, bug: Option<&str>) -> Result<Self> {
        match bug {
            None if self.version.contains(PLANTED) => bail!(
                "{} was built with planted bugs; build it without, or name the bug with --bug",
                self.path.display()
            ),
            Some(bug) => self.must_know(bug)?,
            None => {}
        }
        Ok(self)
    }

    fn must_know(&self, bug: &str) -> Result<()> {
        let output = Command::new(&self.path)
            .arg("bugs")
            .output()
            .with_context(|| format!("{} bugs", self.path.display()))?;
        let known = String::from_utf8_lossy(&output.stdout);
        if !output.status.success() {
            bail!(
                "{} has no planted bugs; build it with --features {PLANTED}",
                self.path.display()
            );
        }
        let names: Vec<&str> = known
            .lines()
            .filter_map(|line| line.split_whitespace().next())
            .collect();
        if !names.contains(&bug) {
            bail!(
                "no planted bug is called `{bug}`; there are: {}",
                names.join(", ")
            );
        }
        Ok(())
    }
}

/// A program by its path, or by its name on `PATH`.
fn on_path(program: &Path) -> Result<PathBuf> {
    if program.components().count() > 1 {
        return Ok(program.to_owned());
    }
    let folders = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&folders)
        .map(|folder| folder.join(program))
        .find(|path| path.is_file())
        .with_context(|| format!("{} is not on PATH; install it first", program.display()))
}

/// SHA-256 of a file, in hexadecimal.
///
/// # Errors
/// When it cannot be read.
pub fn sha256(path: &Path) -> Result<String> {
    let hash = || -> io::Result<String> {
        let mut file = File::open(path)?;
        let mut hasher = Sha256::new();
        let mut buffer = vec![0; 1 << 16];
        loop {
            match file.read(&mut buffer)? {
                0 => break,
                n => hasher.update(&buffer[..n]),
            }
        }
        Ok(hasher
            .finalize()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect())
    };
    hash().with_context(|| format!("the node's program {}", path.display()))
}

fn version(path: &Path) -> String {
    match Command::new(path).arg("--version").output() {
        Ok(output) if output.status.success() => String::from_utf8_lossy(&output.stdout)
            .lines()
            .next()
            .unwrap_or_default()
            .to_owned(),
        _ => String::new(),
    }
}

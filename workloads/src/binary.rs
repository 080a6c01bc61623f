//! Which program is put to the test: built by cargo where cargo started us, else found beside ourselves.

use std::env;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};

use crate::system::System;

/// A program and what it is.
#[derive(Debug, Clone)]
pub struct Binary {
    /// Where it lies.
    pub path: PathBuf,
    /// SHA-256 of the file, in hexadecimal.
    pub sha256: String,
    /// What it answers to `--version`, one line; empty where it does not.
    pub version: String,
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
            (Some(package), _) => cargo_program(package, bug.is_some())?,
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
        let binary = Self {
            sha256: sha256(&path)?,
            version: version(&path),
            path,
        };
        match bug {
            None if binary.version.contains(PLANTED) => bail!(
                "{} was built with planted bugs; build it without, or name the bug with --bug",
                binary.path.display()
            ),
            Some(bug) => binary.must_know(bug)?,
            None => {}
        }
        Ok(binary)
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

/// The program of a cargo package: built in our own profile when cargo runs us, else beside us.
fn cargo_program(package: &str, planted: bool) -> Result<PathBuf> {
    let ourselves = env::current_exe().context("where is this program?")?;
    let beside = ourselves.parent().context("this program lies nowhere")?;
    // Tests and benches run from target/<profile>/deps.
    let beside = if beside.ends_with("deps") {
        beside.parent().unwrap_or(beside)
    } else {
        beside
    };
    let profile = beside
        .file_name()
        .and_then(|name| name.to_str())
        .unwrap_or("release");
    let (folder, profile_args): (&str, &[&str]) = match profile {
        "debug" => ("debug", &[]),
        _ => ("release", &["--release"]),
    };
    let target = beside.parent().unwrap_or(beside).to_owned();
    let clean = target.join(folder).join(package);
    let built = if planted {
        target.join("planted").join(folder).join(package)
    } else {
        clean.clone()
    };
    let Some(cargo) = env::var_os("CARGO") else {
        let candidates = [
            built,
            beside.join(if planted {
                format!("{package}-planted")
            } else {
                package.into()
            }),
        ];
        return candidates.iter().find(|path| path.is_file()).cloned().with_context(|| {
            format!(
                "{} is not there; start through cargo (cargo run --release -p workloads), which builds it",
                candidates[0].display()
            )
        });
    };
    let build = |features: &[&str]| {
        let mut command = Command::new(&cargo);
        command
            .args(["build", "--quiet", "--package", package])
            .args(profile_args);
        command.arg("--target-dir").arg(&target).args(features);
        // Cargo set these for us, not for the build of another package.
        for (name, _) in env::vars_os().filter(|(name, _)| set_by_cargo_run(name)) {
            command.env_remove(name);
        }
        if let Some(manifest) = env::var_os("CARGO_MANIFEST_DIR") {
            command.current_dir(manifest);
        }
        tracing::debug!(?command, "building");
        let status = command.status().context("cargo does not start")?;
        if !status.success() {
            bail!("cargo could not build {package}: see above");
        }
        Ok(())
    };
    if planted {
        // In the same target folder, so that only the package itself is compiled twice; then the clean program
        // is put back in its place, from cargo's own store of it. Should this be interrupted in between, the
        // planted one is refused wherever a clean one is wanted.
        build(&["--features", PLANTED])?;
        let set_aside = built.parent().unwrap_or(&target);
        std::fs::create_dir_all(set_aside)
            .and_then(|()| std::fs::copy(&clean, built.with_extension("part")))
            .and_then(|_| std::fs::rename(built.with_extension("part"), &built))
            .with_context(|| format!("cannot write {}", built.display()))?;
    }
    build(&[])?;
    Ok(built)
}

fn set_by_cargo_run(name: &OsString) -> bool {
    name.to_str().is_some_and(|name| {
        name.starts_with("CARGO_PKG_")
            || name.starts_with("CARGO_BIN_")
            || name.starts_with("CARGO_MANIFEST_")
    })
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

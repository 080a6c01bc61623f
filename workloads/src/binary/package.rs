//! The program of a package of this project: built by cargo where cargo started us, else found beside ourselves.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::shelf::{OnShelf, Shelf};
use super::{PLANTED, sha256};

/// What marks cargo's target folder.
const TAG: &str = "CACHEDIR.TAG";

/// A package, and where its programs are.
#[derive(Debug)]
pub(super) struct Package {
    name: String,
    /// The folder that our own program lies in.
    beside: PathBuf,
    /// Cargo, where it started us.
    cargo: Option<PathBuf>,
    /// The package that cargo started: it builds for another from there.
    from: Option<PathBuf>,
}

impl Package {
    /// The package of that name, beside the program that is running.
    pub(super) fn ours(name: &str) -> Result<Self> {
        let ourselves = env::current_exe().context("where is this program?")?;
        let beside = ourselves.parent().context("this program lies nowhere")?;
        // Tests and benches run from target/<profile>/deps.
        let beside = if beside.ends_with("deps") {
            beside.parent().unwrap_or(beside)
        } else {
            beside
        };
        Ok(Self {
            name: name.to_owned(),
            beside: beside.to_owned(),
            cargo: env::var_os("CARGO").map(PathBuf::from),
            from: env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from),
        })
    }

    /// Cargo's folder of everything that is built.
    fn target(&self) -> &Path {
        self.beside.parent().unwrap_or(&self.beside)
    }

    /// The folder of our profile, and how cargo is told so.
    fn profile(&self) -> (&'static str, &'static [&'static str]) {
        match self.beside.file_name().and_then(|name| name.to_str()) {
            Some("debug") => ("debug", &[]),
            _ => ("release", &["--release"]),
        }
    }

    /// Where cargo puts the program.
    fn clean(&self) -> PathBuf {
        self.target().join(self.profile().0).join(&self.name)
    }

    /// Where it is put aside when it was built with planted bugs.
    fn planted(&self) -> PathBuf {
        self.target()
            .join("planted")
            .join(self.profile().0)
            .join(&self.name)
    }

    /// The program for nodes to start from, as long as they like.
    ///
    /// In cargo's folder that is a copy on the shelf, for what lies there may be built anew at any time, and for a
    /// minute with bugs. Elsewhere it is installed, and taken from where it lies.
    pub(super) fn provide(&self, planted: bool) -> Result<OnShelf> {
        if self.cargo.is_none() && !self.target().join(TAG).is_file() {
            let path = self.found(planted)?;
            let sha256 = sha256(&path)?;
            return Ok(OnShelf {
                path,
                sha256,
                in_use: None,
            });
        }
        let shelf = Shelf::open(&self.target().join("nodes").join(self.profile().0))?;
        // Nobody else builds, puts back or copies meanwhile.
        let alone = shelf.alone(&format!("another `workloads` to have built {}", self.name))?;
        let built = match &self.cargo {
            Some(cargo) => self.built(cargo, planted)?,
            None => self.found(planted)?,
        };
        shelf.keep(&built, &alone)
    }

    /// The program as somebody else has built it.
    fn found(&self, planted: bool) -> Result<PathBuf> {
        let candidates = if planted {
            [self.planted(), self.beside.join(format!("{}-planted", self.name))]
        } else {
            [self.clean(), self.beside.join(&self.name)]
        };
        candidates.iter().find(|path| path.is_file()).cloned().with_context(|| {
            format!(
                "{} is not there; start through cargo (cargo run --release -p workloads), which builds it",
                candidates[0].display()
            )
        })
    }

    /// The program as cargo builds it now.
    fn built(&self, cargo: &Path, planted: bool) -> Result<PathBuf> {
        let clean = self.clean();
        if !planted {
            self.build(cargo, &[])?;
            return Ok(clean);
        }
        // In the same target folder, so that only the package itself is compiled twice; then the clean program
        // is put back in its place, from cargo's own store of it. Should this be interrupted in between, the
        // planted one is refused wherever a clean one is wanted.
        self.build(cargo, &["--features", PLANTED])?;
        let built = self.planted();
        let set_aside = built.parent().unwrap_or(&built);
        std::fs::create_dir_all(set_aside)
            .and_then(|()| std::fs::copy(&clean, built.with_extension("part")))
            .and_then(|_| std::fs::rename(built.with_extension("part"), &built))
            .with_context(|| format!("cannot write {}", built.display()))?;
        self.build(cargo, &[])?;
        Ok(built)
    }

    fn build(&self, cargo: &Path, features: &[&str]) -> Result<()> {
        let mut command = Command::new(cargo);
        command
            .args(["build", "--quiet", "--package", &self.name])
            .args(self.profile().1);
        command.arg("--target-dir").arg(self.target()).args(features);
        // Cargo set these for us, not for the build of another package.
        for (name, _) in env::vars_os().filter(|(name, _)| set_by_cargo_run(name)) {
            command.env_remove(name);
        }
        if let Some(from) = &self.from {
            command.current_dir(from);
        }
        tracing::debug!(?command, "building");
        let status = command.status().context("cargo does not start")?;
        if !status.success() {
            bail!("cargo could not build {}: see above", self.name);
        }
        Ok(())
    }
}

fn set_by_cargo_run(name: &OsString) -> bool {
    name.to_str().is_some_and(|name| {
        name.starts_with("CARGO_PKG_")
            || name.starts_with("CARGO_BIN_")
            || name.starts_with("CARGO_MANIFEST_")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;
    use std::time::{Duration, Instant};

    /// Cargo as far as it matters here: puts a program in its place that says how it was built. With bugs, it is
    /// there for as long as it takes somebody to make a file `go`.
    const CARGO: &str = r#"#!/bin/sh
        while [ $# -gt 0 ]; do
            case $1 in --target-dir) target=$2 ;; --features) features=$2 ;; esac
            shift
        done
        mkdir -p $target/debug
        printf '#!/bin/sh\necho "kvnode 1 %s %s"\n' "$features" "$(cat $target/source)" >$target/kvnode.new
        chmod +x $target/kvnode.new
        mv $target/kvnode.new $target/debug/kvnode
        echo "$features" >>$target/builds
        if [ -n "$features" ]; then while [ ! -e $target/go ]; do sleep 0.01; done; fi
    "#;
    /// Longer than anything here takes, even on a busy machine.
    const PATIENCE: Duration = Duration::from_secs(60);

    struct Place(tempfile::TempDir);

    impl Place {
        fn new() -> Self {
            let place = Self(tempfile::tempdir().expect("a folder"));
            place.write("cargo", CARGO);
            place.write("source", "first");
            fs::set_permissions(place.path("cargo"), fs::Permissions::from_mode(0o755)).expect("allowed");
            place
        }

        fn path(&self, name: &str) -> PathBuf {
            self.0.path().join(name)
        }

        fn write(&self, name: &str, text: &str) {
            fs::write(self.path(name), text).expect("written");
        }

        fn package(&self) -> Package {
            Package {
                name: "kvnode".to_owned(),
                beside: self.path("debug"),
                cargo: Some(self.path("cargo")),
                from: None,
            }
        }
    }

    fn says(program: &OnShelf) -> String {
        let output = Command::new(&program.path).output().expect("it starts");
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    #[test]
    fn whoever_wants_the_clean_program_never_gets_the_one_with_bugs_that_lies_in_its_place() {
        let place = Place::new();
        let package = place.package();
        std::thread::scope(|scope| {
            let planted = scope.spawn(|| package.provide(true).expect("built"));
            let deadline = Instant::now() + PATIENCE;
            while !place.path("builds").exists() {
                assert!(Instant::now() < deadline, "nothing is built");
                std::thread::yield_now();
            }
            // Now the one with bugs lies in the place, and stays there for a while. One who asks through cargo,
            // one who was started without.
            let through_cargo = scope.spawn(|| package.provide(false).expect("built"));
            place.write(TAG, "");
            let found = Package {
                cargo: None,
                ..place.package()
            };
            let without = scope.spawn(move || found.provide(false).expect("found"));
            std::thread::sleep(Duration::from_millis(100));
            let both_wait = !through_cargo.is_finished() && !without.is_finished();
            place.write("go", "");
            assert!(both_wait, "somebody took what lay there");
            for clean in [through_cargo, without] {
                assert_eq!(says(&clean.join().expect("provided")), "kvnode 1  first");
            }
            let planted = planted.join().expect("provided");
            assert_eq!(says(&planted), "kvnode 1 planted-bugs first");
        });
    }

    #[test]
    fn what_runs_stays_what_it_was_when_it_is_built_anew() {
        let place = Place::new();
        let package = place.package();
        let first = package.provide(false).expect("built");
        place.write("source", "second");
        let second = package.provide(false).expect("built");
        assert_eq!(says(&first), "kvnode 1  first");
        assert_eq!(says(&second), "kvnode 1  second");
        assert_eq!(package.provide(false).expect("built").path, second.path);
    }

    #[test]
    fn what_is_installed_is_taken_from_where_it_lies() {
        let place = Place::new();
        let package = Package {
            cargo: None,
            ..place.package()
        };
        let error = package.provide(false).expect_err("nothing is there").to_string();
        assert!(error.contains("start through cargo"), "{error}");
        fs::create_dir(place.path("debug")).expect("made");
        place.write("debug/kvnode", "a program");
        let program = package.provide(false).expect("found");
        assert_eq!(program.path, place.path("debug/kvnode"));
        assert!(!place.path("nodes").exists());
    }
}

//! One run as a program of its own: started, listened to, ended with us.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::{Pid, getpid, getppid};
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader, Lines};
use tokio::process::Command;
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use super::results::{Results, Verdict};

/// How long what a program said may take to arrive after its end.
const LAST_WORDS: Duration = Duration::from_secs(2);
/// What a run may take beside its load and its check: a cluster that starts slowly, heals, is read.
const BESIDE_THE_LOAD: Duration = Duration::from_secs(240);

/// Starts runs, one after another. From its making on, Ctrl-C is ours to heed.
///
/// A run sits in a process group of its own: a terminal's Ctrl-C reaches us alone, and we pass it on. It dies
/// with us, even by SIGKILL.
#[derive(Debug)]
pub struct Attempts {
    program: PathBuf,
    runtime: Runtime,
    /// How many signals came that ask us to end.
    signals: watch::Receiver<u32>,
}

/// A run that is over.
#[derive(Debug)]
pub struct Ran {
    /// How it exited; none where it was killed, by us after its time or by another.
    pub code: Option<i32>,
    /// Its folder, where it came to making one.
    pub folder: Option<PathBuf>,
    /// What it found, where it came to a verdict.
    pub results: Option<Results>,
    /// The last thing that it said to its standard error, else to its output.
    pub last_words: String,
    /// How long it took in all.
    pub took: Duration,
}

impl Ran {
    /// What came of it.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        match (self.code, &self.results) {
            (Some(0), Some(_)) => Verdict::Valid,
            (Some(1), Some(_)) => Verdict::Illegal,
            (Some(2), Some(found)) if found.doubts.is_empty() => {
                Verdict::Unknown(vec![found.sentence.clone()])
            }
            (Some(2), Some(found)) => Verdict::Unknown(found.doubts.clone()),
            (None, _) => Verdict::Broken(format!("killed after {:.0?}: {}", self.took, self.last_words)),
            (Some(code), _) => Verdict::Broken(format!("exit code {code}: {}", self.last_words)),
        }
    }
}

/// How long a run with such limits may take before it counts as hung.
#[must_use]
pub fn bound(load: Duration, check: Duration) -> Duration {
    load + check + BESIDE_THE_LOAD
}

impl Attempts {
    /// Begins to heed signals.
    ///
    /// # Errors
    /// When signals cannot be caught.
    pub fn new() -> Result<Self> {
        Self::of(std::env::current_exe().context("where is this program?")?)
    }

    /// The same with a program that behaves like ours.
    fn of(program: PathBuf) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .context("the tokio runtime")?;
        let (count, signals) = watch::channel(0);
        let _within = runtime.enter();
        let mut interrupt = signal(SignalKind::interrupt()).context("cannot catch Ctrl-C")?;
        let mut terminate = signal(SignalKind::terminate()).context("cannot catch SIGTERM")?;
        let mut hangup = signal(SignalKind::hangup()).context("cannot catch SIGHUP")?;
        runtime.spawn(async move {
            loop {
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                    _ = hangup.recv() => {}
                }
                count.send_modify(|count| *count += 1);
            }
        });
        drop(_within);
        Ok(Self {
            program,
            runtime,
            signals,
        })
    }

    /// Whether somebody asked us to end.
    #[must_use]
    pub fn interrupted(&self) -> bool {
        *self.signals.borrow() > 0
    }

    /// Runs `workloads` with these arguments; its runs go to `store`, which nobody else may use meanwhile. A run
    /// that takes longer than `bound` is killed. Signals that come meanwhile are passed on, and the run ends in
    /// its own way. `said` hears every line of its output.
    ///
    /// # Errors
    /// When the program cannot be started or waited for, or its results cannot be read.
    pub fn run(
        &self,
        arguments: &[String],
        store: &Path,
        bound: Duration,
        said: impl FnMut(&str),
    ) -> Result<Ran> {
        let latest = store.join("latest");
        match fs::remove_file(&latest) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(error).with_context(|| latest.display().to_string());
            }
            _ => {}
        }
        let begun = Instant::now();
        let (code, last_words) = self
            .runtime
            .block_on(self.follow(arguments, store, bound, said))
            .with_context(|| format!("running {}", self.program.display()))?;
        let folder = ["latest", "current"]
            .iter()
            .find_map(|link| fs::canonicalize(store.join(link)).ok());
        let results = match (&folder, code) {
            (Some(folder), Some(0..=2)) => Some(Results::read(folder)?),
            (None, Some(0..=2)) => bail!(
                "a run ended with a verdict and left no folder in {}",
                store.display()
            ),
            _ => None,
        };
        Ok(Ran {
            code,
            folder,
            results,
            last_words,
            took: begun.elapsed(),
        })
    }

    async fn follow(
        &self,
        arguments: &[String],
        store: &Path,
        bound: Duration,
        mut said: impl FnMut(&str),
    ) -> Result<(Option<i32>, String)> {
        let mut command = Command::new(&self.program);
        command
            .args(arguments)
            .arg("--store")
            .arg(store)
            // The nodes are built already; a run of its own must not build them again.
            .env_remove("CARGO")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true);
        let owner = getpid();
        let die_with_us = move || {
            set_pdeathsig(Signal::SIGKILL)?;
            // We may be gone already.
            if getppid() != owner {
                return Err(Errno::ESRCH.into());
            }
            Ok(())
        };
        // SAFETY: between fork and exec only prctl and getppid are called, which are safe there; nothing is
        // allocated and no lock is taken.
        unsafe { command.pre_exec(die_with_us) };
        // The signal comes when the *thread* ends that started the run: this is the caller's, who waits here.
        let mut child = command.spawn()?;
        let pid = child
            .id()
            .and_then(|id| i32::try_from(id).ok())
            .map(Pid::from_raw);
        let mut out = Told::new(child.stdout.take());
        let mut errors = Told::new(child.stderr.take());
        let mut signals = self.signals.clone();
        let mut passed_on = 0;
        let (mut last, mut last_error) = (String::new(), String::new());
        let deadline = tokio::time::sleep(bound);
        tokio::pin!(deadline);
        let status = loop {
            let (count, late) = tokio::select! {
                line = out.next(), if out.open() => {
                    if let Some(line) = line {
                        said(&line);
                        last = line;
                    }
                    continue;
                }
                line = errors.next(), if errors.open() => {
                    last_error = line.unwrap_or(last_error);
                    continue;
                }
                status = child.wait() => break status?,
                count = signals.wait_for(|count| *count > passed_on) => (count.map_or(0, |count| *count), false),
                () = &mut deadline => (passed_on, true),
            };
            let Some(pid) = pid else { continue };
            // A run that is gone already needs no signal.
            if late {
                let _ = killpg(pid, Signal::SIGKILL);
                deadline.as_mut().reset(tokio::time::Instant::now() + bound);
            } else {
                passed_on = count;
                let _ = kill(pid, Signal::SIGINT);
            }
        };
        let rest = async {
            while let Some(line) = out.next().await {
                said(&line);
                last = line;
            }
            while let Some(line) = errors.next().await {
                last_error = line;
            }
        };
        // Who holds the pipe open beyond the run's end is not waited for.
        let _ = tokio::time::timeout(LAST_WORDS, rest).await;
        let words = [last_error, last].into_iter().find(|line| !line.is_empty());
        Ok((
            status.code(),
            words.unwrap_or_else(|| "it said nothing".to_owned()),
        ))
    }
}

/// Lines that a program says, until it says no more or what is no text.
struct Told<Pipe>(Option<Lines<BufReader<Pipe>>>);

impl<Pipe: AsyncRead + Unpin> Told<Pipe> {
    fn new(pipe: Option<Pipe>) -> Self {
        Self(pipe.map(|pipe| BufReader::new(pipe).lines()))
    }

    fn open(&self) -> bool {
        self.0.is_some()
    }

    /// The next line that is not empty; none at the end.
    async fn next(&mut self) -> Option<String> {
        loop {
            match self.0.as_mut()?.next_line().await {
                Ok(Some(line)) if line.trim().is_empty() => {}
                Ok(Some(line)) => return Some(line),
                _ => self.0 = None,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    /// A program of these lines of shell, which finds its arguments in `$@` and its store in `$store`.
    fn program(folder: &Path, script: &str) -> Attempts {
        let path = folder.join("program");
        let text = format!("#!/bin/sh\nfor store; do :; done\n{script}\n");
        fs::write(&path, text).expect("written");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("allowed");
        Attempts::of(path).expect("made")
    }

    const BOUND: Duration = Duration::from_secs(100);

    #[test]
    fn a_run_is_heard_and_its_results_are_read() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = folder.path().join("store");
        let script = r#"mkdir -p $store/t/1; ln -s t/1 $store/latest; echo "$1 begins"; echo oops >&2
            echo '{"sentence":"s","analysis":{"operations":3},"conduct":{"load_end_ns":1,"end_ns":2}}' >$store/t/1/results.json
            exit 1"#;
        let attempts = program(folder.path(), script);
        let mut heard = Vec::new();
        let ran = attempts
            .run(&["run".to_owned()], &store, BOUND, |line| {
                heard.push(line.to_owned());
            })
            .expect("it ran");
        assert_eq!(heard, ["run begins"]);
        assert_eq!((ran.code, ran.verdict()), (Some(1), Verdict::Illegal));
        assert_eq!(
            ran.folder,
            Some(fs::canonicalize(store.join("t/1")).expect("there"))
        );
        // What another run left is not taken for this one's.
        let attempts = program(folder.path(), "echo no TUN here >&2; exit 255");
        let ran = attempts.run(&[], &store, BOUND, |_| {}).expect("it ran");
        assert_eq!(
            ran.verdict(),
            Verdict::Broken("exit code 255: no TUN here".into())
        );
        assert_eq!(ran.folder, None);
    }

    #[test]
    fn a_run_that_hangs_is_killed() {
        let folder = tempfile::tempdir().expect("a folder");
        let attempts = program(folder.path(), "sleep 1000");
        let ran = attempts.run(&[], folder.path(), Duration::from_millis(300), |_| {});
        let ran = ran.expect("it ran");
        assert!(matches!(ran.verdict(), Verdict::Broken(_)), "{ran:?}");
        assert!(!attempts.interrupted());
    }
}

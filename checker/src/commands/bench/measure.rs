//! One history measured: in this process, in one of its own, or by another program.

use std::fs;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use checker::generate::Simulation;
use checker::history::{History, Writer};
use checker::{CheckOptions, Explain, Monitor, ReadOptions, Verdict, check};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;
use serde::{Deserialize, Serialize};

/// What a run cost. Seconds and bytes.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Measured {
    pub(super) verdict: String,
    #[serde(default)]
    pub(super) load: f64,
    /// From the loaded history to the verdict.
    pub(super) wall: f64,
    /// The same in time of processors, of all threads, with what the system spends on their behalf.
    pub(super) user: f64,
    /// The most memory that the process ever held, history and all.
    pub(super) peak: u64,
    /// The verdict with a violation reduced and explained, where there is one.
    #[serde(default)]
    pub(super) explained: Option<f64>,
}

impl Measured {
    /// The lesser of each.
    pub(super) fn fastest(self, other: Measured) -> Measured {
        Measured {
            verdict: other.verdict,
            load: self.load.min(other.load),
            wall: self.wall.min(other.wall),
            user: self.user.min(other.user),
            peak: self.peak.min(other.peak),
            explained: self
                .explained
                .zip(other.explained)
                .map(|(one, other)| one.min(other)),
        }
    }
}

/// Measures in this process and prints the outcome as a line of JSON.
pub(super) fn here(file: &Path, time: Duration, memory: u64) -> io::Result<()> {
    let began = Instant::now();
    let history = History::open(file, &ReadOptions::default()).map_err(io::Error::other)?;
    let load = began.elapsed().as_secs_f64();
    let judge = |explain| {
        let options = CheckOptions {
            time_limit: Some(time),
            memory_limit: Some(memory),
            explain,
            ..CheckOptions::default()
        };
        let (began, before) = (Instant::now(), user_time());
        let analysis = check(&history, &options).map_err(io::Error::other)?;
        let (wall, user) = (began.elapsed().as_secs_f64(), user_time() - before);
        Ok::<_, io::Error>((analysis.verdict, wall, user))
    };
    let (verdict, mut wall, mut user) = judge(Explain::Nothing)?;
    let peak = peak_memory();
    // Clocks of processors tick too coarsely for what is short.
    let mut times = 1.0;
    while wall < ENOUGH {
        let (_, more_wall, more_user) = judge(Explain::Nothing)?;
        (wall, user, times) = (wall + more_wall, user + more_user, times + 1.0);
    }
    (wall, user) = (wall / times, user / times);
    let explained = match verdict {
        Verdict::Illegal(_) => Some(judge(Explain::Minimal)?.1),
        Verdict::Linearizable(_) | Verdict::Unknown(_) => None,
    };
    let measured = Measured {
        verdict: word(&verdict),
        load,
        wall,
        user,
        peak,
        explained,
    };
    println!("{}", serde_json::to_string(&measured)?);
    Ok(())
}

/// What takes less than so many seconds is repeated until it took as long, and the average told.
const ENOUGH: f64 = 0.1;

/// Judges what comes in by standard input while it comes in, and prints the outcome as a line of JSON.
pub(super) fn streamed_here(time: Duration, memory: u64) -> io::Result<()> {
    let options = CheckOptions {
        time_limit: Some(time),
        memory_limit: Some(memory),
        ..CheckOptions::default()
    };
    let began = Instant::now();
    let analysis = Monitor::stream(Path::new("-"), &options).map_err(io::Error::other)?;
    let measured = Measured {
        verdict: word(&analysis.verdict),
        load: 0.0,
        wall: began.elapsed().as_secs_f64(),
        user: user_time(),
        peak: peak_memory(),
        explained: None,
    };
    println!("{}", serde_json::to_string(&measured)?);
    Ok(())
}

/// Streams a simulation into a process of its own, which judges it meanwhile: nothing holds it whole.
pub(super) fn streamed_apart(simulation: &Simulation, time: Duration, memory: u64) -> io::Result<Measured> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["bench", "--streamed"]);
    command.args(["--time-limit", &time.as_secs_f64().to_string()]);
    command.args(["--memory-limit", &memory.to_string()]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let input = child.stdin.take().expect("it was asked for");
    let fed = feed(simulation, BufWriter::with_capacity(1 << 20, input));
    let ended = child.wait_with_output()?;
    match fed {
        // It had seen enough.
        Err(problem) if problem.kind() == io::ErrorKind::BrokenPipe => {}
        fed => fed?,
    }
    if !ended.status.success() {
        return Err(io::Error::other(format!(
            "{command:?} ended with {}",
            ended.status
        )));
    }
    serde_json::from_slice(&ended.stdout).map_err(io::Error::other)
}

/// Writes a simulation as a history.
pub(super) fn feed<W: Write>(simulation: &Simulation, into: W) -> io::Result<()> {
    let mut writer = Writer::new(into, &simulation.header())?;
    for event in simulation.events() {
        writer.write(&event)?;
    }
    writer.into_inner()?.flush()
}

fn word(verdict: &Verdict) -> String {
    let word = match verdict {
        Verdict::Linearizable(_) => "legal",
        Verdict::Unknown(_) => "unknown",
        Verdict::Illegal(_) => "illegal",
    };
    word.to_owned()
}

/// Measures in a process of its own, so that memory is this history's alone.
pub(super) fn apart(file: &Path, time: Duration, memory: u64) -> io::Result<Measured> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("bench").arg("--one").arg(file);
    command.args(["--time-limit", &time.as_secs_f64().to_string()]);
    told(command.args(["--memory-limit", &memory.to_string()]))
}

/// Has another program measure, which takes a file and a limit in seconds.
pub(super) fn by(program: &Path, file: &Path, time: Duration) -> io::Result<Measured> {
    told(
        Command::new(program)
            .arg(file)
            .arg(time.as_secs_f64().to_string()),
    )
}

fn told(command: &mut Command) -> io::Result<Measured> {
    let ended = command.output()?;
    if !ended.status.success() {
        let said = String::from_utf8_lossy(&ended.stderr);
        return Err(io::Error::other(format!(
            "{command:?} ended with {}: {said}",
            ended.status
        )));
    }
    serde_json::from_slice(&ended.stdout).map_err(io::Error::other)
}

/// Seconds of processor time of this process so far: of all threads, and what the system spent on their behalf.
/// Where it is split between the two is only sampled; the sum is exact.
fn user_time() -> f64 {
    let usage = getrusage(UsageWho::RUSAGE_SELF).expect("a process may ask for its own usage");
    (usage.user_time().num_microseconds() + usage.system_time().num_microseconds()) as f64 / 1e6
}

/// The most memory that this process has held so far, where the system tells; otherwise nothing.
fn peak_memory() -> u64 {
    let peak = fs::read_to_string("/proc/self/status").ok().and_then(|status| {
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
        line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok()
    });
    peak.unwrap_or(0) * 1024
}

//! Wrong wall clocks by libfaketime, a library put before the node's own.
//!
//! It reads a file at every look at the clock: `+60.0 x1` is a minute ahead,
//! `+0 x1.5` half as fast again. Its rate counts from the start of the process,
//! so a rate that sets in later takes an offset that takes back what would have
//! run up until then. Monotonic clocks are left alone: no machine's run backwards.

use std::ffi::OsString;
use std::io::{Read, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use parking_lot::Mutex;

use crate::backend::Unsupported;
use crate::fault::ClockFault;

/// True time over which a rate is measured.
const STRETCH: Duration = Duration::from_millis(300);
/// How often it is, at most.
const TRIES: u32 = 5;

/// A node's clock.
#[derive(Debug)]
pub(crate) struct Clock {
    library: PathBuf,
    file: PathBuf,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    fault: Option<(ClockFault, SystemTime)>,
    started: SystemTime,
    strobe: Option<Strobe>,
}

/// A thread that turns the clock forth and back until dropped.
#[derive(Debug)]
struct Strobe {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Clock {
    /// A clock, still right, whose file lies in `folder/clock`: in memory that only
    /// the lab sees, so that it goes with the lab whatever ends it.
    pub(crate) fn new(library: &Path, folder: &Path) -> std::io::Result<Clock> {
        let folder = folder.join("clock");
        std::fs::create_dir_all(&folder)?;
        let quiet = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
        mount(
            Some("ordeal-clock"),
            &folder,
            Some("tmpfs"),
            quiet,
            Some("size=64k"),
        )?;
        Clock::in_folder(library, &folder)
    }

    fn in_folder(library: &Path, folder: &Path) -> std::io::Result<Clock> {
        let file = folder.join("faketime");
        write(&file, 0.0, 1.0)?;
        let state = State {
            fault: None,
            started: SystemTime::now(),
            strobe: None,
        };
        Ok(Clock {
            library: library.to_owned(),
            file,
            state: Mutex::new(state),
        })
    }

    /// What the node's environment needs.
    pub(crate) fn env(&self) -> Vec<(OsString, OsString)> {
        vec![
            ("LD_PRELOAD".into(), self.library.clone().into()),
            ("FAKETIME_TIMESTAMP_FILE".into(), self.file.clone().into()),
            ("FAKETIME_NO_CACHE".into(), "1".into()),
            ("FAKETIME_DONT_FAKE_MONOTONIC".into(), "1".into()),
        ]
    }

    /// The node is about to be started: its rates count from now.
    pub(crate) fn starting(&self) -> std::io::Result<()> {
        let mut state = self.state.lock();
        state.started = SystemTime::now();
        if let Some((ClockFault::Rate { rate }, _)) = state.fault {
            // A new process begins at the right time and drifts from there.
            write(&self.file, 0.0, rate)?;
        }
        Ok(())
    }

    /// Makes the clock wrong in this way, or right.
    pub(crate) fn set(&self, fault: Option<ClockFault>) -> std::io::Result<()> {
        let mut state = self.state.lock();
        state.strobe = None;
        let now = SystemTime::now();
        state.fault = fault.map(|fault| (fault, now));
        match fault {
            None => write(&self.file, 0.0, 1.0),
            Some(ClockFault::Jump { offset_ms }) => write(&self.file, offset_ms as f64 / 1e3, 1.0),
            Some(ClockFault::Rate { rate }) => {
                let run = now
                    .duration_since(state.started)
                    .unwrap_or_default()
                    .as_secs_f64();
                write(&self.file, -run * (rate - 1.0), rate)
            }
            Some(ClockFault::Strobe { offset_ms, period }) => {
                let period = period.0.max(Duration::from_millis(1));
                state.strobe = Some(Strobe::start(self.file.clone(), offset_ms as f64 / 1e3, period)?);
                Ok(())
            }
        }
    }

    /// Starts programs under this clock and compares what they see with the truth.
    /// A rate is measured over [`STRETCH`], a strobe watched until both of its
    /// times were seen.
    pub(crate) fn trial(&self) -> (bool, String) {
        let fault = self.state.lock().fault.map(|(fault, _)| fault);
        match fault {
            None => self.trial_of_offset(0),
            Some(ClockFault::Jump { offset_ms }) => self.trial_of_offset(offset_ms),
            Some(ClockFault::Rate { rate }) => self.trial_of_rate(rate),
            Some(ClockFault::Strobe { offset_ms, period }) => self.trial_of_strobe(offset_ms, period.0),
        }
    }

    fn trial_of_offset(&self, wanted_ms: i64) -> (bool, String) {
        let Some(off) = self
            .offsets(&[Duration::ZERO])
            .and_then(|off| off.first().copied())
        else {
            return (false, "date did not run under libfaketime".to_owned());
        };
        (
            (off - wanted_ms as f64 / 1e3).abs() < 0.5,
            format!("a program started now is off by {off:+.3} s"),
        )
    }

    fn trial_of_rate(&self, wanted: f64) -> (bool, String) {
        let mut seen = "date did not run under libfaketime".to_owned();
        // On a busy machine a look may come late, so look more than once.
        for _ in 0..TRIES {
            let Some([first, last]) = self
                .offsets(&[Duration::ZERO, STRETCH])
                .and_then(|off| <[f64; 2]>::try_from(off).ok())
            else {
                continue;
            };
            let measured = 1.0 + (last - first) / STRETCH.as_secs_f64();
            seen = format!(
                "in {} ms of true time a program's clock went on by {:.0} ms (x{measured:.2})",
                STRETCH.as_millis(),
                measured * STRETCH.as_secs_f64() * 1e3
            );
            if (measured - wanted).abs() <= 0.02 + 0.1 * (wanted - 1.0).abs() {
                return (true, seen);
            }
        }
        (false, seen)
    }

    fn trial_of_strobe(&self, offset_ms: i64, period: Duration) -> (bool, String) {
        let wanted = offset_ms as f64 / 1e3;
        let near = |off: f64, what: f64| (off - what).abs() < (wanted.abs() / 3.0).max(0.001);
        let (mut wrong, mut right) = (0, 0);
        let deadline = Instant::now() + period * 4 + Duration::from_secs(2);
        while (wrong == 0 || right == 0) && Instant::now() < deadline {
            let Some(off) = self
                .offsets(&[Duration::ZERO])
                .and_then(|off| off.first().copied())
            else {
                break;
            };
            wrong += u32::from(near(off, wanted));
            right += u32::from(near(off, 0.0));
        }
        (
            wrong > 0 && right > 0,
            format!("programs started one after the other: {wrong} were {offset_ms:+} ms off, {right} right"),
        )
    }

    /// How far off, in seconds, one program under this clock is after each of these
    /// stretches of true time. It is one process: a rate counts from its start.
    fn offsets(&self, after: &[Duration]) -> Option<Vec<f64>> {
        let mut date = Command::new("date")
            .args(["-f", "-", "+%s.%N"])
            .envs(self.env())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .ok()?;
        let mut asked = Vec::new();
        if let Some(mut stdin) = date.stdin.take() {
            for wait in after {
                std::thread::sleep(*wait);
                asked.push(SystemTime::now().duration_since(UNIX_EPOCH).ok()?.as_secs_f64());
                // It looks at the clock when it has read a whole line.
                let _ = stdin.write_all(b"now\n");
            }
        }
        let output = date.wait_with_output().ok()?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let seen: Vec<f64> = text.lines().map_while(|line| line.parse().ok()).collect();
        (seen.len() == asked.len())
            .then(|| seen.iter().zip(asked).map(|(seen, asked)| seen - asked).collect())
    }
}

impl Drop for Clock {
    fn drop(&mut self) {
        self.state.lock().strobe = None;
        let Some(folder) = self.file.parent() else { return };
        let _ = umount2(folder, MntFlags::MNT_DETACH);
        let _ = std::fs::remove_dir(folder);
    }
}

/// Replaces the file as a whole: a node may look at any moment.
fn write(file: &Path, offset_s: f64, rate: f64) -> std::io::Result<()> {
    let aside = file.with_extension("new");
    std::fs::write(&aside, format!("{offset_s:+.6} x{rate}\n"))?;
    std::fs::rename(aside, file)
}

impl Strobe {
    fn start(file: PathBuf, offset_s: f64, period: Duration) -> std::io::Result<Strobe> {
        write(&file, offset_s, 1.0)?;
        let (stop, stopped) = channel::<()>();
        let thread = std::thread::Builder::new()
            .name("lab-strobe".into())
            .spawn(move || {
                let mut off = true;
                while let Err(RecvTimeoutError::Timeout) = stopped.recv_timeout(period) {
                    off = !off;
                    if let Err(error) = write(&file, if off { offset_s } else { 0.0 }, 1.0) {
                        tracing::warn!(%error, "a strobing clock");
                    }
                }
            })?;
        Ok(Strobe {
            stop: Some(stop),
            thread: Some(thread),
        })
    }
}

impl Drop for Strobe {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Whether a library can be put before a program's own: not if it is static.
///
/// # Errors
/// Why not.
pub(crate) fn can_be_fooled(program: &Path) -> Result<(), Unsupported> {
    let found = std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default())
        .map(|folder| folder.join(program))
        .find(|path| path.exists())
        .unwrap_or_else(|| program.to_owned());
    match has_interpreter(&found) {
        Some(false) => Err(Unsupported::new(
            format!(
                "{} is a static binary, which libfaketime cannot reach",
                found.display()
            ),
            "build it dynamically",
        )),
        _ => Ok(()),
    }
}

/// Whether an ELF file asks for a dynamic linker; none if it is no ELF file
/// (a script, whose interpreter is the program).
fn has_interpreter(path: &Path) -> Option<bool> {
    const PT_INTERP: u32 = 3;
    let mut head = Vec::new();
    std::fs::File::open(path)
        .ok()?
        .take(64 * 1024)
        .read_to_end(&mut head)
        .ok()?;
    if !head.starts_with(b"\x7fELF\x02\x01") {
        return None;
    }
    let bytes = |at: usize, length: usize| head.get(at..at + length);
    let half = |at: usize| Some(usize::from(u16::from_le_bytes(bytes(at, 2)?.try_into().ok()?)));
    let table = u64::from_le_bytes(bytes(32, 8)?.try_into().ok()?) as usize;
    let (size, count) = (half(54)?, half(56)?);
    let kind = |k: usize| Some(u32::from_le_bytes(bytes(table + k * size, 4)?.try_into().ok()?));
    Some((0..count).any(|k| kind(k) == Some(PT_INTERP)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn static_and_dynamic_programs_are_told_apart() {
        let this = std::env::current_exe().expect("this program");
        assert_eq!(has_interpreter(&this), Some(true));
        let dir = tempfile::tempdir().expect("a temporary folder");
        let script = dir.path().join("script");
        std::fs::write(&script, "#!/bin/sh\n").expect("writable");
        assert_eq!(has_interpreter(&script), None);
        let mut bare = vec![0u8; 64];
        bare[..6].copy_from_slice(b"\x7fELF\x02\x01");
        std::fs::write(&script, &bare).expect("writable");
        assert_eq!(has_interpreter(&script), Some(false));
    }

    #[test]
    fn a_clock_is_set_strobed_and_set_right() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let clock = Clock::in_folder(Path::new("/nowhere"), dir.path()).expect("writable");
        let read = || std::fs::read_to_string(dir.path().join("faketime")).expect("there");
        assert_eq!(read(), "+0.000000 x1\n");
        clock
            .set(Some(ClockFault::Jump { offset_ms: -1500 }))
            .expect("writable");
        assert_eq!(read(), "-1.500000 x1\n");
        let period = crate::Span::from_millis(1);
        clock
            .set(Some(ClockFault::Strobe {
                offset_ms: 500,
                period,
            }))
            .expect("writable");
        let deadline = Instant::now() + Duration::from_secs(10);
        let mut seen = std::collections::BTreeSet::new();
        while seen.len() < 2 {
            seen.insert(read());
            assert!(Instant::now() < deadline, "{seen:?}");
        }
        clock.set(None).expect("writable");
        assert_eq!(read(), "+0.000000 x1\n");
    }
}

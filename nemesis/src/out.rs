//! What people and scripts read: standard output, and complaints beside it.
//!
//! `println!` panics when its reader has gone, as in `workloads run | head -1`. That is no failure of ours: a run
//! goes on to its verdict, a cluster is healed, and the exit code says what came of it. So whoever has stopped
//! reading is noticed and told nothing more; [`is_read`] ends what has nothing else to do than to talk.

use std::fmt::{Arguments, Display};
use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, Ordering};

static GONE: AtomicBool = AtomicBool::new(false);

/// Says a line, as `println!`; whether anybody reads it does not matter.
#[macro_export]
macro_rules! say {
    () => { $crate::out::text("\n") };
    ($($said:tt)*) => { $crate::out::line(::std::format_args!($($said)*)) };
}

/// Says on standard error what is wrong, as `eprintln!`.
#[macro_export]
macro_rules! complain {
    ($($said:tt)*) => { $crate::out::complaint(::std::format_args!($($said)*)) };
}

/// Says a line.
pub fn line(said: Arguments<'_>) {
    text(format_args!("{said}\n"));
}

/// Says something that has its own line ends.
pub fn text(said: impl Display) {
    if GONE.load(Ordering::Relaxed) {
        return;
    }
    // In one piece: another process may write to the same terminal.
    let said = said.to_string();
    heard(write(io::stdout().lock(), &said), &GONE);
}

/// Says a line on standard error. Nothing is left to do when nobody hears that.
pub fn complaint(said: Arguments<'_>) {
    let _ = write(io::stderr().lock(), &format!("{said}\n"));
}

/// Whether anybody reads standard output still, as far as is known.
pub fn is_read() -> bool {
    !GONE.load(Ordering::Relaxed)
}

/// An error and what caused it in one line, each said once: many say their cause themselves.
#[must_use]
pub fn chain(error: &anyhow::Error) -> String {
    let mut line = String::new();
    for cause in error.chain() {
        let said = cause.to_string();
        if !line.contains(&said) {
            if !line.is_empty() {
                line.push_str(": ");
            }
            line.push_str(&said);
        }
    }
    line
}

fn write(mut to: impl Write, said: &str) -> io::Result<()> {
    to.write_all(said.as_bytes())?;
    to.flush()
}

/// What cannot be written is not written again; where that is no reader who has gone but a full disk, it is said.
fn heard(outcome: io::Result<()>, gone: &AtomicBool) {
    let Err(error) = outcome else { return };
    if !gone.swap(true, Ordering::Relaxed) && error.kind() != io::ErrorKind::BrokenPipe {
        complaint(format_args!("standard output: {error}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context as _;

    struct Refusing(io::ErrorKind);

    impl Write for Refusing {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(self.0.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_reader_that_has_gone_is_remembered() {
        let gone = AtomicBool::new(false);
        let mut said = Vec::new();
        heard(write(&mut said, "a line\n"), &gone);
        assert_eq!(
            (said, gone.load(Ordering::Relaxed)),
            (b"a line\n".to_vec(), false)
        );
        heard(write(Refusing(io::ErrorKind::BrokenPipe), "x"), &gone);
        assert!(gone.load(Ordering::Relaxed));
    }

    #[test]
    fn a_cause_that_was_said_already_is_not_said_again() {
        let missing = || io::Error::from_raw_os_error(2);
        let said = missing().to_string();
        let error = anyhow::anyhow!("plan.json: {said}; give another");
        assert_eq!(chain(&error), format!("plan.json: {said}; give another"));
        let error = Err::<(), _>(missing())
            .context("plan.json")
            .expect_err("an error");
        assert_eq!(chain(&error), format!("plan.json: {said}"));
        #[derive(Debug, thiserror::Error)]
        #[error("{path}: {source}; give another")]
        struct Read {
            path: &'static str,
            source: io::Error,
        }
        let error = anyhow::Error::from(Read {
            path: "plan.json",
            source: missing(),
        });
        assert_eq!(chain(&error), format!("plan.json: {said}; give another"));
    }
}

//! What people and scripts read: standard output, and complaints beside it.
//!
//! `println!` panics when its reader has gone, as in `kvnode client scan | head -1`. That
//! is no failure of ours: what was asked was done, and the exit code says what came of it.
//! Where there would be more to say, [`Gone`] ends it: handed up like an error, so that
//! whatever was begun (servers that are measured, a temporary folder) is given back, and
//! told to nobody.

use std::fmt::Display;
use std::io::{self, Write};

use anyhow::Context;

/// Nobody reads standard output any more.
#[derive(Debug, thiserror::Error)]
#[error("nobody reads what is said")]
pub struct Gone;

/// Says the last line, or one of a few. Whether anybody reads it does not matter.
///
/// # Errors
/// When it cannot be written where there is a reader: a full disk.
pub fn line(text: impl Display) -> anyhow::Result<()> {
    write(io::stdout().lock(), &text).map(|_| ())
}

/// Says one line of many.
///
/// # Errors
/// [`Gone`], which should end what has more to say; else as [`line()`].
pub fn more(text: impl Display) -> anyhow::Result<()> {
    match write(io::stdout().lock(), &text)? {
        Reader::There => Ok(()),
        Reader::Gone => Err(Gone.into()),
    }
}

/// Says on standard error what is wrong. Nothing is left to do when nobody hears that.
pub fn complain(text: impl Display) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}

#[derive(Debug, PartialEq, Eq)]
enum Reader {
    There,
    Gone,
}

fn write(mut to: impl Write, text: &dyn Display) -> anyhow::Result<Reader> {
    match writeln!(to, "{text}").and_then(|()| to.flush()) {
        Ok(()) => Ok(Reader::There),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(Reader::Gone),
        Err(error) => Err(error).context("standard output"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
    fn a_reader_that_has_gone_is_told_from_a_full_disk() {
        let mut said = Vec::new();
        assert_eq!(write(&mut said, &"a line").unwrap(), Reader::There);
        assert_eq!(said, b"a line\n");
        let gone = write(Refusing(io::ErrorKind::BrokenPipe), &"x").unwrap();
        assert_eq!(gone, Reader::Gone);
        let full = write(Refusing(io::ErrorKind::StorageFull), &"x").unwrap_err();
        assert_eq!(full.to_string(), "standard output");
    }
}

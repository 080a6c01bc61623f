//! Where a command writes: a file that is there whole or not at all, or standard output.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process;

use super::convert::failed;

/// A file on its way, or standard output.
///
/// A file is written beside its place, and put there when it is complete: whoever finds it there finds it whole,
/// and one that was there before stays if writing fails.
#[derive(Debug)]
pub(crate) struct Output {
    to: To,
}

#[derive(Debug)]
enum To {
    Standard(BufWriter<io::Stdout>),
    /// A device or a pipe, which cannot be replaced.
    Special(BufWriter<File>),
    Aside {
        file: BufWriter<File>,
        aside: PathBuf,
        place: PathBuf,
    },
    /// What was aside is in its place.
    Done,
}

const BUFFER: usize = 1 << 18;

impl Output {
    /// A file, or standard output for `-`.
    pub(crate) fn create(path: &Path) -> io::Result<Output> {
        if path.as_os_str() == "-" {
            let to = To::Standard(BufWriter::with_capacity(BUFFER, io::stdout()));
            return Ok(Output { to });
        }
        // A link stays a link: what it leads to is replaced.
        let place = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        let special = fs::metadata(&place).is_ok_and(|found| !found.is_file());
        if special {
            let file = File::options().write(true).open(&place)?;
            let to = To::Special(BufWriter::with_capacity(BUFFER, file));
            return Ok(Output { to });
        }
        let name = place.file_name().ok_or(io::ErrorKind::InvalidInput)?;
        let mut hidden = std::ffi::OsString::from(".");
        hidden.push(name);
        hidden.push(format!(".{}.part", process::id()));
        let aside = place.with_file_name(hidden);
        let file = BufWriter::with_capacity(BUFFER, File::create(&aside)?);
        let to = To::Aside { file, aside, place };
        Ok(Output { to })
    }

    /// Everything was written: puts a file into its place.
    pub(crate) fn finish(mut self) -> io::Result<()> {
        self.flush()?;
        if let To::Aside { file, aside, place } = &self.to {
            file.get_ref().sync_all()?;
            fs::rename(aside, place)?;
            self.to = To::Done;
        }
        Ok(())
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.to {
            To::Standard(out) => out.write(bytes),
            To::Special(file) | To::Aside { file, .. } => file.write(bytes),
            To::Done => Ok(bytes.len()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match &mut self.to {
            To::Standard(out) => out.flush(),
            To::Special(file) | To::Aside { file, .. } => file.flush(),
            To::Done => Ok(()),
        }
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        if let To::Aside { aside, .. } = &self.to {
            // It may be gone already; a half file must not stay.
            let _ = fs::remove_file(aside);
        }
    }
}

/// Whether writing failed because nobody reads any more, as `checker ... | head` has it: no failure of ours.
pub(crate) fn nobody_reads(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::BrokenPipe
}

/// Writes a text; says how to exit, with this code if all went well.
pub(crate) fn text_to(path: &Path, text: &str, code: u8) -> u8 {
    let written = Output::create(path).and_then(|mut out| {
        out.write_all(text.as_bytes())?;
        out.finish()
    });
    match written {
        Err(error) if !nobody_reads(&error) => failed(path, &error),
        _ => code,
    }
}

//! A block of lines understood, as far as that can be done without the lines before it.

use super::blocks::Block;
use super::fields::Fields;
use super::json::Scanner;
use super::plain::{Cells, PlainLine};
use crate::history::Flaw;

/// What a line says.
#[derive(Debug)]
pub(super) enum Said {
    Plain(PlainLine),
    /// What took the long way.
    Odd(Box<Fields>),
}

/// The lines of a block that are not blank, up to the first that cannot be understood.
#[derive(Debug, Default)]
pub(super) struct Parsed {
    pub(super) bytes: Vec<u8>,
    /// Each line with its number, counted from 1 where the block begins.
    pub(super) lines: Vec<(u32, Said)>,
    pub(super) cells: Cells,
    /// The line that could not be understood.
    pub(super) flaw: Option<(u32, Flaw)>,
    /// How many lines there are, blank ones too.
    pub(super) count: u64,
}

impl Parsed {
    /// Gives the room of what is not needed any more.
    pub(super) fn into_room(mut self) -> Parsed {
        self.bytes.clear();
        self.lines.clear();
        self.cells.clear();
        Parsed {
            bytes: self.bytes,
            lines: self.lines,
            cells: self.cells,
            flaw: None,
            count: 0,
        }
    }

    /// Understands a block from a byte on, in the room of one that is not needed any more.
    pub(super) fn from(block: Block, from: usize, room: Parsed) -> Parsed {
        let mut parsed = Parsed {
            bytes: block.bytes,
            ..room
        };
        if block.too_long {
            let flaw =
                Flaw::TooMuch("the line is longer than 64 MiB: an event is one line, and none is so long");
            parsed.flaw = Some((1, flaw));
            return parsed;
        }
        let mut start = from;
        while start < parsed.bytes.len() && parsed.flaw.is_none() {
            parsed.count += 1;
            let end = memchr::memchr(b'\n', &parsed.bytes[start..]).map(|end| start + end);
            let ended = end.is_some();
            let end = end.unwrap_or(parsed.bytes.len());
            parsed.line(start, end, ended);
            start = end + 1;
        }
        parsed
    }

    fn line(&mut self, start: usize, end: usize, ended: bool) {
        // The count of a block of lines fits: a block has fewer bytes.
        let number = self.count as u32;
        if let Some(plain) = self.cells.line(&self.bytes[..end], start) {
            self.lines.push((number, Said::Plain(plain)));
            return;
        }
        let bytes = &self.bytes[start..end];
        if bytes.iter().all(u8::is_ascii_whitespace) {
            return;
        }
        let mut scanner = Scanner::new(bytes);
        match Fields::read(&mut scanner) {
            Ok(fields) => self.lines.push((number, Said::Odd(Box::new(fields)))),
            // A last line that was cut off in the middle, as a killed run leaves it, is left out.
            Err(_) if !ended && scanner.at_end() => {}
            Err(flaw) => self.flaw = Some((number, Flaw::Syntax(flaw))),
        }
    }
}

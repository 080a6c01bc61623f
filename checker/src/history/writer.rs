//! Writes the JSON Lines form: a header, then one event a line.

use std::io::{self, Write};

use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};

use super::event::{Event, Process};
use super::header::{FORM_VERSION, Header};

/// Writes a history as it grows.
///
/// Lines are buffered; [`Writer::flush`] hands them on, and a run calls it often enough that a killed run is
/// still checkable up to its last line. The writer does not check what it writes: the reader does.
#[derive(Debug)]
pub struct Writer<W: Write> {
    out: W,
    line: Vec<u8>,
}

/// Lines that wait are handed on when they have grown to this many bytes.
const BUFFER: usize = 64 * 1024;

impl<W: Write> Writer<W> {
    /// Begins a history with its header.
    ///
    /// # Errors
    /// What the underlying writer says.
    pub fn new(out: W, header: &Header) -> io::Result<Self> {
        let mut writer = Writer {
            out,
            line: Vec::with_capacity(BUFFER + 1024),
        };
        writer.put(&Numbered {
            ordeal: FORM_VERSION,
            header,
        })?;
        Ok(writer)
    }

    /// Adds one event.
    ///
    /// # Errors
    /// What the underlying writer says.
    pub fn write(&mut self, event: &Event) -> io::Result<()> {
        self.put(event)
    }

    /// Hands every line written so far to the underlying writer and flushes it.
    ///
    /// # Errors
    /// What the underlying writer says; lines not handed on are kept and tried again with the next call.
    pub fn flush(&mut self) -> io::Result<()> {
        self.hand_on()?;
        self.out.flush()
    }

    /// Flushes and gives the underlying writer back.
    ///
    /// # Errors
    /// What the underlying writer says.
    pub fn into_inner(mut self) -> io::Result<W> {
        self.flush()?;
        Ok(self.out)
    }

    fn put(&mut self, what: &impl Serialize) -> io::Result<()> {
        serde_json::to_writer(&mut self.line, what)?;
        self.line.push(b'\n');
        if self.line.len() >= BUFFER {
            self.hand_on()
        } else {
            Ok(())
        }
    }

    fn hand_on(&mut self) -> io::Result<()> {
        let mut handed = 0;
        while handed < self.line.len() {
            match self.out.write(&self.line[handed..]) {
                Ok(0) => {
                    self.line.drain(..handed);
                    return Err(io::ErrorKind::WriteZero.into());
                }
                Ok(count) => handed += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    self.line.drain(..handed);
                    return Err(error);
                }
            }
        }
        self.line.clear();
        Ok(())
    }
}

/// The header with the number of the form in front.
#[derive(Serialize)]
struct Numbered<'a> {
    ordeal: u64,
    #[serde(flatten)]
    header: &'a Header,
}

impl Serialize for Process {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Process::Client(id) => serializer.serialize_u64(id.0),
            Process::Nemesis => serializer.serialize_str("nemesis"),
        }
    }
}

impl Serialize for Event {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("index", &self.index)?;
        map.serialize_entry("time", &self.time)?;
        map.serialize_entry("process", &self.process)?;
        map.serialize_entry("type", &self.kind)?;
        map.serialize_entry("f", &self.f)?;
        if let Some(key) = &self.key {
            map.serialize_entry("key", key)?;
        }
        map.serialize_entry("value", &self.value)?;
        if let Some(error) = &self.error {
            map.serialize_entry("error", error)?;
        }
        if let Some(current) = &self.current {
            map.serialize_entry("current", current)?;
        }
        if let Some(rev) = &self.rev {
            map.serialize_entry("rev", rev)?;
        }
        if let Some(node) = &self.node {
            map.serialize_entry("node", node)?;
        }
        if let Some(intended) = &self.intended {
            map.serialize_entry("intended", intended)?;
        }
        for (name, value) in &self.other {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

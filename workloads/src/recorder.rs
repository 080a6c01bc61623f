//! The only writer of a history.
//!
//! Recording decides verdicts. An event is stamped, numbered and written under one lock, so that the order
//! of the file is the order of the stamps. An invocation is recorded before its request is written and a
//! completion after the whole answer was read: stamping an invocation later would shrink its interval and
//! accuse the innocent.

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

use checker::history::{Event, EventKind, Header, Nanos, Process, ProcessId, Value, Writer};
use parking_lot::Mutex;

use crate::generator::Invocation;
use crate::system::Outcome;

/// Records one run.
#[derive(Debug)]
pub struct Recorder {
    start: Instant,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    /// Who sees every event as it is written.
    listener: Option<Sender<Event>>,
    writer: Writer<File>,
    next_index: u64,
    /// The first error of the disk; nothing is written after it, so that what is there stays checkable.
    broken: Option<io::Error>,
}

impl Recorder {
    /// Begins a history at `path`; its clock starts now. `listener` is sent every event in the order of the file.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn create(path: &Path, header: &Header, listener: Option<Sender<Event>>) -> io::Result<Self> {
        let mut writer = Writer::new(File::create_new(path)?, header)?;
        writer.flush()?;
        let inner = Inner {
            listener,
            writer,
            next_index: 0,
            broken: None,
        };
        Ok(Self {
            start: Instant::now(),
            inner: Mutex::new(inner),
        })
    }

    /// Now, on the run's clock.
    #[must_use]
    pub fn now(&self) -> Nanos {
        Nanos(u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX))
    }

    /// The instant that is `at` on the run's clock.
    #[must_use]
    pub fn instant(&self, at: Nanos) -> Instant {
        self.start + Duration::from_nanos(at.0)
    }

    /// Records that a process begins an operation; to be called before the request is written.
    pub fn invoke(
        &self,
        process: ProcessId,
        node: &str,
        invocation: &Invocation,
        intended: Option<Nanos>,
    ) -> Nanos {
        let mut event = of_client(process, node, invocation, EventKind::Invoke);
        event.intended = intended;
        self.record(event)
    }

    /// Records what the operation came to; to be called after the whole answer was read.
    pub fn complete(
        &self,
        process: ProcessId,
        node: &str,
        invocation: &Invocation,
        outcome: &Outcome,
    ) -> Nanos {
        let mut event = of_client(process, node, invocation, EventKind::Ok);
        match outcome {
            Outcome::Ok { value, rev } => {
                if let Some(value) = value {
                    event.value = value.clone();
                }
                event.rev = *rev;
            }
            Outcome::Mismatch { current } => {
                event.kind = EventKind::Fail;
                event.error = Some("mismatch".to_owned());
                event.current = current.clone();
            }
            Outcome::Fail { error } => {
                event.kind = EventKind::Fail;
                // A reason that happens to read `mismatch` must not become an observation.
                event.error = Some(if error == "mismatch" {
                    "refused: mismatch".into()
                } else {
                    error.clone()
                });
            }
            Outcome::Info { error } => {
                event.kind = EventKind::Info;
                event.error = Some(error.clone());
            }
        }
        self.record(event)
    }

    /// Records something that the nemesis is about to do or has seen.
    pub fn nemesis(&self, f: &str, value: serde_json::Value) -> Nanos {
        let f = f.to_owned();
        let mut event = Event::new(0, Nanos(0), ProcessId(0), EventKind::Info, f, Value::from(value));
        event.process = Process::Nemesis;
        self.record(event)
    }

    /// Hands what was recorded to the system, so that a killed run can be checked up to here.
    ///
    /// # Errors
    /// The first error that the disk ever gave: the run should stop.
    pub fn flush(&self) -> io::Result<()> {
        let mut inner = self.inner.lock();
        if let Some(e) = &inner.broken {
            return Err(io::Error::new(e.kind(), e.to_string()));
        }
        inner.writer.flush()
    }

    /// Stamps, numbers and writes under one lock.
    fn record(&self, mut event: Event) -> Nanos {
        let mut inner = self.inner.lock();
        let now = self.now();
        event.index = inner.next_index;
        event.time = now;
        if inner.broken.is_none() {
            match inner.writer.write(&event) {
                Ok(()) => {
                    inner.next_index += 1;
                    // A listener that is gone has heard enough.
                    if inner
                        .listener
                        .as_ref()
                        .is_some_and(|listener| listener.send(event).is_err())
                    {
                        inner.listener = None;
                    }
                }
                Err(e) => inner.broken = Some(e),
            }
        }
        now
    }
}

fn of_client(process: ProcessId, node: &str, invocation: &Invocation, kind: EventKind) -> Event {
    let mut event = Event::new(0, Nanos(0), process, kind, invocation.f, invocation.value.clone());
    event.key = (!invocation.key.is_empty()).then(|| Value::from(invocation.key.as_str()));
    event.node = Some(node.to_owned());
    event
}

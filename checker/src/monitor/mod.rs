//! Judges a history while it is being made.

mod action;
mod frontier;
mod lane;
mod online;
#[cfg(test)]
mod tests;

use std::io::Read;
use std::path::Path;

use online::Online;

use crate::check::{CheckError, check, model_of};
use crate::history::{Builder, Event, Flaw, Form, Header, HistoryError, Value};
use crate::options::{CheckOptions, ModelName};
use crate::read::{JsonLines, Shape, Sink, Source, malformed, name_of, unreadable};
use crate::verdict::Analysis;

/// Takes events as they happen, and notices a violation as soon as the outcomes of what was open are known.
///
/// Registers (`register`, `cas-register`, `kv`) are judged on the way, exactly: for every key the set of all ways
/// to explain what has passed is kept, so that what has passed can be forgotten. Memory follows what is open and of
/// unknown outcome, and a window: [`CheckOptions::memory_limit`] over 256 bytes operations, by default about a
/// million. While the history fits into a quarter of the window it is held whole, and the analysis at the end has
/// an order or a minimal core; later a yes comes without an order, and a no is explained from the latest moment
/// before it at which the value of the key was certain. Keys with so many ways that they cannot be held (hundreds
/// of operations open at once on one key) are judged by the engines from such a moment on; if nothing settles for
/// longer than the window, the verdict is unknown.
///
/// Other models are held whole and judged at the end.
///
/// ```
/// use checker::history::{Event, EventKind, Header, Nanos, ProcessId, Value};
/// use checker::{CheckOptions, Monitor, Status, Verdict};
///
/// let mut monitor = Monitor::new(&Header::for_model("register"), &CheckOptions::default())?;
/// let event = |index, kind, value: Value| Event::new(index, Nanos(index), ProcessId(0), kind, "get", value);
/// monitor.push(&event(0, EventKind::Invoke, Value::Nil))?;
/// monitor.push(&event(1, EventKind::Ok, Value::Int(7)))?;
/// assert!(matches!(monitor.look(), Status::Violated { .. }));
/// assert!(matches!(monitor.finish()?.verdict, Verdict::Illegal(_)));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Monitor {
    held: Held,
    options: CheckOptions,
    line: u64,
    status: Status,
}

/// What a monitor holds.
#[derive(Debug)]
enum Held {
    /// Registers, by key.
    Online(Box<Online>),
    /// Everything, until the end.
    Whole(Box<Builder>),
}

/// What a monitor has noticed so far.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Status {
    /// Nothing is wrong as far as it was judged.
    Fine,
    /// The history is illegal already, whatever comes; [`Monitor::finish`] explains it.
    Violated {
        /// The key, in histories with keys.
        key: Option<Value>,
    },
}

impl Monitor {
    /// A monitor for a history with this header.
    ///
    /// # Errors
    /// [`CheckError::UnknownModel`] if the header names a model that does not exist.
    pub fn new(header: &Header, options: &CheckOptions) -> Result<Monitor, CheckError> {
        Monitor::named(header, options, None)
    }

    fn named(header: &Header, options: &CheckOptions, name: Option<String>) -> Result<Monitor, CheckError> {
        let builder = Builder::new(header.clone(), Form::Ordeal, name);
        let named = options.model.is_some() || header.model.is_some();
        let model = if named {
            Some(model_of(&builder.history, options)?)
        } else {
            None
        };
        let held = match model {
            Some(model @ (ModelName::Register | ModelName::CasRegister | ModelName::Kv)) => {
                Held::Online(Box::new(Online::new(builder, options, model)))
            }
            _ => Held::Whole(Box::new(builder)),
        };
        Ok(Monitor {
            held,
            options: options.clone(),
            line: 0,
            status: Status::Fine,
        })
    }

    /// Judges a whole file in our own form as it is read, holding no more of it than a monitor does; `-` is
    /// standard input. Reading ends at the first violation.
    ///
    /// # Errors
    /// Those of reading, and of [`check`]; a file in another form, in which the order of events may be another
    /// than that of the file, cannot be streamed.
    pub fn stream(path: impl AsRef<Path>, options: &CheckOptions) -> Result<Analysis, CheckError> {
        let name = name_of(path.as_ref());
        let source = Source::open(path.as_ref()).map_err(|error| unreadable(Some(&name), error))?;
        stream(source, Some(name), options)
    }

    /// The same for anything that can be read; `name` is what error messages call it.
    ///
    /// # Errors
    /// Those of [`Monitor::stream`].
    pub fn stream_from(
        from: impl Read + Send,
        name: Option<String>,
        options: &CheckOptions,
    ) -> Result<Analysis, CheckError> {
        let source = Source::new(from).map_err(|error| unreadable(name.as_deref(), error))?;
        stream(source, name, options)
    }

    /// Takes the next event and says what is known.
    ///
    /// # Errors
    /// [`HistoryError::Malformed`] if the event cannot follow the ones before it, or if the model does not know it.
    pub fn push(&mut self, event: &Event) -> Result<Status, HistoryError> {
        self.line += 1;
        match &mut self.held {
            Held::Online(online) => online.push_event(event.clone(), self.line)?,
            Held::Whole(builder) => builder.push_event(event.clone(), self.line)?,
        }
        self.note();
        Ok(self.status.clone())
    }

    /// Judges everything that is new, now.
    pub fn look(&mut self) -> Status {
        if let Held::Online(online) = &mut self.held
            && self.status == Status::Fine
        {
            online.look();
            self.note();
        }
        self.status.clone()
    }

    /// Judges the whole history, and explains a violation.
    ///
    /// # Errors
    /// Those of [`check`].
    pub fn finish(self) -> Result<Analysis, CheckError> {
        match self.held {
            Held::Online(online) => online.finish(),
            Held::Whole(builder) => check(&builder.finish()?, &self.options),
        }
    }

    fn note(&mut self) {
        if let (Held::Online(online), Status::Fine) = (&self.held, &self.status)
            && let Some(key) = online.violated()
        {
            self.status = Status::Violated { key };
        }
    }
}

fn stream(
    mut source: Source<'_>,
    name: Option<String>,
    options: &CheckOptions,
) -> Result<Analysis, CheckError> {
    match Shape::of_source(&mut source, name.as_deref())? {
        Shape::JsonLines | Shape::Empty => {}
        _ => {
            let flaw = Flaw::Syntax("only JSON Lines can be streamed; checker convert makes them".to_owned());
            return Err(malformed(name.as_deref(), 1, flaw).into());
        }
    }
    let mut lines = JsonLines::new(source, name.clone());
    let header = lines.header()?.unwrap_or_default();
    let mut monitor = Monitor::named(&header, options, name)?;
    match &mut monitor.held {
        Held::Online(online) => lines.feed(online.as_mut())?,
        Held::Whole(builder) => lines.feed(builder.as_mut())?,
    }
    monitor.finish()
}

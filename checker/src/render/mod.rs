//! A history as a page: who did what when, on a drawing that can be walked through in a browser.
//!
//! One lane per client and per fault, one bar per operation from its invocation to its completion, the moment at
//! which a witness lets it take effect, and the operations of a counterexample with the cycle between them. The
//! page refers to nothing outside itself: what it draws is packed into it (`pack`), and a canvas draws only
//! what can be seen, so that a hundred thousand operations are no slower to move through than a hundred.
//!
//! Times of imported forms are for display only, some go backwards; there the drawing runs along the order of
//! events, and times are told by the way.

mod faults;
mod found;
mod html;
mod lanes;
mod pack;
mod points;

pub use found::{Found, RenderError};

use crate::history::{Form, History, OpId};

/// A self-contained HTML page that draws a history and what was found about it.
pub fn page(history: &History, found: &Found) -> String {
    html::page(history, found)
}

/// What the drawing runs along.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Axis {
    /// Nanoseconds of the run.
    Time,
    /// Places of events in the order that decides verdicts.
    Events,
}

impl Axis {
    fn of(history: &History) -> Axis {
        match history.form() {
            Form::Ordeal => Axis::Time,
            Form::Edn | Form::KeyValueLog | Form::JepsenLog => Axis::Events,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Axis::Time => "time",
            Axis::Events => "events",
        }
    }

    /// Where an operation begins.
    fn start(self, history: &History, op: OpId) -> u64 {
        let operation = history.operation(op);
        match self {
            Axis::Time => operation.invoked_at().0,
            Axis::Events => operation.invoked_index(),
        }
    }

    /// Where something came back from it, if anything did.
    fn end(self, history: &History, op: OpId) -> Option<u64> {
        let operation = history.operation(op);
        match self {
            Axis::Time => operation.completed_at().map(|at| at.0),
            Axis::Events => operation.completed_index(),
        }
    }
}

//! What operations are called when people are told about them.

use crate::history::{History, NEVER, Operation, Value};
use crate::model::{Domain, Invocation, Observed};

/// How a history is told: by its times, or by its lines if it has none.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Words {
    timed: bool,
    /// Whether operations ask for revisions, so that it matters who made which.
    revisions: bool,
}

impl Words {
    pub(crate) fn of(history: &History) -> Words {
        Words {
            timed: history.operations().any(|operation| operation.invoked_at().0 > 0),
            revisions: history.details.iter().any(|details| details.asked_rev.is_some()),
        }
    }

    /// ` as revision 7`, of a write that says so, where others ask for revisions.
    pub(crate) fn revision(&self, call: &Invocation) -> String {
        match call.result {
            Observed::Ok(_, Some(rev)) if self.revisions && call.f != "get" => format!(" as revision {rev}"),
            _ => String::new(),
        }
    }

    /// `read 4 by process 3`.
    pub(crate) fn name<D: Domain>(&self, domain: &D, operation: Operation<'_>) -> String {
        let complete = operation.record().completed != NEVER;
        let what = match domain.call(operation, complete) {
            Ok(Some(call)) => noun(&call),
            _ => operation.f().to_owned(),
        };
        format!("{what} by process {}", operation.process())
    }

    /// ` (12.200 s)`, when something came back.
    pub(crate) fn end(&self, operation: Operation<'_>) -> String {
        match operation.completed_at() {
            Some(end) if self.timed => format!(" ({end})"),
            _ => String::new(),
        }
    }

    /// ` (12.310 s)` or ` (line 39)`, when it was invoked.
    pub(crate) fn start(&self, operation: Operation<'_>) -> String {
        match self.timed {
            true => format!(" ({})", operation.invoked_at()),
            false => format!(" (line {})", operation.line()),
        }
    }

    /// `from 12.310 s to 12.350 s`, `at 12.310 s`, or `(invoked on line 39)`.
    pub(crate) fn when(&self, operation: Operation<'_>) -> String {
        let begin = operation.invoked_at().to_string();
        match (self.timed, operation.completed_at().map(|end| end.to_string())) {
            (true, Some(end)) if end == begin => format!("at {end}"),
            (true, Some(end)) => format!("from {begin} to {end}"),
            (true, None) => format!("from {} on", operation.invoked_at()),
            (false, _) => format!("(invoked on line {})", operation.line()),
        }
    }

    /// `not before 12.310 s`, or `on line 39`.
    pub(crate) fn earliest(&self, operation: Operation<'_>) -> String {
        match self.timed {
            true => format!("not before {}", operation.invoked_at()),
            false => format!("on line {}", operation.line()),
        }
    }
}

/// `read 4`, `write 5`, `cas 4 to 5`.
fn noun(call: &Invocation) -> String {
    let pair = match call.input.as_list() {
        Some([expected, new]) => Some((expected, new)),
        _ => None,
    };
    match (&*call.f, &call.result, pair) {
        ("get", Observed::Ok(seen, _), _) => format!("read {seen}"),
        ("get", ..) => "read".to_owned(),
        ("set", ..) => format!("write {}", call.input),
        ("delete", ..) => "delete".to_owned(),
        ("cas", Observed::Mismatch(_), Some(_)) if call.asked_rev.is_some() => {
            format!("failed cas at revision {}", call.asked_rev.unwrap_or_default())
        }
        ("cas", Observed::Mismatch(Some(current)), Some((expected, _))) => {
            format!("failed cas of {expected} (told {current})")
        }
        ("cas", Observed::Mismatch(None), Some((expected, _))) => format!("failed cas of {expected}"),
        ("cas", _, Some((expected, new))) => match call.asked_rev {
            Some(rev) => format!("cas to {new} at revision {rev}"),
            None => format!("cas {expected} to {new}"),
        },
        ("dequeue", Observed::Ok(Value::Nil, _), _) => "dequeue of nothing".to_owned(),
        ("dequeue" | "read", Observed::Ok(result, _), _) => format!("{} {result}", call.f),
        ("txn", Observed::Ok(result, _), _) if !result.is_nil() => format!("txn {result}"),
        (f, Observed::Ok(result, _), _) if call.input.is_nil() && !result.is_nil() => format!("{f} {result}"),
        (f, ..) if call.input.is_nil() => f.to_owned(),
        (f, ..) => format!("{f} {}", call.input),
    }
}

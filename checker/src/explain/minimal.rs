//! The smallest history that shows a violation.

use serde_json::json;

use crate::history::{Event, EventKind, Form, Header, History, Nanos, Operation, Outcome, ProcessId};
use crate::verdict::{Analysis, Counterexample, Verdict};

/// Cuts an illegal history down to the operations of its counterexample, in our own form.
///
/// What is weakened comes back with unknown outcome, as another process, since a process that got no answer asks
/// for nothing any more. All else is left out: less may have happened, so that the rest is still illegal. Imported
/// histories, whose order is that of their lines, get times that keep it. Nothing if the analysis found no
/// violation.
pub fn minimize(history: &History, analysis: &Analysis) -> Option<(Header, Vec<Event>)> {
    let Verdict::Illegal(found) = &analysis.verdict else {
        return None;
    };
    let mut moments: Vec<(u32, Operation<'_>, bool, bool)> = Vec::new();
    for core in &found.operations {
        let operation = history.operation(core.id);
        let known = !core.weakened && operation.outcome() != Outcome::Info;
        moments.push((operation.record().invoked, operation, false, known));
        if known {
            moments.push((operation.record().completed, operation, true, known));
        }
    }
    moments.sort_by_key(|&(place, ..)| place);
    let most = history
        .operations()
        .map(|operation| operation.process().0)
        .max()
        .unwrap_or(0);
    let mut events: Vec<Event> = Vec::new();
    let (mut retired, mut infos) = (most, Vec::new());
    for (_, operation, completes, known) in moments {
        let index = events.len() as u64;
        let time = match (history.form(), completes) {
            (Form::Ordeal, false) => operation.invoked_at(),
            (Form::Ordeal, true) => operation.completed_at().unwrap_or_default(),
            // One microsecond apart.
            _ => Nanos((index + 1) * 1000),
        };
        let process = match known {
            true => operation.process(),
            false => {
                retired += 1;
                infos.push((operation, ProcessId(retired)));
                ProcessId(retired)
            }
        };
        events.push(match completes {
            false => invocation(operation, index, time, process),
            true => completion(operation, index, time, process),
        });
    }
    let end = events.last().map_or(Nanos(0), |event| event.time);
    for (operation, process) in infos {
        let mut event = invocation(operation, events.len() as u64, end, process);
        event.kind = EventKind::Info;
        event.rev = None;
        event.error = Some("minimized: it may have happened at any time, or never".to_owned());
        events.push(event);
    }
    Some((header(history, analysis, found), events))
}

fn header(history: &History, analysis: &Analysis, found: &Counterexample) -> Header {
    let old = history.header();
    let mut header = Header {
        model: Some(analysis.model.clone()),
        seed: old.seed,
        system: old.system.clone(),
        nodes: old.nodes.clone(),
        started: old.started.clone(),
        init: Some(found.init.clone()),
        ..Header::default()
    };
    if let Some(queue) = old.other.get("queue") {
        header.other.insert("queue".to_owned(), queue.clone());
    }
    let from = history.file().unwrap_or("a history without a file");
    let comment = format!(
        "{} of the {} operations of {from}: {}",
        found.operations.len(),
        history.len(),
        found.sentence
    );
    header.other.insert("comment".to_owned(), json!(comment));
    header
}

fn invocation(operation: Operation<'_>, index: u64, time: Nanos, process: ProcessId) -> Event {
    let f = operation.f().to_owned();
    let mut event = Event::new(index, time, process, EventKind::Invoke, f, operation.input());
    event.key = operation.key();
    event.rev = operation.asked_rev();
    event.node = operation.node().map(str::to_owned);
    if process != operation.process() {
        event
            .other
            .insert("was_process".to_owned(), json!(operation.process().0));
    }
    event
        .other
        .insert("was_index".to_owned(), json!(operation.invoked_index()));
    event
}

fn completion(operation: Operation<'_>, index: u64, time: Nanos, process: ProcessId) -> Event {
    let mut event = invocation(operation, index, time, process);
    event.other.clear();
    event.rev = operation.told_rev();
    event.value = operation.output();
    event.kind = match operation.outcome() {
        Outcome::Ok => EventKind::Ok,
        Outcome::Fail => EventKind::Fail,
        Outcome::Info => EventKind::Info,
    };
    event.error = operation.error().map(str::to_owned);
    if event.kind == EventKind::Fail {
        // What failed is in a core only if it saw that the value is another.
        event.error = Some("mismatch".to_owned());
        event.current = operation.current();
    }
    event
}

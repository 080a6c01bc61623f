//! What the fault injector did, as stretches and moments of the drawing.

use serde::Serialize;

use super::Axis;
use crate::history::{Event, History, Value};

/// A fault while it lasted, or something that happened at one moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Fault {
    /// Its kind: lanes are by kind.
    pub(super) kind: String,
    pub(super) from: u64,
    /// When it was undone; none if it never was.
    pub(super) to: Option<u64>,
    pub(super) said: String,
    /// Whether it is a moment rather than a stretch.
    pub(super) moment: bool,
}

/// Longer descriptions are cut: a fault's record may hold every link of a cluster.
const MOST_SAID: usize = 160;

/// Pairs what begins with what ends it.
///
/// In our own form events carry `"event"` (`applied`, `undone`) and the `"id"` of the fault; in Jepsen's, `start`
/// and `stop`, `start-partition` and `stop-partition`, or `partition` and `heal`, each twice: asked and done.
pub(super) fn faults(history: &History, axis: Axis) -> Vec<Fault> {
    let mut faults: Vec<Fault> = Vec::new();
    let mut open: Vec<(Opened, usize)> = Vec::new();
    for event in history.nemesis_events() {
        let at = match axis {
            Axis::Time => event.time.0,
            Axis::Events => event.index,
        };
        match Says::of(event) {
            Says::Begins(opened) => {
                // Asked and done are one; what is done tells more.
                if let Some((_, known)) = open.iter().find(|(known, _)| *known == opened) {
                    if !event.value.is_nil() {
                        faults[*known].said = said(event);
                    }
                    continue;
                }
                open.push((opened, faults.len()));
                faults.push(Fault {
                    kind: kind(event),
                    from: at,
                    to: None,
                    said: said(event),
                    moment: false,
                });
            }
            Says::Ends(ends) => {
                let (ended, still): (Vec<_>, Vec<_>) =
                    open.into_iter().partition(|(opened, _)| ends.ends(opened));
                open = still;
                for &(_, fault) in &ended {
                    faults[fault].to = Some(at);
                }
            }
            Says::Moment => faults.push(Fault {
                kind: "events".to_owned(),
                from: at,
                to: Some(at),
                said: said(event),
                moment: true,
            }),
            Says::Nothing => {}
        }
    }
    faults
}

/// What identifies a fault that lasts.
#[derive(Debug, PartialEq, Eq)]
enum Opened {
    Numbered(i64),
    Named(String),
}

/// What an event ends.
#[derive(Debug)]
enum Ends {
    One(Opened),
    Everything,
}

impl Ends {
    fn ends(&self, opened: &Opened) -> bool {
        match self {
            Ends::One(one) => one == opened,
            Ends::Everything => true,
        }
    }
}

enum Says {
    Begins(Opened),
    Ends(Ends),
    Moment,
    /// What another event says better.
    Nothing,
}

impl Says {
    fn of(event: &Event) -> Says {
        let word = field(&event.value, "event").and_then(Value::as_str);
        let id = field(&event.value, "id").and_then(Value::as_int);
        match (word, id) {
            // A fault that is over as soon as it was done, such as a restart.
            (Some("applied"), _) if field(&event.value, "over") == Some(&Value::Bool(true)) => Says::Moment,
            (Some("applied"), Some(id)) => Says::Begins(Opened::Numbered(id)),
            (Some("undone"), Some(id)) => Says::Ends(Ends::One(Opened::Numbered(id))),
            (Some("begin" | "ready"), _) => Says::Nothing,
            (Some(_), _) => Says::Moment,
            (None, _) => Says::by_name(&event.f),
        }
    }

    fn by_name(f: &str) -> Says {
        let named = |name: &str| Opened::Named(name.to_owned());
        match f {
            "start" => return Says::Begins(named("")),
            "stop" => return Says::Ends(Ends::One(named(""))),
            "heal" | "stop-all" | "recover" => return Says::Ends(Ends::Everything),
            "partition" | "pause" | "kill" => return Says::Begins(named(f)),
            "resume" => return Says::Ends(Ends::One(named("pause"))),
            "restart" => return Says::Ends(Ends::One(named("kill"))),
            _ => {}
        }
        if let Some(name) = f.strip_prefix("start-") {
            return Says::Begins(named(name));
        }
        match f.strip_prefix("stop-").or_else(|| f.strip_prefix("heal-")) {
            Some(name) => Says::Ends(Ends::One(named(name))),
            None => Says::Moment,
        }
    }
}

fn kind(event: &Event) -> String {
    event.f.strip_prefix("start-").unwrap_or(&event.f).to_owned()
}

fn said(event: &Event) -> String {
    let told = field(&event.value, "description").and_then(Value::as_str);
    let told = told.map_or_else(
        || match &event.value {
            Value::Nil => String::new(),
            other => other.to_string(),
        },
        str::to_owned,
    );
    let mut text = format!("{} {told}", event.f).trim_end().to_owned();
    if let Some((end, _)) = text.char_indices().nth(MOST_SAID) {
        text.truncate(end);
        text.push('…');
    }
    text
}

fn field<'a>(value: &'a Value, name: &str) -> Option<&'a Value> {
    let entries = value.as_map()?;
    let found = entries.iter().find(|(key, _)| key.as_str() == Some(name));
    found.map(|(_, value)| value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::{EventKind, Header, Nanos, Process, ProcessId};

    fn nemesis(index: u64, f: &str, value: Value) -> Event {
        let mut event = Event::new(
            index,
            Nanos(index * 10),
            ProcessId(0),
            EventKind::Info,
            f.to_owned(),
            value,
        );
        event.process = Process::Nemesis;
        event
    }

    fn note(word: &str, id: i64) -> Value {
        let entry = |key: &str, value| (Value::from(key), value);
        Value::map([entry("event", Value::from(word)), entry("id", Value::Int(id))])
    }

    #[test]
    fn faults_last_until_they_are_undone() {
        let events = vec![
            nemesis(0, "partition", note("begin", 1)),
            nemesis(1, "partition", note("applied", 1)),
            nemesis(2, "kill", note("applied", 2)),
            nemesis(3, "partition", note("undone", 1)),
            nemesis(4, "healed", note("healed", 0)),
            nemesis(5, "start-clock", Value::Nil),
            nemesis(6, "start-clock", Value::from("n1")),
            nemesis(7, "stop-clock", Value::Nil),
            nemesis(8, "stop-clock", Value::from("done")),
        ];
        let history = History::from_events(Header::default(), events).expect("valid");
        let told: Vec<_> = faults(&history, Axis::Time)
            .into_iter()
            .map(|fault| (fault.kind, fault.from, fault.to, fault.moment))
            .collect();
        let expected = [
            ("partition", 10, Some(30), false),
            ("kill", 20, None, false),
            ("events", 40, Some(40), true),
            ("clock", 50, Some(70), false),
        ];
        assert_eq!(
            told,
            expected.map(|(kind, from, to, moment)| (kind.to_owned(), from, to, moment))
        );
    }
}

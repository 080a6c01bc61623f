//! Histories as a few lines of text.
//!
//! One transaction a line: when it was invoked and completed, how it ended if not ok, its process if it matters,
//! and its steps.
//!
//! ```text
//! 0-3       append x 1; r y []
//! 1-4 p7    r x [1]
//! 2-5 fail  append x 2
//! 2-? info  append y 3
//! ```

use checker::history::{Event, EventKind, Header, History, Nanos, ProcessId, Value};

pub(crate) fn history(model: &str, script: &str) -> History {
    let mut events: Vec<(u64, bool, ProcessId, EventKind, Value)> = Vec::new();
    for (at, line) in script.lines().filter(|line| !line.trim().is_empty()).enumerate() {
        let mut words = line.split_whitespace();
        let (begin, end) = words.next().unwrap().split_once('-').expect("BEGIN-END");
        let mut kind = EventKind::Ok;
        let mut process = ProcessId(1000 + at as u64);
        let mut steps = Vec::new();
        for word in words {
            match word {
                "fail" => kind = EventKind::Fail,
                "info" => kind = EventKind::Info,
                _ if steps.is_empty() && word.starts_with('p') && word[1..].parse::<u64>().is_ok() => {
                    process = ProcessId(word[1..].parse().unwrap());
                }
                _ => steps.push(word),
            }
        }
        let steps = steps.join(" ");
        let (asked, told) = (transaction(&steps, false), transaction(&steps, true));
        events.push((
            begin.parse().unwrap(),
            false,
            process,
            EventKind::Invoke,
            asked.clone(),
        ));
        if end != "?" {
            let value = if kind == EventKind::Ok { told } else { asked };
            events.push((end.parse().unwrap(), true, process, kind, value));
        }
    }
    events.sort_by_key(|&(time, completes, process, ..)| (time, completes, process));
    let events = events
        .into_iter()
        .zip(0..)
        .map(|((time, _, process, kind, value), index)| {
            Event::new(index, Nanos(time), process, kind, "txn", value)
        });
    History::from_events(Header::for_model(model), events.collect()).unwrap()
}

fn transaction(steps: &str, told: bool) -> Value {
    let steps = steps.split(';').map(|step| {
        let mut parts = step.trim().splitn(3, ' ');
        let (f, key) = (parts.next().unwrap(), parts.next().unwrap());
        let value = parts.next().map_or(Value::Nil, value);
        let value = if f == "r" && !told { Value::Nil } else { value };
        Value::List(vec![Value::from(f), Value::from(key), value])
    });
    Value::List(steps.collect())
}

fn value(text: &str) -> Value {
    let text = text.trim();
    if let Some(list) = text.strip_prefix('[') {
        let list = list.strip_suffix(']').expect("a list ends");
        return Value::List(list.split_whitespace().map(value).collect());
    }
    match text.parse::<i64>() {
        Ok(number) => Value::Int(number),
        Err(_) if text == "nil" => Value::Nil,
        Err(_) => Value::from(text),
    }
}

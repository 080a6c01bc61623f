//! What must hold of any bytes that claim to be a history.

use checker::convert::{Explicit, Target};
use checker::history::{Event, Header, History, Operation, Writer};
use checker::{CheckOptions, ModelName, Monitor, ReadOptions, Tuples};

/// Any form: no panic, errors of one line that name a place, and what is read can be written and read again.
pub fn whole(bytes: &[u8]) {
    for tuples in [Tuples::Values, Tuples::Independent] {
        match History::read(bytes, Some("h".to_owned()), &ReadOptions { tuples }) {
            Err(error) => one_line(&error.to_string()),
            Ok(history) => again(&history),
        }
    }
}

/// Our own form: as above, and a stream of it is refused exactly where the whole is, or where the model refuses.
pub fn jsonl(bytes: &[u8]) {
    whole(bytes);
    let options = CheckOptions {
        model: Some(ModelName::Kv),
        time_limit: Some(std::time::Duration::from_millis(200)),
        ..CheckOptions::default()
    };
    let streamed = Monitor::stream_from(bytes, Some("h".to_owned()), &options);
    let read = History::read(bytes, Some("h".to_owned()), &ReadOptions::default());
    match (read, streamed) {
        (_, Err(error)) => one_line(&error.to_string()),
        (Ok(_), Ok(_)) => {}
        // A violation ends a stream before what is wrong behind it is read.
        (Err(_), Ok(analysis)) => assert_eq!(analysis.verdict.exit_code(), 1),
    }
}

/// A line by itself: what is read is written, and then is the same.
pub fn line(bytes: &[u8]) {
    if let Err(flaw) = Header::from_line(bytes) {
        one_line(&format!("h:1: {flaw}"));
    }
    match Event::from_line(bytes) {
        Err(flaw) => one_line(&format!("h:1: {flaw}")),
        Ok(event) => {
            let mut writer = Writer::new(Vec::new(), &Header::default()).expect("memory");
            writer.write(&event).expect("memory");
            let written = writer.into_inner().expect("memory");
            let line = written
                .split(|&byte| byte == b'\n')
                .nth(1)
                .expect("the second line");
            let again = Event::from_line(line).expect("what was written can be read");
            assert_eq!(again.kind, event.kind);
            assert_eq!(
                (again.index, again.time, again.process),
                (event.index, event.time, event.process)
            );
        }
    }
}

fn one_line(said: &str) {
    assert!(
        !said.trim().is_empty() && !said.contains('\n'),
        "{said:?} is not one line"
    );
}

fn again(history: &History) {
    let Ok(explicit) = Explicit::of(history, &CheckOptions::default()) else {
        return;
    };
    for target in [Target::JsonLines, Target::EdnLines] {
        let mut written = Vec::new();
        // Some histories have no order but that of instants, which EDN cannot say.
        if explicit.clone().write(target, &mut written).is_err() {
            assert!(
                target != Target::JsonLines,
                "anything can be said in our own form"
            );
            continue;
        }
        let read = History::read(&written, None, &ReadOptions::default());
        let read = read.unwrap_or_else(|error| panic!("as {target:?}: {error}"));
        assert_eq!(read.len(), history.len(), "as {target:?}");
        let outcomes = |history: &History| history.operations().map(Operation::outcome).collect::<Vec<_>>();
        assert_eq!(outcomes(&read), outcomes(history), "as {target:?}");
    }
}

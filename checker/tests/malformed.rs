//! What is no history is refused in one line that says where and why.

use checker::history::History;
use checker::{CheckOptions, ReadOptions, check};

/// Reads and checks; the error must be this.
fn refused(text: &str, expected: &str) {
    let read = History::read(text.as_bytes(), Some("h".to_owned()), &ReadOptions::default());
    let said = match read {
        Err(error) => error.to_string(),
        Ok(history) => match check(&history, &CheckOptions::default()) {
            Err(error) => error.to_string(),
            Ok(analysis) => panic!("{text:?} was judged: {:?}", analysis.verdict),
        },
    };
    assert_eq!(said, expected, "for {text:?}");
    assert!(!said.contains('\n'), "{said:?} is more than one line");
}

const HEADER: &str = "{\"ordeal\":1,\"model\":\"kv\"}\n";

fn line(process: u64, kind: &str, f: &str) -> String {
    format!(
        "{{\"process\":{process},\"type\":\"{kind}\",\"f\":\"{f}\",\"key\":\"a\",\"value\":1,\"time\":5}}\n"
    )
}

#[test]
fn pairs_that_do_not() {
    refused(
        &(HEADER.to_owned() + &line(3, "ok", "set")),
        "h:2: process 3 completes set (ok), but it has no open invocation",
    );
    refused(
        &(HEADER.to_owned() + &line(3, "invoke", "set") + &line(3, "invoke", "get")),
        "h:3: process 3 invokes get, but its set from line 2 has not completed: a process does one thing at a time",
    );
    refused(
        &(HEADER.to_owned() + &line(3, "invoke", "set") + &line(3, "ok", "get")),
        "h:3: process 3 completes function get, but invoked function set on line 2",
    );
}

#[test]
fn order_that_is_none() {
    let event = |index: u64, time: u64| {
        format!(
            "{{\"index\":{index},\"time\":{time},\"process\":{index},\"type\":\"invoke\",\"f\":\"get\"}}\n"
        )
    };
    refused(
        &(HEADER.to_owned() + &event(1, 9) + &event(2, 8)),
        "h:3: time goes backwards, from 9 to 8 ns",
    );
    refused(
        &(HEADER.to_owned() + &event(2, 9) + &event(1, 9)),
        "h:3: index 1 follows index 2: indexes must grow",
    );
    refused(
        &(HEADER.to_owned() + &event(2, 9) + &event(2, 9)),
        "h:3: index 2 is given to two events",
    );
}

#[test]
fn functions_and_values_that_no_model_knows() {
    refused(
        &(HEADER.to_owned() + &line(1, "invoke", "frobnicate")),
        "h:2: unknown function \"frobnicate\": model kv knows get (read), set (write, put), cas (compare-and-set), append, delete",
    );
    refused(
        &(HEADER.to_owned() + &line(1, "invoke", "cas")),
        "h:2: cas takes a list of two, the expected value and the new one, not 1",
    );
}

#[test]
fn lines_that_are_no_events() {
    refused(
        &(HEADER.to_owned() + "{\"process\":1}\n"),
        "h:2: the event has no \"type\"",
    );
    refused(
        &(HEADER.to_owned() + "nonsense\n"),
        "h:2: 'n' at column 1 where '{' should be",
    );
    refused(
        &(HEADER.to_owned() + "{\"process\":-1}\n"),
        "h:2: \"process\": a process must be a whole number from 0 on, not -1",
    );
    refused(
        &(HEADER.to_owned() + "{\"type\":\"maybe\"}\n"),
        "h:2: \"type\": \"maybe\" is none of invoke, ok, fail, info",
    );
    refused(
        "{\"ordeal\":9}\n",
        "h:1: form 9 of histories; this checker reads form 1",
    );
    refused("what is this?\n", "h:1: neither JSON Lines, EDN nor a jepsen.log");
    refused(
        "[{:process 0 :type :invoke :f :read}\n",
        "h:2: the history is not closed: it seems to be cut off",
    );
    refused(
        "{:process 0 :type :what :f :read}\n",
        "h:1: type what is none of :invoke, :ok, :fail, :info",
    );
    refused("[1]\n", "h:1: '1' where a map should be: an event is a map");
}

#[test]
fn deep_values_do_not_overflow_the_stack() {
    let deep = "[".repeat(100_000);
    refused(
        &format!("{HEADER}{{\"value\":{deep}"),
        "h:2: \"value\": values nested more than 128 deep",
    );
    refused(
        &format!("{{:value {deep}"),
        "h:1: values nested more than 128 deep",
    );
}

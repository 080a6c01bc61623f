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
        "h:2:1: the history is not closed: it seems to be cut off",
    );
    refused(
        "{:process 0 :type :what :f :read}\n",
        "h:1:1: type what is none of :invoke, :ok, :fail, :info",
    );
    refused("[1]\n", "h:1:2: '1' where a map should be: an event is a map");
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
        "h:1:137: values nested more than 128 deep",
    );
}

/// All of an EDN history may be on one line: then the column says where.
#[test]
fn columns_of_edn() {
    let event =
        |process: u64, kind: &str| format!("{{:process {process} :type :{kind} :f :read :value nil}}");
    let all = |events: &[String]| format!("[{}]\n", events.join(" "));
    refused(
        &all(&[event(0, "invoke"), event(1, "ok")]),
        "h:1:49: process 1 completes read (ok), but it has no open invocation",
    );
    refused(
        &all(&[event(0, "invoke"), "{:f :read}".to_owned()]),
        "h:1:49: the event has no :type",
    );
    refused(
        "[{:process 0 :type :invoke :f :read :value}]",
        "h:1:2: a map with a key that has no value",
    );
    refused("[{:é \"a\nb\" 7 8}]", "h:2:4: 7 is no name of a field");
    refused(
        "[{:f \"endless}]",
        "h:1:16: the string that begins on line 1, column 6, has no end",
    );
    refused("[{:f [1 2}]", "h:1:10: '}' closes nothing");
    refused(
        "[{:f (1 2",
        "h:1:10: what was opened on line 1, column 6, is not closed by ')'",
    );
    // Where the indexes say another order than the lines, the place is still that of the event.
    let indexed = |index: u64, process: u64, kind: &str| {
        format!("{{:index {index} :process {process} :type :{kind} :f :read :value nil}}")
    };
    refused(
        &all(&[indexed(7, 0, "ok"), indexed(3, 0, "invoke"), indexed(9, 0, "ok")]),
        "h:1:110: process 0 completes read (ok), but it has no open invocation",
    );
    refused(
        &all(&[indexed(7, 0, "invoke"), indexed(7, 1, "invoke")]),
        "h:1:58: index 7 is given to two events",
    );
    refused(
        &all(&[
            indexed(0, 0, "invoke"),
            event(1, "invoke"),
            indexed(0, 2, "invoke"),
        ]),
        "h:1:105: index 0 is given to two events",
    );
}

/// Lines of a log are held one at a time, and those of other loggers may be whatever they like.
#[test]
fn lines_of_a_log() {
    use std::io::Read;
    fn operations(log: impl Read + Send) -> Result<usize, String> {
        let history = History::read_from(log, Some("h".to_owned()), &ReadOptions::default());
        history
            .map(|history| history.len())
            .map_err(|error| error.to_string())
    }
    let said = |what: &str| format!("INFO  jepsen.util - 0 {what}\n");
    let (before, after) = (said(":invoke\t:write\t5"), said(":ok\t:write\t5"));
    let (before, after) = (before.as_bytes(), after.as_bytes());
    let long = || std::io::repeat(b'x').take(100 << 20);
    // Another logger's line may be long and need not be text, and what follows counts on.
    let other = || (&b"WARN  \xff"[..]).chain(long()).chain(&b"\n"[..]);
    assert_eq!(operations(before.chain(other()).chain(after)), Ok(1));
    let bad = said(":invoke\t:write\t[5");
    let told = operations(before.chain(other()).chain(after).chain(bad.as_bytes()));
    let told = told.expect_err("not closed");
    assert!(told.starts_with("h:4: "), "{told}");
    // An operation's line may not.
    let endless = (&b"INFO  jepsen.util - 1 :invoke :write "[..]).chain(long());
    assert_eq!(
        operations(before.chain(endless)).expect_err("too long"),
        "h:2: the line is longer than 64 MiB: no operation is so long"
    );
    let garbled = &b"INFO  jepsen.util - 0 :ok :write \xff\n"[..];
    assert_eq!(
        operations(before.chain(garbled)).expect_err("no text"),
        "h:2: not UTF-8"
    );
}

#[test]
fn an_event_of_edn_that_has_no_end_is_refused_before_it_is_held() {
    use std::io::Read;
    let endless = (&b"[{:value \""[..]).chain(std::io::repeat(b'x'));
    let error = History::read_from(endless, Some("h".to_owned()), &ReadOptions::default());
    let said = error.expect_err("too long").to_string();
    assert!(
        said.ends_with("this event is longer than 64 MiB: none is so long"),
        "{said}"
    );
}

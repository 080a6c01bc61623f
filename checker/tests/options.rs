//! What callers may ask for: all keys, so many threads, much or little explanation, values that hold keys.

use std::io::Write;
use std::process::{Command, Stdio};

use checker::history::{History, Value};
use checker::{
    Analysis, CheckOptions, Counterexample, Explain, ReadOptions, Tuples, Verdict, Violations, check,
};

/// `process type f key value` a line; `-` is no key, and the value is JSON.
fn history(model: &str, lines: &str) -> String {
    let mut text = format!("{{\"ordeal\":1,\"model\":\"{model}\"}}\n");
    let lines = lines.lines().map(str::trim).filter(|line| !line.is_empty());
    for (at, line) in lines.enumerate() {
        let [process, kind, f, key, value] = line.splitn(5, ' ').collect::<Vec<_>>()[..] else {
            panic!("process type f key value, not {line}")
        };
        let key = match key {
            "-" => String::new(),
            key => format!(r#""key":"{key}","#),
        };
        text += &format!(
            r#"{{"index":{at},"time":{at},"process":{process},"type":"{kind}","f":"{f}",{key}"value":{value}}}"#
        );
        text.push('\n');
    }
    text
}

fn read(text: &str) -> History {
    History::read(text.as_bytes(), None, &ReadOptions::default()).expect("a history")
}

fn judged(text: &str, options: &CheckOptions) -> Analysis {
    check(&read(text), options).expect("a history of the model")
}

fn found(analysis: Analysis) -> Counterexample {
    match analysis.verdict {
        Verdict::Illegal(found) => *found,
        other => panic!("{other:?}"),
    }
}

/// The command, fed with a text.
fn piped(arguments: &[&str], input: &str) -> (String, Option<i32>) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_checker"))
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the command runs");
    let mut to = child.stdin.take().expect("piped above");
    to.write_all(input.as_bytes()).expect("it reads");
    drop(to);
    let output = child.wait_with_output().expect("it ends");
    (
        String::from_utf8(output.stdout).expect("text"),
        output.status.code(),
    )
}

/// Keys a and c are read stale, b is not.
fn two_bad_keys() -> String {
    let of = |key: &str, seen: &str| {
        format!(
            "0 invoke set {key} 1\n0 ok set {key} 1\n0 invoke set {key} 2\n0 ok set {key} 2\n\
             1 invoke get {key} null\n1 ok get {key} {seen}\n"
        )
    };
    history("kv", &[of("a", "1"), of("b", "2"), of("c", "1")].concat())
}

#[test]
fn all_keys_are_judged_if_that_is_asked_for() {
    let text = two_bad_keys();
    let all = CheckOptions {
        violations: Violations::All,
        ..CheckOptions::default()
    };
    assert_eq!(
        judged(&text, &all).illegal_keys,
        [Value::from("a"), Value::from("c")]
    );
    assert!(judged(&text, &CheckOptions::default()).illegal_keys.is_empty());
    let (told, code) = piped(&["check", "--all", "--json", "-"], &text);
    assert!(told.contains(r#""illegal_keys":["a","c"]"#), "{told}");
    assert_eq!(code, Some(1));
}

/// Whichever thread is the first to find something.
#[test]
fn threads_change_nothing_of_what_is_reported() {
    let mut lines = String::new();
    for key in 0..40 {
        for round in 0..60 {
            lines += &format!(
                "{key} invoke set k{key} {round}\n{key} ok set k{key} {round}\n{key} invoke get k{key} null\n\
                 {key} ok get k{key} {}\n",
                // Every other key shows a stale value, each at a place of its own.
                if key % 2 == 0 && round == 20 + key / 2 {
                    round - 1
                } else {
                    round
                }
            );
        }
    }
    let text = history("kv", &lines);
    let told = |threads, violations| {
        let options = CheckOptions {
            threads: Some(threads),
            violations,
            ..CheckOptions::default()
        };
        let mut told = serde_json::to_value(judged(&text, &options)).expect("JSON");
        told.as_object_mut().expect("an object").remove("seconds");
        told
    };
    for violations in [Violations::First, Violations::All] {
        let alone = told(1, violations);
        assert_eq!(alone["valid"], false);
        for threads in [2, 3, 8] {
            for _ in 0..5 {
                assert_eq!(told(threads, violations), alone, "{threads} threads");
            }
        }
    }
}

#[test]
fn a_violation_is_explained_as_much_as_is_asked_for() {
    let ask = |text: &str, explain| {
        let options = CheckOptions {
            explain,
            ..CheckOptions::default()
        };
        found(judged(text, &options))
    };
    let stale = two_bad_keys();
    let minimal = ask(&stale, Explain::Minimal);
    assert!(
        minimal.minimal && minimal.operations.iter().any(|op| op.said == "read a=1"),
        "{minimal:?}"
    );
    let prefix = ask(&stale, Explain::Prefix);
    assert!(!prefix.minimal);
    assert_eq!((prefix.prefix, prefix.operations.len()), (minimal.prefix, 3));
    let nothing = ask(&stale, Explain::Nothing);
    assert_eq!(nothing.sentence, "no order explains the operations on key a");
    assert_eq!(
        (nothing.key, nothing.operations),
        (Some(Value::from("a")), Vec::new())
    );
    // The whole key is illegal, and no more is said: the first of its completions are fine.
    assert_eq!(nothing.prefix.last_index, 5);
    assert!(!nothing.minimal && nothing.cycle.is_empty() && nothing.stuck.is_empty());
    // What contradicts without a search is told without one.
    let lines = "0 invoke enqueue - 1\n1 invoke enqueue - 2\n0 ok enqueue - 1\n1 ok enqueue - 2\n\
                 0 invoke dequeue - null\n0 ok dequeue - 2\n1 invoke dequeue - null\n1 ok dequeue - 2\n\
                 0 invoke dequeue - null\n0 ok dequeue - 1\n";
    let queue = history("queue", lines);
    let prefix = ask(&queue, Explain::Prefix);
    let known = prefix.operations.iter().filter(|op| !op.weakened);
    let twice: Vec<u32> = known.map(|op| op.id.0).collect();
    assert_eq!(twice, [2, 3], "{}", prefix.sentence);
    assert_eq!(prefix.prefix.last_index, 7);
}

#[test]
fn values_that_hold_keys_are_split_if_that_is_asked_for() {
    let text = "{:process 0 :type :invoke :f :write :value [:a 1]}\n\
                {:process 0 :type :ok :f :write :value [:a 1]}\n\
                {:process 0 :type :invoke :f :write :value [:b 2]}\n\
                {:process 0 :type :ok :f :write :value [:b 2]}\n\
                {:process 0 :type :invoke :f :read :value [:a nil]}\n\
                {:process 0 :type :ok :f :read :value [:a 1]}\n";
    let stale = text
        .replace(":f :read :value [:a nil]", ":f :read :value [:b nil]")
        .replace(":f :read :value [:a 1]", ":f :read :value [:b nil]");
    let split = ReadOptions {
        tuples: Tuples::Independent,
    };
    let keys = |text: &str, options: &ReadOptions| {
        let history = History::read(text.as_bytes(), None, options).expect("a history");
        let analysis = check(&history, &CheckOptions::default()).expect("registers");
        (analysis.subhistories, analysis.verdict.exit_code())
    };
    assert_eq!(keys(text, &split), (2, 0));
    assert_eq!(keys(&stale, &split).1, 1, "nil was overwritten");
    // Otherwise they are values like any other, of one register.
    assert_eq!(keys(text, &ReadOptions::default()), (1, 1));
    assert_eq!(
        piped(&["check", "--quiet", "--independent", "-"], text).1,
        Some(0)
    );
    assert_eq!(piped(&["check", "--quiet", "-"], text).1, Some(1));
}

#[test]
fn functions_have_other_names() {
    let lines = |read: &str, write: &str, cas: &str, seen: i64| {
        format!(
            "0 invoke {write} - 1\n0 ok {write} - 1\n0 invoke {cas} - [1,2]\n0 ok {cas} - [1,2]\n\
             0 invoke {read} - null\n0 ok {read} - {seen}\n"
        )
    };
    for read in ["get", "read", "r"] {
        for write in ["set", "write", "put", "w"] {
            for cas in ["cas", "compare-and-set"] {
                for (seen, code) in [(2, 0), (1, 1)] {
                    let text = history("cas-register", &lines(read, write, cas, seen));
                    let verdict = judged(&text, &CheckOptions::default()).verdict;
                    assert_eq!(verdict.exit_code(), code, "{read}, {write}, {cas}: {seen}");
                }
            }
        }
    }
}

//! Watches and numbers that only grow: histories that are legal, and one for every way to be illegal.

use checker::history::History;
use checker::{CheckOptions, Limit, ReadOptions, Verdict, check};

/// One operation a line: `[pN ]from..to f key input -> outcome output [rev N]`, with times in ms, by process N or
/// one of its own.
pub(crate) fn history(model: &str, operations: &str) -> History {
    let mut events = Vec::new();
    let lines = operations.lines().map(str::trim).filter(|line| !line.is_empty());
    for (place, line) in lines.enumerate() {
        let named = line.strip_prefix('p').and_then(|line| line.split_once(' '));
        let (process, line) = named.map_or((place as u64, line), |(process, rest)| {
            (1000 + process.parse::<u64>().expect("a process"), rest)
        });
        let (span, rest) = line.split_once(' ').expect("a span");
        let (from, to) = span.split_once("..").expect("from..to");
        let (asked, told) = rest.split_once(" -> ").expect("what came back");
        let [f, key, input] = asked.splitn(3, ' ').collect::<Vec<_>>()[..] else {
            panic!("f key input, not {asked}")
        };
        let (told, rev) = told
            .split_once(" rev ")
            .map_or((told, None), |(told, rev)| (told, Some(rev)));
        let (outcome, output) = told.split_once(' ').expect("an outcome and a value");
        let key = if key == "-" {
            String::new()
        } else {
            format!(r#""key":"{key}","#)
        };
        let rev = rev.map_or_else(String::new, |rev| format!(r#","rev":{rev}"#));
        let ms = |text: &str| text.parse::<u64>().expect("ms") * 1_000_000;
        events.push((
            (ms(from), 0),
            format!(r#""process":{process},"type":"invoke","f":"{f}",{key}"value":{input}"#),
        ));
        events.push((
            (ms(to), 1),
            format!(r#""process":{process},"type":"{outcome}","f":"{f}",{key}"value":{output}{rev}"#),
        ));
    }
    events.sort();
    let mut text = format!("{{\"ordeal\":1,\"model\":\"{model}\"}}\n");
    for (index, ((time, _), event)) in events.iter().enumerate() {
        text.push_str(&format!("{{\"index\":{index},\"time\":{time},{event}}}\n"));
    }
    History::read(text.as_bytes(), None, &ReadOptions::default()).expect("a history")
}

/// The verdict: `legal`, the name of the anomaly, or why nobody knows.
fn verdict(model: &str, operations: &str) -> String {
    let analysis = check(&history(model, operations), &CheckOptions::default()).expect("judged");
    match analysis.verdict {
        Verdict::Linearizable(_) => "legal".to_owned(),
        Verdict::Illegal(found) => {
            assert!(!found.operations.is_empty(), "{}", found.sentence);
            serde_json::to_value(found.anomaly)
                .expect("a name")
                .as_str()
                .expect("a text")
                .to_owned()
        }
        Verdict::Unknown(Limit::NoEvidence { why }) => why,
        Verdict::Unknown(other) => panic!("{other}"),
    }
}

pub(crate) const WRITES: &str = "
    0..10 set a 1 -> ok 1 rev 5
    20..30 set b 1 -> ok 1 rev 7
    40..50 cas a [1,2] -> ok [1,2] rev 8
";

pub(crate) const LEGAL_WATCHES: &[&str] = &[
    // From the beginning, and resumed where it was cut.
    r#"60..70 watch - {"from":0} -> ok [[5,"a",1],[7,"b",1]]
           80..90 watch - {"from":7} -> ok [[8,"a",2]]"#,
    // It lags: nothing is left out between what it told.
    r#"60..70 watch - {"from":0} -> ok [[5,"a",1],[7,"b",1]]"#,
    // Nothing to tell, and one that never answered.
    r#"60..70 watch - {"from":0} -> ok [[5,"a",1],[7,"b",1],[8,"a",2]]
           60..70 watch - {"from":8} -> ok []
           60..70 watch - {"from":8} -> fail null"#,
    // It saw a change before its writer had the answer, and reads agree.
    r#"41..45 watch - {"from":5} -> ok [[7,"b",1],[8,"a",2]]
           46..47 get a null -> ok 2
           46..47 get b null -> ok 1"#,
    // Nobody told the writer, everybody saw it.
    r#"60..61 set a 3 -> info 3
           62..70 watch - {"from":5} -> ok [[7,"b",1],[8,"a",2],[9,"a",3]]
           72..73 get a null -> ok 3"#,
];

#[test]
fn a_watch_that_tells_everything_is_legal_however_late_and_wherever_it_was_cut() {
    for watches in LEGAL_WATCHES {
        assert_eq!(
            verdict("watch", &format!("{WRITES}{watches}")),
            "legal",
            "{watches}"
        );
    }
}

pub(crate) const ILLEGAL_WATCHES: &[(&str, &str)] = &[
    // A change between others is missing: known from another watch, or from the writer alone.
    (
        "watch-gap",
        r#"60..70 watch - {"from":0} -> ok [[5,"a",1],[8,"a",2]]"#,
    ),
    ("watch-gap", r#"60..70 watch - {"from":5} -> ok [[8,"a",2]]"#),
    (
        "watch-gap",
        r#"60..61 set b 9 -> info 9
               62..70 watch - {"from":5} -> ok [[7,"b",1],[8,"a",2],[9,"b",9]]
               62..70 watch - {"from":7} -> ok [[9,"b",9]]"#,
    ),
    // Twice in one, again after it was resumed, and at another revision.
    (
        "watch-duplicate",
        r#"60..70 watch - {"from":0} -> ok [[5,"a",1],[7,"b",1],[7,"b",1],[8,"a",2]]"#,
    ),
    (
        "watch-duplicate",
        r#"60..70 watch - {"from":7} -> ok [[7,"b",1],[8,"a",2]]"#,
    ),
    (
        "watch-duplicate",
        r#"60..70 watch - {"from":0} -> ok [[5,"a",1],[7,"b",1],[8,"a",2],[9,"b",1]]"#,
    ),
    (
        "watch-order",
        r#"60..70 watch - {"from":0} -> ok [[5,"a",1],[8,"a",2],[7,"b",1]]"#,
    ),
    // Another value, another revision's value, and a cas after what it did not expect.
    (
        "garbage-read",
        r#"60..70 watch - {"from":0} -> ok [[5,"a",1],[7,"b",1],[8,"a",2],[9,"a",7]]"#,
    ),
    (
        "watch-disagreement",
        r#"60..61 set b 9 -> info 9
               62..70 watch - {"from":0} -> ok [[5,"a",1],[7,"b",9],[8,"a",2]]"#,
    ),
    (
        "watch-disagreement",
        r#"12..39 set a 3 -> info 3
               60..70 watch - {"from":0} -> ok [[5,"a",1],[6,"a",3],[7,"b",1],[8,"a",2]]"#,
    ),
    // Told although it failed, and before it was asked for.
    (
        "garbage-read",
        r#"51..52 set a 3 -> fail 3
               60..70 watch - {"from":8} -> ok [[9,"a",3]]"#,
    ),
    (
        "garbage-read",
        r#"31..39 watch - {"from":0} -> ok [[5,"a",1],[7,"b",1],[8,"a",2]]"#,
    ),
    // Reads that are older than what a writer, a reader or a watcher knew before them.
    (
        "stale-read",
        r#"60..70 watch - {"from":0} -> ok [[5,"a",1],[7,"b",1],[8,"a",2]]
               80..81 get a null -> ok 1"#,
    ),
    (
        "stale-read",
        r#"41..43 watch - {"from":5} -> ok [[7,"b",1],[8,"a",2]]
               44..45 get a null -> ok 1"#,
    ),
    (
        "stale-read",
        r#"60..70 watch - {"from":0} -> ok [[5,"a",1],[7,"b",1],[8,"a",2]]
               80..81 get b null -> ok null"#,
    ),
    (
        "garbage-read",
        r#"60..70 watch - {"from":0} -> ok [[5,"a",1],[7,"b",1],[8,"a",2]]
               80..81 get b null -> ok 4"#,
    ),
    // A later write has an earlier revision.
    (
        "revision-order",
        r#"60..61 set b 3 -> ok 3 rev 6
               70..80 watch - {"from":0} -> ok [[5,"a",1],[6,"b",3],[7,"b",1],[8,"a",2]]"#,
    ),
];

#[test]
fn every_way_in_which_a_watch_can_be_wrong_is_found() {
    for &(name, watches) in ILLEGAL_WATCHES {
        assert_eq!(verdict("watch", &format!("{WRITES}{watches}")), name, "{watches}");
    }
}

#[test]
fn a_history_in_which_nobody_watched_is_no_evidence() {
    let unknown = [
        (
            "no watch told a single change",
            r#"60..70 watch - {"from":0} -> ok []"#,
        ),
        (
            "no watch told a single change",
            r#"60..70 watch - {"from":0} -> fail null"#,
        ),
        (
            "of 3 acknowledged writes only 1 were made while somebody watched",
            r#"60..70 watch - {"from":7} -> ok [[8,"a",2]]"#,
        ),
    ];
    for (why, watches) in unknown {
        assert_eq!(verdict("watch", &format!("{WRITES}{watches}")), why, "{watches}");
    }
    let silent = r#"
        0..10 set a 1 -> ok 1
        60..70 watch - {"from":0} -> ok [[5,"a",1]]"#;
    assert_eq!(
        verdict("watch", silent),
        "no write said at which revision it was made"
    );
}

#[test]
fn what_is_no_watch_is_refused() {
    for (line, words) in [
        (r#"0..1 watch - {"from":0} -> ok 7"#, "revision, key and value"),
        (r#"0..1 watch - 3 -> ok []"#, "revision to go on from"),
        ("0..1 append a 3 -> ok 3", "known"),
        (
            "0..1 set a 3 -> ok 3 rev 1\n2..3 set a 3 -> ok 3 rev 2",
            "second time",
        ),
    ] {
        let error = check(&history("watch", line), &CheckOptions::default()).expect_err("refused");
        assert!(error.to_string().contains(words), "{error}");
    }
}

pub(crate) const INCREMENTS: &str = "
    0..10 inc a null -> ok 1 rev 5
    20..30 inc b null -> ok 1 rev 7
    40..50 inc a null -> ok 2 rev 8
";

pub(crate) const LEGAL_NUMBERS: &[&str] = &[
    r#"60..70 read - null -> ok {"a":2,"b":1}"#,
    "60..70 read a null -> ok 2",
    r#"21..45 read - null -> ok {"a":1,"b":null}
           21..45 read - null -> ok {"a":1,"b":1}
           41..45 read - null -> ok {"a":2,"b":1}"#,
    // Nobody knows whether it happened: both are allowed, and the next one builds on it.
    "51..52 inc b null -> info null
         60..70 read b null -> ok 1
         71..72 inc b null -> ok 3 rev 10
         80..81 read b null -> ok 3",
    "51..52 inc b null -> fail null
         60..70 read b null -> ok 1",
];

#[test]
fn numbers_that_grow_are_legal() {
    for reads in LEGAL_NUMBERS {
        assert_eq!(
            verdict("monotonic", &format!("{INCREMENTS}{reads}")),
            "legal",
            "{reads}"
        );
    }
}

pub(crate) const ILLEGAL_NUMBERS: &[(&str, &str)] = &[
    ("stale-read", "60..70 read a null -> ok 1"),
    ("stale-read", r#"60..70 read - null -> ok {"a":2,"b":0}"#),
    (
        "non-monotonic",
        "p7 60..61 read a null -> ok 2\np7 62..63 read a null -> ok 1",
    ),
    (
        "stale-read",
        "41..43 read a null -> ok 2\n44..45 read a null -> ok 1",
    ),
    (
        "lost-update",
        "51..60 inc b null -> ok 1 rev 9\n70..71 read b null -> ok 1",
    ),
    (
        "lost-update",
        "21..29 inc b null -> ok 1 rev 6\n70..71 read b null -> ok 1",
    ),
    ("garbage-read", "60..70 read b null -> ok 2"),
    ("garbage-read", "31..39 read a null -> ok 2"),
    // Two reads that are no states of one store.
    (
        "long-fork",
        r#"15..45 inc b null -> info null
               16..46 read - null -> ok {"a":2,"b":1}
               16..46 read - null -> ok {"a":1,"b":2}"#,
    ),
    // Revisions against numbers, and a read that shows the later but not the earlier.
    (
        "revision-order",
        "51..60 inc b null -> ok 2 rev 6\n70..71 read b null -> ok 2",
    ),
    (
        "revision-order",
        r#"41..49 read - null -> ok {"a":2,"b":1}
                              19..48 read - null -> ok {"a":2,"b":0}"#,
    ),
];

#[test]
fn every_way_in_which_numbers_can_be_unseen_is_found() {
    for &(name, reads) in ILLEGAL_NUMBERS {
        assert_eq!(
            verdict("monotonic", &format!("{INCREMENTS}{reads}")),
            name,
            "{reads}"
        );
    }
}

#[test]
fn numbers_that_nobody_saw_are_no_evidence() {
    assert_eq!(
        verdict("monotonic", "0..10 inc a null -> info null"),
        "no increment was acknowledged"
    );
    assert_eq!(verdict("monotonic", INCREMENTS), "no read saw an increment");
}

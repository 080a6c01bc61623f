use super::departed::Departed;
use super::sessions::{ANSWER_MS, CLIENT_MS, Client, MAX_CLIENTS};
use super::*;
use crate::command::{Expected, RequestId};

fn versioned(value: &str, version: u64) -> Versioned {
    Versioned {
        value: value.into(),
        version,
        expires_ms: None,
    }
}

fn set(key: &str, value: &str) -> Operation {
    Operation::Set {
        key: key.into(),
        value: value.into(),
        ttl_ms: None,
    }
}

fn cas(key: &str, expected: Expected, value: &str) -> Operation {
    Operation::Cas {
        key: key.into(),
        expected,
        value: value.into(),
    }
}

fn append(key: &str, value: &str) -> Operation {
    Operation::Append {
        key: key.into(),
        value: value.into(),
    }
}

/// Applies commands one after another.
#[derive(Default)]
struct Replica {
    state: State,
    changes: Changes,
    clock_ms: u64,
}

impl Replica {
    fn apply(&mut self, operation: Operation) -> Outcome {
        self.apply_as(None, operation)
    }

    fn request(&mut self, client: &str, number: u64, operation: Operation) -> Outcome {
        self.apply_as(
            Some(RequestId {
                client: client.into(),
                number,
            }),
            operation,
        )
    }

    fn apply_as(&mut self, request: Option<RequestId>, operation: Operation) -> Outcome {
        let index = self.state.applied() + 1;
        let command = Command {
            operation,
            request,
            stamp_ms: self.clock_ms,
        };
        self.state.apply(1, index, &command, &mut self.changes)
    }

    /// The same state, made from what a snapshot holds.
    fn rebuilt(&self) -> State {
        let state = &self.state;
        let sessions = Sessions::from_parts(
            state
                .sessions()
                .answers()
                .map(|(request, answer)| (request.clone(), answer.clone())),
            state
                .sessions()
                .clients()
                .map(|(name, client)| (name.clone(), client.clone())),
            Departed::from_words(state.sessions().departed().words()).unwrap(),
        );
        let entries = state.entries().map(|(key, entry)| (key.clone(), entry.clone()));
        State::from_parts(state.applied(), state.clock_ms(), entries, sessions)
    }
}

#[test]
fn a_cas_writes_only_what_it_expected() {
    let mut replica = Replica::default();
    let mismatch = |current: Option<Versioned>| Outcome::Mismatch { current };
    assert_eq!(
        replica.apply(cas("k", Expected::Value("a".into()), "b")),
        mismatch(None)
    );
    assert_eq!(replica.apply(cas("k", Expected::Absent, "a")), Outcome::Written);
    assert_eq!(
        replica.apply(cas("k", Expected::Absent, "x")),
        mismatch(Some(versioned("a", 2)))
    );
    assert_eq!(
        replica.apply(cas("k", Expected::Version(1), "x")),
        mismatch(Some(versioned("a", 2)))
    );
    assert_eq!(
        replica.apply(cas("k", Expected::Version(2), "b")),
        Outcome::Written
    );
    assert_eq!(
        replica.apply(cas("k", Expected::Value("b".into()), "c")),
        Outcome::Written
    );
    assert_eq!(replica.state.get("k"), Some(&versioned("c", 6)));
}

#[test]
fn append_and_delete() {
    let mut replica = Replica::default();
    assert_eq!(replica.apply(append("k", "a")), Outcome::Written);
    assert_eq!(replica.apply(append("k", "b")), Outcome::Written);
    assert_eq!(replica.state.get("k"), Some(&versioned("ab", 2)));
    assert_eq!(
        replica.apply(append("k", &"x".repeat(MAX_VALUE_BYTES - 1))),
        Outcome::TooLong
    );
    assert_eq!(
        replica.apply(append("k", &"x".repeat(MAX_VALUE_BYTES - 2))),
        Outcome::Written
    );
    assert_eq!(
        replica.apply(Operation::Delete { key: "k".into() }),
        Outcome::Deleted(true)
    );
    assert_eq!(
        replica.apply(Operation::Delete { key: "k".into() }),
        Outcome::Deleted(false)
    );
    assert_eq!(
        (replica.state.len(), replica.state.bytes(), replica.state.get("k")),
        (0, 0, None)
    );
}

#[test]
fn a_repeated_request_is_answered_but_not_executed() {
    let mut replica = Replica::default();
    let repeated = |index, outcome| Outcome::Repeated {
        term: 1,
        index,
        outcome: Box::new(outcome),
    };
    // In any order: 7 before 3 before 5.
    for (number, index) in [(7, 1), (3, 2), (5, 3)] {
        assert_eq!(
            replica.request("c", number, append("k", &number.to_string())),
            Outcome::Written,
            "{index}"
        );
    }
    for (number, index) in [(7, 1), (3, 2), (5, 3)] {
        let again = replica.request("c", number, append("k", &number.to_string()));
        assert_eq!(again, repeated(index, Outcome::Written));
    }
    assert_eq!(replica.state.get("k").unwrap().value, "735".into());
    assert_eq!(replica.request("c", 7, append("k", "other")), Outcome::Reused);
    assert_eq!(replica.request("d", 7, append("k", "d")), Outcome::Written);
    // A mismatch is an answer like any other, although it would hold by now.
    let wrong = cas("new", Expected::Value("1".into()), "2");
    assert_eq!(
        replica.request("c", 9, wrong.clone()),
        Outcome::Mismatch { current: None }
    );
    replica.apply(set("new", "1"));
    assert_eq!(
        replica.request("c", 9, wrong),
        repeated(9, Outcome::Mismatch { current: None })
    );
}

#[test]
fn what_is_forgotten_is_refused_and_never_executed_again() {
    let mut replica = Replica::default();
    replica.request("c", 5, append("k", "5"));
    replica.clock_ms = ANSWER_MS;
    replica.apply(Operation::Tick);
    assert_eq!(replica.request("c", 5, append("k", "5")), Outcome::Forgotten);
    assert_eq!(
        replica.request("c", 4, append("k", "4")),
        Outcome::Forgotten,
        "perhaps it was executed"
    );
    assert_eq!(replica.request("c", 6, append("k", "6")), Outcome::Written);
    assert_eq!(replica.state.get("k").unwrap().value, "56".into());
    // However long the client is silent, while there is room for it.
    replica.clock_ms += 1000 * CLIENT_MS;
    assert_eq!(replica.request("c", 6, append("k", "6")), Outcome::Forgotten);
    assert_eq!(replica.request("c", 7, append("k", "7")), Outcome::Written);
    assert_eq!(replica.state.get("k").unwrap().value, "567".into());
}

/// A client that had to make room comes back with what it had been answered.
#[test]
fn whoever_made_room_is_refused_for_ever() {
    let mut replica = Replica {
        clock_ms: 1,
        ..Replica::default()
    };
    assert_eq!(replica.request("first", 1, append("k", "1")), Outcome::Written);
    let crowd = (1..MAX_CLIENTS).map(|n| {
        let client = Client {
            forgotten: None,
            heard_ms: 2,
        };
        (format!("crowd{n}").into(), client)
    });
    let sessions = replica.state.sessions();
    let known = |(name, client): (&Arc<str>, &Client)| (name.clone(), client.clone());
    let clients: Vec<_> = sessions.clients().map(known).chain(crowd).collect();
    let answers: Vec<_> = sessions
        .answers()
        .map(|(request, answer)| (request.clone(), answer.clone()))
        .collect();
    let sessions = Sessions::from_parts(answers, clients, Departed::default());
    let entries: Vec<_> = replica
        .state
        .entries()
        .map(|(key, entry)| (key.clone(), entry.clone()))
        .collect();
    replica.state = State::from_parts(1, 1, entries, sessions);

    replica.clock_ms = CLIENT_MS;
    assert_eq!(
        replica.request("late", 1, append("k", "late")),
        Outcome::TooManyClients,
        "nobody was silent for long enough"
    );
    replica.clock_ms += 1;
    assert_eq!(replica.request("late", 1, append("k", "late")), Outcome::Written);
    assert_eq!(replica.request("first", 1, append("k", "1")), Outcome::Forgotten);
    assert_eq!(replica.request("first", 9, append("k", "9")), Outcome::Forgotten);
    let mut again = Replica {
        state: replica.rebuilt(),
        ..replica
    };
    assert_eq!(again.state.digest(), replica.state.digest());
    again.clock_ms += 1000 * CLIENT_MS;
    assert_eq!(again.request("first", 1, append("k", "1")), Outcome::Forgotten);
    assert_eq!(again.state.get("k").unwrap().value, "1late".into());
}

#[test]
fn keys_end_by_the_replicated_clock() {
    let mut replica = Replica {
        clock_ms: 1000,
        ..Replica::default()
    };
    let brief = |key: &str, ttl| Operation::Set {
        key: key.into(),
        value: "v".into(),
        ttl_ms: Some(ttl),
    };
    replica.apply(brief("a", 10));
    replica.apply(brief("b", 20));
    replica.apply(brief("c", 10));
    replica.apply(set("c", "stays"));
    assert_eq!(replica.state.next_end_ms(), Some(1010));
    replica.clock_ms = 1009;
    replica.apply(Operation::Tick);
    assert_eq!(replica.state.len(), 3);
    replica.clock_ms = 1010;
    replica.changes.clear();
    replica.apply(Operation::Tick);
    assert_eq!(
        replica.changes,
        [Change {
            key: "a".into(),
            value: None
        }]
    );
    assert_eq!(
        replica.apply(cas("a", Expected::Absent, "again")),
        Outcome::Written
    );
    // A clock that goes back changes nothing.
    replica.clock_ms = 0;
    replica.apply(append("b", "2"));
    assert_eq!(replica.state.clock_ms(), 1010);
    replica.clock_ms = 1020;
    replica.apply(Operation::Tick);
    assert_eq!(
        (replica.state.get("b"), replica.state.next_end_ms()),
        (None, None)
    );
}

#[test]
fn a_transaction_does_all_or_nothing() {
    let mut replica = Replica::default();
    replica.apply(set("a", "1"));
    let txn = |compare: &[(&str, Expected)], then: Vec<Operation>, otherwise: Vec<Operation>| {
        let compare = compare
            .iter()
            .map(|(key, expected)| ((*key).into(), expected.clone()))
            .collect();
        Operation::Txn(Arc::new(Txn {
            compare,
            then,
            otherwise,
        }))
    };
    let holds = [("a", Expected::Value("1".into())), ("b", Expected::Absent)];
    let steps = vec![
        set("b", "2"),
        append("b", "3"),
        Operation::Get { key: "b".into() },
    ];
    let otherwise = vec![Operation::Get { key: "a".into() }];
    let done = replica.apply(txn(&holds, steps.clone(), otherwise.clone()));
    let read = Outcome::Read(Some(versioned("23", 2)));
    assert_eq!(
        done,
        Outcome::Txn {
            succeeded: true,
            steps: vec![Outcome::Written, Outcome::Written, read]
        }
    );
    let not = replica.apply(txn(&holds, steps, otherwise));
    let read = Outcome::Read(Some(versioned("1", 1)));
    assert_eq!(
        not,
        Outcome::Txn {
            succeeded: false,
            steps: vec![read]
        }
    );
    let (before, digest) = (replica.state.len(), replica.state.digest());
    replica.changes.clear();
    let long = txn(
        &[],
        vec![set("c", "x"), append("a", &"x".repeat(MAX_VALUE_BYTES))],
        vec![],
    );
    assert_eq!(replica.apply(long), Outcome::TooLong);
    assert_eq!((replica.state.len(), replica.state.digest()), (before, digest));
    assert!(replica.changes.is_empty());
}

#[test]
fn scans_are_in_order_and_can_be_continued() {
    let mut replica = Replica::default();
    for key in ["b2", "a", "b", "b1", "c"] {
        replica.apply(set(key, "v"));
    }
    let keys = |prefix: &str, after: Option<&str>| -> Vec<String> {
        replica
            .state
            .scan(prefix, after)
            .map(|(key, _)| key.to_string())
            .collect()
    };
    assert_eq!(keys("b", None), ["b", "b1", "b2"]);
    assert_eq!(keys("b", Some("b1")), ["b2"]);
    assert_eq!(keys("", Some("b2")), ["c"]);
    assert_eq!(keys("b", Some("a")), ["b", "b1", "b2"]);
    assert!(keys("d", None).is_empty());
}

/// Whatever was applied, what a snapshot holds makes the same state.
#[test]
fn the_digest_is_that_of_the_parts_however_they_came_about() {
    let mut replica = Replica::default();
    for n in 0..500_u64 {
        let key = format!("k{}", n % 13);
        replica.clock_ms = n * 20_000;
        let operation = match n % 5 {
            0 => Operation::Set {
                key: key.as_str().into(),
                value: n.to_string().into(),
                ttl_ms: Some(n % 7 * 9_000),
            },
            1 => append(&key, "x"),
            2 => Operation::Delete {
                key: key.as_str().into(),
            },
            3 => cas(&key, Expected::Absent, "new"),
            _ => set(&key, "plain"),
        };
        let request = (n % 3 == 0).then(|| RequestId {
            client: format!("c{}", n % 4).into(),
            number: n,
        });
        replica.apply_as(request, operation);
        if n % 50 == 49 {
            let rebuilt = replica.rebuilt();
            assert_eq!(rebuilt.digest(), replica.state.digest(), "after {n}");
            assert_eq!(rebuilt.bytes(), replica.state.bytes());
            assert_eq!(rebuilt.next_end_ms(), replica.state.next_end_ms());
        }
    }
    let mut other = replica.rebuilt();
    let command = Command::new(set("k0", "other"));
    other.apply(1, other.applied() + 1, &command, &mut Changes::new());
    assert_ne!(other.digest(), replica.state.digest());
}

#[test]
#[should_panic(expected = "log entry 2 applied after 2")]
fn an_entry_applied_twice_is_no_state() {
    let mut state = State::default();
    state.apply(1, 2, &Command::new(set("k", "v")), &mut Changes::new());
    state.apply(1, 2, &Command::new(set("k", "v")), &mut Changes::new());
}

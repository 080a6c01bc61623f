//! What operations do to a register, in words of the monitor's pool: no compiling, no allocation.

use crate::history::{Flaw, History, HistoryError, OpId, Outcome, Pool, Record, Word};
use crate::model::{FUNCTIONS, Function, RegisterRules, appended, given, is_mismatch};

/// What a register holds: a value, and its revision where that is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct State {
    pub(super) value: Word,
    pub(super) rev: Option<i64>,
}

/// What an operation does. The same as the rules of `model::register`, which a test holds against this.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// The value is this.
    Reads(Word),
    /// The value is another.
    Differs(Word),
    /// It cannot have been: a mismatch that found what was expected.
    Impossible,
    /// The revision is another, or the value is (where given); and the value is `current` where that was told.
    DiffersRevision {
        from: Option<Word>,
        asked: i64,
        current: Option<Word>,
    },
    /// The state becomes this.
    Writes(State),
    /// If the value is `from` and the revision `asked` (each where given), the state becomes this.
    Exchanges {
        from: Option<Word>,
        asked: Option<i64>,
        to: State,
    },
    /// The text grows by a piece.
    Appends { piece: Word, told: Option<i64> },
}

impl Action {
    /// Whether it changes no state whatever.
    pub(super) fn observes(self) -> bool {
        use Action::{Differs, DiffersRevision, Impossible, Reads};
        matches!(self, Reads(_) | Differs(_) | Impossible | DiffersRevision { .. })
    }

    /// Whether it is possible in every state.
    pub(super) fn is_total(self) -> bool {
        matches!(self, Action::Writes(_) | Action::Appends { .. })
    }

    /// The state afterwards, or none if it is not possible.
    #[inline]
    pub(super) fn step(self, state: State, pool: &mut Pool) -> Option<State> {
        match self {
            Action::Reads(value) => (state.value == value).then_some(state),
            Action::Differs(value) => (state.value != value).then_some(state),
            Action::Impossible => None,
            Action::DiffersRevision { from, asked, current } => {
                let right = from.is_none_or(|from| from == state.value) && state.rev == Some(asked);
                let told_so = current.is_none_or(|current| current == state.value);
                (!right && told_so).then_some(state)
            }
            Action::Writes(to) => Some(to),
            Action::Exchanges { from, asked, to } => {
                let other_rev = asked.is_some_and(|asked| state.rev.is_some_and(|rev| rev != asked));
                let wrong = from.is_some_and(|from| from != state.value) || other_rev;
                (!wrong).then_some(to)
            }
            Action::Appends { piece, told } => {
                let text = appended(&pool.value(state.value), &pool.value(piece));
                Some(State {
                    value: pool.add(text),
                    rev: told,
                })
            }
        }
    }

    /// Does something to every word.
    pub(super) fn map(self, mut f: impl FnMut(Word) -> Word) -> Action {
        let mut state = |State { value, rev }| State { value: f(value), rev };
        match self {
            Action::Writes(to) => Action::Writes(state(to)),
            Action::Exchanges { from, asked, to } => {
                let to = state(to);
                Action::Exchanges {
                    from: from.map(f),
                    asked,
                    to,
                }
            }
            Action::Reads(value) => Action::Reads(f(value)),
            Action::Differs(value) => Action::Differs(f(value)),
            Action::Impossible => Action::Impossible,
            Action::DiffersRevision { from, asked, current } => Action::DiffersRevision {
                from: from.map(&mut f),
                asked,
                current: current.map(f),
            },
            Action::Appends { piece, told } => Action::Appends {
                piece: f(piece),
                told,
            },
        }
    }
}

/// What an operation does, and whether it must have (it may, if its outcome is unknown); nothing if it certainly
/// did nothing and saw nothing.
pub(super) fn action(history: &mut History, op: OpId, rules: &RegisterRules) -> Option<(Action, bool)> {
    let record = history.records[op.0 as usize];
    let known = record.outcome != Outcome::Info;
    let failed = record.outcome == Outcome::Fail;
    let function = Function::named(history.operation(op).f()).expect("looked at when it was invoked");
    if failed && function != Function::Cas {
        return None;
    }
    let told = if known {
        history.operation(op).told_rev()
    } else {
        None
    };
    let action = match function {
        Function::Get if !known => return None,
        Function::Get => Action::Reads(history.pool.settled(record.output)),
        Function::Set => Action::Writes(State {
            value: history.pool.settled(given(&record)),
            rev: told,
        }),
        Function::Delete => Action::Writes(State {
            value: Word::NIL,
            rev: told,
        }),
        Function::Append => Action::Appends {
            piece: history.pool.settled(given(&record)),
            told,
        },
        Function::Cas => {
            if failed && !is_mismatch(history.operation(op), rules) {
                return None;
            }
            cas(history, op, &record, told)?
        }
    };
    Some((action, known))
}

fn cas(history: &mut History, op: OpId, record: &Record, told: Option<i64>) -> Option<Action> {
    let failed = record.outcome == Outcome::Fail;
    let operation = history.operation(op);
    let asked = operation.asked_rev();
    let current = operation.details().and_then(|details| details.current.present());
    let current = current.filter(|_| failed);
    let (from, to) = history
        .pool
        .pair(record.input)
        .unwrap_or((Word::NIL, record.input));
    let (from, to) = (history.pool.settled(from), history.pool.settled(to));
    let current = current.map(|current| history.pool.settled(current));
    if let Some(asked) = asked {
        let from = (from != Word::NIL).then_some(from);
        return Some(if failed {
            Action::DiffersRevision { from, asked, current }
        } else {
            let to = State { value: to, rev: told };
            Action::Exchanges {
                from,
                asked: Some(asked),
                to,
            }
        });
    }
    Some(match (failed, current) {
        (true, Some(current)) if current == from => Action::Impossible,
        (true, Some(current)) => Action::Reads(current),
        (true, None) => Action::Differs(from),
        (false, _) if from == to && record.outcome == Outcome::Info => return None,
        (false, _) if from == to => Action::Reads(from),
        (false, _) => Action::Exchanges {
            from: Some(from),
            asked: None,
            to: State { value: to, rev: told },
        },
    })
}

/// Refuses an invocation that the model does not know.
pub(super) fn validate(history: &History, op: OpId, model: &str) -> Result<(), HistoryError> {
    let operation = history.operation(op);
    let flaw = match Function::named(operation.f()) {
        None => Flaw::UnknownFunction {
            f: operation.f().to_owned(),
            model: model.to_owned(),
            known: FUNCTIONS.to_owned(),
        },
        Some(Function::Cas)
            if operation.asked_rev().is_none() && history.pool.pair(operation.record().input).is_none() =>
        {
            Flaw::WrongValue {
                f: operation.f().to_owned(),
                wanted: "a list of two, the expected value and the new one",
                found: operation.input().to_string(),
            }
        }
        Some(_) => return Ok(()),
    };
    Err(HistoryError::Malformed {
        place: history.place(operation),
        flaw,
    })
}

//! One value that is read, written, compared and set, appended to, and deleted: models `register`,
//! `cas-register`, and per key `kv`.

use std::borrow::Cow;

use super::{Invocation, Model, Observed};
use crate::history::{Flaw, Name, Operation, Outcome, Record, Value, Word};
use crate::options::CasFail;

/// The register in plain words. Replaying and the oracle use it; the engines use a compiled one
/// (`register_machine`), and tests compare the two.
#[derive(Clone, Debug)]
pub(crate) struct RegisterRules {
    /// The value before the first operation.
    pub(crate) init: Value,
    /// What a failed cas says that does not say it itself.
    pub(crate) cas_fail: CasFail,
}

/// The functions that the register knows, by all their names.
pub(crate) const FUNCTIONS: &str = "get (read), set (write, put), cas (compare-and-set), append, delete";

/// A function of the register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Function {
    Get,
    Set,
    Cas,
    Append,
    Delete,
}

impl Function {
    /// The function that a history names so.
    pub(crate) fn named(f: &str) -> Option<Function> {
        match f {
            "get" | "read" | "r" => Some(Function::Get),
            "set" | "write" | "put" | "w" => Some(Function::Set),
            "cas" | "compare-and-set" => Some(Function::Cas),
            "append" => Some(Function::Append),
            "delete" | "del" => Some(Function::Delete),
            _ => None,
        }
    }
}

/// What a failed cas says: `mismatch` marks an observation in every form.
pub(crate) fn is_mismatch(operation: Operation<'_>, rules: &RegisterRules) -> bool {
    let own = operation.history.form() == crate::history::Form::Ordeal;
    operation.record().mismatched || (!own && rules.cas_fail == CasFail::Mismatch)
}

/// What was written: some logs say it only in the completion.
pub(crate) fn given(record: &Record) -> Word {
    if record.input == Word::NIL && record.outcome == Outcome::Ok {
        record.output
    } else {
        record.input
    }
}

/// What an operation asked and saw, or `None` if it certainly did nothing and saw nothing. `complete` says
/// whether its completion counts; otherwise its outcome is unknown.
pub(crate) fn register_call(
    operation: Operation<'_>,
    rules: &RegisterRules,
    complete: bool,
) -> Result<Option<Invocation>, Flaw> {
    let function = Function::named(operation.f()).ok_or_else(|| Flaw::UnknownFunction {
        f: operation.f().to_owned(),
        model: "register".to_owned(),
        known: FUNCTIONS.to_owned(),
    })?;
    let asked_rev = operation.asked_rev().filter(|_| function == Function::Cas);
    let mut input = operation.input();
    match function {
        Function::Get | Function::Delete => input = Value::Nil,
        Function::Set | Function::Append if input.is_nil() && operation.outcome() == Outcome::Ok => {
            input = operation.output();
        }
        Function::Cas if asked_rev.is_some() && input.as_list().is_none_or(|pair| pair.len() != 2) => {
            input = Value::List(vec![Value::Nil, input]);
        }
        Function::Cas if input.as_list().is_none_or(|pair| pair.len() != 2) => {
            let wanted = "a list of two, the expected value and the new one";
            return Err(Flaw::WrongValue {
                f: operation.f().to_owned(),
                wanted,
                found: input.to_string(),
            });
        }
        _ => {}
    }
    let result = match operation.outcome() {
        _ if !complete => Observed::Unknown,
        Outcome::Info => Observed::Unknown,
        Outcome::Ok if function == Function::Get => Observed::Ok(operation.output(), operation.told_rev()),
        Outcome::Ok => Observed::Ok(Value::Nil, operation.told_rev()),
        Outcome::Fail if function == Function::Cas && is_mismatch(operation, rules) => {
            Observed::Mismatch(operation.current())
        }
        Outcome::Fail => return Ok(None),
    };
    // An unknown operation that failed, seen as a cut history sees it, still did nothing.
    let did_nothing = result == Observed::Unknown && operation.outcome() == Outcome::Fail;
    let name = match function {
        Function::Get => "get",
        Function::Set => "set",
        Function::Cas => "cas",
        Function::Append => "append",
        Function::Delete => "delete",
    };
    Ok((!did_nothing).then(|| Invocation {
        f: Name::from(name),
        input,
        asked_rev,
        result,
    }))
}

/// A value with its revision where that is known.
pub(crate) type Versioned = (Value, Option<i64>);

impl Model for RegisterRules {
    type State = Versioned;

    fn init(&self) -> Versioned {
        (self.init.clone(), None)
    }

    fn step(&self, (value, rev): &Versioned, operation: &Invocation) -> Option<Versioned> {
        let told = match &operation.result {
            Observed::Ok(_, told) => *told,
            Observed::Mismatch(_) | Observed::Unknown => None,
        };
        match &*operation.f {
            "get" => match &operation.result {
                Observed::Ok(seen, _) if seen != value => None,
                _ => Some((value.clone(), *rev)),
            },
            "set" => Some((operation.input.clone(), told)),
            "delete" => Some((Value::Nil, told)),
            "append" => Some((appended(value, &operation.input), told)),
            _ => self.compare_and_set(value, *rev, operation, told),
        }
    }

    fn only_observes(&self, operation: &Invocation) -> bool {
        let same = operation.asked_rev.is_none()
            && operation
                .input
                .as_list()
                .is_some_and(|pair| pair.first() == pair.get(1));
        operation.f == "get"
            || matches!(operation.result, Observed::Mismatch(_))
            || operation.f == "cas" && same
    }

    fn only_grows(&self, operation: &Invocation) -> bool {
        matches!(&*operation.f, "get" | "append")
    }

    fn outgrown(&self, (value, _): &Versioned, operation: &Invocation) -> bool {
        match &operation.result {
            Observed::Ok(seen, _) if operation.f == "get" && seen != value => {
                let now = as_text(value);
                seen.as_str().is_none_or(|seen| !seen.starts_with(&*now))
            }
            _ => false,
        }
    }

    fn describe(&self, (value, rev): &Versioned) -> String {
        match rev {
            Some(rev) => format!("the value is {value} at revision {rev}"),
            None => format!("the value is {value}"),
        }
    }
}

impl RegisterRules {
    fn compare_and_set(
        &self,
        value: &Value,
        rev: Option<i64>,
        operation: &Invocation,
        told: Option<i64>,
    ) -> Option<Versioned> {
        let pair = operation.input.as_list()?;
        let (expected, new) = (pair.first()?, pair.get(1)?);
        let matches = matches_expected(value, rev, expected, operation.asked_rev);
        match &operation.result {
            Observed::Mismatch(current) => {
                let told_so = current.as_ref().is_none_or(|current| current == value);
                (told_so && matches != Some(true)).then(|| (value.clone(), rev))
            }
            Observed::Ok(..) => {
                (matches != Some(false)).then(|| written(value, rev, expected, new, operation, told))
            }
            // Where the revision is not known the store's answer is not known either; the write is what matters.
            Observed::Unknown => {
                (matches != Some(false)).then(|| written(value, rev, expected, new, operation, None))
            }
        }
    }
}

/// A cas of a value to itself leaves everything as it was; one that asked for a revision gives a new one.
fn written(
    value: &Value,
    rev: Option<i64>,
    expected: &Value,
    new: &Value,
    operation: &Invocation,
    told: Option<i64>,
) -> Versioned {
    if operation.asked_rev.is_none() && expected == new {
        (value.clone(), rev)
    } else {
        (new.clone(), told)
    }
}

/// Whether a cas finds what it expects; `None` where that hangs on a revision that nobody told.
fn matches_expected(value: &Value, rev: Option<i64>, expected: &Value, asked: Option<i64>) -> Option<bool> {
    match asked {
        None => Some(expected == value),
        Some(_) if !expected.is_nil() && expected != value => Some(false),
        Some(asked) => rev.map(|rev| rev == asked),
    }
}

/// A value as what appending continues.
fn as_text(value: &Value) -> Cow<'_, str> {
    match value {
        Value::Nil => Cow::Borrowed(""),
        Value::Str(text) => Cow::Borrowed(text),
        other => Cow::Owned(other.to_string()),
    }
}

/// A text with another behind it. Nothing counts as the empty text; what is no text counts as its digits.
pub(crate) fn appended(value: &Value, more: &Value) -> Value {
    Value::from([as_text(value), as_text(more)].concat())
}

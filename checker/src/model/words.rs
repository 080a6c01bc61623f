//! The register on words: the same rules, for operations whose values need not be made to be compared.

use super::register::{Function, RegisterRules, is_mismatch};
use crate::history::{History, Operation, Outcome, Word};

/// A register that takes one operation after another, as [`RegisterRules`] has it.
///
/// Values are held once in a history, so that words are equal exactly if what they stand for is. Where that is not
/// so (lists of two are not shared), and where more than the value counts (revisions, appending), it does not say.
#[derive(Debug)]
pub(crate) struct WordRegister<'a> {
    history: &'a History,
    rules: &'a RegisterRules,
    functions: Vec<Option<Function>>,
    /// The value; nothing for an initial one that no operation names.
    now: Option<Word>,
}

/// What became of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stepped {
    /// It is possible, and was done.
    On,
    /// It cannot have ended so in this state.
    Impossible,
    /// Words do not say.
    Unsaid,
}

impl<'a> WordRegister<'a> {
    pub(crate) fn new(history: &'a History, rules: &'a RegisterRules) -> WordRegister<'a> {
        WordRegister {
            history,
            rules,
            functions: history.functions.iter().map(|f| Function::named(f)).collect(),
            now: history.pool_word(&rules.init),
        }
    }

    /// Takes an operation; `complete` says whether its completion counts.
    #[inline]
    pub(crate) fn step(&mut self, operation: Operation<'_>, complete: bool) -> Stepped {
        let record = operation.record();
        let Some(function) = self.functions[usize::from(record.f)] else {
            return Stepped::Unsaid;
        };
        // A revision counts only for who asks for one.
        let details = operation.details();
        if details.is_some_and(|details| details.asked_rev.is_some()) {
            return Stepped::Unsaid;
        }
        let known = complete && record.outcome != Outcome::Info;
        let (mut seen, mut differs, mut written) = (None, None, None);
        match (function, record.outcome) {
            (Function::Get, Outcome::Ok | Outcome::Info) => seen = known.then_some(record.output),
            (Function::Set, Outcome::Ok) if record.input == Word::NIL => written = Some(record.output),
            (Function::Set, Outcome::Ok | Outcome::Info) => written = Some(record.input),
            (Function::Delete, Outcome::Ok | Outcome::Info) => written = Some(Word::NIL),
            (Function::Cas, outcome) => {
                let Some((expected, new)) = self.history.pool.pair(record.input) else {
                    return Stepped::Unsaid;
                };
                match outcome {
                    Outcome::Ok | Outcome::Info => (seen, written) = (Some(expected), Some(new)),
                    Outcome::Fail if known && is_mismatch(operation, self.rules) => {
                        differs = Some(expected);
                        seen = details.and_then(|details| details.current.present());
                    }
                    Outcome::Fail => return Stepped::Unsaid,
                }
            }
            (Function::Append, _) | (_, Outcome::Fail) => return Stepped::Unsaid,
        }
        if [seen, differs, written].into_iter().flatten().any(Word::is_pair) {
            return Stepped::Unsaid;
        }
        if seen.is_some_and(|seen| self.now != Some(seen))
            || differs.is_some_and(|value| self.now == Some(value))
        {
            return Stepped::Impossible;
        }
        self.now = written.or(self.now);
        Stepped::On
    }
}

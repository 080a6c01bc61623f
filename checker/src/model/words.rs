//! The register on words: the same rules, for operations whose values need not be made to be compared.

use super::register::{Function, RegisterRules, given, is_mismatch};
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
        match (function, record.outcome) {
            (Function::Get, Outcome::Ok | Outcome::Info) if !known => Stepped::On,
            (Function::Get, Outcome::Ok | Outcome::Info) => self.sees(record.output),
            (Function::Set, Outcome::Ok | Outcome::Info) => self.becomes(given(record)),
            (Function::Delete, Outcome::Ok | Outcome::Info) => self.becomes(Word::NIL),
            (Function::Cas, outcome) => {
                let Some((expected, new)) = self.history.pool.pair(record.input) else {
                    return Stepped::Unsaid;
                };
                match outcome {
                    Outcome::Ok | Outcome::Info => self.sees(expected).then(|| self.becomes(new)),
                    Outcome::Fail if known && is_mismatch(operation, self.rules) => {
                        let current = details.and_then(|details| details.current.present());
                        let differs = match expected {
                            pair if pair.is_pair() => Stepped::Unsaid,
                            expected if self.now == Some(expected) => Stepped::Impossible,
                            _ => Stepped::On,
                        };
                        differs.then(|| current.map_or(Stepped::On, |current| self.sees(current)))
                    }
                    Outcome::Fail => Stepped::Unsaid,
                }
            }
            (Function::Append, _) | (_, Outcome::Fail) => Stepped::Unsaid,
        }
    }

    /// The value is this.
    #[inline]
    fn sees(&self, value: Word) -> Stepped {
        match value.is_pair() {
            true => Stepped::Unsaid,
            false if self.now == Some(value) => Stepped::On,
            false => Stepped::Impossible,
        }
    }

    /// The value becomes this.
    #[inline]
    fn becomes(&mut self, value: Word) -> Stepped {
        if value.is_pair() {
            return Stepped::Unsaid;
        }
        self.now = Some(value);
        Stepped::On
    }
}

impl Stepped {
    /// What comes of another thing, if the first was possible.
    #[inline]
    fn then(self, next: impl FnOnce() -> Stepped) -> Stepped {
        match self {
            Stepped::On => next(),
            Stepped::Impossible | Stepped::Unsaid => self,
        }
    }
}

//! What a caller may ask of a check.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::history::{History, Value};
use crate::transactions::TransactionOptions;

/// How to check. The default takes everything from the history and has no limits.
#[derive(Clone, Debug, Default)]
pub struct CheckOptions {
    /// The model; otherwise the one that the header names, otherwise the one that the functions suggest.
    pub model: Option<ModelName>,
    /// The value of every key before the run; otherwise the header's, otherwise what the form implies.
    pub init: Option<Value>,
    /// What a failed cas of an imported history says; our own form says it itself.
    pub cas_fail: Option<CasFail>,
    /// Give up after this long.
    pub time_limit: Option<Duration>,
    /// Give up when the search holds more than this many bytes.
    pub memory_limit: Option<u64>,
    /// How many threads to use; otherwise as many as there are processors.
    pub threads: Option<usize>,
    /// Whether to go on after the first violation.
    pub violations: Violations,
    /// Whether to make a violation small and explain it.
    pub explain: Explain,
    /// What transactions are to satisfy, in the models of transactions.
    pub transactions: TransactionOptions,
}

impl CheckOptions {
    /// What every key held before the run, in models of transactions: what the caller or the header says, or nil.
    pub(crate) fn init_of(&self, history: &History) -> Value {
        let told = self.init.clone().or_else(|| history.header().init.clone());
        told.unwrap_or_default()
    }

    /// The options for transactions, with the initial value.
    pub(crate) fn transactions_of(&self, history: &History) -> TransactionOptions {
        let mut options = self.transactions.clone();
        options
            .registers
            .init
            .get_or_insert_with(|| self.init_of(history));
        options.time_limit = options.time_limit.or(self.time_limit);
        options.memory_limit = options.memory_limit.or(self.memory_limit);
        options
    }
}

/// How many violations to look for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Violations {
    /// Stop at the first one.
    #[default]
    First,
    /// Judge every subhistory.
    All,
}

/// What to do with a violation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Explain {
    /// Reduce it to a minimal core and say in a sentence what is wrong.
    #[default]
    Minimal,
    /// Say only by which completion it is illegal, with what is known to contradict by then: a few operations, if that
    /// shows without a search, or all.
    Prefix,
    /// Say only that it is one, and on which key. No proof, and nothing to show to people: for who asks about many
    /// histories and wants the verdicts.
    Nothing,
}

/// What a cas that failed says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CasFail {
    /// The store compared and found another value: an observation.
    Mismatch,
    /// The request did nothing; what the value was is not known.
    Noop,
}

/// The models that judge histories.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum ModelName {
    /// One value, read and written.
    Register,
    /// One value, read, written, compared and set.
    CasRegister,
    /// Such a value per key.
    Kv,
    /// A set that is added to and read.
    Set,
    /// A number that is added to and read.
    Counter,
    /// A queue; the header's `queue` says whether `fifo` (the default) or `bag`.
    Queue,
    /// A lock.
    Lock,
    /// Several registers that one operation touches at once.
    MultiRegister,
    /// Transactions that append to lists and read them.
    ListAppend,
    /// Transactions that write registers and read them.
    RwRegister,
    /// Reads of groups of keys that are written one by one.
    LongFork,
    /// Transfers between accounts, and reads of all of them.
    Bank,
    /// Streams of changes among writes and reads of single keys.
    Watch,
    /// Numbers that are incremented and read, alone or together.
    Monotonic,
}

impl ModelName {
    /// Every model, in the order in which they are listed to people.
    pub const ALL: &'static [ModelName] = &[
        ModelName::Register,
        ModelName::CasRegister,
        ModelName::Kv,
        ModelName::Set,
        ModelName::Counter,
        ModelName::Queue,
        ModelName::Lock,
        ModelName::MultiRegister,
        ModelName::ListAppend,
        ModelName::RwRegister,
        ModelName::LongFork,
        ModelName::Bank,
        ModelName::Watch,
        ModelName::Monotonic,
    ];

    /// Whether operations are transactions, judged by [`crate::transactions`].
    pub fn is_transactional(self) -> bool {
        use ModelName::{Bank, ListAppend, LongFork, Monotonic, RwRegister, Watch};
        matches!(
            self,
            ListAppend | RwRegister | LongFork | Bank | Watch | Monotonic
        )
    }

    /// The name on the command line and in headers.
    pub fn as_str(self) -> &'static str {
        match self {
            ModelName::Register => "register",
            ModelName::CasRegister => "cas-register",
            ModelName::Kv => "kv",
            ModelName::Set => "set",
            ModelName::Counter => "counter",
            ModelName::Queue => "queue",
            ModelName::Lock => "lock",
            ModelName::MultiRegister => "multi-register",
            ModelName::ListAppend => "list-append",
            ModelName::RwRegister => "rw-register",
            ModelName::LongFork => "long-fork",
            ModelName::Bank => "bank",
            ModelName::Watch => "watch",
            ModelName::Monotonic => "monotonic",
        }
    }
}

impl fmt::Display for ModelName {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.as_str())
    }
}

impl FromStr for ModelName {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let found = ModelName::ALL.iter().find(|model| model.as_str() == name);
        found.copied().ok_or_else(|| {
            let known: Vec<&str> = ModelName::ALL.iter().map(|model| model.as_str()).collect();
            format!("unknown model {name:?}; known models: {}", known.join(", "))
        })
    }
}

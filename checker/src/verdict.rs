//! What the checker found, with what proves it.

use std::fmt;
use std::time::Duration;

use serde::{Serialize, Serializer};

use crate::history::{Nanos, OpId, Outcome, ProcessId, Value};
use crate::transactions::{AnomalyKind, Relation};

/// Whether a history is linearizable.
///
/// Verdicts merge: illegal beats unknown beats linearizable. Unknown is never success.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// It is, and this order shows it.
    Linearizable(Witness),
    /// It is not, and these few operations already are not.
    Illegal(Box<Counterexample>),
    /// Nobody knows: something ran out, or the evidence is none.
    Unknown(Limit),
}

/// One order for every key in which the operations, taking effect at once, explain all results.
///
/// Operations of unknown outcome that an order leaves out did not take effect.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Witness {
    /// One order per subhistory.
    pub orders: Vec<Linearization>,
}

/// The order of one subhistory.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Linearization {
    /// The key, in histories that split by key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<Value>,
    /// The operations in the order in which they take effect.
    pub order: Vec<OpId>,
}

/// Why a history is illegal, as small as it gets.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Counterexample {
    /// For a person: who saw what, and what makes that impossible.
    pub sentence: String,
    /// The kind of violation, such as `stale-read`.
    pub anomaly: Anomaly,
    /// The key, in histories that split by key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<Value>,
    /// The initial value that was assumed.
    pub init: Value,
    /// The core: operations that contradict each other, by invocation. Weakening or dropping any one that is
    /// not marked as weakened leaves a legal history. Weakened ones are listed where they concern the same
    /// values, as what could have helped and did not.
    pub operations: Vec<CoreOperation>,
    /// The history up to the completion at this place is already illegal.
    pub prefix: Prefix,
    /// How many operations that could change the state were weakened: they may take effect at any time after
    /// their invocation, or never, and the rest is still illegal.
    pub weakened: usize,
    /// How many operations that only observe were left out.
    pub dropped: usize,
    /// Whether it was shown that nothing more can be weakened or left out. Where that would take more than a fixed
    /// number of moves it is not shown: the same on every machine, unless a time limit is over before.
    pub minimal: bool,
    /// The latest things that the nemesis had done by then, for people.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub faults: Vec<String>,
    /// Where there is one: a cycle of operations, each of which must come before the next.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cycle: Vec<CycleEdge>,
    /// Why none of the operations that were open could take effect next, where the search stood last.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub stuck: Vec<String>,
}

/// How far into the history a violation reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Prefix {
    /// The index of the last event needed.
    pub last_index: u64,
    /// Its time.
    pub last_time: Nanos,
}

/// One operation of a core.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CoreOperation {
    /// Its number in the history.
    pub id: OpId,
    /// The index of its invocation.
    pub index: u64,
    /// Who did it.
    pub process: ProcessId,
    /// The function.
    pub f: String,
    /// What was asked.
    pub input: Value,
    /// What came back; nil if nothing did.
    pub output: Value,
    /// When it was invoked.
    pub invoked_at: Nanos,
    /// When something came back.
    pub completed_at: Option<Nanos>,
    /// How it ended.
    pub outcome: Outcome,
    /// Counted as of unknown outcome, although the history knows better: the violation does not need it.
    pub weakened: bool,
    /// The node that was asked or that answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// What it did, for people: `write 5`, `read 4`, `cas 4 to 5`.
    pub said: String,
}

/// One step of a cycle: an operation that must come before the next one of the cycle.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CycleEdge {
    /// The earlier operation.
    pub from: OpId,
    /// The later operation.
    pub to: OpId,
    /// Why: `completed before it was invoked`, `wrote what it read`, ...
    pub because: String,
    /// Of transactions, in which way the later one depends on the earlier one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub relation: Option<Relation>,
}

/// Kinds of violations, by what a person would call them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Anomaly {
    /// A read returned a value that had been overwritten before the read began.
    StaleRead,
    /// A later read returned an older value than an earlier read.
    ReadsGoBackwards,
    /// A value was read that nobody had written by then.
    PhantomValue,
    /// A read returned a value before anybody asked to write it.
    ReadFromTheFuture,
    /// A write that was acknowledged, or that had been seen, is gone although nothing replaced it.
    LostWrite,
    /// A write that was asked for once took effect more than once.
    Duplicate,
    /// A value that had been deleted or replaced is there again, for good.
    ResurrectedValue,
    /// A value was seen although whoever asked for it had been told that it was not written.
    FailedWriteVisible,
    /// Nodes that went through different changes: their answers cannot be moments of one past.
    Divergence,
    /// Two cas succeeded on one value.
    NonAtomicCas,
    /// A cas succeeded although the value cannot have been the expected one.
    WrongCas,
    /// A cas reported a mismatch although the value cannot have been another one.
    WrongMismatch,
    /// None of the above: no order explains these operations.
    NoOrder,
    /// A violation of the isolation of transactions, by its name.
    #[serde(untagged)]
    Isolation(AnomalyKind),
}

/// What ran out, and where the search stood.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "limit", rename_all = "kebab-case")]
pub enum Limit {
    /// The time that [`crate::CheckOptions::time_limit`] allows.
    Time {
        /// How long was allowed.
        #[serde(serialize_with = "seconds")]
        allowed: Duration,
        /// Where it stood.
        stand: Stand,
    },
    /// The memory that [`crate::CheckOptions::memory_limit`] allows.
    Memory {
        /// How many bytes were allowed.
        allowed: u64,
        /// Where it stood.
        stand: Stand,
    },
    /// The model itself failed.
    ModelPanicked {
        /// What it said.
        message: String,
        /// Where it stood.
        stand: Stand,
    },
    /// The history shows too little to be judged.
    NoEvidence {
        /// What is missing, for a person.
        why: String,
    },
    /// A part of the question was given up.
    GivenUp {
        /// Which, why, and how to go on.
        why: String,
    },
    /// The question was given up because another one was already answered.
    Stopped,
}

/// Where a search stood when it ended without an answer.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Stand {
    /// The key of the subhistory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<Value>,
    /// How many operations of the subhistory that completed had been explained. What never came back need not be.
    pub explained: usize,
    /// Of how many that completed.
    pub of: usize,
}

/// Everything that one check found out.
#[derive(Clone, Debug, Serialize)]
pub struct Analysis {
    /// The verdict with its proof.
    #[serde(flatten, serialize_with = "verdict_fields")]
    pub verdict: Verdict,
    /// The model that judged.
    pub model: String,
    /// The initial value that was assumed.
    pub init: Value,
    /// Whether the initial value was guessed from the history, which a person should be told.
    pub init_guessed: bool,
    /// How many client operations the history has.
    pub operations: usize,
    /// How many subhistories were judged apart (one per key).
    pub subhistories: usize,
    /// The keys of every violation found, if more than the first was asked for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub illegal_keys: Vec<Value>,
    /// How long it took.
    #[serde(rename = "seconds", serialize_with = "seconds")]
    pub elapsed: Duration,
}

/// What ran out, where, and how to go on.
impl fmt::Display for Limit {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (what, how, stand) = match self {
            Limit::Time { allowed, stand } => (
                format!("no answer within {} s", allowed.as_secs_f64()),
                "a larger --time-limit goes on",
                stand,
            ),
            Limit::Memory { allowed, stand } => (
                format!("no answer within {allowed} bytes"),
                "a larger --memory-limit goes on",
                stand,
            ),
            Limit::ModelPanicked { message, stand } => (
                format!("the model failed: {message}"),
                "the model must be mended",
                stand,
            ),
            Limit::NoEvidence { why } => return out.write_str(why),
            Limit::GivenUp { why } => return out.write_str(why),
            Limit::Stopped => return out.write_str("stopped before there was an answer"),
        };
        write!(out, "{what}")?;
        if let Some(key) = &stand.key {
            write!(out, ", key {key}")?;
        }
        write!(
            out,
            ": {} of {} completed operations explained; {how}",
            stand.explained, stand.of
        )
    }
}

impl Verdict {
    /// What `results.json` says under `valid`.
    pub fn valid(&self) -> Validity {
        match self {
            Verdict::Linearizable(_) => Validity::True,
            Verdict::Illegal(_) => Validity::False,
            Verdict::Unknown(_) => Validity::Unknown,
        }
    }

    /// The exit code of every binary: 0 valid, 1 illegal, 2 unknown.
    pub fn exit_code(&self) -> u8 {
        match self {
            Verdict::Linearizable(_) => 0,
            Verdict::Illegal(_) => 1,
            Verdict::Unknown(_) => 2,
        }
    }

    /// The worse of two: illegal beats unknown beats linearizable; of two linearizable ones both orders count.
    pub fn merge(self, other: Verdict) -> Verdict {
        match (self, other) {
            (Verdict::Linearizable(mut one), Verdict::Linearizable(two)) => {
                one.orders.extend(two.orders);
                Verdict::Linearizable(one)
            }
            (Verdict::Illegal(found), _) | (_, Verdict::Illegal(found)) => Verdict::Illegal(found),
            (Verdict::Unknown(Limit::Stopped), Verdict::Unknown(limit))
            | (Verdict::Unknown(limit), _)
            | (_, Verdict::Unknown(limit)) => Verdict::Unknown(limit),
        }
    }
}

/// `true`, `false` or `"unknown"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Validity {
    /// Linearizable.
    True,
    /// Illegal.
    False,
    /// Neither is known.
    Unknown,
}

impl Serialize for Validity {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Validity::True => serializer.serialize_bool(true),
            Validity::False => serializer.serialize_bool(false),
            Validity::Unknown => serializer.serialize_str("unknown"),
        }
    }
}

/// `valid` first, then whichever proof there is.
fn verdict_fields<S: Serializer>(verdict: &Verdict, serializer: S) -> Result<S::Ok, S::Error> {
    #[derive(Serialize)]
    struct Fields<'a> {
        valid: Validity,
        #[serde(skip_serializing_if = "Option::is_none")]
        counterexample: Option<&'a Counterexample>,
        #[serde(skip_serializing_if = "Option::is_none")]
        unknown: Option<&'a Limit>,
        #[serde(skip_serializing_if = "Option::is_none")]
        witness: Option<&'a Witness>,
    }
    let mut fields = Fields {
        valid: verdict.valid(),
        counterexample: None,
        unknown: None,
        witness: None,
    };
    match verdict {
        Verdict::Linearizable(witness) => fields.witness = Some(witness),
        Verdict::Illegal(found) => fields.counterexample = Some(found),
        Verdict::Unknown(limit) => fields.unknown = Some(limit),
    }
    fields.serialize(serializer)
}

fn seconds<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(duration.as_secs_f64())
}

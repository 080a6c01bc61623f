//! What can be wrong with transactions, by the names that Adya and Elle gave it.

use std::fmt;

use serde::{Serialize, Serializer};

/// One kind of violation.
///
/// The cycles are Adya's phenomena (Adya 1999, "Weak Consistency", chapter 3); the others are those that Elle
/// (Kingsbury & Alvaro, VLDB 2020, section 5) finds without a graph, and what bank, long-fork, watch and monotonic
/// histories show.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum AnomalyKind {
    /// A read returned what nobody ever wrote.
    GarbageRead,
    /// A list holds one element twice although it was appended once.
    DuplicateElements,
    /// The versions of a register that were inferred come before themselves.
    CyclicVersions,
    /// Two reads of one list of which neither continues the other.
    IncompatibleOrder,
    /// A committed transaction read what an aborted one wrote.
    G1a,
    /// A transaction read what another one wrote and then replaced itself.
    G1b,
    /// A committed write built on the write of an aborted transaction.
    DirtyUpdate,
    /// A transaction read what it would write only later.
    FutureRead,
    /// A transaction contradicts its own earlier reads and writes.
    Internal,
    /// Two transactions read one version and both replaced it.
    LostUpdate,
    /// Dependencies that lead back to where they began.
    Cycle(Shape, Evidence),
    /// No order of the transactions, one after the other, explains what they read, whichever order the versions that
    /// nobody relates had: each closes a cycle, though not the same one.
    NoSerialOrder(Evidence),
    /// Two reads each saw a write that the other one missed.
    LongFork,
    /// The accounts do not add up to what they began with.
    WrongTotal,
    /// An account fell below zero.
    NegativeValue,
    /// An account had no balance.
    NilBalance,
    /// A read showed an account that does not exist, or missed one that does.
    UnexpectedKey,
    /// A watch left out a change between others that it told.
    WatchGap,
    /// A watch told a change twice, or one from before the place that it went on from.
    WatchDuplicate,
    /// A watch told a change after a later one.
    WatchOrder,
    /// A watch told something else than another one, or than the write itself.
    WatchDisagreement,
    /// A process saw less than it had seen before.
    NonMonotonic,
    /// A read missed what had completed before it was invoked.
    StaleRead,
    /// The order of revisions is not that of time, or of what was made.
    RevisionOrder,
}

/// Which dependencies a cycle is made of, beside the order of processes or of time.
///
/// The order is Elle's: of `G0 < G1c` and of `G-single < G-nonadjacent < G2-item`, whatever forbids the later
/// forbids the earlier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Shape {
    /// Writes over writes (ww) only: dirty write.
    G0,
    /// Also reads of writes (wr): circular information flow.
    G1c,
    /// Exactly one write over what was read (rw): read skew.
    GSingle,
    /// Several of those, none next to another: not even snapshots (Cerone & Gotsman 2018).
    GNonadjacent,
    /// Several of those, some next to each other: write skew.
    G2Item,
}

/// What a dependency rests on besides what transactions read and wrote; the weakest evidence is the least.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Evidence {
    /// On reads and writes alone.
    Data,
    /// Also on one process doing one thing after the other.
    Process,
    /// Also on one transaction having ended before another one began.
    Realtime,
}

impl Shape {
    /// Every shape, those that forbid most first.
    pub(super) const ALL: [Shape; 5] = [
        Shape::G0,
        Shape::G1c,
        Shape::GSingle,
        Shape::GNonadjacent,
        Shape::G2Item,
    ];

    fn name(self) -> &'static str {
        match self {
            Shape::G0 => "G0",
            Shape::G1c => "G1c",
            Shape::GSingle => "G-single",
            Shape::GNonadjacent => "G-nonadjacent",
            Shape::G2Item => "G2-item",
        }
    }

    /// Whether a model that forbids `other` forbids this.
    fn implies(self, other: Shape) -> bool {
        match (self, other) {
            (Shape::G0 | Shape::G1c, Shape::G0 | Shape::G1c) => self <= other,
            (Shape::G0 | Shape::G1c, _) | (_, Shape::G0 | Shape::G1c) => false,
            (one, two) => one <= two,
        }
    }
}

impl Evidence {
    /// Every kind, the weakest first.
    pub(super) const ALL: [Evidence; 3] = [Evidence::Data, Evidence::Process, Evidence::Realtime];

    fn suffix(self) -> &'static str {
        match self {
            Evidence::Data => "",
            Evidence::Process => "-process",
            Evidence::Realtime => "-realtime",
        }
    }

    /// What an order respects that may contradict none of this.
    pub(crate) fn respected(self) -> &'static str {
        match self {
            Evidence::Data => "nothing",
            Evidence::Process => "process",
            Evidence::Realtime => "realtime",
        }
    }
}

impl AnomalyKind {
    /// Every kind there is.
    pub(crate) fn all() -> impl Iterator<Item = AnomalyKind> {
        let plain = [
            AnomalyKind::GarbageRead,
            AnomalyKind::DuplicateElements,
            AnomalyKind::CyclicVersions,
            AnomalyKind::IncompatibleOrder,
            AnomalyKind::G1a,
            AnomalyKind::G1b,
            AnomalyKind::DirtyUpdate,
            AnomalyKind::FutureRead,
            AnomalyKind::Internal,
            AnomalyKind::LostUpdate,
            AnomalyKind::LongFork,
            AnomalyKind::WrongTotal,
            AnomalyKind::NegativeValue,
            AnomalyKind::NilBalance,
            AnomalyKind::UnexpectedKey,
            AnomalyKind::WatchGap,
            AnomalyKind::WatchDuplicate,
            AnomalyKind::WatchOrder,
            AnomalyKind::WatchDisagreement,
            AnomalyKind::NonMonotonic,
            AnomalyKind::StaleRead,
            AnomalyKind::RevisionOrder,
        ];
        let shapes = Evidence::ALL.into_iter().flat_map(|evidence| {
            let cycles = Shape::ALL
                .into_iter()
                .map(move |shape| AnomalyKind::Cycle(shape, evidence));
            cycles.chain([AnomalyKind::NoSerialOrder(evidence)])
        });
        plain.into_iter().chain(shapes)
    }

    /// Whether a model that forbids `other` forbids this.
    pub fn implies(self, other: AnomalyKind) -> bool {
        if self == other {
            return true;
        }
        match (self, other) {
            (AnomalyKind::Cycle(shape, evidence), AnomalyKind::Cycle(of, on)) => {
                shape.implies(of) && evidence <= on
            }
            (AnomalyKind::IncompatibleOrder | AnomalyKind::DirtyUpdate, AnomalyKind::G1a) => true,
            (AnomalyKind::FutureRead, AnomalyKind::Cycle(shape, _)) => Shape::G1c.implies(shape),
            (AnomalyKind::LostUpdate, AnomalyKind::Cycle(Shape::G2Item, _)) => true,
            (AnomalyKind::NoSerialOrder(evidence), AnomalyKind::Cycle(Shape::G2Item, on)) => evidence <= on,
            _ => false,
        }
    }

    /// One line for a person who has never read Adya.
    pub fn meaning(self) -> &'static str {
        match self {
            AnomalyKind::GarbageRead => "a read returned what nobody wrote",
            AnomalyKind::DuplicateElements => "an element is in a list twice",
            AnomalyKind::CyclicVersions => "the versions of a register come before themselves",
            AnomalyKind::IncompatibleOrder => "two reads of a list disagree on its order",
            AnomalyKind::G1a => "aborted read: a transaction read what an aborted one wrote",
            AnomalyKind::G1b => {
                "intermediate read: a transaction read what another one wrote and then replaced"
            }
            AnomalyKind::DirtyUpdate => "a committed write builds on an aborted one",
            AnomalyKind::FutureRead => "a transaction read what it wrote only later",
            AnomalyKind::Internal => "a transaction contradicts its own reads and writes",
            AnomalyKind::LostUpdate => "lost update: two transactions replaced the same version",
            AnomalyKind::Cycle(Shape::GSingle, Evidence::Realtime) => {
                "stale read: a transaction missed what had happened before it began"
            }
            AnomalyKind::Cycle(Shape::GSingle, Evidence::Process) => {
                "a transaction missed what its own process had done or seen before"
            }
            AnomalyKind::Cycle(shape, _) => match shape {
                Shape::G0 => "dirty write: transactions overwrote each other in a circle",
                Shape::G1c => {
                    "circular information flow: transactions read and overwrote each other in a circle"
                }
                Shape::GSingle => {
                    "read skew: a transaction saw one part of what another one did and missed another"
                }
                Shape::GNonadjacent => "transactions saw states that cannot all be snapshots of one history",
                Shape::G2Item => "write skew: transactions missed each other's writes in a circle",
            },
            AnomalyKind::NoSerialOrder(_) => "no order of the transactions explains what they read",
            AnomalyKind::LongFork => "two reads saw two writes in opposite orders",
            AnomalyKind::WrongTotal => "the accounts do not add up",
            AnomalyKind::NegativeValue => "an account fell below zero",
            AnomalyKind::NilBalance => "an account has no balance",
            AnomalyKind::UnexpectedKey => "a read showed other accounts than there are",
            AnomalyKind::WatchGap => "a watch left out a change",
            AnomalyKind::WatchDuplicate => "a watch told a change twice",
            AnomalyKind::WatchOrder => "a watch told changes out of order",
            AnomalyKind::WatchDisagreement => "a watch contradicts another one, or the write itself",
            AnomalyKind::RevisionOrder => {
                "the order of revisions contradicts that of time or of what was made"
            }
            AnomalyKind::StaleRead => "a read missed what had completed before it was invoked",
            AnomalyKind::NonMonotonic => "a process saw less than it had seen before",
        }
    }
}

/// Elle's name for it, such as `G-single-realtime`.
impl fmt::Display for AnomalyKind {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self {
            AnomalyKind::GarbageRead => "garbage-read",
            AnomalyKind::DuplicateElements => "duplicate-elements",
            AnomalyKind::CyclicVersions => "cyclic-versions",
            AnomalyKind::IncompatibleOrder => "incompatible-order",
            AnomalyKind::G1a => "G1a",
            AnomalyKind::G1b => "G1b",
            AnomalyKind::DirtyUpdate => "dirty-update",
            AnomalyKind::FutureRead => "future-read",
            AnomalyKind::Internal => "internal",
            AnomalyKind::LostUpdate => "lost-update",
            AnomalyKind::Cycle(shape, evidence) => {
                return write!(out, "{}{}", shape.name(), evidence.suffix());
            }
            AnomalyKind::NoSerialOrder(evidence) => {
                return write!(out, "no-serial-order{}", evidence.suffix());
            }
            AnomalyKind::LongFork => "long-fork",
            AnomalyKind::WrongTotal => "wrong-total",
            AnomalyKind::NegativeValue => "negative-value",
            AnomalyKind::NilBalance => "nil-balance",
            AnomalyKind::UnexpectedKey => "unexpected-key",
            AnomalyKind::WatchGap => "watch-gap",
            AnomalyKind::WatchDuplicate => "watch-duplicate",
            AnomalyKind::WatchOrder => "watch-order",
            AnomalyKind::WatchDisagreement => "watch-disagreement",
            AnomalyKind::RevisionOrder => "revision-order",
            AnomalyKind::StaleRead => "stale-read",
            AnomalyKind::NonMonotonic => "non-monotonic",
        };
        out.write_str(name)
    }
}

impl Serialize for AnomalyKind {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

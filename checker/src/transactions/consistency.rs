//! Consistency models, and what each of them forbids.

use std::fmt;
use std::str::FromStr;

use serde::{Serialize, Serializer};

use super::anomaly::AnomalyKind as Kind;
use super::anomaly::Evidence;
use super::anomaly::Evidence::{Data, Process, Realtime};
use super::anomaly::Shape;

/// A consistency model of transactions, by Elle's names.
///
/// Each has a canonical name (`PL-SI`) and most have a friendly one (`snapshot-isolation`); both are understood,
/// the friendly one is written. Sources: Adya 1999 for the PL levels, Bailis et al. 2014 for atomic views,
/// Cerone, Bernardi & Gotsman 2015 for read atomic, causal, prefix and parallel snapshot isolation, Daudjee &
/// Salem 2006 for the strong (real-time) and strong session (per process) variants.
///
/// What a model forbids is what can be seen in these histories. For monotonic view, monotonic snapshot read,
/// forward consistent view, update serializable and Cerone's models that is less than their definitions forbid:
/// a history that passes them here may still violate them, one that fails does not satisfy them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(missing_docs, reason = "the names are those of the papers above")]
pub enum ConsistencyModel {
    ReadUncommitted,
    ReadCommitted,
    MonotonicView,
    MonotonicSnapshotRead,
    CursorStability,
    ConsistentView,
    ForwardConsistentView,
    MonotonicAtomicView,
    ReadAtomic,
    UpdateAtomic,
    Causal,
    Prefix,
    ParallelSnapshotIsolation,
    SnapshotIsolation,
    RepeatableRead,
    UpdateSerializable,
    Serializable,
    StrongSessionReadUncommitted,
    StrongSessionReadCommitted,
    StrongSessionSnapshotIsolation,
    StrongSessionSerializable,
    StrongReadUncommitted,
    StrongReadCommitted,
    StrongSnapshotIsolation,
    StrictSerializable,
}

use ConsistencyModel as M;

/// What is known of one model.
struct Rules {
    name: &'static str,
    /// Other names that are understood; the first is the canonical one.
    aliases: &'static [&'static str],
    /// Models that every history of this model satisfies too, the nearest ones.
    implies: &'static [ConsistencyModel],
    /// What it forbids beyond those.
    forbids: &'static [Kind],
}

impl ConsistencyModel {
    /// Every model, roughly from the weakest to the strongest.
    pub const ALL: &'static [ConsistencyModel] = &[
        M::ReadUncommitted,
        M::ReadCommitted,
        M::MonotonicView,
        M::MonotonicSnapshotRead,
        M::CursorStability,
        M::ConsistentView,
        M::ForwardConsistentView,
        M::MonotonicAtomicView,
        M::ReadAtomic,
        M::UpdateAtomic,
        M::Causal,
        M::Prefix,
        M::ParallelSnapshotIsolation,
        M::SnapshotIsolation,
        M::RepeatableRead,
        M::UpdateSerializable,
        M::Serializable,
        M::StrongSessionReadUncommitted,
        M::StrongSessionReadCommitted,
        M::StrongSessionSnapshotIsolation,
        M::StrongSessionSerializable,
        M::StrongReadUncommitted,
        M::StrongReadCommitted,
        M::StrongSnapshotIsolation,
        M::StrictSerializable,
    ];

    /// The friendly name, or the canonical one where there is no other.
    pub fn as_str(self) -> &'static str {
        self.rules().name
    }

    /// Whether every history that satisfies this model satisfies `weaker` too.
    pub fn implies(self, weaker: ConsistencyModel) -> bool {
        self == weaker || self.rules().implies.iter().any(|next| next.implies(weaker))
    }

    /// Whether a history with such an anomaly cannot satisfy this model.
    pub fn forbids(self, found: Kind) -> bool {
        let rules = self.rules();
        rules.forbids.iter().any(|&kind| found.implies(kind))
            || rules.implies.iter().any(|weaker| weaker.forbids(found))
    }

    /// What a history satisfies of which an order explains every read, if that order respects so much.
    pub(crate) fn of_order(respects: Evidence) -> ConsistencyModel {
        match respects {
            Data => M::Serializable,
            Process => M::StrongSessionSerializable,
            Realtime => M::StrictSerializable,
        }
    }

    fn rules(self) -> Rules {
        let (name, aliases, implies, forbids): (_, &[&str], &[ConsistencyModel], &[Kind]) = match self {
            M::ReadUncommitted => (
                "read-uncommitted",
                &["PL-1"],
                &[],
                // Histories with the other three are none in Adya's sense: versions are written once and ordered.
                &[
                    Kind::Cycle(Shape::G0, Data),
                    Kind::DuplicateElements,
                    Kind::CyclicVersions,
                    Kind::GarbageRead,
                ],
            ),
            M::ReadCommitted => (
                "read-committed",
                &["PL-2"],
                &[M::ReadUncommitted],
                &[Kind::G1a, Kind::G1b, Kind::Cycle(Shape::G1c, Data)],
            ),
            M::MonotonicView => ("monotonic-view", &["PL-2L"], &[M::ReadCommitted], &[]),
            M::MonotonicSnapshotRead => ("monotonic-snapshot-read", &["PL-MSR"], &[M::ReadCommitted], &[]),
            M::CursorStability => (
                "cursor-stability",
                &["PL-CS"],
                &[M::ReadCommitted],
                &[Kind::LostUpdate],
            ),
            M::ConsistentView => (
                "consistent-view",
                &["PL-2+"],
                &[M::CursorStability, M::MonotonicView],
                &[Kind::Cycle(Shape::GSingle, Data)],
            ),
            M::ForwardConsistentView => (
                "forward-consistent-view",
                &["PL-FCV"],
                &[M::ConsistentView],
                &[Kind::Cycle(Shape::GSingle, Data)],
            ),
            M::MonotonicAtomicView => ("monotonic-atomic-view", &[], &[M::ReadCommitted], &[]),
            M::ReadAtomic => (
                "read-atomic",
                &[],
                &[M::MonotonicAtomicView],
                &[Kind::Internal, Kind::FutureRead],
            ),
            M::UpdateAtomic => ("update-atomic", &[], &[M::ReadAtomic], &[Kind::LostUpdate]),
            M::Causal => ("causal-cerone", &[], &[M::ReadAtomic], &[]),
            M::Prefix => ("prefix", &[], &[M::Causal], &[Kind::LongFork]),
            M::ParallelSnapshotIsolation => (
                "parallel-snapshot-isolation",
                &["PSI"],
                &[M::Causal, M::UpdateAtomic],
                // Transfers are visible whole or not at all, and none is lost: the sum stays what it was.
                &[
                    Kind::WrongTotal,
                    Kind::NegativeValue,
                    Kind::NilBalance,
                    Kind::UnexpectedKey,
                ],
            ),
            M::SnapshotIsolation => (
                "snapshot-isolation",
                &["PL-SI"],
                &[
                    M::ForwardConsistentView,
                    M::MonotonicSnapshotRead,
                    M::ParallelSnapshotIsolation,
                    M::Prefix,
                ],
                &[Kind::Cycle(Shape::GNonadjacent, Data)],
            ),
            M::RepeatableRead => (
                "repeatable-read",
                &["PL-2.99"],
                &[M::CursorStability, M::MonotonicAtomicView],
                &[Kind::Cycle(Shape::G2Item, Data)],
            ),
            M::UpdateSerializable => (
                "update-serializable",
                &["PL-3U"],
                &[M::ForwardConsistentView],
                &[],
            ),
            M::Serializable => (
                "serializable",
                &["PL-3", "conflict-serializable"],
                &[M::RepeatableRead, M::UpdateSerializable, M::SnapshotIsolation],
                &[Kind::Cycle(Shape::G2Item, Data)],
            ),
            M::StrongSessionReadUncommitted => (
                "strong-session-read-uncommitted",
                &["strong-session-PL-1"],
                &[M::ReadUncommitted],
                &[Kind::Cycle(Shape::G0, Process)],
            ),
            M::StrongSessionReadCommitted => (
                "strong-session-read-committed",
                &["strong-session-PL-2"],
                &[M::ReadCommitted, M::StrongSessionReadUncommitted],
                &[Kind::Cycle(Shape::G1c, Process)],
            ),
            M::StrongSessionSnapshotIsolation => (
                "strong-session-snapshot-isolation",
                &["strong-session-PL-SI"],
                &[M::SnapshotIsolation, M::StrongSessionReadCommitted],
                &[Kind::Cycle(Shape::GNonadjacent, Process)],
            ),
            M::StrongSessionSerializable => (
                "strong-session-serializable",
                &["strong-session-PL-3"],
                &[M::Serializable, M::StrongSessionSnapshotIsolation],
                &[Kind::Cycle(Shape::G2Item, Process)],
            ),
            M::StrongReadUncommitted => (
                "strong-read-uncommitted",
                &["strong-PL-1"],
                &[M::StrongSessionReadUncommitted],
                &[Kind::Cycle(Shape::G0, Realtime)],
            ),
            M::StrongReadCommitted => (
                "strong-read-committed",
                &["strong-PL-2"],
                &[M::StrongSessionReadCommitted, M::StrongReadUncommitted],
                &[Kind::Cycle(Shape::G1c, Realtime)],
            ),
            M::StrongSnapshotIsolation => (
                "strong-snapshot-isolation",
                &["strong-PL-SI"],
                &[M::StrongSessionSnapshotIsolation, M::StrongReadCommitted],
                &[Kind::Cycle(Shape::GNonadjacent, Realtime)],
            ),
            M::StrictSerializable => (
                "strict-serializable",
                &["PL-SS", "strong-serializable"],
                &[M::StrongSessionSerializable, M::StrongSnapshotIsolation],
                &[
                    Kind::Cycle(Shape::G2Item, Realtime),
                    Kind::StaleRead,
                    Kind::NonMonotonic,
                    Kind::RevisionOrder,
                    // No model of transactions speaks of watches; who asks for the strongest asks for these too.
                    Kind::WatchGap,
                    Kind::WatchDuplicate,
                    Kind::WatchOrder,
                    Kind::WatchDisagreement,
                ],
            ),
        };
        Rules {
            name,
            aliases,
            implies,
            forbids,
        }
    }
}

/// The models that anomalies rule out, the weakest ones apart: whoever satisfies none of those satisfies none
/// of the others.
pub(crate) fn boundary(found: &[Kind]) -> (Vec<ConsistencyModel>, Vec<ConsistencyModel>) {
    let ruled_out: Vec<M> = M::ALL
        .iter()
        .copied()
        .filter(|model| found.iter().any(|&kind| model.forbids(kind)))
        .collect();
    ruled_out.iter().copied().partition(|model| {
        !ruled_out
            .iter()
            .any(|other| other != model && model.implies(*other))
    })
}

impl fmt::Display for ConsistencyModel {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.as_str())
    }
}

impl Serialize for ConsistencyModel {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl FromStr for ConsistencyModel {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let is = |known: &str| known.eq_ignore_ascii_case(name);
        let found = M::ALL.iter().copied().find(|model| {
            let rules = model.rules();
            is(rules.name) || rules.aliases.iter().any(|alias| is(alias))
        });
        found.ok_or_else(|| {
            let known: Vec<&str> = M::ALL.iter().map(|model| model.as_str()).collect();
            format!(
                "unknown consistency model {name:?}; known models: {}",
                known.join(", ")
            )
        })
    }
}

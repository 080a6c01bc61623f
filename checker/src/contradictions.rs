//! Violations of sets, queues and counters that show without a search.
//!
//! As [`crate::precheck`] does for registers: one pass finds a few operations that contradict each other whatever
//! else happened, where a search would try every subset of what was open. Each rule counts in favour of the history
//! what may have happened (operations of unknown outcome, and whatever overlaps) and against it only what certainly
//! did:
//!
//! - *queues*: a value was dequeued more often than anybody had asked to enqueue it by then; or the queue was found
//!   empty after a value had been enqueued that nobody can have taken by then;
//! - *sets*: an element was read that nobody had asked to add by then; or one was missed that had been added, or
//!   read, before the read began;
//! - *counters*: a number was read beyond all that the additions can come to;
//! - *texts* that are only appended to: see [`texts`].

mod texts;

use rustc_hash::{FxHashMap, FxHashSet};

use crate::history::{OpId, Value};
use crate::model::{Domain, Invocation, Observed};
use crate::subhistory::Moments;

/// A few operations that contradict each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Contradiction {
    pub(crate) operations: Vec<OpId>,
    /// Whether any fewer of them would not do.
    pub(crate) minimal: bool,
}

impl Contradiction {
    fn minimal(operations: Vec<OpId>) -> Option<Contradiction> {
        Some(Contradiction {
            operations,
            minimal: true,
        })
    }
}

const NEVER: usize = usize::MAX;

/// One operation, with the places of its moments.
struct Piece {
    op: OpId,
    call: Invocation,
    invoked: usize,
    /// [`NEVER`] if its outcome is unknown.
    completed: usize,
}

/// The contradiction that shows first, if the model has such rules and there is one.
pub(crate) fn find<D: Domain>(domain: &D, moments: &Moments<'_>) -> Option<Contradiction> {
    let rules = match domain.name() {
        "queue" => queue,
        "set" => set,
        "counter" => counter,
        _ => return None,
    };
    rules(&pieces(domain, moments), &domain.init_value())
}

/// The same, also of models whose engines find most of it as fast.
pub(crate) fn find_any<D: Domain>(domain: &D, moments: &Moments<'_>) -> Option<Contradiction> {
    find(domain, moments).or_else(|| texts::find(domain, moments))
}

/// What may have happened, by invocation.
fn pieces<D: Domain>(domain: &D, moments: &Moments<'_>) -> Vec<Piece> {
    let mut pieces: Vec<Piece> = Vec::new();
    let mut places: FxHashMap<OpId, usize> = FxHashMap::default();
    for (at, (op, completes)) in moments.iter().enumerate() {
        if !completes {
            let call = domain.call(moments.operation(op), moments.is_complete(op));
            let Ok(Some(call)) = call else { continue };
            places.insert(op, pieces.len());
            pieces.push(Piece {
                op,
                call,
                invoked: at,
                completed: NEVER,
            });
        } else if moments.is_complete(op)
            && let Some(&piece) = places.get(&op)
            && pieces[piece].call.result != Observed::Unknown
        {
            pieces[piece].completed = at;
        }
    }
    pieces
}

impl Piece {
    /// What it certainly returned.
    fn result(&self) -> Option<&Value> {
        match &self.call.result {
            Observed::Ok(result, _) if self.completed != NEVER => Some(result),
            _ => None,
        }
    }

    fn is(&self, f: &str) -> bool {
        self.call.f == f
    }
}

/// All pieces that completed with a result of this function, by their completions.
fn completed<'p>(pieces: &'p [Piece], f: &str) -> Vec<(&'p Piece, &'p Value)> {
    let of = pieces.iter().filter(|piece| piece.is(f));
    let mut found: Vec<_> = of.filter_map(|piece| Some((piece, piece.result()?))).collect();
    found.sort_by_key(|(piece, _)| piece.completed);
    found
}

fn queue(pieces: &[Piece], _init: &Value) -> Option<Contradiction> {
    // By value when it may have been enqueued, and whoever dequeued it so far.
    let mut enqueued: FxHashMap<&Value, Vec<usize>> = FxHashMap::default();
    for piece in pieces.iter().filter(|piece| piece.is("enqueue")) {
        enqueued.entry(&piece.call.input).or_default().push(piece.invoked);
    }
    let mut taken: FxHashMap<&Value, Vec<&Piece>> = FxHashMap::default();
    for (piece, value) in completed(pieces, "dequeue")
        .into_iter()
        .filter(|(_, value)| !value.is_nil())
    {
        let by_then = enqueued.get(value).map_or(0, |places| {
            places.partition_point(|&place| place < piece.completed)
        });
        let taken = taken.entry(value).or_default();
        taken.push(piece);
        if taken.len() > by_then {
            return Contradiction::minimal(taken.iter().map(|piece| piece.op).collect());
        }
    }
    lost(pieces, &taken)
}

/// A value that had been enqueued, and that nobody can have taken, when the queue was found empty.
fn lost(pieces: &[Piece], taken: &FxHashMap<&Value, Vec<&Piece>>) -> Option<Contradiction> {
    let unknown = pieces
        .iter()
        .find(|piece| piece.is("dequeue") && piece.result().is_none());
    let unknown = unknown.map_or(NEVER, |piece| piece.invoked);
    let first_taken = |value: &Value| {
        let taken = taken.get(value).into_iter().flatten();
        taken.map(|piece| piece.invoked).min().unwrap_or(NEVER)
    };
    let mut there: Vec<(usize, usize, OpId)> = completed(pieces, "enqueue")
        .into_iter()
        .map(|(piece, _)| (piece.completed, first_taken(&piece.call.input), piece.op))
        .collect();
    // Of all that were enqueued by then, the one that nobody took for the longest time.
    for at in 1..there.len() {
        if there[at - 1].1 > there[at].1 {
            let (_, free, op) = there[at - 1];
            (there[at].1, there[at].2) = (free, op);
        }
    }
    for (piece, _) in completed(pieces, "dequeue")
        .into_iter()
        .filter(|(_, value)| value.is_nil())
    {
        let before = there.partition_point(|&(completed, ..)| completed < piece.invoked);
        if let Some(&(_, free, op)) = before.checked_sub(1).map(|last| &there[last])
            && free.min(unknown) > piece.completed
        {
            // That the others took something else, or nothing, is needed, too.
            let others = pieces.iter().filter(|other| {
                let known = other.is("dequeue") && other.result().is_some();
                known && other.op != piece.op && other.invoked < piece.completed
            });
            let mut operations = vec![op, piece.op];
            operations.extend(others.map(|other| other.op));
            return Some(Contradiction {
                minimal: operations.len() == 2,
                operations,
            });
        }
    }
    None
}

fn set(pieces: &[Piece], init: &Value) -> Option<Contradiction> {
    let init: FxHashSet<&Value> = init.as_list().unwrap_or_default().iter().collect();
    let mut asked: FxHashMap<&Value, usize> = FxHashMap::default();
    for piece in pieces.iter().filter(|piece| piece.is("add")) {
        asked.entry(&piece.call.input).or_insert(piece.invoked);
    }
    let reads: Vec<(&Piece, &[Value])> = completed(pieces, "read")
        .into_iter()
        .map(|(piece, seen)| (piece, seen.as_list().unwrap_or_default()))
        .collect();
    for (piece, seen) in &reads {
        let possible = |element| {
            init.contains(element) || asked.get(element).is_some_and(|&asked| asked < piece.completed)
        };
        if !seen.iter().all(possible) {
            return Contradiction::minimal(vec![piece.op]);
        }
    }
    // From when on each element was certainly there, and who shows it; those of the beginning always.
    let mut known: FxHashMap<&Value, (usize, Option<OpId>)> =
        init.into_iter().map(|element| (element, (0, None))).collect();
    let added = completed(pieces, "add").into_iter();
    let added = added.map(|(piece, _)| (piece, std::slice::from_ref(&piece.call.input)));
    for (piece, elements) in added.chain(reads.iter().copied()) {
        for element in elements {
            let shown = known.entry(element).or_insert((piece.completed, Some(piece.op)));
            if piece.completed < shown.0 {
                *shown = (piece.completed, Some(piece.op));
            }
        }
    }
    let mut known: Vec<(usize, Option<OpId>, &Value)> = known
        .into_iter()
        .map(|(element, (from, by))| (from, by, element))
        .collect();
    known.sort_unstable();
    for (piece, seen) in &reads {
        let seen: FxHashSet<&Value> = seen.iter().collect();
        let before = known
            .iter()
            .take_while(|(from, by, _)| by.is_none() || *from < piece.invoked);
        if let Some((_, by, _)) = before.into_iter().find(|(.., element)| !seen.contains(element)) {
            return Contradiction::minimal(by.iter().copied().chain([piece.op]).collect());
        }
    }
    None
}

fn counter(pieces: &[Piece], init: &Value) -> Option<Contradiction> {
    let init = i128::from(init.as_int()?);
    let amount = |piece: &Piece| piece.call.input.as_int().map(i128::from);
    let adds: Vec<(&Piece, i128)> = pieces
        .iter()
        .filter(|piece| piece.is("add"))
        .map(|piece| Some((piece, amount(piece)?)))
        .collect::<Option<_>>()?;
    // Beyond that it would begin again at the other end.
    let most = adds.iter().map(|(_, amount)| amount.abs()).sum::<i128>() + init.abs();
    if most > i128::from(i64::MAX) {
        return None;
    }
    // Mirrored, what is too little is too much.
    let sides = [1, -1].map(|side| Side::of(&adds, init, side));
    let reads = completed(pieces, "read");
    let seen =
        |(piece, seen): &(&Piece, &Value)| Some((piece.invoked, piece.completed, piece.op, seen.as_int()?));
    let mut reads = reads.iter().filter_map(seen);
    reads.find_map(|(invoked, completed, op, seen)| {
        sides.iter().find_map(|side| {
            let beyond = side.sign * i128::from(seen) - side.most(invoked, completed);
            (beyond > 0).then(|| side.told(invoked, completed, op, i128::from(seen)))
        })
    })
}

/// Additions and what they can come to at most; with everything mirrored, at least.
struct Side {
    sign: i128,
    init: i128,
    /// Those that raise the sum, by invocation: the place, and what they come to together.
    raise: Vec<(usize, i128)>,
    /// Those that lower it, by completion.
    lower: Vec<(usize, i128, OpId)>,
    /// What the first of these come to together: none, one, two, ...
    lowered_to: Vec<i128>,
}

impl Side {
    fn of(adds: &[(&Piece, i128)], init: i128, sign: i128) -> Side {
        let mut sum = 0;
        let raise = adds.iter().filter(|(_, amount)| sign * amount > 0);
        let raise = raise
            .map(|(piece, amount)| {
                sum += sign * amount;
                (piece.invoked, sum)
            })
            .collect();
        let mut lower: Vec<(usize, i128, OpId)> = adds
            .iter()
            .filter(|(piece, amount)| sign * amount < 0 && piece.result().is_some())
            .map(|(piece, amount)| (piece.completed, sign * amount, piece.op))
            .collect();
        lower.sort_unstable();
        let mut lowered_to = vec![0];
        lowered_to.extend(lower.iter().scan(0, |sum, (_, amount, _)| {
            *sum += amount;
            Some(*sum)
        }));
        Side {
            sign,
            init: sign * init,
            raise,
            lower,
            lowered_to,
        }
    }

    /// With all that may have raised it and nothing that may have lowered it.
    fn highest(&self, completed: usize) -> i128 {
        let by_then = self.raise.partition_point(|&(invoked, _)| invoked < completed);
        self.init + by_then.checked_sub(1).map_or(0, |last| self.raise[last].1)
    }

    /// What certainly lowered it.
    fn lowered(&self, invoked: usize) -> &[(usize, i128, OpId)] {
        &self.lower[..self.lower.partition_point(|&(completed, ..)| completed < invoked)]
    }

    fn most(&self, invoked: usize, completed: usize) -> i128 {
        self.highest(completed) + self.lowered_to[self.lowered(invoked).len()]
    }

    /// The read, with as few of what lowered the sum as it takes.
    fn told(&self, invoked: usize, completed: usize, read: OpId, seen: i128) -> Contradiction {
        let mut most = self.highest(completed);
        let mut lowered = self.lowered(invoked).to_vec();
        lowered.sort_by_key(|&(_, amount, _)| amount);
        let mut operations = vec![read];
        for (_, amount, op) in lowered {
            if self.sign * seen > most {
                break;
            }
            most += amount;
            operations.push(op);
        }
        Contradiction {
            // Whether fewer would do for another reason is not looked into.
            minimal: operations.len() == 1,
            operations,
        }
    }
}

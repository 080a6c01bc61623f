//! Tries every order. For histories of a handful of operations, to check the engines against.

use crate::history::OpId;
use crate::model::{Domain, Invocation, Model, Observed};
use crate::subhistory::Moments;

/// One operation, with where it begins and ends.
struct Piece {
    call: Invocation,
    invoked: usize,
    completed: usize,
    /// The operation of the same process and instant that must come first.
    after: Option<usize>,
    taken: bool,
}

/// More operations than this are too many orders to try.
pub(crate) const MOST: usize = 12;

/// Whether some order explains the moments, or `None` if there are more than [`MOST`] operations.
///
/// An operation may come next if no other that is still to come had completed before it was invoked. All that
/// completed must come; what did not may.
pub(crate) fn explains<D: Domain>(domain: &D, moments: &Moments<'_>) -> Option<bool> {
    let mut ops: Vec<OpId> = Vec::new();
    let mut pieces: Vec<Piece> = Vec::new();
    for (at, (op, completes)) in moments.iter().enumerate() {
        if completes {
            if moments.is_complete(op)
                && let Some(piece) = ops.iter().position(|&known| known == op)
            {
                pieces[piece].completed = at;
            }
            continue;
        }
        let Ok(Some(call)) = domain.call(moments.operation(op), moments.is_complete(op)) else {
            continue;
        };
        let must = |at: &usize| pieces[*at].call.result != Observed::Unknown;
        let after = moments.after(op, |before| {
            ops.iter().position(|&known| known == before).filter(must)
        });
        ops.push(op);
        pieces.push(Piece {
            call,
            invoked: at,
            completed: usize::MAX,
            after,
            taken: false,
        });
    }
    for piece in &mut pieces {
        if piece.call.result == Observed::Unknown {
            piece.completed = usize::MAX;
        }
    }
    (pieces.len() <= MOST).then(|| any_order(domain.rules(), &domain.rules().init(), &mut pieces))
}

fn any_order<M: Model>(model: &M, state: &M::State, pieces: &mut [Piece]) -> bool {
    let required = |piece: &Piece| piece.call.result != Observed::Unknown;
    if !pieces.iter().any(|piece| !piece.taken && required(piece)) {
        return true;
    }
    let earliest = pieces
        .iter()
        .filter(|piece| !piece.taken)
        .map(|piece| piece.completed)
        .min();
    for at in 0..pieces.len() {
        let piece = &pieces[at];
        let in_turn = piece.after.is_none_or(|before| pieces[before].taken);
        if piece.taken || !in_turn || earliest.is_some_and(|earliest| earliest < piece.invoked) {
            continue;
        }
        if let Some(next) = model.step(state, &piece.call) {
            pieces[at].taken = true;
            if any_order(model, &next, pieces) {
                return true;
            }
            pieces[at].taken = false;
        }
    }
    false
}

//! Searches for an order that keeps each process's own: depth first through the positions of all processes.
//!
//! - Observations are taken as soon as they are possible: they change no state, so nothing is lost.
//! - Operations are tried in the order of their invocations: a history is mostly what it seems to be.
//! - What must come before an operation in every order ([`saturate`]) comes before it here.
//! - A configuration (positions and states) that failed is not tried again. It is remembered in full: two that
//!   are taken for one would make a wrong verdict.

use hashbrown::HashSet;
use rustc_hash::FxBuildHasher;

use super::program::{Need, Piece, Program};
use super::saturation::{Before, Saturated, saturate};
use crate::engine::{Exhausted, Meter};
use crate::history::OpId;
use crate::model::Domain;

/// What a search found.
#[derive(Clone, Debug)]
pub(super) enum Answer {
    /// An order.
    Legal(Vec<OpId>),
    /// There is none.
    Illegal,
    /// Something ran out when at best so many of the operations had been taken that must be.
    Exhausted { limit: Exhausted, taken: usize },
}

/// One way to go on.
#[derive(Clone, Copy, Debug)]
enum Move {
    Take { process: u32, next: u32 },
    Skip { process: u32 },
}

/// What was done, to be undone.
#[derive(Clone, Copy, Debug)]
struct Done {
    process: u32,
    key: u32,
    before: u32,
    taken: bool,
}

/// A configuration with what is still to be tried in it.
#[derive(Debug)]
struct Frame {
    /// How much had been done when it was reached.
    depth: usize,
    moves: Vec<Move>,
}

/// How many moves are made between two looks at the budget.
const MOVES_PER_LOOK: u64 = 2048;
/// So many words gone through count for a move.
const EFFORT_PER_MOVE: u64 = 1024;

pub(super) fn search<D: Domain>(program: &mut Program<'_, D>, meter: &mut Meter<'_>) -> Answer {
    let before = match saturate(program, program.domain, meter) {
        Saturated::Contradiction => return Answer::Illegal,
        Saturated::Order(before) => before,
    };
    let mut walk = Walk {
        positions: vec![0; program.processes.len()],
        states: vec![0; program.keys],
        done: Vec::new(),
        failed: HashSet::with_hasher(FxBuildHasher),
        required: 0,
        furthest: 0,
        before,
        program,
    };
    let mut frames = Vec::new();
    let (mut moves, mut counted) = (0, 0);
    // A configuration is gone through with every move.
    let width = (walk.positions.len() + walk.states.len()) as u64;
    if walk.arrive(&mut frames) {
        return Answer::Legal(walk.order());
    }
    while let Some(frame) = frames.last_mut() {
        moves += 1;
        let effort = walk.program.effort + moves * width - counted;
        if moves % MOVES_PER_LOOK == 0 || effort >= MOVES_PER_LOOK * EFFORT_PER_MOVE {
            counted += effort;
            let spent = (effort / EFFORT_PER_MOVE).max(MOVES_PER_LOOK);
            if let Err(limit) = meter.allow(walk.bytes(), spent) {
                let taken = walk.furthest;
                return Answer::Exhausted { limit, taken };
            }
        }
        let depth = frame.depth;
        let Some(next) = frame.moves.pop() else {
            frames.pop();
            if let Some(frame) = frames.last() {
                walk.undo(frame.depth);
            }
            continue;
        };
        walk.undo(depth);
        walk.make(next);
        if walk.arrive(&mut frames) {
            return Answer::Legal(walk.order());
        }
    }
    Answer::Illegal
}

struct Walk<'p, 'd, D: Domain> {
    program: &'p mut Program<'d, D>,
    positions: Vec<u32>,
    states: Vec<u32>,
    done: Vec<Done>,
    failed: HashSet<Box<[u32]>, FxBuildHasher>,
    /// How many of those that must be taken are.
    required: usize,
    furthest: usize,
    /// What must have been taken before each operation.
    before: Before,
}

impl<D: Domain> Walk<'_, '_, D> {
    fn head(&self, process: usize) -> Option<Piece> {
        let pieces = &self.program.processes[process];
        pieces.get(self.positions[process] as usize).copied()
    }

    /// Whether the next operation of a process may come before all others that are left.
    fn is_in_turn(&self, process: usize) -> bool {
        let position = self.positions[process] as usize;
        self.before.allows(process, position, &self.positions)
    }

    /// Takes what can be taken for nothing and lists how to go on; true if nothing is left that must be done.
    fn arrive(&mut self, frames: &mut Vec<Frame>) -> bool {
        self.observe();
        self.furthest = self.furthest.max(self.required);
        let left = |process: usize| &self.program.processes[process][self.positions[process] as usize..];
        let must = |process: usize| left(process).iter().any(|piece| piece.need == Need::Required);
        if !(0..self.positions.len()).any(must) {
            return true;
        }
        let configuration: Box<[u32]> = self.positions.iter().chain(&self.states).copied().collect();
        if !self.failed.insert(configuration) {
            return false;
        }
        let mut moves: Vec<(OpId, Move)> = Vec::new();
        for process in 0..self.positions.len() {
            let Some(piece) = self.head(process) else { continue };
            let number = process as u32;
            // What comes last in its process need not be skipped: it is left.
            let last = self.positions[process] as usize + 1 == self.program.processes[process].len();
            if piece.need == Need::Optional && !last {
                moves.push((piece.op, Move::Skip { process: number }));
            }
            let state = self.states[piece.key as usize];
            if let Some(next) = self.program.step(state, piece.class)
                && self.is_in_turn(process)
            {
                // What may never happen and changes nothing is as good as left.
                if piece.need == Need::Required || next != state {
                    moves.push((
                        piece.op,
                        Move::Take {
                            process: number,
                            next,
                        },
                    ));
                }
            }
        }
        // The first invoked is tried first, and so comes last here; of unknown ones, only when all else failed.
        moves.sort_by_key(|(op, _)| std::cmp::Reverse(*op));
        let optional = |(_, way): &(OpId, Move)| match *way {
            Move::Skip { .. } => false,
            Move::Take { process, .. } => {
                self.head(process as usize).map(|piece| piece.need) == Some(Need::Optional)
            }
        };
        let (late, early): (Vec<_>, Vec<_>) = moves.into_iter().partition(optional);
        let moves = late.into_iter().chain(early).map(|(_, way)| way).collect();
        let depth = self.done.len();
        frames.push(Frame { depth, moves });
        false
    }

    fn observe(&mut self) {
        let mut again = true;
        while again {
            again = false;
            for process in 0..self.positions.len() {
                while let Some(piece) = self.head(process).filter(|_| self.is_in_turn(process)) {
                    let state = self.states[piece.key as usize];
                    if !piece.observes || self.program.step(state, piece.class) != Some(state) {
                        break;
                    }
                    self.make(Move::Take {
                        process: process as u32,
                        next: state,
                    });
                    again = true;
                }
            }
        }
    }

    fn make(&mut self, way: Move) {
        let (Move::Take { process, .. } | Move::Skip { process }) = way;
        let piece = self.head(process as usize).expect("a move is of a head");
        let before = self.states[piece.key as usize];
        if let Move::Take { next, .. } = way {
            self.states[piece.key as usize] = next;
        }
        self.required += usize::from(piece.need == Need::Required);
        self.positions[process as usize] += 1;
        self.done.push(Done {
            process,
            key: piece.key,
            before,
            taken: matches!(way, Move::Take { .. }),
        });
    }

    fn undo(&mut self, depth: usize) {
        while self.done.len() > depth {
            let done = self.done.pop().expect("longer than that");
            self.positions[done.process as usize] -= 1;
            self.states[done.key as usize] = done.before;
            let piece = self.head(done.process as usize).expect("it was taken");
            self.required -= usize::from(piece.need == Need::Required);
        }
    }

    fn order(&self) -> Vec<OpId> {
        let mut positions = vec![0; self.positions.len()];
        let mut order = Vec::with_capacity(self.done.len());
        for done in &self.done {
            let process = done.process as usize;
            let piece = self.program.processes[process][positions[process]];
            positions[process] += 1;
            order.extend(done.taken.then_some(piece.op));
        }
        order
    }

    /// About how many bytes are held.
    fn bytes(&self) -> u64 {
        let each = (self.positions.len() + self.states.len()) * 4 + 32;
        let beside = self.program.bytes + self.before.bytes();
        beside + (self.failed.capacity() * each + self.done.capacity() * size_of::<Done>()) as u64
    }
}

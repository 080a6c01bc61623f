//! The proof that nothing explains some moments, whatever came before them, on its own.
//!
//! The breadth-first engine uses it to prove a violation where it stands (see `Search::refute`). Once it is known
//! where that is, asking only this is a small fraction of a whole search.

use super::budget::{Exhausted, Meter};
use super::machine::Machine;
use super::mask::{Mask, Narrow, Wide};
use super::problem::Problem;
use super::search::Search;

/// Whether, and at which completion, it is certain that nothing can explain the moments from a place on, trying no
/// more than so many configurations at each. Nothing is said of moments that this cannot show to be illegal.
///
/// # Errors
/// [`Exhausted`] if the meter ran out.
pub(crate) fn refute<M: Machine>(
    problem: &mut Problem<M>,
    from: usize,
    tries: usize,
    meter: &mut Meter<'_>,
) -> Result<Option<usize>, Exhausted> {
    let slots = problem.slots();
    match slots.1 {
        0..=64 if M::COMMON => with::<M, Narrow<1>>(problem, slots, from, tries, meter),
        65..=128 if M::COMMON => with::<M, Narrow<2>>(problem, slots, from, tries, meter),
        129..=256 if M::COMMON => with::<M, Narrow<4>>(problem, slots, from, tries, meter),
        _ => with::<M, Wide>(problem, slots, from, tries, meter),
    }
}

fn with<M: Machine, B: Mask>(
    problem: &mut Problem<M>,
    (slots, count): (Vec<u32>, usize),
    from: usize,
    tries: usize,
    meter: &mut Meter<'_>,
) -> Result<Option<usize>, Exhausted> {
    let end = problem.moments.len();
    let mut search = Search::<M, B>::new(problem, slots, count);
    search.refute(from, end, tries, 0, meter)
}

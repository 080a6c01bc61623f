//! Where in a history its violation is.
//!
//! The engine can show of a stretch of moments that nothing explains them whatever came before. What is known of
//! the operations before that stretch then hardly matters, and the proof costs what the stretch costs.

use rustc_hash::{FxHashMap, FxHashSet};

use crate::check::MOMENTS_PER_MOVE;
use crate::engine::{self, CallId, ClassId, Machine, Meter, Moment, Need, PLENTY, Problem, Shape};
use crate::history::{History, OpId};
use crate::model::Domain;
use crate::subhistory::Moments;

/// A stretch up to the last of some moments that nothing explains.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Window {
    /// The place in the history's order with which it begins.
    from: u32,
}

/// A proof may try so many configurations at one completion.
const TRIES: usize = 4096;
/// The shortest stretch, in moments.
const SHORTEST: usize = 8;

impl Window {
    /// The shortest stretch, of those each twice as long as the one before, that shows some moments to be illegal.
    /// Nothing if none does, which says nothing.
    pub(crate) fn find<D: Domain>(
        history: &History,
        domain: &D,
        moments: &Moments<'_>,
        meter: &mut Meter<'_>,
    ) -> Option<Window> {
        if !prepare(moments, meter) {
            return None;
        }
        let mut problem = domain.compile(history, moments);
        let end = problem.moments.len();
        let mut length = problem.slots().1.max(SHORTEST);
        while length < end {
            let from = end - length;
            if engine::refute(&mut problem, from, TRIES, meter).ok()?.is_some() {
                let from = place(history, &problem, from);
                return Some(Window { from });
            }
            length *= 2;
        }
        None
    }

    /// Whether these moments are shown to be illegal by the same stretch.
    pub(crate) fn shows<D: Domain>(
        self,
        history: &History,
        domain: &D,
        moments: &Moments<'_>,
        meter: &mut Meter<'_>,
    ) -> bool {
        if !prepare(moments, meter) {
            return false;
        }
        let mut problem = domain.compile(history, moments);
        let mut places = 0..problem.moments.len();
        // Moments are in the order of their places.
        let from = places.find(|&at| place(history, &problem, at) >= self.from);
        let Some(from) = from else { return false };
        matches!(engine::refute(&mut problem, from, TRIES, meter), Ok(Some(_)))
    }

    /// What of some moments the stretch hangs on.
    ///
    /// What is done before it does not say what was seen there: only which states there may be, what is open, and how
    /// many operations of unknown outcome there are of each kind. More of a kind than can be open at once, or than
    /// are counted, are as good as any number, so that few moments do for all.
    pub(crate) fn ground<D: Domain>(self, history: &History, domain: &D, moments: &Moments<'_>) -> Ground {
        let problem = domain.compile(history, moments);
        let most = problem.slots().1.max(PLENTY as usize);
        let (mut groups, mut before): (Vec<Group>, Vec<Group>) = (Vec::new(), Vec::new());
        let mut group_of: FxHashMap<ClassId, usize> = FxHashMap::default();
        for moment in problem.moments.iter().rev() {
            let Moment::Completed(call) = moment.moment() else {
                continue;
            };
            let call = problem.call(call);
            debug_assert_eq!(call.need, Need::Required, "only those complete");
            if history.operation(call.op).record().completed >= self.from {
                groups.push(Group {
                    all: vec![call.op],
                    some: vec![call.op],
                });
            } else if problem.machine.shape(call.class) != Shape::Observation {
                let group = *group_of.entry(call.class).or_insert_with(|| {
                    before.push(Group::default());
                    before.len() - 1
                });
                before[group].all.push(call.op);
            }
        }
        for group in &mut before {
            // The earliest are of the most use to others.
            let surplus = group.all.len().saturating_sub(most);
            group.some = group.all[surplus..].to_vec();
        }
        groups.append(&mut before);
        let mut needed: FxHashSet<OpId> = groups.iter().flat_map(|group| &group.some).copied().collect();
        let mut unknown: FxHashMap<ClassId, usize> = FxHashMap::default();
        for call in problem.calls.iter().filter(|call| call.need == Need::Optional) {
            let count = unknown.entry(call.class).or_default();
            *count += 1;
            if *count <= most || history.operation(call.op).record().invoked >= self.from {
                needed.insert(call.op);
            }
        }
        // Within one instant one operation may hang on another.
        let all = moments.has_ties();
        let kept = moments.packed().iter().copied();
        Ground {
            moments: kept
                .filter(|moment| all || needed.contains(&OpId(moment >> 1)))
                .collect(),
            groups,
        }
    }
}

/// The operations that a reduction need look at, and moments enough to ask about them.
pub(crate) struct Ground {
    /// As [`Moments`] has them.
    pub(crate) moments: Vec<u32>,
    /// Each operation that completes within the stretch, the latest first; and of those before it what does the same.
    pub(crate) groups: Vec<Group>,
}

/// Operations that are kept or weakened together.
#[derive(Default)]
pub(crate) struct Group {
    pub(crate) all: Vec<OpId>,
    /// So many of them that more make no difference.
    pub(crate) some: Vec<OpId>,
}

/// Pays for making moments ready; says whether there is enough left for that.
fn prepare(moments: &Moments<'_>, meter: &mut Meter<'_>) -> bool {
    meter.prepare(moments.packed().len() as u64 / MOMENTS_PER_MOVE)
}

/// The place of a moment in the order of the history.
fn place<M: Machine>(history: &History, problem: &Problem<M>, at: usize) -> u32 {
    let record = |call: CallId| history.operation(problem.call(call).op).record();
    match problem.moments[at].moment() {
        Moment::Invoked(call) => record(call).invoked,
        Moment::Completed(call) => record(call).completed,
    }
}

//! Judges a few operations by the plainest search there is, for proofs.
//!
//! Moment by moment it keeps everything that the store may be: which of the open operations have taken effect,
//! and the state. When an operation completes, whatever has not let it take effect is dropped; if nothing is
//! left, the operations are illegal. It knows nothing of the engines' tricks, and shares nothing with them but
//! the model in plain words; so it is slow, and gives up after so many steps.
//!
//! Operations of unknown outcome may be used from their invocation on, once each, and that they are counted is what
//! makes the search large. So easier questions come first. What cannot be explained although they may be used as
//! often as one likes is illegal; what can be explained with a few of them is legal.

use std::collections::VecDeque;

use hashbrown::HashMap;
use rustc_hash::{FxBuildHasher, FxHashMap, FxHashSet};

use crate::history::{OpId, Value};
use crate::model::{Domain, Effect, Invocation, Model, Observed};
use crate::subhistory::Moments;

/// What the judge says.
#[derive(Clone, Debug)]
pub(crate) enum Ruling<S> {
    /// Some order explains everything.
    Legal,
    /// None does.
    Illegal(Standstill<S>),
    /// It would take more steps than were allowed.
    TooLarge,
}

/// Everything that the store may have been when an operation completed that none of it explains.
#[derive(Clone, Debug)]
pub(crate) struct Standstill<S> {
    /// The operation that completed.
    pub(crate) demanded: OpId,
    /// Operations that had been invoked by then and must take effect.
    pub(crate) open: Vec<OpId>,
    /// Each state, with those of the open operations that had taken effect in it.
    pub(crate) configurations: Vec<(S, Vec<OpId>)>,
}

/// What stands for the values that operations of unknown outcome may have written and nobody saw or expected:
/// which of them it is makes no difference.
pub(crate) const UNSEEN: &str = "one that nobody here saw";

/// Judges some moments, in at most so many steps of the model.
pub(crate) fn judge<D: Domain>(domain: &D, moments: &Moments<'_>, steps: u64) -> Ruling<StateOf<D>> {
    let case = Case::new(domain, moments);
    for uses in [Uses::Few(1), Uses::Any, Uses::Near, Uses::Few(3), Uses::Counted] {
        // Used as often as one likes, what is queued would grow without end.
        let bounded = domain.compares_values() || case.grows;
        if matches!(uses, Uses::Any | Uses::Near) && !bounded {
            continue;
        }
        match (uses, case.rule(uses, &mut { steps })) {
            (Uses::Any | Uses::Near | Uses::Counted, ruling @ Ruling::Illegal(_))
            | (Uses::Few(_) | Uses::Counted, ruling @ Ruling::Legal) => return ruling,
            _ => {}
        }
    }
    Ruling::TooLarge
}

/// More uses of what is not counted between two moments than this: a queue that is filled without end, of which
/// every state is larger than the one before. Nothing is said then; counting says more.
const MOST_UNCOUNTED: usize = 64;

/// How often operations of unknown outcome may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Uses {
    /// As often as one likes: more than is allowed.
    Any,
    /// Those that write what others saw as often as there are such; all else as often as one likes.
    Near,
    /// So many of them in all: less than is allowed.
    Few(usize),
    /// As often as there are such.
    Counted,
}

type StateOf<D> = <<D as Domain>::Rules as Model>::State;

/// Some moments, ready to be judged.
struct Case<'a, D> {
    domain: &'a D,
    unseen: Unseen,
    pieces: Vec<Piece>,
    /// Operations of unknown outcome that do the same.
    classes: Vec<Class>,
    moments: Vec<Moment>,
    /// Whether every operation only adds to the state.
    grows: bool,
}

/// An operation that must take effect.
struct Piece {
    op: OpId,
    call: Invocation,
    /// The operation of the same process and instant that must come first.
    after: Option<usize>,
}

struct Class {
    call: Invocation,
    after: Option<usize>,
    /// Whether it writes what an operation saw that must take effect.
    near: bool,
}

#[derive(Clone, Copy)]
enum Moment {
    Invoked(usize),
    Offered(usize),
    Completed(usize),
}

/// One thing that the store may be.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Configuration<S> {
    state: S,
    /// The open operations that have taken effect, sorted.
    taken: Vec<usize>,
    /// The classes that were used, sorted, as often as they were; without the unseen ones.
    used: Vec<usize>,
}

/// Configurations in the order in which they were found, each with how often unseen values were written.
struct Found<S> {
    order: Vec<Configuration<S>>,
    unseen: HashMap<Configuration<S>, usize, FxBuildHasher>,
}

impl<'a, D: Domain> Case<'a, D> {
    fn new(domain: &'a D, moments: &Moments<'_>) -> Case<'a, D> {
        let mut case = Case {
            domain,
            unseen: Unseen::among(domain, moments),
            pieces: Vec::new(),
            classes: Vec::new(),
            moments: Vec::new(),
            grows: true,
        };
        let mut ops: FxHashMap<OpId, usize> = FxHashMap::default();
        let mut classes: HashMap<(Invocation, Option<usize>), usize, FxBuildHasher> =
            HashMap::with_hasher(FxBuildHasher);
        for (op, completes) in moments.iter() {
            if completes {
                case.moments.extend(ops.get(&op).copied().map(Moment::Completed));
                continue;
            }
            let Ok(Some(call)) = domain.call(moments.operation(op), moments.is_complete(op)) else {
                continue;
            };
            let call = case.unseen.replaced(call);
            case.grows &= domain.rules().only_grows(&call);
            let after = moments.after(op, |before| ops.get(&before).copied());
            if call.result == Observed::Unknown {
                let class = *classes.entry((call, after)).or_insert_with_key(|(call, after)| {
                    case.classes.push(Class {
                        call: call.clone(),
                        after: *after,
                        near: false,
                    });
                    case.classes.len() - 1
                });
                case.moments.push(Moment::Offered(class));
            } else {
                ops.insert(op, case.pieces.len());
                case.moments.push(Moment::Invoked(case.pieces.len()));
                case.pieces.push(Piece { op, call, after });
            }
        }
        let effect = |call: &Invocation| Effect::of(domain.name(), call);
        let seen: FxHashSet<Value> = case
            .pieces
            .iter()
            .filter_map(|piece| effect(&piece.call).saw)
            .collect();
        for class in &mut case.classes {
            class.near = effect(&class.call).made.is_some_and(|made| seen.contains(&made));
        }
        case
    }

    fn rule(&self, uses: Uses, steps: &mut u64) -> Ruling<StateOf<D>> {
        let mut now = Found::new();
        now.add(
            Configuration {
                state: self.domain.rules().init(),
                taken: Vec::new(),
                used: Vec::new(),
            },
            0,
        );
        let mut open: Vec<usize> = Vec::new();
        // What has not completed yet, whether or not it was invoked.
        let mut pending: Vec<usize> = (0..self.pieces.len()).collect();
        let mut offered = vec![0usize; self.classes.len()];
        for moment in &self.moments {
            match *moment {
                Moment::Invoked(piece) => open.push(piece),
                Moment::Offered(class) => offered[class] += 1,
                Moment::Completed(piece) => {
                    if !self.close(&mut now, &open, &pending, &offered, uses, steps) {
                        return Ruling::TooLarge;
                    }
                    let before = std::mem::replace(&mut now, Found::new());
                    for configuration in &before.order {
                        if let Ok(at) = configuration.taken.binary_search(&piece) {
                            let mut rest = configuration.clone();
                            rest.taken.remove(at);
                            now.add(rest, before.unseen[configuration]);
                        }
                    }
                    if now.order.is_empty() {
                        return Ruling::Illegal(self.standstill(piece, &open, before.order));
                    }
                    open.retain(|&other| other != piece);
                    pending.retain(|&other| other != piece);
                }
            }
        }
        Ruling::Legal
    }

    /// Adds everything that the store may become before the next moment; false if that takes too long.
    fn close(
        &self,
        found: &mut Found<StateOf<D>>,
        open: &[usize],
        pending: &[usize],
        offered: &[usize],
        uses: Uses,
        steps: &mut u64,
    ) -> bool {
        // With how many uses of what is not counted led there: states that grow would grow without end.
        let begun = found.order.iter().map(|configuration| (configuration.clone(), 0));
        let mut queue: VecDeque<(Configuration<StateOf<D>>, usize)> = begun.collect();
        while let Some((configuration, uncounted)) = queue.pop_front() {
            let unseen = found.unseen[&configuration];
            let passed = |after: Option<usize>| {
                after.is_none_or(|before| {
                    !open.contains(&before) || configuration.taken.binary_search(&before).is_ok()
                })
            };
            for &piece in open {
                let Err(at) = configuration.taken.binary_search(&piece) else {
                    continue;
                };
                if !passed(self.pieces[piece].after) {
                    continue;
                }
                if *steps == 0 {
                    return false;
                }
                *steps -= 1;
                if let Some(state) = self.step(&configuration.state, &self.pieces[piece].call) {
                    let mut next = configuration.clone();
                    next.state = state;
                    next.taken.insert(at, piece);
                    if !self.hopeless(&next, pending) && found.add(next.clone(), unseen) {
                        queue.push_back((next, uncounted));
                    }
                }
            }
            for (class, what) in self
                .classes
                .iter()
                .enumerate()
                .filter(|&(class, _)| offered[class] > 0)
            {
                let free = is_unseen(&what.call);
                let used = match free {
                    true => unseen,
                    false => configuration.used.iter().filter(|&&used| used == class).count(),
                };
                let counted = match uses {
                    Uses::Any => false,
                    Uses::Near => what.near,
                    Uses::Few(_) | Uses::Counted => true,
                };
                let all = unseen + configuration.used.len();
                if counted && used >= offered[class] || matches!(uses, Uses::Few(most) if all >= most) {
                    continue;
                }
                if !passed(what.after) {
                    continue;
                }
                if *steps == 0 {
                    return false;
                }
                *steps -= 1;
                let next = self.step(&configuration.state, &what.call);
                if let Some(state) = next.filter(|state| *state != configuration.state) {
                    let mut next = configuration.clone();
                    next.state = state;
                    let mut now_unseen = unseen;
                    match (counted, free) {
                        (false, _) => {}
                        (true, true) => now_unseen += 1,
                        (true, false) => {
                            let at = next.used.partition_point(|&used| used <= class);
                            next.used.insert(at, class);
                        }
                    }
                    let uncounted = uncounted + usize::from(!counted);
                    if uncounted > MOST_UNCOUNTED {
                        return false;
                    }
                    if !self.hopeless(&next, pending) && found.add(next.clone(), now_unseen) {
                        queue.push_back((next, uncounted));
                    }
                }
            }
        }
        true
    }

    /// Whether a state that only grows has grown too far for an operation that is still to take effect.
    fn hopeless(&self, configuration: &Configuration<StateOf<D>>, pending: &[usize]) -> bool {
        self.grows
            && pending.iter().any(|piece| {
                configuration.taken.binary_search(piece).is_err()
                    && self
                        .domain
                        .rules()
                        .outgrown(&configuration.state, &self.pieces[*piece].call)
            })
    }

    /// The state after an operation; those that make no difference as one.
    fn step(&self, state: &StateOf<D>, call: &Invocation) -> Option<StateOf<D>> {
        let next = self.domain.rules().step(state, call)?;
        Some(match self.unseen.states {
            true => self.domain.forget(next, &self.unseen.seen, UNSEEN),
            false => next,
        })
    }

    fn standstill(
        &self,
        demanded: usize,
        open: &[usize],
        configurations: Vec<Configuration<StateOf<D>>>,
    ) -> Standstill<StateOf<D>> {
        let op = |&piece: &usize| self.pieces[piece].op;
        Standstill {
            demanded: self.pieces[demanded].op,
            open: open.iter().map(op).collect(),
            configurations: configurations
                .into_iter()
                .map(|configuration| (configuration.state, configuration.taken.iter().map(op).collect()))
                .collect(),
        }
    }
}

impl<S: Clone + Eq + std::hash::Hash> Found<S> {
    fn new() -> Found<S> {
        Found {
            order: Vec::new(),
            unseen: HashMap::with_hasher(FxBuildHasher),
        }
    }

    /// Whether it is new, or is had for fewer unseen values now.
    fn add(&mut self, configuration: Configuration<S>, unseen: usize) -> bool {
        match self.unseen.get_mut(&configuration) {
            Some(known) if *known <= unseen => false,
            Some(known) => {
                *known = unseen;
                true
            }
            None => {
                self.order.push(configuration.clone());
                self.unseen.insert(configuration, unseen);
                true
            }
        }
    }
}

/// The values of registers that make no difference: those that perhaps were written, but never seen or expected.
/// Registers treat all values alike (Wolper, "Expressing interesting properties of programs", 1986), so that one of
/// them may stand for all.
struct Unseen {
    /// The values that make one.
    seen: FxHashSet<Value>,
    /// Whether what is written may be replaced at once: only if nothing can be appended to it.
    written: bool,
    /// Whether states may be.
    states: bool,
}

impl Unseen {
    fn among<D: Domain>(domain: &D, moments: &Moments<'_>) -> Unseen {
        let mut unseen = Unseen {
            seen: FxHashSet::from_iter([domain.init_value(), Value::Nil]),
            written: true,
            states: true,
        };
        for op in moments.invoked() {
            let Ok(Some(call)) = domain.call(moments.operation(op), moments.is_complete(op)) else {
                continue;
            };
            let plain = matches!(&*call.f, "get" | "set" | "cas" | "delete" | "append");
            let register = plain && domain.compares_values();
            unseen.states &= register;
            unseen.written &= register && call.f != "append";
            let expected = match (&*call.f, &call.input) {
                ("cas", Value::List(pair)) => pair.first().cloned(),
                ("set", input) if call.result != Observed::Unknown => Some(input.clone()),
                _ => None,
            };
            let told = match &call.result {
                Observed::Ok(told, _) => Some(told.clone()),
                Observed::Mismatch(told) => told.clone(),
                Observed::Unknown => None,
            };
            unseen.seen.extend(expected.into_iter().chain(told));
        }
        unseen
    }

    fn replaced(&self, mut call: Invocation) -> Invocation {
        if !self.written || call.result != Observed::Unknown {
            return call;
        }
        match &mut call.input {
            new if call.f == "set" && !self.seen.contains(new) => *new = Value::from(UNSEEN),
            Value::List(pair) if call.f == "cas" => {
                if let Some(new) = pair.get_mut(1).filter(|new| !self.seen.contains(new)) {
                    *new = Value::from(UNSEEN);
                }
            }
            _ => {}
        }
        call
    }
}

fn is_unseen(call: &Invocation) -> bool {
    call.f == "set" && call.input.as_str() == Some(UNSEEN)
}

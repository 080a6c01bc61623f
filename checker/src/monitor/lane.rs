//! One key while its history is being made.

use rustc_hash::FxHashSet;

use super::action::{Action, State, action};
use super::frontier::{Frontier, Passed};
use crate::check::is_illegal;
use crate::engine::{Budget, Meter};
use crate::history::{Builder, NEVER, Nanos, OpId, Pool, Renumbering, Value, Word};
use crate::model::{Domain, Guarded, RegisterRules, Registers};
use crate::subhistory::Moments;
use crate::verdict::Stand;

/// What is known of one key, and what is still to be explained.
///
/// Invariants:
/// - `log` begins with the operations that were open or of unknown outcome at `anchor` and had not taken effect,
///   and goes on with all that has passed since; the state of the key certainly was `anchor.state` then. So the
///   log alone is illegal exactly if the whole is;
/// - `frontier` holds every way to explain what is before `taken` in the log, unless `followed` says otherwise.
///
/// There may be very many lanes, and each is far away when something comes to it: what is needed then is close
/// together.
#[derive(Clone, Debug)]
pub(super) struct Lane {
    pub(super) key: Word,
    frontier: Frontier,
    followed: Followed,
    anchor: Anchor,
    /// Moments as [`Moments`] has them.
    log: Vec<u32>,
    /// So many of them were taken; those that wait are behind: an invocation waits until the outcome is known.
    taken: usize,
    next_anchor: Option<Box<NextAnchor>>,
    /// How many waited when it was last looked at although something of it is open.
    looked_at: usize,
    revisions: Revisions,
    /// How many completions have come.
    completed: usize,
    /// How many of them came before the anchor.
    explained: usize,
    /// The operation of which the completion cannot be explained.
    pub(super) stuck: Option<OpId>,
}

/// What was said of revisions so far.
#[derive(Clone, Copy, Debug, Default)]
struct Revisions {
    asked: bool,
    told: bool,
}

/// An anchor that will do when more has come.
#[derive(Clone, Debug)]
struct NextAnchor {
    anchor: Anchor,
    /// How much of the log it does without.
    passed: usize,
    /// What was carried over it.
    carried: Vec<OpId>,
}

/// How a lane is judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Followed {
    /// By its frontier.
    ByFrontier,
    /// There are too many ways; the engines judge everything since the anchor, now and then. So many completions
    /// have come since they did.
    ByEngines { fresh: usize },
    /// Too much came since the anchor; nothing is known any more.
    No,
}

/// A moment at which the state of the key is known: nothing that was open had taken effect.
#[derive(Clone, Copy, Debug)]
pub(super) struct Anchor {
    pub(super) state: State,
    /// When; nothing at the beginning.
    pub(super) at: Option<Nanos>,
}

/// So many moments are kept before an anchor is moved, so that a violation can be explained.
const KEPT: usize = 128;
/// The engines are not asked before so many completions have come.
const LEAST: usize = 16;
/// The engines are asked when this part of what was done is new.
const PART: usize = 8;
/// Moves that one judgement on the way may take; what takes more is left to the end.
const PATIENCE: u64 = 200_000;

impl Lane {
    pub(super) fn new(key: Word, init: Word) -> Lane {
        let state = State {
            value: init,
            rev: None,
        };
        Lane {
            key,
            frontier: Frontier::new(state),
            followed: Followed::ByFrontier,
            anchor: Anchor { state, at: None },
            log: Vec::new(),
            taken: 0,
            next_anchor: None,
            looked_at: 0,
            revisions: Revisions::default(),
            completed: 0,
            explained: 0,
            stuck: None,
        }
    }

    /// An event has passed.
    pub(super) fn put(&mut self, builder: &Builder, op: OpId, completes: bool) {
        self.completed += usize::from(completes);
        let invoked = |&moment: &u32| moment == op.0 << 1;
        if completes && !self.log.iter().rev().any(invoked) {
            // It was forgotten at an anchor, since it does nothing.
            self.explained += 1;
            return;
        }
        self.log.push(op.0 << 1 | u32::from(completes));
        if builder.history.records[op.0 as usize].details != NEVER {
            let operation = builder.history.operation(op);
            self.revisions.asked |= operation.asked_rev().is_some();
            self.revisions.told |= operation.told_rev().is_some();
        }
    }

    /// How many moments were not taken yet.
    fn waiting(&self) -> usize {
        self.log.len() - self.taken
    }

    /// The moment of the anchor, if it is not the beginning.
    pub(super) fn anchored_at(&self) -> Option<Nanos> {
        self.anchor.at
    }

    /// How far it is certainly explained, and how much there is.
    pub(super) fn stand(&self, key: Option<Value>) -> Stand {
        Stand {
            key,
            explained: self.explained,
            of: self.completed,
        }
    }

    /// How much is held.
    pub(super) fn len(&self) -> usize {
        self.log.len()
    }

    /// Operations that must be held on to.
    pub(super) fn held(&self) -> impl Iterator<Item = OpId> {
        self.log.iter().map(|&moment| OpId(moment >> 1))
    }

    /// Takes what can be taken.
    pub(super) fn advance(&mut self, builder: &mut Builder, domain: &Registers) {
        self.take(builder, domain, false);
        // Something that stays open for long must not hide what is wrong behind it: whatever becomes of it, it is
        // no worse than unknown.
        if self.stuck.is_none() && self.waiting() > LEAST.max(2 * self.looked_at) {
            self.looked_at = self.waiting();
            self.look(builder, domain);
        }
        if self.waiting() < self.looked_at / 4 {
            self.looked_at = 0;
        }
    }

    /// Judges what is there as if nothing that is open ever came back.
    pub(super) fn look(&mut self, builder: &mut Builder, domain: &Registers) {
        if self.waiting() == 0 && self.followed == Followed::ByFrontier {
            return;
        }
        let mut trial = self.clone();
        trial.take(builder, domain, true);
        if let Followed::ByEngines { fresh: 1.. } = trial.followed {
            let budget = Budget::new(None, None);
            trial.ask_engines(builder, domain, &mut budget.meter().patient(PATIENCE));
        }
        self.stuck = self.stuck.or(trial.stuck);
    }

    /// Judges everything, at the end; says whether it is known.
    pub(super) fn finish(
        &mut self,
        builder: &mut Builder,
        domain: &Registers,
        meter: &mut Meter<'_>,
    ) -> bool {
        self.take(builder, domain, true);
        if self.stuck.is_some() {
            return true;
        }
        match self.followed {
            Followed::ByFrontier => true,
            // The engines begin without a revision, which allows more.
            Followed::ByEngines { .. } => match self.ask_engines(builder, domain, meter) {
                Some(true) => true,
                Some(false) => !self.revisions.asked || self.anchor.state.rev.is_none(),
                None => false,
            },
            Followed::No => false,
        }
    }

    /// Too much is held: gives up what explanations would be made of; if that is not enough, the key.
    pub(super) fn shed(&mut self, builder: &Builder) {
        match (self.followed, self.frontier.settled()) {
            (Followed::ByFrontier, Some(state)) => {
                let taken = self.taken;
                let at = self.log[..taken].iter().rev().find(|&&moment| moment & 1 == 1);
                let at = at.map(|&moment| builder.history.margins[(moment >> 1) as usize].completed_at);
                let next = NextAnchor {
                    anchor: Anchor {
                        state,
                        at: at.or(self.anchor.at),
                    },
                    passed: taken,
                    carried: self.frontier.carried().collect(),
                };
                self.move_to(next);
            }
            (Followed::ByFrontier, None) => {}
            (Followed::ByEngines { .. } | Followed::No, _) => {
                self.followed = Followed::No;
                self.log.clear();
                self.taken = 0;
                self.next_anchor = None;
                self.frontier = Frontier::new(self.anchor.state);
            }
        }
    }

    pub(super) fn renew(&mut self, renumbering: &Renumbering, pool: &mut Pool) {
        let mut word = |word: Word| renumbering.word(pool, word);
        self.key = word(self.key);
        self.anchor.state.value = word(self.anchor.state.value);
        if let Some(next) = &mut self.next_anchor {
            next.anchor.state.value = word(next.anchor.state.value);
            for op in &mut next.carried {
                *op = renumbering.op(*op);
            }
        }
        match self.followed {
            Followed::ByFrontier => self.frontier.renew(word, |op| renumbering.op(op)),
            Followed::ByEngines { .. } | Followed::No => self.frontier = Frontier::new(self.anchor.state),
        }
        for moment in &mut self.log {
            *moment = renumbering.op(OpId(*moment >> 1)).0 << 1 | *moment & 1;
        }
        self.stuck = self.stuck.map(|op| renumbering.op(op));
    }

    fn take(&mut self, builder: &mut Builder, domain: &Registers, all: bool) {
        while let Some(&moment) = self.log.get(self.taken) {
            let (op, completes) = (OpId(moment >> 1), moment & 1 == 1);
            let record = &builder.history.records[op.0 as usize];
            let known = record.answered;
            if self.stuck.is_some() || !completes && !known && !all {
                return;
            }
            self.taken += 1;
            match self.followed {
                Followed::ByFrontier => match self.pass(builder, domain.rules(), op, completes) {
                    Passed::Explained if completes => self.drop_anchor(builder, op),
                    Passed::Explained => {}
                    Passed::Stuck => self.stuck = Some(op),
                    Passed::TooMany => {
                        if let Some(next) = self.next_anchor.take() {
                            self.move_to(*next);
                        }
                        self.followed = Followed::ByEngines { fresh: LEAST };
                    }
                },
                Followed::ByEngines { fresh } => {
                    let fresh = fresh + usize::from(completes);
                    self.followed = Followed::ByEngines { fresh };
                    if completes && !all && fresh >= LEAST.max(self.log.len() / 2 / PART) {
                        let budget = Budget::new(None, None);
                        self.ask_engines(builder, domain, &mut budget.meter().patient(PATIENCE));
                    }
                }
                Followed::No => {}
            }
        }
    }

    fn pass(&mut self, builder: &mut Builder, rules: &RegisterRules, op: OpId, completes: bool) -> Passed {
        if completes {
            return self.frontier.complete(op, &mut builder.history.pool);
        }
        if is_tied(builder, op) {
            return Passed::TooMany;
        }
        match action(&mut builder.history, op, rules) {
            Some((action, required)) => {
                let pool = &mut builder.history.pool;
                self.frontier.invoke(op, action, required, pool)
            }
            None => Passed::Explained,
        }
    }

    /// Notes an anchor when enough has come since the last.
    fn drop_anchor(&mut self, builder: &Builder, op: OpId) {
        if self.taken < KEPT + self.next_anchor.as_ref().map_or(0, |next| next.passed) {
            return;
        }
        let Some(state) = self.frontier.settled() else {
            return;
        };
        if let Some(before) = self.next_anchor.take() {
            self.move_to(*before);
        }
        let at = Some(builder.history.margins[op.0 as usize].completed_at);
        self.next_anchor = Some(Box::new(NextAnchor {
            anchor: Anchor { state, at },
            passed: self.taken,
            carried: self.frontier.carried().collect(),
        }));
    }

    /// Forgets what came before an anchor, and with it what was open there and does nothing, such as a write that
    /// failed: every completion in the log has its invocation there, or [`Lane::settle`] would miscount.
    fn move_to(&mut self, next: NextAnchor) {
        let (passed, kept) = self.log.split_at(next.passed);
        let mut idle: Vec<u32> = Vec::new();
        for &moment in passed {
            match moment & 1 {
                0 => idle.push(moment),
                _ => {
                    self.explained += 1;
                    let at = idle.iter().rposition(|&open| open == moment & !1);
                    at.map(|at| idle.swap_remove(at));
                }
            }
        }
        idle.retain(|&open| !next.carried.contains(&OpId(open >> 1)));
        let stays = |moment: &&u32| **moment & 1 == 0 || !idle.contains(&(**moment & !1));
        let taken = kept.len().min(self.taken.saturating_sub(next.passed));
        self.taken = next.carried.len() + kept[..taken].iter().filter(stays).count();
        let stayed = kept.iter().filter(stays);
        let log: Vec<u32> = (next.carried.iter().map(|op| op.0 << 1))
            .chain(stayed.copied())
            .collect();
        self.explained += next.carried.len() + kept.len() - log.len();
        self.log = log;
        self.anchor = next.anchor;
        self.next_anchor = None;
    }

    /// Does something with the moments since the anchor, and the register as it was then.
    pub(super) fn since_anchor<T>(
        &self,
        builder: &Builder,
        domain: &Registers,
        f: impl FnOnce(&Registers, &Moments<'_>) -> T,
    ) -> T {
        let since = Registers {
            rules: Guarded::new(RegisterRules {
                init: builder.history.pool.value(self.anchor.state.value),
                cas_fail: domain.rules.cas_fail,
            }),
            name: domain.name,
        };
        let completions = self.log.iter().filter(|&&moment| moment & 1 == 1);
        let complete: FxHashSet<OpId> = completions.map(|&moment| OpId(moment >> 1)).collect();
        f(&since, &Moments::some(&builder.history, &self.log, &complete))
    }

    /// Has the engines judge everything since the anchor; nothing if they give up.
    fn ask_engines(
        &mut self,
        builder: &mut Builder,
        domain: &Registers,
        meter: &mut Meter<'_>,
    ) -> Option<bool> {
        if let Followed::ByEngines { fresh } = &mut self.followed {
            *fresh = 0;
        }
        let last = self.log.iter().rev().find(|&&moment| moment & 1 == 1);
        let Some(last) = last.map(|&moment| OpId(moment >> 1)) else {
            return Some(false);
        };
        let illegal = self.since_anchor(builder, domain, |since, moments| {
            is_illegal(&builder.history, since, moments, meter)
        })?;
        if illegal {
            self.stuck = Some(last);
        } else {
            self.settle(builder, domain);
        }
        Some(illegal)
    }

    /// Looks for the latest operation during which nothing else was open and that says what the value is: after it
    /// there is but one state, and it is where to follow from. Everything since the anchor is legal.
    fn settle(&mut self, builder: &mut Builder, domain: &Registers) {
        let invoked = self.log.iter().filter(|&&moment| moment & 1 == 0).count();
        if self.log.len() != 2 * invoked || self.revisions.asked {
            return;
        }
        let (mut open, mut found) = (0usize, None);
        for (at, &moment) in self.log.iter().enumerate() {
            if moment & 1 == 0 {
                open += 1;
                continue;
            }
            open -= 1;
            let alone = open == 0 && at > 0 && self.log[at - 1] == moment & !1;
            if alone && let Some(state) = self.says(builder, domain.rules(), OpId(moment >> 1)) {
                found = Some((at + 1, OpId(moment >> 1), state));
            }
        }
        let Some((passed, op, state)) = found else { return };
        let at = Some(builder.history.margins[op.0 as usize].completed_at);
        self.move_to(NextAnchor {
            anchor: Anchor { state, at },
            passed,
            carried: Vec::new(),
        });
        self.frontier = Frontier::new(state);
        self.followed = Followed::ByFrontier;
        self.taken = 0;
    }

    /// The state after an operation that nothing else came in between, if the operation says.
    fn says(&self, builder: &mut Builder, rules: &RegisterRules, op: OpId) -> Option<State> {
        match action(&mut builder.history, op, rules)? {
            (Action::Writes(to) | Action::Exchanges { to, .. }, true) => Some(to),
            // What was read says nothing of the revision.
            (Action::Reads(value), true) if !self.revisions.told => Some(State { value, rev: None }),
            _ => None,
        }
    }
}

/// Whether its process completed another operation in the instant in which it invoked this one, and the order
/// does not say that that came first.
fn is_tied(builder: &Builder, op: OpId) -> bool {
    let ties = builder.history.turns_within_instants();
    ties.binary_search_by_key(&op, |&(later, _)| later).is_ok()
}

//! Every way in which the operations of one key can be explained so far.
//!
//! The set of configurations that just-in-time linearization (Lowe 2017) can be in after the completions that
//! were seen, without those that others cover: exact, and as small as what is open allows. It is the breadth-first
//! engine fed by events, with that engine's reductions (see `engine::search`): observations count as soon as they
//! are possible; an overwrite hides; what nobody demands is tried only where it makes something possible;
//! operations of unknown outcome are carried along for as long as some configuration has not used them.

use rustc_hash::FxHashMap;

use super::action::{Action, State};
use crate::history::{OpId, Pool, Word};

/// One way to explain everything so far.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Configuration {
    pub(super) state: State,
    /// Open operations that took effect.
    done: u64,
    /// Open operations that may have taken effect without a trace.
    spare: u64,
    /// Operations of unknown outcome that took effect, in order.
    used: Vec<OpId>,
}

/// The configurations of one key, and what is open.
#[derive(Clone, Debug)]
pub(super) struct Frontier {
    pub(super) configurations: Vec<Configuration>,
    open: Vec<Option<(OpId, Action)>>,
    /// Operations of unknown outcome that some configuration has not used.
    optional: Vec<(OpId, Action)>,
    /// Those of them that lead to a value, by the value.
    leading_to: FxHashMap<Word, Vec<(OpId, Action)>>,
    /// How many of them lead to no one value.
    general: usize,
}

/// What became of the frontier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Passed {
    /// Everything can still be explained.
    Explained,
    /// Nothing explains this completion.
    Stuck,
    /// There are too many ways to hold them all.
    TooMany,
}

/// More operations than this are not followed while open at once on one key.
const SLOTS: usize = 64;
/// More configurations than this are not held.
const MOST: usize = 128;
/// More steps than this are not taken for one completion.
const STEPS: usize = 4000;
/// So few operations of unknown outcome are simply all tried.
const FEW: usize = 8;

impl Frontier {
    /// Nothing was done yet, and the state is this.
    pub(super) fn new(state: State) -> Frontier {
        Frontier {
            configurations: vec![Configuration {
                state,
                done: 0,
                spare: 0,
                used: Vec::new(),
            }],
            open: Vec::new(),
            optional: Vec::new(),
            leading_to: FxHashMap::default(),
            general: 0,
        }
    }

    /// The one state there can be, if there is but one configuration and nothing that is open took effect.
    pub(super) fn settled(&self) -> Option<State> {
        match &self.configurations[..] {
            [only] if only.done | only.spare == 0 => Some(only.state),
            _ => None,
        }
    }

    /// Operations that may still take effect: open ones, and those of unknown outcome.
    pub(super) fn carried(&self) -> impl Iterator<Item = OpId> {
        let open = self.open.iter().flatten().map(|&(op, _)| op);
        open.chain(self.optional.iter().map(|&(op, _)| op))
    }

    /// An operation is invoked of which the outcome is known by now.
    pub(super) fn invoke(&mut self, op: OpId, action: Action, required: bool, pool: &mut Pool) -> Passed {
        if !required {
            self.add_optional(op, action);
            return Passed::Explained;
        }
        let slot = match self.open.iter().position(Option::is_none) {
            Some(slot) => slot,
            None if self.open.len() == SLOTS => return Passed::TooMany,
            None => {
                self.open.push(None);
                self.open.len() - 1
            }
        };
        self.open[slot] = Some((op, action));
        let bit = 1 << slot;
        for here in &mut self.configurations {
            let next = match action {
                Action::Exchanges { .. } => continue,
                action => action.step(here.state, pool),
            };
            if action.observes() {
                here.done |= if next.is_some() { bit } else { 0 };
            } else if next == Some(here.state) {
                here.spare |= bit;
            }
        }
        Passed::Explained
    }

    /// A required operation completes: every configuration must have linearized it by now.
    pub(super) fn complete(&mut self, op: OpId, pool: &mut Pool) -> Passed {
        let slot = self
            .open
            .iter()
            .position(|open| open.is_some_and(|(found, _)| found == op));
        let Some(slot) = slot else {
            return Passed::Explained;
        };
        let bit = 1u64 << slot;
        if let Some(passed) = self.complete_alone(slot, pool) {
            return passed;
        }
        let before = std::mem::take(&mut self.configurations);
        let mut passed: Vec<Configuration> = Vec::with_capacity(before.len());
        let mut steps = STEPS;
        let traceless = self.mask(Action::is_total);
        let observing = self.mask(Action::observes);
        for here in before {
            if here.done & bit != 0 {
                keep(&mut passed, here, traceless, observing);
            } else if !self.explain(here, slot, &mut passed, &mut steps, (traceless, observing), pool) {
                return Passed::TooMany;
            }
            if passed.len() > MOST {
                return Passed::TooMany;
            }
        }
        self.open[slot] = None;
        for here in &mut passed {
            here.done &= !bit;
            here.spare &= !bit;
        }
        let mut next: Vec<Configuration> = Vec::with_capacity(passed.len());
        for here in passed {
            keep(&mut next, here, traceless & !bit, observing & !bit);
        }
        self.configurations = next;
        self.forget_used();
        if self.configurations.is_empty() {
            Passed::Stuck
        } else {
            Passed::Explained
        }
    }

    /// The same where nothing else is open and there is one configuration: nearly always.
    fn complete_alone(&mut self, slot: usize, pool: &mut Pool) -> Option<Passed> {
        let (_, action) = self.open[slot]?;
        let [here] = &mut self.configurations[..] else {
            return None;
        };
        if self.open.iter().flatten().count() > 1 {
            return None;
        }
        let bit = 1 << slot;
        if here.done & bit == 0 {
            let next = action.step(here.state, pool);
            if here.spare & bit != 0 && next != Some(here.state) {
                return None;
            }
            // What is of unknown outcome may have come before it, and is not needed for that. That leads elsewhere only
            // if there is another state for it to lead to.
            let to_one = matches!(action, Action::Writes(_) | Action::Exchanges { .. });
            let suffices = self.optional.is_empty() || to_one && next.is_some();
            if !suffices {
                return None;
            }
            match next {
                Some(next) => here.state = next,
                None => self.configurations.clear(),
            }
        }
        self.open[slot] = None;
        Some(match &mut self.configurations[..] {
            [here] => {
                (here.done, here.spare) = (0, 0);
                Passed::Explained
            }
            _ => Passed::Stuck,
        })
    }

    /// Does something to every word and operation that is held.
    pub(super) fn renew(&mut self, mut word: impl FnMut(Word) -> Word, op: impl Fn(OpId) -> OpId) {
        for here in &mut self.configurations {
            here.state.value = word(here.state.value);
            for used in &mut here.used {
                *used = op(*used);
            }
        }
        for (id, action) in self.open.iter_mut().flatten() {
            (*id, *action) = (op(*id), action.map(&mut word));
        }
        let optional = std::mem::take(&mut self.optional);
        (self.leading_to, self.general) = (FxHashMap::default(), 0);
        for (id, action) in optional {
            self.add_optional(op(id), action.map(&mut word));
        }
    }

    fn add_optional(&mut self, op: OpId, action: Action) {
        self.optional.push((op, action));
        match leads_to(action) {
            Some(value) => self.leading_to.entry(value).or_default().push((op, action)),
            None => self.general += 1,
        }
    }

    /// What every configuration has used is no option any more.
    fn forget_used(&mut self) {
        let Some(first) = self.configurations.first() else {
            return;
        };
        if first.used.is_empty() {
            return;
        }
        let others = &self.configurations[1..];
        let all = first
            .used
            .iter()
            .copied()
            .filter(|op| others.iter().all(|here| here.used.contains(op)));
        let gone: Vec<OpId> = all.collect();
        for here in &mut self.configurations {
            here.used.retain(|op| !gone.contains(op));
        }
        for op in gone {
            let Some(at) = self.optional.iter().position(|&(found, _)| found == op) else {
                continue;
            };
            let (_, action) = self.optional.swap_remove(at);
            match leads_to(action) {
                None => self.general -= 1,
                Some(value) => {
                    if let Some(list) = self.leading_to.get_mut(&value) {
                        list.retain(|&(found, _)| found != op);
                        if list.is_empty() {
                            self.leading_to.remove(&value);
                        }
                    }
                }
            }
        }
    }

    /// The open slots of actions of some kind.
    fn mask(&self, kind: impl Fn(Action) -> bool) -> u64 {
        let slots = self.open.iter().enumerate();
        slots
            .filter(|(_, open)| open.is_some_and(|(_, action)| kind(action)))
            .fold(0, |mask, (slot, _)| mask | 1 << slot)
    }

    /// Finds every way from a configuration to one in which the demanded slot is linearized. Says whether all of
    /// them were found.
    fn explain(
        &self,
        from: Configuration,
        demanded: usize,
        passed: &mut Vec<Configuration>,
        steps: &mut usize,
        masks: (u64, u64),
        pool: &mut Pool,
    ) -> bool {
        let (traceless, observing) = masks;
        let mut seen: Vec<Configuration> = Vec::new();
        let mut waiting = vec![from];
        let mut found: Vec<Configuration> = Vec::new();
        while let Some(here) = waiting.pop() {
            if seen
                .iter()
                .any(|earlier| covers(earlier, &here, traceless, observing))
            {
                continue;
            }
            if here.spare & (1 << demanded) != 0 {
                let mut next = here.clone();
                next.done |= 1 << demanded;
                next.spare &= !(1 << demanded);
                keep(passed, next, traceless, observing);
            }
            found.clear();
            self.moves(&here, demanded, &mut found, pool);
            *steps = match steps.checked_sub(1 + found.len()) {
                Some(left) => left,
                None => return false,
            };
            for next in found.drain(..) {
                if next.done & (1 << demanded) != 0 {
                    keep(passed, next, traceless, observing);
                } else {
                    waiting.push(next);
                }
            }
            if passed.len() > MOST {
                return false;
            }
            seen.push(here);
        }
        true
    }

    /// The configurations one step away.
    fn moves(&self, here: &Configuration, demanded: usize, into: &mut Vec<Configuration>, pool: &mut Pool) {
        for (slot, open) in self.open.iter().enumerate() {
            let Some((_, action)) = *open else { continue };
            if here.done & (1 << slot) != 0 || action.observes() {
                continue;
            }
            let Some(next) = action.step(here.state, pool) else {
                continue;
            };
            let worth = slot == demanded
                || match action {
                    Action::Writes(_) if next == here.state => self.could_hide(here, Some(slot)),
                    Action::Writes(_) => self.is_useful(here, next, pool),
                    Action::Appends { .. } => next != here.state,
                    _ => true,
                };
            if worth {
                let mut after = here.clone();
                after.done |= 1 << slot;
                after.spare &= !(1 << slot);
                into.push(self.arrive(after, action, next, pool));
            }
        }
        for (op, action) in self.options(here) {
            if here.used.contains(&op) {
                continue;
            }
            let Some(next) = action.step(here.state, pool) else {
                continue;
            };
            let worth = match action {
                Action::Writes(_) if next == here.state => self.could_hide(here, None),
                _ if next == here.state => false,
                Action::Appends { .. } => true,
                _ => self.is_useful(here, next, pool),
            };
            if worth {
                let mut after = here.clone();
                let at = after.used.binary_search(&op).unwrap_or_else(|at| at);
                after.used.insert(at, op);
                into.push(self.arrive(after, action, next, pool));
            }
        }
    }

    /// A state is reached: what it hides, what it shows, and what would have no effect in it.
    fn arrive(&self, mut here: Configuration, by: Action, state: State, pool: &mut Pool) -> Configuration {
        here.state = state;
        for (slot, open) in self.open.iter().enumerate() {
            let Some((_, action)) = *open else { continue };
            let bit = 1 << slot;
            if here.done & bit != 0 {
                continue;
            }
            if action.observes() {
                here.done |= if action.step(state, pool).is_some() {
                    bit
                } else {
                    0
                };
            } else if action.is_total() {
                let hidden = matches!(by, Action::Writes(_));
                here.spare |= if hidden || action.step(state, pool) == Some(state) {
                    bit
                } else {
                    0
                };
            }
        }
        here
    }

    /// Whether reaching a state makes something possible that is not possible now.
    fn is_useful(&self, here: &Configuration, next: State, pool: &mut Pool) -> bool {
        for (slot, open) in self.open.iter().enumerate() {
            let Some((_, action)) = *open else { continue };
            if here.done & (1 << slot) != 0 {
                continue;
            }
            let useful = match action {
                Action::Writes(_) => false,
                Action::Appends { .. } => true,
                _ => action.step(next, pool).is_some(),
            };
            if useful {
                return true;
            }
        }
        let mut optional = self.optional.iter();
        optional.any(|&(op, action)| match action {
            Action::Exchanges { .. } => !here.used.contains(&op) && action.step(next, pool).is_some(),
            Action::Appends { .. } => !here.used.contains(&op),
            _ => false,
        })
    }

    /// Whether an overwrite would hide some other one that is not spare yet.
    fn could_hide(&self, here: &Configuration, but: Option<usize>) -> bool {
        let mut others = self.mask(Action::is_total) & !here.done & !here.spare;
        others &= !but.map_or(0, |slot| 1 << slot);
        others != 0
    }

    /// The operations of unknown outcome that may be of use: where there are many, those that lead to a value for
    /// which something waits, and those that lead to such a one in turn.
    fn options(&self, here: &Configuration) -> Vec<(OpId, Action)> {
        if self.optional.len() <= FEW || self.general > 0 {
            return self.optional.clone();
        }
        let mut wanted: Vec<Word> = Vec::new();
        for (slot, open) in self.open.iter().enumerate() {
            let Some((_, action)) = *open else { continue };
            if here.done & (1 << slot) != 0 {
                continue;
            }
            match action {
                Action::Reads(value) => wanted.push(value),
                Action::Exchanges { from: Some(from), .. } => wanted.push(from),
                // Where a write would do no more than hide, any of them does; and a difference is any value.
                Action::Writes(_) if here.spare & (1 << slot) == 0 => {
                    wanted.push(here.state.value);
                }
                Action::Writes(_) | Action::Impossible => {}
                _ => return self.optional.clone(),
            }
        }
        let mut options: Vec<(OpId, Action)> = Vec::new();
        let mut at = 0;
        while let Some(&value) = wanted.get(at) {
            at += 1;
            if wanted[..at - 1].contains(&value) {
                continue;
            }
            for &(op, action) in self.leading_to.get(&value).into_iter().flatten() {
                options.push((op, action));
                if let Action::Exchanges { from, .. } = action {
                    match from {
                        Some(from) => wanted.push(from),
                        None => return self.optional.clone(),
                    }
                }
            }
        }
        options
    }
}

/// The value that an operation leads to, if it is one.
fn leads_to(action: Action) -> Option<Word> {
    match action {
        Action::Writes(to) | Action::Exchanges { to, .. } => Some(to.value),
        _ => None,
    }
}

/// Adds a configuration unless another covers it, and removes those that it covers.
fn keep(among: &mut Vec<Configuration>, here: Configuration, traceless: u64, observing: u64) {
    if among
        .iter()
        .any(|other| covers(other, &here, traceless, observing))
    {
        return;
    }
    among.retain(|other| !covers(&here, other, traceless, observing));
    among.push(here);
}

/// Whether whatever can be explained from `there` can be explained from `here`.
///
/// What only observes is better done. What is possible in every state and is spare here may count as done, and
/// may still take effect, so it covers both. Everything else must be the same; using less covers using more.
fn covers(here: &Configuration, there: &Configuration, traceless: u64, observing: u64) -> bool {
    if here.state != there.state {
        return false;
    }
    let exchanging = !(traceless | observing);
    let observed = there.done & observing & !here.done == 0;
    let exchanged = (here.done ^ there.done) & exchanging == 0;
    let kept_open = here.done & traceless & !there.done == 0;
    let counted = there.done & traceless & !here.done & !here.spare == 0;
    let spare = there.spare & !here.spare & !here.done == 0;
    observed
        && exchanged
        && kept_open
        && counted
        && spare
        && here.used.iter().all(|op| there.used.contains(op))
}

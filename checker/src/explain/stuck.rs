//! Says why none of the operations that were open could come next, where the search ended.

use super::words::Words;
use crate::history::{History, OpId};
use crate::judge::{Ruling, Standstill, UNSEEN, judge};
use crate::model::{Domain, Model};
use crate::subhistory::Moments;

/// Steps that may be spent on this; a core that takes more is not one for a person to follow step by step.
const STEPS: u64 = 20_000;
/// How many operations, and how many states for each, are told.
const SHOWN: usize = 6;
const STATES_SHOWN: usize = 3;

/// One line for each operation that had to take effect and could not.
///
/// The moments are those of a core. Nothing if they are too many for the plain judge.
///
/// # Panics
/// If the plain judge finds an order after all: then an engine is wrong.
pub(super) fn reasons<D: Domain>(
    history: &History,
    domain: &D,
    moments: &Moments<'_>,
    words: &Words,
) -> Vec<String> {
    let standstill = match judge(domain, moments, STEPS) {
        Ruling::Illegal(standstill) => standstill,
        Ruling::TooLarge => return Vec::new(),
        // The second opinion on every core that is small enough: nobody is accused by one search alone.
        Ruling::Legal => panic!("the engines call operations illegal that the plain search explains"),
    };
    let mut open = standstill.open.clone();
    open.sort_by_key(|&op| (op != standstill.demanded, history.operation(op).record().invoked));
    let lines = open
        .into_iter()
        .filter_map(|op| reason(history, domain, op, &standstill, words));
    lines.take(SHOWN).collect()
}

fn reason<D: Domain>(
    history: &History,
    domain: &D,
    op: OpId,
    standstill: &Standstill<<D::Rules as Model>::State>,
    words: &Words,
) -> Option<String> {
    let call = domain.call(history.operation(op), true).ok().flatten()?;
    let name = words.name(domain, history.operation(op));
    let (mut states, mut after) = (Vec::new(), Vec::new());
    for (state, taken) in &standstill.configurations {
        if taken.contains(&op) {
            continue;
        }
        match domain.rules().step(state, &call) {
            None => note(&mut states, domain.rules().describe(state)),
            Some(next) => note(&mut after, domain.rules().describe(&next)),
        }
    }
    if states.is_empty() && after.is_empty() {
        return None;
    }
    Some(match after.is_empty() {
        true => format!("{name} cannot go next: {}", listed(&states)),
        false => format!(
            "{name} can go next, but that does not help: then {}",
            listed(&after)
        ),
    })
}

fn note(states: &mut Vec<String>, state: String) {
    let state = state.replace(&format!("{UNSEEN:?}"), UNSEEN);
    if !states.contains(&state) {
        states.push(state);
    }
}

/// `the value is 5`, or of several `the value is 5, 7, or one that nobody here saw`: what all begin with is said once.
fn listed(states: &[String]) -> String {
    let shown = &states[..states.len().min(STATES_SHOWN)];
    let begins = |words: &&&str| states.iter().all(|state| state.starts_with(**words));
    let common = COMMON.iter().find(begins).copied().unwrap_or_default();
    let mut parts: Vec<&str> = shown.iter().map(|state| &state[common.len()..]).collect();
    let more = match states.len() - shown.len() {
        0 => None,
        1 => Some("one other".to_owned()),
        more => Some(format!("one of {more} others")),
    };
    parts.extend(more.as_deref());
    let last = parts.pop().unwrap_or_default();
    match parts.is_empty() {
        true => format!("{common}{last}"),
        false => format!("{common}{}, or {last}", parts.join(", ")),
    }
}

/// What descriptions of states begin with.
const COMMON: [&str; 3] = ["the value is ", "the queue is ", "the count is "];

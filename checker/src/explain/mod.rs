//! Makes a violation small and says what is wrong.

mod cause;
mod collections;
mod constraints;
mod facts;
mod minimal;
mod reduce;
mod sentence;
mod stuck;
mod text;
mod timeline;
mod window;
mod words;

use reduce::{Core, reduce};
use rustc_hash::FxHashSet;

use crate::check::is_illegal;
use crate::contradictions;
use crate::engine::Budget;
use crate::history::{History, NEVER, OpId, Operation, Value};
use crate::model::{Domain, Invocation, Model, ModelFailure, Observed, caught};
use crate::options::Explain;
use crate::precheck;
use crate::subhistory::Moments;
use crate::verdict::{Anomaly, CoreOperation, Counterexample, CycleEdge, Prefix};

pub use minimal::minimize;
pub use timeline::timeline;
use window::Window;
pub(crate) use words::Words;

/// Explains why a subhistory is illegal, given an operation whose completion could not be explained. A model that
/// fails at that takes nothing from the verdict.
pub(crate) fn explain<D: Domain>(
    history: &History,
    domain: &D,
    moments: &Moments<'_>,
    stuck: OpId,
    how: Explain,
    budget: &Budget,
) -> Counterexample {
    let told = caught(|| tell(history, domain, moments, stuck, how, budget));
    told.unwrap_or_else(|ModelFailure { message }| {
        let mut told = untold(history, domain, moments);
        told.sentence += &format!("; the model failed when that was to be explained: {message}");
        told
    })
}

fn tell<D: Domain>(
    history: &History,
    domain: &D,
    moments: &Moments<'_>,
    stuck: OpId,
    how: Explain,
    budget: &Budget,
) -> Counterexample {
    if how == Explain::Nothing {
        return untold(history, domain, moments);
    }
    if how == Explain::Minimal
        && let Some(core) = at_once(history, domain, moments, budget)
    {
        return describe(history, domain, moments, &core.operations, core.minimal);
    }
    if let Some(found) = contradictions::find_any(domain, moments) {
        let reduces = how == Explain::Minimal && !found.minimal;
        let core = reduces.then(|| reduced(history, domain, moments, &found.operations, budget));
        let core = core.flatten().filter(|core| core.minimal);
        return match core {
            Some(core) => describe(history, domain, moments, &core.operations, true),
            None => describe(history, domain, moments, &found.operations, found.minimal),
        };
    }
    let stood = moments
        .iter()
        .position(|moment| moment == (stuck, true))
        .expect("what is stuck completes");
    let end = first_illegal(history, domain, moments, stood, budget);
    let prefix = &moments.packed()[..=end];
    let candidates = candidates(history, domain, prefix);
    let core = match how {
        Explain::Minimal => reduce(history, domain, prefix, &candidates, budget),
        Explain::Prefix | Explain::Nothing => Core {
            operations: candidates,
            minimal: false,
        },
    };
    describe(history, domain, moments, &core.operations, core.minimal)
}

/// A violation of which nothing is told but the key: what could not be explained was not looked for.
fn untold<D: Domain>(history: &History, domain: &D, moments: &Moments<'_>) -> Counterexample {
    let completed = moments.iter().filter(|&(_, completes)| completes);
    let last = completed.last().map(|(op, _)| history.operation(op));
    let last = last.expect("without a completion everything is legal");
    let key = last.key();
    let of = key
        .as_ref()
        .map(|key| format!(" on key {key}"))
        .unwrap_or_default();
    Counterexample {
        sentence: format!("no order explains the operations{of}"),
        anomaly: Anomaly::NoOrder,
        key,
        init: domain.init_value(),
        operations: Vec::new(),
        prefix: Prefix {
            last_index: last.completed_index().expect("it completes"),
            last_time: last.completed_at().expect("it completes"),
        },
        weakened: 0,
        dropped: 0,
        minimal: false,
        faults: Vec::new(),
        stuck: Vec::new(),
        cycle: Vec::new(),
    }
}

/// The core of a contradiction that shows without a search.
fn at_once<D: Domain>(history: &History, domain: &D, moments: &Moments<'_>, budget: &Budget) -> Option<Core> {
    let problem = domain.compile(history, moments);
    let witness = precheck::find(&problem)?;
    let witness: Vec<OpId> = witness.into_iter().map(|call| problem.call(call).op).collect();
    let core = reduced(history, domain, moments, &witness, budget)?;
    // Not minimal says that the engine does not share the view, or had no time; then it shall look for itself.
    core.minimal.then_some(core)
}

/// What a violation needs of a few operations that contradict each other.
fn reduced<D: Domain>(
    history: &History,
    domain: &D,
    moments: &Moments<'_>,
    operations: &[OpId],
    budget: &Budget,
) -> Option<Core> {
    let last = operations
        .iter()
        .max_by_key(|op| history.operation(**op).record().completed)?;
    let end = moments.iter().position(|moment| moment == (*last, true))?;
    Some(reduce(
        history,
        domain,
        &moments.packed()[..=end],
        operations,
        budget,
    ))
}

/// The operations of a prefix that must have taken effect in it.
fn candidates<D: Domain>(history: &History, domain: &D, prefix: &[u32]) -> Vec<OpId> {
    let complete = Moments::all(history, prefix).completed();
    complete
        .filter(|&op| counts(domain, history.operation(op)))
        .collect()
}

/// Whether an operation must have taken effect if its completion counts.
fn counts<D: Domain>(domain: &D, operation: Operation<'_>) -> bool {
    let call = domain.call(operation, true).ok().flatten();
    call.is_some_and(|call| call.result != Observed::Unknown)
}

/// Everything there is to say about a core. Asks no engine: the same operations are always told alike, which is
/// how a proof is checked word by word.
///
/// The moments are those of the whole subhistory. What is needed of them ends with the core's last completion:
/// whatever comes later could not help to explain that.
pub(crate) fn describe<D: Domain>(
    history: &History,
    domain: &D,
    moments: &Moments<'_>,
    core: &[OpId],
    minimal: bool,
) -> Counterexample {
    let mut core = core.to_vec();
    core.sort_by_key(|&op| history.operation(op).record().invoked);
    let core = &core;
    let last = core
        .iter()
        .map(|&op| history.operation(op))
        .max_by_key(|operation| operation.record().completed)
        .expect("nothing contradicts nothing");
    let end = moments
        .iter()
        .position(|moment| moment == (last.id(), true))
        .expect("what is in a core completes");
    let prefix = &moments.packed()[..=end];
    let needed: FxHashSet<OpId> = core.iter().copied().collect();
    let observes = |op: OpId| {
        let call = domain.call(history.operation(op), true).ok().flatten();
        call.is_some_and(|call| domain.rules().only_observes(&call))
    };
    let left_out = candidates(history, domain, prefix);
    let left_out = left_out.into_iter().filter(|op| !needed.contains(op));
    let (dropped, weakened): (Vec<OpId>, Vec<OpId>) = left_out.partition(|&op| observes(op));
    let words = Words::of(history);
    let known = Moments::some(history, prefix, &needed);
    let cycle = constraints::cycle(history, domain, &known, core, &words);
    let told = sentence::tell(
        history,
        domain,
        &Story {
            moments,
            core,
            cycle: &cycle,
            stuck: last.id(),
        },
    );
    let mut listed: Vec<OpId> = core.to_vec();
    let concerned = told.concerned.iter().copied();
    listed.extend(concerned.chain(cycle.iter().map(|edge| edge.from)));
    listed.sort_by_key(|op| history.operation(*op).record().invoked);
    listed.dedup();
    Counterexample {
        sentence: told.sentence,
        anomaly: told.anomaly,
        key: last.key(),
        init: domain.init_value(),
        operations: listed
            .into_iter()
            .map(|op| show(history, domain, op, !needed.contains(&op)))
            .collect(),
        prefix: Prefix {
            last_index: last.completed_index().expect("what is in a core completes"),
            last_time: last.completed_at().expect("what is in a core completes"),
        },
        weakened: weakened.len(),
        dropped: dropped.len(),
        minimal,
        faults: faults(history, last),
        stuck: match core.len() {
            0..=MOST_FOLLOWED => stuck::reasons(history, domain, &known, &words),
            _ => Vec::new(),
        },
        cycle,
    }
}

/// Nobody follows more operations than this step by step.
const MOST_FOLLOWED: usize = 64;

/// The completion with which the history becomes illegal.
///
/// That is the one that the search could not explain, unless the search knew from what was still to come that
/// it need not go on; then it is a later one.
fn first_illegal<D: Domain>(
    history: &History,
    domain: &D,
    moments: &Moments<'_>,
    stood: usize,
    budget: &Budget,
) -> usize {
    let completions: Vec<usize> = moments
        .iter()
        .enumerate()
        .skip(stood)
        .filter(|(_, (_, completes))| *completes)
        .map(|(at, _)| at)
        .collect();
    // Nearly always it is the first, and shows close to where it is.
    let so_far = Moments::all(history, &moments.packed()[..=completions[0]]);
    let complete: FxHashSet<OpId> = so_far.completed().collect();
    let so_far = Moments::some(history, so_far.packed(), &complete);
    if Window::find(history, domain, &so_far, &mut budget.meter().patient(NEARBY)).is_some() {
        return completions[0];
    }
    let illegal = |end: usize| {
        let prefix = &moments.packed()[..=end];
        let complete: FxHashSet<OpId> = Moments::all(history, prefix).completed().collect();
        let moments = Moments::some(history, prefix, &complete);
        // Without an answer the longer prefix is taken, which is known to be illegal.
        is_illegal(history, domain, &moments, &mut budget.meter()) == Some(true)
    };
    let (mut least, mut step) = (0, 1);
    let mut most = completions.len() - 1;
    while least < most {
        let tried = (least + step - 1).min(most - 1);
        if illegal(completions[tried]) {
            most = tried;
            break;
        }
        least = tried + 1;
        step *= 2;
    }
    while least < most {
        let middle = (least + most) / 2;
        if illegal(completions[middle]) {
            most = middle;
        } else {
            least = middle + 1;
        }
    }
    completions[most]
}

/// How many moves the look for a violation close to where it was noticed may take.
const NEARBY: u64 = 1 << 16;

/// What a sentence is about.
pub(crate) struct Story<'a> {
    /// The whole subhistory.
    pub(crate) moments: &'a Moments<'a>,
    pub(crate) core: &'a [OpId],
    pub(crate) cycle: &'a [CycleEdge],
    /// The last of the core to complete.
    pub(crate) stuck: OpId,
}

fn show<D: Domain>(history: &History, domain: &D, op: OpId, weakened: bool) -> CoreOperation {
    let operation = history.operation(op);
    CoreOperation {
        id: op,
        index: operation.invoked_index(),
        process: operation.process(),
        f: operation.f().to_owned(),
        input: operation.input(),
        output: operation.output(),
        invoked_at: operation.invoked_at(),
        completed_at: operation.completed_at(),
        outcome: operation.outcome(),
        weakened: weakened && operation.record().completed != NEVER,
        node: operation.node().map(str::to_owned),
        said: said(domain, operation),
    }
}

/// What an operation did, for people.
pub(crate) fn said<D: Domain>(domain: &D, operation: Operation<'_>) -> String {
    match domain.call(operation, operation.record().completed != NEVER) {
        Ok(Some(call)) => phrase(&call, operation.key().as_ref()),
        _ => format!("{} (did nothing)", operation.f()),
    }
}

/// `wrote k=5`, `read k=4`, ...; without the key where there is none.
pub(crate) fn phrase(call: &Invocation, key: Option<&Value>) -> String {
    let is = key.map(|key| format!("{key}=")).unwrap_or_default();
    let of = key.map(|key| format!("{key} ")).unwrap_or_default();
    let maybe = if call.result == Observed::Unknown {
        "perhaps "
    } else {
        ""
    };
    let pair = call
        .input
        .as_list()
        .and_then(|pair| Some((pair.first()?, pair.get(1)?)));
    match (&*call.f, &call.result, pair) {
        ("get", Observed::Ok(seen, _), _) => format!("read {is}{seen}"),
        ("set", ..) => format!("{maybe}wrote {is}{}", call.input),
        ("delete", ..) => format!(
            "{maybe}deleted {}",
            key.map_or_else(|| "it".to_owned(), Value::to_string)
        ),
        ("append", ..) => match key {
            Some(key) => format!("{maybe}appended {} to {key}", call.input),
            None => format!("{maybe}appended {}", call.input),
        },
        ("cas", Observed::Mismatch(told), Some(_)) if call.asked_rev.is_some() => {
            let rev = call.asked_rev.unwrap_or_default();
            let told = match told {
                Some(current) => format!("another, with {current}"),
                None => "another".to_owned(),
            };
            format!("asked for {of}revision {rev} in a cas and was told that it is at {told}")
        }
        ("cas", Observed::Mismatch(Some(current)), Some((expected, _))) => {
            format!("expected {is}{expected} in a cas and was told {current}")
        }
        ("cas", Observed::Mismatch(None), Some((expected, _))) => {
            format!("expected {is}{expected} in a cas and was told that it is another")
        }
        ("cas", _, Some((expected, new))) => match call.asked_rev {
            Some(rev) => format!("{maybe}changed {of}to {new} by a cas that asked for revision {rev}"),
            None => format!("{maybe}changed {of}from {expected} to {new} by cas"),
        },
        ("enqueue", ..) => format!("{maybe}enqueued {of}{}", call.input),
        ("add", ..) => format!("{maybe}added {of}{}", call.input),
        ("dequeue", Observed::Ok(Value::Nil, _), _) => format!("found {of}the queue empty"),
        ("dequeue", Observed::Ok(taken, _), _) => format!("dequeued {of}{taken}"),
        ("dequeue", ..) => format!("{maybe}dequeued {of}something"),
        ("read", Observed::Ok(seen, _), _) => format!("read {is}{seen}"),
        ("acquire" | "release", ..) => {
            let told = match &call.result {
                Observed::Ok(told, _) if call.input.is_nil() => told,
                _ => &call.input,
            };
            let owner = match told.is_nil() {
                true => String::new(),
                false => format!(" as {told}"),
            };
            format!("{maybe}{}d {of}the lock{owner}", call.f)
        }
        (f, Observed::Ok(result, _), _) if call.input.is_nil() && !result.is_nil() => {
            format!("{f} {of}-> {result}")
        }
        (f, Observed::Ok(result, _), _) if result.is_nil() => format!("{f} {of}{}", call.input),
        (f, Observed::Ok(result, _), _) => format!("{f} {of}{} -> {result}", call.input),
        (f, ..) => format!("{maybe}{f} {of}{}", call.input),
    }
}

/// The last things that the nemesis did before an operation came back.
pub(crate) fn faults(history: &History, operation: Operation<'_>) -> Vec<String> {
    let completed = operation.completed_index().unwrap_or(u64::MAX);
    let before: Vec<_> = history
        .nemesis_events()
        .iter()
        .filter(|event| event.index < completed)
        .collect();
    let recent = &before[before.len().saturating_sub(FAULTS_SHOWN)..];
    recent
        .iter()
        .map(|event| format!("{} {} at {}", event.f, event.value, event.time))
        .collect()
}

/// How many of the nemesis' latest doings are told with a violation.
const FAULTS_SHOWN: usize = 4;

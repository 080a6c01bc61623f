//! Checks a no: a few operations of the history that nothing explains.

use rustc_hash::FxHashSet;
use serde_json::Value as Json;

use super::{Fault, Proof, cycle};
use crate::explain;
use crate::history::{History, NEVER, OpId, Operation, Value};
use crate::judge::{Ruling, judge};
use crate::model::{Domain, Observed};
use crate::subhistory::{Moments, Subhistories};

/// Steps of the model that one question to the judge may take.
const STEPS: u64 = 2_000_000;
/// The same where a cycle proves it already, or for what is not needed to prove it.
const FEW_STEPS: u64 = 100_000;

/// A check that was not asked for operations, or that had forgotten most of them, names none.
pub(super) const UNTOLD: &str = "the counterexample names no operations, so there is nothing to check";

/// What a counterexample names, looked up in the history.
struct Core {
    /// The operations that contradict each other; those listed beside them prove nothing.
    needed: Vec<OpId>,
    /// Where the subhistory is.
    at: usize,
}

/// Checks that the operations are those of the history, that they are illegal, and that all that is said of them
/// is so.
pub(super) fn verify<D: Domain>(
    found: &Json,
    history: &History,
    domain: &D,
    subhistories: &Subhistories,
) -> Proof {
    match examine(found, history, domain, subhistories) {
        Ok(proof) => proof,
        Err(fault) => fault.into(),
    }
}

fn examine<D: Domain>(
    found: &Json,
    history: &History,
    domain: &D,
    subhistories: &Subhistories,
) -> Result<Proof, Fault> {
    if found["operations"].as_array().is_some_and(Vec::is_empty) && found["minimal"] == false {
        return Ok(Proof::Undecided(UNTOLD.to_owned()));
    }
    let core = core(found, history, domain, subhistories)?;
    let moments = subhistories.moments(history, core.at);
    let last = core
        .needed
        .iter()
        .max_by_key(|op| history.operation(**op).record().completed)
        .copied()
        .ok_or_else(|| {
            Fault::new(
                "counterexample.operations",
                "are all weakened: nothing is illegal",
            )
        })?;
    let end = moments
        .iter()
        .position(|moment| moment == (last, true))
        .expect("what is in a core completes");
    let prefix = &moments.packed()[..=end];
    let mut notes = Vec::new();
    let needed: FxHashSet<OpId> = core.needed.iter().copied().collect();
    let known = Moments::some(history, prefix, &needed);
    let around = cycle::check(&found["cycle"], history, domain, &known, &core.needed)?;
    let illegal = |known: &[OpId], steps: u64| {
        let complete: FxHashSet<OpId> = known.iter().copied().collect();
        judge(domain, &Moments::some(history, prefix, &complete), steps)
    };
    match illegal(&core.needed, if around { FEW_STEPS } else { STEPS }) {
        Ruling::Illegal(_) => {}
        Ruling::Legal => {
            let problem = "an order explains these operations: they are no counterexample";
            return Err(Fault::at(history, last, "counterexample.operations", problem));
        }
        Ruling::TooLarge if around => {
            notes.push("the operations are too many to be searched; the cycle alone proves it".to_owned());
        }
        Ruling::TooLarge => {
            let problem =
                "the operations of the counterexample are too many to be searched, and there is no cycle";
            return Ok(Proof::Undecided(problem.to_owned()));
        }
    }
    let minimal = found["minimal"]
        .as_bool()
        .ok_or_else(|| Fault::new("counterexample.minimal", "is neither true nor false"))?;
    if minimal {
        let mut open = 0;
        for (at, &weaker) in core.needed.iter().enumerate() {
            let mut less = core.needed.clone();
            less.remove(at);
            match illegal(&less, FEW_STEPS) {
                Ruling::Legal => {}
                Ruling::TooLarge => open += 1,
                Ruling::Illegal(_) => {
                    let problem = format!("it is not minimal: operation {} is not needed", weaker.0);
                    return Err(Fault::at(history, weaker, "counterexample.minimal", problem));
                }
            }
        }
        if open > 0 {
            notes.push(format!(
                "whether all of the operations are needed was not decided for {open} of them"
            ));
        }
    }
    words(found, history, domain, &moments, &core, minimal)?;
    Ok(Proof::Holds {
        shown: match core.needed.len() {
            1 => "illegal: nothing explains the operation".to_owned(),
            count => format!("illegal: no order explains the {count} operations"),
        },
        notes,
    })
}

/// Looks the operations up in the history and compares every field.
fn core<D: Domain>(
    found: &Json,
    history: &History,
    domain: &D,
    subhistories: &Subhistories,
) -> Result<Core, Fault> {
    let listed = found["operations"]
        .as_array()
        .ok_or_else(|| Fault::new("counterexample.operations", "is no list"))?;
    let (mut needed, mut weakened, mut seen) = (Vec::new(), Vec::new(), FxHashSet::default());
    for (number, said) in listed.iter().enumerate() {
        let place = |field: &str| format!("counterexample.operations[{number}].{field}");
        let id = said["id"].as_u64().and_then(|id| u32::try_from(id).ok());
        let id = id.filter(|&id| (id as usize) < history.len());
        let op = OpId(id.ok_or_else(|| Fault::new(place("id"), "the history has no such operation"))?);
        if !seen.insert(op) {
            return Err(Fault::at(history, op, place("id"), "it is there twice"));
        }
        compare(said, history.operation(op), |field, problem| {
            Fault::at(history, op, place(field), problem)
        })?;
        let call = domain.call(history.operation(op), true).ok().flatten();
        let counts = call.is_some_and(|call| call.result != Observed::Unknown);
        match said["weakened"].as_bool() {
            Some(false) if counts => needed.push(op),
            Some(false) if history.operation(op).record().completed == NEVER => weakened.push(op),
            Some(false) => {
                let problem = "it did nothing and saw nothing, so it contradicts nothing";
                return Err(Fault::at(history, op, place("weakened"), problem));
            }
            Some(true) => weakened.push(op),
            None => return Err(Fault::new(place("weakened"), "is neither true nor false")),
        }
    }
    let of = |op: OpId| {
        let key = history.operation(op).key_word();
        (0..subhistories.len()).find(|&at| subhistories.len() == 1 || subhistories.key(at) == key)
    };
    let first = needed.first().or(weakened.first()).copied();
    let first = first.ok_or_else(|| Fault::new("counterexample.operations", "there are none"))?;
    let at = of(first).expect("every operation is in a subhistory");
    if let Some(&other) = needed.iter().chain(&weakened).find(|&&op| of(op) != Some(at)) {
        let problem = "it is of another key than the first";
        return Err(Fault::at(history, other, "counterexample.operations", problem));
    }
    Ok(Core { needed, at })
}

/// Compares what is said of an operation with the history.
pub(super) fn compare(
    said: &Json,
    operation: Operation<'_>,
    fault: impl Fn(&str, String) -> Fault,
) -> Result<(), Fault> {
    let fields: [(&str, Json); 9] = [
        ("index", operation.invoked_index().into()),
        ("process", operation.process().0.into()),
        ("f", operation.f().into()),
        ("input", operation.input().to_json()),
        ("output", operation.output().to_json()),
        ("invoked_at", operation.invoked_at().0.into()),
        ("completed_at", operation.completed_at().map(|at| at.0).into()),
        (
            "outcome",
            serde_json::to_value(operation.outcome()).unwrap_or_default(),
        ),
        ("node", operation.node().into()),
    ];
    for (field, truth) in fields {
        let told = said.get(field).unwrap_or(&Json::Null);
        if !same(told, &truth) {
            return Err(fault(field, format!("is {told}, but the history says {truth}")));
        }
    }
    Ok(())
}

/// Compares all that is said with what these operations are to be told as: sentence and anomaly, counts, faults,
/// the words of the cycle, why nothing could go next.
fn words<D: Domain>(
    found: &Json,
    history: &History,
    domain: &D,
    moments: &Moments<'_>,
    core: &Core,
    minimal: bool,
) -> Result<(), Fault> {
    let truth = explain::describe(history, domain, moments, &core.needed, minimal);
    let truth = serde_json::to_value(truth).expect("a counterexample is JSON");
    match difference("counterexample", found, &truth) {
        None => Ok(()),
        Some((place, problem)) => Err(Fault::new(place, problem)),
    }
}

/// The first place where two documents differ, and how.
pub(super) fn difference(place: &str, told: &Json, truth: &Json) -> Option<(String, String)> {
    match (told, truth) {
        (Json::Object(told), Json::Object(truth)) => {
            let unknown = told.keys().find(|name| !truth.contains_key(*name));
            if let Some(name) = unknown {
                return Some((
                    format!("{place}.{name}"),
                    "nothing of the kind is to be said".to_owned(),
                ));
            }
            truth.iter().find_map(|(name, truth)| {
                let place = format!("{place}.{name}");
                match told.get(name) {
                    Some(told) => difference(&place, told, truth),
                    None => Some((place, "is missing".to_owned())),
                }
            })
        }
        (Json::Array(told), Json::Array(truth)) if told.len() == truth.len() => {
            let pairs = told.iter().zip(truth).enumerate();
            pairs
                .filter_map(|(at, (told, truth))| difference(&format!("{place}[{at}]"), told, truth))
                .next()
        }
        (told, truth) if same(told, truth) => None,
        (told, truth) => Some((
            place.to_owned(),
            format!("is {told}, but these operations give {truth}"),
        )),
    }
}

/// Whether two pieces of JSON are one value of a history.
fn same(told: &Json, truth: &Json) -> bool {
    told == truth || Value::from(told.clone()) == Value::from(truth.clone())
}

//! Checks one case of an anomaly by what the transactions that it names did.

use rustc_hash::FxHashMap;
use serde_json::Value as Json;

use crate::history::{OpId, Outcome, Value};
use crate::proof::Fault;
use crate::proof::counterexample::compare;
use crate::transactions::{AnomalyKind, Evidence, Relation, Unwritten};

use super::edges::kind_of;
use super::facts::Facts;

/// One case as the results tell it.
pub(super) struct Told<'a> {
    /// Where it is in the results.
    pub(super) place: String,
    pub(super) kind: AnomalyKind,
    pub(super) key: Option<Value>,
    pub(super) cycle: &'a [Json],
    pub(super) named: Vec<OpId>,
}

impl<'a> Told<'a> {
    /// Looks its transactions up in the history and compares them; they stand under `listed`.
    pub(super) fn read(
        case: &'a Json,
        kind: AnomalyKind,
        place: &str,
        listed: &str,
        history: &crate::history::History,
    ) -> Result<Told<'a>, Fault> {
        let transactions = case[listed]
            .as_array()
            .ok_or_else(|| Fault::new(format!("{place}.{listed}"), "is no list"))?;
        let mut named = Vec::new();
        for (number, said) in transactions.iter().enumerate() {
            let place = |field: &str| format!("{place}.{listed}[{number}].{field}");
            let op = operation(&said["id"], history.len())
                .ok_or_else(|| Fault::new(place("id"), "the history has no such operation"))?;
            compare(said, history.operation(op), |field, problem| {
                Fault::at(history, op, place(field), problem)
            })?;
            named.push(op);
        }
        let cycle = match &case["cycle"] {
            Json::Null => &[],
            Json::Array(edges) => edges.as_slice(),
            _ => return Err(Fault::new(format!("{place}.cycle"), "is no list")),
        };
        Ok(Told {
            place: place.to_owned(),
            kind,
            key: case.get("key").map(|key| Value::from(key.clone())),
            cycle,
            named,
        })
    }

    fn fault(&self, problem: impl Into<String>) -> Fault {
        Fault::new(self.place.clone(), problem)
    }

    /// The key that it is about.
    pub(super) fn about(&self) -> Result<&Value, Fault> {
        self.key.as_ref().ok_or_else(|| self.fault("names no key"))
    }
}

/// The operation that a number names.
pub(super) fn operation(id: &Json, of: usize) -> Option<OpId> {
    let id = id.as_u64().and_then(|id| u32::try_from(id).ok())?;
    ((id as usize) < of).then_some(OpId(id))
}

/// Checks a case of lists or registers.
pub(super) fn check(told: &Told<'_>, facts: &Facts<'_>) -> Result<(), Fault> {
    if let AnomalyKind::Cycle(..) = told.kind {
        return cycle(told, facts);
    }
    let key = told.about()?;
    let named = &told.named;
    let holds = match told.kind {
        AnomalyKind::GarbageRead => any(named, |id| garbage(facts, id, key)),
        AnomalyKind::DuplicateElements => any(named, |id| {
            facts.lists && facts.reads(id, key).any(|(_, read)| twice(facts.shown(read)))
        }),
        AnomalyKind::IncompatibleOrder => {
            any(named, |one| any(named, |two| incompatible(facts, one, two, key)))
        }
        AnomalyKind::G1a => any(named, |reader| {
            reads_of(facts, reader, key, |by, _| {
                named.contains(&by) && facts.of_id(by).outcome == Outcome::Fail
            })
        }),
        AnomalyKind::G1b => any(named, |reader| intermediate(facts, reader, key, named)),
        AnomalyKind::DirtyUpdate => any(named, |witness| dirty(facts, witness, key, named)),
        AnomalyKind::FutureRead => any(named, |id| future(facts, id, key)),
        AnomalyKind::Internal => any(named, |id| internal(facts, id, key)),
        AnomalyKind::LostUpdate => lost_update(facts, named, key),
        AnomalyKind::CyclicVersions => cyclic_versions(facts, named, key),
        _ => return Err(told.fault(format!("{} is no anomaly of such a history", told.kind))),
    };
    match holds {
        true => Ok(()),
        false => {
            let names: Vec<String> = named.iter().map(|id| format!("T{}", id.0)).collect();
            Err(told.fault(format!(
                "what {} did to key {key} is no {}",
                names.join(", "),
                told.kind
            )))
        }
    }
}

fn any(ids: &[OpId], holds: impl Fn(OpId) -> bool) -> bool {
    ids.iter().any(|&id| holds(id))
}

/// Every edge must follow from the two transactions that it joins and the history; together they must be a cycle,
/// and of this kind at least.
fn cycle(told: &Told<'_>, facts: &Facts<'_>) -> Result<(), Fault> {
    let mut edges = Vec::new();
    let count = facts.all.len();
    for (number, edge) in told.cycle.iter().enumerate() {
        let place = |field: &str| format!("{}.cycle[{number}].{field}", told.place);
        let end = |field: &str, edge: &Json| {
            operation(&edge[field], count)
                .filter(|op| told.named.contains(op))
                .ok_or_else(|| Fault::new(place(field), "is none of the transactions that the case names"))
        };
        let (from, to) = (end("from", edge)?, end("to", edge)?);
        let next = end("from", &told.cycle[(number + 1) % told.cycle.len()])?;
        if next != to {
            let problem = "does not lead to where the next edge begins: this is no cycle";
            return Err(Fault::new(place("to"), problem));
        }
        let relation = relation(&edge["relation"])
            .ok_or_else(|| Fault::new(place("relation"), "is none of ww, wr, rw, process, realtime"))?;
        let rests = facts.precedes(from, to, relation).ok_or_else(|| {
            let problem = format!(
                "nothing in the history says so: {} T{} before T{}",
                edge["relation"], from.0, to.0
            );
            Fault::at(
                facts.history,
                to,
                format!("{}.cycle[{number}]", told.place),
                problem,
            )
        })?;
        edges.push((relation, rests));
    }
    if edges.is_empty() {
        return Err(told.fault("there is no cycle"));
    }
    let is = kind_of(&edges);
    if !is.implies(told.kind) {
        return Err(told.fault(format!("the cycle is a {is}, no {}", told.kind)));
    }
    Ok(())
}

fn relation(name: &Json) -> Option<Relation> {
    let all = [
        Relation::Ww,
        Relation::Wr,
        Relation::Rw,
        Relation::Process,
        Relation::Realtime,
    ];
    all.into_iter()
        .find(|relation| Some(relation.as_str()) == name.as_str())
}

/// Whether it read of the key what `by` wrote as its step `at`, for some that fit.
fn reads_of(facts: &Facts<'_>, id: OpId, key: &Value, fits: impl Fn(OpId, usize) -> bool) -> bool {
    facts.reads(id, key).any(|(_, read)| {
        let mut written = facts
            .shown(read)
            .iter()
            .filter_map(|value| facts.writer(key, value));
        written.any(|(by, at)| fits(by, at))
    })
}

fn garbage(facts: &Facts<'_>, id: OpId, key: &Value) -> bool {
    let known = facts.lists || facts.garbage == Unwritten::Garbage;
    known
        && facts.reads(id, key).any(|(_, read)| {
            facts
                .shown(read)
                .iter()
                .any(|value| facts.writer(key, value).is_none() && (facts.lists || *value != facts.init))
        })
}

fn twice(elements: &[Value]) -> bool {
    let mut sorted: Vec<&Value> = elements.iter().collect();
    sorted.sort_unstable();
    sorted.windows(2).any(|pair| pair[0] == pair[1])
}

/// Two reads of a list of which neither continues the other.
fn incompatible(facts: &Facts<'_>, one: OpId, two: OpId, key: &Value) -> bool {
    facts.lists
        && facts.reads(one, key).any(|(_, a)| {
            let a = facts.shown(a);
            facts.reads(two, key).any(|(_, b)| {
                let b = facts.shown(b);
                !a.starts_with(b) && !b.starts_with(a)
            })
        })
}

/// It read up to what one of the others wrote and later wrote over.
fn intermediate(facts: &Facts<'_>, reader: OpId, key: &Value, named: &[OpId]) -> bool {
    facts.reads(reader, key).any(|(_, read)| {
        let last = facts.shown(read).last();
        let Some((by, at)) = last.and_then(|value| facts.writer(key, value)) else {
            return false;
        };
        let fits = by != reader && named.contains(&by) && facts.of_id(by).outcome != Outcome::Fail;
        fits && facts.writes(by, key).any(|(later, _)| later > at)
    })
}

/// It read what one of the others wrote and aborted, and after it what another one wrote and committed.
fn dirty(facts: &Facts<'_>, witness: OpId, key: &Value, named: &[OpId]) -> bool {
    let by = |value: &Value, outcome: Outcome| {
        let by = facts.writer(key, value).map(|(by, _)| by);
        by.is_some_and(|by| named.contains(&by) && facts.of_id(by).outcome == outcome)
    };
    facts.lists
        && facts.reads(witness, key).any(|(_, read)| {
            let shown = facts.shown(read);
            let aborted = shown.iter().position(|value| by(value, Outcome::Fail));
            aborted.is_some_and(|at| shown[at..].iter().any(|value| by(value, Outcome::Ok)))
        })
}

fn future(facts: &Facts<'_>, id: OpId, key: &Value) -> bool {
    facts.reads(id, key).any(|(at, read)| {
        let mut written = facts
            .shown(read)
            .iter()
            .filter_map(|value| facts.writer(key, value));
        written.any(|(by, step)| by == id && step > at)
    })
}

/// What it read of the key is not what it had read before, with its own writes since.
fn internal(facts: &Facts<'_>, id: OpId, key: &Value) -> bool {
    let mut known: Option<Vec<Value>> = None;
    let mut own: Vec<Value> = Vec::new();
    for step in facts.of_id(id).steps.iter().filter(|step| step.key == *key) {
        if step.writes {
            match facts.lists {
                true => own.push(step.value.clone()),
                false => known = Some(vec![step.value.clone()]),
            }
            continue;
        }
        let shown = facts.shown(&step.value);
        let fits = match &known {
            Some(before) => shown == [before.as_slice(), &own].concat(),
            None => shown.ends_with(&own),
        };
        if !fits && facts.of_id(id).outcome == Outcome::Ok {
            return true;
        }
        known = Some(shown.to_vec());
        own.clear();
    }
    false
}

/// All of them, and there are two at least, read the same version of the key and then wrote it.
fn lost_update(facts: &Facts<'_>, named: &[OpId], key: &Value) -> bool {
    let mut ids = named.to_vec();
    ids.sort_unstable();
    ids.dedup();
    let replaced: Vec<(Option<&Value>, Option<&Value>)> =
        ids.iter().map(|&id| facts.replaced(id, key)).collect();
    ids.len() > 1
        && replaced
            .iter()
            .all(|(read, wrote)| read.is_some() && wrote.is_some() && *read == replaced[0].0)
}

/// The versions of a register come before themselves by what these transactions did, if the key is taken to be
/// consistent on its own.
fn cyclic_versions(facts: &Facts<'_>, named: &[OpId], key: &Value) -> bool {
    let mut follows: FxHashMap<&Value, Vec<&Value>> = FxHashMap::default();
    for &id in named {
        if let (Some(read), Some(wrote)) = facts.replaced(id, key) {
            follows.entry(read).or_default().push(wrote);
        }
    }
    let given = |evidence| facts.assumed(evidence) == Some(true);
    let touches = facts
        .touches(key)
        .iter()
        .filter(|touch| named.contains(&touch.by));
    let touches: Vec<_> = touches.collect();
    for one in &touches {
        for two in touches.iter().filter(|two| facts.in_time(one.by, two.by)) {
            let process = facts.of_id(one.by).process == facts.of_id(two.by).process;
            let ordered = given(Evidence::Realtime) || process && given(Evidence::Process);
            if ordered && one.last != two.first {
                follows.entry(&one.last).or_default().push(&two.first);
            }
        }
    }
    // What has nothing before it is in its place; what is left over at last is in a circle.
    let mut left: Vec<&Value> = follows.keys().copied().collect();
    loop {
        let before = left.len();
        let leads = |value: &&Value| follows[*value].iter().any(|next| left.contains(next));
        let next: Vec<&Value> = left.iter().copied().filter(leads).collect();
        left = next;
        if left.len() == before {
            return before > 0;
        }
    }
}

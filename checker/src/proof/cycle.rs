//! Checks a cycle of operations, edge by edge, against the history.
//!
//! The rules are those by which cycles are found, written a second time and without thrift: which operation must
//! come before which, as a table, round by round, until the table holds a cycle. Every edge that is claimed must
//! be in the table by then. No rule asks for more than was known in the round before, which had no cycle, so that
//! nothing is concluded from a contradiction.

use rustc_hash::FxHashMap;
use serde_json::Value as Json;

use super::Fault;
use crate::history::{History, OpId, Value};
use crate::model::{Domain, Effect, Model, appended};
use crate::subhistory::Moments;

/// Which operation must come before which.
type Table = Vec<Vec<bool>>;

/// Checks the edges, if there are any; says whether there are.
pub(super) fn check<D: Domain>(
    cycle: &Json,
    history: &History,
    domain: &D,
    moments: &Moments<'_>,
    core: &[OpId],
) -> Result<bool, Fault> {
    let edges = match cycle {
        Json::Null => return Ok(false),
        Json::Array(edges) if edges.is_empty() => return Ok(false),
        Json::Array(edges) => edges,
        _ => return Err(Fault::new("counterexample.cycle", "is no list")),
    };
    let facts = Facts::of(domain, moments, core);
    let table = facts.orders();
    let ends = edges.iter().enumerate().map(|(number, edge)| {
        let end = |field: &str| {
            let op = edge[field].as_u64();
            let node = facts
                .nodes
                .iter()
                .position(|node| Some(u64::from(node.op.0)) == op);
            let problem = "is none of the operations that must have taken effect";
            node.ok_or_else(|| Fault::new(format!("counterexample.cycle[{number}].{field}"), problem))
        };
        Ok((end("from")?, end("to")?))
    });
    let ends: Vec<(usize, usize)> = ends.collect::<Result<_, Fault>>()?;
    for (number, &(from, to)) in ends.iter().enumerate() {
        let (next, _) = ends[(number + 1) % ends.len()];
        if next != to {
            let problem = "does not lead to where the next edge begins: this is no cycle";
            return Err(Fault::new(format!("counterexample.cycle[{number}].to"), problem));
        }
        if !table[from][to] {
            let (one, two) = (facts.nodes[from].op, facts.nodes[to].op);
            let problem = format!(
                "nothing in the history says that operation {} came before operation {}",
                one.0, two.0
            );
            return Err(Fault::at(
                history,
                two,
                format!("counterexample.cycle[{number}]"),
                problem,
            ));
        }
    }
    Ok(true)
}

struct Node {
    op: OpId,
    process: u64,
    effect: Effect,
    invoked: u32,
    /// When it was over, as far as the core knows.
    over: Option<u32>,
}

struct Facts {
    nodes: Vec<Node>,
    /// How often each value may have been written, the beginning counted, and by whom last.
    written: FxHashMap<Value, (usize, Option<OpId>)>,
    adds: bool,
    grows: bool,
}

impl Facts {
    fn of<D: Domain>(domain: &D, moments: &Moments<'_>, core: &[OpId]) -> Facts {
        let mut facts = Facts {
            nodes: Vec::new(),
            written: FxHashMap::from_iter([(domain.init_value(), (1, None))]),
            adds: false,
            grows: true,
        };
        for op in moments.invoked() {
            let operation = moments.operation(op);
            let Ok(Some(call)) = domain.call(operation, moments.is_complete(op)) else {
                continue;
            };
            let effect = Effect::of(domain.name(), &call);
            facts.grows &= domain.rules().only_grows(&call);
            facts.adds |= effect.added.is_some();
            if let Some(made) = effect.made {
                let (times, by) = facts.written.entry(made).or_insert((0, None));
                (*times, *by) = (*times + 1, Some(op));
            }
        }
        let node = |op: OpId, known: bool| {
            let operation = moments.operation(op);
            let call = domain.call(operation, known).ok().flatten();
            Node {
                op,
                process: operation.process().0,
                effect: call
                    .map(|call| Effect::of(domain.name(), &call))
                    .unwrap_or_default(),
                invoked: operation.record().invoked,
                over: known.then_some(operation.record().completed),
            }
        };
        facts.nodes.extend(core.iter().map(|&op| node(op, true)));
        // Whoever alone wrote what was seen has certainly done so.
        let mut at = 0;
        while at < facts.nodes.len() {
            let source = facts.nodes[at]
                .effect
                .saw
                .clone()
                .and_then(|saw| facts.source(&saw));
            if let Some(Some(op)) = source
                && facts.nodes.iter().all(|known| known.op != op)
            {
                facts.nodes.push(node(op, false));
            }
            at += 1;
        }
        facts
    }

    /// Who wrote a value that was there only once: nobody, if it was there from the beginning.
    fn source(&self, value: &Value) -> Option<Option<OpId>> {
        match self.written.get(value) {
            Some(&(1, by)) if !self.adds => Some(by),
            _ => None,
        }
    }

    /// Everything that must come before something else, when the first contradiction shows.
    fn orders(&self) -> Table {
        let count = self.nodes.len();
        let mut table: Table = (0..count)
            .map(|from| {
                (0..count)
                    .map(|to| from != to && self.plainly(from, to))
                    .collect()
            })
            .collect();
        loop {
            let reach = closure(&table);
            if (0..count).any(|at| reach[at][at]) {
                return table;
            }
            let mut next = table.clone();
            for (member, node) in self.nodes.iter().enumerate() {
                // Every value that is known to have been there once and without a break.
                let saw = node.effect.saw.as_ref();
                let Some((value, source)) = saw.and_then(|saw| Some((saw, self.source(saw)?))) else {
                    continue;
                };
                let inside = |at: usize| {
                    Some(self.nodes[at].op) == source || self.nodes[at].effect.saw.as_ref() == Some(value)
                };
                for other in (0..count).filter(|&at| !inside(at) && self.excludes(at, value)) {
                    let after = (0..count).any(|at| inside(at) && reach[at][other]);
                    for within in (0..count).filter(|&at| inside(at)) {
                        next[within][other] |= after || source.is_none();
                        let writer = Some(self.nodes[within].op) == source;
                        next[other][within] |= writer && (0..count).any(|at| inside(at) && reach[other][at]);
                    }
                }
                debug_assert!(inside(member), "it saw the value");
            }
            if next == table {
                return table;
            }
            table = next;
        }
    }

    /// Whether one comes before the other by what the history says at once.
    fn plainly(&self, from: usize, to: usize) -> bool {
        let (a, b) = (&self.nodes[from], &self.nodes[to]);
        let in_time = a.over.is_some_and(|over| over < b.invoked);
        let in_process = a.over.is_some() && a.process == b.process && a.invoked < b.invoked;
        let of_what_was_seen = |saw: &Value| self.source(saw) == Some(Some(a.op));
        let source = b.effect.saw.as_ref().is_some_and(of_what_was_seen);
        let taken = b.effect.exchanged()
            && a.effect.saw == b.effect.saw
            && a.effect
                .saw
                .as_ref()
                .is_some_and(|saw| self.source(saw).is_some());
        let growing = self.grows && self.adds && grown(&a.effect, &b.effect);
        in_time || in_process || source || taken || growing
    }

    /// Whether an operation cannot happen while a value is there and leave it.
    fn excludes(&self, at: usize, value: &Value) -> bool {
        let Effect {
            saw, missed, made, ..
        } = &self.nodes[at].effect;
        [made, saw].into_iter().flatten().any(|other| other != value) || missed.as_ref() == Some(value)
    }
}

/// Whether what the first saw lacks what the second added, or cannot have come of what the second saw.
fn grown(a: &Effect, b: &Effect) -> bool {
    let Some(saw) = &a.saw else { return false };
    let text = |value: &Value| {
        appended(value, &Value::Nil)
            .as_str()
            .unwrap_or_default()
            .to_owned()
    };
    match (saw, &b.added, &b.saw) {
        (Value::List(elements), Some(added), _) => !elements.contains(added),
        (saw, Some(added), _) => !text(saw).contains(&text(added)),
        (Value::List(elements), None, Some(Value::List(others))) => {
            others.iter().any(|other| !elements.contains(other))
        }
        (saw, None, Some(other)) if saw == other => false,
        (Value::Str(saw), None, Some(other)) => !saw.starts_with(&text(other)),
        // Appending makes texts: it never leads to anything else.
        (_, None, Some(_)) => true,
        (_, None, None) => false,
    }
}

fn closure(table: &Table) -> Table {
    let mut reach = table.clone();
    let count = reach.len();
    for through in 0..count {
        for from in 0..count {
            if reach[from][through] {
                let onward = reach[through].clone();
                for (reached, on) in reach[from].iter_mut().zip(onward) {
                    *reached |= on;
                }
            }
        }
    }
    reach
}

//! Checks a yes: one order per subhistory, replayed through the model.

use serde_json::Value as Json;

use super::{Fault, Proof};
use crate::history::{History, OpId, Value};
use crate::model::Domain;
use crate::replay::{ReplayError, must_count, replay};
use crate::subhistory::Subhistories;

/// Checks that the orders are of all subhistories, and each explains its own.
pub(super) fn verify<D: Domain>(
    witness: &Json,
    history: &History,
    domain: &D,
    subhistories: &Subhistories,
) -> Proof {
    match orders(witness, history, domain, subhistories) {
        Ok(explained) => Proof::Holds {
            shown: match explained {
                1 => "legal: one operation explains everything".to_owned(),
                _ => format!("legal: the orders of {explained} operations explain everything"),
            },
            notes: Vec::new(),
        },
        Err(fault) => fault.into(),
    }
}

fn orders<D: Domain>(
    witness: &Json,
    history: &History,
    domain: &D,
    subhistories: &Subhistories,
) -> Result<usize, Fault> {
    let orders = witness["orders"]
        .as_array()
        .ok_or_else(|| Fault::new("witness.orders", "is no list"))?;
    let keys: Vec<Option<Value>> = (0..subhistories.len())
        .map(|at| subhistories.key(at).present().map(|key| history.pool.value(key)))
        .collect();
    let mut seen = vec![false; keys.len()];
    let mut explained = 0;
    for (number, linearization) in orders.iter().enumerate() {
        let place = |field: &str| format!("witness.orders[{number}].{field}");
        let key = linearization.get("key");
        let at = keys
            .iter()
            .position(|known| known.as_ref().map(Value::to_json).as_ref() == key);
        let at = at.ok_or_else(|| Fault::new(place("key"), "the history has no such key"))?;
        if std::mem::replace(&mut seen[at], true) {
            return Err(Fault::new(place("key"), "there is another order of this key"));
        }
        let order = linearization["order"]
            .as_array()
            .ok_or_else(|| Fault::new(place("order"), "is no list"))?;
        let mut ops = Vec::with_capacity(order.len());
        for (step, op) in order.iter().enumerate() {
            let op = op.as_u64().and_then(|op| u32::try_from(op).ok());
            let op = op.filter(|&op| (op as usize) < history.len()).ok_or_else(|| {
                let problem = "the history has no such operation";
                Fault::new(place(&format!("order[{step}]")), problem)
            })?;
            ops.push(OpId(op));
        }
        explained += ops.len();
        let moments = subhistories.moments(history, at);
        replay(domain, &moments, &ops).map_err(|error| {
            let (ReplayError::OutOfPlace(op)
            | ReplayError::Missing(op)
            | ReplayError::OutOfTime(_, op)
            | ReplayError::Impossible(op)) = error;
            Fault::at(history, op, place("order"), error.to_string())
        })?;
    }
    for at in (0..keys.len()).filter(|&at| !seen[at]) {
        let moments = subhistories.moments(history, at);
        if let Some(op) = moments.invoked().find(|&op| must_count(domain, &moments, op)) {
            let problem = match &keys[at] {
                Some(key) => format!("no order of key {key}"),
                None => "no order of the operations without a key".to_owned(),
            };
            return Err(Fault::at(history, op, "witness.orders", problem));
        }
    }
    Ok(explained)
}

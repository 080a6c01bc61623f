//! Tells a [`Glance`] what happened to a register.

use super::register::RegisterRules;
use super::register_compiler::Compiler;
use super::register_machine::Effect;
use crate::engine::{CallId, Deed, Glance, Glimpsed, Need, StateId, VALUES};
use crate::history::{History, OpId};
use crate::subhistory::Moments;

/// An order that explains a subhistory, where a [`Glance`] finds one.
pub(crate) fn glance_at_register(
    history: &History,
    rules: &RegisterRules,
    moments: &Moments<'_>,
) -> Option<Vec<OpId>> {
    if history.knows("append") {
        return None;
    }
    let mut compiler = Compiler::new(history, rules, moments);
    if compiler.revisions {
        return None;
    }
    let init = compiler.value(history.pool_word(&rules.init), &rules.init);
    let mut glance = Glance::new(moments.len());
    let (mut required, mut unknown) = (Vec::with_capacity(moments.operations()), Vec::new());
    let mut waiting = moments.numbering();
    for (op, completes) in moments.iter() {
        if completes {
            if let Some(CallId(call)) = waiting.get(op) {
                glance.completed(call);
            }
            continue;
        }
        let Some((effect, need)) = compiler.effect(history.operation(op), moments.is_complete(op)) else {
            continue;
        };
        let small = |value: StateId| u8::try_from(value.0).ok().filter(|_| value.0 < VALUES);
        let deed = match effect {
            Effect::Reads(value) => Deed::Reads(small(value)?),
            Effect::Differs(value) => Deed::Differs(small(value)?),
            Effect::Writes(value) => Deed::Writes(small(value)?),
            Effect::Exchanges(from, to) => Deed::Exchanges(small(from)?, small(to)?),
            _ => return None,
        };
        if moments.has_ties() && moments.after(op, Some).is_some() {
            return None;
        }
        match need {
            Need::Required => {
                waiting.put(op, CallId(glance.invoked(deed)?));
                required.push(op);
            }
            Need::Optional => {
                if glance.offered(deed) {
                    unknown.push(op);
                }
            }
        }
    }
    let order = glance.look(init.0 as u8)?;
    let op = |taken| match taken {
        Glimpsed::Call(call) => required[call],
        Glimpsed::Unknown(number) => unknown[number],
    };
    Some(order.into_iter().map(op).collect())
}

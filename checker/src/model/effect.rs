//! What one operation says about values: the ones it saw, missed, left behind or added.

use std::str::FromStr;

use super::{Invocation, Observed};
use crate::history::Value;
use crate::options::ModelName;

/// What an operation says about the value of its subhistory. Constraints between operations follow from it
/// without any search.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Effect {
    /// The value that it saw.
    pub(crate) saw: Option<Value>,
    /// A value that it was told not to be there.
    pub(crate) missed: Option<Value>,
    /// The value that it left behind, if that is known without knowing the one before.
    pub(crate) made: Option<Value>,
    /// What it added to whatever was there.
    pub(crate) added: Option<Value>,
}

impl Effect {
    /// What an operation of a model says; nothing for models whose state is not one value.
    pub(crate) fn of(model: &str, call: &Invocation) -> Effect {
        match ModelName::from_str(model) {
            Ok(ModelName::Register | ModelName::CasRegister | ModelName::Kv) => Effect::on_register(call),
            Ok(ModelName::Set) => Effect::on_set(call),
            _ => Effect::default(),
        }
    }

    /// Whether it replaced the value that it saw by another.
    pub(crate) fn exchanged(&self) -> bool {
        self.saw.is_some() && self.made.is_some() && self.saw != self.made
    }

    fn on_register(call: &Invocation) -> Effect {
        let mut effect = Effect::default();
        let pair = call.input.as_list().and_then(|pair| match pair {
            [expected, new] => Some((expected.clone(), new.clone())),
            _ => None,
        });
        match (&*call.f, &call.result, pair) {
            ("get", Observed::Ok(seen, _), _) => effect.saw = Some(seen.clone()),
            ("set", ..) => effect.made = Some(call.input.clone()),
            ("delete", ..) => effect.made = Some(Value::Nil),
            ("append", ..) => effect.added = Some(call.input.clone()),
            ("cas", Observed::Mismatch(Some(current)), _) => effect.saw = Some(current.clone()),
            // Told that the revision is another, it may well have found the value that it expected.
            ("cas", Observed::Mismatch(None), Some((expected, _))) if call.asked_rev.is_none() => {
                effect.missed = Some(expected);
            }
            // A cas of a value to itself leaves everything as it was; of unknown outcome it says nothing.
            ("cas", result, Some((expected, new))) if expected == new && call.asked_rev.is_none() => {
                effect.saw = matches!(result, Observed::Ok(..)).then_some(expected);
            }
            ("cas", Observed::Unknown | Observed::Ok(..), Some((expected, new))) => {
                // A cas by revision may leave the expected value open.
                if call.asked_rev.is_none() || !expected.is_nil() {
                    effect.saw = Some(expected);
                }
                effect.made = Some(new);
            }
            _ => {}
        }
        effect
    }

    fn on_set(call: &Invocation) -> Effect {
        let mut effect = Effect::default();
        match (&*call.f, &call.result) {
            ("add", _) => effect.added = Some(call.input.clone()),
            ("read", Observed::Ok(Value::Nil, _)) => effect.saw = Some(Value::List(Vec::new())),
            ("read", Observed::Ok(seen, _)) => effect.saw = Some(seen.clone()),
            _ => {}
        }
        effect
    }
}

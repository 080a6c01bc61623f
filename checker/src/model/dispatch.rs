//! Finds the domain of a model by its name.

use super::{Bag, Counter, Domain, Fifo, Guarded, Lock, MultiRegister, RegisterRules, Registers, Set};
use crate::history::{History, Value};
use crate::options::{CasFail, ModelName};

/// What a history is judged by.
#[derive(Clone, Debug)]
pub(crate) struct Judged {
    pub(crate) model: ModelName,
    /// The initial value.
    pub(crate) init: Value,
    /// What a failed cas says that does not say it itself.
    pub(crate) cas_fail: CasFail,
}

/// Something to do with a domain, whichever it is.
pub(crate) trait WithDomain {
    type Output;

    /// `whole` says that operations touch several keys at once, so that the history cannot be split by key.
    fn run<D: Domain>(self, domain: &D, whole: bool) -> Self::Output;
}

/// Does something with the domain of a model.
///
/// # Errors
/// What is wrong with the initial value.
///
/// # Panics
/// If the model is one of transactions, which have no domain.
pub(crate) fn with_domain<W: WithDomain>(
    history: &History,
    by: &Judged,
    what: W,
) -> Result<W::Output, String> {
    Ok(match by.model {
        ModelName::Register | ModelName::CasRegister | ModelName::Kv => {
            let rules = Guarded::new(RegisterRules {
                init: by.init.clone(),
                cas_fail: by.cas_fail,
            });
            let domain = Registers {
                name: by.model.as_str(),
                rules,
            };
            what.run(&domain, false)
        }
        ModelName::Set => what.run(&Set::domain(&by.init)?, false),
        ModelName::Counter => what.run(&Counter::domain(&by.init)?, false),
        ModelName::Lock => what.run(&Lock::domain(), false),
        ModelName::Queue if is_bag(history) => what.run(&Bag::domain(), false),
        ModelName::Queue => what.run(&Fifo::domain(), false),
        ModelName::MultiRegister => what.run(&MultiRegister::domain(&by.init), true),
        ModelName::ListAppend
        | ModelName::RwRegister
        | ModelName::LongFork
        | ModelName::Bank
        | ModelName::Watch
        | ModelName::Monotonic => {
            unreachable!("transactions have no domain")
        }
    })
}

/// Whether the header says that a queue has no order.
pub(crate) fn is_bag(history: &History) -> bool {
    history
        .header()
        .other
        .get("queue")
        .and_then(serde_json::Value::as_str)
        == Some("bag")
}

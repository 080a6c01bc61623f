//! Sequential consistency: is there one order of all operations that keeps each process's own?
//!
//! Lamport's condition (1979) asks less than linearizability: operations of different processes may be put in any
//! order, whatever the clock says, as long as each process's operations stay in theirs. Unlike linearizability it
//! does not hold of a whole because it holds of every key (Herlihy & Wing 1990, §3.2), so all keys that processes
//! share are judged together. What is linearizable is sequentially consistent, and that is tried first, for it is
//! fast. The rest is a search through the positions of all processes ([`search`]): to decide is NP-complete
//! (Gibbons & Korach 1997) even when every value is written once, so there are budgets, and what they end is
//! unknown.
//!
//! Operations of unknown outcome may take effect at their place in their process's order, or never.

mod core;
mod program;
mod saturation;
mod search;

use rustc_hash::FxHashMap;

use crate::check::{CheckError, check, choose_init, completed, model_of, registers};
use crate::engine::{Budget, Exhausted};
use crate::history::{History, HistoryError, OpId, ProcessId};
use crate::model::{Bag, Counter, Domain, Fifo, Lock, ModelFailure, MultiRegister, Set, caught};
use crate::options::{CheckOptions, Explain, ModelName, Violations};
use crate::verdict::{Analysis, Limit, Linearization, Stand, Verdict, Witness};

use program::Program;
use search::{Answer, search};

/// Decides whether a history is sequentially consistent. The witness is one order of all operations; it keeps to
/// processes, not to time.
///
/// # Errors
/// As [`check`]; and [`CheckError::NoMeasure`] for transactions, which have consistency models of their own.
pub fn sequential(history: &History, options: &CheckOptions) -> Result<Analysis, CheckError> {
    let model = model_of(history, options)?;
    if model.is_transactional() {
        return Err(CheckError::NoMeasure(format!(
            "model {model}: for transactions, ask for --consistency-models strong-session-serializable"
        )));
    }
    let budget = Budget::new(options.time_limit, options.memory_limit);
    // Half of the time at most: what is not linearizable may still be sequentially consistent.
    let first = check(
        history,
        &CheckOptions {
            explain: Explain::Nothing,
            violations: Violations::First,
            time_limit: options.time_limit.map(|limit| limit / 2),
            ..options.clone()
        },
    )?;
    if let Verdict::Linearizable(witness) = &first.verdict {
        let orders = witness.orders.iter().map(|order| &*order.order);
        let order = merged(history, orders);
        return Ok(Analysis {
            verdict: Verdict::Linearizable(Witness {
                orders: vec![Linearization { key: None, order }],
            }),
            elapsed: budget.elapsed(),
            ..first
        });
    }
    let init = choose_init(history, options, model).value;
    let wrong = |problem| CheckError::Init { model, problem };
    let question = Question {
        history,
        options,
        budget: &budget,
    };
    let verdict = match model {
        ModelName::Register | ModelName::CasRegister | ModelName::Kv => {
            question.judge(&registers(history, options, model))
        }
        ModelName::Set => question.judge(&Set::domain(&init).map_err(wrong)?),
        ModelName::Counter => question.judge(&Counter::domain(&init).map_err(wrong)?),
        ModelName::Lock => question.judge(&Lock::domain()),
        ModelName::Queue if crate::model::is_bag(history) => question.judge(&Bag::domain()),
        ModelName::Queue => question.judge(&Fifo::domain()),
        ModelName::MultiRegister => question.judge(&MultiRegister::domain(&init)),
        ModelName::ListAppend
        | ModelName::RwRegister
        | ModelName::LongFork
        | ModelName::Bank
        | ModelName::Watch
        | ModelName::Monotonic => {
            unreachable!("transactions were refused above")
        }
    }?;
    Ok(Analysis {
        verdict,
        illegal_keys: Vec::new(),
        elapsed: budget.elapsed(),
        ..first
    })
}

/// One order of all operations that keeps those of the keys and of the processes. There is one, because
/// linearizability is local (Herlihy & Wing 1990, theorem 1).
fn merged<'a>(history: &History, orders: impl Iterator<Item = &'a [OpId]>) -> Vec<OpId> {
    let count = history.len();
    let mut after: Vec<Vec<OpId>> = vec![Vec::new(); count];
    let mut waits = vec![0u32; count];
    let mut belongs = vec![false; count];
    let mut edge = |before: OpId, then: OpId| {
        after[before.0 as usize].push(then);
        waits[then.0 as usize] += 1;
    };
    for order in orders {
        for pair in order.windows(2) {
            edge(pair[0], pair[1]);
        }
        for &op in order {
            belongs[op.0 as usize] = true;
        }
    }
    let mut last: FxHashMap<ProcessId, OpId> = FxHashMap::default();
    for operation in history.operations().filter(|op| belongs[op.id().0 as usize]) {
        if let Some(before) = last.insert(operation.process(), operation.id()) {
            edge(before, operation.id());
        }
    }
    let mut ready: Vec<OpId> = (0..count as u32)
        .map(OpId)
        .filter(|op| belongs[op.0 as usize] && waits[op.0 as usize] == 0)
        .collect();
    let mut order = Vec::with_capacity(count);
    while let Some(op) = ready.pop() {
        order.push(op);
        for &then in &after[op.0 as usize] {
            waits[then.0 as usize] -= 1;
            if waits[then.0 as usize] == 0 {
                ready.push(then);
            }
        }
    }
    let wanted = belongs.iter().filter(|belongs| **belongs).count();
    assert_eq!(
        order.len(),
        wanted,
        "orders of keys and of processes fit together"
    );
    order
}

/// A history with what limits the search for an order.
#[derive(Clone, Copy)]
pub(crate) struct Question<'a> {
    pub(crate) history: &'a History,
    pub(crate) options: &'a CheckOptions,
    pub(crate) budget: &'a Budget,
}

impl Question<'_> {
    fn judge<D: Domain>(&self, domain: &D) -> Result<Verdict, CheckError> {
        self.validate(domain)?;
        let judged = caught(|| self.search(domain));
        Ok(judged.unwrap_or_else(|ModelFailure { message }| {
            let stand = Stand {
                of: completed(self.history),
                ..Stand::default()
            };
            Verdict::Unknown(Limit::ModelPanicked { message, stand })
        }))
    }

    fn search<D: Domain>(&self, domain: &D) -> Verdict {
        let mut order = Vec::with_capacity(self.history.len());
        let mut unknown = None;
        // Processes that share no key, not even by way of others, can be put in any order.
        for mut program in Program::split(self.history, domain) {
            match search(&mut program, &mut self.budget.meter()) {
                Answer::Legal(part) => order.extend(part),
                Answer::Illegal => {
                    return Verdict::Illegal(Box::new(core::counterexample(self, domain, &program)));
                }
                Answer::Exhausted { limit, taken } => {
                    let stand = Stand {
                        key: None,
                        explained: taken,
                        of: program.required(),
                    };
                    unknown = unknown.or(Some(self.limit(limit, stand)));
                }
            }
        }
        if let Some(limit) = unknown {
            return Verdict::Unknown(limit);
        }
        assert!(
            program::replays(self.history, domain, &order),
            "the search's own order must replay"
        );
        Verdict::Linearizable(Witness {
            orders: vec![Linearization { key: None, order }],
        })
    }

    fn validate<D: Domain>(&self, domain: &D) -> Result<(), CheckError> {
        let malformed = |(op, flaw)| HistoryError::Malformed {
            place: self.history.place(self.history.operation(op)),
            flaw,
        };
        Ok(domain.validate(self.history).map_err(malformed)?)
    }

    fn limit(&self, limit: Exhausted, stand: Stand) -> Limit {
        match limit {
            Exhausted::Time => Limit::Time {
                allowed: self.options.time_limit.unwrap_or_default(),
                stand,
            },
            Exhausted::Memory => Limit::Memory {
                allowed: self.budget.memory(),
                stand,
            },
            Exhausted::Stopped => Limit::Stopped,
        }
    }
}

#[cfg(test)]
mod tests;

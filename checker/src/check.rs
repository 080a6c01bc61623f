//! Judges a whole history: picks the model, splits by key, searches, and proves what it found.

use std::panic::{self, AssertUnwindSafe};
use std::sync::atomic::{AtomicUsize, Ordering};

use rayon::prelude::*;
use rustc_hash::FxHashSet;
use thiserror::Error;

use crate::contradictions;
use crate::engine::{
    self, Answer, Blocks, Budget, Exhausted, Glance, Machine, Meter, Moment, Packed, Problem,
};
use crate::explain;
use crate::history::{Form, History, HistoryError, NEVER, OpId, Outcome, Value, Word};
use crate::model::{
    Domain, General, Guarded, Judged, Model, ModelFailure, RegisterRules, Registers, WithDomain, caught,
    with_domain, words_of,
};
use crate::options::{CasFail, CheckOptions, ModelName, Violations};
use crate::precheck;
use crate::replay::replay;
use crate::subhistory::{Moments, Subhistories};
use crate::transactions;
use crate::verdict::{Analysis, Limit, Linearization, Stand, Verdict, Witness};

/// Why a history could not be judged.
#[derive(Debug, Error)]
pub enum CheckError {
    /// The model does not know an operation of the history.
    #[error(transparent)]
    History(#[from] HistoryError),
    /// The history or the caller names a model that does not exist.
    #[error("{0}")]
    UnknownModel(String),
    /// No model was named, and the functions of the history belong to none.
    #[error(
        "no model was named and the functions of the history ({functions}) suggest none: name one with --model"
    )]
    NoModel {
        /// The functions of the history.
        functions: String,
    },
    /// The initial value is none that the model can begin with.
    #[error("model {model}: {problem}")]
    Init {
        /// The model.
        model: ModelName,
        /// What is wrong with the value.
        problem: String,
    },
    /// The threads that were asked for cannot be had.
    #[error("cannot start {0} threads")]
    Threads(usize),
    /// The question makes no sense for this history: where, and why.
    #[error("{0}")]
    NoMeasure(String),
}

/// Decides whether a history is linearizable.
///
/// # Errors
/// [`CheckError`] if the history names no known model or has operations that the model does not know; what
/// runs out is no error but [`Verdict::Unknown`].
pub fn check(history: &History, options: &CheckOptions) -> Result<Analysis, CheckError> {
    let budget = Budget::new(options.time_limit, options.memory_limit);
    let model = model_of(history, options)?;
    let init = choose_init(history, options, model);
    if model.is_transactional() {
        let analysis = transactions::check(history, model, &options.transactions_of(history))?;
        return Ok(analysis.into_analysis(history, options.init_of(history)));
    }
    let by = judged_by(history, options, model);
    let question = Question {
        history,
        options,
        budget: &budget,
        guessed: init.guessed,
    };
    with_domain(history, &by, question).map_err(|problem| CheckError::Init { model, problem })?
}

/// A history that is to be judged, by whichever domain.
struct Question<'a> {
    history: &'a History,
    options: &'a CheckOptions,
    budget: &'a Budget,
    guessed: bool,
}

impl WithDomain for Question<'_> {
    type Output = Result<Analysis, CheckError>;

    fn run<D: Domain>(self, domain: &D, whole: bool) -> Self::Output {
        let case = Case {
            history: self.history,
            domain,
            options: self.options,
            budget: self.budget,
        };
        case.analyse(self.guessed, || Subhistories::of(self.history, whole))
    }
}

/// What a history is judged by, where neither the caller nor the header says everything.
pub(crate) fn judged_by(history: &History, options: &CheckOptions, model: ModelName) -> Judged {
    let cas_fail = options.cas_fail.unwrap_or(CasFail::of_form(history.form()));
    Judged {
        model,
        init: choose_init(history, options, model).value,
        cas_fail,
    }
}

/// Decides whether a history is linearizable by a model of the caller's own. Operations that carry a key are
/// judged key by key; what failed counts as never done. The model and the initial value that the options name play
/// no part.
///
/// # Errors
/// [`CheckError::Threads`] if the threads that were asked for cannot be had. A model that panics makes the
/// verdict [`Verdict::Unknown`].
pub fn check_model<M: Model>(
    history: &History,
    model: M,
    options: &CheckOptions,
) -> Result<Analysis, CheckError> {
    let budget = Budget::new(options.time_limit, options.memory_limit);
    let domain = General {
        name: "custom",
        model: Guarded::new(model),
        functions: &[],
        flaw: |_| None,
        init: Value::Nil,
    };
    let case = Case {
        history,
        domain: &domain,
        options,
        budget: &budget,
    };
    let judged = panic::catch_unwind(AssertUnwindSafe(|| {
        case.analyse(false, || Subhistories::by_key(history))
    }));
    // States of the caller's own are compared and copied outside the model's methods.
    judged.unwrap_or_else(|panicked| {
        let message = words_of(&*panicked);
        let stand = Stand {
            key: None,
            explained: 0,
            of: completed(history),
        };
        Ok(Analysis {
            verdict: Verdict::Unknown(Limit::ModelPanicked { message, stand }),
            model: domain.name.to_owned(),
            init: Value::Nil,
            init_guessed: false,
            operations: history.len(),
            subhistories: 1,
            illegal_keys: Vec::new(),
            elapsed: budget.elapsed(),
        })
    })
}

/// The register that a history is judged by.
pub(crate) fn registers(history: &History, options: &CheckOptions, model: ModelName) -> Registers {
    let by = judged_by(history, options, model);
    Registers {
        name: model.as_str(),
        rules: Guarded::new(RegisterRules {
            init: by.init,
            cas_fail: by.cas_fail,
        }),
    }
}

/// One history with everything that decides how it is judged.
struct Case<'a, D> {
    history: &'a History,
    domain: &'a D,
    options: &'a CheckOptions,
    budget: &'a Budget,
}

impl<D: Domain> Case<'_, D> {
    fn analyse(&self, guessed: bool, split: impl FnOnce() -> Subhistories) -> Result<Analysis, CheckError> {
        let Case {
            history,
            domain,
            options,
            budget,
        } = *self;
        domain
            .validate(history)
            .map_err(|(op, flaw)| history.malformed(op, flaw))?;
        let subhistories = split();
        let judged = match options.threads {
            None => judge(history, domain, &subhistories, options, budget),
            Some(threads) => {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
                let pool = pool.map_err(|_| CheckError::Threads(threads))?;
                pool.install(|| judge(history, domain, &subhistories, options, budget))
            }
        };
        Ok(Analysis {
            verdict: judged.verdict,
            model: domain.name().to_owned(),
            init: domain.init_value(),
            init_guessed: guessed,
            operations: history.len(),
            subhistories: subhistories.len(),
            illegal_keys: judged.illegal_keys,
            elapsed: budget.elapsed(),
        })
    }
}

pub(crate) struct Init {
    pub(crate) value: Value,
    pub(crate) guessed: bool,
}

/// The caller's, the header's, or what the form implies.
pub(crate) fn choose_init(history: &History, options: &CheckOptions, model: ModelName) -> Init {
    let said = options.init.clone().or_else(|| history.header().init.clone());
    if let Some(value) = said {
        return Init {
            value,
            guessed: false,
        };
    }
    match history.form() {
        Form::Ordeal | Form::JepsenLog => Init {
            value: Value::Nil,
            guessed: false,
        },
        Form::KeyValueLog => Init {
            value: Value::from(""),
            guessed: false,
        },
        Form::Edn if history.header().model.is_some() => Init {
            value: Value::Nil,
            guessed: false,
        },
        Form::Edn
            if !matches!(
                model,
                ModelName::Register | ModelName::CasRegister | ModelName::Kv
            ) =>
        {
            Init {
                value: Value::Nil,
                guessed: false,
            }
        }
        Form::Edn => {
            let reads = history.operations().filter(|operation| {
                operation.outcome() == Outcome::Ok && matches!(operation.f(), "read" | "get" | "r")
            });
            let first = reads.min_by_key(|operation| operation.completed_index());
            let nil = first.is_some_and(|first| first.output().is_nil());
            Init {
                value: if nil { Value::Nil } else { Value::Int(0) },
                guessed: true,
            }
        }
    }
}

/// The model that a history is judged by: the one that the options name, or the history, or its functions.
///
/// # Errors
/// [`CheckError::UnknownModel`] if the history names another one, [`CheckError::NoModel`] if nothing does.
pub fn model_of(history: &History, options: &CheckOptions) -> Result<ModelName, CheckError> {
    if let Some(model) = options.model {
        return Ok(model);
    }
    if let Some(name) = &history.header().model {
        return name.parse().map_err(|problem| {
            CheckError::UnknownModel(match history.file() {
                Some(file) => format!("{file}:1: {problem}"),
                None => problem,
            })
        });
    }
    if let Some(model) = transactions::suggested(history) {
        return Ok(model);
    }
    let keyed = history.keys.iter().any(|key| *key != Word::ABSENT);
    let known = history.functions.iter().all(|f| {
        matches!(
            &**f,
            "get" | "read" | "set" | "write" | "put" | "cas" | "compare-and-set" | "append" | "delete"
        )
    });
    let all = |functions: &[&str]| history.functions.iter().all(|f| functions.contains(&&**f));
    if !history.functions.is_empty() && !known {
        let lists = || {
            history
                .operations()
                .any(|operation| operation.output().as_list().is_some())
        };
        if all(&["acquire", "release"]) {
            return Ok(ModelName::Lock);
        }
        if all(&["enqueue", "dequeue"]) {
            return Ok(ModelName::Queue);
        }
        if all(&["add", "read"]) {
            return Ok(if lists() {
                ModelName::Set
            } else {
                ModelName::Counter
            });
        }
    }
    match (known, keyed) {
        (true, true) => Ok(ModelName::Kv),
        (true, false) => Ok(ModelName::CasRegister),
        (false, _) => {
            let functions: Vec<&str> = history.functions.iter().map(|f| &**f).collect();
            Err(CheckError::NoModel {
                functions: functions.join(", "),
            })
        }
    }
}

struct Found {
    verdict: Verdict,
    illegal_keys: Vec<Value>,
}

/// What became of one subhistory.
enum Finding {
    Legal(Vec<OpId>),
    /// The completion of this operation cannot be explained.
    Illegal(OpId),
    Exhausted(Exhausted, Stand),
    /// The model failed.
    Failed(ModelFailure),
}

/// How many moves a violation is reduced for, a few seconds' worth at most. One about a value that was written hundreds
/// of times needs them all, and is told as far as it was reduced by then.
pub(crate) const EXPLAINING: u64 = 5_000_000;

/// Histories with fewer moments are not worth a second thread.
const WORTH_THREADS: usize = 4096;

fn judge<D: Domain>(
    history: &History,
    domain: &D,
    subhistories: &Subhistories,
    options: &CheckOptions,
    budget: &Budget,
) -> Found {
    let order = subhistories.largest_first();
    // The first violation by this order is reported, whichever thread finds one first.
    let first_illegal = AtomicUsize::new(usize::MAX);
    let one = |glance: &mut Glance, (place, &at): (usize, &usize)| {
        if options.violations == Violations::First && first_illegal.load(Ordering::Relaxed) < place {
            return (at, Finding::Exhausted(Exhausted::Stopped, Stand::default()));
        }
        let moments = subhistories.moments(history, at);
        let finding = caught(|| search_one(history, domain, &moments, glance, &mut budget.meter()));
        let finding = finding.unwrap_or_else(|failure| {
            // It was left in the middle of something.
            *glance = Glance::default();
            Finding::Failed(failure)
        });
        if matches!(finding, Finding::Illegal(_)) {
            first_illegal.fetch_min(place, Ordering::Relaxed);
        }
        (at, finding)
    };
    let findings: Vec<(usize, Finding)> = if history.len() < WORTH_THREADS || order.len() < 2 {
        let mut glance = Glance::default();
        let order = order.iter().enumerate();
        order.map(|numbered| one(&mut glance, numbered)).collect()
    } else {
        order
            .par_iter()
            .enumerate()
            .map_init(Glance::default, one)
            .collect()
    };
    let key_of = |at| subhistories.key(at).present().map(|key| history.pool.value(key));
    let illegal = |(_, finding): &&(usize, Finding)| matches!(finding, Finding::Illegal(_));
    let illegal_keys = if options.violations == Violations::All {
        findings
            .iter()
            .filter(illegal)
            .filter_map(|&(at, _)| key_of(at))
            .collect()
    } else {
        Vec::new()
    };
    if let Some(&(at, Finding::Illegal(stuck))) =
        findings.iter().find(|(_, f)| matches!(f, Finding::Illegal(_)))
    {
        let moments = subhistories.moments(history, at);
        let budget = budget.at_most(EXPLAINING);
        let explained = explain::explain(history, domain, &moments, stuck, options.explain, &budget);
        return Found {
            verdict: Verdict::Illegal(Box::new(explained)),
            illegal_keys,
        };
    }
    let mut verdict = Verdict::Linearizable(Witness::default());
    for (at, finding) in findings {
        let key = key_of(at);
        verdict = verdict.merge(match finding {
            Finding::Legal(order) => Verdict::Linearizable(Witness {
                orders: vec![Linearization { key, order }],
            }),
            Finding::Exhausted(limit, stand) => {
                Verdict::Unknown(limit_of(limit, options, budget, Stand { key, ..stand }))
            }
            Finding::Failed(ModelFailure { message }) => {
                let of = subhistories.moments(history, at).completed().count();
                let stand = Stand {
                    key,
                    explained: 0,
                    of,
                };
                Verdict::Unknown(Limit::ModelPanicked { message, stand })
            }
            Finding::Illegal(_) => unreachable!("returned above"),
        });
    }
    Found {
        verdict,
        illegal_keys,
    }
}

fn search_one<D: Domain>(
    history: &History,
    domain: &D,
    moments: &Moments<'_>,
    glance: &mut Glance,
    meter: &mut Meter<'_>,
) -> Finding {
    moments.fetch();
    if let Some(found) = contradictions::find(domain, moments) {
        let ops = found.operations.into_iter();
        let last = ops.max_by_key(|op| history.operation(*op).record().completed);
        return Finding::Illegal(last.expect("a contradiction has operations"));
    }
    // Most histories are legal and show it at once.
    if let Some(order) = domain.glance(history, moments, glance) {
        let replayed = replay(domain, moments, &order);
        assert_eq!(replayed, Ok(()), "an order found at a glance must replay");
        return Finding::Legal(order);
    }
    let mut problem = domain.compile(history, moments);
    let first_completed = |problem: &Problem<D::Compiled<'_>>| {
        let completed = problem.moments.iter().find_map(|moment| match moment.moment() {
            Moment::Completed(call) => Some(problem.call(call).op),
            Moment::Invoked(_) => None,
        });
        completed.expect("without a completion everything is legal")
    };
    match engine::decide(&problem) {
        Blocks::Legal(calls) => {
            let order: Vec<OpId> = calls.into_iter().map(|call| problem.call(call).op).collect();
            let replayed = replay(domain, moments, &order);
            assert_eq!(replayed, Ok(()), "the order of blocks must replay");
            return Finding::Legal(order);
        }
        // Where the violation is, its explanation finds out.
        Blocks::Illegal => return Finding::Illegal(first_completed(&problem)),
        Blocks::NotApplicable => {}
    }
    let found = |problem: &mut Problem<D::Compiled<'_>>, steps: &[engine::Step]| {
        let order = engine::order(problem, steps);
        let replayed = replay(domain, moments, &order);
        assert_eq!(replayed, Ok(()), "the engine's own order must replay");
        Finding::Legal(order)
    };
    // Many of the others are legal, too.
    if let Some(steps) = engine::search_briefly(&mut problem, meter) {
        return found(&mut problem, &steps);
    }
    if let Some(found) = contradictions::find_any(domain, moments) {
        let ops = found.operations.into_iter();
        let last = ops.max_by_key(|op| history.operation(*op).record().completed);
        return Finding::Illegal(last.expect("a contradiction has operations"));
    }
    if let Some(witness) = precheck::find(&problem) {
        let witness: FxHashSet<OpId> = witness.into_iter().map(|call| problem.call(call).op).collect();
        let alone = Moments::some(history, moments.packed(), &witness);
        // A second opinion, on a question that is easy by now. The explanation finds the rest again.
        if is_illegal(history, domain, &alone, meter) == Some(true) {
            let last = witness
                .into_iter()
                .max_by_key(|op| history.operation(*op).record().completed);
            return Finding::Illegal(last.expect("a contradiction has operations"));
        }
    }
    match engine::search(&mut problem, meter) {
        Answer::Legal(steps) => found(&mut problem, &steps),
        Answer::Illegal { furthest } => match problem.moments[furthest].moment() {
            Moment::Completed(call) => Finding::Illegal(problem.call(call).op),
            Moment::Invoked(_) => unreachable!("only a completion can fail to be explained"),
        },
        Answer::Exhausted { limit, furthest } => Finding::Exhausted(limit, stand(&problem, furthest)),
    }
}

/// How many operations of a history completed.
pub(crate) fn completed(history: &History) -> usize {
    let records = history.records.iter();
    records.filter(|record| record.completed != NEVER).count()
}

/// How far a search came that stood, at best, at this place of the moments.
fn stand<M: Machine>(problem: &Problem<M>, furthest: usize) -> Stand {
    let completed = |moments: &[Packed]| {
        let moments = moments.iter().map(|packed| packed.moment());
        moments
            .filter(|moment| matches!(moment, Moment::Completed(_)))
            .count()
    };
    Stand {
        key: None,
        explained: completed(&problem.moments[..furthest]),
        of: completed(&problem.moments),
    }
}

/// So many moments that are made ready for a search take as long as a move of it.
pub(crate) const MOMENTS_PER_MOVE: u64 = 4;

/// Whether some moments are illegal; `None` if the budget ran out.
pub(crate) fn is_illegal<D: Domain>(
    history: &History,
    domain: &D,
    moments: &Moments<'_>,
    meter: &mut Meter<'_>,
) -> Option<bool> {
    if !meter.prepare(moments.packed().len() as u64 / MOMENTS_PER_MOVE) {
        return None;
    }
    let mut problem = domain.compile(history, moments);
    match engine::decide(&problem) {
        Blocks::Legal(_) => return Some(false),
        Blocks::Illegal => return Some(true),
        Blocks::NotApplicable => {}
    }
    match engine::search(&mut problem, meter) {
        Answer::Legal(_) => Some(false),
        Answer::Illegal { .. } => Some(true),
        Answer::Exhausted { .. } => None,
    }
}

/// What ran out for a key that could not be followed within what may be held.
pub(crate) fn search_limit(options: &CheckOptions, budget: &Budget, held: u64, stand: Stand) -> Limit {
    match options.time_limit {
        Some(allowed) if budget.elapsed() > allowed => Limit::Time { allowed, stand },
        _ => Limit::Memory {
            allowed: options.memory_limit.unwrap_or(held),
            stand,
        },
    }
}

fn limit_of(limit: Exhausted, options: &CheckOptions, budget: &Budget, stand: Stand) -> Limit {
    match limit {
        Exhausted::Time => Limit::Time {
            allowed: options.time_limit.unwrap_or_default(),
            stand,
        },
        Exhausted::Memory => Limit::Memory {
            allowed: budget.memory(),
            stand,
        },
        Exhausted::Stopped => Limit::Stopped,
    }
}

#[cfg(test)]
mod tests;

//! Checks a linearization. Shares nothing with the engines but the model in plain words.

use thiserror::Error;

use crate::history::{NEVER, OpId, Operation, Outcome};
use crate::model::{Domain, Model, Observed, Stepped, WordRegister};
use crate::subhistory::{Moments, Places};

/// Why an order is no linearization.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(crate) enum ReplayError {
    /// The order has an operation twice, or one that does not belong into it.
    #[error("operation {} is there twice or does not belong there", .0.0)]
    OutOfPlace(OpId),
    /// The order leaves out an operation that completed.
    #[error("operation {} completed but is not there", .0.0)]
    Missing(OpId),
    /// The order puts an operation before one that had completed when it was invoked.
    #[error("operation {} comes before operation {}, which had completed when it was invoked", .0.0, .1.0)]
    OutOfTime(OpId, OpId),
    /// The model says that an operation cannot have ended so.
    #[error("operation {} cannot have had its result there", .0.0)]
    Impossible(OpId),
}

/// Replays an order of the operations of a subhistory through the model.
pub(crate) fn replay<D: Domain>(
    domain: &D,
    moments: &Moments<'_>,
    order: &[OpId],
) -> Result<(), ReplayError> {
    match retrace(domain, moments, order, domain.words(moments.history())) {
        Ok(Said::All) => Ok(()),
        Ok(Said::NotAll) => retrace(domain, moments, order, None).map(|_| ()),
        Err(error) => Err(error),
    }
}

/// The same without words.
#[cfg(test)]
pub(crate) fn replay_on_values<D: Domain>(
    domain: &D,
    moments: &Moments<'_>,
    order: &[OpId],
) -> Result<(), ReplayError> {
    retrace(domain, moments, order, None).map(|_| ())
}

/// Whether words said everything that they were asked.
enum Said {
    All,
    NotAll,
}

/// Replays an order on words, or without them on values.
fn retrace<D: Domain>(
    domain: &D,
    moments: &Moments<'_>,
    order: &[OpId],
    mut words: Option<WordRegister<'_>>,
) -> Result<Said, ReplayError> {
    let places = Places::of(moments);
    let mut seen = vec![false; places.len()];
    let (mut near, ties) = (0, moments.has_ties());
    let mut state = domain.rules().init();
    // The operation of the latest invocation so far: nothing that comes now may have completed before that.
    let mut latest: Option<Operation<'_>> = None;
    for &op in order {
        match places.find(op, near + 1) {
            Some(place) if !seen[place] => (near, seen[place]) = (place, true),
            _ => return Err(ReplayError::OutOfPlace(op)),
        }
        let operation = moments.operation(op);
        if let Some(latest) = latest
            && operation.record().completed < latest.record().invoked
        {
            return Err(ReplayError::OutOfTime(latest.id(), op));
        }
        if latest.is_none_or(|latest| latest.record().invoked < operation.record().invoked) {
            latest = Some(operation);
        }
        let must = |before| {
            let place = places.find(before, near)?;
            must_count(domain, moments, before).then_some((before, place))
        };
        if ties
            && let Some((before, place)) = moments.after(op, must)
            && !seen[place]
        {
            return Err(ReplayError::OutOfTime(op, before));
        }
        if let Some(words) = &mut words {
            match words.step(operation, moments.is_complete(op)) {
                Stepped::On => continue,
                Stepped::Impossible => return Err(ReplayError::Impossible(op)),
                Stepped::Unsaid => return Ok(Said::NotAll),
            }
        }
        let call = domain.call(operation, moments.is_complete(op)).ok().flatten();
        let call = call.ok_or(ReplayError::OutOfPlace(op))?;
        state = domain
            .rules()
            .step(&state, &call)
            .ok_or(ReplayError::Impossible(op))?;
    }
    for (place, op) in places.iter() {
        if !seen[place] && must_count(domain, moments, op) {
            return Err(ReplayError::Missing(op));
        }
    }
    Ok(Said::All)
}

/// Whether an operation must have taken effect.
pub(crate) fn must_count<D: Domain>(domain: &D, moments: &Moments<'_>, op: OpId) -> bool {
    let operation = moments.operation(op);
    let record = operation.record();
    let complete = moments.is_complete(op) && record.completed != NEVER;
    if !complete || record.outcome == Outcome::Info {
        return false;
    }
    let call = domain.call(operation, complete).ok().flatten();
    call.is_some_and(|call| call.result != Observed::Unknown)
}

//! Violations that show without a search: two or three operations that contradict each other.
//!
//! One pass over a subhistory finds them, whatever the rest of it holds. They speak of values that were there at
//! most once, the beginning counted, whoever may have written them: those cannot come back. While such a value is
//! there nothing else is, from before the first completion of an operation that wrote or saw it until after the
//! last invocation of one. So these are illegal:
//!
//! - a value was seen that nobody wrote, or before anybody had asked to write it;
//! - two cas took away the same value;
//! - something left another value, or was told that the value is another, entirely within that time;
//! - a cas was told that the value is another before there can have been another.
//!
//! Whatever is found here is a core like any other, and is made minimal, explained and checked as such. Nothing is
//! found where operations add to what is there, or ask for revisions.

use crate::engine::{CallId, Machine, Moment, NEVER, Need, Observes, Problem, Shape, Span, StateId};

/// What is known of one value.
#[derive(Clone, Debug)]
struct Value {
    /// How often it may have come to be, the beginning counted.
    times: u32,
    /// When the first operation was invoked that may have written it.
    first_written: u32,
    /// The operation that completed first of those that wrote or saw it.
    first: Option<CallId>,
    /// The one that was invoked last.
    last: Option<CallId>,
    /// The first that was known to take it away.
    taken: Option<CallId>,
}

/// A contradiction, as far as it goes.
struct Found {
    /// Two cas on one value are told first: they are the cause of much else.
    two_cas: bool,
    calls: Vec<CallId>,
}

/// The operations of the contradiction that shows first, if there is one.
pub(crate) fn find<M: Machine>(problem: &Problem<M>) -> Option<Vec<CallId>> {
    let precheck = Precheck::new(problem)?;
    let mut found: Vec<Found> = Vec::new();
    precheck.observations(problem, &mut found);
    precheck.interruptions(problem, &mut found);
    let shows = |found: &Found| {
        let completed = found.calls.iter().map(|call| precheck.span(*call).completed);
        (!found.two_cas, completed.max(), found.calls.len())
    };
    found.into_iter().min_by_key(shows).map(|found| found.calls)
}

struct Precheck {
    values: Vec<Value>,
    spans: Vec<Span>,
    init: StateId,
    /// When the first operation was invoked that may have made another value than the initial one.
    first_change: u32,
}

/// What a call saw, what it was told not to be there, and what it left.
struct Said {
    saw: Option<StateId>,
    missed: Option<StateId>,
    left: Option<StateId>,
}

fn said<M: Machine>(problem: &Problem<M>, call: CallId) -> Option<Said> {
    let class = problem.call(call).class;
    let (saw, missed, left) = match problem.machine.shape(class) {
        Shape::Overwrite(to) => (None, None, Some(to)),
        Shape::Exchange(from, to) => (Some(from), None, Some(to)),
        Shape::Observation => match problem.machine.observes(class)? {
            Observes::Is(value) => (Some(value), None, Some(value)),
            Observes::IsNot(value) => (None, Some(value), None),
        },
        Shape::Total | Shape::General => return None,
    };
    Some(Said { saw, missed, left })
}

impl Precheck {
    /// Nothing if some operation says nothing about values.
    fn new<M: Machine>(problem: &Problem<M>) -> Option<Precheck> {
        let mut precheck = Precheck {
            values: Vec::new(),
            spans: problem.spans(),
            init: problem.machine.init(),
            first_change: NEVER,
        };
        precheck.value(precheck.init).times = 1;
        for number in 0..problem.calls.len() as u32 {
            let call = CallId(number);
            let said = said(problem, call)?;
            let (span, known) = (precheck.span(call), problem.call(call).need == Need::Required);
            let makes = said.left.filter(|left| said.saw != Some(*left));
            if let Some(made) = makes {
                let value = precheck.value(made);
                value.times += 1;
                value.first_written = value.first_written.min(span.invoked);
                if made != precheck.init {
                    precheck.first_change = precheck.first_change.min(span.invoked);
                }
            }
            // Of unknown outcome it may not have happened, and never completes.
            for about in [said.saw, makes].into_iter().flatten().filter(|_| known) {
                precheck.note(about, call);
            }
            // Whatever was not named has no entry yet.
            for named in [said.saw, said.missed].into_iter().flatten() {
                precheck.value(named);
            }
        }
        Some(precheck)
    }

    fn span(&self, call: CallId) -> Span {
        self.spans[call.0 as usize]
    }

    fn value(&mut self, value: StateId) -> &mut Value {
        let at = value.0 as usize;
        if at >= self.values.len() {
            let unknown = Value {
                times: 0,
                first_written: NEVER,
                first: None,
                last: None,
                taken: None,
            };
            self.values.resize(at + 1, unknown);
        }
        &mut self.values[at]
    }

    fn of(&self, value: StateId) -> &Value {
        &self.values[value.0 as usize]
    }

    fn note(&mut self, about: StateId, call: CallId) {
        let span = self.span(call);
        let (first, last) = {
            let value = self.value(about);
            (value.first, value.last)
        };
        let earlier = first.is_none_or(|first| span.completed < self.span(first).completed);
        let later = last.is_none_or(|last| span.invoked > self.span(last).invoked);
        let value = self.value(about);
        if earlier {
            value.first = Some(call);
        }
        if later {
            value.last = Some(call);
        }
    }

    /// Contradictions of one operation with the whole, and of two cas.
    fn observations<M: Machine>(&self, problem: &Problem<M>, found: &mut Vec<Found>) {
        let mut values = self.values.clone();
        for number in 0..problem.calls.len() as u32 {
            let call = CallId(number);
            let Some(said) = said(problem, call).filter(|_| problem.call(call).need == Need::Required) else {
                continue;
            };
            let completed = self.span(call).completed;
            if let Some(saw) = said.saw {
                if saw != self.init && self.of(saw).first_written > completed {
                    found.push(Found {
                        two_cas: false,
                        calls: vec![call],
                    });
                }
                let takes = said.left != Some(saw);
                let before = values[saw.0 as usize].taken;
                match before {
                    Some(before) if takes && self.of(saw).times <= 1 => found.push(Found {
                        two_cas: true,
                        calls: vec![before, call],
                    }),
                    None if takes => values[saw.0 as usize].taken = Some(call),
                    _ => {}
                }
            }
            if said.missed == Some(self.init) && self.first_change > completed {
                found.push(Found {
                    two_cas: false,
                    calls: vec![call],
                });
            }
        }
    }

    /// Operations entirely within the time in which another value was there.
    fn interruptions<M: Machine>(&self, problem: &Problem<M>, found: &mut Vec<Found>) {
        if self.values.iter().all(|value| value.times != 1) {
            return;
        }
        // By the place of invocations from the end: which call completes first of all that were invoked from
        // there on, and which of those that leave another value than that one.
        let moments = problem.moments.len();
        let mut earliest: Vec<[Option<(u32, StateId, CallId)>; 2]> = vec![[None, None]; moments + 1];
        for at in (0..moments).rev() {
            let mut best = earliest[at + 1];
            if let Moment::Invoked(call) = problem.moments[at].moment()
                && problem.call(call).need == Need::Required
                && let Some(left) = said(problem, call).and_then(|said| said.left)
            {
                let new = (self.span(call).completed, left, call);
                match best {
                    [Some(first), _] if first.1 == left => {
                        best[0] = Some(if new.0 < first.0 { new } else { first });
                    }
                    [Some(first), _] if new.0 < first.0 => best = [Some(new), Some(first)],
                    [Some(_), second] if second.is_none_or(|second| new.0 < second.0) => best[1] = Some(new),
                    [None, _] => best[0] = Some(new),
                    _ => {}
                }
            }
            earliest[at] = best;
        }
        for (number, value) in self.values.iter().enumerate() {
            let number = StateId(number as u32);
            let Some((from, first, last)) = self.time_of(number, value) else {
                continue;
            };
            let until = self.span(last).invoked;
            let other = earliest[(from as usize).min(moments)]
                .into_iter()
                .flatten()
                .find(|&(completed, left, _)| left != number && completed < until);
            if let Some((_, _, other)) = other {
                let mut calls: Vec<CallId> = first.into_iter().chain([other, last]).collect();
                calls.dedup();
                found.push(Found {
                    two_cas: false,
                    calls,
                });
            }
        }
        for call in (0..problem.calls.len() as u32).map(CallId) {
            let missed = said(problem, call).and_then(|said| said.missed);
            let Some(missed) = missed.filter(|_| problem.call(call).need == Need::Required) else {
                continue;
            };
            let Some((from, first, last)) = self.time_of(missed, self.of(missed)) else {
                continue;
            };
            let span = self.span(call);
            if span.invoked >= from && span.completed < self.span(last).invoked {
                found.push(Found {
                    two_cas: false,
                    calls: first.into_iter().chain([call, last]).collect(),
                });
            }
        }
    }

    /// From when on a value was certainly there that was there only once, which operation says so, and which shows
    /// that it still was much later.
    fn time_of(&self, number: StateId, value: &Value) -> Option<(u32, Option<CallId>, CallId)> {
        let last = value.last.filter(|_| value.times == 1)?;
        if number == self.init {
            return Some((0, None, last));
        }
        let first = value.first?;
        Some((self.span(first).completed, Some(first), last))
    }
}
